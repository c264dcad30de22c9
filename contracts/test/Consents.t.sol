// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Consents} from "../src/Consents.sol";
import {Registry} from "../src/Registry.sol";
import {Network} from "./support/Network.sol";

contract ConsentsTest is Network {
    bytes32 internal constant RECORD = "record";
    uint8 internal constant KIND = 3;
    uint8 internal constant PURPOSE = 1;

    function terms() internal view returns (Consents.Grant memory) {
        return Consents.Grant(time(), time() + 100, uint32(1) << KIND, uint16(1) << PURPOSE);
    }

    function give(bytes32 record, Consents.Grant memory grant) internal {
        vm.prank(patient);
        consents.grant(pharmacy, record, grant);
    }

    function permits(bytes32 record) internal view returns (bool) {
        return consents.permits(patient, hospital, pharmacy, record, KIND, PURPOSE);
    }

    /* grant
     * ├── no reader → NoReader
     * ├── a period that is empty, over, or longer than ten years → InvalidPeriod
     * ├── no kinds → NoKinds
     * ├── no purposes → NoPurposes
     * └── otherwise: the next version, in place of the one before
     */

    function refusePeriod(uint40 opensAt, uint40 closesAt) internal {
        Consents.Grant memory grant = terms();
        (grant.opensAt, grant.closesAt) = (opensAt, closesAt);
        vm.expectRevert(abi.encodeWithSelector(Consents.InvalidPeriod.selector, opensAt, closesAt, time()));
        give(0, grant);
    }

    function test_a_grant_to_nobody_is_refused() public {
        vm.expectRevert(Consents.NoReader.selector);
        vm.prank(patient);
        consents.grant(address(0), 0, terms());
    }

    function test_a_period_that_cannot_be_is_refused() public {
        refusePeriod(time() + 10, time() + 10);
        refusePeriod(time() + 11, time() + 10);
        refusePeriod(time() - 10, time());
        refusePeriod(time(), time() + 10 * 366 days + 1);
        Consents.Grant memory grant = terms();
        grant.closesAt = time() + 10 * 366 days;
        give(0, grant);
    }

    function test_a_grant_of_no_kind_is_refused() public {
        Consents.Grant memory grant = terms();
        grant.kinds = 0;
        vm.expectRevert(Consents.NoKinds.selector);
        give(0, grant);
    }

    function test_a_grant_for_no_purpose_is_refused() public {
        Consents.Grant memory grant = terms();
        grant.purposes = 0;
        vm.expectRevert(Consents.NoPurposes.selector);
        give(0, grant);
    }

    function test_a_grant_replaces_the_one_before() public {
        give(0, terms());
        Consents.Grant memory grant = Consents.Grant(time() + 1, time() + 2, 0xff, 0xf);
        vm.expectEmit(address(consents));
        emit Consents.ConsentGranted(patient, pharmacy, 0, grant, 2);
        give(0, grant);
        Consents.Consent memory stored = consents.consentOf(patient, pharmacy, 0);
        assertEq(stored.opensAt, time() + 1, "opensAt");
        assertEq(stored.closesAt, time() + 2, "closesAt");
        assertEq(stored.kinds, 0xff, "kinds");
        assertEq(stored.purposes, 0xf, "purposes");
        assertEq(stored.version, 2, "version");
        assertEq(consents.consentOf(patient, pharmacy, RECORD).version, 0, "of one record: another grant");
        assertEq(consents.consentOf(stranger, pharmacy, 0).version, 0, "C1: of another patient: another grant");
    }

    /* revoke
     * ├── nothing granted: no change, an event all the same
     * └── otherwise: nothing left but the version, which moved
     */

    function test_revoking_nothing_works() public {
        vm.expectEmit(address(consents));
        emit Consents.ConsentRevoked(patient, pharmacy, RECORD, 0);
        vm.prank(patient);
        consents.revoke(pharmacy, RECORD);
    }

    function test_a_revocation_ends_the_grant_at_once() public {
        give(0, terms());
        assertTrue(permits(RECORD), "before");
        vm.expectEmit(address(consents));
        emit Consents.ConsentRevoked(patient, pharmacy, 0, 2);
        vm.prank(patient);
        consents.revoke(pharmacy, 0);
        assertFalse(permits(RECORD), "after");
        assertEq(consents.consentOf(patient, pharmacy, 0).kinds, 0, "empty");
        vm.expectEmit(address(consents));
        emit Consents.ConsentRevoked(patient, pharmacy, 0, 2);
        vm.prank(patient);
        consents.revoke(pharmacy, 0);
    }

    /// @dev C3 at the last version: even there nothing fails.
    function test_a_revocation_never_fails() public {
        give(0, terms());
        bytes32 slot = keccak256(abi.encode(keccak256(abi.encode(patient, pharmacy, bytes32(0))), uint256(0)));
        bytes32 word = vm.load(address(consents), slot);
        assertEq(uint256(word) >> 128, 1, "the version is where the test expects it");
        vm.store(address(consents), slot, word | bytes32(uint256(type(uint32).max) << 128));
        assertTrue(permits(RECORD), "before");
        vm.prank(patient);
        consents.revoke(pharmacy, 0);
        assertFalse(permits(RECORD), "after");
    }

    /* permits, alone
     * ├── nothing granted → false
     * ├── before opensAt, or from closesAt on → false
     * ├── another kind, or one beyond 31 → false
     * ├── another purpose, or one beyond 15 → false
     * ├── another reader, or another record than the one granted → false
     * ├── by a grant for the record → true
     * └── by a grant for all records → true
     */

    function test_nothing_is_permitted_without_a_grant() public view {
        assertFalse(permits(RECORD), "record");
        assertFalse(permits(0), "zero");
    }

    function test_a_grant_for_one_record_is_for_that_record() public {
        give(RECORD, terms());
        assertTrue(permits(RECORD), "granted");
        assertFalse(permits("other"), "another record");
        assertFalse(consents.permits(patient, hospital, laboratory, RECORD, KIND, PURPOSE), "another reader");
    }

    function test_a_grant_for_all_records_is_for_each() public {
        give(0, terms());
        assertTrue(permits(RECORD), "one");
        assertTrue(permits("other"), "another");
        assertFalse(consents.permits(patient, hospital, pharmacy, RECORD, KIND + 1, PURPOSE), "another kind");
        assertFalse(consents.permits(patient, hospital, pharmacy, RECORD, KIND, PURPOSE + 1), "another purpose");
        assertFalse(consents.permits(patient, hospital, pharmacy, RECORD, 255, PURPOSE), "no kind");
        assertFalse(consents.permits(patient, hospital, pharmacy, RECORD, KIND, 255), "no purpose");
    }

    /// @dev C2 and the half-open period, to the second, for all bits.
    function testFuzz_a_grant_permits_exactly_what_it_says(
        Consents.Grant memory grant,
        uint256 ahead,
        uint8 kind,
        uint8 purpose
    ) public {
        grant.opensAt = uint40(bound(grant.opensAt, time() - 1000, time() + 1000));
        grant.closesAt = uint40(bound(grant.closesAt, time() + 1, time() + 2000));
        vm.assume(grant.opensAt < grant.closesAt && grant.kinds != 0 && grant.purposes != 0);
        give(RECORD, grant);
        skip(bound(ahead, 0, 3000));
        bool inPeriod = grant.opensAt <= time() && time() < grant.closesAt;
        bool covered = kind < 32 && purpose < 16 && grant.kinds & (uint32(1) << kind) != 0
            && grant.purposes & (uint16(1) << purpose) != 0;
        assertEq(consents.permits(patient, hospital, pharmacy, RECORD, kind, purpose), inPeriod && covered, "permitted");
    }

    function test_a_grant_holds_to_the_second() public {
        Consents.Grant memory grant = terms();
        (grant.opensAt, grant.closesAt) = (time() + 10, time() + 20);
        give(0, grant);
        skip(9);
        assertFalse(permits(RECORD), "the second before");
        skip(1);
        assertTrue(permits(RECORD), "the first second");
        skip(9);
        assertTrue(permits(RECORD), "the last second");
        skip(1);
        assertFalse(permits(RECORD), "the second after");
    }

    /* countersign
     * ├── by anybody but an institution in force → NotInstitution
     * ├── by an institution that the patient never accepted → NoRelationship
     * ├── nothing granted, or revoked → WrongVersion
     * ├── another version → WrongVersion
     * └── otherwise: counts for that version, also after the relationship ended
     */

    function countersign(bytes32 record, uint32 version) internal {
        vm.prank(hospital);
        consents.countersign(patient, pharmacy, record, version);
    }

    function refuseVersion(uint32 expected, uint32 given) internal {
        vm.expectRevert(abi.encodeWithSelector(Consents.WrongVersion.selector, expected, given));
    }

    function test_only_an_institution_countersigns() public {
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, physician));
        vm.prank(physician);
        consents.countersign(patient, pharmacy, 0, 1);
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, physician));
        vm.prank(physician);
        consents.withdrawCountersignature(patient, pharmacy, 0);
    }

    function test_only_an_accepted_steward_countersigns() public {
        give(0, terms());
        vm.expectRevert(abi.encodeWithSelector(Consents.NoRelationship.selector, patient, hospital));
        countersign(0, 1);
    }

    function test_only_the_present_version_is_countersigned() public {
        relate(patient, hospital, true);
        refuseVersion(0, 0);
        countersign(0, 0);
        give(0, terms());
        refuseVersion(1, 2);
        countersign(0, 2);
        refuseVersion(1, 0);
        countersign(0, 0);
        vm.prank(patient);
        consents.revoke(pharmacy, 0);
        refuseVersion(2, 2);
        countersign(0, 2);
    }

    function test_an_ended_relationship_can_still_be_countersigned() public {
        relate(patient, hospital, true);
        vm.prank(patient);
        relationships.end(hospital);
        give(0, terms());
        assertFalse(permits(RECORD), "the policy stays");
        countersign(0, 1);
        assertTrue(permits(RECORD), "both signed");
    }

    /* permits, under a policy that wants the steward's signature
     * ├── patient only → false
     * ├── patient and another steward → false
     * ├── both → true
     * ├── both, but granted anew since → false
     * ├── both, but the steward withdrew → false
     * ├── the steward signed the other grant (one record, or all) → false
     * ├── the reader is the steward → true without
     * └── revoked → false
     */

    /// @dev C5 in full.
    function test_dual_consent_takes_both() public {
        relate(patient, hospital, true);
        relate(patient, laboratory, true);
        give(0, terms());
        assertFalse(permits(RECORD), "patient only");

        vm.prank(laboratory);
        consents.countersign(patient, pharmacy, 0, 1);
        assertFalse(permits(RECORD), "another steward's");
        assertTrue(
            consents.permits(patient, laboratory, pharmacy, RECORD, KIND, PURPOSE), "where that one is the steward"
        );

        vm.expectEmit(address(consents));
        emit Consents.ConsentCountersigned(patient, pharmacy, hospital, 0, 1);
        countersign(0, 1);
        assertTrue(permits(RECORD), "both");
        assertTrue(consents.isCountersigned(patient, pharmacy, 0, hospital), "countersigned");

        vm.expectEmit(address(consents));
        emit Consents.CountersignatureWithdrawn(patient, pharmacy, hospital, 0);
        vm.prank(hospital);
        consents.withdrawCountersignature(patient, pharmacy, 0);
        assertFalse(permits(RECORD), "withdrawn");
        vm.prank(hospital);
        consents.withdrawCountersignature(patient, pharmacy, 0);
    }

    /// @dev C4: what was signed for one version does not count for the next.
    function test_a_countersignature_does_not_outlive_its_version() public {
        relate(patient, hospital, true);
        give(0, terms());
        countersign(0, 1);
        give(0, terms());
        assertFalse(permits(RECORD), "granted anew");
        assertFalse(consents.isCountersigned(patient, pharmacy, 0, hospital), "not countersigned");
        countersign(0, 2);
        vm.prank(patient);
        consents.revoke(pharmacy, 0);
        assertFalse(permits(RECORD), "revoked");
        give(0, terms());
        assertFalse(permits(RECORD), "granted after revoking");
    }

    function test_a_countersignature_is_for_the_grant_it_was_given_to() public {
        relate(patient, hospital, true);
        give(0, terms());
        give(RECORD, terms());
        countersign(RECORD, 1);
        assertTrue(permits(RECORD), "the record");
        assertFalse(permits("other"), "all records");
        vm.prank(patient);
        consents.revoke(pharmacy, RECORD);
        assertFalse(permits(RECORD), "by the grant for all, which the steward did not sign");
        countersign(0, 1);
        assertTrue(permits(RECORD), "signed as well");
    }

    function test_the_steward_itself_needs_no_countersignature() public {
        relate(patient, hospital, true);
        vm.prank(patient);
        consents.grant(hospital, 0, terms());
        assertTrue(consents.permits(patient, hospital, hospital, RECORD, KIND, PURPOSE), "reader is steward");
        assertFalse(consents.isCountersigned(patient, hospital, 0, hospital), "not countersigned");
    }

    function test_tightening_the_policy_binds_grants_that_exist() public {
        relate(patient, hospital, false);
        give(0, terms());
        assertTrue(permits(RECORD), "before");
        vm.prank(patient);
        relationships.requireCountersignature(hospital);
        assertFalse(permits(RECORD), "after");
    }
}
