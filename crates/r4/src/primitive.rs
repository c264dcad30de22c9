//! Primitives: which JSON they are, and how they are written.
//!
//! The forms are those of R4's regular expressions, made stricter where the text of R4 is: days must
//! exist, Base64 must be padded at its end, and strings have no control characters.

use serde_json::Value;

use crate::{
    moment::{Moment, Precision, is_time},
    narrative::{self, NarrativeFault},
};

/// The longest string that R4 allows, in characters.
const STRING_LENGTH_MAX: usize = 1024 * 1024;

/// The primitive types of R4.
///
/// # Source
///
/// [FHIR R4, primitive types](https://hl7.org/fhir/R4/datatypes.html#primitive).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Primitive {
    Base64Binary,
    Boolean,
    Canonical,
    Code,
    Date,
    DateTime,
    Decimal,
    Id,
    Instant,
    Integer,
    Markdown,
    Oid,
    PositiveInt,
    String,
    Time,
    UnsignedInt,
    Uri,
    Url,
    Uuid,
    Xhtml,
}

/// What is wrong with a primitive.
pub(crate) enum PrimitiveFault {
    /// It should be this JSON.
    Json(&'static str),
    /// It is not written as the type asks.
    Form,
    /// It breaks a rule for narratives.
    Narrative(NarrativeFault),
}

const NAMES: &[(&str, Primitive)] = &[
    ("base64Binary", Primitive::Base64Binary),
    ("boolean", Primitive::Boolean),
    ("canonical", Primitive::Canonical),
    ("code", Primitive::Code),
    ("date", Primitive::Date),
    ("dateTime", Primitive::DateTime),
    ("decimal", Primitive::Decimal),
    ("id", Primitive::Id),
    ("instant", Primitive::Instant),
    ("integer", Primitive::Integer),
    ("markdown", Primitive::Markdown),
    ("oid", Primitive::Oid),
    ("positiveInt", Primitive::PositiveInt),
    ("string", Primitive::String),
    ("time", Primitive::Time),
    ("unsignedInt", Primitive::UnsignedInt),
    ("uri", Primitive::Uri),
    ("url", Primitive::Url),
    ("uuid", Primitive::Uuid),
    ("xhtml", Primitive::Xhtml),
];

impl Primitive {
    /// The primitive of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, primitive)| *primitive)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, primitive)| *primitive == self).map_or("", |(name, _)| name)
    }

    /// Holds a value against the type.
    pub(crate) fn check(self, value: &Value) -> Result<(), PrimitiveFault> {
        let integer = |min: i64| match value {
            Value::Number(number) => {
                let number = number.as_i64().ok_or(PrimitiveFault::Form)?;
                form((min..=i64::from(i32::MAX)).contains(&number))
            }
            _ => Err(PrimitiveFault::Json("a number")),
        };
        match self {
            Self::Boolean if !value.is_boolean() => Err(PrimitiveFault::Json("true or false")),
            Self::Decimal if !value.is_number() => Err(PrimitiveFault::Json("a number")),
            Self::Boolean | Self::Decimal => Ok(()),
            Self::Integer => integer(i64::from(i32::MIN)),
            Self::UnsignedInt => integer(0),
            Self::PositiveInt => integer(1),
            _ => match value {
                Value::String(text) => self.check_text(text),
                _ => Err(PrimitiveFault::Json("a string")),
            },
        }
    }

    fn check_text(self, text: &str) -> Result<(), PrimitiveFault> {
        let has_precision = |precisions: &[Precision]| {
            Moment::parse(text).is_some_and(|moment| precisions.contains(&moment.precision))
        };
        form(match self {
            Self::Base64Binary => is_base64(text),
            Self::Canonical | Self::Uri | Self::Url => is_uri(text),
            Self::Code => is_code(text),
            Self::Date => has_precision(&[Precision::Year, Precision::Month, Precision::Day]),
            Self::DateTime => Moment::parse(text).is_some(),
            Self::Instant => has_precision(&[Precision::Time]),
            Self::Id => is_id(text),
            Self::Oid => is_oid(text),
            Self::Time => is_time(text),
            Self::Uuid => is_uuid(text),
            Self::Xhtml => return narrative::check(text).map_err(PrimitiveFault::Narrative),
            _ => is_string(text),
        })
    }
}

fn form(is_right: bool) -> Result<(), PrimitiveFault> {
    if is_right { Ok(()) } else { Err(PrimitiveFault::Form) }
}

/// `[A-Za-z0-9\-\.]{1,64}`
pub(crate) fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// Not empty, not too long, and of control characters only tabs and ends of lines.
fn is_string(text: &str) -> bool {
    let is_short = text.len() <= STRING_LENGTH_MAX || text.chars().count() <= STRING_LENGTH_MAX;
    let is_plain = |byte: u8| byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n');
    !text.is_empty() && is_short && text.bytes().all(is_plain)
}

