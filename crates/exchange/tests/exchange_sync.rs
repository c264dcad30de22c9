//! What a receiver does with what it is offered, over a peer within the process.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use common::*;
use domain::{Address, B256, RecordDigest, RecordVersion};
use exchange::{
    BadMessage, BatchProof, BodyStream, Cursor, Failure, Holder as _, Offers, Receiver,
    SyncSettings, TransferError, Transport, Wanted,
};
use futures_util::future::{BoxFuture, FutureExt as _, pending};
use futures_util::stream::{self, StreamExt as _};
use proptest::prelude::*;
use vault::{Entry, ErasureOrder, ErasureReason, ImportError, NewRecord, ScanState, Vault};

/// What a peer does to the bodies that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lie {
    None,
    /// Other bytes of the same length.
    Altered,
    /// One byte too many.
    Longer,
    /// It ends before the end.
    Shorter,
    /// It sends nothing and does not end.
    Silent,
}

/// A peer without a network between.
struct Direct {
    holder: Arc<TestHolder>,
    member: Address,
    lie: Lie,
}

impl Direct {
    fn new(holder: &Arc<TestHolder>, lie: Lie) -> Observed<Self> {
        Observed::new(Self { holder: Arc::clone(holder), member: CLINIC, lie })
    }
}

impl Transport for Direct {
    fn offers(&self, after: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>> {
        let page = self.holder.offers(self.member, after, exchange::PAGE_LEN_MAX);
        page.map(|page| page.map_err(|_| TransferError::Unavailable)).boxed()
    }

    fn fetch(&self, wanted: Wanted, from: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>> {
        async move {
            let given = self.holder.give(self.member, wanted.digest).await.unwrap();
            let mut sealed = given.ok_or(TransferError::Refused)?;
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut sealed, &mut bytes).unwrap();
            match self.lie {
                Lie::None => {}
                Lie::Altered => bytes.iter_mut().for_each(|byte| *byte ^= 1),
                Lie::Longer => bytes.push(0),
                Lie::Shorter => bytes.truncate(bytes.len() - 1),
                Lie::Silent => return Ok(stream::pending().boxed()),
            }
            let rest = bytes.split_off(usize::try_from(from).unwrap().min(bytes.len()));
            let chunks: Vec<_> =
                rest.chunks(10_000).map(|chunk| Ok(chunk.to_vec().into())).collect();
            Ok(stream::iter(chunks).boxed())
        }
        .boxed()
    }
}

struct Sites {
    hospital: Site,
    clinic: Site,
    entries: Vec<Entry>,
    holder: Arc<TestHolder>,
}

/// A hospital with two short records and a long one, which a clinic should hold.
async fn sites() -> Sites {
    let (hospital, clinic) = (Site::new(HOSPITAL, 1).await, Site::new(CLINIC, 2).await);
    let records = vec![record(1), record(2), long_record(3)];
    let entries = share(&hospital, records, &clinic.identity).await;
    let holder = TestHolder::new(&hospital, CLINIC, &entries);
    Sites { hospital, clinic, entries, holder }
}

#[tokio::test]
async fn what_should_be_here_arrives_and_opens() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    let peer = Direct::new(&holder, Lie::None);
    let report = clinic.receiver(&entries).sync(&peer).await;
    assert_fetched(&report, 3);
    assert_eq!(report.bytes, entries.iter().map(|entry| entry.sealed_len).sum::<u64>());
    for (number, new) in [(1, record(1)), (2, record(2)), (3, long_record(3))] {
        assert_eq!(clinic.read(number, HOSPITAL).await, new.body);
    }
    // Nothing is left of the way.
    assert_eq!(fs::read_dir(clinic.folder.path().join("incoming")).unwrap().count(), 0);

