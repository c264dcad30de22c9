// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Claims} from "../../src/Claims.sol";
import {makeId} from "../../src/Ids.sol";
import {Prescriptions} from "../../src/Prescriptions.sol";
import {Purse} from "../../src/Purse.sol";
import {Handler, InvariantTest} from "../support/Test.sol";
import {WideNetwork} from "../support/WideNetwork.sol";

/// @notice Claims, decides, appeals, pays, pays back, in and out as everybody, for six fills of one prescription,
/// the first two of which name the same record as their evidence.
contract ClaimsHandler is Handler {
    uint256 public constant FILLS = 6;
    uint256 public constant COVERAGES = 2;

    Claims internal immutable CLAIMS;
    bytes32 internal immutable SERVICE;

    /// @dev Patient, provider, insurer and its two adjudicators, and a stranger.
    address[] public everybody;
    bytes32[2] public coverages;
    uint128[2] public limits = [5000, 1_000_000];

    struct Model {
        uint256 fill;
        uint256 coverage;
        Claims.State state;
        address adjudicator;
        uint128 amount;
        uint128 approved;
        uint128 share;
        uint128 paid;
        uint128 copaid;
        uint128 refunded;
        uint128 refundedCopayment;
    }

    bytes32[] public ids;
    mapping(bytes32 id => Model) internal _models;
    mapping(uint256 fill => uint256) public live;
    mapping(uint256 coverage => uint256) public used;
    mapping(address holder => uint256) public balances;

    constructor(Claims claims, bytes32 service, bytes32[2] memory coverages_, address[6] memory people) {
        (CLAIMS, SERVICE, coverages) = (claims, service, coverages_);
        for (uint256 i; i < 6; ++i) {
            everybody.push(people[i]);
        }
    }

    function recordOf(uint256 fill) public pure returns (bytes32) {
        return fill < 2 ? bytes32("the same") : bytes32(fill);
    }

    /* In and out */

    function deposit(uint256 seed) external seeded(seed) {
        address holder = everybody[random(3)];
        uint256 amount = random(4000);
        bytes memory data = abi.encodeCall(Purse.deposit, (holder, amount));
        // Patient and insurer have tokens; the provider has what it took out before.
        bool expected = amount != 0 && CLAIMS.TOKEN().balanceOf(holder) >= amount;
        if (attempt(holder, address(CLAIMS), data, expected, "M1: pays in")) balances[holder] += amount;
    }

    function withdraw(uint256 seed) external seeded(seed) {
        address holder = everybody[chance(90) ? random(3) : 5];
        uint256 amount = random(1000);
        bytes memory data = abi.encodeCall(Purse.withdraw, (holder, holder, amount));
        bool expected = amount != 0 && amount <= balances[holder];
        if (attempt(holder, address(CLAIMS), data, expected, "M2: takes out")) balances[holder] -= amount;
    }

    /* Claims */

    function submit(uint256 seed) external seeded(seed) {
        (address caller, uint256 fill, uint256 coverage) = (mostly(everybody[1], everybody), random(FILLS), random(2));
        (uint128 amount, bytes32 salt) = (uint128(random(3000)), bytes32(calls));
        bytes32 evidence = chance(95) ? recordOf(fill) : bytes32("other");
        bool isFree = live[fill] == 0 && (fill > 1 || live[1 - fill] == 0);
        bool expected = caller == everybody[1] && isFree && amount != 0 && evidence == recordOf(fill);
        Claims.Submission memory submission = Claims.Submission(
            coverages[coverage], Claims.Source.Prescription, SERVICE, fill + 1, evidence, amount, 0, "claim"
        );
        bytes memory data = abi.encodeCall(Claims.submit, (salt, submission));
        if (!attempt(caller, address(CLAIMS), data, expected, "K1, K2: claims what is free")) return;
        bytes32 id = makeId(caller, salt);
        ids.push(id);
        Model storage model = _models[id];
        (model.fill, model.coverage, model.state, model.amount) = (fill, coverage, Claims.State.Submitted, amount);
        ++live[fill];
    }

    function withdrawClaim(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[1], everybody), _id());
        Model storage model = _models[id];
        bool expected = model.state == Claims.State.Submitted && caller == everybody[1];
        if (expected && chance(70)) return;
        bytes memory data = abi.encodeCall(Claims.withdrawClaim, (id));
        if (!attempt(caller, address(CLAIMS), data, expected, "K2: takes back what is undecided")) return;
        model.state = Claims.State.Withdrawn;
        --live[model.fill];
    }

    function adjudicate(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[3], everybody), _id());
        Model storage model = _models[id];
        Claims.Decision memory decision = _decision(model);
        bool expected = model.state == Claims.State.Submitted && (caller == everybody[3] || caller == everybody[4])
            && _fits(model, decision);
        bytes memory data = abi.encodeCall(Claims.adjudicate, (id, decision));
        if (!attempt(caller, address(CLAIMS), data, expected, "K3, K5, K6: decides")) return;
        _decided(model, decision, caller, Claims.State.Adjudicated);
    }

    function appeal(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[random(2)], everybody), _id());
        Model storage model = _models[id];
        bool expected = model.state == Claims.State.Adjudicated && model.approved < model.amount
            && (caller == everybody[0] || caller == everybody[1]);
        bytes memory data = abi.encodeCall(Claims.appeal, (id, "reason"));
        if (attempt(caller, address(CLAIMS), data, expected, "appeals")) model.state = Claims.State.Appealed;
    }

    function decideAppeal(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[3 + random(2)], everybody), _id());
        Model storage model = _models[id];
        Claims.Decision memory decision = _decision(model);
        bool expected = model.state == Claims.State.Appealed && caller != model.adjudicator
            && (caller == everybody[3] || caller == everybody[4]) && _fits(model, decision);
        bytes memory data = abi.encodeCall(Claims.decideAppeal, (id, decision));
        if (!attempt(caller, address(CLAIMS), data, expected, "K6: another one decides the appeal")) return;
        _decided(model, decision, model.adjudicator, Claims.State.Final);
    }

    /* Money */

    function pay(uint256 seed) external seeded(seed) {
        bytes32 id = _id();
        Model storage model = _models[id];
        uint128 amount = model.share - model.paid;
        bytes memory data = abi.encodeCall(Claims.pay, (id));
        if (!attempt(pick(everybody), address(CLAIMS), data, amount != 0, "K3: pays what is due")) return;
        model.paid += amount;
        balances[everybody[1]] += amount;
    }

    function payCopayment(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[0], everybody), _id());
        Model storage model = _models[id];
        uint128 amount = model.approved - model.share - model.copaid;
        bool expected = caller == everybody[0] && amount != 0 && balances[caller] >= amount;
        bytes memory data = abi.encodeCall(Claims.payCopayment, (id));
        if (!attempt(caller, address(CLAIMS), data, expected, "K3: pays the co-payment")) return;
        model.copaid += amount;
        balances[caller] -= amount;
        balances[everybody[1]] += amount;
    }

    function refund(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[1], everybody), _id());
        Model storage model = _models[id];
        (uint128 toInsurer, uint128 toPatient) = (uint128(random(500)), uint128(random(100)));
        bool expected = caller == everybody[1] && model.state != Claims.State.None && toInsurer + toPatient != 0
            && model.refunded + toInsurer <= model.paid && model.refundedCopayment + toPatient <= model.copaid
            && balances[caller] >= toInsurer + toPatient;
        bytes memory data = abi.encodeCall(Claims.refund, (id, toInsurer, toPatient));
        if (!attempt(caller, address(CLAIMS), data, expected, "K3: pays back")) return;
        model.refunded += toInsurer;
        model.refundedCopayment += toPatient;
        used[model.coverage] -= toInsurer;
        balances[caller] -= toInsurer + toPatient;
        balances[everybody[0]] += toPatient;
        balances[everybody[2]] += toInsurer;
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(10 minutes));
    }

    /* Model */

    function modelOf(bytes32 id) external view returns (Model memory) {
        return _models[id];
    }

    function count() external view returns (uint256) {
        return ids.length;
    }

    /// @dev One of the latest, for the first are over soon.
    function _id() internal returns (bytes32) {
        uint256 all = ids.length;
        if (all == 0 || chance(2)) return "unknown";
        uint256 latest = all < 8 ? all : 8;
        return ids[all - 1 - random(latest)];
    }

    function _decision(Model storage model) internal returns (Claims.Decision memory) {
        uint128 approved = chance(30) ? model.amount : uint128(random(uint256(model.amount) + 10));
        uint8 flags = chance(95) == (approved < model.amount) ? 8 : 0;
        return Claims.Decision(approved, flags, "rules", "explanation");
    }

    function _shareOf(Model storage model, uint128 approved) internal view returns (uint128) {
        return model.coverage == 0 ? uint128(uint256(approved) * 8765 / 10_000) : approved;
    }

    function _fits(Model storage model, Claims.Decision memory decision) internal view returns (bool) {
        if (decision.approved > model.amount || decision.approved < model.approved) return false;
        if ((decision.approved == model.amount) != (decision.flags == 0)) return false;
        uint256 more = _shareOf(model, decision.approved) - model.share;
        return used[model.coverage] + more <= limits[model.coverage] && balances[everybody[2]] >= more;
    }

    function _decided(Model storage model, Claims.Decision memory decision, address by, Claims.State state) internal {
        uint128 share = _shareOf(model, decision.approved);
        uint128 more = share - model.share;
        used[model.coverage] += more;
        balances[everybody[2]] -= more;
        (model.state, model.adjudicator, model.approved, model.share) = (state, by, decision.approved, share);
    }
}

