// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Registry} from "../../src/Registry.sol";
import {Validators} from "../../src/Validators.sol";
import {Committee} from "../support/Committee.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Registers, backs, accuses and lets epochs pass, as nine institutions and their nodes. Its model elects at
/// the end of every epoch, as the contract says it would; the contract itself elects when somebody writes.
contract ValidatorsHandler is Handler {
    Validators internal immutable VALIDATORS;
    Registry internal immutable REGISTRY;

    uint256 internal constant LENGTH = 10;
    uint256 internal constant SEATS = 5;
    uint256 public constant INSTITUTIONS = 9;
    // These vote; the others may be expelled.
    uint256 internal constant VOTERS = 5;
    address[] internal _institutions;

    struct Node {
        uint256 institution;
        uint256 votes;
        Validators.Status status;
        uint256 key;
        uint256 offence;
    }

    struct Seat {
        uint256 node;
        uint256 key;
    }

    struct Unbonding {
        uint256 institution;
        uint256 node;
        uint256 votes;
        uint256 epoch;
    }

    struct Case {
        bytes32 id;
        uint256 node;
        uint256 epoch;
        uint256 reportedIn;
        uint256 evidence;
        uint256[] jurors;
    }

    Node[] internal _nodes;
    Unbonding[] internal _unbondings;
    Case[] internal _cases;
    mapping(uint256 epoch => Seat[]) internal _committees;
    uint256 public known;
    uint256 internal _keys;
    mapping(uint256 institution => uint256) internal _latest;
    mapping(uint256 institution => bool) internal _hasNode;
    mapping(uint256 institution => bool) internal _isExpelled;
    mapping(uint256 institution => uint256) internal _jailedUntil;
    mapping(uint256 institution => bool) public isGranted;
    mapping(uint256 institution => uint256) internal _spent;
    mapping(uint256 institution => mapping(uint256 node => uint256)) public bonds;
    uint256 public burnt;

    constructor(Validators validators, Registry registry, address[INSTITUTIONS] memory institutions) {
        (VALIDATORS, REGISTRY) = (validators, registry);
        for (uint256 i; i < INSTITUTIONS; ++i) {
            _institutions.push(institutions[i]);
            if (i >= 4) continue;
            _nodes.push(Node(i, 0, Validators.Status.Standing, i, 0));
            (_latest[i], _hasNode[i]) = (i, true);
            _committees[0].push(Seat(i, i));
        }
        _keys = 4;
        for (; known < _now() + 1;) {
            _elect();
        }
    }

    /* What the model knows, for the invariants */

    function nodeOf(uint256 node) external view returns (Node memory) {
        return _nodes[node];
    }

    function nodes() external view returns (uint256) {
        return _nodes.length;
    }

    function freeOf(uint256 institution) public view returns (uint256) {
        return 1000 - _spent[institution];
    }

    function unbondingAt(uint256 index) external view returns (Unbonding memory) {
        return _unbondings[index];
    }

    function unbondings() external view returns (uint256) {
        return _unbondings.length;
    }

    function committeeAt(uint256 epoch) external view returns (Seat[] memory) {
        return _committees[epoch];
    }

    /* Delegates */

    function register(uint256 seed) external seeded(seed) {
        (uint256 institution, bool fresh, bool freshKey) = (random(INSTITUTIONS), chance(90), chance(90));
        (uint256 node, uint256 key) =
            (fresh ? _nodes.length : random(_nodes.length), freshKey ? _keys : random(_keys));
        bool isFree = !_hasNode[institution] || !_stands(_latest[institution]);
        bool may = !_isExpelled[institution] && isFree && _now() >= _jailedUntil[institution];
        bytes memory data = abi.encodeCall(Validators.register, (_account(node), _key(key), "node:1"));
        if (!_attempt(_institutions[institution], data, may && fresh && freshKey, "N5: registers")) return;
        _nodes.push(Node(institution, 0, Validators.Status.Standing, key, 0));
        (_latest[institution], _hasNode[institution]) = (node, true);
        ++_keys;
    }

    function rotateKey(uint256 seed) external seeded(seed) {
        (uint256 institution, bool fresh) = (random(INSTITUTIONS), chance(80));
        uint256 key = fresh ? _keys : random(_keys);
        bool expected = _canChange(institution) && fresh;
        bytes memory data = abi.encodeCall(Validators.rotateKey, (_key(key)));
        if (!_attempt(_institutions[institution], data, expected, "N5: rotates")) return;
        _nodes[_latest[institution]].key = key;
        ++_keys;
    }

    function stepDown(uint256 seed) external seeded(seed) {
        uint256 institution = random(INSTITUTIONS);
        bool expected = _canChange(institution);
        if (expected && chance(70)) return;
        bytes memory data = abi.encodeCall(Validators.stepDown, ());
        if (!_attempt(_institutions[institution], data, expected, "steps down")) return;
        _nodes[_latest[institution]].status = Validators.Status.Left;
    }

    function strikeOff(uint256 seed) external seeded(seed) {
        uint256 node = random(_nodes.length);
        bool expected = _stands(node) && _isExpelled[_nodes[node].institution];
        bytes memory data = abi.encodeCall(Validators.strikeOff, (_account(node)));
        if (!_attempt(address(1), data, expected, "strikes off")) return;
        _nodes[node].status = Validators.Status.Left;
    }

    function expel(uint256 seed) external seeded(seed) {
        uint256 institution = VOTERS + random(INSTITUTIONS - VOTERS);
        if (_isExpelled[institution] || chance(90)) return;
        vm.prank(_institutions[0]);
        uint256 id = REGISTRY.proposeExpulsion(_institutions[institution]);
        for (uint256 i = 1; i < VOTERS && !REGISTRY.proposal(id).executed; ++i) {
            vm.prank(_institutions[i]);
            REGISTRY.vote(id);
        }
        _isExpelled[institution] = true;
    }

    /* Votes */

    function delegate(uint256 seed) external seeded(seed) {
        (uint256 institution, uint256 node, uint256 votes) =
            (random(INSTITUTIONS), _recentNode(), chance(90) ? 1 + random(150) : random(2000));
        bool expected = !_isExpelled[institution] && _stands(node) && votes != 0 && votes <= freeOf(institution);
        bytes memory data = abi.encodeCall(Validators.delegate, (_account(node), uint32(votes)));
        if (!_attempt(_institutions[institution], data, expected, "N1: delegates what is free")) return;
        isGranted[institution] = true;
        _spent[institution] += votes;
        bonds[institution][node] += votes;
        _nodes[node].votes += votes;
    }

    function undelegate(uint256 seed) external seeded(seed) {
        (uint256 institution, uint256 node, bool recalls) = (random(INSTITUTIONS), _recentNode(), chance(20));
        uint256 bond = bonds[institution][node];
        uint256 votes = recalls ? bond : random(bond + 2);
        bool expected = votes != 0 && votes <= bond && _isExpelled[institution] == recalls;
        bytes memory data = recalls
            ? abi.encodeCall(Validators.recall, (_institutions[institution], _account(node)))
            : abi.encodeCall(Validators.undelegate, (_account(node), uint32(votes)));
        address caller = recalls ? address(1) : _institutions[institution];
        if (!_attempt(caller, data, expected, "N1: takes back what is bonded")) return;
        bonds[institution][node] -= votes;
        _nodes[node].votes -= votes;
        _unbondings.push(Unbonding(institution, node, votes, _now()));
    }

    function release(uint256 seed) external seeded(seed) {
        uint256 index = random(_unbondings.length + 1);
        bool isThere = index < _unbondings.length;
        bool expected = isThere && _unbondings[index].votes != 0 && _now() >= _unbondings[index].epoch + 8;
        bytes memory data = abi.encodeCall(Validators.release, (index + 1));
        if (!_attempt(address(1), data, expected, "N7: releases in time")) return;
        Unbonding storage unbonding = _unbondings[index];
        Node memory node = _nodes[unbonding.node];
        uint256 loss;
        if (node.status == Validators.Status.Slashed && node.offence <= unbonding.epoch + 1) {
            loss = unbonding.votes / 10 + (unbonding.votes % 10 == 0 ? 0 : 1);
        }
        _spent[unbonding.institution] -= unbonding.votes - loss;
        burnt += loss;
        unbonding.votes = 0;
    }

    /* Offences */

    function report(uint256 seed) external seeded(seed) {
        if (chance(50)) return;
        uint256 now_ = _now();
        uint256 epoch = now_ + 1 - random(chance(80) ? 4 : 8);
        (uint256 by, uint256 accused) = (_someMember(now_), _someMember(epoch <= known ? epoch : known));
        uint256 evidence = chance(80) ? calls : random(5);
        bytes memory bytes_ = abi.encode(evidence);
        bytes32 id = keccak256(abi.encode(_account(accused), uint40(epoch), keccak256(bytes_)));
        bool expected = epoch <= now_ && now_ <= epoch + 4 && _isMember(accused, epoch) && !_isSlashed(accused)
            && _isJuror(by, now_, accused) && !_isOpen(id);
        bytes memory data = abi.encodeCall(Validators.report, (_account(accused), uint40(epoch), bytes_));
        if (!_attempt(_account(by), data, expected, "N6: a member reports")) return;
        _cases.push();
        Case storage case_ = _cases[_cases.length - 1];
        (case_.id, case_.node, case_.epoch, case_.reportedIn) = (id, accused, epoch, now_);
        case_.jurors.push(by);
    }

    function confirm(uint256 seed) external seeded(seed) {
        if (_cases.length == 0) return;
        uint256 index = _cases.length - 1 - random(_cases.length < 3 ? _cases.length : 3);
        Case storage case_ = _cases[index];
        uint256 by = _someMember(case_.reportedIn);
        bool confirmed;
        for (uint256 i; i < case_.jurors.length; ++i) {
            if (case_.jurors[i] == by) confirmed = true;
        }
        // Reported anew, it is another case with the same identifier: the latest counts.
        bool isLatest = true;
        for (uint256 i = index + 1; i < _cases.length; ++i) {
            if (_cases[i].id == case_.id) isLatest = false;
        }
        if (!isLatest) return;
        bool expected = !_isSlashed(case_.node) && _now() <= case_.reportedIn + 2 && !confirmed
            && _isJuror(by, case_.reportedIn, case_.node);
        // The key of the institution does as well, while the node is its latest.
        uint256 institution = _nodes[by].institution;
        bool byKey = chance(30) && !_isExpelled[institution] && _latest[institution] == by;
        address caller = byKey ? _institutions[institution] : _account(by);
        if (!_attempt(caller, abi.encodeCall(Validators.confirm, (case_.id)), expected, "N6: a member confirms")) return;
        case_.jurors.push(by);
        uint256 size = _committees[case_.reportedIn].length;
        // The quorum of simplex: all but the most that may be faulty.
        uint256 faulty;
        while (3 * (faulty + 1) < size) ++faulty;
        if (case_.jurors.length < size - faulty) return;
        Node storage node = _nodes[case_.node];
        (node.status, node.offence) = (Validators.Status.Slashed, case_.epoch);
        _jailedUntil[node.institution] = _now() + 16;
        if (_stands(_latest[node.institution])) _nodes[_latest[node.institution]].status = Validators.Status.Left;
    }

    /* Epochs */

    function advance(uint256 seed) external seeded(seed) {
        if (chance(50)) _attempt(address(1), abi.encodeCall(Validators.advance, ()), true, "anybody advances");
    }

    function wait(uint256 seed) external seeded(seed) {
        uint256 blocks = chance(70) ? random(2 * LENGTH) : random(5 * LENGTH);
        vm.roll(vm.getBlockNumber() + blocks);
        while (known < _now() + 1) _elect();
    }

    /// @dev The committee after the last that is known, by the votes as they are.
    function _elect() internal {
        Seat[] storage old = _committees[known];
        uint256 most = old.length / 3;
        bool[] memory isGone = new bool[](old.length);
        bool[] memory isNew = new bool[](_nodes.length);
        uint256 comes;
        uint256 outs;
        for (uint256 i; i < _nodes.length && comes < most; ++i) {
            // The best that is neither seated nor chosen, if it is among the best of all.
            (bool found, uint256 best) = _bestOutside(old, isNew);
            if (!found || _better(old, best) >= SEATS) break;
            isNew[best] = true;
            ++comes;
        }
        for (uint256 i; i < old.length; ++i) {
            if (!_stands(old[i].node) && outs < most) ++outs;
        }
        uint256 goes = outs;
        while (goes > 0 && old.length + comes - goes < 4) --goes;
        while (old.length + comes - goes > SEATS) ++goes;
        for (uint256 i; i < goes; ++i) {
            isGone[_worst(old, isGone)] = true;
        }
        uint256 rotates = most - (comes > goes ? comes : goes);
        ++known;
        Seat[] storage next = _committees[known];
        // Accounts rise with the number of the node.
        for (uint256 node; node < _nodes.length; ++node) {
            if (isNew[node]) next.push(Seat(node, _nodes[node].key));
            for (uint256 i; i < old.length; ++i) {
                if (old[i].node != node || isGone[i]) continue;
                bool rotated = rotates != 0 && _stands(node) && old[i].key != _nodes[node].key;
                if (rotated) --rotates;
                next.push(Seat(node, rotated ? _nodes[node].key : old[i].key));
            }
        }
    }

    function _bestOutside(Seat[] storage old, bool[] memory isNew) internal view returns (bool found, uint256 best) {
        for (uint256 node; node < _nodes.length; ++node) {
            if (isNew[node] || !_stands(node) || _nodes[node].votes == 0 || _isIn(old, node)) continue;
            if (!found || _nodes[node].votes > _nodes[best].votes) (found, best) = (true, node);
        }
    }

    /// @dev How many that could have a seat are better than a node.
    function _better(Seat[] storage old, uint256 than) internal view returns (uint256 count) {
        for (uint256 node; node < _nodes.length; ++node) {
            if (!_stands(node) || (_nodes[node].votes == 0 && !_isIn(old, node))) continue;
            (uint256 votes, uint256 its) = (_nodes[than].votes, _nodes[node].votes);
            if (its > votes || (its == votes && node < than)) ++count;
        }
    }

    /// @dev The slashed, then who left, then who has fewest votes, of these the highest account.
    function _worst(Seat[] storage old, bool[] memory isGone) internal view returns (uint256) {
        Validators.Status[2] memory first = [Validators.Status.Slashed, Validators.Status.Left];
        for (uint256 i; i < 2; ++i) {
            for (uint256 j; j < old.length; ++j) {
                if (!isGone[j] && _nodes[old[j].node].status == first[i]) return j;
            }
        }
        uint256 worst = type(uint256).max;
        for (uint256 j; j < old.length; ++j) {
            if (isGone[j]) continue;
            if (worst == type(uint256).max || _nodes[old[j].node].votes <= _nodes[old[worst].node].votes) worst = j;
        }
        return worst;
    }

    function _isIn(Seat[] storage seats, uint256 node) internal view returns (bool) {
        for (uint256 i; i < seats.length; ++i) {
            if (seats[i].node == node) return true;
        }
        return false;
    }

    /* Helpers */

    function _attempt(address caller, bytes memory data, bool expected, string memory what) internal returns (bool) {
        return attempt(caller, address(VALIDATORS), data, expected, what);
    }

    function _now() internal view returns (uint256) {
        return vm.getBlockNumber() / LENGTH;
    }

    function _account(uint256 node) internal pure returns (address) {
        return address(uint160(0xE00 + node));
    }

    function _key(uint256 key) internal pure returns (bytes32) {
        return bytes32(0x1000 + key);
    }

    function _stands(uint256 node) internal view returns (bool) {
        return _nodes[node].status == Validators.Status.Standing;
    }

    function _isSlashed(uint256 node) internal view returns (bool) {
        return _nodes[node].status == Validators.Status.Slashed;
    }

    function _canChange(uint256 institution) internal view returns (bool) {
        return !_isExpelled[institution] && _hasNode[institution] && _stands(_latest[institution]);
    }

    /// @dev One of the latest, for the others are over.
    function _recentNode() internal returns (uint256) {
        uint256 all = _nodes.length;
        return all - 1 - random(all < 12 ? all : 12);
    }

    /// @dev In most cases; otherwise any node.
    function _someMember(uint256 epoch) internal returns (uint256) {
        Seat[] storage seats = _committees[epoch];
        return chance(90) ? seats[random(seats.length)].node : random(_nodes.length);
    }

    function _isMember(uint256 node, uint256 epoch) internal view returns (bool) {
        return _isIn(_committees[epoch], node);
    }

    function _isJuror(uint256 by, uint256 epoch, uint256 accused) internal view returns (bool) {
        return by != accused && _isMember(by, epoch) && !_isSlashed(by);
    }

    function _isOpen(bytes32 id) internal view returns (bool) {
        for (uint256 i; i < _cases.length; ++i) {
            if (_cases[i].id == id && _now() <= _cases[i].reportedIn + 2) return true;
        }
        return false;
    }
}

