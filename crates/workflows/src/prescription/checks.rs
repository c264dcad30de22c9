//! What an order is held against before it is issued: dose, allergies, and other medicines.
//!
//! The rules are data, in `rules.json` beside this file, each with its source. They find medicines by name in
//! the texts of the order and of the patient's records, so a name that they do not know is not found, and
//! an order without a dose is not held against one. Somebody who prescribes in spite of a finding says
//! why, and that is sealed and anchored as a record of its own.

use std::{fmt, sync::LazyLock};

use alloy_primitives::Address;
use domain::{AnchorState, Kind, KindSet, Purpose, RecordId, Timestamp};
use gatekeeper::{Reading, Versions};
use serde::Deserialize;
use serde_json::Value;
use vault::Listing;

use super::Order;
use crate::{Gateway, WorkflowError};

/// How many records are opened at a time.
const READ_AT_ONCE: usize = 200;

/// How much, how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dose {
    /// Of the ingredient, each time.
    pub each_micrograms: u64,
    /// How often a day.
    pub times_a_day: u32,
}

impl Dose {
    /// A dose of so many milligrams, with up to three digits after the point; nothing when the text is no
    /// such number.
    #[must_use]
    pub fn of_milligrams(text: &str, times_a_day: u32) -> Option<Self> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || rest.len() > 3 || !is_number(whole) || !is_number(rest) {
            return None;
        }
        let whole: u64 = whole.parse().ok()?;
        let rest: u64 = format!("{rest:0<3}").parse().ok()?;
        let each_micrograms = whole.checked_mul(1_000)?.checked_add(rest)?;
        Some(Self { each_micrograms, times_a_day })
    }

    fn daily_micrograms(self) -> u64 {
        self.each_micrograms.saturating_mul(self.times_a_day.into())
    }
}

/// What is known of a patient that bears on what they are prescribed, in the words of their records.
#[derive(Clone, Debug)]
pub struct Known {
    /// Of whom, by account.
    pub patient: Address,
    /// To what they are allergic.
    pub allergies: Vec<String>,
    /// What they take.
    pub medicines: Vec<String>,
    /// How many of these records do not open.
    pub unreadable: usize,
}

impl Known {
    /// Reads it at the institution that prescribes, as the prescriber, who gets a receipt like for any read. What the patient
    /// rejected, and medicines whose prescription was cancelled or is over, do not count.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when the prescriber is not in the care team: somebody else would read only a
    /// part, and a part proves nothing. [`WorkflowError::Answer`] when the steward refuses.
    pub async fn read(
        hospital: &Gateway,
        prescriber: Address,
        patient: Address,
        now: Timestamp,
    ) -> Result<Self, WorkflowError> {
        let keeper = &hospital.gatekeeper;
        keeper.refresh(now).await?;
        let reader = keeper.projection().await.registry.reader_of(prescriber, now);
        let cares = keeper.cares_for(patient, prescriber).await;
        let Some(reader) = reader.filter(|_| cares) else {
            let why = "who prescribes is not in the patient's care team, so nothing can be checked";
            return Err(WorkflowError::Invalid(why.into()));
        };
        let reading = Reading { reader, purpose: Purpose::Treatment };
        let kinds = KindSet::of(&[Kind::Allergy, Kind::Medication]);
        let listing = Listing { patient, steward: Some(hospital.member()), kinds };
        let mut known =
            Self { patient, allergies: Vec::new(), medicines: Vec::new(), unreadable: 0 };
        let mut after = None;
        loop {
            let page = keeper.vault().list(&listing, after, READ_AT_ONCE).await?;
            let Some(last) = page.last() else { return Ok(known) };
            after = Some(last.header.record);
            let records: Vec<RecordId> = page.iter().map(|entry| entry.header.record).collect();
            let (found, refused) = keeper.find(reading, &records, Versions::Newest, now).await?;
            known.unreadable += refused.len();
            let count = found.len();
            let opened = keeper.give(reading, found, now).await?;
            known.unreadable += count - opened.len();
            let projection = keeper.projection().await;
            for found in &opened {
                let prescription = projection.workflows.prescription(&found.record.0);
                let over =
                    prescription.is_some_and(|held| held.cancelled || held.valid_until <= now);
                if over || matches!(found.state, AnchorState::Rejected | AnchorState::Erased) {
                    continue;
                }
                match serde_json::from_str(found.body.get()) {
                    Ok(resource) => known.add(&resource),
                    Err(_) => known.unreadable += 1,
                }
            }
        }
    }

