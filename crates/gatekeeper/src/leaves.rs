//! The records of this steward's own batches, one after the other: for those who are told of what is new.
//!
//! The chain does not say whose records are in a batch; its steward knows its manifests. A place in their
//! order is one number, so that whoever goes through them keeps no more:
//!
//! ```text
//! place   position of the batch << 14 | how many of its leaves come up to here
//! ```

use std::collections::BTreeMap;

use alloy_primitives::B256;
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
        let (mut position, mut skipped) = split(place);
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
            let after = std::mem::take(&mut skipped);
            let Some(batch) = self.stored_batch(&row) else { continue };
            let Some(moment) = self.moment_of(batch.root).await? else {
                let checking = move || batch.is_whole();
                let whole = tokio::task::spawn_blocking(checking);
                if whole.await.expect("hashing does not panic") {
                    break;
                }
                continue;
            };
            let rest = batch.anchors.into_iter().zip(1_i64..).filter(|(_, leaf)| *leaf > after);
            let rest = rest.filter(|(anchor, _)| self.root_of(anchor).is_some());
            let room = limit - leaves.len();
            leaves.extend(rest.take(room).map(|(anchor, leaf)| Leaf {
                place: found << LEAF_BITS | leaf,
                anchor,
                moment,
            }));
        }
        Ok(leaves)
    }

    /// The leaves at these places, by place. Each manifest is read once.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn leaves_at(
        &self,
        places: impl IntoIterator<Item = i64> + Send,
    ) -> Result<BTreeMap<i64, Leaf>, StoreError> {
        let mut by_batch: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for place in places {
            by_batch.entry(split(place).0).or_default().push(place);
        }
        let mut leaves = BTreeMap::new();
        for (position, places) in by_batch {
            let row =
                sqlx::query("select root, manifest, tx from anchor_batches where position = $1")
                    .bind(position)
                    .fetch_optional(self.vault().database().readers())
                    .await?;
            let Some(batch) = row.and_then(|row| self.stored_batch(&row)) else { continue };
            let Some(moment) = self.moment_of(batch.root).await? else { continue };
            for place in places {
                let index = usize::try_from(split(place).1 - 1).ok();
                let anchor = index.and_then(|index| batch.anchors.get(index)).copied();
                let anchor = anchor.filter(|anchor| self.root_of(anchor).is_some());
                leaves.extend(anchor.map(|anchor| (place, Leaf { place, anchor, moment })));
            }
        }
        Ok(leaves)
    }

    /// When an own batch was anchored; `None` when it is not on chain yet. The leaves of one that is are
    /// known then, unless its manifest is broken, so that nobody has to make its tree.
    async fn moment_of(&self, root: B256) -> Result<Option<Moment>, StoreError> {
        let moment = {
            let projection = self.projection().await;
            projection.records.batch(self.member(), root).map(|batch| batch.moment)
        };
        if moment.is_some() && !self.inner.leaves.knows(root) {
            self.learn_leaves().await?;
        }
        Ok(moment)
    }
}

/// The position of the batch in which a place is, and the number of its leaf there.
const fn split(place: i64) -> (i64, i64) {
    (place >> LEAF_BITS, place & ((1 << LEAF_BITS) - 1))
}
