//! Consent on every path (S2, S3): what a reader may not read is not read, not found, not counted, not
//! included and not exported, whichever way they ask.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::U256;
use alloy_provider::Provider as _;
use axum::http::Method;
use common::{Fhir, consortium::address, observation};
use domain::{Address, Kind, Outcome, Purpose, Reader};
use serde_json::json;
use workflows::{consent, emergency, record, relationship};

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
        assert!(count().await > before, "{name} by the nurse left no receipt");
    }
}

/// The receipts that a request leaves with two patients: for each whether it was allowed, and how many
/// records it names.
async fn told(
    fhir: &Fhir,
    patients: [Address; 2],
    who: &str,
    path: &str,
) -> [Vec<(bool, usize)>; 2] {
    let gatekeeper = &fhir.world.gateway("hospital").gatekeeper;
    let last = async |patient| {
        let found = gatekeeper.receipts_of(patient, None, 1).await.unwrap();
        found.first().map_or(0, |stored| stored.receipt.sequence)
    };
    let before = [last(patients[0]).await, last(patients[1]).await];
    fhir.get(who, path).await;
    let mut told = [Vec::new(), Vec::new()];
    for (index, patient) in patients.into_iter().enumerate() {
        let all = gatekeeper.receipts_of(patient, None, 100).await.unwrap();
        let new = all.into_iter().filter(|one| one.receipt.sequence > before[index]);
        told[index] = new
            .map(|one| match one.receipt.outcome {
                Outcome::Allowed { records, .. } => (true, records.len()),
                Outcome::Refused { .. } => (false, 0),
            })
            .collect();
    }
    told
}

/// What is shown of one patient hides nothing from the other (S5).
#[tokio::test]
async fn each_patient_whom_a_question_reaches_is_told_once() {
    let setting = Setting::found().await;
    let (fhir, anna) = (&setting.fhir, &setting.patient);
    let (ben, other) = fhir.patient("ben-too").await;
    let accounts = [setting.anna.account(), ben.account()];
    for value in 0..3 {
        let result = observation(&other, "2345-7", f64::from(value));
        fhir.post("physician", "/Observation", &result).await.expect(201);
    }
    // The consultant may read laboratory results of the other patient, and nothing of Anna.
    let world = &fhir.world;
    let emergency = world.gateway("emergency").member();
    let terms = world.terms(&[Kind::Laboratory]);
    let hospital = world.gateway("hospital");
    consent::grant(hospital, &ben, emergency, None, &terms, world.now()).await.unwrap();
    let both = format!("Patient/{anna},Patient/{other}");
    let shown = [vec![(false, 0)], vec![(true, 3)]];
    for path in [
        "/Observation".to_owned(),
        "/Observation?code=2345-7".into(),
        format!("/Observation?subject={both}"),
        "/Observation/_history".into(),
    ] {
        assert_eq!(told(fhir, accounts, "consultant", &path).await, shown, "{path}");
    }
    let counted = [vec![(false, 0)], vec![(true, 0)]];
    for path in [
        "/Observation?_summary=count".to_owned(),
        "/Provenance".into(),
        // Named, though nothing was found of either.
        format!("/Observation?patient={both}&code=nothing"),
    ] {
        assert_eq!(told(fhir, accounts, "consultant", &path).await, counted, "{path}");
    }
    let refused = [vec![(false, 0)], vec![(false, 0)]];
    for path in [
        format!("/Condition?subject={both}&code=nothing"),
        format!("/Patient?_id={anna},{other}&name=nobody"),
        format!("/AuditEvent?patient={both}"),
        format!("/Consent?patient={both}"),
        format!("/Observation?subject:Patient._id={anna},{other}&code=nothing"),
    ] {
        assert_eq!(told(fhir, accounts, "nurse", &path).await, refused, "{path}");
    }
}

