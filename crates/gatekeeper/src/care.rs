//! Who cares for whom: an institution's own knowledge, which the chain does not hold.

use std::collections::HashSet;

use alloy_primitives::Address;
use domain::Timestamp;
use parking_lot::RwLock;
use sqlx::{AnyConnection, Row as _};
use vault::{Database, StoreError};

/// The care teams of one institution.
#[derive(Debug)]
pub(crate) struct CareTeams {
    database: Database,
    members: RwLock<HashSet<(Address, Address)>>,
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
        Ok(Self { database, members: RwLock::new(members) })
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
        let mut transaction = self.database.begin().await?;
        store(&mut transaction, patient, professional, since).await?;
        transaction.commit().await?;
        self.learn(patient, professional);
        Ok(())
    }

    /// Notes what stands in the database.
    pub(crate) fn learn(&self, patient: Address, professional: Address) {
        self.members.write().insert((patient, professional));
    }

    pub(crate) async fn leave(
        &self,
        patient: Address,
        professional: Address,
    ) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await?;
        sqlx::query("delete from care_team where patient = $1 and professional = $2")
            .bind(patient.to_vec())
            .bind(professional.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        self.members.write().remove(&(patient, professional));
        Ok(())
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
