//! The surgical safety checklist: what is asked at each of its three phases.
//!
//! A phase is filled in as a whole. An item without an answer, or an answer to no item, is refused
//! before anything is sealed.
//!
//! # Source
//!
//! World Health Organization, Surgical Safety Checklist, edition of January 2009.

use alloy_primitives::B256;
use domain::Timestamp;
use serde_json::{Value, json};

use super::{practitioner, subject};
use crate::{PatientActor, Person, WorkflowError};

/// When a part of the checklist is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before anaesthesia, by anaesthetist and nurse.
    SignIn,
    /// Before the incision, by surgeon, anaesthetist and nurse.
    TimeOut,
    /// Before the patient leaves the theatre, by surgeon, anaesthetist and nurse.
    SignOut,
}

/// One item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// How programs call it.
    pub key: &'static str,
    /// What is asked.
    pub question: &'static str,
}

/// The answer to an item, by its key.
pub type Answer<'a> = (&'a str, &'a str);

impl Phase {
    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::TimeOut => "time-out",
            Self::SignOut => "sign-out",
        }
    }

    /// What is asked.
    #[must_use]
    pub const fn items(self) -> &'static [Item] {
        match self {
            Self::SignIn => SIGN_IN,
            Self::TimeOut => TIME_OUT,
            Self::SignOut => SIGN_OUT,
        }
    }

    /// The filled-in part as a FHIR Task.
    pub(super) fn fill_in(
        self,
        id: B256,
        answers: &[Answer<'_>],
        author: &Person,
        patient: &PatientActor,
        now: Timestamp,
    ) -> Result<Value, WorkflowError> {
        let invalid = |what: String| WorkflowError::Invalid(format!("{}: {what}", self.name()));
        let known = |key: &str| self.items().iter().any(|item| item.key == key);
        if let Some((key, _)) = answers.iter().find(|(key, _)| !known(key)) {
            return Err(invalid(format!("there is no item {key}")));
        }
        let mut inputs = Vec::new();
        for item in self.items() {
            let mut given = answers.iter().filter(|(key, _)| *key == item.key);
            let (Some((_, answer)), None) = (given.next(), given.next()) else {
                return Err(invalid(format!("{} takes exactly one answer", item.key)));
            };
            if answer.trim().is_empty() {
                return Err(invalid(format!("{} takes an answer", item.key)));
            }
            inputs.push(json!({
                "type": {
                    "coding": [{ "system": CHECKLIST_SYSTEM, "code": item.key }],
                    "text": item.question,
                },
                "valueString": answer,
            }));
        }
        Ok(json!({
            "resourceType": "Task",
            "status": "completed",
            "intent": "order",
            "code": { "text": format!("surgical safety checklist: {}", self.name()) },
            "focus": { "reference": format!("ServiceRequest/{id:x}") },
            "for": subject(patient),
            "authoredOn": now.to_string(),
            "requester": practitioner(author),
            "input": inputs,
        }))
    }
}

const CHECKLIST_SYSTEM: &str = "urn:salus:surgical-safety-checklist";

const fn item(key: &'static str, question: &'static str) -> Item {
    Item { key, question }
}

const SIGN_IN: &[Item] = &[
    item("identity", "Has the patient confirmed identity, site, procedure and consent?"),
    item("site-marked", "Is the site marked?"),
    item("anaesthesia", "Is the anaesthesia machine and medication check complete?"),
    item("pulse-oximeter", "Is the pulse oximeter on the patient and functioning?"),
    item("allergy", "Does the patient have a known allergy?"),
    item("airway", "Does the patient have a difficult airway or aspiration risk?"),
    item("blood-loss", "Is there a risk of more than 500 ml blood loss (7 ml/kg in children)?"),
];

const TIME_OUT: &[Item] = &[
    item("introductions", "Have all team members introduced themselves by name and role?"),
    item(
        "patient",
        "Are the patient's name, the procedure and the place of the incision confirmed?",
    ),
    item("antibiotic", "Has antibiotic prophylaxis been given within the last 60 minutes?"),
    item(
        "surgeon",
        "To the surgeon: critical or non-routine steps, duration, anticipated blood loss?",
    ),
    item("anaesthetist", "To the anaesthetist: any patient-specific concerns?"),
    item("nurse", "To the nurses: is sterility confirmed, are there equipment issues or concerns?"),
    item("imaging", "Is essential imaging displayed?"),
];

const SIGN_OUT: &[Item] = &[
    item("procedure", "Is the name of the procedure confirmed?"),
    item("counts", "Are the counts of instruments, sponges and needles complete?"),
    item("specimens", "Are the specimens labelled, with the patient's name?"),
    item("equipment", "Are there any equipment problems to be addressed?"),
    item("recovery", "What are the key concerns for recovery and management of this patient?"),
];
