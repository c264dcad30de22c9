//! Walking everything that is stored, to hold it against the chain (S4).

use std::sync::Arc;

use domain::{RecordDigest, RecordId, RecordVersion};
use rayon::prelude::*;
use sqlx::Row as _;
use tokio::task::JoinHandle;

use crate::entries::{CORRUPT, fixed, place_of, version_of};
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
    /// The digest under which it was stored.
    pub digest: RecordDigest,
    /// How long the sealed bytes were when they were stored.
    pub sealed_len: u64,
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

/// A version as it was read.
#[derive(Debug)]
struct Raw {
    record: RecordId,
    version: RecordVersion,
    digest: RecordDigest,
    sealed_len: u64,
    place: Place,
    body: Option<Vec<u8>>,
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
        let (record, version) = (last.record.0.to_vec(), i64::from(last.version.get()));
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
    let rows = sqlx::query(
        "select record, version, digest, sealed_len, place, body from records
        where (record, version) > ($1, $2) order by record, version limit $3",
    )
    .bind(record)
    .bind(version)
    .bind(BATCH_LEN)
    .fetch_all(inner.database.readers())
    .await?;
    let raw = |row: &sqlx::any::AnyRow| {
        Ok(Raw {
            record: RecordId(fixed::<32>(row, 0)?.into()),
            version: version_of(row.try_get(1)?)?,
            digest: RecordDigest(fixed::<32>(row, 2)?.into()),
            sealed_len: row.try_get::<i64, _>(3)?.try_into().map_err(|_| CORRUPT)?,
            place: place_of(row.try_get(4)?)?,
            body: row.try_get(5)?,
        })
    };
    rows.iter().map(raw).collect()
}

impl Raw {
    fn check(self, inner: &Inner) -> Result<Scanned, StoreError> {
        let Self { record, version, digest, sealed_len, place, body } = self;
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
        Ok(Scanned { record, version, digest, sealed_len, state })
    }
}
