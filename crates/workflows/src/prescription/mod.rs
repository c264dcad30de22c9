//! Prescription: checked and issued by a physician, permitted to a pharmacy by prescriber **and**
//! patient, claimed by one pharmacy, dispensed once and not beyond its quantity, and its collection
//! confirmed by the patient. A controlled medicine takes a second doctor's signature.
//!
//! The prescription is a record of the hospital, sealed and anchored like any other; its record id is
//! the prescription's id on chain, which only its prescriber can take. The pharmacy may read that one record while both permits stand.
//! What it dispensed is a record of its own.

mod checks;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, U256};
use bindings::{
    Contract, Prescriptions,
    convert::{make_id, timestamp, to_uint40},
    patient_account::Call,
};
use domain::{Anchor, Kind, RecordId, Timestamp};
use serde_json::json;

pub use checks::{Checked, Dose, Finding, Known, check};

use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    given::{require_at_most, require_within_years, require_words},
    record::{Draft, Written, accept_call},
};

/// What is prescribed.
#[derive(Clone, Debug)]
pub struct Order {
    /// The medicine, as a code system, code and text.
    pub medication: (String, String, String),
    /// How to take it.
    pub dosage: String,
    /// How much that is, as far as it can be said in numbers.
    pub dose: Option<Dose>,
    /// Units per fill.
    pub quantity: u32,
    /// How often it may be filled.
    pub fills: u8,
    /// How long it counts.
    pub valid_for: std::time::Duration,
    /// Whether the medicine is controlled, so that another doctor of the institution signs, too.
    pub controlled: bool,
    /// Whether the pharmacist is to hand out this very product.
    pub as_written: bool,
}

/// The most units of one fill or hand-over: a year of 24 a day, and some.
const QUANTITY_MAX: u64 = 10_000;

/// The most of an ingredient that is taken at once, in milligrams: 100 g.
const EACH_MILLIGRAMS_MAX: u64 = 100_000;

/// The most often that something is taken in a day: every half hour.
const TIMES_MAX: u64 = 48;

/// How many years ahead a product may expire.
const EXPIRY_YEARS_MAX: u64 = 20;

impl Order {
    /// Refuses what nobody can mean, whoever the patient is. It is looked at when it is issued; whoever looks before,
    /// reads no records for it.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when a text is empty, or a number is nothing or absurd.
    pub fn require_sound(&self) -> Result<(), WorkflowError> {
        require_words("medicine", &self.medication.2)?;
        require_words("dosage", &self.dosage)?;
        require_at_most("quantity", self.quantity.into(), QUANTITY_MAX)?;
        let Some(dose) = self.dose else { return Ok(()) };
        if dose.each_micrograms == 0 || dose.times_a_day == 0 {
            let why = "a dose is more than nothing, and taken at least once a day";
            return Err(WorkflowError::Invalid(why.into()));
        }
        let milligrams = dose.each_micrograms.div_ceil(1_000);
        require_at_most("dose in milligrams", milligrams, EACH_MILLIGRAMS_MAX)?;
        require_at_most("number of times a day", dose.times_a_day.into(), TIMES_MAX)
    }
}

