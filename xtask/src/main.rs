//! Do what cargo cannot: contracts, benchmarks, the whole test run.
//!
//! ```text
//! cargo xtask test              everything that must pass, tools installed first
//! cargo xtask contracts build   compile the contracts and write their artifacts
//! cargo xtask contracts check   compile them and compare with the committed artifacts
//! cargo xtask slither           hold what Slither finds in the contracts against what is explained
//! cargo xtask schemathesis      try the FHIR interface of a served gateway with made-up requests
//! cargo xtask gas               measure gas per operation and workflow, write contracts/gas.json and workflows.json
//! cargo xtask bench [NAME …]    measure, print a table, write target/bench/NAME.json
//! cargo xtask r4-pack [--check] make crates/r4/r4.json.zst from HL7's definitions, or compare with it
//! ```

mod bench;
mod checks;
mod r4_pack;
mod run;
mod schemathesis;
mod slither;
mod test;
mod tools;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["test"] => test::everything(),
        ["contracts", "build"] => tools::contracts_build(),
        ["contracts", "check"] => tools::contracts_check(),
        ["slither"] => slither::run(),
        ["schemathesis"] => schemathesis::run(),
        ["gas"] => tools::gas(),
        ["bench", names @ ..] => bench::run(names),
        ["r4-pack"] => r4_pack::build(),
        ["r4-pack", "--check"] => r4_pack::check(),
        _ => {
            eprintln!(
                "usage: cargo xtask test | contracts build | contracts check | slither | schemathesis | gas | bench [NAME …] | r4-pack [--check]"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nfailed: {error}");
            ExitCode::FAILURE
        }
    }
}
