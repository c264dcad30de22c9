//! One institution's gatekeeper: what it knows, and how it keeps knowing it.

use std::{sync::Arc, time::Duration};

use alloy_primitives::Address;
use bindings::Deployment;
use domain::{Facts, QueryDomain, Reader, Request, Timestamp};
use ledger::{EndpointError, Ledger, Projection, Sender};
use parking_lot::Mutex;
use tokio::sync::RwLock;
use vault::{MigrateError, StoreError, Vault};

use crate::{
    Entropy,
    care::CareTeams,
    log::AccessLog,
    tables::{COMPONENT, MIGRATIONS},
};

/// How a gatekeeper works.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How old what is known of the chain may be before every read is refused (S3).
    pub staleness_max: Duration,
    /// How often the chain is asked at most. Zero asks before each read, so that a revocation binds
    /// the very next one.
    pub refresh_every: Duration,
    /// The most records in one answer.
    pub records_max: u32,
    /// How far ahead of now a query's deadline may be, so that nonces need not be kept for ever.
    pub deadline_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            staleness_max: Duration::from_secs(15),
            refresh_every: Duration::ZERO,
            records_max: 1_000,
            deadline_max: Duration::from_secs(15 * 60),
        }
    }
}

/// Why a gatekeeper does not work.
#[derive(Debug, thiserror::Error)]
pub enum GatekeeperError {
    /// The tables could not be prepared.
    #[error("the gatekeeper's tables could not be prepared")]
    Migrate(#[from] MigrateError),
    /// The database failed.
    #[error("the gatekeeper's database failed")]
    Store(#[from] StoreError),
    /// The chain could not be asked.
    #[error("the chain could not be asked")]
    Ledger(#[from] EndpointError),
    /// The institution's key could not sign a receipt.
    #[error("a receipt could not be signed")]
    Signer(#[source] alloy_signer::Error),
}

impl From<sqlx::Error> for GatekeeperError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// One institution's gatekeeper. Clones are the same one.
#[derive(Clone)]
pub struct Gatekeeper {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) vault: Vault,
    pub(crate) deployment: Deployment,
    pub(crate) sender: Sender,
    pub(crate) settings: Settings,
    pub(crate) entropy: Entropy,
    pub(crate) care: CareTeams,
    pub(crate) log: AccessLog,
    pub(crate) projection: RwLock<Projection>,
    /// When the chain last said that nothing is new.
    refreshed: Mutex<Option<Timestamp>>,
}

impl Gatekeeper {
    /// Opens the gatekeeper before `vault`, which sends and signs with `sender`.
    ///
    /// `projection` may be a saved one; it is brought up to date before the first read.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`].
    pub async fn open(
        vault: Vault,
        deployment: Deployment,
        sender: Sender,
        projection: Projection,
        settings: Settings,
        entropy: Entropy,
    ) -> Result<Self, GatekeeperError> {
        vault.database().migrate(COMPONENT, MIGRATIONS).await?;
        let care = CareTeams::open(vault.database().clone()).await?;
        let log = AccessLog::open(vault.database().clone()).await?;
        let inner = Inner {
            vault,
            deployment,
            sender,
            settings,
            entropy,
            care,
            log,
            projection: RwLock::new(projection),
            refreshed: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The institution, by member address.
    #[must_use]
    pub fn member(&self) -> Address {
        self.inner.vault.steward()
    }

    /// Where signed queries to it are valid.
    #[must_use]
    pub fn domain(&self) -> QueryDomain {
        self.inner.vault.network()
    }

    /// The vault behind it.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        &self.inner.vault
    }

    /// The institution's own key, which sends its transactions.
    #[must_use]
    pub fn sender(&self) -> &Sender {
        &self.inner.sender
    }

    /// The chain.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        self.inner.sender.ledger()
    }

    /// Where the contracts are.
    #[must_use]
    pub fn deployment(&self) -> &Deployment {
        &self.inner.deployment
    }

    /// The source of randomness.
    #[must_use]
    pub fn entropy(&self) -> &Entropy {
        &self.inner.entropy
    }

    /// What is known of the chain, to look something up.
    pub async fn projection(&self) -> tokio::sync::RwLockReadGuard<'_, Projection> {
        self.inner.projection.read().await
    }

    /// Brings what is known of the chain up to date, and acts on what is new: after a revocation,
    /// later records of these kinds are sealed under another key.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the chain cannot be asked. What was known before stays.
    pub async fn refresh(&self, now: Timestamp) -> Result<(), GatekeeperError> {
        let inner = &self.inner;
        if let Some(refreshed) = *inner.refreshed.lock()
            && !inner.settings.refresh_every.is_zero()
            && now.since(refreshed) < inner.settings.refresh_every
        {
            return Ok(());
        }
        if !self.is_behind().await {
            *inner.refreshed.lock() = Some(now);
            return Ok(());
        }
        self.catch_up().await?;
        *inner.refreshed.lock() = Some(now);
        Ok(())
    }

    /// Takes in what is new on chain, and acts on it.
    pub(crate) async fn catch_up(&self) -> Result<(), GatekeeperError> {
        let inner = &self.inner;
        let revocations = {
            let mut projection = inner.projection.write().await;
            projection.catch_up(self.ledger(), &inner.deployment).await?;
            projection.take_revocations()
        };
        for (patient, kinds) in revocations {
            inner.vault.new_epoch(patient, kinds, &mut inner.entropy.fork()).await?;
        }
        Ok(())
    }

    /// Whether the chain may have something new. The embedded chain says so without being asked over
    /// its RPC; any other has to be asked.
    async fn is_behind(&self) -> bool {
        let Some(chain) = self.ledger().embedded_chain() else { return true };
        let known = self.inner.projection.read().await.cursor();
        known.is_none_or(|cursor| cursor.hash != chain.head().hash)
    }

    /// How long ago the chain last said that nothing is new; `None` when it never did.
    pub(crate) fn staleness(&self, now: Timestamp) -> Option<Duration> {
        self.inner.refreshed.lock().map(|refreshed| now.since(refreshed))
    }

    /// The facts that bear on one request, with what only this institution knows.
    pub(crate) fn facts(&self, projection: &Projection, request: &Request) -> Facts {
        let Request { reader, patient, steward, record, time, .. } = request;
        let mut facts = projection.facts(reader, *patient, *steward, *record, *time);
        facts.in_care_team = *steward == self.member()
            && matches!(reader, Reader::Professional { member, .. }
                if self.inner.care.contains(*patient, *member));
        facts
    }

    /// Lists a professional, by member address, as caring for a patient.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn join_care_team(
        &self,
        patient: Address,
        professional: Address,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.care.join(patient, professional, since).await
    }

    /// Takes a professional off a patient's care team.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn leave_care_team(
        &self,
        patient: Address,
        professional: Address,
    ) -> Result<(), StoreError> {
        self.inner.care.leave(patient, professional).await
    }
}
