//! The steps of surgeries.

use bindings::{Surgeries::SurgeriesEvents as Event, convert::timestamp};

use super::{
    Actor::{Member, Patient},
    Described, by,
};

pub(super) fn describe(event: Event) -> Described {
    match event {
        Event::SurgeryReferred(event) => {
            ("referred for surgery".into(), Member(event.referrer), Some(event.id))
        }
        Event::SurgeryAssessed(event) => {
            let what = format!("surgery assessed, round {}", event.round);
            (what, Member(event.by), Some(event.id))
        }
        Event::SurgeryConsented(event) => {
            let what = format!("consent to surgery, round {}", event.round);
            (what, Patient(event.patient), Some(event.id))
        }
        Event::SurgeryCertified(event) => {
            let complete = if event.complete { ", twice: it stands for the consent" } else { "" };
            let what = format!("surgery certified to be urgent{complete}");
            (what, Member(event.by), Some(event.id))
        }
        Event::SurgeryConsentWithdrawn(event) => {
            ("consent to surgery withdrawn".into(), Patient(event.patient), Some(event.id))
        }
        Event::SurgeryScheduled(event) => {
            let what = format!("surgery scheduled for {}", timestamp(event.scheduledAt));
            (what, Member(event.by), Some(event.id))
        }
        Event::TeamChanged(event) => {
            ("surgical team changed".into(), Member(event.by), Some(event.id))
        }
        Event::ChecklistSigned(event) => {
            let complete = if event.complete { ", complete" } else { "" };
            let what = format!("{} signed{complete}", state_name(event.step));
            (what, Member(event.by), Some(event.id))
        }
        Event::SurgeryIncised(event) => {
            let what = format!("surgery begun, round {}", event.round);
            (what, Member(event.by), Some(event.id))
        }
        Event::Implanted(event) => {
            let what = format!("implant put in, round {}", event.round);
            (what, Member(event.by), Some(event.id))
        }
        Event::ImplantVoided(event) => {
            let what = format!("implant taken back as a mistake, round {}", event.round);
            (what, Member(event.by), Some(event.id))
        }
        Event::Explanted(event) => {
            let what = format!("implant taken out, round {}", event.round);
            (what, Member(event.by), Some(event.id))
        }
        Event::ComplicationReported(event) => {
            ("complication of surgery reported".into(), Member(event.by), Some(event.id))
        }
        Event::SurgeryContinued(event) => {
            let what = format!("surgery: {}", state_name(event.state));
            (what, Member(event.by), Some(event.id))
        }
        Event::ReturnedToTheatre(event) => {
            let what = format!("returned to theatre, round {}", event.round);
            (what, Member(event.by), Some(event.id))
        }
        Event::SurgeryCancelled(event) => {
            ("surgery called off".into(), by(event.by, event.patient), Some(event.id))
        }
    }
}

/// What a state of `Surgeries.sol` is called where its events name it.
const fn state_name(state: u8) -> &'static str {
    match state {
        5 => "sign-in",
        6 => "time-out",
        8 => "sign-out",
        9 => "in recovery",
        10 => "discharged",
        11 => "followed up",
        _ => "another step",
    }
}
