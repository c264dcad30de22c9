// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Claims} from "../src/Claims.sol";
import {makeId} from "../src/Ids.sol";
import {LabOrders} from "../src/LabOrders.sol";
import {Prescriptions} from "../src/Prescriptions.sol";
import {Purse} from "../src/Purse.sol";
import {Registry} from "../src/Registry.sol";
import {InstitutionRole, ProfessionalRole} from "../src/Types.sol";
import {Steps} from "./support/Steps.sol";

contract ClaimsTest is Steps {
    bytes32 internal constant SALT = "prescription";
    bytes32 internal RX = makeId(physician, SALT);
    bytes32 internal labOrder = makeId(physician, "order");
    bytes32 internal constant RECORD = "dispensing record";
    uint128 internal constant AMOUNT = 10_000;

    bytes32 internal coverage;
    bytes32 internal authorisation;
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        coverage = makeId(insurer, "coverage");
        authorisation = makeId(pharmacy, "authorisation");
        id = makeId(pharmacy, "claim");
        fund(insurer, 1_000_000);
        fund(patient, 100_000);
    }

    function fund(address holder, uint256 amount) internal {
        vm.prank(holder);
        token.approve(address(claims), amount);
        vm.prank(holder);
        claims.deposit(holder, amount);
    }

    /* The table */

    function workflow() internal view override returns (string memory, address) {
        return ("Claims", address(claims));
    }

    function states() internal pure override returns (string[] memory) {
        string[13] memory names;
        (names[0], names[1], names[2], names[3]) = ("None", "Offered", "Covered", "Asked");
        (names[4], names[5], names[6], names[7]) = ("Granted", "Submitted", "Adjudicated", "Appealed");
        (names[8], names[9], names[10], names[11]) = ("Final", "Paid", "Whole", "Withdrawn");
        names[12] = "Ended";
        return asList(names, 13);
    }

    function steps() internal view override returns (Step[] memory list) {
        list = new Step[](14);
        list[0] = Step("offer coverage", abi.encodeCall(Claims.offerCoverage, ("coverage", terms())));
        list[1] = Step("accept coverage", abi.encodeCall(Claims.acceptCoverage, (coverage, "policy")));
        list[2] = Step("end coverage", abi.encodeCall(Claims.endCoverage, (coverage)));
        list[3] = Step("ask", abi.encodeCall(Claims.requestAuthorisation, ("authorisation", coverage, AMOUNT, "why")));
        list[4] = Step(
            "answer", abi.encodeCall(Claims.decideAuthorisation, (authorisation, AMOUNT, time() + 30 days))
        );
        list[5] = Step("submit", abi.encodeCall(Claims.submit, ("claim", submission())));
        list[6] = Step("withdraw claim", abi.encodeCall(Claims.withdrawClaim, (id)));
        list[7] = Step("contest", abi.encodeCall(Claims.contest, (id, "I was not there")));
        list[8] = Step("adjudicate", abi.encodeCall(Claims.adjudicate, (id, decision(8000))));
        list[9] = Step("appeal", abi.encodeCall(Claims.appeal, (id, "reason")));
        list[10] = Step("decide appeal", abi.encodeCall(Claims.decideAppeal, (id, decision(9000))));
        list[11] = Step("pay", abi.encodeCall(Claims.pay, (id)));
        list[12] = Step("pay co-payment", abi.encodeCall(Claims.payCopayment, (id)));
        list[13] = Step("refund", abi.encodeCall(Claims.refund, (id, 100, 10)));
    }

    /// @dev 10 comes from Submitted, and is approved whole; 11 and 12 come from Submitted.
    function reach(uint256 state) internal override {
        if (state >= 1) offer(terms());
        if (state >= 2) {
            acceptAndWait();
            fill(SALT, RECORD);
        }
        if (state >= 3) ask();
        if (state >= 4) answer(AMOUNT);
        if (state >= 5) submit(submission());
        if (state == 10) adjudicate(decision(AMOUNT));
        if (state == 11) {
            vm.prank(pharmacy);
            claims.withdrawClaim(id);
        }
        if (state == 12) {
            vm.prank(patient);
            claims.endCoverage(coverage);
        }
        if (state >= 10) return;
        if (state >= 6) adjudicate(decision(8000));
        if (state >= 7) appealAs(pharmacy);
        if (state >= 8) decideAppeal(decision(9000));
        if (state >= 9) {
            claims.pay(id);
            vm.prank(patient);
            claims.payCopayment(id);
        }
    }

    /* Steps */

    /// @notice A year, a tenth by the patient, at most 50,000.
    function terms() internal view returns (Claims.Terms memory) {
        return Claims.Terms(patient, time(), time() + 365 days, 1000, 50_000, "policy");
    }

    function offer(Claims.Terms memory given) internal {
        vm.prank(insurer);
        claims.offerCoverage("coverage", given);
    }

    function accept() internal {
        vm.prank(patient);
        claims.acceptCoverage(coverage, "policy");
    }

    /// @dev A coverage runs from the second after it was accepted on.
    function acceptAndWait() internal {
        accept();
        skip(1);
    }

    function cover() internal {
        offer(terms());
        acceptAndWait();
    }

    /// @notice One fill of a prescription of the patient's, dispensed by the network's pharmacy.
    function fill(bytes32 salt, bytes32 record) internal {
        bytes32 prescription = makeId(physician, salt);
        Prescriptions.Terms memory given = Prescriptions.Terms(patient, "digest", 10, 2, time() + 90 days, 0);
        vm.prank(physician);
        prescriptions.issue(salt, given);
        vm.prank(physician);
        prescriptions.permit(prescription, pharmacy);
        vm.prank(patient);
        prescriptions.permit(prescription, pharmacy);
        refill(prescription, record);
    }

    function refill(bytes32 prescription, bytes32 record) internal {
        vm.prank(pharmacist);
        prescriptions.claim(prescription);
        Prescriptions.Dispensing memory given = Prescriptions.Dispensing(10, time() + 365 days, "batch", record);
        vm.prank(pharmacist);
        prescriptions.dispense(prescription, given);
    }

    function ask() internal {
        vm.prank(pharmacy);
        claims.requestAuthorisation("authorisation", coverage, AMOUNT, "why");
    }

    function answer(uint128 granted) internal {
        vm.prank(adjudicator);
        claims.decideAuthorisation(authorisation, granted, time() + 30 days);
    }

    function submission() internal view returns (Claims.Submission memory) {
        return Claims.Submission(coverage, Claims.Source.Prescription, RX, 1, RECORD, AMOUNT, 0, "claim");
    }

    function submit(Claims.Submission memory given) internal {
        vm.prank(pharmacy);
        claims.submit("claim", given);
    }

    function submitAnother(Claims.Submission memory given) internal {
        vm.prank(pharmacy);
        claims.submit("another", given);
    }

    /// @notice Whole, or less because it is excessive.
    function decision(uint128 approved) internal pure returns (Claims.Decision memory) {
        return Claims.Decision(approved, approved == AMOUNT ? 0 : 8, "rules", "explanation");
    }

    function adjudicate(Claims.Decision memory given) internal {
        vm.prank(adjudicator);
        claims.adjudicate(id, given);
    }

    function appealAs(address who) internal {
        vm.prank(who);
        claims.appeal(id, "reason");
    }

    function decideAppeal(Claims.Decision memory given) internal {
        vm.prank(secondAdjudicator);
        claims.decideAppeal(id, given);
    }

    function refuse(bytes memory reason) internal {
        vm.expectRevert(reason);
    }

    function refuseAmount(uint256 given, uint256 least, uint256 most) internal {
        refuse(abi.encodeWithSelector(Claims.InvalidAmount.selector, given, least, most));
    }

    function refuseParty(address who) internal {
        refuse(abi.encodeWithSelector(Claims.NotParty.selector, who));
    }

    function check(Claims.State state) internal view {
        assertEq(uint256(claims.stateOf(id)), uint256(state), "state");
    }

    /* coverage
     * ├── offered by who is no insurer → WrongInstitution
     * ├── for nobody, for no time, for more than two years, over, of more than a whole, of nothing → InvalidTerms
     * ├── with a salt that the insurer used → AlreadyUsed
     * ├── accepted under another policy → PolicyDiffers; twice → WrongStanding
     * ├── a service before the acceptance → NotCovered, however early the coverage was to begin
     * ├── ended: a service from that second on → NotCovered; one before is covered
     * └── ended by somebody else → NotParty
     */

    function test_only_an_insurer_offers_and_within_bounds() public {
        Claims.Terms memory given = terms();
        refuse(abi.encodeWithSelector(Claims.WrongInstitution.selector, hospital, InstitutionRole.Hospital));
        vm.prank(hospital);
        claims.offerCoverage("coverage", given);

        given.patient = address(0);
        refuseTerms(given);
        given = terms();
        given.until = given.from;
        refuseTerms(given);
        given = terms();
        given.until = given.from + 2 * 366 days + 1;
        refuseTerms(given);
        given = terms();
        (given.from, given.until) = (time() - 10, time());
        refuseTerms(given);
        given = terms();
        given.copayment = 10_001;
        refuseTerms(given);
        given = terms();
        given.limit = 0;
        refuseTerms(given);
        offer(terms());
        refuse(abi.encodeWithSelector(Claims.AlreadyUsed.selector, coverage));
        offer(terms());
    }

    function refuseTerms(Claims.Terms memory given) internal {
        refuse(
            abi.encodeWithSelector(
                Claims.InvalidTerms.selector, given.from, given.until, given.copayment, given.limit
            )
        );
        offer(given);
    }

    function test_the_patient_accepts_what_they_saw_once() public {
        offer(terms());
        refuse(abi.encodeWithSelector(Claims.PolicyDiffers.selector, bytes32("policy"), bytes32("small print")));
        vm.prank(patient);
        claims.acceptCoverage(coverage, "small print");
        accept();
        refuse(abi.encodeWithSelector(Claims.WrongStanding.selector, coverage, Claims.Standing.Active));
        accept();
    }

    function test_what_is_over_is_not_accepted() public {
        offer(terms());
        uint40 until = terms().until;
        vm.warp(until - 1);
        refuse(abi.encodeWithSelector(Claims.TooLate.selector, until));
        accept();
        vm.warp(until - 2);
        accept();
        assertTrue(claims.isEligible(coverage, until - 1), "a second");
    }

    function test_K1_nobody_waits_for_the_service_before_accepting() public {
        Claims.Terms memory given = terms();
        given.from = time() - 30 days;
        offer(given);
        fill(SALT, RECORD);
        uint40 filledAt = time();
        accept();
        assertFalse(claims.isEligible(coverage, filledAt), "not before, nor in the same second");
        assertTrue(claims.isEligible(coverage, time() + 1), "from the next on");
        refuse(abi.encodeWithSelector(Claims.NotCovered.selector, coverage, filledAt));
        submit(submission());
    }

    function test_K1_an_ended_coverage_covers_what_was_before() public {
        cover();
        fill(SALT, RECORD);
        skip(1);
        refuseParty(clinic);
        vm.prank(clinic);
        claims.endCoverage(coverage);
        vm.prank(insurer);
        claims.endCoverage(coverage);
        refill(RX, "second");
        Claims.Submission memory late = submission();
        (late.part, late.evidence) = (2, "second");
        refuse(abi.encodeWithSelector(Claims.NotCovered.selector, coverage, time()));
        submitAnother(late);
        submit(submission());
    }

    /* submit
     * ├── by who is no institution → NotInstitution
     * ├── for a service that is not complete, or not there → NoService
     * ├── for somebody else's service, or of another patient → ServiceDiffers
     * ├── with other evidence than its performers signed → EvidenceDiffers
     * ├── the same service again → AlreadyClaimed; another service with the same evidence → AlreadyClaimed
     * ├── a year and a day after → accepted; a second later → TooLate
     * ├── of nothing → NoAmount; with a salt that was used → AlreadyUsed
     * └── withdrawn: the service is free again
     */

    function test_K1_only_a_completed_service_of_the_provider_is_claimed() public {
        cover();
        refuse(abi.encodeWithSelector(Claims.NoService.selector, RX, 1));
        submit(submission());
        fill(SALT, RECORD);
        refuse(abi.encodeWithSelector(Registry.NotInstitution.selector, pharmacist));
        vm.prank(pharmacist);
        claims.submit("claim", submission());
        refuse(abi.encodeWithSelector(Claims.ServiceDiffers.selector, patient, pharmacy));
        vm.prank(hospital);
        claims.submit("claim", submission());
        Claims.Submission memory given = submission();
        given.part = 2;
        refuse(abi.encodeWithSelector(Claims.NoService.selector, RX, 2));
        submit(given);
        given = submission();
        given.evidence = "something dearer";
        refuse(abi.encodeWithSelector(Claims.EvidenceDiffers.selector, RECORD, bytes32("something dearer")));
        submit(given);
        given = submission();
        given.source = Claims.Source.Surgery;
        refuse(abi.encodeWithSelector(Claims.NoService.selector, RX, 1));
        submit(given);
        given = submission();
        given.amount = 0;
        refuse(abi.encodeWithSelector(Purse.NoAmount.selector));
        submit(given);
    }

    function test_K1_a_partial_fill_is_no_service() public {
        cover();
        Prescriptions.Terms memory given = Prescriptions.Terms(patient, "digest", 10, 2, time() + 90 days, 0);
        vm.prank(physician);
        prescriptions.issue(SALT, given);
        vm.prank(physician);
        prescriptions.permit(RX, pharmacy);
        vm.prank(patient);
        prescriptions.permit(RX, pharmacy);
        vm.prank(pharmacist);
        prescriptions.claim(RX);
        Prescriptions.Dispensing memory part = Prescriptions.Dispensing(9, time() + 365 days, "batch", RECORD);
        vm.prank(pharmacist);
        prescriptions.dispense(RX, part);
        refuse(abi.encodeWithSelector(Claims.NoService.selector, RX, 1));
        submit(submission());
    }

    function test_K1_a_service_to_another_patient_is_not_covered() public {
        Claims.Terms memory given = terms();
        given.patient = otherPatient;
        offer(given);
        vm.prank(otherPatient);
        claims.acceptCoverage(coverage, "policy");
        skip(1);
        fill(SALT, RECORD);
        refuse(abi.encodeWithSelector(Claims.ServiceDiffers.selector, patient, pharmacy));
        submit(submission());
    }

    function test_K2_a_service_is_claimed_once() public {
        reach(5);
        refuse(abi.encodeWithSelector(Claims.AlreadyClaimed.selector, id));
        submitAnother(submission());
        refuse(abi.encodeWithSelector(Claims.AlreadyUsed.selector, id));
        submit(submission());
        // Of another fill, with the receipt of the first.
        refill(RX, RECORD);
        Claims.Submission memory again = submission();
        again.part = 2;
        refuse(abi.encodeWithSelector(Claims.AlreadyClaimed.selector, id));
        submitAnother(again);
        // Nor under another coverage of another insurer.
        again = submission();
        again.coverage = coverOfAnotherInsurer();
        refuse(abi.encodeWithSelector(Claims.AlreadyClaimed.selector, id));
        submitAnother(again);
    }

    function coverOfAnotherInsurer() internal returns (bytes32 other) {
        address otherInsurer = vm.addr(0xE09);
        admit(otherInsurer, InstitutionRole.Insurer);
        vm.prank(otherInsurer);
        other = claims.offerCoverage("coverage", terms());
        vm.prank(patient);
        claims.acceptCoverage(other, "policy");
        skip(1);
    }

    function test_K2_a_paid_claim_is_not_claimed_anew() public {
        reach(9);
        refuse(abi.encodeWithSelector(Claims.AlreadyClaimed.selector, id));
        submitAnother(submission());
        // Not even when all of it was paid back.
        vm.prank(pharmacy);
        claims.refund(id, 8100, 900);
        refuse(abi.encodeWithSelector(Claims.AlreadyClaimed.selector, id));
        submitAnother(submission());
    }

    function test_a_withdrawn_claim_frees_service_and_authorisation() public {
        reach(4);
        Claims.Submission memory given = submission();
        given.authorisation = authorisation;
        submit(given);
        vm.prank(pharmacy);
        claims.withdrawClaim(id);
        check(Claims.State.Withdrawn);
        assertEq(claims.claimFor(Claims.Source.Prescription, RX, 1), bytes32(0), "free");
        refuse(abi.encodeWithSelector(Claims.AlreadyUsed.selector, id));
        submit(given);
        submitAnother(given);
        assertEq(claims.claimFor(Claims.Source.Prescription, RX, 1), makeId(pharmacy, "another"), "claimed");
    }

    function test_a_claim_is_filed_within_a_year() public {
        cover();
        fill(SALT, RECORD);
        uint256 last = uint256(time()) + 366 days;
        vm.warp(last + 1);
        refuse(abi.encodeWithSelector(Claims.TooLate.selector, last));
        submit(submission());
        vm.warp(last);
        submit(submission());
    }

    function test_a_laboratory_claims_its_first_final_result() public {
        cover();
        vm.prank(physician);
        labOrders.order("order", patient, laboratory, "digest");
        vm.prank(scientist);
        labOrders.collect(labOrder, "specimen");
        vm.prank(scientist);
        labOrders.reportPreliminary(labOrder, "preliminary", false);
        Claims.Submission memory given = submission();
        (given.source, given.service, given.evidence) = (Claims.Source.LabOrder, labOrder, "preliminary");
        refuse(abi.encodeWithSelector(Claims.NoService.selector, labOrder, 1));
        vm.prank(laboratory);
        claims.submit("claim", given);
        vm.prank(scientist);
        labOrders.report(labOrder, "result", false);
        given.evidence = "result";
        vm.prank(laboratory);
        claims.submit("claim", given);
        // A correction makes no second service.
        vm.prank(scientist);
        labOrders.correct(labOrder, "corrected", false);
        given.evidence = "corrected";
        refuse(abi.encodeWithSelector(Claims.AlreadyClaimed.selector, makeId(laboratory, "claim")));
        vm.prank(laboratory);
        claims.submit("another", given);
    }

    /// @dev K1: neither a correction nor anything else moves a service into a coverage that began later.
    function test_K1_a_correction_does_not_move_a_service() public {
        vm.prank(physician);
        labOrders.order("order", patient, laboratory, "digest");
        vm.prank(scientist);
        labOrders.collect(labOrder, "specimen");
        vm.prank(scientist);
        labOrders.report(labOrder, "result", false);
        uint40 reportedAt = time();
        skip(1);
        cover();
        vm.prank(scientist);
        labOrders.correct(labOrder, "corrected", false);
        Claims.Submission memory given = submission();
        (given.source, given.service, given.evidence) = (Claims.Source.LabOrder, labOrder, "corrected");
        refuse(abi.encodeWithSelector(Claims.NotCovered.selector, coverage, reportedAt));
        vm.prank(laboratory);
        claims.submit("claim", given);
    }

    /* pre-authorisation
     * ├── asked for nothing → NoAmount; without a running coverage → NotCovered; a salt again → AlreadyUsed
     * ├── granted more than asked for → InvalidAmount; for the past, or for longer than two years → InvalidAmount
     * ├── answered twice → AuthorisationRefused
     * ├── claimed when undecided, refused, used, of another provider or coverage → AuthorisationRefused
     * ├── for a service completed at its end → AuthorisationRefused; a second before, claimed later: covered
     * ├── the coverage ended meanwhile, by whom ever: covered; a service before it began → NotCovered
     * └── granted: less is approved only of a claim that is duplicate, upcoded or excessive
     */

    function test_an_authorisation_is_asked_for_under_a_coverage() public {
        offer(terms());
        refuse(abi.encodeWithSelector(Claims.NotCovered.selector, coverage, time()));
        ask();
        acceptAndWait();
        refuse(abi.encodeWithSelector(Purse.NoAmount.selector));
        vm.prank(pharmacy);
        claims.requestAuthorisation("authorisation", coverage, 0, "why");
        ask();
        refuse(abi.encodeWithSelector(Claims.AlreadyUsed.selector, authorisation));
        ask();
        refuseAmount(AMOUNT + 1, 0, AMOUNT);
        answer(AMOUNT + 1);
        refuseAmount(time(), time() + 1, time() + 2 * 366 days);
        vm.prank(adjudicator);
        claims.decideAuthorisation(authorisation, AMOUNT, time());
        answer(AMOUNT);
        refuse(abi.encodeWithSelector(Claims.AuthorisationRefused.selector, authorisation));
        answer(0);
    }

    function test_K7_only_a_granted_authorisation_counts_and_once() public {
        reach(3);
        Claims.Submission memory given = submission();
        given.authorisation = authorisation;
        refuseAuthorisation(given);
        uint256 asked = vm.snapshotState();
        answer(0);
        refuseAuthorisation(given);
        vm.revertToState(asked);
        answer(AMOUNT);
        submit(given);
        refill(RX, "second");
        (given.part, given.evidence) = (2, "second");
        refuse(abi.encodeWithSelector(Claims.AuthorisationRefused.selector, authorisation));
        submitAnother(given);
    }

    /// @dev K7: it is the service that must be in time. Its provider claims when it can.
    function test_K7_a_service_is_completed_before_the_authorisation_ends() public {
        reach(4);
        uint40 until = claims.authorisationOf(authorisation).until;
        Claims.Submission memory given = submission();
        (given.authorisation, given.part, given.evidence) = (authorisation, 2, "second");
        uint256 granted = vm.snapshotState();
        vm.warp(until);
        refill(RX, "second");
        refuseAuthorisation(given);
        vm.revertToState(granted);
        vm.warp(until - 1);
        refill(RX, "second");
        skip(200 days);
        submit(given);
    }

    /// @dev K7: an insurer does not take back what it granted by ending the coverage.
    function test_K7_what_was_granted_stands_when_the_coverage_ends() public {
        reach(4);
        skip(1);
        vm.prank(insurer);
        claims.endCoverage(coverage);
        skip(1 days);
        refill(RX, "second");
        Claims.Submission memory given = submission();
        (given.part, given.evidence) = (2, "second");
        refuse(abi.encodeWithSelector(Claims.NotCovered.selector, coverage, time()));
        submit(given);
        given.authorisation = authorisation;
        submit(given);
        adjudicate(decision(AMOUNT));
        assertEq(claims.claimOf(id).share, 9000, "set aside");
    }

    function test_K1_an_authorisation_does_not_reach_before_the_coverage() public {
        fill(SALT, RECORD);
        uint40 filledAt = time();
        skip(1);
        cover();
        ask();
        answer(AMOUNT);
        Claims.Submission memory given = submission();
        given.authorisation = authorisation;
        refuse(abi.encodeWithSelector(Claims.NotCovered.selector, coverage, filledAt));
        submit(given);
    }

    function refuseAuthorisation(Claims.Submission memory given) internal {
        refuse(abi.encodeWithSelector(Claims.AuthorisationRefused.selector, given.authorisation));
        submit(given);
    }

    function test_K7_an_authorisation_of_another_provider_or_coverage_does_not_count() public {
        cover();
        fill(SALT, RECORD);
        vm.prank(clinic);
        bytes32 others = claims.requestAuthorisation("authorisation", coverage, AMOUNT, "why");
        vm.prank(adjudicator);
        claims.decideAuthorisation(others, AMOUNT, time() + 1 days);
        Claims.Submission memory given = submission();
        given.authorisation = others;
        refuseAuthorisation(given);
        ask();
        answer(AMOUNT);
        given.authorisation = authorisation;
        given.coverage = coverOfAnotherInsurer();
        refuseAuthorisation(given);
    }

    function test_K7_what_was_granted_is_approved() public {
        reach(3);
        answer(6000);
        Claims.Submission memory given = submission();
        given.authorisation = authorisation;
        submit(given);
        uint256 start = vm.snapshotState();
        refuseAmount(5999, 6000, AMOUNT);
        adjudicate(Claims.Decision(5999, 4, "rules", "explanation"));
        adjudicate(Claims.Decision(6000, 4, "rules", "explanation"));
        uint8[3] memory unbound = [1, 2, 8];
        for (uint256 i; i < 3; ++i) {
            vm.revertToState(start);
            start = vm.snapshotState();
            adjudicate(Claims.Decision(0, unbound[i], "rules", "explanation"));
            assertEq(claims.claimOf(id).flags, unbound[i], "flagged");
        }
    }

    function test_K7_more_than_is_claimed_is_never_approved() public {
        reach(3);
        answer(AMOUNT);
        Claims.Submission memory given = submission();
        (given.authorisation, given.amount) = (authorisation, 4000);
        submit(given);
        refuseAmount(AMOUNT, 0, 4000);
        adjudicate(Claims.Decision(AMOUNT, 0, "rules", "explanation"));
        adjudicate(Claims.Decision(4000, 0, "rules", "explanation"));
    }

    /* adjudicate, appeal
     * ├── more than claimed → InvalidAmount
     * ├── less without a flag, all with one, or the patient's flag → WrongFlags
     * ├── beyond the limit of the coverage → InvalidAmount; beyond the insurer's balance → InsufficientBalance
     * ├── by an adjudicator of another insurer, or who is none any more → refused
     * ├── appealed: of what was approved whole → InvalidAmount; from the last second on → TooLate; twice → WrongState
     * ├── decided by the same adjudicator → SameAdjudicator; lower than before → InvalidAmount
     * └── overdue exactly from 30 days on
     */

    function test_K6_a_decision_has_its_bounds_and_its_flags() public {
        reach(5);
        refuseAmount(AMOUNT + 1, 0, AMOUNT);
        adjudicate(Claims.Decision(AMOUNT + 1, 0, "rules", "explanation"));
        refuse(abi.encodeWithSelector(Claims.WrongFlags.selector, uint8(0)));
        adjudicate(Claims.Decision(AMOUNT - 1, 0, "rules", "explanation"));
        refuse(abi.encodeWithSelector(Claims.WrongFlags.selector, uint8(1)));
        adjudicate(Claims.Decision(AMOUNT, 1, "rules", "explanation"));
        refuse(abi.encodeWithSelector(Claims.WrongFlags.selector, uint8(129)));
        adjudicate(Claims.Decision(0, 129, "rules", "explanation"));
        // Nor what no flag stands for.
        for (uint8 i = 4; i < 7; ++i) {
            refuse(abi.encodeWithSelector(Claims.WrongFlags.selector, uint8(1 << i)));
            adjudicate(Claims.Decision(0, uint8(1 << i), "rules", "explanation"));
        }
        // Zero is a decision, too: nothing is set aside.
        adjudicate(Claims.Decision(0, 1, "rules", "explanation"));
        assertEq(claims.balanceOf(insurer), 1_000_000, "nothing set aside");
        refuse(abi.encodeWithSelector(Purse.NoAmount.selector));
        claims.pay(id);
        refuse(abi.encodeWithSelector(Purse.NoAmount.selector));
        vm.prank(patient);
        claims.payCopayment(id);
    }

    function test_K5_a_coverage_pays_at_most_its_limit() public {
        Claims.Terms memory given = terms();
        given.limit = 8999;
        offer(given);
        acceptAndWait();
        fill(SALT, RECORD);
        submit(submission());
        refuseAmount(9000, 0, 8999);
        adjudicate(decision(AMOUNT));
        adjudicate(Claims.Decision(9999, 8, "rules", "explanation"));
        assertEq(claims.coverageOf(coverage).used, 8999, "K5: all of it");
    }

    function test_an_insurer_that_cannot_pay_does_not_approve() public {
        reach(5);
        vm.prank(insurer);
        claims.withdraw(insurer, insurer, 1_000_000 - 8999);
        refuse(abi.encodeWithSelector(Purse.InsufficientBalance.selector, insurer, 8999, 9000));
        adjudicate(decision(AMOUNT));
        check(Claims.State.Submitted);
    }

    function test_K6_another_insurer_s_adjudicator_does_not_decide() public {
        reach(5);
        address otherInsurer = vm.addr(0xE09);
        address other = vm.addr(0xE10);
        admit(otherInsurer, InstitutionRole.Insurer);
        accredit(otherInsurer, other, ProfessionalRole.Adjudicator);
        refuse(
            abi.encodeWithSelector(Claims.NotAllowed.selector, other, ProfessionalRole.Adjudicator, otherInsurer)
        );
        vm.prank(other);
        claims.adjudicate(id, decision(8000));
        vm.prank(insurer);
        registry.revokeAccreditation(adjudicator);
        refuse(abi.encodeWithSelector(Registry.NotProfessional.selector, adjudicator));
        adjudicate(decision(8000));
    }

    function test_K6_another_adjudicator_decides_the_appeal_never_lower() public {
        reach(7);
        refuse(abi.encodeWithSelector(Claims.SameAdjudicator.selector, adjudicator));
        vm.prank(adjudicator);
        claims.decideAppeal(id, decision(9000));
        refuseAmount(7999, 8000, AMOUNT);
        decideAppeal(decision(7999));
        decideAppeal(decision(8000));
        check(Claims.State.Final);
        assertEq(claims.claimOf(id).share, 7200, "as before");
    }

    function test_an_appeal_has_its_time() public {
        reach(10);
        refuseAmount(AMOUNT, 0, AMOUNT);
        appealAs(pharmacy);
        setUp();
        reach(6);
        uint40 until = claims.claimOf(id).appealUntil;
        assertEq(until, time() + 60 days, "until");
        vm.warp(until);
        refuse(abi.encodeWithSelector(Claims.TooLate.selector, until));
        appealAs(pharmacy);
        vm.warp(until - 1);
        refuseParty(clinic);
        appealAs(clinic);
        appealAs(patient);
        check(Claims.State.Appealed);
        refuse(abi.encodeWithSelector(Claims.WrongState.selector, id, Claims.State.Appealed));
        appealAs(pharmacy);
    }

    function test_a_decision_is_overdue_after_thirty_days() public {
        reach(5);
        skip(30 days - 1);
        assertFalse(claims.isOverdue(id), "a second before");
        skip(1);
        assertTrue(claims.isOverdue(id), "overdue");
        adjudicate(decision(8000));
        assertFalse(claims.isOverdue(id), "decided");
        appealAs(pharmacy);
        skip(30 days);
        assertTrue(claims.isOverdue(id), "the appeal as well");
        decideAppeal(decision(8000));
        assertFalse(claims.isOverdue(id), "final");
    }

    function test_a_contested_claim_shows_whatever_is_decided() public {
        reach(5);
        vm.prank(patient);
        claims.contest(id, "I was not there");
        assertEq(claims.claimOf(id).flags, 128, "contested");
        adjudicate(Claims.Decision(0, 2, "rules", "explanation"));
        assertEq(claims.claimOf(id).flags, 130, "upcoded and contested");
    }

    /* money
     * ├── paid: the share once, and after an appeal only what is more
     * ├── the co-payment: what the share leaves, once, by the patient alone
     * ├── refunded: at most what was paid, of each; nothing → NoAmount; it frees the coverage's limit
     * ├── an insurer out of force: what it set aside is paid
     * └── all of it, whatever the amounts: to the cent
     */

    function test_K3_a_claim_is_paid_once_and_after_an_appeal_the_rest() public {
        reach(6);
        assertEq(claims.balanceOf(insurer), 1_000_000 - 7200, "set aside");
        claims.pay(id);
        assertEq(claims.balanceOf(pharmacy), 7200, "paid");
        refuse(abi.encodeWithSelector(Purse.NoAmount.selector));
        claims.pay(id);
        vm.prank(patient);
        claims.payCopayment(id);
        refuse(abi.encodeWithSelector(Purse.NoAmount.selector));
        vm.prank(patient);
        claims.payCopayment(id);
        appealAs(pharmacy);
        decideAppeal(decision(AMOUNT));
        claims.pay(id);
        vm.prank(patient);
        claims.payCopayment(id);
        assertEq(claims.balanceOf(pharmacy), AMOUNT, "K3: what was claimed");
        assertEq(claims.balanceOf(patient), 100_000 - 1000, "a tenth");
        assertEq(claims.coverageOf(coverage).used, 9000, "K5: used");
    }

    function test_K3_a_refund_is_at_most_what_was_paid() public {
        reach(9);
        refuseAmount(8101, 0, 8100);
        vm.prank(pharmacy);
        claims.refund(id, 8101, 0);
        refuseAmount(901, 0, 900);
        vm.prank(pharmacy);
        claims.refund(id, 0, 901);
        refuse(abi.encodeWithSelector(Purse.NoAmount.selector));
        vm.prank(pharmacy);
        claims.refund(id, 0, 0);
        vm.prank(pharmacy);
        claims.refund(id, 8000, 900);
        refuseAmount(101, 0, 100);
        vm.prank(pharmacy);
        claims.refund(id, 101, 0);
        assertEq(claims.coverageOf(coverage).used, 100, "K5: free again");
        assertEq(claims.balanceOf(patient), 100_000, "the patient has it back");
        assertEq(claims.balanceOf(insurer), 1_000_000 - 100, "the insurer as well");
    }

    function test_a_refund_takes_the_provider_s_money() public {
        reach(9);
        vm.prank(pharmacy);
        claims.withdraw(pharmacy, pharmacy, 9000);
        refuse(abi.encodeWithSelector(Purse.InsufficientBalance.selector, pharmacy, 0, 100));
        vm.prank(pharmacy);
        claims.refund(id, 100, 0);
    }

    function test_what_was_set_aside_is_paid_when_the_insurer_is_gone() public {
        reach(6);
        expel(insurer);
        claims.pay(id);
        assertEq(claims.balanceOf(pharmacy), 7200, "paid");
        // Its own money is still its own.
        vm.prank(insurer);
        claims.withdraw(insurer, stranger, 1_000_000 - 7200);
        assertEq(token.balanceOf(stranger), 1_000_000 - 7200, "withdrawn");
    }

    function testFuzz_K3_K4_to_the_cent(uint128 amount, uint128 first, uint128 second, uint16 copayment) public {
        amount = uint128(bound(amount, 1, 900_000));
        first = uint128(bound(first, 0, amount));
        second = uint128(bound(second, first, amount));
        Claims.Terms memory given = terms();
        (given.copayment, given.limit) = (uint16(bound(copayment, 0, 10_000)), 900_000);
        fund(patient, 900_000);
        offer(given);
        acceptAndWait();
        fill(SALT, RECORD);
        Claims.Submission memory claimed = submission();
        claimed.amount = amount;
        submit(claimed);
        adjudicate(Claims.Decision(first, first == amount ? 0 : 8, "rules", "explanation"));
        payAll();
        if (first < amount) {
            appealAs(pharmacy);
            decideAppeal(Claims.Decision(second, second == amount ? 0 : 8, "rules", "explanation"));
            payAll();
        } else {
            second = first;
        }
        Claims.Claim memory stored = claims.claimOf(id);
        assertEq(uint256(stored.paid) + stored.copaid, second, "K3: exactly what was approved");
        assertEq(claims.balanceOf(pharmacy), second, "all of it is the provider's");
        assertEq(stored.paid, uint256(second) * (10_000 - given.copayment) / 10_000, "the insurer's share");
        assertEq(
            claims.balanceOf(pharmacy) + claims.balanceOf(patient) + claims.balanceOf(insurer),
            claims.held(),
            "K4: conserved"
        );
    }

    function payAll() internal {
        Claims.Claim memory stored = claims.claimOf(id);
        if (stored.share > stored.paid) claims.pay(id);
        if (stored.approved - stored.share <= stored.copaid) return;
        vm.prank(patient);
        claims.payCopayment(id);
    }

    /// @dev The largest amounts there are neither overflow nor wrap.
    function test_the_largest_amounts() public {
        Claims.Terms memory given = terms();
        given.limit = type(uint128).max;
        offer(given);
        acceptAndWait();
        fill(SALT, RECORD);
        Claims.Submission memory claimed = submission();
        claimed.amount = type(uint128).max;
        submit(claimed);
        uint256 share = uint256(type(uint128).max) * 9000 / 10_000;
        refuse(abi.encodeWithSelector(Purse.InsufficientBalance.selector, insurer, 1_000_000, share));
        adjudicate(Claims.Decision(type(uint128).max, 0, "rules", "explanation"));
    }
}
