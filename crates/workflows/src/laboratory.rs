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
use alloy_sol_types::{SolCall, SolEvent as _, SolValue as _};
use bindings::{Contract, LabOrders, convert::make_id};
use domain::{Anchor, Kind, RecordDigest, RecordId, RecordVersion, Timestamp};
use ledger::CallError;
use serde_json::{Value, json};
use vault::NewRecord;

use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    record::{Draft, Written},
};

/// The orderer places an order with a laboratory.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses. It is asked before anything is sealed.
pub async fn order(
    hospital: &Gateway,
    orderer: &Person,
    patient: &PatientActor,
    laboratory: Address,
    code: &Value,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let salt = hospital.make_salt();
    let id = RecordId(make_id(orderer.member, salt));
    let contract = hospital.at(Contract::LabOrders);
    let order =
        |digest| LabOrders::orderCall { salt, patient: patient.account(), laboratory, digest };
    orderer.check(contract, &order(B256::repeat_byte(1))).await?;
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
    let new = draft.first_version(id, orderer, patient, now);
    let (anchor, anchored) = hospital.gatekeeper.put_and_propose(new, None).await?;
    let ordered = orderer.sender.send(contract, &order(anchor.digest.0)).await?;
    let steps = vec![
        Step::new(&hospital.name, "proposes the order record", "record.propose", &anchored),
        Step::new(&orderer.name, "orders a laboratory test", "lab.order", &ordered),
    ];
    Ok((anchor, steps))
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
    let contract = laboratory.at(Contract::LabOrders);
    let report = |digest| LabOrders::reportCall { id, digest, critical };
    scientist.check(contract, &report(B256::repeat_byte(1))).await?;
    let resource = observation(id, "final", result, scientist, patient, now);
    let draft = Draft { kind: Kind::Laboratory, resource };
    let new = draft.first_version(laboratory.make_record_id(), scientist, patient, now);
    let (anchor, anchored) = laboratory.gatekeeper.put_and_propose(new, None).await?;
    let reported = scientist.sender.send(contract, &report(anchor.digest.0)).await?;
    let what = if critical { "reports a critical result" } else { "reports the result" };
    let steps = vec![
        Step::new(&laboratory.name, "proposes the result record", "record.propose", &anchored),
        Step::new(&scientist.name, what, "lab.report", &reported),
    ];
    Ok((anchor, steps))
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
    let resource = observation(id, "preliminary", result, scientist, patient, now);
    let draft = Draft { kind: Kind::Laboratory, resource };
    let written = Written { gateway: laboratory, author: scientist, patient, now };
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
    let resource = observation(id, "final", result, scientist, patient, now);
    let written = Written { gateway: laboratory, author: scientist, patient, now };
    let call = |digest| LabOrders::reportCall { id, digest, critical };
    let what = if critical { "reports a critical result" } else { "reports the result" };
    next_version(written, previous, resource, call, (what, "lab.report")).await
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
    let resource = observation(id, "corrected", result, scientist, patient, now);
    let written = Written { gateway: laboratory, author: scientist, patient, now };
    let call = |digest| LabOrders::correctCall { id, digest, critical };
    let what = if critical { "corrects the result: critical" } else { "corrects the result" };
    next_version(written, previous, resource, call, (what, "lab.correct")).await
}

/// Seals and proposes the version after `previous`, which is withdrawn when the patient has not answered
/// it, and sends the call that the digest goes into.
async fn next_version<C: SolCall>(
    written: Written<'_>,
    previous: &Anchor,
    resource: Value,
    call: impl Fn(B256) -> C,
    (what, operation): (&str, &'static str),
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let Written { gateway, author, patient, now } = written;
    let contract = gateway.at(Contract::LabOrders);
    author.check(contract, &call(B256::repeat_byte(1))).await?;
    let version = RecordVersion::try_from(previous.version.get() + 1)
        .map_err(|_| WorkflowError::Invalid("no version follows this one".into()))?;
    let draft = Draft { kind: Kind::Laboratory, resource };
    let new = draft.first_version(previous.record, author, patient, now);
    let new = NewRecord { version, ..new };
    gateway.gatekeeper.refresh(now).await?;
    let put = gateway.gatekeeper.put_and_propose_along(
        new,
        Some(previous),
        Box::new(|_| Box::pin(std::future::ready(Ok(())))),
    );
    let (anchor, anchored) = put.await?;
    let outcome = author.sender.send(contract, &call(anchor.digest.0)).await?;
    let proposes = format!("proposes version {version} of the result record");
    let steps = vec![
        Step::new(&gateway.name, proposes, "record.amend", &anchored),
        Step::new(&author.name, what, operation, &outcome),
    ];
    Ok((anchor, steps))
}

fn observation(
    id: B256,
    status: &str,
    result: &Value,
    scientist: &Person,
    patient: &PatientActor,
    now: Timestamp,
) -> Value {
    let mut resource = json!({
        "resourceType": "Observation",
        "status": status,
        "category": [{ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "laboratory",
        }] }],
        "basedOn": [{ "reference": format!("ServiceRequest/{id}") }],
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "performer": [{ "reference": format!("Practitioner/{}", scientist.member) }],
        "issued": now.to_string(),
    });
    for (field, value) in result.as_object().into_iter().flatten() {
        resource[field] = value.clone();
    }
    resource
}

/// A scientist of the laboratory or a nurse of the ordering institution takes the specimen over, and seals
/// where and in what condition at `gateway`, where they work.
///
/// # Errors
///
/// [`WorkflowError`] when there is no specimen, or it was taken over since by somebody else.
pub async fn take_over(
    gateway: &Gateway,
    person: &Person,
    patient: &PatientActor,
    id: B256,
    condition: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let previous = custody_head(gateway, id).await?;
    let resource = json!({
        "resourceType": "Specimen",
        "status": "available",
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "request": [{ "reference": format!("ServiceRequest/{id}") }],
        "receivedTime": now.to_string(),
        "note": [{
            "authorReference": { "reference": format!("Practitioner/{}", person.member) },
            "time": now.to_string(),
            "text": condition,
        }],
    });
    let draft = Draft { kind: Kind::Laboratory, resource };
    let written = Written { gateway, author: person, patient, now };
    let call =
        |handover| LabOrders::takeOverCall { id, handOver: handover, previousHead: previous };
    let record = gateway.make_record_id();
    let (anchor, sealed, outcome) =
        written.and_send(record, &draft, Contract::LabOrders, call).await?;
    let step = Step::new(&person.name, "takes the specimen over", "lab.take-over", &outcome);
    Ok((anchor, vec![sealed, step]))
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
/// nobody acknowledged in time: the institution is told again, and the clock starts anew.
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
