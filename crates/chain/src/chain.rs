//! The chain: what is known of it, and the stages that a block passes through.
//!
//! A payload goes through three stages, each on its own thread, so that recovery of signatures,
//! execution, hashing and the disk overlap on the machine's cores:
//!
//! ```text
//! apply -> execute (EVM, merge into the world) -> seal (tries, roots, header) -> commit (log, disk)
//! ```
//!
//! A block is visible to readers only after it is on the disk. The world runs ahead by the blocks that
//! are still on the way; readers look at the state as of the last durable block.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::SyncSender,
    },
    thread::JoinHandle,
    time::Instant,
};

use alloy_primitives::{Address, B256, Bytes, U256, map::B256Map};
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{broadcast, oneshot};

use crate::{
    Applied, ApplyError, BlockEnvironment, Certificate, Delegate, Genesis, LogError, Payload,
    PoolError, PoolLimits, SharedBlock, Transaction, TransactionError,
    hashes::BlockHashes,
    pool::{Pool, SenderState},
    stages::Job,
    state::{AccountProof, Commitment, StateView, World},
    store::{BlockLog, Index, Key},
};

/// How many of the newest blocks are kept in memory.
const RECENT_BLOCKS: usize = 512;

/// Transactions among the recent blocks, at most; a few large blocks count like many small ones.
const RECENT_TRANSACTIONS: usize = 20_000;

/// Bytes of the recent blocks, at most.
const RECENT_BYTES: usize = 256 << 20;

/// Reasons remembered for transactions that were dropped.
const DROPPED_REMEMBERED: usize = 4_096;

/// The most transactions in one block.
pub const BLOCK_TRANSACTIONS_MAX: usize = 4_000;

/// Tells the time, in seconds since 1970. Handed in, so that runs can be repeated (S9).
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// How a chain is kept.
#[derive(Clone)]
pub struct ChainConfig {
    /// Where it is kept.
    pub dir: PathBuf,
    /// What it begins with. An existing chain must have begun with the same.
    pub genesis: Genesis,
    /// How many transactions may wait.
    pub pool: PoolLimits,
    /// How many earlier states stay readable, in blocks.
    pub history_blocks: usize,
    /// The time of new blocks.
    pub clock: Clock,
    /// Whether blocks are confirmed only once they are on the disk, and what is derived from them is stored. Without
    /// it nothing is promised after a crash, and searches read every block: for a chain that is thrown away.
    pub durable: bool,
}

impl ChainConfig {
    /// The usual settings.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, genesis: Genesis, clock: Clock) -> Self {
        let dir = dir.into();
        let pool = PoolLimits::default();
        Self { dir, genesis, pool, history_blocks: 1_024, clock, durable: true }
    }

    /// The same for a chain that is thrown away: of the same blocks, with less work for the disk.
    #[must_use]
    pub fn thrown_away(self) -> Self {
        Self { durable: false, history_blocks: 1, ..self }
    }
}

