//! Running calls without keeping what they change.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Bytes, TxKind, U256};
use alloy_rpc_types_eth::{TransactionRequest, state::StateOverride};
use revm::{
    Context, ExecuteEvm, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::{
        TxEnv,
        result::{EVMError, ExecutionResult, HaltReason},
    },
    context_interface::either::Either,
    database::CacheDB,
};

use super::{Rpc, RpcError, RpcResult, convert, error::SERVER_ERROR, params::Params, value};
use crate::{
    BlockEnvironment, TRANSACTION_GAS_LIMIT_MAX,
    execute::{block_env, config},
    state::{StateView, ViewError},
};

/// The most gas a call may use: calls are free, so they need a bound of their own.
///
/// # Source
///
/// go-ethereum's default `--rpc.gascap`.
const CALL_GAS_MAX: u64 = 50_000_000;

/// A state that calls may change as they like.
type Scratch = CacheDB<StateView>;

impl Rpc {
    pub(super) fn call(&self, params: &mut Params) -> RpcResult {
        let request: TransactionRequest = params.required("call")?;
        let block = params.block()?;
        let overrides: Option<StateOverride> = params.optional("state overrides")?;
        if params.optional::<serde_json::Value>("block overrides")?.is_some() {
            return Err(RpcError::invalid_params("block overrides are not taken here"));
        }
        let (environment, mut state) = self.scratch(block)?;
        apply_overrides(&mut state, overrides.unwrap_or_default())?;
        let gas = request.gas.unwrap_or(CALL_GAS_MAX).min(CALL_GAS_MAX);
        match self.run(&mut state, &environment, &request, gas)? {
            ExecutionResult::Success { output, .. } => value(output.into_data()),
            failed => Err(failure(failed)),
        }
    }

    pub(super) fn estimate_gas(&self, params: &mut Params) -> RpcResult {
        let request: TransactionRequest = params.required("call")?;
        let block = params.optional("block")?;
        let block = block.unwrap_or(BlockId::Number(BlockNumberOrTag::Pending));
        let overrides: Option<StateOverride> = params.optional("state overrides")?;
        let (environment, mut state) = self.scratch(block)?;
        apply_overrides(&mut state, overrides.unwrap_or_default())?;
        let most = self.affordable_gas(&mut state, &request)?;
        let mut enough = most;
        let result = self.run(&mut state, &environment, &request, enough)?;
        let used = match &result {
            ExecutionResult::Success { .. } => result.tx_gas_used(),
            _ => return Err(failure(result)),
        };
        // What was used may be too little as a limit: refunds come at the end, and a call passes on
        // all but a 64th. So search between, beginning where it nearly always succeeds.
        let mut too_little = used.saturating_sub(1);
        let mut guess = (used + used / 63 + 2_300).min(enough);
        while too_little + 1 < enough {
            let result = self.run(&mut state, &environment, &request, guess)?;
            if result.is_success() {
                enough = guess;
            } else {
                too_little = guess;
            }
            guess = too_little + (enough - too_little) / 2;
        }
        value(convert::quantity(enough))
    }

    /// The most gas that the request asks for, a transaction may have, and its sender can pay.
    fn affordable_gas(
        &self,
        state: &mut Scratch,
        request: &TransactionRequest,
    ) -> Result<u64, RpcError> {
        let most = request.gas.unwrap_or(TRANSACTION_GAS_LIMIT_MAX).min(TRANSACTION_GAS_LIMIT_MAX);
        let price = request.max_fee_per_gas.or(request.gas_price).unwrap_or_default();
        let (Some(from), true) = (request.from, price > 0) else { return Ok(most) };
        let account = revm::Database::basic(state, from)?;
        let balance = account.map_or(U256::ZERO, |account| account.balance);
        let value = request.value.unwrap_or_default();
        let left = balance.checked_sub(value).ok_or_else(|| {
            RpcError::new(SERVER_ERROR, "insufficient funds for gas * price + value")
        })?;
        let payable = u64::try_from(left / U256::from(price)).unwrap_or(u64::MAX);
        Ok(most.min(payable))
    }

