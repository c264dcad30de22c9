//! Walking everything that is stored, to hold it against the chain (S4).

use std::sync::Arc;

use domain::{B256, RecordDigest, RecordId, RecordVersion};
use rayon::prelude::*;
use sqlx::Row as _;
use sqlx::any::AnyRow;
use tokio::task::JoinHandle;

use crate::entries::{Entry, entry_columns, entry_of, place_of};
use crate::schema::Place;
use crate::store_error::StoreError;
use crate::vault::{Inner, Vault};

/// How many versions are read at a time: with short records about 4 MiB.
const BATCH_LEN: i64 = 2_048;

/// A stored version, and what its bytes hash to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// Which record.
    pub record: RecordId,
    /// Which version.
    pub version: RecordVersion,
    /// The digest under which it was stored; zero when the row cannot be read.
    pub digest: RecordDigest,
    /// How long the sealed bytes were when they were stored.
    pub sealed_len: u64,
    /// What else the row says of it; `None` when the row cannot be read.
    pub entry: Option<Entry>,
    /// What is there now.
    pub state: ScanState,
}

/// What a scan found in the place of a version's sealed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanState {
    /// The very bytes.
    Intact,
    /// Other bytes.
    Altered {
        /// What they hash to.
        found: RecordDigest,
    },
    /// Nothing.
    Missing,
    /// A tombstone.
    Erased,
    /// A row that breaks the rules under which it was written, as only somebody else than the vault can
    /// have written it.
    Unreadable,
}

/// A walk through the vault in the order of records and versions.
///
/// It reads ahead while the caller works, and sees what was there when it passes: a version put
/// behind it meanwhile is not seen.
#[derive(Debug)]
pub struct Scan {
    inner: Arc<Inner>,
    /// The next batch, being read; `None` at the end.
    ahead: Option<JoinHandle<Result<Vec<Raw>, StoreError>>>,
}

/// A row as it was read.
#[derive(Debug)]
struct Raw {
    /// Its name, as far as it is one: what comes after it is read next.
    record: Vec<u8>,
    version: Option<i64>,
    /// What it says, with its place and body; `None` when it breaks the rules.
    content: Option<(Entry, Place, Option<Vec<u8>>)>,
}

impl Vault {
    /// Begins a walk through everything that is stored. It must be called within a tokio runtime.
    #[must_use]
    pub fn scan(&self) -> Scan {
        let inner = Arc::clone(self.inner());
        let ahead = Some(tokio::spawn(read_batch(Arc::clone(&inner), Vec::new(), 0)));
        Scan { inner, ahead }
    }
}

impl Scan {
    /// The next versions, some thousands at most; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read. The walk is over then.
    pub async fn next(&mut self) -> Result<Option<Vec<Scanned>>, StoreError> {
        let Some(ahead) = self.ahead.take() else { return Ok(None) };
        let batch = ahead.await.expect("reading does not panic")?;
        let Some(last) = batch.last() else { return Ok(None) };
        let (record, version) = last.after();
        let inner = Arc::clone(&self.inner);
        self.ahead = Some(tokio::spawn(read_batch(Arc::clone(&inner), record, version)));

        let hashing = move || batch.into_par_iter().map(|raw| raw.check(&inner)).collect();
        let scanned: Result<_, StoreError> =
            tokio::task::spawn_blocking(hashing).await.expect("hashing does not panic");
        scanned.map(Some)
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}

/// Reads the versions after one.
async fn read_batch(
    inner: Arc<Inner>,
    record: Vec<u8>,
    version: i64,
) -> Result<Vec<Raw>, StoreError> {
    let rows = sqlx::query(concat!(
        "select ",
        entry_columns!(),
        ", body from records
            where (record, version) > ($1, $2) order by record, version limit $3"
    ))
    .bind(record)
    .bind(version)
    .bind(BATCH_LEN)
    .fetch_all(inner.database.readers())
    .await?;
    Ok(rows.iter().map(Raw::of).collect())
}

impl Raw {
    /// Reads a row, into which somebody else may have written anything.
    fn of(row: &AnyRow) -> Self {
        let content = || {
            let place = row.try_get(10).ok().and_then(|place| place_of(place).ok())?;
            Some((entry_of(row).ok()?, place, row.try_get(11).ok()?))
        };
        Self {
            record: row.try_get(0).unwrap_or_default(),
            version: row.try_get(1).ok(),
            content: content(),
        }
    }

    /// After which record and version to read on.
    fn after(&self) -> (Vec<u8>, i64) {
        match self.version {
            Some(version) => (self.record.clone(), version),
            // What is no number comes after all versions of the record.
            None => ([self.record.as_slice(), &[0]].concat(), 0),
        }
    }

    fn check(self, inner: &Inner) -> Result<Scanned, StoreError> {
        let Some((entry, place, body)) = self.content else { return Ok(self.unreadable()) };
        let digest = entry.digest;
        let found = match place {
            Place::Row => body.as_deref().map(RecordDigest::of),
            Place::File => inner.bodies.digest_on_disk(digest)?,
            Place::Erased => None,
        };
        let state = match found {
            _ if place == Place::Erased => ScanState::Erased,
            None => ScanState::Missing,
            Some(found) if found == digest => ScanState::Intact,
            Some(found) => ScanState::Altered { found },
        };
        let ((record, version), sealed_len) = (entry.key(), entry.sealed_len);
        Ok(Scanned { record, version, digest, sealed_len, entry: Some(entry), state })
    }

    fn unreadable(&self) -> Scanned {
        let name = &self.record[..self.record.len().min(B256::len_bytes())];
        let version = self.version.and_then(|version| u32::try_from(version).ok());
        Scanned {
            record: RecordId(B256::right_padding_from(name)),
            version: version.and_then(|version| version.try_into().ok()).unwrap_or(LAST_VERSION),
            digest: RecordDigest(B256::ZERO),
            sealed_len: 0,
            entry: None,
            state: ScanState::Unreadable,
        }
    }
}

/// What stands for a version that is no number.
const LAST_VERSION: RecordVersion = RecordVersion(std::num::NonZeroU32::MAX);
