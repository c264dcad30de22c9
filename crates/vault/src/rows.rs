//! Inserting sealed versions: many rows per statement, few texts that stay prepared.

use std::sync::{Arc, LazyLock};

use domain::RecordId;
use sqlx::any::AnyArguments;
use sqlx::{AnyConnection, Arguments as _, AssertSqlSafe};

use crate::bodies::Unclaimed;
use crate::entries::{Entry, fixed};
use crate::keys::WRAPPED_CONTENT_KEY_LEN;
use crate::kind_keys::KindKeyId;
use crate::put::PutError;
use crate::schema::Place;
use crate::vault::Vault;

/// How many rows one statement inserts. SQLite looks up each `$n` by its name in a list, so that the
/// time to bind grows with the square of the number: with 128 rows it took half of all the time.
pub(crate) const ROWS_PER_INSERT: usize = 16;

/// How many records one statement looks up.
const RECORDS_PER_LOOKUP: usize = 64;

/// The columns of `records`, in the order in which they are bound.
const COLUMNS: usize = 14;

/// A sealed version, ready to be inserted.
pub(crate) struct Row {
    pub(crate) entry: Entry,
    pub(crate) kind_key: Option<KindKeyId>,
    pub(crate) content_key: Option<[u8; WRAPPED_CONTENT_KEY_LEN]>,
    /// `None` when the body is in a file.
    pub(crate) body: Option<Vec<u8>>,
}

/// Rows that one statement inserts, bound already: that is half the work, and needs no database.
pub(crate) struct RowGroup {
    pub(crate) entries: Vec<Entry>,
    /// The files of those that are long.
    pub(crate) files: Vec<Unclaimed>,
    arguments: AnyArguments,
}

impl RowGroup {
    pub(crate) fn of(rows: Vec<Row>, files: Vec<Unclaimed>) -> Result<Self, PutError> {
        let entries = rows.iter().map(|row| row.entry).collect();
        let mut arguments = AnyArguments::default();
        arguments.reserve(rows.len() * COLUMNS, 0);
        for row in rows {
            row.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        Ok(Self { entries, files, arguments })
    }

    /// Inserts the rows; what is there already with the same digest stays as it is.
    pub(crate) async fn insert(self, connection: &mut AnyConnection) -> Result<(), PutError> {
        let Self { entries, arguments, .. } = self;
        let statement = AssertSqlSafe(insert_statement(entries.len()));
        let done = sqlx::query_with(statement, arguments).execute(&mut *connection).await?;
        if done.rows_affected() != entries.len() as u64 {
            check_conflicts(connection, &entries).await?;
        }
        Ok(())
    }
}

/// Inserts rows, all or none of them once the transaction ends.
pub(crate) async fn insert(connection: &mut AnyConnection, rows: Vec<Row>) -> Result<(), PutError> {
    let entries: Vec<_> = rows.iter().map(|row| row.entry).collect();
    let mut rows = rows.into_iter();
    while rows.len() > 0 {
        let group = rows.by_ref().take(ROWS_PER_INSERT).collect();
        RowGroup::of(group, Vec::new())?.insert(&mut *connection).await?;
    }
    check_owners(connection, &entries).await
}

/// Refuses versions that are kept already with other bytes.
async fn check_conflicts(
    connection: &mut AnyConnection,
    entries: &[Entry],
) -> Result<(), PutError> {
    for entry in entries {
        let (record, version) = entry.key();
        // Nothing under this version means that the digest is kept under another one, which only a
        // database that was tampered with can show.
        let kept = Vault::stored_digest(connection, (record, version)).await?;
        if kept != Some(entry.digest) {
            let kept = kept.unwrap_or(entry.digest);
            return Err(PutError::Conflict { record, version, kept });
        }
    }
    Ok(())
}

/// Refuses records whose versions differ in patient or steward: a permit for one version must not
/// open another person's.
pub(crate) async fn check_owners(
    connection: &mut AnyConnection,
    entries: &[Entry],
) -> Result<(), PutError> {
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

/// The text of an insert of so many rows; equal numbers give equal texts, which stay prepared.
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
    // Counting distinct values would say the same, and make two temporary tables each time.
    format!(
        "select one.record from records as one join records as other on other.record = one.record \
         where one.record in {} and (other.patient <> one.patient or other.steward <> one.steward) \
         limit 1",
        placeholders(1, records)
    )
    .into()
}

/// `($first, …)`, `count` of them.
fn placeholders(first: usize, count: usize) -> String {
    let all: Vec<_> = (first..first + count).map(|number| format!("${number}")).collect();
    format!("({})", all.join(", "))
}
