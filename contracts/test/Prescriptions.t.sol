// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../src/Ids.sol";
import {Prescriptions} from "../src/Prescriptions.sol";
import {Registry} from "../src/Registry.sol";
import {InstitutionRole, ProfessionalRole} from "../src/Types.sol";
import {Network} from "./support/Network.sol";

contract PrescriptionsTest is Network {
    bytes32 internal constant SALT = "prescription";
    bytes32 internal ID = makeId(physician, SALT);
    address internal otherPharmacy = vm.addr(0xE01);
    address internal otherPharmacist = vm.addr(0xE02);
    address internal colleague = vm.addr(0xE03);

    function setUp() public override {
        super.setUp();
        relate(patient, hospital, false);
        admit(otherPharmacy, InstitutionRole.Pharmacy);
        accredit(otherPharmacy, otherPharmacist, ProfessionalRole.Pharmacist);
        accredit(hospital, colleague, ProfessionalRole.Surgeon);
    }

    /// @notice Thirty units, twice, within ninety days.
    function terms() internal view returns (Prescriptions.Terms memory) {
        return Prescriptions.Terms(patient, "digest", 30, 2, time() + 90 days, 0);
    }

    function issueAs(address who, Prescriptions.Terms memory given) internal {
        vm.prank(who);
        prescriptions.issue(SALT, given);
    }

    function permitAs(address who, address pharmacy_) internal {
        vm.prank(who);
        prescriptions.permit(ID, pharmacy_);
    }

    function withdrawAs(address who, address pharmacy_) internal {
        vm.prank(who);
        prescriptions.withdrawPermit(ID, pharmacy_);
    }

    /// @notice Issued, and permitted to the pharmacy by both.
    function issued(Prescriptions.Terms memory given) internal {
        issueAs(physician, given);
        permitAs(physician, pharmacy);
        permitAs(patient, pharmacy);
    }

    function claim() internal {
        vm.prank(pharmacist);
        prescriptions.claim(ID);
    }

    function dispensing(uint32 quantity) internal view returns (Prescriptions.Dispensing memory) {
        return Prescriptions.Dispensing(quantity, time() + 365 days, "batch", "record");
    }

    function dispense(uint32 quantity) internal {
        Prescriptions.Dispensing memory given = dispensing(quantity);
        vm.prank(pharmacist);
        prescriptions.dispense(ID, given);
    }

    function cancelAs(address who) internal {
        vm.prank(who);
        prescriptions.cancel(ID);
    }

    function check(Prescriptions.State state) internal view {
        assertEq(uint256(prescriptions.stateOf(ID)), uint256(state), "state");
    }

    function refuseState(Prescriptions.State state) internal {
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongState.selector, ID, state));
    }

    function refuseParty(address caller) internal {
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.NotParty.selector, caller));
    }

    function refusePermit(address pharmacy_) internal {
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.NotPermitted.selector, ID, pharmacy_));
    }

    function refuseClaimant(address pharmacy_) internal {
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.NotClaimant.selector, ID, pharmacy_));
    }

    /* issue
     * ├── by anybody but a professional in force → NotProfessional
     * ├── by another role than physician or surgeon → WrongRole
     * ├── for oneself, by member or by key → OwnPrescription
     * ├── the institution keeps no records for the patient → NotActive
     * ├── no quantity, no fill, more than twelve → InvalidTerms
     * ├── valid until now or before, or for more than a year → InvalidPeriod
     * ├── an interval of more than a year → InvalidPeriod
     * ├── with a salt that the caller used → AlreadyIssued; somebody else's: another identifier
     * └── otherwise: Issued
     */

    function test_only_doctors_prescribe() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, hospital));
        issueAs(hospital, terms());
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongRole.selector, nurse, ProfessionalRole.Nurse));
        issueAs(nurse, terms());
        issueAs(colleague, terms());
    }

    function test_nobody_prescribes_for_themselves() public {
        Prescriptions.Terms memory given = terms();
        given.patient = physician;
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.OwnPrescription.selector, physician));
        issueAs(physician, given);

        // Nor by the address of a later key.
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Rotate(address member,address newSigner,uint256 nonce,uint40 deadline)"),
                physician,
                patient,
                0,
                time()
            )
        );
        bytes memory proof = signature(PATIENT_KEY, typedDigest("Salus Registry", address(registry), structHash));
        vm.prank(physician);
        registry.rotate(patient, time(), proof);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.OwnPrescription.selector, physician));
        issueAs(patient, terms());
    }

    function test_only_a_steward_prescribes() public {
        Prescriptions.Terms memory given = terms();
        given.patient = stranger;
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.NotActive.selector, stranger, hospital));
        issueAs(physician, given);
    }

    function refuseTerms(Prescriptions.Terms memory given) internal {
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.InvalidTerms.selector, given.quantity, given.fills));
        issueAs(physician, given);
    }

    function test_terms_are_bounded() public {
        Prescriptions.Terms memory given = terms();
        given.quantity = 0;
        refuseTerms(given);
        given = terms();
        given.fills = 0;
        refuseTerms(given);
        given.fills = 13;
        refuseTerms(given);
        given.fills = 12;
        issueAs(physician, given);
    }

    function refusePeriod(Prescriptions.Terms memory given, uint256 value, uint256 least, uint256 most) internal {
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.InvalidPeriod.selector, value, least, most));
        issueAs(physician, given);
    }

    function test_periods_are_bounded() public {
        Prescriptions.Terms memory given = terms();
        given.validUntil = time();
        refusePeriod(given, time(), time() + 1, time() + 366 days);
        given.validUntil = time() + 366 days + 1;
        refusePeriod(given, given.validUntil, time() + 1, time() + 366 days);
        given.validUntil = time() + 366 days;
        given.fillInterval = 366 days + 1;
        refusePeriod(given, given.fillInterval, 0, 366 days);
        given.fillInterval = 366 days;
        issueAs(physician, given);
    }

    function test_an_identifier_is_used_once() public {
        issueAs(physician, terms());
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.AlreadyIssued.selector, ID));
        issueAs(physician, terms());
    }

    /// @dev P8: who sees a salt on its way and is faster takes an identifier of their own.
    function test_P8_an_identifier_belongs_to_who_prescribed() public {
        vm.prank(colleague);
        bytes32 copied = prescriptions.issue(SALT, terms());
        assertEq(copied, makeId(colleague, SALT), "the colleague's");
        check(Prescriptions.State.None);
        vm.prank(physician);
        assertEq(prescriptions.issue(SALT, terms()), ID, "the physician's");
    }

    function test_a_prescription() public {
        check(Prescriptions.State.None);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.PrescriptionIssued(ID, patient, physician, hospital, terms());
        issueAs(physician, terms());
        check(Prescriptions.State.Issued);
        Prescriptions.Prescription memory stored = prescriptions.prescriptionOf(ID);
        assertEq(stored.patient, patient, "patient");
        assertEq(stored.prescriber, physician, "prescriber");
        assertEq(stored.quantity, 30, "quantity");
        assertEq(stored.fills, 2, "fills");
        assertEq(stored.validUntil, time() + 90 days, "validUntil");
    }

    /* permit, withdrawPermit, readable
     * ├── no such prescription → WrongState
     * ├── by a professional who did not prescribe → NotParty; by anybody else → NotProfessional
     * ├── permit an institution that is no pharmacy → WrongInstitution
     * ├── readable by both permits only, while it is neither expired, cancelled nor completed
     * └── withdrawing never fails for a party
     */

    function test_nothing_is_permitted_of_what_is_not_there() public {
        refuseState(Prescriptions.State.None);
        permitAs(physician, pharmacy);
        refuseState(Prescriptions.State.None);
        withdrawAs(patient, pharmacy);
        refuseState(Prescriptions.State.None);
        cancelAs(patient);
        refuseState(Prescriptions.State.None);
        claim();
        refuseState(Prescriptions.State.None);
        dispense(1);
    }

    function test_only_the_parties_permit() public {
        issueAs(physician, terms());
        refuseParty(colleague);
        permitAs(colleague, pharmacy);
        refuseParty(pharmacist);
        withdrawAs(pharmacist, pharmacy);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, stranger));
        permitAs(stranger, pharmacy);
    }

    function test_only_a_pharmacy_is_permitted() public {
        issueAs(physician, terms());
        vm.expectRevert(
            abi.encodeWithSelector(Prescriptions.WrongInstitution.selector, laboratory, InstitutionRole.Laboratory)
        );
        permitAs(patient, laboratory);
    }

    function checkPermits(bool byPrescriber, bool byPatient) internal view {
        (bool prescriber, bool patient_) = prescriptions.permitsOf(ID, pharmacy);
        assertEq(prescriber, byPrescriber, "prescriber's permit");
        assertEq(patient_, byPatient, "patient's permit");
        assertEq(prescriptions.readable(ID, pharmacy), byPrescriber && byPatient, "readable");
    }

    /// @dev P3: reading takes both.
    function test_a_pharmacy_reads_with_both_permits() public {
        issueAs(physician, terms());
        checkPermits(false, false);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.PharmacyPermitted(ID, pharmacy, physician);
        permitAs(physician, pharmacy);
        checkPermits(true, false);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.PharmacyPermitted(ID, pharmacy, patient);
        permitAs(patient, pharmacy);
        checkPermits(true, true);
        assertFalse(prescriptions.readable(ID, otherPharmacy), "another pharmacy");
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.PharmacyWithdrawn(ID, pharmacy, physician);
        withdrawAs(physician, pharmacy);
        checkPermits(false, true);
        withdrawAs(physician, pharmacy);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.PharmacyWithdrawn(ID, pharmacy, patient);
        withdrawAs(patient, pharmacy);
        checkPermits(false, false);
    }

    function test_what_is_over_is_not_readable() public {
        issued(terms());
        claim();
        assertTrue(prescriptions.readable(ID, pharmacy), "claimed");
        cancelAs(patient);
        assertFalse(prescriptions.readable(ID, pharmacy), "cancelled");
    }

    /* claim
     * ├── by anybody but a professional in force → NotProfessional
     * ├── by another role → WrongRole; at an institution that is no pharmacy → WrongInstitution
     * ├── Claimed, Expired, Cancelled, Completed → WrongState
     * ├── without both permits → NotPermitted
     * ├── before the next fill is due → TooEarly
     * └── otherwise: Claimed for two hours
     */

    function test_only_a_pharmacist_of_a_pharmacy_claims() public {
        issued(terms());
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, pharmacy));
        vm.prank(pharmacy);
        prescriptions.claim(ID);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongRole.selector, physician, ProfessionalRole.Physician));
        vm.prank(physician);
        prescriptions.claim(ID);
        accredit(hospital, stranger, ProfessionalRole.Pharmacist);
        vm.expectRevert(
            abi.encodeWithSelector(Prescriptions.WrongInstitution.selector, hospital, InstitutionRole.Hospital)
        );
        vm.prank(stranger);
        prescriptions.claim(ID);
    }

    function test_a_claim_takes_both_permits() public {
        issueAs(physician, terms());
        permitAs(patient, pharmacy);
        refusePermit(pharmacy);
        claim();
        withdrawAs(patient, pharmacy);
        permitAs(physician, pharmacy);
        refusePermit(pharmacy);
        claim();
    }

    /// @dev P2: one pharmacy at a time.
    function test_a_claim_is_exclusive_for_two_hours() public {
        issued(terms());
        permitAs(physician, otherPharmacy);
        permitAs(patient, otherPharmacy);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.PrescriptionClaimed(ID, pharmacy, pharmacist, time() + 2 hours);
        claim();
        check(Prescriptions.State.Claimed);
        refuseState(Prescriptions.State.Claimed);
        claim();
        skip(2 hours - 1);
        refuseState(Prescriptions.State.Claimed);
        vm.prank(otherPharmacist);
        prescriptions.claim(ID);
        skip(1);
        check(Prescriptions.State.Issued);
        vm.prank(otherPharmacist);
        prescriptions.claim(ID);
        refuseClaimant(pharmacy);
        dispense(1);
        refuseClaimant(pharmacy);
        vm.prank(pharmacist);
        prescriptions.release(ID);
    }

    function test_the_next_fill_waits_for_its_interval() public {
        Prescriptions.Terms memory given = terms();
        given.fillInterval = 28 days;
        issued(given);
        claim();
        dispense(30);
        uint40 next = time() + 28 days;
        skip(28 days - 1);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.TooEarly.selector, next));
        claim();
        skip(1);
        claim();
    }

    /// @dev P4: the clock alone ends it.
    function test_an_expired_prescription_is_neither_claimed_nor_dispensed() public {
        issued(terms());
        skip(90 days - 1);
        claim();
        dispense(1);
        skip(1);
        check(Prescriptions.State.Expired);
        assertFalse(prescriptions.readable(ID, pharmacy), "readable");
        refuseState(Prescriptions.State.Expired);
        dispense(1);
        refuseState(Prescriptions.State.Expired);
        claim();
        cancelAs(patient);
        check(Prescriptions.State.Cancelled);
    }

    /* release
     * ├── by anybody but a pharmacist of the claiming pharmacy → NotClaimant, WrongRole, ...
     * ├── after the claim is over → NotClaimant
     * └── otherwise: Issued, what was dispensed of the fill remains
     */

    function test_a_released_claim_is_free() public {
        issued(terms());
        refuseClaimant(pharmacy);
        vm.prank(pharmacist);
        prescriptions.release(ID);
        claim();
        dispense(10);
        refuseClaimant(otherPharmacy);
        vm.prank(otherPharmacist);
        prescriptions.release(ID);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.ClaimReleased(ID, pharmacy, pharmacist);
        vm.prank(pharmacist);
        prescriptions.release(ID);
        check(Prescriptions.State.Issued);

        permitAs(physician, otherPharmacy);
        permitAs(patient, otherPharmacy);
        vm.prank(otherPharmacist);
        prescriptions.claim(ID);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongQuantity.selector, 21, 20));
        vm.prank(otherPharmacist);
        prescriptions.dispense(ID, dispensing(21));
    }

    function test_a_claim_that_is_over_is_not_released() public {
        issued(terms());
        claim();
        skip(2 hours);
        refuseClaimant(pharmacy);
        vm.prank(pharmacist);
        prescriptions.release(ID);
    }

    /* dispense
     * ├── not Claimed → WrongState
     * ├── by another pharmacy than the claiming one → NotClaimant
     * ├── a permit was withdrawn since → NotPermitted
     * ├── nothing, or more than is left in the fill → WrongQuantity
     * ├── a product past its date → ProductExpired
     * ├── a part: the rest is left in the fill
     * ├── a whole fill: the claim is over
     * └── the last fill: Completed
     */

    function test_only_what_is_claimed_is_dispensed() public {
        issued(terms());
        refuseState(Prescriptions.State.Issued);
        dispense(1);
        claim();
        skip(2 hours);
        refuseState(Prescriptions.State.Issued);
        dispense(1);
    }

    function test_only_the_claiming_pharmacy_dispenses() public {
        issued(terms());
        claim();
        refuseClaimant(otherPharmacy);
        vm.prank(otherPharmacist);
        prescriptions.dispense(ID, dispensing(1));
    }

    /// @dev P3: a withdrawn permit stops dispensing at once.
    function test_a_withdrawn_permit_stops_dispensing() public {
        issued(terms());
        claim();
        withdrawAs(patient, pharmacy);
        refusePermit(pharmacy);
        dispense(1);
        permitAs(patient, pharmacy);
        dispense(1);
        withdrawAs(physician, pharmacy);
        refusePermit(pharmacy);
        dispense(1);
    }

    /// @dev P1.
    function test_a_quantity_is_never_exceeded() public {
        issued(terms());
        claim();
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongQuantity.selector, 0, 30));
        dispense(0);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongQuantity.selector, 31, 30));
        dispense(31);
        dispense(29);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongQuantity.selector, 2, 1));
        dispense(2);
    }

    function test_a_product_past_its_date_is_not_dispensed() public {
        issued(terms());
        claim();
        Prescriptions.Dispensing memory given = dispensing(1);
        given.productExpiry = time();
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.ProductExpired.selector, time()));
        vm.prank(pharmacist);
        prescriptions.dispense(ID, given);
    }

    function test_two_fills_in_parts_complete_it() public {
        issued(terms());
        claim();
        Prescriptions.Dispensing memory given = dispensing(10);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.Dispensed(ID, pharmacy, pharmacist, patient, 1, 20, given);
        dispense(10);
        check(Prescriptions.State.Claimed);
        dispense(20);
        check(Prescriptions.State.Issued);
        refuseState(Prescriptions.State.Issued);
        dispense(1);

        claim();
        given = dispensing(30);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.Dispensed(ID, pharmacy, pharmacist, patient, 2, 0, given);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.PrescriptionCompleted(ID, patient, physician, pharmacist);
        dispense(30);
        check(Prescriptions.State.Completed);
        refuseState(Prescriptions.State.Completed);
        claim();
        refuseState(Prescriptions.State.Completed);
        cancelAs(patient);
        assertFalse(prescriptions.readable(ID, pharmacy), "completed");
    }

    /* cancel
     * ├── Completed or Cancelled → WrongState
     * ├── by anybody but a party → NotParty, NotProfessional
     * └── otherwise: Cancelled for good, even while claimed
     */

    /// @dev P5.
    function test_a_cancelled_prescription_is_over() public {
        issued(terms());
        claim();
        dispense(1);
        refuseParty(colleague);
        cancelAs(colleague);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.PrescriptionCancelled(ID, patient, physician);
        cancelAs(physician);
        check(Prescriptions.State.Cancelled);
        refuseState(Prescriptions.State.Cancelled);
        dispense(1);
        refuseState(Prescriptions.State.Cancelled);
        claim();
        refuseState(Prescriptions.State.Cancelled);
        cancelAs(patient);
    }

    function test_the_patient_cancels() public {
        issued(terms());
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.PrescriptionCancelled(ID, patient, patient);
        cancelAs(patient);
    }

    /// @dev P1 for any terms and any parts.
    function testFuzz_dispensing_ends_at_the_quantity(uint32 quantity, uint8 fills, uint32 part) public {
        Prescriptions.Terms memory given = terms();
        given.quantity = uint32(bound(quantity, 1, type(uint32).max));
        given.fills = uint8(bound(fills, 1, 12));
        part = uint32(bound(part, 1 + given.quantity / 8, given.quantity));
        issued(given);
        uint256 total;
        while (prescriptions.stateOf(ID) != Prescriptions.State.Completed) {
            if (prescriptions.stateOf(ID) == Prescriptions.State.Issued) claim();
            uint32 left = given.quantity - prescriptions.prescriptionOf(ID).dispensed;
            uint32 now_ = part < left ? part : left;
            dispense(now_);
            total += now_;
        }
        assertEq(total, uint256(given.quantity) * given.fills, "total");
    }

    /* controlled: a second signature
     * ├── before it: AwaitingSignature, not readable, not claimed
     * ├── by the prescriber, by the prescriber at another institution, by a doctor of another one → NotSecond
     * ├── by another role → WrongRole; by the patient → OwnPrescription
     * ├── signed: Issued; twice, or of one that is not controlled → WrongState
     * └── cancelled or expired unsigned: it stays so
     */

    function issueControlled() internal {
        Prescriptions.Terms memory given = terms();
        vm.prank(physician);
        prescriptions.issueControlled(SALT, given);
        permitAs(physician, pharmacy);
        permitAs(patient, pharmacy);
    }

    function countersignAs(address who) internal {
        vm.prank(who);
        prescriptions.countersign(ID);
    }

    function refuseSecond(address who, address institution) internal {
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.NotSecond.selector, who, institution));
        countersignAs(who);
    }

    function test_P6_a_controlled_prescription_awaits_a_second_signature() public {
        issueControlled();
        check(Prescriptions.State.AwaitingSignature);
        assertFalse(prescriptions.readable(ID, pharmacy), "not readable");
        refuseState(Prescriptions.State.AwaitingSignature);
        claim();
        refuseSecond(physician, hospital);
        address elsewhere = vm.addr(0xE11);
        accredit(emergency, elsewhere, ProfessionalRole.Physician);
        refuseSecond(elsewhere, emergency);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongRole.selector, nurse, ProfessionalRole.Nurse));
        countersignAs(nurse);
        countersignAs(colleague);
        check(Prescriptions.State.Issued);
        assertTrue(prescriptions.readable(ID, pharmacy), "readable");
        refuseState(Prescriptions.State.Issued);
        countersignAs(colleague);
        claim();
        dispense(30);
    }

    function test_P6_nobody_signs_for_themselves() public {
        relate(colleague, hospital, false);
        Prescriptions.Terms memory given = terms();
        given.patient = colleague;
        vm.prank(physician);
        prescriptions.issueControlled(SALT, given);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.OwnPrescription.selector, colleague));
        countersignAs(colleague);
    }

    /// @dev Whoever changes the institution takes neither signature along.
    function test_P6_a_prescriber_does_not_countersign_from_elsewhere() public {
        issueControlled();
        vm.prank(hospital);
        registry.revokeAccreditation(physician);
        accredit(emergency, physician, ProfessionalRole.Surgeon);
        refuseSecond(physician, emergency);
        vm.prank(hospital);
        registry.revokeAccreditation(colleague);
        accredit(emergency, colleague, ProfessionalRole.Surgeon);
        refuseSecond(colleague, emergency);
    }

    function test_P6_what_is_over_is_not_signed() public {
        issueControlled();
        vm.warp(uint256(time()) + 90 days);
        check(Prescriptions.State.Expired);
        refuseState(Prescriptions.State.Expired);
        countersignAs(colleague);
        cancelAs(patient);
        refuseState(Prescriptions.State.Cancelled);
        countersignAs(colleague);
    }

    function test_P6_an_ordinary_prescription_takes_no_second_signature() public {
        issued(terms());
        refuseState(Prescriptions.State.Issued);
        countersignAs(colleague);
    }

    /* substitution
     * ├── under no claim → WrongState; by another pharmacy → NotClaimant; without both permits → NotPermitted
     * ├── forbidden by who is not the prescriber → NotParty; after it is over → WrongState
     * └── forbidden → SubstitutionRefused
     */

    function substituteAs(address who) internal {
        vm.prank(who);
        prescriptions.substitute(ID, "product", "reason");
    }

    function test_a_pharmacist_substitutes_unless_forbidden() public {
        issued(terms());
        refuseState(Prescriptions.State.Issued);
        substituteAs(pharmacist);
        claim();
        refuseClaimant(otherPharmacy);
        substituteAs(otherPharmacist);
        vm.expectEmit(address(prescriptions));
        emit Prescriptions.ProductSubstituted(ID, pharmacy, pharmacist, "product", "reason");
        substituteAs(pharmacist);
        withdrawAs(patient, pharmacy);
        refusePermit(pharmacy);
        substituteAs(pharmacist);
        permitAs(patient, pharmacy);
        for (uint256 i; i < 2; ++i) {
            address who = i == 0 ? patient : colleague;
            refuseParty(who);
            vm.prank(who);
            prescriptions.forbidSubstitution(ID);
        }
        vm.prank(physician);
        prescriptions.forbidSubstitution(ID);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.SubstitutionRefused.selector, ID));
        substituteAs(pharmacist);
        dispense(30);
        cancelAs(patient);
        refuseState(Prescriptions.State.Cancelled);
        vm.prank(physician);
        prescriptions.forbidSubstitution(ID);
    }

    /* receipts
     * ├── a fill that is not complete: none
     * ├── complete: the pharmacy, the time and the record of the last unit; it never changes
     * ├── confirmed by the patient, once; by another → NotParty; before → NothingToConfirm
     * └── a fill, or a prescription, that is not there: all zero
     */

    function confirmAs(address who, uint256 fill) internal {
        vm.prank(who);
        prescriptions.confirmCollection(ID, fill);
    }

    function checkService(uint256 fill, address provider, uint40 completedAt, bytes32 evidence) internal view {
        (address who, address where, uint40 when, bytes32 digest) = prescriptions.serviceOf(ID, fill);
        assertEq(who, completedAt == 0 ? address(0) : patient, "patient");
        assertEq(where, provider, "provider");
        assertEq(when, completedAt, "completed at");
        assertEq(digest, evidence, "evidence");
    }

    function test_P7_each_fill_has_one_receipt() public {
        issued(terms());
        claim();
        dispense(29);
        checkService(1, address(0), 0, 0);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.NothingToConfirm.selector, ID, 1));
        confirmAs(patient, 1);
        dispense(1);
        uint40 first = time();
        checkService(1, pharmacy, first, "record");
        checkService(0, address(0), 0, 0);
        checkService(2, address(0), 0, 0);
        refuseParty(pharmacist);
        confirmAs(pharmacist, 1);
        confirmAs(patient, 1);
        assertTrue(prescriptions.receiptOf(ID, 1).confirmed, "confirmed");
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.NothingToConfirm.selector, ID, 1));
        confirmAs(patient, 1);
        skip(1 days);
        permitAs(physician, otherPharmacy);
        permitAs(patient, otherPharmacy);
        vm.prank(otherPharmacist);
        prescriptions.claim(ID);
        Prescriptions.Dispensing memory given = dispensing(30);
        given.record = "another record";
        vm.prank(otherPharmacist);
        prescriptions.dispense(ID, given);
        check(Prescriptions.State.Completed);
        checkService(1, pharmacy, first, "record");
        checkService(2, otherPharmacy, time(), "another record");
        confirmAs(patient, 2);
    }

    /* fraud
     * ├── an altered dose: another text under the same identifier → AlreadyIssued; more units → WrongQuantity
     * ├── a forged prescriber: who is none, at no institution of the patient's, or for a colleague's prescription
     * ├── a revoked professional, and one whose accreditation is over, from that second on → NotProfessional
     * ├── an institution that was voted out in the middle → NotProfessional; the patient's other pharmacy goes on
     * └── two pharmacies race: exactly one wins, whoever comes first
     */

    function test_fraud_an_altered_dose() public {
        issued(terms());
        Prescriptions.Terms memory altered = terms();
        (altered.digest, altered.quantity, altered.fills) = ("ten times as much", 300, 12);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.AlreadyIssued.selector, ID));
        issueAs(physician, altered);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.AlreadyIssued.selector, ID));
        vm.prank(physician);
        prescriptions.issueControlled(SALT, altered);
        claim();
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongQuantity.selector, 31, 30));
        dispense(31);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.WrongQuantity.selector, type(uint32).max, 30));
        dispense(type(uint32).max);
        dispense(30);
        refuseState(Prescriptions.State.Issued);
        dispense(1);
    }

    function test_fraud_a_forged_prescriber() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, patient));
        issueAs(patient, terms());
        vm.expectRevert(
            abi.encodeWithSelector(Prescriptions.WrongRole.selector, pharmacist, ProfessionalRole.Pharmacist)
        );
        issueAs(pharmacist, terms());
        // Accredited by the pharmacy itself, it keeps no records of the patient.
        address bought = vm.addr(0xE12);
        accredit(pharmacy, bought, ProfessionalRole.Physician);
        vm.expectRevert(abi.encodeWithSelector(Prescriptions.NotActive.selector, patient, pharmacy));
        issueAs(bought, terms());
        issueAs(physician, terms());
        permitAs(patient, pharmacy);
        for (uint256 i; i < 3; ++i) {
            address[3] memory others = [colleague, bought, pharmacist];
            refuseParty(others[i]);
            permitAs(others[i], pharmacy);
        }
        refusePermit(pharmacy);
        claim();
    }

    function test_fraud_a_revoked_professional() public {
        issued(terms());
        claim();
        vm.prank(pharmacy);
        registry.revokeAccreditation(pharmacist);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, pharmacist));
        dispense(30);
        vm.prank(hospital);
        registry.revokeAccreditation(physician);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, physician));
        vm.prank(physician);
        prescriptions.issue("another", Prescriptions.Terms(patient, "digest", 30, 2, time() + 90 days, 0));
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, physician));
        permitAs(physician, otherPharmacy);
        // What was prescribed counts on, and another pharmacist of the pharmacy dispenses it.
        address second = vm.addr(0xE13);
        accredit(pharmacy, second, ProfessionalRole.Pharmacist);
        Prescriptions.Dispensing memory given = dispensing(30);
        vm.prank(second);
        prescriptions.dispense(ID, given);
    }

    function test_fraud_an_expired_accreditation() public {
        vm.prank(hospital);
        registry.renew(physician, time() + 1000);
        vm.prank(pharmacy);
        registry.renew(pharmacist, time() + 1000);
        skip(999);
        issued(terms());
        claim();
        dispense(1);
        skip(1);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, pharmacist));
        dispense(1);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, physician));
        vm.prank(physician);
        prescriptions.issue("another", Prescriptions.Terms(patient, "digest", 30, 2, time() + 90 days, 0));
    }

    function test_fraud_a_pharmacy_that_was_voted_out_in_the_middle() public {
        issued(terms());
        permitAs(physician, otherPharmacy);
        permitAs(patient, otherPharmacy);
        claim();
        vm.prank(hospital);
        uint256 expulsion = registry.proposeExpulsion(pharmacy);
        vm.prank(laboratory);
        registry.vote(expulsion);
        vm.prank(otherPharmacy);
        registry.vote(expulsion);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotProfessional.selector, pharmacist));
        dispense(30);
        skip(2 hours);
        vm.prank(otherPharmacist);
        prescriptions.claim(ID);
    }

    function testFuzz_two_pharmacies_race_and_exactly_one_wins(uint256 seed) public {
        issued(terms());
        permitAs(physician, otherPharmacy);
        permitAs(patient, otherPharmacy);
        address[2] memory who = [pharmacist, otherPharmacist];
        uint256[2] memory units;
        uint256 won;
        for (uint256 i; i < 24; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 place = seed % 2;
            vm.prank(who[place]);
            (bool claimed,) = address(prescriptions).call(abi.encodeCall(Prescriptions.claim, (ID)));
            if (claimed) ++won;
            for (uint256 j; j < 2; ++j) {
                Prescriptions.Dispensing memory given = dispensing(uint32(1 + (seed >> 8) % 9));
                vm.prank(who[j]);
                (bool gave,) = address(prescriptions).call(abi.encodeCall(Prescriptions.dispense, (ID, given)));
                if (!gave) continue;
                units[j] += given.quantity;
                assertEq(prescriptions.prescriptionOf(ID).pharmacy == address(0)
                    || prescriptions.prescriptionOf(ID).pharmacy == (j == 0 ? pharmacy : otherPharmacy), true, "P2: the holder");
            }
            skip((seed >> 16) % 3 hours);
        }
        assertTrue(won >= 1, "somebody wins");
        assertTrue(units[0] + units[1] <= 60, "P1: never beyond");
    }
}
