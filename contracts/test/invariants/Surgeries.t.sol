// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../../src/Ids.sol";
import {Surgeries} from "../../src/Surgeries.sol";
import {ProfessionalRole} from "../../src/Types.sol";
import {Handler, InvariantTest} from "../support/Test.sol";
import {WideNetwork} from "../support/WideNetwork.sol";

/// @notice Takes two surgeries through theatre and recovery in any order, with two people for each seat.
contract SurgeriesHandler is Handler {
    uint256 public constant SURGERIES = 2;
    uint256 public constant IMPLANTS = 4;

    Surgeries internal immutable SURGERY;
    address internal immutable REFERRER;

    /// @dev Patient, stranger; surgeons, physicians and nurses, two of each.
    address[] public everybody;

    struct Model {
        Surgeries.State state;
        uint8 round;
        uint8 bits;
        bool refused;
        // Of the round: what was agreed to, and which steps are done.
        bytes32 agreed;
        bool signedIn;
        bool timedOut;
        bytes32 plan;
        bytes32 sheet;
        address[3] team;
        uint256 receipts;
        uint40[17] signedOutAt;
    }

    mapping(bytes32 id => Model) internal _models;
    mapping(bytes32 implant => bytes32 id) public implanted;
    mapping(bytes32 implant => uint8) internal _rounds;
    mapping(bytes32 implant => bool) public removed;
    mapping(bytes32 id => bytes32[]) internal _lists;

    constructor(Surgeries surgery, address referrer, address[8] memory people) {
        (SURGERY, REFERRER) = (surgery, referrer);
        for (uint256 i; i < 8; ++i) {
            everybody.push(people[i]);
        }
        for (uint256 i; i < SURGERIES; ++i) {
            Model storage model = _models[idOf(i)];
            (model.state, model.round) = (Surgeries.State.Referred, 1);
        }
    }

    /* Before the theatre */

    function assess(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id, bytes32 plan) = (mostly(_doctor(), everybody), _id(), bytes32(1 + random(3)));
        Model storage model = _models[id];
        bool isThere = model.state == Surgeries.State.Referred || model.state == Surgeries.State.Assessed;
        bytes memory data = abi.encodeCall(Surgeries.assess, (id, plan));
        if (!attempt(caller, address(SURGERY), data, isThere && _isDoctor(caller), "U3: assesses")) return;
        (model.state, model.plan, model.bits, model.agreed) = (Surgeries.State.Assessed, plan, 0, 0);
    }

    function consent(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[0], everybody), _id());
        Model storage model = _models[id];
        bytes32 plan = chance(90) ? model.plan : bytes32("unseen");
        bool expected = caller == everybody[0] && model.state == Surgeries.State.Assessed && plan == model.plan;
        bytes memory data = abi.encodeCall(Surgeries.consent, (id, plan));
        if (!attempt(caller, address(SURGERY), data, expected, "U1: consents")) return;
        (model.state, model.agreed, model.refused, model.bits) = (Surgeries.State.Consented, plan, false, 0);
    }

    function certify(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(_doctor(), everybody), _id());
        Model storage model = _models[id];
        uint8 bit = _seatOf(caller) == 0 ? 1 : 2;
        bool expected =
            _isDoctor(caller) && model.state == Surgeries.State.Assessed && !model.refused && model.bits & bit == 0;
        bytes memory data = abi.encodeCall(Surgeries.certify, (id, model.plan, "reason"));
        if (!attempt(caller, address(SURGERY), data, expected, "U2: certifies")) return;
        model.bits |= bit;
        if (model.bits != 3) return;
        (model.state, model.agreed, model.bits) = (Surgeries.State.Consented, model.plan, 0);
    }

    function withdrawConsent(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[0], everybody), _id());
        Model storage model = _models[id];
        bool expected = caller == everybody[0] && model.state <= Surgeries.State.TimedOut;
        if (expected && chance(80)) return;
        bytes memory data = abi.encodeCall(Surgeries.withdrawConsent, (id));
        if (!attempt(caller, address(SURGERY), data, expected, "U2: withdraws")) return;
        if (model.state > Surgeries.State.Assessed) model.state = Surgeries.State.Assessed;
        (model.refused, model.bits, model.agreed) = (true, 0, 0);
        (model.signedIn, model.timedOut) = (false, false);
    }

    function schedule(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(everybody[6], everybody), _id());
        Model storage model = _models[id];
        address[3] memory team = [everybody[2 + random(2)], everybody[4 + random(2)], everybody[6 + random(2)]];
        if (chance(5)) team[0] = everybody[4];
        bool isThere = model.state == Surgeries.State.Consented || model.state == Surgeries.State.Scheduled;
        bool may = _isStaff(caller) && _seatOf(caller) != 1;
        bytes memory data = abi.encodeCall(Surgeries.schedule, (id, team, time(), "theatre"));
        bool expected = may && isThere && team[0] != everybody[4];
        if (!attempt(caller, address(SURGERY), data, expected, "U3: schedules")) return;
        (model.state, model.team, model.bits) = (Surgeries.State.Scheduled, team, 0);
    }

    function relieve(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id, uint256 seat) = (mostly(everybody[2 + random(6)], everybody), _id(), random(3));
        Model storage model = _models[id];
        address member = chance(90) ? everybody[2 + 2 * seat + random(2)] : pick(everybody);
        bool isThere = model.state >= Surgeries.State.Scheduled && model.state <= Surgeries.State.SignedOut;
        bool fits = _isStaff(member) && _seatOf(member) == seat;
        if (isThere && chance(60)) return;
        bytes memory data = abi.encodeCall(Surgeries.relieve, (id, Surgeries.Seat(seat), member));
        if (!attempt(caller, address(SURGERY), data, isThere && fits && _isStaff(caller), "relieves")) return;
        model.team[seat] = member;
        model.bits &= ~uint8(1 << seat);
        if (model.state != Surgeries.State.TimedOut) return;
        (model.state, model.timedOut) = (Surgeries.State.SignedIn, false);
    }

    /* In the theatre */

    function sign(uint256 seed) external seeded(seed) {
        (bytes32 id, uint256 step) = (_id(), random(3));
        Model storage model = _models[id];
        if (chance(85)) {
            step = model.state == Surgeries.State.Scheduled ? 0 : model.state == Surgeries.State.SignedIn ? 1 : 2;
        }
        address caller = chance(85) ? model.team[random(3)] : pick(everybody);
        bytes32 sheet = chance(90) ? bytes32("sheet") : bytes32("another");
        bytes memory data = step == 0
            ? abi.encodeCall(Surgeries.signIn, (id, sheet))
            : step == 1
                ? abi.encodeCall(Surgeries.timeOut, (id, sheet))
                : abi.encodeCall(Surgeries.signOut, (id, sheet));
        Surgeries.State from = [Surgeries.State.Scheduled, Surgeries.State.SignedIn, Surgeries.State.Incised][step];
        uint8 needed = step == 0 ? 6 : 7;
        bool sits = _isStaff(caller) && model.team[_seatOf(caller)] == caller;
        uint8 bit = sits ? uint8(1 << _seatOf(caller)) : 0;
        uint8 bits = sheet == model.sheet ? model.bits : 0;
        bool expected = model.state == from && bit & needed != 0 && bits & bit == 0;
        if (!attempt(caller, address(SURGERY), data, expected, "U1, U3: signs")) return;
        (model.sheet, model.bits) = (sheet, bits | bit);
        if (model.bits != needed) return;
        (model.sheet, model.bits) = (0, 0);
        if (step == 0) (model.state, model.signedIn) = (Surgeries.State.SignedIn, true);
        if (step == 1) (model.state, model.timedOut) = (Surgeries.State.TimedOut, true);
        if (step < 2) return;
        model.state = Surgeries.State.SignedOut;
        model.signedOutAt[model.round] = time();
    }

    function incise(uint256 seed) external seeded(seed) {
        bytes32 id = _id();
        Model storage model = _models[id];
        address caller = mostly(model.team[0], everybody);
        bool expected = model.state == Surgeries.State.TimedOut && caller == model.team[0];
        bytes memory data = abi.encodeCall(Surgeries.incise, (id));
        if (!attempt(caller, address(SURGERY), data, expected, "U1: incises")) return;
        assertTrue(model.agreed == model.plan && model.signedIn && model.timedOut, "U1: not before all of it");
        (model.state, model.bits) = (Surgeries.State.Incised, 0);
    }

    function useImplant(uint256 seed) external seeded(seed) {
        (bytes32 id, uint256 step, bytes32 implant) = (_id(), random(4), bytes32(1 + random(IMPLANTS)));
        Model storage model = _models[id];
        address caller = chance(85) ? model.team[2 * random(2)] : pick(everybody);
        bool isSurgeon = caller == model.team[0] && _isStaff(caller);
        bool may = isSurgeon || (caller == model.team[2] && _isStaff(caller));
        bool isIn = implanted[implant] != 0 && !removed[implant];
        bool isThere = model.state == Surgeries.State.Incised;
        if (step < 2) {
            bytes memory put = abi.encodeCall(Surgeries.recordImplant, (id, implant, "lot"));
            bool expected = isThere && may && implanted[implant] == 0;
            if (!attempt(caller, address(SURGERY), put, expected, "U4: puts in once")) return;
            (implanted[implant], _rounds[implant]) = (id, model.round);
            _lists[id].push(implant);
        } else if (step == 2) {
            bytes memory take = abi.encodeCall(Surgeries.recordExplant, (id, implant));
            if (!attempt(caller, address(SURGERY), take, isThere && isSurgeon && isIn, "U4: takes out")) return;
            removed[implant] = true;
        } else {
            bytes memory void = abi.encodeCall(Surgeries.voidImplant, (id, implant));
            bool isOfRound = implanted[implant] == id && _rounds[implant] == model.round && isIn;
            if (!attempt(caller, address(SURGERY), void, isThere && may && isOfRound, "U4: takes back")) return;
            implanted[implant] = 0;
            _forget(id, implant);
        }
    }

    /* After the theatre */

    function goOn(uint256 seed) external seeded(seed) {
        (bytes32 id, uint256 step) = (_id(), random(4));
        Model storage model = _models[id];
        address caller = chance(70) ? model.team[step == 0 ? 1 : 0] : pick(everybody);
        (Surgeries.State state, bool expected, bytes memory data) = (model.state, false, bytes(""));
        Surgeries.State next;
        if (step == 0) {
            next = Surgeries.State.Recovering;
            data = abi.encodeCall(Surgeries.handOver, (id, "note"));
            expected = state == Surgeries.State.SignedOut && caller == model.team[1];
        } else if (step == 1) {
            next = Surgeries.State.Discharged;
            data = abi.encodeCall(Surgeries.discharge, (id, "letter"));
            expected = state == Surgeries.State.Recovering && _isDoctor(caller);
        } else if (step == 2) {
            next = Surgeries.State.FollowedUp;
            data = abi.encodeCall(Surgeries.followUp, (id, "visit"));
            expected = state == Surgeries.State.Discharged && _isDoctor(caller);
            // It ends there, which is dull.
            if (expected && chance(90)) return;
        } else {
            next = Surgeries.State.Assessed;
            data = abi.encodeCall(Surgeries.returnToTheatre, (id, "next plan"));
            bool isAfter = state == Surgeries.State.Recovering || state == Surgeries.State.Discharged;
            expected = isAfter && _isStaff(caller) && _seatOf(caller) == 0 && model.round < 16;
        }
        if (!attempt(caller, address(SURGERY), data, expected, "U3: goes on")) return;
        model.state = next;
        if (step == 3) {
            ++model.round;
            (model.plan, model.agreed, model.signedIn, model.timedOut) = ("next plan", 0, false, false);
        }
    }

    function cancel(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (pick(everybody), _id());
        Model storage model = _models[id];
        bool expected = model.state <= Surgeries.State.TimedOut && (caller == everybody[0] || _isDoctor(caller));
        if (expected && (model.round == 1 || chance(80))) return;
        bytes memory data = abi.encodeCall(Surgeries.cancel, (id, "reason"));
        if (!attempt(caller, address(SURGERY), data, expected, "calls off")) return;
        (model.state, model.bits) = (Surgeries.State.Recovering, 0);
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(1 hours));
    }

    /* Model */

    function idOf(uint256 number) public view returns (bytes32) {
        return makeId(REFERRER, bytes32(number));
    }

    function modelOf(bytes32 id) external view returns (Model memory) {
        return _models[id];
    }

    function listOf(bytes32 id) external view returns (bytes32[] memory) {
        return _lists[id];
    }

    function _id() internal returns (bytes32) {
        return idOf(random(SURGERIES));
    }

    function _doctor() internal returns (address) {
        return everybody[2 + random(4)];
    }

    function _placeOf(address who) internal view returns (uint256) {
        for (uint256 i; i < 8; ++i) {
            if (everybody[i] == who) return i;
        }
        return 1;
    }

    function _isStaff(address who) internal view returns (bool) {
        return _placeOf(who) >= 2;
    }

    /// @dev Of who is staff; of others, one where they do not sit.
    function _seatOf(address who) internal view returns (uint256) {
        uint256 place = _placeOf(who);
        return place < 2 ? 0 : (place - 2) / 2;
    }

    function _isDoctor(address who) internal view returns (bool) {
        return _isStaff(who) && _seatOf(who) < 2;
    }

    function _forget(bytes32 id, bytes32 implant) internal {
        bytes32[] memory old = _lists[id];
        delete _lists[id];
        for (uint256 i; i < old.length; ++i) {
            if (old[i] != implant) _lists[id].push(old[i]);
        }
    }
}

