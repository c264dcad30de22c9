//! Timelines: every step of a patient, a record or a workflow, as the chain has it.
//!
//! A step is an event of one of the contracts. Before it is shown, its block is checked: the receipts
//! that hold the event must have the root that the header names, and the header must have the hash
//! that the event names.

use std::collections::BTreeMap;

use alloy_consensus::{ReceiptEnvelope, proofs::calculate_receipt_root};
use alloy_primitives::{Address, B256};
use alloy_provider::Provider as _;
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::SolEventInterface as _;
use bindings::{
    AccessLog::AccessLogEvents, Consents::ConsentsEvents, Contract,
    EmergencyAccess::EmergencyAccessEvents, LabOrders::LabOrdersEvents,
    Prescriptions::PrescriptionsEvents, Records::RecordsEvents, Relationships::RelationshipsEvents,
};
use domain::{KindSet, Timestamp};
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
    /// Whether the block bears it out.
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
    /// Everything on chain about a patient, by account, their prescriptions and orders included.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the chain cannot be asked.
    pub async fn patient_timeline(&self, patient: Address) -> Result<Timeline, GatekeeperError> {
        let mut subjects = vec![patient.into_word()];
        subjects.extend(self.projection().await.workflows.of_patient(patient));
        self.timeline_of(subjects).await
    }

    /// Everything on chain about a record, a prescription, an order or an opening, by its id.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the chain cannot be asked.
    pub async fn timeline(&self, subject: B256) -> Result<Timeline, GatekeeperError> {
        self.timeline_of(vec![subject]).await
    }

    async fn timeline_of(&self, subjects: Vec<B256>) -> Result<Timeline, GatekeeperError> {
        let mut logs = BTreeMap::new();
        for position in 1..4 {
            let base = Filter::new().address(self.deployment().addresses()).from_block(0);
            let filter = match position {
                1 => base.topic1(subjects.clone()),
                2 => base.topic2(subjects.clone()),
                _ => base.topic3(subjects.clone()),
            };
            for log in self.ledger().logs(&filter).await? {
                if let (Some(block), Some(index)) = (log.block_number, log.log_index) {
                    logs.insert((block, index), log);
                }
            }
        }
        let projection = self.projection().await;
        let mut blocks: BTreeMap<u64, Option<(B256, u64)>> = BTreeMap::new();
        let mut steps = Vec::with_capacity(logs.len());
        for ((block, index), log) in logs {
            let checked = match blocks.get(&block) {
                Some(checked) => *checked,
                None => {
                    let checked = self.check_block(block).await?;
                    blocks.insert(block, checked);
                    checked
                }
            };
            steps.extend(self.step(&projection, &log, block, index, checked));
        }
        Ok(Timeline { steps })
    }

    /// The hash and time of a block whose header and receipts bear each other out.
    async fn check_block(&self, number: u64) -> Result<Option<(B256, u64)>, GatekeeperError> {
        let provider = self.ledger().provider();
        let header = self.ledger().block(number.into()).await?.header;
        let receipts =
            provider.get_block_receipts(number.into()).await.map_err(EndpointError::from)?;
        let receipts: Vec<ReceiptEnvelope> = receipts
            .unwrap_or_default()
            .into_iter()
            .map(|receipt| receipt.into_primitives_receipt().inner)
            .collect();
        let root = calculate_receipt_root(&receipts);
        let whole = root == header.inner.receipts_root && header.inner.hash_slow() == header.hash;
        Ok(whole.then_some((header.hash, header.inner.timestamp)))
    }

    fn step(
        &self,
        projection: &Projection,
        log: &Log,
        block: u64,
        index: u64,
        checked: Option<(B256, u64)>,
    ) -> Option<TimelineStep> {
        let contract = self.deployment().contract_at(&log.inner.address)?;
        let (what, actor, subject) = describe(contract, log, projection)?;
        let checked_time = checked.filter(|(hash, _)| log.block_hash == Some(*hash));
        let time = checked_time.map(|(_, time)| time).or(log.block_timestamp);
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

/// What an event says, who did it, and what it is about.
fn describe(
    contract: Contract,
    log: &Log,
    projection: &Projection,
) -> Option<(String, Actor, Option<B256>)> {
    use Actor::{Member, Patient};
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
                ("emergency access ended".into(), Member(event.professional), Some(event.id))
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
            describe_prescription(PrescriptionsEvents::decode_log(inner).ok()?.data, projection)
        }
        Contract::LabOrders => match LabOrdersEvents::decode_log(inner).ok()?.data {
            LabOrdersEvents::LabOrdered(event) => {
                ("laboratory order placed".into(), Member(event.orderer), Some(event.id))
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
                ("laboratory order cancelled".into(), Member(event.by), Some(event.id))
            }
        },
        Contract::AccessLog => {
            let AccessLogEvents::ReceiptsAppended(event) =
                AccessLogEvents::decode_log(inner).ok()?.data;
            (format!("{} receipts anchored", event.count), Member(event.gatekeeper), None)
        }
        Contract::Registry | Contract::WebAuthnVerifier | Contract::PatientAccounts => return None,
    })
}

fn describe_record(event: RecordsEvents) -> (String, Actor, Option<B256>) {
    use Actor::{Member, Patient};
    match event {
        RecordsEvents::RecordProposed(event) => {
            let what = format!("record proposed, version {}", event.version);
            (what, Member(event.steward), Some(event.record))
        }
        RecordsEvents::RecordMaterialised(event) => {
            ("record taken out of its batch".into(), Member(event.steward), Some(event.record))
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

fn describe_prescription(
    event: PrescriptionsEvents,
    projection: &Projection,
) -> (String, Actor, Option<B256>) {
    use Actor::Member;
    // These events say who permits, but not whose prescription it is.
    let either = |id: B256, who: Address| {
        let held = projection.workflows.prescription(&id);
        by(who, held.map_or(Address::ZERO, |held| held.patient))
    };
    match event {
        PrescriptionsEvents::PrescriptionIssued(event) => {
            ("prescription issued".into(), Member(event.prescriber), Some(event.id))
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
    }
}

fn by(who: Address, patient: Address) -> Actor {
    if who == patient { Actor::Patient(who) } else { Actor::Member(who) }
}

fn scope(record: B256) -> Option<B256> {
    (record != B256::ZERO).then_some(record)
}
