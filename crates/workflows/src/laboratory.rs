//! Laboratory: ordered by a physician, specimen collected and handed on, result reported (preliminary,
//! final, corrected), released to the patient, acknowledged by the orderer.
//!
//! The order is a record of the hospital, and its record id is the order's id on chain, which only its
//! orderer can take, so that the laboratory may read that one record. The result is a record of the
//! laboratory, and each version of the result the next version of that record; it is released and
//! acknowledged anew. A critical result has to be acknowledged within a time that the contract sets, and is
//! escalated after it. The patient is alerted by the release.
//!
//! Whoever takes the specimen over seals where and in what condition, and continues a chain of digests on
//! chain, so that no hand-over can be left out, put in or told in another order later.

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolCall, SolEvent as _, SolEventInterface as _, SolValue as _};
use bindings::{
    Contract, LabOrders,
    LabOrders::LabOrdersEvents,
    Relationships,
    convert::{make_id, timestamp},
    patient_account::Call,
};
use domain::{Anchor, Kind, RecordDigest, RecordId, Timestamp};
use ledger::CallError;
use serde_json::{Value, json};

use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    given::{require_concept, require_words},
    record::{Draft, Written},
};

/// The orderer places an order with a laboratory that keeps records for the patient: another one could collect the
/// specimen, and never report.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when `code` names no test, or the laboratory has no active relationship with the
/// patient; [`WorkflowError`] when the chain refuses. It is asked before anything is sealed.
pub async fn order(
    hospital: &Gateway,
    orderer: &Person,
    patient: &PatientActor,
    laboratory: Address,
    code: &Value,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_concept("test", code)?;
    let salt = hospital.make_salt();
    let id = RecordId(make_id(orderer.member, salt));
    let order =
        |digest| LabOrders::orderCall { salt, patient: patient.account(), laboratory, digest };
    let resource = json!({
        "resourceType": "ServiceRequest",
        "status": "active",
        "intent": "order",
        "category": [{ "coding": [{ "system": "http://snomed.info/sct", "code": "108252007" }] }],
        "code": code,
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "authoredOn": now.to_string(),
        "requester": { "reference": format!("Practitioner/{}", orderer.member) },
        "performer": [{ "reference": format!("Organization/{laboratory}") }],
    });
    let draft = Draft { kind: Kind::Laboratory, resource };
    // Who is no laboratory at all, the contract says better.
    orderer.check(hospital.at(Contract::LabOrders), &order(B256::repeat_byte(1))).await?;
    require_reporting(hospital, patient, laboratory).await?;
    let written = Written { gateway: hospital, author: orderer, patient, now };
    let (anchor, sealed, ordered) =
        written.and_send(id, &draft, Contract::LabOrders, order).await?;
    let step = Step::new(&orderer.name, "orders a laboratory test", "lab.order", &ordered);
    Ok((anchor, vec![sealed, step]))
}

/// Refuses a laboratory that could anchor no result about the patient.
async fn require_reporting(
    gateway: &Gateway,
    patient: &PatientActor,
    laboratory: Address,
) -> Result<(), WorkflowError> {
    let call = Relationships::isActiveCall { patient: patient.account(), steward: laboratory };
    let (at, next) = (gateway.at(Contract::Relationships), BlockId::pending());
    if gateway.gatekeeper.ledger().call(at, &call, next).await? {
        return Ok(());
    }
    let why = "the laboratory keeps no records for the patient, and so could not report: it proposes a \
               relationship, and the patient accepts it (`salus relate`)";
    Err(WorkflowError::Invalid(why.into()))
}

/// The laboratory takes the specimen; `specimen` is its label.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the order is not the laboratory's or not open.
pub async fn collect(
    laboratory: &Gateway,
    scientist: &Person,
    id: B256,
    specimen: B256,
) -> Result<Step, WorkflowError> {
    let call = LabOrders::collectCall { id, specimen };
    let outcome = scientist.sender.send(laboratory.at(Contract::LabOrders), &call).await?;
    Ok(Step::new(&scientist.name, "collects the specimen", "lab.collect", &outcome))
}

