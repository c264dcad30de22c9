//! What claims consist of as FHIR R4: written here, and read back to the cent.

use alloy_primitives::{Address, B256};
use domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Item, Source,
    money::Cents,
    rules::{Adjudication, CODE_MAX, Decided, Flags, ITEMS_MAX},
};
use crate::{PatientActor, Person, WorkflowError};

/// The system of the tariff's codes.
const TARIFF: &str = "urn:salus:tariff";

/// How long a reason may be, in bytes.
pub(super) const REASON_MAX: usize = 4_000;

/// What a document is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Claim,
    Preauthorisation,
}

impl Use {
    const fn code(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Preauthorisation => "preauthorization",
        }
    }
}

/// Between whom it is, and when.
#[derive(Clone, Copy)]
pub(super) struct Parties<'a> {
    pub(super) patient: &'a PatientActor,
    pub(super) provider: Address,
    pub(super) insurer: Address,
    pub(super) coverage: B256,
    pub(super) now: Timestamp,
}

/// What an insurer offers.
pub(super) struct Offered<'a> {
    pub(super) plan: &'a str,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    pub(super) copayment: u16,
    pub(super) limit: Cents,
}

fn patient(patient: &PatientActor) -> Value {
    json!({ "reference": format!("Patient/{}", patient.account()) })
}

fn organisation(member: Address) -> Value {
    json!({ "reference": format!("Organization/{member}") })
}

fn of_type(name: &str, id: B256) -> Value {
    json!({ "reference": format!("{name}/{id:x}") })
}

fn coded(system: &str, code: &str) -> Value {
    json!({ "coding": [{ "system": format!("http://terminology.hl7.org/CodeSystem/{system}"), "code": code }] })
}

fn product(code: &str) -> Value {
    json!({ "coding": [{ "system": TARIFF, "code": code }] })
}

fn kind(source: Source) -> Value {
    let code = match source {
        Source::Prescription => "pharmacy",
        Source::LabOrder => "professional",
        Source::Surgery => "institutional",
    };
    coded("claim-type", code)
}

/// The type under which the order behind a service is kept.
const fn order_type(source: Source) -> &'static str {
    match source {
        Source::Prescription => "MedicationRequest",
        Source::LabOrder | Source::Surgery => "ServiceRequest",
    }
}

/// Hundredths of a percent as a percentage, to the last digit.
fn percent(hundredths: u16) -> Value {
    Cents(hundredths.into()).to_money()["value"].clone()
}

pub(super) fn coverage(offered: &Offered<'_>, insured: &PatientActor, insurer: Address) -> Value {
    json!({
        "resourceType": "Coverage",
        "status": "active",
        "subscriber": patient(insured),
        "beneficiary": patient(insured),
        "payor": [organisation(insurer)],
        "period": { "start": offered.from.to_string(), "end": offered.until.to_string() },
        "class": [{
            "type": coded("coverage-class", "plan"),
            "value": offered.plan,
        }],
        "costToBeneficiary": [
            {
                "type": coded("coverage-copay-type", "copaypct"),
                "valueQuantity": {
                    "value": percent(offered.copayment),
                    "unit": "%",
                    "system": "http://unitsofmeasure.org",
                    "code": "%",
                },
            },
            {
                "type": { "text": "the most that the insurer pays in all" },
                "valueMoney": offered.limit.to_money(),
            },
        ],
    })
}

/// What is claimed, or asked for beforehand.
pub(super) struct Claimed<'a> {
    pub(super) what: Use,
    pub(super) source: Source,
    pub(super) items: &'a [Item],
    pub(super) total: Cents,
    /// The order behind it, and the digest that its receipt names.
    pub(super) service: Option<(B256, B256)>,
    pub(super) authorisation: Option<B256>,
}

