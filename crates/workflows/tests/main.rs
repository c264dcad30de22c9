//! Everything that is tried of the workflows, in one program: it is linked once.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic")]

mod claim;
mod common;
mod device;
mod flows;
mod gas;
mod given;
mod import_crash;
mod import_fuzz;
mod importing;
mod journal;
mod laboratory;
mod laboratory_messages;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;
mod prescription;
mod research;
mod slow;
mod surgery;
mod trial;
mod waiting_list;
