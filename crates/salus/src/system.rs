//! What only a binary does: read the real clock, draw real randomness.

use std::time::{Duration, SystemTime};

use crate::Error;

/// The system's clock, in seconds since 1970.
pub(crate) fn real_time() -> u64 {
    since_1970().as_secs()
}

/// The system's clock, in milliseconds since 1970.
pub(crate) fn real_time_ms() -> i64 {
    i64::try_from(since_1970().as_millis()).unwrap_or(i64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the binary is where the real clock enters")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// The system's randomness.
#[expect(clippy::disallowed_methods, reason = "the binary is where real randomness enters")]
pub(crate) fn random_seed() -> Result<[u8; 32], Error> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}
