//! Asks the chain, in standard JSON-RPC: this gateway's own, or any other that its configuration names.
//!
//! Every question is bounded: so many blocks, transactions and logs at once, and no more.

use alloy_consensus::TxEnvelope;
use alloy_primitives::{Address, B256, Bytes, U64, U256};
use alloy_rpc_types_eth::{Block, Log, Transaction, TransactionReceipt};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{fault::Fault, home::Home};

/// How many questions are on their way at once.
const AT_ONCE: usize = 8;

/// Why the chain gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeError {
    /// It says that it will not, or cannot: with what a call reverted with, when that is why.
    Refused {
        /// JSON-RPC's code.
        code: i64,
        /// In its words.
        message: String,
        /// What a call reverted with.
        data: Option<Bytes>,
    },
    /// It cannot be asked, or what it says cannot be read.
    Unusable,
}

impl From<NodeError> for Fault {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Refused { message, .. } => {
                tracing::warn!(message, "the chain refused to answer");
                Self::NotAllowed(format!("The chain does not answer this: {}.", short(&message)))
            }
            NodeError::Unusable => Self::Unavailable,
        }
    }
}

/// What is told of a message of somebody else's.
fn short(message: &str) -> String {
    message.chars().take(200).collect()
}

/// Asks one chain.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a>(&'a dyn Home);

/// The transactions that wait.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Those that could run now, then those that wait for an earlier one, each by sender and nonce.
    pub(crate) transactions: Vec<(Transaction, bool)>,
    /// How many wait in all, when they are too many to show.
    pub(crate) in_all: u64,
}

impl<'a> Node<'a> {
    pub(crate) fn new(home: &'a dyn Home) -> Self {
        Self(home)
    }

