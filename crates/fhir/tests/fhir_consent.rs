//! Consent on every path (S2, S3): what a reader may not read is not read, not found, not counted, not
//! included and not exported, whichever way they ask.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use axum::http::Method;
use common::{Fhir, observation};
use domain::{Kind, Purpose, Reader};
use serde_json::json;
use workflows::{consent, emergency};

/// The word that only the patient's records have.
const PLANTED: &str = "Planted";

/// Who asks, and why.
const READERS: &[(&str, &str)] = &[
    ("physician", "TREAT"),
    ("nurse", "TREAT"),
    ("consultant", "TREAT"),
    ("paramedic", "BTG"),
    ("patient:anna", "PATRQT"),
    ("patient:ben", "PATRQT"),
    ("hospital", "TREAT"),
];

/// A hospital with two patients, of whom Anna has a laboratory result and a diagnosis.
struct Setting {
    fhir: Fhir,
    anna: workflows::PatientActor,
    patient: String,
    result: String,
    diagnosis: String,
}

impl Setting {
    async fn found() -> Self {
        let fhir = Fhir::found().await;
        let (anna, patient) = fhir.patient("anna").await;
        fhir.patient("ben").await;
        let hospital = fhir.world.gateway("hospital").member();
        let role = domain::InstitutionRole::Hospital;
        let reader = Reader::Institution { member: hospital, role };
        fhir.admit("hospital", reader, Purpose::Treatment);
        let mut result = observation(&patient, "2345-7", 5.1);
        result["note"] = json!([{ "text": PLANTED }]);
        let result = fhir.post("physician", "/Observation", &result).await.expect(201).id();
        let diagnosis = json!({
            "resourceType": "Condition",
            "subject": { "reference": format!("Patient/{patient}") },
            "code": { "text": PLANTED },
            "clinicalStatus": { "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/condition-clinical",
                "code": "active",
            }] },
        });
        let diagnosis = fhir.post("physician", "/Condition", &diagnosis).await.expect(201).id();
        Self { fhir, anna, patient, result, diagnosis }
    }

    /// Every way to ask for the laboratory result.
    fn paths(&self) -> Vec<(&'static str, Method, String, String)> {
        let Self { patient, result, .. } = self;
        let get = |name, path: String| (name, Method::GET, path, String::new());
        let post = |name, path: &str, body: String| (name, Method::POST, path.to_owned(), body);
        let batch = json!({
            "resourceType": "Bundle", "type": "batch",
            "entry": [{ "request": { "method": "GET", "url": format!("Observation/{result}") } }],
        });
        vec![
            get("read", format!("/Observation/{result}")),
            get("vread", format!("/Observation/{result}/_history/1")),
            get("history", format!("/Observation/{result}/_history")),
            get("search", format!("/Observation?subject=Patient/{patient}")),
            get("search by code", "/Observation?code=2345-7".into()),
            get("search all", "/Observation".into()),
            post("search by post", "/Observation/_search", format!("subject=Patient/{patient}")),
            get("total", format!("/Observation?subject=Patient/{patient}&_summary=count")),
            get("chain", "/Observation?subject:Patient.gender=female".into()),
            get("reverse chain", "/Patient?_has:Observation:patient:code=2345-7".into()),
            get("revinclude", format!("/Patient?_id={patient}&_revinclude=Observation:patient")),
            get("everything", format!("/Patient/{patient}/$everything")),
            post("batch", "/", batch.to_string()),
        ]
    }

    /// What a reader gets on each path: whether the result is given, or only counted.
    async fn sees(&self, reader: &str, purpose: &str) -> Vec<(&'static str, bool)> {
        let mut seen = Vec::new();
        for (name, method, path, body) in self.paths() {
            let form = [
                ("x-purpose-of-use", purpose),
                ("content-type", "application/x-www-form-urlencoded"),
            ];
            let json = [("x-purpose-of-use", purpose)];
            let headers = if name == "search by post" { &form[..] } else { &json[..] };
            let answer = self.fhir.send(reader, method, &path, headers, body).await;
            let found = match name {
                "total" => answer.status == 200 && answer.json()["total"] != 0,
                "reverse chain" => {
                    answer.text.contains(&self.patient) && answer.json()["total"] != 0
                }
                _ => answer.text.contains(PLANTED),
            };
            if !found {
                // Not a trace of it, not even that it is there.
                let text = answer.text.replace(&path, "").replace(&self.patient, "");
                assert!(
                    !text.contains("2345-7") || path.contains("2345-7"),
                    "{reader} {name}: {text}"
                );
                if answer.status == 200 && name.starts_with("search") {
                    assert_eq!(answer.json()["total"], 0, "{reader} {name}");
                }
            }
            seen.push((name, found));
        }
        seen
    }

    #[track_caller]
    fn assert_all(seen: &[(&str, bool)], expected: bool, who: &str) {
        for (name, found) in seen {
            assert_eq!(*found, expected, "{who} by {name}");
        }
    }
}

