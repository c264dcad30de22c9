//! Devices at patients: attested, enrolled, bound by consent, and every batch of readings that they sign.
//!
//! A maker accepts firmware for its models and attests that a key was made in a device of its own. An
//! institution, the operator, enters the device in the registry and enrols it. A doctor orders what it
//! measures and which ranges are no alert (`rules.json` beside this file has the usual ones, with their sources); the
//! operator offers, and the patient accepts order and device in one signature. From then on until the binding
//! ends, the device signs batches of readings. Its key never leaves it, and each signature binds chain,
//! contract, device, binding, sequence and the head of the batches before.
//!
//! On chain stand the device's state and of each batch a Merkle root, how many readings there are, and how
//! many are out of range; never a reading. A batch is sealed as one record of its patient: an `Observation`
//! after the vital-signs profile of FHIR R4, whose components are sampled data, one for each metric, with
//! the range that was meant. One resource for a batch is what one anchor can name, a `Bundle` is no
//! record of a patient, and a component with its own LOINC code is found by it. The salts under which the readings are leaves of the tree
//! are sealed with them, so that one reading can be shown without the others ([`ReadingsRecord::prove`], [`verify`]).
//!
//! What a device says is held against its own readings before it is brought ([`SignedBatch::check`]): root, count and
//! out-of-range are computed again. The contract refuses what is replayed, reordered, forged, from
//! outside the binding, or too much, and what a device in quarantine or on a firmware that was withdrawn or recalled
//! signs. Readings out of range and times without readings are alerts: patient and care team are told of
//! them, and a doctor or nurse of the operator acknowledges the former within the hour.
//!
//! Implants are devices that measure nothing: `surgery` records them.

mod binding;
mod enrolment;
mod firmware;
mod key;
mod readings;
mod rules;
pub mod simulator;

use std::time::Duration;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolEvent as _, SolValue as _};
use bindings::{Contract, Devices, Registry, convert::timestamp, device::DeviceDomain};
use domain::{Anchor, RecordId, Timestamp};
use ledger::{CallError, Outcome};
use serde_json::{Value, json};
use vault::NewRecord;

use crate::{Gateway, Person, Step, WorkflowError};

pub use binding::{
    BINDINGS_MAX, Described, Offered, Terms, accept_binding, accept_bindings, device_record, file,
    offer, offered, order, order_and_offer, plan_of, plan_record, unbind, unbind_by_patient,
};
pub use enrolment::{
    Attested, Machine, attest, decommission, enrol, lift_quarantine, quarantine, register, rotate,
};
pub use firmware::{
    Model, accept_firmware, is_accepted, lift_recall, recall_firmware, update_firmware,
    withdraw_firmware,
};
pub use key::{DeviceKey, InvalidDeviceKey};
pub use readings::{
    AnchoredBatch, Position, ReadingProof, ReadingsRecord, SAMPLES_MAX, Samples, SignedBatch,
    StatedReading, anchored, batch_record, bring, bring_all, verify,
};
pub use rules::{Limit, METRICS_MAX, Measured, Metric, NotMeasured, Plan, metrics, usual_gap};

/// How long a maker's or a device's signature counts.
const SIGNATURE_PERIOD: Duration = Duration::from_secs(600);

/// The most alerts that are looked at of one device.
const ALERTS_MAX: usize = 10_000;

/// A device as it stands on chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who made it, by member address.
    pub maker: Address,
    /// Who runs it, by member address.
    pub operator: Address,
    /// The digest of the firmware that it says it runs.
    pub firmware: B256,
    /// How often it said so.
    pub updates: u32,
    /// Since when.
    pub enrolled_at: Timestamp,
    /// Who has it in quarantine.
    pub quarantine: Quarantine,
    /// Who measured with it last, or does; zero before the first.
    pub patient: Address,
    /// The number of that binding.
    pub binding: u32,
    /// The number of the latest offer.
    pub offers: u32,
    /// Since when.
    pub bound_at: Timestamp,
    /// The first second without it.
    pub bound_until: Timestamp,
    /// The longest time without readings, in seconds.
    pub gap: u32,
    /// How many batches there are: the sequence of the next.
    pub batches: u64,
    /// When the readings of the last one end.
    pub last_to: Timestamp,
    /// The head of the chain of its batches.
    pub head: B256,
}

