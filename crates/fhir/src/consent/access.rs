//! Who sees a consent, and who may file one for a patient. Whoever is refused leaves a receipt.

use domain::{Address, Basis, Kind, KindSet, Outcome, Reader, Refusal};

use super::mirror::{Mirrored, named};
use crate::{caller::Caller, derived::is_watching, outcome::FhirError, resources::Resources};

/// How somebody may see a consent.
pub(super) enum Sees {
    /// All of it, with what waits for the patient.
    All(Option<Basis>),
    /// What it says of the reader whom it names.
    AsReader(Basis),
}

pub(super) async fn sees(resources: &Resources, caller: &Caller, one: &Mirrored) -> Option<Sees> {
    let (patient, own) = (one.key.patient, resources.gatekeeper().member());
    if !caller.is_about(patient) {
        return None;
    }
    if let Some(basis) = may_file(resources, caller, patient).await {
        return Some(Sees::All(basis));
    }
    if is_watching(resources, &caller.reader) {
        return Some(Sees::All(None));
    }
    let is_patient = matches!(caller.reader, Reader::Patient { .. });
    let version = one.steps.last()?.version;
    let is_named =
        !is_patient && caller.reader.is_named_by(one.key.reader) && one.key.reader != own;
    is_named.then_some(Sees::AsReader(Basis::Consent { reader: one.key.reader, version }))
}

/// Whether somebody may file for a patient, and on what grounds: the patient, who cares for them here,
/// and the institution's own systems. What is known of the chain should be up to date.
pub(super) async fn may_file(
    resources: &Resources,
    caller: &Caller,
    patient: Address,
) -> Option<Option<Basis>> {
    let gatekeeper = resources.gatekeeper();
    let own = gatekeeper.member();
    if !caller.is_about(patient) {
        return None;
    }
    match caller.reader {
        Reader::Patient { account } => (account == patient).then_some(Some(Basis::OwnRecord)),
        Reader::Institution { member, .. } => (member == own).then_some(None),
        Reader::Professional { member, institution, .. } => {
            let cares = institution == own && gatekeeper.cares_for(patient, member).await;
            cares.then_some(Some(Basis::CareTeam))
        }
    }
}

/// A consent for somebody who may change it.
pub(super) async fn filer_of(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Mirrored, FhirError> {
    let one = named(resources, id).await?;
    if may_file(resources, caller, one.key.patient).await.is_some() {
        return Ok(one);
    }
    note_refusal(resources, caller, one.key.patient).await?;
    Err(FhirError::not_found())
}

pub(super) async fn note_refusal(
    resources: &Resources,
    caller: &Caller,
    patient: Address,
) -> Result<(), FhirError> {
    let kinds = KindSet::of(&[Kind::Administrative]);
    let outcome = Outcome::refused(Refusal::NoConsent);
    let (gatekeeper, now) = (resources.gatekeeper(), resources.now());
    gatekeeper.note(caller.reading(), patient, kinds, outcome, now).await?;
    Ok(())
}
