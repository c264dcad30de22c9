//! The stages that a block passes through, each on its own thread.
//!
//! See [`crate::chain`] for how they follow each other. The channels between them are short: more
//! blocks on the way would only add delay.

use std::sync::{
    Arc,
    atomic::Ordering,
    mpsc::{Receiver, SyncSender, sync_channel},
};

use alloy_primitives::{B256, Bytes};
use tokio::sync::oneshot;

use crate::{
    Block, BlockEnvironment, Certificate, Payload, SharedBlock,
    block::{BodyRoots, next_base_fee, seal_header},
    chain::{Chain, Shared, sender_state},
    execute::{Executed, execute},
    state::StateDelta,
    store::Checkpoints,
};

/// How many blocks may wait for a stage.
pub(crate) const BLOCKS_BETWEEN_STAGES: usize = 2;

/// How many blocks the commit stage writes at once when they queue up.
const BLOCKS_PER_COMMIT: usize = 64;

/// Derived data is stored after this many changed values or index entries.
const FLUSH_AFTER_VALUES: usize = 100_000;

/// And at the latest after this many blocks.
const FLUSH_AFTER_BLOCKS: u64 = 4_096;

/// A payload to be executed.
pub(crate) struct Job {
    pub(crate) payload: Payload,
    pub(crate) certificate: Certificate,
    pub(crate) done: oneshot::Sender<B256>,
}

struct ExecutedJob {
    environment: BlockEnvironment,
    executed: Executed,
    delta: StateDelta,
    certificate: Certificate,
    done: oneshot::Sender<B256>,
}

struct SealedJob {
    block: SharedBlock,
    delta: StateDelta,
    done: oneshot::Sender<B256>,
}

impl Chain {
    /// Starts the threads. The newest durable block has the hash `parent`.
    pub(crate) fn start_stages(&self, jobs: Receiver<Job>, parent: B256, checkpoints: Checkpoints) {
        let (to_seal, from_execute) = sync_channel(BLOCKS_BETWEEN_STAGES);
        let (to_commit, from_seal) = sync_channel(BLOCKS_PER_COMMIT);
        let (to_store, from_commit) = sync_channel(BLOCKS_PER_COMMIT);
        let shared = || Arc::clone(&self.shared);
        let (executing, sealing, committing, storing) = (shared(), shared(), shared(), shared());
        self.spawn("execute", move || executing.execute_stage(&jobs, &to_seal));
        self.spawn("seal", move || sealing.seal_stage(&from_execute, &to_commit, parent));
        self.spawn("commit", move || committing.commit_stage(&from_seal, &to_store));
        self.spawn("store", move || storing.store_stage(&from_commit, checkpoints));
    }
}

impl Shared {
    /// The circumstances of the block after `parent` at `time`.
    pub(crate) fn environment_after(
        &self,
        parent: &alloy_consensus::Header,
        time: u64,
    ) -> BlockEnvironment {
        BlockEnvironment {
            number: parent.number + 1,
            timestamp: time,
            beneficiary: self.config.genesis.beneficiary(),
            gas_limit: parent.gas_limit,
            base_fee: next_base_fee(
                parent.gas_used,
                parent.gas_limit,
                parent.base_fee_per_gas.unwrap_or_default(),
            ),
            prev_randao: B256::ZERO,
        }
    }

    fn execute_stage(&self, jobs: &Receiver<Job>, to_seal: &SyncSender<ExecutedJob>) {
        let mut parent = self.recent.read().head().header.clone();
        while let Ok(Job { payload, certificate, done }) = jobs.recv() {
            let environment = self.environment_after(&parent, payload.timestamp);
            let mut executed = {
                let world = self.world.read();
                let chain_id = self.config.genesis.chain_id();
                execute(&world, &self.hashes, chain_id, &environment, payload.transactions)
            };
            let changes = std::mem::take(&mut executed.changes);
            let delta = self.world.write().merge(changes);
            self.settle_pool(&mut executed);
            parent.number = environment.number;
            parent.gas_used = executed.gas_used;
            parent.base_fee_per_gas = Some(environment.base_fee);
            parent.timestamp = environment.timestamp;
            let after = next_base_fee(parent.gas_used, parent.gas_limit, environment.base_fee);
            let before = self.next_base_fee.swap(after, Ordering::SeqCst);
            if after < before {
                // What waits may have become worth a block. The lock is for whoever just looked.
                drop(self.pool.lock());
                self.pool_changed.notify_one();
            }
            self.executed.store(environment.number, Ordering::SeqCst);
            let job = ExecutedJob { environment, executed, delta, certificate, done };
            if to_seal.send(job).is_err() {
                return;
            }
        }
    }

    /// Tells the pool what became of transactions that did not run.
    fn settle_pool(&self, executed: &mut Executed) {
        if executed.rejected.is_empty() && executed.deferred.is_empty() {
            return;
        }
        let mut pool = self.pool.lock();
        let world = self.world.read();
        pool.put_back(std::mem::take(&mut executed.deferred));
        for (transaction, reason) in executed.rejected.drain(..) {
            let sender = transaction.sender();
            pool.reset(sender, sender_state(&world, &sender).nonce);
            self.dropped.lock().push(transaction.hash(), reason);
        }
        drop((pool, world));
        self.pool_changed.notify_one();
    }

