//! Searching logs, through the index.

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};

use super::{Rpc, RpcError, RpcResult, convert, error::LIMIT_EXCEEDED, params::Params, value};
use crate::store::Key;

/// The most logs that one search gives.
const LOGS_MAX: usize = 10_000;

/// The most bytes of data that the logs of one search hold.
const LOGS_BYTES_MAX: usize = 16 << 20;

/// The most blocks that one search opens.
const BLOCKS_MAX: usize = 100_000;

/// The most values that one search may name.
const VALUES_MAX: usize = 1_024;

impl Rpc {
    pub(super) fn logs(&self, params: &mut Params) -> RpcResult {
        let filter: Filter = params.required("filter")?;
        value(self.search(&filter)?)
    }

    /// All logs that a filter matches. Holds one block at a time.
    pub(super) fn search(&self, filter: &Filter) -> Result<Vec<Log>, RpcError> {
        let mut found = Vec::new();
        let mut size_bytes = 0;
        for number in self.matching_blocks(filter)? {
            let block = self.chain.block(number)?;
            let Some(block) = block.filter(|block| filter.matches_bloom(block.header.logs_bloom))
            else {
                continue;
            };
            for log in convert::block_logs(&block).filter(|log| filter.rpc_matches(log)) {
                size_bytes += log.inner.data.data.len();
                if found.len() == LOGS_MAX {
                    return Err(too_much(format!("more than {LOGS_MAX} logs match")));
                }
                if size_bytes > LOGS_BYTES_MAX {
                    return Err(too_much("the data of the logs that match is too long".into()));
                }
                found.push(log);
            }
        }
        Ok(found)
    }

    /// The numbers of the blocks to look into, in ascending order.
    fn matching_blocks(&self, filter: &Filter) -> Result<Vec<u64>, RpcError> {
        match filter.block_option {
            FilterBlockOption::AtBlockHash(hash) => {
                Ok(vec![self.require_block(hash.into())?.header.number])
            }
            FilterBlockOption::Range { from_block, to_block } => {
                let (from, to) = (self.number(from_block), self.number(to_block));
                if from > to {
                    return Err(RpcError::invalid_params("fromBlock is after toBlock"));
                }
                let head = self.chain.head().header.number;
                if from > head {
                    return Ok(Vec::new());
                }
                self.candidates(filter, from, to.min(head))
            }
        }
    }

    fn number(&self, block: Option<BlockNumberOrTag>) -> u64 {
        match block {
            Some(BlockNumberOrTag::Number(number)) => number,
            Some(BlockNumberOrTag::Earliest) => 0,
            _ => self.chain.head().header.number,
        }
    }

    /// The blocks in a range that may hold what the filter asks for, in ascending order.
    fn candidates(&self, filter: &Filter, from: u64, to: u64) -> Result<Vec<u64>, RpcError> {
        let addresses = filter.address.iter().map(Key::Address).collect();
        let topics = filter.topics.iter().enumerate().map(|(position, values)| {
            values.iter().map(|value: &B256| Key::Topic(position, value)).collect()
        });
        let asked: Vec<Vec<Key<'_>>> = std::iter::once(addresses).chain(topics).collect();
        if asked.iter().map(Vec::len).sum::<usize>() > VALUES_MAX {
            return Err(too_much(format!("the filter names more than {VALUES_MAX} values")));
        }
        let mut candidates: Option<Vec<u64>> = None;
        for keys in asked.iter().filter(|keys| !keys.is_empty()) {
            let mut blocks = Vec::new();
            for key in keys {
                blocks.extend(self.chain.find(*key, from, to)?.into_iter().map(|place| place.0));
            }
            blocks.sort_unstable();
            blocks.dedup();
            candidates = Some(match candidates {
                None => blocks,
                Some(held) => {
                    held.into_iter().filter(|block| blocks.binary_search(block).is_ok()).collect()
                }
            });
        }
        let width = usize::try_from(to - from + 1).unwrap_or(usize::MAX);
        let count = candidates.as_ref().map_or(width, Vec::len);
        if count > BLOCKS_MAX {
            return Err(too_much(format!("the search would open {count} blocks")));
        }
        Ok(candidates.unwrap_or_else(|| (from..=to).collect()))
    }
}

fn too_much(what: String) -> RpcError {
    RpcError::new(LIMIT_EXCEEDED, format!("{what}; ask for a shorter range or a narrower filter"))
}
