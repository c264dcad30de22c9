//! What makers and devices sign, and how the contract makes digests of it.
//!
//! Each signature binds the chain, the contract, the device, and what keeps it from being used again: the
//! number of the firmware statement, the sequence and head of a batch, the count of rotations (S7).

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct as _, SolValue as _, sol};

use crate::Devices;

sol! {
    /// What a maker signs of a device.
    #[derive(Debug, PartialEq, Eq)]
    struct Attest {
        address device;
        bytes32 model;
        bytes32 serial;
        uint40 deadline;
    }

    /// What a device says that it runs.
    #[derive(Debug, PartialEq, Eq)]
    struct Firmware {
        address device;
        address operator;
        bytes32 firmware;
        uint32 number;
        uint40 deadline;
    }

    /// What a device signs of readings.
    #[derive(Debug, PartialEq, Eq)]
    struct Batch {
        address device;
        uint32 binding;
        uint64 sequence;
        uint40 from;
        uint40 to;
        uint32 count;
        uint32 outOfRange;
        bytes32 root;
        bytes32 previousHead;
    }

    /// What a member's next key signs.
    #[derive(Debug, PartialEq, Eq)]
    struct Rotate {
        address member;
        address newSigner;
        uint256 nonce;
        uint40 deadline;
    }
}

fn domain(name: &'static str, chain_id: u64, contract: Address) -> Eip712Domain {
    let chain_id = Some(U256::from(chain_id));
    Eip712Domain::new(Some(name.into()), Some("1".into()), chain_id, Some(contract), None)
}

/// Where a signature of a device or its maker counts: one contract on one chain.
#[derive(Clone, Debug)]
pub struct DeviceDomain(Eip712Domain);

impl DeviceDomain {
    /// The domain of `Devices` at an address.
    #[must_use]
    pub fn new(chain_id: u64, devices: Address) -> Self {
        Self(domain("Salus Devices", chain_id, devices))
    }

    /// The digest that a maker signs.
    #[must_use]
    pub fn attest_digest(&self, message: &Attest) -> B256 {
        message.eip712_signing_hash(&self.0)
    }

    /// The digest that a device signs of its firmware.
    #[must_use]
    pub fn firmware_digest(&self, message: &Firmware) -> B256 {
        message.eip712_signing_hash(&self.0)
    }

    /// The digest that a device signs of a batch.
    #[must_use]
    pub fn batch_digest(&self, device: Address, batch: &Devices::Batch) -> B256 {
        let message = Batch {
            device,
            binding: batch.binding,
            sequence: batch.sequence,
            from: batch.from,
            to: batch.to,
            count: batch.count,
            outOfRange: batch.outOfRange,
            root: batch.root,
            previousHead: batch.previousHead,
        };
        message.eip712_signing_hash(&self.0)
    }
}

/// The digest that the next key of a member signs, to be entered in the registry.
#[must_use]
pub fn rotate_digest(chain_id: u64, registry: Address, message: &Rotate) -> B256 {
    message.eip712_signing_hash(&domain("Salus Registry", chain_id, registry))
}

/// What a model is called on chain.
///
/// # Source
///
/// `modelOf` in `Devices.sol`.
#[must_use]
pub fn model_of(maker: Address, name: B256) -> B256 {
    keccak256((maker, name).abi_encode())
}

/// The head of a device's chain of batches after one.
///
/// # Source
///
/// `anchor` in `Devices.sol`.
#[must_use]
pub fn head_after(batch: &Devices::Batch) -> B256 {
    let Devices::Batch { previousHead, sequence, root, count, from, to, .. } = batch;
    keccak256((*previousHead, *sequence, *root, *count, *from, *to).abi_encode())
}

/// What of a reading's digest is hashed once more to make its leaf.
///
/// # Source
///
/// `verify` in `Devices.sol`: `keccak256(abi.encode(reading))`, hashed again.
#[must_use]
pub fn leaf_content(reading: B256) -> B256 {
    keccak256(reading)
}
