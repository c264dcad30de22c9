//! Move sealed records between institutions.
//!
//! One side holds records and is asked ([`Holder`]); the other receives what should be with it
//! ([`Receiver`]), from a peer that it reaches in one of two ways behind one trait ([`Transport`]):
//! peer to peer ([`Node`], [`IrohPeer`]), or over HTTPS where UDP is closed ([`router`], [`HttpsPeer`]).
//! A patient's own node receives the same way, and a gateway heals what was damaged.
//!
//! It decides nothing: what may be given out the gateway says through [`Holder`], and what should
//! arrive through [`Expected`]. It opens nothing either; only sealed bytes and wraps pass through here.
//!
//! What must stay true:
//!
//! - Nothing leaves before the holder was asked, and of a body that is being sent no more than the
//!   [`STEP_LEN`] bytes that are on their way when a consent is revoked (S2, S3).
//! - Who asks is known by a registered key, of a peer or of a member, and both stop counting when they
//!   are taken back, in the middle of a transfer too. A signed request serves once (S7).
//! - What is not given and what is not here look the same to whoever asks.
//! - Nothing gets into a vault but bytes that hash to what the chain says (S4).
//! - A peer that lies costs time, bounded in memory and bytes, and no more.
//! - Errors and logs have digests, addresses and peer ids only (S1).
//!
//! | question | module |
//! |---|---|
//! | what a gateway has to answer | [`Holder`] |
//! | why iroh-blobs' own provider is not used | `p2p::bodies` |
//! | what is signed over HTTPS | [`Statement`] |
//! | a message to the byte | `message` |
//! | what becomes of half a body | [`Incoming`] |

mod holder;
mod transport;

mod sync;

mod incoming;
mod report;

mod body;
mod gate;
mod message;

mod https;
mod p2p;

pub use body::STEP_LEN;
pub use holder::{
    BatchProof, CURSOR_LEN_MAX, Cursor, Holder, HolderError, Offers, PAGE_LEN_MAX, PeerId,
    SIBLINGS_MAX,
};
pub use https::{HttpsPeer, HttpsSettings, Requester, SignRequest, Statement, router};
pub use incoming::Incoming;
pub use message::BadMessage;
pub use p2p::{ALPN, BadPeerId, IrohPeer, Node, NodeSettings, StartError};
pub use report::{Failure, NAMED_MAX, Report, Versions};
pub use sync::{Expected, Receiver, SyncSettings};
pub use transport::{BodyStream, TransferError, Transport, Wanted};
