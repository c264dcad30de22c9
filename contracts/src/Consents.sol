// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Registry} from "./Registry.sol";
import {Relationships} from "./Relationships.sol";

/// @title Consents
/// @notice Who may read a patient's records: which kinds, for which purposes, and when. Only the
/// patient grants; where the sharing policy asks for it, the steward signs as well.
/// @dev Holds one slot per patient, reader and record, and which version of it each steward signed.
/// Holds no health data: patients and readers are addresses, kinds and purposes are bits.
///
/// A grant is for one record, or with record zero for all. Each grant and each revocation is a new
/// version, and a countersignature is for one version, so it never outlives what was signed.
///
/// INVARIANTS
/// - C1: nobody but the patient changes a grant of the patient.
/// - C2: a stored grant is empty, or has `opensAt < closesAt`, at least one kind and one purpose, and
///   lasts at most `MAX_PERIOD`.
/// - C3: after `revoke(reader, record)` nothing is permitted by that grant until a new `grant`; a
///   revocation never fails.
/// - C4: the version of a grant never falls, and a countersignature counts only for the version it
///   was given to.
/// - C5: under a policy that wants it, a third party is permitted nothing that the patient granted
///   and the steward did not sign, and nothing that the steward signed and the patient did not grant.
///
/// ASSUMPTIONS
/// - Safety: whoever asks knows that the reader is in force and signs with its own key: that is the
///   Registry's answer, not this contract's. Patients read their own records without a grant.
/// - Safety: revoking stops new reads. It cannot recall what a reader has opened already.
/// - Safety: `block.timestamp` moves in whole blocks; consents are meant in hours or longer.
/// - Liveness: a steward that never signs keeps third parties out for as long as the policy asks for it.
contract Consents {
    /* TYPES */

    /// @notice What the patient grants, while `opensAt <= time < closesAt`.
    /// @param opensAt Unix time, in seconds.
    /// @param closesAt Unix time, in seconds.
    /// @param kinds Bit set of kinds of record; bit `n` is kind `n`.
    /// @param purposes Bit set of purposes of use; bit `n` is purpose `n`.
    struct Grant {
        uint40 opensAt;
        uint40 closesAt;
        uint32 kinds;
        uint16 purposes;
    }

    /// @dev One slot: 40 + 40 + 32 + 16 + 32 = 160 bits. Without kinds there is no grant.
    struct Consent {
        uint40 opensAt;
        uint40 closesAt;
        uint32 kinds;
        uint16 purposes;
        uint32 version;
    }

    /* CONSTANTS */

    /// @notice The longest period of one grant: ten years.
    uint256 internal constant MAX_PERIOD = 10 * 366 days;

    /* STORAGE */

    /// @notice Who is an institution.
    Registry public immutable REGISTRY;

    /// @notice Which sharing policy holds between a patient and a steward.
    Relationships public immutable RELATIONSHIPS;

    // By `_keyOf` the patient, the reader and the record, or zero for all records.
    mapping(bytes32 key => Consent) private _consents;
    mapping(bytes32 key => mapping(address steward => uint32 version)) private _countersigned;

    /* EVENTS */

    /// @notice The patient granted, replacing any earlier grant to the same reader for the same record.
    event ConsentGranted(
        address indexed patient, address indexed reader, bytes32 indexed record, Grant grant, uint32 version
    );

    /// @notice The patient withdrew the grant, if there was one.
    event ConsentRevoked(address indexed patient, address indexed reader, bytes32 indexed record, uint32 version);

    /// @notice The steward agrees to that version of the grant.
    event ConsentCountersigned(
        address indexed patient, address indexed reader, address indexed steward, bytes32 record, uint32 version
    );

    /// @notice The steward no longer agrees to the grant.
    event CountersignatureWithdrawn(
        address indexed patient, address indexed reader, address indexed steward, bytes32 record
    );

    /* ERRORS */

    /// @notice A grant needs a reader.
    error NoReader();

    /// @notice The period is empty, already over at `time`, or longer than `MAX_PERIOD`.
    error InvalidPeriod(uint40 opensAt, uint40 closesAt, uint256 time);

    /// @notice The grant names no kind of record.
    error NoKinds();

    /// @notice The grant names no purpose.
    error NoPurposes();

    /// @notice There is no such version of the grant, or it is not the latest, which is `expected`.
    error WrongVersion(uint32 expected, uint32 given);

    /// @notice The patient never accepted the steward.
    error NoRelationship(address patient, address steward);

    /* FUNCTIONS */

    constructor(Registry registry, Relationships relationships) {
        REGISTRY = registry;
        RELATIONSHIPS = relationships;
    }

    /// @notice Lets `reader` open the caller's records of the given kinds, for the given purposes and period.
    /// @param reader The institution or professional whom the caller trusts, by its member address.
    /// @param record One record, or zero for all.
    /// @param terms Replace any earlier grant to `reader` for `record`.
    function grant(address reader, bytes32 record, Grant calldata terms) external {
        (uint40 opensAt, uint40 closesAt) = (terms.opensAt, terms.closesAt);
        (uint32 kinds, uint16 purposes) = (terms.kinds, terms.purposes);
        if (reader == address(0)) revert NoReader();
        if (opensAt >= closesAt || closesAt <= block.timestamp || closesAt - opensAt > MAX_PERIOD) {
            revert InvalidPeriod(opensAt, closesAt, block.timestamp);
        }
        if (kinds == 0) revert NoKinds();
        if (purposes == 0) revert NoPurposes();

        bytes32 key = _keyOf(msg.sender, reader, record);
        uint32 version = _next(_consents[key].version);
        _consents[key] = Consent(opensAt, closesAt, kinds, purposes, version);

        emit ConsentGranted(msg.sender, reader, record, Grant(opensAt, closesAt, kinds, purposes), version);
    }

    /// @notice Withdraws the caller's grant to `reader` for `record`, from this block on.
    /// @dev Does not revert when there was none: withdrawing must always work.
    function revoke(address reader, bytes32 record) external {
        Consent storage consent = _consents[_keyOf(msg.sender, reader, record)];
        uint32 version = consent.version;
        if (consent.kinds != 0) {
            version = _next(version);
            _consents[_keyOf(msg.sender, reader, record)] = Consent(0, 0, 0, 0, version);
        }

        emit ConsentRevoked(msg.sender, reader, record, version);
    }

    /// @notice Agrees, as a steward, to one version of a patient's grant.
    /// @dev An ended relationship is enough: the steward still keeps the records, and would otherwise
    /// lock them away for good.
    function countersign(address patient, address reader, bytes32 record, uint32 version) external {
        address steward = REGISTRY.institution(msg.sender);
        if (!RELATIONSHIPS.wasAccepted(patient, steward)) revert NoRelationship(patient, steward);
        bytes32 key = _keyOf(patient, reader, record);
        Consent memory consent = _consents[key];
        if (consent.kinds == 0 || consent.version != version) revert WrongVersion(consent.version, version);

        _countersigned[key][steward] = version;

        emit ConsentCountersigned(patient, reader, steward, record, version);
    }

    /// @notice Withdraws the caller's agreement as a steward, from this block on.
    /// @dev Does not revert when there was none.
    function withdrawCountersignature(address patient, address reader, bytes32 record) external {
        address steward = REGISTRY.institution(msg.sender);

        delete _countersigned[_keyOf(patient, reader, record)][steward];

        emit CountersignatureWithdrawn(patient, reader, steward, record);
    }

    /* Views */

    /// @notice Whether `reader` may open `record`, which is of kind `kind` and which `steward` keeps for
    /// `patient`, for `purpose`, at this block's time.
    /// @dev By a grant for that record, or by one for all. Where the policy between patient and steward
    /// asks for it, and the reader is not the steward itself, the steward must have signed that very
    /// grant. After a relationship ended its policy stays as it was.
    function permits(address patient, address steward, address reader, bytes32 record, uint8 kind, uint8 purpose)
        external
        view
        returns (bool)
    {
        bool countersigned = reader != steward && RELATIONSHIPS.needsCountersignature(patient, steward);
        return _permits(_keyOf(patient, reader, record), steward, countersigned, kind, purpose)
            || _permits(_keyOf(patient, reader, 0), steward, countersigned, kind, purpose);
    }

    /// @notice The grant of a patient to a reader, for one record or with zero for all. Without kinds there is none.
    function consentOf(address patient, address reader, bytes32 record) external view returns (Consent memory) {
        return _consents[_keyOf(patient, reader, record)];
    }

    /// @notice Whether the steward agreed to the grant as it is now.
    function isCountersigned(address patient, address reader, bytes32 record, address steward)
        external
        view
        returns (bool)
    {
        bytes32 key = _keyOf(patient, reader, record);
        return _isCountersigned(key, steward, _consents[key].version);
    }

    /* Internal */

    function _permits(bytes32 key, address steward, bool countersigned, uint8 kind, uint8 purpose)
        private
        view
        returns (bool)
    {
        Consent memory consent = _consents[key];
        bool inPeriod = consent.opensAt <= block.timestamp && block.timestamp < consent.closesAt;
        bool covered = (uint256(consent.kinds) >> kind) & (uint256(consent.purposes) >> purpose) & 1 == 1;
        return inPeriod && covered && (!countersigned || _isCountersigned(key, steward, consent.version));
    }

    function _isCountersigned(bytes32 key, address steward, uint32 version) private view returns (bool) {
        return version != 0 && _countersigned[key][steward] == version;
    }

    /// @dev Wraps around after 2^32 changes, at a price in gas that nobody can pay, instead of failing:
    /// a revocation never fails.
    function _next(uint32 version) private pure returns (uint32) {
        unchecked {
            return version + 1;
        }
    }

    function _keyOf(address patient, address reader, bytes32 record) private pure returns (bytes32) {
        return keccak256(abi.encode(patient, reader, record));
    }
}
