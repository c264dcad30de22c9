//! Erasing records, and proving it.
//!
//! Erasing a version destroys its sealed bytes, its wrapped content key and every wrap of that key,
//! and leaves a tombstone: record, version, digest, who, when, why. The receipt says the same, and its
//! digest goes on chain.
//!
//! What counts is that the keys are gone. Overwriting a file is pointless on flash and on
//! copy-on-write file systems, so it is not done; SQLite zeroes what it frees (`secure_delete`) and
//! its log is folded away at once; PostgreSQL keeps the old row until its next vacuum. Backups keep
//! what they hold: a wrapped content key opens from there for whoever has the root key, until that
//! backup is destroyed. Kind keys are shared by many records and stay, until the patient is erased.
//!
//! ```text
//! receipt digest = SHA-256( "salus/erasure/v1" | record [32] | version u32 | digest [32] |
//!     steward [20] | erased by [20] | reason u8 | erased at u64 | salt [32] )
//! ```
//!
//! The salt is random, so that the digest on chain does not let anyone guess the reason.

use domain::{Address, B256, RecordDigest, RecordId, RecordVersion, Timestamp};
use rand_core::CryptoRng;
use sha2::{Digest as _, Sha256};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::database::Backend;
use crate::entries::{CORRUPT, Entry, entry_columns, entry_of, fixed, version_of};
use crate::recipients::Subject;
use crate::store_error::StoreError;
use crate::transaction::WriteTransaction;
use crate::vault::Vault;
use crate::wraps;

const LABEL: &[u8] = b"salus/erasure/v1";

/// Why a record is erased. The numbers are fixed, because receipts hold them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ErasureReason {
    /// The patient asked for it (GDPR, article 17).
    PatientRequest = 1,
    /// The time for which it had to be kept is over.
    RetentionOver = 2,
    /// A court or an authority ordered it.
    LegalOrder = 3,
    /// It should never have been here: the wrong patient, a test.
    KeptInError = 4,
}

impl ErasureReason {
    /// Every reason, in the order of the numbers.
    pub const ALL: &[Self] =
        &[Self::PatientRequest, Self::RetentionOver, Self::LegalOrder, Self::KeptInError];

    /// The number in receipts and rows.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    fn of_number(number: i64) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| i64::from(reason.number()) == number)
    }
}

/// Who has something erased, why and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErasureOrder {
    /// Who, by member address.
    pub by: Address,
    /// Why.
    pub reason: ErasureReason,
    /// When.
    pub at: Timestamp,
}

/// The statement that one version was erased. Its digest goes on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErasureReceipt {
    /// Which record.
    pub record: RecordId,
    /// Which version.
    pub version: RecordVersion,
    /// The digest of the sealed bytes that were there.
    pub digest: RecordDigest,
    /// Whose record it was to keep, by member address.
    pub steward: Address,
    /// Who had it erased, why and when.
    pub order: ErasureOrder,
    /// Random, so that nobody can guess the rest from the digest.
    pub salt: B256,
}

impl ErasureReceipt {
    /// What goes on chain.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let mut hash = Sha256::new();
        hash.update(LABEL);
        hash.update(self.record.0);
        hash.update(self.version.get().to_be_bytes());
        hash.update(self.digest.0);
        hash.update(self.steward);
        hash.update(self.order.by);
        hash.update([self.order.reason.number()]);
        hash.update(self.order.at.0.to_be_bytes());
        hash.update(self.salt);
        B256::from(<[u8; 32]>::from(hash.finalize()))
    }
}

/// Why nothing was erased.
#[derive(Debug, thiserror::Error)]
pub enum EraseError {
    /// There is no such record or version here.
    #[error("record {record} is not here")]
    NotHere {
        /// Which record.
        record: RecordId,
    },
    /// The store failed. Asking again may succeed, and finishes what was begun.
    #[error("the record could not be erased")]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for EraseError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What holding a receipt against the store shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErasureCheck {
    /// The tombstone says what the receipt says, and nothing of the version is left.
    Erased,
    /// There is no tombstone: the version was never erased here, or the store was set back.
    NoTombstone,
    /// The tombstone says something else.
    Differs,
    /// There is a tombstone, and still bytes or keys.
    NotGone,
}

