//! One `OBX` as an Observation, and one `SPM` as a Specimen.
//!
//! # Source
//!
//! v2-to-FHIR, segments OBX to Observation and SPM to Specimen.

use serde_json::{Value, json};

use crate::{
    concept::{concept, identifier_within, person},
    error::{Code, ReadError},
    groups::Noted,
    message::{Field, Segment},
    moment, tables,
    value::{Observed, Origin, observed, reference_range},
};

/// What every observation of a report says alike.
#[derive(Clone, Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) subject: &'a str,
    pub(crate) origin: Origin<'a>,
    /// When it was observed, unless an observation says so itself: `OBR-7`.
    pub(crate) effective: Option<String>,
    /// The ids of the specimens.
    pub(crate) specimens: &'a [String],
}

/// An observation, to be contained under `id`.
pub(crate) fn observation(
    noted: &Noted<'_>,
    id: &str,
    shared: &Shared<'_>,
) -> Result<Value, ReadError> {
    let (segment, origin) = (noted.segment, shared.origin);
    let code = concept(segment.field(3), origin.facility)?;
    let code = code.ok_or(ReadError::missing(segment.place().field(3)))?;
    let mut observation = json!({
        "resourceType": "Observation",
        "id": id,
        "status": status(segment)?,
        "category": [laboratory()],
        "code": code,
        "subject": { "reference": shared.subject },
    });
    let mut notes = notes(&noted.notes)?;
    match observed(segment, origin)? {
        Observed::Value(name, value) => observation[name] = value,
        Observed::Values(values) => {
            let code = &observation["code"];
            let components: Vec<Value> = values
                .into_iter()
                .map(|(name, value)| json!({ "code": code, name: value }))
                .collect();
            observation["component"] = components.into();
        }
        Observed::Nothing => observation["dataAbsentReason"] = absent("unknown"),
        Observed::Document(of_type) => {
            let of_type = of_type.map_or(String::new(), |of_type| format!(" ({of_type})"));
            let text =
                format!("The message had a document here{of_type}, which was not taken over.");
            notes.push(json!({ "text": text }));
            observation["dataAbsentReason"] = absent("unsupported");
        }
    }
    let own = date_time(segment.field(14), origin)?;
    set(
        &mut observation,
        "effectiveDateTime",
        own.or_else(|| shared.effective.clone()).map(Value::from),
    );
    set(&mut observation, "referenceRange", list(reference_range(segment, origin)?));
    let interpretation = interpretations(segment, origin)?;
    set(
        &mut observation,
        "interpretation",
        (!interpretation.is_empty()).then(|| interpretation.into()),
    );
    set(&mut observation, "method", concept(segment.field(17), origin.facility)?);
    let observers: Vec<Value> = segment
        .field(16)
        .repetitions()
        .filter_map(|one| person(one).transpose())
        .collect::<Result<_, _>>()?;
    set(&mut observation, "performer", (!observers.is_empty()).then(|| observers.into()));
    if let [specimen] = shared.specimens {
        observation["specimen"] = json!({ "reference": format!("#{specimen}") });
    }
    set(&mut observation, "note", (!notes.is_empty()).then(|| notes.into()));
    Ok(observation)
}

