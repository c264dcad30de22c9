//! Bulk Data: exports give what the caller may read, at the moment it is sent; imports take in what is
//! uploaded, line by line.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{path::Path, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, header},
};
use common::{Answer, BASE, Fhir, Only, consortium, observation};
use domain::{InstitutionRole, Kind, Purpose, Reader};
use fhir::{ACCOUNT_SYSTEM, Interaction};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use workflows::{PatientActor, consent};

/// The word that only Anna's records have.
const PLANTED: &str = "Planted";

const ASYNC: (&str, &str) = ("prefer", "respond-async");

/// A hospital with two patients, of whom Anna has results.
struct Setting {
    fhir: Fhir,
    anna: PatientActor,
    patient: String,
}

impl Setting {
    async fn found(results: usize) -> Self {
        let fhir = Fhir::found().await;
        let (anna, patient) = fhir.patient("anna").await;
        fhir.patient("ben").await;
        let hospital = fhir.world.gateway("hospital").member();
        let reader = Reader::Institution { member: hospital, role: InstitutionRole::Hospital };
        fhir.admit("hospital", reader, Purpose::Operations);
        let entry = |value: usize| {
            let mut result =
                observation(&patient, "2345-7", f64::from(u32::try_from(value).unwrap()));
            result["note"] = json!([{ "text": PLANTED }]);
            json!({ "request": { "method": "POST", "url": "Observation" }, "resource": result })
        };
        let bundle = json!({
            "resourceType": "Bundle", "type": "transaction",
            "entry": (0..results).map(entry).collect::<Vec<_>>(),
        });
        fhir.post("physician", "/", &bundle).await.expect(200);
        Self { fhir, anna, patient }
    }

    async fn kick_off(&self, token: &str, path: &str) -> Answer {
        self.fhir.send(token, Method::GET, path, &[ASYNC], String::new()).await
    }

    /// Exports, waits, and gives the manifest.
    async fn export(&self, token: &str, path: &str) -> Value {
        let begun = self.kick_off(token, path).await.expect(202);
        self.done(token, &own_path(begun.header("content-location"))).await.expect(200).json()
    }

    /// The state of a job once it does not run any more.
    async fn done(&self, token: &str, path: &str) -> Answer {
        for _ in 0..2_000 {
            let answer = self.fhir.get(token, path).await;
            if answer.status != 202 {
                return answer;
            }
            assert!(!answer.header("x-progress").is_empty());
            assert_eq!(answer.header("retry-after"), "1");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the job does not end");
    }

    /// All lines of all files of a sort.
    async fn lines(&self, token: &str, manifest: &Value, sort: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for file in manifest[sort].as_array().unwrap() {
            let path = own_path(file["url"].as_str().unwrap());
            let answer = self.fhir.get(token, &path).await.expect(200);
            assert_eq!(answer.header("content-type"), "application/fhir+ndjson");
            for line in answer.text.lines() {
                let value: Value = serde_json::from_str(line).unwrap();
                assert_eq!(value["resourceType"], file["type"]);
                lines.push(line.to_owned());
            }
        }
        lines
    }

    async fn import(&self, token: &str, lines: &str) -> Value {
        let headers = [ASYNC, ("content-type", "application/fhir+ndjson")];
        let begun = self
            .fhir
            .send(token, Method::POST, "/$import", &headers, lines.into())
            .await
            .expect(202);
        self.done(token, &own_path(begun.header("content-location"))).await.expect(200).json()
    }

    async fn grant(&self, kinds: &[Kind]) {
        let world = &self.fhir.world;
        let emergency = world.gateway("emergency").member();
        let (hospital, terms) = (world.gateway("hospital"), world.terms(kinds));
        let granting = consent::grant(hospital, &self.anna, emergency, None, &terms, world.now());
        granting.await.unwrap();
    }

    async fn revoke(&self) {
        let world = &self.fhir.world;
        let emergency = world.gateway("emergency").member();
        let hospital = world.gateway("hospital");
        consent::revoke(hospital, &self.anna, emergency, None, world.now()).await.unwrap();
    }

    async fn receipts(&self) -> usize {
        let gatekeeper = &self.fhir.world.gateway("hospital").gatekeeper;
        gatekeeper.receipts_of(self.anna.account(), None, 10_000).await.unwrap().len()
    }
}

fn own_path(url: &str) -> String {
    url.strip_prefix(BASE).unwrap().to_owned()
}

fn group_of(name: &str) -> String {
    format!("care-{}", hex::encode(consortium::address(name)))
}

/// Whether a folder holds a word anywhere.
fn holds(folder: &Path, word: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, word);
        }
        // A file that is gone by now held nothing.
        std::fs::read(&path)
            .is_ok_and(|bytes| bytes.windows(word.len()).any(|window| window == word))
    })
}

