//! What is found in resources: one line a case.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use r4::{Issue, validate};
use serde_json::{Value, json};

mod bounds;
#[path = "../common/mod.rs"]
mod common;
mod data;
mod rules;

/// The issues of a resource as `code expression`, sorted.
fn found(resource: &Value) -> Vec<String> {
    let text = |issue: Issue| format!("{} {}", issue.code.as_str(), issue.expression);
    let mut found: Vec<_> = validate(resource).into_iter().map(text).collect();
    found.sort_unstable();
    found
}

#[track_caller]
fn check(resource: Value, expected: &[&str]) {
    assert_eq!(found(&resource), expected, "{resource}");
}

/// Checks members that are added to a smallest resource of the type.
#[track_caller]
fn check_with(resource_type: &str, members: Value, expected: &[&str]) {
    let mut resource = smallest(resource_type);
    let object = resource.as_object_mut().unwrap();
    for (name, value) in members.as_object().unwrap() {
        object.insert(name.clone(), value.clone());
    }
    check(resource, expected);
}

fn smallest(resource_type: &str) -> Value {
    let subject = json!({ "reference": "Patient/1" });
    let code = json!({ "text": "x" });
    match resource_type {
        "Observation" => json!({ "resourceType": "Observation", "status": "final", "code": code }),
        "Condition" => json!({ "resourceType": "Condition", "subject": subject }),
        "AllergyIntolerance" => json!({ "resourceType": "AllergyIntolerance", "patient": subject }),
        "Encounter" => {
            json!({ "resourceType": "Encounter", "status": "planned", "class": { "code": "AMB" } })
        }
        "Consent" => {
            json!({ "resourceType": "Consent", "status": "active", "scope": code, "category": [code] })
        }
        other => json!({ "resourceType": other }),
    }
}

fn coded(system: &str, code: &str) -> Value {
    json!({ "coding": [{ "system": system, "code": code }] })
}

fn bundle(kind: &str, entries: Value) -> Value {
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries })
}

