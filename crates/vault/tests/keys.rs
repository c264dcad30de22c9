//! Who can open what with which key: patients, recovery, single readers, epochs, the keyring.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use common::*;
use domain::{Address, B256, Kind, KindSet, QueryDomain, RecordDigest};
use vault::{
    Database, Identity, Kem, Keyring, KeyringError, NewRecord, OpenError, RootKey, SealedCopy,
    SecretKey, Subject, Vault, VaultSettings,
};

on_both! {
    patient_opens_their_copies_with_their_key,
    patient_enrolled_later_opens_earlier_records,
    patient_with_two_keys_opens_with_either,
    replaced_key_opens_nothing_any_more,
    copy_opens_for_its_recipient_on_its_network_only,
    recovery_key_opens_everything_of_its_steward,
    lost_root_key_is_replaced_with_a_recovery_key,
    recovery_with_another_key_changes_nothing,
    new_epoch_has_a_new_kind_key,
    reader_opens_the_one_record_wrapped_for_them,
    wrap_for_a_reader_needs_a_fitting_permit,
    secrets_come_back_under_their_names,
    planted_kind_key_is_not_used,
    planted_patient_key_is_not_used,
    record_moved_to_another_patient_does_not_open,
    kind_key_moved_to_another_patient_is_not_used,
}

const CONSENT: B256 = B256::repeat_byte(0xc0);
const READER: Address = Address::repeat_byte(0xd0);

fn secret(kem: Kem, seed: u64) -> SecretKey {
    SecretKey::make(kem, &mut rng(seed))
}

fn patient(secret: &SecretKey) -> Identity {
    Identity { address: PATIENT, secret: secret.clone() }
}

/// Opens a copy outside the vault, as its recipient.
async fn open_copy(
    vault: &Vault,
    digest: RecordDigest,
    identity: &Identity,
) -> Result<Vec<u8>, OpenError> {
    let copy = vault.copy_for(digest, identity.address).await.unwrap().unwrap();
    let sealed = vault.sealed_bytes(digest).await.unwrap().unwrap();
    let mut body = Vec::new();
    copy.open(sealed, identity, NETWORK, &mut body)?;
    Ok(body)
}

async fn patient_opens_their_copies_with_their_key(place: Place) {
    let vault = place.unlock().await;
    for (number, kem) in [(1, Kem::X25519), (2, Kem::XWing)] {
        let key = secret(kem, number);
        let owner = Address::left_padding_from(&number.to_be_bytes());
        vault.set_patient_keys(owner, &[key.public_key()], &mut rng(3)).await.unwrap();
        let long = NewRecord { patient: owner, ..long_record(number) };
        let entry = vault.put(long.clone(), &mut rng(4)).await.unwrap();
        let identity = Identity { address: owner, secret: key };
        assert!(open_copy(&vault, entry.digest, &identity).await.unwrap() == long.body);
        let stranger = Identity { address: owner, secret: secret(kem, 99) };
        let refused = open_copy(&vault, entry.digest, &stranger).await.unwrap_err();
        assert!(matches!(refused, OpenError::NoKey { .. }));
    }
}

async fn patient_enrolled_later_opens_earlier_records(place: Place) {
    let vault = place.unlock().await;
    let first = vault.put(record(1), &mut rng(2)).await.unwrap();
    let key = secret(Kem::X25519, 1);
    assert!(open_copy(&vault, first.digest, &patient(&key)).await.is_err());
    vault.set_patient_keys(PATIENT, &[key.public_key()], &mut rng(3)).await.unwrap();
    assert_eq!(open_copy(&vault, first.digest, &patient(&key)).await.unwrap(), record(1).body);
}

