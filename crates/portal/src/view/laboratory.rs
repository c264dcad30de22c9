//! What was measured: values with the range that is usual, how they went over time, and reports of several.

use maud::{Markup, html};
use serde_json::Value;

use super::field::{concept, quantity, text};
use crate::{
    design::{
        chart::Point,
        parts::{Tone, badge},
    },
    times,
    words::Words,
};

/// A value as text, with its unit; of several components each.
pub(super) fn value(resource: &Value) -> String {
    if let Some(value) = one_value(resource) {
        return value;
    }
    let parts = resource["component"].as_array().into_iter().flatten();
    let parts = parts.filter_map(|part| {
        let name = concept(&part["code"])?;
        Some(format!("{name} {}", one_value(part)?))
    });
    parts.collect::<Vec<_>>().join(", ")
}

fn one_value(part: &Value) -> Option<String> {
    let fields = part.as_object()?;
    let (name, value) = fields.iter().find(|(name, _)| name.starts_with("value"))?;
    if name == "valueQuantity" { quantity(value) } else { text(value) }
}

/// The range that is usual, as numbers.
fn range(resource: &Value) -> (Option<f64>, Option<f64>) {
    let range = &resource["referenceRange"][0];
    (range["low"]["value"].as_f64(), range["high"]["value"].as_f64())
}

/// The range that is usual, as text.
fn range_text(resource: &Value) -> Option<String> {
    let range = &resource["referenceRange"][0];
    if let Some(text) = range["text"].as_str() {
        return Some(text.to_owned());
    }
    match (quantity(&range["low"]), quantity(&range["high"])) {
        (Some(low), Some(high)) => Some(format!("{low} to {high}")),
        (Some(low), None) => Some(format!("{low} or more")),
        (None, Some(high)) => Some(format!("{high} or less")),
        (None, None) => None,
    }
}

/// Whether a value is out of the ordinary: as the laboratory says, or else by its range.
pub(super) fn flag(resource: &Value) -> Option<(Tone, String)> {
    let said = resource["interpretation"][0]["coding"][0]["code"].as_str();
    let by_range = || {
        let value = resource["valueQuantity"]["value"].as_f64()?;
        match range(resource) {
            (Some(low), _) if value < low => Some("L"),
            (_, Some(high)) if value > high => Some("H"),
            _ => None,
        }
    };
    let (tone, text) = match said.or_else(by_range)? {
        "HH" => (Tone::Bad, "critically high"),
        "LL" => (Tone::Bad, "critically low"),
        "AA" => (Tone::Bad, "critical"),
        "H" => (Tone::Warning, "high"),
        "L" => (Tone::Warning, "low"),
        "A" => (Tone::Warning, "unusual"),
        _ => return None,
    };
    Some((tone, text.to_owned()))
}

pub(super) fn observation(resource: &Value, words: &Words) -> Markup {
    html! {
        p { span class="value" { (value(resource)) } " " @if let Some((tone, flag)) = flag(resource) { (badge(tone, &flag)) } }
        @if let Some(range) = range_text(resource) { p { (words.usual_range) ": " (range) } }
    }
}

pub(super) fn report(resource: &Value, words: &Words) -> Markup {
    let contained = resource["contained"].as_array().into_iter().flatten();
    let observations = contained.filter(|part| part["resourceType"] == "Observation");
    html! {
        @for part in observations {
            div class="card" {
                h3 { (concept(&part["code"]).unwrap_or_default()) }
                (observation(part, words))
            }
        }
    }
}

/// The values of the same measurement over time, the oldest first, with the range of the newest.
pub(crate) fn series(resources: &[Value]) -> (Vec<Point>, Option<f64>, Option<f64>) {
    let mut points: Vec<Point> = resources
        .iter()
        .filter_map(|resource| {
            let at = super::field::when(resource)?;
            let at = times::parse(&at).or_else(|| times::of_day(&at))?;
            Some(Point { at, value: resource["valueQuantity"]["value"].as_f64()? })
        })
        .collect();
    points.sort_by_key(|point| point.at);
    let newest = resources.iter().max_by_key(|resource| super::field::when(resource));
    let (low, high) = newest.map(range).unwrap_or_default();
    (points, low, high)
}
