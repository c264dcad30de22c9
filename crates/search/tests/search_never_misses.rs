//! That whatever matches a query is a candidate.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use common::{Place, filled, index, resource_type_of, updated};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use search::{Handling, IndexValue, Parameter, Query, Scope, extract, matches};
use serde_json::{Value, json};

on_both! {
    examples_are_found_by_each_of_their_values,
    index_never_misses,
}

/// A query that means this value.
fn query_for(parameter: &Parameter, value: &IndexValue<'_>) -> Option<String> {
    let escaped = |text: &str| {
        text.replace('\\', r"\\").replace(',', r"\,").replace('|', r"\|").replace('$', r"\$")
    };
    let date = |ms: i64| {
        let instant = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
        let format = time::format_description::well_known::Iso8601::DATE_TIME_OFFSET;
        let text = instant.unwrap().format(&format).unwrap();
        // It writes nanoseconds.
        Some(text)
    };
    let name = parameter.name();
    let value = match *value {
        IndexValue::Token { system, code: Some(code), is_plain, .. } => match system {
            Some(system) => format!("{}|{}", escaped(system), escaped(code)),
            None if is_plain => escaped(code),
            None => format!("|{}", escaped(code)),
        },
        IndexValue::Token { text: Some(text), .. } => {
            return Some(format!("{name}:text\n{}", escaped(text)));
        }
        IndexValue::Reference { address: Some(address), .. } => escaped(address),
        IndexValue::Reference { identifier: Some((_, Some(value))), .. } => {
            return Some(format!("{name}:identifier\n{}", escaped(value)));
        }
        IndexValue::String { text, .. } => escaped(text),
        IndexValue::Uri(uri) => escaped(uri),
        IndexValue::Date { first_ms, .. } if first_ms > i64::MIN => {
            format!("le{}", date(first_ms)?)
        }
        IndexValue::Date { last_ms, .. } => format!("ge{}", date(last_ms)?),
        IndexValue::Number { low, .. } if low.is_finite() => format!("le{low}"),
        IndexValue::Number { high, .. } => format!("ge{high}"),
        _ => return None,
    };
    Some(format!("{name}\n{value}"))
}

async fn examples_are_found_by_each_of_their_values(place: Place) {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/fhir/hl7_r4_examples_selected.tar.xz");
    if !archive.exists() {
        eprintln!("SKIPPED: no HL7 examples at ../shared/data/fhir");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut tar = Command::new("tar");
    let status = tar.arg("-xJf").arg(&archive).arg("-C").arg(folder.path()).status().unwrap();
    assert!(status.success());

    let mut resources = Vec::new();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let resource: Value =
            serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap();
        if search::resource_types().any(|name| name == resource["resourceType"]) {
            resources.push(resource);
        }
    }
    assert!(resources.len() > 300);
    let mut transaction = filled(&place, &resources).await;
    let mut searched = BTreeSet::new();
    let mut values = 0;
    for (number, resource) in (1..).zip(&resources) {
        let resource_type = resource["resourceType"].as_str().unwrap();
        for (parameter, value) in extract(resource_type, resource) {
            let Some(pair) = query_for(parameter, &value) else { continue };
            values += 1;
            let (key, text) = pair.split_once('\n').unwrap();
            let written = [(key.to_owned(), text.to_owned())];
            let query = Query::parse(resource_type, &written, Handling::Strict).unwrap();
            assert!(
                matches(&query, resource_type, resource, updated(number)),
                "{number} {key}={text}"
            );
            // The same search for another example has to be made once only.
            if !searched.insert((resource_type, pair.clone())) {
                continue;
            }
            let found = index().candidates(&mut transaction, &query, Scope::ALL).await.unwrap();
            let missed = (1..).zip(&resources).find(|(number, resource)| {
                matches(&query, resource_type_of(resource), resource, updated(*number))
                    && !found.contains(number)
            });
            assert!(missed.is_none(), "{key}={text}");
        }
    }
    eprintln!("{} examples, {values} values, {} searches", resources.len(), searched.len());
    assert!(searched.len() > 1_000);
}

