//! The outbox: what the chain says, as notifications in the gateway's own database.
//!
//! The notifications of a range of blocks and the note that it was taken in are one transaction, so
//! that `kill -9` at any instant neither loses nor doubles one. Sequence numbers are given out in the
//! same transaction, and transactions that write follow one another: whoever has read up to a number
//! has missed none below it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::{Filter, Log};
use bindings::Deployment;
use domain::Timestamp;
use futures_util::future::BoxFuture;
use ledger::{Cursor, EndpointError, Follower, Ledger, Step};
use sqlx::{AnyConnection, Row as _};
use tokio::sync::Mutex;
use vault::{Database, MigrateError, StoreError, WriteTransaction};

use crate::{
    Notification, Topic,
    bell::Bell,
    columns::{address, bound, number, word},
    contacts::contacts_of,
    meaning::{Event, Meaning, Recovery, Review, devices},
    notification::Place,
    parties::Parties,
    silence,
    tables::{COMPONENT, MIGRATIONS},
};

/// How long [`Outbox::run`] waits at most before it looks again, whether or not the chain says something.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many reminders are taken up in one transaction.
const REMINDERS_MAX: i64 = 500;

/// The notifications of one gateway. Clones share it.
#[derive(Clone)]
pub struct Outbox(Arc<Inner>);

struct Inner {
    database: Database,
    /// The turn to follow the chain.
    following: Mutex<()>,
    bell: Bell,
    /// Whether the last attempt of [`Outbox::run`] to follow the chain failed.
    fails: AtomicBool,
}

/// Why the chain was not followed further. What was taken in before stays; try again.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The chain could not be asked.
    #[error("the chain could not be asked")]
    Ledger(#[from] EndpointError),
    /// The database failed.
    #[error("the outbox could not be written")]
    Store(#[from] StoreError),
    /// Who is served is not known for a range of blocks yet.
    #[error("who is served at this gateway is not known yet")]
    Audience,
}

/// Whose notifications a gateway keeps. A function of the address is one that never has to learn.
pub trait Audience: Send + Sync {
    /// Learns who is served, by the chain up to this block at least; `false` when that cannot be told
    /// now. It is asked before the notifications of a range of blocks are kept: somebody whom the range
    /// itself introduces must be known then, for what is passed over here is never looked at again.
    fn learn(&self, block: u64) -> BoxFuture<'_, bool>;

    /// Whether somebody is served, by what was learned last.
    fn serves(&self, recipient: Address) -> bool;

    /// Who cares for a patient here, by member address: nobody, for who does not know.
    fn care_team(&self, _: Address) -> BoxFuture<'_, Result<Vec<Address>, StoreError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
}

impl<F: Fn(Address) -> bool + Send + Sync> Audience for F {
    fn learn(&self, _: u64) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(true))
    }

    fn serves(&self, recipient: Address) -> bool {
        self(recipient)
    }
}

impl From<sqlx::Error> for FollowError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("database", &self.0.database).finish_non_exhaustive()
    }
}

