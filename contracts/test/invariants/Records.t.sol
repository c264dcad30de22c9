// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Records} from "../../src/Records.sol";
import {Relationships} from "../../src/Relationships.sol";
import {Merkle} from "../support/Merkle.sol";
import {Network} from "../support/Network.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Two patients, two stewards and a stranger do whatever they can to relationships, records and batches.
contract RecordsHandler is Handler {
    Records internal immutable RECORDS;
    Relationships internal immutable RELATIONSHIPS;

    address[] public patients;
    address[] public stewards;
    address[] internal _everybody;

    struct Relationship {
        Relationships.State standing;
        Relationships.Offer offer;
        bool countersigned;
    }

    struct Version {
        Records.Anchor anchor;
        Records.State state;
        bool single;
    }

    struct Batch {
        Records.Anchor anchor;
        bytes32 root;
        bytes32 sibling;
        bool accepted;
    }

    mapping(address patient => mapping(address steward => Relationship)) internal _relationships;
    mapping(address patient => mapping(address steward => mapping(bytes32 record => Version[]))) internal _versions;
    Batch[] internal _batches;

    // Both stewards use the same identifiers. The last is used in batches as well.
    bytes32[3] public ids = [bytes32("one"), bytes32("two"), bytes32("batched")];

    constructor(
        Records records,
        Relationships relationships,
        address[] memory patients_,
        address[] memory stewards_,
        address stranger
    ) {
        (RECORDS, RELATIONSHIPS) = (records, relationships);
        (patients, stewards) = (patients_, stewards_);
        _everybody.push(stranger);
        for (uint256 i; i < 2; ++i) {
            _everybody.push(patients[i]);
            _everybody.push(stewards[i]);
            vm.prank(stewards[0]);
            relationships.propose(patients[i], false);
            vm.prank(patients[i]);
            relationships.accept(stewards[0], false);
            _relationships[patients[i]][stewards[0]].standing = Relationships.State.Active;
        }
    }

    /* Relationships */

    /// @dev One of several, so that records get their turn.
    function relate(uint256 seed) external seeded(seed) {
        uint256 what = random(8);
        if (what < 3) _offer();
        else if (what < 6) _accept();
        else if (what == 6) chance(50) ? _refuse() : _tighten();
        else _end();
    }

    function _offer() internal {
        (address patient, address caller) = (pick(patients), mostly(pick(stewards), _everybody));
        Relationship storage model = _relationships[patient][caller];
        bool active = model.standing == Relationships.State.Active;
        (bool countersigned, bool ofPolicy) = (chance(50), chance(85) ? active : !active);
        bytes memory data = ofPolicy
            ? abi.encodeCall(Relationships.proposePolicy, (patient, countersigned))
            : abi.encodeCall(Relationships.propose, (patient, countersigned));
        bool expected = _isSteward(caller)
            && (ofPolicy
                    ? active && model.countersigned != countersigned
                    : !active && model.offer == Relationships.Offer.None);
        if (!attempt(caller, address(RELATIONSHIPS), data, expected, "L1: a steward offers")) return;
        model.offer = _asOffer(countersigned);
    }

    /// @dev L1, L2: only the caller's own relationships, only what is offered, only as it is offered.
    function _accept() internal {
        (address caller, address steward) = (mostly(pick(patients), _everybody), pick(stewards));
        Relationship storage model = _relationships[caller][steward];
        bool active = model.standing == Relationships.State.Active;
        (bool countersigned, bool ofPolicy) = (chance(50), chance(85) ? active : !active);
        bytes memory data = ofPolicy
            ? abi.encodeCall(Relationships.acceptPolicy, (steward, countersigned))
            : abi.encodeCall(Relationships.accept, (steward, countersigned));
        bool expected = active == ofPolicy && model.offer == _asOffer(countersigned);
        if (!attempt(caller, address(RELATIONSHIPS), data, expected, "L1: accepts what is offered")) return;
        _relationships[caller][steward] =
            Relationship(Relationships.State.Active, Relationships.Offer.None, countersigned);
    }

    function _refuse() internal {
        (address patient, address steward, bool byPatient) = (pick(patients), pick(stewards), chance(50));
        Relationship storage model = _relationships[patient][steward];
        bytes memory data = byPatient
            ? abi.encodeCall(Relationships.decline, (steward))
            : abi.encodeCall(Relationships.withdraw, (patient));
        bool expected = model.offer != Relationships.Offer.None;
        address caller = byPatient ? patient : steward;
        if (attempt(caller, address(RELATIONSHIPS), data, expected, "L1: refuses an offer")) {
            model.offer = Relationships.Offer.None;
        }
    }

    function _end() internal {
        (address patient, address steward, bool byPatient) = (pick(patients), pick(stewards), chance(50));
        Relationship storage model = _relationships[patient][steward];
        bytes memory data =
            byPatient ? abi.encodeCall(Relationships.end, (steward)) : abi.encodeCall(Relationships.endFor, (patient));
        bool expected = model.standing == Relationships.State.Active;
        address caller = byPatient ? patient : steward;
        if (!attempt(caller, address(RELATIONSHIPS), data, expected, "ends what is active")) return;
        (model.standing, model.offer) = (Relationships.State.Ended, Relationships.Offer.None);
    }

    function _tighten() internal {
        (address caller, address steward) = (mostly(pick(patients), _everybody), pick(stewards));
        Relationship storage model = _relationships[caller][steward];
        bytes memory data = abi.encodeCall(Relationships.requireCountersignature, (steward));
        bool expected = model.standing == Relationships.State.Active && !model.countersigned;
        if (!attempt(caller, address(RELATIONSHIPS), data, expected, "L2: tightens")) return;
        (model.countersigned, model.offer) = (true, Relationships.Offer.None);
    }

    /* Records, one by one */

    function propose(uint256 seed) external seeded(seed) {
        (address caller, address patient, bytes32 record) =
            (mostly(pick(stewards), _everybody), pick(patients), ids[random(3)]);
        Version[] storage versions = _versions[patient][caller][record];
        Records.Anchor memory anchor = Records.Anchor(record, 1, 0, 7, patient, caller, _digest());
        bool expected = _isActive(patient, caller) && versions.length == 0;
        bytes memory data = abi.encodeCall(Records.propose, (patient, record, 7, anchor.digest));
        if (!attempt(caller, address(RECORDS), data, expected, "R1, R2: proposes")) return;
        versions.push(Version(anchor, Records.State.Proposed, true));
    }

    function amend(uint256 seed) external seeded(seed) {
        (address patient, address steward, bytes32 record) = (pick(patients), pick(stewards), ids[random(3)]);
        Version[] storage versions = _versions[patient][steward][record];
        if (versions.length == 0) return;
        Version memory last = versions[versions.length - 1];
        (uint32 version, uint32 right) = (last.anchor.version + 1, _liveVersion(versions));
        uint32 base = chance(80) ? right : uint32(random(version));
        Records.Anchor memory next = Records.Anchor(record, version, base, 7, patient, steward, _digest());

        address caller = mostly(steward, _everybody);
        bool expected =
            caller == steward && _isActive(patient, steward) && last.state != Records.State.Proposed && base == right;
        bytes memory data = abi.encodeCall(Records.proposeAmendment, (last.anchor, next));
        if (!attempt(caller, address(RECORDS), data, expected, "R1, R2, R3: amends")) return;
        versions.push(Version(next, Records.State.Proposed, true));
    }

    function answer(uint256 seed) external seeded(seed) {
        Version[] storage versions = _versions[pick(patients)][pick(stewards)][ids[random(3)]];
        if (versions.length == 0) return;
        Version storage version = versions[chance(60) ? versions.length - 1 : random(versions.length)];
        uint256 what = random(10);
        address rightful = what < 8 ? version.anchor.patient : version.anchor.steward;
        address caller = mostly(rightful, _everybody);
        (bytes memory data, bool possible, Records.State next) = _answer(versions, version, what);
        if (!attempt(caller, address(RECORDS), data, caller == rightful && possible, "R1, R3, R4: answers")) return;
        if (next == Records.State.Accepted && version.state == Records.State.Proposed && version.anchor.base != 0) {
            versions[version.anchor.base - 1].state = Records.State.Superseded;
        }
        version.state = next;
    }

    function _answer(Version[] storage versions, Version storage version, uint256 what)
        internal
        view
        returns (bytes memory data, bool possible, Records.State next)
    {
        (Records.Anchor memory anchor, Records.State state) = (version.anchor, version.state);
        if (what < 5) {
            bool baseLives = anchor.base == 0 || _isLive(versions[anchor.base - 1].state);
            possible = state == Records.State.Proposed && baseLives;
            return (abi.encodeCall(Records.accept, (anchor)), possible, Records.State.Accepted);
        }
        if (what == 5) {
            return (abi.encodeCall(Records.reject, (anchor)), state == Records.State.Proposed, Records.State.Rejected);
        }
        if (what == 6) {
            return (abi.encodeCall(Records.dispute, (anchor)), state == Records.State.Accepted, Records.State.Disputed);
        }
        if (what == 7) {
            return (abi.encodeCall(Records.resolve, (anchor)), state == Records.State.Disputed, Records.State.Accepted);
        }
        if (what == 8) {
            return (abi.encodeCall(Records.withdraw, (anchor)), state == Records.State.Proposed, Records.State.Rejected);
        }
        return (abi.encodeCall(Records.erase, (anchor, "receipt")), state != Records.State.Erased, Records.State.Erased);
    }

    /* Batches */

    function anchorBatch(uint256 seed) external seeded(seed) {
        Records.Anchor memory anchor = Records.Anchor(ids[2], 1, 0, 7, pick(patients), pick(stewards), _digest());
        bytes32 sibling = keccak256(abi.encode(_batches.length));
        bytes32 root = Merkle.pair(RECORDS.leafOf(anchor), sibling);
        vm.prank(anchor.steward);
        RECORDS.anchorBatch(root, 2);
        _batches.push(Batch(anchor, root, sibling, false));
    }

    function acceptBatch(uint256 seed) external seeded(seed) {
        if (_batches.length == 0) return;
        Batch storage batch = _batches[random(_batches.length)];
        bytes memory data = abi.encodeCall(Records.acceptBatch, (batch.anchor.steward, batch.root));
        if (attempt(batch.anchor.patient, address(RECORDS), data, !batch.accepted, "R5: accepts once")) {
            batch.accepted = true;
        }
    }

    function materialise(uint256 seed) external seeded(seed) {
        if (_batches.length == 0) return;
        Batch memory batch = _batches[random(_batches.length)];
        Records.Anchor memory anchor = batch.anchor;
        address caller = mostly(chance(60) ? anchor.patient : anchor.steward, _everybody);
        Version[] storage versions = _versions[anchor.patient][anchor.steward][ids[2]];
        bool expected = (caller == anchor.patient || caller == anchor.steward) && _wasAccepted(anchor);
        if (versions.length != 0) {
            Version memory present = versions[0];
            bool same = present.anchor.digest == anchor.digest;
            expected = expected
                && (same
                        ? present.state == Records.State.Proposed && !present.single && batch.accepted
                        : present.state == Records.State.Rejected && caller == anchor.patient);
        }
        bytes memory data = abi.encodeCall(Records.materialise, (anchor, batch.root, _proof(batch)));
        if (!attempt(caller, address(RECORDS), data, expected, "R5: materialises")) return;
        Version memory version =
            Version(anchor, batch.accepted ? Records.State.Accepted : Records.State.Proposed, false);
        if (versions.length == 0) versions.push(version);
        else versions[0] = version;
    }

    /* The model, read */

    function relationshipOf(address patient, address steward) external view returns (Relationship memory) {
        return _relationships[patient][steward];
    }

    function versionsOf(address patient, address steward, bytes32 record) external view returns (Version[] memory) {
        return _versions[patient][steward][record];
    }

    function batches() external view returns (Batch[] memory) {
        return _batches;
    }

    function stateInBatch(uint256 index) external view returns (Records.State actual, Records.State expected) {
        Batch memory batch = _batches[index];
        actual = RECORDS.stateInBatch(batch.anchor, batch.root, _proof(batch));
        if (!_wasAccepted(batch.anchor)) return (actual, Records.State.None);
        expected = batch.accepted ? Records.State.Accepted : Records.State.Proposed;
        Version[] storage versions = _versions[batch.anchor.patient][batch.anchor.steward][ids[2]];
        if (versions.length == 0 || versions[0].anchor.digest != batch.anchor.digest) return (actual, expected);
        if (versions[0].state != Records.State.Proposed) expected = versions[0].state;
    }

    function _proof(Batch memory batch) internal pure returns (bytes32[] memory proof) {
        proof = new bytes32[](1);
        proof[0] = batch.sibling;
    }

    function _isSteward(address who) internal view returns (bool) {
        return who == stewards[0] || who == stewards[1];
    }

    function _isActive(address patient, address steward) internal view returns (bool) {
        return _relationships[patient][steward].standing == Relationships.State.Active;
    }

    function _wasAccepted(Records.Anchor memory anchor) internal view returns (bool) {
        return _relationships[anchor.patient][anchor.steward].standing != Relationships.State.None;
    }

    function _isLive(Records.State state) internal pure returns (bool) {
        return state == Records.State.Accepted || state == Records.State.Disputed;
    }

    /// @dev What the next version must name as its base.
    function _liveVersion(Version[] storage versions) internal view returns (uint32) {
        Version memory last = versions[versions.length - 1];
        if (_isLive(last.state)) return last.anchor.version;
        uint32 base = last.anchor.base;
        return base != 0 && _isLive(versions[base - 1].state) ? base : 0;
    }

    function _asOffer(bool countersigned) internal pure returns (Relationships.Offer) {
        return countersigned ? Relationships.Offer.Countersigned : Relationships.Offer.PatientAlone;
    }

    function _digest() internal returns (bytes32) {
        return chance(50) ? bytes32("digest") : bytes32("another");
    }
}

