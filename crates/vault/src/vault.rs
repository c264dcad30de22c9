//! The vault of one steward: sealed records, their keys, and what may be done with them.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use domain::{Address, QueryDomain};
use parking_lot::Mutex;
use rand_core::CryptoRng;
use sqlx::{AnyConnection, Row as _};
use tokio::sync::RwLock;

use crate::bodies::Bodies;
use crate::database::{Database, OpenDatabaseError};
use crate::keys::{KeyPurpose, RootKey, WrappingKey};
use crate::kind_keys::{CurrentKey, KindKeyId, OpenedKey, Recent};
use crate::migrations::MigrateError;
use crate::put::Waiting;
use crate::recipients::PublicKey;
use crate::schema::MIGRATIONS;
use crate::store_error::StoreError;

/// The name under which the vault's tables are migrated.
pub(crate) const COMPONENT: &str = "vault";

/// Half the kind keys that are kept unwrapped. One is 100 bytes; unwrapping one takes microseconds.
const CACHED_KEYS: usize = 16 * 1024;

const IDENTITY_CONTEXT: &[u8] = b"salus/vault-identity/v1";

/// Whose vault it is, and where it is.
#[derive(Clone, Debug)]
pub struct VaultSettings {
    /// Whose records it seals, by member address.
    pub steward: Address,
    /// On which chain, under which registry. Every wrap is bound to it.
    pub network: QueryDomain,
    /// The folder for bodies that are too long for the database.
    pub bodies: PathBuf,
    /// The steward's own keys for which kind keys are wrapped too, so that losing the root key does
    /// not lose the records. Their private halves belong in a safe, not on this machine.
    pub recovery_keys: Vec<PublicKey>,
}

/// Sealed records and the keys to them. Clones share it.
#[derive(Clone, Debug)]
pub struct Vault {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) settings: VaultSettings,
    pub(crate) database: Database,
    pub(crate) bodies: Arc<Bodies>,
    pub(crate) kind_keys: WrappingKey,
    pub(crate) trust: WrappingKey,
    pub(crate) opened_keys: Mutex<Recent<KindKeyId, OpenedKey>>,
    pub(crate) current_keys: Mutex<Recent<(Address, domain::Kind), CurrentKey>>,
    /// Held for reading while records are sealed, for writing while kind keys change, so that no
    /// record is sealed under a key that is just being replaced or destroyed.
    pub(crate) key_change: Arc<RwLock<()>>,
    /// Records that were put one by one and are not written yet.
    pub(crate) waiting: Mutex<VecDeque<Waiting>>,
    /// The turn to write them.
    pub(crate) writing: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Why a vault was not unlocked.
