//! One message: segments, fields, repetitions, components and subcomponents, with escapes undone.
//!
//! ```text
//! MSH|^~\&|…     field separator, then component, repetition, escape and subcomponent separator
//! \F\ \S\ \T\ \R\ \E\     the separators themselves: | ^ & ~ \ where they are the usual ones
//! \.br\ \.sp3\ …          new lines; other formatting and highlighting is left out
//! \Xhhhh\                 bytes in hexadecimal, in the message's own character set
//! ```
//!
//! Fields count from 1, `MSH-1` being the separator itself. A field that says `""` is empty here: to a
//! result that says something anew, deleting and saying nothing are the same.
//!
//! # Source
//!
//! HL7 v2.5.1, sections 2.5 to 2.7, and table 0211 for character sets.

use crate::{
    acknowledgement::escaped,
    error::{Code, Place, ReadError},
};

/// The longest message, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1_024 * 1_024;

/// The most segments of a message.
pub const SEGMENTS_MAX: usize = 5_000;

/// The most fields of a segment. HL7 has none with more than 70.
pub const FIELDS_MAX: usize = 256;

/// The most repetitions of a field.
pub const REPETITIONS_MAX: usize = 1_000;

/// The most components of a field, and subcomponents of a component.
pub const COMPONENTS_MAX: usize = 100;

/// The versions that are read.
const VERSIONS: &[&str] =
    &["2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8", "2.8.1", "2.8.2"];