    fn seal_stage(
        &self,
        executed: &Receiver<ExecutedJob>,
        to_commit: &SyncSender<SealedJob>,
        mut parent: B256,
    ) {
        while let Ok(job) = executed.recv() {
            let ExecutedJob { environment, executed, delta, certificate, done } = job;
            let roots = BodyRoots::of(&executed.included, &executed.receipts);
            let number = environment.number;
            let block_hash = self.hashes.history_slots_between(number - 1, number);
            let state_root = self.commitment.lock().apply(&delta, &block_hash);
            let gas_used = executed.gas_used;
            let extra = Bytes::new();
            let header = seal_header(parent, &environment, state_root, roots, gas_used, extra);
            let hash = header.hash_slow();
            parent = hash;
            self.hashes.push(hash);
            let block = Arc::new(Block {
                header,
                hash,
                transactions: executed.included,
                receipts: executed.receipts,
                certificate,
            });
            if to_commit.send(SealedJob { block, delta, done }).is_err() {
                return;
            }
        }
    }

    fn commit_stage(
        &self,
        sealed: &Receiver<SealedJob>,
        to_store: &SyncSender<(SharedBlock, StateDelta)>,
    ) {
        while let Ok(first) = sealed.recv() {
            let mut jobs = vec![first];
            while jobs.len() < BLOCKS_PER_COMMIT
                && let Ok(next) = sealed.try_recv()
            {
                jobs.push(next);
            }
            let blocks: Vec<&Block> = jobs.iter().map(|job| &*job.block).collect();
            if let Err(error) = self.log.append(&blocks) {
                self.stop(whole_story(&error));
                return;
            }
            for SealedJob { block, delta, done } in jobs {
                if self.config.durable {
                    self.index.add(&block);
                }
                self.recent.write().push(Arc::clone(&block));
                *self.head_number.lock() = block.header.number;
                self.head_changed.notify_all();
                let _ = done.send(block.hash);
                let _ = self.heads.send(Arc::clone(&block));
                if to_store.send((block, delta)).is_err() {
                    return;
                }
            }
        }
    }

    /// Stops the chain for good: what could not be written was not confirmed.
    ///
    /// What is confirmed can still be read. Whoever waits for a block is told.
    pub(crate) fn stop(&self, reason: String) {
        let reason = format!("{reason}; see to its cause, then start it again");
        tracing::error!(%reason, "the chain stopped and takes nothing more; it still answers");
        // Both at once: whoever sees that it stopped finds no entrance.
        let mut entrance = self.entrance.lock();
        self.stopped.write().get_or_insert(reason);
        entrance.take();
        drop(entrance);
        self.hashes.close();
        self.pool_changed.notify_all();
        // The lock is for whoever just looked and is about to wait.
        drop(self.head_number.lock());
        self.head_changed.notify_all();
    }

    /// Stores what is derived from the log, from time to time and at the end.
    ///
    /// A failure here loses nothing: it is tried again later, and what is missing is derived again
    /// when the chain is opened.
    fn store_stage(
        &self,
        committed: &Receiver<(SharedBlock, StateDelta)>,
        mut checkpoints: Checkpoints,
    ) {
        let mut unstored_blocks = 0;
        while let Ok((_, delta)) = committed.recv() {
            if !self.config.durable {
                continue;
            }
            checkpoints.add(delta);
            unstored_blocks += 1;
            let values = checkpoints.pending_len().max(self.index.pending_len());
            if values >= FLUSH_AFTER_VALUES || unstored_blocks >= FLUSH_AFTER_BLOCKS {
                unstored_blocks = 0;
                self.flush(&mut checkpoints);
            }
        }
        if self.config.durable {
            self.flush(&mut checkpoints);
        }
    }

    fn flush(&self, checkpoints: &mut Checkpoints) {
        if let Err(error) = checkpoints.flush().and_then(|()| self.index.flush()) {
            tracing::warn!(%error, "could not store derived data; it will be tried again");
        }
    }
}

/// An error with all its causes.
fn whole_story(error: &dyn std::error::Error) -> String {
    let mut story = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        story = format!("{story}: {source}");
        cause = source.source();
    }
    story
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{ApplyError, Chain, ChainConfig, Genesis, Payload};

    #[test]
    fn panic_in_a_stage_stops_the_chain_and_nobody_waits() {
        let dir = tempfile::tempdir().unwrap();
        let config = ChainConfig::new(dir.path(), Genesis::new(1, 1), Arc::new(|| 1));
        let chain = Chain::open(config).unwrap();
        chain.spawn("test", || panic!("on purpose"));
        while chain.stopped().is_none() {
            std::thread::yield_now();
        }
        let executed = chain.applied();
        let payload = Payload { height: 1, timestamp: 1, executed, transactions: Vec::new() };
        let refused = chain.apply(payload, crate::Certificate::new());
        assert!(matches!(refused, Err(ApplyError::Stopped { .. })));
        chain.close();
    }
}
