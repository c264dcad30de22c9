//! The value of an observation: `OBX-5` by the type that `OBX-2` names, with the units of `OBX-6`.
//!
//! # Source
//!
//! v2-to-FHIR, segment OBX to Observation, and the data types that it refers to.

use serde_json::{Value, json};

use crate::{
    concept::{code_system, concept, is_code},
    error::{Code, ReadError},
    json::{decimal, is_greater},
    message::{Field, Segment},
    moment::{self, Offset},
    tables::UCUM,
};

/// What stands in a message, or why nothing does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Observed {
    /// A value, by the name of its element.
    Value(&'static str, Value),
    /// Several, each for a component.
    Values(Vec<(&'static str, Value)>),
    /// There is none.
    Nothing,
    /// There is a document, which is not taken over: of this type, where it says so.
    Document(Option<String>),
}

/// Where a message comes from, as far as it matters to values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) facility: &'a str,
    pub(crate) offset: Option<&'a Offset>,
}

/// The value of an `OBX`.
pub(crate) fn observed(segment: Segment<'_>, origin: Origin<'_>) -> Result<Observed, ReadError> {
    let field = segment.field(5);
    if field.is_empty() {
        return Ok(Observed::Nothing);
    }
    let kind = segment.field(2).text()?;
    match kind.as_str() {
        "" => return Err(ReadError::missing(segment.place().field(2))),
        // Each repetition is a line.
        "ST" | "TX" | "FT" => {
            let lines: Vec<String> =
                field.repetitions().map(Field::whole_text).collect::<Result<_, _>>()?;
            return Ok(Observed::Value("valueString", lines.join("\n").into()));
        }
        "ED" | "RP" => return document(field, &kind),
        _ => {}
    }
    let values = field
        .repetitions()
        .map(|one| value(segment, one, &kind, origin))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(match <[_; 1]>::try_from(values) {
        Ok([(name, value)]) => Observed::Value(name, value),
        Err(values) => Observed::Values(values),
    })
}

fn value(
    segment: Segment<'_>,
    field: Field<'_>,
    kind: &str,
    origin: Origin<'_>,
) -> Result<(&'static str, Value), ReadError> {
    let malformed = |what| ReadError::new(field.place(), Code::Type, what);
    Ok(match kind {
        "NM" => {
            let number = decimal(&field.text()?).ok_or_else(|| malformed("is no number"))?;
            ("valueQuantity", quantity(segment, number, origin)?)
        }
        "SN" => structured(segment, field, origin)?,
        "CE" | "CWE" | "CNE" | "CF" | "IS" | "ID" => {
            let found = concept(field, origin.facility)?;
            ("valueCodeableConcept", found.ok_or_else(|| malformed("is no code"))?)
        }
        "DT" | "TS" | "DTM" => {
            let written = moment::date_time(&field.text()?, origin.offset).map_err(malformed)?;
            ("valueDateTime", written.into())
        }
        "TM" => ("valueTime", moment::time(&field.text()?).map_err(malformed)?.into()),
        _ => {
            let place = segment.place().field(2);
            return Err(ReadError::new(place, Code::Table, "is a type of value that is not read"));
        }
    })
}

/// A structured number: `>^100`, `^1^:^128`, `^1^-^5`, `^2^+`.
fn structured(
    segment: Segment<'_>,
    field: Field<'_>,
    origin: Origin<'_>,
) -> Result<(&'static str, Value), ReadError> {
    let part = |number: usize| field.component(number).text();
    let number = |at: usize| {
        let wrong = ReadError::new(field.place().component(at), Code::Type, "is no number");
        decimal(&part(at)?).ok_or(wrong)
    };
    let quantity = |at: usize| quantity(segment, number(at)?, origin);
    let (comparator, separator) = (part(1)?, part(3)?);
    let is_plain = matches!(comparator.as_str(), "" | "=");
    Ok(match separator.as_str() {
        "-" if is_plain => {
            if is_greater(&number(2)?, &number(4)?) {
                let what = "is a range that ends before it begins";
                return Err(ReadError::new(field.place(), Code::Type, what));
            }
            ("valueRange", json!({ "low": quantity(2)?, "high": quantity(4)? }))
        }
        ":" | "/" if is_plain => {
            // What is diluted is counted, so a titre has no unit.
            let count = |at| Ok::<_, ReadError>(json!({ "value": number(at)? }));
            ("valueRatio", json!({ "numerator": count(2)?, "denominator": count(4)? }))
        }
        "" if is_plain => ("valueQuantity", quantity(2)?),
        "" if matches!(comparator.as_str(), "<" | "<=" | ">" | ">=") => {
            let mut value = quantity(2)?;
            value["comparator"] = comparator.into();
            ("valueQuantity", value)
        }
        // FHIR has no form for the rest: 2+, <1:8, <>5.
        "+" | "-" | ":" | "/" | "" => {
            let texts = [comparator, part(2)?, separator, part(4)?];
            ("valueString", texts.concat().into())
        }
        _ => {
            let place = field.place().component(3);
            return Err(ReadError::new(place, Code::Table, "is no separator of numbers"));
        }
    })
}

/// A number with the unit of `OBX-6`.
pub(crate) fn quantity(
    segment: Segment<'_>,
    number: Value,
    origin: Origin<'_>,
) -> Result<Value, ReadError> {
    let field = segment.field(6);
    let mut quantity = json!({ "value": number });
    // The coding that is UCUM, when one of the two is.
    let is_ucum = |at: usize| field.component(at).text().map(|name| name == "UCUM");
    let (code, text, name) = if !is_ucum(3)? && is_ucum(6)? { (4, 5, 6) } else { (1, 2, 3) };
    let code = field.component(code).text()?;
    let text = field.component(text).text()?;
    let unit = if text.is_empty() { code.clone() } else { text };
    if !unit.is_empty() {
        quantity["unit"] = unit.into();
    }
    let name = field.component(name).text()?;
    let system =
        if name == "UCUM" { Some(UCUM.into()) } else { code_system(&name, "", origin.facility) };
    // A code is one of a system only when the message says of which.
    if let Some(system) = system.filter(|_| is_code(&code)) {
        quantity["system"] = system.into();
        quantity["code"] = code.into();
    }
    Ok(quantity)
}

/// Of which type a document is that is encapsulated, or elsewhere. A name of a file or place is not kept.
fn document(field: Field<'_>, kind: &str) -> Result<Observed, ReadError> {
    let of_data = field.component(if kind == "ED" { 2 } else { 3 }).text()?.to_lowercase();
    let subtype = field.component(if kind == "ED" { 3 } else { 4 }).text()?.to_lowercase();
    let is_word = |text: &str| {
        !text.is_empty()
            && text.len() <= 64
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte))
    };
    // Up to version 2.6 AP is an application's own.
    let of_data = if of_data == "ap" { "application".into() } else { of_data };
    let named = is_word(&of_data) && is_word(&subtype);
    Ok(Observed::Document(named.then(|| format!("{of_data}/{subtype}"))))
}

