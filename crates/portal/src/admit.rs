//! The one door before every page: who asks, whether the page is for them, whether a form is ours, and the headers
//! that every answer has.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderValue, Method, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::{
    Portal,
    client::encoded,
    design,
    fault::Fault,
    look::Look,
    routes::Audience,
    visitor::{Visitor, go},
};

/// The longest form, in bytes.
const FORM_BYTES_MAX: usize = 256 * 1_024;

/// The header in which the script brings the session's token.
const CSRF: &str = "x-salus-csrf";

/// What pages may load and do: their own files, and nothing inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; manifest-src 'self'";

/// What a page's browser features are for: passkeys, and nothing else.
const PERMISSIONS: &str = "camera=(), geolocation=(), microphone=(), payment=(), usb=(), \
    publickey-credentials-get=(self), publickey-credentials-create=(self)";

/// What stands before one route.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) portal: Portal,
    pub(crate) audience: Audience,
}

/// What was sent: the fields of a form, or JSON.
#[derive(Clone, Default)]
pub(crate) struct Form(Arc<FormInner>);

#[derive(Default)]
struct FormInner {
    fields: Vec<(String, String)>,
    json: Value,
}

impl Form {
    /// A field, without the white space around it; empty when it is not there.
    pub(crate) fn text(&self, name: &str) -> &str {
        let found = self.0.fields.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value.trim())
    }

    /// Every value of a field, such as of boxes that were ticked.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.trim())
    }

    /// A field that has to be there and to be understood.
    ///
    /// # Errors
    ///
    /// [`Fault::Unusable`], which names the field by `label`.
    pub(crate) fn parse<T: std::str::FromStr>(&self, name: &str, label: &str) -> Result<T, Fault> {
        let unusable = |_| {
            Fault::Unusable(format!("“{label}” is missing or not understood; go back and enter it"))
        };
        self.text(name).parse().map_err(unusable)
    }

    /// What a script sent.
    pub(crate) fn json(&self) -> &Value {
        &self.0.json
    }
}

