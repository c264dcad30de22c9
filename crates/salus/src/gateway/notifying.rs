//! Notifications of one gateway: the outbox follows the chain, webhooks are delivered, both until the
//! gateway stops.
//!
//! Served are the institution, its professionals, and the patients who ever had a relationship with it;
//! everybody else is told by their own gateway.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use alloy_primitives::Address;
use fhir::{Resources, SUBSCRIPTION_FORM, reader_at};
use futures_util::future::BoxFuture;
use ledger::{Cursor, Projection};
use notify::{Audience, Clearance, Outbox, Webhooks, webhook::WebhookSettings};
use tokio::{sync::Mutex, task::JoinSet};
use vault::{Keyring, StoreError};
use workflows::Gateway;

use super::{opening::now, settings::ApiSettings};
use crate::Error;

/// How many streams of events one caller may have open.
const STREAMS_EACH: usize = 8;

/// How often statuses of documents and FHIR subscriptions are looked after.
const TENDED_EVERY: Duration = Duration::from_secs(1);

/// The notifications of one gateway.
pub(crate) struct Notifying {
    gateway: Gateway,
    webhooks: Webhooks,
    tasks: Mutex<JoinSet<()>>,
    /// How many streams of events each caller has open.
    streams: Arc<SyncMutex<HashMap<Address, usize>>>,
    streams_max: usize,
}

impl Notifying {
    /// Begins to follow the chain and to deliver.
    pub(crate) async fn start(
        gateway: &Gateway,
        keyring: Arc<Keyring>,
        settings: ApiSettings,
        resources: &Resources,
    ) -> Result<Self, Error> {
        let outbox = Outbox::open(gateway.gatekeeper.vault().database()).await?;
        let webhook_settings = WebhookSettings {
            local: settings.local_targets,
            retry_first: settings.webhook_retry,
            ..WebhookSettings::default()
        };
        let forms = HashMap::from([(SUBSCRIPTION_FORM.to_owned(), resources.subscription_form())]);
        let webhooks = Webhooks::open(outbox.clone(), keyring, webhook_settings, forms)?;
        resources.serve_subscriptions(webhooks.clone()).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(gateway.clone(), outbox));
        tasks.spawn(deliver(gateway.clone(), webhooks.clone()));
        tasks.spawn(tend(resources.clone(), webhooks.outbox().clone()));
        Ok(Self {
            gateway: gateway.clone(),
            webhooks,
            tasks: Mutex::new(tasks),
            streams: Arc::default(),
            streams_max: settings.streams,
        })
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        self.webhooks.outbox()
    }

    pub(crate) const fn webhooks(&self) -> &Webhooks {
        &self.webhooks
    }

    /// How many streams of events are open.
    pub(crate) fn streams(&self) -> usize {
        lock(&self.streams).values().sum()
    }

    /// A place for one more stream of events of a caller's, if there is one.
    pub(crate) fn stream(&self, caller: Address) -> Option<StreamPlace> {
        let mut streams = lock(&self.streams);
        let own = streams.get(&caller).copied().unwrap_or_default();
        if own >= STREAMS_EACH || streams.values().sum::<usize>() >= self.streams_max {
            return None;
        }
        streams.insert(caller, own + 1);
        drop(streams);
        Some(StreamPlace { streams: Arc::clone(&self.streams), caller })
    }

    /// Whether somebody may be told something now.
    pub(crate) async fn clearance(&self, recipient: Address) -> Clearance {
        clearance(&self.gateway, recipient).await
    }

    /// Ends streams, following and deliveries; what is under way is finished.
    pub(crate) fn end(&self) {
        self.outbox().stop();
    }

    /// Waits until everything ended, but not longer than this.
    pub(crate) async fn stopped(&self, patience: Duration) {
        let mut tasks = self.tasks.lock().await;
        let finishing = async { while tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, finishing).await.is_err() {
            tracing::warn!("deliveries were cut off; they are made again");
        }
    }
}

