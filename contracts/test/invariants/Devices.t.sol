// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Devices} from "../../src/Devices.sol";
import {Handler, InvariantTest} from "../support/Test.sol";
import {WideNetwork} from "../support/WideNetwork.sol";

/// @notice Binds a device to one of two patients and back, and brings its batches in time and late, as everybody.
contract DevicesHandler is Handler {
    uint256 internal constant KEY = 0xF01;
    bytes32 internal constant NAME = "pump";
    bytes32 internal constant FIRMWARE = "firmware 1";

    Devices internal immutable DEVICES;
    address internal immutable DEVICE;
    bytes32 internal immutable DOMAIN;

    /// @dev Two patients, operator, maker, regulator, a nurse of the operator, and a stranger.
    address[] public everybody;

    bool public accepted = true;
    bool public recalled;
    uint8 public quarantine;
    uint32 public offers;
    address public offered;
    uint40 internal _offeredUntil;
    uint32 public binding;
    address public patient;
    uint40 public boundAt;
    uint40 public boundUntil;
    uint64 public batches;
    uint40 public lastTo;
    bytes32 public head;
    mapping(uint64 sequence => address) public measured;
    uint256 public late;

    constructor(Devices devices, address device, bytes32 domain, address[7] memory people) {
        (DEVICES, DEVICE, DOMAIN) = (devices, device, domain);
        for (uint256 i; i < 7; ++i) {
            everybody.push(people[i]);
        }
    }

    /* Firmware and quarantine */

    function setFirmware(uint256 seed) external seeded(seed) {
        (bool by, bool back) = (chance(50), chance(70));
        address caller = mostly(everybody[by ? 3 : 4], everybody);
        if (chance(40)) return;
        bytes32 model = DEVICES.modelOf(everybody[3], NAME);
        bytes memory data = by
            ? back
                ? abi.encodeCall(Devices.acceptFirmware, (NAME, FIRMWARE))
                : abi.encodeCall(Devices.withdrawFirmware, (NAME, FIRMWARE))
            : back
                ? abi.encodeCall(Devices.liftRecall, (model, FIRMWARE))
                : abi.encodeCall(Devices.recallFirmware, (model, FIRMWARE, "reason"));
        if (!attempt(caller, address(DEVICES), data, caller == everybody[by ? 3 : 4], "V7: accepts and recalls")) {
            return;
        }
        if (by) accepted = back;
        else recalled = !back;
    }

    function setQuarantine(uint256 seed) external seeded(seed) {
        (address caller, bool lifts) = (mostly(everybody[2 + random(3)], everybody), chance(75));
        uint8 bit = caller == everybody[2] ? 1 : caller == everybody[3] ? 2 : caller == everybody[4] ? 4 : 0;
        if (chance(40)) return;
        bytes memory data = lifts
            ? abi.encodeCall(Devices.liftQuarantine, (DEVICE))
            : abi.encodeCall(Devices.quarantine, (DEVICE, "reason"));
        bool expected = bit != 0 && (!lifts || quarantine & bit != 0);
        if (!attempt(caller, address(DEVICES), data, expected, "V4: imposes and lifts its own")) return;
        quarantine = lifts ? quarantine & ~bit : quarantine | bit;
    }

    /* Binding */

    function isBound() public view returns (bool) {
        return patient != address(0) && time() < boundUntil;
    }

    function offer(uint256 seed) external seeded(seed) {
        (address caller, address whom) = (mostly(everybody[2], everybody), everybody[random(2)]);
        uint40 until = uint40(time() + 1 + random(10 hours));
        bytes memory data = abi.encodeCall(Devices.offerBinding, (DEVICE, whom, until, 3600));
        if (!attempt(caller, address(DEVICES), data, caller == everybody[2] && !isBound(), "V3: offers")) return;
        ++offers;
        (offered, _offeredUntil) = (whom, until);
    }

    function accept(uint256 seed) external seeded(seed) {
        address caller = mostly(offered == address(0) ? everybody[0] : offered, everybody);
        uint32 number = chance(90) ? offers : offers + 1;
        bool expected = caller == offered && number == offers && time() < _offeredUntil;
        bytes memory data = abi.encodeCall(Devices.acceptBinding, (DEVICE, number));
        if (!attempt(caller, address(DEVICES), data, expected, "V3: accepts")) return;
        (patient, binding, boundAt, boundUntil) = (caller, number, time(), _offeredUntil);
        offered = address(0);
    }

    function unbind(uint256 seed) external seeded(seed) {
        address caller = pick(everybody);
        address whose = isBound() ? patient : offered;
        bool expected = whose != address(0) && (caller == whose || caller == everybody[2]);
        if (expected && chance(50)) return;
        bytes memory data = abi.encodeCall(Devices.unbind, (DEVICE));
        if (!attempt(caller, address(DEVICES), data, expected, "V3: unbinds")) return;
        if (isBound()) boundUntil = time();
        offered = address(0);
    }

    /* Batches */

    function anchor(uint256 seed) external seeded(seed) {
        Devices.Batch memory batch;
        (batch.binding, batch.sequence, batch.previousHead) = (binding, batches, head);
        batch.from = uint40((lastTo > boundAt ? lastTo : boundAt) + random(600));
        batch.to = uint40(batch.from + 1 + random(1 hours));
        (batch.count, batch.root) = (uint32(1 + random(100)), bytes32(calls + 1));
        if (chance(5)) batch.outOfRange = 1;
        if (chance(5)) ++batch.binding;
        if (chance(5)) ++batch.sequence;
        if (chance(5)) batch.previousHead = "another";
        if (chance(5) && batch.from > 300) batch.from -= 300;
        // To the last second there is, or beyond it.
        if (chance(40)) batch.to = uint40(_latest() + (chance(30) ? 1 : 0));
        uint256 key = chance(95) ? KEY : KEY + 1;
        bool isNext = batch.sequence == batches && batch.previousHead == head;
        bool isInTime = batch.from >= lastTo && batch.from >= boundAt && batch.to > batch.from && batch.to <= _latest();
        bool isTrusted = accepted && !recalled && quarantine == 0 && key == KEY;
        bool expected = isTrusted && isNext && isInTime && patient != address(0) && batch.binding == binding;
        bytes memory data = abi.encodeCall(Devices.anchor, (DEVICE, batch, _signed(batch, key)));
        if (!attempt(pick(everybody), address(DEVICES), data, expected, "V1, V2: anchors")) return;
        if (!isBound()) ++late;
        measured[batches] = patient;
        head = keccak256(abi.encode(head, batches, batch.root, batch.count, batch.from, batch.to));
        (batches, lastTo) = (batches + 1, batch.to);
        assertTrue(lastTo <= boundUntil, "V2: of the binding");
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(2 hours));
    }

    function _latest() internal view returns (uint40) {
        return isBound() ? time() : boundUntil;
    }

    function _signed(Devices.Batch memory batch, uint256 key) internal view returns (bytes memory) {
        bytes32 typeHash = keccak256(
            "Batch(address device,uint32 binding,uint64 sequence,uint40 from,uint40 to,uint32 count,uint32 outOfRange,bytes32 root,bytes32 previousHead)"
        );
        bytes32 hash = keccak256(abi.encodePacked(hex"1901", DOMAIN, keccak256(abi.encode(typeHash, DEVICE, batch))));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, hash);
        return abi.encodePacked(r, s, v);
    }
}