/// The laboratory seals the result as a record of its own, anchors it, and reports it.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses. It is asked before anything is sealed.
pub async fn report(
    laboratory: &Gateway,
    scientist: &Person,
    patient: &PatientActor,
    id: B256,
    result: &Value,
    critical: bool,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let resource = observation(id, "final", result, scientist, patient, now)?;
    let draft = Draft { kind: Kind::Laboratory, resource };
    let written = written(laboratory, scientist, patient, id, now).await?;
    let call = |digest| LabOrders::reportCall { id, digest, critical };
    let record = laboratory.make_record_id();
    let (anchor, sealed, reported) =
        written.and_send(record, &draft, Contract::LabOrders, call).await?;
    let what = if critical { "reports a critical result" } else { "reports the result" };
    let step = Step::new(&scientist.name, what, "lab.report", &reported);
    Ok((anchor, vec![sealed, step]))
}

/// A version of a result.
#[derive(Clone, Copy, Debug)]
pub struct Version<'a> {
    /// Fields of the FHIR Observation.
    pub result: &'a Value,
    /// Whether it needs attention at once.
    pub critical: bool,
}

/// The laboratory reports a preliminary result: sealed, anchored, and told to the orderer. It is not
/// released; the final one follows with [`report_final`].
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses. It is asked before anything is sealed.
pub async fn report_preliminary(
    laboratory: &Gateway,
    scientist: &Person,
    patient: &PatientActor,
    id: B256,
    version: Version<'_>,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let Version { result, critical } = version;
    let resource = observation(id, "preliminary", result, scientist, patient, now)?;
    let draft = Draft { kind: Kind::Laboratory, resource };
    let written = written(laboratory, scientist, patient, id, now).await?;
    let call = |digest| LabOrders::reportPreliminaryCall { id, digest, critical };
    let record = laboratory.make_record_id();
    let (anchor, sealed, outcome) =
        written.and_send(record, &draft, Contract::LabOrders, call).await?;
    let what = if critical {
        "reports a critical preliminary result"
    } else {
        "reports a preliminary result"
    };
    let step = Step::new(&scientist.name, what, "lab.report-preliminary", &outcome);
    Ok((anchor, vec![sealed, step]))
}

/// The laboratory reports the final result after a preliminary one, as the next version of its record.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses. It is asked before anything is sealed.
pub async fn report_final(
    laboratory: &Gateway,
    scientist: &Person,
    patient: &PatientActor,
    id: B256,
    previous: &Anchor,
    version: Version<'_>,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let Version { result, critical } = version;
    let resource = observation(id, "final", result, scientist, patient, now)?;
    let written = written(laboratory, scientist, patient, id, now).await?;
    let call = |digest| LabOrders::reportCall { id, digest, critical };
    let what = if critical { "reports a critical result" } else { "reports the result" };
    next_version(written, (id, previous), resource, call, (what, "lab.report")).await
}

/// The laboratory corrects a result, released or not, as the next version of its record. It is to be
/// released and acknowledged anew.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses, such as before there is a result. It is asked before anything
/// is sealed.
pub async fn correct(
    laboratory: &Gateway,
    scientist: &Person,
    patient: &PatientActor,
    id: B256,
    previous: &Anchor,
    version: Version<'_>,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let Version { result, critical } = version;
    let resource = observation(id, "corrected", result, scientist, patient, now)?;
    let written = written(laboratory, scientist, patient, id, now).await?;
    let call = |digest| LabOrders::correctCall { id, digest, critical };
    let what = if critical { "corrects the result: critical" } else { "corrects the result" };
    next_version(written, (id, previous), resource, call, (what, "lab.correct")).await
}

