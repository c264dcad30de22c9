//! Days as the chain counts time, and months as the contract writes them.

use crate::row::Day;

/// Days from 1970-01-01 to a day; zero for earlier ones.
///
/// # Source
///
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`, with the year beginning
/// in March.
pub(crate) fn days_since_1970(day: Day) -> u64 {
    let month = u64::from(day.month);
    let year = u64::from(day.year).saturating_sub(u64::from(month <= 2));
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5 + u64::from(day.day) - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    days.saturating_sub(719_468)
}

/// Year times 100 plus month, as `WaitingLists.sol` writes it.
pub(crate) fn month_number(day: Day) -> u32 {
    u32::from(day.year) * 100 + u32::from(day.month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(year: u16, month: u8, day: u8, expected: u64) {
        assert_eq!(days_since_1970(Day { year, month, day }), expected);
    }

    #[test]
    fn days_are_counted_through_leap_years() {
        check(1970, 1, 1, 0);
        check(1970, 3, 1, 59);
        check(2000, 2, 29, 11_016);
        check(2020, 1, 30, 18_291);
        check(2020, 12, 31, 18_627);
        check(1950, 1, 1, 0);
    }

    #[test]
    fn month_is_written_as_the_contract_has_it() {
        assert_eq!(month_number(Day { year: 2020, month: 1, day: 30 }), 202_001);
    }
}
