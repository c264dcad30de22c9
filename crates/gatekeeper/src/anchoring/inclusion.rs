//! How one version is on chain: by itself, or as a leaf of a batch, with the proof of that.

use alloy_primitives::B256;
use domain::{Anchor, RecordId, RecordVersion};
use serde::{Deserialize, Serialize};
use vault::StoreError;

use super::{
    batches::{StoredBatch, tree},
    succession::anchor_of,
};
use crate::{Gatekeeper, GatekeeperError};

/// How an anchor is on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inclusion {
    /// By itself.
    Alone,
    /// As a leaf of a batch.
    Batch {
        /// The batch's root.
        root: B256,
        /// The siblings from the leaf to the root.
        proof: Vec<B256>,
    },
}

impl Gatekeeper {
    /// How one version is on chain, with its anchor; `None` when it is not.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the database failed.
    pub async fn inclusion(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<Option<(Anchor, Inclusion)>, GatekeeperError> {
        Ok(self.included(record, version).await?)
    }

    pub(super) async fn included(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<Option<(Anchor, Inclusion)>, StoreError> {
        // Of what is here, the batch is known.
        self.learn_leaves().await?;
        let kept = self.vault().versions_of(&[record]).await?;
        let kept = kept.iter().find(|entry| entry.header.version == version);
        if let Some(root) = kept.and_then(|entry| self.root_of(&anchor_of(entry, 0)))
            && let Some(batch) = self.batch(root).await?
            && let Some(found) = self.in_stored(&batch, record, version).await
        {
            return Ok(Some(found));
        }
        let alone = {
            let projection = self.inner.projection.read().await;
            let entry = projection.records.anchor(self.member(), record, version.get());
            entry.map(|entry| entry.anchor)
        };
        if let Some(anchor) = alone.filter(|_| kept.is_some()) {
            return Ok(Some((anchor, Inclusion::Alone)));
        }
        for batch in self.batches().await? {
            if let Some(found) = self.in_stored(&batch, record, version).await {
                return Ok(Some(found));
            }
        }
        Ok(alone.map(|anchor| (anchor, Inclusion::Alone)))
    }

    /// A version in a batch that is on chain, with its proof.
    async fn in_stored(
        &self,
        batch: &StoredBatch,
        record: RecordId,
        version: RecordVersion,
    ) -> Option<(Anchor, Inclusion)> {
        let wanted = |anchor: &Anchor| anchor.record == record && anchor.version == version;
        let position = batch.anchors.iter().position(wanted)?;
        self.projection().await.records.batch(self.member(), batch.root)?;
        let tree = tree(&batch.anchors).filter(|tree| tree.root() == batch.root)?;
        let proof = tree.proof(position).expect("the position is a leaf's");
        Some((batch.anchors[position], Inclusion::Batch { root: batch.root, proof }))
    }
}
