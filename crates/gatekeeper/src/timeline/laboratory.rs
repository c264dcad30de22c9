//! The steps of laboratory orders.

use bindings::LabOrders::LabOrdersEvents;

use super::{Actor::Member, Described, by};

pub(super) fn describe(event: LabOrdersEvents) -> Described {
    match event {
        LabOrdersEvents::LabOrdered(event) => {
            let what = format!("laboratory order placed for {}", event.patient);
            (what, Member(event.orderer), Some(event.id))
        }
        LabOrdersEvents::SpecimenCollected(event) => {
            ("specimen collected".into(), Member(event.by), Some(event.id))
        }
        LabOrdersEvents::ResultReported(event) => {
            let critical = if event.critical { ", critical" } else { "" };
            (format!("result reported{critical}"), Member(event.by), Some(event.id))
        }
        LabOrdersEvents::ResultReleased(event) => {
            ("result released to the patient".into(), Member(event.by), Some(event.id))
        }
        LabOrdersEvents::ResultAcknowledged(event) => {
            ("result acknowledged".into(), Member(event.by), Some(event.id))
        }
        LabOrdersEvents::LabOrderCancelled(event) => {
            let who = by(event.by, event.patient);
            ("laboratory order cancelled".into(), who, Some(event.id))
        }
        LabOrdersEvents::SpecimenHandedOver(event) => {
            ("specimen taken over".into(), Member(event.by), Some(event.id))
        }
        LabOrdersEvents::PreliminaryReported(event) => {
            let critical = if event.critical { ", critical" } else { "" };
            let what = format!("preliminary result reported{critical}");
            (what, Member(event.by), Some(event.id))
        }
        LabOrdersEvents::ResultCorrected(event) => {
            let critical = if event.critical { ", critical" } else { "" };
            let what = format!("result corrected, version {}{critical}", event.version);
            (what, Member(event.by), Some(event.id))
        }
        LabOrdersEvents::CriticalEscalated(event) => {
            let what = format!("critical result escalated, time {}", event.escalations);
            (what, Member(event.by), Some(event.id))
        }
    }
}
