//! Proof bundles: they check offline, and whatever is changed in one is refused for what it is.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use alloy_consensus::Header;
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_provider::Provider as _;
use alloy_rlp::Decodable as _;
use alloy_trie::{Nibbles, TrieAccount, nodes::LeafNode};
use bindings::{Contract, Records, convert::to_anchor};
use common::{World, address, id, long, rng, version};
use domain::{Anchor, AnchorState, Kind, RecordDigest, RecordVersion, Timestamp};
use gatekeeper::{
    Bundle, BundleError, Gatekeeper, Inclusion, ProvenAccount, ProvenState, TrustedChain,
};

const FIRST: RecordVersion = RecordVersion::FIRST;

struct Hospital {
    world: World,
    gatekeeper: Gatekeeper,
    /// A record by itself.
    alone: Bundle,
    /// One of five in a batch.
    batched: Bundle,
}

impl Hospital {
    async fn new() -> Self {
        let world = World::with_relationships().await;
        let gatekeeper = world.gatekeeper("hospital").await;
        let records = (1..6).map(|number| world.record(number, "pat")).collect();
        gatekeeper.put_and_anchor(records).await.unwrap();
        gatekeeper.put_and_propose(world.record(9, "quinn"), None).await.unwrap();
        // Others' accounts and slots, so that the tries have something in them.
        gatekeeper.put_and_propose(world.record(10, "pat"), None).await.unwrap();
        gatekeeper.refresh(world.now()).await.unwrap();
        let alone = gatekeeper.bundle(id(9), FIRST).await.unwrap().unwrap();
        let batched = gatekeeper.bundle(id(3), FIRST).await.unwrap().unwrap();
        Self { world, gatekeeper, alone, batched }
    }

    fn trusted(&self) -> TrustedChain {
        self.gatekeeper.trusted_chain()
    }

