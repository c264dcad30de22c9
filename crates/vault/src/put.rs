//! Sealing records and keeping them.
//!
//! Records that are put one by one while others are being written are written together with them:
//! one wait for the disk serves all that came in during the last.

use std::collections::BTreeSet;
use std::io::{Cursor, Read, Write as _};
use std::sync::Arc;

use chacha20::ChaCha20Rng;
use domain::{Address, Kind, RecordDigest, RecordId, RecordVersion, Timestamp};
use rand_core::{CryptoRng, SeedableRng as _};
use rayon::prelude::*;
use tokio::sync::{OwnedRwLockReadGuard, mpsc, oneshot};
use zeroize::Zeroizing;

use crate::bodies::{Bodies, Incoming, ROW_BODY_MAX, Unclaimed};
use crate::entries::Entry;
use crate::header::{Content, Header};
use crate::keys::ContentKey;
use crate::kind_keys::CurrentKey;
use crate::patient_keys::CurrentKeys;
use crate::rows::{self, ROWS_PER_INSERT, Row, RowGroup};
use crate::sealed::{self, SealError, SealingKey};
use crate::store_error::StoreError;
use crate::transaction::WriteTransaction;
use crate::vault::{Inner, Vault};

/// How many records are sealed in one go while those before them are being inserted.
const RECORDS_PER_CHUNK: usize = 1_024;

/// How many records that were put one by one are written together, at most.
const WAITING_MAX: usize = 512;

/// The longest body that is sealed without moving to another thread, in bytes: some 100 us of work.
const INLINE_BODY_MAX: usize = 64 * 1024;

/// One version of one record, to be sealed and kept.
#[derive(Clone)]
pub struct NewRecord {
    /// Which record.
    pub record: RecordId,
    /// Which version of it.
    pub version: RecordVersion,
    /// Whom it is about.
    pub patient: Address,
    /// What it is about.
    pub kind: Kind,
    /// What the body is.
    pub content: Content,
    /// Who wrote it, by member address.
    pub author: Address,
    /// When it is sealed.
    pub created: Timestamp,
    /// The record itself.
    pub body: Vec<u8>,
}

/// Why records were not kept. None of a batch was.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Other bytes are kept under this record and version already.
    #[error("version {version} of record {record} is kept already, as {kept}")]
    Conflict {
        /// Which record.
        record: RecordId,
        /// Which version.
        version: RecordVersion,
        /// The digest of what is kept.
        kept: RecordDigest,
    },
    /// Another version of the record is about another patient, or kept by another steward.
    #[error("record {record} is another patient's, or another steward's")]
    NotTheSameRecord {
        /// Which record.
        record: RecordId,
    },
    /// The body could not be sealed.
    #[error("record {record} could not be sealed")]
    Seal {
        /// Which record.
        record: RecordId,
        /// Why.
        #[source]
        source: SealError,
    },
    /// The store failed. Asking again may succeed.
    #[error("the records could not be kept")]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for PutError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A record that is sealed, and not kept yet. What it will be called on chain is known.
pub struct SealedRecord {
    entry: Entry,
    key: ContentKey,
    body: SealedBody,
}

enum SealedBody {
    Row(Vec<u8>),
    File(Unclaimed),
}

/// A record that was put alone, and waits to be written with others.
pub(crate) struct Waiting {
    sealed: SealedRecord,
    /// For the kind key, should there be none yet.
    seed: Zeroizing<[u8; 32]>,
    answer: oneshot::Sender<Result<Entry, PutError>>,
}

impl Vault {
    /// Seals one record and keeps it. It is on disk when this returns (S6).
    ///
    /// # Errors
    ///
    /// See [`PutError`]. Sealing makes fresh bytes each time, so putting a version twice is a
    /// [`PutError::Conflict`] that names what is kept.
    pub async fn put(
        &self,
        record: NewRecord,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Entry, PutError> {
        let sealed = self.seal(record, rng).await?;
        self.keep(sealed, rng).await
    }

    /// Seals records and keeps them, all or none. They are on disk when this returns (S6).
    ///
    /// Batches of 5,000 to 10,000 are fastest: all cores seal while what is sealed already is being
    /// written.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub async fn put_many(
        &self,
        records: Vec<NewRecord>,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Vec<Entry>, PutError> {
        let mut batch = self.begin_batch().await?;
        let entries = batch.put_many(records, rng).await?;
        batch.commit().await?;
        Ok(entries)
    }

    /// Seals a body of up to [`MAX_BODY_LEN`](crate::MAX_BODY_LEN) bytes in constant memory, and keeps
    /// it. `record.body` comes first, then what `body` yields.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub async fn put_stream(
        &self,
        record: NewRecord,
        body: impl Read + Send + 'static,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Entry, PutError> {
        let with = SealingKey::make(rng);
        let inner = Arc::clone(self.inner());
        let sealing = move || inner.seal_stream(record, body, with);
        let sealed = tokio::task::spawn_blocking(sealing).await.expect("sealing does not panic")?;
        self.keep(sealed, rng).await
    }

