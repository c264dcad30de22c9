//! Which step of a workflow gives which document which status.
//!
//! A step is an event of a contract. It says what changes by a search: documents that have one of the
//! statuses which come before, and get the one that follows. So a status that ends a document's way is never
//! left again, and events that are taken in twice do what they did once.
//!
//! # Source
//!
//! The codes are those of FHIR R4's value sets with a required binding: `medicationrequest-status`,
//! `medicationdispense-status`, `request-status`, `appointmentstatus`, `event-status`,
//! `consent-state-codes`, `fm-status`, `explanationofbenefit-status`, `research-study-status`,
//! `research-subject-status`, `device-status` and `metric-operational-status`.

use alloy_primitives::{Log, aliases::U40};
use alloy_sol_types::SolEventInterface as _;
use bindings::{
    Claims::ClaimsEvents, Contract, DataExchange::DataExchangeEvents, Devices::DevicesEvents,
    LabOrders::LabOrdersEvents, Prescriptions::PrescriptionsEvents, Surgeries::SurgeriesEvents,
    Trials::TrialsEvents, WaitingLists::WaitingListsEvents,
};
use domain::{Address, B256};
use workflows::device::{device_record, plan_record};

/// The contracts whose steps give statuses.
pub(crate) const CONTRACTS: [Contract; 8] = [
    Contract::Prescriptions,
    Contract::LabOrders,
    Contract::Surgeries,
    Contract::Trials,
    Contract::Claims,
    Contract::Devices,
    Contract::WaitingLists,
    Contract::DataExchange,
];

/// What a step changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) resource_type: String,
    /// The search that finds the documents, besides by their status.
    pub(crate) query: String,
    /// Other documents to which these refer, by the last parameter of the search, which has no value then.
    pub(crate) through: Option<(&'static str, String)>,
    /// Whose they are.
    pub(crate) patient: Option<Address>,
    /// Which statuses they have before, with commas between; empty when any.
    pub(crate) sources: String,
    /// Which status they have then.
    pub(crate) status: String,
    /// Whether the newest of them stays.
    pub(crate) but_newest: bool,
    /// When it happens unless something else does, in seconds since 1970; at once when there is no time.
    pub(crate) due: Option<u64>,
}

impl Change {
    fn new(resource_type: &str, query: String, sources: &str, status: &str) -> Self {
        Self {
            resource_type: resource_type.into(),
            query,
            through: None,
            patient: None,
            sources: sources.into(),
            status: status.into(),
            but_newest: false,
            due: None,
        }
    }

    /// Of what a patient's document with this very id is.
    fn one(resource_type: &str, id: B256, sources: &str, status: &str) -> Self {
        Self::new(resource_type, format!("_id={id:x}"), sources, status)
    }

    fn but_newest(self) -> Self {
        Self { but_newest: true, ..self }
    }

    fn at(self, due: U40) -> Self {
        Self { due: Some(due.to()), ..self }
    }
}

/// The order of a service, of one category: ids of several contracts can be the same, when somebody makes them so.
fn order(category: &str, id: B256, status: &str) -> Change {
    let query = format!("_id={id:x}&category={category}");
    Change::new("ServiceRequest", query, "active", status)
}

/// # Source
///
/// `workflows::laboratory`, SNOMED CT "Laboratory procedure".
const LABORATORY: &str = "108252007";

/// # Source
///
/// `workflows::surgery`, SNOMED CT "Surgical procedure".
const SURGERY: &str = "387713003";

/// # Source
///
/// `workflows::waiting_list`, SNOMED CT "Patient referral".
const REFERRAL: &str = "3457005";

/// `State.SignedOut` in `Surgeries.sol`.
const SIGNED_OUT: u8 = 8;