#[tokio::test]
async fn each_reader_exports_what_they_may_read() {
    let setting = Setting::found(3).await;
    for (reader, sees) in [
        ("physician", true),
        ("patient:anna", true),
        ("patient:ben", false),
        ("nurse", false),
        ("consultant", false),
        ("paramedic", false),
        ("hospital", false),
    ] {
        let group = format!("/Group/{}/$export", group_of(reader));
        for path in ["/$export", "/Patient/$export", &group, "/$export?_type=Observation"] {
            let begun = setting.kick_off(reader, path).await;
            if begun.status == 404 && path == group && !matches!(reader, "physician" | "nurse") {
                continue;
            }
            let job = own_path(begun.expect(202).header("content-location"));
            let manifest = setting.done(reader, &job).await.expect(200).json();
            assert_eq!(manifest["requiresAccessToken"], true);
            let lines = setting.lines(reader, &manifest, "output").await;
            let found = lines.iter().filter(|line| line.contains(PLANTED)).count();
            assert_eq!(found, if sees { 3 } else { 0 }, "{reader} {path}: {manifest}");
            // Not even that there is something.
            let text = manifest["output"].to_string();
            assert_eq!(text.contains("Observation"), sees, "{reader}");
            setting.fhir.delete(reader, &job).await.expect(202);
            setting.fhir.get(reader, &job).await.expect(404);
        }
    }
    assert!(!holds(setting.fhir.world.dir(), PLANTED.as_bytes()), "something is in the clear");
}

#[tokio::test]
async fn a_revocation_binds_an_export_that_is_done_already() {
    let setting = Setting::found(3).await;
    setting.grant(&[Kind::Laboratory]).await;
    let manifest = setting.export("consultant", "/$export").await;
    let before = setting.receipts().await;
    let lines = setting.lines("consultant", &manifest, "output").await;
    assert_eq!(lines.len(), 3);
    assert!(setting.receipts().await > before, "a download leaves a receipt");
    setting.revoke().await;
    let before = setting.receipts().await;
    assert_eq!(setting.lines("consultant", &manifest, "output").await, Vec::<String>::new());
    assert!(setting.receipts().await > before, "a refused download leaves one, too");
}

#[tokio::test]
async fn a_revocation_binds_the_rest_of_a_download() {
    let setting = Setting::found(250).await;
    setting.grant(&[Kind::Laboratory]).await;
    let manifest = setting.export("consultant", "/$export").await;
    let path = own_path(manifest["output"][0]["url"].as_str().unwrap());
    let request = Request::get(path).header(header::AUTHORIZATION, "Bearer consultant");
    let request = request.body(Body::empty()).unwrap();
    let response = setting.fhir.router.clone().oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    let first = body.next().await.unwrap().unwrap();
    let first = String::from_utf8(first.to_vec()).unwrap();
    assert_eq!(first.lines().count(), 100);
    setting.revoke().await;
    while let Some(rest) = body.next().await {
        assert!(rest.unwrap().is_empty(), "something came after the revocation");
    }
}

