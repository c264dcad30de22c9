//! Sealing without a store, for `examples/bench_vault` alone: what is measured there is what
//! [`Vault::put_many`](crate::Vault::put_many) does to each record before it is inserted.

use domain::{Address, RecordDigest};
use rand_core::CryptoRng;
use rayon::prelude::*;

use crate::header::Header;
use crate::keys::KindKey;
use crate::put::NewRecord;
use crate::sealed::{self, SealingKey};

/// Seals records on all cores, digests and key wraps included, and says how long they became.
#[must_use]
pub fn seal_all(steward: Address, records: &[NewRecord], rng: &mut impl CryptoRng) -> usize {
    let kind_key = KindKey::make(rng);
    let drawn: Vec<_> = records.iter().map(|record| (record, SealingKey::make(rng))).collect();
    let seal_one = |(record, with): &(&NewRecord, SealingKey)| {
        let header = Header {
            record: record.record,
            version: record.version,
            kind: record.kind,
            content: record.content,
            steward,
            author: record.author,
            created: record.created,
        };
        let sealed = sealed::seal(&header, &record.body, with).unwrap_or_default();
        let digest = RecordDigest::of(&sealed);
        sealed.len() + usize::from(digest.0[0] == kind_key.wrap(&with.key)[0])
    };
    drawn.par_iter().map(seal_one).sum()
}