#[derive(Debug, thiserror::Error)]
pub enum UnlockError {
    /// The root key is another vault's.
    #[error("the root key does not belong to this vault")]
    WrongRootKey,
    /// It is the vault of another steward, or on another network.
    #[error("this vault belongs to steward {steward} on chain {chain_id}, registry {registry}")]
    OtherVault {
        /// Its steward.
        steward: Address,
        /// Its chain.
        chain_id: u64,
        /// Its registry.
        registry: Address,
    },
    /// The folder of bodies could not be used.
    #[error("the folder of long records could not be opened")]
    Bodies(#[source] OpenDatabaseError),
    /// The database is new, but the folder of bodies has records. They would be taken for leftovers.
    #[error(
        "the folder of long records belongs to another database; name that one, or a new folder"
    )]
    ForeignBodies,
    /// The tables could not be brought up to date.
    #[error("the vault's tables could not be prepared")]
    Migrate(#[from] MigrateError),
    /// The store failed.
    #[error("the vault could not be unlocked")]
    Store(#[from] StoreError),
}

impl Vault {
    /// Unlocks the vault in `database`, or makes it when there is none, and removes what an interrupted
    /// run left behind.
    ///
    /// # Errors
    ///
    /// See [`UnlockError`].
    pub async fn unlock(
        settings: VaultSettings,
        database: Database,
        root_key: &RootKey,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Self, UnlockError> {
        database.migrate(COMPONENT, MIGRATIONS).await?;
        let trust = root_key.derive_wrapping_key(KeyPurpose::Trust);
        let bodies = Bodies::open(&settings.bodies).map_err(UnlockError::Bodies)?;
        let has_bodies = !bodies.digests().map_err(StoreError::from)?.is_empty();
        check_identity(&settings, &database, &trust, has_bodies, rng).await?;
        let vault = Self {
            inner: Arc::new(Inner {
                bodies: Arc::new(bodies),
                kind_keys: root_key.derive_wrapping_key(KeyPurpose::KindKeys),
                trust,
                opened_keys: Mutex::new(Recent::new(CACHED_KEYS)),
                current_keys: Mutex::new(Recent::new(CACHED_KEYS)),
                key_change: Arc::new(RwLock::new(())),
                waiting: Mutex::new(VecDeque::new()),
                writing: tokio::sync::Mutex::new(()),
                settings,
                database,
            }),
        };
        vault.sweep().await?;
        Ok(vault)
    }

    /// The database, for the tables of other crates and for closing it.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Whose vault it is, by member address.
    #[must_use]
    pub fn steward(&self) -> Address {
        self.inner.settings.steward
    }

    /// The chain and registry to which every wrap is bound.
    #[must_use]
    pub fn network(&self) -> QueryDomain {
        self.inner.settings.network
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Removes the files that no row names.
    async fn sweep(&self) -> Result<(), StoreError> {
        self.inner.bodies.sweep_incoming()?;
        for digest in self.inner.bodies.digests()? {
            let row = sqlx::query("select 1 from records where digest = $1 and place = 1")
                .bind(digest.0.to_vec())
                .fetch_optional(self.database().readers())
                .await?;
            if row.is_none() {
                self.inner.bodies.remove(digest)?;
            }
        }
        Ok(())
    }
}

/// Compares whose vault the database is with whose it should be, or writes it down the first time,
/// when nothing can be there yet.
async fn check_identity(
    settings: &VaultSettings,
    database: &Database,
    trust: &WrappingKey,
    has_bodies: bool,
    rng: &mut (impl CryptoRng + Send),
) -> Result<(), UnlockError> {
    let row = sqlx::query("select value from vault_settings where name = 'identity'")
        .fetch_optional(database.readers())
        .await
        .map_err(StoreError::from)?;
    let Some(row) = row else {
        if has_bodies {
            return Err(UnlockError::ForeignBodies);
        }
        let mut transaction = database.begin().await?;
        write_identity(&mut transaction, settings, trust, rng).await?;
        return Ok(transaction.commit().await?);
    };
    let wrapped: Vec<u8> = row.try_get(0).map_err(StoreError::from)?;
    let found = trust.unwrap(IDENTITY_CONTEXT, &wrapped).map_err(|_| UnlockError::WrongRootKey)?;
    if *found == settings.identity() {
        return Ok(());
    }
    let (chain_id, rest) = found.split_first_chunk().ok_or(UnlockError::WrongRootKey)?;
    let (registry, steward) = rest.split_first_chunk::<20>().ok_or(UnlockError::WrongRootKey)?;
    Err(UnlockError::OtherVault {
        steward: Address::try_from(steward).map_err(|_| UnlockError::WrongRootKey)?,
        chain_id: u64::from_be_bytes(*chain_id),
        registry: Address::from(*registry),
    })
}

/// Writes down whose vault it is, under the root key in use.
pub(crate) async fn write_identity(
    connection: &mut AnyConnection,
    settings: &VaultSettings,
    trust: &WrappingKey,
    rng: &mut (impl CryptoRng + Send),
) -> Result<(), StoreError> {
    sqlx::query("insert into vault_settings (name, value) values ('identity', $1)")
        .bind(trust.wrap(IDENTITY_CONTEXT, &settings.identity(), rng))
        .execute(connection)
        .await?;
    Ok(())
}

impl VaultSettings {
    /// `chain id u64 | registry [20] | steward [20]`.
    fn identity(&self) -> Vec<u8> {
        let QueryDomain { chain_id, registry } = self.network;
        [&chain_id.to_be_bytes(), registry.as_slice(), self.steward.as_slice()].concat()
    }
}
