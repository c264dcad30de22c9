//! What an event means to those whom it concerns. Pure: an event and its parties in, notices out.
//!
//! Nobody is told of what they did themselves, and nobody twice of one event under one topic.

use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::{SolEvent as _, SolEventInterface as _};
use bindings::{
    Consents::ConsentsEvents, Contract, Deployment, EmergencyAccess::EmergencyAccessEvents,
    LabOrders::LabOrdersEvents, PatientAccount, Prescriptions::PrescriptionsEvents,
    Records::RecordsEvents, Relationships::RelationshipsEvents, Surgeries::SurgeriesEvents,
    WaitingLists::WaitingListsEvents, convert::timestamp,
};
use domain::Timestamp;

use crate::{
    Subject, Topic,
    parties::{Key, Part, Parties, PartyChange, Scope},
};

/// How long after its beginning an opening is to be reviewed; later, who opened can open no more.
///
/// # Source
///
/// `REVIEW_PERIOD` in `EmergencyAccess.sol`.
const REVIEW_PERIOD: Duration = Duration::from_secs(72 * 3_600);

/// How long before that the institution is reminded.
const REMINDED_BEFORE: Duration = Duration::from_secs(24 * 3_600);

/// An event of a contract that somebody is told about.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Relationships(RelationshipsEvents),
    Records(RecordsEvents),
    Consents(ConsentsEvents),
    Emergency(EmergencyAccessEvents),
    Prescriptions(PrescriptionsEvents),
    LabOrders(LabOrdersEvents),
    Surgeries(SurgeriesEvents),
    WaitingLists(WaitingListsEvents),
    /// Of the patient's account at this address.
    Account(Address, Recovery),
}

/// What happens to an account's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    Begun,
    Cancelled,
    Finished,
}

impl Recovery {
    /// The first topics of the logs that tell of it.
    pub(crate) const SIGNATURES: [B256; 3] = [
        PatientAccount::RecoveryProposed::SIGNATURE_HASH,
        PatientAccount::RecoveryCancelled::SIGNATURE_HASH,
        PatientAccount::RecoveryFinished::SIGNATURE_HASH,
    ];

    fn of(log: &Log) -> Option<Self> {
        let all = [Self::Begun, Self::Cancelled, Self::Finished];
        let position = Self::SIGNATURES.iter().position(|hash| log.topic0() == Some(hash));
        position.map(|position| all[position])
    }

    const fn topic(self) -> Topic {
        match self {
            Self::Begun => Topic::RecoveryBegun,
            Self::Cancelled => Topic::RecoveryCancelled,
            Self::Finished => Topic::RecoveryFinished,
        }
    }
}

impl Event {
    /// The event in a log; nothing when nobody is told about such events, or it is of later contracts.
    pub(crate) fn decode(deployment: &Deployment, log: &Log) -> Option<Self> {
        let Some(contract) = deployment.contract_at(&log.inner.address) else {
            // Whatever contract it is, it can speak for nobody but its own address.
            return Recovery::of(log).map(|recovery| Self::Account(log.inner.address, recovery));
        };
        macro_rules! decoded {
            ($variant:ident, $events:ty) => {
                <$events>::decode_log(&log.inner).ok().map(|log| Self::$variant(log.data))
            };
        }
        match contract {
            Contract::Relationships => decoded!(Relationships, RelationshipsEvents),
            Contract::Records => decoded!(Records, RecordsEvents),
            Contract::Consents => decoded!(Consents, ConsentsEvents),
            Contract::EmergencyAccess => decoded!(Emergency, EmergencyAccessEvents),
            Contract::Prescriptions => decoded!(Prescriptions, PrescriptionsEvents),
            Contract::LabOrders => decoded!(LabOrders, LabOrdersEvents),
            Contract::Surgeries => decoded!(Surgeries, SurgeriesEvents),
            Contract::WaitingLists => decoded!(WaitingLists, WaitingListsEvents),
            Contract::Registry
            | Contract::WebAuthnVerifier
            | Contract::PatientAccounts
            | Contract::AccessLog
            | Contract::Trials
            | Contract::Devices
            | Contract::PaymentToken
            | Contract::Claims
            | Contract::DataExchange => None,
        }
    }