/// Why a transaction was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// It can never run here.
    #[error(transparent)]
    Invalid(#[from] TransactionError),
    /// It cannot wait here now.
    #[error(transparent)]
    Refused(#[from] PoolError),
    /// The chain takes nothing more.
    #[error("the chain has stopped: {reason}")]
    Stopped {
        /// Why.
        reason: String,
    },
}

/// Why something stored could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The block log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The index cannot be read.
    #[error("could not read the index")]
    Index(#[source] io::Error),
}

/// A running chain. Clones are handles to the same chain.
#[derive(Clone)]
pub struct Chain {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: ChainConfig,
    pub(crate) world: Arc<RwLock<World>>,
    pub(crate) hashes: Arc<BlockHashes>,
    pub(crate) commitment: Mutex<Commitment>,
    pub(crate) log: BlockLog,
    pub(crate) index: Index,
    pub(crate) recent: RwLock<Recent>,
    pub(crate) pool: Mutex<Pool>,
    pub(crate) pool_changed: Condvar,
    pub(crate) dropped: Mutex<Dropped>,
    pub(crate) heads: broadcast::Sender<SharedBlock>,
    pub(crate) arrivals: broadcast::Sender<B256>,
    pub(crate) genesis_block: SharedBlock,
    /// Held while a payload enters, so that payloads enter in the order of their heights. Always
    /// taken before `entrance`, and never by a stage.
    pub(crate) entering: Mutex<()>,
    /// Where payloads enter; gone once the chain is closed.
    pub(crate) entrance: Mutex<Option<Entrance>>,
    /// The number of the newest durable block, for those who wait for it to change.
    pub(crate) head_number: Mutex<u64>,
    pub(crate) head_changed: Condvar,
    /// The number of the last block executed.
    pub(crate) executed: AtomicU64,
    /// The base fee of the next block.
    pub(crate) next_base_fee: AtomicU64,
    pub(crate) closing: AtomicBool,
    pub(crate) stopped: RwLock<Option<String>>,
    pub(crate) threads: Mutex<Vec<JoinHandle<()>>>,
    /// Holds the lock on the directory, until the chain is closed.
    pub(crate) lock: Mutex<Option<File>>,
}

pub(crate) struct Entrance {
    pub(crate) jobs: SyncSender<Job>,
    /// Height and time of the last payload taken.
    pub(crate) last: (u64, u64),
}

/// The newest durable blocks, the newest last; never empty.
pub(crate) struct Recent {
    blocks: VecDeque<SharedBlock>,
    transactions: usize,
    bytes: usize,
}

impl Recent {
    pub(crate) fn new(head: SharedBlock) -> Self {
        let mut recent = Self { blocks: VecDeque::new(), transactions: 0, bytes: 0 };
        recent.push(head);
        recent
    }

    pub(crate) fn push(&mut self, block: SharedBlock) {
        self.transactions += block.transactions.len();
        self.bytes += block.size_bytes();
        self.blocks.push_back(block);
        while self.blocks.len() > 1
            && (self.blocks.len() > RECENT_BLOCKS
                || self.transactions > RECENT_TRANSACTIONS
                || self.bytes > RECENT_BYTES)
        {
            let oldest = self.blocks.pop_front().expect("more than one is held");
            self.transactions -= oldest.transactions.len();
            self.bytes -= oldest.size_bytes();
        }
    }

    pub(crate) fn head(&self) -> &SharedBlock {
        self.blocks.back().expect("the genesis block or a later one is always held")
    }

    fn get(&self, number: u64) -> Option<&SharedBlock> {
        let first = self.blocks.front()?.header.number;
        self.blocks.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }
}

/// Why transactions that were taken in did not run.
#[derive(Default)]
pub(crate) struct Dropped {
    reasons: B256Map<String>,
    order: VecDeque<B256>,
}

impl Dropped {
    pub(crate) fn push(&mut self, hash: B256, reason: String) {
        self.reasons.insert(hash, reason);
        self.order.push_back(hash);
        if self.order.len() > DROPPED_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.reasons.remove(&oldest);
        }
    }
}

impl Chain {
    /// Runs `work` on a thread of its own that closing the chain waits for.
    ///
    /// A panic there stops the chain: what is left of its stages could confirm nothing more.
    pub(crate) fn spawn(&self, name: &'static str, work: impl FnOnce() + Send + 'static) {
        let stops = StopsOnPanic { shared: Arc::clone(&self.shared), name };
        let thread = std::thread::Builder::new().name(format!("chain-{name}")).spawn(move || {
            let _stops = stops;
            work();
        });
        // Without its threads a chain is nothing, and a system without threads left is lost anyhow.
        self.shared.threads.lock().push(thread.expect("the system can start a thread"));
    }