/// The prescriber issues a prescription that was checked: sealed, anchored, and opened on chain. Findings
/// that are overridden are sealed and anchored first, with the reason, as a record of their own; another
/// product is forbidden last.
///
/// # Errors
///
/// [`WorkflowError`] when the chain refuses, such as a prescriber who is not in force, when the order
/// cannot be meant ([`Order::require_sound`]), or was checked for another patient. It is asked before anything is sealed, so a refused prescription
/// leaves nothing behind.
pub async fn issue(
    hospital: &Gateway,
    prescriber: &Person,
    patient: &PatientActor,
    checked: &Checked<'_>,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    if checked.patient() != patient.account() {
        return Err(WorkflowError::Invalid("the order was checked for another patient".into()));
    }
    let order = checked.order();
    order.require_sound()?;
    if !checked.findings().is_empty() {
        require_words("reason", checked.reason())?;
    }
    let salt = hospital.make_salt();
    let id = RecordId(make_id(prescriber.member, salt));
    let terms = |digest| Prescriptions::Terms {
        patient: patient.account(),
        digest,
        quantity: order.quantity,
        fills: order.fills,
        validUntil: to_uint40(now.after(order.valid_for)),
        fillInterval: to_uint40(Timestamp(0)),
    };
    let issue = |digest| Prescriptions::issueCall { salt, terms: terms(digest) };
    let issue_controlled =
        |digest| Prescriptions::issueControlledCall { salt, terms: terms(digest) };
    let mut resource = medication_request(order, prescriber, patient, now);
    let overridden = (!checked.findings().is_empty()).then(|| hospital.make_record_id());
    if let Some(record) = overridden {
        let issue = format!("DetectedIssue/{:x}", record.0);
        resource["detectedIssue"] = json!([{ "reference": issue }]);
    }
    let draft = Draft { kind: Kind::Medication, resource };
    let written = Written { gateway: hospital, author: prescriber, patient, now };
    let contract = Contract::Prescriptions;
    let signed = if order.controlled {
        written.sign(id, &draft, contract, issue_controlled).await?
    } else {
        written.sign(id, &draft, contract, issue).await?
    };
    let mut steps = Vec::new();
    if let Some(record) = overridden {
        let draft = detected_issue(id, checked, prescriber, patient, now);
        let new = draft.first_version(record, prescriber, patient, now);
        let along = hospital.along(&new);
        let (_, outcome) = hospital.gatekeeper.put_and_propose_along(new, None, along).await?;
        let count = checked.findings().len();
        let what = format!("overrides what the checks found ({count}), with a reason");
        steps.push(Step::new(&prescriber.name, what, "record.propose", &outcome));
    }
    let (anchor, sealed, issued) = signed.keep_and_send().await?;
    steps.push(sealed);
    let (what, operation) = if order.controlled {
        ("issues a controlled prescription", "prescription.issue-controlled")
    } else {
        ("issues the prescription", "prescription.issue")
    };
    steps.push(Step::new(&prescriber.name, what, operation, &issued));
    Ok((anchor, steps))
}

/// The prescriber forbids another product than the one that they wrote down. What is ordered as written takes
/// this step after it was issued.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is not theirs, or something was dispensed.
pub async fn forbid_substitution(
    hospital: &Gateway,
    prescriber: &Person,
    id: B256,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::forbidSubstitutionCall { id };
    let outcome = prescriber.sender.send(hospital.at(Contract::Prescriptions), &call).await?;
    let what = "forbids another product";
    Ok(Step::new(&prescriber.name, what, "prescription.forbid-substitution", &outcome))
}

fn medication_request(
    order: &Order,
    prescriber: &Person,
    patient: &PatientActor,
    now: Timestamp,
) -> serde_json::Value {
    let (system, code, text) = &order.medication;
    let mut medication = json!({ "text": text });
    if !system.is_empty() && !code.is_empty() {
        medication["coding"] = json!([{ "system": system, "code": code, "display": text }]);
    }
    let mut instruction = json!({ "text": order.dosage });
    if let Some(dose) = order.dose {
        instruction["timing"] = json!({ "repeat": {
            "frequency": dose.times_a_day, "period": 1, "periodUnit": "d",
        } });
        instruction["doseAndRate"] = json!([{ "doseQuantity": {
            "value": dose.each_micrograms,
            "unit": "ug",
            "system": "http://unitsofmeasure.org",
            "code": "ug",
        } }]);
    }
    json!({
        "resourceType": "MedicationRequest",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": medication,
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "authoredOn": now.to_string(),
        "requester": { "reference": format!("Practitioner/{}", prescriber.member) },
        "dosageInstruction": [instruction],
        "dispenseRequest": {
            "numberOfRepeatsAllowed": order.fills.saturating_sub(1),
            "quantity": { "value": order.quantity },
        },
        "substitution": { "allowedBoolean": !order.as_written },
    })
}

