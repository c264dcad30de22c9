// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../src/Ids.sol";
import {LabOrders} from "../src/LabOrders.sol";
import {Registry} from "../src/Registry.sol";
import {InstitutionRole, ProfessionalRole} from "../src/Types.sol";
import {Network} from "./support/Network.sol";

contract LabOrdersTest is Network {
    bytes32 internal constant SALT = "order";
    bytes32 internal ID = makeId(physician, SALT);
    address internal colleague = vm.addr(0xE01);
    address internal outsider = vm.addr(0xE02);
    address internal otherScientist = vm.addr(0xE03);

    function setUp() public override {
        super.setUp();
        relate(patient, hospital, false);
        accredit(hospital, colleague, ProfessionalRole.Surgeon);
        accredit(emergency, outsider, ProfessionalRole.Physician);
        accredit(hospital, otherScientist, ProfessionalRole.LaboratoryScientist);
    }

    function order() internal {
        vm.prank(physician);
        labOrders.order(SALT, patient, laboratory, "digest");
    }

    function collect(address who) internal {
        vm.prank(who);
        labOrders.collect(ID, "specimen");
    }

    function report(address who, bool critical) internal {
        latest = "result";
        vm.prank(who);
        labOrders.report(ID, "result", critical);
    }

    /// @dev What is released and acknowledged here is the latest. Said first: a test expects the next call to revert.
    bytes32 internal latest = "result";

    function release(address who) internal {
        vm.prank(who);
        labOrders.release(ID, latest);
    }

    function acknowledge(address who) internal {
        vm.prank(who);
        labOrders.acknowledge(ID, latest);
    }

    function cancel(address who) internal {
        vm.prank(who);
        labOrders.cancel(ID);
    }

    function check(LabOrders.State state) internal view {
        assertEq(uint256(labOrders.stateOf(ID)), uint256(state), "state");
    }

    function refuseState(LabOrders.State state) internal {
        vm.expectRevert(abi.encodeWithSelector(LabOrders.WrongState.selector, ID, state));
    }

    function refuseRole(address who, ProfessionalRole role, address institution) internal {
        vm.expectRevert(abi.encodeWithSelector(LabOrders.NotAllowed.selector, who, role, institution));
    }

    function refuseStranger() internal {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, stranger));
    }

    /* order
     * ├── by anybody but a professional in force → NotProfessional
     * ├── by another role than physician or surgeon → NotAllowed
     * ├── the institution keeps no records for the patient → NotActive
     * ├── to an institution that is no laboratory → NotLaboratory
     * ├── with a salt that the caller used → AlreadyOrdered; somebody else's: another identifier
     * └── otherwise: Ordered
     */

    function test_only_doctors_order() public {
        refuseStranger();
        vm.prank(stranger);
        labOrders.order(SALT, patient, laboratory, "digest");
        refuseRole(nurse, ProfessionalRole.Nurse, hospital);
        vm.prank(nurse);
        labOrders.order(SALT, patient, laboratory, "digest");
        vm.prank(colleague);
        labOrders.order(SALT, patient, laboratory, "digest");
    }

    function test_only_a_steward_orders() public {
        vm.expectRevert(abi.encodeWithSelector(LabOrders.NotActive.selector, patient, emergency));
        vm.prank(outsider);
        labOrders.order(SALT, patient, laboratory, "digest");
    }

    function test_only_a_laboratory_is_ordered_from() public {
        vm.expectRevert(abi.encodeWithSelector(LabOrders.NotLaboratory.selector, pharmacy, InstitutionRole.Pharmacy));
        vm.prank(physician);
        labOrders.order(SALT, patient, pharmacy, "digest");
    }

    function test_an_identifier_is_used_once() public {
        order();
        vm.expectRevert(abi.encodeWithSelector(LabOrders.AlreadyOrdered.selector, ID));
        order();
        cancel(patient);
        vm.expectRevert(abi.encodeWithSelector(LabOrders.AlreadyOrdered.selector, ID));
        order();
    }

    /// @dev O6: who sees a salt on its way and is faster takes an identifier of their own.
    function test_O6_an_identifier_belongs_to_who_ordered() public {
        vm.prank(colleague);
        bytes32 copied = labOrders.order(SALT, patient, laboratory, "digest");
        assertEq(copied, makeId(colleague, SALT), "the colleague's");
        check(LabOrders.State.None);
        vm.prank(physician);
        assertEq(labOrders.order(SALT, patient, laboratory, "digest"), ID, "the physician's");
    }

    function test_an_order() public {
        check(LabOrders.State.None);
        vm.expectEmit(address(labOrders));
        emit LabOrders.LabOrdered(ID, patient, laboratory, physician, hospital, "digest");
        order();
        check(LabOrders.State.Ordered);
        LabOrders.Order memory stored = labOrders.orderOf(ID);
        assertEq(stored.patient, patient, "patient");
        assertEq(stored.orderer, physician, "orderer");
        assertEq(stored.institution, hospital, "institution");
        assertEq(stored.laboratory, laboratory, "laboratory");
    }

    /* collect
     * ├── not Ordered → WrongState
     * ├── by anybody but a professional in force → NotProfessional
     * ├── by a scientist of another institution, a nurse of another one, another role → NotAllowed
     * └── by a scientist of the laboratory or a nurse of the ordering institution: Collected
     */

    function test_only_what_is_ordered_is_collected() public {
        refuseState(LabOrders.State.None);
        collect(scientist);
        order();
        collect(scientist);
        refuseState(LabOrders.State.Collected);
        collect(scientist);
    }

    function test_only_the_two_institutions_collect() public {
        order();
        refuseStranger();
        collect(stranger);
        refuseRole(otherScientist, ProfessionalRole.LaboratoryScientist, hospital);
        collect(otherScientist);
        refuseRole(physician, ProfessionalRole.Physician, hospital);
        collect(physician);
        address otherNurse = vm.addr(0xE04);
        accredit(laboratory, otherNurse, ProfessionalRole.Nurse);
        refuseRole(otherNurse, ProfessionalRole.Nurse, laboratory);
        collect(otherNurse);
        vm.expectEmit(address(labOrders));
        emit LabOrders.SpecimenCollected(ID, patient, nurse, "specimen");
        collect(nurse);
        check(LabOrders.State.Collected);
    }

    /* report
     * ├── not Collected → WrongState
     * ├── by anybody but a professional in force → NotProfessional
     * ├── by anybody but a scientist of the laboratory → NotAllowed
     * └── otherwise: Resulted; a critical one is overdue from an hour later on until acknowledged
     */

    function test_only_what_is_collected_gets_a_result() public {
        order();
        refuseState(LabOrders.State.Ordered);
        report(scientist, false);
        collect(scientist);
        report(scientist, false);
        refuseState(LabOrders.State.Resulted);
        report(scientist, true);
    }

    function test_only_the_laboratory_reports() public {
        order();
        collect(scientist);
        refuseStranger();
        report(stranger, false);
        refuseRole(otherScientist, ProfessionalRole.LaboratoryScientist, hospital);
        report(otherScientist, false);
    }

    /// @dev O3.
    function test_a_critical_result_is_overdue_after_an_hour() public {
        order();
        collect(scientist);
        vm.expectEmit(address(labOrders));
        emit LabOrders.ResultReported(ID, patient, scientist, "result", true, time() + 1 hours);
        report(scientist, true);
        check(LabOrders.State.Resulted);
        skip(1 hours - 1);
        assertFalse(labOrders.isOverdue(ID), "the last second");
        skip(1);
        assertTrue(labOrders.isOverdue(ID), "the second after");
        release(scientist);
        assertTrue(labOrders.isOverdue(ID), "releasing is not acknowledging");
        acknowledge(physician);
        assertFalse(labOrders.isOverdue(ID), "acknowledged");
    }

    function test_another_result_is_never_overdue() public {
        order();
        assertFalse(labOrders.isOverdue(ID), "ordered");
        collect(scientist);
        vm.expectEmit(address(labOrders));
        emit LabOrders.ResultReported(ID, patient, scientist, "result", false, 0);
        report(scientist, false);
        skip(1000 days);
        assertFalse(labOrders.isOverdue(ID), "resulted");
    }

    /* release
     * ├── not Resulted → WrongState
     * ├── by anybody but a professional in force → NotProfessional
     * ├── by anybody but an ordering doctor or a scientist of the laboratory → NotAllowed
     * └── otherwise: Released, and the patient is alerted
     */

    function resulted() internal {
        order();
        collect(scientist);
        report(scientist, true);
    }

    function test_only_a_result_is_released() public {
        order();
        refuseState(LabOrders.State.Ordered);
        release(physician);
        collect(scientist);
        report(scientist, true);
        release(physician);
        refuseState(LabOrders.State.Released);
        release(physician);
    }

    function test_only_doctors_and_the_laboratory_release() public {
        resulted();
        refuseStranger();
        release(stranger);
        refuseRole(outsider, ProfessionalRole.Physician, emergency);
        release(outsider);
        refuseRole(nurse, ProfessionalRole.Nurse, hospital);
        release(nurse);
        vm.expectEmit(address(labOrders));
        emit LabOrders.ResultReleased(ID, patient, colleague, "result");
        release(colleague);
        check(LabOrders.State.Released);
    }

    /* acknowledge
     * ├── no result → WrongState
     * ├── again → AlreadyAcknowledged
     * ├── by anybody but an ordering doctor → NotProfessional, NotAllowed
     * ├── before the release: Resulted still, and Acknowledged with the release
     * └── after the release: Acknowledged
     */

    function test_only_a_result_is_acknowledged() public {
        refuseState(LabOrders.State.None);
        acknowledge(physician);
        order();
        refuseState(LabOrders.State.Ordered);
        acknowledge(physician);
    }

    /// @dev O2.
    function test_a_result_is_acknowledged_once() public {
        resulted();
        acknowledge(physician);
        vm.expectRevert(abi.encodeWithSelector(LabOrders.AlreadyAcknowledged.selector, ID));
        acknowledge(colleague);
    }

    function test_only_an_ordering_doctor_acknowledges() public {
        resulted();
        refuseStranger();
        acknowledge(stranger);
        refuseRole(outsider, ProfessionalRole.Physician, emergency);
        acknowledge(outsider);
        refuseRole(scientist, ProfessionalRole.LaboratoryScientist, laboratory);
        acknowledge(scientist);
        refuseRole(nurse, ProfessionalRole.Nurse, hospital);
        acknowledge(nurse);
        vm.expectEmit(address(labOrders));
        emit LabOrders.ResultAcknowledged(ID, patient, colleague, "result");
        acknowledge(colleague);
    }

    /// @dev A doctor who left cannot, and whoever is on duty can.
    function test_the_orderer_acknowledges_only_while_there() public {
        resulted();
        vm.prank(physician);
        registry.resign();
        accredit(emergency, physician, ProfessionalRole.Physician);
        refuseRole(physician, ProfessionalRole.Physician, emergency);
        acknowledge(physician);
        acknowledge(colleague);
    }

    function test_acknowledging_before_the_release() public {
        resulted();
        acknowledge(physician);
        check(LabOrders.State.Resulted);
        release(scientist);
        check(LabOrders.State.Acknowledged);
    }

    function test_acknowledging_after_the_release() public {
        resulted();
        release(scientist);
        check(LabOrders.State.Released);
        acknowledge(physician);
        check(LabOrders.State.Acknowledged);
    }

    /* cancel
     * ├── no order, or there is a result → WrongState
     * ├── by anybody but an ordering doctor or the patient → NotProfessional, NotAllowed
     * └── otherwise: Cancelled for good
     */

    /// @dev O4.
    function test_what_has_a_result_is_not_cancelled() public {
        refuseState(LabOrders.State.None);
        cancel(patient);
        resulted();
        refuseState(LabOrders.State.Resulted);
        cancel(patient);
    }

    function test_only_doctors_and_the_patient_cancel() public {
        order();
        refuseStranger();
        cancel(stranger);
        refuseRole(scientist, ProfessionalRole.LaboratoryScientist, laboratory);
        cancel(scientist);
        vm.expectEmit(address(labOrders));
        emit LabOrders.LabOrderCancelled(ID, patient, colleague);
        cancel(colleague);
        check(LabOrders.State.Cancelled);
        refuseState(LabOrders.State.Cancelled);
        collect(scientist);
    }

    function test_the_patient_cancels_after_collection() public {
        order();
        collect(scientist);
        vm.expectEmit(address(labOrders));
        emit LabOrders.LabOrderCancelled(ID, patient, patient);
        cancel(patient);
        refuseState(LabOrders.State.Cancelled);
        report(scientist, true);
        refuseState(LabOrders.State.Cancelled);
        cancel(patient);
    }

    /* preliminary and corrected results
     * ├── preliminary before the specimen is there, or after the final one → WrongState; by another → NotAllowed
     * ├── preliminary: still Collected, not released, no service; critical: the clock runs; no cancelling any more
     * ├── the final one after a critical preliminary: the clock runs on, whoever acknowledged starts it anew
     * ├── corrected before there is one, or after a cancellation → WrongState; by another → NotAllowed
     * ├── corrected: another version, to be released and acknowledged anew
     * └── at the two hundred fifty-sixth version → TooMany
     */

    function preliminary(address who, bool critical) internal {
        latest = "preliminary";
        vm.prank(who);
        labOrders.reportPreliminary(ID, "preliminary", critical);
    }

    function correct(address who, bytes32 digest, bool critical) internal {
        latest = digest;
        vm.prank(who);
        labOrders.correct(ID, digest, critical);
    }

    function collected() internal {
        order();
        collect(nurse);
    }

    function test_O1_a_preliminary_result_is_told_and_not_released() public {
        order();
        refuseState(LabOrders.State.Ordered);
        preliminary(scientist, false);
        collect(nurse);
        refuseRole(otherScientist, ProfessionalRole.LaboratoryScientist, hospital);
        preliminary(otherScientist, false);
        refuseState(LabOrders.State.Collected);
        acknowledge(physician);
        preliminary(scientist, false);
        check(LabOrders.State.Collected);
        assertEq(labOrders.resultOf(ID), bytes32("preliminary"), "result");
        refuseState(LabOrders.State.Collected);
        release(physician);
        refuseState(LabOrders.State.Collected);
        cancel(physician);
        acknowledge(physician);
        vm.expectRevert(abi.encodeWithSelector(LabOrders.AlreadyAcknowledged.selector, ID));
        acknowledge(physician);
        report(scientist, false);
        assertEq(labOrders.orderOf(ID).version, 1, "version");
        refuseState(LabOrders.State.Resulted);
        preliminary(scientist, false);
        // The final one is another: it is acknowledged by itself.
        latest = "result";
        acknowledge(physician);
    }

    function test_O3_reporting_again_does_not_buy_time() public {
        collected();
        preliminary(scientist, true);
        uint40 due = time() + 1 hours;
        skip(30 minutes);
        preliminary(scientist, true);
        assertEq(labOrders.orderOf(ID).acknowledgeBy, due, "the first clock");
        report(scientist, true);
        assertEq(labOrders.orderOf(ID).acknowledgeBy, due, "still");
        skip(30 minutes - 1);
        assertFalse(labOrders.isOverdue(ID), "a second before");
        skip(1);
        assertTrue(labOrders.isOverdue(ID), "overdue");
        acknowledge(physician);
        correct(scientist, "corrected", true);
        assertEq(labOrders.orderOf(ID).acknowledgeBy, time() + 1 hours, "a new result has a new clock");
        correct(scientist, "harmless", false);
        skip(2 hours);
        assertFalse(labOrders.isOverdue(ID), "not critical any more");
    }

    /// @dev O3: saying in between that it is harmless does not buy an hour.
    function test_O3_correcting_twice_does_not_buy_time() public {
        collected();
        report(scientist, true);
        uint40 due = time() + 1 hours;
        skip(50 minutes);
        correct(scientist, "harmless", false);
        skip(20 minutes);
        assertFalse(labOrders.isOverdue(ID), "not critical");
        correct(scientist, "critical again", true);
        assertEq(labOrders.orderOf(ID).acknowledgeBy, due, "the first time stands");
        assertTrue(labOrders.isOverdue(ID), "overdue at once");
        correct(scientist, "harmless again", false);
        acknowledge(physician);
        correct(scientist, "another", true);
        assertEq(labOrders.orderOf(ID).acknowledgeBy, time() + 1 hours, "once a doctor has seen it, a new one");
    }

    function test_O1_a_correction_is_released_and_acknowledged_anew() public {
        collected();
        refuseState(LabOrders.State.Collected);
        correct(scientist, "corrected", false);
        report(scientist, false);
        release(physician);
        acknowledge(physician);
        check(LabOrders.State.Acknowledged);
        refuseRole(physician, ProfessionalRole.Physician, hospital);
        correct(physician, "corrected", false);
        vm.expectEmit(address(labOrders));
        emit LabOrders.ResultCorrected(ID, patient, scientist, 2, "corrected", false, 0);
        correct(scientist, "corrected", false);
        check(LabOrders.State.Resulted);
        assertEq(labOrders.resultOf(ID), bytes32("corrected"), "result");
        release(scientist);
        check(LabOrders.State.Released);
        acknowledge(colleague);
        check(LabOrders.State.Acknowledged);
    }

    /// @dev O2: a correction that comes in first is neither released nor acknowledged by who saw the result before.
    function test_O2_a_version_is_released_and_acknowledged_as_it_was_seen() public {
        collected();
        report(scientist, true);
        correct(scientist, "corrected", true);
        bytes memory differs =
            abi.encodeWithSelector(LabOrders.ResultDiffers.selector, bytes32("corrected"), bytes32("result"));
        vm.expectRevert(differs);
        vm.prank(physician);
        labOrders.release(ID, "result");
        vm.expectRevert(differs);
        vm.prank(physician);
        labOrders.acknowledge(ID, "result");
        release(physician);
        acknowledge(physician);
        check(LabOrders.State.Acknowledged);
    }

    function test_O4_a_cancelled_order_is_not_corrected() public {
        collected();
        cancel(physician);
        refuseState(LabOrders.State.Cancelled);
        correct(scientist, "corrected", false);
        refuseState(LabOrders.State.Cancelled);
        preliminary(scientist, false);
    }

    function test_versions_are_bounded() public {
        collected();
        report(scientist, false);
        for (uint256 i; i < 254; ++i) {
            correct(scientist, bytes32(i + 1), false);
        }
        vm.expectRevert(abi.encodeWithSelector(LabOrders.TooMany.selector, 255));
        correct(scientist, "corrected", false);
    }

    /* the chain of custody
     * ├── before the specimen is there → WrongState; by another role or institution → NotAllowed
     * ├── from another head than the present → CustodyDiffers
     * └── the head holds everybody, in order
     */

    function takeOver(address who, bytes32 handOver, bytes32 head) internal {
        vm.prank(who);
        labOrders.takeOver(ID, handOver, head);
    }

    function test_O5_the_chain_of_custody_is_whole() public {
        order();
        refuseState(LabOrders.State.Ordered);
        takeOver(nurse, "courier", 0);
        collect(nurse);
        refuseRole(physician, ProfessionalRole.Physician, hospital);
        takeOver(physician, "courier", 0);
        refuseRole(otherScientist, ProfessionalRole.LaboratoryScientist, hospital);
        takeOver(otherScientist, "bench", 0);
        takeOver(nurse, "courier", 0);
        bytes32 head = keccak256(abi.encode(bytes32(0), nurse, bytes32("courier")));
        assertEq(labOrders.custodyOf(ID), head, "the nurse");
        vm.expectRevert(abi.encodeWithSelector(LabOrders.CustodyDiffers.selector, head, bytes32(0)));
        takeOver(scientist, "bench", 0);
        takeOver(scientist, "bench", head);
        head = keccak256(abi.encode(head, scientist, bytes32("bench")));
        assertEq(labOrders.custodyOf(ID), head, "and the scientist");
        report(scientist, false);
        refuseState(LabOrders.State.Resulted);
        takeOver(scientist, "fridge", head);
    }

    /* escalation
     * ├── before it is overdue, or when it is acknowledged or not critical → NotOverdue
     * ├── by another institution, a scientist of another laboratory, or another role → NotAllowed
     * ├── again within an hour → AlreadyEscalated
     * └── overdue: told, counted, and overdue still
     */

    function escalate(address who) internal {
        vm.prank(who);
        labOrders.escalate(ID);
    }

    function test_an_overdue_result_is_escalated() public {
        collected();
        vm.expectRevert(abi.encodeWithSelector(LabOrders.NotOverdue.selector, ID));
        escalate(scientist);
        report(scientist, true);
        skip(1 hours - 1);
        vm.expectRevert(abi.encodeWithSelector(LabOrders.NotOverdue.selector, ID));
        escalate(scientist);
        skip(1);
        refuseRole(outsider, ProfessionalRole.Physician, emergency);
        escalate(outsider);
        address clerk = vm.addr(0xE04);
        accredit(hospital, clerk, ProfessionalRole.PrivacyOfficer);
        refuseRole(clerk, ProfessionalRole.PrivacyOfficer, hospital);
        escalate(clerk);
        uint40 due = labOrders.orderOf(ID).acknowledgeBy;
        escalate(scientist);
        assertEq(labOrders.orderOf(ID).escalations, 1, "once");
        assertTrue(labOrders.isOverdue(ID), "O3: overdue still");
        assertEq(labOrders.orderOf(ID).acknowledgeBy, due, "O3: the first time stands");
        skip(1 hours - 1);
        vm.expectRevert(abi.encodeWithSelector(LabOrders.AlreadyEscalated.selector, ID, time() + 1));
        escalate(nurse);
        skip(1);
        escalate(nurse);
        assertEq(labOrders.orderOf(ID).escalations, 2, "twice");
        acknowledge(colleague);
        skip(1 hours);
        vm.expectRevert(abi.encodeWithSelector(LabOrders.NotOverdue.selector, ID));
        escalate(nurse);
    }

    function test_a_laboratory_that_was_voted_out_reports_nothing() public {
        collected();
        expel(laboratory);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, scientist));
        report(scientist, false);
        cancel(physician);
    }

    /* the service
     * ├── before the final result: none
     * └── from the first final result on: the latest version as evidence, completed when the first came in
     */

    function test_the_service_is_the_latest_version_since_the_first() public {
        collected();
        preliminary(scientist, false);
        (, address nobody, uint40 never,) = labOrders.serviceOf(ID, 1);
        assertEq(nobody, address(0), "nothing yet");
        assertEq(never, 0, "never");
        report(scientist, false);
        uint40 first = time();
        skip(10 days);
        correct(scientist, "corrected", false);
        (address who, address where, uint40 when, bytes32 evidence) = labOrders.serviceOf(ID, 1);
        assertEq(who, patient, "patient");
        assertEq(where, laboratory, "laboratory");
        assertEq(when, first, "when the first came in");
        assertEq(evidence, bytes32("corrected"), "the latest");
        (,, when,) = labOrders.serviceOf(ID, 2);
        assertEq(when, 0, "one part");
    }
}