#[derive(Clone, Copy, Debug)]
struct Separators {
    field: char,
    component: char,
    repetition: char,
    escape: char,
    subcomponent: char,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Charset {
    Utf8,
    Latin1,
}

/// A message that can be read.
#[derive(Clone, Debug)]
pub struct Message {
    separators: Separators,
    charset: Charset,
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    /// By their numbers; what stands at 0 is no field.
    fields: Vec<String>,
    place: Place,
}

/// Who sent a message, and which it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `MSH-3`, the application that sent it, with the usual separators.
    pub sending_application: String,
    /// `MSH-4`, the facility that sent it.
    pub sending_facility: String,
    /// `MSH-5`.
    pub receiving_application: String,
    /// `MSH-6`.
    pub receiving_facility: String,
    /// `MSH-10`, which the sender gives each message once.
    pub control_id: String,
    /// `MSH-11`.
    pub processing: String,
    /// `MSH-12`.
    pub version: String,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when it is no message, is longer than the limits allow, or has letters of a character
    /// set that is not read.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let whole = |what| ReadError::new(Place::MESSAGE, Code::Sequence, what);
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(whole("is longer than 1 MiB"));
        }
        let separators = separators(bytes)?;
        let charset = charset(bytes, separators)?;
        let text = match charset {
            Charset::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Charset::Utf8 => String::from_utf8(bytes.to_vec())
                .map_err(|_| whole("is not in UTF-8, and MSH-18 names no other character set"))?,
        };
        let mut message = Self { separators, charset, rows: Vec::new() };
        let lines = text.split(['\r', '\n']).filter(|line| !line.trim().is_empty());
        for (position, line) in lines.enumerate() {
            if position == SEGMENTS_MAX {
                return Err(whole("has more than 5,000 segments"));
            }
            let row = message.row(line, position + 1)?;
            message.rows.push(row);
        }
        Ok(message)
    }

    fn row(&self, line: &str, position: usize) -> Result<Row, ReadError> {
        let separators = &self.separators;
        let mut fields: Vec<String> = line.split(separators.field).map(str::to_owned).collect();
        let name = fields[0].trim_end().to_owned();
        let number = self.rows.iter().filter(|row| row.name == name).count() + 1;
        let place = Place::of_segment(&name, number, position);
        let refuse = |what| Err(ReadError::new(place, Code::Sequence, what));
        let is_name = name.len() == 3
            && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        if !is_name {
            return refuse("has no name of three letters");
        }
        if name == "MSH" {
            if position > 1 {
                return refuse("is not the first segment");
            }
            // The separator itself is the first field.
            fields.insert(1, separators.field.to_string());
        }
        if fields.len() > FIELDS_MAX + 1 {
            return refuse("has more than 256 fields");
        }
        if line.chars().any(|letter| letter.is_control() && letter != '\t') {
            return refuse("has control characters");
        }
        for (number, field) in fields.iter().enumerate().skip(if name == "MSH" { 3 } else { 1 }) {
            let repetitions = field.split(separators.repetition);
            let mut count = 0;
            for repetition in repetitions {
                count += 1;
                let components = repetition.split(separators.component).count();
                let subcomponents = repetition.split(separators.subcomponent).count();
                if count > REPETITIONS_MAX || components.max(subcomponents) > COMPONENTS_MAX {
                    let what = "has too many repetitions or components";
                    return Err(ReadError::new(place.field(number), Code::Type, what));
                }
            }
        }
        Ok(Row { name, fields, place })
    }

    /// All segments, in their order.
    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment<'_>> {
        self.rows.iter().map(|row| Segment { message: self, row })
    }

    /// The first segment, which is always there.
    pub(crate) fn head(&self) -> Segment<'_> {
        Segment { message: self, row: &self.rows[0] }
    }

    /// Who sent it, and which it is.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the header cannot be read, or the message has no control id: then it could be
    /// taken twice.
    pub fn header(&self) -> Result<Header, ReadError> {
        let header = self.header_as_far_as_known();
        let place = self.head().place();
        if header.control_id.is_empty() {
            return Err(ReadError::missing(place.field(10)));
        }
        if header.control_id.len() > CONTROL_ID_LEN_MAX {
            return Err(ReadError::new(place.field(10), Code::Type, "is too long"));
        }
        Ok(header)
    }

    /// The header for an answer, also to a message that is not taken.
    #[must_use]
    pub fn header_as_far_as_known(&self) -> Header {
        let head = self.head();
        let text = |number| head.field(number).text().unwrap_or_default();
        // An answer gives them back with the usual separators, and so goes where the message came from.
        let place = |number: usize| {
            let part = |at| escaped(&head.field(number).component(at).text().unwrap_or_default());
            [part(1), part(2), part(3)].join("^").trim_end_matches('^').to_owned()
        };
        Header {
            sending_application: place(3),
            sending_facility: place(4),
            receiving_application: place(5),
            receiving_facility: place(6),
            control_id: text(10),
            processing: text(11),
            version: text(12),
        }
    }

    /// Refuses what is no result message for production, of a version that is read.
    pub(crate) fn require_result(&self) -> Result<(), ReadError> {
        let head = self.head();
        let refuse = |field, code, what| Err(ReadError::new(head.place().field(field), code, what));
        if head.field(9).component(1).text()? != "ORU" {
            return refuse(9, Code::MessageType, "is not ORU, which is all that is taken here");
        }
        if head.field(9).component(2).text()? != "R01" {
            return refuse(9, Code::Event, "is not R01, which is all that is taken here");
        }
        let processing = head.field(11).component(1).text()?;
        if processing.is_empty() {
            return Err(ReadError::missing(head.place().field(11)));
        }
        if processing != "P" {
            return refuse(11, Code::Processing, "is not P: tests and training go elsewhere");
        }
        if !VERSIONS.contains(&head.field(12).component(1).text()?.as_str()) {
            return refuse(12, Code::Version, "is no version from 2.3 to 2.8.2");
        }
        Ok(())
    }

    /// A text with its escapes undone.
    fn unescape(&self, raw: &str, place: Place) -> Result<String, ReadError> {
        let fail = |what| ReadError::new(place, Code::Type, what);
        let escape = self.separators.escape;
        if raw == "\"\"" {
            return Ok(String::new());
        }
        let mut text = String::with_capacity(raw.len());
        let mut rest = raw;
        while let Some((before, after)) = rest.split_once(escape) {
            let (sequence, after) =
                after.split_once(escape).ok_or_else(|| fail("has an escape without an end"))?;
            text += before;
            match sequence {
                "F" => text.push(self.separators.field),
                "S" => text.push(self.separators.component),
                "T" => text.push(self.separators.subcomponent),
                "R" => text.push(self.separators.repetition),
                "E" => text.push(escape),
                // Highlighting, and what a site agreed on with itself.
                "H" | "N" => {}
                _ if sequence.starts_with('Z') => {}
                _ if sequence.starts_with('.') => text += &formatted(&sequence[1..]),
                _ if sequence.starts_with('X') => {
                    let decoded = self.hexadecimal(&sequence[1..]);
                    text += &decoded.ok_or_else(|| fail("has an escape that is no text"))?;
                }
                _ => return Err(fail("has an escape that is not read")),
            }
            rest = after;
        }
        Ok(text + rest)
    }

    /// The text whose bytes are written in hexadecimal; control characters are none.
    fn hexadecimal(&self, digits: &str) -> Option<String> {
        if digits.is_empty() || digits.len() % 2 == 1 || !digits.is_ascii() {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
        let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect::<Option<_>>()?;
        let text: String = match self.charset {
            Charset::Utf8 => String::from_utf8(bytes).ok()?,
            Charset::Latin1 => bytes.into_iter().map(char::from).collect(),
        };
        let is_text = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\r' | '\t');
        text.chars().all(is_text).then_some(text)
    }
}

