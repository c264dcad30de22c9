//! One record: sealed and proposed by its steward, verified and accepted or rejected by the patient.
//!
//! The sealed record is in the steward's vault before its digest goes on chain. The patient is alerted
//! by the event, opens the record with their own key, and answers. An amendment is the next version.

use bindings::{Contract, Records, convert::to_anchor, patient_account::Call};
use domain::{Anchor, Kind, RecordId, RecordVersion, Timestamp};
use vault::{Content, ErasureOrder, ErasureReason, NewRecord};

use crate::{Gateway, PatientActor, Person, Step, WorkflowError};

/// What is to be sealed.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it is about.
    pub kind: Kind,
    /// The FHIR resource, as JSON.
    pub resource: serde_json::Value,
}

impl Draft {
    /// The first version of a record, to be sealed.
    pub(crate) fn first_version(
        &self,
        record: RecordId,
        author: &Person,
        patient: &PatientActor,
        now: Timestamp,
    ) -> NewRecord {
        NewRecord {
            record,
            version: RecordVersion::FIRST,
            patient: patient.account(),
            kind: self.kind,
            content: Content::FhirJson,
            author: author.member,
            created: now,
            body: serde_json::to_vec(&self.resource).expect("a JSON value has a text"),
        }
    }
}

/// The steward seals a record and proposes its first version.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses; then nothing was sealed.
pub async fn propose(
    steward: &Gateway,
    author: &Person,
    patient: &PatientActor,
    draft: &Draft,
    now: Timestamp,
) -> Result<(Anchor, Step), WorkflowError> {
    let new = draft.first_version(steward.make_record_id(), author, patient, now);
    let (anchor, outcome) = steward.gatekeeper.put_and_propose(new, None).await?;
    let what = format!("proposes a {} record", draft.kind);
    Ok((anchor, Step::new(&steward.name, what, "record.propose", &outcome)))
}

/// The steward seals the next version of a record and proposes it.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses; then nothing was sealed.
pub async fn amend(
    steward: &Gateway,
    author: &Person,
    patient: &PatientActor,
    previous: &Anchor,
    draft: &Draft,
    now: Timestamp,
) -> Result<(Anchor, Step), WorkflowError> {
    let version = RecordVersion::try_from(previous.version.get() + 1)
        .map_err(|_| WorkflowError::Invalid("no version follows this one".into()))?;
    let new = draft.first_version(previous.record, author, patient, now);
    let new = NewRecord { version, ..new };
    let (anchor, outcome) = steward.gatekeeper.put_and_propose(new, Some(previous)).await?;
    let what = format!("proposes version {version}");
    Ok((anchor, Step::new(&steward.name, what, "record.amend", &outcome)))
}

/// What a patient answers to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is right.
    Accept,
    /// It is wrong, or not theirs.
    Reject,
    /// It was accepted, but is wrong.
    Dispute,
}

/// The patient opens the proposed version with their own key, to see what it says.
///
/// # Errors
///
/// [`WorkflowError`] when the steward has no copy for the patient or it does not open.
pub async fn verify(
    steward: &Gateway,
    patient: &PatientActor,
    anchor: &Anchor,
) -> Result<Vec<u8>, WorkflowError> {
    let vault = steward.gatekeeper.vault();
    let unknown = || WorkflowError::Unknown { what: "record", id: anchor.record.0 };
    let copy = vault.copy_for(anchor.digest, patient.account()).await?.ok_or_else(unknown)?;
    let sealed = vault.sealed_bytes(anchor.digest).await?.ok_or_else(unknown)?;
    let identity = vault::Identity { address: patient.account(), secret: patient.secret.clone() };
    let mut body = Vec::new();
    copy.open(sealed, &identity, vault.network(), &mut body)?;
    Ok(body)
}

/// The patient answers a record.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the record does not stand so that this answer is possible.
pub async fn answer(
    steward: &Gateway,
    patient: &PatientActor,
    anchor: &Anchor,
    verdict: Verdict,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let records = steward.at(Contract::Records);
    let anchor = to_anchor(anchor);
    let (call, what, operation) = match verdict {
        Verdict::Accept => (
            Call::to_contract(records, &Records::acceptCall { anchor }),
            "verifies and accepts it",
            "record.accept",
        ),
        Verdict::Reject => (
            Call::to_contract(records, &Records::rejectCall { anchor }),
            "verifies and rejects it",
            "record.reject",
        ),
        Verdict::Dispute => (
            Call::to_contract(records, &Records::disputeCall { anchor }),
            "disputes it",
            "record.dispute",
        ),
    };
    let outcome = patient.act(steward.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, what, operation, &outcome))
}

/// The patient accepts everything of theirs in a batch.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the batch is not known or was accepted already.
pub async fn accept_batch(
    steward: &Gateway,
    patient: &PatientActor,
    root: alloy_primitives::B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let accept = Records::acceptBatchCall { steward: steward.member(), root };
    let call = Call::to_contract(steward.at(Contract::Records), &accept);
    let outcome = patient.act(steward.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "accepts a batch", "record.accept-batch", &outcome))
}

/// The steward destroys one version and every key to it, and says so on chain.
///
/// # Errors
///
/// [`WorkflowError`]. The body is gone before the chain is told; telling it again is possible.
pub async fn erase(
    steward: &Gateway,
    anchor: &Anchor,
    reason: ErasureReason,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let order = ErasureOrder { by: steward.member(), reason, at: now };
    let vault = steward.gatekeeper.vault();
    let receipt = vault
        .erase(anchor.record, anchor.version, order, &mut steward.gatekeeper.entropy().fork())
        .await
        .map_err(|error| WorkflowError::Invalid(error.to_string()))?;
    let call = Records::eraseCall { anchor: to_anchor(anchor), receipt: receipt.digest() };
    let outcome = steward.sender().send(steward.at(Contract::Records), &call).await?;
    Ok(Step::new(&steward.name, "erases a record", "record.erase", &outcome))
}
