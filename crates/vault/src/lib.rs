//! Seal records, keep them, and open them again with a permit.

mod keys;
mod kind_keys;
mod private_file;
mod recipients;
mod root_file;

mod sealed;
mod segments;

mod bodies;
mod database;
mod migrations;
mod schema;
mod store_error;

mod entries;
mod open;
mod patient_keys;
mod put;
mod scan;
mod vault;
mod wraps;

mod copies;
mod erasure;
mod keyring;

pub mod answer;
#[doc(hidden)]
pub mod bench;
pub mod keystore;

#[cfg(test)]
mod testing;

pub use copies::{Identity, ImportError, OnConflict, SealedBytes, SealedCopy};
pub use database::{Backend, Database, OpenDatabaseError, WriteTransaction};
pub use entries::{Entry, Listing, PAGE_LEN_MAX};
pub use erasure::{
    EraseError, ErasureCheck, ErasureOrder, ErasureReason, ErasureReceipt,
};
pub use keyring::{Keyring, KeyringError};
pub use keys::{RootKey, WrongKey};
pub use kind_keys::{KindKeyId, KindKeyName};
pub use migrations::MigrateError;
pub use open::{OpenError, Opened};
pub use private_file::PrivateFileError;
pub use put::{NewRecord, PutError};
pub use recipients::{BadPublicKey, Binding, Kem, PublicKey, SecretKey, Subject};
pub use root_file::{RootKeyCost, RootKeyError};
pub use scan::{Scan, ScanState, Scanned};
pub use sealed::{Content, Header, MAX_BODY_LEN, SealError, UnsealError};
pub use store_error::StoreError;
pub use vault::{UnlockError, Vault, VaultSettings};
pub use wraps::Wrap;
