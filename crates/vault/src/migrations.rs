//! Tables, made and changed in numbered steps per component.
//!
//! A step, once released, never changes: what was applied is compared by digest. The `vault` has its
//! own steps; `gatekeeper` and others add theirs under their own names.

use sha2::{Digest as _, Sha256};
use sqlx::Row as _;

use crate::database::Database;
use crate::store_error::StoreError;
use crate::transaction::WriteTransaction;

const TABLE: &str = "create table if not exists migrations (
    component text not null,
    step bigint not null,
    digest bytea not null,
    primary key (component, step)
)";

/// Why the tables are not as this program needs them.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A later program changed the tables.
    #[error("a later program changed the tables of {component}; use that program")]
    FromTheFuture {
        /// Whose tables.
        component: &'static str,
    },
    /// A step is not what was applied under its number.
    #[error("step {step} of the tables of {component} differs from what was applied")]
    Changed {
        /// Whose tables.
        component: &'static str,
        /// Which step, from 0.
        step: usize,
    },
    /// The database failed. Nothing was changed.
    #[error("the tables could not be changed")]
    Store(#[from] StoreError),
}

impl Database {
    /// Applies those of `steps` that were not applied yet, all of them or none.
    ///
    /// Each step is one statement. New steps go to the end.
    ///
    /// # Errors
    ///
    /// See [`MigrateError`].
    pub async fn migrate(
        &self,
        component: &'static str,
        steps: &[&'static str],
    ) -> Result<(), MigrateError> {
        let mut transaction = self.begin().await?;
        run(&mut transaction, TABLE).await?;
        let applied =
            sqlx::query("select digest from migrations where component = $1 order by step")
                .bind(component)
                .fetch_all(&mut *transaction)
                .await
                .map_err(StoreError::from)?;
        if applied.len() > steps.len() {
            return Err(MigrateError::FromTheFuture { component });
        }
        for (step, statement) in steps.iter().enumerate() {
            let digest = Sha256::digest(statement).to_vec();
            if let Some(row) = applied.get(step) {
                if row.try_get::<Vec<u8>, _>(0).map_err(StoreError::from)? != digest {
                    return Err(MigrateError::Changed { component, step });
                }
                continue;
            }
            run(&mut transaction, statement).await?;
            sqlx::query("insert into migrations (component, step, digest) values ($1, $2, $3)")
                .bind(component)
                .bind(i64::try_from(step).expect("a program has few steps"))
                .bind(digest)
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::from)?;
        }
        Ok(transaction.commit().await?)
    }
}

async fn run(
    transaction: &mut WriteTransaction,
    statement: &'static str,
) -> Result<(), StoreError> {
    sqlx::raw_sql(statement).execute(&mut **transaction).await?;
    Ok(())
}
