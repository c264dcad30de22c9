// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EmergencyAccess} from "../src/EmergencyAccess.sol";
import {Registry} from "../src/Registry.sol";
import {InstitutionRole, ProfessionalRole} from "../src/Types.sol";
import {Network} from "./support/Network.sol";

contract EmergencyAccessTest is Network {
    uint32 internal constant KINDS = 0x0f;

    function open(address who) internal returns (EmergencyAccess.Opening memory) {
        vm.prank(paramedic);
        emergencies.open(who, KINDS, 1 hours, "reason");
        return opening(who, time());
    }

    function opening(address who, uint40 opensAt) internal view returns (EmergencyAccess.Opening memory) {
        return EmergencyAccess.Opening(who, paramedic, emergency, opensAt, opensAt + 1 hours, KINDS, "reason");
    }

    function review(EmergencyAccess.Opening memory opened, EmergencyAccess.Verdict verdict) internal {
        vm.prank(officer);
        emergencies.review(opened, verdict, "note");
    }

    function permits(uint8 kind) internal view returns (bool) {
        return emergencies.permits(patient, paramedic, kind);
    }

    /* open
     * ├── by anybody but a professional in force → NotProfessional
     * ├── in another role than physician, surgeon, nurse, paramedic → WrongRole
     * ├── at an institution that is no emergency institution → NotEmergency
     * ├── patient zero → NoPatient
     * ├── no kinds → NoKinds
     * ├── shorter than a minute, longer than a day → InvalidPeriod
     * ├── the patient opted out → OptedOut; refuses one of the kinds → KindsRestricted
     * ├── another opening of the same pair runs → StillOpen
     * ├── the very same opening → AlreadyOpened
     * ├── a review is overdue → ReviewOverdue
     * ├── eight reviews are awaited → TooManyUnreviewed
     * └── otherwise: the alert, and access at once
     */

    function test_only_a_professional_opens() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, emergency));
        vm.prank(emergency);
        emergencies.open(patient, KINDS, 1 hours, "reason");
    }

    function test_other_roles_do_not_open() public {
        vm.expectRevert(
            abi.encodeWithSelector(EmergencyAccess.WrongRole.selector, officer, ProfessionalRole.PrivacyOfficer)
        );
        vm.prank(officer);
        emergencies.open(patient, KINDS, 1 hours, "reason");
    }

    function test_other_institutions_do_not_open() public {
        vm.expectRevert(
            abi.encodeWithSelector(EmergencyAccess.NotEmergency.selector, hospital, InstitutionRole.Hospital)
        );
        vm.prank(physician);
        emergencies.open(patient, KINDS, 1 hours, "reason");
    }

    /// @dev E1: each of the ten roles.
    function testFuzz_four_roles_open(uint8 role) public {
        role = uint8(bound(role, 1, 10));
        bool may = role == 1 || role == 2 || role == 3 || role == 6;
        accredit(emergency, stranger, ProfessionalRole(role));
        if (!may) {
            vm.expectRevert(
                abi.encodeWithSelector(EmergencyAccess.WrongRole.selector, stranger, ProfessionalRole(role))
            );
        }
        vm.prank(stranger);
        emergencies.open(patient, KINDS, 1 hours, "reason");
        assertEq(emergencies.permits(patient, stranger, 0), may, "permitted");
    }

    function test_an_opening_that_cannot_be_is_refused() public {
        vm.expectRevert(EmergencyAccess.NoPatient.selector);
        vm.prank(paramedic);
        emergencies.open(address(0), KINDS, 1 hours, "reason");
        vm.expectRevert(EmergencyAccess.NoKinds.selector);
        vm.prank(paramedic);
        emergencies.open(patient, 0, 1 hours, "reason");
    }

    function refusePeriod(uint40 period) internal {
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.InvalidPeriod.selector, period, 1 minutes, 24 hours));
        vm.prank(paramedic);
        emergencies.open(patient, KINDS, period, "reason");
    }

    function test_a_period_is_bounded() public {
        refusePeriod(59);
        refusePeriod(24 hours + 1);
        vm.prank(paramedic);
        emergencies.open(patient, KINDS, 24 hours, "reason");
        vm.prank(paramedic);
        emergencies.open(stranger, KINDS, 1 minutes, "reason");
    }

    function test_who_opted_out_is_not_opened() public {
        vm.prank(patient);
        emergencies.restrict(0, true);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.OptedOut.selector, patient));
        open(patient);
    }

    function test_restricted_kinds_are_not_opened() public {
        vm.prank(patient);
        emergencies.restrict(0x18, false);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.KindsRestricted.selector, patient, 0x08));
        open(patient);
        vm.prank(paramedic);
        emergencies.open(patient, 0x07, 1 hours, "reason");
    }

    function test_one_opening_runs_at_a_time() public {
        EmergencyAccess.Opening memory first = open(patient);
        skip(1 hours - 1);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.StillOpen.selector, first.closesAt));
        open(patient);
        skip(1);
        open(patient);
    }

    function test_the_very_same_opening_is_refused() public {
        EmergencyAccess.Opening memory first = open(patient);
        vm.prank(paramedic);
        emergencies.end(first);
        bytes32 id = emergencies.idOf(first);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.AlreadyOpened.selector, id));
        open(patient);
        skip(1);
        open(patient);
    }

    /// @dev E5.
    function test_an_overdue_review_blocks_the_next_opening() public {
        EmergencyAccess.Opening memory first = open(patient);
        uint40 due = time() + 72 hours;
        skip(72 hours - 1);
        open(patient);
        skip(1);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.ReviewOverdue.selector, paramedic, due));
        open(stranger);
        review(first, EmergencyAccess.Verdict.Justified);
        open(stranger);
    }

    function test_eight_openings_await_review_at_most() public {
        EmergencyAccess.Opening memory first = open(address(0x1000));
        for (uint160 i = 1; i < 8; ++i) {
            open(address(0x1000 + i));
        }
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.TooManyUnreviewed.selector, paramedic, 8));
        open(patient);
        review(first, EmergencyAccess.Verdict.Unjustified);
        open(patient);
        uint40[8] memory due = emergencies.unreviewed(paramedic);
        for (uint256 i; i < 8; ++i) {
            assertEq(due[i], time() + 72 hours, "due");
        }
    }

    function test_an_opening_alerts_and_permits() public {
        EmergencyAccess.Opening memory expected = opening(patient, time());
        bytes32 id = emergencies.idOf(expected);
        assertEq(id, keccak256(abi.encode(expected)), "name");
        vm.expectEmit(address(emergencies));
        emit EmergencyAccess.EmergencyOpened(
            id, patient, paramedic, emergency, time(), time() + 1 hours, KINDS, "reason"
        );
        vm.prank(paramedic);
        assertEq(emergencies.open(patient, KINDS, 1 hours, "reason"), id, "id");
        assertTrue(emergencies.statusOf(id).opened, "opened");
        assertTrue(permits(0) && permits(3), "kinds named");
        assertFalse(permits(4) || permits(255), "kinds not named");
        assertFalse(emergencies.permits(patient, nurse, 0), "another professional");
        assertFalse(emergencies.permits(stranger, paramedic, 0), "another patient");
        skip(1 hours - 1);
        assertTrue(permits(0), "the last second");
        skip(1);
        assertFalse(permits(0), "the second after");
    }

    /* restrict
     * └── replaces the restriction before, and binds what runs
     */

    /// @dev E3.
    function test_a_restriction_binds_at_once() public {
        open(patient);
        vm.expectEmit(address(emergencies));
        emit EmergencyAccess.EmergencyRestricted(patient, 0x01, false);
        vm.prank(patient);
        emergencies.restrict(0x01, false);
        assertFalse(permits(0), "restricted");
        assertTrue(permits(1), "not restricted");
        vm.prank(patient);
        emergencies.restrict(0, true);
        assertFalse(permits(1), "opted out");
        assertTrue(emergencies.restrictionOf(patient).optedOut, "stored");
        vm.prank(patient);
        emergencies.restrict(0, false);
        assertTrue(permits(0), "restriction lifted");
    }

    /* end
     * ├── no such opening, closed or ended → NotRunning
     * ├── by a professional who did not open → NotParty; by anybody else → NotProfessional
     * └── by the patient or who opened: over at once
     */

    function refuseNotRunning(EmergencyAccess.Opening memory opened) internal {
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.NotRunning.selector, keccak256(abi.encode(opened))));
        vm.prank(patient);
        emergencies.end(opened);
    }

    function test_only_what_runs_is_ended() public {
        refuseNotRunning(opening(patient, time()));
        EmergencyAccess.Opening memory opened = open(patient);
        EmergencyAccess.Opening memory other = opened;
        vm.prank(patient);
        emergencies.end(opened);
        refuseNotRunning(other);
        skip(1);
        opened = open(patient);
        skip(1 hours);
        refuseNotRunning(opened);
    }

    function test_only_the_parties_end() public {
        EmergencyAccess.Opening memory opened = open(patient);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.NotParty.selector, nurse));
        vm.prank(nurse);
        emergencies.end(opened);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, stranger));
        vm.prank(stranger);
        emergencies.end(opened);
    }

    function test_an_ended_opening_permits_nothing() public {
        EmergencyAccess.Opening memory opened = open(patient);
        vm.expectEmit(address(emergencies));
        emit EmergencyAccess.EmergencyEnded(emergencies.idOf(opened), patient, paramedic);
        vm.prank(patient);
        emergencies.end(opened);
        assertFalse(permits(0), "ended by the patient");
        assertTrue(emergencies.statusOf(emergencies.idOf(opened)).ended, "stored");
        skip(1);
        opened = open(patient);
        vm.prank(paramedic);
        emergencies.end(opened);
        assertFalse(permits(0), "ended by who opened");
    }

    /* review
     * ├── by anybody but a professional in force → NotProfessional
     * ├── by another role → WrongRole
     * ├── by who opened → OwnReview
     * ├── by an officer of another institution → WrongInstitution
     * │   └── unless a regulator's, when the institution is expelled
     * ├── without verdict → NoVerdict
     * ├── no such opening → UnknownOpening
     * ├── again → AlreadyReviewed
     * ├── as justified while it runs → StillOpen
     * └── otherwise: noted; an unjustified one that runs ends
     */

    function test_only_a_privacy_officer_reviews() public {
        EmergencyAccess.Opening memory opened = open(patient);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, emergency));
        vm.prank(emergency);
        emergencies.review(opened, EmergencyAccess.Verdict.Justified, "note");
        vm.expectRevert(
            abi.encodeWithSelector(EmergencyAccess.WrongRole.selector, paramedic, ProfessionalRole.Paramedic)
        );
        vm.prank(paramedic);
        emergencies.review(opened, EmergencyAccess.Verdict.Justified, "note");
    }

    /// @dev E4: not even after a change of role.
    function test_nobody_reviews_an_opening_of_their_own() public {
        EmergencyAccess.Opening memory opened = open(patient);
        vm.prank(emergency);
        registry.revokeAccreditation(paramedic);
        accredit(emergency, paramedic, ProfessionalRole.PrivacyOfficer);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.OwnReview.selector, paramedic));
        vm.prank(paramedic);
        emergencies.review(opened, EmergencyAccess.Verdict.Justified, "note");
    }

    function test_an_officer_of_another_institution_does_not_review() public {
        EmergencyAccess.Opening memory opened = open(patient);
        accredit(hospital, stranger, ProfessionalRole.PrivacyOfficer);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.WrongInstitution.selector, emergency, hospital));
        vm.prank(stranger);
        emergencies.review(opened, EmergencyAccess.Verdict.Justified, "note");
    }

    function test_a_regulator_reviews_for_an_expelled_institution() public {
        address regulator = vm.addr(0xE01);
        admit(regulator, InstitutionRole.Regulator);
        accredit(regulator, stranger, ProfessionalRole.PrivacyOfficer);
        accredit(hospital, vm.addr(0xE02), ProfessionalRole.PrivacyOfficer);
        EmergencyAccess.Opening memory opened = open(patient);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.WrongInstitution.selector, emergency, regulator));
        vm.prank(stranger);
        emergencies.review(opened, EmergencyAccess.Verdict.Justified, "note");

        expel(emergency);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.WrongInstitution.selector, emergency, hospital));
        vm.prank(vm.addr(0xE02));
        emergencies.review(opened, EmergencyAccess.Verdict.Justified, "note");
        skip(1 hours);
        vm.prank(stranger);
        emergencies.review(opened, EmergencyAccess.Verdict.Justified, "note");
        assertEq(emergencies.unreviewed(paramedic)[7], 0, "no longer awaited");
    }

    function test_a_review_needs_a_verdict_and_an_opening() public {
        EmergencyAccess.Opening memory opened = open(patient);
        vm.expectRevert(EmergencyAccess.NoVerdict.selector);
        review(opened, EmergencyAccess.Verdict.None);
        opened.kinds = 1;
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.UnknownOpening.selector, keccak256(abi.encode(opened))));
        review(opened, EmergencyAccess.Verdict.Justified);
    }

    /// @dev E4: what would be read by it later, nobody would have reviewed.
    function test_E4_an_opening_that_runs_is_not_found_justified() public {
        EmergencyAccess.Opening memory opened = open(patient);
        skip(1 hours - 1);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.StillOpen.selector, opened.closesAt));
        review(opened, EmergencyAccess.Verdict.Justified);
        assertTrue(permits(0), "runs on");
        skip(1);
        review(opened, EmergencyAccess.Verdict.Justified);
        assertFalse(permits(0), "over");

        opened = open(patient);
        vm.prank(paramedic);
        emergencies.end(opened);
        review(opened, EmergencyAccess.Verdict.Justified);
    }

    function test_a_justified_opening_is_reviewed_once() public {
        EmergencyAccess.Opening memory opened = open(patient);
        bytes32 id = emergencies.idOf(opened);
        skip(1 hours);
        vm.expectEmit(address(emergencies));
        emit EmergencyAccess.EmergencyReviewed(
            id, patient, paramedic, officer, EmergencyAccess.Verdict.Justified, "note"
        );
        review(opened, EmergencyAccess.Verdict.Justified);
        vm.expectRevert(
            abi.encodeWithSelector(EmergencyAccess.AlreadyReviewed.selector, id, EmergencyAccess.Verdict.Justified)
        );
        review(opened, EmergencyAccess.Verdict.Unjustified);
    }

    function test_an_unjustified_opening_ends() public {
        EmergencyAccess.Opening memory opened = open(patient);
        review(opened, EmergencyAccess.Verdict.Unjustified);
        assertFalse(permits(0), "ended");
        assertTrue(emergencies.statusOf(emergencies.idOf(opened)).ended, "stored");
        skip(1);
        opened = open(patient);
        skip(2 hours);
        review(opened, EmergencyAccess.Verdict.Unjustified);
        assertFalse(emergencies.statusOf(emergencies.idOf(opened)).ended, "it had closed by itself");
    }

    /// @dev A late review of an earlier opening must not end a later one.
    function test_an_unjustified_review_ends_its_own_opening_only() public {
        EmergencyAccess.Opening memory first = open(patient);
        skip(2 hours);
        open(patient);
        review(first, EmergencyAccess.Verdict.Unjustified);
        assertTrue(permits(0), "the later one runs on");
    }

    /// @dev E2, E3: kinds, restrictions and seconds.
    function testFuzz_permits_exactly_what_was_opened(
        uint32 kinds,
        uint32 refused,
        uint40 period,
        uint40 later,
        uint8 kind
    ) public {
        vm.assume(kinds != 0);
        period = uint40(bound(period, 1 minutes, 24 hours));
        later = uint40(bound(later, 0, 25 hours));
        vm.prank(paramedic);
        emergencies.open(patient, kinds, period, "reason");
        vm.prank(patient);
        emergencies.restrict(refused, false);
        skip(later);
        bool covered = kind < 32 && kinds & (uint32(1) << kind) != 0 && refused & (uint32(1) << kind) == 0;
        assertEq(permits(kind), covered && later < period, "permitted");
    }

    /* the review, as the workflow has it
     * ├── overdue at one institution: refused at another one as well
     * ├── ended early, its review is due all the same
     * ├── given late: the next opening goes through; the verdict stays
     * └── used again and again: each opening is an alert with its own name, for a report that counts them
     */

    /// @dev E5: changing the institution, or ending early, is no way around the review.
    function test_E5_an_overdue_review_follows_the_professional() public {
        EmergencyAccess.Opening memory first = open(patient);
        vm.prank(paramedic);
        emergencies.end(first);
        skip(72 hours);
        address other = vm.addr(0xE21);
        admit(other, InstitutionRole.Emergency);
        vm.prank(emergency);
        registry.revokeAccreditation(paramedic);
        accredit(other, paramedic, ProfessionalRole.Paramedic);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.ReviewOverdue.selector, paramedic, time()));
        open(patient);
        // The officer of the new institution does not review what was opened at the old one.
        address otherOfficer = vm.addr(0xE22);
        accredit(other, otherOfficer, ProfessionalRole.PrivacyOfficer);
        vm.expectRevert(abi.encodeWithSelector(EmergencyAccess.WrongInstitution.selector, emergency, other));
        vm.prank(otherOfficer);
        emergencies.review(first, EmergencyAccess.Verdict.Justified, "note");
        review(first, EmergencyAccess.Verdict.Unjustified);
        vm.expectRevert(
            abi.encodeWithSelector(
                EmergencyAccess.AlreadyReviewed.selector, emergencies.idOf(first), EmergencyAccess.Verdict.Unjustified
            )
        );
        review(first, EmergencyAccess.Verdict.Justified);
        open(patient);
    }

    function test_repeated_use_shows_opening_by_opening() public {
        bytes32 previous;
        for (uint256 i; i < 3; ++i) {
            EmergencyAccess.Opening memory opened = open(patient);
            bytes32 id = emergencies.idOf(opened);
            assertTrue(id != previous && emergencies.statusOf(id).opened, "an opening of its own");
            previous = id;
            skip(1 hours);
        }
        uint256 awaited;
        uint40[8] memory due = emergencies.unreviewed(paramedic);
        for (uint256 i; i < 8; ++i) {
            if (due[i] != 0) ++awaited;
        }
        assertEq(awaited, 3, "each awaits its review");
    }
}
