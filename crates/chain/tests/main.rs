//! Everything that is tried of the chain, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod anvil;
mod chain;
mod clients;
mod common;
mod crash;
mod disk;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;
mod ordering;
mod rpc;
mod rpc_fuzz;
mod serving;
