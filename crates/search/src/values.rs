//! What a resource can be found by.

use serde_json::Value;

use crate::dates::Span;
use crate::numbers;
use crate::parameters::{Parameter, ParameterKind, parameters};

/// One value of a search parameter in a resource.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IndexValue<'v> {
    /// A code or an identifier.
    Token {
        /// Where it comes from.
        system: Option<&'v str>,
        /// The code itself.
        code: Option<&'v str>,
        /// What people call it.
        text: Option<&'v str>,
        /// Whether it is of a primitive type: its element then says the system, and nothing else does.
        is_plain: bool,
    },
    /// A reference, or a canonical address.
    Reference {
        /// The address.
        address: Option<&'v str>,
        /// The type that it says it leads to.
        resource_type: Option<&'v str>,
        /// The system and the value of the identifier that it has instead of an address, or beside it.
        identifier: Option<(Option<&'v str>, Option<&'v str>)>,
    },
    /// A text.
    String {
        /// As it stands there.
        text: &'v str,
        /// Whether it is a part of a name or of an address, which is found by each of its words.
        is_part: bool,
    },
    /// A date or a period.
    Date {
        /// Its first millisecond since 1970.
        first_ms: i64,
        /// Its last one.
        last_ms: i64,
    },
    /// A number, with its unit if it has one.
    Number {
        /// The least that it may be.
        low: f64,
        /// The greatest.
        high: f64,
        /// The unit's system.
        system: Option<&'v str>,
        /// The unit's code.
        code: Option<&'v str>,
        /// The unit as people write it.
        unit: Option<&'v str>,
    },
    /// An address.
    Uri(&'v str),
    /// Something is there, of which no search but one for `:missing` takes notice.
    Present,
}

/// All that a resource can be found by. None when its type cannot be searched.
///
/// Addresses of resources are compared as they stand. Whoever keeps resources that refer to others
/// beside them by absolute addresses makes those relative first.
#[must_use]
pub fn extract<'v>(
    resource_type: &str,
    resource: &'v Value,
) -> Vec<(&'static Parameter, IndexValue<'v>)> {
    let mut found = Vec::new();
    for parameter in parameters(resource_type) {
        parameter.visit(resource, &mut |value| found.push((parameter, value)));
    }
    found
}

impl Parameter {
    /// The values of this parameter in a resource.
    #[must_use]
    pub fn values<'v>(&self, resource: &'v Value) -> Vec<IndexValue<'v>> {
        let mut found = Vec::new();
        self.visit(resource, &mut |value| found.push(value));
        found
    }

    pub(crate) fn visit<'v>(&self, resource: &'v Value, visit: &mut impl FnMut(IndexValue<'v>)) {
        for path in self.paths() {
            path.visit(resource, &mut |value| match self.kind() {
                ParameterKind::Token => token(value, visit),
                ParameterKind::Reference => visit(reference(value)),
                ParameterKind::String => string(value, visit),
                ParameterKind::Date => visit(date(value)),
                ParameterKind::Number | ParameterKind::Quantity => visit(number(value)),
                ParameterKind::Uri => {
                    visit(value.as_str().map_or(IndexValue::Present, IndexValue::Uri))
                }
            });
        }
    }
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

/// # Source
///
/// [FHIR R4, 3.1.1.4.10](https://hl7.org/fhir/R4/search.html#token), the table of types.
fn token<'v>(value: &'v Value, visit: &mut impl FnMut(IndexValue<'v>)) {
    let plain =
        |code| IndexValue::Token { system: None, code: Some(code), text: None, is_plain: true };
    match value {
        Value::String(code) => visit(plain(code)),
        Value::Bool(true) => visit(plain("true")),
        Value::Bool(false) => visit(plain("false")),
        Value::Object(fields) if fields.contains_key("coding") => {
            fields["coding"]
                .as_array()
                .into_iter()
                .flatten()
                .for_each(|coding| visit(coded(coding)));
            if let Some(text) = text(value, "text") {
                visit(named(text));
            }
        }
        Value::Object(fields) if fields.contains_key("text") => {
            visit(text(value, "text").map_or(IndexValue::Present, named));
        }
        Value::Object(_) => visit(coded(value)),
        _ => visit(IndexValue::Present),
    }
}

/// A coding, an identifier or a contact point.
fn coded(value: &Value) -> IndexValue<'_> {
    let identifier_type = || text(value.get("type")?, "text");
    IndexValue::Token {
        system: text(value, "system"),
        code: text(value, "code").or_else(|| text(value, "value")),
        text: text(value, "display").or_else(identifier_type),
        is_plain: false,
    }
}

/// A concept that is only described.
fn named(text: &str) -> IndexValue<'_> {
    IndexValue::Token { system: None, code: None, text: Some(text), is_plain: false }
}

fn reference(value: &Value) -> IndexValue<'_> {
    if let Value::String(address) = value {
        return IndexValue::Reference {
            address: Some(address),
            resource_type: None,
            identifier: None,
        };
    }
    let identifier = value.get("identifier");
    IndexValue::Reference {
        address: text(value, "reference"),
        resource_type: text(value, "type"),
        identifier: identifier.map(|found| (text(found, "system"), text(found, "value"))),
    }
}

/// What is searched of names and addresses.
///
/// # Source
///
/// [FHIR R4, 3.1.1.4.8](https://hl7.org/fhir/R4/search.html#string)
const PARTS: [&str; 11] = [
    "text",
    "family",
    "given",
    "prefix",
    "suffix",
    "line",
    "city",
    "district",
    "state",
    "country",
    "postalCode",
];

fn string<'v>(value: &'v Value, visit: &mut impl FnMut(IndexValue<'v>)) {
    match value {
        Value::String(text) => visit(IndexValue::String { text, is_part: false }),
        Value::Object(fields) => {
            let parts = PARTS.iter().filter_map(|name| fields.get(*name));
            for part in parts {
                let items = part.as_array().map_or(std::slice::from_ref(part), Vec::as_slice);
                for text in items.iter().filter_map(Value::as_str) {
                    visit(IndexValue::String { text, is_part: true });
                }
            }
            visit(IndexValue::Present);
        }
        _ => visit(IndexValue::Present),
    }
}

fn date(value: &Value) -> IndexValue<'_> {
    Span::of(value).map_or(IndexValue::Present, |span| IndexValue::Date {
        first_ms: span.first,
        last_ms: span.last,
    })
}

fn number(value: &Value) -> IndexValue<'_> {
    let Some((low, high)) = numbers::limits(value) else { return IndexValue::Present };
    // A range has its unit at its ends, sampled data at their origin.
    let of_unit =
        ["low", "high", "origin"].into_iter().find_map(|name| value.get(name)).unwrap_or(value);
    let code = text(of_unit, "code").or_else(|| text(of_unit, "currency"));
    IndexValue::Number {
        low,
        high,
        system: text(of_unit, "system"),
        code,
        unit: text(of_unit, "unit"),
    }
}