    /// What one FHIR resource tells.
    fn add(&mut self, resource: &Value) {
        let coded = |field: &str, codes: &[&str]| {
            let codings = resource[field]["coding"].as_array().into_iter().flatten();
            codings.filter_map(|coding| coding["code"].as_str()).any(|code| codes.contains(&code))
        };
        match resource["resourceType"].as_str().unwrap_or_default() {
            "AllergyIntolerance" => {
                let over = coded("clinicalStatus", &["inactive", "resolved"])
                    || coded("verificationStatus", &["refuted", "entered-in-error"]);
                if !over {
                    self.allergies.push(texts(&resource["code"]));
                }
            }
            "MedicationRequest" | "MedicationStatement" => {
                if matches!(resource["status"].as_str(), Some("active" | "on-hold")) {
                    self.medicines.push(texts(&resource["medicationCodeableConcept"]));
                }
            }
            _ => {}
        }
    }
}

/// All words of a concept.
fn texts(concept: &Value) -> String {
    let codings = concept["coding"].as_array().into_iter().flatten();
    let displays = codings.filter_map(|coding| coding["display"].as_str());
    let all: Vec<&str> = concept["text"].as_str().into_iter().chain(displays).collect();
    all.join(" ")
}

/// What stands against an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is more a day than the labelling allows.
    Dose {
        /// The most, in milligrams.
        most_milligrams: u32,
        /// Who says so.
        source: &'static str,
    },
    /// The patient is allergic.
    Allergy {
        /// To what, as their record says.
        to: String,
        /// Who says that the medicine is to be avoided then.
        source: &'static str,
    },
    /// It does not go with what the patient takes.
    Interaction {
        /// With what, as their record says.
        with: String,
        /// What may happen.
        effect: &'static str,
        /// Who says so.
        source: &'static str,
    },
    /// Some records could not be looked at.
    Unreadable(usize),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dose { most_milligrams, source } => {
                write!(f, "more than {most_milligrams} mg a day ({source})")
            }
            Self::Allergy { to, source } => write!(f, "allergy: {to} ({source})"),
            Self::Interaction { with, effect, source } => {
                write!(f, "interaction with {with}: {effect} ({source})")
            }
            Self::Unreadable(count) => write!(f, "{count} records do not open"),
        }
    }
}

/// An order that was held against what is known of the patient. Only [`check`] makes it, and nothing is
/// issued without.
#[derive(Clone, Debug)]
pub struct Checked<'a> {
    order: &'a Order,
    patient: Address,
    findings: Vec<Finding>,
    reason: String,
}

impl<'a> Checked<'a> {
    /// What is ordered.
    #[must_use]
    pub const fn order(&self) -> &'a Order {
        self.order
    }

    /// For whom it was checked, by account.
    #[must_use]
    pub const fn patient(&self) -> Address {
        self.patient
    }

    /// What was found and is overridden.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Why it is overridden; empty when nothing was found.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Holds an order against what is known of the patient.
///
/// # Errors
///
/// The findings, when there are any and nobody gives a reason to prescribe in spite of them.
pub fn check<'a>(
    order: &'a Order,
    known: &Known,
    reason: Option<&str>,
) -> Result<Checked<'a>, Vec<Finding>> {
    let findings = find(order, known);
    let reason = reason.unwrap_or_default().trim();
    if !findings.is_empty() && reason.is_empty() {
        return Err(findings);
    }
    let reason = if findings.is_empty() { String::new() } else { reason.to_owned() };
    Ok(Checked { order, patient: known.patient, findings, reason })
}

