//! Reads the state as it stood at the end of one kept block.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use parking_lot::RwLock;
use revm::{
    DatabaseRef,
    bytecode::Bytecode,
    database_interface::DBErrorMarker,
    state::{AccountId, AccountInfo},
};

use super::world::{Entry, World, is_block_hash_contract};
use crate::hashes::BlockHashes;

/// Why a state cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ViewError {
    /// The block is older than the states that are kept.
    #[error("the state at block {height} is no longer kept; the oldest kept is block {oldest}")]
    NotKept { height: u64, oldest: u64 },
}

impl DBErrorMarker for ViewError {}

/// The state at the end of one block.
///
/// The lock is taken per value, not per view, so a long call delays no block. A view may outlive the
/// window of kept states; reads then fail rather than answer from another block.
#[derive(Clone)]
pub(crate) struct StateView {
    world: Arc<RwLock<World>>,
    hashes: Arc<BlockHashes>,
    height: u64,
}

impl StateView {
    /// A view of the state at the end of block `height`.
    pub(crate) const fn new(
        world: Arc<RwLock<World>>,
        hashes: Arc<BlockHashes>,
        height: u64,
    ) -> Self {
        Self { world, hashes, height }
    }

    /// The account, if it exists.
    pub(crate) fn entry(&self, address: &Address) -> Result<Option<Entry>, ViewError> {
        self.read(|world| world.entry_at(self.height, address))
    }

    /// The value of a slot, zero when it was never set.
    pub(crate) fn slot(&self, address: &Address, slot: &U256) -> Result<U256, ViewError> {
        if is_block_hash_contract(address) {
            return Ok(self.hashes.history_slot(self.height, slot));
        }
        self.read(|world| {
            let storage = world.entry_at(self.height, address).and_then(|entry| entry.storage);
            storage.map_or(U256::ZERO, |storage| world.slot_at(self.height, storage, slot))
        })
    }

    /// The code with this hash, empty when there is none.
    pub(crate) fn code(&self, hash: &B256) -> Bytecode {
        self.world.read().code(hash).unwrap_or_default()
    }

    fn read<T>(&self, read: impl FnOnce(&World) -> T) -> Result<T, ViewError> {
        let world = self.world.read();
        if !world.keeps(self.height) {
            return Err(ViewError::NotKept { height: self.height, oldest: world.oldest_height() });
        }
        Ok(read(&world))
    }
}

impl DatabaseRef for StateView {
    type Error = ViewError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ViewError> {
        Ok(self.entry(&address)?.map(account_info))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        Ok(self.code(&code_hash))
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.slot(&address, &slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, ViewError> {
        Ok(self.hashes.get(number).unwrap_or_default())
    }
}

/// An account as the EVM wants it, its code to be asked for by hash.
pub(crate) fn account_info(entry: Entry) -> AccountInfo {
    AccountInfo {
        balance: entry.balance,
        nonce: entry.nonce,
        code_hash: entry.code_hash,
        account_id: entry.storage.and_then(|storage| AccountId::new(storage as usize)),
        code: None,
    }
}
