//! Surgery: from the referral to the follow-up, with the WHO safety checklist between.
//!
//! Each document (referral, plan, consent form, checklist, implant, report, notes) is a record of the
//! institution where it was written, sealed and anchored like any other; its digest is what the step
//! on chain names. The referral's record id is the surgery's id on chain, which only its referrer can
//! take. Who signs which step, and that nobody cuts before consent and time-out, the contract decides
//! (U1 to U6 in `Surgeries.sol`).
//!
//! This file has what happens before the theatre, `signing.rs` and `checklist.rs` the checklist up to the
//! incision and the report, `rounds.rs` who signed what, `theatre.rs` the rest. The operating hospital reads a
//! referral of another institution like any record of elsewhere: on the patient's consent.

mod checklist;
mod rounds;
mod signing;
mod theatre;

use alloy_primitives::{Address, B256};
use bindings::{
    Contract, Surgeries,
    convert::{make_id, to_uint40},
    patient_account::Call,
};
use domain::{Anchor, Kind, RecordId, Timestamp};
use serde_json::{Value, json};

pub(crate) use checklist::Operation;
pub use checklist::{Answer, Item, Phase, Takes};
pub use rounds::{Round, Signatures, rounds};
pub use signing::{FORWARD_MAX, FilledIn, Report, Signed, Signing, fill_in, incise, report, sign};
pub use theatre::{
    Implant, Implanted, discharge, explant, follow_up, hand_over, implant, implant_digest,
    implant_of, implants_of, lot_digest, recall, report_complication, trace, void_implant,
};

use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    given::require_words,
    record::{self, Draft, Written, accept_call},
};

/// Where a surgery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Referred to the hospital.
    Referred,
    /// There is a plan, which the patient has not consented to.
    Assessed,
    /// The patient consented to the plan, or two doctors certified that it cannot wait.
    Consented,
    /// There are a team and a time.
    Scheduled,
    /// The sign-in is complete.
    SignedIn,
    /// The time-out is complete.
    TimedOut,
    /// The operation goes on.
    Incised,
    /// The sign-out is complete.
    SignedOut,
    /// The patient is in recovery.
    Recovering,
    /// The patient is at home.
    Discharged,
    /// The patient was seen again.
    FollowedUp,
    /// Called off.
    Cancelled,
}

impl State {
    /// In the order of their numbers on chain, from 1.
    const ALL: [(Self, &'static str); 12] = [
        (Self::Referred, "referred"),
        (Self::Assessed, "assessed"),
        (Self::Consented, "consented"),
        (Self::Scheduled, "scheduled"),
        (Self::SignedIn, "signed in"),
        (Self::TimedOut, "timed out"),
        (Self::Incised, "incised"),
        (Self::SignedOut, "signed out"),
        (Self::Recovering, "recovering"),
        (Self::Discharged, "discharged"),
        (Self::FollowedUp, "followed up"),
        (Self::Cancelled, "cancelled"),
    ];

    /// The state with this number on chain; none for a surgery that there is not.
    ///
    /// # Source
    ///
    /// `State` in `Surgeries.sol`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).map(|(state, _)| *state)
    }

    /// As people say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| *name)
    }
}

/// A place in the team.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// Operates.
    Surgeon,
    /// A physician.
    Anaesthetist,
    /// A nurse.
    Nurse,
}

impl Seat {
    const fn number(self) -> u8 {
        match self {
            Self::Surgeon => 0,
            Self::Anaesthetist => 1,
            Self::Nurse => 2,
        }
    }
}

/// Who operates, by member address.
#[derive(Clone, Copy, Debug)]
pub struct Team {
    /// A surgeon of the hospital.
    pub surgeon: Address,
    /// A physician of the hospital.
    pub anaesthetist: Address,
    /// A nurse of the hospital.
    pub nurse: Address,
}

/// What a patient is referred for.
#[derive(Clone, Debug)]
pub struct Referral {
    /// The operation, in words.
    pub operation: String,
    /// Why.
    pub reason: String,
}

/// What is planned, as the patient is told before they consent.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The operation, in words.
    pub operation: String,
    /// Where on the body, with the side.
    pub site: String,
    /// Risks and alternatives that the patient was told of.
    pub disclosed: String,
}

