//! The invariants that are checked: R4's rules over several elements.
//!
//! The table is the list. Two kinds stand elsewhere: `ele-1` (every element has a value or children) and
//! `txt-1`, `txt-2` (narratives) are part of the walk. Where the expression that HL7 published says less,
//! or more, than its text, the text counts; the entry says so.

use std::{
    cmp::Ordering,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use serde_json::Value;

use crate::{Severity, moment::Moment, walk::Object};

/// One invariant.
pub(crate) struct Rule {
    /// HL7's key.
    pub(crate) key: &'static str,
    /// Where it holds: types, resources and elements; `DomainResource` for all that can contain others.
    pub(crate) nodes: &'static [&'static str],
    pub(crate) severity: Severity,
    pub(crate) text: &'static str,
    pub(crate) holds: fn(&Object, &Scope<'_>) -> bool,
}

/// The resource that an element belongs to.
pub(crate) struct Scope<'a> {
    /// The resource whose contained resources can be referred to.
    pub(crate) root: &'a Object,
    /// Whether the element is in a contained resource.
    pub(crate) is_contained: bool,
    /// Those resources by their ids, the first where several have one.
    contained: Rc<HashMap<&'a str, &'a Value>>,
}

impl<'a> Scope<'a> {
    /// The scope of a resource that is contained in none.
    pub(crate) fn of(root: &'a Object) -> Self {
        let contained = list(root, "contained").iter().rev();
        let by_id = contained.filter_map(|resource| Some((resource["id"].as_str()?, resource)));
        Self { root, is_contained: false, contained: Rc::new(by_id.collect()) }
    }

    /// The scope of a resource that is contained in this one.
    pub(crate) fn inside(&self) -> Self {
        Self { root: self.root, is_contained: true, contained: Rc::clone(&self.contained) }
    }

    /// The contained resource with an id.
    pub(crate) fn contained(&self, id: &str) -> Option<&'a Value> {
        self.contained.get(id).copied()
    }
}

const fn error(
    key: &'static str,
    nodes: &'static [&'static str],
    text: &'static str,
    holds: fn(&Object, &Scope<'_>) -> bool,
) -> Rule {
    Rule { key, nodes, severity: Severity::Error, text, holds }
}

const fn warning(
    key: &'static str,
    nodes: &'static [&'static str],
    text: &'static str,
    holds: fn(&Object, &Scope<'_>) -> bool,
) -> Rule {
    Rule { key, nodes, severity: Severity::Warning, text, holds }
}

const UCUM: &str = "http://unitsofmeasure.org";
const VERIFICATION: &str = "http://terminology.hl7.org/CodeSystem/condition-ver-status";
const CLINICAL: &str = "http://terminology.hl7.org/CodeSystem/condition-clinical";
const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
const ALLERGY_VERIFICATION: &str =
    "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification";
const QUANTITIES: &[&str] = &["Quantity", "SimpleQuantity", "Age", "Count", "Distance", "Duration"];

