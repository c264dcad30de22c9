//! Published documents held against what was fixed on chain.

use std::fmt;

use alloy_primitives::B256;
use bindings::Trials;

use super::{Dossier, Results, data::entered, events_of, trial_of};
use crate::{Gateway, WorkflowError};

/// A version of a protocol that was in force, by its digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// From 1.
    pub number: u16,
    /// The digest of the protocol.
    pub protocol: B256,
    /// The digest of the criteria.
    pub criteria: B256,
}

/// The versions that were in force, the newest last.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when they do not lead to the one in force: the endpoint leaves some out.
pub async fn versions(gateway: &Gateway, id: B256) -> Result<Vec<Version>, WorkflowError> {
    let (_, held) = trial_of(gateway, id).await?;
    let registered = events_of::<Trials::TrialRegistered>(gateway, Some(id)).await?;
    let proposed = events_of::<Trials::AmendmentProposed>(gateway, Some(id)).await?;
    let mut found: Vec<_> = registered
        .iter()
        .map(|(_, event)| Version {
            number: 1,
            protocol: event.design.protocol,
            criteria: event.design.criteria,
        })
        .collect();
    for (place, approved) in events_of::<Trials::AmendmentApproved>(gateway, Some(id)).await? {
        // One may be asked for again and again before it is approved: the last of them counts.
        let last = proposed
            .iter()
            .rev()
            .find(|(asked, event)| (event.version, *asked < place) == (approved.version, true));
        found.extend(last.map(|(_, event)| Version {
            number: event.version,
            protocol: event.protocol,
            criteria: event.criteria,
        }));
    }
    let newest = Version { number: held.version, protocol: held.protocol, criteria: held.criteria };
    let is_whole = found.len() == usize::from(held.version) && found.last() == Some(&newest);
    if is_whole {
        Ok(found)
    } else {
        Err(WorkflowError::Invalid("the versions do not lead to the one in force".into()))
    }
}

/// Something that is not as it was fixed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// There was no such version.
    NoVersion(u16),
    /// The protocol is not that version, word for word.
    Protocol(u16),
    /// The endpoints are not those that were registered.
    Endpoints,
    /// The criteria are not those of that version.
    Criteria,
    /// The number of arms is another.
    Arms,
    /// The entries on chain do not lead to the data that was locked.
    Entries,
    /// The results are of other data than was locked.
    Data,
    /// The results name other endpoints, or not each of them once and in order.
    Outcomes,
    /// The results use entries that may not be used, or leave some out.
    Used,
    /// The results are not those that were published, word for word.
    Results,
    /// No results were published.
    Unpublished,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NoVersion(version) => return write!(f, "version {version} was never in force"),
            Self::Protocol(version) => {
                return write!(f, "the protocol is not version {version} as it was fixed");
            }
            Self::Endpoints => "the endpoints are not those that were registered",
            Self::Criteria => "the criteria are not those that were fixed",
            Self::Arms => "the arms are not as many as were registered",
            Self::Entries => "the entries do not lead to the data that was locked",
            Self::Data => "the results are of other data than was locked",
            Self::Outcomes => "the results are not for the endpoints, each once and in order",
            Self::Used => "the results do not use the entries that may be used",
            Self::Results => "the results are not those that were published",
            Self::Unpublished => "no results were published",
        };
        f.write_str(text)
    }
}

/// Whether there is one outcome for each endpoint, in their order.
pub(super) fn answers(results: &Results, dossier: &Dossier) -> bool {
    let named = results.outcomes.iter().map(|outcome| outcome.endpoint.as_str());
    !results.outcomes.is_empty() && named.eq(dossier.endpoints())
}

/// Holds a protocol, and results when there are some, against what was fixed on chain. Nothing is found when
/// they are what they should be.
///
/// # Errors
///
/// [`WorkflowError`] when there is no such trial, or the chain cannot be asked.
pub async fn check(
    gateway: &Gateway,
    dossier: &Dossier,
    results: Option<&Results>,
) -> Result<Vec<Difference>, WorkflowError> {
    let id = dossier.trial;
    let (_, held) = trial_of(gateway, id).await?;
    let mut found = Vec::new();
    let mut note = |differs: bool, difference| found.extend(differs.then_some(difference));
    let number = dossier.version;
    match versions(gateway, id).await?.into_iter().find(|version| version.number == number) {
        None => note(true, Difference::NoVersion(number)),
        Some(version) => {
            note(dossier.protocol_digest() != version.protocol, Difference::Protocol(number));
            note(dossier.criteria_digest() != version.criteria, Difference::Criteria);
        }
    }
    note(dossier.endpoints_digest() != held.endpoints, Difference::Endpoints);
    note(dossier.arms().len() != usize::from(held.arms), Difference::Arms);
    let Some(results) = results else { return Ok(found) };
    let published = events_of::<Trials::ResultsPublished>(gateway, Some(id)).await?;
    let place = published.last().map(|(place, _)| *place);
    let data = entered(gateway, id, place).await?;
    note(data.head != held.dataHead, Difference::Entries);
    note((results.trial, results.data) != (id, held.dataHead), Difference::Data);
    let is_for_them = results.endpoints == held.endpoints && answers(results, dossier);
    note(!is_for_them, Difference::Outcomes);
    let counted = (data.entries.len() as u64, data.used() as u64);
    note((results.entries, results.used) != counted, Difference::Used);
    note(held.results.is_zero(), Difference::Unpublished);
    note(!held.results.is_zero() && results.digest() != held.results, Difference::Results);
    Ok(found)
}
