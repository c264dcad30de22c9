//! What went wrong with a page, as whoever asked for it is told: what happened, and what to do.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};

/// Why there is no page. A text is for people; it never quotes what was typed in or read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nobody is signed in, or nobody any more.
    SignedOut,
    /// Whoever asks may not; the reason in the gateway's words.
    Refused(String),
    /// There is no such thing, or none for whoever asks.
    NotFound,
    /// What was sent is not what is expected, in words for whoever sent it.
    Unusable(String),
    /// The chain or a rule of the workflow does not allow it.
    NotAllowed(String),
    /// Too often; in so many seconds again.
    TooOften(u64),
    /// The gateway or the chain cannot be asked now.
    Unavailable,
}

impl Fault {
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::SignedOut => StatusCode::UNAUTHORIZED,
            Self::Refused(_) => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Unusable(_) => StatusCode::BAD_REQUEST,
            Self::NotAllowed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooOften(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for Fault {
    /// An empty answer that holds the fault: `admit` makes a page, or JSON, of it, in the visitor's language.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<crate::home::HomeError> for Fault {
    fn from(error: crate::home::HomeError) -> Self {
        tracing::warn!(%error, "the portal could not ask");
        Self::Unavailable
    }
}