/// All of them, data types first, then resources by name.
///
/// # Source
///
/// The constraints of [FHIR R4](https://hl7.org/fhir/R4/)'s definitions, by key.
#[rustfmt::skip]
pub(crate) const RULES: &[Rule] = &[
    error("ext-1", &["Extension"], "an extension has either a value or extensions",
        |o, _| has(o, "extension") != has_choice(o, "value")),
    error("ref-1", &["Reference"], "what a reference names with # must be contained in the resource", ref_1),
    error("per-1", &["Period"], "a period does not start after its end",
        |o, _| in_order(o, "start", "end")),
    error("qty-3", QUANTITIES, "a code for the unit needs a system", |o, _| !has(o, "code") || has(o, "system")),
    error("age-1", &["Age"], "an age is a positive value with a unit of UCUM",
        |o, _| has_ucum_unit(o) && number(o, "value").is_none_or(|value| value > 0.0)),
    // A count of 3.0 is whole; the published expression looks for a point.
    error("cnt-3", &["Count"], "a count is a whole number, with 1 as unit",
        |o, _| has_ucum_unit(o) && text(o, "code").is_none_or(|code| code == "1")
            && number(o, "value").is_none_or(|value| value.fract() == 0.0)),
    error("dis-1", &["Distance"], "a distance has a unit of UCUM", |o, _| has_ucum_unit(o)),
    error("drt-1", &["Duration"], "a duration with a code has a value and a unit of UCUM",
        |o, _| !has(o, "code") || (is_text(o, "system", UCUM) && has(o, "value"))),
    error("rng-2", &["Range"], "the low value of a range is not above the high one",
        |o, _| o.get("low").zip(o.get("high")).is_none_or(|(low, high)| !is_above(low, high))),
    error("rat-1", &["Ratio"], "a ratio has both numerator and denominator, or else an extension",
        |o, _| has(o, "numerator") == has(o, "denominator") && (has(o, "numerator") || has(o, "extension"))),
    error("att-1", &["Attachment"], "data need a content type", |o, _| !has(o, "data") || has(o, "contentType")),
    error("cpt-2", &["ContactPoint"], "a value needs a system", |o, _| !has(o, "value") || has(o, "system")),
    error("exp-1", &["Expression"], "an expression or a reference is needed",
        |o, _| has(o, "expression") || has(o, "reference")),
    error("tim-1", &["Timing.repeat"], "a duration needs a unit", |o, _| !has(o, "duration") || has(o, "durationUnit")),
    error("tim-2", &["Timing.repeat"], "a period needs a unit", |o, _| !has(o, "period") || has(o, "periodUnit")),
    error("tim-4", &["Timing.repeat"], "a duration is not negative",
        |o, _| number(o, "duration").is_none_or(|value| value >= 0.0)),
    error("tim-5", &["Timing.repeat"], "a period is not negative",
        |o, _| number(o, "period").is_none_or(|value| value >= 0.0)),
    error("tim-6", &["Timing.repeat"], "periodMax needs a period", |o, _| !has(o, "periodMax") || has(o, "period")),
    error("tim-7", &["Timing.repeat"], "durationMax needs a duration", |o, _| !has(o, "durationMax") || has(o, "duration")),
    error("tim-8", &["Timing.repeat"], "countMax needs a count", |o, _| !has(o, "countMax") || has(o, "count")),
    error("tim-9", &["Timing.repeat"], "an offset needs a when, other than C, CM, CD and CV",
        |o, _| !has(o, "offset") || (has(o, "when") && !list(o, "when").iter().filter_map(Value::as_str)
            .any(|when| ["C", "CM", "CD", "CV"].contains(&when)))),
    error("tim-10", &["Timing.repeat"], "timeOfDay and when exclude each other",
        |o, _| !has(o, "timeOfDay") || !has(o, "when")),

    error("dom-2", &["DomainResource"], "contained resources contain no others",
        |o, _| list(o, "contained").iter().all(|resource| resource["contained"].is_null())),
    error("dom-3", &["DomainResource"], "a contained resource is referred to, or refers to what contains it", dom_3),
    error("dom-4", &["DomainResource"], "contained resources have no version and no time of change",
        |o, _| list(o, "contained").iter().all(|resource|
            resource["meta"]["versionId"].is_null() && resource["meta"]["lastUpdated"].is_null())),
    error("dom-5", &["DomainResource"], "contained resources have no security label",
        |o, _| list(o, "contained").iter().all(|resource| resource["meta"]["security"].is_null())),

    error("ait-1", &["AllergyIntolerance"], "a clinical status is needed unless it was entered in error",
        |o, _| has(o, "clinicalStatus") || is_coded(o, "verificationStatus", ALLERGY_VERIFICATION, &["entered-in-error"])),
    error("ait-2", &["AllergyIntolerance"], "what was entered in error has no clinical status",
        |o, _| !has(o, "clinicalStatus") || !is_coded(o, "verificationStatus", ALLERGY_VERIFICATION, &["entered-in-error"])),
    error("app-1", &["Appointment.participant"], "a type or an actor is needed", |o, _| has(o, "type") || has(o, "actor")),
    error("app-2", &["Appointment"], "start and end come together", |o, _| has(o, "start") == has(o, "end")),
    error("app-3", &["Appointment"], "only proposed, cancelled and waitlisted appointments lack start and end",
        |o, _| (has(o, "start") && has(o, "end")) || is_one_of(o, "status", &["proposed", "cancelled", "waitlist"])),
    error("app-4", &["Appointment"], "a reason of cancellation needs a cancelled or missed appointment",
        |o, _| !has(o, "cancelationReason") || is_one_of(o, "status", &["noshow", "cancelled"])),
    error("apr-1", &["AppointmentResponse"], "a type of participant or an actor is needed",
        |o, _| has(o, "participantType") || has(o, "actor")),
    error("sev-1", &["AuditEvent.entity"], "name and query exclude each other", |o, _| !has(o, "name") || !has(o, "query")),
    error("bdl-1", &["Bundle"], "a total belongs to searchset and history",
        |o, _| !has(o, "total") || is_one_of(o, "type", &["searchset", "history"])),
    error("bdl-2", &["Bundle"], "entry.search belongs to searchset",
        |o, _| is_text(o, "type", "searchset") || entries(o).all(|entry| !has(entry, "search"))),
    error("bdl-3", &["Bundle"], "entry.request is for each entry of batch, transaction and history, and for no other",
        |o, _| { let wanted = is_one_of(o, "type", &["batch", "transaction", "history"]);
            entries(o).all(|entry| has(entry, "request") == wanted) }),
    error("bdl-4", &["Bundle"], "entry.response is for each entry of batch-response, transaction-response and history, and for no other",
        |o, _| { let wanted = is_one_of(o, "type", &["batch-response", "transaction-response", "history"]);
            entries(o).all(|entry| has(entry, "response") == wanted) }),
    error("bdl-5", &["Bundle.entry"], "an entry has a resource, a request or a response",
        |o, _| has(o, "resource") || has(o, "request") || has(o, "response")),
    error("bdl-7", &["Bundle"], "a fullUrl stands once for each version of what it names", bdl_7),
    error("bdl-8", &["Bundle.entry"], "a fullUrl names no version",
        |o, _| text(o, "fullUrl").is_none_or(|url| !url.contains("/_history/"))),
    error("bdl-9", &["Bundle"], "a document has an identifier with system and value",
        |o, _| !is_text(o, "type", "document") || o.get("identifier").and_then(Value::as_object)
            .is_some_and(|identifier| has(identifier, "system") && has(identifier, "value"))),
    error("bdl-10", &["Bundle"], "a document has a timestamp",
        |o, _| !is_text(o, "type", "document") || o.contains_key("timestamp")),
    error("bdl-11", &["Bundle"], "a document begins with a Composition",
        |o, _| !is_text(o, "type", "document") || begins_with(o, "Composition")),
    error("bdl-12", &["Bundle"], "a message begins with a MessageHeader",
        |o, _| !is_text(o, "type", "message") || begins_with(o, "MessageHeader")),
    error("cpl-3", &["CarePlan.activity"], "detail and reference exclude each other",
        |o, _| !has(o, "detail") || !has(o, "reference")),
    error("cmp-1", &["Composition.section"], "a section has a text, entries or sections",
        |o, _| has(o, "text") || has(o, "entry") || has(o, "section")),
    error("cmp-2", &["Composition.section"], "only an empty section has a reason for that",
        |o, _| !has(o, "emptyReason") || !has(o, "entry")),
    error("con-1", &["Condition.stage"], "a stage has a summary or an assessment",
        |o, _| has(o, "summary") || has(o, "assessment")),
    error("con-2", &["Condition.evidence"], "evidence has a code or a detail", |o, _| has(o, "code") || has(o, "detail")),
    // The published expression asks every condition with a category.
    warning("con-3", &["Condition"], "an item of the problem list should have a clinical status",
        |o, _| has(o, "clinicalStatus") || is_coded(o, "verificationStatus", VERIFICATION, &["entered-in-error"])
            || !is_coded(o, "category", CATEGORY, &["problem-list-item"])),
    error("con-4", &["Condition"], "what has abated is inactive, resolved or in remission",
        |o, _| !has_choice(o, "abatement") || is_coded(o, "clinicalStatus", CLINICAL, &["resolved", "remission", "inactive"])),
    error("con-5", &["Condition"], "what was entered in error has no clinical status",
        |o, _| !has(o, "clinicalStatus") || !is_coded(o, "verificationStatus", VERIFICATION, &["entered-in-error"])),
    error("ppc-1", &["Consent"], "a policy or a policy rule is needed", |o, _| has(o, "policy") || has(o, "policyRule")),
    error("ces-1", &["CoverageEligibilityResponse.insurance.item"], "either a category or a product or service",
        |o, _| has(o, "category") != has(o, "productOrService")),
    error("fhs-1", &["FamilyMemberHistory"], "age and born exclude each other",
        |o, _| !has_choice(o, "age") || !has_choice(o, "born")),
    error("fhs-2", &["FamilyMemberHistory"], "estimatedAge needs an age",
        |o, _| has_choice(o, "age") || !has(o, "estimatedAge")),
    error("gol-1", &["Goal.target"], "a detail needs a measure", |o, _| !has_choice(o, "detail") || has(o, "measure")),
    error("grp-1", &["Group"], "only an actual group has members",
        |o, _| !has(o, "member") || o.get("actual") == Some(&Value::Bool(true))),
    error("imm-1", &["Immunization.education"], "a document type or a reference is needed",
        |o, _| has(o, "documentType") || has(o, "reference")),
    error("imr-1", &["ImmunizationRecommendation.recommendation"], "a vaccine or a disease is needed",
        |o, _| has(o, "vaccineCode") || has(o, "targetDisease")),
    error("ipn-1", &["InsurancePlan"], "an identifier or a name is needed", |o, _| has(o, "identifier") || has(o, "name")),
    error("lnk-1", &["Linkage"], "a linkage has several items", |o, _| list(o, "item").len() > 1),
    error("lst-1", &["List"], "only an empty list has a reason for that", |o, _| !has(o, "emptyReason") || !has(o, "entry")),
    error("lst-2", &["List"], "only a list of changes has deleted entries",
        |o, _| is_text(o, "mode", "changes") || entries(o).all(|entry| !has(entry, "deleted"))),
    error("lst-3", &["List"], "only a working list has entries with a date",
        |o, _| is_text(o, "mode", "working") || entries(o).all(|entry| !has(entry, "date"))),
    error("mad-1", &["MedicationAdministration.dosage"], "a dose or a rate is needed",
        |o, _| has(o, "dose") || has_choice(o, "rate")),
    error("mdd-1", &["MedicationDispense"], "nothing is handed over before it is prepared",
        |o, _| in_order(o, "whenPrepared", "whenHandedOver")),
    warning("nor-1", &["NutritionOrder"], "an order should have a diet, a supplement or a formula",
        |o, _| has(o, "oralDiet") || has(o, "supplement") || has(o, "enteralFormula")),
    error("obs-3", &["Observation.referenceRange"], "a reference range has a low or high value or a text",
        |o, _| has(o, "low") || has(o, "high") || has(o, "text")),
    error("obs-6", &["Observation"], "dataAbsentReason and a value exclude each other",
        |o, _| !has(o, "dataAbsentReason") || !has_choice(o, "value")),
    error("obs-7", &["Observation"], "with a value, no component has the code of the observation", obs_7),
    error("org-1", &["Organization"], "an identifier or a name is needed", |o, _| has(o, "identifier") || has(o, "name")),
    error("org-2", &["Organization"], "an organization's address is nobody's home",
        |o, _| list(o, "address").iter().all(|address| address["use"] != "home")),
    error("org-3", &["Organization"], "an organization's telecom is nobody's home",
        |o, _| list(o, "telecom").iter().all(|telecom| telecom["use"] != "home")),
    error("inv-1", &["Parameters.parameter"], "a parameter has one of value, resource and part",
        |o, _| usize::from(has_choice(o, "value")) + usize::from(has(o, "resource")) + usize::from(has(o, "part")) == 1),
    error("pat-1", &["Patient.contact"], "a contact has a name, telecom, address or organization",
        |o, _| has(o, "name") || has(o, "telecom") || has(o, "address") || has(o, "organization")),
    error("qrs-1", &["QuestionnaireResponse.item"], "answers and items exclude each other",
        |o, _| !has(o, "answer") || !has(o, "item")),
    error("rqg-1", &["RequestGroup.action"], "either a resource or actions", |o, _| has(o, "resource") != has(o, "action")),
    error("prr-1", &["ServiceRequest"], "details of an order need its code", |o, _| !has(o, "orderDetail") || has(o, "code")),
    error("inv-1", &["Task"], "a task is not changed before it was authored",
        |o, _| in_order(o, "authoredOn", "lastModified")),
];

