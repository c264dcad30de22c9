//! The access log: chained, signed, anchored; whatever is done to it behind the gatekeeper's back is
//! found, and named (S5).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use alloy_primitives::{Address, B256};
use bindings::{AccessLog, Contract};
use common::{World, address, tamper};
use domain::{KindSet, Outcome, ProfessionalRole, Purpose, Reader, ReceiptHead, merkle};
use gatekeeper::{
    AnswerError, Entropy, Gatekeeper, LogFinding, ReadRequest, Settings, StoredReceipt,
};
use ledger::{Projection, Sender};

/// A gatekeeper that has answered so many reads, about two patients in turn.
async fn logged(count: u64) -> (World, Gatekeeper) {
    let world = World::with_relationships().await;
    let gatekeeper = world.gatekeeper("hospital").await;
    read(&world, &gatekeeper, count).await;
    (world, gatekeeper)
}

async fn read(world: &World, gatekeeper: &Gatekeeper, count: u64) {
    for number in 0..count {
        let patient = address(common::PATIENTS[usize::from(number % 2 == 1)]);
        let request = ReadRequest {
            version: None,
            reader: Reader::Professional {
                member: address("cai"),
                role: ProfessionalRole::Physician,
                institution: address("clinic"),
            },
            patient,
            kinds: KindSet::ALL,
            record: None,
            after: None,
            limit: 1,
            purpose: Purpose::Treatment,
            query: B256::ZERO,
        };
        let refused = gatekeeper.read(&request, world.now()).await;
        assert!(matches!(refused, Err(AnswerError::Refused(_))), "{refused:?}");
        world.advance(1);
    }
}

/// All receipts, in order.
async fn receipts(gatekeeper: &Gatekeeper) -> Vec<StoredReceipt> {
    let mut all = Vec::new();
    for patient in common::PATIENTS {
        all.extend(gatekeeper.receipts_of(address(patient), None, 10_000).await.unwrap());
    }
    all.sort_by_key(|stored| stored.receipt.sequence);
    all
}

/// The log with `count` receipts, of which the first `anchored` are anchored, is tampered with: that
/// is found, and nothing else.
async fn check(count: u64, anchored: u64, statements: &[&str], expected: &[LogFinding]) {
    let (world, gatekeeper) = logged(anchored).await;
    assert_eq!(gatekeeper.anchor_log().await.unwrap(), anchored);
    read(&world, &gatekeeper, count - anchored).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
    for statement in statements {
        assert!(tamper(gatekeeper.vault(), statement).await > 0, "{statement}");
    }
    assert_eq!(gatekeeper.check_log().await.unwrap(), expected, "{statements:?}");
    let report = gatekeeper.reconcile(world.now()).await.unwrap();
    assert_eq!(report.log_findings, expected, "{statements:?}");
    assert_eq!(report.findings, []);
}

const fn altered(sequence: u64) -> LogFinding {
    LogFinding::Altered { sequence }
}