/// forge-config: default.invariant.depth = 400
contract ClaimsInvariants is WideNetwork, InvariantTest {
    ClaimsHandler internal handler;

    function setUp() public override {
        super.setUp();
        Prescriptions.Terms memory terms = Prescriptions.Terms(patient, "digest", 1, 6, time() + 90 days, 0);
        vm.prank(physician);
        bytes32 prescription = prescriptions.issue("prescription", terms);
        vm.prank(physician);
        prescriptions.permit(prescription, pharmacy);
        vm.prank(patient);
        prescriptions.permit(prescription, pharmacy);
        bytes32[2] memory coverages = [cover("one", 1235, 5000), cover("two", 0, 1_000_000)];
        address[6] memory people = [patient, pharmacy, insurer, adjudicator, secondAdjudicator, stranger];
        // Coverages run from the second after they were accepted on.
        skip(1);
        handler = new ClaimsHandler(claims, prescription, coverages, people);
        for (uint256 i; i < 6; ++i) {
            vm.prank(pharmacist);
            prescriptions.claim(prescription);
            Prescriptions.Dispensing memory given =
                Prescriptions.Dispensing(1, time() + 365 days, "batch", handler.recordOf(i));
            vm.prank(pharmacist);
            prescriptions.dispense(prescription, given);
        }
        for (uint256 i; i < 3; ++i) {
            vm.prank(people[i]);
            token.approve(address(claims), type(uint256).max);
        }
        target(address(handler));
    }

    function cover(bytes32 salt, uint16 copayment, uint128 limit) internal returns (bytes32 id) {
        vm.prank(insurer);
        id = claims.offerCoverage(
            salt, Claims.Terms(patient, time(), time() + 365 days, copayment, limit, "policy")
        );
        vm.prank(patient);
        claims.acceptCoverage(id, "policy");
    }

    /// @dev K4 and M1: by the model's balances and what the claims say.
    function invariant_K2_K3_K4_K5_money_is_conserved_and_nothing_paid_twice() public view everyFew(handler.calls()) {
        uint256 total;
        for (uint256 i; i < 6; ++i) {
            uint256 balance = claims.balanceOf(handler.everybody(i));
            assertEq(balance, handler.balances(handler.everybody(i)), "M2: balance");
            total += balance;
        }
        uint256[6] memory perFill;
        uint256[6] memory approvedPerFill;
        for (uint256 i; i < handler.count(); ++i) {
            Claims.Claim memory stored = claims.claimOf(handler.ids(i));
            ClaimsHandler.Model memory model = handler.modelOf(handler.ids(i));
            assertEq(uint256(stored.state), uint256(model.state), "state");
            assertEq(stored.share, model.share, "share");
            assertEq(stored.paid, model.paid, "paid");
            assertTrue(stored.paid <= stored.share, "K3: never above the share");
            assertTrue(stored.paid + stored.copaid <= stored.approved, "K3: never above adjudication");
            assertTrue(stored.approved <= stored.amount, "K3: never above the claim");
            assertTrue(stored.refunded <= stored.paid, "K3: never back more than paid");
            total += stored.share - stored.paid;
            perFill[model.fill] += stored.paid + stored.copaid;
            approvedPerFill[model.fill] += stored.approved;
        }
        for (uint256 i; i < 6; ++i) {
            assertTrue(handler.live(i) <= 1, "K2: one claim per service");
            assertTrue(perFill[i] <= approvedPerFill[i], "K2: a service is paid once");
        }
        assertTrue(handler.live(0) + handler.live(1) <= 1, "K2: one claim per evidence");
        for (uint256 i; i < 2; ++i) {
            uint256 used = claims.coverageOf(handler.coverages(i)).used;
            assertEq(used, handler.used(i), "used");
            assertTrue(used <= handler.limits(i), "K5: never above the limit");
        }
        assertEq(claims.held(), total, "K4: conserved");
        assertEq(token.balanceOf(address(claims)), total, "M1: there");
    }
}
