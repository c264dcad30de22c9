//! Records without whom they are about. Pure: resources in, resources out.
//!
//! Nothing is taken out of a resource: what may stay is put into a new one. The rules, by which the identifiers
//! of 45 CFR 164.514(b)(2)(i) (A) to (R) do not come along:
//!
//! 1. Only the resource types and fields of [`FORMS`] stay. Names, addresses, numbers, contacts, identifiers and
//!    ids, devices, images, attachments, references and extensions are in none of them (A, B, D to R).
//! 2. Who it is about becomes a pseudonym, which the caller makes with a key for one study.
//! 3. Dates become years (C). What is about an age or a birth ([`AGES`]) is dropped, and so is a number in a unit of
//!    time, so nobody is seen to be over 89.
//! 4. Free text is dropped: narratives, notes, what is displayed beside a code, values that are strings.
//! 5. A code stays when its system is public ([`SYSTEMS`]) and when it looks like a code; a status when FHIR knows it.
//! 6. A number stays with one of some UCUM units ([`UNITS`]), rounded to three digits that count, so that no number
//!    that identifies somebody (R) hides in one. UCUM's annotations, in braces, are free text.
//! 7. What fewer than [`CELL`] patients share is dropped: a code with its resource, and beside a code
//!    each further code, year or unit. The numbers themselves are shared by nobody, and stay.
//!
//! # Source
//!
//! The HIPAA Safe Harbor, 45 CFR 164.514(b)(2). It asks besides that whoever gives the extract out knows of no way
//! back from what stays (ii): that is for people to judge, not for this.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::Address;
use serde_json::{Map, Number, Value, json};

use super::auditor::CELL;

/// Code systems that anybody can look up, and in which no institution has numbers of its own.
const SYSTEMS: [&str; 8] = [
    "http://snomed.info/sct",
    "http://loinc.org",
    "http://www.nlm.nih.gov/research/umls/rxnorm",
    "http://www.whocc.no/atc",
    "http://hl7.org/fhir/sid/icd-10",
    "http://hl7.org/fhir/sid/icd-10-cm",
    "http://hl7.org/fhir/sid/cvx",
    "http://hl7.org/fhir/sid/ndc",
];

/// Those of HL7 itself begin like this.
const HL7_SYSTEMS: &str = "http://terminology.hl7.org/CodeSystem/";

/// The system of units.
const UCUM: &str = "http://unitsofmeasure.org";

/// Units of what is measured of people; none of time, in which ages are given.
const UNITS: [&str; 62] = [
    "%",
    "/min",
    "/uL",
    "/[HPF]",
    "/[LPF]",
    "10*3/uL",
    "10*6/uL",
    "10*9/L",
    "10*12/L",
    "10*3/mL",
    "Cel",
    "K",
    "L",
    "L/min",
    "U/L",
    "U/mL",
    "[IU]/L",
    "[IU]/mL",
    "k[IU]/L",
    "m[IU]/L",
    "u[IU]/mL",
    "[degF]",
    "[in_i]",
    "[lb_av]",
    "cm",
    "dB",
    "dL",
    "fL",
    "g",
    "g/L",
    "g/dL",
    "kPa",
    "kat/L",
    "kg",
    "kg/m2",
    "m",
    "m/s",
    "meq/L",
    "mg",
    "mg/L",
    "mg/dL",
    "mg/g",
    "mg/mmol",
    "mL",
    "mL/min",
    "mL/min/{1.73_m2}",
    "mm",
    "mm[Hg]",
    "mmol/L",
    "mmol/mol",
    "mol/L",
    "mosm/kg",
    "nkat/L",
    "ng/L",
    "ng/dL",
    "ng/mL",
    "nmol/L",
    "pg",
    "pg/mL",
    "pmol/L",
    "ug/L",
    "umol/L",
];

/// What says how old somebody is, or when they were born: with a word for "over 90" as its value, it would be one.
///
/// # Source
///
/// LOINC: age, estimated, reported, calculated, current, at diagnosis, at specimen collection, birth date.
/// SNOMED CT: age, current chronological age, age at onset, at death, at diagnosis, date of birth.
const AGES: [&str; 15] = [
    "30525-0",
    "21611-9",
    "21612-7",
    "29553-5",
    "63900-5",
    "63932-8",
    "35659-2",
    "39016-1",
    "21112-8",
    "397669002",
    "424144002",
    "445518008",
    "397659008",
    "423493009",
    "184099003",
];

