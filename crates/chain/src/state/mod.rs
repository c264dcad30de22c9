//! The state of the chain: accounts, slots and code, now and some blocks back.

mod commitment;
mod history;
mod trie;
mod world;

pub(crate) use commitment::{AccountProof, Commitment};
pub(crate) use history::{StateView, ViewError, account_info};
pub(crate) use world::{
    AccountChange, BlockChanges, Entry, HistoryLimits, StateDelta, World, is_block_hash_contract,
};
