//! Dates and times as R4 writes them, with as much precision as they have.

/// What a `date`, `dateTime` or `instant` says.
///
/// # Source
///
/// [FHIR R4, dateTime](https://hl7.org/fhir/R4/datatypes.html#dateTime).
pub(crate) struct Moment {
    pub(crate) precision: Precision,
    /// The first nanosecond that it may mean, since 1970 where it was written.
    first: i128,
    /// The last one.
    last: i128,
}

/// How much of a moment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Precision {
    Year,
    Month,
    Day,
    /// A time of the day and its offset from UTC, which R4 demands together.
    Time,
}

const NANOSECONDS: i128 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The farthest that a place is from UTC.
const OFFSET_HOURS_MAX: i64 = 14;

impl Moment {
    /// Reads a moment; nothing when it is not written as R4 wants it, or there is no such day.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let year = digits(bytes.get(..4)?).filter(|year| *year > 0)?;
        let moment = |precision, first_day: i64, next_day: i64| Self {
            precision,
            first: i128::from(first_day * SECONDS_PER_DAY) * NANOSECONDS,
            last: i128::from(next_day * SECONDS_PER_DAY) * NANOSECONDS - 1,
        };
        if bytes.len() == 4 {
            return Some(moment(Precision::Year, days(year, 1, 1), days(year + 1, 1, 1)));
        }
        let month = part(bytes, 4, b'-', 12).filter(|month| *month > 0)?;
        let first = days(year, month, 1);
        let next_month = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
        if bytes.len() == 7 {
            return Some(moment(Precision::Month, first, next_month));
        }
        let day = part(bytes, 7, b'-', 31).filter(|day| *day > 0)?;
        let day = first + day - 1;
        if day >= next_month {
            return None;
        }
        if bytes.len() == 10 {
            return Some(moment(Precision::Day, day, day + 1));
        }
        let time = text.get(10..)?.strip_prefix('T')?;
        let zone = time.find(['Z', '+', '-'])?;
        let (time, zone) = time.split_at(zone);
        let (seconds, nanoseconds) = time_of_day(time)?;
        let seconds = day * SECONDS_PER_DAY + seconds - offset(zone)?;
        let instant = i128::from(seconds) * NANOSECONDS + nanoseconds;
        Some(Self { precision: Precision::Time, first: instant, last: instant })
    }

    /// Whether it is after the other one, whatever both leave open.
    pub(crate) fn is_surely_after(&self, other: &Self) -> bool {
        let is_time = |moment: &Self| moment.precision == Precision::Time;
        // A day without an offset may be anywhere.
        let slack = if is_time(self) == is_time(other) { 0 } else { OFFSET_HOURS_MAX * 3600 };
        self.first - i128::from(slack) * NANOSECONDS > other.last
    }
}

/// Whether a text is a `time`: hours, minutes, seconds, perhaps a fraction.
pub(crate) fn is_time(text: &str) -> bool {
    time_of_day(text).is_some()
}

/// Seconds since midnight, and nanoseconds beyond; further digits are read and dropped.
fn time_of_day(text: &str) -> Option<(i64, i128)> {
    let bytes = text.as_bytes();
    let hours = digits(bytes.get(..2)?).filter(|hours| *hours < 24)?;
    let minutes = part(bytes, 2, b':', 59)?;
    // A leap second is allowed anywhere.
    let seconds = part(bytes, 5, b':', 60)?;
    let nanoseconds = match bytes.get(8..)? {
        [] => 0,
        [b'.', fraction @ ..]
            if !fraction.is_empty() && fraction.iter().all(u8::is_ascii_digit) =>
        {
            let digits = fraction.iter().chain(std::iter::repeat(&b'0')).take(9);
            digits.fold(0, |sum, digit| sum * 10 + i128::from(digit - b'0'))
        }
        _ => return None,
    };
    Some((hours * 3600 + minutes * 60 + seconds, nanoseconds))
}

/// Seconds before UTC's midnight.
fn offset(zone: &str) -> Option<i64> {
    let bytes = zone.as_bytes();
    let sign = match bytes {
        b"Z" => return Some(0),
        [b'+', ..] => 1,
        [b'-', ..] => -1,
        _ => return None,
    };
    let hours = digits(bytes.get(1..3)?)?;
    let minutes = part(bytes, 3, b':', 59)?;
    let is_real = hours < OFFSET_HOURS_MAX || (hours == OFFSET_HOURS_MAX && minutes == 0);
    (bytes.len() == 6 && is_real).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Two digits after a separator, up to a largest value.
fn part(bytes: &[u8], at: usize, separator: u8, max: i64) -> Option<i64> {
    let (first, number) = bytes.get(at..at + 3)?.split_first()?;
    (*first == separator).then_some(())?;
    digits(number).filter(|number| *number <= max)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes
        .iter()
        .try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Days since 1970-01-01 in the Gregorian calendar, also before it was made.
///
/// # Source
///
/// Howard Hinnant, [chrono-compatible date algorithms](https://howardhinnant.github.io/date_algorithms.html).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<Precision>) {
        assert_eq!(Moment::parse(text).map(|moment| moment.precision), expected, "{text}");
    }

    #[test]
    fn moments_have_their_written_precision() {
        check("2020", Some(Precision::Year));
        check("2020-02", Some(Precision::Month));
        check("2020-02-29", Some(Precision::Day));
        check("2020-02-29T23:59:60.123456789012Z", Some(Precision::Time));
        check("2015-02-07T13:28:17-05:00", Some(Precision::Time));
        check("0001-01-01", Some(Precision::Day));
        check("2015-02-07T13:28:17+14:00", Some(Precision::Time));
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "20",
            "0000",
            "20200",
            "2020-",
            "2020-13",
            "2020-00",
            "2020-2-1",
            "2021-02-29",
            "2020-04-31",
            "2020-01-00",
            "1990-13-45",
            "2020-01-01T",
            "2020-01-01T10:00Z",
            "2020-01-01T10:00:00",
            "2020-01-01T24:00:00Z",
            "2020-01-01T10:60:00Z",
            "2020-01-01T10:00:61Z",
            "2020-01-01T10:00:00.Z",
            "2020-01-01T10:00:00+14:01",
            "2020-01-01T10:00:00+1:00",
            "2020-01-01 10:00:00Z",
            " 2020",
            "2020 ",
            "2020-01-01T10:00:00ZZ",
            "２０２０",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn only_what_is_certain_counts_as_later() {
        let later = |a: &str, b: &str| {
            Moment::parse(a).unwrap().is_surely_after(&Moment::parse(b).unwrap())
        };
        assert!(later("2020-01-02", "2020-01-01"));
        assert!(later("2021", "2020-12-31"));
        assert!(!later("2020", "2020-01-01"));
        assert!(!later("2020-01-01T12:00:00Z", "2020-01-01"));
        assert!(later("2020-01-01T12:00:00Z", "2020-01-01T12:30:00+01:00"));
        assert!(!later("2020-01-02T01:00:00Z", "2020-01-01"));
        assert!(later("2020-01-03T01:00:00Z", "2020-01-01"));
        assert!(later("2020-01-01T12:00:00.002Z", "2020-01-01T12:00:00.001Z"));
    }

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 3, 1), 11_017);
        assert_eq!(days(1, 1, 1), -719_162);
    }
}
