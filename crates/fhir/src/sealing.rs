//! Seals what this crate keeps of its own: nothing that is said of a patient is on disk in the clear.
//!
//! ```text
//! sealed   nonce [12] | AES-256-GCM of the bytes, with its place as associated data
//! ```
//!
//! Each use has a key of its own, made from the directory's by HMAC-SHA-256 of the use's name.

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use hmac::{Hmac, Mac as _};
use rand_core::CryptoRng;
use sha2::Sha256;
use vault::StoreError;
use zeroize::Zeroizing;

const NONCE_LEN: usize = 12;

/// Seals and opens under one key.
pub(crate) struct Sealing {
    cipher: Aes256Gcm,
}

impl Sealing {
    /// The key for one use.
    pub(crate) fn derive(key: &[u8; 32], usage: &str) -> Self {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key)
            .expect("a key may have any length");
        mac.update(usage.as_bytes());
        let derived: Zeroizing<[u8; 32]> = Zeroizing::new(mac.finalize().into_bytes().into());
        Self { cipher: Aes256Gcm::new(&(*derived).into()) }
    }

    /// Seals bytes for one place: sealed bytes that were moved elsewhere do not open.
    pub(crate) fn seal(&self, place: &[u8], bytes: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        let payload = Payload { msg: bytes, aad: place };
        let text = self.cipher.encrypt(&nonce.into(), payload);
        [&nonce[..], &text.expect("what is sealed is far below the limits of AES-GCM")].concat()
    }

    /// Opens what was sealed for this place.
    pub(crate) fn open(
        &self,
        place: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        const CORRUPT: StoreError = StoreError::Corrupt { what: "sealed bytes" };
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CORRUPT)?;
        let payload = Payload { msg: text, aad: place };
        let opened = self.cipher.decrypt(&(*nonce).into(), payload).map_err(|_| CORRUPT)?;
        Ok(Zeroizing::new(opened))
    }
}
