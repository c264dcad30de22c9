//! `Group`: the patients for whom somebody cares here, to export them together.
//!
//! There is one for each professional, `care-` and the member address, made from the care teams when it
//! is asked for: those of them whose relationship with this institution is active. Its professional and the
//! institution's own systems see it, nobody else. Groups are not posted: a list of patients is about all of
//! them, and could be filed under none.

use axum::http::StatusCode;
use domain::{Address, Kind, KindSet, Reader};
use serde_json::json;

use crate::{
    bundle::{Bundle, Entry, shown},
    caller::{Caller, Interaction},
    derived::{Names, patient_id},
    instant,
    json::RawObject,
    outcome::FhirError,
    reached::Reached,
    request::{Reply, Request},
    resources::{Resource, Resources},
};

const ID_PREFIX: &str = "care-";

/// The most patients in one group.
const MEMBERS_MAX: usize = 10_000;

/// Whether resources of a type are only ever made, never kept.
pub(crate) fn is_made(resource_type: &str) -> bool {
    matches!(resource_type, "AuditEvent" | "Group")
}

/// Whose group it is, when the caller may see it.
fn professional(resources: &Resources, caller: &Caller, id: &str) -> Result<Address, FhirError> {
    let digits = id.strip_prefix(ID_PREFIX).ok_or_else(FhirError::not_found)?;
    let professional: Address =
        format!("0x{digits}").parse().map_err(|_| FhirError::not_found())?;
    let own = resources.gatekeeper().member();
    let may = match caller.reader {
        Reader::Professional { member, institution, .. } => {
            member == professional && institution == own
        }
        Reader::Institution { member, .. } => member == own,
        Reader::Patient { .. } => false,
    };
    if may { Ok(professional) } else { Err(FhirError::not_found()) }
}

/// The patients of a group, by account.
pub(crate) async fn members(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Vec<Address>, FhirError> {
    caller.require("Group", Interaction::Read)?;
    let professional = professional(resources, caller, id)?;
    let gatekeeper = resources.gatekeeper();
    gatekeeper.refresh(resources.now()).await?;
    let mut members = gatekeeper.patients_of(professional).await;
    members.retain(|patient| caller.is_about(*patient));
    if members.len() > MEMBERS_MAX {
        let text = format!("a group has at most {MEMBERS_MAX} patients");
        return Err(FhirError::unprocessable("too-costly", text));
    }
    Ok(members)
}

/// A group with its patients, each of whom is told.
pub(crate) async fn read(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Resource, FhirError> {
    let members = members(resources, caller, id).await?;
    let professional = professional(resources, caller, id)?;
    let mut entities = Vec::with_capacity(members.len());
    let mut reached = Reached::default();
    for patient in members {
        let Some(patient_id) = patient_id(resources, patient).await? else { continue };
        reached.count_one(patient, KindSet::of(&[Kind::Administrative]));
        entities.push(json!({ "entity": { "reference": format!("Patient/{patient_id}") } }));
    }
    reached.settle(resources, caller).await?;
    let mut names = Names::new(resources);
    let updated = resources.now_ms();
    let mut value = json!({
        "resourceType": "Group",
        "id": id,
        "meta": { "versionId": "1", "lastUpdated": instant::text(updated) },
        "active": true,
        "type": "person",
        "actual": true,
        "quantity": entities.len(),
        "managingEntity": names.member(professional).await?,
    });
    if !entities.is_empty() {
        value["member"] = entities.into();
    }
    let body = RawObject::parse(value.to_string().as_bytes())
        .map_err(|_| FhirError::bad_request("it has no JSON form"))?;
    let (resource_type, id) = ("Group".into(), id.to_owned());
    Ok(Resource { resource_type, id, version: 1.into(), updated, body: Some(body) })
}

/// The caller's own group.
pub(crate) async fn search(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
) -> Result<Reply, FhirError> {
    caller.require("Group", Interaction::Search)?;
    if let Some((name, _)) = request
        .query
        .iter()
        .find(|(name, _)| !matches!(name.as_str(), "_id" | "_format" | "_count"))
        && request.strict
    {
        let text = format!("groups are found by _id only, not by {}", name.len());
        return Err(FhirError::new(StatusCode::BAD_REQUEST, "not-supported", text));
    }
    let own = format!("{ID_PREFIX}{}", hex::encode(caller.reader.address()));
    let id = request.parameter("_id").unwrap_or(&own);
    let mut bundle = Bundle::new("searchset", resources.make_id());
    let found = match read(resources, caller, id).await {
        Ok(found) => Some(found),
        Err(error) if error.status == StatusCode::NOT_FOUND => None,
        Err(error) => return Err(error),
    };
    bundle.total = Some(usize::from(found.is_some()));
    if let Some(Resource { body: Some(body), .. }) = &found {
        bundle.entry.push(Entry {
            full_url: Some(format!("{}/Group/{id}", resources.base())),
            resource: Some(shown(body)),
            search: Some(json!({ "mode": "match" })),
            ..Entry::default()
        });
    }
    Ok(bundle.reply())
}
