//! The hashes of recent blocks, for the `BLOCKHASH` instruction and the block hash contract.

use std::collections::VecDeque;

use alloy_eips::eip2935::HISTORY_SERVE_WINDOW;
use alloy_primitives::{B256, U256};
use parking_lot::{Condvar, Mutex};

/// How many hashes are kept: what the contract's ring holds, as seen from any kept state.
pub(crate) const KEPT: usize = 4 * HISTORY_SERVE_WINDOW;

/// The hashes of recent blocks.
///
/// A block executes while its parent may still be on the way to its hash. Whoever needs that hash
/// waits here; hardly anybody does.
#[derive(Debug)]
pub(crate) struct BlockHashes {
    recent: Mutex<Recent>,
    sealed: Condvar,
}

#[derive(Debug)]
struct Recent {
    /// The number of the first hash held.
    first: u64,
    hashes: VecDeque<B256>,
    /// No more hashes will come.
    closed: bool,
}

impl Recent {
    fn get(&self, number: u64) -> Option<B256> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.hashes.get(index).copied()
    }

    fn next(&self) -> u64 {
        self.first + self.hashes.len() as u64
    }
}

impl BlockHashes {
    /// No hashes yet; the first to come is that of block `first`.
    pub(crate) const fn new(first: u64) -> Self {
        Self {
            recent: Mutex::new(Recent { first, hashes: VecDeque::new(), closed: false }),
            sealed: Condvar::new(),
        }
    }

    /// Adds the hash of the next block.
    pub(crate) fn push(&self, hash: B256) {
        let mut recent = self.recent.lock();
        recent.hashes.push_back(hash);
        if recent.hashes.len() > KEPT {
            recent.hashes.pop_front();
            recent.first += 1;
        }
        self.sealed.notify_all();
    }

    /// The hash of block `number`, when it is sealed and recent.
    pub(crate) fn get(&self, number: u64) -> Option<B256> {
        self.recent.lock().get(number)
    }

    /// Says that no more hashes will come, so that nobody waits for one for ever.
    pub(crate) fn close(&self) {
        self.recent.lock().closed = true;
        self.sealed.notify_all();
    }

    /// The hash of block `number`, which is on the way if it is not there yet; zero when too old.
    ///
    /// Zero too when it will never come because the chain stopped; what is executed with it is then
    /// never confirmed.
    pub(crate) fn wait(&self, number: u64) -> B256 {
        let mut recent = self.recent.lock();
        while number >= recent.next() && !recent.closed {
            self.sealed.wait(&mut recent);
        }
        recent.get(number).unwrap_or_default()
    }

    /// What the block hash contract holds in `slot` at the end of block `height`.
    ///
    /// # Source
    ///
    /// [EIP-2935](https://eips.ethereum.org/EIPS/eip-2935): at the start of block `n`, slot
    /// `(n - 1) % 8191` takes the hash of block `n - 1`.
    pub(crate) fn history_slot(&self, height: u64, slot: &U256) -> U256 {
        let Some(number) = block_in_slot(height, slot) else { return U256::ZERO };
        self.wait(number).into()
    }

    /// The contract's slots that differ between the ends of two blocks, with their values at `to`.
    pub(crate) fn history_slots_between(&self, from: u64, to: u64) -> Vec<(U256, B256)> {
        let (low, high) = (from.min(to), from.max(to));
        let blocks = low.max(high.saturating_sub(HISTORY_SERVE_WINDOW as u64))..high;
        let slots = blocks.map(|number| U256::from(number % HISTORY_SERVE_WINDOW as u64));
        slots.map(|slot| (slot, self.history_slot(to, &slot).into())).collect()
    }
}

/// The block whose hash `slot` holds at the end of block `height`.
fn block_in_slot(height: u64, slot: &U256) -> Option<u64> {
    let window = HISTORY_SERVE_WINDOW as u64;
    let slot = u64::try_from(*slot).ok().filter(|slot| *slot < window)?;
    let newest = height.checked_sub(1)?;
    let back = (newest % window + window - slot) % window;
    newest.checked_sub(back)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_hold_the_newest_block_that_fits() {
        let check = |height, slot: u64, expected| {
            assert_eq!(block_in_slot(height, &U256::from(slot)), expected);
        };
        check(0, 0, None);
        check(1, 0, Some(0));
        check(1, 1, None);
        check(5, 4, Some(4));
        check(5, 5, None);
        check(8_192, 0, Some(8_191));
        check(8_192, 1, Some(1));
        check(8_193, 1, Some(8_192));
        check(10, 8_191, None);
    }

    #[test]
    fn waiting_ends_when_the_block_is_sealed() {
        let hashes = BlockHashes::new(0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| hashes.wait(1));
            hashes.push(B256::repeat_byte(1));
            hashes.push(B256::repeat_byte(2));
            assert_eq!(waiter.join().unwrap(), B256::repeat_byte(2));
        });
    }

    #[test]
    fn waiting_ends_when_no_more_blocks_will_come() {
        let hashes = BlockHashes::new(0);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| hashes.wait(7));
            hashes.close();
            assert_eq!(waiter.join().unwrap(), B256::ZERO);
        });
    }

    #[test]
    fn old_hashes_are_let_go() {
        let hashes = BlockHashes::new(0);
        for _ in 0..=KEPT {
            hashes.push(B256::repeat_byte(1));
        }
        assert_eq!(hashes.get(0), None);
        assert_eq!(hashes.wait(0), B256::ZERO);
        assert!(hashes.get(1).is_some());
    }
}
