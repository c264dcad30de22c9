//! Steps of laboratory orders.

use alloy_primitives::{Address, B256};
use domain::RecordDigest;
use serde::Deserialize;
use serde_json::Value;
use workflows::{
    WorkflowError,
    laboratory::{self, Version},
};

use super::cast::{Cast, sealed, taken};

/// A step with what goes into it. `result` holds the fields of an Observation that say what was found; `record`
/// is that of the version before.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    /// `code` is a CodeableConcept.
    #[serde(rename = "lab.order")]
    Order { patient: Address, laboratory: Address, code: Value },
    #[serde(rename = "lab.collect")]
    Collect { id: B256, specimen: B256 },
    #[serde(rename = "lab.take-over")]
    TakeOver { patient: Address, id: B256, condition: String },
    #[serde(rename = "lab.preliminary")]
    Preliminary { patient: Address, id: B256, result: Value, critical: bool },
    #[serde(rename = "lab.report")]
    Report { patient: Address, id: B256, result: Value, critical: bool },
    #[serde(rename = "lab.final")]
    Final { patient: Address, id: B256, record: B256, result: Value, critical: bool },
    #[serde(rename = "lab.correct")]
    Correct { patient: Address, id: B256, record: B256, result: Value, critical: bool },
    #[serde(rename = "lab.release")]
    Release { id: B256, digest: B256 },
    #[serde(rename = "lab.acknowledge")]
    Acknowledge { id: B256, digest: B256 },
    #[serde(rename = "lab.escalate")]
    Escalate { id: B256 },
    #[serde(rename = "lab.cancel")]
    Cancel { id: B256 },
}

impl Wanted {
    pub(super) const fn patient(&self) -> Option<Address> {
        match self {
            Self::Order { patient, .. }
            | Self::TakeOver { patient, .. }
            | Self::Preliminary { patient, .. }
            | Self::Report { patient, .. }
            | Self::Final { patient, .. }
            | Self::Correct { patient, .. } => Some(*patient),
            Self::Collect { .. }
            | Self::Release { .. }
            | Self::Acknowledge { .. }
            | Self::Escalate { .. }
            | Self::Cancel { .. } => None,
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now, who) = (&cast.gateway, cast.now, cast.person()?);
        match self {
            Self::Order { patient, laboratory, code } => {
                let patient = cast.about(patient);
                let ordered = laboratory::order(here, &who, &patient, laboratory, &code, now);
                Ok(sealed(ordered.await?))
            }
            Self::Collect { id, specimen } => {
                Ok(taken([laboratory::collect(here, &who, id, specimen).await?]))
            }
            Self::TakeOver { patient, id, condition } => {
                let patient = cast.about(patient);
                Ok(sealed(laboratory::take_over(here, &who, &patient, id, &condition, now).await?))
            }
            Self::Preliminary { patient, id, result, critical } => {
                let (patient, version) =
                    (cast.about(patient), Version { result: &result, critical });
                let reported =
                    laboratory::report_preliminary(here, &who, &patient, id, version, now);
                Ok(sealed(reported.await?))
            }
            Self::Report { patient, id, result, critical } => {
                let patient = cast.about(patient);
                let reported = laboratory::report(here, &who, &patient, id, &result, critical, now);
                Ok(sealed(reported.await?))
            }
            Self::Final { patient, id, record, result, critical } => {
                let (patient, version) =
                    (cast.about(patient), Version { result: &result, critical });
                let before = cast.anchor(record).await?;
                let reported =
                    laboratory::report_final(here, &who, &patient, id, &before, version, now);
                Ok(sealed(reported.await?))
            }
            Self::Correct { patient, id, record, result, critical } => {
                let (patient, version) =
                    (cast.about(patient), Version { result: &result, critical });
                let before = cast.anchor(record).await?;
                let corrected =
                    laboratory::correct(here, &who, &patient, id, &before, version, now);
                Ok(sealed(corrected.await?))
            }
            Self::Release { id, digest } => {
                let digest = RecordDigest(digest);
                Ok(taken([laboratory::release(here, &who, id, digest).await?]))
            }
            Self::Acknowledge { id, digest } => {
                let digest = RecordDigest(digest);
                Ok(taken([laboratory::acknowledge(here, &who, id, digest).await?]))
            }
            Self::Escalate { id } => Ok(taken([laboratory::escalate(here, &who, id).await?])),
            Self::Cancel { id } => Ok(taken([laboratory::cancel(here, &who, id).await?])),
        }
    }
}
