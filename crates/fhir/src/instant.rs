//! Instants as FHIR writes them.

use time::{
    OffsetDateTime, UtcOffset,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

/// How HTTP writes dates.
const HTTP_DATE: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// An instant, from milliseconds since 1970.
pub(crate) fn text(milliseconds: i64) -> String {
    let nanoseconds = i128::from(milliseconds) * 1_000_000;
    let instant = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    instant.format(&Rfc3339).unwrap_or_default()
}

/// An instant as HTTP writes it.
///
/// # Source
///
/// RFC 9110, section 5.6.7 (`IMF-fixdate`).
pub(crate) fn http_date(milliseconds: i64) -> String {
    let instant = OffsetDateTime::from_unix_timestamp(milliseconds.div_euclid(1_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    instant.to_offset(UtcOffset::UTC).format(HTTP_DATE).unwrap_or_default()
}

/// Milliseconds since 1970 of a date as HTTP writes it.
pub(crate) fn parse_http_date(text: &str) -> Option<i64> {
    let date = time::PrimitiveDateTime::parse(text, HTTP_DATE).ok()?;
    date.assume_utc().unix_timestamp().checked_mul(1_000)
}

/// Milliseconds since 1970 of an instant.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(instant.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_and_read() {
        assert_eq!(text(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(parse("2023-11-14T23:13:20.123+01:00"), Some(1_700_000_000_123));
        assert_eq!(http_date(1_700_000_000_123), "Tue, 14 Nov 2023 22:13:20 GMT");
        assert_eq!(parse_http_date("Tue, 14 Nov 2023 22:13:20 GMT"), Some(1_700_000_000_000));
        assert_eq!(parse("yesterday"), None);
    }
}
