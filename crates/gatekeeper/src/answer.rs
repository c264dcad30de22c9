//! Answers queries: who asks, what they may read, what they get, and the receipt of it.

use alloy_primitives::{Address, B256, Bytes, Signature};
use domain::{
    AnchorState, Kind, KindSet, Outcome, Permit, Purpose, Query, Reader, Receipt, RecordDigest,
    RecordId, RecordVersion, Refusal, Request, Timestamp, decide,
};
use ledger::{CallError, EndpointError, Projection, is_valid_signature};
use serde::Serialize;
use vault::{
    Content, Entry, Listing, OpenError, Opened, PublicKey, StoreError, WriteTransaction, answer,
};

use crate::{Gatekeeper, GatekeeperError};

/// How many records are listed at a time while an answer is put together.
const PAGE: usize = 500;

/// A query with who signed it, and the key to which the answer is to be sealed.
#[derive(Clone, Debug)]
pub struct SignedQuery {
    /// What is asked.
    pub query: Query,
    /// The public key whose digest the query names.
    pub recipient_key: Vec<u8>,
    /// Who signed it.
    pub signature: QuerySignature,
}

/// A signature under a query.
#[derive(Clone, Debug)]
pub enum QuerySignature {
    /// By the key of a member: 65 bytes, as Ethereum signs.
    Member(Bytes),
    /// By a patient's account, as the account takes it (ERC-1271).
    Account {
        /// The account.
        account: Address,
        /// The signature.
        signature: Bytes,
    },
}

/// Why a query is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryRefusal {
    /// It asks another gatekeeper.
    #[error("the query is for another gatekeeper")]
    NotForUs,
    /// Its deadline has passed.
    #[error("the query's deadline has passed")]
    Expired,
    /// Its deadline is too far ahead.
    #[error("the query's deadline is too far ahead")]
    DeadlineTooFar,
    /// It was answered before.
    #[error("the query was answered before")]
    Replayed,
    /// The signature is no signature of a member in force, or the account does not vouch for it.
    #[error("the signature is not of a member in force")]
    NotInForce,
    /// The key to seal to is not the one that was signed, or not one that can be sealed to.
    #[error("the key to seal the answer to is not the signed one")]
    WrongKey,
    /// It asks for no kinds, or for more records than one answer holds.
    #[error("the query asks for nothing, or for more than one answer holds")]
    OutOfBounds,
    /// The gatekeeper does not know well enough where the chain stands.
    #[error("the gatekeeper's knowledge of the chain is too old; try again later")]
    Stale,
    /// The reader may not read any of it.
    #[error("{0}")]
    Decided(Refusal),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// An expected answer, not a fault. There is a receipt of it.
    #[error("refused: {0}")]
    Refused(QueryRefusal),
    /// A record that may be read cannot be opened.
    #[error("a permitted record could not be opened")]
    Open(#[from] OpenError),
    /// The gatekeeper does not work.
    #[error(transparent)]
    Gatekeeper(#[from] GatekeeperError),
}

impl From<StoreError> for AnswerError {
    fn from(error: StoreError) -> Self {
        Self::Gatekeeper(error.into())
    }
}

/// An answer to a signed query.
#[derive(Clone, Debug)]
pub struct Answer {
    /// [`Served`] as JSON, sealed to the key that the query names, with the query's digest as context.
    pub sealed: Vec<u8>,
    /// The receipt.
    pub receipt: Receipt,
}

/// A read that is asked for, once it is known who asks.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// Who asks.
    pub reader: Reader,
    /// Whose records.
    pub patient: Address,
    /// Which kinds.
    pub kinds: KindSet,
    /// The only record wanted.
    pub record: Option<RecordId>,
    /// The only version of it wanted, instead of the one in force. Nothing without a record.
    pub version: Option<RecordVersion>,
    /// Only records after this one.
    pub after: Option<RecordId>,
    /// How many at most.
    pub limit: u32,
    /// Why.
    pub purpose: Purpose,
    /// The digest of the signed query; zero when there was none.
    pub query: B256,
}

/// What a read gives.
#[derive(Clone, Debug, Serialize)]
pub struct Served {
    /// The records, in the order of their ids.
    pub records: Vec<OpenedRecord>,
    /// Records that may be read but do not open, such as damaged ones, in the order of their ids.
    pub unavailable: Vec<RecordId>,
    /// Whether there may be more after the last one, of either list.
    pub more: bool,
}