/// What an event changes. `was_dispensed` says whether anything was handed out on the prescription that it
/// is about.
pub(crate) fn changes(contract: Contract, log: &Log, was_dispensed: bool) -> Vec<Change> {
    macro_rules! decoded {
        ($events:ty, $changes:expr) => {
            match <$events>::decode_log(log) {
                Ok(event) => $changes(event.data),
                // What means nothing here changes nothing.
                Err(_) => (None, Vec::new()),
            }
        };
    }
    let (patient, mut changes) = match contract {
        Contract::Prescriptions => {
            decoded!(PrescriptionsEvents, |event| of_prescription(event, was_dispensed))
        }
        Contract::LabOrders => decoded!(LabOrdersEvents, of_lab_order),
        Contract::Surgeries => decoded!(SurgeriesEvents, of_surgery),
        Contract::Trials => decoded!(TrialsEvents, of_trial),
        Contract::Claims => decoded!(ClaimsEvents, of_claim),
        Contract::Devices => decoded!(DevicesEvents, of_device),
        Contract::WaitingLists => decoded!(WaitingListsEvents, of_waiting_list),
        Contract::DataExchange => decoded!(DataExchangeEvents, of_exchange),
        _ => (None, Vec::new()),
    };
    for change in &mut changes {
        change.patient = patient;
    }
    changes
}

/// Whose documents change, where the event says it, and how.
type Changes = (Option<Address>, Vec<Change>);

/// A prescription that is given up before anything was handed out is `cancelled`, after that `stopped`; one
/// whose time is over is `stopped`. Until a controlled one is signed by the second doctor it is a `draft`.
fn of_prescription(event: PrescriptionsEvents, was_dispensed: bool) -> Changes {
    use PrescriptionsEvents as Event;
    let one =
        |id, sources: &str, status: &str| Change::one("MedicationRequest", id, sources, status);
    // What a pharmacy prepared instead of the product that was prescribed.
    let prepared = |id: B256, status: &str| {
        let query = format!("prescription=MedicationRequest/{id:x}");
        Change::new("MedicationDispense", query, "preparation", status)
    };
    match event {
        Event::PrescriptionIssued(issued) => {
            let end = one(issued.id, "active,draft", "stopped").at(issued.terms.validUntil);
            (Some(issued.patient), vec![end])
        }
        Event::SignatureAwaited(awaited) => (None, vec![one(awaited.id, "active", "draft")]),
        Event::PrescriptionCountersigned(signed) => {
            (Some(signed.patient), vec![one(signed.id, "draft", "active")])
        }
        Event::Dispensed(dispensed) => {
            (Some(dispensed.patient), vec![prepared(dispensed.id, "completed")])
        }
        Event::ClaimReleased(released) => (None, vec![prepared(released.id, "cancelled")]),
        Event::PrescriptionCompleted(completed) => {
            (Some(completed.patient), vec![one(completed.id, "active", "completed")])
        }
        Event::PrescriptionCancelled(cancelled) => {
            let status = if was_dispensed { "stopped" } else { "cancelled" };
            let changes = vec![
                one(cancelled.id, "active,draft", status),
                prepared(cancelled.id, "cancelled"),
            ];
            (Some(cancelled.patient), changes)
        }
        _ => (None, Vec::new()),
    }
}

/// The prescription that an event cancels.
pub(crate) fn cancelled_prescription(contract: Contract, log: &Log) -> Option<B256> {
    if contract != Contract::Prescriptions {
        return None;
    }
    match PrescriptionsEvents::decode_log(log).ok()?.data {
        PrescriptionsEvents::PrescriptionCancelled(cancelled) => Some(cancelled.id),
        _ => None,
    }
}

/// An order is `completed` with its final result. What corrects that changes the result, not the order.
fn of_lab_order(event: LabOrdersEvents) -> Changes {
    use LabOrdersEvents as Event;
    match event {
        Event::ResultReported(reported) => {
            (Some(reported.patient), vec![order(LABORATORY, reported.id, "completed")])
        }
        Event::LabOrderCancelled(cancelled) => {
            (Some(cancelled.patient), vec![order(LABORATORY, cancelled.id, "revoked")])
        }
        _ => (None, Vec::new()),
    }
}

