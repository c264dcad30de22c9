//! Every HL7 R4 example of a type that is served goes the whole way: made, read back, found, deleted.

#![allow(missing_docs, reason = "a test")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{collections::BTreeMap, path::Path, process::Command};

use common::Fhir;
use domain::{InstitutionRole, Purpose, Reader};
use fhir::ACCOUNT_SYSTEM;
use serde_json::{Value, json};

/// Those that this server refuses: three refer to types that R4 does not allow there, and one is about a
/// patient of another server.
const REFUSED: &[&str] = &[
    "Observation/clinical-gender",
    "DeviceMetric/example",
    "MedicationRequest/medrx0301",
    "ServiceRequest/myringotomy",
];

fn examples() -> Option<Vec<Value>> {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/fhir/hl7_r4_examples_selected.tar.xz");
    if !archive.exists() {
        println!("SKIPPED: ../shared/data is not there");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let unpacked =
        Command::new("tar").arg("-xJf").arg(&archive).arg("-C").arg(dir.path()).status().unwrap();
    assert!(unpacked.success());
    let mut found = Vec::new();
    let mut folders = vec![dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "json")
                && let Ok(value) = serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap())
            {
                found.push(value);
            }
        }
    }
    found.sort_by_cached_key(|value| value["id"].to_string());
    Some(found)
}

/// A resource without what the server sets.
fn content(mut value: Value) -> Value {
    let object = value.as_object_mut().unwrap();
    object.remove("id");
    let meta = object.remove("meta").unwrap_or_default();
    let mut meta = meta.as_object().cloned().unwrap_or_default();
    meta.remove("versionId");
    meta.remove("lastUpdated");
    if !meta.is_empty() {
        object.insert("meta".into(), meta.into());
    }
    value
}

/// The ids of patients that a resource refers to.
fn patients_in(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(reference) = members.get("reference").and_then(Value::as_str)
                && let Some(id) = reference.strip_prefix("Patient/")
            {
                found.push(id.split('/').next().unwrap().to_owned());
            }
            members.values().for_each(|member| patients_in(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| patients_in(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn hl7_examples_go_their_whole_way() {
    let Some(examples) = examples() else { return };
    let fhir = Fhir::found().await;
    let member = fhir.world.gateway("hospital").member();
    let system = Reader::Institution { member, role: InstitutionRole::Hospital };
    fhir.admit("hospital", system, Purpose::Treatment);
    let served: Vec<String> = {
        let statement = fhir.get("", "/metadata").await.expect(200).json();
        let resources = statement["rest"][0]["resource"].as_array().unwrap().clone();
        resources.iter().map(|resource| resource["type"].as_str().unwrap().to_owned()).collect()
    };
    let is_served = |value: &&Value| {
        let resource_type = value["resourceType"].as_str().unwrap_or_default();
        // Made from the access log and the care teams, and never written.
        if matches!(resource_type, "AuditEvent" | "Group") {
            return false;
        }
        served.iter().any(|served| served == resource_type) && value["id"].is_string()
    };
    let examples: Vec<&Value> = examples.iter().filter(is_served).collect();
    assert!(examples.len() > 100, "only {} examples", examples.len());

    // Whoever is referred to has to be somebody.
    let mut patients = Vec::new();
    examples.iter().for_each(|example| patients_in(example, &mut patients));
    let of_patient = |value: &&&Value| value["resourceType"] == "Patient";
    patients.extend(
        examples.iter().filter(of_patient).map(|patient| patient["id"].as_str().unwrap().into()),
    );
    patients.sort();
    patients.dedup();
    for id in &patients {
        let actor = fhir.world.meet(id).await;
        let own = Reader::Patient { account: actor.account() };
        fhir.admit(&format!("patient:{id}"), own, Purpose::PatientRequest);
        let account = json!({ "system": ACCOUNT_SYSTEM, "value": actor.account().to_string() });
        let example = examples
            .iter()
            .find(|value| value["resourceType"] == "Patient" && value["id"] == id.as_str());
        let mut patient = example.map_or_else(
            || json!({ "resourceType": "Patient", "id": id }),
            |value| (**value).clone(),
        );
        let identifiers = patient["identifier"].as_array().cloned().unwrap_or_default();
        patient["identifier"] = identifiers.into_iter().chain([account]).collect();
        let path = format!("/Patient/{id}");
        let gatekeeper = &fhir.world.gateway("hospital").gatekeeper;
        gatekeeper.refresh(fhir.world.now()).await.unwrap();
        fhir.put("physician", &path, &patient).await.expect(201);
        let read = fhir.get("physician", &path).await.expect(200).json();
        assert_eq!(content(read), content(patient), "{path}");
    }
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut unexpected: Vec<String> = Vec::new();
    for example in examples.iter().filter(|value| value["resourceType"] != "Patient") {
        let resource_type = example["resourceType"].as_str().unwrap();
        let id = example["id"].as_str().unwrap();
        let (name, path) = (format!("{resource_type}/{id}"), format!("/{resource_type}/{id}"));
        // The institution's own system brings in what is beyond a physician, and patients read it.
        let mut subjects = Vec::new();
        for member in ["subject", "patient", "beneficiary", "individual", "for"] {
            patients_in(&example[member], &mut subjects);
        }
        let is_clinical = fhir.put("physician", &path, example).await.status != 403;
        let reader = match (is_clinical, subjects.first()) {
            (false, Some(patient)) => format!("patient:{patient}"),
            _ => "physician".into(),
        };
        let writer = if is_clinical { "physician" } else { "hospital" };
        let made = fhir.put(writer, &path, example).await;
        if !matches!(made.status.as_u16(), 200 | 201) {
            // What it is about may be of a type that is not served, or come later.
            let is_about_nothing = made.text.contains("is not a resource here");
            let no_patient =
                made.status == 422 && (made.text.contains("names its patient") || is_about_nothing);
            if !(no_patient || REFUSED.contains(&name.as_str())) {
                unexpected.push(format!("{name}: {} {}", made.status, made.text));
            }
            *outcomes
                .entry(if no_patient { "names no patient" } else { "refused" })
                .or_default() += 1;
            continue;
        }
        let mut reader = reader;
        if resource_type == "Provenance" {
            // It is about several kinds, which is beyond a physician, and names no patient itself.
            for id in &patients {
                let patient = format!("patient:{id}");
                if fhir.get(&patient, &path).await.status == 200 {
                    reader = patient;
                }
            }
        }
        let read = fhir.get(&reader, &path).await.expect(200).json();
        assert_eq!(content(read), content((**example).clone()), "{name}");
        let found = fhir.get(&reader, &format!("/{resource_type}?_id={id}")).await.expect(200);
        assert_eq!(found.names(), [name.as_str()]);
        fhir.delete(writer, &path).await.expect(204);
        fhir.get(&reader, &path).await.expect(410);
        *outcomes.entry("whole way").or_default() += 1;
    }
    println!("{outcomes:?}");
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n"));
    assert!(outcomes["whole way"] > 100, "{outcomes:?}");
    fhir.world.assert_clean("hospital").await;
}
