//! When a proposed block may become final.

use alloy_consensus::Transaction as _;
use chain::{ApplyError, Chain};
use commonware_consensus::Heightable as _;

use crate::Block;

/// How far another member's clock may be ahead, in seconds.
const CLOCK_AHEAD_MAX_S: u64 = 2;

/// What is to be thought of a proposed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may become final.
    Valid,
    /// It may not, now or ever.
    Invalid,
    /// Nothing can be said yet: this member has not executed enough, or its clock is behind.
    NotYet,
}

/// Judges `block` after `parent`, at `now` in seconds since 1970.
///
/// Heights and digests were compared before. The transactions' form and signatures were checked when the
/// block was read, and whether they can run turns out when they do: one that cannot changes nothing.
///
/// - **B1**: Time does not run backwards, and not ahead of this member's clock.
/// - **B2**: The executed block that the proposer names comes before this one, not before the one that
///   the parent names, and has the hash that it has here.
/// - **B3**: All transactions fit into the block whatever they use.
pub(crate) fn judge(chain: &Chain, parent: &Block, block: &Block, now: u64) -> Verdict {
    let (number, _) = block.executed();
    let gas = block.transactions().iter().map(|each| each.envelope().gas_limit());
    let gas = gas.fold(0_u64, u64::saturating_add);
    let unfounded = block.timestamp() < parent.timestamp()
        || number < parent.executed().0
        || number >= block.height().get()
        || gas > chain.head().header.gas_limit;
    if unfounded {
        return Verdict::Invalid;
    }
    if block.timestamp() > now.saturating_add(CLOCK_AHEAD_MAX_S) || chain.applied().0 < number {
        return Verdict::NotYet;
    }
    match chain.verify(&block.payload()) {
        Ok(()) => Verdict::Valid,
        Err(error @ ApplyError::Diverged { .. }) => {
            tracing::error!(%error, "a member proposed a block on another state");
            Verdict::Invalid
        }
        Err(_) => Verdict::Invalid,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use alloy_primitives::B256;
    use chain::{Certificate, ChainConfig, Genesis, Payload};
    use commonware_cryptography::Digestible as _;

    use super::*;

    const NOW: u64 = 1_000;

    /// Judges a third block that is changed before it is proposed, by a member that executed the first.
    #[track_caller]
    fn check(change: impl FnOnce(&mut Payload), expected: Verdict) {
        let dir = tempfile::tempdir().unwrap();
        let config = ChainConfig::new(dir.path(), Genesis::new(1, NOW), Arc::new(|| NOW));
        let chain = Chain::open(config.thrown_away()).unwrap();
        let genesis = Block::genesis(&chain);
        let empty = |height| Payload {
            height,
            timestamp: NOW,
            executed: chain.applied(),
            transactions: Vec::new(),
        };
        let first = Block::new(genesis.digest(), empty(1));
        let applied = chain.apply(first.payload(), Certificate::new()).unwrap();
        assert!(applied.wait().is_some());
        let second = Block::new(first.digest(), empty(2));
        let mut third = empty(3);
        change(&mut third);
        let verdict = judge(&chain, &second, &Block::new(second.digest(), third), NOW);
        chain.close();
        assert_eq!(verdict, expected);
    }

    #[test]
    fn block_after_its_parent_is_valid() {
        check(|_| {}, Verdict::Valid);
    }

    #[test]
    fn b1_time_runs_neither_backwards_nor_ahead() {
        check(|payload| payload.timestamp -= 1, Verdict::Invalid);
        check(|payload| payload.timestamp += CLOCK_AHEAD_MAX_S, Verdict::Valid);
        check(|payload| payload.timestamp += CLOCK_AHEAD_MAX_S + 1, Verdict::NotYet);
    }

    #[test]
    fn b2_executed_block_is_the_one_here() {
        check(|payload| payload.executed.1 = B256::ZERO, Verdict::Invalid);
        check(|payload| payload.executed.0 = 0, Verdict::Invalid);
        check(|payload| payload.executed.0 = 3, Verdict::Invalid);
        check(|payload| payload.executed.0 = 2, Verdict::NotYet);
    }
}