impl<S: Sync> FromRequestParts<S> for Form {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

/// Lets somebody in, or says why not.
pub(crate) async fn admit(State(door): State<Door>, request: Request, next: Next) -> Response {
    let wants_json = wants_json(request.headers());
    let visitor = match visitor(&door.portal, request.headers().clone(), path(&request)).await {
        Ok(visitor) => visitor,
        Err(fault) => return finished(&door.portal, plainly(&fault, wants_json)),
    };
    let response = match enter(&door, &visitor, request).await {
        Ok(Entered::In(mut request)) => {
            let mut visitor = visitor.clone();
            if *request.method() == Method::GET
                && !wants_json
                && let Some(session) = &visitor.session
            {
                visitor.message = door.portal.sessions().take_message(&session.id);
            }
            request.extensions_mut().insert(visitor);
            next.run(*request).await
        }
        Ok(Entered::Elsewhere(response)) => response,
        Err(fault) => fault.into_response(),
    };
    let fault = response.extensions().get::<Fault>().cloned();
    let response = match fault {
        Some(fault) if wants_json => told(&fault),
        Some(fault) => design::faults::page(&visitor, &fault),
        None => response,
    };
    finished(&door.portal, response)
}

/// A page that is not there.
pub(crate) async fn nothing(portal: &Portal, request: Request) -> Response {
    let response = match visitor(portal, request.headers().clone(), path(&request)).await {
        Ok(visitor) => design::faults::page(&visitor, &Fault::NotFound),
        Err(fault) => told(&fault),
    };
    finished(portal, response)
}

/// The header by which a session knows its browser again.
fn browser(headers: &HeaderMap) -> HeaderMap {
    let agent = headers.get(header::USER_AGENT);
    agent.map(|agent| (header::USER_AGENT, agent.clone())).into_iter().collect()
}

enum Entered {
    In(Box<Request>),
    Elsewhere(Response),
}

fn path(request: &Request) -> String {
    request.uri().path().to_owned()
}

/// Who asks.
async fn visitor(portal: &Portal, headers: HeaderMap, path: String) -> Result<Visitor, Fault> {
    let mut session = portal.sessions().see(&headers, portal.home().now_ms());
    let mut reader = None;
    if let Some(seen) = &session
        && let Some(who) = seen.who
    {
        reader = portal.home().who(who).await?;
        if reader.is_none() {
            // Nobody any more: the session is over with it.
            portal.sessions().end(&seen.id);
            session = None;
        }
    }
    Ok(Visitor {
        portal: portal.clone(),
        session,
        reader,
        look: Look::of(&headers),
        browser: browser(&headers),
        path,
        message: None,
    })
}

async fn enter(door: &Door, visitor: &Visitor, request: Request) -> Result<Entered, Fault> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !door.audience.has(visitor.reader.as_ref()) {
        if visitor.reader.is_some() {
            let text = format!("this page is for {}", door.audience.words());
            return Err(Fault::Refused(text));
        }
        if is_read && !wants_json(request.headers()) {
            let asked = request.uri().path_and_query().map_or("/", |asked| asked.as_str());
            return Ok(Entered::Elsewhere(go(&format!("/sign-in?next={}", encoded(asked)))));
        }
        return Err(Fault::SignedOut);
    }
    if is_read {
        return Ok(Entered::In(Box::new(request)));
    }
    require_own_origin(&door.portal, request.headers())?;
    let (mut parts, body) = request.into_parts();
    let bytes = to_bytes(body, FORM_BYTES_MAX).await;
    let bytes = bytes.map_err(|_| Fault::Unusable("what was sent is too long".into()))?;
    let sent = if media_type(&parts.headers) == "application/json" {
        let json = serde_json::from_slice(&bytes);
        let json = json.map_err(|_| Fault::Unusable("what was sent is no JSON".into()))?;
        FormInner { json, fields: Vec::new() }
    } else {
        FormInner {
            fields: form_urlencoded::parse(&bytes).into_owned().collect(),
            json: Value::Null,
        }
    };
    let form = Form(Arc::new(sent));
    if let Some(session) = &visitor.session {
        let header = parts.headers.get(CSRF).and_then(|token| token.to_str().ok());
        if !session.is_from_form(header.unwrap_or_else(|| form.text("csrf"))) {
            let text =
                "this form is not of this session; open the page again and send it from there";
            return Err(Fault::Refused(text.into()));
        }
    }
    parts.extensions.insert(form);
    Ok(Entered::In(Box::new(Request::from_parts(parts, Body::empty()))))
}

/// Refuses what another site's page sends. Browsers say with everything that is sent where it comes from.
fn require_own_origin(portal: &Portal, headers: &HeaderMap) -> Result<(), Fault> {
    let own = headers.get(header::ORIGIN).is_some_and(|origin| origin == portal.origin());
    if own {
        return Ok(());
    }
    Err(Fault::Refused("this was not sent by a page of this portal; nothing was done".into()))
}

fn media_type(headers: &HeaderMap) -> &str {
    let found = headers.get(header::CONTENT_TYPE).and_then(|found| found.to_str().ok());
    found.and_then(|found| found.split(';').next()).unwrap_or_default().trim()
}

/// Whether a script asks, rather than somebody who follows a link.
fn wants_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok());
    accepted.is_some_and(|accepted| accepted.starts_with("application/json"))
}

/// A fault as the script reads it.
fn told(fault: &Fault) -> Response {
    let (title, text) = design::faults::words(fault);
    (fault.status(), Json(json!({ "error": title, "text": text }))).into_response()
}

/// A fault without a visitor, for whom there is no page to show it on.
fn plainly(fault: &Fault, wants_json: bool) -> Response {
    if wants_json {
        return told(fault);
    }
    let (title, text) = design::faults::words(fault);
    (fault.status(), format!("{title}. {text}")).into_response()
}

/// An answer with the headers that every answer has.
fn finished(portal: &Portal, mut response: Response) -> Response {
    let headers = response.headers_mut();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    // With `no-referrer` browsers would not say either where a form comes from, and send `Origin: null`.
    set(header::REFERRER_POLICY, "same-origin");
    set(header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(header::HeaderName::from_static("permissions-policy"), PERMISSIONS);
    if portal.origin().starts_with("https:") {
        set(header::STRICT_TRANSPORT_SECURITY, "max-age=31536000");
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