/// What the checks found, and why it is overridden.
fn detected_issue(
    id: RecordId,
    checked: &Checked<'_>,
    prescriber: &Person,
    patient: &PatientActor,
    now: Timestamp,
) -> Draft {
    let author = json!({ "reference": format!("Practitioner/{}", prescriber.member) });
    let findings: Vec<String> = checked.findings().iter().map(ToString::to_string).collect();
    let resource = json!({
        "resourceType": "DetectedIssue",
        "status": "final",
        "patient": { "reference": format!("Patient/{}", patient.account()) },
        "identifiedDateTime": now.to_string(),
        "author": author,
        "implicated": [{ "reference": format!("MedicationRequest/{:x}", id.0) }],
        "detail": findings.join("; "),
        "mitigation": [{
            "action": { "text": checked.reason() },
            "date": now.to_string(),
            "author": author,
        }],
    });
    Draft { kind: Kind::Condition, resource }
}

/// Another doctor of the prescriber's institution signs a controlled prescription, which counts from
/// then on.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it awaits no signature, or the doctor is the prescriber or of elsewhere.
pub async fn countersign(
    hospital: &Gateway,
    doctor: &Person,
    id: B256,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::countersignCall { id };
    let outcome = doctor.sender.send(hospital.at(Contract::Prescriptions), &call).await?;
    let what = "signs the controlled prescription, too";
    Ok(Step::new(&doctor.name, what, "prescription.countersign", &outcome))
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
    let permit = Prescriptions::permitCall { id: anchor.record.0, pharmacy };
    let mut calls = Vec::from_iter(accept_call(relay, anchor).await?);
    calls.push(Call::to_contract(relay.at(Contract::Prescriptions), &permit));
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

/// The pharmacist gives the claim up before its time, so that another pharmacy can fill it.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the pharmacy holds no claim, or its time is over.
pub async fn release(
    pharmacy: &Gateway,
    pharmacist: &Person,
    id: B256,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::releaseCall { id };
    let outcome = pharmacist.sender.send(pharmacy.at(Contract::Prescriptions), &call).await?;
    Ok(Step::new(&pharmacist.name, "gives the claim up", "prescription.release", &outcome))
}

/// The pharmacist hands out another product of the same kind, under the claim: product and reason are
/// sealed as a record of the pharmacy. Dispensing follows.
///
/// # Errors
///
/// [`WorkflowError`] when product or reason are empty, the prescriber forbids it, or the pharmacy holds no claim. The
/// chain is asked before anything is sealed.
pub async fn substitute(
    pharmacy: &Gateway,
    pharmacist: &Person,
    patient: &PatientActor,
    id: B256,
    product: &str,
    reason: &str,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_words("product", product)?;
    require_words("reason", reason)?;
    let digest = pharmacy.keyed_digest("salus/product/v1", product.as_bytes());
    let resource = json!({
        "resourceType": "MedicationDispense",
        "status": "preparation",
        "medicationCodeableConcept": { "text": product },
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "performer": [{ "actor": { "reference": format!("Practitioner/{}", pharmacist.member) } }],
        "authorizingPrescription": [{ "reference": format!("MedicationRequest/{id:x}") }],
        "substitution": {
            "wasSubstituted": true,
            "reason": [{ "text": reason }],
            "responsibleParty": [{
                "reference": format!("Practitioner/{}", pharmacist.member),
            }],
        },
    });
    let draft = Draft { kind: Kind::Medication, resource };
    let call = |reason| Prescriptions::substituteCall { id, product: digest, reason };
    let written = written(pharmacy, pharmacist, patient, id, now).await?;
    let record = pharmacy.make_record_id();
    let (anchor, sealed, outcome) =
        written.and_send(record, &draft, Contract::Prescriptions, call).await?;
    let what = "hands out another product of the same kind";
    let step = Step::new(&pharmacist.name, what, "prescription.substitute", &outcome);
    Ok((anchor, vec![sealed, step]))
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
/// [`WorkflowError::Invalid`] when quantity, batch or expiry is absurd, [`WorkflowError::Send`] when the claim is
/// gone, the quantity used up, or the product expired. The chain is asked before anything is sealed, so a refused dispensing leaves nothing
/// behind.
pub async fn dispense(
    pharmacy: &Gateway,
    pharmacist: &Person,
    patient: &PatientActor,
    id: B256,
    product: &Product,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    require_at_most("quantity", product.quantity.into(), QUANTITY_MAX)?;
    require_words("batch number", &product.batch)?;
    require_within_years("expiry of the product", product.expires, now, EXPIRY_YEARS_MAX)?;
    let call = |record| Prescriptions::dispenseCall {
        id,
        dispensing: Prescriptions::Dispensing {
            quantity: product.quantity,
            productExpiry: to_uint40(product.expires),
            batch: pharmacy.keyed_digest("salus/product-batch/v1", product.batch.as_bytes()),
            record,
        },
    };
    let resource = json!({
        "resourceType": "MedicationDispense",
        "status": "completed",
        "medicationCodeableConcept": { "text": "as prescribed, or as substituted" },
        "subject": { "reference": format!("Patient/{}", patient.account()) },
        "performer": [{ "actor": { "reference": format!("Practitioner/{}", pharmacist.member) } }],
        "authorizingPrescription": [{ "reference": format!("MedicationRequest/{id:x}") }],
        "quantity": { "value": product.quantity },
        "whenHandedOver": now.to_string(),
        "note": [{ "text": format!("batch {}, expires {}", product.batch, product.expires) }],
    });
    let draft = Draft { kind: Kind::Medication, resource };
    let written = written(pharmacy, pharmacist, patient, id, now).await?;
    let record = pharmacy.make_record_id();
    let (anchor, sealed, dispensed) =
        written.and_send(record, &draft, Contract::Prescriptions, call).await?;
    let what = format!("dispenses {} units", product.quantity);
    let step = Step::new(&pharmacist.name, what, "prescription.dispense", &dispensed);
    Ok((anchor, vec![sealed, step]))
}

/// Where a document of a prescription is written, once it is certain that it is about the patient of that
/// prescription.
async fn written<'a>(
    gateway: &'a Gateway,
    author: &'a Person,
    patient: &'a PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Written<'a>, WorkflowError> {
    patient.require_theirs("prescription", patient_of(gateway, id).await?)?;
    Ok(Written { gateway, author, patient, now })
}

/// Whose prescription it is.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none.
pub async fn patient_of(gateway: &Gateway, id: B256) -> Result<Address, WorkflowError> {
    let call = Prescriptions::prescriptionOfCall { id };
    let (at, latest) = (gateway.at(Contract::Prescriptions), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    let unknown = WorkflowError::Unknown { what: "prescription", id };
    (!held.patient.is_zero()).then_some(held.patient).ok_or(unknown)
}

/// The prescriber takes a pharmacy's permission back; it reads and claims no more.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the prescription is not theirs.
pub async fn withdraw_permit(
    hospital: &Gateway,
    prescriber: &Person,
    id: B256,
    pharmacy: Address,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::withdrawPermitCall { id, pharmacy };
    let outcome = prescriber.sender.send(hospital.at(Contract::Prescriptions), &call).await?;
    let what = "takes the pharmacy's permission back";
    Ok(Step::new(&prescriber.name, what, "prescription.withdraw-permit", &outcome))
}

/// The patient takes a pharmacy's permission back; it reads and claims no more.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the prescription is not theirs.
pub async fn withdraw_permit_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    pharmacy: Address,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::withdrawPermitCall { id, pharmacy };
    let call = Call::to_contract(relay.at(Contract::Prescriptions), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = "takes the pharmacy's permission back";
    Ok(Step::new(&patient.name, what, "prescription.withdraw-permit", &outcome))
}

/// The patient cancels the prescription.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is completed or cancelled already, or not theirs.
pub async fn cancel_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::cancelCall { id };
    let call = Call::to_contract(relay.at(Contract::Prescriptions), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "cancels the prescription", "prescription.cancel", &outcome))
}

/// The prescriber cancels it.
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

/// The patient confirms that they have what a fill dispensed. Fills are counted from 1.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the fill is not complete, was confirmed before, or is not theirs.
pub async fn confirm_collection(
    relay: &Gateway,
    patient: &PatientActor,
    id: B256,
    fill: u8,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Prescriptions::confirmCollectionCall { id, fill: U256::from(fill) };
    let call = Call::to_contract(relay.at(Contract::Prescriptions), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = format!("confirms that they have fill {fill}");
    Ok(Step::new(&patient.name, what, "prescription.confirm-collection", &outcome))
}

/// Where a prescription stands, by the chain's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can be claimed by who is permitted.
    Issued,
    /// A pharmacy holds the claim.
    Claimed,
    /// Every fill was dispensed; the pharmacist signed the last.
    Completed,
    /// Cancelled.
    Cancelled,
    /// Its time is over.
    Expired,
    /// It is controlled, and a second doctor has not signed it.
    AwaitingSignature,
}

impl State {
    /// As people say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Claimed => "claimed",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::AwaitingSignature => "awaiting a second signature",
        }
    }
}

