//! Why a request is refused before anybody looks at what it asks for.

use axum::http::StatusCode;

use crate::token::TOKEN_BYTES_MAX;

/// Why a token lets nobody in, or not to what was asked for.
///
/// A message never repeats anything of the token, so it can be answered and logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no bearer token.
    #[error("the request carries no bearer token")]
    Missing,
    /// The token is too long to be read.
    #[error("the token is longer than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// The token is no JWT with a signature, or has claims of the wrong form.
    #[error("the token is no well-formed signed JWT")]
    Malformed,
    /// The token is of a type that grants no access, such as one for signing out.
    #[error("the token is of a type that grants no access")]
    WrongType,
    /// The algorithm is not supported, or is not the one that the key is for.
    #[error("the token's algorithm is not the one that its key is for")]
    Algorithm,
    /// Nobody here trusts its issuer.
    #[error("the token's issuer is not trusted here")]
    UnknownIssuer,
    /// Its issuer publishes no such key.
    #[error("the token's issuer publishes no such key")]
    UnknownKey,
    /// The signature does not hold.
    #[error("the token's signature does not hold")]
    Signature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It is meant for another server.
    #[error("the token is meant for another audience")]
    Audience,
    /// A claim is missing, or cannot be acted on.
    #[error("the token's claim `{claim}` is missing or cannot be used")]
    Claim {
        /// Which.
        claim: &'static str,
    },
    /// The issuer's keys could not be had. Asking again may succeed.
    #[error("the keys of the token's issuer cannot be had at present")]
    KeysUnavailable,
    /// The token is good, and its scopes do not reach what was asked for.
    #[error("the token's scopes do not reach this")]
    InsufficientScope,
}

impl Refusal {
    /// The status of the answer: 401 when another token is needed, 403 when a wider one is, 503 when
    /// the same one may do later.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// The error code of the challenge; none when no token came, or when the token is not at fault.
    ///
    /// # Source
    ///
    /// RFC 6750, section 3.1.
    #[must_use]
    pub const fn code(self) -> Option<&'static str> {
        match self {
            Self::Missing | Self::KeysUnavailable => None,
            Self::InsufficientScope => Some("insufficient_scope"),
            _ => Some("invalid_token"),
        }
    }

    /// Whether the same request may succeed later with nothing else changed.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::KeysUnavailable)
    }

    /// The value of the answer's `WWW-Authenticate`.
    #[must_use]
    pub fn challenge(self) -> String {
        match self.code() {
            None => "Bearer realm=\"fhir\"".into(),
            // The messages have no quotation marks or backslashes that would end the text early.
            Some(code) => {
                format!("Bearer realm=\"fhir\", error=\"{code}\", error_description=\"{self}\"")
            }
        }
    }
}
