//! What queries mean: how they are parsed, and what they are met by.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

use std::cmp::Ordering;

use proptest::prelude::*;
use search::{
    Handling, Include, Link, Parameter, Query, SearchError, Summary, Total, compare, matches,
    pairs, parameter,
};
use serde_json::{Value, json};

/// 2024-02-29T12:00:00Z.
const UPDATED_MS: i64 = 1_709_208_000_000;

fn parse(resource_type: &str, query: &str) -> Result<Query, SearchError> {
    Query::parse(resource_type, &pairs(query)?, Handling::Strict)
}

#[track_caller]
fn check(resource: &Value, query: &str, expected: bool) {
    let resource_type = resource["resourceType"].as_str().unwrap();
    let query = parse(resource_type, query).unwrap();
    assert_eq!(matches(&query, resource_type, resource, UPDATED_MS), expected);
}

#[test]
fn queries_say_whom_they_name() {
    #[track_caller]
    fn check(resource_type: &str, query: &str, expected: &[(&str, &str)]) {
        let query = parse(resource_type, query).unwrap();
        // What a subject may be else.
        let other = |of: &str| matches!(of, "Device" | "Group" | "Location");
        let named: Vec<_> = query.named().into_iter().filter(|(of, _)| !other(of)).collect();
        assert_eq!(named, expected);
    }
    check("Patient", "_id=1,2", &[("Patient", "1"), ("Patient", "2")]);
    check("Patient", "_id:not=1", &[]);
    check("Observation", "patient=1", &[("Patient", "1")]);
    check("Observation", "subject=Patient/1", &[("Patient", "1")]);
    check("Observation", "subject:Patient=1,2", &[("Patient", "1"), ("Patient", "2")]);
    check("Observation", "subject=Patient/1/_history/2", &[("Patient", "1")]);
    check("Observation", "subject=1", &[("Patient", "1")]);
    check(
        "Observation",
        "_id=o1&encounter=Encounter/e1",
        &[("Encounter", "e1"), ("Observation", "o1")],
    );
    check("Observation", "subject=https://other.example/fhir/Patient/1", &[]);
    check("Observation", "code=2345-7", &[]);
}

fn patient() -> Value {
    json!({
        "resourceType": "Patient",
        "id": "p1",
        "meta": {
            "profile": ["http://example.org/profile|2"],
            "security": [{"system": "http://example.org/labels", "code": "R"}],
            "source": "http://example.org/source/a",
        },
        "active": true,
        "gender": "female",
        "birthDate": "1970-03-30",
        "name": [
            {"family": "O'Brien-Šimůnek", "given": ["Élodie", "Jean Claude"]},
            {"text": "Ms Elodie van der Berg"},
        ],
        "address": [{"line": ["12 Long Street"], "city": "Dublin", "postalCode": "D02 XY45"}],
        "identifier": [
            {"system": "urn:oid:1.2.3", "value": "AB-12,3"},
            {"value": "bare"},
        ],
        "telecom": [
            {"system": "phone", "value": "+353 1 234"},
            {"system": "email", "value": "e@example.org"},
        ],
        "managingOrganization": {"reference": "Organization/o1/_history/7"},
        "generalPractitioner": [
            {"reference": "https://elsewhere.example.org/fhir/Practitioner/d1"},
            {"identifier": {"system": "urn:oid:9", "value": "GP1"}},
        ],
        "deceasedDateTime": "2024-02-28T10:00:00+01:00",
    })
}

fn observation() -> Value {
    json!({
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "code": {
            "coding": [
                {"system": "http://loinc.org", "code": "8480-6", "display": "Systolic blood pressure"},
                {"code": "LOCAL"},
            ],
            "text": "Blood pressure, systolic",
        },
        "category": [{"text": "Vital signs"}],
        "subject": {"reference": "Patient/p1"},
        "effectivePeriod": {"start": "2024-01-10", "end": "2024-01-12"},
        "valueQuantity":
            {"value": 5.4, "unit": "milligram", "system": "http://unitsofmeasure.org", "code": "mg"},
    })
}

