//! Invariants, and what Bundles and contained resources are for.

use r4::{Severity, validate};
use serde_json::{Value, json};

use crate::{bundle, check, check_with, coded, smallest};

#[test]
fn contained_resources_have_their_rules() {
    let with =
        |contained: Value| json!({ "contained": [contained], "subject": { "reference": "#p" } });
    check_with(
        "Condition",
        with(json!({ "resourceType": "Patient", "id": "p", "active": 1 })),
        &["structure Condition.contained[0].active"],
    );
    check_with(
        "Condition",
        with(json!({ "resourceType": "Patient", "id": "p", "meta": { "versionId": "1" } })),
        &["invariant Condition"],
    );
    check_with(
        "Condition",
        with(
            json!({ "resourceType": "Patient", "id": "p", "meta": { "security": [{ "code": "R" }] } }),
        ),
        &["invariant Condition"],
    );
    check_with(
        "Condition",
        with(json!({ "resourceType": "Patient", "id": "p",
        "contained": [{ "resourceType": "Patient", "id": "q" }] })),
        &["invariant Condition", "invariant Condition.contained[0]"],
    );
    // Nothing refers to it, and it refers to nothing.
    check_with(
        "Condition",
        json!({ "contained": [{ "resourceType": "Device", "id": "d" }] }),
        &["invariant Condition"],
    );
    check_with(
        "Condition",
        json!({ "contained": [{ "resourceType": "Device", "id": "d", "patient": { "reference": "#" } }] }),
        &[],
    );
    // What is contained refers to what its container contains.
    check_with(
        "Condition",
        json!({ "subject": { "reference": "#p" }, "contained": [
        { "resourceType": "Patient", "id": "p", "managingOrganization": { "reference": "#o" } },
        { "resourceType": "Organization", "id": "o", "name": "x" }] }),
        &[],
    );
    check_with(
        "Condition",
        json!({ "subject": { "reference": "#" } }),
        &["invariant Condition.subject"],
    );
}

#[test]
fn observations_have_one_answer() {
    let absent = json!({ "text": "unknown" });
    check_with("Observation", json!({ "dataAbsentReason": absent }), &[]);
    check_with(
        "Observation",
        json!({ "dataAbsentReason": absent, "valueString": "x" }),
        &["invariant Observation"],
    );
    let loinc = |code: &str| coded("http://loinc.org", code);
    check_with(
        "Observation",
        json!({ "code": loinc("1"), "valueString": "x", "component": [{ "code": loinc("2") }] }),
        &[],
    );
    check_with(
        "Observation",
        json!({ "code": loinc("1"), "valueString": "x", "component": [{ "code": loinc("1") }] }),
        &["invariant Observation"],
    );
    check_with(
        "Observation",
        json!({ "code": loinc("1"), "component": [{ "code": loinc("1") }] }),
        &[],
    );
    check_with(
        "Observation",
        json!({ "referenceRange": [{ "appliesTo": [{ "text": "x" }] }] }),
        &["invariant Observation.referenceRange[0]"],
    );
}

#[test]
fn conditions_agree_with_their_status() {
    let clinical = |code| coded("http://terminology.hl7.org/CodeSystem/condition-clinical", code);
    let verification =
        |code| coded("http://terminology.hl7.org/CodeSystem/condition-ver-status", code);
    let listed = json!([coded(
        "http://terminology.hl7.org/CodeSystem/condition-category",
        "problem-list-item"
    )]);
    check_with(
        "Condition",
        json!({ "abatementDateTime": "2020", "clinicalStatus": clinical("resolved") }),
        &[],
    );
    check_with(
        "Condition",
        json!({ "abatementDateTime": "2020", "clinicalStatus": clinical("active") }),
        &["invariant Condition"],
    );
    check_with("Condition", json!({ "abatementDateTime": "2020" }), &["invariant Condition"]);
    check_with(
        "Condition",
        json!({ "clinicalStatus": clinical("active"), "verificationStatus": verification("entered-in-error") }),
        &["invariant Condition"],
    );
    check_with(
        "Condition",
        json!({ "verificationStatus": verification("entered-in-error"), "category": listed }),
        &[],
    );
    check_with(
        "Condition",
        json!({ "stage": [{ "type": { "text": "x" } }] }),
        &["invariant Condition.stage[0]"],
    );
    let mut wanting = smallest("Condition");
    wanting["category"] = listed;
    let issues = validate(&wanting);
    assert_eq!(issues.len(), 1);
    assert_eq!(issues[0].severity, Severity::Warning);
    assert!(issues[0].message.starts_with("con-3: "));
}

