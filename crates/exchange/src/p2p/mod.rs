//! The exchange between peers: QUIC, each side known by the key that its member registered.
//!
//! Two protocols run over it, each on connections of its own:
//!
//! - `salus/exchange/1`, ours: lists of offers, and where a body is to be had (`serving`).
//! - iroh-blobs' own (`/iroh-bytes/4`): the bodies, verified by BLAKE3 as they come, from any place on
//!   (`bodies`).
//!
//! Relays and discovery of any kind are off: a node speaks only with whom its holder knows, at
//! addresses that the caller names. Whoever is not in the registry is turned away after the handshake,
//! in both directions, and every request asks again.

mod bodies;
mod peer;
mod serving;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::Address;
use iroh::address_lookup::MemoryLookup;
use iroh::endpoint::{
    AfterHandshakeOutcome, BindError, Connection, EndpointHooks, InvalidSocketAddr,
    PortmapperConfig, QuicTransportConfig, VarInt, presets,
};
use iroh::protocol::Router;
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey};

pub use peer::IrohPeer;

use crate::holder::{Holder, PeerId};
use bodies::{Bodies, Prepared};
use serving::Lists;

/// The name of our own protocol.
pub const ALPN: &[u8] = b"salus/exchange/1";

/// What a connection with somebody who is not in the registry is closed with.
const NOT_REGISTERED: VarInt = VarInt::from_u32(403);

/// How many requests a peer may have open on one connection.
const STREAMS_MAX: u32 = 32;

/// How long a peer may take to say what it wants.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// How a node is started.
pub struct NodeSettings {
    /// The Ed25519 private key whose public half the member registered.
    pub secret: [u8; 32],
    /// Where it listens; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
}

impl fmt::Debug for NodeSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeSettings").field("listen", &self.listen).finish_non_exhaustive()
    }
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened at.
    #[error("not an address to listen at")]
    Address(#[source] InvalidSocketAddr),
    /// The sockets could not be opened.
    #[error("the node could not be started")]
    Bind(#[source] Box<BindError>),
}

/// The key of a peer is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a peer")]
pub struct BadPeerId;

/// One gateway in the peer-to-peer network: gives what its holder allows, and reaches other peers.
pub struct Node {
    router: Router,
}

impl Node {
    /// Starts to listen.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start<H: Holder>(
        holder: Arc<H>,
        settings: NodeSettings,
    ) -> Result<Self, StartError> {
        let transport = QuicTransportConfig::builder()
            .max_concurrent_bidi_streams(STREAMS_MAX.into())
            .max_concurrent_uni_streams(0_u32.into())
            .build();
        let mut builder = Endpoint::builder(presets::Minimal)
            .secret_key(SecretKey::from_bytes(&settings.secret))
            .relay_mode(RelayMode::Disabled)
            .portmapper_config(PortmapperConfig::Disabled)
            .clear_address_lookup()
            .address_lookup(MemoryLookup::new())
            .transport_config(transport)
            .hooks(AllowList(Arc::clone(&holder)))
            .clear_ip_transports();
        for address in settings.listen {
            builder = builder.bind_addr(address).map_err(StartError::Address)?;
        }
        let endpoint = builder.bind().await.map_err(|error| StartError::Bind(Box::new(error)))?;
        let prepared = Arc::new(Prepared::default());
        let router = Router::builder(endpoint)
            .accept(ALPN, Lists::new(&holder, &prepared))
            .accept(iroh_blobs::ALPN, Bodies::new(&holder, &prepared))
            .spawn();
        Ok(Self { router })
    }

    /// The id under which it is known, for the registry.
    #[must_use]
    pub fn id(&self) -> PeerId {
        PeerId(*self.router.endpoint().id().as_bytes())
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.router.endpoint().bound_sockets()
    }

    /// Another peer, at the addresses where it listens, to ask as one of this node's members.
    ///
    /// # Errors
    ///
    /// [`BadPeerId`] when the id is no Ed25519 key.
    pub fn peer(
        &self,
        member: Address,
        id: PeerId,
        addresses: &[SocketAddr],
    ) -> Result<IrohPeer, BadPeerId> {
        let id = EndpointId::from_bytes(&id.0).map_err(|_| BadPeerId)?;
        let mut address = EndpointAddr::new(id);
        for socket in addresses {
            address = address.with_ip_addr(*socket);
        }
        Ok(IrohPeer::new(self.router.endpoint().clone(), address, member))
    }

    /// Closes every connection, and stops.
    pub async fn stop(self) {
        if let Err(error) = self.router.shutdown().await {
            tracing::warn!(%error, "the peer-to-peer node did not stop in order");
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// Turns away whoever is not in the registry.
struct AllowList<H>(Arc<H>);

impl<H> fmt::Debug for AllowList<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AllowList(..)")
    }
}

impl<H: Holder> EndpointHooks for AllowList<H> {
    async fn after_handshake<'a>(&'a self, connection: &'a Connection) -> AfterHandshakeOutcome {
        let members = self.0.members_of(peer_of(connection)).await;
        if members.is_ok_and(|members| !members.is_empty()) {
            return AfterHandshakeOutcome::Accept;
        }
        let reason = b"not registered".to_vec();
        AfterHandshakeOutcome::Reject { error_code: NOT_REGISTERED, reason }
    }
}

fn peer_of(connection: &Connection) -> PeerId {
    PeerId(*connection.remote_id().as_bytes())
}
