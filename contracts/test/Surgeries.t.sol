// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../src/Ids.sol";
import {Registry} from "../src/Registry.sol";
import {Surgeries} from "../src/Surgeries.sol";
import {InstitutionRole, ProfessionalRole} from "../src/Types.sol";
import {Steps} from "./support/Steps.sol";

contract SurgeriesTest is Steps {
    bytes32 internal constant SALT = "surgery";
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = makeId(referrer, SALT);
    }

    /* The table */

    function workflow() internal view override returns (string memory, address) {
        return ("Surgeries", address(surgeries));
    }

    function states() internal pure override returns (string[] memory) {
        return asList(
            [
                "None",
                "Referred",
                "Assessed",
                "Consented",
                "Scheduled",
                "SignedIn",
                "TimedOut",
                "Incised",
                "SignedOut",
                "Recovering",
                "Discharged",
                "FollowedUp",
                "Cancelled"
            ],
            13
        );
    }

    function steps() internal view override returns (Step[] memory list) {
        list = new Step[](21);
        list[0] = Step("refer", abi.encodeCall(Surgeries.refer, (SALT, patient, hospital, "referral")));
        list[1] = Step("assess", abi.encodeCall(Surgeries.assess, (id, "plan")));
        list[2] = Step("consent", abi.encodeCall(Surgeries.consent, (id, "plan")));
        list[3] = Step("certify", abi.encodeCall(Surgeries.certify, (id, "plan", "reason")));
        list[4] = Step("withdraw consent", abi.encodeCall(Surgeries.withdrawConsent, (id)));
        list[5] = Step("schedule", abi.encodeCall(Surgeries.schedule, (id, team(), time(), "theatre")));
        list[6] = Step("relieve", abi.encodeCall(Surgeries.relieve, (id, Surgeries.Seat.Nurse, nurse)));
        list[7] = Step("sign in", abi.encodeCall(Surgeries.signIn, (id, "sign-in")));
        list[8] = Step("time out", abi.encodeCall(Surgeries.timeOut, (id, "time-out")));
        list[9] = Step("incise", abi.encodeCall(Surgeries.incise, (id)));
        list[10] = Step("record implant", abi.encodeCall(Surgeries.recordImplant, (id, "other", "lot")));
        list[11] = Step("record explant", abi.encodeCall(Surgeries.recordExplant, (id, "implant")));
        list[12] = Step("sign out", abi.encodeCall(Surgeries.signOut, (id, "report")));
        list[13] = Step("hand over", abi.encodeCall(Surgeries.handOver, (id, "note")));
        list[14] = Step("discharge", abi.encodeCall(Surgeries.discharge, (id, "letter")));
        list[15] = Step("follow up", abi.encodeCall(Surgeries.followUp, (id, "visit")));
        list[16] = Step("return to theatre", abi.encodeCall(Surgeries.returnToTheatre, (id, "plan")));
        list[17] = Step("report complication", abi.encodeCall(Surgeries.reportComplication, (id, "bleeding")));
        list[18] = Step("cancel", abi.encodeCall(Surgeries.cancel, (id, "reason")));
        list[20] = Step("void implant", abi.encodeCall(Surgeries.voidImplant, (id, "implant")));
        list[19] = Step("relieve by a stranger", abi.encodeCall(Surgeries.relieve, (id, Surgeries.Seat.Nurse, stranger)));
    }

    /// @dev 12 is Cancelled, which comes from Referred.
    function reach(uint256 state) internal override {
        if (state >= 1) refer();
        if (state == 12) {
            vm.prank(patient);
            surgeries.cancel(id, "reason");
            return;
        }
        if (state >= 2) assess("plan");
        if (state >= 3) consent("plan");
        if (state >= 4) schedule();
        if (state >= 5) signIn();
        if (state >= 6) timeOut();
        if (state >= 7) incise();
        if (state >= 7) implant("implant");
        if (state >= 8) signOut();
        if (state >= 9) handOver();
        if (state >= 10) {
            vm.prank(physician);
            surgeries.discharge(id, "letter");
        }
        if (state >= 11) {
            vm.prank(referrer);
            surgeries.followUp(id, "visit");
        }
    }

    /* Steps */

    function team() internal view returns (address[3] memory) {
        return [surgeon, physician, nurse];
    }

    function refer() internal {
        vm.prank(referrer);
        surgeries.refer(SALT, patient, hospital, "referral");
    }

    function assess(bytes32 plan) internal {
        vm.prank(surgeon);
        surgeries.assess(id, plan);
    }

    function consent(bytes32 plan) internal {
        vm.prank(patient);
        surgeries.consent(id, plan);
    }

    function schedule() internal {
        vm.prank(nurse);
        surgeries.schedule(id, team(), time(), "theatre");
    }

    function signIn() internal {
        vm.prank(physician);
        surgeries.signIn(id, "sign-in");
        vm.prank(nurse);
        surgeries.signIn(id, "sign-in");
    }

    function timeOut() internal {
        for (uint256 i; i < 3; ++i) {
            vm.prank(team()[i]);
            surgeries.timeOut(id, "time-out");
        }
    }

    function incise() internal {
        vm.prank(surgeon);
        surgeries.incise(id);
    }

    function implant(bytes32 implant_) internal {
        vm.prank(nurse);
        surgeries.recordImplant(id, implant_, "lot");
    }

    function signOut() internal {
        for (uint256 i; i < 3; ++i) {
            vm.prank(team()[i]);
            surgeries.signOut(id, "report");
        }
    }

    function handOver() internal {
        vm.prank(physician);
        surgeries.handOver(id, "note");
    }

    function check(Surgeries.State state) internal view {
        assertEq(uint256(surgeries.stateOf(id)), uint256(state), "state");
    }

    function refuseState(Surgeries.State state) internal {
        vm.expectRevert(abi.encodeWithSelector(Surgeries.WrongState.selector, id, state));
    }

    function refuseRole(address who, ProfessionalRole role, address institution) internal {
        vm.expectRevert(abi.encodeWithSelector(Surgeries.NotAllowed.selector, who, role, institution));
    }

    /* refer
     * ├── the referrer's institution keeps no records for the patient → NotActive
     * ├── to an institution that is no hospital → NotHospital
     * ├── with a salt that the caller used → AlreadyReferred
     * └── with somebody else's salt: another identifier
     */

    function test_only_a_steward_refers_and_only_to_a_hospital() public {
        vm.expectRevert(abi.encodeWithSelector(Surgeries.NotActive.selector, otherPatient, clinic));
        vm.prank(referrer);
        surgeries.refer(SALT, otherPatient, hospital, "referral");
        vm.expectRevert(
            abi.encodeWithSelector(Surgeries.NotHospital.selector, laboratory, InstitutionRole.Laboratory)
        );
        vm.prank(referrer);
        surgeries.refer(SALT, patient, laboratory, "referral");
    }

    /// @dev U6: a copied salt gives another identifier, so an identifier cannot be taken.
    function test_U6_an_identifier_belongs_to_who_opened_it() public {
        vm.prank(otherSurgeon);
        bytes32 copied = surgeries.refer(SALT, patient, hospital, "referral");
        assertTrue(copied != id, "another identifier");
        refer();
        check(Surgeries.State.Referred);
        vm.expectRevert(abi.encodeWithSelector(Surgeries.AlreadyReferred.selector, id));
        refer();
    }

    /* consent
     * ├── to another plan than the one that stands → PlanDiffers
     * ├── withdrawn before the incision: Assessed, and no certificate
     * └── given again after that: Consented
     */

    function test_U1_a_changed_plan_is_not_consented_to_unseen() public {
        reach(2);
        assess("another plan");
        vm.expectRevert(abi.encodeWithSelector(Surgeries.PlanDiffers.selector, bytes32("another plan"), bytes32("plan")));
        consent("plan");
        consent("another plan");
        check(Surgeries.State.Consented);
    }

    function test_U2_withdrawing_works_in_every_state_before_the_incision() public {
        uint256 start = vm.snapshotState();
        for (uint256 state = 1; state <= 6; ++state) {
            vm.revertToState(start);
            start = vm.snapshotState();
            reach(state);
            vm.prank(patient);
            surgeries.withdrawConsent(id);
            check(state == 1 ? Surgeries.State.Referred : Surgeries.State.Assessed);
            if (state == 1) assess("plan");
            vm.expectRevert(abi.encodeWithSelector(Surgeries.Refused.selector, id));
            vm.prank(surgeon);
            surgeries.certify(id, "plan", "reason");
            refuseState(Surgeries.State.Assessed);
            incise();
            consent("plan");
            check(Surgeries.State.Consented);
        }
    }

    /// @dev U2: another round is no way around a refusal.
    function test_U2_a_refusal_outlasts_the_round() public {
        reach(9);
        vm.prank(surgeon);
        surgeries.returnToTheatre(id, "plan");
        vm.prank(patient);
        surgeries.withdrawConsent(id);
        vm.prank(physician);
        surgeries.cancel(id, "reason");
        check(Surgeries.State.Recovering);
        vm.prank(surgeon);
        surgeries.returnToTheatre(id, "plan");
        vm.expectRevert(abi.encodeWithSelector(Surgeries.Refused.selector, id));
        vm.prank(surgeon);
        surgeries.certify(id, "plan", "reason");
        consent("plan");
        check(Surgeries.State.Consented);
        assertFalse(surgeries.surgeryOf(id).refused, "the patient consented");
    }

    /* certify
     * ├── one doctor alone, or twice: still Assessed → AlreadySigned
     * ├── two surgeons are not a surgeon and a physician
     * └── a surgeon and a physician: Consented
     */

    function test_a_certificate_takes_a_surgeon_and_a_physician() public {
        reach(2);
        vm.prank(surgeon);
        surgeries.certify(id, "plan", "reason");
        vm.expectRevert(abi.encodeWithSelector(Surgeries.AlreadySigned.selector, id, surgeon));
        vm.prank(surgeon);
        surgeries.certify(id, "plan", "reason");
        address second = vm.addr(0xE01);
        accredit(hospital, second, ProfessionalRole.Surgeon);
        vm.expectRevert(abi.encodeWithSelector(Surgeries.AlreadySigned.selector, id, second));
        vm.prank(second);
        surgeries.certify(id, "plan", "reason");
        check(Surgeries.State.Assessed);
        vm.prank(physician);
        surgeries.certify(id, "plan", "reason");
        check(Surgeries.State.Consented);
    }

    function test_half_a_certificate_is_void_with_another_plan() public {
        reach(2);
        vm.prank(surgeon);
        surgeries.certify(id, "plan", "reason");
        assess("another plan");
        vm.prank(physician);
        surgeries.certify(id, "another plan", "reason");
        check(Surgeries.State.Assessed);
    }

    /* schedule
     * ├── before now, or too far ahead → InvalidTime
     * ├── a seat for another role, or for somebody of another institution → NotAllowed
     * └── again, with another team
     */

    function test_a_time_lies_ahead() public {
        reach(3);
        uint40 most = time() + 2 * 366 days;
        vm.expectRevert(abi.encodeWithSelector(Surgeries.InvalidTime.selector, time() - 1, time(), most));
        vm.prank(nurse);
        surgeries.schedule(id, team(), time() - 1, "theatre");
        vm.expectRevert(abi.encodeWithSelector(Surgeries.InvalidTime.selector, most + 1, time(), most));
        vm.prank(nurse);
        surgeries.schedule(id, team(), most + 1, "theatre");
        vm.prank(nurse);
        surgeries.schedule(id, team(), most, "theatre");
    }

    function test_everybody_in_the_team_fits_the_seat() public {
        reach(3);
        refuseRole(physician, ProfessionalRole.Physician, hospital);
        vm.prank(nurse);
        surgeries.schedule(id, [physician, physician, nurse], time(), "theatre");
        refuseRole(otherSurgeon, ProfessionalRole.Surgeon, clinic);
        vm.prank(nurse);
        surgeries.schedule(id, [otherSurgeon, physician, nurse], time(), "theatre");
    }

    /* checklist
     * ├── signed over different digests: the step begins anew with the last
     * ├── signed twice by the same → AlreadySigned
     * ├── by somebody whose accreditation ended → NotProfessional
     * ├── by somebody in another role since → NotAllowed
     * ├── somebody relieved: what the predecessor signed is signed again
     * ├── somebody relieved after the time-out: another time-out, of all
     * └── signed by all over the same digest: the next state
     */

    function test_U1_all_sign_the_same_checklist() public {
        reach(5);
        vm.prank(surgeon);
        surgeries.timeOut(id, "one");
        vm.expectRevert(abi.encodeWithSelector(Surgeries.AlreadySigned.selector, id, surgeon));
        vm.prank(surgeon);
        surgeries.timeOut(id, "one");
        vm.prank(physician);
        surgeries.timeOut(id, "one");
        vm.prank(nurse);
        surgeries.timeOut(id, "another");
        check(Surgeries.State.SignedIn);
        refuseState(Surgeries.State.SignedIn);
        incise();
        vm.prank(surgeon);
        surgeries.timeOut(id, "another");
        vm.prank(physician);
        surgeries.timeOut(id, "another");
        check(Surgeries.State.TimedOut);
        incise();
    }

    function test_U3_who_lost_the_place_signs_no_more() public {
        reach(6);
        vm.prank(hospital);
        registry.revokeAccreditation(surgeon);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, surgeon));
        incise();
        accredit(clinic, surgeon, ProfessionalRole.Surgeon);
        refuseRole(surgeon, ProfessionalRole.Surgeon, clinic);
        incise();
        vm.prank(clinic);
        registry.revokeAccreditation(surgeon);
        accredit(hospital, surgeon, ProfessionalRole.Nurse);
        refuseRole(surgeon, ProfessionalRole.Nurse, hospital);
        incise();
    }

    function test_U3_an_expelled_hospital_operates_no_more() public {
        reach(6);
        vm.prank(laboratory);
        uint256 proposal = registry.proposeExpulsion(hospital);
        address[4] memory voters = [pharmacy, emergency, insurer, research];
        for (uint256 i; i < 4; ++i) {
            vm.prank(voters[i]);
            registry.vote(proposal);
        }
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, surgeon));
        incise();
        vm.prank(patient);
        surgeries.cancel(id, "reason");
        check(Surgeries.State.Cancelled);
    }

    function test_a_relieved_signature_is_given_again() public {
        reach(5);
        vm.prank(nurse);
        surgeries.timeOut(id, "time-out");
        address second = vm.addr(0xE01);
        accredit(hospital, second, ProfessionalRole.Nurse);
        vm.prank(physician);
        surgeries.relieve(id, Surgeries.Seat.Nurse, second);
        vm.prank(surgeon);
        surgeries.timeOut(id, "time-out");
        vm.prank(physician);
        surgeries.timeOut(id, "time-out");
        check(Surgeries.State.SignedIn);
        refuseRole(nurse, ProfessionalRole.Nurse, hospital);
        vm.prank(nurse);
        surgeries.timeOut(id, "time-out");
        vm.prank(second);
        surgeries.timeOut(id, "time-out");
        check(Surgeries.State.TimedOut);
    }

    /// @dev The one who hands over may leave before that as well.
    function test_somebody_else_hands_over_when_the_anaesthetist_cannot() public {
        reach(8);
        vm.prank(hospital);
        registry.revokeAccreditation(physician);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, physician));
        handOver();
        address second = vm.addr(0xE01);
        accredit(hospital, second, ProfessionalRole.Physician);
        refuseRole(second, ProfessionalRole.Physician, hospital);
        vm.prank(second);
        surgeries.handOver(id, "note");
        vm.prank(nurse);
        surgeries.relieve(id, Surgeries.Seat.Anaesthetist, second);
        check(Surgeries.State.SignedOut);
        vm.prank(second);
        surgeries.handOver(id, "note");
        check(Surgeries.State.Recovering);
        refuseState(Surgeries.State.Recovering);
        vm.prank(nurse);
        surgeries.relieve(id, Surgeries.Seat.Nurse, nurse);
    }

    /// @dev U1: who takes the knife took part in a time-out.
    function test_U1_nobody_begins_who_was_not_at_the_time_out() public {
        reach(6);
        address second = vm.addr(0xE01);
        accredit(hospital, second, ProfessionalRole.Surgeon);
        vm.prank(physician);
        surgeries.relieve(id, Surgeries.Seat.Surgeon, second);
        check(Surgeries.State.SignedIn);
        refuseState(Surgeries.State.SignedIn);
        vm.prank(second);
        surgeries.incise(id);
        address[3] memory now_ = [second, physician, nurse];
        for (uint256 i; i < 3; ++i) {
            check(Surgeries.State.SignedIn);
            vm.prank(now_[i]);
            surgeries.timeOut(id, "time-out");
        }
        vm.prank(second);
        surgeries.incise(id);
        check(Surgeries.State.Incised);
    }

    /* implants
     * ├── put into this patient before, even after it was taken out → AlreadyImplanted
     * ├── said of another patient before: recorded all the same
     * ├── taken back: by the team of the round, before the sign-out, and not what was taken out → NotImplanted
     * ├── taken out of a patient who has it not → NotImplanted
     * └── leads to surgery and patient, and the surgery to it
     */

    function test_U4_an_implant_is_traced_both_ways() public {
        reach(7);
        implant("second");
        bytes32[] memory all = surgeries.implantsOf(id);
        assertEq(all.length, 2, "two");
        assertEq(all[1], bytes32("second"), "by surgery");
        Surgeries.Implant memory traced = surgeries.implantOf(patient, "second");
        assertEq(traced.surgery, id, "surgery");
        assertEq(traced.round, 1, "round");
        assertEq(surgeries.implantOf(otherPatient, "second").surgery, bytes32(0), "nobody else's");
        assertFalse(traced.removed, "in place");

        vm.expectRevert(abi.encodeWithSelector(Surgeries.AlreadyImplanted.selector, bytes32("second"), id));
        implant("second");
        vm.expectRevert(abi.encodeWithSelector(Surgeries.NotImplanted.selector, bytes32("third"), patient));
        vm.prank(surgeon);
        surgeries.recordExplant(id, "third");
        vm.prank(surgeon);
        surgeries.recordExplant(id, "second");
        assertTrue(surgeries.implantOf(patient, "second").removed, "taken out");
        vm.expectRevert(abi.encodeWithSelector(Surgeries.NotImplanted.selector, bytes32("second"), patient));
        vm.prank(surgeon);
        surgeries.recordExplant(id, "second");
        vm.expectRevert(abi.encodeWithSelector(Surgeries.AlreadyImplanted.selector, bytes32("second"), id));
        implant("second");
    }

    /// @dev U4: nobody blocks an implant by saying first that it is in somebody else.
    function test_U4_an_implant_is_not_blocked_by_who_names_it_first() public {
        reach(6);
        address[3] memory others = [otherSurgeon, vm.addr(0xE01), otherNurse];
        accredit(clinic, others[1], ProfessionalRole.Physician);
        relate(otherPatient, clinic, false);
        vm.prank(referrer);
        bytes32 other = surgeries.refer("other", otherPatient, clinic, "referral");
        vm.prank(otherSurgeon);
        surgeries.assess(other, "plan");
        vm.prank(otherPatient);
        surgeries.consent(other, "plan");
        vm.prank(otherNurse);
        surgeries.schedule(other, others, time(), "theatre");
        for (uint256 i = 1; i < 3; ++i) {
            vm.prank(others[i]);
            surgeries.signIn(other, "sign-in");
        }
        for (uint256 i; i < 3; ++i) {
            vm.prank(others[i]);
            surgeries.timeOut(other, "time-out");
        }
        vm.prank(otherSurgeon);
        surgeries.incise(other);
        vm.prank(otherNurse);
        surgeries.recordImplant(other, "implant", "lot");

        incise();
        implant("implant");
        assertEq(surgeries.implantOf(patient, "implant").surgery, id, "this patient's");
        assertEq(surgeries.implantOf(otherPatient, "implant").surgery, other, "as they say");
        // What the others say they take back; what is recorded here is no business of theirs.
        vm.expectRevert(abi.encodeWithSelector(Surgeries.NotImplanted.selector, bytes32("foreign"), otherPatient));
        vm.prank(otherNurse);
        surgeries.voidImplant(other, "foreign");
        vm.prank(otherNurse);
        surgeries.voidImplant(other, "implant");
        assertEq(surgeries.implantOf(otherPatient, "implant").surgery, bytes32(0), "taken back");
        assertEq(surgeries.implantOf(patient, "implant").surgery, id, "this one stays");
    }

    function test_U4_a_mistake_is_taken_back_until_the_sign_out() public {
        reach(7);
        implant("second");
        implant("third");
        vm.expectEmit(address(surgeries));
        emit Surgeries.ImplantVoided("second", patient, id, 1, nurse);
        vm.prank(nurse);
        surgeries.voidImplant(id, "second");
        bytes32[] memory all = surgeries.implantsOf(id);
        assertEq(all.length, 2, "two are left");
        assertEq(all[0], bytes32("implant"), "in their order");
        assertEq(all[1], bytes32("third"), "in their order");
        refuseImplant("second");
        implant("second");
        vm.prank(surgeon);
        surgeries.recordExplant(id, "third");
        refuseImplant("third");
        signOut();
        refuseState(Surgeries.State.SignedOut);
        vm.prank(nurse);
        surgeries.voidImplant(id, "second");
        // Nor in the next round.
        handOver();
        vm.prank(surgeon);
        surgeries.returnToTheatre(id, "plan");
        consent("plan");
        schedule();
        signIn();
        timeOut();
        incise();
        refuseImplant("second");
    }

    function refuseImplant(bytes32 implant_) internal {
        vm.expectRevert(abi.encodeWithSelector(Surgeries.NotImplanted.selector, implant_, patient));
        vm.prank(nurse);
        surgeries.voidImplant(id, implant_);
    }

    /* receipts and later rounds
     * ├── before the sign-out: none
     * ├── after it: patient, hospital, time, report, and so for good
     * ├── another round takes consent, sign-in and time-out again
     * └── another round called off: Recovering
     */

    function test_U5_a_receipt_is_there_from_the_sign_out_on() public {
        reach(7);
        checkReceipt(1, 0);
        signOut();
        checkReceipt(1, time());
        uint40 first = time();
        handOver();
        skip(1 days);
        vm.prank(surgeon);
        surgeries.returnToTheatre(id, "plan");
        check(Surgeries.State.Assessed);
        checkReceipt(1, first);
        checkReceipt(2, 0);
        refuseState(Surgeries.State.Assessed);
        incise();
        consent("plan");
        schedule();
        signIn();
        timeOut();
        incise();
        signOut();
        checkReceipt(1, first);
        checkReceipt(2, time());
    }

    function test_a_later_round_called_off_leaves_the_patient_in_recovery() public {
        reach(9);
        vm.prank(surgeon);
        surgeries.returnToTheatre(id, "plan");
        vm.prank(patient);
        surgeries.cancel(id, "reason");
        check(Surgeries.State.Recovering);
    }

    function checkReceipt(uint256 round, uint40 completedAt) internal view {
        (address who, address provider, uint40 at_, bytes32 evidence) = surgeries.serviceOf(id, round);
        assertEq(who, completedAt == 0 ? address(0) : patient, "patient");
        assertEq(provider, completedAt == 0 ? address(0) : hospital, "provider");
        assertEq(at_, completedAt, "completed at");
        assertEq(evidence, completedAt == 0 ? bytes32(0) : bytes32("report"), "evidence");
    }

    /// @dev U1, for whatever is signed by whom: never incised without all of it.
    function testFuzz_U1_no_incision_before_consent_and_time_out(uint256 seed) public {
        bool consented;
        uint256 signs;
        refer();
        assess("plan");
        for (uint256 i; i < 40; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            address who = [patient, surgeon, physician, nurse][seed % 4];
            uint256 step = (seed >> 8) % 6;
            bytes memory data = step == 0
                ? abi.encodeCall(Surgeries.consent, (id, "plan"))
                : step == 1
                    ? abi.encodeCall(Surgeries.schedule, (id, team(), time(), "theatre"))
                    : step == 2
                        ? abi.encodeCall(Surgeries.signIn, (id, "list"))
                        : step == 3
                            ? abi.encodeCall(Surgeries.timeOut, (id, "list"))
                            : step == 4
                                ? abi.encodeCall(Surgeries.incise, (id))
                                : abi.encodeCall(Surgeries.assess, (id, "plan"));
            vm.prank(who);
            (bool success,) = address(surgeries).call(data);
            if (!success) continue;
            if (step == 0) consented = true;
            if (step == 3) ++signs;
            if (step == 4) {
                assertTrue(consented && signs == 3 && who == surgeon, "U1");
                return;
            }
        }
    }
}
