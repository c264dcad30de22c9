//! Signed queries over HTTP: records sealed to a key of the reader's, which this gateway never has.
//!
//! `POST /api/sealed/question` gives a query to sign, for the reader's public key. `POST /api/sealed` brings it back
//! signed, and the answer is sealed to that key. Nothing is remembered in between: the signature binds the query, and
//! the gatekeeper takes its nonce once.

use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes};
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindings::patient_account::{message_digest, message_typed_data};
use domain::{KindSet, Purpose, Query, Reader, RecordId, Timestamp};
use gatekeeper::{QuerySignature, SignedQuery, query_typed_data};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Api, Problem, answer, json as read_json, require_about};

/// How long somebody has to sign.
const SIGNED_WITHIN: Duration = Duration::from_secs(300);

/// How many records are in one answer at most; the next question goes on after the last.
const RECORDS_MAX: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The key to seal to, as `vault` writes it.
    public_key: Bytes,
    /// Whose records; one's own for a patient.
    patient: Option<Address>,
    /// The last record of the answer before.
    after: Option<B256>,
}

/// `POST /api/sealed/question`.
pub(super) async fn question(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer {
    let (caller, _) = api.0.authenticator.verified(&headers).await?;
    let Wanted { public_key, patient, after } = read_json(&headers, body).await?;
    let (patient, purpose) = match caller.reader {
        Reader::Patient { account } => (patient.unwrap_or(account), Purpose::PatientRequest),
        _ => (
            patient.ok_or_else(|| Problem::bad("whose records? name the account as `patient`"))?,
            Purpose::Treatment,
        ),
    };
    require_about(&caller, Some(patient))?;
    let gatekeeper = &api.0.gateway.gatekeeper;
    let query = Query {
        gatekeeper: api.member(),
        patient,
        kinds: KindSet::ALL,
        record: None,
        after: after.map(RecordId),
        limit: RECORDS_MAX,
        purpose,
        recipient_key: Query::recipient_key_of(&public_key),
        nonce: B256::new(gatekeeper.entropy().bytes()),
        deadline: api.now().after(SIGNED_WITHIN),
    };
    let network = gatekeeper.domain();
    let digest = query.signing_digest(network);
    let mut body = json!({ "query": query_typed_data(&query, network), "digest": digest });
    if let Reader::Patient { account } = caller.reader {
        // An account vouches for a digest by another one, which binds the account.
        body["message"] = message_typed_data(network.chain_id, account, digest);
        body["message_digest"] = json!(message_digest(network.chain_id, account, digest));
    }
    Ok(answer(StatusCode::OK, &body))
}

/// A query as [`query_typed_data`] writes its message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Asked {
    gatekeeper: Address,
    patient: Address,
    kinds: u32,
    record: B256,
    after: B256,
    limit: u32,
    purpose: u8,
    recipient_key: B256,
    nonce: B256,
    deadline: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    /// The message of the query's typed data, as it was given.
    message: Asked,
    public_key: Bytes,
    /// A member's, of 65 bytes, or an account's (ERC-1271).
    signature: Bytes,
}

/// `POST /api/sealed`.
pub(super) async fn open(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer {
    let (caller, _) = api.0.authenticator.verified(&headers).await?;
    let Signed { message, public_key, signature } = read_json(&headers, body).await?;
    require_about(&caller, Some(message.patient))?;
    let purpose = Purpose::try_from(message.purpose)
        .map_err(|_| Problem::bad("the query has no purpose that is known"))?;
    let some = |id: B256| (!id.is_zero()).then_some(RecordId(id));
    let query = Query {
        gatekeeper: message.gatekeeper,
        patient: message.patient,
        kinds: KindSet::from_bits(message.kinds),
        record: some(message.record),
        after: some(message.after),
        limit: message.limit,
        purpose,
        recipient_key: message.recipient_key,
        nonce: message.nonce,
        deadline: Timestamp(message.deadline),
    };
    // An account has to be the caller's own; a member's signature names its member.
    let signature = match caller.reader {
        Reader::Patient { account } => QuerySignature::Account { account, signature },
        _ => QuerySignature::Member(signature),
    };
    let signed = SignedQuery { query, recipient_key: public_key.to_vec(), signature };
    let answered = api.0.gateway.gatekeeper.answer(&signed, api.now()).await?;
    let body: Value = json!({ "sealed": URL_SAFE_NO_PAD.encode(&answered.sealed) });
    Ok(answer(StatusCode::OK, &body))
}
