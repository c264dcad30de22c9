//! Sealing records and keeping them.

use std::collections::BTreeSet;
use std::io::{Read, Write as _};
use std::sync::{Arc, LazyLock};

use domain::{Address, Kind, RecordDigest, RecordId, RecordVersion, Timestamp};
use rand_core::CryptoRng;
use rayon::prelude::*;
use sqlx::any::AnyArguments;
use sqlx::{AnyConnection, Arguments as _, AssertSqlSafe};
use tokio::sync::mpsc;

use crate::bodies::ROW_BODY_MAX;
use crate::entries::{Entry, fixed};
use crate::keys::WRAPPED_CONTENT_KEY_LEN;
use crate::kind_keys::{CurrentKey, KindKeyId};
use crate::patient_keys::CurrentKeys;
use crate::schema::Place;
use crate::sealed::{self, Content, Header, SealError, SealingKey};
use crate::store_error::StoreError;
use crate::vault::{Inner, Vault};

/// How many rows one statement inserts. SQLite looks up each `$n` by its name in a list, so that the
/// time to bind grows with the square of the number: 128 rows take twice as long as 16.
const ROWS_PER_INSERT: usize = 16;

/// How many records one statement looks up.
const RECORDS_PER_LOOKUP: usize = 64;

/// How many records are sealed in one go while those before them are being inserted.
const RECORDS_PER_CHUNK: usize = 1_024;

/// The columns of `records`, in the order in which they are bound.
const COLUMNS: usize = 14;

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

/// Rows that one statement inserts, bound already: that is half the work, and needs no database.
pub(crate) struct Group {
    entries: Vec<Entry>,
    arguments: AnyArguments,
}

