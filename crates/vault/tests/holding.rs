//! What becomes of records that were altered, lost, copied or erased.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use common::*;
use domain::{Address, Kind, RecordDigest, RecordId};
use vault::{
    Entry, ErasureCheck, ErasureOrder, ErasureReason, Identity, ImportError, Kem, NewRecord,
    OnConflict, OpenError, PutError, ScanState, SealedCopy, SecretKey, Vault, VaultSettings,
};

on_both! {
    altered_bytes_do_not_open,
    scan_finds_what_was_altered_lost_and_erased,
    scan_walks_in_order_across_batches,
    lost_and_altered_records_are_repaired_from_a_copy,
    repair_does_not_believe_a_copy,
    copy_of_another_steward_opens_with_a_key_of_ones_own,
    copies_that_lie_are_refused,
    erased_version_is_gone_and_says_so,
    erased_record_loses_all_versions,
    erased_patient_loses_everything,
    erased_versions_do_not_come_back,
    receipts_are_held_against_the_tombstone,
    erasing_what_is_not_here_says_so,
}

const ORDER: ErasureOrder =
    ErasureOrder { by: AUTHOR, reason: ErasureReason::PatientRequest, at: NOW };

async fn open(vault: &Vault, number: u64) -> Result<Vec<u8>, OpenError> {
    vault.open(permit(number), None).await.map(vault::Opened::into_body)
}

async fn altered_bytes_do_not_open(place: Place) {
    let vault = place.unlock().await;
    let batch = vec![record(1), record(2), record(3), record(4), long_record(5), long_record(6)];
    let entries = vault.put_many(batch, &mut rng(2)).await.unwrap();
    let file = |entry: &Entry| place.bodies().join(hex::encode(entry.digest.0));

    let set = async |column: &str, number: u64, value: Vec<u8>| {
        let text = format!("update records set {column} = $1 where record = $2");
        let mut transaction = vault.database().begin().await.unwrap();
        sqlx::query(sqlx::AssertSqlSafe(text))
            .bind(value)
            .bind(id(number).0.to_vec())
            .execute(&mut *transaction)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    };
    let mut bytes = Vec::new();
    vault.sealed_bytes(entries[0].digest).await.unwrap().unwrap().read_to_end(&mut bytes).unwrap();
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    set("body", 1, changed.clone()).await;
    assert!(matches!(open(&vault, 1).await, Err(OpenError::Tampered { .. })));
    // Changing the digest with them does not help: the bytes themselves authenticate.
    set("digest", 1, RecordDigest::of(&changed).0.to_vec()).await;
    assert!(matches!(open(&vault, 1).await, Err(OpenError::Tampered { .. })));

    // Another record's bytes and keys, whole: the header says whose they are.
    set("digest", 1, vec![0; 32]).await;
    set("body", 2, bytes.clone()).await;
    set("digest", 2, RecordDigest::of(&bytes).0.to_vec()).await;
    let copy = "update records set content_key = (select content_key from records where place = 0
        and version = 1 order by record limit 1) where place = 0";
    assert!(matches!(open(&vault, 2).await, Err(OpenError::Tampered { .. })));
    tamper(&vault, copy).await;
    assert!(matches!(open(&vault, 2).await, Err(OpenError::Tampered { .. })));
    assert!(matches!(open(&vault, 3).await, Err(OpenError::Tampered { .. })));

    let mut long = std::fs::read(file(&entries[4])).unwrap();
    long[300_000] ^= 1;
    std::fs::write(file(&entries[4]), long).unwrap();
    assert!(matches!(open(&vault, 5).await, Err(OpenError::Tampered { .. })));
    std::fs::remove_file(file(&entries[5])).unwrap();
    assert!(matches!(open(&vault, 6).await, Err(OpenError::Missing { .. })));
}

async fn scan_all(vault: &Vault) -> Vec<(RecordId, u32, ScanState)> {
    let mut all = Vec::new();
    let mut scan = vault.scan();
    while let Some(batch) = scan.next().await.unwrap() {
        all.extend(batch.iter().map(|v| (v.record, v.version.get(), v.state)));
    }
    assert!(scan.next().await.unwrap().is_none());
    all
}

