//! What holds for any JSON, and what issues never say.

use proptest::prelude::*;
use r4::{DEPTH_MAX, ISSUES_MAX, validate};
use serde_json::{Value, json};

use crate::check;

/// S1: names of elements, types and sets only.
#[test]
fn issues_quote_no_value() {
    let secret = "Planted-Word";
    let resource = json!({ "resourceType": "Observation", "id": "Planted-Word!", "status": secret, "code": secret,
        "language": [secret], "issued": secret, "valueQuantity": { "value": secret }, "valueBoolean": secret,
        "subject": { "reference": "Planted/Word" }, "text": { "status": secret, "div": secret },
        "note": [{ "text": null, "authorString": 5 }], "Planted-Word": 1, "contained": [{ "resourceType": secret }] });
    let issues = validate(&resource);
    assert!(issues.len() > 8, "{issues:#?}");
    for issue in issues {
        assert!(!format!("{issue:?}").contains("Planted"), "{issue:?}");
    }
}

#[test]
fn issues_and_depth_are_bounded() {
    let mut many = json!({ "resourceType": "Patient", "name": [] });
    many["name"] = (0..10_000).map(|_| json!({ "text": 1 })).collect();
    assert_eq!(validate(&many).len(), ISSUES_MAX);

    let nested = |depth: usize| {
        let mut extension = json!({ "url": "a", "valueInteger": 1 });
        for _ in 1..depth {
            extension = json!({ "url": "a", "extension": [extension] });
        }
        json!({ "resourceType": "Patient", "extension": [extension] })
    };
    check(nested(DEPTH_MAX), &[]);
    let issues = validate(&nested(DEPTH_MAX + 1));
    assert_eq!(issues.iter().map(|issue| issue.code.as_str()).collect::<Vec<_>>(), ["too-costly"]);

    let mut bundle = json!({ "resourceType": "Bundle", "type": "collection" });
    for _ in 0..DEPTH_MAX {
        bundle = json!({ "resourceType": "Bundle", "type": "collection", "entry": [{ "resource": bundle }] });
    }
    assert!(validate(&bundle).iter().any(|issue| issue.code.as_str() == "too-costly"));
}

/// Any JSON, with many names that R4 knows.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        prop::sample::select(
            &[
                "resourceType",
                "id",
                "_id",
                "extension",
                "url",
                "valueString",
                "_valueString",
                "contained",
                "name",
                "given",
                "_given",
                "entry",
                "resource",
                "type",
                "meta",
                "text",
                "div",
                "status",
                "reference",
                "subject",
                "code",
                "coding",
                "system",
                "component",
                "period",
                "start",
                "end",
                "item"
            ][..]
        )
        .prop_map(str::to_owned),
        ".{0,8}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        prop::sample::select(
            &[
                "Patient",
                "Observation",
                "Bundle",
                "Parameters",
                "Condition",
                "2020-02-30",
                "#",
                "#a",
                "Patient/1",
                "?",
                "/",
                "<div>",
                "<div><p",
                "2020-01-01T10:00:00Z",
                "urn:oid:",
                "é"
            ][..]
        )
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 80, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::hash_map(name.clone(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_answered_within_bounds(
        mut resource in any_json(),
        name in prop::sample::select(r4::resource_types()),
    ) {
        prop_assert!(validate(&resource).len() <= ISSUES_MAX);
        if let Some(object) = resource.as_object_mut() {
            object.insert("resourceType".into(), name.into());
        }
        let issues = validate(&resource);
        prop_assert!(issues.len() <= ISSUES_MAX);
        prop_assert!(issues.iter().all(|issue| issue.expression.len() < 70 * (DEPTH_MAX + 2)));
        prop_assert_eq!(issues, validate(&resource));
    }
}
