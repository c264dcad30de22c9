//! The records of this steward's own batches, one after the other: for those who are told of what is new.
//!
//! The chain does not say whose records are in a batch; its steward knows its manifests. A place in their
//! order is one number, so that whoever goes through them keeps no more:
//!
//! ```text
//! place   position of the batch << 14 | how many of its leaves come up to here
//! ```

use domain::Anchor;
use ledger::Moment;
use sqlx::Row as _;
use vault::StoreError;

use crate::{Gatekeeper, MANIFEST_RECORDS_MAX, anchoring::ANCHOR_LEN};

/// How many bits count the leaves of one batch.
const LEAF_BITS: u32 = 14;

const _: () = assert!(MANIFEST_RECORDS_MAX < 1 << LEAF_BITS);

/// A record of one of this steward's batches that is on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Its place among all of them, above 0.
    pub place: i64,
    /// What it is.
    pub anchor: Anchor,
    /// When its batch was anchored.
    pub moment: Moment,
}

impl Gatekeeper {
    /// The place of the last leaf that is kept, whether or not its batch is on chain yet; 0 when there is
    /// none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn last_leaf(&self) -> Result<i64, StoreError> {
        let row = sqlx::query(
            "select position, cast(length(manifest) as bigint) from anchor_batches
            order by position desc limit 1",
        )
        .fetch_optional(self.vault().database().readers())
        .await?;
        let Some(row) = row else { return Ok(0) };
        let (position, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let leaves = bytes / i64::try_from(ANCHOR_LEN).expect("an anchor is short");
        Ok(position << LEAF_BITS | leaves)
    }

    /// The leaves after a place, in order, at most `limit`: those of batches that are on chain, up to the
    /// first that is not there yet. A batch whose manifest is broken has none.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn leaves_after(&self, place: i64, limit: usize) -> Result<Vec<Leaf>, StoreError> {
        let mut leaves = Vec::new();
        let (mut position, mut skipped) = (place >> LEAF_BITS, place & ((1 << LEAF_BITS) - 1));
        while leaves.len() < limit {
            let row = sqlx::query(
                "select root, manifest, tx, position from anchor_batches where position >= $1
                order by position limit 1",
            )
            .bind(position)
            .fetch_optional(self.vault().database().readers())
            .await?;
            let Some(row) = row else { break };
            let found: i64 = row.try_get(3)?;
            if found != position {
                skipped = 0;
            }
            position = found + 1;
            let Some(batch) = self.stored_batch(&row).filter(|batch| batch.is_whole()) else {
                skipped = 0;
                continue;
            };
            let moment = {
                let projection = self.projection().await;
                let on_chain = projection.records.batch(self.member(), batch.root);
                on_chain.map(|batch| batch.moment)
            };
            let Some(moment) = moment else { break };
            let room = limit - leaves.len();
            let rest = batch.anchors.into_iter().zip(1_i64..).filter(|(_, leaf)| *leaf > skipped);
            leaves.extend(rest.take(room).map(|(anchor, leaf)| Leaf {
                place: found << LEAF_BITS | leaf,
                anchor,
                moment,
            }));
            skipped = 0;
        }
        Ok(leaves)
    }
}
