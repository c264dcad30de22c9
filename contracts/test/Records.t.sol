// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Records} from "../src/Records.sol";
import {Registry} from "../src/Registry.sol";
import {Merkle} from "./support/Merkle.sol";
import {Network} from "./support/Network.sol";

/// @notice What the tests of single records and of batches share.
abstract contract RecordsTestBase is Network {
    function setUp() public virtual override {
        super.setUp();
        relate(patient, hospital, false);
    }

    /// @notice Version 1 of a record of `patient` at the hospital.
    function first() internal view returns (Records.Anchor memory) {
        return Records.Anchor("record", 1, 0, 5, patient, hospital, "digest 1");
    }

    function second(uint32 base) internal view returns (Records.Anchor memory) {
        return Records.Anchor("record", 2, base, 5, patient, hospital, "digest 2");
    }

    function propose(Records.Anchor memory anchor) internal {
        vm.prank(hospital);
        records.propose(anchor.patient, anchor.record, anchor.kind, anchor.digest);
    }

    function amend(Records.Anchor memory previous, Records.Anchor memory next) internal {
        vm.prank(hospital);
        records.proposeAmendment(previous, next);
    }

    function accept(Records.Anchor memory anchor) internal {
        vm.prank(patient);
        records.accept(anchor);
    }

    function reject(Records.Anchor memory anchor) internal {
        vm.prank(patient);
        records.reject(anchor);
    }

    function dispute(Records.Anchor memory anchor) internal {
        vm.prank(patient);
        records.dispute(anchor);
    }

    function erase(Records.Anchor memory anchor) internal {
        vm.prank(hospital);
        records.erase(anchor, "receipt");
    }

    function check(Records.Anchor memory anchor, Records.State state) internal view {
        assertEq(uint256(records.stateOf(anchor)), uint256(state), "state");
    }

    function checkPending(uint256 count) internal view {
        assertEq(records.pendingOf(patient, hospital), count, "pending");
    }

    function refuseState(Records.State state) internal {
        vm.expectRevert(abi.encodeWithSelector(Records.WrongState.selector, state));
    }

    function refusePatient(address caller) internal {
        vm.expectRevert(abi.encodeWithSelector(Records.NotPatient.selector, caller, patient));
    }

    function refuseSteward(address caller) internal {
        vm.expectRevert(abi.encodeWithSelector(Records.NotSteward.selector, caller, hospital));
    }

    function refuseAnchor(Records.Anchor memory anchor) internal {
        vm.expectRevert(abi.encodeWithSelector(Records.InvalidAnchor.selector, anchor));
    }

    function refuseVersion(uint32 version) internal {
        vm.expectRevert(abi.encodeWithSelector(Records.VersionTaken.selector, bytes32("record"), version));
    }
}

