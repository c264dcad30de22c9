//! Checks of the workspace as a whole: which crate may use which, and under which licences.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::run::{Failure, output, program};

/// The crates in the order of ARCHITECTURE.md: each may use those before it, never those after.
const ORDER: &[&str] = &[
    "domain",
    "bindings",
    "chain",
    "census",
    "ledger",
    "vault",
    "exchange",
    "gatekeeper",
    "notify",
    "hl7v2",
    "workflows",
    "r4",
    "search",
    "smart",
    "fhir",
    "study",
    "salus",
];

/// What must not be reachable from a crate, because it would break what the crate promises.
const NEVER: &[(&str, &[&str])] = &[
    // Pure: no I/O, no async, no randomness.
    ("domain", &["tokio", "async-std", "reqwest", "sqlx", "rand", "getrandom"]),
    // Only types and calls.
    ("bindings", &["tokio", "reqwest", "sqlx", "revm"]),
    // The chain knows nothing of records.
    ("chain", &["sqlx", "hpke"]),
    // Files are read without a clock and without a network.
    ("census", &["tokio", "reqwest", "sqlx", "time", "revm"]),
    // It executes on a chain of its own, and knows nothing of records.
    ("study", &["sqlx", "hpke", "reqwest", "workflows"]),
    // Messages are read without a clock and without a network.
    ("hl7v2", &["tokio", "reqwest", "sqlx", "time"]),
    // Sealing knows nothing of the chain.
    ("vault", &["revm", "alloy-provider"]),
];

/// Licences that let everybody use what we make of them.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
];

fn metadata() -> Result<Value, Failure> {
    let text = output(&mut program("cargo", &["metadata", "--format-version", "1", "--locked"]))?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Arrows between crates run one way.
pub(crate) fn directions() -> Result<(), Failure> {
    let metadata = metadata()?;
    let rank = |name: &str| ORDER.iter().position(|ordered| *ordered == name);
    for package in packages(&metadata) {
        let Some(user) = rank(text(package, "name")) else { continue };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let development = text(dependency, "kind") == "dev";
            if let Some(used) = rank(text(dependency, "name"))
                && used >= user
                && !development
            {
                return Err(format!("{} must not use {}", ORDER[user], ORDER[used]));
            }
        }
    }
    for (name, forbidden) in NEVER {
        let reachable = reachable(name)?;
        if let Some(found) = forbidden.iter().find(|crate_name| reachable.contains(**crate_name)) {
            return Err(format!(
                "{name} must not reach {found}; see `cargo tree -p {name} -i {found}`"
            ));
        }
    }
    Ok(())
}

/// The names of everything that a crate is built with.
fn reachable(name: &str) -> Result<BTreeSet<String>, Failure> {
    let arguments = [
        "tree",
        "--locked",
        "--package",
        name,
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    let tree = output(&mut program("cargo", &arguments))?;
    Ok(tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

/// Everything that is built, tests and build scripts included, is under a permissive licence.
///
/// The lock file also names packages that no feature of ours turns on; they are never compiled.
pub(crate) fn licences() -> Result<(), Failure> {
    let arguments = [
        "tree",
        "--locked",
        "--workspace",
        "--target",
        "all",
        "--edges",
        "normal,build,dev",
        "--prefix",
        "none",
        "--format",
        "{p}\t{l}",
    ];
    let tree = output(&mut program("cargo", &arguments))?;
    let refused: BTreeSet<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| line.split_once('\t').is_none_or(|(_, licence)| !is_permissive(licence)))
        .filter(|line| !line.is_empty())
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(format!("not under a permissive licence: {refused:?}"))
}

fn is_permissive(licence: &str) -> bool {
    // Old crates write `MIT/Apache-2.0` and mean a choice.
    let Ok(expression) = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX) else {
        return false;
    };
    expression.evaluate(|requirement| LICENCES.contains(&requirement.to_string().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissive_licences_are_told_from_others() {
        for good in
            ["MIT", "MIT OR GPL-3.0-only", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"]
        {
            assert!(is_permissive(good), "{good}");
        }
        for bad in
            ["GPL-3.0-only", "AGPL-3.0-or-later", "MIT AND GPL-3.0-only", "BUSL-1.1", "", "Own"]
        {
            assert!(!is_permissive(bad), "{bad}");
        }
    }
}
