//! The steps of devices: their own, and what the registry says of them.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::SolEvent as _;
use bindings::{
    Contract, Devices, Devices::DevicesEvents as Event, Registry::RegistryEvents,
    convert::timestamp,
};

use super::{
    Actor::{Member, Unknown},
    Described, by,
};
use crate::{Gatekeeper, GatekeeperError};

pub(super) fn describe(event: Event) -> Option<Described> {
    let about = |device: Address| Some(device.into_word());
    Some(match event {
        Event::FirmwareAccepted(event) => {
            ("firmware accepted for a model".into(), Member(event.maker), Some(event.model))
        }
        Event::FirmwareWithdrawn(event) => {
            ("firmware withdrawn".into(), Member(event.by), Some(event.model))
        }
        Event::FirmwareRecalled(event) => {
            ("firmware recalled".into(), Member(event.by), Some(event.model))
        }
        Event::RecallLifted(event) => {
            ("recall of a firmware lifted".into(), Member(event.by), Some(event.model))
        }
        Event::DeviceEnrolled(event) => {
            let what = format!("device enrolled, attested by {}", event.maker);
            (what, Member(event.operator), about(event.device))
        }
        // Whoever brought it, the device signed it.
        Event::FirmwareUpdated(event) => {
            ("device runs another firmware".into(), Member(event.device), about(event.device))
        }
        Event::BindingOffered(event) => {
            let until = timestamp(event.until);
            let what = format!("offered to be measured by {} until {until}", event.device);
            // The operator did, whom the event does not name.
            (what, Unknown, about(event.device))
        }
        Event::DeviceBound(event) => {
            let what = format!("measured by {} from now on", event.device);
            (what, super::Actor::Patient(event.patient), about(event.device))
        }
        Event::DeviceUnbound(event) => {
            let what = format!("measured by {} no more", event.device);
            (what, by(event.by, event.patient), about(event.device))
        }
        Event::ReadingsAnchored(event) => {
            let readings = if event.count == 1 { "reading" } else { "readings" };
            let what = format!("{} {readings} anchored, batch {}", event.count, event.sequence);
            (what, Member(event.device), about(event.device))
        }
        Event::ReadingsOutOfRange(event) => {
            let (out, due) = (event.outOfRange, timestamp(event.dueAt));
            let readings = if out == 1 { "reading" } else { "readings" };
            let what = format!(
                "alert: {out} {readings} of batch {} out of range, due {due}",
                event.sequence
            );
            (what, Member(event.device), about(event.device))
        }
        Event::ReadingsMissing(event) => {
            let (from, to) = (timestamp(event.from), timestamp(event.to));
            let what = format!("alert: no readings from {from} to {to}");
            (what, Member(event.device), about(event.device))
        }
        Event::AlertAcknowledged(event) => {
            let what = format!("alert of batch {} acknowledged", event.sequence);
            (what, Member(event.by), about(event.device))
        }
        Event::DeviceQuarantined(event) => {
            ("device in quarantine".into(), Member(event.by), about(event.device))
        }
        Event::QuarantineLifted(event) => {
            ("quarantine of the device lifted".into(), Member(event.by), about(event.device))
        }
        Event::EIP712DomainChanged(_) => return None,
    })
}

/// What the registry says of devices, and of no other members.
pub(super) fn describe_registry(event: RegistryEvents) -> Option<Described> {
    Some(match event {
        RegistryEvents::DeviceRegistered(event) => {
            let what = "device entered in the registry".into();
            (what, Member(event.institution), Some(event.device.into_word()))
        }
        RegistryEvents::DeviceDecommissioned(event) => {
            let what = "device put out of force".into();
            (what, Member(event.institution), Some(event.device.into_word()))
        }
        RegistryEvents::KeyRotated(event) => (
            "goes on with another key".into(),
            Member(event.member),
            Some(event.member.into_word()),
        ),
        _ => return None,
    })
}

impl Gatekeeper {
    /// Who has seen the alerts that are among some events: that is told of the device, and not of the patient
    /// whose alert it was.
    pub(super) async fn acknowledgements(
        &self,
        logs: impl Iterator<Item = &Log>,
    ) -> Result<Vec<Log>, GatekeeperError> {
        let alerts =
            logs.filter_map(|log| Devices::ReadingsOutOfRange::decode_log(&log.inner).ok());
        let alerts: BTreeSet<(Address, u64)> =
            alerts.map(|event| (event.data.device, event.data.sequence)).collect();
        if alerts.is_empty() {
            return Ok(Vec::new());
        }
        let devices: BTreeSet<Address> = alerts.iter().map(|(device, _)| *device).collect();
        let devices: Vec<B256> = devices.into_iter().map(|device| device.into_word()).collect();
        let filter = Filter::new()
            .address(self.deployment().address(Contract::Devices))
            .event_signature(Devices::AlertAcknowledged::SIGNATURE_HASH)
            .topic1(devices)
            .from_block(0);
        let mut seen = self.ledger().logs(&filter).await?;
        seen.retain(|log| {
            let event = Devices::AlertAcknowledged::decode_log(&log.inner);
            event.is_ok_and(|event| alerts.contains(&(event.data.device, event.data.sequence)))
        });
        Ok(seen)
    }
}
