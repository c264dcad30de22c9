//! Cuts a file into its records, one after the other, whatever stands between fields.
//!
//! Not by the crate `csv`: it takes a quoted field that never ends, or that something follows on, for a field like
//! any other, and counts the blank lines before a record as its first lines. Both would be told wrong, or not at all.
//!
//! No record is larger than [`RECORD_BYTES_MAX`]. When a quoted field does not end within that, only its first line
//! is lost, and the next is read as if the quote had not been.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
};

/// More than any row needs.
pub(crate) const RECORD_BYTES_MAX: usize = 65_536;

/// One record of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// In which line it begins, from 1.
    pub(crate) line: usize,
    pub(crate) fields: Vec<String>,
    /// Why it is not to be trusted.
    pub(crate) fault: Option<&'static str>,
}

impl Record {
    /// How many fields there are, without empty ones at the end.
    pub(crate) fn width(&self) -> usize {
        let last = self.fields.iter().rposition(|field| !field.trim().is_empty());
        last.map_or(0, |last| last + 1)
    }

    /// What spreadsheets leave at the end of a file: nothing is in it.
    fn is_blank(&self) -> bool {
        self.fault.is_none() && self.width() == 0
    }
}

/// The records of a file that are not blank.
///
/// # Source
///
/// RFC 4180, with line feeds alone, and with any delimiter.
pub(crate) struct Records<R> {
    input: BufReader<R>,
    /// Lines that were read ahead.
    ahead: VecDeque<Line>,
    /// Of the next line, from 1.
    line: usize,
    /// Known from the first line in which there is something.
    delimiter: Option<u8>,
    has_begun: bool,
}

impl<R: Read> Records<R> {
    pub(crate) fn new(input: R) -> Self {
        let input = BufReader::with_capacity(RECORD_BYTES_MAX, input);
        Self { input, ahead: VecDeque::new(), line: 1, delimiter: None, has_begun: false }
    }

    fn next_line(&mut self) -> io::Result<Option<Line>> {
        if let Some(line) = self.ahead.pop_front() {
            return Ok(Some(line));
        }
        let mut bytes = Vec::new();
        let most = RECORD_BYTES_MAX as u64 + 1;
        self.input.by_ref().take(most).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let is_cut = !bytes.ends_with(b"\n") && bytes.len() > RECORD_BYTES_MAX;
        if is_cut {
            bytes.clear();
            self.input.skip_until(b'\n')?;
        } else {
            for end in [b'\n', b'\r'] {
                if bytes.last() == Some(&end) {
                    bytes.pop();
                }
            }
        }
        if !self.has_begun && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes.drain(..3);
        }
        self.has_begun = true;
        Ok(Some(Line { bytes, is_cut }))
    }

    fn next_record(&mut self) -> io::Result<Option<Record>> {
        let Some(first) = self.next_line()? else { return Ok(None) };
        let line = self.line;
        self.line += 1;
        if first.is_cut {
            let fault = Some("it is longer than 65,536 bytes");
            return Ok(Some(Record { line, fault, ..Record::default() }));
        }
        if self.delimiter.is_none() && first.bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Record { line, ..Record::default() }));
        }
        let delimiter = *self.delimiter.get_or_insert_with(|| delimiter(&first.bytes));
        let mut splitter = Splitter::new(delimiter);
        splitter.take(&first.bytes);
        let mut taken = VecDeque::new();
        let mut size = first.bytes.len();
        while splitter.state == State::Quoted {
            match self.next_line()? {
                Some(next) if !next.is_cut && size + next.bytes.len() <= RECORD_BYTES_MAX => {
                    splitter.field.push(b'\n');
                    splitter.take(&next.bytes);
                    size += next.bytes.len() + 1;
                    taken.push_back(next);
                }
                other => {
                    taken.extend(other);
                    taken.append(&mut self.ahead);
                    self.ahead = taken;
                    let fault = Some("a quoted field does not end");
                    return Ok(Some(Record { line, fault, ..Record::default() }));
                }
            }
        }
        self.line += taken.len();
        splitter.end_field();
        Ok(Some(Record { line, fields: splitter.fields, fault: splitter.fault }))
    }
}

impl<R: Read> Iterator for Records<R> {
    type Item = io::Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_record().transpose()? {
                Ok(record) if record.is_blank() => {}
                other => return Some(other),
            }
        }
    }
}

/// A line without its end.
struct Line {
    bytes: Vec<u8>,
    /// It was too long, and is not here.
    is_cut: bool,
}

