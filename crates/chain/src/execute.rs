//! Executes a block's transactions on the EVM and gathers what they changed.

use std::convert::Infallible;

use alloy_consensus::Transaction as _;
use alloy_primitives::{Address, B256, U256, map::AddressMap};
use revm::{
    Context, Database, DatabaseCommit, ExecuteCommitEvm, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::{BlockEnv, CfgEnv, result::EVMError, result::ExecutionResult},
    context_interface::block::BlobExcessGasAndPrice,
    primitives::hardfork::SpecId,
    state::{Account, AccountId, AccountInfo},
};

use crate::{
    BlockEnvironment, Receipt, Transaction,
    hashes::BlockHashes,
    state::{AccountChange, BlockChanges, Entry, World, account_info, is_block_hash_contract},
};

/// The rules in force from the first block.
///
/// Osaka brings the P256VERIFY precompile (EIP-7951), which passkeys need, and the gas bound of
/// EIP-7825.
pub(crate) const RULES: SpecId = SpecId::OSAKA;

/// What came of a block's transactions.
pub(crate) struct Executed {
    /// The transactions that ran, successfully or not, in order.
    pub(crate) included: Vec<Transaction>,
    /// One receipt for each.
    pub(crate) receipts: Vec<Receipt>,
    /// Gas used by all.
    pub(crate) gas_used: u64,
    /// What they changed.
    pub(crate) changes: BlockChanges,
    /// Transactions that could not run at all, with the reason. They change nothing.
    pub(crate) rejected: Vec<(Transaction, String)>,
    /// Transactions that did not fit into the block any more.
    pub(crate) deferred: Vec<Transaction>,
}

/// Executes `transactions` on top of `world`, which is not changed.
///
/// Deterministic (S9): the outcome depends on the arguments alone. A transaction that cannot run,
/// such as one with a used nonce, is left out and changes nothing.
pub(crate) fn execute(
    world: &World,
    hashes: &BlockHashes,
    chain_id: u64,
    environment: &BlockEnvironment,
    transactions: Vec<Transaction>,
) -> Executed {
    let state =
        BlockState { world, hashes, number: environment.number, changes: BlockChanges::default() };
    let mut evm = Context::mainnet()
        .with_db(state)
        .with_block(block_env(environment))
        .with_cfg(config(chain_id))
        .build_mainnet();
    let mut executed = Executed {
        included: Vec::with_capacity(transactions.len()),
        receipts: Vec::with_capacity(transactions.len()),
        gas_used: 0,
        changes: BlockChanges::default(),
        rejected: Vec::new(),
        deferred: Vec::new(),
    };
    for transaction in transactions {
        let gas_limit = transaction.envelope().gas_limit();
        if gas_limit > environment.gas_limit {
            // It would never fit; put off, it would come back for ever.
            executed.rejected.push((transaction, "exceeds block gas limit".into()));
            continue;
        }
        if executed.gas_used + gas_limit > environment.gas_limit {
            executed.deferred.push(transaction);
            continue;
        }
        match evm.transact_commit(transaction.to_evm()) {
            Ok(result) => executed.include(transaction, result),
            Err(EVMError::Transaction(reason)) => {
                executed.rejected.push((transaction, reason.to_string()));
            }
            Err(error) => executed.rejected.push((transaction, error.to_string())),
        }
    }
    executed.changes = evm.ctx.journaled_state.database.changes;
    executed
}

impl Executed {
    fn include(&mut self, transaction: Transaction, result: ExecutionResult) {
        self.gas_used += result.tx_gas_used();
        let success = result.is_success();
        let logs = match result {
            ExecutionResult::Success { logs, .. } => logs,
            ExecutionResult::Revert { .. } | ExecutionResult::Halt { .. } => Vec::new(),
        };
        self.receipts.push(Receipt {
            tx_type: transaction.envelope().tx_type(),
            success,
            cumulative_gas_used: self.gas_used,
            logs,
        });
        self.included.push(transaction);
    }
}

