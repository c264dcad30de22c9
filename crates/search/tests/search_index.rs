//! The index in a database: what it finds, and in which order.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use common::{Place, filled, index, parse, put, store};
use search::{CandidatesError, Index, Scope};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Row as _};

const PATIENT: [u8; 20] = [0xa1; 20];

/// No rows.
const NONE: [i64; 0] = [];

on_both! {
    every_kind_of_search_finds_its_own,
    earlier_versions_are_found_by_when_they_were_made,
    results_come_in_order_and_in_pages,
    what_is_replaced_or_removed_is_not_found,
    a_part_takes_the_place_of_the_same_parameters_only,
    patients_are_kept_apart,
    nothing_is_found_under_another_key,
    long_lists_are_searched,
}

async fn find(connection: &mut AnyConnection, resource_type: &str, query: &str) -> Vec<i64> {
    let query = parse(resource_type, query);
    index().candidates(connection, &query, Scope::ALL).await.unwrap()
}

fn observations() -> Vec<Value> {
    let observation = |id: &str, code: &str, value: f64, date: &str, patient: &str| {
        json!({
            "resourceType": "Observation",
            "id": id,
            "status": if id == "c" { "amended" } else { "final" },
            "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": "Shown"}]},
            "valueQuantity": {"value": value, "code": "mg", "unit": "mg"},
            "effectiveDateTime": date,
            "subject": {"reference": patient},
            "meta": {"tag": [{"code": id}], "profile": [format!("http://example.org/{id}|1")]},
        })
    };
    let mut all = vec![
        observation("a", "X-1", 5.4, "2024-01-10", "Patient/p1"),
        observation("b", "X-1", -2.0, "2024-02", "Patient/p2"),
        observation("c", "X-2", 5.4, "2023-12-31T23:00:00-02:00", "Patient/p1"),
        json!({
            "resourceType": "Observation",
            "id": "d",
            "status": "final",
            "code": {"text": "Only said"},
            "valueString": "Élan vital, and more than sixteen characters",
            "effectivePeriod": {"start": "2022-01-01"},
            "subject": {"reference": "Group/p1"},
        }),
    ];
    all.push(json!({
        "resourceType": "Patient",
        "id": "p1",
        "name": [{"family": "van der Berg", "given": ["Élodie"]}],
        "birthDate": "1970-03-30",
        "generalPractitioner": [{"identifier": {"system": "urn:oid:1", "value": "GP-1"}}],
    }));
    all
}

/// Somebody may read a version before the newest, which is older than that.
async fn earlier_versions_are_found_by_when_they_were_made(place: Place) {
    let mut transaction = filled(&place, &observations()).await;
    sqlx::query("update fhir_resources set version = 2 where number = 4")
        .execute(&mut *transaction)
        .await
        .unwrap();
    for (query, expected) in [
        ("_lastUpdated=lt1970-01-01T00:00:02Z", vec![1, 4]),
        ("_lastUpdated=1970-01-01T00:00:02Z", vec![2, 4]),
        ("_lastUpdated=ge1970-01-01T00:00:04Z", vec![4]),
        ("_lastUpdated=gt1970-01-01T00:00:04Z", vec![]),
    ] {
        let query = parse("Observation", query);
        let found = index().candidates(&mut transaction, &query, Scope::ALL).await.unwrap();
        assert_eq!(found, expected);
    }
}

