// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Records} from "../src/Records.sol";
import {Vm} from "./support/Vm.sol";
import {WideNetwork} from "./support/WideNetwork.sol";

contract DeploymentTest is WideNetwork {
    /* Deployment
     * ├── in the order of the README: every contract knows the others by their real addresses
     * ├── Relationships expects Records elsewhere than where it is deployed → Miswired
     * ├── every contract fits the limit of EIP-170
     * └── every artifact is of the sources as they are
     */

    function test_the_contracts_know_each_other() public view {
        assertEq(address(relationships.RECORDS()), address(records), "Relationships -> Records");
        assertEq(address(records.RELATIONSHIPS()), address(relationships), "Records -> Relationships");
        assertEq(address(consents.RELATIONSHIPS()), address(relationships), "Consents -> Relationships");
        assertEq(address(prescriptions.RELATIONSHIPS()), address(relationships), "Prescriptions -> Relationships");
        assertEq(address(labOrders.RELATIONSHIPS()), address(relationships), "LabOrders -> Relationships");

        assertEq(address(relationships.REGISTRY()), address(registry), "Relationships -> Registry");
        assertEq(address(records.REGISTRY()), address(registry), "Records -> Registry");
        assertEq(address(consents.REGISTRY()), address(registry), "Consents -> Registry");
        assertEq(address(emergencies.REGISTRY()), address(registry), "EmergencyAccess -> Registry");
        assertEq(address(prescriptions.REGISTRY()), address(registry), "Prescriptions -> Registry");
        assertEq(address(labOrders.REGISTRY()), address(registry), "LabOrders -> Registry");
        assertEq(address(accessLog.REGISTRY()), address(registry), "AccessLog -> Registry");

        assertEq(address(surgeries.REGISTRY()), address(registry), "Surgeries -> Registry");
        assertEq(address(surgeries.RELATIONSHIPS()), address(relationships), "Surgeries -> Relationships");
        assertEq(address(trials.REGISTRY()), address(registry), "Trials -> Registry");
        assertEq(address(devices.REGISTRY()), address(registry), "Devices -> Registry");
        assertEq(address(devices.RELATIONSHIPS()), address(relationships), "Devices -> Relationships");
        assertEq(address(waitingLists.REGISTRY()), address(registry), "WaitingLists -> Registry");
        assertEq(address(waitingLists.RELATIONSHIPS()), address(relationships), "WaitingLists -> Relationships");
        assertEq(address(claims.REGISTRY()), address(registry), "Claims -> Registry");
        assertEq(address(claims.TOKEN()), address(token), "Claims -> PaymentToken");
        assertEq(address(claims.PRESCRIPTIONS()), address(prescriptions), "Claims -> Prescriptions");
        assertEq(address(claims.LAB_ORDERS()), address(labOrders), "Claims -> LabOrders");
        assertEq(address(claims.SURGERIES()), address(surgeries), "Claims -> Surgeries");
        assertEq(address(dataExchange.REGISTRY()), address(registry), "DataExchange -> Registry");
        assertEq(address(dataExchange.TOKEN()), address(token), "DataExchange -> PaymentToken");
    }

    function test_records_at_another_address_than_expected_are_refused() public {
        address actual = vm.computeCreateAddress(address(this), vm.getNonce(address(this)));
        vm.expectRevert(abi.encodeWithSelector(Records.Miswired.selector, address(records), actual));
        deploy("Records", abi.encode(registry, relationships));
    }

    function test_every_contract_fits_the_size_limit() public view {
        if (isMeasuringCoverage()) return;
        address[18] memory all = [
            address(registry),
            address(verifier),
            address(accounts),
            address(accounts.IMPLEMENTATION()),
            address(relationships),
            address(records),
            address(consents),
            address(emergencies),
            address(prescriptions),
            address(labOrders),
            address(accessLog),
            address(surgeries),
            address(trials),
            address(devices),
            address(waitingLists),
            address(token),
            address(claims),
            address(dataExchange)
        ];
        for (uint256 i; i < all.length; ++i) {
            assertTrue(all[i].code.length != 0 && all[i].code.length <= 24_576, vm.toString(i));
        }
    }

    /// @dev As build.mjs computes it. When it fails: `node build.mjs`.
    function test_the_artifacts_are_of_these_sources() public view {
        Vm.DirEntry[] memory entries = vm.readDir("src");
        bytes memory all;
        for (uint256 i; i < SOURCES; ++i) {
            string memory name = names()[i];
            all = bytes.concat(
                all, "src/", bytes(name), hex"00", bytes(vm.readFile(string.concat("src/", name))), hex"00"
            );
        }
        assertEq(entries.length, SOURCES, "a source is missing in the list of this test");
        string[18] memory artifacts = [
            "AccessLog",
            "Claims",
            "Consents",
            "DataExchange",
            "Devices",
            "ERC7913WebAuthnVerifier",
            "EmergencyAccess",
            "LabOrders",
            "PatientAccount",
            "PatientAccounts",
            "PaymentToken",
            "Prescriptions",
            "Records",
            "Registry",
            "Relationships",
            "Surgeries",
            "Trials",
            "WaitingLists"
        ];
        for (uint256 i; i < artifacts.length; ++i) {
            string memory artifact = vm.readFile(string.concat("artifacts/", artifacts[i], ".json"));
            assertEq(vm.parseJsonBytes(artifact, ".sourceDigest"), abi.encodePacked(sha256(all)), artifacts[i]);
        }
    }

    uint256 internal constant SOURCES = 21;

    /// @notice The files of src/, in the order of their names.
    function names() internal pure returns (string[SOURCES] memory) {
        return [
            "AccessLog.sol",
            "Claims.sol",
            "Consents.sol",
            "DataExchange.sol",
            "Devices.sol",
            "EmergencyAccess.sol",
            "IServices.sol",
            "Ids.sol",
            "LabOrders.sol",
            "PatientAccount.sol",
            "PatientAccounts.sol",
            "PaymentToken.sol",
            "Prescriptions.sol",
            "Purse.sol",
            "Records.sol",
            "Registry.sol",
            "Relationships.sol",
            "Surgeries.sol",
            "Trials.sol",
            "Types.sol",
            "WaitingLists.sol"
        ];
    }
}
