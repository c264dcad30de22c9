//! The index: what resources can be found by, kept so that whoever steals the database learns little.
//!
//! Each value of a search parameter is a row of `fhir_index`: the resource's number, the parameter's,
//! and two numbers. Of a text they are its keyed digest, of a date its first and last millisecond, of a
//! number its least and greatest, [in integers of the same order](crate::numbers::ordered). A parameter
//! of which a resource has something else has one row with both at their least.
//!
//! | column | bits | what |
//! |---|---|---|
//! | `resource` | 64 | `number` in `fhir_resources` |
//! | `parameter` | 48 | from HMAC-SHA-256 over type and name |
//! | `low`, `high` | 64 each | the digest's first 16 bytes, or a range |
//!
//! What that shows and what it hides stands in `docs/decisions/0010-search-index.md`.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use sqlx::any::AnyArguments;
use sqlx::{AnyConnection, Arguments as _, AssertSqlSafe, Row as _};
use vault::StoreError;

use crate::digests::Digests;
use crate::keys::{self, Key};
use crate::parameters::{Parameter, parameters};

/// The name under which the tables are migrated.
pub const COMPONENT: &str = "search";

/// One statement per step; a released step never changes.
pub const MIGRATIONS: &[&str] = &[
    // Which resources there are. Whoever keeps them writes here; the index only joins it. `record`,
    // `patient` and `kind` are null for what is about no patient. Times are in milliseconds since 1970.
    // What has 1 as `deleted` is not found; other numbers are of whoever writes here.
    "create table fhir_resources (
        number bigint not null primary key,
        type text not null,
        id text not null,
        record bytea,
        patient bytea,
        kind bigint,
        version bigint not null,
        updated bigint not null,
        deleted bigint not null
    )",
    "create unique index fhir_resources_by_id on fhir_resources (type, id)",
    "create index fhir_resources_by_type on fhir_resources (type, number)",
    "create index fhir_resources_by_time on fhir_resources (type, updated, number)",
    "create index fhir_resources_by_patient on fhir_resources (patient, type, number)",
    "create table fhir_index (
        resource bigint not null,
        parameter bigint not null,
        low bigint not null,
        high bigint not null
    )",
    "create index fhir_index_by_value on fhir_index (parameter, low, high, resource)",
    "create index fhir_index_by_resource on fhir_index (resource, parameter)",
];

/// The row of a parameter that has a value, but none with a key.
const PRESENT: (i64, i64) = (i64::MIN, i64::MIN);

/// How many rows one statement inserts, at most.
const ROWS_PER_INSERT: usize = 64;

/// How many rows most resources have, at most.
const ROWS_OF_MOST: usize = 24;

/// The columns of `fhir_index`.
const COLUMNS: usize = 4;

/// The index of a database, under a key of its own. Without that key nothing can be searched; with
/// another one nothing is found.
#[derive(Debug)]
pub struct Index {
    pub(crate) digests: Digests,
}

/// A resource to be indexed.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its `number` in `fhir_resources`.
    pub number: i64,
    /// Its type.
    pub resource_type: &'a str,
    /// What it says.
    pub resource: &'a Value,
}

type Row = [i64; COLUMNS];

/// What is to be kept of a resource that has no number yet. Making it is most of the work of indexing, and
/// needs no database.
#[derive(Debug)]
pub struct Prepared(Vec<Row>);

impl Index {
    /// An index under `key`, which serves nothing else and stays the same as long as the database.
    #[must_use]
    pub fn new(key: [u8; 32]) -> Self {
        Self { digests: Digests::new(key) }
    }

    /// Indexes a resource in place of what was indexed under its number.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails.
    pub async fn put(
        &self,
        connection: &mut AnyConnection,
        number: i64,
        resource_type: &str,
        resource: &Value,
    ) -> Result<(), StoreError> {
        self.remove(connection, number).await?;
        self.add(connection, &[Entry { number, resource_type, resource }]).await
    }

    /// What is to be kept of a resource.
    #[must_use]
    pub fn prepare(&self, resource_type: &str, resource: &Value) -> Prepared {
        let mut rows = Vec::new();
        self.rows(&Entry { number: 0, resource_type, resource }, &mut rows);
        Prepared(rows)
    }

    /// Indexes what was prepared, each under its number, under which nothing is indexed yet.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails.
    pub async fn add_prepared(
        &self,
        connection: &mut AnyConnection,
        prepared: Vec<(i64, Prepared)>,
    ) -> Result<(), StoreError> {
        let rows: Vec<Row> = prepared
            .into_iter()
            .flat_map(|(number, Prepared(rows))| {
                rows.into_iter()
                    .map(move |[_, parameter, low, high]| [number, parameter, low, high])
            })
            .collect();
        insert_rows(connection, &rows).await
    }

    /// Indexes a further version of a resource beside the ones before, which some may still read.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails.
    pub async fn widen(
        &self,
        connection: &mut AnyConnection,
        number: i64,
        resource_type: &str,
        resource: &Value,
    ) -> Result<(), StoreError> {
        let prepared = self.prepare(resource_type, resource);
        self.widen_prepared(connection, number, prepared).await
    }

    /// [`Index::widen`] with what was prepared.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails.
    pub async fn widen_prepared(
        &self,
        connection: &mut AnyConnection,
        number: i64,
        Prepared(mut rows): Prepared,
    ) -> Result<(), StoreError> {
        let text = "select parameter, low, high from fhir_index where resource = $1";
        let kept = sqlx::query(text).bind(number).fetch_all(&mut *connection).await?;
        let kept: Result<HashSet<Row>, sqlx::Error> = kept
            .iter()
            .map(|row| Ok([number, row.try_get(0)?, row.try_get(1)?, row.try_get(2)?]))
            .collect();
        let kept = kept?;
        rows.iter_mut().for_each(|row| row[0] = number);
        rows.retain(|row| !kept.contains(row));
        insert_rows(connection, &rows).await
    }