/// What stands between fields: what the first line has most of, outside of quotes.
fn delimiter(line: &[u8]) -> u8 {
    const DELIMITERS: [u8; 3] = *b",;\t";
    let (mut quoted, mut counts) = (false, [0_usize; 3]);
    for byte in line {
        if *byte == b'"' {
            quoted = !quoted;
        } else if !quoted && let Some(position) = DELIMITERS.iter().position(|one| one == byte) {
            counts[position] += 1;
        }
    }
    // The first of equals, so that a file of one column has the usual one.
    let most = counts.iter().copied().max().unwrap_or_default();
    counts.iter().position(|count| *count == most).map_or(b',', |position| DELIMITERS[position])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote in a quoted field: its end, or the first of two that stand for one.
    AfterQuote,
}

/// Cuts lines into fields.
struct Splitter {
    delimiter: u8,
    state: State,
    field: Vec<u8>,
    fields: Vec<String>,
    fault: Option<&'static str>,
}

impl Splitter {
    const fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            state: State::FieldStart,
            field: Vec::new(),
            fields: Vec::new(),
            fault: None,
        }
    }

    fn take(&mut self, line: &[u8]) {
        for &byte in line {
            self.state = match (self.state, byte) {
                (State::Quoted, b'"') => State::AfterQuote,
                (State::FieldStart, b'"') => State::Quoted,
                (State::Quoted, _) => {
                    self.field.push(byte);
                    State::Quoted
                }
                (State::AfterQuote, b'"') => {
                    self.field.push(byte);
                    State::Quoted
                }
                (_, byte) if byte == self.delimiter => {
                    self.end_field();
                    State::FieldStart
                }
                (State::AfterQuote, _) => {
                    self.fault = Some("something follows on a quoted field");
                    State::Plain
                }
                (State::FieldStart | State::Plain, _) => {
                    self.field.push(byte);
                    State::Plain
                }
            };
        }
    }

    fn end_field(&mut self) {
        let field = std::mem::take(&mut self.field);
        let text = String::from_utf8(field).unwrap_or_else(|_| {
            self.fault = Some("it is not UTF-8");
            String::new()
        });
        self.fields.push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = (usize, Vec<String>, Option<&'static str>);

    fn split(bytes: &[u8]) -> Vec<Told> {
        Records::new(bytes)
            .map(|record| record.map(|record| (record.line, record.fields, record.fault)).unwrap())
            .collect()
    }

    fn told(line: usize, fields: &[&str]) -> Told {
        (line, fields.iter().map(|&field| field.to_owned()).collect(), None)
    }

    #[test]
    fn fields_lines_and_quotes_are_told_apart() {
        let text = b"\xef\xbb\xbfa,b\r\n\r\n\"x, \"\"y\"\"\r\nz\",c\n,,\nd\"e,f";
        let expected =
            [told(1, &["a", "b"]), told(3, &["x, \"y\"\nz", "c"]), told(6, &["d\"e", "f"])];
        assert_eq!(split(text), expected);
    }

    #[test]
    fn what_stands_between_fields_is_found_in_the_first_line() {
        assert_eq!(split(b" \na;b,c;d\n"), [told(2, &["a", "b,c", "d"])]);
        assert_eq!(split(b"\"a;;;b\",c\n"), [told(1, &["a;;;b", "c"])]);
        assert_eq!(split(b"a\tb\n"), [told(1, &["a", "b"])]);
    }

    #[test]
    fn a_quote_that_does_not_end_costs_one_line_however_much_follows() {
        let open = "a quoted field does not end";
        let text = b"a,b\nc,\"d\ne,f\ng,h";
        let expected = [
            told(1, &["a", "b"]),
            (2, Vec::new(), Some(open)),
            told(3, &["e", "f"]),
            told(4, &["g", "h"]),
        ];
        assert_eq!(split(text), expected);

        let mut text = b"c,\"d\n".to_vec();
        let lines = RECORD_BYTES_MAX;
        text.extend(b"e,f\n".repeat(lines));
        let told = split(&text);
        assert_eq!(told.len(), lines + 1);
        assert_eq!(told[0], (1, Vec::new(), Some(open)));
        assert!(told[1..].iter().all(|(_, fields, fault)| fields.len() == 2 && fault.is_none()));
        assert_eq!(told[lines].0, lines + 1);
    }

    #[test]
    fn a_line_that_does_not_end_is_not_kept() {
        let long = [b"a,b\n".as_slice(), &b"x".repeat(5 * RECORD_BYTES_MAX), b"\nc,d\n"].concat();
        let fault = Some("it is longer than 65,536 bytes");
        let expected = [told(1, &["a", "b"]), (2, Vec::new(), fault), told(3, &["c", "d"])];
        assert_eq!(split(&long), expected);
    }
}
