//! Waiting lists: referred by a doctor, given a priority, scheduled, and attended or removed.
//!
//! The referral is a record of the referrer's institution, sealed and anchored like any other; its record
//! id is the listing's id on chain, which only its referrer can take. On chain stand where the listing
//! stands and its times, never the specialty or a reason. Physicians and surgeons of the hospital give
//! priorities, nurses too give appointments and say who came; the patient, who referred and the hospital's
//! doctors can end the waiting, with a reason that is sealed. A patient who did not come waits on.
//!
//! Who waits is alerted of each step that somebody else took, and so is who referred.

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::{
    Contract, WaitingLists,
    convert::{make_id, timestamp, to_uint40},
    patient_account::Call,
};
use domain::{Anchor, Kind, RecordDigest, RecordId, Timestamp};
use serde_json::json;

use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    given::{require_within_years, require_words},
    record::{Draft, Written},
};

/// The system under which referrals have their numbers.
const REFERRALS: &str = "urn:salus:referral";

/// How many years ahead an appointment may be.
const YEARS_MAX: u64 = 10;

/// How long an appointment lasts, as it is written down.
const APPOINTMENT: std::time::Duration = std::time::Duration::from_secs(30 * 60);

/// What a patient is referred for.
#[derive(Clone, Debug)]
pub struct Referral {
    /// Its number: random, in the sealed referral. Whoever lists the same referral again has to name it,
    /// and a hospital takes it once.
    pub number: B256,
    /// The specialty, in words.
    pub specialty: String,
    /// Why, in words.
    pub reason: String,
}

impl Referral {
    /// A referral with a number of its own.
    #[must_use]
    pub fn new(from: &Gateway, specialty: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { number: from.make_salt(), specialty: specialty.into(), reason: reason.into() }
    }

    /// As the contract holds it.
    fn digest(&self) -> B256 {
        keccak256(("salus/referral/v1".to_owned(), self.number).abi_encode_params())
    }
}

/// Where a listing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// On the list.
    Listed,
    /// It has a priority.
    Prioritised,
    /// It has an appointment.
    Scheduled,
    /// The patient came.
    Attended,
    /// Ended without.
    Removed,
}

/// A listing as it stands on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Who waits.
    pub patient: Address,
    /// At which hospital.
    pub hospital: Address,
    /// Who referred, by member address.
    pub referrer: Address,
    /// Where it stands.
    pub state: State,
    /// 1 is the most urgent; `None` before it was given.
    pub priority: Option<u8>,
    /// How often the patient did not come.
    pub missed: u8,
    /// Since when. Nothing that happens later changes it.
    pub listed_at: Timestamp,
    /// When the appointment is, or was.
    pub appointment_at: Option<Timestamp>,
}

/// A doctor refers a patient to a hospital, whose list the patient is on from then on.
///
/// # Errors
///
/// [`WorkflowError`] when specialty or reason are empty, or the chain refuses: somebody who is no doctor, an institution that keeps no
/// records for the patient, or a referral that is on this hospital's list. It is asked before anything
/// is sealed.
pub async fn refer(
    from: &Gateway,
    referrer: &Person,
    patient: &PatientActor,
    hospital: Address,
    referral: &Referral,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_words("specialty", &referral.specialty)?;
    require_words("reason", &referral.reason)?;
    let salt = from.make_salt();
    let id = RecordId(make_id(referrer.member, salt));
    let list = |entry| WaitingLists::listCall {
        salt,
        patient: patient.account(),
        hospital,
        referral: referral.digest(),
        entry,
    };
    let resource = json!({
        "resourceType": "ServiceRequest",
        "identifier": [{ "system": REFERRALS, "value": referral.number.to_string() }],
        "status": "active",
        "intent": "order",
        "category": [{ "coding": [{ "system": "http://snomed.info/sct", "code": "3457005" }] }],
        "code": { "text": referral.specialty },
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "authoredOn": now.to_string(),
        "requester": { "reference": format!("Practitioner/{}", referrer.member) },
        "performer": [{ "reference": format!("Organization/{hospital}") }],
        "reasonCode": [{ "text": referral.reason }],
    });
    let draft = Draft { kind: Kind::Order, resource };
    let written = Written { gateway: from, author: referrer, patient, now };
    let (anchor, sealed, listed) =
        written.and_send(id, &draft, Contract::WaitingLists, list).await?;
    let what = "refers the patient, who is on the waiting list now";
    let step = Step::new(&referrer.name, what, "waiting-list.list", &listed);
    Ok((anchor, vec![sealed, step]))
}

/// A doctor of the hospital gives a priority, from 1, the most urgent, to 4; also another one.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else, or the patient has an appointment or waits no more.
pub async fn prioritise(
    hospital: &Gateway,
    doctor: &Person,
    id: B256,
    priority: u8,
) -> Result<Step, WorkflowError> {
    let call = WaitingLists::prioritiseCall { id, priority };
    let outcome = doctor.sender.send(hospital.at(Contract::WaitingLists), &call).await?;
    let what = format!("gives priority {priority}");
    Ok(Step::new(&doctor.name, what, "waiting-list.prioritise", &outcome))
}

