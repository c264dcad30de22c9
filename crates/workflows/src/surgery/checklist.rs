//! The surgical safety checklist: what is asked at each of its three phases, and which answers let the team go on.
//!
//! A phase is filled in as a whole. An item without an answer, or an answer to no item, is refused before
//! anything is sealed, and so is an answer that lets nobody go on: what has to be confirmed takes `yes`, or `no`
//! with the reason why they go on all the same (`no: REASON`); what is a danger takes `no`, or `yes` with what was
//! made ready for it. Whoever signs what another filled in has it read again by the same rule.
//!
//! A document says of which operation, round and phase it is, so that none counts for another.
//!
//! # Source
//!
//! World Health Organization, Surgical Safety Checklist, edition of January 2009: the items, which of them may be
//! not applicable, and that a danger is met with what is available for it. That a `no` takes a reason is ours.

use alloy_primitives::{Address, B256};
use domain::Timestamp;
use serde_json::{Value, json};

use self::Takes::{Confirmation, ConfirmationIfAny, Danger, Words};
use super::practitioner;
use crate::{Person, WorkflowError, given::require_words};

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

/// What an item takes as its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// It has to be confirmed: `yes`, or `no` with a reason.
    Confirmation,
    /// As [`Takes::Confirmation`], where the list knows `not applicable`.
    ConfirmationIfAny,
    /// It is a danger: `no`, or `yes` with what was made ready.
    Danger,
    /// Words, whatever they say.
    Words,
}

/// One item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// How programs call it.
    pub key: &'static str,
    /// What is asked.
    pub question: &'static str,
    /// What it takes.
    pub takes: Takes,
}

/// The answer to an item, by its key.
pub type Answer<'a> = (&'a str, &'a str);

/// Of what a document is: an operation, its patient, and how often the patient went to the theatre.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) id: B256,
    pub(crate) patient: Address,
    pub(crate) round: u64,
}

impl Takes {
    /// What may be answered, in words.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Confirmation => "`yes`, or `no: REASON`",
            Self::ConfirmationIfAny => "`yes`, `not applicable`, or `no: REASON`",
            Self::Danger => "`no`, or `yes: WHAT IS READY`",
            Self::Words => "words",
        }
    }

    /// Whether the team goes on with this answer.
    #[must_use]
    pub fn allows(self, answer: &str) -> bool {
        let answer = answer.trim();
        let says = |word| rest_after(answer, word).is_some();
        let explains = |word| rest_after(answer, word).is_some_and(has_words);
        match self {
            Self::Confirmation => says("yes") || explains("no"),
            Self::ConfirmationIfAny => says("yes") || says("not applicable") || explains("no"),
            Self::Danger => says("no") || explains("yes"),
            Self::Words => has_words(answer),
        }
    }
}

/// What follows on a word with which an answer begins.
fn rest_after<'a>(answer: &'a str, word: &str) -> Option<&'a str> {
    let (begin, rest) = answer.split_at_checked(word.len())?;
    let ends = rest.chars().next().is_none_or(|next| !next.is_alphanumeric());
    (begin.eq_ignore_ascii_case(word) && ends).then_some(rest)
}

fn has_words(text: &str) -> bool {
    text.chars().any(char::is_alphanumeric)
}

impl Operation {
    /// How a document names operation and round together.
    fn round_name(&self) -> String {
        format!("{:x}/{}", self.id, self.round)
    }

    fn order(&self) -> String {
        format!("ServiceRequest/{:x}", self.id)
    }

    fn subject(&self) -> String {
        format!("Patient/{}", self.patient)
    }

