//! What the events of devices mean.
//!
//! An alert is for the patient, for whoever cares for them at the gateway that asks, and for the operator.

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::{Devices::DevicesEvents as Event, convert::timestamp};

use super::Meaning;
use crate::{
    Topic,
    parties::{Key, Part, Parties, Scope},
    silence::{Silence, Silent},
};

/// What concerns a device.
pub(crate) fn of_device(device: Address) -> Key {
    Key(Scope::Device, device.into_word())
}

/// What concerns a firmware: who runs it has a part in it.
const fn of_firmware(firmware: B256) -> Key {
    Key(Scope::Device, firmware)
}

/// What concerns an alert: a device may be at another patient when somebody has seen it.
fn of_alert(device: Address, sequence: u64) -> Key {
    Key(Scope::Device, keccak256((device, sequence).abi_encode()))
}

/// Whose parties have to be known.
pub(super) fn key(event: &Event) -> Option<Key> {
    Some(match event {
        Event::FirmwareWithdrawn(event) => of_firmware(event.firmware),
        Event::FirmwareRecalled(event) => of_firmware(event.firmware),
        Event::RecallLifted(event) => of_firmware(event.firmware),
        Event::FirmwareUpdated(event) => of_device(event.device),
        Event::DeviceBound(event) => of_device(event.device),
        Event::DeviceUnbound(event) => of_device(event.device),
        Event::ReadingsOutOfRange(event) => of_device(event.device),
        Event::ReadingsMissing(event) => of_device(event.device),
        Event::AlertAcknowledged(event) => of_alert(event.device, event.sequence),
        Event::DeviceQuarantined(event) => of_device(event.device),
        Event::QuarantineLifted(event) => of_device(event.device),
        Event::FirmwareAccepted(_)
        | Event::DeviceEnrolled(_)
        | Event::BindingOffered(_)
        | Event::ReadingsAnchored(_)
        | Event::EIP712DomainChanged(_) => return None,
    })
}

/// Whose care team is told.
pub(super) const fn whose_care_team(event: &Event) -> Option<Address> {
    match event {
        Event::ReadingsOutOfRange(event) => Some(event.patient),
        Event::ReadingsMissing(event) => Some(event.patient),
        _ => None,
    }
}

pub(super) fn meaning(event: &Event, parties: &Parties) -> Option<Meaning> {
    let operator = || parties.of(Part::Institution);
    let alerted = |patient, device: Address, topic| {
        Meaning::about(patient, device)
            .tell(topic, [patient])
            .tell(topic, parties.care_team.iter().copied())
            .tell(topic, operator())
    };
    let firmware = |firmware: B256, topic, by| {
        Meaning::about_nobody(firmware).tell(topic, operator()).not_to(by)
    };
    let quarantine = |device: Address, topic, by| {
        let patient = parties.patient();
        Meaning::about(patient.unwrap_or(Address::ZERO), device)
            .tell(topic, patient)
            .tell(topic, operator())
            .tell(topic, parties.of(Part::Counterpart))
            .not_to(by)
    };
    Some(match event {
        Event::DeviceEnrolled(event) => {
            let (key, runs) = (of_device(event.device), of_firmware(event.firmware));
            Meaning::about_nobody(event.device)
                .party(key, Part::Institution, event.operator, true)
                .party(key, Part::Counterpart, event.maker, true)
                .party(runs, Part::Institution, event.operator, true)
        }
        Event::FirmwareUpdated(event) => {
            let runs = of_firmware(event.firmware);
            let meaning = Meaning::about_nobody(event.device);
            operator().fold(meaning, |meaning, operator| {
                meaning.party(runs, Part::Institution, operator, true)
            })
        }
        Event::FirmwareWithdrawn(event) => {
            firmware(event.firmware, Topic::FirmwareStopped, event.by)
        }
        Event::FirmwareRecalled(event) => {
            firmware(event.firmware, Topic::FirmwareStopped, event.by)
        }
        Event::RecallLifted(event) => {
            firmware(event.firmware, Topic::FirmwareRecallLifted, event.by)
        }
        Event::BindingOffered(event) => {
            let silence = Silence::Offered { device: event.device, gap: event.interval };
            Meaning::about(event.patient, event.device)
                .tell(Topic::DeviceOffered, [event.patient])
                .awaiting(silence)
        }
        Event::DeviceBound(event) => {
            let key = of_device(event.device);
            let meaning =
                Meaning::about(event.patient, event.device).tell(Topic::DeviceBound, operator());
            // A binding that ended by its time left nothing on chain.
            let former = parties.of(Part::Patient).filter(|former| *former != event.patient);
            former
                .fold(meaning, |meaning, former| meaning.party(key, Part::Patient, former, false))
                .party(key, Part::Patient, event.patient, true)
                .awaiting(Silence::Begins {
                    device: event.device,
                    patient: event.patient,
                    until: timestamp(event.until),
                })
        }
        Event::DeviceUnbound(event) => Meaning::about(event.patient, event.device)
            .tell(Topic::DeviceUnbound, [event.patient])
            .tell(Topic::DeviceUnbound, operator())
            .not_to(event.by)
            .party(of_device(event.device), Part::Patient, event.patient, false)
            .awaiting(Silence::Over { device: event.device }),
        // Readings come all day, and nobody is told of them.
        Event::ReadingsAnchored(event) => {
            let (device, to) = (event.device, timestamp(event.to));
            Meaning::about(event.patient, device).awaiting(Silence::Heard { device, to })
        }
        Event::ReadingsOutOfRange(event) => {
            let key = of_alert(event.device, event.sequence);
            alerted(event.patient, event.device, Topic::DeviceAlert).party(
                key,
                Part::Patient,
                event.patient,
                true,
            )
        }
        Event::ReadingsMissing(event) => alerted(event.patient, event.device, Topic::DeviceGap),
        Event::AlertAcknowledged(event) => {
            let patient = parties.patient()?;
            Meaning::about(patient, event.device).tell(Topic::DeviceAlertSeen, [patient])
        }
        Event::DeviceQuarantined(event) => {
            quarantine(event.device, Topic::DeviceQuarantined, event.by)
        }
        Event::QuarantineLifted(event) => {
            quarantine(event.device, Topic::DeviceQuarantineLifted, event.by)
        }
        Event::FirmwareAccepted(_) | Event::EIP712DomainChanged(_) => return None,
    })
}

/// What it means that a device is silent.
pub(crate) fn silent(silent: &Silent, parties: &Parties) -> Meaning {
    let (patient, topic) = (silent.patient, Topic::DeviceSilent);
    Meaning::about(patient, silent.device)
        .tell(topic, [patient])
        .tell(topic, parties.care_team.iter().copied())
        .tell(topic, parties.of(Part::Institution))
}