async fn patient_with_two_keys_opens_with_either(place: Place) {
    let vault = place.unlock().await;
    let keys = [secret(Kem::X25519, 1), secret(Kem::XWing, 2)];
    let public: Vec<_> = keys.iter().map(SecretKey::public_key).collect();
    vault.set_patient_keys(PATIENT, &public, &mut rng(3)).await.unwrap();
    let entry = vault.put(record(1), &mut rng(4)).await.unwrap();
    for key in &keys {
        assert_eq!(open_copy(&vault, entry.digest, &patient(key)).await.unwrap(), record(1).body);
    }
}

async fn replaced_key_opens_nothing_any_more(place: Place) {
    let vault = place.unlock().await;
    let (old, new) = (secret(Kem::X25519, 1), secret(Kem::X25519, 2));
    vault.set_patient_keys(PATIENT, &[old.public_key()], &mut rng(3)).await.unwrap();
    let entry = vault.put(record(1), &mut rng(4)).await.unwrap();
    vault.set_patient_keys(PATIENT, &[new.public_key()], &mut rng(5)).await.unwrap();
    let later =
        vault.put(NewRecord { kind: Kind::Allergy, ..record(2) }, &mut rng(6)).await.unwrap();
    for digest in [entry.digest, later.digest] {
        assert!(open_copy(&vault, digest, &patient(&new)).await.is_ok());
        assert!(open_copy(&vault, digest, &patient(&old)).await.is_err());
    }
}

async fn copy_opens_for_its_recipient_on_its_network_only(place: Place) {
    let vault = place.unlock().await;
    let key = secret(Kem::X25519, 1);
    vault.set_patient_keys(PATIENT, &[key.public_key()], &mut rng(3)).await.unwrap();
    let batch = vec![record(1), NewRecord { kind: Kind::Allergy, ..record(2) }];
    let entries = vault.put_many(batch, &mut rng(4)).await.unwrap();
    let (digest, other) = (entries[0].digest, entries[1].digest);
    let copy = vault.copy_for(digest, PATIENT).await.unwrap().unwrap();
    let other_copy = vault.copy_for(other, PATIENT).await.unwrap().unwrap();
    let sealed = async || vault.sealed_bytes(digest).await.unwrap().unwrap();
    let open = async |copy: &SealedCopy, network| {
        let sealed = sealed().await;
        copy.open(sealed, &patient(&key), network, std::io::sink()).is_ok()
    };

    assert!(open(&copy, NETWORK).await);
    assert!(!open(&copy, QueryDomain { chain_id: 2, ..NETWORK }).await);
    assert!(!open(&copy, QueryDomain { registry: Address::ZERO, ..NETWORK }).await);
    // Keys of another record do not open this one, and neither do its wraps under another name.
    assert!(
        !open(&SealedCopy { content_key: other_copy.content_key, ..copy.clone() }, NETWORK).await
    );
    assert!(!open(&SealedCopy { wraps: other_copy.wraps.clone(), ..copy.clone() }, NETWORK).await);
    assert!(!open(&SealedCopy { kind_key: other_copy.kind_key, ..copy.clone() }, NETWORK).await);
    assert!(!open(&SealedCopy { entry: other_copy.entry, ..copy.clone() }, NETWORK).await);
    let renamed = Identity { address: READER, secret: key.clone() };
    let mut wraps = copy.wraps.clone();
    wraps.iter_mut().for_each(|wrap| wrap.recipient = READER);
    let moved = SealedCopy { wraps, ..copy.clone() };
    assert!(moved.open(sealed().await, &renamed, NETWORK, std::io::sink()).is_err());
}

async fn recovery_key_opens_everything_of_its_steward(place: Place) {
    let safe = secret(Kem::XWing, 1);
    let mut settings = place.settings();
    settings.recovery_keys = vec![safe.public_key()];
    let vault = place.unlock_as(settings, &root_key()).await.unwrap();
    let entry = vault.put(record(1), &mut rng(2)).await.unwrap();
    let steward = Identity { address: STEWARD, secret: safe };
    assert_eq!(open_copy(&vault, entry.digest, &steward).await.unwrap(), record(1).body);
}