/// Observations and patients of few words, so that searches often find something.
fn any_resource() -> impl Strategy<Value = Value> {
    let word = || {
        prop::sample::select(vec!["a", "A", "ab", "Ábc", "abcdef", "b c", "c-d", "d|e", "", "ß"])
    };
    let date = || {
        prop::sample::select(vec![
            "2024",
            "2024-01",
            "2024-01-10",
            "2024-01-10T12:00:00Z",
            "2023-12-31",
            "x",
        ])
    };
    let number = || prop::sample::select(vec![-2.0, -0.0, 0.0, 0.5, 5.0, 5.4, 1e9]);
    let reference = || {
        prop::sample::select(vec![
            "Patient/a",
            "Group/a",
            "Patient/b",
            "http://x/Patient/a",
            "urn:uuid:a",
            "#a",
        ])
    };
    let observation = (
        (word(), word(), word(), word()),
        (date(), date(), any::<bool>()),
        (number(), word(), prop::option::of(prop::sample::select(vec!["<", ">="]))),
        reference(),
        any::<[bool; 5]>(),
    );
    let observation = observation.prop_map(
        |(
            (system, code, text, status),
            (date, end, is_period),
            (number, unit, comparator),
            reference,
            has,
        )| {
            let mut resource = json!({"resourceType": "Observation", "id": "a"});
            let fields = resource.as_object_mut().unwrap();
            if has[0] {
                fields.insert("status".into(), json!(status));
            }
            if has[1] {
                let coding = if has[2] {
                    json!({"system": system, "code": code})
                } else {
                    json!({"code": code})
                };
                fields.insert(
                    "code".into(),
                    json!({"coding": [coding, {"code": text}], "text": text}),
                );
            }
            if has[2] {
                fields.insert(
                    "subject".into(),
                    json!({"reference": reference, "identifier": {"value": code}}),
                );
            }
            if has[3] && is_period {
                fields.insert("effectivePeriod".into(), json!({"start": date, "end": end}));
            } else if has[3] {
                fields.insert("effectiveDateTime".into(), json!(date));
            }
            if has[4] {
                let quantity = json!({"value": number, "unit": unit, "comparator": comparator});
                fields.insert("valueQuantity".into(), quantity);
            } else {
                fields.insert("valueString".into(), json!(text));
            }
            resource
        },
    );
    let patient = (word(), word(), word(), date()).prop_map(|(family, given, line, birth)| {
        json!({
            "resourceType": "Patient",
            "id": "b",
            "name": [{"family": family, "given": [given]}],
            "address": [{"line": [line]}],
            "birthDate": birth,
            "meta": {"profile": [format!("http://x/{family}|{given}")]},
        })
    });
    prop_oneof![3 => observation, 1 => patient]
}

fn any_query() -> impl Strategy<Value = (&'static str, String)> {
    let key = prop::sample::select(vec![
        ("Observation", "status"),
        ("Observation", "status:not"),
        ("Observation", "code"),
        ("Observation", "code:not"),
        ("Observation", "code:text"),
        ("Observation", "code:missing"),
        ("Observation", "combo-code"),
        ("Observation", "subject"),
        ("Observation", "subject:Patient"),
        ("Observation", "subject:identifier"),
        ("Observation", "patient"),
        ("Observation", "date"),
        ("Observation", "value-quantity"),
        ("Observation", "value-quantity:missing"),
        ("Observation", "value-string"),
        ("Observation", "value-string:exact"),
        ("Observation", "value-string:contains"),
        ("Observation", "_id"),
        ("Observation", "_id:not"),
        ("Observation", "_lastUpdated"),
        ("Patient", "name"),
        ("Patient", "family"),
        ("Patient", "name:exact"),
        ("Patient", "address"),
        ("Patient", "birthdate"),
        ("Patient", "_profile"),
        ("Patient", "_profile:below"),
        ("Patient", "deceased"),
    ]);
    let value = prop_oneof![
        "(eq|ne|gt|lt|ge|le|sa|eb|ap)?(2024|2024-01|2024-01-10|2024-01-10T12:00|2023-12-31)",
        "(eq|ne|gt|lt|ge|le|sa|eb|ap)?(-2|0|0.0|0.5|5|5.4|1e9)(\\|\\|(a|ab))?",
        "(a|A|ab|abc|ABCDEF|b|b c|c|d|d\\\\\\|e|ß|\\|a|a\\||ab\\|ab|true|false)(,(a|b))?",
        "(Patient/a|Group/a|a|Patient/b|http://x/Patient/a|urn:uuid:a|#a|http://x/ab|http://x/a\\\\\\|ab|http://x)",
    ];
    (key, value)
        .prop_map(|((resource_type, key), value)| (resource_type, format!("{key}\n{value}")))
}

async fn index_never_misses(place: Place) {
    // Strategies are drawn from by hand, because a runner cannot wait for a database.
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), seed);
    let mut draw_resource = || any_resource().new_tree(&mut runner).unwrap().current();
    let mut resources: Vec<_> = (0..300).map(|_| draw_resource()).collect();
    for (number, resource) in (1..).zip(&mut resources) {
        resource["id"] = json!(format!("{}{number}", resource["id"].as_str().unwrap()));
    }
    let mut transaction = filled(&place, &resources).await;
    let (mut searches, mut found_in_all) = (0, 0);
    let mut draw_query = || any_query().new_tree(&mut runner).unwrap().current();
    for _ in 0..2_000 {
        let ((resource_type, one), (other_type, other)) = (draw_query(), draw_query());
        let mut written = vec![one];
        if resource_type == other_type {
            written.push(other);
        }
        let pair = |text: &String| {
            let (key, value) = text.split_once('\n').unwrap();
            (key.to_owned(), value.to_owned())
        };
        let written: Vec<_> = written.iter().map(pair).collect();
        let Ok(query) = Query::parse(resource_type, &written, Handling::Strict) else { continue };
        let found = index().candidates(&mut transaction, &query, Scope::ALL).await.unwrap();
        assert!(found.is_sorted());
        let unique: BTreeSet<_> = found.iter().collect();
        assert_eq!(unique.len(), found.len(), "{written:?}");
        for (number, resource) in (1..).zip(&resources) {
            if matches(&query, resource_type_of(resource), resource, updated(number)) {
                found_in_all += 1;
                assert!(unique.contains(&number), "{written:?} {resource}");
            }
        }
        searches += 1;
    }
    eprintln!("{searches} searches found {found_in_all}");
    assert!(searches > 800 && found_in_all > searches);
}
