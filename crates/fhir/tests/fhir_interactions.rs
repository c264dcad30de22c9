//! Resources over the FHIR interface: made, read, replaced, patched, deleted, with their versions.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::Method;
use common::{Fhir, Only, observation};
use fhir::Interaction;
use serde_json::json;
use tokio::runtime::Handle;

#[tokio::test]
async fn resource_goes_its_whole_way() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let made = fhir.post("physician", "/Observation", &observation(&patient, "2345-7", 5.1)).await;
    let made = made.expect(201);
    let id = made.id();
    assert_eq!(made.header("etag"), "W/\"1\"");
    assert_eq!(made.header("location"), format!("{}/Observation/{id}/_history/1", common::BASE));

    let read = fhir.get("physician", &format!("/Observation/{id}")).await.expect(200);
    assert_eq!(read.json(), made.json());
    assert_eq!(read.header("content-type"), "application/fhir+json; charset=utf-8");
    assert!(read.json()["meta"]["lastUpdated"].as_str().unwrap().ends_with('Z'));
    let known = [("if-none-match", "W/\"1\"")];
    let path = format!("/Observation/{id}");
    let again = fhir.send("physician", Method::GET, &path, &known, String::new()).await;
    again.expect(304);
    let head = fhir.send("physician", Method::HEAD, &path, &[], String::new()).await.expect(200);
    assert_eq!(head.text, "");

    fhir.pass();
    let mut next = observation(&patient, "2345-7", 6.2);
    next["id"] = json!(id);
    let stale = [("if-match", "W/\"7\"")];
    let refused = fhir.send("physician", Method::PUT, &path, &stale, next.to_string()).await;
    refused.expect(412);
    let updated = fhir.put("physician", &path, &next).await.expect(200);
    assert_eq!(updated.header("etag"), "W/\"2\"");
    let first = fhir.get("physician", &format!("{path}/_history/1")).await.expect(200);
    assert_eq!(first.json()["valueQuantity"]["value"], 5.1);
    assert_eq!(first.json()["meta"]["versionId"], "1");

    fhir.pass();
    let patch = r#"[{"op":"replace","path":"/status","value":"amended"}]"#;
    let wrong = fhir.send("physician", Method::PATCH, &path, &[], patch.into()).await;
    wrong.expect(415);
    let json_patch = [("content-type", "application/json-patch+json")];
    let patched =
        fhir.send("physician", Method::PATCH, &path, &json_patch, patch.into()).await.expect(200);
    assert_eq!(patched.json()["status"], "amended");
    assert_eq!(patched.json()["meta"]["versionId"], "3");

    fhir.pass();
    fhir.delete("physician", &path).await.expect(204);
    fhir.get("physician", &path).await.expect(410);
    fhir.delete("physician", &path).await.expect(204);
    let history = fhir.get("physician", &format!("{path}/_history")).await.expect(200).json();
    assert_eq!(history["total"], 4);
    let methods: Vec<_> = history["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["request"]["method"].as_str().unwrap())
        .collect();
    assert_eq!(methods, ["DELETE", "PUT", "PUT", "POST"]);

    fhir.pass();
    let back = fhir.put("physician", &path, &next).await.expect(200);
    assert_eq!(back.json()["meta"]["versionId"], "5");
    fhir.world.assert_clean("hospital").await;
}

