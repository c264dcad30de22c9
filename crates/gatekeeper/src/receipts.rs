//! The access log as it is read again: by those whom it is about, and by those who watch over it.

use alloy_primitives::{Address, B256};
use ledger::Moment;
use vault::StoreError;

use crate::{
    Gatekeeper, StoredReceipt,
    log::{sequence_bound, stored_receipt},
};

/// In which direction receipts are gone through, and from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// The newest first, of those before this number.
    Before(u64),
    /// The oldest first, of those after this number.
    After(u64),
}

/// Where a receipt is on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptAnchor {
    /// The Merkle root of its batch.
    pub root: B256,
    /// The number of the batch's first receipt.
    pub first_sequence: u64,
    /// How many receipts the batch has.
    pub count: u32,
    /// Block, time and transaction.
    pub moment: Moment,
}

impl Gatekeeper {
    /// At most `limit` receipts, of one patient or of all.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed, or a receipt cannot be read.
    pub async fn receipts(
        &self,
        patient: Option<Address>,
        walk: Walk,
        limit: u32,
    ) -> Result<Vec<StoredReceipt>, StoreError> {
        let text = match (patient, walk) {
            (Some(_), Walk::Before(_)) => {
                "select receipt, head, signature from receipts
                where sequence < $1 and patient = $3 order by sequence desc limit $2"
            }
            (Some(_), Walk::After(_)) => {
                "select receipt, head, signature from receipts
                where sequence > $1 and patient = $3 order by sequence limit $2"
            }
            (None, Walk::Before(_)) => {
                "select receipt, head, signature from receipts
                where sequence < $1 order by sequence desc limit $2"
            }
            (None, Walk::After(_)) => {
                "select receipt, head, signature from receipts
                where sequence > $1 order by sequence limit $2"
            }
        };
        let (Walk::Before(bound) | Walk::After(bound)) = walk;
        let mut query = sqlx::query(text).bind(sequence_bound(bound)).bind(i64::from(limit));
        if let Some(patient) = patient {
            query = query.bind(patient.to_vec());
        }
        let rows = query.fetch_all(self.vault().database().readers()).await?;
        rows.iter().map(stored_receipt).collect()
    }

    /// Where the receipt with this number is on chain, by what is known of it; `None` when it is not
    /// anchored yet.
    pub async fn receipt_anchor(&self, sequence: u64) -> Option<ReceiptAnchor> {
        let projection = self.projection().await;
        let log = projection.logs.get(&self.member())?;
        // Batches follow each other, so the last that begins no later is the only one that may have it.
        let index =
            log.batches.partition_point(|(_, first, _)| *first <= sequence).checked_sub(1)?;
        let (root, first_sequence, count) = *log.batches.get(index)?;
        let moment = *log.moments.get(index)?;
        let is_in = sequence - first_sequence < u64::from(count);
        is_in.then_some(ReceiptAnchor { root, first_sequence, count, moment })
    }
}
