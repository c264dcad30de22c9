//! Answers to signed requests.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use alloy_primitives::Signature;
use axum::Router;
use axum::body::{Body as ResponseBody, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use domain::{Address, B256, QueryDomain, RecordDigest, Timestamp};
use futures_util::stream;

use super::statement::{Authorization, Statement};
use crate::body::Body;
use crate::gate::{Denied, Gate, Proof};
use crate::holder::{Cursor, Holder, HolderError};

/// What the router has to know.
#[derive(Clone)]
pub struct HttpsSettings {
    /// Who answers, by member address.
    pub member: Address,
    /// Where the members are registered.
    pub network: QueryDomain,
    /// The gateway's clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl std::fmt::Debug for HttpsSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { member, network, .. } = self;
        let mut settings = f.debug_struct("HttpsSettings");
        settings.field("member", member).field("network", network).finish_non_exhaustive()
    }
}

struct Serving<H> {
    holder: Arc<H>,
    settings: HttpsSettings,
}

type Shared<H> = Arc<Serving<H>>;

/// The routes of the exchange, to be merged into the gateway's at the root: the path is signed.
pub fn router<H: Holder>(holder: Arc<H>, settings: HttpsSettings) -> Router {
    Router::new()
        .route("/exchange/v1/offers", get(offers::<H>))
        .route("/exchange/v1/blobs/{digest}", get(blob::<H>))
        .route("/exchange/v1/peers/{peer}", put(peer::<H>).delete(peer::<H>))
        .with_state(Arc::new(Serving { holder, settings }))
}

/// Why there is no answer.
enum Refusal {
    /// Nobody in force has signed this request, for now and for once.
    Unsigned,
    Denied(Denied),
    NotInRange {
        len: u64,
    },
    BadRequest,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<HolderError> for Refusal {
    fn from(error: HolderError) -> Self {
        Self::Denied(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Unsigned => StatusCode::UNAUTHORIZED.into_response(),
            Self::Denied(Denied::Refused) => StatusCode::FORBIDDEN.into_response(),
            Self::Denied(Denied::Unavailable(error)) => {
                tracing::warn!(%error, "a request of the exchange was not answered");
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
            Self::NotInRange { len } => {
                let range = [(header::CONTENT_RANGE, format!("bytes */{len}"))];
                (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response()
            }
            Self::BadRequest => StatusCode::BAD_REQUEST.into_response(),
        }
    }
}

async fn offers<H: Holder>(
    State(serving): State<Shared<H>>,
    RawQuery(query): RawQuery,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let gate = serving.check(&method, &uri, &headers).await?;
    let after = match query.as_deref().filter(|query| !query.is_empty()) {
        None => None,
        Some(query) => {
            let after = query.strip_prefix("after=").and_then(|text| hex::decode(text).ok());
            Some(after.and_then(Cursor::new).ok_or(Refusal::BadRequest)?)
        }
    };
    let page = gate.offers(after).await?.to_bytes();
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], page).into_response())
}

/// Notes a patient's peer. The path with its id is signed, like everything else of the request.
async fn peer<H: Holder>(
    State(serving): State<Shared<H>>,
    Path(peer): Path<String>,
    RawQuery(query): RawQuery,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let gate = serving.check(&method, &uri, &headers).await?;
    let peer = peer.parse().map_err(|_| Refusal::BadRequest)?;
    let key = match query.as_deref().filter(|query| !query.is_empty()) {
        None => None,
        Some(query) => {
            let key = query.strip_prefix("key=").and_then(|text| hex::decode(text).ok());
            Some(key.ok_or(Refusal::BadRequest)?)
        }
    };
    gate.note_peer(peer, method == Method::PUT, key.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn blob<H: Holder>(
    State(serving): State<Shared<H>>,
    Path(digest): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let gate = serving.check(&method, &uri, &headers).await?;
    let digest: RecordDigest = digest.parse().map_err(|_| Refusal::BadRequest)?;
    let body = gate.give(digest).await?;
    let len = body.len();
    let asked = headers.get(header::RANGE);
    let range = match asked {
        None => 0..len,
        Some(range) => {
            let range = range.to_str().ok().and_then(|range| range_of(range, len));
            range.ok_or(Refusal::NotInRange { len })?
        }
    };
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::CONTENT_LENGTH, range.end - range.start)
        .header(header::ACCEPT_RANGES, "bytes");
    if asked.is_some() {
        let said = format!("bytes {}-{}/{len}", range.start, range.end - 1);
        response = response.status(StatusCode::PARTIAL_CONTENT).header(header::CONTENT_RANGE, said);
    }
    let steps = stream::try_unfold(range, move |range| {
        let (gate, body) = (gate.clone(), body.clone());
        async move { next_step(&gate, &body, digest, range).await }
    });
    let response = response.body(ResponseBody::from_stream(steps));
    Ok(response.expect("the headers are numbers and constants"))
}

/// The next bytes of a range, when the member may still have them, and the range after them. An error
/// breaks the connection off, so the other side sees that bytes are missing.
async fn next_step<H: Holder>(
    gate: &Gate<H>,
    body: &Body,
    digest: RecordDigest,
    range: Range<u64>,
) -> io::Result<Option<(Bytes, Range<u64>)>> {
    if range.is_empty() {
        return Ok(None);
    }
    if let Err(denied) = gate.check(digest).await {
        if let Denied::Unavailable(error) = &denied {
            tracing::warn!(%digest, %error, "a transfer was broken off");
        }
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, denied));
    }
    let step = body.step(range.start, range.end).await?;
    let rest = range.start + step.len() as u64..range.end;
    Ok(Some((step, rest)))
}