    let again = clinic.receiver(&entries).sync(&peer).await;
    assert_eq!((again.fetched.count, again.kept_already, again.bytes), (0, 3, 0));
    assert_eq!(peer.from.lock().len(), 3);
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    holder.rules.lock().page_len = Some(1);
    let report = clinic.receiver(&entries).sync(&Direct::new(&holder, Lie::None)).await;
    assert_fetched(&report, 3);
}

#[tokio::test]
async fn what_the_chain_does_not_want_here_is_not_fetched() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    let peer = Direct::new(&holder, Lie::None);
    // Another patient, another steward, another length: another version than the anchored one.
    let mut other = entries[1];
    other.patient = Address::ZERO;
    let report = clinic.receiver(&[entries[0], other]).sync(&peer).await;
    assert_eq!((report.fetched.count, report.unexpected.count), (1, 2));
    // Several are looked at at once.
    let mut named = report.unexpected.named;
    named.sort_unstable();
    let mut others = [entries[1].digest, entries[2].digest];
    others.sort_unstable();
    assert_eq!(named, others);
    assert_eq!(peer.from.lock().len(), 1);
    assert!(!clinic.has(&entries[2]).await);
}

#[tokio::test]
async fn what_is_refused_is_reported() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    holder.rules.lock().permitted.remove(&(CLINIC, entries[0].digest));
    let report = clinic.receiver(&entries).sync(&Direct::new(&holder, Lie::None)).await;
    assert_eq!((report.fetched.count, report.refused.named), (2, vec![entries[0].digest]));
}

/// S4: no bytes but the anchored ones get into a vault.
#[tokio::test]
async fn other_bytes_are_not_kept() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    for (lie, number) in [(Lie::Altered, 3), (Lie::Longer, 3), (Lie::Shorter, 3)] {
        let report = clinic.receiver(&entries).sync(&Direct::new(&holder, lie)).await;
        assert_eq!((report.failures, report.fetched.count), (number, 0), "{lie:?}");
        for (_, failure) in &report.failed {
            let is_named = match lie {
                Lie::Shorter => matches!(failure, Failure::Transfer(TransferError::Interrupted(_))),
                _ => matches!(failure, Failure::WrongBytes),
            };
            assert!(is_named, "{lie:?}: {failure:?}");
        }
        for entry in &entries {
            assert!(!clinic.has(entry).await);
        }
    }
    let report = clinic.receiver(&entries).sync(&Direct::new(&holder, Lie::None)).await;
    assert_fetched(&report, 3);
}

#[tokio::test]
async fn interrupted_body_goes_on_where_it_was() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    let long = entries[2];
    holder.rules.lock().offered.drain(..2);
    let peer = Direct::new(&holder, Lie::None).cut_after(800_000);
    let report = clinic.receiver(&entries).sync(&peer).await;
    assert_eq!((report.failures, report.fetched.count), (1, 0));
    assert_eq!(fs::metadata(clinic.part_file(long.digest)).unwrap().len(), 800_000);

    // Also after a restart.
    let report = clinic.receiver(&entries).sync(&peer).await;
    assert_fetched(&report, 1);
    assert_eq!(report.bytes, long.sealed_len - 800_000);
    assert_eq!(*peer.from.lock(), [0, 800_000]);
    assert!(!clinic.part_file(long.digest).exists());
    assert_eq!(clinic.read(3, HOSPITAL).await, long_record(3).body);
}

#[tokio::test]
async fn broken_connection_is_tried_again_as_often_as_is_allowed() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    holder.rules.lock().offered.drain(..2);
    let settings = SyncSettings { attempts: 2, ..quick() };
    let peer = Direct::new(&holder, Lie::None).cut_after(800_000);
    let report = clinic.receiver_with(&entries, settings).sync(&peer).await;
    assert_fetched(&report, 1);
    assert_eq!(*peer.from.lock(), [0, 800_000]);
}

