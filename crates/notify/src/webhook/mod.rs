//! Webhooks: notifications sent to where their recipient wants them.
//!
//! Each subscription gets its notifications in order and at least once: the next one goes out when the
//! one before was answered. What was sent before and may have arrived goes out with an attempt number
//! above 1, in the signed body and in `Webhook-Attempt`, under the same `Webhook-Id`. So that this holds
//! after `kill -9` too, each attempt is written down before it is made.
//!
//! ```text
//! POST https://receiver.example/hook
//! Webhook-Id: id of the notification, in hex
//! Webhook-Timestamp: seconds since 1970
//! Webhook-Signature: v1,base64(HMAC-SHA256(secret, "id.timestamp.body"))
//! Webhook-Attempt: 1
//! ```
//!
//! What fails is tried again after a time that doubles, and in the end given up: the subscription is in
//! state `error` then, says why, and waits for somebody to resume it. Nothing is skipped.
//!
//! # Source
//!
//! Standard Webhooks (standardwebhooks.com).

mod delivery;
mod signature;
mod subscription;
mod target;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    future::Future,
    sync::Arc,
    time::Duration,
};

use alloy_primitives::{Address, B256};
use domain::Timestamp;
use futures_util::{StreamExt as _, future::BoxFuture, stream};
use parking_lot::Mutex;
use rand_core::CryptoRng;
use tokio::{task::JoinSet, time::Instant};
use vault::{Keyring, KeyringError, StoreError};

use crate::{Clearance, Notification, Outbox, Topic};
use delivery::{Envelope, Failure, send};
use target::Targets;

pub use delivery::{Body, Message};
pub use signature::{BadSecret, WebhookSecret};
pub use subscription::{Subscription, SubscriptionState, UnknownState};
pub use target::{LocalTargets, TargetError, UnknownLocalTargets};

/// How many notifications are read at a time.
const PAGE: u32 = 64;

/// How many receivers one pass serves at a time.
const PARALLEL: usize = 8;

/// How many passes run at a time: as many times [`PARALLEL`] receivers may be slow before others wait.
const PASSES_MAX: usize = 8;

/// How long one pass stays with one receiver, before others have their turn.
const PASS_MAX: Duration = Duration::from_secs(30);

/// How often [`Webhooks::run`] looks for what is due again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How webhooks are sent.
#[derive(Clone, Copy, Debug)]
pub struct WebhookSettings {
    /// Whether receivers may be on this machine or in a private network, and be without TLS there.
    pub local: LocalTargets,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long a delivery may take in all.
    pub timeout: Duration,
    /// How long to wait after the first failure. Each further one doubles it.
    pub retry_first: Duration,
    /// The longest wait.
    pub retry_max: Duration,
    /// After how many failures in a row a subscription is given up.
    pub failures_max: u64,
    /// The most subscriptions of one recipient.
    pub subscriptions_max: usize,
}

impl Default for WebhookSettings {
    /// Gives up after a day and a half.
    fn default() -> Self {
        Self {
            local: LocalTargets::Refused,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            retry_first: Duration::from_secs(5),
            retry_max: Duration::from_secs(4 * 3_600),
            failures_max: 20,
            subscriptions_max: 16,
        }
    }
}

impl WebhookSettings {
    /// How long to wait after so many failures in a row; `None` when it is time to give up.
    #[must_use]
    pub fn wait_after(&self, failures: u64) -> Option<Duration> {
        if failures >= self.failures_max {
            return None;
        }
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        Some(self.retry_first.saturating_mul(factor).min(self.retry_max))
    }
}

/// A webhook that somebody asks for.
#[derive(Debug)]
pub struct NewSubscription {
    /// Whose notifications are sent.
    pub recipient: Address,
    /// Where to. It stands in tables and lists, so nothing secret belongs into it.
    pub url: String,
    /// What the signatures are made with.
    pub secret: WebhookSecret,
    /// About what; about everything when there is none.
    pub topics: Vec<Topic>,
    /// Beginning behind which sequence number; with what is new from now on when there is none.
    pub after: Option<u64>,
    /// In which form; empty for this crate's own, otherwise one that [`Webhooks::open`] was given.
    pub form: String,
    /// Whether the form chooses from everybody's notifications instead of the recipient's own. Then it
    /// alone decides what may be told.
    pub everybodys: bool,
    /// Whether nothing is sent before it is resumed.
    pub paused: bool,
}

