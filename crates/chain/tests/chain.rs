//! The chain as a whole: blocks, recovery, earlier states, proofs.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use alloy_consensus::TxLegacy;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_trie::{Nibbles, TrieAccount, proof::verify_proof};
use chain::{ApplyError, Certificate, Chain, OpenError, PoolError, Rpc, SubmitError};
use common::{
    CHAIN_ID, ManualClock, RpcExt as _, STORE, Wallet, genesis, open, open_instant, wallets,
};
use serde_json::json;

#[test]
fn transactions_become_durable_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let wallet = Wallet::new(0);
    let head = {
        let rpc = open_instant(dir.path());
        for value in 1..=20 {
            let receipt = rpc.run(wallet.store(value % 3, value));
            assert_eq!(receipt["status"], "0x1");
            assert_eq!(receipt["logs"][0]["address"], json!(STORE));
        }
        rpc.chain().close();
        rpc.chain().head()
    };
    let rpc = Rpc::new(open(dir.path()));
    assert_eq!(rpc.chain().head().hash, head.hash);
    let slot = rpc.ok("eth_getStorageAt", json!([STORE, "0x2", "latest"]));
    assert_eq!(slot, json!(B256::with_last_byte(20)));
    assert_eq!(rpc.ok("eth_getTransactionCount", json!([wallet.address, "latest"])), "0x14");
}

#[test]
fn derived_data_can_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    let wallet = Wallet::new(0);
    let rpc = open_instant(dir.path());
    let receipts: Vec<_> = (1..=30).map(|value| rpc.run(wallet.store(value, value))).collect();
    rpc.chain().close();
    let head = rpc.chain().head().hash;
    drop(rpc);
    for lost in ["state", "index", "blocks.places", "state"] {
        let path = dir.path().join(lost);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        let rpc = Rpc::new(open(dir.path()));
        assert_eq!(rpc.chain().head().hash, head, "after losing {lost}");
        let hash = &receipts[4]["transactionHash"];
        assert_eq!(rpc.ok("eth_getTransactionReceipt", json!([hash])), receipts[4]);
        rpc.chain().close();
    }
}

#[test]
fn chain_to_be_thrown_away_has_the_same_blocks_and_finds_what_is_in_them() {
    let (kept, thrown) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let clock = ManualClock::new(2_000_000);
    let wallet = Wallet::new(1);
    let raw: Vec<_> = (1..=3).map(|word| wallet.store(word, word)).collect();
    let chains = [clock.config(kept.path()), clock.config(thrown.path()).thrown_away()];
    let chains = chains.map(|config| {
        let chain = Chain::open(config).unwrap();
        for (height, raw) in (1..).zip(&raw) {
            let transactions = vec![chain::Transaction::decode(raw.clone(), CHAIN_ID).unwrap()];
            let executed = chain.applied();
            let payload =
                chain::Payload { height, timestamp: 2_000_000 + height, executed, transactions };
            chain.apply(payload, Certificate::new()).unwrap().wait().unwrap();
        }
        chain
    });
    assert_eq!(chains[0].applied(), chains[1].applied());
    for chain in &chains {
        let second = chain::Transaction::decode(raw[1].clone(), CHAIN_ID).unwrap().hash();
        let (block, place) = chain.find_transaction(&second).unwrap().unwrap();
        assert_eq!((block.header.number, place), (2, 0));
        assert_eq!(chain.block_by_hash(&block.hash).unwrap().unwrap().hash, block.hash);
        assert!(chain.find_transaction(&B256::ZERO).unwrap().is_none());
        let filter = json!({ "fromBlock": "0x0", "topics": [B256::with_last_byte(3)] });
        let logs = Rpc::new(chain.clone()).ok("eth_getLogs", json!([filter]));
        assert_eq!(logs.as_array().unwrap().len(), 1);
        chain.close();
    }
    let derived = |dir: &std::path::Path| std::fs::read_dir(dir.join("index")).unwrap().count();
    assert_eq!((derived(kept.path()), derived(thrown.path())), (1, 0));
}

