//! A patient's account: with what it is acted for, and to what is sealed for its patient.

use alloy_primitives::Bytes;
use bindings::{PatientAccount, patient_account::Call};
use domain::Timestamp;
use vault::PublicKey;

use crate::{Gateway, PatientActor, Step, WorkflowError};

/// The account is acted for with another signer from now on (ERC-7913), such as a passkey that was just made. A
/// recovery that is under way is void.
///
/// # Errors
///
/// [`WorkflowError::Send`], such as when the bytes are no signer, or when it was not signed.
pub async fn change_signer(
    gateway: &Gateway,
    patient: &PatientActor,
    signer: Bytes,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let change = PatientAccount::changeSignerCall { newSigner: signer };
    let call = Call::to_contract(patient.account(), &change);
    let outcome = patient.act(gateway.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "changes the signer", "account.change-signer", &outcome))
}

/// This institution seals for all of these keys of the patient from now on, and for no others: one that the passkey
/// makes, and one that is printed.
///
/// # Errors
///
/// [`WorkflowError::Store`] when the vault failed; then nothing was changed.
pub async fn seal_for(
    gateway: &Gateway,
    patient: &PatientActor,
    keys: Vec<PublicKey>,
) -> Result<(), WorkflowError> {
    let (vault, entropy) = (gateway.gatekeeper.vault(), gateway.gatekeeper.entropy());
    Ok(vault.set_patient_keys(patient.account(), &keys, &mut entropy.fork()).await?)
}
