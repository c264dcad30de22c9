// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Consents} from "../../src/Consents.sol";
import {Relationships} from "../../src/Relationships.sol";
import {Network} from "../support/Network.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Grants, revokes and countersigns as everybody: two patients, two stewards, a third party and a stranger.
contract ConsentsHandler is Handler {
    Consents internal immutable CONSENTS;
    Relationships internal immutable RELATIONSHIPS;

    address[] public patients;
    address[] public stewards;
    address[] public readers;
    address[] internal _everybody;
    bytes32[2] public records = [bytes32(0), bytes32("record")];

    struct Model {
        Consents.Grant grant;
        uint32 version;
        mapping(address steward => uint32) countersigned;
    }

    mapping(address patient => mapping(address reader => mapping(bytes32 record => Model))) internal _models;
    mapping(address patient => mapping(address steward => bool)) public dual;
    mapping(address patient => mapping(address steward => bool)) public accepted;
    mapping(address patient => mapping(address steward => bool)) public active;

    constructor(
        Consents consents,
        Relationships relationships,
        address[] memory patients_,
        address[] memory stewards_,
        address stranger
    ) {
        (CONSENTS, RELATIONSHIPS) = (consents, relationships);
        (patients, stewards) = (patients_, stewards_);
        _everybody.push(stranger);
        for (uint256 i; i < 2; ++i) {
            _everybody.push(patients[i]);
            _everybody.push(stewards[i]);
            readers.push(stewards[i]);
        }
        readers.push(address(0xEAD));
    }

    /// @dev C1: it is always the caller's own grant that changes.
    function grant(uint256 seed) external seeded(seed) {
        (address caller, address reader, bytes32 record) =
            (mostly(pick(patients), _everybody), pick(readers), _record());
        Consents.Grant memory given = Consents.Grant(
            uint40(time() - 1 days + random(2 days)),
            uint40(time() - 1 hours + random(3 days)),
            chance(95) ? uint32(random(1 << 32)) : 0,
            chance(95) ? uint16(random(1 << 16)) : 0
        );
        bool expected =
            given.opensAt < given.closesAt && time() < given.closesAt && given.kinds != 0 && given.purposes != 0;
        bytes memory data = abi.encodeCall(Consents.grant, (reader, record, given));
        if (!attempt(caller, address(CONSENTS), data, expected, "C2: a grant that can be")) return;
        Model storage model = _models[caller][reader][record];
        model.grant = given;
        ++model.version;
    }

    function revoke(uint256 seed) external seeded(seed) {
        (address caller, address reader, bytes32 record) =
            (mostly(pick(patients), _everybody), pick(readers), _record());
        bytes memory data = abi.encodeCall(Consents.revoke, (reader, record));
        attempt(caller, address(CONSENTS), data, true, "C3: revoking never fails");
        Model storage model = _models[caller][reader][record];
        if (model.grant.kinds != 0) ++model.version;
        delete model.grant;
    }

    function countersign(uint256 seed) external seeded(seed) {
        (address caller, address patient) = (mostly(pick(stewards), _everybody), pick(patients));
        (address reader, bytes32 record) = (pick(readers), _record());
        Model storage model = _models[patient][reader][record];
        uint32 version = chance(10) && model.version != 0 ? model.version - 1 : model.version;
        bool expected =
            isSteward(caller) && accepted[patient][caller] && model.grant.kinds != 0 && version == model.version;
        bytes memory data = abi.encodeCall(Consents.countersign, (patient, reader, record, version));
        if (!attempt(caller, address(CONSENTS), data, expected, "C4: the present version only")) return;
        model.countersigned[caller] = version;
    }

    function withdraw(uint256 seed) external seeded(seed) {
        (address caller, address patient) = (mostly(pick(stewards), _everybody), pick(patients));
        (address reader, bytes32 record) = (pick(readers), _record());
        bytes memory data = abi.encodeCall(Consents.withdrawCountersignature, (patient, reader, record));
        if (!attempt(caller, address(CONSENTS), data, isSteward(caller), "stewards withdraw")) return;
        delete _models[patient][reader][record].countersigned[caller];
    }

    /// @notice Begins or ends a relationship, or tightens its policy.
    function relate(uint256 seed) external seeded(seed) {
        (address patient, address steward, bool countersigned) = (pick(patients), pick(stewards), chance(60));
        if (!active[patient][steward]) {
            vm.prank(steward);
            RELATIONSHIPS.propose(patient, countersigned);
            vm.prank(patient);
            RELATIONSHIPS.accept(steward, countersigned);
            (active[patient][steward], accepted[patient][steward]) = (true, true);
            dual[patient][steward] = countersigned;
        } else if (!dual[patient][steward]) {
            vm.prank(patient);
            RELATIONSHIPS.requireCountersignature(steward);
            dual[patient][steward] = true;
        } else {
            vm.prank(patient);
            RELATIONSHIPS.end(steward);
            active[patient][steward] = false;
        }
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(12 hours));
    }

    function _record() internal returns (bytes32) {
        return records[random(2)];
    }

    function isSteward(address who) public view returns (bool) {
        return who == stewards[0] || who == stewards[1];
    }

    /// @notice What must be permitted, said once more in other words.
    function permits(address patient, address steward, address reader, bytes32 record, uint8 kind, uint8 purpose)
        external
        view
        returns (bool)
    {
        return _byGrant(patient, steward, reader, record, kind, purpose)
            || _byGrant(patient, steward, reader, 0, kind, purpose);
    }

    function _byGrant(address patient, address steward, address reader, bytes32 record, uint8 kind, uint8 purpose)
        internal
        view
        returns (bool)
    {
        Model storage model = _models[patient][reader][record];
        Consents.Grant memory given = model.grant;
        if (time() < given.opensAt || time() >= given.closesAt) return false;
        if (given.kinds & (uint32(1) << kind) == 0 || given.purposes & (uint16(1) << purpose) == 0) return false;
        if (reader == steward || !dual[patient][steward]) return true;
        return model.countersigned[steward] == model.version;
    }

    function modelOf(address patient, address reader, bytes32 record)
        external
        view
        returns (Consents.Grant memory, uint32)
    {
        Model storage model = _models[patient][reader][record];
        return (model.grant, model.version);
    }
}

