//! Everything that is tried of the study, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod execute;
mod lists;
mod prices;
mod study;