fn find(order: &Order, known: &Known) -> Vec<Finding> {
    let ordered = &order.medication.2;
    let mut findings = Vec::new();
    for rule in &RULES.doses {
        let most = u64::from(rule.most_milligrams_a_day) * 1_000;
        let above = order.dose.is_some_and(|dose| dose.daily_micrograms() > most);
        if above && names_any(ordered, &rule.medicines) {
            let most_milligrams = rule.most_milligrams_a_day;
            findings.push(Finding::Dose { most_milligrams, source: &rule.source });
        }
    }
    for allergy in &known.allergies {
        let rules = RULES.allergies.iter().filter(|rule| {
            names_any(allergy, &rule.allergies) && names_any(ordered, &rule.medicines)
        });
        let by_rules = rules.map(|rule| rule.source.as_str()).next();
        let by_name = names_the_same(allergy, ordered).then_some("the record names this medicine");
        if let Some(source) = by_rules.or(by_name) {
            findings.push(Finding::Allergy { to: allergy.clone(), source });
        }
    }
    for medicine in &known.medicines {
        for rule in &RULES.interactions {
            let either = |one: &[String], other: &[String]| {
                names_any(ordered, one) && names_any(medicine, other)
            };
            if either(&rule.one, &rule.other) || either(&rule.other, &rule.one) {
                findings.push(Finding::Interaction {
                    with: medicine.clone(),
                    effect: &rule.effect,
                    source: &rule.source,
                });
            }
        }
    }
    if known.unreadable > 0 {
        findings.push(Finding::Unreadable(known.unreadable));
    }
    findings
}

fn words(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|letter: char| !letter.is_alphanumeric()).map(str::to_lowercase);
    words.filter(|word| !word.is_empty())
}

fn names_any(text: &str, names: &[String]) -> bool {
    words(text).any(|word| names.iter().any(|name| word.starts_with(name.as_str())))
}

/// Whether an allergy is to the first word of what is ordered, which is its name unless it is a number.
fn names_the_same(allergy: &str, ordered: &str) -> bool {
    let name = words(ordered).find(|word| word.chars().all(char::is_alphabetic) && word.len() > 3);
    name.is_some_and(|name| words(allergy).any(|word| word == name))
}

#[derive(Deserialize)]
struct Rules {
    doses: Vec<DoseRule>,
    allergies: Vec<AllergyRule>,
    interactions: Vec<InteractionRule>,
}

#[derive(Deserialize)]
struct DoseRule {
    medicines: Vec<String>,
    most_milligrams_a_day: u32,
    source: String,
}

#[derive(Deserialize)]
struct AllergyRule {
    allergies: Vec<String>,
    medicines: Vec<String>,
    source: String,
}

#[derive(Deserialize)]
struct InteractionRule {
    one: Vec<String>,
    other: Vec<String>,
    effect: String,
    source: String,
}

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    serde_json::from_str(include_str!("rules.json")).expect("the committed rules are well-formed")
});

#[cfg(test)]
mod tests {
    use super::*;

    fn order(medicine: &str, dose: Option<Dose>) -> Order {
        Order {
            medication: (String::new(), String::new(), medicine.into()),
            dosage: "as told".into(),
            dose,
            quantity: 30,
            fills: 1,
            valid_for: std::time::Duration::from_secs(86_400),
            controlled: false,
            as_written: false,
        }
    }

    fn known(allergies: &[&str], medicines: &[&str]) -> Known {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Known {
            patient: Address::ZERO,
            allergies: owned(allergies),
            medicines: owned(medicines),
            unreadable: 0,
        }
    }

    /// How many findings there are.
    #[track_caller]
    fn check_count(order: &Order, known: &Known, expected: usize) {
        let found = check(order, known, None).map_or_else(|found| found.len(), |_| 0);
        assert_eq!(found, expected);
    }

