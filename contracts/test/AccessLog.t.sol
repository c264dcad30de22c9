// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessLog} from "../src/AccessLog.sol";
import {Registry} from "../src/Registry.sol";
import {Merkle} from "./support/Merkle.sol";
import {Network} from "./support/Network.sol";

contract AccessLogTest is Network {
    function append(bytes32 root, uint32 count, bytes32 previousHead) internal {
        vm.prank(hospital);
        accessLog.append(root, count, previousHead);
    }

    function head() internal view returns (bytes32) {
        return accessLog.logOf(hospital).head;
    }

    /* append
     * ├── by anybody but an institution in force → NotInstitution
     * ├── root zero, or nothing in it → InvalidBatch
     * ├── on another head than the present one → Fork
     * └── otherwise: the next batch, and a head that commits to all before
     */

    function test_only_an_institution_appends() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, physician));
        vm.prank(physician);
        accessLog.append("root", 1, 0);
    }

    function test_an_empty_batch_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(AccessLog.InvalidBatch.selector, bytes32(0), 1));
        append(0, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(AccessLog.InvalidBatch.selector, bytes32("root"), 0));
        append("root", 0, 0);
    }

    /// @dev W3.
    function test_a_forked_log_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(AccessLog.Fork.selector, bytes32(0), bytes32("head")));
        append("root", 1, "head");
        append("root", 1, 0);
        vm.expectRevert(abi.encodeWithSelector(AccessLog.Fork.selector, head(), bytes32(0)));
        append("root", 1, 0);
    }

    /// @dev W2: as the gatekeeper computes it.
    function test_each_head_continues_the_one_before() public {
        bytes32 first = keccak256(abi.encode(bytes32(0), 0, bytes32("one"), 3, 0));
        vm.expectEmit(address(accessLog));
        emit AccessLog.ReceiptsAppended(hospital, 0, "one", 3, 0, first);
        append("one", 3, 0);
        assertEq(head(), first, "first head");

        bytes32 second = keccak256(abi.encode(first, 1, bytes32("two"), 4, 3));
        vm.expectEmit(address(accessLog));
        emit AccessLog.ReceiptsAppended(hospital, 1, "two", 4, 3, second);
        append("two", 4, first);

        AccessLog.Log memory log = accessLog.logOf(hospital);
        assertEq(log.head, second, "second head");
        assertEq(log.batches, 2, "batches");
        assertEq(log.receipts, 7, "receipts");
        assertEq(accessLog.rootAt(hospital, 0), "one", "first root");
        assertEq(accessLog.rootAt(hospital, 1), "two", "second root");
        assertEq(accessLog.logOf(laboratory).batches, 0, "another gatekeeper's log is its own");
    }

    /* verify
     * ├── no such batch → false
     * ├── another receipt, proof, gatekeeper or batch → false
     * ├── an inner node as a receipt → false
     * └── otherwise → true
     */

    function test_nothing_is_in_a_batch_that_is_not_there() public view {
        assertFalse(accessLog.verify(hospital, 0, 0, new bytes32[](0)), "no batch");
    }

    function testFuzz_exactly_the_receipts_of_a_batch_are_in_it(uint256 size, uint256 place, bytes32 seed) public {
        size = bound(size, 2, 33);
        place = bound(place, 0, size - 1);
        bytes32[] memory leaves = new bytes32[](size);
        for (uint256 i; i < size; ++i) {
            leaves[i] = keccak256(bytes.concat(keccak256(abi.encode(keccak256(abi.encode(seed, i))))));
        }
        bytes32 receipt = keccak256(abi.encode(seed, place));
        bytes32[] memory proof = Merkle.proofOf(leaves, place);
        append(Merkle.rootOf(leaves), uint32(size), 0);

        assertTrue(accessLog.verify(hospital, 0, receipt, proof), "in it");
        assertFalse(accessLog.verify(hospital, 0, ~receipt, proof), "another receipt");
        assertFalse(accessLog.verify(hospital, 1, receipt, proof), "another batch");
        assertFalse(accessLog.verify(laboratory, 0, receipt, proof), "another gatekeeper");
        assertFalse(accessLog.verify(hospital, 0, receipt, new bytes32[](0)), "no proof");
        assertFalse(accessLog.verify(hospital, 0, leaves[place], proof), "a leaf is no receipt");
        assertFalse(accessLog.verify(hospital, 0, Merkle.rootOf(leaves), new bytes32[](0)), "the root is no receipt");
    }
}
