//! What a version comes after, and the call that proposes it in that place.

use alloy_primitives::Bytes;
use alloy_sol_types::SolCall as _;
use bindings::{Records, convert::to_anchor};
use domain::{Anchor, AnchorState};
use vault::Entry;

use crate::Gatekeeper;

/// What a version comes after.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Succession {
    /// The version before it.
    pub(super) previous: Option<Anchor>,
    /// The version in force, which it would replace; zero for none.
    pub(super) base: u32,
    /// Whether the patient has not answered the version before.
    pub(super) is_pending: bool,
}

impl Succession {
    /// The call that proposes an anchor in this place.
    pub(super) fn proposal(&self, anchor: &Anchor) -> Bytes {
        let Some(previous) = &self.previous else {
            let call = Records::proposeCall {
                patient: anchor.patient,
                record: anchor.record.0,
                kind: anchor.kind.number(),
                digest: anchor.digest.0,
            };
            return call.abi_encode().into();
        };
        let previous = to_anchor(previous);
        let amend =
            Records::proposeAmendmentCall { previous: previous.clone(), next: to_anchor(anchor) };
        if !self.is_pending {
            return amend.abi_encode().into();
        }
        let withdraw = Records::withdrawCall { anchor: previous };
        let data = vec![withdraw.abi_encode().into(), amend.abi_encode().into()];
        Records::multicallCall { data }.abi_encode().into()
    }
}

impl Gatekeeper {
    /// What comes after `previous`.
    pub(super) async fn succession(&self, previous: Option<&Anchor>) -> Succession {
        let Some(previous) = previous else { return Succession::default() };
        let projection = self.inner.projection.read().await;
        let state = |version| {
            let entry = projection.records.anchor(self.member(), previous.record, version);
            entry.map(|entry| entry.state)
        };
        let version = previous.version.get();
        let is_pending = state(version) == Some(AnchorState::Proposed);
        // The version in force, which the next one would replace; zero when there is none, such as
        // after the first was rejected.
        let base = match (state(version), state(previous.base)) {
            (
                Some(AnchorState::Proposed | AnchorState::Rejected | AnchorState::Erased),
                Some(AnchorState::Accepted | AnchorState::Disputed),
            ) => previous.base,
            (Some(AnchorState::Proposed | AnchorState::Rejected | AnchorState::Erased), _) => 0,
            _ => version,
        };
        Succession { previous: Some(*previous), base, is_pending }
    }
}

/// The anchor of a version that replaces `base`.
pub(super) fn anchor_of(entry: &Entry, base: u32) -> Anchor {
    Anchor {
        record: entry.header.record,
        version: entry.header.version,
        base,
        kind: entry.header.kind,
        patient: entry.patient,
        steward: entry.header.steward,
        digest: entry.digest,
    }
}
