//! The rounds of an operation, as its events tell them: which team was to operate when, and who signed what.
//!
//! The contract holds only the running step of the newest round; team and time in it are those of the last
//! schedule, also when that was of an earlier round. What no longer counts is left out here: signatures over
//! another document than the one that the others signed, of somebody who was relieved, or from before the
//! operation was scheduled anew or the consent withdrawn.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEventInterface as _;
use bindings::{Contract, Surgeries::SurgeriesEvents as Event, convert::timestamp};
use domain::Timestamp;
use ledger::CallError;

use super::{Phase, standing};
use crate::{Gateway, WorkflowError};

/// One round of an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Which, from 1.
    pub number: u64,
    /// Who operates, by member address: surgeon, anaesthetist, nurse; nothing before they are scheduled.
    pub team: Option<[Address; 3]>,
    /// When; nothing before it is scheduled.
    pub scheduled_at: Option<Timestamp>,
    /// The phases of the checklist that were signed, or are being signed, in their order.
    pub signed: Vec<Signatures>,
    is_begun: bool,
}

/// Who signed a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signatures {
    /// Which phase.
    pub phase: Phase,
    /// Over which document.
    pub digest: B256,
    /// Who, by member address, in the order in which they signed.
    pub by: Vec<Address>,
    /// Whether nobody's signature is missing.
    pub is_complete: bool,
}

impl Round {
    /// The document of a phase that everybody signed.
    #[must_use]
    pub fn completed(&self, phase: Phase) -> Option<B256> {
        let of_phase = |signed: &&Signatures| signed.phase == phase && signed.is_complete;
        self.signed.iter().find(of_phase).map(|signed| signed.digest)
    }

    fn sign(&mut self, phase: Phase, digest: B256, by: Address, is_complete: bool) {
        self.signed.retain(|signed| {
            signed.is_complete || (signed.phase, signed.digest) == (phase, digest)
        });
        match self.signed.last_mut().filter(|signed| !signed.is_complete) {
            Some(signed) => {
                signed.by.push(by);
                signed.is_complete = is_complete;
            }
            None => self.signed.push(Signatures { phase, digest, by: vec![by], is_complete }),
        }
    }

    /// Somebody else sits in a seat from now on.
    fn relieve(&mut self, seat: u8, member: Address) {
        let Some(held) = self.team.as_mut().and_then(|team| team.get_mut(usize::from(seat))) else {
            return;
        };
        let before = std::mem::replace(held, member);
        // After the time-out there is another one: nobody begins who was not there.
        let is_begun = self.is_begun;
        self.signed
            .retain(|signed| is_begun || signed.phase != Phase::TimeOut || !signed.is_complete);
        if let Some(running) = self.signed.last_mut().filter(|signed| !signed.is_complete) {
            running.by.retain(|signer| *signer != before);
        }
        self.signed.retain(|signed| !signed.by.is_empty());
    }
}

/// All rounds of an operation, and what else signing has to know of them.
#[derive(Debug)]
pub(super) struct History {
    pub(super) rounds: Vec<Round>,
    /// The documents that completed a phase, whether or not that still counts.
    pub(super) completed: BTreeSet<B256>,
}

impl History {
    pub(super) async fn read(gateway: &Gateway, id: B256) -> Result<Self, WorkflowError> {
        Ok(Self::of(events(gateway, id).await?))
    }

    fn of(events: impl IntoIterator<Item = Event>) -> Self {
        let first = Round { number: 1, ..Round::default() };
        let mut history = Self { rounds: vec![first], completed: BTreeSet::new() };
        for event in events {
            history.apply(event);
        }
        history
    }

    /// The round that goes on.
    pub(super) fn newest(&self) -> &Round {
        self.rounds.last().expect("there is a first round")
    }

    fn apply(&mut self, event: Event) {
        let round = self.rounds.last_mut().expect("there is a first round");
        match event {
            Event::SurgeryScheduled(event) => {
                round.team = Some(event.team);
                round.scheduled_at = Some(timestamp(event.scheduledAt));
                round.signed.clear();
            }
            Event::TeamChanged(event) => round.relieve(event.seat, event.member),
            Event::ChecklistSigned(event) => {
                let Some(phase) = Phase::leading_to(event.step) else { return };
                round.sign(phase, event.checklist, event.by, event.complete);
                if event.complete {
                    self.completed.insert(event.checklist);
                }
            }
            Event::SurgeryIncised(_) => round.is_begun = true,
            Event::SurgeryConsentWithdrawn(_) => {
                (round.team, round.scheduled_at) = (None, None);
                round.signed.clear();
            }
            Event::ReturnedToTheatre(event) => {
                self.rounds.push(Round { number: event.round.into(), ..Round::default() });
            }
            _ => {}
        }
    }
}

impl Phase {
    /// The phase whose last signature leads to a state.
    ///
    /// # Source
    ///
    /// `State` in `Surgeries.sol`.
    const fn leading_to(state: u8) -> Option<Self> {
        match state {
            5 => Some(Self::SignIn),
            6 => Some(Self::TimeOut),
            8 => Some(Self::SignOut),
            _ => None,
        }
    }
}

/// The rounds of an operation, the newest last.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is no such operation.
pub async fn rounds(gateway: &Gateway, id: B256) -> Result<Vec<Round>, WorkflowError> {
    standing(gateway, id).await?;
    Ok(History::read(gateway, id).await?.rounds)
}

