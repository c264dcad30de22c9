//! JSON Patch on resources, with every decimal as it was written.
//!
//! `json-patch` works on values, and a value forgets that 1.10 had two places. So numbers travel through
//! it as marked strings and come out as the text that they were.
//!
//! # Source
//!
//! RFC 6902; FHIR R4, section 3.1.0.5.

use serde_json::{Value, value::RawValue};

use crate::{json::RawObject, outcome::FhirError};

/// What marks a number: no JSON string of a resource may contain it, because FHIR forbids control
/// characters.
const MARK: char = '\u{1}';

/// How deep arrays and objects may stand in each other.
const DEPTH_MAX: usize = 100;

/// How long a resource may become, in bytes: each copy may double it.
const PATCHED_BYTES_MAX: usize = 64 << 20;

/// The most operations in one patch.
const OPERATIONS_MAX: usize = 1_000;

/// Applies a patch to a resource.
///
/// # Errors
///
/// 400 when it is no patch, 422 when it does not apply.
pub(crate) fn apply(resource: &RawObject, patch: &[u8]) -> Result<RawObject, FhirError> {
    let no_patch = || FhirError::bad_request("the body is no JSON Patch (RFC 6902)");
    let text = std::str::from_utf8(patch).map_err(|_| no_patch())?;
    let marked = mark(text, DEPTH_MAX).ok_or_else(no_patch)?;
    let patch: json_patch::Patch = serde_json::from_value(marked).map_err(|_| no_patch())?;
    if patch.len() > OPERATIONS_MAX {
        let text = format!("a patch has at most {OPERATIONS_MAX} operations");
        return Err(FhirError::unprocessable("too-costly", text));
    }
    let before = resource.to_string();
    let copies = patch.iter().filter(|one| matches!(one, json_patch::PatchOperation::Copy(_)));
    let doublings = u32::try_from(copies.count()).unwrap_or(u32::MAX);
    let most = (before.len() + text.len()).checked_mul(2_usize.saturating_pow(doublings));
    if most.is_none_or(|most| most > PATCHED_BYTES_MAX) {
        return Err(FhirError::unprocessable("too-costly", "the patch copies too much"));
    }
    let broken = || FhirError::unprocessable("processing", "the patch does not apply");
    let mut value = mark(&before, DEPTH_MAX).ok_or_else(broken)?;
    json_patch::patch(&mut value, &patch).map_err(|error| {
        let text = format!("operation {} of the patch does not apply", error.operation);
        FhirError::unprocessable("processing", text)
    })?;
    let mut written = String::new();
    write(&value, &mut written);
    RawObject::parse(written.as_bytes()).map_err(|_| broken())
}

/// JSON with numbers as marked strings; `None` when it is nested deeper than `depth`.
fn mark(text: &str, depth: usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    let text = raw.get();
    Some(match text.as_bytes().first()? {
        b'{' => {
            let members: RawObject = RawObject::parse(text.as_bytes()).ok()?;
            let marked = members
                .members()
                .map(|(name, value)| Some((name.to_owned(), mark(value.get(), depth)?)));
            Value::Object(marked.collect::<Option<_>>()?)
        }
        b'[' => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            Value::Array(
                items.into_iter().map(|item| mark(item.get(), depth)).collect::<Option<_>>()?,
            )
        }
        b'-' | b'0'..=b'9' => Value::String(format!("{MARK}{text}")),
        b'"' => {
            let string: String = serde_json::from_str(text).ok()?;
            if string.contains(MARK) {
                return None;
            }
            Value::String(string)
        }
        _ => serde_json::from_str(text).ok()?,
    })
}

/// Writes JSON, marked strings as the numbers that they were.
fn write(value: &Value, text: &mut String) {
    match value {
        Value::String(string) => match string.strip_prefix(MARK) {
            Some(number) => text.push_str(number),
            None => text.push_str(&value.to_string()),
        },
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (index, (name, member)) in members.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                write(member, text);
            }
            text.push('}');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(resource: &str, patch: &str, expected: Result<&str, u16>) {
        let resource = RawObject::parse(resource.as_bytes()).unwrap();
        let patched = apply(&resource, patch.as_bytes());
        let patched = patched.map(|patched| patched.to_string());
        let expected = expected.map(str::to_owned);
        assert_eq!(patched.map_err(|error| error.status.as_u16()), expected);
    }

    #[test]
    fn decimals_keep_their_places() {
        check(
            r#"{"value":1.10,"other":[5.0]}"#,
            r#"[{"op":"add","path":"/third","value":2.50}]"#,
            Ok(r#"{"value":1.10,"other":[5.0],"third":2.50}"#),
        );
        check(
            r#"{"value":1.10}"#,
            r#"[{"op":"test","path":"/value","value":1.10},{"op":"replace","path":"/value","value":2}]"#,
            Ok(r#"{"value":2}"#),
        );
    }

    #[test]
    fn what_is_no_patch_is_refused() {
        check("{}", "{}", Err(400));
        check("{}", "nonsense", Err(400));
        check("{}", "[{\"op\":\"add\",\"path\":\"/a\",\"value\":\"\\u0001\"}]", Err(400));
        check("{}", r#"[{"op":"remove","path":"/a"}]"#, Err(422));
        let deep = format!(
            r#"[{{"op":"add","path":"/a","value":{}{}}}]"#,
            "[".repeat(50_000),
            "]".repeat(50_000)
        );
        check("{}", &deep, Err(400));
        let copy = r#"{"op":"copy","from":"/a","path":"/a/-"}"#;
        check(r#"{"a":[1]}"#, &format!("[{}]", vec![copy; 35].join(",")), Err(422));
        check(r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":2}]"#, Err(422));
    }
}
