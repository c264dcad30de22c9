//! A small issuer for development and demonstrations, which lets anybody sign in as anybody.
//!
//! **Not for real people's data.** It asks for no password: whoever opens its page picks who they want to
//! be. It exists so that apps can be tried against a gateway without an identity provider, and so that
//! tests can drive the whole SMART launch. It is off unless somebody configures it, and says on its own
//! page and in the log what it is. An institution uses its own identity provider.
//!
//! What it does is nevertheless done as the standards want, so that an app which works here works
//! elsewhere: authorization codes with PKCE (`S256` only), exact redirect addresses, codes that serve
//! once and briefly, and backend services that sign assertions which serve once. It has no refresh
//! tokens, no sessions and no cookies, keeps everything in memory, and bounds all that it keeps. A token
//! cannot be taken back; it ends by itself.
//!
//! # Source
//!
//! SMART App Launch 2.2.0; RFC 6749, 7523, 7636, 8414; OpenID Connect Core and Discovery 1.0.

mod assertion;
mod authorize;
mod grants;
mod page;
mod params;
mod signing;
mod token;

use std::{collections::HashSet, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::{Method, header},
    response::Html,
    routing::get,
};
use domain::Timestamp;
use parking_lot::Mutex;
use rand_core::CryptoRng;
use serde_json::{Map, Value, json};
use tower_http::cors::{Any, CorsLayer};
use url::Url;
use zeroize::Zeroizing;

use self::{assertion::Assertions, grants::Grants, signing::Signer};
use crate::{AuthorizationServer, Keys, ScopeError, Scopes, discovery};

/// The longest request, in bytes.
const REQUEST_BYTES_MAX: usize = 32 * 1_024;

/// Claims that the issuer sets itself, and nobody sets for it.
const RESERVED_CLAIMS: &[&str] =
    &["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "azp", "scope", "scp", "nonce"];

/// Somebody whom everybody may sign in as.
pub struct Person {
    /// Their `sub`.
    pub subject: String,
    /// What stands on the page.
    pub name: String,
    /// What else tokens say of them, such as `fhirUser`, `patient` (given only with a scope for it),
    /// `purpose_of_use` or `salus_member`.
    pub claims: Map<String, Value>,
}

/// An app or a backend service that may ask for tokens.
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// Where it may have people sent back to, exactly as it says it. Without any, nobody signs in there.
    pub redirect_uris: Vec<String>,
    /// The keys with which it signs who it is. Without any it is a public app, which PKCE protects.
    pub keys: Option<Keys>,
    /// The most that it can be granted.
    pub scopes: String,
    /// What tokens of its own, without a person, say besides.
    pub claims: Map<String, Value>,
}

/// How a development issuer works.
pub struct IssuerSettings {
    /// Its name and the address that its router is served under, such as `http://localhost:8081/dev`.
    pub url: String,
    /// The FHIR base address that its tokens are for.
    pub audience: String,
    /// Where its signing key comes from. The same seed gives the same key.
    pub signing_seed: Zeroizing<[u8; 32]>,
    /// Who can be picked.
    pub people: Vec<Person>,
    /// Who may ask.
    pub clients: Vec<Client>,
    /// How long a code serves. A minute is plenty.
    pub code_lifetime: Duration,
    /// How long a token serves.
    pub token_lifetime: Duration,
}

/// Why a development issuer cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum IssuerError {
    /// Its address is no `http` or `https` address, or has a query or a fragment.
    #[error("the issuer's address is no plain http or https address")]
    Address,
    /// A person or a client is there twice.
    #[error("`{id}` is there twice")]
    Repeated {
        /// Which.
        id: String,
    },
    /// Claims are set that the issuer sets itself.
    #[error("the claim `{claim}` is the issuer's own")]
    ReservedClaim {
        /// Which.
        claim: String,
    },
    /// A redirect address is not absolute, has a fragment, or is of a scheme that runs scripts.
    #[error("a redirect address of client `{client}` cannot be used")]
    RedirectUri {
        /// Of which client.
        client: String,
    },
    /// A client has neither an address to send people back to nor a key that can be used.
    #[error("client `{client}` could never get a token")]
    UselessClient {
        /// Which.
        client: String,
    },
    /// A client's scopes cannot be read.
    #[error("the scopes of client `{client}` cannot be read")]
    Scopes {
        /// Which.
        client: String,
        /// Why.
        #[source]
        source: ScopeError,
    },
}

/// A client and what its settings come to.
struct Registered {
    client: Client,
    scopes: Scopes,
}

struct Inner {
    settings: IssuerSettings,
    clients: Vec<Registered>,
    signer: Signer,
    rng: Mutex<Box<dyn CryptoRng + Send>>,
    clock: Box<dyn Fn() -> Timestamp + Send + Sync>,
    grants: Mutex<Grants>,
    assertions: Mutex<Assertions>,
}

/// An issuer that lets anybody sign in as anybody. Clones are the same one.
#[derive(Clone)]
pub struct DevelopmentIssuer(Arc<Inner>);

