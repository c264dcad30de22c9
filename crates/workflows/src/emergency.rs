//! Breaking the glass: access without prior consent for a patient who cannot be asked.
//!
//! A professional of an emergency department opens some kinds of record for a short time, with a
//! reason. The patient is alerted by the event. Kinds that the patient closed beforehand stay closed.
//! The department's privacy officer reviews every opening; unreviewed past its time, it blocks that
//! professional's next one.

use alloy_primitives::{Address, B256};
use bindings::{
    Contract, EmergencyAccess,
    convert::{to_opening, to_uint40},
    patient_account::Call,
};
use domain::{KindSet, RecordDigest, Timestamp};
use ledger::Outcome;

use crate::{Gateway, PatientActor, Person, Step, WorkflowError};

/// An opening as its event announced it.
pub type Opened = EmergencyAccess::EmergencyOpened;

/// A professional breaks the glass.
///
/// The reason stays with the institution, salted so that nobody can guess it from its digest.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the patient closed these kinds, or a review is overdue.
pub async fn open(
    department: &Gateway,
    professional: &Person,
    patient: Address,
    kinds: KindSet,
    period: std::time::Duration,
    reason: &str,
) -> Result<(Opened, Step), WorkflowError> {
    let salt = department.gatekeeper.entropy().bytes::<32>();
    let reason = RecordDigest::of(&[salt.as_slice(), reason.as_bytes()].concat()).0;
    let period = to_uint40(Timestamp(period.as_secs()));
    let call = EmergencyAccess::openCall { patient, kinds: kinds.bits(), period, reason };
    let outcome = professional.sender.send(department.at(Contract::EmergencyAccess), &call).await?;
    let opened = outcome.events::<Opened>().into_iter().next();
    let opened = opened.ok_or(WorkflowError::Unknown { what: "opening in", id: outcome.hash() })?;
    let what = format!("breaks the glass: {kinds}; the patient is alerted");
    Ok((opened, Step::new(&professional.name, what, "emergency.open", &outcome)))
}

/// An opening of a patient's records, as its event announced it.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none with this id.
pub async fn opened(
    department: &Gateway,
    patient: Address,
    id: B256,
    now: Timestamp,
) -> Result<Opened, WorkflowError> {
    let keeper = &department.gatekeeper;
    keeper.refresh(now).await?;
    let projection = keeper.projection().await;
    let openings = projection.consents.emergency_openings(patient);
    let held = openings.iter().find(|held| held.opening.id == id);
    let held = held.ok_or(WorkflowError::Unknown { what: "opening", id })?;
    Ok(Opened {
        id,
        patient,
        professional: held.opening.professional,
        institution: held.institution,
        opensAt: to_uint40(held.opened_for.opens_at()),
        closesAt: to_uint40(held.opened_for.closes_at()),
        kinds: held.opening.kinds.bits(),
        reason: held.reason,
    })
}

/// The professional ends the opening before its time.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is over.
pub async fn end(
    department: &Gateway,
    professional: &Person,
    opened: &Opened,
) -> Result<Step, WorkflowError> {
    let call = EmergencyAccess::endCall { opening: to_opening(opened) };
    let outcome = professional.sender.send(department.at(Contract::EmergencyAccess), &call).await?;
    Ok(Step::new(&professional.name, "ends the emergency access", "emergency.end", &outcome))
}

/// What a review finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was necessary.
    Justified,
    /// It was not.
    Unjustified,
}

/// The privacy officer reviews an opening that is over.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is still open or was reviewed.
pub async fn review(
    department: &Gateway,
    officer: &Person,
    opened: &Opened,
    verdict: Verdict,
    note: B256,
) -> Result<Step, WorkflowError> {
    let number = match verdict {
        Verdict::Justified => 1,
        Verdict::Unjustified => 2,
    };
    let call = EmergencyAccess::reviewCall { opening: to_opening(opened), verdict: number, note };
    let outcome = officer.sender.send(department.at(Contract::EmergencyAccess), &call).await?;
    let what = match verdict {
        Verdict::Justified => "reviews the access: justified",
        Verdict::Unjustified => "reviews the access: not justified",
    };
    Ok(Step::new(&officer.name, what, "emergency.review", &outcome))
}

/// The patient closes kinds of record to emergency access beforehand, or all of it.
///
/// # Errors
///
/// [`WorkflowError::Send`] only when the transaction cannot be sent.
pub async fn restrict(
    relay: &Gateway,
    patient: &PatientActor,
    kinds: KindSet,
    opted_out: bool,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let restrict = EmergencyAccess::restrictCall { kinds: kinds.bits(), optedOut: opted_out };
    let call = Call::to_contract(relay.at(Contract::EmergencyAccess), &restrict);
    let outcome: Outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = match kinds {
        _ if opted_out => "opts out of emergency access".into(),
        KindSet::EMPTY => "opens everything to emergency access".into(),
        kinds => format!("closes {kinds} to emergency access"),
    };
    Ok(Step::new(&patient.name, what, "emergency.restrict", &outcome))
}