    /// What was done, in the words of the report of this operation and round; nothing when the document is no
    /// such report.
    pub(crate) fn performed(&self, report: &Value) -> Option<String> {
        let is_report = report["resourceType"] == "Procedure"
            && report["status"] == "completed"
            && report["basedOn"][0]["reference"] == self.order()
            && report["subject"]["reference"] == self.subject();
        let checklist = report["contained"].as_array()?.first()?;
        let is_this = is_report && Phase::SignOut.is_filled_in(checklist, self);
        let words = report["code"]["text"].as_str().filter(|_| is_this)?;
        Some(words.to_owned())
    }
}

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

    fn invalid(self, what: &str) -> WorkflowError {
        WorkflowError::Invalid(format!("{}: {what}", self.name()))
    }

    /// Refuses answers that are not one to each item, or that let nobody go on.
    fn require(self, answers: &[Answer<'_>]) -> Result<(), WorkflowError> {
        let known = |key: &str| self.items().iter().any(|item| item.key == key);
        if let Some((key, _)) = answers.iter().find(|(key, _)| !known(key)) {
            return Err(self.invalid(&format!("there is no item {key}")));
        }
        for Item { key, takes, .. } in self.items() {
            let mut given = answers.iter().filter(|(item, _)| item == key);
            let (Some((_, answer)), None) = (given.next(), given.next()) else {
                return Err(self.invalid(&format!("{key} takes exactly one answer")));
            };
            if !takes.allows(answer) {
                return Err(self.invalid(&format!("{key} takes {}", takes.describe())));
            }
            require_words(&format!("answer to {key}"), answer)?;
        }
        Ok(())
    }

    /// The filled-in part as a FHIR Task; `urgent` is why it cannot wait for its time.
    pub(super) fn fill_in(
        self,
        operation: &Operation,
        answers: &[Answer<'_>],
        urgent: Option<&str>,
        author: &Person,
        now: Timestamp,
    ) -> Result<Value, WorkflowError> {
        self.require(answers)?;
        let input = |item: &Item| {
            let (_, answer) = answers.iter().find(|(key, _)| *key == item.key)?;
            Some(json!({
                "type": {
                    "coding": [{ "system": CHECKLIST_SYSTEM, "code": item.key }],
                    "text": item.question,
                },
                "valueString": answer.trim(),
            }))
        };
        let mut resource = json!({
            "resourceType": "Task",
            "groupIdentifier": { "system": ROUND_SYSTEM, "value": operation.round_name() },
            "status": "completed",
            "intent": "order",
            "code": {
                "coding": [{ "system": CHECKLIST_SYSTEM, "code": self.name() }],
                "text": format!("surgical safety checklist: {}", self.name()),
            },
            "focus": { "reference": operation.order() },
            "for": { "reference": operation.subject() },
            "authoredOn": now.to_string(),
            "requester": practitioner(author),
            "input": self.items().iter().filter_map(input).collect::<Vec<_>>(),
        });
        if let Some(reason) = urgent {
            require_words("reason why it is urgent", reason)?;
            resource["priority"] = json!("urgent");
            resource["reasonCode"] = json!({ "text": reason.trim() });
        }
        Ok(resource)
    }

    /// Whether a document is this part, of this operation and round.
    fn is_filled_in(self, task: &Value, operation: &Operation) -> bool {
        let code = &task["code"]["coding"][0];
        let round = &task["groupIdentifier"];
        task["resourceType"] == "Task"
            && task["status"] == "completed"
            && (&code["system"], &code["code"]) == (&json!(CHECKLIST_SYSTEM), &json!(self.name()))
            && round["system"] == ROUND_SYSTEM
            && round["value"] == operation.round_name()
            && task["focus"]["reference"] == operation.order()
            && task["for"]["reference"] == operation.subject()
    }

    /// Reads what is to be signed, or was: the part itself, or the report that contains it. Says whether it
    /// declares the operation urgent.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it is another document, or an answer in it lets nobody go on.
    pub(super) fn read(
        self,
        document: &Value,
        operation: &Operation,
    ) -> Result<bool, WorkflowError> {
        let task = match self {
            Self::SignIn | Self::TimeOut => document,
            Self::SignOut => match operation.performed(document) {
                Some(_) => &document["contained"][0],
                None => return Err(self.another()),
            },
        };
        if !self.is_filled_in(task, operation) {
            return Err(self.another());
        }
        let inputs = task["input"].as_array().map_or(&[][..], Vec::as_slice);
        let answer = |input: &'_ Value| -> Option<(String, String)> {
            let key = input["type"]["coding"][0]["code"].as_str()?;
            Some((key.to_owned(), input["valueString"].as_str()?.to_owned()))
        };
        let answers: Option<Vec<_>> = inputs.iter().map(answer).collect();
        let answers = answers.ok_or_else(|| self.another())?;
        let answers: Vec<Answer<'_>> =
            answers.iter().map(|(key, answer)| (key.as_str(), answer.as_str())).collect();
        self.require(&answers)?;
        let reason = task["reasonCode"]["text"].as_str();
        Ok(task["priority"] == "urgent" && reason.is_some_and(has_words))
    }

    fn another(self) -> WorkflowError {
        let what = match self {
            Self::SignIn | Self::TimeOut => "filled in for this operation and round",
            Self::SignOut => "in a report of this operation and round",
        };
        self.invalid(&format!("this record is not the {} {what}", self.name()))
    }
}

