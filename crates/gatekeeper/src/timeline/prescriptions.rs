//! The steps of prescriptions.

use alloy_primitives::{Address, B256};
use bindings::Prescriptions::PrescriptionsEvents;
use ledger::Projection;

use super::{Actor, Described, by};

pub(super) fn describe(event: PrescriptionsEvents, projection: &Projection) -> Described {
    use Actor::Member;
    // These events say who permits, but not whose prescription it is.
    let either = |id: B256, who: Address| {
        let held = projection.workflows.prescription(&id);
        by(who, held.map_or(Address::ZERO, |held| held.patient))
    };
    match event {
        PrescriptionsEvents::PrescriptionIssued(event) => {
            let what = format!("prescription issued for {}", event.patient);
            (what, Member(event.prescriber), Some(event.id))
        }
        PrescriptionsEvents::PharmacyPermitted(event) => {
            let what = format!("dispensing permitted to {}", event.pharmacy);
            (what, either(event.id, event.by), Some(event.id))
        }
        PrescriptionsEvents::PharmacyWithdrawn(event) => {
            let what = format!("permission of {} withdrawn", event.pharmacy);
            (what, either(event.id, event.by), Some(event.id))
        }
        PrescriptionsEvents::PrescriptionClaimed(event) => {
            ("prescription claimed".into(), Member(event.pharmacist), Some(event.id))
        }
        PrescriptionsEvents::ClaimReleased(event) => {
            ("claim released".into(), Member(event.pharmacist), Some(event.id))
        }
        PrescriptionsEvents::Dispensed(event) => {
            let quantity = event.dispensing.quantity;
            let what = format!("{quantity} units dispensed, fill {}", event.fill);
            (what, Member(event.pharmacist), Some(event.id))
        }
        PrescriptionsEvents::PrescriptionCompleted(event) => {
            ("prescription completed".into(), Member(event.pharmacist), Some(event.id))
        }
        PrescriptionsEvents::PrescriptionCancelled(event) => {
            ("prescription cancelled".into(), by(event.by, event.patient), Some(event.id))
        }
        PrescriptionsEvents::SignatureAwaited(event) => {
            let prescriber = projection.workflows.prescription(&event.id);
            let by = prescriber.map_or(Actor::Unknown, |held| Member(held.prescriber));
            ("second signature awaited".into(), by, Some(event.id))
        }
        PrescriptionsEvents::PrescriptionCountersigned(event) => {
            ("prescription signed a second time".into(), Member(event.by), Some(event.id))
        }
        PrescriptionsEvents::SubstitutionForbidden(event) => {
            ("substitution forbidden".into(), Member(event.prescriber), Some(event.id))
        }
        PrescriptionsEvents::ProductSubstituted(event) => {
            ("product substituted".into(), Member(event.pharmacist), Some(event.id))
        }
        PrescriptionsEvents::CollectionConfirmed(event) => {
            let what = format!("collection confirmed, fill {}", event.fill);
            (what, Actor::Patient(event.patient), Some(event.id))
        }
    }
}
