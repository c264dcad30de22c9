//! The checklist in the theatre: who fills a phase in, who signs it, and when the surgeon begins.
//!
//! The contract counts signatures over a digest, and cannot see what is behind it. So whoever signs here signs
//! what their own hospital has sealed and anchored of this patient, as the document of this operation, round and
//! phase, with answers that let the team go on; it is read in their name, and they get a receipt. Who may not
//! read it, because they are not in the patient's care team, does not sign it. A phase that is being signed
//! begins anew only when somebody says so.
//!
//! An operation is brought forward by [`FORWARD_MAX`] at most. What cannot wait for its time is declared urgent in
//! the sign-in, which anaesthetist and nurse both sign; before the sign-in is complete it can also be scheduled
//! anew. The surgeon begins over a sign-in and a time-out that are read once more.
//!
//! Whoever signs by other means than these has the contract's word only, until the surgeon begins here.

use std::time::Duration;

use alloy_primitives::{B256, Bytes, TxKind};
use alloy_sol_types::SolCall as _;
use bindings::{Contract, Surgeries, convert::timestamp};
use domain::{AnchorState, Kind, KindSet, Purpose, RecordDigest, Timestamp};
use gatekeeper::{AnswerError, ReadRequest};
use ledger::Outcome;
use serde_json::json;

use super::{
    Answer, Phase, State, checklist::Operation, implants_of, practitioner, rounds::History,
    standing, subject, theatre::IMPLANT_SYSTEM, written,
};
use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError, given::require_words, record::Draft,
};

/// How long before its time an operation begins at most, when it is not urgent: within the same day in the
/// theatre, wherever that is.
pub const FORWARD_MAX: Duration = Duration::from_secs(12 * 3_600);

/// A phase before the incision, as it is filled in.
#[derive(Clone, Copy, Debug)]
pub struct FilledIn<'a> {
    /// Which phase.
    pub phase: Phase,
    /// One answer to each of its items.
    pub answers: &'a [Answer<'a>],
    /// Why the operation cannot wait for its time; said at the sign-in.
    pub urgent: Option<&'a str>,
    /// Whether the phase may begin anew when another document of it is being signed.
    pub anew: bool,
}

/// What was done, with the sign-out's answers.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// In words.
    pub performed: &'a str,
    /// One answer to each item of the sign-out.
    pub answers: &'a [Answer<'a>],
    /// As of [`FilledIn`].
    pub anew: bool,
}

/// What another filled in, and is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Signing {
    /// Which phase.
    pub phase: Phase,
    /// The document.
    pub digest: B256,
    /// As of [`FilledIn`].
    pub anew: bool,
}

/// What came of a signature.
#[derive(Clone, Debug)]
pub struct Signed {
    /// What was signed: the digest that the others of the team sign too.
    pub digest: B256,
    /// Whether that was the last signature, so that the step is done.
    pub complete: bool,
    /// The steps.
    pub steps: Vec<Step>,
}

/// A member of the team fills in a phase of the checklist before the incision, which is sealed, and
/// signs it. The others [`sign`] the same digest.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when an item has no answer or one that lets nobody go on, another document of the
/// phase is being signed, or it is too early; [`WorkflowError`] when the chain refuses: it is not this phase's
/// turn, or not theirs to sign. Nothing is sealed then.
pub async fn fill_in(
    hospital: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    filled_in: &FilledIn<'_>,
    now: Timestamp,
) -> Result<Signed, WorkflowError> {
    let FilledIn { phase, answers, urgent, anew } = *filled_in;
    if phase == Phase::SignOut {
        return Err(WorkflowError::Invalid("the sign-out is over the operation's report".into()));
    }
    let (state, held) = standing(hospital, id).await?;
    let resource = phase.fill_in(&Operation::of(id, &held), answers, urgent, person, now)?;
    if state == phase.after() {
        require_not_begun(&held, None, anew)?;
        require_time(phase, &held, urgent.is_some(), now)?;
    }
    let draft = Draft { kind: Kind::Order, resource };
    seal_and_sign(hospital, person, patient, (id, phase), &draft, now).await
}

/// A member of the team writes the report of the operation with the sign-out's answers in it, which is
/// sealed, and signs it. It names the implants that the chain has of this surgery. The last signature
/// of the three makes the receipt that a claim can refer to.
///
/// # Errors
///
/// As [`fill_in`].
pub async fn report(
    hospital: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    report: &Report<'_>,
    now: Timestamp,
) -> Result<Signed, WorkflowError> {
    let Report { performed, answers, anew } = *report;
    require_words("report of what was done", performed)?;
    let (state, held) = standing(hospital, id).await?;
    let phase = Phase::SignOut;
    let operation = Operation::of(id, &held);
    let mut checklist = phase.fill_in(&operation, answers, None, person, now)?;
    checklist["id"] = json!("checklist");
    if state == phase.after() {
        require_not_begun(&held, None, anew)?;
    }
    let implants = implants_of(hospital, id).await?;
    let devices: Vec<_> = implants
        .iter()
        .map(|implant| {
            json!({ "manipulated": {
                "type": "Device",
                "identifier": { "system": IMPLANT_SYSTEM, "value": implant.to_string() },
            } })
        })
        .collect();
    let mut resource = json!({
        "resourceType": "Procedure",
        "contained": [checklist],
        "status": "completed",
        "basedOn": [{ "reference": format!("ServiceRequest/{id:x}") }],
        "category": { "coding": [super::surgical_procedure()] },
        "code": { "text": performed },
        "subject": subject(patient),
        "performedDateTime": now.to_string(),
        "recorder": practitioner(person),
        // No element of a procedure takes a task.
        "extension": [{
            "url": "urn:salus:surgical-safety-checklist",
            "valueReference": { "reference": "#checklist" },
        }],
    });
    if !devices.is_empty() {
        resource["focalDevice"] = json!(devices);
    }
    let draft = Draft { kind: Kind::Procedure, resource };
    seal_and_sign(hospital, person, patient, (id, phase), &draft, now).await
}