macro_rules! cases {
    ($($name:ident: $resource:expr, [$($query:literal => $expected:literal),+ $(,)?];)+) => {
        $(
            #[test]
            fn $name() {
                $(check(&$resource, $query, $expected);)+
            }
        )+
    };
}

cases! {
    strings_are_met_by_their_beginnings: patient(), [
        "family=o'brien" => true,
        "family=O'BRIEN-SIMUNEK" => true,
        "family=simunek" => false,
        "given=elo" => true,
        "given=claude" => false,
        "given=JEAN++claude" => true,
        "address-city=dub" => true,
        "address-city=ublin" => false,
        "name=%20" => true,
    ];
    names_and_addresses_are_met_by_each_word: patient(), [
        "name=simunek" => true,
        "name=brien" => true,
        "name=claude" => true,
        "name=berg" => true,
        "name=erg" => false,
        "phonetic=elodie" => true,
        "address=long" => true,
        "address=xy45" => true,
        "address=12 Long" => true,
    ];
    strings_have_modifiers: patient(), [
        "family:exact=O'Brien-Šimůnek" => true,
        "family:exact=O'Brien-Simunek" => false,
        "family:exact=O'Brien" => false,
        "family:contains=rien" => true,
        "name:contains=der b" => true,
        "name:contains=derb" => false,
    ];
    identifiers_are_met_with_and_without_system: patient(), [
        r"identifier=AB-12\,3" => true,
        r"identifier=ab-12\,3" => true,
        "identifier=AB-12,bare" => true,
        r"identifier=urn:oid:1.2.3|AB-12\,3" => true,
        "identifier=urn:oid:1.2.3|bare" => false,
        "identifier=|bare" => true,
        r"identifier=|AB-12\,3" => false,
        "identifier=urn:oid:1.2.3|" => true,
        "identifier=urn:oid:1.2|" => false,
    ];
    plain_codes_have_any_system: patient(), [
        "gender=female" => true,
        "gender=FEMALE" => true,
        "gender=http://hl7.org/fhir/administrative-gender|female" => true,
        "gender=|female" => true,
        "gender=male" => false,
        "active=true" => true,
        "active=false" => false,
        "deceased=true" => true,
    ];
    contact_points_are_filtered: patient(), [
        "phone=%2B353 1 234" => true,
        "email=e@example.org" => true,
        "phone=e@example.org" => false,
        "telecom=email|e@example.org" => true,
        "telecom=phone|e@example.org" => false,
    ];
    labels_and_profiles_are_searched: patient(), [
        "_security=R" => true,
        "_security=http://example.org/labels|R" => true,
        "_security:not=R" => false,
        "_tag:missing=true" => true,
        "_profile=http://example.org/profile" => true,
        "_profile=http://example.org/profile|2" => true,
        "_profile=http://example.org/profile|1" => false,
        "_source:below=http://example.org" => true,
        "_source:below=http://example.org/sou" => false,
        "_source:above=http://example.org/source/a/b" => true,
        "_source=http://example.org/source" => false,
    ];
    tokens_can_be_denied: observation(), [
        "code:not=8480-6" => false,
        "code:not=other" => true,
        "code:not=other,local" => false,
        "code:not=http://snomed.info/sct|8480-6" => true,
        "status:not=final" => false,
        "method:not=x" => true,
    ];
    concepts_are_met_by_each_coding: observation(), [
        "code=8480-6" => true,
        "code=http://loinc.org|8480-6" => true,
        "code=http://snomed.info/sct|8480-6" => false,
        "code=|local" => true,
        "code=|8480-6" => false,
        "code=http://loinc.org|" => true,
        "combo-code=local" => true,
        "code:text=systolic" => true,
        "code:text=blood" => true,
        "code:text=pressure" => false,
        "category:missing=false" => true,
        "category:text=vital" => true,
    ];
    references_are_met_by_id_and_by_address: patient(), [
        "organization=o1" => true,
        "organization=Organization/o1" => true,
        "organization=Organization/o1/_history/2" => true,
        "organization:Organization=o1" => true,
        "organization=Organization/o2" => false,
        "organization=Patient/o1" => false,
        "general-practitioner=d1" => false,
        "general-practitioner=Practitioner/d1" => false,
        "general-practitioner=https://elsewhere.example.org/fhir/Practitioner/d1" => true,
        "general-practitioner:Practitioner=Organization/d1" => false,
        "general-practitioner:identifier=urn:oid:9|gp1" => true,
        "general-practitioner:identifier=GP2" => false,
        "link:missing=true" => true,
    ];
    patients_are_subjects_that_are_patients: observation(), [
        "patient=p1" => true,
        "patient=Patient/p1" => true,
        "subject:Patient=p1" => true,
        "subject:Group=p1" => false,
    ];
    dates_are_compared_as_periods: observation(), [
        "date=2024-01" => true,
        "date=2024-01-11" => false,
        "date=ne2024-01-11" => true,
        "date=ne2024" => false,
        "date=gt2024-01-11" => true,
        "date=gt2024-01-12" => false,
        "date=ge2024-01-12" => true,
        "date=ge2024-01-13" => false,
        "date=lt2024-01-11" => true,
        "date=lt2024-01-10" => false,
        "date=le2024-01-10" => true,
        "date=le2024-01-09" => false,
        "date=sa2024-01-09" => true,
        "date=sa2024-01-10" => false,
        "date=eb2024-01-13" => true,
        "date=eb2024-01-12" => false,
        "date=ap2024-01-14" => false,
        "date=ap2024-01-13" => true,
        "date=ge2024-01-01&date=lt2024-02-01" => true,
        "date=2023,2024" => true,
    ];
    instants_are_compared_with_their_offsets: patient(), [
        "death-date=2024-02-28T09:00:00Z" => true,
        "death-date=2024-02-28T09:00Z" => true,
        "death-date=2024-02-28T10:00:00%2B01:00" => true,
        "death-date=2024-02-28T10:00:00+01:00" => true,
        "death-date=gt2024-02-28T09:00:00Z" => false,
        "birthdate=1970-03-30" => true,
        "birthdate=ge1970" => true,
        "birthdate=lt1970-04" => true,
    ];
    changes_are_compared_too: patient(), [
        "_lastUpdated=2024-02-29" => true,
        "_lastUpdated=gt2024-02-29T12:00:00Z" => false,
        "_lastUpdated=ge2024-02-29T12:00:00Z" => true,
        "_lastUpdated=lt2024" => false,
        "_id=p1" => true,
        "_id=P1" => false,
        "_id=p0,p1" => true,
        "_id:not=p1" => false,
    ];
    quantities_are_compared_with_their_units: observation(), [
        "value-quantity=5.4" => true,
        "value-quantity=5.40" => true,
        "value-quantity=5" => true,
        "value-quantity=6" => false,
        "value-quantity=5.4|http://unitsofmeasure.org|mg" => true,
        "value-quantity=5.4|http://unitsofmeasure.org|g" => false,
        "value-quantity=5.4||mg" => true,
        "value-quantity=5.4||milligram" => true,
        "value-quantity=5.4|http://unitsofmeasure.org|milligram" => false,
        "value-quantity=gt5.39" => true,
        "value-quantity=gt5.4" => false,
        "value-quantity=ge5.4" => true,
        "value-quantity=lt5.4" => false,
        "value-quantity=le5.4" => true,
        "value-quantity=ne5.4" => false,
        "value-quantity=ap5" => true,
        "value-quantity=ap4" => false,
        "value-quantity=sa5.3" => true,
        "value-quantity=eb5.5" => true,
        "combo-value-quantity=5.4" => true,
    ];
    what_is_missing_can_be_asked_for: observation(), [
        "value-quantity:missing=false" => true,
        "value-string:missing=true" => true,
        "value-string:missing=false" => false,
        "code:missing=true" => false,
    ];
    all_parameters_must_be_met: observation(), [
        "status=final&code=8480-6" => true,
        "status=final&code=other" => false,
        "code=8480-6&code=local" => true,
        "status=amended,final" => true,
    ];
}