    #[test]
    fn rules_are_well_formed_and_name_their_sources() {
        let sources = RULES.doses.iter().map(|rule| &rule.source);
        let sources = sources.chain(RULES.allergies.iter().map(|rule| &rule.source));
        let sources = sources.chain(RULES.interactions.iter().map(|rule| &rule.source));
        assert!(sources.clone().count() >= 20);
        for source in sources {
            assert!(source.len() > 10, "{source}");
        }
        let names = RULES.doses.iter().flat_map(|rule| &rule.medicines);
        for name in names.chain(RULES.interactions.iter().flat_map(|rule| &rule.other)) {
            assert_eq!(*name, name.to_lowercase());
        }
    }

    #[test]
    fn doses_are_held_against_the_day() {
        let nothing = known(&[], &[]);
        let dose = |text, times| Dose::of_milligrams(text, times);
        check_count(&order("Lisinopril 10 MG Oral Tablet", dose("40", 2)), &nothing, 0);
        check_count(&order("Lisinopril 10 MG Oral Tablet", dose("40.001", 2)), &nothing, 1);
        check_count(&order("paracetamol 500 mg", dose("1000", 5)), &nothing, 1);
        check_count(&order("paracetamol 500 mg", None), &nothing, 0);
        check_count(&order("another medicine", dose("100000", 9)), &nothing, 0);
    }

    #[test]
    fn milligrams_are_read_exactly() {
        let read = |text| Dose::of_milligrams(text, 1).map(|dose| dose.each_micrograms);
        assert_eq!(read("2.5"), Some(2_500));
        assert_eq!(read("0.125"), Some(125));
        assert_eq!(read("10"), Some(10_000));
        for wrong in ["", ".5", "-1", "1.2345", "1e3", "1,5", "ten", "99999999999999999999"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn allergies_and_interactions_are_found_both_ways_round() {
        let penicillin = known(&["Allergy to penicillin"], &[]);
        check_count(&order("Amoxicillin 500 MG Oral Capsule", None), &penicillin, 1);
        check_count(&order("cephalexin 250 MG", None), &penicillin, 1);
        check_count(&order("doxycycline 100 MG", None), &penicillin, 0);
        check_count(&order("doxycycline 100 MG", None), &known(&["Doxycycline"], &[]), 1);
        check_count(&order("ibuprofen 400 MG", None), &known(&[], &["Warfarin 5 MG"]), 1);
        check_count(&order("warfarin 5 MG", None), &known(&[], &["Ibuprofen 400 MG"]), 1);
        check_count(&order("warfarin 5 MG", None), &known(&[], &["metformin 500 MG"]), 0);
        check_count(
            &order("metformin 500 MG", None),
            &Known { unreadable: 2, ..known(&[], &[]) },
            1,
        );
    }

    #[test]
    fn findings_are_overridden_with_a_reason_only() {
        let (order, known) = (order("amoxicillin", None), known(&["penicillin"], &[]));
        assert!(check(&order, &known, None).is_err());
        assert!(check(&order, &known, Some("  ")).is_err());
        let checked = check(&order, &known, Some("tolerated last year")).unwrap();
        assert_eq!((checked.findings().len(), checked.reason()), (1, "tolerated last year"));
    }

    #[test]
    fn what_is_over_does_not_count() {
        let mut known = known(&[], &[]);
        for (status, taken) in [("active", 1), ("stopped", 1), ("entered-in-error", 1)] {
            known.add(&serde_json::json!({
                "resourceType": "MedicationRequest",
                "status": status,
                "medicationCodeableConcept": { "text": "warfarin" },
            }));
            assert_eq!(known.medicines.len(), taken);
        }
        known.add(&serde_json::json!({
            "resourceType": "AllergyIntolerance",
            "verificationStatus": { "coding": [{ "code": "refuted" }] },
            "code": { "coding": [{ "display": "Allergy to penicillin" }] },
        }));
        assert!(known.allergies.is_empty());
    }
}
