//! A device comes to a patient who accepts it, and leaves.

use alloy_primitives::{Address, B256, keccak256};
use alloy_rpc_types_eth::Filter;
use alloy_sol_types::{SolEvent as _, SolValue as _};
use bindings::{
    Contract, Devices,
    convert::{timestamp, to_uint40},
    patient_account::Call,
};
use domain::{Anchor, Kind, ProfessionalRole, Purpose, Reader, RecordId, Timestamp};
use gatekeeper::{Reading, Versions};
use serde_json::{Value, json};
use vault::NewRecord;

use super::{Machine, Plan, device_reference, keep, name_of_record, numbered, standing};
use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    record::{self, Draft, accept_call},
};

/// How many bindings a patient accepts in one signature.
pub const BINDINGS_MAX: usize = 100;

/// The most bytes of a text that describes a device.
const TEXT_MAX: usize = 200;

/// How long a device is to measure a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Until when.
    pub until: Timestamp,
    /// The longest time without readings, in seconds, before somebody is alerted.
    pub gap: u32,
}

/// [`order`], and [`offer`] under the same terms: what the patient reads is what is offered. When it breaks off in
/// between, it is to be called again.
///
/// # Errors
///
/// As of both, and [`WorkflowError::Invalid`] when something else was offered in between: then the device waits
/// to be ordered anew.
pub async fn order_and_offer(
    operator: &Gateway,
    doctor: &Person,
    patient: &PatientActor,
    device: Address,
    plan: &Plan,
    terms: Terms,
    now: Timestamp,
) -> Result<(Anchor, u32, Vec<Step>), WorkflowError> {
    let (ordered, step) = order(operator, doctor, patient, device, plan, terms, now).await?;
    let mut steps = vec![step];
    let (binding, step) = offer(operator, patient.account(), device, terms).await?;
    steps.push(step);
    if ordered.record != plan_record(device, binding, patient.account()) {
        let why = "something else was offered in between; the device is to be ordered again";
        return Err(WorkflowError::Invalid(why.into()));
    }
    Ok((ordered, binding, steps))
}

/// A doctor of the operator orders that a device measures a patient, and with which ranges: a record, which
/// the patient sees before the device is theirs. [`offer`] follows. An order that was not offered yet gets its next
/// version.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when it is no doctor, or the device is another institution's;
/// [`WorkflowError::Unknown`] when it is not enrolled; and [`WorkflowError::Send`] when it could not be offered
/// now.
pub async fn order(
    operator: &Gateway,
    doctor: &Person,
    patient: &PatientActor,
    device: Address,
    plan: &Plan,
    terms: Terms,
    now: Timestamp,
) -> Result<(Anchor, Step), WorkflowError> {
    let held = standing(operator, device).await?;
    if !matches!(doctor.role, ProfessionalRole::Physician | ProfessionalRole::Surgeon)
        || held.operator != operator.member()
    {
        let why = "a doctor of the institution that runs the device orders what it measures";
        return Err(WorkflowError::Invalid(why.into()));
    }
    // What cannot be offered is not ordered.
    let offer = offer_call(patient.account(), device, terms);
    operator.sender().check(operator.at(Contract::Devices), &offer).await?;
    let binding = held.offers.saturating_add(1);
    let resource = json!({
        "resourceType": "DeviceRequest",
        "status": "active",
        "intent": "order",
        "codeReference": {
            "type": "Device",
            "identifier": { "system": DEVICE_SYSTEM, "value": device.to_string() },
        },
        "parameter": plan.to_parameters(),
        "subject": subject(patient),
        "occurrencePeriod": { "start": now.to_string(), "end": terms.until.to_string() },
        "authoredOn": now.to_string(),
        "requester": { "reference": format!("Practitioner/{}", doctor.member) },
        "performer": { "reference": format!("Organization/{}", operator.member()) },
        "note": [{ "text": gap_text(terms.gap) }],
    });
    let draft = Draft { kind: Kind::Device, resource };
    let id = plan_record(device, binding, patient.account());
    let earlier = kept(operator, id, now).await?;
    let (new, operation) = match &earlier {
        None => (draft.first_version(id, doctor, patient, now), "record.propose"),
        Some(earlier) => (draft.next_version(earlier, doctor, patient, now)?, "record.amend"),
    };
    let (anchor, outcome) = keep(operator, new, earlier.as_ref()).await?;
    let what = "orders that a device measures the patient, with ranges";
    Ok((anchor, Step::new(&doctor.name, what, operation, &outcome)))
}

