//! Whom one question reached: each patient whose records it looked for, or whom it named, and what came of
//! it.
//!
//! A question may decide on thousands of records, several times over. It leaves one receipt with each
//! patient all the same (S5), which is on the disk before the answer leaves: that something of theirs was
//! shown or counted; or that all of it was refused; or, with a patient whom the question named, that there
//! was nothing, for that is an answer too. Whom a question neither named nor found in the index has no
//! part in it.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use domain::{Address, Kind, KindSet, Outcome, Refusal};
use futures_util::future::try_join_all;
use gatekeeper::Refusals;

use crate::{
    caller::Caller,
    catalogue::account_in,
    derived::Derived,
    outcome::FhirError,
    resources::Resources,
    tables::{Filed, Row},
};

/// How many receipts are handed to the log at a time, which writes together what waits.
const NOTED_AT_ONCE: usize = 256;

/// Whom a question reached, until it is [settled](Reached::settle).
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// With whom there is a receipt that says what was opened.
    shown: BTreeSet<Address>,
    /// With whom there is one of something else, and of which kinds.
    told: BTreeMap<Address, KindSet>,
    counted: BTreeMap<Address, KindSet>,
    refused: Refusals,
    /// Whom it named, and the kinds that it wanted.
    named: BTreeMap<Address, KindSet>,
    /// The patients whose records alone it looks for, when there are such.
    only: Option<BTreeSet<Address>>,
    /// Whether nobody was answered.
    is_given_up: bool,
}

impl Reached {
    /// Notes whom the question names.
    pub(crate) fn name(&mut self, patient: Address, kinds: KindSet) {
        let all = self.named.entry(patient).or_default();
        *all = all.union(kinds);
    }

    /// Limits the question to the records of these patients, linked ones included. What is in the directory
    /// is nobody's record.
    pub(crate) fn look_only_at(&mut self, patients: BTreeSet<Address>) {
        self.only = Some(patients);
    }

    /// The patients whose records alone the question looks for; `None` stands for everybody.
    pub(crate) const fn only(&self) -> Option<&BTreeSet<Address>> {
        self.only.as_ref()
    }

    /// Notes what was refused.
    pub(crate) fn refuse(&mut self, refusals: Refusals) {
        for (patient, (kinds, reason)) in refusals {
            let (all, _) = self.refused.entry(patient).or_insert((KindSet::EMPTY, reason));
            *all = all.union(kinds);
        }
    }

    /// Notes that somebody's records of some kinds were refused.
    pub(crate) fn refuse_one(&mut self, patient: Address, kinds: KindSet, reason: Refusal) {
        self.refuse(Refusals::from([(patient, (kinds, reason))]));
    }

    /// Notes whose records there is a receipt of that says what was opened.
    pub(crate) fn show(&mut self, patients: impl IntoIterator<Item = Address>) {
        self.shown.extend(patients);
    }

    /// Notes whose records were counted: how many there are says something, too.
    pub(crate) fn count(&mut self, filed: impl IntoIterator<Item = Filed>) {
        for filed in filed {
            self.count_one(filed.patient, KindSet::of(&[filed.kind]));
        }
    }

    /// Notes that something of these kinds was counted, or told without being opened.
    pub(crate) fn count_one(&mut self, patient: Address, kinds: KindSet) {
        let all = self.counted.entry(patient).or_default();
        *all = all.union(kinds);
    }

