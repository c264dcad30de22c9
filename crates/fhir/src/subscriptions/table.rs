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
    // Up to which record of this steward's batches it was tried to tell it, and how often in a row that
    // failed.
    "alter table fhir_subscriptions add column leaves_tried bigint not null default -1",
    "alter table fhir_subscriptions add column leaves_failures bigint not null default 0",
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

/// How far a subscription was told of what is in this steward's batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Up to which record; below 0 when that is not known yet.
    pub(crate) up_to: i64,
    /// Up to which one it was tried: who was to be told of it by then is.
    pub(crate) tried: i64,
    /// How often in a row it did not arrive.
    pub(crate) failures: u64,
}

impl Told {
    /// Everything up to here.
    pub(crate) const fn all(up_to: i64) -> Self {
        Self { up_to, tried: up_to, failures: 0 }
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
    ///
    /// # Errors
    ///
    /// [`StoreError::Overtaken`] when somebody else stored another version of it meanwhile.
    pub(crate) async fn store(&self, resources: &Resources) -> Result<(), StoreError> {
        let text = serde_json::to_vec(&self.terms).expect("terms have a JSON form");
        let mut rng = resources.gatekeeper().entropy().fork();
        let sealed =
            resources.inner.directory.seal(&place(&self.id, self.version), &text, &mut rng);
        let mut transaction = resources.database().begin().await?;
        // Whoever replaces a version replaces the one that they saw.
        let text = match self.version {
            1 => {
                "insert into fhir_subscriptions (id, owner, version, updated, status, error,
                    heartbeat_s, heartbeat_at, ends_at, sealed)
                values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
            }
            _ => {
                "update fhir_subscriptions set version = $3, updated = $4, status = $5, error = $6,
                    heartbeat_s = $7, heartbeat_at = $8, ends_at = $9, sealed = $10,
                    leaves_due = 0, leaves_failures = 0, leaves_tried = leaves_told
                where id = $1 and owner = $2 and version = $3 - 1"
            }
        };
        let done = sqlx::query(text)
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
        if done.rows_affected() == 0 {
            return Err(StoreError::Overtaken);
        }
        transaction.commit().await
    }

    /// How far this version was told of what is in batches; `None` when it is not the newest any more, or
    /// stands elsewhere by now.
    pub(crate) async fn told(&self, database: &Database) -> Result<Option<Told>, StoreError> {
        let row = sqlx::query(
            "select leaves_told, leaves_tried, leaves_failures from fhir_subscriptions
            where id = $1 and version = $2 and status = $3",
        )
        .bind(self.id.clone())
        .bind(i64::from(self.version))
        .bind(self.status.name().to_owned())
        .fetch_optional(database.readers())
        .await?;
        let told = |row: AnyRow| {
            let failures = row.try_get::<i64, _>(2)?.unsigned_abs();
            Ok(Told { up_to: row.try_get(0)?, tried: row.try_get(1)?, failures })
        };
        row.map(told).transpose()
    }

    /// Notes how far this version was told, and when to go on, unless there is a newer one; returns whether
    /// there was none.
    pub(crate) async fn tell(
        &self,
        database: &Database,
        told: Told,
        due: u64,
    ) -> Result<bool, StoreError> {
        let mut transaction = database.begin().await?;
        let done = sqlx::query(
            "update fhir_subscriptions set leaves_told = $3, leaves_tried = $4,
                leaves_failures = $5, leaves_due = $6
            where id = $1 and version = $2 and leaves_told <= $3",
        )
        .bind(self.id.clone())
        .bind(i64::from(self.version))
        .bind(told.up_to)
        .bind(told.tried)
        .bind(bound(told.failures))
        .bind(bound(due))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(done.rows_affected() > 0)
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

/// The number that an event has for a subscription, if it has one, see [`number`].
pub(crate) async fn number_of(
    database: &Database,
    id: &str,
    sequence: i64,
) -> Result<Option<u64>, StoreError> {
    let row = sqlx::query(
        "select number from fhir_subscription_events where subscription = $1 and sequence = $2",
    )
    .bind(id.to_owned())
    .bind(sequence)
    .fetch_optional(database.readers())
    .await?;
    row.map(|row| Ok(row.try_get::<i64, _>(0)?.unsigned_abs())).transpose()
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