    /// Begins to keep records together with rows of other tables, such as an outbox: all or none.
    ///
    /// It holds the turn to write until it is committed or dropped; everybody else who writes waits.
    /// So whoever holds it must not put, erase or change keys by other ways than the batch itself.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database does not answer.
    pub async fn begin_batch(&self) -> Result<Batch, StoreError> {
        let sealing = Arc::clone(&self.inner().key_change).read_owned().await;
        let transaction = self.database().begin().await?;
        Ok(self.batch(transaction, sealing))
    }

    /// Seals one record and begins to keep it together with rows of other tables, all or none; says as what
    /// it is kept. Unlike [`Vault::begin_batch`], it shares its commit with others that write at the same
    /// time.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub async fn begin_put(
        &self,
        record: NewRecord,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<(Batch, Entry), PutError> {
        let sealed = self.seal(record, rng).await?;
        self.begin_keep(sealed, rng).await
    }

    /// As [`Vault::begin_put`], for a record that was sealed before.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub async fn begin_keep(
        &self,
        sealed: SealedRecord,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<(Batch, Entry), PutError> {
        let sealing = Arc::clone(&self.inner().key_change).read_owned().await;
        let transaction = self.database().share().await?;
        let mut batch = self.batch(transaction, sealing);
        let keys = batch.find_keys(&BTreeSet::from([sealed.name()]), rng).await?;
        rows::insert(&mut batch.transaction, vec![sealed.row(&keys)]).await?;
        let entry = sealed.entry;
        batch.files.extend(sealed.into_file());
        Ok((batch, entry))
    }

    fn batch(&self, transaction: WriteTransaction, sealing: OwnedRwLockReadGuard<()>) -> Batch {
        let inner = Arc::clone(self.inner());
        let (keys, files) = (CurrentKeys::new(), Vec::new());
        Batch { inner, transaction, keys, files, is_broken: false, _sealing: sealing }
    }

    /// Seals one record, on another thread when it is long, and keeps nothing of it.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub async fn seal(
        &self,
        record: NewRecord,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<SealedRecord, PutError> {
        let with = SealingKey::make(rng);
        if record.body.len() <= INLINE_BODY_MAX {
            return self.inner().seal(&record, with);
        }
        let inner = Arc::clone(self.inner());
        let sealing = move || inner.seal(&record, with);
        tokio::task::spawn_blocking(sealing).await.expect("sealing does not panic")
    }

    /// Keeps one sealed record, together with those that wait at the same time.
    async fn keep(
        &self,
        sealed: SealedRecord,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Entry, PutError> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        let (answer, answered) = oneshot::channel();
        self.inner().waiting.lock().push_back(Waiting { sealed, seed, answer });
        // A task of its own, because whoever waits here may be gone before it is done, and it may be
        // writing for others.
        tokio::spawn(self.clone().write_waiting());
        answered
            .await
            .unwrap_or_else(|_| Err(StoreError::Failed("the writer stopped".into()).into()))
    }

    /// Writes what waits now in one transaction; nothing when somebody did that in the meantime.
    async fn write_waiting(self) {
        let _turn = self.inner().writing.lock().await;
        let mut waiting: Vec<_> = {
            let mut waiting = self.inner().waiting.lock();
            let count = waiting.len().min(WAITING_MAX);
            waiting.drain(..count).collect()
        };
        if waiting.is_empty() || self.write_together(&mut waiting).await.is_ok() {
            waiting.into_iter().for_each(|one| one.answer(Ok(())));
            return;
        }
        // One of them may be in the way of all, so each gets its own attempt and its own answer.
        for mut one in waiting {
            let outcome = self.write_together(std::slice::from_mut(&mut one)).await;
            one.answer(outcome);
        }
    }

    async fn write_together(&self, waiting: &mut [Waiting]) -> Result<(), PutError> {
        let mut batch = self.begin_batch().await?;
        let mut rows = Vec::with_capacity(waiting.len());
        for Waiting { sealed, seed, .. } in &*waiting {
            let needed = BTreeSet::from([sealed.name()]);
            let mut rng = ChaCha20Rng::from_seed(**seed);
            let keys = batch.find_keys(&needed, &mut rng).await?;
            rows.push(sealed.row(&keys));
        }
        rows::insert(&mut batch.transaction, rows).await?;
        let files = waiting.iter_mut().filter_map(|one| one.sealed.file_mut());
        Ok(batch.commit_with(files).await?)
    }
}

