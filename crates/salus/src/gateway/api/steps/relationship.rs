//! Steps between a patient and this institution, as the one that keeps records about them.

use alloy_primitives::{Address, Bytes};
use serde::Deserialize;
use serde_json::Value;
use vault::PublicKey;
use workflows::{WorkflowError, relationship};

use super::{
    About,
    cast::{Cast, taken},
};

/// A step with what goes into it.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    /// `countersigned` is the policy that the patient saw; `key` the public key to which records are sealed for them.
    #[serde(rename = "relationship.accept")]
    Accept { patient: Address, countersigned: bool, key: Bytes },
    #[serde(rename = "relationship.decline")]
    Decline { patient: Address },
    #[serde(rename = "relationship.end")]
    End { patient: Address },
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Accept { patient, .. } | Self::Decline { patient } | Self::End { patient } => {
                About::Patient(*patient)
            }
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now, who) = (&cast.gateway, cast.now, cast.patient()?);
        match self {
            Self::Accept { countersigned, key, .. } => {
                let key = PublicKey::from_bytes(&key).map_err(|_| {
                    WorkflowError::Invalid(
                        "`key` is no public key that records can be sealed to".into(),
                    )
                })?;
                // Only once the patient signed: whoever merely has their token must not say where records go.
                let accepted = relationship::accept_known(here, &who, countersigned, now).await?;
                relationship::learn_key(here, who.account(), key).await?;
                Ok(taken([accepted]))
            }
            Self::Decline { .. } => Ok(taken([relationship::decline(here, &who, now).await?])),
            Self::End { .. } => Ok(taken([relationship::end(here, &who, now).await?])),
        }
    }
}
