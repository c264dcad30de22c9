// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {Registry} from "./Registry.sol";
import {Relationships} from "./Relationships.sol";
import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title Devices
/// @notice Which device measures which patient, whether it can be trusted, and every batch of readings it
/// signed: none forged, replayed, reordered or lost unnoticed.
/// @dev Holds per device its attestation, firmware, binding, quarantine, and the head of the chain of its
/// batches; per batch a Merkle root. Holds no reading: those are sealed, and only their root is here.
///
/// A device is a member of the Registry, run by an **operator**, and signs with a key of its own, which it
/// rotates there. The **maker** attests that the key was made in its device: by its signature over the
/// device's address, its model and a keyed digest of its serial number. A model is
/// `keccak256(abi.encode(maker, name))`, so only its maker says which firmware it may run.
///
/// A leaf is `keccak256(bytes.concat(keccak256(abi.encode(digest))))` of a reading's salted digest, pairs
/// hashed in order.
///
/// INVARIANTS
/// - V1: a batch is anchored only under the signature of the key in force of a device that is enrolled, runs
///   accepted firmware, is not in quarantine, and was bound to the patient all the time of its readings.
/// - V2: batches of a device are numbered without gaps, each names the head before it, and their times never
///   overlap nor lie in the future, before the binding or after its end: none is replayed, reordered or left out. What
///   was measured under a binding can be brought after its end, until the next one is accepted.
/// - V3: a device is bound to at most one patient, who accepted, until a time; patient and operator end it, also when
///   the device is out of force.
/// - V4: quarantine of the operator, the maker or a regulator ends only by who imposed it.
/// - V5: a device anchors at most `MAX_BATCHES` batches in a window of `WINDOW`, which begins with its first.
/// - V6: a serial number of a maker is enrolled once.
/// - V7: a firmware that a regulator recalled runs nowhere until a regulator lifts the recall, whatever its maker
///   accepts.
///
/// ASSUMPTIONS
/// - Safety: a key never leaves its device. Who has it signs what it likes within the limits; quarantine and
///   decommissioning in the Registry stop it.
/// - Safety: out of range is what the sealed care plan says; the device counts it, this contract does not.
/// - Safety: digests of serial numbers are keyed by the maker, for serial numbers can be guessed.
/// - Liveness: anybody may bring a signed batch. Without one, `isSilent` tells.
/// - Liveness: a device brings what it measured before it is bound anew. What comes later is refused.
contract Devices is EIP712 {
    /* TYPES */

    /// @notice What a maker and a device sign when the device is enrolled.
    /// @param name Of the model, at its maker.
    /// @param serial Keyed digest of the serial number.
    /// @param firmware Digest of the firmware that the device runs.
    /// @param deadline Last second of both signatures.
    struct Attestation {
        address maker;
        bytes32 name;
        bytes32 serial;
        bytes32 firmware;
        uint40 deadline;
        bytes makerSignature;
        bytes deviceSignature;
    }

    /// @dev Six slots: 160 + 40 + 8 + 32 = 240 bits; 256 bits; 160 + 32 + 40 = 232 bits with 24 free;
    /// 40 + 32 + 64 + 40 + 40 + 16 = 232 bits; 256 bits; 160 + 32 = 192 bits.
    /// @param enrolledAt Zero before.
    /// @param quarantine Bit set of who imposed it.
    /// @param updates How often the device said what it runs, so that what it said once is not said again.
    /// @param patient Of the latest binding, over or not; zero before the first.
    /// @param binding Number of the latest binding, which is that of its offer.
    /// @param boundUntil Unix time, in seconds; the first second without binding, when it was to end or was ended.
    /// @param boundAt Unix time, in seconds.
    /// @param interval Longest time without readings, in seconds.
    /// @param batches How many there are; the number of the next.
    /// @param lastTo End of the latest batch.
    /// @param windowStart Of the batches counted in `inWindow`.
    /// @param head Zero, then `keccak256(abi.encode(previousHead, sequence, root, count, from, to))`.
    /// @param operator Which ran it when it was enrolled, and for as long as it is in force.
    /// @param offers How many bindings were offered; the number of the latest.
    struct Device {
        address maker;
        uint40 enrolledAt;
        uint8 quarantine;
        uint32 updates;
        bytes32 firmware;
        address patient;
        uint32 binding;
        uint40 boundUntil;
        uint40 boundAt;
        uint32 interval;
        uint64 batches;
        uint40 lastTo;
        uint40 windowStart;
        uint16 inWindow;
        bytes32 head;
        address operator;
        uint32 offers;
    }

    /// @notice A binding that awaits the patient.
    /// @dev One slot: 160 + 40 + 32 bits.
    struct Offer {
        address patient;
        uint40 until;
        uint32 interval;
    }

    /// @notice A batch of readings, as the device signs it.
    /// @param binding Under which it was measured.
    /// @param sequence The device's number of batches so far.
    /// @param from Unix time in seconds, of the first reading.
    /// @param to Unix time in seconds, after the last reading.
    /// @param count Readings.
    /// @param outOfRange How many of them are out of the range that the care plan sets.
    /// @param previousHead The head that the device continues.
    struct Batch {
        uint32 binding;
        uint64 sequence;
        uint40 from;
        uint40 to;
        uint32 count;
        uint32 outOfRange;
        bytes32 root;
        bytes32 previousHead;
    }

    /// @dev One slot: 40 + 8 bits. `dueAt` is zero when there was no alert.
    struct Alert {
        uint40 dueAt;
        bool acknowledged;
    }

    /* CONSTANTS */

    /// @notice How many batches a device anchors in one window.
    uint256 internal constant MAX_BATCHES = 120;

    /// @notice Length of a window.
    uint256 internal constant WINDOW = 1 hours;

    /// @notice The most readings of one batch.
    uint256 internal constant MAX_COUNT = 1_000_000;

    /// @notice The longest binding without being renewed.
    uint256 internal constant MAX_BINDING = 366 days;

    /// @notice How soon an alert is acknowledged.
    uint256 internal constant ACKNOWLEDGE_PERIOD = 1 hours;

    uint8 private constant _BY_OPERATOR = 1;
    uint8 private constant _BY_MAKER = 2;
    uint8 private constant _BY_REGULATOR = 4;

    /// @notice EIP-712 type by which a maker attests a device.
    bytes32 internal constant ATTEST_TYPEHASH =
        keccak256("Attest(address device,bytes32 model,bytes32 serial,uint40 deadline)");

    /// @notice EIP-712 type by which a device says which firmware it runs.
    bytes32 internal constant FIRMWARE_TYPEHASH =
        keccak256("Firmware(address device,address operator,bytes32 firmware,uint32 number,uint40 deadline)");

    /// @notice EIP-712 type by which a device signs a batch.
    bytes32 internal constant BATCH_TYPEHASH = keccak256(
        "Batch(address device,uint32 binding,uint64 sequence,uint40 from,uint40 to,uint32 count,uint32 outOfRange,bytes32 root,bytes32 previousHead)"
    );

    /* STORAGE */

    /// @notice Who is a device, an institution, a professional, and with which key.
    Registry public immutable REGISTRY;

    /// @notice Who keeps records for whom.
    Relationships public immutable RELATIONSHIPS;

    mapping(address device => Device) private _devices;
    mapping(address device => Offer) private _offers;
    mapping(address device => mapping(uint256 sequence => bytes32 root)) private _roots;
    mapping(address device => mapping(uint256 sequence => Alert)) private _alerts;
    mapping(bytes32 model => mapping(bytes32 firmware => bool)) private _accepted;
    mapping(bytes32 model => mapping(bytes32 firmware => bool)) private _recalled;
    mapping(address maker => mapping(bytes32 serial => address device)) private _serials;

    /* EVENTS */

    /// @notice A maker accepts a firmware for a model.
    event FirmwareAccepted(address indexed maker, bytes32 indexed model, bytes32 indexed firmware, bytes32 name);

    /// @notice Its maker accepts it no more.
    event FirmwareWithdrawn(bytes32 indexed model, bytes32 indexed firmware, address indexed by);

    /// @notice A regulator recalled it.
    event FirmwareRecalled(bytes32 indexed model, bytes32 indexed firmware, address indexed by, bytes32 reason);

    /// @notice A regulator lifted the recall.
    event RecallLifted(bytes32 indexed model, bytes32 indexed firmware, address indexed by);

    /// @notice A device is enrolled.
    event DeviceEnrolled(
        address indexed device, address indexed operator, address indexed maker, bytes32 serial, bytes32 firmware
    );

    /// @notice A device runs another firmware.
    event FirmwareUpdated(address indexed device, bytes32 firmware);

    /// @notice The operator offers a patient to be measured.
    event BindingOffered(
        address indexed device, address indexed patient, uint32 binding, uint40 until, uint32 interval
    );

    /// @notice The patient accepted.
    event DeviceBound(address indexed device, address indexed patient, uint32 binding, uint40 until);

    /// @notice The binding ended before its time.
    event DeviceUnbound(address indexed device, address indexed patient, uint32 binding, address by);

    /// @notice Readings are anchored.
    event ReadingsAnchored(
        address indexed device,
        address indexed patient,
        uint64 indexed sequence,
        bytes32 root,
        uint32 count,
        uint40 from,
        uint40 to,
        bytes32 head
    );

    /// @notice The alert: readings are out of range.
    event ReadingsOutOfRange(
        address indexed device, address indexed patient, uint64 indexed sequence, uint32 outOfRange, uint40 dueAt
    );

    /// @notice The alert: there are no readings of a time.
    event ReadingsMissing(
        address indexed device, address indexed patient, uint64 indexed sequence, uint40 from, uint40 to
    );

    /// @notice A doctor or nurse has seen the alert.
    event AlertAcknowledged(address indexed device, uint64 indexed sequence, address indexed by);

    /// @notice A device is in quarantine, or in more of it.
    event DeviceQuarantined(address indexed device, address indexed by, bytes32 reason);

    /// @notice One quarantine of a device is lifted.
    event QuarantineLifted(address indexed device, address indexed by);

    /* ERRORS */

    /// @notice The professional's role or institution does not do this step.
    error NotAllowed(address professional, ProfessionalRole role, address institution);

    /// @notice The institution has another role.
    error WrongInstitution(address institution, InstitutionRole role);

    /// @notice The institution does not run the device.
    error NotOperator(address device, address institution);

    /// @notice The operator keeps no records for the patient.
    error NotActive(address patient, address steward);

    /// @notice The Registry knows the device as another model.
    error ModelDiffers(bytes32 expected, bytes32 given);

    /// @notice The maker does not accept this firmware, or a regulator recalled it.
    error FirmwareRefused(bytes32 model, bytes32 firmware);

    /// @notice The device, or its serial number, is enrolled already.
    error AlreadyEnrolled(address device);

    /// @notice The device is not enrolled.
    error NotEnrolled(address device);

    /// @notice The signature came too late.
    error Expired(uint256 deadline);

    /// @notice The signer did not sign this.
    error InvalidSignature(address signer);

    /// @notice The device is bound to a patient.
    error StillBound(address device, address patient);

    /// @notice The device is bound to nobody, or under another binding.
    error NotBound(address device, uint32 binding);

    /// @notice Another offer, or none, awaits the caller.
    error NotOffered(address device, uint32 binding);

    /// @notice The caller is neither the patient nor the operator.
    error NotParty(address caller);

    /// @notice The time lies outside its bounds, in seconds.
    error InvalidTime(uint256 given, uint256 least, uint256 most);

    /// @notice The device is in quarantine.
    error InQuarantine(address device, uint8 by);

    /// @notice There is nothing of the caller's to lift.
    error NotQuarantined(address device);

    /// @notice The batch has another number than the next.
    error WrongSequence(uint64 expected, uint64 given);

    /// @notice The device's chain ends elsewhere.
    error Fork(bytes32 expected, bytes32 given);

    /// @notice The batch has no root, no readings, too many, or more out of range than there are.
    error InvalidBatch(bytes32 root, uint32 count, uint32 outOfRange);

    /// @notice The device anchored as many batches as it may in this window.
    error TooManyBatches(address device, uint256 limit);

    /// @notice There is no such alert, or it was acknowledged before.
    error NothingToAcknowledge(address device, uint64 sequence);

    /* FUNCTIONS */

    constructor(Registry registry, Relationships relationships) EIP712("Salus Devices", "1") {
        REGISTRY = registry;
        RELATIONSHIPS = relationships;
    }

    /* Firmware */

    /// @notice Accepts a firmware for a model of the caller's, as its maker.
    /// @param name Of the model.
    function acceptFirmware(bytes32 name, bytes32 firmware) external {
        address maker = _requireRole(InstitutionRole.DeviceMaker);
        bytes32 model = modelOf(maker, name);

        _accepted[model][firmware] = true;

        emit FirmwareAccepted(maker, model, firmware, name);
    }

    /// @notice Accepts a firmware no more, as the maker of the model. Devices that run it stop.
    /// @param name Of the model.
    function withdrawFirmware(bytes32 name, bytes32 firmware) external {
        address maker = _requireRole(InstitutionRole.DeviceMaker);
        bytes32 model = modelOf(maker, name);

        _accepted[model][firmware] = false;

        emit FirmwareWithdrawn(model, firmware, maker);
    }

    /// @notice Recalls a firmware, as a regulator. Devices that run it stop, and no other begins to.
    /// @param reason Digest of the reason.
    function recallFirmware(bytes32 model, bytes32 firmware, bytes32 reason) external {
        address by = _requireRole(InstitutionRole.Regulator);

        _recalled[model][firmware] = true;

        emit FirmwareRecalled(model, firmware, by, reason);
    }

    /// @notice Lifts a recall, as any regulator. The maker's acceptance counts again.
    function liftRecall(bytes32 model, bytes32 firmware) external {
        address by = _requireRole(InstitutionRole.Regulator);

        _recalled[model][firmware] = false;

        emit RecallLifted(model, firmware, by);
    }

    /// @notice Says that a device runs another firmware, signed by the device. Anybody brings it.
    function updateFirmware(address device, bytes32 firmware, uint40 deadline, bytes calldata signature) external {
        Device storage stored = _requireEnrolled(device);
        (address operator, bytes32 model) = _requireInForce(device);
        if (!isAccepted(model, firmware)) revert FirmwareRefused(model, firmware);
        _requireFirmwareSigned(device, operator, firmware, stored.updates, deadline, signature);

        stored.firmware = firmware;
        ++stored.updates;

        emit FirmwareUpdated(device, firmware);
    }

    /* Enrolment and binding */

    /// @notice Enrols a device of the caller's, which its maker attests.
    function enrol(address device, Attestation calldata attestation) external {
        (address operator, bytes32 model) = _requireInForce(device);
        if (REGISTRY.institution(msg.sender) != operator) revert NotOperator(device, msg.sender);
        address maker = attestation.maker;
        InstitutionRole role = REGISTRY.roleOf(maker);
        if (role != InstitutionRole.DeviceMaker) revert WrongInstitution(maker, role);
        bytes32 expected = modelOf(maker, attestation.name);
        if (model != expected) revert ModelDiffers(expected, model);
        if (!isAccepted(model, attestation.firmware)) revert FirmwareRefused(model, attestation.firmware);
        Device storage stored = _devices[device];
        if (stored.enrolledAt != 0) revert AlreadyEnrolled(device);
        address other = _serials[maker][attestation.serial];
        if (other != address(0)) revert AlreadyEnrolled(other);
        _requireFirmwareSigned(
            device, operator, attestation.firmware, 0, attestation.deadline, attestation.deviceSignature
        );
        bytes32 attest =
            keccak256(abi.encode(ATTEST_TYPEHASH, device, model, attestation.serial, attestation.deadline));
        _requireSigned(REGISTRY.signerOf(maker), attest, attestation.makerSignature);

        (stored.maker, stored.enrolledAt, stored.firmware) = (maker, uint40(block.timestamp), attestation.firmware);
        (stored.updates, stored.operator) = (1, operator);
        _serials[maker][attestation.serial] = device;

        emit DeviceEnrolled(device, operator, maker, attestation.serial, attestation.firmware);
    }

    /// @notice Offers a patient to be measured, as the operator. It replaces an earlier offer.
    /// @param until Unix time, in seconds; the first second without binding.
    /// @param interval Longest time without readings, in seconds, before it counts as a gap.
    function offerBinding(address device, address patient, uint40 until, uint32 interval) external {
        Device storage stored = _requireEnrolled(device);
        address operator = _requireOperator(device);
        if (!RELATIONSHIPS.isActive(patient, operator)) revert NotActive(patient, operator);
        if (_isBound(stored)) revert StillBound(device, stored.patient);
        _requireWithin(until, block.timestamp + 1, block.timestamp + MAX_BINDING);
        _requireWithin(interval, 1, MAX_BINDING);

        uint32 binding = ++stored.offers;
        _offers[device] = Offer(patient, until, interval);

        emit BindingOffered(device, patient, binding, until, interval);
    }

    /// @notice Accepts to be measured, as the patient. Nothing is anchored of an earlier binding from now on.
    /// @param binding As the patient saw it.
    function acceptBinding(address device, uint32 binding) external {
        Device storage stored = _requireEnrolled(device);
        Offer memory offer = _offers[device];
        bool isOffered = offer.patient == msg.sender && stored.offers == binding && block.timestamp < offer.until;
        if (!isOffered) revert NotOffered(device, binding);

        delete _offers[device];
        (stored.patient, stored.binding, stored.boundUntil) = (msg.sender, binding, offer.until);
        (stored.boundAt, stored.interval) = (uint40(block.timestamp), offer.interval);

        emit DeviceBound(device, msg.sender, binding, offer.until);
    }

    /// @notice Ends the binding, or takes the offer of one back, as the patient or the operator.
    function unbind(address device) external {
        Device storage stored = _requireEnrolled(device);
        bool isBound = _isBound(stored);
        address patient = isBound ? stored.patient : _offers[device].patient;
        if (patient == address(0)) revert NotBound(device, stored.binding);
        address by = msg.sender;
        if (by != patient) {
            (address member,, uint40 until) = REGISTRY.keyOf(msg.sender);
            by = member;
            if (member != stored.operator || until != 0) revert NotParty(msg.sender);
        }

        delete _offers[device];
        if (isBound) stored.boundUntil = uint40(block.timestamp);

        emit DeviceUnbound(device, patient, isBound ? stored.binding : stored.offers, by);
    }

    /* Readings */

    /// @notice Anchors a batch that a device signed. Anybody brings it, during the binding or after it.
    function anchor(address device, Batch calldata batch, bytes calldata signature) external {
        Device storage stored = _requireTrusted(device);
        if (stored.patient == address(0) || batch.binding != stored.binding) revert NotBound(device, batch.binding);
        if (batch.sequence != stored.batches) revert WrongSequence(stored.batches, batch.sequence);
        if (batch.previousHead != stored.head) revert Fork(stored.head, batch.previousHead);
        if (batch.root == 0 || batch.count == 0 || batch.count > MAX_COUNT || batch.outOfRange > batch.count) {
            revert InvalidBatch(batch.root, batch.count, batch.outOfRange);
        }
        uint40 since = stored.lastTo > stored.boundAt ? stored.lastTo : stored.boundAt;
        uint256 latest = _isBound(stored) ? block.timestamp : stored.boundUntil;
        _requireWithin(batch.to, uint256(batch.from) + 1, latest);
        _requireWithin(batch.from, since, batch.to);
        _requireSigned(REGISTRY.signerOf(device), _hash(device, batch), signature);
        _count(device, stored);

        bytes32 head =
            keccak256(abi.encode(batch.previousHead, batch.sequence, batch.root, batch.count, batch.from, batch.to));
        (stored.batches, stored.lastTo, stored.head) = (batch.sequence + 1, batch.to, head);
        _roots[device][batch.sequence] = batch.root;

        emit ReadingsAnchored(
            device, stored.patient, batch.sequence, batch.root, batch.count, batch.from, batch.to, head
        );
        _alert(device, stored, batch, since);
    }

    /// @notice Says that an alert was seen, as a physician, surgeon or nurse of the operator.
    function acknowledge(address device, uint64 sequence) external {
        address operator = _devices[device].operator;
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool may = role == ProfessionalRole.Physician || role == ProfessionalRole.Surgeon || role == ProfessionalRole.Nurse;
        if (!may || institution != operator) revert NotAllowed(by, role, institution);
        Alert storage alert = _alerts[device][sequence];
        if (alert.dueAt == 0 || alert.acknowledged) revert NothingToAcknowledge(device, sequence);

        alert.acknowledged = true;

        emit AlertAcknowledged(device, sequence, by);
    }

    /* Quarantine */

    /// @notice Puts a device into quarantine, as its operator, its maker or a regulator.
    /// @param reason Digest of the reason.
    function quarantine(address device, bytes32 reason) external {
        Device storage stored = _requireEnrolled(device);
        (address by, uint8 bit) = _requireGuard(device, stored);

        stored.quarantine |= bit;

        emit DeviceQuarantined(device, by, reason);
    }

    /// @notice Lifts the quarantine that the caller imposed, or, of regulators, any of them.
    function liftQuarantine(address device) external {
        Device storage stored = _requireEnrolled(device);
        (address by, uint8 bit) = _requireGuard(device, stored);
        if (stored.quarantine & bit == 0) revert NotQuarantined(device);

        stored.quarantine &= ~bit;

        emit QuarantineLifted(device, by);
    }

    /* Views */

    /// @notice All that is stored of a device.
    function deviceOf(address device) external view returns (Device memory) {
        return _devices[device];
    }

    /// @notice The patient whom a device measures now; zero when there is none.
    function patientOf(address device) external view returns (address) {
        Device storage stored = _devices[device];
        return _isBound(stored) ? stored.patient : address(0);
    }

    /// @notice Whether a device is bound and has not been heard of for longer than it may.
    function isSilent(address device) external view returns (bool) {
        Device storage stored = _devices[device];
        uint40 since = stored.lastTo > stored.boundAt ? stored.lastTo : stored.boundAt;
        return _isBound(stored) && block.timestamp > uint256(since) + stored.interval;
    }

    /// @notice Whether an alert waits longer than it may.
    function isOverdue(address device, uint64 sequence) external view returns (bool) {
        Alert memory alert = _alerts[device][sequence];
        return alert.dueAt != 0 && !alert.acknowledged && block.timestamp >= alert.dueAt;
    }

    /// @notice Whether a model may run a firmware: its maker accepts it, and no regulator recalled it.
    function isAccepted(bytes32 model, bytes32 firmware) public view returns (bool) {
        return _accepted[model][firmware] && !_recalled[model][firmware];
    }

    /// @notice Whether a reading is in a batch.
    /// @param reading Salted digest of the reading.
    /// @param proof Siblings from its leaf up.
    function verify(address device, uint256 sequence, bytes32 reading, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        bytes32 root = _roots[device][sequence];
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(reading))));
        return root != 0 && MerkleProof.verifyCalldata(proof, root, leaf);
    }

    /// @notice What a model is called here and in the Registry.
    function modelOf(address maker, bytes32 name) public pure returns (bytes32) {
        return keccak256(abi.encode(maker, name));
    }

    /* Internal */

    function _alert(address device, Device storage stored, Batch calldata batch, uint40 since) private {
        if (batch.from > uint256(since) + stored.interval) {
            emit ReadingsMissing(device, stored.patient, batch.sequence, since, batch.from);
        }
        if (batch.outOfRange == 0) return;
        uint40 dueAt = uint40(block.timestamp + ACKNOWLEDGE_PERIOD);
        _alerts[device][batch.sequence] = Alert(dueAt, false);
        emit ReadingsOutOfRange(device, stored.patient, batch.sequence, batch.outOfRange, dueAt);
    }

    function _count(address device, Device storage stored) private {
        if (block.timestamp >= stored.windowStart + WINDOW) {
            (stored.windowStart, stored.inWindow) = (uint40(block.timestamp), 0);
        }
        if (stored.inWindow == MAX_BATCHES) revert TooManyBatches(device, MAX_BATCHES);
        ++stored.inWindow;
    }

    function _hash(address device, Batch calldata batch) private pure returns (bytes32) {
        return keccak256(abi.encode(BATCH_TYPEHASH, device, batch));
    }

    function _isBound(Device storage stored) private view returns (bool) {
        return stored.patient != address(0) && block.timestamp < stored.boundUntil;
    }

    /// @dev By the device's key in force.
    function _requireInForce(address device) private view returns (address operator, bytes32 model) {
        address member;
        (member, operator, model) = REGISTRY.device(REGISTRY.signerOf(device));
        if (member != device) revert NotEnrolled(device);
    }

    function _requireEnrolled(address device) private view returns (Device storage stored) {
        stored = _devices[device];
        if (stored.enrolledAt == 0) revert NotEnrolled(device);
    }

    function _requireTrusted(address device) private view returns (Device storage stored) {
        stored = _requireEnrolled(device);
        (, bytes32 model) = _requireInForce(device);
        if (!isAccepted(model, stored.firmware)) revert FirmwareRefused(model, stored.firmware);
        if (stored.quarantine != 0) revert InQuarantine(device, stored.quarantine);
    }

    function _requireRole(InstitutionRole expected) private view returns (address by) {
        by = REGISTRY.institution(msg.sender);
        InstitutionRole role = REGISTRY.roleOf(by);
        if (role != expected) revert WrongInstitution(by, role);
    }

    function _requireOperator(address device) private view returns (address operator) {
        (operator,) = _requireInForce(device);
        if (REGISTRY.institution(msg.sender) != operator) revert NotOperator(device, msg.sender);
    }

    /// @dev A device out of force may be quarantined as well.
    function _requireGuard(address device, Device storage stored) private view returns (address by, uint8 bit) {
        by = REGISTRY.institution(msg.sender);
        InstitutionRole role = REGISTRY.roleOf(by);
        if (role == InstitutionRole.Regulator) return (by, _BY_REGULATOR);
        if (by == stored.maker) return (by, _BY_MAKER);
        if (by != stored.operator) revert NotOperator(device, by);
        return (by, _BY_OPERATOR);
    }

    function _requireFirmwareSigned(
        address device,
        address operator,
        bytes32 firmware,
        uint32 number,
        uint40 deadline,
        bytes calldata signature
    ) private view {
        if (block.timestamp > deadline) revert Expired(deadline);
        bytes32 hash = keccak256(abi.encode(FIRMWARE_TYPEHASH, device, operator, firmware, number, deadline));
        _requireSigned(REGISTRY.signerOf(device), hash, signature);
    }

    function _requireSigned(address signer, bytes32 hash, bytes calldata signature) private view {
        if (!SignatureChecker.isValidSignatureNowCalldata(signer, _hashTypedDataV4(hash), signature)) {
            revert InvalidSignature(signer);
        }
    }

    function _requireWithin(uint256 given, uint256 least, uint256 most) private pure {
        if (given < least || given > most) revert InvalidTime(given, least, most);
    }
}