#[test]
fn numbers_are_compared() {
    let resource = json!({
        "resourceType": "RiskAssessment",
        "prediction": [{"probabilityDecimal": 0.05}, {"probabilityRange": {"low": {"value": 0.2}, "high": {"value": 0.4}}}],
    });
    check(&resource, "probability=0.05", true);
    check(&resource, "probability=gt0.3", true);
    check(&resource, "probability=gt0.4", false);
    check(&resource, "probability=0.3", false);
}

#[test]
fn canonical_addresses_are_met_with_and_without_version() {
    let resource = json!({
        "resourceType": "QuestionnaireResponse",
        "questionnaire": "http://example.org/Questionnaire/q|1.0",
    });
    check(&resource, "questionnaire=http://example.org/Questionnaire/q", true);
    check(&resource, "questionnaire=http://example.org/Questionnaire/q|1.0", true);
    check(&resource, "questionnaire=http://example.org/Questionnaire/q|2.0", false);
}

#[test]
fn nothing_of_another_type_is_met() {
    let query = parse("Patient", "_id=p1").unwrap();
    assert!(!matches(&query, "Observation", &patient(), UPDATED_MS));
}

#[track_caller]
fn check_error(query: &str, message: &str) {
    assert_eq!(parse("Patient", query).unwrap_err().to_string(), message);
}