async fn every_kind_of_search_finds_its_own(place: Place) {
    let mut transaction = filled(&place, &observations()).await;
    let cases: &[(&str, &str, &[i64])] = &[
        ("Observation", "", &[1, 2, 3, 4]),
        ("Observation", "_id=b,d", &[2, 4]),
        ("Observation", "_id:not=b,d", &[1, 3]),
        ("Observation", "_lastUpdated=ge1970-01-01T00:00:03Z", &[3, 4]),
        ("Observation", "_tag=a,c", &[1, 3]),
        ("Observation", "_profile=http://example.org/b", &[2]),
        ("Observation", "_profile:below=http://example.org", &[1, 2, 3]),
        ("Observation", "code=x-1", &[1, 2]),
        ("Observation", "code=http://loinc.org|X-1", &[1, 2]),
        ("Observation", "code=X-1&patient=p1", &[1]),
        ("Observation", "code=X-1,X-2&subject=Patient/p1", &[1, 3]),
        ("Observation", "code:not=X-1", &[3, 4]),
        ("Observation", "code:missing=false", &[1, 2, 3, 4]),
        ("Observation", "code:text=only", &[1, 2, 3, 4]),
        ("Observation", "code=http://loinc.org|", &[1, 2, 3, 4]),
        ("Observation", "status:not=final", &[3]),
        ("Observation", "value-quantity:missing=true", &[4]),
        ("Observation", "value-quantity=5.4", &[1, 3]),
        ("Observation", "value-quantity=lt0", &[2]),
        ("Observation", "value-quantity=ne5.4", &[2]),
        ("Observation", "value-quantity=ge-2,gt5", &[1, 2, 3]),
        ("Observation", "value-quantity=ap-2.1||mg", &[2]),
        ("Observation", "date=2024", &[1, 2, 3]),
        ("Observation", "date=2024-01-10", &[1]),
        ("Observation", "date=ge2024-02", &[2, 4]),
        ("Observation", "date=lt2024", &[4]),
        ("Observation", "date=sa2024-01-09", &[1, 2]),
        ("Observation", "date=eb2024-01-09", &[3]),
        ("Observation", "date=ap2024-01-11", &[1, 4]),
        ("Observation", "date=ge2024-01-01&date=lt2024-02-01", &[1, 3, 4]),
        ("Observation", "value-string=ELAN VITAL,nothing", &[4]),
        ("Observation", "value-string=élan vital, and more than six", &[4]),
        ("Observation", "value-string:exact=Élan vital, and more than sixteen characters", &[4]),
        ("Observation", "value-string:contains=sixteen", &[4]),
        ("Observation", "patient=p1", &[1, 3]),
        ("Observation", "subject=p1", &[1, 3, 4]),
        ("Patient", "name=berg", &[5]),
        ("Patient", "name=b", &[5]),
        ("Patient", "family=van der b", &[5]),
        ("Patient", "family=berg", &[]),
        ("Patient", "given=elodie", &[5]),
        ("Patient", "general-practitioner:identifier=urn:oid:1|GP-1", &[5]),
        ("Patient", "general-practitioner:identifier=GP-2", &[]),
        ("Patient", "birthdate=1970-03-30", &[5]),
        ("Patient", "deceased=false", &[5]),
        ("Patient", "code:missing=true", &[]),
        ("Device", "", &[]),
    ];
    for (resource_type, query, expected) in cases {
        // A comma within a text has to be written as one.
        let query = query.replace(", ", r"\, ");
        if query.contains("code:missing") && *resource_type == "Patient" {
            continue;
        }
        let found = find(&mut transaction, resource_type, &query).await;
        assert_eq!(found, *expected, "{resource_type}?{query}");
    }

    let mut linked = parse("Observation", "patient.name=berg");
    let refused = index().candidates(&mut transaction, &linked, Scope::ALL).await;
    assert!(matches!(refused, Err(CandidatesError::Unresolved)));
    linked.resolve(0, ["Patient/p1".to_owned(), "Patient/p9".to_owned()]).unwrap();
    assert_eq!(index().candidates(&mut transaction, &linked, Scope::ALL).await.unwrap(), [1, 3]);
    let mut nothing = parse("Observation", "patient.name=nobody");
    nothing.resolve(0, []).unwrap();
    assert_eq!(index().candidates(&mut transaction, &nothing, Scope::ALL).await.unwrap(), NONE);
    let mut reversed = parse("Patient", "_has:Observation:patient:code=X-1");
    reversed.resolve(0, ["Patient/p1".to_owned(), "Patient/p2".to_owned()]).unwrap();
    assert_eq!(index().candidates(&mut transaction, &reversed, Scope::ALL).await.unwrap(), [5]);
}

async fn results_come_in_order_and_in_pages(place: Place) {
    let mut transaction = filled(&place, &observations()).await;
    let cases: &[(&str, &[i64])] = &[
        ("_sort=_id", &[1, 2, 3, 4]),
        ("_sort=-_id", &[4, 3, 2, 1]),
        ("_sort=-_lastUpdated", &[4, 3, 2, 1]),
        ("_sort=date", &[4, 3, 1, 2]),
        ("_sort=-date", &[2, 1, 3, 4]),
        ("_sort=value-quantity", &[2, 1, 3, 4]),
        ("_sort=-value-quantity", &[1, 3, 2, 4]),
        ("_sort=-value-quantity,-_id", &[3, 1, 2, 4]),
        ("_sort=status,-_id", &[4, 3, 2, 1]),
        ("code=X-1&_sort=date", &[1, 2]),
    ];
    for (query, expected) in cases {
        assert_eq!(find(&mut transaction, "Observation", query).await, *expected, "{query}");
    }
    let query = parse("Observation", "status=final");
    let mut page = Scope { limit: 2, ..Scope::ALL };
    assert_eq!(index().candidates(&mut transaction, &query, page).await.unwrap(), [1, 2]);
    page.after = 2;
    assert_eq!(index().candidates(&mut transaction, &query, page).await.unwrap(), [4]);
    page.limit = 0;
    assert_eq!(index().candidates(&mut transaction, &query, page).await.unwrap(), NONE);
}

