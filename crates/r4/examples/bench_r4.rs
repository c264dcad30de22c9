//! How long a resource takes. Prints one JSON object a line, as `cargo xtask bench` reads them.
//! An argument says how many of Synthea's patients to take instead of 20.

use std::time::Instant;

use serde_json::{Value, json};

#[path = "../tests/common/mod.rs"]
mod common;

fn main() {
    let started = Instant::now();
    let types = r4::resource_types().len();
    let unpacked = started.elapsed();
    assert_eq!(types, 146);
    let milliseconds = unpacked.as_secs_f64() * 1e3;
    println!(
        "{}",
        json!({ "name": "definitions unpacked, once", "value": milliseconds, "unit": "ms" })
    );

    let patients = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(20);
    let Some(bundles) = common::synthea(patients) else {
        eprintln!("SKIPPED: ../shared/data is not there");
        return;
    };
    let entries =
        bundles.iter().flat_map(|(_, bundle)| bundle["entry"].as_array().into_iter().flatten());
    let resources: Vec<&Value> = entries.map(|entry| &entry["resource"]).collect();
    let bytes: usize = resources.iter().map(|resource| resource.to_string().len()).sum();
    let started = Instant::now();
    let issues: usize = resources.iter().map(|resource| r4::validate(resource).len()).sum();
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let (count, bytes) = (resources.len() as f64, bytes as f64);
    for (name, value, unit) in [
        ("Synthea's resources validated", count, ""),
        ("issues found in them", f64::from(u32::try_from(issues).unwrap_or(u32::MAX)), ""),
        ("a resource, on average", seconds / count * 1e6, "us"),
        ("the same in bytes of JSON", bytes / seconds / 1e6, "MB/s"),
    ] {
        println!("{}", json!({ "name": name, "value": value, "unit": unit }));
    }
}