    /// Whose parties have to be known to tell what the event means.
    pub(crate) fn key(&self) -> Option<Key> {
        use EmergencyAccessEvents as Emergency;
        use LabOrdersEvents as Order;
        use PrescriptionsEvents as Prescription;
        use SurgeriesEvents as Surgery;
        use WaitingListsEvents as Waiting;
        Some(match self {
            Self::Consents(ConsentsEvents::ConsentGranted(granted)) => of_patient(granted.patient),
            Self::Emergency(Emergency::EmergencyOpened(opened)) => of_patient(opened.patient),
            Self::Emergency(Emergency::EmergencyEnded(ended)) => Key(Scope::Emergency, ended.id),
            Self::Emergency(Emergency::EmergencyReviewed(reviewed)) => {
                Key(Scope::Emergency, reviewed.id)
            }
            Self::Prescriptions(event) => {
                let id = match event {
                    Prescription::PrescriptionIssued(event) => event.id,
                    Prescription::PharmacyPermitted(event) => event.id,
                    Prescription::PharmacyWithdrawn(event) => event.id,
                    Prescription::PrescriptionClaimed(event) => event.id,
                    Prescription::ClaimReleased(event) => event.id,
                    Prescription::Dispensed(event) => event.id,
                    Prescription::PrescriptionCompleted(event) => event.id,
                    Prescription::PrescriptionCancelled(event) => event.id,
                    Prescription::SignatureAwaited(event) => event.id,
                    Prescription::PrescriptionCountersigned(event) => event.id,
                    Prescription::SubstitutionForbidden(event) => event.id,
                    Prescription::ProductSubstituted(event) => event.id,
                    Prescription::CollectionConfirmed(event) => event.id,
                };
                Key(Scope::Prescription, id)
            }
            Self::LabOrders(event) => {
                let id = match event {
                    Order::LabOrdered(event) => event.id,
                    Order::SpecimenCollected(event) => event.id,
                    Order::ResultReported(event) => event.id,
                    Order::ResultReleased(event) => event.id,
                    Order::ResultAcknowledged(event) => event.id,
                    Order::LabOrderCancelled(event) => event.id,
                    Order::SpecimenHandedOver(event) => event.id,
                    Order::PreliminaryReported(event) => event.id,
                    Order::ResultCorrected(event) => event.id,
                    Order::CriticalEscalated(event) => event.id,
                };
                Key(Scope::LabOrder, id)
            }
            Self::Surgeries(event) => {
                let id = match event {
                    Surgery::SurgeryReferred(event) => event.id,
                    Surgery::SurgeryConsented(event) => event.id,
                    Surgery::SurgeryCertified(event) => event.id,
                    Surgery::SurgeryConsentWithdrawn(event) => event.id,
                    Surgery::ComplicationReported(event) => event.id,
                    Surgery::SurgeryContinued(event) => event.id,
                    Surgery::SurgeryCancelled(event) => event.id,
                    _ => return None,
                };
                Key(Scope::Surgery, id)
            }
            Self::WaitingLists(event) => {
                let id = match event {
                    Waiting::PatientListed(event) => event.id,
                    Waiting::ListingPrioritised(event) => event.id,
                    Waiting::AppointmentScheduled(event) => event.id,
                    Waiting::PatientAttended(event) => event.id,
                    Waiting::AppointmentMissed(event) => event.id,
                    Waiting::ListingRemoved(event) => event.id,
                    Waiting::CensusPublished(_) => return None,
                };
                Key(Scope::WaitingList, id)
            }
            _ => return None,
        })
    }

    /// Whom the event concerns, and what it changes about who has a part in what. Nothing when it
    /// concerns nobody.
    pub(crate) fn meaning(&self, parties: &Parties) -> Option<Meaning> {
        match self {
            Self::Relationships(event) => Some(relationship(event)),
            Self::Records(event) => record(event),
            Self::Consents(event) => Some(consent(event, parties)),
            Self::Emergency(event) => emergency(event, parties),
            Self::Prescriptions(event) => prescription(event, parties),
            Self::LabOrders(event) => lab_order(event, parties),
            Self::Surgeries(event) => surgery(event, parties),
            Self::WaitingLists(event) => waiting_list(event, parties),
            Self::Account(account, recovery) => {
                Some(Meaning::about(*account, *account).tell(recovery.topic(), [*account]))
            }
        }
    }
}

/// What an event means.
#[derive(Clone, Debug)]
pub(crate) struct Meaning {
    pub(crate) patient: Address,
    pub(crate) subject: Subject,
    /// Who is told, under which topic.
    pub(crate) notices: Vec<(Topic, Address)>,
    pub(crate) changes: Vec<PartyChange>,
    pub(crate) review: Option<Review>,
}

