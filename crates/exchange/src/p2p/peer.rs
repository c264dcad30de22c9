//! Reaching another peer.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use bao_tree::io::BaoContentItem;
use domain::Address;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{self, StreamExt as _};
use iroh::endpoint::{
    ConnectError, ConnectingError, Connection, ConnectionError, ReadError, ReadToEndError,
    RecvStream, VarInt, WriteError,
};
use iroh::{Endpoint, EndpointAddr};
use iroh_blobs::get::fsm::{
    self, AtBlobContent, BlobContentNext, ConnectedNext, ConnectedNextError, DecodeError,
    InitialNextError,
};
use iroh_blobs::protocol::{
    ChunkRanges, ChunkRangesExt as _, ERR_LIMIT, ERR_PERMISSION, GetRequest,
};
use tokio::sync::Mutex;

use super::{ALPN, NOT_REGISTERED};
use crate::holder::{Cursor, Offers, PeerId};
use crate::message::{self, ANSWER_LEN_MAX, Question, Request, Response};
use crate::transport::{BodyStream, TransferError, Transport, Wanted};

/// Length of the chunks that BLAKE3 counts, in bytes.
const CHUNK_LEN: u64 = 1_024;

/// How long a peer may take to let us in. One that is down says nothing, and others wait.
const CONNECT_TIME: Duration = Duration::from_secs(4);

/// How many of them iroh-blobs sends together.
const GROUP_CHUNKS: u64 = 16;

/// Another peer, asked as one member. Connections are opened when they are needed, and kept.
#[derive(Debug)]
pub struct IrohPeer {
    endpoint: Endpoint,
    address: EndpointAddr,
    member: Address,
    lists: Mutex<Option<Connection>>,
    bodies: Mutex<Option<Connection>>,
}

impl IrohPeer {
    pub(super) fn new(endpoint: Endpoint, address: EndpointAddr, member: Address) -> Self {
        Self { endpoint, address, member, lists: Mutex::default(), bodies: Mutex::default() }
    }

    /// The peer's id.
    #[must_use]
    pub fn id(&self) -> PeerId {
        PeerId(*self.address.id.as_bytes())
    }

    /// An open connection for one of the two protocols.
    async fn connection(
        &self,
        kept: &Mutex<Option<Connection>>,
        alpn: &[u8],
    ) -> Result<Connection, TransferError> {
        let mut kept = kept.lock().await;
        if let Some(connection) = kept.as_ref().filter(|open| open.close_reason().is_none()) {
            return Ok(connection.clone());
        }
        let connecting = self.endpoint.connect(self.address.clone(), alpn);
        let connecting = tokio::time::timeout(CONNECT_TIME, connecting).await;
        let connection = connecting.map_err(TransferError::interrupted)?.map_err(not_connected)?;
        *kept = Some(connection.clone());
        Ok(connection)
    }

    async fn ask(&self, what: Question) -> Result<Response, TransferError> {
        let connection = self.connection(&self.lists, ALPN).await?;
        let request = message::encode(&Request { member: self.member.into(), what });
        let asking = async {
            let (mut send, mut receive) = connection.open_bi().await.map_err(io::Error::from)?;
            send.write_all(&request).await.map_err(io::Error::from)?;
            send.finish().map_err(|closed| io::Error::from(WriteError::from(closed)))?;
            receive.read_to_end(ANSWER_LEN_MAX).await.map_err(|error| match error {
                ReadToEndError::Read(error) => error.into(),
                ReadToEndError::TooLong => io::ErrorKind::InvalidData.into(),
            })
        };
        let answer: io::Result<Vec<u8>> = asking.await;
        let answer = answer.map_err(|error| match error.kind() {
            io::ErrorKind::InvalidData => TransferError::Malformed,
            _ => broken(error),
        })?;
        match message::decode(&answer) {
            Ok(Response::Refused) => Err(TransferError::Refused),
            Ok(Response::Unavailable) => Err(TransferError::Unavailable),
            Ok(answer) => Ok(answer),
            Err(_) => Err(TransferError::Malformed),
        }
    }

