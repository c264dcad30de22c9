//! Who cares for whom: an institution's own knowledge, which the chain does not hold.
//!
//! What is in memory follows the database: whoever changes one changes the other before anybody else does.
//! What was stored along with something else is looked up once it is kept, because it may be gone again.

use std::collections::HashSet;

use alloy_primitives::Address;
use domain::Timestamp;
use parking_lot::RwLock;
use sqlx::{AnyConnection, Row as _};
use tokio::sync::Mutex;
use vault::{Database, StoreError};

/// The care teams of one institution.
#[derive(Debug)]
pub(crate) struct CareTeams {
    database: Database,
    members: RwLock<HashSet<(Address, Address)>>,
    /// The turn to change them, in the database and here.
    changing: Mutex<()>,
}

impl CareTeams {
    pub(crate) async fn open(database: Database) -> Result<Self, StoreError> {
        let rows = sqlx::query("select patient, professional from care_team")
            .fetch_all(database.readers())
            .await?;
        let mut members = HashSet::with_capacity(rows.len());
        for row in rows {
            let (patient, professional): (Vec<u8>, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
            let corrupt = |_| StoreError::Corrupt { what: "care team" };
            members.insert((
                Address::try_from(patient.as_slice()).map_err(corrupt)?,
                Address::try_from(professional.as_slice()).map_err(corrupt)?,
            ));
        }
        Ok(Self { database, members: RwLock::new(members), changing: Mutex::default() })
    }

    /// Whether a professional, by member address, cares for a patient.
    pub(crate) fn contains(&self, patient: Address, professional: Address) -> bool {
        self.members.read().contains(&(patient, professional))
    }

    /// For whom a professional, by member address, cares.
    pub(crate) fn patients_of(&self, professional: Address) -> Vec<Address> {
        let members = self.members.read();
        let own = members.iter().filter(|(_, member)| *member == professional);
        let mut patients: Vec<Address> = own.map(|(patient, _)| *patient).collect();
        patients.sort_unstable();
        patients
    }

    /// Who cares for a patient, and since when, in the order in which they joined.
    pub(crate) async fn of(
        &self,
        patient: Address,
    ) -> Result<Vec<(Address, Timestamp)>, StoreError> {
        let rows = sqlx::query(
            "select professional, since from care_team where patient = $1
            order by since, professional",
        )
        .bind(patient.to_vec())
        .fetch_all(self.database.readers())
        .await?;
        let member = |row: &sqlx::any::AnyRow| {
            let professional: Vec<u8> = row.try_get(0)?;
            let professional = Address::try_from(professional.as_slice())
                .map_err(|_| StoreError::Corrupt { what: "care team" })?;
            Ok((professional, Timestamp(row.try_get::<i64, _>(1)?.unsigned_abs())))
        };
        rows.iter().map(member).collect()
    }

    pub(crate) async fn join(
        &self,
        patient: Address,
        professional: Address,
        since: Timestamp,
    ) -> Result<(), StoreError> {
        let _turn = self.changing.lock().await;
        let mut transaction = self.database.begin().await?;
        store(&mut transaction, patient, professional, since).await?;
        transaction.commit().await?;
        self.members.write().insert((patient, professional));
        Ok(())
    }

    /// Takes in what the database says of one who may have been stored along with something else, and may
    /// have been removed since.
    pub(crate) async fn learn(
        &self,
        patient: Address,
        professional: Address,
    ) -> Result<(), StoreError> {
        let _turn = self.changing.lock().await;
        let row = sqlx::query("select 1 from care_team where patient = $1 and professional = $2")
            .bind(patient.to_vec())
            .bind(professional.to_vec())
            .fetch_optional(self.database.readers())
            .await?;
        let mut members = self.members.write();
        match row {
            Some(_) => members.insert((patient, professional)),
            None => members.remove(&(patient, professional)),
        };
        Ok(())
    }

    pub(crate) async fn leave(
        &self,
        patient: Address,
        professional: Address,
    ) -> Result<(), StoreError> {
        let _turn = self.changing.lock().await;
        // Whoever waits here may be gone before the database is done: then nobody cares too long.
        self.members.write().remove(&(patient, professional));
        let mut transaction = self.database.begin().await?;
        sqlx::query("delete from care_team where patient = $1 and professional = $2")
            .bind(patient.to_vec())
            .bind(professional.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }
}

/// Stores that a professional cares for a patient from now on.
pub(crate) async fn store(
    connection: &mut AnyConnection,
    patient: Address,
    professional: Address,
    since: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into care_team (patient, professional, since) values ($1, $2, $3)
        on conflict (patient, professional) do nothing",
    )
    .bind(patient.to_vec())
    .bind(professional.to_vec())
    .bind(i64::try_from(since.0).unwrap_or(i64::MAX))
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::tables::{COMPONENT, MIGRATIONS};

    const PATIENT: Address = Address::repeat_byte(1);
    const ADA: Address = Address::repeat_byte(2);

    async fn opened() -> (tempfile::TempDir, Database, CareTeams) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open_file(&folder.path().join("care.db")).await.unwrap();
        database.migrate(COMPONENT, MIGRATIONS).await.unwrap();
        let teams = CareTeams::open(database.clone()).await.unwrap();
        (folder, database, teams)
    }

    async fn stored_along(database: &Database) {
        let mut transaction = database.begin().await.unwrap();
        store(&mut transaction, PATIENT, ADA, Timestamp(1)).await.unwrap();
        transaction.commit().await.unwrap();
    }

    #[tokio::test]
    async fn who_was_removed_before_it_was_learned_does_not_come_back() {
        let (_folder, database, teams) = opened().await;
        stored_along(&database).await;
        teams.leave(PATIENT, ADA).await.unwrap();
        teams.learn(PATIENT, ADA).await.unwrap();
        assert!(!teams.contains(PATIENT, ADA));
        stored_along(&database).await;
        teams.learn(PATIENT, ADA).await.unwrap();
        assert!(teams.contains(PATIENT, ADA));
        teams.leave(PATIENT, ADA).await.unwrap();
        assert_eq!((teams.contains(PATIENT, ADA), teams.patients_of(ADA)), (false, vec![]));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn memory_ends_where_the_database_ends() {
        let (_folder, database, teams) = opened().await;
        let teams = std::sync::Arc::new(teams);
        for _ in 0..50 {
            let (one, other) = (teams.clone(), teams.clone());
            let joining = tokio::spawn(async move { one.join(PATIENT, ADA, Timestamp(1)).await });
            let leaving = tokio::spawn(async move { other.leave(PATIENT, ADA).await });
            joining.await.unwrap().unwrap();
            leaving.await.unwrap().unwrap();
            let again = CareTeams::open(database.clone()).await.unwrap();
            assert_eq!(teams.contains(PATIENT, ADA), again.contains(PATIENT, ADA));
        }
    }
}
