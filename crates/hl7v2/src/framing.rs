//! Takes messages out of what carries them: MLLP frames, batches, files with many.
//!
//! ```text
//! MLLP     0x0B message 0x1C 0x0D
//! batch    [FHS] [BHS] message … [BTS] [FTS]
//! ```
//!
//! # Source
//!
//! HL7 v2.5.1, sections 2.10.3 (batches) and 2.15 (segments); HL7's transport specification, MLLP release 1.

use crate::{
    error::{Code, Place, ReadError},
    message::MESSAGE_BYTES_MAX,
};

/// The most bytes that are taken at once, with all messages in them.
pub const BATCH_BYTES_MAX: usize = 16 * 1_024 * 1_024;

const START: u8 = 0x0b;
const END: u8 = 0x1c;

/// The messages in some bytes, each from its `MSH` on. Segments end with CR, LF or both.
///
/// # Errors
///
/// [`ReadError`] when there is none, one is too long, a frame is not closed, or a batch says another number
/// of messages than it has: then something is lost, and nothing of it may be taken.
pub fn messages(bytes: &[u8]) -> Result<Vec<&[u8]>, ReadError> {
    if bytes.len() > BATCH_BYTES_MAX {
        return Err(sequence("is longer than 16 MiB"));
    }
    let mut found = Vec::new();
    let mut rest = bytes.trim_ascii_start();
    if rest.first() == Some(&START) {
        while let Some((&START, framed)) = rest.split_first() {
            let end = framed.iter().position(|byte| *byte == END);
            let end = end.ok_or_else(|| sequence("has a frame without an end"))?;
            split(&framed[..end], &mut found)?;
            rest = framed[end + 1..].trim_ascii_start();
        }
        if !rest.is_empty() {
            return Err(sequence("goes on after its last frame"));
        }
    } else {
        split(rest, &mut found)?;
    }
    if found.is_empty() {
        return Err(ReadError::new(Place::missing("MSH"), Code::Sequence, "is missing"));
    }
    Ok(found)
}

fn split<'a>(bytes: &'a [u8], found: &mut Vec<&'a [u8]>) -> Result<(), ReadError> {
    // Where the message began that is being read; and how many there are in the batch.
    let (mut began, mut in_batch) = (None, 0_usize);
    let mut at = 0;
    while at < bytes.len() {
        let len = bytes[at..].iter().position(|byte| matches!(byte, b'\r' | b'\n'));
        let end = len.map_or(bytes.len(), |len| at + len);
        let line = &bytes[at..end];
        let is_envelope =
            [&b"FHS"[..], b"BHS", b"BTS", b"FTS"].iter().any(|name| line.starts_with(name));
        if line.starts_with(b"MSH") || is_envelope {
            close(bytes, began.take(), at, found)?;
        }
        if line.starts_with(b"MSH") {
            began = Some(at);
            in_batch += 1;
        } else if line.starts_with(b"BHS") {
            in_batch = 0;
        } else if line.starts_with(b"BTS") {
            require_count(line, in_batch)?;
        } else if !is_envelope && began.is_none() && !line.trim_ascii().is_empty() {
            return Err(sequence("does not begin with MSH"));
        }
        at = end + 1;
    }
    close(bytes, began, bytes.len(), found)
}

fn close<'a>(
    bytes: &'a [u8],
    began: Option<usize>,
    end: usize,
    found: &mut Vec<&'a [u8]>,
) -> Result<(), ReadError> {
    let Some(began) = began else { return Ok(()) };
    let message = bytes[began..end].trim_ascii_end();
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(sequence("is longer than 1 MiB"));
    }
    found.push(message);
    Ok(())
}

/// `BTS-1`, where it is given.
fn require_count(line: &[u8], found: usize) -> Result<(), ReadError> {
    let Some(separator) = line.get(3) else { return Ok(()) };
    let first = line[4..].split(|byte| byte == separator).next().unwrap_or_default().trim_ascii();
    let is_right = first.is_empty()
        || std::str::from_utf8(first).ok().and_then(|text| text.parse().ok()) == Some(found);
    let place = Place::missing("BTS").field(1);
    let text = "is not the number of messages in the batch";
    if is_right { Ok(()) } else { Err(ReadError::new(place, Code::Sequence, text)) }
}

fn sequence(what: &'static str) -> ReadError {
    ReadError::new(Place::MESSAGE, Code::Sequence, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &str, expected: &[&str]) {
        let found = messages(bytes.as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(|one| std::str::from_utf8(one).unwrap()).collect();
        assert_eq!(found, expected);
    }

    #[track_caller]
    fn refused(bytes: &str, expected: &str) {
        assert_eq!(messages(bytes.as_bytes()).unwrap_err().to_string(), expected);
    }

    #[test]
    fn one_message_is_itself() {
        check("MSH|a\rPID|b\r", &["MSH|a\rPID|b"]);
        check("\r\nMSH|a\r\nPID|b\r\n", &["MSH|a\r\nPID|b"]);
    }

    #[test]
    fn messages_follow_each_other() {
        check("MSH|a\nPID|b\n\nMSH|c\n", &["MSH|a\nPID|b", "MSH|c"]);
    }

    #[test]
    fn frames_are_opened() {
        check("\u{b}MSH|a\rPID|b\r\u{1c}\r\u{b}MSH|c\r\u{1c}\r", &["MSH|a\rPID|b", "MSH|c"]);
        check("\u{b}MSH|a\u{1c}", &["MSH|a"]);
        refused("\u{b}MSH|a\r", "the message has a frame without an end");
        refused("\u{b}MSH|a\r\u{1c}\rMSH|b", "the message goes on after its last frame");
    }

    #[test]
    fn batches_are_opened_and_counted() {
        check("FHS|x\rBHS|x\rMSH|a\rMSH|b\rBTS|2\rFTS|1\r", &["MSH|a", "MSH|b"]);
        check("BHS|x\rMSH|a\rBTS\r", &["MSH|a"]);
        refused("BHS|x\rMSH|a\rBTS|2\r", "BTS-1 is not the number of messages in the batch");
        refused("BHS|x\rMSH|a\rBTS|planted\r", "BTS-1 is not the number of messages in the batch");
    }

    #[test]
    fn other_things_are_no_messages() {
        refused("", "MSH is missing");
        refused("planted\rMSH|a", "the message does not begin with MSH");
        refused("FHS|x\rFTS|0", "MSH is missing");
        let long = format!("MSH|{}", "x".repeat(MESSAGE_BYTES_MAX));
        refused(&long, "the message is longer than 1 MiB");
    }
}