    /// Takes no more, finishes what was taken, stores everything, and lets the directory go.
    ///
    /// Other handles still read, but nothing changes any more.
    pub fn close(&self) {
        {
            // Under the pool's lock: whoever just saw that the chain runs on must not begin to wait
            // after having missed the news.
            let _pool = self.shared.pool.lock();
            self.shared.closing.store(true, Ordering::SeqCst);
        }
        self.shared.entrance.lock().take();
        self.shared.pool_changed.notify_all();
        // The lock is held until all have ended, so that nobody else lets the directory go before.
        let mut threads = self.shared.threads.lock();
        for thread in threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a stage of the chain panicked");
            }
        }
        self.shared.lock.lock().take();
    }

    /// Why the chain takes nothing more, when it had to stop. It still answers what it knows.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.shared.stopped.read().clone()
    }

    /// The chain's id (EIP-155).
    #[must_use]
    pub fn chain_id(&self) -> u64 {
        self.shared.config.genesis.chain_id()
    }

    /// What the chain began with.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.shared.config.genesis
    }

    /// The newest durable block.
    #[must_use]
    pub fn head(&self) -> SharedBlock {
        Arc::clone(self.shared.recent.read().head())
    }

    /// A durable block by its number.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    pub fn block(&self, number: u64) -> Result<Option<SharedBlock>, ReadError> {
        if let Some(block) = self.shared.recent.read().get(number) {
            return Ok(Some(Arc::clone(block)));
        }
        if number == 0 {
            return Ok(Some(Arc::clone(&self.shared.genesis_block)));
        }
        Ok(self.shared.log.read(number)?.map(Arc::new))
    }

    /// The hash of a durable block by its number, without reading the block.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    pub fn block_hash(&self, number: u64) -> Result<Option<B256>, ReadError> {
        if let Some(block) = self.shared.recent.read().get(number) {
            return Ok(Some(block.hash));
        }
        if number == 0 {
            return Ok(Some(self.shared.genesis_block.hash));
        }
        Ok(self.shared.log.hash(number)?)
    }

    /// A durable block by its hash.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    pub fn block_by_hash(&self, hash: &B256) -> Result<Option<SharedBlock>, ReadError> {
        let head = self.head();
        if head.hash == *hash {
            return Ok(Some(head));
        }
        for (number, _) in self.find(Key::Block(hash), 0, head.header.number)? {
            if let Some(block) = self.block(number)?
                && block.hash == *hash
            {
                return Ok(Some(block));
            }
        }
        Ok(self.block(0)?.filter(|genesis| genesis.hash == *hash))
    }

    /// The durable block that holds a transaction, and the transaction's place in it.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    pub fn find_transaction(&self, hash: &B256) -> Result<Option<(SharedBlock, usize)>, ReadError> {
        let last = self.head().header.number;
        for (number, position) in self.find(Key::Transaction(hash), 0, last)? {
            if let Some(block) = self.block(number)?
                && block.transactions.get(position).is_some_and(|found| found.hash() == *hash)
            {
                return Ok(Some((block, position)));
            }
        }
        Ok(None)
    }

    pub(crate) fn find(
        &self,
        key: Key<'_>,
        from: u64,
        to: u64,
    ) -> Result<Vec<(u64, usize)>, ReadError> {
        if !self.shared.config.durable {
            return self.find_in_blocks(key, from, to);
        }
        self.shared.index.find(key, from..=to).map_err(ReadError::Index)
    }

    /// The same without an index: whatever holds the key, and blocks with logs, which the reader looks into.
    fn find_in_blocks(
        &self,
        key: Key<'_>,
        from: u64,
        to: u64,
    ) -> Result<Vec<(u64, usize)>, ReadError> {
        let mut found = Vec::new();
        for number in from..=to {
            let Some(block) = self.block(number)? else { break };
            let place = match key {
                Key::Block(hash) => (block.hash == *hash).then_some(0),
                Key::Transaction(hash) => block.position(hash),
                Key::Address(_) | Key::Topic(..) => Some(0),
            };
            found.extend(place.map(|place| (number, place)));
        }
        Ok(found)
    }

    /// The state at the end of block `number`.
    pub(crate) fn view(&self, number: u64) -> StateView {
        let (world, hashes) = (&self.shared.world, &self.shared.hashes);
        StateView::new(Arc::clone(world), Arc::clone(hashes), number)
    }

    /// Proves an account and some of its slots as of a kept durable block.
    pub(crate) fn prove(
        &self,
        number: u64,
        address: Address,
        slots: &[U256],
    ) -> Option<AccountProof> {
        let mut commitment = self.shared.commitment.lock();
        let world = self.shared.world.read();
        let hashes = &self.shared.hashes;
        world.keeps(number).then(|| commitment.prove(&world, hashes, number, address, slots))
    }

    /// Sends each durable block from now on. A receiver that falls far behind misses some and is told.
    #[must_use]
    pub fn subscribe_heads(&self) -> broadcast::Receiver<SharedBlock> {
        self.shared.heads.subscribe()
    }

    /// Sends the hash of each transaction taken into the pool from now on.
    #[must_use]
    pub fn subscribe_arrivals(&self) -> broadcast::Receiver<B256> {
        self.shared.arrivals.subscribe()
    }

    /// Takes a signed transaction in and returns its hash.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]: it was not taken, and why.
    pub fn submit(&self, raw: Bytes) -> Result<B256, SubmitError> {
        let transaction = Transaction::decode(raw, self.chain_id())?;
        self.submit_transaction(transaction)
    }

    /// Takes a decoded transaction in and returns its hash.
    ///
    /// # Errors
    ///
    /// [`SubmitError`]: it was not taken, and why.
    pub fn submit_transaction(&self, transaction: Transaction) -> Result<B256, SubmitError> {
        let hash = transaction.hash();
        self.check_running()?;
        {
            // The state is read under the lock: a pool that forgot the sender meanwhile would take an older nonce
            // for the next, and let this transaction wait for one that has run.
            let mut pool = self.shared.pool.lock();
            let state = self.sender_state(&transaction.sender());
            pool.add(transaction, state)?;
        }
        self.shared.pool_changed.notify_one();
        let _ = self.shared.arrivals.send(hash);
        Ok(hash)
    }

    /// Takes many signed transactions in, recovering their senders on all cores.
    ///
    /// The result has one entry per transaction, in order.
    pub fn submit_many(&self, raw: Vec<Bytes>) -> Vec<Result<B256, SubmitError>> {
        use rayon::prelude::*;
        let chain_id = self.chain_id();
        let decoded: Vec<_> =
            raw.into_par_iter().map(|raw| Transaction::decode(raw, chain_id)).collect();
        if let Err(error) = self.check_running() {
            let reason = error.to_string();
            let stopped = || SubmitError::Stopped { reason: reason.clone() };
            return decoded.iter().map(|_| Err(stopped())).collect();
        }
        let mut outcomes = Vec::with_capacity(decoded.len());
        let mut pool = self.shared.pool.lock();
        let world = self.shared.world.read();
        for transaction in decoded {
            outcomes.push(transaction.map_err(SubmitError::from).and_then(|transaction| {
                let hash = transaction.hash();
                let state = sender_state(&world, &transaction.sender());
                pool.add(transaction, state)?;
                let _ = self.shared.arrivals.send(hash);
                Ok(hash)
            }));
        }
        drop((pool, world));
        self.shared.pool_changed.notify_one();
        outcomes
    }

    fn sender_state(&self, sender: &Address) -> SenderState {
        sender_state(&self.shared.world.read(), sender)
    }

    fn check_running(&self) -> Result<(), SubmitError> {
        match &*self.shared.stopped.read() {
            Some(reason) => Err(SubmitError::Stopped { reason: reason.clone() }),
            None if self.shared.closing.load(Ordering::SeqCst) => {
                Err(SubmitError::Stopped { reason: "it is being closed".into() })
            }
            None => Ok(()),
        }
    }

    /// The nonce for a sender's next transaction, those that wait included.
    #[must_use]
    pub fn pending_nonce(&self, sender: &Address) -> u64 {
        let state = self.sender_state(sender);
        self.shared.pool.lock().next_nonce(sender, state.nonce)
    }

    /// A transaction that waits.
    #[must_use]
    pub fn waiting(&self, hash: &B256) -> Option<Transaction> {
        self.shared.pool.lock().get(hash).cloned()
    }

    /// All transactions that wait: those that could run now, and those that wait for others.
    #[must_use]
    pub fn pool_content(&self) -> (Vec<Transaction>, Vec<Transaction>) {
        self.shared.pool.lock().content()
    }

    /// Why a transaction that was taken in was dropped without running, if it was, recently.
    #[must_use]
    pub fn dropped_reason(&self, hash: &B256) -> Option<String> {
        self.shared.dropped.lock().reasons.get(hash).cloned()
    }

    /// Waits until a transaction that was taken in is in a durable block.
    ///
    /// `None` when it was dropped, the chain stopped, or the deadline passed.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the disk cannot be read.
    pub fn wait_for_transaction(
        &self,
        hash: &B256,
        deadline: Instant,
    ) -> Result<Option<(SharedBlock, usize)>, ReadError> {
        let mut seen = *self.shared.head_number.lock();
        loop {
            if let Some(found) = self.find_transaction(hash)? {
                return Ok(Some(found));
            }
            let mut number = self.shared.head_number.lock();
            if *number == seen {
                if self.stopped().is_some() {
                    return Ok(None);
                }
                let timed_out =
                    self.shared.head_changed.wait_until(&mut number, deadline).timed_out();
                if timed_out && *number == seen {
                    return Ok(None);
                }
            }
            seen = *number;
            drop(number);
            if self.dropped_reason(hash).is_some() {
                return Ok(None);
            }
        }
    }

    /// The time by the clock that dates new blocks, in seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        (self.shared.config.clock)()
    }

    /// The circumstances under which a block after the newest durable one would execute.
    #[must_use]
    pub fn next_environment(&self) -> BlockEnvironment {
        let head = self.head();
        self.shared.environment_after(&head.header, self.now().max(head.header.timestamp))
    }

    /// The directory the chain is kept in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.config.dir
    }

    /// Length of the block log, in bytes.
    #[must_use]
    pub fn log_size_bytes(&self) -> u64 {
        self.shared.log.size_bytes()
    }
}

