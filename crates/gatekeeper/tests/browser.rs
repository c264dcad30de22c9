//! What the portal's script is tried with: assertions, typed data and sealed answers as this side makes them.
//!
//! `crates/portal/web/test/vectors.json` is what they are; `SALUS_WRITE_VECTORS=1` writes it.

use std::{fs, path::Path};

use alloy_primitives::{Address, B256, Bytes, U256, aliases::U40, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::patient_account::{
    Call, Execute, execute_digest, message_digest, message_typed_data, typed_data,
};
use domain::{Kind, KindSet, Purpose, Query, QueryDomain, RecordId, Timestamp};
use gatekeeper::query_typed_data;
use ledger::Passkey;
use serde_json::{Value, json};
use vault::{Kem, SecretKey, answer};

use crate::common::rng;

const CHAIN_ID: u64 = 7_251;
const ACCOUNT: Address = Address::repeat_byte(0xac);
const NETWORK: QueryDomain =
    QueryDomain { chain_id: CHAIN_ID, registry: Address::repeat_byte(0x4e) };

/// The flat encoding that the verifier takes.
type Assertion = (B256, B256, U256, U256, Bytes, String);

fn passkey() -> Value {
    let passkey = Passkey::from_secret(&B256::repeat_byte(3), "http://localhost:8700").unwrap();
    let digest = keccak256("a batch of calls");
    let assertion = passkey.sign(digest);
    let (r, s, _, _, authenticator_data, client_data) =
        Assertion::abi_decode_params(&assertion).unwrap();
    json!({
        "challenge": digest,
        "signer": passkey.signer(Address::repeat_byte(0xfe)),
        "r": r,
        "s": s,
        "authenticator_data": authenticator_data,
        "client_data": client_data,
        "assertion": assertion,
    })
}

fn batch() -> Value {
    let call = |byte, data: &'static [u8]| Call {
        to: Address::repeat_byte(byte),
        value: U256::from(byte),
        data: Bytes::from_static(data),
    };
    let batch = Execute {
        calls: vec![call(1, b"grant"), call(2, b"")],
        nonce: U256::from(u128::MAX),
        deadline: U40::from(1_900_000_000_u64),
    };
    json!({
        "typed_data": typed_data(CHAIN_ID, ACCOUNT, &batch),
        "digest": execute_digest(CHAIN_ID, ACCOUNT, &batch),
    })
}

fn query() -> (B256, Value) {
    let query = Query {
        gatekeeper: Address::repeat_byte(0x6a),
        patient: ACCOUNT,
        kinds: KindSet::of(&[Kind::Laboratory, Kind::Allergy]),
        record: None,
        after: Some(RecordId(B256::repeat_byte(9))),
        limit: 100,
        purpose: Purpose::PatientRequest,
        recipient_key: B256::repeat_byte(5),
        nonce: keccak256("once"),
        deadline: Timestamp(1_900_000_000),
    };
    let digest = query.signing_digest(NETWORK);
    let value = json!({
        "typed_data": query_typed_data(&query, NETWORK),
        "digest": digest,
        "message_typed_data": message_typed_data(CHAIN_ID, ACCOUNT, digest),
        "message_digest": message_digest(CHAIN_ID, ACCOUNT, digest),
    });
    (digest, value)
}

/// Answers of no, of some and of more bytes than a segment holds; every byte is its place, modulo 251.
fn sealed(query: B256) -> Vec<Value> {
    let material = [0x51; 32];
    let secret = SecretKey::derive(Kem::X25519, &material);
    let public = secret.public_key();
    let of_length = |length: usize| {
        let places = (0..251).cycle();
        let body: Vec<u8> = places.take(length).collect();
        let sealed = answer::seal(&public, NETWORK, query.as_slice(), &body, &mut rng(1));
        json!({
            "material": Bytes::from(material),
            "public_key": Bytes::from(public.to_bytes()),
            "chain_id": CHAIN_ID,
            "registry": NETWORK.registry,
            "query": query,
            "length": length,
            "sealed": Bytes::from(sealed),
        })
    };
    [0, 300, 64 * 1024 + 1].map(of_length).into()
}

#[test]
fn script_is_tried_with_what_this_side_makes() {
    let (digest, query) = query();
    let vectors =
        json!({ "passkey": passkey(), "batch": batch(), "query": query, "sealed": sealed(digest) });
    let made = serde_json::to_string_pretty(&vectors).unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../portal/web/test/vectors.json");
    if std::env::var_os("SALUS_WRITE_VECTORS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap();
    assert!(
        committed == made,
        "vectors.json is not what is made: write it with SALUS_WRITE_VECTORS=1"
    );
}
