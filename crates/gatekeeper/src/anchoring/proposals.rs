//! Proposals that are to be sent: stored before they are, and taken off the list once they are on chain.

use alloy_primitives::{B256, Bytes};
use domain::{Anchor, RecordId, RecordVersion};
use sqlx::Row as _;
use vault::{StoreError, WriteTransaction};

use crate::Gatekeeper;

/// Stores a proposal, before it is sent.
pub(super) async fn store_proposal(
    transaction: &mut WriteTransaction,
    anchor: &Anchor,
    call: &Bytes,
) -> Result<(), StoreError> {
    sqlx::query("insert into proposals (record, version, call) values ($1, $2, $3)")
        .bind(anchor.record.0.to_vec())
        .bind(i64::from(anchor.version.get()))
        .bind(call.to_vec())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

impl Gatekeeper {
    pub(super) async fn proposals(
        &self,
    ) -> Result<Vec<(RecordId, RecordVersion, Bytes)>, StoreError> {
        const CORRUPT: StoreError = StoreError::Corrupt { what: "proposal" };
        let rows =
            sqlx::query("select record, version, call from proposals order by record, version")
                .fetch_all(self.vault().database().readers())
                .await?;
        rows.iter()
            .map(|row| {
                let (record, version, call): (Vec<u8>, i64, Vec<u8>) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                let record = RecordId(B256::try_from(record.as_slice()).map_err(|_| CORRUPT)?);
                let version = u32::try_from(version).map_err(|_| CORRUPT)?;
                let version = RecordVersion::try_from(version).map_err(|_| CORRUPT)?;
                Ok((record, version, call.into()))
            })
            .collect()
    }

    pub(super) async fn forget_proposal(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<(), StoreError> {
        let mut transaction = self.vault().database().share().await?;
        forget_proposal(&mut transaction, record, version).await?;
        transaction.commit().await
    }

    /// Forgets proposals that are on chain, along with the next write: by themselves they are not worth
    /// a wait for the disk. One that is not forgotten is found on chain when anchoring is resumed.
    pub(super) async fn forget_sent(
        &self,
        transaction: &mut WriteTransaction,
    ) -> Result<(), StoreError> {
        for (record, version) in self.inner.on_the_way.take_sent() {
            forget_proposal(transaction, record, version).await?;
        }
        Ok(())
    }
}

/// Takes a proposal off the list of those to be sent.
async fn forget_proposal(
    transaction: &mut WriteTransaction,
    record: RecordId,
    version: RecordVersion,
) -> Result<(), StoreError> {
    sqlx::query("delete from proposals where record = $1 and version = $2")
        .bind(record.0.to_vec())
        .bind(i64::from(version.get()))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}
