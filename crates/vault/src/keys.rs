//! Symmetric keys, and which of them opens what.
//!
//! ```text
//! passphrase --Argon2id--> file key --AES-256-GCM--> ROOT KEY        (file, see `root_file`; or a KMS)
//!                                                      |
//!            +-----------------------------------------+  HKDF-SHA256, one label per purpose
//!            v                    v                    v
//!     WRAPPING KEY          WRAPPING KEY          WRAPPING KEY
//!     "kind-keys"           "keyring"             "trust"
//!            | AES-256-GCM        | AES-256-GCM        | AES-256-GCM
//!            v                    v                    v
//!        KIND KEY          signing keys, HPKE     public keys of patients,
//!  (patient, steward,      private keys           settings: nothing secret, but
//!   kind, epoch)                                  only this vault can have written them
//!      |     |
//!      |     +--HPKE--> the patient's keys, the steward's recovery keys (see `recipients`)
//!      | AES-KW
//!      v
//!  CONTENT KEY  (one version of one record) --HPKE--> one reader, for a grant that outlives us
//!      | HKDF-SHA256
//!      v
//!  body key, commitment (see `sealed`)
//! ```
//!
//! The steward's own wrap of a kind key is symmetric, because anybody can make an HPKE wrap for a
//! known public key: whoever could write to the database would plant a kind key of their own and
//! read everything sealed under it from then on.
//!
//! Every secret is wiped when dropped, prints as a placeholder, and cannot be serialised.

use std::fmt;

use aes_gcm::{
    Aes256Gcm, KeyInit as _, Nonce,
    aead::{Aead as _, Payload},
};
use aes_kw::KwAes256;
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

/// Length of every symmetric key, in bytes.
pub(crate) const KEY_LEN: usize = 32;

/// Length of a content key wrapped under a kind key, in bytes (RFC 3394: the key and 8 bytes).
pub(crate) const WRAPPED_CONTENT_KEY_LEN: usize = KEY_LEN + aes_kw::IV_LEN;

const NONCE_LEN: usize = 12;

