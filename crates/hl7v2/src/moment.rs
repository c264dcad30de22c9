//! Dates and times: from HL7 v2 to FHIR, never with more precision than there was.
//!
//! ```text
//! YYYY[MM[DD[HHMM[SS[.S…]]]]][+ZZZZ]    to    YYYY[-MM[-DD[THH:MM:SS[.S…]+ZZ:ZZ]]]
//! ```
//!
//! FHIR wants an offset with every time. A time without one has that of the message's own date (`MSH-7`), or
//! else the one that whoever reads the message says; without any, the message is refused.
//!
//! # Source
//!
//! HL7 v2.5.1, section 2.A.22 (DTM); [FHIR R4, dateTime](https://hl7.org/fhir/R4/datatypes.html#dateTime).

use std::str::FromStr;

/// How far clocks are from UTC where a message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offset(String);

impl FromStr for Offset {
    type Err = &'static str;

    /// `+0100` or `+01:00`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "an offset is written like +01:00";
        let digits = text.get(1..).unwrap_or_default().replace(':', "");
        let number = |range: std::ops::Range<usize>| {
            digits.get(range).and_then(|part| part.parse::<u8>().ok())
        };
        let is_offset = text.starts_with(['+', '-'])
            && digits.len() == 4
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        match (number(0..2), number(2..4)) {
            (Some(hours), Some(minutes))
                if is_offset && minutes < 60 && (hours < 14 || (hours == 14 && minutes == 0)) =>
            {
                Ok(Self(format!("{}{hours:02}:{minutes:02}", &text[..1])))
            }
            _ => Err(WRONG),
        }
    }
}

impl Offset {
    /// The offset at the end of a date and time, if there is one.
    pub(crate) fn of(text: &str) -> Option<Self> {
        text[text.find(['+', '-'])?..].parse().ok()
    }
}

/// A date and time as FHIR writes it.
pub(crate) fn date_time(text: &str, otherwise: Option<&Offset>) -> Result<String, &'static str> {
    const WRONG: &str = "is no date and time";
    let at = text.find(['+', '-']).unwrap_or(text.len());
    let (digits, offset) = text.split_at(at);
    let (digits, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let number = |from: usize, to: usize| digits.get(from..to).and_then(|part| part.parse().ok());
    let is_whole = digits.is_ascii()
        && digits.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit())
        && matches!(digits.len(), 4 | 6 | 8 | 12 | 14)
        && (fraction.is_empty() || digits.len() == 14)
        && fraction.len() <= 9;
    if digits.len() == 10 {
        return Err("has an hour without minutes");
    }
    if !is_whole {
        return Err(WRONG);
    }
    let own: Option<Offset> =
        if offset.is_empty() { None } else { Some(offset.parse().map_err(|_| WRONG)?) };
    let year: u32 = number(0, 4).filter(|year| *year > 0).ok_or(WRONG)?;
    let mut written = format!("{year:04}");
    let Some(month) = number(4, 6) else { return Ok(written) };
    if !(1..=12).contains(&month) {
        return Err(WRONG);
    }
    written += &format!("-{month:02}");
    let Some(day) = number(6, 8) else { return Ok(written) };
    if !(1..=days_of(year, month)).contains(&day) {
        return Err(WRONG);
    }
    written += &format!("-{day:02}");
    let Some(hour) = number(8, 10) else { return Ok(written) };
    let (minute, second): (u32, u32) = (number(10, 12).unwrap_or(0), number(12, 14).unwrap_or(0));
    if hour > 23 || minute > 59 || second > 59 {
        return Err(WRONG);
    }
    written += &format!("T{hour:02}:{minute:02}:{second:02}");
    if !fraction.is_empty() {
        written += &format!(".{fraction}");
    }
    let Offset(offset) = own
        .as_ref()
        .or(otherwise)
        .ok_or("has a time without an offset from UTC, and MSH-7 has none either")?;
    Ok(written + offset)
}

/// A date and time, if it is precise enough for an instant.
pub(crate) fn instant(
    text: &str,
    otherwise: Option<&Offset>,
) -> Result<Option<String>, &'static str> {
    Ok(Some(date_time(text, otherwise)?).filter(|written| written.contains('T')))
}

/// A time of the day as FHIR writes it, without an offset.
pub(crate) fn time(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "is no time of the day";
    // What stands before the time is a day that has every hour.
    let written = date_time(&format!("20000101{text}+0000"), None).map_err(|_| WRONG)?;
    let (_, time) = written.split_once('T').ok_or(WRONG)?;
    Ok(time.trim_end_matches("+00:00").to_owned())
}

fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(date_time(text, "-0500".parse().ok().as_ref()).as_deref(), Ok(expected));
    }

    #[test]
    fn dates_keep_their_precision() {
        check("2026", "2026");
        check("202611", "2026-11");
        check("20240229", "2024-02-29");
        check("202611231705", "2026-11-23T17:05:00-05:00");
        check("20261123170509", "2026-11-23T17:05:09-05:00");
        check("20261123170509.1234+0130", "2026-11-23T17:05:09.1234+01:30");
    }

    #[test]
    fn times_need_an_offset_from_somewhere() {
        let text = date_time("202611231705", None).unwrap_err();
        assert!(text.contains("offset"), "{text}");
        assert_eq!(date_time("20261123", None).unwrap(), "2026-11-23");
        assert_eq!(Offset::of("20261123170509+0100"), "+01:00".parse().ok());
        assert_eq!(Offset::of("20261123170509"), None);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "0000",
            "202613",
            "20260229",
            "2026112324",
            "202611232400",
            "20261123170560",
            "2026-11-23",
            "20261123170509+2500",
            "20261123170509+01",
            "202611231705.5",
            "2O26",
            "٢٠٢٦",
            "20261123170509.",
        ] {
            let wrong = date_time(text, "+0000".parse().ok().as_ref());
            assert!(wrong.is_err() || text.ends_with('.'), "{text}: {wrong:?}");
        }
        for text in ["", "0100", "+1", "+15:00", "+14:30", "+0a:00", "+01:60", "é010"] {
            assert!(text.parse::<Offset>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_of_the_day_have_no_offset() {
        assert_eq!(time("1705").as_deref(), Ok("17:05:00"));
        assert_eq!(time("170509.25").as_deref(), Ok("17:05:09.25"));
        for text in ["", "17", "2500", "1705+0100", "planted"] {
            assert!(time(text).is_err(), "{text}");
        }
    }
}
