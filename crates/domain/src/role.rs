//! Who takes part: institutions and the professionals who act for them.

use crate::numbered::numbered;
use crate::{Kind, KindSet, Purpose};

numbered! {
    /// What an institution is accredited as.
    pub enum InstitutionRole: "institution role" {
        /// Keeps records and treats patients.
        Hospital = 1 "hospital",
        /// Examines specimens.
        Laboratory = 2 "laboratory",
        /// Dispenses prescriptions.
        Pharmacy = 3 "pharmacy",
        /// An emergency department or ambulance service: the only one that may break the glass.
        Emergency = 4 "emergency",
        /// Adjudicates and pays claims.
        Insurer = 5 "insurer",
        /// Runs trials and studies.
        Research = 6 "research",
        /// Oversees the others.
        Regulator = 7 "regulator",
        /// Makes and maintains medical devices.
        DeviceMaker = 8 "device-maker",
    }
}

numbered! {
    /// In which role a professional acts.
    pub enum ProfessionalRole: "professional role" {
        /// Examines, prescribes, orders.
        Physician = 1 "physician",
        /// Operates; may do what a physician may.
        Surgeon = 2 "surgeon",
        /// Cares and administers.
        Nurse = 3 "nurse",
        /// Dispenses.
        Pharmacist = 4 "pharmacist",
        /// Examines specimens and reports results.
        LaboratoryScientist = 5 "laboratory-scientist",
        /// Treats before and on the way to hospital.
        Paramedic = 6 "paramedic",
        /// Reviews emergency access and the access log; reads no records.
        PrivacyOfficer = 7 "privacy-officer",
        /// Decides claims.
        Adjudicator = 8 "adjudicator",
        /// Works with consented research data.
        Researcher = 9 "researcher",
        /// Checks digests and logs; reads no records.
        Auditor = 10 "auditor",
    }
}

/// What an emergency team needs within minutes, and no more.
const EMERGENCY_KINDS: KindSet = KindSet::of(&[
    Kind::Demographics,
    Kind::Condition,
    Kind::Allergy,
    Kind::Medication,
    Kind::Laboratory,
    Kind::VitalSign,
    Kind::Procedure,
    Kind::Immunization,
    Kind::CarePlan,
    Kind::Device,
    Kind::EmergencySummary,
]);

/// What dispensing safely needs: the order, and what could make it harmful.
const DISPENSING_KINDS: KindSet = KindSet::of(&[
    Kind::Demographics,
    Kind::Condition,
    Kind::Allergy,
    Kind::Medication,
    Kind::Laboratory,
    Kind::Immunization,
]);

/// What examining a specimen and judging a result needs.
const LABORATORY_KINDS: KindSet = KindSet::of(&[
    Kind::Demographics,
    Kind::Condition,
    Kind::Medication,
    Kind::Laboratory,
    Kind::Order,
    Kind::Genomics,
]);

/// What deciding a claim needs.
const PAYMENT_KINDS: KindSet = KindSet::of(&[
    Kind::Demographics,
    Kind::Encounter,
    Kind::Condition,
    Kind::Medication,
    Kind::Procedure,
    Kind::Device,
    Kind::Financial,
    Kind::Order,
]);

/// Everything a treating person may need: all but money, research and bookkeeping.
const CLINICAL_KINDS: KindSet =
    KindSet::ALL.without(KindSet::of(&[Kind::Financial, Kind::Research, Kind::Administrative]));

/// Research works without names: consent to research never opens demographics or free documents.
const RESEARCH_KINDS: KindSet =
    KindSet::ALL.without(KindSet::of(&[Kind::Demographics, Kind::Document, Kind::Administrative]));

/// What the law lets health authorities ask for where the patient consented.
const PUBLIC_HEALTH_KINDS: KindSet =
    KindSet::of(&[Kind::Condition, Kind::Laboratory, Kind::Immunization]);

impl ProfessionalRole {
    /// The most that this role may ever read for `purpose`, whatever a consent says.
    ///
    /// Consent widens nothing beyond this: it is the minimum-necessary rule, by role.
    ///
    /// # Source
    ///
    /// The split by role is ours; the rule is GDPR Art. 5(1)(c) (data minimisation).
    #[must_use]
    pub const fn may_read(self, purpose: Purpose) -> KindSet {
        match (self, purpose) {
            (Self::Physician | Self::Surgeon | Self::Nurse, Purpose::Treatment) => CLINICAL_KINDS,
            (
                Self::Physician | Self::Surgeon | Self::Nurse | Self::Paramedic,
                Purpose::Emergency,
            )
            | (Self::Paramedic, Purpose::Treatment) => EMERGENCY_KINDS,
            (Self::Pharmacist, Purpose::Treatment) => DISPENSING_KINDS,
            (Self::LaboratoryScientist, Purpose::Treatment) => LABORATORY_KINDS,
            (Self::Adjudicator, Purpose::Payment) => PAYMENT_KINDS,
            (Self::Researcher, Purpose::Research) => RESEARCH_KINDS,
            _ => KindSet::EMPTY,
        }
    }
}

impl InstitutionRole {
    /// The most that an institution's own key may ever read for `purpose`, whatever a consent says.
    ///
    /// Institutions read for themselves when records move between gateways; a person's read is
    /// judged by [`ProfessionalRole::may_read`].
    #[must_use]
    pub const fn may_read(self, purpose: Purpose) -> KindSet {
        match (self, purpose) {
            (Self::Hospital, Purpose::Treatment) => CLINICAL_KINDS,
            (Self::Emergency, Purpose::Treatment) => EMERGENCY_KINDS,
            (Self::Pharmacy, Purpose::Treatment) => DISPENSING_KINDS,
            (Self::Laboratory, Purpose::Treatment) => LABORATORY_KINDS,
            (Self::Insurer, Purpose::Payment) => PAYMENT_KINDS,
            // A hospital prepares what a study gets, so that the study itself reads no record.
            (Self::Research | Self::Hospital, Purpose::Research) => RESEARCH_KINDS,
            (Self::Regulator, Purpose::PublicHealth) => PUBLIC_HEALTH_KINDS,
            _ => KindSet::EMPTY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auditors_and_privacy_officers_read_no_records() {
        for &purpose in Purpose::ALL {
            assert!(ProfessionalRole::Auditor.may_read(purpose).is_empty());
            assert!(ProfessionalRole::PrivacyOfficer.may_read(purpose).is_empty());
        }
    }

    #[test]
    fn names_parse_back() {
        for &role in ProfessionalRole::ALL {
            assert_eq!(role.name().parse(), Ok(role));
            assert_eq!(ProfessionalRole::try_from(role.number()), Ok(role));
        }
        assert!(InstitutionRole::try_from(0).is_err());
        assert!("doctor".parse::<ProfessionalRole>().is_err());
    }
}
