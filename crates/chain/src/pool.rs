//! Transactions that wait for a block.
//!
//! A sender's transactions run in the order of their nonces; among senders, whoever offers the highest
//! priority fee comes first, and among equals whoever came first. The pool is bounded in number and in
//! bytes, and no sender can fill it alone. When it is full, a transaction that offers more takes the
//! place of one that offers least.
//!
//! A transaction leaves the pool when a block proposes it. Its nonce then counts as used until the
//! block says otherwise.

use std::collections::{BTreeMap, BTreeSet};

use alloy_consensus::Transaction as _;
use alloy_primitives::{
    Address, B256, U256,
    map::{AddressMap, B256Map},
};

use crate::Transaction;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Transactions in all.
    pub transactions: usize,
    /// Transactions of one sender.
    pub per_sender: usize,
    /// Bytes in all.
    pub bytes: usize,
}

impl Default for PoolLimits {
    /// A sender may hold a quarter of the pool: an institution that imports much is not held up, and
    /// others still find room.
    fn default() -> Self {
        Self { transactions: 131_072, per_sender: 32_768, bytes: 256 << 20 }
    }
}

/// Why a transaction was not taken into the pool.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It waits already.
    #[error("already known")]
    AlreadyKnown,
    /// A transaction with this nonce ran already.
    #[error("nonce too low: next nonce {next}, transaction nonce {given}")]
    NonceTooLow {
        /// The sender's next nonce.
        next: u64,
        /// The transaction's.
        given: u64,
    },
    /// So far ahead that it could never be filled up to within the limits.
    #[error("nonce too high: next nonce {next}, transaction nonce {given}")]
    NonceTooHigh {
        /// The sender's next nonce.
        next: u64,
        /// The transaction's.
        given: u64,
    },
    /// Another with the same nonce waits and the new one offers too little more.
    #[error("replacement transaction underpriced")]
    ReplacementUnderpriced,
    /// The sender cannot pay for it.
    #[error("insufficient funds for gas * price + value: balance {balance}, needed {needed}")]
    InsufficientFunds {
        /// What the sender has, in wei.
        balance: U256,
        /// What it may cost, in wei.
        needed: U256,
    },
    /// The sender has as many waiting as one may.
    #[error("too many transactions of this sender are waiting")]
    SenderFull,
    /// No block could ever hold it.
    #[error("exceeds block gas limit: gas limit {given}, block {block}")]
    AboveBlockGas {
        /// What the transaction asks for.
        given: u64,
        /// What a block has.
        block: u64,
    },
    /// The pool is full, and this one offers no more than those in it.
    #[error("transaction pool is full")]
    Full,
}

/// A higher price for the same nonce must be at least this much higher, in percent.
///
/// # Source
///
/// go-ethereum's default `pricebump`.
const REPLACEMENT_BUMP_PERCENT: u128 = 10;

/// The pool.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    limits: PoolLimits,
    /// The most gas that all transactions of a block may use together.
    block_gas: u64,
    senders: AddressMap<Sender>,
    hashes: B256Map<(Address, u64)>,
    /// One entry per sender whose next transaction waits, the best first.
    ready: BTreeSet<Rank>,
    bytes: usize,
    arrivals: u64,
}

#[derive(Debug, Default)]
struct Sender {
    /// The nonce that the next proposed transaction must have.
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    transaction: Transaction,
    arrival: u64,
}

/// The order in which transactions are proposed: higher fee first, then earlier arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    tip: std::cmp::Reverse<u128>,
    arrival: u64,
    sender: Address,
}

impl Waiting {
    fn pays(&self, base_fee: u64) -> bool {
        self.transaction.envelope().max_fee_per_gas() >= u128::from(base_fee)
    }

    fn rank(&self) -> Rank {
        Rank {
            tip: std::cmp::Reverse(tip(&self.transaction)),
            arrival: self.arrival,
            sender: self.transaction.sender(),
        }
    }
}

/// What the block's author gets at most per unit of gas, in wei.
fn tip(transaction: &Transaction) -> u128 {
    let envelope = transaction.envelope();
    envelope.max_priority_fee_per_gas().unwrap_or_else(|| envelope.max_fee_per_gas())
}

/// What the chain knows of a sender when a transaction comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SenderState {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
}

impl Pool {
    pub(crate) fn new(limits: PoolLimits, block_gas: u64) -> Self {
        Self { limits, block_gas, ..Self::default() }
    }

