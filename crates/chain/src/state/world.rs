//! The newest executed state, all of it in memory, and how blocks change it.
//!
//! A block's changes are gathered aside while it executes ([`BlockChanges`]) and merged at once
//! ([`World::merge`]). Merging yields two things: the new values, for the trie and for the disk
//! ([`StateDelta`]), and the old values, by which earlier states can still be read ([`Undo`]).

use std::collections::VecDeque;

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy_primitives::{
    Address, B256, U256,
    map::{AddressMap, B256Map, HashMap, hash_map},
};
use revm::bytecode::Bytecode;

/// Names the slots of one contract, so that the account's address need not be kept beside each.
pub(crate) type StorageId = u32;

/// An account as the state holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) nonce: u64,
    pub(crate) balance: U256,
    pub(crate) code_hash: B256,
    /// Where the account's slots are, once it has had any.
    pub(crate) storage: Option<StorageId>,
}

impl Default for Entry {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK_EMPTY, storage: None }
    }
}

impl Entry {
    fn same_account(&self, other: &Self) -> bool {
        self.nonce == other.nonce
            && self.balance == other.balance
            && self.code_hash == other.code_hash
    }
}

/// What a block made of one account.
#[derive(Clone, Debug, Default)]
pub(crate) struct AccountChange {
    /// The account after the block; `None` when it is gone.
    pub(crate) entry: Option<Entry>,
    /// Slots written, with their last values.
    pub(crate) slots: HashMap<U256, U256>,
}

/// Everything that a block changed, not yet merged.
#[derive(Debug, Default)]
pub(crate) struct BlockChanges {
    pub(crate) accounts: AddressMap<AccountChange>,
    pub(crate) codes: B256Map<Bytecode>,
}

/// The new values after a block, for the trie and for the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateDelta {
    /// Accounts with their new values; `None` when gone.
    pub(crate) accounts: Vec<(Address, Option<Entry>)>,
    /// Slots with their owners and new values; zero when cleared.
    pub(crate) slots: Vec<(StorageId, Address, U256, U256)>,
    /// Code that the block brought.
    pub(crate) codes: Vec<(B256, Bytecode)>,
}

/// The old values that a block replaced.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    pub(crate) number: u64,
    pub(crate) accounts: AddressMap<Option<Entry>>,
    pub(crate) slots: HashMap<(StorageId, U256), U256>,
}

impl Undo {
    fn len(&self) -> usize {
        self.accounts.len() + self.slots.len()
    }
}

/// The newest executed state and the way back to earlier ones.
#[derive(Debug)]
pub(crate) struct World {
    entries: AddressMap<Entry>,
    storages: Vec<HashMap<U256, U256>>,
    codes: B256Map<Bytecode>,
    /// The number of the newest block merged.
    height: u64,
    /// The newest last; consecutive up to `height`.
    history: VecDeque<Undo>,
    limits: HistoryLimits,
    history_len: usize,
}

/// How far back states are kept: whichever limit is reached first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HistoryLimits {
    /// At most this many blocks.
    pub(crate) blocks: usize,
    /// At most this many old values in total.
    pub(crate) values: usize,
}

impl World {
    /// A state without accounts at block `height`.
    pub(crate) fn new(height: u64, limits: HistoryLimits) -> Self {
        Self {
            entries: AddressMap::default(),
            storages: Vec::new(),
            codes: B256Map::default(),
            height,
            history: VecDeque::new(),
            limits,
            history_len: 0,
        }
    }

    /// The newest block whose changes are in.
    pub(crate) const fn height(&self) -> u64 {
        self.height
    }

    /// The oldest block at whose end the state can still be read.
    pub(crate) fn oldest_height(&self) -> u64 {
        self.history.front().map_or(self.height, |undo| undo.number - 1)
    }

    pub(crate) fn entry(&self, address: &Address) -> Option<Entry> {
        self.entries.get(address).copied()
    }

