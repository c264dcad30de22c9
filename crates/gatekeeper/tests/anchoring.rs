//! Anchoring survives being interrupted between keeping a record and telling the chain (S6), and does
//! nothing twice.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::{B256, U256};
use alloy_provider::Provider as _;
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent;
use bindings::{Contract, Records, Relationships, convert::to_anchor};
use common::{World, address, id, secret, sql, tamper, version};
use domain::{AnchorState, RecordVersion};
use gatekeeper::{AnchorError, Entropy, FindingKind, Gatekeeper, Inclusion, Resumed, Settings};
use ledger::{Projection, SendError, Sender};
use vault::{NewRecord, PutError};

const FIRST: RecordVersion = RecordVersion::FIRST;

async fn count<E: SolEvent>(world: &World) -> usize {
    let filter = Filter::new()
        .address(world.at(Contract::Records))
        .event_signature(E::SIGNATURE_HASH)
        .from_block(0);
    world.ledger.logs(&filter).await.unwrap().len()
}

fn sent(sent: usize) -> Resumed {
    Resumed { sent, given_up: Vec::new() }
}

fn height(world: &World) -> u64 {
    world.ledger.embedded_chain().unwrap().head().header.number
}

/// The hospital's gatekeeper with the key of somebody whom the chain refuses, which is how sending
/// fails after everything was kept.
async fn refused(world: &World) -> Gatekeeper {
    Gatekeeper::open(
        world.vault("hospital").await,
        world.deployment,
        Sender::new(world.ledger.clone(), common::wallet("mallory")),
        Projection::default(),
        Settings::default(),
        Entropy::from_seed(secret("refused").0),
    )
    .await
    .unwrap()
}

/// Takes from somebody what they would pay for a transaction; returns how much.
async fn impoverish(world: &World, name: &str) -> U256 {
    let provider = world.ledger.provider();
    let latest = world.ledger.block(BlockNumberOrTag::Latest).await.unwrap();
    let base_fee = u128::from(latest.header.base_fee_per_gas.unwrap());
    // What the pool wants to see for a transfer; the rest of it is left over.
    let reserve = U256::from((2 * base_fee + 1) * 26_250);
    let all = provider.get_balance(address(name)).await.unwrap() - reserve;
    world.sender(name).transfer(address("ben"), all).await.unwrap();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_that_was_not_sent_is_sent_after_a_restart() {
    let world = World::with_relationships().await;
    let gatekeeper = refused(&world).await;
    let records: Vec<_> = (1..4).map(|number| world.record(number, "pat")).collect();
    let put = gatekeeper.put_and_anchor(records).await;
    assert!(matches!(put, Err(AnchorError::Unsent(SendError::Refused(_)))), "{put:?}");
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    // Until then nothing vouches for the records, and nothing claims to.
    assert_eq!(gatekeeper.inclusion(id(1), FIRST).await.unwrap(), None);
    assert_eq!(gatekeeper.bundle(id(1), FIRST).await.unwrap(), None);
    let report = gatekeeper.reconcile(world.now()).await.unwrap();
    let broken = |finding: &&gatekeeper::Finding| finding.kind == FindingKind::BrokenBatch;
    assert_eq!(report.findings.iter().filter(broken).count(), 1);

    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(1));
    assert!(gatekeeper.reconcile(world.now()).await.unwrap().is_clean());
    let (_, inclusion) = gatekeeper.inclusion(id(1), FIRST).await.unwrap().unwrap();
    assert!(matches!(inclusion, Inclusion::Batch { .. }));
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(0));
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(0));
    assert_eq!(count::<Records::BatchAnchored>(&world).await, 1);
}

/// The root reached the chain, and the program ended before it wrote that down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_that_was_sent_is_not_sent_again() {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    for number in 1..4 {
        gatekeeper.put_and_anchor(vec![world.record(number, "pat")]).await.unwrap();
    }
    tamper(gatekeeper.vault(), "update anchor_batches set tx = x'' where position > 1").await;
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    let before = height(&world);
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(2));
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(0));
    assert_eq!(height(&world), before);
    assert_eq!(count::<Records::BatchAnchored>(&world).await, 3);
    assert!(gatekeeper.reconcile(world.now()).await.unwrap().is_clean());
}