/// The place of a stream, free again when dropped.
pub(crate) struct StreamPlace {
    streams: Arc<SyncMutex<HashMap<Address, usize>>>,
    caller: Address,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut streams = lock(&self.streams);
        if let Some(own) = streams.get_mut(&self.caller) {
            *own -= 1;
            if *own == 0 {
                streams.remove(&self.caller);
            }
        }
    }
}

fn lock<T>(held: &SyncMutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(gateway: Gateway, outbox: Outbox) {
    let served = Served { gateway: gateway.clone(), known: RwLock::default() };
    let (ledger, deployment) = (gateway.gatekeeper.ledger(), gateway.gatekeeper.deployment());
    outbox.run(ledger, deployment, &served, &|| now(ledger)).await;
}

async fn deliver(gateway: Gateway, webhooks: Webhooks) {
    let asked = gateway.clone();
    let may = move |notification: notify::Notification| {
        let gateway = asked.clone();
        async move { clearance(&gateway, notification.recipient).await }
    };
    webhooks.run(&|| now(gateway.gatekeeper.ledger()), may).await;
}

/// Gives workflows' documents their statuses, tries receivers of new FHIR subscriptions and sends heartbeats,
/// until the gateway stops.
async fn tend(resources: Resources, outbox: Outbox) {
    let tending = async {
        loop {
            if let Err(error) = resources.keep_up().await {
                tracing::warn!(%error, "the statuses of documents are as they were");
            }
            if let Err(error) = resources.tend_subscriptions().await {
                tracing::warn!(%error, "subscriptions wait");
            }
            tokio::time::sleep(TENDED_EVERY).await;
        }
    };
    tokio::select! {
        () = tending => {}
        () = outbox.stopped() => {}
    }
}

/// Whether somebody may be told something now: they are of this gateway, and whatever they are is in
/// force (S3).
async fn clearance(gateway: &Gateway, recipient: Address) -> Clearance {
    let time = now(gateway.gatekeeper.ledger());
    if let Err(error) = gateway.gatekeeper.refresh(time).await {
        tracing::warn!(%error, "could not ask the chain");
        return Clearance::Unknown;
    }
    let projection = gateway.gatekeeper.projection().await;
    let member = gateway.member();
    let reader = reader_at(&projection, member, recipient, time);
    let is_own = reader
        .is_some_and(|reader| reader.institution().is_none_or(|institution| institution == member));
    if is_own { Clearance::Granted } else { Clearance::Refused }
}

/// Who is served, by what is known of the chain.
struct Served {
    gateway: Gateway,
    known: RwLock<(Option<Cursor>, HashSet<Address>)>,
}

impl Audience for Served {
    fn learn(&self, block: u64) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let gatekeeper = &self.gateway.gatekeeper;
            if let Err(error) = gatekeeper.refresh(now(gatekeeper.ledger())).await {
                tracing::warn!(%error, "could not ask the chain");
                return false;
            }
            let projection = gatekeeper.projection().await;
            let Some(cursor) = projection.cursor().filter(|cursor| cursor.number >= block) else {
                return false;
            };
            let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
            if known.0 != Some(cursor) {
                *known = (Some(cursor), served(&projection, self.gateway.member()));
            }
            true
        })
    }

    fn serves(&self, recipient: Address) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.1.contains(&recipient)
    }

    fn care_team(&self, patient: Address) -> BoxFuture<'_, Result<Vec<Address>, StoreError>> {
        Box::pin(async move {
            let team = self.gateway.gatekeeper.care_team(patient).await?;
            Ok(team.into_iter().map(|(member, _)| member).collect())
        })
    }
}

fn served(projection: &Projection, member: Address) -> HashSet<Address> {
    let relationships = projection.consents.relationships();
    let patients = relationships
        .filter(|((_, steward), _)| *steward == member)
        .map(|((patient, _), _)| *patient);
    let professionals = projection.registry.professionals();
    let own = professionals.filter(|(_, held)| held.institution == member).map(|(own, _)| *own);
    std::iter::once(member).chain(own).chain(patients).collect()
}