impl Plan {
    fn draft(
        &self,
        id: B256,
        doctor: &Person,
        patient: &PatientActor,
        now: Timestamp,
    ) -> Result<Draft, WorkflowError> {
        require_words("operation", &self.operation)?;
        require_words("site", &self.site)?;
        require_words("account of what was disclosed", &self.disclosed)?;
        let resource = json!({
            "resourceType": "Procedure",
            "status": "preparation",
            "basedOn": [{ "reference": format!("ServiceRequest/{id:x}") }],
            "category": { "coding": [surgical_procedure()] },
            "code": { "text": self.operation },
            "bodySite": [{ "text": self.site }],
            "subject": subject(patient),
            "recorder": practitioner(doctor),
            "note": [{ "time": now.to_string(), "text": self.disclosed }],
        });
        Ok(Draft { kind: Kind::Procedure, resource })
    }
}

/// Where a document of a surgery is written, once it is certain that it is about the patient of that surgery:
/// the contract knows whose it is, but not in whose name a record is sealed.
async fn written<'a>(
    gateway: &'a Gateway,
    author: &'a Person,
    patient: &'a PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Written<'a>, WorkflowError> {
    patient.require_theirs("surgery", standing(gateway, id).await?.1.patient)?;
    Ok(Written { gateway, author, patient, now })
}

/// A doctor refers a patient to a hospital. Two steps.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses, such as a referrer whose institution keeps no records for
/// the patient. It is asked before anything is sealed.
pub async fn refer(
    referring: &Gateway,
    referrer: &Person,
    patient: &PatientActor,
    hospital: Address,
    referral: &Referral,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_words("operation", &referral.operation)?;
    require_words("reason", &referral.reason)?;
    let salt = referring.make_salt();
    let id = RecordId(make_id(referrer.member, salt));
    let resource = json!({
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "category": [{ "coding": [surgical_procedure()] }],
        "code": { "text": referral.operation },
        "reasonCode": [{ "text": referral.reason }],
        "subject": subject(patient),
        "authoredOn": now.to_string(),
        "requester": practitioner(referrer),
        "performer": [{ "reference": format!("Organization/{hospital}") }],
    });
    let draft = Draft { kind: Kind::Order, resource };
    let written = Written { gateway: referring, author: referrer, patient, now };
    let call =
        |referral| Surgeries::referCall { salt, patient: patient.account(), hospital, referral };
    let (anchor, sealed, referred) =
        written.and_send(id, &draft, Contract::Surgeries, call).await?;
    let what = "refers the patient for surgery";
    let step = Step::new(&referrer.name, what, "surgery.refer", &referred);
    Ok((anchor, vec![sealed, step]))
}

/// A doctor of the hospital assesses the patient and writes the plan, which the patient is asked to
/// consent to. It replaces a plan that nobody consented to yet.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses. It is asked before anything is sealed.
pub async fn assess(
    hospital: &Gateway,
    doctor: &Person,
    patient: &PatientActor,
    id: B256,
    plan: &Plan,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let draft = plan.draft(id, doctor, patient, now)?;
    let written = written(hospital, doctor, patient, id, now).await?;
    let call = |plan| Surgeries::assessCall { id, plan };
    let record = hospital.make_record_id();
    let (anchor, sealed, assessed) =
        written.and_send(record, &draft, Contract::Surgeries, call).await?;
    let what = "assesses the patient and writes the plan";
    let step = Step::new(&doctor.name, what, "surgery.assess", &assessed);
    Ok((anchor, vec![sealed, step]))
}

/// The patient consents, and the hospital seals the form: [`sign_consent`] and [`file_consent`].
///
/// # Errors
///
/// As these. When only the form fails, the consent stands.
pub async fn consent(
    hospital: &Gateway,
    doctor: &Person,
    patient: &PatientActor,
    id: B256,
    plan: &Anchor,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let signed = sign_consent(hospital, patient, id, plan, now).await?;
    let (form, sealed) = file_consent(hospital, doctor, patient, id, plan, now).await?;
    Ok((form, vec![signed, sealed]))
}

/// The patient consents to exactly this plan and, unless they answered its record before, accepts that
/// too, in one signature.
///
/// # Errors
///
/// [`WorkflowError::Send`] when another plan stands, or the surgery waits for no consent.
pub async fn sign_consent(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    plan: &Anchor,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let mut calls = Vec::from_iter(accept_call(relay, plan).await?);
    let consent = Surgeries::consentCall { id, plan: plan.digest.0 };
    calls.push(Call::to_contract(relay.at(Contract::Surgeries), &consent));
    let consented = patient.act(relay.sender(), calls, now).await?;
    let what = "opens the plan, accepts it and consents to the operation";
    Ok(Step::new(&patient.name, what, "surgery.consent", &consented))
}

