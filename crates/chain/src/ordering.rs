//! What an ordering and the chain's core say to each other.
//!
//! An ordering decides which transactions come next; the core executes what was decided. Nothing is
//! executed before it is final, so there is no state to take back. Each payload names a block that its
//! proposer had executed; whoever executed another one there halts instead of forking.
//!
//! One machine alone is an ordering with one member ([`crate::solo`]); a consensus engine is another.

use alloy_primitives::{Address, B256, Bytes};

use crate::Transaction;

/// The next block as it is ordered: before anything is executed.
#[derive(Clone, Debug)]
pub struct Payload {
    /// The block's number.
    pub height: u64,
    /// Its time, in seconds since 1970; never before that of the block before.
    pub timestamp: u64,
    /// A block that the proposer had executed: its number and hash.
    pub executed: (u64, B256),
    /// What runs in it, in this order.
    pub transactions: Vec<Transaction>,
}

/// A member of the committee that orders blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// The account that acts for it on chain.
    pub account: Address,
}

/// Why a payload was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The payload is not the next one.
    #[error("payload {given} does not follow block {last}")]
    NotNext {
        /// The last block ordered here.
        last: u64,
        /// The payload's height.
        given: u64,
    },
    /// The proposer executed another block than this chain did: one of the two is wrong.
    #[error("block {number} is {ours} here and {theirs} for the proposer; halting")]
    Diverged {
        /// Which block.
        number: u64,
        /// Its hash here.
        ours: B256,
        /// Its hash as the payload names it.
        theirs: B256,
    },
    /// The payload's time is before that of the block before.
    #[error("payload {given} is dated before the block it follows")]
    BackInTime {
        /// The payload's height.
        given: u64,
    },
    /// The chain stopped earlier and takes nothing more.
    #[error("the chain has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// The outcome of applying a payload, known once the block is durable.
#[derive(Debug)]
pub struct Applied(pub(crate) tokio::sync::oneshot::Receiver<B256>);

impl Applied {
    /// Waits, blocking the thread, and gives the block's hash; `None` when the chain stopped.
    #[must_use]
    pub fn wait(self) -> Option<B256> {
        self.0.blocking_recv().ok()
    }

    /// Waits and gives the block's hash; `None` when the chain stopped.
    pub async fn done(self) -> Option<B256> {
        self.0.await.ok()
    }
}

/// What an ordering attaches to a payload to prove that it was agreed on.
pub type Certificate = Bytes;
