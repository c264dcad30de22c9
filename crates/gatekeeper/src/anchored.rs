//! Where versions of records are on chain, for those who show it beside the records.

use alloy_primitives::B256;
use domain::{Anchor, AnchorState};
use ledger::Moment;
use vault::{Entry, StoreError};

use crate::Gatekeeper;

/// Where a version is on chain, and what became of it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchored {
    /// Where it stands.
    pub state: AnchorState,
    /// Whether the steward took it back before the patient answered, such as to propose the next.
    pub is_withdrawn: bool,
    /// The block and the transaction that anchored it, by itself or with its batch.
    pub moment: Moment,
    /// The Merkle root of its batch; `None` when it was anchored by itself.
    pub root: Option<B256>,
}

impl Gatekeeper {
    /// Where each of these versions is on chain, by what is known of it; `None` for what is not there.
    /// An entry says nothing of a body, so this decides nothing: whoever shows it has asked
    /// [`Gatekeeper::find`].
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn where_anchored(
        &self,
        entries: &[Entry],
    ) -> Result<Vec<Option<Anchored>>, StoreError> {
        self.learn_leaves().await?;
        let projection = self.inner.projection.read().await;
        let of = |entry: &Entry| {
            let state = self.standing(&projection, entry)?.state;
            let (steward, record) = (entry.header.steward, entry.header.record);
            let version = entry.header.version;
            if let Some(alone) = projection.records.anchor(steward, record, version.get()) {
                let (is_withdrawn, moment) = (alone.is_withdrawn, alone.moment);
                return Some(Anchored { state, is_withdrawn, moment, root: None });
            }
            let anchor = Anchor {
                record,
                version,
                base: 0,
                kind: entry.header.kind,
                patient: entry.patient,
                steward,
                digest: entry.digest,
            };
            let root = self.root_of(&anchor)?;
            let batch = projection.records.batch(steward, root)?;
            let moment = batch.moment;
            Some(Anchored { state, is_withdrawn: false, moment, root: Some(root) })
        };
        Ok(entries.iter().map(of).collect())
    }
}