/// A sealed version, ready to be inserted.
pub(crate) struct Row {
    pub(crate) entry: Entry,
    pub(crate) kind_key: Option<KindKeyId>,
    pub(crate) content_key: Option<[u8; WRAPPED_CONTENT_KEY_LEN]>,
    /// `None` when the body is in a file.
    pub(crate) body: Option<Vec<u8>>,
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
        let mut entries = self.put_many(vec![record], rng).await?;
        Ok(entries.pop().expect("one record in, one entry out"))
    }

    /// Seals records and keeps them, all or none. They are on disk when this returns (S6).
    ///
    /// Batches of 5,000 to 10,000 are fastest. All sealing is done on all cores while what is sealed
    /// already is being written.
    ///
    /// # Errors
    ///
    /// See [`PutError`].
    pub async fn put_many(
        &self,
        records: Vec<NewRecord>,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Vec<Entry>, PutError> {
        let inner = Arc::clone(self.inner());
        let _sealing = inner.key_change.read().await;
        let needed: BTreeSet<_> =
            records.iter().map(|record| (record.patient, record.kind)).collect();
        let mut transaction = self.database().begin().await?;
        let keys = Arc::new(inner.current_keys(&mut transaction, &needed, rng).await?);

        let mut entries = Vec::with_capacity(records.len());
        let drawn: Vec<_> =
            records.into_iter().map(|record| (record, SealingKey::make(rng))).collect();
        // One chunk may wait while the next is sealed; more would only cost memory.
        let (sender, mut sealed) = mpsc::channel(1);
        let sealing = tokio::task::spawn_blocking({
            let (inner, keys) = (Arc::clone(&inner), Arc::clone(&keys));
            move || {
                for chunk in drawn.chunks(RECORDS_PER_CHUNK) {
                    let rows = seal_chunk(&inner, &keys, chunk);
                    // The receiver is gone when inserting failed; then nobody wants the rest.
                    if sender.blocking_send(rows).is_err() {
                        break;
                    }
                }
            }
        });
        while let Some(groups) = sealed.recv().await {
            let first = entries.len();
            for group in groups? {
                entries.extend_from_slice(&group.entries);
                insert_group(&mut transaction, group).await?;
            }
            check_owners(&mut transaction, &entries[first..]).await?;
        }
        sealing.await.expect("sealing does not panic");

        transaction.commit().await?;
        inner.remember_current(Arc::unwrap_or_clone(keys));
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
        let inner = Arc::clone(self.inner());
        let _sealing = inner.key_change.read().await;
        let id = record.record;

        // The long work comes before the transaction, so that nobody waits for it.
        let with = SealingKey::make(rng);
        let header = inner.header(&record);
        let sealing = tokio::task::spawn_blocking({
            let inner = Arc::clone(&inner);
            move || {
                let body = std::io::Cursor::new(record.body).chain(body);
                let mut incoming = inner.bodies.incoming().map_err(StoreError::from)?;
                let (digest, sealed_len) = sealed::seal_stream(&header, body, &mut incoming, &with)
                    .map_err(|source| seal_error(id, source))?;
                let body = if sealed_len <= ROW_BODY_MAX as u64 {
                    let mut bytes = Vec::new();
                    let file = incoming.reopen().map_err(StoreError::from)?;
                    file.read_to_end(&mut bytes).map_err(StoreError::from)?;
                    Some(bytes)
                } else {
                    inner.bodies.keep(incoming, digest).map_err(StoreError::from)?;
                    None
                };
                Ok::<_, PutError>((digest, sealed_len, body, with))
            }
        });
        let (digest, sealed_len, body, with) = sealing.await.expect("sealing does not panic")?;

        let name = (record.patient, record.kind);
        let mut transaction = self.database().begin().await?;
        let keys = inner.current_keys(&mut transaction, &BTreeSet::from([name]), rng).await?;
        let CurrentKey { id: kind_key, key } = &keys[&name];
        let entry = Entry { header, patient: name.0, digest, sealed_len, is_erased: false };
        let row = Row {
            entry,
            kind_key: Some(*kind_key),
            content_key: Some(key.wrap(&with.key)),
            body,
        };
        insert(&mut transaction, row).await?;
        transaction.commit().await?;
        inner.remember_current(keys);
        Ok(entry)
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
}

/// What a failure of sealing means: a full disk is the store's, a long body the caller's.
fn seal_error(record: RecordId, source: SealError) -> PutError {
    match source {
        SealError::Write(source) => PutError::Store(source.into()),
        source => PutError::Seal { record, source },
    }
}

/// Seals records on all cores.
fn seal_chunk(
    inner: &Inner,
    keys: &CurrentKeys,
    chunk: &[(NewRecord, SealingKey)],
) -> Result<Vec<Group>, PutError> {
    let seal_one = |(record, with): &(NewRecord, SealingKey)| {
        let header = inner.header(record);
        let sealed = sealed::seal(&header, &record.body, with)
            .map_err(|source| seal_error(record.record, source))?;
        let CurrentKey { id, key } = &keys[&(record.patient, record.kind)];
        let digest = RecordDigest::of(&sealed);
        Ok(Row {
            entry: Entry {
                header,
                patient: record.patient,
                digest,
                sealed_len: sealed.len() as u64,
                is_erased: false,
            },
            kind_key: Some(*id),
            content_key: Some(key.wrap(&with.key)),
            body: keep_body(inner, digest, sealed)?,
        })
    };
    let seal_group = |records: &[(NewRecord, SealingKey)]| {
        let rows: Result<Vec<_>, PutError> = records.iter().map(seal_one).collect();
        Group::of(rows?)
    };
    chunk.par_chunks(ROWS_PER_INSERT).map(seal_group).collect()
}

/// Writes a long body to its file; gives back a short one for the row.
fn keep_body(
    inner: &Inner,
    digest: RecordDigest,
    sealed: Vec<u8>,
) -> Result<Option<Vec<u8>>, StoreError> {
    if sealed.len() <= ROW_BODY_MAX {
        return Ok(Some(sealed));
    }
    let mut incoming = inner.bodies.incoming()?;
    incoming.write_all(&sealed)?;
    inner.bodies.keep(incoming, digest)?;
    Ok(None)
}

impl Group {
    fn of(rows: Vec<Row>) -> Result<Self, PutError> {
        let entries = rows.iter().map(|row| row.entry).collect();
        let mut arguments = AnyArguments::default();
        arguments.reserve(rows.len() * COLUMNS, 0);
        for row in rows {
            row.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        Ok(Self { entries, arguments })
    }
}

/// Inserts one row; what is there already with the same digest stays as it is.
pub(crate) async fn insert(connection: &mut AnyConnection, row: Row) -> Result<(), PutError> {
    let entry = row.entry;
    insert_group(connection, Group::of(vec![row])?).await?;
    check_owners(connection, &[entry]).await
}

async fn insert_group(connection: &mut AnyConnection, group: Group) -> Result<(), PutError> {
    let Group { entries, arguments } = group;
    let statement = AssertSqlSafe(insert_statement(entries.len()));
    let done = sqlx::query_with(statement, arguments).execute(&mut *connection).await?;
    if done.rows_affected() != entries.len() as u64 {
        check_conflicts(connection, &entries).await?;
    }
    Ok(())
}

/// Refuses versions that are kept already with other bytes.
async fn check_conflicts(
    connection: &mut AnyConnection,
    entries: &[Entry],
) -> Result<(), PutError> {
    for entry in entries {
        let (record, version) = entry.key();
        // A row that is there under no such version has our digest, and cannot have been sealed.
        let kept = Vault::stored_digest(connection, (record, version)).await?.unwrap_or(entry.digest);
        if kept != entry.digest {
            return Err(PutError::Conflict { record, version, kept });
        }
    }
    Ok(())
}

/// Refuses records whose versions differ in patient or steward: a permit for one version must not
/// open another person's.
async fn check_owners(connection: &mut AnyConnection, entries: &[Entry]) -> Result<(), PutError> {
    for group in entries.chunks(RECORDS_PER_LOOKUP) {
        let mut arguments = AnyArguments::default();
        for entry in group {
            arguments.add(entry.header.record.0.to_vec()).map_err(sqlx::Error::Encode)?;
        }
        let statement = AssertSqlSafe(owners_statement(group.len()));
        let row = sqlx::query_with(statement, arguments).fetch_optional(&mut *connection).await?;
        if let Some(row) = row {
            let record = RecordId(fixed::<32>(&row, 0)?.into());
            return Err(PutError::NotTheSameRecord { record });
        }
    }
    Ok(())
}

impl Row {
    fn bind(self, arguments: &mut AnyArguments) -> Result<(), sqlx::error::BoxDynError> {
        let Entry { header, patient, digest, sealed_len, .. } = self.entry;
        let place = if self.body.is_some() { Place::Row } else { Place::File };
        arguments.add(header.record.0.to_vec())?;
        arguments.add(i64::from(header.version.get()))?;
        arguments.add(digest.0.to_vec())?;
        arguments.add(patient.to_vec())?;
        arguments.add(header.steward.to_vec())?;
        arguments.add(header.author.to_vec())?;
        arguments.add(i64::from(header.kind.number()))?;
        arguments.add(i64::from(header.content.number()))?;
        arguments.add(i64::try_from(header.created.0)?)?;
        arguments.add(i64::try_from(sealed_len)?)?;
        arguments.add(self.kind_key.map(|id| id.0.to_vec()))?;
        arguments.add(self.content_key.map(|key| key.to_vec()))?;
        arguments.add(place as i64)?;
        arguments.add(self.body)?;
        Ok(())
    }
}

/// The text of an insert of so many rows; equal lengths give equal texts, which stay prepared.
fn insert_statement(rows: usize) -> Arc<str> {
    static FULL: LazyLock<Arc<str>> = LazyLock::new(|| insert_text(ROWS_PER_INSERT));
    static ONE: LazyLock<Arc<str>> = LazyLock::new(|| insert_text(1));
    match rows {
        1 => Arc::clone(&ONE),
        ROWS_PER_INSERT => Arc::clone(&FULL),
        _ => insert_text(rows),
    }
}

fn insert_text(rows: usize) -> Arc<str> {
    let row = |row: usize| placeholders(row * COLUMNS + 1, COLUMNS);
    let values: Vec<_> = (0..rows).map(row).collect();
    format!(
        "insert into records (record, version, digest, patient, steward, author, kind, content, \
         created, sealed_len, kind_key, content_key, place, body) values {} on conflict do nothing",
        values.join(", ")
    )
    .into()
}

fn owners_statement(records: usize) -> Arc<str> {
    static FULL: LazyLock<Arc<str>> = LazyLock::new(|| owners_text(RECORDS_PER_LOOKUP));
    static ONE: LazyLock<Arc<str>> = LazyLock::new(|| owners_text(1));
    match records {
        1 => Arc::clone(&ONE),
        RECORDS_PER_LOOKUP => Arc::clone(&FULL),
        _ => owners_text(records),
    }
}

fn owners_text(records: usize) -> Arc<str> {
    format!(
        "select record from records where record in {} group by record \
         having count(distinct patient) > 1 or count(distinct steward) > 1 limit 1",
        placeholders(1, records)
    )
    .into()
}

/// `($first, …)`, `count` of them.
fn placeholders(first: usize, count: usize) -> String {
    let all: Vec<_> = (first..first + count).map(|number| format!("${number}")).collect();
    format!("({})", all.join(", "))
}
