//! `Consent`: the patients' grants on chain, both ways.
//!
//! | part | file |
//! |---|---|
//! | grants as the chain has them | `mirror.rs`, with their ids from `ids.rs` |
//! | who sees one, who may file one | `access.rs` |
//! | reads and searches, and the FHIR of them | `reading.rs`, `showing.rs` |
//! | what is posted | `filing.rs`, what it asks for in `wanted.rs` |
//! | what waits for the patient's signature, and `$sign` | `waiting.rs`, `signing.rs` |
//!
//! # From the chain
//!
//! Each grant of a patient to a reader, for all records or for one, is one `Consent` with an id made from
//! these three under a key of this gateway: `grant-…`. Its versions are what happened to it on chain:
//! granted, countersigned, taken back. `status` is `active` while the grant lets somebody read,
//! `proposed` while a signature is missing (the patient's, or the steward's where the policy wants both),
//! and `inactive` otherwise. Who sees it: the patient; at the steward those who care for the patient, its
//! privacy officers, auditors and systems; and the reader whom it names.
//!
//! # To the chain
//!
//! A posted `Consent` is for the chain when its scope is `patient-privacy` and an actor of its provision
//! is a member of the registry, by an identifier of the system `urn:salus:member` in the reference, or in
//! the entry of the directory to which it leads. Every other `Consent` is a record like any other: an
//! advance directive, a paper form, a consent to somebody outside the network.
//!
//! One for the chain is filed by the patient, or for them by those who care for them or the institution's
//! systems. Nothing of it counts before the patient signs: `GET Consent/ID/$sign` gives what to sign,
//! `POST Consent/ID/$sign` takes the signature and relays it. A `DELETE`, or an update to `inactive`,
//! files the end of the grant in the same way. What the chain cannot hold is refused with 422, never
//! passed over: a patient must not sign less, or more, than was written. The legal framing (`policy`,
//! `policyRule`, `category`, `organization`, `dateTime`, narrative) is no rule of access; it is not kept.
//!
//! What is filed is sealed in the database, survives a restart, and lapses after thirty days, or when the
//! chain says something newer about the same grant.

mod access;
mod filing;
mod ids;
mod mirror;
mod reading;
mod showing;
mod signing;
mod waiting;
mod wanted;

pub(crate) use self::{
    filing::{delete, require_record, write},
    ids::{GrantIds, is_id},
    reading::{find, read},
    signing::{sign, to_sign},
};

const PURPOSE_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const ACTION_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