/// Where a prescription stands now: a claim or a prescription whose time is over is over, though nobody
/// said so.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none with that id.
pub async fn standing(gateway: &Gateway, id: B256) -> Result<State, WorkflowError> {
    let call = Prescriptions::stateOfCall { id };
    // By the time of the next block: the last one may be old.
    let (at, next) = (gateway.at(Contract::Prescriptions), BlockId::pending());
    let number = gateway.gatekeeper.ledger().call(at, &call, next).await?;
    Ok(match number {
        1 => State::Issued,
        2 => State::Claimed,
        3 => State::Completed,
        4 => State::Cancelled,
        5 => State::Expired,
        6 => State::AwaitingSignature,
        _ => return Err(WorkflowError::Unknown { what: "prescription", id }),
    })
}

/// All that the chain holds of a prescription, with the state that it is in.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none with that id.
pub async fn prescription_of(
    gateway: &Gateway,
    id: B256,
) -> Result<(State, Prescriptions::Prescription), WorkflowError> {
    let state = standing(gateway, id).await?;
    let call = Prescriptions::prescriptionOfCall { id };
    let (at, latest) = (gateway.at(Contract::Prescriptions), BlockId::latest());
    Ok((state, gateway.gatekeeper.ledger().call(at, &call, latest).await?))
}

/// The signed completion of a fill, to which a claim can refer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which pharmacy handed out its last unit, by member address.
    pub pharmacy: Address,
    /// When.
    pub completed_at: Timestamp,
    /// Whether the patient says that they have it.
    pub confirmed: bool,
    /// The digest of the sealed record of that dispensing.
    pub record: B256,
}

/// The receipt of a fill, counted from 1; nothing until the fill is complete.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn receipt(
    gateway: &Gateway,
    id: B256,
    fill: u8,
) -> Result<Option<Receipt>, WorkflowError> {
    let call = Prescriptions::receiptOfCall { id, fill: U256::from(fill) };
    let (at, latest) = (gateway.at(Contract::Prescriptions), Default::default());
    let found = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    let completed_at = timestamp(found.completedAt);
    Ok((completed_at != Timestamp(0)).then_some(Receipt {
        pharmacy: found.pharmacy,
        completed_at,
        confirmed: found.confirmed,
        record: found.record,
    }))
}