#[test]
fn data_types_have_their_rules() {
    let period = |start: &str, end: &str| json!({ "period": { "start": start, "end": end } });
    check_with("Encounter", period("2020-01-01", "2020-01-01"), &[]);
    check_with("Encounter", period("2020-01-01T10:00:00Z", "2020-01-01"), &[]);
    check_with("Encounter", period("2020-01-02", "2020-01-01"), &["invariant Encounter.period"]);
    check_with(
        "Observation",
        json!({ "valueQuantity": { "value": 1, "code": "kg" } }),
        &["invariant Observation.valueQuantity"],
    );
    let range = |low, high| json!({ "valueRange": { "low": { "value": low, "unit": "kg" }, "high": { "value": high, "unit": "kg" } } });
    check_with("Observation", range(1, 2), &[]);
    check_with("Observation", range(2, 1), &["invariant Observation.valueRange"]);
    check_with(
        "Observation",
        json!({ "valueRange": { "low": { "value": 2, "unit": "kg" }, "high": { "value": 1, "unit": "t" } } }),
        &[],
    );
    check_with(
        "Observation",
        json!({ "valueRatio": { "numerator": { "value": 1 } } }),
        &["invariant Observation.valueRatio"],
    );
    check_with(
        "Patient",
        json!({ "telecom": [{ "value": "x" }] }),
        &["invariant Patient.telecom[0]"],
    );
    check_with(
        "Patient",
        json!({ "photo": [{ "data": "YQ==" }] }),
        &["invariant Patient.photo[0]"],
    );
    check_with(
        "Condition",
        json!({ "onsetAge": { "value": -1, "code": "a", "system": "http://unitsofmeasure.org" } }),
        &["invariant Condition.onsetAge"],
    );
    check_with(
        "Condition",
        json!({ "onsetAge": { "value": 5 } }),
        &["invariant Condition.onsetAge"],
    );
    let repeat = |repeat: Value| {
        json!({ "resourceType": "ServiceRequest", "status": "active", "intent": "order",
        "subject": { "reference": "Patient/1" }, "occurrenceTiming": { "repeat": repeat } })
    };
    check(repeat(json!({ "frequency": 1, "period": 1, "periodUnit": "d" })), &[]);
    check(
        repeat(json!({ "frequency": 1, "period": 1 })),
        &["invariant ServiceRequest.occurrenceTiming.repeat"],
    );
    check(
        repeat(json!({ "when": ["C"], "offset": 5 })),
        &["invariant ServiceRequest.occurrenceTiming.repeat"],
    );
}

#[test]
fn other_resources_have_their_rules() {
    let allergy =
        |code| coded("http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", code);
    check_with("AllergyIntolerance", json!({}), &["invariant AllergyIntolerance"]);
    check_with(
        "AllergyIntolerance",
        json!({ "verificationStatus": allergy("entered-in-error") }),
        &[],
    );
    check_with("Organization", json!({}), &["invariant Organization"]);
    check_with(
        "Organization",
        json!({ "name": "x", "address": [{ "use": "home" }] }),
        &["invariant Organization"],
    );
    check_with("Consent", json!({}), &["invariant Consent"]);
    check_with("Consent", json!({ "policyRule": { "text": "x" } }), &[]);
    check(
        json!({ "resourceType": "QuestionnaireResponse", "status": "completed",
        "item": [{ "linkId": "1", "answer": [{ "valueInteger": 1 }], "item": [{ "linkId": "2" }] }] }),
        &["invariant QuestionnaireResponse.item[0]"],
    );
    check(
        json!({ "resourceType": "Task", "status": "draft", "intent": "order", "authoredOn": "2020-01-02", "lastModified": "2020-01-01" }),
        &["invariant Task"],
    );
}

#[test]
fn narratives_are_plain() {
    let text = |div: &str| json!({ "text": { "status": "generated", "div": div } });
    check_with("Patient", text("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>x</p></div>"), &[]);
    check_with("Patient", text("x"), &["value Patient.text.div"]);
    check_with("Patient", text("<div><script>x</script></div>"), &["invariant Patient.text.div"]);
    check_with("Patient", text("<div> </div>"), &["invariant Patient.text.div"]);
    check_with(
        "Patient",
        json!({ "text": { "status": "generated" } }),
        &["required Patient.text.div"],
    );
}

#[test]
fn bundles_have_what_their_type_asks() {
    let patient = json!({ "resourceType": "Patient" });
    let post = json!({ "method": "POST", "url": "Patient" });
    check(bundle("transaction", json!([{ "resource": patient, "request": post }])), &[]);
    check(bundle("transaction", json!([{ "resource": patient }])), &["invariant Bundle"]);
    check(
        bundle("collection", json!([{ "resource": patient, "request": post }])),
        &["invariant Bundle"],
    );
    check(bundle("batch-response", json!([{ "response": { "status": "200" } }])), &[]);
    check(bundle("batch-response", json!([{ "resource": patient }])), &["invariant Bundle"]);
    check(bundle("collection", json!([{ "fullUrl": "urn:x:1" }])), &["invariant Bundle.entry[0]"]);
    check(
        bundle(
            "collection",
            json!([{ "fullUrl": "urn:x:1", "resource": patient }, { "fullUrl": "urn:x:1", "resource": patient }]),
        ),
        &["invariant Bundle"],
    );
    check(
        bundle(
            "collection",
            json!([{ "fullUrl": "http://a/Patient/1/_history/1", "resource": patient }]),
        ),
        &["invariant Bundle.entry[0]"],
    );
    check(
        bundle("collection", json!([{ "resource": { "resourceType": "Patient", "gender": "x" } }])),
        &["code-invalid Bundle.entry[0].resource.gender"],
    );
    check(
        bundle("collection", json!([{ "resource": { "resourceType": "Foo" } }])),
        &["structure Bundle.entry[0].resource.resourceType"],
    );
    check(
        bundle("document", json!([{ "resource": patient }])),
        &["invariant Bundle", "invariant Bundle", "invariant Bundle"],
    );
    check(
        json!({ "resourceType": "Bundle", "type": "collection", "total": 1 }),
        &["invariant Bundle"],
    );
    check(json!({ "resourceType": "Bundle", "type": "searchset", "total": 0 }), &[]);
    check(json!({ "resourceType": "Bundle", "type": "everything" }), &["code-invalid Bundle.type"]);
    // Each entry of a Bundle is a resource of its own: what one contains is not for the others.
    check(
        bundle(
            "collection",
            json!([
        { "resource": { "resourceType": "Patient", "contained": [{ "resourceType": "Organization", "id": "o", "name": "x" }], "managingOrganization": { "reference": "#o" } } },
        { "resource": { "resourceType": "Patient", "managingOrganization": { "reference": "#o" } } }]),
        ),
        &["invariant Bundle.entry[1].resource.managingOrganization"],
    );
}
