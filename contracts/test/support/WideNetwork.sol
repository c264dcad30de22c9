// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Claims} from "../../src/Claims.sol";
import {DataExchange} from "../../src/DataExchange.sol";
import {Devices} from "../../src/Devices.sol";
import {PaymentToken} from "../../src/PaymentToken.sol";
import {Registry} from "../../src/Registry.sol";
import {Surgeries} from "../../src/Surgeries.sol";
import {Trials} from "../../src/Trials.sol";
import {InstitutionRole, ProfessionalRole} from "../../src/Types.sol";
import {WaitingLists} from "../../src/WaitingLists.sol";
import {Network} from "./Network.sol";

/// @notice The network with an institution of each role, a second hospital, and who works there.
abstract contract WideNetwork is Network {
    PaymentToken internal token;
    Surgeries internal surgeries;
    Trials internal trials;
    Devices internal devices;
    WaitingLists internal waitingLists;
    Claims internal claims;
    DataExchange internal dataExchange;

    uint256 internal constant MAKER_KEY = 0xA08;
    uint256 internal constant DEVICE_KEY = 0xF01;

    address internal insurer = vm.addr(0xA05);
    address internal research = vm.addr(0xA06);
    address internal regulator = vm.addr(0xA07);
    address internal maker = vm.addr(MAKER_KEY);
    address internal clinic = vm.addr(0xA09);

    // Of the hospital, which has the network's physician and nurse as well.
    address internal surgeon = vm.addr(0xB11);
    address internal siteResearcher = vm.addr(0xB12);
    address internal trialPharmacist = vm.addr(0xB13);
    address internal hospitalOfficer = vm.addr(0xB14);
    // Of the clinic.
    address internal referrer = vm.addr(0xB21);
    address internal otherSurgeon = vm.addr(0xB22);
    address internal otherNurse = vm.addr(0xB23);
    // Of the others.
    address internal adjudicator = vm.addr(0xB31);
    address internal secondAdjudicator = vm.addr(0xB32);
    address internal researcher = vm.addr(0xB33);
    address internal auditor = vm.addr(0xB34);

    address internal otherPatient = vm.addr(0xC02);

    function founders() internal view override returns (Registry.Founder[] memory list) {
        list = new Registry.Founder[](9);
        list[0] = Registry.Founder(hospital, InstitutionRole.Hospital);
        list[1] = Registry.Founder(laboratory, InstitutionRole.Laboratory);
        list[2] = Registry.Founder(pharmacy, InstitutionRole.Pharmacy);
        list[3] = Registry.Founder(emergency, InstitutionRole.Emergency);
        list[4] = Registry.Founder(insurer, InstitutionRole.Insurer);
        list[5] = Registry.Founder(research, InstitutionRole.Research);
        list[6] = Registry.Founder(regulator, InstitutionRole.Regulator);
        list[7] = Registry.Founder(maker, InstitutionRole.DeviceMaker);
        list[8] = Registry.Founder(clinic, InstitutionRole.Hospital);
    }

    function decide(uint256 id) internal override {
        address[4] memory voters = [laboratory, pharmacy, emergency, insurer];
        for (uint256 i; i < 4; ++i) {
            vm.prank(voters[i]);
            registry.vote(id);
        }
    }

    function setUp() public virtual override {
        super.setUp();
        surgeries = Surgeries(deploy("Surgeries", abi.encode(registry, relationships)));
        trials = Trials(deploy("Trials", abi.encode(registry)));
        devices = Devices(deploy("Devices", abi.encode(registry, relationships)));
        waitingLists = WaitingLists(deploy("WaitingLists", abi.encode(registry, relationships)));
        address[] memory rich = new address[](3);
        (rich[0], rich[1], rich[2]) = (insurer, research, patient);
        token = PaymentToken(deploy("PaymentToken", abi.encode(rich)));
        claims = Claims(deploy("Claims", abi.encode(registry, token, prescriptions, labOrders, surgeries)));
        dataExchange = DataExchange(deploy("DataExchange", abi.encode(registry, token)));

        accredit(hospital, surgeon, ProfessionalRole.Surgeon);
        accredit(hospital, siteResearcher, ProfessionalRole.Researcher);
        accredit(hospital, trialPharmacist, ProfessionalRole.Pharmacist);
        accredit(hospital, hospitalOfficer, ProfessionalRole.PrivacyOfficer);
        accredit(clinic, referrer, ProfessionalRole.Physician);
        accredit(clinic, otherSurgeon, ProfessionalRole.Surgeon);
        accredit(clinic, otherNurse, ProfessionalRole.Nurse);
        accredit(insurer, adjudicator, ProfessionalRole.Adjudicator);
        accredit(insurer, secondAdjudicator, ProfessionalRole.Adjudicator);
        accredit(research, researcher, ProfessionalRole.Researcher);
        accredit(regulator, auditor, ProfessionalRole.Auditor);
        relate(patient, hospital, false);
        relate(patient, clinic, false);
    }
}
