//! Spoiled requests to the FHIR interface: each is answered, none by a fault of ours, and no error holds
//! anything of what came in or of what is kept (S1).

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;

use axum::http::Method;
use common::{Answer, Fhir, observation};
use mutations::{PLANTED, fuzz, json_of, text};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The longest answer that says no, in bytes.
const REFUSAL_BYTES_MAX: usize = 256 * 1_024;

/// A hospital with a patient and a laboratory result that hold the planted word.
struct Setting {
    runtime: tokio::runtime::Runtime,
    fhir: Fhir,
    patient: String,
    result: String,
}

impl Setting {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (fhir, patient, result) = runtime.block_on(async {
            let fhir = Fhir::found().await;
            let (_, patient) = fhir.patient("anna").await;
            let made = fhir.post("physician", "/Observation", &planted(&patient)).await.expect(201);
            let result = made.id();
            (fhir, patient, result)
        });
        Self { runtime, fhir, patient, result }
    }

    fn send(&self, method: &Method, path: &str, content_type: &str, body: String) -> Answer {
        let headers = [("content-type", content_type)];
        self.runtime.block_on(self.fhir.send("physician", method.clone(), path, &headers, body))
    }
}

/// A laboratory result with the planted word where texts are.
fn planted(patient: &str) -> Value {
    let mut result = observation(patient, "2345-7", 5.1);
    result["note"] = json!([{ "text": PLANTED }]);
    result["code"]["text"] = PLANTED.into();
    result["performer"] = json!([{ "display": PLANTED }]);
    result
}

/// What must be true of every answer.
fn check(answer: &Answer) -> Result<(), TestCaseError> {
    let Answer { status, text, .. } = answer;
    prop_assert!(!status.is_server_error(), "{status}: {text}");
    if status.is_client_error() {
        let outcome: Value = serde_json::from_str(text).unwrap_or_default();
        prop_assert_eq!(&outcome["resourceType"], "OperationOutcome", "{}", text);
        prop_assert!(outcome["issue"].as_array().is_some_and(|issues| !issues.is_empty()));
        prop_assert!(text.len() <= REFUSAL_BYTES_MAX, "{} bytes", text.len());
        prop_assert!(!text.contains(PLANTED), "{}", text);
    }
    Ok(())
}

const FHIR_JSON: &str = "application/fhir+json";

#[test]
fn spoiled_resources_are_refused_without_a_word_of_them() {
    let setting = Setting::new();
    let patient = &setting.patient;
    let mut samples = vec![planted(patient)];
    samples.push(json!({
        "resourceType": "Patient", "name": [{ "family": PLANTED }], "birthDate": "1974-12-25",
        "identifier": [{ "system": "urn:x", "value": PLANTED }],
    }));
    samples.push(json!({
        "resourceType": "Encounter", "status": "finished", "class": { "code": "AMB" },
        "subject": { "reference": format!("Patient/{patient}"), "display": PLANTED },
        "period": { "start": "2026-03-04", "end": "2026-03-05" },
    }));
    samples.push(json!({ "resourceType": "Organization", "name": PLANTED, "active": true }));
    fuzz(250, (json_of(samples), 0..4_usize), |(body, way)| {
        let known = ["Patient", "Encounter", "Organization"];
        let named = body["resourceType"].as_str().filter(|named| known.contains(named));
        let resource_type = named.unwrap_or("Observation");
        let (method, path) = match way {
            0 => (Method::POST, format!("/{resource_type}/$validate")),
            1 => (Method::PUT, format!("/{resource_type}/fuzzed")),
            2 => (Method::PUT, format!("/{resource_type}?identifier=urn:x%7C1")),
            _ => (Method::POST, format!("/{resource_type}")),
        };
        check(&setting.send(&method, &path, FHIR_JSON, body.to_string()))
    });
}

#[test]
fn spoiled_text_is_refused_without_a_word_of_it() {
    let setting = Setting::new();
    let resource = planted(&setting.patient).to_string();
    let patch = json!([
        { "op": "replace", "path": "/note/0/text", "value": PLANTED },
        { "op": "copy", "from": "/note", "path": "/extension" },
        { "op": "test", "path": "/valueQuantity/value", "value": 5.10 },
    ]);
    let result = format!("/Observation/{}", setting.result);
    let inputs = (text(&[&resource, &patch.to_string()]), 0..3_usize);
    fuzz(200, inputs, |(body, way)| {
        let (method, path, content_type) = match way {
            0 => (Method::POST, "/Observation", FHIR_JSON),
            1 => (Method::PATCH, &*result, "application/json-patch+json"),
            _ => (Method::POST, "/Observation/$validate", FHIR_JSON),
        };
        check(&setting.send(&method, path, content_type, body))
    });
}

