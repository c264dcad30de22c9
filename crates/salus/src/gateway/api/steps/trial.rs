//! Steps of clinical trials. Seeds stay with the institution, nonces with the patient, and arms with the pharmacist:
//! none of them comes here.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256};
use domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::{
    WorkflowError,
    trial::{self, AdverseEvent, Agreement, Dossier, Finding, Item, Outcome, Protocol},
};

use super::{
    About,
    cast::{Cast, sealed, taken},
};

/// A step with what goes into it.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    #[serde(rename = "trial.register")]
    Register { protocol: Protocol },
    #[serde(rename = "trial.approve")]
    Approve { document: Dossier },
    #[serde(rename = "trial.invite")]
    Invite { id: B256, site: Address },
    #[serde(rename = "trial.amend")]
    Amend { document: Dossier, protocol: Protocol },
    #[serde(rename = "trial.approve-amendment")]
    ApproveAmendment { document: Dossier },
    #[serde(rename = "trial.acknowledge")]
    Acknowledge { id: B256, number: u64 },
    #[serde(rename = "trial.lock")]
    Lock { id: B256 },
    #[serde(rename = "trial.reveal")]
    Reveal { id: B256 },
    #[serde(rename = "trial.publish")]
    Publish { document: Dossier, outcomes: Vec<Outcome> },
    #[serde(rename = "trial.stop")]
    Stop { id: B256, reason: String },
    #[serde(rename = "trial.consent")]
    Consent { patient: Address, id: B256, site: Address, version: u16, commitment: B256 },
    #[serde(rename = "trial.open")]
    Open { patient: Address, id: B256, nonce: B256 },
    #[serde(rename = "trial.withdraw")]
    Withdraw { patient: Address, id: B256, keep_data: bool },
    #[serde(rename = "trial.file-consent")]
    FileConsent { patient: Address, document: Dossier },
    #[serde(rename = "trial.screen")]
    Screen { patient: Address, document: Dossier, answers: BTreeMap<String, bool> },
    #[serde(rename = "trial.allocate")]
    Allocate { patient: Address, id: B256, allocation: B256 },
    #[serde(rename = "trial.visit")]
    Visit { patient: Address, id: B256, items: Vec<Found> },
    #[serde(rename = "trial.unblind")]
    Unblind { patient: Address, id: B256, reason: String },
    #[serde(rename = "trial.event")]
    Event { patient: Address, id: B256, what: String, serious: bool, aware_at: u64 },
}

/// What was found at a visit: one of text, value with unit, and yes or no.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Found {
    key: String,
    question: String,
    text: Option<String>,
    value: Option<f64>,
    unit: Option<String>,
    is: Option<bool>,
}