/// What becomes of the review of an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Review {
    /// It is due; the institution is reminded at this time.
    Wanted { opening: B256, institution: Address, reminded_at: Timestamp },
    /// It was given.
    Given { opening: B256 },
}

impl Meaning {
    fn about(patient: Address, subject: impl Into<Subject>) -> Self {
        Self {
            patient,
            subject: subject.into(),
            notices: Vec::new(),
            changes: Vec::new(),
            review: None,
        }
    }

    fn tell(mut self, topic: Topic, recipients: impl IntoIterator<Item = Address>) -> Self {
        for recipient in recipients {
            if !self.notices.contains(&(topic, recipient)) {
                self.notices.push((topic, recipient));
            }
        }
        self
    }

    /// Leaves out whoever did it.
    fn not_to(mut self, by: Address) -> Self {
        self.notices.retain(|(_, recipient)| *recipient != by);
        self
    }

    fn party(mut self, key: Key, part: Part, party: Address, joins: bool) -> Self {
        self.changes.push(PartyChange { key, part, party, joins });
        self
    }
}

fn of_patient(patient: Address) -> Key {
    Key(Scope::Relationships, patient.into_word())
}

fn relationship(event: &RelationshipsEvents) -> Meaning {
    use RelationshipsEvents as Event;
    match event {
        Event::RelationshipProposed(event) => Meaning::about(event.patient, event.steward)
            .tell(Topic::RelationshipProposed, [event.patient]),
        Event::OfferWithdrawn(event) => Meaning::about(event.patient, event.steward)
            .tell(Topic::RelationshipWithdrawn, [event.patient]),
        Event::OfferDeclined(event) => Meaning::about(event.patient, event.steward)
            .tell(Topic::RelationshipDeclined, [event.steward]),
        Event::RelationshipAccepted(event) => {
            let (key, steward) = (of_patient(event.patient), event.steward);
            Meaning::about(event.patient, steward)
                .tell(Topic::RelationshipAccepted, [steward])
                .party(key, Part::Steward, steward, true)
                .party(key, Part::Countersigner, steward, event.countersigned)
        }
        Event::RelationshipEnded(event) => {
            let (key, steward) = (of_patient(event.patient), event.steward);
            Meaning::about(event.patient, steward)
                .tell(Topic::RelationshipEnded, [event.patient, steward])
                .not_to(event.by)
                .party(key, Part::Steward, steward, false)
                .party(key, Part::Countersigner, steward, false)
        }
        Event::PolicyProposed(event) => Meaning::about(event.patient, event.steward)
            .tell(Topic::PolicyProposed, [event.patient]),
        Event::PolicyChanged(event) => {
            let (key, steward) = (of_patient(event.patient), event.steward);
            Meaning::about(event.patient, steward).tell(Topic::PolicyChanged, [steward]).party(
                key,
                Part::Countersigner,
                steward,
                event.countersigned,
            )
        }
    }
}

fn record(event: &RecordsEvents) -> Option<Meaning> {
    use RecordsEvents as Event;
    // The chain knows records' stewards, not their authors.
    let answered = |patient, record: B256, steward| {
        Meaning::about(patient, record).tell(Topic::RecordAnswered, [steward])
    };
    Some(match event {
        Event::RecordProposed(event) => {
            Meaning::about(event.patient, event.record).tell(Topic::RecordProposed, [event.patient])
        }
        Event::RecordWithdrawn(event) => Meaning::about(event.patient, event.record)
            .tell(Topic::RecordWithdrawn, [event.patient]),
        Event::RecordErased(event) => {
            Meaning::about(event.patient, event.record).tell(Topic::RecordErased, [event.patient])
        }
        Event::ErasureRequested(event) => Meaning::about(event.patient, event.record)
            .tell(Topic::ErasureRequested, [event.steward]),
        Event::RecordAccepted(event) => answered(event.patient, event.record, event.steward),
        Event::RecordRejected(event) => answered(event.patient, event.record, event.steward),
        Event::RecordDisputed(event) => answered(event.patient, event.record, event.steward),
        Event::DisputeResolved(event) => answered(event.patient, event.record, event.steward),
        Event::BatchAccepted(event) => answered(event.patient, event.root, event.steward),
        // A batch does not say whose records are in it.
        Event::BatchAnchored(_) | Event::RecordMaterialised(_) => return None,
    })
}

