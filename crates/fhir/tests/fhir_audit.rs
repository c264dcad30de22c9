//! `AuditEvent`: what the access log says, who may see it, and that nobody writes it.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use axum::http::Method;
use common::{Fhir, consortium, observation};
use domain::{InstitutionRole, ProfessionalRole, Purpose, Reader};
use serde_json::{Value, json};

/// A hospital with those who watch over its log, and two patients, of whom Anna has a result that the
/// physician read and the nurse was refused.
struct Setting {
    fhir: Fhir,
    patient: String,
    result: String,
}

impl Setting {
    async fn found() -> Self {
        let fhir = Fhir::found().await;
        let (_, patient) = fhir.patient("anna").await;
        let (_, other) = fhir.patient("ben").await;
        let hospital = fhir.world.gateway("hospital").member();
        let reader = Reader::Institution { member: hospital, role: InstitutionRole::Hospital };
        fhir.admit("hospital", reader, Purpose::Operations);
        for (token, role) in [
            ("own officer", ProfessionalRole::PrivacyOfficer),
            ("auditor", ProfessionalRole::Auditor),
        ] {
            let member = consortium::address(token);
            let reader = Reader::Professional { member, role, institution: hospital };
            fhir.admit(token, reader, Purpose::Operations);
        }
        let new = observation(&patient, "2345-7", 5.1);
        let result = fhir.post("physician", "/Observation", &new).await.expect(201).id();
        let path = format!("/Observation/{result}");
        fhir.get("physician", &path).await.expect(200);
        fhir.get("nurse", &path).await.expect(403);
        let new = observation(&other, "2345-7", 5.1);
        fhir.post("physician", "/Observation", &new).await.expect(201);
        fhir.get("physician", "/Observation?code=2345-7").await.expect(200);
        Self { fhir, patient, result }
    }

    /// Anna's events by a search, the newest first.
    async fn events(&self, token: &str, query: &str) -> Vec<Value> {
        let path = format!("/AuditEvent?patient=Patient/{}{query}", self.patient);
        let bundle = self.fhir.get(token, &path).await.expect(200).json();
        let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
        entries.into_iter().map(|entry| entry["resource"].clone()).collect()
    }
}

fn sequence(event: &Value) -> u64 {
    event["id"].as_str().unwrap().strip_prefix("receipt-").unwrap().parse().unwrap()
}

fn part<'v>(event: &'v Value, url: &str) -> Option<&'v str> {
    let parts = event["extension"][0]["extension"].as_array().unwrap();
    parts.iter().find(|part| part["url"] == url).and_then(|part| part["valueString"].as_str())
}

#[tokio::test]
async fn an_event_says_who_read_what_when_and_why() {
    let setting = Setting::found().await;
    let target = format!("&entity=Observation/{}", setting.result);
    let read = setting.events("patient:anna", &format!("{target}&outcome=0&subtype=read")).await;
    // By its id, and then by a search.
    let [_, event] = read.as_slice() else { panic!("{read:#?}") };
    assert_eq!(event["action"], "R");
    assert_eq!(event["purposeOfEvent"][0]["coding"][0]["code"], "TREAT");
    let physician = consortium::address("physician").to_string();
    assert_eq!(event["agent"][0]["altId"], physician.as_str());
    let hospital = consortium::address("hospital").to_string();
    assert_eq!(event["agent"][1]["altId"], hospital.as_str());
    let patient = format!("Patient/{}", setting.patient);
    assert_eq!(event["entity"][0]["what"]["reference"], patient.as_str());
    let version = format!("Observation/{}/_history/1", setting.result);
    assert_eq!(event["entity"][1]["what"]["reference"], version.as_str());
    let checked = setting.fhir.post("physician", "/AuditEvent/$validate", event).await.expect(200);
    assert!(!checked.text.contains("\"error\""), "{}", checked.text);

    let refused = setting.events("patient:anna", "&outcome=4").await;
    let [event] = refused.as_slice() else { panic!("{refused:#?}") };
    assert_eq!(event["agent"][0]["altId"], consortium::address("nurse").to_string());
    assert!(event["outcomeDesc"].as_str().unwrap().contains("no consent"), "{event}");
}

#[tokio::test]
async fn searches_find_by_agent_date_and_action() {
    let setting = Setting::found().await;
    let all = setting.events("hospital", "").await;
    let nurse = consortium::address("nurse");
    let by_nurse = setting.events("hospital", &format!("&altid={nurse}")).await;
    assert_eq!(by_nurse.len(), 1);
    let by_agent = format!("&agent:identifier=urn:salus:member|{nurse}");
    assert_eq!(setting.events("hospital", &by_agent).await, by_nurse);
    assert_eq!(setting.events("hospital", "&date=lt2020-01-01").await, Vec::<Value>::new());
    let later = setting.events("hospital", "&date=gt2020-01-01&_sort=date").await;
    assert!(later.len() > all.len(), "each look is an event, too");
    assert!(later.is_sorted_by_key(sequence));
    assert!(!setting.events("hospital", "&action=E").await.is_empty());
    setting.fhir.get("hospital", "/AuditEvent?_sort=agent").await.expect(400);
    let counted = setting.fhir.get("hospital", "/AuditEvent?_summary=count").await.expect(200);
    assert!(counted.json()["total"].as_u64().unwrap() > 5);
}

