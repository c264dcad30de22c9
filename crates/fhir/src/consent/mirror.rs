//! The mirror: what the chain holds of a patient's grants, each with its life, and what waits to be done to
//! it.

use domain::{Address, Terms, Timestamp};
use ledger::{ConsentChange, ConsentDeed, Moment};

use super::{
    ids::Key,
    waiting::{FILED_MS, Filed, filed_of, patient_who_waits},
};
use crate::{outcome::FhirError, resources::Resources};

/// A grant after one thing that happened to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) terms: Option<Terms>,
    pub(super) version: u32,
    is_granted: bool,
    pub(super) is_countersigned: bool,
    pub(super) moment: Moment,
}

/// A grant with its life and what waits to be done to it.
#[derive(Clone, Debug)]
pub(super) struct Mirrored {
    pub(super) id: String,
    pub(super) key: Key,
    pub(super) steps: Vec<Step>,
    pub(super) filed: Option<Filed>,
    /// Whether the policy wants this steward's signature as well.
    pub(super) needs_countersignature: bool,
}

impl Mirrored {
    pub(super) fn status(&self, step: &Step, now: Timestamp) -> &'static str {
        let is_over = step.terms.is_none_or(|terms| terms.period.closes_at() <= now);
        match () {
            () if !step.is_granted || is_over => "inactive",
            () if self.needs_countersignature && !step.is_countersigned => "proposed",
            () => "active",
        }
    }

    /// Whether the chain holds a grant that is not over.
    pub(super) fn stands(&self, now: Timestamp) -> bool {
        self.steps.last().is_some_and(|step| self.status(step, now) != "inactive")
    }
}

/// What the chain and this gateway know of a patient's consents.
pub(super) async fn mirrored(
    resources: &Resources,
    patient: Address,
) -> Result<Vec<Mirrored>, FhirError> {
    let filed = filed_of(resources, Some(patient)).await?;
    mirrored_with(resources, patient, filed).await
}

/// The same, with what waits for the patient's signature known already.
pub(super) async fn mirrored_with(
    resources: &Resources,
    patient: Address,
    filed: Vec<Filed>,
) -> Result<Vec<Mirrored>, FhirError> {
    let (mut all, now) = (Vec::<Mirrored>::new(), resources.now_ms());
    let steward = resources.gatekeeper().member();
    let projection = resources.gatekeeper().projection().await;
    let relationship = projection.consents.relationship(patient, steward);
    let countersigned = relationship.is_some_and(|relationship| relationship.countersigned);
    let at = |key: Key, all: &mut Vec<Mirrored>| {
        all.iter().position(|one| one.key == key).unwrap_or_else(|| {
            let needs_countersignature = countersigned && key.reader != steward;
            // Its id is made when nobody waits for what is known of the chain.
            let (id, steps) = (String::new(), Vec::new());
            all.push(Mirrored { id, key, steps, filed: None, needs_countersignature });
            all.len() - 1
        })
    };
    for ConsentChange { reader, record, deed, moment } in projection.consents.changes(patient) {
        let key = Key { patient, reader: *reader, record: *record };
        let index = at(key, &mut all);
        let Some(one) = all.get_mut(index) else { continue };
        let before = one.steps.last().copied();
        let before = before.unwrap_or(Step {
            terms: None,
            version: 0,
            is_granted: false,
            is_countersigned: false,
            moment: *moment,
        });
        let before = Step { moment: *moment, ..before };
        one.steps.push(match *deed {
            ConsentDeed::Granted { terms, version } => Step {
                terms: Some(terms),
                version,
                is_granted: true,
                is_countersigned: false,
                ..before
            },
            ConsentDeed::Revoked => Step { is_granted: false, is_countersigned: false, ..before },
            ConsentDeed::Countersigned { steward: by, version } if by == steward => {
                Step { is_countersigned: version == before.version, ..before }
            }
            ConsentDeed::CountersignatureWithdrawn { steward: by } if by == steward => {
                Step { is_countersigned: false, ..before }
            }
            // Another steward's signature is about that one's records.
            _ => continue,
        });
    }
    drop(projection);
    for filed in filed {
        let key = Key { patient, reader: filed.reader, record: filed.record };
        let index = at(key, &mut all);
        let Some(one) = all.get_mut(index) else { continue };
        if one.steps.len() == filed.steps && now < filed.filed.saturating_add(FILED_MS) {
            one.filed = Some(filed);
        }
    }
    all.retain(|one| !one.steps.is_empty() || one.filed.is_some());
    for one in &mut all {
        one.id = one.key.id(resources);
    }
    Ok(all)
}

/// The consent with an id, whoever may see it.
pub(super) async fn named(resources: &Resources, id: &str) -> Result<Mirrored, FhirError> {
    let ids = &resources.inner.grants;
    if ids.patient_of(id).is_none() {
        let unknown = {
            let projection = resources.gatekeeper().projection().await;
            let consents = &projection.consents;
            ids.unknown(consents.patients_with_changes().flat_map(|patient| {
                let key = move |change: &ConsentChange| {
                    let (reader, record) = (change.reader, change.record);
                    Key { patient, reader, record }
                };
                consents.changes(patient).iter().map(key)
            }))
        };
        for key in unknown {
            key.id(resources);
        }
    }
    let met = match ids.patient_of(id) {
        // Of grants that this institution has no part in, nothing is shown.
        Some(patient) if is_known(resources, patient).await => Some(patient),
        _ => None,
    };
    let patient = match met {
        Some(patient) => Some(patient),
        None => patient_who_waits(resources, id).await?,
    };
    let patient = patient.ok_or_else(FhirError::not_found)?;
    let all = mirrored(resources, patient).await?;
    all.into_iter().find(|one| one.id == id).ok_or_else(FhirError::not_found)
}

/// Whether a patient has or had a relationship with this institution.
async fn is_known(resources: &Resources, patient: Address) -> bool {
    let projection = resources.gatekeeper().projection().await;
    projection.consents.relationship(patient, resources.gatekeeper().member()).is_some()
}

/// The patients whose consents this institution shows: those with whom it has or had a relationship.
pub(super) async fn patients(resources: &Resources) -> Vec<Address> {
    let projection = resources.gatekeeper().projection().await;
    let member = resources.gatekeeper().member();
    let known = projection.consents.patients_with_changes();
    known.filter(|patient| projection.consents.relationship(*patient, member).is_some()).collect()
}
