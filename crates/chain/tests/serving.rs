//! JSON-RPC over HTTP and WebSocket, as clients, wallets and web pages meet it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    sync::mpsc,
    thread,
    time::Duration,
};

use alloy_consensus::TxEip1559;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use chain::{Chain, Sealing, ServerAccess, ServerLimits};
use common::{
    CHAIN_ID, ManualClock, RpcExt as _, STORE, Wallet, open,
    served::{Served, Socket, connect, request},
    store_input, wallets,
};
use serde_json::{Value, json};

/// Code that logs nothing over and over, until little gas is left.
///
/// ```text
/// JUMPDEST PUSH0 PUSH0 LOG0 GAS PUSH2 0x2000 LT PUSH0 JUMPI STOP
/// ```
const LOGGER: [u8; 12] = [0x5b, 0x5f, 0x5f, 0xa0, 0x5a, 0x61, 0x20, 0x00, 0x10, 0x5f, 0x57, 0x00];

/// Deploys [`LOGGER`] with the wallet's first transaction, and has it emit more than 10,000 logs.
fn log_much(served: &Served, wallet: &Wallet) -> Address {
    // PUSH1 12 DUP1 PUSH1 9 PUSH0 CODECOPY PUSH0 RETURN
    let input = [[0x60, 12, 0x80, 0x60, 9, 0x5f, 0x39, 0x5f, 0xf3].as_slice(), &LOGGER].concat();
    let transaction = |nonce, to, input| {
        wallet.sign(TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 6_000_000,
            max_fee_per_gas: 1_000_000_000,
            to,
            input,
            ..TxEip1559::default()
        })
    };
    let receipt = served.rpc.run(transaction(0, TxKind::Create, input.into()));
    let logger = serde_json::from_value(receipt["contractAddress"].clone()).unwrap();
    let receipt = served.rpc.run(transaction(1, TxKind::Call(logger), Bytes::new()));
    assert!(receipt["logs"].as_array().unwrap().len() > 10_000);
    logger
}

