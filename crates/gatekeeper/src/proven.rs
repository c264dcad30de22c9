//! Versions that stand in batches, shown to others and believed of others.
//!
//! Only a batch's root is on chain. Its steward keeps the manifest, and gives with each version the way
//! from its leaf to the root. Whoever gets it holds it against the root on chain, and keeps it: to read
//! by, to reconcile by, and to give on with the copy. A proof that is kept is believed no more than one
//! that comes in.
//!
//! ```text
//! siblings   the hashes [32] from the leaf to the root, one after the other
//! ```

use std::collections::{BTreeMap, HashMap, hash_map};

use alloy_primitives::B256;
use domain::{Anchor, RecordDigest, merkle};
use exchange::{BatchProof, SIBLINGS_MAX};
use ledger::Projection;
use sqlx::{Row as _, any::AnyRow};
use vault::{Entry, StoreError};

use crate::{Gatekeeper, anchoring::tree, standing::leaf_of};

/// How many kept proofs are read at a time.
const READ_AT_ONCE: i64 = 10_000;

/// Whether a proof leads from a version to the root of a batch that its steward anchored.
pub(crate) fn proves(projection: &Projection, entry: &Entry, proof: &BatchProof) -> bool {
    let anchor = leaf_of(entry);
    proof.siblings.len() <= SIBLINGS_MAX
        && projection.records.batch(anchor.steward, proof.root).is_some()
        && merkle::verify(proof.root, anchor.leaf(), &proof.siblings)
}

fn word(row: &AnyRow, column: usize) -> Option<B256> {
    // Whoever writes to the database behind the gatekeeper's back may have put anything anywhere.
    B256::try_from(row.try_get::<Vec<u8>, _>(column).ok()?.as_slice()).ok()
}

fn siblings(row: &AnyRow, column: usize) -> Option<Vec<B256>> {
    let bytes: Vec<u8> = row.try_get(column).ok()?;
    let hashes = bytes.chunks_exact(32);
    hashes.remainder().is_empty().then(|| hashes.map(B256::from_slice).collect())
}

impl Gatekeeper {
    /// Keeps the proof of a version of another steward, which was held against the chain.
    pub(crate) async fn keep_proof(
        &self,
        entry: &Entry,
        proof: &BatchProof,
    ) -> Result<(), StoreError> {
        let leaf = leaf_of(entry).leaf();
        let mut transaction = self.vault().database().begin().await?;
        sqlx::query(
            "insert into batch_proofs (leaf, root, siblings) values ($1, $2, $3)
            on conflict (leaf) do update set root = excluded.root, siblings = excluded.siblings",
        )
        .bind(leaf.to_vec())
        .bind(proof.root.to_vec())
        .bind(proof.siblings.iter().flat_map(|sibling| sibling.0).collect::<Vec<u8>>())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        self.inner.leaves.add(leaf, proof.root);
        Ok(())
    }

    /// Reads the proofs that are kept. Those that lead nowhere are as if they were not there.
    pub(crate) async fn read_proofs(&self) -> Result<(), StoreError> {
        let (mut proven, mut after) = (Vec::new(), Vec::new());
        loop {
            let rows = sqlx::query(
                "select leaf, root, siblings from batch_proofs where leaf > $1
                order by leaf limit $2",
            )
            .bind(after)
            .bind(READ_AT_ONCE)
            .fetch_all(self.vault().database().readers())
            .await?;
            let Some(last) = rows.last() else { break };
            after = last.try_get(0)?;
            proven.extend(rows.iter().filter_map(|row| {
                let (leaf, root) = (word(row, 0)?, word(row, 1)?);
                merkle::verify(root, leaf, &siblings(row, 2)?).then_some((leaf, root))
            }));
        }
        self.inner.leaves.add_proven(proven);
        Ok(())
    }

    /// The proofs of those of these versions that stand in batches. A version whose proof cannot be made
    /// has none.
    pub(crate) async fn proofs_of(
        &self,
        entries: &[Entry],
    ) -> Result<BTreeMap<RecordDigest, BatchProof>, StoreError> {
        let in_batches: Vec<(Anchor, RecordDigest, B256)> = {
            let projection = self.inner.projection.read().await;
            let in_batches = entries.iter().filter(|entry| self.is_in_batch(&projection, entry));
            let rooted = in_batches.filter_map(|entry| {
                let anchor = leaf_of(entry);
                Some((anchor, entry.digest, self.root_of(&anchor)?))
            });
            rooted.collect()
        };
        let (mut proofs, mut trees) = (BTreeMap::new(), HashMap::new());
        for (anchor, digest, root) in in_batches {
            let found = if anchor.steward == self.member() {
                let known = match trees.entry(root) {
                    hash_map::Entry::Occupied(known) => known.into_mut(),
                    hash_map::Entry::Vacant(unknown) => unknown.insert(self.whole(root).await?),
                };
                known.as_ref().and_then(|(tree, places)| {
                    Some(BatchProof { root, siblings: tree.proof(*places.get(&anchor.leaf())?)? })
                })
            } else {
                None
            };
            // Of an own batch whose manifest is lost, another holder may have given the proof back.
            let found = match found {
                None => self.kept_proof(anchor.leaf()).await?,
                found => found,
            };
            proofs.extend(found.map(|proof| (digest, proof)));
        }
        Ok(proofs)
    }

    /// The tree of an own batch, and the place of each leaf; `None` when its manifest is lost or broken.
    async fn whole(
        &self,
        root: B256,
    ) -> Result<Option<(merkle::Tree, HashMap<B256, usize>)>, StoreError> {
        let batch = self.batch(root).await?;
        Ok(batch.and_then(|batch| {
            let tree = tree(&batch.anchors).filter(|tree| tree.root() == root)?;
            let leaves = batch.anchors.iter().map(Anchor::leaf).zip(0..);
            Some((tree, leaves.collect()))
        }))
    }

    async fn kept_proof(&self, leaf: B256) -> Result<Option<BatchProof>, StoreError> {
        let row = sqlx::query("select root, siblings from batch_proofs where leaf = $1")
            .bind(leaf.to_vec())
            .fetch_optional(self.vault().database().readers())
            .await?;
        Ok(row.and_then(|row| {
            Some(BatchProof { root: word(&row, 0)?, siblings: siblings(&row, 1)? })
        }))
    }
}
