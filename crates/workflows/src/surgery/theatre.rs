//! In the theatre and after it: implants, complications, recovery, follow-up.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent as _;
use bindings::{Contract, Surgeries};
use domain::{Anchor, Kind, Timestamp};
use ledger::CallError;
use serde_json::json;

use super::{note, practitioner, standing, subject, written};
use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError, given::require_words, record::Draft,
};

/// What is put into a patient.
#[derive(Clone, Debug)]
pub struct Implant {
    /// Who made it.
    pub maker: String,
    /// What it is.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Its lot.
    pub lot: String,
    /// The lot's digest under the maker's key, as delivered with the package, by which the maker finds
    /// it in a recall. Without it, the lot stands under the hospital's own key.
    pub lot_digest: Option<B256>,
}

/// How an implant is called on chain: by a digest that only the hospital can make.
#[must_use]
pub fn implant_digest(hospital: &Gateway, maker: &str, serial: &str) -> B256 {
    hospital.keyed_digest("salus/implant/v1", &joined(maker, serial))
}

/// How a lot is called on chain, under the key of whoever asks: its maker, or the hospital.
#[must_use]
pub fn lot_digest(gateway: &Gateway, maker: &str, lot: &str) -> B256 {
    gateway.keyed_digest("salus/implant-lot/v1", &joined(maker, lot))
}

/// Two texts with their border, so that no two pairs make the same.
fn joined(maker: &str, number: &str) -> Vec<u8> {
    let length = (maker.len() as u64).to_be_bytes();
    [length.as_slice(), maker.as_bytes(), number.as_bytes()].concat()
}

/// The surgeon or nurse of the team records an implant: sealed with serial number and lot, and on chain
/// by their keyed digests. Two steps.
///
/// # Errors
///
/// [`WorkflowError`] when nobody operates, or the implant was put into this patient before.
pub async fn implant(
    hospital: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    device: &Implant,
    now: Timestamp,
) -> Result<(B256, Vec<Step>), WorkflowError> {
    for (what, text) in [
        ("maker", &device.maker),
        ("model", &device.model),
        ("serial number", &device.serial),
        ("lot", &device.lot),
    ] {
        require_words(what, text)?;
    }
    let implant = implant_digest(hospital, &device.maker, &device.serial);
    let own = || lot_digest(hospital, &device.maker, &device.lot);
    let lot = device.lot_digest.unwrap_or_else(own);
    let resource = json!({
        "resourceType": "Device",
        "identifier": [{ "system": IMPLANT_SYSTEM, "value": implant.to_string() }],
        "status": "active",
        "manufacturer": device.maker,
        "serialNumber": device.serial,
        "lotNumber": device.lot,
        "deviceName": [{ "name": device.model, "type": "model-name" }],
        "patient": subject(patient),
        "owner": { "reference": format!("Organization/{}", hospital.member()) },
        "note": [{ "text": format!("put in during surgery {id}") }],
    });
    let draft = Draft { kind: Kind::Device, resource };
    let written = written(hospital, person, patient, id, now).await?;
    // The event names the implant, not the record: the record names both.
    let call = |_| Surgeries::recordImplantCall { id, implant, lot };
    let record = hospital.make_record_id();
    let (_, sealed, outcome) = written.and_send(record, &draft, Contract::Surgeries, call).await?;
    let step = Step::new(&person.name, "records an implant", "surgery.record-implant", &outcome);
    Ok((implant, vec![sealed, step]))
}

/// The surgeon of the team records that an implant of the patient was taken out.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is not in this patient.
pub async fn explant(
    hospital: &Gateway,
    surgeon: &Person,
    id: B256,
    implant: B256,
) -> Result<Step, WorkflowError> {
    let call = Surgeries::recordExplantCall { id, implant };
    let outcome = surgeon.sender.send(hospital.at(Contract::Surgeries), &call).await?;
    let what = "records that an implant was taken out";
    Ok(Step::new(&surgeon.name, what, "surgery.record-explant", &outcome))
}

/// Where an implant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Implanted {
    /// The surgery that put it in.
    pub surgery: B256,
    /// In whom, by account.
    pub patient: Address,
    /// Whether it was taken out since.
    pub removed: bool,
}