    async fn fetch_from(&self, wanted: Wanted, from: u64) -> Result<BodyStream, TransferError> {
        let question = Question::Body { digest: wanted.digest.0.0 };
        let Response::Body { hash, len } = self.ask(question).await? else {
            return Err(TransferError::Malformed);
        };
        if len != wanted.sealed_len {
            return Err(TransferError::Malformed);
        }
        let first_chunk = from / (CHUNK_LEN * GROUP_CHUNKS) * GROUP_CHUNKS;
        let ranges = ChunkRanges::chunks(first_chunk..);
        let request = GetRequest::blob_ranges(hash.into(), ranges);
        let connection = self.connection(&self.bodies, iroh_blobs::ALPN).await?;
        let initial = fsm::start(connection, request, fsm::RequestCounters::default());
        let connected = initial.next().await.map_err(|error| match error {
            InitialNextError::Open { source, .. } => broken(source),
        })?;
        let next = connected.next().await.map_err(|error| match error {
            ConnectedNextError::Write { source, .. } => broken(source),
            _ => TransferError::Malformed,
        })?;
        let ConnectedNext::StartRoot(root) = next else { return Err(TransferError::Malformed) };
        let header = root.next().next().await;
        let (content, sent_len) = header.map_err(|error| broken(error.into()))?;
        if sent_len != len {
            return Err(TransferError::Malformed);
        }
        let state = (content, from);
        Ok(stream::try_unfold(state, |(content, offset)| next_bytes(content, offset)).boxed())
    }
}

impl Transport for IrohPeer {
    fn offers(&self, after: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>> {
        async move {
            let after = after.map(|after| after.as_bytes().to_vec());
            match self.ask(Question::Offers { after }).await? {
                Response::Offers(page) => page.into_offers().map_err(|_| TransferError::Malformed),
                _ => Err(TransferError::Malformed),
            }
        }
        .boxed()
    }

    fn fetch(&self, wanted: Wanted, from: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>> {
        self.fetch_from(wanted, from).boxed()
    }
}

type Content = AtBlobContent<RecvStream>;

/// The bytes that come next after `offset`, and the state after them.
async fn next_bytes(
    mut content: Content,
    offset: u64,
) -> Result<Option<(Bytes, (Content, u64))>, TransferError> {
    loop {
        let (next, item) = match content.next().await {
            BlobContentNext::More(more) => more,
            BlobContentNext::Done(_) => return Ok(None),
        };
        content = next;
        let leaf = match item {
            Ok(BaoContentItem::Leaf(leaf)) => leaf,
            Ok(BaoContentItem::Parent(_)) => continue,
            Err(error) => return Err(undecodable(error)),
        };
        // Whole groups come, so the first one may begin before the place that was asked for.
        let skipped = offset.checked_sub(leaf.offset).ok_or(TransferError::Malformed)?;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
        if skipped < leaf.data.len() {
            let bytes = leaf.data.slice(skipped..);
            let end = offset + bytes.len() as u64;
            return Ok(Some((bytes, (content, end))));
        }
    }
}

/// What a failed attempt to connect means.
fn not_connected(error: ConnectError) -> TransferError {
    let closed = match &error {
        ConnectError::Connection { source, .. }
        | ConnectError::Connecting {
            source: ConnectingError::ConnectionError { source, .. },
            ..
        } => is_turned_away(source),
        // It is not in our registry either.
        ConnectError::Connecting { source: ConnectingError::LocallyRejected { .. }, .. } => true,
        _ => false,
    };
    if closed { TransferError::Refused } else { TransferError::interrupted(error) }
}

fn is_turned_away(error: &ConnectionError) -> bool {
    matches!(error, ConnectionError::ApplicationClosed(close) if close.error_code == NOT_REGISTERED)
}

/// What it means that a stream broke.
fn broken(error: io::Error) -> TransferError {
    let cause = error.get_ref();
    let read = cause.and_then(|cause| cause.downcast_ref::<ReadError>());
    let written = cause.and_then(|cause| cause.downcast_ref::<WriteError>());
    let connection = match (read, written) {
        (Some(ReadError::Reset(code)), _) => return broken_off(*code),
        (Some(ReadError::ConnectionLost(lost)), _)
        | (_, Some(WriteError::ConnectionLost(lost))) => Some(lost),
        _ => cause.and_then(|cause| cause.downcast_ref::<ConnectionError>()),
    };
    match connection {
        Some(lost) if is_turned_away(lost) => TransferError::Refused,
        _ => TransferError::interrupted(error),
    }
}

/// What the code means with which the other side broke a body off.
fn broken_off(code: VarInt) -> TransferError {
    match code {
        ERR_PERMISSION => TransferError::Refused,
        ERR_LIMIT => TransferError::Unavailable,
        _ => TransferError::interrupted("the peer broke the transfer off"),
    }
}

fn undecodable(error: DecodeError) -> TransferError {
    match error {
        DecodeError::Read { source, .. } => broken(source),
        DecodeError::ParentHashMismatch { .. } | DecodeError::LeafHashMismatch { .. } => {
            TransferError::Malformed
        }
        other => TransferError::interrupted(other),
    }
}