    fn scratch(&self, block: BlockId) -> Result<(BlockEnvironment, Scratch), RpcError> {
        let header = &self.require_block(block)?.header;
        let environment = if block == BlockId::Number(BlockNumberOrTag::Pending) {
            self.chain.next_environment()
        } else {
            BlockEnvironment::of(header)
        };
        Ok((environment, CacheDB::new(self.chain.view(header.number))))
    }

    fn run(
        &self,
        state: &mut Scratch,
        environment: &BlockEnvironment,
        request: &TransactionRequest,
        gas_limit: u64,
    ) -> Result<ExecutionResult, RpcError> {
        let chain_id = self.chain.chain_id();
        if request.chain_id.is_some_and(|asked| asked != chain_id) {
            return Err(RpcError::invalid_params(format!("this is chain {chain_id}")));
        }
        let mut rules = config(chain_id);
        rules.disable_nonce_check = true;
        rules.disable_balance_check = true;
        rules.disable_base_fee = true;
        rules.disable_eip3607 = true;
        rules.disable_block_gas_limit = true;
        rules.tx_gas_limit_cap = Some(CALL_GAS_MAX);
        let mut evm = Context::mainnet()
            .with_db(state)
            .with_block(block_env(environment))
            .with_cfg(rules)
            .build_mainnet();
        match evm.transact(transaction_env(request, gas_limit, chain_id)) {
            Ok(outcome) => Ok(outcome.result),
            Err(EVMError::Database(error)) => Err(ViewError::into(error)),
            Err(error) => Err(RpcError::new(SERVER_ERROR, error.to_string())),
        }
    }
}

fn transaction_env(request: &TransactionRequest, gas_limit: u64, chain_id: u64) -> TxEnv {
    let price = request.max_fee_per_gas.or(request.gas_price).unwrap_or_default();
    let authorizations = request.authorization_list.iter().flatten();
    TxEnv {
        tx_type: request.minimal_tx_type() as u8,
        caller: request.from.unwrap_or_default(),
        gas_limit,
        gas_price: price,
        kind: request.to.unwrap_or(TxKind::Create),
        value: request.value.unwrap_or_default(),
        data: request.input.input().cloned().unwrap_or_default(),
        nonce: request.nonce.unwrap_or_default(),
        chain_id: Some(chain_id),
        access_list: request.access_list.clone().unwrap_or_default(),
        gas_priority_fee: request.max_priority_fee_per_gas.filter(|tip| *tip <= price),
        authorization_list: authorizations.cloned().map(Either::Left).collect(),
        ..TxEnv::default()
    }
}

fn apply_overrides(state: &mut Scratch, overrides: StateOverride) -> Result<(), RpcError> {
    for (address, change) in overrides {
        if change.move_precompile_to.is_some() {
            return Err(RpcError::invalid_params("precompiles cannot be moved here"));
        }
        let mut info = revm::Database::basic(state, address)?.unwrap_or_default();
        if let Some(balance) = change.balance {
            info.balance = balance;
        }
        if let Some(nonce) = change.nonce {
            info.nonce = nonce;
        }
        if let Some(code) = change.code {
            let code = Bytecode::new_raw_checked(code)
                .map_err(|error| RpcError::invalid_params(format!("invalid code: {error}")))?;
            info.code_hash = code.hash_slow();
            info.code = Some(code);
        }
        state.insert_account_info(address, info);
        if let Some(slots) = change.state {
            let slots = slots.into_iter().map(|(slot, value)| (slot.into(), value.into()));
            state.replace_account_storage(address, slots.collect())?;
        }
        for (slot, value) in change.state_diff.into_iter().flatten() {
            state.insert_account_storage(address, slot.into(), value.into())?;
        }
    }
    Ok(())
}

fn failure(result: ExecutionResult) -> RpcError {
    match result {
        ExecutionResult::Revert { output, .. } => RpcError::reverted(&output),
        ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. } => {
            RpcError::new(SERVER_ERROR, "gas required exceeds allowance")
        }
        ExecutionResult::Halt { reason, .. } => {
            RpcError::new(SERVER_ERROR, format!("execution halted: {reason:?}"))
        }
        ExecutionResult::Success { .. } => RpcError::reverted(&Bytes::new()),
    }
}
