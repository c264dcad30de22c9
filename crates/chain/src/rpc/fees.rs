//! What transactions should offer.

use alloy_consensus::Transaction as _;
use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_primitives::U256;
use alloy_rpc_types_eth::FeeHistory;

use super::{Rpc, RpcError, RpcResult, convert, params::Params, value};
use crate::{Block, block::next_base_fee};

/// The priority fee to offer, in wei per gas: members do not bid against each other, and most
/// wallets do not offer nothing.
pub(super) const SUGGESTED_TIP: u64 = 1;

/// How many blocks a fee history may cover.
///
/// # Source
///
/// go-ethereum's limit.
const FEE_HISTORY_MAX: u64 = 1_024;

/// How many percentiles it may ask for.
const PERCENTILES_MAX: usize = 100;

impl Rpc {
    pub(super) fn gas_price(&self) -> RpcResult {
        let base_fee = self.chain.next_environment().base_fee;
        value(convert::quantity(base_fee + SUGGESTED_TIP))
    }

    pub(super) fn fee_history(&self, params: &mut Params) -> RpcResult {
        let count = params.number("block count")?.min(FEE_HISTORY_MAX);
        let newest: BlockNumberOrTag = params.required("newest block")?;
        let percentiles: Option<Vec<f64>> = params.optional("percentiles")?;
        let percentiles = percentiles.unwrap_or_default();
        let ascending = percentiles.windows(2).all(|pair| pair[0] <= pair[1]);
        let in_range = percentiles.iter().all(|percentile| (0.0..=100.0).contains(percentile));
        if !ascending || !in_range || percentiles.len() > PERCENTILES_MAX {
            return Err(RpcError::invalid_params("percentiles must ascend from 0 to 100"));
        }
        let newest = self.require_block(BlockId::Number(newest))?.header.number;
        let oldest = (newest + 1).saturating_sub(count);
        let mut history = FeeHistory { oldest_block: oldest, ..FeeHistory::default() };
        let mut rewards = Vec::new();
        let mut next = 0;
        for number in oldest..=newest {
            if count == 0 {
                break;
            }
            let block = self.require_block(BlockId::number(number))?;
            let header = &block.header;
            let base_fee = header.base_fee_per_gas.unwrap_or_default();
            history.base_fee_per_gas.push(base_fee.into());
            history.base_fee_per_blob_gas.push(1);
            history.gas_used_ratio.push(header.gas_used as f64 / header.gas_limit as f64);
            history.blob_gas_used_ratio.push(0.0);
            rewards.push(tips_at(&block, &percentiles));
            next = next_base_fee(header.gas_used, header.gas_limit, base_fee);
        }
        if count > 0 {
            history.base_fee_per_gas.push(next.into());
            history.base_fee_per_blob_gas.push(1);
        }
        history.reward = (!percentiles.is_empty()).then_some(rewards);
        value(history)
    }
}

/// The priority fees at the given percentiles of the gas that a block's transactions used.
fn tips_at(block: &Block, percentiles: &[f64]) -> Vec<u128> {
    let base_fee = block.header.base_fee_per_gas.unwrap_or_default();
    let mut tips: Vec<(u128, u64)> = (0..block.transactions.len())
        .map(|index| {
            let envelope = block.transactions[index].envelope();
            let tip = envelope.effective_tip_per_gas(base_fee).unwrap_or_default();
            (tip, block.gas_used(index))
        })
        .collect();
    tips.sort_unstable();
    percentiles
        .iter()
        .map(|percentile| {
            let threshold = U256::from(block.header.gas_used as f64 * percentile / 100.0);
            let mut gas = U256::ZERO;
            let reached = tips.iter().find(|(_, used)| {
                gas += U256::from(*used);
                gas >= threshold
            });
            reached.or(tips.last()).map_or(0, |(tip, _)| *tip)
        })
        .collect()
}
