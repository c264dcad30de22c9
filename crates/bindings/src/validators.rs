//! The contract that elects a consortium's validators.
//!
//! A consortium of several machines deploys it after the others; one machine has nobody to elect, so it is no
//! [`Contract`](crate::Contract) and its address is in no [`Deployment`](crate::Deployment). The registry's
//! directory has it under [`name`].

use alloy_primitives::{Address, B256, Bytes, aliases::U40};
use alloy_sol_types::SolConstructor as _;

use crate::Validators;

/// The fewest seats of a committee, and founders of a consortium: they bear one that is faulty.
pub const LEAST_SEATS: u8 = 4;

/// The most seats of a committee.
pub const MOST_SEATS: u8 = 31;

/// The contract's name in the registry's directory.
#[must_use]
pub fn name() -> B256 {
    let mut name = B256::ZERO;
    let text = b"Validators";
    name[..text.len()].copy_from_slice(text);
    name
}

/// The code and arguments that deploy the contract.
///
/// An epoch has `epoch_length` blocks, not none; `seats` is from [`LEAST_SEATS`] to [`MOST_SEATS`], and there are as
/// many `founders` or fewer, but not fewer than [`LEAST_SEATS`]. The contract refuses anything else.
#[must_use]
pub fn creation_code(
    registry: Address,
    epoch_length: u32,
    seats: u8,
    founders: Vec<Validators::Founder>,
) -> Bytes {
    let epoch_length = U40::from(epoch_length);
    let call = Validators::constructorCall { registry, epochLength: epoch_length, seats, founders };
    [Validators::BYTECODE.as_ref(), &call.abi_encode()].concat().into()
}
