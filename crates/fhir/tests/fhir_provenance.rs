//! `Provenance` that people write beside what is made from the chain: whose it is, who reads it, and that
//! nobody can pass theirs off as the chain's; what made resources bring along; and made resources in
//! exports.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use axum::http::Method;
use common::{Answer, BASE, Fhir, Only, consortium, observation};
use domain::{InstitutionRole, Kind, ProfessionalRole, Purpose, Reader};
use fhir::Interaction;
use serde_json::{Value, json};
use workflows::{PatientActor, consent};

/// A hospital with two patients, of whom Anna has a result and a diagnosis.
struct Setting {
    fhir: Fhir,
    anna: PatientActor,
    patient: String,
    result: String,
    diagnosis: String,
    other: String,
}

/// Says where resources are from.
fn provenance(targets: &[&str]) -> Value {
    let targets: Vec<Value> = targets.iter().map(|target| json!({ "reference": target })).collect();
    json!({
        "resourceType": "Provenance",
        "target": targets,
        "recorded": "2026-03-04T10:20:30Z",
        "reason": [{ "text": "Planted" }],
        "agent": [{ "who": { "reference": "Organization/practice" } }],
    })
}

fn condition(patient: &str) -> Value {
    json!({
        "resourceType": "Condition",
        "clinicalStatus": { "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active",
        }] },
        "subject": { "reference": format!("Patient/{patient}") },
        "code": { "text": "Finding" },
    })
}

impl Setting {
    async fn found() -> Self {
        let fhir = Fhir::found().await;
        let (anna, patient) = fhir.patient("anna").await;
        let (_, other) = fhir.patient("ben").await;
        let member = fhir.world.gateway("hospital").member();
        let reader = Reader::Institution { member, role: InstitutionRole::Hospital };
        fhir.admit("hospital", reader, Purpose::Operations);
        let role = ProfessionalRole::PrivacyOfficer;
        let officer = consortium::address("own officer");
        let reader = Reader::Professional { member: officer, role, institution: member };
        fhir.admit("own officer", reader, Purpose::Operations);
        let made = async |body: Value| {
            let path = format!("/{}", body["resourceType"].as_str().unwrap());
            fhir.post("physician", &path, &body).await.expect(201).id()
        };
        let result = format!("Observation/{}", made(observation(&patient, "2345-7", 5.1)).await);
        let diagnosis = format!("Condition/{}", made(condition(&patient)).await);
        let other = format!("Observation/{}", made(observation(&other, "2345-7", 5.1)).await);
        Self { fhir, anna, patient, result, diagnosis, other }
    }

    async fn post(&self, body: &Value) -> Answer {
        self.fhir.post("physician", "/Provenance", body).await
    }

    /// Lets the emergency department read Anna's results, and nothing else.
    async fn grant(&self) {
        let world = &self.fhir.world;
        let (hospital, terms) = (world.gateway("hospital"), world.terms(&[Kind::Laboratory]));
        let reader = world.gateway("emergency").member();
        consent::grant(hospital, &self.anna, reader, None, &terms, world.now()).await.unwrap();
    }

    async fn revoke(&self) {
        let world = &self.fhir.world;
        let (hospital, reader) = (world.gateway("hospital"), world.gateway("emergency").member());
        consent::revoke(hospital, &self.anna, reader, None, world.now()).await.unwrap();
    }

    /// Starts an export, waits, and gives the lines of its files.
    async fn export(&self, token: &str, method: Method, path: &str, body: &str) -> Vec<String> {
        let manifest = self.manifest(token, method, path, body).await;
        self.lines(token, &manifest).await
    }

