//! What workflows seal, over FHIR at the institution that keeps it: read and found under the id that the
//! contract has, and changed by the workflow only.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::{Fhir, consortium::secret};
use domain::{B256, Purpose, Reader};
use fhir::WorkflowCatalogue;
use serde_json::json;
use workflows::{
    Gateway, PatientActor, laboratory,
    record::{self, Draft, Verdict},
};

/// A hospital with a patient, and its gateway as one that enters in the catalogue what it seals.
struct Setting {
    fhir: Fhir,
    hospital: Gateway,
    anna: PatientActor,
    patient: String,
}

impl Setting {
    async fn found() -> Self {
        let fhir = Fhir::found().await;
        let (anna, patient) = fhir.patient("anna").await;
        fhir.world.relate("laboratory", &anna, false).await;
        let hospital = fhir.world.gateway("hospital").clone();
        let database = hospital.gatekeeper.vault().database();
        let catalogue = WorkflowCatalogue::open(database, secret("index").0).await.unwrap();
        let hospital = Gateway { catalogue: Some(Arc::new(catalogue)), ..hospital };
        Self { fhir, hospital, anna, patient }
    }

    /// An order of a test, by its id on chain.
    async fn order(&self) -> B256 {
        let world = &self.fhir.world;
        let (physician, laboratory) = (world.person("physician"), world.gateway("laboratory"));
        let code = json!({ "coding": [{ "system": "http://loinc.org", "code": "600-7" }] });
        let ordered = laboratory::order(
            &self.hospital,
            physician,
            &self.anna,
            laboratory.member(),
            &code,
            world.now(),
        );
        ordered.await.unwrap().0.record.0
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_workflow_seals_is_read_and_found() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let id = format!("{:x}", setting.order().await);
    let read = fhir.get("physician", &format!("/ServiceRequest/{id}")).await.expect(200);
    assert_eq!(read.json()["id"], id);
    assert_eq!(read.json()["meta"]["versionId"], "1");
    let account = setting.anna.account();
    assert_eq!(read.json()["subject"]["reference"], format!("Patient/{account}"));

    let found = [format!("ServiceRequest/{id}")];
    let patient = &setting.patient;
    for query in [
        format!("patient={patient}"),
        format!("subject=Patient/{patient}&code=600-7"),
        format!("patient=Patient/{account}"),
        format!("subject=Patient/{account}"),
        "subject:Patient.family=Family-anna".to_owned(),
        "code=http://loinc.org|600-7".to_owned(),
    ] {
        let names = fhir.get("physician", &format!("/ServiceRequest?{query}")).await.expect(200);
        assert_eq!(names.names(), found, "{query}");
    }
    // Whoever is named by the account is the patient of this server.
    let named = fhir.get("physician", &format!("/Patient/{account}")).await.expect(200);
    assert_eq!(named.id(), *patient);
    let included = "/ServiceRequest?code=600-7&_include=ServiceRequest:subject";
    let included = fhir.get("physician", included).await.expect(200).names();
    assert_eq!(included, [found[0].clone(), format!("Patient/{patient}")]);
    let referring = format!("/Patient?_id={patient}&_revinclude=ServiceRequest:subject");
    let referring = fhir.get("physician", &referring).await.expect(200).names();
    assert_eq!(referring, [format!("Patient/{patient}"), found[0].clone()]);
    for whole in [patient.clone(), account.to_string()] {
        let everything = format!("/Patient/{whole}/$everything");
        let everything = fhir.get("physician", &everything).await.expect(200).names();
        assert!(everything.contains(&found[0]), "{everything:?}");
    }
    let history = fhir.get("physician", &format!("/ServiceRequest/{id}/_history")).await;
    assert_eq!(history.expect(200).json()["total"], 1);

    // Whom the decision refuses learns nothing, whichever way the patient is named (S2).
    let stranger = Reader::Institution {
        member: common::consortium::address("pharmacy"),
        role: domain::InstitutionRole::Pharmacy,
    };
    fhir.admit("stranger", stranger, Purpose::Treatment);
    fhir.get("stranger", &format!("/ServiceRequest/{id}")).await.expect(404);
    fhir.get("stranger", &format!("/Patient/{account}")).await.expect(404);
    for query in [format!("patient=Patient/{account}"), "code=600-7".to_owned()] {
        let found = fhir.get("stranger", &format!("/ServiceRequest?{query}")).await.expect(200);
        assert_eq!(found.json()["total"], 0, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_workflow_seals_is_changed_by_the_workflow_only() {
    let setting = Setting::found().await;
    let fhir = &setting.fhir;
    let id = format!("{:x}", setting.order().await);
    let path = format!("/ServiceRequest/{id}");
    let mut body = fhir.get("physician", &path).await.expect(200).json();
    body["status"] = "revoked".into();
    body["subject"]["reference"] = format!("Patient/{}", setting.patient).into();
    fhir.put("physician", &path, &body).await.expect(403);
    fhir.delete("physician", &path).await.expect(403);
    let patch = json!([{ "op": "replace", "path": "/status", "value": "revoked" }]).to_string();
    let kind = [("content-type", "application/json-patch+json")];
    fhir.send("physician", axum::http::Method::PATCH, &path, &kind, patch).await.expect(403);
    for entry in [
        json!({ "request": { "method": "DELETE", "url": format!("ServiceRequest/{id}") } }),
        json!({
            "resource": body,
            "request": { "method": "PUT", "url": format!("ServiceRequest/{id}") },
        }),
    ] {
        let bundle = json!({ "resourceType": "Bundle", "type": "transaction", "entry": [entry] });
        fhir.post("physician", "/", &bundle).await.expect(403);
    }
    let read = fhir.get("physician", &path).await.expect(200).json();
    assert_eq!((&read["status"], &read["meta"]["versionId"]), (&json!("active"), &json!("1")));
    // An account names the one who has it, and no resource can take its name.
    let account = setting.anna.account();
    let taken = json!({
        "resourceType": "Patient",
        "id": account.to_string(),
        "identifier": [{ "system": fhir::ACCOUNT_SYSTEM, "value": account.to_string() }],
    });
    fhir.put("physician", &format!("/Patient/{account}"), &taken).await.expect(422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_version_is_found_and_one_of_another_type_is_not() {
    let setting = Setting::found().await;
    let (fhir, hospital) = (&setting.fhir, &setting.hospital);
    let (physician, anna, now) = (fhir.world.person("physician"), &setting.anna, fhir.world.now());
    let subject = json!({ "reference": format!("Patient/{}", anna.account()) });
    let problem = |text: &str| Draft {
        kind: domain::Kind::Condition,
        resource: json!({
            "resourceType": "Condition",
            "subject": subject,
            "code": { "coding": [{ "code": text }] },
        }),
    };
    let first = record::propose(hospital, physician, anna, &problem("first"), now).await.unwrap().0;
    record::answer(hospital, anna, &first, Verdict::Accept, now).await.unwrap();
    let second =
        record::amend(hospital, physician, anna, &first, &problem("second"), now).await.unwrap().0;
    record::answer(hospital, anna, &second, Verdict::Accept, now).await.unwrap();
    let name = format!("Condition/{:x}", first.record.0);
    let found = fhir.get("physician", "/Condition?code=second").await.expect(200);
    assert_eq!(found.names(), std::slice::from_ref(&name));
    let found = fhir.get("physician", "/Condition?code=first").await.expect(200);
    assert_eq!(found.json()["total"], 0);
    let older = fhir.get("physician", &format!("/{name}/_history/1")).await.expect(200);
    assert_eq!(older.json()["code"]["coding"][0]["code"], "first");

    // A token that opens conditions must not come to open something else (S2).
    let other = Draft {
        kind: domain::Kind::Condition,
        resource: json!({
            "resourceType": "Observation",
            "status": "final",
            "subject": subject,
            "code": { "text": "planted" },
        }),
    };
    record::amend(hospital, physician, anna, &second, &other, now).await.unwrap();
    for path in [format!("/{name}"), format!("/Observation/{:x}", first.record.0)] {
        let read = fhir.get("physician", &path).await;
        assert!(matches!(read.status.as_u16(), 404 | 410), "{read:?}");
    }
    for query in ["/Condition", "/Observation", "/Condition?code=second"] {
        let found = fhir.get("physician", query).await.expect(200);
        assert!(!found.text.contains("planted"), "{query}");
    }
}