#[test]
fn log_that_executes_differently_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    rpc.run(Wallet::new(0).store(1, 1));
    rpc.chain().close();
    drop(rpc);
    // A stored state that belongs to another history must not be built upon.
    let other = tempfile::tempdir().unwrap();
    let rpc = open_instant(other.path());
    rpc.run(Wallet::new(0).store(1, 2));
    rpc.chain().close();
    drop(rpc);
    std::fs::copy(other.path().join("state/0-1.run"), dir.path().join("state/0-1.run")).unwrap();
    let opened = Chain::open(ManualClock::new(2_000_000).config(dir.path()));
    assert!(matches!(opened, Err(OpenError::Replay { number: 1 })));
}

#[test]
fn directory_belongs_to_one_process_and_one_genesis() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    let config = ManualClock::new(0).config(dir.path());
    assert!(matches!(Chain::open(config.clone()), Err(OpenError::InUse { .. })));
    chain.close();
    drop(chain);
    let mut other = config;
    other.genesis = genesis().with_balance(Address::repeat_byte(9), U256::ONE);
    assert!(matches!(Chain::open(other), Err(OpenError::OtherGenesis { .. })));
    open(dir.path()).close();
}

#[test]
fn same_payloads_give_the_same_chain() {
    let run = || {
        let dir = tempfile::tempdir().unwrap();
        let chain = open(dir.path());
        let wallets = wallets(4);
        for block in 0..10_u64 {
            for (slot, wallet) in (0..).zip(&wallets) {
                chain.submit(wallet.store(slot + block, block)).unwrap();
            }
            let payload = chain.propose().unwrap();
            chain.apply(payload, Certificate::new()).unwrap().wait().unwrap();
        }
        chain.close();
        chain.head().hash
    };
    assert_eq!(run(), run());
}

#[test]
fn applying_again_gives_the_block_that_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    chain.submit(Wallet::new(0).store(1, 1)).unwrap();
    let payload = chain.propose().unwrap();
    let certificate = Certificate::from_static(b"agreed");
    let hash = chain.apply(payload.clone(), certificate.clone()).unwrap().wait();
    assert_eq!(chain.apply(payload.clone(), certificate).unwrap().wait(), hash);
    assert_eq!(chain.head().header.number, 1);
    assert_eq!(chain.head().certificate.as_ref(), b"agreed");

    let mut ahead = payload.clone();
    ahead.height = 3;
    let refused = chain.apply(ahead, Certificate::new());
    assert!(matches!(refused, Err(ApplyError::NotNext { last: 1, given: 3 })));

    let mut diverging = payload.clone();
    (diverging.height, diverging.executed) = (2, (1, B256::repeat_byte(7)));
    let refused = chain.apply(diverging, Certificate::new());
    assert!(matches!(refused, Err(ApplyError::Diverged { number: 1, .. })));

    let mut earlier = payload;
    (earlier.height, earlier.timestamp) = (2, 5);
    let refused = chain.apply(earlier, Certificate::new());
    assert!(matches!(refused, Err(ApplyError::BackInTime { given: 2 })));
    chain.close();
}

#[test]
fn payloads_fit_into_a_block_so_that_nothing_on_the_way_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = ManualClock::new(2_000_000).config(dir.path());
    config.genesis = genesis().with_gas_limit(500_000);
    let chain = Chain::open(config).unwrap();
    let wallet = Wallet::new(0);
    let hashes: Vec<_> =
        (0..5).map(|value| chain.submit(wallet.store(1, value)).unwrap()).collect();
    // Each may use 200,000 gas. All are proposed before any has run.
    let payloads: Vec<_> = std::iter::from_fn(|| {
        let mut payload = chain.propose()?;
        payload.height = 0;
        Some(payload)
    })
    .collect();
    let sizes: Vec<_> = payloads.iter().map(|payload| payload.transactions.len()).collect();
    assert_eq!(sizes, [2, 2, 1]);
    for (height, mut payload) in (1..).zip(payloads) {
        payload.height = height;
        chain.apply(payload, Certificate::new()).unwrap().wait().unwrap();
    }
    for hash in hashes {
        assert!(chain.find_transaction(&hash).unwrap().is_some());
    }
    chain.close();
}