/// S4: altered, missing and erased versions are told apart.
async fn scan_finds_what_was_altered_lost_and_erased(place: Place) {
    let vault = place.unlock().await;
    assert!(scan_all(&vault).await.is_empty());
    let batch =
        vec![record(1), record(2), record(3), long_record(4), long_record(5), long_record(6)];
    let entries = vault.put_many(batch, &mut rng(2)).await.unwrap();
    let file = |index: usize| place.bodies().join(hex::encode(entries[index].digest.0));
    vault.erase(id(2), version(1), ORDER, &mut rng(3)).await.unwrap();
    let mut transaction = vault.database().begin().await.unwrap();
    sqlx::query("update records set body = $1 where record = $2")
        .bind(b"other bytes".to_vec())
        .bind(id(3).0.to_vec())
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    std::fs::write(file(4), b"other bytes").unwrap();
    std::fs::remove_file(file(5)).unwrap();

    let altered = ScanState::Altered { found: RecordDigest::of(b"other bytes") };
    let expected = [
        ScanState::Intact,
        ScanState::Erased,
        altered,
        ScanState::Intact,
        altered,
        ScanState::Missing,
    ];
    let expected: Vec<_> = (1..).map(id).zip(expected).map(|(id, state)| (id, 1, state)).collect();
    assert_eq!(scan_all(&vault).await, expected);
}

async fn scan_walks_in_order_across_batches(place: Place) {
    let vault = place.unlock().await;
    let mut batch: Vec<_> = (1..=4_100).map(record).collect();
    batch.push(NewRecord { version: version(2), ..record(2_048) });
    vault.put_many(batch, &mut rng(2)).await.unwrap();
    let scanned = scan_all(&vault).await;
    assert_eq!(scanned.len(), 4_101);
    assert!(scanned.is_sorted_by_key(|(record, version, _)| (*record, *version)));
    assert!(scanned.iter().all(|(_, _, state)| *state == ScanState::Intact));
    // A walk that is given up does no harm.
    let mut scan = vault.scan();
    scan.next().await.unwrap().unwrap();
    drop(scan);
    vault.put(record(9_999), &mut rng(3)).await.unwrap();
}

/// What another holder gives: the copy and its bytes.
async fn take(vault: &Vault, digest: RecordDigest, recipient: Address) -> (SealedCopy, Vec<u8>) {
    let copy = vault.copy_for(digest, recipient).await.unwrap().unwrap();
    let mut bytes = Vec::new();
    vault.sealed_bytes(digest).await.unwrap().unwrap().read_to_end(&mut bytes).unwrap();
    (copy, bytes)
}

async fn give(
    vault: &Vault,
    (copy, bytes): (SealedCopy, Vec<u8>),
    on_conflict: OnConflict,
) -> Result<Entry, ImportError> {
    vault.import(copy, Cursor::new(bytes), None, on_conflict).await
}

