//! Copies of a patient's records in a vault of their own.
//!
//! The patient asks each steward by a signed query, which leaves a receipt, and takes over the sealed
//! bytes of what was permitted, with the key wrapped for them. A copy is kept only if its digest is the
//! one on chain, so neither the steward nor the way between can slip in anything else.

use domain::{KindSet, RecordVersion, Timestamp};
use vault::{Identity, OnConflict, Vault};

use crate::{Gateway, PatientActor, WorkflowError, access};

/// What was taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Records that are new in the patient's vault.
    pub records: u64,
    /// Their sealed bytes.
    pub sealed_bytes: u64,
    /// Records that were there already.
    pub kept_already: u64,
    /// Records that do not open at the steward's, such as damaged ones.
    pub unavailable: u64,
}

/// Brings the newest versions of the patient's records from one steward into the patient's vault.
///
/// # Errors
///
/// [`WorkflowError`] when the steward refuses, or offers what is not on chain; copies before that one
/// are kept.
pub async fn fetch(
    steward: &Gateway,
    patient: &PatientActor,
    own: &Vault,
    now: Timestamp,
) -> Result<Fetched, WorkflowError> {
    let keeper = &steward.gatekeeper;
    keeper.refresh(now).await?;
    let anchored = keeper.anchored().await?;
    let identity = Identity { address: patient.account(), secret: patient.secret.clone() };
    let mut fetched = Fetched::default();
    let mut after = None;
    loop {
        let (answered, _) =
            access::ask_as_patient_after(keeper, patient, KindSet::ALL, after, now).await?;
        let opened = answered.records.last().map(|record| record.record);
        after = opened.max(answered.unavailable.last().copied());
        fetched.unavailable += answered.unavailable.len() as u64;
        for record in &answered.records {
            let digest = record.digest;
            let version = RecordVersion::try_from(record.version)
                .map_err(|_| WorkflowError::Invalid("versions are counted from 1".into()))?;
            if anchored.get(&(record.record, version)) != Some(&digest) {
                return Err(WorkflowError::Unknown { what: "digest", id: digest.0 });
            }
            if own.contains(digest).await? {
                fetched.kept_already += 1;
                continue;
            }
            let missing = || WorkflowError::Unknown { what: "record", id: record.record.0 };
            let copy = keeper.vault().copy_for(digest, identity.address).await?;
            let sealed = keeper.vault().sealed_bytes(digest).await?.ok_or_else(missing)?;
            let copy = copy.ok_or_else(missing)?;
            let entry = own.import(copy, sealed, Some(&identity), OnConflict::Refuse).await?;
            fetched.records += 1;
            fetched.sealed_bytes += entry.sealed_len;
        }
        if !answered.more || after.is_none() {
            return Ok(fetched);
        }
    }
}
