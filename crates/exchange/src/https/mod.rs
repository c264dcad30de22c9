//! The exchange over HTTPS: pulled by whoever should have it, where UDP is closed.
//!
//! ```text
//! GET /exchange/v1/offers?after=HEX     a page of offers, as `Offers::to_bytes` writes it
//! GET /exchange/v1/blobs/DIGEST         sealed bytes; with `Range: bytes=N-` those from N on
//! PUT /exchange/v1/peers/PEER?key=HEX   a patient's account says that it holds copies at this peer, and
//!                                       to which key records are to be sealed where none is known
//! DELETE /exchange/v1/peers/PEER        … and that it no longer does
//!
//! authorization: Salus-Exchange REQUESTER.NONCE.DEADLINE.SIGNATURE
//! ```
//!
//! Each request is signed by itself ([`Statement`]): there are no sessions that could outlive a key. TLS
//! is in front of the gateway. It is not what shows who asks; without it, others see which digests are
//! asked for, and cannot ask.
//!
//! | status | meaning |
//! |---|---|
//! | 401 | the signature is missing, too old, used before, or of nobody in force |
//! | 403 | this member does not get it, or it is not here: the same answer for both |
//! | 416 | the range is none of these bytes |
//! | 503 | the holder cannot say now |

mod peer;
mod serving;
mod statement;

pub use peer::{HttpsPeer, Requester, SignRequest};
pub use serving::{HttpsSettings, router};
pub use statement::Statement;