pub(super) fn claim(claimed: &Claimed<'_>, author: &Person, parties: &Parties<'_>) -> Value {
    let item = |(index, item): (usize, &Item)| {
        let net = item.unit_price.times(item.quantity).unwrap_or_default();
        json!({
            "sequence": index + 1,
            "productOrService": product(&item.code),
            "quantity": { "value": item.quantity },
            "unitPrice": item.unit_price.to_money(),
            "net": net.to_money(),
        })
    };
    let mut insurance = json!({
        "sequence": 1,
        "focal": true,
        "coverage": of_type("Coverage", parties.coverage),
    });
    if let Some(authorisation) = claimed.authorisation {
        insurance["preAuthRef"] = json!([format!("{authorisation:x}")]);
    }
    let mut resource = json!({
        "resourceType": "Claim",
        "status": "active",
        "type": kind(claimed.source),
        "use": claimed.what.code(),
        "patient": patient(parties.patient),
        "created": parties.now.to_string(),
        "enterer": { "reference": format!("Practitioner/{}", author.member) },
        "insurer": organisation(parties.insurer),
        "provider": organisation(parties.provider),
        "priority": coded("processpriority", "normal"),
        "insurance": [insurance],
        "item": claimed.items.iter().enumerate().map(item).collect::<Vec<_>>(),
        "total": claimed.total.to_money(),
    });
    if let Some((service, evidence)) = claimed.service {
        let order = of_type(order_type(claimed.source), service);
        let field =
            if claimed.source == Source::Prescription { "prescription" } else { "referral" };
        resource[field] = order;
        resource["supportingInfo"] = json!([{
            "sequence": 1,
            "category": coded("claiminformationcategory", "info"),
            "code": { "text": "digest of the sealed record in which the service was signed" },
            "valueString": evidence.to_string(),
        }]);
    }
    resource
}

/// What an insurer answers to a request beforehand.
pub(super) fn granted(
    request: B256,
    (granted, until): (Cents, Timestamp),
    adjudicator: &Person,
    parties: &Parties<'_>,
) -> Value {
    let said = if granted == Cents::ZERO { "refused" } else { "granted" };
    json!({
        "resourceType": "ClaimResponse",
        "status": "active",
        // Of which workflow the service will be is not on chain, and nothing follows from it here.
        "type": { "text": "as in the request" },
        "use": Use::Preauthorisation.code(),
        "patient": patient(parties.patient),
        "created": parties.now.to_string(),
        "insurer": organisation(parties.insurer),
        "requestor": organisation(parties.provider),
        "request": of_type("Claim", request),
        "outcome": "complete",
        "disposition": format!("{said}, {}", practitioner(adjudicator)),
        "preAuthRef": format!("{request:x}"),
        "preAuthPeriod": {
            "start": parties.now.to_string(),
            "end": until.to_string(),
        },
        "total": [{ "category": coded("adjudication", "benefit"), "amount": granted.to_money() }],
        "insurance": [{
            "sequence": 1,
            "focal": true,
            "coverage": of_type("Coverage", parties.coverage),
        }],
    })
}

fn practitioner(person: &Person) -> String {
    format!("decided by Practitioner/{}", person.member)
}

/// What an insurer decided, as it is written down.
pub(super) struct Outcome<'a> {
    pub(super) claim: B256,
    pub(super) source: Source,
    pub(super) items: &'a [Item],
    pub(super) made: &'a Adjudication,
    /// What is said besides, such as why an appeal was granted.
    pub(super) note: Option<&'a str>,
    pub(super) is_final: bool,
}

/// One amount of a decision.
fn amount(category: &str, cents: Cents) -> Value {
    json!({ "category": coded("adjudication", category), "amount": cents.to_money() })
}

fn decided(decided: &Decided) -> Vec<Value> {
    let mut lines =
        vec![amount("submitted", decided.claimed), amount("eligible", decided.approved)];
    for finding in &decided.findings {
        let mut line = amount("eligible", decided.approved);
        line["reason"] = json!({ "text": finding.to_string() });
        lines.push(line);
    }
    lines
}

fn totals(made: &Adjudication) -> Value {
    json!([
        amount("submitted", made.claimed),
        amount("eligible", made.approved),
        amount("copay", made.copayment()),
        amount("benefit", made.share),
    ])
}

