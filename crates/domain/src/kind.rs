//! What a record is about: the grain in which patients consent.

use crate::numbered::{numbered, numbered_set};

numbered! {
    /// The kind of a record.
    ///
    /// Coarser than FHIR's resource types, because a person consents to "laboratory results", not to
    /// `Observation`. The sensitive kinds at the end take precedence over what the resource type says.
    pub enum Kind: "record kind" {
        /// Name, birth date, contacts.
        Demographics = 0 "demographics",
        /// Visits, stays, appointments.
        Encounter = 1 "encounter",
        /// Problems and diagnoses.
        Condition = 2 "condition",
        /// Allergies and intolerances.
        Allergy = 3 "allergy",
        /// Prescriptions, dispensing, administration.
        Medication = 4 "medication",
        /// Laboratory orders, specimens, results.
        Laboratory = 5 "laboratory",
        /// Measurements at the bedside or at home.
        VitalSign = 6 "vital-sign",
        /// Imaging studies and their reports.
        Imaging = 7 "imaging",
        /// Procedures and operations.
        Procedure = 8 "procedure",
        /// Immunisations.
        Immunization = 9 "immunization",
        /// Care plans, goals, advance directives.
        CarePlan = 10 "care-plan",
        /// Letters, notes, scanned documents.
        Document = 11 "document",
        /// Social and family history, questionnaires.
        Social = 12 "social",
        /// Devices and implants.
        Device = 13 "device",
        /// Coverage, claims, payments.
        Financial = 14 "financial",
        /// Trials and research participation.
        Research = 15 "research",
        /// Referrals, tasks, messages between those who care.
        Order = 16 "order",
        /// Genetic sequences and variants.
        Genomics = 17 "genomics",
        /// Psychiatric and psychological care.
        MentalHealth = 18 "mental-health",
        /// Sexual and reproductive health, HIV.
        SexualHealth = 19 "sexual-health",
        /// Alcohol and other substance use.
        SubstanceUse = 20 "substance-use",
        /// The summary a patient keeps for emergencies.
        EmergencySummary = 21 "emergency-summary",
        /// Consents, audit events, provenance: about the record-keeping itself.
        Administrative = 22 "administrative",
    }
}

numbered_set! {
    /// A set of kinds, as a consent holds it.
    pub struct KindSet(u32) of Kind;
}

impl Kind {
    /// The kind of a FHIR R4 resource, from its type, the codes of its categories and its security
    /// labels; `None` when the type is not about a patient (such as `Organization`) or not known.
    ///
    /// # Source
    ///
    /// Resource types of FHIR R4 (4.0.1); category codes of `observation-category` and HL7 v2 table
    /// 0074; security labels of HL7 v3 ActCode `InformationSensitivityPolicy`.
    #[must_use]
    pub fn of_resource(resource_type: &str, categories: &[&str], labels: &[&str]) -> Option<Self> {
        let by_type = Self::of_resource_type(resource_type, categories)?;
        Some(labels.iter().find_map(|label| Self::of_label(label)).unwrap_or(by_type))
    }

    fn of_label(label: &str) -> Option<Self> {
        Some(match label {
            "PSY" | "MH" | "PSYTHPN" => Self::MentalHealth,
            "SEX" | "HIV" | "STD" | "SDV" => Self::SexualHealth,
            "ETH" | "SUD" | "ETHUD" | "OPIOIDUD" => Self::SubstanceUse,
            "GDIS" => Self::Genomics,
            _ => return None,
        })
    }

    fn of_resource_type(resource_type: &str, categories: &[&str]) -> Option<Self> {
        let is = |codes: &[&str]| categories.iter().any(|category| codes.contains(category));
        let laboratory = is(&["laboratory", "LAB", "108252007"]);
        let imaging = is(&["imaging", "RAD", "RUS", "CT", "NMR", "363679005"]);
        let genomics = is(&["genomics", "GE"]);
        Some(match resource_type {
            "Patient" | "RelatedPerson" | "Person" => Self::Demographics,
            "Encounter" | "EpisodeOfCare" | "Appointment" | "AppointmentResponse" => {
                Self::Encounter
            }
            "Condition" | "ClinicalImpression" | "DetectedIssue" | "RiskAssessment" => {
                Self::Condition
            }
            "AllergyIntolerance" => Self::Allergy,
            "MedicationRequest"
            | "MedicationDispense"
            | "MedicationAdministration"
            | "MedicationStatement" => Self::Medication,
            "Observation" | "DiagnosticReport" | "ServiceRequest" if genomics => Self::Genomics,
            "Observation" | "DiagnosticReport" | "ServiceRequest" if laboratory => Self::Laboratory,
            "Observation" | "DiagnosticReport" | "ServiceRequest" if imaging => Self::Imaging,
            "Specimen" => Self::Laboratory,
            "Observation" if is(&["social-history", "survey"]) => Self::Social,
            "Observation" => Self::VitalSign,
            "DiagnosticReport" | "DocumentReference" | "DocumentManifest" | "Binary" => {
                Self::Document
            }
            "Composition" if is(&["60591-5"]) => Self::EmergencySummary,
            "Composition" => Self::Document,
            "ServiceRequest" | "Task" | "Communication" | "CommunicationRequest" | "Flag" => {
                Self::Order
            }
            "ImagingStudy" | "Media" | "BodyStructure" => Self::Imaging,
            "Procedure" => Self::Procedure,
            "Immunization" | "ImmunizationEvaluation" | "ImmunizationRecommendation" => {
                Self::Immunization
            }
            "CarePlan" | "CareTeam" | "Goal" | "NutritionOrder" => Self::CarePlan,
            "FamilyMemberHistory" | "QuestionnaireResponse" => Self::Social,
            "Device" | "DeviceMetric" | "DeviceUseStatement" | "DeviceRequest" => Self::Device,
            "Claim"
            | "ClaimResponse"
            | "ExplanationOfBenefit"
            | "Coverage"
            | "Account"
            | "ChargeItem"
            | "Invoice"
            | "CoverageEligibilityRequest"
            | "CoverageEligibilityResponse"
            | "PaymentNotice"
            | "PaymentReconciliation" => Self::Financial,
            "ResearchSubject" | "AdverseEvent" => Self::Research,
            "MolecularSequence" => Self::Genomics,
            "Consent" | "AuditEvent" | "Provenance" | "List" => Self::Administrative,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(resource_type: &str, categories: &[&str], labels: &[&str], expected: Option<Kind>) {
        assert_eq!(Kind::of_resource(resource_type, categories, labels), expected);
    }

    #[test]
    fn observations_differ_by_category() {
        check("Observation", &["laboratory"], &[], Some(Kind::Laboratory));
        check("Observation", &["vital-signs"], &[], Some(Kind::VitalSign));
        check("Observation", &["survey"], &[], Some(Kind::Social));
        check("Observation", &[], &[], Some(Kind::VitalSign));
    }

    #[test]
    fn security_labels_take_precedence() {
        check("Condition", &[], &["N", "PSY"], Some(Kind::MentalHealth));
        check("Observation", &["laboratory"], &["HIV"], Some(Kind::SexualHealth));
    }

    #[test]
    fn directory_resources_have_no_kind() {
        check("Organization", &[], &["PSY"], None);
        check("Nonsense", &[], &[], None);
    }

    #[test]
    fn every_kind_fits_the_contract_bit_set() {
        assert!(Kind::ALL.iter().all(|kind| kind.number() < 32));
        assert_eq!(KindSet::ALL.iter().count(), Kind::ALL.len());
    }
}
