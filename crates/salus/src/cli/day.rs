//! A day, as it is typed.

use std::str::FromStr;

use domain::Timestamp;

/// The last second of a day, in UTC: what counts until a day counts on that day, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Day(pub(crate) Timestamp);

impl FromStr for Day {
    type Err = &'static str;

    /// Reads `2027-05-31`, from 1970 on.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const NO_DAY: &str = "a day is written like 2027-05-31, and is in the calendar";
        let parts: Vec<&str> = text.split('-').collect();
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        if lengths != [4, 2, 2] || !parts.iter().all(|part| is_number(part)) {
            return Err(NO_DAY);
        }
        let number = |part: &str| part.parse::<u64>().map_err(|_| NO_DAY);
        let wanted = (number(parts[0])?, number(parts[1])?, number(parts[2])?);
        let midnight = midnight_of(wanted).ok_or(NO_DAY)?;
        // The 30th of February would be another day.
        let (year, month, day, ..) = midnight.to_civil();
        if (year, month, day) != wanted {
            return Err(NO_DAY);
        }
        Ok(Self(Timestamp(midnight.0 + 86_399)))
    }
}

/// When a day of the calendar begins.
///
/// # Source
///
/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn midnight_of((year, month, day): (u64, u64, u64)) -> Option<Timestamp> {
    if year < 1_970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that a leap day is the last day of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year;
    Some(Timestamp((days - 719_468) * 86_400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let read = text.parse().ok().map(|Day(time)| time.to_string());
        assert_eq!(read.as_deref(), expected);
    }

    #[test]
    fn a_day_counts_to_its_last_second() {
        check("1970-01-01", Some("1970-01-01T23:59:59Z"));
        check("2027-05-31", Some("2027-05-31T23:59:59Z"));
        check("2028-02-29", Some("2028-02-29T23:59:59Z"));
        check("9999-12-31", Some("9999-12-31T23:59:59Z"));
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in ["", "2027", "2027-02-29", "2027-13-01", "2027-00-10", "2027-04-31"] {
            check(text, None);
        }
        for text in ["31-05-2027", "2027-5-31", "2027-05-31T00:00", "+027-05-31", "1969-12-31"] {
            check(text, None);
        }
    }
}
