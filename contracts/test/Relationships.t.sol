// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Records} from "../src/Records.sol";
import {Registry} from "../src/Registry.sol";
import {Relationships} from "../src/Relationships.sol";
import {InstitutionRole} from "../src/Types.sol";
import {Network} from "./support/Network.sol";

contract RelationshipsTest is Network {
    function propose(bool countersigned) internal {
        vm.prank(hospital);
        relationships.propose(patient, countersigned);
    }

    function accept(bool countersigned) internal {
        vm.prank(patient);
        relationships.accept(hospital, countersigned);
    }

    function refuseNotActive() internal {
        vm.expectRevert(abi.encodeWithSelector(Relationships.NotActive.selector, patient, hospital));
    }

    function refuseOffer(Relationships.Offer outstanding) internal {
        vm.expectRevert(abi.encodeWithSelector(Relationships.WrongOffer.selector, outstanding));
    }

    function check(Relationships.State state, Relationships.Offer offer, bool countersigned, uint256 listed)
        internal
        view
    {
        assertEq(uint256(relationships.stateOf(patient, hospital)), uint256(state), "state");
        assertEq(uint256(relationships.offerOf(patient, hospital)), uint256(offer), "offer");
        assertEq(relationships.needsCountersignature(patient, hospital), countersigned, "policy");
        assertEq(relationships.stewardsOf(patient).length, listed, "listed");
        bool active = state == Relationships.State.Active;
        assertEq(relationships.isActive(patient, hospital), active, "active");
    }

    function checkSummary(Relationships.Status status, uint256 active, uint256 offers, uint256 awaiting) internal view {
        (Relationships.Status status_, uint256 active_, uint256 offers_, uint256 awaiting_) =
            relationships.summary(patient);
        assertEq(uint256(status_), uint256(status), "status");
        assertEq(active_, active, "active relationships");
        assertEq(offers_, offers, "offers");
        assertEq(awaiting_, awaiting, "records");
    }

    /* propose
     * ├── by anybody but an institution in force → NotInstitution
     * ├── to address zero → Zero
     * ├── while active → AlreadyActive
     * ├── while an offer is outstanding → WrongOffer
     * ├── to a patient with 64 stewards → TooManyStewards
     * └── otherwise: Proposed, listed, awaiting the patient
     */

    function test_only_an_institution_proposes() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, physician));
        vm.prank(physician);
        relationships.propose(patient, false);
    }

    function test_a_proposal_to_zero_is_refused() public {
        vm.expectRevert(Relationships.Zero.selector);
        vm.prank(hospital);
        relationships.propose(address(0), false);
    }

    function test_a_proposal_while_active_is_refused() public {
        relate(patient, hospital, false);
        vm.expectRevert(abi.encodeWithSelector(Relationships.AlreadyActive.selector, patient, hospital));
        propose(true);
    }

    function test_a_second_proposal_is_refused() public {
        propose(true);
        refuseOffer(Relationships.Offer.Countersigned);
        propose(false);
    }

    /// @dev L3: the list is bounded.
    function test_a_patient_has_at_most_64_stewards() public {
        Registry.Founder[] memory founders = new Registry.Founder[](65);
        for (uint256 i; i < 65; ++i) {
            founders[i] = Registry.Founder(address(uint160(0x1000 + i)), InstitutionRole.Hospital);
        }
        Registry larger = Registry(deploy("Registry", abi.encode(founders)));
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        relationships = Relationships(deploy("Relationships", abi.encode(larger, next)));
        deploy("Records", abi.encode(larger, relationships));
        for (uint256 i; i < 64; ++i) {
            vm.prank(address(uint160(0x1000 + i)));
            relationships.propose(patient, false);
        }
        vm.expectRevert(abi.encodeWithSelector(Relationships.TooManyStewards.selector, 64));
        vm.prank(address(uint160(0x1000 + 64)));
        relationships.propose(patient, false);

        checkSummary(Relationships.Status.Awaiting, 0, 64, 0);
        vm.prank(patient);
        relationships.decline(address(0x1001));
        vm.prank(address(uint160(0x1000 + 64)));
        relationships.propose(patient, false);
    }

    function test_a_proposal_awaits_the_patient() public {
        check(Relationships.State.None, Relationships.Offer.None, false, 0);
        checkSummary(Relationships.Status.New, 0, 0, 0);
        vm.expectEmit(address(relationships));
        emit Relationships.RelationshipProposed(patient, hospital, true);
        propose(true);
        check(Relationships.State.Proposed, Relationships.Offer.Countersigned, false, 1);
        checkSummary(Relationships.Status.Awaiting, 0, 1, 0);
        assertFalse(relationships.wasAccepted(patient, hospital), "not accepted yet");
    }

    /* accept
     * ├── nothing offered → WrongOffer
     * ├── another policy than the one offered → WrongOffer
     * ├── while active → AlreadyActive
     * └── otherwise: Active under that policy, and Records knows
     */

    function test_accepting_nothing_is_refused() public {
        refuseOffer(Relationships.Offer.None);
        accept(false);
    }

    /// @dev L1: what the patient did not see is not accepted.
    function test_accepting_another_policy_is_refused() public {
        propose(false);
        refuseOffer(Relationships.Offer.PatientAlone);
        accept(true);
        vm.prank(hospital);
        relationships.withdraw(patient);
        propose(true);
        refuseOffer(Relationships.Offer.Countersigned);
        accept(false);
    }

    function test_accepting_twice_is_refused() public {
        relate(patient, hospital, false);
        vm.prank(hospital);
        relationships.proposePolicy(patient, true);
        vm.expectRevert(abi.encodeWithSelector(Relationships.AlreadyActive.selector, patient, hospital));
        accept(true);
    }

    function test_an_accepted_relationship_is_active() public {
        propose(true);
        vm.expectEmit(address(relationships));
        emit Relationships.RelationshipAccepted(patient, hospital, true);
        accept(true);
        check(Relationships.State.Active, Relationships.Offer.None, true, 1);
        checkSummary(Relationships.Status.UpToDate, 1, 0, 0);
        assertTrue(relationships.wasAccepted(patient, hospital), "accepted");

        // L4: Records takes proposals from now on.
        vm.prank(hospital);
        records.propose(patient, "record", 0, "digest");
        checkSummary(Relationships.Status.Awaiting, 1, 0, 1);
    }

    /* decline, withdraw
     * ├── nothing offered → WrongOffer
     * ├── withdraw by anybody but an institution → NotInstitution
     * ├── a first proposal: as if it had never been, and off the list
     * ├── a proposal after an end: Ended again, under the policy as it was
     * └── a policy: Active under the policy as it was
     */

    function test_declining_nothing_is_refused() public {
        refuseOffer(Relationships.Offer.None);
        vm.prank(patient);
        relationships.decline(hospital);
        refuseOffer(Relationships.Offer.None);
        vm.prank(hospital);
        relationships.withdraw(patient);
    }

    function test_only_an_institution_withdraws() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, stranger));
        vm.prank(stranger);
        relationships.withdraw(patient);
    }

    function test_a_declined_proposal_leaves_nothing() public {
        propose(true);
        vm.expectEmit(address(relationships));
        emit Relationships.OfferDeclined(patient, hospital);
        vm.prank(patient);
        relationships.decline(hospital);
        check(Relationships.State.None, Relationships.Offer.None, false, 0);
    }

    function test_a_withdrawn_proposal_leaves_nothing() public {
        propose(true);
        vm.expectEmit(address(relationships));
        emit Relationships.OfferWithdrawn(patient, hospital);
        vm.prank(hospital);
        relationships.withdraw(patient);
        check(Relationships.State.None, Relationships.Offer.None, false, 0);
        refuseOffer(Relationships.Offer.None);
        accept(true);
    }

    /// @dev L2: the policy survives an end and a declined proposal.
    function test_a_declined_proposal_after_an_end_changes_nothing() public {
        relate(patient, hospital, true);
        vm.prank(patient);
        relationships.end(hospital);
        propose(false);
        check(Relationships.State.Proposed, Relationships.Offer.PatientAlone, true, 1);
        vm.prank(patient);
        relationships.decline(hospital);
        check(Relationships.State.Ended, Relationships.Offer.None, true, 0);
    }

    function test_a_declined_policy_changes_nothing() public {
        relate(patient, hospital, true);
        vm.prank(hospital);
        relationships.proposePolicy(patient, false);
        vm.prank(patient);
        relationships.decline(hospital);
        check(Relationships.State.Active, Relationships.Offer.None, true, 1);
    }

    /* end, endFor
     * ├── not active → NotActive
     * ├── endFor by anybody but an institution → NotInstitution
     * └── otherwise: Ended, off the list, an outstanding policy void, and Records knows
     */

    function test_ending_what_is_not_active_is_refused() public {
        propose(false);
        refuseNotActive();
        vm.prank(patient);
        relationships.end(hospital);
        refuseNotActive();
        vm.prank(hospital);
        relationships.endFor(patient);
    }

    function test_only_an_institution_ends_for_a_patient() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, stranger));
        vm.prank(stranger);
        relationships.endFor(patient);
    }

    function test_the_patient_ends() public {
        relate(patient, hospital, true);
        vm.prank(hospital);
        relationships.proposePolicy(patient, false);
        vm.expectEmit(address(relationships));
        emit Relationships.RelationshipEnded(patient, hospital, patient);
        vm.prank(patient);
        relationships.end(hospital);
        check(Relationships.State.Ended, Relationships.Offer.None, true, 0);
        checkSummary(Relationships.Status.New, 0, 0, 0);
        assertTrue(relationships.wasAccepted(patient, hospital), "it was accepted");
        refuseOffer(Relationships.Offer.None);
        accept(false);

        // L4: Records takes no proposals any more.
        vm.expectRevert(abi.encodeWithSelector(Records.NotActive.selector, patient, hospital));
        vm.prank(hospital);
        records.propose(patient, "record", 0, "digest");
    }

    function test_the_steward_ends() public {
        relate(patient, hospital, false);
        vm.expectEmit(address(relationships));
        emit Relationships.RelationshipEnded(patient, hospital, hospital);
        vm.prank(hospital);
        relationships.endFor(patient);
        check(Relationships.State.Ended, Relationships.Offer.None, false, 0);
    }

    function test_an_ended_relationship_can_be_proposed_anew() public {
        relate(patient, hospital, true);
        vm.prank(patient);
        relationships.end(hospital);
        relate(patient, hospital, false);
        check(Relationships.State.Active, Relationships.Offer.None, false, 1);
    }

    /* proposePolicy, acceptPolicy, requireCountersignature
     * ├── not active → NotActive
     * ├── the policy that is in force → PolicyUnchanged
     * ├── accepting another policy than the one offered → WrongOffer
     * ├── by both: the other policy
     * └── by the patient alone: only the stricter one
     */

    function test_policies_belong_to_active_relationships() public {
        propose(true);
        refuseNotActive();
        vm.prank(hospital);
        relationships.proposePolicy(patient, false);
        refuseNotActive();
        vm.prank(patient);
        relationships.acceptPolicy(hospital, true);
        refuseNotActive();
        vm.prank(patient);
        relationships.requireCountersignature(hospital);
    }

    function test_the_same_policy_is_no_change() public {
        relate(patient, hospital, true);
        vm.expectRevert(abi.encodeWithSelector(Relationships.PolicyUnchanged.selector, true));
        vm.prank(hospital);
        relationships.proposePolicy(patient, true);
        vm.expectRevert(abi.encodeWithSelector(Relationships.PolicyUnchanged.selector, true));
        vm.prank(patient);
        relationships.requireCountersignature(hospital);
    }

    function test_a_policy_that_is_not_offered_is_refused() public {
        relate(patient, hospital, true);
        refuseOffer(Relationships.Offer.None);
        vm.prank(patient);
        relationships.acceptPolicy(hospital, false);
        vm.prank(hospital);
        relationships.proposePolicy(patient, false);
        refuseOffer(Relationships.Offer.PatientAlone);
        vm.prank(patient);
        relationships.acceptPolicy(hospital, true);
    }

    function test_loosening_takes_both() public {
        relate(patient, hospital, true);
        vm.expectEmit(address(relationships));
        emit Relationships.PolicyProposed(patient, hospital, false);
        vm.prank(hospital);
        relationships.proposePolicy(patient, false);
        check(Relationships.State.Active, Relationships.Offer.PatientAlone, true, 1);
        checkSummary(Relationships.Status.Awaiting, 1, 1, 0);
        vm.expectEmit(address(relationships));
        emit Relationships.PolicyChanged(patient, hospital, false);
        vm.prank(patient);
        relationships.acceptPolicy(hospital, false);
        check(Relationships.State.Active, Relationships.Offer.None, false, 1);
    }

    function test_tightening_takes_the_patient_alone() public {
        relate(patient, hospital, false);
        vm.prank(hospital);
        relationships.proposePolicy(patient, true);
        vm.expectEmit(address(relationships));
        emit Relationships.PolicyChanged(patient, hospital, true);
        vm.prank(patient);
        relationships.requireCountersignature(hospital);
        check(Relationships.State.Active, Relationships.Offer.None, true, 1);
    }

    /* The list
     * └── whoever leaves, the others stay on it
     */

    function test_leaving_moves_the_last_into_the_place() public {
        relate(patient, hospital, false);
        relate(patient, laboratory, false);
        relate(patient, pharmacy, false);
        vm.prank(patient);
        relationships.end(hospital);
        address[] memory left = relationships.stewardsOf(patient);
        assertEq(left.length, 2, "two left");
        assertEq(left[0], pharmacy, "the last took the first place");
        assertEq(left[1], laboratory, "the second stayed");
        vm.prank(patient);
        relationships.end(pharmacy);
        vm.prank(patient);
        relationships.end(laboratory);
        assertEq(relationships.stewardsOf(patient).length, 0, "empty");
    }

    /* An expelled steward
     * └── can do nothing any more
     */

    function test_an_expelled_steward_cannot_act() public {
        relate(patient, emergency, false);
        expel(emergency);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, emergency));
        vm.prank(emergency);
        relationships.endFor(patient);
        vm.prank(patient);
        relationships.end(emergency);
    }
}
