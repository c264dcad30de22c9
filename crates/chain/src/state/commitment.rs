//! The state root: one trie over all accounts, one over the slots of each contract.

use alloy_consensus::constants::KECCAK_EMPTY;
use alloy_eips::eip2935::HISTORY_STORAGE_ADDRESS;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256, map::AddressMap};
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};

use crate::hashes::BlockHashes;

use super::{
    trie::Trie,
    world::{Entry, StateDelta, StorageId, World, is_block_hash_contract},
};

/// The tries, as of one block.
#[derive(Default)]
pub(crate) struct Commitment {
    accounts: Trie<TrieAccount>,
    storages: Vec<StorageTrie>,
    /// The slots that hold block hashes, which the flat state does not keep.
    block_hashes: StorageTrie,
    /// Hashing an address costs more than looking its hash up.
    address_hashes: AddressMap<B256>,
    height: u64,
}

struct StorageTrie {
    trie: Trie<U256>,
    root: B256,
}

impl Default for StorageTrie {
    fn default() -> Self {
        Self { trie: Trie::default(), root: EMPTY_ROOT_HASH }
    }
}

impl StorageTrie {
    fn set(&mut self, slot: U256, value: U256) {
        let key = keccak256(slot.to_be_bytes::<32>());
        if value.is_zero() {
            self.trie.remove(key);
        } else {
            self.trie.insert(key, value);
        }
    }
}

/// An account with the nodes that prove it, and proofs of some of its slots.
#[derive(Clone, Debug)]
pub(crate) struct AccountProof {
    pub(crate) account: TrieAccount,
    pub(crate) nodes: Vec<Bytes>,
    pub(crate) slots: Vec<SlotProof>,
}

/// A slot with the nodes that prove it.
#[derive(Clone, Debug)]
pub(crate) struct SlotProof {
    pub(crate) value: U256,
    pub(crate) nodes: Vec<Bytes>,
}

impl Commitment {
    /// The tries of the whole state that `world` is at.
    pub(crate) fn of(world: &World, hashes: &BlockHashes) -> Self {
        let mut commitment = Self { height: world.height(), ..Self::default() };
        commitment.set_block_hashes(&hashes.history_slots_between(0, world.height()));
        for (storage, slots) in (0..).zip(world.storages()) {
            for (slot, value) in slots {
                commitment.storage_mut(storage).set(*slot, *value);
            }
            let storage = commitment.storage_mut(storage);
            storage.root = storage.trie.root_hash();
        }
        for (address, entry) in world.entries() {
            let key = commitment.address_hash(*address);
            let account = commitment.trie_account(address, entry);
            commitment.accounts.insert(key, account);
        }
        commitment
    }

    /// Takes in the next block and returns the new state root.
    pub(crate) fn apply(&mut self, delta: &StateDelta, block_hashes: &[(U256, B256)]) -> B256 {
        self.height += 1;
        self.set_block_hashes(block_hashes);
        self.update(delta);
        self.root()
    }

    /// The state root.
    pub(crate) fn root(&mut self) -> B256 {
        self.accounts.root_hash()
    }

    fn set_block_hashes(&mut self, block_hashes: &[(U256, B256)]) {
        if block_hashes.is_empty() {
            return;
        }
        for (slot, hash) in block_hashes {
            self.block_hashes.set(*slot, (*hash).into());
        }
        self.block_hashes.root = self.block_hashes.trie.root_hash();
        let key = self.address_hash(HISTORY_STORAGE_ADDRESS);
        if let Some(account) = self.accounts.get(&key) {
            let account = TrieAccount { storage_root: self.block_hashes.root, ..*account };
            self.accounts.insert(key, account);
        }
    }

