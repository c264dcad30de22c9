//! Research: a source offers data under terms, a study asks patients for consent, and gets counts and extracts.
//!
//! Who takes part, in this order: a source **offers** data; a researcher **proposes** a study; privacy officers or
//! auditors of two other institutions **approve** it; patients **consent**, each for one study and one source, and
//! **withdraw** when they like. The source **counts** who fits a question, the study's institution **orders** an
//! extract, the source **delivers** it, the buyer **settles** or **disputes**, a regulator's auditor **resolves**. Source
//! and patients are paid from what the order set aside; each patient claims a share. Uses are recorded.
//!
//! On chain are digests of documents and questions, rounded counts, the digest of the sealed extract, and the root
//! of a tree of the patients in it, whose salts only source and patients know. Data sets, terms and protocols go
//! from hand to hand as files ([`Document`]); what the source remembers of whom it counted is sealed to itself.
//!
//! Consent to a study is two things in one signature: the consent on the exchange, and a grant that the **source**
//! reads the protocol's kinds for research. The study's institution is granted nothing, and so can read no record;
//! what it gets went through [`deidentify`]. Everything is read through the gatekeeper's decision, with a receipt
//! for each patient before it is opened, also of a count and of what is withheld then. Whoever withdrew is in no later count and no later extract, and the contract
//! refuses deliveries and uses of whoever does not know of the withdrawal.
//!
//! Sources and buyers are told of each other's steps, and of withdrawals; patients of the end of a study that they
//! consented to, and when somebody shows that they were in an extract without consent.

mod auditor;
mod cohort;
mod deidentified;
mod document;
mod extract;
mod memory;
mod orders;
mod participant;
mod purse;
mod study;

pub use auditor::{Answered, Auditor, CELL, Count, Scope, Withheld};
pub use cohort::{Asked, ask, count};
pub use deidentified::deidentify;
pub use document::{Criterion, Document};
pub use extract::{Place, deliver, open, sealed, share, tell_patients, verify};
pub use orders::{
    Order, State, Use, challenge, dispute, order, order_of, reclaim, record_use, resolve,
    return_shares, settle, uses,
};
pub use participant::{claim_share, opt_in, takes_part, withdraw};
pub use purse::{balance, pay_in, pay_out, pay_out_to};
pub use study::{
    Offer, Price, Standing, Study, approve, close_offer, end, offer, offered, propose, study,
};