/// Stops the chain when the thread that holds this panics.
struct StopsOnPanic {
    shared: Arc<Shared>,
    name: &'static str,
}

impl Drop for StopsOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = self.name;
            self.shared.stop(format!("its {name} stage failed, which the log explains"));
        }
    }
}

pub(crate) fn sender_state(world: &World, sender: &Address) -> SenderState {
    let entry = world.entry(sender).unwrap_or_default();
    SenderState { nonce: entry.nonce, balance: entry.balance }
}

/// What an ordering asks of the chain.
impl Chain {
    /// The newest durable block, by number and hash.
    #[must_use]
    pub fn applied(&self) -> (u64, B256) {
        let head = self.head();
        (head.header.number, head.hash)
    }

    /// Who orders the blocks of an epoch. Alone, it is always the one who receives the fees.
    #[must_use]
    pub fn committee(&self, _epoch: u64) -> Vec<Delegate> {
        vec![Delegate { account: self.shared.config.genesis.beneficiary() }]
    }

    /// Puts the next payload together from the pool; `None` when nothing could go into it.
    ///
    /// The payload's transactions leave the pool, so that payloads proposed after it, before it is
    /// executed, hold others.
    #[must_use]
    pub fn propose(&self) -> Option<Payload> {
        let (height, timestamp) = {
            let entrance = self.shared.entrance.lock();
            let (last, time) = entrance.as_ref()?.last;
            (last + 1, self.now().max(time))
        };
        let base_fee = self.shared.next_base_fee.load(Ordering::SeqCst);
        let transactions = self.shared.pool.lock().take(BLOCK_TRANSACTIONS_MAX, base_fee);
        let executed = self.applied();
        (!transactions.is_empty()).then_some(Payload { height, timestamp, executed, transactions })
    }

