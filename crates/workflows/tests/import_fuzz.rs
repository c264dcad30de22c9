//! Spoiled files to import: each is taken whole or refused whole, and a refusal holds nothing of what
//! stands in the file (S1).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;

use std::collections::HashSet;

use mutations::{PLANTED, bytes, fuzz};
use proptest::prelude::*;
use serde_json::{Value, json};
use workflows::import::{SourceFile, parse};

/// A bundle and the same as lines, with the planted word wherever health data would be.
fn samples() -> (Vec<u8>, Vec<u8>) {
    let resources = [
        json!({
            "resourceType": "Patient", "id": "p1", "name": [{ "family": PLANTED }],
            "identifier": [{ "system": "urn:x", "value": PLANTED }],
        }),
        json!({
            "resourceType": "Observation", "id": "o1", "subject": { "reference": "urn:uuid:p1" },
            "category": [{ "coding": [{ "code": "laboratory" }] }], "note": [{ "text": PLANTED }],
        }),
        json!({
            "resourceType": "Condition", "id": "c1", "subject": { "reference": "Patient/p1" },
            "code": { "text": PLANTED }, "meta": { "security": [{ "code": "PSY" }] },
        }),
        json!({ "resourceType": "Organization", "id": "g1", "name": PLANTED }),
    ];
    let entry = |resource: &Value| {
        let url = format!("urn:uuid:{}", resource["id"].as_str().unwrap());
        json!({ "fullUrl": url, "resource": resource })
    };
    let entries: Vec<Value> = resources.iter().map(entry).collect();
    let bundle = json!({ "resourceType": "Bundle", "type": "collection", "entry": entries });
    let lines: Vec<String> = resources.iter().map(Value::to_string).collect();
    let lines = lines.join("\n").replace("urn:uuid:p1", "Patient/p1");
    (bundle.to_string().into_bytes(), lines.into_bytes())
}

/// A text without what stands at `reference`.
fn unreferenced(text: &[u8]) -> String {
    let text = std::str::from_utf8(text).unwrap();
    let (mut kept, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("\"reference\"") {
        let (before, from) = rest.split_at(at + "\"reference\"".len());
        kept.push_str(before);
        let value = from.trim_start().strip_prefix(':').map(str::trim_start);
        let value = value.and_then(|value| value.strip_prefix('"'));
        rest = match value.and_then(|value| value.find('"').map(|end| &value[end..])) {
            Some(after) => after,
            None => from,
        };
    }
    kept + rest
}

#[test]
fn valid_samples_are_taken() {
    let (bundle, lines) = samples();
    for (name, bytes) in [("a.json", bundle), ("a.ndjson", lines)] {
        let parsed = parse(&SourceFile { name: name.into(), bytes }).unwrap();
        assert_eq!(
            (parsed.patients.len(), parsed.resources.len(), parsed.directory.len()),
            (1, 3, 1)
        );
    }
}

#[test]
fn spoiled_files_are_taken_whole_or_refused_without_a_word_of_them() {
    let (bundle, lines) = samples();
    let inputs =
        prop_oneof![(Just("a.json"), bytes(vec![bundle])), (Just("a.ndjson"), bytes(vec![lines])),];
    fuzz(3_000, inputs, |(name, bytes)| {
        let file = SourceFile { name: name.into(), bytes };
        let parsed = match parse(&file) {
            Ok(parsed) => parsed,
            Err(problem) => {
                let told = format!("{problem} {problem:?}");
                prop_assert!(!told.contains(PLANTED), "{told}");
                prop_assert!(told.len() < 2_000, "{told}");
                return Ok(());
            }
        };
        let mut names = HashSet::new();
        let file_text = unreferenced(&file.bytes);
        for resource in &parsed.resources {
            // Its own text, as it stands in the file but for what it refers to, once, and about somebody.
            let is_in_file = file_text.contains(&unreferenced(&resource.body));
            prop_assert!(is_in_file, "{} is not as it was", resource.place);
            prop_assert!(serde_json::from_slice::<Value>(&resource.body).is_ok());
            prop_assert!(names.insert(resource.name()), "{} comes twice", resource.place);
            prop_assert!(!resource.subject.is_empty(), "{} is nobody's", resource.place);
        }
        Ok(())
    });
}