/// Even a gatekeeper that does not know how the chain stands anchors nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chain_refuses_a_batch_the_second_time() {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    gatekeeper.put_and_anchor(vec![world.record(1, "pat")]).await.unwrap();
    tamper(gatekeeper.vault(), "update anchor_batches set tx = x''").await;
    let resumed = gatekeeper.resume_anchoring().await;
    assert!(matches!(resumed, Err(AnchorError::Send(SendError::Refused(_)))), "{resumed:?}");
    assert_eq!(count::<Records::BatchAnchored>(&world).await, 1);
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(1));
}

/// A list that was changed while it waited is not sent: nobody knows any more what it anchors.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_batch_is_not_sent() {
    let world = World::with_relationships().await;
    let gatekeeper = refused(&world).await;
    for number in 1..3 {
        gatekeeper.put_and_anchor(vec![world.record(number, "pat")]).await.unwrap_err();
    }
    let broken = "update anchor_batches set manifest = zeroblob(93) where position = 1";
    tamper(gatekeeper.vault(), broken).await;
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(1));
    assert_eq!(count::<Records::BatchAnchored>(&world).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_proposal_leaves_nothing_behind() {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    let stranger = world.record_of(1, address("mallory"), domain::Kind::Laboratory);
    let put = gatekeeper.put_and_propose(stranger, None).await;
    assert!(matches!(put, Err(AnchorError::Send(SendError::Refused(_)))), "{put:?}");
    let (anchor, _) = gatekeeper.put_and_propose(world.record(2, "pat"), None).await.unwrap();
    // An amendment before the patient has answered.
    let next = NewRecord { version: version(2), ..world.record(2, "pat") };
    gatekeeper.put_and_propose(next, Some(&anchor)).await.unwrap_err();
    assert_eq!(gatekeeper.vault().head(id(1)).await.unwrap(), None);
    assert_eq!(gatekeeper.vault().head(id(2)).await.unwrap().unwrap().header.version, FIRST);
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(0));
    assert!(gatekeeper.reconcile(world.now()).await.unwrap().is_clean());
}

/// The chain refuses a version that it has; whoever wrote it second is told that somebody was before them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_writer_of_a_version_is_told_of_the_first() {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    let (first, _) = gatekeeper.put_and_propose(world.record(1, "pat"), None).await.unwrap();
    let put = gatekeeper.put_and_propose(world.record(1, "pat"), None).await;
    let Err(AnchorError::Put(PutError::Conflict { record, version, kept })) = put else {
        panic!("{put:?}");
    };
    assert_eq!((record, version, kept), (id(1), FIRST, first.digest));
}

/// Proposals that were kept and could not be sent, because there was no ether to pay with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_resume() {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    let (accepted, _) = gatekeeper.put_and_propose(world.record(1, "pat"), None).await.unwrap();
    world.accept("pat", &accepted).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    let wei = impoverish(&world, "hospital").await;
    let next = NewRecord { version: version(2), ..world.record(1, "pat") };
    gatekeeper.put_and_propose(next, Some(&accepted)).await.unwrap_err();
    for (number, patient) in [(2, "pat"), (3, "quinn"), (4, "quinn")] {
        gatekeeper.put_and_propose(world.record(number, patient), None).await.unwrap_err();
    }
    assert_eq!(gatekeeper.vault().head(id(1)).await.unwrap().unwrap().header.version, version(2));
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    gatekeeper.resume_anchoring().await.unwrap_err();
    assert_eq!(count::<Records::RecordProposed>(&world).await, 1);

    world.sender("ben").transfer(address("hospital"), wei / U256::from(2)).await.unwrap();
    // One patient has left meanwhile: what is theirs is given up, and holds up nobody else.
    let end = Relationships::endCall { steward: address("hospital") };
    world.send("quinn", Contract::Relationships, &end).await.unwrap();
    let mut resumed = gatekeeper.resume_anchoring().await.unwrap();
    resumed.given_up.sort_unstable();
    let mut given_up = vec![(id(3), FIRST), (id(4), FIRST)];
    given_up.sort_unstable();
    assert_eq!(resumed, Resumed { sent: 2, given_up });
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(0));
    assert_eq!(count::<Records::RecordProposed>(&world).await, 3);
    for number in [3, 4] {
        assert!(gatekeeper.vault().head(id(number)).await.unwrap().unwrap().is_erased);
    }
    assert!(gatekeeper.reconcile(world.now()).await.unwrap().is_clean());
    // Giving up was interrupted after erasing: nothing erased is sent, though it would be taken now.
    world.relate("hospital", "quinn", false).await;
    let kept = format!("insert into proposals values ({}, 1, x'00')", sql(id(3).0));
    tamper(gatekeeper.vault(), &kept).await;
    let resumed = gatekeeper.resume_anchoring().await.unwrap();
    assert_eq!(resumed, Resumed { sent: 0, given_up: vec![(id(3), FIRST)] });
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(0));
    gatekeeper.refresh(world.now()).await.unwrap();
    assert!(gatekeeper.reconcile(world.now()).await.unwrap().is_clean());
    let projection = gatekeeper.projection().await;
    let entry = projection.records.anchor(address("hospital"), id(1), 2).unwrap();
    assert_eq!((entry.state, entry.anchor.base), (AnchorState::Proposed, 1));
}