/// forge-config: default.invariant.depth = 400
contract RecordsInvariants is Network, InvariantTest {
    RecordsHandler internal handler;

    function setUp() public override {
        super.setUp();
        address[] memory patients = new address[](2);
        (patients[0], patients[1]) = (patient, vm.addr(0xC02));
        address[] memory stewards = new address[](2);
        (stewards[0], stewards[1]) = (hospital, laboratory);
        handler = new RecordsHandler(records, relationships, patients, stewards, stranger);
        target(address(handler));
    }

    /// @dev All of Relationships and Records against the model, folder by folder. Who can do what is in the handler.
    function invariant_L1_L2_L3_L4_R1_R2_R3_R4_R5_R6_R7_every_folder_is_as_the_model()
        public
        view
        everyFew(handler.calls())
    {
        for (uint256 i; i < 2; ++i) {
            uint256 listed;
            for (uint256 j; j < 2; ++j) {
                if (checkRelationship(handler.patients(i), handler.stewards(j))) ++listed;
                checkFolder(handler.patients(i), handler.stewards(j));
            }
            assertEq(relationships.stewardsOf(handler.patients(i)).length, listed, "L3: listed once each");
        }
        uint256 length = handler.batches().length;
        for (uint256 i = length > 4 ? length - 4 : 0; i < length; ++i) {
            (Records.State actual, Records.State expected) = handler.stateInBatch(i);
            assertEq(uint256(actual), uint256(expected), "R5: state in the batch");
        }
    }

    function checkRelationship(address who, address steward) internal view returns (bool expected) {
        RecordsHandler.Relationship memory model = handler.relationshipOf(who, steward);
        bool active = model.standing == Relationships.State.Active;
        assertEq(relationships.isActive(who, steward), active, "L1: active");
        assertEq(uint256(relationships.offerOf(who, steward)), uint256(model.offer), "L1: offer");
        assertEq(relationships.needsCountersignature(who, steward), model.countersigned, "L2: policy");
        expected = active || model.offer != Relationships.Offer.None;
        address[] memory list = relationships.stewardsOf(who);
        bool listed;
        for (uint256 i; i < list.length; ++i) {
            if (list[i] == steward) listed = true;
        }
        assertEq(listed, expected, "L3: listed");
        assertEq(isOpen(who, steward), active, "L4, R7: the folder is open");
    }

    function checkFolder(address who, address steward) internal view {
        uint256 pending;
        for (uint256 k; k < 3; ++k) {
            RecordsHandler.Version[] memory versions = handler.versionsOf(who, steward, handler.ids(k));
            (uint256 proposed, uint256 live) = (0, 0);
            for (uint256 v; v < versions.length; ++v) {
                Records.State state = versions[v].state;
                assertEq(uint256(records.stateOf(versions[v].anchor)), uint256(state), "R1, R4: state");
                if (!versions[v].single) continue;
                if (state == Records.State.Proposed) ++proposed;
                if (state == Records.State.Accepted || state == Records.State.Disputed) ++live;
            }
            pending += proposed;
            assertTrue(proposed <= 1 && live <= 1, "R3: one proposed, one accepted");
        }
        assertEq(records.pendingOf(who, steward), pending, "R6: pending");
    }

    /// @dev Bit 1 of the folder's cover; the folders are the first thing that Records stores.
    function isOpen(address who, address steward) internal view returns (bool) {
        bytes32 slot = keccak256(abi.encode(steward, keccak256(abi.encode(who, uint256(0)))));
        return uint256(vm.load(address(records), slot)) & 2 != 0;
    }
}