/// The longest control id: HL7 has 20 letters up to version 2.6, and 199 from 2.7 on.
const CONTROL_ID_LEN_MAX: usize = 199;

/// What a formatting command stands for in a text.
fn formatted(command: &str) -> String {
    let count = |text: &str| text.trim().parse().unwrap_or(1).clamp(1, 20);
    match command.split_at_checked(2) {
        Some(("br" | "ce", _)) => "\n".into(),
        Some(("sp", lines)) => "\n".repeat(count(lines)),
        Some(("sk", spaces)) => " ".repeat(count(spaces)),
        _ => String::new(),
    }
}

fn separators(bytes: &[u8]) -> Result<Separators, ReadError> {
    let head = Place::missing("MSH");
    if !bytes.starts_with(b"MSH") {
        return Err(ReadError::new(Place::MESSAGE, Code::Sequence, "does not begin with MSH"));
    }
    let letter = |at: usize| bytes.get(at).copied().map(char::from);
    let read = || {
        let separators = Separators {
            field: letter(3)?,
            component: letter(4)?,
            repetition: letter(5)?,
            escape: letter(6)?,
            subcomponent: letter(7)?,
        };
        let Separators { field, component, repetition, escape, subcomponent } = separators;
        let all = [field, component, repetition, escape, subcomponent];
        let are_different = (1..all.len()).all(|at| !all[..at].contains(&all[at]));
        // Since version 2.7 there may be a sixth, for truncation.
        let end =
            letter(8).is_none_or(|end| end == field) || letter(9).is_none_or(|end| end == field);
        (all.iter().all(char::is_ascii_punctuation) && are_different && end).then_some(separators)
    };
    let what = "does not name five different separators";
    read().ok_or(ReadError::new(head.field(2), Code::Type, what))
}

fn charset(bytes: &[u8], separators: Separators) -> Result<Charset, ReadError> {
    let head = bytes.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    // `MSH-1` is the separator itself, so the fields between separators begin with `MSH-2`.
    let separator = |byte: &u8| char::from(*byte) == separators.field;
    let named = head.split(separator).nth(17).unwrap_or_default();
    // Others that follow are switched to by escapes, which are refused.
    let first = named.split(|byte| char::from(*byte) == separators.repetition).next();
    match first.unwrap_or_default().trim_ascii() {
        b"" | b"ASCII" | b"UNICODE UTF-8" => Ok(Charset::Utf8),
        b"8859/1" => Ok(Charset::Latin1),
        _ => {
            let place = Place::missing("MSH").field(18);
            let what = "names a character set other than ASCII, UNICODE UTF-8 and 8859/1";
            Err(ReadError::new(place, Code::Table, what))
        }
    }
}

/// A segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    message: &'a Message,
    row: &'a Row,
}

impl<'a> Segment<'a> {
    pub(crate) fn name(self) -> &'a str {
        &self.row.name
    }

    pub(crate) const fn place(self) -> Place {
        self.row.place
    }

    /// A field, all its repetitions together; empty when it is not there.
    pub(crate) fn field(self, number: usize) -> Field<'a> {
        let raw = self.row.fields.get(number).map_or("", String::as_str);
        Field { segment: self, number, raw }
    }
}

