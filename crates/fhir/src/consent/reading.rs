//! Reading consents and searching for them.

use std::collections::BTreeMap;

use domain::{Address, Kind, KindSet, Reader, Refusal};

use super::{
    access::{may_file, note_refusal, sees},
    mirror::{mirrored_with, named, patients},
    showing::versions,
    waiting::{Filed, filed_of},
};
use crate::{
    caller::{Caller, Interaction},
    derived::{Derived, Names, is_watching, parse, patients_named},
    outcome::FhirError,
    reached::Reached,
    request::Request,
    resources::Resources,
};

/// The versions of a consent that the caller may see, the oldest first.
pub(crate) async fn read(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Vec<Derived>, FhirError> {
    caller.require("Consent", Interaction::Read)?;
    resources.gatekeeper().refresh(resources.now()).await?;
    let one = named(resources, id).await?;
    let Some(sees) = sees(resources, caller, &one).await else {
        note_refusal(resources, caller, one.key.patient).await?;
        return Err(FhirError::not_found());
    };
    let mut names = Names::new(resources);
    versions(resources, &mut names, &one, sees).await
}

/// What matches a search.
pub(crate) async fn find(
    resources: &Resources,
    caller: &Caller,
    pairs: &[(String, String)],
    request: &Request,
    reached: &mut Reached,
) -> Result<Vec<Derived>, FhirError> {
    resources.gatekeeper().refresh(resources.now()).await?;
    let query = parse(resources, "Consent", pairs, request)?;
    if query.links().next().is_some() {
        return Ok(Vec::new());
    }
    let named = pairs.iter().find(|(name, _)| name == "patient" || name == "patient:Patient");
    let only = match (named, caller.reader) {
        (Some((_, text)), _) => Some(patients_named(resources, text).await?.into_iter().collect()),
        (None, Reader::Patient { account }) => Some(vec![account]),
        (None, _) => caller.patient.map(|patient| vec![patient]),
    };
    let mut filed: BTreeMap<Address, Vec<Filed>> = BTreeMap::new();
    let mut patients = match only {
        Some(only) => {
            for patient in &only {
                filed.insert(*patient, filed_of(resources, Some(*patient)).await?);
            }
            only
        }
        None => {
            for one in filed_of(resources, None).await? {
                filed.entry(one.patient).or_default().push(one);
            }
            patients(resources).await.into_iter().chain(filed.keys().copied()).collect()
        }
    };
    patients.sort_unstable();
    patients.dedup();
    let kinds = KindSet::of(&[Kind::Administrative]);
    let mut names = Names::new(resources);
    let mut found = Vec::new();
    for patient in &patients {
        let mut any = false;
        let filed = filed.remove(patient).unwrap_or_default();
        for one in mirrored_with(resources, *patient, filed).await? {
            let Some(sees) = sees(resources, caller, &one).await else { continue };
            any = true;
            let newest = versions(resources, &mut names, &one, sees).await?.pop();
            found.extend(newest.filter(|newest| {
                search::matches(&query, "Consent", &newest.value, newest.updated)
            }));
        }
        if named.is_none() {
            continue;
        }
        // Whoever asked for one patient and may see nothing of theirs was refused; whoever may, and found
        // nothing, was answered.
        let may = is_watching(resources, &caller.reader) && caller.is_about(*patient)
            || may_file(resources, caller, *patient).await.is_some();
        match any || may {
            true => reached.count_one(*patient, kinds),
            false => reached.refuse_one(*patient, kinds, Refusal::NoConsent),
        }
    }
    Ok(found)
}
