//! Carry out one use case from end to end, one file each.
//!
//! Each file says who takes part, in which order, what goes on chain and what stays sealed. A function
//! is one step: it either happened, and returns its [`Step`], or it did not, and says why.

mod actors;
mod error;
mod given;
mod step;

pub mod access;
pub mod census;
pub mod claim;
pub mod consent;
pub mod copies;
pub mod device;
pub mod emergency;
pub mod import;
pub mod laboratory;
pub mod laboratory_messages;
pub mod prescription;
pub mod record;
pub mod relationship;
pub mod research;
pub mod surgery;
pub mod trial;
pub mod waiting_list;

pub use actors::{Catalogue, Gateway, PatientActor, Person, Study};
pub use error::WorkflowError;
pub use step::Step;
