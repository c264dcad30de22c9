//! What people give with a step: words that say something, and numbers that can be meant.
//!
//! Looked at before anything is read, sealed or sent, wherever the step was asked for. No refusal quotes what
//! was given: it may be about somebody's health.

use std::time::Duration;

use domain::Timestamp;
use serde_json::Value;

use crate::WorkflowError;

/// The longest text of one step, in bytes: what is longer is a document, and proposed as a record.
pub(crate) const WORDS_BYTES_MAX: usize = 4_096;

/// Refuses a text in which there is no letter or digit, or too much.
pub(crate) fn require_words(what: &str, text: &str) -> Result<(), WorkflowError> {
    if !text.chars().any(char::is_alphanumeric) {
        return Err(WorkflowError::Invalid(format!("the {what} is empty: say it in words")));
    }
    if text.len() > WORDS_BYTES_MAX {
        let why = format!("the {what} is longer than {WORDS_BYTES_MAX} bytes");
        return Err(WorkflowError::Invalid(why));
    }
    Ok(())
}

/// Refuses more than anybody means. That it is not nothing, the contracts say.
pub(crate) fn require_at_most(what: &str, given: u64, most: u64) -> Result<(), WorkflowError> {
    if given <= most {
        return Ok(());
    }
    Err(WorkflowError::Invalid(format!("the {what} is at most {most}")))
}

/// Refuses a time that is further away than anybody plans. That it has not come, the contracts say.
pub(crate) fn require_within_years(
    what: &str,
    time: Timestamp,
    now: Timestamp,
    years: u64,
) -> Result<(), WorkflowError> {
    if time <= now.after(Duration::from_secs(years * 366 * 86_400)) {
        return Ok(());
    }
    Err(WorkflowError::Invalid(format!("the {what} is more than {years} years from now")))
}

/// Refuses a FHIR CodeableConcept that names nothing, neither in words nor by a code.
pub(crate) fn require_concept(what: &str, concept: &Value) -> Result<(), WorkflowError> {
    let codings = concept["coding"].as_array().into_iter().flatten();
    let has_code =
        codings.filter_map(|coding| coding["code"].as_str()).any(|code| !code.is_empty());
    match concept["text"].as_str() {
        None if has_code => Ok(()),
        text => require_words(what, text.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(outcome: Result<(), WorkflowError>, expected: Result<(), &str>) {
        assert_eq!(outcome.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn words_say_something_and_are_not_a_book() {
        check(require_words("reason", "found unconscious"), Ok(()));
        check(require_words("reason", "é"), Ok(()));
        for nothing in ["", " \t\n", "…", "-.-"] {
            check(require_words("reason", nothing), Err("the reason is empty: say it in words"));
        }
        check(require_words("reason", &"a".repeat(WORDS_BYTES_MAX)), Ok(()));
        let book = "a".repeat(WORDS_BYTES_MAX + 1);
        check(require_words("reason", &book), Err("the reason is longer than 4096 bytes"));
    }

    #[test]
    fn numbers_are_such_as_can_be_meant() {
        check(require_at_most("quantity", 30, 30), Ok(()));
        check(require_at_most("quantity", 31, 30), Err("the quantity is at most 30"));
    }

    #[test]
    fn times_are_not_beyond_all_plans() {
        let (now, years) = (Timestamp(1_000), 2 * 366 * 86_400);
        let why = "the expiry is more than 2 years from now";
        check(require_within_years("expiry", Timestamp(1_000 + years), now, 2), Ok(()));
        check(require_within_years("expiry", Timestamp(1_001 + years), now, 2), Err(why));
        check(require_within_years("expiry", Timestamp(u64::MAX), now, 2), Err(why));
    }

    #[test]
    fn a_concept_has_words_or_a_code() {
        check(require_concept("test", &json!({ "text": "potassium" })), Ok(()));
        check(require_concept("test", &json!({ "coding": [{ "code": "2823-3" }] })), Ok(()));
        for nothing in [json!({}), json!(null), json!({ "text": " " }), json!({ "coding": [{}] })] {
            check(require_concept("test", &nothing), Err("the test is empty: say it in words"));
        }
    }
}
