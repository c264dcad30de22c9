//! The steps of trials. None of them tells an arm.

use bindings::Trials::TrialsEvents as Event;

use super::{
    Actor::{Member, Patient, Unknown},
    Described,
};

pub(super) fn describe(event: Event) -> Described {
    match event {
        Event::TrialRegistered(event) => {
            let what = format!("trial registered, with {} arms", event.design.arms);
            (what, Member(event.by), Some(event.id))
        }
        Event::TrialApproved(event) => {
            let what = format!("protocol approved by {}", event.custodian);
            (what, Member(event.by), Some(event.id))
        }
        Event::AmendmentProposed(event) => {
            let what = format!("version {} of the protocol asked for", event.version);
            (what, Member(event.by), Some(event.id))
        }
        Event::AmendmentApproved(event) => {
            let what = format!("version {} of the protocol in force", event.version);
            (what, Member(event.by), Some(event.id))
        }
        Event::SiteInvited(event) => {
            (format!("site {} invited", event.site), Member(event.by), Some(event.id))
        }
        Event::SiteJoined(event) => {
            ("takes part as a site".into(), Member(event.site), Some(event.id))
        }
        Event::SubjectConsented(event) => {
            let what = format!("consent to version {} of a trial's protocol", event.version);
            (what, Patient(event.patient), Some(event.id))
        }
        Event::NonceOpened(event) => {
            ("nonce for a trial opened".into(), Patient(event.patient), Some(event.id))
        }
        Event::SubjectScreened(event) => {
            let what = match event.eligible {
                true => format!("enrolled {} in a trial", event.patient),
                false => format!("excluded {} from a trial by its criteria", event.patient),
            };
            (what, Member(event.by), Some(event.id))
        }
        Event::SubjectAllocated(event) => {
            let what = format!("arm of {} committed to", event.patient);
            (what, Member(event.by), Some(event.id))
        }
        Event::SubjectUnblinded(event) => {
            let what = format!("{} unblinded in a trial", event.patient);
            (what, Member(event.by), Some(event.id))
        }
        Event::DataEntered(event) => {
            let what =
                format!("data of a trial entered of {}, visit {}", event.patient, event.visit);
            (what, Member(event.by), Some(event.id))
        }
        Event::SubjectWithdrawn(event) => {
            let what = match event.keepData {
                true => "withdrawn from a trial; what was entered may be used",
                false => "withdrawn from a trial; what was entered may not be used",
            };
            (what.into(), Patient(event.patient), Some(event.id))
        }
        Event::AdverseEventReported(event) => {
            let serious = if event.serious { "serious adverse event" } else { "adverse event" };
            let late = if event.late { ", late" } else { "" };
            let what = format!("{serious} {} of {} reported{late}", event.number, event.patient);
            (what, Member(event.by), Some(event.id))
        }
        Event::AdverseEventAcknowledged(event) => {
            let what = format!("adverse event {} acknowledged", event.number);
            (what, Member(event.by), Some(event.id))
        }
        Event::DataLocked(event) => {
            let what = format!("data of the trial locked: {} entries", event.entries);
            (what, Member(event.by), Some(event.id))
        }
        // Whoever knows a seed may reveal it.
        Event::SeedRevealed(event) => {
            (format!("seed of {} revealed", event.party), Unknown, Some(event.id))
        }
        Event::ResultsPublished(event) => {
            ("results of the trial published".into(), Member(event.by), Some(event.id))
        }
        Event::TrialStopped(event) => ("trial stopped".into(), Member(event.by), Some(event.id)),
    }
}
