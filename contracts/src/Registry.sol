// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title Registry
/// @notice Who belongs to the network, in which role, and with which key. The members decide.
/// @dev Holds institutions, professionals and devices, their keys with history, the digests of
/// their profiles, keyed digests of identity numbers, and the directory of contracts. Holds no
/// name, no number of a person and no consent: a member is an address, and the only text that can
/// appear, in an event, is the endpoint of an institution.
///
/// A **member** is known for life by the address it was admitted under. The **signer** is the
/// address it signs with now. The two are equal until the first rotation.
///
/// INVARIANTS
/// - G1: an address is a signer at most once in its life, so a key's interval never changes once closed.
/// - G2: a member in force has exactly one open key, and `institution` and `professional` answer for no other.
/// - G3: `institutionCount` is the number of institutions in force, at least 1 and at most 255.
/// - G4: a proposal is executed at most once, before its deadline, and only when more than half of
///   the institutions then in force have voted for it.
/// - G5: a professional is in force exactly while its accreditation lasts and the institution that
///   gave it is in force in the same term, so an expulsion puts all of them out of force for good.
/// - G6: an identity digest of one authority names one account until that authority unbinds it.
///
/// ASSUMPTIONS
/// - Safety: fewer than half of the institutions collude. A majority can admit, expel, replace the
///   key of an institution and move the directory; it cannot touch a patient's account or consent.
/// - Safety: identity digests are HMAC-SHA-256 under a secret key of the authority. A bare hash of
///   a social security number is found by trying them all; the contract cannot tell the difference.
/// - Safety: an institution answers for whom it accredits. It can replace the key of its own
///   professionals, and nobody else's. It can also accredit an address that somebody else meant to
///   use, which then takes another one; nothing is gained by it.
/// - Liveness: more than half of the institutions can still sign. With fewer, members keep working,
///   but nobody is admitted or expelled.
contract Registry is EIP712 {
    /* TYPES */

    /// @notice An institution that the network starts with.
    struct Founder {
        address account;
        InstitutionRole role;
    }

    /// @notice What kind of member an address is. It is one kind for life.
    enum MemberKind {
        None,
        Institution,
        Professional,
        Device
    }

    /// @notice One signing key. It was in use while `since <= time`, and `time < until` once closed.
    /// @dev One slot: 160 + 40 + 40 + 8 = 248 bits.
    struct Key {
        address member;
        uint40 since;
        uint40 until;
        MemberKind kind;
    }

    /// @notice The key that replaced a member's first one.
    /// @dev One slot: 160 + 96 bits. Empty until the first rotation, so accrediting does not pay for it.
    struct Rotation {
        address signer;
        uint96 count;
    }

    /// @dev One slot: 8 + 32 bits. The role is `None` while the institution is not in force; the
    /// term counts its admissions.
    struct Institution {
        InstitutionRole role;
        uint32 term;
    }

    /// @notice What an institution says of a professional, while `time < until`.
    /// @dev One slot: 160 + 32 + 40 + 8 = 240 bits.
    struct Accreditation {
        address institution;
        uint32 term;
        uint40 until;
        ProfessionalRole role;
    }

    /// @dev Two slots: 160 + 32 + 8 bits, 256 bits.
    struct Device {
        address institution;
        uint32 term;
        bool commissioned;
        bytes32 model;
    }

    /// @notice The latest profile of a member, which the event of that version holds in full.
    /// @dev Two slots: 256 bits, 64 bits.
    struct Profile {
        bytes32 digest;
        uint64 version;
    }

    /// @notice What a proposal would do.
    enum ProposalKind {
        None,
        Admission,
        Readmission,
        Expulsion,
        Rotation,
        Directory
    }

    /// @dev One slot, 8 + 40 + 8 bits, and the content: the arguments, ABI-encoded.
    struct Proposal {
        ProposalKind kind;
        uint40 deadline;
        bool executed;
        bytes content;
    }

    /// @dev One slot: 160 + 32 bits. A vote of an earlier term does not count.
    struct Ballot {
        address member;
        uint32 term;
    }

    /* CONSTANTS */

    /// @notice Institutions at one time. It bounds the counting of votes.
    uint256 internal constant MAX_INSTITUTIONS = 255;

    /// @notice How long a proposal can be voted on.
    uint256 internal constant VOTING_PERIOD = 30 days;

    /// @notice The longest that one accreditation lasts without being renewed.
    uint256 internal constant MAX_ACCREDITATION = 5 * 365 days;

    /// @notice Size of an HPKE key, in bytes. An X-Wing key has 1,216.
    uint256 internal constant MAX_HPKE_KEY = 2048;

    /// @notice Size of an endpoint, in bytes.
    uint256 internal constant MAX_ENDPOINT = 256;

    /// @notice Entries that one proposal can set in the directory.
    uint256 internal constant MAX_ENTRIES = 32;

    /// @notice EIP-712 type of the proof that the holder of a new key wants it to act for a member.
    bytes32 internal constant ROTATE_TYPEHASH =
        keccak256("Rotate(address member,address newSigner,uint256 nonce,uint40 deadline)");

    /* STORAGE */

    /// @notice Institutions in force.
    uint256 public institutionCount;

    /// @notice Proposals ever made; the identifier of the latest.
    uint256 public proposalCount;

    mapping(address signer => Key) private _keys;
    mapping(address member => Rotation) private _rotations;
    mapping(address member => Institution) private _institutions;
    mapping(address member => Accreditation) private _accreditations;
    mapping(address member => Device) private _devices;
    mapping(address member => Profile) private _profiles;
    mapping(address authority => mapping(bytes32 digest => address account)) private _identities;
    mapping(bytes32 name => address where) private _directory;
    mapping(uint256 id => Proposal) private _proposals;
    mapping(uint256 id => Ballot[]) private _ballots;

    /* EVENTS */

    /// @notice `member` is an institution in force, for the `term`-th time, and signs with `signer`.
    event InstitutionAdmitted(address indexed member, InstitutionRole role, uint32 term, address signer);

    /// @notice `member` is out of force, and with it its key, professionals and devices.
    event InstitutionExpelled(address indexed member, uint32 term);

    /// @notice `proposer` put a proposal to the vote, and voted for it.
    event Proposed(
        uint256 indexed id, address indexed proposer, ProposalKind indexed kind, uint40 deadline, bytes content
    );

    /// @notice `member` voted for proposal `id`.
    event Voted(uint256 indexed id, address indexed member, uint32 term);

    /// @notice Proposal `id` had its majority and took effect.
    event Executed(uint256 indexed id);

    /// @notice `institution` vouches for `professional` in a role until a time.
    event ProfessionalAccredited(
        address indexed institution, address indexed professional, ProfessionalRole role, uint32 term, uint40 until
    );

    /// @notice The accreditation now lasts until another time.
    event AccreditationRenewed(address indexed institution, address indexed professional, uint40 until);

    /// @notice The accreditation ended early: `institution` took it back, or the professional gave it up.
    event AccreditationEnded(address indexed institution, address indexed professional);

    /// @notice `institution` runs `device`, of a model.
    event DeviceRegistered(address indexed institution, address indexed device, bytes32 model, uint32 term);

    /// @notice `device` and its key are out of force for good.
    event DeviceDecommissioned(address indexed institution, address indexed device);

    /// @notice `member` signs with `newSigner` from now on, and with `oldSigner` no more.
    event KeyRotated(address indexed member, address indexed oldSigner, address indexed newSigner);

    /// @notice How others reach `member` and seal for it.
    event ProfileSet(address indexed member, uint64 version, bytes hpkeKey, string endpoint, bytes32 peerId);

    /// @notice `authority` says that the identity behind `digest` acts through `account`.
    event IdentityBound(address indexed authority, bytes32 indexed digest, address indexed account);

    /// @notice `authority` no longer says so.
    event IdentityUnbound(address indexed authority, bytes32 indexed digest, address indexed account);

    /// @notice The current contract of that name; zero when there is none any more.
    event ContractSet(bytes32 indexed name, address where);

    /* ERRORS */

    /// @notice The network cannot start without an institution.
    error NoFounders();

    /// @notice The address or digest given is zero.
    error Zero();

    /// @notice A role must be named.
    error InvalidRole();

    /// @notice The address was already used as a key, and is never used again.
    error AlreadySigner(address signer);

    /// @notice The address is no key in use.
    error NotSigner(address signer);

    /// @notice The address is not the key of an institution in force.
    error NotInstitution(address signer);

    /// @notice The address is not an institution in force.
    error InstitutionNotInForce(address member);

    /// @notice The address is not an expelled institution.
    error NotExpelled(address member);

    /// @notice The address is not the key of a professional in force.
    error NotProfessional(address signer);

    /// @notice The address is not the key of a device in force.
    error NotDevice(address signer);

    /// @notice The member is not in force.
    error NotInForce(address member);

    /// @notice There is no place for another institution.
    error TooManyInstitutions(uint256 limit);

    /// @notice The only institution cannot be expelled: nobody could act after it.
    error LastInstitution(address member);

    /// @notice There is no such proposal.
    error UnknownProposal(uint256 id);

    /// @notice The proposal took effect already.
    error AlreadyExecuted(uint256 id);

    /// @notice The vote is over.
    error VotingClosed(uint256 id, uint40 deadline);

    /// @notice The institution voted for this proposal in its present term.
    error AlreadyVoted(uint256 id, address member);

    /// @notice More than half of `institutions` must have voted; `votes` have.
    error NoMajority(uint256 id, uint256 votes, uint256 institutions);

    /// @notice The two lists differ in length, are empty or are too long.
    error InvalidEntries(uint256 names, uint256 wheres);

    /// @notice There is no contract at the address.
    error NoCode(address where);

    /// @notice The time has passed, or lies beyond the longest accreditation.
    error InvalidPeriod(uint40 until, uint256 earliest, uint256 latest);

    /// @notice An accreditation of the professional is in force, by `institution`.
    error StillAccredited(address professional, address institution);

    /// @notice The institution has no accreditation of the professional in force.
    error NotAccredited(address professional, address institution);

    /// @notice The institution does not run the device.
    error NotOperator(address device, address institution);

    /// @notice The proof of the new key came too late.
    error Expired(uint256 deadline);

    /// @notice The new key did not sign what it had to.
    error InvalidSignature(address signer);

    /// @notice A part of the profile is longer than it may be, in bytes.
    error TooLong(uint256 size, uint256 limit);

    /// @notice Only an institution has an endpoint: another member's could name a person.
    error EndpointNotAllowed(address member);

    /// @notice The digest names an account already; unbind it first.
    error AlreadyBound(bytes32 digest, address account);

    /// @notice The digest names no account.
    error NotBound(bytes32 digest);

    /* FUNCTIONS */

    /// @notice Starts the network with its founders, in force at once.
    /// @param founders At least one, each with an address of its own and a role.
    constructor(Founder[] memory founders) EIP712("Salus Registry", "1") {
        if (founders.length == 0) revert NoFounders();
        for (uint256 i; i < founders.length; ++i) {
            _admit(founders[i].account, founders[i].role);
        }
    }

    /* Institutions: the members vote */

    /// @notice Proposes to admit a new institution, which signs with `account` at first.
    /// @return id The proposal, with the caller's vote in it.
    function proposeAdmission(address account, InstitutionRole role) external returns (uint256 id) {
        _requireUnused(account);
        if (role == InstitutionRole.None) revert InvalidRole();
        return _propose(ProposalKind.Admission, abi.encode(account, role));
    }

    /// @notice Proposes to admit an expelled institution again.
    /// @dev It needs a new key, for its old ones have their place in history. Its former
    /// professionals and devices stay out of force.
    /// @return id The proposal, with the caller's vote in it.
    function proposeReadmission(address member, InstitutionRole role, address newSigner) external returns (uint256 id) {
        _requireExpelled(member);
        _requireUnused(newSigner);
        if (role == InstitutionRole.None) revert InvalidRole();
        return _propose(ProposalKind.Readmission, abi.encode(member, role, newSigner));
    }

    /// @notice Proposes to put an institution out of force.
    /// @return id The proposal, with the caller's vote in it.
    function proposeExpulsion(address member) external returns (uint256 id) {
        _requireInForce(member);
        return _propose(ProposalKind.Expulsion, abi.encode(member));
    }

    /// @notice Proposes a new key for an institution that lost its own.
    /// @return id The proposal, with the caller's vote in it.
    function proposeRotation(address member, address newSigner) external returns (uint256 id) {
        _requireInForce(member);
        _requireUnused(newSigner);
        return _propose(ProposalKind.Rotation, abi.encode(member, newSigner));
    }

    /// @notice Proposes entries of the directory, all in one vote.
    /// @param names Names of contracts, as text at the left of 32 bytes.
    /// @param wheres Their addresses; zero takes an entry out.
    /// @return id The proposal, with the caller's vote in it.
    function proposeContracts(bytes32[] calldata names, address[] calldata wheres) external returns (uint256 id) {
        if (names.length != wheres.length || names.length == 0 || names.length > MAX_ENTRIES) {
            revert InvalidEntries(names.length, wheres.length);
        }
        for (uint256 i; i < wheres.length; ++i) {
            if (wheres[i] != address(0) && wheres[i].code.length == 0) revert NoCode(wheres[i]);
        }
        return _propose(ProposalKind.Directory, abi.encode(names, wheres));
    }

    /// @notice Votes for a proposal. The deciding vote carries it out.
    function vote(uint256 id) external {
        _requireOpen(id);
        _vote(id, institution(msg.sender));
        _executeIfDecided(id);
    }

    /// @notice Carries out a proposal that has its majority only since another institution left.
    function execute(uint256 id) external {
        _requireOpen(id);
        if (!_executeIfDecided(id)) revert NoMajority(id, votes(id), institutionCount);
    }

    /* Professionals: their institution answers for them */

    /// @notice Vouches for a professional, in a role, until a time.
    /// @dev Whoever is accredited elsewhere must be free first. Naming the key and not the member keeps
    /// a former institution, which may have replaced the key, from acting under the new accreditation.
    /// @param signer The key that the professional signs with now. An address that was never a key
    /// makes a new member, known by it for life.
    /// @param until When it ends, at most `MAX_ACCREDITATION` from now.
    function accredit(address signer, ProfessionalRole role, uint40 until) external {
        address employer = institution(msg.sender);
        if (role == ProfessionalRole.None) revert InvalidRole();
        _requirePeriod(until);

        Key memory key = _keys[signer];
        if (key.kind == MemberKind.Professional && key.until == 0) {
            Accreditation memory former = _accreditations[key.member];
            if (_isInForce(former)) revert StillAccredited(key.member, former.institution);
        } else {
            _requireUnused(signer);
            key = Key(signer, uint40(block.timestamp), 0, MemberKind.Professional);
            _keys[signer] = key;
        }
        uint32 term = _institutions[employer].term;
        _accreditations[key.member] = Accreditation(employer, term, until, role);

        emit ProfessionalAccredited(employer, key.member, role, term, until);
    }

    /// @notice Sets another end to an accreditation that is in force.
    function renew(address member, uint40 until) external {
        address employer = institution(msg.sender);
        _requireAccredited(member, employer);
        _requirePeriod(until);

        _accreditations[member].until = until;

        emit AccreditationRenewed(employer, member, until);
    }

    /// @notice Takes back an accreditation, from this block on.
    function revokeAccreditation(address member) external {
        address employer = institution(msg.sender);
        _requireAccredited(member, employer);

        _endAccreditation(employer, member);
    }

    /// @notice Gives up the caller's own accreditation, from this block on.
    /// @dev Nobody stays a professional of an institution against their will.
    function resign() external {
        (address member,, address employer) = professional(msg.sender);

        _endAccreditation(employer, member);
    }

    /* Devices */

    /// @notice Registers a device, known by that address for life, of a model.
    function registerDevice(address member, bytes32 model) external {
        address operator = institution(msg.sender);
        _requireUnused(member);

        uint32 term = _institutions[operator].term;
        _keys[member] = Key(member, uint40(block.timestamp), 0, MemberKind.Device);
        _devices[member] = Device(operator, term, true, model);

        emit DeviceRegistered(operator, member, model, term);
    }

    /// @notice Puts a device out of force for good.
    function decommissionDevice(address member) external {
        address operator = institution(msg.sender);
        Device storage stored = _devices[member];
        if (!_isInForce(stored) || stored.institution != operator) revert NotOperator(member, operator);

        stored.commissioned = false;
        _keys[signerOf(member)].until = uint40(block.timestamp);

        emit DeviceDecommissioned(operator, member);
    }

    /* Keys */

    /// @notice Replaces the caller's key by another, which agrees by its signature.
    /// @param signature By `newSigner`, over the EIP-712 message `Rotate`.
    function rotate(address newSigner, uint40 deadline, bytes calldata signature) external {
        Key memory key = _keys[msg.sender];
        if (key.kind == MemberKind.None || key.until != 0) revert NotSigner(msg.sender);

        _requireProof(key.member, newSigner, deadline, signature);
        _rotate(key.member, newSigner);
    }

    /// @notice Replaces the lost key of a professional whom the caller's institution accredits.
    /// @param signature By `newSigner`, over the EIP-712 message `Rotate`.
    function rotateFor(address member, address newSigner, uint40 deadline, bytes calldata signature) external {
        _requireAccredited(member, institution(msg.sender));

        _requireProof(member, newSigner, deadline, signature);
        _rotate(member, newSigner);
    }

    /* Profiles */

    /// @notice Publishes how to reach the caller and how to seal for it.
    /// @dev The event holds the whole; the storage only its digest, for a key of 1,216 bytes would
    /// cost 840,000 gas to store.
    /// @param hpkeKey Public key of RFC 9180, at most `MAX_HPKE_KEY` bytes.
    /// @param endpoint Where an institution's gateway answers, at most `MAX_ENDPOINT` bytes; empty for other members.
    /// @param peerId Identity of the gateway in the peer-to-peer exchange; zero for none.
    function setProfile(bytes calldata hpkeKey, string calldata endpoint, bytes32 peerId) external {
        Key memory key = _keys[msg.sender];
        if (key.kind == MemberKind.None || key.until != 0) revert NotSigner(msg.sender);
        if (!isActive(key.member)) revert NotInForce(key.member);
        if (hpkeKey.length > MAX_HPKE_KEY) revert TooLong(hpkeKey.length, MAX_HPKE_KEY);
        if (bytes(endpoint).length > MAX_ENDPOINT) revert TooLong(bytes(endpoint).length, MAX_ENDPOINT);
        if (key.kind != MemberKind.Institution && bytes(endpoint).length != 0) revert EndpointNotAllowed(key.member);

        Profile storage profile = _profiles[key.member];
        profile.digest = keccak256(abi.encode(hpkeKey, endpoint, peerId));
        uint64 version = ++profile.version;

        emit ProfileSet(key.member, version, hpkeKey, endpoint, peerId);
    }

    /* Identities */

    /// @notice Says that the identity behind a digest acts through an account.
    /// @param digest HMAC-SHA-256 of the identity number under the caller's secret key. Never a bare hash.
    function bindIdentity(bytes32 digest, address account) external {
        address authority = institution(msg.sender);
        if (digest == 0 || account == address(0)) revert Zero();
        address bound = _identities[authority][digest];
        if (bound != address(0)) revert AlreadyBound(digest, bound);

        _identities[authority][digest] = account;

        emit IdentityBound(authority, digest, account);
    }

    /// @notice Takes back what the caller said of a digest.
    function unbindIdentity(bytes32 digest) external {
        address authority = institution(msg.sender);
        address bound = _identities[authority][digest];
        if (bound == address(0)) revert NotBound(digest);

        delete _identities[authority][digest];

        emit IdentityUnbound(authority, digest, bound);
    }

    /* Views: who is who */

    /// @notice The institution in force that signs with `signer`. Reverts when there is none.
    /// @dev Reads one slot, because every workflow pays for it.
    function institution(address signer) public view returns (address member) {
        Key storage key = _keys[signer];
        if (key.kind != MemberKind.Institution || key.until != 0) revert NotInstitution(signer);
        return key.member;
    }

    /// @notice The professional in force who signs with `signer`. Reverts when there is none.
    function professional(address signer)
        public
        view
        returns (address member, ProfessionalRole role, address employer)
    {
        Key memory key = _keys[signer];
        if (key.kind != MemberKind.Professional || key.until != 0) revert NotProfessional(signer);
        Accreditation memory accreditation = _accreditations[key.member];
        if (!_isInForce(accreditation)) revert NotProfessional(signer);
        return (key.member, accreditation.role, accreditation.institution);
    }

    /// @notice The device in force that signs with `signer`. Reverts when there is none.
    function device(address signer) external view returns (address member, address operator, bytes32 model) {
        Key memory key = _keys[signer];
        if (key.kind != MemberKind.Device || key.until != 0) revert NotDevice(signer);
        Device memory stored = _devices[key.member];
        if (!_isInForce(stored)) revert NotDevice(signer);
        return (key.member, stored.institution, stored.model);
    }

    /// @notice Whether the institution, professional or device is in force.
    function isActive(address member) public view returns (bool) {
        return _institutions[member].role != InstitutionRole.None || _isInForce(_accreditations[member])
            || _isInForce(_devices[member]);
    }

    /// @notice The role of an institution; `None` when it is not in force.
    function roleOf(address member) external view returns (InstitutionRole) {
        return _institutions[member].role;
    }

    /// @notice How often an institution was admitted; zero when `member` never was one.
    function termOf(address member) external view returns (uint32) {
        return _institutions[member].term;
    }

    /// @notice The latest accreditation of a professional, in force or not.
    function accreditationOf(address member) external view returns (Accreditation memory) {
        return _accreditations[member];
    }

    /// @notice The member behind a key, and when the key was in use: while `since <= time`, and, unless
    /// `until` is zero, `time < until`. All zero for an unknown address.
    function keyOf(address signer) external view returns (address member, uint40 since, uint40 until) {
        Key memory key = _keys[signer];
        return (key.member, key.since, key.until);
    }

    /// @notice The latest key of a member; the address itself when it never rotated.
    function signerOf(address member) public view returns (address) {
        address signer = _rotations[member].signer;
        return signer == address(0) ? member : signer;
    }

    /// @notice The nonce that the next `Rotate` message of a member must carry.
    function rotationNonce(address member) external view returns (uint256) {
        return _rotations[member].count;
    }

    /// @notice Digest and version of a member's latest profile; the digest is
    /// `keccak256(abi.encode(hpkeKey, endpoint, peerId))`.
    function profileOf(address member) external view returns (bytes32 digest, uint64 version) {
        Profile memory profile = _profiles[member];
        return (profile.digest, profile.version);
    }

    /// @notice The account behind an identity digest, as an authority in force says; zero when it says nothing.
    function resolve(address authority, bytes32 digest) external view returns (address account) {
        if (_institutions[authority].role == InstitutionRole.None) return address(0);
        return _identities[authority][digest];
    }

    /// @notice The current contract of a name; zero when there is none.
    function contractAt(bytes32 name) external view returns (address where) {
        return _directory[name];
    }

    /// @notice A proposal as it was made; its kind is `None` when there is no such proposal.
    function proposal(uint256 id) external view returns (Proposal memory) {
        return _proposals[id];
    }

    /// @notice Votes for a proposal by institutions that are still in the term in which they voted.
    /// @dev At most `MAX_INSTITUTIONS` members vote in one term each; the deadline bounds the terms.
    function votes(uint256 id) public view returns (uint256 count) {
        Ballot[] storage ballots = _ballots[id];
        for (uint256 i; i < ballots.length; ++i) {
            Ballot memory ballot = ballots[i];
            Institution memory voter = _institutions[ballot.member];
            if (voter.role != InstitutionRole.None && voter.term == ballot.term) ++count;
        }
    }

    /* Internal: proposals */

    function _propose(ProposalKind kind, bytes memory content) private returns (uint256 id) {
        address proposer = institution(msg.sender);
        uint40 deadline = uint40(block.timestamp + VOTING_PERIOD);
        id = ++proposalCount;
        _proposals[id] = Proposal(kind, deadline, false, content);

        emit Proposed(id, proposer, kind, deadline, content);

        _vote(id, proposer);
        _executeIfDecided(id);
    }

    function _vote(uint256 id, address member) private {
        uint32 term = _institutions[member].term;
        Ballot[] storage ballots = _ballots[id];
        for (uint256 i; i < ballots.length; ++i) {
            if (ballots[i].member == member && ballots[i].term == term) revert AlreadyVoted(id, member);
        }
        ballots.push(Ballot(member, term));

        emit Voted(id, member, term);
    }

    function _executeIfDecided(uint256 id) private returns (bool decided) {
        if (2 * votes(id) <= institutionCount) return false;

        Proposal storage stored = _proposals[id];
        stored.executed = true;
        emit Executed(id);

        ProposalKind kind = stored.kind;
        bytes memory content = stored.content;
        if (kind == ProposalKind.Admission) {
            (address account, InstitutionRole role) = abi.decode(content, (address, InstitutionRole));
            _admit(account, role);
        } else if (kind == ProposalKind.Readmission) {
            (address member, InstitutionRole role, address newSigner) =
                abi.decode(content, (address, InstitutionRole, address));
            _readmit(member, role, newSigner);
        } else if (kind == ProposalKind.Expulsion) {
            _expel(abi.decode(content, (address)));
        } else if (kind == ProposalKind.Rotation) {
            (address member, address newSigner) = abi.decode(content, (address, address));
            _requireInForce(member);
            _rotate(member, newSigner);
        } else {
            (bytes32[] memory names, address[] memory wheres) = abi.decode(content, (bytes32[], address[]));
            _setContracts(names, wheres);
        }
        return true;
    }

    function _admit(address account, InstitutionRole role) private {
        if (role == InstitutionRole.None) revert InvalidRole();
        _requireUnused(account);
        _putInForce(account, role, account);
    }

    function _readmit(address member, InstitutionRole role, address newSigner) private {
        _requireExpelled(member);
        _requireUnused(newSigner);
        Rotation storage rotation = _rotations[member];
        rotation.signer = newSigner;
        ++rotation.count;
        _putInForce(member, role, newSigner);
    }

    function _putInForce(address member, InstitutionRole role, address signer) private {
        if (institutionCount == MAX_INSTITUTIONS) revert TooManyInstitutions(MAX_INSTITUTIONS);

        ++institutionCount;
        uint32 term = _institutions[member].term + 1;
        _institutions[member] = Institution(role, term);
        _keys[signer] = Key(member, uint40(block.timestamp), 0, MemberKind.Institution);

        emit InstitutionAdmitted(member, role, term, signer);
    }

    function _expel(address member) private {
        _requireInForce(member);
        if (institutionCount == 1) revert LastInstitution(member);

        --institutionCount;
        _institutions[member].role = InstitutionRole.None;
        _keys[signerOf(member)].until = uint40(block.timestamp);

        emit InstitutionExpelled(member, _institutions[member].term);
    }

    function _setContracts(bytes32[] memory names, address[] memory wheres) private {
        for (uint256 i; i < names.length; ++i) {
            _directory[names[i]] = wheres[i];

            emit ContractSet(names[i], wheres[i]);
        }
    }

    /* Internal: members and keys */

    function _endAccreditation(address employer, address member) private {
        _accreditations[member].until = uint40(block.timestamp);

        emit AccreditationEnded(employer, member);
    }

    function _rotate(address member, address newSigner) private {
        _requireUnused(newSigner);

        address oldSigner = signerOf(member);
        _keys[newSigner] = Key(member, uint40(block.timestamp), 0, _keys[oldSigner].kind);
        _keys[oldSigner].until = uint40(block.timestamp);
        Rotation storage rotation = _rotations[member];
        rotation.signer = newSigner;
        ++rotation.count;

        emit KeyRotated(member, oldSigner, newSigner);
    }

    function _isInForce(Accreditation memory accreditation) private view returns (bool) {
        return block.timestamp < accreditation.until && _isTerm(accreditation.institution, accreditation.term);
    }

    function _isInForce(Device memory stored) private view returns (bool) {
        return stored.commissioned && _isTerm(stored.institution, stored.term);
    }

    function _isTerm(address member, uint32 term) private view returns (bool) {
        Institution memory stored = _institutions[member];
        return stored.role != InstitutionRole.None && stored.term == term;
    }

    /* Internal: conditions */

    function _requireOpen(uint256 id) private view {
        Proposal storage stored = _proposals[id];
        if (stored.kind == ProposalKind.None) revert UnknownProposal(id);
        if (stored.executed) revert AlreadyExecuted(id);
        if (block.timestamp >= stored.deadline) revert VotingClosed(id, stored.deadline);
    }

    function _requireUnused(address signer) private view {
        if (signer == address(0)) revert Zero();
        if (_keys[signer].kind != MemberKind.None) revert AlreadySigner(signer);
    }

    function _requireInForce(address member) private view {
        if (_institutions[member].role == InstitutionRole.None) revert InstitutionNotInForce(member);
    }

    function _requireExpelled(address member) private view {
        Institution memory stored = _institutions[member];
        if (stored.term == 0 || stored.role != InstitutionRole.None) revert NotExpelled(member);
    }

    function _requirePeriod(uint40 until) private view {
        uint256 latest = block.timestamp + MAX_ACCREDITATION;
        if (until <= block.timestamp || until > latest) revert InvalidPeriod(until, block.timestamp + 1, latest);
    }

    function _requireAccredited(address member, address employer) private view {
        Accreditation memory accreditation = _accreditations[member];
        if (!_isInForce(accreditation) || accreditation.institution != employer) {
            revert NotAccredited(member, employer);
        }
    }

    function _requireProof(address member, address newSigner, uint40 deadline, bytes calldata signature) private view {
        if (block.timestamp > deadline) revert Expired(deadline);
        bytes32 digest = _hashTypedDataV4(
            keccak256(abi.encode(ROTATE_TYPEHASH, member, newSigner, _rotations[member].count, deadline))
        );
        if (!SignatureChecker.isValidSignatureNowCalldata(newSigner, digest, signature)) {
            revert InvalidSignature(newSigner);
        }
    }
}