    async fn manifest(&self, token: &str, method: Method, path: &str, body: &str) -> Value {
        let headers = [("prefer", "respond-async"), ("content-type", "application/fhir+json")];
        let begun = self.fhir.send(token, method, path, &headers, body.into()).await.expect(202);
        let job = begun.header("content-location").strip_prefix(BASE).unwrap().to_owned();
        for _ in 0..2_000 {
            let answer = self.fhir.get(token, &job).await;
            if answer.status != 202 {
                return answer.expect(200).json();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the export does not end");
    }

    async fn lines(&self, token: &str, manifest: &Value) -> Vec<String> {
        let mut lines = Vec::new();
        for file in manifest["output"].as_array().unwrap() {
            let path = file["url"].as_str().unwrap().strip_prefix(BASE).unwrap();
            let text = self.fhir.get(token, path).await.expect(200).text;
            for line in text.lines() {
                let value: Value = serde_json::from_str(line).unwrap();
                assert_eq!(value["resourceType"], file["type"]);
                lines.push(line.to_owned());
            }
        }
        lines
    }
}

#[tokio::test]
async fn what_is_written_is_a_record_of_the_patient() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let made = setting.post(&provenance(&[&setting.result])).await.expect(201);
    let name = format!("Provenance/{}", made.id());
    assert_eq!(made.json()["reason"][0]["text"], "Planted");
    for token in ["physician", "patient:anna"] {
        let read = fhir.get(token, &format!("/{name}")).await.expect(200).json();
        assert_eq!(read["target"][0]["reference"], setting.result.as_str());
        for query in [
            format!("target={}", setting.result),
            format!("target={}&agent=Organization/practice", setting.result),
            format!("patient=Patient/{}&recorded=2026-03-04", setting.patient),
            format!("_id={}", made.id()),
        ] {
            let found = fhir.get(token, &format!("/Provenance?{query}")).await.expect(200);
            assert!(found.names().contains(&name), "{token} {query}: {}", found.text);
        }
        let path =
            format!("/Observation?patient={}&_revinclude=Provenance:target", setting.patient);
        let found = fhir.get(token, &path).await.expect(200);
        // The one that was written, and the one that is made from the chain.
        let along = found.names().iter().filter(|name| name.starts_with("Provenance/")).count();
        assert!(found.names().contains(&name) && along == 2, "{token}: {:?}", found.names());
    }
    // Nobody finds it as another patient's.
    let path = "/Provenance?patient=Patient/unknown";
    assert_eq!(fhir.get("physician", path).await.expect(200).json()["total"], 0);
    let path = format!("/Provenance?patient=Patient/{}", setting.other);
    assert!(!fhir.get("physician", &path).await.text.contains("Planted"));

    // Others read it as they read what it is about.
    let reads = async |token: &str| fhir.get(token, &format!("/{name}")).await.status == 200;
    assert!(!reads("consultant").await && !reads("nurse").await && !reads("patient:ben").await);
    setting.grant().await;
    assert!(reads("consultant").await);
    setting.revoke().await;
    assert!(!reads("consultant").await);
    fhir.world.assert_clean("hospital").await;
}

#[tokio::test]
async fn pages_keep_whose_it_is() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    for _ in 0..3 {
        setting.post(&provenance(&[&setting.result])).await.expect(201);
    }
    let of_ben = setting.post(&provenance(&[&setting.other])).await.expect(201).id();
    let mut path = format!("/Provenance?patient=Patient/{}&_count=2", setting.patient);
    let mut all = Vec::new();
    loop {
        let page = fhir.get("physician", &path).await.expect(200);
        all.extend(page.names());
        let links = page.json()["link"].as_array().cloned().unwrap_or_default();
        let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
        path = next["url"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned();
    }
    let whole = all.len();
    all.sort();
    all.dedup();
    // Three were written; patient, result, diagnosis and the three themselves have one each on chain.
    assert_eq!((whole, all.len()), (9, 9), "{all:?}");
    assert!(!all.iter().any(|name| name.contains(&of_ben)));
}

/// Whether somebody is a patient here is not told to whoever may read nothing of theirs, however they are
/// named; they are told of each question (S2, S5).
#[tokio::test]
async fn nothing_that_is_answered_tells_who_is_a_patient_here() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let gatekeeper = &fhir.world.gateway("hospital").gatekeeper;
    let asked = async || {
        let receipts = gatekeeper.receipts_of(setting.anna.account(), None, 1_000).await.unwrap();
        let consultant = consortium::address("consultant");
        receipts.iter().filter(|stored| stored.receipt.requester == consultant).count()
    };
    let many = format!("patient={}", vec!["X"; search::VALUES_MAX + 1].join(","));
    let often = vec!["patient=X"; search::VALUES_MAX + 1].join("&");
    for (query, status) in [
        ("patient=X", 200),
        ("patient=X,X", 200),
        ("patient=X,Patient/unknown", 200),
        ("patient=X&patient=X", 200),
        ("patient=X,X&target=Observation/unknown", 200),
        ("patient=X,X&_summary=count", 200),
        ("patient=X,X&target:Observation.code=1", 200),
        ("patient=X,X&_count=none", 400),
        (many.as_str(), 400),
        (often.as_str(), 400),
    ] {
        let answer = async |name: &str| {
            let path = format!("/Provenance?{}", query.replace('X', name));
            let answer = fhir.get("consultant", &path).await.expect(status).json();
            (answer["total"].clone(), answer["entry"].clone(), answer["issue"].clone())
        };
        let before = asked().await;
        let of_anna = answer(&format!("Patient/{}", setting.patient)).await;
        assert_eq!(asked().await, before + 1, "{query}");
        assert_eq!(of_anna, answer("Patient/nobody").await, "{query}");
        assert_eq!(asked().await, before + 1, "{query}");
    }
}

