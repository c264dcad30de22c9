//! Where records stand.

use std::collections::{HashMap, HashSet};

use alloy_primitives::{Address, B256};
use bindings::{Records::RecordsEvents, convert};
use domain::{Anchor, AnchorState, RecordId, RecordVersion, UnknownNumber};
use serde::{Deserialize, Serialize};

use super::Moment;

/// Anchors by steward, record and version, and the batches in which others were anchored.
///
/// The contract keeps a folder per steward, so another steward can anchor something of its own under
/// an id that it has read on chain. That must not change what is known of the first one's record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Records {
    anchors: HashMap<(Address, RecordId, u32), AnchorEntry>,
    batches: HashMap<(Address, B256), Batch>,
}

/// An anchor with where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorEntry {
    /// What was anchored.
    pub anchor: Anchor,
    /// Where it stands.
    pub state: AnchorState,
    /// Whether the steward took it back before the patient answered, such as to propose the next.
    pub is_withdrawn: bool,
    /// When it was anchored by itself: proposed, or taken out of a batch.
    pub moment: Moment,
}

/// Anchors that share one Merkle root on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// How many anchors it holds.
    pub count: u32,
    /// Which patients accepted theirs.
    pub accepted_by: HashSet<Address>,
    /// When it was anchored.
    pub moment: Moment,
}

impl Records {
    pub(super) fn apply(
        &mut self,
        event: RecordsEvents,
        moment: Moment,
    ) -> Result<(), UnknownNumber> {
        use AnchorState as State;
        use RecordsEvents as Event;
        match event {
            Event::RecordProposed(proposed) => {
                let anchor = convert::anchor(&proposed)?;
                let state = AnchorState::Proposed;
                self.insert(AnchorEntry { anchor, state, is_withdrawn: false, moment });
            }
            Event::RecordMaterialised(taken) => {
                let anchor = convert::materialised(&taken)?;
                let state = AnchorState::try_from(taken.state)?;
                self.insert(AnchorEntry { anchor, state, is_withdrawn: false, moment });
            }
            Event::RecordAccepted(accepted) => {
                self.set((accepted.steward, accepted.record, accepted.version), State::Accepted);
                if accepted.base > 0 {
                    self.set((accepted.steward, accepted.record, accepted.base), State::Superseded);
                }
            }
            Event::RecordRejected(rejected) => {
                self.set((rejected.steward, rejected.record, rejected.version), State::Rejected);
            }
            Event::RecordWithdrawn(withdrawn) => {
                let key = (withdrawn.steward, RecordId(withdrawn.record), withdrawn.version);
                if let Some(entry) = self.anchors.get_mut(&key) {
                    entry.state = State::Rejected;
                    entry.is_withdrawn = true;
                }
            }
            Event::RecordDisputed(disputed) => {
                self.set((disputed.steward, disputed.record, disputed.version), State::Disputed);
            }
            Event::DisputeResolved(resolved) => {
                self.set((resolved.steward, resolved.record, resolved.version), State::Accepted);
            }
            Event::RecordErased(erased) => {
                self.set((erased.steward, erased.record, erased.version), State::Erased);
            }
            Event::BatchAnchored(anchored) => {
                let count = anchored.count;
                let batch = Batch { count, accepted_by: HashSet::new(), moment };
                self.batches.insert((anchored.steward, anchored.root), batch);
            }
            Event::BatchAccepted(accepted) => {
                if let Some(batch) = self.batches.get_mut(&(accepted.steward, accepted.root)) {
                    batch.accepted_by.insert(accepted.patient);
                }
            }
            Event::ErasureRequested(_) => {}
        }
        Ok(())
    }

    fn insert(&mut self, entry: AnchorEntry) {
        let Anchor { steward, record, version, .. } = entry.anchor;
        self.anchors.insert((steward, record, version.get()), entry);
    }

    fn set(&mut self, (steward, record, version): (Address, B256, u32), state: AnchorState) {
        if let Some(entry) = self.anchors.get_mut(&(steward, RecordId(record), version)) {
            entry.state = state;
        }
    }

    /// An anchor that stands by itself, by steward, record and version.
    #[must_use]
    pub fn anchor(&self, steward: Address, record: RecordId, version: u32) -> Option<&AnchorEntry> {
        self.anchors.get(&(steward, record, version))
    }

    /// All anchors that stand by themselves.
    pub fn anchors(&self) -> impl Iterator<Item = &AnchorEntry> {
        self.anchors.values()
    }

    /// A batch by its steward and root.
    #[must_use]
    pub fn batch(&self, steward: Address, root: B256) -> Option<&Batch> {
        self.batches.get(&(steward, root))
    }

    /// All batches, by steward and root.
    pub fn batches(&self) -> impl Iterator<Item = (&(Address, B256), &Batch)> {
        self.batches.iter()
    }

    /// Whether this version of a steward's record was erased.
    #[must_use]
    pub fn is_erased(&self, steward: Address, record: RecordId, version: RecordVersion) -> bool {
        let entry = self.anchor(steward, record, version.get());
        entry.is_some_and(|entry| entry.state == AnchorState::Erased)
    }
}