#[tokio::test]
async fn a_revocation_binds_an_export_that_was_only_begun() {
    let setting = Setting::found(3).await;
    setting.grant(&[Kind::Laboratory]).await;
    let begun = setting.kick_off("consultant", "/$export").await.expect(202);
    setting.revoke().await;
    let job = own_path(begun.header("content-location"));
    let manifest = setting.done("consultant", &job).await.expect(200).json();
    assert_eq!(setting.lines("consultant", &manifest, "output").await, Vec::<String>::new());
}

#[tokio::test]
async fn requests_that_cannot_be_done_say_why() {
    let setting = Setting::found(1).await;
    let fhir = &setting.fhir;
    let refused = fhir.get("physician", "/$export").await.expect(400);
    assert!(refused.text.contains("respond-async"), "{}", refused.text);
    for query in ["_since=yesterday", "_outputFormat=csv", "_type=Nonsense", "_typeFilter=x"] {
        setting.kick_off("physician", &format!("/$export?{query}")).await.expect(400);
    }
    let lenient = [("prefer", "respond-async, handling=lenient")];
    let passed_over = "/Patient/$export?_typeFilter=x&_outputFormat=ndjson";
    fhir.send("physician", Method::GET, passed_over, &lenient, String::new()).await.expect(202);
    setting.kick_off("physician", "/Group/unknown/$export").await.expect(404);
    let other = format!("/Group/{}/$export", group_of("nurse"));
    setting.kick_off("physician", &other).await.expect(404);
    setting.kick_off("", "/$export").await.expect(401);

    // What the token does not allow is not exported.
    fhir.admit_only("reading", "physician", Only(&[("Observation", Interaction::Read)]));
    let manifest = setting.export("reading", "/$export").await;
    assert_eq!(manifest["output"].as_array().unwrap().len(), 1, "{manifest}");
    assert_eq!(manifest["output"][0]["type"], "Observation");
    setting.kick_off("reading", "/$export?_type=Patient").await.expect(403);
    fhir.admit_only("nothing", "physician", Only(&[]));
    setting.kick_off("nothing", "/$export").await.expect(403);
    // Nor downloaded with it, even if it was exported with more.
    let path = own_path(manifest["output"][0]["url"].as_str().unwrap());
    fhir.get("nothing", &path).await.expect(403);
}

#[tokio::test]
async fn what_changed_since_is_exported_alone() {
    let setting = Setting::found(2).await;
    let first = setting.export("physician", "/Patient/$export").await;
    let since = first["transactionTime"].as_str().unwrap().to_owned();
    setting.fhir.pass();
    let new = observation(&setting.patient, "1-1", 1.0);
    let new = setting.fhir.post("physician", "/Observation", &new).await.expect(201).id();
    setting.fhir.pass();
    // What was written in the very millisecond of the first one may come again, and nothing older.
    let later = since.replace("00Z", "01Z");
    let path = format!("/Patient/$export?_since={later}");
    let manifest = setting.export("physician", &path).await;
    let lines = setting.lines("physician", &manifest, "output").await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(&new));
}