contract RecordsTest is RecordsTestBase {
    /* propose
     * ├── by anybody but an institution in force → NotInstitution
     * ├── record zero, digest zero, or a kind beyond 31 → InvalidAnchor
     * ├── while the relationship is not active → NotActive
     * ├── when there is a version 1 → VersionTaken
     * └── otherwise: Proposed, and pending
     */

    function test_only_an_institution_proposes() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, physician));
        vm.prank(physician);
        records.propose(patient, "record", 5, "digest 1");
    }

    function test_an_anchor_that_cannot_be_is_refused() public {
        Records.Anchor memory anchor = first();
        anchor.record = 0;
        refuseAnchor(anchor);
        propose(anchor);
        anchor = first();
        anchor.digest = 0;
        refuseAnchor(anchor);
        propose(anchor);
        anchor = first();
        anchor.kind = 32;
        refuseAnchor(anchor);
        propose(anchor);
        anchor.kind = 31;
        propose(anchor);
    }

    function test_a_steward_without_active_relationship_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Records.NotActive.selector, patient, laboratory));
        vm.prank(laboratory);
        records.propose(patient, "record", 5, "digest");
        vm.prank(patient);
        relationships.end(hospital);
        vm.expectRevert(abi.encodeWithSelector(Records.NotActive.selector, patient, hospital));
        propose(first());
    }

    function test_an_expelled_steward_is_refused() public {
        relate(patient, emergency, false);
        expel(emergency);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, emergency));
        vm.prank(emergency);
        records.propose(patient, "record", 5, "digest");
    }

    function test_a_taken_version_is_refused() public {
        propose(first());
        refuseVersion(1);
        propose(first());
        Records.Anchor memory other = first();
        other.digest = "another digest";
        refuseVersion(1);
        propose(other);
    }

    function test_a_proposal_awaits_the_patient() public {
        check(first(), Records.State.None);
        vm.expectEmit(address(records));
        emit Records.RecordProposed("record", patient, hospital, 1, 0, 5, "digest 1");
        propose(first());
        check(first(), Records.State.Proposed);
        checkPending(1);
        Records.Anchor memory other = first();
        other.digest = "another digest";
        check(other, Records.State.None);
    }

    /// @dev R2: nobody takes the identifier of somebody else's record.
    function test_a_folder_is_nobody_elses() public {
        relate(patient, laboratory, false);
        vm.prank(laboratory);
        records.propose(patient, "record", 5, "digest 1");
        propose(first());
        check(first(), Records.State.Proposed);
        relate(stranger, hospital, false);
        Records.Anchor memory other = first();
        other.patient = stranger;
        propose(other);
        check(other, Records.State.Proposed);
    }

    /* accept, reject, withdraw
     * ├── accept, reject by anybody but the patient → NotPatient
     * ├── withdraw by anybody but the steward → NotSteward
     * ├── what is not Proposed, or another anchor → WrongState
     * ├── accept an amendment whose base is no longer accepted → StaleBase
     * └── otherwise: Accepted or Rejected, pending no more, and the base Superseded
     */

    function test_only_the_patient_answers() public {
        propose(first());
        refusePatient(hospital);
        vm.prank(hospital);
        records.accept(first());
        refusePatient(stranger);
        vm.prank(stranger);
        records.reject(first());
    }

    function test_only_the_steward_withdraws() public {
        propose(first());
        refuseSteward(laboratory);
        vm.prank(laboratory);
        records.withdraw(first());
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, patient));
        vm.prank(patient);
        records.withdraw(first());
    }

    function test_only_a_proposal_is_answered() public {
        refuseState(Records.State.None);
        accept(first());
        propose(first());
        Records.Anchor memory other = first();
        other.digest = "another digest";
        refuseState(Records.State.None);
        accept(other);
        accept(first());
        refuseState(Records.State.Accepted);
        accept(first());
        refuseState(Records.State.Accepted);
        reject(first());
        refuseState(Records.State.Accepted);
        vm.prank(hospital);
        records.withdraw(first());
    }

    function test_an_accepted_record() public {
        propose(first());
        vm.expectEmit(address(records));
        emit Records.RecordAccepted("record", patient, hospital, 1, 0);
        accept(first());
        check(first(), Records.State.Accepted);
        checkPending(0);
    }

    function test_a_rejected_record() public {
        propose(first());
        vm.expectEmit(address(records));
        emit Records.RecordRejected("record", patient, hospital, 1);
        reject(first());
        check(first(), Records.State.Rejected);
        checkPending(0);
    }

    function test_a_withdrawn_record_counts_as_rejected() public {
        propose(first());
        vm.expectEmit(address(records));
        emit Records.RecordWithdrawn("record", patient, hospital, 1);
        vm.prank(hospital);
        records.withdraw(first());
        check(first(), Records.State.Rejected);
        checkPending(0);
    }

    function test_a_proposal_outlives_the_relationship() public {
        propose(first());
        vm.prank(hospital);
        relationships.endFor(patient);
        checkPending(1);
        reject(first());
        checkPending(0);
    }

    /* proposeAmendment
     * ├── of another record, patient or steward → OtherRecord
     * ├── not the next version → NotNext
     * ├── the previous version is not anchored, or Proposed → WrongState
     * ├── the base is not the version accepted now → WrongBase
     * │   ├── the previous one is Accepted or Disputed: it is the base
     * │   ├── it is Rejected or Erased: its own base is, if still accepted
     * │   └── nothing is accepted: no base
     * ├── by anybody but the steward → NotSteward
     * ├── an anchor that cannot be → InvalidAnchor
     * ├── the version is taken → VersionTaken
     * └── otherwise: as propose
     */

    function test_an_amendment_is_of_the_same_record() public {
        propose(first());
        accept(first());
        Records.Anchor memory next = second(1);
        next.record = "another";
        vm.expectRevert(abi.encodeWithSelector(Records.OtherRecord.selector, bytes32("record"), bytes32("another")));
        amend(first(), next);
        next = second(1);
        next.patient = stranger;
        vm.expectRevert(abi.encodeWithSelector(Records.OtherRecord.selector, bytes32("record"), bytes32("record")));
        amend(first(), next);
        next = second(1);
        next.steward = laboratory;
        vm.expectRevert(abi.encodeWithSelector(Records.OtherRecord.selector, bytes32("record"), bytes32("record")));
        amend(first(), next);
    }

    function test_an_amendment_has_the_next_version() public {
        propose(first());
        accept(first());
        Records.Anchor memory next = second(1);
        next.version = 3;
        vm.expectRevert(abi.encodeWithSelector(Records.NotNext.selector, 1, 3));
        amend(first(), next);
        next.version = 1;
        vm.expectRevert(abi.encodeWithSelector(Records.NotNext.selector, 1, 1));
        amend(first(), next);
        Records.Anchor memory last = first();
        last.version = type(uint32).max;
        next.version = 0;
        vm.expectRevert(abi.encodeWithSelector(Records.NotNext.selector, type(uint32).max, 0));
        amend(last, next);
    }

    function test_an_amendment_of_nothing_or_of_what_is_pending_is_refused() public {
        refuseState(Records.State.None);
        amend(first(), second(0));
        propose(first());
        refuseState(Records.State.Proposed);
        amend(first(), second(0));
    }

    function refuseBase(uint32 expected, uint32 given) internal {
        vm.expectRevert(abi.encodeWithSelector(Records.WrongBase.selector, expected, given));
    }

    function test_the_base_is_the_version_accepted_now() public {
        propose(first());
        accept(first());
        refuseBase(1, 0);
        amend(first(), second(0));
        dispute(first());
        refuseBase(1, 0);
        amend(first(), second(0));
        amend(first(), second(1));
        reject(second(1));

        Records.Anchor memory third = second(1);
        third.version = 3;
        third.base = 2;
        refuseBase(1, 2);
        amend(second(1), third);
        third.base = 0;
        refuseBase(1, 0);
        amend(second(1), third);
        third.base = 1;
        amend(second(1), third);
        accept(third);
        check(first(), Records.State.Superseded);
        check(second(1), Records.State.Rejected);
        check(third, Records.State.Accepted);
    }

    function test_without_an_accepted_version_there_is_no_base() public {
        propose(first());
        reject(first());
        refuseBase(0, 1);
        amend(first(), second(1));
        amend(first(), second(0));
        accept(second(0));
        erase(second(0));
        Records.Anchor memory third = second(0);
        third.version = 3;
        amend(second(0), third);
    }

    function test_only_the_steward_amends() public {
        propose(first());
        accept(first());
        refuseSteward(laboratory);
        vm.prank(laboratory);
        records.proposeAmendment(first(), second(1));
    }

    function test_an_amendment_that_cannot_be_is_refused() public {
        propose(first());
        accept(first());
        Records.Anchor memory next = second(1);
        next.kind = 32;
        refuseAnchor(next);
        amend(first(), next);
        next = second(1);
        next.digest = 0;
        refuseAnchor(next);
        amend(first(), next);
    }

    function test_an_amendment_without_active_relationship_is_refused() public {
        propose(first());
        accept(first());
        vm.prank(patient);
        relationships.end(hospital);
        vm.expectRevert(abi.encodeWithSelector(Records.NotActive.selector, patient, hospital));
        amend(first(), second(1));
    }

    function test_a_taken_amendment_is_refused() public {
        propose(first());
        accept(first());
        amend(first(), second(1));
        refuseVersion(2);
        amend(first(), second(1));
    }

    function test_an_accepted_amendment_supersedes_its_base() public {
        propose(first());
        accept(first());
        vm.expectEmit(address(records));
        emit Records.RecordProposed("record", patient, hospital, 2, 1, 5, "digest 2");
        amend(first(), second(1));
        check(first(), Records.State.Accepted);
        vm.expectEmit(address(records));
        emit Records.RecordAccepted("record", patient, hospital, 2, 1);
        accept(second(1));
        check(first(), Records.State.Superseded);
        check(second(1), Records.State.Accepted);
    }

    function test_a_disputed_version_can_be_superseded() public {
        propose(first());
        accept(first());
        dispute(first());
        amend(first(), second(1));
        accept(second(1));
        check(first(), Records.State.Superseded);
    }

    function test_an_amendment_whose_base_was_erased_is_stale() public {
        propose(first());
        accept(first());
        amend(first(), second(1));
        erase(first());
        vm.expectRevert(abi.encodeWithSelector(Records.StaleBase.selector, 1, Records.State.Erased));
        accept(second(1));
        reject(second(1));
        Records.Anchor memory third = second(0);
        third.version = 3;
        amend(second(1), third);
        accept(third);
    }

    /* dispute, resolve
     * ├── by anybody but the patient → NotPatient
     * ├── dispute what is not Accepted, resolve what is not Disputed → WrongState
     * └── otherwise: Disputed, and Accepted again
     */

    function test_only_the_patient_disputes_and_resolves() public {
        propose(first());
        accept(first());
        refusePatient(hospital);
        vm.prank(hospital);
        records.dispute(first());
        dispute(first());
        refusePatient(hospital);
        vm.prank(hospital);
        records.resolve(first());
    }

    function test_only_an_accepted_record_is_disputed() public {
        propose(first());
        refuseState(Records.State.Proposed);
        dispute(first());
        accept(first());
        refuseState(Records.State.Accepted);
        vm.prank(patient);
        records.resolve(first());
        vm.expectEmit(address(records));
        emit Records.RecordDisputed("record", patient, hospital, 1);
        dispute(first());
        check(first(), Records.State.Disputed);
        refuseState(Records.State.Disputed);
        dispute(first());
        vm.expectEmit(address(records));
        emit Records.DisputeResolved("record", patient, hospital, 1);
        vm.prank(patient);
        records.resolve(first());
        check(first(), Records.State.Accepted);
    }

    /* requestErasure, erase
     * ├── request by anybody but the patient → NotPatient
     * ├── erase by anybody but the steward → NotSteward
     * ├── what is not anchored, or Erased → WrongState
     * └── otherwise: an event; Erased for good, pending no more
     */

    function test_only_the_patient_asks_for_erasure() public {
        propose(first());
        refusePatient(hospital);
        vm.prank(hospital);
        records.requestErasure(first());
        vm.expectEmit(address(records));
        emit Records.ErasureRequested("record", patient, hospital, 1);
        vm.prank(patient);
        records.requestErasure(first());
        check(first(), Records.State.Proposed);
    }

    function test_only_the_steward_erases() public {
        propose(first());
        refuseSteward(laboratory);
        vm.prank(laboratory);
        records.erase(first(), "receipt");
    }

    function test_what_is_not_there_is_not_erased() public {
        refuseState(Records.State.None);
        erase(first());
        refuseState(Records.State.None);
        vm.prank(patient);
        records.requestErasure(first());
    }

    /// @dev R4, from every state, and nothing brings it back.
    function test_erased_is_for_good() public {
        propose(first());
        vm.expectEmit(address(records));
        emit Records.RecordErased("record", patient, hospital, 1, "receipt");
        erase(first());
        check(first(), Records.State.Erased);
        checkPending(0);
        refuseState(Records.State.Erased);
        erase(first());
        refuseState(Records.State.Erased);
        vm.prank(patient);
        records.requestErasure(first());
        refuseState(Records.State.Erased);
        accept(first());
        refuseState(Records.State.Erased);
        dispute(first());
        refuseVersion(1);
        propose(first());
    }

    function test_every_state_can_be_erased() public {
        propose(first());
        accept(first());
        dispute(first());
        amend(first(), second(1));
        accept(second(1));
        erase(first());
        check(first(), Records.State.Erased);
        erase(second(1));
        check(second(1), Records.State.Erased);
    }

    /* noteRelationship
     * └── by anybody but Relationships → NotRelationships
     */

    function test_only_relationships_opens_a_folder() public {
        vm.expectRevert(abi.encodeWithSelector(Records.NotRelationships.selector, hospital));
        vm.prank(hospital);
        records.noteRelationship(stranger, hospital, true);
    }

    /* multicall
     * ├── many calls of one caller in one transaction
     * └── one that fails fails all, with its reason
     */

    function test_a_steward_proposes_many_at_once() public {
        bytes[] memory calls = new bytes[](2);
        calls[0] = abi.encodeCall(Records.propose, (patient, "one", 1, "digest"));
        calls[1] = abi.encodeCall(Records.propose, (patient, "two", 2, "digest"));
        vm.prank(hospital);
        records.multicall(calls);
        checkPending(2);
        vm.expectRevert(abi.encodeWithSelector(Records.VersionTaken.selector, bytes32("one"), 1));
        vm.prank(hospital);
        records.multicall(calls);
    }

    /// @dev The commitment covers every field: no other anchor passes for the one proposed.
    function testFuzz_every_field_of_an_anchor_is_committed(Records.Anchor memory other) public {
        propose(first());
        if (keccak256(abi.encode(other)) == keccak256(abi.encode(first()))) return;
        assertEq(uint256(records.stateOf(other)), 0, "another anchor");
    }

    function testFuzz_one_changed_field_is_another_anchor(uint256 field, bytes32 value) public {
        propose(first());
        Records.Anchor memory anchor = first();
        field = bound(field, 0, 6);
        if (field == 0) anchor.record = value;
        if (field == 1) anchor.version = uint32(uint256(value));
        if (field == 2) anchor.base = uint32(uint256(value));
        if (field == 3) anchor.kind = uint8(uint256(value));
        if (field == 4) anchor.patient = address(uint160(uint256(value)));
        if (field == 5) anchor.steward = address(uint160(uint256(value)));
        if (field == 6) anchor.digest = value;
        bool same = keccak256(abi.encode(anchor)) == keccak256(abi.encode(first()));
        check(anchor, same ? Records.State.Proposed : Records.State.None);
    }
}