#[test]
fn transaction_that_no_block_can_hold_is_refused_and_never_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = ManualClock::new(2_000_000).config(dir.path());
    config.genesis = genesis().with_gas_limit(100_000);
    let chain = Chain::open(config).unwrap();
    let raw = Wallet::new(0).store(1, 1);
    match chain.submit(raw.clone()) {
        Err(SubmitError::Refused(PoolError::AboveBlockGas { given: 200_000, block: 100_000 })) => {}
        other => panic!("{other:?}"),
    }
    // As if another member had put it in. It must not come back for ever in empty blocks.
    let transaction = chain::Transaction::decode(raw, CHAIN_ID).unwrap();
    let hash = transaction.hash();
    let executed = chain.applied();
    let payload = chain::Payload {
        height: 1,
        timestamp: 2_000_000,
        executed,
        transactions: vec![transaction],
    };
    chain.apply(payload, Certificate::new()).unwrap().wait().unwrap();
    assert!(chain.dropped_reason(&hash).unwrap().contains("gas limit"));
    assert!(chain.waiting(&hash).is_none() && chain.propose().is_none());
    chain.close();
}

#[test]
fn payloads_from_many_threads_run_in_the_order_of_their_heights() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    let wallet = Wallet::new(0);
    let payload = |height: u64| {
        let transaction = chain::Transaction::decode(wallet.store(1, height), CHAIN_ID).unwrap();
        chain::Payload {
            height,
            timestamp: 2_000_000,
            executed: chain.applied(),
            transactions: vec![transaction],
        }
    };
    let payloads: Vec<_> = (1..=200).map(payload).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for payload in &payloads {
                    // Whoever comes second gets the block that is there, once it is durable.
                    while chain.applied().0 + 4 < payload.height {
                        std::thread::yield_now();
                    }
                    loop {
                        match chain.apply(payload.clone(), Certificate::new()) {
                            Ok(applied) => {
                                let hash = applied.wait().unwrap();
                                let block = chain.block(payload.height).unwrap().unwrap();
                                assert_eq!(block.hash, hash);
                                break;
                            }
                            Err(ApplyError::NotNext { .. }) => std::thread::yield_now(),
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    for payload in &payloads {
        let block = chain.block(payload.height).unwrap().unwrap();
        assert_eq!(block.transactions[0].hash(), payload.transactions[0].hash());
    }
    chain.close();
}

#[test]
fn payload_runs_what_can_run_and_skips_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    let (rich, poor) = (Wallet::new(0), Wallet::new(99));
    chain.submit(rich.store(1, 1)).unwrap();
    chain.submit(rich.store(1, 2)).unwrap();
    let mut payload = chain.propose().unwrap();
    // As if another member had put in one transaction twice, and one of a sender without ether.
    let twice = payload.transactions[0].clone();
    let unpaid = chain::Transaction::decode(poor.store(1, 3), CHAIN_ID).unwrap();
    let unpaid_hash = unpaid.hash();
    payload.transactions.extend([twice, unpaid]);
    chain.apply(payload, Certificate::new()).unwrap().wait().unwrap();
    assert_eq!(chain.head().transactions.len(), 2);
    assert!(chain.dropped_reason(&unpaid_hash).unwrap().contains("funds"));
    chain.close();
}

#[test]
fn earlier_states_are_read_and_proven() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let wallet = Wallet::new(0);
    for value in 1..=10_u8 {
        rpc.run(wallet.store(1, value.into()));
    }
    for number in 0..=10_u8 {
        let expected = B256::with_last_byte(number);
        let block = format!("{number:#x}");
        assert_eq!(rpc.ok("eth_getStorageAt", json!([STORE, "0x1", block])), json!(expected));
        check_proof(&rpc, number, STORE, U256::ONE, expected.into());
        check_proof(&rpc, number, STORE, U256::from(2), U256::ZERO);
        check_proof(&rpc, number, Address::repeat_byte(0xab), U256::ONE, U256::ZERO);
    }
    rpc.chain().close();
}

