// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {WideNetwork} from "./WideNetwork.sol";

/// @notice Tries every step of a workflow from every state as everybody, and compares what was allowed with
/// a committed table: whatever is not in it was refused.
///
/// After a change that is meant: `SALUS_WRITE_TABLES=true npx forge test --match-test is_the_table`.
abstract contract Steps is WideNetwork {
    struct Actor {
        string name;
        address who;
    }

    struct Step {
        string name;
        bytes data;
    }

    /// @notice Of the table's file, and what it is about.
    function workflow() internal view virtual returns (string memory name, address where);

    /// @notice The states that are tried, in order.
    function states() internal view virtual returns (string[] memory);

    /// @notice Brings the workflow from the beginning to a state of that list.
    function reach(uint256 state) internal virtual;

    /// @notice Every step, such that a rightful caller in the right state succeeds.
    function steps() internal view virtual returns (Step[] memory);

    function test_who_may_do_what_when_is_the_table() public {
        (string memory name, address where) = workflow();
        string memory table =
            string.concat(name, ": state, step, and who may. Whatever is not here is refused, by test.\n\n");
        uint256 start = vm.snapshotState();
        string[] memory all = states();
        for (uint256 i; i < all.length; ++i) {
            vm.revertToState(start);
            start = vm.snapshotState();
            reach(i);
            table = string.concat(table, _rows(all[i], where));
        }
        string memory path = string.concat("test/tables/", name, ".txt");
        if (vm.envOr("SALUS_WRITE_TABLES", false)) vm.writeFile(path, table);
        assertEq(bytes(table), bytes(vm.readFile(path)), table);
    }

    function _rows(string memory state, address where) private returns (string memory rows) {
        Actor[] memory everybody = actors();
        Step[] memory all = steps();
        uint256 here = vm.snapshotState();
        for (uint256 i; i < all.length; ++i) {
            (string memory who, uint256 allowed) = ("", 0);
            for (uint256 j; j < everybody.length; ++j) {
                vm.prank(everybody[j].who);
                (bool success,) = where.call(all[i].data);
                if (!success) continue;
                ++allowed;
                who = string.concat(who, bytes(who).length == 0 ? "" : ", ", everybody[j].name);
                vm.revertToState(here);
                here = vm.snapshotState();
            }
            if (bytes(who).length == 0) continue;
            if (allowed == everybody.length) who = "everybody";
            rows = string.concat(rows, _padded(state, 16), _padded(all[i].name, 24), who, "\n");
        }
    }

    function _padded(string memory text, uint256 width) private pure returns (string memory padded) {
        padded = text;
        for (uint256 i = bytes(text).length; i < width; ++i) {
            padded = string.concat(padded, " ");
        }
    }

    /// @notice Everybody, rightful or not: one of each role, at the right institution and at another one.
    function actors() internal view virtual returns (Actor[] memory list) {
        list = new Actor[](27);
        list[0] = Actor("patient", patient);
        list[1] = Actor("other patient", otherPatient);
        list[2] = Actor("surgeon", surgeon);
        list[3] = Actor("physician", physician);
        list[4] = Actor("nurse", nurse);
        list[5] = Actor("referrer", referrer);
        list[6] = Actor("other surgeon", otherSurgeon);
        list[7] = Actor("other nurse", otherNurse);
        list[8] = Actor("site researcher", siteResearcher);
        list[9] = Actor("trial pharmacist", trialPharmacist);
        list[10] = Actor("hospital officer", hospitalOfficer);
        list[11] = Actor("pharmacist", pharmacist);
        list[12] = Actor("scientist", scientist);
        list[13] = Actor("paramedic", paramedic);
        list[14] = Actor("officer", officer);
        list[15] = Actor("adjudicator", adjudicator);
        list[16] = Actor("second adjudicator", secondAdjudicator);
        list[17] = Actor("researcher", researcher);
        list[18] = Actor("auditor", auditor);
        list[19] = Actor("hospital", hospital);
        list[20] = Actor("clinic", clinic);
        list[21] = Actor("insurer", insurer);
        list[22] = Actor("research", research);
        list[23] = Actor("regulator", regulator);
        list[24] = Actor("maker", maker);
        list[25] = Actor("pharmacy", pharmacy);
        list[26] = Actor("stranger", stranger);
    }

    function asList(string[13] memory names, uint256 count) internal pure returns (string[] memory list) {
        list = new string[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = names[i];
        }
    }
}
