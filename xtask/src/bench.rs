//! Measures, prints a table, and writes `target/bench/NAME.json`.
//!
//! A figure is a JSON object `{name, value, unit, goal}`. A goal is a number to reach: at least, or with
//! `"at_most": true` at most. Most benchmarks are examples of a crate, which print such objects.

use std::fs;

use serde_json::{Value, json};

use crate::{
    run::{Failure, output, program, root, succeed},
    tools,
};

/// Measures one thing and gives its figures.
type Bench = fn() -> Result<Vec<Value>, Failure>;

/// The benchmarks by name.
const BENCHES: &[(&str, Bench)] = &[
    ("ledger", ledger),
    ("vault", || example("vault", "bench_vault")),
    ("import", import),
    ("gateway", gateway),
    ("study", || example("study", "bench_study")),
    ("gas", gas),
    ("growth", growth),
];

/// What others published for an operation, and which of ours do the same.
struct Published {
    what: &'static str,
    gas: u64,
    source: &'static str,
    /// By their names in `contracts/gas.json`, with a word on who asks for it.
    ours: &'static [(&'static str, &'static str)],
}

/// # Source
///
/// DESIGN.md, section 9, which has the second from a public dapp's own page.
const PUBLISHED: &[Published] = &[
    Published {
        what: "consent",
        gas: 78_000,
        source: "arXiv 2511.17464",
        ours: &[("consent.grant-by-key", "by key"), ("consent.grant", "by passkey account")],
    },
    Published {
        what: "patient's account",
        gas: 457_989,
        source: "a public EHR dapp",
        ours: &[("account.create", "of a passkey"), ("account.create-with-wallet", "of a wallet")],
    },
];

/// Runs the named benchmarks, or all.
pub(crate) fn run(names: &[&str]) -> Result<(), Failure> {
    let unknown = names.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == *name));
    if let Some(unknown) = unknown {
        let known: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no benchmark {unknown}; there are {}", known.join(", ")));
    }
    for (name, bench) in BENCHES {
        if names.is_empty() || names.contains(name) {
            println!("\n=== bench {name} at {}", tools::commit());
            let mut rows = bench()?;
            for row in &mut rows {
                row["met"] = met(row);
            }
            print_table(&rows);
            write(name, &rows)?;
        }
    }
    Ok(())
}

/// The ledger beside anvil and Hardhat's node, which are installed first.
fn ledger() -> Result<Vec<Value>, Failure> {
    tools::install_npm()?;
    let hardhat = tools::install_hardhat()?;
    let hardhat = hardhat.to_string_lossy();
    example_with("ledger", "bench_ledger", &[("SALUS_BENCH_HARDHAT", &hardhat)])
}

/// How things grow with the state, with a picture beside the figures.
fn growth() -> Result<Vec<Value>, Failure> {
    let dir = root().join("target/bench");
    let rows =
        example_with("study", "bench_growth", &[("SALUS_BENCH_FIGURES", &dir.to_string_lossy())])?;
    println!("drawn in {}", dir.join("growth.svg").display());
    Ok(rows)
}

/// Gas per operation as `contracts/gas.json` has it, against what others published. Nothing is executed.
fn gas() -> Result<Vec<Value>, Failure> {
    let path = root().join("contracts/gas.json");
    let text = fs::read(&path).map_err(|error| format!("contracts/gas.json: {error}"))?;
    let operations: Vec<Value> =
        serde_json::from_slice(&text).map_err(|error| format!("contracts/gas.json: {error}"))?;
    against_published(&operations)
}

/// Each of our operations and its share of the published gas.
fn against_published(operations: &[Value]) -> Result<Vec<Value>, Failure> {
    let mut rows = Vec::new();
    for Published { what, gas: published, source, ours } in PUBLISHED {
        rows.push(
            json!({ "name": format!("{what}, {source}"), "value": published, "unit": "gas" }),
        );
        for (name, how) in *ours {
            let found = operations.iter().find(|operation| operation["name"] == *name);
            let used = found.and_then(|operation| operation["gas"].as_f64());
            let used = used.ok_or_else(|| format!("contracts/gas.json has no {name}"))?;
            #[expect(
                clippy::cast_precision_loss,
                reason = "gas of one operation is far below 2^52"
            )]
            let ratio = used / *published as f64;
            rows.push(json!({ "name": format!("{what}, {how}"), "value": used, "unit": "gas" }));
            rows.push(json!({ "name": format!("{what}, {how}, of the published"), "value": ratio,
                "unit": "times", "goal": 1, "at_most": true }));
        }
    }
    Ok(rows)
}

/// Runs a crate's example that prints its figures, one JSON object a line.
fn example(package: &str, example: &str) -> Result<Vec<Value>, Failure> {
    example_with(package, example, &[])
}

/// The same with something in its environment.
fn example_with(
    package: &str,
    example: &str,
    environment: &[(&str, &str)],
) -> Result<Vec<Value>, Failure> {
    let arguments =
        ["run", "--quiet", "--release", "--locked", "--package", package, "--example", example];
    let mut command = program("cargo", &arguments);
    let printed = output(command.envs(environment.iter().copied()))?;
    let rows = printed.lines().filter(|line| line.starts_with('{'));
    rows.map(|line| serde_json::from_str(line).map_err(|error| error.to_string())).collect()
}

