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

use std::collections::{BTreeMap, HashMap, HashSet};

use alloy_primitives::B256;
use domain::{Anchor, RecordDigest, merkle};
use exchange::{BatchProof, SIBLINGS_MAX};
use ledger::Projection;
use sqlx::{Row as _, any::AnyRow};
use vault::{Along, Entry, StoreError};

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
    /// Keeps the proof of a version of another steward, which was held against the chain, together with its
    /// sealed bytes, which are read, and reconciled, by it.
    pub(crate) fn keeping_proof(&self, entry: &Entry, proof: &BatchProof) -> Along<'static> {
        let (gatekeeper, leaf, proof) = (self.clone(), leaf_of(entry).leaf(), proof.clone());
        Box::new(move |transaction| {
            Box::pin(async move {
                let siblings: Vec<u8> = proof.siblings.iter().flat_map(|one| one.0).collect();
                sqlx::query(
                    "insert into batch_proofs (leaf, root, siblings) values ($1, $2, $3)
                    on conflict (leaf) do update
                        set root = excluded.root, siblings = excluded.siblings",
                )
                .bind(leaf.to_vec())
                .bind(proof.root.to_vec())
                .bind(siblings)
                .execute(&mut **transaction)
                .await?;
                // It is true whether or not the bytes are kept in the end, and they are not there without
                // it for a moment.
                gatekeeper.inner.leaves.add(leaf, proof.root);
                Ok(())
            })
        })
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
        let mut by_root: BTreeMap<B256, Vec<(Anchor, RecordDigest)>> = BTreeMap::new();
        {
            let projection = self.inner.projection.read().await;
            for entry in entries.iter().filter(|entry| self.is_in_batch(&projection, entry)) {
                let anchor = leaf_of(entry);
                if let Some(root) = self.root_of(&anchor) {
                    by_root.entry(root).or_default().push((anchor, entry.digest));
                }
            }
        }
        let mut proofs = BTreeMap::new();
        // A batch has many records: one tree is in memory at a time.
        for (root, wanted) in by_root {
            let own = wanted.iter().map(|(anchor, _)| anchor);
            let own = own.filter(|anchor| anchor.steward == self.member()).map(Anchor::leaf);
            let mut made = self.proofs_under(root, own.collect()).await?;
            for (anchor, digest) in wanted {
                let leaf = anchor.leaf();
                // Of an own batch whose manifest is lost, another holder may have given the proof back.
                let found = match made.remove(&leaf) {
                    Some(siblings) => Some(BatchProof { root, siblings }),
                    None => self.kept_proof(leaf).await?,
                };
                proofs.extend(found.map(|proof| (digest, proof)));
            }
        }
        Ok(proofs)
    }

    /// The siblings of each of these leaves of an own batch; none when its manifest is lost or broken.
    async fn proofs_under(
        &self,
        root: B256,
        wanted: HashSet<B256>,
    ) -> Result<HashMap<B256, Vec<B256>>, StoreError> {
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let Some(batch) = self.batch(root).await? else { return Ok(HashMap::new()) };
        let proving = move || {
            let tree = tree(&batch.anchors).filter(|tree| tree.root() == root)?;
            let leaves = batch.anchors.iter().map(Anchor::leaf).zip(0..);
            let wanted = leaves.filter(|(leaf, _)| wanted.contains(leaf));
            Some(wanted.filter_map(|(leaf, place)| Some((leaf, tree.proof(place)?))).collect())
        };
        let proven = tokio::task::spawn_blocking(proving).await.expect("hashing does not panic");
        Ok(proven.unwrap_or_default())
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
