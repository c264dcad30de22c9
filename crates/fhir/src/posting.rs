//! `Provenance` that a client writes: about records that are here, and kept as a record of their patient.
//!
//! It is filed under what it is about, so that whoever may read that may read this, as with what is made
//! from the chain (`provenance.rs`). About records of several kinds it is filed as administrative, unless
//! one of them is sensitive: it would tell those who may not know of that one that it is there, and is
//! refused.
//!
//! Nobody can pass theirs off as the chain's: neither an id as those have it nor the extension
//! `urn:salus:anchor` is taken.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use domain::{Address, Kind, KindSet, Refusal};
use serde_json::{Value, json};

use crate::{
    bundle::Write,
    caller::{Caller, Interaction},
    derived::patients_named,
    json::RawObject,
    outcome::FhirError,
    provenance::{self, ANCHOR},
    reached::Reached,
    request::Request,
    resources::{Checked, Known, Resources, Stored},
    searching::name_in,
};

/// The type of resource that is about others.
pub(crate) const TYPE: &str = "Provenance";

/// How many resources one is about, at most.
const TARGETS_MAX: usize = 1_000;

/// What is not told to those who may read other kinds.
const SENSITIVE: [Kind; 4] =
    [Kind::Genomics, Kind::MentalHealth, Kind::SexualHealth, Kind::SubstanceUse];

/// Refuses what would look as if it were made from the chain.
pub(crate) fn require_unmade(id: &str, value: &Value) -> Result<(), FhirError> {
    if provenance::is_id(id) {
        let text = "ids of this form are the server's own";
        return Err(FhirError::new(StatusCode::METHOD_NOT_ALLOWED, "not-supported", text));
    }
    let extensions = value["extension"].as_array().map(Vec::as_slice).unwrap_or_default();
    if extensions.iter().any(|one| one["url"] == ANCHOR) {
        let text = format!("only the server says {ANCHOR}");
        return Err(FhirError::unprocessable("business-rule", text));
    }
    Ok(())
}

/// Whose record it is and what about; `None` when it is about the institution's directory.
///
/// # Errors
///
/// 403 when the caller may not write something that it is about; 422 when something of that is not here,
/// belongs to another patient than the rest, or is of a sensitive kind beside others. Whoever may not write
/// is told so first, so that they learn neither whose those are nor of what kind.
pub(crate) async fn subject_of(
    resources: &Resources,
    caller: &Caller,
    value: &Value,
    known: &Known,
) -> Result<Option<(Address, Kind)>, FhirError> {
    let targets = value["target"].as_array().map(Vec::as_slice).unwrap_or_default();
    if targets.len() > TARGETS_MAX {
        let text = format!("it is about at most {TARGETS_MAX} resources");
        return Err(FhirError::unprocessable("too-costly", text));
    }
    let (mut about, mut first_missing) = (Vec::new(), None);
    for (index, target) in targets.iter().enumerate() {
        let not_here = || {
            let mut error =
                FhirError::unprocessable("not-found", "what it is about is not a resource here");
            for issue in &mut error.issues {
                issue.expression = vec![format!("Provenance.target[{index}]")];
            }
            error
        };
        let name = target["reference"].as_str().and_then(name_in);
        let filed = match name.as_ref().and_then(|name| known.get(name)) {
            Some(filed) => Some(*filed),
            None => match &name {
                Some((resource_type, id)) => {
                    resources.row(resource_type, id).await?.map(|row| row.record)
                }
                None => None,
            },
        };
        match filed {
            Some(filed) => about.extend(filed),
            None => drop(first_missing.get_or_insert_with(not_here)),
        }
    }
    let mut checked = BTreeSet::new();
    for filed in about {
        if checked.insert((filed.patient, filed.kind)) {
            resources.require_write(caller, Some(filed)).await?;
        }
    }
    if let Some(missing) = first_missing {
        return Err(missing);
    }
    let kinds: BTreeSet<Kind> = checked.iter().map(|(_, kind)| *kind).collect();
    let patients: BTreeSet<Address> = checked.into_iter().map(|(patient, _)| patient).collect();
    let mut patients = patients.into_iter();
    let Some(patient) = patients.next() else { return Ok(None) };
    if patients.next().is_some() {
        let text = "it is about several patients; post one for each";
        return Err(FhirError::unprocessable("business-rule", text));
    }
    kind_of(value, &kinds).map(|kind| Some((patient, kind)))
}

/// What it is filed as that is about resources of these kinds.
fn kind_of(value: &Value, about: &BTreeSet<Kind>) -> Result<Kind, FhirError> {
    let labels = value["meta"]["security"].as_array().map(Vec::as_slice).unwrap_or_default();
    let labels: Vec<&str> = labels.iter().filter_map(|label| label["code"].as_str()).collect();
    let labelled = Kind::of_resource(TYPE, &[], &labels).filter(|kind| SENSITIVE.contains(kind));
    let mut kinds = about.iter();
    let kind = match (labelled, kinds.next(), kinds.next()) {
        (Some(labelled), ..) => labelled,
        (None, Some(one), None) => *one,
        _ => Kind::Administrative,
    };
    if about.iter().any(|one| SENSITIVE.contains(one) && *one != kind) {
        let text = "it is about a record of a sensitive kind and about others; post one for each";
        return Err(FhirError::unprocessable("business-rule", text));
    }
    Ok(kind)
}