/// The newest version of a record that is kept. What was kept and is not on chain is sent again.
async fn kept(
    operator: &Gateway,
    id: RecordId,
    now: Timestamp,
) -> Result<Option<Anchor>, WorkflowError> {
    let keeper = &operator.gatekeeper;
    if keeper.vault().head(id).await?.is_none() {
        return Ok(None);
    }
    if let Some(anchor) = record::newest(operator, id, now).await? {
        return Ok(Some(anchor));
    }
    keeper.resume_anchoring().await?;
    record::newest(operator, id, now).await
}

/// What the order says of the longest gap.
fn gap_text(gap: u32) -> String {
    format!("alert when there are no readings for {gap} s")
}

/// Whether an order says these terms.
fn says(order: &Value, terms: Terms) -> bool {
    order["occurrencePeriod"]["end"] == terms.until.to_string()
        && order["note"][0]["text"] == gap_text(terms.gap)
}

/// The operator offers a patient to be measured; returns the number of the binding. It replaces an offer
/// that nobody accepted.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the device is bound, or the operator keeps no records for the patient.
pub async fn offer(
    operator: &Gateway,
    patient: Address,
    device: Address,
    terms: Terms,
) -> Result<(u32, Step), WorkflowError> {
    let call = offer_call(patient, device, terms);
    let outcome = operator.sender().send(operator.at(Contract::Devices), &call).await?;
    let offered = outcome.events::<Devices::BindingOffered>();
    let binding = offered.first().map_or(0, |event| event.binding);
    let what = "offers the patient to be measured by a device; the patient is alerted";
    Ok((binding, Step::new(&operator.name, what, "device.offer-binding", &outcome)))
}

fn offer_call(patient: Address, device: Address, terms: Terms) -> Devices::offerBindingCall {
    let (until, interval) = (to_uint40(terms.until), terms.gap);
    Devices::offerBindingCall { device, patient, until, interval }
}

/// The patient accepts to be measured, and with it the order's record, when the relay keeps one that the
/// patient has not answered. The relay reads it as the patient, who gets a receipt.
///
/// # Errors
///
/// [`WorkflowError::Send`] when another offer stands or none, or its time is over;
/// [`WorkflowError::Invalid`] when the offer has other terms than the order, or the order cannot be read, such
/// as one that the patient rejected.
pub async fn accept_binding(
    relay: &Gateway,
    patient: &PatientActor,
    device: Address,
    binding: u32,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let mut calls = Vec::new();
    let order = plan_record(device, binding, patient.account());
    if let Some(order) = record::newest(relay, order, now).await? {
        let reader = Reader::Patient { account: patient.account() };
        let reading = Reading { reader, purpose: Purpose::PatientRequest };
        let order_read = read_order(relay, reading, order.record, now).await?;
        let offered = offered(relay, device).await?.filter(|offered| offered.binding == binding);
        // Of another offer the contract knows.
        if let Some(offered) = offered
            && order_read.is_none_or(|order| !says(&order, offered.terms))
        {
            let why = "the device is offered under other terms than a standing order says";
            return Err(WorkflowError::Invalid(why.into()));
        }
        calls.extend(accept_call(relay, &order).await?);
    }
    let accept = Devices::acceptBindingCall { device, binding };
    calls.push(Call::to_contract(relay.at(Contract::Devices), &accept));
    let outcome = patient.act(relay.sender(), calls, now).await?;
    let what = "accepts to be measured by a device";
    Ok(Step::new(&patient.name, what, "device.accept-binding", &outcome))
}

/// The patient accepts to be measured by several devices, in one signature.
///
/// # Errors
///
/// As [`accept_binding`] of any of them: then none is accepted. [`WorkflowError::Invalid`] for none, or more
/// than [`BINDINGS_MAX`].
pub async fn accept_bindings(
    relay: &Gateway,
    patient: &PatientActor,
    offers: &[(Address, u32)],
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    if !(1..=BINDINGS_MAX).contains(&offers.len()) {
        let why = format!("1 to {BINDINGS_MAX} devices are accepted in one signature");
        return Err(WorkflowError::Invalid(why));
    }
    let at = relay.at(Contract::Devices);
    let accept = |&(device, binding): &(Address, u32)| {
        Call::to_contract(at, &Devices::acceptBindingCall { device, binding })
    };
    let outcome = patient.act(relay.sender(), offers.iter().map(accept).collect(), now).await?;
    let what = format!("accepts to be measured by {} devices", offers.len());
    Ok(Step::new(&patient.name, what, "device.accept-bindings", &outcome))
}