fn consent(event: &ConsentsEvents, parties: &Parties) -> Meaning {
    match event {
        ConsentsEvents::ConsentGranted(event) => {
            let others = parties.of(Part::Countersigner).filter(|steward| *steward != event.reader);
            Meaning::about(event.patient, event.reader)
                .tell(Topic::ConsentGranted, [event.reader])
                .tell(Topic::CountersignatureWanted, others)
        }
        ConsentsEvents::ConsentRevoked(event) => {
            Meaning::about(event.patient, event.reader).tell(Topic::ConsentRevoked, [event.reader])
        }
        ConsentsEvents::ConsentCountersigned(event) => Meaning::about(event.patient, event.reader)
            .tell(Topic::ConsentCountersigned, [event.reader, event.patient]),
        ConsentsEvents::CountersignatureWithdrawn(event) => {
            Meaning::about(event.patient, event.reader)
                .tell(Topic::CountersignatureWithdrawn, [event.reader, event.patient])
        }
    }
}

/// Guardians stand on chain as a digest only, so nobody can tell who they are.
fn emergency(event: &EmergencyAccessEvents, parties: &Parties) -> Option<Meaning> {
    Some(match event {
        EmergencyAccessEvents::EmergencyOpened(event) => {
            let key = Key(Scope::Emergency, event.id);
            let reminded_after = REVIEW_PERIOD.saturating_sub(REMINDED_BEFORE);
            let mut meaning = Meaning::about(event.patient, event.id)
                .tell(Topic::EmergencyOpened, [event.patient, event.institution])
                .tell(Topic::EmergencyOpened, parties.of(Part::Steward))
                .party(key, Part::Institution, event.institution, true);
            meaning.review = Some(Review::Wanted {
                opening: event.id,
                institution: event.institution,
                reminded_at: timestamp(event.opensAt).after(reminded_after),
            });
            meaning
        }
        EmergencyAccessEvents::EmergencyEnded(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::EmergencyEnded, [event.patient])
            .tell(Topic::EmergencyEnded, parties.of(Part::Institution)),
        EmergencyAccessEvents::EmergencyReviewed(event) => {
            let mut meaning = Meaning::about(event.patient, event.id)
                .tell(Topic::EmergencyReviewed, [event.patient, event.professional])
                .tell(Topic::EmergencyReviewed, parties.of(Part::Institution));
            meaning.review = Some(Review::Given { opening: event.id });
            meaning
        }
        EmergencyAccessEvents::EmergencyRestricted(_) => return None,
    })
}

fn prescription(event: &PrescriptionsEvents, parties: &Parties) -> Option<Meaning> {
    use PrescriptionsEvents as Event;
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

fn lab_order(event: &LabOrdersEvents, parties: &Parties) -> Option<Meaning> {
    use LabOrdersEvents as Event;
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

fn surgery(event: &SurgeriesEvents, parties: &Parties) -> Option<Meaning> {
    use SurgeriesEvents as Event;
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

fn waiting_list(event: &WaitingListsEvents, parties: &Parties) -> Option<Meaning> {
    use WaitingListsEvents as Event;
    let referrer = || parties.of(Part::Professional);
    let told = |patient, id: B256, topic, by| {
        Meaning::about(patient, id).tell(topic, [patient]).tell(topic, referrer()).not_to(by)
    };
    Some(match event {
        Event::PatientListed(event) => {
            let key = Key(Scope::WaitingList, event.id);
            Meaning::about(event.patient, event.id)
                .tell(Topic::WaitingListed, [event.patient, event.hospital])
                .party(key, Part::Professional, event.referrer, true)
                .party(key, Part::Counterpart, event.hospital, true)
        }
        Event::ListingPrioritised(event) => {
            told(event.patient, event.id, Topic::WaitingPrioritised, event.by)
        }
        Event::AppointmentScheduled(event) => {
            told(event.patient, event.id, Topic::AppointmentScheduled, event.by)
        }
        Event::AppointmentMissed(event) => {
            told(event.patient, event.id, Topic::AppointmentMissed, event.by)
        }
        // Who came knows it.
        Event::PatientAttended(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::WaitingAttended, referrer())
            .not_to(event.by),
        Event::ListingRemoved(event) => Meaning::about(event.patient, event.id)
            .tell(Topic::WaitingRemoved, [event.patient])
            .tell(Topic::WaitingRemoved, referrer().chain(parties.of(Part::Counterpart)))
            .not_to(event.by),
        // It names nobody.
        Event::CensusPublished(_) => return None,
    })
}
