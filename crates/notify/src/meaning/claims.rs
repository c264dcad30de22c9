//! What the events of claims mean.

use alloy_primitives::B256;
use bindings::Claims::ClaimsEvents as Event;

use super::Meaning;
use crate::{
    Topic,
    parties::{Key, Part, Parties, Scope},
};

/// Whose parties have to be known: of a coverage, of a request beforehand, or of a claim.
pub(super) const fn key(event: &Event) -> Option<Key> {
    let id = match event {
        Event::CoverageOffered(event) => event.id,
        Event::CoverageAccepted(event) => event.id,
        Event::CoverageEnded(event) => event.id,
        // The request is new; its parties are those of the coverage.
        Event::AuthorisationRequested(event) => event.coverage,
        Event::AuthorisationDecided(event) => event.id,
        Event::ClaimSubmitted(event) => event.id,
        Event::ClaimWithdrawn(event) => event.id,
        Event::ClaimContested(event) => event.id,
        Event::ClaimAdjudicated(event) => event.id,
        Event::ClaimAppealed(event) => event.id,
        Event::ClaimPaid(event) => event.id,
        Event::CopaymentPaid(event) => event.id,
        Event::ClaimRefunded(event) => event.id,
        Event::Deposited(_) | Event::Withdrawn(_) => return None,
    };
    Some(Key(Scope::Claim, id))
}

pub(super) fn meaning(event: &Event, parties: &Parties) -> Option<Meaning> {
    let insurer = || parties.of(Part::Institution);
    let provider = || parties.of(Part::Counterpart);
    let begins = |patient, id: B256, insurer| {
        let key = Key(Scope::Claim, id);
        Meaning::about(patient, id).party(key, Part::Patient, patient, true).party(
            key,
            Part::Institution,
            insurer,
            true,
        )
    };
    Some(match event {
        Event::CoverageOffered(event) => begins(event.patient, event.id, event.insurer)
            .tell(Topic::CoverageOffered, [event.patient]),
        Event::CoverageAccepted(event) => {
            Meaning::about(event.patient, event.id).tell(Topic::CoverageAccepted, [event.insurer])
        }
        Event::CoverageEnded(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::CoverageEnded, [event.patient])
            .tell(Topic::CoverageEnded, insurer())
            .not_to(event.by),
        Event::AuthorisationRequested(event) => {
            let insurer = insurer().next()?;
            begins(parties.patient()?, event.id, insurer)
                .party(Key(Scope::Claim, event.id), Part::Counterpart, event.provider, true)
                .tell(Topic::AuthorisationRequested, [insurer])
                .not_to(event.provider)
        }
        Event::AuthorisationDecided(event) => {
            let patient = parties.patient()?;
            Meaning::about(patient, event.id)
                .tell(Topic::AuthorisationDecided, [patient])
                .tell(Topic::AuthorisationDecided, provider())
        }
        Event::ClaimSubmitted(event) => begins(event.patient, event.id, event.insurer)
            .party(Key(Scope::Claim, event.id), Part::Counterpart, event.provider, true)
            .tell(Topic::ClaimSubmitted, [event.patient, event.insurer]),
        Event::ClaimWithdrawn(event) => {
            let patient = parties.patient()?;
            Meaning::about(patient, event.id)
                .tell(Topic::ClaimWithdrawn, [patient])
                .tell(Topic::ClaimWithdrawn, insurer())
        }
        Event::ClaimContested(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::ClaimContested, insurer().chain(provider())),
        Event::ClaimAdjudicated(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::ClaimDecided, [event.patient])
            .tell(Topic::ClaimDecided, provider()),
        Event::ClaimAppealed(event) => {
            let patient = parties.patient()?;
            Meaning::about(patient, event.id)
                .tell(Topic::ClaimAppealed, [patient])
                .tell(Topic::ClaimAppealed, insurer().chain(provider()))
                .not_to(event.by)
        }
        Event::ClaimPaid(event) => {
            Meaning::about(parties.patient()?, event.id).tell(Topic::ClaimPaid, [event.provider])
        }
        Event::CopaymentPaid(event) => {
            Meaning::about(event.patient, event.id).tell(Topic::CopaymentPaid, [event.provider])
        }
        Event::ClaimRefunded(event) => {
            let patient = parties.patient()?;
            let both = [(event.insurer, event.toInsurer), (patient, event.toPatient)];
            let paid = both.into_iter().filter(|(_, amount)| *amount > 0).map(|(who, _)| who);
            Meaning::about(patient, event.id).tell(Topic::ClaimRefunded, paid)
        }
        // Whoever has a purse moves the money in it; balances are asked for.
        Event::Deposited(_) | Event::Withdrawn(_) => return None,
    })
}
