// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Forge compiles only what somebody imports.
import {
    ERC7913WebAuthnVerifier
} from "@openzeppelin/contracts/utils/cryptography/verifiers/ERC7913WebAuthnVerifier.sol";

import {AccessLog} from "../../src/AccessLog.sol";
import {Consents} from "../../src/Consents.sol";
import {EmergencyAccess} from "../../src/EmergencyAccess.sol";
import {LabOrders} from "../../src/LabOrders.sol";
import {PatientAccounts} from "../../src/PatientAccounts.sol";
import {Prescriptions} from "../../src/Prescriptions.sol";
import {Records} from "../../src/Records.sol";
import {Registry} from "../../src/Registry.sol";
import {Relationships} from "../../src/Relationships.sol";
import {InstitutionRole, ProfessionalRole} from "../../src/Types.sol";
import {Test} from "./Test.sol";

/// @notice A whole network: every contract, deployed in the order of the README, and one of everybody.
abstract contract Network is Test {
    Registry internal registry;
    ERC7913WebAuthnVerifier internal verifier;
    PatientAccounts internal accounts;
    Relationships internal relationships;
    Records internal records;
    Consents internal consents;
    EmergencyAccess internal emergencies;
    Prescriptions internal prescriptions;
    LabOrders internal labOrders;
    AccessLog internal accessLog;

    // Keys, so that a test can have any of them sign.
    uint256 internal constant HOSPITAL_KEY = 0xA01;
    uint256 internal constant LABORATORY_KEY = 0xA02;
    uint256 internal constant PHARMACY_KEY = 0xA03;
    uint256 internal constant EMERGENCY_KEY = 0xA04;
    uint256 internal constant PHYSICIAN_KEY = 0xB01;
    uint256 internal constant PATIENT_KEY = 0xC01;

    address internal hospital = vm.addr(HOSPITAL_KEY);
    address internal laboratory = vm.addr(LABORATORY_KEY);
    address internal pharmacy = vm.addr(PHARMACY_KEY);
    address internal emergency = vm.addr(EMERGENCY_KEY);
    address internal physician = vm.addr(PHYSICIAN_KEY);
    address internal nurse = vm.addr(0xB02);
    address internal pharmacist = vm.addr(0xB03);
    address internal scientist = vm.addr(0xB04);
    address internal paramedic = vm.addr(0xB05);
    address internal officer = vm.addr(0xB06);
    address internal patient = vm.addr(PATIENT_KEY);
    address internal stranger = vm.addr(0xD01);

    function setUp() public virtual {
        registry = Registry(deploy("Registry", abi.encode(founders())));

        verifier = ERC7913WebAuthnVerifier(deploy("ERC7913WebAuthnVerifier", ""));
        accounts = PatientAccounts(deploy("PatientAccounts", ""));
        address next = vm.computeCreateAddress(address(this), vm.getNonce(address(this)) + 1);
        relationships = Relationships(deploy("Relationships", abi.encode(registry, next)));
        records = Records(deploy("Records", abi.encode(registry, relationships)));
        consents = Consents(deploy("Consents", abi.encode(registry, relationships)));
        emergencies = EmergencyAccess(deploy("EmergencyAccess", abi.encode(registry)));
        prescriptions = Prescriptions(deploy("Prescriptions", abi.encode(registry, relationships)));
        labOrders = LabOrders(deploy("LabOrders", abi.encode(registry, relationships)));
        accessLog = AccessLog(deploy("AccessLog", abi.encode(registry)));

        accredit(hospital, physician, ProfessionalRole.Physician);
        accredit(hospital, nurse, ProfessionalRole.Nurse);
        accredit(pharmacy, pharmacist, ProfessionalRole.Pharmacist);
        accredit(laboratory, scientist, ProfessionalRole.LaboratoryScientist);
        accredit(emergency, paramedic, ProfessionalRole.Paramedic);
        accredit(emergency, officer, ProfessionalRole.PrivacyOfficer);
    }

    function founders() internal view virtual returns (Registry.Founder[] memory list) {
        list = new Registry.Founder[](4);
        list[0] = Registry.Founder(hospital, InstitutionRole.Hospital);
        list[1] = Registry.Founder(laboratory, InstitutionRole.Laboratory);
        list[2] = Registry.Founder(pharmacy, InstitutionRole.Pharmacy);
        list[3] = Registry.Founder(emergency, InstitutionRole.Emergency);
    }

    function accredit(address institution, address professional, ProfessionalRole role) internal {
        vm.prank(institution);
        registry.accredit(professional, role, time() + 365 days);
    }

    /// @notice Admits an institution by the votes of hospital, laboratory and pharmacy.
    function admit(address account, InstitutionRole role) internal {
        vm.prank(hospital);
        decide(registry.proposeAdmission(account, role));
    }

    /// @notice Expels an institution by the same votes.
    function expel(address member) internal {
        vm.prank(hospital);
        decide(registry.proposeExpulsion(member));
    }

    /// @notice Carries a proposal of the hospital out.
    function decide(uint256 id) internal virtual {
        vm.prank(laboratory);
        registry.vote(id);
        if (registry.proposal(id).executed) return;
        vm.prank(pharmacy);
        registry.vote(id);
    }

    /// @notice An active relationship between a patient and a steward.
    function relate(address patient_, address steward, bool countersigned) internal {
        vm.prank(steward);
        relationships.propose(patient_, countersigned);
        vm.prank(patient_);
        relationships.accept(steward, countersigned);
    }

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @notice The EIP-712 digest of a message to one of our contracts.
    function typedDigest(string memory name, address where, bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(name)),
                keccak256("1"),
                block.chainid,
                where
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
