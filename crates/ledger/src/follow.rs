//! Follows the contracts' events, block by block, from a cursor that survives restarts.
//!
//! Only final blocks are followed, so there is normally nothing to take back. Should an endpoint's
//! finality turn out weaker than its policy says, the cursor's block is found to be gone and the
//! follower says [`Step::Rewind`]: whoever follows begins again.

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::{Filter, Log};
use serde::{Deserialize, Serialize};

use crate::{EndpointError, Ledger};

/// The last block that was taken in. Store it together with what was made of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The block's number.
    pub number: u64,
    /// The block's hash.
    pub hash: B256,
    /// The block's time, in seconds since 1970.
    pub time: u64,
}

/// What there is to do next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Take in these logs, in this order; afterwards stand at `cursor`.
    Forward {
        /// The logs of the followed contracts in the blocks up to the cursor's.
        logs: Vec<Log>,
        /// Where to stand afterwards.
        cursor: Cursor,
    },
    /// The cursor's block is no longer part of the chain: forget everything and begin again.
    Rewind,
}

/// Follows some contracts.
#[derive(Clone)]
pub struct Follower {
    ledger: Ledger,
    contracts: Vec<Address>,
    cursor: Option<Cursor>,
    is_behind: bool,
}

impl Follower {
    /// Follows `contracts` from the block after `cursor`, or from the chain's beginning.
    #[must_use]
    pub const fn new(ledger: Ledger, contracts: Vec<Address>, cursor: Option<Cursor>) -> Self {
        Self { ledger, contracts, cursor, is_behind: false }
    }

    /// The last block taken in.
    #[must_use]
    pub const fn cursor(&self) -> Option<Cursor> {
        self.cursor
    }

    /// Whether there is something final, or something taken back, that it has seen and that was not all
    /// taken in yet.
    #[must_use]
    pub const fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// What there is to do next; `None` when everything final was taken in.
    ///
    /// # Errors
    ///
    /// [`EndpointError`] when the chain cannot be asked. Nothing was skipped; ask again.
    pub async fn next(&mut self) -> Result<Option<Step>, EndpointError> {
        if let Some(cursor) = self.cursor {
            // Only another block in its place says that it is gone. No answer says nothing, nor does an
            // endpoint that has not come as far yet.
            let there = self.ledger.block(cursor.number.into()).await?;
            if there.header.hash != cursor.hash {
                self.cursor = None;
                self.is_behind = true;
                return Ok(Some(Step::Rewind));
            }
        }
        let last = self.ledger.final_block().await?;
        let from = self.cursor.map_or(0, |cursor| cursor.number + 1);
        self.is_behind = from <= last.header.number;
        if !self.is_behind {
            return Ok(None);
        }
        let to = last.header.number.min(from + self.ledger.policy().log_range - 1);
        let filter = Filter::new().address(self.contracts.clone()).from_block(from).to_block(to);
        let logs = self.ledger.logs(&filter).await?;
        let header = if to == last.header.number {
            last.header
        } else {
            self.ledger.block(to.into()).await?.header
        };
        let cursor = Cursor { number: to, hash: header.hash, time: header.timestamp };
        self.cursor = Some(cursor);
        Ok(Some(Step::Forward { logs, cursor }))
    }
}
