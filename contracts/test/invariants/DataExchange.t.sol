// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DataExchange} from "../../src/DataExchange.sol";
import {makeId} from "../../src/Ids.sol";
import {Purse} from "../../src/Purse.sol";
import {Handler, InvariantTest} from "../support/Test.sol";
import {Merkle} from "../support/Merkle.sol";
import {WideNetwork} from "../support/WideNetwork.sol";

/// @notice Consents and withdraws, orders, delivers, settles, disputes, challenges and is paid, as everybody.
contract DataExchangeHandler is Handler {
    uint256 public constant PATIENTS = 6;

    DataExchange internal immutable EXCHANGE;
    bytes32 internal immutable STUDY;
    bytes32 internal immutable OFFER;
    uint128 internal immutable PRICE;

    /// @dev Three tenths of it, for all patients together.
    uint256 internal immutable POOL;

    /// @dev Source, buyer, auditor, stranger, then the patients.
    address[] public everybody;

    struct Model {
        DataExchange.State state;
        uint40 since;
        uint256 paid;
        uint256 count;
        bool breached;
        bool returned;
        bool[6] stood;
        bool[6] isPaid;
    }

    bytes32[] public ids;
    mapping(bytes32 id => Model) internal _models;
    mapping(address holder => uint256) public balances;
    bool[6] public stands;
    uint32 public withdrawals;
    uint256 internal _extracts;

    constructor(DataExchange exchange, bytes32 study, bytes32 offer, uint128 price, address[10] memory people) {
        (EXCHANGE, STUDY, OFFER, PRICE) = (exchange, study, offer, price);
        POOL = uint256(price) * 3000 / 10_000;
        for (uint256 i; i < 10; ++i) {
            everybody.push(people[i]);
        }
    }

    function proofFor(bytes32 id, uint256 place) public view returns (bytes32[] memory) {
        return Merkle.proofOf(_leaves(id), place);
    }

    function _leaves(bytes32 id) internal view returns (bytes32[] memory list) {
        list = new bytes32[](PATIENTS);
        for (uint256 i; i < PATIENTS; ++i) {
            list[i] = keccak256(bytes.concat(keccak256(abi.encode(id, everybody[4 + i], bytes32(i)))));
        }
    }

    /* Consent */

    function consent(uint256 seed) external seeded(seed) {
        uint256 place = random(PATIENTS);
        bool gives = chance(80);
        bytes memory data = gives
            ? abi.encodeCall(DataExchange.consent, (STUDY, "protocol"))
            : abi.encodeCall(DataExchange.withdrawConsent, (STUDY));
        if (!attempt(everybody[4 + place], address(EXCHANGE), data, true, "X2: consents and withdraws")) return;
        if (!gives && stands[place]) ++withdrawals;
        stands[place] = gives;
    }

    /* Orders */

    function deposit(uint256 seed) external seeded(seed) {
        uint256 amount = random(3000);
        address buyer = everybody[1];
        bytes memory data = abi.encodeCall(Purse.deposit, (buyer, amount));
        bool expected = amount != 0 && EXCHANGE.TOKEN().balanceOf(buyer) >= amount;
        if (attempt(buyer, address(EXCHANGE), data, expected, "M1: pays in")) balances[buyer] += amount;
    }

    function withdraw(uint256 seed) external seeded(seed) {
        address holder = pick(everybody);
        uint256 amount = random(300);
        bytes memory data = abi.encodeCall(Purse.withdraw, (holder, holder, amount));
        bool expected = amount != 0 && amount <= balances[holder];
        if (attempt(holder, address(EXCHANGE), data, expected, "M2: takes out")) balances[holder] -= amount;
    }

    function order(uint256 seed) external seeded(seed) {
        (address caller, bytes32 salt) = (mostly(everybody[1], everybody), bytes32(calls));
        bytes memory data = abi.encodeCall(DataExchange.order, (salt, STUDY, OFFER, "query"));
        bool expected = caller == everybody[1] && balances[caller] >= PRICE;
        if (!attempt(caller, address(EXCHANGE), data, expected, "orders what it can pay")) return;
        bytes32 id = makeId(caller, salt);
        ids.push(id);
        balances[caller] -= PRICE;
        _move(_models[id], DataExchange.State.Placed);
    }

    function deliver(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[0], everybody), _id());
        Model storage model = _models[id];
        bool isNew = chance(90) || _extracts == 0;
        uint256 extract = isNew ? _extracts + 1 : 1 + random(_extracts);
        uint32 seen = chance(90) ? withdrawals : withdrawals + 1;
        // What it says need not be true: there are six.
        uint32 said = chance(70) ? 6 : uint32(5 + random(400));
        bytes memory data =
            abi.encodeCall(DataExchange.deliver, (id, bytes32(extract), Merkle.rootOf(_leaves(id)), said, seen));
        bool expected = caller == everybody[0] && model.state == DataExchange.State.Placed
            && time() < model.since + 30 days && isNew && seen == withdrawals;
        if (!attempt(caller, address(EXCHANGE), data, expected, "X6, X7: delivers")) return;
        ++_extracts;
        model.count = said;
        for (uint256 i; i < PATIENTS; ++i) {
            model.stood[i] = stands[i];
        }
        _move(model, DataExchange.State.Delivered);
    }

    function settle(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[1], everybody), _id());
        Model storage model = _models[id];
        bool expected = model.state == DataExchange.State.Delivered
            && (caller == everybody[1] || time() >= model.since + 14 days);
        if (expected && chance(40)) return;
        bytes memory data = abi.encodeCall(DataExchange.settle, (id));
        if (attempt(caller, address(EXCHANGE), data, expected, "settles")) _settled(model);
    }

    function dispute(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[1], everybody), _id());
        Model storage model = _models[id];
        bool expected = model.state == DataExchange.State.Delivered && caller == everybody[1]
            && time() < model.since + 14 days;
        if (expected && chance(40)) return;
        bytes memory data = abi.encodeCall(DataExchange.dispute, (id, "reason"));
        if (attempt(caller, address(EXCHANGE), data, expected, "disputes")) {
            _move(model, DataExchange.State.Disputed);
        }
    }

    function resolve(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id, bool refunds) = (mostly(everybody[2], everybody), _id(), chance(50));
        Model storage model = _models[id];
        bool expected = model.state == DataExchange.State.Disputed && caller == everybody[2];
        bytes memory data = abi.encodeCall(DataExchange.resolve, (id, refunds));
        if (!attempt(caller, address(EXCHANGE), data, expected, "a regulator resolves")) return;
        if (refunds) _refunded(model);
        else _settled(model);
    }

    function reclaim(uint256 seed) external seeded(seed) {
        bytes32 id = _id();
        Model storage model = _models[id];
        bool expected = model.state == DataExchange.State.Placed && time() >= model.since + 30 days;
        bytes memory data = abi.encodeCall(DataExchange.reclaim, (id));
        if (attempt(pick(everybody), address(EXCHANGE), data, expected, "takes back what is late")) _refunded(model);
    }

    function challenge(uint256 seed) external seeded(seed) {
        (bytes32 id, uint256 place) = (_id(), random(PATIENTS));
        Model storage model = _models[id];
        bool isThere = model.state == DataExchange.State.Delivered || model.state == DataExchange.State.Disputed
            || model.state == DataExchange.State.Settled;
        bool expected = isThere && !model.stood[place];
        if (expected && chance(50)) return;
        bytes memory data =
            abi.encodeCall(DataExchange.challenge, (id, everybody[4 + place], bytes32(place), proofFor(id, place)));
        if (!attempt(pick(everybody), address(EXCHANGE), data, expected, "X2: shows who had not consented")) return;
        model.breached = true;
        if (model.state != DataExchange.State.Settled) _refunded(model);
    }

    function claimShare(uint256 seed) external seeded(seed) {
        (bytes32 id, uint256 place) = (_id(), random(PATIENTS));
        Model storage model = _models[id];
        address caller = mostly(everybody[4 + place], everybody);
        bool expected = model.state == DataExchange.State.Settled && model.stood[place] && !model.isPaid[place]
            && caller == everybody[4 + place] && time() < model.since + 365 days;
        bytes memory data = abi.encodeCall(DataExchange.claimShare, (id, bytes32(place), proofFor(id, place)));
        if (!attempt(caller, address(EXCHANGE), data, expected, "X2, X5: is paid once")) return;
        if (model.paid == model.count) {
            model.breached = true;
            return;
        }
        model.isPaid[place] = true;
        ++model.paid;
        balances[caller] += POOL / model.count;
    }

    function returnShares(uint256 seed) external seeded(seed) {
        bytes32 id = chance(50) ? _id() : _any();
        Model storage model = _models[id];
        uint256 rest = model.count == 0 ? 0 : POOL / model.count * (model.count - model.paid);
        bool expected = model.state == DataExchange.State.Settled && time() >= model.since + 365 days && rest != 0
            && !model.returned;
        bytes memory data = abi.encodeCall(DataExchange.returnShares, (id));
        if (!attempt(pick(everybody), address(EXCHANGE), data, expected, "X5: the rest goes back once")) return;
        model.returned = true;
        balances[everybody[1]] += rest;
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(chance(95) ? random(2 hours) : random(chance(90) ? 20 days : 200 days));
    }

    /* Model */

    function modelOf(bytes32 id) external view returns (Model memory) {
        return _models[id];
    }

    function count() external view returns (uint256) {
        return ids.length;
    }

    function _any() internal returns (bytes32) {
        return ids.length == 0 ? bytes32("unknown") : ids[random(ids.length)];
    }

    function _id() internal returns (bytes32) {
        uint256 all = ids.length;
        if (all == 0 || chance(2)) return "unknown";
        return ids[all - 1 - random(all < 6 ? all : 6)];
    }

    function _move(Model storage model, DataExchange.State state) internal {
        (model.state, model.since) = (state, time());
    }

    function _settled(Model storage model) internal {
        balances[everybody[0]] += PRICE - POOL;
        balances[everybody[1]] += POOL % model.count;
        _move(model, DataExchange.State.Settled);
    }

    function _refunded(Model storage model) internal {
        balances[everybody[1]] += PRICE;
        _move(model, DataExchange.State.Refunded);
    }
}

