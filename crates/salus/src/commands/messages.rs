//! What the commands about a laboratory's HL7 v2 messages do.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use workflows::laboratory_messages::{MessageDesk, Received};

use super::{Commands, Output, step_text};
use crate::{
    Error,
    gateway::{identity_digest, number_digest},
};

impl Commands<'_> {
    /// The laboratory enters a patient's number in the registry.
    pub(super) async fn register_number(
        &self,
        patient: &str,
        system: &str,
        number: &str,
    ) -> Output {
        let (patient, lab) = (self.patient(patient)?, self.gateway("laboratory")?);
        let digest = identity_digest(lab, system, number);
        let step = self.consortium.bind_identity(lab, &patient, digest).await?;
        Ok((step_text(&step), 0))
    }

    /// Takes in the messages of files and of what was piped in, one after the other, and prints what is
    /// answered to each.
    pub(super) async fn import_messages(&self, files: &[PathBuf], offset: Option<&str>) -> Output {
        let (lab, scientist) = (self.gateway("laboratory")?, self.person("scientist")?);
        let offset = offset.map(str::parse).transpose()?;
        let desk = MessageDesk::open(lab, scientist, number_digest(), offset).await?;
        let (mut text, mut code) = (String::new(), 0);
        for file in files {
            let bytes = self.input_of(file)?;
            // What is no message has nothing that could be answered to.
            let messages =
                hl7v2::messages(&bytes).map_err(|error| format!("{}: {error}", file.display()))?;
            for message in messages {
                let received = desk.take(message, self.now()).await?;
                code |= u8::from(received.outcome.is_err());
                text += &self.received_text(&received)?;
            }
        }
        Ok((text, code))
    }

    fn input_of(&self, file: &Path) -> Result<Vec<u8>, Error> {
        if file.as_os_str() == "-" {
            return Ok(self.input.to_vec());
        }
        let read = std::fs::read(self.directory.join(file));
        Ok(read.map_err(|error| format!("could not read {}: {error}", file.display()))?)
    }

    /// The acknowledgement, a segment on a line, and what was done.
    fn received_text(&self, received: &Received) -> Result<String, Error> {
        let acknowledgement = received.acknowledgement(self.gateway("laboratory")?, self.now());
        let mut text = acknowledgement.replace('\r', "\n");
        if let Ok(taken) = &received.outcome {
            let (record, version) = (taken.record, taken.version);
            let before = if taken.steps.is_empty() { ", taken before" } else { "" };
            let _ = writeln!(text, "result {record}, version {version}{before}");
            text += &taken.steps.iter().map(step_text).collect::<String>();
        }
        Ok(text)
    }
}