/// A reference range (`OBX-7`): the text as it stands, and numbers where it has them.
pub(crate) fn reference_range(
    segment: Segment<'_>,
    origin: Origin<'_>,
) -> Result<Option<Value>, ReadError> {
    let text = segment.field(7).whole_text()?;
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let mut range = json!({ "text": text });
    let (low, high) = limits(text);
    for (name, limit) in [("low", low), ("high", high)] {
        if let Some(number) = limit {
            range[name] = quantity(segment, number, origin)?;
        }
    }
    Ok(Some(range))
}

/// The limits in a text: `3.5-5.0`, `<5`, `>=10`, `-2 - 2`. Without its limit itself (`<5`) a range has
/// none in FHIR, whose limits are within; the text says which.
fn limits(text: &str) -> (Option<Value>, Option<Value>) {
    if let Some(most) = text.strip_prefix("<=") {
        return (None, decimal(most.trim()));
    }
    if let Some(least) = text.strip_prefix(">=") {
        return (decimal(least.trim()), None);
    }
    // A minus before the first digit is a sign.
    let from = text.find(|letter: char| letter.is_ascii_digit()).unwrap_or(text.len());
    let Some(at) = text[from..].find('-').map(|at| from + at) else { return (None, None) };
    match (decimal(text[..at].trim()), decimal(text[at + 1..].trim())) {
        (Some(low), Some(high)) if !is_greater(&low, &high) => (Some(low), Some(high)),
        _ => (None, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Message, json::to_text};

    fn with_segment<T>(rest: &str, look: impl FnOnce(Segment<'_>) -> T) -> T {
        let text = format!("MSH|^~\\&|A|B|C|D|1||ORU^R01|1|P|2.5.1\rOBX|1|{rest}");
        let message = Message::parse(text.as_bytes()).unwrap();
        look(message.segments().nth(1).unwrap())
    }

    const ORIGIN: Origin<'_> = Origin { facility: "LAB", offset: None };

    #[track_caller]
    fn check(kind: &str, raw: &str, units: &str, name: &str, expected: &str) {
        let found = with_segment(&format!("{kind}|x||{raw}|{units}"), |one| observed(one, ORIGIN));
        let Ok(Observed::Value(found_name, value)) = found else { panic!("{raw}: {found:?}") };
        assert_eq!((found_name, &*to_text(&value)), (name, expected), "{raw}");
    }

    #[track_caller]
    fn refused(kind: &str, raw: &str, expected: &str) {
        let found = with_segment(&format!("{kind}|x||{raw}|"), |one| observed(one, ORIGIN));
        assert_eq!(found.unwrap_err().to_string(), expected);
    }

    #[test]
    fn numbers_keep_digits_and_units() {
        check(
            "NM",
            "5.10",
            "mmol/L^mmol per l^UCUM",
            "valueQuantity",
            r#"{"code":"mmol/L","system":"http://unitsofmeasure.org","unit":"mmol per l","value":5.10}"#,
        );
        check("NM", "+7", "10*9/l", "valueQuantity", r#"{"unit":"10*9/l","value":7}"#);
        check(
            "NM",
            "7",
            "x^^L^g/L^^UCUM",
            "valueQuantity",
            r#"{"code":"g/L","system":"http://unitsofmeasure.org","unit":"g/L","value":7}"#,
        );
        check(
            "NM",
            "7",
            "U^^99U",
            "valueQuantity",
            r#"{"code":"U","system":"urn:salus:hl7v2:code-system:LAB:99U","unit":"U","value":7}"#,
        );
        check("NM", "7", "", "valueQuantity", r#"{"value":7}"#);
        refused("NM", "planted", "OBX[1]-5 is no number");
        refused("NM", "1,5", "OBX[1]-5 is no number");
    }

    #[test]
    fn structured_numbers_are_what_they_say() {
        check("SN", ">^100", "", "valueQuantity", r#"{"comparator":">","value":100}"#);
        check("SN", "=^5", "", "valueQuantity", r#"{"value":5}"#);
        check(
            "SN",
            "^1^:^128",
            "",
            "valueRatio",
            r#"{"denominator":{"value":128},"numerator":{"value":1}}"#,
        );
        check("SN", "^1^-^5", "", "valueRange", r#"{"high":{"value":5},"low":{"value":1}}"#);
        check("SN", "^2^+", "", "valueString", r#""2+""#);
        check("SN", "<^1^:^8", "", "valueString", r#""<1:8""#);
        refused("SN", "^5^-^1", "OBX[1]-5 is a range that ends before it begins");
        refused("SN", "^a", "OBX[1]-5.2 is no number");
        refused("SN", "^1^!^2", "OBX[1]-5.3 is no separator of numbers");
    }

    #[test]
    fn texts_are_lines() {
        check("ST", "no growth", "", "valueString", r#""no growth""#);
        check("TX", "one~two", "", "valueString", r#""one\ntwo""#);
        check("FT", r"one\.br\two ^ three", "", "valueString", r#""one\ntwo ^ three""#);
    }

    #[test]
    fn codes_dates_and_times_are_themselves() {
        check(
            "CWE",
            "3092008^Staph aureus^SCT",
            "",
            "valueCodeableConcept",
            r#"{"coding":[{"code":"3092008","display":"Staph aureus","system":"http://snomed.info/sct"}],"text":"Staph aureus"}"#,
        );
        check("DT", "20261123", "", "valueDateTime", r#""2026-11-23""#);
        check("DTM", "202611231705+0100", "", "valueDateTime", r#""2026-11-23T17:05:00+01:00""#);
        check("TM", "1705", "", "valueTime", r#""17:05:00""#);
        refused("TS", "2026-11-23", "OBX[1]-5 is no date and time");
        refused("XX", "x", "OBX[1]-2 is a type of value that is not read");
        refused("", "x", "OBX[1]-2 is empty");
    }

    #[test]
    fn several_codes_are_several_values() {
        let found = with_segment("CE|x||A~B|", |one| observed(one, ORIGIN)).unwrap();
        assert!(matches!(found, Observed::Values(values) if values.len() == 2));
    }

    #[test]
    fn documents_and_nothing_are_told_apart() {
        let of = |rest: &str| with_segment(rest, |one| observed(one, ORIGIN)).unwrap();
        assert_eq!(
            of("ED|x||LIS^AP^PDF^Base64^cGxhbnRlZA==|"),
            Observed::Document(Some("application/pdf".into()))
        );
        assert_eq!(of("ED|x||^^^Base64^cGxhbnRlZA==|"), Observed::Document(None));
        assert_eq!(of("NM|x||\"\"|"), Observed::Nothing);
        assert_eq!(of("NM|x|||"), Observed::Nothing);
    }

    #[track_caller]
    fn range(text: &str, expected: &str) {
        let found = with_segment(&format!("NM|x||1||{text}"), |one| reference_range(one, ORIGIN));
        assert_eq!(to_text(&found.unwrap().unwrap()), expected);
    }

    #[test]
    fn ranges_have_limits_where_they_are_numbers() {
        range("3.5-5.0", r#"{"high":{"value":5.0},"low":{"value":3.5},"text":"3.5-5.0"}"#);
        range("-2 - +2", r#"{"high":{"value":2},"low":{"value":-2},"text":"-2 - +2"}"#);
        range("-5--1", r#"{"high":{"value":-1},"low":{"value":-5},"text":"-5--1"}"#);
        range(">= 10", r#"{"low":{"value":10},"text":">= 10"}"#);
        range("<5", r#"{"text":"<5"}"#);
        range("negative", r#"{"text":"negative"}"#);
        range("5-3", r#"{"text":"5-3"}"#);
        range("3.5-high", r#"{"text":"3.5-high"}"#);
    }
}
