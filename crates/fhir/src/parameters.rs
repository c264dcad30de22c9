//! `Parameters` in the body of an operation, beside those in its URL.

use axum::{body::Bytes, http::Method};
use serde_json::Value;

use crate::{dispatch::Action, outcome::FhirError, request::Request};

/// How many parameters a body has at most.
const PARAMETERS_MAX: usize = 100;

/// A request for an operation with what its body says in its query, so that it is the same as one whose
/// URL says it. Other requests stay as they are.
///
/// # Errors
///
/// 400 when the body is no `Parameters`, or has one that is not a plain value.
///
/// # Source
///
/// FHIR R4, section 3.2.0.4 (invoking operations); Bulk Data Access 2.0.0; Subscriptions Backport 1.1.0.
pub(crate) fn in_query(action: Action, mut request: Request) -> Result<Request, FhirError> {
    let is_operation = request.path.last().is_some_and(|last| last.starts_with('$'));
    let is_meant = matches!(action, Action::Export | Action::Subscription) && is_operation;
    if !is_meant || request.method != Method::POST {
        return Ok(request);
    }
    let body = std::mem::take(&mut request.body);
    if !is_nothing(&body) {
        request.query.extend(pairs(&body)?);
    }
    if action == Action::Subscription {
        request.method = Method::GET;
    }
    Ok(request)
}

fn is_nothing(body: &Bytes) -> bool {
    let text = body.trim_ascii();
    text.is_empty() || text == b"{}"
}

fn pairs(body: &[u8]) -> Result<Vec<(String, String)>, FhirError> {
    const EXPECTED: &str = "the body is a Parameters resource whose parameters have plain values";
    let wrong = || FhirError::bad_request(EXPECTED);
    let value: Value = serde_json::from_slice(body).map_err(|_| wrong())?;
    if value["resourceType"] != "Parameters" {
        return Err(wrong());
    }
    let all = match &value["parameter"] {
        Value::Null => &[],
        Value::Array(all) if all.len() <= PARAMETERS_MAX => all.as_slice(),
        _ => return Err(wrong()),
    };
    all.iter()
        .map(|one| {
            let name = one["name"].as_str().ok_or_else(wrong)?;
            let members = one.as_object().ok_or_else(wrong)?;
            let mut values = members.iter().filter(|(name, _)| name.starts_with("value"));
            let (Some((_, value)), None) = (values.next(), values.next()) else {
                return Err(wrong());
            };
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Object(_) => value["reference"].as_str().ok_or_else(wrong)?.to_owned(),
                _ => return Err(wrong()),
            };
            Ok((name.to_owned(), text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(body: Value, expected: Option<&[(&str, &str)]>) {
        let found = pairs(body.to_string().as_bytes()).ok();
        let expected: Option<Vec<(String, String)>> = expected.map(|pairs| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn plain_values_become_pairs() {
        let all = json!({ "resourceType": "Parameters", "parameter": [
            { "name": "_since", "valueInstant": "2026-01-01T00:00:00Z" },
            { "name": "n", "valueUnsignedInt": 3 },
            { "name": "patient", "valueReference": { "reference": "Patient/1" } },
        ] });
        let expected = [("_since", "2026-01-01T00:00:00Z"), ("n", "3"), ("patient", "Patient/1")];
        check(all, Some(&expected));
        check(json!({ "resourceType": "Parameters" }), Some(&[]));
    }

    #[test]
    fn what_is_no_plain_value_is_refused() {
        check(json!({ "resourceType": "Patient" }), None);
        for one in [json!({ "name": "x" }), json!({ "valueCode": "x" }), json!(1)] {
            check(json!({ "resourceType": "Parameters", "parameter": [one] }), None);
        }
    }
}
