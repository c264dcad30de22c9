//! What the events of prescriptions mean.

use alloy_primitives::B256;
use bindings::Prescriptions::PrescriptionsEvents as Event;

use super::Meaning;
use crate::{
    Topic,
    parties::{Key, Part, Parties, Scope},
};

/// Whose parties have to be known.
pub(super) const fn key(event: &Event) -> Option<Key> {
    let id = match event {
        Event::PrescriptionIssued(event) => event.id,
        Event::PharmacyPermitted(event) => event.id,
        Event::PharmacyWithdrawn(event) => event.id,
        Event::PrescriptionClaimed(event) => event.id,
        Event::ClaimReleased(event) => event.id,
        Event::Dispensed(event) => event.id,
        Event::PrescriptionCompleted(event) => event.id,
        Event::PrescriptionCancelled(event) => event.id,
        Event::SignatureAwaited(event) => event.id,
        Event::PrescriptionCountersigned(event) => event.id,
        Event::SubstitutionForbidden(event) => event.id,
        Event::ProductSubstituted(event) => event.id,
        Event::CollectionConfirmed(event) => event.id,
    };
    Some(Key(Scope::Prescription, id))
}

pub(super) fn meaning(event: &Event, parties: &Parties) -> Option<Meaning> {
    if let Event::PrescriptionIssued(event) = event {
        let key = Key(Scope::Prescription, event.id);
        let meaning = Meaning::about(event.patient, event.id)
            .tell(Topic::PrescriptionIssued, [event.patient])
            .party(key, Part::Patient, event.patient, true)
            .party(key, Part::Professional, event.prescriber, true);
        return Some(meaning);
    }
    // Nothing happens to a prescription that was not issued before.
    let patient = parties.patient()?;
    let both = || [patient].into_iter().chain(parties.of(Part::Professional));
    let to_both = |id: B256, topic| Meaning::about(patient, id).tell(topic, both());
    Some(match event {
        // Of these the timeline tells. The patient is asked for a permit when it can be given.
        Event::PrescriptionIssued(_)
        | Event::SignatureAwaited(_)
        | Event::PrescriptionCountersigned(_)
        | Event::SubstitutionForbidden(_)
        | Event::ProductSubstituted(_)
        | Event::CollectionConfirmed(_) => return None,
        Event::PharmacyPermitted(event) => to_both(event.id, Topic::PrescriptionPermitted)
            .tell(Topic::PrescriptionPermitted, [event.pharmacy])
            .not_to(event.by)
            .party(Key(Scope::Prescription, event.id), Part::Counterpart, event.pharmacy, true),
        Event::PharmacyWithdrawn(event) => to_both(event.id, Topic::PrescriptionPermitWithdrawn)
            .tell(Topic::PrescriptionPermitWithdrawn, [event.pharmacy])
            .not_to(event.by),
        Event::PrescriptionClaimed(event) => to_both(event.id, Topic::PrescriptionClaimed),
        Event::ClaimReleased(event) => to_both(event.id, Topic::PrescriptionReleased),
        Event::Dispensed(event) => to_both(event.id, Topic::PrescriptionDispensed),
        Event::PrescriptionCompleted(event) => to_both(event.id, Topic::PrescriptionCompleted),
        Event::PrescriptionCancelled(event) => to_both(event.id, Topic::PrescriptionCancelled)
            .tell(Topic::PrescriptionCancelled, parties.of(Part::Counterpart))
            .not_to(event.by),
    })
}
