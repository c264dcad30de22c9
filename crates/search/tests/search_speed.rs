//! How long the index takes, for whoever wants to know.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use std::time::Instant;

use common::{Place, index, parse, store};
use search::{Entry, Scope, extract};
use serde_json::json;
use sqlx::Row as _;

const PATIENT: [u8; 20] = [0xa1; 20];

/// Prints how long it takes; `cargo test --release --test search_speed -- --ignored --nocapture speed`.
#[tokio::test]
#[ignore = "a measurement"]
async fn speed() {
    for place in [Some(Place::sqlite().await), Place::postgres().await].into_iter().flatten() {
        let count = 20_000;
        println!("{:?}", place.database.backend());
        let resource = |number: i64| {
            json!({
                "resourceType": "Observation",
                "id": format!("o{number}"),
                "status": "final",
                "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
                "code": {"coding": [{"system": "http://loinc.org", "code": format!("{}-0", number % 200)}]},
                "subject": {"reference": format!("Patient/p{}", number % 500)},
                "encounter": {"reference": format!("Encounter/e{}", number % 5_000)},
                "effectiveDateTime": format!("20{:02}-{:02}-{:02}", number % 25, number % 12 + 1, number % 28 + 1),
                "valueQuantity": {"value": number % 1_000, "unit": "mg", "system": "http://unitsofmeasure.org", "code": "mg"},
            })
        };
        let resources: Vec<_> = (1..=count).map(resource).collect();
        let index = index();
        let mut transaction = place.database.begin().await.unwrap();
        for (number, resource) in (1..).zip(&resources) {
            store(&mut transaction, number, resource, Some(&PATIENT)).await;
        }
        let (first, second) = resources.split_at(resources.len() / 2);
        let start = Instant::now();
        for (number, resource) in (1..).zip(first) {
            index.put(&mut transaction, number, "Observation", resource).await.unwrap();
        }
        println!("put, one by one: {:?} each", start.elapsed() / 10_000);
        let start = Instant::now();
        for (_, resource) in (1..10_000).zip(first) {
            drop(extract("Observation", resource));
        }
        println!("of that, extract: {:?} each", start.elapsed() / 10_000);
        let start = Instant::now();
        let entry = |(number, resource)| Entry { number, resource_type: "Observation", resource };
        let entries: Vec<_> = (count / 2 + 1..).zip(second).map(entry).collect();
        for entries in entries.chunks(100) {
            index.add(&mut transaction, entries).await.unwrap();
        }
        println!("add, by hundreds: {:?} each", start.elapsed() / 10_000);
        transaction.commit().await.unwrap();
        let mut connection = place.database.readers().acquire().await.unwrap();
        let rows = sqlx::query("select count(*) from fhir_index")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        println!("{} rows", rows.get::<i64, _>(0));
        for query in [
            "_id=o77",
            "code=http://loinc.org|7-0",
            "patient=Patient/p77",
            "patient=Patient/p77&code=77-0",
            "patient=Patient/p77&date=ge2010&_sort=-date",
            "status=final",
            "status=final&code=7-0",
            "code=7-0&value-quantity=gt500",
            "date=2010-06-15",
            "date=ge2020&date=lt2021",
            "date=ge2020&status=final",
            "_lastUpdated=gt1970-01-01T05:30:00Z",
            "_sort=-_lastUpdated",
            "_sort=-date",
            "code:missing=true",
        ] {
            let query_text = query;
            let query = parse("Observation", query);
            let scope = Scope { limit: 100, ..Scope::ALL };
            let start = Instant::now();
            let mut found = 0;
            for _ in 0..20 {
                found = index.candidates(&mut connection, &query, scope).await.unwrap().len();
            }
            println!("{:>9.1?} {query_text} ({found})", start.elapsed() / 20);
        }
    }
}