/// How a field comes along.
#[derive(Clone, Copy)]
enum Shape {
    /// One of these words.
    Word(&'static [&'static str]),
    /// A `CodeableConcept`, by its codes.
    Concept,
    /// Several of these.
    Concepts,
    /// A date or time, by its year.
    Year,
    /// A `Quantity`.
    Quantity,
    /// Who it is about.
    Subject,
}

/// What stays of a type: the field that says what it is about, and the others.
struct Form {
    resource_type: &'static str,
    about: &'static str,
    fields: &'static [(&'static str, Shape, Needed)],
}

/// Whether a resource without the field is none.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Yes,
    No,
}

use Needed::{No, Yes};
use Shape::{Concept, Concepts, Quantity, Subject, Word, Year};

const OBSERVED: &[&str] = &["registered", "preliminary", "final", "amended", "corrected"];
const REPORTED: &[&str] =
    &["registered", "partial", "preliminary", "final", "amended", "corrected", "appended"];
const PRESCRIBED: &[&str] = &["active", "on-hold", "cancelled", "completed", "stopped", "draft"];
const INTENDED: &[&str] =
    &["proposal", "plan", "order", "original-order", "reflex-order", "filler-order"];
const TAKEN: &[&str] =
    &["active", "completed", "intended", "stopped", "on-hold", "unknown", "not-taken"];
const DONE: &[&str] =
    &["preparation", "in-progress", "not-done", "on-hold", "stopped", "completed", "unknown"];
const GIVEN: &[&str] = &["completed", "not-done"];

/// What stays, by type. What was entered in error is no status of these, and so stays behind.
const FORMS: [Form; 8] = [
    Form {
        resource_type: "AllergyIntolerance",
        about: "code",
        fields: &[
            ("clinicalStatus", Concept, Yes),
            ("verificationStatus", Concept, No),
            ("patient", Subject, Yes),
            ("recordedDate", Year, No),
        ],
    },
    Form {
        resource_type: "Condition",
        about: "code",
        fields: &[
            ("clinicalStatus", Concept, No),
            ("verificationStatus", Concept, No),
            ("subject", Subject, Yes),
            ("onsetDateTime", Year, No),
            ("recordedDate", Year, No),
        ],
    },
    Form {
        resource_type: "DiagnosticReport",
        about: "code",
        fields: &[
            ("status", Word(REPORTED), Yes),
            ("subject", Subject, Yes),
            ("effectiveDateTime", Year, No),
            ("conclusionCode", Concepts, No),
        ],
    },
    Form {
        resource_type: "Immunization",
        about: "vaccineCode",
        fields: &[
            ("status", Word(GIVEN), Yes),
            ("patient", Subject, Yes),
            ("occurrenceDateTime", Year, Yes),
        ],
    },
    Form {
        resource_type: "MedicationRequest",
        about: "medicationCodeableConcept",
        fields: &[
            ("status", Word(PRESCRIBED), Yes),
            ("intent", Word(INTENDED), Yes),
            ("subject", Subject, Yes),
            ("authoredOn", Year, No),
        ],
    },
    Form {
        resource_type: "MedicationStatement",
        about: "medicationCodeableConcept",
        fields: &[
            ("status", Word(TAKEN), Yes),
            ("subject", Subject, Yes),
            ("effectiveDateTime", Year, No),
        ],
    },
    Form {
        resource_type: "Observation",
        about: "code",
        fields: &[
            ("status", Word(OBSERVED), Yes),
            ("category", Concepts, No),
            ("subject", Subject, Yes),
            ("effectiveDateTime", Year, No),
            ("valueQuantity", Quantity, No),
            ("valueCodeableConcept", Concept, No),
            ("interpretation", Concepts, No),
        ],
    },
    Form {
        resource_type: "Procedure",
        about: "code",
        fields: &[
            ("status", Word(DONE), Yes),
            ("subject", Subject, Yes),
            ("performedDateTime", Year, No),
        ],
    },
];

fn form_of(resource: &Value) -> Option<&'static Form> {
    let resource_type = resource["resourceType"].as_str()?;
    FORMS.iter().find(|form| form.resource_type == resource_type)
}

/// The codes, each with its system, of what a resource is about: those by which it is found and shared.
pub(super) fn codes_of(resource: &Value) -> Vec<(String, String)> {
    // What was entered in error says nothing of anybody.
    let kept = form_of(resource).filter(|form| reduced(form, resource, "0").is_some());
    let codings = kept.map(|form| codings(&resource[form.about])).unwrap_or_default();
    let text = |coding: &Value, field: &str| coding[field].as_str().unwrap_or_default().to_owned();
    codings.iter().map(|coding| (text(coding, "system"), text(coding, "code"))).collect()
}