    /// Puts what was prepared of a part of a resource in the place of what is indexed under the same
    /// parameters; all others stay.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails.
    pub async fn replace_prepared(
        &self,
        connection: &mut AnyConnection,
        number: i64,
        Prepared(mut rows): Prepared,
    ) -> Result<(), StoreError> {
        let replaced: BTreeSet<i64> = rows.iter().map(|[_, parameter, ..]| *parameter).collect();
        for parameter in replaced {
            sqlx::query("delete from fhir_index where resource = $1 and parameter = $2")
                .bind(number)
                .bind(parameter)
                .execute(&mut *connection)
                .await?;
        }
        rows.iter_mut().for_each(|row| row[0] = number);
        insert_rows(connection, &rows).await
    }

    /// Indexes resources under whose numbers nothing is indexed yet, such as those of an import. It is
    /// quicker than one after the other.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails.
    pub async fn add(
        &self,
        connection: &mut AnyConnection,
        entries: &[Entry<'_>],
    ) -> Result<(), StoreError> {
        let mut rows = Vec::new();
        for entry in entries {
            self.rows(entry, &mut rows);
        }
        insert_rows(connection, &rows).await
    }

    /// Takes a resource out of the index.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database fails.
    pub async fn remove(
        &self,
        connection: &mut AnyConnection,
        number: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("delete from fhir_index where resource = $1")
            .bind(number)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Adds the rows of a resource, each once.
    fn rows(&self, entry: &Entry<'_>, rows: &mut Vec<Row>) {
        for parameter in parameters(entry.resource_type) {
            // These two stand in `fhir_resources`.
            if matches!(parameter.name(), "_id" | "_lastUpdated") {
                continue;
            }
            let mut has_value = false;
            let mut kept = BTreeSet::new();
            parameter.visit(entry.resource, &mut |value| {
                has_value = true;
                keys::of_value(&value, &mut |key| {
                    kept.insert(key);
                });
            });
            let number = self.digests.number(parameter);
            let mut push = |(low, high)| rows.push([entry.number, number, low, high]);
            if kept.is_empty() && has_value {
                push(PRESENT);
            }
            kept.iter().for_each(|key| push(self.ends(parameter, key)));
        }
    }

    fn ends(&self, parameter: &Parameter, key: &Key<'_>) -> (i64, i64) {
        match key {
            Key::Text(form, text) => self.digests.of_text(parameter, *form, text),
            Key::Range(low, high) => (*low, *high),
        }
    }
}

async fn insert_rows(connection: &mut AnyConnection, mut rows: &[Row]) -> Result<(), StoreError> {
    while !rows.is_empty() {
        let (group, rest) = rows.split_at(group_len(rows.len()));
        let mut arguments = AnyArguments::default();
        arguments.reserve(group.len() * COLUMNS, 0);
        for number in group.iter().flatten() {
            arguments.add(*number).map_err(sqlx::Error::Encode)?;
        }
        let statement = insert(connection, group.len());
        sqlx::query_with(statement, arguments).execute(&mut *connection).await?;
        rows = rest;
    }
    Ok(())
}

/// How many of `left` rows go into the next statement. What most resources have goes into one; of more
/// there are powers of two and one and a half times that, so that there are few different texts.
fn group_len(left: usize) -> usize {
    if left <= ROWS_OF_MOST {
        return left;
    }
    let power = 1 << left.ilog2();
    let longer = power + power / 2;
    ROWS_PER_INSERT.min(if longer <= left { longer } else { power })
}

/// The statement that inserts so many rows, made once for each number of them.
fn insert(connection: &AnyConnection, rows: usize) -> AssertSqlSafe<Arc<str>> {
    type Texts = [OnceLock<Arc<str>>; ROWS_PER_INSERT + 1];
    static SQLITE: Texts = [const { OnceLock::new() }; ROWS_PER_INSERT + 1];
    static POSTGRES: Texts = [const { OnceLock::new() }; ROWS_PER_INSERT + 1];
    let is_sqlite = is_sqlite(connection);
    let texts = if is_sqlite { &SQLITE } else { &POSTGRES };
    let text = texts[rows].get_or_init(|| {
        let placeholder =
            |number: usize| if is_sqlite { "?".to_owned() } else { format!("${number}") };
        let row = |row: usize| {
            let first = row * COLUMNS + 1;
            let all: Vec<_> = (first..first + COLUMNS).map(placeholder).collect();
            format!("({})", all.join(", "))
        };
        let values: Vec<_> = (0..rows).map(row).collect();
        format!(
            "insert into fhir_index (resource, parameter, low, high) values {}",
            values.join(", ")
        )
        .into()
    });
    AssertSqlSafe(Arc::clone(text))
}

/// SQLite looks up each `$n` by its name in a list, so that the time to bind grows with the square of
/// their number; there they are written without a name.
pub(crate) fn is_sqlite(connection: &AnyConnection) -> bool {
    connection.backend_name() == "SQLite"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_go_into_few_statements_of_few_lengths() {
        let mut lengths = BTreeSet::new();
        for rows in 1..1_000 {
            let mut left = rows;
            while left > 0 {
                let length = group_len(left);
                assert!(length > 0 && length <= left.min(ROWS_PER_INSERT));
                lengths.insert(length);
                left -= length;
            }
        }
        assert!(lengths.into_iter().eq((1..=24).chain([32, 48, 64])));
    }
}
