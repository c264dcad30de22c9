//! What an ordering of many relies on: proposals come to nothing, and others propose too.

use alloy_primitives::Bytes;
use chain::{Certificate, Chain, Payload, Transaction};

use crate::common::{CHAIN_ID, STORE, Wallet, open, store_input};

/// A call with a nonce and a tip.
fn call(wallet: &Wallet, nonce: u64, tip: u128) -> Bytes {
    wallet.call_with(nonce, tip, STORE, store_input(nonce, 1))
}

fn decode(raw: Vec<Bytes>) -> Vec<Transaction> {
    Transaction::decode_many(raw, CHAIN_ID).unwrap()
}

/// What would be chosen after `ahead`, as sender's position among `wallets` and nonce.
fn chosen(chain: &Chain, ahead: &[Transaction], wallets: &[Wallet]) -> Vec<(usize, u64)> {
    let place = |transaction: &Transaction| {
        let sender = transaction.sender();
        let wallet = wallets.iter().position(|wallet| wallet.address == sender).unwrap();
        (wallet, alloy_consensus::Transaction::nonce(transaction.envelope()))
    };
    chain.select(ahead, usize::MAX).iter().map(place).collect()
}

/// Executes a block with these transactions, as whoever proposed it put them.
fn execute(chain: &Chain, transactions: Vec<Transaction>) {
    let executed = chain.applied();
    let height = executed.0 + 1;
    let payload = Payload { height, timestamp: 2_000_000, executed, transactions };
    assert!(chain.apply(payload, Certificate::new()).unwrap().wait().is_some());
}

#[test]
fn what_is_chosen_stays_until_it_is_executed() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, wallets) = (open(dir.path()), [Wallet::new(0), Wallet::new(1)]);
    for (wallet, nonce, tip) in [(0, 0, 1), (0, 1, 9), (1, 0, 5), (1, 1, 5)] {
        chain.submit(call(&wallets[wallet], nonce, tip)).unwrap();
    }
    let order = [(1, 0), (1, 1), (0, 0), (0, 1)];
    assert_eq!(chosen(&chain, &[], &wallets), order);
    assert_eq!(chosen(&chain, &[], &wallets), order);

    execute(&chain, chain.select(&[], usize::MAX));
    assert!(chain.select(&[], usize::MAX).is_empty());
    assert!(chain.pool_content().0.is_empty());
    assert_eq!(chain.head().transactions.len(), 4);
    chain.close();
}

#[test]
fn what_is_ahead_is_not_chosen_again() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, wallets) = (open(dir.path()), [Wallet::new(0), Wallet::new(1)]);
    for nonce in 0..3 {
        chain.submit(call(&wallets[0], nonce, 1)).unwrap();
    }
    // The first of this sender never came in here; another member proposed it.
    chain.submit(call(&wallets[1], 1, 1)).unwrap();
    let ahead =
        decode(vec![call(&wallets[0], 0, 1), call(&wallets[0], 1, 1), call(&wallets[1], 0, 1)]);
    assert_eq!(chosen(&chain, &[], &wallets), [(0, 0), (0, 1), (0, 2)]);
    assert_eq!(chosen(&chain, &ahead, &wallets), [(0, 2), (1, 1)]);

    execute(&chain, ahead);
    assert_eq!(chosen(&chain, &[], &wallets), [(0, 2), (1, 1)]);
    chain.close();
}

#[test]
fn choice_is_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, wallet) = (open(dir.path()), Wallet::new(0));
    let size: usize = (0..3).map(|nonce| call(&wallet, nonce, 1).len()).sum();
    for nonce in 0..3 {
        chain.submit(call(&wallet, nonce, 1)).unwrap();
    }
    assert_eq!(chain.select(&[], size).len(), 3);
    assert_eq!(chain.select(&[], size - 1).len(), 2);
    assert!(chain.select(&[], 0).is_empty());
    chain.close();
}

#[test]
fn another_transaction_with_the_same_nonce_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, wallet) = (open(dir.path()), Wallet::new(0));
    let mine = chain.submit(call(&wallet, 0, 1)).unwrap();
    chain.submit(call(&wallet, 1, 1)).unwrap();
    execute(&chain, decode(vec![call(&wallet, 0, 7)]));
    assert!(chain.waiting(&mine).is_none());
    assert_eq!(chosen(&chain, &[], std::slice::from_ref(&wallet)), [(0, 1)]);
    chain.close();
}

#[test]
fn proposing_a_transaction_too_early_makes_nobody_lose_it() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, wallet) = (open(dir.path()), Wallet::new(0));
    for nonce in 0..2 {
        chain.submit(call(&wallet, nonce, 1)).unwrap();
    }
    execute(&chain, decode(vec![call(&wallet, 1, 1)]));
    assert!(chain.head().transactions.is_empty());
    assert_eq!(chosen(&chain, &[], std::slice::from_ref(&wallet)), [(0, 0), (0, 1)]);
    execute(&chain, chain.select(&[], usize::MAX));
    assert_eq!(chain.head().transactions.len(), 2);
    chain.close();
}

#[test]
fn what_cannot_run_is_not_proposed_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (chain, wallet) = (open(dir.path()), Wallet::new(0));
    // It can pay for one at a time, not for both.
    let all = alloy_primitives::U256::from(10).pow(alloy_primitives::U256::from(20));
    let pay = |nonce| {
        wallet.sign(alloy_consensus::TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 1_000_000_000,
            max_priority_fee_per_gas: 1,
            to: alloy_primitives::Address::repeat_byte(1).into(),
            value: all * alloy_primitives::U256::from(2) / alloy_primitives::U256::from(3),
            ..Default::default()
        })
    };
    chain.submit(pay(0)).unwrap();
    let second = chain.submit(pay(1)).unwrap();
    execute(&chain, chain.select(&[], usize::MAX));
    assert_eq!(chain.head().transactions.len(), 1);
    assert!(chain.select(&[], usize::MAX).is_empty());
    assert!(chain.dropped_reason(&second).is_some());
    chain.close();
}
