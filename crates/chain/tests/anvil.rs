//! The same transactions on anvil and here: receipts, logs, gas, state root and block hash agree.
//!
//! Needs the anvil that `cargo xtask test` installs below `contracts/`; says so and passes without it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use alloy_consensus::{Header, TxEip1559, TxLegacy, constants::KECCAK_EMPTY};
use alloy_eips::Encodable2718 as _;
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, bytes, keccak256};
use alloy_rpc_types_eth::{Block, Log, TransactionReceipt};
use alloy_trie::{
    TrieAccount,
    root::{state_root_unhashed, storage_root_unhashed},
};
use chain::{Audit, AuditError, Receipt};
use common::{CHAIN_ID, STORE, Wallet, genesis, post, store_input, wallets};
use serde_json::json;

/// A running anvil, stopped when dropped.
struct Anvil {
    process: Child,
    port: u16,
}

impl Anvil {
    fn start(dir: &Path) -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
        if !program.exists() {
            eprintln!("SKIPPED: no anvil; run `cargo xtask test`, which installs it");
            return None;
        }
        let init = dir.join("anvil-genesis.json");
        std::fs::write(&init, serde_json::to_vec(genesis().as_alloy()).unwrap()).unwrap();
        let mut process = Command::new(program)
            .args(["--port", "0", "--accounts", "0", "--no-mining", "--hardfork", "osaka"])
            .args(["--disable-default-create2-deployer", "--order", "fifo"])
            .args(["--gas-limit", "1000000000", "--base-fee", "1000"])
            .arg("--init")
            .arg(init)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            line.strip_prefix("Listening on ")?.rsplit(':').next()?.trim().parse().ok()
        });
        Some(Self { process, port: port.unwrap() })
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Initialisation code that stores 7 in slot 0 and leaves `STORE`'s code behind.
fn deployment() -> Bytes {
    // PUSH1 7 PUSH0 SSTORE, then CODECOPY and RETURN of what follows these 15 bytes.
    let length = u8::try_from(common::STORE_CODE.len()).unwrap();
    let mut code = vec![0x60, 0x07, 0x5f, 0x55];
    code.extend([0x60, length, 0x80, 0x60, 0x0d, 0x5f, 0x39, 0x5f, 0xf3]);
    code.extend_from_slice(&common::STORE_CODE);
    code.into()
}

/// A transaction of some sort, by a number that stands for chance.
///
/// Anvil 1.7.1 leaves slots that are zero and accounts that are empty in its tries, so its state roots
/// are wrong once something was cleared, or read before it was set. `clearing` says whether such
/// transactions may occur.
fn transaction(wallet: &Wallet, nonce: u64, chance: u64, clearing: bool) -> Bytes {
    let common = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 300_000,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: u128::from(chance % 5),
        to: TxKind::Call(STORE),
        ..TxEip1559::default()
    };
    let revert: Bytes = [[0_u8; 64].as_slice(), &[0xee; 32]].concat().into();
    let least = u64::from(!clearing);
    match chance % 10 {
        // Sets and changes slots, or clears them, which gives refunds.
        0..4 => {
            let input = store_input(chance % 7, least + chance % 3);
            wallet.sign(TxEip1559 { input, ..common })
        }
        4 => wallet.sign(TxEip1559 { input: revert, ..common }),
        // Runs out of gas in the middle.
        5 => {
            let slot = if clearing { chance } else { 1 };
            wallet.sign(TxEip1559 { input: store_input(slot, 5), gas_limit: 22_500, ..common })
        }
        6 => wallet.sign(TxEip1559 { to: TxKind::Create, input: deployment(), ..common }),
        // Ether to an address that was never seen.
        7 => wallet.sign(TxEip1559 {
            to: TxKind::Call(Address::from_slice(&keccak256(chance.to_be_bytes())[..20])),
            value: U256::from(chance),
            ..common
        }),
        // Makes a contract that destroys itself at once.
        8 if clearing => {
            wallet.sign(TxEip1559 { to: TxKind::Create, input: bytes!("33ff"), ..common })
        }
        _ => wallet.sign_legacy(TxLegacy {
            chain_id: Some(CHAIN_ID),
            nonce,
            gas_price: 1_000_000,
            gas_limit: 100_000,
            to: TxKind::Call(STORE),
            input: store_input(chance % 11, 1 + chance),
            ..TxLegacy::default()
        }),
    }
}

/// Has anvil make `blocks` blocks of all wallets' transactions and hands each to `check`.
fn with_anvil(
    blocks: u64,
    clearing: bool,
    mut check: impl FnMut(&Anvil, &Header, &[Bytes], &[TransactionReceipt]),
) {
    let dir = tempfile::tempdir().unwrap();
    let Some(anvil) = Anvil::start(dir.path()) else { return };
    let wallets = wallets(6);
    let mut chance = 1_u64;
    for number in 0..=blocks {
        let block = format!("{number:#x}");
        if number > 0 {
            for (sender, wallet) in wallets.iter().enumerate() {
                for step in 0..4 {
                    let nonce = (number - 1) * 4 + step;
                    chance = chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(sender as u64);
                    // The first block sets the slots that later ones run out of gas on.
                    let input = store_input(sender as u64 + step, 9);
                    let raw = match number {
                        1 => wallet.call_with(nonce, 1, STORE, input),
                        _ => transaction(wallet, nonce, chance >> 33, clearing),
                    };
                    post(anvil.port, "eth_sendRawTransaction", json!([raw]));
                }
            }
            post(anvil.port, "evm_mine", json!([]));
        }
        let made = post(anvil.port, "eth_getBlockByNumber", json!([block, true]));
        let made: Block = serde_json::from_value(made).unwrap();
        let transactions = made.transactions.as_transactions().unwrap_or_default();
        let encoded = transactions.iter().map(|tx| tx.inner.encoded_2718().into());
        let encoded: Vec<Bytes> = encoded.collect();
        assert!(number == 0 || encoded.len() == 24);
        let receipts = post(anvil.port, "eth_getBlockReceipts", json!([block]));
        let receipts: Vec<_> = serde_json::from_value(receipts).unwrap();
        check(&anvil, &made.header.inner, &encoded, &receipts);
    }
}

