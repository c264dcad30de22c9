// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../../src/Ids.sol";
import {WaitingLists} from "../../src/WaitingLists.sol";
import {Handler, InvariantTest} from "../support/Test.sol";
import {WideNetwork} from "../support/WideNetwork.sol";

/// @notice Lists three referrals again and again and takes every listing anywhere, as everybody.
contract WaitingListsHandler is Handler {
    WaitingLists internal immutable LISTS;
    address internal immutable HOSPITAL;

    /// @dev Patient, referrer, surgeon and nurse of the hospital, and a stranger.
    address[] internal _everybody;

    struct Model {
        WaitingLists.State state;
        bytes32 referral;
        uint8 priority;
        uint8 missed;
        uint40 listedAt;
        uint40 appointmentAt;
    }

    bytes32[] public ids;
    mapping(bytes32 id => Model) internal _models;
    mapping(bytes32 referral => bytes32) public live;

    constructor(WaitingLists lists, address hospital, address[5] memory people) {
        (LISTS, HOSPITAL) = (lists, hospital);
        for (uint256 i; i < 5; ++i) {
            _everybody.push(people[i]);
        }
    }

    function list(uint256 seed) external seeded(seed) {
        address caller = mostly(_everybody[1], _everybody);
        (bytes32 salt, bytes32 referral) = (bytes32(chance(90) ? calls : 0), bytes32(1 + random(3)));
        bytes32 id = makeId(caller, salt);
        // The surgeon's hospital keeps the patient's records as well as the referrer's.
        bool may = caller == _everybody[1] || caller == _everybody[2];
        bool expected = may && live[referral] == 0 && _models[id].state == WaitingLists.State.None;
        bytes memory data = abi.encodeCall(WaitingLists.list, (salt, _everybody[0], HOSPITAL, referral, "entry"));
        if (!attempt(caller, address(LISTS), data, expected, "Q1: lists what is not live")) return;
        ids.push(id);
        live[referral] = id;
        _models[id] = Model(WaitingLists.State.Listed, referral, 0, 0, time(), 0);
    }

    function prioritise(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id, uint8 priority) = (mostly(_everybody[2], _everybody), _id(), uint8(random(6)));
        Model storage model = _models[id];
        bool isThere = model.state == WaitingLists.State.Listed || model.state == WaitingLists.State.Prioritised;
        bool expected = caller == _everybody[2] && isThere && priority > 0 && priority < 5;
        bytes memory data = abi.encodeCall(WaitingLists.prioritise, (id, priority));
        if (!attempt(caller, address(LISTS), data, expected, "Q3: prioritises")) return;
        (model.state, model.priority) = (WaitingLists.State.Prioritised, priority);
    }

    function schedule(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(_everybody[3], _everybody), _id());
        Model storage model = _models[id];
        uint40 at_ = uint40(time() + random(3 days));
        if (chance(5)) at_ = time() - 1;
        bool isThere = model.state == WaitingLists.State.Prioritised || model.state == WaitingLists.State.Scheduled;
        bool expected = _isStaff(caller) && isThere && at_ >= time();
        bytes memory data = abi.encodeCall(WaitingLists.schedule, (id, at_));
        if (!attempt(caller, address(LISTS), data, expected, "Q3: schedules")) return;
        (model.state, model.appointmentAt) = (WaitingLists.State.Scheduled, at_);
    }

    function attend(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id, bool comes) = (mostly(_everybody[3], _everybody), _id(), chance(30));
        Model storage model = _models[id];
        bool expected = _isStaff(caller) && model.state == WaitingLists.State.Scheduled && time() >= model.appointmentAt;
        bytes memory data = comes ? abi.encodeCall(WaitingLists.attend, (id)) : abi.encodeCall(WaitingLists.miss, (id));
        if (!attempt(caller, address(LISTS), data, expected, "Q3: comes, or does not, at the time")) return;
        if (comes) return _end(model, WaitingLists.State.Attended);
        (model.state, model.appointmentAt) = (WaitingLists.State.Prioritised, 0);
        ++model.missed;
    }

    function remove(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (pick(_everybody), _id());
        Model storage model = _models[id];
        bool isThere = model.state != WaitingLists.State.None && model.state <= WaitingLists.State.Scheduled;
        // The patient, the surgeon, and who referred, which is one of two.
        bool may = caller == _everybody[0] || caller == _everybody[2]
            || (caller == _everybody[1] && LISTS.listingOf(id).referrer == caller);
        bool expected = may && isThere;
        if (expected && chance(70)) return;
        bytes memory data = abi.encodeCall(WaitingLists.remove, (id, "reason"));
        if (attempt(caller, address(LISTS), data, expected, "Q3: removes")) _end(model, WaitingLists.State.Removed);
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(2 days));
    }

    function modelOf(bytes32 id) external view returns (Model memory) {
        return _models[id];
    }

    function count() external view returns (uint256) {
        return ids.length;
    }

    function _end(Model storage model, WaitingLists.State state) internal {
        model.state = state;
        live[model.referral] = 0;
    }

    function _isStaff(address who) internal view returns (bool) {
        return who == _everybody[2] || who == _everybody[3];
    }

    /// @dev One of the latest, for the others are over.
    function _id() internal returns (bytes32) {
        uint256 all = ids.length;
        if (all == 0 || chance(2)) return "unknown";
        return ids[all - 1 - random(all < 5 ? all : 5)];
    }
}

/// forge-config: default.invariant.depth = 200
contract WaitingListsInvariants is WideNetwork, InvariantTest {
    WaitingListsHandler internal handler;

    function setUp() public override {
        super.setUp();
        handler = new WaitingListsHandler(waitingLists, hospital, [patient, referrer, surgeon, nurse, stranger]);
        for (uint256 i; i < 3; ++i) {
            // They outlast the waiting.
            address employer = i == 0 ? clinic : hospital;
            vm.prank(employer);
            registry.renew([referrer, surgeon, nurse][i], time() + 3 * 365 days);
        }
        target(address(handler));
    }

    function invariant_Q1_Q2_Q3_a_listing_is_where_the_model_is() public view everyFew(handler.calls()) {
        uint256[3] memory live;
        for (uint256 i; i < handler.count(); ++i) {
            bytes32 id = handler.ids(i);
            WaitingLists.Listing memory stored = waitingLists.listingOf(id);
            WaitingListsHandler.Model memory model = handler.modelOf(id);
            assertEq(uint256(stored.state), uint256(model.state), "state");
            assertEq(stored.listedAt, model.listedAt, "Q2: since the same time");
            assertEq(stored.appointmentAt, model.appointmentAt, "appointment");
            assertEq(stored.priority, model.priority, "priority");
            assertEq(stored.missed, model.missed, "missed");
            if (stored.state <= WaitingLists.State.Scheduled) ++live[uint256(model.referral) - 1];
        }
        for (uint256 i; i < 3; ++i) {
            assertTrue(live[i] <= 1, "Q1: live once");
            bytes32 referral = bytes32(i + 1);
            assertEq(waitingLists.liveOf(hospital, patient, referral), handler.live(referral), "Q1: which");
        }
    }
}