#[tokio::test]
async fn several_patients_are_searched_for_at_once() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    for target in [&setting.result, &setting.other] {
        setting.post(&provenance(&[target])).await.expect(201);
        setting.post(&provenance(&[target])).await.expect(201);
    }
    let other = fhir.get("physician", &format!("/{}", setting.other)).await.json();
    let ben = other["subject"]["reference"].as_str().unwrap();
    let anna = format!("Patient/{}", setting.patient);
    let all = async |query: String| {
        let (mut path, mut all) = (format!("/Provenance?{query}"), Vec::new());
        loop {
            let page = fhir.get("physician", &path).await.expect(200);
            all.extend(page.names());
            let links = page.json()["link"].as_array().cloned().unwrap_or_default();
            let Some(next) = links.iter().find(|link| link["relation"] == "next") else { break };
            path = next["url"].as_str().unwrap().strip_prefix(BASE).unwrap().to_owned();
        }
        all.sort();
        all
    };
    let (of_anna, of_ben) =
        (all(format!("patient={anna}")).await, all(format!("patient={ben}")).await);
    // Two were written of each; each record has one on chain, Anna's diagnosis too.
    assert_eq!((of_anna.len(), of_ben.len()), (7, 6));
    let mut both = [of_anna.clone(), of_ben].concat();
    both.sort();
    for query in [
        format!("patient={anna},{ben}"),
        format!("patient={ben},{anna},{ben},Patient/unknown&_count=2"),
    ] {
        assert_eq!(all(query.clone()).await, both, "{query}");
    }
    let found = fhir.get("physician", &format!("/Provenance?patient={anna},{ben}")).await.json();
    assert_eq!(found["total"], 13);
    // Nobody is two patients.
    assert!(all(format!("patient={anna}&patient={ben}")).await.is_empty());
    assert_eq!(all(format!("patient={anna},{ben}&patient={anna}")).await, of_anna);
}

/// Who may not write about something learns neither whose it is nor of what kind (S2).
#[tokio::test]
async fn what_is_refused_tells_nothing_of_what_it_is_about() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let mut psychiatric = condition(&setting.patient);
    psychiatric["meta"] = json!({ "security": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY",
    }] });
    let id = fhir.post("physician", "/Condition", &psychiatric).await.expect(201).id();
    let secret = format!("Condition/{id}");
    let refused = async |targets: &[&str]| {
        fhir.post("nurse", "/Provenance", &provenance(targets)).await.expect(403).text
    };
    let expected = refused(&[&setting.result]).await;
    for targets in [
        [&setting.result, &setting.diagnosis],
        [&setting.result, &secret],
        [&setting.diagnosis, &secret],
        [&setting.result, &setting.other],
        [&secret, &setting.other],
    ] {
        assert_eq!(refused(&targets.map(String::as_str)).await, expected, "{targets:?}");
    }
    assert_eq!(refused(&["Observation/unknown", &secret]).await, expected);
}

