//! The tables of this crate: which resources there are, and those that are nobody's record.
//!
//! `fhir_resources` is made by [`search`], because searches join it; here it is written. A resource that
//! is about a patient is a record in the vault, and its row only leads there. One that is about no
//! patient, such as an organisation, is kept in `fhir_directory`, sealed under the gateway's own key.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use domain::{Address, Kind, RecordId};
use sqlx::{
    AnyConnection, Arguments as _, AssertSqlSafe, Row as _,
    any::{AnyArguments, AnyRow},
};
use vault::{Content, Entry, StoreError, group_len, places_of};

use crate::statuses::Status;

/// The name under which the tables are migrated.
pub(crate) const COMPONENT: &str = "fhir";

/// One statement per step; a released step never changes.
pub(crate) const MIGRATIONS: &[&str] = &[
    // All versions of resources that are about no patient. `sealed` is empty in a version that says
    // that the resource was deleted.
    "create table fhir_directory (
        number bigint not null,
        version bigint not null,
        updated bigint not null,
        sealed bytea not null,
        primary key (number, version)
    )",
    // Where workflows stand, as far as their documents say otherwise: the statuses of each resource, from 1,
    // of which one is in force. `block` and `transaction_hash` are null of what time alone did. They are
    // public: the chain has them too.
    "create table fhir_statuses (
        resource bigint not null,
        place bigint not null,
        in_force bigint not null,
        status text not null,
        said_at bigint not null,
        block bigint,
        transaction_hash bytea,
        primary key (resource, place)
    )",
    // What becomes of documents when nothing else happens until then, in seconds since 1970.
    "create table fhir_statuses_due (
        type text not null,
        query text not null,
        due bigint not null,
        patient bytea,
        sources text not null,
        status text not null,
        primary key (type, query)
    )",
    // Workflows of which a document came after the chain was followed.
    "create table fhir_statuses_late (workflow bytea not null primary key)",
    // How far the chain was followed.
    "create table fhir_statuses_cursor (
        block bigint not null,
        hash bytea not null,
        time bigint not null
    )",
];

/// Where a resource is, and what is known of it without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) number: i64,
    pub(crate) resource_type: String,
    pub(crate) id: String,
    /// The record that it is, when it is about a patient.
    pub(crate) record: Option<Filed>,
    pub(crate) version: u32,
    /// Milliseconds since 1970.
    pub(crate) updated: i64,
    pub(crate) deletion: Deletion,
    /// Where its workflow stands, when that is otherwise than it says itself.
    pub(crate) status: Option<Status>,
}

/// Whether the newest version says that the resource was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// It does not.
    No,
    /// It does, and nothing else is left to be found.
    Done,
    /// It does, but for others than the steward a version before it is in force until the patient
    /// accepts.
    Proposed,
}

impl Deletion {
    const fn number(self) -> i64 {
        match self {
            Self::No => 0,
            Self::Done => 1,
            Self::Proposed => 2,
        }
    }

    fn of(number: i64) -> Result<Self, StoreError> {
        [Self::No, Self::Done, Self::Proposed]
            .into_iter()
            .find(|deletion| deletion.number() == number)
            .ok_or(CORRUPT)
    }
}

/// Which record, whose, and what about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Filed {
    pub(crate) record: RecordId,
    pub(crate) patient: Address,
    pub(crate) kind: Kind,
}

/// How many rows one statement looks up.
const NUMBERS_PER_LOOKUP: usize = 64;

/// The columns of a row.
const COLUMNS: usize = 9;

/// How many rows one statement inserts, at most.
const ROWS_PER_INSERT: usize = 16;

const CORRUPT: StoreError = StoreError::Corrupt { what: "resource" };

/// Selects the columns from which [`Row::of`] makes a row.
macro_rules! select_rows {
    () => {
        "select number, type, id, record, patient, kind, version, updated, deleted,
            place, status, said_at, block, transaction_hash
        from fhir_resources left join fhir_statuses on resource = number and in_force = 1"
    };
}

/// Selects the rows with so many numbers.
fn lookup_text() -> AssertSqlSafe<Arc<str>> {
    static TEXT: OnceLock<Arc<str>> = OnceLock::new();
    let text = TEXT.get_or_init(|| {
        let places: Vec<String> =
            (1..=NUMBERS_PER_LOOKUP).map(|place| format!("${place}")).collect();
        let (select, places) = (select_rows!(), places.join(", "));
        format!("{select} where number in ({places})").into()
    });
    AssertSqlSafe(Arc::clone(text))
}