#[test]
fn spoiled_bundles_are_refused_without_a_word_of_them() {
    let setting = Setting::new();
    let patient = &setting.patient;
    let entry = |method: &str, url: &str, resource: Value| {
        json!({
            "fullUrl": "urn:uuid:8e1c0a9e-0b5f-4a5c-9d4e-3d1a5c1b2a01",
            "resource": resource,
            "request": { "method": method, "url": url, "ifNoneExist": "identifier=urn:x|1" },
        })
    };
    let mut visit = json!({
        "resourceType": "Encounter", "status": "finished", "class": { "code": "AMB" },
        "subject": { "reference": format!("Patient/{patient}"), "display": PLANTED },
    });
    visit["id"] = "visit".into();
    let samples = ["transaction", "batch"].map(|kind| {
        json!({
            "resourceType": "Bundle", "type": kind,
            "entry": [
                entry("POST", "Observation", planted(patient)),
                entry("PUT", "Encounter/visit", visit.clone()),
                entry("GET", &format!("Observation?patient={patient}&_count=1"), Value::Null),
                entry("DELETE", "Organization/none", Value::Null),
            ],
        })
    });
    fuzz(150, json_of(samples.to_vec()), |bundle| {
        let answer = setting.send(&Method::POST, "/", FHIR_JSON, bundle.to_string());
        check(&answer)?;
        // What failed inside says so by the same rules. What was asked for and found may hold the word.
        let answered: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        for entry in answered["entry"].as_array().into_iter().flatten() {
            let status = entry["response"]["status"].as_str().unwrap_or_default();
            prop_assert!(!status.starts_with('5'), "{}", entry);
            prop_assert!(!entry["response"].to_string().contains(PLANTED), "{}", entry);
        }
        Ok(())
    });
}

#[test]
fn spoiled_addresses_and_searches_are_refused() {
    let setting = Setting::new();
    let result = &setting.result;
    let samples = [
        format!("/Observation/{result}/_history/1"),
        format!("/Observation/{result}?_pretty=true"),
        format!(
            "/Patient/{}/$everything?_type=Observation&_since=2026-01-01T00:00:00Z",
            setting.patient
        ),
        "/Observation?code=http://loinc.org%7C2345-7&_sort=-date&_count=2&_total=accurate".into(),
        "/Observation?subject:Patient.name:exact=Family-anna&value-quantity=gt5.0||mmol%2FL".into(),
        "/Patient?_has:Observation:patient:code=2345-7&_revinclude=Observation:subject".into(),
        "/Observation?date=ge2026-03-04&date:missing=false&_elements=code&_summary=true".into(),
        "/Observation?code-value-quantity=2345-7$gt5&_include:iterate=Observation:subject".into(),
    ];
    let samples: Vec<&str> = samples.iter().map(String::as_str).collect();
    let methods =
        prop::sample::select(vec![Method::GET, Method::HEAD, Method::DELETE, Method::PUT]);
    fuzz(400, (text(&samples), methods), |(address, method)| {
        // Other characters never get through HTTP.
        let allowed = |one: &char| one.is_ascii_graphic() && !"\"<>\\^`{}#".contains(*one);
        let address: String = address.chars().filter(allowed).collect();
        let address = format!("/{}", address.trim_start_matches('/'));
        if address.parse::<axum::http::Uri>().is_err() {
            return Ok(());
        }
        let answer = setting.send(&method, &address, FHIR_JSON, String::new());
        if method == Method::HEAD {
            prop_assert!(!answer.status.is_server_error() && answer.text.is_empty());
            return Ok(());
        }
        check(&answer)
    });
}

#[test]
fn objects_come_back_as_they_were_written() {
    let resource =
        r#"{"resourceType":"Observation","v":[1.10,-0.0,1e2,{"a":"\u00e9\n"}],"w":{"x":null}}"#;
    fuzz(2_000, text(&[resource]), |text| {
        let Ok(object) = fhir::RawObject::parse(text.as_bytes()) else { return Ok(()) };
        let written = object.to_string();
        let again = fhir::RawObject::parse(written.as_bytes());
        prop_assert_eq!(again.map(|again| again.to_string()).ok(), Some(written.clone()));
        // The same members, each to the letter.
        for (name, value) in object.members() {
            prop_assert!(text.contains(value.get()), "{name}");
        }
        if let (Ok(before), Ok(after)) =
            (serde_json::from_str::<Value>(&text), serde_json::from_str::<Value>(&written))
        {
            prop_assert_eq!(before, after);
        }
        Ok(())
    });
}
