// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "./Ids.sol";
import {IServices} from "./IServices.sol";
import {Registry} from "./Registry.sol";
import {Relationships} from "./Relationships.sol";
import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title Prescriptions
/// @notice What was prescribed, which pharmacy may see it, and what was dispensed: never twice, never
/// too much, never too late.
/// @dev Holds per prescription who, how much and until when; permits per pharmacy; the running claim.
/// Holds no name of a medicine and no dosage: those are in the sealed record behind the digest.
///
///     None -> Issued <-> Claimed -> Completed
///               |           |
///               +-----------+-> Cancelled
///     Issued and Claimed turn Expired by the clock alone. A controlled prescription is AwaitingSignature
///     instead of Issued until a second doctor signed it.
///
/// A prescription has a number of **fills** of one quantity each. A fill can be dispensed in parts,
/// and by another pharmacy after the claim of the first is over. Times and quantities are in seconds
/// and in whole units of the medicine.
///
/// INVARIANTS
/// - P1: what was dispensed is at most `quantity` in each fill, and `quantity * fills` in all.
/// - P2: at most one pharmacy holds the claim, for at most `CLAIM_PERIOD`, and only it dispenses.
/// - P3: a pharmacy reads, claims and dispenses only while prescriber and patient both permit it.
/// - P4: nothing is dispensed that is expired, cancelled or completed, nor a product past its date.
/// - P5: Completed and Cancelled are final.
/// - P6: a controlled prescription is dispensed only after a second doctor of the prescriber's institution
///   signed it.
/// - P7: each fill has one receipt, from its last unit on, which never changes but for the patient's confirmation.
/// - P8: an identifier belongs to who prescribed, so nobody can take it first.
///
/// ASSUMPTIONS
/// - Safety: a pharmacist records what was handed out. The contract refuses a wrong record, it cannot
///   see the counter.
/// - Safety: a prescription stays valid when its prescriber or their institution goes out of force;
///   the patient can cancel it.
/// - Safety: the pharmacy that hands out the last unit of a fill has its receipt, also for the parts that another
///   one handed out before; the events tell who did. What stays incomplete has no receipt.
/// - Liveness: a pharmacy that claims and goes silent blocks the others for `CLAIM_PERIOD` at a time;
///   the patient or the prescriber withdraws its permit.
contract Prescriptions is IServices {
    /* TYPES */

    /// @notice Where a prescription stands.
    enum State {
        None,
        Issued,
        Claimed,
        Completed,
        Cancelled,
        Expired,
        AwaitingSignature
    }

    /// @notice What is prescribed, for whom, and how often.
    /// @param digest Digest of the sealed prescription.
    /// @param quantity Units in one fill.
    /// @param fills How often it is filled, 1 to `MAX_FILLS`.
    /// @param validUntil Unix time in seconds; the first second without dispensing.
    /// @param fillInterval Least time between the end of a fill and the claim for the next, in seconds.
    struct Terms {
        address patient;
        bytes32 digest;
        uint32 quantity;
        uint8 fills;
        uint40 validUntil;
        uint40 fillInterval;
    }

    /// @notice Where a prescription stands, in storage: `stored` is `Issued`, `Completed` or
    /// `Cancelled`, and the clock says the rest.
    /// @dev Three slots: 160 + 32 + 8 + 8 + 8 + 40 = 256 bits; 160 + 40 + 40 + 8 + 8 = 256 bits;
    /// 160 + 40 + 32 = 232 bits. A claim changes only the third.
    /// @param unsigned Whether it is controlled and a second doctor has not signed it.
    /// @param asWritten Whether the prescriber forbids another product.
    struct Prescription {
        address patient;
        uint32 quantity;
        uint8 fills;
        uint8 filled;
        State stored;
        uint40 validUntil;
        address prescriber;
        uint40 fillInterval;
        uint40 nextFillAt;
        bool unsigned;
        bool asWritten;
        address pharmacy;
        uint40 claimedUntil;
        uint32 dispensed;
    }

    /// @notice What a pharmacy handed out.
    /// @param quantity Units.
    /// @param productExpiry Unix time in seconds; the first second at which the product is past its date.
    /// @param batch Digest of the product's batch.
    /// @param record Digest of the sealed dispensing record, dosage included.
    struct Dispensing {
        uint32 quantity;
        uint40 productExpiry;
        bytes32 batch;
        bytes32 record;
    }

    /// @notice The receipt of a fill.
    /// @dev Two slots: 160 + 40 + 8 = 208 bits; 256 bits.
    /// @param confirmed Whether the patient says that they have it.
    /// @param record Digest of the sealed record of its last dispensing.
    struct Receipt {
        address pharmacy;
        uint40 completedAt;
        bool confirmed;
        bytes32 record;
    }

    /* CONSTANTS */

    /// @notice How long a pharmacy holds a claim.
    uint256 internal constant CLAIM_PERIOD = 2 hours;

    /// @notice The most fills of one prescription.
    uint256 internal constant MAX_FILLS = 12;

    /// @notice The longest validity, and the longest interval between fills: a year.
    uint256 internal constant MAX_VALIDITY = 366 days;

    uint256 private constant _BY_PRESCRIBER = 1;
    uint256 private constant _BY_PATIENT = 2;
    uint256 private constant _BY_BOTH = 3;

    /* STORAGE */

    /// @notice Who is a professional, where, and in which role.
    Registry public immutable REGISTRY;

    /// @notice Who keeps records for whom.
    Relationships public immutable RELATIONSHIPS;

    mapping(bytes32 id => Prescription) private _prescriptions;
    mapping(bytes32 id => mapping(address pharmacy => uint256 by)) private _permits;
    mapping(bytes32 id => mapping(uint256 fill => Receipt)) private _receipts;
    mapping(bytes32 id => address institution) private _countersigning;

    /* EVENTS */

    /// @notice A prescriber prescribed.
    event PrescriptionIssued(
        bytes32 indexed id, address indexed patient, address indexed prescriber, address institution, Terms terms
    );

    /// @notice The prescriber, or the patient, permits a pharmacy.
    event PharmacyPermitted(bytes32 indexed id, address indexed pharmacy, address indexed by);

    /// @notice The prescriber, or the patient, permits a pharmacy no more.
    event PharmacyWithdrawn(bytes32 indexed id, address indexed pharmacy, address indexed by);

    /// @notice A pharmacy holds the claim until a time.
    event PrescriptionClaimed(
        bytes32 indexed id, address indexed pharmacy, address indexed pharmacist, uint40 claimedUntil
    );

    /// @notice The pharmacy gave its claim up.
    event ClaimReleased(bytes32 indexed id, address indexed pharmacy, address indexed pharmacist);

    /// @notice A pharmacist handed something out.
    /// @param fill Which fill it belongs to, from 1.
    /// @param remaining Units left in that fill. At zero the claim is over.
    event Dispensed(
        bytes32 indexed id,
        address indexed pharmacy,
        address indexed pharmacist,
        address patient,
        uint8 fill,
        uint32 remaining,
        Dispensing dispensing
    );

    /// @notice Every fill was dispensed. The pharmacist signed the last one.
    event PrescriptionCompleted(
        bytes32 indexed id, address indexed patient, address indexed prescriber, address pharmacist
    );

    /// @notice The prescriber, or the patient, cancelled it.
    event PrescriptionCancelled(bytes32 indexed id, address indexed patient, address indexed by);

    /// @notice The prescription is controlled: it counts when a second doctor signed it.
    event SignatureAwaited(bytes32 indexed id, address indexed institution);

    /// @notice A second doctor signed a controlled prescription.
    event PrescriptionCountersigned(bytes32 indexed id, address indexed patient, address indexed by);

    /// @notice The prescriber forbids another product.
    event SubstitutionForbidden(bytes32 indexed id, address indexed prescriber);

    /// @notice The pharmacist hands out another product of the same kind.
    /// @param product Digest of the product.
    /// @param reason Digest of the sealed reason.
    event ProductSubstituted(
        bytes32 indexed id, address indexed pharmacy, address indexed pharmacist, bytes32 product, bytes32 reason
    );

    /// @notice The patient has what was dispensed in a fill.
    event CollectionConfirmed(bytes32 indexed id, address indexed patient, address indexed pharmacy, uint256 fill);

    /* ERRORS */

    /// @notice Nobody signs twice, and only the prescriber's institution signs.
    error NotSecond(address professional, address institution);

    /// @notice The prescriber forbids another product.
    error SubstitutionRefused(bytes32 id);

    /// @notice The fill is not complete, or was confirmed before.
    error NothingToConfirm(bytes32 id, uint256 fill);

    /// @notice The professional's role does not do this.
    error WrongRole(address professional, ProfessionalRole role);

    /// @notice The institution has another role.
    error WrongInstitution(address institution, InstitutionRole role);

    /// @notice The prescriber's institution keeps no records for the patient.
    error NotActive(address patient, address steward);

    /// @notice Nobody prescribes for themselves.
    error OwnPrescription(address prescriber);

    /// @notice The identifier was used before.
    error AlreadyIssued(bytes32 id);

    /// @notice A quantity or a number of fills is out of bounds.
    error InvalidTerms(uint32 quantity, uint8 fills);

    /// @notice The time has passed, or lies too far ahead, in seconds.
    error InvalidPeriod(uint256 given, uint256 least, uint256 most);

    /// @notice This cannot be done to a prescription in that state.
    error WrongState(bytes32 id, State state);

    /// @notice The caller is neither the prescriber nor the patient.
    error NotParty(address caller);

    /// @notice The prescriber, the patient or both do not permit the pharmacy.
    error NotPermitted(bytes32 id, address pharmacy);

    /// @notice The next fill is too early.
    error TooEarly(uint40 nextFillAt);

    /// @notice Another pharmacy, or none, holds the claim.
    error NotClaimant(bytes32 id, address pharmacy);

    /// @notice Nothing, or more than is left in the fill, cannot be dispensed.
    error WrongQuantity(uint32 given, uint32 remaining);

    /// @notice The product is past its date.
    error ProductExpired(uint40 productExpiry);

    /* FUNCTIONS */

    constructor(Registry registry, Relationships relationships) {
        REGISTRY = registry;
        RELATIONSHIPS = relationships;
    }

    /* Prescriber and patient */

    /// @notice Prescribes, as a physician or surgeon of an institution that keeps the patient's records.
    /// @param salt Random, never used before by the caller.
    /// @return id `makeId(prescriber, salt)`, which is also the name of the sealed record.
    function issue(bytes32 salt, Terms calldata terms) external returns (bytes32 id) {
        (id,) = _issue(salt, terms);
    }

    /// @notice Prescribes a controlled medicine. It counts when another doctor of the institution signed it, too.
    /// @param salt Random, never used before by the caller.
    /// @return id `makeId(prescriber, salt)`, which is also the name of the sealed record.
    function issueControlled(bytes32 salt, Terms calldata terms) external returns (bytes32 id) {
        address institution;
        (id, institution) = _issue(salt, terms);

        _prescriptions[id].unsigned = true;
        _countersigning[id] = institution;

        emit SignatureAwaited(id, institution);
    }

    /// @notice Signs a controlled prescription, as another physician or surgeon of the prescriber's institution.
    /// @dev Terms never change after they were issued, so the identifier says what is signed.
    function countersign(bytes32 id) external {
        State state = stateOf(id);
        if (state != State.AwaitingSignature) revert WrongState(id, state);
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        if (role != ProfessionalRole.Physician && role != ProfessionalRole.Surgeon) revert WrongRole(by, role);
        Prescription storage prescription = _prescriptions[id];
        if (by == prescription.prescriber || institution != _countersigning[id]) revert NotSecond(by, institution);
        if (by == prescription.patient || msg.sender == prescription.patient) revert OwnPrescription(by);

        prescription.unsigned = false;
        delete _countersigning[id];

        emit PrescriptionCountersigned(id, prescription.patient, by);
    }

    /// @notice Forbids the pharmacist to hand out another product, as the prescriber.
    function forbidSubstitution(bytes32 id) external {
        if (_requireParty(id) != _BY_PRESCRIBER) revert NotParty(msg.sender);
        State stored = _prescriptions[id].stored;
        if (stored != State.Issued) revert WrongState(id, stored);

        _prescriptions[id].asWritten = true;

        emit SubstitutionForbidden(id, _prescriptions[id].prescriber);
    }

    /// @notice Confirms, as the patient, that what a fill dispensed was handed over.
    /// @param fill From 1.
    function confirmCollection(bytes32 id, uint256 fill) external {
        address patient = _prescriptions[id].patient;
        if (msg.sender != patient) revert NotParty(msg.sender);
        Receipt storage receipt = _receipts[id][fill];
        if (receipt.completedAt == 0 || receipt.confirmed) revert NothingToConfirm(id, fill);

        receipt.confirmed = true;

        emit CollectionConfirmed(id, patient, receipt.pharmacy, fill);
    }

    function _issue(bytes32 salt, Terms calldata terms) private returns (bytes32 id, address institution) {
        address prescriber;
        ProfessionalRole role;
        (prescriber, role, institution) = REGISTRY.professional(msg.sender);
        if (role != ProfessionalRole.Physician && role != ProfessionalRole.Surgeon) revert WrongRole(prescriber, role);
        if (terms.patient == prescriber || terms.patient == msg.sender) revert OwnPrescription(prescriber);
        if (!RELATIONSHIPS.isActive(terms.patient, institution)) revert NotActive(terms.patient, institution);
        if (terms.quantity == 0 || terms.fills == 0 || terms.fills > MAX_FILLS) {
            revert InvalidTerms(terms.quantity, terms.fills);
        }
        _requireWithin(terms.validUntil, block.timestamp + 1, block.timestamp + MAX_VALIDITY);
        _requireWithin(terms.fillInterval, 0, MAX_VALIDITY);
        id = makeId(prescriber, salt);
        Prescription storage prescription = _prescriptions[id];
        if (prescription.stored != State.None) revert AlreadyIssued(id);

        prescription.patient = terms.patient;
        prescription.quantity = terms.quantity;
        prescription.fills = terms.fills;
        prescription.stored = State.Issued;
        prescription.validUntil = terms.validUntil;
        prescription.prescriber = prescriber;
        prescription.fillInterval = terms.fillInterval;

        emit PrescriptionIssued(id, terms.patient, prescriber, institution, terms);
    }

    /// @notice Permits a pharmacy to read and fill. It takes the prescriber's and the patient's permit.
    function permit(bytes32 id, address pharmacy) external {
        uint256 by = _requireParty(id);
        InstitutionRole role = REGISTRY.roleOf(pharmacy);
        if (role != InstitutionRole.Pharmacy) revert WrongInstitution(pharmacy, role);

        _permits[id][pharmacy] |= by;

        emit PharmacyPermitted(id, pharmacy, _partyOf(id, by));
    }

    /// @notice Takes the caller's permit back, from this block on. Dispensing stops.
    /// @dev Does not revert when there was none: withdrawing must always work.
    function withdrawPermit(bytes32 id, address pharmacy) external {
        uint256 by = _requireParty(id);

        _permits[id][pharmacy] &= ~by;

        emit PharmacyWithdrawn(id, pharmacy, _partyOf(id, by));
    }

    /// @notice Cancels a prescription, even while it is claimed.
    function cancel(bytes32 id) external {
        uint256 by = _requireParty(id);
        Prescription storage prescription = _prescriptions[id];
        if (prescription.stored != State.Issued) revert WrongState(id, prescription.stored);

        prescription.stored = State.Cancelled;

        emit PrescriptionCancelled(id, prescription.patient, _partyOf(id, by));
    }

    /* Pharmacy */

    /// @notice Claims a prescription for the caller's pharmacy, so that no other fills it meanwhile.
    function claim(bytes32 id) external {
        (address pharmacist, address pharmacy) = _requirePharmacist();
        Prescription storage prescription = _prescriptions[id];
        State state = stateOf(id);
        if (state != State.Issued) revert WrongState(id, state);
        if (_permits[id][pharmacy] != _BY_BOTH) revert NotPermitted(id, pharmacy);
        if (block.timestamp < prescription.nextFillAt) revert TooEarly(prescription.nextFillAt);

        uint40 claimedUntil = uint40(block.timestamp + CLAIM_PERIOD);
        (prescription.pharmacy, prescription.claimedUntil) = (pharmacy, claimedUntil);

        emit PrescriptionClaimed(id, pharmacy, pharmacist, claimedUntil);
    }

    /// @notice Gives the claim of the caller's pharmacy up before its time.
    function release(bytes32 id) external {
        (address pharmacist, address pharmacy) = _requirePharmacist();
        Prescription storage prescription = _prescriptions[id];
        _requireClaimant(id, prescription, pharmacy);

        (prescription.pharmacy, prescription.claimedUntil) = (address(0), 0);

        emit ClaimReleased(id, pharmacy, pharmacist);
    }

    /// @notice Says, under the claim of the caller's pharmacy, that another product of the same kind is handed out.
    /// @param product Digest of the product.
    /// @param reason Digest of the sealed reason.
    function substitute(bytes32 id, bytes32 product, bytes32 reason) external {
        (address pharmacist, address pharmacy) = _requirePharmacist();
        State state = stateOf(id);
        if (state != State.Claimed) revert WrongState(id, state);
        _requireClaimant(id, _prescriptions[id], pharmacy);
        if (_permits[id][pharmacy] != _BY_BOTH) revert NotPermitted(id, pharmacy);
        if (_prescriptions[id].asWritten) revert SubstitutionRefused(id);

        emit ProductSubstituted(id, pharmacy, pharmacist, product, reason);
    }

    /// @notice Records what was handed out, whole or in part, under the claim of the caller's pharmacy.
    function dispense(bytes32 id, Dispensing calldata dispensing) external {
        (address pharmacist, address pharmacy) = _requirePharmacist();
        Prescription memory prescription = _prescriptions[id];
        State state = stateOf(id);
        if (state != State.Claimed) revert WrongState(id, state);
        _requireClaimant(id, _prescriptions[id], pharmacy);
        if (_permits[id][pharmacy] != _BY_BOTH) revert NotPermitted(id, pharmacy);
        uint32 remaining = prescription.quantity - prescription.dispensed;
        if (dispensing.quantity == 0 || dispensing.quantity > remaining) {
            revert WrongQuantity(dispensing.quantity, remaining);
        }
        if (dispensing.productExpiry <= block.timestamp) revert ProductExpired(dispensing.productExpiry);

        remaining -= dispensing.quantity;
        emit Dispensed(id, pharmacy, pharmacist, prescription.patient, prescription.filled + 1, remaining, dispensing);
        if (remaining == 0) _finishFill(id, prescription, pharmacist, dispensing.record);
        else _prescriptions[id].dispensed = prescription.dispensed + dispensing.quantity;
    }

    /* Views */

    /// @notice Where a prescription stands now. Expired is the clock's word, and goes before Claimed.
    function stateOf(bytes32 id) public view returns (State) {
        Prescription storage prescription = _prescriptions[id];
        if (prescription.stored != State.Issued) return prescription.stored;
        if (block.timestamp >= prescription.validUntil) return State.Expired;
        if (prescription.unsigned) return State.AwaitingSignature;
        return block.timestamp < prescription.claimedUntil ? State.Claimed : State.Issued;
    }

    /// @notice Whether a pharmacy may read the prescription now: prescriber and patient both permit
    /// it, and it is neither completed nor cancelled nor expired.
    function readable(bytes32 id, address pharmacy) external view returns (bool) {
        State state = stateOf(id);
        return (state == State.Issued || state == State.Claimed) && _permits[id][pharmacy] == _BY_BOTH;
    }

    /// @notice Who permits the pharmacy.
    function permitsOf(bytes32 id, address pharmacy) external view returns (bool prescriber, bool patient) {
        uint256 by = _permits[id][pharmacy];
        return (by & _BY_PRESCRIBER != 0, by & _BY_PATIENT != 0);
    }

    /// @notice All that is stored of a prescription.
    function prescriptionOf(bytes32 id) external view returns (Prescription memory) {
        return _prescriptions[id];
    }

    /// @notice The receipt of a fill, from 1. All zero until it is complete.
    function receiptOf(bytes32 id, uint256 fill) external view returns (Receipt memory) {
        return _receipts[id][fill];
    }

    /// @inheritdoc IServices
    /// @dev A part is a fill.
    function serviceOf(bytes32 id, uint256 part)
        external
        view
        returns (address patient, address provider, uint40 completedAt, bytes32 evidence)
    {
        Receipt memory receipt = _receipts[id][part];
        if (receipt.completedAt == 0) return (address(0), address(0), 0, 0);
        return (_prescriptions[id].patient, receipt.pharmacy, receipt.completedAt, receipt.record);
    }

    /* Internal */

    function _finishFill(bytes32 id, Prescription memory prescription, address pharmacist, bytes32 record) private {
        Prescription storage stored = _prescriptions[id];
        uint8 filled = prescription.filled + 1;
        stored.filled = filled;
        _receipts[id][filled] = Receipt(prescription.pharmacy, uint40(block.timestamp), false, record);
        stored.nextFillAt = uint40(block.timestamp) + prescription.fillInterval;
        (stored.pharmacy, stored.claimedUntil, stored.dispensed) = (address(0), 0, 0);
        if (filled < prescription.fills) return;

        stored.stored = State.Completed;
        emit PrescriptionCompleted(id, prescription.patient, prescription.prescriber, pharmacist);
    }

    function _partyOf(bytes32 id, uint256 by) private view returns (address) {
        return by == _BY_PATIENT ? _prescriptions[id].patient : _prescriptions[id].prescriber;
    }

    function _requireParty(bytes32 id) private view returns (uint256 by) {
        Prescription storage prescription = _prescriptions[id];
        if (prescription.stored == State.None) revert WrongState(id, State.None);
        if (msg.sender == prescription.patient) return _BY_PATIENT;
        (address prescriber,,) = REGISTRY.professional(msg.sender);
        if (prescriber != prescription.prescriber) revert NotParty(msg.sender);
        return _BY_PRESCRIBER;
    }

    function _requirePharmacist() private view returns (address pharmacist, address pharmacy) {
        ProfessionalRole role;
        (pharmacist, role, pharmacy) = REGISTRY.professional(msg.sender);
        if (role != ProfessionalRole.Pharmacist) revert WrongRole(pharmacist, role);
        InstitutionRole place = REGISTRY.roleOf(pharmacy);
        if (place != InstitutionRole.Pharmacy) revert WrongInstitution(pharmacy, place);
    }

    function _requireClaimant(bytes32 id, Prescription storage prescription, address pharmacy) private view {
        bool holds = prescription.pharmacy == pharmacy && block.timestamp < prescription.claimedUntil;
        if (!holds) revert NotClaimant(id, pharmacy);
    }

    function _requireWithin(uint256 given, uint256 least, uint256 most) private pure {
        if (given < least || given > most) revert InvalidPeriod(given, least, most);
    }
}