/// What the chain refuses because of who sends it is not refused for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_outlast_a_wrong_key() {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    let wei = impoverish(&world, "hospital").await;
    gatekeeper.put_and_propose(world.record(1, "pat"), None).await.unwrap_err();
    gatekeeper.vault().database().close().await;
    drop(gatekeeper);
    let gatekeeper = refused(&world).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    let resumed = gatekeeper.resume_anchoring().await;
    assert!(matches!(resumed, Err(AnchorError::Send(SendError::Refused(_)))), "{resumed:?}");
    world.sender("ben").transfer(address("hospital"), wei / U256::from(2)).await.unwrap();
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(1));
    assert!(gatekeeper.reconcile(world.now()).await.unwrap().is_clean());
}

/// The proposal reached the chain, and the program ended before it wrote that down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposal_that_was_sent_is_not_sent_again() {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    let (anchor, _) = gatekeeper.put_and_propose(world.record(1, "pat"), None).await.unwrap();
    // It is struck off the list along with the next write, and there was none.
    let kept = format!("update proposals set call = x'00' where record = {}", sql(anchor.record.0));
    assert_eq!(tamper(gatekeeper.vault(), &kept).await, 1);
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    let before = height(&world);
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(1));
    assert_eq!(gatekeeper.resume_anchoring().await.unwrap(), sent(0));
    assert_eq!(height(&world), before);
}

/// Another steward's anchor under the same id is not ours (R2).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_stewards_anchor_is_not_ours() {
    let world = World::with_relationships().await;
    world.relate("clinic", "quinn", false).await;
    let gatekeeper = world.gatekeeper("hospital").await;
    let (anchor, _) = gatekeeper.put_and_propose(world.record(1, "pat"), None).await.unwrap();
    world.accept("pat", &anchor).await;
    let call = Records::proposeCall {
        patient: address("quinn"),
        record: id(1).0,
        kind: 3,
        digest: B256::repeat_byte(1),
    };
    world.send("clinic", Contract::Records, &call).await.unwrap();
    gatekeeper.refresh(world.now()).await.unwrap();
    assert!(gatekeeper.reconcile(world.now()).await.unwrap().is_clean());
    let (found, _) = gatekeeper.inclusion(id(1), FIRST).await.unwrap().unwrap();
    assert_eq!(found, anchor);
    let bundle = gatekeeper.bundle(id(1), FIRST).await.unwrap().unwrap();
    bundle.check(&gatekeeper.trusted_chain()).unwrap();
    let call = Records::stateOfCall { anchor: to_anchor(&anchor) };
    let state = world.view(Contract::Records, &call).await;
    let ours = gatekeeper.projection().await;
    let ours = ours.records.anchor(address("hospital"), id(1), 1).unwrap().state;
    assert_eq!(ours.number(), state);
}
