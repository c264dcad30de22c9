//! An institution's other secrets, in the database: professionals' signing keys, HPKE private keys.
//!
//! Each is wrapped under a key that follows from the root key, and bound to its name, so that rows
//! cannot be exchanged. Names are chosen by programs and stand in the clear: nobody's name belongs in
//! one.

use rand_core::CryptoRng;
use sqlx::Row as _;
use zeroize::Zeroizing;

use crate::database::Database;
use crate::keys::{KeyPurpose, RootKey, WrappingKey};
use crate::migrations::MigrateError;
use crate::schema::MIGRATIONS;
use crate::store_error::StoreError;
use crate::vault::COMPONENT;

const LABEL: &[u8] = b"salus/keyring/v1";

/// Named secrets in a database.
#[derive(Debug)]
pub struct Keyring {
    database: Database,
    wrapping: WrappingKey,
}

/// Why a secret was not kept or not found.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is a secret under this name. It may be the only key to something, so it stays.
    #[error("a secret of this name is kept already")]
    Taken,
    /// The root key is another, or the row was changed.
    #[error("the secret does not open: another root key, or it was changed")]
    WrongKey,
    /// The store failed.
    #[error("the keyring could not be used")]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for KeyringError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Keyring {
    /// The keyring in a database, made when there is none.
    ///
    /// # Errors
    ///
    /// See [`MigrateError`].
    pub async fn open(database: &Database, root_key: &RootKey) -> Result<Self, MigrateError> {
        database.migrate(COMPONENT, MIGRATIONS).await?;
        let wrapping = root_key.derive_wrapping_key(KeyPurpose::Keyring);
        Ok(Self { database: database.clone(), wrapping })
    }

    /// Keeps a secret under a new name. It is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Taken`] or [`KeyringError::Store`].
    pub async fn put(
        &self,
        name: &str,
        secret: &[u8],
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<(), KeyringError> {
        let sealed = self.wrapping.wrap(&context(name), secret, rng);
        let mut transaction = self.database.begin().await?;
        let done = sqlx::query(
            "insert into keyring (name, sealed) values ($1, $2) on conflict do nothing",
        )
        .bind(name.to_owned())
        .bind(sealed)
        .execute(&mut *transaction)
        .await?;
        if done.rows_affected() == 0 {
            return Err(KeyringError::Taken);
        }
        Ok(transaction.commit().await?)
    }

    /// The secret of this name, when there is one.
    ///
    /// # Errors
    ///
    /// [`KeyringError::WrongKey`] or [`KeyringError::Store`].
    pub async fn get(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, KeyringError> {
        let row = sqlx::query("select sealed from keyring where name = $1")
            .bind(name.to_owned())
            .fetch_optional(self.database.readers())
            .await?;
        let Some(row) = row else { return Ok(None) };
        self.wrapping
            .unwrap(&context(name), row.try_get(0)?)
            .map(Some)
            .map_err(|_| KeyringError::WrongKey)
    }

    /// Every name that begins with `prefix`, in order.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Store`].
    pub async fn names(&self, prefix: &str) -> Result<Vec<String>, KeyringError> {
        let rows = sqlx::query("select name from keyring order by name")
            .fetch_all(self.database.readers())
            .await?;
        let names: Result<Vec<String>, _> = rows.iter().map(|row| row.try_get(0)).collect();
        // Collations differ between databases, so the prefix is compared here.
        let mut names = names?;
        names.retain(|name| name.starts_with(prefix));
        names.sort_unstable();
        Ok(names)
    }

    /// Destroys a secret. That there is none is no error.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Store`].
    pub async fn remove(&self, name: &str) -> Result<(), KeyringError> {
        let mut transaction = self.database.begin().await?;
        sqlx::query("delete from keyring where name = $1")
            .bind(name.to_owned())
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

fn context(name: &str) -> Vec<u8> {
    [LABEL, name.as_bytes()].concat()
}