    fn update(&mut self, delta: &StateDelta) {
        let mut touched: Vec<StorageId> = Vec::new();
        for (storage, _, slot, value) in &delta.slots {
            self.storage_mut(*storage).set(*slot, *value);
            if touched.last() != Some(storage) {
                touched.push(*storage);
            }
        }
        touched.sort_unstable();
        touched.dedup();
        for storage in touched {
            let storage = &mut self.storages[storage as usize];
            storage.root = storage.trie.root_hash();
        }
        for (address, entry) in &delta.accounts {
            let key = self.address_hash(*address);
            match entry {
                Some(entry) => {
                    let account = self.trie_account(address, entry);
                    self.accounts.insert(key, account);
                }
                None => self.accounts.remove(key),
            }
        }
    }

    fn storage_mut(&mut self, storage: StorageId) -> &mut StorageTrie {
        let index = storage as usize;
        if index >= self.storages.len() {
            self.storages.resize_with(index + 1, StorageTrie::default);
        }
        &mut self.storages[index]
    }

    fn trie_account(&self, address: &Address, entry: &Entry) -> TrieAccount {
        let storage_root = if is_block_hash_contract(address) {
            self.block_hashes.root
        } else {
            let storage = entry.storage.and_then(|storage| self.storages.get(storage as usize));
            storage.map_or(EMPTY_ROOT_HASH, |storage| storage.root)
        };
        TrieAccount {
            nonce: entry.nonce,
            balance: entry.balance,
            storage_root,
            code_hash: entry.code_hash,
        }
    }

    fn address_hash(&mut self, address: Address) -> B256 {
        *self.address_hashes.entry(address).or_insert_with(|| keccak256(address))
    }

    /// Proves an account and some of its slots as of block `height`, which `world` must keep.
    ///
    /// Earlier blocks are proven by taking the later ones back, and putting them in again.
    pub(crate) fn prove(
        &mut self,
        world: &World,
        hashes: &BlockHashes,
        height: u64,
        address: Address,
        slots: &[U256],
    ) -> AccountProof {
        let current = self.height;
        let move_to = |from: u64, to: u64, commitment: &mut Self| {
            commitment.set_block_hashes(&hashes.history_slots_between(from, to));
            commitment.update(&delta_between(world, from, to));
        };
        if height != current {
            move_to(current, height, self);
        }
        let proof = self.prove_now(world, height, address, slots);
        if height != current {
            move_to(height, current, self);
        }
        proof
    }

    fn prove_now(
        &mut self,
        world: &World,
        height: u64,
        address: Address,
        slots: &[U256],
    ) -> AccountProof {
        let key = self.address_hash(address);
        let absent = TrieAccount {
            nonce: 0,
            balance: U256::ZERO,
            storage_root: EMPTY_ROOT_HASH,
            code_hash: KECCAK_EMPTY,
        };
        let account = self.accounts.get(&key).copied().unwrap_or(absent);
        let nodes = self.accounts.proof(&key);
        let entry = world.entry_at(height, &address);
        let mut nothing = Trie::default();
        let storage = if is_block_hash_contract(&address) {
            &mut self.block_hashes.trie
        } else {
            let index = entry.and_then(|entry| entry.storage).map(|storage| storage as usize);
            match index.and_then(|index| self.storages.get_mut(index)) {
                Some(storage) => &mut storage.trie,
                None => &mut nothing,
            }
        };
        let slots = slots.iter().map(|slot| {
            let key = keccak256(slot.to_be_bytes::<32>());
            let value = storage.get(&key).copied().unwrap_or_default();
            SlotProof { value, nodes: storage.proof(&key) }
        });
        AccountProof { account, nodes, slots: slots.collect() }
    }
}

/// The values at block `to` of everything that differs between two kept blocks.
fn delta_between(world: &World, from: u64, to: u64) -> StateDelta {
    let (low, high) = (from.min(to), from.max(to));
    let mut delta = StateDelta::default();
    for undo in world.undos_after(low).filter(|undo| undo.number <= high) {
        for address in undo.accounts.keys() {
            delta.accounts.push((*address, world.entry_at(to, address)));
        }
        for (storage, slot) in undo.slots.keys() {
            let value = world.slot_at(to, *storage, slot);
            delta.slots.push((*storage, Address::ZERO, *slot, value));
        }
    }
    delta
}
