//! A device comes into the network, changes its key, and leaves it.

use std::fmt;

use alloy_primitives::{Address, B256, Bytes, U256};
use bindings::{Contract, Devices, Registry, convert::to_uint40, device};
use domain::Timestamp;

use super::{DeviceKey, Model, SIGNATURE_PERIOD, domain_of, firmware::salted};
use crate::{Gateway, Step, WorkflowError};

/// What the operator gives a device for the transaction by which it rotates its key, in wei.
const ROTATION_WEI: U256 = U256::from_limbs([10_000_000_000_000_000, 0, 0, 0]);

/// A device as it is in the world, with its key. Only the device itself has this.
pub struct Machine {
    /// The address by which it is known for life.
    pub member: Address,
    /// What it is.
    pub model: Model,
    /// Its serial number. It is on chain under a key of the maker's, for it could be guessed.
    pub serial: String,
    /// The firmware that it runs, by its version.
    pub firmware: String,
    /// The key with which it signs now.
    pub key: DeviceKey,
}

impl fmt::Debug for Machine {
    /// No serial number, which leads to whoever has it (S1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Machine {
    /// A new device, known by the address of its first key.
    #[must_use]
    pub fn new(
        key: DeviceKey,
        model: Model,
        serial: impl Into<String>,
        firmware: impl Into<String>,
    ) -> Self {
        let (serial, firmware) = (serial.into(), firmware.into());
        Self { member: key.address(), model, serial, firmware, key }
    }
}

/// The operator enters a device in the registry, by the address of its first key.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the address is taken.
pub async fn register(operator: &Gateway, machine: &Machine) -> Result<Step, WorkflowError> {
    let call = Registry::registerDeviceCall { member: machine.member, model: machine.model.id() };
    let outcome = operator.sender().send(operator.at(Contract::Registry), &call).await?;
    let what = "enters a device in the registry";
    Ok(Step::new(&operator.name, what, "registry.register-device", &outcome))
}

/// A maker's word that a key was made in a device of its own.
#[derive(Clone, Debug)]
pub struct Attested {
    serial: B256,
    deadline: Timestamp,
    signature: Bytes,
}

/// The maker attests that the key was made in this device, by signing its address, its model and a keyed
/// digest of its serial number.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when it is a device of another maker.
pub async fn attest(
    maker: &Gateway,
    machine: &Machine,
    now: Timestamp,
) -> Result<Attested, WorkflowError> {
    if machine.model.maker != maker.member() {
        return Err(WorkflowError::Invalid("this maker did not make the device".into()));
    }
    let serial = maker.keyed_digest("salus/device-serial/v1", machine.serial.as_bytes());
    let deadline = now.after(SIGNATURE_PERIOD);
    let message = device::Attest {
        device: machine.member,
        model: machine.model.id(),
        serial,
        deadline: to_uint40(deadline),
    };
    let signed = maker.sender().sign_hash(&domain_of(maker).attest_digest(&message)).await?;
    Ok(Attested { serial, deadline, signature: signed.as_bytes().to_vec().into() })
}

/// The operator enrols a device that its maker attested, and that says which firmware it runs.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the registry does not know it as this operator's, the maker's or the
/// device's signature is another's, its firmware is not accepted, or it is enrolled already.
pub async fn enrol(
    operator: &Gateway,
    machine: &Machine,
    attested: &Attested,
) -> Result<Step, WorkflowError> {
    let deadline = to_uint40(attested.deadline);
    let firmware = machine.model.firmware(&machine.firmware);
    let message = device::Firmware {
        device: machine.member,
        operator: operator.member(),
        firmware,
        number: 0,
        deadline,
    };
    let attestation = Devices::Attestation {
        maker: machine.model.maker,
        name: machine.model.name_digest(),
        serial: attested.serial,
        firmware,
        deadline,
        makerSignature: attested.signature.clone(),
        deviceSignature: machine.key.sign(domain_of(operator).firmware_digest(&message)),
    };
    let call = Devices::enrolCall { device: machine.member, attestation };
    let outcome = operator.sender().send(operator.at(Contract::Devices), &call).await?;
    let what = "enrols a device, whose key its maker attests";
    Ok(Step::new(&operator.name, what, "device.enrol", &outcome))
}

/// A device goes on with another key, which signs that it is there; what the old key signs from then on is
/// refused. The device sends this itself, with ether from its operator.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the old key is not in force, or the new one is somebody's.
pub async fn rotate(
    operator: &Gateway,
    machine: &mut Machine,
    next: DeviceKey,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let ledger = operator.gatekeeper.ledger();
    let registry = operator.at(Contract::Registry);
    let call = Registry::rotationNonceCall { member: machine.member };
    let nonce = ledger.call(registry, &call, Default::default()).await?;
    let deadline = to_uint40(now.after(SIGNATURE_PERIOD));
    let (member, new_signer) = (machine.member, next.address());
    let message = device::Rotate { member, newSigner: new_signer, nonce, deadline };
    let digest = device::rotate_digest(ledger.chain_id(), registry, &message);
    let signature = next.sign(digest);
    let call = Registry::rotateCall { newSigner: new_signer, deadline, signature };
    let sender = machine.key.sender(ledger);
    sender.check(registry, &call).await?;
    operator.sender().transfer(machine.key.address(), ROTATION_WEI).await?;
    let outcome = sender.send(registry, &call).await?;
    machine.key = next;
    Ok(Step::new("device", "goes on with another key", "registry.rotate-key", &outcome))
}

/// The operator puts a device out of force, for good.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is not this operator's, or out of force already.
pub async fn decommission(operator: &Gateway, device: Address) -> Result<Step, WorkflowError> {
    let call = Registry::decommissionDeviceCall { member: device };
    let outcome = operator.sender().send(operator.at(Contract::Registry), &call).await?;
    let what = "puts a device out of force, for good";
    Ok(Step::new(&operator.name, what, "registry.decommission-device", &outcome))
}

/// The operator, the maker or a regulator puts a device into quarantine: it anchors nothing until each of
/// them who did has lifted it. The reason stays with who says it, as in a recall.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the reason is empty, [`WorkflowError::Send`] when it is somebody else.
pub async fn quarantine(
    by: &Gateway,
    device: Address,
    reason: &str,
) -> Result<(B256, Step), WorkflowError> {
    let (salt, reason) = salted(by, reason)?;
    let call = Devices::quarantineCall { device, reason };
    let outcome = by.sender().send(by.at(Contract::Devices), &call).await?;
    let what = "puts a device into quarantine";
    Ok((salt, Step::new(&by.name, what, "device.quarantine", &outcome)))
}

/// Whoever put a device into quarantine lifts it; of regulators, any.
///
/// # Errors
///
/// [`WorkflowError::Send`] when there is none of theirs.
pub async fn lift_quarantine(by: &Gateway, device: Address) -> Result<Step, WorkflowError> {
    let call = Devices::liftQuarantineCall { device };
    let outcome = by.sender().send(by.at(Contract::Devices), &call).await?;
    let what = "lifts its quarantine of a device";
    Ok(Step::new(&by.name, what, "device.lift-quarantine", &outcome))
}