/// forge-config: default.invariant.depth = 300
contract DevicesInvariants is WideNetwork, InvariantTest {
    DevicesHandler internal handler;
    address internal device = vm.addr(DEVICE_KEY);
    bytes32 internal constant NAME = "pump";
    bytes32 internal constant FIRMWARE = "firmware 1";

    function setUp() public override {
        super.setUp();
        relate(otherPatient, hospital, false);
        bytes32 model = devices.modelOf(maker, NAME);
        vm.prank(hospital);
        registry.registerDevice(device, model);
        vm.prank(maker);
        devices.acceptFirmware(NAME, FIRMWARE);
        Devices.Attestation memory made = Devices.Attestation(maker, NAME, "serial", FIRMWARE, time(), "", "");
        bytes32 typeHash = keccak256("Attest(address device,bytes32 model,bytes32 serial,uint40 deadline)");
        bytes32 hash = keccak256(abi.encode(typeHash, device, model, bytes32("serial"), time()));
        made.makerSignature = signature(MAKER_KEY, typedDigest("Salus Devices", address(devices), hash));
        typeHash = keccak256("Firmware(address device,address operator,bytes32 firmware,uint32 number,uint40 deadline)");
        hash = keccak256(abi.encode(typeHash, device, hospital, FIRMWARE, uint32(0), time()));
        made.deviceSignature = signature(DEVICE_KEY, typedDigest("Salus Devices", address(devices), hash));
        vm.prank(hospital);
        devices.enrol(device, made);
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Salus Devices"),
                keccak256("1"),
                block.chainid,
                address(devices)
            )
        );
        address[7] memory people = [patient, otherPatient, hospital, maker, regulator, nurse, stranger];
        handler = new DevicesHandler(devices, device, domain, people);
        target(address(handler));
    }

    function invariant_V1_V2_V3_V4_V7_a_device_is_where_the_model_is() public view everyFew(handler.calls()) {
        Devices.Device memory stored = devices.deviceOf(device);
        assertEq(stored.head, handler.head(), "V2: head");
        assertEq(stored.batches, handler.batches(), "V2: batches");
        assertEq(stored.lastTo, handler.lastTo(), "V2: last");
        assertEq(stored.quarantine, handler.quarantine(), "V4: quarantine");
        assertEq(stored.binding, handler.binding(), "V3: binding");
        assertEq(stored.offers, handler.offers(), "V3: offers");
        assertEq(devices.patientOf(device), handler.isBound() ? handler.patient() : address(0), "V3: one patient");
        bool mayRun = handler.accepted() && !handler.recalled();
        assertEq(devices.isAccepted(devices.modelOf(maker, NAME), FIRMWARE), mayRun, "V7: accepted and not recalled");
    }
}
