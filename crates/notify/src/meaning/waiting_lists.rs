//! What the events of waiting lists mean.

use alloy_primitives::B256;
use bindings::WaitingLists::WaitingListsEvents as Event;

use super::Meaning;
use crate::{
    Topic,
    parties::{Key, Part, Parties, Scope},
};

/// Whose parties have to be known.
pub(super) const fn key(event: &Event) -> Option<Key> {
    let id = match event {
        Event::PatientListed(event) => event.id,
        Event::ListingPrioritised(event) => event.id,
        Event::AppointmentScheduled(event) => event.id,
        Event::PatientAttended(event) => event.id,
        Event::AppointmentMissed(event) => event.id,
        Event::ListingRemoved(event) => event.id,
        Event::CensusPublished(_) => return None,
    };
    Some(Key(Scope::WaitingList, id))
}

pub(super) fn meaning(event: &Event, parties: &Parties) -> Option<Meaning> {
    let referrer = || parties.of(Part::Professional);
    let told = |patient, id: B256, topic, by| {
        Meaning::about(patient, id).tell(topic, [patient]).tell(topic, referrer()).not_to(by)
    };
    Some(match event {
        Event::PatientListed(event) => {
            let key = Key(Scope::WaitingList, event.id);
            Meaning::about(event.patient, event.id)
                .tell(Topic::WaitingListed, [event.patient, event.hospital])
                .party(key, Part::Professional, event.referrer, true)
                .party(key, Part::Counterpart, event.hospital, true)
        }
        Event::ListingPrioritised(event) => {
            told(event.patient, event.id, Topic::WaitingPrioritised, event.by)
        }
        Event::AppointmentScheduled(event) => {
            told(event.patient, event.id, Topic::AppointmentScheduled, event.by)
        }
        Event::AppointmentMissed(event) => {
            told(event.patient, event.id, Topic::AppointmentMissed, event.by)
        }
        // Who came knows it.
        Event::PatientAttended(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::WaitingAttended, referrer())
            .not_to(event.by),
        Event::ListingRemoved(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::WaitingRemoved, [event.patient])
            .tell(Topic::WaitingRemoved, referrer().chain(parties.of(Part::Counterpart)))
            .not_to(event.by),
        // It names nobody.
        Event::CensusPublished(_) => return None,
    })
}
