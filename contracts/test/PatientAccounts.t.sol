// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Custodian, PatientAccount} from "../src/PatientAccount.sol";
import {PatientAccounts} from "../src/PatientAccounts.sol";
import {Signers} from "./support/Signers.sol";

contract PatientAccountsTest is Signers {
    uint24 internal constant DELAY = 7 days;

    function custodian(uint256 key, uint40 until) internal pure returns (Custodian memory) {
        return Custodian(wallet(key), until);
    }

    function custodians(uint256 count) internal view returns (Custodian[] memory list) {
        list = new Custodian[](count);
        for (uint256 i; i < count; ++i) {
            list[i] = custodian(0xF01 + i, time() + 365 days);
        }
    }

    function create(bytes memory signer, uint24 delay, Custodian[] memory list) internal returns (PatientAccount) {
        return PatientAccount(payable(accounts.create(signer, "guardians", delay, list, "salt")));
    }

    /* create, predict, isAccount
     * ├── neither signer nor custodian → NobodyCanAct
     * ├── more than two custodians → TooManyCustodians
     * ├── a delay outside one to thirty days → InvalidDelay
     * ├── a malformed signer, of the patient or a custodian → InvalidSigner
     * ├── a custody that is over, or longer than 21 years → InvalidCustody
     * ├── the same parameters again → AccountExists
     * └── otherwise: at the predicted address, set up so, whoever called
     */

    function test_an_account_that_nobody_can_use_is_refused() public {
        vm.expectRevert(PatientAccount.NobodyCanAct.selector);
        create("", DELAY, custodians(0));
    }

    function test_three_custodians_are_refused() public {
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.TooManyCustodians.selector, 2));
        create("", DELAY, custodians(3));
    }

    function refuseDelay(uint24 delay) internal {
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidDelay.selector, delay, 1 days, 30 days));
        create(wallet(PATIENT_KEY), delay, custodians(0));
    }

    function test_a_delay_is_bounded() public {
        refuseDelay(1 days - 1);
        refuseDelay(30 days + 1);
        create(wallet(PATIENT_KEY), 1 days, custodians(0));
        create(wallet(PATIENT_KEY), 30 days, custodians(0));
    }

    function refuseSigner(bytes memory signer) internal {
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidSigner.selector, signer));
        create(signer, DELAY, custodians(0));
    }

    function test_a_malformed_signer_is_refused() public {
        refuseSigner(new bytes(19));
        refuseSigner(new bytes(20));
        refuseSigner(new bytes(2049));
        refuseSigner(abi.encodePacked(stranger, uint256(1), uint256(2)));
        refuseSigner(new bytes(84));
    }

    function test_an_account_is_no_signer_of_itself() public {
        PatientAccount account = create(passkey(PATIENT_KEY), DELAY, custodians(0));
        bytes memory itself = abi.encodePacked(account);
        bytes memory batch = signed(
            address(account),
            passkey(PATIENT_KEY),
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.changeSigner, (itself)))
        );
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidSigner.selector, itself));
        account.execute(MODE, batch);
    }

    function refuseCustody(uint40 until) internal {
        Custodian[] memory list = custodians(1);
        list[0].until = until;
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidCustody.selector, until, time() + 21 * 366 days));
        create("", DELAY, list);
    }

    function test_a_custody_is_bounded() public {
        refuseCustody(time());
        refuseCustody(time() + 21 * 366 days + 1);
        Custodian[] memory list = custodians(1);
        list[0].until = time() + 21 * 366 days;
        create("", DELAY, list);
    }

    function test_a_malformed_custodian_is_refused() public {
        Custodian[] memory list = custodians(1);
        list[0].signer = "";
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidSigner.selector, bytes("")));
        create("", DELAY, list);
    }

    function test_the_same_account_again_is_refused() public {
        address account = address(create(passkey(PATIENT_KEY), DELAY, custodians(0)));
        vm.expectRevert(abi.encodeWithSelector(PatientAccounts.AccountExists.selector, account));
        create(passkey(PATIENT_KEY), DELAY, custodians(0));
    }

    /// @dev F1.
    function test_an_account_is_where_it_was_predicted() public {
        Custodian[] memory list = custodians(2);
        bytes memory signer = passkey(PATIENT_KEY);
        address predicted = accounts.predict(signer, "guardians", DELAY, list, "salt");
        assertFalse(accounts.isAccount(predicted), "not there yet");
        vm.expectEmit(address(accounts));
        emit PatientAccounts.AccountCreated(predicted, keccak256(signer), signer, "guardians", DELAY, list);
        vm.prank(stranger);
        PatientAccount account = create(signer, DELAY, list);

        assertEq(address(account), predicted, "address");
        assertEq(account.nonce(), 1, "nonce");
        assertEq(bytes32(account.signerId()), bytes32(bytes24(keccak256(signer))), "signer");
        (bytes32 guardians, uint24 delay) = account.guardianPolicy();
        assertEq(guardians, "guardians", "guardians");
        assertEq(delay, DELAY, "delay");
        PatientAccount.Custody[2] memory stored = account.custodies();
        for (uint256 i; i < 2; ++i) {
            assertEq(bytes32(stored[i].signer), bytes32(bytes24(keccak256(list[i].signer))), "custodian");
            assertEq(stored[i].until, list[i].until, "custody");
        }
        (bytes24 pending, uint40 readyAt, uint256 next) = account.recovery();
        assertEq(bytes32(pending), 0, "no recovery");
        assertEq(readyAt, 0, "no recovery");
        assertEq(next, 0, "no recovery yet");
    }

    /// @dev F1: each parameter is bound, so that who copies the transaction cannot change one.
    function testFuzz_every_parameter_moves_the_address(uint256 which) public view {
        which = bound(which, 0, 4);
        Custodian[] memory list = custodians(1);
        address predicted = accounts.predict("signer", "guardians", DELAY, list, "salt");
        address other = accounts.predict(
            which == 0 ? bytes("other") : bytes("signer"),
            which == 1 ? bytes32("other") : bytes32("guardians"),
            which == 2 ? DELAY + 1 : DELAY,
            which == 3 ? custodians(2) : list,
            which == 4 ? bytes32("other") : bytes32("salt")
        );
        assertTrue(predicted != other, "bound");
    }

    /// @dev F2.
    function test_only_accounts_are_accounts() public {
        address account = address(create(wallet(PATIENT_KEY), DELAY, custodians(0)));
        assertTrue(accounts.isAccount(account), "account");
        assertFalse(accounts.isAccount(stranger), "wallet");
        assertFalse(accounts.isAccount(address(accounts)), "factory");
        assertFalse(accounts.isAccount(address(accounts.IMPLEMENTATION())), "implementation");
    }

    /* initialize
     * ├── by anybody but the factory → NotFactory: the implementation, an account, a clone of somebody
     * └── a clone of somebody has no signer, and nobody gives it one
     */

    function refuseInitialize(PatientAccount account) internal {
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.NotFactory.selector, stranger));
        vm.prank(stranger);
        account.initialize(wallet(0xE01), 0, DELAY, custodians(0));
    }

    function test_only_the_factory_sets_an_account_up() public {
        refuseInitialize(accounts.IMPLEMENTATION());
        refuseInitialize(create(wallet(PATIENT_KEY), DELAY, custodians(0)));
        bytes memory clone = abi.encodePacked(
            hex"3d602d80600a3d3981f3363d3d373d3d3d363d73",
            accounts.IMPLEMENTATION(),
            hex"5af43d82803e903d91602b57fd5bf3"
        );
        PatientAccount dead = PatientAccount(payable(this.create(clone)));
        assertTrue(accounts.isAccount(address(dead)), "the same code");
        refuseInitialize(dead);
        assertEq(bytes32(dead.signerId()), 0, "no signer");
        assertEq(dead.nonce(), 0, "never set up");
    }
}
