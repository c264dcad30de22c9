//! Which version of a record is read: the chain says where each stands.
//!
//! A version that was never anchored is not read at all, nor one that the patient rejected: whoever
//! relied on it would rely on what nobody vouches for.

use std::collections::{HashMap, HashSet};

use alloy_primitives::B256;
use domain::{Anchor, AnchorState, RecordVersion};
use ledger::Projection;
use parking_lot::RwLock;
use vault::{Entry, StoreError};

use crate::Gatekeeper;

/// The leaves of batches that are known: of this steward's own, so that they need not be looked for in
/// manifests with each read, and of other stewards' what came with its proof.
#[derive(Debug, Default)]
pub(crate) struct AnchoredLeaves(RwLock<Leaves>);

#[derive(Debug, Default)]
struct Leaves {
    /// The batch of each leaf, by its root.
    roots: HashMap<B256, B256>,
    /// The batches that were looked at, also those whose manifest is lost.
    known: HashSet<B256>,
    /// Whether the proofs that are kept were read.
    has_read_proofs: bool,
}

impl AnchoredLeaves {
    /// Whether the kept proofs are among them.
    pub(crate) fn has_read_proofs(&self) -> bool {
        self.0.read().has_read_proofs
    }

    /// Adds the leaves that kept proofs lead from, each with its root.
    pub(crate) fn add_proven(&self, proven: Vec<(B256, B256)>) {
        let mut leaves = self.0.write();
        for (leaf, root) in proven {
            leaves.roots.entry(leaf).or_insert(root);
        }
        leaves.has_read_proofs = true;
    }

    /// Adds one leaf that a proof leads from.
    pub(crate) fn add(&self, leaf: B256, root: B256) {
        self.0.write().roots.entry(leaf).or_insert(root);
    }
}

/// Where a version stands, and whether by itself or in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The state. In a batch, a version is proposed until the patient accepts the batch.
    pub(crate) state: AnchorState,
    in_batch: bool,
    is_withdrawn: bool,
}

impl Standing {
    /// Whether it stands there as a leaf of a batch.
    pub(crate) const fn is_in_batch(self) -> bool {
        self.in_batch
    }

    /// Which of several versions is read: of those with the highest rank the newest.
    const fn rank(self) -> u8 {
        match self.state {
            AnchorState::Accepted | AnchorState::Disputed => 4,
            AnchorState::Proposed if self.in_batch => 4,
            AnchorState::Proposed => 3,
            // Nothing of it is given out, but the reader is told why.
            AnchorState::Erased => 2,
            AnchorState::Rejected => 1,
            AnchorState::Superseded => 0,
        }
    }
}

impl Gatekeeper {
    /// Learns the leaves of batches that were anchored since this was last called.
    pub(crate) async fn learn_leaves(&self) -> Result<(), StoreError> {
        if !self.inner.leaves.has_read_proofs() {
            self.read_proofs().await?;
        }
        let unknown: Vec<B256> = {
            let projection = self.inner.projection.read().await;
            let leaves = self.inner.leaves.0.read();
            let batches = projection.records.batches().map(|(key, _)| *key);
            let own = batches.filter(|(steward, _)| *steward == self.member());
            own.map(|(_, root)| root).filter(|root| !leaves.known.contains(root)).collect()
        };
        if unknown.is_empty() {
            return Ok(());
        }
        // Manifests are stored before their roots are sent: those of the unknown ones are there.
        for root in &unknown {
            let Some(batch) = self.batch(*root).await? else { continue };
            let whole = batch.is_whole();
            let leaves = batch.anchors.iter().filter(|_| whole).map(Anchor::leaf);
            let leaves: Vec<_> = leaves.map(|leaf| (leaf, batch.root)).collect();
            let mut known = self.inner.leaves.0.write();
            known.roots.extend(leaves);
            known.known.insert(batch.root);
        }
        // A batch without a manifest anchors nothing that anybody could name.
        self.inner.leaves.0.write().known.extend(unknown);
        Ok(())
    }

    /// The root of the batch of which an anchor is a leaf.
    pub(crate) fn root_of(&self, anchor: &Anchor) -> Option<B256> {
        self.inner.leaves.0.read().roots.get(&anchor.leaf()).copied()
    }

