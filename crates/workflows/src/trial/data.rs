//! The data of a trial as one chain of digests, and the results that belong to it.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::Trials;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Place, events_of, protocol, trial_of};
use crate::{Gateway, WorkflowError};

/// Data of one visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Of whom, by account.
    pub patient: Address,
    /// By whom, by member address.
    pub by: Address,
    /// Which visit of theirs, from 1.
    pub visit: u16,
    /// The digest of the sealed record.
    pub digest: B256,
    /// Whether it may be used: nobody's may who withdrew and said so.
    pub is_usable: bool,
}

/// All that was entered, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Data {
    /// Where the chain of digests ends.
    pub head: B256,
    /// What was entered.
    pub entries: Vec<Entry>,
}

impl Data {
    /// How many entries may be used.
    #[must_use]
    pub fn used(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_usable).count()
    }
}

/// What was entered, each link computed again up to the head that the contract holds.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the entries do not lead to the head: the endpoint leaves some out.
pub async fn data_of(gateway: &Gateway, id: B256) -> Result<Data, WorkflowError> {
    let (_, held) = trial_of(gateway, id).await?;
    let data = entered(gateway, id, None).await?;
    if data.head == held.dataHead {
        Ok(data)
    } else {
        Err(WorkflowError::Invalid("the entries do not lead to the head of the data".into()))
    }
}

/// What was entered, and its end as it comes out; whose withdrawals came before a place count.
pub(super) async fn entered(
    gateway: &Gateway,
    id: B256,
    before: Option<Place>,
) -> Result<Data, WorkflowError> {
    let withdrawals = events_of::<Trials::SubjectWithdrawn>(gateway, Some(id)).await?;
    let forbidden: BTreeSet<Address> = withdrawals
        .into_iter()
        .filter(|(place, event)| !event.keepData && before.is_none_or(|before| *place < before))
        .map(|(_, event)| event.patient)
        .collect();
    let (mut head, mut entries) = (B256::ZERO, Vec::new());
    for (_, event) in events_of::<Trials::DataEntered>(gateway, Some(id)).await? {
        let Trials::DataEntered { patient, by, visit, digest, .. } = event;
        head = keccak256((head, patient, visit, digest).abi_encode());
        let is_usable = !forbidden.contains(&patient);
        entries.push(Entry { patient, by, visit, digest, is_usable });
    }
    Ok(Data { head, entries })
}

/// What came out for one endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outcome {
    /// The endpoint, word for word.
    pub endpoint: String,
    /// What came out.
    pub result: String,
}

/// Results, as a file that is published. On chain is its digest, drawn as those of the protocol are, under the
/// label "salus/trial-results/v1" and over everything but the salt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Of which trial.
    pub trial: B256,
    /// The salt of the digest.
    pub salt: B256,
    /// The digest of the endpoints that were registered.
    pub endpoints: B256,
    /// Where the data ended when it was locked.
    pub data: B256,
    /// How many entries there were.
    pub entries: u64,
    /// How many of them were used: not those of who withdrew and said so.
    pub used: u64,
    /// What came out, one for each endpoint.
    pub outcomes: Vec<Outcome>,
}

impl Results {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it is too long, or holds no results.
    pub fn read(bytes: &[u8]) -> Result<Self, WorkflowError> {
        let invalid = || WorkflowError::Invalid("the file holds no results of a trial".into());
        if bytes.len() > protocol::DOSSIER_MAX {
            return Err(invalid());
        }
        serde_json::from_slice(bytes).map_err(|_| invalid())
    }

    /// The file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("results have a text")
    }

    /// As it stands on chain.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let mut value = serde_json::to_value(self).expect("results have a text");
        if let Value::Object(fields) = &mut value {
            fields.remove("salt");
        }
        protocol::digest("salus/trial-results/v1", self.trial, self.salt, &value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_results_is_over_all_that_they_say() {
        let word = B256::repeat_byte;
        let outcome = |result: &str| Outcome { endpoint: "death".into(), result: result.into() };
        let results = Results {
            trial: word(1),
            salt: word(2),
            endpoints: word(3),
            data: word(4),
            entries: 5,
            used: 4,
            outcomes: vec![outcome("fewer")],
        };
        let same = Results::read(&results.to_bytes()).unwrap();
        assert_eq!((same.digest(), &same), (results.digest(), &results));
        let changed = [
            Results { salt: word(9), ..results.clone() },
            Results { data: word(9), ..results.clone() },
            Results { used: 5, ..results.clone() },
            Results { outcomes: vec![outcome("more")], ..results.clone() },
        ];
        for other in changed {
            assert_ne!(other.digest(), results.digest());
        }
    }
}
