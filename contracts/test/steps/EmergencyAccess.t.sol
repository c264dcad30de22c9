// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EmergencyAccess} from "../../src/EmergencyAccess.sol";
import {Steps} from "../support/Steps.sol";

/// @notice Who may do what when with an opening of a paramedic's, as a table.
contract EmergencyAccessSteps is Steps {
    EmergencyAccess.Opening internal opening;

    function setUp() public override {
        super.setUp();
        opening = EmergencyAccess.Opening(patient, paramedic, emergency, time(), time() + 1 hours, 1, "reason");
    }

    function workflow() internal view override returns (string memory, address) {
        return ("EmergencyAccess", address(emergencies));
    }

    function states() internal pure override returns (string[] memory) {
        string[13] memory names;
        (names[0], names[1], names[2], names[3]) = ("None", "OptedOut", "Running", "Ended");
        (names[4], names[5], names[6], names[7]) = ("Over", "Unjustified", "Reviewed", "ReviewOverdue");
        return asList(names, 8);
    }

    function steps() internal view override returns (Step[] memory list) {
        EmergencyAccess.Opening memory held = opening;
        list = new Step[](5);
        list[0] = Step("open", abi.encodeCall(EmergencyAccess.open, (patient, 1, 1 hours, "reason")));
        list[1] = Step("end", abi.encodeCall(EmergencyAccess.end, (held)));
        list[2] =
            Step("review", abi.encodeCall(EmergencyAccess.review, (held, EmergencyAccess.Verdict.Justified, "note")));
        list[3] = Step(
            "reviewAsUnjustified",
            abi.encodeCall(EmergencyAccess.review, (held, EmergencyAccess.Verdict.Unjustified, "note"))
        );
        list[4] = Step("restrict", abi.encodeCall(EmergencyAccess.restrict, (1, true)));
    }

    function reach(uint256 state) internal override {
        if (state == 0) return;
        if (state == 1) {
            vm.prank(patient);
            emergencies.restrict(0, true);
            return;
        }
        vm.prank(paramedic);
        emergencies.open(patient, 1, 1 hours, "reason");
        if (state == 3) {
            vm.prank(patient);
            emergencies.end(opening);
        }
        if (state == 4 || state == 6) vm.warp(block.timestamp + 1 hours);
        if (state == 5 || state == 6) {
            EmergencyAccess.Verdict verdict =
                state == 5 ? EmergencyAccess.Verdict.Unjustified : EmergencyAccess.Verdict.Justified;
            vm.prank(officer);
            emergencies.review(opening, verdict, "note");
        }
        if (state == 7) vm.warp(block.timestamp + 72 hours);
    }
}
