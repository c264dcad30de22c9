//! What went wrong, as FHIR says it: every error is an `OperationOutcome`.

use std::fmt;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gatekeeper::{AnchorError, AnswerError, GatekeeperError, QueryRefusal};
use serde::Serialize;
use vault::StoreError;
use workflows::WorkflowError;

/// The content type of every answer.
pub(crate) const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";

/// One thing that is wrong.
///
/// # Source
///
/// FHIR R4, `OperationOutcome.issue`; `code` is of the value set `issue-type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    /// `fatal`, `error`, `warning` or `information`.
    pub severity: &'static str,
    /// What sort of problem.
    pub code: &'static str,
    /// What is wrong and what to do. Never anything out of a resource (S1).
    pub diagnostics: String,
    /// Where in the resource.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expression: Vec<String>,
}

/// A request that failed: its HTTP status, and what to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FhirError {
    /// The status.
    pub status: StatusCode,
    /// What is wrong, at least one.
    pub issues: Vec<Issue>,
}

impl FhirError {
    /// An error with one issue.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, diagnostics: impl Into<String>) -> Self {
        let diagnostics = diagnostics.into();
        Self {
            status,
            issues: vec![Issue { severity: "error", code, diagnostics, expression: Vec::new() }],
        }
    }

    pub(crate) fn bad_request(diagnostics: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", diagnostics)
    }

    pub(crate) fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "there is no such resource here")
    }

    pub(crate) fn unprocessable(code: &'static str, diagnostics: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, diagnostics)
    }

    pub(crate) fn precondition(diagnostics: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, "conflict", diagnostics)
    }

    /// A fault of ours: told to the log in full, to the client in general.
    fn internal(error: &dyn std::error::Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = error.source();
        while let Some(source) = cause {
            causes.push(source.to_string());
            cause = source.source();
        }
        tracing::error!(%error, ?causes, "a request failed");
        let text = "the gateway could not do this; it is in its log";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", text)
    }

    /// The `OperationOutcome`.
    #[must_use]
    pub fn outcome(&self) -> serde_json::Value {
        outcome(&self.issues)
    }
}

/// An `OperationOutcome` of these issues, or of the message that all is well.
pub(crate) fn outcome(issues: &[Issue]) -> serde_json::Value {
    let all_well = [Issue {
        severity: "information",
        code: "informational",
        diagnostics: "all is well".into(),
        expression: Vec::new(),
    }];
    let issues = if issues.is_empty() { &all_well } else { issues };
    serde_json::json!({ "resourceType": "OperationOutcome", "issue": issues })
}

impl fmt::Display for FhirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.issues.first().map_or("", |issue| &issue.diagnostics);
        write!(f, "{}: {first}", self.status)
    }
}

impl std::error::Error for FhirError {}

impl IntoResponse for FhirError {
    fn into_response(self) -> Response {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FHIR_JSON));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        (self.status, headers, self.outcome().to_string()).into_response()
    }
}

impl From<QueryRefusal> for FhirError {
    fn from(refusal: QueryRefusal) -> Self {
        match refusal {
            QueryRefusal::Stale => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "transient", refusal.to_string())
            }
            _ => Self::new(StatusCode::FORBIDDEN, "forbidden", refusal.to_string()),
        }
    }
}

impl From<AnswerError> for FhirError {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Refused(refusal) => refusal.into(),
            AnswerError::Open(error) => Self::internal(&error),
            AnswerError::Gatekeeper(error) => error.into(),
        }
    }
}

impl From<GatekeeperError> for FhirError {
    fn from(error: GatekeeperError) -> Self {
        Self::internal(&error)
    }
}

impl From<StoreError> for FhirError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Overtaken => Self::new(StatusCode::CONFLICT, "conflict", error.to_string()),
            _ => Self::internal(&error),
        }
    }
}

impl From<sqlx::Error> for FhirError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::from(error).into()
    }
}

impl From<search::CandidatesError> for FhirError {
    fn from(error: search::CandidatesError) -> Self {
        match error {
            search::CandidatesError::Store(error) => error.into(),
            error => Self::unprocessable("too-costly", error.to_string()),
        }
    }
}

impl From<AnchorError> for FhirError {
    fn from(error: AnchorError) -> Self {
        match error {
            // The reason is a contract's: digests and addresses only.
            AnchorError::Send(
                error @ (ledger::SendError::Refused(_) | ledger::SendError::Reverted { .. }),
            ) => {
                let text = format!("the chain refuses it: {error}");
                Self::unprocessable("business-rule", text)
            }
            AnchorError::Send(error) => {
                tracing::warn!(%error, "the chain does not take a record");
                let text = "the chain cannot be reached; nothing was kept, try again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "transient", text)
            }
            AnchorError::Put(vault::PutError::Conflict { .. }) => {
                let text = "somebody else wrote the same version; read it again";
                Self::new(StatusCode::CONFLICT, "conflict", text)
            }
            AnchorError::Store(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}

impl From<WorkflowError> for FhirError {
    fn from(error: WorkflowError) -> Self {
        match error {
            WorkflowError::Anchor(error) => error.into(),
            WorkflowError::Answer(error) => error.into(),
            error => Self::internal(&error),
        }
    }
}
