//! Keys that only tests have, and tokens signed with them.

#![allow(dead_code, reason = "each test uses what it needs")]

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};
use smart::Keys;

/// When it is in the tests, in seconds since 1970.
pub(crate) const NOW: u64 = 1_795_000_000;

pub(crate) const fn at(seconds: u64) -> Timestamp {
    Timestamp(NOW + seconds)
}

/// A key pair of `tests/keys`. They protect nothing.
pub(crate) struct Pair {
    pub(crate) algorithm: Algorithm,
    pub(crate) private: EncodingKey,
}

macro_rules! pair {
    ($algorithm:ident, $from:ident, $file:literal) => {
        Pair {
            algorithm: Algorithm::$algorithm,
            private: EncodingKey::$from(include_bytes!(concat!("../keys/", $file))).unwrap(),
        }
    };
}

pub(crate) fn es256() -> Pair {
    pair!(ES256, from_ec_pem, "es256.pem")
}

pub(crate) fn es384() -> Pair {
    pair!(ES384, from_ec_pem, "es384.pem")
}

pub(crate) fn rs256() -> Pair {
    pair!(RS256, from_rsa_pem, "rsa.pem")
}

pub(crate) fn rs384() -> Pair {
    pair!(RS384, from_rsa_pem, "rsa.pem")
}

pub(crate) fn eddsa() -> Pair {
    pair!(EdDSA, from_ed_pem, "ed25519.pem")
}

impl Pair {
    pub(crate) fn name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::EdDSA => "EdDSA",
            _ => unreachable!(),
        }
    }

    /// The public key under a name, with its algorithm.
    pub(crate) fn jwk(&self, kid: &str) -> Value {
        let jwk = Jwk::from_encoding_key(&self.private, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(kid);
        jwk
    }

    /// A token with the usual header.
    pub(crate) fn token(&self, kid: &str, claims: &Value) -> String {
        self.sign(&json!({ "alg": self.name(), "kid": kid, "typ": "at+jwt" }), claims)
    }

    /// A token with any header.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// What is signed.
pub(crate) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn keys(keys: &[Value]) -> Keys {
    Keys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

/// `claims` with some set, or taken away where the value is null.
pub(crate) fn with(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}