/// The status of an observation in FHIR.
pub(crate) fn status(segment: Segment<'_>) -> Result<&'static str, ReadError> {
    let field = segment.field(11);
    let code = field.text()?;
    if code.is_empty() {
        return Err(ReadError::missing(field.place()));
    }
    let unknown = ReadError::new(field.place(), Code::Table, "is no status of table 0085");
    tables::observation_status(&code).ok_or(unknown)
}

/// Whether somebody must know of it at once. What was withdrawn is of no concern.
pub(crate) fn is_critical(segment: Segment<'_>) -> Result<bool, ReadError> {
    if matches!(status(segment)?, "entered-in-error" | "cancelled") {
        return Ok(false);
    }
    for one in segment.field(8).repetitions() {
        if tables::is_critical(&one.text()?) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn interpretations(segment: Segment<'_>, origin: Origin<'_>) -> Result<Vec<Value>, ReadError> {
    let of = |one: Field<'_>| -> Result<Option<Value>, ReadError> {
        let named = concept(one, origin.facility)?;
        let code = one.text()?;
        // Up to version 2.6 it is a code without a system; later the system may be left out.
        let has_system = !one.component(3).text()?.is_empty();
        let is_of_table = !has_system || one.component(3).text()? == "HL70078";
        Ok(named.map(|mut named| {
            if is_of_table && named["coding"][0]["code"] == code.as_str() {
                named["coding"][0]["system"] = tables::interpretation_system(&code).into();
            }
            named
        }))
    };
    segment.field(8).repetitions().filter_map(|one| of(one).transpose()).collect()
}

/// A specimen, to be contained under `id`.
pub(crate) fn specimen(
    noted: &Noted<'_>,
    id: &str,
    subject: &str,
    order: &str,
    origin: Origin<'_>,
) -> Result<Value, ReadError> {
    let segment = noted.segment;
    let mut specimen = json!({
        "resourceType": "Specimen",
        "id": id,
        "subject": { "reference": subject },
        "request": [{ "reference": order }],
    });
    let numbers = segment.field(2);
    let filler = identifier_within(numbers.component(2))?;
    let given = match filler {
        Some(given) => Some(given),
        None => identifier_within(numbers.component(1))?,
    };
    set(&mut specimen, "accessionIdentifier", given);
    set(&mut specimen, "type", concept(segment.field(4), origin.facility)?);
    let mut collection = json!({});
    let collected = segment.field(17);
    let (from, to) = (at(collected, 1, origin)?, at(collected, 2, origin)?);
    match (from, to) {
        (Some(from), Some(to)) => {
            collection["collectedPeriod"] = period(from, to, collected)?;
        }
        (from, to) => set(&mut collection, "collectedDateTime", from.or(to).map(Value::from)),
    }
    set(&mut collection, "method", concept(segment.field(7), origin.facility)?);
    set(&mut collection, "bodySite", concept(segment.field(8), origin.facility)?);
    set(&mut specimen, "collection", Some(collection).filter(|found| *found != json!({})));
    set(&mut specimen, "receivedTime", date_time(segment.field(18), origin)?.map(Value::from));
    let conditions: Vec<Value> = segment
        .field(24)
        .repetitions()
        .filter_map(|one| concept(one, origin.facility).transpose())
        .collect::<Result<_, _>>()?;
    set(&mut specimen, "condition", (!conditions.is_empty()).then(|| conditions.into()));
    let mut notes = notes(&noted.notes)?;
    for described in segment.field(14).repetitions() {
        notes.push(json!({ "text": described.whole_text()? }));
    }
    set(&mut specimen, "note", (!notes.is_empty()).then(|| notes.into()));
    Ok(specimen)
}

/// The specimen of messages without `SPM`: `OBR-15`, with `OBR-14`; nothing when it says nothing.
pub(crate) fn specimen_of_request(
    request: Segment<'_>,
    id: &str,
    subject: &str,
    order: &str,
    origin: Origin<'_>,
) -> Result<Option<Value>, ReadError> {
    let source = request.field(15);
    let part = |number| source.component(1).subcomponent(number);
    let (code, text, name) = (part(1)?, part(2)?, part(3)?);
    if code.is_empty() && text.is_empty() {
        return Ok(None);
    }
    let mut of_type = json!({});
    if crate::concept::is_code(&code) {
        let mut coding = json!({ "code": code });
        let named = if name.is_empty() { "HL70070" } else { &name };
        let system = crate::concept::code_system(named, "", origin.facility);
        set(&mut coding, "system", system.map(Value::from));
        of_type["coding"] = json!([coding]);
    }
    let text = if text.is_empty() { code } else { text };
    of_type["text"] = text.into();
    let mut specimen = json!({
        "resourceType": "Specimen",
        "id": id,
        "subject": { "reference": subject },
        "request": [{ "reference": order }],
        "type": of_type,
    });
    set(&mut specimen, "receivedTime", date_time(request.field(14), origin)?.map(Value::from));
    Ok(Some(specimen))
}

/// Comments, one for each `NTE`.
pub(crate) fn notes(segments: &[Segment<'_>]) -> Result<Vec<Value>, ReadError> {
    let mut notes = Vec::new();
    for segment in segments {
        let lines: Vec<String> =
            segment.field(3).repetitions().map(Field::whole_text).collect::<Result<_, _>>()?;
        if !lines.is_empty() {
            notes.push(json!({ "text": lines.join("\n") }));
        }
    }
    Ok(notes)
}

/// A date and time that stands in a field; nothing when there is none.
pub(crate) fn date_time(field: Field<'_>, origin: Origin<'_>) -> Result<Option<String>, ReadError> {
    at(field, 1, origin)
}

/// A stretch of time.
pub(crate) fn period(from: String, to: String, field: Field<'_>) -> Result<Value, ReadError> {
    // With offsets that differ, texts say nothing of what comes first.
    let are_alike = from.len() == to.len() && from.get(19..) == to.get(19..);
    if are_alike && from > to {
        return Err(ReadError::new(field.place(), Code::Type, "ends before it begins"));
    }
    Ok(json!({ "start": from, "end": to }))
}

fn at(field: Field<'_>, component: usize, origin: Origin<'_>) -> Result<Option<String>, ReadError> {
    let text = field.component(component).text()?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |what| ReadError::new(field.component(component).place(), Code::Type, what);
    moment::date_time(&text, origin.offset).map(Some).map_err(wrong)
}

/// The category of everything that a laboratory reports.
pub(crate) fn laboratory() -> Value {
    let system = "http://terminology.hl7.org/CodeSystem/observation-category";
    json!({ "coding": [{ "system": system, "code": "laboratory" }] })
}

fn absent(reason: &str) -> Value {
    let system = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
    json!({ "coding": [{ "system": system, "code": reason }] })
}

fn list(value: Option<Value>) -> Option<Value> {
    value.map(|value| json!([value]))
}

/// Sets an element when there is something to set.
pub(crate) fn set(resource: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        resource[name] = value;
    }
}
