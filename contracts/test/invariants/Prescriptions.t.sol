// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Prescriptions} from "../../src/Prescriptions.sol";
import {InstitutionRole, ProfessionalRole} from "../../src/Types.sol";
import {Network} from "../support/Network.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Permits, claims, dispenses and cancels as everybody, for two prescriptions and two pharmacies.
contract PrescriptionsHandler is Handler {
    Prescriptions internal immutable PRESCRIPTIONS;
    address internal immutable PATIENT;
    address internal immutable PRESCRIBER;
    address internal immutable SECOND;

    address[] public pharmacies;
    address[] internal _pharmacists;
    address[] internal _everybody;

    struct Model {
        Prescriptions.Terms terms;
        uint256 inFill;
        uint256 filled;
        uint256 total;
        uint40 nextFillAt;
        uint256 holder;
        uint40 claimedUntil;
        bool cancelled;
        bool signed;
        uint256 receipts;
        bool[2] byPatient;
        bool[2] byPrescriber;
    }

    mapping(bytes32 id => Model) internal _models;
    bytes32[2] public ids;

    /// @dev A pharmacist stands at the same place in the list as the pharmacy; the last works in no pharmacy.
    constructor(
        Prescriptions prescriptions,
        address patient,
        address prescriber,
        address second,
        address[] memory pharmacies_,
        address[] memory pharmacists
    ) {
        (PRESCRIPTIONS, PATIENT, PRESCRIBER, SECOND) = (prescriptions, patient, prescriber, second);
        (pharmacies, _pharmacists) = (pharmacies_, pharmacists);
        _everybody.push(patient);
        _everybody.push(prescriber);
        for (uint256 i; i < pharmacists.length; ++i) {
            _everybody.push(pharmacists[i]);
        }

        for (uint256 i; i < 2; ++i) {
            Prescriptions.Terms memory terms =
                Prescriptions.Terms(patient, "digest", 10, uint8(3 - i), time() + 20 days, uint40(i) * 1 days);
            vm.prank(prescriber);
            ids[i] = i == 0 ? prescriptions.issue("one", terms) : prescriptions.issueControlled("two", terms);
            _models[ids[i]].terms = terms;
            _models[ids[i]].signed = i == 0;
        }
    }

    function permit(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id, uint256 place) = (_party(), _id(), random(2));
        bool withdrawn = chance(20);
        bytes memory data = withdrawn
            ? abi.encodeCall(Prescriptions.withdrawPermit, (id, pharmacies[place]))
            : abi.encodeCall(Prescriptions.permit, (id, pharmacies[place]));
        bool expected = caller == PATIENT || caller == PRESCRIBER;
        if (!attempt(caller, address(PRESCRIPTIONS), data, expected, "P3: a party permits")) return;
        if (caller == PATIENT) _models[id].byPatient[place] = !withdrawn;
        else _models[id].byPrescriber[place] = !withdrawn;
    }

    /// @dev The last in the list of pharmacists works at the hospital, and is no doctor.
    function countersign(uint256 seed) external seeded(seed) {
        bytes32 id = _id();
        Model storage model = _models[id];
        address caller = chance(50) ? SECOND : pick(_everybody);
        bool expected = caller == SECOND && _isOpen(model) && !model.signed;
        if (expected && chance(60)) return;
        bytes memory data = abi.encodeCall(Prescriptions.countersign, (id));
        if (attempt(caller, address(PRESCRIPTIONS), data, expected, "P6: a second doctor signs")) model.signed = true;
    }

    function confirm(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (mostly(PATIENT, _everybody), _id());
        Model storage model = _models[id];
        uint256 fill = random(4);
        bool isThere = fill != 0 && fill <= model.filled && model.receipts & (1 << fill) == 0;
        bytes memory data = abi.encodeCall(Prescriptions.confirmCollection, (id, fill));
        bool expected = caller == PATIENT && isThere;
        if (attempt(caller, address(PRESCRIPTIONS), data, expected, "P7: the patient confirms once")) {
            model.receipts |= 1 << fill;
        }
    }

    function claim(uint256 seed) external seeded(seed) {
        (uint256 place, bytes32 id) = (random(5) / 2, _id());
        Model storage model = _models[id];
        bool expected = place < 2 && _isOpen(model) && model.signed && time() >= model.claimedUntil && _permitted(model, place)
            && time() >= model.nextFillAt;
        bytes memory data = abi.encodeCall(Prescriptions.claim, (id));
        if (!attempt(_pharmacists[place], address(PRESCRIPTIONS), data, expected, "P2, P3: claims what is free")) {
            return;
        }
        (model.holder, model.claimedUntil) = (place, time() + 2 hours);
    }

    /// @dev Seldom by who can, so that something is dispensed.
    function release(uint256 seed) external seeded(seed) {
        (uint256 place, bytes32 id) = (random(5) / 2, _id());
        Model storage model = _models[id];
        bool expected = model.holder == place && time() < model.claimedUntil;
        if (expected && chance(70)) return;
        bytes memory data = abi.encodeCall(Prescriptions.release, (id));
        if (attempt(_pharmacists[place], address(PRESCRIPTIONS), data, expected, "P2: the holder releases")) {
            model.claimedUntil = 0;
        }
    }

    function dispense(uint256 seed) external seeded(seed) {
        bytes32 id = _id();
        Model storage model = _models[id];
        uint256 place = chance(90) ? model.holder : random(3);
        (uint32 quantity, uint40 productExpiry) = (uint32(random(8)), time() + uint40(random(10)));
        bool expected = _isOpen(model) && model.holder == place && time() < model.claimedUntil
            && _permitted(model, place) && quantity != 0 && model.inFill + quantity <= model.terms.quantity
            && productExpiry > time();
        bytes memory data = abi.encodeCall(
            Prescriptions.dispense, (id, Prescriptions.Dispensing(quantity, productExpiry, "batch", "record"))
        );
        if (!attempt(_pharmacists[place], address(PRESCRIPTIONS), data, expected, "P1, P2, P3, P4: dispenses")) return;
        model.inFill += quantity;
        model.total += quantity;
        if (model.inFill < model.terms.quantity) return;
        (model.inFill, model.filled, model.claimedUntil) = (0, model.filled + 1, 0);
        model.nextFillAt = time() + model.terms.fillInterval;
    }

    /// @dev Seldom by who can, or there would be nothing left to do.
    function cancel(uint256 seed) external seeded(seed) {
        (address caller, bytes32 id) = (_party(), _id());
        Model storage model = _models[id];
        bool expected = (caller == PATIENT || caller == PRESCRIBER) && !model.cancelled && !_isCompleted(model);
        if (expected && chance(95)) return;
        bytes memory data = abi.encodeCall(Prescriptions.cancel, (id));
        if (attempt(caller, address(PRESCRIPTIONS), data, expected, "P5: a party cancels")) model.cancelled = true;
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(chance(85) ? random(10 minutes) : random(1 days));
    }

    function _id() internal returns (bytes32) {
        return ids[random(2)];
    }

    function _party() internal returns (address) {
        return mostly(chance(50) ? PATIENT : PRESCRIBER, _everybody);
    }

    function modelOf(bytes32 id) external view returns (Model memory) {
        return _models[id];
    }

    function stateOf(bytes32 id) external view returns (Prescriptions.State) {
        Model storage model = _models[id];
        if (model.cancelled) return Prescriptions.State.Cancelled;
        if (_isCompleted(model)) return Prescriptions.State.Completed;
        if (time() >= model.terms.validUntil) return Prescriptions.State.Expired;
        if (!model.signed) return Prescriptions.State.AwaitingSignature;
        return time() < model.claimedUntil ? Prescriptions.State.Claimed : Prescriptions.State.Issued;
    }

    function readable(bytes32 id, uint256 place) external view returns (bool) {
        return _isOpen(_models[id]) && _models[id].signed && _permitted(_models[id], place);
    }

    function _isOpen(Model storage model) internal view returns (bool) {
        return !model.cancelled && !_isCompleted(model) && time() < model.terms.validUntil;
    }

    function _isCompleted(Model storage model) internal view returns (bool) {
        return model.filled == model.terms.fills;
    }

    function _permitted(Model storage model, uint256 place) internal view returns (bool) {
        return place < 2 && model.byPatient[place] && model.byPrescriber[place];
    }
}

