//! What a message says of which order and patient, and the DiagnosticReport that it becomes.
//!
//! A message is about one order. Several examinations (`OBR`) of it become panels: observations that have the
//! others as members. What a message says of the patient beside numbers is not taken over: who the patient is
//! stands in the network, and nowhere twice.
//!
//! # Source
//!
//! v2-to-FHIR, message ORU^R01 and segment OBR to DiagnosticReport.

use serde_json::{Value, json};

use crate::{
    concept::{concept, identifier, number, person},
    error::{Code, ReadError},
    groups::{Group, Noted, Parts, parts},
    json::to_text,
    message::{Field, Header, Message, Segment},
    moment::{self, Offset},
    observation::{
        Shared, date_time, is_critical, laboratory, notes, observation, period, set, specimen,
        specimen_of_request, status,
    },
    tables,
    value::Origin,
};

/// A patient's number in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number {
    /// Of which numbering system, as a URI.
    pub system: String,
    /// The number.
    pub value: String,
}

/// How far a result is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// More is to come.
    Preliminary,
    /// It is done.
    Final,
    /// It replaces one that was done.
    Corrected,
}

/// To what the report refers, each as `Type/id`.
#[derive(Clone, Copy, Debug)]
pub struct References<'a> {
    /// Whom it is about.
    pub subject: &'a str,
    /// What was ordered.
    pub order: &'a str,
    /// Who is responsible for it.
    pub performers: &'a [&'a str],
    /// The offset of times that have none, and whose message has none.
    pub offset: Option<&'a Offset>,
}

/// A message with results, taken apart.
#[derive(Clone, Debug)]
pub struct LabReport<'a> {
    head: Segment<'a>,
    header: Header,
    parts: Parts<'a>,
    facility: String,
}

impl<'a> LabReport<'a> {
    /// Takes a message apart.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when it is no `ORU^R01` for production of a version that is read, or has not the
    /// segments of one.
    pub fn of(message: &'a Message) -> Result<Self, ReadError> {
        message.require_result()?;
        let (header, head) = (message.header()?, message.head());
        let facility = head.field(4).text()?;
        Ok(Self { head, header, parts: parts(message)?, facility })
    }

    /// Who sent it, and which it is.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The order's number, as the one who placed it knows it: `ORC-2` and `OBR-2`, which must not differ.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when there is none, or there are several: what is about several orders is to be sent
    /// as several messages.
    pub fn order(&self) -> Result<String, ReadError> {
        let mut found: Option<String> = None;
        for group in &self.parts.groups {
            let request = group.request.segment;
            let of_order = group.order.map(|order| order.field(2));
            for field in of_order.into_iter().chain([request.field(2)]) {
                let named = field.text()?;
                if found.as_ref().is_some_and(|found| !named.is_empty() && *found != named) {
                    let what = "names another order than what stands before";
                    return Err(ReadError::new(field.place(), Code::UnknownKey, what));
                }
                if !named.is_empty() {
                    found = Some(named);
                }
            }
        }
        let first = self.parts.groups[0].request.segment.place();
        found.ok_or(ReadError::missing(first.field(2)))
    }

    /// The patient's numbers, of `PID-3` and, from before version 2.7, `PID-2` and `PID-19`. Numbers without
    /// a numbering system are nobody's.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when there is none.
    pub fn patient_numbers(&self) -> Result<Vec<Number>, ReadError> {
        let patient = self.parts.patient;
        let mut numbers = Vec::new();
        for field in [3, 2].map(|number| patient.field(number)) {
            for one in field.repetitions() {
                if let (Some(system), value) = number(one)? {
                    numbers.push(Number { system, value });
                }
            }
        }
        let social = patient.field(19).text()?;
        if !social.is_empty() {
            numbers.push(Number { system: "http://hl7.org/fhir/sid/us-ssn".into(), value: social });
        }
        numbers.retain(|number| !number.value.is_empty());
        if numbers.is_empty() {
            let what = "has no number with its authority";
            return Err(ReadError::new(patient.place().field(3), Code::Missing, what));
        }
        Ok(numbers)
    }

    /// How far the result is: as far as the last of its examinations. What says that it is final, and has
    /// an observation that is corrected, is a correction.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when there is no result yet, or it was cancelled, which is for who ordered it.
    pub fn stage(&self) -> Result<Stage, ReadError> {
        let mut stage = Stage::Final;
        let mut last = None;
        for group in &self.parts.groups {
            let field = group.request.segment.field(25);
            last = Some(field.place());
            let of_group = match request_status(field)? {
                "final" => Stage::Final,
                "corrected" => Stage::Corrected,
                _ => Stage::Preliminary,
            };
            stage = match (stage, of_group) {
                (Stage::Preliminary, _) | (_, Stage::Preliminary) => Stage::Preliminary,
                (Stage::Corrected, _) | (_, Stage::Corrected) => Stage::Corrected,
                _ => Stage::Final,
            };
        }
        let mut statuses = Vec::new();
        for group in &self.parts.groups {
            statuses.push(request_status(group.request.segment.field(25))?);
            for noted in &group.observations {
                if stage == Stage::Final && status(noted.segment)? == "corrected" {
                    stage = Stage::Corrected;
                }
            }
        }
        let place = last.expect("there is an OBR");
        let refuse = |what| Err(ReadError::new(place, Code::Table, what));
        if statuses.iter().all(|status| *status == "registered") {
            return refuse("says that there is no result yet");
        }
        if statuses.iter().all(|status| *status == "cancelled") {
            return refuse("says that it was cancelled, which is for who ordered it");
        }
        Ok(stage)
    }