const ANCHOR_DIFFERS: LogFinding = LogFinding::AnchorDiffers { first_sequence: 1 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_are_chained_and_signed() {
    let (world, gatekeeper) = logged(6).await;
    let mut head = ReceiptHead::default();
    for (stored, sequence) in receipts(&gatekeeper).await.iter().zip(1..) {
        assert_eq!(stored.receipt.sequence, sequence);
        assert_eq!(stored.receipt.gatekeeper, address("hospital"));
        assert_eq!(stored.receipt.time.0, common::START + sequence - 1);
        assert!(matches!(stored.receipt.outcome, Outcome::Refused { .. }));
        head = head.after(&stored.receipt);
        assert_eq!(stored.head, head);
        let signature = alloy_primitives::Signature::try_from(stored.signature.as_ref()).unwrap();
        let signer = signature.recover_address_from_prehash(&head.0).unwrap();
        assert_eq!(signer, address("hospital"));
    }
    drop(world);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patients_page_through_who_asked() {
    let (_world, gatekeeper) = logged(9).await;
    let numbers = async |patient: Address, before, limit| {
        let page = gatekeeper.receipts_of(patient, before, limit).await.unwrap();
        page.iter().map(|stored| stored.receipt.sequence).collect::<Vec<_>>()
    };
    assert_eq!(numbers(address("pat"), None, 3).await, [9, 7, 5]);
    assert_eq!(numbers(address("pat"), Some(5), 3).await, [3, 1]);
    assert_eq!(numbers(address("quinn"), None, 100).await, [8, 6, 4, 2]);
    assert!(numbers(address("ada"), None, 100).await.is_empty());
}

/// Batches are anchored once each, and the contract takes each receipt with its proof.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anchored_batches_are_provable() {
    let (world, gatekeeper) = logged(5).await;
    assert_eq!(gatekeeper.anchor_log().await.unwrap(), 5);
    assert_eq!(gatekeeper.anchor_log().await.unwrap(), 0);
    read(&world, &gatekeeper, 3).await;
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    assert_eq!(gatekeeper.anchor_log().await.unwrap(), 3);
    assert_eq!(gatekeeper.anchor_log().await.unwrap(), 0);
    let hospital = address("hospital");
    let log = AccessLog::logOfCall { gatekeeper: hospital };
    let log = world.view(Contract::AccessLog, &log).await;
    assert_eq!((log.batches, log.receipts), (2, 8));
    let all = receipts(&gatekeeper).await;
    for (index, batch) in [&all[..5], &all[5..]].into_iter().enumerate() {
        let leaves = batch.iter().map(|stored| stored.receipt.leaf()).collect();
        let tree = merkle::Tree::new(leaves).unwrap();
        for (place, stored) in batch.iter().enumerate() {
            let verify = |receipt| AccessLog::verifyCall {
                gatekeeper: hospital,
                index: index.try_into().unwrap(),
                receipt,
                proof: tree.proof(place).unwrap(),
            };
            let receipt = stored.receipt.digest();
            assert!(world.view(Contract::AccessLog, &verify(receipt)).await);
            assert!(!world.view(Contract::AccessLog, &verify(B256::repeat_byte(1))).await);
        }
    }
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_continues_the_chain() {
    let (world, mut gatekeeper) = logged(2).await;
    for _ in 0..3 {
        gatekeeper = world.restart("hospital", gatekeeper).await;
        read(&world, &gatekeeper, 2).await;
    }
    let sequences: Vec<_> =
        receipts(&gatekeeper).await.iter().map(|stored| stored.receipt.sequence).collect();
    assert_eq!(sequences, (1..=8).collect::<Vec<_>>());
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
}

/// The hospital's gatekeeper on, after a restart, with another key.
async fn with_key(world: &World, gatekeeper: Gatekeeper, key: &str) -> Gatekeeper {
    gatekeeper.vault().database().close().await;
    drop(gatekeeper);
    Gatekeeper::open(
        world.vault("hospital").await,
        world.deployment,
        Sender::new(world.ledger.clone(), common::wallet(key)),
        Projection::default(),
        Settings::default(),
        Entropy::from_seed(common::secret(key).0),
    )
    .await
    .unwrap()
}

/// What was signed before the key changed stays good, and the key put aside signs nothing later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_outlast_a_change_of_key() {
    let (world, gatekeeper) = logged(2).await;
    world.rotate("hospital", "spare1").await;
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
    // Until the new key is in use, the old one signs on.
    read(&world, &gatekeeper, 1).await;
    let gatekeeper = with_key(&world, gatekeeper, "spare1").await;
    read(&world, &gatekeeper, 2).await;
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
    assert_eq!(gatekeeper.anchor_log().await.unwrap(), 5);
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.check_log().await.unwrap(), []);
    let gatekeeper = with_key(&world, gatekeeper, "hospital").await;
    read(&world, &gatekeeper, 1).await;
    let gatekeeper = with_key(&world, gatekeeper, "mallory").await;
    read(&world, &gatekeeper, 1).await;
    let bad = |sequence| LogFinding::BadSignature { sequence };
    assert_eq!(gatekeeper.check_log().await.unwrap(), [bad(6), bad(7)]);
}

const PURPOSE: &str =
    "update receipts set receipt = replace(receipt, 'treatment', 'payment') where sequence = 4";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edited_receipt_is_found() {
    check(8, 0, &[PURPOSE], &[altered(4)]).await;
    check(8, 6, &[PURPOSE], &[altered(4), ANCHOR_DIFFERS]).await;
}

