// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EmergencyAccess} from "../../src/EmergencyAccess.sol";
import {ProfessionalRole} from "../../src/Types.sol";
import {Network} from "../support/Network.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Opens, ends, reviews and restricts, as two who may open, one who may not, and an officer.
contract EmergencyAccessHandler is Handler {
    EmergencyAccess internal immutable EMERGENCIES;
    address internal immutable INSTITUTION;
    address internal immutable OFFICER;

    address[] public patients;
    address[] public openers;
    address[] internal _everybody;

    struct Model {
        EmergencyAccess.Opening opening;
        bool ended;
        bool reviewed;
    }

    Model[] internal _models;
    mapping(bytes32 id => bool) internal _made;
    mapping(address patient => EmergencyAccess.Restriction) internal _restrictions;

    /// @dev The last of the openers works elsewhere.
    constructor(
        EmergencyAccess emergencies,
        address institution,
        address officer,
        address[] memory patients_,
        address[] memory openers_
    ) {
        (EMERGENCIES, INSTITUTION, OFFICER) = (emergencies, institution, officer);
        (patients, openers) = (patients_, openers_);
        _everybody.push(officer);
        for (uint256 i; i < patients.length; ++i) {
            _everybody.push(patients[i]);
        }
        for (uint256 i; i < openers.length; ++i) {
            _everybody.push(openers[i]);
        }
    }

    function open(uint256 seed) external seeded(seed) {
        (address opener, address patient) = (chance(85) ? openers[random(2)] : pick(openers), pick(patients));
        uint40 period = uint40(chance(90) ? 1 minutes + random(24 hours) : random(25 hours));
        uint32 kinds = chance(95) ? uint32(1 + random(255)) & ~_restrictions[patient].kinds : uint32(random(256));
        bytes32 reason = bytes32(random(2));
        EmergencyAccess.Opening memory opening =
            EmergencyAccess.Opening(patient, opener, INSTITUTION, time(), time() + period, kinds, reason);

        bool expected = opener != openers[openers.length - 1] && kinds != 0 && period >= 1 minutes && period <= 24 hours
            && !_restrictions[patient].optedOut && kinds & _restrictions[patient].kinds == 0
            && !_isRunning(patient, opener) && !_isBlocked(opener) && !_made[keccak256(abi.encode(opening))];
        bytes memory data = abi.encodeCall(EmergencyAccess.open, (patient, kinds, period, reason));
        if (!attempt(opener, address(EMERGENCIES), data, expected, "E1, E3, E5: opens when it may only")) return;
        _models.push(Model(opening, false, false));
        _made[keccak256(abi.encode(opening))] = true;
    }

    function end(uint256 seed) external seeded(seed) {
        if (_models.length == 0) return;
        Model storage model = _recent();
        address caller = mostly(chance(50) ? model.opening.patient : model.opening.professional, _everybody);
        bool isParty = caller == model.opening.patient || caller == model.opening.professional;
        bool expected = isParty && !model.ended && time() < model.opening.closesAt;
        bytes memory data = abi.encodeCall(EmergencyAccess.end, (model.opening));
        if (attempt(caller, address(EMERGENCIES), data, expected, "a party ends what runs")) model.ended = true;
    }

    function review(uint256 seed) external seeded(seed) {
        if (_models.length == 0) return;
        Model storage model = _recent();
        address caller = mostly(OFFICER, _everybody);
        bool justified = chance(50);
        bool runs = !model.ended && time() < model.opening.closesAt;
        bool expected = caller == OFFICER && !model.reviewed && !(justified && runs);
        EmergencyAccess.Verdict verdict =
            justified ? EmergencyAccess.Verdict.Justified : EmergencyAccess.Verdict.Unjustified;
        bytes memory data = abi.encodeCall(EmergencyAccess.review, (model.opening, verdict, "note"));
        if (!attempt(caller, address(EMERGENCIES), data, expected, "E4: an officer reviews once, what is over")) return;
        model.reviewed = true;
        if (runs) model.ended = true;
    }

    function restrict(uint256 seed) external seeded(seed) {
        address patient = pick(patients);
        EmergencyAccess.Restriction memory restriction =
            EmergencyAccess.Restriction(chance(50) ? 0 : uint32(random(16)), chance(10));
        vm.prank(patient);
        EMERGENCIES.restrict(restriction.kinds, restriction.optedOut);
        _restrictions[patient] = restriction;
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(12 hours));
    }

    /// @dev One of the last sixteen, so that most can still change.
    function _recent() internal returns (Model storage) {
        uint256 depth = random(16);
        return _models[depth < _models.length ? _models.length - 1 - depth : random(_models.length)];
    }

    /// @notice What must be permitted, found by going through every opening there ever was.
    function permits(address patient, address professional, uint8 kind) external view returns (bool) {
        if (_restrictions[patient].optedOut || _restrictions[patient].kinds & (uint32(1) << kind) != 0) return false;
        for (uint256 i; i < _models.length; ++i) {
            EmergencyAccess.Opening memory opening = _models[i].opening;
            bool isTheirs = opening.patient == patient && opening.professional == professional;
            bool covers = opening.kinds & (uint32(1) << kind) != 0;
            if (isTheirs && covers && !_models[i].ended && time() < opening.closesAt) return true;
        }
        return false;
    }

    function unreviewed(address professional) public view returns (uint256 count) {
        for (uint256 i; i < _models.length; ++i) {
            if (_models[i].opening.professional == professional && !_models[i].reviewed) ++count;
        }
    }

    function _isBlocked(address professional) internal view returns (bool) {
        for (uint256 i; i < _models.length; ++i) {
            bool isOverdue = !_models[i].reviewed && time() >= _models[i].opening.opensAt + 72 hours;
            if (_models[i].opening.professional == professional && isOverdue) return true;
        }
        return unreviewed(professional) == 8;
    }

    function _isRunning(address patient, address professional) internal view returns (bool) {
        for (uint256 i; i < _models.length; ++i) {
            EmergencyAccess.Opening memory opening = _models[i].opening;
            bool isTheirs = opening.patient == patient && opening.professional == professional;
            if (isTheirs && !_models[i].ended && time() < opening.closesAt) return true;
        }
        return false;
    }
}

