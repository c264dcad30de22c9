//! What a source remembers of studies: whom it counted, and who is in which extract. It is sealed to the source
//! itself, because it says of people what they have.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::Row as _;
use vault::{Database, StoreError, WriteTransaction, answer};

use super::auditor::{Answered, Auditor, Count};
use crate::{Gateway, WorkflowError};

/// The name under which the tables are migrated.
const COMPONENT: &str = "research";

/// One statement per step; a released step never changes. `name` is the digest of a question, or the id of an order;
/// `sealed` is for the source alone, `extract` for the buyer.
const MIGRATIONS: &[&str] = &[
    "create table research_answers (
        study bytea not null,
        name bytea not null,
        sealed bytea not null,
        primary key (study, name)
    )",
    "create table research_extracts (
        digest bytea not null primary key,
        extract bytea not null,
        sealed bytea not null
    )",
];

const CORRUPT: StoreError = StoreError::Corrupt { what: "what is remembered of a study" };

/// Who is in an extract, each with the salt of their leaf, in the order of the leaves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) patients: Vec<(Address, B256)>,
}

/// What a source remembers.
pub(super) struct Memory<'a> {
    source: &'a Gateway,
    database: &'a Database,
}

impl<'a> Memory<'a> {
    pub(super) async fn open(source: &'a Gateway) -> Result<Self, WorkflowError> {
        let database = source.gatekeeper.vault().database();
        let migrated = database.migrate(COMPONENT, MIGRATIONS).await;
        migrated.map_err(|error| WorkflowError::Invalid(error.to_string()))?;
        Ok(Self { source, database })
    }

    fn seal(&self, about: B256, value: &impl Serialize) -> Vec<u8> {
        let body = serde_json::to_vec(value).expect("addresses and numbers have a JSON form");
        let keeper = &self.source.gatekeeper;
        let (key, mut rng) = (self.source.secret.public_key(), keeper.entropy().fork());
        answer::seal(&key, keeper.domain(), about.as_slice(), &body, &mut rng)
    }

    fn unseal<T: DeserializeOwned>(&self, about: B256, sealed: &[u8]) -> Result<T, StoreError> {
        let network = self.source.gatekeeper.domain();
        let body = answer::open(&self.source.secret, network, about.as_slice(), sealed);
        serde_json::from_slice(&body.map_err(|_| CORRUPT)?).map_err(|_| CORRUPT)
    }

    /// What may be told of a cohort, which is remembered before anybody is told. A question that was asked before
    /// has the answer that it had.
    pub(super) async fn count(
        &self,
        (study, query): (B256, B256),
        population: &BTreeSet<Address>,
        cohort: &BTreeSet<Address>,
    ) -> Result<Count, WorkflowError> {
        // Nobody else writes meanwhile, so that of two who ask at once the second is held against the first.
        let mut transaction = self.database.begin().await?;
        let mut answered = self.answered(&mut transaction, study).await?;
        if let Some(told) = answered.remove(&query).and_then(|earlier| earlier.told) {
            return Ok(if told == 0 { Count::Suppressed } else { Count::AtLeast(told) });
        }
        let mut auditor = Auditor::of(answered.into_values().collect());
        let (count, answer) = auditor.count(population, cohort)?;
        self.remember(&mut transaction, (study, query), &answer).await?;
        transaction.commit().await?;
        Ok(count)
    }

    /// Whether an extract of a cohort may be given for an order, which is remembered before it is made. What was
    /// remembered of an attempt at the same order is replaced: the chain takes one.
    pub(super) async fn may_extract(
        &self,
        (study, order): (B256, B256),
        population: &BTreeSet<Address>,
        cohort: &BTreeSet<Address>,
    ) -> Result<(), WorkflowError> {
        let mut transaction = self.database.begin().await?;
        let mut answered = self.answered(&mut transaction, study).await?;
        answered.remove(&order);
        let mut auditor = Auditor::of(answered.into_values().collect());
        let answer = auditor.extract(population, cohort)?;
        sqlx::query("delete from research_answers where study = $1 and name = $2")
            .bind(study.to_vec())
            .bind(order.to_vec())
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::from)?;
        self.remember(&mut transaction, (study, order), &answer).await?;
        Ok(transaction.commit().await?)
    }

    /// What was answered of a study, by name.
    async fn answered(
        &self,
        transaction: &mut WriteTransaction,
        study: B256,
    ) -> Result<BTreeMap<B256, Answered<Address>>, StoreError> {
        let rows = sqlx::query("select name, sealed from research_answers where study = $1")
            .bind(study.to_vec())
            .fetch_all(&mut **transaction)
            .await?;
        let mut answered = BTreeMap::new();
        for row in rows {
            let (name, sealed): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let name = B256::try_from(name.as_slice()).map_err(|_| CORRUPT)?;
            answered.insert(name, self.unseal(name, &sealed)?);
        }
        Ok(answered)
    }

    async fn remember(
        &self,
        transaction: &mut WriteTransaction,
        (study, name): (B256, B256),
        answer: &Answered<Address>,
    ) -> Result<(), StoreError> {
        sqlx::query("insert into research_answers (study, name, sealed) values ($1, $2, $3)")
            .bind(study.to_vec())
            .bind(name.to_vec())
            .bind(self.seal(name, answer))
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }

    /// Keeps an extract with who is in it, by the digest that it comes to have on chain: of two that are made for one
    /// order, the chain takes one.
    pub(super) async fn keep(
        &self,
        digest: B256,
        extract: &[u8],
        manifest: &Manifest,
    ) -> Result<(), StoreError> {
        let sealed = self.seal(digest, manifest);
        let mut transaction = self.database.begin().await?;
        sqlx::query("insert into research_extracts (digest, extract, sealed) values ($1, $2, $3)")
            .bind(digest.to_vec())
            .bind(extract.to_vec())
            .bind(sealed)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Forgets an extract that the chain refused.
    pub(super) async fn forget(&self, digest: B256) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await?;
        sqlx::query("delete from research_extracts where digest = $1")
            .bind(digest.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// A sealed extract, and who is in it.
    pub(super) async fn extract(
        &self,
        digest: B256,
    ) -> Result<Option<(Vec<u8>, Manifest)>, StoreError> {
        let row = sqlx::query("select extract, sealed from research_extracts where digest = $1")
            .bind(digest.to_vec())
            .fetch_optional(self.database.readers())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let sealed: Vec<u8> = row.try_get(1)?;
        Ok(Some((row.try_get(0)?, self.unseal(digest, &sealed)?)))
    }
}
