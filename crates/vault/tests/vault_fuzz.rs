//! Spoiled sealed records, copies and answers: none of them opens, or is taken for what it is not (S4).

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;
#[path = "../../domain/tests/common/mutations.rs"]
mod mutations;

use std::io::{Cursor, Read as _};

use common::*;
use domain::{Address, RecordDigest};
use mutations::{bytes, fuzz};
use proptest::prelude::*;
use vault::{
    Header, Identity, ImportError, Kem, OnConflict, SealedCopy, SecretKey, Vault, VaultSettings,
    answer,
};

const OTHER: Address = Address::repeat_byte(0x52);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn spoiled_headers_do_no_harm() {
    let samples = ["compressed", "empty", "segments"].map(|name| {
        let path = format!("{}/tests/samples/record_v1_{name}.sealed", env!("CARGO_MANIFEST_DIR"));
        let mut sealed = std::fs::read(path).unwrap();
        sealed.truncate(4_096);
        Header::read(&sealed).unwrap();
        sealed
    });
    fuzz(3_000, bytes(samples.to_vec()), |sealed| {
        if let Err(error) = Header::read(&sealed) {
            let told = format!("{error} {error:?}");
            prop_assert!(told.len() < 500, "{told}");
        }
        Ok(())
    });
}

/// A copy for somebody else, with its bytes.
async fn shared(vault: &Vault, identity: &Identity) -> (SealedCopy, Vec<u8>) {
    let entries = vault.put_many(vec![record(1)], &mut rng(2)).await.unwrap();
    let (digest, key) = (entries[0].digest, identity.secret.public_key());
    let consent = domain::B256::repeat_byte(3);
    vault.wrap_for(permit(1), None, identity.address, &key, consent, &mut rng(3)).await.unwrap();
    let copy = vault.copy_for(digest, identity.address).await.unwrap().unwrap();
    let mut sealed = Vec::new();
    vault.sealed_bytes(digest).await.unwrap().unwrap().read_to_end(&mut sealed).unwrap();
    (copy, sealed)
}

#[test]
fn spoiled_copies_open_for_nobody_and_are_not_taken_in() {
    let runtime = runtime();
    let identity = Identity { address: OTHER, secret: SecretKey::derive(Kem::X25519, &[5; 32]) };
    let (place, other) = (Place::sqlite(), Place::sqlite());
    let (vault, (copy, sealed)) = runtime.block_on(async {
        let settings = VaultSettings { steward: OTHER, ..other.settings() };
        let theirs = other.unlock_as(settings, &root_key()).await.unwrap();
        (theirs, shared(&place.unlock().await, &identity).await)
    });
    let opened = |copy: &SealedCopy, sealed: &[u8]| {
        let mut body = Vec::new();
        copy.open(Cursor::new(sealed), &identity, NETWORK, &mut body).map(|_| body)
    };
    assert_eq!(opened(&copy, &sealed).unwrap(), record(1).body);
    // With the digest of the bytes as they are, or with that of the bytes as they should be.
    fuzz(250, (bytes(vec![sealed.clone()]), any::<bool>()), |(spoiled, lies)| {
        let mut claimed = copy.clone();
        if lies {
            claimed.entry.digest = RecordDigest::of(&spoiled);
            claimed.entry.sealed_len = spoiled.len() as u64;
        }
        match opened(&claimed, &spoiled) {
            Ok(body) => prop_assert!(spoiled == sealed && body == record(1).body),
            Err(error) => {
                let told = format!("{error} {error:?}");
                prop_assert!(told.len() < 2_000, "{told}");
            }
        }
        let taking = vault.import(
            claimed,
            Cursor::new(spoiled.clone()),
            Some(&identity),
            OnConflict::Refuse,
        );
        match runtime.block_on(taking) {
            Ok(_) => prop_assert!(spoiled == sealed),
            Err(ImportError::Keep(error)) => {
                // Taken for another version of what is here already, never for a fault of the store.
                prop_assert!(matches!(error, vault::PutError::Conflict { .. }), "{error:?}");
            }
            Err(_) => prop_assert!(spoiled != sealed),
        }
        Ok(())
    });
}

#[test]
fn spoiled_answers_do_not_open() {
    let secret = SecretKey::derive(Kem::X25519, &[6; 32]);
    let body = b"{\"records\":[]}".repeat(20);
    let sealed = answer::seal(&secret.public_key(), NETWORK, b"query", &body, &mut rng(4));
    assert_eq!(answer::open(&secret, NETWORK, b"query", &sealed).unwrap(), body);
    fuzz(1_000, bytes(vec![sealed.clone()]), |spoiled| {
        let opened = answer::open(&secret, NETWORK, b"query", &spoiled);
        prop_assert_eq!(opened.is_ok(), spoiled == sealed);
        Ok(())
    });
}
