//! What the tests of the public face share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use chacha20::ChaCha20Rng;
use domain::{
    Address, B256, Facts, Kind, Permit, Purpose, QueryDomain, Reader, RecordId, RecordVersion,
    Request, Timestamp, decide,
};
use rand_core::{Rng as _, SeedableRng as _};
use sqlx::Connection as _;
use vault::{Content, Database, NewRecord, RootKey, UnlockError, Vault, VaultSettings};

pub(crate) const STEWARD: Address = Address::repeat_byte(0x51);
pub(crate) const PATIENT: Address = Address::repeat_byte(0xa1);
pub(crate) const AUTHOR: Address = Address::repeat_byte(0xb1);
pub(crate) const NETWORK: QueryDomain =
    QueryDomain { chain_id: 1_337, registry: Address::repeat_byte(0xee) };
pub(crate) const NOW: Timestamp = Timestamp(1_795_374_960);

/// The same random bytes in every run.
pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// The same root key in every run.
pub(crate) fn root_key() -> RootKey {
    RootKey::from_bytes(&[7; 32])
}

/// A folder and a database of its own, which a vault can be opened in again and again.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) url: String,
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("vault.db").display());
        Self { folder, url }
    }

    /// A new database in the cluster that `SALUS_TEST_POSTGRES` names, when it does.
    pub(crate) async fn postgres() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Ok(cluster) = std::env::var("SALUS_TEST_POSTGRES") else {
            eprintln!("SKIPPED: no PostgreSQL; set SALUS_TEST_POSTGRES to the URL of a cluster");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("salus_test_{}_{number}", std::process::id());
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&cluster).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        let (base, query) = cluster.split_once('?').unwrap_or((&cluster, ""));
        let (base, _) = base.rsplit_once('/').unwrap();
        Some(Self { folder: tempfile::tempdir().unwrap(), url: format!("{base}/{name}?{query}") })
    }

    pub(crate) fn bodies(&self) -> PathBuf {
        self.folder.path().join("bodies")
    }

    pub(crate) fn settings(&self) -> VaultSettings {
        VaultSettings {
            steward: STEWARD,
            network: NETWORK,
            bodies: self.bodies(),
            recovery_keys: Vec::new(),
        }
    }

    /// Closes a vault, and waits until nothing that was given up is at work in it any more.
    pub(crate) async fn close(&self, vault: Vault) {
        vault.database().close().await;
        drop(vault);
        let lock = std::fs::File::open(self.bodies().join("lock")).unwrap();
        while lock.try_lock().is_err() {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn unlock(&self) -> Vault {
        self.unlock_as(self.settings(), &root_key()).await.unwrap()
    }

    pub(crate) async fn unlock_as(
        &self,
        settings: VaultSettings,
        root_key: &RootKey,
    ) -> Result<Vault, UnlockError> {
        let database = Database::open(&self.url).await.unwrap();
        Vault::unlock(settings, database, root_key, &mut rng(1)).await
    }
}

/// Runs each test on SQLite, and on PostgreSQL when there is one.
#[macro_export]
macro_rules! on_both {
    ($($name:ident,)+) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::common::Place::sqlite()).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(place) = $crate::common::Place::postgres().await {
                        super::$name(place).await;
                    }
                }
            )+
        }
    };
}

pub(crate) fn id(number: u64) -> RecordId {
    RecordId(B256::left_padding_from(&number.to_be_bytes()))
}

pub(crate) fn version(number: u32) -> RecordVersion {
    number.try_into().unwrap()
}

/// A small laboratory record of the one patient.
pub(crate) fn record(number: u64) -> NewRecord {
    NewRecord {
        record: id(number),
        version: RecordVersion::FIRST,
        patient: PATIENT,
        kind: Kind::Laboratory,
        content: Content::FhirJson,
        author: AUTHOR,
        created: NOW,
        body: format!(r#"{{"resourceType":"Observation","id":"{number}"}}"#).into_bytes(),
    }
}

/// A record that is kept in a file, because it does not compress.
pub(crate) fn long_record(number: u64) -> NewRecord {
    let mut body = vec![0; 700_000];
    rng(number).fill_bytes(&mut body);
    NewRecord { content: Content::Other, body, ..record(number) }
}

/// The permit of the one patient to read a laboratory record of their own.
pub(crate) fn permit(number: u64) -> Permit {
    permit_for(id(number), PATIENT, STEWARD, Kind::Laboratory)
}

pub(crate) fn permit_for(
    record: RecordId,
    patient: Address,
    steward: Address,
    kind: Kind,
) -> Permit {
    let request = Request {
        reader: Reader::Patient { account: patient },
        patient,
        steward,
        record,
        kind,
        purpose: Purpose::PatientRequest,
        time: NOW,
    };
    decide(&request, &Facts::default()).unwrap()
}

/// Changes the database behind the vault's back.
pub(crate) async fn tamper(vault: &Vault, statement: &'static str) {
    let mut transaction = vault.database().begin().await.unwrap();
    sqlx::raw_sql(statement).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
}
