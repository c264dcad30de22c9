//! The issuer's key and what it signs.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Keeps the key apart from whatever else is derived from the same seed.
const LABEL: &[u8] = b"salus development issuer, signing key, version 1";

/// A P-256 key that signs by ES256, and its public half.
///
/// Signatures are deterministic (RFC 6979), so a run with the same seed, clock and random bytes gives the
/// same tokens.
pub(super) struct Signer {
    key: SigningKey,
    public: Map<String, Value>,
    key_id: String,
}

impl Signer {
    /// The key of a seed, always the same.
    pub(super) fn derive(seed: &[u8; 32]) -> Self {
        // A digest is no key with a chance of one in 2^32 at most; then the next one is taken.
        let key = (0_u32..).find_map(|attempt| {
            let hash = Sha256::new().chain_update(LABEL).chain_update(seed);
            let hash = hash.chain_update(attempt.to_be_bytes()).finalize();
            SigningKey::from_slice(Zeroizing::<[u8; 32]>::new(hash.into()).as_slice()).ok()
        });
        let key = key.expect("not four billion digests in a row are out of range");
        let point = key.verifying_key().to_encoded_point(false);
        let coordinate = |bytes: Option<&p256::FieldBytes>| {
            URL_SAFE_NO_PAD.encode(bytes.expect("the point is not compressed and not at infinity"))
        };
        let (x, y) = (coordinate(point.x()), coordinate(point.y()));
        // The thumbprint as name (RFC 7638): these members, in this order, without spaces.
        let thumbprint = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let key_id = URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint));
        let mut public = Map::new();
        for (name, value) in [
            ("kty", "EC"),
            ("crv", "P-256"),
            ("x", &x),
            ("y", &y),
            ("use", "sig"),
            ("alg", "ES256"),
            ("kid", &key_id),
        ] {
            public.insert(name.into(), value.into());
        }
        Self { key, public, key_id }
    }

    /// The public key in a set of its own.
    pub(super) fn jwks(&self) -> Value {
        json!({ "keys": [self.public] })
    }

    /// A signed JWT with these claims.
    pub(super) fn sign(&self, typ: &str, claims: &Map<String, Value>) -> String {
        let header = json!({ "alg": "ES256", "kid": self.key_id, "typ": typ });
        let encode = |json: String| URL_SAFE_NO_PAD.encode(json);
        let claims = Value::Object(claims.clone()).to_string();
        let mut token = format!("{}.{}", encode(header.to_string()), encode(claims));
        let signature: Signature = self.key.sign(token.as_bytes());
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature.to_bytes()));
        token
    }
}