fn disposition(outcome: &Outcome<'_>, adjudicator: &Person) -> String {
    let made = outcome.made;
    let what = match outcome.is_final {
        true => "the appeal is decided",
        false => "the claim is decided",
    };
    format!(
        "{what}: {} of {} approved, {}; {}",
        made.approved,
        made.claimed,
        made.flags(),
        practitioner(adjudicator)
    )
}

pub(super) fn response(
    outcome: &Outcome<'_>,
    adjudicator: &Person,
    parties: &Parties<'_>,
) -> Value {
    let made = outcome.made;
    let items = made.items.iter().enumerate();
    let item = |(index, one): (usize, &Decided)| json!({ "itemSequence": index + 1, "adjudication": decided(one) });
    let whole = if made.flags() == Flags::NONE { "complete" } else { "partial" };
    let mut resource = json!({
        "resourceType": "ClaimResponse",
        "status": "active",
        "type": kind(outcome.source),
        "use": Use::Claim.code(),
        "patient": patient(parties.patient),
        "created": parties.now.to_string(),
        "insurer": organisation(parties.insurer),
        "requestor": organisation(parties.provider),
        "request": of_type("Claim", outcome.claim),
        // The decision is complete; what it approves may be a part.
        "outcome": "complete",
        "disposition": disposition(outcome, adjudicator),
        "item": items.map(item).collect::<Vec<_>>(),
        "total": totals(made),
        "payment": { "type": coded("ex-paymenttype", whole), "amount": made.share.to_money() },
        "insurance": [{
            "sequence": 1,
            "focal": true,
            "coverage": of_type("Coverage", parties.coverage),
        }],
    });
    if let Some(note) = outcome.note {
        resource["processNote"] = json!([{ "number": 1, "text": note }]);
    }
    resource
}

/// What the patient is told of it, item by item.
pub(super) fn explanation(
    outcome: &Outcome<'_>,
    response: B256,
    adjudicator: &Person,
    parties: &Parties<'_>,
) -> Value {
    let made = outcome.made;
    let items = outcome.items.iter().zip(&made.items).enumerate();
    let item = |(index, (item, one)): (usize, (&Item, &Decided))| {
        json!({
            "sequence": index + 1,
            "productOrService": product(&item.code),
            "quantity": { "value": item.quantity },
            "unitPrice": item.unit_price.to_money(),
            "net": one.claimed.to_money(),
            "adjudication": decided(one),
        })
    };
    let mut resource = json!({
        "resourceType": "ExplanationOfBenefit",
        "status": "active",
        "type": kind(outcome.source),
        "use": Use::Claim.code(),
        "patient": patient(parties.patient),
        "created": parties.now.to_string(),
        "insurer": organisation(parties.insurer),
        "provider": organisation(parties.provider),
        "claim": of_type("Claim", outcome.claim),
        "claimResponse": of_type("ClaimResponse", response),
        "outcome": "complete",
        "disposition": disposition(outcome, adjudicator),
        "insurance": [{ "focal": true, "coverage": of_type("Coverage", parties.coverage) }],
        "item": items.map(item).collect::<Vec<_>>(),
        "total": totals(made),
    });
    if let Some(note) = outcome.note {
        resource["processNote"] = json!([{ "number": 1, "text": note }]);
    }
    resource
}

/// Why a provider appeals.
pub(super) fn appeal(claim: B256, reason: &str, author: &Person, parties: &Parties<'_>) -> Value {
    json!({
        "resourceType": "Communication",
        "status": "completed",
        "subject": patient(parties.patient),
        "about": [of_type("Claim", claim)],
        "sent": parties.now.to_string(),
        "recipient": [organisation(parties.insurer)],
        "sender": { "reference": format!("Practitioner/{}", author.member) },
        "topic": { "text": "appeal" },
        "payload": [{ "contentString": reason }],
    })
}

