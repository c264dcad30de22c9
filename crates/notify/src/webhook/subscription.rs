//! Subscriptions: who wants to be told where, and how far they were.

use std::{fmt, str::FromStr};

use alloy_primitives::Address;
use domain::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use vault::{Database, StoreError};

use super::NewSubscription;
use crate::{
    Topic,
    columns::{address, bound, named, number},
};

/// A webhook that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Subscription {
    /// Its random name.
    pub id: String,
    /// Whose notifications are sent.
    pub recipient: Address,
    /// Where to.
    pub url: String,
    /// About what; about everything when there is none.
    pub topics: Vec<Topic>,
    /// In which form; empty for this crate's own.
    pub form: String,
    /// Whether the form chooses from everybody's notifications instead of the recipient's own.
    #[serde(skip)]
    pub everybodys: bool,
    /// Whether anything is sent.
    pub state: SubscriptionState,
    /// Everything up to this sequence number was delivered or was of other topics.
    pub cursor: u64,
    /// How often the next one failed in a row.
    pub failures: u64,
    /// When it is tried next.
    pub due: Timestamp,
    /// Why it failed last; empty when it did not.
    pub failure: String,
    /// When it was made.
    pub created: Timestamp,
    /// The highest sequence number that was ever sent, whether it arrived or not.
    #[serde(skip)]
    pub(crate) tried: u64,
    /// How often the next one was sent.
    #[serde(skip)]
    pub(crate) attempts: u64,
    /// Counts what people change, so that a delivery under way does not undo it.
    #[serde(skip)]
    revision: u64,
}

/// Whether anything is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SubscriptionState {
    /// It is.
    Active,
    /// Not until it is resumed.
    Paused,
    /// Given up after too many failures, until it is resumed. [`Subscription::failure`] says why.
    Error,
    /// The recipient may not be told any more.
    Ended,
}

impl SubscriptionState {
    const ALL: [Self; 4] = [Self::Active, Self::Paused, Self::Error, Self::Ended];

    /// The name that people read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Error => "error",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for SubscriptionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name is no state's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no state of a subscription has this name")]
pub struct UnknownState;

impl FromStr for SubscriptionState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or(UnknownState)
    }
}

impl Subscription {
    pub(crate) fn new(id: String, new: NewSubscription, cursor: u64, created: Timestamp) -> Self {
        let NewSubscription { recipient, url, topics, form, everybodys, paused, .. } = new;
        Self {
            id,
            recipient,
            url,
            topics,
            form,
            everybodys,
            state: if paused { SubscriptionState::Paused } else { SubscriptionState::Active },
            cursor,
            failures: 0,
            due: Timestamp(0),
            failure: String::new(),
            created,
            tried: 0,
            attempts: 0,
            revision: 0,
        }
    }

    pub(crate) fn wants(&self, topic: Topic) -> bool {
        self.topics.is_empty() || self.topics.contains(&topic)
    }

    /// Notes that a notification is about to be sent; returns the how-manieth time it is, at least.
    /// Whatever was sent before and is sent again, for whichever reason, has a number above 1.
    pub(crate) fn begin(&mut self, sequence: u64) -> u64 {
        self.attempts = if sequence > self.tried { 1 } else { self.attempts.max(1) + 1 };
        self.tried = self.tried.max(sequence);
        self.attempts
    }

    /// Goes on behind a notification, which arrived or was of another topic.
    pub(crate) fn pass(&mut self, sequence: u64) {
        self.cursor = sequence;
        (self.attempts, self.failures) = (0, 0);
        self.failure.clear();
    }

    /// Sends again from behind a sequence number, beginning at once.
    pub(crate) fn go_to(&mut self, cursor: u64) {
        if cursor != self.cursor {
            (self.cursor, self.attempts) = (cursor, 0);
        }
        self.resume();
    }

    /// Sends again, beginning at once.
    pub(crate) fn resume(&mut self) {
        self.state = SubscriptionState::Active;
        (self.failures, self.due) = (0, Timestamp(0));
        self.failure.clear();
    }

    fn topic_names(&self) -> String {
        let names: Vec<_> = self.topics.iter().map(|topic| topic.name()).collect();
        names.join(" ")
    }

    /// How many a recipient has.
    pub(crate) async fn count(
        connection: &mut AnyConnection,
        recipient: Address,
    ) -> Result<usize, StoreError> {
        let row = sqlx::query("select count(*) from notify_subscriptions where recipient = $1")
            .bind(recipient.to_vec())
            .fetch_one(connection)
            .await?;
        Ok(usize::try_from(row.try_get::<i64, _>(0)?).unwrap_or_default())
    }

