//! What one gateway serves: FHIR with its tokens, and how it fares.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{Method, StatusCode, header},
    middleware::from_fn_with_state,
    response::{IntoResponse as _, Response},
    routing::{MethodRouter, any, get},
};
use serde_json::{Value, json};
use smart::{
    AuthorizationServer, KeySource, Keys, TrustedIssuer, Verifier, discovery,
    issuer::DevelopmentIssuer,
};
use tokio::net::TcpListener;
use tower::ServiceExt as _;
use tower_http::{
    cors::{Any, CorsLayer},
    limit::RequestBodyLimitLayer,
};
use url::Url;
use workflows::{Gateway, laboratory_messages::MessageDesk};

use super::{
    api::Api,
    authenticator::TokenAuthenticator,
    exchanging::Others,
    figures::Figures,
    guard::{API, FHIR, Guard, guard},
    health::Health,
    issuing::{Somebody, development_issuer},
    notifying::Notifying,
    patients::RegisteredPatients,
    server::Server,
    settings::{ApiSettings, Limits, SmartSettings},
};
use crate::{Error, institution::Secrets, system::real_time_ms};

/// Scopes that are offered, as examples.
const SCOPES: &[&str] = &["openid", "fhirUser", "launch/patient", "patient/*.rs", "user/*.cruds"];

const DISCOVERY: &str = "/.well-known/smart-configuration";

/// How a site is set up.
pub(crate) struct SiteSettings {
    /// The URL at which clients reach `/fhir`; by the address when there is none.
    pub(crate) base_url: Option<Url>,
    /// What clients may ask for at once.
    pub(crate) limits: Limits,
    /// Whose tokens are believed.
    pub(crate) smart: SmartSettings,
    /// How old the chain's newest block may be.
    pub(crate) head_age_max: Option<std::time::Duration>,
    /// Notifications, and the interface beside FHIR.
    pub(crate) api: ApiSettings,
    /// Who can be picked at the development issuer.
    pub(crate) people: Vec<Somebody>,
    /// The routes over which other holders ask, and how those fare.
    pub(crate) exchange: Option<(Router, Arc<Others>)>,
    /// Where a laboratory takes HL7 v2 messages in.
    pub(crate) messages: Option<MessageDesk>,
}

/// A gateway that is served.
pub(crate) struct Site {
    server: Server,
    guard: Guard,
    limits: Limits,
    notifying: Arc<Notifying>,
    /// What is served over FHIR.
    pub(crate) resources: fhir::Resources,
    /// The FHIR interface's address, as clients know it.
    pub(crate) base_url: String,
    /// Who lets anybody sign in as anybody, when that is on.
    pub(crate) issuer: Option<DevelopmentIssuer>,
}

