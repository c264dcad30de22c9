//! Which firmware a model may run: its maker accepts and withdraws, a regulator recalls.

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::{Contract, Devices, convert::to_uint40, device};
use domain::{RecordDigest, Timestamp};

use super::{Machine, SIGNATURE_PERIOD, domain_of, standing};
use crate::{Gateway, Step, WorkflowError, given::require_words};

/// What a maker builds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Who makes it, by member address.
    pub maker: Address,
    /// What its maker calls it.
    pub name: String,
}

impl Model {
    /// Its name as the contract holds it.
    pub(super) fn name_digest(&self) -> B256 {
        keccak256(("salus/device-model/v1".to_owned(), self.name.clone()).abi_encode_params())
    }

    /// What it is called on chain.
    #[must_use]
    pub fn id(&self) -> B256 {
        device::model_of(self.maker, self.name_digest())
    }

    /// A version of its firmware, as the contract holds it.
    #[must_use]
    pub fn firmware(&self, version: &str) -> B256 {
        let label = "salus/device-firmware/v1".to_owned();
        keccak256((label, self.id(), version.to_owned()).abi_encode_params())
    }
}

/// The maker of a model lets it run a firmware.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is no maker of devices.
pub async fn accept_firmware(
    maker: &Gateway,
    model: &Model,
    version: &str,
) -> Result<Step, WorkflowError> {
    require_own(maker, model)?;
    let firmware = model.firmware(version);
    let call = Devices::acceptFirmwareCall { name: model.name_digest(), firmware };
    let outcome = maker.sender().send(maker.at(Contract::Devices), &call).await?;
    let what = "accepts a firmware for a model";
    Ok(Step::new(&maker.name, what, "device.accept-firmware", &outcome))
}

/// The maker lets it run the firmware no more. Devices that run it stop.
///
/// # Errors
///
/// As [`accept_firmware`].
pub async fn withdraw_firmware(
    maker: &Gateway,
    model: &Model,
    version: &str,
) -> Result<Step, WorkflowError> {
    require_own(maker, model)?;
    let firmware = model.firmware(version);
    let call = Devices::withdrawFirmwareCall { name: model.name_digest(), firmware };
    let outcome = maker.sender().send(maker.at(Contract::Devices), &call).await?;
    let what = "withdraws a firmware, and what runs it stops";
    Ok(Step::new(&maker.name, what, "device.withdraw-firmware", &outcome))
}

/// A model's id is made of its maker, so somebody else would say it of a model of their own.
fn require_own(maker: &Gateway, model: &Model) -> Result<(), WorkflowError> {
    if model.maker == maker.member() {
        return Ok(());
    }
    Err(WorkflowError::Invalid("its maker says what a model may run".into()))
}

/// A regulator recalls a firmware: it runs nowhere, whatever the maker accepts. The reason stays with the
/// regulator: with the salt that is returned, its digest can be shown to be of these words.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the reason is empty, [`WorkflowError::Send`] when it is no regulator.
pub async fn recall_firmware(
    regulator: &Gateway,
    model: &Model,
    version: &str,
    reason: &str,
) -> Result<(B256, Step), WorkflowError> {
    let (salt, reason) = salted(regulator, reason)?;
    let (model, firmware) = (model.id(), model.firmware(version));
    let call = Devices::recallFirmwareCall { model, firmware, reason };
    let outcome = regulator.sender().send(regulator.at(Contract::Devices), &call).await?;
    let what = "recalls a firmware, and what runs it stops";
    Ok((salt, Step::new(&regulator.name, what, "device.recall-firmware", &outcome)))
}

/// A regulator lifts a recall. What the maker accepts counts again.
///
/// # Errors
///
/// As [`recall_firmware`].
pub async fn lift_recall(
    regulator: &Gateway,
    model: &Model,
    version: &str,
) -> Result<Step, WorkflowError> {
    let call = Devices::liftRecallCall { model: model.id(), firmware: model.firmware(version) };
    let outcome = regulator.sender().send(regulator.at(Contract::Devices), &call).await?;
    Ok(Step::new(&regulator.name, "lifts a recall", "device.lift-recall", &outcome))
}

/// Whether a model may run a firmware now.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn is_accepted(
    gateway: &Gateway,
    model: &Model,
    version: &str,
) -> Result<bool, WorkflowError> {
    let call = Devices::isAcceptedCall { model: model.id(), firmware: model.firmware(version) };
    let (at, latest) = (gateway.at(Contract::Devices), Default::default());
    Ok(gateway.gatekeeper.ledger().call(at, &call, latest).await?)
}

/// A device runs another firmware, and signs that it does. The operator brings it.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the firmware is not accepted, or another key signed.
pub async fn update_firmware(
    operator: &Gateway,
    machine: &Machine,
    version: &str,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let held = standing(operator, machine.member).await?;
    let deadline = to_uint40(now.after(SIGNATURE_PERIOD));
    let firmware = machine.model.firmware(version);
    let message = device::Firmware {
        device: machine.member,
        operator: held.operator,
        firmware,
        number: held.updates,
        deadline,
    };
    let signature = machine.key.sign(domain_of(operator).firmware_digest(&message));
    let call =
        Devices::updateFirmwareCall { device: machine.member, firmware, deadline, signature };
    let outcome = operator.sender().send(operator.at(Contract::Devices), &call).await?;
    let what = "says that it runs another firmware";
    Ok(Step::new("device", what, "device.update-firmware", &outcome))
}

/// A salt, and the digest of a reason under it.
pub(super) fn salted(gateway: &Gateway, reason: &str) -> Result<(B256, B256), WorkflowError> {
    require_words("reason", reason)?;
    let salt = gateway.make_salt();
    Ok((salt, RecordDigest::of(&[salt.as_slice(), reason.as_bytes()].concat()).0))
}