    /// Whether somebody must know of it at once (`OBX-8` is `HH`, `LL` or `AA`).
    ///
    /// # Errors
    ///
    /// [`ReadError`] when the statuses of observations cannot be read.
    pub fn is_critical(&self) -> Result<bool, ReadError> {
        for group in &self.parts.groups {
            for noted in &group.observations {
                if is_critical(noted.segment)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The `DiagnosticReport` as JSON, with observations and specimens contained.
    ///
    /// # Errors
    ///
    /// [`ReadError`] when anything in the message is not understood.
    pub fn to_fhir(&self, references: &References<'_>) -> Result<String, ReadError> {
        let offset = Offset::of(&self.head.field(7).text()?);
        let origin =
            Origin { facility: &self.facility, offset: offset.as_ref().or(references.offset) };
        let status = match self.stage()? {
            Stage::Preliminary if self.is_partial()? => "partial",
            Stage::Preliminary => "preliminary",
            Stage::Final => "final",
            Stage::Corrected => "corrected",
        };
        let mut making =
            Making { references, origin, contained: Vec::new(), specimens: Vec::new() };
        let mut results = Vec::new();
        let has_panels = self.parts.groups.len() > 1;
        for (number, group) in self.parts.groups.iter().enumerate() {
            let ids = making.group(group, number + 1)?;
            if has_panels {
                results.push(making.panel(group, &ids, number + 1)?);
            } else {
                results = ids;
            }
        }
        let Making { contained, specimens, .. } = making;
        let first = &self.parts.groups[0];
        let request = first.request.segment;
        let code = concept(request.field(4), origin.facility)?;
        let mut report = json!({
            "resourceType": "DiagnosticReport",
            "status": status,
            "category": categories(request, origin)?,
            "code": code.ok_or(ReadError::missing(request.place().field(4)))?,
            "subject": { "reference": references.subject },
            "basedOn": [{ "reference": references.order }],
            "performer": references.performers.iter().map(|one| json!({ "reference": one })).collect::<Vec<_>>(),
        });
        let mut identifiers = Vec::from_iter(identifier(request.field(2), "PLAC")?);
        identifiers.extend(identifier(request.field(3), "FILL")?);
        set(&mut report, "identifier", some(identifiers));
        set(&mut report, "encounter", self.encounter()?);
        set_effective(&mut report, request, origin)?;
        set(&mut report, "issued", issued(request, origin)?.map(Value::from));
        set(&mut report, "resultsInterpreter", interpreter(request)?);
        let to = |ids: &[String]| {
            some(ids.iter().map(|id| json!({ "reference": format!("#{id}") })).collect())
        };
        set(&mut report, "specimen", to(&specimens));
        set(&mut report, "result", to(&results));
        // R4 has no notes here; this is where R5 has them.
        let notes = if has_panels { Vec::new() } else { notes(&first.request.notes)? };
        let url = "http://hl7.org/fhir/5.0/StructureDefinition/extension-DiagnosticReport.note";
        let extensions =
            notes.into_iter().map(|note| json!({ "url": url, "valueAnnotation": note }));
        set(&mut report, "extension", some(extensions.collect()));
        set(&mut report, "contained", some(contained));
        Ok(to_text(&report))
    }

    fn is_partial(&self) -> Result<bool, ReadError> {
        let statuses =
            self.parts.groups.iter().map(|group| request_status(group.request.segment.field(25)));
        let statuses: Vec<&str> = statuses.collect::<Result<_, _>>()?;
        let some = |wanted: &str| statuses.contains(&wanted);
        // Some results are there, and others not.
        Ok(some("partial")
            || (some("registered") && statuses.iter().any(|one| *one != "registered")))
    }

    /// The visit by its number, `PV1-19`.
    fn encounter(&self) -> Result<Option<Value>, ReadError> {
        let Some(visit) = self.parts.visit else { return Ok(None) };
        let (system, value) = number(visit.field(19))?;
        if value.is_empty() {
            return Ok(None);
        }
        let mut identifier = json!({ "value": value });
        set(&mut identifier, "system", system.map(Value::from));
        Ok(Some(json!({ "type": "Encounter", "identifier": identifier })))
    }
}

/// What the report contains, as far as it was made.
struct Making<'a> {
    references: &'a References<'a>,
    origin: Origin<'a>,
    contained: Vec<Value>,
    /// The ids of all specimens.
    specimens: Vec<String>,
}

impl Making<'_> {
    /// Makes the specimens and observations of an examination; gives the ids of these.
    fn group(&mut self, group: &Group<'_>, number: usize) -> Result<Vec<String>, ReadError> {
        let (subject, order) = (self.references.subject, self.references.order);
        let mut specimens = Vec::new();
        for (at, noted) in group.specimens.iter().enumerate() {
            let id = format!("specimen-{number}-{}", at + 1);
            self.contained.push(specimen(noted, &id, subject, order, self.origin)?);
            specimens.push(id);
        }
        if specimens.is_empty() {
            let (id, request) = (format!("specimen-{number}-1"), group.request.segment);
            let made = specimen_of_request(request, &id, subject, order, self.origin)?;
            specimens.extend(made.is_some().then_some(id));
            self.contained.extend(made);
        }
        let effective = date_time(group.request.segment.field(7), self.origin)?;
        let shared = Shared { subject, origin: self.origin, effective, specimens: &specimens };
        let mut ids = Vec::new();
        for (at, noted) in group.observations.iter().enumerate() {
            let id = format!("observation-{number}-{}", at + 1);
            self.contained.push(observation(noted, &id, &shared)?);
            ids.push(id);
        }
        self.specimens.extend(specimens);
        Ok(ids)
    }

    /// An examination as an observation that has others as members; gives its id.
    fn panel(
        &mut self,
        group: &Group<'_>,
        members: &[String],
        number: usize,
    ) -> Result<String, ReadError> {
        let Noted { segment: request, notes: comments } = &group.request;
        let code = concept(request.field(4), self.origin.facility)?;
        let id = format!("panel-{number}");
        let status = match request_status(request.field(25))? {
            "partial" => "preliminary",
            status => status,
        };
        let mut panel = json!({
            "resourceType": "Observation",
            "id": id,
            "status": status,
            "category": [laboratory()],
            "code": code.ok_or(ReadError::missing(request.place().field(4)))?,
            "subject": { "reference": self.references.subject },
        });
        let members = members.iter().map(|id| json!({ "reference": format!("#{id}") })).collect();
        set(&mut panel, "hasMember", some(members));
        set_effective(&mut panel, *request, self.origin)?;
        set(&mut panel, "note", some(notes(comments)?));
        self.contained.push(panel);
        Ok(id)
    }
}

/// The status of an examination.
fn request_status(field: Field<'_>) -> Result<&'static str, ReadError> {
    let code = field.text()?;
    if code.is_empty() {
        return Err(ReadError::missing(field.place()));
    }
    let unknown =
        ReadError::new(field.place(), Code::Table, "is no status of a result in table 0123");
    tables::report_status(&code).ok_or(unknown)
}

/// Laboratory, and the section that `OBR-24` names.
fn categories(request: Segment<'_>, origin: Origin<'_>) -> Result<Value, ReadError> {
    let mut categories = vec![laboratory()];
    if let Some(mut section) = concept(request.field(24), origin.facility)? {
        if section["coding"][0]["system"].is_null() && section["coding"][0].is_object() {
            let system = "http://terminology.hl7.org/CodeSystem/v2-0074";
            section["coding"][0]["system"] = system.into();
        }
        categories.push(section);
    }
    Ok(categories.into())
}

/// When it was observed: `OBR-7`, up to `OBR-8` where it has that.
fn set_effective(
    resource: &mut Value,
    request: Segment<'_>,
    origin: Origin<'_>,
) -> Result<(), ReadError> {
    let from = date_time(request.field(7), origin)?;
    match (from, date_time(request.field(8), origin)?) {
        (Some(from), Some(to)) => {
            resource["effectivePeriod"] = period(from, to, request.field(8))?;
        }
        (from, to) => set(resource, "effectiveDateTime", from.or(to).map(Value::from)),
    }
    Ok(())
}

/// When it was issued, `OBR-22`, if that says so to the minute.
fn issued(request: Segment<'_>, origin: Origin<'_>) -> Result<Option<String>, ReadError> {
    let field = request.field(22);
    let text = field.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |what| ReadError::new(field.place(), Code::Type, what);
    moment::instant(&text, origin.offset).map_err(wrong)
}

/// Who interpreted it, `OBR-32`: a name in subcomponents before version 2.7, a person (XCN) from then on.
fn interpreter(request: Segment<'_>) -> Result<Option<Value>, ReadError> {
    let field = request.field(32);
    let part = |number| field.component(1).subcomponent(number);
    if part(2)?.is_empty() {
        return Ok(person(field)?.map(|found| json!([found])));
    }
    let mut found = json!({ "type": "Practitioner" });
    let name = format!("{} {}", part(3)?, part(2)?);
    set(&mut found, "display", Some(name.trim().into()));
    if !part(1)?.is_empty() {
        found["identifier"] = json!({ "value": part(1)? });
    }
    Ok(Some(json!([found])))
}

/// A list, unless it is empty.
fn some(values: Vec<Value>) -> Option<Value> {
    (!values.is_empty()).then(|| values.into())
}
