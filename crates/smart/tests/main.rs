//! Everything that is tried of SMART, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod common;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;
mod smart_fuzz;
mod smart_issuer;
mod smart_scopes;
mod smart_tokens;