#[test]
fn errors_name_the_parameter_and_no_value() {
    check_error("secret=SECRET", "there is no search parameter secret");
    check_error("name:sounds=x", "search parameter name:sounds does not take this modifier");
    check_error("gender:exact=x", "search parameter gender:exact does not take this modifier");
    check_error(
        "birthdate=SECRET",
        "search parameter birthdate wants a date such as `ge2024-02-29`",
    );
    check_error(
        "_lastUpdated=SECRET",
        "search parameter _lastUpdated wants a date such as `ge2024-02-29`",
    );
    check_error("gender=|", "search parameter gender wants `code` or `system|code`");
    check_error("gender=a|b|c", "search parameter gender wants `code` or `system|code`");
    check_error("gender=,", "search parameter gender wants a value between its commas");
    check_error("name:missing=SECRET", "search parameter name:missing wants `true` or `false`");
    check_error("_id:exact=1", "search parameter _id:exact does not take this modifier");
    check_error("_count=-1", "search parameter _count wants a number from 0 on");
    check_error(
        "_summary=x",
        "search parameter _summary wants `true`, `text`, `data`, `count` or `false`",
    );
    check_error("_total=x", "search parameter _total wants `none`, `estimate` or `accurate`");
    check_error("_sort=nothing", "there is no search parameter _sort");
    check_error("_sort=a,a,a,a,a", "there is no search parameter _sort");
    check_error("_sort=name,name,name,name,name", "results are sorted by at most 4 keys");
    check_error("_include=Nothing:x", "there is no search parameter _include");
    check_error("organization.nothing=x", "there is no search parameter organization.nothing");
    check_error("name.family=x", "there is no search parameter name.family");
    check_error(
        "_has:Observation:code:x=y",
        "there is no search parameter _has:Observation:code:x",
    );
    check_error("%00%3Cb%3E=x", "there is no search parameter ??b?");
    check_error("name=%FF", "the query string is not UTF-8");
    check_error(
        "organization.partof.partof.partof.name=x",
        "search parameter organization.partof.partof.partof.name links too far, or to too many types; name the types",
    );
    let name = "x".repeat(100);
    check_error(&format!("{name}=1"), &format!("there is no search parameter {}", &name[..64]));
}

#[test]
fn queries_have_limits() {
    check_error(&format!("name={}", "x".repeat(20_000)), "a query has at most 16384 bytes");
    check_error(&"name=x&".repeat(65), "a query has at most 64 parameters");
    check_error(
        &format!("name={}", "x,".repeat(129)),
        "search parameter name takes at most 128 values",
    );
    assert!(parse("Patient", &"name=x&".repeat(64)).is_ok());
    assert!(parse("Patient", &format!("name={}", "x,".repeat(128))).is_ok());
    let wide = "focus.subject._id=x&".repeat(60);
    assert!(matches!(parse("Task", &wide), Err(SearchError::TooDeep { .. })));
    assert_eq!(parse("Nothing", ""), Err(SearchError::UnknownType));
}