/// Why nobody was subscribed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// Nothing is sent to this URL.
    #[error("this webhook is refused")]
    Target(#[from] TargetError),
    /// The recipient has as many as are allowed.
    #[error("there are {count} webhooks for this recipient already")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// No form has this name.
    #[error("messages are not sent in this form")]
    UnknownForm,
    /// The secret could not be kept.
    #[error("the secret could not be kept")]
    Keyring(#[from] KeyringError),
    /// The database failed.
    #[error("the subscription could not be stored")]
    Store(#[from] StoreError),
}

/// Something did not arrive; the text says why, without addresses or answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it did not arrive: {text}")]
pub struct KnockError {
    text: String,
    is_final: bool,
}

impl KnockError {
    fn of(failure: Failure) -> Self {
        Self { text: failure.to_string(), is_final: failure.is_final() }
    }

    /// Whether trying again is of no use.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        self.is_final
    }
}

/// The machine cannot send webhooks: it has no certificates to check receivers by, for example.
#[derive(Debug, thiserror::Error)]
#[error("no HTTP client can be made")]
pub struct OpenWebhooksError(#[source] reqwest::Error);

/// How long messages under way have to be answered when [`Webhooks::run`] is told to stop.
const FINISH_MAX: Duration = Duration::from_secs(3);

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// How many notifications arrived.
    pub arrived: u64,
    /// How many attempts failed.
    pub failed: u64,
    /// How many subscriptions were given up.
    pub given_up: u64,
}

/// What a form makes of a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// This is sent.
    Body(Body),
    /// Nothing is sent of it; the next one follows.
    Nothing,
    /// It cannot be told now. Nothing is lost.
    Later,
    /// Nothing is sent any more: whoever subscribed may not be told.
    Ended,
}

/// Makes the body of a message, right before it is sent.
pub type Form = Arc<dyn for<'a> Fn(Message<'a>) -> BoxFuture<'a, Written> + Send + Sync>;

/// A form.
pub fn form(
    write: impl for<'a> Fn(Message<'a>) -> BoxFuture<'a, Written> + Send + Sync + 'static,
) -> Form {
    Arc::new(write)
}

