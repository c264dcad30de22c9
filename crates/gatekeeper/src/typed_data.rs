//! Queries as wallets and browsers show them before they sign.

use domain::{Query, QueryDomain, RecordId};
use serde_json::{Value, json};

/// What a wallet shows of a query, and signs: the same as [`Query::signing_digest`].
///
/// # Source
///
/// `eth_signTypedData_v4`, as [EIP-712](https://eips.ethereum.org/EIPS/eip-712) describes it.
#[must_use]
pub fn query_typed_data(query: &Query, domain: QueryDomain) -> Value {
    let field = |name: &str, of: &str| json!({ "name": name, "type": of });
    let word = |record: Option<RecordId>| record.map_or(domain::B256::ZERO, |record| record.0);
    json!({
        "types": {
            "EIP712Domain": [
                field("name", "string"),
                field("version", "string"),
                field("chainId", "uint256"),
                field("verifyingContract", "address"),
            ],
            "ReadRecords": [
                field("gatekeeper", "address"),
                field("patient", "address"),
                field("kinds", "uint32"),
                field("record", "bytes32"),
                field("after", "bytes32"),
                field("limit", "uint32"),
                field("purpose", "uint8"),
                field("recipientKey", "bytes32"),
                field("nonce", "uint256"),
                field("deadline", "uint48"),
            ],
        },
        "primaryType": "ReadRecords",
        "domain": {
            "name": "Salus Gatekeeper",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": domain.registry.to_string(),
        },
        "message": {
            "gatekeeper": query.gatekeeper.to_string(),
            "patient": query.patient.to_string(),
            "kinds": query.kinds.bits(),
            "record": word(query.record),
            "after": word(query.after),
            "limit": query.limit,
            "purpose": query.purpose.number(),
            "recipientKey": query.recipient_key,
            "nonce": query.nonce,
            "deadline": query.deadline.0,
        },
    })
}
