// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DataExchange} from "../src/DataExchange.sol";
import {makeId} from "../src/Ids.sol";
import {Purse} from "../src/Purse.sol";
import {InstitutionRole, ProfessionalRole} from "../src/Types.sol";
import {Merkle} from "./support/Merkle.sol";
import {Steps} from "./support/Steps.sol";

contract DataExchangeTest is Steps {
    uint128 internal constant PRICE = 10_003;
    bytes32 internal constant EXTRACT = "extract";

    bytes32 internal offer;
    bytes32 internal study;
    bytes32 internal id;

    /// @notice Six of the hospital's patients; the first is the network's.
    address[6] internal cohort;

    function setUp() public override {
        super.setUp();
        offer = makeId(hospital, "offer");
        study = makeId(researcher, "study");
        id = makeId(research, "order");
        cohort[0] = patient;
        for (uint256 i = 1; i < 6; ++i) {
            cohort[i] = vm.addr(0xC10 + i);
        }
        vm.prank(research);
        token.approve(address(dataExchange), 1_000_000);
        vm.prank(research);
        dataExchange.deposit(research, 1_000_000);
    }

    /* The table */

    function workflow() internal view override returns (string memory, address) {
        return ("DataExchange", address(dataExchange));
    }

    function states() internal pure override returns (string[] memory) {
        string[13] memory names;
        (names[0], names[1], names[2], names[3]) = ("None", "Proposed", "Approved", "Consented");
        (names[4], names[5], names[6], names[7]) = ("Placed", "Delivered", "Settled", "Disputed");
        (names[8], names[9], names[10], names[11]) = ("Refunded", "Breach", "Ended", "Late");
        names[12] = "Overdue";
        return asList(names, 13);
    }

    function steps() internal view override returns (Step[] memory list) {
        list = new Step[](19);
        list[0] = Step("offer", abi.encodeCall(DataExchange.offer, ("offer", PRICE, 4000, "dataset", "terms")));
        list[1] = Step("close offer", abi.encodeCall(DataExchange.closeOffer, (offer)));
        list[2] =
            Step("propose study", abi.encodeCall(DataExchange.proposeStudy, ("study", time() + 300 days, "protocol")));
        list[3] = Step("approve study", abi.encodeCall(DataExchange.approveStudy, (study, "protocol", "opinion")));
        list[4] = Step("end study", abi.encodeCall(DataExchange.endStudy, (study, "reason")));
        list[5] = Step("consent", abi.encodeCall(DataExchange.consent, (study, "protocol")));
        list[6] = Step("withdraw consent", abi.encodeCall(DataExchange.withdrawConsent, (study)));
        list[7] = Step("answer", abi.encodeCall(DataExchange.answer, (study, "query", 5, 5)));
        list[8] = Step("order", abi.encodeCall(DataExchange.order, ("order", study, offer, "query")));
        list[9] = Step("deliver", abi.encodeCall(DataExchange.deliver, (id, EXTRACT, root(), 6, withdrawals())));
        list[10] = Step("settle", abi.encodeCall(DataExchange.settle, (id)));
        list[11] = Step("dispute", abi.encodeCall(DataExchange.dispute, (id, "reason")));
        list[12] = Step("resolve", abi.encodeCall(DataExchange.resolve, (id, true)));
        list[13] = Step("reclaim", abi.encodeCall(DataExchange.reclaim, (id)));
        list[14] = Step("claim share", abi.encodeCall(DataExchange.claimShare, (id, saltOf(0), proofOf(0))));
        list[15] =
            Step("challenge", abi.encodeCall(DataExchange.challenge, (id, cohort[5], saltOf(5), proofOf(5))));
        list[16] = Step("record use", abi.encodeCall(DataExchange.recordUse, (id, "receipt", withdrawals())));
        list[17] = Step("resolve for the source", abi.encodeCall(DataExchange.resolve, (id, false)));
        list[18] = Step("return shares", abi.encodeCall(DataExchange.returnShares, (id)));
    }

    /// @dev 9 is Delivered with somebody who did not consent; 10 is Approved and ended; 11 and 12 are Placed and
    /// Delivered, and their time is over.
    function reach(uint256 state) internal override {
        if (state >= 1) {
            offerAs(hospital);
            propose();
        }
        if (state >= 2) approve();
        if (state == 10) {
            vm.prank(researcher);
            dataExchange.endStudy(study, "done");
            return;
        }
        if (state >= 3) consentAll(state == 9 ? 5 : 6);
        if (state >= 4) order();
        if (state == 11) {
            skip(30 days);
            return;
        }
        if (state >= 5) deliver();
        if (state == 6) settle();
        if (state == 7 || state == 8) dispute();
        if (state == 8) resolve(true);
        if (state == 12) skip(14 days);
    }

    /* Steps */

    function offerAs(address source) internal {
        vm.prank(source);
        dataExchange.offer("offer", PRICE, 4000, "dataset", "terms");
    }

    function propose() internal {
        vm.prank(researcher);
        dataExchange.proposeStudy("study", time() + 300 days, "protocol");
    }

    function approveAs(address who) internal {
        vm.prank(who);
        dataExchange.approveStudy(study, "protocol", "opinion");
    }

    function approve() internal {
        approveAs(hospitalOfficer);
        approveAs(auditor);
    }

    function consentAs(address who) internal {
        vm.prank(who);
        dataExchange.consent(study, "protocol");
    }

    function withdrawAs(address who) internal {
        vm.prank(who);
        dataExchange.withdrawConsent(study);
    }

    function consentAll(uint256 count) internal {
        for (uint256 i; i < count; ++i) {
            consentAs(cohort[i]);
        }
    }

    function order() internal {
        vm.prank(research);
        dataExchange.order("order", study, offer, "query");
    }

    function withdrawals() internal view returns (uint32) {
        return dataExchange.studyOf(study).withdrawals;
    }

    function deliver() internal {
        deliverWith(EXTRACT, 6, withdrawals());
    }

    function deliverWith(bytes32 extract, uint32 count, uint32 seen) internal {
        bytes32 patients = root();
        vm.prank(hospital);
        dataExchange.deliver(id, extract, patients, count, seen);
    }

    function settle() internal {
        vm.prank(research);
        dataExchange.settle(id);
    }

    function dispute() internal {
        vm.prank(research);
        dataExchange.dispute(id, "reason");
    }

    function resolve(bool refund) internal {
        vm.prank(auditor);
        dataExchange.resolve(id, refund);
    }

    function claimShare(uint256 place) internal {
        bytes32[] memory proof = proofOf(place);
        vm.prank(cohort[place]);
        dataExchange.claimShare(id, saltOf(place), proof);
    }

    function challenge(uint256 place) internal {
        bytes32[] memory proof = proofOf(place);
        vm.prank(stranger);
        dataExchange.challenge(id, cohort[place], saltOf(place), proof);
    }

    function recordUse(uint32 seen) internal {
        vm.prank(researcher);
        dataExchange.recordUse(id, "receipt", seen);
    }

    /* The tree of patients */

    function saltOf(uint256 place) internal pure returns (bytes32) {
        return keccak256(abi.encode("salt", place));
    }

    function leaves() internal view returns (bytes32[] memory list) {
        list = new bytes32[](6);
        for (uint256 i; i < 6; ++i) {
            list[i] = keccak256(bytes.concat(keccak256(abi.encode(id, cohort[i], saltOf(i)))));
        }
    }

    function root() internal view returns (bytes32) {
        return Merkle.rootOf(leaves());
    }

    function proofOf(uint256 place) internal view returns (bytes32[] memory) {
        return Merkle.proofOf(leaves(), place);
    }

    function refuse(bytes memory reason) internal {
        vm.expectRevert(reason);
    }

    function refuseState(DataExchange.State state) internal {
        refuse(abi.encodeWithSelector(DataExchange.WrongState.selector, id, state));
    }

    function check(DataExchange.State state) internal view {
        assertEq(uint256(dataExchange.orderOf(id).state), uint256(state), "state");
    }

    /* offers and studies
     * ├── an offer without a digest → Zero; a share of more than a whole → InvalidShare; a salt again → AlreadyUsed
     * ├── closed by who did not make it → NotParty; ordered after that → OfferNotOpen
     * ├── a study for the past or for longer than ten years → InvalidTime; without a protocol → Zero
     * ├── approved by its own institution → OwnStudy; twice by one → AlreadyApproved; as another → ProtocolDiffers
     * └── nothing before two institutions approved, nor after its time, nor after it was ended
     */

    function test_an_offer_has_its_bounds() public {
        refuse(abi.encodeWithSelector(DataExchange.Zero.selector));
        vm.prank(hospital);
        dataExchange.offer("offer", PRICE, 4000, 0, "terms");
        refuse(abi.encodeWithSelector(DataExchange.InvalidShare.selector, 10_001, 10_000));
        vm.prank(hospital);
        dataExchange.offer("offer", PRICE, 10_001, "dataset", "terms");
        offerAs(hospital);
        refuse(abi.encodeWithSelector(DataExchange.AlreadyUsed.selector, offer));
        offerAs(hospital);
        refuse(abi.encodeWithSelector(DataExchange.NotParty.selector, clinic));
        vm.prank(clinic);
        dataExchange.closeOffer(offer);
        propose();
        approve();
        vm.prank(hospital);
        dataExchange.closeOffer(offer);
        refuse(abi.encodeWithSelector(DataExchange.OfferNotOpen.selector, offer));
        order();
    }

    function test_a_study_has_its_bounds() public {
        refuse(abi.encodeWithSelector(DataExchange.InvalidTime.selector, time(), time() + 1, time() + 3660 days));
        vm.prank(researcher);
        dataExchange.proposeStudy("study", time(), "protocol");
        refuse(abi.encodeWithSelector(DataExchange.Zero.selector));
        vm.prank(researcher);
        dataExchange.proposeStudy("study", time() + 1, 0);
        propose();
        refuse(abi.encodeWithSelector(DataExchange.AlreadyUsed.selector, study));
        propose();
    }

    function test_X1_a_committee_of_two_other_institutions_approves() public {
        offerAs(hospital);
        propose();
        address ownOfficer = vm.addr(0xE01);
        accredit(research, ownOfficer, ProfessionalRole.PrivacyOfficer);
        refuse(abi.encodeWithSelector(DataExchange.OwnStudy.selector, research));
        approveAs(ownOfficer);
        refuse(
            abi.encodeWithSelector(DataExchange.ProtocolDiffers.selector, bytes32("protocol"), bytes32("another"))
        );
        vm.prank(auditor);
        dataExchange.approveStudy(study, "another", "opinion");
        approveAs(auditor);
        address second = vm.addr(0xE02);
        accredit(regulator, second, ProfessionalRole.PrivacyOfficer);
        refuse(abi.encodeWithSelector(DataExchange.AlreadyApproved.selector, study, regulator));
        approveAs(second);
        refuse(
            abi.encodeWithSelector(DataExchange.WrongStanding.selector, study, DataExchange.Standing.Proposed)
        );
        consentAs(patient);
        refuse(
            abi.encodeWithSelector(DataExchange.WrongStanding.selector, study, DataExchange.Standing.Proposed)
        );
        order();
        approveAs(hospitalOfficer);
        consentAs(patient);
        order();
    }

    function test_X1_nothing_after_the_study_s_time() public {
        reach(3);
        vm.warp(dataExchange.studyOf(study).until - 1);
        order();
        deliver();
        recordUse(0);
        skip(1);
        bytes memory over =
            abi.encodeWithSelector(DataExchange.StudyOver.selector, study, dataExchange.studyOf(study).until);
        refuse(over);
        recordUse(0);
        refuse(over);
        consentAs(otherPatient);
        refuse(over);
        vm.prank(research);
        dataExchange.order("another", study, offer, "query");
        refuse(over);
        vm.prank(hospital);
        dataExchange.answer(study, "query", 5, 5);
        // Withdrawing, and the money of what was delivered, go on.
        withdrawAs(patient);
        settle();
        claimShare(0);
    }

    function test_X1_a_study_of_an_expelled_institution_gets_nothing() public {
        reach(4);
        expel(research);
        bytes memory gone = abi.encodeWithSelector(DataExchange.NotInForce.selector, research);
        refuse(gone);
        deliverWith(EXTRACT, 6, 0);
        refuse(gone);
        consentAs(otherPatient);
        refuse(gone);
        vm.prank(hospital);
        dataExchange.answer(study, "query", 5, 5);
        withdrawAs(patient);
        skip(30 days);
        dataExchange.reclaim(id);
        assertEq(dataExchange.balanceOf(research), 1_000_000, "X5: the buyer has it back");
    }

    /// @dev Who was expelled cannot dispute, so time alone does not settle.
    function test_only_a_regulator_settles_for_an_expelled_buyer() public {
        reach(5);
        refuseState(DataExchange.State.Delivered);
        resolve(true);
        expel(research);
        skip(14 days);
        refuse(abi.encodeWithSelector(DataExchange.NotInForce.selector, research));
        vm.prank(stranger);
        dataExchange.settle(id);
        refuse(abi.encodeWithSelector(DataExchange.NotInForce.selector, research));
        vm.prank(hospital);
        dataExchange.settle(id);
        uint256 here = vm.snapshotState();
        resolve(false);
        check(DataExchange.State.Settled);
        vm.revertToState(here);
        resolve(true);
        check(DataExchange.State.Refunded);
        assertEq(dataExchange.balanceOf(research), 1_000_000, "X5: the buyer has it back");
    }

    function test_X1_an_approval_of_who_was_expelled_does_not_count() public {
        reach(1);
        address officerOfClinic = vm.addr(0xE01);
        accredit(clinic, officerOfClinic, ProfessionalRole.PrivacyOfficer);
        approveAs(officerOfClinic);
        expel(clinic);
        approveAs(auditor);
        assertEq(dataExchange.studyOf(study).approvals, 1, "one counts");
        refuse(
            abi.encodeWithSelector(DataExchange.WrongStanding.selector, study, DataExchange.Standing.Proposed)
        );
        consentAs(patient);
        approveAs(hospitalOfficer);
        assertEq(dataExchange.studyOf(study).approvals, 2, "two count");
        consentAs(patient);
    }

    function test_X1_a_regulator_ends_a_study() public {
        reach(4);
        vm.prank(auditor);
        dataExchange.endStudy(study, "harm");
        refuse(abi.encodeWithSelector(DataExchange.WrongStanding.selector, study, DataExchange.Standing.Ended));
        deliverWith(EXTRACT, 6, 0);
        skip(30 days);
        dataExchange.reclaim(id);
        assertEq(dataExchange.balanceOf(research), 1_000_000, "X5: the buyer has it back");
    }

    /* consent: patient and source both, or nothing
     * ├── to another protocol → ProtocolDiffers
     * ├── given twice: once; withdrawn twice, or never given: no failure
     * ├── withdrawn before the delivery, even in the same second: it did not stand
     * ├── withdrawn after the delivery, even in the same second: it stood
     * ├── delivered by a source that does not know of a withdrawal → WithdrawalsUnseen
     * └── used by who does not know of a withdrawal → WithdrawalsUnseen
     */

    function test_X2_consent_is_to_a_protocol_and_withdrawing_never_fails() public {
        withdrawAs(stranger);
        reach(2);
        refuse(
            abi.encodeWithSelector(DataExchange.ProtocolDiffers.selector, bytes32("protocol"), bytes32("another"))
        );
        vm.prank(patient);
        dataExchange.consent(study, "another");
        withdrawAs(patient);
        assertEq(withdrawals(), 0, "there was none");
        consentAs(patient);
        consentAs(patient);
        assertTrue(dataExchange.consents(study, patient), "consents");
        withdrawAs(patient);
        withdrawAs(patient);
        assertFalse(dataExchange.consents(study, patient), "no more");
        assertEq(withdrawals(), 1, "once");
        consentAs(patient);
        assertTrue(dataExchange.consents(study, patient), "again");
    }

    function test_X2_what_stands_is_told_by_order_and_not_by_time() public {
        reach(4);
        withdrawAs(cohort[1]);
        deliver();
        withdrawAs(cohort[2]);
        consentAs(cohort[1]);
        assertTrue(dataExchange.consentStood(id, cohort[0]), "stood");
        assertFalse(dataExchange.consentStood(id, cohort[1]), "withdrawn before, in the same second");
        assertTrue(dataExchange.consentStood(id, cohort[2]), "withdrawn after, in the same second");
        assertFalse(dataExchange.consentStood(id, otherPatient), "never given");
        refuse(abi.encodeWithSelector(DataExchange.WrongConsent.selector, id, cohort[2], true));
        challenge(2);
        challenge(1);
        check(DataExchange.State.Refunded);
    }

    /// @dev X2: by buyer and patient together, who would have data and money: the source looks again instead.
    function test_X2_nobody_makes_a_breach_of_a_delivery_on_its_way() public {
        reach(4);
        uint32 seen = withdrawals();
        withdrawAs(cohort[3]);
        refuse(abi.encodeWithSelector(DataExchange.WithdrawalsUnseen.selector, seen + 1, seen));
        deliverWith(EXTRACT, 6, seen);
        check(DataExchange.State.Placed);
    }

    function test_X6_a_use_takes_notice_of_withdrawals() public {
        reach(5);
        recordUse(0);
        withdrawAs(cohort[3]);
        refuse(abi.encodeWithSelector(DataExchange.WithdrawalsUnseen.selector, 1, 0));
        recordUse(0);
        recordUse(1);
        assertEq(dataExchange.orderOf(id).uses, 2, "uses");
        bytes32 head = keccak256(abi.encode(bytes32(0), uint32(1), bytes32("receipt")));
        head = keccak256(abi.encode(head, uint32(2), bytes32("receipt")));
        assertEq(dataExchange.orderOf(id).useHead, head, "every use, in order");
    }

    /// @dev A patient who changes their mind a thousand times makes nothing dearer for the others.
    function test_X2_changing_one_s_mind_often_hides_nothing() public {
        reach(4);
        withdrawAs(cohort[1]);
        deliver();
        for (uint256 i; i < 1000; ++i) {
            consentAs(cohort[1]);
            withdrawAs(cohort[1]);
        }
        bytes memory data =
            abi.encodeCall(DataExchange.challenge, (id, cohort[1], saltOf(1), proofOf(1)));
        (bool success,) = address(dataExchange).call{gas: 200_000}(data);
        assertTrue(success, "within 200,000 gas");
    }

    function testFuzz_X2_what_stood_is_what_a_model_says(uint256 seed) public {
        reach(3);
        bool[6] memory stands = [true, true, true, true, true, true];
        bool[6] memory stood;
        uint256 when = 5 + seed % 20;
        for (uint256 i; i < 40; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 place = seed % 6;
            if (i == when) {
                order();
                deliver();
                for (uint256 j; j < 6; ++j) {
                    stood[j] = stands[j];
                }
            }
            if ((seed >> 8) % 2 == 0) withdrawAs(cohort[place]);
            else consentAs(cohort[place]);
            stands[place] = (seed >> 8) % 2 != 0;
            if ((seed >> 16) % 3 == 0) skip(1);
        }
        for (uint256 i; i < 6; ++i) {
            assertEq(dataExchange.consentStood(id, cohort[i]), stood[i], "stood");
            assertEq(dataExchange.consents(study, cohort[i]), stands[i], "stands");
        }
    }

    /* cohorts
     * ├── a count that is not rounded → CellTooSmall
     * ├── a cohort that differs from an earlier one by 1 to 4 → TooClose
     * ├── the same query again → AlreadyAnswered
     * └── the sixty-fifth → TooManyQueries
     */

    function answer(bytes32 query, uint32 count, uint32 difference) internal {
        vm.prank(hospital);
        dataExchange.answer(study, query, count, difference);
    }

    function test_X3_small_cells_and_differences_are_refused() public {
        reach(2);
        refuse(abi.encodeWithSelector(DataExchange.CellTooSmall.selector, 4, 5));
        answer("query", 4, 10);
        refuse(abi.encodeWithSelector(DataExchange.CellTooSmall.selector, 7, 5));
        answer("query", 7, 10);
        for (uint32 i = 1; i < 5; ++i) {
            refuse(abi.encodeWithSelector(DataExchange.TooClose.selector, i, 5));
            answer("query", 10, i);
        }
        refuse(abi.encodeWithSelector(DataExchange.Zero.selector));
        answer(0, 10, 5);
        answer("query", 10, 5);
        refuse(abi.encodeWithSelector(DataExchange.AlreadyAnswered.selector, bytes32("query")));
        answer("query", 10, 5);
        answer("the same people", 10, 0);
    }

    function test_X3_a_source_answers_sixty_four_queries() public {
        reach(2);
        for (uint256 i = 1; i <= 64; ++i) {
            answer(bytes32(i), 0, 5);
        }
        refuse(abi.encodeWithSelector(DataExchange.TooManyQueries.selector, 64));
        answer(bytes32(uint256(65)), 0, 5);
        vm.prank(clinic);
        dataExchange.answer(study, bytes32(uint256(65)), 0, 5);
    }

    /* orders
     * ├── by another institution than the study's → NotParty; without the money → InsufficientBalance
     * ├── delivered by another than the source → NotParty; of fewer than five → CellTooSmall
     * ├── delivered a second before thirty days; at thirty days → InvalidTime, and reclaimed
     * ├── the same extract for two orders → ExtractReused; another source may use the digest
     * ├── settled by anybody at fourteen days, not before; disputed until then
     * ├── a share: once, by who is in the extract and had consented
     * └── verified: exactly the digest delivered
     */

    function test_only_the_study_s_institution_orders_and_pays() public {
        reach(3);
        refuse(abi.encodeWithSelector(DataExchange.NotParty.selector, clinic));
        vm.prank(clinic);
        dataExchange.order("order", study, offer, "query");
        vm.prank(research);
        dataExchange.withdraw(research, research, 1_000_000 - PRICE + 1);
        refuse(abi.encodeWithSelector(Purse.InsufficientBalance.selector, research, PRICE - 1, PRICE));
        order();
        vm.prank(research);
        token.approve(address(dataExchange), 1);
        vm.prank(research);
        dataExchange.deposit(research, 1);
        order();
        assertEq(dataExchange.balanceOf(research), 0, "set aside");
        assertEq(dataExchange.held(), PRICE, "held");
        refuse(abi.encodeWithSelector(DataExchange.AlreadyUsed.selector, id));
        order();
    }

    function test_an_extract_is_the_source_s_and_of_five_at_least() public {
        reach(4);
        bytes32 patients = root();
        refuse(abi.encodeWithSelector(DataExchange.NotParty.selector, clinic));
        vm.prank(clinic);
        dataExchange.deliver(id, EXTRACT, patients, 6, 0);
        refuse(abi.encodeWithSelector(DataExchange.CellTooSmall.selector, 4, 5));
        deliverWith(EXTRACT, 4, 0);
        refuse(abi.encodeWithSelector(DataExchange.Zero.selector));
        deliverWith(0, 6, 0);
        assertFalse(dataExchange.verify(id, 0), "nothing is not something");
        deliver();
        assertTrue(dataExchange.verify(id, EXTRACT), "the anchored one");
        assertFalse(dataExchange.verify(id, "altered"), "no other");
        refuseState(DataExchange.State.Delivered);
        deliverWith(EXTRACT, 6, 0);
    }

    function test_a_delivery_has_thirty_days() public {
        reach(4);
        uint256 due = time() + 30 days;
        vm.warp(due - 1);
        refuse(abi.encodeWithSelector(DataExchange.InvalidTime.selector, due - 1, due, type(uint40).max));
        dataExchange.reclaim(id);
        uint256 here = vm.snapshotState();
        deliver();
        vm.revertToState(here);
        vm.warp(due);
        refuse(abi.encodeWithSelector(DataExchange.InvalidTime.selector, due, 0, due - 1));
        deliverWith(EXTRACT, 6, 0);
        dataExchange.reclaim(id);
        check(DataExchange.State.Refunded);
        assertEq(dataExchange.balanceOf(research), 1_000_000, "X5: back");
    }

    function test_X7_an_extract_is_not_sold_twice() public {
        reach(5);
        vm.prank(research);
        bytes32 second = dataExchange.order("second", study, offer, "query");
        refuse(abi.encodeWithSelector(DataExchange.ExtractReused.selector, EXTRACT));
        vm.prank(hospital);
        dataExchange.deliver(second, EXTRACT, "root", 6, 0);
        // Whoever sees the digest on its way does not keep the source from delivering it.
        vm.prank(clinic);
        bytes32 others = dataExchange.offer("offer", 0, 0, "dataset", "terms");
        vm.prank(research);
        bytes32 third = dataExchange.order("third", study, others, "query");
        vm.prank(clinic);
        dataExchange.deliver(third, "fresh", "root", 6, 0);
        vm.prank(hospital);
        dataExchange.deliver(second, "fresh", "root", 6, 0);
    }

    /// @dev X7: a leaf names its order, so what was paid for one is not paid for another.
    function test_X5_a_proof_of_one_order_is_none_of_another() public {
        reach(6);
        claimShare(0);
        vm.prank(research);
        bytes32 second = dataExchange.order("second", study, offer, "query");
        bytes32 patients = root();
        vm.prank(hospital);
        dataExchange.deliver(second, "another", patients, 6, 0);
        vm.prank(research);
        dataExchange.settle(second);
        bytes32[] memory proof = proofOf(0);
        refuse(abi.encodeWithSelector(DataExchange.NotInExtract.selector, second, patient));
        vm.prank(patient);
        dataExchange.claimShare(second, saltOf(0), proof);
    }

    function test_X5_a_price_is_split_to_the_cent() public {
        reach(6);
        // Four thousand of ten thousand of 10,003 are 4,001.2, of which the cents are the patients'; a sixth of them is
        // 666, and five are left over for the buyer.
        assertEq(dataExchange.orderOf(id).forEach, 666, "for each");
        assertEq(dataExchange.balanceOf(hospital), PRICE - 4001, "the source");
        assertEq(dataExchange.balanceOf(research), 1_000_000 - PRICE + 5, "the buyer");
        for (uint256 i; i < 6; ++i) {
            claimShare(i);
            assertTrue(dataExchange.isPaid(id, cohort[i]), "paid");
            refuse(abi.encodeWithSelector(DataExchange.AlreadyPaid.selector, id, cohort[i]));
            claimShare(i);
        }
        uint256 sum = dataExchange.balanceOf(hospital) + dataExchange.balanceOf(research) + 6 * 666;
        assertEq(sum, dataExchange.held(), "X5: conserved");
        vm.prank(patient);
        dataExchange.withdraw(patient, patient, 666);
    }

    /// @dev X5: a source that says more patients than there are makes no share its own.
    function test_X5_a_source_gains_nothing_by_its_count() public {
        reach(4);
        deliverWith(EXTRACT, 50_001, 0);
        settle();
        assertEq(dataExchange.orderOf(id).forEach, 0, "nothing for each");
        assertEq(dataExchange.balanceOf(hospital), PRICE - 4001, "the source's part");
        assertEq(dataExchange.balanceOf(research), 1_000_000 - PRICE + 4001, "the rest is the buyer's");
    }

    /// @dev X5: a source that says fewer is shown by the first who finds no share left.
    function test_X5_a_patient_without_a_share_voids_the_order() public {
        reach(4);
        deliverWith(EXTRACT, 5, 0);
        settle();
        for (uint256 i; i < 5; ++i) {
            claimShare(i);
        }
        recordUse(0);
        refuse(abi.encodeWithSelector(DataExchange.AlreadyPaid.selector, id, cohort[0]));
        claimShare(0);
        assertFalse(dataExchange.orderOf(id).breached, "who was paid shows nothing");
        vm.expectEmit(address(dataExchange));
        emit DataExchange.CountBreached(id, cohort[5], 5);
        claimShare(5);
        assertTrue(dataExchange.orderOf(id).breached, "breached");
        assertFalse(dataExchange.isPaid(id, cohort[5]), "not paid");
        assertEq(dataExchange.balanceOf(cohort[5]), 0, "X5: nothing");
        refuseState(DataExchange.State.Settled);
        recordUse(0);
    }

    function test_X5_what_nobody_claims_within_a_year_is_the_buyer_s() public {
        reach(6);
        uint256 last = uint256(time()) + 365 days - 1;
        claimShare(0);
        vm.warp(last);
        refuse(abi.encodeWithSelector(DataExchange.InvalidTime.selector, last, last + 1, type(uint40).max));
        dataExchange.returnShares(id);
        claimShare(1);
        skip(1);
        refuse(abi.encodeWithSelector(DataExchange.InvalidTime.selector, last + 1, 0, last));
        claimShare(2);
        vm.prank(stranger);
        dataExchange.returnShares(id);
        assertEq(dataExchange.balanceOf(research), 1_000_000 - PRICE + 5 + 4 * 666, "the buyer");
        assertEq(dataExchange.balanceOf(research) + PRICE - 4001 + 2 * 666, dataExchange.held(), "X5: conserved");
        refuse(abi.encodeWithSelector(Purse.NoAmount.selector));
        dataExchange.returnShares(id);
    }

    function test_only_who_is_in_the_extract_is_paid() public {
        reach(6);
        bytes32[] memory proof = proofOf(0);
        refuse(abi.encodeWithSelector(DataExchange.NotInExtract.selector, id, otherPatient));
        vm.prank(otherPatient);
        dataExchange.claimShare(id, saltOf(0), proof);
        refuse(abi.encodeWithSelector(DataExchange.NotInExtract.selector, id, patient));
        vm.prank(patient);
        dataExchange.claimShare(id, saltOf(1), proof);
        claimShare(0);
    }

    function test_X2_who_had_not_consented_is_not_paid_but_voids_the_order() public {
        reach(9);
        settle();
        refuse(abi.encodeWithSelector(DataExchange.WrongConsent.selector, id, cohort[5], false));
        claimShare(5);
        recordUse(0);
        challenge(5);
        assertTrue(dataExchange.orderOf(id).breached, "breached");
        refuseState(DataExchange.State.Settled);
        recordUse(0);
        // What is settled stays with source and patients: their consents stood.
        claimShare(0);
    }

    function test_X2_a_breach_before_the_settlement_refunds_the_buyer() public {
        reach(9);
        dispute();
        challenge(5);
        check(DataExchange.State.Refunded);
        assertEq(dataExchange.balanceOf(research), 1_000_000, "X5: back");
        refuseState(DataExchange.State.Refunded);
        challenge(5);
        refuseState(DataExchange.State.Refunded);
        recordUse(0);
        refuseState(DataExchange.State.Refunded);
        claimShare(0);
    }

    function test_a_dispute_has_fourteen_days() public {
        reach(5);
        uint256 until = time() + 14 days;
        vm.warp(until - 1);
        refuse(abi.encodeWithSelector(DataExchange.NotParty.selector, hospital));
        vm.prank(hospital);
        dataExchange.settle(id);
        uint256 here = vm.snapshotState();
        dispute();
        resolve(false);
        check(DataExchange.State.Settled);
        vm.revertToState(here);
        vm.warp(until);
        refuse(abi.encodeWithSelector(DataExchange.InvalidTime.selector, until, 0, until - 1));
        dispute();
        vm.prank(stranger);
        dataExchange.settle(id);
        check(DataExchange.State.Settled);
    }

    /// @dev X8: as buyer or as source.
    function test_X8_a_regulator_does_not_resolve_its_own_dispute() public {
        reach(2);
        bytes memory own = abi.encodeWithSelector(DataExchange.OwnOrder.selector, regulator);
        vm.prank(regulator);
        bytes32 offered = dataExchange.offer("offer", PRICE, 4000, "dataset", "terms");
        vm.prank(research);
        bytes32 bought = dataExchange.order("order", study, offered, "query");
        vm.prank(regulator);
        dataExchange.deliver(bought, EXTRACT, "root", 6, 0);
        vm.prank(research);
        dataExchange.dispute(bought, "reason");
        refuse(own);
        vm.prank(auditor);
        dataExchange.resolve(bought, false);

        address ownResearcher = vm.addr(0xE01);
        accredit(regulator, ownResearcher, ProfessionalRole.Researcher);
        vm.prank(ownResearcher);
        bytes32 ownStudy = dataExchange.proposeStudy("own", time() + 300 days, "protocol");
        vm.prank(hospitalOfficer);
        dataExchange.approveStudy(ownStudy, "protocol", "opinion");
        vm.prank(officer);
        dataExchange.approveStudy(ownStudy, "protocol", "opinion");
        vm.prank(hospital);
        bytes32 free = dataExchange.offer("free", 0, 0, "dataset", "terms");
        vm.prank(regulator);
        bytes32 own_ = dataExchange.order("order", ownStudy, free, "query");
        vm.prank(hospital);
        dataExchange.deliver(own_, EXTRACT, "root", 6, 0);
        vm.prank(regulator);
        dataExchange.dispute(own_, "reason");
        refuse(own);
        vm.prank(auditor);
        dataExchange.resolve(own_, true);

        // Another regulator decides both.
        address second = vm.addr(0xE02);
        address secondAuditor = vm.addr(0xE03);
        admit(second, InstitutionRole.Regulator);
        accredit(second, secondAuditor, ProfessionalRole.Auditor);
        vm.prank(secondAuditor);
        dataExchange.resolve(bought, true);
        vm.prank(secondAuditor);
        dataExchange.resolve(own_, false);
    }

    function testFuzz_X5_conserved_whatever_the_price(uint128 price, uint16 share, uint32 count) public {
        price = uint128(bound(price, 0, 1_000_000));
        share = uint16(bound(share, 0, 10_000));
        count = uint32(bound(count, 5, type(uint32).max));
        propose();
        approve();
        consentAll(6);
        vm.prank(hospital);
        dataExchange.offer("offer", price, share, "dataset", "terms");
        order();
        deliverWith(EXTRACT, count, 0);
        settle();
        uint256 forEach = dataExchange.orderOf(id).forEach;
        uint256 pool = uint256(price) * share / 10_000;
        assertEq(dataExchange.balanceOf(hospital), price - pool, "X5: the source's part, whatever it counts");
        uint256 left = dataExchange.balanceOf(research) + price - 1_000_000;
        assertEq(forEach * count + left, pool, "X5: the patients' part");
        assertTrue(left < count, "X5: evenly");
        claimShare(0);
        claimShare(5);
        assertEq(dataExchange.balanceOf(patient), forEach, "paid");
        assertEq(dataExchange.held(), 1_000_000, "M1: all of it");
    }
}
