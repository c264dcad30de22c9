//! Every error of every contract has words for the person who meets it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use std::path::Path;

use alloy_primitives::keccak256;
use bindings::{Contract, ContractError};
use serde_json::Value;

/// The states and standings that the contracts know, and more.
const NUMBERS: std::ops::RangeInclusive<u8> = 0..=15;

/// An error as an artifact has it.
struct Declared {
    contract: String,
    name: String,
    inputs: Vec<Value>,
}

impl Declared {
    /// What a contract reverts with: `number` in each field that is an enumeration, 1 in other numbers, nothing
    /// in the rest.
    fn data(&self, number: u8) -> Vec<u8> {
        let types: Vec<String> = self.inputs.iter().map(canonical).collect();
        let selector = keccak256(format!("{}({})", self.name, types.join(",")));
        let mut data = selector[..4].to_vec();
        let word = |value: u8| [[0; 31].as_slice(), &[value]].concat();
        for (input, canonical) in self.inputs.iter().zip(&types) {
            data.extend(match canonical.as_str() {
                _ if is_enumeration(input) => word(number),
                // Where its length stands, which follows.
                "string" | "bytes" => [word(32), word(0)].concat(),
                fixed if fixed.starts_with("bytes") => word(0),
                tuple if tuple.starts_with('(') => {
                    let fields = input["components"].as_array().unwrap();
                    fields.iter().flat_map(|_| word(0)).collect()
                }
                _ => word(1),
            });
        }
        data
    }

    fn words(&self, number: u8) -> String {
        let contract = Contract::ALL.into_iter().find(|one| one.name() == self.contract);
        let data = self.data(number);
        ContractError::decode_from(contract.as_slice(), &data).to_string()
    }
}

fn canonical(input: &Value) -> String {
    match input["components"].as_array() {
        Some(fields) => {
            format!("({})", fields.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        None => input["type"].as_str().unwrap().to_owned(),
    }
}

fn is_enumeration(input: &Value) -> bool {
    input["internalType"].as_str().is_some_and(|name| name.starts_with("enum "))
}

fn declared() -> Vec<Declared> {
    let artifacts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/artifacts");
    let mut all = Vec::new();
    for file in std::fs::read_dir(artifacts).unwrap() {
        let path = file.unwrap().path();
        let artifact: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for entry in artifact["abi"].as_array().unwrap() {
            if entry["type"] == "error" {
                all.push(Declared {
                    contract: path.file_stem().unwrap().to_str().unwrap().into(),
                    name: entry["name"].as_str().unwrap().into(),
                    inputs: entry["inputs"].as_array().unwrap().clone(),
                });
            }
        }
    }
    assert!(all.len() > 200, "the artifacts were found");
    all
}

#[test]
fn every_error_of_every_contract_has_words() {
    for error in declared() {
        let said = error.words(1);
        let of = format!("{}.{}: {said}", error.contract, error.name);
        let words = said.strip_suffix(&format!(" ({})", error.name)).expect(&of);
        assert!(words.split(' ').count() > 2, "{of}");
        assert!(!words.ends_with('.') && !words.contains(['{', '}', '_']), "{of}");
    }
}

/// A number stands where it counts something, never for a state, a standing, a role or a verdict.
#[test]
fn states_are_told_by_name() {
    let mut found = 0;
    for error in declared().iter().filter(|error| error.inputs.iter().any(is_enumeration)) {
        let said: Vec<String> = NUMBERS.map(|number| error.words(number)).collect();
        for (number, text) in NUMBERS.zip(&said) {
            let mut words = text.split(|mark: char| !mark.is_alphanumeric());
            let number = number.to_string();
            let other_numbers = error.inputs.iter().any(|input| {
                !is_enumeration(input)
                    && input["type"].as_str().is_some_and(|kind| kind.starts_with("uint"))
            });
            assert!(
                other_numbers || !words.any(|word| word == number),
                "{}.{}: {text}",
                error.contract,
                error.name
            );
        }
        // What stands for nothing, the first and the second are three different things.
        assert!(said[0] != said[1] && said[1] != said[2], "{}: {said:?}", error.name);
        found += 1;
    }
    assert!(found > 30, "the enumerations were found: {found}");
}

/// Times are dates, not seconds since 1970.
#[test]
fn times_are_told_as_dates() {
    for error in declared() {
        let of_time = |input: &&Value| {
            let name = input["name"].as_str().unwrap();
            input["type"] == "uint40" || name == "deadline" || name == "until"
        };
        if let Some(_time) = error.inputs.iter().find(of_time) {
            let said = error.words(1);
            let is_date = said.contains("1970-01-01T00:00:01Z");
            assert!(
                is_date || said.contains("1 second"),
                "{}.{}: {said}",
                error.contract,
                error.name
            );
        }
    }
}
