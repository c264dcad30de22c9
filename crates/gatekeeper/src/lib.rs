//! Decide and answer signed queries; keep the access log; reconcile.
//!
//! A [`Gatekeeper`] stands before one institution's vault. It gathers facts from the projection, asks
//! `domain::decide`, opens what was permitted, and leaves a receipt of every attempt. It also anchors
//! records and receipts on chain, and holds both sides against each other: [`Report`], the access
//! log's check, [`Timeline`], [`Bundle`].

mod anchored;
mod anchoring;
mod answer;
mod care;
mod entropy;
mod gatekeeper;
mod giving_up;
mod holding;
mod leaves;
mod log;
mod many;
mod proof;
mod proven;
mod receipts;
mod reconcile;
mod standing;
mod tables;
mod timeline;

pub use anchored::Anchored;
pub use anchoring::{Along, AnchorError, Inclusion, MANIFEST_RECORDS_MAX, Resumed};
pub use answer::{
    Answer, AnswerError, OpenedRecord, QueryRefusal, QuerySignature, ReadRequest, Served,
    SignedQuery,
};
pub use entropy::Entropy;
pub use gatekeeper::{Gatekeeper, GatekeeperError, Settings};
pub use holding::{Clock, Holding, IN_VAIN_MAX, PATIENT_PEERS_MAX};
pub use leaves::Leaf;
pub use log::{LogError, LogFinding, StoredReceipt};
pub use many::{Found, Reading, Refusals, Standings, Versions};
pub use proof::{Bundle, BundleError, Checked, ProvenAccount, ProvenState, TrustedChain};
pub use receipts::{ReceiptAnchor, Walk};
pub use reconcile::{Finding, FindingKind, Report};
pub use timeline::{Actor, Timeline, TimelineStep};
