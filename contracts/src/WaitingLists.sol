// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {makeId} from "./Ids.sol";
import {Registry} from "./Registry.sol";
import {Relationships} from "./Relationships.sol";
import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title WaitingLists
/// @notice Who waits for an appointment, since when, and what became of it; and the monthly census, each
/// row of which can be proven and whose total can be recomputed.
/// @dev Holds per listing who, where it stands and its times; per hospital and month the Merkle root of
/// the census with the number of its rows and their total. Holds no specialty of a patient and no reason:
/// those are in sealed records behind digests. A census counts people and names none.
///
///     Listed -> Prioritised <-> Scheduled -> Attended
///        |           |              |
///        +-----------+--------------+-> Removed
///     A patient who did not attend goes back from Scheduled to Prioritised.
///
/// A leaf is `keccak256(bytes.concat(keccak256(abi.encode(number, specialty, group, count))))`, with the row's number
/// from 0; of a pair the smaller node is hashed first, and a node without a sibling moves up as it is. Because of the
/// numbers, the same rows in another order make another root.
///
/// INVARIANTS
/// - Q1: one listing per referral and hospital is live at a time; Attended and Removed are final.
/// - Q2: a listing keeps the time at which it was made, whatever happens to it: waiting is not made shorter.
/// - Q3: each step is by who owns it, in force at the hospital at that moment.
/// - Q4: a census never changes; a correction is another version beside it.
/// - Q5: `isTotal` is true exactly for the rows, in their order, that make root, number and total.
///
/// ASSUMPTIONS
/// - Safety: the digest of a referral is salted, and the same for all who list it.
/// - Safety: a publisher of a census counts rightly. Who has the rows finds a wrong total, not a wrong row.
contract WaitingLists {
    /* TYPES */

    /// @notice Where a listing stands.
    enum State {
        None,
        Listed,
        Prioritised,
        Scheduled,
        Attended,
        Removed
    }

    /// @dev Four slots: 160 + 8 + 8 + 8 + 40 = 224 bits; 160 + 40 = 200 bits; 160 bits; 256 bits.
    /// @param priority 1 is the most urgent; zero before it was given.
    /// @param missed How often the patient did not attend.
    /// @param listedAt Unix time, in seconds.
    /// @param appointmentAt Unix time, in seconds; zero while there is no appointment.
    struct Listing {
        address patient;
        State state;
        uint8 priority;
        uint8 missed;
        uint40 listedAt;
        address hospital;
        uint40 appointmentAt;
        address referrer;
        bytes32 referral;
    }

    /// @notice One row of a census, as the national files have it.
    /// @param specialty The specialty's HIPE code.
    /// @param group Digest of the other attributes of the row: case type, ages, time band.
    /// @param count People.
    struct Row {
        uint16 specialty;
        bytes32 group;
        uint32 count;
    }

    /// @dev Two slots: 256 bits; 32 + 64 + 40 bits.
    struct Census {
        bytes32 root;
        uint32 rows;
        uint64 total;
        uint40 publishedAt;
    }

    /* CONSTANTS */

    /// @notice The least urgent priority.
    uint256 internal constant MAX_PRIORITY = 4;

    /// @notice The furthest that an appointment lies ahead.
    uint256 internal constant MAX_AHEAD = 2 * 366 days;

    /* STORAGE */

    /// @notice Who is a professional, where, and in which role.
    Registry public immutable REGISTRY;

    /// @notice Who keeps records for whom.
    Relationships public immutable RELATIONSHIPS;

    mapping(bytes32 id => Listing) private _listings;
    mapping(address hospital => mapping(bytes32 referral => bytes32 id)) private _live;
    mapping(address publisher => mapping(bytes32 hospital => mapping(uint32 month => Census[]))) private _censuses;

    /* EVENTS */

    /// @notice A doctor put a patient on a hospital's list.
    /// @param entry Digest of the sealed entry.
    event PatientListed(
        bytes32 indexed id,
        address indexed patient,
        address indexed hospital,
        address referrer,
        bytes32 referral,
        bytes32 entry
    );

    /// @notice The hospital gave a priority.
    event ListingPrioritised(bytes32 indexed id, address indexed patient, address indexed by, uint8 priority);

    /// @notice The patient has an appointment.
    event AppointmentScheduled(bytes32 indexed id, address indexed patient, address indexed by, uint40 appointmentAt);

    /// @notice The patient came.
    event PatientAttended(bytes32 indexed id, address indexed patient, address indexed by, uint40 waited);

    /// @notice The patient did not come.
    event AppointmentMissed(bytes32 indexed id, address indexed patient, address indexed by, uint8 missed);

    /// @notice The patient waits no longer.
    /// @param reason Digest of the sealed reason.
    event ListingRemoved(bytes32 indexed id, address indexed patient, address indexed by, bytes32 reason);

    /// @notice A census, or a correction of one.
    /// @param version From 1.
    event CensusPublished(
        address indexed publisher,
        bytes32 indexed hospital,
        uint32 indexed month,
        uint256 version,
        bytes32 root,
        uint32 rows,
        uint64 total
    );

    /* ERRORS */

    /// @notice The professional's role or institution does not do this step.
    error NotAllowed(address professional, ProfessionalRole role, address institution);

    /// @notice The institution is no hospital.
    error NotHospital(address institution, InstitutionRole role);

    /// @notice The referrer's institution keeps no records for the patient.
    error NotActive(address patient, address steward);

    /// @notice The identifier was used before.
    error AlreadyListed(bytes32 id);

    /// @notice The referral is on the hospital's list.
    error StillLive(bytes32 referral, bytes32 id);

    /// @notice This step does not follow on that state.
    error WrongState(bytes32 id, State state);

    /// @notice The priority is none.
    error InvalidPriority(uint8 given, uint256 most);

    /// @notice The time lies outside its bounds, in seconds.
    error InvalidTime(uint256 given, uint256 least, uint256 most);

    /// @notice A month is written as year times 100 plus month, and not in the future.
    error InvalidMonth(uint32 month);

    /// @notice A census has a root and rows.
    error InvalidCensus(bytes32 root, uint32 rows);

    /// @notice A digest that must be given is zero.
    error Zero();

    /* FUNCTIONS */

    constructor(Registry registry, Relationships relationships) {
        REGISTRY = registry;
        RELATIONSHIPS = relationships;
    }

    /* Listings */

    /// @notice Puts a patient on a hospital's list, as a physician or surgeon of an institution that keeps
    /// the patient's records.
    /// @param salt Random, never used before by the caller.
    /// @param referral Salted digest of the referral.
    /// @param entry Digest of the sealed entry.
    /// @return id `makeId(referrer, salt)`.
    function list(bytes32 salt, address patient, address hospital, bytes32 referral, bytes32 entry)
        external
        returns (bytes32 id)
    {
        (address referrer, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        if (!_isDoctor(role)) revert NotAllowed(referrer, role, institution);
        if (!RELATIONSHIPS.isActive(patient, institution)) revert NotActive(patient, institution);
        InstitutionRole place = REGISTRY.roleOf(hospital);
        if (place != InstitutionRole.Hospital) revert NotHospital(hospital, place);
        if (referral == 0) revert Zero();
        id = makeId(referrer, salt);
        if (_listings[id].state != State.None) revert AlreadyListed(id);
        // Bound to the patient, so that nobody blocks a referral by listing it for somebody else.
        bytes32 key = _keyOf(patient, referral);
        if (_live[hospital][key] != 0) revert StillLive(referral, _live[hospital][key]);

        _live[hospital][key] = id;
        _listings[id] = Listing(patient, State.Listed, 0, 0, uint40(block.timestamp), hospital, 0, referrer, referral);

        emit PatientListed(id, patient, hospital, referrer, referral, entry);
    }

    /// @notice Gives a priority, as a physician or surgeon of the hospital; also another one.
    /// @param priority 1, the most urgent, to `MAX_PRIORITY`.
    function prioritise(bytes32 id, uint8 priority) external {
        Listing storage listing = _listings[id];
        State state = listing.state;
        if (state != State.Listed && state != State.Prioritised) revert WrongState(id, state);
        address by = _requireHospital(listing, false);
        if (priority == 0 || priority > MAX_PRIORITY) revert InvalidPriority(priority, MAX_PRIORITY);

        (listing.state, listing.priority) = (State.Prioritised, priority);

        emit ListingPrioritised(id, listing.patient, by, priority);
    }

    /// @notice Gives an appointment, as a physician, surgeon or nurse of the hospital; also another one.
    /// @param appointmentAt Unix time, in seconds.
    function schedule(bytes32 id, uint40 appointmentAt) external {
        Listing storage listing = _listings[id];
        State state = listing.state;
        if (state != State.Prioritised && state != State.Scheduled) revert WrongState(id, state);
        address by = _requireHospital(listing, true);
        if (appointmentAt < block.timestamp || appointmentAt > block.timestamp + MAX_AHEAD) {
            revert InvalidTime(appointmentAt, block.timestamp, block.timestamp + MAX_AHEAD);
        }

        (listing.state, listing.appointmentAt) = (State.Scheduled, appointmentAt);

        emit AppointmentScheduled(id, listing.patient, by, appointmentAt);
    }

    /// @notice Says that the patient came, as a physician, surgeon or nurse of the hospital, not before the time.
    function attend(bytes32 id) external {
        (Listing storage listing, address by) = _requireDue(id);

        listing.state = State.Attended;
        delete _live[listing.hospital][_keyOf(listing.patient, listing.referral)];

        emit PatientAttended(id, listing.patient, by, uint40(block.timestamp) - listing.listedAt);
    }

    /// @notice Says that the patient did not come, as a physician, surgeon or nurse of the hospital, not
    /// before the time. The patient waits on.
    function miss(bytes32 id) external {
        (Listing storage listing, address by) = _requireDue(id);

        (listing.state, listing.appointmentAt) = (State.Prioritised, 0);
        if (listing.missed != type(uint8).max) ++listing.missed;

        emit AppointmentMissed(id, listing.patient, by, listing.missed);
    }

    /// @notice Takes the patient off the list, as the patient, who referred, or a physician or surgeon of the
    /// hospital.
    /// @param reason Digest of the sealed reason. There must be one.
    function remove(bytes32 id, bytes32 reason) external {
        Listing storage listing = _listings[id];
        State state = listing.state;
        if (state == State.None || state > State.Scheduled) revert WrongState(id, state);
        address by = msg.sender;
        if (by != listing.patient) {
            (by,,) = REGISTRY.professional(msg.sender);
            if (by != listing.referrer) _requireHospital(listing, false);
        }
        if (reason == 0) revert Zero();

        listing.state = State.Removed;
        delete _live[listing.hospital][_keyOf(listing.patient, listing.referral)];

        emit ListingRemoved(id, listing.patient, by, reason);
    }

    /* Censuses */

    /// @notice Publishes the census of a hospital and month, or a correction, as any institution: a hospital
    /// of its own list, a regulator of others'.
    /// @param hospital The hospital's number in the national files, as text at the left of 32 bytes.
    /// @param month Year times 100 plus month.
    /// @param total The sum of the rows' counts, as published.
    /// @return version From 1.
    function publishCensus(bytes32 hospital, uint32 month, bytes32 root, uint32 rows, uint64 total)
        external
        returns (uint256 version)
    {
        address publisher = REGISTRY.institution(msg.sender);
        if (hospital == 0) revert Zero();
        if (month % 100 == 0 || month % 100 > 12 || month / 100 < 1970 || month > _monthOf(block.timestamp)) {
            revert InvalidMonth(month);
        }
        if (root == 0 || rows == 0) revert InvalidCensus(root, rows);

        Census[] storage versions = _censuses[publisher][hospital][month];
        versions.push(Census(root, rows, total, uint40(block.timestamp)));
        version = versions.length;

        emit CensusPublished(publisher, hospital, month, version, root, rows, total);
    }

    /* Views */

    /// @notice Where a listing stands.
    function stateOf(bytes32 id) external view returns (State) {
        return _listings[id].state;
    }

    /// @notice All that is stored of a listing.
    function listingOf(bytes32 id) external view returns (Listing memory) {
        return _listings[id];
    }

    /// @notice The live listing of a patient's referral at a hospital; zero when there is none.
    function liveOf(address hospital, address patient, bytes32 referral) external view returns (bytes32) {
        return _live[hospital][_keyOf(patient, referral)];
    }

    /// @notice How many versions of a census there are.
    function versionsOf(address publisher, bytes32 hospital, uint32 month) external view returns (uint256) {
        return _censuses[publisher][hospital][month].length;
    }

    /// @notice A version of a census, from 1.
    function censusOf(address publisher, bytes32 hospital, uint32 month, uint256 version)
        public
        view
        returns (Census memory census)
    {
        Census[] storage versions = _censuses[publisher][hospital][month];
        if (version != 0 && version <= versions.length) census = versions[version - 1];
    }

    /// @notice Whether a row is in a census, under that number.
    /// @param number From 0.
    /// @param proof Siblings from its leaf up.
    function isRow(
        address publisher,
        bytes32 hospital,
        uint32 month,
        uint256 version,
        uint32 number,
        Row calldata row,
        bytes32[] calldata proof
    ) external view returns (bool) {
        Census memory census = censusOf(publisher, hospital, month, version);
        return number < census.rows && MerkleProof.verifyCalldata(proof, census.root, leafOf(number, row));
    }

    /// @notice Whether these are all rows of a census, in their order, and their sum is the published total.
    function isTotal(address publisher, bytes32 hospital, uint32 month, uint256 version, Row[] calldata rows)
        external
        view
        returns (bool)
    {
        Census memory census = censusOf(publisher, hospital, month, version);
        if (rows.length == 0 || rows.length != census.rows) return false;
        bytes32[] memory level = new bytes32[](rows.length);
        uint256 total;
        for (uint256 i; i < rows.length; ++i) {
            level[i] = leafOf(uint32(i), rows[i]);
            total += rows[i].count;
        }
        return total == census.total && _rootOf(level) == census.root;
    }

    /// @notice The leaf of a row.
    /// @param number From 0.
    function leafOf(uint32 number, Row calldata row) public pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encode(number, row.specialty, row.group, row.count))));
    }

    /* Internal */

    /// @dev Works in the memory of the level that it is given.
    function _rootOf(bytes32[] memory level) private pure returns (bytes32) {
        uint256 size = level.length;
        while (size > 1) {
            uint256 above = (size + 1) / 2;
            for (uint256 i; i < above; ++i) {
                (bytes32 left, bytes32 right) = (level[2 * i], 2 * i + 1 < size ? level[2 * i + 1] : bytes32(0));
                bool isAlone = 2 * i + 1 == size;
                if (isAlone) level[i] = left;
                else level[i] = left < right ? keccak256(abi.encode(left, right)) : keccak256(abi.encode(right, left));
            }
            size = above;
        }
        return level[0];
    }

    function _keyOf(address patient, bytes32 referral) private pure returns (bytes32) {
        return keccak256(abi.encode(patient, referral));
    }

    /// @dev Year and month of a time, by Hinnant's algorithm for the proleptic Gregorian calendar.
    function _monthOf(uint256 time) private pure returns (uint256) {
        uint256 shifted = time / 1 days + 719_468;
        uint256 dayOfEra = shifted % 146_097;
        uint256 yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365;
        uint256 dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100);
        uint256 monthFromMarch = (5 * dayOfYear + 2) / 153;
        uint256 year = yearOfEra + shifted / 146_097 * 400;
        return monthFromMarch < 10 ? year * 100 + monthFromMarch + 3 : (year + 1) * 100 + monthFromMarch - 9;
    }

    function _requireDue(bytes32 id) private view returns (Listing storage listing, address by) {
        listing = _listings[id];
        if (listing.state != State.Scheduled) revert WrongState(id, listing.state);
        by = _requireHospital(listing, true);
        if (block.timestamp < listing.appointmentAt) {
            revert InvalidTime(block.timestamp, listing.appointmentAt, type(uint40).max);
        }
    }

    function _requireHospital(Listing storage listing, bool nurses) private view returns (address) {
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool may = _isDoctor(role) || (nurses && role == ProfessionalRole.Nurse);
        if (!may || institution != listing.hospital) revert NotAllowed(by, role, institution);
        return by;
    }

    function _isDoctor(ProfessionalRole role) private pure returns (bool) {
        return role == ProfessionalRole.Physician || role == ProfessionalRole.Surgeon;
    }
}