/// The FHIR interface on both databases. The second is a temporary cluster.
fn gateway() -> Result<Vec<Value>, Failure> {
    let postgres = tools::Postgres::start()?;
    let url = postgres.url();
    let in_postgres = [("SALUS_TEST_STORE", "postgres"), ("SALUS_TEST_POSTGRES", &*url)];
    let mut all = Vec::new();
    for (name, environment) in [("SQLite", &[][..]), ("PostgreSQL", &in_postgres[..])] {
        for mut row in example_with("fhir", "bench_gateway", environment)? {
            row["name"] = format!("{name}: {}", row["name"].as_str().unwrap_or_default()).into();
            all.push(row);
        }
    }
    Ok(all)
}

/// Runs the main job on the archive of real patients, as users do, and takes its own figures.
fn import() -> Result<Vec<Value>, Failure> {
    let data = tools::shared_data().ok_or("../shared/data is not there: nothing to import")?;
    let archive = data.join("fhir/synthea_r4_smart_first100_bundles.tar.zst");
    let dir = root().join("target/bench/import");
    let summary = root().join("target/bench/import-summary.json");
    let _ = fs::remove_dir_all(&dir);
    succeed(&mut program("cargo", &["build", "--quiet", "--release", "--locked"]))?;
    let mut command = program("cargo", &["run", "--quiet", "--release", "--locked", "--", "up"]);
    command.arg("--once").arg("--data").arg(&dir).arg("--fhir").arg(archive);
    output(command.arg("--summary").arg(&summary))?;
    let _ = fs::remove_dir_all(&dir);
    let text = fs::read(&summary).map_err(|error| error.to_string())?;
    let summary: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let figure = |key: &str| summary[key].as_f64().unwrap_or_default();
    let rate = |count: &str, seconds: &str| figure(count) / figure(seconds).max(1e-9);
    let reconciled = rate("reconciled_versions", "reconcile_seconds");
    let reconciled_bytes = rate("reconciled_bytes", "reconcile_seconds") / 1e6;
    let imported = rate("imported_records", "import_seconds");
    Ok(vec![
        json!({ "name": "patients imported", "value": figure("imported_patients"), "unit": "" }),
        json!({ "name": "records imported, sealed and anchored", "unit": "",
            "value": figure("imported_records") }),
        json!({ "name": "import end to end, accounts and relationships included",
            "value": imported, "unit": "records/s", "goal": 20_000 }),
        json!({ "name": "of its time, while accounts and relationships were made",
            "value": figure("accounts_seconds") / figure("import_seconds") * 100.0, "unit": "%" }),
        json!({ "name": "the same in bytes of FHIR", "unit": "MB/s",
            "value": rate("imported_bytes", "import_seconds") / 1e6 }),
        json!({ "name": "reconcile, four vaults", "value": reconciled, "unit": "records/s",
            "goal": 100_000 }),
        json!({ "name": "the same in sealed bytes", "value": reconciled_bytes, "unit": "MB/s" }),
        json!({ "name": "chain's blocks on disk", "value": figure("chain_bytes") / 1e6,
            "unit": "MB" }),
        json!({ "name": "memory of `salus up`, at most", "unit": "MB", "goal": 400,
            "at_most": true, "value": figure("peak_memory_megabytes") }),
    ])
}

fn write(name: &str, rows: &[Value]) -> Result<(), Failure> {
    let dir = root().join("target/bench");
    fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let text = serde_json::to_string_pretty(rows).map_err(|error| error.to_string())?;
    fs::write(dir.join(format!("{name}.json")), text).map_err(|error| error.to_string())
}

/// Whether a goal was met; nothing when there is none.
fn met(row: &Value) -> Value {
    match (row["value"].as_f64(), row["goal"].as_f64(), row["at_most"].as_bool()) {
        (Some(value), Some(goal), Some(true)) => json!(value <= goal),
        (Some(value), Some(goal), _) => json!(value >= goal),
        _ => Value::Null,
    }
}

fn print_table(rows: &[Value]) {
    let text = |row: &Value, key: &str| match &row[key] {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(String::new, |number| {
            if number.abs() >= 100.0 { format!("{number:.0}") } else { format!("{number:.3}") }
        }),
        Value::Bool(met) => if *met { "yes" } else { "no" }.into(),
        _ => String::new(),
    };
    println!("{:<64} {:>12} {:<14} {:>10} met", "what", "value", "unit", "goal");
    for row in rows {
        println!(
            "{:<64} {:>12} {:<14} {:>10} {}",
            text(row, "name"),
            text(row, "value"),
            text(row, "unit"),
            text(row, "goal"),
            text(row, "met"),
        );
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn every_published_figure_has_operations_of_ours() {
        let rows = gas().unwrap();
        let ratios = rows.iter().filter(|row| row["unit"] == "times").count();
        let ours: usize = PUBLISHED.iter().map(|published| published.ours.len()).sum();
        assert_eq!(ratios, ours);
    }

    #[test]
    fn a_ratio_is_ours_to_theirs() {
        let names = PUBLISHED.iter().flat_map(|published| published.ours);
        let operations: Vec<Value> =
            names.map(|(name, _)| json!({ "name": name, "gas": 156_000 })).collect();
        let rows = against_published(&operations).unwrap();
        let by_key = &rows[2];
        assert_eq!(by_key["value"], 2.0, "{rows:?}");
        assert_eq!(met(by_key), false, "twice as much is not at most as much");
    }

    #[test]
    fn an_operation_that_is_gone_is_named() {
        let failure = against_published(&[]).unwrap_err();
        assert_eq!(failure, "contracts/gas.json has no consent.grant-by-key");
    }
}
