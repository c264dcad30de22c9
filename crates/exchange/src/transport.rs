//! One other holder, and a way to reach it.

use std::error;

use axum::body::Bytes;
use domain::RecordDigest;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

use crate::holder::{Cursor, Offers};

/// Sealed bytes as they arrive.
pub type BodyStream = BoxStream<'static, Result<Bytes, TransferError>>;

/// Sealed bytes that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// What they should hash to.
    pub digest: RecordDigest,
    /// How long they should be, in bytes.
    pub sealed_len: u64,
}

/// One other holder, and a way to reach it. What it says is not believed: see [`Receiver`](crate::Receiver).
pub trait Transport: Send + Sync {
    /// A page of what it has for us.
    ///
    /// # Errors
    ///
    /// See [`TransferError`].
    fn offers(&self, after: Option<Cursor>) -> BoxFuture<'_, Result<Offers, TransferError>>;

    /// The sealed bytes from the byte `from` on. No more and no fewer than the rest come, or an error.
    ///
    /// # Errors
    ///
    /// See [`TransferError`].
    fn fetch(&self, wanted: Wanted, from: u64) -> BoxFuture<'_, Result<BodyStream, TransferError>>;
}

/// Why something did not come.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The other side does not give it to us, or no longer, or does not have it.
    #[error("the peer does not give it")]
    Refused,
    /// The other side cannot say now.
    #[error("the peer cannot answer now")]
    Unavailable,
    /// What came is not what this version of the exchange says it should be.
    #[error("the peer does not keep to the protocol")]
    Malformed,
    /// The other side could not be reached, or the connection broke. What came before it is good.
    #[error("the connection to the peer was interrupted")]
    Interrupted(#[source] Box<dyn error::Error + Send + Sync>),
    /// We could not sign the request.
    #[error("the request could not be signed")]
    Sign(#[source] Box<dyn error::Error + Send + Sync>),
}

impl TransferError {
    pub(crate) fn interrupted(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self::Interrupted(source.into())
    }

    /// Whether asking the same peer at once may help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Interrupted(_))
    }
}
