//! Steps of laboratory orders.

use alloy_primitives::{Address, B256};
use domain::RecordDigest;
use serde::Deserialize;
use serde_json::Value;
use workflows::{
    WorkflowError,
    laboratory::{self, Version},
};

use super::{
    About,
    cast::{Cast, sealed, taken},
};

/// A step with what goes into it. `result` holds the fields of an Observation that say what was found; `record`
/// is that of the version before; `specimen` is what stands on the label.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    /// `code` is a CodeableConcept.
    #[serde(rename = "lab.order")]
    Order { patient: Address, laboratory: Address, code: Value },
    #[serde(rename = "lab.collect")]
    Collect { id: B256, specimen: String },
    #[serde(rename = "lab.take-over")]
    TakeOver { id: B256, condition: String },
    #[serde(rename = "lab.preliminary")]
    Preliminary { id: B256, result: Value, critical: bool },
    #[serde(rename = "lab.report")]
    Report { id: B256, result: Value, critical: bool },
    #[serde(rename = "lab.final")]
    Final { id: B256, record: B256, result: Value, critical: bool },
    #[serde(rename = "lab.correct")]
    Correct { id: B256, record: B256, result: Value, critical: bool },
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
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Order { patient, .. } => About::Begins(*patient),
            Self::Collect { id, .. }
            | Self::TakeOver { id, .. }
            | Self::Preliminary { id, .. }
            | Self::Report { id, .. }
            | Self::Final { id, .. }
            | Self::Correct { id, .. }
            | Self::Release { id, .. }
            | Self::Acknowledge { id, .. }
            | Self::Escalate { id }
            | Self::Cancel { id } => About::LabOrder(*id),
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        if let (Self::Cancel { id }, true) = (&self, cast.is_patient()) {
            let who = cast.patient()?;
            return Ok(taken([laboratory::cancel_by_patient(here, &who, *id, now).await?]));
        }
        let who = cast.person()?;
        match self {
            Self::Order { laboratory, code, .. } => {
                let patient = cast.about();
                let ordered = laboratory::order(here, &who, &patient, laboratory, &code, now);
                Ok(sealed(ordered.await?))
            }
            Self::Collect { id, specimen } => {
                // A label that others could guess must not be found by its digest.
                let specimen = here.keyed_digest("salus/specimen/v1", specimen.as_bytes());
                Ok(taken([laboratory::collect(here, &who, id, specimen).await?]))
            }
            Self::TakeOver { id, condition } => {
                let patient = cast.about();
                Ok(sealed(laboratory::take_over(here, &who, &patient, id, &condition, now).await?))
            }
            Self::Preliminary { id, result, critical } => {
                let (patient, version) = (cast.about(), Version { result: &result, critical });
                let reported =
                    laboratory::report_preliminary(here, &who, &patient, id, version, now);
                Ok(sealed(reported.await?))
            }
            Self::Report { id, result, critical } => {
                let patient = cast.about();
                let reported = laboratory::report(here, &who, &patient, id, &result, critical, now);
                Ok(sealed(reported.await?))
            }
            Self::Final { id, record, result, critical } => {
                let (patient, version) = (cast.about(), Version { result: &result, critical });
                let before = cast.anchor(record).await?;
                let reported =
                    laboratory::report_final(here, &who, &patient, id, &before, version, now);
                Ok(sealed(reported.await?))
            }
            Self::Correct { id, record, result, critical } => {
                let (patient, version) = (cast.about(), Version { result: &result, critical });
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
