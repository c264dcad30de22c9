//! What an import brings beside records is kept in the directory and found; what would stand under
//! somebody else's name is refused, and nothing is kept that nobody finds.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::sync::Arc;

use common::{Fhir, consortium, observation};
use serde_json::{Value, json};
use workflows::import::{ImportReport, Importer, ParsedPatient, SourceFile};

/// Imports files, each a bundle of these resources; patients are met by their ids.
async fn import(fhir: &Fhir, files: &[(&str, &[Value])]) -> ImportReport {
    let gateway = fhir.world.gateway("hospital");
    let secret = |name: &str| consortium::secret(name).0;
    let index = fhir::ImportIndex::open(gateway, secret("index")).await.unwrap();
    let index = index.with_directory(secret("directory"));
    let physician = consortium::address("physician");
    let mut importer = Importer::new(gateway, physician).with(Arc::new(index));
    let files: Vec<_> = files
        .iter()
        .map(|(name, resources)| {
            let entries: Vec<Value> =
                resources.iter().map(|resource| json!({ "resource": resource })).collect();
            let bundle =
                json!({ "resourceType": "Bundle", "type": "collection", "entry": entries });
            Ok(SourceFile { name: (*name).to_owned(), bytes: bundle.to_string().into_bytes() })
        })
        .collect();
    let accounts_of = async |patients: &[ParsedPatient]| {
        let mut accounts = Vec::new();
        for patient in patients {
            let account = fhir.world.meet(&patient.id).await.account();
            let now = fhir.world.now();
            gateway.gatekeeper.join_care_team(account, physician, now).await.unwrap();
            accounts.push(account);
        }
        Ok(accounts)
    };
    importer.take_all(files.into_iter(), fhir.world.now(), accounts_of, |_| ()).await.unwrap();
    importer.finish().await.unwrap()
}

fn patient(id: &str) -> Value {
    json!({ "resourceType": "Patient", "id": id, "name": [{ "family": id }] })
}

fn result(id: &str, patient: &str) -> Value {
    let mut result = observation(patient, "2345-7", 5.1);
    result["id"] = id.into();
    result["performer"] = json!([{ "reference": "Practitioner/doctor" }]);
    result
}

fn clinic(name: &str, number: &str) -> Value {
    json!({ "resourceType": "Organization", "id": "clinic", "name": name,
        "identifier": [{ "system": "urn:clinics", "value": number }] })
}

fn doctor(family: &str) -> Value {
    json!({ "resourceType": "Practitioner", "id": "doctor", "name": [{ "family": family }] })
}

#[track_caller]
fn refused(report: &ImportReport, place: &str, reason: &str) {
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    assert_eq!(problem.place, place, "{problem}");
    assert!(problem.reason.contains(reason), "{problem}");
}