/// forge-config: default.invariant.depth = 400
contract PrescriptionsInvariants is Network, InvariantTest {
    PrescriptionsHandler internal handler;

    function setUp() public override {
        super.setUp();
        relate(patient, hospital, false);
        address[] memory pharmacies = new address[](2);
        (pharmacies[0], pharmacies[1]) = (pharmacy, vm.addr(0xE01));
        address[] memory pharmacists = new address[](3);
        (pharmacists[0], pharmacists[1], pharmacists[2]) = (pharmacist, vm.addr(0xE02), vm.addr(0xE03));
        admit(pharmacies[1], InstitutionRole.Pharmacy);
        accredit(pharmacies[1], pharmacists[1], ProfessionalRole.Pharmacist);
        accredit(hospital, pharmacists[2], ProfessionalRole.Pharmacist);
        address second = vm.addr(0xE04);
        accredit(hospital, second, ProfessionalRole.Physician);
        handler = new PrescriptionsHandler(prescriptions, patient, physician, second, pharmacies, pharmacists);
        target(address(handler));
    }

    /// @dev P1, P2, P4 to P7 as states and quantities; who can do what is in the handler.
    function invariant_P1_P2_P3_P4_P5_P6_P7_a_prescription_is_where_the_model_is() public view everyFew(handler.calls()) {
        for (uint256 i; i < 2; ++i) {
            bytes32 id = handler.ids(i);
            PrescriptionsHandler.Model memory model = handler.modelOf(id);
            Prescriptions.Prescription memory stored = prescriptions.prescriptionOf(id);
            assertEq(uint256(prescriptions.stateOf(id)), uint256(handler.stateOf(id)), "state");
            assertEq(stored.filled, model.filled, "fills");
            assertEq(stored.dispensed, model.inFill, "units in the fill");
            assertEq(model.total, model.filled * stored.quantity + stored.dispensed, "P1: units in all");
            assertTrue(model.total <= uint256(stored.quantity) * stored.fills, "P1: never beyond");
            assertTrue(stored.claimedUntil <= time() + 2 hours, "P2: no longer claim");
            assertTrue(model.signed || model.total == 0, "P6: nothing before the second signature");
            for (uint256 fill; fill < 5; ++fill) {
                bool isThere = prescriptions.receiptOf(id, fill).completedAt != 0;
                assertEq(isThere, fill != 0 && fill <= stored.filled, "P7: one receipt per fill");
            }
            for (uint256 j; j < 2; ++j) {
                assertEq(prescriptions.readable(id, handler.pharmacies(j)), handler.readable(id, j), "P3: readable");
            }
        }
    }
}
