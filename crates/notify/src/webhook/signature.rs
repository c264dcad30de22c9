//! Secrets of webhooks, and signatures under them.
//!
//! # Source
//!
//! Standard Webhooks, "Signature scheme" and "Secrets" (standardwebhooks.com).

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand_core::CryptoRng;
use sha2::Sha256;
use zeroize::Zeroizing;

/// What stands before a secret in text.
const PREFIX: &str = "whsec_";

/// How long a secret may be, in bytes.
const LEN_MIN: usize = 24;
const LEN_MAX: usize = 64;

/// How old or how far ahead a message may be that a receiver takes, in seconds.
const TOLERANCE: u64 = 5 * 60;

/// A secret that a gateway and the receiver of its webhooks share. It is wiped when dropped and prints
/// as a placeholder.
pub struct WebhookSecret(Zeroizing<Vec<u8>>);

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

/// The text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret is `whsec_` and 24 to 64 bytes in base64")]
pub struct BadSecret;

impl WebhookSecret {
    /// A fresh random secret.
    #[must_use]
    pub fn make(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new(vec![0; 32]);
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// The secret as the receiver is given it, once.
    #[must_use]
    pub fn expose_text(&self) -> Zeroizing<String> {
        let encoded = Zeroizing::new(STANDARD.encode(&*self.0));
        Zeroizing::new([PREFIX, &encoded].concat())
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn from_bytes(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The value of `Webhook-Signature` for a message.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: Timestamp, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(self.mac(id, timestamp, body).finalize().into_bytes()))
    }

    /// Whether one of the signatures in `Webhook-Signature` is this secret's under the message, and the
    /// message is of about now. What a receiver does.
    #[must_use]
    pub fn verify(
        &self,
        id: &str,
        timestamp: Timestamp,
        body: &[u8],
        signatures: &str,
        now: Timestamp,
    ) -> bool {
        timestamp.0.abs_diff(now.0) <= TOLERANCE
            && signatures.split(' ').any(|signature| {
                let encoded = signature.strip_prefix("v1,").unwrap_or_default();
                let mac = self.mac(id, timestamp, body);
                STANDARD.decode(encoded).is_ok_and(|found| mac.verify_slice(&found).is_ok())
            })
    }

    fn mac(&self, id: &str, timestamp: Timestamp, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key may have any length");
        mac.update(format!("{id}.{}.", timestamp.0).as_bytes());
        mac.update(body);
        mac
    }
}

impl FromStr for WebhookSecret {
    type Err = BadSecret;

    fn from_str(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.strip_prefix(PREFIX).ok_or(BadSecret)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| BadSecret)?);
        if (LEN_MIN..=LEN_MAX).contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(BadSecret) }
    }
}