contract ConsentsInvariants is Network, InvariantTest {
    ConsentsHandler internal handler;

    function setUp() public override {
        super.setUp();
        address[] memory patients = new address[](2);
        (patients[0], patients[1]) = (patient, vm.addr(0xC02));
        address[] memory stewards = new address[](2);
        (stewards[0], stewards[1]) = (hospital, laboratory);
        handler = new ConsentsHandler(consents, relationships, patients, stewards, stranger);
        target(address(handler));
    }

    /// @dev C1, C2, C3, C4: what is stored is what its patient granted last, and its version never falls.
    function invariant_C1_C2_C3_C4_what_is_stored_was_granted() public view everyFew(handler.calls()) {
        for (uint256 i; i < 12; ++i) {
            (address who, address reader) = (handler.patients(i % 2), handler.readers((i / 2) % 3));
            bytes32 record = handler.records(i / 6);
            Consents.Consent memory stored = consents.consentOf(who, reader, record);
            (Consents.Grant memory grant, uint32 version) = handler.modelOf(who, reader, record);
            assertEq(stored.opensAt, grant.opensAt, "opensAt");
            assertEq(stored.closesAt, grant.closesAt, "closesAt");
            assertEq(stored.kinds, grant.kinds, "kinds");
            assertEq(stored.purposes, grant.purposes, "purposes");
            assertEq(stored.version, version, "version");
            bool empty = stored.kinds == 0 && stored.purposes == 0 && stored.opensAt == 0 && stored.closesAt == 0;
            bool full = stored.kinds != 0 && stored.purposes != 0 && stored.opensAt < stored.closesAt;
            assertTrue(empty || full, "C2: empty or full");
        }
    }

    /// @dev C5: what is permitted is what both signed, where both must, and nothing else.
    function invariant_C5_permits_is_what_was_signed() public view everyFew(handler.calls()) {
        for (uint256 i; i < 12; ++i) {
            (address who, address reader) = (handler.patients(i % 2), handler.readers((i / 2) % 3));
            address steward = handler.stewards(i / 6);
            // Another kind and purpose each time, and all of them in the course of a run.
            (uint8 kind, uint8 purpose) = (uint8(handler.calls() % 32), uint8((handler.calls() / 3) % 16));
            assertEq(
                consents.permits(who, steward, reader, "record", kind, purpose),
                handler.permits(who, steward, reader, "record", kind, purpose),
                "of one record"
            );
            assertEq(
                consents.permits(who, steward, reader, "other", kind, purpose),
                handler.permits(who, steward, reader, "other", kind, purpose),
                "of another record"
            );
        }
    }
}
