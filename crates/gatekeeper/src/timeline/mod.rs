//! Timelines: every step of a patient, a record or a workflow, as the chain has it.
//!
//! A step is an event of one of the contracts. Before it is shown, it is held against its block: the
//! header must have the hash that the event names, the block's receipts the root that the header names,
//! and the event must stand in these receipts, at its place, word for word. So an endpoint can invent no
//! step of a block that is one of the chain's. It can leave steps out, and the hash of a step's
//! transaction is its word alone: receipts do not hold it. Whom an event does not name, the transaction
//! tells, which then is held against the block as well.

mod claims;
mod devices;
mod laboratory;
mod prescriptions;
mod research;
mod sealed;
mod senders;
mod surgeries;
mod trials;
mod waiting_lists;

use std::collections::BTreeMap;

use alloy_consensus::{ReceiptEnvelope, proofs::calculate_receipt_root};
use alloy_eips::BlockId;
use alloy_primitives::{Address, B256};
use alloy_provider::Provider as _;
use alloy_rpc_types_eth::{Filter, Header, Log};
use alloy_sol_types::SolEventInterface as _;
use bindings::{
    AccessLog::AccessLogEvents, Claims::ClaimsEvents, Consents::ConsentsEvents, Contract,
    DataExchange::DataExchangeEvents, Devices::DevicesEvents,
    EmergencyAccess::EmergencyAccessEvents, LabOrders::LabOrdersEvents,
    Prescriptions::PrescriptionsEvents, Records::RecordsEvents, Registry::RegistryEvents,
    Relationships::RelationshipsEvents, Surgeries, Surgeries::SurgeriesEvents,
    Trials::TrialsEvents, WaitingLists::WaitingListsEvents,
};
use domain::{Kind, KindSet, Timestamp};
use ledger::{EndpointError, Projection};
use serde::Serialize;

use crate::{Gatekeeper, GatekeeperError};

/// Who took a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Actor {
    /// The patient whom the step is about.
    Patient(Address),
    /// A member, by member address.
    Member(Address),
    /// The contract lets several take this step, its event names none, and the transaction is of nobody who is
    /// known, or not borne out by its block.
    Unknown,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineStep {
    /// When.
    pub time: Timestamp,
    /// In which block.
    pub block: u64,
    /// In which transaction.
    pub transaction: B256,
    /// Its place among the block's events.
    pub index: u64,
    /// Which contract says so.
    pub contract: &'static str,
    /// What happened, in words.
    pub what: String,
    /// Who did it.
    pub actor: Actor,
    /// The record, workflow or opening that it is about, when it is about one.
    pub subject: Option<B256>,
    /// Whether the block bears it out: that this happened, then and there. The transaction's hash is not
    /// part of that.
    pub checked: bool,
}

/// The steps about one subject, the oldest first.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Timeline {
    /// The steps.
    pub steps: Vec<TimelineStep>,
}

impl Timeline {
    /// Whether every step is borne out by its block.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.steps.iter().all(|step| step.checked)
    }
}

impl Gatekeeper {
    /// Everything on chain about a patient, by account, their prescriptions, orders and listings included.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the chain cannot be asked.
    pub async fn patient_timeline(&self, patient: Address) -> Result<Timeline, GatekeeperError> {
        let mut subjects = vec![patient.into_word()];
        subjects.extend(self.projection().await.workflows.of_patient(patient));
        subjects.extend(self.claims_of(patient).await?);
        self.steps(self.logs_about(&subjects).await?).await
    }

    /// Everything on chain about a record, a workflow, an opening or a member, by id, with the records that the
    /// workflow's steps sealed. Nothing when there is none such.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the chain cannot be asked.
    pub async fn timeline(&self, subject: B256) -> Result<Timeline, GatekeeperError> {
        let mut subjects = vec![subject];
        // The events of implants name these first, and the surgery where nobody can search for it.
        let call = Surgeries::implantsOfCall { id: subject };
        let at = self.deployment().address(Contract::Surgeries);
        let implants = self.ledger().call(at, &call, BlockId::latest()).await;
        // A network whose directory has no such contract has no implants either.
        subjects.extend(implants.unwrap_or_default());
        subjects.extend(self.orders_of(subject).await?);
        let mut logs = self.logs_about(&subjects).await?;
        let sealed = self.sealed_by(logs.values()).await?;
        logs.extend(sealed.into_iter().filter_map(in_place));
        self.steps(logs).await
    }

