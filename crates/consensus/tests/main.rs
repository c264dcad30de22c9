//! Everything that is tried of the agreement, in one program: it is linked once.
//!
//! The faults run on the deterministic runtime: network, disk and time are simulated, and a run depends
//! on its seed alone. `SALUS_SEEDS=10000` runs more seeds of each; `SALUS_SEED=17` runs just that one, as
//! a failing test says.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test may panic")]

mod cluster;
mod faults;
mod misbehaviour;
mod real;
