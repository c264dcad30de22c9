// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../../src/Ids.sol";
import {LabOrders} from "../../src/LabOrders.sol";
import {Steps} from "../support/Steps.sol";

/// @notice Who may do what when with an order whose result is critical, as a table.
contract LabOrdersSteps is Steps {
    bytes32 internal constant SALT = "order";
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = makeId(physician, SALT);
    }

    function workflow() internal view override returns (string memory, address) {
        return ("LabOrders", address(labOrders));
    }

    function states() internal pure override returns (string[] memory) {
        string[13] memory names;
        (names[0], names[1], names[2], names[3]) = ("None", "Ordered", "Collected", "Preliminary");
        (names[4], names[5], names[6], names[7]) = ("Resulted", "Overdue", "Seen", "Released");
        (names[8], names[9]) = ("Acknowledged", "Cancelled");
        return asList(names, 10);
    }

    function steps() internal view override returns (Step[] memory list) {
        list = new Step[](10);
        list[0] = Step("order", abi.encodeCall(LabOrders.order, (SALT, patient, laboratory, "digest")));
        list[1] = Step("collect", abi.encodeCall(LabOrders.collect, (id, "specimen")));
        list[2] = Step("take over", abi.encodeCall(LabOrders.takeOver, (id, "hand-over", 0)));
        list[3] = Step("report preliminary", abi.encodeCall(LabOrders.reportPreliminary, (id, "result", true)));
        list[4] = Step("report", abi.encodeCall(LabOrders.report, (id, "result", true)));
        list[5] = Step("correct", abi.encodeCall(LabOrders.correct, (id, "corrected", true)));
        list[6] = Step("release", abi.encodeCall(LabOrders.release, (id, "result")));
        list[7] = Step("acknowledge", abi.encodeCall(LabOrders.acknowledge, (id, "result")));
        list[8] = Step("escalate", abi.encodeCall(LabOrders.escalate, (id)));
        list[9] = Step("cancel", abi.encodeCall(LabOrders.cancel, (id)));
    }

    function reach(uint256 state) internal override {
        if (state == 0) return;
        vm.prank(physician);
        labOrders.order(SALT, patient, laboratory, "digest");
        if (state == 9) {
            vm.prank(physician);
            labOrders.cancel(id);
        }
        if (state == 1 || state == 9) return;
        vm.prank(nurse);
        labOrders.collect(id, "specimen");
        if (state == 2) return;
        vm.prank(scientist);
        if (state == 3) {
            labOrders.reportPreliminary(id, "result", true);
            return;
        }
        labOrders.report(id, "result", true);
        if (state == 5) vm.warp(block.timestamp + 1 hours);
        if (state == 6 || state == 8) {
            vm.prank(surgeon);
            labOrders.acknowledge(id, "result");
        }
        if (state == 7 || state == 8) {
            vm.prank(scientist);
            labOrders.release(id, "result");
        }
    }
}