#[test]
fn lenient_handling_passes_over_what_is_unknown() {
    let written = pairs("name=a&secret=b&_include=Nothing:x&gender=&_count=5&name.x=y").unwrap();
    let query = Query::parse("Patient", &written, Handling::Lenient).unwrap();
    let applied: Vec<_> = query.applied().iter().map(|(key, value)| (&**key, &**value)).collect();
    assert_eq!(applied, [("name", "a"), ("_count", "5")]);
    assert!(query.has_conditions());
    assert!(!parse("Patient", "_count=5").unwrap().has_conditions());
    let written = pairs("birthdate=x").unwrap();
    assert!(Query::parse("Patient", &written, Handling::Lenient).is_err());
    let written = pairs("gender:in=x").unwrap();
    assert!(Query::parse("Patient", &written, Handling::Lenient).is_err());
}

#[test]
fn output_is_as_it_was_asked_for() {
    let query = parse(
        "MedicationRequest",
        "_count=10&_offset=20&_sort=-authoredon,_id&_summary=data&_total=accurate&_format=json\
        &_pretty=true&_elements=status,MedicationRequest.subject\
        &_include=MedicationRequest:patient&_include:iterate=Patient:organization:Organization\
        &_include=MedicationRequest:*&_revinclude=Provenance:target",
    )
    .unwrap();
    let output = query.output();
    assert_eq!((output.count, output.offset), (Some(10), 20));
    let sort: Vec<_> =
        output.sort.iter().map(|key| (key.parameter.name(), key.is_descending)).collect();
    assert_eq!(sort, [("authoredon", true), ("_id", false)]);
    assert_eq!((output.summary, output.total), (Summary::Data, Some(Total::Accurate)));
    assert_eq!((output.format.as_deref(), output.is_pretty), (Some("json"), true));
    assert_eq!(output.elements, ["status", "subject"]);
    let include = |source, name: Option<&str>, target, is_iterated| Include {
        source,
        parameter: name.map(|name| parameter(source, name).unwrap()),
        target,
        is_iterated,
    };
    assert_eq!(
        output.includes,
        [
            include("MedicationRequest", Some("patient"), None, false),
            include("Patient", Some("organization"), Some("Organization"), true),
            include("MedicationRequest", None, None, false),
        ]
    );
    assert_eq!(output.reverse_includes, [include("Provenance", Some("target"), None, false)]);
    let names: Vec<_> = output.includes[1].parameters().map(Parameter::name).collect();
    assert_eq!(names, ["organization"]);
    assert!(output.includes[2].parameters().count() > 5);
}

#[test]
fn chains_become_queries_of_their_own() {
    let mut query = parse("Observation", "patient.name=simunek&status=final").unwrap();
    let (number, link) = query.links().next().unwrap();
    let Link::Chain { parameter, queries } = link else { panic!("not a chain") };
    assert_eq!(parameter.name(), "patient");
    assert_eq!(queries.iter().map(Query::resource_type).collect::<Vec<_>>(), ["Patient"]);
    assert!(matches(&queries[0], "Patient", &patient(), UPDATED_MS));
    assert!(!matches(&query, "Observation", &observation(), UPDATED_MS));
    query.resolve(number, ["Patient/p1".to_owned()]).unwrap();
    assert!(matches(&query, "Observation", &observation(), UPDATED_MS));
    assert_eq!(query.links().count(), 0);
}

#[test]
fn a_chain_goes_to_each_type_that_may_be_meant() {
    let types = |query| {
        let query = parse("Observation", query).unwrap();
        let Some((_, Link::Chain { queries, .. })) = query.links().next() else {
            panic!("no chain")
        };
        queries.iter().map(Query::resource_type).collect::<Vec<_>>()
    };
    assert_eq!(types("subject.name=x"), ["Location", "Patient"]);
    assert_eq!(types("subject.identifier=x"), ["Device", "Group", "Location", "Patient"]);
    assert_eq!(types("subject:Patient.name=x"), ["Patient"]);
    assert_eq!(types("patient.organization.name=x"), ["Patient"]);
}