impl Outbox {
    /// The outbox in a database, made when there is none.
    ///
    /// # Errors
    ///
    /// See [`MigrateError`].
    pub async fn open(database: &Database) -> Result<Self, MigrateError> {
        database.migrate(COMPONENT, MIGRATIONS).await?;
        let inner = Inner {
            database: database.clone(),
            following: Mutex::default(),
            bell: Bell::new(),
            fails: AtomicBool::new(false),
        };
        Ok(Self(Arc::new(inner)))
    }

    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.0.bell
    }

    /// Takes in everything final that is new on chain, and what became due by `now`; returns how many
    /// notifications that made.
    ///
    /// Only what is for recipients of whom `audience` says that they are this gateway's is kept. It is
    /// asked once, when the event is taken in: whoever becomes a recipient later finds nothing of
    /// before.
    ///
    /// Should an endpoint's finality turn out weaker than its policy says, the chain is followed anew
    /// from its beginning. What was stored stays, and what now stands in other blocks is told again.
    ///
    /// # Errors
    ///
    /// [`FollowError`]. Each range of blocks is taken in whole or not at all.
    pub async fn follow(
        &self,
        ledger: &Ledger,
        deployment: &Deployment,
        audience: &dyn Audience,
        now: Timestamp,
    ) -> Result<u64, FollowError> {
        let _turn = self.0.following.lock().await;
        let mut cursor = self.cursor().await?;
        let mut follower = Follower::new(ledger.clone(), deployment.addresses(), cursor);
        let mut stored = 0;
        while let Some(step) = follower.next().await? {
            match step {
                Step::Rewind => {
                    self.forget().await?;
                    cursor = None;
                }
                Step::Forward { mut logs, cursor: reached } => {
                    let from = cursor.map_or(0, |cursor| cursor.number + 1);
                    logs.extend(account_logs(ledger, from, reached.number).await?);
                    logs.sort_by_key(|log| (log.block_number, log.log_index));
                    let events = events_of(ledger, deployment, &logs, reached).await?;
                    if !events.is_empty() && !audience.learn(reached.number).await {
                        return Err(FollowError::Audience);
                    }
                    stored += self.take_in(&events, reached, audience).await?;
                    cursor = Some(reached);
                }
            }
        }
        let reached = cursor.map_or(0, |cursor| cursor.number);
        stored += self.remind(now, reached, audience).await?;
        stored += self.tell_of_silence(now, reached, audience).await?;
        Ok(stored)
    }

    /// Follows the chain until [`Outbox::stop`]; a failure is logged and tried again.
    pub async fn run(
        &self,
        ledger: &Ledger,
        deployment: &Deployment,
        audience: &dyn Audience,
        clock: &(dyn Fn() -> Timestamp + Send + Sync),
    ) {
        let mut news = ledger.news();
        let mut stopped = self.0.bell.listen_to_all();
        let has_stopped = async { while stopped.changed().await.is_ok() {} };
        let following = async {
            loop {
                let followed = self.follow(ledger, deployment, audience, clock()).await;
                self.0.fails.store(followed.is_err(), Ordering::Relaxed);
                if let Err(error) = followed {
                    tracing::warn!(%error, "could not follow the chain for notifications");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                news.wait(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = following => {}
            () = has_stopped => {}
        }
    }

    /// Ends [`Outbox::run`], streams of events and deliveries, for good: the program stops.
    pub fn stop(&self) {
        self.0.bell.stop();
    }

    /// Whether the last attempt of [`Outbox::run`] to follow the chain failed.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.0.fails.load(Ordering::Relaxed)
    }

    /// Whether [`Outbox::stop`] was called.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.bell.is_stopped()
    }

    /// Waits until [`Outbox::stop`] is called.
    pub async fn stopped(&self) {
        let mut news = self.0.bell.listen_to_all();
        while news.changed().await.is_ok() {}
    }

    /// The last block taken in.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn cursor(&self) -> Result<Option<Cursor>, StoreError> {
        let mut connection = self.0.database.readers().acquire().await?;
        Ok(State::read(&mut connection).await?.cursor)
    }

    /// The highest sequence number given out, 0 when there is none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn last_sequence(&self) -> Result<u64, StoreError> {
        let mut connection = self.0.database.readers().acquire().await?;
        Ok(State::read(&mut connection).await?.next_sequence - 1)
    }

    /// Takes in a range of blocks, whole or not at all.
    async fn take_in(
        &self,
        events: &[(Event, Place)],
        reached: Cursor,
        audience: &dyn Audience,
    ) -> Result<u64, StoreError> {
        let mut writing = Writing::begin(&self.0.database).await?;
        for (event, place) in events {
            let mut parties = match event.key() {
                Some(key) => Parties::load(&mut writing.transaction, key).await?,
                None => Parties::default(),
            };
            if let Some(key) = event.other_key() {
                parties.add(Parties::load(&mut writing.transaction, key).await?);
            }
            if let Some(patient) = event.whose_contacts() {
                parties.contacts = contacts_of(&mut writing.transaction, patient).await?;
            }
            if let Some(patient) = event.whose_care_team() {
                parties.care_team = audience.care_team(patient).await?;
            }
            let Some(meaning) = event.meaning(&parties) else { continue };
            writing.write(&meaning, place, audience).await?;
        }
        writing.state.cursor = Some(reached);
        self.finish(writing).await
    }

    /// Stores the reminders that became due, for recipients that are still served.
    async fn remind(
        &self,
        now: Timestamp,
        reached: u64,
        audience: &dyn Audience,
    ) -> Result<u64, FollowError> {
        let due = sqlx::query("select 1 from notify_reminders where due <= $1 limit 1")
            .bind(bound(now.0))
            .fetch_optional(self.0.database.readers())
            .await?;
        if due.is_none() {
            return Ok(0);
        }
        if !audience.learn(reached).await {
            return Err(FollowError::Audience);
        }
        let mut writing = Writing::begin(&self.0.database).await?;
        let rows = sqlx::query(
            "select opening, id, institution, patient, block, transaction_hash, log_index, due
            from notify_reminders where due <= $1 order by due, opening limit $2",
        )
        .bind(bound(now.0))
        .bind(REMINDERS_MAX)
        .fetch_all(&mut *writing.transaction)
        .await?;
        for row in &rows {
            let opening = word(row, 0)?;
            let reminder = Notification {
                sequence: writing.state.next_sequence,
                id: word(row, 1)?,
                topic: Topic::EmergencyReviewDue,
                recipient: address(row, 2)?,
                patient: address(row, 3)?,
                subject: opening.into(),
                block: number(row, 4)?,
                transaction: word(row, 5)?,
                log_index: number(row, 6)?,
                time: Timestamp(number(row, 7)?),
            };
            if audience.serves(reminder.recipient) {
                writing.insert(&reminder).await?;
            }
            forget_reminder(&mut writing.transaction, opening).await?;
        }
        Ok(self.finish(writing).await?)
    }

    /// Tells of devices that are silent by now whoever is told of alerts.
    async fn tell_of_silence(
        &self,
        now: Timestamp,
        reached: u64,
        audience: &dyn Audience,
    ) -> Result<u64, FollowError> {
        let mut connection = self.0.database.readers().acquire().await?;
        let is_any_due = silence::is_any_due(&mut connection, now).await?;
        drop(connection);
        if !is_any_due {
            return Ok(0);
        }
        if !audience.learn(reached).await {
            return Err(FollowError::Audience);
        }
        let mut writing = Writing::begin(&self.0.database).await?;
        for silent in silence::take_due(&mut writing.transaction, now).await? {
            let mut parties =
                Parties::load(&mut writing.transaction, devices::of_device(silent.device)).await?;
            parties.care_team = audience.care_team(silent.patient).await?;
            let meaning = devices::silent(&silent, &parties);
            writing.write(&meaning, &silent.since, audience).await?;
        }
        Ok(self.finish(writing).await?)
    }

    /// Makes what was written durable, and wakes those who wait for it.
    async fn finish(&self, mut writing: Writing) -> Result<u64, StoreError> {
        writing.state.write(&mut writing.transaction).await?;
        writing.transaction.commit().await?;
        if !writing.told.is_empty() {
            self.0.bell.ring(&writing.told);
        }
        Ok(writing.told.len() as u64)
    }

    /// Forgets how far the chain was followed and what followed from it, and keeps the notifications.
    async fn forget(&self) -> Result<(), StoreError> {
        let mut writing = Writing::begin(&self.0.database).await?;
        for statement in [
            "delete from notify_parties",
            "delete from notify_reminders",
            "delete from notify_silences",
        ] {
            sqlx::query(statement).execute(&mut *writing.transaction).await?;
        }
        writing.state.cursor = None;
        self.finish(writing).await.map(drop)
    }
}