    /// How many transactions wait.
    pub(crate) fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether anything that pays `base_fee` could go into a block now.
    pub(crate) fn has_ready(&self, base_fee: u64) -> bool {
        self.ready.iter().any(|rank| {
            let next = self.senders.get(&rank.sender);
            let next = next.and_then(|sender| sender.waiting.get(&sender.next));
            next.is_some_and(|next| next.pays(base_fee))
        })
    }

    /// Takes a transaction in.
    ///
    /// # Errors
    ///
    /// [`PoolError`]: nothing changed.
    pub(crate) fn add(
        &mut self,
        transaction: Transaction,
        state: SenderState,
    ) -> Result<(), PoolError> {
        let (sender, nonce) = (transaction.sender(), transaction.envelope().nonce());
        self.check(&transaction, state)?;
        if self.is_full(&transaction) {
            self.make_room(&transaction)?;
        }
        self.arrivals += 1;
        let waiting = Waiting { arrival: self.arrivals, transaction };
        self.bytes += waiting.transaction.raw().len();
        self.hashes.insert(waiting.transaction.hash(), (sender, nonce));
        let entry = self.senders.entry(sender).or_default();
        entry.next = entry.next.max(state.nonce);
        let is_next = nonce == entry.next;
        if is_next {
            self.ready.insert(waiting.rank());
        }
        if let Some(replaced) = entry.waiting.insert(nonce, waiting) {
            self.bytes -= replaced.transaction.raw().len();
            self.hashes.remove(&replaced.transaction.hash());
            if is_next {
                self.ready.remove(&replaced.rank());
            }
        }
        Ok(())
    }

    fn check(&self, transaction: &Transaction, state: SenderState) -> Result<(), PoolError> {
        let (envelope, sender) = (transaction.envelope(), self.senders.get(&transaction.sender()));
        let given = envelope.nonce();
        let next = sender.map_or(state.nonce, |sender| sender.next.max(state.nonce));
        if self.hashes.contains_key(&transaction.hash()) {
            return Err(PoolError::AlreadyKnown);
        }
        if envelope.gas_limit() > self.block_gas {
            let (given, block) = (envelope.gas_limit(), self.block_gas);
            return Err(PoolError::AboveBlockGas { given, block });
        }
        if given < next {
            return Err(PoolError::NonceTooLow { next, given });
        }
        if given - next >= self.limits.per_sender as u64 {
            return Err(PoolError::NonceTooHigh { next, given });
        }
        let price = U256::from(envelope.max_fee_per_gas());
        let needed = price * U256::from(envelope.gas_limit());
        let needed = needed.saturating_add(envelope.value());
        if needed > state.balance {
            return Err(PoolError::InsufficientFunds { balance: state.balance, needed });
        }
        let Some(sender) = sender else { return Ok(()) };
        match sender.waiting.get(&given) {
            Some(held) => {
                let outbids = |new: u128, old: u128| {
                    new >= old.saturating_add(old.saturating_mul(REPLACEMENT_BUMP_PERCENT) / 100)
                        && new > old
                };
                let old = held.transaction.envelope();
                let better = outbids(tip(transaction), tip(&held.transaction))
                    && outbids(envelope.max_fee_per_gas(), old.max_fee_per_gas());
                if better { Ok(()) } else { Err(PoolError::ReplacementUnderpriced) }
            }
            None if sender.waiting.len() >= self.limits.per_sender => Err(PoolError::SenderFull),
            None => Ok(()),
        }
    }

    fn is_full(&self, transaction: &Transaction) -> bool {
        self.len() >= self.limits.transactions
            || self.bytes + transaction.raw().len() > self.limits.bytes
    }

    /// Drops the last transaction of whoever offers least, if that is less than `transaction` does.
    fn make_room(&mut self, transaction: &Transaction) -> Result<(), PoolError> {
        while self.is_full(transaction) {
            let last_of_each = self.senders.iter().filter_map(|(sender, entry)| {
                let (nonce, waiting) = entry.waiting.last_key_value()?;
                Some((waiting.rank(), *sender, *nonce))
            });
            let Some((worst, sender, nonce)) = last_of_each.max() else {
                return Err(PoolError::Full);
            };
            if worst.tip.0 >= tip(transaction) || sender == transaction.sender() {
                return Err(PoolError::Full);
            }
            self.remove(sender, nonce);
        }
        Ok(())
    }

    fn remove(&mut self, sender: Address, nonce: u64) {
        let Some(entry) = self.senders.get_mut(&sender) else { return };
        if let Some(waiting) = entry.waiting.remove(&nonce) {
            self.bytes -= waiting.transaction.raw().len();
            self.hashes.remove(&waiting.transaction.hash());
            self.ready.remove(&waiting.rank());
        }
    }