/// Hiding a receipt from its patient, without touching the receipt.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipt_filed_under_another_patient_is_found() {
    let hidden = "update receipts set patient = zeroblob(20) where sequence = 4";
    check(8, 6, &[hidden], &[altered(4)]).await;
    let digest = "update receipts set digest = zeroblob(32) where sequence = 4";
    check(8, 6, &[digest], &[altered(4)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signature_of_another_is_found() {
    let statement = "update receipts set signature =
        (select signature from receipts where sequence = 5) where sequence = 4";
    check(8, 6, &[statement], &[LogFinding::BadSignature { sequence: 4 }]).await;
    let statement = "update receipts set signature = x'' where sequence = 4";
    check(8, 6, &[statement], &[LogFinding::BadSignature { sequence: 4 }]).await;
}

/// The one after a receipt that is gone cannot be vouched for either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_receipt_is_found() {
    let drop_one = "delete from receipts where sequence = 4";
    let gap = LogFinding::Gap { sequence: 4, count: 1 };
    check(8, 0, &[drop_one], &[gap.clone(), altered(5)]).await;
    check(8, 6, &[drop_one], &[gap, altered(5), ANCHOR_DIFFERS]).await;
    let drop_some = "delete from receipts where sequence in (3, 4, 5)";
    let gap = LogFinding::Gap { sequence: 3, count: 3 };
    check(8, 4, &[drop_some], &[gap, ANCHOR_DIFFERS, altered(6)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_end_is_found_once_anchored() {
    let drop_end = "delete from receipts where sequence > 5";
    let missing = LogFinding::Missing { anchored: 6, kept: 5 };
    check(8, 6, &[drop_end], &[missing]).await;
    let drop_all = "delete from receipts";
    check(8, 6, &[drop_all], &[LogFinding::Missing { anchored: 6, kept: 0 }]).await;
}

/// An operator who has the key drops what was anchored and writes the log anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rewritten_log_differs_from_its_anchor() {
    let (world, gatekeeper) = logged(6).await;
    assert_eq!(gatekeeper.anchor_log().await.unwrap(), 6);
    tamper(gatekeeper.vault(), "delete from receipts where sequence > 3").await;
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    read(&world, &gatekeeper, 5).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.check_log().await.unwrap(), [ANCHOR_DIFFERS]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reordered_receipts_are_found() {
    let statements = [
        "update receipts set sequence = 100 where sequence = 4",
        "update receipts set sequence = 4 where sequence = 5",
        "update receipts set sequence = 5 where sequence = 100",
    ];
    check(8, 0, &statements, &[altered(4), altered(5), altered(6)]).await;
    let expected = [altered(4), altered(5), altered(6), ANCHOR_DIFFERS];
    check(8, 6, &statements, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_receipt_is_found() {
    let forged = "insert into receipts select 9, patient, receipt, digest, head, signature
        from receipts where sequence = 8";
    check(8, 6, &[forged], &[altered(9)]).await;
    let far = "insert into receipts select 4000000000000000000, patient, receipt, digest, head,
        signature from receipts where sequence = 8";
    let gap = LogFinding::Gap { sequence: 9, count: 4_000_000_000_000_000_000 - 9 };
    check(8, 6, &[far], &[gap, altered(4_000_000_000_000_000_000)]).await;
}

/// Receipts are numbered from 1; others are shown to their patient as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_with_numbers_below_one_are_found() {
    let insert = |number| {
        format!(
            "insert into receipts select {number}, patient, receipt, digest, head, signature
            from receipts where sequence = 8"
        )
    };
    check(8, 6, &[&insert("0")], &[LogFinding::Unnumbered { count: 1 }]).await;
    let lowest = insert("-9223372036854775807 - 1");
    check(8, 6, &[&insert("-3"), &lowest], &[LogFinding::Unnumbered { count: 2 }]).await;
}

/// Columns that hold what they never should: a finding, not a failure to report anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_receipts_are_findings() {
    for (column, value) in [
        ("receipt", "'{}'"),
        ("receipt", "x'00ff'"),
        ("receipt", "''"),
        ("head", "'text'"),
        ("head", "7"),
        ("signature", "1.5"),
    ] {
        let statement = format!("update receipts set {column} = {value} where sequence = 4");
        check(8, 6, &[&statement], &[altered(4), ANCHOR_DIFFERS]).await;
    }
    for (column, value) in [("patient", "'text'"), ("digest", "5")] {
        let statement = format!("update receipts set {column} = {value} where sequence = 4");
        check(8, 6, &[&statement], &[altered(4)]).await;
    }
    // A number that is none: the receipt is missing where it was, and something is at the end.
    let statement = "update receipts set sequence = 'text' where sequence = 4";
    let gap = LogFinding::Gap { sequence: 4, count: 1 };
    check(8, 6, &[statement], &[gap, altered(5), ANCHOR_DIFFERS, altered(9)]).await;
}

/// A log whose end cannot be read takes no receipt, so nothing is answered; checking it still works.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_without_an_end_answers_nothing() {
    let (world, gatekeeper) = logged(4).await;
    tamper(gatekeeper.vault(), "update receipts set head = 'text' where sequence = 4").await;
    let gatekeeper = world.restart("hospital", gatekeeper).await;
    gatekeeper.refresh(world.now()).await.unwrap();
    assert_eq!(gatekeeper.check_log().await.unwrap(), [altered(4)]);
    let request = ReadRequest {
        version: None,
        reader: Reader::Patient { account: address("pat") },
        patient: address("pat"),
        kinds: KindSet::ALL,
        record: None,
        after: None,
        limit: 1,
        purpose: Purpose::PatientRequest,
        query: B256::ZERO,
    };
    let read = gatekeeper.read(&request, world.now()).await;
    assert!(matches!(read, Err(AnswerError::Gatekeeper(_))), "{read:?}");
    assert_eq!(gatekeeper.check_log().await.unwrap(), [altered(4)]);
}

/// Nothing is anchored over a receipt that is missing or was changed into something unreadable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_log_is_not_anchored() {
    let (world, gatekeeper) = logged(4).await;
    tamper(gatekeeper.vault(), "delete from receipts where sequence = 2").await;
    gatekeeper.anchor_log().await.unwrap_err();
    let log = AccessLog::logOfCall { gatekeeper: address("hospital") };
    assert_eq!(world.view(Contract::AccessLog, &log).await.receipts, 0);
}
