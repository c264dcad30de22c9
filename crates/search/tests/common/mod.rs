//! What the tests of the index share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::atomic::{AtomicU64, Ordering};

use search::{Handling, Index, Query, pairs};
use serde_json::Value;
use sqlx::{AnyConnection, Connection as _};
use vault::{Database, WriteTransaction};

pub(crate) const KEY: [u8; 32] = [7; 32];

/// A database with the tables, and a folder for the file.
pub(crate) struct Place {
    _folder: tempfile::TempDir,
    pub(crate) database: Database,
}

impl Place {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open_file(&folder.path().join("search.db")).await.unwrap();
        Self::with_tables(folder, database).await
    }

    /// A new database in the cluster that `SALUS_TEST_POSTGRES` names, when it does.
    pub(crate) async fn postgres() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Ok(cluster) = std::env::var("SALUS_TEST_POSTGRES") else {
            eprintln!("SKIPPED: no PostgreSQL; set SALUS_TEST_POSTGRES to the URL of a cluster");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("salus_search_{}_{number}", std::process::id());
        sqlx::any::install_default_drivers();
        let mut connection = AnyConnection::connect(&cluster).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        let (base, _) =
            cluster.split_once('?').unwrap_or((&cluster, "")).0.rsplit_once('/').unwrap();
        let database = Database::open(&format!("{base}/{name}")).await.unwrap();
        Some(Self::with_tables(tempfile::tempdir().unwrap(), database).await)
    }

    async fn with_tables(folder: tempfile::TempDir, database: Database) -> Self {
        database.migrate(search::COMPONENT, search::MIGRATIONS).await.unwrap();
        Self { _folder: folder, database }
    }
}

/// Runs each test on SQLite, and on PostgreSQL when there is one.
#[macro_export]
macro_rules! on_both {
    ($($name:ident,)+) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name($crate::common::Place::sqlite().await).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test]
                async fn $name() {
                    if let Some(place) = $crate::common::Place::postgres().await {
                        super::$name(place).await;
                    }
                }
            )+
        }
    };
}

/// Stores the row of a resource, as the gateway does.
pub(crate) async fn store(
    connection: &mut AnyConnection,
    number: i64,
    resource: &Value,
    patient: Option<&[u8]>,
) {
    sqlx::query(
        "insert into fhir_resources (number, type, id, patient, version, updated, deleted)
        values ($1, $2, $3, $4, 1, $5, 0)",
    )
    .bind(number)
    .bind(resource["resourceType"].as_str().unwrap().to_owned())
    .bind(resource["id"].as_str().unwrap().to_owned())
    .bind(patient.map(<[u8]>::to_vec))
    .bind(updated(number))
    .execute(connection)
    .await
    .unwrap();
}

/// When the resource with this number was last changed.
pub(crate) fn updated(number: i64) -> i64 {
    number * 1_000
}

pub(crate) fn index() -> Index {
    Index::new(KEY)
}

pub(crate) async fn put(connection: &mut AnyConnection, number: i64, resource: &Value) {
    let resource_type = resource["resourceType"].as_str().unwrap();
    index().put(connection, number, resource_type, resource).await.unwrap();
}

/// A database with these resources, numbered from 1.
pub(crate) async fn filled(place: &Place, resources: &[Value]) -> WriteTransaction {
    let mut transaction = place.database.begin().await.unwrap();
    for (number, resource) in (1..).zip(resources) {
        store(&mut transaction, number, resource, None).await;
        put(&mut transaction, number, resource).await;
    }
    transaction
}

pub(crate) fn parse(resource_type: &str, query: &str) -> Query {
    Query::parse(resource_type, &pairs(query).unwrap(), Handling::Strict).unwrap()
}

pub(crate) fn resource_type_of(resource: &Value) -> &str {
    resource["resourceType"].as_str().unwrap()
}