async fn seal_and_sign(
    hospital: &Gateway,
    person: &Person,
    patient: &PatientActor,
    (id, phase): (B256, Phase),
    draft: &Draft,
    now: Timestamp,
) -> Result<Signed, WorkflowError> {
    let written = written(hospital, person, patient, id, now).await?;
    let (record, contract) = (hospital.make_record_id(), Contract::Surgeries);
    let (anchor, sealed, outcome) = match phase {
        Phase::SignIn => {
            let call = |checklist| Surgeries::signInCall { id, checklist };
            written.and_send(record, draft, contract, call).await?
        }
        Phase::TimeOut => {
            let call = |checklist| Surgeries::timeOutCall { id, checklist };
            written.and_send(record, draft, contract, call).await?
        }
        Phase::SignOut => {
            let call = |report| Surgeries::signOutCall { id, report };
            written.and_send(record, draft, contract, call).await?
        }
    };
    let mut signed = signed(person, phase, anchor.digest.0, &outcome);
    signed.steps.insert(0, sealed);
    Ok(signed)
}

/// A member of the team signs what another filled in: the digest says which. It is read as they read it.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is not this phase's turn, not theirs to sign, or they signed it, which is asked
/// first. [`WorkflowError::Invalid`] when the hospital keeps no such document of this phase, an answer in it lets
/// nobody go on, they may not read it, it completed the phase before, another is being signed, or it is too early.
pub async fn sign(
    hospital: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    signing: &Signing,
    now: Timestamp,
) -> Result<Signed, WorkflowError> {
    let Signing { phase, digest, anew } = *signing;
    let (_, held) = standing(hospital, id).await?;
    patient.require_theirs("surgery", held.patient)?;
    let (at, call) = (hospital.at(Contract::Surgeries), call_of(phase, id, digest));
    person.sender.check_input(at, call.clone()).await?;
    require_not_begun(&held, Some(digest), anew)?;
    let is_urgent =
        read_document(hospital, person, &Operation::of(id, &held), (phase, digest), now).await?;
    if History::read(hospital, id).await?.completed.contains(&digest) {
        let why = "this document completed the phase before; a phase that is gone through again is filled in again";
        return Err(WorkflowError::Invalid(why.into()));
    }
    require_time(phase, &held, is_urgent, now)?;
    let outcome = person.sender.send_input(TxKind::Call(at), call).await?;
    Ok(signed(person, phase, digest, &outcome))
}

/// The surgeon begins, over a sign-in and a time-out of this round that are read as the surgeon reads them.
///
/// # Errors
///
/// [`WorkflowError::Send`] before the time-out of this round is complete; [`WorkflowError::Invalid`] when what was
/// signed is no such document, an answer in it lets nobody go on, the surgeon may not read it, or it is too early.
pub async fn incise(
    hospital: &Gateway,
    surgeon: &Person,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let (_, held) = standing(hospital, id).await?;
    let (at, call) = (hospital.at(Contract::Surgeries), Surgeries::inciseCall { id });
    surgeon.check(at, &call).await?;
    let history = History::read(hospital, id).await?;
    let operation = Operation::of(id, &held);
    let mut is_urgent = false;
    for phase in [Phase::SignIn, Phase::TimeOut] {
        let missing = || {
            let what = phase.name();
            WorkflowError::Invalid(format!("the events of this round have no complete {what}"))
        };
        let digest = history.newest().completed(phase).ok_or_else(missing)?;
        is_urgent |= read_document(hospital, surgeon, &operation, (phase, digest), now).await?;
    }
    if is_early(&held, now) && !is_urgent {
        return Err(early());
    }
    let outcome = surgeon.sender.send(at, &call).await?;
    Ok(Step::new(&surgeon.name, "begins the operation", "surgery.incise", &outcome))
}

impl Operation {
    fn of(id: B256, held: &Surgeries::Surgery) -> Self {
        Self { id, patient: held.patient, round: held.round.into() }
    }
}

impl Phase {
    /// The state in which it is gone through.
    const fn after(self) -> State {
        match self {
            Self::SignIn => State::Scheduled,
            Self::TimeOut => State::SignedIn,
            Self::SignOut => State::Incised,
        }
    }
}