    pub(crate) async fn insert(&self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        sqlx::query(
            "insert into notify_subscriptions (id, recipient, url, topics, form, state, cursor,
            tried, attempts, failures, due, failure, created, revision, everybodys)
            values ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0, 0, '', $8, 0, $9)",
        )
        .bind(self.id.clone())
        .bind(self.recipient.to_vec())
        .bind(self.url.clone())
        .bind(self.topic_names())
        .bind(self.form.clone())
        .bind(self.state.name().to_owned())
        .bind(bound(self.cursor))
        .bind(bound(self.created.0))
        .bind(i64::from(self.everybodys))
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Writes how far it is; returns whether it did: not when somebody changed or removed the
    /// subscription since it was read.
    pub(crate) async fn write(&self, connection: &mut AnyConnection) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "update notify_subscriptions set state = $3, cursor = $4, tried = $5, attempts = $6,
            failures = $7, due = $8, failure = $9 where id = $1 and revision = $2",
        )
        .bind(self.id.clone())
        .bind(bound(self.revision))
        .bind(self.state.name().to_owned())
        .bind(bound(self.cursor))
        .bind(bound(self.tried))
        .bind(bound(self.attempts))
        .bind(bound(self.failures))
        .bind(bound(self.due.0))
        .bind(self.failure.clone())
        .execute(connection)
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Changes a subscription as a person wants it; `None` when there is none.
    pub(crate) async fn change(
        database: &Database,
        id: &str,
        change: impl FnOnce(&mut Self),
    ) -> Result<Option<Self>, StoreError> {
        let mut transaction = database.begin().await?;
        let Some(mut held) = Self::read(&mut transaction, id).await? else { return Ok(None) };
        change(&mut held);
        held.write(&mut transaction).await?;
        sqlx::query(
            "update notify_subscriptions set url = $2, topics = $3, revision = revision + 1
            where id = $1",
        )
        .bind(id.to_owned())
        .bind(held.url.clone())
        .bind(held.topic_names())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        held.revision += 1;
        Ok(Some(held))
    }

    pub(crate) async fn read(
        connection: &mut AnyConnection,
        id: &str,
    ) -> Result<Option<Self>, StoreError> {
        let row = sqlx::query(
            "select id, recipient, url, topics, form, state, cursor, failures, due, failure,
            created, tried, attempts, revision, everybodys from notify_subscriptions where id = $1",
        )
        .bind(id.to_owned())
        .fetch_optional(connection)
        .await?;
        row.as_ref().map(Self::of_row).transpose()
    }

    /// A recipient's subscriptions, or everybody's, the oldest first.
    pub(crate) async fn list(
        database: &Database,
        recipient: Option<Address>,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(
            "select id, recipient, url, topics, form, state, cursor, failures, due, failure,
            created, tried, attempts, revision, everybodys from notify_subscriptions
            where recipient = $1 or $2 = 1 order by created, id",
        )
        .bind(recipient.unwrap_or_default().to_vec())
        .bind(i64::from(recipient.is_none()))
        .fetch_all(database.readers())
        .await?;
        rows.iter().map(Self::of_row).collect()
    }

    /// The ids of those that may have something to send: active, due, and behind the outbox.
    pub(crate) async fn due(
        database: &Database,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "select id from notify_subscriptions where state = 'active' and due <= $1
            and exists (select 1 from notify_outbox
                where (notify_outbox.recipient = notify_subscriptions.recipient
                    or notify_subscriptions.everybodys = 1)
                and notify_outbox.sequence > notify_subscriptions.cursor)
            order by due, id",
        )
        .bind(bound(now.0))
        .fetch_all(database.readers())
        .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    fn of_row(row: &AnyRow) -> Result<Self, StoreError> {
        let topics: String = row.try_get(3)?;
        let topic = |name: &str| name.parse().map_err(|_| StoreError::Corrupt { what: "topic" });
        Ok(Self {
            id: row.try_get(0)?,
            recipient: address(row, 1)?,
            url: row.try_get(2)?,
            topics: topics.split_whitespace().map(topic).collect::<Result<_, _>>()?,
            form: row.try_get(4)?,
            state: named(row, 5)?,
            cursor: number(row, 6)?,
            failures: number(row, 7)?,
            due: Timestamp(number(row, 8)?),
            failure: row.try_get(9)?,
            created: Timestamp(number(row, 10)?),
            tried: number(row, 11)?,
            attempts: number(row, 12)?,
            revision: number(row, 13)?,
            everybodys: number(row, 14)? != 0,
        })
    }
}
