//! Dates, instants and periods as what they are for a search: milliseconds from a first to a last.
//!
//! A date says less than an instant, so it is all of its day, month or year. One without an offset is
//! taken as UTC, in resources and in queries alike.

use serde_json::Value;
use time::{Date, Month, OffsetDateTime, Time, util};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The milliseconds since 1970 that something covers, the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// It is not written as FHIR writes dates.
#[derive(Debug)]
struct Malformed;

impl Span {
    const ALWAYS: Self = Self { first: i64::MIN, last: i64::MAX };

    /// Parses a FHIR `date`, `dateTime` or `instant`; the time may be without seconds.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parsed = match text.split_once('T') {
            Some((date, time)) => span_of_time(date, time),
            None => span_of_date(text),
        };
        parsed.ok()
    }

    /// What a date, a period or a timing covers. Of a timing only the outer limits count.
    ///
    /// # Source
    ///
    /// [FHIR R4, 3.1.1.4.7](https://hl7.org/fhir/R4/search.html#date)
    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Self::parse(text),
            Value::Object(fields) if fields.contains_key("start") || fields.contains_key("end") => {
                Self::of_period(value)
            }
            Value::Object(fields) => {
                let events = fields.get("event").and_then(Value::as_array).into_iter().flatten();
                let bounds = fields.get("repeat").and_then(|repeat| repeat.get("boundsPeriod"));
                let spans = events.filter_map(Self::of).chain(bounds.and_then(Self::of));
                spans.reduce(Self::hull)
            }
            _ => None,
        }
    }

    fn of_period(period: &Value) -> Option<Self> {
        let end = |name| match period.get(name) {
            Some(end) => Self::parse(end.as_str()?),
            None => Some(Self::ALWAYS),
        };
        let (first, last) = (end("start")?.first, end("end")?.last);
        (first <= last).then_some(Self { first, last })
    }

    fn of_length(first: i64, length_ms: i64) -> Self {
        Self { first, last: first + length_ms - 1 }
    }

    fn hull(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// It with as much before and after as it is long.
    pub(crate) fn widened(self) -> Self {
        let length = self.last.saturating_sub(self.first).saturating_add(1);
        Self { first: self.first.saturating_sub(length), last: self.last.saturating_add(length) }
    }
}

fn number(text: &str, digits: usize) -> Result<i32, Malformed> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().map_err(|_| Malformed) } else { Err(Malformed) }
}

fn two_digits(text: &str) -> Result<u8, Malformed> {
    number(text, 2)?.try_into().map_err(|_| Malformed)
}

fn milliseconds(day: Date, time: Time) -> i64 {
    OffsetDateTime::new_utc(day, time).unix_timestamp() * SECOND_MS
}

/// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`.
fn span_of_date(text: &str) -> Result<Span, Malformed> {
    let mut parts = text.split('-');
    let year = number(parts.next().unwrap_or_default(), 4)?;
    let month = parts.next().map(two_digits).transpose()?;
    let day = parts.next().map(two_digits).transpose()?;
    if parts.next().is_some() {
        return Err(Malformed);
    }
    let first_month = Month::try_from(month.unwrap_or(1)).map_err(|_| Malformed)?;
    let first_day = Date::from_calendar_date(year, first_month, day.unwrap_or(1));
    let first = milliseconds(first_day.map_err(|_| Malformed)?, Time::MIDNIGHT);
    let days = match (month, day) {
        (_, Some(_)) => 1,
        (Some(_), None) => i64::from(util::days_in_month(first_month, year)),
        (None, None) => i64::from(util::days_in_year(year)),
    };
    Ok(Span::of_length(first, days * DAY_MS))
}