/// What the operator writes down of a device: no key.
#[derive(Clone)]
pub struct Described {
    /// Which device.
    pub device: Address,
    /// What it is.
    pub model: super::Model,
    /// Who made it, in words.
    pub maker_name: String,
    /// Its serial number.
    pub serial: String,
    /// The firmware that it runs, by its version.
    pub firmware: String,
}

impl Described {
    /// What there is to be said of a device.
    #[must_use]
    pub fn of(machine: &Machine, maker_name: impl Into<String>) -> Self {
        Self {
            device: machine.member,
            model: machine.model.clone(),
            maker_name: maker_name.into(),
            serial: machine.serial.clone(),
            firmware: machine.firmware.clone(),
        }
    }
}

/// The operator files the device that its patient accepted, and what it measures: a `Device`, and a
/// `DeviceMetric` for each metric of the plan. Readings refer to it. What is filed already stays, so that it can be
/// called again when it broke off.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the device is another patient's or nobody's, the chain knows another
/// operator, maker or firmware of it, or a text is empty or longer than 200 bytes.
pub async fn file(
    operator: &Gateway,
    person: &Person,
    patient: &PatientActor,
    described: &Described,
    plan: &Plan,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let device = described.device;
    worded("maker's name", &described.maker_name)?;
    worded("serial number", &described.serial)?;
    let held = standing(operator, device).await?;
    patient.require_theirs("device", held.patient)?;
    if held.operator != operator.member()
        || held.maker != described.model.maker
        || held.firmware != described.model.firmware(&described.firmware)
    {
        let why = "the chain knows another device by this address, or another operator of it";
        return Err(WorkflowError::Invalid(why.into()));
    }
    let own = device_record(device, held.binding);
    let resource = json!({
        "resourceType": "Device",
        "identifier": [{ "system": DEVICE_SYSTEM, "value": device.to_string() }],
        "status": "active",
        "manufacturer": described.maker_name,
        "serialNumber": described.serial,
        "deviceName": [{ "name": described.model.name, "type": "model-name" }],
        "version": [{ "value": described.firmware }],
        "patient": subject(patient),
        "owner": { "reference": format!("Organization/{}", operator.member()) },
    });
    let draft = Draft { kind: Kind::Device, resource };
    let new = draft.first_version(own, person, patient, now);
    let (anchor, step) = keep_once(operator, new, "files the device at its patient", now).await?;
    let mut steps = Vec::from_iter(step);
    for limit in plan.limits() {
        let metric = limit.metric();
        let resource = json!({
            "resourceType": "DeviceMetric",
            "type": metric.code(),
            "unit": { "coding": [{ "system": "http://unitsofmeasure.org", "code": metric.unit }] },
            "source": device_reference(device, held.binding),
            "operationalStatus": "on",
            "category": "measurement",
            "measurementPeriod": {
                "repeat": { "frequency": 1, "period": plan.period(), "periodUnit": "s" },
            },
        });
        let draft = Draft { kind: Kind::Device, resource };
        let id = name_of_record(&metric.loinc, device, numbered(held.binding));
        let new = draft.first_version(id, person, patient, now);
        let what = format!("files what it measures: {}", metric.name);
        steps.extend(keep_once(operator, new, &what, now).await?.1);
    }
    Ok((anchor, steps))
}

/// Keeps a first version and proposes it, unless it is there.
async fn keep_once(
    operator: &Gateway,
    new: NewRecord,
    what: &str,
    now: Timestamp,
) -> Result<(Anchor, Option<Step>), WorkflowError> {
    if let Some(anchor) = kept(operator, new.record, now).await? {
        return Ok((anchor, None));
    }
    let (anchor, outcome) = keep(operator, new, None).await?;
    Ok((anchor, Some(Step::new(&operator.name, what, "record.propose", &outcome))))
}

/// Refuses a text that is empty or too long, without quoting it.
fn worded(what: &str, text: &str) -> Result<(), WorkflowError> {
    if text.trim().is_empty() || text.len() > TEXT_MAX {
        let why = format!("the {what} is empty, or longer than {TEXT_MAX} bytes");
        return Err(WorkflowError::Invalid(why));
    }
    Ok(())
}