/// Samples as the survey of validators describes them, four valid and eleven not.
#[test]
fn the_samples_of_the_survey_are_all_told_apart() {
    check(
        json!({ "resourceType": "Patient", "id": "a-1", "gender": "female", "birthDate": "1980-02-29",
        "name": [{ "family": "Doe", "given": ["J."] }] }),
        &[],
    );
    check(
        json!({ "resourceType": "Observation", "status": "final", "code": coded("http://loinc.org", "8867-4"),
        "subject": { "reference": "Patient/a-1" }, "effectiveDateTime": "2020-01-01T10:00:00+01:00",
        "valueQuantity": { "value": 72, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min" } }),
        &[],
    );
    check(
        json!({ "resourceType": "Patient", "_birthDate": { "extension": [{
        "url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown" }] } }),
        &[],
    );
    check(
        bundle(
            "collection",
            json!([{ "fullUrl": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
        "resource": { "resourceType": "Organization", "name": "General" } }]),
        ),
        &[],
    );

    check(json!({ "resourceType": "Patient", "nickname": "J" }), &["structure Patient.nickname"]);
    check(json!({ "resourceType": "Patient", "gender": "f" }), &["code-invalid Patient.gender"]);
    check(
        json!({ "resourceType": "Patient", "birthDate": "1980-13-45" }),
        &["value Patient.birthDate"],
    );
    check(
        json!({ "resourceType": "Observation", "code": { "text": "x" } }),
        &["required Observation.status"],
    );
    check(
        json!({ "resourceType": "Patient", "name": { "family": "Doe" } }),
        &["structure Patient.name"],
    );
    check_with(
        "Observation",
        json!({ "valueString": "a", "valueInteger": 1 }),
        &["structure Observation.value"],
    );
    check(json!({ "resourceType": "Patient", "active": "true" }), &["structure Patient.active"]);
    check(json!({ "resourceType": "Person1" }), &["structure Resource.resourceType"]);
    check(
        json!({ "resourceType": "Patient", "name": [{ "surname": "Doe" }] }),
        &["structure Patient.name[0].surname"],
    );
    check(
        json!({ "resourceType": "Patient", "contact": [{ "gender": "male" }] }),
        &["invariant Patient.contact[0]"],
    );
    check(json!({ "resourceType": "Patient", "id": "a_1!" }), &["value Patient.id"]);
}

#[test]
fn what_is_no_resource_is_refused() {
    for nothing in
        [json!(null), json!(1), json!("Patient"), json!([]), json!([{ "resourceType": "Patient" }])]
    {
        check(nothing, &["structure Resource"]);
    }
    check(json!({}), &["required Resource.resourceType"]);
    check(json!({ "resourceType": 1 }), &["structure Resource.resourceType"]);
    for name in ["DomainResource", "Resource", "HumanName", "SubscriptionStatus", "patient", ""] {
        check(json!({ "resourceType": name }), &["structure Resource.resourceType"]);
    }
}

#[test]
fn lists_objects_and_nulls_are_told_apart() {
    check_with("Patient", json!({ "birthDate": ["1980"] }), &["structure Patient.birthDate"]);
    check_with("Patient", json!({ "name": [] }), &["structure Patient.name"]);
    check_with("Patient", json!({ "name": [{}] }), &["structure Patient.name[0]"]);
    check_with("Patient", json!({ "name": ["Doe"] }), &["structure Patient.name[0]"]);
    check_with("Patient", json!({ "name": [[{ "text": "x" }]] }), &["structure Patient.name[0]"]);
    check_with("Patient", json!({ "name": null }), &["structure Patient.name"]);
    check_with("Patient", json!({ "birthDate": null }), &["structure Patient.birthDate"]);
    check_with("Patient", json!({ "maritalStatus": "M" }), &["structure Patient.maritalStatus"]);
    check_with(
        "Patient",
        json!({ "name": [{ "given": ["a", null] }] }),
        &["structure Patient.name[0].given[1]"],
    );
    check_with("Patient", json!({ "name": [{ "id": "a" }] }), &["invariant Patient.name[0]"]);
    check_with(
        "Patient",
        json!({ "name": [{ "resourceType": "HumanName", "text": "x" }] }),
        &["structure Patient.name[0].resourceType"],
    );
}

#[test]
fn extensions_may_stand_beside_primitives() {
    let why = json!({ "extension": [{ "url": "http://example.org/why", "valueCode": "unknown" }] });
    check_with("Patient", json!({ "birthDate": "1980", "_birthDate": why }), &[]);
    check_with("Patient", json!({ "_birthDate": { "id": "x" } }), &["invariant Patient.birthDate"]);
    check_with("Patient", json!({ "_birthDate": {} }), &["structure Patient.birthDate"]);
    check_with("Patient", json!({ "_birthDate": [why] }), &["structure Patient.birthDate"]);
    check_with(
        "Patient",
        json!({ "_birthDate": { "value": "1980" } }),
        &["structure Patient.birthDate.value"],
    );
    check_with("Patient", json!({ "_name": why }), &["structure Patient._name"]);
    check_with("Patient", json!({ "_resourceType": why }), &["structure Patient._resourceType"]);
    check_with(
        "Patient",
        json!({ "name": [{ "given": ["a", null], "_given": [null, why] }] }),
        &[],
    );
    check_with("Patient", json!({ "name": [{ "_given": [why] }] }), &[]);
    check_with(
        "Patient",
        json!({ "name": [{ "given": ["a"], "_given": why }] }),
        &["structure Patient.name[0].given"],
    );
    check_with(
        "Patient",
        json!({ "name": [{ "given": ["a"], "_given": [why, why] }] }),
        &["structure Patient.name[0].given"],
    );
    check_with(
        "Patient",
        json!({ "name": [{ "given": [null], "_given": [null] }] }),
        &["structure Patient.name[0].given[0]", "structure Patient.name[0].given[0]"],
    );
    // A required element that only says why it is missing is there.
    check(json!({ "resourceType": "Observation", "_status": why, "code": { "text": "x" } }), &[]);
    check_with("Observation", json!({ "_valueString": why }), &[]);
    check_with(
        "Observation",
        json!({ "_valueString": why, "valueInteger": 1 }),
        &["structure Observation.value"],
    );
}

#[test]
fn extensions_have_a_url_and_one_content() {
    let check = |extension: Value, expected: &[&str]| {
        check_with("Patient", json!({ "extension": [extension] }), expected)
    };
    check(json!({ "url": "http://example.org/a", "valueString": "x" }), &[]);
    check(json!({ "url": "a", "extension": [{ "url": "b", "valueInteger": 1 }] }), &[]);
    check(json!({ "valueString": "x" }), &["required Patient.extension[0].url"]);
    check(json!({ "url": "a" }), &["invariant Patient.extension[0]"]);
    check(
        json!({ "url": "a", "valueString": "x", "extension": [{ "url": "b", "valueInteger": 1 }] }),
        &["invariant Patient.extension[0]"],
    );
    check(json!({ "url": "a", "valueHumanName": { "text": "x" } }), &[]);
    check(
        json!({ "url": "a", "valueNarrative": { "text": "x" } }),
        &["structure Patient.extension[0].valueNarrative"],
    );
}

#[test]
fn choices_have_the_types_that_are_listed() {
    check_with("Patient", json!({ "deceasedBoolean": true }), &[]);
    check_with("Patient", json!({ "deceasedDateTime": "2020" }), &[]);
    check_with("Patient", json!({ "deceasedString": "x" }), &["structure Patient.deceasedString"]);
    check_with("Patient", json!({ "deceased": true }), &["structure Patient.deceased"]);
    check_with("Patient", json!({ "deceased[x]": true }), &["structure Patient.(unnamed)"]);
    check(
        json!({ "resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": { "reference": "Patient/1" } }),
        &["required MedicationRequest.medication"],
    );
    // A SimpleQuantity has no comparator.
    check_with(
        "Observation",
        json!({ "referenceRange": [{ "low": { "value": 1, "comparator": "<" } }] }),
        &["structure Observation.referenceRange[0].low.comparator"],
    );
    check_with("Observation", json!({ "valueQuantity": { "value": 1, "comparator": "<" } }), &[]);
}

#[test]
fn elements_that_repeat_others_are_followed() {
    check_with(
        "Observation",
        json!({ "component": [{ "code": { "text": "x" }, "referenceRange": [{ "text": 1 }] }] }),
        &["structure Observation.component[0].referenceRange[0].text"],
    );
    check(
        json!({ "resourceType": "Parameters", "parameter": [{ "name": "a", "part": [{ "name": "b", "resource": { "resourceType": "Patient", "active": 1 } }] }] }),
        &["structure Parameters.parameter[0].part[0].resource.active"],
    );
    check(
        json!({ "resourceType": "Parameters", "parameter": [{ "name": "a" }] }),
        &["invariant Parameters.parameter[0]"],
    );
}

#[test]
fn required_bindings_are_held() {
    check(
        json!({ "resourceType": "Immunization", "status": "in-progress", "vaccineCode": { "text": "x" },
        "patient": { "reference": "Patient/1" }, "occurrenceDateTime": "2020" }),
        &["code-invalid Immunization.status"],
    );
    let clinical = "http://terminology.hl7.org/CodeSystem/condition-clinical";
    check_with("Condition", json!({ "clinicalStatus": coded(clinical, "active") }), &[]);
    check_with(
        "Condition",
        json!({ "clinicalStatus": coded(clinical, "fine") }),
        &["code-invalid Condition.clinicalStatus"],
    );
    check_with(
        "Condition",
        json!({ "clinicalStatus": coded("http://snomed.info/sct", "active") }),
        &["code-invalid Condition.clinicalStatus"],
    );
    check_with(
        "Condition",
        json!({ "clinicalStatus": { "text": "active" } }),
        &["code-invalid Condition.clinicalStatus"],
    );
    check_with(
        "Condition",
        json!({ "clinicalStatus": { "coding": [
        { "system": "http://example.org", "code": "a" }, { "system": clinical, "code": "active" }] } }),
        &[],
    );
    check_with(
        "Condition",
        json!({ "clinicalStatus": { "extension": [{ "url": "a", "valueCode": "unknown" }] } }),
        &[],
    );
    // Nobody can list all MIME types, units and currencies.
    check(json!({ "resourceType": "Binary", "contentType": "application/x-unheard-of" }), &[]);
}

#[test]
fn references_point_where_they_may() {
    let subject = |reference: &str| json!({ "subject": { "reference": reference } });
    for right in [
        "Patient/1",
        "Patient/1/_history/2",
        "Group/1",
        "http://example.org/fhir/Practitioner/1",
        "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
        "Patient?identifier=a|b",
        "example.html",
    ] {
        check_with("Condition", subject(right), &[]);
    }
    for wrong in
        ["Practitioner/1", "Observation/1/_history/2", "Practitioner?identifier=a", "Foo/1"]
    {
        check_with("Condition", subject(wrong), &["value Condition.subject.reference"]);
    }
    check_with(
        "Provenance",
        json!({ "target": [{ "reference": "Binary/1" }], "recorded": "2020-01-01T00:00:00Z",
        "agent": [{ "who": { "reference": "Practitioner/1" } }] }),
        &[],
    );
    check_with("Condition", subject("#p"), &["invariant Condition.subject"]);
    let contained = |name: &str| json!({ "contained": [{ "resourceType": name, "id": "p" }], "subject": { "reference": "#p" } });
    check_with("Condition", contained("Patient"), &[]);
    check_with("Condition", contained("Device"), &["value Condition.subject.reference"]);
}

/// The npm package that the pack is made of has these, but R4 does not.
#[test]
fn elements_of_other_makers_and_releases_are_unknown() {
    check_with(
        "Patient",
        json!({ "meta": { "project": "x" } }),
        &["structure Patient.meta.project"],
    );
    check_with(
        "Patient",
        json!({ "meta": { "accounts": [{ "reference": "Patient/1" }] } }),
        &["structure Patient.meta.accounts"],
    );
    check(
        json!({ "resourceType": "Binary", "contentType": "text/plain", "url": "http://a" }),
        &["structure Binary.url"],
    );
    check(
        json!({ "resourceType": "ResearchStudy", "status": "active", "whyStopped": { "text": "x" } }),
        &["structure ResearchStudy.whyStopped"],
    );
    check(
        json!({ "resourceType": "EvidenceVariable", "status": "active" }),
        &["required EvidenceVariable.characteristic"],
    );
}

#[test]
fn types_and_properties_are_known() {
    assert_eq!(r4::resource_types().len(), 146);
    assert!(r4::resource_types().is_sorted());
    assert!(r4::is_resource_type("Patient"));
    assert!(!r4::is_resource_type("Resource"));
    assert!(!r4::is_resource_type("Period"));
    assert!(r4::is_id("a-1.B") && !r4::is_id("a/b") && !r4::is_id(""));
    let status = r4::property("Observation", "status").unwrap();
    assert!(status.is_required && status.is_summary && !status.is_list);
    let note = r4::property("Observation", "note").unwrap();
    assert!(!note.is_required && !note.is_summary && note.is_list);
    assert!(r4::property("Observation", "valueQuantity").unwrap().is_summary);
    assert_eq!(r4::property("Observation", "value"), None);
}
