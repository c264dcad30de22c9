//! Signing in with a passkey: the browser's assertion is checked here, and the chain is asked whether the account
//! that it names has this passkey.
//!
//! # Source
//!
//! [Web Authentication, level 3](https://www.w3.org/TR/webauthn-3/), section 7.2, as far as it is about an assertion
//! with user verification, without attestation or signature counters, which discoverable passkeys do not keep.

use alloy_primitives::{Address, B256, Bytes};
use axum::{Json, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::{
    AffinePoint, ProjectivePoint, Scalar, U256,
    ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier as _},
    elliptic_curve::{
        ops::{Invert as _, Reduce},
        point::DecompressPoint as _,
        subtle::Choice,
    },
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{Asks, ask, asked, count, entered, known};
use crate::{admit::Form, fault::Fault, visitor::Visitor};

/// Length of the fixed part of authenticator data: the digest of the relying party, flags and a counter.
const AUTHENTICATOR_DATA_LEN: usize = 37;

/// The flags that have to be set: user present, user verified.
const FLAGS: u8 = 0b0000_0101;

/// `POST /sign-in/passkey/challenge`.
pub(super) async fn challenge(visitor: Visitor) -> Result<Json<Value>, Fault> {
    let bytes = visitor.portal.home().random();
    ask(&visitor, Asks::Passkey(bytes))?;
    let (challenge, rp_id) = (URL_SAFE_NO_PAD.encode(bytes), rp_id(visitor.portal.origin()));
    Ok(Json(json!({ "challenge": challenge, "rpId": rp_id })))
}

/// `POST /sign-in/passkey/answer`.
pub(super) async fn answer(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let Asks::Passkey(challenge) = asked(&visitor)? else {
        return Err(Fault::Unusable("another way to sign in was begun; begin again".into()));
    };
    let assertion = Assertion::parse(form.json())
        .ok_or_else(|| Fault::Unusable("what the browser sent is no answer of a passkey".into()))?;
    count(&visitor, assertion.account)?;
    let origin = visitor.portal.origin();
    let refused = || Fault::Refused("the passkey's answer does not fit; begin again".into());
    let prehash = assertion.checked(origin, &challenge).ok_or_else(refused)?;
    let home = visitor.portal.home();
    for key in assertion.keys(&prehash) {
        let mut signer = home.passkey_verifier().to_vec();
        signer.extend_from_slice(&key);
        let signer = Bytes::from(signer);
        if home.has_signer(assertion.account, signer.clone()).await? {
            let reader = known(&visitor, assertion.account).await?;
            return Ok(entered(&visitor, &reader, signer, form.json()));
        }
    }
    Err(Fault::Refused("this passkey is not of the account it names, or not any more".into()))
}

/// The name for which passkeys are made: the host, without its port.
pub(crate) fn rp_id(origin: &str) -> &str {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    host.split(':').next().unwrap_or(host)
}

/// What a browser answers with.
struct Assertion {
    account: Address,
    /// Both coordinates of the key, when the browser knows them.
    key: Option<[u8; 64]>,
    authenticator_data: Vec<u8>,
    client_data: Vec<u8>,
    signature: Signature,
}

impl Assertion {
    fn parse(json: &Value) -> Option<Self> {
        let bytes =
            |name: &str| URL_SAFE_NO_PAD.decode(json[name].as_str()?.trim_end_matches('=')).ok();
        let account = bytes("userHandle")?;
        let key = json["publicKey"].as_str().map(str::parse::<Bytes>);
        Some(Self {
            account: (account.len() == Address::len_bytes())
                .then(|| Address::from_slice(&account))?,
            key: match key {
                None => None,
                Some(key) => Some(key.ok()?.to_vec().try_into().ok()?),
            },
            authenticator_data: bytes("authenticatorData")?,
            client_data: bytes("clientDataJSON")?,
            signature: Signature::from_der(&bytes("signature")?).ok()?,
        })
    }

    /// The digest that was signed, when it is over this challenge, for this portal, by somebody who was verified.
    fn checked(&self, origin: &str, challenge: &[u8; 32]) -> Option<B256> {
        let client: Value = serde_json::from_slice(&self.client_data).ok()?;
        let is_ours = client["type"] == "webauthn.get"
            && client["challenge"] == URL_SAFE_NO_PAD.encode(challenge)
            && client["origin"] == origin
            && client["crossOrigin"] != true;
        let data = self.authenticator_data.get(..AUTHENTICATOR_DATA_LEN)?;
        let is_for_us = data[..32] == Sha256::digest(rp_id(origin))[..];
        let is_verified = data[32] & FLAGS == FLAGS;
        if !(is_ours && is_for_us && is_verified) {
            return None;
        }
        let mut signed = self.authenticator_data.clone();
        signed.extend_from_slice(&Sha256::digest(&self.client_data));
        Some(B256::from_slice(&Sha256::digest(&signed)))
    }

    /// The keys that made the signature: the one that the browser names when it did, or else those that could have.
    /// A public key follows from a signature up to which of two points was meant.
    fn keys(&self, prehash: &B256) -> Vec<[u8; 64]> {
        let verifies =
            |key: &VerifyingKey| key.verify_prehash(prehash.as_slice(), &self.signature).is_ok();
        let found: Vec<VerifyingKey> = match &self.key {
            Some(key) => {
                let point = p256::EncodedPoint::from_untagged_bytes(key.into());
                VerifyingKey::from_encoded_point(&point).into_iter().filter(verifies).collect()
            }
            None => recovered(prehash, &self.signature).into_iter().filter(verifies).collect(),
        };
        found.iter().map(coordinates).collect()
    }
}

/// The keys whose signature of `prehash` this could be.
///
/// A signature has the abscissa of a point `R`, and the key is `(sR - zG) / r`. There are two such points; that the
/// abscissa was beyond the order of the group happens once in 2^32 times 2^96 signatures, and is refused.
///
/// # Source
///
/// [SEC 1](https://www.secg.org/sec1-v2.pdf), version 2, section 4.1.6.
pub(super) fn recovered(prehash: &B256, signature: &Signature) -> Vec<VerifyingKey> {
    let (r, s) = signature.split_scalars();
    let z = <Scalar as Reduce<U256>>::reduce_bytes(&prehash.0.into());
    let point = |is_odd: u8| {
        let nonce = AffinePoint::decompress(&r.to_bytes(), Choice::from(is_odd));
        let nonce = ProjectivePoint::from(Option::<AffinePoint>::from(nonce)?);
        let key = (nonce * s.as_ref() - ProjectivePoint::GENERATOR * z) * r.invert().as_ref();
        VerifyingKey::from_affine(key.to_affine()).ok()
    };
    [0, 1].into_iter().filter_map(point).collect()
}

/// Both coordinates of a key, as a signer has them.
pub(super) fn coordinates(key: &VerifyingKey) -> [u8; 64] {
    let point = key.to_encoded_point(false);
    let mut bytes = [0; 64];
    bytes.copy_from_slice(&point.as_bytes()[1..]);
    bytes
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::{SigningKey, signature::hazmat::PrehashSigner as _};

    use super::*;

    const ORIGIN: &str = "http://localhost:8081";
    const CHALLENGE: [u8; 32] = [7; 32];

    fn assertion(origin: &str, challenge: &[u8], rp: &str, flags: u8) -> (Assertion, [u8; 64]) {
        let client_data = json!({
            "type": "webauthn.get",
            "challenge": URL_SAFE_NO_PAD.encode(challenge),
            "origin": origin,
        });
        let client_data = client_data.to_string().into_bytes();
        let mut authenticator_data = Sha256::digest(rp).to_vec();
        authenticator_data.extend_from_slice(&[flags, 0, 0, 0, 0]);
        let mut signed = authenticator_data.clone();
        signed.extend_from_slice(&Sha256::digest(&client_data));
        let key = SigningKey::from_slice(&[3; 32]).unwrap();
        let signature: Signature = key.sign_prehash(&Sha256::digest(&signed)).unwrap();
        let assertion = Assertion {
            account: Address::repeat_byte(1),
            key: None,
            authenticator_data,
            client_data,
            signature,
        };
        (assertion, coordinates(key.verifying_key()))
    }

    #[test]
    fn a_key_follows_from_its_signature() {
        let (mut assertion, key) = assertion(ORIGIN, &CHALLENGE, "localhost", 5);
        let prehash = assertion.checked(ORIGIN, &CHALLENGE).unwrap();
        assert!(assertion.keys(&prehash).contains(&key));
        assertion.key = Some(key);
        assert_eq!(assertion.keys(&prehash), [key]);
        let other = SigningKey::from_slice(&[4; 32]).unwrap();
        assertion.key = Some(coordinates(other.verifying_key()));
        assert!(assertion.keys(&prehash).is_empty(), "a key that did not sign it");
    }

    #[test]
    fn what_is_meant_for_somebody_else_is_refused() {
        let check = |origin, challenge: &[u8], rp, flags| {
            assertion(origin, challenge, rp, flags).0.checked(ORIGIN, &CHALLENGE).is_some()
        };
        assert!(check(ORIGIN, &CHALLENGE, "localhost", 5));
        assert!(!check("https://evil.example", &CHALLENGE, "localhost", 5));
        assert!(!check(ORIGIN, &[8; 32], "localhost", 5));
        assert!(!check(ORIGIN, &CHALLENGE, "evil.example", 5));
        assert!(!check(ORIGIN, &CHALLENGE, "localhost", 1), "nobody was verified");
    }
}