/// The webhooks of one gateway. Clones share them.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    outbox: Outbox,
    keyring: Arc<Keyring>,
    settings: WebhookSettings,
    targets: Targets,
    forms: HashMap<String, Form>,
    /// The subscriptions that somebody is at work on, so that each has one message under way at most.
    under_way: Mutex<HashSet<String>>,
    /// What was done since the start.
    totals: Mutex<Delivered>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl Webhooks {
    /// The webhooks beside an outbox, with their secrets in `keyring`. `forms` are further ways, by
    /// name, to write a message; this crate's own has the empty name.
    ///
    /// # Errors
    ///
    /// [`OpenWebhooksError`].
    pub fn open(
        outbox: Outbox,
        keyring: impl Into<Arc<Keyring>>,
        settings: WebhookSettings,
        mut forms: HashMap<String, Form>,
    ) -> Result<Self, OpenWebhooksError> {
        let plain = form(|message| {
            let body = Written::Body(message.to_plain());
            Box::pin(std::future::ready(body))
        });
        forms.insert(String::new(), plain);
        let WebhookSettings { local, connect_timeout, timeout, .. } = settings;
        let targets = Targets::new(local, connect_timeout, timeout).map_err(OpenWebhooksError)?;
        let (under_way, totals) = Default::default();
        let keyring = keyring.into();
        Ok(Self(Arc::new(Inner { outbox, keyring, settings, targets, forms, under_way, totals })))
    }

    /// The outbox that these webhooks are sent from.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.0.outbox
    }

    /// How they are sent.
    #[must_use]
    pub fn settings(&self) -> &WebhookSettings {
        &self.0.settings
    }

    /// What was done since the start.
    #[must_use]
    pub fn totals(&self) -> Delivered {
        *self.0.totals.lock()
    }

    /// Subscribes. The id and what else is random comes from `rng`.
    ///
    /// # Errors
    ///
    /// See [`SubscribeError`].
    pub async fn subscribe(
        &self,
        new: NewSubscription,
        now: Timestamp,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Subscription, SubscribeError> {
        let inner = &self.0;
        inner.targets.parse(&new.url)?;
        if !inner.forms.contains_key(&new.form) {
            return Err(SubscribeError::UnknownForm);
        }
        let (recipient, most) = (new.recipient, inner.settings.subscriptions_max);
        let count = self.subscriptions(Some(recipient)).await?.len();
        if count >= most {
            return Err(SubscribeError::TooMany { count });
        }
        let mut id = [0; 16];
        rng.fill_bytes(&mut id);
        let id = hex::encode(id);
        let after = match new.after {
            Some(after) => after,
            None => inner.outbox.last_sequence().await?,
        };
        // A secret without a subscription does no harm.
        inner.keyring.put(&secret_name(&id), new.secret.expose(), rng).await?;
        let subscription = Subscription::new(id, new, after, now);
        let mut transaction = inner.outbox.database().begin().await?;
        // Those that are made at the same time count as well.
        let count = Subscription::count(&mut transaction, recipient).await?;
        if count >= most {
            return Err(SubscribeError::TooMany { count });
        }
        subscription.insert(&mut transaction).await?;
        transaction.commit().await?;
        Ok(subscription)
    }

    /// Sends to another URL from now on, and about other topics; `None` when there is no such
    /// subscription.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Target`] and [`SubscribeError::Store`].
    pub async fn redirect(
        &self,
        id: &str,
        url: String,
        topics: Vec<Topic>,
    ) -> Result<Option<Subscription>, SubscribeError> {
        self.0.targets.parse(&url)?;
        let change = |held: &mut Subscription| (held.url, held.topics) = (url, topics);
        Ok(Subscription::change(self.0.outbox.database(), id, change).await?)
    }

    /// Refuses an address to which nothing may be sent.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`], as when it is subscribed.
    pub fn check_target(&self, url: &str) -> Result<(), SubscribeError> {
        self.0.targets.parse(url)?;
        Ok(())
    }

    /// Sends something beside the notifications, signed as they are and outside their order: to try
    /// whether the receiver answers, or to say that there is nothing new. It is sent once.
    ///
    /// # Errors
    ///
    /// [`KnockError`] when it did not arrive; its text is fit for whoever subscribed.
    pub async fn knock(
        &self,
        subscription: &Subscription,
        message: B256,
        body: Body,
        now: Timestamp,
    ) -> Result<(), KnockError> {
        let failed = |_| KnockError { text: "failed".into(), is_final: false };
        let secret = self.secret(&subscription.id).await.map_err(failed)?;
        let secret = secret.ok_or_else(|| KnockError::of(Failure::NoSecret))?;
        let envelope = Envelope { url: &subscription.url, id: message, attempt: 1 };
        let sent = send(&self.0.targets, &secret, envelope, body, now).await;
        sent.map_err(KnockError::of)
    }

    async fn secret(&self, id: &str) -> Result<Option<WebhookSecret>, StoreError> {
        match self.0.keyring.get(&secret_name(id)).await {
            Ok(secret) => Ok(secret.map(WebhookSecret::from_bytes)),
            Err(KeyringError::Store(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Ends a subscription and destroys its secret; returns whether there was one. What is under way
    /// may still arrive.
    ///
    /// # Errors
    ///
    /// [`KeyringError`] when the database failed.
    pub async fn unsubscribe(&self, id: &str) -> Result<bool, KeyringError> {
        let mut transaction = self.0.outbox.database().begin().await?;
        let done = sqlx::query("delete from notify_subscriptions where id = $1")
            .bind(id.to_owned())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.0.keyring.remove(&secret_name(id)).await?;
        Ok(done.rows_affected() > 0)
    }

    /// A subscription, when there is one.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn subscription(&self, id: &str) -> Result<Option<Subscription>, StoreError> {
        let mut connection = self.0.outbox.database().readers().acquire().await?;
        Subscription::read(&mut connection, id).await
    }

    /// A recipient's subscriptions, or everybody's, with their states: what operators look at.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn subscriptions(
        &self,
        recipient: Option<Address>,
    ) -> Result<Vec<Subscription>, StoreError> {
        Subscription::list(self.0.outbox.database(), recipient).await
    }

    /// Sends nothing more until it is resumed; `None` when there is no such subscription.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn pause(&self, id: &str) -> Result<Option<Subscription>, StoreError> {
        let pause = |held: &mut Subscription| held.state = SubscriptionState::Paused;
        Subscription::change(self.0.outbox.database(), id, pause).await
    }

    /// Sends again, from where it stood; `None` when there is no such subscription.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn resume(&self, id: &str) -> Result<Option<Subscription>, StoreError> {
        Subscription::change(self.0.outbox.database(), id, Subscription::resume).await
    }

    /// Sends again what came after a sequence number, marked as repeats; `None` when there is no such
    /// subscription.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn replay(&self, id: &str, after: u64) -> Result<Option<Subscription>, StoreError> {
        Subscription::change(self.0.outbox.database(), id, |held| held.go_to(after)).await
    }

    /// Sends what is due. `may` is asked before each message (S3).
    ///
    /// Returns once each receiver that has something to come was served or failed; those that another
    /// call is at work on are left to it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed. What was sent and not noted is sent again, marked.
    pub async fn deliver_due<M, F>(&self, now: Timestamp, may: M) -> Result<Delivered, StoreError>
    where
        M: Fn(Notification) -> F,
        F: Future<Output = Clearance>,
    {
        let due = Subscription::due(self.0.outbox.database(), now).await?;
        let started = Instant::now();
        let mut tallies = stream::iter(due)
            .map(|id| self.serve(id, now, started, &may))
            .buffer_unordered(PARALLEL);
        let mut all = Delivered::default();
        let mut failed = Ok(());
        while let Some(tally) = tallies.next().await {
            match tally {
                Ok(Delivered { arrived, failed, given_up }) => {
                    all.arrived += arrived;
                    all.failed += failed;
                    all.given_up += given_up;
                }
                // The others have their turn all the same.
                Err(error) => failed = Err(error),
            }
        }
        let mut totals = self.0.totals.lock();
        totals.arrived += all.arrived;
        totals.failed += all.failed;
        totals.given_up += all.given_up;
        failed.map(|()| all)
    }

    /// Sends what is due until [`Outbox::stop`]; a failure is logged and tried again. When told to stop,
    /// it waits a little for answers to the messages under way.
    pub async fn run<M, F>(&self, clock: &(dyn Fn() -> Timestamp + Send + Sync), may: M)
    where
        M: Fn(Notification) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Clearance> + Send + 'static,
    {
        let mut news = self.0.outbox.bell().listen_to_all();
        // A receiver that takes its time holds up its own pass, and later passes serve the others.
        let mut passes = JoinSet::new();
        loop {
            while passes.try_join_next().is_some() {}
            if passes.len() < PASSES_MAX {
                let (webhooks, now, may) = (self.clone(), clock(), may.clone());
                passes.spawn(async move {
                    if let Err(error) = webhooks.deliver_due(now, may).await {
                        tracing::warn!(%error, "could not deliver webhooks");
                    }
                });
            }
            let waited = tokio::time::timeout(LOOK_EVERY, news.changed()).await;
            if matches!(waited, Ok(Err(_))) {
                let finishing = async { while passes.join_next().await.is_some() {} };
                // What is cut off was written down before it was sent, and is sent again.
                drop(tokio::time::timeout(FINISH_MAX, finishing).await);
                return;
            }
        }
    }

    /// Serves one subscription, unless somebody is at it.
    async fn serve<M, F>(
        &self,
        id: String,
        now: Timestamp,
        started: Instant,
        may: &M,
    ) -> Result<Delivered, StoreError>
    where
        M: Fn(Notification) -> F,
        F: Future<Output = Clearance>,
    {
        let Some(_claim) = Claim::take(&self.0.under_way, &id) else {
            return Ok(Delivered::default());
        };
        let Some(subscription) = self.subscription(&id).await? else {
            return Ok(Delivered::default());
        };
        // Whoever was at it before may have failed since it was listed.
        if subscription.state != SubscriptionState::Active || subscription.due > now {
            return Ok(Delivered::default());
        }
        let mut service = Service {
            webhooks: self,
            subscription,
            tally: Delivered::default(),
            clock: (now, started),
        };
        service.serve(may).await?;
        Ok(service.tally)
    }
}