/// A file of many parts tells each patient once that they were refused (S5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_tells_of_a_refusal_once() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    for round in 0..4 {
        let entry = |number: u32| {
            let resource = observation(&setting.patient, "1-1", f64::from(number + 200 * round));
            json!({ "resource": resource, "request": { "method": "POST", "url": "Observation" } })
        };
        let entries: Vec<_> = (0..150).map(entry).collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": entries });
        fhir.post("physician", "/", &bundle).await.expect(200);
    }
    let gatekeeper = &fhir.world.gateway("hospital").gatekeeper;
    let refused = async || {
        let receipts = gatekeeper.receipts_of(setting.anna.account(), None, 1_000).await.unwrap();
        let consultant = consortium::address("consultant");
        let theirs = receipts.iter().filter(|stored| stored.receipt.requester == consultant);
        theirs.filter(|stored| !stored.receipt.outcome.is_allowed()).count()
    };
    let path = "/$export?_type=Provenance";
    let manifest = setting.manifest("consultant", Method::GET, path, "").await;
    let before = refused().await;
    assert!(setting.lines("consultant", &manifest).await.is_empty());
    assert_eq!(refused().await, before + 1);
    assert!(setting.lines("consultant", &manifest).await.is_empty());
    assert_eq!(refused().await, before + 2, "each download is a question of its own");
    // What comes up later in the file, and is of another kind, is told as well.
    let mut psychiatric = condition(&setting.patient);
    psychiatric["meta"] = json!({ "security": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY",
    }] });
    fhir.post("physician", "/Condition", &psychiatric).await.expect(201);
    let manifest = setting.manifest("consultant", Method::GET, path, "").await;
    let before = refused().await;
    assert!(setting.lines("consultant", &manifest).await.is_empty());
    assert_eq!(refused().await, before + 2);
}

#[tokio::test]
async fn what_cannot_be_filed_is_refused() {
    let setting = Setting::found().await;
    let (fhir, physician) = (&setting.fhir, "physician");
    let check = async |body: &Value, status: u16, text: &str| {
        let refused = setting.post(body).await.expect(status);
        assert!(refused.text.contains(text), "{}", refused.text);
    };
    check(&provenance(&["Observation/unknown"]), 422, "is not a resource here").await;
    check(&provenance(&["https://elsewhere.example/Observation/1"]), 422, "not a resource").await;
    check(&provenance(&[&setting.result, &setting.other]), 422, "several patients").await;
    let mut psychiatric = condition(&setting.patient);
    psychiatric["meta"] = json!({ "security": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY",
    }] });
    let id = fhir.post(physician, "/Condition", &psychiatric).await.expect(201).id();
    let secret = format!("Condition/{id}");
    check(&provenance(&[&setting.result, &secret]), 422, "sensitive").await;
    setting.post(&provenance(&[&secret])).await.expect(201);
    // About several kinds it is about the keeping of records, which is beyond a physician.
    let both = provenance(&[&setting.result, &setting.diagnosis]);
    setting.post(&both).await.expect(403);
    let both = fhir.post("hospital", "/Provenance", &both).await.expect(201);
    fhir.get("patient:anna", &format!("/Provenance/{}", both.id())).await.expect(200);
    setting.grant().await;
    fhir.get("consultant", &format!("/Provenance/{}", both.id())).await.expect(404);
    // Who does not care for the patient does not write it.
    fhir.post("nurse", "/Provenance", &provenance(&[&setting.result])).await.expect(403);
    fhir.post("consultant", "/Provenance", &provenance(&[&setting.result])).await.expect(403);
}

