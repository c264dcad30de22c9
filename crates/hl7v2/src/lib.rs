//! Read HL7 v2 result messages.
//!
//! Laboratories send results as `ORU^R01` messages in the old pipe-and-hat form (ER7). [`messages`] takes
//! them out of MLLP frames and batches, [`Message`] reads one, [`LabReport`] says what it is about, and
//! [`LabReport::to_fhir`] makes one FHIR R4 `DiagnosticReport` of it, with its observations and specimens
//! contained, so that a message is one record: kept whole or not at all, and released, acknowledged and read
//! whole. [`acknowledge`] makes the answer.
//!
//! Versions 2.3 to 2.8.2 are read. Values that are not understood refuse the message, with segment, field
//! and component and never with what stands there (S1); nothing is guessed, and nothing left out but what
//! the resource says in a note (encapsulated documents). Everything here is pure: no clock, no network.
//!
//! **Why no crate of others reads the messages** (looked at in November 2026): `hl7-parser` 0.3 quotes the
//! message in its errors, cuts texts at characters counted as bytes when it undoes escapes, which panics on
//! other letters than ASCII, and has neither limits nor batches; `rust-hl7` calls itself experimental;
//! `hl7v2` is under the AGPL; `hl7-2` changes from week to week. What is needed of ER7 is `message.rs`.
//!
//! # Source
//!
//! HL7 v2.5.1 and v2.8.2, chapters 2 and 7; the mapping follows HL7's
//! [v2-to-FHIR](https://hl7.org/fhir/uv/v2mappings/) 1.0.0, where it has one.

mod acknowledgement;
mod concept;
mod error;
mod framing;
mod groups;
mod json;
mod message;
mod moment;
mod observation;
mod report;
mod tables;
mod value;

pub use acknowledgement::{Answer, acknowledge};
pub use error::{Code, Place, ReadError};
pub use framing::{BATCH_BYTES_MAX, messages};
pub use message::{
    COMPONENTS_MAX, FIELDS_MAX, Header, MESSAGE_BYTES_MAX, Message, REPETITIONS_MAX, SEGMENTS_MAX,
};
pub use moment::Offset;
pub use report::{LabReport, Number, References, Stage};
