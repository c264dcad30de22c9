//! Clinical trials: a protocol that is fixed before anybody takes part, arms that nobody can steer, and results
//! that belong to the data as it was locked.
//!
//! In this order:
//!
//! 1. A researcher of the sponsor registers the protocol; an auditor of a regulator approves it. Each institution
//!    commits to a seed. Sites are invited and join.
//! 2. A patient reads the protocol, consents at a site, and commits to a nonce. A doctor or researcher of the site
//!    holds the patient against the criteria, which decides whether they are enrolled. Then the patient opens the nonce.
//! 3. A pharmacist of the site, who has both seeds, commits to the arm. Nobody else knows it.
//! 4. Visits: data is sealed by the site's people, and its digest continues the trial's chain of digests. A new
//!    version of the protocol needs the regulator's approval and each subject's consent before more is entered.
//!    Serious adverse events are reported within 24 hours, and acknowledged by the sponsor.
//! 5. The sponsor locks the data, both institutions reveal their seeds, and the sponsor publishes results.
//!
//! Protocol and results are about no patient. They are files of the sponsor ([`Dossier`], [`Results`]), whose
//! salted digests are on chain, and [`check()`] holds them against it. What is about a patient is a record of the
//! site, sealed and anchored like any other: the consent form, the screening, each visit, each adverse event, and
//! the reason of an unblinding. That somebody takes part in a trial, and in what order, is on chain for all
//! members to see; which trial it is, only for who has its protocol.
//!
//! Sponsor, regulator, sites and subjects are told of what others did, in `notify`.

mod arms;
mod checks;
mod data;
mod protocol;
mod sponsor;
mod subject;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent;
use bindings::{Contract, Trials};
use ledger::CallError;

pub use arms::{
    Allocation, Nonce, Seed, Seeds, allocation_salt, arm_for, arm_of, commit, enter_key,
    is_allocated_rightly, may_know,
};
pub use checks::{Difference, Version, check, versions};
pub use data::{Data, Entry, Outcome, Results, data_of};
pub use protocol::{
    ARMS_MAX, Criterion, DOSSIER_MAX, Dossier, Endpoint, ITEMS_MAX, Protocol, Rank, Salts, TEXT_MAX,
};
pub use sponsor::{
    acknowledge, approve, approve_amendment, invite, join, lock, propose_amendment, publish,
    register, reveal, stop,
};
pub use subject::{
    AdverseEvent, Agreement, Finding, Item, Reported, Screening, adverse_events, allocate, consent,
    enter, file_consent, is_overdue, open_nonce, report_adverse_event, screen, unblind, withdraw,
};

use crate::{Gateway, WorkflowError};

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its protocol is fixed.
    Registered,
    /// It was approved, and patients take part.
    Recruiting,
    /// No more data.
    Locked,
    /// Everybody knows who got what.
    Unblinded,
    /// There are results.
    Published,
    /// Ended without.
    Stopped,
}

impl State {
    /// In the order of their numbers on chain, from 1.
    const ALL: [(Self, &'static str); 6] = [
        (Self::Registered, "registered"),
        (Self::Recruiting, "recruiting"),
        (Self::Locked, "locked"),
        (Self::Unblinded, "unblinded"),
        (Self::Published, "published"),
        (Self::Stopped, "stopped"),
    ];

    /// The state with this number on chain; none for a trial that there is not.
    ///
    /// # Source
    ///
    /// `State` in `Trials.sol`.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        let index = usize::from(number).checked_sub(1)?;
        Self::ALL.get(index).map(|(state, _)| *state)
    }

    /// As people say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| *name)
    }
}

/// Where a patient stands in a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Has no part in it.
    None,
    /// Consented, and was not held against the criteria yet.
    Consented,
    /// Takes part.
    Enrolled,
    /// Does not fit the criteria.
    Excluded,
    /// Withdrew, for good.
    Withdrawn,
}

impl Standing {
    /// In the order of their numbers on chain, from 0.
    const ALL: [(Self, &'static str); 5] = [
        (Self::None, "no subject"),
        (Self::Consented, "consented"),
        (Self::Enrolled, "enrolled"),
        (Self::Excluded, "excluded"),
        (Self::Withdrawn, "withdrawn"),
    ];

    /// As people say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(standing, _)| *standing == self).map_or("", |(_, name)| *name)
    }
}

/// All that the chain holds of a trial, with the state that it is in.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none with that id.
pub async fn trial_of(
    gateway: &Gateway,
    id: B256,
) -> Result<(State, Trials::Trial), WorkflowError> {
    let call = Trials::trialOfCall { id };
    let (at, latest) = (gateway.at(Contract::Trials), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    let unknown = WorkflowError::Unknown { what: "trial", id };
    Ok((State::from_number(held.state).ok_or(unknown)?, held))
}

/// All that the chain holds of a patient in a trial, with where they stand.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn subject_of(
    gateway: &Gateway,
    id: B256,
    patient: Address,
) -> Result<(Standing, Trials::Subject), WorkflowError> {
    let call = Trials::subjectOfCall { id, patient };
    let (at, latest) = (gateway.at(Contract::Trials), Default::default());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    let standing = Standing::ALL.get(usize::from(held.standing));
    let (standing, _) = standing.ok_or(WorkflowError::Unknown { what: "subject of trial", id })?;
    Ok((*standing, held))
}

/// Where an event is: its block, and its place there.
type Place = (u64, u64);

/// The events of one kind about a trial, in their order; about all trials when none is named.
async fn events_of<E: SolEvent>(
    gateway: &Gateway,
    id: Option<B256>,
) -> Result<Vec<(Place, E)>, WorkflowError> {
    let filter = Filter::new()
        .address(gateway.at(Contract::Trials))
        .event_signature(E::SIGNATURE_HASH)
        .from_block(0);
    let filter = match id {
        Some(id) => filter.topic1(id),
        None => filter,
    };
    let logs = gateway.gatekeeper.ledger().logs(&filter).await.map_err(CallError::from)?;
    let mut events = Vec::with_capacity(logs.len());
    for log in &logs {
        let place = (log.block_number.unwrap_or_default(), log.log_index.unwrap_or_default());
        if let Ok(event) = E::decode_log(&log.inner) {
            events.push((place, event.data));
        }
    }
    events.sort_by_key(|(place, _)| *place);
    Ok(events)
}