/// The patient ends the binding, or declines the offer of one.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the device is neither theirs nor offered to them.
pub async fn unbind_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    device: Address,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = Devices::unbindCall { device };
    let call = Call::to_contract(relay.at(Contract::Devices), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = "is measured by the device no more";
    Ok(Step::new(&patient.name, what, "device.unbind", &outcome))
}

/// The operator ends the binding, or takes the offer of one back; also of a device that is out of force.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is another institution's device, or bound to nobody.
pub async fn unbind(operator: &Gateway, device: Address) -> Result<Step, WorkflowError> {
    let call = Devices::unbindCall { device };
    let outcome = operator.sender().send(operator.at(Contract::Devices), &call).await?;
    let what = "takes the device from the patient";
    Ok(Step::new(&operator.name, what, "device.unbind", &outcome))
}

/// What was ordered for a binding, read at the operator as one of its professionals, who gets a receipt like for any read.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when nothing was ordered, [`WorkflowError::Answer`] when the steward refuses:
/// the professional is not in the care team.
pub async fn plan_of(
    operator: &Gateway,
    professional: Address,
    patient: Address,
    (device, binding): (Address, u32),
    now: Timestamp,
) -> Result<Plan, WorkflowError> {
    let keeper = &operator.gatekeeper;
    keeper.refresh(now).await?;
    let id = plan_record(device, binding, patient);
    let unknown = || WorkflowError::Unknown { what: "order of a device", id: device.into_word() };
    keeper.vault().head(id).await?.ok_or_else(unknown)?;
    let reader = keeper.projection().await.registry.reader_of(professional, now);
    let reader = reader.ok_or_else(unknown)?;
    let reading = Reading { reader, purpose: Purpose::Treatment };
    let Some(order) = read_order(operator, reading, id, now).await? else {
        let why = "who is not in the patient's care team reads no order of a device";
        return Err(WorkflowError::Invalid(why.into()));
    };
    Plan::of_resource(&order)
}

/// The order in a record, as somebody reads it, who gets a receipt also when it is refused; nothing when it is.
async fn read_order(
    gateway: &Gateway,
    reading: Reading,
    id: RecordId,
    now: Timestamp,
) -> Result<Option<Value>, WorkflowError> {
    let keeper = &gateway.gatekeeper;
    let (found, refused) = keeper.find(reading, &[id], Versions::Newest, now).await?;
    for (patient, (kinds, reason)) in refused {
        let outcome = domain::Outcome::refused(reason);
        keeper.note(reading, patient, kinds, outcome, now).await?;
    }
    let opened = keeper.give(reading, found, now).await?;
    let strange = |_| WorkflowError::Invalid("the order of the device is no JSON".into());
    opened.first().map(|order| serde_json::from_str(order.body.get()).map_err(strange)).transpose()
}

/// Where what was ordered of a patient for a binding is kept.
#[must_use]
pub fn plan_record(device: Address, binding: u32, patient: Address) -> RecordId {
    name_of_record("order", device, keccak256((binding, patient).abi_encode_params()))
}

/// Where the device is filed at its patient.
#[must_use]
pub fn device_record(device: Address, binding: u32) -> RecordId {
    name_of_record("device", device, numbered(binding))
}

/// How FHIR resources name a device by what stands on chain.
pub(super) const DEVICE_SYSTEM: &str = "urn:salus:device";

pub(super) fn subject(patient: &PatientActor) -> Value {
    json!({ "reference": format!("Patient/{}", patient.account()) })
}

/// An offer of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// To whom, by account.
    pub patient: Address,
    /// The number that the binding has.
    pub binding: u32,
    /// How long it is to measure.
    pub terms: Terms,
}

/// The contract's offers are found by their events: the last one of a device.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn offered(gateway: &Gateway, device: Address) -> Result<Option<Offered>, WorkflowError> {
    let topic: B256 = device.into_word();
    let filter = Filter::new()
        .address(gateway.at(Contract::Devices))
        .event_signature(Devices::BindingOffered::SIGNATURE_HASH)
        .topic1(topic)
        .from_block(0);
    let logs = gateway.gatekeeper.ledger().logs(&filter).await.map_err(ledger::CallError::from)?;
    let events = logs.iter().filter_map(|log| Devices::BindingOffered::decode_log(&log.inner).ok());
    Ok(events.last().map(|event| Offered {
        patient: event.data.patient,
        binding: event.data.binding,
        terms: Terms { until: timestamp(event.data.until), gap: event.data.interval },
    }))
}
