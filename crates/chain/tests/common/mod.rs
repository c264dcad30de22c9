//! A chain for tests: a few funded wallets and one small contract.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

pub mod served;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use alloy_consensus::{
    SignableTransaction, TxEip1559, TxEnvelope, TxLegacy, crypto::secp256k1::sign_message,
};
use alloy_eips::Encodable2718;
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, bytes, keccak256};
use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing};
use serde_json::{Value, json};

pub const CHAIN_ID: u64 = 31_337;

/// Where the small contract is.
pub const STORE: Address = Address::repeat_byte(0x57);

/// Stores the first word of the call data in the slot that the second names, and logs it with the
/// slot as topic. With call data of 96 bytes or more it reverts with the third word.
///
/// ```text
/// PUSH1 95 CALLDATASIZE GT PUSH1 25 JUMPI
/// PUSH0 CALLDATALOAD PUSH1 32 CALLDATALOAD SSTORE
/// PUSH0 CALLDATALOAD PUSH0 MSTORE PUSH1 32 CALLDATALOAD PUSH1 32 PUSH0 LOG1 STOP
/// JUMPDEST PUSH1 64 CALLDATALOAD PUSH0 MSTORE PUSH1 32 PUSH0 REVERT
/// ```
pub const STORE_CODE: Bytes =
    bytes!("605f36116019575f35602035555f355f5260203560205fa1005b6040355f5260205ffd");

/// A key with its address and next nonce.
pub struct Wallet {
    key: B256,
    pub address: Address,
    nonce: AtomicU64,
}

impl Wallet {
    pub fn new(seed: u64) -> Self {
        let key = keccak256([b"wallet".as_slice(), &seed.to_be_bytes()].concat());
        let signature = sign_message(key, B256::ZERO).unwrap();
        let address = signature.recover_address_from_prehash(&B256::ZERO).unwrap();
        Self { key, address, nonce: AtomicU64::new(0) }
    }

    /// The key, for programs that sign by themselves.
    pub fn key(&self) -> B256 {
        self.key
    }

    pub fn sign(&self, transaction: TxEip1559) -> Bytes {
        let signature = sign_message(self.key, transaction.signature_hash()).unwrap();
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
    }

    pub fn sign_legacy(&self, transaction: TxLegacy) -> Bytes {
        let signature = sign_message(self.key, transaction.signature_hash()).unwrap();
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
    }

    /// A call with the wallet's next nonce.
    pub fn call(&self, to: Address, input: Bytes) -> Bytes {
        self.call_with(self.nonce.fetch_add(1, Ordering::SeqCst), 1, to, input)
    }

    pub fn call_with(&self, nonce: u64, tip: u128, to: Address, input: Bytes) -> Bytes {
        self.sign(TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 200_000,
            max_fee_per_gas: 1_000_000_000,
            max_priority_fee_per_gas: tip,
            to: TxKind::Call(to),
            input,
            ..TxEip1559::default()
        })
    }

    /// Sets a slot of the small contract.
    pub fn store(&self, slot: u64, value: u64) -> Bytes {
        self.call(STORE, store_input(slot, value))
    }
}

pub fn store_input(slot: u64, value: u64) -> Bytes {
    [U256::from(value).to_be_bytes::<32>(), U256::from(slot).to_be_bytes::<32>()].concat().into()
}

pub fn wallets(count: u64) -> Vec<Wallet> {
    (0..count).map(Wallet::new).collect()
}

pub fn genesis() -> Genesis {
    let contract =
        GenesisAccount { nonce: Some(1), code: Some(STORE_CODE), ..GenesisAccount::default() };
    let genesis = Genesis::new(CHAIN_ID, 1_000_000).with_account(STORE, contract);
    wallets(8).iter().fold(genesis, |genesis, wallet| {
        genesis.with_balance(wallet.address, U256::from(10).pow(U256::from(20)))
    })
}

/// A clock that stands until it is moved.
#[derive(Clone)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    pub fn new(time: u64) -> Self {
        Self(Arc::new(AtomicU64::new(time)))
    }

    pub fn set(&self, time: u64) {
        self.0.store(time, Ordering::SeqCst);
    }

    pub fn config(&self, dir: &Path) -> ChainConfig {
        let time = Arc::clone(&self.0);
        ChainConfig::new(dir, genesis(), Arc::new(move || time.load(Ordering::SeqCst)))
    }
}

/// A chain that nobody orders blocks for.
pub fn open(dir: &Path) -> Chain {
    Chain::open(ManualClock::new(2_000_000).config(dir)).unwrap()
}

/// A chain that makes a block as soon as something waits.
pub fn open_instant(dir: &Path) -> Rpc {
    let chain = open(dir);
    chain.run_solo(Sealing::Instant);
    Rpc::new(chain)
}

pub trait RpcExt {
    fn ok(&self, method: &str, params: Value) -> Value;
    /// Sends a transaction and gives its receipt.
    fn run(&self, raw: Bytes) -> Value;
}

impl RpcExt for Rpc {
    #[track_caller]
    fn ok(&self, method: &str, params: Value) -> Value {
        self.handle(method, params).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    #[track_caller]
    fn run(&self, raw: Bytes) -> Value {
        self.ok("eth_sendRawTransactionSync", json!([raw]))
    }
}

/// Posts a JSON-RPC call to a server and gives the result.
#[track_caller]
pub fn post(port: u16, method: &str, params: Value) -> Value {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = post_raw(port, call.to_string().as_bytes());
    assert!(answer.get("error").is_none(), "{method}: {answer}");
    answer["result"].clone()
}

/// Posts bytes and gives the JSON that comes back.
#[track_caller]
pub fn post_raw(port: u16, body: &[u8]) -> Value {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let head = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).unwrap_or(Value::Null)
}