/// A plan is a procedure in `preparation` until the incision, and `completed` once all have signed out; one
/// that another plan replaced, or that was called off before, was `not-done`. What brings a patient back to
/// the theatre is another procedure, not what was referred for.
fn of_surgery(event: SurgeriesEvents) -> Changes {
    use SurgeriesEvents as Event;
    let of = |id: B256| format!("based-on=ServiceRequest/{id:x}");
    let plan = |id, sources: &str, status: &str| Change::new("Procedure", of(id), sources, status);
    match event {
        Event::SurgeryAssessed(assessed) => {
            let replaced = plan(assessed.id, "preparation", "not-done").but_newest();
            (Some(assessed.patient), vec![replaced])
        }
        Event::SurgeryConsentWithdrawn(withdrawn) => {
            let form = Change {
                through: Some(("Procedure", of(withdrawn.id))),
                ..Change::new("Consent", "data=".into(), "active", "inactive")
            };
            (Some(withdrawn.patient), vec![form])
        }
        Event::SurgeryIncised(incised) => {
            (Some(incised.patient), vec![plan(incised.id, "preparation", "in-progress")])
        }
        Event::ChecklistSigned(signed) if signed.complete && signed.step == SIGNED_OUT => {
            let changes = vec![
                plan(signed.id, "in-progress", "completed"),
                order(SURGERY, signed.id, "completed"),
            ];
            (Some(signed.patient), changes)
        }
        Event::SurgeryCancelled(cancelled) => {
            let mut changes = vec![plan(cancelled.id, "preparation", "not-done")];
            // A later round that is called off leaves the first one done.
            if cancelled.round == 1 {
                changes.push(order(SURGERY, cancelled.id, "revoked"));
            }
            (Some(cancelled.patient), changes)
        }
        _ => (None, Vec::new()),
    }
}

fn study(id: B256, sources: &str, status: &str) -> Change {
    Change::one("ResearchStudy", id, sources, status)
}

/// Subjects of a study: all of them, or those who are the one that the event is about.
fn subjects(id: B256, status: &str) -> Change {
    Change::new("ResearchSubject", format!("study=ResearchStudy/{id:x}"), "on-study", status)
}

/// Forms of consent to a study, in whatever version.
fn forms(id: B256) -> Change {
    Change::new("Consent", format!("data=ResearchStudy/{id:x}"), "active", "inactive")
}

/// A trial is `active` once it was approved, and until its data is locked. One that stops before is
/// `withdrawn`, one that stops later `administratively-completed`. Who is enrolled is on study until the lock.
fn of_trial(event: TrialsEvents) -> Changes {
    use TrialsEvents as Event;
    const LOCKED: &str = "closed-to-accrual-and-intervention";
    match event {
        Event::TrialApproved(approved) => (None, vec![study(approved.id, "in-review", "active")]),
        Event::SubjectConsented(consented) => {
            // Another version replaces the consent to the one before; its form is filed later.
            (Some(consented.patient), vec![forms(consented.id)])
        }
        Event::SubjectWithdrawn(withdrawn) => {
            let changes = vec![subjects(withdrawn.id, "withdrawn"), forms(withdrawn.id)];
            (Some(withdrawn.patient), changes)
        }
        Event::DataLocked(locked) => {
            (None, vec![study(locked.id, "active", LOCKED), subjects(locked.id, "off-study")])
        }
        Event::ResultsPublished(published) => {
            (None, vec![study(published.id, LOCKED, "completed")])
        }
        Event::TrialStopped(stopped) => {
            let begun = format!("active,{LOCKED}");
            let changes = vec![
                study(stopped.id, "in-review", "withdrawn"),
                study(stopped.id, &begun, "administratively-completed"),
                subjects(stopped.id, "off-study"),
            ];
            (None, changes)
        }
        _ => (None, Vec::new()),
    }
}

