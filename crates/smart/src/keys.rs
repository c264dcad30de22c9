//! The public keys that an issuer or a client publishes.
//!
//! Keys that are of no use here are left out, as RFC 7517 wants: those for encryption, those of unknown
//! kinds, those without a `kid`. Left out as well are shared secrets, RSA keys that are too short, and
//! keys whose private half stands beside them, since anybody could sign with those.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto::rust_crypto::DEFAULT_PROVIDER};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The most keys in one set.
const KEYS_MAX: usize = 64;

/// The bytes of an RSA modulus: 2,048 to 4,096 bits.
///
/// # Source
///
/// RFC 7518, section 3.3, for the least. The greatest is what the RSA library takes.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// The longest name of a key, in bytes.
const KEY_ID_BYTES_MAX: usize = 256;

/// Why a key set is not read.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It is no JSON object with a list of keys.
    #[error("the key set is no JSON object with a list `keys`")]
    Malformed(#[source] serde_json::Error),
    /// It has too many keys.
    #[error("the key set has more than {KEYS_MAX} keys")]
    TooMany,
}

/// A public key and the algorithms that it is for.
#[derive(Clone)]
pub(crate) struct Key {
    id: String,
    algorithms: &'static [Algorithm],
    key: DecodingKey,
    /// A digest of all that was published of it.
    fingerprint: [u8; 32],
}

impl Key {
    pub(crate) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// What no other key has, nor this one under another algorithm.
    pub(crate) const fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// Whether `signature` is this key's signature of `message`.
    pub(crate) fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        // The library's process-wide provider panics when another crate turns on a second one. This is
        // the one place that does cryptography with it, so it names the one it means.
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&algorithm, &self.key);
        verifier.is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
    }
}

/// The keys of a JSON Web Key Set that can check a signature here.
#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Reads a key set and leaves out every key that is of no use here.
    ///
    /// # Errors
    ///
    /// [`KeysError`] when it is no key set, or a huge one.
    pub fn parse(text: &[u8]) -> Result<Self, KeysError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let set: Set = serde_json::from_slice(text).map_err(KeysError::Malformed)?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeysError::TooMany);
        }
        Ok(Self(set.keys.into_iter().filter_map(usable).collect()))
    }

    /// Whether no key is of use.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many keys are of use.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The first key of that name.
    pub(crate) fn find(&self, id: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.id == id)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

/// A key as it is published.
#[derive(Deserialize)]
struct Published {
    kty: String,
    kid: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part of any asymmetric key.
    d: Option<serde::de::IgnoredAny>,
}

fn usable(key: Value) -> Option<Key> {
    let fingerprint = Sha256::digest(key.to_string()).into();
    let key: Published = serde_json::from_value(key).ok()?;
    let signs = key.usage.as_deref().is_none_or(|usage| usage == "sig")
        && key.key_ops.as_ref().is_none_or(|uses| uses.iter().any(|each| each == "verify"));
    if !signs || key.d.is_some() || key.kid.is_empty() || key.kid.len() > KEY_ID_BYTES_MAX {
        return None;
    }
    // A key that does not say its algorithm is for those of its kind and curve, and never for others.
    let algorithms: &[Algorithm] = match (key.kty.as_str(), key.crv.as_deref(), key.alg.as_deref())
    {
        ("RSA", _, None) => &[Algorithm::RS256, Algorithm::RS384],
        ("RSA", _, Some("RS256")) => &[Algorithm::RS256],
        ("RSA", _, Some("RS384")) => &[Algorithm::RS384],
        ("EC", Some("P-256"), None | Some("ES256")) => &[Algorithm::ES256],
        ("EC", Some("P-384"), None | Some("ES384")) => &[Algorithm::ES384],
        ("OKP", Some("Ed25519"), None | Some("EdDSA")) => &[Algorithm::EdDSA],
        _ => return None,
    };
    let point = |size: usize| {
        let (x, y) = (bytes(key.x.as_deref()?)?, bytes(key.y.as_deref()?)?);
        // 4 says that both coordinates follow (SEC 1, section 2.3.3).
        (x.len() == size && y.len() == size)
            .then(|| DecodingKey::from_ec_der(&[&[4], x.as_slice(), y.as_slice()].concat()))
    };
    let decoding = match algorithms[0] {
        Algorithm::ES256 => point(32)?,
        Algorithm::ES384 => point(48)?,
        Algorithm::EdDSA => {
            // The library takes the first 32 bytes without asking whether they are there.
            let x = bytes(key.x.as_deref()?)?;
            (x.len() == 32).then(|| DecodingKey::from_ed_der(&x))?
        }
        _ => {
            let (n, e) = (bytes(key.n.as_deref()?)?, bytes(key.e.as_deref()?)?);
            let modulus = &n[n.iter().take_while(|byte| **byte == 0).count()..];
            (MODULUS_BYTES.contains(&modulus.len()) && (1..=4).contains(&e.len()))
                .then(|| DecodingKey::from_rsa_raw_components(modulus, &e))?
        }
    };
    // Points that are on no curve fail here, and not at each token.
    (DEFAULT_PROVIDER.verifier_factory)(&algorithms[0], &decoding).ok()?;
    Some(Key { id: key.kid, algorithms, key: decoding, fingerprint })
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
