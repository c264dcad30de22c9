//! Subscriptions and the numbers of their events, in the gateway's database.
//!
//! ```text
//! sealed   nonce [12] | AES-256-GCM of the terms as JSON, with
//!          "salus/subscription/v1" | id | version u64 as associated data
//! ```

use domain::Address;
use sqlx::{Row as _, any::AnyRow};
use vault::{Database, StoreError};

use super::Terms;
use crate::resources::Resources;

/// The name under which the tables are migrated.
pub(crate) const COMPONENT: &str = "fhir-subscriptions";

/// One statement per step; a released step never changes.
pub(crate) const MIGRATIONS: &[&str] = &[
    // Times are in seconds since 1970, `updated` in milliseconds.
    "create table fhir_subscriptions (
        id text not null primary key,
        owner bytea not null,
        version bigint not null,
        updated bigint not null,
        status text not null,
        error text not null,
        heartbeat_s bigint not null,
        heartbeat_at bigint not null,
        ends_at bigint not null,
        sealed bytea not null
    )",
    "create index fhir_subscriptions_by_owner on fhir_subscriptions (owner, id)",
    "create index fhir_subscriptions_by_status on fhir_subscriptions (status)",
    // The number that an event got for a subscription, and the notification that it is.
    "create table fhir_subscription_events (
        subscription text not null,
        number bigint not null,
        sequence bigint not null,
        primary key (subscription, number)
    )",
    "create unique index fhir_subscription_events_by_sequence
        on fhir_subscription_events (subscription, sequence)",
    // Up to which record of this steward's batches it was told, and when to try again; below 0 before
    // that is known. The event of such a record has its place, below 0, as sequence.
    "alter table fhir_subscriptions add column leaves_told bigint not null default -1",
    "alter table fhir_subscriptions add column leaves_due bigint not null default 0",
    // Those that were made before every subscription had an end get one: a week, in seconds, after they
    // were last put.
    "update fhir_subscriptions set ends_at = updated / 1000 + 604800
        where ends_at = 0 or ends_at > updated / 1000 + 604800",
];

const CORRUPT: StoreError = StoreError::Corrupt { what: "subscription" };

/// Where a subscription stands.
///
/// # Source
///
/// FHIR R4, value set `subscription-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its receiver was not tried yet.
    Requested,
    /// It is delivered.
    Active,
    /// Its receiver does not answer; [`Held::error`] says why.
    Error,
    /// Its owner wants nothing, or may not be told any more, or its time is over.
    Off,
}

impl Status {
    const ALL: [Self; 4] = [Self::Requested, Self::Active, Self::Error, Self::Off];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Active => "active",
            Self::Error => "error",
            Self::Off => "off",
        }
    }
}

/// A subscription.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) owner: Address,
    pub(crate) version: u32,
    pub(crate) updated: i64,
    pub(crate) status: Status,
    pub(crate) error: String,
    pub(crate) heartbeat_s: u64,
    pub(crate) heartbeat_at: u64,
    pub(crate) ends_at: u64,
    pub(crate) terms: Terms,
}

macro_rules! columns {
    () => {
        "id, owner, version, updated, status, error, heartbeat_s, heartbeat_at, ends_at, sealed"
    };
}

