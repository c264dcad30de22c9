//! Whether a resource is what a query asks for, and which of two comes first.

use std::cmp::Ordering;

use serde_json::Value;

use crate::numbers::ordered;
use crate::output::SortKey;
use crate::parameters::Parameter;
use crate::query::{Criterion, Query};
use crate::terms::Term;
use crate::text::normalised;
use crate::values::IndexValue;

/// Whether a resource, last changed at `last_updated_ms` since 1970, is what the query asks for.
///
/// Whatever this says, the index finds: [`Index::candidates`](crate::Index::candidates) gives all that
/// match, and perhaps more. A query with links that are not resolved matches nothing.
#[must_use]
pub fn matches(query: &Query, resource_type: &str, resource: &Value, last_updated_ms: i64) -> bool {
    query.resource_type() == resource_type
        && query.links().next().is_none()
        && query.criteria().iter().all(|criterion| criterion.matches(resource, last_updated_ms))
}

impl Criterion {
    fn matches(&self, resource: &Value, last_updated_ms: i64) -> bool {
        match self {
            Self::Id { ids, is_denied } => {
                let id = resource.get("id").and_then(Value::as_str);
                id.is_some_and(|id| ids.contains(id)) != *is_denied
            }
            Self::LastUpdated(ranges) => {
                ranges.iter().any(|range| range.holds(last_updated_ms, last_updated_ms))
            }
            Self::Missing { parameter, is_missing } => {
                parameter.values(resource).is_empty() == *is_missing
            }
            Self::AnyOf { parameter, terms } => meets(parameter, terms, resource),
            Self::NoneOf { parameter, terms } => !meets(parameter, terms, resource),
        }
    }
}

/// Whether a value of the parameter meets one of the terms.
fn meets(parameter: &Parameter, terms: &[Term], resource: &Value) -> bool {
    let mut is_met = false;
    parameter.visit(resource, &mut |value| {
        is_met = is_met || terms.iter().any(|term| term.matches(&value));
    });
    is_met
}

/// How much of a text counts in an order, in characters. Nobody reads a list in the order of what comes
/// after, and whoever sorts keeps this of each resource.
const RANK_CHARS_MAX: usize = 256;

/// What a resource is sorted by: all that has to be kept of it until the others are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranks(Vec<Option<Rank>>);

/// What a resource, last changed at `last_updated_ms` since 1970, is sorted by in the order that the query
/// asks for.
#[must_use]
pub fn ranks(query: &Query, resource: &Value, last_updated_ms: i64) -> Ranks {
    let keys = query.output().sort.iter();
    Ranks(keys.map(|key| key.rank((resource, last_updated_ms))).collect())
}

/// Which of two resources comes first in the order that the query asks for, by what this very query
/// [ranks](ranks()) them by. What has no value to sort by comes last in either direction.
#[must_use]
pub fn compare_ranks(query: &Query, one: &Ranks, other: &Ranks) -> Ordering {
    let keys = query.output().sort.iter().zip(&one.0).zip(&other.0);
    let mut orders = keys.map(|((key, one), other)| key.compare(one.as_ref(), other.as_ref()));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Which of two resources, each with the time of its last change, comes first in the order that the
/// query asks for. What has no value to sort by comes last in either direction.
#[must_use]
pub fn compare(query: &Query, one: (&Value, i64), other: (&Value, i64)) -> Ordering {
    compare_ranks(query, &ranks(query, one.0, one.1), &ranks(query, other.0, other.1))
}

impl SortKey {
    fn compare(&self, one: Option<&Rank>, other: Option<&Rank>) -> Ordering {
        match (one, other) {
            (Some(one), Some(other)) if self.is_descending => other.cmp(one),
            (Some(one), Some(other)) => one.cmp(other),
            (one, other) => one.is_none().cmp(&other.is_none()),
        }
    }

    /// The first of a resource's values, or the last one when the greatest come first.
    fn rank(&self, (resource, last_updated_ms): (&Value, i64)) -> Option<Rank> {
        if self.parameter.name() == "_lastUpdated" {
            return Some(Rank::Number(last_updated_ms));
        }
        let values = self.parameter.values(resource);
        let ranks = values.iter().filter_map(Rank::of);
        if self.is_descending { ranks.max() } else { ranks.min() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Number(i64),
    Text(String),
}

impl Rank {
    fn of(value: &IndexValue<'_>) -> Option<Self> {
        let begin = |text: &str| Self::Text(text.chars().take(RANK_CHARS_MAX).collect());
        Some(match *value {
            IndexValue::Token { code, text, .. } => begin(code.or(text)?),
            IndexValue::Reference { address, .. } => begin(address?),
            IndexValue::String { text, .. } => begin(&normalised(text)),
            IndexValue::Date { first_ms, .. } => Self::Number(first_ms),
            IndexValue::Number { low, .. } => Self::Number(ordered(low)),
            IndexValue::Uri(uri) => begin(uri),
            IndexValue::Present => return None,
        })
    }
}