#[test]
fn single_calls_get_the_standard_codes() {
    let served = Served::instant();
    let check = |body: &str, id: Value, code: i64| {
        let answer = served.post(body);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        let answer = answer.json();
        assert_eq!(answer["jsonrpc"], "2.0");
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{body}");
        assert!(answer.get("result").is_none());
    };
    let null = Value::Null;
    check("{", null.clone(), -32_700);
    check("", null.clone(), -32_700);
    check(&"[".repeat(500), null.clone(), -32_700);
    check("\"text\"", null.clone(), -32_600);
    check("17", null.clone(), -32_600);
    check(r#"{"jsonrpc":"1.0","id":7,"method":"eth_chainId"}"#, json!(7), -32_600);
    check(r#"{"id":7,"method":"eth_chainId"}"#, json!(7), -32_600);
    check(r#"{"jsonrpc":"2.0","id":"a"}"#, json!("a"), -32_600);
    check(r#"{"jsonrpc":"2.0","id":"a","method":1}"#, json!("a"), -32_600);
    check(r#"{"jsonrpc":"2.0","id":{},"method":"eth_chainId"}"#, null, -32_600);
    check(r#"{"jsonrpc":"2.0","id":1,"method":"eth_nonsense"}"#, json!(1), -32_601);
    check(r#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe"}"#, json!(1), -32_601);
    check(r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance"}"#, json!(1), -32_602);
    check(r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":{}}"#, json!(1), -32_602);
    check(r#"{"jsonrpc":"2.0","id":1,"method":"eth_getCode","params":["x"]}"#, json!(1), -32_602);
    let answer = served.post(r#"{"jsonrpc":"2.0","id":null,"method":"eth_chainId"}"#).json();
    assert_eq!(answer, json!({ "jsonrpc": "2.0", "id": null, "result": "0x7a69" }));
}

#[test]
fn notifications_are_done_and_not_answered() {
    let served = Served::manual(ServerLimits::default());
    let raw = Wallet::new(0).store(1, 1);
    let call = json!({ "jsonrpc": "2.0", "method": "eth_sendRawTransaction", "params": [raw] });
    for body in [call.clone(), json!([call]), json!({ "jsonrpc": "2.0", "method": "eth_no" })] {
        let answer = served.post(&body);
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{body}");
    }
    assert_eq!(served.ok("txpool_status", json!([]))["pending"], "0x1");
}

#[test]
fn batch_is_answered_in_order_with_an_error_where_it_belongs() {
    let served = Served::instant();
    let wallet = Wallet::new(0);
    let call = |id: Value, method: &str, params: Value| json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    let (first, second) = (wallet.store(1, 1), wallet.store(1, 2));
    let batch = json!([
        call(json!(3), "eth_chainId", json!([])),
        call(json!("x"), "eth_sendRawTransaction", json!([first])),
        call(json!(2), "eth_sendRawTransaction", json!([first])),
        call(json!(1), "eth_sendRawTransaction", json!([second])),
        17,
        { "jsonrpc": "2.0", "method": "eth_chainId" },
        call(json!(4), "eth_sendRawTransaction", json!(["0x00"])),
        call(json!(5), "eth_sendRawTransactionSync", json!([second])),
        call(json!(6), "eth_nonsense", json!([])),
        call(json!(7), "net_version", json!([])),
    ]);
    let answers = served.post(batch).json();
    let ids: Vec<_> = answers.as_array().unwrap().iter().map(|answer| &answer["id"]).collect();
    assert_eq!(json!(ids), json!([3, "x", 2, 1, null, 4, 5, 6, 7]));
    let codes: Vec<_> =
        answers.as_array().unwrap().iter().map(|answer| &answer["error"]["code"]).collect();
    let expected = json!([null, null, -32_000, null, -32_600, -32_000, -32_600, -32_601, null]);
    assert_eq!(json!(codes), expected);
    assert!(answers[2]["error"]["message"].as_str().unwrap().contains("already known"));
    assert_eq!(answers[8]["result"], "31337");
}

#[test]
fn batches_are_bounded() {
    let limits =
        ServerLimits { batch_calls: 20, batch_response_bytes: 3_000, ..ServerLimits::default() };
    let served = Served::manual(limits);
    let call = |method: &str| json!({ "jsonrpc": "2.0", "id": 1, "method": method });
    let code = |body: Value| served.post(body).json()["error"]["code"].clone();
    assert_eq!(code(json!([])), -32_600);
    assert_eq!(code(json!(vec![call("eth_chainId"); 21])), -32_005);
    assert_eq!(served.post(json!(vec![call("eth_chainId"); 20])).json()[19]["result"], "0x7a69");
    let block = json!({
        "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByNumber", "params": ["latest", false]
    });
    let answers = served.post(json!(vec![block; 10])).json();
    let codes: Vec<_> =
        answers.as_array().unwrap().iter().map(|answer| answer["error"]["code"].clone()).collect();
    assert_eq!((codes.len(), &codes[0], &codes[9]), (10, &Value::Null, &json!(-32_003)));
}

#[test]
fn too_long_request_is_refused() {
    let limits = ServerLimits { request_bytes: 1_000, ..ServerLimits::default() };
    let served = Served::manual(limits);
    let padded = |length: usize| {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" }).to_string();
        format!("{}{call}", " ".repeat(length - call.len()))
    };
    assert_eq!(served.post(padded(1_000)).json()["result"], "0x7a69");
    let refused = served.post(padded(1_001));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (413, &json!(-32_600)));
    // The same when the length is not told beforehand.
    let mut stream = connect(served.port);
    let head = "POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 1_001, padded(1_001));
    stream.write_all(format!("{head}{chunk}0\r\n\r\n").as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.contains(" 413 "), "{line}");

    let mut socket = Socket::open(served.port);
    socket.send(&padded(1_001));
    assert!(socket.next().is_none(), "the connection ends");
}

#[test]
fn many_clients_at_once_lose_nothing() {
    const EACH: u64 = 25;
    let served = Served::instant();
    let wallets = wallets(8);
    thread::scope(|scope| {
        for wallet in &wallets {
            let served = &served;
            scope.spawn(move || {
                for value in 0..EACH {
                    let receipt =
                        served.ok("eth_sendRawTransactionSync", json!([wallet.store(value, 7)]));
                    assert_eq!(receipt["status"], "0x1");
                    let balance = served.ok("eth_getBalance", json!([wallet.address, "latest"]));
                    assert!(balance.as_str().unwrap().starts_with("0x"));
                }
            });
        }
    });
    for wallet in &wallets {
        let count = served.ok("eth_getTransactionCount", json!([wallet.address, "latest"]));
        assert_eq!(count, json!(U256::from(EACH)));
    }
    let logs = served.ok("eth_getLogs", json!([{ "fromBlock": "0x0", "address": STORE }]));
    assert_eq!(logs.as_array().unwrap().len(), 8 * 25);
}

#[test]
fn revert_data_reaches_the_client() {
    let served = Served::instant();
    let input = Bytes::from([[0_u8; 64].as_slice(), &[0xee; 32]].concat());
    let request = json!({ "to": STORE, "input": input });
    for (method, params) in [
        ("eth_call", json!([request, "latest"])),
        ("eth_estimateGas", json!([request])),
        // The older name of the same field.
        ("eth_call", json!([{ "to": STORE, "data": input }])),
    ] {
        let error = &served.call(method, params)["error"];
        assert_eq!((&error["code"], &error["data"]), (&json!(3), &json!(B256::repeat_byte(0xee))));
        assert_eq!(error["message"], "execution reverted");
    }
    // With `Error(string)`, the message says why. The code puts 100 bytes of its end into memory:
    // PUSH1 100 PUSH1 10 PUSH0 CODECOPY PUSH1 100 PUSH0 REVERT
    let mut code = vec![0x60, 100, 0x60, 11, 0x5f, 0x39, 0x60, 100, 0x5f, 0xfd, 0x00];
    code.extend([0x08, 0xc3, 0x79, 0xa0]);
    code.extend(U256::from(32).to_be_bytes::<32>());
    code.extend(U256::from(6).to_be_bytes::<32>());
    code.extend(b"closed");
    code.extend([0; 26]);
    let target = Address::repeat_byte(0x77);
    let overrides = json!({ target.to_string(): { "code": Bytes::from(code) } });
    let error = &served.call("eth_call", json!([{ "to": target }, "latest", overrides]))["error"];
    assert_eq!(error["message"], "execution reverted: closed");
    assert!(error["data"].as_str().unwrap().starts_with("0x08c379a0"));
}

#[test]
fn only_this_machines_names_and_pages_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let access = ServerAccess {
        hosts: vec!["ledger.example".into()],
        origins: vec!["https://portal.example".into()],
    };
    let chain = open(dir.path());
    let served = Served::serve(dir, chain, ServerLimits::default(), access);
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    let ask = |method: &str, headers: &str| {
        request(served.port, &format!("{method} / HTTP/1.1\r\n{headers}"), call)
    };
    for host in ["localhost", "127.0.0.1:8545", "[::1]", "ledger.example"] {
        assert_eq!(ask("POST", &format!("host: {host}")).json()["result"], "0x7a69", "{host}");
    }
    let refused = ask("POST", "host: evil.example");
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (403, &json!(-32_000)));
    assert!(matches!(Socket::try_open(served.port, "host: evil.example"), Err(403)));

    let check = |origin: &str, allowed: bool| {
        let headers = format!("host: localhost\r\norigin: {origin}");
        for method in ["POST", "OPTIONS"] {
            let answer = ask(method, &headers);
            let expected = if allowed { Some(origin) } else { None };
            assert_eq!(answer.header("access-control-allow-origin"), expected, "{origin}");
            assert_eq!(answer.status == 403, !allowed);
        }
        assert_eq!(Socket::try_open(served.port, &headers).is_ok(), allowed, "{origin}");
    };
    check("http://localhost:3000", true);
    check("https://portal.example", true);
    check("chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn", true);
    check("https://evil.example", false);
    check("null", false);

    let preflight = ask(
        "OPTIONS",
        "host: localhost\r\norigin: https://portal.example\r\n\
         access-control-request-method: POST\r\naccess-control-request-private-network: true",
    );
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-headers"), Some("content-type"));
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("post"));
    assert_eq!(preflight.header("access-control-allow-private-network"), Some("true"));
    assert_eq!(preflight.header("vary"), Some("origin"));
    assert_eq!(ask("GET", "host: localhost").status, 426);
}

#[test]
fn new_heads_tell_every_block_in_order_even_when_they_come_too_fast() {
    let served = Served::manual(ServerLimits::default());
    let mut socket = Socket::open(served.port);
    let id = socket.call("eth_subscribe", json!(["newHeads"]))["result"].clone();
    assert!(id.as_str().unwrap().starts_with("0x"));
    // The server's only thread is kept busy while more blocks come than the channel between holds.
    let (go_on, wait) = mpsc::channel::<()>();
    let (entered, enter) = mpsc::channel();
    served.runtime.spawn(async move {
        entered.send(()).unwrap();
        let _ = wait.recv();
    });
    enter.recv().unwrap();
    served.blocks(&Wallet::new(0), 600);
    drop(go_on);
    for number in 1..=600_u64 {
        let notification = socket.notification();
        assert_eq!(notification["subscription"], id);
        assert_eq!(notification["result"]["number"], json!(U256::from(number)));
    }
    let head = socket.call("eth_getBlockByNumber", json!(["latest", false]))["result"].clone();
    assert_eq!(head["number"], "0x258");
}

#[test]
fn log_subscription_gives_what_matches_until_it_ends() {
    let served = Served::manual(ServerLimits::default());
    let mut socket = Socket::open(served.port);
    let topic = B256::with_last_byte(2);
    let logs = json!(["logs", { "address": STORE, "topics": [topic] }]);
    let id = socket.call("eth_subscribe", logs)["result"].clone();
    // The slots are 0 to 4 in turn, and the slot is the topic.
    served.blocks(&Wallet::new(0), 10);
    for (block, value) in [("0x3", 2), ("0x8", 7)] {
        let log = socket.notification()["result"].clone();
        assert_eq!((&log["blockNumber"], &log["topics"]), (&json!(block), &json!([topic])));
        assert_eq!(log["data"], json!(B256::with_last_byte(value)));
    }
    assert_eq!(socket.call("eth_unsubscribe", json!([id]))["result"], true);
    assert_eq!(socket.call("eth_unsubscribe", json!([id]))["result"], false);
    assert_eq!(socket.call("eth_unsubscribe", json!([]))["error"]["code"], -32_602);
    served.blocks(&Wallet::new(1), 10);
    assert_eq!(socket.call("eth_blockNumber", json!([]))["result"], "0x14");
    assert!(socket.notifications.is_empty());

    assert_eq!(socket.call("eth_subscribe", json!(["nonsense"]))["error"]["code"], -32_602);
    assert_eq!(socket.call("eth_subscribe", json!(["logs", 5]))["error"]["code"], -32_602);
    for _ in 0..64 {
        assert!(socket.call("eth_subscribe", json!(["newHeads"]))["result"].is_string());
    }
    assert_eq!(socket.call("eth_subscribe", json!(["newHeads"]))["error"]["code"], -32_005);
}

#[test]
fn slow_reader_loses_its_connection_and_others_do_not() {
    let limits = ServerLimits { notification_bytes: 4 << 20, ..ServerLimits::default() };
    let served = Served::manual(limits);
    let mut slow = Socket::open(served.port);
    for _ in 0..64 {
        slow.call("eth_subscribe", json!(["newHeads"]));
    }
    let mut quick = Socket::open(served.port);
    quick.call("eth_subscribe", json!(["newHeads"]));
    // Some 130 kB of notifications a block, far beyond what the system's buffers hold as well.
    const BLOCKS: u64 = 400;
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            (0..BLOCKS).map(|_| quick.notification()["result"]["number"].clone()).last()
        });
        served.blocks(&Wallet::new(0), BLOCKS);
        assert_eq!(reader.join().unwrap(), Some(json!(U256::from(BLOCKS))));
    });
    let mut received = 0;
    while slow.next().is_some() {
        received += 1;
    }
    assert!(received < 64 * BLOCKS, "{received}");
}

#[test]
fn notifications_come_while_a_call_waits() {
    let served = Served::manual(ServerLimits::default());
    let mut socket = Socket::open(served.port);
    socket.call("eth_subscribe", json!(["newPendingTransactions"]));
    let (one, two) = (Wallet::new(0), Wallet::new(1));
    let waiting = socket.begin("eth_sendRawTransactionSync", json!([one.store(1, 1)]));
    let first = socket.notification()["result"].clone();
    let second = served.ok("eth_sendRawTransaction", json!([two.store(1, 1)]));
    assert_eq!(socket.notification()["result"], second);
    served.seal();
    assert_eq!(socket.answer(waiting)["result"]["transactionHash"], first);
}

#[test]
fn only_some_calls_may_wait() {
    let limits = ServerLimits { waiting_calls: 1, ..ServerLimits::default() };
    let served = Served::manual(limits);
    let wallet = Wallet::new(0);
    let mut socket = Socket::open(served.port);
    let waiting = socket.begin("eth_sendRawTransactionSync", json!([wallet.store(1, 1)]));
    while served.ok("txpool_status", json!([]))["pending"] == "0x0" {
        thread::yield_now();
    }
    let second = json!([wallet.store(1, 2)]);
    assert_eq!(served.code("eth_sendRawTransactionSync", second), -32_005);
    assert_eq!(served.ok("eth_chainId", json!([])), "0x7a69");
    served.seal();
    assert_eq!(socket.answer(waiting)["result"]["status"], "0x1");
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let limits = ServerLimits { connections: 1, ..ServerLimits::default() };
    let served = Served::manual(limits);
    let mut first = Socket::open(served.port);
    assert_eq!(first.call("eth_chainId", json!([]))["result"], "0x7a69");
    thread::scope(|scope| {
        let second = scope.spawn(|| served.ok("eth_chainId", json!([])));
        assert_eq!(first.call("eth_chainId", json!([]))["result"], "0x7a69");
        drop(first);
        assert_eq!(second.join().unwrap(), "0x7a69");
    });
}

#[test]
fn stopping_ends_open_connections() {
    let mut served = Served::manual(ServerLimits::default());
    let mut socket = Socket::open(served.port);
    socket.call("eth_subscribe", json!(["newHeads"]));
    served.handle.take().unwrap().stop();
    assert!(socket.next().is_none());
}

#[test]
fn filters_give_each_change_once_and_end_when_idle() {
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(2_000_000);
    let chain = Chain::open(clock.config(dir.path())).unwrap();
    let served = Served::serve(dir, chain, ServerLimits::default(), ServerAccess::default());
    let topic = B256::with_last_byte(2);
    let logs = served.ok("eth_newFilter", json!([{ "address": STORE, "topics": [topic] }]));
    let early = served.ok("eth_newFilter", json!([{ "fromBlock": "0x0", "toBlock": "0x3" }]));
    let blocks = served.ok("eth_newBlockFilter", json!([]));
    let arrivals = served.ok("eth_newPendingTransactionFilter", json!([]));
    let poll = |id: &Value| served.ok("eth_getFilterChanges", json!([id]));
    let count = |id: &Value| poll(id).as_array().unwrap().len();

    let wallet = Wallet::new(0);
    served.blocks(&wallet, 9);
    let hash = served.ok("eth_getBlockByNumber", json!(["0x1", false]))["hash"].clone();
    assert_eq!(poll(&blocks)[0], hash);
    assert_eq!((count(&logs), count(&early), count(&arrivals)), (2, 3, 9));
    assert_eq!([&logs, &early, &blocks, &arrivals].map(count), [0; 4]);
    let all = served.ok("eth_getFilterLogs", json!([early]));
    assert_eq!(all.as_array().unwrap().len(), 3);

    let unknown = [json!(["0x99"]), json!([blocks])];
    assert_eq!(served.code("eth_getFilterChanges", unknown[0].clone()), -32_000);
    assert_eq!(served.code("eth_getFilterLogs", unknown[1].clone()), -32_000);
    assert_eq!(served.code("eth_newFilter", json!([{ "blockHash": hash }])), -32_602);
    assert_eq!(served.ok("eth_uninstallFilter", json!([early])), true);
    assert_eq!(served.ok("eth_uninstallFilter", json!([early])), false);
    assert_eq!(served.code("eth_getFilterChanges", json!([early])), -32_000);

    clock.set(2_000_299);
    assert_eq!(count(&logs), 0);
    clock.set(2_000_301);
    assert_eq!(served.code("eth_getFilterChanges", json!([blocks])), -32_000);
    assert_eq!(count(&logs), 0, "it was polled in time");
}

#[test]
fn changes_of_a_failed_poll_come_again() {
    let served = Served::instant();
    let wallet = Wallet::new(0);
    let filter = served.ok("eth_newFilter", json!([{}]));
    let logger = log_much(&served, &wallet);
    for _ in 0..2 {
        assert_eq!(served.code("eth_getFilterChanges", json!([filter])), -32_005);
    }
    let search = json!([{ "fromBlock": "0x0", "address": logger }]);
    assert_eq!(served.code("eth_getLogs", search), -32_005);
    let elsewhere = json!([{ "fromBlock": "0x0", "address": STORE }]);
    assert_eq!(served.ok("eth_getLogs", elsewhere), json!([]));
}

#[test]
fn log_searches_are_bounded_by_what_there_is() {
    let served = Served::manual(ServerLimits::default());
    served.blocks(&Wallet::new(0), 5);
    let found = |filter: Value| served.ok("eth_getLogs", json!([filter])).as_array().unwrap().len();
    let max = format!("{:#x}", u64::MAX);
    assert_eq!(found(json!({ "fromBlock": "0x1", "toBlock": max })), 5);
    assert_eq!(found(json!({ "fromBlock": "0x1", "toBlock": max, "address": STORE })), 5);
    assert_eq!(found(json!({ "fromBlock": "0x6", "toBlock": "0x9", "address": STORE })), 0);
    assert_eq!(found(json!({ "fromBlock": max, "toBlock": max, "address": STORE })), 0);
    assert_eq!(found(json!({ "fromBlock": "safe", "toBlock": "finalized" })), 1);
    assert_eq!(found(json!({})), 1, "without a range only the newest block counts");
    let code = |filter: Value| served.code("eth_getLogs", json!([filter]));
    assert_eq!(code(json!({ "fromBlock": "0x3", "toBlock": "0x2" })), -32_602);
    assert_eq!(code(json!({ "fromBlock": "nonsense" })), -32_602);
    assert_eq!(code(json!({ "blockHash": B256::ZERO })), -32_000);
    assert_eq!(code(json!({ "blockHash": B256::ZERO, "fromBlock": "0x0" })), -32_602);
    let many: Vec<_> = (0..1_025_u64).map(|topic| B256::from(U256::from(topic))).collect();
    assert_eq!(code(json!({ "fromBlock": "0x0", "topics": [many] })), -32_005);
}

#[test]
fn pool_shows_transactions_until_a_block_takes_them() {
    let served = Served::manual(ServerLimits::default());
    let wallet = Wallet::new(0);
    let calls = [0, 1, 3].map(|nonce| wallet.call_with(nonce, 1, STORE, store_input(1, 1)));
    let hashes = calls.map(|raw| served.ok("eth_sendRawTransaction", json!([raw])));
    let sender = wallet.address.to_checksum(None);
    let shown = |content: &Value, group: &str| {
        let senders = content[group].as_object().unwrap();
        let key = senders.keys().find(|key| key.eq_ignore_ascii_case(&sender));
        key.map(|key| senders[key].clone()).unwrap_or(json!({}))
    };
    let content = served.ok("txpool_content", json!([]));
    let pending = shown(&content, "pending");
    assert_eq!([&pending["0"]["hash"], &pending["1"]["hash"]], [&hashes[0], &hashes[1]]);
    assert_eq!(pending.as_object().unwrap().len(), 2);
    assert_eq!(shown(&content, "queued")["3"]["hash"], hashes[2]);
    let mine = served.ok("txpool_contentFrom", json!([wallet.address]));
    assert_eq!(mine["queued"]["3"]["hash"], hashes[2]);
    let inspected = shown(&served.ok("txpool_inspect", json!([])), "pending");
    assert!(inspected["0"].as_str().unwrap().contains("200000 gas"));
    let status = || served.ok("txpool_status", json!([]));
    assert_eq!(status(), json!({ "pending": "0x2", "queued": "0x1" }));
    let count = |tag: &str| served.ok("eth_getTransactionCount", json!([wallet.address, tag]));
    assert_eq!((count("pending"), count("latest")), (json!("0x2"), json!("0x0")));
    assert_eq!(served.ok("eth_getTransactionByHash", json!([hashes[0]]))["blockHash"], Value::Null);
    assert_eq!(served.ok("eth_getTransactionReceipt", json!([hashes[0]])), Value::Null);

    served.seal();
    assert_eq!(status(), json!({ "pending": "0x0", "queued": "0x1" }));
    assert_eq!((count("pending"), count("latest")), (json!("0x2"), json!("0x2")));
    assert_eq!(served.ok("eth_getTransactionReceipt", json!([hashes[1]]))["blockNumber"], "0x1");
    let gap = wallet.call_with(2, 1, STORE, store_input(1, 1));
    served.ok("eth_sendRawTransaction", json!([gap]));
    assert_eq!(status(), json!({ "pending": "0x2", "queued": "0x0" }));
}

#[test]
fn interval_sealing_leaves_time_to_look_and_closing_does_not_wait_for_it() {
    let served = Served::manual(ServerLimits::default());
    served.rpc.chain().run_solo(Sealing::Interval(Duration::from_secs(24 * 3_600)));
    served.ok("eth_sendRawTransaction", json!([Wallet::new(0).store(1, 1)]));
    assert_eq!(served.ok("txpool_status", json!([]))["pending"], "0x1");
    served.rpc.chain().close();
    assert_eq!(served.ok("eth_blockNumber", json!([])), "0x0");
    let error = served.call("eth_sendRawTransaction", json!([Wallet::new(1).store(1, 1)]));
    assert!(error["error"]["message"].as_str().unwrap().contains("being closed"), "{error}");
}

#[test]
fn tags_name_the_first_and_the_newest_block() {
    let served = Served::manual(ServerLimits::default());
    let number =
        |tag: &str| served.ok("eth_getBlockByNumber", json!([tag, false]))["number"].clone();
    for tag in ["earliest", "latest", "pending", "safe", "finalized", "0x0"] {
        assert_eq!(number(tag), "0x0", "{tag}");
    }
    served.blocks(&Wallet::new(0), 3);
    assert_eq!(number("earliest"), "0x0");
    for tag in ["latest", "pending", "safe", "finalized", "0x3"] {
        assert_eq!(number(tag), "0x3", "{tag}");
    }
    let parent = served.ok("eth_getBlockByNumber", json!(["0x1", true]))["parentHash"].clone();
    assert_eq!(served.ok("eth_getBlockByHash", json!([parent, false]))["number"], "0x0");
    for params in [json!(["0x4", false]), json!([format!("{:#x}", u64::MAX), false])] {
        assert_eq!(served.ok("eth_getBlockByNumber", params), Value::Null);
    }
    assert_eq!(served.ok("eth_getBlockByHash", json!([B256::ZERO, false])), Value::Null);
    assert_eq!(served.code("eth_getBlockByNumber", json!(["newest", false])), -32_602);
    assert_eq!(served.code("eth_getBlockByNumber", json!([])), -32_602);
    assert_eq!(served.ok("eth_getBlockReceipts", json!(["earliest"])), json!([]));
    let count = served.ok("eth_getBlockTransactionCountByNumber", json!(["latest"]));
    assert_eq!(count, "0x1");
}

#[test]
fn calls_run_on_kept_states_and_are_refused_on_others() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = ManualClock::new(2_000_000).config(dir.path());
    config.history_blocks = 4;
    let chain = Chain::open(config).unwrap();
    let served = Served::serve(dir, chain, ServerLimits::default(), ServerAccess::default());
    let wallet = Wallet::new(0);
    for value in 1..=8 {
        served.rpc.chain().submit(wallet.store(1, value)).unwrap();
        served.seal();
    }
    // Returns the slot that the call data names: PUSH0 CALLDATALOAD SLOAD PUSH0 MSTORE, RETURN.
    let reader = json!({ STORE.to_string(): { "code": "0x5f35545f5260205ff3" } });
    let call = json!({ "to": STORE, "input": B256::with_last_byte(1) });
    let read = |block: Value| served.call("eth_call", json!([call, block, reader]));
    for number in 4..=8_u8 {
        let expected = json!(B256::with_last_byte(number));
        assert_eq!(read(json!(format!("{number:#x}")))["result"], expected);
        let hash = served.ok("eth_getBlockByNumber", json!([format!("{number:#x}"), false]));
        assert_eq!(read(json!({ "blockHash": hash["hash"] }))["result"], expected);
    }
    let error = &read(json!("0x3"))["error"];
    assert_eq!(error["code"], -32_000);
    assert!(error["message"].as_str().unwrap().contains("no longer kept"), "{error}");
    assert_eq!(served.code("eth_getProof", json!([STORE, ["0x1"], "0x3"])), -32_000);
    assert_eq!(read(json!("0x9"))["error"]["code"], -32_000);
    assert_eq!(read(json!({ "blockHash": B256::ZERO }))["error"]["code"], -32_000);
}

#[test]
fn fee_history_is_bounded_and_says_what_comes_next() {
    let served = Served::manual(ServerLimits::default());
    served.blocks(&Wallet::new(0), 3);
    let history = |count: &str, newest: &str, percentiles: Value| {
        served.ok("eth_feeHistory", json!([count, newest, percentiles]))
    };
    let all = history("0xffff", "latest", json!([]));
    assert_eq!(all["oldestBlock"], "0x0");
    assert_eq!(all["baseFeePerGas"].as_array().unwrap().len(), 5);
    assert_eq!(all["gasUsedRatio"].as_array().unwrap().len(), 4);
    assert!(all.get("reward").is_none_or(Value::is_null));
    let two = history("0x2", "0x2", json!([0, 100]));
    assert_eq!(
        (&two["oldestBlock"], &two["reward"]),
        (&json!("0x1"), &json!([["0x1", "0x1"], ["0x1", "0x1"]]))
    );
    assert_eq!(history("0x1", "pending", json!([]))["oldestBlock"], "0x3");
    assert_eq!(history("0x0", "latest", json!([]))["gasUsedRatio"], json!([]));
    let code = |params: Value| served.code("eth_feeHistory", params);
    assert_eq!(code(json!(["0x1", "0x9", []])), -32_000);
    assert_eq!(code(json!(["0x1", "latest", [101]])), -32_602);
    assert_eq!(code(json!(["0x1", "latest", [-1]])), -32_602);
    assert_eq!(code(json!(["0x1", "latest", [9, 8]])), -32_602);
    assert_eq!(code(json!(["0x1", "latest", vec![5; 101]])), -32_602);
    assert_eq!(code(json!(["x", "latest", []])), -32_602);
}
