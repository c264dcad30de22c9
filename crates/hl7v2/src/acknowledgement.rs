//! The answer to a message: taken, or not and why.
//!
//! # Source
//!
//! HL7 v2.5.1, section 2.9.2 and segments MSA and ERR; up to version 2.4 `ERR-1` says what later fields do.

use crate::{error::ReadError, message::Header};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It was taken, now or before (`AA`).
    Accepted,
    /// It was not taken (`AE`, or `AR` for a kind of message that is not taken at all).
    Refused(&'a ReadError),
}

impl Answer<'_> {
    /// `AA`, `AE` or `AR`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Accepted => "AA",
            Self::Refused(error) if error.code.is_rejection() => "AR",
            Self::Refused(_) => "AE",
        }
    }
}

/// The acknowledgement of a message, to be sent back as it is, without a frame. `id` is its own control id,
/// `time` that of its making as `YYYYMMDDHHMMSS` with an offset.
#[must_use]
pub fn acknowledge(header: &Header, answer: Answer<'_>, id: &str, time: &str) -> String {
    let is_old = ["2.3", "2.4"].iter().any(|old| header.version.starts_with(old));
    let version = if header.version.is_empty() { "2.5.1" } else { &header.version };
    let processing =
        if header.processing.is_empty() { "P".into() } else { escaped(&header.processing) };
    let mut text = format!(
        "MSH|^~\\&|{}|{}|{}|{}|{time}||ACK^R01{}|{}|{}|{}\rMSA|{}|{}",
        header.receiving_application,
        header.receiving_facility,
        header.sending_application,
        header.sending_facility,
        if is_old { "" } else { "^ACK" },
        escaped(id),
        processing,
        escaped(version),
        answer.code(),
        escaped(&header.control_id),
    );
    if let Answer::Refused(error) = answer {
        text += &refusal(error, is_old);
    }
    text + "\r"
}

fn refusal(error: &ReadError, is_old: bool) -> String {
    let place = error.place;
    let number = |number: usize| if number == 0 { String::new() } else { number.to_string() };
    let segment = if place.segment.len() == 3 { place.segment } else { "" };
    let (code, meaning) = error.code.of_table();
    let (set, field) = (number(place.number), number(place.field));
    let said = escaped(&error.to_string());
    if is_old {
        // The text goes where these versions have it, into MSA-3.
        return format!("|{said}\rERR|{segment}^{set}^{field}^{code}&{meaning}&HL70357");
    }
    let component = number(place.component);
    let position = format!("{segment}^{set}^{field}^^{component}");
    let position = if segment.is_empty() { "" } else { position.trim_end_matches('^') };
    format!("\rERR||{position}|{code}^{meaning}^HL70357|E||||{said}")
}

/// A text as it may stand in a field with the usual separators.
pub(crate) fn escaped(text: &str) -> String {
    let mut written = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' => written += "\\F\\",
            '^' => written += "\\S\\",
            '&' => written += "\\T\\",
            '~' => written += "\\R\\",
            '\\' => written += "\\E\\",
            letter if letter.is_control() => written.push(' '),
            letter => written.push(letter),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Message,
        error::{Code, Place},
    };

    fn header(version: &str) -> Header {
        let text = format!("MSH*:;!%*LIS:1.2.3:ISO*Lab & Co*SALUS*H*1**ORU:R01*a^7*P*{version}");
        Message::parse(text.as_bytes()).unwrap().header().unwrap()
    }

    #[test]
    fn what_was_taken_is_accepted() {
        let text = acknowledge(&header("2.5.1"), Answer::Accepted, "A1", "20261123170000+0000");
        assert_eq!(
            text,
            "MSH|^~\\&|SALUS|H|LIS^1.2.3^ISO|Lab \\T\\ Co|20261123170000+0000||ACK^R01^ACK|A1|P|2.5.1\r\
             MSA|AA|a\\S\\7\r"
        );
        assert!(Message::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn what_was_not_taken_is_told_with_its_place() {
        let place = Place::of_segment("OBX", 2, 5).field(5).component(1);
        let error = ReadError::new(place, Code::Type, "is no number");
        let text = acknowledge(&header("2.5.1"), Answer::Refused(&error), "A1", "2026");
        assert!(text.contains("\rMSA|AE|a\\S\\7\rERR||OBX^2^5^^1|102^Data type error^HL70357|E||||OBX[2]-5.1 is no number\r"), "{text}");
        let text = acknowledge(&header("2.3.1"), Answer::Refused(&error), "A1", "2026");
        assert!(text.contains("\rMSA|AE|a\\S\\7|OBX[2]-5.1 is no number\rERR|OBX^2^5^102&Data type error&HL70357\r"), "{text}");
    }

    #[test]
    fn kinds_that_are_not_taken_are_rejected() {
        let error = ReadError::new(Place::missing("MSH").field(9), Code::MessageType, "is not ORU");
        assert_eq!(Answer::Refused(&error).code(), "AR");
        assert_eq!(Answer::Accepted.code(), "AA");
    }
}
