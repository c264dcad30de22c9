//! How often something may be tried: a bucket of tries for each key, which fills up again.

use std::collections::HashMap;

/// How many buckets are held before full ones are forgotten, which makes no difference.
const HELD_MAX: usize = 10_000;

/// Buckets of `count` tries each, one of which comes back every `refill_ms`.
pub(crate) struct Buckets {
    count: u64,
    refill_ms: u64,
    /// When each is full again.
    full_at_ms: HashMap<Vec<u8>, u64>,
}

impl Buckets {
    pub(crate) fn new(count: u32, refill_ms: u64) -> Self {
        Self { count: u64::from(count), refill_ms, full_at_ms: HashMap::new() }
    }

    /// Takes one try of `key`.
    ///
    /// # Errors
    ///
    /// In how many seconds there is one.
    pub(crate) fn take(&mut self, key: &[u8], now_ms: u64) -> Result<(), u64> {
        if self.full_at_ms.len() >= HELD_MAX {
            self.full_at_ms.retain(|_, full| *full > now_ms);
        }
        let capacity = self.refill_ms * self.count;
        let full = self.full_at_ms.get(key).copied().unwrap_or(now_ms);
        // A clock that went back keeps nobody waiting for longer than from empty to full.
        let full = full.clamp(now_ms, now_ms + capacity) + self.refill_ms;
        if full > now_ms + capacity {
            return Err((full - now_ms - capacity).div_ceil(1_000));
        }
        self.full_at_ms.insert(key.to_vec(), full);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills_up() {
        let mut buckets = Buckets::new(2, 1_000);
        assert_eq!(buckets.take(b"a", 0), Ok(()));
        assert_eq!(buckets.take(b"a", 0), Ok(()));
        assert_eq!(buckets.take(b"a", 0), Err(1));
        assert_eq!(buckets.take(b"b", 0), Ok(()));
        assert_eq!(buckets.take(b"a", 1_000), Ok(()));
        assert_eq!(buckets.take(b"a", 1_000), Err(1));
    }
}
