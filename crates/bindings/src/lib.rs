//! Call the contracts from Rust.
//!
//! Types and calls are generated from the committed artifacts in `contracts/artifacts`, which
//! `cargo xtask contracts` makes from the Solidity sources. Building needs no Solidity compiler.
//!
//! Conversions between what the contracts hold and what `domain` calls it stand in [`convert`];
//! nothing else in the workspace knows the contracts' types.

mod contracts;
mod decode;
mod deployment;
mod errors;
mod words;

pub mod convert;
pub mod device;
pub mod patient_account;

pub use contracts::{
    AccessLog, Claims, Consents, DataExchange, Devices, EmergencyAccess, LabOrders, PatientAccount,
    PatientAccounts, PaymentToken, Prescriptions, Records, Registry, Relationships, Surgeries,
    Trials, WaitingLists, WebAuthnVerifier,
};
pub use decode::{DecodedCall, called, decode_call, decode_event};
pub use deployment::{Contract, Deployment, contract_name};
pub use errors::ContractError;
