// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Registry} from "../src/Registry.sol";
import {InstitutionRole, ProfessionalRole} from "../src/Types.sol";
import {Network} from "./support/Network.sol";

contract RegistryTest is Network {
    address internal account = vm.addr(0xE01);
    uint256 internal constant NEW_KEY = 0xE02;
    address internal newSigner = vm.addr(NEW_KEY);

    function refuse(bytes4 selector, address value) internal {
        vm.expectRevert(abi.encodeWithSelector(selector, value));
    }

    /* constructor
     * ├── no founder → NoFounders
     * ├── a founder without role → InvalidRole
     * ├── a founder at address zero → Zero
     * ├── the same founder twice → AlreadySigner
     * ├── 256 founders → TooManyInstitutions
     * └── otherwise: each is in force, in its first term, under its own address
     */

    function founders(uint256 length) internal pure returns (Registry.Founder[] memory list) {
        list = new Registry.Founder[](length);
        for (uint256 i; i < length; ++i) {
            list[i] = Registry.Founder(address(uint160(0x1000 + i)), InstitutionRole.Hospital);
        }
    }

    function start(Registry.Founder[] memory list) internal returns (Registry) {
        return Registry(deploy("Registry", abi.encode(list)));
    }

    function test_a_network_without_founders_is_refused() public {
        vm.expectRevert(Registry.NoFounders.selector);
        start(founders(0));
    }

    function test_a_founder_without_role_is_refused() public {
        Registry.Founder[] memory list = founders(2);
        list[1].role = InstitutionRole.None;
        vm.expectRevert(Registry.InvalidRole.selector);
        start(list);
    }

    function test_a_founder_at_zero_is_refused() public {
        Registry.Founder[] memory list = founders(2);
        list[1].account = address(0);
        vm.expectRevert(Registry.Zero.selector);
        start(list);
    }

    function test_a_founder_listed_twice_is_refused() public {
        Registry.Founder[] memory list = founders(2);
        list[1].account = list[0].account;
        refuse(Registry.AlreadySigner.selector, list[0].account);
        start(list);
    }

    function test_more_founders_than_there_are_places_are_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.TooManyInstitutions.selector, 255));
        start(founders(256));
    }

    function test_founders_are_in_force_at_once() public view {
        assertEq(registry.institutionCount(), 4, "count");
        assertEq(registry.institution(hospital), hospital, "member");
        assertEq(uint256(registry.roleOf(hospital)), uint256(InstitutionRole.Hospital), "role");
        assertEq(registry.termOf(hospital), 1, "term");
        assertEq(registry.signerOf(hospital), hospital, "signer");
        assertTrue(registry.isActive(hospital), "in force");
        (address member, uint40 since, uint40 until) = registry.keyOf(hospital);
        assertEq(member, hospital, "key's member");
        assertEq(since, time(), "key's beginning");
        assertEq(until, 0, "key's end");
    }

    /* proposeAdmission
     * ├── address zero → Zero
     * ├── an address that was a key → AlreadySigner
     * ├── no role → InvalidRole
     * ├── by anybody but an institution in force → NotInstitution
     * └── otherwise: the proposer's vote counts, and alone it does not decide among four
     */

    function test_admission_of_zero_is_refused() public {
        vm.expectRevert(Registry.Zero.selector);
        vm.prank(hospital);
        registry.proposeAdmission(address(0), InstitutionRole.Hospital);
    }

    function test_admission_of_a_known_key_is_refused() public {
        refuse(Registry.AlreadySigner.selector, physician);
        vm.prank(hospital);
        registry.proposeAdmission(physician, InstitutionRole.Hospital);
    }

    function test_admission_without_role_is_refused() public {
        vm.expectRevert(Registry.InvalidRole.selector);
        vm.prank(hospital);
        registry.proposeAdmission(account, InstitutionRole.None);
    }

    function test_only_institutions_propose() public {
        refuse(Registry.NotInstitution.selector, stranger);
        vm.prank(stranger);
        registry.proposeAdmission(account, InstitutionRole.Hospital);
    }

    function test_a_proposal_announces_itself_with_the_proposers_vote() public {
        bytes memory content = abi.encode(account, InstitutionRole.Insurer);
        vm.expectEmit(address(registry));
        emit Registry.Proposed(1, hospital, Registry.ProposalKind.Admission, time() + 30 days, content);
        vm.expectEmit(address(registry));
        emit Registry.Voted(1, hospital, 1);
        vm.prank(hospital);
        uint256 id = registry.proposeAdmission(account, InstitutionRole.Insurer);

        assertEq(id, 1, "id");
        assertEq(registry.proposalCount(), 1, "count");
        assertEq(registry.votes(id), 1, "votes");
        assertFalse(registry.proposal(id).executed, "one of four does not decide");
        assertEq(registry.proposal(id).content, content, "content");
        assertFalse(registry.isActive(account), "not yet in force");
    }

    /* vote
     * ├── no such proposal → UnknownProposal
     * ├── executed before → AlreadyExecuted
     * ├── from the deadline on → VotingClosed
     * ├── by anybody but an institution in force → NotInstitution
     * ├── for the second time in one term → AlreadyVoted
     * ├── half of the votes: nothing happens
     * ├── more than half: it takes effect
     * ├── votes of who was expelled since do not count, nor do they when readmitted
     * └── what became impossible meanwhile fails the deciding vote:
     *     ├── admission of an address that became a key → AlreadySigner
     *     ├── readmission of who was readmitted → NotExpelled
     *     ├── readmission with a key that was used → AlreadySigner
     *     ├── expulsion of who is out of force → InstitutionNotInForce
     *     ├── expulsion of the last one → LastInstitution
     *     ├── rotation of who is out of force → InstitutionNotInForce
     *     └── rotation to a key that was used → AlreadySigner
     */

    function propose() internal returns (uint256 id) {
        vm.prank(hospital);
        return registry.proposeAdmission(account, InstitutionRole.Research);
    }

    function voteAs(address member, uint256 id) internal {
        vm.prank(member);
        registry.vote(id);
    }

    function test_a_vote_for_nothing_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.UnknownProposal.selector, 7));
        voteAs(hospital, 7);
    }

    function test_a_vote_after_execution_is_refused() public {
        uint256 id = propose();
        decide(id);
        vm.expectRevert(abi.encodeWithSelector(Registry.AlreadyExecuted.selector, id));
        voteAs(emergency, id);
    }

    function test_a_vote_from_the_deadline_on_is_refused() public {
        uint256 id = propose();
        uint40 deadline = time() + 30 days;
        vm.warp(deadline - 1);
        voteAs(laboratory, id);
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(Registry.VotingClosed.selector, id, deadline));
        voteAs(pharmacy, id);
    }

    function test_only_institutions_vote() public {
        uint256 id = propose();
        refuse(Registry.NotInstitution.selector, physician);
        voteAs(physician, id);
    }

    function test_a_second_vote_is_refused() public {
        uint256 id = propose();
        vm.expectRevert(abi.encodeWithSelector(Registry.AlreadyVoted.selector, id, hospital));
        voteAs(hospital, id);
    }

    function test_half_of_the_votes_decide_nothing() public {
        uint256 id = propose();
        voteAs(laboratory, id);
        assertFalse(registry.proposal(id).executed, "two of four");
        vm.expectEmit(address(registry));
        emit Registry.Executed(id);
        vm.expectEmit(address(registry));
        emit Registry.InstitutionAdmitted(account, InstitutionRole.Research, 1, account);
        voteAs(pharmacy, id);
        assertTrue(registry.proposal(id).executed, "three of four");
        assertEq(registry.institution(account), account, "admitted");
        assertEq(registry.institutionCount(), 5, "count");
    }

    function test_votes_of_the_expelled_do_not_count() public {
        uint256 id = propose();
        voteAs(emergency, id);
        assertEq(registry.votes(id), 2, "before");
        expel(emergency);
        assertEq(registry.votes(id), 1, "after");
        decide(proposeReadmission(emergency, newSigner));
        assertEq(registry.votes(id), 1, "a vote of an earlier term stays out");
        voteAs(newSigner, id);
        assertEq(registry.votes(id), 2, "a new term has a new vote");
    }

    function test_admission_of_what_became_a_key_fails_the_deciding_vote() public {
        uint256 id = propose();
        voteAs(laboratory, id);
        accredit(emergency, account, ProfessionalRole.Nurse);
        refuse(Registry.AlreadySigner.selector, account);
        voteAs(pharmacy, id);
    }

    function test_a_second_expulsion_fails_the_deciding_vote() public {
        vm.prank(hospital);
        uint256 first = registry.proposeExpulsion(emergency);
        vm.prank(hospital);
        uint256 second = registry.proposeExpulsion(emergency);
        decide(first);
        refuse(Registry.InstitutionNotInForce.selector, emergency);
        voteAs(laboratory, second);
    }

    function test_a_second_readmission_fails_the_deciding_vote() public {
        expel(emergency);
        vm.prank(hospital);
        uint256 first = registry.proposeReadmission(emergency, InstitutionRole.Emergency, newSigner);
        vm.prank(hospital);
        uint256 second = registry.proposeReadmission(emergency, InstitutionRole.Emergency, account);
        decide(first);
        voteAs(laboratory, second);
        refuse(Registry.NotExpelled.selector, emergency);
        voteAs(pharmacy, second);
    }

    function test_readmission_with_a_used_key_fails_the_deciding_vote() public {
        expel(emergency);
        vm.prank(hospital);
        uint256 id = registry.proposeReadmission(emergency, InstitutionRole.Emergency, newSigner);
        accredit(hospital, newSigner, ProfessionalRole.Nurse);
        refuse(Registry.AlreadySigner.selector, newSigner);
        voteAs(laboratory, id);
    }

    function test_rotation_of_the_expelled_fails_the_deciding_vote() public {
        vm.prank(hospital);
        uint256 id = registry.proposeRotation(emergency, newSigner);
        expel(emergency);
        refuse(Registry.InstitutionNotInForce.selector, emergency);
        voteAs(laboratory, id);
    }

    function test_rotation_to_a_used_key_fails_the_deciding_vote() public {
        vm.prank(hospital);
        uint256 id = registry.proposeRotation(emergency, newSigner);
        accredit(hospital, newSigner, ProfessionalRole.Nurse);
        voteAs(laboratory, id);
        refuse(Registry.AlreadySigner.selector, newSigner);
        voteAs(pharmacy, id);
    }

    /* execute
     * ├── no such proposal → UnknownProposal
     * ├── without majority → NoMajority
     * └── with a majority only since others left: it takes effect
     */

    function test_executing_nothing_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.UnknownProposal.selector, 1));
        registry.execute(1);
    }

    function test_executing_without_majority_is_refused() public {
        uint256 id = propose();
        vm.expectRevert(abi.encodeWithSelector(Registry.NoMajority.selector, id, 1, 4));
        registry.execute(id);
    }

    function test_a_majority_that_comes_about_can_be_executed_by_anybody() public {
        uint256 id = propose();
        voteAs(laboratory, id);
        expel(emergency);
        vm.prank(stranger);
        registry.execute(id);
        assertTrue(registry.isActive(account), "two of three");
    }

    /* proposeExpulsion
     * ├── of who is not in force → InstitutionNotInForce
     * ├── of the last institution → LastInstitution
     * └── otherwise: its key closes, and its professionals and devices are out of force
     */

    function test_expulsion_of_a_stranger_is_refused() public {
        refuse(Registry.InstitutionNotInForce.selector, stranger);
        vm.prank(hospital);
        registry.proposeExpulsion(stranger);
    }

    function test_the_last_institution_stays() public {
        Registry alone = start(founders(1));
        address only = address(0x1000);
        refuse(Registry.LastInstitution.selector, only);
        vm.prank(only);
        alone.proposeExpulsion(only);
    }

    function test_expulsion_takes_everybody_of_the_institution_out_of_force() public {
        vm.prank(emergency);
        registry.registerDevice(account, "model");
        skip(1 days);
        vm.prank(hospital);
        uint256 id = registry.proposeExpulsion(emergency);
        voteAs(laboratory, id);
        vm.expectEmit(address(registry));
        emit Registry.InstitutionExpelled(emergency, 1);
        voteAs(pharmacy, id);

        refuse(Registry.NotInstitution.selector, emergency);
        registry.institution(emergency);
        refuse(Registry.NotProfessional.selector, paramedic);
        registry.professional(paramedic);
        refuse(Registry.NotDevice.selector, account);
        registry.device(account);
        assertFalse(registry.isActive(emergency), "institution");
        assertFalse(registry.isActive(paramedic), "professional");
        assertFalse(registry.isActive(account), "device");
        assertEq(uint256(registry.roleOf(emergency)), 0, "role");
        (,, uint40 until) = registry.keyOf(emergency);
        assertEq(until, time(), "key closed");
        assertEq(registry.institutionCount(), 3, "count");
    }

    /* proposeReadmission
     * ├── of a stranger → NotExpelled
     * ├── of who is in force → NotExpelled
     * ├── with address zero → Zero
     * ├── with a key that was used → AlreadySigner
     * ├── no role → InvalidRole
     * └── otherwise: a new term, in which nobody accredited before is in force
     */

    function proposeReadmission(address member, address signer) internal returns (uint256) {
        vm.prank(hospital);
        return registry.proposeReadmission(member, InstitutionRole.Emergency, signer);
    }

    function test_readmission_of_a_stranger_is_refused() public {
        refuse(Registry.NotExpelled.selector, stranger);
        proposeReadmission(stranger, newSigner);
    }

    function test_readmission_of_who_is_in_force_is_refused() public {
        refuse(Registry.NotExpelled.selector, emergency);
        proposeReadmission(emergency, newSigner);
    }

    function test_readmission_with_zero_is_refused() public {
        expel(emergency);
        vm.expectRevert(Registry.Zero.selector);
        vm.prank(hospital);
        registry.proposeReadmission(emergency, InstitutionRole.Emergency, address(0));
    }

    function test_readmission_with_an_old_key_is_refused() public {
        expel(emergency);
        refuse(Registry.AlreadySigner.selector, emergency);
        vm.prank(hospital);
        registry.proposeReadmission(emergency, InstitutionRole.Emergency, emergency);
    }

    function test_readmission_without_role_is_refused() public {
        expel(emergency);
        vm.expectRevert(Registry.InvalidRole.selector);
        vm.prank(hospital);
        registry.proposeReadmission(emergency, InstitutionRole.None, newSigner);
    }

    function test_readmission_revives_the_institution_and_nobody_else() public {
        vm.prank(emergency);
        registry.registerDevice(account, "model");
        expel(emergency);
        skip(1 days);
        vm.prank(hospital);
        uint256 id = registry.proposeReadmission(emergency, InstitutionRole.Hospital, newSigner);
        vm.expectEmit(address(registry));
        emit Registry.InstitutionAdmitted(emergency, InstitutionRole.Hospital, 2, newSigner);
        voteAs(laboratory, id);

        assertEq(registry.institution(newSigner), emergency, "same member");
        assertEq(registry.signerOf(emergency), newSigner, "new key");
        assertEq(registry.rotationNonce(emergency), 1, "nonce moved");
        assertEq(registry.termOf(emergency), 2, "new term");
        assertFalse(registry.isActive(paramedic), "professional of the old term");
        assertFalse(registry.isActive(account), "device of the old term");
        refuse(Registry.NotInstitution.selector, emergency);
        registry.institution(emergency);

        vm.prank(newSigner);
        registry.accredit(paramedic, ProfessionalRole.Nurse, time() + 1);
        assertTrue(registry.isActive(paramedic), "accredited anew");
    }

    /* proposeRotation
     * ├── of who is not in force → InstitutionNotInForce
     * ├── to address zero → Zero
     * ├── to a key that was used → AlreadySigner
     * └── otherwise: the institution signs with the new key, and with the old one no more
     */

    function test_rotation_of_a_stranger_is_refused() public {
        refuse(Registry.InstitutionNotInForce.selector, stranger);
        vm.prank(hospital);
        registry.proposeRotation(stranger, newSigner);
    }

    function test_rotation_to_zero_is_refused() public {
        vm.expectRevert(Registry.Zero.selector);
        vm.prank(hospital);
        registry.proposeRotation(emergency, address(0));
    }

    function test_rotation_to_a_used_key_is_refused() public {
        refuse(Registry.AlreadySigner.selector, nurse);
        vm.prank(hospital);
        registry.proposeRotation(emergency, nurse);
    }

    function test_the_members_replace_a_lost_key() public {
        skip(1 hours);
        vm.prank(hospital);
        decide(registry.proposeRotation(emergency, newSigner));
        assertEq(registry.institution(newSigner), emergency, "new key");
        assertTrue(registry.isActive(paramedic), "its professionals stay in force");
        refuse(Registry.NotInstitution.selector, emergency);
        registry.institution(emergency);
    }

    /* proposeContracts, contractAt
     * ├── lists of different lengths → InvalidEntries
     * ├── empty lists → InvalidEntries
     * ├── more than 32 entries → InvalidEntries
     * ├── an address without code → NoCode
     * └── otherwise: all entries are set, and zero takes one out
     */

    function entries(uint256 names, uint256 wheres) internal view returns (bytes32[] memory, address[] memory) {
        address[] memory list = new address[](wheres);
        for (uint256 i; i < wheres; ++i) {
            list[i] = address(registry);
        }
        return (new bytes32[](names), list);
    }

    function checkEntriesRefused(uint256 names, uint256 wheres) internal {
        (bytes32[] memory a, address[] memory b) = entries(names, wheres);
        vm.expectRevert(abi.encodeWithSelector(Registry.InvalidEntries.selector, names, wheres));
        vm.prank(hospital);
        registry.proposeContracts(a, b);
    }

    function test_malformed_entries_are_refused() public {
        checkEntriesRefused(1, 2);
        checkEntriesRefused(0, 0);
        checkEntriesRefused(33, 33);
    }

    function test_an_entry_without_code_is_refused() public {
        (bytes32[] memory names, address[] memory wheres) = entries(2, 2);
        wheres[1] = stranger;
        refuse(Registry.NoCode.selector, stranger);
        vm.prank(hospital);
        registry.proposeContracts(names, wheres);
    }

    function test_the_directory_is_set_and_cleared_by_vote() public {
        (bytes32[] memory names, address[] memory wheres) = entries(32, 32);
        names[0] = "Records";
        wheres[0] = address(records);
        vm.prank(hospital);
        uint256 id = registry.proposeContracts(names, wheres);
        assertEq(registry.contractAt("Records"), address(0), "one vote is not enough");
        voteAs(laboratory, id);
        vm.expectEmit(address(registry));
        emit Registry.ContractSet("Records", address(records));
        voteAs(pharmacy, id);
        assertEq(registry.contractAt("Records"), address(records), "set");

        (names, wheres) = entries(1, 1);
        names[0] = "Records";
        wheres[0] = address(0);
        vm.prank(hospital);
        decide(registry.proposeContracts(names, wheres));
        assertEq(registry.contractAt("Records"), address(0), "cleared");
    }

    /* accredit
     * ├── by anybody but an institution in force → NotInstitution
     * ├── no role → InvalidRole
     * ├── until now or before → InvalidPeriod
     * ├── for more than five years → InvalidPeriod
     * ├── address zero → Zero
     * ├── a key of an institution or a device, or a key that is closed → AlreadySigner
     * ├── who is accredited, there or elsewhere → StillAccredited
     * ├── anew after the end: with another role, institution or both
     * └── otherwise: in force until that time
     */

    function test_only_institutions_accredit() public {
        refuse(Registry.NotInstitution.selector, physician);
        vm.prank(physician);
        registry.accredit(account, ProfessionalRole.Nurse, time() + 1);
    }

    function test_accreditation_without_role_is_refused() public {
        vm.expectRevert(Registry.InvalidRole.selector);
        vm.prank(hospital);
        registry.accredit(account, ProfessionalRole.None, time() + 1);
    }

    function refusePeriod(uint40 until) internal {
        uint256 latest = time() + 5 * 365 days;
        vm.expectRevert(abi.encodeWithSelector(Registry.InvalidPeriod.selector, until, time() + 1, latest));
    }

    function test_accreditation_outside_its_period_is_refused() public {
        refusePeriod(time());
        vm.prank(hospital);
        registry.accredit(account, ProfessionalRole.Nurse, time());

        refusePeriod(time() + 5 * 365 days + 1);
        vm.prank(hospital);
        registry.accredit(account, ProfessionalRole.Nurse, time() + 5 * 365 days + 1);
    }

    function test_accreditation_of_zero_is_refused() public {
        vm.expectRevert(Registry.Zero.selector);
        vm.prank(hospital);
        registry.accredit(address(0), ProfessionalRole.Nurse, time() + 1);
    }

    function test_accreditation_of_another_key_is_refused() public {
        refuse(Registry.AlreadySigner.selector, laboratory);
        vm.prank(hospital);
        registry.accredit(laboratory, ProfessionalRole.Nurse, time() + 1);

        rotateTo(nurse, NEW_KEY);
        refuse(Registry.AlreadySigner.selector, nurse);
        vm.prank(laboratory);
        registry.accredit(nurse, ProfessionalRole.Nurse, time() + 1);
        vm.expectRevert(abi.encodeWithSelector(Registry.StillAccredited.selector, nurse, hospital));
        vm.prank(laboratory);
        registry.accredit(newSigner, ProfessionalRole.Nurse, time() + 1);
    }

    /// @dev A hospital that replaced its nurse's key does not act under the next accreditation.
    function test_accreditation_is_of_the_key_that_was_shown() public {
        bytes memory proven = proof(NEW_KEY, nurse, 0, time());
        vm.prank(hospital);
        registry.rotateFor(nurse, newSigner, time(), proven);
        vm.prank(hospital);
        registry.revokeAccreditation(nurse);
        refuse(Registry.AlreadySigner.selector, nurse);
        vm.prank(laboratory);
        registry.accredit(nurse, ProfessionalRole.Nurse, time() + 1);

        vm.expectEmit(address(registry));
        emit Registry.ProfessionalAccredited(laboratory, nurse, ProfessionalRole.Nurse, 1, time() + 1);
        vm.prank(laboratory);
        registry.accredit(newSigner, ProfessionalRole.Nurse, time() + 1);
        (address member,, address institution) = registry.professional(newSigner);
        assertEq(member, nurse, "the same member");
        assertEq(institution, laboratory, "by its present key");
    }

    function test_accreditation_of_the_accredited_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.StillAccredited.selector, nurse, hospital));
        vm.prank(laboratory);
        registry.accredit(nurse, ProfessionalRole.Nurse, time() + 1);
    }

    function test_an_accreditation_holds_until_its_end_to_the_second() public {
        vm.expectEmit(address(registry));
        emit Registry.ProfessionalAccredited(hospital, account, ProfessionalRole.Auditor, 1, time() + 100);
        vm.prank(hospital);
        registry.accredit(account, ProfessionalRole.Auditor, time() + 100);

        skip(99);
        (address member, ProfessionalRole role, address institution) = registry.professional(account);
        assertEq(member, account, "member");
        assertEq(uint256(role), uint256(ProfessionalRole.Auditor), "role");
        assertEq(institution, hospital, "institution");
        assertEq(registry.accreditationOf(account).until, time() + 1, "until");

        skip(1);
        refuse(Registry.NotProfessional.selector, account);
        registry.professional(account);
        assertFalse(registry.isActive(account), "out of force");
    }

    function test_who_left_can_be_accredited_elsewhere() public {
        vm.prank(hospital);
        registry.revokeAccreditation(nurse);
        vm.prank(laboratory);
        registry.accredit(nurse, ProfessionalRole.Researcher, time() + 1);
        (, ProfessionalRole role, address institution) = registry.professional(nurse);
        assertEq(uint256(role), uint256(ProfessionalRole.Researcher), "role");
        assertEq(institution, laboratory, "institution");
    }

    /* renew, revokeAccreditation, resign
     * ├── by an institution that does not accredit the professional → NotAccredited
     * ├── after the end → NotAccredited
     * ├── renew outside the period → InvalidPeriod
     * ├── renew: another end, earlier or later
     * ├── revoke, resign: out of force at once
     * └── resign by who is no professional in force → NotProfessional
     */

    function refuseAccredited(address professional, address institution) internal {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotAccredited.selector, professional, institution));
    }

    function test_only_its_own_institution_renews() public {
        refuseAccredited(nurse, laboratory);
        vm.prank(laboratory);
        registry.renew(nurse, time() + 1);
    }

    function test_what_ended_is_not_renewed() public {
        skip(365 days);
        refuseAccredited(nurse, hospital);
        vm.prank(hospital);
        registry.renew(nurse, time() + 1);
    }

    function test_renewal_outside_its_period_is_refused() public {
        refusePeriod(time());
        vm.prank(hospital);
        registry.renew(nurse, time());
    }

    function test_renewal_sets_another_end() public {
        vm.expectEmit(address(registry));
        emit Registry.AccreditationRenewed(hospital, nurse, time() + 10);
        vm.prank(hospital);
        registry.renew(nurse, time() + 10);
        skip(10);
        assertFalse(registry.isActive(nurse), "shortened");
    }

    function test_only_its_own_institution_revokes() public {
        refuseAccredited(nurse, laboratory);
        vm.prank(laboratory);
        registry.revokeAccreditation(nurse);
    }

    function test_revocation_takes_effect_at_once() public {
        vm.expectEmit(address(registry));
        emit Registry.AccreditationEnded(hospital, nurse);
        vm.prank(hospital);
        registry.revokeAccreditation(nurse);
        refuse(Registry.NotProfessional.selector, nurse);
        registry.professional(nurse);
    }

    function test_a_professional_resigns() public {
        vm.expectEmit(address(registry));
        emit Registry.AccreditationEnded(hospital, nurse);
        vm.prank(nurse);
        registry.resign();
        assertFalse(registry.isActive(nurse), "out of force");

        refuse(Registry.NotProfessional.selector, nurse);
        vm.prank(nurse);
        registry.resign();
    }

    function test_a_stranger_is_no_professional() public {
        refuse(Registry.NotProfessional.selector, stranger);
        registry.professional(stranger);
        refuse(Registry.NotProfessional.selector, hospital);
        registry.professional(hospital);
        refuse(Registry.NotInstitution.selector, nurse);
        registry.institution(nurse);
    }

    /* registerDevice, decommissionDevice
     * ├── by anybody but an institution in force → NotInstitution
     * ├── address zero → Zero; a key that was used → AlreadySigner
     * ├── decommission by another institution, or again → NotOperator
     * └── otherwise: in force, until decommissioned for good
     */

    function test_only_institutions_register_devices() public {
        refuse(Registry.NotInstitution.selector, stranger);
        vm.prank(stranger);
        registry.registerDevice(account, "model");
    }

    function test_a_device_needs_an_unused_key() public {
        refuse(Registry.AlreadySigner.selector, nurse);
        vm.prank(hospital);
        registry.registerDevice(nurse, "model");
    }

    function test_a_device_is_registered_and_decommissioned() public {
        vm.expectEmit(address(registry));
        emit Registry.DeviceRegistered(hospital, account, "model", 1);
        vm.prank(hospital);
        registry.registerDevice(account, "model");
        (address member, address operator, bytes32 model) = registry.device(account);
        assertEq(member, account, "member");
        assertEq(operator, hospital, "operator");
        assertEq(model, "model", "model");

        vm.expectRevert(abi.encodeWithSelector(Registry.NotOperator.selector, account, laboratory));
        vm.prank(laboratory);
        registry.decommissionDevice(account);

        vm.expectEmit(address(registry));
        emit Registry.DeviceDecommissioned(hospital, account);
        vm.prank(hospital);
        registry.decommissionDevice(account);
        refuse(Registry.NotDevice.selector, account);
        registry.device(account);

        vm.expectRevert(abi.encodeWithSelector(Registry.NotOperator.selector, account, hospital));
        vm.prank(hospital);
        registry.decommissionDevice(account);
        refuse(Registry.AlreadySigner.selector, account);
        vm.prank(hospital);
        registry.registerDevice(account, "model");
    }

    /* rotate
     * ├── by an unknown key, or one that is closed → NotSigner
     * ├── after the deadline → Expired
     * ├── a signature by another key, for another member, nonce, deadline, contract or chain → InvalidSignature
     * ├── to address zero → InvalidSignature (nobody signs for it)
     * ├── to a key that was used → AlreadySigner
     * └── otherwise: the new key is open, the old one closed, both with their times
     */

    function proof(uint256 key, address member, uint256 nonce, uint40 deadline) internal view returns (bytes memory) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Rotate(address member,address newSigner,uint256 nonce,uint40 deadline)"),
                member,
                vm.addr(key),
                nonce,
                deadline
            )
        );
        return signature(key, typedDigest("Salus Registry", address(registry), structHash));
    }

    function rotateTo(address member, uint256 key) internal {
        bytes memory proven = proof(key, member, registry.rotationNonce(member), time());
        vm.prank(registry.signerOf(member));
        registry.rotate(vm.addr(key), time(), proven);
    }

    function test_only_a_key_in_use_rotates() public {
        bytes memory proven = proof(NEW_KEY, stranger, 0, time());
        refuse(Registry.NotSigner.selector, stranger);
        vm.prank(stranger);
        registry.rotate(newSigner, time(), proven);

        rotateTo(hospital, NEW_KEY);
        proven = proof(0xE03, hospital, 1, time());
        refuse(Registry.NotSigner.selector, hospital);
        vm.prank(hospital);
        registry.rotate(vm.addr(0xE03), time(), proven);
    }

    function test_a_proof_holds_until_its_deadline() public {
        uint40 deadline = time() + 10;
        bytes memory proven = proof(NEW_KEY, hospital, 0, deadline);
        skip(11);
        vm.expectRevert(abi.encodeWithSelector(Registry.Expired.selector, deadline));
        vm.prank(hospital);
        registry.rotate(newSigner, deadline, proven);
        vm.warp(deadline);
        vm.prank(hospital);
        registry.rotate(newSigner, deadline, proven);
    }

    function checkProofRefused(bytes memory proven) internal {
        refuse(Registry.InvalidSignature.selector, newSigner);
        vm.prank(hospital);
        registry.rotate(newSigner, time(), proven);
    }

    function test_a_proof_of_anything_else_is_refused() public {
        checkProofRefused(proof(NEW_KEY, laboratory, 0, time()));
        checkProofRefused(proof(NEW_KEY, hospital, 1, time()));
        checkProofRefused(proof(NEW_KEY, hospital, 0, time() + 1));
        checkProofRefused(proof(0xE03, hospital, 0, time()));
        checkProofRefused("");
        bytes memory proven = proof(NEW_KEY, hospital, 0, time());
        vm.chainId(block.chainid + 1);
        checkProofRefused(proven);
    }

    function test_rotation_to_zero_by_its_own_key_is_refused() public {
        refuse(Registry.InvalidSignature.selector, address(0));
        vm.prank(hospital);
        registry.rotate(address(0), time(), "");
    }

    function test_rotation_back_to_an_old_key_is_refused() public {
        rotateTo(hospital, NEW_KEY);
        bytes memory proven = proof(HOSPITAL_KEY, hospital, 1, time());
        refuse(Registry.AlreadySigner.selector, hospital);
        vm.prank(newSigner);
        registry.rotate(hospital, time(), proven);
    }

    function test_rotation_keeps_history() public {
        uint40 admitted = time();
        skip(1 days);
        vm.expectEmit(address(registry));
        emit Registry.KeyRotated(hospital, hospital, newSigner);
        rotateTo(hospital, NEW_KEY);
        uint40 rotated = time();

        (address member, uint40 since, uint40 until) = registry.keyOf(hospital);
        assertEq(member, hospital, "old key's member");
        assertEq(since, admitted, "old key's beginning");
        assertEq(until, rotated, "old key's end");
        (member, since, until) = registry.keyOf(newSigner);
        assertEq(member, hospital, "new key's member");
        assertEq(since, rotated, "new key's beginning");
        assertEq(until, 0, "new key's end");
        assertEq(registry.institution(newSigner), hospital, "the member keeps its name");
        assertEq(registry.rotationNonce(hospital), 1, "nonce");
    }

    function test_devices_and_professionals_rotate_too() public {
        vm.prank(hospital);
        registry.registerDevice(account, "model");
        rotateTo(account, NEW_KEY);
        (address member,,) = registry.device(newSigner);
        assertEq(member, account, "device");
        refuse(Registry.NotDevice.selector, account);
        registry.device(account);

        rotateTo(nurse, 0xE03);
        (member,,) = registry.professional(vm.addr(0xE03));
        assertEq(member, nurse, "professional");
        refuse(Registry.NotProfessional.selector, nurse);
        registry.professional(nurse);
    }

    /* rotateFor
     * ├── by an institution that does not accredit the professional → NotAccredited
     * ├── without the new key's proof → InvalidSignature
     * └── otherwise: as rotate
     */

    function test_another_institution_does_not_rotate_for_a_professional() public {
        bytes memory proven = proof(NEW_KEY, nurse, 0, time());
        refuseAccredited(nurse, laboratory);
        vm.prank(laboratory);
        registry.rotateFor(nurse, newSigner, time(), proven);
    }

    function test_rotation_for_a_professional_needs_the_proof() public {
        bytes memory proven = proof(0xE03, nurse, 0, time());
        refuse(Registry.InvalidSignature.selector, newSigner);
        vm.prank(hospital);
        registry.rotateFor(nurse, newSigner, time(), proven);
    }

    function test_an_institution_replaces_a_lost_key_of_its_professional() public {
        bytes memory proven = proof(NEW_KEY, nurse, 0, time());
        vm.prank(hospital);
        registry.rotateFor(nurse, newSigner, time(), proven);
        (address member,, address institution) = registry.professional(newSigner);
        assertEq(member, nurse, "member");
        assertEq(institution, hospital, "institution");
    }

    /* setProfile
     * ├── by an unknown or closed key → NotSigner
     * ├── by a member out of force → NotInForce
     * ├── a key beyond 2,048 bytes, an endpoint beyond 256 → TooLong
     * ├── an endpoint of a member that is no institution → EndpointNotAllowed
     * └── otherwise: a new version, its digest stored and all of it in the event
     */

    function test_a_stranger_has_no_profile() public {
        refuse(Registry.NotSigner.selector, stranger);
        vm.prank(stranger);
        registry.setProfile("", "", 0);
        rotateTo(hospital, NEW_KEY);
        refuse(Registry.NotSigner.selector, hospital);
        vm.prank(hospital);
        registry.setProfile("", "", 0);
    }

    function test_a_member_out_of_force_sets_no_profile() public {
        vm.prank(hospital);
        registry.revokeAccreditation(nurse);
        refuse(Registry.NotInForce.selector, nurse);
        vm.prank(nurse);
        registry.setProfile("key", "", 0);
    }

    function test_a_profile_is_bounded() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.TooLong.selector, 2049, 2048));
        vm.prank(hospital);
        registry.setProfile(new bytes(2049), "", 0);
        vm.expectRevert(abi.encodeWithSelector(Registry.TooLong.selector, 257, 256));
        vm.prank(hospital);
        registry.setProfile(new bytes(2048), string(new bytes(257)), 0);
        vm.prank(hospital);
        registry.setProfile(new bytes(2048), string(new bytes(256)), 0);
    }

    function test_only_institutions_have_an_endpoint() public {
        refuse(Registry.EndpointNotAllowed.selector, nurse);
        vm.prank(nurse);
        registry.setProfile("key", "mailto:", 0);
        vm.prank(nurse);
        registry.setProfile("key", "", 0);
        (, uint64 version) = registry.profileOf(nurse);
        assertEq(version, 1, "a professional's key");
    }

    function test_a_profile_is_versioned() public {
        vm.prank(hospital);
        registry.setProfile("one", "https://one.example", "peer");
        vm.expectEmit(address(registry));
        emit Registry.ProfileSet(hospital, 2, "two", "https://two.example", "peer");
        vm.prank(hospital);
        registry.setProfile("two", "https://two.example", "peer");
        (bytes32 digest, uint64 version) = registry.profileOf(hospital);
        assertEq(version, 2, "version");
        assertEq(
            digest, keccak256(abi.encode(bytes("two"), "https://two.example", bytes32("peer"))), "digest of the latest"
        );
    }

    /* bindIdentity, unbindIdentity, resolve
     * ├── by anybody but an institution in force → NotInstitution
     * ├── digest or account zero → Zero
     * ├── a digest that is bound → AlreadyBound
     * ├── unbinding what is not bound → NotBound
     * ├── one authority's binding says nothing of another's
     * └── an authority out of force says nothing
     */

    function test_only_institutions_bind() public {
        refuse(Registry.NotInstitution.selector, nurse);
        vm.prank(nurse);
        registry.bindIdentity("digest", patient);
        refuse(Registry.NotInstitution.selector, nurse);
        vm.prank(nurse);
        registry.unbindIdentity("digest");
    }

    function test_nothing_is_bound_to_zero() public {
        vm.expectRevert(Registry.Zero.selector);
        vm.prank(hospital);
        registry.bindIdentity(0, patient);
        vm.expectRevert(Registry.Zero.selector);
        vm.prank(hospital);
        registry.bindIdentity("digest", address(0));
    }

    function test_rebinding_takes_unbinding_first() public {
        vm.expectEmit(address(registry));
        emit Registry.IdentityBound(hospital, "digest", patient);
        vm.prank(hospital);
        registry.bindIdentity("digest", patient);
        assertEq(registry.resolve(hospital, "digest"), patient, "bound");
        assertEq(registry.resolve(laboratory, "digest"), address(0), "by another authority");

        vm.expectRevert(abi.encodeWithSelector(Registry.AlreadyBound.selector, bytes32("digest"), patient));
        vm.prank(hospital);
        registry.bindIdentity("digest", stranger);

        vm.expectEmit(address(registry));
        emit Registry.IdentityUnbound(hospital, "digest", patient);
        vm.prank(hospital);
        registry.unbindIdentity("digest");
        vm.prank(hospital);
        registry.bindIdentity("digest", stranger);
        assertEq(registry.resolve(hospital, "digest"), stranger, "bound anew");
    }

    function test_unbinding_nothing_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotBound.selector, bytes32("digest")));
        vm.prank(hospital);
        registry.unbindIdentity("digest");
    }

    function test_an_authority_out_of_force_says_nothing() public {
        vm.prank(emergency);
        registry.bindIdentity("digest", patient);
        expel(emergency);
        assertEq(registry.resolve(emergency, "digest"), address(0), "expelled");
    }

    /* institution
     * └── reads one storage slot
     */

    function test_finding_an_institution_takes_one_cold_slot() public view {
        if (isMeasuringCoverage()) return;
        (Registry where, address signer) = (registry, hospital);
        uint256 before = gasleft();
        where.institution(signer);
        // A cold account, a cold slot, and less than another for the rest.
        assertTrue(before - gasleft() < 2_600 + 2_100 + 2_000, "one slot");
    }

    /* Fuzz */

    /// @dev G5 at every second of an accreditation.
    function testFuzz_an_accreditation_is_in_force_before_its_end_only(uint40 period, uint40 later) public {
        period = uint40(bound(period, 1, 5 * 365 days));
        later = uint40(bound(later, 0, 6 * 365 days));
        vm.prank(hospital);
        registry.accredit(account, ProfessionalRole.Nurse, time() + period);
        skip(later);
        assertEq(registry.isActive(account), later < period, "in force");
    }

    /// @dev G4 with any number of institutions and of votes.
    function testFuzz_more_than_half_decide(uint256 institutions, uint256 voters) public {
        institutions = bound(institutions, 1, 40);
        voters = bound(voters, 1, institutions);
        Registry larger = start(founders(institutions));
        vm.prank(address(0x1000));
        larger.proposeAdmission(account, InstitutionRole.Hospital);
        for (uint256 i = 1; i < voters && !larger.proposal(1).executed; ++i) {
            vm.prank(address(uint160(0x1000 + i)));
            larger.vote(1);
        }
        assertEq(larger.proposal(1).executed, 2 * voters > institutions, "decided");
    }

    /// @dev G3: the whole vote of a full network fits a transaction (2^24 gas, EIP-7825).
    function test_a_full_network_can_decide() public {
        Registry full = start(founders(255));
        vm.prank(address(0x1000));
        full.proposeExpulsion(address(0x1001));
        for (uint256 i = 2; i < 128; ++i) {
            vm.prank(address(uint160(0x1000 + i)));
            full.vote(1);
        }
        assertFalse(full.proposal(1).executed, "127 of 255");
        uint256 before = gasleft();
        vm.prank(address(uint160(0x1000 + 128)));
        full.vote(1);
        assertTrue(before - gasleft() < 2 ** 24, "gas");
        assertTrue(full.proposal(1).executed, "128 of 255");

        vm.expectRevert(abi.encodeWithSelector(Registry.InstitutionNotInForce.selector, address(0x1001)));
        vm.prank(address(0x1000));
        full.proposeExpulsion(address(0x1001));
    }
}