#[tokio::test]
async fn every_path_gives_the_same_answer_to_each_reader() {
    let setting = Setting::found().await;
    for (reader, purpose) in READERS {
        let seen = setting.sees(reader, purpose).await;
        let expected = matches!(*reader, "physician" | "patient:anna");
        // A reader of the result who may not read who the patient is finds no patient by it.
        Setting::assert_all(&seen, expected, reader);
    }
}

#[tokio::test]
async fn consent_opens_and_revocation_closes_every_path() {
    let setting = Setting::found().await;
    let world = &setting.fhir.world;
    let hospital = world.gateway("hospital");
    let emergency = world.gateway("emergency").member();
    let terms = world.terms(&[Kind::Laboratory, Kind::Demographics]);
    consent::grant(hospital, &setting.anna, emergency, None, &terms, world.now()).await.unwrap();
    let seen = setting.sees("consultant", "TREAT").await;
    Setting::assert_all(&seen, true, "consultant with consent");
    // What the consent does not name stays closed.
    let path = format!("/Condition/{}", setting.diagnosis);
    setting.fhir.get("consultant", &path).await.expect(404);
    let everything = format!("/Patient/{}/$everything", setting.patient);
    let names = setting.fhir.get("consultant", &everything).await.expect(200).names();
    assert!(!names.iter().any(|name| name.starts_with("Condition/")), "{names:?}");

    consent::revoke(hospital, &setting.anna, emergency, None, world.now()).await.unwrap();
    let seen = setting.sees("consultant", "TREAT").await;
    Setting::assert_all(&seen, false, "consultant after the revocation");
}

#[tokio::test]
async fn pages_of_a_search_end_with_the_consent() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    for value in 0..5 {
        let more = observation(&setting.patient, "2345-7", f64::from(value));
        fhir.post("physician", "/Observation", &more).await.expect(201);
    }
    let world = &fhir.world;
    let hospital = world.gateway("hospital");
    let emergency = world.gateway("emergency").member();
    let terms = world.terms(&[Kind::Laboratory]);
    consent::grant(hospital, &setting.anna, emergency, None, &terms, world.now()).await.unwrap();
    let first = fhir.get("consultant", "/Observation?_count=2").await.expect(200).json();
    assert_eq!(first["total"], 6);
    let links = first["link"].as_array().unwrap();
    let next = links.iter().find(|link| link["relation"] == "next").unwrap();
    let next = next["url"].as_str().unwrap().strip_prefix(common::BASE).unwrap().to_owned();
    assert_eq!(fhir.get("consultant", &next).await.expect(200).names().len(), 2);
    fhir.get("physician", &next).await.expect(410);

    consent::revoke(hospital, &setting.anna, emergency, None, world.now()).await.unwrap();
    assert_eq!(fhir.get("consultant", &next).await.expect(200).names().len(), 0);
}

#[tokio::test]
async fn broken_glass_opens_what_it_names() {
    let setting = Setting::found().await;
    let world = &setting.fhir.world;
    let department = world.gateway("emergency");
    let paramedic = world.person("paramedic");
    let kinds = domain::KindSet::of(&[Kind::Laboratory, Kind::Demographics]);
    let hour = common::consortium::HOUR;
    let account = setting.anna.account();
    emergency::open(department, paramedic, account, kinds, hour, "unconscious").await.unwrap();
    let seen = setting.sees("paramedic", "BTG").await;
    Setting::assert_all(&seen, true, "paramedic");
    let seen = setting.sees("paramedic", "TREAT").await;
    Setting::assert_all(&seen, false, "paramedic who says it is treatment");
}