impl Held {
    fn of(resources: &Resources, row: &AnyRow) -> Result<Self, StoreError> {
        let unsigned = |column: usize| -> Result<u64, StoreError> {
            u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| CORRUPT)
        };
        let (owner, sealed): (Vec<u8>, Vec<u8>) = (row.try_get(1)?, row.try_get(9)?);
        let id: String = row.try_get(0)?;
        let version = u32::try_from(unsigned(2)?).map_err(|_| CORRUPT)?;
        let name: String = row.try_get(4)?;
        let text = resources.inner.directory.open(&place(&id, version), &sealed)?;
        Ok(Self {
            owner: owner.as_slice().try_into().map_err(|_| CORRUPT)?,
            version,
            updated: row.try_get(3)?,
            status: Status::ALL.into_iter().find(|status| status.name() == name).ok_or(CORRUPT)?,
            error: row.try_get(5)?,
            heartbeat_s: unsigned(6)?,
            heartbeat_at: unsigned(7)?,
            ends_at: unsigned(8)?,
            terms: serde_json::from_slice(&text).map_err(|_| CORRUPT)?,
            id,
        })
    }

    pub(crate) async fn find(resources: &Resources, id: &str) -> Result<Option<Self>, StoreError> {
        let row =
            sqlx::query(concat!("select ", columns!(), " from fhir_subscriptions where id = $1"))
                .bind(id.to_owned())
                .fetch_optional(resources.database().readers())
                .await?;
        row.as_ref().map(|row| Self::of(resources, row)).transpose()
    }

    /// Those that somebody made. There are few: [`notify`] bounds them.
    pub(crate) async fn of_owner(
        resources: &Resources,
        owner: Address,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(concat!(
            "select ",
            columns!(),
            " from fhir_subscriptions where owner = $1 order by id"
        ))
        .bind(owner.to_vec())
        .fetch_all(resources.database().readers())
        .await?;
        rows.iter().map(|row| Self::of(resources, row)).collect()
    }

    /// Those with which something is to be done: whose receivers were not tried yet, that are due for a
    /// heartbeat, and whose time is over.
    pub(crate) async fn to_tend(resources: &Resources, now: u64) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(concat!(
            "select ",
            columns!(),
            " from fhir_subscriptions where status = 'requested' or status = 'active'
            and (heartbeat_s > 0 and heartbeat_at <= $1 or ends_at <= $1)
            order by id"
        ))
        .bind(bound(now))
        .fetch_all(resources.database().readers())
        .await?;
        rows.iter().map(|row| Self::of(resources, row)).collect()
    }

    /// Those that may have to be told of records in batches, up to the last one.
    pub(crate) async fn behind(
        resources: &Resources,
        last_leaf: i64,
        now: u64,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(concat!(
            "select ",
            columns!(),
            " from fhir_subscriptions where status = 'active' and leaves_told < $1
            and leaves_due <= $2 order by id"
        ))
        .bind(last_leaf)
        .bind(bound(now))
        .fetch_all(resources.database().readers())
        .await?;
        rows.iter().map(|row| Self::of(resources, row)).collect()
    }

    /// Stores it in place of the version before.
    pub(crate) async fn store(&self, resources: &Resources) -> Result<(), StoreError> {
        let text = serde_json::to_vec(&self.terms).expect("terms have a JSON form");
        let mut rng = resources.gatekeeper().entropy().fork();
        let sealed =
            resources.inner.directory.seal(&place(&self.id, self.version), &text, &mut rng);
        let mut transaction = resources.database().begin().await?;
        sqlx::query(
            "insert into fhir_subscriptions (id, owner, version, updated, status, error,
                heartbeat_s, heartbeat_at, ends_at, sealed)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
            on conflict (id) do update set version = excluded.version, updated = excluded.updated,
                status = excluded.status, error = excluded.error,
                heartbeat_s = excluded.heartbeat_s, heartbeat_at = excluded.heartbeat_at,
                ends_at = excluded.ends_at, sealed = excluded.sealed",
        )
        .bind(self.id.clone())
        .bind(self.owner.to_vec())
        .bind(i64::from(self.version))
        .bind(self.updated)
        .bind(self.status.name().to_owned())
        .bind(self.error.clone())
        .bind(bound(self.heartbeat_s))
        .bind(bound(self.heartbeat_at))
        .bind(bound(self.ends_at))
        .bind(sealed)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// Notes where this version stands, unless there is a newer one; returns whether there was none.
    pub(crate) async fn stand(
        &self,
        database: &Database,
        status: Status,
        error: &str,
        heartbeat_at: u64,
    ) -> Result<bool, StoreError> {
        let mut transaction = database.begin().await?;
        let done = sqlx::query(
            "update fhir_subscriptions set status = $3, error = $4, heartbeat_at = $5
            where id = $1 and version = $2",
        )
        .bind(self.id.clone())
        .bind(i64::from(self.version))
        .bind(status.name().to_owned())
        .bind(error.to_owned())
        .bind(bound(heartbeat_at))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
    }
}

