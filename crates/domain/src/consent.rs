//! What patients allow and restrict, as the chain holds it.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::numbered::numbered;
use crate::{Kind, KindSet, Period, Purpose, PurposeSet, RecordId, Timestamp};

/// A period that would be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the period from {opens_at} to {closes_at} is empty; it must end after it begins")]
pub struct PeriodError {
    /// Where it would begin.
    pub opens_at: Timestamp,
    /// Where it would end.
    pub closes_at: Timestamp,
}

/// What a consent allows: which kinds, for which purposes, when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// When the consent holds.
    pub period: Period,
    /// Which kinds of record it opens.
    pub kinds: KindSet,
    /// For which purposes of use.
    pub purposes: PurposeSet,
}

impl Terms {
    /// Whether these terms let someone read `kind` for `purpose` at `time`.
    #[must_use]
    pub const fn cover(&self, kind: Kind, purpose: Purpose, time: Timestamp) -> bool {
        self.period.contains(time) && self.kinds.contains(kind) && self.purposes.contains(purpose)
    }
}

/// A patient's consent to one reader, with all records or one record as its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Grant {
    /// Who may read: the member address of an institution or a professional.
    pub reader: Address,
    /// The only record it opens; `None` opens all that the terms cover.
    pub record: Option<RecordId>,
    /// What it allows.
    pub terms: Terms,
    /// Counts grants and revocations of this reader and scope; countersignatures name it.
    pub version: u32,
}

/// A steward's signature under one version of a grant, where the relationship asks for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Countersignature {
    /// The reader of the grant.
    pub reader: Address,
    /// The scope of the grant.
    pub record: Option<RecordId>,
    /// The one version that was signed.
    pub version: u32,
}

numbered! {
    /// Where a relationship between patient and steward stands.
    pub enum RelationshipState: "relationship state" {
        /// The steward proposed it; the patient has not answered.
        Proposed = 1 "proposed",
        /// Both agreed.
        Active = 2 "active",
        /// One of them ended it, or it was declined.
        Ended = 3 "ended",
    }
}

/// An emergency opening: access without prior consent, bounded and to be reviewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Opening {
    /// The opening's name on chain.
    pub id: B256,
    /// The one professional, by member address, whom it lets read.
    pub professional: Address,
    /// The institution for which they opened it, by member address: it lets them read for no other.
    pub institution: Address,
    /// What it opens, before the patient's restrictions.
    pub kinds: KindSet,
    /// When it holds. Ending it early moves the end.
    pub period: Period,
}

/// What a workflow's contract lets an institution read: exactly one version of one record.
///
/// A pharmacy reads the prescription that prescriber and patient both permitted to it; a laboratory
/// the order addressed to it, until the result is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkflowGrant {
    /// The workflow's id on chain.
    pub workflow: B256,
    /// The institution, by member address, that takes part.
    pub institution: Address,
    /// The one record it may read.
    pub record: RecordId,
}
