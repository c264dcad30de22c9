//! Spoiled pages of offers: what is read of one is within bounds, and written again as it was.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;

use common::*;
use exchange::{Holder as _, Offers, PAGE_LEN_MAX};
use mutations::{bytes, fuzz};
use proptest::prelude::*;

#[test]
fn spoiled_pages_are_read_within_bounds() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let page = runtime.block_on(async {
        let (hospital, clinic) = (Site::new(HOSPITAL, 1).await, Site::new(CLINIC, 2).await);
        let entries = share(&hospital, vec![record(1), record(2)], &clinic.identity).await;
        let holder = TestHolder::new(&hospital, CLINIC, &entries);
        holder.offers(CLINIC, None, PAGE_LEN_MAX).await.unwrap()
    });
    let sent = page.to_bytes();
    assert_eq!(Offers::from_bytes(&sent), Ok(page));
    fuzz(4_000, bytes(vec![sent]), |spoiled| {
        let Ok(offers) = Offers::from_bytes(&spoiled) else { return Ok(()) };
        prop_assert!(offers.copies.len() <= PAGE_LEN_MAX);
        prop_assert_eq!(Offers::from_bytes(&offers.to_bytes()), Ok(offers));
        Ok(())
    });
}
