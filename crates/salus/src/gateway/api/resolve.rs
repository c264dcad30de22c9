//! Identity numbers: from a number that this institution registered to the account behind it.
//!
//! The registry holds numbers as digests that only the authority which bound them can make. So nobody
//! else can look one up, and nobody can try all numbers but through here: lookups are for the
//! institution's own people, are limited for each of them, and each leaves a line with a digest of the
//! number. A number that was found leaves a receipt on its patient's access log too.

use alloy_primitives::B256;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use domain::{Kind, KindSet, Outcome, Reader, RelationshipState};
use fhir::{Caller, Interaction};
use serde::Deserialize;
use serde_json::json;

use super::{
    super::patients::identity_digest,
    Answer, Api, Problem,
    acts::{Act, Subject},
    answer, json,
};
use crate::system::real_time_ms;

/// The longest name of a numbering system, and the longest number.
const SYSTEM_LEN_MAX: usize = 256;
const VALUE_LEN_MAX: usize = 128;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Number {
    system: String,
    value: String,
}

impl Api {
    /// Whether somebody may learn who a patient is: people who treat or bill them here, privacy officers,
    /// and the institution's own systems.
    fn may_resolve(&self, caller: &Caller) -> bool {
        self.is_own(&caller.reader)
            && match caller.reader {
                Reader::Institution { .. } => true,
                Reader::Professional { role, .. } => {
                    self.is_officer(&caller.reader)
                        || role.may_read(caller.purpose).contains(Kind::Demographics)
                }
                Reader::Patient { .. } => false,
            }
    }
}

/// `POST /api/resolve`: the account behind a number, or 404.
pub(super) async fn resolve(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer {
    let (caller, _) = api.caller(&headers, "Patient", Interaction::Search).await?;
    if !api.may_resolve(&caller) {
        let text = "only this institution's own people who treat patients look numbers up";
        return Err(Problem::forbidden(text));
    }
    let Number { system, value } = json(&headers, body).await?;
    let fits = |text: &str, most: usize| !text.is_empty() && text.len() <= most;
    if !fits(&system, SYSTEM_LEN_MAX) || !fits(&value, VALUE_LEN_MAX) {
        return Err(Problem::bad("`system` and `value` are not empty, and not that long"));
    }
    let actor = caller.reader.address();
    let now_ms = u64::try_from(real_time_ms()).unwrap_or_default();
    if let Err(wait) = api.0.lookups.lock().await.take(actor, now_ms) {
        let text = "too many numbers were looked up; try again later";
        return Err(Problem::too_many(text, wait.as_secs() + 1));
    }
    let gateway = &api.0.gateway;
    let found = {
        let digest = identity_digest(gateway, &system, &value);
        let projection = gateway.gatekeeper.projection().await;
        projection.registry.resolve(api.member(), digest)
    };
    // To the caller, a number of somebody whom the token is not about is as unknown as any other.
    let account = found.filter(|account| caller.patient.is_none_or(|only| only == *account));
    let outcome = if account.is_some() { "found" } else { "unknown" };
    let act = Act {
        name: "resolve",
        actor,
        purpose: caller.purpose,
        patient: account,
        subject: Subject::Digest(logged_digest(&api, &system, &value)),
        outcome,
    };
    api.0.acts.note(act, api.now()).await?;
    let Some(account) = account else {
        return Err(Problem::not_found("no account is registered here under this number"));
    };
    // That somebody learned who they are is for the patient to see.
    let seen = Outcome::Allowed { records: Vec::new(), basis: None };
    let kinds = KindSet::of(&[Kind::Demographics]);
    gateway.gatekeeper.note(caller.reading(), account, kinds, seen, api.now()).await?;
    let projection = gateway.gatekeeper.projection().await;
    let relationship = projection.consents.relationship(account, api.member());
    let is_active = relationship.and_then(|held| held.state) == Some(RelationshipState::Active);
    let body = json!({ "account": account.to_string(), "relationship": is_active });
    Ok(answer(StatusCode::OK, &body))
}

/// A number in the log of acts: another digest than the registry's, so that the two cannot be joined
/// without the gateway's key.
fn logged_digest(api: &Api, system: &str, value: &str) -> B256 {
    api.0.gateway.keyed_digest("salus/resolve-log/v1", format!("{system}|{value}").as_bytes())
}
