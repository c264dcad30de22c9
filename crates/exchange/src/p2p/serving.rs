//! Our own protocol: one request per stream, one answer.

use std::fmt;
use std::sync::Arc;

use domain::{Address, RecordDigest};
use iroh::endpoint::{Connection, RecvStream, SendStream};
use iroh::protocol::{AcceptError, ProtocolHandler};
use tokio::task::JoinSet;

use super::bodies::Prepared;
use super::{REQUEST_TIME, peer_of};
use crate::gate::{Denied, Gate, Proof};
use crate::holder::{Cursor, Holder, PeerId};
use crate::message::{self, Page, Question, REQUEST_LEN_MAX, Request, Response};

/// Answers with lists of offers, and says where bodies are to be had.
pub(super) struct Lists<H> {
    holder: Arc<H>,
    prepared: Arc<Prepared>,
}

impl<H> Lists<H> {
    pub(super) fn new(holder: &Arc<H>, prepared: &Arc<Prepared>) -> Self {
        Self { holder: Arc::clone(holder), prepared: Arc::clone(prepared) }
    }
}

impl<H> Clone for Lists<H> {
    fn clone(&self) -> Self {
        Self::new(&self.holder, &self.prepared)
    }
}

impl<H> fmt::Debug for Lists<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lists(..)")
    }
}

impl<H: Holder> ProtocolHandler for Lists<H> {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let peer = peer_of(&connection);
        // Dropped with the connection, and what was at work for it with it.
        let mut answers = JoinSet::new();
        while let Ok((send, receive)) = connection.accept_bi().await {
            while answers.try_join_next().is_some() {}
            let lists = self.clone();
            answers.spawn(async move { lists.answer(peer, send, receive).await });
        }
        self.prepared.forget(peer);
        Ok(())
    }
}

impl<H: Holder> Lists<H> {
    /// Answers one request. What cannot be read is not answered.
    async fn answer(&self, peer: PeerId, mut send: SendStream, mut receive: RecvStream) {
        let reading = receive.read_to_end(REQUEST_LEN_MAX);
        let Ok(Ok(bytes)) = tokio::time::timeout(REQUEST_TIME, reading).await else { return };
        let Ok(request) = message::decode::<Request>(&bytes) else { return };
        let response = self.respond(peer, request).await.unwrap_or_else(|denied| match denied {
            Denied::Refused => Response::Refused,
            Denied::Unavailable(error) => {
                tracing::warn!(%peer, %error, "a peer was not answered");
                Response::Unavailable
            }
        });
        if send.write_all(&message::encode(&response)).await.is_ok() {
            let _ = send.finish();
        }
    }

    async fn respond(&self, peer: PeerId, request: Request) -> Result<Response, Denied> {
        let member = Address::from(request.member);
        let gate = Gate::new(&self.holder, member, Proof::Peer(peer));
        match request.what {
            Question::Offers { after } => {
                let after = match after {
                    Some(after) => Some(Cursor::new(after).ok_or(Denied::Refused)?),
                    None => None,
                };
                Ok(Response::Offers(Page::of(&gate.offers(after).await?)))
            }
            Question::Body { digest } => {
                let digest = RecordDigest(digest.into());
                let body = gate.give(digest).await?;
                let len = body.len();
                let hash = self.prepared.prepare(peer, member, digest, body).await?;
                Ok(Response::Body { hash, len })
            }
        }
    }
}