contract RecordBatchesTest is RecordsTestBase {
    bytes32[] internal leaves;
    bytes32 internal root;

    /// @dev A batch of five: ours is at place 3, the others are somebody's.
    function setUp() public override {
        super.setUp();
        for (uint256 i; i < 5; ++i) {
            leaves.push(keccak256(abi.encode("leaf", i)));
        }
        leaves[3] = records.leafOf(first());
        root = Merkle.rootOf(leaves);
    }

    function anchorBatch() internal {
        vm.prank(hospital);
        records.anchorBatch(root, 5);
    }

    function acceptBatch() internal {
        vm.prank(patient);
        records.acceptBatch(hospital, root);
    }

    function proof() internal view returns (bytes32[] memory) {
        return Merkle.proofOf(leaves, 3);
    }

    function materialise(address caller) internal {
        bytes32[] memory path = proof();
        vm.prank(caller);
        records.materialise(first(), root, path);
    }

    function checkInBatch(Records.State state) internal view {
        assertEq(uint256(records.stateInBatch(first(), root, proof())), uint256(state), "state in batch");
    }

    function refuseNotInBatch() internal {
        vm.expectRevert(abi.encodeWithSelector(Records.NotInBatch.selector, root, records.leafOf(first())));
    }

    /// @notice Another anchor of version 1, proposed singly.
    function rival() internal view returns (Records.Anchor memory anchor) {
        anchor = first();
        anchor.digest = "a rival digest";
    }

    /* leafOf
     * └── the leaf of OpenZeppelin's standard tree
     */

    function test_a_leaf_is_hashed_twice() public view {
        Records.Anchor memory a = first();
        bytes32 inner = keccak256(abi.encode(a.record, a.version, a.base, a.kind, a.patient, a.steward, a.digest));
        assertEq(records.leafOf(a), keccak256(bytes.concat(inner)), "leaf");
    }

    /* anchorBatch
     * ├── by anybody but an institution in force → NotInstitution
     * ├── root zero, or nothing in it → InvalidBatch
     * ├── the same root again → BatchTaken
     * └── otherwise: known, with its count and time; the same root is free for others
     */

    function test_only_an_institution_anchors_a_batch() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, stranger));
        vm.prank(stranger);
        records.anchorBatch(root, 5);
    }

    function test_an_empty_batch_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Records.InvalidBatch.selector, bytes32(0), 5));
        vm.prank(hospital);
        records.anchorBatch(0, 5);
        vm.expectRevert(abi.encodeWithSelector(Records.InvalidBatch.selector, root, 0));
        vm.prank(hospital);
        records.anchorBatch(root, 0);
    }

    function test_a_root_is_anchored_once() public {
        vm.expectEmit(address(records));
        emit Records.BatchAnchored(hospital, root, 5);
        anchorBatch();
        (uint32 count, uint40 anchoredAt) = records.batchOf(hospital, root);
        assertEq(count, 5, "count");
        assertEq(anchoredAt, time(), "time");
        vm.expectRevert(abi.encodeWithSelector(Records.BatchTaken.selector, hospital, root));
        anchorBatch();
        vm.prank(laboratory);
        records.anchorBatch(root, 9);
        (count,) = records.batchOf(laboratory, root);
        assertEq(count, 9, "another steward's");
    }

    /* acceptBatch
     * ├── no such batch → UnknownBatch
     * ├── accepted before → BatchAlreadyAccepted
     * └── otherwise: the caller's anchors in it are Accepted
     */

    function test_accepting_an_unknown_batch_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Records.UnknownBatch.selector, hospital, root));
        acceptBatch();
    }

    function test_a_batch_is_accepted_once() public {
        anchorBatch();
        checkInBatch(Records.State.Proposed);
        assertFalse(records.isBatchAccepted(hospital, root, patient), "not accepted");
        vm.expectEmit(address(records));
        emit Records.BatchAccepted(hospital, root, patient);
        acceptBatch();
        checkInBatch(Records.State.Accepted);
        assertTrue(records.isBatchAccepted(hospital, root, patient), "accepted");
        vm.expectRevert(abi.encodeWithSelector(Records.BatchAlreadyAccepted.selector, hospital, root, patient));
        acceptBatch();
    }

    function test_a_batch_is_accepted_for_oneself_only() public {
        anchorBatch();
        vm.prank(stranger);
        records.acceptBatch(hospital, root);
        checkInBatch(Records.State.Proposed);
    }

    /* stateInBatch
     * ├── no such batch of that steward → None
     * ├── a wrong proof, a wrong root, an inner node → None
     * ├── the patient never accepted the steward → None
     * ├── the relationship ended since → as before
     * └── the anchor has a slot: what the slot says, unless that is Proposed and the batch is accepted
     */

    /// @dev R5.
    function test_an_anchor_counts_only_with_its_proof() public {
        checkInBatch(Records.State.None);
        anchorBatch();
        bytes32[] memory path = proof();
        path[0] = ~path[0];
        assertEq(uint256(records.stateInBatch(first(), root, path)), 0, "wrong proof");
        assertEq(uint256(records.stateInBatch(first(), ~root, proof())), 0, "wrong root");
        assertEq(uint256(records.stateInBatch(rival(), root, proof())), 0, "another anchor");
        assertEq(uint256(records.stateInBatch(first(), root, new bytes32[](0))), 0, "no proof");
    }

    function test_an_anchor_in_another_stewards_batch_does_not_count() public {
        vm.prank(laboratory);
        records.anchorBatch(root, 5);
        checkInBatch(Records.State.None);
    }

    function test_an_anchor_of_a_patient_who_never_accepted_the_steward_does_not_count() public {
        Records.Anchor memory anchor = first();
        anchor.patient = stranger;
        bytes32 alone = records.leafOf(anchor);
        vm.prank(hospital);
        records.anchorBatch(alone, 1);
        assertEq(uint256(records.stateInBatch(anchor, alone, new bytes32[](0))), 0, "never accepted");
        vm.expectRevert(abi.encodeWithSelector(Records.NotInBatch.selector, alone, alone));
        vm.prank(stranger);
        records.materialise(anchor, alone, new bytes32[](0));
        relate(stranger, hospital, false);
        assertEq(uint256(records.stateInBatch(anchor, alone, new bytes32[](0))), 1, "accepted since");
    }

    function test_an_end_leaves_the_anchors() public {
        anchorBatch();
        acceptBatch();
        vm.prank(patient);
        relationships.end(hospital);
        checkInBatch(Records.State.Accepted);
    }

    /* materialise
     * ├── an anchor that cannot be → InvalidAnchor
     * ├── by anybody but the patient and the steward → NotSteward, NotInstitution
     * ├── not in the batch → NotInBatch
     * ├── a slot of its own: only to catch up with the batch, otherwise → VersionTaken
     * ├── the slot of another anchor: only the patient, and only when that was rejected, otherwise → VersionTaken
     * └── otherwise: the state it has in the batch, not counted as pending
     */

    function test_an_anchor_that_cannot_be_is_not_materialised() public {
        Records.Anchor memory anchor = first();
        anchor.base = 1;
        refuseAnchor(anchor);
        vm.prank(hospital);
        records.materialise(anchor, root, new bytes32[](0));
        anchor = first();
        anchor.version = 0;
        refuseAnchor(anchor);
        vm.prank(hospital);
        records.materialise(anchor, root, new bytes32[](0));
        anchor = first();
        anchor.record = 0;
        refuseAnchor(anchor);
        vm.prank(hospital);
        records.materialise(anchor, root, new bytes32[](0));
    }

    function test_only_the_two_parties_materialise() public {
        anchorBatch();
        refuseSteward(laboratory);
        materialise(laboratory);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, stranger));
        materialise(stranger);
    }

    function test_what_is_not_in_the_batch_is_not_materialised() public {
        refuseNotInBatch();
        materialise(patient);
    }

    function test_a_materialised_anchor_is_as_in_the_batch() public {
        anchorBatch();
        vm.expectEmit(address(records));
        emit Records.RecordMaterialised("record", patient, hospital, 1, 0, 5, "digest 1", root, Records.State.Proposed);
        materialise(hospital);
        check(first(), Records.State.Proposed);
        checkPending(0);
        refuseVersion(1);
        materialise(patient);

        acceptBatch();
        check(first(), Records.State.Proposed);
        checkInBatch(Records.State.Accepted);
        materialise(patient);
        check(first(), Records.State.Accepted);
        refuseVersion(1);
        materialise(patient);
    }

    function test_the_patient_answers_one_of_a_batch() public {
        anchorBatch();
        materialise(patient);
        reject(first());
        check(first(), Records.State.Rejected);
        acceptBatch();
        checkInBatch(Records.State.Rejected);
        refuseVersion(1);
        materialise(patient);
        checkPending(0);
    }

    function test_the_patient_disputes_one_of_a_batch() public {
        anchorBatch();
        acceptBatch();
        materialise(patient);
        dispute(first());
        checkInBatch(Records.State.Disputed);
    }

    function test_the_steward_amends_and_erases_one_of_a_batch() public {
        anchorBatch();
        acceptBatch();
        materialise(hospital);
        amend(first(), second(1));
        accept(second(1));
        checkInBatch(Records.State.Superseded);
        erase(first());
        checkInBatch(Records.State.Erased);
        refuseVersion(1);
        materialise(patient);
    }

    /// @dev A steward that proposes something else as the same version cannot undo or block the patient.
    function test_a_rival_proposal_does_not_undo_the_batch() public {
        anchorBatch();
        acceptBatch();
        propose(rival());
        checkInBatch(Records.State.Accepted);
        refuseVersion(1);
        materialise(patient);
        reject(rival());
        refuseVersion(1);
        materialise(hospital);
        materialise(patient);
        check(first(), Records.State.Accepted);
        check(rival(), Records.State.None);
        dispute(first());
        checkInBatch(Records.State.Disputed);
    }

    function test_a_single_proposal_of_the_same_anchor_is_answered_singly() public {
        anchorBatch();
        propose(first());
        acceptBatch();
        refuseVersion(1);
        materialise(patient);
        checkPending(1);
        accept(first());
        checkPending(0);
        checkInBatch(Records.State.Accepted);
    }

    /// @dev R5 for trees of any size and any place in them.
    function testFuzz_every_leaf_of_a_batch_has_its_proof(uint256 size, uint256 place, bytes32 seed) public {
        size = bound(size, 1, 33);
        place = bound(place, 0, size - 1);
        bytes32[] memory list = new bytes32[](size);
        for (uint256 i; i < size; ++i) {
            list[i] = keccak256(abi.encode(seed, i));
        }
        list[place] = records.leafOf(first());
        bytes32 top = Merkle.rootOf(list);
        vm.prank(hospital);
        records.anchorBatch(top, uint32(size));
        assertEq(uint256(records.stateInBatch(first(), top, Merkle.proofOf(list, place))), 1, "in the batch");
        assertEq(uint256(records.stateInBatch(rival(), top, Merkle.proofOf(list, place))), 0, "not in the batch");
    }
}
