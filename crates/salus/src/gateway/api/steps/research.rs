//! Steps of studies.

use alloy_primitives::{Address, B256};
use domain::{Kind, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::{
    Step, WorkflowError,
    research::{self, Document},
};

use super::{
    About,
    cast::{Cast, taken},
};

/// A step with what goes into it. A protocol is the text of the document, byte for byte, that somebody agrees to.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    #[serde(rename = "research.propose")]
    Propose { title: String, purpose: String, kinds: Vec<Kind>, until: u64 },
    #[serde(rename = "research.approve")]
    Approve { id: B256, protocol: String, opinion: String },
    #[serde(rename = "research.end")]
    End { id: B256, reason: String },
    #[serde(rename = "research.consent")]
    Consent { patient: Address, id: B256, protocol: String },
    #[serde(rename = "research.withdraw")]
    Withdraw { patient: Address, id: B256 },
    #[serde(rename = "research.claim")]
    Claim { patient: Address, id: B256 },
    #[serde(rename = "research.use")]
    Use { id: B256, purpose: String, withdrawals: u32 },
    #[serde(rename = "research.resolve")]
    Resolve { id: B256, refund: bool },
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Consent { patient, .. }
            | Self::Withdraw { patient, .. }
            | Self::Claim { patient, .. } => About::Patient(*patient),
            Self::Propose { .. }
            | Self::Approve { .. }
            | Self::End { .. }
            | Self::Use { .. }
            | Self::Resolve { .. } => About::Nobody,
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        match self {
            Self::Propose { title, purpose, kinds, until } => {
                let (who, until) = (cast.person()?, Timestamp(until));
                let about = (title.as_str(), purpose.as_str());
                let kinds = kinds.into_iter().collect();
                let protocol = Document::protocol(here, &who, about, kinds, until)?;
                let (study, step) = research::propose(here, &who, &protocol, until).await?;
                let mut value = taken([step]);
                value["study"] = json!(study);
                value["protocol"] = json!(String::from_utf8_lossy(protocol.bytes()));
                value["digest"] = json!(protocol.digest());
                Ok(value)
            }
            Self::Approve { id, protocol, opinion } => {
                let (who, protocol) = (cast.person()?, Document::read(protocol.into_bytes())?);
                Ok(salted(research::approve(here, &who, id, &protocol, &opinion).await?))
            }
            Self::End { id, reason } => {
                Ok(salted(research::end(here, &cast.person()?, id, &reason).await?))
            }
            Self::Consent { id, protocol, .. } => {
                let (who, protocol) = (cast.patient()?, Document::read(protocol.into_bytes())?);
                Ok(taken([research::opt_in(here, &who, id, &protocol, now).await?]))
            }
            Self::Withdraw { id, .. } => {
                let who = cast.patient()?;
                // Whoever cannot be told that they do not take part can withdraw in any case.
                if matches!(research::takes_part(here, who.account(), id, now).await, Ok(false)) {
                    return Ok(taken([]));
                }
                Ok(taken([research::withdraw(here, &who, id, now).await?]))
            }
            Self::Claim { id, .. } => {
                Ok(taken([research::claim_share(here, &cast.patient()?, id, now).await?]))
            }
            Self::Use { id, purpose, withdrawals } => {
                let who = cast.person()?;
                let used = research::record_use(here, &who, id, &purpose, withdrawals);
                Ok(salted(used.await?))
            }
            Self::Resolve { id, refund } => {
                Ok(taken([research::resolve(here, &cast.person()?, id, refund).await?]))
            }
        }
    }
}

/// What was done, with the salt by which the words can be shown to be these.
fn salted((salt, step): (B256, Step)) -> Value {
    let mut value = taken([step]);
    value["salt"] = json!(salt);
    value
}
