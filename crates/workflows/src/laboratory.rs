//! Laboratory: ordered by a physician, specimen collected, result reported, released to the patient,
//! acknowledged by the orderer.
//!
//! The order is a record of the hospital, and its record id is the order's id on chain, which only its
//! orderer can take, so that the laboratory may read that one record. The result is a record of the
//! laboratory. A critical result has to be acknowledged within a time that the contract sets. The
//! patient is alerted by the release.

use alloy_primitives::B256;
use bindings::{Contract, LabOrders, convert::make_id};
use domain::{Anchor, Kind, RecordDigest, RecordId, Timestamp};
use serde_json::{Value, json};

use crate::{Gateway, PatientActor, Person, Step, WorkflowError, record::Draft};

/// The orderer places an order with a laboratory.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses. It is asked before anything is sealed.
pub async fn order(
    hospital: &Gateway,
    orderer: &Person,
    patient: &PatientActor,
    laboratory: &Gateway,
    code: &Value,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let salt = hospital.make_salt();
    let id = RecordId(make_id(orderer.member, salt));
    let contract = hospital.at(Contract::LabOrders);
    let order = |digest| LabOrders::orderCall {
        salt,
        patient: patient.account(),
        laboratory: laboratory.member(),
        digest,
    };
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
        "performer": [{ "reference": format!("Organization/{}", laboratory.member()) }],
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
    let mut resource = json!({
        "resourceType": "Observation",
        "status": "final",
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
