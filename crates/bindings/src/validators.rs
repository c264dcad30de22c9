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

#[cfg(test)]
mod tests {
    use alloy_primitives::Log;
    use alloy_sol_types::{SolCall as _, SolError as _, SolEvent as _};

    use super::*;
    use crate::{ContractError, Deployment, decode_call, decode_event};

    #[test]
    fn what_it_does_and_refuses_is_told_in_words() {
        let (deployment, at) = (Deployment::by(Address::ZERO, 0), Address::repeat_byte(9));
        let account = Address::repeat_byte(1);
        let call = Validators::delegateCall { account, votes: 7 }.abi_encode().into();
        let decoded = decode_call(&deployment, Some(at), &call);
        assert_eq!(decoded.to, format!("validators {at}"));
        assert!(decoded.call.starts_with("delegate"), "{}", decoded.call);
        assert!(decoded.call.contains("votes: 7"), "{}", decoded.call);

        let event = Validators::DelegateLeft { account };
        let log = Log { address: at, data: event.encode_log_data() };
        let told = decode_event(&deployment, &log).unwrap_or_default();
        assert!(told.starts_with("DelegateLeft"), "{told}");

        let error = Validators::NotStanding { account, status: 3 };
        let told = ContractError::decode(&error.abi_encode()).to_string();
        assert!(told.contains("is slashed, and"), "{told}");
    }

    #[test]
    fn its_name_is_text_at_the_left() {
        assert_eq!(name().as_slice(), format!("{:\0<32}", "Validators").as_bytes());
    }

    #[test]
    fn founders_go_behind_the_code() {
        let founder = Validators::Founder {
            institution: Address::repeat_byte(1),
            account: Address::repeat_byte(2),
            key: B256::repeat_byte(3),
            networkAddress: b"node:1".into(),
        };
        let registry = Address::repeat_byte(4);
        let code = creation_code(registry, 100, LEAST_SEATS, vec![founder; 4]);
        let arguments = code.strip_prefix(&Validators::BYTECODE[..]).unwrap_or_default();
        assert_eq!(arguments[12..32], registry[..]);
        assert_eq!((arguments[63], arguments[95]), (100, LEAST_SEATS));
        // Where the founders begin, and how many they are.
        assert_eq!((arguments[127], arguments[159]), (128, 4));
    }
}