#[tokio::test]
async fn jobs_are_their_owners_and_bounded() {
    let setting = Setting::found(1).await;
    let fhir = &setting.fhir;
    let begun = setting.kick_off("physician", "/$export").await.expect(202);
    let job = own_path(begun.header("content-location"));
    let manifest = setting.done("physician", &job).await.expect(200).json();
    let file = own_path(manifest["output"][0]["url"].as_str().unwrap());
    for stranger in ["hospital", "nurse", "patient:anna"] {
        fhir.get(stranger, &job).await.expect(404);
        fhir.get(stranger, &file).await.expect(404);
        fhir.delete(stranger, &job).await.expect(404);
    }
    fhir.get("physician", &format!("{job}/99")).await.expect(404);
    for _ in 0..4 {
        setting.kick_off("physician", "/$export").await.expect(202);
    }
    let throttled = setting.kick_off("physician", "/$export").await.expect(429);
    assert!(throttled.text.contains("throttled"), "{}", throttled.text);
    setting.kick_off("nurse", "/$export").await.expect(202);
    fhir.delete("physician", &job).await.expect(202);
    setting.kick_off("physician", "/$export").await.expect(202);
    // After a day nothing of it is left.
    let begun = setting.kick_off("hospital", "/$export").await.expect(202);
    let job = own_path(begun.header("content-location"));
    setting.done("hospital", &job).await.expect(200);
    (0..24 * 3_600).for_each(|_| fhir.pass());
    fhir.get("hospital", &job).await.expect(404);
    setting.kick_off("physician", "/$export").await.expect(202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn jobs_that_begin_at_the_same_time_are_all_counted() {
    let setting = Setting::found(1).await;
    let begun =
        futures_util::future::join_all((0..30).map(|_| setting.kick_off("nurse", "/$export")));
    let begun = begun.await;
    let accepted = begun.iter().filter(|answer| answer.status == 202).count();
    assert_eq!(accepted, 5);
    assert!(begun.iter().all(|answer| matches!(answer.status.as_u16(), 202 | 429)));
    // Whoever has too many keeps nobody else out.
    setting.export("physician", "/$export").await;
}

#[tokio::test]
async fn downloads_have_a_number_and_give_their_places_back() {
    let setting = Setting::found(150).await;
    let manifest = setting.export("physician", "/$export?_type=Observation").await;
    let path = own_path(manifest["output"][0]["url"].as_str().unwrap());
    let ask = async |token: &str| {
        let request = Request::get(&path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        setting.fhir.router.clone().oneshot(request).await.unwrap()
    };
    let mut open = Vec::new();
    for _ in 0..4 {
        let response = ask("physician").await;
        assert_eq!(response.status(), 200);
        let mut body = response.into_body().into_data_stream();
        assert!(!body.next().await.unwrap().unwrap().is_empty());
        open.push(body);
    }
    assert_eq!(ask("physician").await.status(), 429);
    // A client that takes its time holds up nobody else.
    let other = setting.export("patient:anna", "/$export?_type=Observation").await;
    assert_eq!(setting.lines("patient:anna", &other, "output").await.len(), 150);
    open.pop();
    assert_eq!(ask("physician").await.status(), 200);
}

/// What somebody may not read is not in what they are told while they wait.
#[tokio::test]
async fn progress_says_nothing_of_what_may_not_be_read() {
    let setting = Setting::found(3).await;
    let database = setting.fhir.world.gateway("hospital").gatekeeper.vault().database().clone();
    let mut transaction = database.begin().await.unwrap();
    for number in 0..5_000_i64 {
        sqlx::query(
            "insert into fhir_resources
                (number, type, id, record, patient, kind, version, updated, deleted)
            values ($1, 'Observation', $2, $3, $4, 0, 1, 1, 0)",
        )
        .bind(1_000_000 + number)
        .bind(format!("crowd-{number}"))
        .bind([&[7; 24][..], &number.to_be_bytes()].concat())
        .bind(setting.anna.account().to_vec())
        .execute(&mut *transaction)
        .await
        .unwrap();
    }
    transaction.commit().await.unwrap();
    let begun = setting.kick_off("nurse", "/$export").await.expect(202);
    let job = own_path(begun.header("content-location"));
    loop {
        let answer = setting.fhir.get("nurse", &job).await;
        if answer.status != 202 {
            break;
        }
        let said = answer.header("x-progress");
        assert!(matches!(said, "begun" | "0 resources listed"), "{said}");
        tokio::task::yield_now().await;
    }
}

/// Those of whom an export gives nothing are told, too, each once (S5).
#[tokio::test]
async fn an_export_is_told_to_everybody_whom_it_reaches() {
    let setting = Setting::found(3).await;
    let (ben, _) = setting.fhir.patient("berta").await;
    let gatekeeper = &setting.fhir.world.gateway("hospital").gatekeeper;
    let count = async |account| gatekeeper.receipts_of(account, None, 1_000).await.unwrap().len();
    let accounts = [setting.anna.account(), ben.account()];
    setting.grant(&[Kind::Laboratory]).await;
    let before = [count(accounts[0]).await, count(accounts[1]).await];
    let manifest = setting.export("consultant", "/$export").await;
    let after = [count(accounts[0]).await, count(accounts[1]).await];
    assert_eq!(after, before.map(|count| count + 1));
    let newest = gatekeeper.receipts_of(accounts[1], None, 1).await.unwrap();
    assert!(!newest[0].receipt.outcome.is_allowed());
    // What was taken back since is told once by a download, however many chunks it has.
    setting.revoke().await;
    setting.lines("consultant", &manifest, "output").await;
    assert_eq!(count(accounts[0]).await, after[0] + 1);
    assert_eq!(count(accounts[1]).await, after[1]);
}

/// Sends a request in a runtime that is gone before anything in the background has run, as in a crash.
fn send_and_crash(fhir: &Fhir, request: Request<Body>) -> String {
    let router = fhir.router.clone();
    let answering = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let response = runtime.block_on(router.oneshot(request)).unwrap();
        assert_eq!(response.status(), 202);
        own_path(response.headers()["content-location"].to_str().unwrap())
    });
    answering.join().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_loses_no_job() {
    let setting = Setting::found(2).await;
    let request = |method: Method, path: &str, body: &str| {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, "Bearer physician")
            .header("prefer", "respond-async")
            .header(header::CONTENT_TYPE, "application/fhir+ndjson")
            .body(Body::from(body.to_owned()))
            .unwrap()
    };
    let job = send_and_crash(&setting.fhir, request(Method::GET, "/$export", ""));
    let manifest = setting.done("physician", &job).await.expect(200).json();
    let lines = setting.lines("physician", &manifest, "output").await;
    assert_eq!(lines.iter().filter(|line| line.contains(PLANTED)).count(), 2);

    let line = observation(&setting.patient, "1-1", 1.0).to_string();
    let job = send_and_crash(&setting.fhir, request(Method::POST, "/$import", &line));
    let failed = setting.done("physician", &job).await.expect(500);
    assert!(failed.text.contains("restarted"), "{}", failed.text);
}

#[tokio::test]
async fn lines_are_taken_in_and_what_is_wrong_is_told_by_line() {
    let setting = Setting::found(1).await;
    let fhir = &setting.fhir;
    let clara = fhir.world.meet("clara").await;
    let own = Reader::Patient { account: clara.account() };
    fhir.admit("patient:clara", own, Purpose::PatientRequest);
    fhir.world.gateway("hospital").gatekeeper.refresh(fhir.world.now()).await.unwrap();
    let mut lines = Vec::new();
    for value in 0..150_u32 {
        let mut result = observation("clara", "777-3", f64::from(value));
        result["id"] = format!("imported-{value}").into();
        lines.push(result.to_string());
    }
    // The patient comes after what is about them.
    let account = clara.account().to_string();
    let patient = json!({
        "resourceType": "Patient", "id": "clara",
        "identifier": [{ "system": ACCOUNT_SYSTEM, "value": account }],
    });
    lines.push(patient.to_string());
    lines.push(String::new());
    let mut wrong = observation("clara", "777-3", 1.0);
    wrong["status"] = PLANTED.into();
    let nobodys = observation("nobody", "777-3", 1.0);
    let event = json!({ "resourceType": "AuditEvent" });
    let twice = lines[0].clone();
    for bad in [wrong.to_string(), nobodys.to_string(), event.to_string(), "{".into(), twice] {
        lines.push(bad);
    }
    let manifest = setting.import("physician", &lines.join("\n")).await;
    assert_eq!(manifest["output"][0]["count"], 151, "{manifest}");
    assert_eq!(manifest["error"][0]["count"], 5, "{manifest}");
    let errors = setting.lines("physician", &manifest, "error").await;
    let numbers: Vec<bool> = (153..158)
        .map(|number| errors.iter().any(|line| line.contains(&format!("line {number}:"))))
        .collect();
    assert_eq!(numbers, [true; 5], "{errors:?}");
    assert!(!errors.concat().contains(PLANTED), "{errors:?}");

    let found = fhir.get("physician", "/Observation?code=777-3&_summary=count").await.expect(200);
    assert_eq!(found.json()["total"], 150);
    let read = fhir.get("patient:clara", "/Observation/imported-7").await.expect(200).json();
    assert_eq!(read["valueQuantity"]["value"], 7.0);
    // Importing opened nothing to anybody.
    fhir.get("nurse", "/Observation/imported-7").await.expect(403);
    fhir.get("consultant", "/Observation/imported-7").await.expect(404);
    // A line with an id replaces what is there.
    let again = lines[7].replace("777-3", "777-4");
    let manifest = setting.import("physician", &again).await;
    assert_eq!(manifest["output"][0]["count"], 1, "{manifest}");
    let read = fhir.get("physician", "/Observation/imported-7/_history").await.expect(200).json();
    assert_eq!(read["total"], 2);
    fhir.world.assert_clean("hospital").await;
}

#[tokio::test]
async fn only_the_institutions_own_people_import_and_only_their_patients() {
    let setting = Setting::found(1).await;
    let fhir = &setting.fhir;
    let line = observation(&setting.patient, "777-3", 1.0).to_string();
    let ndjson = [ASYNC, ("content-type", "application/fhir+ndjson")];
    for stranger in ["consultant", "patient:anna", "scientist"] {
        fhir.send(stranger, Method::POST, "/$import", &ndjson, line.clone()).await.expect(403);
    }
    // Of the hospital, but not caring for the patient: each line is refused.
    let manifest = setting.import("nurse", &line).await;
    assert_eq!(manifest["output"], json!([]));
    assert_eq!(manifest["error"][0]["count"], 1);
    fhir.admit_only("reading", "physician", Only(&[("Observation", Interaction::Read)]));
    let manifest = setting.import("reading", &line).await;
    assert_eq!(manifest["output"], json!([]));
    let found = fhir.get("physician", "/Observation?code=777-3&_summary=count").await.expect(200);
    assert_eq!(found.json()["total"], 0);

    let json_body = [ASYNC, ("content-type", "application/fhir+json")];
    let url = r#"{"resourceType":"Parameters","parameter":[{"name":"inputSource"}]}"#;
    fhir.send("physician", Method::POST, "/$import", &json_body, url.into()).await.expect(415);
    fhir.send("physician", Method::POST, "/$import", &ndjson, " \n".into()).await.expect(400);
    let waiting = [("content-type", "application/fhir+ndjson")];
    fhir.send("physician", Method::POST, "/$import", &waiting, line).await.expect(400);
}

#[tokio::test]
async fn a_group_is_for_whom_its_professional_cares() {
    let setting = Setting::found(1).await;
    let fhir = &setting.fhir;
    let path = format!("/Group/{}", group_of("physician"));
    for reader in ["physician", "hospital"] {
        let group = fhir.get(reader, &path).await.expect(200).json();
        assert_eq!(group["quantity"], 2);
        let checked = fhir.post("physician", "/Group/$validate", &group).await.expect(200);
        assert!(!checked.text.contains("\"error\""), "{}", checked.text);
    }
    for stranger in ["nurse", "consultant", "patient:anna"] {
        fhir.get(stranger, &path).await.expect(404);
        let id = group_of("physician");
        let found = fhir.get(stranger, &format!("/Group?_id={id}")).await.expect(200);
        assert_eq!(found.json()["total"], 0);
    }
    let own = fhir.get("physician", "/Group").await.expect(200);
    assert_eq!(own.names(), [path.trim_start_matches('/')]);
    fhir.post("physician", "/Group", &json!({ "resourceType": "Group" })).await.expect(405);
}