/// What of these resources may be given out, whose they are being pseudonyms. In an order that says nothing
/// of when they were written.
#[must_use]
pub fn deidentify(
    resources: &[(Address, Value)],
    pseudonym: impl Fn(Address) -> String,
) -> Vec<(Address, Value)> {
    let mut kept: Vec<(Address, &Form, Value)> = Vec::new();
    for (patient, resource) in resources {
        let Some(form) = form_of(resource) else { continue };
        if let Some(reduced) = reduced(form, resource, &pseudonym(*patient)) {
            kept.push((*patient, form, reduced));
        }
    }
    // A field that is dropped makes others rarer only with its whole resource: so it is done until nothing changes.
    loop {
        let before = kept.len();
        let shared = shared(&kept);
        kept.retain_mut(|(_, form, resource)| drop_rare(form, resource, &shared));
        if kept.len() == before {
            break;
        }
    }
    let mut kept: Vec<_> =
        kept.into_iter().map(|(patient, _, resource)| (patient, resource)).collect();
    kept.sort_by_cached_key(|(patient, resource)| (pseudonym(*patient), resource.to_string()));
    kept
}

/// A resource of what may stay; nothing when that is none.
fn reduced(form: &Form, resource: &Value, pseudonym: &str) -> Option<Value> {
    let mut made = Map::new();
    made.insert("resourceType".into(), form.resource_type.into());
    let about = &resource[form.about]["coding"];
    let is_age = |coding: &Value| coding["code"].as_str().is_some_and(|code| AGES.contains(&code));
    if about.as_array().is_some_and(|codings| codings.iter().any(is_age)) {
        return None;
    }
    made.insert(form.about.into(), concept(&resource[form.about])?);
    for (name, shape, needed) in form.fields {
        let given = &resource[*name];
        let kept = match shape {
            Word(words) => given.as_str().filter(|word| words.contains(word)).map(Value::from),
            Concept => concept(given),
            Concepts => {
                let all: Vec<_> =
                    given.as_array().into_iter().flatten().filter_map(concept).collect();
                (!all.is_empty()).then_some(Value::Array(all))
            }
            Year => year(given),
            Quantity => quantity(given),
            Subject => Some(json!({ "reference": format!("Patient/{pseudonym}") })),
        };
        match kept {
            Some(kept) => drop(made.insert((*name).into(), kept)),
            None if *needed == Yes => return None,
            // A status that says that nothing of it holds.
            None if given["coding"][0]["code"] == "entered-in-error" => return None,
            None => {}
        }
    }
    let verification = &made.get("verificationStatus").unwrap_or(&Value::Null)["coding"];
    let is_error = |coding: &Value| coding["code"] == "entered-in-error";
    let in_error = verification.as_array().is_some_and(|codings| codings.iter().any(is_error));
    (!in_error).then_some(Value::Object(made))
}

/// What several patients say alike: a type, what it is about, and a field beside with what it says.
type Cell = (&'static str, String, &'static str, String);

/// The cells that enough patients share.
fn shared(kept: &[(Address, &Form, Value)]) -> BTreeSet<Cell> {
    let mut cells: BTreeMap<Cell, BTreeSet<Address>> = BTreeMap::new();
    for (patient, form, resource) in kept {
        for cell in cells_of(form, resource) {
            cells.entry(cell).or_default().insert(*patient);
        }
    }
    cells.into_iter().filter(|(_, sharing)| sharing.len() >= CELL).map(|(cell, _)| cell).collect()
}

fn cells_of(form: &Form, resource: &Value) -> Vec<Cell> {
    let about = resource[form.about].to_string();
    let told = form.fields.iter().filter(|(_, shape, _)| !matches!(shape, Subject));
    let fields = told.map(|(name, shape, _)| (*name, Some(shape))).chain([(form.about, None)]);
    let present = fields.filter(|(name, _)| !resource[*name].is_null());
    let cell = |(name, shape): (&'static str, Option<&Shape>)| {
        let told = match shape {
            // Of a number, with what it is a number of.
            Some(Quantity) => json!([resource[name]["code"], resource[name]["comparator"]]),
            _ => resource[name].clone(),
        };
        (form.resource_type, about.clone(), name, told.to_string())
    };
    present.map(cell).collect()
}