/// Records, and whatever else the caller writes, on their way into the store together.
#[derive(Debug)]
#[must_use = "a batch that is dropped is rolled back"]
pub struct Batch {
    inner: Arc<Inner>,
    transaction: WriteTransaction,
    /// The kind keys used, to be remembered once they are stored.
    keys: CurrentKeys,
    files: Vec<Unclaimed>,
    /// Whether some of the records given to it are in it, and some are not.
    is_broken: bool,
    _sealing: OwnedRwLockReadGuard<()>,
}

impl Batch {
    /// Seals records and adds them. After an error the batch can only be dropped.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub async fn put_many(
        &mut self,
        records: Vec<NewRecord>,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Vec<Entry>, PutError> {
        // Until all are in: an error may come in between, and whoever waits here may give up.
        self.is_broken = true;
        let needed = records.iter().map(|record| (record.patient, record.kind)).collect();
        let keys = self.find_keys(&needed, rng).await?;
        let mut entries = Vec::with_capacity(records.len());
        let drawn: Vec<_> =
            records.into_iter().map(|record| (record, SealingKey::make(rng))).collect();

        // One chunk may wait while the next is sealed; more would only cost memory.
        let (sender, mut sealed) = mpsc::channel(1);
        let inner = Arc::clone(&self.inner);
        let sealing = tokio::task::spawn_blocking(move || {
            let mut drawn = drawn.into_iter();
            while drawn.len() > 0 {
                let chunk = drawn.by_ref().take(RECORDS_PER_CHUNK).collect();
                // The receiver is gone when inserting failed; then nobody wants the rest.
                if sender.blocking_send(inner.seal_chunk(&keys, chunk)).is_err() {
                    break;
                }
            }
        });
        while let Some(groups) = sealed.recv().await {
            let first = entries.len();
            for mut group in groups? {
                entries.extend_from_slice(&group.entries);
                self.files.append(&mut group.files);
                group.insert(&mut self.transaction).await?;
            }
            rows::check_owners(&mut self.transaction, &entries[first..]).await?;
        }
        sealing.await.expect("sealing does not panic");
        self.is_broken = false;
        Ok(entries)
    }

    /// The transaction, for the rows of other tables.
    pub fn transaction(&mut self) -> &mut WriteTransaction {
        &mut self.transaction
    }

    /// Makes all of it durable: it is on disk when this returns (S6).
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be, or when [`Batch::put_many`] failed; then nothing was
    /// written.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        let mut files = std::mem::take(&mut self.files);
        self.commit_with(files.iter_mut()).await
    }

    async fn commit_with(
        self,
        files: impl IntoIterator<Item = &mut Unclaimed>,
    ) -> Result<(), StoreError> {
        if self.is_broken {
            return Err(StoreError::Failed("only a part of the batch was put".into()));
        }
        commit_with(self.transaction, files).await?;
        self.inner.remember_current(self.keys);
        Ok(())
    }

    /// The kind keys under which these are sealed now.
    async fn find_keys(
        &mut self,
        needed: &BTreeSet<(Address, Kind)>,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<CurrentKeys, StoreError> {
        let missing =
            needed.iter().filter(|name| !self.keys.contains_key(*name)).copied().collect();
        let found = self.inner.current_keys(&mut self.transaction, &missing, rng).await?;
        self.keys.extend(found);
        let key = |name: &(Address, Kind)| (*name, self.keys[name].clone());
        Ok(needed.iter().map(key).collect())
    }
}

impl Inner {
    fn header(&self, record: &NewRecord) -> Header {
        Header {
            record: record.record,
            version: record.version,
            kind: record.kind,
            content: record.content,
            steward: self.settings.steward,
            author: record.author,
            created: record.created,
        }
    }

    /// Seals a record, and writes it to its file when it is long.
    fn seal(&self, record: &NewRecord, with: SealingKey) -> Result<SealedRecord, PutError> {
        let header = self.header(record);
        let sealed = sealed::seal(&header, &record.body, &with)
            .map_err(|source| seal_error(record.record, source))?;
        let digest = RecordDigest::of(&sealed);
        let sealed_len = sealed.len() as u64;
        let body = if sealed.len() <= ROW_BODY_MAX {
            SealedBody::Row(sealed)
        } else {
            let mut incoming = self.bodies.incoming().map_err(StoreError::from)?;
            incoming.write_all(&sealed).map_err(StoreError::from)?;
            self.keep_file(incoming, digest)?
        };
        let entry = Entry { header, patient: record.patient, digest, sealed_len, is_erased: false };
        Ok(SealedRecord { entry, key: with.key, body })
    }