/// A coverage is a `draft` until the patient accepts it. FHIR has no status for what is paid: that is in the
/// amounts. A decision that an appeal replaced is `cancelled`.
fn of_claim(event: ClaimsEvents) -> Changes {
    use ClaimsEvents as Event;
    let coverage =
        |id, sources: &str, status: &str| vec![Change::one("Coverage", id, sources, status)];
    match event {
        Event::CoverageOffered(offered) => {
            (Some(offered.patient), coverage(offered.id, "active", "draft"))
        }
        Event::CoverageAccepted(accepted) => {
            (Some(accepted.patient), coverage(accepted.id, "draft", "active"))
        }
        Event::CoverageEnded(ended) => {
            (Some(ended.patient), coverage(ended.id, "active,draft", "cancelled"))
        }
        Event::ClaimWithdrawn(withdrawn) => {
            (None, vec![Change::one("Claim", withdrawn.id, "active", "cancelled")])
        }
        Event::ClaimAdjudicated(decided) => {
            let replaced = |resource_type: &str, parameter: &str| {
                let query = format!("{parameter}=Claim/{:x}", decided.id);
                Change::new(resource_type, query, "active", "cancelled").but_newest()
            };
            let changes = vec![
                replaced("ExplanationOfBenefit", "claim"),
                replaced("ClaimResponse", "request"),
            ];
            (Some(decided.patient), changes)
        }
        _ => (None, Vec::new()),
    }
}

/// A device measures its patient until the time of the binding is over (`completed`), or either ends it
/// before (`revoked`).
fn of_device(event: DevicesEvents) -> Changes {
    use DevicesEvents as Event;
    let changes = |device: Address, binding: u32, patient: Address, status: &str| {
        let own = device_record(device, binding).0;
        let source = format!("source=Device/{own:x}");
        let order = plan_record(device, binding, patient).0;
        vec![
            Change::one("DeviceRequest", order, "active", status),
            Change::one("Device", own, "active", "inactive"),
            Change::new("DeviceMetric", source, "", "off"),
        ]
    };
    match event {
        Event::DeviceBound(bound) => {
            let ends = changes(bound.device, bound.binding, bound.patient, "completed");
            let ends = ends.into_iter().map(|change| change.at(bound.until)).collect();
            (Some(bound.patient), ends)
        }
        Event::DeviceUnbound(unbound) => {
            let ends = changes(unbound.device, unbound.binding, unbound.patient, "revoked");
            (Some(unbound.patient), ends)
        }
        _ => (None, Vec::new()),
    }
}

/// An appointment is `fulfilled` by who came and `noshow` by who did not; another one takes its place.
fn of_waiting_list(event: WaitingListsEvents) -> Changes {
    use WaitingListsEvents as Event;
    let appointment = |id: B256, status: &str| {
        Change::new("Appointment", format!("based-on=ServiceRequest/{id:x}"), "booked", status)
    };
    match event {
        Event::AppointmentScheduled(scheduled) => {
            let replaced = appointment(scheduled.id, "cancelled").but_newest();
            (Some(scheduled.patient), vec![replaced])
        }
        Event::PatientAttended(attended) => {
            let changes = vec![
                order(REFERRAL, attended.id, "completed"),
                appointment(attended.id, "fulfilled"),
            ];
            (Some(attended.patient), changes)
        }
        Event::AppointmentMissed(missed) => {
            (Some(missed.patient), vec![appointment(missed.id, "noshow")])
        }
        Event::ListingRemoved(removed) => {
            let changes =
                vec![order(REFERRAL, removed.id, "revoked"), appointment(removed.id, "cancelled")];
            (Some(removed.patient), changes)
        }
        _ => (None, Vec::new()),
    }
}

