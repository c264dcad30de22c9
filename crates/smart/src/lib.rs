//! Tell who asks, by a SMART token.
//!
//! A [`Verifier`] reads the access tokens of the issuers that an institution trusts, and says who calls
//! and what the token lets them ask for: a [`Caller`] with [`Scopes`]. [`discovery()`] is what a FHIR
//! server publishes about where such tokens come from. [`issuer`] is a small issuer for development.
//!
//! A scope only ever narrows. That a token may ask for a patient's observations does not mean that the
//! patient agreed: consent is decided elsewhere, record by record (S2), and a token never widens it.
//!
//! What must stay true:
//!
//! - Nothing in a token is believed before its signature holds under a key of its issuer, and the
//!   algorithm is the one that this key is for. `none` and shared secrets do not exist here.
//! - What is not understood grants nothing, and what would have to be enforced and cannot be is refused.
//! - No token, name or number of a person stands in an error, a log or a `Debug` text (S1).
//! - Clocks and random bytes are arguments (S9).
//!
//! # Source
//!
//! SMART App Launch 2.2.0; RFC 7515, 7517, 7519 (tokens and keys), 6750 (bearer tokens), 7523 and 7636
//! (client assertions, PKCE), 8414 (metadata), 9068 (access tokens as JWT).

mod caller;
mod claims;
mod discovery;
pub mod issuer;
mod key_cache;
mod keys;
mod proven;
mod refusal;
mod scopes;
mod token;
mod verifier;

pub use caller::Caller;
pub use discovery::{AuthorizationServer, discovery};
pub use key_cache::KeySource;
pub use keys::{Keys, KeysError};
pub use refusal::Refusal;
pub use scopes::{
    Interaction, Level, Reach, ResourceScope, Restriction, SCOPES_BYTES_MAX, SCOPES_MAX, Scope,
    ScopeError, Scopes,
};
pub use token::TOKEN_BYTES_MAX;
pub use verifier::{Settings, SetupError, TrustedIssuer, Verifier, bearer};