/// forge-config: default.invariant.depth = 400
contract SurgeriesInvariants is WideNetwork, InvariantTest {
    SurgeriesHandler internal handler;

    function setUp() public override {
        super.setUp();
        address[3] memory second = [vm.addr(0xE01), vm.addr(0xE02), vm.addr(0xE03)];
        accredit(hospital, second[0], ProfessionalRole.Surgeon);
        accredit(hospital, second[1], ProfessionalRole.Physician);
        accredit(hospital, second[2], ProfessionalRole.Nurse);
        address[8] memory people = [patient, stranger, surgeon, second[0], physician, second[1], nurse, second[2]];
        handler = new SurgeriesHandler(surgeries, referrer, people);
        for (uint256 i; i < 2; ++i) {
            vm.prank(referrer);
            surgeries.refer(bytes32(i), patient, hospital, "referral");
        }
        target(address(handler));
    }

    function invariant_U1_U2_U3_U4_U5_a_surgery_is_where_the_model_is() public view everyFew(handler.calls()) {
        for (uint256 i; i < 2; ++i) {
            bytes32 id = handler.idOf(i);
            Surgeries.Surgery memory stored = surgeries.surgeryOf(id);
            SurgeriesHandler.Model memory model = handler.modelOf(id);
            assertEq(uint256(stored.state), uint256(model.state), "state");
            assertEq(stored.round, model.round, "round");
            assertEq(stored.refused, model.refused, "U2: refused");
            assertEq(stored.plan, model.plan, "plan");
            assertEq(abi.encode(surgeries.implantsOf(id)), abi.encode(handler.listOf(id)), "U4: the surgery's implants");
            for (uint256 round = 1; round <= 16; ++round) {
                (,, uint40 completedAt,) = surgeries.serviceOf(id, round);
                assertEq(completedAt, model.signedOutAt[round], "U5: from the sign-out on");
            }
        }
        for (uint256 i = 1; i <= 4; ++i) {
            Surgeries.Implant memory stored = surgeries.implantOf(patient, bytes32(i));
            assertEq(stored.surgery, handler.implanted(bytes32(i)), "U4: the implant's surgery");
            assertEq(stored.removed, handler.removed(bytes32(i)), "U4: removed");
        }
    }
}
