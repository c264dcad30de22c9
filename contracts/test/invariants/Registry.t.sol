// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Registry} from "../../src/Registry.sol";
import {InstitutionRole, ProfessionalRole} from "../../src/Types.sol";
import {Network} from "../support/Network.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Admits, expels, accredits, rotates and binds, with sixteen keys that anybody may come to hold.
contract RegistryHandler is Handler {
    Registry internal immutable REGISTRY;

    uint256 internal constant FIRST_KEY = 0xA000;
    uint256 public constant KEYS = 16;
    address[] internal _keys;

    struct Interval {
        address member;
        uint40 since;
        uint40 until;
    }

    struct Accreditation {
        address institution;
        uint256 generation;
        uint40 until;
    }

    // What the model knows of members: the generation of an institution grows when it is expelled.
    mapping(address signer => address member) internal _memberOf;
    mapping(address signer => bool) internal _isOpen;
    mapping(address member => bool) public isInstitution;
    mapping(address member => uint256) public generation;
    mapping(address member => bool) internal _isProfessional;
    mapping(address member => Accreditation) internal _accreditations;
    mapping(address signer => Interval) internal _closed;
    mapping(address authority => mapping(bytes32 digest => address)) internal _identities;
    uint256 public count;

    struct Vote {
        address member;
        uint256 generation;
    }

    struct Proposal {
        Registry.ProposalKind kind;
        address subject;
        address signer;
        uint40 deadline;
        bool executed;
    }

    Proposal[] internal _proposals;
    mapping(uint256 index => Vote[]) internal _votes;

    constructor(Registry registry) {
        REGISTRY = registry;
        for (uint256 i; i < KEYS; ++i) {
            _keys.push(vm.addr(FIRST_KEY + i));
        }
        for (uint256 i; i < 4; ++i) {
            address founder = key(i);
            (_memberOf[founder], _isOpen[founder], isInstitution[founder]) = (founder, true, true);
        }
        count = 4;
    }

    function key(uint256 index) public view returns (address) {
        return _keys[index % KEYS];
    }

    /* Institutions */

    function propose(uint256 seed) external seeded(seed) {
        (address caller, address subject, address signer) = (_institutionKey(), pick(_keys), pick(_keys));
        Registry.ProposalKind kind_ = Registry.ProposalKind(1 + random(4));
        bytes memory data;
        bool possible;
        if (kind_ == Registry.ProposalKind.Admission) {
            data = abi.encodeCall(Registry.proposeAdmission, (subject, InstitutionRole.Hospital));
            possible = _isUnused(subject);
        } else if (kind_ == Registry.ProposalKind.Readmission) {
            data = abi.encodeCall(Registry.proposeReadmission, (subject, InstitutionRole.Insurer, signer));
            possible = _isExpelled(subject) && _isUnused(signer);
        } else if (kind_ == Registry.ProposalKind.Expulsion) {
            data = abi.encodeCall(Registry.proposeExpulsion, (subject));
            possible = isInstitution[subject];
        } else {
            data = abi.encodeCall(Registry.proposeRotation, (subject, signer));
            possible = isInstitution[subject] && _isUnused(signer);
        }
        bool last = kind_ == Registry.ProposalKind.Expulsion && count == 1;
        if (!attempt(caller, address(REGISTRY), data, _isMember(caller) && possible && !last, "proposes what can be")) {
            return;
        }
        _proposals.push(Proposal(kind_, subject, signer, time() + 30 days, false));
        _cast(_proposals.length - 1, _memberOf[caller]);
    }

    function vote(uint256 seed) external seeded(seed) {
        if (_proposals.length == 0) return;
        (uint256 index, address caller) = (_recent(), _institutionKey());
        Proposal memory proposal = _proposals[index];
        address member = _memberOf[caller];
        bool may = _isMember(caller) && !proposal.executed && time() < proposal.deadline && !_hasVoted(index, member);
        bool decides = may && 2 * (votes(index) + 1) > count;
        bool expected = may && (!decides || _isPossible(proposal));
        bytes memory data = abi.encodeCall(Registry.vote, (index + 1));
        if (attempt(caller, address(REGISTRY), data, expected, "G4: votes")) _cast(index, member);
    }

    function execute(uint256 seed) external seeded(seed) {
        if (_proposals.length == 0) return;
        uint256 index = _recent();
        Proposal memory proposal = _proposals[index];
        bool expected =
            !proposal.executed && time() < proposal.deadline && 2 * votes(index) > count && _isPossible(proposal);
        bytes memory data = abi.encodeCall(Registry.execute, (index + 1));
        if (attempt(pick(_keys), address(REGISTRY), data, expected, "G4: executes a majority")) _carryOut(index);
    }

    /* Professionals */

    function accredit(uint256 seed) external seeded(seed) {
        (address caller, address signer) = (_institutionKey(), pick(_keys));
        uint40 period = uint40(chance(90) ? random(20 days) : 0);
        address member = _isUnused(signer) ? signer : _memberOf[signer];
        bool free = _isUnused(signer) || (_isOpen[signer] && _isProfessional[member] && !isAccredited(member));
        bytes memory data = abi.encodeCall(Registry.accredit, (signer, ProfessionalRole.Nurse, time() + period));
        bool expected = _isMember(caller) && free && period != 0;
        if (!attempt(caller, address(REGISTRY), data, expected, "G5: accredits who is free")) return;
        if (_memberOf[member] == address(0)) (_memberOf[member], _isOpen[member]) = (member, true);
        _isProfessional[member] = true;
        address institution = _memberOf[caller];
        _accreditations[member] = Accreditation(institution, generation[institution], time() + period);
    }

    function end(uint256 seed) external seeded(seed) {
        bool resigns = chance(30);
        (address caller, address member) = (resigns ? pick(_keys) : _institutionKey(), pick(_keys));
        bytes memory data =
            resigns ? abi.encodeCall(Registry.resign, ()) : abi.encodeCall(Registry.revokeAccreditation, (member));
        if (resigns) member = _memberOf[caller];
        bool expected = resigns
            ? _isOpen[caller] && isAccredited(member)
            : _isMember(caller) && isAccredited(member) && _accreditations[member].institution == _memberOf[caller];
        if (attempt(caller, address(REGISTRY), data, expected, "G5: ends")) _accreditations[member].until = time();
    }

    /* Keys */

    /// @dev Seldom, or the keys run out.
    function rotate(uint256 seed) external seeded(seed) {
        (address caller, uint256 to) = (pick(_keys), random(KEYS));
        (address member, address signer) = (_memberOf[caller], _keys[to]);
        if (_isUnused(signer) && chance(80)) return;
        bytes memory proof = _proof(FIRST_KEY + to, member);
        bytes memory data = abi.encodeCall(Registry.rotate, (signer, time(), proof));
        bool expected = member != address(0) && _isOpen[caller] && _isUnused(signer);
        if (attempt(caller, address(REGISTRY), data, expected, "G1: rotates to an unused key")) {
            _rotate(member, signer);
        }
    }

    function rotateFor(uint256 seed) external seeded(seed) {
        (address caller, address member, uint256 to) = (_institutionKey(), pick(_keys), random(KEYS));
        address signer = _keys[to];
        bytes memory proof = _proof(FIRST_KEY + to, member);
        bytes memory data = abi.encodeCall(Registry.rotateFor, (member, signer, time(), proof));
        bool expected = _isMember(caller) && isAccredited(member)
            && _accreditations[member].institution == _memberOf[caller] && _isUnused(signer);
        if (attempt(caller, address(REGISTRY), data, expected, "G1: rotates for its own")) _rotate(member, signer);
    }

    /* Identities */

    function bind(uint256 seed) external seeded(seed) {
        (address caller, address to, bool unbinds) = (_institutionKey(), pick(_keys), chance(50));
        bytes32 digest_ = bytes32(1 + random(2));
        address bound_ = _identities[_memberOf[caller]][digest_];
        bytes memory data = unbinds
            ? abi.encodeCall(Registry.unbindIdentity, (digest_))
            : abi.encodeCall(Registry.bindIdentity, (digest_, to));
        bool expected = _isMember(caller) && (bound_ != address(0)) == unbinds;
        if (!attempt(caller, address(REGISTRY), data, expected, "G6: binds what is free")) return;
        _identities[_memberOf[caller]][digest_] = unbinds ? address(0) : to;
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(4 days));
    }

    /* The model, read */

    function isAccredited(address member) public view returns (bool) {
        Accreditation memory accreditation = _accreditations[member];
        return isInstitution[accreditation.institution]
            && generation[accreditation.institution] == accreditation.generation && time() < accreditation.until;
    }

    function identityOf(address authority, bytes32 digest) external view returns (address) {
        return isInstitution[authority] ? _identities[authority][digest] : address(0);
    }

    function memberOf(address signer) external view returns (address member, bool open) {
        return (_memberOf[signer], _isOpen[signer]);
    }

    function closedInterval(address signer) external view returns (Interval memory) {
        return _closed[signer];
    }

    function votes(uint256 index) public view returns (uint256 counted) {
        for (uint256 i; i < _votes[index].length; ++i) {
            Vote memory cast = _votes[index][i];
            if (isInstitution[cast.member] && generation[cast.member] == cast.generation) ++counted;
        }
    }

    function proposals() external view returns (Proposal[] memory) {
        return _proposals;
    }

    /* The model, changed */

    function _cast(uint256 index, address member) internal {
        _votes[index].push(Vote(member, generation[member]));
        if (2 * votes(index) > count) _carryOut(index);
    }

    function _carryOut(uint256 index) internal {
        Proposal storage proposal = _proposals[index];
        proposal.executed = true;
        (address subject, address signer) = (proposal.subject, proposal.signer);
        if (proposal.kind == Registry.ProposalKind.Admission) {
            _open(subject, subject);
        } else if (proposal.kind == Registry.ProposalKind.Readmission) {
            _open(subject, signer);
        } else if (proposal.kind == Registry.ProposalKind.Expulsion) {
            (isInstitution[subject], count) = (false, count - 1);
            ++generation[subject];
            _close(subject);
        } else {
            _rotate(subject, signer);
        }
    }

    function _open(address member, address signer) internal {
        (_memberOf[signer], _isOpen[signer], isInstitution[member]) = (member, true, true);
        ++count;
    }

    function _rotate(address member, address signer) internal {
        _close(member);
        (_memberOf[signer], _isOpen[signer]) = (member, true);
    }

    function _close(address member) internal {
        for (uint256 i; i < KEYS; ++i) {
            if (_memberOf[key(i)] != member || !_isOpen[key(i)]) continue;
            _isOpen[key(i)] = false;
            (, uint40 since,) = REGISTRY.keyOf(key(i));
            _closed[key(i)] = Interval(member, since, time());
        }
    }

    function _isUnused(address signer) internal view returns (bool) {
        return _memberOf[signer] == address(0);
    }

    function _isMember(address signer) internal view returns (bool) {
        return _isOpen[signer] && isInstitution[_memberOf[signer]];
    }

    function _isExpelled(address member) internal view returns (bool) {
        return generation[member] != 0 && !isInstitution[member];
    }

    function _isPossible(Proposal memory proposal) internal view returns (bool) {
        if (proposal.kind == Registry.ProposalKind.Admission) return _isUnused(proposal.subject);
        if (proposal.kind == Registry.ProposalKind.Readmission) {
            return _isExpelled(proposal.subject) && _isUnused(proposal.signer);
        }
        if (proposal.kind == Registry.ProposalKind.Expulsion) return isInstitution[proposal.subject] && count != 1;
        return isInstitution[proposal.subject] && _isUnused(proposal.signer);
    }

    function _hasVoted(uint256 index, address member) internal view returns (bool) {
        for (uint256 i; i < _votes[index].length; ++i) {
            Vote memory cast = _votes[index][i];
            if (cast.member == member && cast.generation == generation[member]) return true;
        }
        return false;
    }

    /// @dev One of the last three, so that some get their majority.
    function _recent() internal returns (uint256) {
        uint256 depth = random(3);
        return depth < _proposals.length ? _proposals.length - 1 - depth : 0;
    }

    /// @dev Mostly an institution's, so that something happens.
    function _institutionKey() internal returns (address) {
        uint256 start = random(KEYS);
        bool any = chance(10);
        for (uint256 i; i < KEYS && !any; ++i) {
            if (_isMember(key(start + i))) return key(start + i);
        }
        return key(start);
    }

    function _proof(uint256 privateKey, address member) internal view returns (bytes memory) {
        (, string memory name, string memory version, uint256 chainId, address where,,) = REGISTRY.eip712Domain();
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256(bytes(version)),
                chainId,
                where
            )
        );
        bytes32 message = keccak256(
            abi.encode(
                keccak256("Rotate(address member,address newSigner,uint256 nonce,uint40 deadline)"),
                member,
                vm.addr(privateKey),
                REGISTRY.rotationNonce(member),
                time()
            )
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(privateKey, keccak256(abi.encodePacked(hex"1901", domain, message)));
        return abi.encodePacked(r, s, v);
    }
}

