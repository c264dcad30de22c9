//! Who takes part in a step: the gateway, whoever asked, and whom it is about.

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use domain::{Anchor, RecordId, Timestamp};
use ledger::{Patient, Sender};
use serde_json::{Value, json};
use vault::{Kem, SecretKey};
use workflows::{Gateway, PatientActor, Person, Step, WorkflowError, record};

use super::{
    Who,
    signing::{Nobody, Signing},
};

/// Who takes part.
pub(super) struct Cast {
    pub(super) gateway: Gateway,
    pub(super) now: Timestamp,
    who: Who,
    patient: Address,
    signing: Arc<Signing>,
}

impl Cast {
    pub(super) const fn new(
        gateway: Gateway,
        who: Who,
        patient: Address,
        signing: Arc<Signing>,
        now: Timestamp,
    ) -> Self {
        Self { gateway, now, who, patient, signing }
    }

    /// The professional who asked.
    pub(super) fn person(&self) -> Result<Person, WorkflowError> {
        let Who::Professional(member, role) = self.who else {
            return Err(WorkflowError::Invalid("a professional takes this step".into()));
        };
        let ledger = self.gateway.gatekeeper.ledger().clone();
        Ok(Person {
            name: role.to_string(),
            member,
            role,
            sender: Sender::elsewhere(ledger, Arc::clone(&self.signing) as _),
            secret: self.unused_key(),
        })
    }

    /// The patient who asked.
    pub(super) fn patient(&self) -> Result<PatientActor, WorkflowError> {
        let Who::Patient(account) = self.who else {
            return Err(WorkflowError::Invalid("the patient takes this step".into()));
        };
        let patient = Patient::elsewhere(account, Arc::clone(&self.signing) as _);
        Ok(PatientActor { name: "patient".into(), patient, secret: self.unused_key() })
    }

    /// Whether the patient asked.
    pub(super) const fn is_patient(&self) -> bool {
        matches!(self.who, Who::Patient(_))
    }

    /// The patient whom the step is about.
    pub(super) fn about(&self) -> PatientActor {
        let patient = Patient::elsewhere(self.patient, Arc::new(Nobody));
        PatientActor { name: "patient".into(), patient, secret: self.unused_key() }
    }

    /// A key to which nothing is sealed: what is sealed here is opened elsewhere.
    fn unused_key(&self) -> SecretKey {
        SecretKey::derive(Kem::X25519, &B256::from(self.gateway.gatekeeper.entropy().bytes::<32>()))
    }

    /// The newest version of a record that stands by itself at this institution.
    pub(super) async fn anchor(&self, record: B256) -> Result<Anchor, WorkflowError> {
        let found = record::newest(&self.gateway, RecordId(record), self.now).await?;
        found.ok_or(WorkflowError::Unknown { what: "record", id: record })
    }
}

/// What a step that sealed a record comes to.
pub(super) fn sealed((anchor, steps): (Anchor, Vec<Step>)) -> Value {
    let mut value = taken(steps);
    value["record"] = json!(anchor.record.0);
    value["digest"] = json!(anchor.digest.0);
    value
}

/// What steps come to.
pub(super) fn taken(steps: impl IntoIterator<Item = Step>) -> Value {
    json!({ "steps": steps.into_iter().collect::<Vec<_>>() })
}