    /// The events that name one of these.
    async fn logs_about(&self, subjects: &[B256]) -> Result<Logs, GatekeeperError> {
        let mut logs = Logs::new();
        for position in 1..4 {
            let base = Filter::new().address(self.deployment().addresses()).from_block(0);
            let filter = match position {
                1 => base.topic1(subjects.to_vec()),
                2 => base.topic2(subjects.to_vec()),
                _ => base.topic3(subjects.to_vec()),
            };
            logs.extend(self.ledger().logs(&filter).await?.into_iter().filter_map(in_place));
        }
        let seen = self.acknowledgements(logs.values()).await?;
        logs.extend(seen.into_iter().filter_map(in_place));
        Ok(logs)
    }

    /// The events in words, each held against its block.
    async fn steps(&self, logs: Logs) -> Result<Timeline, GatekeeperError> {
        let projection = self.projection().await;
        // The steps are in the order of their blocks, so one block is kept at a time.
        let mut last: Option<(u64, Option<CheckedBlock>)> = None;
        let mut steps = Vec::with_capacity(logs.len());
        for ((number, index), log) in logs {
            let block = match last.take() {
                Some((kept, block)) if kept == number => block,
                _ => self.check_block(number).await?,
            };
            let mut step = self.step(&projection, &log, number, index, block.as_ref());
            if let (Some(step), Some(block)) = (&mut step, &block)
                && step.actor == Actor::Unknown
                && let Some(place) = block.transaction_of(&log)
                && let Some(sent) = self.transactions_of(block).await?
            {
                let sent = sent.get(place);
                step.actor = sent.map_or(Actor::Unknown, |sent| self.sender_of(sent, &projection));
            }
            steps.extend(step);
            last = Some((number, block));
        }
        Ok(Timeline { steps })
    }

    /// A block whose header and receipts bear each other out.
    async fn check_block(&self, number: u64) -> Result<Option<CheckedBlock>, GatekeeperError> {
        let provider = self.ledger().provider();
        let header = self.ledger().block(number.into()).await?.header;
        let receipts =
            provider.get_block_receipts(number.into()).await.map_err(EndpointError::from)?;
        let receipts: Vec<ReceiptEnvelope> = receipts
            .unwrap_or_default()
            .into_iter()
            .map(|receipt| receipt.into_primitives_receipt().inner)
            .collect();
        Ok(CheckedBlock::new(&header, &receipts))
    }

    fn step(
        &self,
        projection: &Projection,
        log: &Log,
        block: u64,
        index: u64,
        checked: Option<&CheckedBlock>,
    ) -> Option<TimelineStep> {
        let contract = self.deployment().contract_at(&log.inner.address)?;
        let (what, actor, subject) = describe(contract, log, projection)?;
        let checked_time = checked.filter(|held| held.bears_out(log)).map(|held| held.time);
        let time = checked_time.or(log.block_timestamp);
        Some(TimelineStep {
            time: Timestamp(time.unwrap_or_default()),
            block,
            transaction: log.transaction_hash?,
            index,
            contract: contract.name(),
            what,
            actor,
            subject,
            checked: checked_time.is_some(),
        })
    }
}

/// Events by block and by place in it.
type Logs = BTreeMap<(u64, u64), Log>;

/// An event with its place; none while it is in no block.
fn in_place(log: Log) -> Option<((u64, u64), Log)> {
    Some(((log.block_number?, log.log_index?), log))
}

/// What a block is known to hold.
struct CheckedBlock {
    number: u64,
    hash: B256,
    time: u64,
    transactions_root: B256,
    /// Every event of the block, in order, with the place of its transaction.
    logs: Vec<(usize, alloy_primitives::Log)>,
}

impl CheckedBlock {
    /// `None` unless the header has the hash that it is said to have, and names these receipts.
    fn new(header: &Header, receipts: &[ReceiptEnvelope]) -> Option<Self> {
        let whole = calculate_receipt_root(receipts) == header.inner.receipts_root
            && header.inner.hash_slow() == header.hash;
        whole.then(|| Self {
            number: header.inner.number,
            hash: header.hash,
            time: header.inner.timestamp,
            transactions_root: header.inner.transactions_root,
            logs: (receipts.iter().enumerate())
                .flat_map(|(place, receipt)| {
                    receipt.logs().iter().map(move |log| (place, log.clone()))
                })
                .collect(),
        })
    }

