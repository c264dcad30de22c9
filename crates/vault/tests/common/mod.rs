//! What the tests of the public face share.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::Path;

use chacha20::ChaCha20Rng;
use domain::{
    Address, B256, Facts, Kind, Permit, Purpose, QueryDomain, Reader, RecordId, RecordVersion,
    Request, Timestamp, decide,
};
use rand_core::SeedableRng as _;
use vault::{Content, Database, NewRecord, RootKey, Vault, VaultSettings};

pub const STEWARD: Address = Address::repeat_byte(0x51);
pub const PATIENT: Address = Address::repeat_byte(0xa1);
pub const AUTHOR: Address = Address::repeat_byte(0xb1);
pub const NETWORK: QueryDomain =
    QueryDomain { chain_id: 1_337, registry: Address::repeat_byte(0xee) };

/// The same random bytes in every run.
pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// The same root key in every run.
pub fn root_key() -> RootKey {
    RootKey::from_bytes(&[7; 32])
}

pub fn settings(folder: &Path) -> VaultSettings {
    VaultSettings {
        steward: STEWARD,
        network: NETWORK,
        bodies: folder.join("bodies"),
        recovery_keys: Vec::new(),
    }
}

/// A vault in a folder, on SQLite.
pub async fn open_vault(folder: &Path) -> Vault {
    let database = Database::open_file(&folder.join("vault.db")).await.unwrap();
    Vault::unlock(settings(folder), database, &root_key(), &mut rng(1)).await.unwrap()
}

/// A vault in `folder`.
pub fn id(number: u64) -> RecordId {
    RecordId(B256::left_padding_from(&number.to_be_bytes()))
}

pub fn version(number: u32) -> RecordVersion {
    number.try_into().unwrap()
}

/// A small laboratory record of the one patient.
pub fn record(number: u64) -> NewRecord {
    NewRecord {
        record: id(number),
        version: RecordVersion::FIRST,
        patient: PATIENT,
        kind: Kind::Laboratory,
        content: Content::FhirJson,
        author: AUTHOR,
        created: Timestamp(1_795_374_960),
        body: format!(r#"{{"resourceType":"Observation","id":"{number}"}}"#).into_bytes(),
    }
}

/// The permit of the patient who reads a record of their own.
pub fn permit(record: RecordId, kind: Kind) -> Permit {
    permit_for(record, kind, PATIENT, STEWARD)
}

pub fn permit_for(record: RecordId, kind: Kind, patient: Address, steward: Address) -> Permit {
    let request = Request {
        reader: Reader::Patient { account: patient },
        patient,
        steward,
        record,
        kind,
        purpose: Purpose::PatientRequest,
        time: Timestamp(1_795_374_960),
    };
    decide(&request, &Facts::default()).unwrap()
}