#[test]
fn reversed_chains_find_what_is_referred_to() {
    let mut query = parse("Patient", "_has:Observation:patient:code=8480-6").unwrap();
    let (number, link) = query.links().next().unwrap();
    let Link::Reverse { parameter, query: inner } = link else { panic!("not reversed") };
    assert_eq!((parameter.resource_type(), parameter.name()), ("Observation", "patient"));
    assert!(matches(inner, "Observation", &observation(), UPDATED_MS));
    assert!(!matches(&query, "Patient", &patient(), UPDATED_MS));
    query.resolve(number, ["Patient/p1".to_owned(), "Group/p2".to_owned()]).unwrap();
    assert!(matches(&query, "Patient", &patient(), UPDATED_MS));
}

#[test]
fn links_that_find_nothing_leave_nothing() {
    let mut query = parse("Observation", "patient.name=x").unwrap();
    query.resolve(0, []).unwrap();
    assert!(!matches(&query, "Observation", &observation(), UPDATED_MS));
    let mut query = parse("Observation", "patient.name=x").unwrap();
    let many = (0..10_001).map(|number| format!("Patient/{number}"));
    assert_eq!(query.resolve(0, many), Err(SearchError::TooManyFound));
    assert_eq!(query.links().count(), 1);
}

#[test]
fn what_refers_to_a_page_is_found() {
    let referring =
        Query::referring(parameter("Observation", "subject").unwrap(), ["Patient/p1".to_owned()]);
    assert!(matches(&referring, "Observation", &observation(), UPDATED_MS));
}

#[test]
fn results_are_sorted() {
    let query = parse("Patient", "_sort=family,-birthdate,_lastUpdated").unwrap();
    let resource = |family: Option<&str>, birth: &str| json!({"resourceType": "Patient", "name": [{"family": family}], "birthDate": birth});
    let check = |one: (&Value, i64), other: (&Value, i64), expected| {
        assert_eq!(compare(&query, one, other), expected);
        assert_eq!(compare(&query, other, one), expected.reverse());
    };
    let (a, b) = (resource(Some("a"), "1970"), resource(Some("B"), "1970"));
    let (younger, nameless) = (resource(Some("Á"), "1980"), resource(None, "1960"));
    check((&a, 1), (&b, 0), Ordering::Less);
    check((&younger, 1), (&a, 0), Ordering::Less);
    check((&b, 1), (&nameless, 0), Ordering::Less);
    check((&a, 1), (&a, 2), Ordering::Less);
    check((&a, 1), (&a, 1), Ordering::Equal);
    let known: Vec<_> = query.output().sort.iter().map(|key| key.is_known_to_index()).collect();
    assert_eq!(known, [false, true, true]);
}

proptest! {
    #[test]
    fn no_query_string_panics(query in ".{0,200}", strict in any::<bool>()) {
        let handling = if strict { Handling::Strict } else { Handling::Lenient };
        if let Ok(pairs) = pairs(&query) {
            drop(Query::parse("Patient", &pairs, handling));
        }
    }

    #[test]
    fn no_value_panics(
        at in 0_usize..10_000,
        modifier in "(|:not|:missing|:exact|:contains|:text|:identifier|:below|:above|:Patient|\\.name|\\._id)",
        value in "((eq|ne|gt|lt|ge|le|sa|eb|ap)?[-0-9T:+ .eZ|\\\\,]{0,24}|.{0,24})",
    ) {
        let types: Vec<_> = search::resource_types().collect();
        let resource_type = types[at % types.len()];
        let parameters = search::parameters(resource_type);
        let parameter = &parameters[at % parameters.len()];
        let pair = (format!("{}{modifier}", parameter.name()), value);
        if let Ok(query) = Query::parse(resource_type, &[pair], Handling::Strict) {
            let _ = matches(&query, resource_type, &patient(), UPDATED_MS);
        }
    }
}