async fn lost_root_key_is_replaced_with_a_recovery_key(place: Place) {
    let safe = secret(Kem::XWing, 1);
    let settings = || VaultSettings { recovery_keys: vec![safe.public_key()], ..place.settings() };
    // One kind key is from a time when there was no recovery key yet.
    let vault = place.unlock().await;
    vault.put(NewRecord { kind: Kind::Allergy, ..record(1) }, &mut rng(2)).await.unwrap();
    place.close(vault).await;
    let vault = place.unlock_as(settings(), &root_key()).await.unwrap();
    vault.put_many(vec![record(2), long_record(3)], &mut rng(3)).await.unwrap();
    place.close(vault).await;

    let new_root_key = RootKey::from_bytes(&[9; 32]);
    let steward = Identity { address: STEWARD, secret: safe.clone() };
    let database = Database::open(&place.url).await.unwrap();
    let recovered =
        Vault::recover(settings(), database, &steward, &new_root_key, &mut rng(4)).await.unwrap();
    assert_eq!(recovered.recovered, 1);
    assert_eq!(recovered.lost.iter().map(|name| name.kind).collect::<Vec<_>>(), [Kind::Allergy]);
    let vault = recovered.vault;
    for number in [2, 3] {
        vault.open(permit(number), None).await.unwrap();
    }
    let gone = permit_for(id(1), PATIENT, STEWARD, Kind::Allergy);
    assert!(matches!(vault.open(gone, None).await, Err(OpenError::NoKey { .. })));

    // What comes later is under keys that nobody can have planted.
    let batch = vec![record(4), NewRecord { kind: Kind::Allergy, ..record(5) }];
    for entry in vault.put_many(batch, &mut rng(5)).await.unwrap() {
        let copy = vault.copy_for(entry.digest, STEWARD).await.unwrap().unwrap();
        assert_eq!(copy.kind_key.unwrap().epoch, 2);
    }
    place.close(vault).await;
    let refused = place.unlock_as(settings(), &root_key()).await.unwrap_err();
    assert!(matches!(refused, vault::UnlockError::WrongRootKey));
}

async fn recovery_with_another_key_changes_nothing(place: Place) {
    let vault = place.unlock().await;
    vault.put(record(1), &mut rng(2)).await.unwrap();
    place.close(vault).await;
    let database = Database::open(&place.url).await.unwrap();
    let other = Identity { address: STEWARD, secret: secret(Kem::XWing, 9) };
    let new_root_key = RootKey::from_bytes(&[9; 32]);
    let refused =
        Vault::recover(place.settings(), database.clone(), &other, &new_root_key, &mut rng(3))
            .await;
    assert!(matches!(refused, Err(vault::RecoverError::WrongKey)));
    let vault = Vault::unlock(place.settings(), database, &root_key(), &mut rng(4)).await.unwrap();
    vault.open(permit(1), None).await.unwrap();
}

async fn new_epoch_has_a_new_kind_key(place: Place) {
    let vault = place.unlock().await;
    let key = secret(Kem::X25519, 1);
    vault.set_patient_keys(PATIENT, &[key.public_key()], &mut rng(3)).await.unwrap();
    let allergy = |number| NewRecord { kind: Kind::Allergy, ..record(number) };
    let batch = vec![record(1), allergy(2)];
    let before = vault.put_many(batch, &mut rng(4)).await.unwrap();
    vault.new_epoch(PATIENT, KindSet::of(&[Kind::Laboratory]), &mut rng(5)).await.unwrap();
    let batch = vec![record(3), allergy(4)];
    let after = vault.put_many(batch, &mut rng(6)).await.unwrap();

    let epoch = async |digest| {
        vault.copy_for(digest, PATIENT).await.unwrap().unwrap().kind_key.unwrap().epoch
    };
    assert_eq!(epoch(before[0].digest).await, 1);
    assert_eq!(epoch(after[0].digest).await, 2);
    // Only the kinds named begin anew.
    assert_eq!(epoch(after[1].digest).await, 1);
    for entry in before.iter().chain(&after) {
        assert!(open_copy(&vault, entry.digest, &patient(&key)).await.is_ok());
    }
    for number in [1, 3] {
        assert_eq!(vault.open(permit(number), None).await.unwrap().body(), record(number).body);
    }
}

