//! Where in a resource the values of a search parameter are.
//!
//! A path is a list of elements with dots between, and may have alternatives with `|` between:
//!
//! | step | meaning |
//! |---|---|
//! | `name` | the element, each of its items if there are several |
//! | `value[x]` | the element of several types, whichever it is: `valueQuantity`, `valueString` … |
//! | `subject[Patient]` | the references to that type only |
//! | `telecom[system=phone]` | the items in which an element is that text |
//! | `deceased[holds]` | `true` when the element of several types is there and not `false`, else `false` |

use serde_json::Value;

/// The outcomes of `[holds]`, which are in no resource.
static HOLDS: [Value; 2] = [Value::Bool(false), Value::Bool(true)];

/// A path without alternatives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Element(&'static str),
    Choice(&'static str),
    To(&'static str),
    Where(&'static str, &'static str),
    Holds(&'static str),
}

impl Path {
    /// Parses the alternatives, or says `None` when they break the rules above.
    pub(crate) fn parse_alternatives(text: &'static str) -> Option<Vec<Self>> {
        text.split('|').map(Self::parse).collect()
    }

    fn parse(text: &'static str) -> Option<Self> {
        let mut steps = Vec::new();
        for segment in text.split('.') {
            let (element, filter) = match segment.split_once('[') {
                Some((element, filter)) => (element, Some(filter.strip_suffix(']')?)),
                None => (segment, None),
            };
            if element.is_empty() || !element.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
                return None;
            }
            match filter {
                None => steps.push(Step::Element(element)),
                Some("x") => steps.push(Step::Choice(element)),
                Some("holds") => steps.push(Step::Holds(element)),
                Some(filter) => {
                    let step = match filter.split_once('=') {
                        Some((name, text)) => Step::Where(name, text),
                        None => Step::To(filter),
                    };
                    steps.extend([Step::Element(element), step]);
                }
            }
        }
        Some(Self(steps))
    }

    /// Shows `visit` each value at the path's end, in their order.
    pub(crate) fn visit<'v>(&self, resource: &'v Value, visit: &mut impl FnMut(&'v Value)) {
        walk(&self.0, resource, visit);
    }
}

fn walk<'v>(steps: &[Step], value: &'v Value, visit: &mut impl FnMut(&'v Value)) {
    if let Value::Array(items) = value {
        for item in items {
            walk(steps, item, visit);
        }
        return;
    }
    let Some((step, rest)) = steps.split_first() else {
        if !value.is_null() {
            visit(value);
        }
        return;
    };
    match *step {
        Step::Element(name) => {
            if let Some(value) = value.get(name) {
                walk(rest, value, visit);
            }
        }
        Step::Choice(name) => {
            if let Some(value) = choice(value, name) {
                walk(rest, value, visit);
            }
        }
        Step::To(resource_type) => {
            if reference_type(value) == Some(resource_type) {
                walk(rest, value, visit);
            }
        }
        Step::Where(name, text) => {
            if value.get(name).and_then(Value::as_str) == Some(text) {
                walk(rest, value, visit);
            }
        }
        Step::Holds(name) => {
            let holds = choice(value, name).is_some_and(|value| *value != Value::Bool(false));
            walk(rest, &HOLDS[usize::from(holds)], visit);
        }
    }
}

/// The element `name[x]`: `name` and then a type, which begins with a capital.
fn choice<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let is_typed = |key: &str| {
        key.strip_prefix(name)
            .is_some_and(|of_type| of_type.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    value.as_object()?.iter().find(|(key, _)| is_typed(key)).map(|(_, value)| value)
}

/// What a reference points to, as far as it tells: by its address, or by saying so.
pub(crate) fn reference_type(value: &Value) -> Option<&str> {
    let text = |name| value.get(name).and_then(Value::as_str);
    text("reference").and_then(type_in_address).or_else(|| text("type"))
}

/// The type in `Patient/1`, `https://example.org/fhir/Patient/1` or `Patient/1/_history/2`.
pub(crate) fn type_in_address(address: &str) -> Option<&str> {
    let mut segments = without_version(address).rsplit('/');
    segments.next()?;
    let resource_type = segments.next()?;
    let is_type = resource_type.starts_with(|c: char| c.is_ascii_uppercase())
        && resource_type.bytes().all(|byte| byte.is_ascii_alphabetic());
    is_type.then_some(resource_type)
}

/// An address without the version that it is about: `_history` for resources, `|` for canonical ones.
pub(crate) fn without_version(address: &str) -> &str {
    let address = address.split_once('|').map_or(address, |(address, _)| address);
    address.split_once("/_history/").map_or(address, |(address, _)| address)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(path: &'static str, resource: Value, expected: Value) {
        let mut found = Vec::new();
        for path in Path::parse_alternatives(path).unwrap() {
            path.visit(&resource, &mut |value| found.push(value.clone()));
        }
        assert_eq!(Value::Array(found), expected);
    }

    #[test]
    fn elements_are_followed_through_arrays() {
        let resource = json!({"name": [{"given": ["A", "B"]}, {"given": ["C"]}, {}]});
        check("name.given", resource, json!(["A", "B", "C"]));
    }

    #[test]
    fn alternatives_are_followed_in_order() {
        check("alias|name", json!({"name": "N", "alias": ["A"]}), json!(["A", "N"]));
    }

    #[test]
    fn a_choice_is_found_by_its_type() {
        let resource = json!({"valued": 0, "_valueString": {}, "valueString": "S"});
        check("value[x]", resource, json!(["S"]));
    }

    #[test]
    fn references_are_filtered_by_type() {
        let resource = json!({"subject": [
            {"reference": "Patient/1"},
            {"reference": "Group/1"},
            {"reference": "https://example.org/fhir/Patient/2/_history/3"},
            {"type": "Patient", "reference": "urn:uuid:0"},
        ]});
        let mut found = 0;
        for path in Path::parse_alternatives("subject[Patient]").unwrap() {
            path.visit(&resource, &mut |_| found += 1);
        }
        assert_eq!(found, 3);
    }

    #[test]
    fn items_are_filtered_by_text() {
        let telecom = json!([{"system": "phone", "value": "1"}, {"system": "email", "value": "2"}]);
        check("telecom[system=phone].value", json!({"telecom": telecom}), json!(["1"]));
    }

    #[test]
    fn what_holds_is_always_known() {
        check("deceased[holds]", json!({}), json!([false]));
        check("deceased[holds]", json!({"deceasedBoolean": false}), json!([false]));
        check("deceased[holds]", json!({"deceasedDateTime": "2020"}), json!([true]));
    }

    #[test]
    fn broken_paths_are_refused() {
        for path in ["", ".", "a..b", "a[x", "a[x]b", "a|"] {
            assert_eq!(Path::parse_alternatives(path), None, "{path}");
        }
    }
}