#[tokio::test]
async fn every_attempt_leaves_a_receipt() {
    let setting = Setting::found().await;
    let gatekeeper = &setting.fhir.world.gateway("hospital").gatekeeper;
    let account = setting.anna.account();
    let count = async || gatekeeper.receipts_of(account, None, 1_000).await.unwrap().len();
    for (name, method, path, body) in setting.paths() {
        let headers: &[_] = match name {
            "search by post" => &[("content-type", "application/x-www-form-urlencoded")],
            _ => &[],
        };
        let before = count().await;
        setting.fhir.send("physician", method.clone(), &path, headers, body.clone()).await;
        assert!(count().await > before, "{name} by the physician left no receipt");
        let before = count().await;
        setting.fhir.send("nurse", method, &path, headers, body).await;
        // It asked for all women, and nobody's records in particular; none was shown.
        let names_nobody = name == "chain";
        assert!(count().await > before || names_nobody, "{name} by the nurse left no receipt");
    }
}

#[tokio::test]
async fn strangers_do_not_learn_what_is_there() {
    let setting = Setting::found().await;
    let there = format!("/Observation/{}", setting.result);
    let refused = setting.fhir.get("consultant", &there).await.expect(404);
    let unknown = setting.fhir.get("consultant", "/Observation/unknown").await.expect(404);
    assert_eq!(refused.text, unknown.text);
    // The hospital's own people are told why, because they may have to break the glass.
    let told = setting.fhir.get("nurse", &there).await.expect(403);
    assert!(told.text.contains("no consent in force"), "{}", told.text);
}

#[tokio::test]
async fn writing_takes_caring() {
    let setting = Setting::found().await;
    let new = observation(&setting.patient, "1", 1.0);
    for stranger in ["nurse", "consultant", "patient:anna", "scientist"] {
        setting.fhir.post(stranger, "/Observation", &new).await.expect(403);
        let path = format!("/Observation/{}", setting.result);
        setting.fhir.delete(stranger, &path).await.expect(403);
    }
    setting.fhir.post("hospital", "/Observation", &new).await.expect(201);
}

#[tokio::test]
async fn nobody_comes_to_care_by_registering_whom_others_know() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let again = json!({
        "resourceType": "Patient",
        "identifier": [{
            "system": fhir::ACCOUNT_SYSTEM,
            "value": setting.anna.account().to_string(),
        }],
    });
    fhir.post("nurse", "/Patient", &again).await.expect(403);
    let path = format!("/Patient/{}", setting.patient);
    let mut next = fhir.get("physician", &path).await.expect(200).json();
    next["gender"] = "male".into();
    fhir.put("nurse", &path, &next).await.expect(403);
    fhir.delete("nurse", &path).await.expect(403);
    fhir.get("nurse", &format!("/Observation/{}", setting.result)).await.expect(403);
}

#[tokio::test]
async fn transactions_and_patches_open_no_other_way() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let creating = common::Only(&[("Observation", fhir::Interaction::Create)]);
    fhir.admit_only("creating", "physician", creating);
    let url = format!("Observation/{}", setting.result);
    let transaction = |method: &str, url: &str| {
        json!({
            "resourceType": "Bundle", "type": "transaction",
            "entry": [{
                "request": { "method": method, "url": url },
                "resource": observation(&setting.patient, "1", 1.0),
            }],
        })
    };
    fhir.post("creating", "/", &transaction("POST", &url)).await.expect(405);
    fhir.post("creating", "/", &transaction("PUT", "Observation/new")).await.expect(403);
    fhir.post("physician", "/", &transaction("PUT", "Account/new")).await.expect(404);
    let patch = [("content-type", "application/json-patch+json")];
    let body = r#"[{"op":"replace","path":"/status","value":"amended"}]"#;
    for stranger in ["consultant", "patient:anna"] {
        let path = format!("/{url}");
        fhir.send(stranger, Method::PATCH, &path, &patch, body.into()).await.expect(403);
    }
}