/// A record that was opened for a reader.
#[derive(Clone, Debug, Serialize)]
pub struct OpenedRecord {
    /// Which record.
    pub record: RecordId,
    /// Which version.
    pub version: RecordVersion,
    /// Where that version stands on chain.
    pub state: AnchorState,
    /// What it is about.
    pub kind: Kind,
    /// Who wrote it, by member address.
    pub author: Address,
    /// When it was sealed.
    pub created: Timestamp,
    /// Who keeps it. Readers at other institutions ask that steward, so answers do not repeat it.
    #[serde(skip)]
    pub steward: Address,
    /// What the sealed bytes hash to: its name on chain.
    pub digest: RecordDigest,
    /// The record itself: JSON as it was put, or base64 of what is not JSON.
    pub body: Box<serde_json::value::RawValue>,
}

impl Gatekeeper {
    /// Answers a signed query. `now` is the gateway's clock.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Refused`] with the reason, which is all that the reader is told.
    pub async fn answer(
        &self,
        signed: &SignedQuery,
        now: Timestamp,
    ) -> Result<Answer, AnswerError> {
        let query = &signed.query;
        let digest = query.signing_digest(self.domain());
        let checked = self.check(signed, digest, now).await;
        let (reader, key) = match checked {
            Ok(checked) => checked,
            Err(CheckError::Refused(requester, refusal)) => {
                self.log_unread(query, requester, digest, refused(refusal), now).await?;
                return Err(AnswerError::Refused(refusal));
            }
            Err(CheckError::Fault(error)) => {
                let logged = self.log_unread(query, Address::ZERO, digest, failed(), now).await;
                warn_unlogged(logged);
                return Err(error.into());
            }
        };
        let request = ReadRequest {
            reader,
            patient: query.patient,
            kinds: query.kinds,
            record: query.record,
            version: None,
            after: query.after,
            limit: query.limit,
            purpose: query.purpose,
            query: digest,
        };
        let nonce = (reader.address(), query.nonce, query.deadline);
        let (served, receipt) = self.serve(&request, Some(nonce), now).await?;
        let body = serde_json::to_vec(&served).expect("an answer has a JSON form");
        let mut rng = self.entropy().fork();
        let sealed = answer::seal(&key, self.domain(), digest.as_slice(), &body, &mut rng);
        Ok(Answer { sealed, receipt })
    }

    /// Reads for somebody whose identity the caller has checked, such as a session of the institution's
    /// own staff.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Refused`] with the reason; there is a receipt of it.
    pub async fn read(
        &self,
        request: &ReadRequest,
        now: Timestamp,
    ) -> Result<(Served, Receipt), AnswerError> {
        if self.is_stale(now).await {
            self.refuse(request, QueryRefusal::Stale, now).await?;
        }
        self.serve(request, None, now).await
    }

    /// Who signed a query, and the key to seal to, when everything about the query is in order.
    async fn check(
        &self,
        signed: &SignedQuery,
        digest: B256,
        now: Timestamp,
    ) -> Result<(Reader, PublicKey), CheckError> {
        let query = &signed.query;
        let settings = &self.inner.settings;
        // Until the signature is checked, whoever asks is nobody: a receipt accuses no one unproven.
        let refuse = |refusal| CheckError::Refused(Address::ZERO, refusal);
        let is_stale = self.is_stale(now).await;
        if query.gatekeeper != self.member() {
            return Err(refuse(QueryRefusal::NotForUs));
        }
        if is_stale {
            return Err(refuse(QueryRefusal::Stale));
        }
        if query.deadline <= now {
            return Err(refuse(QueryRefusal::Expired));
        }
        if query.deadline > now.after(settings.deadline_max) {
            return Err(refuse(QueryRefusal::DeadlineTooFar));
        }
        if query.kinds.is_empty() || query.limit == 0 || query.limit > settings.records_max {
            return Err(refuse(QueryRefusal::OutOfBounds));
        }
        if Query::recipient_key_of(&signed.recipient_key) != query.recipient_key {
            return Err(refuse(QueryRefusal::WrongKey));
        }
        let key = PublicKey::from_bytes(&signed.recipient_key)
            .map_err(|_| refuse(QueryRefusal::WrongKey))?;
        let reader = match &signed.signature {
            QuerySignature::Member(signature) => {
                let projection = self.inner.projection.read().await;
                let time = self.time(&projection, now);
                let signer = recover(signature, digest);
                signer.and_then(|signer| projection.registry.reader(&signer, time))
            }
            QuerySignature::Account { account, signature } => {
                let (account, signature) = (*account, signature.clone());
                let valid = is_valid_signature(self.ledger(), account, digest, signature).await;
                valid?.then_some(Reader::Patient { account })
            }
        };
        let reader = reader.ok_or(refuse(QueryRefusal::NotInForce))?;
        if self.is_replayed(reader.address(), query.nonce).await? {
            return Err(CheckError::Refused(reader.address(), QueryRefusal::Replayed));
        }
        Ok((reader, key))
    }