    /// Where a stored version stands on chain; `None` when it was never anchored as what it is here.
    pub(crate) fn standing(&self, projection: &Projection, entry: &Entry) -> Option<Standing> {
        self.standing_under(projection, entry, None)
    }

    /// Where a version stands on chain, which was shown to be a leaf under this root.
    pub(crate) fn standing_under(
        &self,
        projection: &Projection,
        entry: &Entry,
        root: Option<B256>,
    ) -> Option<Standing> {
        let anchor = leaf_of(entry);
        let alone = projection.records.anchor(anchor.steward, anchor.record, anchor.version.get());
        let found = match alone {
            Some(alone) => {
                let is_this = Anchor { base: 0, ..alone.anchor } == anchor;
                is_this.then_some(Standing {
                    state: alone.state,
                    in_batch: false,
                    is_withdrawn: alone.is_withdrawn,
                })
            }
            None => self.in_batch(projection, &anchor, root),
        };
        // Between the erasing here and the chain's word of it, it is gone already.
        found.map(|found| match entry.is_erased {
            true => Standing { state: AnchorState::Erased, ..found },
            false => found,
        })
    }

    fn in_batch(
        &self,
        projection: &Projection,
        anchor: &Anchor,
        root: Option<B256>,
    ) -> Option<Standing> {
        let root = root.or_else(|| self.root_of(anchor))?;
        let batch = projection.records.batch(anchor.steward, root)?;
        let accepted = batch.accepted_by.contains(&anchor.patient);
        let state = if accepted { AnchorState::Accepted } else { AnchorState::Proposed };
        Some(Standing { state, in_batch: true, is_withdrawn: false })
    }

    /// One version by its number, with where it stands; none when it was never anchored, or was rejected
    /// and the reader is not to see that. What the steward took back to propose the next version is a
    /// part of the record's history, and counts as superseded.
    pub(crate) fn named(
        &self,
        projection: &Projection,
        versions: &[Entry],
        version: RecordVersion,
        rejected_too: bool,
    ) -> Option<(Entry, AnchorState)> {
        let entry = versions.iter().find(|entry| entry.header.version == version)?;
        let standing = self.standing(projection, entry)?;
        let was_replaced = standing.is_withdrawn
            && versions.iter().any(|later| {
                later.header.version > version && self.standing(projection, later).is_some()
            });
        match standing.state {
            AnchorState::Rejected if was_replaced => Some((*entry, AnchorState::Superseded)),
            AnchorState::Rejected if !rejected_too => None,
            state => Some((*entry, state)),
        }
    }

    /// The newest version of a record that stands, answered by the patient or not.
    pub(crate) fn newest(
        &self,
        projection: &Projection,
        versions: &[Entry],
    ) -> Option<(Entry, AnchorState)> {
        use AnchorState::{Accepted, Disputed, Proposed};
        let standing = versions.iter().filter_map(|entry| {
            let state = self.standing(projection, entry)?.state;
            matches!(state, Proposed | Accepted | Disputed).then_some((*entry, state))
        });
        standing.max_by_key(|(entry, _)| entry.header.version)
    }

    /// Whether a version is on chain as a leaf of a batch.
    pub(crate) fn is_in_batch(&self, projection: &Projection, entry: &Entry) -> bool {
        self.standing(projection, entry).is_some_and(|standing| standing.in_batch)
    }

    /// The version that is read of one record, with where it stands; none when all were taken back or
    /// none was anchored. Whoever may see what was rejected says so.
    pub(crate) fn choose(
        &self,
        projection: &Projection,
        versions: &[Entry],
        rejected_too: bool,
    ) -> Option<(Entry, AnchorState)> {
        let standing = versions.iter().filter_map(|entry| {
            let standing = self.standing(projection, entry)?;
            Some((standing.rank(), entry.header.version, *entry, standing.state))
        });
        let least = if rejected_too { 1 } else { 2 };
        let chosen = standing
            .filter(|(rank, ..)| *rank >= least)
            .max_by_key(|(rank, version, ..)| (*rank, *version));
        chosen.map(|(.., entry, state)| (entry, state))
    }
}

/// The anchor that a version is as a leaf of a batch: nothing that it replaces is in force.
pub(crate) const fn leaf_of(entry: &Entry) -> Anchor {
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
