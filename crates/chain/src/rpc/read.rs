//! Reading blocks, transactions, receipts and state.

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_rpc_types_eth::{EIP1186AccountProofResponse, EIP1186StorageProof};
use alloy_serde::JsonStorageKey;
use serde_json::Value;

use super::{
    Rpc, RpcError, RpcResult, convert,
    error::{LIMIT_EXCEEDED, SERVER_ERROR},
    params::Params,
    value,
};
use crate::{SharedBlock, state::StateView};

/// How many slots one proof may name.
const PROOF_SLOTS_MAX: usize = 1_024;

impl Rpc {
    pub(super) fn block_by_number(&self, params: &mut Params) -> RpcResult {
        let number = params.required("block")?;
        let whole = params.optional("full transactions")?.unwrap_or(false);
        let block = self.find_block(BlockId::Number(number))?;
        value(block.map(|block| convert::block(&block, whole)))
    }

    pub(super) fn block_by_hash(&self, params: &mut Params) -> RpcResult {
        let hash: B256 = params.required("block hash")?;
        let whole = params.optional("full transactions")?.unwrap_or(false);
        let block = self.chain.block_by_hash(&hash)?;
        value(block.map(|block| convert::block(&block, whole)))
    }

    pub(super) fn block_transaction_count(&self, params: &mut Params) -> RpcResult {
        let block = self.find_block(params.required("block")?)?;
        value(block.map(|block| convert::quantity(block.transactions.len() as u64)))
    }

    pub(super) fn block_receipts(&self, params: &mut Params) -> RpcResult {
        let Some(block) = self.find_block(params.required("block")?)? else {
            return Ok(Value::Null);
        };
        let receipts = (0..block.receipts.len()).map(|index| convert::receipt(&block, index));
        value(receipts.collect::<Vec<_>>())
    }

    pub(super) fn transaction_by_hash(&self, params: &mut Params) -> RpcResult {
        let hash: B256 = params.required("transaction hash")?;
        if let Some((block, index)) = self.chain.find_transaction(&hash)? {
            return value(convert::transaction(&block, index));
        }
        value(self.chain.waiting(&hash).as_ref().map(convert::waiting))
    }

    pub(super) fn transaction_by_index(&self, params: &mut Params) -> RpcResult {
        let block = self.find_block(params.required("block")?)?;
        let index = usize::try_from(params.number("index")?).unwrap_or(usize::MAX);
        let block = block.filter(|block| index < block.transactions.len());
        value(block.map(|block| convert::transaction(&block, index)))
    }

    pub(super) fn raw_transaction(&self, params: &mut Params) -> RpcResult {
        let hash: B256 = params.required("transaction hash")?;
        if let Some((block, index)) = self.chain.find_transaction(&hash)? {
            return value(block.transactions[index].raw());
        }
        value(self.chain.waiting(&hash).map(|transaction| transaction.raw().clone()))
    }

    pub(super) fn transaction_receipt(&self, params: &mut Params) -> RpcResult {
        let hash: B256 = params.required("transaction hash")?;
        let found = self.chain.find_transaction(&hash)?;
        value(found.map(|(block, index)| convert::receipt(&block, index)))
    }

    pub(super) fn balance(&self, params: &mut Params) -> RpcResult {
        let address: Address = params.required("address")?;
        let entry = self.state(params.block()?)?.entry(&address)?;
        value(entry.map_or(U256::ZERO, |entry| entry.balance))
    }

    pub(super) fn code(&self, params: &mut Params) -> RpcResult {
        let address: Address = params.required("address")?;
        let state = self.state(params.block()?)?;
        let code = state.entry(&address)?.map(|entry| state.code(&entry.code_hash));
        value(code.map_or_else(Bytes::new, |code| code.original_bytes()))
    }

    pub(super) fn storage_at(&self, params: &mut Params) -> RpcResult {
        let address: Address = params.required("address")?;
        let slot: JsonStorageKey = params.required("slot")?;
        let state = self.state(params.block()?)?;
        value(convert::Word(state.slot(&address, &slot.as_b256().into())?))
    }

    pub(super) fn transaction_count(&self, params: &mut Params) -> RpcResult {
        let address: Address = params.required("address")?;
        let block = params.block()?;
        if block == BlockId::Number(BlockNumberOrTag::Pending) {
            return value(convert::quantity(self.chain.pending_nonce(&address)));
        }
        let entry = self.state(block)?.entry(&address)?;
        value(convert::quantity(entry.map_or(0, |entry| entry.nonce)))
    }

    pub(super) fn proof(&self, params: &mut Params) -> RpcResult {
        let address: Address = params.required("address")?;
        let keys: Vec<JsonStorageKey> = params.required("slots")?;
        if keys.len() > PROOF_SLOTS_MAX {
            return Err(RpcError::new(LIMIT_EXCEEDED, format!("at most {PROOF_SLOTS_MAX} slots")));
        }
        let block = self.require_block(params.block()?)?;
        let slots: Vec<U256> = keys.iter().map(|key| key.as_b256().into()).collect();
        let number = block.header.number;
        let proof = self.chain.prove(number, address, &slots).ok_or_else(|| {
            RpcError::new(SERVER_ERROR, format!("the state at block {number} is no longer kept"))
        })?;
        let storage_proof = keys
            .into_iter()
            .zip(proof.slots)
            .map(|(key, slot)| EIP1186StorageProof { key, value: slot.value, proof: slot.nodes });
        value(EIP1186AccountProofResponse {
            address,
            balance: proof.account.balance,
            code_hash: proof.account.code_hash,
            nonce: proof.account.nonce,
            storage_hash: proof.account.storage_root,
            account_proof: proof.nodes,
            storage_proof: storage_proof.collect(),
        })
    }

    /// The block that an id names. Blocks are final here as soon as they are made.
    pub(super) fn find_block(&self, id: BlockId) -> Result<Option<SharedBlock>, RpcError> {
        Ok(match id {
            BlockId::Hash(hash) => self.chain.block_by_hash(&hash.block_hash)?,
            BlockId::Number(BlockNumberOrTag::Earliest) => self.chain.block(0)?,
            BlockId::Number(BlockNumberOrTag::Number(number)) => self.chain.block(number)?,
            BlockId::Number(_) => Some(self.chain.head()),
        })
    }

    /// The block that an id names, which must be there.
    pub(super) fn require_block(&self, id: BlockId) -> Result<SharedBlock, RpcError> {
        let missing = || RpcError::new(SERVER_ERROR, "block not found");
        self.find_block(id)?.ok_or_else(missing)
    }

    /// The state at the end of the block that an id names.
    pub(super) fn state(&self, id: BlockId) -> Result<StateView, RpcError> {
        Ok(self.chain.view(self.require_block(id)?.header.number))
    }
}
