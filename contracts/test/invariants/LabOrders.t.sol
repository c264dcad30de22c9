// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../../src/Ids.sol";
import {LabOrders} from "../../src/LabOrders.sol";
import {Network} from "../support/Network.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Takes the steps of eight orders in any order, as everybody.
contract LabOrdersHandler is Handler {
    LabOrders internal immutable ORDERS;
    address internal immutable LABORATORY;
    address internal immutable PATIENT;
    address internal immutable DOCTOR;
    address internal immutable NURSE;
    address internal immutable SCIENTIST;

    address[] internal _everybody;
    uint256 public constant ORDERED = 8;

    struct Model {
        uint256 ordered;
        uint256 collected;
        uint256 reported;
        uint256 released;
        uint256 acknowledged;
        uint256 cancelled;
        bool critical;
        bool told;
        uint256 versions;
        uint256 escalations;
        uint40 due;
        uint40 escalateBy;
        bytes32 custody;
        bytes32 result;
    }

    mapping(bytes32 id => Model) internal _models;

    constructor(LabOrders orders, address laboratory, address[5] memory everybody) {
        (ORDERS, LABORATORY) = (orders, laboratory);
        (PATIENT, DOCTOR, NURSE, SCIENTIST) = (everybody[0], everybody[1], everybody[2], everybody[3]);
        for (uint256 i; i < 5; ++i) {
            _everybody.push(everybody[i]);
        }
    }

    function order(uint256 seed) external seeded(seed) {
        (address caller, uint256 number) = (mostly(DOCTOR, _everybody), random(ORDERED));
        Model storage model = _models[idOf(number)];
        bytes memory data = abi.encodeCall(LabOrders.order, (bytes32(number), PATIENT, LABORATORY, "digest"));
        if (attempt(caller, address(ORDERS), data, caller == DOCTOR && model.ordered == 0, "O1: order")) {
            ++model.ordered;
        }
    }

    function collect(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(chance(50) ? NURSE : SCIENTIST, _everybody), _id());
        Model storage model = _models[id];
        bool expected = (caller == NURSE || caller == SCIENTIST) && model.ordered == 1 && model.collected == 0
            && model.cancelled == 0;
        bytes memory data = abi.encodeCall(LabOrders.collect, (id, "specimen"));
        if (attempt(caller, address(ORDERS), data, expected, "O1: collect")) ++model.collected;
    }

    function report(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id, bool critical) = (mostly(SCIENTIST, _everybody), _id(), chance(50));
        Model storage model = _models[id];
        bool expected = caller == SCIENTIST && model.collected == 1 && model.reported == 0 && model.cancelled == 0;
        bytes memory data = abi.encodeCall(LabOrders.report, (id, bytes32(calls), critical));
        if (!attempt(caller, address(ORDERS), data, expected, "O1, O4: report")) return;
        ++model.reported;
        model.versions = 1;
        _result(model, critical);
    }

    function reportPreliminary(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id, bool critical) = (mostly(SCIENTIST, _everybody), _id(), chance(50));
        Model storage model = _models[id];
        bool expected = caller == SCIENTIST && model.collected == 1 && model.reported == 0 && model.cancelled == 0;
        bytes memory data = abi.encodeCall(LabOrders.reportPreliminary, (id, bytes32(calls), critical));
        if (!attempt(caller, address(ORDERS), data, expected, "O1: preliminary")) return;
        model.told = true;
        _result(model, critical);
    }

    function correct(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id, bool critical) = (mostly(SCIENTIST, _everybody), _id(), chance(50));
        Model storage model = _models[id];
        bool expected = caller == SCIENTIST && model.reported == 1;
        bytes memory data = abi.encodeCall(LabOrders.correct, (id, bytes32(calls), critical));
        if (!attempt(caller, address(ORDERS), data, expected, "O1: correct")) return;
        ++model.versions;
        model.released = 0;
        _result(model, critical);
    }

    function escalate(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (pick(_everybody), _id());
        Model storage model = _models[id];
        bool may = caller == DOCTOR || caller == NURSE || caller == SCIENTIST;
        bool expected = may && isOverdue(id) && time() >= model.escalateBy;
        bytes memory data = abi.encodeCall(LabOrders.escalate, (id));
        if (!attempt(caller, address(ORDERS), data, expected, "O3: escalate")) return;
        ++model.escalations;
        model.escalateBy = time() + 1 hours;
    }

    function takeOver(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(chance(50) ? NURSE : SCIENTIST, _everybody), _id());
        Model storage model = _models[id];
        bytes32 head = chance(90) ? model.custody : bytes32("elsewhere");
        bool expected = (caller == NURSE || caller == SCIENTIST) && head == model.custody && model.collected == 1
            && model.reported == 0 && model.cancelled == 0;
        bytes memory data = abi.encodeCall(LabOrders.takeOver, (id, "hand-over", head));
        if (!attempt(caller, address(ORDERS), data, expected, "O5: take over")) return;
        model.custody = keccak256(abi.encode(head, caller, bytes32("hand-over")));
    }

    function isOverdue(bytes32 id) public view returns (bool) {
        Model storage model = _models[id];
        return model.critical && model.acknowledged == 0 && time() >= model.due;
    }

    /// @dev The first time stands until a doctor acknowledges.
    function _result(Model storage model, bool critical) internal {
        if (critical && model.due == 0) model.due = time() + 1 hours;
        // The digest of each version is the number of the call, which has been counted by now.
        model.result = bytes32(calls - 1);
        (model.critical, model.acknowledged) = (critical, 0);
    }

    function release(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(chance(50) ? DOCTOR : SCIENTIST, _everybody), _id());
        Model storage model = _models[id];
        bytes32 seen = chance(90) ? model.result : bytes32("another");
        bool expected = (caller == DOCTOR || caller == SCIENTIST) && model.reported == 1 && model.released == 0
            && seen == model.result;
        bytes memory data = abi.encodeCall(LabOrders.release, (id, seen));
        if (attempt(caller, address(ORDERS), data, expected, "O1: release")) ++model.released;
    }

    function acknowledge(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(DOCTOR, _everybody), _id());
        Model storage model = _models[id];
        bool isThere = model.reported == 1 || (model.told && model.cancelled == 0);
        bytes32 seen = chance(90) ? model.result : bytes32("another");
        bool expected = caller == DOCTOR && isThere && model.acknowledged == 0 && seen == model.result;
        bytes memory data = abi.encodeCall(LabOrders.acknowledge, (id, seen));
        if (!attempt(caller, address(ORDERS), data, expected, "O2: acknowledge")) return;
        ++model.acknowledged;
        (model.due, model.escalateBy) = (0, 0);
    }

    /// @dev Seldom by who can, or there would be nothing left to do.
    function cancel(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(chance(50) ? DOCTOR : PATIENT, _everybody), _id());
        Model storage model = _models[id];
        bool may = caller == DOCTOR || caller == PATIENT;
        bool expected = may && model.ordered == 1 && model.reported == 0 && !model.told && model.cancelled == 0;
        if (expected && chance(70)) return;
        bytes memory data = abi.encodeCall(LabOrders.cancel, (id));
        if (attempt(caller, address(ORDERS), data, expected, "O4: cancel")) ++model.cancelled;
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(40 minutes));
    }

    function _id() internal returns (bytes32) {
        return idOf(random(ORDERED));
    }

    /// @dev O6: only the doctor's identifiers are ever taken.
    function idOf(uint256 number) public view returns (bytes32) {
        return makeId(DOCTOR, bytes32(number));
    }

    function modelOf(bytes32 id) external view returns (Model memory) {
        return _models[id];
    }
}