    pub(crate) fn slot(&self, storage: StorageId, slot: &U256) -> U256 {
        self.storages
            .get(storage as usize)
            .and_then(|slots| slots.get(slot))
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn code(&self, hash: &B256) -> Option<Bytecode> {
        self.codes.get(hash).cloned()
    }

    /// An account at the end of block `height`, which must be kept.
    pub(crate) fn entry_at(&self, height: u64, address: &Address) -> Option<Entry> {
        self.undos_after(height)
            .find_map(|undo| undo.accounts.get(address).copied())
            .unwrap_or_else(|| self.entry(address))
    }

    /// A slot at the end of block `height`, which must be kept.
    pub(crate) fn slot_at(&self, height: u64, storage: StorageId, slot: &U256) -> U256 {
        self.undos_after(height)
            .find_map(|undo| undo.slots.get(&(storage, *slot)).copied())
            .unwrap_or_else(|| self.slot(storage, slot))
    }

    /// What the blocks after `height` replaced, the oldest first.
    pub(crate) fn undos_after(&self, height: u64) -> impl Iterator<Item = &Undo> {
        let newer = usize::try_from(self.height.saturating_sub(height)).unwrap_or(usize::MAX);
        let skipped = self.history.len().saturating_sub(newer);
        self.history.iter().skip(skipped)
    }

    /// Whether the state at the end of block `height` can be read.
    pub(crate) fn keeps(&self, height: u64) -> bool {
        (self.oldest_height()..=self.height).contains(&height)
    }

    /// Takes in the changes of the next block.
    pub(crate) fn merge(&mut self, changes: BlockChanges) -> StateDelta {
        let mut delta = StateDelta::default();
        let mut undo = Undo { number: self.height + 1, ..Undo::default() };
        for (address, change) in changes.accounts {
            self.merge_account(address, change, &mut delta, &mut undo);
        }
        for (hash, code) in changes.codes {
            if let hash_map::Entry::Vacant(vacant) = self.codes.entry(hash) {
                vacant.insert(code.clone());
                delta.codes.push((hash, code));
            }
        }
        self.height += 1;
        self.remember(undo);
        delta
    }

    fn merge_account(
        &mut self,
        address: Address,
        change: AccountChange,
        delta: &mut StateDelta,
        undo: &mut Undo,
    ) {
        let old = self.entries.get(&address).copied();
        let Some(mut new) = change.entry else {
            if old.is_some() {
                self.entries.remove(&address);
                undo.accounts.insert(address, old);
                delta.accounts.push((address, None));
            }
            return;
        };
        new.storage = old.and_then(|entry| entry.storage);
        let mut slots_changed = false;
        for (slot, value) in change.slots {
            let storage = *new.storage.get_or_insert_with(|| {
                self.storages.push(HashMap::default());
                StorageId::try_from(self.storages.len() - 1).expect("under four billion contracts")
            });
            let slots = &mut self.storages[storage as usize];
            let before = if value.is_zero() {
                slots.remove(&slot).unwrap_or_default()
            } else {
                slots.insert(slot, value).unwrap_or_default()
            };
            if before != value {
                slots_changed = true;
                undo.slots.insert((storage, slot), before);
                delta.slots.push((storage, address, slot, value));
            }
        }
        let account_changed = old.is_none_or(|old| !old.same_account(&new));
        if account_changed || slots_changed {
            self.entries.insert(address, new);
            undo.accounts.insert(address, old);
            delta.accounts.push((address, Some(new)));
        }
    }

    fn remember(&mut self, undo: Undo) {
        self.history_len += undo.len();
        self.history.push_back(undo);
        while self.history.len() > self.limits.blocks
            || (self.history_len > self.limits.values && self.history.len() > 1)
        {
            let oldest = self.history.pop_front().expect("the loop's condition saw one");
            self.history_len -= oldest.len();
        }
    }

    /// Puts an account in place as a stored state says, outside of any block.
    pub(crate) fn restore_account(&mut self, address: Address, account: Option<Entry>) {
        let storage = self.entries.get(&address).and_then(|entry| entry.storage);
        match account {
            Some(entry) => {
                self.entries.insert(address, Entry { storage, ..entry });
            }
            None => {
                self.entries.remove(&address);
            }
        }
    }

    /// Puts a slot in place as a stored state says, after its account.
    pub(crate) fn restore_slot(&mut self, address: Address, slot: U256, value: U256) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        let storage = *entry.storage.get_or_insert_with(|| {
            self.storages.push(HashMap::default());
            StorageId::try_from(self.storages.len() - 1).expect("under four billion contracts")
        });
        if value.is_zero() {
            self.storages[storage as usize].remove(&slot);
        } else {
            self.storages[storage as usize].insert(slot, value);
        }
    }

