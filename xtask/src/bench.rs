//! Measures, prints a table, and writes `target/bench/NAME.json`.
//!
//! A benchmark is an example of a crate that prints one JSON object per line: `{name, value, unit,
//! goal}`. A goal is a number to reach: at least, or with `"at_most": true` at most.

use std::fs;

use serde_json::{Value, json};

use crate::{
    run::{Failure, output, program, root},
    tools,
};

/// The benchmarks, with the crate whose example each is.
const BENCHES: &[(&str, &str, &str)] = &[
    ("ledger", "ledger", "bench_ledger"),
    ("vault", "vault", "bench_vault"),
    ("import", "salus", "bench_import"),
];

/// Runs the named benchmarks, or all.
pub(crate) fn run(names: &[&str]) -> Result<(), Failure> {
    let unknown = names.iter().find(|name| !BENCHES.iter().any(|(known, ..)| known == *name));
    if let Some(unknown) = unknown {
        let known: Vec<_> = BENCHES.iter().map(|(name, ..)| *name).collect();
        return Err(format!("there is no benchmark {unknown}; there are {}", known.join(", ")));
    }
    tools::install_npm()?;
    for (name, package, example) in BENCHES {
        if names.is_empty() || names.contains(name) {
            run_one(name, package, example)?;
        }
    }
    Ok(())
}

fn run_one(name: &str, package: &str, example: &str) -> Result<(), Failure> {
    println!("\n=== bench {name} at {}", tools::commit());
    let arguments =
        ["run", "--quiet", "--release", "--locked", "--package", package, "--example", example];
    let printed = output(&mut program("cargo", &arguments))?;
    let mut rows = Vec::new();
    for line in printed.lines().filter(|line| line.starts_with('{')) {
        let mut row: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        row["met"] = met(&row);
        rows.push(row);
    }
    print_table(&rows);
    let dir = root().join("target/bench");
    fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    let text = serde_json::to_string_pretty(&rows).map_err(|error| error.to_string())?;
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
