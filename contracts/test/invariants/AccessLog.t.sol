// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessLog} from "../../src/AccessLog.sol";
import {Network} from "../support/Network.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Appends to three logs, one of them of nobody, on heads of any age.
contract AccessLogHandler is Handler {
    AccessLog internal immutable LOG;
    address[] public gatekeepers;

    struct Batch {
        bytes32 root;
        bytes32 head;
    }

    mapping(address gatekeeper => Batch[]) internal _batches;
    mapping(address gatekeeper => uint256) public receipts;

    constructor(AccessLog log, address[] memory gatekeepers_) {
        LOG = log;
        gatekeepers = gatekeepers_;
    }

    /// @dev The last of the gatekeepers is no institution.
    function append(uint256 seed) external seeded(seed) {
        uint256 who = random(gatekeepers.length);
        address gatekeeper = gatekeepers[who];
        Batch[] storage batches = _batches[gatekeeper];
        bytes32 present = batches.length == 0 ? bytes32(0) : batches[batches.length - 1].head;
        bytes32 given = present;
        if (chance(30)) {
            given = chance(50) || batches.length == 0 ? bytes32(random(3)) : batches[random(batches.length)].head;
        }
        bytes32 root = chance(95) ? bytes32(random(type(uint256).max)) : bytes32(0);
        uint32 size = uint32(random(1000));

        bool expected = who != gatekeepers.length - 1 && root != 0 && size != 0 && given == present;
        bytes memory data = abi.encodeCall(AccessLog.append, (root, size, given));
        if (!attempt(gatekeeper, address(LOG), data, expected, "W3: appends on the present head only")) return;

        bytes32 head = keccak256(abi.encode(present, batches.length, root, size, receipts[gatekeeper]));
        batches.push(Batch(root, head));
        receipts[gatekeeper] += size;
    }

    function batchesOf(address gatekeeper) external view returns (Batch[] memory) {
        return _batches[gatekeeper];
    }

    function count() external view returns (uint256) {
        return gatekeepers.length;
    }
}

contract AccessLogInvariants is Network, InvariantTest {
    AccessLogHandler internal handler;

    function setUp() public override {
        super.setUp();
        address[] memory gatekeepers = new address[](3);
        (gatekeepers[0], gatekeepers[1], gatekeepers[2]) = (hospital, laboratory, stranger);
        handler = new AccessLogHandler(accessLog, gatekeepers);
        target(address(handler));
    }

    /// @dev W1: every root ever appended is still there, and nothing beside it.
    function invariant_W1_a_log_only_grows() public view everyFew(handler.calls()) {
        for (uint256 i; i < handler.count(); ++i) {
            address gatekeeper = handler.gatekeepers(i);
            AccessLogHandler.Batch[] memory batches = handler.batchesOf(gatekeeper);
            assertEq(accessLog.logOf(gatekeeper).batches, batches.length, "batches");
            assertEq(accessLog.logOf(gatekeeper).receipts, handler.receipts(gatekeeper), "receipts");
            for (uint256 j; j < batches.length; ++j) {
                assertEq(accessLog.rootAt(gatekeeper, j), batches[j].root, "root");
            }
            assertEq(accessLog.rootAt(gatekeeper, batches.length), 0, "no root beyond");
        }
    }

    /// @dev W2: the head is the one that follows from all batches; W3 is in the handler.
    function invariant_W2_the_head_commits_to_all_batches() public view everyFew(handler.calls()) {
        for (uint256 i; i < handler.count(); ++i) {
            address gatekeeper = handler.gatekeepers(i);
            AccessLogHandler.Batch[] memory batches = handler.batchesOf(gatekeeper);
            bytes32 head = batches.length == 0 ? bytes32(0) : batches[batches.length - 1].head;
            assertEq(accessLog.logOf(gatekeeper).head, head, "head");
        }
    }
}
