//! Bodies over iroh-blobs' protocol, out of the vault itself.
//!
//! What goes over the wire is iroh-blobs' `get`, and any client of it can fetch. Its own provider is not
//! used, because that serves out of a store of its own: every body would lie on the disk twice. And
//! between one chunk and the next it asks only whether to go slower (`ThrottleMode`), after the bytes
//! are written. Here the hash tree is computed when a body is asked for (64 bytes for each 16 KiB), the
//! bytes are read where they lie, and nothing is written before the gate was asked for that step (S3).
//! All other requests of that protocol are refused: nothing can be pushed, observed or listed.
//!
//! A body can be had only by the peer that asked for it by its digest before, which is when the holder
//! decided and left a receipt; so nobody finds out by hash what is here.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use bao_tree::ChunkRanges;
use bao_tree::io::outboard::PreOrderOutboard;
use bao_tree::io::sync::{CreateOutboard as _, encode_ranges_validated};
use domain::{Address, RecordDigest};
use iroh::endpoint::{Connection, RecvStream, SendStream, VarInt};
use iroh::protocol::{AcceptError, ProtocolHandler};
use iroh_blobs::protocol::{ERR_INTERNAL, ERR_LIMIT, ERR_PERMISSION, Request};
use iroh_blobs::store::IROH_BLOCK_SIZE;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::{REQUEST_TIME, peer_of};
use crate::body::{Body, STEP_LEN};
use crate::gate::{Denied, Gate, Proof};
use crate::holder::{Holder, HolderError, PeerId};

/// How many bodies one peer may have prepared, and all together. Each takes up to 1.3 MB of memory.
const PREPARED_PER_PEER: usize = 8;
const PREPARED_MAX: usize = 64;

/// The longest `get` that is read, in bytes. Ours has fewer than 100.
const GET_LEN_MAX: usize = 4 * 1024;

/// How many bodies are sent at the same time. Each holds a thread.
const SENT_AT_ONCE: usize = 64;

/// How long a peer may take for one step.
const STEP_TIME: Duration = Duration::from_secs(60);

/// A body that a peer may fetch.
struct Ready {
    peer: PeerId,
    member: Address,
    digest: RecordDigest,
    body: Body,
    /// The tree over the body; its root is the hash by which it is fetched.
    tree: PreOrderOutboard,
}

/// The bodies that peers asked for and have not fetched yet, oldest first.
#[derive(Default)]
pub(super) struct Prepared(Mutex<VecDeque<Arc<Ready>>>);

impl Prepared {
    /// Makes a body ready for a peer, and says under which hash.
    pub(super) async fn prepare(
        &self,
        peer: PeerId,
        member: Address,
        digest: RecordDigest,
        body: Body,
    ) -> Result<[u8; 32], Denied> {
        let hashing = move || {
            let tree = PreOrderOutboard::create_sized(body.reader(), body.len(), IROH_BLOCK_SIZE)?;
            Ok(Ready { peer, member, digest, body, tree })
        };
        let ready = tokio::task::spawn_blocking(hashing).await.expect("hashing does not panic");
        let unreadable = |error: io::Error| Denied::Unavailable(HolderError(Box::new(error)));
        let ready = Arc::new(ready.map_err(unreadable)?);
        let hash = *ready.tree.root.as_bytes();

        let mut all = self.0.lock();
        all.retain(|other| !(other.peer == peer && other.digest == digest));
        let of_peer = all.iter().filter(|other| other.peer == peer).count();
        if of_peer >= PREPARED_PER_PEER
            && let Some(oldest) = all.iter().position(|other| other.peer == peer)
        {
            all.remove(oldest);
        } else if all.len() >= PREPARED_MAX {
            all.pop_front();
        }
        all.push_back(ready);
        Ok(hash)
    }

    fn take(&self, peer: PeerId, hash: &[u8; 32]) -> Option<Arc<Ready>> {
        let mut all = self.0.lock();
        let is_it = |ready: &Arc<Ready>| ready.peer == peer && ready.tree.root.as_bytes() == hash;
        let place = all.iter().position(is_it)?;
        all.remove(place)
    }

    /// Forgets what was prepared for a peer.
    pub(super) fn forget(&self, peer: PeerId) {
        self.0.lock().retain(|ready| ready.peer != peer);
    }
}

/// Gives bodies.
pub(super) struct Bodies<H> {
    holder: Arc<H>,
    prepared: Arc<Prepared>,
    room: Arc<Semaphore>,
}

