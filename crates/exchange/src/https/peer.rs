//! Reaching another gateway over HTTPS.

use std::error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use domain::{Address, B256, QueryDomain, Timestamp};
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{self, StreamExt as _};
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, RANGE};
use reqwest::{Client, Method, Response, StatusCode};

use super::statement::{Authorization, Statement};
use crate::holder::{Cursor, Offers, PeerId};
use crate::message::ANSWER_LEN_MAX;
use crate::transport::{BodyStream, TransferError, Transport, Wanted};

/// How long a signed request counts. Half of what is accepted, so that clocks may differ.
const DEADLINE: Duration = Duration::from_secs(60);

/// Signs a digest: 65 bytes as Ethereum signs, or what a patient's account takes (ERC-1271).
pub type SignRequest = dyn Fn(B256) -> BoxFuture<'static, Result<Vec<u8>, Box<dyn error::Error + Send + Sync>>>
    + Send
    + Sync;

/// Who asks.
#[derive(Clone)]
pub struct Requester {
    /// By member address, or a patient's account.
    pub member: Address,
    /// Where the members are registered.
    pub network: QueryDomain,
    /// Signs with the member's key.
    pub sign: Arc<SignRequest>,
    /// Draws 32 random bytes.
    pub make_nonce: Arc<dyn Fn() -> B256 + Send + Sync>,
    /// The clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl fmt::Debug for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester").field("member", &self.member).finish_non_exhaustive()
    }
}

/// Another gateway, asked over HTTPS.
#[derive(Clone, Debug)]
pub struct HttpsPeer {
    client: Client,
    /// Without a slash at the end.
    base: String,
    responder: Address,
    requester: Requester,
}

impl HttpsPeer {
    /// The gateway of `responder` at `base`, such as `https://hospital.example`. The client should
    /// follow no redirects: what is signed is for that gateway.
    #[must_use]
    pub fn new(client: Client, base: &str, responder: Address, requester: Requester) -> Self {
        Self { client, base: base.trim_end_matches('/').to_owned(), responder, requester }
    }

    /// Says as a patient's account that it holds copies at a peer, or no longer does, and to which key
    /// the patient's records are to be sealed where no other is known.
    ///
    /// # Errors
    ///
    /// See [`TransferError`].
    pub async fn note_peer(
        &self,
        peer: PeerId,
        holds: bool,
        key: Option<&[u8]>,
    ) -> Result<(), TransferError> {
        let Requester { member, make_nonce, clock, .. } = &self.requester;
        let once = (make_nonce(), clock().after(DEADLINE));
        let statement = Statement::of_peer((*member, self.responder), peer, holds, key, once);
        self.state(statement).await.map(drop)
    }

    /// Sends what the requester signed elsewhere.
    ///
    /// # Errors
    ///
    /// See [`TransferError`].
    pub async fn send_signed(
        &self,
        statement: Statement,
        signature: Vec<u8>,
    ) -> Result<(), TransferError> {
        self.send(statement, signature).await.map(drop)
    }

    async fn get(&self, target: String, range: String) -> Result<Response, TransferError> {
        self.request(Method::GET, target, range).await
    }

    async fn request(
        &self,
        method: Method,
        target: String,
        range: String,
    ) -> Result<Response, TransferError> {
        let Requester { member, make_nonce, clock, .. } = &self.requester;
        let statement = Statement {
            requester: *member,
            responder: self.responder,
            method: method.as_str().into(),
            target,
            range,
            nonce: make_nonce(),
            deadline: clock().after(DEADLINE),
        };
        self.state(statement).await
    }

    /// Signs and sends a request.
    async fn state(&self, statement: Statement) -> Result<Response, TransferError> {
        let Requester { network, sign, .. } = &self.requester;
        let signature = sign(statement.signing_digest(*network)).await;
        self.send(statement, signature.map_err(TransferError::Sign)?).await
    }

    async fn send(
        &self,
        statement: Statement,
        signature: Vec<u8>,
    ) -> Result<Response, TransferError> {
        let Statement { requester, nonce, deadline, .. } = statement;
        let authorization = Authorization { requester, nonce, deadline, signature };
        let method = Method::from_bytes(statement.method.as_bytes());
        let method = method.map_err(|_| TransferError::Malformed)?;
        let url = format!("{}{}", self.base, statement.target);
        let mut request =
            self.client.request(method, url).header(AUTHORIZATION, authorization.to_header());
        if !statement.range.is_empty() {
            request = request.header(RANGE, statement.range);
        }
        let response = request.send().await.map_err(broken)?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NO_CONTENT => Ok(response),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(TransferError::Refused),
            status if status.is_server_error() => Err(TransferError::Unavailable),
            StatusCode::TOO_MANY_REQUESTS => Err(TransferError::Unavailable),
            _ => Err(TransferError::Malformed),
        }
    }

    async fn page(&self, after: Option<Cursor>) -> Result<Offers, TransferError> {
        let target = match after {
            None => "/exchange/v1/offers".to_owned(),
            Some(after) => format!("/exchange/v1/offers?after={}", hex::encode(after.as_bytes())),
        };
        let mut response = self.get(target, String::new()).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            if bytes.len() + chunk.len() > ANSWER_LEN_MAX {
                return Err(TransferError::Malformed);
            }
            bytes.extend_from_slice(&chunk);
        }
        Offers::from_bytes(&bytes).map_err(|_| TransferError::Malformed)
    }

    async fn fetch_from(&self, wanted: Wanted, from: u64) -> Result<BodyStream, TransferError> {
        let len = wanted.sealed_len;
        let target = format!("/exchange/v1/blobs/{}", wanted.digest);
        let range = if from == 0 { String::new() } else { format!("bytes={from}-") };
        let response = self.get(target, range).await?;
        if from > 0 {
            let said = response.headers().get(CONTENT_RANGE).and_then(|said| said.to_str().ok());
            let expected = format!("bytes {from}-{}/{len}", len.saturating_sub(1));
            if response.status() != StatusCode::PARTIAL_CONTENT || said != Some(&expected) {
                return Err(TransferError::Malformed);
            }
        }
        if response.content_length().is_some_and(|sent| from.checked_add(sent) != Some(len)) {
            return Err(TransferError::Malformed);
        }
        let chunks = stream::try_unfold(response, |mut response| async move {
            let chunk = response.chunk().await.map_err(broken)?;
            Ok(chunk.map(|chunk| (chunk, response)))
        });
        Ok(chunks.boxed())
    }
}

impl Transport for HttpsPeer {
    fn offers(&self, after: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>> {
        self.page(after).boxed()
    }

    fn fetch(&self, wanted: Wanted, from: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>> {
        self.fetch_from(wanted, from).boxed()
    }
}

/// The address that was asked is left out: it may be a host's name.
fn broken(error: reqwest::Error) -> TransferError {
    TransferError::interrupted(error.without_url())
}
