//! Records go in and come out, through the public face.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use common::*;
use domain::{Address, Kind, KindSet, RecordDigest, RecordId};
use vault::{
    Database, Entry, ErasureOrder, ErasureReason, Listing, NewRecord, OpenError, PutError,
    SealError, UnlockError,
};

on_both! {
    what_was_put_opens,
    batch_opens_record_by_record,
    batch_with_one_conflict_keeps_nothing,
    same_inputs_give_the_same_digests,
    version_is_kept_once,
    versions_open_one_by_one,
    long_record_is_kept_in_a_file,
    streamed_record_opens_and_streams_out,
    too_long_a_body_is_refused,
    permit_opens_its_record_alone,
    permits_open_their_records_together,
    versions_of_a_record_belong_to_one_patient,
    heads_are_listed_by_kind_and_steward,
    listing_goes_on_after_a_record,
    vault_opens_again,
    vault_belongs_to_one_root_key_steward_and_network,
    database_is_used_by_one_at_a_time,
    put_during_many_opens,
    records_put_at_the_same_time_get_their_own_answers,
    put_goes_on_when_nobody_waits_any_more,
    batch_keeps_rows_of_other_tables_with_its_records,
    batch_that_failed_is_not_committed,
    batch_given_up_leaves_the_file_of_the_same_record,
    new_vault_takes_over_no_files,
    released_migrations_do_not_change,
    commit_after_a_failed_statement_is_no_success,
}

async fn what_was_put_opens(place: Place) {
    let vault = place.unlock().await;
    let entry = vault.put(record(1), &mut rng(2)).await.unwrap();
    let opened = vault.open(permit(1), None).await.unwrap();
    assert_eq!(opened.entry, entry);
    assert_eq!(opened.body(), record(1).body);
    assert_eq!(vault.head(id(1)).await.unwrap(), Some(entry));
    assert_eq!(vault.find(entry.digest).await.unwrap(), Some(entry));
    assert!(vault.contains(entry.digest).await.unwrap());
    assert_eq!(vault.head(id(2)).await.unwrap(), None);
}

async fn batch_opens_record_by_record(place: Place) {
    let vault = place.unlock().await;
    let batch: Vec<_> = (1..=2_500).map(record).collect();
    let entries = vault.put_many(batch.clone(), &mut rng(2)).await.unwrap();
    assert_eq!(entries.len(), batch.len());
    for (record, entry) in batch.iter().zip(&entries).step_by(50) {
        let permit = permit_for(record.record, PATIENT, STEWARD, Kind::Laboratory);
        let opened = vault.open(permit, None).await.unwrap();
        assert_eq!(opened.entry, *entry);
        assert_eq!(opened.body(), record.body);
    }
    assert!(vault.put_many(Vec::new(), &mut rng(3)).await.unwrap().is_empty());
}