/// A doctor or nurse of the hospital gives an appointment, also another one: a record of the hospital.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses: it is somebody else, there is no priority yet, or the time is
/// over. It is asked before anything is sealed.
pub async fn schedule(
    hospital: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    appointment_at: Timestamp,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    patient.require_theirs("listing", listing(hospital, id).await?.patient)?;
    require_within_years("appointment", appointment_at, now, YEARS_MAX)?;
    let call = |_| WaitingLists::scheduleCall { id, appointmentAt: to_uint40(appointment_at) };
    let part =
        |reference: String| json!({ "actor": { "reference": reference }, "status": "accepted" });
    let resource = json!({
        "resourceType": "Appointment",
        "status": "booked",
        "basedOn": [{ "reference": format!("ServiceRequest/{id:x}") }],
        "start": appointment_at.to_string(),
        "end": appointment_at.after(APPOINTMENT).to_string(),
        "created": now.to_string(),
        "participant": [
            part(format!("Patient/{}", patient.account())),
            part(format!("Practitioner/{}", person.member)),
        ],
    });
    let draft = Draft { kind: Kind::Encounter, resource };
    let written = Written { gateway: hospital, author: person, patient, now };
    let record = hospital.make_record_id();
    let (anchor, sealed, scheduled) =
        written.and_send(record, &draft, Contract::WaitingLists, call).await?;
    let what = format!("gives an appointment at {appointment_at}; the patient is alerted");
    let step = Step::new(&person.name, what, "waiting-list.schedule", &scheduled);
    Ok((anchor, vec![sealed, step]))
}

/// A doctor or nurse of the hospital says that the patient came.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else, there is no appointment, or it is not time yet.
pub async fn attend(hospital: &Gateway, person: &Person, id: B256) -> Result<Step, WorkflowError> {
    let call = WaitingLists::attendCall { id };
    let outcome = person.sender.send(hospital.at(Contract::WaitingLists), &call).await?;
    let attended = outcome.events::<WaitingLists::PatientAttended>();
    let waited: u64 = attended.first().map_or(0, |attended| attended.waited.to());
    let days = waited / 86_400;
    let what = format!("says that the patient came, after {days} full days");
    Ok(Step::new(&person.name, what, "waiting-list.attend", &outcome))
}

/// A doctor or nurse of the hospital says that the patient did not come. The patient waits on.
///
/// # Errors
///
/// [`WorkflowError::Send`] as of [`attend`].
pub async fn miss(hospital: &Gateway, person: &Person, id: B256) -> Result<Step, WorkflowError> {
    let call = WaitingLists::missCall { id };
    let outcome = person.sender.send(hospital.at(Contract::WaitingLists), &call).await?;
    let what = "says that the patient did not come, and waits on";
    Ok(Step::new(&person.name, what, "waiting-list.miss", &outcome))
}

/// Who referred, or a doctor of the hospital, takes the patient off the list. The reason is a record of
/// the institution.
///
/// # Errors
///
/// [`WorkflowError`] when the reason is empty, or the chain refuses: it is somebody else, or the patient waits no
/// more. It is asked before anything is sealed.
pub async fn remove(
    gateway: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    reason: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_words("reason", reason)?;
    patient.require_theirs("listing", listing(gateway, id).await?.patient)?;
    let remove = |reason| WaitingLists::removeCall { id, reason };
    let resource = json!({
        "resourceType": "Task",
        "status": "cancelled",
        "intent": "order",
        "focus": { "reference": format!("ServiceRequest/{id:x}") },
        "for": { "reference": format!("Patient/{}", patient.account()) },
        "authoredOn": now.to_string(),
        "requester": { "reference": format!("Practitioner/{}", person.member) },
        "statusReason": { "text": reason },
    });
    let draft = Draft { kind: Kind::Order, resource };
    let written = Written { gateway, author: person, patient, now };
    let record = gateway.make_record_id();
    let (anchor, sealed, removed) =
        written.and_send(record, &draft, Contract::WaitingLists, remove).await?;
    let what = "takes the patient off the list; the patient is alerted";
    let step = Step::new(&person.name, what, "waiting-list.remove", &removed);
    Ok((anchor, vec![sealed, step]))
}

/// The patient waits no longer. The reason stays with the patient: with the salt that is returned, its
/// digest can be shown to be of these words.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the reason is empty, [`WorkflowError::Send`] when the patient is not on the list.
pub async fn leave(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    reason: &str,
    now: Timestamp,
) -> Result<(B256, Step), WorkflowError> {
    require_words("reason", reason)?;
    let salt = relay.make_salt();
    let digest = RecordDigest::of(&[salt.as_slice(), reason.as_bytes()].concat()).0;
    let remove = WaitingLists::removeCall { id, reason: digest };
    let call = Call::to_contract(relay.at(Contract::WaitingLists), &remove);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = "leaves the waiting list";
    Ok((salt, Step::new(&patient.name, what, "waiting-list.remove", &outcome)))
}

/// Where a listing stands.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn listing(gateway: &Gateway, id: B256) -> Result<Listing, WorkflowError> {
    let call = WaitingLists::listingOfCall { id };
    let contract = gateway.at(Contract::WaitingLists);
    let held = gateway.gatekeeper.ledger().call(contract, &call, Default::default()).await?;
    let state = match held.state {
        1 => State::Listed,
        2 => State::Prioritised,
        3 => State::Scheduled,
        4 => State::Attended,
        5 => State::Removed,
        _ => return Err(WorkflowError::Unknown { what: "listing", id }),
    };
    let appointment_at = timestamp(held.appointmentAt);
    Ok(Listing {
        patient: held.patient,
        hospital: held.hospital,
        referrer: held.referrer,
        state,
        priority: (held.priority != 0).then_some(held.priority),
        missed: held.missed,
        listed_at: timestamp(held.listedAt),
        appointment_at: (appointment_at.0 != 0).then_some(appointment_at),
    })
}
