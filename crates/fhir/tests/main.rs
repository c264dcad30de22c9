//! Everything that is tried of FHIR, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod fhir_audit;
mod fhir_bulk;
mod fhir_bundles;
mod fhir_consent;
mod fhir_copies;
mod fhir_examples;
mod fhir_fuzz;
mod fhir_histories;
mod fhir_imports;
mod fhir_interactions;
mod fhir_limits;
mod fhir_mirror;
mod fhir_openapi;
mod fhir_provenance;
mod fhir_search;
mod fhir_statuses;
mod fhir_subscriptions;
mod fhir_workflows;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;
