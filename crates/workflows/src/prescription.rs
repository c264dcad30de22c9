//! Prescription: issued by a physician, permitted to a pharmacy by prescriber **and** patient, claimed
//! by one pharmacy, dispensed once and not beyond its quantity.
//!
//! The prescription is a record of the hospital, sealed and anchored like any other; its record id is
//! the prescription's id on chain, which only its prescriber can take. The pharmacy may read that one record while both permits stand.
//! What it dispensed is a record of its own.

use alloy_primitives::{Address, B256};
use bindings::{
    Contract, Prescriptions, Records,
    convert::{make_id, to_anchor, to_uint40},
    patient_account::Call,
};
use domain::{Anchor, Kind, RecordId, Timestamp};
use serde_json::json;

use crate::{Gateway, PatientActor, Person, Step, WorkflowError, record::Draft};

/// What is prescribed.
#[derive(Clone, Debug)]
pub struct Order {
    /// The medicine, as a code system, code and text.
    pub medication: (String, String, String),
    /// How to take it.
    pub dosage: String,
    /// Units per fill.
    pub quantity: u32,
    /// How often it may be filled.
    pub fills: u8,
    /// How long it counts.
    pub valid_for: std::time::Duration,
}

/// The prescriber issues a prescription: sealed, anchored, and opened on chain. Three steps.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses, such as a prescriber who is not in force. It is asked
/// before anything is sealed, so a refused prescription leaves nothing behind.
pub async fn issue(
    hospital: &Gateway,
    prescriber: &Person,
    patient: &PatientActor,
    order: &Order,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let salt = hospital.make_salt();
    let id = RecordId(make_id(prescriber.member, salt));
    let contract = hospital.at(Contract::Prescriptions);
    let issue = |digest| Prescriptions::issueCall {
        salt,
        terms: Prescriptions::Terms {
            patient: patient.account(),
            digest,
            quantity: order.quantity,
            fills: order.fills,
            validUntil: to_uint40(now.after(order.valid_for)),
            fillInterval: to_uint40(Timestamp(0)),
        },
    };
    prescriber.check(contract, &issue(B256::repeat_byte(1))).await?;
    let (system, code, text) = &order.medication;
    let resource = json!({
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": {
            "coding": [{ "system": system, "code": code, "display": text }],
        },
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "authoredOn": now.to_string(),
        "requester": { "reference": format!("Practitioner/{}", prescriber.member) },
        "dosageInstruction": [{ "text": order.dosage }],
        "dispenseRequest": {
            "numberOfRepeatsAllowed": order.fills.saturating_sub(1),
            "quantity": { "value": order.quantity },
        },
    });
    let draft = Draft { kind: Kind::Medication, resource };
    let new = draft.first_version(id, prescriber, patient, now);
    let (anchor, anchored) = hospital.gatekeeper.put_and_propose(new, None).await?;
    let issued = prescriber.sender.send(contract, &issue(anchor.digest.0)).await?;
    let steps = vec![
        Step::new(&hospital.name, "proposes the prescription record", "record.propose", &anchored),
        Step::new(&prescriber.name, "issues the prescription", "prescription.issue", &issued),
    ];
    Ok((anchor, steps))
}

/// The prescriber permits a pharmacy.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the prescription is not one of this prescriber's.
pub async fn permit_by_prescriber(
    hospital: &Gateway,
    prescriber: &Person,
    id: B256,
    pharmacy: Address,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::permitCall { id, pharmacy };
    let outcome = prescriber.sender.send(hospital.at(Contract::Prescriptions), &call).await?;
    Ok(Step::new(&prescriber.name, "permits the pharmacy", "prescription.permit", &outcome))
}

/// The patient accepts the prescription's record and permits a pharmacy, in one signature.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the prescription is not this patient's.
pub async fn permit_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    anchor: &Anchor,
    pharmacy: Address,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let accept = Records::acceptCall { anchor: to_anchor(anchor) };
    let permit = Prescriptions::permitCall { id: anchor.record.0, pharmacy };
    let calls = vec![
        Call::to_contract(relay.at(Contract::Records), &accept),
        Call::to_contract(relay.at(Contract::Prescriptions), &permit),
    ];
    let outcome = patient.act(relay.sender(), calls, now).await?;
    let what = "accepts the prescription and permits the pharmacy";
    Ok(Step::new(&patient.name, what, "prescription.permit-by-patient", &outcome))
}

/// The pharmacist claims the prescription: no other pharmacy can dispense it meanwhile.
///
/// # Errors
///
/// [`WorkflowError::Send`] when not both permitted, or another holds the claim.
pub async fn claim(
    pharmacy: &Gateway,
    pharmacist: &Person,
    id: B256,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::claimCall { id };
    let outcome = pharmacist.sender.send(pharmacy.at(Contract::Prescriptions), &call).await?;
    Ok(Step::new(&pharmacist.name, "claims the prescription", "prescription.claim", &outcome))
}

/// What is handed over.
#[derive(Clone, Debug)]
pub struct Product {
    /// How many units.
    pub quantity: u32,
    /// The batch number on the package.
    pub batch: String,
    /// When the product expires.
    pub expires: Timestamp,
}

/// The pharmacist dispenses: seals what was handed over as a record of the pharmacy, anchors it, and
/// says so on chain, where quantity, period and claim are checked.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the claim is gone, the quantity used up, or the product expired. The
/// chain is asked before anything is sealed, so a refused dispensing leaves nothing behind.
pub async fn dispense(
    pharmacy: &Gateway,
    pharmacist: &Person,
    patient: &PatientActor,
    id: B256,
    product: &Product,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let mut dispensing = Prescriptions::Dispensing {
        quantity: product.quantity,
        productExpiry: to_uint40(product.expires),
        batch: pharmacy.keyed_digest("salus/product-batch/v1", product.batch.as_bytes()),
        record: B256::repeat_byte(1),
    };
    let call = |dispensing| Prescriptions::dispenseCall { id, dispensing };
    let contract = pharmacy.at(Contract::Prescriptions);
    pharmacist.check(contract, &call(dispensing.clone())).await?;
    let resource = json!({
        "resourceType": "MedicationDispense",
        "status": "completed",
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "performer": [{ "actor": { "reference": format!("Practitioner/{}", pharmacist.member) } }],
        "authorizingPrescription": [{ "reference": format!("MedicationRequest/{id}") }],
        "quantity": { "value": product.quantity },
        "whenHandedOver": now.to_string(),
        "note": [{ "text": format!("batch {}, expires {}", product.batch, product.expires) }],
    });
    let draft = Draft { kind: Kind::Medication, resource };
    let new = draft.first_version(pharmacy.make_record_id(), pharmacist, patient, now);
    let (anchor, anchored) = pharmacy.gatekeeper.put_and_propose(new, None).await?;
    dispensing.record = anchor.digest.0;
    let dispensed = pharmacist.sender.send(contract, &call(dispensing)).await?;
    let what = format!("dispenses {} units", product.quantity);
    let steps = vec![
        Step::new(&pharmacy.name, "proposes the dispensing record", "record.propose", &anchored),
        Step::new(&pharmacist.name, what, "prescription.dispense", &dispensed),
    ];
    Ok((anchor, steps))
}

/// The prescriber or, through their account, the patient cancels it.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is completed or cancelled already.
pub async fn cancel(
    hospital: &Gateway,
    prescriber: &Person,
    id: B256,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::cancelCall { id };
    let outcome = prescriber.sender.send(hospital.at(Contract::Prescriptions), &call).await?;
    Ok(Step::new(&prescriber.name, "cancels the prescription", "prescription.cancel", &outcome))
}