async fn batch_with_one_conflict_keeps_nothing(place: Place) {
    let vault = place.unlock().await;
    let kept = vault.put(record(1_500), &mut rng(2)).await.unwrap();
    let batch = (1..=2_500).map(record).collect();
    match vault.put_many(batch, &mut rng(3)).await.unwrap_err() {
        PutError::Conflict { record, version: found, kept: digest } => {
            assert_eq!((record, found, digest), (id(1_500), version(1), kept.digest));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(vault.head(id(1)).await.unwrap(), None);
    assert_eq!(vault.head(id(2_500)).await.unwrap(), None);
    // What was rolled back left nothing behind that would be in the way.
    vault.put(record(1), &mut rng(4)).await.unwrap();
    vault.open(permit(1), None).await.unwrap();
}

/// S9: nothing depends on which core is faster.
async fn same_inputs_give_the_same_digests(place: Place) {
    let batch: Vec<_> = (1..=1_500).map(record).collect();
    let vault = place.unlock().await;
    let entries = vault.put_many(batch.clone(), &mut rng(2)).await.unwrap();
    let other = Place::sqlite();
    let again = other.unlock().await.put_many(batch, &mut rng(2)).await.unwrap();
    assert_eq!(again, entries);
}

async fn version_is_kept_once(place: Place) {
    let vault = place.unlock().await;
    let kept = vault.put(record(1), &mut rng(2)).await.unwrap();
    let again = vault.put(record(1), &mut rng(3)).await.unwrap_err();
    assert!(matches!(again, PutError::Conflict { kept: digest, .. } if digest == kept.digest));
    assert_eq!(vault.open(permit(1), None).await.unwrap().entry, kept);
}

async fn versions_open_one_by_one(place: Place) {
    let vault = place.unlock().await;
    let next = NewRecord { version: version(2), body: b"amended".to_vec(), ..record(1) };
    let first = vault.put(record(1), &mut rng(2)).await.unwrap();
    let second = vault.put(next, &mut rng(3)).await.unwrap();
    assert_eq!(vault.versions(id(1)).await.unwrap(), [first, second]);
    assert_eq!(vault.head(id(1)).await.unwrap(), Some(second));
    let open = async |number| vault.open(permit(1), number).await;
    assert_eq!(open(None).await.unwrap().body(), b"amended");
    assert_eq!(open(Some(version(2))).await.unwrap().body(), b"amended");
    assert_eq!(open(Some(version(1))).await.unwrap().body(), record(1).body);
    assert!(matches!(open(Some(version(3))).await, Err(OpenError::NotHere { .. })));
}

async fn long_record_is_kept_in_a_file(place: Place) {
    let vault = place.unlock().await;
    let entry = vault.put(long_record(1), &mut rng(2)).await.unwrap();
    let file = place.bodies().join(entry.digest.to_string().trim_start_matches("0x"));
    assert_eq!(std::fs::metadata(file).unwrap().len(), entry.sealed_len);
    assert!(vault.open(permit(1), None).await.unwrap().into_body() == long_record(1).body);
}

async fn streamed_record_opens_and_streams_out(place: Place) {
    let vault = place.unlock().await;
    let long = long_record(1);
    let body = std::io::Cursor::new(long.body.clone());
    let streamed = NewRecord { body: Vec::new(), ..long.clone() };
    let entry = vault.put_stream(streamed, body, &mut rng(2)).await.unwrap();
    let (opened, written) = vault.open_to(permit(1), None, Vec::new()).await.unwrap();
    assert_eq!(opened, entry);
    assert!(written == long.body);

    let short = NewRecord { body: b"begin ".to_vec(), ..record(2) };
    vault.put_stream(short, &b"and end"[..], &mut rng(3)).await.unwrap();
    assert_eq!(vault.open(permit(2), None).await.unwrap().body(), b"begin and end");
    let files = std::fs::read_dir(place.bodies()).unwrap().count();
    assert_eq!(files, 2, "the lock and the long record");
}

async fn too_long_a_body_is_refused(place: Place) {
    let vault = place.unlock().await;
    let endless = std::io::repeat(b'x');
    match vault.put_stream(record(1), endless, &mut rng(2)).await.unwrap_err() {
        PutError::Seal { record, source: SealError::TooLarge { .. } } => {
            assert_eq!(record, id(1));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(std::fs::read_dir(place.bodies()).unwrap().count(), 1, "the lock");
}

async fn permit_opens_its_record_alone(place: Place) {
    let vault = place.unlock().await;
    vault.put_many(vec![record(1), record(2)], &mut rng(2)).await.unwrap();
    let open =
        async |permit| vault.open(permit, None).await.map(|opened| opened.entry.header.record);
    assert_eq!(open(permit(2)).await.unwrap(), id(2));
    assert!(matches!(open(permit(3)).await, Err(OpenError::NotHere { .. })));
    let other = Address::repeat_byte(9);
    for permit in [
        permit_for(id(1), other, STEWARD, Kind::Laboratory),
        permit_for(id(1), PATIENT, other, Kind::Laboratory),
        permit_for(id(1), PATIENT, STEWARD, Kind::Allergy),
    ] {
        assert!(matches!(open(permit).await, Err(OpenError::NotPermitted { .. })));
    }
    // A version that is about something more sensitive wants a decision of its own.
    let amended = NewRecord { version: version(2), kind: Kind::SexualHealth, ..record(1) };
    vault.put(amended, &mut rng(3)).await.unwrap();
    assert!(matches!(open(permit(1)).await, Err(OpenError::NotPermitted { .. })));
}

async fn permits_open_their_records_together(place: Place) {
    let vault = place.unlock().await;
    let mut records: Vec<_> = (1..=69).map(record).collect();
    records.push(long_record(70));
    let entries = vault.put_many(records, &mut rng(2)).await.unwrap();
    let permitted = (1..=70).rev().zip(entries.iter().rev().copied());
    let permitted: Vec<_> = permitted.map(|(number, entry)| (permit(number), entry)).collect();
    let opened = vault.open_each(permitted, None, |_, opened| opened).await.unwrap();
    for (number, opened) in (1..=70).rev().zip(opened) {
        let opened = opened.unwrap();
        assert_eq!(opened.entry.header.record, id(number));
        assert!(
            opened.body() == if number == 70 { long_record(70).body } else { record(number).body }
        );
    }
    // One that is not covered, erased or not here stands in nobody's way.
    let order = ErasureOrder { by: AUTHOR, reason: ErasureReason::PatientRequest, at: NOW };
    vault.erase(id(3), version(1), order, &mut rng(3)).await.unwrap();
    let gone = Entry { digest: RecordDigest::of(b"another"), ..entries[4] };
    let other = permit_for(id(1), Address::repeat_byte(9), STEWARD, Kind::Laboratory);
    let permitted = vec![
        (other, entries[0]),
        (permit(2), entries[5]),
        (permit(3), entries[2]),
        (permit(5), gone),
        (permit(4), entries[3]),
    ];
    let opened = vault.open_each(permitted, None, |_, opened| opened).await.unwrap();
    assert!(matches!(opened[0], Err(OpenError::NotPermitted { .. })));
    assert!(matches!(opened[1], Err(OpenError::NotPermitted { .. })));
    assert!(matches!(opened[2], Err(OpenError::Erased { .. })));
    assert!(matches!(opened[3], Err(OpenError::NotHere { .. })));
    assert_eq!(opened[4].as_ref().unwrap().body(), record(4).body);
    // Nor does a row that makes no sense.
    let mut transaction = vault.database().begin().await.unwrap();
    let broken = sqlx::query("update records set kind = 99 where record = $1");
    broken.bind(id(7).0.to_vec()).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let permitted = vec![(permit(7), entries[6]), (permit(8), entries[7])];
    let opened = vault.open_each(permitted, None, |_, opened| opened).await.unwrap();
    assert!(matches!(opened[0], Err(OpenError::Store(_))));
    assert_eq!(opened[1].as_ref().unwrap().body(), record(8).body);
}

async fn versions_of_a_record_belong_to_one_patient(place: Place) {
    let vault = place.unlock().await;
    vault.put(record(1), &mut rng(2)).await.unwrap();
    let stolen = NewRecord { version: version(2), patient: Address::repeat_byte(9), ..record(1) };
    let refused = vault.put(stolen, &mut rng(3)).await.unwrap_err();
    assert!(matches!(refused, PutError::NotTheSameRecord { record } if record == id(1)));
    assert_eq!(vault.versions(id(1)).await.unwrap().len(), 1);
}

async fn heads_are_listed_by_kind_and_steward(place: Place) {
    let vault = place.unlock().await;
    let other = Address::repeat_byte(9);
    let batch = vec![
        record(1),
        NewRecord { version: version(2), ..record(1) },
        NewRecord { kind: Kind::Allergy, ..record(2) },
        NewRecord { kind: Kind::Administrative, ..record(3) },
        NewRecord { patient: other, ..record(4) },
    ];
    vault.put_many(batch, &mut rng(2)).await.unwrap();
    let list = async |patient, steward, kinds: &[Kind]| -> Vec<(RecordId, u32)> {
        let listing = Listing { patient, steward, kinds: KindSet::of(kinds) };
        let page = vault.list(&listing, None, 100).await.unwrap();
        page.iter().map(|entry| (entry.header.record, entry.header.version.get())).collect()
    };
    assert_eq!(list(PATIENT, None, Kind::ALL).await, [(id(1), 2), (id(2), 1), (id(3), 1)]);
    assert_eq!(list(PATIENT, Some(STEWARD), &[Kind::Laboratory]).await, [(id(1), 2)]);
    assert_eq!(
        list(PATIENT, None, &[Kind::Allergy, Kind::Administrative]).await,
        [(id(2), 1), (id(3), 1)]
    );
    assert_eq!(list(PATIENT, Some(other), Kind::ALL).await, []);
    assert_eq!(list(PATIENT, None, &[]).await, []);
    assert_eq!(list(other, None, Kind::ALL).await, [(id(4), 1)]);
}

async fn listing_goes_on_after_a_record(place: Place) {
    let vault = place.unlock().await;
    vault.put_many((1..=25).map(record).collect(), &mut rng(2)).await.unwrap();
    let listing = Listing { patient: PATIENT, steward: None, kinds: KindSet::ALL };
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = vault.list(&listing, after, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.header.record);
        seen.extend(page.iter().map(|entry| entry.header.record));
    }
    assert_eq!(seen, (1..=25).map(id).collect::<Vec<_>>());
}

async fn vault_opens_again(place: Place) {
    let vault = place.unlock().await;
    vault.put_many(vec![record(1), long_record(2)], &mut rng(2)).await.unwrap();
    place.close(vault).await;
    let stray = place.bodies().join("ab".repeat(32));
    std::fs::write(&stray, b"left by an interrupted run").unwrap();
    std::fs::write(place.bodies().join("incoming-7"), b"half a record").unwrap();

    let vault = place.unlock().await;
    assert_eq!(vault.open(permit(1), None).await.unwrap().body(), record(1).body);
    assert!(vault.open(permit(2), None).await.unwrap().body() == long_record(2).body);
    assert_eq!(std::fs::read_dir(place.bodies()).unwrap().count(), 2, "lock and long record");
    vault.put(record(3), &mut rng(3)).await.unwrap();
}

async fn vault_belongs_to_one_root_key_steward_and_network(place: Place) {
    place.close(place.unlock().await).await;
    let wrong = vault::RootKey::from_bytes(&[8; 32]);
    let unlock = async |settings, key: &vault::RootKey| {
        let database = Database::open(&place.url).await.unwrap();
        let refused = vault::Vault::unlock(settings, database.clone(), key, &mut rng(1)).await;
        database.close().await;
        refused.map(drop)
    };
    let refused = unlock(place.settings(), &wrong).await.unwrap_err();
    assert!(matches!(refused, UnlockError::WrongRootKey));
    let mut settings = place.settings();
    settings.steward = Address::repeat_byte(9);
    let refused = unlock(settings, &root_key()).await.unwrap_err();
    assert!(matches!(refused, UnlockError::OtherVault { steward: STEWARD, .. }), "{refused:?}");
    let mut settings = place.settings();
    settings.network.chain_id = 2;
    let refused = unlock(settings, &root_key()).await.unwrap_err();
    assert!(matches!(refused, UnlockError::OtherVault { chain_id: 1_337, .. }));
    unlock(place.settings(), &root_key()).await.unwrap();
}

async fn database_is_used_by_one_at_a_time(place: Place) {
    let vault = place.unlock().await;
    let refused = Database::open(&place.url).await.unwrap_err();
    let expected = "another process uses this database; stop that one first";
    assert_eq!(refused.to_string(), expected);
    vault.put(record(1), &mut rng(2)).await.unwrap();
    // Once it is closed, the next one may have it at once.
    place.close(vault).await;
    let next = place.unlock().await;
    next.put(record(2), &mut rng(4)).await.unwrap();
}

#[tokio::test]
async fn database_under_another_name_is_the_same_one() {
    let place = Place::sqlite();
    let _vault = place.unlock().await;
    let link = place.folder.path().join("link.db");
    std::os::unix::fs::symlink(place.folder.path().join("vault.db"), &link).unwrap();
    let refused = Database::open_file(&link).await.unwrap_err();
    assert!(matches!(refused, vault::OpenDatabaseError::InUse), "{refused:?}");
}

/// S1: nor is the password of a server in anything that may be logged.
#[tokio::test]
async fn printing_shows_no_password() {
    let Some(place) = Place::postgres().await else { return };
    let url = place.url.replacen("postgres@", "postgres:hunter2@", 1);
    let database = Database::open(&url).await.unwrap();
    assert!(!format!("{database:?}").contains("hunter2"));
    let nowhere = url.replace("salus_test", "nowhere");
    let refused = Database::open(&nowhere).await.unwrap_err();
    assert!(!format!("{refused:?}").contains("hunter2"));
}

async fn put_during_many_opens(place: Place) {
    let vault = place.unlock().await;
    vault.put_many((1..=50).map(record).collect(), &mut rng(2)).await.unwrap();
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..8_u64 {
        let vault = vault.clone();
        readers.spawn(async move {
            for number in 0..100 {
                let number = (number * 7 + reader) % 50 + 1;
                vault.open(permit(number), None).await.unwrap();
            }
        });
    }
    for number in 51..=100 {
        vault.put(record(number), &mut rng(number)).await.unwrap();
    }
    while let Some(reader) = readers.join_next().await {
        reader.unwrap();
    }
}

/// Records that are put at the same time are written together, and each gets its own answer.
async fn records_put_at_the_same_time_get_their_own_answers(place: Place) {
    let vault = place.unlock().await;
    let kept = vault.put(record(50), &mut rng(1)).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 1..=100 {
        let vault = vault.clone();
        tasks.spawn(async move {
            let record = if number % 30 == 7 { long_record(number) } else { record(number) };
            (number, vault.put(record, &mut rng(number)).await)
        });
    }
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (50, outcome) => {
                assert!(matches!(outcome, Err(PutError::Conflict { .. })), "{outcome:?}");
                assert_eq!(vault.head(id(50)).await.unwrap(), Some(kept));
            }
            (number, outcome) => {
                let opened = vault.open(permit(number), None).await.unwrap();
                assert_eq!(opened.entry, outcome.unwrap());
            }
        }
    }
}

async fn put_goes_on_when_nobody_waits_any_more(place: Place) {
    let vault = place.unlock().await;
    let mut random = rng(2);
    let put = vault.put(record(1), &mut random);
    let given_up = tokio::time::timeout(std::time::Duration::from_micros(1), put).await;
    drop(given_up);
    vault.put(record(2), &mut rng(3)).await.unwrap();
    vault.open(permit(2), None).await.unwrap();
}

async fn batch_keeps_rows_of_other_tables_with_its_records(place: Place) {
    let vault = place.unlock().await;
    let steps = ["create table outbox (record bytea not null, note text not null)"];
    vault.database().migrate("outbox", &steps).await.unwrap();
    let count = async || {
        let rows = sqlx::query("select 1 from outbox").fetch_all(vault.database().readers()).await;
        rows.unwrap().len()
    };
    let note = "insert into outbox (record, note) values ($1, 'to be anchored')";
    for is_committed in [false, true] {
        let mut batch = vault.begin_batch().await.unwrap();
        batch.put_many(vec![record(1)], &mut rng(2)).await.unwrap();
        batch.put_many(vec![record(2)], &mut rng(3)).await.unwrap();
        let statement = sqlx::query(note).bind(id(1).0.to_vec());
        statement.execute(&mut **batch.transaction()).await.unwrap();
        if is_committed {
            batch.commit().await.unwrap();
        } else {
            drop(batch);
        }
        assert_eq!(count().await, usize::from(is_committed));
        assert_eq!(vault.open(permit(1), None).await.is_ok(), is_committed);
        assert_eq!(vault.open(permit(2), None).await.is_ok(), is_committed);
    }
}

async fn batch_that_failed_is_not_committed(place: Place) {
    let vault = place.unlock().await;
    vault.put(record(70), &mut rng(2)).await.unwrap();
    let mut batch = vault.begin_batch().await.unwrap();
    let records = [long_record(200)].into_iter().chain((1..=100).map(record)).collect();
    assert!(batch.put_many(records, &mut rng(3)).await.is_err());
    assert!(batch.commit().await.is_err());
    for number in [1, 200] {
        assert_eq!(vault.head(id(number)).await.unwrap(), None);
    }
    assert_eq!(std::fs::read_dir(place.bodies()).unwrap().count(), 1, "the lock");
}

/// The same inputs give the same bytes, and so the same file.
async fn batch_given_up_leaves_the_file_of_the_same_record(place: Place) {
    let vault = place.unlock().await;
    vault.put(record(2), &mut rng(1)).await.unwrap();
    vault.put_many(vec![long_record(1)], &mut rng(2)).await.unwrap();
    let mut batch = vault.begin_batch().await.unwrap();
    batch.put_many(vec![long_record(1)], &mut rng(2)).await.unwrap();
    drop(batch);
    assert!(vault.open(permit(1), None).await.unwrap().body() == long_record(1).body);
}

/// Somebody mistyped the database: the records of the right one are not leftovers.
async fn new_vault_takes_over_no_files(place: Place) {
    let vault = place.unlock().await;
    vault.put(long_record(1), &mut rng(2)).await.unwrap();
    place.close(vault).await;
    let other = Place::sqlite();
    for _ in 0..2 {
        let refused = other.unlock_as(place.settings(), &root_key()).await.unwrap_err();
        assert!(matches!(refused, UnlockError::ForeignBodies), "{refused:?}");
    }
    let vault = place.unlock().await;
    assert!(vault.open(permit(1), None).await.unwrap().body() == long_record(1).body);
}

async fn released_migrations_do_not_change(place: Place) {
    let vault = place.unlock().await;
    let database = vault.database();
    let (one, two) = ("create table one (a bigint)", "create table two (b text)");
    let migrate = async |steps: &[&'static str]| {
        database.migrate("other", steps).await.map_err(|error| error.to_string())
    };
    migrate(&[one]).await.unwrap();
    migrate(&[one, two]).await.unwrap();
    migrate(&[one, two]).await.unwrap();
    let newer = migrate(&[one]).await.unwrap_err();
    assert_eq!(newer, "a later program changed the tables of other; use that program");
    let changed = migrate(&["create table one (a text)", two]).await.unwrap_err();
    assert_eq!(changed, "step 0 of the tables of other differs from what was applied");
    // A step that fails takes those before it back.
    assert!(migrate(&[one, two, "create table three (c text)", "nonsense"]).await.is_err());
    migrate(&[one, two, "create table three (c bigint)"]).await.unwrap();
}

async fn commit_after_a_failed_statement_is_no_success(place: Place) {
    let vault = place.unlock().await;
    let steps = ["create table notes (number bigint primary key)"];
    vault.database().migrate("notes", &steps).await.unwrap();
    let mut transaction = vault.database().begin().await.unwrap();
    let insert = "insert into notes (number) values (1)";
    sqlx::query(insert).execute(&mut *transaction).await.unwrap();
    assert!(sqlx::query(insert).execute(&mut *transaction).await.is_err());
    let committed = transaction.commit().await.is_ok();
    let rows = sqlx::query("select 1 from notes").fetch_all(vault.database().readers()).await;
    assert_eq!(rows.unwrap().len(), usize::from(committed));
    vault.put(record(1), &mut rng(2)).await.unwrap();
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::sqlite();
    let vault = place.unlock().await;
    vault.put_many(vec![record(1), long_record(2)], &mut rng(2)).await.unwrap();
    let mut files = 0;
    for folder in [place.folder.path(), &place.bodies()] {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
            files += 1;
        }
    }
    assert_eq!(files, 7, "database, log, index, two locks, one folder, one record");
}
