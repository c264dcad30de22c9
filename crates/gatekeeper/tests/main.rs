//! Everything that is tried of the gatekeeper, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod access_log;
mod anchoring;
mod browser;
mod common;
mod decisions;
mod gatekeeper_fuzz;
mod holding_exchange;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;
mod proofs;
mod queries;
mod reconcile;