async fn lost_and_altered_records_are_repaired_from_a_copy(place: Place) {
    let vault = place.unlock().await;
    let batch = vec![record(1), record(2), record(3), long_record(4), long_record(5)];
    let entries = vault.put_many(batch, &mut rng(2)).await.unwrap();
    let file = |index: usize| place.bodies().join(hex::encode(entries[index].digest.0));
    let mut copies = BTreeMap::new();
    for entry in &entries {
        copies.insert(entry.digest, take(&vault, entry.digest, STEWARD).await);
    }

    // One row lost, one body altered, one row altered with its digest, two files gone or altered.
    let mut transaction = vault.database().begin().await.unwrap();
    for statement in [
        "delete from records where record = $1",
        "update records set body = record where record = $1",
        "update records set body = record, digest = record, content_key = null where record = $1",
    ]
    .iter()
    .zip(1..)
    .map(|(statement, number)| sqlx::query(*statement).bind(id(number).0.to_vec()))
    {
        statement.execute(&mut *transaction).await.unwrap();
    }
    transaction.commit().await.unwrap();
    std::fs::remove_file(file(3)).unwrap();
    std::fs::write(file(4), b"other").unwrap();

    for (entry, number) in entries.iter().zip(1..) {
        assert!(open(&vault, number).await.is_err());
        let copy = copies[&entry.digest].clone();
        if number == 3 {
            // Only the chain can say which of the two is right, so the caller has to.
            let refused = give(&vault, copy.clone(), OnConflict::Refuse).await.unwrap_err();
            assert!(matches!(refused, ImportError::Keep(PutError::Conflict { .. })));
        }
        assert_eq!(give(&vault, copy, OnConflict::Replace).await.unwrap(), *entry);
        assert!(open(&vault, number).await.is_ok());
    }
    assert!(scan_all(&vault).await.iter().all(|(_, _, state)| *state == ScanState::Intact));
    // Taking in what is whole changes nothing.
    for (entry, copy) in copies {
        assert_eq!(give(&vault, copy, OnConflict::Refuse).await.unwrap().digest, entry);
    }
}

async fn repair_does_not_believe_a_copy(place: Place) {
    let vault = place.unlock().await;
    let entry = vault.put(record(1), &mut rng(2)).await.unwrap();
    // Somebody else's vault of the same name seals its own version, under its own keys.
    let forger = Place::sqlite();
    let forger = node(&forger, STEWARD).await;
    let forged = NewRecord { body: b"forged".to_vec(), ..record(1) };
    let forged = forger.put(forged, &mut rng(3)).await.unwrap();
    let copy = take(&forger, forged.digest, STEWARD).await;
    let refused = give(&vault, copy, OnConflict::Replace).await.unwrap_err();
    assert!(matches!(refused, ImportError::DoesNotOpen { .. }));
    assert_eq!(vault.head(id(1)).await.unwrap(), Some(entry));
    assert_eq!(open(&vault, 1).await.unwrap(), record(1).body);
}

/// The vault of another steward, and of a patient's own node.
async fn node(place: &Place, steward: Address) -> Vault {
    let settings = VaultSettings { steward, ..place.settings() };
    place.unlock_as(settings, &vault::RootKey::from_bytes(&[9; 32])).await.unwrap()
}

async fn copy_of_another_steward_opens_with_a_key_of_ones_own(place: Place) {
    let hospital = place.unlock().await;
    let patient = Identity { address: PATIENT, secret: SecretKey::make(Kem::X25519, &mut rng(7)) };
    let reader = Identity {
        address: Address::repeat_byte(0xd0),
        secret: SecretKey::make(Kem::XWing, &mut rng(8)),
    };
    let keys = [patient.secret.public_key()];
    hospital.set_patient_keys(PATIENT, &keys, &mut rng(2)).await.unwrap();
    let entries = hospital.put_many(vec![record(1), long_record(2)], &mut rng(3)).await.unwrap();
    let consent = domain::B256::repeat_byte(0xc0);
    let public = reader.secret.public_key();
    hospital
        .wrap_for(permit(1), None, reader.address, &public, consent, &mut rng(4))
        .await
        .unwrap();

    let home = Place::sqlite();
    let home = node(&home, PATIENT).await;
    for (entry, number) in entries.iter().zip(1..) {
        let (copy, bytes) = take(&hospital, entry.digest, PATIENT).await;
        let taken = home.import(copy, Cursor::new(bytes), Some(&patient), OnConflict::Refuse).await;
        assert_eq!(taken.unwrap(), *entry);
        let refused = home.open(permit(number), None).await.unwrap_err();
        assert!(matches!(refused, OpenError::NoKey { .. }));
        let opened = home.open_received(permit(number), None, &patient).await.unwrap();
        assert_eq!(opened.entry, *entry);
        let refused = home.open_received(permit(number), None, &reader).await.unwrap_err();
        assert!(matches!(refused, OpenError::NoKey { .. }));
    }

    // The reader's institution holds the one record, and whole batches of nothing else.
    let clinic = Place::sqlite();
    let clinic = node(&clinic, reader.address).await;
    let (mut copy, bytes) = take(&hospital, entries[0].digest, reader.address).await;
    copy.kind_key = None;
    copy.content_key = None;
    let bytes = || Cursor::new(bytes.clone());
    clinic.import(copy.clone(), bytes(), Some(&reader), OnConflict::Refuse).await.unwrap();
    clinic.import(copy, bytes(), None, OnConflict::Refuse).await.unwrap();
    let opened = clinic.open_received(permit(1), None, &reader).await.unwrap();
    assert_eq!(opened.body(), record(1).body);
}

