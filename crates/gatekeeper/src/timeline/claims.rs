//! The steps of claims, and of the money that they are paid from.

use std::fmt;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::SolEvent as _;
use bindings::{Claims, Claims::ClaimsEvents as Event, Contract, convert::timestamp};

use ledger::Projection;

use super::{
    Actor::{Member, Patient, Unknown},
    Described, by,
};
use crate::{Gatekeeper, GatekeeperError};

/// The states that a decision leads to.
///
/// # Source
///
/// `State` in `Claims.sol`.
const FINAL: u8 = 4;

/// An amount as people write it.
struct Cents(u128);

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

impl Gatekeeper {
    /// The ids of a patient's coverages and claims: not each of their events names the patient.
    pub(super) async fn claims_of(&self, patient: Address) -> Result<Vec<B256>, GatekeeperError> {
        let filter = Filter::new()
            .address(self.deployment().address(Contract::Claims))
            .event_signature(vec![
                Claims::CoverageOffered::SIGNATURE_HASH,
                Claims::ClaimSubmitted::SIGNATURE_HASH,
            ])
            .topic2(patient.into_word())
            .from_block(0);
        let logs = self.ledger().logs(&filter).await?;
        Ok(logs.iter().filter_map(|log| log.topics().get(1).copied()).collect())
    }
}

pub(super) fn describe(event: Event, projection: &Projection) -> Described {
    match event {
        Event::CoverageOffered(event) => {
            let (limit, until) = (Cents(event.terms.limit), timestamp(event.terms.until));
            let what = format!("coverage offered, up to {limit} until {until}");
            (what, Member(event.insurer), Some(event.id))
        }
        Event::CoverageAccepted(event) => {
            let what = format!("coverage accepted, from {}", timestamp(event.from));
            (what, Patient(event.patient), Some(event.id))
        }
        Event::CoverageEnded(event) => {
            let what = format!("coverage ends at {}", timestamp(event.until));
            (what, by(event.by, event.patient), Some(event.id))
        }
        Event::AuthorisationRequested(event) => {
            let what = format!("insurer asked beforehand for {}", Cents(event.requested));
            (what, Member(event.provider), Some(event.id))
        }
        Event::AuthorisationDecided(event) => {
            let (granted, until) = (Cents(event.granted), timestamp(event.until));
            let what = format!("{granted} granted beforehand, until {until}");
            (what, Member(event.adjudicator), Some(event.id))
        }
        Event::ClaimSubmitted(event) => {
            let amount = Cents(event.submission.amount);
            let what = format!("{amount} claimed from {}", event.insurer);
            (what, Member(event.provider), Some(event.id))
        }
        Event::ClaimWithdrawn(event) => {
            ("claim taken back".into(), Member(event.provider), Some(event.id))
        }
        Event::ClaimContested(event) => {
            let what = "claim contested: it did not happen";
            (what.into(), Patient(event.patient), Some(event.id))
        }
        Event::ClaimAdjudicated(event) => {
            let what = if event.state == FINAL { "appeal" } else { "claim" };
            let approved = Cents(event.decision.approved);
            let what =
                format!("{what} decided: {approved} approved{}", flags(event.decision.flags));
            (what, Member(event.adjudicator), Some(event.id))
        }
        Event::ClaimAppealed(event) => {
            // The event names no patient: whoever is no institution is the one.
            let is_member = projection.registry.institution(&event.by).is_some();
            let actor = if is_member { Member(event.by) } else { Patient(event.by) };
            ("decision appealed".into(), actor, Some(event.id))
        }
        Event::ClaimPaid(event) => {
            // Anybody may have had it paid.
            let what = format!("insurer's share of {} paid", Cents(event.amount));
            (what, Unknown, Some(event.id))
        }
        Event::CopaymentPaid(event) => {
            let what = format!("co-payment of {} paid", Cents(event.amount));
            (what, Patient(event.patient), Some(event.id))
        }
        Event::ClaimRefunded(event) => {
            let (insurer, patient) = (Cents(event.toInsurer), Cents(event.toPatient));
            let what = format!("paid back: {insurer} to the insurer, {patient} to the patient");
            (what, Member(event.provider), Some(event.id))
        }
        Event::Deposited(event) => {
            let amount = Cents(event.amount.saturating_to());
            let is_member = projection.registry.institution(&event.from).is_some();
            let actor = if is_member { Member(event.from) } else { Patient(event.from) };
            (format!("{amount} paid into the purse"), actor, None)
        }
        Event::Withdrawn(event) => {
            let amount = Cents(event.amount.saturating_to());
            let is_member = projection.registry.institution(&event.holder).is_some();
            let actor = if is_member { Member(event.holder) } else { Patient(event.holder) };
            (format!("{amount} taken out of the purse"), actor, None)
        }
    }
}

/// Why less was approved.
fn flags(flags: u8) -> String {
    let names = [(1, "duplicate"), (2, "upcoded"), (4, "not covered"), (8, "excessive")];
    let names: Vec<&str> =
        names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { String::new() } else { format!(", {}", names.join(", ")) }
}
