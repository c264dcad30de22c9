//! Times and dates as people read them.

use maud::{Markup, html};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `24 Nov 2026, 03:50 UTC`, of seconds since 1970; empty for a time that no calendar has.
pub(crate) fn text(unix_s: u64) -> String {
    at(unix_s).map_or_else(String::new, |at| {
        format!("{}, {:02}:{:02} UTC", day_text(at), at.hour(), at.minute())
    })
}

/// `24 Nov 2026`.
pub(crate) fn day(unix_s: u64) -> String {
    at(unix_s).map_or_else(String::new, day_text)
}

/// A time for people and for machines.
pub(crate) fn stamp(unix_s: u64) -> Markup {
    let machine = at(unix_s).and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
    html! { time datetime=(machine) { (text(unix_s)) } }
}

/// Seconds since 1970 of an instant in FHIR's form.
pub(crate) fn parse(instant: &str) -> Option<u64> {
    let at = OffsetDateTime::parse(instant, &Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp()).ok()
}

/// A FHIR date, dateTime or instant as people read it: as exact as it is given, and as it stands when it is not
/// understood.
pub(crate) fn fhir(value: &str) -> String {
    if let Some(at) = parse(value) {
        return text(at);
    }
    let mut parts = value.splitn(3, '-');
    let (year, month, day) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let month = month.and_then(|month| month.parse::<usize>().ok());
    let name = month.and_then(|month| MONTHS.get(month.checked_sub(1)?));
    match (name, day.and_then(|day| day.parse::<u8>().ok())) {
        (Some(name), Some(day)) => format!("{day} {name} {year}"),
        (Some(name), None) if day.is_none() => format!("{name} {year}"),
        _ => value.to_owned(),
    }
}

/// Seconds since 1970 at the beginning of a day `2026-11-24`, as a form sends it.
pub(crate) fn of_day(text: &str) -> Option<u64> {
    parse(&format!("{text}T00:00:00Z"))
}

/// `2026-11-24`, as a form takes it.
pub(crate) fn form_day(unix_s: u64) -> String {
    at(unix_s).map_or_else(String::new, |at| {
        format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
    })
}

fn at(unix_s: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(unix_s).ok()?).ok()
}

fn day_text(at: OffsetDateTime) -> String {
    format!("{} {} {}", at.day(), MONTHS[usize::from(u8::from(at.month())) - 1], at.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_exact_as_they_are_given() {
        assert_eq!(text(1_795_492_200), "24 Nov 2026, 03:50 UTC");
        assert_eq!(fhir("2026-11-24"), "24 Nov 2026");
        assert_eq!(fhir("2026-11"), "Nov 2026");
        assert_eq!(fhir("2026"), "2026");
        assert_eq!(fhir("2026-11-24T03:50:00Z"), "24 Nov 2026, 03:50 UTC");
        assert_eq!(fhir("<b>"), "<b>");
        assert_eq!(of_day(&form_day(1_795_492_200)), Some(1_795_478_400));
    }
}