    /// The time that decisions are made for: the later of both clocks.
    pub(crate) fn time(&self, projection: &Projection, now: Timestamp) -> Timestamp {
        projection.cursor().map_or(now, |cursor| now.max(Timestamp(cursor.time)))
    }

    async fn is_replayed(&self, requester: Address, nonce: B256) -> Result<bool, StoreError> {
        let row = sqlx::query("select 1 from query_nonces where requester = $1 and nonce = $2")
            .bind(requester.to_vec())
            .bind(nonce.to_vec())
            .fetch_optional(self.vault().database().readers())
            .await?;
        Ok(row.is_some())
    }

    /// Decides, opens and logs. Nothing is given out before the receipt is on the disk.
    async fn serve(
        &self,
        request: &ReadRequest,
        nonce: Option<Nonce>,
        now: Timestamp,
    ) -> Result<(Served, Receipt), AnswerError> {
        let nonce = nonce.map(|nonce| (nonce, now));
        let Decided { permits, refusal, more, time } = match self.decide_all(request, now).await {
            Ok(decided) => decided,
            Err(error) => {
                warn_unlogged(self.log_outcome(request, failed(), None, now).await);
                return Err(error.into());
            }
        };
        if permits.is_empty()
            && let Some(refusal) = refusal
        {
            let refusal = QueryRefusal::Decided(refusal);
            self.log_outcome(request, refused(refusal), nonce, time).await?;
            return Err(AnswerError::Refused(refusal));
        }
        let basis = permits.first().map(|permitted| permitted.permit.basis());
        let mut served = match self.open_all(permits).await {
            Ok(served) => served,
            // The one record that was asked for by its id.
            Err((_, error)) if request.record.is_some() => {
                // Nothing is given out, but the attempt was made (S5).
                let reason = "a permitted record could not be opened".into();
                self.log_outcome(request, Outcome::Refused { reason }, None, time).await?;
                return Err(error.into());
            }
            Err((served, _)) => served,
        };
        served.more |= more;
        let named = served.records.iter().map(|record| (record.record, record.digest)).collect();
        let outcome = Outcome::Allowed { records: named, basis };
        let receipt = self.log_outcome(request, outcome, nonce, time).await?;
        Ok((served, receipt))
    }

    /// Opens what was permitted, as much as one answer holds, but at least one record.
    ///
    /// # Errors
    ///
    /// What does not open is left out; the error comes with everything else.
    async fn open_all(&self, permits: Vec<Permitted>) -> Result<Served, (Served, OpenError)> {
        let mut served = Served { records: Vec::new(), unavailable: Vec::new(), more: false };
        let mut room = self.inner.settings.answer_bytes_max;
        let mut first_error = None;
        for Permitted { permit, entry, state } in permits {
            let is_first = served.records.is_empty();
            let sealed_len = usize::try_from(entry.sealed_len).unwrap_or(usize::MAX);
            if !is_first && sealed_len > room {
                served.more = true;
                break;
            }
            match self.open_permitted(permit, &entry).await {
                Ok(opened) => {
                    let record = opened_record(&entry, state, opened.body());
                    let len = record.body.get().len();
                    if !is_first && len > room {
                        served.more = true;
                        break;
                    }
                    room = room.saturating_sub(len);
                    served.records.push(record);
                }
                Err(error) => {
                    let (record, version) = (entry.header.record, entry.header.version);
                    tracing::warn!(%record, %version, %error, "a permitted record does not open");
                    served.unavailable.push(record);
                    first_error = first_error.or(Some(error));
                }
            }
        }
        match first_error {
            None => Ok(served),
            Some(error) => Err((served, error)),
        }
    }

