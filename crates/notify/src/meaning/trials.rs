//! What the events of trials mean.
//!
//! Sponsor, regulator and sites have a part in a trial, and so has each subject; who a subject's site is, is
//! kept for each of them. Whoever withdrew is told nothing more.

use alloy_primitives::{Address, B256, keccak256};
use bindings::Trials::TrialsEvents as Event;

use super::Meaning;
use crate::{
    Topic,
    parties::{Key, Part, Parties, Scope},
};

/// Whose parties have to be known: those of the trial.
pub(super) const fn key(event: &Event) -> Option<Key> {
    let id = match event {
        Event::TrialRegistered(event) => event.id,
        Event::TrialApproved(event) => event.id,
        Event::AmendmentProposed(event) => event.id,
        Event::AmendmentApproved(event) => event.id,
        Event::SiteJoined(event) => event.id,
        Event::SubjectConsented(event) => event.id,
        Event::NonceOpened(event) => event.id,
        Event::SubjectUnblinded(event) => event.id,
        Event::SubjectWithdrawn(event) => event.id,
        Event::AdverseEventReported(event) => event.id,
        Event::AdverseEventAcknowledged(event) => event.id,
        Event::DataLocked(event) => event.id,
        Event::SeedRevealed(event) => event.id,
        Event::ResultsPublished(event) => event.id,
        Event::TrialStopped(event) => event.id,
        Event::SiteInvited(_)
        | Event::SubjectScreened(_)
        | Event::SubjectAllocated(_)
        | Event::DataEntered(_) => return None,
    };
    Some(Key(Scope::Trial, id))
}

/// Whose parties have to be known besides: those of a subject, or of an adverse event.
pub(super) fn other_key(event: &Event) -> Option<Key> {
    Some(match event {
        Event::SubjectConsented(event) => subject(event.id, event.patient),
        Event::NonceOpened(event) => subject(event.id, event.patient),
        Event::SubjectUnblinded(event) => subject(event.id, event.patient),
        Event::SubjectWithdrawn(event) => subject(event.id, event.patient),
        Event::AdverseEventReported(event) => subject(event.id, event.patient),
        Event::AdverseEventAcknowledged(event) => {
            let number = event.number.to_be_bytes::<32>();
            Key(Scope::Trial, keccak256([event.id.as_slice(), &number].concat()))
        }
        _ => return None,
    })
}

/// The parties of a subject. No trial has such an id.
fn subject(id: B256, patient: Address) -> Key {
    Key(Scope::Trial, keccak256([id.as_slice(), patient.as_slice()].concat()))
}

