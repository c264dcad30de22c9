//! What an event means to those whom it concerns. Pure: an event and its parties in, notices out.
//!
//! Nobody is told of what they did themselves, and nobody twice of one event under one topic.

mod claims;
pub(crate) mod devices;
mod laboratory;
mod prescriptions;
mod research;
mod surgeries;
mod trials;
mod waiting_lists;

use std::time::Duration;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::{SolEvent as _, SolEventInterface as _};
use bindings::{
    Claims::ClaimsEvents, Consents::ConsentsEvents, Contract, DataExchange::DataExchangeEvents,
    Deployment, Devices::DevicesEvents, EmergencyAccess::EmergencyAccessEvents,
    LabOrders::LabOrdersEvents, PatientAccount, Prescriptions::PrescriptionsEvents,
    Records::RecordsEvents, Relationships::RelationshipsEvents, Surgeries::SurgeriesEvents,
    Trials::TrialsEvents, WaitingLists::WaitingListsEvents, convert::timestamp,
};
use domain::Timestamp;

use crate::{
    Subject, Topic,
    parties::{Key, Part, Parties, PartyChange, Scope},
    silence::Silence,
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
    Trials(TrialsEvents),
    Research(DataExchangeEvents),
    Devices(DevicesEvents),
    Claims(ClaimsEvents),
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
            Contract::Trials => decoded!(Trials, TrialsEvents),
            Contract::DataExchange => decoded!(Research, DataExchangeEvents),
            Contract::Devices => decoded!(Devices, DevicesEvents),
            Contract::Claims => decoded!(Claims, ClaimsEvents),
            Contract::Registry
            | Contract::WebAuthnVerifier
            | Contract::PatientAccounts
            | Contract::AccessLog
            | Contract::PaymentToken => None,
        }
    }

    /// Whose contacts have to be known to tell what the event means.
    pub(crate) const fn whose_contacts(&self) -> Option<Address> {
        match self {
            Self::Emergency(EmergencyAccessEvents::EmergencyOpened(opened)) => Some(opened.patient),
            _ => None,
        }
    }

    /// Whose care team has to be known to tell what the event means.
    pub(crate) const fn whose_care_team(&self) -> Option<Address> {
        match self {
            Self::Devices(event) => devices::whose_care_team(event),
            _ => None,
        }
    }

    /// Whose parties have to be known to tell what the event means.
    pub(crate) fn key(&self) -> Option<Key> {
        use EmergencyAccessEvents as Emergency;
        Some(match self {
            Self::Consents(ConsentsEvents::ConsentGranted(granted)) => {
                Key::of_patient(granted.patient)
            }
            Self::Emergency(Emergency::EmergencyOpened(opened)) => Key::of_patient(opened.patient),
            Self::Emergency(Emergency::EmergencyEnded(ended)) => Key(Scope::Emergency, ended.id),
            Self::Emergency(Emergency::EmergencyReviewed(reviewed)) => {
                Key(Scope::Emergency, reviewed.id)
            }
            Self::Prescriptions(event) => return prescriptions::key(event),
            Self::LabOrders(event) => return laboratory::key(event),
            Self::Surgeries(event) => return surgeries::key(event),
            Self::WaitingLists(event) => return waiting_lists::key(event),
            Self::Trials(event) => return trials::key(event),
            Self::Research(event) => return research::key(event),
            Self::Devices(event) => return devices::key(event),
            Self::Claims(event) => return claims::key(event),
            _ => return None,
        })
    }

    /// Whose parties have to be known besides.
    pub(crate) fn other_key(&self) -> Option<Key> {
        match self {
            Self::Trials(event) => trials::other_key(event),
            _ => None,
        }
    }

    /// Whom the event concerns, and what it changes about who has a part in what. Nothing when it
    /// concerns nobody.
    pub(crate) fn meaning(&self, parties: &Parties) -> Option<Meaning> {
        match self {
            Self::Relationships(event) => Some(relationship(event)),
            Self::Records(event) => record(event),
            Self::Consents(event) => Some(consent(event, parties)),
            Self::Emergency(event) => emergency(event, parties),
            Self::Prescriptions(event) => prescriptions::meaning(event, parties),
            Self::LabOrders(event) => laboratory::meaning(event, parties),
            Self::Surgeries(event) => surgeries::meaning(event, parties),
            Self::WaitingLists(event) => waiting_lists::meaning(event, parties),
            Self::Trials(event) => trials::meaning(event, parties),
            Self::Research(event) => research::meaning(event, parties),
            Self::Devices(event) => devices::meaning(event, parties),
            Self::Claims(event) => claims::meaning(event, parties),
            Self::Account(account, recovery) => {
                Some(Meaning::about(*account, *account).tell(recovery.topic(), [*account]))
            }
        }
    }
}

