// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Registry} from "./Registry.sol";
import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title EmergencyAccess
/// @notice Break-glass: reading without prior consent, in an emergency, for a short time, under alert
/// and with mandatory review.
/// @dev Holds per opening one slot with its review, what runs per patient and professional, what
/// each patient refused beforehand, and which openings of a professional await review. Holds no
/// reason in clear and no health data.
///
/// An **opening** is named by the keccak-256 digest of all it consists of. Only that is stored;
/// callers show the opening again, as the alert announced it.
///
/// INVARIANTS
/// - E1: only a physician, surgeon, nurse or paramedic in force at an emergency institution opens, for
///   `MIN_PERIOD` to `MAX_PERIOD`, and at most one opening runs per patient and professional.
/// - E2: nothing is permitted to a professional outside `opensAt <= time < closesAt` of an opening of
///   theirs that nobody ended, nor a kind that it does not name.
/// - E3: nothing is permitted against a patient's present restriction, whenever it was set.
/// - E4: each opening is reviewed at most once, never by who opened it, and nothing is permitted by it after
///   its review: as justified it is reviewed once it is over, as unjustified it ends at once.
/// - E5: nobody opens while a review of theirs is overdue, or while `MAX_UNREVIEWED` await review.
///
/// ASSUMPTIONS
/// - Safety: whoever asks `permits` knows that the professional is in force and signs with its own
///   key: that is the Registry's answer.
/// - Safety: an institution accredits one person as one professional. Under a second address there would be
///   no history, and no review that blocks.
/// - Safety: privacy officers look. The contract forces the review to be given, not to be right.
/// - Liveness: the opener's institution has another professional who is its privacy officer. When the
///   institution is expelled, a regulator's privacy officer reviews, so that nobody stays blocked.
contract EmergencyAccess {
    /* TYPES */

    /// @notice What a privacy officer found.
    enum Verdict {
        None,
        Justified,
        Unjustified
    }

    /// @notice One emergency access.
    /// @param institution Where the professional was accredited when it was opened.
    /// @param opensAt Unix time, in seconds.
    /// @param closesAt Unix time, in seconds; the first second without access.
    /// @param kinds Bit set of kinds of record.
    /// @param reason Digest of the reason, which the institution keeps.
    struct Opening {
        address patient;
        address professional;
        address institution;
        uint40 opensAt;
        uint40 closesAt;
        uint32 kinds;
        bytes32 reason;
    }

    /// @dev One slot: 8 + 8 + 8 bits.
    struct Status {
        bool opened;
        bool ended;
        Verdict verdict;
    }

    /// @dev One slot: 40 + 32 bits.
    struct Running {
        uint40 closesAt;
        uint32 kinds;
    }

    /// @notice What a patient refused beforehand.
    /// @dev One slot: 32 + 8 bits.
    /// @param kinds Bit set of kinds that no emergency opens.
    /// @param optedOut Whether no emergency opens anything.
    struct Restriction {
        uint32 kinds;
        bool optedOut;
    }

    /* CONSTANTS */

    /// @notice The shortest opening.
    uint256 internal constant MIN_PERIOD = 1 minutes;

    /// @notice The longest opening.
    uint256 internal constant MAX_PERIOD = 24 hours;

    /// @notice How soon after its beginning an opening must be reviewed.
    uint256 internal constant REVIEW_PERIOD = 72 hours;

    /// @notice Openings of one professional that may await review at a time.
    uint256 internal constant MAX_UNREVIEWED = 8;

    /* STORAGE */

    /// @notice Who is a professional, where, and in which role.
    Registry public immutable REGISTRY;

    mapping(bytes32 opening => Status) private _statuses;
    mapping(address patient => mapping(address professional => Running)) private _running;
    mapping(address patient => Restriction) private _restrictions;

    // When the review of each unreviewed opening is due; zero where there is none.
    mapping(address professional => uint40[MAX_UNREVIEWED]) private _due;

    /* EVENTS */

    /// @notice The alert: a professional opened a patient's records.
    event EmergencyOpened(
        bytes32 indexed id,
        address indexed patient,
        address indexed professional,
        address institution,
        uint40 opensAt,
        uint40 closesAt,
        uint32 kinds,
        bytes32 reason
    );

    /// @notice The opening ended before its time.
    event EmergencyEnded(bytes32 indexed id, address indexed patient, address indexed professional);

    /// @notice A privacy officer reviewed the opening.
    /// @param note Digest of the officer's note, which the institution keeps.
    event EmergencyReviewed(
        bytes32 indexed id,
        address indexed patient,
        address indexed professional,
        address officer,
        Verdict verdict,
        bytes32 note
    );

    /// @notice The patient's restriction is this one from now on.
    event EmergencyRestricted(address indexed patient, uint32 kinds, bool optedOut);

    /* ERRORS */

    /// @notice The patient's address is zero.
    error NoPatient();

    /// @notice The professional's role does not open, or does not review.
    error WrongRole(address professional, ProfessionalRole role);

    /// @notice The professional's institution is no emergency institution.
    error NotEmergency(address institution, InstitutionRole role);

    /// @notice The opening names no kind of record.
    error NoKinds();

    /// @notice The period lies outside its bounds, in seconds.
    error InvalidPeriod(uint256 period, uint256 least, uint256 most);

    /// @notice The patient refuses every emergency access.
    error OptedOut(address patient);

    /// @notice The patient refuses emergency access to these kinds.
    error KindsRestricted(address patient, uint32 kinds);

    /// @notice An opening runs: another one of the same professional and patient, or the one that would be
    /// found justified before anybody knows what is read by it.
    error StillOpen(uint40 closesAt);

    /// @notice The very same opening was made before.
    error AlreadyOpened(bytes32 id);

    /// @notice A review of the professional's was due.
    error ReviewOverdue(address professional, uint40 due);

    /// @notice So many openings of the professional await review already.
    error TooManyUnreviewed(address professional, uint256 limit);

    /// @notice There is no such opening, or it ended.
    error NotRunning(bytes32 id);

    /// @notice The caller is neither the patient nor who opened.
    error NotParty(address caller);

    /// @notice There is no such opening.
    error UnknownOpening(bytes32 id);

    /// @notice The opening was reviewed before.
    error AlreadyReviewed(bytes32 id, Verdict verdict);

    /// @notice Nobody reviews an opening of their own.
    error OwnReview(address professional);

    /// @notice The officer's institution does not review this opening.
    error WrongInstitution(address expected, address given);

    /// @notice A verdict must be given.
    error NoVerdict();

    /* FUNCTIONS */

    constructor(Registry registry) {
        REGISTRY = registry;
    }

    /// @notice Opens a patient's records to the caller, from now on, without prior consent.
    /// @param kinds Bit set of kinds of record.
    /// @param period In seconds.
    /// @param reason Digest of the reason.
    /// @return id Name of the opening.
    function open(address patient, uint32 kinds, uint40 period, bytes32 reason) external returns (bytes32 id) {
        (address professional, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        _requireMayOpen(professional, role, institution);
        if (patient == address(0)) revert NoPatient();
        if (kinds == 0) revert NoKinds();
        if (period < MIN_PERIOD || period > MAX_PERIOD) revert InvalidPeriod(period, MIN_PERIOD, MAX_PERIOD);
        _requireUnrestricted(patient, kinds);
        Running storage running = _running[patient][professional];
        if (block.timestamp < running.closesAt) revert StillOpen(running.closesAt);

        uint40 opensAt = uint40(block.timestamp);
        Opening memory opening = Opening(patient, professional, institution, opensAt, opensAt + period, kinds, reason);
        id = idOf(opening);
        if (_statuses[id].opened) revert AlreadyOpened(id);
        _statuses[id].opened = true;
        (running.closesAt, running.kinds) = (opening.closesAt, kinds);
        _awaitReview(professional, opensAt);

        _alert(id, opening);
    }

    /// @notice Ends a running opening, from this block on. The patient and who opened can.
    function end(Opening calldata opening) external {
        bytes32 id = idOf(opening);
        if (!_isRunning(id, opening)) revert NotRunning(id);
        if (msg.sender != opening.patient) {
            (address professional,,) = REGISTRY.professional(msg.sender);
            if (professional != opening.professional) revert NotParty(msg.sender);
        }

        _end(id, opening);
    }

    /// @notice Reviews an opening, as a privacy officer of the institution where it was made: when it is over,
    /// or while it runs to find it unjustified, which ends it.
    /// @param note Digest of the officer's note.
    function review(Opening calldata opening, Verdict verdict, bytes32 note) external {
        bytes32 id = idOf(opening);
        Status storage status = _statuses[id];
        address officer = _requireOfficer(opening);
        if (verdict == Verdict.None) revert NoVerdict();
        if (!status.opened) revert UnknownOpening(id);
        if (status.verdict != Verdict.None) revert AlreadyReviewed(id, status.verdict);
        bool runs = _isRunning(id, opening);
        if (runs && verdict == Verdict.Justified) revert StillOpen(opening.closesAt);

        status.verdict = verdict;
        _reviewed(opening.professional, opening.opensAt);

        emit EmergencyReviewed(id, opening.patient, opening.professional, officer, verdict, note);

        if (runs) _end(id, opening);
    }

    /// @notice Refuses emergency access to some kinds, or to everything, from this block on.
    /// @dev Binds openings that run as well. It replaces the caller's earlier restriction.
    function restrict(uint32 kinds, bool optedOut) external {
        _restrictions[msg.sender] = Restriction(kinds, optedOut);

        emit EmergencyRestricted(msg.sender, kinds, optedOut);
    }

    /* Views */

    /// @notice Whether an emergency lets `professional` read the patient's records of kind `kind` now.
    function permits(address patient, address professional, uint8 kind) external view returns (bool) {
        Running memory running = _running[patient][professional];
        Restriction memory restriction = _restrictions[patient];
        if (block.timestamp >= running.closesAt || restriction.optedOut) return false;
        return (uint256(running.kinds & ~restriction.kinds) >> kind) & 1 == 1;
    }

    /// @notice What the patient refuses.
    function restrictionOf(address patient) external view returns (Restriction memory) {
        return _restrictions[patient];
    }

    /// @notice Whether the opening was made, whether it was ended early, and what its review found.
    function statusOf(bytes32 id) external view returns (Status memory) {
        return _statuses[id];
    }

    /// @notice When the review of each opening that awaits one is due; zero where there is none.
    function unreviewed(address professional) external view returns (uint40[MAX_UNREVIEWED] memory due) {
        return _due[professional];
    }

    /// @notice Name of an opening.
    function idOf(Opening memory opening) public pure returns (bytes32) {
        return keccak256(abi.encode(opening));
    }

    /* Internal */

    function _alert(bytes32 id, Opening memory opening) private {
        emit EmergencyOpened(
            id,
            opening.patient,
            opening.professional,
            opening.institution,
            opening.opensAt,
            opening.closesAt,
            opening.kinds,
            opening.reason
        );
    }

    function _isRunning(bytes32 id, Opening calldata opening) private view returns (bool) {
        Status memory status = _statuses[id];
        return status.opened && !status.ended && block.timestamp < opening.closesAt;
    }

    function _end(bytes32 id, Opening calldata opening) private {
        _statuses[id].ended = true;
        delete _running[opening.patient][opening.professional];

        emit EmergencyEnded(id, opening.patient, opening.professional);
    }

    /// @dev Takes a free place for the review, unless one is overdue.
    function _awaitReview(address professional, uint40 opensAt) private {
        uint40[MAX_UNREVIEWED] storage due = _due[professional];
        uint256 free = MAX_UNREVIEWED;
        for (uint256 i; i < MAX_UNREVIEWED; ++i) {
            uint40 time = due[i];
            if (time == 0) free = i;
            else if (time <= block.timestamp) revert ReviewOverdue(professional, time);
        }
        if (free == MAX_UNREVIEWED) revert TooManyUnreviewed(professional, MAX_UNREVIEWED);
        due[free] = opensAt + uint40(REVIEW_PERIOD);
    }

    /// @dev Openings of the same second are due in the same second, so either place will do.
    function _reviewed(address professional, uint40 opensAt) private {
        uint40[MAX_UNREVIEWED] storage due = _due[professional];
        uint256 i;
        while (due[i] != opensAt + REVIEW_PERIOD) ++i;
        due[i] = 0;
    }

    function _requireMayOpen(address professional, ProfessionalRole role, address institution) private view {
        bool mayOpen = role == ProfessionalRole.Physician || role == ProfessionalRole.Surgeon
            || role == ProfessionalRole.Nurse || role == ProfessionalRole.Paramedic;
        if (!mayOpen) revert WrongRole(professional, role);
        InstitutionRole place = REGISTRY.roleOf(institution);
        if (place != InstitutionRole.Emergency) revert NotEmergency(institution, place);
    }

    function _requireUnrestricted(address patient, uint32 kinds) private view {
        Restriction memory restriction = _restrictions[patient];
        if (restriction.optedOut) revert OptedOut(patient);
        if (kinds & restriction.kinds != 0) revert KindsRestricted(patient, kinds & restriction.kinds);
    }

    function _requireOfficer(Opening calldata opening) private view returns (address officer) {
        ProfessionalRole role;
        address institution;
        (officer, role, institution) = REGISTRY.professional(msg.sender);
        if (role != ProfessionalRole.PrivacyOfficer) revert WrongRole(officer, role);
        if (officer == opening.professional) revert OwnReview(officer);
        if (institution == opening.institution) return officer;
        bool standsIn = REGISTRY.roleOf(institution) == InstitutionRole.Regulator
            && REGISTRY.roleOf(opening.institution) == InstitutionRole.None;
        if (!standsIn) revert WrongInstitution(opening.institution, institution);
    }
}