/// `YYYY-MM-DD` and `hh:mm`, `hh:mm:ss` or `hh:mm:ss.fff`, each with `Z`, an offset or neither.
fn span_of_time(date: &str, time: &str) -> Result<Span, Malformed> {
    let day = span_of_date(date)?;
    if day.last - day.first >= DAY_MS {
        return Err(Malformed);
    }
    // In a query string a plus sign means a blank, and many forget to escape it.
    let offset_at = time.find(['Z', '+', '-', ' ']).unwrap_or(time.len());
    let (clock, offset) = time.split_at(offset_at);
    let (clock, fraction) = match clock.split_once('.') {
        Some((clock, fraction)) => (clock, Some(fraction_ms(fraction)?)),
        None => (clock, None),
    };
    let mut parts = clock.split(':');
    let hour = two_digits(parts.next().unwrap_or_default())?;
    let minute = two_digits(parts.next().unwrap_or_default())?;
    let second = parts.next().map(two_digits).transpose()?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second.is_some_and(|s| s > 60) {
        return Err(Malformed);
    }
    let length_ms = match (second, fraction) {
        (None, None) => MINUTE_MS,
        (None, Some(_)) => return Err(Malformed),
        (Some(_), None) => SECOND_MS,
        (Some(_), Some(_)) => 1,
    };
    // A leap second counts as the one before.
    let second = second.unwrap_or(0).min(59);
    let clock_ms = i64::from(hour) * HOUR_MS
        + i64::from(minute) * MINUTE_MS
        + i64::from(second) * SECOND_MS
        + fraction.unwrap_or(0);
    Ok(Span::of_length(day.first + clock_ms - offset_ms(offset)?, length_ms))
}

fn fraction_ms(digits: &str) -> Result<i64, Malformed> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed);
    }
    let padded: String = digits.chars().chain("00".chars()).take(3).collect();
    padded.parse().map_err(|_| Malformed)
}

fn offset_ms(text: &str) -> Result<i64, Malformed> {
    if text.is_empty() || text == "Z" {
        return Ok(0);
    }
    let (sign, text) = match text.strip_prefix('-') {
        Some(text) => (-1, text),
        None => (1, text.strip_prefix(['+', ' ']).ok_or(Malformed)?),
    };
    let (hours, minutes) = text.split_once(':').ok_or(Malformed)?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    if hours > 23 || minutes > 59 {
        return Err(Malformed);
    }
    Ok(sign * (i64::from(hours) * HOUR_MS + i64::from(minutes) * MINUTE_MS))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, first: i64, length: i64) {
        let span = Span::parse(text).unwrap();
        assert_eq!((span.first, span.last - span.first + 1), (first, length));
    }

    #[test]
    fn dates_are_as_long_as_they_are_vague() {
        check("1970", 0, 365 * DAY_MS);
        check("1970-02", 31 * DAY_MS, 28 * DAY_MS);
        check("1972-12", 1065 * DAY_MS, 31 * DAY_MS);
        check("1970-01-02", DAY_MS, DAY_MS);
        check("1970-01-01T00:01", 60_000, 60_000);
        check("1970-01-01T00:00:01", 1_000, 1_000);
        check("1970-01-01T00:00:01.5Z", 1_500, 1);
        check("1970-01-01T00:00:01.123456Z", 1_123, 1);
    }

    #[test]
    fn offsets_count() {
        check("1970-01-01T01:00:00+01:00", 0, 1_000);
        check("1970-01-01T01:00:00 01:00", 0, 1_000);
        check("1969-12-31T22:30:00-01:30", 0, 1_000);
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "70",
            "1970-1",
            "1970-13",
            "1970-02-30",
            "1970-01-01T",
            "1970-01T00:00",
            "1970-01-01T24:00",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00+1",
            "+970",
            "1970-01-01-01",
            "1970-01-01T00:00:00+é",
            "1970-01-01T00:00Z0",
        ] {
            assert_eq!(Span::parse(text), None, "{text}");
        }
        assert!(Span::parse("0000").is_some());
        assert!(Span::parse("9999-12-31").is_some());
    }

    #[test]
    fn periods_may_be_open() {
        let span = |value| Span::of(&value).map(|span| (span.first, span.last));
        assert_eq!(span(json!({"start": "1970"})), Some((0, i64::MAX)));
        assert_eq!(span(json!({"end": "1970-01-01"})), Some((i64::MIN, DAY_MS - 1)));
        assert_eq!(span(json!({"start": "1970-01-02", "end": "1970-01-01"})), None);
        assert_eq!(span(json!({"event": ["1970-01-02", "1970-01-01"]})), Some((0, 2 * DAY_MS - 1)));
        assert_eq!(span(json!({"repeat": {}})), None);
    }
}
