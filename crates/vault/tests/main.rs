//! Everything that is tried of the vault, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod faults;
mod given_up;
mod holding;
mod keys;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;
mod records;
mod vault_fuzz;
