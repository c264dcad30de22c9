//! Reading across institutions: a signed query to the gatekeeper that keeps the records, and an answer
//! that only the asking person can open.

use alloy_primitives::{Address, B256};
use domain::{AnchorState, KindSet, Purpose, Query, Receipt, RecordDigest, RecordId, Timestamp};
use gatekeeper::{Gatekeeper, QuerySignature, SignedQuery};
use ledger::SendError;
use serde::Deserialize;
use vault::{SecretKey, answer};

use crate::{PatientActor, Person, WorkflowError};

/// How long a query may take to arrive.
const QUERY_PERIOD: std::time::Duration = std::time::Duration::from_secs(60);

/// The most records asked for at once.
const RECORDS_MAX: u32 = 500;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Whose records.
    pub patient: Address,
    /// Which kinds.
    pub kinds: KindSet,
    /// The only record wanted.
    pub record: Option<RecordId>,
    /// Why.
    pub purpose: Purpose,
}

/// What an answer holds.
#[derive(Debug, Deserialize)]
pub struct Answered {
    /// The records.
    pub records: Vec<AnsweredRecord>,
    /// Records that may be read but do not open, such as damaged ones.
    pub unavailable: Vec<RecordId>,
    /// Whether there are more.
    pub more: bool,
}

/// A record as the reader sees it.
#[derive(Debug, Deserialize)]
pub struct AnsweredRecord {
    /// Which record.
    pub record: RecordId,
    /// Which version.
    pub version: u32,
    /// Where that version stands on chain.
    pub state: AnchorState,
    /// What it is about.
    pub kind: domain::Kind,
    /// Its name on chain.
    pub digest: RecordDigest,
    /// The record itself.
    pub body: Box<serde_json::value::RawValue>,
}

/// A professional asks a gatekeeper for records.
///
/// # Errors
///
/// [`WorkflowError::Answer`] when it refuses.
pub async fn ask(
    keeper: &Gatekeeper,
    person: &Person,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<(Answered, Receipt), WorkflowError> {
    ask_after(keeper, person, wanted, None, now).await
}

/// As [`ask`], for the records after one: the next part of a long answer.
///
/// # Errors
///
/// [`WorkflowError::Answer`] when it refuses.
pub async fn ask_after(
    keeper: &Gatekeeper,
    person: &Person,
    wanted: &Wanted,
    after: Option<RecordId>,
    now: Timestamp,
) -> Result<(Answered, Receipt), WorkflowError> {
    let query = make_query(keeper, wanted, after, &person.secret, now);
    let digest = query.signing_digest(keeper.domain());
    let signature = person.sender.sign_hash(&digest).await?;
    let signature = QuerySignature::Member(signature.as_bytes().to_vec().into());
    send(keeper, query, signature, &person.secret, now).await
}

/// A patient asks a gatekeeper for their own records.
///
/// # Errors
///
/// [`WorkflowError::Answer`] when it refuses.
pub async fn ask_as_patient(
    keeper: &Gatekeeper,
    patient: &PatientActor,
    kinds: KindSet,
    now: Timestamp,
) -> Result<(Answered, Receipt), WorkflowError> {
    ask_as_patient_after(keeper, patient, kinds, None, now).await
}

/// As [`ask_as_patient`], for the records after one: the next part of a long answer.
///
/// # Errors
///
/// [`WorkflowError::Answer`] when it refuses.
pub async fn ask_as_patient_after(
    keeper: &Gatekeeper,
    patient: &PatientActor,
    kinds: KindSet,
    after: Option<RecordId>,
    now: Timestamp,
) -> Result<(Answered, Receipt), WorkflowError> {
    let account = patient.account();
    let purpose = Purpose::PatientRequest;
    let wanted = Wanted { patient: account, kinds, record: None, purpose };
    let query = make_query(keeper, &wanted, after, &patient.secret, now);
    let digest = query.signing_digest(keeper.domain());
    let signature = patient.patient.sign_message(keeper.ledger().chain_id(), digest);
    let signature = signature.map_err(SendError::from)?;
    let signature = QuerySignature::Account { account, signature };
    send(keeper, query, signature, &patient.secret, now).await
}

fn make_query(
    keeper: &Gatekeeper,
    wanted: &Wanted,
    after: Option<RecordId>,
    secret: &SecretKey,
    now: Timestamp,
) -> Query {
    Query {
        gatekeeper: keeper.member(),
        patient: wanted.patient,
        kinds: wanted.kinds,
        record: wanted.record,
        after,
        limit: RECORDS_MAX,
        purpose: wanted.purpose,
        recipient_key: secret.public_key().digest(),
        nonce: B256::from(keeper.entropy().bytes::<32>()),
        deadline: now.after(QUERY_PERIOD),
    }
}

async fn send(
    keeper: &Gatekeeper,
    query: Query,
    signature: QuerySignature,
    secret: &SecretKey,
    now: Timestamp,
) -> Result<(Answered, Receipt), WorkflowError> {
    let digest = query.signing_digest(keeper.domain());
    let recipient_key = secret.public_key().to_bytes();
    let answer = keeper.answer(&SignedQuery { query, recipient_key, signature }, now).await?;
    let opened = answer::open(secret, keeper.domain(), digest.as_slice(), &answer.sealed)
        .map_err(|error| WorkflowError::Invalid(error.to_string()))?;
    let answered = serde_json::from_slice(&opened)
        .map_err(|error| WorkflowError::Invalid(format!("the answer makes no sense: {error}")))?;
    Ok((answered, answer.receipt))
}