impl Found {
    fn item(self) -> Result<Item, WorkflowError> {
        let finding = match (self.text, self.value, self.unit, self.is) {
            (Some(text), None, None, None) => Finding::Text(text),
            (None, Some(value), Some(unit), None) => Finding::Quantity { value, unit },
            (None, None, None, Some(is)) => Finding::Is(is),
            _ => {
                let why = "an item has one of `text`, `value` with `unit`, and `is`";
                return Err(WorkflowError::Invalid(why.into()));
            }
        };
        Ok(Item { key: self.key, text: self.question, finding })
    }
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Register { .. }
            | Self::Approve { .. }
            | Self::Invite { .. }
            | Self::Amend { .. }
            | Self::ApproveAmendment { .. }
            | Self::Acknowledge { .. }
            | Self::Lock { .. }
            | Self::Reveal { .. }
            | Self::Publish { .. }
            | Self::Stop { .. } => About::Nobody,
            Self::Consent { patient, .. }
            | Self::Open { patient, .. }
            | Self::Withdraw { patient, .. }
            | Self::FileConsent { patient, .. }
            | Self::Screen { patient, .. }
            | Self::Allocate { patient, .. }
            | Self::Visit { patient, .. }
            | Self::Unblind { patient, .. }
            | Self::Event { patient, .. } => About::Patient(*patient),
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        match self {
            Self::Register { protocol } => {
                let who = cast.person()?;
                let (dossier, step) = trial::register(here, &who, &protocol, None).await?;
                Ok(with_document(taken([step]), &dossier))
            }
            Self::Approve { document } => {
                Ok(taken([trial::approve(here, &cast.person()?, &document, None).await?]))
            }
            Self::Invite { id, site } => {
                Ok(taken([trial::invite(here, &cast.person()?, id, site).await?]))
            }
            Self::Amend { document, protocol } => {
                let who = cast.person()?;
                let (dossier, step) =
                    trial::propose_amendment(here, &who, &document, &protocol).await?;
                Ok(with_document(taken([step]), &dossier))
            }
            Self::ApproveAmendment { document } => {
                let who = cast.person()?;
                Ok(taken([trial::approve_amendment(here, &who, &document).await?]))
            }
            Self::Acknowledge { id, number } => {
                let (who, number) = (cast.person()?, U256::from(number));
                Ok(taken([trial::acknowledge(here, &who, id, number).await?]))
            }
            Self::Lock { id } => Ok(taken([trial::lock(here, &cast.person()?, id).await?.1])),
            Self::Reveal { id } => {
                Ok(taken([trial::reveal(here, &cast.person()?, id, None).await?]))
            }
            Self::Publish { document, outcomes } => {
                let who = cast.person()?;
                let (results, step) = trial::publish(here, &who, &document, outcomes).await?;
                let mut value = taken(step);
                value["results"] = json!(results);
                Ok(value)
            }
            Self::Stop { id, reason } => {
                let (salt, step) = trial::stop(here, &cast.person()?, id, &reason).await?;
                let mut value = taken([step]);
                value["salt"] = json!(salt);
                Ok(value)
            }
            Self::Consent { id, site, version, commitment, .. } => {
                let agreement = Agreement { site, version, commitment };
                let who = cast.patient()?;
                Ok(taken([trial::consent(here, &who, id, &agreement, now).await?]))
            }
            Self::Open { id, nonce, .. } => {
                let (who, nonce) = (cast.patient()?, trial::Nonce::from_bytes(nonce));
                Ok(taken([trial::open_nonce(here, &who, id, &nonce, now).await?]))
            }
            Self::Withdraw { id, keep_data, .. } => {
                Ok(taken([trial::withdraw(here, &cast.patient()?, id, keep_data, now).await?]))
            }
            Self::FileConsent { document, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                let (form, step) =
                    trial::file_consent(here, &who, &patient, &document, now).await?;
                Ok(sealed((form, vec![step])))
            }
            Self::Screen { document, answers, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                let answers: Vec<_> =
                    answers.iter().map(|(key, answer)| (key.as_str(), *answer)).collect();
                let screened =
                    trial::screen(here, &who, &patient, &document, &answers, now).await?;
                let mut value = sealed((screened.record, screened.steps));
                value["eligible"] = json!(screened.is_eligible);
                Ok(value)
            }
            Self::Allocate { patient, id, allocation } => {
                let who = cast.person()?;
                Ok(taken([trial::allocate(here, &who, id, patient, allocation).await?]))
            }
            Self::Visit { id, items, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                let items = items.into_iter().map(Found::item).collect::<Result<Vec<_>, _>>()?;
                Ok(sealed(trial::enter(here, &who, &patient, id, &items, now).await?))
            }
            Self::Unblind { id, reason, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                Ok(sealed(trial::unblind(here, &who, &patient, id, &reason, now).await?))
            }
            Self::Event { id, what, serious, aware_at, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                let aware_at = Timestamp(aware_at);
                let event = AdverseEvent { what, is_serious: serious, aware_at };
                let reported =
                    trial::report_adverse_event(here, &who, &patient, id, &event, now).await?;
                let mut value = sealed((reported.record, reported.steps));
                value["number"] = json!(reported.number.saturating_to::<u64>());
                value["late"] = json!(reported.is_late);
                Ok(value)
            }
        }
    }
}

fn with_document(mut value: Value, dossier: &Dossier) -> Value {
    value["trial"] = json!(dossier.trial);
    value["document"] = json!(dossier);
    value
}