/// From the implant to surgeries and patients. What was recorded by mistake is left out; more than one means
/// that it was recorded of several patients, of whom one has it.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn trace(hospital: &Gateway, implant: B256) -> Result<Vec<Implanted>, WorkflowError> {
    let found = recorded(hospital, |filter| filter.topic1(implant)).await?;
    Ok(found.into_iter().map(|(_, implanted)| implanted).collect())
}

/// From a lot to everybody who has, or had, an implant of it: the implant, and where it is. What was recorded
/// by mistake is left out.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn recall(
    hospital: &Gateway,
    lot: B256,
) -> Result<Vec<(B256, Implanted)>, WorkflowError> {
    recorded(hospital, |filter| filter.topic2(lot)).await
}

/// The implants whose events some filter finds, as they stand now.
async fn recorded(
    hospital: &Gateway,
    only: impl FnOnce(Filter) -> Filter,
) -> Result<Vec<(B256, Implanted)>, WorkflowError> {
    let filter = Filter::new()
        .address(hospital.at(Contract::Surgeries))
        .event_signature(Surgeries::Implanted::SIGNATURE_HASH)
        .from_block(0);
    let ledger = hospital.gatekeeper.ledger();
    let logs = ledger.logs(&only(filter)).await.map_err(CallError::from)?;
    let events = logs.iter().filter_map(|log| Surgeries::Implanted::decode_log(&log.inner).ok());
    // Somebody of whom it was recorded again after a mistake is named twice.
    let named: BTreeSet<_> = events.map(|event| (event.data.implant, event.data.patient)).collect();
    let mut found = Vec::new();
    for (implant, patient) in named {
        let implanted = implant_of(hospital, patient, implant).await?;
        found.extend(implanted.map(|implanted| (implant, implanted)));
    }
    Ok(found)
}

/// Where an implant of a patient is; nothing when it was never put into them.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn implant_of(
    hospital: &Gateway,
    patient: Address,
    implant: B256,
) -> Result<Option<Implanted>, WorkflowError> {
    let call = Surgeries::implantOfCall { patient, implant };
    let (at, latest) = (hospital.at(Contract::Surgeries), Default::default());
    let found = hospital.gatekeeper.ledger().call(at, &call, latest).await?;
    let Surgeries::Implant { surgery, removed, .. } = found;
    Ok((!surgery.is_zero()).then_some(Implanted { surgery, patient, removed }))
}

/// The surgeon or nurse of the team takes back an implant that was recorded by mistake, before the sign-out.
/// Its sealed record stays, and says nothing on chain any more.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it was not recorded in this round.
pub async fn void_implant(
    hospital: &Gateway,
    person: &Person,
    id: B256,
    implant: B256,
) -> Result<Step, WorkflowError> {
    let call = Surgeries::voidImplantCall { id, implant };
    let outcome = person.sender.send(hospital.at(Contract::Surgeries), &call).await?;
    let what = "takes back an implant that was recorded by mistake";
    Ok(Step::new(&person.name, what, "surgery.void-implant", &outcome))
}

/// From the surgery to its implants, those that were taken out later included.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn implants_of(hospital: &Gateway, id: B256) -> Result<Vec<B256>, WorkflowError> {
    let call = Surgeries::implantsOfCall { id };
    let (at, latest) = (hospital.at(Contract::Surgeries), Default::default());
    Ok(hospital.gatekeeper.ledger().call(at, &call, latest).await?)
}