#[tokio::test]
async fn whom_records_refer_to_is_found() {
    let fhir = Fhir::found().await;
    let role = json!({ "resourceType": "PractitionerRole", "id": "role",
        "practitioner": { "reference": "Practitioner/doctor" },
        "organization": { "reference": "Organization/clinic" } });
    let ward = json!({ "resourceType": "Location", "id": "ward", "name": "Ward" });
    let list = json!({ "resourceType": "ValueSet", "id": "codes", "status": "active" });
    let brought = [
        patient("p1"),
        result("r1", "p1"),
        clinic("Clinic", "7"),
        doctor("Wirth"),
        role,
        ward,
        list,
    ];
    let report = import(&fhir, &[("a.json", &brought)]).await;
    assert_eq!(report.problems, []);
    assert_eq!((report.records, report.directory, report.not_records), (2, 4, 1));
    let get = async |path: &str| fhir.get("physician", path).await.expect(200).names();
    assert_eq!(get("/Practitioner?family=wirth").await, ["Practitioner/doctor"]);
    assert_eq!(get("/Organization?identifier=urn:clinics|7").await, ["Organization/clinic"]);
    assert_eq!(get("/Location?name=Ward").await, ["Location/ward"]);
    let with = "/PractitionerRole?_include=PractitionerRole:practitioner";
    assert_eq!(get(with).await, ["PractitionerRole/role", "Practitioner/doctor"]);
    let with = "/Observation?patient=p1&_include=Observation:performer";
    assert_eq!(get(with).await, ["Observation/r1", "Practitioner/doctor"]);
    let read = fhir.get("physician", "/Organization/clinic").await.expect(200).json();
    assert_eq!((&read["name"], &read["meta"]["versionId"]), (&json!("Clinic"), &json!("1")));
    // It is sealed like the rest of the directory.
    fhir.get("nurse", "/Organization/clinic").await.expect(200);
    fhir.get("consultant", "/Organization/clinic").await.expect(404);

    // Again, and with what is known of it elsewhere by now: it stays as it is.
    let again = [clinic("Clinic of the town", "7"), doctor("Wirth")];
    let report = import(&fhir, &[("b.json", &again)]).await;
    assert_eq!(report.problems, []);
    assert_eq!((report.directory, report.already_here), (0, 2));
    let read = fhir.get("physician", "/Organization/clinic").await.expect(200).json();
    assert_eq!(read["name"], "Clinic");
    // It can be written on.
    fhir.put("physician", "/Organization/clinic", &clinic("Clinic of the town", "7"))
        .await
        .expect(200);
}

#[tokio::test]
async fn nothing_is_kept_under_anothers_name() {
    let fhir = Fhir::found().await;
    let first = [patient("p1"), result("r1", "p1"), doctor("Wirth")];
    assert_eq!(import(&fhir, &[("a.json", &first)]).await.problems, []);

    // Another patient's, or another's resource of the directory.
    let report = import(&fhir, &[("b.json", &[patient("p2"), result("r1", "p2")])]).await;
    refused(&report, "entry 1", "another resource with this type and id");
    assert_eq!(report.records, 0);
    let report = import(&fhir, &[("c.json", &[patient("p2"), doctor("Stern")])]).await;
    refused(&report, "entry 1", "another resource with this type and id");
    assert_eq!((report.records, report.directory), (0, 0));
    let room = json!({ "resourceType": "Observation", "id": "room", "status": "final",
        "code": { "text": "Temperature" }, "subject": { "reference": "Location/ward" } });
    fhir.put("physician", "/Observation/room", &room).await.expect(201);
    let report = import(&fhir, &[("d.json", &[patient("p2"), result("room", "p2")])]).await;
    refused(&report, "entry 1", "another resource with this type and id");
    // What this server makes itself.
    let mut consent = json!({ "resourceType": "Consent", "status": "active",
        "patient": { "reference": "Patient/p2" } });
    consent["id"] = format!("grant-{}", "0a".repeat(20)).into();
    let report = import(&fhir, &[("e.json", &[patient("p2"), consent])]).await;
    refused(&report, "entry 1", "the server's own");
    let copied = result("copy.0123456789abcdef.r1", "p2");
    let report = import(&fhir, &[("i.json", &[patient("p2"), copied])]).await;
    refused(&report, "entry 1", "the server's own");

    // A refused file takes nothing with it, and others do not rely on it.
    let files: [(&str, &[Value]); 3] = [
        ("f.json", &[patient("p3"), result("r1", "p3")]),
        ("g.json", &[result("r3", "p3")]),
        ("h.json", &[patient("p2"), result("r2", "p2")]),
    ];
    let report = import(&fhir, &files).await;
    assert_eq!((report.files, report.records, report.problems.len()), (1, 2, 2));
    let problem = report.problems.iter().find(|problem| problem.file == "g.json").unwrap();
    assert!(problem.reason.contains("its patient is in no file"), "{problem}");
    // Everything that was kept is found.
    let found = fhir.get("physician", "/Observation?code=2345-7&_sort=_id").await.expect(200);
    let mut names = found.names();
    names.sort();
    assert_eq!(names, ["Observation/r1", "Observation/r2"]);
    let kept = fhir.world.assert_clean("hospital").await;
    assert_eq!(kept.versions, 4);
}
