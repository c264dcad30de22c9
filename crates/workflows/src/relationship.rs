//! Patient and steward: proposed by the steward, accepted by the patient.
//!
//! From then on the steward may propose records. The policy says whether third parties need the
//! steward's countersignature as well; accepting names the policy, so that none slips in unseen.

use bindings::{Contract, Relationships, patient_account::Call};
use domain::Timestamp;

use crate::{Gateway, PatientActor, Step, WorkflowError};

/// The steward proposes to keep the patient's records.
///
/// # Errors
///
/// [`WorkflowError::Send`], such as when there is a relationship already.
pub async fn propose(
    steward: &Gateway,
    patient: &PatientActor,
    countersigned: bool,
) -> Result<Step, WorkflowError> {
    let call = Relationships::proposeCall { patient: patient.account(), countersigned };
    let outcome = steward.sender().send(steward.at(Contract::Relationships), &call).await?;
    Ok(Step::new(&steward.name, "proposes a relationship", "relationship.propose", &outcome))
}

/// The patient accepts it, and the steward learns to which key the patient's records are sealed: first,
/// so that a crash in between leaves no active relationship whose records the patient cannot open.
///
/// # Errors
///
/// [`WorkflowError::Send`], such as when the policy is another than the one seen.
pub async fn accept(
    steward: &Gateway,
    patient: &PatientActor,
    countersigned: bool,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    learn_keys(steward, &[patient]).await?;
    accept_known(steward, patient, countersigned, now).await
}

/// The steward learns to which keys these patients' records are sealed, in one write.
///
/// # Errors
///
/// [`WorkflowError::Store`] when the vault failed; then it learned none of them.
pub async fn learn_keys(
    steward: &Gateway,
    patients: &[&PatientActor],
) -> Result<(), WorkflowError> {
    if patients.is_empty() {
        return Ok(());
    }
    let keys = |patient: &&PatientActor| (patient.account(), vec![patient.public_key()]);
    let keys: Vec<_> = patients.iter().map(keys).collect();
    let (vault, entropy) = (steward.gatekeeper.vault(), steward.gatekeeper.entropy());
    Ok(vault.set_keys_of_patients(&keys, &mut entropy.fork()).await?)
}

/// The patient accepts it, whose keys the steward has learned.
///
/// # Errors
///
/// See [`accept`].
pub async fn accept_known(
    steward: &Gateway,
    patient: &PatientActor,
    countersigned: bool,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let accept = Relationships::acceptCall { steward: steward.member(), countersigned };
    let call = Call::to_contract(steward.at(Contract::Relationships), &accept);
    let outcome = patient.act(steward.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "accepts it", "relationship.accept", &outcome))
}

/// The patient ends it. What the steward keeps stays under the patient's consent.
///
/// # Errors
///
/// [`WorkflowError::Send`] when there is none.
pub async fn end(
    steward: &Gateway,
    patient: &PatientActor,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let end = Relationships::endCall { steward: steward.member() };
    let call = Call::to_contract(steward.at(Contract::Relationships), &end);
    let outcome = patient.act(steward.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "ends the relationship", "relationship.end", &outcome))
}
