//! Everything else that stands in a resource: its fields with their names, and documents.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{Markup, html};
use serde_json::Value;

use super::field::{spaced, text};
use crate::times;

/// Fields that say nothing to whoever reads a record, or are shown elsewhere.
const LEFT_OUT: &[&str] = &[
    "resourceType",
    "id",
    "meta",
    "text",
    "contained",
    "extension",
    "modifierExtension",
    "identifier",
    "subject",
    "patient",
    "implicitRules",
    "language",
    "content",
    "presentedForm",
    "result",
    "beneficiary",
];

/// How many fields of a resource are shown.
const FIELDS_MAX: usize = 60;

/// A resource's fields by name, those within others included.
pub(super) fn fields(resource: &Value) -> Vec<(String, Markup)> {
    texts(resource).into_iter().map(|(name, text)| (name, html! { (text) })).collect()
}

/// The same, as text.
pub(super) fn texts(resource: &Value) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    for (name, value) in resource.as_object().into_iter().flatten() {
        if LEFT_OUT.contains(&&**name) || name.starts_with('_') || shown.len() >= FIELDS_MAX {
            continue;
        }
        let text = in_words(name, value, 0);
        if !text.is_empty() {
            shown.push((spaced(name), text));
        }
    }
    shown
}

/// A field's value in words. What is too deep to be said in a line stays in what computers exchange.
fn in_words(name: &str, value: &Value, depth: usize) -> String {
    match value {
        Value::String(text) if is_time(name) => times::fhir(text),
        Value::Array(values) => {
            let texts = values.iter().map(|value| in_words(name, value, depth));
            texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ")
        }
        Value::Object(fields) if text(value).is_none() && depth < 3 => {
            let texts = fields
                .iter()
                .filter(|(name, _)| *name != "extension" && *name != "id")
                .filter_map(|(name, value)| {
                    let text = in_words(name, value, depth + 1);
                    (!text.is_empty()).then(|| format!("{}: {text}", spaced(name)))
                });
            texts.collect::<Vec<_>>().join(", ")
        }
        value => text(value).unwrap_or_default(),
    }
}

fn is_time(name: &str) -> bool {
    [
        "Date",
        "DateTime",
        "date",
        "created",
        "issued",
        "authoredOn",
        "recorded",
        "Instant",
        "start",
        "end",
    ]
    .iter()
    .any(|ending| name.ends_with(ending))
}

/// A document: its text where it has one. Nothing is fetched from an address that stands in it.
pub(super) fn document(resource: &Value) -> Markup {
    html! {
        @for content in resource["content"].as_array().into_iter().flatten() {
            @let attachment = &content["attachment"];
            @let media_type = attachment["contentType"].as_str().unwrap_or_default();
            @match readable(attachment) {
                Some(text) => pre { code { (text) } },
                None => p class="hint" {
                    (attachment["title"].as_str().unwrap_or("A document")) " " (media_type)
                    " – it cannot be shown on a page."
                },
            }
        }
    }
}

/// The text of an attachment that is plain text.
fn readable(attachment: &Value) -> Option<String> {
    let media_type = attachment["contentType"].as_str()?;
    if !media_type.starts_with("text/plain") {
        return None;
    }
    String::from_utf8(STANDARD.decode(attachment["data"].as_str()?).ok()?).ok()
}
