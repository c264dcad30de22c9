// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {Registry} from "./Registry.sol";
import {Relationships} from "./Relationships.sol";

/// @title Records
/// @notice What each steward says the records of its patients are, and what the patients say to it.
/// @dev Holds commitments to anchors, their states, Merkle roots of whole batches, and how many
/// anchors await each patient. Holds no record, and no digest that could be guessed: `digest` is taken
/// of the sealed bytes.
///
/// An **anchor** is the statement "this steward proposed this digest as version n of this record of
/// this patient". Only a commitment to it is stored, in one slot per patient, steward, record and
/// version; callers show the anchor again and the contract checks it. Each patient and steward have
/// a **folder** of their own, so nobody can occupy the record identifier of somebody else.
///
/// A **batch** is the root of an OpenZeppelin standard Merkle tree whose leaves are anchors:
/// `keccak256(bytes.concat(keccak256(abi.encode(anchor))))`, pairs hashed in order. Patients accept
/// their part of a batch at once. To say something about one of its anchors alone, `materialise` gives
/// that anchor a slot of its own first.
///
///     None -> Proposed -> Accepted -> Disputed -> Accepted
///                |            |          |
///                |            +----------+-> Superseded, by an accepted amendment
///                +-> Rejected
///     any but None -> Erased, for good
///
/// INVARIANTS
/// - R1: only the steward named in an anchor, in force and in an active relationship, proposes it;
///   only the patient named in it accepts, rejects, disputes or resolves it.
/// - R2: one version of one record of one patient at one steward has at most one anchor outside
///   batches, and versions are proposed without gaps.
/// - R3: of the versions proposed one by one, at most one is Proposed and at most one is Accepted or
///   Disputed at any time; an accepted amendment supersedes exactly the version that it names as base.
/// - R4: Erased never changes.
/// - R5: a root belongs to one steward for life, and an anchor of it counts only with a proof, with
///   that steward in it, and for a patient who once accepted that steward.
/// - R6: `pendingOf` is the number of Proposed anchors in a folder that were proposed one by one.
/// - R7: a folder is open exactly while `Relationships` has that relationship active.
///
/// ASSUMPTIONS
/// - Safety: a steward that anchors two different things as one version in two batches contradicts
///   itself under its own name. The contract keeps both statements; the reconciler reports them.
/// - Safety: amendments inside batches do not supersede anything here. Of several accepted versions
///   of a record, the highest is the current one.
/// - Safety: erasing on chain says that the steward erased. That it did is its duty.
/// - Liveness: events, or the vault, still have the anchor that a caller must show.
contract Records is Multicall {
    /* TYPES */

    /// @notice One version of one record, as its steward states it.
    /// @param record Random identifier, never zero, the same for all versions.
    /// @param version From 1, without gaps.
    /// @param base The accepted version that this one replaces; zero for none.
    /// @param kind Kind of record, below 32.
    /// @param patient Whose record it is.
    /// @param steward The institution that keeps it.
    /// @param digest SHA-256 of the sealed bytes.
    struct Anchor {
        bytes32 record;
        uint32 version;
        uint32 base;
        uint8 kind;
        address patient;
        address steward;
        bytes32 digest;
    }

    /// @notice Where an anchor stands.
    enum State {
        None,
        Proposed,
        Accepted,
        Rejected,
        Disputed,
        Superseded,
        Erased
    }

    /// @dev What one steward keeps for one patient.
    /// @param cover `_KNOWN` once the patient accepted the steward, `_OPEN` while the relationship is
    /// active, and from bit 8 how many anchors, proposed one by one, await the patient. The first two
    /// repeat what `Relationships` says: asking there would cost every proposal another contract.
    /// @param slots The anchors.
    struct Folder {
        uint256 cover;
        mapping(bytes32 record => mapping(uint256 version => Slot)) slots;
    }

    /// @dev The first 31 bytes are those of the anchor's keccak-256 digest. The last byte is the state,
    /// with `_COUNTED` set while the cover counts the anchor.
    struct Slot {
        uint256 word;
    }

    /// @notice What is known of a batch. Its root and steward are the key.
    /// @dev One slot: 32 + 40 bits.
    struct Batch {
        uint32 count;
        uint40 anchoredAt;
    }

    /* STORAGE */

    /// @notice Who is an institution.
    Registry public immutable REGISTRY;

    /// @notice Who keeps records for whom.
    Relationships public immutable RELATIONSHIPS;

    mapping(address patient => mapping(address steward => Folder)) private _folders;
    mapping(address steward => mapping(bytes32 root => Batch)) private _batches;
    mapping(address steward => mapping(bytes32 root => mapping(address patient => bool))) private _accepted;

    uint256 private constant _KNOWN = 1;
    uint256 private constant _OPEN = 2;
    uint256 private constant _PENDING_SHIFT = 8;
    uint256 private constant _ONE_PENDING = 1 << _PENDING_SHIFT;

    uint256 private constant _COMMITMENT = ~uint256(0xff);
    uint256 private constant _COUNTED = 0x80;

    /* EVENTS */

    /// @notice The steward proposed an anchor; it awaits the patient.
    event RecordProposed(
        bytes32 indexed record,
        address indexed patient,
        address indexed steward,
        uint32 version,
        uint32 base,
        uint8 kind,
        bytes32 digest
    );

    /// @notice The patient accepted a version. Its base, unless zero, is superseded.
    event RecordAccepted(
        bytes32 indexed record, address indexed patient, address indexed steward, uint32 version, uint32 base
    );

    /// @notice The patient rejected a version.
    event RecordRejected(bytes32 indexed record, address indexed patient, address indexed steward, uint32 version);

    /// @notice The steward took a version back before the patient answered. It counts as rejected.
    event RecordWithdrawn(bytes32 indexed record, address indexed patient, address indexed steward, uint32 version);

    /// @notice The patient disputes a version that was accepted.
    event RecordDisputed(bytes32 indexed record, address indexed patient, address indexed steward, uint32 version);

    /// @notice The patient takes the dispute back.
    event DisputeResolved(bytes32 indexed record, address indexed patient, address indexed steward, uint32 version);

    /// @notice The patient asks the steward to erase a version.
    event ErasureRequested(bytes32 indexed record, address indexed patient, address indexed steward, uint32 version);

    /// @notice The steward erased a version for good. The receipt says how that can be checked.
    event RecordErased(
        bytes32 indexed record, address indexed patient, address indexed steward, uint32 version, bytes32 receipt
    );

    /// @notice The steward anchored `count` records at once.
    event BatchAnchored(address indexed steward, bytes32 indexed root, uint32 count);

    /// @notice The patient accepted all own records in a batch.
    event BatchAccepted(address indexed steward, bytes32 indexed root, address indexed patient);

    /// @notice An anchor of a batch has a slot of its own from now on, in a state.
    event RecordMaterialised(
        bytes32 indexed record,
        address indexed patient,
        address indexed steward,
        uint32 version,
        uint32 base,
        uint8 kind,
        bytes32 digest,
        bytes32 root,
        State state
    );

    /* ERRORS */

    /// @notice `Relationships` expects the records elsewhere.
    error Miswired(address expected, address actual);

    /// @notice The record or the digest is zero, the kind is beyond 31, or the base is not below the version.
    error InvalidAnchor(Anchor anchor);

    /// @notice Only `RELATIONSHIPS` can do this.
    error NotRelationships(address caller);

    /// @notice The relationship is not active.
    error NotActive(address patient, address steward);

    /// @notice The caller does not sign for the anchor's steward.
    error NotSteward(address caller, address steward);

    /// @notice The caller is not the anchor's patient.
    error NotPatient(address caller, address patient);

    /// @notice An amendment is of the same record, patient and steward.
    error OtherRecord(bytes32 previous, bytes32 next);

    /// @notice An amendment has the next version.
    error NotNext(uint32 previous, uint32 next);

    /// @notice Another anchor, or the same, has that version.
    error VersionTaken(bytes32 record, uint32 version);

    /// @notice The anchor is not in a state in which this can be done to it.
    error WrongState(State state);

    /// @notice The amendment's base is not the version that is accepted now, which is `expected`.
    error WrongBase(uint32 expected, uint32 given);

    /// @notice The base is no longer accepted: propose the amendment anew.
    error StaleBase(uint32 base, State state);

    /// @notice A batch needs a root and at least one record.
    error InvalidBatch(bytes32 root, uint32 count);

    /// @notice The steward anchored that root before.
    error BatchTaken(address steward, bytes32 root);

    /// @notice The steward anchored no such root.
    error UnknownBatch(address steward, bytes32 root);

    /// @notice The patient accepted that batch before.
    error BatchAlreadyAccepted(address steward, bytes32 root, address patient);

    /// @notice The proof does not lead from the anchor to a root of its steward, or the patient never
    /// accepted that steward.
    error NotInBatch(bytes32 root, bytes32 leaf);

    /* FUNCTIONS */

    /// @param relationships Deployed just before, with this contract's address in it.
    constructor(Registry registry, Relationships relationships) {
        REGISTRY = registry;
        RELATIONSHIPS = relationships;
        address expected = address(relationships.RECORDS());
        if (expected != address(this)) revert Miswired(expected, address(this));
    }

    /* The steward: one record */

    /// @notice Proposes the first version of a record, as the caller's institution. It has no base.
    function propose(address patient, bytes32 record, uint8 kind, bytes32 digest) external {
        _propose(Anchor(record, 1, 0, kind, patient, REGISTRY.institution(msg.sender), digest));
    }

    /// @notice Proposes the next version of a record, after the patient or the steward settled the one before.
    /// @dev The base must be the version that is accepted now, or zero when none is.
    /// @param previous The version before `next`.
    function proposeAmendment(Anchor memory previous, Anchor memory next) external {
        if (next.record != previous.record || next.patient != previous.patient || next.steward != previous.steward) {
            revert OtherRecord(previous.record, next.record);
        }
        if (next.version != uint256(previous.version) + 1) revert NotNext(previous.version, next.version);
        State state = stateOf(previous);
        if (state == State.None || state == State.Proposed) revert WrongState(state);
        uint32 accepted = _isLive(state) ? previous.version : _liveBaseOf(previous);
        if (next.base != accepted) revert WrongBase(accepted, next.base);
        _requireSteward(next);

        _propose(next);
    }

    /// @notice Takes back a version that the patient has not answered.
    function withdraw(Anchor memory anchor) external {
        _requireSteward(anchor);
        _move(anchor, State.Proposed, State.Rejected);

        emit RecordWithdrawn(anchor.record, anchor.patient, anchor.steward, anchor.version);
    }

    /// @notice Records that a version was erased, for good, whatever state it was in.
    /// @param receipt Digest of the erasure receipt.
    function erase(Anchor memory anchor, bytes32 receipt) external {
        _requireSteward(anchor);
        State state = stateOf(anchor);
        if (state == State.None || state == State.Erased) revert WrongState(state);

        _write(anchor, State.Erased);

        emit RecordErased(anchor.record, anchor.patient, anchor.steward, anchor.version, receipt);
    }

    /* The patient: one record */

    /// @notice Accepts a version. Its base, if it has one, is superseded.
    function accept(Anchor memory anchor) external {
        _requirePatient(anchor);
        _move(anchor, State.Proposed, State.Accepted);
        if (anchor.base != 0) {
            Slot storage slot = _slotOf(anchor, anchor.base);
            State state = _stateIn(slot.word);
            if (!_isLive(state)) revert StaleBase(anchor.base, state);
            slot.word = (slot.word & _COMMITMENT) | uint256(State.Superseded);
        }

        emit RecordAccepted(anchor.record, anchor.patient, anchor.steward, anchor.version, anchor.base);
    }

    /// @notice Rejects a version.
    function reject(Anchor memory anchor) external {
        _requirePatient(anchor);
        _move(anchor, State.Proposed, State.Rejected);

        emit RecordRejected(anchor.record, anchor.patient, anchor.steward, anchor.version);
    }

    /// @notice Says that an accepted version is wrong. It stays in force until an amendment supersedes it.
    function dispute(Anchor memory anchor) external {
        _requirePatient(anchor);
        _move(anchor, State.Accepted, State.Disputed);

        emit RecordDisputed(anchor.record, anchor.patient, anchor.steward, anchor.version);
    }

    /// @notice Takes a dispute back.
    function resolve(Anchor memory anchor) external {
        _requirePatient(anchor);
        _move(anchor, State.Disputed, State.Accepted);

        emit DisputeResolved(anchor.record, anchor.patient, anchor.steward, anchor.version);
    }

    /// @notice Asks the steward to erase a version.
    function requestErasure(Anchor memory anchor) external {
        _requirePatient(anchor);
        State state = stateOf(anchor);
        if (state == State.None || state == State.Erased) revert WrongState(state);

        emit ErasureRequested(anchor.record, anchor.patient, anchor.steward, anchor.version);
    }

    /* Batches */

    /// @notice Anchors many records by the root of their tree.
    /// @param count How many; nobody checks it.
    function anchorBatch(bytes32 root, uint32 count) external {
        address steward = REGISTRY.institution(msg.sender);
        if (root == 0 || count == 0) revert InvalidBatch(root, count);
        Batch storage batch = _batches[steward][root];
        if (batch.anchoredAt != 0) revert BatchTaken(steward, root);

        batch.count = count;
        batch.anchoredAt = uint40(block.timestamp);

        emit BatchAnchored(steward, root, count);
    }

    /// @notice Accepts all of the caller's records in a batch.
    function acceptBatch(address steward, bytes32 root) external {
        if (_batches[steward][root].anchoredAt == 0) revert UnknownBatch(steward, root);
        if (_accepted[steward][root][msg.sender]) revert BatchAlreadyAccepted(steward, root, msg.sender);

        _accepted[steward][root][msg.sender] = true;

        emit BatchAccepted(steward, root, msg.sender);
    }

    /// @notice Gives an anchor of a batch a slot of its own, in the state that it has in the batch.
    /// @dev For the patient, to answer it alone, and for the steward, to amend or erase it. An anchor
    /// that has its slot already gains from it only when the patient accepted the batch since. The
    /// patient can also put it where another anchor of that version was rejected, so that a steward
    /// that proposes something else as the same version cannot take the patient's answer away.
    function materialise(Anchor memory anchor, bytes32 root, bytes32[] calldata proof) external {
        _requireWellFormed(anchor);
        if (msg.sender != anchor.patient) _requireSteward(anchor);
        if (!_isInBatch(anchor, root, proof)) revert NotInBatch(root, leafOf(anchor));
        Slot storage slot = _slotOf(anchor, anchor.version);
        uint256 commitment = _commitmentTo(anchor);
        State state = _accepted[anchor.steward][root][anchor.patient] ? State.Accepted : State.Proposed;
        if (slot.word & _COMMITMENT == commitment) {
            bool gains = slot.word & 0xff == uint256(State.Proposed) && state == State.Accepted;
            if (!gains) revert VersionTaken(anchor.record, anchor.version);
        } else if (slot.word != 0) {
            bool mayReplace = slot.word & 0xff == uint256(State.Rejected) && msg.sender == anchor.patient;
            if (!mayReplace) revert VersionTaken(anchor.record, anchor.version);
        }

        slot.word = commitment | uint256(state);

        emit RecordMaterialised(
            anchor.record,
            anchor.patient,
            anchor.steward,
            anchor.version,
            anchor.base,
            anchor.kind,
            anchor.digest,
            root,
            state
        );
    }

    /* Relationships */

    /// @notice Opens or closes a folder, as the relationship becomes active or ends.
    function noteRelationship(address patient, address steward, bool active) external {
        if (msg.sender != address(RELATIONSHIPS)) revert NotRelationships(msg.sender);
        Folder storage folder = _folders[patient][steward];
        folder.cover = active ? folder.cover | _KNOWN | _OPEN : folder.cover & ~_OPEN;
    }

    /* Views */

    /// @notice Anchors, proposed one by one, that await the patient.
    function pendingOf(address patient, address steward) external view returns (uint256) {
        return _folders[patient][steward].cover >> _PENDING_SHIFT;
    }

    /// @notice Where an anchor stands that has a slot of its own; `None` when it has none.
    function stateOf(Anchor memory anchor) public view returns (State) {
        uint256 word = _slotOf(anchor, anchor.version).word;
        return word & _COMMITMENT == _commitmentTo(anchor) ? _stateIn(word) : State.None;
    }

    /// @notice Where an anchor of a batch stands; `None` when it does not count.
    function stateInBatch(Anchor memory anchor, bytes32 root, bytes32[] calldata proof) external view returns (State) {
        if (!_isInBatch(anchor, root, proof)) return State.None;
        State state = stateOf(anchor);
        if (state != State.None && state != State.Proposed) return state;
        return _accepted[anchor.steward][root][anchor.patient] ? State.Accepted : State.Proposed;
    }

    /// @notice How many records a batch has, and when it was anchored; zero when it was not.
    function batchOf(address steward, bytes32 root) external view returns (uint32 count, uint40 anchoredAt) {
        Batch memory batch = _batches[steward][root];
        return (batch.count, batch.anchoredAt);
    }

    /// @notice Whether the patient accepted all own records in a batch.
    function isBatchAccepted(address steward, bytes32 root, address patient) external view returns (bool) {
        return _accepted[steward][root][patient];
    }

    /// @notice The leaf of an anchor in a batch's tree. Hashed twice, so that no inner node is a leaf.
    function leafOf(Anchor memory anchor) public pure returns (bytes32) {
        return keccak256(bytes.concat(_digestOf(anchor)));
    }

    /* Internal */

    function _propose(Anchor memory anchor) private {
        _requireWellFormed(anchor);
        Folder storage folder = _folders[anchor.patient][anchor.steward];
        if (folder.cover & _OPEN == 0) revert NotActive(anchor.patient, anchor.steward);
        folder.cover += _ONE_PENDING;
        Slot storage slot = folder.slots[anchor.record][anchor.version];
        if (slot.word != 0) revert VersionTaken(anchor.record, anchor.version);
        slot.word = _commitmentTo(anchor) | _COUNTED | uint256(State.Proposed);

        emit RecordProposed(
            anchor.record, anchor.patient, anchor.steward, anchor.version, anchor.base, anchor.kind, anchor.digest
        );
    }

    function _move(Anchor memory anchor, State from, State to) private {
        State state = stateOf(anchor);
        if (state != from) revert WrongState(state);

        _write(anchor, to);
    }

    /// @dev Whatever leaves Proposed is no longer pending, if it was.
    function _write(Anchor memory anchor, State to) private {
        Slot storage slot = _slotOf(anchor, anchor.version);
        uint256 word = slot.word;
        slot.word = (word & _COMMITMENT) | uint256(to);
        if (word & _COUNTED != 0) _folders[anchor.patient][anchor.steward].cover -= _ONE_PENDING;
    }

    function _slotOf(Anchor memory anchor, uint32 version) private view returns (Slot storage) {
        return _folders[anchor.patient][anchor.steward].slots[anchor.record][version];
    }

    /// @dev The version that an anchor would have replaced, if that one is still accepted.
    function _liveBaseOf(Anchor memory anchor) private view returns (uint32) {
        return _isLive(_stateIn(_slotOf(anchor, anchor.base).word)) ? anchor.base : 0;
    }

    function _stateIn(uint256 word) private pure returns (State) {
        return State(word & 0x7f);
    }

    function _isLive(State state) private pure returns (bool) {
        return state == State.Accepted || state == State.Disputed;
    }

    function _isInBatch(Anchor memory anchor, bytes32 root, bytes32[] calldata proof) private view returns (bool) {
        return _batches[anchor.steward][root].anchoredAt != 0
            && _folders[anchor.patient][anchor.steward].cover & _KNOWN != 0
            && MerkleProof.verifyCalldata(proof, root, leafOf(anchor));
    }

    function _commitmentTo(Anchor memory anchor) private pure returns (uint256) {
        return uint256(_digestOf(anchor)) & _COMMITMENT;
    }

    /// @dev `keccak256(abi.encode(anchor))`: in memory, as in the ABI, an anchor is seven words in a row.
    function _digestOf(Anchor memory anchor) private pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            digest := keccak256(anchor, 0xe0)
        }
    }

    function _requireSteward(Anchor memory anchor) private view {
        if (REGISTRY.institution(msg.sender) != anchor.steward) revert NotSteward(msg.sender, anchor.steward);
    }

    function _requirePatient(Anchor memory anchor) private view {
        if (msg.sender != anchor.patient) revert NotPatient(msg.sender, anchor.patient);
    }

    function _requireWellFormed(Anchor memory anchor) private pure {
        bool valid = anchor.record != 0 && anchor.digest != 0 && anchor.kind < 32 && anchor.base < anchor.version;
        if (!valid) revert InvalidAnchor(anchor);
    }
}