contract EmergencyAccessInvariants is Network, InvariantTest {
    EmergencyAccessHandler internal handler;

    function setUp() public override {
        super.setUp();
        address[] memory patients = new address[](2);
        (patients[0], patients[1]) = (patient, stranger);
        address[] memory openers = new address[](3);
        (openers[0], openers[1], openers[2]) = (paramedic, vm.addr(0xE01), physician);
        accredit(emergency, openers[1], ProfessionalRole.Nurse);
        handler = new EmergencyAccessHandler(emergencies, emergency, officer, patients, openers);
        target(address(handler));
    }

    /// @dev E2, E3: permitted is what an opening names that runs and that the patient does not restrict. E1,
    /// E4 and E5, which are about who can call, are in the handler.
    function invariant_E1_E2_E3_E4_E5_permits_is_what_runs() public view everyFew(handler.calls()) {
        for (uint256 i; i < 6; ++i) {
            (address who, address opener) = (handler.patients(i % 2), handler.openers(i / 2));
            uint8 kind = uint8(handler.calls() % 9);
            bool expected = handler.permits(who, opener, kind);
            assertEq(emergencies.permits(who, opener, kind), expected, "permitted");

            uint40[8] memory due = emergencies.unreviewed(opener);
            uint256 awaited;
            for (uint256 j; j < 8; ++j) {
                if (due[j] != 0) ++awaited;
            }
            assertEq(awaited, handler.unreviewed(opener), "E5: reviews awaited");
        }
    }
}
