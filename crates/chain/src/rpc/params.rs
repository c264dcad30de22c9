//! Positional parameters of a call.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::U256;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::RpcError;

/// How many characters are told of why a parameter is invalid.
const REASON_MAX: usize = 200;

/// The parameters that are left, in order.
pub(crate) struct Params(std::vec::IntoIter<Value>);

impl Params {
    pub(crate) fn new(params: Value) -> Result<Self, RpcError> {
        match params {
            Value::Array(params) => Ok(Self(params.into_iter())),
            Value::Null => Ok(Self(Vec::new().into_iter())),
            _ => Err(RpcError::invalid_params("parameters must be an array")),
        }
    }

    /// The next parameter, which must be there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, RpcError> {
        let missing = || RpcError::invalid_params(format!("missing parameter {name}"));
        self.optional(name)?.ok_or_else(missing)
    }

    /// The next parameter, if it is there and not null.
    pub(crate) fn optional<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, RpcError> {
        match self.0.next() {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|error| {
                // It may quote what came in, which may be long.
                let reason: String = error.to_string().chars().take(REASON_MAX).collect();
                RpcError::invalid_params(format!("invalid parameter {name}: {reason}"))
            }),
        }
    }

    /// The next parameter as a number, in hexadecimal or decimal.
    pub(crate) fn number(&mut self, name: &str) -> Result<u64, RpcError> {
        let number: U256 = self.required(name)?;
        number.try_into().map_err(|_| RpcError::invalid_params(format!("{name} is too large")))
    }

    /// The next parameter as a block, the latest when it is left out.
    pub(crate) fn block(&mut self) -> Result<BlockId, RpcError> {
        let block: Option<BlockId> = self.optional("block")?;
        Ok(block.unwrap_or(BlockId::Number(BlockNumberOrTag::Latest)))
    }
}
