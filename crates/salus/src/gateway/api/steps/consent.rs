//! Steps of consent: given and taken back by patients, countersigned where a relationship asks for both.

use alloy_primitives::{Address, B256};
use domain::{
    Kind, KindSet, Period, ProfessionalRole, Purpose, PurposeSet, RecordId, Terms, Timestamp,
};
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::{WorkflowError, consent};

use super::{
    About,
    cast::{Cast, taken},
};

/// A step with what goes into it. A `reader` is an institution or a professional, by member address; `record` makes
/// it a consent for that one alone.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    /// From now, or from `since` on.
    #[serde(rename = "consent.grant")]
    Grant {
        patient: Address,
        reader: Address,
        record: Option<B256>,
        kinds: Vec<String>,
        purposes: Vec<String>,
        since: Option<u64>,
        until: u64,
    },
    /// One version of a consent, as the privacy officer saw it.
    #[serde(rename = "consent.countersign")]
    Countersign { patient: Address, reader: Address, record: Option<B256>, version: u32 },
    #[serde(rename = "consent.revoke")]
    Revoke { patient: Address, reader: Address, record: Option<B256> },
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Grant { patient, .. }
            | Self::Countersign { patient, .. }
            | Self::Revoke { patient, .. } => About::Patient(*patient),
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        match self {
            Self::Grant { reader, record, kinds, purposes, since, until, .. } => {
                let who = cast.patient()?;
                let kinds: Vec<Kind> = parsed(&kinds, "`kinds` are names of kinds of record")?;
                let purposes: Vec<Purpose> = parsed(&purposes, "`purposes` are names of purposes")?;
                let period = Period::new(since.map_or(now, Timestamp), Timestamp(until))
                    .map_err(|error| WorkflowError::Invalid(error.to_string()))?;
                let (kinds, purposes) = (KindSet::of(&kinds), PurposeSet::of(&purposes));
                let terms = Terms { period, kinds, purposes };
                let record = record.map(RecordId);
                let (version, step) =
                    consent::grant(here, &who, reader, record, &terms, now).await?;
                let mut value = taken([step]);
                value["version"] = json!(version);
                Ok(value)
            }
            Self::Countersign { patient, reader, record, version } => {
                if cast.person()?.role != ProfessionalRole::PrivacyOfficer {
                    let why = "the institution's privacy officers countersign";
                    return Err(WorkflowError::Invalid(why.into()));
                }
                let record = record.map(RecordId);
                let step = consent::countersign(here, patient, reader, record, version).await?;
                Ok(taken([step]))
            }
            Self::Revoke { reader, record, .. } => {
                let who = cast.patient()?;
                let record = record.map(RecordId);
                Ok(taken([consent::revoke(here, &who, reader, record, now).await?]))
            }
        }
    }
}

fn parsed<T: std::str::FromStr>(
    names: &[String],
    otherwise: &str,
) -> Result<Vec<T>, WorkflowError> {
    let values: Option<Vec<T>> = names.iter().map(|name| name.parse().ok()).collect();
    values.ok_or_else(|| WorkflowError::Invalid(otherwise.into()))
}