/// The call that signs a phase.
fn call_of(phase: Phase, id: B256, digest: B256) -> Bytes {
    let call = match phase {
        Phase::SignIn => Surgeries::signInCall { id, checklist: digest }.abi_encode(),
        Phase::TimeOut => Surgeries::timeOutCall { id, checklist: digest }.abi_encode(),
        Phase::SignOut => Surgeries::signOutCall { id, report: digest }.abi_encode(),
    };
    call.into()
}

fn signed(person: &Person, phase: Phase, digest: B256, outcome: &Outcome) -> Signed {
    let events = outcome.events::<Surgeries::ChecklistSigned>();
    let complete = events.first().is_some_and(|event| event.complete);
    let operation = match (phase, complete) {
        (Phase::SignIn, false) => "surgery.sign-in",
        (Phase::SignIn, true) => "surgery.sign-in-last",
        (Phase::TimeOut, false) => "surgery.time-out",
        (Phase::TimeOut, true) => "surgery.time-out-last",
        (Phase::SignOut, false) => "surgery.sign-out",
        (Phase::SignOut, true) => "surgery.sign-out-last",
    };
    let last = if complete { ", the last to do so" } else { "" };
    let what = format!("signs the {}{last}", phase.name());
    let step = Step::new(&person.name, what, operation, outcome);
    Signed { digest, complete, steps: vec![step] }
}

/// Refuses to void what others signed without a word: the contract begins a phase anew with another digest.
fn require_not_begun(
    held: &Surgeries::Surgery,
    digest: Option<B256>,
    anew: bool,
) -> Result<(), WorkflowError> {
    if held.signatures == 0 || anew || digest == Some(held.checklist) {
        return Ok(());
    }
    let other = held.checklist;
    let why = format!(
        "the phase is being signed over {other}; another document makes these signatures void, and is signed \
         only when it is said that the phase begins anew"
    );
    Err(WorkflowError::Invalid(why))
}

/// Refuses a sign-in long before the time, while it can still be scheduled anew.
fn require_time(
    phase: Phase,
    held: &Surgeries::Surgery,
    is_urgent: bool,
    now: Timestamp,
) -> Result<(), WorkflowError> {
    if phase == Phase::SignIn && is_early(held, now) && !is_urgent {
        return Err(early());
    }
    Ok(())
}

fn is_early(held: &Surgeries::Surgery, now: Timestamp) -> bool {
    now.after(FORWARD_MAX) < timestamp(held.scheduledAt)
}

fn early() -> WorkflowError {
    let hours = FORWARD_MAX.as_secs() / 3_600;
    let why = format!(
        "the operation is scheduled for more than {hours} hours from now; schedule it anew before the sign-in, or \
         declare it urgent in the sign-in, with a reason"
    );
    WorkflowError::Invalid(why)
}

/// Reads what somebody is about to rely on, in their name, at the hospital that sealed it, and says whether it
/// declares the operation urgent.
async fn read_document(
    hospital: &Gateway,
    person: &Person,
    operation: &Operation,
    (phase, digest): (Phase, B256),
    now: Timestamp,
) -> Result<bool, WorkflowError> {
    let invalid = |why: &str| WorkflowError::Invalid(format!("{}: {why}", phase.name()));
    let keeper = &hospital.gatekeeper;
    keeper.refresh(now).await?;
    let entry = keeper.vault().find(RecordDigest(digest)).await?;
    // Copies of other stewards' records are kept in the same vault.
    let entry = entry.filter(|entry| {
        entry.header.steward == hospital.member() && entry.patient == operation.patient
    });
    let unknown = "the hospital keeps no record of this patient with this digest";
    let entry = entry.ok_or_else(|| invalid(unknown))?;
    let reader = keeper.projection().await.registry.reader_of(person.member, now);
    let request = ReadRequest {
        reader: reader.ok_or_else(|| invalid("who signs is not in force"))?,
        patient: operation.patient,
        kinds: KindSet::of(&[entry.header.kind]),
        record: Some(entry.header.record),
        version: Some(entry.header.version),
        after: None,
        limit: 1,
        purpose: Purpose::Treatment,
        query: B256::ZERO,
    };
    let served = match keeper.read(&request, now).await {
        Ok((served, _)) => served,
        Err(AnswerError::Refused(reason)) => {
            let why = "nobody signs what they may not read, as those in the patient's care team do";
            return Err(invalid(&format!("{why}: {reason}")));
        }
        Err(error) => return Err(error.into()),
    };
    let stands = |state| matches!(state, AnchorState::Proposed | AnchorState::Accepted);
    let record = served.records.into_iter().find(|record| stands(record.state));
    let record = record.filter(|record| record.digest == RecordDigest(digest));
    let gone = "this record does not stand on chain, or was rejected, disputed or replaced since";
    let record = record.ok_or_else(|| invalid(gone))?;
    let document = serde_json::from_str(record.body.get());
    phase.read(&document.map_err(|_| invalid("this record is no JSON"))?, operation)
}
