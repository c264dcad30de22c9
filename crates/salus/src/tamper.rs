//! Tampering with a copy of a vault, as somebody with the database file but no keys could.

use std::path::Path;

use alloy_primitives::B256;
use gatekeeper::{Gatekeeper, Report, Settings};
use ledger::Projection;
use sqlx::{Connection as _, Row as _};
use vault::{Database, Vault, VaultSettings};
use workflows::Gateway;

use crate::{Error, consortium::Consortium};

/// What was done to the copy.
pub(crate) struct Tampering {
    pub(crate) altered: B256,
    pub(crate) inserted: B256,
    pub(crate) removed: B256,
}

/// Copies an institution's vault into `dir`, alters one record, inserts one, removes one, and
/// reconciles the copy.
pub(crate) async fn demonstrate(
    consortium: &Consortium,
    gateway: &Gateway,
    dir: &Path,
) -> Result<(Tampering, Report), Error> {
    let copy = dir.join("vault.db");
    copy_database(gateway, &copy).await?;
    copy_bodies(&consortium.keys.dir_of(&gateway.name)?.join("bodies"), &dir.join("bodies"))?;
    let tampering = tamper(&copy).await?;
    let keys = &consortium.keys;
    let database = Database::open_file(&copy).await?;
    let settings = VaultSettings {
        steward: gateway.member(),
        network: gateway.gatekeeper.domain(),
        bodies: dir.join("bodies"),
        recovery_keys: Vec::new(),
    };
    let entropy = gateway.gatekeeper.entropy();
    let root_key = keys.root_key(&gateway.name)?;
    let vault = Vault::unlock(settings, database, &root_key, &mut entropy.fork()).await?;
    let keeper = Gatekeeper::open(
        vault,
        consortium.deployment,
        gateway.sender().clone(),
        Projection::default(),
        Settings::default(),
        entropy.clone(),
    )
    .await?;
    let report = keeper.reconcile(consortium.now()).await?;
    keeper.vault().database().close().await;
    Ok((tampering, report))
}

/// A consistent copy of a database that is in use.
async fn copy_database(gateway: &Gateway, copy: &Path) -> Result<(), Error> {
    let path = copy.to_str().ok_or("the path is not valid UTF-8")?;
    sqlx::query("vacuum into $1")
        .bind(path.to_owned())
        .execute(gateway.gatekeeper.vault().database().readers())
        .await?;
    Ok(())
}

/// Copies the folder where long bodies are kept.
fn copy_bodies(from: &Path, to: &Path) -> Result<(), Error> {
    if !from.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_bodies(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Alters the first record's last byte, puts a forged record in, and takes the last one out.
async fn tamper(copy: &Path) -> Result<Tampering, Error> {
    let url = format!("sqlite://{}", copy.display());
    let mut connection = sqlx::AnyConnection::connect(&url).await?;
    let rows = sqlx::query("select record from records where body is not null order by record")
        .fetch_all(&mut connection)
        .await?;
    let record = |row: &sqlx::any::AnyRow| -> Result<B256, Error> {
        let bytes: Vec<u8> = row.try_get(0)?;
        Ok(B256::try_from(bytes.as_slice())?)
    };
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err("there is nothing to tamper with".into());
    };
    let (altered, removed) = (record(first)?, record(last)?);
    let inserted = B256::repeat_byte(0x5a);
    sqlx::query(
        "update records set body = cast(substr(body, 1, length(body) - 1) ||
             case when substr(body, -1) = x'00' then x'01' else x'00' end as blob)
         where record = $1",
    )
    .bind(altered.to_vec())
    .execute(&mut connection)
    .await?;
    forge(&mut connection, removed, inserted).await?;
    sqlx::query("delete from records where record = $1")
        .bind(removed.to_vec())
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(Tampering { altered, inserted, removed })
}

/// Copies a record under another id and digest.
async fn forge(connection: &mut sqlx::AnyConnection, of: B256, id: B256) -> Result<(), Error> {
    let columns = sqlx::query("select name from pragma_table_info('records') order by cid")
        .fetch_all(&mut *connection)
        .await?;
    let columns = columns.iter().map(|row| row.try_get::<String, _>(0));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let values: Vec<&str> = columns
        .iter()
        .map(|column| match column.as_str() {
            "record" | "digest" => "$1",
            column => column,
        })
        .collect();
    let statement = format!(
        "insert into records ({}) select {} from records where record = $2",
        columns.join(", "),
        values.join(", ")
    );
    sqlx::query(sqlx::AssertSqlSafe(statement))
        .bind(id.to_vec())
        .bind(of.to_vec())
        .execute(connection)
        .await?;
    Ok(())
}