pub(crate) async fn remove(database: &Database, id: &str) -> Result<(), StoreError> {
    let mut transaction = database.begin().await?;
    for statement in [
        "delete from fhir_subscription_events where subscription = $1",
        "delete from fhir_subscriptions where id = $1",
    ] {
        sqlx::query(statement).bind(id.to_owned()).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Up to which record of batches a subscription was told; below 0 when that is not known yet.
pub(crate) async fn leaves_told(database: &Database, id: &str) -> Result<i64, StoreError> {
    let row = sqlx::query("select leaves_told from fhir_subscriptions where id = $1")
        .bind(id.to_owned())
        .fetch_optional(database.readers())
        .await?;
    row.map_or(Ok(-1), |row| Ok(row.try_get(0)?))
}

/// Notes up to which record of batches a subscription was told, and when to go on.
pub(crate) async fn tell_leaves(
    database: &Database,
    id: &str,
    told: i64,
    due: u64,
) -> Result<(), StoreError> {
    let mut transaction = database.begin().await?;
    sqlx::query(
        "update fhir_subscriptions set leaves_told = $2, leaves_due = $3
        where id = $1 and leaves_told <= $2",
    )
    .bind(id.to_owned())
    .bind(told)
    .bind(bound(due))
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await
}

/// The number of an event for a subscription: the one that it has, or the next. The sequence is that of
/// its notification, or below 0 the place of a record in this steward's batches.
pub(crate) async fn number(
    database: &Database,
    id: &str,
    sequence: i64,
) -> Result<u64, StoreError> {
    let mut transaction = database.begin().await?;
    sqlx::query(
        "insert into fhir_subscription_events (subscription, number, sequence)
        values ($1, (select coalesce(max(number), 0) + 1 from fhir_subscription_events
            where subscription = $1), $2)
        on conflict (subscription, sequence) do nothing",
    )
    .bind(id.to_owned())
    .bind(sequence)
    .execute(&mut *transaction)
    .await?;
    let row = sqlx::query(
        "select number from fhir_subscription_events where subscription = $1 and sequence = $2",
    )
    .bind(id.to_owned())
    .bind(sequence)
    .fetch_one(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
}

/// The number of the last event of a subscription, 0 when there was none.
pub(crate) async fn last_number(database: &Database, id: &str) -> Result<u64, StoreError> {
    let row = sqlx::query(
        "select coalesce(max(number), 0) from fhir_subscription_events where subscription = $1",
    )
    .bind(id.to_owned())
    .fetch_one(database.readers())
    .await?;
    Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
}

/// The events of a subscription with these numbers, each with its sequence, see [`number`].
pub(crate) async fn events(
    database: &Database,
    id: &str,
    (first, last): (u64, u64),
    limit: u32,
) -> Result<Vec<(u64, i64)>, StoreError> {
    let rows = sqlx::query(
        "select number, sequence from fhir_subscription_events
        where subscription = $1 and number >= $2 and number <= $3 order by number limit $4",
    )
    .bind(id.to_owned())
    .bind(bound(first))
    .bind(bound(last))
    .bind(i64::from(limit))
    .fetch_all(database.readers())
    .await?;
    let pair = |row: &AnyRow| {
        let (number, sequence): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok((number.unsigned_abs(), sequence))
    };
    rows.iter().map(pair).collect()
}

fn place(id: &str, version: u32) -> Vec<u8> {
    let version = u64::from(version).to_be_bytes();
    [b"salus/subscription/v1".as_slice(), id.as_bytes(), &version].concat()
}

fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