impl Site {
    /// Serves a gateway on `listener`.
    pub(crate) async fn start(
        gateway: &Gateway,
        secrets: &Secrets,
        settings: SiteSettings,
        listener: TcpListener,
    ) -> Result<Self, Error> {
        let address = listener.local_addr()?;
        let base_url = base_url(settings.base_url.as_ref(), address);
        let audience = settings.smart.audience.clone().unwrap_or_else(|| base_url.clone());
        let origin = base_url.strip_suffix(FHIR).unwrap_or(&base_url);
        let issuer = if settings.smart.development_issuer {
            let (url, entropy) = (format!("{origin}/auth"), gateway.gatekeeper.entropy());
            let (seed, clients) = (&secrets.issuer_seed, &settings.smart.clients);
            Some(development_issuer(&url, &audience, seed, settings.people, clients, entropy)?)
        } else {
            None
        };
        let document = smart_configuration(&settings.smart, issuer.as_ref());
        let verifier = verifier(audience, &settings.smart, issuer.as_ref())?;
        let members = settings.smart.issuers.iter();
        let members: HashMap<_, _> =
            members.map(|issuer| (issuer.issuer.clone(), issuer.members.clone())).collect();
        let authenticator = TokenAuthenticator::new(gateway.clone(), verifier, members);
        let resources = fhir::Resources::open(
            gateway.clone(),
            Arc::new(RegisteredPatients::new(gateway.clone())),
            *secrets.index_key,
            *secrets.directory_key,
            real_time_ms,
            &base_url,
        )
        .await?;
        let keyring = Arc::clone(&secrets.keyring);
        let notifying =
            Arc::new(Notifying::start(gateway, keyring, settings.api, &resources).await?);
        let authenticator = Arc::new(authenticator);
        let api = Api::open(gateway, &authenticator, &notifying, settings.api).await?;
        let figures = Arc::new(Figures::new(
            gateway.clone(),
            Arc::clone(&notifying),
            settings.exchange.as_ref().map(|(_, others)| Arc::clone(others)),
        )?);
        figures.begin().await;
        let guard = Guard::new(Arc::clone(&figures), settings.limits);
        let (exchange, others) = settings.exchange.unzip();
        let parts = Parts {
            messages: settings.messages.map(|desk| api.clone().messages_router(desk)),
            exchange,
            fhir: fhir::router(resources.clone(), authenticator),
            api: api.router(),
            issuer: issuer.as_ref().map(DevelopmentIssuer::router),
            document,
            health: Arc::new(Health::new(
                gateway.clone(),
                settings.head_age_max,
                Arc::clone(&notifying),
                others,
            )),
            figures,
        };
        let server =
            Server::start(listener, router(parts, &guard, settings.limits), settings.limits)?;
        let limits = settings.limits;
        Ok(Self { server, guard, limits, notifying, resources, base_url, issuer })
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Takes no more requests and finishes those in work, within the time that the limits give each.
    pub(crate) async fn stop(self) {
        // Streams of events have no end of their own.
        self.notifying.end();
        self.server.stop().await;
        if tokio::time::timeout(self.limits.stop_timeout, self.guard.idle()).await.is_err() {
            tracing::warn!("requests in work were given up");
        }
        self.notifying.stopped(self.limits.stop_timeout).await;
    }
}

/// What is served, by path.
struct Parts {
    fhir: Router,
    api: Router,
    messages: Option<Router>,
    exchange: Option<Router>,
    issuer: Option<Router>,
    document: Option<Value>,
    health: Arc<Health>,
    figures: Arc<Figures>,
}

/// The base of an interface with a slash at its end, which nesting does not know.
fn at_base(interface: Router) -> MethodRouter {
    any(async move |mut request: Request| {
        let query = request.uri().query().map_or_else(String::new, |query| format!("?{query}"));
        let uri = format!("/{query}").parse();
        *request.uri_mut() = uri.expect("the query is one of a URL already");
        interface.oneshot(request).await
    })
}

fn router(parts: Parts, passing: &Guard, limits: Limits) -> Router {
    let Parts { fhir, api, messages, exchange, issuer, document, health, figures } = parts;
    let mut router = Router::new()
        .route("/healthz", get(|| async { Json(json!({ "alive": true })) }))
        .route("/readyz", get(ready).with_state(health))
        .route("/metrics", get(measured).with_state(figures))
        .route(&format!("{FHIR}/"), at_base(fhir.clone()))
        .nest(FHIR, fhir)
        .nest(API, api);
    if let Some(messages) = messages {
        router = router.merge(messages);
    }
    if let Some(exchange) = exchange {
        // At the root, because the whole path is signed.
        router = router.merge(exchange);
    }
    if let Some(document) = document {
        let cors = CorsLayer::new()
            .allow_origin(Any)
            .allow_methods([Method::GET])
            .allow_headers([header::ACCEPT]);
        let discovered = get(move || async move { Json(document) }).layer(cors);
        router = router
            .route(DISCOVERY, discovered.clone())
            .route(&format!("{FHIR}{DISCOVERY}"), discovered);
    }
    if let Some(issuer) = issuer {
        router = router.nest("/auth", issuer);
    }
    router
        .fallback(|| async {
            let text = "there is nothing here; the FHIR interface is at /fhir";
            (StatusCode::NOT_FOUND, Json(json!({ "error": text })))
        })
        .layer(RequestBodyLimitLayer::new(limits.body_bytes))
        .layer(from_fn_with_state(passing.clone(), guard))
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let (is_ready, state) = health.ready().await;
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(state)).into_response()
}

async fn measured(State(figures): State<Arc<Figures>>) -> Response {
    // The version of the text format that Prometheus asks for.
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, figures.render().await).into_response()
}

/// The URL above `/fhir`, as clients know it.
pub(super) fn origin(configured: Option<&Url>, address: SocketAddr) -> String {
    let base_url = base_url(configured, address);
    base_url.strip_suffix(FHIR).unwrap_or(&base_url).to_owned()
}

fn base_url(configured: Option<&Url>, address: SocketAddr) -> String {
    match configured {
        Some(url) => url.as_str().trim_end_matches('/').to_owned(),
        None => format!("http://{address}{FHIR}"),
    }
}

fn verifier(
    audience: String,
    settings: &SmartSettings,
    development: Option<&DevelopmentIssuer>,
) -> Result<Verifier, Error> {
    let mut issuers = Vec::new();
    for issuer in &settings.issuers {
        let keys = match (&issuer.jwks, issuer.jwks_file()) {
            (Some(url), _) => KeySource::Url(url.clone()),
            (None, Some(file)) => KeySource::File(file),
            (None, None) => return Err("an issuer needs `jwks` or `jwks_file`".into()),
        };
        let (issuer, names_members) = (issuer.issuer.clone(), issuer.names_members);
        issuers.push(TrustedIssuer { issuer, keys, names_members });
    }
    if let Some(development) = development {
        let keys = Keys::parse(development.jwks().to_string().as_bytes())?;
        issuers.push(TrustedIssuer {
            issuer: development.server().issuer,
            keys: KeySource::Fixed(keys),
            names_members: true,
        });
    }
    Ok(Verifier::new(smart::Settings::new(vec![audience]), issuers)?)
}

/// Where tokens come from: the first identity provider that says where its endpoints are, or else the
/// development issuer.
fn smart_configuration(
    settings: &SmartSettings,
    development: Option<&DevelopmentIssuer>,
) -> Option<Value> {
    let configured = settings.issuers.iter().find_map(|issuer| {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Some(AuthorizationServer {
            issuer: issuer.issuer.clone(),
            authorization_endpoint: issuer.authorization_endpoint.as_ref().map(Url::to_string),
            token_endpoint: issuer.token_endpoint.as_ref()?.to_string(),
            jwks_uri: issuer.jwks.as_ref()?.to_string(),
            grant_types: texts(&["authorization_code", "client_credentials"]),
            client_authentication: texts(&["none", "private_key_jwt"]),
            capabilities: texts(&["client-public", "client-confidential-asymmetric"]),
        })
    });
    let server = configured.or_else(|| development.map(DevelopmentIssuer::server))?;
    Some(discovery(&server, SCOPES))
}