#[tokio::test]
async fn that_there_is_nothing_is_an_answer() {
    let setting = Setting::found().await;
    let (fhir, patient) = (&setting.fhir, &setting.patient);
    let accounts = [setting.anna.account(); 2];
    let nothing = vec![(true, 0)];
    for path in [
        format!("/Observation?patient={patient}&code=nothing"),
        format!("/Observation?subject=Patient/{patient}&_id=nothing"),
        format!("/Procedure?patient=Patient/{patient}"),
        format!("/Patient?_id={patient}&gender=male"),
        format!("/Observation?_id={}&code=nothing", setting.result),
        format!("/Patient/{patient}/$everything?_type=Procedure"),
        format!("/Provenance?patient={patient}&recorded=lt2000-01-01"),
        format!("/Patient/{patient}/_history?_since=2100-01-01T00:00:00Z"),
    ] {
        let [told, _] = told(fhir, accounts, "physician", &path).await;
        assert_eq!(told, nothing, "{path}");
    }
    // Whom it does not reach has no part in it.
    let [told, _] = told(fhir, accounts, "physician", "/Observation?code=nothing").await;
    assert_eq!(told, []);
}

/// Adds rows of records that nobody may read, more than one answer looks through.
async fn crowd(fhir: &Fhir, account: Address) {
    let database = fhir.world.gateway("hospital").gatekeeper.vault().database().clone();
    let mut transaction = database.begin().await.unwrap();
    for number in 0..20_500_i64 {
        sqlx::query(
            "insert into fhir_resources
                (number, type, id, record, patient, kind, version, updated, deleted)
            values ($1, 'Observation', $2, $3, $4, $5, 1, 1, 0)",
        )
        .bind(1_000_000 + number)
        .bind(format!("crowd-{number}"))
        .bind(U256::from(number + 1).to_be_bytes::<32>().to_vec())
        .bind(account.to_vec())
        .bind(i64::from(Kind::Laboratory.number()))
        .execute(&mut *transaction)
        .await
        .unwrap();
    }
    transaction.commit().await.unwrap();
}

/// A limit that counted what somebody may not read would say how much of it there is.
#[tokio::test]
async fn limits_count_what_the_reader_may_read() {
    let setting = Setting::found().await;
    let (fhir, patient) = (&setting.fhir, &setting.patient);
    crowd(fhir, setting.anna.account()).await;
    let found = fhir.get("physician", "/Observation").await.expect(200).json();
    assert_eq!(found["total"], 1);
    for path in ["/Observation/_history", "/Provenance?_summary=count", "/Observation?_sort=-date"]
    {
        fhir.get("physician", path).await.expect(200);
        fhir.get("nurse", path).await.expect(200);
    }
    let everything = format!("/Patient/{patient}/$everything");
    assert!(fhir.get("physician", &everything).await.expect(200).text.contains(PLANTED));
    // Nor does it keep out what the reader may read.
    let included = format!("/Patient?_id={patient}&_revinclude=Observation:patient");
    assert!(fhir.get("physician", &included).await.expect(200).text.contains(PLANTED));
}

#[tokio::test]
async fn caring_ends_with_the_relationship() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let (world, patient) = (&fhir.world, &setting.patient);
    let group = format!("/Group/care-{}", hex::encode(address("physician")));
    let members =
        async || fhir.get("physician", &group).await.expect(200).json()["quantity"].clone();
    assert_eq!(members().await, 2);
    let hospital = world.gateway("hospital");
    let emergency = world.gateway("emergency").member();
    let terms = world.terms(&[Kind::Laboratory]);
    consent::grant(hospital, &setting.anna, emergency, None, &terms, world.now()).await.unwrap();
    let own = format!("/Consent?patient=Patient/{patient}");
    assert_eq!(fhir.get("physician", &own).await.expect(200).json()["total"], 1);
    let grant = fhir.get("physician", &own).await.names().remove(0);
    fhir.delete("physician", &format!("/{grant}")).await.expect(202);

    relationship::end(hospital, &setting.anna, world.now()).await.unwrap();
    assert_eq!(members().await, 1);
    assert_eq!(fhir.get("physician", &own).await.expect(200).json()["total"], 0);
    fhir.delete("physician", &format!("/{grant}")).await.expect(404);
    fhir.get("physician", &format!("/{grant}/$sign")).await.expect(404);
    fhir.delete("physician", &format!("/Observation/{}", setting.result)).await.expect(403);
    assert_eq!(fhir.get("patient:anna", &own).await.expect(200).json()["total"], 1);
}