impl DevelopmentIssuer {
    /// An issuer with these settings, which draws codes from `rng` and tells time by `clock`.
    ///
    /// # Errors
    ///
    /// [`IssuerError`] says which setting makes no sense.
    pub fn new(
        mut settings: IssuerSettings,
        rng: impl CryptoRng + Send + 'static,
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Self, IssuerError> {
        let url = Url::parse(&settings.url).map_err(|_| IssuerError::Address)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none();
        if !plain {
            return Err(IssuerError::Address);
        }
        settings.url.truncate(settings.url.trim_end_matches('/').len());
        check_people(&settings.people)?;
        let clients = register(std::mem::take(&mut settings.clients))?;
        tracing::warn!(
            issuer = settings.url,
            "a development issuer is on: anybody who reaches it can sign in as anybody"
        );
        Ok(Self(Arc::new(Inner {
            signer: Signer::derive(&settings.signing_seed),
            settings,
            clients,
            rng: Mutex::new(Box::new(rng)),
            clock: Box::new(clock),
            grants: Mutex::default(),
            assertions: Mutex::default(),
        })))
    }

    /// Its pages, to be served under its address.
    pub fn router(&self) -> Router {
        // Apps in browsers read these from other origins. No cookie or password is involved, so any
        // origin may; the page where people are picked is not among them.
        let cors = |method| {
            let headers = [header::ACCEPT, header::CONTENT_TYPE];
            CorsLayer::new().allow_origin(Any).allow_methods([method]).allow_headers(headers)
        };
        let metadata = get(metadata).layer(cors(Method::GET));
        Router::new()
            .route("/", get(about))
            .route("/.well-known/openid-configuration", metadata.clone())
            .route("/.well-known/oauth-authorization-server", metadata)
            .route("/jwks", get(jwks).layer(cors(Method::GET)))
            .route("/authorize", get(authorize::show).post(authorize::choose))
            .route("/token", axum::routing::post(token::issue).layer(cors(Method::POST)))
            .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
            .with_state(self.clone())
    }

    /// Its public keys, as at `/jwks`.
    #[must_use]
    pub fn jwks(&self) -> Value {
        self.0.signer.jwks()
    }

    /// How clients have to know it, for [`discovery()`].
    #[must_use]
    pub fn server(&self) -> AuthorizationServer {
        let at = |path: &str| format!("{}/{path}", self.0.settings.url);
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        AuthorizationServer {
            issuer: self.0.settings.url.clone(),
            authorization_endpoint: Some(at("authorize")),
            token_endpoint: at("token"),
            jwks_uri: at("jwks"),
            grant_types: texts(&["authorization_code", "client_credentials"]),
            client_authentication: texts(&["none", "private_key_jwt"]),
            capabilities: texts(&[
                "launch-standalone",
                "authorize-post",
                "client-public",
                "client-confidential-asymmetric",
                "sso-openid-connect",
                "context-standalone-patient",
            ]),
        }
    }

    fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// A text that nobody can guess: 256 bits.
    fn draw(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let mut bytes = [0; 32];
        self.0.rng.lock().fill_bytes(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn client(&self, id: &str) -> Option<&Registered> {
        self.0.clients.iter().find(|known| known.client.id == id)
    }

    fn person(&self, subject: &str) -> Option<&Person> {
        self.0.settings.people.iter().find(|person| person.subject == subject)
    }
}

impl std::fmt::Debug for DevelopmentIssuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevelopmentIssuer")
            .field("url", &self.0.settings.url)
            .finish_non_exhaustive()
    }
}

async fn about(State(issuer): State<DevelopmentIssuer>) -> Html<String> {
    Html(page::about(&issuer.0.settings.url))
}

async fn jwks(State(issuer): State<DevelopmentIssuer>) -> Json<Value> {
    Json(issuer.jwks())
}

async fn metadata(State(issuer): State<DevelopmentIssuer>) -> Json<Value> {
    let mut metadata = discovery(&issuer.server(), authorize::SCOPES);
    // What OpenID Connect wants besides.
    metadata["subject_types_supported"] = json!(["public"]);
    metadata["id_token_signing_alg_values_supported"] = json!(["ES256"]);
    metadata["token_endpoint_auth_signing_alg_values_supported"] =
        json!(["RS256", "RS384", "ES256", "ES384", "EdDSA"]);
    Json(metadata)
}

fn check_people(people: &[Person]) -> Result<(), IssuerError> {
    let mut seen = HashSet::new();
    for person in people {
        if !seen.insert(&person.subject) {
            return Err(IssuerError::Repeated { id: person.subject.clone() });
        }
        check_claims(&person.claims)?;
    }
    Ok(())
}

fn check_claims(claims: &Map<String, Value>) -> Result<(), IssuerError> {
    match claims.keys().find(|claim| RESERVED_CLAIMS.contains(&claim.as_str())) {
        Some(claim) => Err(IssuerError::ReservedClaim { claim: claim.clone() }),
        None => Ok(()),
    }
}

fn register(clients: Vec<Client>) -> Result<Vec<Registered>, IssuerError> {
    let mut registered: Vec<Registered> = Vec::new();
    for client in clients {
        let id = || client.id.clone();
        if registered.iter().any(|earlier| earlier.client.id == client.id) {
            return Err(IssuerError::Repeated { id: id() });
        }
        check_claims(&client.claims)?;
        if !client.redirect_uris.iter().all(|uri| is_redirect(uri)) {
            return Err(IssuerError::RedirectUri { client: id() });
        }
        let signs = client.keys.as_ref().is_some_and(|keys| !keys.is_empty());
        if !signs && (client.redirect_uris.is_empty() || client.keys.is_some()) {
            return Err(IssuerError::UselessClient { client: id() });
        }
        let scopes = Scopes::parse(&client.scopes)
            .map_err(|source| IssuerError::Scopes { client: id(), source })?;
        registered.push(Registered { client, scopes });
    }
    Ok(registered)
}

/// Whether people may be sent there: web pages, and apps under a name of their own (RFC 8252, section
/// 7.1), whose schemes have a dot. That leaves out `javascript:`, `data:` and the like.
fn is_redirect(uri: &str) -> bool {
    let Ok(url) = Url::parse(uri) else { return false };
    let scheme = url.scheme();
    url.fragment().is_none() && (matches!(scheme, "http" | "https") || scheme.contains('.'))
}
