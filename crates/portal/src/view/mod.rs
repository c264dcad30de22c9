//! FHIR resources as people read them: one line of each in a list, and the whole of it on a page.
//!
//! Whatever stands in a resource is text for us: names, links and markup in it are shown and never followed or
//! rendered, because whoever wrote it may have been wrong or worse. A resource's own narrative is not used.

mod field;
mod kinds;
mod laboratory;
mod rest;

pub(crate) use field::{is_fit, text};
pub(crate) use kinds::{SHOWN, Source, sources};
pub(crate) use laboratory::series;

use maud::{Markup, html};
use serde_json::Value;

use crate::{
    design::parts::{Tone, badge, facts},
    times,
    words::Words,
};

/// One line of a resource.
pub(crate) struct Line {
    pub(crate) title: String,
    /// What was found, in short: a value, a dose.
    pub(crate) gist: String,
    /// When, as FHIR says it.
    pub(crate) when: String,
    pub(crate) status: Option<(Tone, String)>,
}

/// What a resource is about, in one line.
pub(crate) fn line(resource: &Value) -> Line {
    let first =
        |names: &[&str]| names.iter().find_map(|name| text(&resource[*name])).unwrap_or_default();
    let resource_type = resource["resourceType"].as_str().unwrap_or_default();
    let title = match resource_type {
        "Patient" => {
            // Who has no name here is known by a number.
            let name = field::human_name(&resource["name"][0]);
            let number = || text(&resource["identifier"][0]["value"]).unwrap_or_default();
            if name.is_empty() { number() } else { name }
        }
        "Encounter" => first(&["type", "serviceType", "class"]),
        "Immunization" => first(&["vaccineCode"]),
        "MedicationRequest"
        | "MedicationDispense"
        | "MedicationStatement"
        | "MedicationAdministration" => {
            first(&["medicationCodeableConcept", "medicationReference"])
        }
        "DocumentReference" | "Composition" => first(&["description", "title", "type"]),
        "CarePlan" => first(&["title", "category", "description"]),
        "Goal" => first(&["description"]),
        "Device" => first(&["deviceName", "type", "modelNumber"]),
        "Coverage" | "Claim" | "ExplanationOfBenefit" | "ClaimResponse" => {
            first(&["type", "subType"])
        }
        "FamilyMemberHistory" => first(&["relationship"]),
        "ImagingStudy" => first(&["description", "procedureCode", "modality"]),
        "Appointment" => first(&["description", "serviceType", "appointmentType"]),
        _ => first(&["code", "title", "description", "type", "category"]),
    };
    let gist = match resource_type {
        "Observation" => laboratory::value(resource),
        "MedicationRequest" | "MedicationStatement" => field::dosage(resource),
        "DiagnosticReport" => first(&["conclusion"]),
        "AllergyIntolerance" => resource["reaction"][0]["manifestation"][0].pipe_text(),
        _ => String::new(),
    };
    Line {
        title: if title.is_empty() { field::spaced(resource_type) } else { title },
        gist,
        when: field::when(resource).unwrap_or_default(),
        status: status(resource),
    }
}

/// How something stands, where that matters to whoever reads it.
fn status(resource: &Value) -> Option<(Tone, String)> {
    if resource["resourceType"] == "Observation" {
        return laboratory::flag(resource);
    }
    if resource["criticality"] == "high" {
        return Some((Tone::Bad, "high risk".into()));
    }
    let clinical = text(&resource["clinicalStatus"]);
    let status = clinical.or_else(|| resource["status"].as_str().map(str::to_owned))?;
    let tone = match &*status {
        "active" | "in-progress" | "preparation" | "Active" => Tone::Good,
        "cancelled" | "stopped" | "entered-in-error" | "revoked" => Tone::Warning,
        "finished" | "final" | "completed" | "current" => return None,
        _ => Tone::Plain,
    };
    Some((tone, status))
}

/// A resource in a list, as a link to the whole of it.
pub(crate) fn item(resource: &Value, href: &str) -> Markup {
    let line = line(resource);
    html! {
        li {
            div class="row" {
                a class="what" href=(href) { (line.title) }
                @if let Some((tone, status)) = &line.status { (badge(*tone, status)) }
                @if !line.when.is_empty() { span class="when" { (times::fhir(&line.when)) } }
            }
            @if !line.gist.is_empty() { p { (line.gist) } }
        }
    }
}

