//! JSON-RPC as clients use it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use alloy_primitives::{Address, B256, Bytes, U256};
use common::{RpcExt as _, STORE, Wallet, open_instant, store_input};
use serde_json::{Value, json};

#[test]
fn basics_have_the_standard_form() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let wallet = Wallet::new(0);
    let receipt = rpc.run(wallet.store(1, 7));
    let hash = &receipt["transactionHash"];

    assert_eq!(rpc.ok("eth_chainId", json!([])), "0x7a69");
    assert_eq!(rpc.ok("net_version", json!([])), "31337");
    assert_eq!(rpc.ok("eth_blockNumber", json!([])), "0x1");
    assert!(rpc.ok("web3_clientVersion", json!([])).as_str().unwrap().starts_with("salus/"));

    let block = rpc.ok("eth_getBlockByNumber", json!(["latest", true]));
    assert_eq!(block["transactions"][0]["hash"], *hash);
    assert_eq!(block["transactions"][0]["from"], json!(wallet.address));
    let by_hash = rpc.ok("eth_getBlockByHash", json!([block["hash"], false]));
    assert_eq!(by_hash["transactions"][0], *hash);
    for key in ["number", "gasUsed", "baseFeePerGas", "timestamp", "stateRoot", "receiptsRoot"] {
        assert!(block[key].as_str().unwrap().starts_with("0x"), "{key}");
    }

    assert_eq!(rpc.ok("eth_getTransactionByHash", json!([hash]))["type"], "0x2");
    assert_eq!(rpc.ok("eth_getBlockReceipts", json!(["0x1"]))[0], receipt);
    assert_eq!(rpc.ok("eth_getTransactionReceipt", json!([B256::ZERO])), Value::Null);
    assert_eq!(rpc.ok("eth_getCode", json!([STORE, "latest"])), json!(common::STORE_CODE));
    assert_eq!(rpc.ok("eth_getCode", json!([wallet.address])), "0x");
    assert_eq!(rpc.ok("eth_getTransactionCount", json!([wallet.address, "pending"])), "0x1");
    rpc.chain().close();
}

#[test]
fn calls_and_estimates_run_on_the_state_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let wallet = Wallet::new(0);
    rpc.run(wallet.store(1, 7));
    let request = json!({ "from": wallet.address, "to": STORE, "data": store_input(9, 9) });
    let gas = rpc.ok("eth_estimateGas", json!([request]));
    let receipt = rpc.run(wallet.store(9, 9));
    let (estimated, used): (U256, U256) = (
        serde_json::from_value(gas).unwrap(),
        serde_json::from_value(receipt["gasUsed"].clone()).unwrap(),
    );
    assert_eq!(estimated, used, "nothing is refunded here, so the estimate is exact");

    // Returns the block's number and time: NUMBER PUSH0 MSTORE TIMESTAMP PUSH1 32 MSTORE ...
    let code = "0x435f52426020526040 5ff3".replace(' ', "");
    let probe = Address::repeat_byte(0x99);
    let overrides = json!({ probe.to_string(): { "code": code } });
    let call = |block: &str| rpc.ok("eth_call", json!([{ "to": probe }, block, overrides]));
    assert!(call("0x1").as_str().unwrap()[..66].ends_with('1'));
    assert!(call("pending").as_str().unwrap()[..66].ends_with('3'));
    rpc.chain().close();
}

#[test]
fn reverts_carry_their_data() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let input = Bytes::from([[0_u8; 64].as_slice(), &[0xee; 32]].concat());
    let call = json!([{ "to": STORE, "input": input }, "latest"]);
    for method in ["eth_call", "eth_estimateGas"] {
        let error = rpc.handle(method, call.clone()).unwrap_err();
        assert_eq!(error.code, 3);
        assert_eq!(error.data, Some(json!(B256::repeat_byte(0xee))));
        assert!(error.message.starts_with("execution reverted"));
    }
    rpc.chain().close();
}