/// The block as the EVM's instructions see it.
pub(crate) fn block_env(environment: &BlockEnvironment) -> BlockEnv {
    BlockEnv {
        number: U256::from(environment.number),
        timestamp: U256::from(environment.timestamp),
        beneficiary: environment.beneficiary,
        gas_limit: environment.gas_limit,
        basefee: environment.base_fee,
        difficulty: U256::ZERO,
        prevrandao: Some(environment.prev_randao),
        blob_excess_gas_and_price: Some(BlobExcessGasAndPrice {
            excess_blob_gas: 0,
            blob_gasprice: 1,
        }),
        ..BlockEnv::default()
    }
}

/// The rules as the EVM wants them.
pub(crate) fn config(chain_id: u64) -> CfgEnv {
    CfgEnv::new_with_spec(RULES).with_chain_id(chain_id)
}

/// The world as a block's later transactions see it: with what earlier ones changed.
struct BlockState<'a> {
    world: &'a World,
    hashes: &'a BlockHashes,
    number: u64,
    changes: BlockChanges,
}

impl BlockState<'_> {
    fn entry(&self, address: &Address) -> Option<Entry> {
        match self.changes.accounts.get(address) {
            Some(change) => change.entry,
            None => self.world.entry(address),
        }
    }
}

impl Database for BlockState<'_> {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.entry(&address).map(account_info))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        let code = self.changes.codes.get(&hash).cloned().or_else(|| self.world.code(&hash));
        Ok(code.unwrap_or_default())
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        if is_block_hash_contract(&address) {
            return Ok(self.hashes.history_slot(self.number, &slot));
        }
        if let Some(value) =
            self.changes.accounts.get(&address).and_then(|change| change.slots.get(&slot))
        {
            return Ok(*value);
        }
        let storage = self.world.entry(&address).and_then(|entry| entry.storage);
        Ok(storage.map_or(U256::ZERO, |storage| self.world.slot(storage, &slot)))
    }

    fn storage_by_account_id(
        &mut self,
        address: Address,
        _: AccountId,
        slot: U256,
    ) -> Result<U256, Infallible> {
        self.storage(address, slot)
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        Ok(self.hashes.wait(number))
    }
}

impl DatabaseCommit for BlockState<'_> {
    fn commit(&mut self, changes: AddressMap<Account>) {
        for (address, account) in changes {
            self.commit_account(address, account);
        }
    }

    fn commit_iter(&mut self, changes: &mut dyn Iterator<Item = (Address, Account)>) {
        for (address, account) in changes {
            self.commit_account(address, account);
        }
    }
}

impl BlockState<'_> {
    /// Takes in one account after one transaction.
    ///
    /// Each transaction is committed by itself, so `is_changed` compares with the value before it.
    /// An account can only be destroyed in the transaction that made it (EIP-6780), so slots of
    /// accounts that were there before are never wiped.
    fn commit_account(&mut self, address: Address, account: Account) {
        if !account.is_touched() {
            return;
        }
        let before = self.entry(&address);
        if account.is_selfdestructed() || account.is_empty() {
            if before.is_some() || self.changes.accounts.contains_key(&address) {
                self.changes.accounts.insert(address, AccountChange::default());
            }
            return;
        }
        let info = account.info;
        if let Some(code) = info.code.filter(|code| !code.is_empty())
            && self.world.code(&info.code_hash).is_none()
        {
            self.changes.codes.entry(info.code_hash).or_insert(code);
        }
        let entry = Entry {
            nonce: info.nonce,
            balance: info.balance,
            code_hash: info.code_hash,
            storage: before.and_then(|entry| entry.storage),
        };
        let change = self.changes.accounts.entry(address).or_default();
        change.entry = Some(entry);
        for (slot, value) in account.storage {
            if value.is_changed() {
                change.slots.insert(slot, value.present_value());
            }
        }
    }
}
