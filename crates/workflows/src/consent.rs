//! Consent: the patient's grant to a reader, countersigned by the steward where the policy asks for
//! both, and revoked at any time.

use alloy_primitives::Address;
use bindings::{
    Consents, Contract,
    convert::{to_grant, to_scope},
    patient_account::Call,
};
use domain::{RecordId, Terms, Timestamp};

use crate::{Gateway, PatientActor, Step, WorkflowError};

/// The patient consents that `reader`, an institution or a professional by member address, reads what
/// the terms cover: all records, or one.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the terms are empty or over already.
pub async fn grant(
    relay: &Gateway,
    patient: &PatientActor,
    reader: Address,
    record: Option<RecordId>,
    terms: &Terms,
    now: Timestamp,
) -> Result<(u32, Step), WorkflowError> {
    let grant = Consents::grantCall { reader, record: to_scope(record), terms: to_grant(terms) };
    let call = Call::to_contract(relay.at(Contract::Consents), &grant);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let granted = outcome.events::<Consents::ConsentGranted>();
    let version = granted.first().map_or(0, |granted| granted.version);
    let what = format!("consents: {} for {}", terms.kinds, terms.purposes);
    Ok((version, Step::new(&patient.name, what, "consent.grant", &outcome)))
}

/// The steward countersigns one version of a consent.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the consent was changed since.
pub async fn countersign(
    steward: &Gateway,
    patient: Address,
    reader: Address,
    record: Option<RecordId>,
    version: u32,
) -> Result<Step, WorkflowError> {
    let call = Consents::countersignCall { patient, reader, record: to_scope(record), version };
    let outcome = steward.sender().send(steward.at(Contract::Consents), &call).await?;
    Ok(Step::new(&steward.name, "countersigns the consent", "consent.countersign", &outcome))
}

/// The patient takes a consent back, from this block on.
///
/// # Errors
///
/// [`WorkflowError::Send`] only when the transaction cannot be sent: the contract never refuses.
pub async fn revoke(
    relay: &Gateway,
    patient: &PatientActor,
    reader: Address,
    record: Option<RecordId>,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let revoke = Consents::revokeCall { reader, record: to_scope(record) };
    let call = Call::to_contract(relay.at(Contract::Consents), &revoke);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "revokes the consent", "consent.revoke", &outcome))
}