    /// Decides for each record that the request reaches. The facts of a page are all of one block.
    async fn decide_all(
        &self,
        request: &ReadRequest,
        now: Timestamp,
    ) -> Result<Decided, StoreError> {
        let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
        let rejected_too =
            matches!(request.reader, Reader::Patient { .. }) && request.record.is_some();
        self.learn_leaves().await?;
        let mut decided = Decided { permits: Vec::new(), refusal: None, more: false, time: now };
        let mut after = request.after;
        loop {
            let (versions, next) = match request.record {
                Some(record) => (self.vault().versions(record).await?, None),
                None => {
                    let (patient, kinds) = (request.patient, request.kinds);
                    let listing = Listing { patient, steward: None, kinds };
                    self.vault().list_versions(&listing, after, PAGE).await?
                }
            };
            // The chain may go on while the database is read, but not while is decided.
            let projection = self.inner.projection.read().await;
            let time = self.time(&projection, now);
            decided.time = time;
            for versions in versions.chunk_by(|one, next| one.header.record == next.header.record) {
                let chosen = match request.version {
                    Some(version) => self.named(&projection, versions, version, rejected_too),
                    None => self.choose(&projection, versions, rejected_too),
                };
                let Some((entry, state)) = chosen else { continue };
                // A record named directly may be another patient's, or of a kind not asked for.
                if entry.patient != request.patient || !request.kinds.contains(entry.header.kind) {
                    continue;
                }
                if decided.permits.len() == limit {
                    decided.more = true;
                    return Ok(decided);
                }
                match self.decide_one(&projection, request, &entry, time) {
                    Ok(permit) => decided.permits.push(Permitted { permit, entry, state }),
                    Err(reason) => decided.refusal = decided.refusal.or(Some(reason)),
                }
            }
            if next.is_none() {
                if decided.permits.is_empty() && decided.refusal.is_none() {
                    // Nothing is there. Whoever may not read must not learn that either.
                    decided.refusal = self.refusal_of_nothing(&projection, request, time);
                }
                return Ok(decided);
            }
            after = next;
        }
    }

    fn decide_one(
        &self,
        projection: &Projection,
        asked: &ReadRequest,
        entry: &Entry,
        time: Timestamp,
    ) -> Result<Permit, Refusal> {
        self.decide_entry(projection, (asked.reader, asked.purpose), entry, time)
    }

    /// Opens one version that may be read: with the vault's own keys, or, as a copy of another
    /// steward's record, with the key to which it was wrapped.
    pub(crate) async fn open_permitted(
        &self,
        permit: Permit,
        entry: &Entry,
    ) -> Result<Opened, OpenError> {
        let version = Some(entry.header.version);
        match self.inner.identity.get() {
            Some(identity) if entry.header.steward != self.member() => {
                self.vault().open_received(permit, version, identity).await
            }
            _ => self.vault().open(permit, version).await,
        }
    }

    /// Decides on one version for a reader and purpose.
    pub(crate) fn decide_entry(
        &self,
        projection: &Projection,
        (reader, purpose): (Reader, Purpose),
        entry: &Entry,
        time: Timestamp,
    ) -> Result<Permit, Refusal> {
        let request = Request {
            reader,
            patient: entry.patient,
            steward: entry.header.steward,
            record: entry.header.record,
            kind: entry.header.kind,
            purpose,
            time,
        };
        let mut facts = self.facts(projection, &request, entry.header.version, entry.digest);
        facts.erased |= entry.is_erased;
        decide(&request, &facts)
    }

    /// The refusal of a read that finds nothing, unless some record would have been permitted.
    pub(crate) fn refusal_of_nothing(
        &self,
        projection: &Projection,
        asked: &ReadRequest,
        time: Timestamp,
    ) -> Option<Refusal> {
        let mut first = None;
        for kind in asked.kinds.iter() {
            let request = Request {
                reader: asked.reader,
                patient: asked.patient,
                steward: self.member(),
                record: asked.record.unwrap_or(RecordId(B256::ZERO)),
                kind,
                purpose: asked.purpose,
                time,
            };
            // No workflow is about a version that is not there.
            let digest = RecordDigest(B256::ZERO);
            let facts = self.facts(projection, &request, RecordVersion::FIRST, digest);
            match decide(&request, &facts) {
                Ok(_permitted) => return None,
                Err(refusal) => first = first.or(Some(refusal)),
            }
        }
        first
    }

    async fn refuse(
        &self,
        request: &ReadRequest,
        refusal: QueryRefusal,
        now: Timestamp,
    ) -> Result<(), AnswerError> {
        self.log_outcome(request, refused(refusal), None, now).await?;
        Err(AnswerError::Refused(refusal))
    }

    /// Logs what became of a query that was not even decided on.
    async fn log_unread(
        &self,
        query: &Query,
        requester: Address,
        digest: B256,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), GatekeeperError> {
        let receipt = Receipt {
            sequence: 0,
            time: now,
            gatekeeper: self.member(),
            requester,
            institution: None,
            patient: query.patient,
            purpose: query.purpose,
            kinds: query.kinds,
            query: digest,
            outcome,
        };
        self.log_along(receipt).await.map(drop)
    }

