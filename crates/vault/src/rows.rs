//! Inserting sealed versions: many rows per statement, few texts that stay prepared.

use std::sync::{Arc, OnceLock};

use domain::RecordId;
use sqlx::any::AnyArguments;
use sqlx::{AnyConnection, Arguments as _, AssertSqlSafe};

use crate::bodies::Unclaimed;
use crate::database::Backend;
use crate::entries::{Entry, entry_columns, fixed};
use crate::keys::WRAPPED_CONTENT_KEY_LEN;
use crate::kind_keys::KindKeyId;
use crate::put::PutError;
use crate::schema::Place;
use crate::vault::Vault;

/// How many rows one statement inserts, at most. Each statement is a message to another thread and
/// back; with four times as many rows the time per record is the same again.
pub(crate) const ROWS_PER_INSERT: usize = 64;

/// How many records one statement looks up, at most.
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

/// Rows that one statement inserts, bound already: that is half the work, and needs no database. There
/// are one, two, four or so of them, as [`group_len`] says.
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
        let statement = Texts::of(connection).insert(entries.len());
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
        let length = group_len(rows.len(), ROWS_PER_INSERT);
        let group = rows.by_ref().take(length).collect();
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
    let texts = Texts::of(connection);
    let mut rest = entries;
    while !rest.is_empty() {
        let (group, others) = rest.split_at(group_len(rest.len(), RECORDS_PER_LOOKUP));
        rest = others;
        let mut arguments = AnyArguments::default();
        for entry in group {
            arguments.add(entry.header.record.0.to_vec()).map_err(sqlx::Error::Encode)?;
        }
        let statement = texts.owners(group.len());
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

/// Selects all versions of so many records.
pub(crate) fn versions_text(backend: Backend, records: usize) -> AssertSqlSafe<Arc<str>> {
    Texts::of_backend(backend).versions(records)
}

/// `($1, $2), ($3, $4)`: the places of so many rows with so many columns.
#[must_use]
pub fn places_of(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places: Vec<_> =
            (row * columns + 1..=(row + 1) * columns).map(|place| format!("${place}")).collect();
        format!("({})", places.join(", "))
    };
    let rows: Vec<_> = (0..rows).map(row).collect();
    rows.join(", ")
}

/// How many of `left` go into the next statement: a power of two, so that there are few different
/// texts, and all of them stay prepared.
#[must_use]
pub fn group_len(left: usize, most: usize) -> usize {
    left.checked_ilog2().map_or(0, |log| most.min(1 << log))
}

/// The texts whose length depends on how many rows they are about, each made once.
struct Texts {
    backend: Backend,
    /// By the logarithm of the number of rows.
    inserts: [OnceLock<Arc<str>>; GROUP_LENS],
    owners: [OnceLock<Arc<str>>; GROUP_LENS],
    versions: [OnceLock<Arc<str>>; GROUP_LENS],
}

/// How many lengths of groups there are: powers of two up to 64.
const GROUP_LENS: usize = ROWS_PER_INSERT.ilog2() as usize + 1;

impl Texts {
    fn of(connection: &AnyConnection) -> &'static Self {
        let is_sqlite = connection.backend_name() == "SQLite";
        Self::of_backend(if is_sqlite { Backend::Sqlite } else { Backend::Postgres })
    }

    fn of_backend(backend: Backend) -> &'static Self {
        static SQLITE: Texts = Texts::new(Backend::Sqlite);
        static POSTGRES: Texts = Texts::new(Backend::Postgres);
        match backend {
            Backend::Sqlite => &SQLITE,
            Backend::Postgres => &POSTGRES,
        }
    }

    const fn new(backend: Backend) -> Self {
        let inserts = [const { OnceLock::new() }; GROUP_LENS];
        let owners = [const { OnceLock::new() }; GROUP_LENS];
        let versions = [const { OnceLock::new() }; GROUP_LENS];
        Self { backend, inserts, owners, versions }
    }

    fn insert(&self, rows: usize) -> AssertSqlSafe<Arc<str>> {
        let text = || {
            let row = |row: usize| self.placeholders(row * COLUMNS + 1, COLUMNS);
            let values: Vec<_> = (0..rows).map(row).collect();
            format!(
                "insert into records (record, version, digest, patient, steward, author, kind, content, \
                 created, sealed_len, kind_key, content_key, place, body) values {} on conflict do nothing",
                values.join(", ")
            )
        };
        made_once(&self.inserts, rows, text)
    }

    fn owners(&self, records: usize) -> AssertSqlSafe<Arc<str>> {
        // Most records have one version, and then the index on record and version answers alone.
        let text = || {
            format!(
                "select one.record from records as one join records as other
                on other.record = one.record and other.version < one.version
                where one.record in {}
                    and (other.patient <> one.patient or other.steward <> one.steward)
                limit 1",
                self.placeholders(1, records)
            )
        };
        made_once(&self.owners, records, text)
    }

    fn versions(&self, records: usize) -> AssertSqlSafe<Arc<str>> {
        let text = || {
            let records = self.placeholders(1, records);
            format!(
                concat!("select ", entry_columns!(), " from records where record in {}"),
                records
            )
        };
        made_once(&self.versions, records, text)
    }

    /// `($first, …)`, `count` of them. SQLite looks up each `$n` by its name in a list, so that the time
    /// to bind grows with the square of their number; there they are without a name.
    fn placeholders(&self, first: usize, count: usize) -> String {
        let placeholder = |number| match self.backend {
            Backend::Sqlite => "?".to_owned(),
            Backend::Postgres => format!("${number}"),
        };
        let all: Vec<_> = (first..first + count).map(placeholder).collect();
        format!("({})", all.join(", "))
    }
}

fn made_once(
    texts: &[OnceLock<Arc<str>>; GROUP_LENS],
    rows: usize,
    make: impl FnOnce() -> String,
) -> AssertSqlSafe<Arc<str>> {
    debug_assert!(rows.is_power_of_two());
    let text = texts[rows.ilog2() as usize].get_or_init(|| make().into());
    AssertSqlSafe(Arc::clone(text))
}