const CHECKLIST_SYSTEM: &str = "urn:salus:surgical-safety-checklist";

/// How the documents of one round belong together.
const ROUND_SYSTEM: &str = "urn:salus:surgery-round";

const fn item(key: &'static str, takes: Takes, question: &'static str) -> Item {
    Item { key, question, takes }
}

const SIGN_IN: &[Item] = &[
    item(
        "identity",
        Confirmation,
        "Has the patient confirmed identity, site, procedure and consent?",
    ),
    item("site-marked", ConfirmationIfAny, "Is the site marked?"),
    item("anaesthesia", Confirmation, "Is the anaesthesia machine and medication check complete?"),
    item("pulse-oximeter", Confirmation, "Is the pulse oximeter on the patient and functioning?"),
    item("allergy", Words, "Does the patient have a known allergy?"),
    item("airway", Danger, "Does the patient have a difficult airway or aspiration risk?"),
    item(
        "blood-loss",
        Danger,
        "Is there a risk of more than 500 ml blood loss (7 ml/kg in children)?",
    ),
];

const TIME_OUT: &[Item] = &[
    item(
        "introductions",
        Confirmation,
        "Have all team members introduced themselves by name and role?",
    ),
    item(
        "patient",
        Confirmation,
        "Are the patient's name, the procedure and the place of the incision confirmed?",
    ),
    item(
        "antibiotic",
        ConfirmationIfAny,
        "Has antibiotic prophylaxis been given within the last 60 minutes?",
    ),
    item(
        "surgeon",
        Words,
        "To the surgeon: critical or non-routine steps, duration, anticipated blood loss?",
    ),
    item("anaesthetist", Words, "To the anaesthetist: any patient-specific concerns?"),
    item(
        "sterility",
        Confirmation,
        "To the nurses: is sterility, including indicator results, confirmed?",
    ),
    item("nurse", Words, "To the nurses: are there equipment issues or any concerns?"),
    item("imaging", ConfirmationIfAny, "Is essential imaging displayed?"),
];

const SIGN_OUT: &[Item] = &[
    item("procedure", Confirmation, "Is the name of the procedure confirmed?"),
    item("counts", Confirmation, "Are the counts of instruments, sponges and needles complete?"),
    item("specimens", Confirmation, "Are the specimens labelled, with the patient's name?"),
    item("equipment", Words, "Are there any equipment problems to be addressed?"),
    item(
        "recovery",
        Words,
        "What are the key concerns for recovery and management of this patient?",
    ),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[track_caller]
    fn check(takes: Takes, answer: &str, expected: bool) {
        assert_eq!(takes.allows(answer), expected, "{takes:?} {answer}");
    }

    #[test]
    fn what_is_to_be_confirmed_takes_yes_or_a_reason() {
        for takes in [Confirmation, ConfirmationIfAny] {
            check(takes, "yes", true);
            check(takes, " Yes, by the patient", true);
            check(takes, "no: the patient is unconscious; the wristband was read", true);
            for wrong in
                ["no", "No.", "no: -", "", "not done", "nobody asked", "yesterday", "maybe"]
            {
                check(takes, wrong, false);
            }
        }
        check(ConfirmationIfAny, "not applicable", true);
        check(ConfirmationIfAny, "Not applicable: one kidney only", true);
        check(Confirmation, "not applicable", false);
    }

    #[test]
    fn a_danger_takes_no_or_what_is_ready() {
        check(Danger, "no", true);
        check(Danger, "yes: fibrescope in the room", true);
        for wrong in ["yes", "yes!", "perhaps", ""] {
            check(Danger, wrong, false);
        }
    }

    #[test]
    fn words_are_words() {
        check(Words, "no", true);
        check(Words, "thrombosis prophylaxis", true);
        check(Words, " - ", false);
        // A border of letters is not where a word ends.
        check(Confirmation, "n\u{f6}", false);
    }

    #[test]
    fn each_item_is_asked_once() {
        for phase in [Phase::SignIn, Phase::TimeOut, Phase::SignOut] {
            let mut keys: Vec<_> = phase.items().iter().map(|item| item.key).collect();
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), count);
        }
    }
}