/// A doctor or nurse of the hospital reports a complication, from the sign-in on: sealed as a
/// condition of the patient's. The patient sees the event.
///
/// # Errors
///
/// [`WorkflowError`] before the sign-in, or when the reporter is not of the hospital.
pub async fn report_complication(
    hospital: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    text: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_words("complication", text)?;
    let (state, _) = standing(hospital, id).await?;
    let resource = json!({
        "resourceType": "Condition",
        "code": { "text": text },
        "subject": subject(patient),
        "recorder": practitioner(person),
        "recordedDate": now.to_string(),
        "evidence": [{ "detail": [{ "reference": format!("ServiceRequest/{id:x}") }] }],
        "note": [{ "text": format!("complication of an operation, which was {}", state.name()) }],
    });
    let draft = Draft { kind: Kind::Condition, resource };
    let call = |digest| Surgeries::reportComplicationCall { id, digest };
    let written = written(hospital, person, patient, id, now).await?;
    let record = hospital.make_record_id();
    let (anchor, sealed, outcome) =
        written.and_send(record, &draft, Contract::Surgeries, call).await?;
    let what = "reports a complication";
    let step = Step::new(&person.name, what, "surgery.report-complication", &outcome);
    Ok((anchor, vec![sealed, step]))
}

/// The anaesthetist hands the patient over to recovery.
///
/// # Errors
///
/// [`WorkflowError`] before the sign-out is complete.
pub async fn hand_over(
    hospital: &Gateway,
    anaesthetist: &Person,
    patient: &PatientActor,
    id: B256,
    text: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let draft = note(id, "hand-over to recovery", text, anaesthetist, patient, now)?;
    let call = |digest| Surgeries::handOverCall { id, digest };
    let written = written(hospital, anaesthetist, patient, id, now).await?;
    let record = hospital.make_record_id();
    let (anchor, sealed, outcome) =
        written.and_send(record, &draft, Contract::Surgeries, call).await?;
    let what = "hands the patient over to recovery";
    let step = Step::new(&anaesthetist.name, what, "surgery.hand-over", &outcome);
    Ok((anchor, vec![sealed, step]))
}

/// A doctor of the hospital discharges the patient, with a plan for the time after.
///
/// # Errors
///
/// [`WorkflowError`] when the patient is not in recovery.
pub async fn discharge(
    hospital: &Gateway,
    doctor: &Person,
    patient: &PatientActor,
    id: B256,
    text: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_words("plan for the time after", text)?;
    let resource = json!({
        "resourceType": "CarePlan",
        "status": "active",
        "intent": "plan",
        "title": "After the operation",
        "description": text,
        "subject": subject(patient),
        "created": now.to_string(),
        "author": practitioner(doctor),
        "supportingInfo": [{ "reference": format!("ServiceRequest/{id:x}") }],
    });
    let draft = Draft { kind: Kind::CarePlan, resource };
    let call = |digest| Surgeries::dischargeCall { id, digest };
    let written = written(hospital, doctor, patient, id, now).await?;
    let record = hospital.make_record_id();
    let (anchor, sealed, outcome) =
        written.and_send(record, &draft, Contract::Surgeries, call).await?;
    let step = Step::new(&doctor.name, "discharges the patient", "surgery.discharge", &outcome);
    Ok((anchor, vec![sealed, step]))
}

/// A doctor of the hospital, or who referred, sees the patient again. `gateway` is where the doctor
/// works, which keeps what they found.
///
/// # Errors
///
/// [`WorkflowError`] when the patient was not discharged.
pub async fn follow_up(
    gateway: &Gateway,
    doctor: &Person,
    patient: &PatientActor,
    id: B256,
    text: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_words("follow-up", text)?;
    let resource = json!({
        "resourceType": "ClinicalImpression",
        "status": "completed",
        "description": "Follow-up after an operation",
        "summary": text,
        "subject": subject(patient),
        "date": now.to_string(),
        "assessor": practitioner(doctor),
        "supportingInfo": [{ "reference": format!("ServiceRequest/{id:x}") }],
    });
    let draft = Draft { kind: Kind::Condition, resource };
    let call = |digest| Surgeries::followUpCall { id, digest };
    let written = written(gateway, doctor, patient, id, now).await?;
    let record = gateway.make_record_id();
    let (anchor, sealed, outcome) =
        written.and_send(record, &draft, Contract::Surgeries, call).await?;
    let what = "sees the patient again";
    let step = Step::new(&doctor.name, what, "surgery.follow-up", &outcome);
    Ok((anchor, vec![sealed, step]))
}

/// How the records of implants and operations call an implant by what stands on chain.
pub(super) const IMPLANT_SYSTEM: &str = "urn:salus:implant";
