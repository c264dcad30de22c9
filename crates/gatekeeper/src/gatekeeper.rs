//! One institution's gatekeeper: what it knows, and how it keeps knowing it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use alloy_primitives::Address;
use bindings::Deployment;
use domain::{
    Facts, QueryDomain, Reader, RecordDigest, RecordVersion, RelationshipState, Request, Timestamp,
};
use ledger::{EndpointError, Ledger, Projection, Sender};
use parking_lot::Mutex;
use tokio::sync::RwLock;
use vault::{Identity, MigrateError, SecretKey, StoreError, Vault};

use crate::{
    Entropy,
    anchoring::OnTheWay,
    care::{self, CareTeams},
    log::AccessLog,
    standing::AnchoredLeaves,
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
    /// The most bytes of records in one answer, unless a single one is longer. The rest is for the next
    /// query.
    pub answer_bytes_max: usize,
    /// How far ahead of now a query's deadline may be, so that nonces need not be kept for ever.
    pub deadline_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            staleness_max: Duration::from_secs(15),
            refresh_every: Duration::ZERO,
            records_max: 1_000,
            answer_bytes_max: 32 << 20,
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
    Signer(#[source] ledger::SendError),
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
    pub(crate) leaves: AnchoredLeaves,
    pub(crate) on_the_way: OnTheWay,
    /// Who opens copies of other stewards' records here.
    pub(crate) identity: OnceLock<Identity>,
    /// The turn to follow the chain and to act on what is new.
    following: tokio::sync::Mutex<()>,
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
        sender.ledger().know(&deployment);
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
            leaves: AnchoredLeaves::default(),
            on_the_way: OnTheWay::default(),
            identity: OnceLock::new(),
            following: tokio::sync::Mutex::default(),
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

    /// Opens copies of other stewards' records with this key, to which they were wrapped. Without one,
    /// they are kept and do not open. It is said once; a second key is not taken.
    pub fn open_copies_with(&self, secret: SecretKey) {
        let identity = Identity { address: self.member(), secret };
        drop(self.inner.identity.set(identity));
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
        self.refreshed_since(now).await.map(drop)
    }

    /// Brings what is known up to date as [`Gatekeeper::refresh`] does; returns how old it is then.
    async fn refreshed_since(&self, now: Timestamp) -> Result<Duration, GatekeeperError> {
        let inner = &self.inner;
        if let Some(age) = self.age(now)
            && age < inner.settings.refresh_every
        {
            return Ok(age);
        }
        if self.is_behind().await
            && let Err(error) = self.catch_up().await
        {
            // What is known to be out of date is not good for a while longer.
            let is_embedded = self.ledger().embedded_chain().is_some();
            if is_embedded || inner.projection.read().await.is_behind() {
                *inner.refreshed.lock() = None;
            }
            return Err(error);
        }
        *inner.refreshed.lock() = Some(now);
        Ok(Duration::ZERO)
    }

    /// Brings what is known up to date; returns whether it is too old for a decision all the same (S3).
    pub(crate) async fn is_stale(&self, now: Timestamp) -> bool {
        let age = match self.refreshed_since(now).await {
            Ok(age) => Some(age),
            Err(error) => {
                tracing::warn!(%error, "could not ask the chain");
                self.age(now)
            }
        };
        age.is_none_or(|age| age > self.inner.settings.staleness_max)
    }

    /// Takes in what is new on chain, and acts on it.
    pub(crate) async fn catch_up(&self) -> Result<(), GatekeeperError> {
        let inner = &self.inner;
        let _turn = inner.following.lock().await;
        inner.projection.write().await.catch_up(self.ledger(), &inner.deployment).await?;
        loop {
            let next = inner.projection.read().await.next_revocation();
            let Some((patient, kinds)) = next else { return Ok(()) };
            inner.vault.new_epoch(patient, kinds, &mut inner.entropy.fork()).await?;
            inner.projection.write().await.finish_revocation();
        }
    }

    /// Whether the chain may have something new, or something new was not acted on. The embedded chain
    /// says so without being asked over its RPC; any other has to be asked.
    async fn is_behind(&self) -> bool {
        let Some(chain) = self.ledger().embedded_chain() else { return true };
        let known = self.inner.projection.read().await;
        known.next_revocation().is_some()
            || known.cursor().is_none_or(|cursor| cursor.hash != chain.head().hash)
    }

    /// How long ago the chain last said that nothing is new; `None` when it never did, or when the
    /// clock went back since, so that nobody can tell.
    fn age(&self, now: Timestamp) -> Option<Duration> {
        let refreshed = (*self.inner.refreshed.lock())?;
        (refreshed <= now).then(|| now.since(refreshed))
    }

    /// The facts that bear on a request for the version with `digest`, with what only this institution
    /// knows.
    pub(crate) fn facts(
        &self,
        projection: &Projection,
        request: &Request,
        version: RecordVersion,
        digest: RecordDigest,
    ) -> Facts {
        let Request { reader, patient, steward, .. } = request;
        let mut facts = projection.facts(request, version, digest);
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

    /// What lists a professional, by member address, as caring for a patient, to be stored along with
    /// something else. Once that is kept, it is to be [learned](Self::learn_care_team).
    #[must_use]
    pub fn care_team_along(
        patient: Address,
        professional: Address,
        since: Timestamp,
    ) -> crate::Along<'static> {
        Box::new(move |transaction| {
            Box::pin(care::store(transaction, patient, professional, since))
        })
    }

    /// Takes in what became of a care team that was to be stored by [`Gatekeeper::care_team_along`].
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed; it is taken in with the next start then.
    pub async fn learn_care_team(
        &self,
        patient: Address,
        professional: Address,
    ) -> Result<(), StoreError> {
        self.inner.care.learn(patient, professional).await
    }

    /// Whether a professional, by member address, cares for a patient: is listed, while the patient's
    /// relationship with this institution is active. What is known of the chain should be up to date.
    pub async fn cares_for(&self, patient: Address, professional: Address) -> bool {
        self.inner.care.contains(patient, professional)
            && is_active(&*self.inner.projection.read().await, patient, self.member())
    }

    /// For whom a professional, by member address, cares, in the order of the accounts. What is known of
    /// the chain should be up to date.
    pub async fn patients_of(&self, professional: Address) -> Vec<Address> {
        let mut patients = self.inner.care.patients_of(professional);
        let projection = self.inner.projection.read().await;
        patients.retain(|patient| is_active(&projection, *patient, self.member()));
        patients
    }

    /// The professionals, by member address, who are listed as caring for a patient, each with since
    /// when.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn care_team(
        &self,
        patient: Address,
    ) -> Result<Vec<(Address, Timestamp)>, StoreError> {
        self.inner.care.of(patient).await
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

/// Whether a patient has an active relationship with an institution.
fn is_active(projection: &Projection, patient: Address, steward: Address) -> bool {
    let held = projection.consents.relationship(patient, steward);
    held.is_some_and(|held| held.state == Some(RelationshipState::Active))
}
