//! Steps of somebody who waits.

use alloy_primitives::{Address, B256};
use domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::{
    WorkflowError,
    waiting_list::{self, Referral},
};

use super::{
    About,
    cast::{Cast, sealed, taken},
};

/// A step with what goes into it.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    /// `referral` is the number of one that was made before.
    #[serde(rename = "waitlist.refer")]
    Refer {
        patient: Address,
        hospital: Address,
        specialty: String,
        reason: String,
        referral: Option<B256>,
    },
    #[serde(rename = "waitlist.prioritise")]
    Prioritise { id: B256, priority: u8 },
    #[serde(rename = "waitlist.schedule")]
    Schedule { id: B256, at: u64 },
    #[serde(rename = "waitlist.attend")]
    Attend { id: B256 },
    #[serde(rename = "waitlist.miss")]
    Miss { id: B256 },
    #[serde(rename = "waitlist.remove")]
    Remove { id: B256, reason: String },
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Refer { patient, .. } => About::Begins(*patient),
            Self::Prioritise { id, .. }
            | Self::Schedule { id, .. }
            | Self::Attend { id }
            | Self::Miss { id }
            | Self::Remove { id, .. } => About::Listing(*id),
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        match self {
            Self::Refer { hospital, specialty, reason, referral: number, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                let mut referral = Referral::new(here, specialty, reason);
                referral.number = number.unwrap_or(referral.number);
                let referred = waiting_list::refer(here, &who, &patient, hospital, &referral, now);
                let mut value = sealed(referred.await?);
                value["referral"] = json!(referral.number);
                Ok(value)
            }
            Self::Prioritise { id, priority } => {
                let who = cast.person()?;
                Ok(taken([waiting_list::prioritise(here, &who, id, priority).await?]))
            }
            Self::Schedule { id, at } => {
                let (who, patient) = (cast.person()?, cast.about());
                let at = Timestamp(at);
                Ok(sealed(waiting_list::schedule(here, &who, &patient, id, at, now).await?))
            }
            Self::Attend { id } => {
                Ok(taken([waiting_list::attend(here, &cast.person()?, id).await?]))
            }
            Self::Miss { id } => Ok(taken([waiting_list::miss(here, &cast.person()?, id).await?])),
            Self::Remove { id, reason } if cast.is_patient() => {
                let (salt, step) =
                    waiting_list::leave(here, &cast.patient()?, id, &reason, now).await?;
                let mut value = taken([step]);
                value["salt"] = json!(salt);
                Ok(value)
            }
            Self::Remove { id, reason } => {
                let (who, patient) = (cast.person()?, cast.about());
                Ok(sealed(waiting_list::remove(here, &who, &patient, id, &reason, now).await?))
            }
        }
    }
}