/// A field, or one repetition of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    segment: Segment<'a>,
    number: usize,
    raw: &'a str,
}

impl<'a> Field<'a> {
    pub(crate) const fn place(self) -> Place {
        self.segment.place().field(self.number)
    }

    /// Whether nothing stands there.
    pub(crate) fn is_empty(self) -> bool {
        let separators = &self.segment.message.separators;
        let between = [separators.component, separators.repetition, separators.subcomponent, ' '];
        self.raw == "\"\"" || self.raw.chars().all(|letter| between.contains(&letter))
    }

    /// Its repetitions, those that say nothing left out.
    pub(crate) fn repetitions(self) -> impl Iterator<Item = Self> {
        let repetition = self.segment.message.separators.repetition;
        self.raw
            .split(repetition)
            .map(move |raw| Self { raw, ..self })
            .filter(|one| !one.is_empty())
    }

    /// A component, of the first repetition when there are several.
    pub(crate) fn component(self, number: usize) -> Component<'a> {
        let separators = &self.segment.message.separators;
        let first = self.raw.split(separators.repetition).next().unwrap_or_default();
        let raw = first.split(separators.component).nth(number - 1).unwrap_or_default();
        let place = self.place().component(number);
        Component { message: self.segment.message, place, raw }
    }

    /// The first component.
    pub(crate) fn text(self) -> Result<String, ReadError> {
        self.component(1).text()
    }

    /// The whole of one repetition as a text: types of text have no components, and some senders do not
    /// escape the separators in them.
    pub(crate) fn whole_text(self) -> Result<String, ReadError> {
        self.segment.message.unescape(self.raw.trim_end(), self.place())
    }
}

/// A component of a field, with the subcomponents in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Component<'a> {
    message: &'a Message,
    place: Place,
    raw: &'a str,
}