    /// Asks one thing.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, NodeError> {
        let mut answer = self.0.answer(method, params).await;
        if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
            let data = error.get("data").and_then(Value::as_str);
            return Err(NodeError::Refused {
                code: error["code"].as_i64().unwrap_or_default(),
                message: error["message"].as_str().unwrap_or_default().to_owned(),
                data: data.and_then(|data| data.parse().ok()),
            });
        }
        let result = answer.get_mut("result").map(Value::take).unwrap_or_default();
        serde_json::from_value(result).map_err(|error| {
            tracing::warn!(%error, method, "the chain's answer could not be read");
            NodeError::Unusable
        })
    }

    /// The number of the newest block.
    pub(crate) async fn head(&self) -> Result<u64, NodeError> {
        Ok(self.ask::<U64>("eth_blockNumber", json!([])).await?.to())
    }

    /// A block with its transactions' hashes, or with the transactions.
    pub(crate) async fn block(&self, number: u64, whole: bool) -> Result<Option<Block>, NodeError> {
        self.ask("eth_getBlockByNumber", json!([U64::from(number), whole])).await
    }

    /// A block by its hash.
    pub(crate) async fn block_by_hash(&self, hash: B256) -> Result<Option<Block>, NodeError> {
        self.ask("eth_getBlockByHash", json!([hash, false])).await
    }

    /// Blocks, the newest first: `count` of them that end with `last`. With their transactions' hashes only.
    pub(crate) async fn blocks(&self, last: u64, count: u64) -> Result<Vec<Block>, NodeError> {
        let numbers = (last.saturating_sub(count.saturating_sub(1))..=last).rev();
        let asked = stream::iter(numbers).map(|number| self.block(number, false)).buffered(AT_ONCE);
        let found: Vec<Option<Block>> = asked.try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The receipts of a block, in order.
    pub(crate) async fn receipts(&self, number: u64) -> Result<Vec<TransactionReceipt>, NodeError> {
        let found: Option<Vec<TransactionReceipt>> =
            self.ask("eth_getBlockReceipts", json!([U64::from(number)])).await?;
        Ok(found.unwrap_or_default())
    }

    /// A transaction, waiting or sealed.
    pub(crate) async fn transaction(&self, hash: B256) -> Result<Option<Transaction>, NodeError> {
        self.ask("eth_getTransactionByHash", json!([hash])).await
    }

    /// What a sealed transaction did.
    pub(crate) async fn receipt(
        &self,
        hash: B256,
    ) -> Result<Option<TransactionReceipt>, NodeError> {
        self.ask("eth_getTransactionReceipt", json!([hash])).await
    }

    /// The transactions that wait, at most `most` of them: more are counted and not fetched, because a chain gives all
    /// or none. With a `sender`, theirs.
    pub(crate) async fn waiting(
        &self,
        sender: Option<Address>,
        most: u64,
    ) -> Result<Waiting, NodeError> {
        let status: Value = self.ask("txpool_status", json!([])).await?;
        let count = |of: &str| -> u64 {
            let count = serde_json::from_value::<U64>(status[of].clone());
            count.map_or(0, |count| count.to())
        };
        let in_all = count("pending") + count("queued");
        if in_all > most && sender.is_none() {
            return Ok(Waiting { transactions: Vec::new(), in_all });
        }
        let content: Value = match sender {
            Some(sender) => {
                let of_sender: Value = self.ask("txpool_contentFrom", json!([sender])).await?;
                let name = sender.to_string();
                json!({ "pending": { &name: of_sender["pending"] }, "queued": { &name: of_sender["queued"] } })
            }
            None => self.ask("txpool_content", json!([])).await?,
        };
        let mut transactions = Vec::new();
        for (of, is_ready) in [("pending", true), ("queued", false)] {
            let mut found = Vec::new();
            for by_nonce in content[of].as_object().into_iter().flat_map(|all| all.values()) {
                for transaction in by_nonce.as_object().into_iter().flat_map(|all| all.values()) {
                    let read = serde_json::from_value::<Transaction>(transaction.clone());
                    found.push(read.map_err(|_| NodeError::Unusable)?);
                }
            }
            found.sort_by_key(|transaction: &Transaction| {
                (transaction.inner.signer(), nonce(transaction.inner.inner()))
            });
            let room =
                usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(transactions.len());
            transactions.extend(found.into_iter().take(room).map(|one| (one, is_ready)));
        }
        Ok(Waiting { transactions, in_all })
    }

    /// The nonce that a sender's next transaction must have.
    pub(crate) async fn next_nonce(&self, sender: Address) -> Result<u64, NodeError> {
        Ok(self.ask::<U64>("eth_getTransactionCount", json!([sender, "latest"])).await?.to())
    }

    /// What a sender has, in wei.
    pub(crate) async fn balance(&self, sender: Address) -> Result<U256, NodeError> {
        self.ask("eth_getBalance", json!([sender, "latest"])).await
    }

    /// What each unit of gas costs in the next block at least, in wei.
    pub(crate) async fn next_base_fee(&self) -> Result<u128, NodeError> {
        let history: Value = self.ask("eth_feeHistory", json!(["0x1", "latest", []])).await?;
        let fees: Vec<U256> = serde_json::from_value(history["baseFeePerGas"].clone())
            .map_err(|_| NodeError::Unusable)?;
        let next = fees.last().ok_or(NodeError::Unusable)?;
        u128::try_from(*next).map_err(|_| NodeError::Unusable)
    }

    /// How many bytes of code an address has.
    pub(crate) async fn code_bytes(&self, address: Address) -> Result<usize, NodeError> {
        Ok(self.ask::<Bytes>("eth_getCode", json!([address, "latest"])).await?.len())
    }

    /// Runs a call without keeping what it changes.
    pub(crate) async fn call(&self, call: Value, block: &str) -> Result<Bytes, NodeError> {
        self.ask("eth_call", json!([call, block])).await
    }

    /// How much gas a call would take.
    pub(crate) async fn estimate(&self, call: Value) -> Result<u64, NodeError> {
        Ok(self.ask::<U64>("eth_estimateGas", json!([call])).await?.to())
    }

    /// What contracts announced in a range of blocks.
    pub(crate) async fn logs(&self, filter: Value) -> Result<Vec<Log>, NodeError> {
        self.ask("eth_getLogs", json!([filter])).await
    }
}

/// The nonce of a transaction.
pub(crate) fn nonce(envelope: &TxEnvelope) -> u64 {
    alloy_consensus::Transaction::nonce(envelope)
}
