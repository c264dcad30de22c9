//! Everything that is tried of the exchange, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod exchange_fuzz;
mod exchange_https;
mod exchange_iroh;
mod exchange_sync;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;
