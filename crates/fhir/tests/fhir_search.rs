//! Searches over the FHIR interface: parameters, links, pages, parts.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use axum::http::Method;
use common::{Fhir, observation};
use serde_json::{Value, json};

/// A patient with five results, a visit at a clinic, and the clinic.
struct Setting {
    fhir: Fhir,
    patient: String,
}

impl Setting {
    async fn found() -> Self {
        let fhir = Fhir::found().await;
        let (_, patient) = fhir.patient("anna").await;
        let clinic = json!({ "resourceType": "Organization", "id": "clinic", "name": "Clinic" });
        fhir.put("physician", "/Organization/clinic", &clinic).await.expect(201);
        let visit = json!({
            "resourceType": "Encounter", "id": "visit", "status": "finished",
            "class": {
                "system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB",
            },
            "subject": { "reference": format!("Patient/{patient}") },
            "serviceProvider": { "reference": "Organization/clinic" },
            "period": { "start": "2026-03-04T08:00:00Z", "end": "2026-03-04T12:00:00Z" },
        });
        fhir.put("physician", "/Encounter/visit", &visit).await.expect(201);
        for number in 1..=5_u8 {
            let code = if number < 4 { "2345-7" } else { "718-7" };
            let mut result = observation(&patient, code, f64::from(number));
            result["id"] = format!("o{number}").into();
            result["effectiveDateTime"] = format!("2026-03-0{number}T10:00:00Z").into();
            result["encounter"] = json!({ "reference": "Encounter/visit" });
            fhir.pass();
            fhir.put("physician", &format!("/Observation/o{number}"), &result).await.expect(201);
        }
        Self { fhir, patient }
    }

    async fn names(&self, query: &str) -> Vec<String> {
        self.fhir.get("physician", query).await.expect(200).names()
    }

    async fn check(&self, query: &str, expected: &[&str]) {
        let query = query.replace("PATIENT", &self.patient);
        let names = self.names(&query).await;
        let ids: Vec<_> = names.iter().map(|name| name.rsplit('/').next().unwrap()).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|id| if *id == "PATIENT" { self.patient.as_str() } else { *id })
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
}

#[tokio::test]
async fn parameters_find_what_they_say() {
    let all = Setting::found().await;
    all.check("/Observation", &["o1", "o2", "o3", "o4", "o5"]).await;
    all.check("/Observation?_id=o2,o4", &["o2", "o4"]).await;
    all.check("/Observation?code=http://loinc.org|718-7", &["o4", "o5"]).await;
    all.check("/Observation?code=http://other|718-7", &[]).await;
    all.check("/Observation?code:not=718-7", &["o1", "o2", "o3"]).await;
    all.check("/Observation?patient=PATIENT&date=ge2026-03-04", &["o4", "o5"]).await;
    all.check("/Observation?date=2026-03-02", &["o2"]).await;
    all.check("/Observation?value-quantity=gt3.5", &["o4", "o5"]).await;
    all.check("/Observation?value-quantity=2|http://unitsofmeasure.org|mmol/L", &["o2"]).await;
    all.check("/Observation?encounter=visit&code=718-7", &["o4", "o5"]).await;
    all.check("/Observation?performer:missing=true&_id=o1", &["o1"]).await;
    all.check("/Observation?subject:Patient.gender=male", &[]).await;
    all.check("/Observation?subject:Patient.family=FAMILY&_id=o1", &["o1"]).await;
    all.check("/Observation?encounter.service-provider.name=clin&_id=o1", &["o1"]).await;
    all.check("/Patient?_has:Observation:patient:code=718-7", &["PATIENT"]).await;
    all.check("/Patient?name:contains=amily-an", &["PATIENT"]).await;
    all.check("/Patient?birthdate=1974-12", &["PATIENT"]).await;
    all.check("/Encounter?date=2026-03-04T09:00:00Z", &[]).await;
    all.check("/Encounter?date=gt2026-03-04T09:00:00Z", &["visit"]).await;
}

