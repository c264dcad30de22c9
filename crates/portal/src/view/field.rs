//! FHIR's data types as text.

use serde_json::Value;

/// Whether a text may be a part of a path: FHIR's types and ids are.
pub(crate) fn is_fit(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=64).contains(&text.len()) && text.bytes().all(fits)
}

/// A concept: its text, or its code's display, or the code.
pub(crate) fn concept(value: &Value) -> Option<String> {
    let coding = &value["coding"][0];
    let found =
        [&value["text"], &coding["display"], &coding["code"], &value["display"], &value["code"]];
    found.iter().find_map(|found| found.as_str()).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Any data type, in short.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(true) => Some("yes".into()),
        Value::Bool(false) => Some("no".into()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(values) => {
            let texts: Vec<String> = values.iter().filter_map(text).collect();
            (!texts.is_empty()).then(|| texts.join(", "))
        }
        Value::Object(fields) => {
            if fields.contains_key("value") && !fields.contains_key("system")
                || fields.contains_key("unit")
            {
                return quantity(value);
            }
            if fields.contains_key("start") || fields.contains_key("end") {
                return Some(period(value));
            }
            if fields.contains_key("family") || fields.contains_key("given") {
                return Some(human_name(value));
            }
            if fields.contains_key("reference") {
                let named = value["display"].as_str().or_else(|| value["reference"].as_str());
                return named.map(str::to_owned);
            }
            if fields.contains_key("value") {
                return value["value"].as_str().map(str::to_owned);
            }
            if fields.contains_key("numerator") {
                return Some(format!(
                    "{} / {}",
                    quantity(&value["numerator"])?,
                    quantity(&value["denominator"])?
                ));
            }
            concept(value)
        }
    }
}

/// A quantity with its unit.
pub(crate) fn quantity(value: &Value) -> Option<String> {
    let number = match &value["value"] {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return None,
    };
    let unit = value["unit"].as_str().or_else(|| value["code"].as_str()).unwrap_or_default();
    let comparator = value["comparator"].as_str().unwrap_or_default();
    Some(format!("{comparator}{number} {unit}").trim().to_owned())
}

/// A period: from, to, or both.
pub(crate) fn period(value: &Value) -> String {
    let at = |name: &str| value[name].as_str().map(crate::times::fhir);
    match (at("start"), at("end")) {
        (Some(start), Some(end)) => format!("{start} to {end}"),
        (Some(start), None) => format!("since {start}"),
        (None, Some(end)) => format!("until {end}"),
        (None, None) => String::new(),
    }
}

/// What somebody is called.
pub(crate) fn human_name(value: &Value) -> String {
    if let Some(text) = value["text"].as_str() {
        return text.to_owned();
    }
    let given = value["given"].as_array().into_iter().flatten().filter_map(Value::as_str);
    given.chain(value["family"].as_str()).collect::<Vec<_>>().join(" ")
}

/// How a medicine is to be taken.
pub(crate) fn dosage(resource: &Value) -> String {
    let dosages =
        resource["dosageInstruction"].as_array().or_else(|| resource["dosage"].as_array());
    let texts = dosages.into_iter().flatten().filter_map(|dosage| {
        let text = dosage["text"].as_str().map(str::to_owned);
        text.or_else(|| concept(&dosage["timing"]["code"]))
    });
    texts.collect::<Vec<_>>().join("; ")
}

/// When something was, as FHIR says it.
pub(crate) fn when(resource: &Value) -> Option<String> {
    const PLACES: [&str; 16] = [
        "effectiveDateTime",
        "effectiveInstant",
        "performedDateTime",
        "occurrenceDateTime",
        "authoredOn",
        "whenHandedOver",
        "onsetDateTime",
        "recordedDate",
        "date",
        "created",
        "started",
        "start",
        "issued",
        "recorded",
        "birthDate",
        "dateTime",
    ];
    let direct = PLACES.iter().find_map(|place| resource[*place].as_str());
    let periods =
        ["effectivePeriod", "performedPeriod", "period", "billablePeriod", "occurrencePeriod"];
    let begun = || periods.iter().find_map(|place| resource[*place]["start"].as_str());
    let updated = || resource["meta"]["lastUpdated"].as_str();
    direct.or_else(begun).or_else(updated).map(str::to_owned)
}

/// `MedicationRequest` or `birthDate` as words.
pub(crate) fn spaced(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 4);
    for (at, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && at > 0 {
            words.push(' ');
        }
        words.push(if at == 0 { letter.to_ascii_uppercase() } else { letter.to_ascii_lowercase() });
    }
    words
}