/// forge-config: default.invariant.depth = 300
contract ValidatorsInvariants is Committee, InvariantTest {
    ValidatorsHandler internal handler;

    function setUp() public override {
        super.setUp();
        address[9] memory institutions =
            [hospital, laboratory, pharmacy, emergency, insurer, research, regulator, maker, clinic];
        handler = new ValidatorsHandler(validators, registry, institutions);
        target(address(handler));
    }

    function invariant_N1_votes_are_conserved() public view everyFew(handler.calls()) {
        Validators.Supply memory supply = validators.supply();
        (uint256 granted, uint256 free, uint256 bonded, uint256 unbonding) = (0, 0, 0, 0);
        for (uint256 i; i < 9; ++i) {
            Validators.Voter memory voter = validators.voterOf(institution(i));
            assertEq(voter.granted, handler.isGranted(i), "granted");
            if (voter.granted) (granted, free) = (granted + 1000, free + voter.free);
            if (voter.granted) assertEq(voter.free, handler.freeOf(i), "free");
            for (uint256 j; j < handler.nodes(); ++j) {
                uint256 bond = validators.bondOf(institution(i), node(j));
                assertEq(bond, handler.bonds(i, j), "bond");
                bonded += bond;
            }
        }
        for (uint256 i; i < handler.unbondings(); ++i) {
            uint256 votes = validators.unbondingOf(i + 1).votes;
            assertEq(votes, handler.unbondingAt(i).votes, "unbonding");
            unbonding += votes;
        }
        assertEq(supply.granted, granted, "N1: granted");
        assertEq(supply.bonded, bonded, "N1: bonded");
        assertEq(supply.unbonding, unbonding, "N1: unbonding");
        assertEq(supply.burnt, handler.burnt(), "N1: burnt");
        assertEq(granted, free + bonded + unbonding + supply.burnt, "N1: all");
    }

    function invariant_N5_N6_delegates_are_what_the_model_says() public view everyFew(handler.calls()) {
        uint256 standing;
        for (uint256 i; i < handler.nodes(); ++i) {
            Validators.Delegate memory stored = validators.delegateOf(node(i));
            ValidatorsHandler.Node memory model = handler.nodeOf(i);
            assertEq(stored.institution, institution(model.institution), "institution");
            assertEq(stored.votes, model.votes, "votes");
            assertEq(uint256(stored.status), uint256(model.status), "status");
            assertEq(stored.key, consensusKey(model.key), "key");
            assertEq(stored.offence, model.offence, "offence");
            assertEq(validators.accountOf(stored.key), node(i), "N5: whose key");
            if (stored.status != Validators.Status.Standing) continue;
            ++standing;
            assertEq(validators.delegates()[stored.place], node(i), "place");
            assertEq(validators.voterOf(stored.institution).delegate, node(i), "N5: one of an institution");
        }
        assertEq(validators.delegates().length, standing, "listed");
    }

    function invariant_N2_N3_N4_committees_are_what_the_model_elected() public view everyFew(handler.calls()) {
        uint256 known = handler.known();
        assertEq(validators.currentEpoch() + 1, known, "known");
        // All that anybody may still have to do with.
        for (uint256 epoch = known - 8; epoch <= known; ++epoch) {
            ValidatorsHandler.Seat[] memory model = handler.committeeAt(epoch);
            Validators.Member[] memory members = validators.committee(epoch);
            assertTrue(members.length >= 4 && members.length <= SEATS, "N2: size");
            assertEq(members.length, model.length, "N4: size");
            for (uint256 i; i < members.length; ++i) {
                assertEq(members[i].account, node(model[i].node), "N4: member");
                assertEq(members[i].key, consensusKey(model[i].key), "N4: key");
                if (i != 0) assertTrue(members[i].account > members[i - 1].account, "N2: each once");
            }
            ValidatorsHandler.Seat[] memory old = handler.committeeAt(epoch - 1);
            uint256 stay;
            for (uint256 i; i < members.length; ++i) {
                for (uint256 j; j < old.length; ++j) {
                    if (members[i].key == consensusKey(old[j].key)) ++stay;
                }
            }
            assertTrue(old.length - stay <= old.length / 3, "N3: who goes");
            assertTrue(members.length - stay <= old.length / 3, "N3: who comes");
        }
    }
}