    /// Seals a body as it comes in, into a file; a short one comes back into memory.
    fn seal_stream(
        &self,
        record: NewRecord,
        body: impl Read,
        with: SealingKey,
    ) -> Result<SealedRecord, PutError> {
        let header = self.header(&record);
        let body = Cursor::new(record.body).chain(body);
        let mut incoming = self.bodies.incoming().map_err(StoreError::from)?;
        let (digest, sealed_len) = sealed::seal_stream(&header, body, &mut incoming, &with)
            .map_err(|source| seal_error(record.record, source))?;
        let body = if sealed_len <= ROW_BODY_MAX as u64 {
            let mut bytes = Vec::new();
            let file = incoming.reopen().map_err(StoreError::from)?;
            file.read_to_end(&mut bytes).map_err(StoreError::from)?;
            SealedBody::Row(bytes)
        } else {
            self.keep_file(incoming, digest)?
        };
        let entry = Entry { header, patient: record.patient, digest, sealed_len, is_erased: false };
        Ok(SealedRecord { entry, key: with.key, body })
    }

    fn keep_file(
        &self,
        incoming: Incoming,
        digest: RecordDigest,
    ) -> Result<SealedBody, StoreError> {
        Ok(SealedBody::File(Bodies::keep(&self.bodies, incoming, digest)?))
    }

    /// Seals records on all cores, ready to be inserted.
    fn seal_chunk(
        &self,
        keys: &CurrentKeys,
        chunk: Vec<(NewRecord, SealingKey)>,
    ) -> Result<Vec<RowGroup>, PutError> {
        let seal_group = |records: Vec<(NewRecord, SealingKey)>| {
            let mut rows = Vec::with_capacity(records.len());
            let mut files = Vec::new();
            for (record, with) in records {
                let sealed = self.seal(&record, with)?;
                rows.push(sealed.row(keys));
                files.extend(sealed.into_file());
            }
            RowGroup::of(rows, files)
        };
        let mut groups = Vec::new();
        let mut chunk = chunk.into_iter();
        while chunk.len() > 0 {
            let length = rows::group_len(chunk.len(), ROWS_PER_INSERT);
            groups.push(chunk.by_ref().take(length).collect());
        }
        groups.into_par_iter().map(seal_group).collect()
    }
}

impl std::fmt::Debug for SealedRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedRecord").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl SealedRecord {
    /// As what it will be kept.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }

    const fn name(&self) -> (Address, Kind) {
        (self.entry.patient, self.entry.header.kind)
    }

    /// Its row. The record stays, because it may have to be written once more.
    fn row(&self, keys: &CurrentKeys) -> Row {
        let CurrentKey { id, key } = &keys[&self.name()];
        let content_key = Some(key.wrap(&self.key));
        let body = match &self.body {
            SealedBody::Row(bytes) => Some(bytes.clone()),
            SealedBody::File(_) => None,
        };
        Row { entry: self.entry, kind_key: Some(*id), content_key, body }
    }

    fn into_file(self) -> Option<Unclaimed> {
        match self.body {
            SealedBody::Row(_) => None,
            SealedBody::File(file) => Some(file),
        }
    }

    const fn file_mut(&mut self) -> Option<&mut Unclaimed> {
        match &mut self.body {
            SealedBody::Row(_) => None,
            SealedBody::File(file) => Some(file),
        }
    }
}

impl Waiting {
    fn answer(self, outcome: Result<(), PutError>) {
        let entry = self.sealed.entry;
        // Whoever waited may be gone. The record is kept all the same.
        let _ = self.answer.send(outcome.map(|()| entry));
    }
}

/// Commits rows that name files.
///
/// The files are claimed first: whoever waits here may be gone before the commit is done, and it is done
/// all the same. They are given up only when it is certain that there are no rows.
pub(crate) async fn commit_with(
    transaction: WriteTransaction,
    files: impl IntoIterator<Item = &mut Unclaimed>,
) -> Result<(), StoreError> {
    let mut files: Vec<_> = files.into_iter().collect();
    files.iter_mut().for_each(|file| file.claim());
    let outcome = transaction.commit().await;
    if outcome.as_ref().is_err_and(|error| !may_be_kept(error)) {
        files.iter_mut().for_each(|file| file.disclaim());
    }
    outcome
}

/// Whether rows may be in the store after this error, because nobody could tell how a commit ended.
const fn may_be_kept(error: &StoreError) -> bool {
    !matches!(error, StoreError::DiskFull(_) | StoreError::ReadOnly(_))
}

/// What a failure of sealing means: a full disk is the store's, a long body the caller's.
fn seal_error(record: RecordId, source: SealError) -> PutError {
    match source {
        SealError::Write(source) => PutError::Store(source.into()),
        source => PutError::Seal { record, source },
    }
}
