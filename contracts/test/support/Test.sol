// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "./Vm.sol";

/// @notice Assertions and inputs that every test shares. Nothing of it can be called from outside.
abstract contract Cheats {
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

    /// @notice A value from `least` to `most`, as even as `value` is.
    function bound(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return most - least == type(uint256).max ? value : least + value % (most - least + 1);
    }
}

/// @notice A test contract.
abstract contract Test is Cheats {
    /// @dev Forge knows a test contract by it.
    bool public constant IS_TEST = true;

    /// @notice Whether the contracts are compiled for measuring coverage, larger and slower than they are.
    function isMeasuringCoverage() internal view returns (bool) {
        return vm.envOr("COVERAGE", false);
    }

    /// @notice Deploys a contract from its committed artifact: the tests run the bytes that are deployed.
    /// @dev Measuring coverage takes forge's own compilation: see the README.
    function deploy(string memory name, bytes memory arguments) internal returns (address) {
        bytes memory code = isMeasuringCoverage()
            ? vm.getCode(string.concat(name, ".sol:", name))
            : vm.parseJsonBytes(vm.readFile(string.concat("artifacts/", name, ".json")), ".bytecode");
        return this.create(bytes.concat(code, arguments));
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
}

/// @notice Calls the contracts at random, as anybody, and knows by a model of its own which calls must
/// succeed. Forge calls every external function of it.
abstract contract Handler is Cheats {
    /// @notice Calls made so far.
    uint256 public calls;

    /// @notice Calls, and fails the test when the outcome is not the one that the model expects.
    function attempt(address caller, address to, bytes memory data, bool expected, string memory what)
        internal
        returns (bool)
    {
        ++calls;
        vm.prank(caller);
        (bool success,) = to.call(data);
        assertEq(success, expected, what);
        return success;
    }

    uint256 private _state;

    /// @notice Draws from here on by the seed. Forge likes certain numbers; hashing makes them even.
    modifier seeded(uint256 seed) {
        _state = uint256(keccak256(abi.encode(seed, _state)));
        _;
    }

    /// @notice A number below `limit`.
    function random(uint256 limit) internal returns (uint256) {
        _state = uint256(keccak256(abi.encode(_state)));
        return _state % limit;
    }

    /// @notice True in `percent` of all cases.
    function chance(uint256 percent) internal returns (bool) {
        return random(100) < percent;
    }

    function pick(address[] storage list) internal returns (address) {
        return list[random(list.length)];
    }

    /// @notice Who may, in most cases, and otherwise anybody.
    function mostly(address rightful, address[] storage everybody) internal returns (address) {
        return chance(85) ? rightful : pick(everybody);
    }
}

/// @notice What forge asks a test contract with invariants for: whom to call.
abstract contract InvariantTest {
    address[] private _targets;

    /// @dev Forge checks after every call, which takes most of its time. Where a model and a contract part,
    /// they stay apart, and every call is checked for its outcome anyway.
    modifier everyFew(uint256 calls) {
        if (calls % 8 == 0) _;
    }

    function target(address handler) internal {
        _targets.push(handler);
    }

    function targetContracts() public view returns (address[] memory) {
        return _targets;
    }
}