async fn copies_that_lie_are_refused(place: Place) {
    let hospital = Place::sqlite();
    let hospital = hospital.unlock().await;
    let patient = Identity { address: PATIENT, secret: SecretKey::make(Kem::X25519, &mut rng(7)) };
    let keys = [patient.secret.public_key()];
    hospital.set_patient_keys(PATIENT, &keys, &mut rng(2)).await.unwrap();
    let entries = hospital.put_many(vec![record(1), long_record(2)], &mut rng(3)).await.unwrap();
    let home = node(&place, PATIENT).await;

    for entry in &entries {
        let (copy, bytes) = take(&hospital, entry.digest, PATIENT).await;
        let refuse = async |copy: SealedCopy, bytes: Vec<u8>| {
            let taken = home.import(copy, Cursor::new(bytes), Some(&patient), OnConflict::Refuse);
            taken.await.map(drop).unwrap_err()
        };
        let mut changed = bytes.clone();
        changed[150] ^= 1;
        let short = bytes[..bytes.len() - 1].to_vec();
        let long = [bytes.as_slice(), &[0]].concat();
        for bytes in [changed, short, long, Vec::new()] {
            let refused = refuse(copy.clone(), bytes).await;
            assert!(matches!(refused, ImportError::Mismatch { .. }), "{refused:?}");
        }
        let with = |change: &dyn Fn(&mut SealedCopy)| {
            let mut copy = copy.clone();
            change(&mut copy);
            copy
        };
        for lie in [
            with(&|copy| copy.entry.header.record = id(77)),
            with(&|copy| copy.entry.header.kind = Kind::Allergy),
            with(&|copy| copy.entry.patient = Address::repeat_byte(9)),
            with(&|copy| copy.entry.digest = RecordDigest::of(b"")),
            with(&|copy| copy.entry.sealed_len = u64::MAX),
            with(&|copy| copy.entry.sealed_len = 0),
            with(&|copy| copy.content_key = None),
        ] {
            let refused = refuse(lie, bytes.clone()).await;
            assert!(matches!(refused, ImportError::Mismatch { .. }), "{refused:?}");
        }
        for lie in [
            with(&|copy| copy.wraps.clear()),
            with(&|copy| copy.wraps[0].wrapped[40] ^= 1),
            with(&|copy| copy.content_key = Some([7; 40])),
            with(&|copy| copy.kind_key.as_mut().unwrap().epoch = 2),
        ] {
            let refused = refuse(lie, bytes.clone()).await;
            assert!(matches!(refused, ImportError::DoesNotOpen { .. }), "{refused:?}");
        }
        assert_eq!(home.find(entry.digest).await.unwrap(), None);
    }
    assert!(scan_all(&home).await.is_empty());
    assert_eq!(std::fs::read_dir(place.bodies()).unwrap().count(), 1, "the lock");
}

