//! The FHIR interface over HTTP.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request as HttpRequest, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tower_http::cors::{Any, CorsLayer};

use crate::{
    caller::Authenticator,
    capability,
    dispatch::{Action, action_of},
    instant,
    outcome::{FHIR_JSON, FhirError},
    request::{Reply, Request},
    resources::Resources,
};

/// The most bytes of a body.
pub const BODY_BYTES_MAX: usize = 32 << 20;

/// The most bytes of a URL with its query.
pub const URL_BYTES_MAX: usize = 16 << 10;

/// What serves requests.
#[derive(Clone)]
struct Server {
    resources: Resources,
    authenticator: Arc<dyn Authenticator>,
    /// The OpenAPI document, once somebody asked for it.
    openapi: Arc<OnceLock<Bytes>>,
}

/// The routes below `/fhir`.
pub fn router(resources: Resources, authenticator: Arc<dyn Authenticator>) -> Router {
    let exposed =
        ["etag", "location", "content-location", "last-modified", "retry-after", "x-progress"]
            .map(HeaderName::from_static);
    let cors = CorsLayer::new()
        .allow_origin(Any)
        .allow_methods(Any)
        .allow_headers(Any)
        .expose_headers(exposed);
    let server = Server { resources, authenticator, openapi: Arc::default() };
    let described = get(openapi).fallback(serve);
    Router::new().route("/openapi.json", described).fallback(serve).layer(cors).with_state(server)
}

/// The OpenAPI document, for everybody.
async fn openapi(State(server): State<Server>) -> Response {
    let document = || crate::openapi::document(server.resources.base()).to_string().into();
    let document = server.openapi.get_or_init(document).clone();
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}

async fn serve(State(server): State<Server>, request: HttpRequest) -> Response {
    let is_head = request.method() == Method::HEAD;
    let pretty = is_pretty(request.uri().query().unwrap_or_default());
    let base = server.resources.base().to_owned();
    let reply = match server.answer(request).await {
        Ok(reply) => response(reply, &base, pretty),
        Err(error) => error.into_response(),
    };
    if is_head {
        let (parts, _) = reply.into_parts();
        return Response::from_parts(parts, Body::empty());
    }
    reply
}

impl Server {
    async fn answer(&self, request: HttpRequest) -> Result<Reply, FhirError> {
        let (parts, body) = request.into_parts();
        let uri_len = parts.uri.path_and_query().map_or(0, |uri| uri.as_str().len());
        if uri_len > URL_BYTES_MAX {
            let text = format!("a URL has at most {URL_BYTES_MAX} bytes; search by POST");
            return Err(FhirError::new(StatusCode::URI_TOO_LONG, "too-long", text));
        }
        let query = parts.uri.query().unwrap_or_default();
        let request =
            Request::new(parts.method, parts.uri.path(), query, &parts.headers, Bytes::new())?;
        // A file of lines is a file of lines, whatever its client would like better.
        if action_of(&request.method, &request.path).ok() != Some(Action::BulkFile) {
            accepts_json(&parts.headers, query)?;
        }
        // What everybody may know before saying who they are.
        if action_of(&request.method, &request.path).ok() == Some(Action::Capabilities) {
            let statement = capability::statement(&self.resources);
            return Ok(Reply::json(&statement));
        }
        let caller = self.authenticator.authenticate(&parts.headers).await?;
        let action = action_of(&request.method, &request.path)?;
        is_json(&parts.headers, &request.method, action)?;
        let too_large = |_| {
            let text = format!("a body has at most {BODY_BYTES_MAX} bytes");
            FhirError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-long", text)
        };
        let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(too_large)?;
        self.resources.handle(&caller, Request { body, ..request }).await
    }
}

/// Refuses clients that want something else than JSON.
fn accepts_json(headers: &HeaderMap, query: &str) -> Result<(), FhirError> {
    let format = crate::request::pairs(query)?
        .into_iter()
        .find_map(|(name, value)| (name == "_format").then_some(value));
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    // `_format` overrides the header (FHIR R4, section 3.1.0.1.11).
    let wanted = format.as_deref().or(accept).unwrap_or("*/*");
    let is_known = wanted.split(',').any(|wanted| {
        let media_type = wanted.split(';').next().unwrap_or_default().trim();
        matches!(
            media_type,
            "" | "*/*"
                | "application/*"
                | "json"
                | "application/json"
                | "application/fhir+json"
                | "text/json"
                | "application/fhir json"
        )
    });
    if is_known {
        return Ok(());
    }
    let text = "this server speaks application/fhir+json only";
    Err(FhirError::new(StatusCode::NOT_ACCEPTABLE, "not-supported", text))
}

/// Refuses bodies that are not JSON, or a form where one is expected.
fn is_json(headers: &HeaderMap, method: &Method, action: Action) -> Result<(), FhirError> {
    if !matches!(*method, Method::POST | Method::PUT) {
        return Ok(());
    }
    let found = headers.get(header::CONTENT_TYPE).and_then(|found| found.to_str().ok());
    let media_type = found.and_then(|found| found.split(';').next()).unwrap_or_default().trim();
    let allowed: &[&str] = match action {
        Action::SearchByPost => &["application/x-www-form-urlencoded", ""],
        // Operations of both may have their parameters in the URL alone.
        Action::Export | Action::Subscription => {
            &["application/fhir+json", "application/json", "text/json", ""]
        }
        // It says itself what it takes.
        Action::Import => return Ok(()),
        _ => &["application/fhir+json", "application/json", "text/json"],
    };
    if allowed.contains(&media_type) {
        return Ok(());
    }
    let text = format!("the body must be of the type {}", allowed[0]);
    Err(FhirError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", text))
}

fn is_pretty(query: &str) -> bool {
    query.split('&').any(|part| part == "_pretty=true")
}

fn response(reply: Reply, base: &str, pretty: bool) -> Response {
    let mut headers = HeaderMap::new();
    let mut set = |name: HeaderName, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    if let Some(version) = reply.version {
        set(header::ETAG, format!("W/\"{version}\""));
    }
    if let Some(updated) = reply.updated {
        set(header::LAST_MODIFIED, instant::http_date(updated));
    }
    if let Some(location) = reply.location {
        set(header::LOCATION, format!("{base}/{location}"));
    }
    for (name, value) in reply.headers {
        set(HeaderName::from_static(name), value);
    }
    // Records are for whoever asked, now.
    set(header::CACHE_CONTROL, "no-store".into());
    let body = reply.body.map(|body| if pretty { prettied(&body) } else { body });
    if body.is_some() && !headers.contains_key(header::CONTENT_TYPE) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_JSON));
    }
    match reply.stream {
        Some(stream) => (reply.status, headers, stream.take()).into_response(),
        // An empty text would say that it is text.
        None => {
            let body = body.map_or_else(Body::empty, Body::from);
            (reply.status, headers, body).into_response()
        }
    }
}

/// The same JSON, for people. Decimals lose zeros at their end, so machines should not ask for it.
fn prettied(body: &str) -> String {
    serde_json::from_str::<serde_json::Value>(body)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| body.to_owned())
}