pub(super) fn meaning(event: &Event, parties: &Parties) -> Option<Meaning> {
    let sponsor = || parties.of(Part::Institution).chain(parties.of(Part::Professional));
    let custodian = || parties.of(Part::Overseer);
    let sites = || parties.of(Part::Counterpart);
    // A subject's own site, and for an acknowledgement who reported.
    let site = || parties.of(Part::Steward);
    let subjects = || parties.of(Part::Patient);
    let is_subject = |patient| subjects().any(|held| held == patient);
    Some(match event {
        Event::TrialRegistered(event) => {
            let key = Key(Scope::Trial, event.id);
            Meaning::about_nobody(event.id)
                .tell(Topic::TrialRegistered, [event.sponsor])
                .party(key, Part::Institution, event.sponsor, true)
                .party(key, Part::Professional, event.by, true)
        }
        Event::TrialApproved(event) => {
            let key = Key(Scope::Trial, event.id);
            Meaning::about_nobody(event.id).tell(Topic::TrialApproved, sponsor()).party(
                key,
                Part::Overseer,
                event.custodian,
                true,
            )
        }
        Event::SiteInvited(event) => {
            Meaning::about_nobody(event.id).tell(Topic::TrialInvited, [event.site])
        }
        Event::SiteJoined(event) => Meaning::about_nobody(event.id)
            .tell(Topic::TrialJoined, sponsor())
            .not_to(event.site)
            .party(Key(Scope::Trial, event.id), Part::Counterpart, event.site, true),
        Event::AmendmentProposed(event) => {
            Meaning::about_nobody(event.id).tell(Topic::TrialAmendmentProposed, custodian())
        }
        Event::AmendmentApproved(event) => Meaning::about_nobody(event.id)
            .tell(Topic::TrialAmended, sponsor().chain(sites()))
            .tell_themselves(Topic::TrialReconsent, subjects()),
        Event::SubjectConsented(event) => {
            let key = subject(event.id, event.patient);
            let mut meaning = Meaning::about(event.patient, event.id)
                .tell(Topic::TrialConsented, [event.site])
                .party(Key(Scope::Trial, event.id), Part::Patient, event.patient, true)
                .party(key, Part::Steward, event.site, true);
            for before in site().filter(|before| *before != event.site) {
                meaning = meaning.party(key, Part::Steward, before, false);
            }
            meaning
        }
        Event::SubjectScreened(event) => {
            let meaning =
                Meaning::about(event.patient, event.id).tell(Topic::TrialScreened, [event.patient]);
            let key = Key(Scope::Trial, event.id);
            match event.eligible {
                true => meaning,
                false => meaning.party(key, Part::Patient, event.patient, false),
            }
        }
        Event::NonceOpened(event) => {
            Meaning::about(event.patient, event.id).tell(Topic::TrialArmWanted, site())
        }
        Event::SubjectUnblinded(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::TrialUnblinded, sponsor().chain(custodian()))
            .not_to(event.by),
        // Anybody can say that they withdraw, also from what they have no part in.
        Event::SubjectWithdrawn(event) if is_subject(event.patient) => {
            Meaning::about(event.patient, event.id)
                .tell(Topic::TrialWithdrawn, site().chain(sponsor()))
                .party(Key(Scope::Trial, event.id), Part::Patient, event.patient, false)
        }
        Event::SubjectWithdrawn(_) => return None,
        Event::AdverseEventReported(event) => {
            let number = event.number.to_be_bytes::<32>();
            let key = Key(Scope::Trial, keccak256([event.id.as_slice(), &number].concat()));
            let told =
                Meaning::about(event.patient, event.id).party(key, Part::Steward, event.by, true);
            let told = site().fold(told, |told, site| told.party(key, Part::Steward, site, true));
            let told = match event.serious {
                true => told.tell(Topic::TrialSeriousEvent, sponsor().chain(custodian())),
                false => told.tell(Topic::TrialAdverseEvent, sponsor()),
            };
            told.not_to(event.by)
        }
        Event::AdverseEventAcknowledged(event) => Meaning::about_nobody(event.id)
            .tell(Topic::TrialEventAcknowledged, site())
            .not_to(event.by),
        Event::DataLocked(event) => Meaning::about_nobody(event.id)
            .tell(Topic::TrialLocked, sponsor().chain(custodian()).chain(sites()))
            .not_to(event.by),
        Event::SeedRevealed(event) => Meaning::about_nobody(event.id)
            .tell(Topic::TrialSeedRevealed, sponsor().chain(custodian()).chain(sites()))
            .not_to(event.party),
        Event::ResultsPublished(event) => Meaning::about_nobody(event.id)
            .tell(Topic::TrialPublished, sponsor().chain(custodian()).chain(sites()))
            .not_to(event.by)
            .tell_themselves(Topic::TrialPublished, subjects()),
        Event::TrialStopped(event) => Meaning::about_nobody(event.id)
            .tell(Topic::TrialStopped, sponsor().chain(custodian()).chain(sites()))
            .not_to(event.by)
            .tell_themselves(Topic::TrialStopped, subjects()),
        // Of what was sealed the patient is told as of any record, and of an arm nobody is.
        Event::SubjectAllocated(_) | Event::DataEntered(_) => return None,
    })
}
