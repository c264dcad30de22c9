//! Whom patients want told when the glass is broken: parents, guardians, whomever they trust. The chain does
//! not say who that is, so patients say it to the gateway.

use alloy_primitives::Address;
use sqlx::any::AnyRow;
use vault::StoreError;

use crate::{
    Outbox,
    columns::address,
    parties::{Key, Part, PartyChange},
};

/// How many contacts a patient has at most.
pub const CONTACTS_MAX: usize = 8;

impl Outbox {
    /// A patient's contacts.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn contacts(&self, patient: Address) -> Result<Vec<Address>, StoreError> {
        let Key(scope, subject) = Key::of_patient(patient);
        let rows = sqlx::query(
            "select party from notify_parties where scope = $1 and subject = $2 and part = $3
            order by party",
        )
        .bind(scope as i64)
        .bind(subject.to_vec())
        .bind(Part::Contact as i64)
        .fetch_all(self.database().readers())
        .await?;
        rows.iter().map(|row: &AnyRow| address(row, 0)).collect()
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
        let key = Key::of_patient(patient);
        let mut transaction = self.database().begin().await?;
        sqlx::query("delete from notify_parties where scope = $1 and subject = $2 and part = $3")
            .bind(key.0 as i64)
            .bind(key.1.to_vec())
            .bind(Part::Contact as i64)
            .execute(&mut *transaction)
            .await?;
        for contact in contacts {
            let change = PartyChange { key, part: Part::Contact, party: *contact, joins: true };
            change.write(&mut transaction).await?;
        }
        transaction.commit().await
    }
}