async fn reader_opens_the_one_record_wrapped_for_them(place: Place) {
    let vault = place.unlock().await;
    let entries = vault.put_many(vec![record(1), record(2)], &mut rng(2)).await.unwrap();
    for (kem, seed) in [(Kem::X25519, 3), (Kem::XWing, 4)] {
        let key = secret(kem, seed);
        let wrap = vault
            .wrap_for(permit(1), None, READER, &key.public_key(), CONSENT, &mut rng(5))
            .await
            .unwrap();
        assert_eq!(wrap.subject, Subject::Record(entries[0].digest));
        let identity = Identity { address: READER, secret: key };
        assert_eq!(open_copy(&vault, entries[0].digest, &identity).await.unwrap(), record(1).body);
        let refused = open_copy(&vault, entries[1].digest, &identity).await.unwrap_err();
        assert!(matches!(refused, OpenError::NoKey { .. }));

        // The wrap holds for this consent only.
        let mut copy = vault.copy_for(entries[0].digest, READER).await.unwrap().unwrap();
        copy.wraps.iter_mut().for_each(|wrap| wrap.consent = B256::ZERO);
        let sealed = vault.sealed_bytes(entries[0].digest).await.unwrap().unwrap();
        assert!(copy.open(sealed, &identity, NETWORK, std::io::sink()).is_err());
    }
}

async fn wrap_for_a_reader_needs_a_fitting_permit(place: Place) {
    let vault = place.unlock().await;
    vault.put(record(1), &mut rng(2)).await.unwrap();
    let key = secret(Kem::X25519, 1).public_key();
    let other = permit_for(id(1), Address::repeat_byte(9), STEWARD, Kind::Laboratory);
    let refused = vault.wrap_for(other, None, READER, &key, CONSENT, &mut rng(3)).await;
    assert!(matches!(refused, Err(OpenError::NotPermitted { .. })));
}

async fn secrets_come_back_under_their_names(place: Place) {
    let vault = place.unlock().await;
    let keyring = Keyring::open(vault.database(), &root_key()).await.unwrap();
    keyring.put("hpke/1", b"one", &mut rng(1)).await.unwrap();
    keyring.put("hpke/2", b"two", &mut rng(2)).await.unwrap();
    keyring.put("signer", b"three", &mut rng(3)).await.unwrap();
    let taken = keyring.put("signer", b"four", &mut rng(4)).await.unwrap_err();
    assert!(matches!(taken, KeyringError::Taken));
    let get = async |name| keyring.get(name).await.unwrap().map(|secret| secret.to_vec());
    assert_eq!(get("signer").await, Some(b"three".to_vec()));
    assert_eq!(get("nobody").await, None);
    assert_eq!(keyring.names("hpke/").await.unwrap(), ["hpke/1", "hpke/2"]);
    keyring.remove("signer").await.unwrap();
    keyring.remove("signer").await.unwrap();
    assert_eq!(get("signer").await, None);

    let other = Keyring::open(vault.database(), &RootKey::from_bytes(&[9; 32])).await.unwrap();
    assert!(matches!(other.get("hpke/1").await, Err(KeyringError::WrongKey)));
    tamper(&vault, "update keyring set name = 'swapped' where name = 'hpke/1'").await;
    assert!(matches!(keyring.get("swapped").await, Err(KeyringError::WrongKey)));
}

