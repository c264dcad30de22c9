//! Blocks as they are sealed, kept and served.

use std::sync::Arc;

use alloy_consensus::{
    EMPTY_OMMER_ROOT_HASH, EthereumReceipt, Header, TxReceipt, proofs::calculate_receipt_root,
};
use alloy_eips::{
    eip1559::{BaseFeeParams, calc_next_block_base_fee},
    eip7685::EMPTY_REQUESTS_HASH,
};
use alloy_primitives::{Address, B256, Bloom, Bytes};
use alloy_trie::{EMPTY_ROOT_HASH, root::ordered_trie_root_encoded};

use crate::Transaction;

/// What a transaction did.
pub type Receipt = EthereumReceipt;

/// A block with everything in it.
#[derive(Clone, Debug)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// Keccak-256 of the encoded header: the block's name.
    pub hash: B256,
    /// The transactions, in the order of execution.
    pub transactions: Vec<Transaction>,
    /// One receipt per transaction.
    pub receipts: Vec<Receipt>,
    /// Whatever the ordering attached to prove that the block was agreed on; empty when alone.
    pub certificate: Bytes,
}

/// A block that many may hold.
pub type SharedBlock = Arc<Block>;

impl Block {
    /// Finds a transaction by its hash.
    #[must_use]
    pub fn position(&self, hash: &B256) -> Option<usize> {
        self.transactions.iter().position(|transaction| transaction.hash() == *hash)
    }

    /// What transaction `index` used by itself.
    #[must_use]
    pub fn gas_used(&self, index: usize) -> u64 {
        let before = index.checked_sub(1).map_or(0, |before| self.cumulative_gas(before));
        self.cumulative_gas(index) - before
    }

    fn cumulative_gas(&self, index: usize) -> u64 {
        self.receipts.get(index).map_or(0, |receipt| receipt.cumulative_gas_used)
    }

    /// About what the block takes in memory: its transactions and the data of its logs.
    pub(crate) fn size_bytes(&self) -> usize {
        let raw: usize = self.transactions.iter().map(|transaction| transaction.raw().len()).sum();
        let logs = self.receipts.iter().flat_map(|receipt| &receipt.logs);
        raw + logs.map(|log| log.data.data.len()).sum::<usize>()
    }

    /// How many logs come before those of transaction `index`.
    #[must_use]
    pub fn logs_before(&self, index: usize) -> usize {
        self.receipts.iter().take(index).map(|receipt| receipt.logs.len()).sum()
    }
}

/// The circumstances under which a block executes: what its instructions can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEnvironment {
    /// The block's number.
    pub number: u64,
    /// Its time, in seconds since 1970; never before its parent's.
    pub timestamp: u64,
    /// Who receives the priority fees.
    pub beneficiary: Address,
    /// The most gas that all its transactions may use together.
    pub gas_limit: u64,
    /// What each unit of gas costs and burns, in wei.
    pub base_fee: u64,
    /// The `PREVRANDAO` value.
    pub prev_randao: B256,
}

impl BlockEnvironment {
    /// The circumstances that a header names.
    #[must_use]
    pub fn of(header: &Header) -> Self {
        Self {
            number: header.number,
            timestamp: header.timestamp,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee: header.base_fee_per_gas.unwrap_or_default(),
            prev_randao: header.mix_hash,
        }
    }
}

/// What a block's transactions and receipts commit to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyRoots {
    transactions: B256,
    receipts: B256,
    bloom: Bloom,
}

impl BodyRoots {
    pub(crate) fn of(transactions: &[Transaction], receipts: &[Receipt]) -> Self {
        let raw: Vec<&Bytes> = transactions.iter().map(Transaction::raw).collect();
        let mut bloom = Bloom::ZERO;
        let with_blooms: Vec<_> = receipts
            .iter()
            .map(|receipt| {
                let receipt = receipt.with_bloom_ref();
                bloom |= receipt.logs_bloom;
                receipt
            })
            .collect();
        Self {
            transactions: ordered_trie_root_encoded(&raw),
            receipts: calculate_receipt_root(&with_blooms),
            bloom,
        }
    }
}

/// The header of a block after execution.
///
/// # Source
///
/// Ethereum yellow paper, section 4.4, with the fields that London, Paris, Shanghai, Cancun and
/// Prague added. There are no ommers, withdrawals, blobs, beacon blocks or execution requests here.
pub(crate) fn seal_header(
    parent_hash: B256,
    environment: &BlockEnvironment,
    state_root: B256,
    roots: BodyRoots,
    gas_used: u64,
    extra_data: Bytes,
) -> Header {
    Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: environment.beneficiary,
        state_root,
        transactions_root: roots.transactions,
        receipts_root: roots.receipts,
        logs_bloom: roots.bloom,
        number: environment.number,
        gas_limit: environment.gas_limit,
        gas_used,
        timestamp: environment.timestamp,
        extra_data,
        mix_hash: environment.prev_randao,
        base_fee_per_gas: Some(environment.base_fee),
        withdrawals_root: Some(EMPTY_ROOT_HASH),
        blob_gas_used: Some(0),
        excess_blob_gas: Some(0),
        parent_beacon_block_root: Some(B256::ZERO),
        requests_hash: Some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// What gas costs in the block after one with these figures, in wei.
///
/// # Source
///
/// [EIP-1559](https://eips.ethereum.org/EIPS/eip-1559).
#[must_use]
pub(crate) fn next_base_fee(gas_used: u64, gas_limit: u64, base_fee: u64) -> u64 {
    calc_next_block_base_fee(gas_used, gas_limit, base_fee, BaseFeeParams::ethereum())
}
