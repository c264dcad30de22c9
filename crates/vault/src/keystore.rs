//! Signing keys in files that every Ethereum tool reads: Web3 Secret Storage, version 3.
//!
//! Files are written with scrypt at N = 2^18, mode 0600, and never overwritten. Reading also takes
//! PBKDF2, as the definition does, and refuses parameters that would take all memory or all day.
//!
//! # Source
//!
//! [Web3 Secret Storage Definition](https://ethereum.org/en/developers/docs/data-structures-and-encoding/web3-secret-storage/),
//! whose two test vectors are in `tests/samples`.

use std::path::Path;

use aes::Aes128;
use alloy_primitives::{Address, keccak256};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::private_file::{self, PrivateFileError};

const VERSION: u32 = 3;
const CIPHER: &str = "aes-128-ctr";
const PRF: &str = "hmac-sha256";
const SECRET_LEN: usize = 32;
const DERIVED_LEN: usize = 32;

/// The most memory that a file may ask for, in bytes: twice what the standard cost takes.
const MEMORY_MAX: u64 = 512 * 1024 * 1024;

/// The most work that a file may ask for: blocks mixed by scrypt (N r p), eight times the standard.
const SCRYPT_WORK_MAX: u64 = 8 << 21;

/// The most rounds of PBKDF2 that a file may ask for.
const PBKDF2_ROUNDS_MAX: u32 = 10_000_000;

/// What guessing one password costs: scrypt with r = 8 and p = 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScryptCost {
    log_n: u8,
}

impl ScryptCost {
    /// N = 2^18, as geth does: 256 MiB, about a second.
    pub const STANDARD: Self = Self { log_n: 18 };

    /// N = 2^4. For tests only: it protects nothing.
    pub const FOR_TESTS: Self = Self { log_n: 4 };
}