/// Refuses words that are none, or too many.
pub(super) fn require_reason(reason: &str) -> Result<(), WorkflowError> {
    if reason.trim().is_empty() || reason.len() > REASON_MAX {
        let why = format!("a reason has from 1 to {REASON_MAX} bytes");
        return Err(WorkflowError::Invalid(why));
    }
    Ok(())
}

/// Refuses items that no document can say, and tells what they come to.
pub(super) fn total(items: &[Item]) -> Result<Cents, WorkflowError> {
    let invalid = |text: String| WorkflowError::Invalid(text);
    for item in items.iter().take(ITEMS_MAX) {
        let fits = (1..=CODE_MAX).contains(&item.code.len())
            && item.code.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits {
            return Err(invalid(format!(
                "a code has from 1 to {CODE_MAX} letters, digits and signs"
            )));
        }
        if item.quantity == 0 {
            return Err(invalid("an item is of one unit at least".into()));
        }
        item.unit_price.require_writable()?;
    }
    let total = super::rules::total(items).map_err(|error| invalid(error.to_string()))?;
    total.require_writable()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimDocument {
    resource_type: String,
    #[serde(default)]
    item: Vec<ItemDocument>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemDocument {
    product_or_service: Coded,
    quantity: Amount,
    unit_price: Amount,
}

#[derive(Deserialize)]
struct Coded {
    #[serde(default)]
    coding: Vec<Coding>,
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct Coding {
    #[serde(default)]
    system: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    display: String,
}

/// The number as it is written.
#[derive(Deserialize)]
struct Amount {
    value: Box<RawValue>,
}

fn unreadable(what: &str) -> WorkflowError {
    WorkflowError::Invalid(format!("the {what} is not of the form that is expected"))
}

/// The items of a claim, to the cent.
pub(super) fn items_of(body: &str) -> Result<Vec<Item>, WorkflowError> {
    let wrong = || unreadable("claim");
    let document: ClaimDocument = serde_json::from_str(body).map_err(|_| wrong())?;
    if document.resource_type != "Claim" || document.item.len() > ITEMS_MAX {
        return Err(wrong());
    }
    let item = |item: ItemDocument| {
        let mut codings = item.product_or_service.coding.into_iter();
        let code = codings.find(|coding| coding.system == TARIFF)?.code;
        let quantity = item.quantity.value.get().parse().ok()?;
        Some(Item { code, quantity, unit_price: item.unit_price.value.get().parse().ok()? })
    };
    document.item.into_iter().map(item).collect::<Option<Vec<_>>>().ok_or_else(wrong)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CoverageDocument {
    resource_type: String,
    #[serde(default)]
    class: Vec<Class>,
}

#[derive(Deserialize)]
struct Class {
    value: String,
}

/// The plan that a coverage is of.
pub(super) fn plan_of(body: &str) -> Result<String, WorkflowError> {
    let wrong = || unreadable("coverage");
    let document: CoverageDocument = serde_json::from_str(body).map_err(|_| wrong())?;
    let mut classes = document.class.into_iter();
    match (document.resource_type.as_str(), classes.next()) {
        ("Coverage", Some(class)) => Ok(class.value),
        _ => Err(wrong()),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OrderDocument {
    medication_codeable_concept: Option<Coded>,
    code: Option<Coded>,
}

/// What an order is of, in its own words.
pub(super) fn words_of(body: &str) -> Result<String, WorkflowError> {
    let wrong = || unreadable("order");
    let document: OrderDocument = serde_json::from_str(body).map_err(|_| wrong())?;
    let concept = document.medication_codeable_concept.or(document.code).ok_or_else(wrong)?;
    let displays = concept.coding.into_iter().map(|coding| coding.display);
    Ok([concept.text].into_iter().chain(displays).collect::<Vec<_>>().join(" "))
}

/// The name of a plan, as a policy may have it.
pub(super) fn require_plan(plan: &str) -> Result<(), WorkflowError> {
    if (1..=CODE_MAX).contains(&plan.len()) && plan.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(WorkflowError::Invalid(format!("the name of a plan has from 1 to {CODE_MAX} letters")))
}