/// forge-config: default.invariant.depth = 400
contract DataExchangeInvariants is WideNetwork, InvariantTest {
    uint128 internal constant PRICE = 1001;
    DataExchangeHandler internal handler;

    function setUp() public override {
        super.setUp();
        vm.prank(hospital);
        bytes32 offer = dataExchange.offer("offer", PRICE, 3000, "dataset", "terms");
        vm.prank(researcher);
        bytes32 study = dataExchange.proposeStudy("study", time() + 3000 days, "protocol");
        vm.prank(hospitalOfficer);
        dataExchange.approveStudy(study, "protocol", "opinion");
        vm.prank(auditor);
        dataExchange.approveStudy(study, "protocol", "opinion");
        address[10] memory people;
        (people[0], people[1], people[2], people[3]) = (hospital, research, auditor, stranger);
        for (uint256 i; i < 6; ++i) {
            people[4 + i] = vm.addr(0xC10 + i);
        }
        // The auditor outlasts the waiting.
        vm.prank(regulator);
        registry.renew(auditor, time() + 3 * 365 days);
        handler = new DataExchangeHandler(dataExchange, study, offer, PRICE, people);
        vm.prank(research);
        token.approve(address(dataExchange), type(uint256).max);
        target(address(handler));
    }

    function invariant_X2_X5_money_is_conserved_and_nobody_paid_twice() public view everyFew(handler.calls()) {
        uint256 total;
        for (uint256 i; i < 10; ++i) {
            uint256 balance = dataExchange.balanceOf(handler.everybody(i));
            assertEq(balance, handler.balances(handler.everybody(i)), "M2: balance");
            total += balance;
        }
        for (uint256 i; i < handler.count(); ++i) {
            bytes32 id = handler.ids(i);
            DataExchange.Order memory stored = dataExchange.orderOf(id);
            DataExchangeHandler.Model memory model = handler.modelOf(id);
            assertEq(uint256(stored.state), uint256(model.state), "state");
            assertEq(stored.paid, model.paid, "X5: paid once each");
            assertEq(stored.breached, model.breached, "X2: breached");
            if (stored.state == DataExchange.State.Settled) total += (model.count - model.paid) * stored.forEach;
            else if (stored.state != DataExchange.State.Refunded) total += stored.price;
        }
        assertEq(dataExchange.held(), total, "X5: conserved");
        assertEq(token.balanceOf(address(dataExchange)), total, "M1: there");
    }
}
