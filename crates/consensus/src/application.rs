//! Proposes blocks when it is this member's turn, and judges those of others.

use std::time::Duration;

use chain::Transaction;
use commonware_consensus::{
    Application, Heightable as _, marshal::ancestry::Ancestry, simplex::types::Context,
};
use commonware_cryptography::{Digested, Digestible as _, ed25519::PublicKey, sha256::Digest};
use commonware_runtime::Clock;
use futures::StreamExt as _;

use crate::{
    Block, Core, Scheme,
    rules::{Verdict, judge},
};

/// How often is asked again whether there is something to do, or enough was executed.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// What a member does when consensus asks it for a block, or for its opinion of one.
#[derive(Clone)]
pub(crate) struct Member<C> {
    pub(crate) core: C,
    /// The most that a block's transactions may take together, in bytes.
    pub(crate) block_size_max_bytes: usize,
    /// When nothing waits, an empty block is proposed after this long.
    pub(crate) idle_block_interval: Duration,
}

/// The runtime's time, in seconds since 1970.
fn seconds(clock: &impl Clock) -> u64 {
    let since = clock.current().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl<C: Core> Member<C> {
    /// The transactions of the blocks from `parent` back that were not executed here, `parent` first taken.
    async fn ahead(&self, parent: &Block, ancestry: &mut impl Ancestry<Block>) -> Vec<Transaction> {
        let (applied, _) = self.core.chain().applied();
        let mut ahead = Vec::new();
        let mut height = parent.height().get();
        if height > applied {
            ahead.extend_from_slice(parent.transactions());
        }
        while height > applied + 1 {
            let Some(block) = ancestry.next().await else { break };
            ahead.extend_from_slice(block.inner().transactions());
            height = block.inner().height().get();
        }
        ahead
    }
}

impl<E: Clock, C: Core> Application<E> for Member<C> {
    type SigningScheme = Scheme;
    type Context = Context<Digest, PublicKey>;
    type Block = Block;
    type Input = ();

    /// Waits until a transaction waits, or the time for an empty block has come.
    async fn propose(
        &mut self,
        (clock, _): (E, Self::Context),
        mut ancestry: impl Ancestry<Block>,
        (): (),
    ) -> Option<Digested<Block>> {
        let parent = ancestry.next().await?.inner().clone();
        let ahead = self.ahead(&parent, &mut ancestry).await;
        let idle_until = clock.current() + self.idle_block_interval;
        loop {
            let now = clock.current();
            // Rule B2: nothing older than the parent names.
            if self.core.chain().applied().0 >= parent.executed().0 {
                let (height, time) = (parent.height().get() + 1, seconds(&clock));
                let time = time.max(parent.timestamp());
                let payload = self.core.propose(height, time, &ahead, self.block_size_max_bytes);
                if !payload.transactions.is_empty() || now >= idle_until {
                    let block = Block::new(parent.digest(), payload);
                    let digest = block.digest();
                    return Some(Digested::precomputed(block, digest));
                }
            }
            clock.sleep(ASK_AGAIN).await;
        }
    }

    /// Waits until there is a verdict: one that may still change would be counted as final.
    async fn verify(
        &mut self,
        (clock, _): (E, Self::Context),
        mut ancestry: impl Ancestry<Block>,
    ) -> bool {
        let Some(block) = ancestry.next().await else { return false };
        let Some(parent) = ancestry.next().await else { return false };
        loop {
            match judge(self.core.chain(), parent.inner(), block.inner(), seconds(&clock)) {
                Verdict::Valid => return true,
                Verdict::Invalid => return false,
                Verdict::NotYet => clock.sleep(ASK_AGAIN).await,
            }
        }
    }
}
