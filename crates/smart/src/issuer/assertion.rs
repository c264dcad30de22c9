//! How a client says who it is.

use std::{collections::HashMap, time::Duration};

use domain::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{DevelopmentIssuer, Registered, params::Params, token::TokenError};
use crate::{
    claims::{Claims, Expectations},
    token::Unverified,
};

/// The only form of assertion (RFC 7523, section 2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The types that an assertion may have: any JWT, and the one of RFC 7523's successor.
const TYPES: &[&str] = &["jwt", "client-authentication+jwt"];

/// How far ahead an assertion may end.
///
/// # Source
///
/// SMART App Launch 2.2.0, Asymmetric Client Authentication: no more than five minutes.
const LIFETIME_MAX: Duration = Duration::from_secs(5 * 60);

/// By how much a client's clock may be ahead.
const LEEWAY: Duration = Duration::from_secs(30);

/// The most assertions that are remembered. When there are more, clients are asked to try again:
/// forgetting one early would let it serve twice.
const ASSERTIONS_MAX: usize = 8_192;

/// The longest `jti`, in bytes.
const TOKEN_ID_BYTES_MAX: usize = 255;

/// The assertions that have served, by a digest of client and `jti`, until they have expired.
#[derive(Default)]
pub(super) struct Assertions(HashMap<[u8; 32], Timestamp>);

impl Assertions {
    fn insert(
        &mut self,
        client: &str,
        id: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<(), TokenError> {
        self.0.retain(|_, expires| now < *expires);
        // With the length in front the two cannot be shifted against each other.
        let digest = Sha256::new().chain_update(client.len().to_be_bytes());
        let digest: [u8; 32] = digest.chain_update(client).chain_update(id).finalize().into();
        if self.0.contains_key(&digest) {
            return Err(TokenError::client("the assertion has served already"));
        }
        if self.0.len() >= ASSERTIONS_MAX {
            return Err(TokenError::busy("too many assertions are remembered"));
        }
        self.0.insert(digest, expires);
        Ok(())
    }
}

/// The client that asks: by an assertion if it has keys, by its name alone if it has none.
pub(super) fn authenticate<'a>(
    issuer: &'a DevelopmentIssuer,
    params: &Params,
) -> Result<&'a Registered, TokenError> {
    let Some(assertion) = params.get("client_assertion") else {
        let named = params.get("client_id").and_then(|id| issuer.client(id));
        let public = named.filter(|client| client.client.keys.is_none());
        return public.ok_or(TokenError::client("the client is unknown, or must sign who it is"));
    };
    if params.get("client_assertion_type") != Some(ASSERTION_TYPE) {
        return Err(TokenError::request("client_assertion_type is not supported"));
    }
    by_assertion(issuer, params, assertion)
}

fn by_assertion<'a>(
    issuer: &'a DevelopmentIssuer,
    params: &Params,
    assertion: &str,
) -> Result<&'a Registered, TokenError> {
    let refused = |_| TokenError::client("the assertion does not hold");
    let assertion = Unverified::parse(assertion, TYPES).map_err(refused)?;
    let claims: Claims = assertion.claims().map_err(refused)?;

    let unknown = TokenError::client("the assertion names no client that signs");
    let id = claims.iss.as_deref().ok_or(unknown)?;
    let client = issuer.client(id).ok_or(unknown)?;
    let key = client.client.keys.as_ref().and_then(|keys| keys.find(assertion.key_id()));
    let key = key.ok_or(TokenError::client("the client has no such key"))?;
    assertion.check(key).map_err(refused)?;

    if claims.sub.as_deref() != Some(id) || params.get("client_id").is_some_and(|own| own != id) {
        return Err(TokenError::client("the assertion is about another client"));
    }
    let now = issuer.now();
    let endpoint = [issuer.server().token_endpoint];
    let expected = Expectations { audiences: &endpoint, leeway: LEEWAY, now };
    expected.check_audience(&claims).map_err(|_| {
        TokenError::client("the assertion is meant for another address than this one")
    })?;
    let expires = expected.check_time(&claims);
    let expires =
        expires.map_err(|_| TokenError::client("the assertion is not valid at this time"))?;
    if now.after(LIFETIME_MAX).after(LEEWAY) < expires {
        return Err(TokenError::client("the assertion is valid for more than five minutes"));
    }
    let token_id = claims.jti.as_deref();
    let token_id = token_id.filter(|id| (1..=TOKEN_ID_BYTES_MAX).contains(&id.len()));
    let token_id = token_id.ok_or(TokenError::client("the assertion has no usable jti"))?;
    // Remembered as long as it would be accepted, leeway included.
    issuer.0.assertions.lock().insert(id, token_id, expires.after(LEEWAY), now)?;
    Ok(client)
}
