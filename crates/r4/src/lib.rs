//! Say what is wrong with a FHIR R4 resource.
