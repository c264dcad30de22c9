//! Speak FHIR R4.
