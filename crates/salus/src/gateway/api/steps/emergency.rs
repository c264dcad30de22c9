//! Steps of breaking the glass.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use domain::{Kind, KindSet};
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::{
    WorkflowError,
    emergency::{self, Needed, Verdict},
};

use super::{
    About,
    cast::{Cast, taken},
};

/// A step with what goes into it.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    /// Without `kinds`, what an emergency needs and the patient did not close.
    #[serde(rename = "emergency.open")]
    Open {
        patient: Address,
        #[serde(default)]
        kinds: Vec<String>,
        minutes: u32,
        reason: String,
    },
    #[serde(rename = "emergency.end")]
    End { patient: Address, id: B256 },
    /// `note` is what the officer writes down: on chain is a digest of it under the salt that comes back.
    #[serde(rename = "emergency.review")]
    Review { patient: Address, id: B256, justified: bool, note: String },
    #[serde(rename = "emergency.restrict")]
    Restrict { patient: Address, kinds: Vec<String>, opted_out: bool },
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Open { patient, .. }
            | Self::End { patient, .. }
            | Self::Review { patient, .. }
            | Self::Restrict { patient, .. } => About::Patient(*patient),
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        match self {
            Self::Open { patient, kinds, minutes, reason } => {
                let (who, kinds) = (cast.person()?, parse_kinds(&kinds)?);
                let Needed { kinds, left_out } = if kinds.is_empty() {
                    emergency::needed(here, &who, patient).await?
                } else {
                    Needed { kinds, left_out: KindSet::EMPTY }
                };
                let period = Duration::from_secs(u64::from(minutes) * 60);
                let (opened, salt, step) =
                    emergency::open(here, &who, patient, kinds, period, &reason).await?;
                let mut value = taken([step]);
                value["id"] = json!(opened.id);
                value["salt"] = json!(salt);
                value["left_out"] = json!(left_out.iter().collect::<Vec<_>>());
                Ok(value)
            }
            Self::End { patient, id } if cast.is_patient() => {
                let opened = emergency::opened(here, patient, id, now).await?;
                let who = cast.patient()?;
                Ok(taken([emergency::end_by_patient(here, &who, &opened, now).await?]))
            }
            Self::End { patient, id } => {
                let (who, opened) = (cast.person()?, emergency::opened(here, patient, id, now));
                Ok(taken([emergency::end(here, &who, &opened.await?).await?]))
            }
            Self::Review { patient, id, justified, note } => {
                let who = cast.person()?;
                let opened = emergency::opened(here, patient, id, now).await?;
                let verdict = if justified { Verdict::Justified } else { Verdict::Unjustified };
                let reviewed = emergency::review(here, &who, &opened, verdict, &note);
                let (salt, step) = reviewed.await?;
                let mut value = taken([step]);
                value["salt"] = json!(salt);
                Ok(value)
            }
            Self::Restrict { kinds, opted_out, .. } => {
                let (who, kinds) = (cast.patient()?, parse_kinds(&kinds)?);
                Ok(taken([emergency::restrict(here, &who, kinds, opted_out, now).await?]))
            }
        }
    }
}

fn parse_kinds(names: &[String]) -> Result<KindSet, WorkflowError> {
    let kinds: Option<Vec<Kind>> = names.iter().map(|name| name.parse().ok()).collect();
    let unknown = || WorkflowError::Invalid("`kinds` are names of kinds of record".into());
    kinds.map(|kinds| KindSet::of(&kinds)).ok_or_else(unknown)
}
