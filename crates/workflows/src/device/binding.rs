//! A device comes to a patient who accepts it, and leaves.

use alloy_primitives::{Address, B256};
use bindings::{Contract, Devices, convert::to_uint40, patient_account::Call};
use domain::{Anchor, Kind, ProfessionalRole, Purpose, RecordId, Timestamp};
use gatekeeper::{Reading, Versions};
use ledger::Outcome;
use serde_json::{Value, json};

use super::{Machine, Plan, device_reference, keep, name_of_record, numbered, standing};
use crate::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    record::{self, Draft, accept_call},
};

/// How many bindings a patient accepts in one signature.
pub const BINDINGS_MAX: usize = 100;

/// How long a device is to measure a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Until when.
    pub until: Timestamp,
    /// The longest time without readings, in seconds, before somebody is alerted.
    pub gap: u32,
}

/// A doctor of the operator orders that a device measures a patient, and with which ranges: a record, which
/// the patient sees before the device is theirs. [`offer`] follows.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when it is no doctor, or the device is another institution's;
/// [`WorkflowError::Unknown`] when it is not enrolled; [`WorkflowError::Send`] when it could not be offered
/// now; and [`WorkflowError::Anchor`] when it is ordered already, and only to be offered.
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
        "note": [{ "text": format!("alert when there are no readings for {} s", terms.gap) }],
    });
    let draft = Draft { kind: Kind::Device, resource };
    let new = draft.first_version(plan_record(device, binding), doctor, patient, now);
    let (anchor, outcome) = keep(operator, new).await?;
    let what = "orders that a device measures the patient, with ranges";
    Ok((anchor, Step::new(&doctor.name, what, "record.propose", &outcome)))
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
/// patient has not answered.
///
/// # Errors
///
/// [`WorkflowError::Send`] when another offer stands or none, or its time is over.
pub async fn accept_binding(
    relay: &Gateway,
    patient: &PatientActor,
    device: Address,
    binding: u32,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let mut calls = Vec::new();
    if let Some(order) = record::newest(relay, plan_record(device, binding), now).await?
        && order.patient == patient.account()
    {
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
#[derive(Clone, Debug)]
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
/// `DeviceMetric` for each metric of the plan. Readings refer to it.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the device is another patient's or nobody's, or the chain knows another
/// operator, maker or firmware of it. [`WorkflowError::Anchor`] when it is filed already.
pub async fn file(
    operator: &Gateway,
    person: &Person,
    patient: &PatientActor,
    described: &Described,
    plan: &Plan,
    now: Timestamp,
) -> Result<(Anchor, Vec<Step>), WorkflowError> {
    let device = described.device;
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
    let (anchor, outcome) = keep(operator, new).await?;
    let step = |what: String, outcome: &Outcome| {
        Step::new(&operator.name, what, "record.propose", outcome)
    };
    let mut steps = vec![step("files the device at its patient".into(), &outcome)];
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
        let (_, outcome) = keep(operator, new).await?;
        steps.push(step(format!("files what it measures: {}", metric.name), &outcome));
    }
    Ok((anchor, steps))
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
    let id = plan_record(device, binding);
    let unknown = || WorkflowError::Unknown { what: "order of a device", id: device.into_word() };
    let entry = keeper.vault().head(id).await?.filter(|entry| entry.patient == patient);
    entry.ok_or_else(unknown)?;
    let reader = keeper.projection().await.registry.reader_of(professional, now);
    let reader = reader.ok_or_else(unknown)?;
    let reading = Reading { reader, purpose: Purpose::Treatment };
    let (found, _) = keeper.find(reading, &[id], Versions::Newest, now).await?;
    let opened = keeper.give(reading, found, now).await?;
    let Some(opened) = opened.first() else {
        let why = "who is not in the patient's care team reads no order of a device";
        return Err(WorkflowError::Invalid(why.into()));
    };
    let strange = |_| WorkflowError::Invalid("the order of the device is no JSON".into());
    let resource: Value = serde_json::from_str(opened.body.get()).map_err(strange)?;
    Plan::of_resource(&resource)
}

/// Where what was ordered for a binding is kept.
#[must_use]
pub fn plan_record(device: Address, binding: u32) -> RecordId {
    name_of_record("order", device, numbered(binding))
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

/// The contract's offers are found by their events: who was offered the device last, and under which
/// number.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn offered(
    gateway: &Gateway,
    device: Address,
) -> Result<Option<(Address, u32)>, WorkflowError> {
    use alloy_rpc_types_eth::Filter;
    use alloy_sol_types::SolEvent as _;
    let topic: B256 = device.into_word();
    let filter = Filter::new()
        .address(gateway.at(Contract::Devices))
        .event_signature(Devices::BindingOffered::SIGNATURE_HASH)
        .topic1(topic)
        .from_block(0);
    let logs = gateway.gatekeeper.ledger().logs(&filter).await.map_err(ledger::CallError::from)?;
    let events = logs.iter().filter_map(|log| Devices::BindingOffered::decode_log(&log.inner).ok());
    Ok(events.last().map(|event| (event.data.patient, event.data.binding)))
}