/// What happened to an operation, in its order; implants, whose events name it last, left out.
pub(super) async fn events(gateway: &Gateway, id: B256) -> Result<Vec<Event>, WorkflowError> {
    let filter = Filter::new().address(gateway.at(Contract::Surgeries)).topic1(id).from_block(0);
    let ledger = gateway.gatekeeper.ledger();
    let logs = ledger.logs(&filter).await.map_err(CallError::from)?;
    let events = logs.iter().filter_map(|log| Event::decode_log(&log.inner).ok());
    Ok(events.map(|log| log.data).collect())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::aliases::U40;
    use bindings::Surgeries;

    use super::*;

    const SURGEON: Address = Address::repeat_byte(1);
    const ANAESTHETIST: Address = Address::repeat_byte(2);
    const NURSE: Address = Address::repeat_byte(3);
    const COLLEAGUE: Address = Address::repeat_byte(4);
    const LIST: B256 = B256::repeat_byte(5);
    const OTHER_LIST: B256 = B256::repeat_byte(6);

    fn scheduled(at: u64) -> Event {
        Event::SurgeryScheduled(Surgeries::SurgeryScheduled {
            id: B256::ZERO,
            patient: Address::ZERO,
            by: NURSE,
            team: [SURGEON, ANAESTHETIST, NURSE],
            scheduledAt: U40::from_limbs([at]),
            theatre: B256::ZERO,
        })
    }

    fn signed(step: u8, checklist: B256, by: Address, complete: bool) -> Event {
        let (id, patient, round) = (B256::ZERO, Address::ZERO, 1);
        let event =
            Surgeries::ChecklistSigned { id, patient, by, step, round, checklist, complete };
        Event::ChecklistSigned(event)
    }

    fn relieved(seat: u8, member: Address) -> Event {
        let (id, patient) = (B256::ZERO, Address::ZERO);
        Event::TeamChanged(Surgeries::TeamChanged { id, patient, by: NURSE, seat, member })
    }

    fn returned(round: u8) -> Event {
        let (id, patient, plan) = (B256::ZERO, Address::ZERO, B256::ZERO);
        let event = Surgeries::ReturnedToTheatre { id, patient, by: SURGEON, round, plan };
        Event::ReturnedToTheatre(event)
    }

    fn incised() -> Event {
        let (id, patient, round) = (B256::ZERO, Address::ZERO, 1);
        Event::SurgeryIncised(Surgeries::SurgeryIncised { id, patient, by: SURGEON, round })
    }

    fn withdrawn() -> Event {
        let (id, patient, round) = (B256::ZERO, Address::ZERO, 1);
        let event = Surgeries::SurgeryConsentWithdrawn { id, patient, round };
        Event::SurgeryConsentWithdrawn(event)
    }

    /// A time-out that all signed, after a sign-in.
    fn timed_out() -> Vec<Event> {
        vec![
            scheduled(10),
            signed(5, LIST, NURSE, false),
            signed(5, LIST, ANAESTHETIST, true),
            signed(6, OTHER_LIST, SURGEON, false),
            signed(6, OTHER_LIST, NURSE, false),
            signed(6, OTHER_LIST, ANAESTHETIST, true),
        ]
    }

    /// Who signed which phase of the newest round, and whether all did.
    #[track_caller]
    fn check(events: Vec<Event>, expected: &[(Phase, &[Address], bool)]) {
        let history = History::of(events);
        let signed = &history.newest().signed;
        let found: Vec<_> =
            signed.iter().map(|one| (one.phase, &*one.by, one.is_complete)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn signatures_are_told_by_phase() {
        let in_order: (&[Address], &[Address]) =
            (&[NURSE, ANAESTHETIST], &[SURGEON, NURSE, ANAESTHETIST]);
        let both = [(Phase::SignIn, in_order.0, true), (Phase::TimeOut, in_order.1, true)];
        check(timed_out(), &both);
        let history = History::of(timed_out());
        assert_eq!(history.newest().completed(Phase::SignIn), Some(LIST));
        assert_eq!(history.newest().completed(Phase::SignOut), None);
    }

    #[test]
    fn another_document_begins_the_phase_anew() {
        let events =
            vec![scheduled(10), signed(5, LIST, NURSE, false), signed(5, OTHER_LIST, NURSE, false)];
        check(events, &[(Phase::SignIn, &[NURSE], false)]);
    }

    #[test]
    fn who_was_relieved_did_not_sign() {
        let events =
            vec![scheduled(10), signed(5, LIST, ANAESTHETIST, false), relieved(1, COLLEAGUE)];
        check(events, &[]);
        // A time-out before somebody came counts no more, and one before the incision stands.
        let mut events = timed_out();
        events.push(relieved(1, COLLEAGUE));
        check(events, &[(Phase::SignIn, &[NURSE, ANAESTHETIST], true)]);
        let mut events = timed_out();
        events.extend([incised(), relieved(1, COLLEAGUE)]);
        assert_eq!(History::of(events).newest().completed(Phase::TimeOut), Some(OTHER_LIST));
    }

    #[test]
    fn what_is_scheduled_anew_or_withdrawn_has_no_signatures() {
        for (last, at) in [(scheduled(20), Some(Timestamp(20))), (withdrawn(), None)] {
            let mut events = timed_out();
            events.push(last);
            let history = History::of(events);
            assert!(history.newest().signed.is_empty());
            assert_eq!(history.newest().scheduled_at, at);
            assert!(history.completed.contains(&LIST), "it was completed once");
        }
    }

    #[test]
    fn each_round_has_its_own_team_and_time() {
        let mut events = timed_out();
        events.extend([incised(), returned(2)]);
        let history = History::of(events.clone());
        assert_eq!((history.rounds.len(), history.newest().number), (2, 2));
        assert_eq!((history.newest().team, history.newest().scheduled_at), (None, None));
        events.push(scheduled(30));
        assert_eq!(History::of(events).newest().scheduled_at, Some(Timestamp(30)));
    }
}