    fn head(&self) -> (u64, B256) {
        let head = self.world.ledger.embedded_chain().unwrap().head();
        (head.header.number, head.hash)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_check_offline() {
    let hospital = Hospital::new().await;
    let (number, hash) = hospital.head();
    let checked = hospital.alone.check(&hospital.trusted()).unwrap();
    assert_eq!(checked.state, ProvenState::Alone(AnchorState::Proposed));
    assert_eq!((checked.block_number, checked.block_hash), (number, hash));
    assert_eq!(checked.block_time, hospital.world.now());
    assert_eq!(checked.anchor.record, id(9));
    let checked = hospital.batched.check(&hospital.trusted()).unwrap();
    let anchored_at = Timestamp(common::START);
    assert_eq!(checked.state, ProvenState::Batch { anchored_at });
    assert_eq!((checked.block_number, checked.block_hash), (number, hash));
    let Inclusion::Batch { proof, .. } = &hospital.batched.inclusion else { panic!() };
    assert_eq!(proof.len(), 3);
    for bundle in [&hospital.alone, &hospital.batched] {
        let text = serde_json::to_string(bundle).unwrap();
        assert!(!text.contains(common::PLAINTEXT));
        let read: Bundle = serde_json::from_str(&text).unwrap();
        assert_eq!(&read, bundle);
        read.check(&hospital.trusted()).unwrap();
    }
}

/// The state at the bundle's block, and not that of another time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundle_proves_where_the_record_stands() {
    let Hospital { world, gatekeeper, alone, .. } = Hospital::new().await;
    let anchor = alone.anchor;
    let state = async || {
        gatekeeper.refresh(world.now()).await.unwrap();
        let bundle = gatekeeper.bundle(id(9), FIRST).await.unwrap().unwrap();
        let ProvenState::Alone(state) = bundle.check(&gatekeeper.trusted_chain()).unwrap().state
        else {
            panic!()
        };
        state
    };
    world.accept("quinn", &anchor).await;
    assert_eq!(state().await, AnchorState::Accepted);
    let call = Records::disputeCall { anchor: to_anchor(&anchor) };
    world.send("quinn", Contract::Records, &call).await.unwrap();
    assert_eq!(state().await, AnchorState::Disputed);
    let call = Records::eraseCall { anchor: to_anchor(&anchor), receipt: B256::ZERO };
    world.send("hospital", Contract::Records, &call).await.unwrap();
    assert_eq!(state().await, AnchorState::Erased);
    // The bundle of before says what was.
    assert_eq!(
        alone.check(&gatekeeper.trusted_chain()).unwrap().state,
        ProvenState::Alone(AnchorState::Proposed)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_records_and_later_versions_have_bundles() {
    let Hospital { world, gatekeeper, alone, .. } = Hospital::new().await;
    let (anchor, _) =
        gatekeeper.put_and_propose(long(world.record(20, "pat")), None).await.unwrap();
    world.accept("quinn", &alone.anchor).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    let next = vault::NewRecord { version: version(2), ..world.record(9, "quinn") };
    gatekeeper.put_and_propose(next, Some(&alone.anchor)).await.unwrap();
    gatekeeper.refresh(world.now()).await.unwrap();
    let bundle = gatekeeper.bundle(id(20), FIRST).await.unwrap().unwrap();
    assert!(bundle.sealed.len() > 700_000);
    assert_eq!(bundle.check(&gatekeeper.trusted_chain()).unwrap().anchor, anchor);
    let bundle = gatekeeper.bundle(id(9), version(2)).await.unwrap().unwrap();
    let checked = bundle.check(&gatekeeper.trusted_chain()).unwrap();
    assert_eq!((checked.anchor.version, checked.anchor.base), (version(2), 1));
    assert_eq!(gatekeeper.bundle(id(9), version(3)).await.unwrap(), None);
    assert_eq!(gatekeeper.bundle(id(99), FIRST).await.unwrap(), None);
    gatekeeper.vault().put(world.record(30, "pat"), &mut rng(3)).await.unwrap();
    assert_eq!(gatekeeper.bundle(id(30), FIRST).await.unwrap(), None);
}

/// What a change must be refused as, by name.
fn name(error: &BundleError) -> &'static str {
    match error {
        BundleError::UnknownFormat { .. } => "format",
        BundleError::OtherChain { .. } => "chain",
        BundleError::OtherContract { .. } => "contract",
        BundleError::OtherBlock { .. } => "block",
        BundleError::AlteredRecord { .. } => "record",
        BundleError::NotInBatch { .. } => "batch",
        BundleError::NotAnchored => "anchored",
        BundleError::BadHeader => "header",
        BundleError::AccountNotProven => "account",
        BundleError::SlotNotProven => "slot",
    }
}

/// Trusts what a bundle says of itself, as only somebody who made it should.
fn trusting(bundle: &Bundle) -> TrustedChain {
    let (chain_id, records_contract) = (bundle.chain_id, bundle.records_contract);
    TrustedChain { chain_id, records_contract, block_hash: None }
}

#[track_caller]
fn check(bundle: &Bundle, expected: &str, what: &str, change: impl FnOnce(&mut Bundle)) {
    let mut changed = bundle.clone();
    change(&mut changed);
    assert_ne!(&changed, bundle, "{what}");
    let error = changed.check(&trusting(bundle)).map(drop).map_err(|error| name(&error));
    assert_eq!(error, Err(expected), "{what}");
}

fn flip(bytes: &Bytes, place: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[place] ^= 1;
    bytes.into()
}

/// A change of one field.
type Change = fn(&mut Anchor);

fn shortened(bytes: &Bytes) -> Bytes {
    bytes.slice(..bytes.len() - 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tampered_bundles_are_refused() {
    let hospital = Hospital::new().await;
    let other = Bytes::from_static(b"another record");
    for bundle in [&hospital.alone, &hospital.batched] {
        let is_alone = bundle.inclusion == Inclusion::Alone;
        let unknown = if is_alone { "anchored" } else { "batch" };
        check(bundle, "format", "format", |bundle| bundle.format = 2);

        check(bundle, "record", "sealed, first", |bundle| bundle.sealed = flip(&bundle.sealed, 0));
        check(bundle, "record", "sealed, end", |bundle| {
            bundle.sealed = shortened(&bundle.sealed);
        });
        check(bundle, "record", "sealed, empty", |bundle| bundle.sealed = Bytes::new());
        check(bundle, "record", "digest", |bundle| bundle.anchor.digest.0[0] ^= 1);
        check(bundle, unknown, "sealed and digest", |bundle| {
            bundle.sealed = other.clone();
            bundle.anchor.digest = RecordDigest::of(&other);
        });

        let anchors: [(&str, Change); 6] = [
            ("record", |anchor| anchor.record = id(77)),
            ("version", |anchor| anchor.version = version(2)),
            ("base", |anchor| anchor.base = 1),
            ("kind", |anchor| anchor.kind = Kind::Genomics),
            ("patient", |anchor| anchor.patient = address("mallory")),
            ("steward", |anchor| anchor.steward = address("clinic")),
        ];
        for (what, change) in anchors {
            check(bundle, unknown, what, |bundle| change(&mut bundle.anchor));
        }

        check(bundle, "chain", "chain", |bundle| bundle.chain_id = 1);
        let consents = hospital.world.at(Contract::Consents);
        for contract in [address("mallory"), consents] {
            check(bundle, "contract", "contract", |bundle| bundle.records_contract = contract);
            // Even to those who trust that contract, it proves nothing of it.
            let elsewhere = Bundle { records_contract: contract, ..bundle.clone() };
            let error = elsewhere.check(&trusting(&elsewhere)).map_err(|error| name(&error));
            assert_eq!(error.map(drop), Err("account"));
        }
        check(bundle, "account", "nonce", |bundle| bundle.account.nonce += 1);
        check(bundle, "account", "balance", |bundle| bundle.account.balance += U256::ONE);
        check(bundle, "account", "storage root", |bundle| bundle.account.storage_root.0[31] ^= 1);
        check(bundle, "account", "code hash", |bundle| bundle.account.code_hash.0[0] ^= 1);
        check(bundle, "account", "no proof", |bundle| bundle.account.proof.clear());
        for node in 0..bundle.account.proof.len() {
            check(bundle, "account", "account node", |bundle| {
                bundle.account.proof[node] = flip(&bundle.account.proof[node], 3);
            });
            check(bundle, "account", "account node left out", |bundle| {
                bundle.account.proof.remove(node);
            });
        }
        check(bundle, "slot", "no slot proof", |bundle| bundle.slot_proof.clear());
        for node in 0..bundle.slot_proof.len() {
            check(bundle, "slot", "slot node", |bundle| {
                bundle.slot_proof[node] = flip(&bundle.slot_proof[node], 3);
            });
            check(bundle, "slot", "slot node left out", |bundle| {
                bundle.slot_proof.remove(node);
            });
        }
        check(bundle, "anchored", "empty slot", |bundle| bundle.slot_value = U256::ZERO);

        check(bundle, "header", "header cut", |bundle| {
            bundle.header = shortened(&bundle.header);
        });
        check(bundle, "header", "more than a header", |bundle| {
            bundle.header = [bundle.header.as_ref(), &[0]].concat().into();
        });
        check(bundle, "header", "no header", |bundle| bundle.header = Bytes::new());
        check(bundle, "account", "state root", |bundle| {
            // Prefix, parent, uncles and beneficiary come before the state root.
            bundle.header = flip(&bundle.header, 3 + 33 + 33 + 21 + 1);
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tampered_inclusion_is_refused() {
    let hospital = Hospital::new().await;
    let (alone, batched) = (&hospital.alone, &hospital.batched);
    let Inclusion::Batch { root, proof } = batched.inclusion.clone() else { panic!() };
    for sibling in 0..proof.len() {
        check(batched, "batch", "sibling", |bundle| {
            let mut proof = proof.clone();
            proof[sibling].0[0] ^= 1;
            bundle.inclusion = Inclusion::Batch { root, proof };
        });
        check(batched, "batch", "sibling left out", |bundle| {
            let mut proof = proof.clone();
            proof.remove(sibling);
            bundle.inclusion = Inclusion::Batch { root, proof };
        });
    }
    check(batched, "batch", "root", |bundle| {
        bundle.inclusion = Inclusion::Batch { root: B256::repeat_byte(1), proof: proof.clone() };
    });
    // A batch of one, made up for the purpose: it leads to a root, which nobody anchored.
    check(alone, "slot", "invented batch", |bundle| {
        let root = bundle.anchor.leaf();
        bundle.inclusion = Inclusion::Batch { root, proof: Vec::new() };
    });
    check(batched, "anchored", "said to be alone", |bundle| bundle.inclusion = Inclusion::Alone);
    // The state of the slot, or the time of the batch, is part of what is proven.
    check(alone, "slot", "state", |bundle| {
        let word = bundle.anchor.storage_word(AnchorState::Accepted);
        bundle.slot_value = word.into();
    });
    check(batched, "slot", "time", |bundle| bundle.slot_value += U256::ONE << 32);
    check(alone, "anchored", "unknown state", |bundle| {
        let mut word = bundle.anchor.storage_word(AnchorState::Accepted);
        word.0[31] = 0x1f;
        bundle.slot_value = word.into();
    });
    // The proof of another slot or of another account.
    check(alone, "slot", "other slot's proof", |bundle| {
        bundle.slot_proof.clone_from(&batched.slot_proof);
    });
}

/// A bundle about bytes of the forger's choice, in a block made up for the purpose, where `contract` has
/// the slot that it takes and the state holds nothing else.
fn forge(bundle: &Bundle, contract: Address) -> Bundle {
    let trie = |key: B256, value: Vec<u8>| {
        let node = alloy_rlp::encode(LeafNode::new(Nibbles::unpack(key), value));
        (keccak256(&node), vec![Bytes::from(node)])
    };
    let sealed = Bytes::from_static(b"forged");
    let anchor = Anchor { digest: RecordDigest::of(&sealed), ..bundle.anchor };
    let slot_value = U256::from_be_bytes(anchor.storage_word(AnchorState::Accepted).0);
    let (storage_root, slot_proof) =
        trie(keccak256(slot_of(&anchor)), alloy_rlp::encode(slot_value));
    let (nonce, balance, code_hash) = (1, U256::ZERO, B256::repeat_byte(1));
    let account = TrieAccount { nonce, balance, storage_root, code_hash };
    let (state_root, proof) = trie(keccak256(contract), alloy_rlp::encode(account));
    let header = Header::decode(&mut bundle.header.as_ref()).unwrap();
    Bundle {
        records_contract: contract,
        anchor,
        inclusion: Inclusion::Alone,
        sealed,
        header: alloy_rlp::encode(Header { state_root, ..header }).into(),
        account: ProvenAccount { nonce, balance, storage_root, code_hash, proof },
        slot_proof,
        slot_value,
        ..bundle.clone()
    }
}

/// Anybody can deploy a contract that says anything, and make up a block in which any contract does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bundles_need_a_trusted_contract_and_a_trusted_block() {
    let hospital = Hospital::new().await;
    let (_, hash) = hospital.head();
    let trusted = hospital.trusted();
    let with_block = TrustedChain { block_hash: Some(hash), ..trusted };
    let name_of = |bundle: &Bundle, trusted: &TrustedChain| match bundle.check(trusted) {
        Ok(checked) if checked.block_is_trusted => "proven",
        Ok(_) => "proven, if the block is trusted",
        Err(error) => name(&error),
    };
    assert_eq!(name_of(&hospital.alone, &with_block), "proven");
    assert_eq!(name_of(&hospital.batched, &with_block), "proven");
    assert_eq!(name_of(&hospital.alone, &trusted), "proven, if the block is trusted");

    let theirs = forge(&hospital.alone, address("mallory"));
    assert_eq!(name_of(&theirs, &trusting(&theirs)), "proven, if the block is trusted");
    assert_eq!(name_of(&theirs, &trusted), "contract");
    let ours = forge(&hospital.alone, trusted.records_contract);
    assert_eq!(name_of(&ours, &trusted), "proven, if the block is trusted");
    assert_eq!(name_of(&ours, &with_block), "block");
}

/// Everything else in a header is borne out by its hash, which is to be compared with a trusted one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_header_has_another_hash() {
    let hospital = Hospital::new().await;
    let (_, hash) = hospital.head();
    let mut forged = hospital.alone.clone();
    forged.header = flip(&forged.header, 4);
    let checked = forged.check(&hospital.trusted()).unwrap();
    assert_ne!(checked.block_hash, hash);
}

fn mapped(key: B256, mapping: B256) -> B256 {
    keccak256([key.0, mapping.0].concat())
}

/// Where the contract keeps the first version of an anchor by itself.
fn slot_of(anchor: &Anchor) -> B256 {
    let Anchor { record, patient, steward, .. } = anchor;
    // `_folders` is slot 0; a folder's anchors are its second word.
    let folder = mapped(steward.into_word(), mapped(patient.into_word(), B256::ZERO));
    let anchors = B256::from(U256::from_be_bytes(folder.0) + U256::ONE);
    mapped(B256::with_last_byte(1), mapped(record.0, anchors))
}

/// The constants by which slots are found agree with where the contract keeps things.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_are_where_the_contract_keeps_them() {
    let hospital = Hospital::new().await;
    let provider = hospital.world.ledger.provider();
    let records = hospital.world.at(Contract::Records);
    let stored = async |slot: B256| {
        provider.get_storage_at(records, slot.into()).block_id(BlockId::latest()).await.unwrap()
    };
    let value = stored(slot_of(&hospital.alone.anchor)).await;
    assert_eq!(value, hospital.alone.slot_value);
    let mut expected = hospital.alone.anchor.storage_word(AnchorState::Proposed);
    // Proposed by itself, so it is counted among what awaits the patient.
    expected.0[31] |= 0x80;
    assert_eq!(B256::from(value), expected);
    // `_batches` is slot 1.
    let Inclusion::Batch { root, .. } = &hospital.batched.inclusion else { panic!() };
    let steward = hospital.batched.anchor.steward.into_word();
    let slot = mapped(*root, mapped(steward, B256::with_last_byte(1)));
    let value = stored(slot).await;
    assert_eq!(value, hospital.batched.slot_value);
    let (count, anchored_at) = (U256::from(5), U256::from(common::START));
    assert_eq!(value, (anchored_at << 32) | count);
}
