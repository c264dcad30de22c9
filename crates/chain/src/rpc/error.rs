//! Errors as JSON-RPC clients expect them.

use alloy_primitives::{Bytes, hex};
use alloy_sol_types::{Panic, Revert, SolError as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ReadError, SubmitError, state::ViewError};

pub(crate) const PARSE_ERROR: i64 = -32_700;
pub(crate) const INVALID_REQUEST: i64 = -32_600;
pub(crate) const METHOD_NOT_FOUND: i64 = -32_601;
pub(crate) const INVALID_PARAMS: i64 = -32_602;
pub(crate) const INTERNAL_ERROR: i64 = -32_603;
/// Anything that the server refuses for a reason of Ethereum's.
pub(crate) const SERVER_ERROR: i64 = -32_000;
/// The result would exceed a limit.
pub(crate) const LIMIT_EXCEEDED: i64 = -32_005;
/// The answers to a batch have become too long. go-ethereum's code.
pub(crate) const RESPONSE_TOO_LARGE: i64 = -32_003;
/// A call reverted; the data is what it reverted with. go-ethereum's code, which clients look for.
pub(crate) const REVERTED: i64 = 3;

/// An error object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (code {code})")]
pub struct RpcError {
    /// What sort of error it is.
    pub code: i64,
    /// What went wrong.
    pub message: String,
    /// More of it, such as revert data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl RpcError {
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    pub(crate) fn method_not_found(method: &str) -> Self {
        // The name comes from outside and may be long.
        let shown: String = method.chars().take(64).collect();
        Self::new(METHOD_NOT_FOUND, format!("the method {shown} does not exist"))
    }

    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(INVALID_PARAMS, message)
    }

    pub(crate) fn internal(error: impl std::error::Error) -> Self {
        tracing::error!(%error, "a call failed");
        Self::new(INTERNAL_ERROR, "internal error")
    }

    /// A call that reverted with `output`.
    pub(crate) fn reverted(output: &Bytes) -> Self {
        let reason = if let Ok(revert) = Revert::abi_decode(output) {
            format!(": {}", revert.reason)
        } else if let Ok(panic) = Panic::abi_decode(output) {
            format!(": {panic}")
        } else {
            String::new()
        };
        Self {
            code: REVERTED,
            message: format!("execution reverted{reason}"),
            data: Some(hex::encode_prefixed(output).into()),
        }
    }
}

impl From<ReadError> for RpcError {
    fn from(error: ReadError) -> Self {
        Self::internal(error)
    }
}

impl From<ViewError> for RpcError {
    fn from(error: ViewError) -> Self {
        Self::new(SERVER_ERROR, error.to_string())
    }
}

impl From<SubmitError> for RpcError {
    fn from(error: SubmitError) -> Self {
        Self::new(SERVER_ERROR, error.to_string())
    }
}
