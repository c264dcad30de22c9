//! What a source remembers of studies: whom it counted, and who is in which extract. It is sealed to the source
//! itself, because it says of people what they have.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use domain::KindSet;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::Row as _;
use vault::{Database, StoreError, WriteTransaction, answer};

use super::auditor::{Answered, Auditor, Count, Scope, Withheld};
use crate::{Gateway, WorkflowError};

/// The name under which the tables are migrated.
const COMPONENT: &str = "research";

/// One statement per step; a released step never changes. `name` is the digest of a question, or of an extract;
/// `sealed` is for the source alone, `extract` for the buyer. `digest` is keyed, of what was refused.
/// `kinds` are what a study wants of a patient who consented here, as bits; that they did is public.
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
    "create table research_refusals (
        study bytea not null,
        digest bytea not null,
        primary key (study, digest)
    )",
    "create table research_consents (
        patient bytea not null,
        study bytea not null,
        kinds bigint not null,
        primary key (patient, study)
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
        scope: Scope,
        population: &BTreeSet<Address>,
        cohort: &BTreeSet<Address>,
    ) -> Result<Count, WorkflowError> {
        // Nobody else writes meanwhile, so that of two who ask at once the second is held against the first.
        let mut transaction = self.database.begin().await?;
        let mut answered = self.answered(&mut transaction, study).await?;
        if let Some(told) = answered.remove(&query).and_then(|earlier| earlier.told) {
            return Ok(if told == 0 { Count::Suppressed } else { Count::AtLeast(told) });
        }
        let mut auditor = self.auditor(&mut transaction, study).await?;
        match auditor.count(scope, population, cohort) {
            Ok((count, answer)) => {
                self.remember(&mut transaction, (study, query), &answer).await?;
                transaction.commit().await?;
                Ok(count)
            }
            Err(why) => {
                Err(self.refuse(transaction, study, (scope, population, cohort), why).await)
            }
        }
    }

    /// Whether an extract of a cohort may be made for a study.
    pub(super) async fn may_extract(
        &self,
        study: B256,
        scope: Scope,
        population: &BTreeSet<Address>,
        cohort: &BTreeSet<Address>,
    ) -> Result<(), WorkflowError> {
        let mut transaction = self.database.begin().await?;
        let mut auditor = self.auditor(&mut transaction, study).await?;
        match auditor.may_extract(scope, population, cohort) {
            Ok(()) => Ok(()),
            Err(why) => {
                Err(self.refuse(transaction, study, (scope, population, cohort), why).await)
            }
        }
    }

    /// Keeps an extract that may be given out, with who is in it, by the digest that it comes to have on chain: of two
    /// that are made for one order, the chain takes one. Who is in it is remembered in the same transaction.
    pub(super) async fn keep(
        &self,
        (study, digest): (B256, B256),
        (scope, population, cohort): (Scope, &BTreeSet<Address>, &BTreeSet<Address>),
        extract: &[u8],
        manifest: &Manifest,
    ) -> Result<(), WorkflowError> {
        let given = manifest.patients.iter().map(|(patient, _)| *patient).collect();
        let sealed = self.seal(digest, manifest);
        let mut transaction = self.database.begin().await?;
        let mut auditor = self.auditor(&mut transaction, study).await?;
        let answer = match auditor.extract(scope, population, cohort, &given) {
            Ok(answer) => answer,
            Err(why) => {
                let asked = (scope, population, cohort);
                return Err(self.refuse(transaction, study, asked, why).await);
            }
        };
        self.remember(&mut transaction, (study, digest), &answer).await?;
        sqlx::query("insert into research_extracts (digest, extract, sealed) values ($1, $2, $3)")
            .bind(digest.to_vec())
            .bind(extract.to_vec())
            .bind(sealed)
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::from)?;
        Ok(transaction.commit().await?)
    }

    /// Forgets an extract that the chain refused: nobody got it.
    pub(super) async fn forget(&self, study: B256, digest: B256) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await?;
        sqlx::query("delete from research_answers where study = $1 and name = $2")
            .bind(study.to_vec())
            .bind(digest.to_vec())
            .execute(&mut *transaction)
            .await?;
        sqlx::query("delete from research_extracts where digest = $1")
            .bind(digest.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Who knows what was answered of a study and how often it was refused.
    async fn auditor(
        &self,
        transaction: &mut WriteTransaction,
        study: B256,
    ) -> Result<Auditor<Address>, StoreError> {
        let answered = self.answered(transaction, study).await?.into_values().collect();
        let refusals: i64 = sqlx::query("select count(*) from research_refusals where study = $1")
            .bind(study.to_vec())
            .fetch_one(&mut **transaction)
            .await?
            .try_get(0)?;
        Ok(Auditor::of(answered, usize::try_from(refusals).unwrap_or(usize::MAX)))
    }

    /// Remembers a refusal of what somebody chose, and says why. The same again tells nothing new, and is one.
    async fn refuse(
        &self,
        mut transaction: WriteTransaction,
        study: B256,
        (scope, population, cohort): (Scope, &BTreeSet<Address>, &BTreeSet<Address>),
        why: Withheld,
    ) -> WorkflowError {
        if scope == Scope::Everybody || matches!(why, Withheld::TooMany | Withheld::TooSoon) {
            return why.into();
        }
        let refused = serde_json::to_vec(&(scope, population, cohort));
        let refused = refused.expect("addresses and numbers have a JSON form");
        let digest = self.source.keyed_digest("salus/research-refusal/v1", &refused);
        let noted = sqlx::query(
            "insert into research_refusals (study, digest) values ($1, $2) on conflict do nothing",
        )
        .bind(study.to_vec())
        .bind(digest.to_vec())
        .execute(&mut *transaction)
        .await;
        // A refusal that is not remembered would be one for nothing: so it is not told.
        match noted {
            Ok(_) => match transaction.commit().await {
                Ok(()) => why.into(),
                Err(error) => error.into(),
            },
            Err(error) => StoreError::from(error).into(),
        }
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

    /// Remembers that a patient lets a study use these kinds through this source.
    pub(super) async fn consent(
        &self,
        patient: Address,
        study: B256,
        kinds: KindSet,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await?;
        sqlx::query(
            "insert into research_consents (patient, study, kinds) values ($1, $2, $3)
             on conflict do nothing",
        )
        .bind(patient.to_vec())
        .bind(study.to_vec())
        .bind(i64::from(kinds.bits()))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await
    }

    /// Forgets that a patient lets a study use something through this source.
    pub(super) async fn forget_consent(
        &self,
        patient: Address,
        study: B256,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await?;
        sqlx::query("delete from research_consents where patient = $1 and study = $2")
            .bind(patient.to_vec())
            .bind(study.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Which studies a patient lets use what through this source.
    pub(super) async fn consents(
        &self,
        patient: Address,
    ) -> Result<Vec<(B256, KindSet)>, StoreError> {
        let rows = sqlx::query("select study, kinds from research_consents where patient = $1")
            .bind(patient.to_vec())
            .fetch_all(self.database.readers())
            .await?;
        let consent = |row: sqlx::any::AnyRow| {
            let (study, kinds): (Vec<u8>, i64) = (row.try_get(0)?, row.try_get(1)?);
            let study = B256::try_from(study.as_slice()).map_err(|_| CORRUPT)?;
            let kinds = u32::try_from(kinds).map_err(|_| CORRUPT)?;
            Ok((study, KindSet::from_bits(kinds)))
        };
        rows.into_iter().map(consent).collect()
    }
}
