// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Validators} from "../../src/Validators.sol";
import {WideNetwork} from "./WideNetwork.sol";

/// @notice The network with a committee: the nodes of its first four institutions, in epoch 100.
abstract contract Committee is WideNetwork {
    uint40 internal constant LENGTH = 10;
    uint8 internal constant SEATS = 5;

    Validators internal validators;

    function setUp() public virtual override {
        super.setUp();
        vm.roll(100 * LENGTH);
        validators = deployValidators(LENGTH, SEATS, foundingNodes(4));
    }

    function deployValidators(uint40 length, uint8 seats, Validators.Founder[] memory nodes)
        internal
        returns (Validators)
    {
        return Validators(deploy("Validators", abi.encode(registry, length, seats, nodes)));
    }

    function foundingNodes(uint256 count) internal view returns (Validators.Founder[] memory nodes) {
        nodes = new Validators.Founder[](count);
        for (uint256 i; i < count; ++i) {
            nodes[i] = Validators.Founder(institution(i), node(i), consensusKey(i), "node:1");
        }
    }

    /// @notice One of nine institutions; the first four have a node in the committee.
    function institution(uint256 index) internal view returns (address) {
        return [hospital, laboratory, pharmacy, emergency, insurer, research, regulator, maker, clinic][index];
    }

    /// @notice The account of a node. They rise with the number, which makes ties plain.
    function node(uint256 index) internal pure returns (address) {
        return address(uint160(0xE00 + index));
    }

    function consensusKey(uint256 index) internal pure returns (bytes32) {
        return bytes32(0x1000 + index);
    }

    /// @notice Lets epochs pass.
    function pass(uint256 epochs) internal {
        vm.roll(vm.getBlockNumber() + epochs * LENGTH);
    }

    function registerNode(uint256 index) internal {
        vm.prank(institution(index));
        validators.register(node(index), consensusKey(index), "node:1");
    }

    function back(uint256 backer, uint256 index, uint32 votes) internal {
        vm.prank(institution(backer));
        validators.delegate(node(index), votes);
    }

    function confirmAs(uint256 index, bytes32 id) internal {
        vm.prank(node(index));
        validators.confirm(id);
    }

    function reportAs(uint256 index, uint256 accused, uint40 epoch, bytes memory evidence)
        internal
        returns (bytes32 id)
    {
        vm.prank(node(index));
        return validators.report(node(accused), epoch, evidence);
    }

    /// @notice The numbers of the nodes of a committee, as digits after a one: 10123 is 0, 1, 2 and 3.
    function seated(uint256 epoch) internal view returns (uint256 digits) {
        Validators.Member[] memory members = validators.committee(epoch);
        digits = 1;
        for (uint256 i; i < members.length; ++i) {
            digits = 10 * digits + uint160(members[i].account) - 0xE00;
        }
    }
}