macro_rules! secret_key {
    ($(#[$meta:meta])* $visibility:vis $name:ident) => {
        $(#[$meta])*
        // Boxed, so that moving the key leaves no copy behind that nobody wipes.
        $visibility struct $name(Box<[u8; KEY_LEN]>);

        impl Drop for $name {
            fn drop(&mut self) {
                self.0.zeroize();
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    };
}

secret_key! {
    /// The key from which everything else in a vault can be opened.
    ///
    /// It comes from a file under a passphrase ([`RootKey::load`](crate::RootKey::load)) or from a
    /// key-management service ([`RootKey::from_bytes`]). Who loses it loses every record, save by the
    /// recovery keys of steward and patient.
    pub RootKey
}

secret_key! {
    /// A key that wraps other keys, for one purpose only.
    pub(crate) WrappingKey
}

secret_key! {
    /// The key of one patient's records of one kind at one steward, for one epoch.
    pub(crate) KindKey
}

secret_key! {
    /// The key of one version of one record.
    pub(crate) ContentKey
}

/// What a wrapping key wraps. Each purpose has its own label, so no key serves two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyPurpose {
    /// Kind keys, in the database.
    KindKeys,
    /// The institution's other secrets, in the database.
    Keyring,
    /// What is no secret, but must be ours: patients' public keys, settings.
    Trust,
}

impl KeyPurpose {
    const fn label(self) -> &'static [u8] {
        match self {
            Self::KindKeys => b"salus/kwk/kind-keys/v1",
            Self::Keyring => b"salus/kwk/keyring/v1",
            Self::Trust => b"salus/kwk/trust/v1",
        }
    }
}

/// The key does not fit what it was to open, or that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key does not fit, or the wrapped bytes were changed")]
pub struct WrongKey;

impl RootKey {
    /// A fresh random key.
    #[must_use]
    pub fn make(rng: &mut impl CryptoRng) -> Self {
        Self(make_key(rng))
    }

    /// The key that a key-management service handed out. The caller wipes its own copy.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
        Self(Box::new(*bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    pub(crate) fn derive_wrapping_key(&self, purpose: KeyPurpose) -> WrappingKey {
        let mut bytes = Box::new([0; KEY_LEN]);
        Hkdf::<Sha256>::new(None, &*self.0)
            .expand(purpose.label(), &mut *bytes)
            .expect("HKDF-SHA256 gives up to 8,160 bytes");
        WrappingKey(bytes)
    }
}

impl WrappingKey {
    pub(crate) fn from_bytes(bytes: &[u8; KEY_LEN]) -> Self {
        Self(Box::new(*bytes))
    }

    /// Wraps `secret` so that it opens only under the same `context`.
    ///
    /// ```text
    /// nonce [12], random | ciphertext | tag [16]      AES-256-GCM, associated data = context
    /// ```
    ///
    /// A nonce repeats with a chance of 2^-32 after 2^32 wraps under one key, far more than the kind
    /// keys of any institution.
    pub(crate) fn wrap(&self, context: &[u8], secret: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let ciphertext = self
            .cipher()
            .encrypt(&Nonce::from(nonce), Payload { msg: secret, aad: context })
            .expect("AES-GCM takes messages of up to 64 GiB");
        [nonce.as_slice(), &ciphertext].concat()
    }

    pub(crate) fn unwrap(
        &self,
        context: &[u8],
        wrapped: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, WrongKey> {
        let (nonce, ciphertext) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or(WrongKey)?;
        self.cipher()
            .decrypt(&Nonce::from(*nonce), Payload { msg: ciphertext, aad: context })
            .map(Zeroizing::new)
            .map_err(|_| WrongKey)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&*self.0).into())
    }
}

impl KindKey {
    pub(crate) fn make(rng: &mut impl CryptoRng) -> Self {
        Self(make_key(rng))
    }

    /// Takes a kind key out of its wrap.
    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, WrongKey> {
        boxed_key(bytes).map(Self)
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// Wraps a content key (RFC 3394, AES-256).
    pub(crate) fn wrap(&self, key: &ContentKey) -> [u8; WRAPPED_CONTENT_KEY_LEN] {
        let mut wrapped = [0; WRAPPED_CONTENT_KEY_LEN];
        self.cipher()
            .wrap_key(&*key.0, &mut wrapped)
            .expect("32 bytes are whole semiblocks, and the buffer has room for one more");
        wrapped
    }

    pub(crate) fn unwrap(&self, wrapped: &[u8]) -> Result<ContentKey, WrongKey> {
        let mut bytes = Box::new([0; KEY_LEN]);
        if wrapped.len() != WRAPPED_CONTENT_KEY_LEN {
            return Err(WrongKey);
        }
        match self.cipher().unwrap_key(wrapped, &mut *bytes) {
            Ok(_) => Ok(ContentKey(bytes)),
            Err(_) => {
                bytes.zeroize();
                Err(WrongKey)
            }
        }
    }

    fn cipher(&self) -> KwAes256 {
        KwAes256::new((&*self.0).into())
    }
}

impl ContentKey {
    pub(crate) fn make(rng: &mut impl CryptoRng) -> Self {
        Self(make_key(rng))
    }

    /// Takes a content key out of its wrap.
    pub(crate) fn from_slice(bytes: &[u8]) -> Result<Self, WrongKey> {
        boxed_key(bytes).map(Self)
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

fn make_key(rng: &mut impl CryptoRng) -> Box<[u8; KEY_LEN]> {
    let mut bytes = Box::new([0; KEY_LEN]);
    rng.fill_bytes(&mut *bytes);
    bytes
}

fn boxed_key(bytes: &[u8]) -> Result<Box<[u8; KEY_LEN]>, WrongKey> {
    if bytes.len() != KEY_LEN {
        return Err(WrongKey);
    }
    let mut boxed = Box::new([0; KEY_LEN]);
    boxed.copy_from_slice(bytes);
    Ok(boxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::rng;

    #[test]
    fn secrets_print_as_placeholders() {
        assert_eq!(format!("{:?}", RootKey::make(&mut rng(1))), "RootKey(..)");
        assert_eq!(format!("{:?}", ContentKey::make(&mut rng(1))), "ContentKey(..)");
    }

    #[test]
    fn each_purpose_has_its_own_key() {
        let root = RootKey::make(&mut rng(1));
        let wrapped = root.derive_wrapping_key(KeyPurpose::Keyring).wrap(b"a", b"s", &mut rng(2));
        let open = |purpose| root.derive_wrapping_key(purpose).unwrap(b"a", &wrapped);
        assert_eq!(open(KeyPurpose::Keyring).unwrap().as_slice(), b"s");
        assert_eq!(open(KeyPurpose::KindKeys).unwrap_err(), WrongKey);
        assert_eq!(open(KeyPurpose::Trust).unwrap_err(), WrongKey);
    }

    #[test]
    fn wrapped_secret_opens_in_its_context_only() {
        let key = WrappingKey::from_bytes(&[1; KEY_LEN]);
        let mut wrapped = key.wrap(b"one", b"secret", &mut rng(2));
        assert_eq!(key.unwrap(b"two", &wrapped).unwrap_err(), WrongKey);
        assert_eq!(key.unwrap(b"one", &wrapped[..11]).unwrap_err(), WrongKey);
        wrapped[13] ^= 1;
        assert_eq!(key.unwrap(b"one", &wrapped).unwrap_err(), WrongKey);
    }

    #[test]
    fn content_keys_wrap_as_rfc_3394_says() {
        // RFC 3394, section 4.6: 256 bits of key data under a 256-bit key.
        let kek: Vec<u8> = (0..32).collect();
        let data = hex::decode("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
        let expected =
            "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21";
        let key = KindKey::from_slice(&kek).unwrap();
        let content = ContentKey::from_slice(&data.unwrap()).unwrap();
        let wrapped = key.wrap(&content);
        assert_eq!(hex::encode(wrapped), expected);
        assert_eq!(key.unwrap(&wrapped).unwrap().expose(), content.expose());
    }

    #[test]
    fn content_key_opens_under_its_kind_key_only() {
        let (key, other) = (KindKey::make(&mut rng(1)), KindKey::make(&mut rng(2)));
        let mut wrapped = key.wrap(&ContentKey::make(&mut rng(3)));
        assert_eq!(other.unwrap(&wrapped).unwrap_err(), WrongKey);
        assert_eq!(key.unwrap(&wrapped[1..]).unwrap_err(), WrongKey);
        wrapped[0] ^= 1;
        assert_eq!(key.unwrap(&wrapped).unwrap_err(), WrongKey);
    }
}
