// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";

/// @notice Assertions and inputs that every test shares.
abstract contract Test {
    /// @dev Forge knows a test contract by it.
    bool public constant IS_TEST = true;

    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function assertTrue(bool condition, string memory reason) internal pure {
        vm.assertTrue(condition, reason);
    }

    function assertFalse(bool condition, string memory reason) internal pure {
        vm.assertFalse(condition, reason);
    }

    function assertEq(bool left, bool right, string memory reason) internal pure {
        vm.assertEq(left, right, reason);
    }

    function assertEq(uint256 left, uint256 right, string memory reason) internal pure {
        vm.assertEq(left, right, reason);
    }

    function assertEq(bytes32 left, bytes32 right, string memory reason) internal pure {
        vm.assertEq(left, right, reason);
    }

    function assertEq(address left, address right, string memory reason) internal pure {
        vm.assertEq(left, right, reason);
    }

    function assertEq(bytes memory left, bytes memory right, string memory reason) internal pure {
        vm.assertEq(left, right, reason);
    }

    /// @notice The time now. The compiler may take `block.timestamp` for the same all through a function.
    function time() internal view returns (uint40) {
        return uint40(vm.getBlockTimestamp());
    }

    function skip(uint256 period) internal {
        vm.warp(vm.getBlockTimestamp() + period);
    }

    /// @notice Deploys a contract from forge's output. With `new`, every test would carry a copy of the
    /// contract and take as long to compile.
    function deploy(string memory artifact, bytes memory arguments) internal returns (address) {
        return this.create(bytes.concat(vm.getCode(artifact), arguments));
    }

    /// @notice Creates a contract, and reverts as its constructor does.
    function create(bytes memory code) external returns (address deployed) {
        assembly ("memory-safe") {
            deployed := create(0, add(code, 0x20), mload(code))
            if iszero(deployed) {
                let at_ := mload(0x40)
                returndatacopy(at_, 0, returndatasize())
                revert(at_, returndatasize())
            }
        }
    }

    /// @notice A value from `least` to `most`, as even as `value` is.
    function bound(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return most - least == type(uint256).max ? value : least + value % (most - least + 1);
    }
}

/// @notice What forge asks a test contract with invariants for: whom to call.
abstract contract InvariantTest is Test {
    address[] private _targets;

    function target(address handler) internal {
        _targets.push(handler);
    }

    function targetContracts() public view returns (address[] memory) {
        return _targets;
    }
}