    /// Puts code in place as a stored state says.
    pub(crate) fn restore_code(&mut self, hash: B256, code: Bytecode) {
        self.codes.insert(hash, code);
    }

    /// Declares which block the restored state belongs to.
    pub(crate) fn restore_height(&mut self, height: u64) {
        self.height = height;
        self.history.clear();
        self.history_len = 0;
    }

    /// Every account.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Address, &Entry)> {
        self.entries.iter()
    }

    /// The slots of every contract, in the order of their storage ids.
    pub(crate) fn storages(&self) -> &[HashMap<U256, U256>] {
        &self.storages
    }
}

/// Whether `address` is the contract whose slots are the hashes of past blocks.
///
/// The state does not keep those slots: they follow from the chain. A block's execution may begin
/// before its parent's hash is known, so only who really asks for one has to wait.
///
/// # Source
///
/// [EIP-2935](https://eips.ethereum.org/EIPS/eip-2935).
pub(crate) fn is_block_hash_contract(address: &Address) -> bool {
    *address == HISTORY_STORAGE_ADDRESS
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Address = Address::repeat_byte(1);

    fn world() -> World {
        World::new(0, HistoryLimits { blocks: 2, values: 100 })
    }

    fn block(nonce: u64, slot: u64, value: u64) -> BlockChanges {
        let mut changes = BlockChanges::default();
        let entry = Entry { nonce, ..Entry::default() };
        let slots = HashMap::from_iter([(U256::from(slot), U256::from(value))]);
        changes.accounts.insert(ALICE, AccountChange { entry: Some(entry), slots });
        changes
    }

    fn read(world: &World, height: u64) -> (Option<u64>, U256) {
        let entry = world.entry_at(height, &ALICE);
        let storage = entry.and_then(|entry| entry.storage);
        let slot = storage.map(|storage| world.slot_at(height, storage, &U256::ONE));
        (entry.map(|entry| entry.nonce), slot.unwrap_or_default())
    }

    #[test]
    fn earlier_states_stay_readable_within_the_limit() {
        let mut world = world();
        world.merge(block(1, 1, 10));
        world.merge(block(2, 1, 20));
        assert_eq!(read(&world, 0), (None, U256::ZERO));
        assert_eq!(read(&world, 1), (Some(1), U256::from(10)));
        assert_eq!(read(&world, 2), (Some(2), U256::from(20)));

        world.merge(block(3, 1, 0));
        assert!(!world.keeps(0));
        assert_eq!(read(&world, 1), (Some(1), U256::from(10)));
        assert_eq!(read(&world, 3), (Some(3), U256::ZERO));
    }

    #[test]
    fn unchanged_values_leave_no_delta() {
        let mut world = world();
        world.merge(block(1, 1, 10));
        let delta = world.merge(block(1, 1, 10));
        assert!(delta.accounts.is_empty() && delta.slots.is_empty());
    }

    #[test]
    fn removed_account_is_gone_and_can_be_seen_before() {
        let mut world = world();
        world.merge(block(1, 1, 10));
        let mut changes = BlockChanges::default();
        changes.accounts.insert(ALICE, AccountChange::default());
        let delta = world.merge(changes);
        assert_eq!(delta.accounts, vec![(ALICE, None)]);
        assert_eq!(world.entry(&ALICE), None);
        assert_eq!(read(&world, 1), (Some(1), U256::from(10)));
    }
}