#[tokio::test]
async fn nobody_passes_theirs_off_as_the_chains() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let path = format!("/Provenance?target={}", setting.result);
    let found = fhir.get("physician", &path).await.expect(200);
    let of_chain = found.json()["entry"][0]["resource"].clone();
    let id = of_chain["id"].as_str().unwrap();
    // Neither in place of one that is there, nor of one that may come.
    for id in [id.to_owned(), id.replace(".1", ".7"), format!("{}.1", "ab".repeat(24))] {
        let mut forged = provenance(&[&setting.result]);
        forged["id"] = id.clone().into();
        fhir.put("physician", &format!("/Provenance/{id}"), &forged).await.expect(405);
        let entry = json!({
            "request": { "method": "PUT", "url": format!("Provenance/{id}") },
            "resource": forged,
        });
        let bundle = |kind: &str| json!({ "resourceType": "Bundle", "type": kind, "entry": [entry.clone()] });
        fhir.post("physician", "/", &bundle("transaction")).await.expect(405);
        let batch = fhir.post("physician", "/", &bundle("batch")).await.expect(200).json();
        let status = batch["entry"][0]["response"]["status"].as_str().unwrap();
        assert!(status.starts_with("405"), "{batch}");
        let headers = [("prefer", "respond-async"), ("content-type", "application/fhir+ndjson")];
        let begun = fhir
            .send("physician", Method::POST, "/$import", &headers, forged.to_string())
            .await
            .expect(202);
        let job = begun.header("content-location").strip_prefix(BASE).unwrap().to_owned();
        for _ in 0..2_000 {
            let answer = fhir.get("physician", &job).await;
            if answer.status != 202 {
                assert_eq!(answer.json()["output"], json!([]), "{}", answer.text);
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fhir.delete("physician", &job).await.expect(202);
    }
    let mut forged = provenance(&[&setting.result]);
    forged["extension"] = of_chain["extension"].clone();
    setting.post(&forged).await.expect(422);
    let read = fhir.get("physician", &format!("/Provenance/{id}")).await.expect(200).json();
    assert_eq!(read, of_chain);
}

#[tokio::test]
async fn it_comes_with_what_it_is_about() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    // In a transaction, in whatever order.
    let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [
        { "request": { "method": "POST", "url": "Provenance" },
          "resource": provenance(&["urn:uuid:result"]) },
        { "fullUrl": "urn:uuid:result", "request": { "method": "POST", "url": "Observation" },
          "resource": observation(&setting.patient, "1-1", 1.0) },
    ] });
    let done = fhir.post("physician", "/", &bundle).await.expect(200).json();
    let location = |index: usize| {
        let location = done["entry"][index]["response"]["location"].as_str().unwrap();
        location.split("/_history").next().unwrap().to_owned()
    };
    let (written, result) = (location(0), location(1));
    let read = fhir.get("physician", &format!("/{written}")).await.expect(200).json();
    assert_eq!(read["target"][0]["reference"], result.as_str());

    // In a header beside it.
    let mut of_header = provenance(&[]);
    of_header.as_object_mut().unwrap().remove("target");
    let headers = |text: &'static str| [("x-provenance", text)];
    let text: &'static str = of_header.to_string().leak();
    let new = observation(&setting.patient, "2-2", 2.0).to_string();
    let send = async |token: &str, headers: &[(&str, &str)]| {
        fhir.send(token, Method::POST, "/Observation", headers, new.clone()).await
    };
    let made = send("physician", &headers(text)).await.expect(201);
    let path = format!("/Provenance?target=Observation/{}", made.id());
    let found = fhir.get("physician", &path).await.expect(200);
    let along: Vec<Value> = found.json()["entry"].as_array().unwrap().clone();
    let along = along.iter().find(|entry| entry["resource"]["reason"][0]["text"] == "Planted");
    let target = &along.unwrap()["resource"]["target"][0]["reference"];
    assert_eq!(target, format!("Observation/{}/_history/1", made.id()).as_str());
    // With what is wrong in the header, nothing is stored.
    let before = fhir.get("physician", "/Observation?_summary=count").await.json();
    send("physician", &headers("nonsense")).await.expect(400);
    send("physician", &headers(r#"{"resourceType":"Provenance"}"#)).await.expect(422);
    send("physician", &headers(r#"{"resourceType":"Provenance","target":[]}"#)).await.expect(400);
    let only = &[("Observation", Interaction::Create)];
    fhir.admit_only("writer", "physician", Only(only));
    send("writer", &headers(text)).await.expect(403);
    let after = fhir.get("physician", "/Observation?_summary=count").await.json();
    assert_eq!(before["total"], after["total"]);
    fhir.world.assert_clean("hospital").await;
}

#[tokio::test]
async fn made_resources_bring_along_what_they_refer_to() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    setting.grant().await;
    fhir.get("consultant", &format!("/{}", setting.result)).await.expect(200);
    let patient = format!("Patient/{}", setting.patient);
    let includes = async |token: &str, path: &str, name: &str| {
        let found = fhir.get(token, path).await.expect(200);
        let entries = found.json()["entry"].as_array().cloned().unwrap_or_default();
        let along = entries.iter().filter(|entry| entry["search"]["mode"] == "include");
        let named = |entry: &&Value| {
            let resource = &entry["resource"];
            let text = |member: &str| resource[member].as_str().unwrap().to_owned();
            format!("{}/{}", text("resourceType"), text("id")) == name
        };
        along.filter(named).count()
    };
    let of_result = format!("/Provenance?target={}&_include=Provenance:target", setting.result);
    assert_eq!(includes("physician", &of_result, &setting.result).await, 1);
    assert_eq!(includes("consultant", &of_result, &setting.result).await, 1);
    let consents = format!("/Consent?patient={patient}&_include=Consent:patient");
    assert_eq!(includes("patient:anna", &consents, &patient).await, 1);
    // The department sees the consent that names it, and not what its kinds do not cover.
    let as_reader = format!("/Consent?patient={patient}&_include=*");
    assert_eq!(includes("consultant", &as_reader, &patient).await, 0);
    let log = format!("/AuditEvent?patient={patient}&_include=AuditEvent:entity");
    assert_eq!(includes("patient:anna", &log, &setting.result).await, 1);
    // Who watches the log does not read what it is about.
    assert_eq!(includes("own officer", &log, &setting.result).await, 0);
    let group = "/Group?_include=Group:member";
    assert_eq!(includes("physician", group, &patient).await, 1);
    setting.revoke().await;
    assert_eq!(includes("consultant", &of_result, &setting.result).await, 0);
}

#[tokio::test]
async fn what_is_made_is_exported_when_it_is_asked_for() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    setting.post(&provenance(&[&setting.result])).await.expect(201);
    setting.grant().await;
    fhir.get("consultant", &format!("/{}", setting.result)).await.expect(200);
    fhir.pass();
    let count = |lines: &[String], of: &str| {
        lines.iter().filter(|line| line.contains(&format!("\"resourceType\":\"{of}\""))).count()
    };
    let made = "/$export?_type=AuditEvent,Consent,Provenance";
    let own = setting.export("patient:anna", Method::GET, made, "").await;
    // Her resource, result, diagnosis and what was written about the result are on chain.
    assert_eq!((count(&own, "Provenance"), count(&own, "Consent")), (5, 1), "{own:?}");
    let reads =
        own.iter().filter(|line| line.contains("\"AuditEvent\"") && line.contains(&setting.result));
    assert!(reads.count() >= 1, "{own:?}");
    assert!(!own.iter().any(|line| line.contains(&setting.other)));
    // The department reads what the consent covers, sees the consent, and nothing of the log.
    let manifest = setting.manifest("consultant", Method::GET, made, "").await;
    let theirs = setting.lines("consultant", &manifest).await;
    assert_eq!(count(&theirs, "Provenance"), 3, "{theirs:?}");
    assert_eq!((count(&theirs, "Consent"), count(&theirs, "AuditEvent")), (1, 0), "{theirs:?}");
    let of_system = setting.export("hospital", Method::GET, made, "").await;
    assert!(count(&of_system, "AuditEvent") > count(&own, "AuditEvent"));
    assert_eq!(count(&of_system, "Provenance"), 0);
    // The same, by a body; and nothing of it unasked.
    let body = json!({ "resourceType": "Parameters", "parameter": [
        { "name": "_type", "valueString": "Consent" },
        { "name": "_type", "valueString": "Provenance" },
        { "name": "_outputFormat", "valueString": "application/fhir+ndjson" },
    ] });
    let posted =
        setting.export("consultant", Method::POST, "/Patient/$export", &body.to_string()).await;
    assert_eq!((count(&posted, "Provenance"), count(&posted, "Consent")), (3, 1));
    let headers = [("prefer", "respond-async"), ("content-type", "application/fhir+json")];
    let wrong = r#"{"resourceType":"Parameters","parameter":[{"name":"_type"}]}"#;
    fhir.send("consultant", Method::POST, "/$export", &headers, wrong.into()).await.expect(400);
    let unasked = setting.export("patient:anna", Method::GET, "/$export", "").await;
    assert_eq!((count(&unasked, "AuditEvent"), count(&unasked, "Provenance")), (0, 1));

    // After a revocation, files of before have nothing of it.
    setting.revoke().await;
    let after = setting.lines("consultant", &manifest).await;
    assert_eq!(count(&after, "Provenance"), 0, "{after:?}");
}
