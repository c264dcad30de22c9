//! Spoiled JSON-RPC: every call is answered by the rules, and none but a signed transaction changes
//! anything.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;

use alloy_primitives::{B256, hex};
use common::served::Served;
use common::{RpcExt as _, STORE, Wallet, open_instant, store_input};
use mutations::{bytes, fuzz, json_of};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The longest error, in bytes, its data apart.
const MESSAGE_BYTES_MAX: usize = 2_000;

/// Every method that takes parameters, with some that it takes.
fn calls(transaction: &Value, raw: &str, wallet: &Wallet) -> Vec<Value> {
    let call = json!({
        "from": wallet.address, "to": STORE, "data": store_input(9, 9), "gas": "0x30000",
        "value": "0x0", "nonce": "0x1", "accessList": [],
    });
    let filter =
        json!({ "fromBlock": "0x0", "toBlock": "latest", "address": STORE, "topics": [null] });
    let overrides = json!({ STORE.to_string(): { "code": "0x00", "stateDiff": { B256::ZERO.to_string(): B256::ZERO } } });
    json!([
        ["web3_sha3", ["0x01"]],
        ["eth_getBlockByNumber", ["0x1", true]],
        ["eth_getBlockByHash", [B256::ZERO, false]],
        ["eth_getBlockTransactionCountByNumber", ["latest"]],
        ["eth_getBlockReceipts", ["0x1"]],
        ["eth_getTransactionByHash", [transaction]],
        ["eth_getTransactionByBlockNumberAndIndex", ["0x1", "0x0"]],
        ["eth_getRawTransactionByHash", [transaction]],
        ["eth_getTransactionReceipt", [transaction]],
        ["eth_getBalance", [STORE, "latest"]],
        ["eth_getCode", [STORE, "0x1"]],
        ["eth_getStorageAt", [STORE, "0x1", "latest"]],
        ["eth_getTransactionCount", [STORE, "pending"]],
        ["eth_getProof", [STORE, ["0x1", B256::ZERO], "latest"]],
        ["eth_call", [call, "latest", overrides]],
        ["eth_estimateGas", [call, "latest"]],
        ["eth_feeHistory", ["0x4", "latest", [25.0, 75.0]]],
        ["eth_sendRawTransaction", [raw]],
        ["txpool_contentFrom", [STORE]],
        ["eth_getLogs", [filter]],
        ["eth_newFilter", [filter]],
        ["eth_getFilterChanges", ["0x1"]],
        ["eth_getFilterLogs", ["0x1"]],
        ["eth_uninstallFilter", ["0x1"]],
    ])
    .as_array()
    .unwrap()
    .clone()
}

#[test]
fn spoiled_calls_are_answered_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let wallet = Wallet::new(0);
    let raw = hex::encode_prefixed(wallet.store(1, 7));
    let transaction = rpc.ok("eth_sendRawTransactionSync", json!([raw]))["transactionHash"].clone();
    let head = rpc.chain().head().hash;
    fuzz(1_500, json_of(calls(&transaction, &raw, &wallet)), |call| {
        let Some(method) = call[0].as_str() else { return Ok(()) };
        if let Err(error) = rpc.handle(method, call[1].clone()) {
            prop_assert!(error.message.len() <= MESSAGE_BYTES_MAX, "{} bytes", error.message.len());
            // 3 is a revert; the others are of JSON-RPC and EIP-1474. -32603 would be a fault of ours.
            let known = error.code == 3 || (-32_099..=-32_000).contains(&error.code);
            let known = known || (-32_602..=-32_600).contains(&error.code);
            prop_assert!(known, "{}: {}", error.code, error.message);
        }
        // No call is signed but the one that was sent already.
        prop_assert_eq!(rpc.chain().head().hash, head);
        Ok(())
    });
    rpc.chain().close();
}

#[test]
fn spoiled_bodies_are_answered_over_http() {
    let served = Served::instant();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["0x0", false] });
    let batch = json!([call, { "jsonrpc": "2.0", "id": "x", "method": "eth_chainId" }, call]);
    let samples = vec![call.to_string().into_bytes(), batch.to_string().into_bytes()];
    fuzz(150, bytes(samples), |body| {
        let answer = served.post(String::from_utf8_lossy(&body));
        prop_assert!(answer.status < 500, "{}", answer.status);
        if answer.status == 200 && !answer.body.is_empty() {
            let answered: Value = answer.json();
            let answers = answered.as_array().cloned().unwrap_or_else(|| vec![answered]);
            for answer in answers {
                prop_assert_eq!(&answer["jsonrpc"], "2.0");
                prop_assert!(answer.get("result").is_some() != answer.get("error").is_some());
            }
        }
        Ok(())
    });
}