    /// Whether the block holds this event, at the place at which it is said to be.
    fn bears_out(&self, log: &Log) -> bool {
        self.transaction_of(log).is_some()
    }

    /// The place in the block of the transaction with this event, if the block bears the event out.
    fn transaction_of(&self, log: &Log) -> Option<usize> {
        let (place, held) = self.logs.get(usize::try_from(log.log_index?).ok()?)?;
        let is_here = log.block_hash == Some(self.hash) && log.block_number == Some(self.number);
        (is_here && *held == log.inner).then_some(*place)
    }
}

/// What an event says, who did it, and what it is about.
fn describe(
    contract: Contract,
    log: &Log,
    projection: &Projection,
) -> Option<(String, Actor, Option<B256>)> {
    use Actor::{Member, Patient, Unknown};
    let inner = &log.inner;
    Some(match contract {
        Contract::Relationships => match RelationshipsEvents::decode_log(inner).ok()?.data {
            RelationshipsEvents::RelationshipProposed(event) => {
                ("relationship proposed".into(), Member(event.steward), None)
            }
            RelationshipsEvents::RelationshipAccepted(event) => {
                ("relationship accepted".into(), Patient(event.patient), None)
            }
            RelationshipsEvents::RelationshipEnded(event) => {
                ("relationship ended".into(), by(event.by, event.patient), None)
            }
            RelationshipsEvents::PolicyProposed(event) => {
                ("policy proposed".into(), Member(event.steward), None)
            }
            RelationshipsEvents::PolicyChanged(event) => {
                ("policy changed".into(), Patient(event.patient), None)
            }
            RelationshipsEvents::OfferDeclined(event) => {
                ("offer declined".into(), Patient(event.patient), None)
            }
            RelationshipsEvents::OfferWithdrawn(event) => {
                ("offer withdrawn".into(), Member(event.steward), None)
            }
        },
        Contract::Records => describe_record(RecordsEvents::decode_log(inner).ok()?.data),
        Contract::Consents => match ConsentsEvents::decode_log(inner).ok()?.data {
            ConsentsEvents::ConsentGranted(event) => {
                let kinds = KindSet::from_bits(event.grant.kinds);
                let what = format!("consent granted to {}: {kinds}", event.reader);
                (what, Patient(event.patient), scope(event.record))
            }
            ConsentsEvents::ConsentRevoked(event) => {
                let what = format!("consent to {} revoked", event.reader);
                (what, Patient(event.patient), scope(event.record))
            }
            ConsentsEvents::ConsentCountersigned(event) => {
                let what = format!("consent to {} countersigned", event.reader);
                (what, Member(event.steward), scope(event.record))
            }
            ConsentsEvents::CountersignatureWithdrawn(event) => {
                let what = format!("countersignature for {} withdrawn", event.reader);
                (what, Member(event.steward), scope(event.record))
            }
        },
        Contract::EmergencyAccess => match EmergencyAccessEvents::decode_log(inner).ok()?.data {
            EmergencyAccessEvents::EmergencyOpened(event) => {
                let until = Timestamp(event.closesAt.to());
                let kinds = KindSet::from_bits(event.kinds);
                let what = format!("glass broken until {until}: {kinds}");
                (what, Member(event.professional), Some(event.id))
            }
            EmergencyAccessEvents::EmergencyEnded(event) => {
                // Who opened it, the patient, or a reviewer's verdict.
                ("emergency access ended".into(), Unknown, Some(event.id))
            }
            EmergencyAccessEvents::EmergencyReviewed(event) => {
                let verdict = if event.verdict == 1 { "justified" } else { "not justified" };
                let what = format!("emergency access reviewed: {verdict}");
                (what, Member(event.officer), Some(event.id))
            }
            EmergencyAccessEvents::EmergencyRestricted(event) => {
                let what = if event.optedOut {
                    "opted out of emergency access".into()
                } else {
                    match KindSet::from_bits(event.kinds) {
                        KindSet::EMPTY => "open to emergency access".into(),
                        kinds => format!("closed to emergency access: {kinds}"),
                    }
                };
                (what, Patient(event.patient), None)
            }
        },
        Contract::Prescriptions => {
            prescriptions::describe(PrescriptionsEvents::decode_log(inner).ok()?.data, projection)
        }
        Contract::Surgeries => surgeries::describe(SurgeriesEvents::decode_log(inner).ok()?.data),
        Contract::Trials => trials::describe(TrialsEvents::decode_log(inner).ok()?.data),
        Contract::Claims => {
            claims::describe(ClaimsEvents::decode_log(inner).ok()?.data, projection)
        }
        Contract::LabOrders => laboratory::describe(LabOrdersEvents::decode_log(inner).ok()?.data),
        Contract::AccessLog => {
            let AccessLogEvents::ReceiptsAppended(event) =
                AccessLogEvents::decode_log(inner).ok()?.data;
            (format!("{} receipts anchored", event.count), Member(event.gatekeeper), None)
        }
        Contract::Devices => {
            return devices::describe(DevicesEvents::decode_log(inner).ok()?.data);
        }
        Contract::Registry => {
            return devices::describe_registry(RegistryEvents::decode_log(inner).ok()?.data);
        }
        Contract::DataExchange => {
            return research::describe(DataExchangeEvents::decode_log(inner).ok()?.data);
        }
        Contract::WaitingLists => {
            return waiting_lists::describe(WaitingListsEvents::decode_log(inner).ok()?.data);
        }
        // Money that is paid for something is in the events of claims and of the exchange.
        Contract::WebAuthnVerifier | Contract::PatientAccounts | Contract::PaymentToken => {
            return None;
        }
    })
}

