//! When the root key is lost: taking a vault over with a steward's recovery key.
//!
//! Kind keys were wrapped for the recovery keys too, so whoever holds the private half of one can wrap
//! them anew under a new root key. What was wrapped under the old root key alone is gone: the secrets
//! of the keyring, and the public keys of patients, which are set again from the registry.
//!
//! An HPKE wrap says nothing of who made it. So a kind key that comes out of one is used to open what
//! was sealed under it, and never to seal: the next record of each patient and kind begins a new epoch.

use domain::B256;
use rand_core::CryptoRng;
use sqlx::{AnyConnection, Row as _};

use crate::copies::Identity;
use crate::database::Database;
use crate::entries::fixed;
use crate::keys::{KeyPurpose, KindKey, RootKey, WrappingKey};
use crate::kind_keys::{KindKeyId, KindKeyName};
use crate::migrations::MigrateError;
use crate::patient_keys::{kind_key_context, name_of};
use crate::recipients::{self, Binding, Subject};
use crate::schema::MIGRATIONS;
use crate::store_error::StoreError;
use crate::vault::{COMPONENT, UnlockError, Vault, VaultSettings, write_identity};

/// A vault that was taken over.
#[derive(Debug)]
pub struct Recovered {
    /// The vault, under its new root key.
    pub vault: Vault,
    /// How many kind keys came out of their wraps.
    pub recovered: usize,
    /// Those that had no wrap for the recovery key, and whose records no longer open here.
    pub lost: Vec<KindKeyName>,
}

/// Why a vault was not taken over. It is as it was then.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The key opens nothing here: it is not one of this vault's recovery keys.
    #[error("this recovery key opens nothing in this vault")]
    WrongKey,
    /// The tables could not be brought up to date.
    #[error("the vault's tables could not be prepared")]
    Migrate(#[from] MigrateError),
    /// The vault did not unlock under its new root key.
    #[error("the vault could not be unlocked")]
    Unlock(#[from] UnlockError),
    /// The store failed.
    #[error("the vault could not be taken over")]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for RecoverError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Vault {
    /// Takes a vault over under a new root key, with the private half of a recovery key.
    ///
    /// # Errors
    ///
    /// See [`RecoverError`].
    pub async fn recover(
        settings: VaultSettings,
        database: Database,
        identity: &Identity,
        new_root_key: &RootKey,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Recovered, RecoverError> {
        database.migrate(COMPONENT, MIGRATIONS).await?;
        let mut transaction = database.begin().await?;
        let wrapping = new_root_key.derive_wrapping_key(KeyPurpose::KindKeys);
        let mut lost = Vec::new();
        let mut recovered = 0;
        for (id, name) in own_kind_keys(&mut transaction, &settings).await? {
            match open_wrap(&mut transaction, &settings, id, identity).await? {
                Some(key) => {
                    store_key(&mut transaction, id, &key, &wrapping, rng).await?;
                    recovered += 1;
                }
                None => lost.push(name),
            }
        }
        if recovered == 0 {
            return Err(RecoverError::WrongKey);
        }
        for name in &lost {
            let id = name.id(settings.network).0;
            sqlx::query("update kind_keys set sealed = null, state = 2 where id = $1")
                .bind(id.to_vec())
                .execute(&mut *transaction)
                .await?;
        }
        for statement in
            ["delete from patient_keys", "delete from keyring", "delete from vault_settings"]
        {
            sqlx::query(statement).execute(&mut *transaction).await?;
        }
        let trust = new_root_key.derive_wrapping_key(KeyPurpose::Trust);
        write_identity(&mut transaction, &settings, &trust, rng).await?;
        transaction.commit().await?;

        let vault = Self::unlock(settings, database, new_root_key, rng).await?;
        Ok(Recovered { vault, recovered, lost })
    }
}

async fn own_kind_keys(
    connection: &mut AnyConnection,
    settings: &VaultSettings,
) -> Result<Vec<(KindKeyId, KindKeyName)>, StoreError> {
    let rows = sqlx::query(
        "select id, patient, steward, kind, epoch from kind_keys where steward = $1 and state <> 1",
    )
    .bind(settings.steward.to_vec())
    .fetch_all(connection)
    .await?;
    let name = |row| Ok((KindKeyId(fixed::<32>(row, 0)?.into()), name_of(row, 1)?));
    rows.iter().map(name).collect()
}

/// The kind key out of its wrap for the recovery key, when it opens and fits what is sealed under it.
async fn open_wrap(
    connection: &mut AnyConnection,
    settings: &VaultSettings,
    id: KindKeyId,
    identity: &Identity,
) -> Result<Option<KindKey>, StoreError> {
    let row = sqlx::query(
        "select wrapped from wraps where id = $1 and recipient = $2 and key_digest = $3",
    )
    .bind(id.0.to_vec())
    .bind(settings.steward.to_vec())
    .bind(identity.secret.public_key().digest().to_vec())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    let binding = Binding {
        network: settings.network,
        subject: Subject::KindKey(id),
        recipient: settings.steward,
        consent: B256::ZERO,
    };
    let key = recipients::unwrap(row.try_get(0)?, &identity.secret, &binding);
    let key = key.and_then(|bytes| KindKey::from_slice(&bytes)).ok();

    let row = sqlx::query(
        "select content_key from records where kind_key = $1 and content_key is not null limit 1",
    )
    .bind(id.0.to_vec())
    .fetch_optional(connection)
    .await?;
    let content_key: Option<Vec<u8>> = row.map(|row| row.try_get(0)).transpose()?;
    let fits = |key: &KindKey| content_key.is_none_or(|wrapped| key.unwrap(&wrapped).is_ok());
    Ok(key.filter(fits))
}

async fn store_key(
    connection: &mut AnyConnection,
    id: KindKeyId,
    key: &KindKey,
    wrapping: &WrappingKey,
    rng: &mut (impl CryptoRng + Send),
) -> Result<(), StoreError> {
    sqlx::query("update kind_keys set sealed = $1, state = 2 where id = $2")
        .bind(wrapping.wrap(&kind_key_context(id), key.expose(), rng))
        .bind(id.0.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}
