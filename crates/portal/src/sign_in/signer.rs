//! Which passkey signed: an assertion says no public key, and the chain says no list of them.

use alloy_primitives::{Address, B256, Bytes};
use alloy_sol_types::SolValue as _;
use p256::ecdsa::Signature;
use sha2::{Digest as _, Sha256};

use super::passkey::{coordinates, recovered};
use crate::{fault::Fault, visitor::Visitor};

/// An assertion as the chain's verifier takes it: `r, s, challenge index, type index, authenticator data, client data`.
type Encoded = (B256, B256, alloy_primitives::U256, alloy_primitives::U256, Bytes, String);

/// The signer of an account (ERC-7913) that made this assertion; `None` when the account has no such signer now.
///
/// # Errors
///
/// [`Fault`] when the chain cannot be asked.
pub(crate) async fn signer_of(
    visitor: &Visitor,
    account: Address,
    assertion: &[u8],
) -> Result<Option<Bytes>, Fault> {
    let home = visitor.portal.home();
    for key in keys(assertion) {
        let signer = Bytes::from([home.passkey_verifier().as_slice(), &key].concat());
        if home.has_signer(account, signer.clone()).await? {
            return Ok(Some(signer));
        }
    }
    Ok(None)
}

/// The public keys that could have made an assertion.
fn keys(assertion: &[u8]) -> Vec<[u8; 64]> {
    let Ok((r, s, _, _, authenticator_data, client_data)) = Encoded::abi_decode_params(assertion)
    else {
        return Vec::new();
    };
    let Ok(signature) = Signature::from_scalars(r.0, s.0) else { return Vec::new() };
    let mut signed = authenticator_data.to_vec();
    signed.extend_from_slice(&Sha256::digest(client_data.as_bytes()));
    let prehash = B256::from_slice(&Sha256::digest(&signed));
    recovered(&prehash, &signature).iter().map(coordinates).collect()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::U256;
    use p256::ecdsa::{SigningKey, signature::hazmat::PrehashSigner as _};

    use super::*;

    #[test]
    fn an_assertion_leads_to_its_key() {
        let key = SigningKey::from_slice(&[3; 32]).unwrap();
        let (data, client) = (vec![7; 37], "{}".to_owned());
        let mut signed = data.clone();
        signed.extend_from_slice(&Sha256::digest(client.as_bytes()));
        let signature: Signature = key.sign_prehash(&Sha256::digest(&signed)).unwrap();
        // The verifier wants the lower half of `s`, which is another signature of the same key.
        let signature = signature.normalize_s().unwrap_or(signature);
        let (r, s) = signature.split_bytes();
        let (r, s) = (B256::from_slice(&r), B256::from_slice(&s));
        let encode = |client: String| {
            (r, s, U256::ZERO, U256::ZERO, Bytes::from(data.clone()), client).abi_encode_params()
        };
        let own = coordinates(key.verifying_key());
        assert!(keys(&encode(client)).contains(&own));
        assert!(!keys(&encode("[]".into())).contains(&own), "of something else");
        assert!(keys(b"none").is_empty());
    }
}
