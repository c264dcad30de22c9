//! Name the things of the exchange and the rules between them.
//!
//! Everything here is pure: no I/O, no clock, no randomness, no async. Time and random bytes come in
//! as arguments. The other crates gather facts, ask here what follows from them, and act.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | institution | a member of the network, in one [`InstitutionRole`] |
//! | professional | a person who acts for an institution in a [`ProfessionalRole`] |
//! | patient | the person whom records are about; an address, normally a patient account |
//! | member | the address under which an institution or professional was admitted, for life; keys rotate under it |
//! | steward | the institution that keeps records for a patient |
//! | relationship | a patient and a steward, with the policy they agreed on |
//! | record | one FHIR resource or document, with a [`RecordId`] for life, in versions |
//! | digest | SHA-256 of the sealed bytes of one version: [`RecordDigest`] |
//! | anchor | the on-chain statement that a steward proposed a digest: [`Anchor`] |
//! | consent | what a patient lets a reader open: [`Grant`], [`Countersignature`] |
//! | opening | emergency access without prior consent, to be reviewed: [`Opening`] |
//! | permit | the proof that a decision allowed a read: [`Permit`], which only [`decide`] makes |
//! | receipt | one entry of the access log: [`Receipt`] |

mod numbered;

mod kind;
mod purpose;
mod role;

mod record;
mod time;

mod consent;
mod decision;
mod query;
mod receipt;

pub mod merkle;

pub use alloy_primitives::{Address, B256};

pub use consent::{
    Countersignature, Grant, Opening, PeriodError, RelationshipState, Terms, WorkflowGrant,
};
pub use decision::{Basis, Facts, Permit, Reader, Refusal, Request, decide};
pub use kind::{Kind, KindSet};
pub use numbered::UnknownNumber;
pub use purpose::{Purpose, PurposeSet};
pub use query::{Query, QueryDomain};
pub use receipt::{Outcome, Receipt, ReceiptHead};
pub use record::{Anchor, AnchorState, ParseDigestError, RecordDigest, RecordId, RecordVersion};
pub use role::{InstitutionRole, ProfessionalRole};
pub use time::{Period, Timestamp};
