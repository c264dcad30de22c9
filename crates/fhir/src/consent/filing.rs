//! Filing what is posted, put or deleted: nothing of it counts before the patient signs.

use axum::http::StatusCode;
use domain::{Address, Reader, RelationshipState};
use serde_json::Value;

use super::{
    access::{Sees, filer_of, may_file},
    ids::{Key, is_id},
    mirror::{Mirrored, mirrored},
    showing::versions,
    waiting::{Filed, file, forget},
    wanted::{is_for_chain, wanted},
};
use crate::{
    caller::{Caller, Interaction},
    derived::{Names, patient_named},
    dispatch::{Action, body_of},
    outcome::{FhirError, Issue, outcome},
    request::{Reply, Request, Returning, version_of_tag},
    resources::{Resources, issues_of},
    subject::patient_of,
};

/// How many changes may wait for one patient.
const WAITING_MAX: usize = 100;

/// Takes a posted `Consent` when it is for the chain; `None` when it is a record.
pub(crate) async fn write(
    resources: &Resources,
    caller: &Caller,
    action: Action,
    request: &Request,
) -> Result<Option<Reply>, FhirError> {
    let is_patient = matches!(caller.reader, Reader::Patient { .. });
    if !is_patient && resources.require_own(caller).is_err() {
        // They learn nothing of the directory by trying; what writes records refuses them.
        return Ok(None);
    }
    let id = request.path.get(1).map(String::as_str);
    let is_made = id.is_some_and(is_id);
    let body = body_of(request)?;
    let value: Value = serde_json::from_str(&resources.relative(&body.to_string()))
        .map_err(|_| FhirError::bad_request("the body is not JSON"))?;
    if !is_made && (value["resourceType"] != "Consent" || !is_for_chain(resources, &value).await?) {
        return Ok(None);
    }
    let interaction =
        if action == Action::Create { Interaction::Create } else { Interaction::Update };
    caller.require("Consent", interaction)?;
    let issues = issues_of(&value);
    if issues.iter().any(|issue| issue.severity == "error") {
        return Err(FhirError { status: StatusCode::UNPROCESSABLE_ENTITY, issues });
    }
    // Nobody learns by filing who is a patient here.
    resources.gatekeeper().refresh(resources.now()).await?;
    let patient = match patient_of(&value) {
        Some(id) => patient_named(resources, &id).await?,
        None => None,
    };
    let may = match patient {
        Some(patient) => may_file(resources, caller, patient).await.is_some(),
        None => false,
    };
    let Some(patient) = patient.filter(|_| may) else {
        let text = "a consent is filed by the patient, or by those who care for them here";
        return Err(FhirError::new(StatusCode::FORBIDDEN, "forbidden", text));
    };
    require_relationship(resources, patient).await?;
    let wanted = wanted(resources, patient, &value).await?;
    let key = Key { patient, reader: wanted.reader, record: wanted.record };
    let own_id = key.id(resources);
    if let Some(id) = id
        && id != own_id
    {
        let text = "the id of a consent on chain follows from patient, reader and record; post it, \
                    and it gets one";
        return Err(FhirError::unprocessable("business-rule", text));
    }
    let all = mirrored(resources, patient).await?;
    let one = all.iter().find(|one| one.key == key);
    require_version(resources, one, request).await?;
    let now = resources.now();
    let ends =
        matches!(value["status"].as_str(), Some("inactive" | "rejected" | "entered-in-error"));
    if ends && !one.is_some_and(|one| one.stands(now)) {
        forget(resources, &own_id).await?;
    } else {
        let terms = if ends { None } else { Some(wanted.terms(now)?) };
        let steps = one.map_or(0, |one| one.steps.len());
        let filed = Filed {
            patient,
            reader: key.reader,
            record: key.record,
            terms,
            steps,
            filed: resources.now_ms(),
        };
        let waiting = all.iter().filter(|one| one.filed.is_some() && one.key != key).count();
        if waiting >= WAITING_MAX {
            let text = format!("{WAITING_MAX} consents wait for this patient's signature already");
            return Err(FhirError::unprocessable("too-costly", text));
        }
        file(resources, &own_id, &filed).await?;
    }
    let newest = mirrored(resources, patient).await?.into_iter().find(|one| one.key == key);
    let status = match (ends, action) {
        (true, _) => StatusCode::ACCEPTED,
        (false, Action::Create) => StatusCode::CREATED,
        _ => StatusCode::OK,
    };
    let Some(one) = newest else {
        return Ok(Some(Reply::of(StatusCode::NO_CONTENT)));
    };
    let mut names = Names::new(resources);
    let versions = versions(resources, &mut names, &one, Sees::All(None)).await?;
    let newest = versions.last().ok_or_else(FhirError::not_found)?.resource()?;
    let mut reply = Reply::written(status, &newest, request.returning);
    if request.returning == Returning::OperationOutcome {
        reply.body = Some(outcome(&[to_be_signed(&own_id)]).to_string());
    }
    Ok(Some(reply))
}

