//! Who looked at a patient's records: for the patient, and for privacy officers. Looking is logged too.

use alloy_primitives::Address;
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use domain::{Basis, KindSet, Outcome, Reader, Receipt, Refusal};
use fhir::Interaction;
use ledger::Projection;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Api, Problem, answer, page_len, query, require_about};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    patient: Option<Address>,
    before: Option<u64>,
    limit: Option<u32>,
}

/// `GET /api/access-log`: the newest first. Patients see their own; privacy officers name a `patient`.
///
/// A receipt of an access that asks for no kind and opens no record is one of this log itself.
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let (caller, _) = api.caller(&headers, "AuditEvent", Interaction::Search).await?;
    let Wanted { patient, before, limit } = query(&uri)?;
    let limit = page_len(limit)?;
    let patient = match (caller.reader, patient) {
        (Reader::Patient { account }, patient) => patient.unwrap_or(account),
        (_, Some(patient)) => patient,
        (_, None) => return Err(Problem::bad("whose access log? name the account as `patient`")),
    };
    require_about(&caller, Some(patient))?;
    let may = match caller.reader {
        Reader::Patient { account } => account == patient,
        _ => api.is_officer(&caller.reader),
    };
    let gatekeeper = &api.0.gateway.gatekeeper;
    let is_known = api.knows(patient).await;
    if !may {
        if is_known {
            let refused = Outcome::refused(Refusal::NotCovered);
            let reading = caller.reading();
            gatekeeper.note(reading, patient, KindSet::EMPTY, refused, api.now()).await?;
        }
        let text = "an access log is for its patient and this institution's privacy officers";
        return Err(Problem::forbidden(text));
    }
    if !is_known {
        return Err(Problem::not_found("this institution has no such patient"));
    }
    let receipts = gatekeeper.receipts_of(patient, before, limit).await?;
    let seen = Outcome::Allowed { records: Vec::new(), basis: None };
    gatekeeper.note(caller.reading(), patient, KindSet::EMPTY, seen, api.now()).await?;
    let is_full = receipts.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let next = receipts.last().filter(|_| is_full).map(|stored| stored.receipt.sequence);
    let projection = gatekeeper.projection().await;
    let anchored = projection.logs.get(&api.member()).map_or(0, |log| log.receipts);
    let entries: Vec<Value> =
        receipts.iter().map(|stored| entry(&projection, &stored.receipt, anchored)).collect();
    let body = json!({ "patient": patient.to_string(), "entries": entries, "before": next });
    Ok(answer(StatusCode::OK, &body))
}

/// A receipt as its patient reads it.
fn entry(projection: &Projection, receipt: &Receipt, anchored: u64) -> Value {
    let registry = &projection.registry;
    let role = match registry.institution(&receipt.requester) {
        Some(institution) => Some(institution.role.name()),
        None => registry.professional(&receipt.requester).map(|held| held.role.name()),
    };
    let role = role.or((receipt.requester == receipt.patient).then_some("patient"));
    let organisation = receipt.institution.map(|member| {
        let role = registry.institution(&member).map(|held| held.role.name());
        json!({ "member": member.to_string(), "role": role })
    });
    let kinds: Vec<&str> = receipt.kinds.iter().map(domain::Kind::name).collect();
    let (outcome, reason, records) = match &receipt.outcome {
        Outcome::Allowed { records, basis } => {
            let records = records.iter().map(|(record, _)| record.to_string()).collect();
            ("allowed", basis.map(|basis| basis_name(basis).to_owned()), records)
        }
        Outcome::Refused { reason } => ("refused", Some(reason.clone()), Vec::new()),
    };
    json!({
        "sequence": receipt.sequence,
        "time": receipt.time.to_string(),
        "who": { "address": receipt.requester.to_string(), "role": role },
        "organisation": organisation,
        "purpose": receipt.purpose.name(),
        "kinds": kinds,
        "records": records,
        "outcome": outcome,
        "reason": reason,
        "anchored": receipt.sequence <= anchored,
    })
}

const fn basis_name(basis: Basis) -> &'static str {
    match basis {
        Basis::OwnRecord => "own-record",
        Basis::CareTeam => "care-team",
        Basis::Consent { .. } => "consent",
        Basis::Workflow { .. } => "workflow",
        Basis::Emergency { .. } => "emergency",
    }
}