#[tokio::test]
async fn text_stays_as_it_was_written() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let body = format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/{patient}"}},"valueQuantity":{{"value":1.10,"unit":"g"}}}}"#
    );
    let made = fhir.send("physician", Method::POST, "/Observation", &[], body).await.expect(201);
    let read = fhir.get("physician", &format!("/Observation/{}", made.id())).await.expect(200);
    assert!(read.text.contains(r#""valueQuantity":{"value":1.10,"unit":"g"}"#), "{}", read.text);
}

#[tokio::test]
async fn bad_requests_say_what_to_do() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let wrong = json!({ "resourceType": "Observation", "status": "nonsense", "colour": 1 });
    let refused = fhir.post("physician", "/Observation", &wrong).await.expect(422).json();
    assert_eq!(refused["resourceType"], "OperationOutcome");
    assert!(refused["issue"].as_array().unwrap().len() >= 3, "{refused}");
    assert!(!refused.to_string().contains("nonsense"), "values are not repeated");

    fhir.get("physician", "/Nonsense").await.expect(404);
    fhir.get("physician", "/Observation/unknown").await.expect(404);
    fhir.post("physician", "/Observation/unknown", &wrong).await.expect(405);
    fhir.post("physician", "/Patient", &observation(&patient, "1", 1.0)).await.expect(400);
    fhir.post("physician", "/Observation", &observation("nobody", "1", 1.0)).await.expect(422);
    let stranger = json!({ "resourceType": "Patient", "gender": "male" });
    fhir.post("physician", "/Patient", &stranger).await.expect(422);
    let send = async |path: &str, headers: &[(&str, &str)], body: &str| {
        fhir.send("physician", Method::POST, path, headers, body.into()).await
    };
    send("/Observation", &[], "{").await.expect(400);
    send("/Observation", &[], r#"{"a":1,"a":2}"#).await.expect(400);
    send("/Observation", &[("content-type", "text/plain")], "x").await.expect(415);
    let xml = [("accept", "application/fhir+xml")];
    let refused =
        fhir.send("physician", Method::GET, "/Patient", &xml, String::new()).await.expect(406);
    assert_eq!(refused.json()["resourceType"], "OperationOutcome");
    let nobody = fhir.get("", "/Patient").await.expect(401);
    assert_eq!(nobody.header("www-authenticate"), "Bearer");
    fhir.get("", "/metadata").await.expect(200);
    let long = format!("/Patient?name={}", "x".repeat(20_000));
    fhir.get("physician", &long).await.expect(414);
}

#[tokio::test]
async fn tokens_narrow_what_may_be_done() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    fhir.admit_only("reading", "physician", Only(&[("Observation", Interaction::Read)]));
    let new = observation(&patient, "1", 1.0);
    let id = fhir.post("physician", "/Observation", &new).await.expect(201).id();
    fhir.get("reading", &format!("/Observation/{id}")).await.expect(200);
    fhir.get("reading", &format!("/Patient/{patient}")).await.expect(403);
    fhir.get("reading", "/Observation").await.expect(403);
    fhir.post("reading", "/Observation", &new).await.expect(403);
    fhir.delete("reading", &format!("/Observation/{id}")).await.expect(403);
}

#[tokio::test]
async fn directory_is_for_the_institution() {
    let fhir = Fhir::found().await;
    let clinic = json!({ "resourceType": "Organization", "name": "Clinic", "active": true });
    let id = fhir.post("physician", "/Organization", &clinic).await.expect(201).id();
    let path = format!("/Organization/{id}");
    assert_eq!(fhir.get("nurse", &path).await.expect(200).json()["name"], "Clinic");
    fhir.get("paramedic", &path).await.expect(404);
    fhir.post("paramedic", "/Organization", &clinic).await.expect(403);
    fhir.delete("nurse", &path).await.expect(204);
    fhir.get("nurse", &path).await.expect(410);
    let history = fhir.get("nurse", &format!("{path}/_history")).await.expect(200);
    assert_eq!(history.json()["total"], 2);
}

/// The newest version of a patient's record of a kind, as it is on chain.
async fn newest_anchor(
    fhir: &Fhir,
    patient: domain::Address,
    kind: domain::Kind,
) -> domain::Anchor {
    let gatekeeper = &fhir.world.gateway("hospital").gatekeeper;
    gatekeeper.refresh(fhir.world.now()).await.unwrap();
    let projection = gatekeeper.projection().await;
    let anchors = projection.records.anchors().map(|entry| entry.anchor);
    let of_patient = anchors.filter(|anchor| anchor.patient == patient && anchor.kind == kind);
    of_patient.max_by_key(|anchor| anchor.version).unwrap()
}

