//! Steps of records: what a patient answers to one that was written about them.

use alloy_primitives::{Address, B256};
use serde::Deserialize;
use serde_json::Value;
use workflows::{
    WorkflowError,
    record::{self, Verdict},
};

use super::{
    About,
    cast::{Cast, taken},
};

/// A step with what goes into it. `digest` is that of the version that the patient saw: another one is not answered.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    #[serde(rename = "record.accept")]
    Accept { patient: Address, record: B256, digest: B256 },
    #[serde(rename = "record.reject")]
    Reject { patient: Address, record: B256, digest: B256 },
    /// Of a version that was accepted.
    #[serde(rename = "record.dispute")]
    Dispute { patient: Address, record: B256, digest: B256 },
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Accept { patient, .. }
            | Self::Reject { patient, .. }
            | Self::Dispute { patient, .. } => About::Patient(*patient),
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (Self::Accept { patient, record, digest }
        | Self::Reject { patient, record, digest }
        | Self::Dispute { patient, record, digest }) = self;
        let verdict = match self {
            Self::Accept { .. } => Verdict::Accept,
            Self::Reject { .. } => Verdict::Reject,
            Self::Dispute { .. } => Verdict::Dispute,
        };
        let who = cast.patient()?;
        // Another patient's is as if it were not there.
        let unknown = WorkflowError::Unknown { what: "record", id: record };
        let anchor = cast.anchor(record).await?;
        if anchor.patient != patient {
            return Err(unknown);
        }
        if anchor.digest.0 != digest {
            let why = "the record has another version by now; look at it first";
            return Err(WorkflowError::Invalid(why.into()));
        }
        let step = record::answer(&cast.gateway, &who, &anchor, verdict, cast.now).await?;
        Ok(taken([step]))
    }
}
