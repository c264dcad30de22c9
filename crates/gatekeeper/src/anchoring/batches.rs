//! Batches as they are stored: the root of each, and the manifest that says what its leaves are made of.
//!
//! # Manifest format
//!
//! ```text
//! anchors x  record [32] | version u32 | base u32 | kind u8 | patient [20] | digest [32]
//! ```
//!
//! All integers big-endian; the steward is the vault's.

use alloy_primitives::{Address, B256};
use domain::{Anchor, Kind, RecordDigest, RecordId, RecordVersion, merkle};
use sqlx::{Row as _, any::AnyRow};
use vault::{StoreError, WriteTransaction};

use crate::Gatekeeper;

/// The most records in one batch: the root says nothing of their number, but a proof grows with it.
pub const MANIFEST_RECORDS_MAX: usize = 10_000;

pub(crate) const ANCHOR_LEN: usize = 93;

/// A batch as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    pub(crate) root: B256,
    /// What its leaves are made of; nothing when the manifest cannot be read.
    pub(crate) anchors: Vec<Anchor>,
    /// The transaction that anchored it, once there is one.
    pub(crate) transaction: Option<B256>,
}

impl StoredBatch {
    /// Whether the manifest is the one that the root was made of.
    pub(crate) fn is_whole(&self) -> bool {
        tree(&self.anchors).is_some_and(|tree| tree.root() == self.root)
    }
}

/// The tree of a batch; none of no anchors.
pub(crate) fn tree(anchors: &[Anchor]) -> Option<merkle::Tree> {
    merkle::Tree::new(anchors.iter().map(Anchor::leaf).collect())
}

/// Stores what the leaves of a batch are made of, before its root is sent.
pub(super) async fn store_batch(
    transaction: &mut WriteTransaction,
    root: B256,
    anchors: &[Anchor],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into anchor_batches (root, position, manifest, tx)
        values ($1, (select coalesce(max(position), 0) + 1 from anchor_batches), $2, $3)",
    )
    .bind(root.to_vec())
    .bind(encode(anchors))
    .bind(Vec::<u8>::new())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

impl Gatekeeper {
    /// All stored batches, in the order in which they were made. A row without a root is none.
    pub(crate) async fn batches(&self) -> Result<Vec<StoredBatch>, StoreError> {
        let rows = sqlx::query("select root, manifest, tx from anchor_batches order by position")
            .fetch_all(self.vault().database().readers())
            .await?;
        Ok(rows.iter().filter_map(|row| self.stored_batch(row)).collect())
    }

    pub(crate) async fn batch(&self, root: B256) -> Result<Option<StoredBatch>, StoreError> {
        let row = sqlx::query("select root, manifest, tx from anchor_batches where root = $1")
            .bind(root.to_vec())
            .fetch_optional(self.vault().database().readers())
            .await?;
        Ok(row.and_then(|row| self.stored_batch(&row)))
    }

    pub(crate) fn stored_batch(&self, row: &AnyRow) -> Option<StoredBatch> {
        // Whoever writes to the database behind the gatekeeper's back may have put anything anywhere.
        let bytes = |column| row.try_get::<Vec<u8>, _>(column).unwrap_or_default();
        Some(StoredBatch {
            root: B256::try_from(bytes(0).as_slice()).ok()?,
            anchors: decode(&bytes(1), self.member()).unwrap_or_default(),
            transaction: B256::try_from(bytes(2).as_slice()).ok(),
        })
    }

    pub(super) async fn note_anchored(&self, root: B256, hash: B256) -> Result<(), StoreError> {
        let mut transaction = self.vault().database().share().await?;
        sqlx::query("update anchor_batches set tx = $2 where root = $1")
            .bind(root.to_vec())
            .bind(hash.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }
}

fn encode(anchors: &[Anchor]) -> Vec<u8> {
    let mut manifest = Vec::with_capacity(anchors.len() * ANCHOR_LEN);
    for anchor in anchors {
        manifest.extend_from_slice(anchor.record.0.as_slice());
        manifest.extend_from_slice(&anchor.version.get().to_be_bytes());
        manifest.extend_from_slice(&anchor.base.to_be_bytes());
        manifest.push(anchor.kind.number());
        manifest.extend_from_slice(anchor.patient.as_slice());
        manifest.extend_from_slice(anchor.digest.0.as_slice());
    }
    manifest
}

/// Reads a manifest; `None` when it is none.
fn decode(manifest: &[u8], steward: Address) -> Option<Vec<Anchor>> {
    let chunks = manifest.chunks_exact(ANCHOR_LEN);
    if !chunks.remainder().is_empty() {
        return None;
    }
    chunks
        .map(|bytes| {
            let number = |at: usize| bytes[at..at + 4].try_into().map(u32::from_be_bytes).ok();
            Some(Anchor {
                record: RecordId(B256::from_slice(&bytes[..32])),
                version: RecordVersion::try_from(number(32)?).ok()?,
                base: number(36)?,
                kind: Kind::try_from(bytes[40]).ok()?,
                patient: Address::from_slice(&bytes[41..61]),
                steward,
                digest: RecordDigest(B256::from_slice(&bytes[61..])),
            })
        })
        .collect()
}
