//! Errors, as problem documents.
//!
//! # Source
//!
//! RFC 9457.

use std::error::Error;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use fhir::FhirError;
use gatekeeper::AnswerError;
use serde_json::json;
use vault::StoreError;
use workflows::WorkflowError;

/// A request that failed: its status, and what is wrong. Nothing about anybody stands in it (S1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    /// After how many seconds it may be tried again.
    retry_after_s: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let busy = status == StatusCode::SERVICE_UNAVAILABLE;
        Self { status, detail: detail.into(), retry_after_s: busy.then_some(5) }
    }

    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// Too much was asked for; it may be tried again after a time.
    pub(super) fn too_many(detail: impl Into<String>, retry_after_s: u64) -> Self {
        let retry_after_s = Some(retry_after_s);
        Self { status: StatusCode::TOO_MANY_REQUESTS, detail: detail.into(), retry_after_s }
    }

    /// A fault of ours: told to the log in full, to the client in general.
    pub(super) fn internal(error: &dyn Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(source) = cause {
            causes.push(source.to_string());
            cause = source.source();
        }
        tracing::error!(%error, ?causes, "a request failed");
        let text = "the gateway could not do this; it is in its log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, body.to_string()).into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<FhirError> for Problem {
    fn from(error: FhirError) -> Self {
        let first = error.issues.into_iter().next();
        Self::new(error.status, first.map(|issue| issue.diagnostics).unwrap_or_default())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl From<AnswerError> for Problem {
    fn from(error: AnswerError) -> Self {
        FhirError::from(error).into()
    }
}

impl From<WorkflowError> for Problem {
    fn from(error: WorkflowError) -> Self {
        use ledger::SendError;
        if error.is_refusal() {
            return Self::unprocessable(error.to_string());
        }
        match error {
            WorkflowError::Invalid(text) => Self::unprocessable(text),
            WorkflowError::Unknown { .. } => Self::unprocessable(error.to_string()),
            WorkflowError::Send(SendError::NotSigned(_) | SendError::NotTaken { .. }) => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            // It may still happen: whoever tries again without looking may do it twice.
            WorkflowError::Send(SendError::TimedOut { .. }) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, error.to_string())
            }
            error => Self::internal(&error),
        }
    }
}