/// The whole of a resource.
pub(crate) fn whole(resource: &Value, words: &Words) -> Markup {
    let shown = match resource["resourceType"].as_str().unwrap_or_default() {
        "Observation" => laboratory::observation(resource, words),
        "DiagnosticReport" => laboratory::report(resource, words),
        "DocumentReference" => rest::document(resource),
        _ => html! {},
    };
    html! {
        (shown)
        (facts(&rest::fields(resource)))
    }
}

/// The fields of a resource as lines of text: to be held against those of another version.
pub(crate) fn lines(resource: &Value) -> Vec<(String, String)> {
    rest::texts(resource)
}

/// Shorthand for a concept's words.
trait PipeText {
    fn pipe_text(&self) -> String;
}

impl PipeText for Value {
    fn pipe_text(&self) -> String {
        text(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What somebody might write into a field to be run in a reader's browser.
    const PLANTED: &str = r#""><img src=x onerror=alert(1)><script>alert(1)</script>"#;

    #[track_caller]
    fn check_escaped(shown: &str) {
        assert!(!shown.contains("<script") && !shown.contains("<img"), "{shown}");
    }

    /// Every text of a resource, replaced by what must not be run.
    fn plant(value: &mut Value) {
        match value {
            Value::String(text) => *text = PLANTED.into(),
            Value::Array(values) => values.iter_mut().for_each(plant),
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    if name != "resourceType" {
                        plant(value);
                    }
                }
            }
            _ => {}
        }
    }

    #[test]
    fn what_stands_in_a_resource_is_never_markup() {
        for (_, sources) in kinds::all() {
            for source in sources {
                let mut resource = json!({
                    "resourceType": source.resource_type,
                    "id": "x", "status": "active", "code": { "text": "x", "coding": [{ "system": "x", "code": "x", "display": "x" }] },
                    "name": [{ "family": "x", "given": ["x"], "text": "x" }], "type": [{ "text": "x" }],
                    "medicationCodeableConcept": { "text": "x" }, "vaccineCode": { "text": "x" },
                    "dosageInstruction": [{ "text": "x" }], "description": "x", "title": "x",
                    "valueQuantity": { "value": 1.0, "unit": "x", "code": "x" }, "valueString": "x",
                    "referenceRange": [{ "text": "x", "low": { "value": 1, "unit": "x" } }],
                    "interpretation": [{ "coding": [{ "code": "x" }] }], "effectiveDateTime": "x",
                    "reaction": [{ "manifestation": [{ "text": "x" }], "severity": "x" }],
                    "content": [{ "attachment": { "contentType": "x", "data": "x", "url": "x", "title": "x" } }],
                    "text": { "status": "generated", "div": "<div>x</div>" },
                    "conclusion": "x", "presentedForm": [{ "contentType": "x", "data": "x", "title": "x" }],
                    "extension": [{ "url": "x", "valueString": "x" }], "clinicalStatus": { "text": "x" }, "criticality": "x",
                    "component": [{ "code": { "text": "x" }, "valueString": "x" }],
                    "contained": [{ "resourceType": "Observation", "code": { "text": "x" }, "valueString": "x" }],
                });
                plant(&mut resource);
                let words = &crate::words::ENGLISH;
                check_escaped(&item(&resource, "/patient/records/X/x").into_string());
                check_escaped(&whole(&resource, words).into_string());
            }
        }
    }

    #[test]
    fn a_result_outside_its_range_is_marked() {
        let resource = json!({
            "resourceType": "Observation", "code": { "text": "Potassium" },
            "valueQuantity": { "value": 6.4, "unit": "mmol/L" },
            "referenceRange": [{ "low": { "value": 3.5 }, "high": { "value": 5.1 } }],
        });
        let line = line(&resource);
        assert_eq!((&*line.title, &*line.gist), ("Potassium", "6.4 mmol/L"));
        assert_eq!(line.status, Some((Tone::Warning, "high".into())));
    }
}