#[tokio::test]
async fn order_pages_and_parts_are_as_asked() {
    let all = Setting::found().await;
    all.check("/Observation?_sort=-date", &["o5", "o4", "o3", "o2", "o1"]).await;
    all.check("/Observation?_sort=code,-value-quantity", &["o3", "o2", "o1", "o5", "o4"]).await;
    all.check("/Observation?_sort=-_lastUpdated&_count=2", &["o5", "o4"]).await;
    all.check("/Observation?_id=o1&_include=Observation:encounter", &["o1", "visit"]).await;
    let iterated = "/Observation?_id=o1&_include=Observation:encounter&_include:iterate=Encounter:service-provider";
    all.check(iterated, &["o1", "visit", "clinic"]).await;
    all.check(
        "/Encounter?_revinclude=Observation:encounter",
        &["visit", "o1", "o2", "o3", "o4", "o5"],
    )
    .await;

    let page =
        all.fhir.get("physician", "/Observation?_count=2&unknown=1").await.expect(200).json();
    assert_eq!(page["total"], 5);
    let link = |page: &Value, relation: &str| {
        let links = page["link"].as_array().unwrap();
        let link = links.iter().find(|link| link["relation"] == relation)?;
        Some(link["url"].as_str()?.strip_prefix(common::BASE)?.to_owned())
    };
    assert_eq!(link(&page, "self").unwrap(), "/Observation?%5Fcount=2");
    // What is written in between moves nothing.
    all.fhir.delete("physician", "/Observation/o1").await.expect(204);
    let second = link(&page, "next").unwrap();
    all.check(&second, &["o3", "o4"]).await;
    let third = all.fhir.get("physician", &second).await.expect(200).json();
    let third = link(&third, "next").unwrap();
    all.check(&third, &["o5"]).await;
    let last = all.fhir.get("physician", &third).await.expect(200).json();
    assert_eq!(link(&last, "next"), None);
    assert_eq!(link(&last, "previous").unwrap(), second);

    let only = |query: &'static str| async {
        let bundle = all.fhir.get("physician", query).await.expect(200).json();
        let resource = bundle["entry"][0]["resource"].as_object().unwrap().clone();
        let mut members: Vec<_> = resource.keys().cloned().collect();
        members.sort();
        members.join(" ")
    };
    let elements = only("/Observation?_id=o2&_elements=valueQuantity").await;
    assert_eq!(elements, "code id meta resourceType status valueQuantity");
    let text = only("/Observation?_id=o2&_summary=text").await;
    assert_eq!(text, "code id meta resourceType status");
    let count = all.fhir.get("physician", "/Observation?_summary=count").await.expect(200).json();
    assert_eq!((count["total"].as_u64(), count["entry"].as_array()), (Some(4), None));
}

#[tokio::test]
async fn what_is_not_understood_is_said() {
    let all = Setting::found().await;
    let strict = [("prefer", "handling=strict")];
    let get = async |query: &str, headers: &[(&str, &str)]| {
        all.fhir.send("physician", Method::GET, query, headers, String::new()).await
    };
    get("/Observation?unknown=1", &[]).await.expect(200);
    let refused = get("/Observation?unknown=1", &strict).await.expect(400);
    assert!(refused.text.contains("unknown"), "{}", refused.text);
    get("/Observation?date=yesterday", &[]).await.expect(400);
    get("/Observation?_count=x", &[]).await.expect(400);
    get("/Observation?_page=nonsense", &[]).await.expect(410);
    let everything = format!("/Patient/{}/$everything?_type=Encounter", all.patient);
    assert_eq!(get(&everything, &[]).await.expect(200).names(), ["Encounter/visit"]);
    get("/Patient/unknown/$everything", &[]).await.expect(404);
}