    async fn log_outcome(
        &self,
        request: &ReadRequest,
        outcome: Outcome,
        nonce: Option<(Nonce, Timestamp)>,
        time: Timestamp,
    ) -> Result<Receipt, AnswerError> {
        let receipt = Receipt {
            sequence: 0,
            time,
            gatekeeper: self.member(),
            requester: request.reader.address(),
            institution: request.reader.institution(),
            patient: request.patient,
            purpose: request.purpose,
            kinds: request.kinds,
            query: request.query,
            outcome,
        };
        let logged = self.log(receipt.clone(), async |transaction| match nonce {
            Some((nonce, now)) => use_nonce(transaction, nonce, now).await,
            None => Ok(true),
        });
        if let Some(logged) = logged.await? {
            return Ok(logged);
        }
        // A copy of the same query was answered while this one was being looked at.
        let replayed = Receipt { outcome: refused(QueryRefusal::Replayed), ..receipt };
        self.log_along(replayed).await?;
        Err(AnswerError::Refused(QueryRefusal::Replayed))
    }
}

/// A record that may be read: the version chosen, and where it stands on chain.
struct Permitted {
    permit: Permit,
    entry: Entry,
    state: AnchorState,
}

/// What was decided on all records that a request reaches.
struct Decided {
    permits: Vec<Permitted>,
    /// The first refusal there was.
    refusal: Option<Refusal>,
    /// Whether there may be more than was asked for at once.
    more: bool,
    /// The time it was decided for.
    time: Timestamp,
}

/// Why a query is not even looked at further.
enum CheckError {
    /// Refused; whoever is proven to ask goes into the receipt, or zero.
    Refused(Address, QueryRefusal),
    Fault(GatekeeperError),
}

impl From<StoreError> for CheckError {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<CallError> for CheckError {
    fn from(error: CallError) -> Self {
        Self::Fault(GatekeeperError::Ledger(match error {
            CallError::Endpoint(error) => error,
            CallError::Reverted(_) => EndpointError::Malformed { what: "a signature check" },
        }))
    }
}

fn recover(signature: &Bytes, digest: B256) -> Option<Address> {
    let signature = Signature::try_from(signature.as_ref()).ok()?;
    // The upper half of `s` would give a second signature for the same query.
    if signature.normalize_s().is_some() {
        return None;
    }
    signature.recover_address_from_prehash(&digest).ok()
}

pub(crate) fn refused(refusal: QueryRefusal) -> Outcome {
    Outcome::Refused { reason: refusal.to_string() }
}

/// The outcome of a read that a fault of ours came in between.
fn failed() -> Outcome {
    Outcome::Refused { reason: "the gatekeeper could not decide".into() }
}

/// A fault that comes with another is told, and the first one answered.
fn warn_unlogged<T, E: std::error::Error>(logged: Result<T, E>) {
    if let Err(error) = logged {
        tracing::warn!(%error, "a failed read left no receipt");
    }
}

/// Whose nonce, the nonce, and the deadline of the query that it came with.
pub(crate) type Nonce = (Address, B256, Timestamp);

/// Marks a nonce as used, and forgets those whose queries can no longer come. False when it was used
/// already: two copies of one query may be looked at at the same time.
///
/// `now` is by the clock that deadlines are held against, not by the chain's: a nonce that is forgotten
/// before its query's deadline has passed could be used again (S7).
pub(crate) async fn use_nonce(
    transaction: &mut WriteTransaction,
    (requester, nonce, deadline): Nonce,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let bound = |time: Timestamp| i64::try_from(time.0).unwrap_or(i64::MAX);
    sqlx::query("delete from query_nonces where deadline < $1")
        .bind(bound(now))
        .execute(&mut **transaction)
        .await?;
    let inserted = sqlx::query(
        "insert into query_nonces (requester, nonce, deadline) values ($1, $2, $3)
        on conflict (requester, nonce) do nothing",
    )
    .bind(requester.to_vec())
    .bind(nonce.to_vec())
    .bind(bound(deadline))
    .execute(&mut **transaction)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

pub(crate) fn opened_record(entry: &Entry, state: AnchorState, body: &[u8]) -> OpenedRecord {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let json = (entry.header.content == Content::FhirJson)
        .then(|| std::str::from_utf8(body).ok())
        .flatten()
        .and_then(|text| serde_json::value::RawValue::from_string(text.to_owned()).ok());
    let body = json.unwrap_or_else(|| {
        serde_json::value::to_raw_value(&STANDARD.encode(body)).expect("base64 has a JSON form")
    });
    OpenedRecord {
        record: entry.header.record,
        version: entry.header.version,
        state,
        kind: entry.header.kind,
        author: entry.header.author,
        created: entry.header.created,
        steward: entry.header.steward,
        digest: entry.digest,
        body,
    }
}
