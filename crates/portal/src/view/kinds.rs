//! Which FHIR resources a kind of record is made of, and how they are asked for.

use domain::Kind;

/// A type of resource, with what narrows it to the kind and what sorts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) resource_type: &'static str,
    pub(crate) filter: &'static str,
    pub(crate) sort: &'static str,
}

const fn by(resource_type: &'static str, sort: &'static str) -> Source {
    Source { resource_type, filter: "", sort }
}

const fn observations(filter: &'static str) -> Source {
    Source { resource_type: "Observation", filter, sort: "-date" }
}

/// Sorts by when it was written here: for types whose own time no search parameter has.
const WRITTEN: &str = "-_lastUpdated";

/// The resources of a kind. A kind without any of its own is read by its type elsewhere.
pub(crate) const fn sources(kind: Kind) -> &'static [Source] {
    match kind {
        Kind::Encounter => const { &[by("Encounter", "-date"), by("Appointment", "-date")] },
        Kind::Condition => const { &[by("Condition", "-recorded-date")] },
        Kind::Allergy => const { &[by("AllergyIntolerance", "-date")] },
        Kind::Medication => {
            const {
                &[
                    by("MedicationRequest", "-authoredon"),
                    by("MedicationDispense", "-whenhandedover"),
                    by("MedicationStatement", "-effective"),
                    by("MedicationAdministration", "-effective-time"),
                ]
            }
        }
        Kind::Laboratory => {
            const { &[observations("&category=laboratory"), by("DiagnosticReport", "-date")] }
        }
        Kind::VitalSign => const { &[observations("&category=vital-signs")] },
        Kind::Imaging => const { &[by("ImagingStudy", "-started")] },
        Kind::Procedure => const { &[by("Procedure", "-date")] },
        Kind::Immunization => const { &[by("Immunization", "-date")] },
        Kind::CarePlan => const { &[by("CarePlan", "-date"), by("Goal", "-start-date")] },
        Kind::Document => const { &[by("DocumentReference", "-date"), by("Composition", "-date")] },
        Kind::Social => {
            const { &[observations("&category=social-history"), by("FamilyMemberHistory", "-date")] }
        }
        Kind::Device => const { &[by("Device", WRITTEN), by("DeviceRequest", "-authored-on")] },
        Kind::Financial => {
            const {
                &[
                    by("Coverage", WRITTEN),
                    by("Claim", "-created"),
                    by("ExplanationOfBenefit", "-created"),
                ]
            }
        }
        Kind::Research => const { &[by("ResearchSubject", "-date")] },
        Kind::Order => const { &[by("ServiceRequest", "-authored"), by("Task", "-authored-on")] },
        _ => const { &[] },
    }
}

/// The kinds that have resources of their own, in the order in which patients look for them.
pub(crate) const SHOWN: [Kind; 16] = [
    Kind::Laboratory,
    Kind::Medication,
    Kind::Allergy,
    Kind::Condition,
    Kind::Immunization,
    Kind::VitalSign,
    Kind::Encounter,
    Kind::Procedure,
    Kind::Imaging,
    Kind::Document,
    Kind::CarePlan,
    Kind::Order,
    Kind::Device,
    Kind::Social,
    Kind::Financial,
    Kind::Research,
];

/// Every kind that is shown, with its resources.
#[cfg(test)]
pub(crate) fn all() -> impl Iterator<Item = (Kind, &'static [Source])> {
    SHOWN.into_iter().map(|kind| (kind, sources(kind)))
}
