//! Batches and transactions.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use common::{Fhir, observation};
use serde_json::{Value, json};

fn entry(full_url: &str, method: &str, url: &str, resource: &Value) -> Value {
    let mut entry = json!({ "request": { "method": method, "url": url } });
    if !full_url.is_empty() {
        entry["fullUrl"] = full_url.into();
    }
    if !resource.is_null() {
        entry["resource"] = resource.clone();
    }
    entry
}

fn bundle(kind: &str, entries: &[Value]) -> Value {
    json!({ "resourceType": "Bundle", "type": kind, "entry": entries })
}

fn statuses(answer: &Value) -> Vec<u16> {
    let entries = answer["entry"].as_array().unwrap();
    let status =
        |entry: &Value| entry["response"]["status"].as_str().unwrap()[..3].parse().unwrap();
    entries.iter().map(status).collect()
}

#[tokio::test]
async fn transaction_makes_what_refers_to_each_other() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let encounter = json!({
        "resourceType": "Encounter", "status": "finished",
        "class": { "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB" },
        "subject": { "reference": format!("Patient/{patient}") },
        "serviceProvider": { "reference": "urn:uuid:clinic" },
    });
    let mut result = observation(&patient, "2345-7", 5.5);
    result["encounter"] = json!({ "reference": "urn:uuid:visit" });
    let sent = bundle(
        "transaction",
        &[
            entry("urn:uuid:result", "POST", "Observation", &result),
            entry("urn:uuid:visit", "POST", "Encounter", &encounter),
            entry(
                "urn:uuid:clinic",
                "POST",
                "Organization",
                &json!({ "resourceType": "Organization", "name": "Clinic" }),
            ),
            entry("", "GET", &format!("Patient/{patient}"), &Value::Null),
        ],
    );
    let answer = fhir.post("physician", "/", &sent).await.expect(200).json();
    assert_eq!(statuses(&answer), [201, 201, 201, 200]);
    let location = |index: usize| {
        let location = answer["entry"][index]["response"]["location"].as_str().unwrap();
        location.split("/_history").next().unwrap().to_owned()
    };
    let stored = fhir.get("physician", &format!("/{}", location(0))).await.expect(200).json();
    assert_eq!(stored["encounter"]["reference"], location(1));
    let visit = fhir.get("physician", &format!("/{}", location(1))).await.expect(200).json();
    assert_eq!(visit["serviceProvider"]["reference"], location(2));

    // What came in a batch on chain can be replaced and deleted one by one.
    fhir.pass();
    let mut next = stored.clone();
    next["status"] = "amended".into();
    let path = format!("/{}", location(0));
    fhir.put("physician", &path, &next).await.expect(200);
    fhir.delete("physician", &path).await.expect(204);
    fhir.world.assert_clean("hospital").await;
}

#[tokio::test]
async fn transaction_happens_whole_or_not_at_all() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let good = observation(&patient, "2345-7", 5.5);
    let clinic = json!({ "resourceType": "Organization", "name": "Clinic" });
    let bad = json!({ "resourceType": "Observation", "status": "nonsense" });
    let sent = bundle(
        "transaction",
        &[
            entry("", "POST", "Observation", &good),
            entry(
                "",
                "PUT",
                "Organization/clinic",
                &json!({
            "resourceType": "Organization", "id": "clinic", "name": "Clinic" }),
            ),
            entry("", "POST", "Observation", &bad),
        ],
    );
    let refused = fhir.post("physician", "/", &sent).await.expect(422).json();
    let place = refused["issue"][0]["expression"][0].as_str().unwrap();
    assert!(place.starts_with("Bundle.entry[2].resource"), "{place}");
    fhir.get("physician", "/Organization/clinic").await.expect(404);
    assert_eq!(fhir.get("physician", "/Observation").await.expect(200).json()["total"], 0);

    let twice = bundle(
        "transaction",
        &[
            entry(
                "",
                "PUT",
                "Organization/a",
                &json!({
            "resourceType": "Organization", "id": "a", "name": "A" }),
            ),
            entry("", "DELETE", "Organization/a", &Value::Null),
        ],
    );
    fhir.post("physician", "/", &twice).await.expect(404);
    fhir.put(
        "physician",
        "/Organization/a",
        &json!({
        "resourceType": "Organization", "id": "a", "name": "A" }),
    )
    .await
    .expect(201);
    fhir.post("physician", "/", &twice).await.expect(400);
    fhir.post("physician", "/", &bundle("transaction", &[entry("", "POST", "", &clinic)]))
        .await
        .expect(400);
    fhir.post("physician", "/", &bundle("nonsense", &[])).await.expect(400);
    fhir.post("physician", "/", &clinic).await.expect(400);
    fhir.world.assert_clean("hospital").await;
}