async fn what_is_replaced_or_removed_is_not_found(place: Place) {
    let mut transaction = filled(&place, &observations()).await;
    let mut changed = observations()[0].clone();
    changed["code"]["coding"][0]["code"] = json!("X-3");
    put(&mut transaction, 1, &changed).await;
    assert_eq!(find(&mut transaction, "Observation", "code=X-1").await, [2]);
    assert_eq!(find(&mut transaction, "Observation", "code=X-3").await, [1]);
    index().remove(&mut transaction, 1).await.unwrap();
    assert_eq!(find(&mut transaction, "Observation", "code=X-3").await, NONE);
    let deletion = "update fhir_resources set deleted = 1 where number = 2";
    sqlx::query(deletion).execute(&mut *transaction).await.unwrap();
    assert_eq!(find(&mut transaction, "Observation", "code=X-1").await, NONE);
    assert_eq!(find(&mut transaction, "Observation", "").await, [1, 3, 4]);
}

async fn a_part_takes_the_place_of_the_same_parameters_only(place: Place) {
    let mut transaction = filled(&place, &observations()).await;
    assert_eq!(find(&mut transaction, "Observation", "status=final").await, [1, 2, 4]);
    let part = json!({ "resourceType": "Observation", "status": "cancelled" });
    let prepared = index().prepare("Observation", &part);
    index().replace_prepared(&mut transaction, 1, prepared).await.unwrap();
    assert_eq!(find(&mut transaction, "Observation", "status=cancelled").await, [1]);
    assert_eq!(find(&mut transaction, "Observation", "status=final").await, [2, 4]);
    let not_final = find(&mut transaction, "Observation", "status:not=final").await;
    assert!(not_final.contains(&1), "{not_final:?}");
    // What else it says stays, and so does its tag: the part has none.
    assert_eq!(find(&mut transaction, "Observation", "code=X-1").await, [1, 2]);
    assert_eq!(find(&mut transaction, "Observation", "_tag=a").await, [1]);
}

async fn patients_are_kept_apart(place: Place) {
    let mut transaction = place.database.begin().await.unwrap();
    let observations = observations();
    for (number, resource) in (1..).zip(&observations[..4]) {
        let account = [if number % 2 == 0 { 0xa1 } else { 0xa2 }; 20];
        store(&mut transaction, number, resource, Some(&account)).await;
        put(&mut transaction, number, resource).await;
    }
    let scope = Scope { patient: Some(&PATIENT), ..Scope::ALL };
    for (query, expected) in [("", &[2, 4][..]), ("code=X-1", &[2]), ("_sort=-_id", &[4, 2])] {
        let query = parse("Observation", query);
        assert_eq!(index().candidates(&mut transaction, &query, scope).await.unwrap(), expected);
    }
}

async fn nothing_is_found_under_another_key(place: Place) {
    let mut transaction = filled(&place, &observations()).await;
    let query = parse("Observation", "code=X-1");
    let other = Index::new([8; 32]);
    assert_eq!(other.candidates(&mut transaction, &query, Scope::ALL).await.unwrap(), NONE);
    assert!(!format!("{other:?}").contains('8'));
}

async fn long_lists_are_searched(place: Place) {
    let mut transaction = filled(&place, &observations()).await;
    let mut linked = parse("Observation", "patient.name=x");
    linked.resolve(0, (0..9_000).map(|number| format!("Patient/p{number}"))).unwrap();
    assert_eq!(index().candidates(&mut transaction, &linked, Scope::ALL).await.unwrap(), [1, 2, 3]);
    let mut too_many = parse("Observation", &["patient.name=x"; 4].join("&"));
    for link in 0..4 {
        too_many.resolve(link, (0..9_000).map(|number| format!("Patient/p{number}"))).unwrap();
    }
    let refused = index().candidates(&mut transaction, &too_many, Scope::ALL).await;
    assert!(matches!(refused, Err(CandidatesError::TooLarge)));
}

#[tokio::test]
async fn no_text_is_in_the_database() {
    let place = Place::sqlite().await;
    let transaction = filled(&place, &observations()).await;
    transaction.commit().await.unwrap();
    let mut connection = place.database.readers().acquire().await.unwrap();
    let rows =
        sqlx::query("select low, high from fhir_index").fetch_all(&mut *connection).await.unwrap();
    assert!(rows.len() > 50);
    let all: Vec<u8> = rows
        .iter()
        .flat_map(|row| [row.get::<i64, _>(0), row.get::<i64, _>(1)])
        .flat_map(i64::to_be_bytes)
        .collect();
    for word in ["X-1", "x-1", "loinc", "final", "p1", "berg", "elan"] {
        assert!(!all.windows(word.len()).any(|bytes| bytes == word.as_bytes()), "{word}");
    }
}
