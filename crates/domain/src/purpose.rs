//! Why a reader wants to read: declared with each request, bound to the consent that allows it.

use crate::numbered::{numbered, numbered_set};

numbered! {
    /// A purpose of use.
    ///
    /// # Source
    ///
    /// HL7 v3 value set PurposeOfUse; [`Purpose::hl7_code`] gives the code.
    pub enum Purpose: "purpose of use" {
        /// Care of this patient.
        Treatment = 0 "treatment",
        /// Care that cannot wait for consent. Only an emergency opening serves it.
        Emergency = 1 "emergency",
        /// Claims and payments.
        Payment = 2 "payment",
        /// A consented study.
        Research = 3 "research",
        /// Running and improving the institution.
        Operations = 4 "operations",
        /// The patient asks for their own records.
        PatientRequest = 5 "patient-request",
        /// A health authority's task.
        PublicHealth = 6 "public-health",
        /// A legal duty.
        Legal = 7 "legal",
    }
}

numbered_set! {
    /// A set of purposes, as a consent holds it.
    pub struct PurposeSet(u16) of Purpose;
}

impl Purpose {
    /// The code of this purpose in FHIR `Consent` and `AuditEvent`.
    #[must_use]
    pub const fn hl7_code(self) -> &'static str {
        match self {
            Self::Treatment => "TREAT",
            Self::Emergency => "BTG",
            Self::Payment => "HPAYMT",
            Self::Research => "HRESCH",
            Self::Operations => "HOPERAT",
            Self::PatientRequest => "PATRQT",
            Self::PublicHealth => "PUBHLTH",
            Self::Legal => "HLEGAL",
        }
    }
}
