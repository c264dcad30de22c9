//! A passkey in software: what a patient's phone does, for demonstrations, tests and kiosks.
//!
//! It signs WebAuthn assertions that the contracts' verifier takes for those of a browser. A browser's
//! authenticator keeps its key in hardware; this one keeps it in memory and wipes it.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::SolValue as _;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
use sha2::{Digest as _, Sha256};

/// User present and user verified, the two flags that the verifier wants.
///
/// # Source
///
/// WebAuthn Level 2, section 6.1.
const FLAGS: u8 = 0x01 | 0x04;

/// A P-256 key that answers WebAuthn challenges.
pub struct Passkey {
    key: SigningKey,
    origin: String,
    relying_party: String,
}

/// The bytes are no key: zero, or beyond the curve's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no P-256 key")]
pub struct InvalidKey;

impl Passkey {
    /// The passkey with this secret, for pages of `origin`, such as `https://salus.example`.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] for the few byte strings that are no key.
    pub fn from_secret(secret: &B256, origin: &str) -> Result<Self, InvalidKey> {
        let key = SigningKey::from_slice(secret.as_slice()).map_err(|_| InvalidKey)?;
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        let host = host.split([':', '/']).next().unwrap_or(host);
        Ok(Self { key, origin: origin.into(), relying_party: host.into() })
    }

    /// The signer bytes of this passkey: the verifier's address and the public key (ERC-7913).
    #[must_use]
    pub fn signer(&self, verifier: Address) -> Bytes {
        let point = self.key.verifying_key().to_encoded_point(false);
        // An uncompressed point is one byte that says so, then both coordinates.
        [verifier.as_slice(), &point.as_bytes()[1..]].concat().into()
    }

    /// Answers the challenge `digest` as the verifier wants it: an encoded WebAuthn assertion.
    ///
    /// # Source
    ///
    /// WebAuthn Level 2, section 7.2. The encoding is that of OpenZeppelin's
    /// `ERC7913WebAuthnVerifier`: `r, s, challenge index, type index, authenticator data, client data`.
    #[must_use]
    pub fn sign(&self, digest: B256) -> Bytes {
        let challenge = URL_SAFE_NO_PAD.encode(digest);
        let origin = &self.origin;
        let client_data = format!(
            r#"{{"type":"webauthn.get","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#
        );
        let mut authenticator_data = Sha256::digest(self.relying_party.as_bytes()).to_vec();
        authenticator_data.push(FLAGS);
        // The counter of signatures; passkeys that are synchronised leave it at zero.
        authenticator_data.extend_from_slice(&[0; 4]);
        let mut signed = Sha256::new();
        signed.update(&authenticator_data);
        signed.update(Sha256::digest(client_data.as_bytes()));
        let signature: Signature =
            self.key.sign_prehash(&signed.finalize()).expect("a hash of 32 bytes can be signed");
        // The verifier refuses the upper half of `s`, which browsers do not normalise either.
        let signature = signature.normalize_s().unwrap_or(signature);
        let (r, s) = signature.split_bytes();
        let index = |key: &str| {
            U256::from(client_data.find(key).expect("the client data was made with this key"))
        };
        (
            B256::from_slice(&r),
            B256::from_slice(&s),
            index("\"challenge\""),
            index("\"type\""),
            Bytes::from(authenticator_data),
            client_data.clone(),
        )
            .abi_encode_params()
            .into()
    }
}

impl std::fmt::Debug for Passkey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passkey").field("origin", &self.origin).finish_non_exhaustive()
    }
}
