//! Standard Ethereum JSON-RPC: what `cast`, viem, wallets and alloy call.
//!
//! [`Rpc`] answers one call at a time and knows nothing of sockets; [`serve`](crate::Rpc::serve) puts it
//! behind HTTP and WebSocket, [`InProcess`] behind an alloy provider without any.
//!
//! # Source
//!
//! Methods, types and error codes follow the Ethereum execution API specification
//! (<https://github.com/ethereum/execution-apis>) and, where it is silent, go-ethereum.

mod access;
mod call;
mod convert;
mod error;
mod fees;
mod filters;
mod logs;
mod params;
mod read;
mod server;
mod socket;
mod submit;
mod transport;

use serde_json::{Value, json};

use alloy_primitives::{Bytes, keccak256};

use crate::Chain;

pub use access::ServerAccess;
pub use error::RpcError;
pub use server::{ServerHandle, ServerLimits};
pub use transport::InProcess;

use filters::Filters;
use params::Params;

/// Answers JSON-RPC calls about one chain. Clones answer about the same chain.
#[derive(Clone)]
pub struct Rpc {
    chain: Chain,
    filters: Filters,
}

/// What one call gives.
pub(crate) type RpcResult = Result<Value, RpcError>;

impl Rpc {
    /// Answers about `chain`.
    #[must_use]
    pub fn new(chain: Chain) -> Self {
        Self { chain, filters: Filters::default() }
    }

    /// The chain it answers about.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Answers one call. May block the thread, for some milliseconds at most unless the call itself
    /// asks to wait.
    ///
    /// # Errors
    ///
    /// [`RpcError`] with the code and data that Ethereum clients expect.
    pub fn handle(&self, method: &str, params: Value) -> RpcResult {
        let mut params = Params::new(params)?;
        let result = self.dispatch(method, &mut params)?;
        Ok(result)
    }

    fn dispatch(&self, method: &str, params: &mut Params) -> RpcResult {
        match method {
            "eth_chainId" => value(format!("{:#x}", self.chain.chain_id())),
            "net_version" => value(self.chain.chain_id().to_string()),
            "web3_clientVersion" => value(concat!("salus/v", env!("CARGO_PKG_VERSION"), "/rust")),
            "web3_sha3" => value(keccak256(params.required::<Bytes>("data")?)),
            "net_listening" => value(true),
            "net_peerCount" => value("0x0"),
            "eth_syncing" => value(false),
            "eth_accounts" => value(json!([])),
            "eth_coinbase" => value(self.chain.genesis().beneficiary()),
            "rpc_modules" => {
                value(json!({"eth": "1.0", "net": "1.0", "web3": "1.0", "txpool": "1.0"}))
            }

            "eth_blockNumber" => value(convert::quantity(self.chain.head().header.number)),
            "eth_getBlockByNumber" => self.block_by_number(params),
            "eth_getBlockByHash" => self.block_by_hash(params),
            "eth_getBlockTransactionCountByNumber" | "eth_getBlockTransactionCountByHash" => {
                self.block_transaction_count(params)
            }
            "eth_getUncleCountByBlockNumber" | "eth_getUncleCountByBlockHash" => value("0x0"),
            "eth_getBlockReceipts" => self.block_receipts(params),
            "eth_getTransactionByHash" => self.transaction_by_hash(params),
            "eth_getTransactionByBlockNumberAndIndex" | "eth_getTransactionByBlockHashAndIndex" => {
                self.transaction_by_index(params)
            }
            "eth_getRawTransactionByHash" => self.raw_transaction(params),
            "eth_getTransactionReceipt" => self.transaction_receipt(params),

            "eth_getBalance" => self.balance(params),
            "eth_getCode" => self.code(params),
            "eth_getStorageAt" => self.storage_at(params),
            "eth_getTransactionCount" => self.transaction_count(params),
            "eth_getProof" => self.proof(params),

            "eth_call" => self.call(params),
            "eth_estimateGas" => self.estimate_gas(params),
            "eth_gasPrice" => self.gas_price(),
            "eth_maxPriorityFeePerGas" => value(convert::quantity(fees::SUGGESTED_TIP)),
            "eth_blobBaseFee" => value("0x1"),
            "eth_feeHistory" => self.fee_history(params),

            "eth_sendRawTransaction" => self.send_raw_transaction(params),
            "eth_sendRawTransactionSync" => self.send_raw_transaction_sync(params),
            "txpool_content" => self.pool_content(),
            "txpool_contentFrom" => self.pool_content_from(params),
            "txpool_inspect" => self.pool_inspect(),
            "txpool_status" => self.pool_status(),

            "eth_getLogs" => self.logs(params),
            "eth_newFilter" => self.new_filter(params),
            "eth_newBlockFilter" => self.new_block_filter(),
            "eth_newPendingTransactionFilter" => self.new_pending_transaction_filter(),
            "eth_getFilterChanges" => self.filter_changes(params),
            "eth_getFilterLogs" => self.filter_logs(params),
            "eth_uninstallFilter" => self.uninstall_filter(params),
            "eth_subscribe" | "eth_unsubscribe" => Err(RpcError::new(
                error::METHOD_NOT_FOUND,
                "subscriptions need a WebSocket connection, and a request of their own",
            )),
            _ => Err(RpcError::method_not_found(method)),
        }
    }
}

/// Turns what a method gives into JSON.
pub(crate) fn value(result: impl serde::Serialize) -> RpcResult {
    serde_json::to_value(result).map_err(RpcError::internal)
}