/// Drops what is not shared; whether anything is left.
fn drop_rare(form: &Form, resource: &mut Value, shared: &BTreeSet<Cell>) -> bool {
    for cell in cells_of(form, resource) {
        if shared.contains(&cell) {
            continue;
        }
        let name = cell.2;
        let is_needed =
            form.fields.iter().any(|(field, _, needed)| *field == name && *needed == Yes);
        if name == form.about || is_needed {
            return false;
        }
        if let Some(fields) = resource.as_object_mut() {
            fields.remove(name);
        }
    }
    true
}

/// The codes of a `CodeableConcept` that may stay.
fn codings(concept: &Value) -> Vec<Value> {
    let given = concept["coding"].as_array().into_iter().flatten();
    let kept = given.filter_map(|coding| {
        let (system, code) = (coding["system"].as_str()?, coding["code"].as_str()?);
        let is_public = SYSTEMS.contains(&system)
            || system.strip_prefix(HL7_SYSTEMS).is_some_and(|name| is_code(name, 64));
        (is_public && is_code(code, 24)).then(|| json!({ "system": system, "code": code }))
    });
    kept.collect()
}

fn concept(given: &Value) -> Option<Value> {
    let codings = codings(given);
    (!codings.is_empty()).then(|| json!({ "coding": codings }))
}

fn is_code(text: &str, len_max: usize) -> bool {
    let is_of_code = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    (1..=len_max).contains(&text.len()) && text.bytes().all(is_of_code)
}

/// The year of a FHIR `date` or `dateTime`.
fn year(given: &Value) -> Option<Value> {
    let text = given.as_str()?;
    let (year, rest) = text.split_at_checked(4)?;
    let is_year = year.bytes().all(|byte| byte.is_ascii_digit());
    (is_year && (rest.is_empty() || rest.starts_with('-'))).then(|| year.into())
}