/// Seals and proposes the version after `previous`, which has to be the one that the order holds, and sends the
/// call that the digest goes into.
async fn next_version<C: SolCall>(
    written: Written<'_>,
    (id, previous): (B256, &Anchor),
    resource: Value,
    call: impl Fn(B256) -> C,
    (what, operation): (&str, &'static str),
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let Written { gateway, author, .. } = written;
    let held = LabOrders::resultOfCall { id };
    let at = gateway.at(Contract::LabOrders);
    let held = gateway.gatekeeper.ledger().call(at, &held, BlockId::pending()).await?;
    if !held.is_zero() && held != previous.digest.0 {
        let why = "the order holds another version than the one that this follows";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let draft = Draft { kind: Kind::Laboratory, resource };
    let (anchor, sealed, outcome) =
        written.next_and_send(previous, &draft, Contract::LabOrders, call).await?;
    Ok((anchor, vec![sealed, Step::new(&author.name, what, operation, &outcome)]))
}

/// Where a document of an order is written, once it is certain that it is about the patient of that order.
async fn written<'a>(
    gateway: &'a Gateway,
    author: &'a Person,
    patient: &'a PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Written<'a>, WorkflowError> {
    patient.require_theirs("order", patient_of(gateway, id).await?)?;
    Ok(Written { gateway, author, patient, now })
}

/// Whose order it is.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn patient_of(gateway: &Gateway, id: B256) -> Result<Address, WorkflowError> {
    let call = LabOrders::orderOfCall { id };
    let (at, latest) = (gateway.at(Contract::LabOrders), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    let unknown = WorkflowError::Unknown { what: "order", id };
    (!held.patient.is_zero()).then_some(held.patient).ok_or(unknown)
}

fn observation(
    id: B256,
    status: &str,
    result: &Value,
    scientist: &Person,
    patient: &PatientActor,
    now: Timestamp,
) -> Result<Value, WorkflowError> {
    let mut resource = json!({
        "resourceType": "Observation",
        "status": status,
        "category": [{ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "laboratory",
        }] }],
        "basedOn": [{ "reference": format!("ServiceRequest/{id:x}") }],
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "performer": [{ "reference": format!("Practitioner/{}", scientist.member) }],
        "issued": now.to_string(),
    });
    let fields = result.as_object().filter(|fields| {
        // What the gateway vouches for is not in anybody's gift.
        fields.keys().all(|field| resource.get(field).is_none() && field != "id" && field != "meta")
    });
    let fields = fields.ok_or_else(|| {
        let why =
            "a result has the fields of an Observation that say what was found, and no others";
        WorkflowError::Invalid(why.into())
    })?;
    if fields.is_empty() {
        return Err(WorkflowError::Invalid("the result is empty: say what was found".into()));
    }
    for (field, value) in fields {
        if let Some(text) = value.as_str() {
            require_words("result", text)?;
        }
        resource[field] = value.clone();
    }
    if resource.get("code").is_none() {
        resource["code"] = json!({ "text": "laboratory test" });
    }
    Ok(resource)
}

/// A scientist of the laboratory or a nurse of the ordering institution takes the specimen over, and seals
/// where and in what condition at `gateway`, where they work.
///
/// # Errors
///
/// [`WorkflowError`] when nothing is said of its condition, there is no specimen, or it was taken over since by
/// somebody else.
pub async fn take_over(
    gateway: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    condition: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_words("condition of the specimen", condition)?;
    let previous = custody_head(gateway, id).await?;
    let resource = json!({
        "resourceType": "Specimen",
        "status": "available",
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "request": [{ "reference": format!("ServiceRequest/{id:x}") }],
        "receivedTime": now.to_string(),
        "note": [{
            "authorReference": { "reference": format!("Practitioner/{}", person.member) },
            "time": now.to_string(),
            "text": condition,
        }],
    });
    let draft = Draft { kind: Kind::Laboratory, resource };
    let written = written(gateway, person, patient, id, now).await?;
    let call =
        |handover| LabOrders::takeOverCall { id, handOver: handover, previousHead: previous };
    let record = gateway.make_record_id();
    let (anchor, sealed, outcome) =
        written.and_send(record, &draft, Contract::LabOrders, call).await?;
    let step = Step::new(&person.name, "takes the specimen over", "lab.take-over", &outcome);
    Ok((anchor, vec![sealed, step]))
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Ordered.
    Ordered,
    /// The specimen was taken.
    Collected,
    /// The result is there.
    Resulted,
    /// The result was released to the patient.
    Released,
    /// And the orderer's side has seen it.
    Acknowledged,
    /// Cancelled before there was a result.
    Cancelled,
}

