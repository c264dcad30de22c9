//! The institution's own interface beside FHIR: inboxes, events, webhooks, identity numbers, care teams,
//! who looked at what, and steps of workflows.
//!
//! It takes the same tokens as FHIR. A token's scopes narrow it by the FHIR type that comes nearest: what
//! is told (`Subscription`), who somebody is (`Patient`), who cares (`CareTeam`), who looked
//! (`AuditEvent`), what is done (`Task`). Whatever an institution's people do here about others leaves a line in the log of
//! [`acts`], and on the patient's own access log where it concerns one. Errors are problem documents.

mod access_log;
mod acts;
mod care;
mod emergencies;
mod inbox;
mod messages;
mod problem;
mod rate;
mod resolve;
mod steps;
mod webhooks;

use std::{sync::Arc, time::Duration};

use alloy_primitives::Address;
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::Query,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use domain::{ProfessionalRole, Reader, Timestamp};
use fhir::{Caller, Interaction};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Mutex;
use tower_http::cors::{Any, CorsLayer};
use workflows::{Gateway, laboratory_messages::MessageDesk};

use super::{
    authenticator::TokenAuthenticator, notifying::Notifying, opening::now, settings::ApiSettings,
};
use crate::Error;

pub(crate) use problem::Problem;

use acts::Acts;
use rate::Buckets;
use steps::Steps;

/// Where HL7 v2 messages are taken.
const MESSAGES: &str = "/hl7v2";

/// The longest body, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1_024;

/// The most entries of one page.
const PAGE_MAX: u32 = 200;

/// How many entries a page has when nobody says how many.
const PAGE: u32 = 50;

/// The interface. Clones are the same.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

struct Inner {
    gateway: Gateway,
    authenticator: Arc<TokenAuthenticator>,
    notifying: Arc<Notifying>,
    acts: Acts,
    lookups: Mutex<Buckets>,
    steps: Steps,
}

/// An answer, or why there is none.
type Answer = Result<Response, Problem>;

impl Api {
    /// Opens the interface of a gateway, whose callers `authenticator` knows.
    pub(crate) async fn open(
        gateway: &Gateway,
        authenticator: &Arc<TokenAuthenticator>,
        notifying: &Arc<Notifying>,
        settings: ApiSettings,
    ) -> Result<Self, Error> {
        let acts = Acts::open(gateway.gatekeeper.vault().database()).await?;
        let per_minute = u32::try_from(settings.lookups_per_minute)?;
        let lookups = Mutex::new(Buckets::new(per_minute, Duration::from_secs(60)));
        let (gateway, authenticator) = (gateway.clone(), Arc::clone(authenticator));
        let notifying = Arc::clone(notifying);
        Ok(Self(Arc::new(Inner {
            gateway,
            authenticator,
            notifying,
            acts,
            lookups,
            steps: Steps::default(),
        })))
    }

    /// The routes below `/api`.
    pub(crate) fn router(self) -> Router {
        let cors = CorsLayer::new().allow_origin(Any).allow_methods(Any).allow_headers(Any);
        let nothing = || async { Problem::new(StatusCode::NOT_FOUND, "there is nothing here") };
        let not_so =
            || async { Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here") };
        Router::new()
            .route("/inbox", get(inbox::list))
            .route("/inbox/read", post(inbox::mark_read))
            .route("/events", get(inbox::events))
            .route("/webhooks", get(webhooks::list).post(webhooks::add))
            .route(
                "/webhooks/{id}",
                get(webhooks::show).patch(webhooks::change).delete(webhooks::remove),
            )
            .route("/resolve", post(resolve::resolve))
            .route("/care-team", get(care::list).put(care::join).delete(care::leave))
            .route("/access-log", get(access_log::list))
            .route("/acts", get(acts::list))
            .route("/contacts", get(emergencies::contacts).put(emergencies::set_contacts))
            .route("/emergency-use", get(emergencies::usage))
            .route("/steps", post(steps::begin))
            .route("/steps/{id}", get(steps::show).post(steps::sign).delete(steps::give_up))
            .fallback(nothing)
            .method_not_allowed_fallback(not_so)
            .layer(cors)
            .with_state(self)
    }

    /// Where a laboratory's own system sends its results, beside `/api`.
    pub(crate) fn messages_router(self, desk: MessageDesk) -> Router {
        Router::new().route(MESSAGES, post(messages::take)).with_state((self, desk))
    }

    fn member(&self) -> Address {
        self.0.gateway.member()
    }

    fn now(&self) -> Timestamp {
        now(self.0.gateway.gatekeeper.ledger())
    }

    /// Who asks, if their token allows this; and until when it does.
    async fn caller(
        &self,
        headers: &HeaderMap,
        resource_type: &str,
        interaction: Interaction,
    ) -> Result<(Caller, Timestamp), Problem> {
        let (caller, expires) = self.0.authenticator.verified(headers).await?;
        if caller.allowed.allows(resource_type, interaction) {
            return Ok((caller, expires));
        }
        Err(Problem::forbidden(format!("the token does not allow this with {resource_type}")))
    }

    /// Whether somebody is this institution, or acts for it.
    fn is_own(&self, reader: &Reader) -> bool {
        reader.institution() == Some(self.member())
    }

    /// Whether somebody is this institution itself.
    fn is_institution(&self, reader: &Reader) -> bool {
        matches!(reader, Reader::Institution { member, .. } if *member == self.member())
    }

    /// Whether somebody watches over privacy here.
    fn is_officer(&self, reader: &Reader) -> bool {
        matches!(reader, Reader::Professional { role: ProfessionalRole::PrivacyOfficer, .. })
            && self.is_own(reader)
    }

    /// Whether a patient was ever this institution's.
    async fn knows(&self, patient: Address) -> bool {
        let projection = self.0.gateway.gatekeeper.projection().await;
        projection.consents.relationship(patient, self.member()).is_some()
    }
}

/// Refuses tokens that are about another patient than this, or about one where many are concerned.
fn require_about(caller: &Caller, patient: Option<Address>) -> Result<(), Problem> {
    let is_patient = matches!(caller.reader, Reader::Patient { .. });
    if is_patient || caller.patient.is_none() || caller.patient == patient {
        return Ok(());
    }
    Err(Problem::forbidden("the token is about one patient only"))
}

/// The parameters of a URL.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let parsed = Query::try_from_uri(uri).map_err(|error| {
        // It names the parameter, and never shows its value.
        let text = error.body_text();
        let text = text.split(": ").next().unwrap_or_default();
        Problem::bad(format!("the parameters of the URL are not understood: {text}"))
    })?;
    Ok(parsed.0)
}

/// The JSON in a body.
async fn json<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    let found = headers.get(header::CONTENT_TYPE).and_then(|found| found.to_str().ok());
    let media_type = found.and_then(|found| found.split(';').next()).unwrap_or_default().trim();
    if media_type != "application/json" {
        let text = "the body must be of the type application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    let bytes = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| {
        let text = format!("a body has at most {BODY_BYTES_MAX} bytes, and comes in time");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    })?;
    // What serde says may quote the body, so only the place is told.
    serde_json::from_slice(&bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::bad(format!(
            "the body is not what is expected here: line {line} column {column}; see the guide"
        ))
    })
}

/// How many entries a page has.
fn page_len(limit: Option<u32>) -> Result<u32, Problem> {
    match limit {
        None => Ok(PAGE),
        Some(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::bad(format!("`limit` is a number from 1 to {PAGE_MAX}"))),
    }
}

/// The answer when something was done that there is nothing to say about.
fn done() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// An answer that is for whoever asked, now.
fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