#[tokio::test]
async fn what_one_peer_spoilt_another_makes_good() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    let long = entries[2];
    holder.rules.lock().offered.drain(..2);
    let liar = Direct::new(&holder, Lie::Altered).cut_after(800_000);
    let report = clinic.receiver(&entries).sync(&liar).await;
    assert_eq!(report.failures, 1);
    assert!(clinic.part_file(long.digest).exists());

    let honest = Direct::new(&holder, Lie::None);
    let report = clinic.receiver(&entries).sync(&honest).await;
    assert_fetched(&report, 1);
    assert_eq!(*honest.from.lock(), [800_000, 0]);
}

#[tokio::test]
async fn peer_that_falls_silent_is_given_up() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    let settings = SyncSettings { silence_max: Duration::from_millis(20), ..quick() };
    let silent = Direct::new(&holder, Lie::Silent);
    let report = clinic.receiver_with(&entries, settings).sync(&silent).await;
    assert_eq!(report.failures, 3);
    assert!(report.failed.iter().all(|(_, failure)| matches!(failure, Failure::Silent)));

    struct Mute;
    impl Transport for Mute {
        fn offers(&self, _: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>> {
            pending().boxed()
        }
        fn fetch(&self, _: Wanted, _: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>> {
            pending().boxed()
        }
    }
    let report = clinic.receiver_with(&entries, settings).sync(&Mute).await;
    assert!(matches!(report.broken_off, Some(TransferError::Interrupted(_))));
}

/// A peer whose list has no end.
struct Endless {
    is_repeating: bool,
}

impl Transport for Endless {
    fn offers(&self, after: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>> {
        let last = after.map_or(0, |after| after.as_bytes()[0]);
        let next = if self.is_repeating { 7 } else { last.wrapping_add(1) };
        let page = Offers { next: Cursor::new([next]), ..Offers::default() };
        async move { Ok(page) }.boxed()
    }

    fn fetch(&self, _: Wanted, _: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>> {
        async { Err(TransferError::Refused) }.boxed()
    }
}

#[tokio::test]
async fn endless_lists_end() {
    let clinic = Site::new(CLINIC, 2).await;
    let settings = SyncSettings { pages_max: 1_000, ..quick() };
    for is_repeating in [true, false] {
        let receiver = clinic.receiver_with(&[], settings);
        let report = receiver.sync(&Endless { is_repeating }).await;
        assert!(matches!(report.broken_off, Some(TransferError::Malformed)));
    }
}

#[tokio::test]
async fn body_is_received_once_at_a_time() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    // The same copy twice on one page.
    let mut offered = holder.rules.lock().offered.clone();
    offered.drain(..2);
    offered.push(offered[0]);
    holder.rules.lock().offered = offered;
    let report = clinic.receiver(&entries).sync(&Direct::new(&holder, Lie::None)).await;
    assert_eq!(report.fetched.count, 1);
    let is_busy = matches!(report.failed.as_slice(), [(_, Failure::Busy)]);
    assert!(is_busy || report.kept_already == 1, "{report:?}");
}

#[tokio::test]
async fn copy_that_is_here_gets_the_wraps_that_it_lacks() {
    let Sites { hospital, clinic, entries, holder } = sites().await;
    let peer = Direct::new(&holder, Lie::None);
    assert_fetched(&clinic.receiver(&entries).sync(&peer).await, 3);

    wrap(&hospital, &entries[2], &clinic.identity, B256::repeat_byte(0xc1)).await;
    let report = clinic.receiver(&entries).sync(&peer).await;
    assert_eq!((report.rewrapped, report.kept_already, report.bytes), (1, 2, 0));
    let kept = clinic.vault.copy_for(entries[2].digest, CLINIC).await.unwrap().unwrap();
    assert_eq!(kept.wraps.len(), 2);
    assert_eq!(clinic.read(3, HOSPITAL).await, long_record(3).body);
}

#[tokio::test]
async fn copy_that_does_not_open_is_not_taken_in() {
    let Sites { hospital, clinic, mut entries, holder } = sites().await;
    let locked = hospital.vault.put(record(4), &mut rng(5)).await.unwrap();
    holder.rules.lock().offered.push((CLINIC, locked.digest));
    holder.rules.lock().permitted.insert((CLINIC, locked.digest));
    entries.push(locked);
    let report = clinic.receiver(&entries).sync(&Direct::new(&holder, Lie::None)).await;
    assert_eq!(report.fetched.count, 3);
    let [(digest, Failure::Import(ImportError::DoesNotOpen { .. }))] = report.failed.as_slice()
    else {
        panic!("{report:?}")
    };
    assert_eq!(*digest, locked.digest);
}

#[tokio::test]
async fn erased_version_stays_erased() {
    let Sites { clinic, entries, holder, .. } = sites().await;
    let peer = Direct::new(&holder, Lie::None);
    assert_fetched(&clinic.receiver(&entries).sync(&peer).await, 3);
    let order = ErasureOrder { by: PATIENT, reason: ErasureReason::PatientRequest, at: NOW };
    clinic.vault.erase(id(3), RecordVersion::FIRST, order, &mut rng(6)).await.unwrap();
    let report = clinic.receiver(&entries).sync(&peer).await;
    assert_eq!((report.erased, report.kept_already, report.fetched.count), (1, 2, 0));
    assert!(!clinic.has(&entries[2]).await);
}

#[tokio::test]
async fn anchored_version_replaces_the_same_stewards_and_no_others() {
    let Sites { hospital, clinic, entries, holder } = sites().await;
    let peer = Direct::new(&holder, Lie::None);
    assert_fetched(&clinic.receiver(&entries).sync(&peer).await, 3);

    // The same steward's other bytes for the same version, which the chain says are the right ones.
    let other = Site::new(HOSPITAL, 7).await;
    let right = NewRecord { body: b"right".to_vec(), ..record(1) };
    let right = share(&other, vec![right], &clinic.identity).await;
    let right_holder = TestHolder::new(&other, CLINIC, &right);
    let report = clinic.receiver(&right).sync(&Direct::new(&right_holder, Lie::None)).await;
    assert_fetched(&report, 1);
    assert_eq!(clinic.read(1, HOSPITAL).await, b"right");

    // Another steward that anchored a record under an id that is taken.
    let rival = Address::repeat_byte(0x66);
    let squatter = Site::new(rival, 8).await;
    let squatting = share(&squatter, vec![record(2)], &clinic.identity).await;
    let squatting_holder = TestHolder::new(&squatter, CLINIC, &squatting);
    let peer = Direct::new(&squatting_holder, Lie::None);
    let report = clinic.receiver(&squatting).sync(&peer).await;
    assert!(matches!(report.failed.as_slice(), [(_, Failure::Import(ImportError::Keep(_)))]));
    assert!(clinic.has(&entries[1]).await);
    drop(hospital);
}

async fn states(vault: &Vault) -> Vec<ScanState> {
    let (mut states, mut scan) = (Vec::new(), vault.scan());
    while let Some(batch) = scan.next().await.unwrap() {
        states.extend(batch.iter().map(|scanned| scanned.state));
    }
    states
}

async fn lose_short_body(vault: &Vault, number: u64) {
    let mut transaction = vault.database().begin().await.unwrap();
    sqlx::query("update records set body = $1 where record = $2")
        .bind(b"other".to_vec())
        .bind(id(number).0.to_vec())
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
}

/// A steward gets back what it lost from those who have copies, and the other way round.
#[tokio::test]
async fn damaged_bodies_are_healed_from_another_holder() {
    let Sites { hospital, clinic, entries, holder } = sites().await;
    let peer = Direct::new(&holder, Lie::None);
    assert_fetched(&clinic.receiver(&entries).sync(&peer).await, 3);
    let digests: Vec<RecordDigest> = entries.iter().map(|entry| entry.digest).collect();

    for (site, steward) in [(&hospital, HOSPITAL), (&clinic, CLINIC)] {
        lose_short_body(&site.vault, 1).await;
        fs::remove_file(site.body_file(digests[2])).unwrap();
        let damaged = states(&site.vault).await;
        assert!(damaged[0] != ScanState::Intact && damaged[2] == ScanState::Missing);

        let from = if steward == HOSPITAL { &clinic } else { &hospital };
        let has_nothing = TestHolder::new(from, CLINIC, &[]);
        let from = TestHolder::new(from, CLINIC, &entries);
        let (nobody, liar, good) = (
            Direct::new(&has_nothing, Lie::None),
            Direct::new(&from, Lie::Altered),
            Direct::new(&from, Lie::None),
        );
        let receiver = Receiver::new(
            site.vault.clone(),
            (steward == CLINIC).then(|| clinic.identity.clone()),
            Anchored(entries.clone()),
            site.incoming(),
            quick(),
        );
        let damaged = [digests[0], digests[2]];
        let report = receiver.heal(&damaged, &[&nobody, &liar]).await;
        assert_eq!((report.failures, report.fetched.count), (2, 0));
        let report = receiver.heal(&damaged, &[&nobody, &liar, &good]).await;
        assert_fetched(&report, 2);
        assert!(states(&site.vault).await.iter().all(|state| *state == ScanState::Intact));
    }

    let unknown = RecordDigest(B256::repeat_byte(9));
    let report = clinic.receiver(&entries).heal(&[unknown], &[&peer]).await;
    assert!(matches!(report.failed.as_slice(), [(_, Failure::NoRow)]));
    let report = clinic.receiver(&entries).heal(&[digests[0]], &[]).await;
    assert_eq!(report.refused.named, [digests[0]]);
    // A steward's own reading of its records is as it was.
    let opened = hospital.vault.open(permit(3, HOSPITAL), None).await.unwrap();
    assert_eq!(opened.into_body(), long_record(3).body);
}

#[tokio::test]
async fn pages_are_read_as_they_were_written() {
    let Sites { hospital, entries, .. } = sites().await;
    let mut offers = Offers { next: Cursor::new([7; 64]), ..Offers::default() };
    for entry in &entries {
        let copy = hospital.vault.copy_for(entry.digest, CLINIC).await.unwrap().unwrap();
        assert!(!copy.wraps.is_empty());
        offers.copies.push(copy);
    }
    let siblings = vec![B256::repeat_byte(1), B256::repeat_byte(2)];
    let proof = BatchProof { root: B256::repeat_byte(3), siblings };
    offers.proofs.insert(entries[0].digest, proof);
    let bytes = offers.to_bytes();
    assert_eq!(Offers::from_bytes(&bytes), Ok(offers.clone()));
    assert_eq!(Offers::from_bytes(&bytes[..bytes.len() - 1]), Err(BadMessage));
    assert_eq!(Offers::from_bytes(&[]), Err(BadMessage));
    // Every single byte that is changed gives another page or none, and no harm.
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x81;
        assert_ne!(Offers::from_bytes(&changed), Ok(offers.clone()), "{at}");
    }
    offers.copies = vec![offers.copies[0].clone(); exchange::PAGE_LEN_MAX];
    offers.proofs.retain(|digest, _| *digest == entries[0].digest);
    assert_eq!(Offers::from_bytes(&offers.to_bytes()), Ok(offers));
}

proptest! {
    /// Nothing that a peer sends as a page does harm.
    #[test]
    fn bytes_that_are_no_page_are_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        version in prop_oneof![Just(2_u8), any::<u8>()],
    ) {
        let bytes = [&[version], &bytes[..]].concat();
        if let Ok(offers) = Offers::from_bytes(&bytes) {
            prop_assert!(offers.copies.len() <= exchange::PAGE_LEN_MAX);
            prop_assert_eq!(Offers::from_bytes(&offers.to_bytes()), Ok(offers));
        }
    }
}