/// Files the end of a grant, or drops what waits for a signature.
pub(crate) async fn delete(
    resources: &Resources,
    caller: &Caller,
    id: &str,
    request: &Request,
) -> Result<Reply, FhirError> {
    caller.require("Consent", Interaction::Delete)?;
    resources.gatekeeper().refresh(resources.now()).await?;
    let one = filer_of(resources, caller, id).await?;
    require_version(resources, Some(&one), request).await?;
    if !one.stands(resources.now()) {
        forget(resources, id).await?;
        return Ok(Reply::of(StatusCode::NO_CONTENT));
    }
    let Key { patient, reader, record } = one.key;
    let steps = one.steps.len();
    let filed = Filed { patient, reader, record, terms: None, steps, filed: resources.now_ms() };
    file(resources, id, &filed).await?;
    let body = outcome(&[to_be_signed(id)]).to_string();
    Ok(Reply { body: Some(body), ..Reply::of(StatusCode::ACCEPTED) })
}

/// Refuses a `Consent` for the chain where only records can be written.
pub(crate) async fn require_record(
    resources: &Resources,
    resource_type: &str,
    value: &Value,
) -> Result<(), FhirError> {
    let has_id = value["id"].as_str().is_some_and(is_id);
    if resource_type != "Consent" || !has_id && !is_for_chain(resources, value).await? {
        return Ok(());
    }
    let text = "a consent to a member of the network waits for the patient's signature and cannot be \
                part of this; post it by itself";
    Err(FhirError::unprocessable("business-rule", text))
}

/// Refuses a change of a version that is not the newest any more.
async fn require_version(
    resources: &Resources,
    one: Option<&Mirrored>,
    request: &Request,
) -> Result<(), FhirError> {
    let Some(tag) = &request.conditions.if_match else { return Ok(()) };
    let newest = match one {
        None => None,
        Some(one) => {
            let mut names = Names::new(resources);
            let versions = versions(resources, &mut names, one, Sees::All(None)).await?;
            versions.last().map(|newest| newest.version)
        }
    };
    if newest.is_some() && version_of_tag(tag) == newest.map(Into::into) {
        return Ok(());
    }
    Err(FhirError::precondition("the consent has another version by now; read it again"))
}

async fn require_relationship(resources: &Resources, patient: Address) -> Result<(), FhirError> {
    let projection = resources.gatekeeper().projection().await;
    let held = projection.consents.relationship(patient, resources.gatekeeper().member());
    if held.is_some_and(|held| held.state == Some(RelationshipState::Active)) {
        return Ok(());
    }
    let text = "the patient has no active relationship with this institution";
    Err(FhirError::unprocessable("business-rule", text))
}

fn to_be_signed(id: &str) -> Issue {
    Issue {
        severity: "information",
        code: "informational",
        diagnostics: format!("it counts once the patient has signed it: Consent/{id}/$sign"),
        expression: Vec::new(),
    }
}
