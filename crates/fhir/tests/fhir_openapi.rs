//! The OpenAPI document as clients get it. Whether answers are as it says, Schemathesis tries
//! (`cargo xtask test`).

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use axum::http::Method;
use common::Fhir;
use serde_json::json;

#[tokio::test]
async fn everybody_may_know_what_there_is() {
    let fhir = Fhir::found().await;
    let answer = fhir.get("", "/openapi.json").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    assert_eq!(document["servers"][0]["url"], common::BASE);
    // The same types as in the CapabilityStatement, each with what can be done with it.
    let statement = fhir.get("", "/metadata").await.expect(200).json();
    for resource in statement["rest"][0]["resource"].as_array().unwrap() {
        let name = resource["type"].as_str().unwrap();
        let paths = &document["paths"];
        assert!(paths[format!("/{name}")]["post"].is_object(), "{name}");
        assert!(paths[format!("/{name}/{{id}}")]["get"]["responses"]["410"].is_object(), "{name}");
    }
    fhir.send("physician", Method::PUT, "/openapi.json", &[], String::new()).await.expect(404);
}

#[tokio::test]
async fn an_empty_answer_names_no_media_type() {
    let fhir = Fhir::found().await;
    let clinic = json!({ "resourceType": "Organization", "id": "clinic", "name": "Clinic" });
    let minimal = [("prefer", "return=minimal")];
    let path = "/Organization/clinic";
    let made = fhir.send("physician", Method::PUT, path, &minimal, clinic.to_string()).await;
    let made = made.expect(201);
    assert_eq!((made.text.as_str(), made.headers.get("content-type")), ("", None));
    let gone = fhir.delete("physician", path).await.expect(204);
    assert_eq!((gone.text.as_str(), gone.headers.get("content-type")), ("", None));
}