/// The bytes of a `Range` header that asks for one stretch, none of them beyond the end.
///
/// # Source
///
/// RFC 9110, section 14.1.2, without suffixes and lists.
fn range_of(header: &str, len: u64) -> Option<Range<u64>> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let start = number(first)?;
    let end = match last {
        "" => len,
        last => number(last)?.saturating_add(1).min(len),
    };
    (start < end).then_some(start..end)
}

impl<H: Holder> Serving<H> {
    /// Who signed a request, when everything about it is in order.
    async fn check(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Gate<H>, Refusal> {
        let text = |name| headers.get(name).map(|value| value.to_str().ok());
        let said = text(header::AUTHORIZATION).flatten().and_then(Authorization::of_header);
        let Authorization { requester, nonce, deadline, signature } =
            said.ok_or(Refusal::Unsigned)?;
        let now = (self.settings.clock)();
        let range = match text(header::RANGE) {
            None => String::new(),
            Some(range) => range.ok_or(Refusal::BadRequest)?.to_owned(),
        };
        let target = uri.path_and_query().map_or("", |target| target.as_str()).to_owned();
        let statement = Statement {
            requester,
            responder: self.settings.member,
            method: method.as_str().to_owned(),
            target,
            range,
            nonce,
            deadline,
        };
        if deadline <= now || deadline > now.after(statement.deadline_max()) {
            return Err(Refusal::Unsigned);
        }
        let digest = statement.signing_digest(self.settings.network);
        let proof = self.proof(requester, digest, &signature).await?.ok_or(Refusal::Unsigned)?;
        // Only now, so that nobody but members can have nonces noted.
        if !self.holder.take_nonce(requester, nonce, deadline).await? {
            return Err(Refusal::Unsigned);
        }
        Ok(Gate::new(&self.holder, requester, proof))
    }

    async fn proof(
        &self,
        requester: Address,
        digest: B256,
        signature: &[u8],
    ) -> Result<Option<Proof>, HolderError> {
        if let Some(signer) = recover(signature, digest)
            && self.holder.member_signing(signer).await? == Some(requester)
        {
            return Ok(Some(Proof::Key(signer)));
        }
        let vouches = self.holder.account_signed(requester, digest, signature).await?;
        Ok(vouches.then_some(Proof::Account))
    }
}

fn recover(signature: &[u8], digest: B256) -> Option<Address> {
    let signature = Signature::try_from(signature).ok()?;
    signature.recover_address_from_prehash(&digest).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_one_stretch_within_the_bytes() {
        let check = |header: &str, expected: Option<Range<u64>>| {
            assert_eq!(range_of(header, 100), expected, "{header}");
        };
        check("bytes=0-", Some(0..100));
        check("bytes=99-", Some(99..100));
        check("bytes=10-19", Some(10..20));
        check("bytes=10-18446744073709551615", Some(10..100));
        check("bytes=100-", None);
        check("bytes=20-10", None);
        check("bytes=-5", None);
        check("bytes=0-1,5-6", None);
        check("bytes=+1-", None);
        check("items=0-", None);
        check("bytes=99999999999999999999-", None);
    }
}