impl State {
    /// In the order of their numbers on chain, from 1.
    const ALL: [(Self, &'static str); 6] = [
        (Self::Ordered, "ordered"),
        (Self::Collected, "collected"),
        (Self::Resulted, "resulted"),
        (Self::Released, "released"),
        (Self::Acknowledged, "acknowledged"),
        (Self::Cancelled, "cancelled"),
    ];

    /// As people say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| *name)
    }
}

/// All that the chain holds of an order, with the state that it is in.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none with that id.
///
/// # Source
///
/// `State` in `LabOrders.sol`.
pub async fn order_of(
    gateway: &Gateway,
    id: B256,
) -> Result<(State, LabOrders::Order), WorkflowError> {
    let (at, latest) = (gateway.at(Contract::LabOrders), BlockId::latest());
    let ledger = gateway.gatekeeper.ledger();
    let number: u8 = ledger.call(at, &LabOrders::stateOfCall { id }, latest).await?;
    let state = usize::from(number).checked_sub(1).and_then(|index| State::ALL.get(index));
    let (state, _) = state.ok_or(WorkflowError::Unknown { what: "laboratory order", id })?;
    Ok((*state, ledger.call(at, &LabOrders::orderOfCall { id }, latest).await?))
}

/// A version of a result, as it was reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported {
    /// By whom, by member address.
    pub by: Address,
    /// The digest of its sealed record.
    pub digest: RecordDigest,
    /// Whether it came before the final one.
    pub is_preliminary: bool,
    /// Whether it replaced a final one.
    pub is_corrected: bool,
    /// Whether it needs attention at once.
    pub critical: bool,
    /// By when it is acknowledged, when it is critical.
    pub acknowledge_by: Option<Timestamp>,
}

/// The versions of an order's result, from the first.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn results(gateway: &Gateway, id: B256) -> Result<Vec<Reported>, WorkflowError> {
    let filter = Filter::new().address(gateway.at(Contract::LabOrders)).topic1(id).from_block(0);
    let mut logs = gateway.gatekeeper.ledger().logs(&filter).await.map_err(CallError::from)?;
    logs.sort_by_key(|log| (log.block_number, log.log_index));
    let reported = |by, digest, critical, due| Reported {
        by,
        digest: RecordDigest(digest),
        is_preliminary: false,
        is_corrected: false,
        critical,
        acknowledge_by: (timestamp(due) != Timestamp(0)).then_some(timestamp(due)),
    };
    let told = logs.iter().filter_map(|log| LabOrdersEvents::decode_log(&log.inner).ok());
    Ok(told
        .filter_map(|event| match event.data {
            LabOrdersEvents::PreliminaryReported(event) => Some(Reported {
                is_preliminary: true,
                ..reported(event.by, event.digest, event.critical, event.acknowledgeBy)
            }),
            LabOrdersEvents::ResultReported(event) => {
                Some(reported(event.by, event.digest, event.critical, event.acknowledgeBy))
            }
            LabOrdersEvents::ResultCorrected(event) => Some(Reported {
                is_corrected: true,
                ..reported(event.by, event.digest, event.critical, event.acknowledgeBy)
            }),
            _ => None,
        })
        .collect())
}

/// One link of the chain of custody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// Who took the specimen over, by member address.
    pub by: Address,
    /// The digest of the sealed record of it.
    pub record: B256,
}

/// The hands that the specimen went through, from the first, each link computed again up to the head that
/// the contract holds.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the links do not lead to the head: the endpoint leaves some out.
pub async fn custody(gateway: &Gateway, id: B256) -> Result<Vec<HandOver>, WorkflowError> {
    let filter = Filter::new()
        .address(gateway.at(Contract::LabOrders))
        .event_signature(LabOrders::SpecimenHandedOver::SIGNATURE_HASH)
        .topic1(id)
        .from_block(0);
    let ledger = gateway.gatekeeper.ledger();
    let mut logs = ledger.logs(&filter).await.map_err(CallError::from)?;
    logs.sort_by_key(|log| (log.block_number, log.log_index));
    let (mut head, mut hands) = (B256::ZERO, Vec::new());
    for log in &logs {
        let Ok(event) = LabOrders::SpecimenHandedOver::decode_log(&log.inner) else { continue };
        let event = event.data;
        head = keccak256((head, event.by, event.handOver).abi_encode());
        hands.push(HandOver { by: event.by, record: event.handOver });
    }
    if head == custody_head(gateway, id).await? {
        Ok(hands)
    } else {
        Err(WorkflowError::Invalid("the hand-overs do not lead to the specimen's custody".into()))
    }
}