/// The hospital seals the form of a consent that stands on chain, in the name of the doctor who told the
/// patient of the risks.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the patient did not consent to this plan, or it is no doctor who says so.
pub async fn file_consent(
    hospital: &Gateway,
    doctor: &Person,
    patient: &PatientActor,
    id: B256,
    plan: &Anchor,
    now: Timestamp,
) -> Result<(Anchor, Step), WorkflowError> {
    use domain::ProfessionalRole::{Physician, Surgeon};
    let (_, held) = standing(hospital, id).await?;
    patient.require_theirs("surgery", held.patient)?;
    if !matches!(doctor.role, Physician | Surgeon) || held.hospital != hospital.member() {
        let why = "a doctor of the hospital says what the patient was told";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let consented = rounds::events(hospital, id).await?.iter().any(|event| match event {
        Surgeries::SurgeriesEvents::SurgeryConsented(event) => {
            (event.round, event.plan) == (held.round, plan.digest.0)
        }
        _ => false,
    });
    if !consented {
        return Err(WorkflowError::Invalid("the patient has not consented to this plan".into()));
    }
    let resource = json!({
        "resourceType": "Consent",
        "status": "active",
        "scope": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/consentscope",
            "code": "treatment",
        }] },
        "category": [{ "coding": [{ "system": "http://loinc.org", "code": "59284-0" }] }],
        "patient": subject(patient),
        "dateTime": now.to_string(),
        "performer": [subject(patient)],
        "organization": [{ "reference": format!("Organization/{}", hospital.member()) }],
        "policyRule": { "text": "consent to an operation" },
        "verification": [{
            "verified": true,
            "verifiedWith": subject(patient),
            "verificationDate": now.to_string(),
        }],
        "provision": {
            "type": "permit",
            "actor": [{
                "role": { "text": "told the patient of risks and alternatives" },
                "reference": practitioner(doctor),
            }],
            "data": [{ "meaning": "instance", "reference": {
                "reference": format!("Procedure/{:x}", plan.record.0),
                "identifier": { "system": DIGEST_SYSTEM, "value": plan.digest.to_string() },
            } }],
        },
    });
    let form = Draft { kind: Kind::Administrative, resource };
    let (form, step) = record::propose(hospital, doctor, patient, &form, now).await?;
    Ok((form, Step { what: "proposes the record of the consent form".into(), ..step }))
}

/// A surgeon or a physician of the hospital certifies that the patient can neither consent nor wait.
/// Once one of each has, the certificate stands for the consent. It never overrules a refusal.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses: another plan stands, or the patient refused in this round.
pub async fn certify(
    hospital: &Gateway,
    doctor: &Person,
    patient: &PatientActor,
    (id, plan): (B256, B256),
    reason: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let draft = note(id, "certificate of urgency", reason, doctor, patient, now)?;
    let written = written(hospital, doctor, patient, id, now).await?;
    let call = |reason| Surgeries::certifyCall { id, plan, reason };
    let record = hospital.make_record_id();
    let (anchor, sealed, certified) =
        written.and_send(record, &draft, Contract::Surgeries, call).await?;
    let events = certified.events::<Surgeries::SurgeryCertified>();
    let complete = events.first().is_some_and(|event| event.complete);
    let operation = if complete { "surgery.certify-last" } else { "surgery.certify" };
    let what = "certifies that the patient can neither consent nor wait";
    let step = Step::new(&doctor.name, what, operation, &certified);
    Ok((anchor, vec![sealed, step]))
}