    /// Takes the best transactions out for a block, at most `limit`, that pay `base_fee` at least.
    ///
    /// All of them fit into the block whatever they use. Otherwise one could be left over whose
    /// sender's later transactions are on the way in the next block already, and fail there.
    pub(crate) fn take(&mut self, limit: usize, base_fee: u64) -> Vec<Transaction> {
        let mut taken = Vec::new();
        let mut too_cheap = Vec::new();
        let mut gas_left = self.block_gas;
        while taken.len() < limit
            && let Some(rank) = self.ready.pop_first()
        {
            let sender = self.senders.get_mut(&rank.sender).expect("ready senders are known");
            let nonce = sender.next;
            let best = sender.waiting.remove(&nonce).expect("a ready sender's next one waits");
            if !best.pays(base_fee) {
                sender.waiting.insert(nonce, best);
                too_cheap.push(rank);
                continue;
            }
            let Some(left) = gas_left.checked_sub(best.transaction.envelope().gas_limit()) else {
                sender.waiting.insert(nonce, best);
                self.ready.insert(rank);
                break;
            };
            gas_left = left;
            sender.next += 1;
            if let Some(next) = sender.waiting.get(&sender.next) {
                self.ready.insert(next.rank());
            }
            self.bytes -= best.transaction.raw().len();
            self.hashes.remove(&best.transaction.hash());
            taken.push(best.transaction);
        }
        self.ready.extend(too_cheap);
        taken
    }

    /// Puts transactions back that a block had no room for.
    pub(crate) fn put_back(&mut self, transactions: Vec<Transaction>) {
        // The last first, so that each sender's next nonce ends at the first one put back.
        for transaction in transactions.into_iter().rev() {
            let (sender, nonce) = (transaction.sender(), transaction.envelope().nonce());
            self.arrivals += 1;
            self.bytes += transaction.raw().len();
            self.hashes.insert(transaction.hash(), (sender, nonce));
            let waiting = Waiting { arrival: self.arrivals, transaction };
            let entry = self.senders.entry(sender).or_default();
            if let Some(former) = entry.waiting.get(&entry.next) {
                self.ready.remove(&former.rank());
            }
            entry.next = nonce;
            self.ready.insert(waiting.rank());
            entry.waiting.insert(nonce, waiting);
        }
    }

    /// Says which nonce a sender stands at after a block in which something of theirs could not run.
    pub(crate) fn reset(&mut self, sender: Address, nonce: u64) {
        let Some(entry) = self.senders.get_mut(&sender) else { return };
        if let Some(former) = entry.waiting.get(&entry.next) {
            self.ready.remove(&former.rank());
        }
        entry.next = nonce;
        let stale: Vec<u64> = entry.waiting.range(..nonce).map(|(nonce, _)| *nonce).collect();
        for nonce in stale {
            self.remove(sender, nonce);
        }
        let entry = &self.senders[&sender];
        if let Some(next) = entry.waiting.get(&nonce) {
            self.ready.insert(next.rank());
        }
    }

    /// Forgets senders of whom nothing waits, so that memory does not grow with everybody ever seen.
    ///
    /// Only to be called when no proposed block is still to be executed: a forgotten sender's next
    /// nonce is what the state says.
    pub(crate) fn forget_idle(&mut self) {
        self.senders.retain(|_, sender| !sender.waiting.is_empty());
    }

    /// The nonce for a sender's next new transaction, given the nonce in the state.
    pub(crate) fn next_nonce(&self, sender: &Address, state_nonce: u64) -> u64 {
        let Some(entry) = self.senders.get(sender) else { return state_nonce };
        let mut next = entry.next.max(state_nonce);
        for nonce in entry.waiting.range(next..).map(|(nonce, _)| *nonce) {
            if nonce != next {
                break;
            }
            next += 1;
        }
        next
    }

    /// A waiting transaction by its hash.
    pub(crate) fn get(&self, hash: &B256) -> Option<&Transaction> {
        let (sender, nonce) = self.hashes.get(hash)?;
        Some(&self.senders.get(sender)?.waiting.get(nonce)?.transaction)
    }

    /// All that wait, by sender and nonce: first those that could run now, then those with a gap.
    pub(crate) fn content(&self) -> (Vec<Transaction>, Vec<Transaction>) {
        let (mut pending, mut queued) = (Vec::new(), Vec::new());
        for sender in self.senders.values() {
            let mut next = sender.next;
            for (nonce, waiting) in &sender.waiting {
                if *nonce == next {
                    pending.push(waiting.transaction.clone());
                    next += 1;
                } else {
                    queued.push(waiting.transaction.clone());
                }
            }
        }
        (pending, queued)
    }
}
