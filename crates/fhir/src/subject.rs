//! Whose record a resource is.

use domain::Kind;
use serde::Deserialize;
use serde_json::Value;

/// Where each type names its patient, the first that does counts.
///
/// # Source
///
/// FHIR R4, the compartment definition of Patient, and each resource's own page.
const SUBJECT_MEMBERS: &[&str] =
    &["subject", "patient", "beneficiary", "individual", "for", "securityContext"];

/// What a resource is to this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// A patient: what their other records are about.
    Patient,
    /// A record about a patient, by the id of their `Patient` resource.
    Record {
        /// The patient's id.
        patient: String,
        /// What it is about.
        kind: Kind,
    },
    /// About no patient: it belongs to the institution's directory.
    Directory,
}

/// Why nobody can tell whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NatureError {
    /// What such a resource says is about somebody, and it does not say about whom.
    #[error(
        "a {0} of this server names its patient as `subject`, `patient` or the like, by `Patient/id`, and one only"
    )]
    NoPatient(&'static str),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Coding {
    code: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Concept {
    coding: Vec<Coding>,
}

/// What a resource is. It was validated.
pub(crate) fn nature_of(resource_type: &str, resource: &Value) -> Result<Nature, NatureError> {
    if resource_type == "Patient" {
        return Ok(Nature::Patient);
    }
    let categories = codes(&resource["category"]);
    let categories: Vec<&str> = categories.iter().map(String::as_str).collect();
    let labels: Vec<Coding> = read(&resource["meta"]["security"]);
    let labels: Vec<&str> = labels.iter().map(|label| label.code.as_str()).collect();
    let Some(kind) = Kind::of_resource(resource_type, &categories, &labels) else {
        return Ok(Nature::Directory);
    };
    if let Some(patient) = patient_of(resource) {
        return Ok(Nature::Record { patient, kind });
    }
    match resource_type {
        // An appointment is somebody's, also when it names them in another way.
        "Appointment" => Err(NatureError::NoPatient("Appointment")),
        // A device on the shelf.
        "Device" | "DeviceMetric" if !names_somebody(resource) => Ok(Nature::Directory),
        // A specimen of a river, an observation of a room.
        _ if names_a_thing(resource) => Ok(Nature::Directory),
        // Whatever may be about somebody is not kept as if it were about nobody.
        _ => Err(NatureError::NoPatient("resource")),
    }
}

/// The id of the patient that a resource names. An appointment of several patients names none: it would be
/// one's record, and open what is the others'.
pub(crate) fn patient_of(resource: &Value) -> Option<String> {
    let mut named = subjects(resource).filter_map(patient_id);
    let patient = named.next()?;
    let is_one = resource["resourceType"] != "Appointment" || named.all(|other| other == patient);
    is_one.then(|| patient.to_owned())
}

/// What a resource says it is about.
pub(crate) fn subjects(resource: &Value) -> impl Iterator<Item = &str> {
    let members = SUBJECT_MEMBERS.iter().filter_map(|member| match &resource[*member] {
        Value::Array(several) => several.first().and_then(|one| one["reference"].as_str()),
        one => one["reference"].as_str(),
    });
    // An appointment is about the patient who takes part in it.
    let is_appointment = resource["resourceType"] == "Appointment";
    let parts = resource["participant"].as_array().filter(|_| is_appointment);
    let actors = parts.into_iter().flatten().filter_map(|part| part["actor"]["reference"].as_str());
    members.chain(actors)
}

/// The id in a reference to a patient of this server, or to a version. Addresses at this server were
/// made relative; a patient of another server is somebody else, whatever the id.
pub(crate) fn patient_id(reference: &str) -> Option<&str> {
    let id = reference.strip_prefix("Patient/")?.split('/').next()?;
    r4::is_id(id).then_some(id)
}

/// Whether it says that it is about anything, in any way.
fn names_somebody(resource: &Value) -> bool {
    SUBJECT_MEMBERS.iter().any(|member| !resource[*member].is_null())
}

/// Whether everything that it is about is a thing of this server.
fn names_a_thing(resource: &Value) -> bool {
    let things = ["Location/", "Device/", "Substance/", "Medication/"];
    let mut named = subjects(resource).peekable();
    named.peek().is_some()
        && named.all(|reference| things.iter().any(|thing| reference.starts_with(thing)))
}

fn codes(category: &Value) -> Vec<String> {
    let concepts: Vec<Concept> = match category {
        Value::Array(_) => read(category),
        Value::Object(_) => vec![read(category)],
        _ => Vec::new(),
    };
    concepts.into_iter().flat_map(|concept| concept.coding).map(|coding| coding.code).collect()
}

fn read<T: serde::de::DeserializeOwned + Default>(value: &Value) -> T {
    T::deserialize(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(resource: Value, expected: Result<Nature, NatureError>) {
        let resource_type = resource["resourceType"].as_str().unwrap().to_owned();
        assert_eq!(nature_of(&resource_type, &resource), expected);
    }

    #[test]
    fn records_name_their_patient_in_many_ways() {
        let of = |kind| Ok(Nature::Record { patient: "1".into(), kind });
        let reference = json!({ "reference": "Patient/1" });
        check(json!({ "resourceType": "Observation", "subject": reference }), of(Kind::VitalSign));
        check(json!({ "resourceType": "Claim", "patient": reference }), of(Kind::Financial));
        check(json!({ "resourceType": "Coverage", "beneficiary": reference }), of(Kind::Financial));
        check(json!({ "resourceType": "Task", "for": reference }), of(Kind::Order));
        let parts = json!([{ "actor": { "reference": "Practitioner/2" } }, { "actor": reference }]);
        check(json!({ "resourceType": "Appointment", "participant": parts }), of(Kind::Encounter));
        let actors = |others: [Value; 2]| {
            let parts = others.map(|actor| json!({ "actor": actor }));
            json!({ "resourceType": "Appointment", "participant": parts })
        };
        let nobody = || Err(NatureError::NoPatient("Appointment"));
        let child = json!({ "reference": "Patient/2" });
        check(actors([reference.clone(), child]), nobody());
        let room = json!({ "reference": "Location/1" });
        check(actors([room, json!({ "identifier": { "value": "7" } })]), nobody());
        let version = json!({ "reference": "Patient/1/_history/2" });
        check(json!({ "resourceType": "Condition", "subject": version }), of(Kind::Condition));
    }

    #[test]
    fn what_is_about_nobody_is_directory() {
        check(json!({ "resourceType": "Organization" }), Ok(Nature::Directory));
        check(json!({ "resourceType": "Device" }), Ok(Nature::Directory));
        let room = json!({ "reference": "Location/1" });
        check(json!({ "resourceType": "Observation", "subject": room }), Ok(Nature::Directory));
    }

    #[test]
    fn records_without_a_patient_are_refused() {
        check(json!({ "resourceType": "Condition" }), Err(NatureError::NoPatient("resource")));
        for elsewhere in
            ["http://x/fhir/Patient/1", "#p", "Patient?identifier=1", "urn:uuid:1", "Group/1"]
        {
            check(
                json!({ "resourceType": "Observation", "subject": { "reference": elsewhere } }),
                Err(NatureError::NoPatient("resource")),
            );
        }
        check(
            json!({ "resourceType": "Provenance", "target": [{ "reference": "Condition/1" }] }),
            Err(NatureError::NoPatient("resource")),
        );
        let letter = json!({ "reference": "DocumentReference/1" });
        check(
            json!({ "resourceType": "Binary", "securityContext": letter }),
            Err(NatureError::NoPatient("resource")),
        );
    }
}