impl Vault {
    /// Erases one version. Erasing it again gives the same receipt.
    ///
    /// # Errors
    ///
    /// See [`EraseError`].
    pub async fn erase(
        &self,
        record: RecordId,
        version: RecordVersion,
        order: ErasureOrder,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<ErasureReceipt, EraseError> {
        let mut transaction = self.database().begin().await?;
        let row = sqlx::query(concat!(
            "select ",
            entry_columns!(),
            " from records where record = $1 and version = $2"
        ))
        .bind(record.0.to_vec())
        .bind(i64::from(version.get()))
        .fetch_optional(&mut *transaction)
        .await?;
        let entry = entry_of(&row.ok_or(EraseError::NotHere { record })?)?;
        let receipt = erase_entry(&mut transaction, &entry, order, rng).await?;
        transaction.commit().await?;
        self.finish_erasing(&[receipt]).await?;
        Ok(receipt)
    }

    /// Erases all versions of a record.
    ///
    /// # Errors
    ///
    /// See [`EraseError`]. All were erased or none.
    pub async fn erase_record(
        &self,
        record: RecordId,
        order: ErasureOrder,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Vec<ErasureReceipt>, EraseError> {
        let mut transaction = self.database().begin().await?;
        let rows = sqlx::query(concat!(
            "select ",
            entry_columns!(),
            " from records where record = $1 order by version"
        ))
        .bind(record.0.to_vec())
        .fetch_all(&mut *transaction)
        .await?;
        if rows.is_empty() {
            return Err(EraseError::NotHere { record });
        }
        let mut receipts = Vec::with_capacity(rows.len());
        for row in &rows {
            let entry = entry_of(row)?;
            receipts.push(erase_entry(&mut transaction, &entry, order, rng).await?);
        }
        transaction.commit().await?;
        self.finish_erasing(&receipts).await?;
        Ok(receipts)
    }

    /// Erases everything about a patient: all versions of all records, whoever keeps them, their kind
    /// keys, and the public keys they were wrapped for. Tombstones stay.
    ///
    /// # Errors
    ///
    /// See [`EraseError`]. All was erased or nothing.
    pub async fn erase_patient(
        &self,
        patient: Address,
        order: ErasureOrder,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Vec<ErasureReceipt>, EraseError> {
        let inner = self.inner();
        let _change = inner.key_change.write().await;
        let mut transaction = self.database().begin().await?;
        let rows = sqlx::query(concat!(
            "select ",
            entry_columns!(),
            " from records where patient = $1 order by record, version"
        ))
        .bind(patient.to_vec())
        .fetch_all(&mut *transaction)
        .await?;
        let mut receipts = Vec::with_capacity(rows.len());
        for row in &rows {
            let entry = entry_of(row)?;
            receipts.push(erase_entry(&mut transaction, &entry, order, rng).await?);
        }
        for statement in [
            "delete from wraps where id in (select id from kind_keys where patient = $1)",
            "update kind_keys set sealed = null, state = 1 where patient = $1",
            "delete from patient_keys where patient = $1",
        ] {
            sqlx::query(statement).bind(patient.to_vec()).execute(&mut *transaction).await?;
        }
        // Before the commit, because whoever waits here may be gone before it is done, and nothing may
        // be sealed under a key that was destroyed. Opening goes on meanwhile, hence once more after it.
        inner.current_keys.lock().clear();
        inner.opened_keys.lock().clear();
        transaction.commit().await?;
        inner.opened_keys.lock().clear();
        self.finish_erasing(&receipts).await?;
        Ok(receipts)
    }

    /// The receipt of a version that was erased here.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn erasure_receipt(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<Option<ErasureReceipt>, StoreError> {
        let mut connection = self.database().readers().acquire().await?;
        receipt_of(&mut connection, record, version).await
    }

    /// Holds a receipt against what the store has.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn check_erasure(
        &self,
        receipt: &ErasureReceipt,
    ) -> Result<ErasureCheck, StoreError> {
        let ErasureReceipt { record, version, digest, .. } = *receipt;
        match self.erasure_receipt(record, version).await? {
            None => return Ok(ErasureCheck::NoTombstone),
            Some(found) if found != *receipt => return Ok(ErasureCheck::Differs),
            Some(_) => {}
        }
        let left = sqlx::query(
            "select 1 from records where digest = $1
                and (place <> 2 or body is not null or content_key is not null)
            union all select 1 from wraps where id = $2",
        )
        .bind(digest.0.to_vec())
        .bind(digest.0.to_vec())
        .fetch_optional(self.database().readers())
        .await?;
        let is_gone = left.is_none() && !self.inner().bodies.is_there(digest)?;
        Ok(if is_gone { ErasureCheck::Erased } else { ErasureCheck::NotGone })
    }

    /// Takes an erased version out altogether, its tombstone included, so that its number can be used again;
    /// returns whether there was one. Only for what never reached the chain: of anything else the tombstone
    /// is the proof.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be written.
    pub async fn forget_erased(
        transaction: &mut WriteTransaction,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<bool, StoreError> {
        let mut rows = Vec::with_capacity(2);
        for statement in [
            "delete from erasures where record = $1 and version = $2",
            "delete from records where record = $1 and version = $2 and place = 2",
        ] {
            let done = sqlx::query(statement)
                .bind(record.0.to_vec())
                .bind(i64::from(version.get()))
                .execute(&mut **transaction)
                .await?;
            rows.push(done.rows_affected());
        }
        Ok(rows == [1, 1])
    }

    /// Removes the files of erased versions, and what the log of the database still holds of them.
    async fn finish_erasing(&self, receipts: &[ErasureReceipt]) -> Result<(), StoreError> {
        for receipt in receipts {
            self.inner().bodies.remove(receipt.digest)?;
        }
        if self.database().backend() == Backend::Sqlite {
            self.database().fold_log().await?;
        }
        Ok(())
    }
}

/// Destroys what one version has, and leaves its tombstone.
async fn erase_entry(
    connection: &mut AnyConnection,
    entry: &Entry,
    order: ErasureOrder,
    rng: &mut (impl CryptoRng + Send),
) -> Result<ErasureReceipt, StoreError> {
    let (record, version) = entry.key();
    if let Some(receipt) = receipt_of(connection, record, version).await? {
        return Ok(receipt);
    }
    let mut salt = [0; 32];
    rng.fill_bytes(&mut salt);
    let steward = entry.header.steward;
    let digest = entry.digest;
    let receipt = ErasureReceipt { record, version, digest, steward, order, salt: salt.into() };
    sqlx::query(
        "update records set place = 2, body = null, content_key = null
        where record = $1 and version = $2",
    )
    .bind(record.0.to_vec())
    .bind(i64::from(version.get()))
    .execute(&mut *connection)
    .await?;
    wraps::remove(connection, Subject::Record(digest)).await?;
    sqlx::query(
        "insert into erasures (record, version, digest, steward, erased_by, reason, erased_at, salt)
        values ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(record.0.to_vec())
    .bind(i64::from(version.get()))
    .bind(digest.0.to_vec())
    .bind(steward.to_vec())
    .bind(order.by.to_vec())
    .bind(i64::from(order.reason.number()))
    .bind(i64::try_from(order.at.0).map_err(|_| CORRUPT)?)
    .bind(salt.to_vec())
    .execute(&mut *connection)
    .await?;
    Ok(receipt)
}

async fn receipt_of(
    connection: &mut AnyConnection,
    record: RecordId,
    version: RecordVersion,
) -> Result<Option<ErasureReceipt>, StoreError> {
    let row = sqlx::query(
        "select record, version, digest, steward, erased_by, reason, erased_at, salt
        from erasures where record = $1 and version = $2",
    )
    .bind(record.0.to_vec())
    .bind(i64::from(version.get()))
    .fetch_optional(connection)
    .await?;
    let receipt = |row: &AnyRow| {
        Ok(ErasureReceipt {
            record: RecordId(fixed::<32>(row, 0)?.into()),
            version: version_of(row.try_get(1)?)?,
            digest: RecordDigest(fixed::<32>(row, 2)?.into()),
            steward: fixed::<20>(row, 3)?.into(),
            order: ErasureOrder {
                by: fixed::<20>(row, 4)?.into(),
                reason: ErasureReason::of_number(row.try_get(5)?).ok_or(CORRUPT)?,
                at: Timestamp(row.try_get::<i64, _>(6)?.try_into().map_err(|_| CORRUPT)?),
            },
            salt: fixed::<32>(row, 7)?.into(),
        })
    };
    row.as_ref().map(receipt).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> ErasureReceipt {
        ErasureReceipt {
            record: RecordId(B256::repeat_byte(1)),
            version: RecordVersion::FIRST,
            digest: RecordDigest(B256::repeat_byte(2)),
            steward: Address::repeat_byte(3),
            order: ErasureOrder {
                by: Address::repeat_byte(4),
                reason: ErasureReason::PatientRequest,
                at: Timestamp(5),
            },
            salt: B256::repeat_byte(6),
        }
    }

    #[test]
    fn every_field_changes_the_digest() {
        let order = receipt().order;
        let variants = [
            ErasureReceipt { record: RecordId(B256::ZERO), ..receipt() },
            ErasureReceipt { version: 2.try_into().unwrap(), ..receipt() },
            ErasureReceipt { digest: RecordDigest(B256::ZERO), ..receipt() },
            ErasureReceipt { steward: Address::ZERO, ..receipt() },
            ErasureReceipt { order: ErasureOrder { by: Address::ZERO, ..order }, ..receipt() },
            ErasureReceipt {
                order: ErasureOrder { reason: ErasureReason::LegalOrder, ..order },
                ..receipt()
            },
            ErasureReceipt { order: ErasureOrder { at: Timestamp(6), ..order }, ..receipt() },
            ErasureReceipt { salt: B256::ZERO, ..receipt() },
        ];
        for variant in variants {
            assert_ne!(variant.digest(), receipt().digest(), "{variant:?}");
        }
    }
}
