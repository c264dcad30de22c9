//! Time as the chain sees it: whole seconds since 1970, handed in, never read here.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::PeriodError;

/// A point in time, in whole seconds since 1970-01-01 00:00:00 UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time and `duration` later; the end of time when that does not fit.
    #[must_use]
    pub const fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// How long ago `earlier` was, zero when it is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// Calendar date and time of day in UTC: year, month, day, hour, minute, second.
    #[must_use]
    pub const fn to_civil(self) -> (u64, u64, u64, u64, u64, u64) {
        // Days are counted from 0000-03-01, so that a leap day is the last day of its year.
        // Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let (days, seconds) = (self.0 / 86_400 + 719_468, self.0 % 86_400);
        let era = days / 146_097;
        let day_of_era = days % 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + (month <= 2) as u64;
        (year, month, day, seconds / 3_600, seconds / 60 % 60, seconds % 60)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, such as `2026-11-22T19:16:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day, hour, minute, second) = self.to_civil();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// A stretch of time that holds while `opens_at <= time < closes_at`, and is never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Period {
    opens_at: Timestamp,
    closes_at: Timestamp,
}

impl Period {
    /// A period between two times.
    ///
    /// # Errors
    ///
    /// [`PeriodError`] when the period would be empty.
    pub const fn new(opens_at: Timestamp, closes_at: Timestamp) -> Result<Self, PeriodError> {
        if opens_at.0 < closes_at.0 {
            Ok(Self { opens_at, closes_at })
        } else {
            Err(PeriodError { opens_at, closes_at })
        }
    }

    /// When the period begins; this second is in it.
    #[must_use]
    pub const fn opens_at(self) -> Timestamp {
        self.opens_at
    }

    /// When the period ends; this second is no longer in it.
    #[must_use]
    pub const fn closes_at(self) -> Timestamp {
        self.closes_at
    }

    /// Whether `time` is in the period.
    #[must_use]
    pub const fn contains(self, time: Timestamp) -> bool {
        self.opens_at.0 <= time.0 && time.0 < self.closes_at.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: u64, expected: &str) {
        assert_eq!(Timestamp(seconds).to_string(), expected);
    }

    #[test]
    fn prints_rfc_3339() {
        check(0, "1970-01-01T00:00:00Z");
        check(951_782_399, "2000-02-28T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z");
        check(1_795_374_960, "2026-11-22T19:16:00Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z");
    }

    #[test]
    fn periods_are_half_open() {
        let period = Period::new(Timestamp(10), Timestamp(20)).unwrap();
        assert!(!period.contains(Timestamp(9)));
        assert!(period.contains(Timestamp(10)));
        assert!(period.contains(Timestamp(19)));
        assert!(!period.contains(Timestamp(20)));
        assert!(Period::new(Timestamp(20), Timestamp(20)).is_err());
    }
}