/// A study of records is `active` once it was approved by two, until its time is over or somebody ends it.
fn of_exchange(event: DataExchangeEvents) -> Changes {
    use DataExchangeEvents as Event;
    const ENDED: &str = "administratively-completed";
    match event {
        Event::StudyProposed(proposed) => {
            let over = study(proposed.id, "active", "completed").at(proposed.until);
            (None, vec![over])
        }
        Event::StudyApproved(approved) if approved.complete => {
            (None, vec![study(approved.id, "in-review", "active")])
        }
        Event::StudyConsentWithdrawn(withdrawn) => {
            (Some(withdrawn.patient), vec![subjects(withdrawn.study, "withdrawn")])
        }
        Event::StudyEnded(ended) => {
            let changes = vec![
                study(ended.id, "in-review", "withdrawn"),
                study(ended.id, "active", ENDED),
                subjects(ended.id, "off-study"),
            ];
            (None, changes)
        }
        _ => (None, Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use alloy_sol_types::SolEvent;
    use bindings::{Claims, LabOrders, Prescriptions, Trials, WaitingLists};

    use super::*;

    const ID: B256 = B256::repeat_byte(0xab);
    const PATIENT: Address = Address::repeat_byte(1);
    const SOMEBODY: Address = Address::repeat_byte(2);

    /// What an event changes, as `type?search: from -> to`.
    #[track_caller]
    fn check<E: SolEvent>(contract: Contract, event: &E, was_dispensed: bool, expected: &[&str]) {
        let log = Log { address: Address::ZERO, data: event.encode_log_data() };
        let text = |change: &Change| {
            let Change { resource_type, query, sources, status, .. } = change;
            let query = query.replace(&format!("{ID:x}"), "ID");
            format!("{resource_type}?{query}: {sources} -> {status}")
        };
        let found: Vec<String> = changes(contract, &log, was_dispensed).iter().map(text).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_was_handed_out_makes_a_difference() {
        let event = Prescriptions::PrescriptionCancelled { id: ID, patient: PATIENT, by: SOMEBODY };
        let prepared = "MedicationDispense?prescription=MedicationRequest/ID: \
                        preparation -> cancelled";
        let (cancelled, stopped) = (
            "MedicationRequest?_id=ID: active,draft -> cancelled",
            "MedicationRequest?_id=ID: active,draft -> stopped",
        );
        check(Contract::Prescriptions, &event, false, &[cancelled, prepared]);
        check(Contract::Prescriptions, &event, true, &[stopped, prepared]);
    }

    #[test]
    fn the_same_number_in_two_contracts_is_of_two_documents() {
        // Whoever makes one can make the other, so each names the category of its own.
        let ordered = LabOrders::LabOrderCancelled { id: ID, patient: PATIENT, by: SOMEBODY };
        let order = "ServiceRequest?_id=ID&category=108252007: active -> revoked";
        check(Contract::LabOrders, &ordered, false, &[order]);
        let reason = B256::ZERO;
        let listed =
            WaitingLists::ListingRemoved { id: ID, patient: PATIENT, by: SOMEBODY, reason };
        let referral = "ServiceRequest?_id=ID&category=3457005: active -> revoked";
        let appointment = "Appointment?based-on=ServiceRequest/ID: booked -> cancelled";
        check(Contract::WaitingLists, &listed, false, &[referral, appointment]);
    }

    #[test]
    fn a_decision_that_was_replaced_is_cancelled_and_the_newest_stays() {
        let decision =
            Claims::Decision { approved: 1, flags: 0, rules: B256::ZERO, explanation: B256::ZERO };
        let event = Claims::ClaimAdjudicated {
            id: ID,
            patient: PATIENT,
            adjudicator: SOMEBODY,
            state: 4,
            decision,
            share: 1,
        };
        let log = Log { address: Address::ZERO, data: event.encode_log_data() };
        let changes = changes(Contract::Claims, &log, false);
        assert!(changes.iter().all(|change| change.but_newest));
        assert_eq!(changes[0].query, format!("claim=Claim/{ID:x}"));
        assert_eq!(changes[1].query, format!("request=Claim/{ID:x}"));
        let event = Claims::ClaimWithdrawn { id: ID, provider: SOMEBODY };
        check(Contract::Claims, &event, false, &["Claim?_id=ID: active -> cancelled"]);
    }

    #[test]
    fn what_says_nothing_of_a_document_changes_none() {
        let event = Trials::SiteJoined { id: ID, site: SOMEBODY };
        check(Contract::Trials, &event, false, &[]);
        let claimed = Prescriptions::PharmacyWithdrawn { id: ID, pharmacy: SOMEBODY, by: PATIENT };
        check(Contract::Prescriptions, &claimed, false, &[]);
        // Nor does what cannot be read.
        let log = Log::default();
        assert!(CONTRACTS.iter().all(|contract| changes(*contract, &log, false).is_empty()));
    }

    #[test]
    fn whose_document_it_is_counts() {
        let event = LabOrders::LabOrderCancelled { id: ID, patient: PATIENT, by: SOMEBODY };
        let log = Log { address: Address::ZERO, data: event.encode_log_data() };
        assert_eq!(changes(Contract::LabOrders, &log, false)[0].patient, Some(PATIENT));
    }
}