/// Checks a proof with `alloy-trie`'s verifier, which shares no code with the trie here.
#[track_caller]
fn check_proof(rpc: &Rpc, number: u8, address: Address, slot: U256, expected: U256) {
    let block = format!("{number:#x}");
    let root: B256 = serde_json::from_value(
        rpc.ok("eth_getBlockByNumber", json!([block, false]))["stateRoot"].clone(),
    )
    .unwrap();
    let proof: alloy_rpc_types_eth::EIP1186AccountProofResponse =
        serde_json::from_value(rpc.ok("eth_getProof", json!([address, [slot], block]))).unwrap();
    let account = TrieAccount {
        nonce: proof.nonce,
        balance: proof.balance,
        storage_root: proof.storage_hash,
        code_hash: proof.code_hash,
    };
    let exists = account.nonce > 0 || !account.balance.is_zero();
    let leaf = exists.then(|| alloy_rlp::encode(account));
    let path = Nibbles::unpack(keccak256(address));
    verify_proof(root, path, leaf, &proof.account_proof).unwrap();

    let slot_proof = &proof.storage_proof[0];
    assert_eq!(slot_proof.value, expected);
    let leaf = (!expected.is_zero()).then(|| alloy_rlp::encode(expected));
    let path = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
    verify_proof(proof.storage_hash, path, leaf, &slot_proof.proof).unwrap();
}

#[test]
fn block_hashes_are_readable_by_contracts() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let wallet = Wallet::new(0);
    for value in 1..=5 {
        rpc.run(wallet.store(1, value));
    }
    let history = alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
    for number in 0..5_u64 {
        let expected = &rpc.ok("eth_getBlockByNumber", json!([format!("{number:#x}"), false]));
        let input = Bytes::from(U256::from(number).to_be_bytes::<32>());
        let call = json!([{ "to": history, "input": input }, "latest"]);
        assert_eq!(rpc.ok("eth_call", call), expected["hash"]);
        let value = serde_json::from_value(expected["hash"].clone()).unwrap();
        check_proof(&rpc, 5, history, U256::from(number), B256::into(value));
    }
    rpc.chain().close();
}

#[test]
fn what_cannot_wait_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    let wallet = Wallet::new(0);
    let refused = |raw| match chain.submit(raw) {
        Err(SubmitError::Refused(error)) => error,
        other => panic!("{other:?}"),
    };
    chain.submit(wallet.call_with(0, 10, STORE, Bytes::new())).unwrap();
    assert_eq!(refused(wallet.call_with(0, 10, STORE, Bytes::new())), PoolError::AlreadyKnown);
    assert_eq!(
        refused(wallet.call_with(0, 10, STORE, Bytes::from_static(&[1]))),
        PoolError::ReplacementUnderpriced
    );
    let far = wallet.call_with(1 << 40, 10, STORE, Bytes::new());
    assert!(matches!(refused(far), PoolError::NonceTooHigh { .. }));
    let poor = Wallet::new(99).store(1, 1);
    assert!(matches!(refused(poor), PoolError::InsufficientFunds { .. }));

    let legacy = |chain_id| {
        wallet.sign_legacy(TxLegacy {
            chain_id,
            nonce: 1,
            gas_price: 1_000_000_000,
            gas_limit: 100_000,
            to: TxKind::Call(STORE),
            ..TxLegacy::default()
        })
    };
    assert!(matches!(chain.submit(legacy(None)), Err(SubmitError::Invalid(_))));
    assert!(matches!(chain.submit(legacy(Some(1))), Err(SubmitError::Invalid(_))));
    chain.submit(legacy(Some(CHAIN_ID))).unwrap();
    assert!(matches!(chain.submit(Bytes::from_static(b"junk")), Err(SubmitError::Invalid(_))));
    chain.close();
    let late = chain.submit(wallet.store(1, 1));
    assert!(matches!(late, Err(SubmitError::Stopped { .. })));
}

#[test]
fn higher_fees_come_first_and_nonces_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path());
    let (one, two) = (Wallet::new(0), Wallet::new(1));
    let sent = [
        one.call_with(1, 50, STORE, Bytes::new()),
        one.call_with(0, 1, STORE, Bytes::new()),
        two.call_with(0, 9, STORE, Bytes::new()),
        two.call_with(2, 90, STORE, Bytes::new()),
    ];
    for raw in sent {
        chain.submit(raw).unwrap();
    }
    let payload = chain.propose().unwrap();
    let order: Vec<_> = payload
        .transactions
        .iter()
        .map(|transaction| {
            use alloy_consensus::Transaction as _;
            (transaction.sender(), transaction.envelope().nonce())
        })
        .collect();
    assert_eq!(order, [(two.address, 0), (one.address, 0), (one.address, 1)]);
    // The gap fills, and what waited for it follows.
    chain.submit(two.call_with(1, 1, STORE, Bytes::new())).unwrap();
    assert_eq!(chain.propose().unwrap().transactions.len(), 2);
    chain.close();
}