/// What an event means.
#[derive(Clone, Debug)]
pub(crate) struct Meaning {
    /// Zero when it is about nobody in particular.
    pub(crate) patient: Address,
    /// Who is told about themselves.
    themselves: Vec<Address>,
    pub(crate) subject: Subject,
    /// Who is told, under which topic.
    pub(crate) notices: Vec<(Topic, Address)>,
    pub(crate) changes: Vec<PartyChange>,
    pub(crate) review: Option<Review>,
    /// When a device is to be heard of from now on.
    pub(crate) silence: Option<Silence>,
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
            themselves: Vec::new(),
            subject: subject.into(),
            notices: Vec::new(),
            changes: Vec::new(),
            review: None,
            silence: None,
        }
    }

    /// About something in which many patients have a part.
    fn about_nobody(subject: impl Into<Subject>) -> Self {
        Self::about(Address::ZERO, subject)
    }

    /// Tells patients something of which each is told about themselves.
    fn tell_themselves(
        mut self,
        topic: Topic,
        patients: impl IntoIterator<Item = Address>,
    ) -> Self {
        let patients: Vec<_> = patients.into_iter().collect();
        self.themselves.extend_from_slice(&patients);
        self.tell(topic, patients)
    }

    /// Whose care a recipient is told about.
    pub(crate) fn patient_for(&self, recipient: Address) -> Address {
        if self.themselves.contains(&recipient) { recipient } else { self.patient }
    }

    fn tell(mut self, topic: Topic, recipients: impl IntoIterator<Item = Address>) -> Self {
        for recipient in recipients {
            if !self.notices.contains(&(topic, recipient)) {
                self.notices.push((topic, recipient));
            }
        }
        self
    }

    /// Notes when a device is to be heard of.
    fn awaiting(self, silence: Silence) -> Self {
        Self { silence: Some(silence), ..self }
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
            let (key, steward) = (Key::of_patient(event.patient), event.steward);
            Meaning::about(event.patient, steward)
                .tell(Topic::RelationshipAccepted, [steward])
                .party(key, Part::Steward, steward, true)
                .party(key, Part::Countersigner, steward, event.countersigned)
        }
        Event::RelationshipEnded(event) => {
            let (key, steward) = (Key::of_patient(event.patient), event.steward);
            Meaning::about(event.patient, steward)
                .tell(Topic::RelationshipEnded, [event.patient, steward])
                .not_to(event.by)
                .party(key, Part::Steward, steward, false)
                .party(key, Part::Countersigner, steward, false)
        }
        Event::PolicyProposed(event) => Meaning::about(event.patient, event.steward)
            .tell(Topic::PolicyProposed, [event.patient]),
        Event::PolicyChanged(event) => {
            let (key, steward) = (Key::of_patient(event.patient), event.steward);
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

fn emergency(event: &EmergencyAccessEvents, parties: &Parties) -> Option<Meaning> {
    Some(match event {
        EmergencyAccessEvents::EmergencyOpened(event) => {
            let key = Key(Scope::Emergency, event.id);
            let reminded_after = REVIEW_PERIOD.saturating_sub(REMINDED_BEFORE);
            let mut meaning = Meaning::about(event.patient, event.id)
                .tell(Topic::EmergencyOpened, [event.patient, event.institution])
                .tell(Topic::EmergencyOpened, parties.of(Part::Steward))
                .tell(Topic::EmergencyOpened, parties.contacts.iter().copied())
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