/// The patient withdraws the consent, at any time before the incision.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the operation has begun.
pub async fn withdraw_consent(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Surgeries::withdrawConsentCall { id };
    let call = Call::to_contract(relay.at(Contract::Surgeries), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = "withdraws the consent to the operation";
    Ok(Step::new(&patient.name, what, "surgery.withdraw-consent", &outcome))
}

/// A surgeon or nurse of the hospital names team, time and theatre; also to change them.
///
/// # Errors
///
/// [`WorkflowError::Send`] when there is no consent, the time has passed, or somebody does not fit
/// their seat.
pub async fn schedule(
    hospital: &Gateway,
    person: &Person,
    id: B256,
    team: &Team,
    at: Timestamp,
    theatre: &str,
) -> Result<Step, WorkflowError> {
    let call = Surgeries::scheduleCall {
        id,
        team: [team.surgeon, team.anaesthetist, team.nurse],
        scheduledAt: to_uint40(at),
        theatre: hospital.keyed_digest("salus/theatre/v1", theatre.as_bytes()),
    };
    let outcome = person.sender.send(hospital.at(Contract::Surgeries), &call).await?;
    let what = format!("schedules the operation for {at}");
    Ok(Step::new(&person.name, what, "surgery.schedule", &outcome))
}

/// A doctor or nurse of the hospital puts somebody else into a seat. What the predecessor signed of
/// the running step is signed again, and after a time-out there is another one.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the new member does not fit the seat.
pub async fn relieve(
    hospital: &Gateway,
    person: &Person,
    id: B256,
    seat: Seat,
    member: Address,
) -> Result<Step, WorkflowError> {
    let call = Surgeries::relieveCall { id, seat: seat.number(), member };
    let outcome = person.sender.send(hospital.at(Contract::Surgeries), &call).await?;
    Ok(Step::new(&person.name, "relieves a member of the team", "surgery.relieve", &outcome))
}

/// The referrer or a doctor of the hospital calls the surgery off before the incision. A later round is
/// called off alone: the patient is in recovery as before.
///
/// # Errors
///
/// [`WorkflowError`] when the operation has begun.
pub async fn cancel(
    hospital: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    reason: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let draft = note(id, "cancellation", reason, person, patient, now)?;
    let written = written(hospital, person, patient, id, now).await?;
    let call = |reason| Surgeries::cancelCall { id, reason };
    let record = hospital.make_record_id();
    let (anchor, sealed, cancelled) =
        written.and_send(record, &draft, Contract::Surgeries, call).await?;
    let step = Step::new(&person.name, "calls the surgery off", "surgery.cancel", &cancelled);
    Ok((anchor, vec![sealed, step]))
}

/// The patient calls the surgery off before the incision, and owes nobody a reason.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the operation has begun.
pub async fn cancel_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Surgeries::cancelCall { id, reason: B256::ZERO };
    let call = Call::to_contract(relay.at(Contract::Surgeries), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "calls the surgery off", "surgery.cancel", &outcome))
}

/// A surgeon of the hospital takes the patient back to the theatre: another round begins, with a plan
/// of its own, and with consent, sign-in and time-out anew.
///
/// # Errors
///
/// [`WorkflowError`] when the patient is neither in recovery nor discharged.
pub async fn return_to_theatre(
    hospital: &Gateway,
    surgeon: &Person,
    patient: &PatientActor,
    id: B256,
    plan: &Plan,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let draft = plan.draft(id, surgeon, patient, now)?;
    let written = written(hospital, surgeon, patient, id, now).await?;
    let call = |plan| Surgeries::returnToTheatreCall { id, plan };
    let record = hospital.make_record_id();
    let (anchor, sealed, returned) =
        written.and_send(record, &draft, Contract::Surgeries, call).await?;
    let what = "takes the patient back to the theatre";
    let step = Step::new(&surgeon.name, what, "surgery.return-to-theatre", &returned);
    Ok((anchor, vec![sealed, step]))
}

/// All that the chain holds of a surgery, with the state that it is in.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none with that id.
pub async fn standing(
    gateway: &Gateway,
    id: B256,
) -> Result<(State, Surgeries::Surgery), WorkflowError> {
    let call = Surgeries::surgeryOfCall { id };
    let (at, latest) = (gateway.at(Contract::Surgeries), Default::default());
    let surgery = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    let unknown = WorkflowError::Unknown { what: "surgery", id };
    Ok((State::from_number(surgery.state).ok_or(unknown)?, surgery))
}

/// How records call each other by what stands on chain.
pub(crate) const DIGEST_SYSTEM: &str = "urn:salus:record-digest";

fn subject(patient: &PatientActor) -> Value {
    json!({ "reference": format!("Patient/{}", patient.account()) })
}

fn practitioner(person: &Person) -> Value {
    json!({ "reference": format!("Practitioner/{}", person.member) })
}

/// SNOMED CT: surgical procedure.
fn surgical_procedure() -> Value {
    json!({ "system": "http://snomed.info/sct", "code": "387713003" })
}

/// A text about a surgery.
fn note(
    id: B256,
    title: &str,
    text: &str,
    author: &Person,
    patient: &PatientActor,
    now: Timestamp,
) -> Result<Draft, WorkflowError> {
    require_words(title, text)?;
    let resource = json!({
        "resourceType": "Communication",
        "status": "completed",
        "category": [{ "text": title }],
        "about": [{ "reference": format!("ServiceRequest/{id:x}") }],
        "subject": subject(patient),
        "sender": practitioner(author),
        "sent": now.to_string(),
        "payload": [{ "contentString": text }],
    });
    Ok(Draft { kind: Kind::Order, resource })
}
