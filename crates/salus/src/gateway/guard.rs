//! What every request passes: limits on how many and how long, a line in the log, figures.
//!
//! A request that was begun is finished, also when its client gives up or is told to wait no longer: a
//! record that is stored and not yet proposed would otherwise wait for the next start.

use std::{io, sync::Arc, task::Poll, time::Duration};

use axum::{
    Json,
    body::{Body, HttpBody as _},
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use fhir::FhirError;
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::{api::Problem, figures::Figures, settings::Limits};

/// Where the FHIR interface is.
pub(crate) const FHIR: &str = "/fhir";

/// Where the interface beside it is.
pub(crate) const API: &str = "/api";

/// What tells whether the server works must be told while it is busy.
const ALWAYS_ANSWERED: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// How much later than its client a body is given up, so that the client is told first.
const LATER: Duration = Duration::from_millis(100);

/// What every request of one server passes.
#[derive(Clone)]
pub(crate) struct Guard {
    figures: Arc<Figures>,
    limits: Limits,
    running: Arc<Semaphore>,
}

impl Guard {
    pub(crate) fn new(figures: Arc<Figures>, limits: Limits) -> Self {
        Self { figures, limits, running: Arc::new(Semaphore::new(limits.requests)) }
    }

    /// Waits until every request in work is done.
    pub(crate) async fn idle(&self) {
        let all = u32::try_from(self.limits.requests).unwrap_or(u32::MAX);
        // Fails only when the semaphore is closed, which nobody does.
        drop(self.running.acquire_many(all).await);
    }
}

/// Lets a request through, or answers it.
pub(crate) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_name(request.method());
    let route = route(&request);
    let refuse = |status, code, text: &str| {
        let response = refusal(&route, status, code, text);
        guard.note(method, &route, response.status(), started.elapsed());
        response
    };
    if declared_length(&request).is_some_and(|length| length > guard.limits.body_bytes as u64) {
        let text = format!("a body has at most {} bytes", guard.limits.body_bytes);
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "too-long", &text);
    }
    let permit = if ALWAYS_ANSWERED.contains(&&*route) {
        None
    } else if let Ok(permit) = Arc::clone(&guard.running).try_acquire_owned() {
        Some(permit)
    } else {
        let text = "too many requests are in work; try again";
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "throttled", text);
    };
    let request = request.map(|body| until(body, started + guard.limits.request_timeout + LATER));
    let work = guard.work(method, route.clone(), started, permit, next.run(request));
    match tokio::time::timeout(guard.limits.request_timeout, tokio::spawn(work)).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "exception", "the gateway could not do this")
        }
        Err(_) => {
            tracing::warn!(method, route = &*route, "a request takes longer than its client waits");
            let text = "this takes longer than a client waits; it is being finished";
            let mut response = refusal(&route, StatusCode::GATEWAY_TIMEOUT, "timeout", text);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            response
        }
    }
}

impl Guard {
    /// Does a request's work, and notes it when it is done.
    fn work(
        &self,
        method: &'static str,
        route: String,
        started: Instant,
        permit: Option<OwnedSemaphorePermit>,
        work: impl Future<Output = Response> + Send + 'static,
    ) -> impl Future<Output = Response> + Send + 'static {
        let guard = self.clone();
        async move {
            let response = work.await;
            guard.note(method, &route, response.status(), started.elapsed());
            drop(permit);
            response
        }
    }

    /// The line in the log has no id, no query and no address of a client (S1).
    fn note(&self, method: &'static str, route: &str, status: StatusCode, took: Duration) {
        let status = status.as_u16();
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(target: "salus::http", method, route, status, duration_ms, "request");
        self.figures.count(method, route, status, took);
    }
}

/// An answer of the form that the caller expects.
fn refusal(route: &str, status: StatusCode, code: &'static str, text: &str) -> Response {
    let mut response = if route.starts_with(FHIR) {
        FhirError::new(status, code, text).into_response()
    } else if route.starts_with(API) {
        Problem::new(status, text).into_response()
    } else {
        (status, Json(json!({ "error": text }))).into_response()
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A body that fails when it has not come by the deadline: work that waits for a client's bytes would
/// never be finished.
fn until(body: Body, deadline: Instant) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let mut bytes = body.into_data_stream();
    let mut late = Box::pin(tokio::time::sleep_until(deadline));
    Body::from_stream(stream::poll_fn(move |context| {
        if late.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(axum::Error::new(io::Error::from(
                io::ErrorKind::TimedOut,
            )))));
        }
        bytes.poll_next_unpin(context)
    }))
}

fn declared_length(request: &Request) -> Option<u64> {
    request.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The methods that are told apart. A client may make up others.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The route that a request takes, as a template.
fn route(request: &Request) -> String {
    let path = request.uri().path();
    if let Some(rest) =
        path.strip_prefix(FHIR).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    {
        return format!("{FHIR}{}", fhir_route(rest));
    }
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or("none", MatchedPath::as_str).to_owned()
}

/// The template of a path below `/fhir`. Types of resources are left out: together with times they would
/// tell what somebody is treated for.
fn fhir_route(rest: &str) -> &'static str {
    let segments: Vec<&str> = rest.split('/').filter(|segment| !segment.is_empty()).collect();
    match segments[..] {
        [] => "",
        ["metadata"] => "/metadata",
        [".well-known", _] => "/.well-known/smart-configuration",
        ["_history"] => "/_history",
        [first] if first.starts_with('$') => operation(first, "/$operation"),
        [_] => "/{type}",
        [_, "_search"] => "/{type}/_search",
        [_, "_history"] => "/{type}/_history",
        [_, second] if second.starts_with('$') => operation(second, "/{type}/$operation"),
        [_, _] => "/{type}/{id}",
        [_, _, "_history"] => "/{type}/{id}/_history",
        [_, _, third] if third.starts_with('$') => operation(third, "/{type}/{id}/$operation"),
        [_, _, "_history", _] => "/{type}/{id}/_history/{version}",
        _ => "/other",
    }
}

/// The operations that are told apart, wherever they stand.
fn operation(name: &str, other: &'static str) -> &'static str {
    match name {
        "$everything" => "/{type}/{id}/$everything",
        "$export" => "/$export",
        "$import" => "/$import",
        "$validate" => "/{type}/$validate",
        _ => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
        assert_eq!(route(&request), expected);
    }

    #[test]
    fn routes_are_templates() {
        check("/fhir", "/fhir");
        check("/fhir/", "/fhir");
        check("/fhir/metadata", "/fhir/metadata");
        check("/fhir/Patient?name=planted", "/fhir/{type}");
        check("/fhir/Patient/planted", "/fhir/{type}/{id}");
        check("/fhir/Patient/planted/_history/2", "/fhir/{type}/{id}/_history/{version}");
        check("/fhir/Patient/planted/$everything", "/fhir/{type}/{id}/$everything");
        check("/fhir/planted/planted/planted/planted", "/fhir/other");
        check("/fhirplanted", "none");
        check("/planted", "none");
    }
}