/// The statement that inserts so many rows.
fn insert_text(rows: usize) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "insert into fhir_resources
            (number, type, id, record, patient, kind, version, updated, deleted)
        values {} on conflict (type, id) do nothing",
        places_of(rows, COLUMNS)
    ))
}

impl Row {
    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        let record: Option<Vec<u8>> = row.try_get(3)?;
        let patient: Option<Vec<u8>> = row.try_get(4)?;
        let kind: Option<i64> = row.try_get(5)?;
        let record = match (record, patient, kind) {
            (Some(record), Some(patient), Some(kind)) => Some(Filed {
                record: RecordId(record.as_slice().try_into().map_err(|_| CORRUPT)?),
                patient: patient.as_slice().try_into().map_err(|_| CORRUPT)?,
                kind: u8::try_from(kind)
                    .ok()
                    .and_then(|kind| Kind::try_from(kind).ok())
                    .ok_or(CORRUPT)?,
            }),
            _ => None,
        };
        Ok(Self {
            number: row.try_get(0)?,
            resource_type: row.try_get(1)?,
            id: row.try_get(2)?,
            record,
            version: u32::try_from(row.try_get::<i64, _>(6)?).map_err(|_| CORRUPT)?,
            updated: row.try_get(7)?,
            deletion: Deletion::of(row.try_get(8)?)?,
            status: Status::of(row, 9)?,
        })
    }

    /// Whether the newest version says that it was deleted.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deletion != Deletion::No
    }

    /// The row of a resource.
    pub(crate) async fn find(
        connection: &mut AnyConnection,
        resource_type: &str,
        id: &str,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query(concat!(select_rows!(), " where type = $1 and id = $2"))
            .bind(resource_type.to_owned())
            .bind(id.to_owned())
            .fetch_optional(connection)
            .await?;
        row.as_ref().map(Self::of).transpose()
    }

    /// The row of a patient's record.
    pub(crate) async fn of_record(
        connection: &mut AnyConnection,
        patient: Address,
        record: RecordId,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query(concat!(select_rows!(), " where patient = $1 and record = $2"))
            .bind(patient.to_vec())
            .bind(record.0.to_vec())
            .fetch_optional(connection)
            .await?;
        row.as_ref().map(Self::of).transpose()
    }

    /// The rows with these numbers, in their order.
    pub(crate) async fn all_numbered(
        connection: &mut AnyConnection,
        numbers: &[i64],
    ) -> Result<Vec<Self>, StoreError> {
        let mut rows = HashMap::with_capacity(numbers.len());
        for chunk in numbers.chunks(NUMBERS_PER_LOOKUP) {
            // The text is always the same: what is left over asks for the number 0, which nobody has.
            let mut query = sqlx::query(lookup_text());
            for index in 0..NUMBERS_PER_LOOKUP {
                query = query.bind(chunk.get(index).copied().unwrap_or_default());
            }
            for row in query.fetch_all(&mut *connection).await? {
                let row = Self::of(&row)?;
                rows.insert(row.number, row);
            }
        }
        Ok(numbers.iter().filter_map(|number| rows.remove(number)).collect())
    }

    /// The rows of a patient's resources after a number, in the order of their numbers.
    pub(crate) async fn of_patient(
        connection: &mut AnyConnection,
        patient: Address,
        after: i64,
        limit: i64,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(concat!(
            select_rows!(),
            " where patient = $1 and number > $2 and deleted <> 1
            order by number limit $3"
        ))
        .bind(patient.to_vec())
        .bind(after)
        .bind(limit)
        .fetch_all(connection)
        .await?;
        rows.iter().map(Self::of).collect()
    }

    /// The `Patient` resources of one account.
    pub(crate) async fn patients_with(
        connection: &mut AnyConnection,
        account: Address,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(concat!(
            select_rows!(),
            " where patient = $1 and type = 'Patient' and deleted <> 1
            order by number limit 16"
        ))
        .bind(account.to_vec())
        .fetch_all(connection)
        .await?;
        rows.iter().map(Self::of).collect()
    }

    /// Puts a later version of a copy in the place of the one that is known by a number. Versions in
    /// between may never have come here.
    pub(crate) async fn bring_up(
        &self,
        connection: &mut AnyConnection,
        number: i64,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "update fhir_resources set kind = $2, version = $3, updated = $4, deleted = $5
            where number = $1 and version < $3",
        )
        .bind(number)
        .bind(self.record.as_ref().map(|filed| i64::from(filed.kind.number())))
        .bind(i64::from(self.version))
        .bind(self.updated)
        .bind(self.deletion.number())
        .execute(connection)
        .await?;
        Ok(())
    }

    /// The next resources of a type in the order in which they were last written, deleted ones too: those
    /// behind a time and a number, and written until another time.
    pub(crate) async fn of_type(
        connection: &mut AnyConnection,
        resource_type: &str,
        (updated, number): (i64, i64),
        until: i64,
        limit: i64,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(concat!(
            select_rows!(),
            " where type = $1 and (updated, number) > ($2, $3)
            and updated <= $4 order by updated, number limit $5"
        ))
        .bind(resource_type.to_owned())
        .bind(updated)
        .bind(number)
        .bind(until)
        .bind(limit)
        .fetch_all(connection)
        .await?;
        rows.iter().map(Self::of).collect()
    }

    /// The number that the next new resource gets.
    pub(crate) async fn next_number(connection: &mut AnyConnection) -> Result<i64, StoreError> {
        let next = sqlx::query("select coalesce(max(number), 0) + 1 from fhir_resources");
        Ok(next.fetch_one(connection).await?.try_get(0)?)
    }

    /// Stores a new resource under a number.
    pub(crate) async fn insert(
        &self,
        connection: &mut AnyConnection,
        number: i64,
    ) -> Result<(), StoreError> {
        Self::insert_all(connection, &[Self { number, ..self.clone() }]).await
    }

    /// Stores new resources under their numbers.
    ///
    /// # Errors
    ///
    /// [`StoreError::Overtaken`] when there is one of the same type and id by now.
    pub(crate) async fn insert_all(
        connection: &mut AnyConnection,
        mut rows: &[Self],
    ) -> Result<(), StoreError> {
        while !rows.is_empty() {
            let count = group_len(rows.len(), ROWS_PER_INSERT);
            let (group, rest) = rows.split_at(count);
            let mut arguments = AnyArguments::default();
            for row in group {
                row.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
            }
            let done = sqlx::query_with(insert_text(count), arguments);
            let done = done.execute(&mut *connection).await?;
            if done.rows_affected() != count as u64 {
                return Err(StoreError::Overtaken);
            }
            rows = rest;
        }
        Ok(())
    }

    fn bind(&self, arguments: &mut AnyArguments) -> Result<(), sqlx::error::BoxDynError> {
        let filed = self.record.as_ref();
        arguments.add(self.number)?;
        arguments.add(self.resource_type.clone())?;
        arguments.add(self.id.clone())?;
        arguments.add(filed.map(|filed| filed.record.0.to_vec()))?;
        arguments.add(filed.map(|filed| filed.patient.to_vec()))?;
        arguments.add(filed.map(|filed| i64::from(filed.kind.number())))?;
        arguments.add(i64::from(self.version))?;
        arguments.add(self.updated)?;
        arguments.add(self.deletion.number())
    }

    /// Sets a resource whose newest version was given up back to the one before, or takes it away when there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Overtaken`] when there is another version by now.
    pub(crate) async fn set_back(
        connection: &mut AnyConnection,
        number: i64,
        given_up: u32,
        before: Option<&Entry>,
    ) -> Result<(), StoreError> {
        let query = match before {
            None => sqlx::query("delete from fhir_resources where number = $1 and version = $2")
                .bind(number)
                .bind(i64::from(given_up)),
            Some(Entry { header, .. }) => {
                let created = i64::try_from(header.created.0).unwrap_or_default();
                let deletion = match header.content {
                    Content::Other => Deletion::Done,
                    Content::FhirJson => Deletion::No,
                };
                sqlx::query(
                    "update fhir_resources set version = $3, updated = $4, kind = $5, deleted = $6
                    where number = $1 and version = $2",
                )
                .bind(number)
                .bind(i64::from(given_up))
                .bind(i64::from(header.version.get()))
                .bind(created.saturating_mul(1_000))
                .bind(i64::from(header.kind.number()))
                .bind(deletion.number())
            }
        };
        let done = query.execute(connection).await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Overtaken) }
    }

    /// Stores it in place of the version before, which it must be the next of.
    ///
    /// # Errors
    ///
    /// [`StoreError::Overtaken`] when there is another version by now.
    pub(crate) async fn replace(&self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        let done = sqlx::query(
            "update fhir_resources set kind = $3, version = $4, updated = $5, deleted = $6
            where number = $1 and version = $2",
        )
        .bind(self.number)
        .bind(i64::from(self.version) - 1)
        .bind(self.record.as_ref().map(|filed| i64::from(filed.kind.number())))
        .bind(i64::from(self.version))
        .bind(self.updated)
        .bind(self.deletion.number())
        .execute(connection)
        .await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::Overtaken) }
    }
}
