//! `salus verify`: a record's proof bundle, checked without any network.

use std::process::ExitCode;

use gatekeeper::{Bundle, ProvenState};

use crate::{Error, cli::VerifyOptions};

/// Checks a bundle; the exit code is 1 when it proves nothing.
pub(crate) fn verify(options: &VerifyOptions) -> Result<ExitCode, Error> {
    let path = options.bundle.display();
    let text = std::fs::read(&options.bundle)
        .map_err(|error| format!("could not read {path}: {error}"))?;
    let bundle: Bundle = serde_json::from_slice(&text)
        .map_err(|error| format!("{path} is no proof bundle: {error}"))?;
    let checked = match bundle.check() {
        Ok(checked) => checked,
        Err(reason) => {
            println!("not proven: {reason}");
            return Ok(ExitCode::from(1));
        }
    };
    if options.block_hash.is_some_and(|trusted| trusted != checked.block_hash) {
        println!(
            "not proven: the bundle leads to block {}, not to the one given",
            checked.block_hash
        );
        return Ok(ExitCode::from(1));
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&checked)?);
        return Ok(ExitCode::SUCCESS);
    }
    let anchor = &checked.anchor;
    println!("proven");
    println!("  record   {}, version {}, {}", anchor.record, anchor.version, anchor.kind);
    println!("  digest   {}", anchor.digest);
    println!("  patient  {}", anchor.patient);
    println!("  steward  {}", anchor.steward);
    match checked.state {
        ProvenState::Alone(state) => println!("  state    {state}"),
        ProvenState::Batch { anchored_at } => {
            println!("  state    in a batch anchored {anchored_at}")
        }
    }
    println!("  block    {} of {}", checked.block_number, checked.block_time);
    println!("           {}", checked.block_hash);
    if options.block_hash.is_none() {
        println!(
            "  Compare the block's hash with one that you trust, or give it with --block-hash."
        );
    }
    Ok(ExitCode::SUCCESS)
}