impl<H> Bodies<H> {
    pub(super) fn new(holder: &Arc<H>, prepared: &Arc<Prepared>) -> Self {
        let room = Arc::new(Semaphore::new(SENT_AT_ONCE));
        Self { holder: Arc::clone(holder), prepared: Arc::clone(prepared), room }
    }
}

impl<H> Clone for Bodies<H> {
    fn clone(&self) -> Self {
        let (holder, prepared) = (Arc::clone(&self.holder), Arc::clone(&self.prepared));
        Self { holder, prepared, room: Arc::clone(&self.room) }
    }
}

impl<H> fmt::Debug for Bodies<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bodies(..)")
    }
}

impl<H: Holder> ProtocolHandler for Bodies<H> {
    async fn accept(&self, connection: Connection) -> Result<(), AcceptError> {
        let peer = peer_of(&connection);
        let mut transfers = JoinSet::new();
        while let Ok((mut send, receive)) = connection.accept_bi().await {
            while transfers.try_join_next().is_some() {}
            let bodies = self.clone();
            transfers.spawn(async move {
                let ended = match bodies.serve(peer, &mut send, receive).await {
                    Ok(()) => send.finish(),
                    // Takes back as well what was not sent yet.
                    Err(code) => send.reset(code),
                };
                drop(ended);
            });
        }
        Ok(())
    }
}

impl<H: Holder> Bodies<H> {
    /// Answers one request.
    ///
    /// # Errors
    ///
    /// The code with which the stream is broken off.
    async fn serve(
        &self,
        peer: PeerId,
        send: &mut SendStream,
        mut receive: RecvStream,
    ) -> Result<(), VarInt> {
        let reading = receive.read_to_end(GET_LEN_MAX);
        let Ok(Ok(bytes)) = tokio::time::timeout(REQUEST_TIME, reading).await else {
            return Err(ERR_LIMIT);
        };
        let Ok(Request::Get(request)) = postcard::from_bytes(&bytes) else {
            return Err(ERR_PERMISSION);
        };
        // A hash sequence would lead on to other hashes.
        let Some((0, ranges)) = request.ranges.as_single() else { return Err(ERR_PERMISSION) };
        let _room = self.room.try_acquire().map_err(|_| ERR_LIMIT)?;
        let ready = self.prepared.take(peer, request.hash.as_bytes()).ok_or(ERR_INTERNAL)?;

        let gate = Gate::new(&self.holder, ready.member, Proof::Peer(peer));
        let check = async || match gate.check(ready.digest).await {
            Ok(()) => Ok(()),
            Err(Denied::Refused) => Err(ERR_PERMISSION),
            Err(Denied::Unavailable(error)) => {
                tracing::warn!(%peer, digest = %ready.digest, %error, "a transfer was broken off");
                Err(ERR_LIMIT)
            }
        };
        check().await?;
        send.write_all(&ready.body.len().to_le_bytes()).await.map_err(|_| ERR_INTERNAL)?;

        let (sender, mut steps) = mpsc::channel(2);
        let encoding = spawn_encoding(Arc::clone(&ready), ranges.clone(), sender);
        while let Some(step) = steps.recv().await {
            check().await?;
            let sent = tokio::time::timeout(STEP_TIME, send.write_all(&step)).await;
            sent.map_err(|_| ERR_LIMIT)?.map_err(|_| ERR_INTERNAL)?;
        }
        match encoding.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(digest = %ready.digest, %error, "a body could not be read to its end");
                Err(ERR_INTERNAL)
            }
            Err(_) => Err(ERR_INTERNAL),
        }
    }
}

/// Reads a body and its tree, as a `get` answers, in steps. It ends when nobody takes them any more.
fn spawn_encoding(
    ready: Arc<Ready>,
    ranges: ChunkRanges,
    steps: mpsc::Sender<Vec<u8>>,
) -> tokio::task::JoinHandle<io::Result<()>> {
    tokio::task::spawn_blocking(move || {
        let mut steps = Steps { next: Vec::with_capacity(STEP_LEN), steps };
        encode_ranges_validated(&ready.body, &ready.tree, &ranges, &mut steps)?;
        steps.flush()
    })
}

/// Cuts what is written into steps.
struct Steps {
    next: Vec<u8>,
    steps: mpsc::Sender<Vec<u8>>,
}

impl Write for Steps {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(STEP_LEN - self.next.len());
        self.next.extend_from_slice(&bytes[..count]);
        if self.next.len() == STEP_LEN {
            self.flush()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.next.is_empty() {
            return Ok(());
        }
        let step = std::mem::replace(&mut self.next, Vec::with_capacity(STEP_LEN));
        self.steps.blocking_send(step).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