async fn erased_version_is_gone_and_says_so(place: Place) {
    let vault = place.unlock().await;
    let entries =
        vault.put_many(vec![record(1), long_record(2), record(3)], &mut rng(2)).await.unwrap();
    let reader = SecretKey::make(Kem::X25519, &mut rng(7)).public_key();
    vault
        .wrap_for(permit(1), None, AUTHOR, &reader, domain::B256::ZERO, &mut rng(4))
        .await
        .unwrap();
    for (entry, number) in entries[..2].iter().zip(1..) {
        let receipt = vault.erase(id(number), version(1), ORDER, &mut rng(3)).await.unwrap();
        assert_eq!((receipt.digest, receipt.order), (entry.digest, ORDER));
        assert_eq!(vault.check_erasure(&receipt).await.unwrap(), ErasureCheck::Erased);
        assert!(matches!(open(&vault, number).await, Err(OpenError::Erased { .. })));
        assert!(vault.head(id(number)).await.unwrap().unwrap().is_erased);
        assert!(!vault.contains(entry.digest).await.unwrap());
        assert!(vault.copy_for(entry.digest, PATIENT).await.unwrap().is_none());
        assert!(vault.sealed_bytes(entry.digest).await.unwrap().is_none());
        // The first erasure stands, whoever asks again.
        let later = ErasureOrder { reason: ErasureReason::LegalOrder, ..ORDER };
        assert_eq!(vault.erase(id(number), version(1), later, &mut rng(9)).await.unwrap(), receipt);
        let found = vault.erasure_receipt(id(number), version(1)).await.unwrap();
        assert_eq!(found, Some(receipt));
    }
    assert_eq!(open(&vault, 3).await.unwrap(), record(3).body);
    assert_eq!(std::fs::read_dir(place.bodies()).unwrap().count(), 1, "the lock");
}

async fn erased_record_loses_all_versions(place: Place) {
    let vault = place.unlock().await;
    vault.put(record(1), &mut rng(2)).await.unwrap();
    vault.put(NewRecord { version: version(2), ..record(1) }, &mut rng(3)).await.unwrap();
    let receipts = vault.erase_record(id(1), ORDER, &mut rng(4)).await.unwrap();
    assert_eq!(receipts.len(), 2);
    assert_ne!(receipts[0].digest(), receipts[1].digest());
    for number in [1, 2] {
        let opened = vault.open(permit(1), Some(version(number))).await;
        assert!(matches!(opened, Err(OpenError::Erased { .. })));
    }
}

async fn erased_patient_loses_everything(place: Place) {
    let vault = place.unlock().await;
    let key = SecretKey::make(Kem::X25519, &mut rng(7)).public_key();
    vault.set_patient_keys(PATIENT, &[key], &mut rng(2)).await.unwrap();
    let other = Address::repeat_byte(9);
    let batch = vec![record(1), long_record(2), NewRecord { patient: other, ..record(3) }];
    vault.put_many(batch, &mut rng(3)).await.unwrap();
    let receipts = vault.erase_patient(PATIENT, ORDER, &mut rng(4)).await.unwrap();
    assert_eq!(receipts.len(), 2);
    for receipt in &receipts {
        assert_eq!(vault.check_erasure(receipt).await.unwrap(), ErasureCheck::Erased);
    }
    let left = sqlx::query(
        "select 1 from kind_keys where patient = $1 and sealed is not null
        union all select 1 from wraps union all select 1 from patient_keys",
    )
    .bind(PATIENT.to_vec())
    .fetch_all(vault.database().readers())
    .await
    .unwrap();
    assert!(left.is_empty());
    let theirs = permit_for(id(3), other, STEWARD, Kind::Laboratory);
    assert!(vault.open(theirs, None).await.is_ok());

    // Whoever comes back begins anew, with keys that never were.
    let entry = vault.put(record(4), &mut rng(5)).await.unwrap();
    let copy = vault.copy_for(entry.digest, PATIENT).await.unwrap().unwrap();
    assert_eq!(copy.kind_key.unwrap().epoch, 2);
    assert_eq!(open(&vault, 4).await.unwrap(), record(4).body);
}

