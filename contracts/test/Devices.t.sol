// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Devices} from "../src/Devices.sol";
import {Registry} from "../src/Registry.sol";
import {InstitutionRole} from "../src/Types.sol";
import {Merkle} from "./support/Merkle.sol";
import {Steps} from "./support/Steps.sol";

contract DevicesTest is Steps {
    bytes32 internal constant NAME = "pump";
    bytes32 internal constant FIRMWARE = "firmware 1";
    bytes32 internal constant ROOT = "root";
    address internal device = vm.addr(DEVICE_KEY);
    bytes32 internal model;

    function setUp() public override {
        super.setUp();
        model = devices.modelOf(maker, NAME);
    }

    /* The table */

    function workflow() internal view override returns (string memory, address) {
        return ("Devices", address(devices));
    }

    function states() internal pure override returns (string[] memory) {
        string[13] memory names;
        (names[0], names[1], names[2], names[3]) = ("Registered", "Enrolled", "Offered", "Bound");
        (names[4], names[5], names[6], names[7]) = ("Anchored", "Quarantined", "Unbound", "Decommissioned");
        return asList(names, 8);
    }

    function steps() internal view override returns (Step[] memory list) {
        list = new Step[](13);
        list[0] = Step("accept firmware", abi.encodeCall(Devices.acceptFirmware, (NAME, "firmware 2")));
        list[1] = Step("withdraw firmware", abi.encodeCall(Devices.withdrawFirmware, (NAME, FIRMWARE)));
        list[2] = Step("enrol", abi.encodeCall(Devices.enrol, (device, attestation("serial"))));
        list[3] =
            Step("offer binding", abi.encodeCall(Devices.offerBinding, (device, patient, time() + 30 days, 3600)));
        list[4] = Step("accept binding", abi.encodeCall(Devices.acceptBinding, (device, 1)));
        list[5] = Step("unbind", abi.encodeCall(Devices.unbind, (device)));
        Devices.Batch memory next = batch();
        list[6] = Step("anchor", abi.encodeCall(Devices.anchor, (device, next, signed(next, DEVICE_KEY))));
        list[7] = Step("acknowledge", abi.encodeCall(Devices.acknowledge, (device, 0)));
        list[8] = Step("quarantine", abi.encodeCall(Devices.quarantine, (device, "reason")));
        list[9] = Step("lift quarantine", abi.encodeCall(Devices.liftQuarantine, (device)));
        list[11] = Step("recall firmware", abi.encodeCall(Devices.recallFirmware, (model, FIRMWARE, "reason")));
        list[12] = Step("lift recall", abi.encodeCall(Devices.liftRecall, (model, FIRMWARE)));
        list[10] = Step(
            "update firmware",
            abi.encodeCall(
                Devices.updateFirmware, (device, FIRMWARE, time() + 1, firmwareSigned(FIRMWARE, 1, DEVICE_KEY))
            )
        );
    }

    function reach(uint256 state) internal override {
        vm.prank(hospital);
        registry.registerDevice(device, model);
        vm.prank(maker);
        devices.acceptFirmware(NAME, FIRMWARE);
        if (state >= 1) enrol(attestation("serial"));
        if (state >= 2) offer();
        if (state >= 3) accept(1);
        if (state >= 3) skip(1 hours);
        if (state >= 4) {
            Devices.Batch memory next = batch();
            next.outOfRange = 1;
            anchor(next);
            skip(10 minutes);
        }
        if (state == 5) quarantineBy(hospital);
        if (state == 6) {
            vm.prank(patient);
            devices.unbind(device);
        }
        if (state == 7) {
            vm.prank(hospital);
            registry.decommissionDevice(device);
        }
    }

    /* Steps and signatures */

    function attestation(bytes32 serial) internal view returns (Devices.Attestation memory made) {
        made = Devices.Attestation(maker, NAME, serial, FIRMWARE, time() + 1, "", "");
        made.makerSignature = attested(device, model, serial, made.deadline, MAKER_KEY);
        made.deviceSignature = firmwareSigned(FIRMWARE, 0, DEVICE_KEY);
    }

    function attested(address device_, bytes32 model_, bytes32 serial, uint40 deadline, uint256 key)
        internal
        view
        returns (bytes memory)
    {
        bytes32 typeHash = keccak256("Attest(address device,bytes32 model,bytes32 serial,uint40 deadline)");
        bytes32 hash = keccak256(abi.encode(typeHash, device_, model_, serial, deadline));
        return signature(key, typedDigest("Salus Devices", address(devices), hash));
    }

    /// @dev With a deadline a second ahead.
    function firmwareSigned(bytes32 firmware, uint32 number, uint256 key) internal view returns (bytes memory) {
        bytes32 typeHash = keccak256(
            "Firmware(address device,address operator,bytes32 firmware,uint32 number,uint40 deadline)"
        );
        bytes32 hash = keccak256(abi.encode(typeHash, device, hospital, firmware, number, time() + 1));
        return signature(key, typedDigest("Salus Devices", address(devices), hash));
    }

    /// @notice The next batch of the device.
    function batch() internal view returns (Devices.Batch memory next) {
        Devices.Device memory stored = devices.deviceOf(device);
        uint40 from = stored.lastTo > stored.boundAt ? stored.lastTo : stored.boundAt;
        next = Devices.Batch(stored.binding, stored.batches, from, time(), 100, 0, ROOT, stored.head);
    }

    function signed(Devices.Batch memory next, uint256 key) internal view returns (bytes memory) {
        bytes32 typeHash = keccak256(
            "Batch(address device,uint32 binding,uint64 sequence,uint40 from,uint40 to,uint32 count,uint32 outOfRange,bytes32 root,bytes32 previousHead)"
        );
        bytes32 hash = keccak256(abi.encode(typeHash, device, next));
        return signature(key, typedDigest("Salus Devices", address(devices), hash));
    }

    function enrol(Devices.Attestation memory made) internal {
        vm.prank(hospital);
        devices.enrol(device, made);
    }

    function offer() internal {
        vm.prank(hospital);
        devices.offerBinding(device, patient, time() + 30 days, 3600);
    }

    function accept(uint32 binding) internal {
        vm.prank(patient);
        devices.acceptBinding(device, binding);
    }

    function anchor(Devices.Batch memory next) internal {
        devices.anchor(device, next, signed(next, DEVICE_KEY));
    }

    function refuseAnchor(Devices.Batch memory next, bytes memory reason) internal {
        bytes memory by = signed(next, DEVICE_KEY);
        vm.expectRevert(reason);
        devices.anchor(device, next, by);
    }

    function quarantineBy(address who) internal {
        vm.prank(who);
        devices.quarantine(device, "reason");
    }

    /* enrol
     * ├── the maker is none → WrongInstitution
     * ├── registered as another model → ModelDiffers
     * ├── firmware that the maker does not accept → FirmwareRefused
     * ├── enrolled before, or the serial number was → AlreadyEnrolled
     * ├── after the deadline → Expired
     * └── not signed by maker, or not by device, or for another device → InvalidSignature
     */

    function test_only_a_maker_attests_its_models() public {
        reach(0);
        Devices.Attestation memory made = attestation("serial");
        made.maker = clinic;
        vm.expectRevert(abi.encodeWithSelector(Devices.WrongInstitution.selector, clinic, InstitutionRole.Hospital));
        enrol(made);
        made = attestation("serial");
        made.name = "another";
        vm.expectRevert(
            abi.encodeWithSelector(Devices.ModelDiffers.selector, devices.modelOf(maker, "another"), model)
        );
        enrol(made);
        made = attestation("serial");
        made.firmware = "homemade";
        vm.expectRevert(abi.encodeWithSelector(Devices.FirmwareRefused.selector, model, bytes32("homemade")));
        enrol(made);
    }

    function test_both_signatures_are_needed() public {
        reach(0);
        Devices.Attestation memory made = attestation("serial");
        made.makerSignature = attested(device, model, "serial", made.deadline, DEVICE_KEY);
        vm.expectRevert(abi.encodeWithSelector(Devices.InvalidSignature.selector, maker));
        enrol(made);
        made.makerSignature = attested(stranger, model, "serial", made.deadline, MAKER_KEY);
        vm.expectRevert(abi.encodeWithSelector(Devices.InvalidSignature.selector, maker));
        enrol(made);
        made = attestation("serial");
        made.deviceSignature = firmwareSigned(FIRMWARE, 0, MAKER_KEY);
        vm.expectRevert(abi.encodeWithSelector(Devices.InvalidSignature.selector, device));
        enrol(made);
        made = attestation("serial");
        skip(2);
        vm.expectRevert(abi.encodeWithSelector(Devices.Expired.selector, made.deadline));
        enrol(made);
    }

    function test_V6_a_serial_number_is_enrolled_once() public {
        reach(1);
        vm.expectRevert(abi.encodeWithSelector(Devices.AlreadyEnrolled.selector, device));
        enrol(attestation("another serial"));
        address twin = vm.addr(0xF02);
        vm.prank(hospital);
        registry.registerDevice(twin, model);
        Devices.Attestation memory made = attestation("serial");
        made.makerSignature = attested(twin, model, "serial", made.deadline, MAKER_KEY);
        vm.expectRevert(abi.encodeWithSelector(Devices.AlreadyEnrolled.selector, device));
        vm.prank(hospital);
        devices.enrol(twin, made);
    }

    /* binding
     * ├── offered while bound → StillBound
     * ├── to a patient of somebody else → NotActive
     * ├── accepted by another, another number, or after its end → NotOffered
     * ├── patient and operator unbind at any time, a decommissioned device as well
     * └── over at its end
     */

    function test_V3_a_device_has_one_patient_who_accepted() public {
        reach(2);
        vm.expectRevert(abi.encodeWithSelector(Devices.NotOffered.selector, device, 2));
        accept(2);
        vm.expectRevert(abi.encodeWithSelector(Devices.NotOffered.selector, device, 1));
        vm.prank(otherPatient);
        devices.acceptBinding(device, 1);
        vm.expectRevert(abi.encodeWithSelector(Devices.NotActive.selector, otherPatient, hospital));
        vm.prank(hospital);
        devices.offerBinding(device, otherPatient, time() + 1, 1);
        accept(1);
        vm.expectRevert(abi.encodeWithSelector(Devices.StillBound.selector, device, patient));
        offer();
        skip(30 days - 1);
        assertEq(devices.patientOf(device), patient, "the last second");
        skip(1);
        assertEq(devices.patientOf(device), address(0), "over");
        offer();
        skip(30 days);
        vm.expectRevert(abi.encodeWithSelector(Devices.NotOffered.selector, device, 2));
        accept(2);
    }

    function test_V3_the_patient_unbinds_whatever_happened() public {
        reach(7);
        vm.prank(patient);
        devices.unbind(device);
        assertEq(devices.patientOf(device), address(0), "unbound");
    }

    /* anchor
     * ├── forged: signed by another key, a replaced key, or changed afterwards → InvalidSignature
     * ├── replayed → WrongSequence
     * ├── left out or reordered → WrongSequence, Fork
     * ├── of another binding, or none → NotBound
     * ├── after the end of the binding, by its time or before it → InvalidTime; brought after it: anchored
     * ├── overlapping, in the future, before the binding, or of no time → InvalidTime
     * ├── no root, no readings, too many, more out of range than there are → InvalidBatch
     * ├── firmware accepted no more → FirmwareRefused
     * ├── in quarantine → InQuarantine
     * ├── decommissioned, or its operator expelled → NotDevice
     * ├── the 121st in an hour → TooManyBatches
     * └── otherwise: anchored, and every reading is provable
     */

    function test_V1_a_forged_batch_is_refused() public {
        reach(3);
        Devices.Batch memory next = batch();
        bytes memory by = signed(next, MAKER_KEY);
        vm.expectRevert(abi.encodeWithSelector(Devices.InvalidSignature.selector, device));
        devices.anchor(device, next, by);
        by = signed(next, DEVICE_KEY);
        next.root = "another root";
        vm.expectRevert(abi.encodeWithSelector(Devices.InvalidSignature.selector, device));
        devices.anchor(device, next, by);
    }

    function test_V1_a_rotated_key_signs_and_the_old_one_no_more() public {
        reach(4);
        uint256 newKey = 0xF03;
        bytes32 typeHash = keccak256("Rotate(address member,address newSigner,uint256 nonce,uint40 deadline)");
        bytes32 hash = keccak256(abi.encode(typeHash, device, vm.addr(newKey), 0, time()));
        bytes memory by = signature(newKey, typedDigest("Salus Registry", address(registry), hash));
        vm.prank(device);
        registry.rotate(vm.addr(newKey), time(), by);
        Devices.Batch memory next = batch();
        by = signed(next, DEVICE_KEY);
        vm.expectRevert(abi.encodeWithSelector(Devices.InvalidSignature.selector, vm.addr(newKey)));
        devices.anchor(device, next, by);
        devices.anchor(device, next, signed(next, newKey));
    }

    function test_V2_a_replayed_or_reordered_batch_is_refused() public {
        reach(3);
        Devices.Batch memory first = batch();
        anchor(first);
        refuseAnchor(first, abi.encodeWithSelector(Devices.WrongSequence.selector, 1, 0));
        skip(1 hours);
        Devices.Batch memory next = batch();
        next.sequence = 2;
        refuseAnchor(next, abi.encodeWithSelector(Devices.WrongSequence.selector, 1, 2));
        next.sequence = 1;
        bytes32 head = next.previousHead;
        next.previousHead = first.previousHead;
        refuseAnchor(next, abi.encodeWithSelector(Devices.Fork.selector, head, bytes32(0)));
    }

    function test_V2_times_never_overlap() public {
        reach(4);
        Devices.Batch memory next = batch();
        uint40 lastTo = next.from;
        next.from = lastTo - 1;
        refuseAnchor(next, abi.encodeWithSelector(Devices.InvalidTime.selector, lastTo - 1, lastTo, next.to));
        next.from = lastTo;
        next.to = time() + 1;
        refuseAnchor(next, abi.encodeWithSelector(Devices.InvalidTime.selector, time() + 1, lastTo + 1, time()));
        next.to = lastTo;
        refuseAnchor(next, abi.encodeWithSelector(Devices.InvalidTime.selector, lastTo, lastTo + 1, time()));
        next.to = lastTo + 1;
        anchor(next);
    }

    function test_V2_another_binding_is_another() public {
        reach(4);
        Devices.Batch memory late = batch();
        late.binding = 2;
        refuseAnchor(late, abi.encodeWithSelector(Devices.NotBound.selector, device, 2));
        late.binding = 1;
        vm.prank(hospital);
        devices.unbind(device);
        skip(1 days);
        offer();
        accept(2);
        refuseAnchor(late, abi.encodeWithSelector(Devices.NotBound.selector, device, 1));
        skip(1 hours);
        uint40 boundAt = devices.deviceOf(device).boundAt;
        Devices.Batch memory next = batch();
        next.from = boundAt - 1;
        refuseAnchor(next, abi.encodeWithSelector(Devices.InvalidTime.selector, boundAt - 1, boundAt, next.to));
        next.from = boundAt;
        anchor(next);
    }

    /// @dev V1: what was measured is not lost because the patient was quicker than the network.
    function test_V2_a_batch_of_the_binding_is_brought_after_its_end() public {
        reach(4);
        Devices.Batch memory late = batch();
        uint40 endedAt = time();
        vm.prank(patient);
        devices.unbind(device);
        assertEq(devices.patientOf(device), address(0), "unbound");
        skip(1 days);
        offer();
        late.to = endedAt + 1;
        refuseAnchor(late, abi.encodeWithSelector(Devices.InvalidTime.selector, late.to, late.from + 1, endedAt));
        late.to = endedAt;
        bytes memory by = signed(late, DEVICE_KEY);
        vm.expectEmit(address(devices));
        emit Devices.ReadingsAnchored(
            device,
            patient,
            1,
            ROOT,
            100,
            late.from,
            endedAt,
            keccak256(abi.encode(late.previousHead, uint64(1), ROOT, uint32(100), late.from, endedAt))
        );
        devices.anchor(device, late, by);
        // The patient took nothing back but the time to come; the offer still awaits them.
        accept(2);
    }

    function test_V2_a_batch_is_brought_after_the_binding_s_time() public {
        reach(4);
        uint40 until = devices.deviceOf(device).boundUntil;
        vm.warp(until + 10 days);
        Devices.Batch memory late = batch();
        refuseAnchor(late, abi.encodeWithSelector(Devices.InvalidTime.selector, time(), late.from + 1, until));
        late.to = until;
        anchor(late);
        late = batch();
        late.to = until + 1;
        refuseAnchor(late, abi.encodeWithSelector(Devices.InvalidTime.selector, until + 1, until + 1, until));
    }

    function test_a_decommissioned_device_is_unbound_and_its_alerts_seen() public {
        reach(7);
        vm.prank(nurse);
        devices.acknowledge(device, 0);
        assertFalse(devices.isOverdue(device, 0), "seen");
        quarantineBy(hospital);
        vm.expectRevert(abi.encodeWithSelector(Devices.NotParty.selector, clinic));
        vm.prank(clinic);
        devices.unbind(device);
        vm.prank(hospital);
        devices.unbind(device);
        assertEq(devices.patientOf(device), address(0), "unbound");
    }

    function test_a_batch_has_readings() public {
        reach(3);
        Devices.Batch memory next = batch();
        next.count = 0;
        refuseAnchor(next, abi.encodeWithSelector(Devices.InvalidBatch.selector, ROOT, 0, 0));
        next.count = 1_000_001;
        refuseAnchor(next, abi.encodeWithSelector(Devices.InvalidBatch.selector, ROOT, 1_000_001, 0));
        (next.count, next.outOfRange) = (5, 6);
        refuseAnchor(next, abi.encodeWithSelector(Devices.InvalidBatch.selector, ROOT, 5, 6));
        (next.outOfRange, next.root) = (5, 0);
        refuseAnchor(next, abi.encodeWithSelector(Devices.InvalidBatch.selector, bytes32(0), 5, 5));
    }

    function test_V1_withdrawn_firmware_stops_a_device_until_it_runs_another() public {
        reach(4);
        vm.prank(maker);
        devices.withdrawFirmware(NAME, FIRMWARE);
        refuseAnchor(batch(), abi.encodeWithSelector(Devices.FirmwareRefused.selector, model, FIRMWARE));
        bytes32 next = "firmware 2";
        bytes memory by = firmwareSigned(next, 1, DEVICE_KEY);
        vm.expectRevert(abi.encodeWithSelector(Devices.FirmwareRefused.selector, model, next));
        devices.updateFirmware(device, next, time() + 1, by);
        vm.prank(maker);
        devices.acceptFirmware(NAME, next);
        devices.updateFirmware(device, next, time() + 1, by);
        vm.expectRevert(abi.encodeWithSelector(Devices.InvalidSignature.selector, device));
        devices.updateFirmware(device, next, time() + 1, by);
        anchor(batch());
    }

    /// @dev V7: the maker accepts what it likes, and a recall stands.
    function test_V7_a_maker_does_not_undo_a_regulator_s_recall() public {
        reach(4);
        vm.prank(regulator);
        devices.recallFirmware(model, FIRMWARE, "reason");
        bytes memory refused = abi.encodeWithSelector(Devices.FirmwareRefused.selector, model, FIRMWARE);
        refuseAnchor(batch(), refused);
        vm.prank(maker);
        devices.acceptFirmware(NAME, FIRMWARE);
        assertFalse(devices.isAccepted(model, FIRMWARE), "recalled");
        refuseAnchor(batch(), refused);
        // Nor does another device begin to run it, nor this one anew.
        bytes memory by = firmwareSigned(FIRMWARE, 1, DEVICE_KEY);
        vm.expectRevert(refused);
        devices.updateFirmware(device, FIRMWARE, time() + 1, by);
        address twin = vm.addr(0xF02);
        vm.prank(hospital);
        registry.registerDevice(twin, model);
        Devices.Attestation memory made = attestation("another serial");
        vm.expectRevert(refused);
        vm.prank(hospital);
        devices.enrol(twin, made);
        vm.expectRevert(abi.encodeWithSelector(Devices.WrongInstitution.selector, maker, InstitutionRole.DeviceMaker));
        vm.prank(maker);
        devices.liftRecall(model, FIRMWARE);
        vm.prank(regulator);
        devices.liftRecall(model, FIRMWARE);
        anchor(batch());
    }

    /// @dev What a device said once is not said again, even when it went back to what it ran then.
    function test_a_statement_of_firmware_is_not_replayed() public {
        reach(4);
        vm.prank(maker);
        devices.acceptFirmware(NAME, "firmware 2");
        bytes memory first = firmwareSigned("firmware 2", 1, DEVICE_KEY);
        devices.updateFirmware(device, "firmware 2", time() + 1, first);
        devices.updateFirmware(device, FIRMWARE, time() + 1, firmwareSigned(FIRMWARE, 2, DEVICE_KEY));
        vm.expectRevert(abi.encodeWithSelector(Devices.InvalidSignature.selector, device));
        devices.updateFirmware(device, "firmware 2", time() + 1, first);
        assertEq(devices.deviceOf(device).firmware, FIRMWARE, "what it runs");
    }

    /// @dev V4: each lifts its own only.
    function test_V4_quarantine_ends_by_who_imposed_it() public {
        reach(4);
        address[3] memory guards = [hospital, maker, regulator];
        for (uint256 i; i < 3; ++i) {
            quarantineBy(guards[i]);
        }
        for (uint256 i; i < 3; ++i) {
            refuseAnchor(batch(), abi.encodeWithSelector(Devices.InQuarantine.selector, device, uint8(7 << i & 7)));
            vm.prank(guards[i]);
            devices.liftQuarantine(device);
            vm.expectRevert(abi.encodeWithSelector(Devices.NotQuarantined.selector, device));
            vm.prank(guards[i]);
            devices.liftQuarantine(device);
        }
        anchor(batch());
    }

    function test_V1_a_decommissioned_device_anchors_no_more() public {
        reach(7);
        refuseAnchor(batch(), abi.encodeWithSelector(Registry.NotDevice.selector, device));
    }

    function test_V5_a_device_is_rate_limited() public {
        reach(3);
        for (uint256 i; i < 120; ++i) {
            Devices.Batch memory next = batch();
            next.to = next.from + 1;
            anchor(next);
        }
        Devices.Batch memory one = batch();
        one.to = one.from + 1;
        refuseAnchor(one, abi.encodeWithSelector(Devices.TooManyBatches.selector, device, 120));
        skip(1 hours - 1);
        refuseAnchor(one, abi.encodeWithSelector(Devices.TooManyBatches.selector, device, 120));
        skip(1);
        anchor(one);
    }

    /* alerts
     * ├── nothing for longer than the interval: a gap, once it is heard again; silent before
     * └── out of range: due in an hour, until acknowledged
     */

    function test_a_gap_is_told() public {
        reach(4);
        uint40 since = devices.deviceOf(device).lastTo;
        vm.warp(since + 3600);
        assertFalse(devices.isSilent(device), "at the interval");
        skip(1);
        assertTrue(devices.isSilent(device), "a second later");
        skip(1 hours);
        Devices.Batch memory next = batch();
        next.from = since + 3601;
        bytes memory by = signed(next, DEVICE_KEY);
        vm.expectEmit(address(devices));
        emit Devices.ReadingsMissing(device, patient, 1, since, since + 3601);
        devices.anchor(device, next, by);
        assertFalse(devices.isSilent(device), "heard");
    }

    function test_an_alert_waits_for_a_clinician() public {
        reach(4);
        assertFalse(devices.isOverdue(device, 0), "not yet");
        skip(50 minutes - 1);
        assertFalse(devices.isOverdue(device, 0), "a second before");
        skip(1);
        assertTrue(devices.isOverdue(device, 0), "overdue");
        vm.prank(nurse);
        devices.acknowledge(device, 0);
        assertFalse(devices.isOverdue(device, 0), "seen");
        vm.expectRevert(abi.encodeWithSelector(Devices.NothingToAcknowledge.selector, device, 0));
        vm.prank(nurse);
        devices.acknowledge(device, 0);
    }

    function testFuzz_every_reading_of_a_batch_is_provable(uint256 seed, uint256 size, uint256 pick) public {
        reach(3);
        size = bound(size, 1, 50);
        pick = bound(pick, 0, size - 1);
        bytes32[] memory leaves = new bytes32[](size);
        for (uint256 i; i < size; ++i) {
            leaves[i] = keccak256(bytes.concat(keccak256(abi.encode(keccak256(abi.encode(seed, i))))));
        }
        Devices.Batch memory next = batch();
        (next.root, next.count) = (Merkle.rootOf(leaves), uint32(size));
        anchor(next);
        bytes32[] memory proof = Merkle.proofOf(leaves, pick);
        assertTrue(devices.verify(device, 0, keccak256(abi.encode(seed, pick)), proof), "a reading");
        assertFalse(devices.verify(device, 0, keccak256(abi.encode(seed, size)), proof), "no reading");
        assertFalse(devices.verify(device, 1, keccak256(abi.encode(seed, pick)), proof), "no batch");
    }

    /// @dev V2, over random histories: what is anchored is a chain without gap or overlap.
    function testFuzz_V2_the_chain_is_whole(uint256 seed) public {
        reach(3);
        bytes32 head;
        uint64 count;
        uint40 lastTo = devices.deviceOf(device).boundAt;
        for (uint256 i; i < 30; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            skip(seed % 600);
            Devices.Batch memory next = batch();
            if (seed >> 16 & 3 == 0) next.sequence = uint64(seed >> 20 & 3);
            if (seed >> 24 & 3 == 0) next.from = next.from + uint40(seed >> 28 & 7) - 3;
            if (seed >> 32 & 3 == 0) next.previousHead = bytes32(seed >> 250);
            if (seed >> 40 & 7 == 0) next.to = next.to + uint40(seed >> 44 & 1);
            bool expected = next.sequence == count && next.previousHead == head && next.from >= lastTo
                && next.to > next.from && next.to <= time();
            (bool success,) =
                address(devices).call(abi.encodeCall(Devices.anchor, (device, next, signed(next, DEVICE_KEY))));
            assertEq(success, expected, "V2");
            if (!success) continue;
            head = keccak256(abi.encode(head, count, next.root, next.count, next.from, next.to));
            (count, lastTo) = (count + 1, next.to);
        }
        assertEq(devices.deviceOf(device).head, head, "head");
        assertEq(devices.deviceOf(device).batches, count, "batches");
    }
}
