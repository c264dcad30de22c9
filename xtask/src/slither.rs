//! Slither over the contracts: every finding is fixed, or explained in `contracts/slither.json`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    run::{Failure, output, program, root},
    tools,
};

/// What is explained.
#[derive(Deserialize)]
struct Explained {
    /// By detector: findings of one kind, wherever they are.
    detectors: BTreeMap<String, String>,
    /// By detector and place.
    findings: BTreeMap<String, BTreeMap<String, String>>,
}

/// Runs Slither and holds what it finds against what is explained.
pub(crate) fn run() -> Result<(), Failure> {
    let slither = tools::install_slither()?;
    tools::install_npm()?;
    let contracts = root().join("contracts");
    let dir = working_folder(&contracts)?;
    let input = output(program("node", &["slither-input.mjs"]).current_dir(&contracts))?;
    fs::write(dir.join("input.json"), input).map_err(|error| error.to_string())?;
    let mut command = program(&slither.to_string_lossy(), &["input.json"]);
    command.args(["--compile-force-framework", "solc-json", "--solc", "./solc-wrap"]);
    command.args(["--fail-none", "--json", "report.json"]);
    // What it prints of libraries would hide what matters; the report has all of it.
    output(command.current_dir(&dir))?;
    let report = fs::read(dir.join("report.json")).map_err(|error| error.to_string())?;
    let report: Value = serde_json::from_slice(&report).map_err(|error| error.to_string())?;
    if report["success"] != true {
        return Err(format!("Slither failed: {}", report["error"]));
    }
    let explained = fs::read(contracts.join("slither.json")).map_err(|error| error.to_string())?;
    let explained = serde_json::from_slice(&explained).map_err(|error| error.to_string())?;
    let wrong = compare(&report, explained);
    if wrong.is_empty() { Ok(()) } else { Err(format!("\n{}", wrong.join("\n"))) }
}

/// A new folder below `target` where the contracts' files are found under their names. Beside
/// `foundry.toml` Slither would run forge, and download a compiler.
fn working_folder(contracts: &Path) -> Result<PathBuf, Failure> {
    let dir = root().join("target/slither-work");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).map_err(|error| error.to_string())?;
    for name in ["src", "node_modules", "solc-wrap"] {
        symlink(contracts.join(name), dir.join(name)).map_err(|error| error.to_string())?;
    }
    Ok(dir)
}

/// What is found and not explained, and what is explained and not found.
fn compare(report: &Value, mut explained: Explained) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    let found = report["results"]["detectors"].as_array();
    for finding in found.into_iter().flatten().filter(|finding| is_ours(finding)) {
        let (detector, place) = (text(finding, "check"), place(&finding["elements"][0]));
        let is_explained = explained.detectors.contains_key(detector)
            || explained.findings.get(detector).is_some_and(|places| places.contains_key(&place));
        if !is_explained {
            wrong.push(format!("{detector} at {place}: {}", text(finding, "description").trim()));
        }
        seen.insert((detector.to_owned(), place));
    }
    explained.detectors.retain(|detector, _| !seen.iter().any(|(found, _)| found == detector));
    wrong.extend(explained.detectors.into_keys().map(|detector| {
        format!("{detector} is explained and not found any more: take it out of slither.json")
    }));
    for (detector, places) in explained.findings {
        for place in places.into_keys() {
            if !seen.contains(&(detector.clone(), place.clone())) {
                wrong.push(format!(
                    "{detector} at {place} is explained and not found any more: take it out of \
                     slither.json"
                ));
            }
        }
    }
    wrong
}

/// Whether a finding is in a source of ours, and not in a library alone.
fn is_ours(finding: &Value) -> bool {
    let elements = finding["elements"].as_array();
    elements
        .into_iter()
        .flatten()
        .any(|element| text(&element["source_mapping"], "filename_relative").starts_with("src/"))
}

/// Where a finding is: contract, function and variable, as far as it has them. Lines would change with
/// every edit.
fn place(element: &Value) -> String {
    let own = match text(element, "type") {
        // A statement is in its function, whatever it says.
        "node" => None,
        _ => Some(text(element, "name").to_owned()),
    };
    let parent = &element["type_specific_fields"]["parent"];
    let before = if parent.is_object() { Some(place(parent)) } else { None };
    let parts = before.into_iter().chain(own).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(".")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(file: &str) -> Value {
        let contract = json!({ "type": "contract", "name": "Records" });
        let function = json!({ "type": "function", "name": "accept",
            "type_specific_fields": { "parent": contract } });
        let node = json!({ "type": "node", "name": "x == 0", "source_mapping": { "filename_relative": file },
            "type_specific_fields": { "parent": function } });
        json!({ "results": { "detectors": [
            { "check": "equality", "description": "is equal", "elements": [node] } ] } })
    }

    fn explained(text: Value) -> Explained {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn what_is_not_explained_is_told() {
        let none = || explained(json!({ "detectors": {}, "findings": {} }));
        assert_eq!(
            compare(&report("src/Records.sol"), none()),
            ["equality at Records.accept: is equal"]
        );
        assert!(compare(&report("node_modules/x.sol"), none()).is_empty());
        let findings = json!({ "equality": { "Records.accept": "because" } });
        let one = explained(json!({ "detectors": {}, "findings": findings }));
        assert!(compare(&report("src/Records.sol"), one).is_empty());
    }

    #[test]
    fn what_is_not_found_any_more_is_told() {
        let findings = json!({ "equality": { "Records.reject": "because" } });
        let all = explained(
            json!({ "detectors": { "other": "x", "equality": "y" }, "findings": findings }),
        );
        let wrong = compare(&report("src/Records.sol"), all);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }
}
