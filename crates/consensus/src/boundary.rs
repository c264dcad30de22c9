//! What the agreement asks of the chain's core, and what it may believe of a proposal.
//!
//! # How the core is driven without losing determinism
//!
//! A [`Chain`] has threads, files and channels of its own, and the fault tests run a whole network in
//! one thread on a clock of their own, where a run must depend on its seed alone. Both hold because the
//! agreement sees the core only through calls that return with a finished answer:
//!
//! - [`Core::apply`] enters one payload and blocks until its block is durable. What it leaves, state,
//!   pool and hash, depends on the payload and what was there before (S9), never on how the core's
//!   threads were scheduled. While it blocks, a single-threaded runtime runs nothing else and its clock
//!   stands still, so nobody sees the core between two blocks.
//! - No future of the agreement is ever woken by a thread of the core. Where it must wait for the core
//!   it asks again after a while by the runtime's clock.
//! - The agreement reads neither the core's clock nor any randomness: time comes from the runtime.
//!
//! Under tokio the same code runs on many threads: `apply` then has a thread of its own, and what others
//! see of the core may be older by a block, which every check allows for.

use alloy_primitives::B256;
use chain::{ApplyError, Certificate, Chain, Payload, Transaction};

/// The chain's core as the agreement uses it.
///
/// [`Chain`] is the core. Tests put one around it that lies about what it executed.
pub trait Core: Clone + Send + Sync + 'static {
    /// The chain itself.
    fn chain(&self) -> &Chain;

    /// Puts together block `height`, which must not be dated before `timestamp`.
    ///
    /// `ahead` are the transactions of blocks that are agreed on and not executed here. The payload has no
    /// transactions when none wait.
    fn propose(
        &self,
        height: u64,
        timestamp: u64,
        ahead: &[Transaction],
        size_max_bytes: usize,
    ) -> Payload {
        let executed = self.chain().applied();
        let transactions = self.chain().select(ahead, size_max_bytes);
        Payload { height, timestamp, executed, transactions }
    }

    /// Executes a payload that is final, and gives its block's hash once that is durable.
    ///
    /// Idempotent. Blocks the thread.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]: the payload was not executed, and nothing after it can be.
    fn apply(&self, payload: Payload, certificate: Certificate) -> Result<B256, ApplyError> {
        let stopped = || ApplyError::Stopped {
            reason: self.chain().stopped().unwrap_or_else(|| "it was closed".into()),
        };
        let applied = self.chain().apply(payload, certificate)?;
        let hash = futures::executor::block_on(applied.done()).ok_or_else(stopped)?;
        self.chain().forget_idle_senders();
        Ok(hash)
    }
}

impl Core for Chain {
    fn chain(&self) -> &Chain {
        self
    }
}
