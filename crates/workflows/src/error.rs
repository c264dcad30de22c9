//! Why a step did not happen.

use gatekeeper::{AnchorError, AnswerError, GatekeeperError};
use ledger::{CallError, SendError};
use vault::{ImportError, OpenError, PutError, StoreError};

/// Why a step did not happen.
///
/// What a contract refuses is [`WorkflowError::Send`] with the contract's reason; what a gatekeeper
/// refuses is [`WorkflowError::Answer`]. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// The transaction was refused or not taken.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The chain could not be asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The records were not anchored.
    #[error(transparent)]
    Anchor(#[from] AnchorError),
    /// The gatekeeper did not answer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The gatekeeper does not work.
    #[error(transparent)]
    Gatekeeper(#[from] GatekeeperError),
    /// The record was not kept.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The record was not opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A copy was not kept.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The chain does not know what the step is about.
    #[error("{what} {id} is not known here")]
    Unknown {
        /// What it should be.
        what: &'static str,
        /// Its id.
        id: alloy_primitives::B256,
    },
    /// It would tell of few people.
    #[error(transparent)]
    Withheld(#[from] crate::research::Withheld),
    /// A census has more rows than the contract counts.
    #[error(transparent)]
    Census(#[from] census::TooManyRows),
    /// Something that was given is not what it should be.
    #[error("{0}")]
    Invalid(String),
}

impl WorkflowError {
    /// Whether this is an expected refusal by a contract or gatekeeper, not a fault.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Send(SendError::Refused(_) | SendError::Reverted { .. })
                | Self::Anchor(
                    AnchorError::Send(SendError::Refused(_) | SendError::Reverted { .. })
                        | AnchorError::Unsent(SendError::Refused(_) | SendError::Reverted { .. })
                )
                | Self::Answer(AnswerError::Refused(_))
                | Self::Withheld(_)
        )
    }
}