/// Who sees what: Anna's events by a search, one of them by its id, and Ben's.
#[tokio::test]
async fn each_reader_sees_their_part() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let event = setting.events("patient:anna", "").await.remove(0);
    let one = format!("/AuditEvent/{}", event["id"].as_str().unwrap());
    let search = format!("/AuditEvent?patient=Patient/{}", setting.patient);
    for (reader, sees) in [
        ("patient:anna", true),
        ("hospital", true),
        ("own officer", true),
        ("auditor", true),
        ("patient:ben", false),
        ("physician", false),
        ("nurse", false),
        ("consultant", false),
        ("paramedic", false),
        // Of another institution.
        ("officer", false),
    ] {
        let read = fhir.get(reader, &one).await;
        let found = fhir.get(reader, &search).await;
        let counted = fhir.get(reader, &format!("{search}&_summary=count")).await;
        let history = fhir.get(reader, &format!("{one}/_history")).await;
        let version = fhir.get(reader, &format!("{one}/_history/1")).await;
        for (path, answer) in [("read", read), ("history", history), ("vread", version)] {
            assert_eq!(answer.status == 200, sees, "{reader} {path}: {}", answer.text);
        }
        let shows = found.text.contains("\"AuditEvent\"");
        assert_eq!(shows, sees, "{reader}: {}", found.text);
        let counts = counted.status == 200 && counted.json()["total"] != 0;
        assert_eq!(counts, sees, "{reader}: {}", counted.text);
    }
    // What is all of somebody's own is not all there is.
    let own = fhir.get("patient:ben", "/AuditEvent").await.expect(200);
    assert!(!own.text.contains(&setting.patient), "{}", own.text);
}

#[tokio::test]
async fn looking_at_the_log_is_in_the_log() {
    let setting = Setting::found().await;
    let before = setting.events("patient:anna", "").await;
    let after = setting.events("patient:anna", "").await;
    assert_eq!(after.len(), before.len() + 1);
    let own = &after[0]["agent"][0]["who"]["reference"];
    assert_eq!(own, format!("Patient/{}", setting.patient).as_str());
    // Whoever is refused is in it too.
    let path = format!("/AuditEvent/{}", before[0]["id"].as_str().unwrap());
    setting.fhir.get("nurse", &path).await.expect(404);
    let nurse = setting.events("patient:anna", "").await;
    assert_eq!(nurse[0]["outcome"], "4");
}

#[tokio::test]
async fn pages_do_not_shift_while_the_log_grows() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let newest = sequence(&setting.events("hospital", "").await[0]);
    for sort in ["-date", "date"] {
        let mut path = Some(format!("/AuditEvent?_count=3&_sort={sort}"));
        let mut seen: Vec<u64> = Vec::new();
        while let Some(next) = path.take() {
            // Each page is itself a reason for new receipts.
            let bundle = fhir.get("hospital", &next).await.expect(200).json();
            let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
            seen.extend(entries.iter().map(|entry| sequence(&entry["resource"])));
            let links = bundle["link"].as_array().cloned().unwrap_or_default();
            let link = links.iter().find(|link| link["relation"] == "next");
            let url = link.map(|link| link["url"].as_str().unwrap().to_owned());
            let is_enough = seen.contains(&1) && seen.contains(&newest);
            path = url
                .filter(|_| !is_enough)
                .map(|url| url.strip_prefix(common::BASE).unwrap().to_owned());
        }
        if sort == "-date" {
            seen.reverse();
        }
        let whole: Vec<u64> = (1..).take(seen.len()).collect();
        assert_eq!(seen, whole, "{sort}");
        assert!(seen.contains(&newest), "{sort}: {seen:?}");
    }
}

#[tokio::test]
async fn nobody_writes_an_event() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let event = setting.events("patient:anna", "").await.remove(0);
    let path = format!("/AuditEvent/{}", event["id"].as_str().unwrap());
    let patch = [("content-type", "application/json-patch+json")];
    for token in ["hospital", "patient:anna", "auditor"] {
        fhir.post(token, "/AuditEvent", &event).await.expect(405);
        fhir.put(token, &path, &event).await.expect(405);
        fhir.delete(token, &path).await.expect(405);
        fhir.delete(token, "/AuditEvent?outcome=0").await.expect(405);
        fhir.send(token, Method::PATCH, &path, &patch, "[]".into()).await.expect(405);
        let bundle = json!({
            "resourceType": "Bundle", "type": "transaction",
            "entry": [{ "request": { "method": "POST", "url": "AuditEvent" }, "resource": event }],
        });
        fhir.post(token, "/", &bundle).await.expect(405);
    }
    let statement = fhir.get("", "/metadata").await.expect(200).json();
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let events = resources.iter().find(|one| one["type"] == "AuditEvent").unwrap();
    assert!(!events.to_string().contains("\"create\""), "{events}");
}

#[tokio::test]
async fn an_anchored_receipt_says_where() {
    let setting = Setting::found().await;
    let gatekeeper = &setting.fhir.world.gateway("hospital").gatekeeper;
    let before = setting.events("patient:anna", "").await;
    assert_eq!(part(&before[0], "root"), None);
    gatekeeper.anchor_log().await.unwrap();
    let by_id = format!("&_id={}", before[0]["id"].as_str().unwrap());
    let after = setting.events("patient:anna", &by_id).await;
    let root = part(&after[0], "root").unwrap();
    assert!(part(&after[0], "transaction").unwrap().starts_with("0x"));
    assert_eq!(part(&after[0], "sequence"), part(&before[0], "sequence"));
    let anchor = gatekeeper.receipt_anchor(sequence(&after[0])).await.unwrap();
    assert_eq!(anchor.root.to_string(), root);
    // The log as a whole agrees with it.
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
}
