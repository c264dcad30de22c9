//! Every limit of the FHIR interface, each with its own error. Those on connections, requests in work and
//! time are the gateway's (`salus/tests/gateway_serving.rs`).

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use axum::http::Method;
use common::{Answer, Fhir, observation};
use fhir::{BODY_BYTES_MAX, URL_BYTES_MAX};
use serde_json::{Value, json};

/// What is refused, with its status, the code of its issue, and a part of what is said.
#[track_caller]
fn check(answer: &Answer, status: u16, code: &str, says: &str) {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    let issue = &answer.json()["issue"][0];
    assert_eq!(issue["code"], code, "{issue}");
    assert!(issue["diagnostics"].as_str().unwrap().contains(says), "{issue}");
}

#[tokio::test]
async fn urls_and_bodies_have_a_length() {
    let fhir = Fhir::found().await;
    let long = format!("/Patient?name={}", "x".repeat(URL_BYTES_MAX));
    check(&fhir.get("physician", &long).await, 414, "too-long", "search by POST");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = format!("name={}", "x".repeat(URL_BYTES_MAX / 2));
    let by_post = fhir.send("physician", Method::POST, "/Patient/_search", &form, body).await;
    assert!(by_post.status != 414, "{}", by_post.text);
    let text = "x".repeat(BODY_BYTES_MAX);
    let large = json!({ "resourceType": "Organization", "name": text });
    check(
        &fhir.post("physician", "/Organization", &large).await,
        413,
        "too-long",
        "33554432 bytes",
    );
}

#[tokio::test]
async fn depth_is_bounded_wherever_json_comes_in() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let made = fhir.post("physician", "/Observation", &observation(&patient, "1", 1.0)).await;
    let path = format!("/Observation/{}", made.expect(201).id());
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let resource = format!(r#"{{"resourceType":"Observation","status":{deep}}}"#);
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{resource},
        "request":{{"method":"POST","url":"Observation"}}}}]}}"#
    );
    let patch = format!(r#"[{{"op":"add","path":"/note","value":{deep}}}]"#);
    let json = "application/fhir+json";
    for (method, path, content_type, body) in [
        (Method::POST, "/Observation", json, &resource),
        (Method::POST, "/Observation/$validate", json, &resource),
        (Method::PUT, &*path, json, &resource),
        (Method::POST, "/", json, &bundle),
        (Method::PATCH, &*path, "application/json-patch+json", &patch),
    ] {
        let headers = [("content-type", content_type)];
        let answer = fhir.send("physician", method, path, &headers, body.clone()).await;
        check(&answer, 400, "invalid", "");
    }
}

#[tokio::test]
async fn bundles_and_pages_have_a_number_of_entries() {
    let fhir = Fhir::found().await;
    let bundle = |count: usize| {
        let entry = json!({
            "resource": { "resourceType": "Organization", "name": "Clinic" },
            "request": { "method": "POST", "url": "Organization" },
        });
        json!({ "resourceType": "Bundle", "type": "transaction", "entry": vec![entry; count] })
    };
    let refused = fhir.post("physician", "/", &bundle(5_001)).await;
    check(&refused, 413, "too-costly", "at most 5000 entries");
    fhir.post("physician", "/", &bundle(501)).await.expect(200);
    let page = fhir.get("physician", "/Organization?_count=4000000000").await.expect(200);
    assert_eq!((page.names().len(), &page.json()["total"]), (500, &json!(501)));
    let links = page.json()["link"].as_array().unwrap().clone();
    assert!(links.iter().any(|link| link["relation"] == "next"), "{links:?}");
}

#[tokio::test]
async fn searches_have_a_length() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let get = async |query: &str| fhir.get("physician", &format!("/Observation?{query}")).await;
    let parameters = vec!["code=1"; search::PARAMETERS_MAX + 1].join("&");
    let values = format!("code={}", vec!["1"; search::VALUES_MAX + 1].join(","));
    let sort = format!("_sort={}", ["date"; search::SORT_KEYS_MAX + 1].join(","));
    let chain = format!("subject:Patient.{}name=x", "link:Patient.".repeat(search::DEPTH_MAX + 1));
    for query in [parameters, values, sort, chain] {
        // Strictly, because a lenient search leaves out what it does not understand.
        let strict = [("prefer", "handling=strict")];
        let path = format!("/Observation?{query}");
        let answer = fhir.send("physician", Method::GET, &path, &strict, String::new()).await;
        assert_eq!(answer.status.as_u16(), 400, "{query}: {}", answer.text);
        assert_eq!(answer.json()["issue"][0]["code"], "invalid");
        let lenient = get(&query).await;
        assert!(!lenient.status.is_server_error(), "{query}");
    }
    get(&format!("patient={patient}&_count=x")).await.expect(400);
    let history = format!("/Patient/{patient}/_history?_since=yesterday");
    check(&fhir.get("physician", &history).await, 400, "invalid", "_since");
}

#[tokio::test]
async fn patches_have_a_number_of_operations_and_do_not_swell() {
    let fhir = Fhir::found().await;
    let (_, patient) = fhir.patient("anna").await;
    let made = fhir.post("physician", "/Observation", &observation(&patient, "1", 1.0)).await;
    let path = format!("/Observation/{}", made.expect(201).id());
    let patch = async |operation: Value, count: usize| {
        let headers = [("content-type", "application/json-patch+json")];
        let body = Value::Array(vec![operation; count]).to_string();
        fhir.send("physician", Method::PATCH, &path, &headers, body).await
    };
    let test = json!({ "op": "test", "path": "/status", "value": "final" });
    check(&patch(test, 1_001).await, 422, "too-costly", "at most 1000 operations");
    let copy = json!({ "op": "copy", "from": "/category", "path": "/category/-" });
    check(&patch(copy, 40).await, 422, "too-costly", "copies too much");
}
