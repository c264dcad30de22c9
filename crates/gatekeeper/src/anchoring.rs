//! Anchors many records at once: their Merkle root goes on chain, what the leaves are made of stays
//! here.
//!
//! A **manifest** lists the anchors of a batch, in the order of its leaves. It is stored before the
//! root is sent, so that a crash in between leaves nothing unexplained: what is stored and not on
//! chain is sent again.
//!
//! # Manifest format
//!
//! ```text
//! anchors x  record [32] | version u32 | base u32 | kind u8 | patient [20] | digest [32]
//! ```
//!
//! All integers big-endian; the steward is the vault's.

use alloy_primitives::{Address, B256};
use bindings::{Contract, Records};
use domain::{Anchor, Kind, RecordDigest, RecordId, RecordVersion, merkle};
use ledger::SendError;
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use vault::{Entry, StoreError};

use crate::{Gatekeeper, GatekeeperError};

/// The most records in one batch: the root says nothing of their number, but a proof grows with it.
pub const MANIFEST_RECORDS_MAX: usize = 10_000;

const ANCHOR_LEN: usize = 93;

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

/// Why records were not anchored.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The database failed.
    #[error("the batch could not be stored")]
    Store(#[from] StoreError),
    /// The chain did not take the root. Anchoring again sends it again.
    #[error("the batch was not anchored")]
    Send(#[from] SendError),
}

impl From<sqlx::Error> for AnchorError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A batch as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    pub(crate) root: B256,
    pub(crate) anchors: Vec<Anchor>,
    /// The transaction that anchored it, once there is one.
    pub(crate) transaction: Option<B256>,
}

/// The anchor of a first version as the vault holds it.
pub(crate) fn first_anchor(entry: &Entry) -> Anchor {
    Anchor {
        record: entry.header.record,
        version: entry.header.version,
        base: 0,
        kind: entry.header.kind,
        patient: entry.patient,
        steward: entry.header.steward,
        digest: entry.digest,
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

pub(crate) fn tree(anchors: &[Anchor]) -> Option<merkle::Tree> {
    merkle::Tree::new(anchors.iter().map(Anchor::leaf).collect())
}

impl Gatekeeper {
    /// Anchors first versions that the vault holds, as one batch; returns the root and the outcome.
    ///
    /// # Errors
    ///
    /// [`AnchorError`]. After [`AnchorError::Send`] the batch is stored and sent by
    /// [`Gatekeeper::resume_anchoring`].
    ///
    /// # Panics
    ///
    /// When there are no entries, or more than [`MANIFEST_RECORDS_MAX`].
    pub async fn anchor_batch(
        &self,
        entries: &[Entry],
    ) -> Result<(B256, ledger::Outcome), AnchorError> {
        assert!(!entries.is_empty() && entries.len() <= MANIFEST_RECORDS_MAX);
        let anchors: Vec<Anchor> = entries.iter().map(first_anchor).collect();
        let root = tree(&anchors).expect("there are entries").root();
        let mut transaction = self.vault().database().begin().await?;
        sqlx::query(
            "insert into anchor_batches (root, position, manifest, tx)
            values ($1, (select coalesce(max(position), 0) + 1 from anchor_batches), $2, $3)",
        )
        .bind(root.to_vec())
        .bind(encode(&anchors))
        .bind(Vec::<u8>::new())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        let outcome = self.send_root(root, anchors.len()).await?;
        Ok((root, outcome))
    }

    async fn send_root(&self, root: B256, count: usize) -> Result<ledger::Outcome, AnchorError> {
        let count = u32::try_from(count).expect("a batch is bounded");
        let call = Records::anchorBatchCall { root, count };
        let records = self.deployment().address(Contract::Records);
        let outcome = self.sender().send(records, &call).await?;
        self.note_anchored(root, outcome.hash()).await?;
        Ok(outcome)
    }

    async fn note_anchored(&self, root: B256, hash: B256) -> Result<(), StoreError> {
        let mut transaction = self.vault().database().begin().await?;
        sqlx::query("update anchor_batches set tx = $2 where root = $1")
            .bind(root.to_vec())
            .bind(hash.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

    /// Sends the roots of batches that were stored and, because of a crash, not anchored; returns how
    /// many.
    ///
    /// # Errors
    ///
    /// [`AnchorError`]; trying again continues.
    pub async fn resume_anchoring(&self) -> Result<usize, AnchorError> {
        let mut resumed = 0;
        for batch in self.batches().await? {
            if batch.transaction.is_some() {
                continue;
            }
            let on_chain = {
                let projection = self.inner.projection.read().await;
                let found = projection.records.batch(self.member(), batch.root);
                found.map(|batch| batch.moment.transaction)
            };
            match on_chain {
                Some(transaction) => self.note_anchored(batch.root, transaction).await?,
                None => {
                    self.send_root(batch.root, batch.anchors.len()).await?;
                }
            }
            resumed += 1;
        }
        Ok(resumed)
    }

    /// All stored batches, in the order in which they were made.
    pub(crate) async fn batches(&self) -> Result<Vec<StoredBatch>, StoreError> {
        const CORRUPT: StoreError = StoreError::Corrupt { what: "a batch of anchors" };
        let rows = sqlx::query("select root, manifest, tx from anchor_batches order by position")
            .fetch_all(self.vault().database().readers())
            .await?;
        rows.iter()
            .map(|row| {
                let (root, manifest, transaction): (Vec<u8>, Vec<u8>, Vec<u8>) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                Ok(StoredBatch {
                    root: B256::try_from(root.as_slice()).map_err(|_| CORRUPT)?,
                    anchors: decode(&manifest, self.member()).ok_or(CORRUPT)?,
                    transaction: B256::try_from(transaction.as_slice()).ok(),
                })
            })
            .collect()
    }

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
        let alone = {
            let projection = self.inner.projection.read().await;
            projection.records.anchor(record, version.get()).map(|entry| entry.anchor)
        };
        for batch in self.batches().await? {
            let wanted = |anchor: &&Anchor| anchor.record == record && anchor.version == version;
            if let Some(position) = batch.anchors.iter().position(|anchor| wanted(&anchor)) {
                let proof = tree(&batch.anchors).and_then(|tree| tree.proof(position));
                let proof = proof.expect("the position is a leaf's");
                let inclusion = Inclusion::Batch { root: batch.root, proof };
                return Ok(Some((batch.anchors[position], inclusion)));
            }
        }
        Ok(alone.map(|anchor| (anchor, Inclusion::Alone)))
    }
}
