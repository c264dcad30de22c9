//! Find FHIR R4 resources by what is in them.