/// forge-config: default.invariant.depth = 320
contract RegistryInvariants is Network, InvariantTest {
    RegistryHandler internal handler;

    function setUp() public override {
        Registry.Founder[] memory founders = new Registry.Founder[](4);
        for (uint256 i; i < 4; ++i) {
            founders[i] = Registry.Founder(vm.addr(0xA000 + i), InstitutionRole.Hospital);
        }
        registry = Registry(deploy("Registry", abi.encode(founders)));
        handler = new RegistryHandler(registry);
        target(address(handler));
    }

    /// @dev G1, G2: whose each key is, whether it is open, and since when it is closed; who answers for it.
    function invariant_G1_G2_G5_every_key_is_whose_it_was() public view everyFew(handler.calls()) {
        for (uint256 i; i < handler.KEYS(); ++i) {
            address signer = handler.key(i);
            (address expected, bool open) = handler.memberOf(signer);
            (address member, uint40 since, uint40 until) = registry.keyOf(signer);
            assertEq(member, expected, "G1: member");
            assertEq(until == 0 && since != 0, open, "G2: open");
            RegistryHandler.Interval memory closed = handler.closedInterval(signer);
            if (closed.until != 0) {
                assertEq(member, closed.member, "G1: a closed key's member");
                assertEq(since, closed.since, "G1: a closed key's beginning");
                assertEq(until, closed.until, "G1: a closed key's end");
            }
            if (open) assertEq(registry.signerOf(member), signer, "G2: the one open key");

            checkAnswers(signer, member, open);
        }
    }

    function checkAnswers(address signer, address member, bool open) internal view {
        (bool answers, bytes memory answer) =
            address(registry).staticcall(abi.encodeCall(Registry.institution, (signer)));
        assertEq(answers, open && handler.isInstitution(member), "G2: institution");
        if (answers) assertEq(abi.decode(answer, (address)), member, "G2: institution's member");
        (answers, answer) = address(registry).staticcall(abi.encodeCall(Registry.professional, (signer)));
        assertEq(answers, open && handler.isAccredited(member), "G5: professional");
        if (answers) assertEq(abi.decode(answer, (address)), member, "G2: professional's member");
    }

    /// @dev G3, G4, G6: how many there are, what was decided, and who is bound.
    function invariant_G3_G4_G6_the_network_is_as_voted() public view everyFew(handler.calls()) {
        assertEq(registry.institutionCount(), handler.count(), "G3: count");
        assertTrue(handler.count() >= 1 && handler.count() <= 255, "G3: bounds");
        RegistryHandler.Proposal[] memory proposals = handler.proposals();
        assertEq(registry.proposalCount(), proposals.length, "proposals");
        for (uint256 i; i < proposals.length; ++i) {
            assertEq(registry.proposal(i + 1).executed, proposals[i].executed, "G4: executed");
            if (!proposals[i].executed) assertEq(registry.votes(i + 1), handler.votes(i), "G4: votes");
        }
        for (uint256 i; i < handler.KEYS(); ++i) {
            for (uint256 digest = 1; digest < 3; ++digest) {
                address authority = handler.key(i);
                assertEq(
                    registry.resolve(authority, bytes32(digest)),
                    handler.identityOf(authority, bytes32(digest)),
                    "G6: identity"
                );
            }
        }
    }
}