/// What happened in words, who did it, and the record, workflow or opening that it is about.
type Described = (String, Actor, Option<B256>);

fn describe_record(event: RecordsEvents) -> Described {
    use Actor::{Member, Patient, Unknown};
    match event {
        RecordsEvents::RecordProposed(event) => {
            let kind =
                Kind::try_from(event.kind).map(|kind| format!("{kind} ")).unwrap_or_default();
            let what = format!("{kind}record proposed, version {}", event.version);
            (what, Member(event.steward), Some(event.record))
        }
        RecordsEvents::RecordMaterialised(event) => {
            // The patient, to answer it alone, or the steward, to amend or erase it.
            ("record taken out of its batch".into(), Unknown, Some(event.record))
        }
        RecordsEvents::RecordAccepted(event) => {
            let what = format!("record accepted, version {}", event.version);
            (what, Patient(event.patient), Some(event.record))
        }
        RecordsEvents::RecordRejected(event) => {
            let what = format!("record rejected, version {}", event.version);
            (what, Patient(event.patient), Some(event.record))
        }
        RecordsEvents::RecordWithdrawn(event) => {
            ("record withdrawn".into(), Member(event.steward), Some(event.record))
        }
        RecordsEvents::RecordDisputed(event) => {
            ("record disputed".into(), Patient(event.patient), Some(event.record))
        }
        RecordsEvents::DisputeResolved(event) => {
            ("dispute resolved".into(), Patient(event.patient), Some(event.record))
        }
        RecordsEvents::ErasureRequested(event) => {
            ("erasure requested".into(), Patient(event.patient), Some(event.record))
        }
        RecordsEvents::RecordErased(event) => {
            ("record erased".into(), Member(event.steward), Some(event.record))
        }
        RecordsEvents::BatchAnchored(event) => {
            let what = format!("batch of {} records anchored", event.count);
            (what, Member(event.steward), Some(event.root))
        }
        RecordsEvents::BatchAccepted(event) => {
            ("batch accepted".into(), Patient(event.patient), Some(event.root))
        }
    }
}

fn by(who: Address, patient: Address) -> Actor {
    if who == patient { Actor::Patient(who) } else { Actor::Member(who) }
}

fn scope(record: B256) -> Option<B256> {
    (record != B256::ZERO).then_some(record)
}

#[cfg(test)]
mod tests {
    use alloy_consensus::Receipt;
    use alloy_primitives::U256;
    use alloy_sol_types::SolEvent;
    use bindings::{EmergencyAccess, LabOrders, Records, WaitingLists};

    use super::*;

    const PATIENT: Address = Address::repeat_byte(1);
    const PROFESSIONAL: Address = Address::repeat_byte(2);

    fn event(event: &impl SolEvent) -> alloy_primitives::Log {
        alloy_primitives::Log { address: Address::repeat_byte(9), data: event.encode_log_data() }
    }

    fn ended(number: u8) -> alloy_primitives::Log {
        event(&EmergencyAccess::EmergencyEnded {
            id: B256::repeat_byte(number),
            patient: PATIENT,
            professional: PROFESSIONAL,
        })
    }

