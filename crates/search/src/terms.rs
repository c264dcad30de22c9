//! One alternative of a search parameter: how it is written, and which values it is met by.

use std::collections::BTreeSet;

use crate::dates::Span;
use crate::error::{ParameterName, SearchError};
use crate::numbers::{Decimal, ordered};
use crate::parameters::{Parameter, ParameterKind};
use crate::path::{type_in_address, without_version};
use crate::text::{normalised, split, starts_with, unescaped};
use crate::values::IndexValue;

/// What is looked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Term {
    Token(TokenTerm),
    TokenText(String),
    Reference(ReferenceTerm),
    ReferenceIdentifier(TokenTerm),
    String { how: StringMatch, text: String },
    Uri { how: UriMatch, uri: String },
    Date(RangeTerm),
    Number { range: RangeTerm, unit: Option<UnitTerm> },
}

/// `system|code` and what may be left out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenTerm {
    pub(crate) system: SystemTerm,
    /// In lower case.
    pub(crate) code: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SystemTerm {
    Any,
    None,
    Is(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReferenceTerm {
    /// `1`, at this server.
    Id(String),
    /// `Patient/1`, `https://example.org/fhir/Patient/1`, `urn:uuid:…` or a canonical address.
    Address(String),
    /// `Patient/1` from a linked search, one of many.
    OneOf(BTreeSet<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StringMatch {
    Start,
    Contains,
    Exact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UriMatch {
    Exact,
    Below,
    Above,
}

/// `|system|code` after a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnitTerm {
    system: Option<String>,
    code: Option<String>,
}

/// How what was found stands to what was searched for.
///
/// # Source
///
/// [FHIR R4, 3.1.1.4.5](https://hl7.org/fhir/R4/search.html#prefix)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefix {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    StartsAfter,
    EndsBefore,
    Approximately,
}

/// A comparison with a range of integers: milliseconds, or [`ordered`] numbers. Both ends belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RangeTerm {
    pub(crate) prefix: Prefix,
    pub(crate) low: i64,
    pub(crate) high: i64,
}

/// What a modifier makes of a term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Modifier {
    None,
    Text,
    Exact,
    Contains,
    Identifier,
    To(&'static str),
    Below,
    Above,
}

impl Prefix {
    fn split(text: &str) -> (Self, &str) {
        let prefixes = [
            ("eq", Self::Equal),
            ("ne", Self::NotEqual),
            ("gt", Self::Greater),
            ("lt", Self::Less),
            ("ge", Self::GreaterOrEqual),
            ("le", Self::LessOrEqual),
            ("sa", Self::StartsAfter),
            ("eb", Self::EndsBefore),
            ("ap", Self::Approximately),
        ];
        let found =
            prefixes.iter().find_map(|(name, prefix)| Some((*prefix, text.strip_prefix(name)?)));
        found.unwrap_or((Self::Equal, text))
    }
}

impl RangeTerm {
    /// Parses a date with its prefix.
    pub(crate) fn parse_date(text: &str) -> Option<Self> {
        let (prefix, date) = Prefix::split(text);
        let span = Span::parse(date)?;
        // The standard's advice for "approximately" depends on today; a search that gives something
        // else each day is of little use.
        let span = if prefix == Prefix::Approximately { span.widened() } else { span };
        Some(Self { prefix, low: span.first, high: span.last })
    }

    /// Whether whatever is later than what is looked for is looked for, too.
    pub(crate) const fn goes_up(self) -> bool {
        matches!(self.prefix, Prefix::Greater | Prefix::GreaterOrEqual | Prefix::StartsAfter)
    }

    fn parse_number(text: &str) -> Option<Self> {
        let (prefix, number) = Prefix::split(text);
        let number = Decimal::parse(number)?;
        let (low, high) = match prefix {
            Prefix::Equal | Prefix::NotEqual => number.equal(),
            Prefix::Approximately => number.about(),
            // Comparisons take a number as exactly what it says.
            _ => (ordered(number.value), ordered(number.value)),
        };
        Some(Self { prefix, low, high })
    }

    /// Whether a value with these ends is what is looked for.
    pub(crate) const fn holds(self, low: i64, high: i64) -> bool {
        let is_within = self.low <= low && high <= self.high;
        match self.prefix {
            Prefix::Equal => is_within,
            Prefix::NotEqual => !is_within,
            Prefix::Greater => high > self.high,
            Prefix::Less => low < self.low,
            // The standard wants it to reach beyond, or to lie within. A period that ends within what
            // was searched for would be neither, and nobody expects that.
            Prefix::GreaterOrEqual => high >= self.low,
            Prefix::LessOrEqual => low <= self.high,
            Prefix::StartsAfter => low > self.high,
            Prefix::EndsBefore => high < self.low,
            Prefix::Approximately => low <= self.high && high >= self.low,
        }
    }
}

impl Term {
    /// Parses one alternative. `parameter` must take `modifier`.
    pub(crate) fn parse(
        parameter: &'static Parameter,
        modifier: Modifier,
        part: &str,
    ) -> Result<Self, SearchError> {
        let wants = |expected| SearchError::BadValue {
            parameter: ParameterName::of(parameter.name()),
            expected,
        };
        let text = unescaped(part);
        let term = match (parameter.kind(), modifier) {
            (ParameterKind::Token, Modifier::Text) => Self::TokenText(normalised(&text)),
            (ParameterKind::Token, _) => {
                Self::Token(TokenTerm::parse(part).ok_or_else(|| wants("`code` or `system|code`"))?)
            }
            (ParameterKind::Reference, Modifier::Identifier) => Self::ReferenceIdentifier(
                TokenTerm::parse(part).ok_or_else(|| wants("`value` or `system|value`"))?,
            ),
            (ParameterKind::Reference, _) => Self::Reference(ReferenceTerm::new(text, modifier)),
            (ParameterKind::String, Modifier::Exact) => {
                Self::String { how: StringMatch::Exact, text }
            }
            (ParameterKind::String, Modifier::Contains) => {
                Self::String { how: StringMatch::Contains, text: normalised(&text) }
            }
            (ParameterKind::String, _) => {
                Self::String { how: StringMatch::Start, text: normalised(&text) }
            }
            (ParameterKind::Uri, Modifier::Below) => Self::Uri { how: UriMatch::Below, uri: text },
            (ParameterKind::Uri, Modifier::Above) => Self::Uri { how: UriMatch::Above, uri: text },
            (ParameterKind::Uri, _) => Self::Uri { how: UriMatch::Exact, uri: text },
            (ParameterKind::Date, _) => {
                let range = RangeTerm::parse_date(&text);
                Self::Date(range.ok_or_else(|| wants("a date such as `ge2024-02-29`"))?)
            }
            (ParameterKind::Number, _) => {
                let range = RangeTerm::parse_number(&text);
                Self::Number {
                    range: range.ok_or_else(|| wants("a number such as `lt0.5`"))?,
                    unit: None,
                }
            }
            (ParameterKind::Quantity, _) => {
                let wanted = "a quantity such as `5.4|http://unitsofmeasure.org|mg`";
                let mut parts = split(part, '|').map(unescaped);
                let range = parts.next().and_then(|number| RangeTerm::parse_number(&number));
                let unit = match (parts.next(), parts.next(), parts.next()) {
                    (None, ..) => None,
                    (Some(system), Some(code), None) => {
                        let given = |text: String| if text.is_empty() { None } else { Some(text) };
                        Some(UnitTerm { system: given(system), code: given(code) })
                    }
                    _ => return Err(wants(wanted)),
                };
                Self::Number { range: range.ok_or_else(|| wants(wanted))?, unit }
            }
        };
        Ok(term)
    }

    /// Whether a value is what is looked for.
    pub(crate) fn matches(&self, value: &IndexValue<'_>) -> bool {
        match (self, value) {
            (Self::Token(term), &IndexValue::Token { system, code, is_plain, .. }) => {
                term.matches(system, code, is_plain)
            }
            (Self::TokenText(text), IndexValue::Token { text: Some(found), .. }) => {
                normalised(found).starts_with(text)
            }
            (Self::Reference(term), IndexValue::Reference { address: Some(address), .. }) => {
                term.matches(address)
            }
            (
                Self::ReferenceIdentifier(term),
                &IndexValue::Reference { identifier: Some((system, value)), .. },
            ) => term.matches(system, value, false),
            (Self::String { how, text }, &IndexValue::String { text: found, is_part }) => match how
            {
                StringMatch::Start => starts_with(&normalised(found), text, is_part),
                StringMatch::Contains => normalised(found).contains(text),
                StringMatch::Exact => found == text,
            },
            (Self::Uri { how, uri }, &IndexValue::Uri(found)) => match how {
                UriMatch::Exact => found == uri || without_version(found) == uri,
                UriMatch::Below => is_below(found, uri),
                UriMatch::Above => is_below(uri, found),
            },
            (Self::Date(range), &IndexValue::Date { first_ms, last_ms }) => {
                range.holds(first_ms, last_ms)
            }
            (
                Self::Number { range, unit },
                &IndexValue::Number { low, high, system, code, unit: written },
            ) => {
                range.holds(ordered(low), ordered(high))
                    && unit.as_ref().is_none_or(|unit| unit.matches(system, code, written))
            }
            _ => false,
        }
    }
}

/// Whether an address is another one, or continues it with a further segment.
fn is_below(address: &str, base: &str) -> bool {
    address
        .strip_prefix(base)
        .is_some_and(|rest| rest.is_empty() || base.ends_with('/') || rest.starts_with('/'))
}

impl TokenTerm {
    /// Parses `code`, `system|code`, `|code` or `system|`.
    fn parse(part: &str) -> Option<Self> {
        let mut parts = split(part, '|').map(unescaped);
        let code = |text: String| if text.is_empty() { None } else { Some(text.to_lowercase()) };
        let term = match (parts.next()?, parts.next()) {
            (text, None) => Self { system: SystemTerm::Any, code: code(text) },
            (system, Some(text)) => {
                let is_none = system.is_empty();
                let system = if is_none { SystemTerm::None } else { SystemTerm::Is(system) };
                Self { system, code: code(text) }
            }
        };
        let says_nothing = term.code.is_none() && !matches!(term.system, SystemTerm::Is(_));
        (parts.next().is_none() && !says_nothing).then_some(term)
    }

    /// Codes are compared without case. Many systems have two codes that differ by case only; the
    /// standard advises to give out too much rather than too little.
    ///
    /// # Source
    ///
    /// [FHIR R4, 3.1.1.4.10](https://hl7.org/fhir/R4/search.html#token)
    fn matches(&self, system: Option<&str>, code: Option<&str>, is_plain: bool) -> bool {
        let is_system = match &self.system {
            SystemTerm::Any => true,
            SystemTerm::None => system.is_none(),
            // Whoever names the system of a code that has it by its element means that one.
            SystemTerm::Is(searched) => is_plain || system == Some(searched),
        };
        let is_code = match &self.code {
            None => !is_plain,
            Some(searched) => code.is_some_and(|code| code.to_lowercase() == *searched),
        };
        is_system && is_code
    }
}

impl ReferenceTerm {
    fn new(text: String, modifier: Modifier) -> Self {
        let is_id =
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
        match modifier {
            Modifier::To(resource_type) if is_id => {
                Self::Address(format!("{resource_type}/{text}"))
            }
            // `subject:Patient=Group/1` is met by nothing.
            Modifier::To(resource_type)
                if type_in_address(&text).is_some_and(|found| found != resource_type) =>
            {
                Self::OneOf(BTreeSet::new())
            }
            _ if is_id => Self::Id(text),
            _ => Self::Address(text),
        }
    }

    fn matches(&self, address: &str) -> bool {
        let found = without_version(address);
        match self {
            // A reference to a resource here has two segments, the first of which is its type.
            Self::Id(id) => found.rsplit_once('/').is_some_and(|(before, last)| {
                last == id && !before.contains('/') && type_in_address(found).is_some()
            }),
            Self::Address(searched) => {
                // A canonical address with a version wants that one; a version of a resource is not
                // searched for.
                if searched.contains('|') {
                    address == searched
                } else {
                    found == without_version(searched)
                }
            }
            Self::OneOf(searched) => searched.contains(found),
        }
    }
}

impl UnitTerm {
    fn matches(&self, system: Option<&str>, code: Option<&str>, written: Option<&str>) -> bool {
        let is_system = self.system.as_deref().is_none_or(|searched| system == Some(searched));
        let is_code = self.code.as_deref().is_none_or(|searched| {
            // Without a system, what people write counts too.
            code == Some(searched) || (self.system.is_none() && written == Some(searched))
        });
        is_system && is_code
    }
}