/// Whoever can write to the database must not get the vault to seal under a key of theirs.
async fn planted_kind_key_is_not_used(place: Place) {
    let vault = place.unlock().await;
    vault
        .put_many(vec![record(1), NewRecord { kind: Kind::Allergy, ..record(2) }], &mut rng(2))
        .await
        .unwrap();
    tamper(
        &vault,
        "update kind_keys set sealed = (select sealed from kind_keys where kind = 3) where kind = 5",
    )
    .await;
    place.close(vault).await;
    let vault = place.unlock().await;
    let refused = vault.put(record(3), &mut rng(3)).await.unwrap_err();
    let source = std::error::Error::source(&refused).unwrap();
    assert_eq!(source.to_string(), "the store holds a kind key that breaks its rules");
}

async fn planted_patient_key_is_not_used(place: Place) {
    let vault = place.unlock().await;
    let key = secret(Kem::X25519, 1);
    vault.set_patient_keys(READER, &[key.public_key()], &mut rng(2)).await.unwrap();
    tamper(&vault, "update patient_keys set patient = (select patient from patient_keys)").await;
    vault.put(NewRecord { patient: READER, ..record(1) }, &mut rng(3)).await.unwrap();

    let planted = sqlx::query("update patient_keys set patient = $1").bind(PATIENT.to_vec());
    let mut transaction = vault.database().begin().await.unwrap();
    planted.execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let refused = vault.put(record(2), &mut rng(4)).await.unwrap_err();
    let source = std::error::Error::source(&refused).unwrap();
    assert_eq!(source.to_string(), "the store holds a patient's public key that breaks its rules");
}

/// Whoever can write to the database, and is a patient here too, must not read others' records.
async fn record_moved_to_another_patient_does_not_open(place: Place) {
    let vault = place.unlock().await;
    vault.put_many(vec![record(1), long_record(2)], &mut rng(2)).await.unwrap();
    vault.put(NewRecord { patient: READER, ..record(3) }, &mut rng(3)).await.unwrap();
    let mut transaction = vault.database().begin().await.unwrap();
    let moved = sqlx::query("update records set patient = $1").bind(READER.to_vec());
    moved.execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();

    let key = secret(Kem::X25519, 1).public_key();
    for number in [1, 2] {
        let permit = || permit_for(id(number), READER, STEWARD, Kind::Laboratory);
        let refused = [
            vault.open(permit(), None).await.map(drop),
            vault.open_to(permit(), None, std::io::sink()).await.map(drop),
            vault.wrap_for(permit(), None, READER, &key, CONSENT, &mut rng(4)).await.map(drop),
        ];
        for refused in refused {
            assert!(matches!(refused, Err(OpenError::Tampered { .. })), "{refused:?}");
        }
    }
    vault.open(permit_for(id(3), READER, STEWARD, Kind::Laboratory), None).await.unwrap();
}

/// A patient's kind key under another patient's name would be wrapped for that one, and seal for them.
async fn kind_key_moved_to_another_patient_is_not_used(place: Place) {
    let vault = place.unlock().await;
    vault.put(record(1), &mut rng(2)).await.unwrap();
    let mut transaction = vault.database().begin().await.unwrap();
    let moved = sqlx::query("update kind_keys set patient = $1").bind(READER.to_vec());
    moved.execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();

    let key = secret(Kem::X25519, 1).public_key();
    let expected = "the store holds a kind key that breaks its rules";
    let refused = vault.set_patient_keys(READER, &[key], &mut rng(3)).await.unwrap_err();
    assert_eq!(refused.to_string(), expected);
    let theirs = NewRecord { patient: READER, ..record(2) };
    let refused = vault.put(theirs, &mut rng(4)).await.unwrap_err();
    assert_eq!(std::error::Error::source(&refused).unwrap().to_string(), expected);
    let wraps = sqlx::query("select 1 from wraps").fetch_all(vault.database().readers()).await;
    assert!(wraps.unwrap().is_empty());
}
