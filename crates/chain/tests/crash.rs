//! `kill -9` at any instant loses no confirmed block (S6).
//!
//! The parent starts this very test again as a child, which makes blocks and says which are
//! confirmed; the parent kills it at a moment drawn from a seed and opens what is left. Set
//! `SALUS_CRASH_ROUNDS` for more rounds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use alloy_primitives::keccak256;
use chain::Rpc;
use common::{RpcExt as _, STORE, Wallet, open, open_instant};
use serde_json::json;

const CHILD_DIR: &str = "SALUS_CRASH_DIR";

/// Makes blocks until killed. Odd confirmations come one by one, even ones in bursts.
fn child(dir: &Path) -> ! {
    let rpc = open_instant(dir);
    let wallet = Wallet::new(0);
    let next = rpc.chain().pending_nonce(&wallet.address);
    let mut out = std::io::stdout();
    for nonce in next.. {
        let input = common::store_input(nonce % 50, nonce + 1);
        let raw = wallet.call_with(nonce, 1, STORE, input);
        if nonce % 7 < 3 {
            rpc.ok("eth_sendRawTransaction", json!([raw]));
            continue;
        }
        let receipt = rpc.run(raw);
        let (hash, block) = (&receipt["transactionHash"], &receipt["blockHash"]);
        writeln!(out, "confirmed {nonce} {hash} {block}").unwrap();
    }
    unreachable!("the parent kills this process")
}

#[test]
fn confirmed_blocks_survive_kill_9() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        child(Path::new(&dir));
    }
    let rounds = std::env::var("SALUS_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    let mut confirmed = Vec::new();
    for round in 0..rounds.unwrap_or(25_u64) {
        confirmed.extend(run_and_kill(dir.path(), round));
        let rpc = Rpc::new(open(dir.path()));
        check(&rpc, &confirmed, round);
        rpc.chain().close();
    }
    assert!(confirmed.len() > 100, "rounds are long enough to confirm something");
}

/// Transaction and block hash of each confirmation.
fn run_and_kill(dir: &Path, round: u64) -> Vec<(u64, String, String)> {
    let seed = keccak256(round.to_be_bytes());
    let delay = Duration::from_micros(5_000 + u64::from(u16::from_be_bytes([seed[0], seed[1]])));
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confirmed_blocks_survive_kill_9", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    // The clock starts at the first confirmation, so that slow starts do not count.
    let first = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("confirmed"));
    std::thread::sleep(delay);
    process.kill().unwrap();
    process.wait().unwrap();
    first
        .into_iter()
        .chain(lines.map_while(Result::ok))
        .filter_map(|line| {
            let mut words = line.strip_prefix("confirmed ")?.split(' ');
            let nonce = words.next()?.parse().ok()?;
            let unquoted = |word: &str| Some(word.strip_prefix('"')?.strip_suffix('"')?.to_owned());
            Some((nonce, unquoted(words.next()?)?, unquoted(words.next()?)?))
        })
        .collect()
}

#[track_caller]
fn check(rpc: &Rpc, confirmed: &[(u64, String, String)], round: u64) {
    let nonce = rpc.chain().pending_nonce(&Wallet::new(0).address);
    for (confirmed_nonce, hash, block) in confirmed {
        assert!(*confirmed_nonce < nonce, "round {round}: nonce {confirmed_nonce} was lost");
        let receipt = rpc.ok("eth_getTransactionReceipt", json!([hash]));
        assert_eq!(receipt["blockHash"], json!(block), "round {round}: {hash} was lost");
        assert_eq!(receipt["status"], "0x1");
    }
}