    /// Notes of whom something that was made was counted.
    pub(crate) fn count_made<'d>(&mut self, made: impl IntoIterator<Item = &'d Derived>) {
        for one in made {
            self.count_one(one.patient, one.kinds);
        }
    }

    /// Notes what was counted of another, as if it had been counted here.
    pub(crate) fn count_as(&mut self, other: Self) {
        for (patient, kinds) in other.counted {
            self.count_one(patient, kinds);
        }
    }

    /// Notes whom a search names: each patient whose resource, or whose record, it names by its id.
    ///
    /// # Errors
    ///
    /// [`FhirError`] when the database failed.
    pub(crate) async fn name_all(
        &mut self,
        resources: &Resources,
        caller: &Caller,
        query: &search::Query,
    ) -> Result<(), FhirError> {
        let named = query.named();
        if named.is_empty() {
            return Ok(());
        }
        let wanted = kinds_of(query.resource_type());
        let mut connection = resources.database().readers().acquire().await?;
        for (resource_type, id) in named {
            let patient = match account_in(id).filter(|_| resource_type == "Patient") {
                Some(account) => account,
                None => {
                    let row = Row::find(&mut connection, resource_type, id).await?;
                    let Some(filed) = row.and_then(|row| row.record) else { continue };
                    filed.patient
                }
            };
            self.name(patient, wanted);
            // A token for one patient never reaches another's records.
            if !caller.is_about(patient) {
                self.refuse_one(patient, wanted, Refusal::NoConsent);
            }
        }
        Ok(())
    }

    /// Leaves the receipts that are missing of a question that came out like this, and gives that back.
    ///
    /// # Errors
    ///
    /// The one that it came out with, or [`FhirError`] when the database failed.
    pub(crate) async fn answer<T>(
        mut self,
        resources: &Resources,
        caller: &Caller,
        outcome: Result<T, FhirError>,
    ) -> Result<T, FhirError> {
        // That somebody is not found is an answer.
        let is_answer = |error: &FhirError| error.status == StatusCode::NOT_FOUND;
        self.is_given_up = outcome.as_ref().is_err_and(|error| !is_answer(error));
        self.settle(resources, caller).await?;
        outcome
    }

    /// Leaves the receipts that are missing. Nothing may be answered before; what is noted after it is
    /// settled again.
    ///
    /// # Errors
    ///
    /// [`FhirError`] when the database failed; then nothing may be answered.
    pub(crate) async fn settle(
        &mut self,
        resources: &Resources,
        caller: &Caller,
    ) -> Result<(), FhirError> {
        let (gatekeeper, now, reading) =
            (resources.gatekeeper(), resources.now(), caller.reading());
        let mut told: BTreeMap<Address, (KindSet, Outcome)> = BTreeMap::new();
        let allowed = || Outcome::Allowed { records: Vec::new(), basis: None };
        for (patient, kinds) in std::mem::take(&mut self.counted) {
            told.insert(patient, (kinds, allowed()));
        }
        for (patient, (kinds, reason)) in std::mem::take(&mut self.refused) {
            told.entry(patient).or_insert_with(|| (kinds, Outcome::refused(reason)));
        }
        for (patient, kinds) in std::mem::take(&mut self.named) {
            let is_told = told.contains_key(&patient) || self.told.contains_key(&patient);
            if is_told || self.shown.contains(&patient) {
                continue;
            }
            let outcome = match self.is_given_up {
                true => Outcome::Refused { reason: "the search was not answered".into() },
                false => gatekeeper.outcome_of_nothing(reading, patient, kinds, now).await,
            };
            told.insert(patient, (kinds, outcome));
        }
        // What was shown stands for the rest of what was asked with it; kinds that come up later do not.
        let shown = std::mem::take(&mut self.shown);
        told.retain(|patient, (kinds, _)| {
            let before = self.told.entry(*patient).or_default();
            let is_new =
                !shown.contains(patient) && kinds.iter().any(|kind| !before.contains(kind));
            *before = before.union(*kinds);
            is_new
        });
        for patient in shown {
            self.told.entry(patient).or_default();
        }
        let mut told = told.into_iter().peekable();
        while told.peek().is_some() {
            let together = told.by_ref().take(NOTED_AT_ONCE);
            let noting = together.map(|(patient, (kinds, outcome))| {
                gatekeeper.note(reading, patient, kinds, outcome, now)
            });
            try_join_all(noting).await?;
        }
        Ok(())
    }
}

/// What resources of a type may be about, as far as the type tells.
pub(crate) fn kinds_of(resource_type: &str) -> KindSet {
    const CATEGORIES: &[&[&str]] =
        &[&[], &["laboratory"], &["imaging"], &["genomics"], &["social-history"]];
    let kinds = CATEGORIES.iter().filter_map(|some| Kind::of_resource(resource_type, some, &[]));
    let kinds: KindSet = kinds.collect();
    if kinds.is_empty() { KindSet::of(&[Kind::Administrative]) } else { kinds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_the_type() {
        assert_eq!(kinds_of("Patient"), KindSet::of(&[Kind::Demographics]));
        assert_eq!(kinds_of("Organization"), KindSet::of(&[Kind::Administrative]));
        assert!(kinds_of("Observation").contains(Kind::Laboratory));
        assert!(kinds_of("Observation").contains(Kind::VitalSign));
    }
}
