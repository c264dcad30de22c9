// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title PaymentToken
/// @notice The money of a demonstration: an ERC-20 with a fixed supply, in cents of a euro.
/// @dev OpenZeppelin's ERC-20 as it is. A network that pays for real names another token when it
/// deploys `Claims` and `DataExchange`, such as a regulated electronic money token.
///
/// INVARIANTS
/// - T1: the supply is `GRANT` for each founder, for ever: nothing mints and nothing burns.
///
/// ASSUMPTIONS
/// - Safety: none about value. Nobody stands behind this token.
contract PaymentToken is ERC20 {
    /// @notice What each founder starts with: ten million euros.
    uint256 internal constant GRANT = 10_000_000_00;

    constructor(address[] memory founders) ERC20("Salus demonstration euro", "dEUR") {
        for (uint256 i; i < founders.length; ++i) {
            _mint(founders[i], GRANT);
        }
    }

    /// @notice Two: one unit is a cent.
    function decimals() public pure override returns (uint8) {
        return 2;
    }
}
