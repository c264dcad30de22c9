// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../src/Ids.sol";
import {Trials} from "../src/Trials.sol";
import {InstitutionRole, ProfessionalRole} from "../src/Types.sol";
import {Steps} from "./support/Steps.sol";

contract TrialsTest is Steps {
    bytes32 internal constant SALT = "trial";
    bytes32 internal constant SPONSOR_SEED = "the sponsor's seed";
    bytes32 internal constant CUSTODIAN_SEED = "the custodian's seed";
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = makeId(researcher, SALT);
    }

    /* The table */

    function workflow() internal view override returns (string memory, address) {
        return ("Trials", address(trials));
    }

    function states() internal pure override returns (string[] memory) {
        string[13] memory names;
        (names[0], names[1], names[2], names[3]) = ("None", "Registered", "Approved", "Consented");
        (names[4], names[5], names[6], names[7]) = ("Enrolled", "Entered", "Amended", "Locked");
        (names[8], names[9], names[10], names[11]) = ("Unblinded", "Published", "Stopped", "Withdrawn");
        names[12] = "Proposed";
        string[] memory list = new string[](15);
        for (uint256 i; i < 13; ++i) {
            list[i] = names[i];
        }
        (list[13], list[14]) = ("Opened", "Allocated");
        return list;
    }

    function steps() internal view override returns (Step[] memory list) {
        list = new Step[](21);
        list[0] = Step("register", abi.encodeCall(Trials.register, (SALT, design(), commitment(research, SPONSOR_SEED))));
        list[1] = Step("approve", abi.encodeCall(Trials.approve, (id, "protocol", commitment(regulator, CUSTODIAN_SEED))));
        list[2] = Step("invite site", abi.encodeCall(Trials.inviteSite, (id, clinic)));
        list[3] = Step("join", abi.encodeCall(Trials.joinTrial, (id)));
        list[4] = Step("propose amendment", abi.encodeCall(Trials.proposeAmendment, (id, "third", "criteria")));
        list[5] = Step("approve amendment", abi.encodeCall(Trials.approveAmendment, (id, "second", "softer")));
        list[6] = Step("consent", abi.encodeCall(Trials.consent, (id, hospital, 1, sealedNonce("nonce"))));
        list[7] = Step("withdraw", abi.encodeCall(Trials.withdraw, (id, true)));
        list[8] = Step("screen", abi.encodeCall(Trials.screen, (id, patient, true, "criteria", "screening")));
        list[9] = Step("allocate", abi.encodeCall(Trials.allocate, (id, patient, "allocation")));
        list[10] = Step("enter", abi.encodeCall(Trials.enter, (id, patient, "data")));
        list[11] = Step("unblind", abi.encodeCall(Trials.unblind, (id, patient, "reason")));
        list[12] =
            Step("report adverse event", abi.encodeCall(Trials.reportAdverseEvent, (id, patient, true, time(), "event")));
        list[13] = Step("acknowledge", abi.encodeCall(Trials.acknowledge, (id, 0)));
        list[14] = Step("lock", abi.encodeCall(Trials.lock, (id, trials.trialOf(id).dataHead)));
        list[15] = Step("reveal sponsor's", abi.encodeCall(Trials.reveal, (id, research, SPONSOR_SEED)));
        list[16] = Step("reveal custodian's", abi.encodeCall(Trials.reveal, (id, regulator, CUSTODIAN_SEED)));
        bytes32 head = trials.trialOf(id).dataHead;
        list[17] = Step("publish", abi.encodeCall(Trials.publish, (id, "endpoints", head, "results")));
        list[18] = Step("stop", abi.encodeCall(Trials.stop, (id, "reason")));
        list[19] = Step("re-consent", abi.encodeCall(Trials.consent, (id, hospital, 2, sealedNonce("nonce"))));
        list[20] = Step("open nonce", abi.encodeCall(Trials.openNonce, (id, "nonce")));

    }

    /// @dev 12 is Recruiting, with an amendment that awaits approval and a site that may join; 13 and 14 are Enrolled,
    /// before the data of 5.
    function reach(uint256 state) internal override {
        if (state >= 1) register();
        if (state >= 2) approve();
        if (state == 12) {
            vm.prank(researcher);
            trials.proposeAmendment(id, "second", "softer");
            vm.prank(researcher);
            trials.inviteSite(id, clinic);
            return;
        }
        if (state >= 3) consentAs(patient, 1, "nonce");
        if (state >= 4) enrol(patient);
        if (state >= 5) open();
        if (state == 13) return;
        if (state >= 5) allocateAs(trialPharmacist, "allocation");
        if (state == 14) return;
        if (state >= 5) {
            enter(patient, "data");
            report(true, time());
        }
        if (state == 6) amend();
        if (state >= 7) {
            vm.prank(researcher);
            trials.acknowledge(id, 0);
            if (state == 10) stop();
            else if (state == 11) withdraw();
            else lock();
        }
        if (state == 8 || state == 9) reveal();
        if (state == 9) publish("endpoints", trials.trialOf(id).dataHead);
    }

    /* Steps */

    function design() internal pure returns (Trials.Design memory) {
        return Trials.Design("protocol", "endpoints", "criteria", 2);
    }

    function commitment(address party, bytes32 seed) internal view returns (bytes32) {
        return trials.commitmentOf(id, party, seed);
    }

    function register() internal {
        bytes32 by = commitment(research, SPONSOR_SEED);
        vm.prank(researcher);
        trials.register(SALT, design(), by);
    }

    function approve() internal {
        bytes32 by = commitment(regulator, CUSTODIAN_SEED);
        vm.prank(auditor);
        trials.approve(id, "protocol", by);
        vm.prank(researcher);
        trials.inviteSite(id, hospital);
        vm.prank(hospital);
        trials.joinTrial(id);
    }

    function consentAs(address who, uint16 version, bytes32 nonce) internal {
        vm.prank(who);
        trials.consent(id, hospital, version, sealedNonce(nonce));
    }

    function enrol(address who) internal {
        bytes32 criteria = trials.trialOf(id).criteria;
        vm.prank(siteResearcher);
        trials.screen(id, who, true, criteria, "screening");
    }

    function sealedNonce(bytes32 nonce) internal pure returns (bytes32) {
        return keccak256(abi.encode(nonce));
    }

    function openAs(address who, bytes32 nonce) internal {
        vm.prank(who);
        trials.openNonce(id, nonce);
    }

    function open() internal {
        openAs(patient, "nonce");
    }

    function allocateAs(address who, bytes32 allocation) internal {
        vm.prank(who);
        trials.allocate(id, patient, allocation);
    }

    function enter(address who, bytes32 digest) internal {
        vm.prank(nurse);
        trials.enter(id, who, digest);
    }

    function report(bool serious, uint40 awareAt) internal {
        vm.prank(physician);
        trials.reportAdverseEvent(id, patient, serious, awareAt, "event");
    }

    function amend() internal {
        vm.prank(researcher);
        trials.proposeAmendment(id, "second", "criteria");
        vm.prank(auditor);
        trials.approveAmendment(id, "second", "criteria");
    }

    function withdraw() internal {
        vm.prank(patient);
        trials.withdraw(id, true);
    }

    function stop() internal {
        vm.prank(auditor);
        trials.stop(id, "reason");
    }

    function lock() internal {
        bytes32 head = trials.trialOf(id).dataHead;
        vm.prank(researcher);
        trials.lock(id, head);
    }

    function reveal() internal {
        trials.reveal(id, research, SPONSOR_SEED);
        trials.reveal(id, regulator, CUSTODIAN_SEED);
    }

    function publish(bytes32 endpoints, bytes32 head) internal {
        vm.prank(researcher);
        trials.publish(id, endpoints, head, "results");
    }

    function refuseState(Trials.State state) internal {
        vm.expectRevert(abi.encodeWithSelector(Trials.WrongState.selector, id, state));
    }

    function refuseStanding(Trials.Standing standing) internal {
        vm.expectRevert(abi.encodeWithSelector(Trials.WrongStanding.selector, id, patient, standing));
    }

    /* register, approve
     * ├── by a researcher of another kind of institution → WrongInstitution
     * ├── without a digest or a commitment → Zero
     * ├── fewer than two arms, or too many → InvalidArms
     * ├── a salt that the caller used → AlreadyRegistered
     * ├── approved by an auditor who is at no regulator → WrongInstitution
     * └── approved for another protocol than registered → DataDiffers
     */

    function test_R1_everything_is_fixed_at_first() public {
        Trials.Design memory wrong = design();
        wrong.endpoints = 0;
        vm.expectRevert(Trials.Zero.selector);
        vm.prank(researcher);
        trials.register(SALT, wrong, "commitment");
        vm.expectRevert(Trials.Zero.selector);
        vm.prank(researcher);
        trials.register(SALT, design(), 0);
        wrong = design();
        wrong.arms = 1;
        vm.expectRevert(abi.encodeWithSelector(Trials.InvalidArms.selector, 1, 16));
        vm.prank(researcher);
        trials.register(SALT, wrong, "commitment");
        wrong.arms = 17;
        vm.expectRevert(abi.encodeWithSelector(Trials.InvalidArms.selector, 17, 16));
        vm.prank(researcher);
        trials.register(SALT, wrong, "commitment");
        register();
        vm.expectRevert(abi.encodeWithSelector(Trials.AlreadyRegistered.selector, id));
        vm.prank(researcher);
        trials.register(SALT, design(), "commitment");
    }

    function test_the_wrong_institutions_are_refused() public {
        address elsewhere = vm.addr(0xE01);
        accredit(pharmacy, elsewhere, ProfessionalRole.Researcher);
        vm.expectRevert(abi.encodeWithSelector(Trials.WrongInstitution.selector, pharmacy, InstitutionRole.Pharmacy));
        vm.prank(elsewhere);
        trials.register(SALT, design(), "commitment");
        register();
        address ownAuditor = vm.addr(0xE02);
        accredit(research, ownAuditor, ProfessionalRole.Auditor);
        vm.expectRevert(abi.encodeWithSelector(Trials.WrongInstitution.selector, research, InstitutionRole.Research));
        vm.prank(ownAuditor);
        trials.approve(id, "protocol", "commitment");
        vm.expectRevert(abi.encodeWithSelector(Trials.DataDiffers.selector, bytes32("protocol"), bytes32("another")));
        vm.prank(auditor);
        trials.approve(id, "another", "commitment");
    }

    /* consent, screen, enter
     * ├── to another version than the one in force → VersionDiffers
     * ├── at a site that did not join → NotSite
     * ├── after a withdrawal or an exclusion → WrongStanding
     * ├── screened by other criteria → CriteriaDiffer
     * ├── entered for who did not consent to the version in force → ConsentOutdated
     * └── the first nonce stays
     */

    function test_consent_is_to_the_version_in_force_at_a_site() public {
        reach(2);
        vm.expectRevert(abi.encodeWithSelector(Trials.VersionDiffers.selector, 1, 2));
        consentAs(patient, 2, "nonce");
        vm.expectRevert(abi.encodeWithSelector(Trials.NotSite.selector, id, clinic));
        vm.prank(patient);
        trials.consent(id, clinic, 1, sealedNonce("nonce"));
        vm.expectRevert(Trials.Zero.selector);
        vm.prank(patient);
        trials.consent(id, hospital, 1, 0);
        consentAs(patient, 1, "nonce");
        consentAs(patient, 1, "a better nonce");
        assertEq(trials.subjectOf(id, patient).commitment, sealedNonce("nonce"), "R2: the first nonce stays");
        vm.expectRevert(abi.encodeWithSelector(Trials.CriteriaDiffer.selector, bytes32("criteria"), bytes32("softer")));
        vm.prank(siteResearcher);
        trials.screen(id, patient, true, "softer", "screening");
    }

    /* openNonce, allocate
     * ├── opened before the patient is enrolled, or after a withdrawal → WrongStanding
     * ├── another nonce, none, or opened twice → NonceRefused
     * ├── allocated before it is opened → NonceSealed; by a pharmacist of the sponsor, or of another site → NotAllowed
     * └── data entered before the allocation → NotAllocated
     */

    /// @dev R2: who has both seeds, and screens, learns an arm only when nothing is left to choose.
    function test_R2_nobody_knows_a_nonce_before_the_screening() public {
        reach(3);
        Trials.Subject memory subject = trials.subjectOf(id, patient);
        assertEq(subject.nonce, bytes32(0), "sealed");
        assertEq(subject.commitment, keccak256(abi.encode(bytes32("nonce"))), "committed to");
        refuseStanding(Trials.Standing.Consented);
        open();
        enrol(patient);
        vm.expectRevert(abi.encodeWithSelector(Trials.NonceRefused.selector, patient));
        openAs(patient, "a better nonce");
        vm.expectRevert(abi.encodeWithSelector(Trials.NonceRefused.selector, patient));
        openAs(patient, 0);
        vm.expectRevert(abi.encodeWithSelector(Trials.NonceSealed.selector, patient));
        allocateAs(trialPharmacist, "allocation");
        open();
        vm.expectRevert(abi.encodeWithSelector(Trials.NonceRefused.selector, patient));
        open();
        allocateAs(trialPharmacist, "allocation");
    }

    function test_R2_the_sponsor_s_pharmacist_allocates_nothing() public {
        reach(13);
        address ofSponsor = vm.addr(0xE01);
        accredit(research, ofSponsor, ProfessionalRole.Pharmacist);
        vm.expectRevert(
            abi.encodeWithSelector(Trials.NotAllowed.selector, ofSponsor, ProfessionalRole.Pharmacist, research)
        );
        allocateAs(ofSponsor, "allocation");
    }

    /// @dev R2: an arm that is committed to after the data could be chosen by it.
    function test_R2_no_data_before_the_arm_is_committed_to() public {
        reach(13);
        vm.expectRevert(abi.encodeWithSelector(Trials.NotAllocated.selector, patient));
        enter(patient, "data");
        allocateAs(trialPharmacist, "allocation");
        enter(patient, "data");
        vm.expectRevert(abi.encodeWithSelector(Trials.AlreadyAllocated.selector, patient));
        allocateAs(trialPharmacist, "what came out well");
    }

    function test_a_subject_who_never_opened_has_no_arm() public {
        reach(4);
        lock();
        reveal();
        vm.expectRevert(abi.encodeWithSelector(Trials.NonceSealed.selector, patient));
        trials.armOf(id, patient);
    }

    function test_R4_a_new_version_takes_a_new_consent() public {
        reach(6);
        vm.expectRevert(abi.encodeWithSelector(Trials.ConsentOutdated.selector, patient, 1, 2));
        enter(patient, "data");
        consentAs(patient, 2, "nonce");
        enter(patient, "data");
        assertEq(trials.subjectOf(id, patient).visits, 2, "visits");
    }

    /// @dev R1: what the auditor did not see is not approved, brought at the last moment or not.
    function test_R1_an_amendment_is_approved_as_it_was_seen() public {
        reach(12);
        vm.prank(researcher);
        trials.proposeAmendment(id, "second", "softer still");
        vm.expectRevert(
            abi.encodeWithSelector(Trials.CriteriaDiffer.selector, bytes32("softer still"), bytes32("softer"))
        );
        vm.prank(auditor);
        trials.approveAmendment(id, "second", "softer");
        vm.expectRevert(abi.encodeWithSelector(Trials.DataDiffers.selector, bytes32("second"), bytes32("third")));
        vm.prank(auditor);
        trials.approveAmendment(id, "third", "softer still");
        vm.prank(auditor);
        trials.approveAmendment(id, "second", "softer still");
        vm.expectRevert(abi.encodeWithSelector(Trials.VersionDiffers.selector, 0, 2));
        vm.prank(auditor);
        trials.approveAmendment(id, "second", "softer still");
        assertEq(trials.trialOf(id).criteria, bytes32("softer still"), "criteria");
        assertEq(trials.trialOf(id).endpoints, bytes32("endpoints"), "R1: the endpoints stay");
    }

    function test_R4_the_head_holds_every_entry() public {
        reach(14);
        enter(patient, "one");
        enter(patient, "two");
        bytes32 head = keccak256(abi.encode(bytes32(0), patient, uint16(1), bytes32("one")));
        head = keccak256(abi.encode(head, patient, uint16(2), bytes32("two")));
        assertEq(trials.trialOf(id).dataHead, head, "head");
        assertEq(trials.trialOf(id).entries, 2, "entries");
    }

    function test_R6_a_withdrawal_always_works_and_is_final() public {
        uint256 start = vm.snapshotState();
        for (uint256 state; state <= 10; ++state) {
            vm.revertToState(start);
            start = vm.snapshotState();
            reach(state);
            withdraw();
            assertEq(uint256(trials.subjectOf(id, patient).standing), uint256(Trials.Standing.Withdrawn), "withdrawn");
        }
        vm.revertToState(start);
        reach(5);
        withdraw();
        refuseStanding(Trials.Standing.Withdrawn);
        enter(patient, "data");
        refuseStanding(Trials.Standing.Withdrawn);
        consentAs(patient, 1, "nonce");
        report(true, time());
    }

    /* adverse events
     * ├── aware in the future → NotYet
     * ├── serious, a second more than 24 hours after awareness: late
     * ├── not acknowledged a second before 24 hours: not overdue; at 24 hours: overdue
     * └── open ones keep the data from being locked → Unacknowledged
     */

    function test_R7_the_clock_of_adverse_events() public {
        reach(4);
        vm.expectRevert(abi.encodeWithSelector(Trials.NotYet.selector, time() + 1, time()));
        report(true, time() + 1);
        report(true, time() - 24 hours);
        report(true, time() - 24 hours - 1);
        report(false, time() - 24 hours - 1);
        assertFalse(trials.adverseEventOf(id, 0).late, "at 24 hours");
        assertTrue(trials.adverseEventOf(id, 1).late, "a second later");
        assertFalse(trials.adverseEventOf(id, 2).late, "not serious");
        skip(24 hours - 1);
        assertFalse(trials.isOverdue(id, 0), "a second before");
        skip(1);
        assertTrue(trials.isOverdue(id, 0), "overdue");
        assertFalse(trials.isOverdue(id, 2), "not serious");
        vm.expectRevert(abi.encodeWithSelector(Trials.Unacknowledged.selector, id, 2));
        vm.prank(researcher);
        trials.lock(id, 0);
        vm.prank(researcher);
        trials.acknowledge(id, 0);
        assertFalse(trials.isOverdue(id, 0), "acknowledged");
        vm.expectRevert(abi.encodeWithSelector(Trials.NothingToAcknowledge.selector, id, 0));
        vm.prank(researcher);
        trials.acknowledge(id, 0);
        vm.expectRevert(abi.encodeWithSelector(Trials.NothingToAcknowledge.selector, id, 2));
        vm.prank(researcher);
        trials.acknowledge(id, 2);
        vm.expectRevert(abi.encodeWithSelector(Trials.NothingToAcknowledge.selector, id, 3));
        vm.prank(researcher);
        trials.acknowledge(id, 3);
    }

    /* lock, reveal, publish
     * ├── locked elsewhere than where the data ends → DataDiffers
     * ├── a seed before the lock → WrongState
     * ├── another seed, another party's seed, or one again → SeedRefused
     * ├── other endpoints, even by who amended the protocol → EndpointsDiffer
     * ├── other data → DataDiffers
     * └── published twice → WrongState
     */

    function test_R3_only_the_committed_seeds_after_the_lock() public {
        reach(5);
        refuseState(Trials.State.Recruiting);
        trials.reveal(id, research, SPONSOR_SEED);
        vm.prank(researcher);
        trials.acknowledge(id, 0);
        vm.expectRevert(
            abi.encodeWithSelector(Trials.DataDiffers.selector, trials.trialOf(id).dataHead, bytes32("elsewhere"))
        );
        vm.prank(researcher);
        trials.lock(id, "elsewhere");
        lock();
        vm.expectRevert(abi.encodeWithSelector(Trials.SeedRefused.selector, id, research));
        trials.reveal(id, research, "a luckier seed");
        vm.expectRevert(abi.encodeWithSelector(Trials.SeedRefused.selector, id, regulator));
        trials.reveal(id, regulator, SPONSOR_SEED);
        vm.expectRevert(abi.encodeWithSelector(Trials.SeedRefused.selector, id, hospital));
        trials.reveal(id, hospital, SPONSOR_SEED);
        trials.reveal(id, research, SPONSOR_SEED);
        vm.expectRevert(abi.encodeWithSelector(Trials.SeedRefused.selector, id, research));
        trials.reveal(id, research, SPONSOR_SEED);
        refuseState(Trials.State.Locked);
        trials.armOf(id, patient);
        trials.reveal(id, regulator, CUSTODIAN_SEED);
        trials.armOf(id, patient);
    }

    /// @dev R3: zero says that a seed was not revealed, so it is none.
    function test_R3_a_seed_of_zero_is_refused() public {
        bytes32 zero = commitment(research, 0);
        vm.prank(researcher);
        trials.register(SALT, design(), zero);
        approve();
        lock();
        vm.expectRevert(Trials.Zero.selector);
        trials.reveal(id, research, 0);
    }

    /// @dev R3: who copies the other's commitment cannot open it with the other's seed.
    function test_R3_a_copied_commitment_opens_nothing() public {
        register();
        bytes32 copied = commitment(research, SPONSOR_SEED);
        vm.prank(auditor);
        trials.approve(id, "protocol", copied);
        lock();
        trials.reveal(id, research, SPONSOR_SEED);
        vm.expectRevert(abi.encodeWithSelector(Trials.SeedRefused.selector, id, regulator));
        trials.reveal(id, regulator, SPONSOR_SEED);
    }

    function test_R5_a_changed_endpoint_is_detected() public {
        reach(8);
        bytes32 head = trials.trialOf(id).dataHead;
        vm.expectRevert(
            abi.encodeWithSelector(Trials.EndpointsDiffer.selector, bytes32("endpoints"), bytes32("what came out well"))
        );
        publish("what came out well", head);
        vm.expectRevert(abi.encodeWithSelector(Trials.DataDiffers.selector, head, bytes32("better data")));
        publish("endpoints", "better data");
        publish("endpoints", head);
        refuseState(Trials.State.Published);
        publish("endpoints", head);
    }

    function test_an_allocation_is_checked_afterwards() public {
        reach(13);
        bytes32 seed = keccak256(abi.encode(SPONSOR_SEED, CUSTODIAN_SEED));
        uint256 arm = uint256(keccak256(abi.encode(seed, id, patient, bytes32("nonce")))) % 2;
        vm.prank(trialPharmacist);
        trials.allocate(id, patient, keccak256(abi.encode(id, patient, arm, bytes32("salt"))));
        vm.expectRevert(abi.encodeWithSelector(Trials.AlreadyAllocated.selector, patient));
        vm.prank(trialPharmacist);
        trials.allocate(id, patient, "another");
        lock();
        reveal();
        assertEq(trials.armOf(id, patient), arm, "arm");
        assertTrue(trials.isAllocatedRightly(id, patient, "salt"), "as the arm");
        assertFalse(trials.isAllocatedRightly(id, patient, "other salt"), "not otherwise");
    }

    /* R2: the arms, over seeds
     *
     * Each party in turn tries what it likes while the others are honest, and gains nothing: the share of
     * an arm stays within five standard deviations of even.
     */

    uint256 internal constant DRAWS = 4096;

    /// @dev The contract draws.
    function draw(bytes32 sponsorSeed, bytes32 custodianSeed, uint256 subject, bytes32 nonce, uint256 arms)
        internal
        view
        returns (uint256)
    {
        return trials.armFor(sponsorSeed, custodianSeed, id, subjectAt(subject), nonce, arms);
    }

    function subjectAt(uint256 number) internal pure returns (address) {
        return address(uint160(uint256(keccak256(abi.encode("subject", number)))));
    }

    function checkEven(uint256[16] memory counts, uint256 arms) internal pure {
        for (uint256 i; i < arms; ++i) {
            // Five standard deviations of a binomial: 25 * n * p * (1 - p), with p = 1 / arms.
            uint256 mean = DRAWS / arms;
            uint256 distance = counts[i] > mean ? counts[i] - mean : mean - counts[i];
            uint256 variance = DRAWS * (arms - 1) / (arms * arms);
            assertTrue(distance * distance <= 25 * (variance + 1), "R2: even arms");
        }
    }

    /// @dev What `armFor` draws is what a trial draws, whatever the seeds, and it is even there as well.
    /// forge-config: default.fuzz.runs = 8
    function testFuzz_R2_the_arms_are_the_contract_s(bytes32 one, bytes32 other, bytes32 nonce) public {
        uint256 subjects = 128;
        if (one == 0) one = SPONSOR_SEED;
        if (other == 0) other = CUSTODIAN_SEED;
        bytes32[2] memory by = [commitment(research, one), commitment(regulator, other)];
        vm.prank(researcher);
        trials.register(SALT, design(), by[0]);
        vm.prank(auditor);
        trials.approve(id, "protocol", by[1]);
        vm.prank(researcher);
        trials.inviteSite(id, hospital);
        vm.prank(hospital);
        trials.joinTrial(id);
        if (nonce == 0) nonce = "nonce";
        for (uint256 i; i < subjects; ++i) {
            consentAs(subjectAt(i), 1, nonce);
            enrol(subjectAt(i));
            openAs(subjectAt(i), nonce);
        }
        lock();
        // A party may wait to see the other's seed: what it can still do is reveal its own or nothing.
        trials.reveal(id, regulator, other);
        vm.expectRevert(abi.encodeWithSelector(Trials.SeedRefused.selector, id, research));
        trials.reveal(id, research, keccak256(abi.encode(one)));
        trials.reveal(id, research, one);
        uint256 count;
        for (uint256 i; i < subjects; ++i) {
            uint256 arm = trials.armOf(id, subjectAt(i));
            assertEq(arm, draw(one, other, i, nonce, 2), "R2: as drawn");
            count += arm;
        }
        // Five standard deviations: 5 * sqrt(128 / 4) is 28.3.
        assertTrue(count >= 64 - 29 && count <= 64 + 29, "R2: even arms");
    }

    /// forge-config: default.fuzz.runs = 16
    function testFuzz_R2_a_sponsor_s_seed_does_not_steer(bytes32 chosen, uint256 arms) public view {
        arms = bound(arms, 2, 16);
        uint256[16] memory counts;
        for (uint256 i; i < DRAWS; ++i) {
            ++counts[draw(chosen, keccak256(abi.encode("honest", i)), i, bytes32(i), arms)];
        }
        checkEven(counts, arms);
    }

    /// forge-config: default.fuzz.runs = 16
    function testFuzz_R2_a_custodian_s_seed_does_not_steer(bytes32 chosen, uint256 arms) public view {
        arms = bound(arms, 2, 16);
        uint256[16] memory counts;
        for (uint256 i; i < DRAWS; ++i) {
            ++counts[draw(keccak256(abi.encode("honest", i)), chosen, i, 0, arms)];
        }
        checkEven(counts, arms);
    }

    /// forge-config: default.fuzz.runs = 16
    function testFuzz_R2_nonces_and_the_choice_of_subjects_do_not_steer(bytes32 nonce, bytes32 one, bytes32 other)
        public
        view
    {
        uint256[16] memory counts;
        for (uint256 i; i < DRAWS; ++i) {
            ++counts[draw(one, other, i, nonce, 2)];
        }
        checkEven(counts, 2);
    }
}