/// Whose `Provenance` is searched for, by the parameter `patient`.
///
/// The index knows of each what it is about, not whose that is; the record does.
pub(crate) fn is_patient(name: &str) -> bool {
    name == "patient" || name == "patient:Patient"
}

/// Limits a search to the patients whom it names, of whom each is told that it did. Whether anybody is known
/// by a name is not told to whoever asks: nothing that is answered depends on it.
///
/// # Errors
///
/// 400 when there are too many names, whomever they stand for; [`FhirError`] when the database failed.
pub(crate) async fn look_only_at_named(
    resources: &Resources,
    caller: &Caller,
    pairs: &[(String, String)],
    reached: &mut Reached,
) -> Result<(), FhirError> {
    let mut only: Option<BTreeSet<Address>> = None;
    // However often the parameter is there.
    let (mut room, mut are_too_many) = (search::VALUES_MAX, false);
    for (_, text) in pairs.iter().filter(|(name, _)| is_patient(name)) {
        let names: Vec<&str> = text.split(',').take(room + 1).collect();
        are_too_many |= names.len() > room;
        let names = &names[..names.len().min(room)];
        if names.is_empty() {
            break;
        }
        room -= names.len();
        let named = patients_named(resources, &names.join(",")).await?;
        for patient in &named {
            reached.name(*patient, KindSet::ALL);
            // A token for one patient never reaches another's records.
            if !caller.is_about(*patient) {
                reached.refuse_one(*patient, KindSet::ALL, Refusal::NoConsent);
            }
        }
        only = Some(match only {
            None => named,
            Some(only) => only.intersection(&named).copied().collect(),
        });
    }
    if are_too_many {
        let text = format!("patient takes at most {} values", search::VALUES_MAX);
        return Err(FhirError::bad_request(text));
    }
    if let Some(only) = only {
        reached.look_only_at(only);
    }
    Ok(())
}

/// Stores a resource, and with it the `Provenance` that the client sent in the header `X-Provenance`.
///
/// # Errors
///
/// Those of [`Resources::store`]; 400 when the header is no `Provenance`, or says itself what it is about.
///
/// # Source
///
/// FHIR R4, section 6.3.4.7 (`Provenance`, using the HTTP header).
pub(crate) async fn store(
    resources: &Resources,
    caller: &Caller,
    checked: Checked,
    request: &Request,
) -> Result<Stored, FhirError> {
    let Some(text) = &request.provenance else { return resources.store(caller, checked).await };
    caller.require(TYPE, Interaction::Create)?;
    let mut body = RawObject::parse(text.as_bytes())
        .map_err(|_| FhirError::bad_request("X-Provenance is not JSON"))?;
    if body.get("target").is_some() {
        let text = "X-Provenance has no target: the server says what it is about";
        return Err(FhirError::bad_request(text));
    }
    let row = &checked.row;
    let name = (row.resource_type.clone(), row.id.clone());
    let target = format!("{}/{}/_history/{}", name.0, name.1, row.version);
    body.set("target", &json!([{ "reference": target }]), "resourceType");
    let mut known = Known::default();
    known.store(name, row.record);
    let along = resources.check(caller, TYPE, None, body, &known).await?;
    let writes = vec![
        (0, StatusCode::OK, Write::Put(Box::new(checked))),
        (1, StatusCode::CREATED, Write::Put(Box::new(along))),
    ];
    let stored = resources.store_all(caller, writes).await?;
    let first = stored.into_iter().find(|(index, ..)| *index == 0);
    let (_, status, resource, _) = first.expect("all that is to be written is written");
    let resource = resource.expect("what has a body is given out");
    Ok(Stored { resource, is_anchored: status != StatusCode::ACCEPTED })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(labels: &[&str], about: &[Kind], expected: Option<Kind>) {
        let labels: Vec<Value> = labels.iter().map(|label| json!({ "code": label })).collect();
        let value = json!({ "meta": { "security": labels } });
        let kinds = about.iter().copied().collect();
        assert_eq!(kind_of(&value, &kinds).ok(), expected);
    }

    #[test]
    fn it_is_filed_as_what_it_is_about() {
        check(&[], &[Kind::Laboratory], Some(Kind::Laboratory));
        check(&[], &[Kind::Laboratory, Kind::Condition], Some(Kind::Administrative));
        check(&[], &[Kind::MentalHealth], Some(Kind::MentalHealth));
        check(&["PSY"], &[Kind::Condition], Some(Kind::MentalHealth));
        check(&["N"], &[Kind::Condition], Some(Kind::Condition));
    }

    #[test]
    fn sensitive_records_are_not_mentioned_beside_others() {
        check(&[], &[Kind::MentalHealth, Kind::Condition], None);
        check(&["GDIS"], &[Kind::MentalHealth], None);
        check(&["PSY"], &[Kind::MentalHealth, Kind::Condition], Some(Kind::MentalHealth));
    }

    #[test]
    fn nobody_writes_what_the_chain_says() {
        let id = format!("{}.1", "0a".repeat(24));
        assert!(require_unmade(&id, &json!({})).is_err());
        assert!(require_unmade("mine", &json!({ "extension": [{ "url": ANCHOR }] })).is_err());
        assert!(require_unmade("mine", &json!({ "extension": [{ "url": "urn:mine" }] })).is_ok());
    }
}
