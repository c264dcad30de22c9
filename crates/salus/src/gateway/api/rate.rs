//! How often somebody may do something: a bucket of tokens for each.

use std::{collections::HashMap, time::Duration};

use alloy_primitives::Address;

/// How many buckets are held before full ones are forgotten, which makes no difference.
const HELD_MAX: usize = 10_000;

/// A bucket of `count` tokens for each caller, which fills up within `period`.
pub(super) struct Buckets {
    count: u32,
    /// How long one token takes to come back, in milliseconds.
    refill_ms: u64,
    held: HashMap<Address, Bucket>,
}

/// What is missing from a bucket: it is full again at this time.
#[derive(Clone, Copy)]
struct Bucket {
    full_at_ms: u64,
}

impl Buckets {
    pub(super) fn new(count: u32, period: Duration) -> Self {
        let count = count.max(1);
        let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        Self { count, refill_ms: (period_ms / u64::from(count)).max(1), held: HashMap::new() }
    }

    /// Takes one of somebody's tokens, at a time in milliseconds.
    ///
    /// # Errors
    ///
    /// How long until there is one.
    pub(super) fn take(&mut self, who: Address, now_ms: u64) -> Result<(), Duration> {
        if self.held.len() >= HELD_MAX {
            self.held.retain(|_, bucket| bucket.full_at_ms > now_ms);
        }
        let capacity_ms = self.refill_ms * u64::from(self.count);
        let bucket = self.held.entry(who).or_insert(Bucket { full_at_ms: now_ms });
        // A clock that went back must not make anybody wait longer than from empty to full.
        let full_at_ms = bucket.full_at_ms.clamp(now_ms, now_ms + capacity_ms) + self.refill_ms;
        if full_at_ms > now_ms + capacity_ms {
            return Err(Duration::from_millis(full_at_ms - now_ms - capacity_ms));
        }
        bucket.full_at_ms = full_at_ms;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Address = Address::repeat_byte(1);

    #[test]
    fn a_full_bucket_empties_and_fills_up_again() {
        let mut buckets = Buckets::new(3, Duration::from_secs(60));
        for _ in 0..3 {
            assert_eq!(buckets.take(WHO, 1_000), Ok(()));
        }
        assert_eq!(buckets.take(WHO, 1_000), Err(Duration::from_secs(20)));
        assert_eq!(buckets.take(WHO, 20_999), Err(Duration::from_millis(1)));
        assert_eq!(buckets.take(WHO, 21_000), Ok(()));
        assert!(buckets.take(WHO, 21_000).is_err());
        // A long rest gives no more than a full bucket.
        for _ in 0..3 {
            assert_eq!(buckets.take(WHO, 10_000_000), Ok(()));
        }
        assert!(buckets.take(WHO, 10_000_000).is_err());
    }

    #[test]
    fn everybody_has_a_bucket_of_their_own() {
        let mut buckets = Buckets::new(1, Duration::from_secs(1));
        assert_eq!(buckets.take(WHO, 0), Ok(()));
        assert_eq!(buckets.take(Address::repeat_byte(2), 0), Ok(()));
        assert!(buckets.take(WHO, 0).is_err());
    }

    #[test]
    fn a_clock_that_goes_back_keeps_nobody_waiting_for_ever() {
        let mut buckets = Buckets::new(1, Duration::from_secs(1));
        assert_eq!(buckets.take(WHO, 1_000_000), Ok(()));
        assert!(buckets.take(WHO, 0).unwrap_err() <= Duration::from_secs(1));
    }
}