    fn receipt(logs: Vec<alloy_primitives::Log>) -> ReceiptEnvelope {
        let receipt = Receipt { status: true.into(), cumulative_gas_used: 21_000, logs };
        ReceiptEnvelope::Eip1559(receipt.with_bloom())
    }

    /// Three events in two receipts, and the header that names them.
    fn block() -> (Header, Vec<ReceiptEnvelope>) {
        let receipts = vec![receipt(vec![ended(1)]), receipt(vec![ended(2), ended(3)])];
        let inner = alloy_consensus::Header {
            number: 7,
            receipts_root: calculate_receipt_root(&receipts),
            ..alloy_consensus::Header::default()
        };
        (Header::new(inner), receipts)
    }

    fn placed(inner: alloy_primitives::Log, hash: B256, index: u64) -> Log {
        Log {
            inner,
            block_hash: Some(hash),
            block_number: Some(7),
            log_index: Some(index),
            ..Log::default()
        }
    }

    #[test]
    fn events_are_checked_against_their_block() {
        let (header, receipts) = block();
        let held = CheckedBlock::new(&header, &receipts).unwrap();
        for (number, index) in [(1, 0), (2, 1), (3, 2)] {
            assert!(held.bears_out(&placed(ended(number), header.hash, index)));
        }
        let invented = [
            placed(ended(4), header.hash, 1),
            placed(ended(2), header.hash, 2),
            placed(ended(4), header.hash, 3),
            placed(ended(2), B256::repeat_byte(1), 1),
            Log { block_number: Some(8), ..placed(ended(2), header.hash, 1) },
            Log { log_index: None, ..placed(ended(2), header.hash, 1) },
        ];
        let mut elsewhere = placed(ended(2), header.hash, 1);
        elsewhere.inner.address = Address::repeat_byte(8);
        let mut more = placed(ended(2), header.hash, 1);
        more.inner.data.data = U256::ONE.to_be_bytes_vec().into();
        let of = |number, index| held.transaction_of(&placed(ended(number), header.hash, index));
        assert_eq!([of(1, 0), of(2, 1), of(3, 2), of(3, 1)], [Some(0), Some(1), Some(1), None]);
        for log in invented.into_iter().chain([elsewhere, more]) {
            assert!(!held.bears_out(&log), "{log:?}");
        }
    }

    #[test]
    fn blocks_that_do_not_hold_together_check_nothing() {
        let (header, mut receipts) = block();
        let renamed = Header { hash: B256::repeat_byte(1), ..header.clone() };
        assert!(CheckedBlock::new(&renamed, &receipts).is_none());
        receipts[0] = receipt(vec![ended(1), ended(4)]);
        assert!(CheckedBlock::new(&header, &receipts).is_none());
    }

    #[track_caller]
    fn check(contract: Contract, said: &impl SolEvent, expected: Actor) {
        let log = placed(event(said), B256::ZERO, 0);
        let (_, actor, _) = describe(contract, &log, &Projection::default()).unwrap();
        assert_eq!(actor, expected);
    }

    #[test]
    fn steps_are_ascribed_to_whom_the_event_names() {
        let id = B256::repeat_byte(1);
        let ended =
            EmergencyAccess::EmergencyEnded { id, patient: PATIENT, professional: PROFESSIONAL };
        check(Contract::EmergencyAccess, &ended, Actor::Unknown);
        let taken = Records::RecordMaterialised {
            record: id,
            patient: PATIENT,
            steward: PROFESSIONAL,
            version: 1,
            base: 0,
            kind: 0,
            digest: id,
            root: id,
            state: 1,
        };
        check(Contract::Records, &taken, Actor::Unknown);
        let cancelled = |by| LabOrders::LabOrderCancelled { id, patient: PATIENT, by };
        check(Contract::LabOrders, &cancelled(PATIENT), Actor::Patient(PATIENT));
        check(Contract::LabOrders, &cancelled(PROFESSIONAL), Actor::Member(PROFESSIONAL));
        let removed = |by| WaitingLists::ListingRemoved { id, patient: PATIENT, by, reason: id };
        check(Contract::WaitingLists, &removed(PATIENT), Actor::Patient(PATIENT));
        check(Contract::WaitingLists, &removed(PROFESSIONAL), Actor::Member(PROFESSIONAL));
    }
}