/// Whether an element is there; a primitive may have extensions only.
fn has(object: &Object, name: &str) -> bool {
    object.contains_key(name) || object.keys().any(|key| key.strip_prefix('_') == Some(name))
}

/// Whether a choice is there, with whichever type.
fn has_choice(object: &Object, name: &str) -> bool {
    object.keys().any(|key| {
        let key = key.strip_prefix('_').unwrap_or(key);
        key.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    })
}

fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

fn is_text(object: &Object, name: &str, expected: &str) -> bool {
    text(object, name) == Some(expected)
}

fn is_one_of(object: &Object, name: &str, expected: &[&str]) -> bool {
    text(object, name).is_some_and(|text| expected.contains(&text))
}

fn number(object: &Object, name: &str) -> Option<f64> {
    object.get(name).and_then(Value::as_f64)
}

fn list<'a>(object: &'a Object, name: &str) -> &'a [Value] {
    object.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn entries(object: &Object) -> impl Iterator<Item = &Object> {
    list(object, "entry").iter().filter_map(Value::as_object)
}

/// Whether a CodeableConcept, or one of a list, has one of the codes.
fn is_coded(object: &Object, name: &str, system: &str, codes: &[&str]) -> bool {
    let is_coding = |coding: &Value| {
        coding["system"] == system
            && coding["code"].as_str().is_some_and(|code| codes.contains(&code))
    };
    let is_concept =
        |concept: &Value| concept["coding"].as_array().is_some_and(|all| all.iter().any(is_coding));
    match object.get(name) {
        Some(Value::Array(concepts)) => concepts.iter().any(is_concept),
        Some(concept) => is_concept(concept),
        None => false,
    }
}

