//! What a transaction's gas pays for.

use crate::tally::Gas;

/// What any transaction costs.
const INTRINSIC: u64 = 21_000;

/// What deploying costs besides.
const CREATION: u64 = 32_000;

/// What a zero byte, and any other byte, of call data costs.
///
/// # Source
///
/// [EIP-2028](https://eips.ethereum.org/EIPS/eip-2028).
const ZERO_BYTE: u64 = 4;
const OTHER_BYTE: u64 = 16;

/// What four gas of call data cost at the least.
///
/// # Source
///
/// [EIP-7623](https://eips.ethereum.org/EIPS/eip-7623), `TOTAL_COST_FLOOR_PER_TOKEN`.
const FLOOR_PER_TOKEN: u64 = 10;

/// Splits what a receipt says; `None` when it is the floor that EIP-7623 sets. Then the three parts would say less than
/// what is paid, for a large part of it is paid for call data twice.
pub(crate) fn split(input: &[u8], creates: bool, gas_used: u64) -> Option<Gas> {
    let zeros = input.iter().filter(|byte| **byte == 0).count() as u64;
    let others = input.len() as u64 - zeros;
    let calldata = zeros * ZERO_BYTE + others * OTHER_BYTE;
    if gas_used <= INTRINSIC + calldata / ZERO_BYTE * FLOOR_PER_TOKEN && calldata > 0 {
        return None;
    }
    let intrinsic = INTRINSIC + if creates { CREATION } else { 0 };
    let execution = gas_used.checked_sub(intrinsic + calldata)?;
    Some(Gas { intrinsic, calldata, execution })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[u8], creates: bool, gas_used: u64, expected: Option<(u64, u64, u64)>) {
        let gas = split(input, creates, gas_used);
        assert_eq!(gas.map(|gas| (gas.intrinsic, gas.calldata, gas.execution)), expected);
        assert!(gas.is_none_or(|gas| gas.total() == gas_used));
    }

    #[test]
    fn parts_add_up() {
        check(&[], false, 21_000, Some((21_000, 0, 0)));
        check(&[0, 7, 7], false, 30_000, Some((21_000, 36, 8_964)));
        check(&[7], true, 60_000, Some((53_000, 16, 6_984)));
    }

    #[test]
    fn floor_of_call_data_is_noticed() {
        // A byte that is not zero is four tokens of ten gas.
        check(&[7; 100], false, 25_000, None);
        check(&[7; 100], false, 25_001, Some((21_000, 1_600, 2_401)));
    }
}
