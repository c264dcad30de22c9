//! What the events of the research exchange mean.

use alloy_primitives::B256;
use bindings::DataExchange::DataExchangeEvents as Event;

use super::Meaning;
use crate::{
    Topic,
    parties::{Key, Part, Parties, Scope},
};

/// Whose parties have to be known: of an offer, a study or an order.
pub(super) const fn key(event: &Event) -> Option<Key> {
    let id = match event {
        Event::StudyApproved(event) => event.id,
        Event::StudyEnded(event) => event.id,
        Event::StudyConsented(event) => event.study,
        Event::StudyConsentWithdrawn(event) => event.study,
        // The order is new; its source is who offered.
        Event::ExtractOrdered(event) => event.offer,
        Event::ExtractDelivered(event) => event.id,
        Event::OrderDisputed(event) => event.id,
        Event::OrderSettled(event) => event.id,
        Event::OrderRefunded(event) => event.id,
        Event::ConsentBreached(event) => event.id,
        Event::SharesReturned(event) => event.id,
        Event::CountBreached(event) => event.id,
        Event::DataOffered(_)
        | Event::OfferClosed(_)
        | Event::StudyProposed(_)
        | Event::CohortCounted(_)
        | Event::PatientPaid(_)
        | Event::ExtractUsed(_)
        | Event::Deposited(_)
        | Event::Withdrawn(_) => return None,
    };
    Some(Key(Scope::Research, id))
}

pub(super) fn meaning(event: &Event, parties: &Parties) -> Option<Meaning> {
    let of = |id: B256| Key(Scope::Research, id);
    // Of a study or an order: the institution whose it is, and the sources.
    let buyer = || parties.of(Part::Institution);
    let sources = || parties.of(Part::Counterpart);
    Some(match event {
        Event::DataOffered(event) => Meaning::about_nobody(event.id).party(
            of(event.id),
            Part::Counterpart,
            event.source,
            true,
        ),
        Event::StudyProposed(event) => Meaning::about_nobody(event.id)
            .party(of(event.id), Part::Institution, event.institution, true)
            .party(of(event.id), Part::Professional, event.by, true),
        Event::StudyApproved(event) => Meaning::about_nobody(event.id)
            .tell(Topic::StudyApproved, buyer())
            .tell(Topic::StudyApproved, parties.of(Part::Professional)),
        Event::StudyEnded(event) => Meaning::about_nobody(event.id)
            .tell(Topic::StudyEnded, buyer().chain(sources()))
            .tell_themselves(Topic::StudyEnded, parties.of(Part::Patient))
            .not_to(event.by),
        Event::StudyConsented(event) => Meaning::about(event.patient, event.study)
            .tell(Topic::StudyConsented, buyer())
            .party(of(event.study), Part::Patient, event.patient, true),
        Event::StudyConsentWithdrawn(event) => Meaning::about(event.patient, event.study)
            .tell(Topic::StudyConsentWithdrawn, buyer().chain(sources()))
            .party(of(event.study), Part::Patient, event.patient, false),
        // Who answered is told of withdrawals from then on.
        Event::CohortCounted(event) => Meaning::about_nobody(event.study).party(
            of(event.study),
            Part::Counterpart,
            event.source,
            true,
        ),
        Event::ExtractOrdered(event) => {
            let source = sources().next()?;
            Meaning::about_nobody(event.id)
                .tell(Topic::ExtractOrdered, [source])
                .party(of(event.id), Part::Counterpart, source, true)
                .party(of(event.id), Part::Institution, event.buyer, true)
                .party(of(event.study), Part::Counterpart, source, true)
        }
        Event::ExtractDelivered(event) => {
            Meaning::about_nobody(event.id).tell(Topic::ExtractDelivered, buyer())
        }
        Event::OrderDisputed(event) => {
            Meaning::about_nobody(event.id).tell(Topic::ExtractDisputed, sources())
        }
        Event::OrderSettled(event) => {
            Meaning::about_nobody(event.id).tell(Topic::ExtractSettled, sources().chain(buyer()))
        }
        Event::OrderRefunded(event) => {
            Meaning::about_nobody(event.id).tell(Topic::ExtractRefunded, sources().chain(buyer()))
        }
        Event::SharesReturned(event) => {
            Meaning::about_nobody(event.id).tell(Topic::ExtractRefunded, buyer())
        }
        Event::ConsentBreached(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::ExtractBreached, [event.patient])
            .tell(Topic::ExtractBreached, sources().chain(buyer())),
        Event::CountBreached(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::ExtractBreached, sources().chain(buyer())),
        // Who closed, paid, used or was paid did it themselves.
        Event::OfferClosed(_)
        | Event::PatientPaid(_)
        | Event::ExtractUsed(_)
        | Event::Deposited(_)
        | Event::Withdrawn(_) => return None,
    })
}
