//! `salus verify`: a record's proof bundle, checked without any network.
//!
//! What a bundle says of itself proves nothing. The contract's address comes from whoever checks it, and
//! so does the block's hash; without the hash the answer says that the block is not vouched for.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use alloy_primitives::Address;
use bindings::Contract;
use gatekeeper::{Bundle, ProvenState, TrustedChain};

use crate::{Error, cli::VerifyOptions, consortium::CHAIN_ID, printing::say};

/// Checks a bundle; the exit code is 1 when it proves nothing.
pub(crate) fn verify(options: &VerifyOptions) -> Result<ExitCode, Error> {
    let path = options.bundle.display();
    let text = std::fs::read(&options.bundle)
        .map_err(|error| format!("could not read {path}: {error}"))?;
    let bundle: Bundle = serde_json::from_slice(&text)
        .map_err(|error| format!("{path} is no proof bundle: {error}"))?;
    let records_contract = match (options.contract, &options.deployment) {
        (Some(contract), _) => contract,
        (None, Some(file)) => records_in(file)?,
        (None, None) => return Err("give --contract or --deployment".into()),
    };
    let block_hash = options.block_hash;
    let trusted = TrustedChain { chain_id: CHAIN_ID, records_contract, block_hash };
    let checked = match bundle.check(&trusted) {
        Ok(checked) => checked,
        Err(reason) => {
            say!("not proven: {reason}");
            return Ok(ExitCode::from(1));
        }
    };
    if options.json {
        say!("{}", serde_json::to_string_pretty(&checked)?);
        return Ok(ExitCode::SUCCESS);
    }
    let anchor = &checked.anchor;
    if checked.block_is_trusted {
        say!("proven");
    } else {
        say!("proven, if you trust this block: {}", checked.block_hash);
    }
    say!("  record   {}, version {}, {}", anchor.record, anchor.version, anchor.kind);
    say!("  digest   {}", anchor.digest);
    say!("  patient  {}", anchor.patient);
    say!("  steward  {}", anchor.steward);
    match checked.state {
        ProvenState::Alone(state) => say!("  state    {state}"),
        ProvenState::Batch { anchored_at } => {
            say!("  state    in a batch anchored {anchored_at}")
        }
    }
    say!("  block    {} of {}", checked.block_number, checked.block_time);
    say!("           {}", checked.block_hash);
    say!("  contract {records_contract}");
    if !checked.block_is_trusted {
        say!(
            "  Nothing vouches for the block itself. Ask somebody who follows the chain for its hash,\n  \
             and give that with --block-hash."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a deployment's file says that the contract `Records` is.
fn records_in(file: &Path) -> Result<Address, Error> {
    let path = file.display();
    let text = std::fs::read(file).map_err(|error| format!("could not read {path}: {error}"))?;
    let addresses: BTreeMap<String, Address> = serde_json::from_slice(&text)
        .map_err(|error| format!("{path} is no list of contracts: {error}"))?;
    let found = addresses.get(Contract::Records.name()).copied();
    Ok(found.ok_or_else(|| format!("{path} names no {}", Contract::Records))?)
}