/// `\S*`, and not empty, for no value in JSON is.
fn is_uri(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

/// `[^\s]+(\s[^\s]+)*`: no blanks at the ends, and never two.
fn is_code(text: &str) -> bool {
    is_string(text) && text.split(char::is_whitespace).all(|word| !word.is_empty())
}

/// `urn:oid:[0-2](\.(0|[1-9][0-9]*))+`
fn is_oid(text: &str) -> bool {
    let is_number = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part == "0" || !part.starts_with('0'))
    };
    text.strip_prefix("urn:oid:")
        .and_then(|oid| oid.split_once('.'))
        .is_some_and(|(arc, rest)| matches!(arc, "0" | "1" | "2") && rest.split('.').all(is_number))
}

/// `urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
fn is_uuid(text: &str) -> bool {
    let is_group = |(group, length): (&str, usize)| {
        group.len() == length && group.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    text.strip_prefix("urn:uuid:").is_some_and(|uuid| {
        uuid.split('-').count() == 5 && uuid.split('-').zip([8, 4, 4, 4, 12]).all(is_group)
    })
}

/// `(\s*([0-9a-zA-Z\+/=]){4}\s*)+`, with padding at the end only.
fn is_base64(text: &str) -> bool {
    let mut digits = 0_usize;
    let mut padding = 0_usize;
    for byte in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        match byte {
            b'=' => padding += 1,
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'/' if padding == 0 => digits += 1,
            _ => return false,
        }
    }
    digits > 0 && padding <= 2 && (digits + padding).is_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(name: &str, right: &[Value], wrong: &[Value]) {
        let primitive = Primitive::named(name).unwrap();
        assert_eq!(primitive.name(), name);
        for value in right {
            assert!(primitive.check(value).is_ok(), "{name} {value}");
        }
        for value in wrong {
            assert!(primitive.check(value).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn primitives_are_told_from_others() {
        check("boolean", &[json!(true)], &[json!("true"), json!(1)]);
        check(
            "integer",
            &[json!(-5), json!(0)],
            &[json!(1.5), json!("1"), json!(2_147_483_648_i64)],
        );
        check("unsignedInt", &[json!(0), json!(i32::MAX)], &[json!(-1)]);
        check("positiveInt", &[json!(1)], &[json!(0), json!(1.0)]);
        check("decimal", &[json!(1), json!(1.5), json!(-1e-9)], &[json!("1.5"), json!({})]);
        check("string", &[json!("a\n\tb"), json!(" "), json!("ß")], &[json!(""), json!("a\u{0}")]);
        check("markdown", &[json!("# a")], &[json!("")]);
        check(
            "code",
            &[json!("a"), json!("a b")],
            &[json!(" a"), json!("a  b"), json!(""), json!("a ")],
        );
        check("uri", &[json!("urn:x:y"), json!("#a")], &[json!("a b"), json!("")]);
        check("url", &[json!("http://a")], &[json!("http://a b")]);
        check("canonical", &[json!("http://a|1")], &[json!("")]);
        check(
            "id",
            &[json!("a-1.B")],
            &[json!(""), json!("a_b"), json!("é"), json!("a".repeat(65))],
        );
        check(
            "date",
            &[json!("2020-02-29")],
            &[json!("2020-02-30"), json!("2020-01-01T00:00:00Z")],
        );
        check(
            "dateTime",
            &[json!("2020"), json!("2020-01-01T00:00:00Z")],
            &[json!("2020-01-01T00:00Z")],
        );
        check("instant", &[json!("2020-01-01T00:00:00.1Z")], &[json!("2020-01-01")]);
        check(
            "time",
            &[json!("10:00:00")],
            &[json!("10:00"), json!("24:00:00"), json!("10:00:00Z")],
        );
        check(
            "oid",
            &[json!("urn:oid:1.2.0")],
            &[json!("1.2"), json!("urn:oid:3.1"), json!("urn:oid:1.02")],
        );
        check(
            "uuid",
            &[json!("urn:uuid:c757873d-ec9a-4326-a141-556f43239520")],
            &[
                json!("c757873d-ec9a-4326-a141-556f43239520"),
                json!("urn:uuid:C757873D-EC9A-4326-A141-556F43239520"),
            ],
        );
        check(
            "base64Binary",
            &[json!("YQ=="), json!("YWJj\nYWJj")],
            &[json!("YQ"), json!("Y==="), json!("YQ==YQ=="), json!("ab*d"), json!("")],
        );
    }
}
