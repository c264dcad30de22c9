// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Claims} from "../src/Claims.sol";
import {Purse} from "../src/Purse.sol";
import {ProfessionalRole} from "../src/Types.sol";
import {ReentrantToken} from "./support/ReentrantToken.sol";
import {WideNetwork} from "./support/WideNetwork.sol";

/// @notice The money of `Claims`, which is that of `DataExchange` as well.
contract PurseTest is WideNetwork {
    uint256 internal constant INSURER_KEY = 0xA05;
    ReentrantToken internal evil;
    Claims internal purse;

    function setUp() public override {
        super.setUp();
        evil = new ReentrantToken();
        purse = Claims(deploy("Claims", abi.encode(registry, evil, prescriptions, labOrders, surgeries)));
        evil.mint(patient, 1000);
        evil.mint(otherPatient, 1000);
        vm.prank(patient);
        evil.approve(address(purse), type(uint256).max);
        vm.prank(otherPatient);
        evil.approve(address(purse), type(uint256).max);
    }

    function depositAs(address who, address holder, uint256 amount) internal {
        vm.prank(who);
        purse.deposit(holder, amount);
    }

    function withdrawAs(address who, uint256 amount) internal {
        withdrawFor(who, who, amount);
    }

    function withdrawFor(address who, address holder, uint256 amount) internal {
        vm.prank(who);
        purse.withdraw(holder, who, amount);
    }

    function refuse(address holder, address who) internal {
        vm.expectRevert(abi.encodeWithSelector(Purse.NotHolder.selector, holder, who));
    }

    function rotated(address member, uint256 newKey) internal view returns (bytes memory proof) {
        bytes32 structHash = keccak256(
            abi.encode(
                keccak256("Rotate(address member,address newSigner,uint256 nonce,uint40 deadline)"),
                member,
                vm.addr(newKey),
                registry.rotationNonce(member),
                time()
            )
        );
        return signature(newKey, typedDigest("Salus Registry", address(registry), structHash));
    }

    /* PaymentToken
     * ├── the founders have a grant each, and that is all there is
     * └── one unit is a cent
     */

    function test_T1_the_supply_is_the_founders_grants() public view {
        assertEq(token.totalSupply(), 3 * 10_000_000_00, "supply");
        assertEq(token.balanceOf(insurer), 10_000_000_00, "grant");
        assertEq(token.decimals(), 2, "cents");
        // Nothing in its interface makes or destroys money.
        string[3] memory calls = ["mint(address,uint256)", "burn(uint256)", "burnFrom(address,uint256)"];
        for (uint256 i; i < 3; ++i) {
            (bool success,) = address(token).staticcall(abi.encodeWithSignature(calls[i], insurer, 1));
            assertFalse(success, calls[i]);
        }
    }

    function test_a_token_s_largest_amounts_are_refused() public {
        vm.prank(insurer);
        token.approve(address(claims), type(uint256).max);
        vm.expectRevert(
            abi.encodeWithSelector(
                IERC20Errors.ERC20InsufficientBalance.selector, insurer, 10_000_000_00, type(uint256).max
            )
        );
        vm.prank(insurer);
        claims.deposit(insurer, type(uint256).max);
        vm.prank(insurer);
        claims.deposit(insurer, 1);
        // Adding to what is there overflows, and is refused before anything moves.
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        vm.prank(insurer);
        claims.deposit(insurer, type(uint256).max);
    }

    /* deposit
     * ├── nothing → NoAmount; for nobody → NoHolder
     * ├── for another: theirs
     * ├── for a key of an institution, old or new: the institution's
     * ├── a token that takes a fee → WrongTransfer
     * └── a token that fails → SafeERC20FailedOperation
     */

    function test_M1_a_deposit_is_the_holder_s() public {
        vm.expectRevert(Purse.NoAmount.selector);
        depositAs(patient, patient, 0);
        vm.expectRevert(Purse.NoHolder.selector);
        depositAs(patient, address(0), 1);
        depositAs(patient, otherPatient, 100);
        assertEq(purse.balanceOf(otherPatient), 100, "another's");
        assertEq(purse.held(), 100, "held");
        assertEq(evil.balanceOf(address(purse)), 100, "there");
        vm.expectRevert(abi.encodeWithSelector(Purse.InsufficientBalance.selector, patient, 0, 1));
        withdrawAs(patient, 1);
        vm.expectRevert(abi.encodeWithSelector(Purse.InsufficientBalance.selector, otherPatient, 100, 101));
        withdrawAs(otherPatient, 101);
        withdrawAs(otherPatient, 100);
        assertEq(purse.held(), 0, "gone");
    }

    function test_M3_an_institution_s_money_goes_with_its_key() public {
        depositAs(patient, insurer, 100);
        bytes memory proof = rotated(insurer, 0xE05);
        vm.prank(insurer);
        registry.rotate(vm.addr(0xE05), time(), proof);
        depositAs(patient, vm.addr(0xE05), 10);
        depositAs(patient, insurer, 1);
        assertEq(purse.balanceOf(insurer), 111, "M3: one balance");
        refuse(insurer, insurer);
        withdrawAs(insurer, 1);
        refuse(insurer, stranger);
        withdrawFor(stranger, insurer, 1);
        withdrawFor(vm.addr(0xE05), insurer, 111);
        assertEq(evil.balanceOf(vm.addr(0xE05)), 111, "with the new key");
    }

    /// @dev M4: what was paid in for an address before it became a key is its own.
    function test_M4_money_for_a_key_to_come_is_not_locked() public {
        address next = vm.addr(0xE05);
        depositAs(patient, next, 100);
        bytes memory proof = rotated(insurer, 0xE05);
        vm.prank(insurer);
        registry.rotate(next, time(), proof);
        depositAs(patient, next, 10);
        assertEq(purse.holderOf(next), insurer, "whose it is from now on");
        assertEq(purse.balanceOf(insurer), 10, "M3: the institution's");
        withdrawAs(next, 100);
        withdrawFor(next, insurer, 10);
        assertEq(purse.held(), 0, "all of it");
    }

    /// @dev M4: nor does a majority lock a patient's money by making the account a key.
    function test_M4_a_patient_s_account_named_as_a_key_keeps_its_money() public {
        depositAs(patient, patient, 100);
        vm.prank(hospital);
        decide(registry.proposeRotation(insurer, patient));
        assertEq(registry.signerOf(insurer), patient, "the key of an institution");
        withdrawAs(patient, 100);
        assertEq(evil.balanceOf(patient), 1000, "M4: all of it");
    }

    function test_M1_nothing_is_paid_out_to_the_contract_itself() public {
        depositAs(patient, patient, 100);
        vm.expectRevert(abi.encodeWithSelector(Purse.InvalidReceiver.selector, address(purse)));
        vm.prank(patient);
        purse.withdraw(patient, address(purse), 100);
    }

    /// @dev An institution accredits an address without asking it, and may replace its professionals' keys.
    /// So neither may decide whose the money is: else any institution empties any patient's purse.
    function test_M2_nobody_takes_a_patient_s_money_by_accrediting_them() public {
        depositAs(patient, patient, 100);
        accredit(clinic, patient, ProfessionalRole.Nurse);
        bytes memory proof = rotated(patient, 0xE66);
        vm.prank(clinic);
        registry.rotateFor(patient, vm.addr(0xE66), time(), proof);
        vm.expectRevert(abi.encodeWithSelector(Purse.InsufficientBalance.selector, vm.addr(0xE66), 0, 100));
        withdrawAs(vm.addr(0xE66), 100);
        withdrawAs(patient, 100);
        assertEq(evil.balanceOf(patient), 1000, "M2: the patient has it");
    }

    function test_a_token_with_a_fee_is_refused() public {
        evil.setFee(1);
        vm.expectRevert(abi.encodeWithSelector(Purse.WrongTransfer.selector, 100, 99));
        depositAs(patient, patient, 100);
    }

    function test_a_token_that_fails_changes_nothing() public {
        depositAs(patient, patient, 100);
        evil.breakDown();
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, evil));
        depositAs(patient, patient, 100);
        vm.expectRevert(abi.encodeWithSelector(SafeERC20.SafeERC20FailedOperation.selector, evil));
        withdrawAs(patient, 100);
        assertEq(purse.balanceOf(patient), 100, "still there");
    }

    /* a token that calls back
     * ├── withdraws what was only announced → WrongTransfer
     * ├── pays more in meanwhile → WrongTransfer
     * └── withdraws again while it withdraws → InsufficientBalance
     */

    function test_M1_what_was_not_paid_in_yet_is_not_paid_out() public {
        depositAs(otherPatient, otherPatient, 500);
        // The token is the holder: what it deposits is its own to withdraw, in the middle of the deposit.
        evil.callNext(address(purse), abi.encodeCall(Purse.withdraw, (address(evil), stranger, 100)), true);
        vm.expectRevert(abi.encodeWithSelector(Purse.WrongTransfer.selector, 100, 0));
        depositAs(patient, address(evil), 100);
        assertEq(purse.held(), 500, "M1: nothing moved");
        assertEq(evil.balanceOf(address(purse)), 500, "there");
    }

    function test_M1_a_deposit_within_a_deposit_is_refused() public {
        evil.mint(address(evil), 100);
        evil.perform(address(evil), abi.encodeCall(ERC20.approve, (address(purse), 100)));
        evil.callNext(address(purse), abi.encodeCall(Purse.deposit, (stranger, 50)), true);
        vm.expectRevert(abi.encodeWithSelector(Purse.WrongTransfer.selector, 100, 150));
        depositAs(patient, patient, 100);
        assertEq(purse.held(), 0, "nothing moved");
    }

    function test_M1_a_withdrawal_is_not_made_twice() public {
        depositAs(otherPatient, otherPatient, 500);
        depositAs(patient, address(evil), 100);
        bytes memory again = abi.encodeCall(Purse.withdraw, (address(evil), address(evil), 100));
        evil.callNext(address(purse), again, false);
        evil.perform(address(purse), again);
        assertEq(evil.balanceOf(address(evil)), 100, "once");
        assertEq(purse.held(), 500, "M1: the others' is there");
        assertEq(evil.balanceOf(address(purse)), 500, "there");
    }

    /// @dev Money between balances calls no token, so a token that fails stops nothing but going in and out.
    function testFuzz_M1_deposits_and_withdrawals(uint256 paid, uint256 taken) public {
        paid = bound(paid, 1, 1000);
        taken = bound(taken, 1, 1000);
        depositAs(patient, patient, paid);
        if (taken > paid) {
            vm.expectRevert(abi.encodeWithSelector(Purse.InsufficientBalance.selector, patient, paid, taken));
            withdrawAs(patient, taken);
            return;
        }
        withdrawAs(patient, taken);
        assertEq(purse.balanceOf(patient), paid - taken, "the rest");
        assertEq(purse.held(), evil.balanceOf(address(purse)), "M1: held is there");
    }
}
