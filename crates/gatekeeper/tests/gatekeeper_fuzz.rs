//! Spoiled signed queries and proof bundles: what differs from what was signed or proven is refused, and
//! no refusal holds anything of a record (S1, S5, S7).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;

use alloy_primitives::{Address, B256, Bytes};
use common::{PLAINTEXT, World, address, id};
use domain::{KindSet, Purpose, RecordVersion, Timestamp};
use gatekeeper::{AnswerError, Bundle, Gatekeeper, QuerySignature, SignedQuery};
use mutations::{fuzz, json_of, text};
use proptest::prelude::*;
use serde_json::Value;
use tokio::runtime::Runtime;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A hospital that answers a consented query of the clinic's physician.
async fn consented() -> (World, Gatekeeper) {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    world.keep(&gatekeeper, vec![world.record(1, "pat"), world.record(2, "quinn")]).await;
    world.grant("pat", address("cai"), None).await;
    (world, gatekeeper)
}

/// One change to a signed query.
#[derive(Clone, Debug)]
enum Change {
    Signature(Vec<u8>),
    AccountSignature(Vec<u8>),
    RecipientKey(Vec<u8>),
    Patient,
    Gatekeeper([u8; 20]),
    Kinds(u32),
    Record([u8; 32]),
    After([u8; 32]),
    Limit(u32),
    Purpose(u8),
    Key([u8; 32]),
    Nonce([u8; 32]),
    Deadline(u64),
}

fn changes() -> impl Strategy<Value = Change> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..130);
    prop_oneof![
        bytes().prop_map(Change::Signature),
        bytes().prop_map(Change::AccountSignature),
        bytes().prop_map(Change::RecipientKey),
        Just(Change::Patient),
        any::<[u8; 20]>().prop_map(Change::Gatekeeper),
        any::<u32>().prop_map(Change::Kinds),
        any::<[u8; 32]>().prop_map(Change::Record),
        any::<[u8; 32]>().prop_map(Change::After),
        any::<u32>().prop_map(Change::Limit),
        any::<u8>().prop_map(Change::Purpose),
        any::<[u8; 32]>().prop_map(Change::Key),
        any::<[u8; 32]>().prop_map(Change::Nonce),
        any::<u64>().prop_map(Change::Deadline),
    ]
}

fn spoil(signed: &mut SignedQuery, change: Change) {
    let query = &mut signed.query;
    match change {
        Change::Signature(bytes) => signed.signature = QuerySignature::Member(bytes.into()),
        Change::AccountSignature(bytes) => {
            let (account, signature) = (query.patient, Bytes::from(bytes));
            signed.signature = QuerySignature::Account { account, signature };
        }
        Change::RecipientKey(bytes) => signed.recipient_key = bytes,
        Change::Patient => query.patient = address("quinn"),
        Change::Gatekeeper(bytes) => query.gatekeeper = Address::from(bytes),
        Change::Kinds(bits) => query.kinds = KindSet::from_bits(bits),
        Change::Record(bytes) => query.record = Some(domain::RecordId(B256::from(bytes))),
        Change::After(bytes) => query.after = Some(domain::RecordId(B256::from(bytes))),
        Change::Limit(limit) => query.limit = limit,
        Change::Purpose(number) => {
            query.purpose = Purpose::try_from(number % 12).unwrap_or(Purpose::Legal);
        }
        Change::Key(bytes) => query.recipient_key = B256::from(bytes),
        Change::Nonce(bytes) => query.nonce = B256::from(bytes),
        Change::Deadline(seconds) => query.deadline = Timestamp(seconds),
    }
}

#[test]
fn a_spoiled_query_is_refused_and_leaves_a_receipt() {
    let runtime = runtime();
    let (world, gatekeeper) = runtime.block_on(consented());
    let count = || {
        let query = sqlx::query_scalar("select count(*) from receipts");
        runtime.block_on(query.fetch_one(gatekeeper.vault().database().readers())).unwrap()
    };
    let nonces = std::cell::Cell::new(1);
    fuzz(150, prop::collection::vec(changes(), 0..3), |changes| {
        nonces.set(nonces.get() + 1);
        let original = world.sign("cai", world.query("cai", address("pat"), nonces.get()));
        let mut signed = original.clone();
        for change in changes {
            spoil(&mut signed, change);
        }
        let same = (signed.query == original.query)
            && signed.recipient_key == original.recipient_key
            && format!("{:?}", signed.signature) == format!("{:?}", original.signature);
        let before: i64 = count();
        let answered = runtime.block_on(gatekeeper.answer(&signed, world.now()));
        prop_assert_eq!(answered.is_ok(), same);
        prop_assert_eq!(count(), before + 1, "an attempt leaves one receipt");
        if let Err(error) = answered {
            prop_assert!(matches!(error, AnswerError::Refused(_)), "{error:?}");
            let told = format!("{error} {error:?}");
            prop_assert!(PLAINTEXT.split(' ').all(|word| !told.contains(word)), "{told}");
        }
        Ok(())
    });
    assert_eq!(runtime.block_on(gatekeeper.check_log()).unwrap(), []);
}

#[test]
fn a_spoiled_bundle_proves_nothing_else() {
    let runtime = runtime();
    let (world, gatekeeper) = runtime.block_on(async {
        let world = World::with_relationships().await;
        let gatekeeper = world.gatekeeper("hospital").await;
        let records = (1..6).map(|number| world.record(number, "pat")).collect();
        gatekeeper.put_and_anchor(records).await.unwrap();
        gatekeeper.put_and_propose(world.record(9, "quinn"), None).await.unwrap();
        gatekeeper.refresh(world.now()).await.unwrap();
        (world, gatekeeper)
    });
    let head = world.ledger.embedded_chain().unwrap().head().hash;
    let trusted = gatekeeper::TrustedChain { block_hash: Some(head), ..gatekeeper.trusted_chain() };
    let bundles = [9, 3].map(|number| {
        let bundle = gatekeeper.bundle(id(number), RecordVersion::FIRST);
        runtime.block_on(bundle).unwrap().unwrap()
    });
    let proven: Vec<String> =
        bundles.iter().map(|bundle| format!("{:?}", bundle.check(&trusted).unwrap())).collect();
    let check = |text: &str| -> Result<(), TestCaseError> {
        let Ok(bundle) = serde_json::from_str::<Bundle>(text) else { return Ok(()) };
        match bundle.check(&trusted) {
            Ok(checked) => {
                let checked = format!("{checked:?}");
                prop_assert!(proven.contains(&checked), "{checked}");
            }
            Err(error) => {
                let told = format!("{error:?}");
                prop_assert!(told.len() < 4_000, "{told}");
            }
        }
        Ok(())
    };
    let values: Vec<Value> =
        bundles.iter().map(|bundle| serde_json::to_value(bundle).unwrap()).collect();
    let texts: Vec<String> = values.iter().map(Value::to_string).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    fuzz(500, json_of(values), |value| check(&value.to_string()));
    fuzz(700, text(&texts), |spoiled| check(&spoiled));
}
