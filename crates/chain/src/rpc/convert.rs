//! Blocks, transactions and receipts in the form in which clients read them.

use std::sync::Arc;

use alloy_consensus::{
    Header as ConsensusHeader, ReceiptWithBloom, Sealed, Transaction as _, TxReceipt as _,
};
use alloy_primitives::{B256, U256};
use alloy_rpc_types_eth::{
    Block as RpcBlock, BlockTransactions, Header, Log, Transaction as RpcTransaction,
    TransactionReceipt,
};
use serde::{Serialize, Serializer};

use crate::{Block, SharedBlock, Transaction};

/// A number as `0x` and digits without leading zeros.
pub(crate) fn quantity(number: impl Into<u128>) -> String {
    format!("{:#x}", number.into())
}

/// A block, with whole transactions or with their hashes.
pub(crate) fn block(block: &SharedBlock, whole: bool) -> RpcBlock {
    let transactions = if whole {
        let all = (0..block.transactions.len()).map(|index| transaction(block, index));
        BlockTransactions::Full(all.collect())
    } else {
        let hashes = block.transactions.iter().map(Transaction::hash);
        BlockTransactions::Hashes(hashes.collect())
    };
    RpcBlock {
        header: header(block),
        uncles: Vec::new(),
        transactions,
        withdrawals: Some(Default::default()),
    }
}

/// A block's header with its hash.
pub(crate) fn header(block: &Block) -> Header {
    let sealed: Sealed<ConsensusHeader> = Sealed::new_unchecked(block.header.clone(), block.hash);
    let body: usize = block.transactions.iter().map(|transaction| transaction.raw().len()).sum();
    let size = alloy_rlp::encode(&block.header).len() + body;
    Header { size: Some(U256::from(size)), ..Header::from_sealed(sealed) }
}

/// A transaction in its block.
pub(crate) fn transaction(block: &Block, index: usize) -> RpcTransaction {
    let transaction = &block.transactions[index];
    let base_fee = block.header.base_fee_per_gas;
    RpcTransaction {
        inner: transaction.recovered().cloned(),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        transaction_index: Some(index as u64),
        effective_gas_price: Some(transaction.envelope().effective_gas_price(base_fee)),
        block_timestamp: Some(block.header.timestamp),
    }
}

/// A transaction that waits.
pub(crate) fn waiting(transaction: &Transaction) -> RpcTransaction {
    RpcTransaction {
        inner: transaction.recovered().cloned(),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        effective_gas_price: None,
        block_timestamp: None,
    }
}

/// What a transaction did.
pub(crate) fn receipt(block: &Block, index: usize) -> impl Serialize + use<> {
    let (transaction, receipt) = (&block.transactions[index], &block.receipts[index]);
    let first_log = block.logs_before(index);
    let logs = (first_log..).zip(&receipt.logs);
    let logs = logs.map(|(log_index, log)| rpc_log(block, index, log_index, log.clone()));
    let bloom = receipt.bloom();
    let envelope = transaction.envelope();
    let inner = alloy_consensus::Receipt {
        status: receipt.success.into(),
        cumulative_gas_used: receipt.cumulative_gas_used,
        logs: logs.collect(),
    };
    let inner = ReceiptWithBloom { receipt: inner, logs_bloom: bloom };
    let inner = alloy_consensus::ReceiptEnvelope::from_typed(receipt.tx_type, inner);
    let created = envelope.is_create().then(|| transaction.sender().create(envelope.nonce()));
    TransactionReceipt {
        inner,
        transaction_hash: transaction.hash(),
        transaction_index: Some(index as u64),
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        gas_used: block.gas_used(index),
        effective_gas_price: envelope.effective_gas_price(block.header.base_fee_per_gas),
        blob_gas_used: None,
        blob_gas_price: None,
        from: transaction.sender(),
        to: envelope.to(),
        contract_address: created,
    }
}

/// A log with its place in the chain.
pub(crate) fn rpc_log(
    block: &Block,
    transaction_index: usize,
    log_index: usize,
    log: alloy_primitives::Log,
) -> Log {
    Log {
        inner: log,
        block_hash: Some(block.hash),
        block_number: Some(block.header.number),
        block_timestamp: Some(block.header.timestamp),
        transaction_hash: Some(block.transactions[transaction_index].hash()),
        transaction_index: Some(transaction_index as u64),
        log_index: Some(log_index as u64),
        removed: false,
    }
}

/// All logs of a block, with their places.
pub(crate) fn block_logs(block: &SharedBlock) -> impl Iterator<Item = Log> + use<> {
    let block = Arc::clone(block);
    let places = block.receipts.iter().enumerate().flat_map(|(transaction, receipt)| {
        (0..receipt.logs.len()).map(move |log| (transaction, log))
    });
    let places: Vec<_> = places.collect();
    places.into_iter().enumerate().map(move |(log_index, (transaction, log))| {
        let log = block.receipts[transaction].logs[log].clone();
        rpc_log(&block, transaction, log_index, log)
    })
}

/// A 32-byte word with all its zeros, as storage values are given.
pub(crate) struct Word(pub(crate) U256);

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        B256::from(self.0).serialize(serializer)
    }
}
