//! The demonstration's volunteers: people made up for studies, whom the hospital alone knows.
//!
//! A study of a few patients is told nothing, and of real patients nobody knows what a study is told. Of these it is
//! certain: all of them, those with hypertension, and those without differ by five people and more, and there is one
//! person whom no question may leave out alone.

use std::sync::Arc;

use domain::{Kind, KindSet};
use futures_util::future::try_join_all;
use serde_json::json;
use vault::Listing;
use workflows::{
    PatientActor, Step,
    import::ParsedPatient,
    record::{self, Draft},
};

use crate::{Error, consortium::Consortium};

pub(crate) const HYPERTENSION: &str = "38341003";
pub(crate) const DIABETES: &str = "73211009";
pub(crate) const ASTHMA: &str = "195967001";

/// What each of them has, as codes of SNOMED CT.
pub(crate) const CONDITIONS: [&[&str]; 11] = [
    &[HYPERTENSION],
    &[HYPERTENSION],
    &[HYPERTENSION],
    &[HYPERTENSION],
    &[HYPERTENSION],
    &[HYPERTENSION, DIABETES],
    &[ASTHMA],
    &[ASTHMA],
    &[ASTHMA],
    &[ASTHMA],
    &[ASTHMA],
];

/// The volunteers, each with a relationship to the hospital and their conditions recorded there, and the steps that were
/// missing to that.
pub(crate) async fn gather(
    consortium: &Consortium,
) -> Result<(Vec<Arc<PatientActor>>, Vec<Step>), Error> {
    let named =
        |number| ParsedPatient { id: format!("salus-volunteer-{number}"), identifiers: Vec::new() };
    let volunteers: Vec<_> = (1..=CONDITIONS.len()).map(named).collect();
    let mut steps = Vec::new();
    let accounts = consortium.meet(&volunteers, &mut steps).await?;
    let (keeper, now) = (&consortium.institution("hospital").gatekeeper, consortium.now());
    let physician = consortium.person("physician").member;
    let mut actors = Vec::new();
    for account in accounts {
        // As with every patient whose records the physician brings.
        keeper.join_care_team(account, physician, now).await?;
        let known = consortium.patients.find(&account.to_string());
        actors.push(known.ok_or("a volunteer is not known")?);
    }
    let recording =
        actors.iter().zip(CONDITIONS).map(|(actor, codes)| record_all(consortium, actor, codes));
    steps.extend(try_join_all(recording).await?.into_iter().flatten());
    Ok((actors, steps))
}

/// Records the conditions of a volunteer that are not recorded yet; after a crash these are the last ones.
async fn record_all(
    consortium: &Consortium,
    patient: &PatientActor,
    codes: &[&str],
) -> Result<Vec<Step>, Error> {
    let (hospital, physician) =
        (consortium.institution("hospital"), consortium.person("physician"));
    let kinds = KindSet::of(&[Kind::Condition]);
    let listing = Listing { patient: patient.account(), steward: None, kinds };
    let held = hospital.gatekeeper.vault().list(&listing, None, codes.len()).await?;
    let mut steps = Vec::new();
    for code in codes.iter().skip(held.len()) {
        let now = consortium.now();
        let resource = json!({
            "resourceType": "Condition",
            "code": { "coding": [{ "system": "http://snomed.info/sct", "code": code }] },
            "subject": { "reference": format!("Patient/{}", patient.account()) },
            "recordedDate": now.to_string(),
        });
        let draft = Draft { kind: Kind::Condition, resource };
        steps.push(record::propose(hospital, physician, patient, &draft, now).await?.1);
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use alloy_primitives::B256;
    use workflows::research::{Auditor, Count, Scope, Withheld};

    use super::*;

    /// The volunteers who have a condition, but for those who have another.
    fn with(code: &str, but: Option<&str>) -> BTreeSet<usize> {
        let fits = |codes: &[&str]| {
            codes.contains(&code) && but.is_none_or(|other| !codes.contains(&other))
        };
        (0..CONDITIONS.len()).filter(|number| fits(CONDITIONS[*number])).collect()
    }

    /// What the story and the guide ask, in their order, of the rules that really answer.
    #[test]
    fn volunteers_make_cohorts_that_are_told() {
        let all: BTreeSet<usize> = (0..CONDITIONS.len()).collect();
        let scope = |number| Scope::Fitting(B256::with_last_byte(number));
        let mut auditor = Auditor::of(Vec::new(), 0);
        let few = all.iter().copied().take(3).collect();
        let told = |outcome: Result<(Count, _), Withheld>| outcome.map(|(count, _)| count);
        let count = auditor.count(Scope::Everybody, &few, &few);
        assert_eq!(told(count), Ok(Count::Suppressed));
        let count = auditor.count(Scope::Everybody, &all, &all);
        assert_eq!(told(count), Ok(Count::AtLeast(10)));
        let count = auditor.count(scope(1), &all, &with(HYPERTENSION, None));
        assert_eq!(told(count), Ok(Count::AtLeast(5)));
        let count = auditor.count(scope(2), &all, &with(HYPERTENSION, Some(DIABETES)));
        assert_eq!(told(count), Err(Withheld::TooClose));
        let count = auditor.count(scope(3), &all, &with(ASTHMA, None));
        assert_eq!(told(count), Ok(Count::AtLeast(5)));
    }
}
