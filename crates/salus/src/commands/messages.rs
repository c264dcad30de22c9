//! What the commands about a laboratory's HL7 v2 messages do.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use bindings::{Contract, Registry};
use workflows::{
    Step,
    laboratory_messages::{MessageDesk, Received},
};

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
        require_number(system, number)?;
        let digest = identity_digest(lab, system, number);
        let step = self.consortium.bind_identity(lab, &patient, digest).await?;
        Ok((step_text(&step), 0))
    }

    /// The laboratory takes a number out of the registry again.
    pub(super) async fn unregister_number(&self, system: &str, number: &str) -> Output {
        let lab = self.gateway("laboratory")?;
        let call = Registry::unbindIdentityCall { digest: identity_digest(lab, system, number) };
        let outcome = lab.sender().send(lab.at(Contract::Registry), &call).await?;
        let what = "takes an identity number's digest out of the registry";
        let step = Step::new(&lab.name, what, "registry.unbind-identity", &outcome);
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

/// Refuses what is no number of a numbering system: it would stand on chain, and no message would name it. What was given
/// is not quoted.
fn require_number(system: &str, number: &str) -> Result<(), Error> {
    let is_plain =
        |text: &str| !text.chars().any(|letter| letter.is_whitespace() || letter.is_control());
    let scheme = system.split_once(':').filter(|(scheme, rest)| {
        let mut letters = scheme.chars();
        letters.next().is_some_and(|first| first.is_ascii_alphabetic())
            && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter))
            && !rest.is_empty()
    });
    if scheme.is_none() || !is_plain(system) {
        return Err("the numbering system is a URI, such as urn:oid:1.2.3".into());
    }
    let has_sign = number.chars().any(char::is_alphanumeric);
    if !has_sign || number.trim() != number || number.chars().any(char::is_control) {
        return Err("the number is empty, or has spaces around it".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_a_system_that_is_a_uri() {
        for system in ["urn:oid:1.2.3", "https://ihi.example/numbers"] {
            assert!(require_number(system, "0123 456").is_ok(), "{system}");
        }
        for system in ["", "not a uri", "urn:", ":1", "1a:b", "urn:oid:1 2"] {
            assert!(require_number(system, "X").is_err(), "{system}");
        }
        for number in ["", " ", "-", " 1", "1\n"] {
            assert!(require_number("urn:oid:1.2.3", number).is_err(), "{number}");
        }
    }
}
