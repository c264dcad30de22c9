//! Tokens that a process gives to itself: for what it asks of its own interfaces in somebody's name.
//!
//! Whoever uses this has made sure who that somebody is. The key is in memory, new at each start, and no token of it
//! leaves the process; each lasts a minute.

use std::time::Duration;

use domain::{Address, Timestamp};
use serde_json::{Map, json};

use crate::{KeySource, Keys, KeysError, TrustedIssuer, issuer::signing::Signer};

/// Keeps the key apart from whatever else is derived from the same seed.
const LABEL: &[u8] = b"salus tokens of the process, signing key, version 1";

/// How long a token lasts.
const LIFETIME: Duration = Duration::from_secs(60);

/// The client that such tokens name.
const CLIENT: &str = "salus-portal";

/// Gives tokens to its own process.
pub struct OwnIssuer {
    signer: Signer,
    name: String,
    audience: String,
}

impl OwnIssuer {
    /// The issuer `name`, whose tokens are for `audience`. `seed` is random and used for nothing else.
    #[must_use]
    pub fn new(seed: &[u8; 32], name: impl Into<String>, audience: impl Into<String>) -> Self {
        Self { signer: Signer::derive(LABEL, seed), name: name.into(), audience: audience.into() }
    }

    /// What a verifier has to trust.
    ///
    /// # Errors
    ///
    /// [`KeysError`] when the key has no form as a set, which it has.
    pub fn trusted(&self) -> Result<TrustedIssuer, KeysError> {
        let keys = Keys::parse(self.signer.jwks().to_string().as_bytes())?;
        let keys = KeySource::Fixed(keys);
        Ok(TrustedIssuer { issuer: self.name.clone(), keys, names_members: true })
    }

    /// A token for a member, or for a patient by account, of everything that they may do.
    #[must_use]
    pub fn token(&self, who: Address, is_patient: bool, now: Timestamp) -> String {
        let who = who.to_string();
        let scope = if is_patient { "patient/*.cruds user/*.cruds" } else { "user/*.cruds" };
        let mut claims = Map::new();
        for (name, value) in [
            ("iss", json!(self.name)),
            ("aud", json!(self.audience)),
            ("sub", json!(who)),
            ("client_id", json!(CLIENT)),
            ("scope", json!(scope)),
            ("salus_member", json!(who)),
            ("iat", json!(now.0)),
            ("exp", json!(now.after(LIFETIME).0)),
        ] {
            claims.insert(name.into(), value);
        }
        if is_patient {
            claims.insert("patient".into(), json!(who));
        }
        self.signer.sign("at+jwt", &claims)
    }
}
