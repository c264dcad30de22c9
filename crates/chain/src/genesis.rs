//! What a chain begins with.
//!
//! The file has the form that go-ethereum, anvil and others read (`--init`), so that the same genesis
//! can be given to them.

use std::path::Path;

use alloy_consensus::{Header, constants::KECCAK_EMPTY};
use alloy_eips::eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE};
use alloy_genesis::GenesisAccount;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use revm::bytecode::Bytecode;

use crate::{
    Block, BlockEnvironment,
    block::{BodyRoots, seal_header},
    hashes::BlockHashes,
    state::{Commitment, Entry, HistoryLimits, World},
};

/// What a chain begins with: its id, its first accounts and its first block's figures.
///
/// The contract that keeps block hashes (EIP-2935) is always part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis(alloy_genesis::Genesis);

/// The most gas that a block's transactions may use, unless the genesis says otherwise.
///
/// Far above what one block needs, so that the base fee stays at its floor: members of a consortium
/// are not meant to bid against each other.
pub const BLOCK_GAS_LIMIT: u64 = 3_000_000_000;

/// What gas costs in the first block, in wei; about the floor that EIP-1559 falls to.
pub const INITIAL_BASE_FEE: u64 = 7;

impl Genesis {
    /// A genesis with the given id and time, and no accounts.
    #[must_use]
    pub fn new(chain_id: u64, timestamp: u64) -> Self {
        let mut genesis = alloy_genesis::Genesis {
            timestamp,
            gas_limit: BLOCK_GAS_LIMIT,
            base_fee_per_gas: Some(INITIAL_BASE_FEE.into()),
            ..alloy_genesis::Genesis::default()
        };
        genesis.config.chain_id = chain_id;
        Self::from(genesis)
    }

    /// The genesis of the chain that is kept in a directory; `None` when there is none.
    #[must_use]
    pub fn of_chain_in(dir: &Path) -> Option<Self> {
        let bytes = std::fs::read(dir.join("genesis.json")).ok()?;
        serde_json::from_slice::<alloy_genesis::Genesis>(&bytes).ok().map(Self::from)
    }

    /// The same with ether for `address`.
    #[must_use]
    pub fn with_balance(self, address: Address, wei: U256) -> Self {
        self.with_account(address, GenesisAccount { balance: wei, ..GenesisAccount::default() })
    }

    /// The same with an account, its code and slots included.
    #[must_use]
    pub fn with_account(mut self, address: Address, account: GenesisAccount) -> Self {
        self.0.alloc.insert(address, account);
        self
    }

    /// The same with another gas limit per block.
    #[must_use]
    pub fn with_gas_limit(mut self, gas_limit: u64) -> Self {
        self.0.gas_limit = gas_limit;
        self
    }

    /// The same with another recipient of priority fees.
    #[must_use]
    pub fn with_beneficiary(mut self, beneficiary: Address) -> Self {
        self.0.coinbase = beneficiary;
        self
    }

    /// The chain's id (EIP-155).
    #[must_use]
    pub const fn chain_id(&self) -> u64 {
        self.0.config.chain_id
    }

    /// Who receives the priority fees.
    #[must_use]
    pub const fn beneficiary(&self) -> Address {
        self.0.coinbase
    }

    /// The genesis as other programs read it.
    #[must_use]
    pub const fn as_alloy(&self) -> &alloy_genesis::Genesis {
        &self.0
    }

    /// The circumstances of block 0.
    pub(crate) fn environment(&self) -> BlockEnvironment {
        BlockEnvironment {
            number: 0,
            timestamp: self.0.timestamp,
            beneficiary: self.0.coinbase,
            gas_limit: self.0.gas_limit,
            base_fee: self
                .0
                .base_fee_per_gas
                .and_then(|fee| u64::try_from(fee).ok())
                .unwrap_or(INITIAL_BASE_FEE),
            prev_randao: self.0.mix_hash,
        }
    }

    /// The state before any block.
    pub(crate) fn world(&self, limits: HistoryLimits) -> World {
        let mut world = World::new(0, limits);
        for (address, account) in &self.0.alloc {
            let code = account.code.clone().unwrap_or_default();
            let code_hash = if code.is_empty() { KECCAK_EMPTY } else { keccak256(&code) };
            let entry = Entry {
                nonce: account.nonce.unwrap_or_default(),
                balance: account.balance,
                code_hash,
                storage: None,
            };
            world.restore_account(*address, Some(entry));
            if !code.is_empty() {
                world.restore_code(code_hash, Bytecode::new_raw(code));
            }
            for (slot, value) in account.storage.iter().flatten() {
                world.restore_slot(*address, (*slot).into(), (*value).into());
            }
        }
        world
    }

    /// Block 0.
    pub(crate) fn block(&self, world: &World) -> Block {
        let state_root = Commitment::of(world, &BlockHashes::new(0)).root();
        let environment = self.environment();
        let roots = BodyRoots::of(&[], &[]);
        let extra_data = self.0.extra_data.clone();
        let header: Header =
            seal_header(B256::ZERO, &environment, state_root, roots, 0, extra_data);
        Block {
            hash: header.hash_slow(),
            header,
            transactions: Vec::new(),
            receipts: Vec::new(),
            certificate: Bytes::new(),
        }
    }
}

impl From<alloy_genesis::Genesis> for Genesis {
    fn from(mut genesis: alloy_genesis::Genesis) -> Self {
        genesis.alloc.entry(HISTORY_STORAGE_ADDRESS).or_insert_with(|| GenesisAccount {
            nonce: Some(1),
            code: Some(HISTORY_STORAGE_CODE.clone()),
            ..GenesisAccount::default()
        });
        Self(genesis)
    }
}