/// Whether one moment is not surely after the other.
fn in_order(object: &Object, first: &str, second: &str) -> bool {
    let moment = |name| text(object, name).and_then(Moment::parse);
    moment(first).zip(moment(second)).is_none_or(|(first, second)| !first.is_surely_after(&second))
}

/// Age, Count and Distance: a value has a unit, and a system is UCUM.
fn has_ucum_unit(object: &Object) -> bool {
    (has(object, "code") || !has(object, "value"))
        && (!has(object, "system") || is_text(object, "system", UCUM))
}

/// Whether a quantity is above another one of the same unit. Others cannot be compared.
fn is_above(low: &Value, high: &Value) -> bool {
    let same_unit = ["system", "code", "unit"].iter().all(|name| low[name] == high[name]);
    let order =
        low["value"].as_f64().zip(high["value"].as_f64()).and_then(|(a, b)| a.partial_cmp(&b));
    same_unit && order == Some(Ordering::Greater)
}

fn begins_with(bundle: &Object, resource_type: &str) -> bool {
    list(bundle, "entry")
        .first()
        .is_some_and(|entry| entry["resource"]["resourceType"] == resource_type)
}

/// The published expression refuses a lone `#`, with which a contained resource refers to its container.
fn ref_1(reference: &Object, scope: &Scope<'_>) -> bool {
    match text(reference, "reference").and_then(|reference| reference.strip_prefix('#')) {
        None => true,
        Some("") => scope.is_contained,
        Some(id) => scope.contained(id).is_some(),
    }
}

