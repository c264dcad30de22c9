//! Executes blocks that came from elsewhere and checks that they are what they say.
//!
//! Opening a chain does this with its own log; an auditor does it with a copy, trusting nobody's word
//! for the state.

use alloy_consensus::Header;
use alloy_primitives::{B256, Bytes};

use crate::{
    BlockEnvironment, Genesis, Receipt, Transaction, TransactionError,
    block::{BodyRoots, next_base_fee, seal_header},
    execute::execute,
    hashes::BlockHashes,
    state::{Commitment, HistoryLimits, StateDelta, World},
};

/// Why a block is not what it says.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A transaction is not valid on this chain.
    #[error("transaction {index} of block {number} is not valid")]
    Transaction {
        /// The block.
        number: u64,
        /// The transaction's place in it.
        index: usize,
        /// What is wrong with it.
        #[source]
        source: TransactionError,
    },
    /// The block is not the next one.
    #[error("block {given} was given where block {expected} follows")]
    NotNext {
        /// The number of the block that follows.
        expected: u64,
        /// The number that the header gives.
        given: u64,
    },
    /// Its time is before its parent's, or its base fee or gas limit does not follow from its parent.
    #[error("the time, base fee or gas limit of block {number} does not follow from its parent")]
    Unfounded {
        /// The block.
        number: u64,
    },
    /// Executing the block gives another header.
    #[error("block {number} says it is {claimed}, but executing it gives {found}")]
    Differs {
        /// The block.
        number: u64,
        /// The hash of the header as given.
        claimed: B256,
        /// The hash of the header that execution gives.
        found: B256,
    },
}

/// Follows a chain block by block from its genesis.
pub struct Audit {
    chain_id: u64,
    world: World,
    commitment: Commitment,
    hashes: BlockHashes,
    parent: B256,
    /// The header of the block before; none for the first, since a genesis is known by its hash.
    before: Option<Header>,
    next: u64,
}

impl Audit {
    /// Begins at `genesis`, whose block has the hash `genesis_hash`.
    #[must_use]
    pub fn new(genesis: &Genesis, genesis_hash: B256) -> Self {
        let world = genesis.world(HistoryLimits { blocks: 1, values: 1 });
        let hashes = BlockHashes::new(0);
        let commitment = Commitment::of(&world, &hashes);
        hashes.push(genesis_hash);
        let chain_id = genesis.chain_id();
        Self { chain_id, world, commitment, hashes, parent: genesis_hash, before: None, next: 1 }
    }

    /// Executes the next block, compares its header, and returns its receipts.
    ///
    /// # Errors
    ///
    /// [`AuditError`] when the block is not what its header says. Nothing after it can be checked.
    pub fn block(
        &mut self,
        header: &Header,
        transactions: &[Bytes],
    ) -> Result<Vec<Receipt>, AuditError> {
        if let Some(before) = &self.before {
            let base_fee = before.base_fee_per_gas.unwrap_or_default();
            let base_fee = next_base_fee(before.gas_used, before.gas_limit, base_fee);
            let founded = header.timestamp >= before.timestamp
                && header.gas_limit == before.gas_limit
                && header.base_fee_per_gas == Some(base_fee);
            if !founded {
                return Err(AuditError::Unfounded { number: header.number });
            }
        }
        let (found, receipts) = self.execute(header, transactions)?;
        if found != *header {
            let (claimed, found) = (header.hash_slow(), found.hash_slow());
            return Err(AuditError::Differs { number: header.number, claimed, found });
        }
        Ok(receipts)
    }

    /// Executes the next block and returns the header that comes out and the receipts, without
    /// comparing anything. Later blocks follow the header as given.
    ///
    /// # Errors
    ///
    /// [`AuditError::NotNext`], or [`AuditError::Transaction`] when a transaction is not valid on
    /// this chain.
    pub fn execute(
        &mut self,
        header: &Header,
        transactions: &[Bytes],
    ) -> Result<(Header, Vec<Receipt>), AuditError> {
        let number = header.number;
        if number != self.next {
            return Err(AuditError::NotNext { expected: self.next, given: number });
        }
        let decode = |(index, raw): (usize, &Bytes)| {
            Transaction::decode(raw.clone(), self.chain_id)
                .map_err(|source| AuditError::Transaction { number, index, source })
        };
        let transactions = transactions.iter().enumerate().map(decode);
        let transactions = transactions.collect::<Result<Vec<_>, _>>()?;
        let (found, receipts, _) = execute_again(
            self.chain_id,
            &mut self.world,
            &mut self.commitment,
            &self.hashes,
            self.parent,
            header,
            transactions,
        );
        self.parent = header.hash_slow();
        self.hashes.push(self.parent);
        self.before = Some(header.clone());
        self.next += 1;
        Ok((found, receipts))
    }
}

/// Executes the block after `parent` under the circumstances that `header` names, and returns the
/// header that comes out, the receipts and what changed.
pub(crate) fn execute_again(
    chain_id: u64,
    world: &mut World,
    commitment: &mut Commitment,
    hashes: &BlockHashes,
    parent: B256,
    header: &Header,
    transactions: Vec<Transaction>,
) -> (Header, Vec<Receipt>, StateDelta) {
    let environment = BlockEnvironment::of(header);
    let mut executed = execute(world, hashes, chain_id, &environment, transactions);
    let delta = world.merge(std::mem::take(&mut executed.changes));
    let slots = hashes.history_slots_between(header.number - 1, header.number);
    let state_root = commitment.apply(&delta, &slots);
    let roots = BodyRoots::of(&executed.included, &executed.receipts);
    let extra_data = header.extra_data.clone();
    let found = seal_header(parent, &environment, state_root, roots, executed.gas_used, extra_data);
    (found, executed.receipts, delta)
}