#[test]
fn logs_are_found_by_address_topic_and_range() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let wallet = Wallet::new(0);
    for value in 1..=12 {
        rpc.run(wallet.store(value % 4, value));
    }
    let count = |filter: Value| rpc.ok("eth_getLogs", json!([filter])).as_array().unwrap().len();
    let topic = B256::with_last_byte(2);
    assert_eq!(count(json!({ "fromBlock": "earliest", "address": STORE })), 12);
    assert_eq!(count(json!({ "fromBlock": "0x0", "topics": [topic] })), 3);
    assert_eq!(count(json!({ "fromBlock": "0x3", "toBlock": "0x9", "topics": [topic] })), 1);
    assert_eq!(count(json!({ "fromBlock": "0x0", "topics": [[topic, B256::ZERO]] })), 6);
    assert_eq!(count(json!({ "fromBlock": "0x0", "topics": [null, topic] })), 0);
    assert_eq!(count(json!({ "fromBlock": "0x0", "address": Address::ZERO })), 0);
    let hash = rpc.ok("eth_getBlockByNumber", json!(["0x2", false]))["hash"].clone();
    assert_eq!(count(json!({ "blockHash": hash })), 1);
    let reversed = json!([{ "fromBlock": "0x9", "toBlock": "0x3" }]);
    assert_eq!(rpc.handle("eth_getLogs", reversed).unwrap_err().code, -32_602);
    rpc.chain().close();
}

#[test]
fn filters_give_what_came_since() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let wallet = Wallet::new(0);
    rpc.run(wallet.store(1, 1));
    let logs = rpc.ok("eth_newFilter", json!([{ "address": STORE }]));
    let blocks = rpc.ok("eth_newBlockFilter", json!([]));
    let arrivals = rpc.ok("eth_newPendingTransactionFilter", json!([]));
    let poll = |id: &Value| rpc.ok("eth_getFilterChanges", json!([id])).as_array().unwrap().len();
    assert_eq!((poll(&logs), poll(&blocks), poll(&arrivals)), (0, 0, 0));
    rpc.run(wallet.store(1, 2));
    rpc.run(wallet.store(1, 3));
    assert_eq!((poll(&logs), poll(&blocks), poll(&arrivals)), (2, 2, 2));
    assert_eq!((poll(&logs), poll(&blocks), poll(&arrivals)), (0, 0, 0));
    assert_eq!(rpc.ok("eth_uninstallFilter", json!([logs])), true);
    assert!(rpc.handle("eth_getFilterChanges", json!([logs])).is_err());
    rpc.chain().close();
}

#[test]
fn fee_history_covers_what_was_asked() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let wallet = Wallet::new(0);
    for value in 1..=3 {
        rpc.run(wallet.store(1, value));
    }
    let history = rpc.ok("eth_feeHistory", json!(["0x2", "latest", [0, 50, 100]]));
    assert_eq!(history["oldestBlock"], "0x2");
    assert_eq!(history["baseFeePerGas"].as_array().unwrap().len(), 3);
    assert_eq!(history["reward"], json!([["0x1", "0x1", "0x1"], ["0x1", "0x1", "0x1"]]));
    assert!(rpc.handle("eth_feeHistory", json!(["0x2", "latest", [50, 0]])).is_err());
    rpc.chain().close();
}

#[test]
fn bad_calls_get_the_right_code() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let code = |method: &str, params: Value| rpc.handle(method, params).unwrap_err().code;
    assert_eq!(code("eth_nonsense", json!([])), -32_601);
    assert_eq!(code("eth_getBalance", json!([])), -32_602);
    assert_eq!(code("eth_getBalance", json!(["0x12"])), -32_602);
    assert_eq!(code("eth_getBalance", json!({ "address": STORE })), -32_602);
    assert_eq!(code("eth_getBalance", json!([STORE, "0x99"])), -32_000);
    assert_eq!(code("eth_sendRawTransaction", json!(["0x00"])), -32_000);
    rpc.chain().close();
}

#[test]
fn waiting_transactions_are_visible_before_a_block_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let chain = common::open(dir.path());
    let rpc = chain::Rpc::new(chain);
    let wallet = Wallet::new(0);
    let hash = rpc.ok("eth_sendRawTransaction", json!([wallet.store(1, 1)]));
    let content = rpc.ok("txpool_content", json!([]));
    let shown = &content["pending"][wallet.address.to_checksum(None)];
    let shown =
        if shown.is_null() { &content["pending"][format!("{:#x}", wallet.address)] } else { shown };
    assert_eq!(shown["0"]["hash"], hash);
    assert_eq!(rpc.ok("eth_getTransactionByHash", json!([hash]))["blockNumber"], Value::Null);
    assert_eq!(rpc.ok("txpool_status", json!([]))["pending"], "0x1");
    let error = rpc.handle("eth_sendRawTransactionSync", json!([wallet.store(1, 2), 20]));
    assert_eq!(error.unwrap_err().code, 4, "nobody makes blocks, so the wait must end");
    rpc.chain().close();
}
