// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "./Ids.sol";
import {IServices} from "./IServices.sol";
import {Registry} from "./Registry.sol";
import {Relationships} from "./Relationships.sol";
import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title LabOrders
/// @notice A laboratory order from the doctor to the laboratory and back, and on to the patient.
/// @dev Holds per order who, where it stands and the clock of a critical result. Holds no test, no
/// specimen and no value: those are sealed behind digests.
///
///     None -> Ordered -> Collected -> Resulted -> Released
///                |           |
///                +-----------+-> Cancelled
///
/// Acknowledging is not a step of that line: a doctor acknowledges a result before or after its
/// release. An order that is both released and acknowledged is `Acknowledged`, and nothing is left to do.
///
/// The **ordering doctors** are the physicians and surgeons in force at the institution that ordered,
/// so that a critical result reaches whoever is on duty, and not a doctor who left.
///
/// A correction is another version of the result: it is released and acknowledged anew, so it takes the order
/// back to Resulted. A preliminary result is told while the order is still Collected; when it is critical, its
/// clock runs already.
///
/// INVARIANTS
/// - O1: each step happens at most once per version of the result, in the order drawn above, by a role that
///   the step asks for.
/// - O2: each version is acknowledged at most once, after it came in, by an ordering doctor; it is acknowledged and
///   released by its digest, so nobody does either to a version that they have not seen.
/// - O3: a critical result is overdue exactly from `ACKNOWLEDGE_PERIOD` after it came in until it is acknowledged. The
///   first such time stands until a doctor acknowledges: neither another version, critical or not, nor an escalation
///   moves it.
/// - O4: a cancelled order never gets a result, and an order with a result is never cancelled.
/// - O5: each hand-over of the specimen continues the chain of custody from its present head.
/// - O6: an identifier belongs to who ordered, so nobody can take it first.
///
/// ASSUMPTIONS
/// - Safety: the laboratory says rightly whether a result is critical.
/// - Liveness: nobody is forced by the contract to acknowledge or release; `isOverdue` is what
///   gateways alarm on.
contract LabOrders is IServices {
    /* TYPES */

    /// @notice Where an order stands.
    enum State {
        None,
        Ordered,
        Collected,
        Resulted,
        Released,
        Acknowledged,
        Cancelled
    }

    /// @dev Four slots: 160 + 8 + 8 + 8 + 40 + 8 + 8 = 240 bits; 160 + 40 = 200 bits; 160 bits; 160 + 40 + 40 = 240
    /// bits.
    /// @param stored Any state but `Acknowledged`.
    /// @param acknowledgeBy Unix time in seconds, from which a critical result is overdue: set by the first, zero once
    /// a doctor acknowledged. A version that is not critical leaves it as it is, for the next one that is.
    /// @param version Of the result, from 1; zero before there is a final one.
    /// @param escalations How often a critical result was escalated.
    /// @param escalateBy Unix time in seconds, before which it is not escalated again; zero before.
    /// @param institution The institution of who ordered.
    /// @param resultedAt Unix time in seconds, when the latest version came in.
    /// @param completedAt Unix time in seconds, when the first final version came in. A correction does not move it.
    struct Order {
        address patient;
        State stored;
        bool critical;
        bool acknowledged;
        uint40 acknowledgeBy;
        uint8 version;
        uint8 escalations;
        address orderer;
        uint40 escalateBy;
        address institution;
        address laboratory;
        uint40 resultedAt;
        uint40 completedAt;
    }

    /* CONSTANTS */

    /// @notice How soon a critical result must be acknowledged.
    uint256 internal constant ACKNOWLEDGE_PERIOD = 1 hours;

    /* STORAGE */

    /// @notice Who is a professional, where, and in which role.
    Registry public immutable REGISTRY;

    /// @notice Who keeps records for whom.
    Relationships public immutable RELATIONSHIPS;

    mapping(bytes32 id => Order) private _orders;
    mapping(bytes32 id => bytes32 digest) private _results;
    mapping(bytes32 id => bytes32 head) private _custody;

    /* EVENTS */

    /// @notice A doctor ordered from a laboratory.
    /// @param digest Digest of the sealed order.
    event LabOrdered(
        bytes32 indexed id,
        address indexed patient,
        address indexed laboratory,
        address orderer,
        address institution,
        bytes32 digest
    );

    /// @notice The specimen was taken.
    /// @param specimen Digest of the sealed specimen record.
    event SpecimenCollected(bytes32 indexed id, address indexed patient, address indexed by, bytes32 specimen);

    /// @notice The result came in.
    /// @param digest Digest of the sealed result, as anchored in `Records`.
    /// @param acknowledgeBy When a critical result becomes overdue; zero otherwise.
    event ResultReported(
        bytes32 indexed id,
        address indexed patient,
        address indexed by,
        bytes32 digest,
        bool critical,
        uint40 acknowledgeBy
    );

    /// @notice The patient's alert: the result is there to be read.
    /// @param digest Of the version that was released.
    event ResultReleased(bytes32 indexed id, address indexed patient, address indexed by, bytes32 digest);

    /// @notice An ordering doctor has seen the result.
    /// @param digest Of the version that was seen.
    event ResultAcknowledged(bytes32 indexed id, address indexed patient, address indexed by, bytes32 digest);

    /// @notice There will be no result.
    event LabOrderCancelled(bytes32 indexed id, address indexed patient, address indexed by);

    /// @notice Somebody took the specimen over.
    /// @param handOver Digest of the sealed hand-over record.
    /// @param head `keccak256(abi.encode(previousHead, by, handOver))`.
    event SpecimenHandedOver(
        bytes32 indexed id, address indexed patient, address indexed by, bytes32 handOver, bytes32 head
    );

    /// @notice A preliminary result came in. It is not released.
    event PreliminaryReported(
        bytes32 indexed id,
        address indexed patient,
        address indexed by,
        bytes32 digest,
        bool critical,
        uint40 acknowledgeBy
    );

    /// @notice Another version of the result came in. It is to be released and acknowledged anew.
    event ResultCorrected(
        bytes32 indexed id,
        address indexed patient,
        address indexed by,
        uint8 version,
        bytes32 digest,
        bool critical,
        uint40 acknowledgeBy
    );

    /// @notice A critical result is overdue, and somebody else is told.
    event CriticalEscalated(bytes32 indexed id, address indexed patient, address indexed by, uint8 escalations);

    /* ERRORS */

    /// @notice There are so many versions or escalations already.
    error TooMany(uint256 limit);

    /// @notice The specimen was handed over since.
    error CustodyDiffers(bytes32 expected, bytes32 given);

    /// @notice Another version of the result is the latest.
    error ResultDiffers(bytes32 expected, bytes32 given);

    /// @notice It was escalated, and that is not long enough ago.
    error AlreadyEscalated(bytes32 id, uint40 until);

    /// @notice Nothing critical is overdue.
    error NotOverdue(bytes32 id);

    /// @notice The professional's role or institution does not do this step.
    error NotAllowed(address professional, ProfessionalRole role, address institution);

    /// @notice The institution is no laboratory.
    error NotLaboratory(address institution, InstitutionRole role);

    /// @notice The doctor's institution keeps no records for the patient.
    error NotActive(address patient, address steward);

    /// @notice The identifier was used before.
    error AlreadyOrdered(bytes32 id);

    /// @notice This step does not follow on that state.
    error WrongState(bytes32 id, State state);

    /// @notice The result was acknowledged before.
    error AlreadyAcknowledged(bytes32 id);

    /* FUNCTIONS */

    constructor(Registry registry, Relationships relationships) {
        REGISTRY = registry;
        RELATIONSHIPS = relationships;
    }

    /// @notice Orders from a laboratory, as a physician or surgeon of an institution that keeps the patient's records.
    /// @param salt Random, never used before by the caller.
    /// @param digest Digest of the sealed order.
    /// @return id `makeId(orderer, salt)`, which is also the name of the sealed record.
    function order(bytes32 salt, address patient, address laboratory, bytes32 digest) external returns (bytes32 id) {
        (address orderer, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        if (!_isDoctor(role)) revert NotAllowed(orderer, role, institution);
        if (!RELATIONSHIPS.isActive(patient, institution)) revert NotActive(patient, institution);
        InstitutionRole place = REGISTRY.roleOf(laboratory);
        if (place != InstitutionRole.Laboratory) revert NotLaboratory(laboratory, place);
        id = makeId(orderer, salt);
        if (_orders[id].stored != State.None) revert AlreadyOrdered(id);

        _orders[id] = Order(patient, State.Ordered, false, false, 0, 0, 0, orderer, 0, institution, laboratory, 0, 0);

        emit LabOrdered(id, patient, laboratory, orderer, institution, digest);
    }

    /// @notice Records that the specimen was taken, as a scientist of the laboratory or a nurse of the
    /// institution that ordered.
    /// @param specimen Digest of the sealed specimen record.
    function collect(bytes32 id, bytes32 specimen) external {
        Order storage stored = _require(id, State.Ordered);
        (address member, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool isNurse = role == ProfessionalRole.Nurse && institution == stored.institution;
        if (!isNurse && !_isScientist(stored, role, institution)) revert NotAllowed(member, role, institution);

        stored.stored = State.Collected;

        emit SpecimenCollected(id, stored.patient, member, specimen);
    }

    /// @notice Reports the result, as a scientist of the laboratory.
    /// @param digest Digest of the sealed result.
    /// @param critical Whether a doctor must acknowledge it within `ACKNOWLEDGE_PERIOD`.
    function report(bytes32 id, bytes32 digest, bool critical) external {
        Order storage stored = _require(id, State.Collected);
        (address member, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        if (!_isScientist(stored, role, institution)) revert NotAllowed(member, role, institution);

        uint40 acknowledgeBy = _setResult(id, stored, digest, critical);
        (stored.stored, stored.version, stored.completedAt) = (State.Resulted, 1, uint40(block.timestamp));

        emit ResultReported(id, stored.patient, member, digest, critical, acknowledgeBy);
    }

    /// @notice Reports a preliminary result, as a scientist of the laboratory. The final one follows.
    function reportPreliminary(bytes32 id, bytes32 digest, bool critical) external {
        Order storage stored = _require(id, State.Collected);
        (address member, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        if (!_isScientist(stored, role, institution)) revert NotAllowed(member, role, institution);

        uint40 acknowledgeBy = _setResult(id, stored, digest, critical);

        emit PreliminaryReported(id, stored.patient, member, digest, critical, acknowledgeBy);
    }

    /// @notice Corrects the result, as a scientist of the laboratory.
    /// @param digest Digest of the sealed result that replaces the one before.
    function correct(bytes32 id, bytes32 digest, bool critical) external {
        Order storage stored = _orders[id];
        State state = stored.stored;
        if (state != State.Resulted && state != State.Released) revert WrongState(id, state);
        (address member, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        if (!_isScientist(stored, role, institution)) revert NotAllowed(member, role, institution);
        if (stored.version == type(uint8).max) revert TooMany(type(uint8).max);

        uint40 acknowledgeBy = _setResult(id, stored, digest, critical);
        (stored.stored, stored.version) = (State.Resulted, stored.version + 1);

        emit ResultCorrected(id, stored.patient, member, stored.version, digest, critical, acknowledgeBy);
    }

    /// @notice Takes the specimen over, as a scientist of the laboratory or a nurse of the ordering institution.
    /// @param handOver Digest of the sealed hand-over record.
    /// @param previousHead Where the chain of custody ends, as the caller saw it; zero at first.
    function takeOver(bytes32 id, bytes32 handOver, bytes32 previousHead) external {
        Order storage stored = _require(id, State.Collected);
        (address member, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool isNurse = role == ProfessionalRole.Nurse && institution == stored.institution;
        if (!isNurse && !_isScientist(stored, role, institution)) revert NotAllowed(member, role, institution);
        if (_custody[id] != previousHead) revert CustodyDiffers(_custody[id], previousHead);

        bytes32 head = keccak256(abi.encode(previousHead, member, handOver));
        _custody[id] = head;

        emit SpecimenHandedOver(id, stored.patient, member, handOver, head);
    }

    /// @notice Tells somebody else of an overdue critical result, as a scientist of the laboratory, or a physician,
    /// surgeon or nurse of the ordering institution; again after `ACKNOWLEDGE_PERIOD`. It stays overdue.
    function escalate(bytes32 id) external {
        Order storage stored = _orders[id];
        if (!isOverdue(id)) revert NotOverdue(id);
        (address member, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool isCarer = (_isDoctor(role) || role == ProfessionalRole.Nurse) && institution == stored.institution;
        if (!isCarer && !_isScientist(stored, role, institution)) revert NotAllowed(member, role, institution);
        if (block.timestamp < stored.escalateBy) revert AlreadyEscalated(id, stored.escalateBy);
        if (stored.escalations == type(uint8).max) revert TooMany(type(uint8).max);

        stored.escalateBy = uint40(block.timestamp + ACKNOWLEDGE_PERIOD);
        uint8 escalations = ++stored.escalations;

        emit CriticalEscalated(id, stored.patient, member, escalations);
    }

    /// @notice Releases the result to the patient, as an ordering doctor or a scientist of the laboratory.
    /// @param digest As the caller saw it: a correction on its way is not released unseen.
    function release(bytes32 id, bytes32 digest) external {
        Order storage stored = _require(id, State.Resulted);
        (address member, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool isDoctor = _isDoctor(role) && institution == stored.institution;
        if (!isDoctor && !_isScientist(stored, role, institution)) revert NotAllowed(member, role, institution);
        if (digest != _results[id]) revert ResultDiffers(_results[id], digest);

        stored.stored = State.Released;

        emit ResultReleased(id, stored.patient, member, digest);
    }

    /// @notice Says, as an ordering doctor, that the result was seen.
    /// @param digest As the doctor saw it: a correction on its way is not acknowledged unseen.
    function acknowledge(bytes32 id, bytes32 digest) external {
        Order storage stored = _orders[id];
        State state = stored.stored;
        bool isPreliminary = state == State.Collected && stored.resultedAt != 0;
        if (state != State.Resulted && state != State.Released && !isPreliminary) revert WrongState(id, state);
        if (stored.acknowledged) revert AlreadyAcknowledged(id);
        address member = _requireDoctor(stored);
        if (digest != _results[id]) revert ResultDiffers(_results[id], digest);

        (stored.acknowledged, stored.acknowledgeBy, stored.escalateBy) = (true, 0, 0);

        emit ResultAcknowledged(id, stored.patient, member, digest);
    }

    /// @notice Cancels the order before there is a result, as an ordering doctor or the patient.
    function cancel(bytes32 id) external {
        Order storage stored = _orders[id];
        State state = stored.stored;
        // A preliminary result is one: who was told of it is told the final one.
        if ((state != State.Ordered && state != State.Collected) || stored.resultedAt != 0) revert WrongState(id, state);
        address by = msg.sender == stored.patient ? msg.sender : _requireDoctor(stored);

        stored.stored = State.Cancelled;

        emit LabOrderCancelled(id, stored.patient, by);
    }

    /* Views */

    /// @notice Where the order stands. `Acknowledged` is a result that is released and acknowledged.
    function stateOf(bytes32 id) external view returns (State) {
        Order storage stored = _orders[id];
        if (stored.stored == State.Released && stored.acknowledged) return State.Acknowledged;
        return stored.stored;
    }

    /// @notice Whether a critical result waits for a doctor longer than it may.
    function isOverdue(bytes32 id) public view returns (bool) {
        Order storage stored = _orders[id];
        return stored.critical && !stored.acknowledged && block.timestamp >= stored.acknowledgeBy;
    }

    /// @notice All that is stored of an order.
    function orderOf(bytes32 id) external view returns (Order memory) {
        return _orders[id];
    }

    /// @notice Digest of the latest result, preliminary ones included; zero when there is none.
    function resultOf(bytes32 id) external view returns (bytes32) {
        return _results[id];
    }

    /// @notice Where the chain of custody ends; zero before the first hand-over.
    function custodyOf(bytes32 id) external view returns (bytes32) {
        return _custody[id];
    }

    /// @inheritdoc IServices
    /// @dev The one part is 1: the latest version of the final result, since the first came in. A correction
    /// so never moves a service into a coverage.
    function serviceOf(bytes32 id, uint256 part)
        external
        view
        returns (address patient, address provider, uint40 completedAt, bytes32 evidence)
    {
        Order storage stored = _orders[id];
        if (part != 1 || stored.version == 0) return (address(0), address(0), 0, 0);
        return (stored.patient, stored.laboratory, stored.completedAt, _results[id]);
    }

    /* Internal */

    function _setResult(bytes32 id, Order storage stored, bytes32 digest, bool critical)
        private
        returns (uint40 acknowledgeBy)
    {
        // Reporting again does not buy time, nor does saying in between that it is not critical.
        if (critical) {
            acknowledgeBy = stored.acknowledgeBy;
            if (acknowledgeBy == 0) acknowledgeBy = uint40(block.timestamp + ACKNOWLEDGE_PERIOD);
            stored.acknowledgeBy = acknowledgeBy;
        }
        (stored.critical, stored.acknowledged) = (critical, false);
        stored.resultedAt = uint40(block.timestamp);
        _results[id] = digest;
    }

    function _require(bytes32 id, State state) private view returns (Order storage stored) {
        stored = _orders[id];
        if (stored.stored != state) revert WrongState(id, stored.stored);
    }

    function _requireDoctor(Order storage stored) private view returns (address) {
        (address member, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool isOrdering = _isDoctor(role) && institution == stored.institution;
        if (!isOrdering) revert NotAllowed(member, role, institution);
        return member;
    }

    function _isDoctor(ProfessionalRole role) private pure returns (bool) {
        return role == ProfessionalRole.Physician || role == ProfessionalRole.Surgeon;
    }

    function _isScientist(Order storage stored, ProfessionalRole role, address institution)
        private
        view
        returns (bool)
    {
        return role == ProfessionalRole.LaboratoryScientist && institution == stored.laboratory;
    }
}