/// Why a keystore file was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// The password is another, or the file was changed.
    #[error("wrong password, or the keystore file was changed")]
    WrongPassword,
    /// It is no keystore file of version 3 with a 32-byte key.
    #[error("not a version 3 keystore file")]
    NotAKeystore(#[source] Option<serde_json::Error>),
    /// It asks for more memory or time than is reasonable.
    #[error("the keystore file asks for more memory or time than is reasonable")]
    TooCostly,
    /// The file could not be used.
    #[error("the keystore file could not be used")]
    File(#[from] PrivateFileError),
}

const MALFORMED: KeystoreError = KeystoreError::NotAKeystore(None);

#[derive(Serialize, Deserialize)]
struct KeyFile {
    // Written by geth and ethers; readers that know it compare it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(alias = "Crypto")]
    crypto: Crypto,
    id: String,
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Crypto {
    cipher: String,
    cipherparams: CipherParams,
    ciphertext: HexBytes,
    #[serde(flatten)]
    kdf: Kdf,
    mac: HexBytes,
}

#[derive(Serialize, Deserialize)]
struct CipherParams {
    iv: HexBytes,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kdf", content = "kdfparams", rename_all = "lowercase")]
enum Kdf {
    Scrypt { dklen: u32, n: u32, r: u32, p: u32, salt: HexBytes },
    Pbkdf2 { c: u32, dklen: u32, prf: String, salt: HexBytes },
}

/// Bytes as hexadecimal digits.
struct HexBytes(Vec<u8>);

impl Serialize for HexBytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Writes a private key to a new keystore file. Takes about a second, on purpose.
///
/// # Errors
///
/// [`KeystoreError::File`].
pub fn save(
    path: &Path,
    secret: &[u8; SECRET_LEN],
    address: Address,
    password: &[u8],
    cost: ScryptCost,
    rng: &mut impl CryptoRng,
) -> Result<(), KeystoreError> {
    let (mut salt, mut iv, mut id) = ([0; 32], [0; 16], [0; 16]);
    rng.fill_bytes(&mut salt);
    rng.fill_bytes(&mut iv);
    rng.fill_bytes(&mut id);
    let kdf =
        Kdf::Scrypt { dklen: 32, n: 1 << cost.log_n, r: 8, p: 1, salt: HexBytes(salt.to_vec()) };
    let derived = kdf.derive(password)?;
    let mut ciphertext = *secret;
    apply_cipher(&derived, &iv, &mut ciphertext);
    let file = KeyFile {
        address: Some(hex::encode(address)),
        crypto: Crypto {
            cipher: CIPHER.into(),
            cipherparams: CipherParams { iv: HexBytes(iv.to_vec()) },
            mac: HexBytes(mac(&derived, &ciphertext).to_vec()),
            ciphertext: HexBytes(ciphertext.to_vec()),
            kdf,
        },
        id: uuid_text(id),
        version: VERSION,
    };
    let mut json = serde_json::to_vec_pretty(&file).expect("text and numbers are always JSON");
    json.push(b'\n');
    Ok(private_file::write(path, &json)?)
}

/// Reads the private key in a keystore file.
///
/// # Errors
///
/// See [`KeystoreError`].
pub fn load(path: &Path, password: &[u8]) -> Result<Zeroizing<[u8; SECRET_LEN]>, KeystoreError> {
    open(&private_file::read(path)?, password)
}

fn open(json: &[u8], password: &[u8]) -> Result<Zeroizing<[u8; SECRET_LEN]>, KeystoreError> {
    let file: KeyFile = serde_json::from_slice(json).map_err(not_a_keystore)?;
    let Crypto { cipher, cipherparams, ciphertext, kdf, mac: expected } = file.crypto;
    let iv: [u8; 16] = cipherparams.iv.0.try_into().map_err(|_| MALFORMED)?;
    let ciphertext: [u8; SECRET_LEN] = ciphertext.0.try_into().map_err(|_| MALFORMED)?;
    if file.version != VERSION || cipher != CIPHER {
        return Err(MALFORMED);
    }
    let derived = kdf.derive(password)?;
    if !bool::from(mac(&derived, &ciphertext).as_slice().ct_eq(&expected.0)) {
        return Err(KeystoreError::WrongPassword);
    }
    let mut secret = Zeroizing::new(ciphertext);
    apply_cipher(&derived, &iv, &mut secret);
    Ok(secret)
}

/// Says where the file breaks the format, and nothing of what stands there: somebody may have named the
/// file of a bare private key.
fn not_a_keystore(error: serde_json::Error) -> KeystoreError {
    let place = format!("malformed at line {}, column {}", error.line(), error.column());
    KeystoreError::NotAKeystore(Some(serde::de::Error::custom(place)))
}

type Derived = Zeroizing<[u8; DERIVED_LEN]>;

impl Kdf {
    fn derive(&self, password: &[u8]) -> Result<Derived, KeystoreError> {
        let mut derived = Derived::new([0; DERIVED_LEN]);
        match self {
            Self::Scrypt { dklen: 32, n, r, p, salt } => {
                let (n, r, p) = (u64::from(*n), u64::from(*r), u64::from(*p));
                // The factors have 32 bits each, so two of them fit in 64 bits.
                let memory = (n * r).saturating_add(r * p).saturating_mul(128);
                let work = (n * r).saturating_mul(p);
                if memory > MEMORY_MAX || work > SCRYPT_WORK_MAX {
                    return Err(KeystoreError::TooCostly);
                }
                if !n.is_power_of_two() {
                    return Err(MALFORMED);
                }
                let log_n = u8::try_from(n.trailing_zeros()).map_err(|_| MALFORMED)?;
                let number = |factor| u32::try_from(factor).map_err(|_| MALFORMED);
                let params =
                    scrypt::Params::new(log_n, number(r)?, number(p)?).map_err(|_| MALFORMED)?;
                scrypt::scrypt(password, &salt.0, &params, &mut *derived).map_err(|_| MALFORMED)?;
            }
            Self::Pbkdf2 { c, dklen: 32, prf, salt } if prf == PRF => {
                if *c == 0 {
                    return Err(MALFORMED);
                }
                if *c > PBKDF2_ROUNDS_MAX {
                    return Err(KeystoreError::TooCostly);
                }
                pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt.0, *c, &mut *derived);
            }
            Self::Scrypt { .. } | Self::Pbkdf2 { .. } => return Err(MALFORMED),
        }
        Ok(derived)
    }
}

/// Encrypts or decrypts, which is the same.
fn apply_cipher(derived: &Derived, iv: &[u8; 16], secret: &mut [u8; SECRET_LEN]) {
    Ctr128BE::<Aes128>::new_from_slices(&derived[..16], iv)
        .expect("AES-128 takes 16 bytes of key and 16 of counter")
        .apply_keystream(secret);
}

fn mac(derived: &Derived, ciphertext: &[u8; SECRET_LEN]) -> [u8; 32] {
    let mut bytes = Zeroizing::new([0; 16 + SECRET_LEN]);
    bytes[..16].copy_from_slice(&derived[16..]);
    bytes[16..].copy_from_slice(ciphertext);
    keccak256(bytes.as_slice()).into()
}

/// A random UUID (RFC 9562, version 4).
fn uuid_text(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let digits = hex::encode(bytes);
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rng;

    const SECRET: &str = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
    const SCRYPT: &str = include_str!("../tests/samples/keystore_v3_scrypt.json");
    const PBKDF2: &str = include_str!("../tests/samples/keystore_v3_pbkdf2.json");

    #[track_caller]
    fn check_opens(json: &str) {
        let secret = open(json.as_bytes(), b"testpassword").unwrap();
        assert_eq!(hex::encode(*secret), SECRET);
    }

    #[test]
    fn vectors_of_the_definition_open() {
        check_opens(SCRYPT);
        check_opens(PBKDF2);
        check_opens(&SCRYPT.replace("\"crypto\"", "\"Crypto\""));
    }

    #[track_caller]
    fn check_refused(json: &str, expected: &str) {
        assert_eq!(open(json.as_bytes(), b"testpassword").unwrap_err().to_string(), expected);
    }

    #[test]
    fn wrong_password_says_so() {
        let error = open(PBKDF2.as_bytes(), b"guess").unwrap_err();
        assert_eq!(error.to_string(), "wrong password, or the keystore file was changed");
    }

    #[test]
    fn changed_files_are_refused() {
        let changed = "wrong password, or the keystore file was changed";
        check_refused(&PBKDF2.replace("5318b4d5", "5318b4d6"), changed);
        check_refused(&PBKDF2.replace("517ead92", "517ead93"), changed);
        check_refused(&PBKDF2.replace("ae3cd4e7", "ae3cd4e8"), changed);
    }

    #[test]
    fn other_files_are_refused() {
        let foreign = "not a version 3 keystore file";
        check_refused("", foreign);
        check_refused("{}", foreign);
        check_refused(&PBKDF2.replace("\"version\": 3", "\"version\": 1"), foreign);
        check_refused(&PBKDF2.replace("aes-128-ctr", "aes-128-cbc"), foreign);
        check_refused(&PBKDF2.replace("hmac-sha256", "hmac-sha1"), foreign);
        check_refused(&PBKDF2.replace("\"dklen\": 32", "\"dklen\": 64"), foreign);
        check_refused(&SCRYPT.replace("262144", "262143"), foreign);
        check_refused(&PBKDF2.replace("5318b4d5", ""), foreign);
    }

    /// S1: a bare private key in the place of a keystore is not repeated.
    #[test]
    fn nothing_of_a_file_is_in_the_error() {
        for json in [format!("\"{SECRET}\""), SECRET.into(), format!("{{\"crypto\":\"{SECRET}\"}}")]
        {
            let error = open(json.as_bytes(), b"testpassword").unwrap_err();
            let text = format!("{error:?} {error} {}", std::error::Error::source(&error).unwrap());
            assert!(!text.contains(&SECRET[..4]), "{text}");
            assert!(text.contains("malformed at line 1, column"), "{text}");
        }
    }

    #[test]
    fn files_that_ask_for_too_much_are_refused_at_once() {
        let costly = "the keystore file asks for more memory or time than is reasonable";
        check_refused(&SCRYPT.replace("262144", "2147483648"), costly);
        check_refused(&SCRYPT.replace("\"r\": 1", "\"r\": 4294967295"), costly);
        check_refused(&SCRYPT.replace("\"p\": 8", "\"p\": 4294967295"), costly);
        check_refused(&PBKDF2.replace("262144", "4294967295"), costly);
        let all = SCRYPT.replace("262144", "4294967295").replace("\"r\": 1", "\"r\": 4294967295");
        check_refused(&all.replace("\"p\": 8", "\"p\": 4294967295"), costly);
    }

    #[test]
    fn saved_key_loads_with_its_password_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.json");
        let address = Address::repeat_byte(0xab);
        let save =
            || super::save(&path, &[5; 32], address, b"pass", ScryptCost::FOR_TESTS, &mut rng(1));
        save().unwrap();
        assert_eq!(*load(&path, b"pass").unwrap(), [5; 32]);
        assert!(matches!(load(&path, b"Pass"), Err(KeystoreError::WrongPassword)));
        assert!(matches!(save(), Err(KeystoreError::File(PrivateFileError::Exists))));

        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["address"], "ab".repeat(20));
        assert_eq!(json["crypto"]["kdf"], "scrypt");
        assert_eq!(json["crypto"]["kdfparams"]["r"], 8);
        assert_eq!(json["id"].as_str().unwrap().len(), 36);
    }
}
