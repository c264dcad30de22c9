//! From a token to who calls.

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderMap, header::AUTHORIZATION};
use domain::Timestamp;

use crate::{
    Caller, KeySource, Refusal,
    claims::{Claims, Expectations},
    key_cache::KeyCache,
    proven::Proven,
    token::Unverified,
};

/// The types of token that grant access: none said, any JWT, and the one of RFC 9068.
const ACCESS_TYPES: &[&str] = &["jwt", "at+jwt"];

/// How tokens are judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The audiences that are us: the FHIR base address as clients know it. A token must name one.
    pub audiences: Vec<String>,
    /// By how much the issuers' clocks may differ from ours.
    pub leeway: Duration,
    /// How often the keys of one issuer are fetched at most.
    pub refresh_interval: Duration,
    /// How old keys may become before they are fetched again, so that a withdrawn one stops serving.
    pub keys_age_max: Duration,
    /// How long a fetch may take, from connecting to the last byte.
    pub fetch_timeout: Duration,
    /// Whether keys may come by plain `http` from other machines. Only for networks that nobody else
    /// can reach.
    pub allow_plain_http: bool,
}

impl Settings {
    /// The settings of a server with these audiences.
    #[must_use]
    pub fn new(audiences: Vec<String>) -> Self {
        Self {
            audiences,
            leeway: Duration::from_secs(30),
            refresh_interval: Duration::from_secs(60),
            keys_age_max: Duration::from_secs(60 * 60),
            fetch_timeout: Duration::from_secs(5),
            allow_plain_http: false,
        }
    }
}

/// An issuer whose tokens are believed.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// Its name, exactly as in the claim `iss`.
    pub issuer: String,
    /// Where its keys are.
    pub keys: KeySource,
    /// Whether it may say, in the claim `salus_member`, for which member of the network somebody acts.
    /// The claim of any other issuer is ignored.
    pub names_members: bool,
}

/// Why a verifier cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No audience is configured, so every token would be refused.
    #[error("no audience is configured")]
    NoAudience,
    /// No issuer is configured, so every token would be refused.
    #[error("no issuer is configured")]
    NoIssuer,
    /// An issuer is configured twice.
    #[error("the issuer `{issuer}` is configured twice")]
    RepeatedIssuer {
        /// Its name.
        issuer: String,
    },
    /// The address of keys is no `https`, and no `http` on this machine.
    #[error("the keys of an issuer must come by https, or by http from this machine")]
    KeysAddress,
    /// An issuer was given fixed keys of which none can be used.
    #[error("the issuer `{issuer}` has no key that can be used")]
    NoKeys {
        /// Its name.
        issuer: String,
    },
    /// No HTTPS client could be made, for example because this machine has no root certificates.
    #[error("no client for fetching keys could be made")]
    Client(#[source] reqwest::Error),
}

struct Issuer {
    name: String,
    names_members: bool,
    keys: Arc<KeyCache>,
}

/// Tells who calls.
pub struct Verifier {
    settings: Settings,
    issuers: Vec<Issuer>,
    proven: Proven,
}

impl Verifier {
    /// A verifier that believes these issuers. Nothing is fetched before the first token comes.
    ///
    /// # Errors
    ///
    /// [`SetupError`] says which setting makes no sense.
    pub fn new(settings: Settings, issuers: Vec<TrustedIssuer>) -> Result<Self, SetupError> {
        if settings.audiences.is_empty() {
            return Err(SetupError::NoAudience);
        }
        if issuers.is_empty() {
            return Err(SetupError::NoIssuer);
        }
        let mut known: Vec<Issuer> = Vec::new();
        for TrustedIssuer { issuer, keys, names_members } in issuers {
            if known.iter().any(|earlier| earlier.name == issuer) {
                return Err(SetupError::RepeatedIssuer { issuer });
            }
            if matches!(&keys, KeySource::Fixed(keys) if keys.is_empty()) {
                return Err(SetupError::NoKeys { issuer });
            }
            let keys = KeyCache::new(&issuer, keys, &settings)?;
            known.push(Issuer { name: issuer, names_members, keys });
        }
        Ok(Self { settings, issuers: known, proven: Proven::default() })
    }

    /// Who calls with this access token at the time `now`.
    ///
    /// May fetch the issuer's keys, and so must run in a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`Refusal`] says what is wrong with the token, and which answer that deserves.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Caller, Refusal> {
        let token = Unverified::parse(token, ACCESS_TYPES)?;
        let claims: Claims = token.claims()?;
        // Up to the check, the claims only tell whose key to look for.
        let issuer = self.issuers.iter().find(|known| Some(&known.name) == claims.iss.as_ref());
        let issuer = issuer.ok_or(Refusal::UnknownIssuer)?;
        let key = issuer.keys.find(token.key_id(), now).await?;
        self.proven.check(&token, &key)?;

        let expected =
            Expectations { audiences: &self.settings.audiences, leeway: self.settings.leeway, now };
        claims.into_caller(&expected, issuer.names_members)
    }

    /// The issuers of which no keys are known, after fetching those that are due: for a start that says
    /// early what would fail later, and for whoever asks whether this server is ready.
    ///
    /// Must run in a Tokio runtime.
    pub async fn issuers_without_keys(&self, now: Timestamp) -> Vec<&str> {
        let mut without = Vec::new();
        for issuer in &self.issuers {
            if !issuer.keys.is_ready(now).await {
                without.push(issuer.name.as_str());
            }
        }
        without
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    ///
    /// As [`verify`](Self::verify), and [`Refusal::Missing`] without a token.
    pub async fn verify_request(
        &self,
        headers: &HeaderMap,
        now: Timestamp,
    ) -> Result<Caller, Refusal> {
        self.verify(bearer(headers)?, now).await
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let issuers: Vec<&str> = self.issuers.iter().map(|issuer| issuer.name.as_str()).collect();
        f.debug_struct("Verifier")
            .field("settings", &self.settings)
            .field("issuers", &issuers)
            .finish_non_exhaustive()
    }
}

/// The token in a request's `Authorization: Bearer` header, the only place where one is looked for: what
/// stands in an address ends up in logs.
///
/// # Errors
///
/// [`Refusal::Missing`] without such a header, [`Refusal::Malformed`] with several.
pub fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let value = value.to_str().map_err(|_| Refusal::Malformed)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Ok(token.trim_matches(' '))
        }
        _ => Err(Refusal::Missing),
    }
}
