//! JSON whose decimals are written as they came: `5.10` says more than `5.1`, and FHIR keeps that apart.
//!
//! # Source
//!
//! [FHIR R4, decimal](https://hl7.org/fhir/R4/datatypes.html#decimal).

use serde_json::{Value, json};

/// The key of what stands for a decimal until everything is written. No element of FHIR is called so.
const DECIMAL: &str = "$decimal";

/// The most digits of a number.
const DIGITS_MAX: usize = 40;

/// A number as HL7 v2 writes it, to be written by [`to_text`]; `None` when it is none.
pub(crate) fn decimal(text: &str) -> Option<Value> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = !(whole.is_empty() && part.is_empty())
        && are_digits(whole)
        && are_digits(part)
        && digits.len() <= DIGITS_MAX;
    if !is_number {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if part.is_empty() { "" } else { "." };
    Some(json!({ DECIMAL: format!("{sign}{whole}{point}{part}") }))
}

/// Whether one of two decimals is greater than the other; their last digits beyond 15 do not count.
pub(crate) fn is_greater(one: &Value, other: &Value) -> bool {
    let number = |value: &Value| value[DECIMAL].as_str().and_then(|text| text.parse::<f64>().ok());
    matches!((number(one), number(other)), (Some(one), Some(other)) if one > other)
}

/// A value as text.
pub(crate) fn to_text(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    text
}

/// How deep values stand in each other is up to this crate alone, so this may call itself.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) if object.len() == 1 && object.contains_key(DECIMAL) => {
            *text += object[DECIMAL].as_str().expect("a decimal is kept as a text");
        }
        Value::Object(object) => {
            text.push('{');
            // The same in every build, whether maps keep an order or not.
            let mut elements: Vec<_> = object.iter().collect();
            elements.sort_by_key(|(name, _)| (*name != "resourceType", name.as_str()));
            for (number, (name, value)) in elements.into_iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                *text += &Value::from(name.as_str()).to_string();
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (number, item) in items.iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        other => *text += &other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(decimal(text).map(|value| to_text(&value)).as_deref(), expected, "{text}");
    }

    #[test]
    fn decimals_keep_their_digits() {
        check("5.10", Some("5.10"));
        check("+07", Some("7"));
        check("-0.50", Some("-0.50"));
        check(".5", Some("0.5"));
        check("5.", Some("5"));
        check("000", Some("0"));
    }

    #[test]
    fn other_texts_are_no_decimals() {
        for text in ["", "-", ".", "1e5", "1,5", "5 ", "--1", "NaN", "٣", &"9".repeat(41)] {
            check(text, None);
        }
    }

    #[test]
    fn the_rest_is_plain_json() {
        let value = json!({ "a": [true, "q\"", null], "b": { "value": decimal("1.0") } });
        let text = to_text(&value);
        assert_eq!(text, r#"{"a":[true,"q\"",null],"b":{"value":1.0}}"#);
    }
}
