//! A chain that is made for one segment and thrown away after it.

use std::{
    collections::VecDeque,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use alloy_primitives::Bytes;
use chain::{Applied, Certificate, Chain, ChainConfig, Genesis, Payload, SharedBlock, Transaction};
use rayon::prelude::*;

use super::ExecuteError;
use crate::workload::{CHAIN_ID, Unsigned, sign_all};

/// Seconds from one block to the next, as on the main network.
const BLOCK_SECONDS: u64 = 12;

/// A folder that is deleted with what holds it.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// An empty folder. What an earlier run left there is deleted.
    pub(crate) fn new(path: PathBuf) -> Result<Self, ExecuteError> {
        let scratch = Self(path);
        scratch.remove();
        fs::create_dir_all(&scratch.0).map_err(ExecuteError::file(&scratch.0))?;
        Ok(scratch)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn remove(&self) {
        // What stays behind costs space, and is deleted by whoever next wants the folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

/// What was put into a block, and the block.
pub(crate) struct Sealed {
    pub(crate) block: SharedBlock,
    /// In the order in which they were put in.
    pub(crate) given: Vec<Transaction>,
}

/// A chain whose blocks are put together here, so that the same transactions give the same blocks (S9).
pub(crate) struct Machine {
    chain: Chain,
    /// Time of the genesis block.
    first_time: u64,
    height: u64,
    on_the_way: VecDeque<(u64, Applied, Vec<Transaction>)>,
    /// Dropped last.
    _scratch: Scratch,
}

impl Machine {
    pub(crate) fn open(
        scratch: Scratch,
        genesis: Genesis,
        first_time: u64,
    ) -> Result<Self, ExecuteError> {
        let config = ChainConfig::new(scratch.path(), genesis, Arc::new(move || first_time));
        let chain = Chain::open(config.thrown_away()).map_err(Box::new)?;
        let on_the_way = VecDeque::new();
        Ok(Self { chain, first_time, height: 0, on_the_way, _scratch: scratch })
    }

    pub(crate) const fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Signs transactions, has the chain check them and recover their senders, and orders them as the next block.
    pub(crate) fn add(&mut self, unsigned: Vec<Unsigned>) -> Result<(), ExecuteError> {
        let raw = sign_all(unsigned);
        let decode = |raw: Bytes| Transaction::decode(raw, CHAIN_ID);
        let decoded: Result<Vec<_>, _> = raw.into_par_iter().map(decode).collect();
        let transactions = decoded.map_err(ExecuteError::Malformed)?;
        self.height += 1;
        let payload = Payload {
            height: self.height,
            timestamp: self.first_time + self.height * BLOCK_SECONDS,
            executed: self.chain.applied(),
            transactions: transactions.clone(),
        };
        let applied = self.chain.apply(payload, Certificate::new());
        let applied = applied.map_err(|error| self.stopped(&error.to_string()))?;
        self.on_the_way.push_back((self.height, applied, transactions));
        Ok(())
    }

    /// The oldest block that was not given yet, once more than `most` are on the way.
    pub(crate) fn sealed(&mut self, most: usize) -> Result<Option<Sealed>, ExecuteError> {
        if self.on_the_way.len() <= most {
            return Ok(None);
        }
        let Some((height, applied, given)) = self.on_the_way.pop_front() else { return Ok(None) };
        applied.wait().ok_or_else(|| self.stopped("it ended"))?;
        let block = self.chain.block(height).map_err(Box::new)?;
        let block = block.ok_or_else(|| self.stopped("a block is gone"))?;
        Ok(Some(Sealed { block, given }))
    }

    fn stopped(&self, otherwise: &str) -> ExecuteError {
        let reason = self.chain.stopped().unwrap_or_else(|| otherwise.to_owned());
        ExecuteError::ChainStopped { reason }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.chain.close();
    }
}
