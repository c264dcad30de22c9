//! The steps of waiting lists.

use bindings::{WaitingLists::WaitingListsEvents as Event, convert::timestamp};

use super::{Actor::Member, Described, by};

pub(super) fn describe(event: Event) -> Option<Described> {
    Some(match event {
        Event::PatientListed(event) => {
            let what = format!("referred to the waiting list of {}", event.hospital);
            (what, Member(event.referrer), Some(event.id))
        }
        Event::ListingPrioritised(event) => {
            let what = format!("waits with priority {}", event.priority);
            (what, Member(event.by), Some(event.id))
        }
        Event::AppointmentScheduled(event) => {
            let what = format!("appointment at {}", timestamp(event.appointmentAt));
            (what, Member(event.by), Some(event.id))
        }
        Event::PatientAttended(event) => {
            let days = event.waited.to::<u64>() / 86_400;
            let what = format!("came to the appointment, after {days} full days");
            (what, Member(event.by), Some(event.id))
        }
        Event::AppointmentMissed(event) => {
            let what = format!("did not come to the appointment, time {}", event.missed);
            (what, Member(event.by), Some(event.id))
        }
        Event::ListingRemoved(event) => {
            ("removed from the waiting list".into(), by(event.by, event.patient), Some(event.id))
        }
        // It names nobody, and is about nobody.
        Event::CensusPublished(_) => return None,
    })
}