#[tokio::test]
async fn capabilities_say_what_there_is() {
    let fhir = Fhir::found().await;
    let statement = fhir.get("", "/metadata").await.expect(200).json();
    let nobody = json!({ "resourceType": "Patient" });
    let outcome = fhir.post("physician", "/Patient/$validate", &nobody).await.expect(200).json();
    assert_eq!(outcome["resourceType"], "OperationOutcome");
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    assert_eq!(resources.len(), 40);
    for resource in resources {
        let name = resource["type"].as_str().unwrap();
        assert!(!resource["searchParam"].as_array().unwrap().is_empty(), "{name}");
        // Each is routed: none of them is "nothing at this path".
        // The access log is not a physician's to read.
        let status = if name == "AuditEvent" { 403 } else { 200 };
        fhir.get("physician", &format!("/{name}")).await.expect(status);
        fhir.get("physician", &format!("/{name}/unknown")).await.expect(404);
    }
    let issues = r4::validate(&statement);
    assert!(issues.is_empty(), "{issues:?}");
}

#[tokio::test]
async fn imported_records_are_found_and_written_on() {
    use workflows::import::{Importer, ParsedPatient, SourceFile};

    let fhir = Fhir::found().await;
    let gateway = fhir.world.gateway("hospital");
    let index =
        fhir::ImportIndex::open(gateway, common::consortium::secret("index").0).await.unwrap();
    let physician = common::consortium::address("physician");
    let mut importer = Importer::new(gateway, physician).with(std::sync::Arc::new(index));
    let entry = |id: &str, resource: serde_json::Value| json!({ "fullUrl": format!("urn:uuid:{id}"), "resource": resource });
    let subject = json!({ "reference": "urn:uuid:a1" });
    let class = json!({ "code": "AMB" });
    let bundle = json!({ "resourceType": "Bundle", "type": "collection", "entry": [
        entry("a1", json!({ "resourceType": "Patient", "id": "pat-1", "name": [{ "family": "Imported" }] })),
        entry("b2", json!({ "resourceType": "Encounter", "id": "visit-1", "status": "finished",
            "class": class, "subject": subject })),
        entry("c3", json!({ "resourceType": "Observation", "id": "obs-1", "status": "final",
            "code": { "coding": [{ "system": "http://loinc.org", "code": "2345-7" }] },
            "subject": subject, "encounter": { "reference": "urn:uuid:b2" } })),
    ]});
    let file = SourceFile { name: "a.json".into(), bytes: bundle.to_string().into_bytes() };
    let mut accounts = Vec::new();
    let accounts_of = async |patients: &[ParsedPatient]| {
        for patient in patients {
            accounts.push(fhir.world.meet(&patient.id).await.account());
        }
        Ok(accounts.clone())
    };
    let files = std::iter::once(Ok(file));
    importer.take_all(files, fhir.world.now(), accounts_of, |_| ()).await.unwrap();
    let report = importer.finish().await.unwrap();
    assert_eq!((report.records, report.problems), (3, vec![]));

    // Nobody finds them who does not care for the patient.
    let get = async |path: &str| fhir.get("physician", path).await.expect(200);
    assert_eq!(get("/Observation?code=2345-7").await.json()["total"], 0);
    let hospital = &gateway.gatekeeper;
    hospital.join_care_team(accounts[0], physician, fhir.world.now()).await.unwrap();
    let found =
        get("/Observation?patient=pat-1&encounter=visit-1&_include=Observation:encounter").await;
    assert_eq!(found.names(), ["Observation/obs-1", "Encounter/visit-1"]);
    let resource = &found.json()["entry"][0]["resource"];
    assert_eq!(resource["subject"]["reference"], "Patient/pat-1");
    assert_eq!(resource["encounter"]["reference"], "Encounter/visit-1");
    assert_eq!(get("/Patient?family=imported").await.names(), ["Patient/pat-1"]);

    let patch = r#"[{"op":"replace","path":"/status","value":"amended"}]"#;
    let json_patch = [("content-type", "application/json-patch+json")];
    fhir.pass();
    let path = "/Observation/obs-1";
    let patched = fhir.send("physician", Method::PATCH, path, &json_patch, patch.into()).await;
    assert_eq!(patched.expect(200).json()["meta"]["versionId"], "2");
    assert_eq!(get("/Observation?status=amended").await.names(), ["Observation/obs-1"]);
    assert_eq!(get("/Observation?status=final").await.names(), Vec::<String>::new());
    fhir.world.assert_clean("hospital").await;
}
