//! What stands on chain about a patient, for the patient: their records, this institution's relationship with them,
//! and everything that happened.
//!
//! It is what the chain holds, and no record is opened for it. Others are not told, also not that there is nothing.

use alloy_primitives::Address;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use domain::{AnchorState, Reader};
use fhir::{Caller, Interaction};
use gatekeeper::Actor;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Api, Problem, answer, page_len, query};

fn patient(caller: &Caller) -> Result<Address, Problem> {
    match caller.reader {
        Reader::Patient { account } => Ok(account),
        _ => Err(Problem::forbidden("this is for patients, about themselves")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Standing {
    state: Option<String>,
}

/// `GET /api/records?state=`: where the patient's records stand that have a place of their own on chain.
pub(super) async fn records(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let (caller, _) = api.caller(&headers, "Provenance", Interaction::Search).await?;
    let (account, Standing { state }) = (patient(&caller)?, query(&uri)?);
    let wanted: Option<AnchorState> = match state.map(|state| state.parse()) {
        None => None,
        Some(Ok(state)) => Some(state),
        Some(Err(_)) => {
            return Err(Problem::bad("`state` is a state of records, such as proposed"));
        }
    };
    let keeper = &api.0.gateway.gatekeeper;
    let projection = keeper.projection().await;
    let mut found: Vec<ledger::AnchorEntry> = projection
        .records
        .anchors()
        .filter(|entry| entry.anchor.patient == account && entry.anchor.steward == api.member())
        .filter(|entry| wanted.is_none_or(|wanted| entry.state == wanted))
        .copied()
        .collect();
    drop(projection);
    found.sort_unstable_by_key(|entry| (std::cmp::Reverse(entry.moment.time), entry.anchor.record));
    let ids: Vec<_> = found.iter().map(|entry| entry.anchor.record).collect();
    let resources = fhir::resources_of_records(keeper.vault().database(), &ids).await?;
    let shown = |entry: &ledger::AnchorEntry| {
        let resource = resources.get(&entry.anchor.record);
        json!({
            "resource": resource.map(|(resource_type, id)| format!("{resource_type}/{id}")),
            "record": entry.anchor.record.0,
            "version": entry.anchor.version.get(),
            "base": entry.anchor.base,
            "kind": entry.anchor.kind.name(),
            "digest": entry.anchor.digest.0,
            "state": entry.state.name(),
            "since": entry.moment.time.to_string(),
        })
    };
    let records: Vec<Value> = found.iter().map(shown).collect();
    Ok(answer(StatusCode::OK, &json!({ "patient": account, "records": records })))
}

/// `GET /api/relationships`: whether this institution keeps the patient's records.
pub(super) async fn relationships(State(api): State<Api>, headers: HeaderMap) -> Answer {
    let (caller, _) = api.caller(&headers, "Patient", Interaction::Read).await?;
    let account = patient(&caller)?;
    let projection = api.0.gateway.gatekeeper.projection().await;
    let held = projection.consents.relationship(account, api.member());
    let relationship = held.map(|held| {
        json!({
            "steward": api.member(),
            "state": held.state.map(|state| state.name()),
            "countersigned": held.countersigned,
        })
    });
    Ok(answer(StatusCode::OK, &json!({ "patient": account, "relationship": relationship })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    before: Option<usize>,
    limit: Option<u32>,
}

/// `GET /api/timeline`: what happened on chain about the patient, the newest first. Steps are numbered from the
/// oldest on, so that pages stay what they are when something is added.
pub(super) async fn timeline(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let (caller, _) = api.caller(&headers, "Provenance", Interaction::Search).await?;
    let (account, Page { before, limit }) = (patient(&caller)?, query(&uri)?);
    let limit = usize::try_from(page_len(limit)?).unwrap_or(usize::MAX);
    let timeline = api.0.gateway.gatekeeper.patient_timeline(account).await.map_err(|error| {
        tracing::warn!(%error, "a timeline could not be made");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the chain cannot be asked at present")
    })?;
    let end = before.unwrap_or(usize::MAX).min(timeline.steps.len());
    let begin = end.saturating_sub(limit);
    let steps: Vec<Value> = timeline.steps[begin..end]
        .iter()
        .rev()
        .map(|step| {
            let actor = match step.actor {
                Actor::Patient(account) => json!({ "patient": account }),
                Actor::Member(member) => json!({ "member": member }),
                Actor::Unknown => Value::Null,
            };
            json!({
                "time": step.time.to_string(),
                "block": step.block,
                "transaction": step.transaction,
                "contract": step.contract,
                "what": step.what,
                "actor": actor,
                "subject": step.subject,
                "checked": step.checked,
            })
        })
        .collect();
    let next = (begin > 0).then_some(begin);
    Ok(answer(StatusCode::OK, &json!({ "patient": account, "steps": steps, "before": next })))
}

/// `GET /api/grants`: what the patient consented to and did not take back, also when its time is over.
pub(super) async fn grants(State(api): State<Api>, headers: HeaderMap) -> Answer {
    let (caller, _) = api.caller(&headers, "Consent", Interaction::Search).await?;
    let account = patient(&caller)?;
    let projection = api.0.gateway.gatekeeper.projection().await;
    let held = projection.consents.relationship(account, api.member());
    let needs = held.is_some_and(|held| held.countersigned);
    let signed = projection.consents.countersignatures(account, api.member());
    let shown = |grant: &domain::Grant| {
        let is_signed = signed.iter().any(|signed| {
            (signed.reader, signed.record, signed.version)
                == (grant.reader, grant.record, grant.version)
        });
        let kinds: Vec<&str> = grant.terms.kinds.iter().map(domain::Kind::name).collect();
        let purposes: Vec<&str> = grant.terms.purposes.iter().map(domain::Purpose::name).collect();
        json!({
            "reader": grant.reader,
            "record": grant.record.map(|record| record.0),
            "version": grant.version,
            "kinds": kinds,
            "purposes": purposes,
            "since": grant.terms.period.opens_at().0,
            "until": grant.terms.period.closes_at().0,
            "countersignature": match (needs, is_signed) {
                (_, true) => "given",
                (true, false) => "awaited",
                (false, false) => "not-needed",
            },
        })
    };
    let grants: Vec<Value> = projection.consents.grants(account).iter().map(shown).collect();
    Ok(answer(StatusCode::OK, &json!({ "patient": account, "grants": grants })))
}