#[tokio::test]
async fn amendments_bind_others_when_the_patient_accepts_them() {
    use workflows::record::{Verdict, answer};

    let fhir = Fhir::found().await;
    let (anna, patient) = fhir.patient("anna").await;
    let made = fhir.post("physician", "/Observation", &observation(&patient, "2345-7", 5.1)).await;
    let id = made.expect(201).id();
    let path = format!("/Observation/{id}");
    let respond = async |verdict| {
        let anchor = newest_anchor(&fhir, anna.account(), domain::Kind::Laboratory).await;
        let hospital = fhir.world.gateway("hospital");
        answer(hospital, &anna, &anchor, verdict, fhir.world.now()).await.unwrap();
    };
    let code = async |who: &str| {
        let read = fhir.get(who, &path).await.expect(200).json();
        read["code"]["coding"][0]["code"].as_str().unwrap().to_owned()
    };
    let found = async |who: &str, code: &str| {
        let found = fhir.get(who, &format!("/Observation?code={code}")).await.expect(200);
        found.json()["total"].as_u64().unwrap()
    };
    respond(Verdict::Accept).await;

    // Until she answers, she reads the one that she accepted, and the hospital the one it works on.
    let mut next = observation(&patient, "718-7", 6.2);
    next["id"] = json!(id);
    fhir.pass();
    fhir.put("physician", &path, &next).await.expect(200);
    assert_eq!(
        (code("physician").await, code("patient:anna").await),
        ("718-7".into(), "2345-7".into())
    );
    assert_eq!((found("physician", "718-7").await, found("physician", "2345-7").await), (1, 0));
    assert_eq!(
        (found("patient:anna", "718-7").await, found("patient:anna", "2345-7").await),
        (0, 1)
    );
    assert_eq!(found("physician", "2345-7&code:not=718-7").await, 0);
    assert_eq!(found("patient:anna", "2345-7&code:not=718-7").await, 1);
    let history = fhir.get("patient:anna", &format!("{path}/_history")).await.expect(200).json();
    assert_eq!(history["total"], 2);

    // She rejects it: everybody reads the one before, and the next one is made from that.
    respond(Verdict::Reject).await;
    assert_eq!(
        (code("physician").await, code("patient:anna").await),
        ("2345-7".into(), "2345-7".into())
    );
    let newer = [("if-match", "W/\"2\"")];
    fhir.send("physician", Method::PUT, &path, &newer, next.to_string()).await.expect(412);
    let newest = [("if-match", "W/\"1\"")];
    fhir.pass();
    let third = fhir.send("physician", Method::PUT, &path, &newest, next.to_string()).await;
    assert_eq!(third.expect(200).json()["meta"]["versionId"], "3");
    respond(Verdict::Accept).await;
    assert_eq!(
        (code("physician").await, code("patient:anna").await),
        ("718-7".into(), "718-7".into())
    );
    assert_eq!(
        (found("patient:anna", "718-7").await, found("patient:anna", "2345-7").await),
        (1, 0)
    );

    // So it is with a deletion.
    fhir.pass();
    fhir.delete("physician", &path).await.expect(204);
    fhir.get("physician", &path).await.expect(410);
    assert_eq!((found("physician", "718-7").await, found("patient:anna", "718-7").await), (0, 1));
    respond(Verdict::Reject).await;
    assert_eq!((found("physician", "718-7").await, found("patient:anna", "718-7").await), (1, 1));
    fhir.pass();
    fhir.delete("physician", &path).await.expect(204);
    respond(Verdict::Accept).await;
    fhir.get("patient:anna", &path).await.expect(410);
    assert_eq!((found("physician", "718-7").await, found("patient:anna", "718-7").await), (0, 0));
    fhir.delete("physician", &path).await.expect(204);
    fhir.world.assert_clean("hospital").await;
}

#[tokio::test]
async fn conditions_say_which_version_is_meant() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let mut body = observation(&patient, "2345-7", 5.1);
    body["id"] = json!("o1");
    let nothing = [("if-none-match", "*")];
    let put = async |headers: &[(&str, &str)]| {
        fhir.pass();
        fhir.send("physician", Method::PUT, "/Observation/o1", headers, body.to_string()).await
    };
    put(&[("if-match", "*")]).await.expect(412);
    put(&nothing).await.expect(201);
    put(&nothing).await.expect(412);
    put(&[("if-match", "*")]).await.expect(200);
    put(&[("if-match", "W/\"2\"")]).await.expect(200);
    // Two at once: one of them was overtaken.
    let stale = [("if-match", "W/\"3\"")];
    let (one, other) = futures_util::join!(put(&stale), put(&stale));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert!(matches!(statuses, [200, 409 | 412]), "{statuses:?}");
}

