//! Steps of a device at a patient. Maker, regulator and the operator's own key act elsewhere, but for the
//! offer, which the gateway makes as soon as a doctor has ordered.

use alloy_primitives::Address;
use domain::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use workflows::{
    WorkflowError,
    device::{self, Described, Limit, Measured, Model, Plan, SignedBatch, Terms},
};

use super::{
    About,
    cast::{Cast, sealed, taken},
};

/// A step with what goes into it.
#[derive(Deserialize)]
#[serde(tag = "step", deny_unknown_fields)]
pub(super) enum Wanted {
    #[serde(rename = "device.order")]
    Order {
        patient: Address,
        device: Address,
        metrics: Vec<Ordered>,
        period: u32,
        until: u64,
        gap: u32,
    },
    /// `binding` is the number that the patient saw.
    #[serde(rename = "device.accept")]
    Accept { patient: Address, device: Address, binding: u32 },
    #[serde(rename = "device.file")]
    File {
        patient: Address,
        device: Address,
        maker: Address,
        maker_name: String,
        model: String,
        serial: String,
        firmware: String,
    },
    /// What the device signed, as it did.
    #[serde(rename = "device.readings")]
    Readings { patient: Address, batch: Box<SignedBatch> },
    #[serde(rename = "device.acknowledge")]
    Acknowledge { device: Address, sequence: u64 },
    #[serde(rename = "device.unbind")]
    Unbind { patient: Address, device: Address },
}

/// What is measured; the usual range when none is named.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ordered {
    metric: String,
    range: Option<(Measured, Measured)>,
}

impl Wanted {
    pub(super) const fn about(&self) -> About {
        match self {
            Self::Order { patient, .. } => About::Begins(*patient),
            Self::Accept { patient, .. }
            | Self::File { patient, .. }
            | Self::Readings { patient, .. }
            | Self::Unbind { patient, .. } => About::Patient(*patient),
            Self::Acknowledge { device, sequence } => About::DeviceAlert(*device, *sequence),
        }
    }

    pub(super) async fn take(self, cast: &Cast) -> Result<Value, WorkflowError> {
        let (here, now) = (&cast.gateway, cast.now);
        match self {
            Self::Order { device, metrics, period, until, gap, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                let limit = |ordered: Ordered| match ordered.range {
                    None => Limit::usual(&ordered.metric),
                    Some((low, high)) => {
                        let source = format!("as ordered by {}", who.member);
                        Limit::of(&ordered.metric, low, high, source)
                    }
                };
                let limits = metrics.into_iter().map(limit).collect::<Result<_, _>>()?;
                let plan = Plan::new(limits, period)?;
                let terms = Terms { until: Timestamp(until), gap };
                let (anchor, binding, steps) =
                    device::order_and_offer(here, &who, &patient, device, &plan, terms, now)
                        .await?;
                let mut value = sealed((anchor, steps));
                value["binding"] = json!(binding);
                Ok(value)
            }
            Self::Accept { device, binding, .. } => {
                let who = cast.patient()?;
                Ok(taken([device::accept_binding(here, &who, device, binding, now).await?]))
            }
            Self::File { device, maker, maker_name, model, serial, firmware, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                let model = Model { maker, name: model };
                let described = Described { device, model, maker_name, serial, firmware };
                let held = device::standing(here, device).await?;
                let (account, binding) = (patient.account(), (device, held.binding));
                let plan = device::plan_of(here, who.member, account, binding, now).await?;
                Ok(sealed(device::file(here, &who, &patient, &described, &plan, now).await?))
            }
            Self::Readings { batch, .. } => {
                let (who, patient) = (cast.person()?, cast.about());
                let (account, binding) = (patient.account(), (batch.device, batch.binding));
                let plan = device::plan_of(here, who.member, account, binding, now).await?;
                let (record, steps) = device::bring(here, &patient, &plan, &batch, now).await?;
                let mut value = taken(steps);
                value["record"] = json!(record.0);
                Ok(value)
            }
            Self::Acknowledge { device, sequence } => {
                let who = cast.person()?;
                Ok(taken([device::acknowledge(here, &who, device, sequence).await?]))
            }
            Self::Unbind { device, .. } => {
                let who = cast.patient()?;
                Ok(taken([device::unbind_by_patient(here, &who, device, now).await?]))
            }
        }
    }
}
