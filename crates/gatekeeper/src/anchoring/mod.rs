//! Anchors records: by themselves as proposals, or many at once, whose Merkle root goes on chain while what
//! the leaves are made of stays here.
//!
//! What is to be sent is stored before it is sent, together with the records: the call of a proposal, or the
//! **manifest** of a batch, which lists its anchors in the order of its leaves. So a crash in between leaves
//! nothing unexplained: what is stored and not on chain is sent again.
//!
//! | part | file |
//! |---|---|
//! | keeping records and anchoring them | `putting.rs` |
//! | what a version comes after | `succession.rs` |
//! | what is stored before it is sent | `batches.rs`, `proposals.rs` |
//! | sending it once | `sending.rs` |
//! | sending again what did not arrive | `resuming.rs` |
//! | how a version is on chain | `inclusion.rs` |

mod batches;
mod inclusion;
mod proposals;
mod putting;
mod resuming;
mod sending;
mod succession;

use ledger::SendError;
pub use vault::Along;
use vault::{EraseError, PutError, StoreError};

pub use self::{batches::MANIFEST_RECORDS_MAX, inclusion::Inclusion, resuming::Resumed};
pub(crate) use self::{
    batches::{ANCHOR_LEN, tree},
    sending::OnTheWay,
};

/// Why records were not anchored.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The database failed.
    #[error("the records could not be stored")]
    Store(#[from] StoreError),
    /// The records could not be sealed or kept.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The chain does not take them. Nothing was kept.
    #[error(transparent)]
    Send(#[from] SendError),
    /// They are kept and not on chain yet.
    /// [`Gatekeeper::resume_anchoring`](crate::Gatekeeper::resume_anchoring) sends them again.
    #[error("kept, but not on chain yet: {0}")]
    Unsent(#[source] SendError),
}

impl AnchorError {
    /// What it is when everything is kept already.
    fn after_keeping(self) -> Self {
        match self {
            Self::Send(error) => Self::Unsent(error),
            error => error,
        }
    }
}

impl From<sqlx::Error> for AnchorError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<EraseError> for AnchorError {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::Store(error) => Self::Store(error),
            EraseError::NotHere { .. } => Self::Store(StoreError::Corrupt { what: "proposal" }),
        }
    }
}