/// Follows the links to the next pages and returns what they hold, by full URL and version.
async fn all_pages(fhir: &Fhir, who: &str, path: &str) -> (usize, Vec<String>) {
    let (mut pages, mut all) = (0, Vec::new());
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let page = fhir.get(who, &path).await.expect(200).json();
        pages += 1;
        for entry in page["entry"].as_array().into_iter().flatten() {
            let version = entry["response"]["etag"].as_str().unwrap_or_default();
            all.push(format!("{}{version}", entry["fullUrl"].as_str().unwrap()));
        }
        let links = page["link"].as_array().unwrap();
        let link = links.iter().find(|link| link["relation"] == "next");
        let url = link.map(|link| link["url"].as_str().unwrap());
        next = url.map(|url| url.strip_prefix(common::BASE).unwrap().to_owned());
    }
    (pages, all)
}

#[tokio::test]
async fn long_answers_come_in_pages() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let place = json!({ "resourceType": "Location", "name": "Ward" });
    let place = fhir.post("physician", "/Location", &place).await.expect(201).id();
    for number in 0..5 {
        fhir.pass();
        let made = observation(&patient, "2345-7", f64::from(number));
        let id = fhir.post("physician", "/Observation", &made).await.expect(201).id();
        let mut next = observation(&patient, "2345-7", f64::from(number) + 0.5);
        next["id"] = json!(id);
        fhir.pass();
        fhir.put("physician", &format!("/Observation/{id}"), &next).await.expect(200);
    }
    let newest_first = |all: &[String]| {
        let mut sorted = all.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), all.len());
    };
    let (pages, all) = all_pages(&fhir, "physician", "/Observation/_history?_count=3").await;
    newest_first(&all);
    assert_eq!((pages, all.len()), (4, 10));
    assert!(all[0].ends_with("W/\"2\"") && all[1].ends_with("W/\"1\""), "{all:?}");
    // The nurse cares for nobody yet, and is told of nothing.
    assert_eq!(all_pages(&fhir, "nurse", "/Observation/_history").await, (1, vec![]));
    assert_eq!(all_pages(&fhir, "physician", "/Location/_history").await.1.len(), 1);
    assert!(all_pages(&fhir, "physician", "/Location/_history").await.1[0].contains(&place));

    let path = format!("/Patient/{patient}/$everything");
    let (pages, everything) = all_pages(&fhir, "patient:anna", &format!("{path}?_count=4")).await;
    assert_eq!((pages, everything.len()), (2, 6));
    let (_, some) = all_pages(&fhir, "patient:anna", &format!("{path}?_type=Patient")).await;
    assert_eq!(some.len(), 1);
    fhir.get("physician", "/Observation/_history?_page=nonsense").await.expect(400);
    fhir.get("physician", &format!("{path}?_page=nonsense")).await.expect(410);
}

/// A history is of what there was when it was asked for: it does not run after what is written meanwhile,
/// and loses nothing by that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_ends_while_others_write() {
    const WRITES_MAX: usize = 100;
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    for number in 0..3 {
        let made = observation(&patient, "2345-7", f64::from(number));
        fhir.post("physician", "/Observation", &made).await.expect(201);
    }
    // Whenever the server looks at the clock, all of them have been written again.
    let database = fhir.world.gateway("hospital").gatekeeper.vault().database().clone();
    let written = Arc::new(AtomicUsize::new(0));
    let writing = Arc::clone(&written);
    let write = async move || {
        let mut transaction = database.begin().await.unwrap();
        sqlx::query("update fhir_resources set updated = updated + 1 where type = 'Observation'")
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    };
    *fhir.at_each_look.lock() = Some(Box::new(move || {
        if writing.fetch_add(1, Ordering::SeqCst) < WRITES_MAX {
            tokio::task::block_in_place(|| Handle::current().block_on(write()));
        }
    }));
    let history = fhir.get("physician", "/Observation/_history").await.expect(200).json();
    assert_eq!(history["total"], 3, "{history}");
    let written = written.load(Ordering::SeqCst);
    assert!((1..WRITES_MAX / 2).contains(&written), "{written}");
}