/// A subscription while it is served.
struct Service<'a> {
    webhooks: &'a Webhooks,
    subscription: Subscription,
    tally: Delivered,
    /// The time at an instant, from which the time goes on by itself.
    clock: (Timestamp, Instant),
}

/// What comes after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Stop,
}

impl Service<'_> {
    fn now(&self) -> Timestamp {
        self.clock.0.after(self.clock.1.elapsed())
    }

    async fn serve<M, F>(&mut self, may: &M) -> Result<(), StoreError>
    where
        M: Fn(Notification) -> F,
        F: Future<Output = Clearance>,
    {
        let secret = self.webhooks.secret(&self.subscription.id).await?;
        let Some(secret) = secret else {
            self.fail(Failure::NoSecret);
            return self.write().await.map(drop);
        };
        let began = Instant::now();
        while began.elapsed() < PASS_MAX {
            let Subscription { recipient, cursor, everybodys, .. } = self.subscription;
            let outbox = &self.webhooks.0.outbox;
            let page = match everybodys {
                true => outbox.all(cursor, PAGE).await?,
                false => outbox.inbox(recipient, Some(cursor), PAGE).await?,
            };
            for entry in &page {
                if outbox.is_stopped() {
                    return self.write().await.map(drop);
                }
                if self.one(&entry.notification, &secret, may).await? == Next::Stop {
                    return self.write().await.map(drop);
                }
            }
            if page.is_empty() {
                break;
            }
            if !self.write().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends one notification, or passes over it when it is of another topic.
    async fn one<M, F>(
        &mut self,
        notification: &Notification,
        secret: &WebhookSecret,
        may: &M,
    ) -> Result<Next, StoreError>
    where
        M: Fn(Notification) -> F,
        F: Future<Output = Clearance>,
    {
        let sequence = notification.sequence;
        if !self.subscription.wants(notification.topic) {
            self.subscription.pass(sequence);
            return Ok(Next::GoOn);
        }
        let inner = &self.webhooks.0;
        let clearance = match self.subscription.everybodys {
            true => Clearance::Granted,
            false => may(*notification).await,
        };
        if clearance != Clearance::Granted {
            self.hold(clearance);
            return Ok(Next::Stop);
        }
        let Some(form) = inner.forms.get(&self.subscription.form) else {
            self.fail(Failure::NoForm);
            return Ok(Next::Stop);
        };
        let before = self.subscription.clone();
        let attempt = self.subscription.begin(sequence);
        let written =
            form(Message { subscription: &before, notification, attempt, now: self.now() }).await;
        let body = match written {
            Written::Body(body) => body,
            Written::Nothing => {
                self.subscription = before;
                self.subscription.pass(sequence);
                return Ok(Next::GoOn);
            }
            Written::Later | Written::Ended => {
                self.subscription = before;
                self.hold(match written {
                    Written::Later => Clearance::Unknown,
                    _ => Clearance::Refused,
                });
                return Ok(Next::Stop);
            }
        };
        // From here on the receiver may have it. What it confirmed before is written down with this.
        if !self.write().await? {
            return Ok(Next::Stop);
        }
        let envelope = Envelope { url: &self.subscription.url, id: notification.id, attempt };
        match send(&inner.targets, secret, envelope, body, self.now()).await {
            Ok(()) => {
                self.subscription.pass(sequence);
                self.tally.arrived += 1;
                Ok(Next::GoOn)
            }
            Err(failure) => {
                self.fail(failure);
                Ok(Next::Stop)
            }
        }
    }

    /// Sends nothing for now, or for good.
    fn hold(&mut self, clearance: Clearance) {
        if clearance == Clearance::Refused {
            self.subscription.state = SubscriptionState::Ended;
        } else {
            self.subscription.due = self.now().after(self.webhooks.0.settings.retry_first);
        }
    }

    /// Notes a failure, and that it is tried again later or given up.
    fn fail(&mut self, failure: Failure) {
        let now = self.now();
        let subscription = &mut self.subscription;
        subscription.failures += 1;
        subscription.failure = failure.to_string();
        self.tally.failed += 1;
        let wait = self.webhooks.0.settings.wait_after(subscription.failures);
        match wait.filter(|_| !failure.is_final()) {
            Some(wait) => subscription.due = now.after(wait),
            None => {
                subscription.state = SubscriptionState::Error;
                self.tally.given_up += 1;
                tracing::warn!(subscription = %subscription.id, %failure, "gave a webhook up");
            }
        }
    }

    /// Writes down how far the subscription is; `false` when it is somebody else's to say by now.
    async fn write(&self) -> Result<bool, StoreError> {
        let mut transaction = self.webhooks.0.outbox.database().begin().await?;
        let written = self.subscription.write(&mut transaction).await?;
        transaction.commit().await?;
        Ok(written)
    }
}

/// The right to be at work on a subscription, given back when dropped.
struct Claim<'a> {
    under_way: &'a Mutex<HashSet<String>>,
    id: &'a str,
}

impl<'a> Claim<'a> {
    fn take(under_way: &'a Mutex<HashSet<String>>, id: &'a str) -> Option<Self> {
        // Only who took the claim may make a value that gives it back.
        let is_free = under_way.lock().insert(id.to_owned());
        if is_free { Some(Self { under_way, id }) } else { None }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.under_way.lock().remove(self.id);
    }
}

/// Where a subscription's secret is in the keyring.
fn secret_name(id: &str) -> String {
    format!("webhook/{id}")
}
