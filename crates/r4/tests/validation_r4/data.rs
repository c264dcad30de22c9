//! Resources that others wrote.

use std::collections::BTreeMap;

use r4::{Issue, IssueCode, Severity, validate};
use serde_json::Value;

use crate::common;

/// HL7's own examples that are not valid, and why.
const FAULTY_EXAMPLES: &[(&str, &str)] = &[
    ("DeviceMetric-example.json", "the parent is a DeviceDefinition, where R4 allows a Device"),
    (
        "MedicationRequest-medrx0301.json",
        "the performer of the dispensing is a Practitioner, where R4 allows an Organization",
    ),
    ("Observation-clinical-gender.json", "an Encounter performed, which R4 does not allow"),
];

#[test]
fn examples_of_hl7_are_valid() {
    let Some(examples) = common::hl7_examples() else {
        println!("SKIPPED: ../shared/data or the program xz is not there");
        return;
    };
    assert!(examples.len() > 400);
    let mut unexpected = BTreeMap::new();
    for (name, example) in &examples {
        let errors: Vec<_> = validate(example)
            .into_iter()
            .filter(|issue| issue.severity == Severity::Error)
            .collect();
        let is_known = FAULTY_EXAMPLES.iter().any(|(known, _)| known == name);
        if is_known == errors.is_empty() {
            unexpected.insert(name, errors);
        }
    }
    assert!(unexpected.is_empty(), "{} of {}: {unexpected:#?}", unexpected.len(), examples.len());
}

#[test]
fn resources_of_synthea_are_valid() {
    let Some(bundles) = common::synthea(6) else {
        println!("SKIPPED: ../shared/data is not there");
        return;
    };
    for (_, bundle) in &bundles {
        let errors = validate(bundle);
        assert!(errors.is_empty(), "{errors:#?}");
    }
}

/// Names the members of all objects in a value as JSON pointers, those around `resourceType` too.
fn members(value: &Value, at: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                found.push((at.to_owned(), name.clone()));
                members(value, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                members(item, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_misspelled_name_is_always_found() {
    let Some(examples) = common::hl7_examples() else {
        println!("SKIPPED: ../shared/data or the program xz is not there");
        return;
    };
    for (name, example) in examples.iter().filter(|(_, example)| example.to_string().len() < 50_000)
    {
        let mut all = Vec::new();
        members(example, "", &mut all);
        for (at, member) in all.iter().step_by(all.len().div_ceil(10)) {
            let mut misspelled = example.clone();
            let object = misspelled.pointer_mut(at).and_then(Value::as_object_mut).unwrap();
            let value = object.remove(member).unwrap();
            object.insert(format!("{member}z"), value);
            let issues = validate(&misspelled);
            let is_found =
                |issue: &Issue| [IssueCode::Structure, IssueCode::Required].contains(&issue.code);
            assert!(issues.iter().any(is_found), "{name} {at}/{member}");
        }
    }
}
