//! Signing in with a wallet: it signs a message that was made here, and the address that signed is asked for.
//!
//! # Source
//!
//! [EIP-4361](https://eips.ethereum.org/EIPS/eip-4361), version 1; [EIP-191](https://eips.ethereum.org/EIPS/eip-191),
//! version `0x45`.

use alloy_primitives::{Address, Bytes, Signature};
use axum::{Json, response::Response};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Asks, CHALLENGE_MS, ask, asked, count, entered, known};
use crate::{admit::Form, fault::Fault, visitor::Visitor};

/// What the message says before its fields.
const STATEMENT: &str = "Sign in to Salus. This sends no transaction and costs nothing.";

/// `POST /sign-in/wallet/challenge`: the message for a wallet's address.
pub(super) async fn challenge(visitor: Visitor, form: Form) -> Result<Json<Value>, Fault> {
    let address: Option<Address> =
        form.json()["address"].as_str().and_then(|text| text.parse().ok());
    let address = address.ok_or_else(|| Fault::Unusable("the wallet named no address".into()))?;
    let home = visitor.portal.home();
    let nonce = hex::encode(&home.random()[..16]);
    let message = message(visitor.portal.origin(), address, home.chain_id(), &nonce, home.now_ms());
    ask(&visitor, Asks::Wallet { address, message: message.clone() })?;
    Ok(Json(json!({ "message": message })))
}

/// `POST /sign-in/wallet/answer`: the signature of the message.
pub(super) async fn answer(visitor: Visitor, form: Form) -> Result<Response, Fault> {
    let Asks::Wallet { address, message } = asked(&visitor)? else {
        return Err(Fault::Unusable("another way to sign in was begun; begin again".into()));
    };
    count(&visitor, address)?;
    let signature: Option<Bytes> =
        form.json()["signature"].as_str().and_then(|text| text.parse().ok());
    let signature = signature.and_then(|bytes| Signature::from_raw(&bytes).ok());
    let signed = signature.and_then(|signed| signed.recover_address_from_msg(&message).ok());
    if signed != Some(address) {
        return Err(Fault::Refused("the wallet's signature is not of this message".into()));
    }
    // A member's key may be another than the address that the member is known by.
    let member = visitor.portal.home().member_of_key(address).await?.unwrap_or(address);
    let reader = known(&visitor, member).await?;
    Ok(entered(&visitor, &reader, Bytes::copy_from_slice(address.as_slice()), form.json()))
}

/// What the wallet shows and signs.
fn message(origin: &str, address: Address, chain_id: u64, nonce: &str, now_ms: u64) -> String {
    let domain = origin.split_once("://").map_or(origin, |(_, domain)| domain);
    let (issued, expires) = (instant(now_ms), instant(now_ms + CHALLENGE_MS));
    format!(
        "{domain} wants you to sign in with your Ethereum account:\n{address}\n\n{STATEMENT}\n\n\
         URI: {origin}\nVersion: 1\nChain ID: {chain_id}\nNonce: {nonce}\nIssued At: {issued}\n\
         Expiration Time: {expires}"
    )
}

fn instant(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or_default();
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_as_wallets_expect_it() {
        let found = message(
            "http://localhost:8081",
            Address::repeat_byte(0x11),
            31_337,
            "00ff",
            1_795_492_200_000,
        );
        let expected = "localhost:8081 wants you to sign in with your Ethereum account:\n\
            0x1111111111111111111111111111111111111111\n\n\
            Sign in to Salus. This sends no transaction and costs nothing.\n\n\
            URI: http://localhost:8081\nVersion: 1\nChain ID: 31337\nNonce: 00ff\n\
            Issued At: 2026-11-24T03:50:00Z\nExpiration Time: 2026-11-24T03:55:00Z";
        assert_eq!(found, expected);
    }
}