/// What others read was made earlier than the newest version, and is found by that.
#[tokio::test]
async fn the_version_in_force_is_found_by_its_own_date() {
    let setting = Setting::found().await;
    let (fhir, world) = (&setting.fhir, &setting.fhir.world);
    let hospital = world.gateway("hospital");
    let account = setting.anna.account();
    let path = format!("Observation/{}", setting.result);
    let name = [account.as_slice(), path.as_bytes()].concat();
    let record = domain::RecordId(hospital.keyed_digest("salus/record-id/v1", &name));
    let first = domain::RecordVersion::FIRST;
    let (anchor, _) = hospital.gatekeeper.inclusion(record, first).await.unwrap().unwrap();
    let accepting =
        record::answer(hospital, &setting.anna, &anchor, record::Verdict::Accept, world.now());
    accepting.await.unwrap();
    let emergency = world.gateway("emergency").member();
    let terms = world.terms(&[Kind::Laboratory]);
    consent::grant(hospital, &setting.anna, emergency, None, &terms, world.now()).await.unwrap();
    fhir.advance(common::consortium::DAY);
    let mut next = fhir.get("physician", &format!("/{path}")).await.expect(200).json();
    next["valueQuantity"]["value"] = 6.2.into();
    fhir.put("physician", &format!("/{path}"), &next).await.expect(200);

    let first_day = domain::Timestamp(common::consortium::NOW + 3_600).to_string();
    let found = async |who: &str, query: &str| {
        let everything = format!("/Patient/{}/$everything?_type=Observation", setting.patient);
        let path = match query.split_once('=') {
            Some(("_since", _)) => format!("{everything}&{query}"),
            _ => format!("/Observation?{query}"),
        };
        let answer = fhir.get(who, &path).await;
        if answer.status == 200 { answer.names().len() } else { 0 }
    };
    for (query, consultant, physician) in [
        (format!("_lastUpdated=lt{first_day}"), 1, 0),
        (format!("_lastUpdated=gt{first_day}"), 0, 1),
        (format!("_since={first_day}"), 0, 1),
    ] {
        assert_eq!(found("consultant", &query).await, consultant, "{query}");
        assert_eq!(found("physician", &query).await, physician, "{query}");
    }
}

/// A version that the chain refused for good takes no number away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_does_not_hold_up_what_comes_after() {
    let setting = Setting::found().await;
    let (fhir, world) = (&setting.fhir, &setting.fhir.world);
    let hospital = world.gateway("hospital");
    let path = format!("/Observation/{}", setting.result);
    let mut next = fhir.get("physician", &path).await.expect(200).json();
    next["valueQuantity"]["value"] = 6.2.into();
    let new = observation(&setting.patient, "718-7", 7.0);
    let mut first = new.clone();
    first["id"] = "first".into();
    // There is no ether to pay with, and when there is again, the patient has left.
    let (provider, own) = (world.ledger.provider(), address("hospital"));
    let latest = world.ledger.block(BlockNumberOrTag::Latest).await.unwrap();
    let base_fee = u128::from(latest.header.base_fee_per_gas.unwrap());
    let all = provider.get_balance(own).await.unwrap() - U256::from((2 * base_fee + 1) * 26_250);
    world.sender("hospital").transfer(address("nurse"), all).await.unwrap();
    for (path, body) in [(&*path, &next), ("/Observation/first", &first)] {
        assert_ne!(fhir.put("physician", path, body).await.status.as_u16(), 200, "{path}");
    }
    world.sender("nurse").transfer(own, all / U256::from(2)).await.unwrap();
    relationship::end(hospital, &setting.anna, world.now()).await.unwrap();
    hospital.gatekeeper.refresh(world.now()).await.unwrap();
    let resumed = hospital.gatekeeper.resume_anchoring().await.unwrap();
    assert_eq!((resumed.sent, resumed.given_up.len()), (0, 2));
    world.relate("hospital", &setting.anna, false).await;
    hospital.gatekeeper.refresh(world.now()).await.unwrap();

    for (path, body, version) in [(&*path, &next, "2"), ("/Observation/first", &first, "1")] {
        let refused = fhir.put("physician", path, body).await.expect(409);
        assert!(refused.text.contains("for good"), "{}", refused.text);
        let put = fhir.put("physician", path, body).await;
        assert!(put.status.is_success(), "{path}: {}", put.text);
        let read = fhir.get("physician", path).await.expect(200).json();
        assert_eq!(read["meta"]["versionId"], version, "{path}");
        assert_eq!(read["valueQuantity"], body["valueQuantity"]);
    }
    let history = fhir.get("physician", &format!("{path}/_history")).await.expect(200).json();
    assert_eq!(history["total"], 2);
    world.assert_clean("hospital").await;
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
