//! Seal records, keep them, and open them again with a permit.
//!
//! A [`Vault`] holds the records of one steward (an institution, or a patient's own node): sealed on
//! the way in, kept in SQLite or PostgreSQL and, when they are long, in files. It refuses to open
//! anything without a [`Permit`](domain::Permit), which only the decision function makes, and to keep
//! anything unsealed.
//!
//! What must stay true:
//!
//! - What was acknowledged is on disk, and survives `kill -9` at any instant (S6).
//! - What is opened is, byte for byte, what was sealed under its digest; everything else is an error
//!   (S4). One digest stands for one body, whoever holds the keys.
//! - Wraps serve one recipient, record, consent, registry and chain.
//! - Whoever can write to the database, but has no key, can destroy records and cannot read them:
//!   neither those that are there nor, by planting keys, those that will be.
//! - Nothing about health, no name and no key stands in any error or log (S1): the messages have
//!   digests, addresses and file paths.
//!
//! What it does not do: hide how many records there are, whose they are by address, of which kind,
//! when they were made and how long they are from whoever reads the database. Nor does it notice
//! that a whole database was set back to an earlier state; holding it against the chain does.
//!
//! | question | module |
//! |---|---|
//! | which key opens what | `keys` |
//! | a sealed record to the byte | `sealed`, `segments` |
//! | a wrap and a public key to the byte | `recipients` |
//! | an answer to the byte | [`answer`] |
//! | the root key's file to the byte | `root_file` |
//! | the tables | `schema` |
//! | what becomes of a file when the process is killed | `bodies` |
//! | what erasing does and does not reach | `erasure` |
//!
//! # Example
//!
//! ```
//! # use chacha20::ChaCha20Rng;
//! # use domain::*;
//! # use rand_core::SeedableRng as _;
//! # use vault::*;
//! # let (steward, patient) = (Address::repeat_byte(1), Address::repeat_byte(2));
//! # let network = QueryDomain { chain_id: 1, registry: Address::repeat_byte(3) };
//! # let folder = tempfile::tempdir()?;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let mut rng = ChaCha20Rng::seed_from_u64(1); // The binaries take the system's.
//! let database = Database::open_file(&folder.path().join("vault.db")).await?;
//! let bodies = folder.path().join("bodies");
//! let settings = VaultSettings { steward, network, bodies, recovery_keys: vec![] };
//! let vault = Vault::unlock(settings, database, &RootKey::make(&mut rng), &mut rng).await?;
//!
//! let record = RecordId(B256::repeat_byte(4));
//! let new = NewRecord {
//!     record,
//!     version: RecordVersion::FIRST,
//!     patient,
//!     kind: Kind::Allergy,
//!     content: Content::FhirJson,
//!     author: steward,
//!     created: Timestamp(1_795_374_960),
//!     body: br#"{"resourceType":"AllergyIntolerance"}"#.to_vec(),
//! };
//! let entry = vault.put(new, &mut rng).await?;
//! println!("to be anchored: {}", entry.digest);
//!
//! let request = Request {
//!     reader: Reader::Patient { account: patient },
//!     patient,
//!     steward,
//!     record,
//!     kind: Kind::Allergy,
//!     purpose: Purpose::PatientRequest,
//!     time: Timestamp(1_795_374_961),
//! };
//! let permit = decide(&request, &Facts::default())?;
//! let opened = vault.open(permit, None).await?;
//! assert_eq!(opened.body(), br#"{"resourceType":"AllergyIntolerance"}"#);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod keys;
mod kind_keys;
mod private_file;
mod recipients;
mod root_file;

mod sealed;

mod header;
mod segments;

mod compression;
mod passing;

mod bodies;
mod database;
mod migrations;
mod schema;
mod store_error;
mod transaction;

mod entries;
mod open;
mod patient_keys;
mod put;
mod rows;
mod scan;
mod vault;
mod wraps;

mod copies;
mod erasure;
mod keyring;
mod recovery;

pub mod answer;
pub mod backup;
#[doc(hidden)]
pub mod bench;
pub mod keystore;

#[cfg(test)]
mod testing;

pub use copies::{Along, Identity, ImportError, OnConflict, SealedBytes, SealedCopy};
pub use database::{Backend, Database, OpenDatabaseError};
pub use entries::{Entry, Listing, PAGE_LEN_MAX};
pub use erasure::{EraseError, ErasureCheck, ErasureOrder, ErasureReason, ErasureReceipt};
pub use header::{Content, Header};
pub use keyring::{Keyring, KeyringError};
pub use keys::{RootKey, WrongKey};
pub use kind_keys::{KindKeyId, KindKeyName};
pub use migrations::MigrateError;
pub use open::{OpenError, Opened};
pub use private_file::PrivateFileError;
pub use put::{Batch, NewRecord, PutError, SealedRecord};
pub use recipients::{BadPublicKey, Binding, Kem, PublicKey, SecretKey, Subject};
pub use recovery::{RecoverError, Recovered};
pub use root_file::{RootKeyCost, RootKeyError};
pub use rows::{group_len, places_of};
pub use scan::{Scan, ScanState, Scanned};
pub use sealed::{MAX_BODY_LEN, SealError, UnsealError};
pub use store_error::StoreError;
pub use transaction::WriteTransaction;
pub use vault::{UnlockError, Vault, VaultSettings};
pub use wraps::Wrap;