/// How far the chain was followed, and the next sequence number.
#[derive(Clone, Copy, Debug)]
struct State {
    next_sequence: u64,
    cursor: Option<Cursor>,
}

impl State {
    async fn read(connection: &mut AnyConnection) -> Result<Self, StoreError> {
        let row = sqlx::query(
            "select next_sequence, block_number, block_hash, block_time from notify_state
            where id = 1",
        )
        .fetch_optional(connection)
        .await?;
        let Some(row) = row else { return Ok(Self { next_sequence: 1, cursor: None }) };
        let hash: Vec<u8> = row.try_get(2)?;
        let cursor = if hash.is_empty() {
            None
        } else {
            Some(Cursor { number: number(&row, 1)?, hash: word(&row, 2)?, time: number(&row, 3)? })
        };
        Ok(Self { next_sequence: number(&row, 0)?, cursor })
    }

    async fn write(&self, connection: &mut AnyConnection) -> Result<(), StoreError> {
        sqlx::query(
            "insert into notify_state (id, next_sequence, block_number, block_hash, block_time)
            values (1, $1, $2, $3, $4) on conflict (id) do update set
            next_sequence = excluded.next_sequence, block_number = excluded.block_number,
            block_hash = excluded.block_hash, block_time = excluded.block_time",
        )
        .bind(bound(self.next_sequence))
        .bind(bound(self.cursor.map_or(0, |cursor| cursor.number)))
        .bind(self.cursor.map_or(Vec::new(), |cursor| cursor.hash.to_vec()))
        .bind(bound(self.cursor.map_or(0, |cursor| cursor.time)))
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// A transaction that adds to the outbox.
struct Writing {
    transaction: WriteTransaction,
    state: State,
    /// The recipients of what was added.
    told: Vec<Address>,
}

impl Writing {
    async fn begin(database: &Database) -> Result<Self, StoreError> {
        let mut transaction = database.begin().await?;
        let state = State::read(&mut transaction).await?;
        Ok(Self { transaction, state, told: Vec::new() })
    }

    async fn write(
        &mut self,
        meaning: &Meaning,
        place: &Place,
        audience: &dyn Audience,
    ) -> Result<(), StoreError> {
        for change in &meaning.changes {
            change.write(&mut self.transaction).await?;
        }
        if let Some(silence) = meaning.silence {
            silence.write(&mut self.transaction, place).await?;
        }
        match meaning.review {
            Some(Review::Given { opening }) => {
                forget_reminder(&mut self.transaction, opening).await?;
            }
            Some(Review::Wanted { opening, institution, reminded_at }) => {
                let reminder = (opening, institution, reminded_at);
                self.note_reminder(meaning.patient, reminder, place).await?;
            }
            None => {}
        }
        for (topic, recipient) in meaning.notices.iter().copied() {
            if audience.serves(recipient) {
                let notification = Notification {
                    sequence: self.state.next_sequence,
                    id: place.notification_id(recipient, topic),
                    topic,
                    recipient,
                    patient: meaning.patient_for(recipient),
                    subject: meaning.subject,
                    block: place.block,
                    transaction: place.transaction,
                    log_index: place.log_index,
                    time: place.time,
                };
                self.insert(&notification).await?;
            }
        }
        Ok(())
    }

    /// Adds a notification, unless it is there: then the chain was followed anew.
    async fn insert(&mut self, notification: &Notification) -> Result<(), StoreError> {
        let done = sqlx::query(
            "insert into notify_outbox (sequence, id, topic, recipient, patient, subject, block,
            transaction_hash, log_index, time, read_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0) on conflict (id) do nothing",
        )
        .bind(bound(notification.sequence))
        .bind(notification.id.to_vec())
        .bind(notification.topic.name().to_owned())
        .bind(notification.recipient.to_vec())
        .bind(notification.patient.to_vec())
        .bind(notification.subject.to_bytes())
        .bind(bound(notification.block))
        .bind(notification.transaction.to_vec())
        .bind(bound(notification.log_index))
        .bind(bound(notification.time.0))
        .execute(&mut *self.transaction)
        .await?;
        if done.rows_affected() > 0 {
            self.state.next_sequence += 1;
            self.told.push(notification.recipient);
        }
        Ok(())
    }

    async fn note_reminder(
        &mut self,
        patient: Address,
        (opening, institution, reminded_at): (B256, Address, Timestamp),
        place: &Place,
    ) -> Result<(), StoreError> {
        let id = place.notification_id(institution, Topic::EmergencyReviewDue);
        sqlx::query(
            "insert into notify_reminders
            (opening, id, institution, patient, block, transaction_hash, log_index, due)
            values ($1, $2, $3, $4, $5, $6, $7, $8) on conflict do nothing",
        )
        .bind(opening.to_vec())
        .bind(id.to_vec())
        .bind(institution.to_vec())
        .bind(patient.to_vec())
        .bind(bound(place.block))
        .bind(place.transaction.to_vec())
        .bind(bound(place.log_index))
        .bind(bound(reminded_at.0))
        .execute(&mut *self.transaction)
        .await?;
        Ok(())
    }
}

async fn forget_reminder(connection: &mut AnyConnection, opening: B256) -> Result<(), StoreError> {
    sqlx::query("delete from notify_reminders where opening = $1")
        .bind(opening.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}

/// What patients' accounts say about their keys. There are too many accounts to name them all, and
/// whoever else says such a thing speaks for nobody who is served.
async fn account_logs(ledger: &Ledger, from: u64, to: u64) -> Result<Vec<Log>, EndpointError> {
    let filter =
        Filter::new().event_signature(Recovery::SIGNATURES.to_vec()).from_block(from).to_block(to);
    ledger.logs(&filter).await
}

/// The events in logs, each with its place.
async fn events_of(
    ledger: &Ledger,
    deployment: &Deployment,
    logs: &[Log],
    reached: Cursor,
) -> Result<Vec<(Event, Place)>, EndpointError> {
    const MALFORMED: EndpointError = EndpointError::Malformed { what: "an event" };
    let mut events = Vec::new();
    let mut last = (reached.number, Timestamp(reached.time));
    for log in logs {
        let Some(event) = Event::decode(deployment, log) else { continue };
        let block = log.block_number.ok_or(MALFORMED)?;
        if let Some(time) = log.block_timestamp {
            last = (block, Timestamp(time));
        } else if last.0 != block {
            let header = ledger.block(block.into()).await?.header;
            last = (block, Timestamp(header.timestamp));
        }
        let place = Place {
            block,
            block_hash: log.block_hash.ok_or(MALFORMED)?,
            transaction: log.transaction_hash.ok_or(MALFORMED)?,
            log_index: log.log_index.ok_or(MALFORMED)?,
            time: last.1,
        };
        events.push((event, place));
    }
    Ok(events)
}