async fn erased_versions_do_not_come_back(place: Place) {
    let vault = place.unlock().await;
    let entries = vault.put_many(vec![record(1), long_record(2)], &mut rng(2)).await.unwrap();
    for (entry, number) in entries.iter().zip(1..) {
        let copy = take(&vault, entry.digest, STEWARD).await;
        vault.erase(id(number), version(1), ORDER, &mut rng(3)).await.unwrap();
        let refused = give(&vault, copy, OnConflict::Replace).await.unwrap_err();
        assert!(matches!(refused, ImportError::Erased { .. }), "{refused:?}");
        let refused = vault.put(record(number), &mut rng(4)).await.unwrap_err();
        assert!(matches!(refused, PutError::Conflict { .. }));
    }
    assert_eq!(std::fs::read_dir(place.bodies()).unwrap().count(), 1, "the lock");
}

async fn receipts_are_held_against_the_tombstone(place: Place) {
    let vault = place.unlock().await;
    let entries = vault.put_many(vec![record(1), long_record(2)], &mut rng(2)).await.unwrap();
    let receipt = vault.erase(id(1), version(1), ORDER, &mut rng(3)).await.unwrap();
    let check = async |receipt| vault.check_erasure(&receipt).await.unwrap();
    let at = domain::Timestamp(NOW.0 + 1);
    let backdated = vault::ErasureReceipt { order: ErasureOrder { at, ..ORDER }, ..receipt };
    assert_eq!(check(backdated).await, ErasureCheck::Differs);
    let invented = vault::ErasureReceipt { record: id(2), ..receipt };
    assert_eq!(check(invented).await, ErasureCheck::NoTombstone);

    let long = vault.erase(id(2), version(1), ORDER, &mut rng(4)).await.unwrap();
    std::fs::write(place.bodies().join(hex::encode(entries[1].digest.0)), b"back").unwrap();
    assert_eq!(check(long).await, ErasureCheck::NotGone);
    tamper(&vault, "update records set body = record where place = 2").await;
    assert_eq!(check(receipt).await, ErasureCheck::NotGone);
}

async fn erasing_what_is_not_here_says_so(place: Place) {
    let vault = place.unlock().await;
    let one = vault.erase(id(1), version(1), ORDER, &mut rng(1)).await.unwrap_err();
    let all = vault.erase_record(id(1), ORDER, &mut rng(1)).await.unwrap_err();
    assert_eq!(one.to_string(), all.to_string());
    assert!(vault.erase_patient(PATIENT, ORDER, &mut rng(1)).await.unwrap().is_empty());
}

/// Neither bodies nor keys of an erased version are left in any file, the log included.
#[tokio::test]
async fn erased_bytes_are_in_no_file() {
    let place = Place::sqlite();
    let vault = place.unlock().await;
    let entries = vault.put_many((1..=20).map(record).collect(), &mut rng(2)).await.unwrap();
    let (copy, bytes) = take(&vault, entries[9].digest, PATIENT).await;
    let (kept, kept_bytes) = take(&vault, entries[10].digest, PATIENT).await;
    vault.erase(id(10), version(1), ORDER, &mut rng(3)).await.unwrap();
    let mut everything = Vec::new();
    for file in std::fs::read_dir(place.folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            everything.extend(std::fs::read(path).unwrap());
        }
    }
    let holds = |needle: &[u8]| everything.windows(needle.len()).any(|window| window == needle);
    assert!(holds(&kept_bytes[131..]) && holds(&kept.content_key.unwrap()));
    assert!(!holds(&bytes[131..]) && !holds(&copy.content_key.unwrap()));
}

/// S1: what is on disk shows nothing of what is in the records.
#[tokio::test]
async fn bodies_are_in_no_file() {
    let place = Place::sqlite();
    let vault = place.unlock().await;
    let marked =
        |number| NewRecord { body: b"Jane Doe, blood group AB-".repeat(3), ..record(number) };
    vault.put_many((1..=5).map(marked).collect(), &mut rng(2)).await.unwrap();
    let body = Cursor::new(b"Jane Doe".repeat(100_000));
    vault.put_stream(marked(6), body, &mut rng(3)).await.unwrap();
    for folder in [place.folder.path(), &place.bodies()] {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let bytes = if path.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
            assert!(!bytes.windows(8).any(|window| window == b"Jane Doe"));
        }
    }
}