/// Any text that is the reference counts, so that canonical and plain URIs do.
fn dom_3(resource: &Object, _: &Scope<'_>) -> bool {
    let contained = list(resource, "contained");
    if contained.is_empty() {
        return true;
    }
    let mut local = HashSet::new();
    resource.values().for_each(|value| local_references(value, &mut local));
    contained.iter().all(|resource| {
        let is_named = resource["id"].as_str().is_some_and(|id| local.contains(id));
        is_named || {
            let mut own = HashSet::new();
            local_references(resource, &mut own);
            own.contains("")
        }
    })
}

/// What stands behind `#` in all texts of a value.
fn local_references<'a>(value: &'a Value, found: &mut HashSet<&'a str>) {
    // No recursion: how deep a value is nested is up to whoever sent it.
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Value::String(text) => found.extend(text.strip_prefix('#')),
            Value::Array(items) => open.extend(items),
            Value::Object(object) => open.extend(object.values()),
            _ => {}
        }
    }
}

fn bdl_7(bundle: &Object, _: &Scope<'_>) -> bool {
    let mut seen = HashSet::new();
    is_text(bundle, "type", "history")
        || list(bundle, "entry").iter().all(|entry| {
            let version = entry["resource"]["meta"]["versionId"].as_str();
            entry["fullUrl"].as_str().is_none_or(|url| seen.insert((url, version)))
        })
}

fn obs_7(observation: &Object, _: &Scope<'_>) -> bool {
    if !has_choice(observation, "value") || !has(observation, "component") {
        return true;
    }
    let key = |coding: &Value| {
        Some((coding["system"].as_str()?.to_owned(), coding["code"].as_str()?.to_owned()))
    };
    let codings = |concept: &Value| -> HashSet<_> {
        concept["coding"].as_array().into_iter().flatten().filter_map(key).collect()
    };
    let own = observation.get("code").map(codings).unwrap_or_default();
    list(observation, "component")
        .iter()
        .all(|component| codings(&component["code"]).is_disjoint(&own))
}
