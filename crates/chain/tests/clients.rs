//! The clients that people use, against the real server: `cast`, viem and ethers.
//!
//! Needs what `cargo xtask test` installs below `contracts/`; says so and passes without it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use alloy_primitives::{B256, U256};
use common::{STORE, Wallet, served::Served, store_input};
use serde_json::{Value, json};

fn contracts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

/// A file below `contracts/node_modules`, if it is there.
fn installed(path: &str) -> Option<PathBuf> {
    let path = contracts().join("node_modules").join(path);
    if !path.exists() {
        eprintln!("SKIPPED: no {path:?}; run `cargo xtask test`, which installs it");
        return None;
    }
    Some(path)
}

/// Runs a program that must succeed, and gives what it says.
#[track_caller]
fn output(command: &mut Command) -> String {
    // Whoever tests behind a proxy does not want it between programs of one machine.
    for proxy in
        ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]
    {
        command.env_remove(proxy);
    }
    let done = command.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}\n{out}\n{err}");
    out.trim().to_owned()
}

#[test]
fn cast_reads_writes_and_proves() {
    let Some(cast) = installed("@foundry-rs/cast-linux-amd64/bin/cast") else { return };
    let served = Served::instant();
    let home = tempfile::tempdir().unwrap();
    let url = format!("http://127.0.0.1:{}", served.port);
    let run = |arguments: &[&str]| {
        let command = &mut Command::new(&cast);
        output(command.args(arguments).args(["--rpc-url", &url]).env("HOME", home.path()))
    };
    let parsed = |arguments: &[&str]| -> Value {
        serde_json::from_str(&run(&[arguments, &["--json"]].concat())).unwrap()
    };
    let wallet = Wallet::new(0);
    let (sender, key, store) =
        (wallet.address.to_string(), wallet.key().to_string(), STORE.to_string());
    assert_eq!(run(&["chain-id"]), "31337");
    assert_eq!(run(&["block-number"]), "0");
    assert_eq!(run(&["balance", &sender]), "100000000000000000000");
    assert_eq!(run(&["nonce", &sender]), "0");
    assert!(run(&["client"]).starts_with("salus/"));
    assert!(run(&["gas-price"]).parse::<u64>().unwrap() > 0);

    let input = store_input(1, 7).to_string();
    let estimate: u64 = run(&["estimate", "--from", &sender, &store, &input]).parse().unwrap();
    let receipt = parsed(&["send", "--private-key", &key, &store, &input]);
    assert_eq!(receipt["status"], "0x1");
    assert_eq!(receipt["gasUsed"], json!(U256::from(estimate)));
    let hash = receipt["transactionHash"].as_str().unwrap();
    assert_eq!(parsed(&["receipt", hash]), receipt);
    assert_eq!(parsed(&["tx", hash])["input"], json!(input));
    assert_eq!(run(&["nonce", &sender]), "1");

    let block = parsed(&["block", "latest"]);
    assert_eq!((&block["number"], &block["hash"]), (&json!("0x1"), &receipt["blockHash"]));
    assert_eq!(run(&["call", &store, &store_input(2, 2).to_string()]), "0x");
    assert_eq!(run(&["storage", &store, "1"]), B256::with_last_byte(7).to_string());
    assert_eq!(run(&["code", &store]), common::STORE_CODE.to_string());
    let logs = parsed(&["logs", "--from-block", "0", "--address", &store]);
    assert_eq!((logs.as_array().unwrap().len(), &logs[0]["transactionHash"]), (1, &json!(hash)));
    let proof = parsed(&["proof", &store, "1"]);
    assert_eq!(proof["storageProof"][0]["value"], "0x7");
    assert_eq!(run(&["rpc", "eth_chainId"]), "\"0x7a69\"");
    // Reverts reach the user with their data.
    let revert = format!("0x{}", "11".repeat(96));
    let failed = Command::new(&cast)
        .args(["call", &store, &revert, "--rpc-url", &url])
        .env("HOME", home.path())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(!failed.status.success() && message.contains(&"11".repeat(32)), "{message}");
}

/// Runs one of the scripts beside this file.
fn script(name: &str) {
    if installed(name).is_none() {
        return;
    }
    let served = Served::instant();
    let script = format!("{}/tests/clients/{name}.mjs", env!("CARGO_MANIFEST_DIR"));
    let said = output(
        Command::new("node")
            .args([script, served.port.to_string(), Wallet::new(0).key().to_string()])
            .env("SALUS_CONTRACTS", contracts()),
    );
    assert_eq!(said, format!("{name} is content"));
}

#[test]
fn viem_deploys_writes_reads_watches_and_proves() {
    script("viem");
}

#[test]
fn ethers_deploys_writes_reads_and_watches() {
    script("ethers");
}
