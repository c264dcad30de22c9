//! What the events of surgeries mean.

use bindings::Surgeries::SurgeriesEvents as Event;

use super::Meaning;
use crate::{
    Topic,
    parties::{Key, Part, Parties, Scope},
};

/// Whose parties have to be known.
pub(super) const fn key(event: &Event) -> Option<Key> {
    let id = match event {
        Event::SurgeryReferred(event) => event.id,
        Event::SurgeryConsented(event) => event.id,
        Event::SurgeryCertified(event) => event.id,
        Event::SurgeryConsentWithdrawn(event) => event.id,
        Event::ComplicationReported(event) => event.id,
        Event::SurgeryContinued(event) => event.id,
        Event::SurgeryCancelled(event) => event.id,
        _ => return None,
    };
    Some(Key(Scope::Surgery, id))
}

pub(super) fn meaning(event: &Event, parties: &Parties) -> Option<Meaning> {
    let referrer = || parties.of(Part::Professional);
    let hospital = || parties.of(Part::Counterpart);
    Some(match event {
        Event::SurgeryReferred(event) => {
            let key = Key(Scope::Surgery, event.id);
            Meaning::about(event.patient, event.id)
                .tell(Topic::SurgeryReferred, [event.patient, event.hospital])
                .party(key, Part::Professional, event.referrer, true)
                .party(key, Part::Counterpart, event.hospital, true)
        }
        Event::SurgeryAssessed(event) => {
            Meaning::about(event.patient, event.id).tell(Topic::SurgeryPlanned, [event.patient])
        }
        Event::ReturnedToTheatre(event) => {
            Meaning::about(event.patient, event.id).tell(Topic::SurgeryPlanned, [event.patient])
        }
        Event::SurgeryConsented(event) => {
            Meaning::about(event.patient, event.id).tell(Topic::SurgeryConsented, hospital())
        }
        Event::SurgeryCertified(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::SurgeryCertified, [event.patient])
            .tell(Topic::SurgeryCertified, hospital()),
        Event::SurgeryConsentWithdrawn(event) => {
            Meaning::about(event.patient, event.id).tell(Topic::SurgeryConsentWithdrawn, hospital())
        }
        Event::SurgeryScheduled(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::SurgeryScheduled, [event.patient])
            .tell(Topic::SurgeryScheduled, event.team)
            .not_to(event.by),
        Event::TeamChanged(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::SurgeryScheduled, [event.member])
            .not_to(event.by),
        Event::ComplicationReported(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::SurgeryComplication, [event.patient])
            .tell(Topic::SurgeryComplication, referrer().chain(hospital()))
            .not_to(event.by),
        Event::SurgeryContinued(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::SurgeryContinued, [event.patient])
            .tell(Topic::SurgeryContinued, referrer())
            .not_to(event.by),
        Event::SurgeryCancelled(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::SurgeryCancelled, [event.patient])
            .tell(Topic::SurgeryCancelled, referrer().chain(hospital()))
            .not_to(event.by),
        // The team is there; of these the timeline tells.
        Event::ChecklistSigned(_)
        | Event::SurgeryIncised(_)
        | Event::Implanted(_)
        | Event::ImplantVoided(_)
        | Event::Explanted(_) => return None,
    })
}
