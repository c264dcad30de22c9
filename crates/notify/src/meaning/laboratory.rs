//! What the events of laboratory orders mean.

use alloy_primitives::B256;
use bindings::LabOrders::LabOrdersEvents as Event;

use super::Meaning;
use crate::{
    Topic,
    parties::{Key, Part, Parties, Scope},
};

/// Whose parties have to be known.
pub(super) const fn key(event: &Event) -> Option<Key> {
    let id = match event {
        Event::LabOrdered(event) => event.id,
        Event::SpecimenCollected(event) => event.id,
        Event::ResultReported(event) => event.id,
        Event::ResultReleased(event) => event.id,
        Event::ResultAcknowledged(event) => event.id,
        Event::LabOrderCancelled(event) => event.id,
        Event::SpecimenHandedOver(event) => event.id,
        Event::PreliminaryReported(event) => event.id,
        Event::ResultCorrected(event) => event.id,
        Event::CriticalEscalated(event) => event.id,
    };
    Some(Key(Scope::LabOrder, id))
}

pub(super) fn meaning(event: &Event, parties: &Parties) -> Option<Meaning> {
    let orderer = || parties.of(Part::Professional);
    let orderers = || orderer().chain(parties.of(Part::Institution));
    let laboratory = || parties.of(Part::Counterpart);
    let resulted = |patient, id: B256, critical| {
        let meaning = Meaning::about(patient, id).tell(Topic::LabResulted, orderers());
        if critical { meaning.tell(Topic::LabCritical, orderers()) } else { meaning }
    };
    Some(match event {
        Event::LabOrdered(event) => {
            let key = Key(Scope::LabOrder, event.id);
            Meaning::about(event.patient, event.id)
                .tell(Topic::LabOrdered, [event.patient, event.laboratory])
                .party(key, Part::Professional, event.orderer, true)
                .party(key, Part::Institution, event.institution, true)
                .party(key, Part::Counterpart, event.laboratory, true)
        }
        Event::SpecimenCollected(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::LabCollected, [event.patient])
            .tell(Topic::LabCollected, orderer().chain(laboratory()))
            .not_to(event.by),
        Event::ResultReported(event) => resulted(event.patient, event.id, event.critical),
        Event::PreliminaryReported(event) => resulted(event.patient, event.id, event.critical),
        Event::ResultCorrected(event) => resulted(event.patient, event.id, event.critical),
        Event::CriticalEscalated(event) => {
            Meaning::about(event.patient, event.id).tell(Topic::LabCritical, orderers())
        }
        Event::SpecimenHandedOver(_) => return None,
        Event::ResultReleased(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::LabReleased, [event.patient])
            .tell(Topic::LabReleased, orderer())
            .not_to(event.by),
        Event::ResultAcknowledged(event) => {
            Meaning::about(event.patient, event.id).tell(Topic::LabAcknowledged, laboratory())
        }
        Event::LabOrderCancelled(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::LabCancelled, [event.patient])
            .tell(Topic::LabCancelled, orderer().chain(laboratory()))
            .not_to(event.by),
    })
}
