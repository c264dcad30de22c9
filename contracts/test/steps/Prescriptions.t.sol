// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../../src/Ids.sol";
import {Prescriptions} from "../../src/Prescriptions.sol";
import {Steps} from "../support/Steps.sol";

/// @notice Who may do what when with a prescription of two fills, as a table.
contract PrescriptionsSteps is Steps {
    bytes32 internal constant SALT = "prescription";
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = makeId(physician, SALT);
    }

    function workflow() internal view override returns (string memory, address) {
        return ("Prescriptions", address(prescriptions));
    }

    function states() internal pure override returns (string[] memory) {
        string[13] memory names;
        (names[0], names[1], names[2], names[3]) = ("None", "Unsigned", "Issued", "Permitted");
        (names[4], names[5], names[6], names[7]) = ("Claimed", "PartlyDispensed", "FirstFilled", "Completed");
        (names[8], names[9]) = ("Cancelled", "Expired");
        return asList(names, 10);
    }

    function steps() internal view override returns (Step[] memory list) {
        list = new Step[](12);
        list[0] = Step("issue", abi.encodeCall(Prescriptions.issue, (SALT, terms())));
        list[1] = Step("issue controlled", abi.encodeCall(Prescriptions.issueControlled, (SALT, terms())));
        list[2] = Step("countersign", abi.encodeCall(Prescriptions.countersign, (id)));
        list[3] = Step("forbid substitution", abi.encodeCall(Prescriptions.forbidSubstitution, (id)));
        list[4] = Step("permit", abi.encodeCall(Prescriptions.permit, (id, pharmacy)));
        list[5] = Step("withdraw permit", abi.encodeCall(Prescriptions.withdrawPermit, (id, pharmacy)));
        list[6] = Step("cancel", abi.encodeCall(Prescriptions.cancel, (id)));
        list[7] = Step("claim", abi.encodeCall(Prescriptions.claim, (id)));
        list[8] = Step("release", abi.encodeCall(Prescriptions.release, (id)));
        list[9] = Step("substitute", abi.encodeCall(Prescriptions.substitute, (id, "product", "reason")));
        list[10] = Step("dispense", abi.encodeCall(Prescriptions.dispense, (id, dispensing(10))));
        list[11] = Step("confirm collection", abi.encodeCall(Prescriptions.confirmCollection, (id, 1)));
    }

    function reach(uint256 state) internal override {
        if (state == 0) return;
        vm.prank(physician);
        if (state == 1) {
            prescriptions.issueControlled(SALT, terms());
            return;
        }
        prescriptions.issue(SALT, terms());
        if (state == 2) return;
        vm.prank(physician);
        prescriptions.permit(id, pharmacy);
        vm.prank(patient);
        prescriptions.permit(id, pharmacy);
        if (state >= 4) claim();
        if (state == 5) dispense(10);
        if (state == 6 || state == 7) dispense(30);
        if (state == 7) {
            claim();
            dispense(30);
        }
        if (state == 8) {
            vm.prank(patient);
            prescriptions.cancel(id);
        }
        if (state == 9) vm.warp(block.timestamp + 90 days);
    }

    function terms() internal view returns (Prescriptions.Terms memory) {
        return Prescriptions.Terms(patient, "digest", 30, 2, time() + 90 days, 0);
    }

    function dispensing(uint32 quantity) internal view returns (Prescriptions.Dispensing memory) {
        return Prescriptions.Dispensing(quantity, time() + 365 days, "batch", "record");
    }

    function claim() internal {
        vm.prank(pharmacist);
        prescriptions.claim(id);
    }

    function dispense(uint32 quantity) internal {
        vm.prank(pharmacist);
        prescriptions.dispense(id, dispensing(quantity));
    }
}
