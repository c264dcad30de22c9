//! A signed JWT before and after its signature was checked.
//!
//! [`Unverified`] is what came in; what it says of itself only serves to find the key. The JWT library
//! does the cryptography. Everything that depends on a clock or a rule is decided here and in `claims`,
//! so that time stays an argument.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::{Deserialize, de::DeserializeOwned};

use crate::{Refusal, keys::Key};

/// The longest token that is read, in bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1_024;

/// What a header must say, or must not. Parameters that are not named here change nothing.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that must be understood: none is, so its mere presence refuses the token.
    crit: Option<serde::de::IgnoredAny>,
}

/// A token as it came in, of which nothing is believed yet.
pub(crate) struct Unverified<'a> {
    /// Header and claims as they were signed.
    signed: &'a str,
    algorithm: Algorithm,
    key_id: String,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart. `types` are the values of `typ` that it may have, in lower case; it may
    /// also have none.
    pub(crate) fn parse(token: &'a str, types: &[&str]) -> Result<Self, Refusal> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Refusal::Malformed)?;
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| Refusal::Malformed)?;
        // Another dot would stand among the claims and fail there: it is no letter of base64.
        let claims = decode(claims)?;

        if header.crit.is_some() {
            return Err(Refusal::Malformed);
        }
        if let Some(typ) = &header.typ {
            let typ = typ.to_ascii_lowercase();
            if !types.contains(&typ.strip_prefix("application/").unwrap_or(&typ)) {
                return Err(Refusal::WrongType);
            }
        }
        let algorithm = supported(&header.alg).ok_or(Refusal::Algorithm)?;
        let key_id = header.kid.ok_or(Refusal::UnknownKey)?;
        let signature = decode(signature)?;
        Ok(Self { signed, algorithm, key_id, claims, signature })
    }

    /// Which key it says to be signed with.
    pub(crate) fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The claims. Only good for finding the key until [`check`](Self::check) has passed.
    pub(crate) fn claims<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        serde_json::from_slice(&self.claims).map_err(|_| Refusal::Malformed)
    }

    /// Header and claims as they were signed. They name the algorithm.
    pub(crate) const fn signed(&self) -> &'a str {
        self.signed
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// Whether it was signed with this key, by the algorithm that the key is for.
    pub(crate) fn check(&self, key: &Key) -> Result<(), Refusal> {
        if !key.is_for(self.algorithm) {
            return Err(Refusal::Algorithm);
        }
        let holds = key.verify(self.algorithm, self.signed.as_bytes(), &self.signature);
        if holds { Ok(()) } else { Err(Refusal::Signature) }
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)
}

/// The algorithms that exist here: public keys only. SMART asks for `RS384` and `ES384`.
fn supported(name: &str) -> Option<Algorithm> {
    match name {
        "RS256" => Some(Algorithm::RS256),
        "RS384" => Some(Algorithm::RS384),
        "ES256" => Some(Algorithm::ES256),
        "ES384" => Some(Algorithm::ES384),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}