/// forge-config: default.invariant.depth = 200
contract LabOrdersInvariants is Network, InvariantTest {
    LabOrdersHandler internal handler;

    function setUp() public override {
        super.setUp();
        relate(patient, hospital, false);
        handler = new LabOrdersHandler(labOrders, laboratory, [patient, physician, nurse, scientist, paramedic]);
        target(address(handler));
    }

    /// @dev O1, O2, O4 as states; O3 as the clock; O5 as the head.
    function invariant_O1_O2_O3_O4_O5_an_order_is_where_the_model_is() public view everyFew(handler.calls()) {
        for (uint256 i; i < handler.ORDERED(); ++i) {
            bytes32 id = handler.idOf(i);
            LabOrdersHandler.Model memory m = handler.modelOf(id);
            assertTrue(
                m.ordered <= 1 && m.collected <= m.ordered && m.reported <= m.collected && m.released <= m.reported,
                "O1: in order, once each"
            );
            assertTrue(m.acknowledged <= m.reported || m.told, "O2: once, of a result");
            assertTrue(m.reported + m.cancelled <= 1, "O4: a result or a cancellation");

            LabOrders.State expected = m.cancelled == 1
                ? LabOrders.State.Cancelled
                : m.released == 1 && m.acknowledged == 1
                    ? LabOrders.State.Acknowledged
                    : LabOrders.State(m.ordered + m.collected + m.reported + m.released);
            assertEq(uint256(labOrders.stateOf(id)), uint256(expected), "state");
            assertEq(labOrders.isOverdue(id), handler.isOverdue(id), "O3: overdue");
            assertEq(labOrders.orderOf(id).acknowledgeBy, m.due, "O3: the first time stands");
            assertEq(labOrders.resultOf(id), m.result, "O2: the latest");
            assertEq(labOrders.orderOf(id).version, m.versions, "O1: versions");
            assertEq(labOrders.orderOf(id).escalations, m.escalations, "escalations");
            assertEq(labOrders.custodyOf(id), m.custody, "O5: custody");
        }
    }
}