    /// Whether a payload agrees with what this chain executed so far.
    ///
    /// # Errors
    ///
    /// [`ApplyError::Diverged`] when it does not: then one of the two chains is wrong.
    pub fn verify(&self, payload: &Payload) -> Result<(), ApplyError> {
        let (number, theirs) = payload.executed;
        match self.shared.hashes.get(number) {
            Some(ours) if ours != theirs => Err(ApplyError::Diverged { number, ours, theirs }),
            _ => Ok(()),
        }
    }

    /// Executes a payload that is final.
    ///
    /// Idempotent: a payload whose height was taken before is answered with the block that is there.
    /// Blocks the thread while the stages are busy.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]: nothing was executed.
    pub fn apply(&self, payload: Payload, certificate: Certificate) -> Result<Applied, ApplyError> {
        self.verify(&payload)?;
        let (done, applied) = oneshot::channel();
        let entering = self.shared.entering.lock();
        let jobs = {
            let mut entrance = self.shared.entrance.lock();
            let entrance = entrance.as_mut().ok_or_else(|| self.not_applied())?;
            let (last, time) = entrance.last;
            if payload.height > last + 1 {
                return Err(ApplyError::NotNext { last, given: payload.height });
            }
            if payload.height <= last {
                None
            } else if payload.timestamp < time {
                return Err(ApplyError::BackInTime { given: payload.height });
            } else {
                entrance.last = (payload.height, payload.timestamp);
                Some(entrance.jobs.clone())
            }
        };
        match jobs {
            Some(jobs) => {
                let job = Job { payload, certificate, done };
                jobs.send(job).map_err(|_| self.not_applied())?;
            }
            None => {
                // Others may enter while this one waits.
                drop(entering);
                let _ = done.send(self.wait_for_block(payload.height)?);
            }
        }
        Ok(Applied(applied))
    }

    /// Waits until block `height`, which was taken before, is durable.
    fn wait_for_block(&self, height: u64) -> Result<B256, ApplyError> {
        let mut number = self.shared.head_number.lock();
        while *number < height {
            if self.stopped().is_some() {
                return Err(self.not_applied());
            }
            self.shared.head_changed.wait(&mut number);
        }
        drop(number);
        let hash = self.block_hash(height).ok().flatten();
        hash.ok_or_else(|| ApplyError::Stopped { reason: format!("block {height} is unreadable") })
    }

    fn not_applied(&self) -> ApplyError {
        ApplyError::Stopped { reason: self.stopped().unwrap_or_else(|| "it was closed".into()) }
    }

    /// Whether blocks are on their way through the stages.
    pub(crate) fn is_busy(&self) -> bool {
        let entered = self.shared.entrance.lock().as_ref().map_or(0, |entrance| entrance.last.0);
        self.shared.executed.load(Ordering::SeqCst) < entered
    }
}
