//! Run a durable Ethereum chain inside the process.
//!
//! A [`Chain`] takes signed transactions, executes them under the rules of Osaka, and keeps the blocks
//! in a directory. Its blocks are Ethereum's: same encoding, receipts, gas, Merkle-Patricia roots. An
//! [`Rpc`] answers standard JSON-RPC about it, in process ([`InProcess`]) or over HTTP and WebSocket
//! ([`Rpc::serve`]), so `cast`, viem, ethers and wallets work against it. An [`Audit`] executes blocks
//! from elsewhere and believes nothing. There are no peers here: whatever orders the blocks of many
//! machines stands above, and uses [`Chain::propose`] and [`Chain::apply`]; alone,
//! [`Chain::run_solo`] does.
//!
//! # How a block comes about
//!
//! ```text
//! submit -> pool -> propose -> apply                         whoever orders: solo, or a consensus
//!                                |
//!        execute      EVM, on the world in memory            each stage on a thread of its own,
//!           |                                                so that blocks follow closely
//!         seal        state root, receipts root, header
//!           |
//!        commit       block log, synchronised                from here on confirmed and visible
//!           |
//!         store       state and index, from time to time     derived; can be lost
//! ```
//!
//! # What is on the disk
//!
//! ```text
//! genesis.json         what the chain began with
//! blocks.log           every block, each with its checksum            the commit point
//! blocks.places        where each block begins, noted once it is confirmed
//! state/FROM-TO.run    what blocks FROM+1 to TO left of the state     derived
//! index/FROM-TO.run    which of them hold a hash, address or topic    derived
//! lock                 held while a process has the chain open
//! ```
//!
//! What is derived is made again from the log when it is missing or damaged. The log itself is never
//! repaired silently: only a half-written end that was never confirmed is cut off. Removing
//! `blocks.places` gives up the evidence of what was confirmed, so it is also how a damaged end is
//! given up on purpose.
//!
//! # Guarantees
//!
//! - A block that was confirmed, whether by [`Applied`], a receipt or a new head, survives `kill -9` at
//!   any instant, and a full disk (S6). A disk that fails stops the chain: it takes nothing more, says
//!   why ([`Chain::stopped`]), and goes on answering.
//! - The same genesis and payloads give the same chain (S9): no clock or randomness but what is handed
//!   in. What was stored is executed again when it is opened, and refused when it gives something else.
//! - Nothing grows with what strangers send: pool, requests, batches, searches, filters, subscriptions
//!   and connections are bounded ([`PoolLimits`], [`ServerLimits`]).
//!
//! [`ChainConfig::thrown_away`] gives up the first of these, and the index, for chains that are deleted after use.
//! Their blocks are the same.
//!
//! The whole newest state is in memory, some 400 bytes per account or slot.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use alloy_primitives::{Address, U256};
//! use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let patient = Address::repeat_byte(7);
//! let genesis = Genesis::new(31_337, 1_700_000_000).with_balance(patient, U256::from(5));
//! let clock = Arc::new(|| 1_700_000_001);
//!
//! let chain = Chain::open(ChainConfig::new(dir.path(), genesis, clock))?;
//! chain.run_solo(Sealing::Instant);
//! let rpc = Rpc::new(chain.clone());
//! assert_eq!(rpc.handle("eth_getBalance", json!([patient, "latest"]))?, "0x5");
//! assert_eq!(chain.applied().0, 0);
//! chain.close();
//! # Ok(())
//! # }
//! ```
mod audit;
mod block;
mod chain;
mod execute;
mod genesis;
mod hashes;
mod open;
mod ordering;
mod pool;
mod rpc;
mod solo;
mod stages;
mod state;
mod store;
mod transaction;

pub use audit::{Audit, AuditError};
pub use block::{Block, BlockEnvironment, Receipt, SharedBlock};
pub use chain::{BLOCK_TRANSACTIONS_MAX, Chain, ChainConfig, Clock, ReadError, SubmitError};
pub use genesis::{BLOCK_GAS_LIMIT, Genesis, INITIAL_BASE_FEE};
pub use open::OpenError;
pub use ordering::{Applied, ApplyError, Certificate, Delegate, Payload};
pub use pool::{PoolError, PoolLimits};
pub use rpc::{InProcess, Rpc, RpcError, ServerAccess, ServerHandle, ServerLimits};
pub use solo::Sealing;
pub use store::LogError;
pub use transaction::{
    TRANSACTION_GAS_LIMIT_MAX, TRANSACTION_SIZE_MAX, Transaction, TransactionError,
};
