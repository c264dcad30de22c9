//! What becomes of work whose caller gives up, as when a client hangs up: at every point where that can
//! happen, by polling so many times and no more.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use std::task::Poll;

use common::*;
use domain::{Address, Kind, KindSet};
use sqlx::Row as _;
use vault::{ErasureOrder, ErasureReason, NewRecord, ScanState, Vault};

on_both! {
    batch_given_up_is_whole_or_not_there,
    epoch_given_up_is_not_passed_over,
    erasure_given_up_leaves_no_destroyed_key_in_use,
}

/// Polls a future again so many times, and drops it unless it is done by then.
async fn give_up_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Whether the kind key of a record is one that is not destroyed, and the newest of its kind.
async fn is_current(vault: &Vault, number: u64) -> (bool, bool) {
    let row = sqlx::query(
        "select case when sealed is null then 0 else 1 end, epoch,
            (select max(epoch) from kind_keys where patient = one.patient and kind = one.kind)
        from kind_keys as one where id = (select kind_key from records where record = $1)",
    )
    .bind(id(number).0.to_vec())
    .fetch_one(vault.database().readers())
    .await
    .unwrap();
    let is_there = row.try_get::<i64, _>(0).unwrap() == 1;
    (is_there, row.try_get::<i64, _>(1).unwrap() == row.try_get::<i64, _>(2).unwrap())
}

async fn batch_given_up_is_whole_or_not_there(place: Place) {
    let vault = place.unlock().await;
    for polls in 0.. {
        let first = 2 * polls as u64;
        let records = vec![record(first), long_record(first + 1)];
        if give_up_after(polls, vault.put_many(records, &mut rng(first))).await.is_some() {
            break;
        }
        // Whoever writes next does so after what was given up.
        drop(vault.database().begin().await.unwrap());
        let short = vault.head(id(first)).await.unwrap();
        assert_eq!(short.is_some(), vault.head(id(first + 1)).await.unwrap().is_some());
        if short.is_some() {
            let opened = vault.open(permit(first + 1), None).await.unwrap();
            assert!(opened.body() == long_record(first + 1).body);
        }
    }
    place.close(vault).await;
    let vault = place.unlock().await;
    let mut scan = vault.scan();
    while let Some(batch) = scan.next().await.unwrap() {
        assert!(batch.iter().all(|version| version.state == ScanState::Intact));
    }
}

/// S3: what comes after a revocation is sealed under a new key, also when nobody waited for that.
async fn epoch_given_up_is_not_passed_over(place: Place) {
    let vault = place.unlock().await;
    vault.put(record(0), &mut rng(2)).await.unwrap();
    let kinds = KindSet::of(&[Kind::Laboratory]);
    for polls in 0.. {
        let number = polls as u64 + 1;
        let done = give_up_after(polls, vault.new_epoch(PATIENT, kinds, &mut rng(number))).await;
        vault.put(record(number), &mut rng(number)).await.unwrap();
        assert_eq!(is_current(&vault, number).await, (true, true), "after {polls} polls");
        if done.is_some() {
            break;
        }
    }
}

async fn erasure_given_up_leaves_no_destroyed_key_in_use(place: Place) {
    let vault = place.unlock().await;
    let order = ErasureOrder { by: AUTHOR, reason: ErasureReason::PatientRequest, at: NOW };
    for polls in 0.. {
        let number = 2 * polls as u64;
        // Each time a patient with one record, so that the work is the same.
        let patient = Address::left_padding_from(&number.to_be_bytes());
        let record = |number| NewRecord { patient, ..record(number) };
        vault.put(record(number), &mut rng(number)).await.unwrap();
        let mut random = rng(number);
        let done = give_up_after(polls, vault.erase_patient(patient, order, &mut random)).await;
        vault.put(record(number + 1), &mut rng(number + 1)).await.unwrap();
        assert_eq!(is_current(&vault, number + 1).await, (true, true), "after {polls} polls");
        if done.is_some() {
            break;
        }
    }
}
