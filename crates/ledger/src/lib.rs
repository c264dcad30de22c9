//! Sign, send and follow contract calls on any Ethereum chain.
//!
//! [`Ledger`] is a chain, embedded or behind an endpoint. [`Sender`] sends for one key, [`Patient`]
//! signs for an account that others relay; either key may be elsewhere, behind a [`Wallet`] or [`Device`]. [`Follower`] reads the contracts' events, and
//! [`Projection`] is what they add up to: who is who, who may read what.

mod deploy;
mod elsewhere;
mod endpoint;
mod follow;
mod passkey;
mod patient;
mod projection;
mod sender;

pub use alloy_signer::SignerSync;
pub use alloy_signer_local::PrivateKeySigner;

pub use deploy::{Deployed, deploy};
pub use elsewhere::{Answering, Authorisation, Device, NotSigned, Submitted, Wallet};
pub use endpoint::{CallError, EndpointError, Fees, Finality, Ledger, News, Policy};
pub use follow::{Cursor, Follower, Step};
pub use passkey::{InvalidKey, Passkey};
pub use patient::{Patient, PatientKey, creation, is_valid_signature, predict_account};
pub use projection::{
    AnchorEntry, AnchoredLog, Batch, ConsentChange, ConsentDeed, Consents, EmergencyOpening,
    Institution, LabOrder, LabOrderState, Moment, Prescription, Professional, Profile, Projection,
    Records, Registry, Relationship, SaveError, Workflows,
};
pub use sender::{Outcome, Prepared, SendError, Sender, Signed};
