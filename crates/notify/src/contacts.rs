//! Whom patients want told when the glass is broken: parents, guardians, whomever they trust. The chain does
//! not say who that is, so patients say it to the gateway; what follows from the chain can be made anew, and
//! this cannot.

use alloy_primitives::Address;
use sqlx::{AnyConnection, any::AnyRow};
use vault::StoreError;

use crate::{Outbox, columns::address};

/// How many contacts a patient has at most.
pub const CONTACTS_MAX: usize = 8;

impl Outbox {
    /// A patient's contacts.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn contacts(&self, patient: Address) -> Result<Vec<Address>, StoreError> {
        let mut connection = self.database().readers().acquire().await?;
        contacts_of(&mut connection, patient).await
    }

    /// Gives a patient these contacts, and no others. They are told of what happens from now on, as far as this
    /// gateway serves them.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed; then nothing is changed.
    ///
    /// # Panics
    ///
    /// When there are more than [`CONTACTS_MAX`].
    pub async fn set_contacts(
        &self,
        patient: Address,
        contacts: &[Address],
    ) -> Result<(), StoreError> {
        assert!(contacts.len() <= CONTACTS_MAX);
        let mut transaction = self.database().begin().await?;
        sqlx::query("delete from notify_contacts where patient = $1")
            .bind(patient.to_vec())
            .execute(&mut *transaction)
            .await?;
        for contact in contacts {
            sqlx::query("insert into notify_contacts (patient, contact) values ($1, $2)")
                .bind(patient.to_vec())
                .bind(contact.to_vec())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }
}

/// A patient's contacts, as they are while something is taken in.
pub(crate) async fn contacts_of(
    connection: &mut AnyConnection,
    patient: Address,
) -> Result<Vec<Address>, StoreError> {
    let rows =
        sqlx::query("select contact from notify_contacts where patient = $1 order by contact")
            .bind(patient.to_vec())
            .fetch_all(connection)
            .await?;
    rows.iter().map(|row: &AnyRow| address(row, 0)).collect()
}