fn quantity(given: &Value) -> Option<Value> {
    let (value, unit) = (given["value"].as_f64()?, given["code"].as_str()?);
    if given["system"] != UCUM || !UNITS.contains(&unit) {
        return None;
    }
    let rounded: f64 = format!("{value:.2e}").parse().ok()?;
    let mut kept = json!({ "value": Number::from_f64(rounded)?, "system": UCUM, "code": unit });
    if let Some(comparator) = given["comparator"].as_str()
        && ["<", "<=", ">=", ">"].contains(&comparator)
    {
        kept["comparator"] = comparator.into();
    }
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNOMED: &str = "http://snomed.info/sct";

    fn condition(code: &str, recorded: &str) -> Value {
        json!({
            "resourceType": "Condition",
            "id": "a-record",
            "code": { "coding": [{ "system": SNOMED, "code": code, "display": "a word" }] },
            "subject": { "reference": "Patient/somebody", "display": "a name" },
            "recordedDate": recorded,
        })
    }

    fn patient(number: u8) -> Address {
        Address::repeat_byte(number)
    }

    /// The same of a number of patients, and something of one more.
    fn of(count: u8, resource: &Value) -> Vec<(Address, Value)> {
        (1..=count).map(|number| (patient(number), resource.clone())).collect()
    }

    fn kept(resources: &[(Address, Value)]) -> Vec<Value> {
        let made = deidentify(resources, |patient| format!("p{}", patient[0]));
        made.into_iter().map(|(_, resource)| resource).collect()
    }

    #[test]
    fn what_stays_is_type_code_year_and_pseudonym() {
        let all = kept(&of(5, &condition("38341003", "2026-03-02")));
        assert_eq!(all.len(), 5);
        let expected = json!({
            "resourceType": "Condition",
            "code": { "coding": [{ "system": SNOMED, "code": "38341003" }] },
            "subject": { "reference": "Patient/p1" },
            "recordedDate": "2026",
        });
        assert_eq!(all[0], expected);
    }

    #[test]
    fn rare_codes_and_rare_years_are_dropped() {
        assert!(kept(&of(4, &condition("38341003", "2026"))).is_empty());
        let mut some = of(5, &condition("38341003", "2026"));
        some.push((patient(6), condition("38341003", "1957-01-01T00:00:00Z")));
        some.push((patient(1), condition("22298006", "2026")));
        let all = kept(&some);
        assert_eq!(all.len(), 6, "the rare code is gone, with its resource");
        assert!(!json!(all).to_string().contains("1957"), "and so is the year, which only one has");
    }

    #[test]
    fn several_records_of_one_patient_are_one_patient() {
        let same: Vec<_> = (0..9).map(|_| (patient(1), condition("38341003", "2026"))).collect();
        assert!(kept(&same).is_empty());
    }

    #[test]
    fn numbers_of_an_institution_are_no_codes() {
        let with = |system: &str, code: &str| {
            let mut resource = condition(code, "2026");
            resource["code"]["coding"][0]["system"] = system.into();
            kept(&of(5, &resource)).len()
        };
        assert_eq!(with(SNOMED, "38341003"), 5);
        assert_eq!(with("http://loinc.org", "2823-3"), 5);
        assert_eq!(with("https://hospital.example/numbers", "38341003"), 0);
        assert_eq!(with("http://terminology.hl7.org/CodeSystem/Maria Muster", "x"), 0);
        assert_eq!(with(SNOMED, "Maria Muster"), 0);
        assert_eq!(with(SNOMED, &"1".repeat(25)), 0);
    }

    fn observation(code: &str, value: f64, (system, unit): (&str, &str)) -> Value {
        json!({
            "resourceType": "Observation",
            "status": "final",
            "code": { "coding": [{ "system": "http://loinc.org", "code": code }] },
            "subject": { "reference": "Patient/somebody" },
            "valueQuantity": { "value": value, "unit": "a name", "system": system, "code": unit },
            "issued": "2026-03-02T09:00:00Z",
        })
    }

    #[test]
    fn numbers_are_rounded_and_need_a_unit() {
        let measured = |value: f64, system: &str| {
            let resource = observation("2823-3", value, (system, "mmol/L"));
            kept(&of(5, &resource))[0]["valueQuantity"]["value"].as_f64()
        };
        assert_eq!(measured(4.32, UCUM), Some(4.32));
        assert_eq!(measured(987_654_321.0, UCUM), Some(988_000_000.0));
        assert_eq!(measured(4.32, "urn:other"), None);
    }

    #[test]
    fn ages_stay_behind() {
        assert_eq!(kept(&of(5, &observation("2823-3", 4.3, (UCUM, "mmol/L")))).len(), 5);
        for code in ["30525-0", "21612-7", "424144002"] {
            assert!(kept(&of(5, &observation(code, 97.0, (UCUM, "a")))).is_empty(), "{code}");
        }
        for unit in ["a", "mo", "wk", "d", "h", "min", "s", "a_j", "Ym", "{a}"] {
            let all = kept(&of(5, &observation("2823-3", 97.0, (UCUM, unit))));
            assert!(all.len() == 5 && !json!(all).to_string().contains("97"), "{unit}");
        }
    }

    #[test]
    fn units_say_nothing_of_anybody() {
        let mut some = of(5, &observation("2823-3", 4.3, (UCUM, "mmol/L")));
        some.push((patient(6), observation("2823-3", 4.4, (UCUM, "{PPS:1234567TW}"))));
        some.push((patient(7), observation("2823-3", 4.5, (UCUM, "mmol/L{note}"))));
        // One that is good, and nobody else has.
        some.push((patient(8), observation("2823-3", 172.0, (UCUM, "mg/dL"))));
        let mut below = observation("2823-3", 4.6, (UCUM, "mmol/L"));
        below["valueQuantity"]["comparator"] = "<".into();
        some.push((patient(9), below));
        let all = kept(&some);
        assert_eq!(all.len(), 9, "what was measured of whom stays");
        let measured: Vec<_> =
            all.iter().filter(|one| !one["valueQuantity"].is_null()).cloned().collect();
        let text = json!(all).to_string();
        assert_eq!(measured.len(), 5, "{text}");
        for word in ["PPS", "1234567", "note", "172", "4.4", "4.5", "4.6"] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        let mut unlike = UNITS.to_vec();
        unlike.sort_unstable();
        unlike.dedup();
        assert_eq!(unlike.len(), UNITS.len());
    }

    #[test]
    fn mistakes_and_other_types_stay_behind() {
        let mut mistake = condition("38341003", "2026");
        mistake["verificationStatus"] = json!({ "coding": [{
            "system": "http://terminology.hl7.org/CodeSystem/condition-ver-status",
            "code": "entered-in-error",
        }] });
        assert!(kept(&of(5, &mistake)).is_empty());
        let person = json!({ "resourceType": "Patient", "name": [{ "family": "Muster" }] });
        assert!(kept(&of(5, &person)).is_empty());
        for broken in [json!(null), json!([]), json!({ "resourceType": 3 }), json!("Condition")] {
            assert!(kept(&of(5, &broken)).is_empty());
        }
    }

    #[test]
    fn the_order_is_that_of_pseudonyms() {
        let mut all = of(6, &condition("38341003", "2026"));
        let ordered = kept(&all);
        all.reverse();
        assert_eq!(kept(&all), ordered);
    }
}
