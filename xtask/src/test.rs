//! Everything that must pass, in one command.

use std::process::Command;

use crate::{
    checks,
    run::{Failure, built, program, root, step, succeed},
    schemathesis, slither,
    tools::{self, Postgres},
};

/// Runs every check, the cheapest first.
pub(crate) fn everything() -> Result<(), Failure> {
    step("format", || succeed(&mut program("cargo", &["fmt", "--all", "--check"])))?;
    step("directions between crates", checks::directions)?;
    step("licences", checks::licences)?;
    step("tools from npm", tools::install_npm)?;
    step("artifacts are what the sources compile to", tools::contracts_check)?;
    step("contracts' tests", tools::forge_test)?;
    step("Slither", slither::run)?;
    step("tools from Debian", tools::install_commands)?;
    step("clippy", || {
        let arguments =
            ["clippy", "--locked", "--workspace", "--all-targets", "--", "--deny", "warnings"];
        succeed(&mut cargo(&arguments))
    })?;
    step("documentation", || {
        let arguments = ["doc", "--locked", "--workspace", "--no-deps", "--document-private-items"];
        succeed(cargo(&arguments).env("RUSTDOCFLAGS", "--deny warnings"))
    })?;
    step("tests", rust_tests)?;
    step("Schemathesis", schemathesis::run)?;
    step("the main job", main_job)
}

/// Cargo as a run uses it that builds everything once: what is kept for building again takes more
/// disk than the build itself.
fn cargo(arguments: &[&str]) -> Command {
    let mut command = program("cargo", arguments);
    command.env("CARGO_INCREMENTAL", "0");
    command
}

fn rust_tests() -> Result<(), Failure> {
    let postgres = Postgres::start()?;
    let arguments = ["test", "--locked", "--workspace", "--no-fail-fast"];
    succeed(cargo(&arguments).env("SALUS_TEST_POSTGRES", postgres.url()))?;
    // What speaks FHIR once more, with every institution's vault in PostgreSQL.
    let arguments = ["test", "--locked", "--workspace", "--no-fail-fast", "--test", "fhir_*"];
    let mut again = cargo(&arguments);
    again.env("SALUS_TEST_POSTGRES", postgres.url()).env("SALUS_TEST_STORE", "postgres");
    succeed(&mut again)
}

/// The README's first command, with our own records and, where they are, with real ones.
fn main_job() -> Result<(), Failure> {
    let salus = built("salus")?;
    let dir = root().join("target/main-job");
    let run = |fhir: Option<&str>| {
        let _ = std::fs::remove_dir_all(&dir);
        let mut command = program(&salus.to_string_lossy(), &["up", "--once"]);
        command.arg("--data").arg(&dir);
        if let Some(fhir) = fhir {
            command.arg("--fhir").arg(fhir);
        }
        succeed(&mut command)
    };
    run(None)?;
    match tools::shared_data() {
        Some(data) => {
            let archive = data.join("fhir/synthea_r4_smart_first100_bundles.tar.zst");
            run(Some(&archive.to_string_lossy()))?;
        }
        None => println!("SKIPPED: ../shared/data is not there, so no real records were imported"),
    }
    let _ = std::fs::remove_dir_all(&dir);
    Ok(())
}