impl Component<'_> {
    pub(crate) const fn place(self) -> Place {
        self.place
    }

    /// A subcomponent.
    pub(crate) fn subcomponent(self, number: usize) -> Result<String, ReadError> {
        let raw = self.raw.split(self.message.separators.subcomponent).nth(number - 1);
        Ok(self.message.unescape(raw.unwrap_or_default(), self.place)?.trim().to_owned())
    }

    /// The first subcomponent, without spaces around it.
    pub(crate) fn text(self) -> Result<String, ReadError> {
        self.subcomponent(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(rest: &str) -> Result<Message, ReadError> {
        Message::parse(format!("MSH|^~\\&|A|B|C|D|20261123||ORU^R01|1|P|2.5.1\r{rest}").as_bytes())
    }

    #[track_caller]
    fn check(field: &str, expected: &str) {
        let message = message(&format!("NTE|1||{field}")).unwrap();
        let segment = message.segments().nth(1).unwrap();
        assert_eq!(segment.field(3).whole_text().unwrap(), expected);
    }

    #[track_caller]
    fn refused(rest: &str, expected: &str) {
        let outcome = message(rest).and_then(|message| {
            let texts = message.segments().map(|segment| segment.field(3).whole_text().map(drop));
            texts.collect::<Result<Vec<()>, _>>()
        });
        assert_eq!(outcome.unwrap_err().to_string(), expected);
    }

    #[test]
    fn escapes_are_undone() {
        check("plain", "plain");
        check(r"a\F\b\S\c\T\d\R\e\E\f", r"a|b^c&d~e\f");
        check(r"one\.br\two\.sp2\three\.sk3\four\.in+4\", "one\ntwo\n\nthree   four");
        check(r"\H\bold\N\ \Zown\", "bold ");
        check(r"5 \XC2B5\g", "5 µg");
        check("größer", "größer");
        check("\"\"", "");
    }

    #[test]
    fn other_escapes_are_refused_without_quoting() {
        refused(r"NTE|1||planted \open", "NTE[1]-3 has an escape without an end");
        refused(r"NTE|1||a\C2842\b", "NTE[1]-3 has an escape that is not read");
        refused(r"NTE|1||a\XZZ\b", "NTE[1]-3 has an escape that is no text");
        refused(r"NTE|1||a\X00\b", "NTE[1]-3 has an escape that is no text");
        refused(r"NTE|1||a\XFF\b", "NTE[1]-3 has an escape that is no text");
    }

    #[test]
    fn separators_are_the_messages_own() {
        let text = "MSH*:;!%*A*B*C*D*20261123**ORU:R01*7*P*2.5.1\rNTE*1**a!F!b|c^d";
        let message = Message::parse(text.as_bytes()).unwrap();
        assert_eq!(message.header().unwrap().control_id, "7");
        let note = message.segments().nth(1).unwrap();
        assert_eq!(note.field(3).whole_text().unwrap(), "a*b|c^d");
        assert_eq!(message.require_result(), Ok(()));
    }

    #[test]
    fn parts_are_found_by_number() {
        let message = message("PID|||a^b^c&d~e^f\nZZZ|own").unwrap();
        let field = message.segments().nth(1).unwrap().field(3);
        assert_eq!(field.component(2).text().unwrap(), "b");
        assert_eq!(field.component(3).subcomponent(2).unwrap(), "d");
        let second = field.repetitions().nth(1).unwrap();
        assert_eq!(second.component(2).text().unwrap(), "f");
        assert!(message.head().field(40).is_empty());
        assert_eq!(message.head().field(1).raw, "|");
        assert_eq!(message.head().field(2).raw, "^~\\&");
    }

    #[test]
    fn character_sets_are_those_that_are_named() {
        let of = |set: &str, note: &[u8]| {
            let head = format!("MSH|^~\\&|A|B|C|D|1||ORU^R01|1|P|2.5.1||||||{set}\rNTE|1||");
            let message = Message::parse(&[head.as_bytes(), note].concat())?;
            message.segments().nth(1).unwrap().field(3).whole_text()
        };
        assert_eq!(of("8859/1", b"\xb5g").unwrap(), "µg");
        assert_eq!(of("UNICODE UTF-8", "µg".as_bytes()).unwrap(), "µg");
        assert!(of("", b"\xb5g").unwrap_err().to_string().contains("UTF-8"));
        assert_eq!(of("KANJI", b"").unwrap_err().place, Place::missing("MSH").field(18));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        refused("planted|x", "segment[2] has no name of three letters");
        refused("MSH|^~\\&|A", "MSH[2] is not the first segment");
        refused("NTE|1||\u{7}", "NTE[1] has control characters");
        refused(&format!("NTE{}", "|".repeat(300)), "NTE[1] has more than 256 fields");
        let many = "~".repeat(REPETITIONS_MAX);
        refused(&format!("NTE|1||{many}"), "NTE[1]-3 has too many repetitions or components");
        refused(&"NTE|1\r".repeat(SEGMENTS_MAX), "the message has more than 5,000 segments");
        for head in ["MSH", "MSH|", "MSH|^^\\&|", "MSHabcde|", "MSH|^~\\&planted|"] {
            assert!(Message::parse(head.as_bytes()).is_err(), "{head}");
        }
    }

    #[test]
    fn only_results_for_production_are_taken() {
        let of = |kind: &str, processing: &str, version: &str| {
            let text = format!("MSH|^~\\&|A|B|C|D|1||{kind}|1|{processing}|{version}");
            Message::parse(text.as_bytes()).unwrap().require_result().map_err(|error| error.code)
        };
        assert_eq!(of("ORU^R01^ORU_R01", "P", "2.3"), Ok(()));
        assert_eq!(of("ORU^R01", "P^T", "2.8.2^DEU"), Ok(()));
        assert_eq!(of("ADT^A01", "P", "2.5"), Err(Code::MessageType));
        assert_eq!(of("ORU^R30", "P", "2.5"), Err(Code::Event));
        assert_eq!(of("ORU^R01", "T", "2.5"), Err(Code::Processing));
        assert_eq!(of("ORU^R01", "", "2.5"), Err(Code::Missing));
        assert_eq!(of("ORU^R01", "P", "2.2"), Err(Code::Version));
        assert_eq!(of("ORU^R01", "P", "3.0"), Err(Code::Version));
    }
}
