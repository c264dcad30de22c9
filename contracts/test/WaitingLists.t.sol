// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../src/Ids.sol";
import {InstitutionRole} from "../src/Types.sol";
import {WaitingLists} from "../src/WaitingLists.sol";
import {Merkle} from "./support/Merkle.sol";
import {Steps} from "./support/Steps.sol";

contract WaitingListsTest is Steps {
    bytes32 internal constant SALT = "listing";
    bytes32 internal constant HOSPITAL = "0904";
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = makeId(referrer, SALT);
    }

    /* The table */

    function workflow() internal view override returns (string memory, address) {
        return ("WaitingLists", address(waitingLists));
    }

    function states() internal pure override returns (string[] memory) {
        string[13] memory names;
        (names[0], names[1], names[2], names[3]) = ("None", "Listed", "Prioritised", "Scheduled");
        (names[4], names[5]) = ("Attended", "Removed");
        return asList(names, 6);
    }

    function steps() internal view override returns (Step[] memory list) {
        list = new Step[](7);
        list[0] = Step("list", abi.encodeCall(WaitingLists.list, (SALT, patient, hospital, "referral", "entry")));
        list[1] = Step("prioritise", abi.encodeCall(WaitingLists.prioritise, (id, 2)));
        list[2] = Step("schedule", abi.encodeCall(WaitingLists.schedule, (id, time())));
        list[3] = Step("attend", abi.encodeCall(WaitingLists.attend, (id)));
        list[4] = Step("miss", abi.encodeCall(WaitingLists.miss, (id)));
        list[5] = Step("remove", abi.encodeCall(WaitingLists.remove, (id, "reason")));
        list[6] =
            Step("publish census", abi.encodeCall(WaitingLists.publishCensus, (HOSPITAL, 202_701, "root", 1, 1)));
    }

    function reach(uint256 state) internal override {
        if (state >= 1) listAs(referrer, SALT, patient);
        if (state >= 2) {
            vm.prank(surgeon);
            waitingLists.prioritise(id, 2);
        }
        if (state >= 3) schedule(time());
        if (state == 4) {
            vm.prank(nurse);
            waitingLists.attend(id);
        }
        if (state == 5) remove();
    }

    function listAs(address who, bytes32 salt, address whom) internal returns (bytes32) {
        vm.prank(who);
        return waitingLists.list(salt, whom, hospital, "referral", "entry");
    }

    function schedule(uint40 appointmentAt) internal {
        vm.prank(nurse);
        waitingLists.schedule(id, appointmentAt);
    }

    function remove() internal {
        vm.prank(patient);
        waitingLists.remove(id, "reason");
    }

    /* list
     * ├── no steward of the patient → NotActive
     * ├── at no hospital → NotHospital
     * ├── a salt that the caller used → AlreadyListed
     * ├── a referral that is live there → StillLive
     * ├── the same referral for another patient: nothing is blocked
     * └── again after the end: listed
     */

    function test_only_a_steward_lists_and_only_at_a_hospital() public {
        vm.expectRevert(abi.encodeWithSelector(WaitingLists.NotActive.selector, otherPatient, clinic));
        listAs(referrer, SALT, otherPatient);
        vm.expectRevert(
            abi.encodeWithSelector(WaitingLists.NotHospital.selector, laboratory, InstitutionRole.Laboratory)
        );
        vm.prank(referrer);
        waitingLists.list(SALT, patient, laboratory, "referral", "entry");
    }

    function test_Q1_a_referral_is_live_once() public {
        relate(otherPatient, clinic, false);
        bytes32 foreign = listAs(otherSurgeon, "salt", otherPatient);
        reach(1);
        assertTrue(foreign != id, "another listing");
        vm.expectRevert(abi.encodeWithSelector(WaitingLists.StillLive.selector, bytes32("referral"), id));
        listAs(otherSurgeon, "other salt", patient);
        vm.expectRevert(abi.encodeWithSelector(WaitingLists.AlreadyListed.selector, id));
        listAs(referrer, SALT, patient);
        remove();
        assertEq(waitingLists.liveOf(hospital, patient, "referral"), bytes32(0), "none live");
        bytes32 next = listAs(otherSurgeon, "other salt", patient);
        assertEq(waitingLists.liveOf(hospital, patient, "referral"), next, "the next");
    }

    /* the rest
     * ├── a priority of none, or beyond the last → InvalidPriority
     * ├── an appointment in the past, or too far ahead → InvalidTime
     * ├── attended or missed a second before the time → InvalidTime
     * ├── missed: waits on, since the same time
     * └── removed without a reason → Zero
     */

    function test_a_priority_is_one_of_four() public {
        reach(1);
        vm.expectRevert(abi.encodeWithSelector(WaitingLists.InvalidPriority.selector, 0, 4));
        vm.prank(surgeon);
        waitingLists.prioritise(id, 0);
        vm.expectRevert(abi.encodeWithSelector(WaitingLists.InvalidPriority.selector, 5, 4));
        vm.prank(surgeon);
        waitingLists.prioritise(id, 5);
    }

    function test_an_appointment_is_kept_at_its_time() public {
        reach(2);
        uint40 now_ = time();
        vm.expectRevert(abi.encodeWithSelector(WaitingLists.InvalidTime.selector, now_ - 1, now_, now_ + 2 * 366 days));
        schedule(now_ - 1);
        schedule(now_ + 2 * 366 days);
        schedule(now_ + 1 days);
        skip(1 days - 1);
        vm.expectRevert(
            abi.encodeWithSelector(WaitingLists.InvalidTime.selector, time(), now_ + 1 days, type(uint40).max)
        );
        vm.prank(nurse);
        waitingLists.attend(id);
        skip(1);
        vm.expectEmit(address(waitingLists));
        emit WaitingLists.PatientAttended(id, patient, nurse, 1 days);
        vm.prank(nurse);
        waitingLists.attend(id);
    }

    function test_Q2_who_missed_waits_on_since_the_same_time() public {
        reach(2);
        uint40 listedAt = time();
        for (uint256 i; i < 3; ++i) {
            skip(1 days);
            schedule(time());
            vm.prank(nurse);
            waitingLists.miss(id);
        }
        WaitingLists.Listing memory listing = waitingLists.listingOf(id);
        assertEq(listing.listedAt, listedAt, "since");
        assertEq(listing.missed, 3, "missed");
        assertEq(listing.priority, 2, "priority");
        assertEq(uint256(listing.state), uint256(WaitingLists.State.Prioritised), "state");
    }

    function test_a_removal_has_a_reason() public {
        reach(1);
        vm.expectRevert(WaitingLists.Zero.selector);
        vm.prank(patient);
        waitingLists.remove(id, 0);
    }

    /* census
     * ├── a month that is none, or in the future → InvalidMonth
     * ├── without root or rows → InvalidCensus
     * ├── again: another version, the first stays
     * ├── any row is proven, no other is
     * └── the total is that of all rows in their order, and of nothing else
     */

    function publish(uint32 month, bytes32 root, uint32 rows, uint64 total) internal returns (uint256) {
        vm.prank(regulator);
        return waitingLists.publishCensus(HOSPITAL, month, root, rows, total);
    }

    /// @dev The tests' time is in January 2027.
    function test_a_month_is_a_month_and_over_or_running() public {
        uint32[5] memory wrong = [uint32(202_613), 202_600, 0, 202_702, 196_912];
        for (uint256 i; i < 5; ++i) {
            vm.expectRevert(abi.encodeWithSelector(WaitingLists.InvalidMonth.selector, wrong[i]));
            publish(wrong[i], "root", 1, 1);
        }
        publish(202_701, "root", 1, 1);
        publish(202_612, "root", 1, 1);
        vm.warp(1_835_481_599);
        vm.expectRevert(abi.encodeWithSelector(WaitingLists.InvalidMonth.selector, 202_803));
        publish(202_803, "root", 1, 1);
        skip(1);
        publish(202_803, "root", 1, 1);
        vm.expectRevert(abi.encodeWithSelector(WaitingLists.InvalidCensus.selector, bytes32(0), 1));
        publish(202_701, 0, 1, 1);
        vm.expectRevert(abi.encodeWithSelector(WaitingLists.InvalidCensus.selector, bytes32("root"), 0));
        publish(202_701, "root", 0, 1);
    }

    function test_Q4_a_correction_stands_beside_the_first() public {
        assertEq(publish(202_612, "first", 3, 30), 1, "first version");
        assertEq(publish(202_612, "second", 4, 40), 2, "second version");
        assertEq(waitingLists.censusOf(regulator, HOSPITAL, 202_612, 1).root, bytes32("first"), "first");
        assertEq(waitingLists.censusOf(regulator, HOSPITAL, 202_612, 2).total, 40, "second");
        assertEq(waitingLists.censusOf(regulator, HOSPITAL, 202_612, 3).root, bytes32(0), "no third");
        assertEq(waitingLists.versionsOf(regulator, HOSPITAL, 202_612), 2, "versions");
    }

    function isRow(uint256 version, uint256 number, WaitingLists.Row memory row, bytes32[] memory proof)
        internal
        view
        returns (bool)
    {
        return waitingLists.isRow(regulator, HOSPITAL, 202_612, version, uint32(number), row, proof);
    }

    /// @dev Q5: neighbours and whole halves that change places make another census.
    function testFuzz_Q5_another_order_is_another_census(uint256 seed, uint256 size, uint256 one, uint256 other)
        public
    {
        size = bound(size, 2, 40);
        (one, other) = (bound(one, 0, size - 1), bound(other, 0, size - 1));
        WaitingLists.Row[] memory rows = new WaitingLists.Row[](size);
        bytes32[] memory leaves = new bytes32[](size);
        for (uint256 i; i < size; ++i) {
            rows[i] = WaitingLists.Row(uint16(i), keccak256(abi.encode(seed, i)), 10);
            leaves[i] = waitingLists.leafOf(uint32(i), rows[i]);
        }
        publish(202_612, Merkle.rootOf(leaves), uint32(size), uint64(10 * size));
        assertTrue(waitingLists.isTotal(regulator, HOSPITAL, 202_612, 1, rows), "in their order");
        (rows[one], rows[other]) = (rows[other], rows[one]);
        assertEq(waitingLists.isTotal(regulator, HOSPITAL, 202_612, 1, rows), one == other, "in another");
        (rows[one], rows[other]) = (rows[other], rows[one]);
        if (one == other) other = (one + 1) % size;
        (rows[one], rows[other]) = (rows[other], rows[one]);
        assertFalse(waitingLists.isTotal(regulator, HOSPITAL, 202_612, 1, rows), "in another, surely");
    }

    /// @dev Q5, with the tree of the tests, which is written apart.
    function testFuzz_Q5_rows_are_provable_and_the_total_is_theirs(uint256 seed, uint256 size, uint256 pick) public {
        size = bound(size, 1, 60);
        WaitingLists.Row[] memory rows = new WaitingLists.Row[](size);
        bytes32[] memory leaves = new bytes32[](size);
        uint64 total;
        for (uint256 i; i < size; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            rows[i] = WaitingLists.Row(uint16(seed), bytes32(seed), uint32(seed >> 16) % 1000);
            leaves[i] = waitingLists.leafOf(uint32(i), rows[i]);
            total += rows[i].count;
        }
        publish(202_612, Merkle.rootOf(leaves), uint32(size), total);
        pick = bound(pick, 0, size - 1);
        bytes32[] memory proof = Merkle.proofOf(leaves, pick);
        assertTrue(isRow(1, pick, rows[pick], proof), "a row");
        assertFalse(isRow(2, pick, rows[pick], proof), "of that version");
        assertFalse(isRow(1, pick + 1, rows[pick], proof), "under that number");
        assertTrue(waitingLists.isTotal(regulator, HOSPITAL, 202_612, 1, rows), "the total");

        publish(202_612, Merkle.rootOf(leaves), uint32(size), total + 1);
        assertFalse(waitingLists.isTotal(regulator, HOSPITAL, 202_612, 2, rows), "another total");
        rows[pick].count += 1;
        assertFalse(isRow(1, pick, rows[pick], proof), "a changed row");
        assertFalse(waitingLists.isTotal(regulator, HOSPITAL, 202_612, 1, rows), "a changed total");
        // Another row takes what the first was given: the sum is right, the rows are not.
        if (size == 1) return;
        uint256 other = (pick + 1) % size;
        if (rows[other].count == 0) return;
        rows[other].count -= 1;
        assertFalse(waitingLists.isTotal(regulator, HOSPITAL, 202_612, 1, rows), "changed rows, right sum");
        assertFalse(waitingLists.isTotal(regulator, HOSPITAL, 202_612, 1, new WaitingLists.Row[](0)), "no rows");
    }
}
