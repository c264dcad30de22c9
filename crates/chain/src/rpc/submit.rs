//! Taking transactions in, and showing those that wait.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, Bytes};
use serde_json::json;

use super::{Rpc, RpcError, RpcResult, convert, error::SERVER_ERROR, params::Params, value};
use crate::Transaction;

/// How long a call waits for its transaction, unless it says otherwise.
const WAIT_DEFAULT: Duration = Duration::from_secs(10);

/// And at most.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The transaction was taken in, but did not run in time.
///
/// # Source
///
/// [EIP-7966](https://eips.ethereum.org/EIPS/eip-7966).
const TIMED_OUT: i64 = 4;

impl Rpc {
    pub(super) fn send_raw_transaction(&self, params: &mut Params) -> RpcResult {
        let raw: Bytes = params.required("transaction")?;
        value(self.chain.submit(raw)?)
    }

    /// Takes a transaction in, waits until it ran, and gives the receipt.
    ///
    /// # Source
    ///
    /// [EIP-7966](https://eips.ethereum.org/EIPS/eip-7966).
    pub(super) fn send_raw_transaction_sync(&self, params: &mut Params) -> RpcResult {
        let raw: Bytes = params.required("transaction")?;
        let asked: Option<u64> = params.optional("timeout")?;
        let wait = asked.map_or(WAIT_DEFAULT, Duration::from_millis).min(WAIT_MAX);
        let deadline = Instant::now() + wait;
        let hash = self.chain.submit(raw)?;
        match self.chain.wait_for_transaction(&hash, deadline)? {
            Some((block, index)) => value(convert::receipt(&block, index)),
            None => Err(self.not_included(&hash)),
        }
    }

    fn not_included(&self, hash: &B256) -> RpcError {
        let stopped = || self.chain.stopped().map(|why| format!("the chain has stopped: {why}"));
        match self.chain.dropped_reason(hash).or_else(stopped) {
            Some(reason) => RpcError::new(SERVER_ERROR, reason),
            None => RpcError {
                data: Some(json!(hash)),
                ..RpcError::new(TIMED_OUT, "the transaction was taken in but did not run in time")
            },
        }
    }

    pub(super) fn pool_content(&self) -> RpcResult {
        let (pending, queued) = self.chain.pool_content();
        let show = |transactions: Vec<Transaction>| by_sender(transactions, convert::waiting);
        value(json!({ "pending": show(pending), "queued": show(queued) }))
    }

    pub(super) fn pool_content_from(&self, params: &mut Params) -> RpcResult {
        let sender: Address = params.required("address")?;
        let (pending, queued) = self.chain.pool_content();
        let show = |transactions: Vec<Transaction>| {
            by_sender(transactions, convert::waiting).remove(&sender).unwrap_or_default()
        };
        value(json!({ "pending": show(pending), "queued": show(queued) }))
    }

    pub(super) fn pool_inspect(&self) -> RpcResult {
        let (pending, queued) = self.chain.pool_content();
        let line = |transaction: &Transaction| {
            let envelope = transaction.envelope();
            let to = envelope.to().map_or("contract creation".into(), |to| to.to_string());
            let (value, gas) = (envelope.value(), envelope.gas_limit());
            format!("{to}: {value} wei + {gas} gas × {} wei", envelope.max_fee_per_gas())
        };
        let show = |transactions: Vec<Transaction>| by_sender(transactions, line);
        value(json!({ "pending": show(pending), "queued": show(queued) }))
    }

    pub(super) fn pool_status(&self) -> RpcResult {
        let (pending, queued) = self.chain.pool_content();
        let count = |transactions: Vec<Transaction>| convert::quantity(transactions.len() as u64);
        value(json!({ "pending": count(pending), "queued": count(queued) }))
    }
}

/// Groups by sender, and within by nonce in decimal, as go-ethereum does.
fn by_sender<T>(
    transactions: Vec<Transaction>,
    show: impl Fn(&Transaction) -> T,
) -> BTreeMap<Address, BTreeMap<String, T>> {
    let mut senders: BTreeMap<Address, BTreeMap<String, T>> = BTreeMap::new();
    for transaction in transactions {
        let nonce = transaction.envelope().nonce().to_string();
        senders.entry(transaction.sender()).or_default().insert(nonce, show(&transaction));
    }
    senders
}
