//! Run a durable Ethereum chain inside the process.
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
pub use rpc::{InProcess, Rpc, RpcError, ServerHandle, ServerLimits};
pub use solo::Sealing;
pub use store::LogError;
pub use transaction::{
    TRANSACTION_GAS_LIMIT_MAX, TRANSACTION_SIZE_MAX, Transaction, TransactionError,
};