#[tokio::test]
async fn transaction_replaces_and_deletes() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let made = async |code| {
        let new = observation(&patient, code, 1.0);
        fhir.post("physician", "/Observation", &new).await.expect(201)
    };
    let one = made("1").await.json();
    let two = made("2").await.id();
    let id = one["id"].as_str().unwrap();
    let mut next = one.clone();
    next["status"] = "amended".into();
    fhir.pass();
    let sent = bundle(
        "transaction",
        &[
            entry("", "GET", &format!("Observation/{id}"), &Value::Null),
            entry("", "PUT", &format!("Observation/{id}"), &next),
            entry("", "DELETE", &format!("Observation/{two}"), &Value::Null),
            entry("", "POST", "Observation", &observation(&patient, "3", 3.0)),
        ],
    );
    let answer = fhir.post("physician", "/", &sent).await.expect(200).json();
    assert_eq!(statuses(&answer), [200, 200, 204, 201]);
    assert_eq!(answer["entry"][0]["resource"]["status"], "amended", "reads come last");
    fhir.get("physician", &format!("/Observation/{two}")).await.expect(410);
    fhir.world.assert_clean("hospital").await;
}

#[tokio::test]
async fn batch_answers_each_entry_by_itself() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let sent = bundle(
        "batch",
        &[
            entry("", "GET", "Observation/unknown", &Value::Null),
            entry("", "POST", "Observation", &observation(&patient, "1", 1.0)),
            entry("", "GET", &format!("Observation?subject=Patient/{patient}"), &Value::Null),
            entry("", "POST", "Observation", &json!({ "resourceType": "Observation" })),
        ],
    );
    let answer = fhir.post("physician", "/", &sent).await.expect(200).json();
    assert_eq!(statuses(&answer), [404, 201, 200, 422]);
    assert_eq!(answer["entry"][2]["resource"]["total"], 1);
    assert_eq!(answer["entry"][0]["response"]["outcome"]["resourceType"], "OperationOutcome");
}

#[tokio::test]
async fn conditions_find_what_is_there() {
    let fhir = Fhir::found().await;
    let clinic = json!({
        "resourceType": "Organization", "name": "Clinic",
        "identifier": [{ "system": "urn:x", "value": "77" }],
    });
    let create = async |body: Value| {
        let headers = [("if-none-exist", "identifier=urn:x|77")];
        let method = axum::http::Method::POST;
        fhir.send("physician", method, "/Organization", &headers, body.to_string()).await
    };
    let id = create(clinic.clone()).await.expect(201).id();
    assert_eq!(create(clinic.clone()).await.expect(200).id(), id);
    let query = "/Organization?identifier=urn:x%7C77";
    let updated = fhir.put("physician", query, &clinic).await.expect(200);
    assert_eq!((updated.id(), updated.header("etag")), (id.clone(), "W/\"2\""));
    fhir.post("physician", "/Organization", &clinic).await.expect(201);
    create(clinic.clone()).await.expect(412);
    fhir.put("physician", query, &clinic).await.expect(412);
    fhir.delete("physician", query).await.expect(412);
    fhir.delete("physician", &format!("/Organization?_id={id}")).await.expect(204);
    fhir.delete("physician", "/Organization?name=nothing").await.expect(404);
    fhir.delete("physician", "/Organization").await.expect(412);
}

#[tokio::test]
async fn references_may_say_whom_they_mean() {
    let fhir = Fhir::found().await;
    let (anna, patient) = fhir.patient("anna").await;
    fhir.patient("ben").await;
    let mut result = observation(&patient, "2345-7", 5.5);
    let about = |query: &str| format!("Patient?{query}");
    let account = about(&format!("identifier={}|{}", fhir::ACCOUNT_SYSTEM, anna.account()));
    result["subject"] = json!({ "reference": account });
    let sent = bundle("transaction", &[entry("", "POST", "Observation", &result)]);
    let answer = fhir.post("physician", "/", &sent).await.expect(200).json();
    assert_eq!(statuses(&answer), [201]);
    let found = fhir.get("physician", &format!("/Observation?patient={patient}")).await;
    let subject = found.expect(200).json()["entry"][0]["resource"]["subject"].clone();
    assert_eq!(subject, json!({ "reference": format!("Patient/{patient}") }));
    // Nobody, and more than one.
    for query in ["identifier=nobody", "gender=female"] {
        result["subject"] = json!({ "reference": about(query) });
        let sent = bundle("transaction", &[entry("", "POST", "Observation", &result)]);
        fhir.post("physician", "/", &sent).await.expect(412);
    }
    // Outside of a transaction it means nothing.
    fhir.post("physician", "/Observation", &result).await.expect(422);
}