async fn custody_head(gateway: &Gateway, id: B256) -> Result<B256, WorkflowError> {
    let call = LabOrders::custodyOfCall { id };
    let (at, latest) = (gateway.at(Contract::LabOrders), Default::default());
    Ok(gateway.gatekeeper.ledger().call(at, &call, latest).await?)
}

/// Whether a critical result waits for a doctor longer than it may.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn is_overdue(gateway: &Gateway, id: B256) -> Result<bool, WorkflowError> {
    let call = LabOrders::isOverdueCall { id };
    // By the time of the next block: the last one may be old.
    let (at, next) = (gateway.at(Contract::LabOrders), BlockId::pending());
    Ok(gateway.gatekeeper.ledger().call(at, &call, next).await?)
}

/// Somebody of the ordering institution, or a scientist of the laboratory, escalates a critical result that
/// nobody acknowledged in time: the institution is told again. It stays overdue, and can be escalated again after
/// the same time.
///
/// # Errors
///
/// [`WorkflowError::Send`] when nothing critical is overdue.
pub async fn escalate(gateway: &Gateway, person: &Person, id: B256) -> Result<Step, WorkflowError> {
    let call = LabOrders::escalateCall { id };
    let outcome = person.sender.send(gateway.at(Contract::LabOrders), &call).await?;
    let what = "escalates a critical result that nobody acknowledged";
    Ok(Step::new(&person.name, what, "lab.escalate", &outcome))
}

/// The patient cancels the order before there is a result.
///
/// # Errors
///
/// [`WorkflowError::Send`] when there is a result already, or it is not theirs.
pub async fn cancel_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Call::to_contract(relay.at(Contract::LabOrders), &LabOrders::cancelCall { id });
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "cancels the order", "lab.cancel", &outcome))
}

/// An ordering doctor cancels the order before there is a result.
///
/// # Errors
///
/// [`WorkflowError::Send`] when there is a result already, a preliminary one included.
pub async fn cancel(gateway: &Gateway, doctor: &Person, id: B256) -> Result<Step, WorkflowError> {
    let call = LabOrders::cancelCall { id };
    let outcome = doctor.sender.send(gateway.at(Contract::LabOrders), &call).await?;
    Ok(Step::new(&doctor.name, "cancels the order", "lab.cancel", &outcome))
}

/// The orderer or the laboratory releases the result, which alerts the patient. The digest is that of the version
/// that they have before them.
///
/// # Errors
///
/// [`WorkflowError::Send`] when there is no result yet, or another version came in.
pub async fn release(
    gateway: &Gateway,
    person: &Person,
    id: B256,
    digest: RecordDigest,
) -> Result<Step, WorkflowError> {
    let call = LabOrders::releaseCall { id, digest: digest.0 };
    let outcome = person.sender.send(gateway.at(Contract::LabOrders), &call).await?;
    let what = "releases the result; the patient is alerted";
    Ok(Step::new(&person.name, what, "lab.release", &outcome))
}

/// The orderer takes notice of the result. The digest is that of the version that they have before them.
///
/// # Errors
///
/// [`WorkflowError::Send`] when there is no result yet, it was acknowledged, or another version came in.
pub async fn acknowledge(
    gateway: &Gateway,
    person: &Person,
    id: B256,
    digest: RecordDigest,
) -> Result<Step, WorkflowError> {
    let call = LabOrders::acknowledgeCall { id, digest: digest.0 };
    let outcome = person.sender.send(gateway.at(Contract::LabOrders), &call).await?;
    Ok(Step::new(&person.name, "acknowledges the result", "lab.acknowledge", &outcome))
}