#[test]
fn anvil_agrees_on_every_block() {
    let mut audit = None;
    with_anvil(30, false, |_, header, transactions, receipts| {
        if header.number == 0 {
            audit = Some(Audit::new(&genesis(), header.hash_slow()));
            return;
        }
        // An equal header means equal state root, receipts root, logs bloom and gas.
        let ours = audit.as_mut().unwrap().block(header, transactions).unwrap();
        check_receipts(&ours, receipts);
    });
}

#[test]
fn anvil_agrees_on_everything_but_its_own_state_root() {
    let mut audit = None;
    let mut statuses = [0; 2];
    with_anvil(30, true, |anvil, header, transactions, receipts| {
        if header.number == 0 {
            audit = Some(Audit::new(&genesis(), header.hash_slow()));
            return;
        }
        let (found, ours) = audit.as_mut().unwrap().execute(header, transactions).unwrap();
        check_receipts(&ours, receipts);
        for receipt in &ours {
            statuses[usize::from(receipt.success)] += 1;
        }
        let state_root = found.state_root;
        assert_eq!(Header { state_root: header.state_root, ..found }, *header);
        assert_eq!(state_root, root_of_dump(anvil), "at block {}", header.number);
    });
    assert!(statuses == [0, 0] || statuses.iter().all(|count| *count > 50), "{statuses:?}");
}

/// The root of anvil's whole state, as `alloy-trie` builds it from scratch.
fn root_of_dump(anvil: &Anvil) -> B256 {
    #[derive(serde::Deserialize)]
    struct Dump {
        accounts: BTreeMap<Address, GenesisAccount>,
    }
    let dump: Bytes =
        serde_json::from_value(post(anvil.port, "anvil_dumpState", json!([]))).unwrap();
    let dump: Dump = serde_json::from_reader(flate2::read::GzDecoder::new(dump.as_ref())).unwrap();
    let accounts = dump.accounts.into_iter().map(|(address, account)| {
        let slots = account.storage.unwrap_or_default().into_iter();
        let slots = slots.map(|(slot, value)| (slot, value.into()));
        let storage_root = storage_root_unhashed(slots.filter(|(_, value)| *value != U256::ZERO));
        let code_hash = keccak256(account.code.unwrap_or_default());
        let (nonce, balance) = (account.nonce.unwrap_or_default(), account.balance);
        (address, TrieAccount { nonce, balance, storage_root, code_hash })
    });
    let exists = |account: &TrieAccount| {
        account.nonce > 0 || !account.balance.is_zero() || account.code_hash != KECCAK_EMPTY
    };
    state_root_unhashed(accounts.filter(|(_, account)| exists(account)))
}

#[track_caller]
fn check_receipts(ours: &[Receipt], theirs: &[TransactionReceipt]) {
    assert_eq!(ours.len(), theirs.len());
    let mut gas_before = 0;
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours.success, theirs.status());
        assert_eq!(ours.cumulative_gas_used - gas_before, theirs.gas_used);
        gas_before = ours.cumulative_gas_used;
        let logs: Vec<_> = theirs.logs().iter().map(|log: &Log| log.inner.clone()).collect();
        assert_eq!(ours.logs, logs);
    }
}

#[test]
fn altered_block_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let rpc = common::open_instant(dir.path());
    common::RpcExt::run(&rpc, Wallet::new(0).store(1, 1));
    let chain = rpc.chain();
    let block = chain.head();
    let genesis_hash = chain.block(0).unwrap().unwrap().hash;
    let raw: Vec<Bytes> = block.transactions.iter().map(|tx| tx.raw().clone()).collect();
    let audit = || Audit::new(chain.genesis(), genesis_hash);
    audit().block(&block.header, &raw).unwrap();
    let mut header = block.header.clone();
    header.gas_used += 1;
    assert!(audit().block(&header, &raw).is_err());
    assert!(audit().block(&block.header, &[]).is_err());
    // Numbers from outside must neither be believed nor waited for.
    for given in [0, 2, u64::MAX] {
        let header = Header { number: given, ..block.header.clone() };
        let refused = audit().block(&header, &raw);
        assert!(matches!(refused, Err(AuditError::NotNext { expected: 1, .. })));
    }
    let mut second = audit();
    second.block(&block.header, &raw).unwrap();
    let before = &block.header;
    let header = Header { number: 2, gas_limit: before.gas_limit + 1, ..before.clone() };
    assert!(matches!(second.block(&header, &[]), Err(AuditError::Unfounded { number: 2 })));
    chain.close();
}