/// Who has a device in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantine(u8);

impl Quarantine {
    /// Whether nobody has.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Who has, in words.
    ///
    /// # Source
    ///
    /// `_BY_OPERATOR` and the others in `Devices.sol`.
    #[must_use]
    pub fn by(self) -> Vec<&'static str> {
        let all = [(1, "operator"), (2, "maker"), (4, "regulator")];
        all.into_iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| name).collect()
    }
}

impl Standing {
    /// Whether it is bound to a patient at a time.
    #[must_use]
    pub fn is_bound(&self, time: Timestamp) -> bool {
        !self.patient.is_zero() && time < self.bound_until
    }

    /// Where its batches go on.
    #[must_use]
    pub fn position(&self, device: Address) -> Position {
        Position {
            device,
            binding: self.binding,
            sequence: self.batches,
            head: self.head,
            since: self.last_to.max(self.bound_at),
        }
    }
}

/// How a device stands on chain.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when it is not enrolled.
pub async fn standing(gateway: &Gateway, device: Address) -> Result<Standing, WorkflowError> {
    let call = Devices::deviceOfCall { device };
    let (at, latest) = (gateway.at(Contract::Devices), BlockId::latest());
    let held = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    if held.enrolledAt.is_zero() {
        return Err(WorkflowError::Unknown { what: "device", id: device.into_word() });
    }
    Ok(Standing {
        maker: held.maker,
        operator: held.operator,
        firmware: held.firmware,
        updates: held.updates,
        enrolled_at: timestamp(held.enrolledAt),
        quarantine: Quarantine(held.quarantine),
        patient: held.patient,
        binding: held.binding,
        offers: held.offers,
        bound_at: timestamp(held.boundAt),
        bound_until: timestamp(held.boundUntil),
        gap: held.interval,
        batches: held.batches,
        last_to: timestamp(held.lastTo),
        head: held.head,
    })
}

/// Whether a device is in force in the registry.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn is_in_force(gateway: &Gateway, device: Address) -> Result<bool, WorkflowError> {
    let call = Registry::isActiveCall { member: device };
    let (at, latest) = (gateway.at(Contract::Registry), BlockId::latest());
    Ok(gateway.gatekeeper.ledger().call(at, &call, latest).await?)
}

/// The key with which a device signs now, by its address.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn signer_of(gateway: &Gateway, device: Address) -> Result<Address, WorkflowError> {
    let call = Registry::signerOfCall { member: device };
    let (at, latest) = (gateway.at(Contract::Registry), BlockId::latest());
    Ok(gateway.gatekeeper.ledger().call(at, &call, latest).await?)
}

/// Whether a device is bound and has not been heard of for longer than it may, by the time of the next
/// block.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn is_silent(gateway: &Gateway, device: Address) -> Result<bool, WorkflowError> {
    let call = Devices::isSilentCall { device };
    let (at, next) = (gateway.at(Contract::Devices), BlockId::pending());
    Ok(gateway.gatekeeper.ledger().call(at, &call, next).await?)
}

/// Readings that were out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// In which batch.
    pub sequence: u64,
    /// Of whom, by account.
    pub patient: Address,
    /// How many.
    pub out_of_range: u32,
    /// When somebody is to have acknowledged it.
    pub due_at: Timestamp,
    /// Who did, by member address.
    pub acknowledged_by: Option<Address>,
}

impl Alert {
    /// Whether nobody acknowledged it in time.
    #[must_use]
    pub fn is_overdue(&self, now: Timestamp) -> bool {
        self.acknowledged_by.is_none() && now >= self.due_at
    }
}

/// The alerts of a device, oldest first; the newest 10,000 of them.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn alerts(gateway: &Gateway, device: Address) -> Result<Vec<Alert>, WorkflowError> {
    let of = |signature: B256| {
        let at = gateway.at(Contract::Devices);
        let filter = Filter::new().address(at).event_signature(signature).from_block(0);
        filter.topic1(device.into_word())
    };
    let ledger = gateway.gatekeeper.ledger();
    let seen = ledger.logs(&of(Devices::AlertAcknowledged::SIGNATURE_HASH)).await;
    let seen: Vec<(u64, Address)> = seen
        .map_err(CallError::from)?
        .iter()
        .filter_map(|log| Devices::AlertAcknowledged::decode_log(&log.inner).ok())
        .map(|event| (event.data.sequence, event.data.by))
        .collect();
    let raised = ledger.logs(&of(Devices::ReadingsOutOfRange::SIGNATURE_HASH)).await;
    let raised = raised.map_err(CallError::from)?;
    let skipped = raised.len().saturating_sub(ALERTS_MAX);
    let events = raised[skipped..]
        .iter()
        .filter_map(|log| Devices::ReadingsOutOfRange::decode_log(&log.inner).ok());
    Ok(events
        .map(|event| Alert {
            sequence: event.data.sequence,
            patient: event.data.patient,
            out_of_range: event.data.outOfRange,
            due_at: timestamp(event.data.dueAt),
            acknowledged_by: seen
                .iter()
                .find(|(sequence, _)| *sequence == event.data.sequence)
                .map(|(_, by)| *by),
        })
        .collect())
}

/// Whose readings an alert is about, by account: the device may be at somebody else by now.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is no such alert.
pub async fn patient_of_alert(
    gateway: &Gateway,
    device: Address,
    sequence: u64,
) -> Result<Address, WorkflowError> {
    let filter = Filter::new()
        .address(gateway.at(Contract::Devices))
        .event_signature(Devices::ReadingsOutOfRange::SIGNATURE_HASH)
        .topic1(device.into_word())
        .topic3(B256::from(U256::from(sequence)))
        .from_block(0);
    let logs = gateway.gatekeeper.ledger().logs(&filter).await.map_err(CallError::from)?;
    let mut events =
        logs.iter().filter_map(|log| Devices::ReadingsOutOfRange::decode_log(&log.inner).ok());
    let unknown = || WorkflowError::Unknown { what: "alert of a device", id: device.into_word() };
    events.next().map(|event| event.data.patient).ok_or_else(unknown)
}

/// A doctor or nurse of the operator says that they have seen an alert.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is somebody else, there is no such alert, or it was acknowledged before.
pub async fn acknowledge(
    operator: &Gateway,
    person: &Person,
    device: Address,
    sequence: u64,
) -> Result<Step, WorkflowError> {
    let call = Devices::acknowledgeCall { device, sequence };
    let outcome = person.sender.send(operator.at(Contract::Devices), &call).await?;
    let what = "has seen the alert";
    Ok(Step::new(&person.name, what, "device.acknowledge", &outcome))
}

/// Where signatures of devices count.
pub(crate) fn domain_of(gateway: &Gateway) -> DeviceDomain {
    let chain_id = gateway.gatekeeper.ledger().chain_id();
    DeviceDomain::new(chain_id, gateway.at(Contract::Devices))
}

/// Keeps a record and proposes it: its first version, or the one after `previous`.
async fn keep(
    gateway: &Gateway,
    new: NewRecord,
    previous: Option<&Anchor>,
) -> Result<(Anchor, Outcome), WorkflowError> {
    let along = gateway.along(&new);
    Ok(gateway.gatekeeper.put_and_propose_along(new, previous, along).await?)
}

/// The name of a record that says what stands on chain of a device: whoever knows the latter finds it.
fn name_of_record(what: &str, device: Address, which: B256) -> RecordId {
    let label = format!("salus/device-record/v1/{what}");
    RecordId(keccak256((label, device, which).abi_encode_params()))
}

/// A binding as the name of a record has it.
fn numbered(binding: u32) -> B256 {
    B256::left_padding_from(&binding.to_be_bytes())
}

/// A device as its patient's records refer to it.
fn device_reference(device: Address, binding: u32) -> Value {
    json!({
        "reference": format!("Device/{:x}", device_record(device, binding).0),
        "identifier": { "system": binding::DEVICE_SYSTEM, "value": device.to_string() },
    })
}
