// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Consents} from "../src/Consents.sol";
import {Custodian, PatientAccount} from "../src/PatientAccount.sol";
import {Relationships} from "../src/Relationships.sol";
import {ContractWallet, Signers} from "./support/Signers.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC7821} from "@openzeppelin/contracts/interfaces/draft-IERC7821.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";
import {ERC7579Utils} from "@openzeppelin/contracts/account/utils/draft-ERC7579Utils.sol";

/// @notice An adult with a passkey.
abstract contract PatientAccountTestBase is Signers {
    uint24 internal constant DELAY = 7 days;
    PatientAccount internal account;
    bytes internal signer;
    uint256 private created;

    function setUp() public virtual override {
        super.setUp();
        signer = passkey(PATIENT_KEY);
        account = create(signer, 0, new Custodian[](0));
    }

    function create(bytes memory signer_, bytes32 guardians, Custodian[] memory custodians)
        internal
        returns (PatientAccount)
    {
        bytes32 salt = bytes32(++created);
        return PatientAccount(payable(accounts.create(signer_, guardians, DELAY, custodians, salt)));
    }

    /// @notice Has the account call itself, as its patient.
    function actOnItself(bytes memory data) internal {
        act(address(account), signer, PATIENT_KEY, address(account), data);
    }

    function grantCall(address reader) internal view returns (bytes memory) {
        return
            abi.encodeCall(Consents.grant, (reader, 0, Consents.Grant(time(), time() + 30 days, uint32(1), uint16(1))));
    }

    function isGranted(PatientAccount who, address reader) internal view returns (bool) {
        return consents.permits(address(who), hospital, reader, "record", 0, 0);
    }

    function id(bytes memory signer_) internal pure returns (bytes24) {
        return bytes24(keccak256(signer_));
    }

    function refuseSignature(bytes memory signer_) internal {
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidSignature.selector, id(signer_)));
    }

    function refuseAuthority(bytes memory signer_) internal {
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.NotAuthorised.selector, id(signer_)));
    }
}

contract PatientAccountExecuteTest is PatientAccountTestBase {
    uint256 internal deadline;
    Call[] internal calls;

    function setUp() public override {
        super.setUp();
        deadline = time() + 1 hours;
        calls.push(Call(address(consents), 0, grantCall(pharmacy)));
    }

    /// @notice Brings the calls with a signature over the given nonce and deadline.
    function run(uint256 nonce, uint256 deadline_, bytes memory by) internal {
        account.execute(MODE, executionData(calls, signer, nonce, deadline_, by));
    }

    function good() internal view returns (bytes memory) {
        return assertion(PATIENT_KEY, executeDigest(address(account), calls, 1, deadline), Flaw.None);
    }

    /* execute
     * ├── another mode → UnsupportedMode
     * ├── malformed data → ERC7579DecodingError, or no reason at all
     * ├── after the deadline → Expired
     * ├── another nonce than the next → WrongNonce
     * ├── by a signer that is not the account's → NotAuthorised
     * ├── a signature that is not over these calls, nonce, deadline, account and chain → InvalidSignature
     * ├── a call with data to an address without code → NoCode
     * ├── a call that fails → its reason, and nothing happened
     * └── otherwise: all calls in order, and the nonce moves
     */

    function test_a_passkey_grants_a_consent() public {
        vm.expectEmit(address(account));
        emit PatientAccount.Executed(1, id(signer));
        run(1, deadline, good());
        assertTrue(isGranted(account, pharmacy), "granted");
        assertEq(account.nonce(), 2, "nonce");
    }

    function test_a_wallet_grants_a_consent() public {
        PatientAccount other = create(wallet(PATIENT_KEY), 0, new Custodian[](0));
        act(address(other), wallet(PATIENT_KEY), PATIENT_KEY, address(consents), grantCall(pharmacy));
        assertTrue(isGranted(other, pharmacy), "granted");
        refuseSignature(wallet(PATIENT_KEY));
        this.actBy(other, wallet(PATIENT_KEY), 0xBAD);
    }

    /// @dev An external call, so that a revert can be expected.
    function actBy(PatientAccount who, bytes memory signer_, uint256 key) external {
        act(address(who), signer_, key, address(consents), grantCall(pharmacy));
    }

    function test_a_contract_wallet_grants_a_consent() public {
        bytes memory contractSigner = abi.encodePacked(new ContractWallet(patient));
        PatientAccount other = create(contractSigner, 0, new Custodian[](0));
        act(address(other), contractSigner, PATIENT_KEY, address(consents), grantCall(pharmacy));
        assertTrue(isGranted(other, pharmacy), "granted");
        refuseSignature(contractSigner);
        this.actBy(other, contractSigner, 0xBAD);
    }

    function test_another_mode_is_refused() public {
        bytes32 mode = 0x0100000000000000000000000000000000000000000000000000000000000000;
        assertFalse(account.supportsExecutionMode(mode), "a batch without authorisation");
        assertTrue(account.supportsExecutionMode(MODE), "a batch with it");
        bytes memory by = good();
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.UnsupportedMode.selector, mode));
        account.execute(mode, executionData(calls, signer, 1, deadline, by));
    }

    function test_malformed_data_is_refused() public {
        vm.expectRevert(ERC7579Utils.ERC7579DecodingError.selector);
        account.execute(MODE, "");
        vm.expectRevert(bytes(""));
        account.execute(MODE, abi.encode(calls));
        vm.expectRevert(bytes(""));
        account.execute(MODE, abi.encode(calls, bytes("short")));
        bytes memory cut = executionData(calls, signer, 1, deadline, good());
        assembly {
            mstore(cut, sub(mload(cut), 64))
        }
        vm.expectRevert(bytes(""));
        account.execute(MODE, cut);
    }

    function test_a_message_holds_until_its_deadline() public {
        bytes memory by = good();
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.Expired.selector, deadline));
        run(1, deadline, by);
        vm.warp(deadline);
        run(1, deadline, by);
    }

    /// @dev A2: neither again, nor ahead.
    function test_a_message_is_used_once() public {
        bytes memory by = good();
        run(1, deadline, by);
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.WrongNonce.selector, 2, 1));
        run(1, deadline, by);
        by = assertion(PATIENT_KEY, executeDigest(address(account), calls, 3, deadline), Flaw.None);
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.WrongNonce.selector, 2, 3));
        run(3, deadline, by);
    }

    function test_another_signer_is_refused() public {
        bytes memory by = good();
        signer = passkey(0xBAD);
        refuseAuthority(signer);
        run(1, deadline, by);
        signer = "";
        refuseAuthority(signer);
        run(1, deadline, by);
    }

    function checkFlawRefused(Flaw flaw) internal {
        bytes memory by = assertion(PATIENT_KEY, executeDigest(address(account), calls, 1, deadline), flaw);
        refuseSignature(signer);
        run(1, deadline, by);
    }

    function test_a_high_s_is_refused() public {
        checkFlawRefused(Flaw.HighS);
    }

    function test_another_challenge_is_refused() public {
        checkFlawRefused(Flaw.WrongChallenge);
    }

    function test_another_type_of_assertion_is_refused() public {
        checkFlawRefused(Flaw.WrongType);
    }

    function test_an_assertion_without_verified_user_is_refused() public {
        checkFlawRefused(Flaw.NotVerified);
    }

    function test_an_assertion_without_present_user_is_refused() public {
        checkFlawRefused(Flaw.NotPresent);
    }

    function test_another_passkey_is_refused() public {
        checkFlawRefused(Flaw.OtherKey);
    }

    function test_an_empty_assertion_is_refused() public {
        refuseSignature(signer);
        run(1, deadline, "");
    }

    /// @dev A1: the signature of one account serves no other, even with the same passkey.
    function test_a_message_for_another_account_is_refused() public {
        Custodian[] memory custodians = new Custodian[](1);
        custodians[0] = Custodian(wallet(0xE01), time() + 1);
        PatientAccount other = create(signer, 0, custodians);
        bytes memory by = good();
        refuseSignature(signer);
        other.execute(MODE, executionData(calls, signer, 1, deadline, by));
    }

    function test_a_message_for_another_chain_is_refused() public {
        bytes memory by = good();
        vm.chainId(block.chainid + 1);
        refuseSignature(signer);
        run(1, deadline, by);
    }

    function test_tampering_is_refused() public {
        bytes memory by = good();
        refuseSignature(signer);
        run(1, deadline + 1, by);
        calls[0].data = grantCall(stranger);
        refuseSignature(signer);
        run(1, deadline, by);
        calls[0] = Call(address(records), 0, grantCall(pharmacy));
        refuseSignature(signer);
        run(1, deadline, by);
        calls[0] = Call(address(consents), 1, grantCall(pharmacy));
        refuseSignature(signer);
        run(1, deadline, by);
        calls[0] = Call(address(consents), 0, grantCall(pharmacy));
        calls.push(calls[0]);
        refuseSignature(signer);
        run(1, deadline, by);
        delete calls;
        refuseSignature(signer);
        run(1, deadline, by);
    }

    function test_calls_out_of_order_are_refused() public {
        calls.push(Call(address(consents), 0, abi.encodeCall(Consents.revoke, (pharmacy, 0))));
        bytes memory by = good();
        calls[0].data = calls[1].data;
        calls[1].data = grantCall(pharmacy);
        refuseSignature(signer);
        run(1, deadline, by);
    }

    function test_a_call_to_an_address_without_code_is_refused() public {
        calls[0].to = address(0xE0A);
        bytes memory by = good();
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.NoCode.selector, address(0xE0A)));
        run(1, deadline, by);
    }

    /// @dev A1: whole or not at all; the nonce stays, so that the message can be brought again.
    function test_a_call_that_fails_fails_all() public {
        calls.push(Call(address(relationships), 0, abi.encodeCall(Relationships.accept, (hospital, false))));
        bytes memory by = good();
        vm.expectRevert(abi.encodeWithSelector(Relationships.WrongOffer.selector, Relationships.Offer.None));
        run(1, deadline, by);
        assertFalse(isGranted(account, pharmacy), "nothing happened");
        assertEq(account.nonce(), 1, "nonce");

        vm.prank(hospital);
        relationships.propose(address(account), false);
        run(1, deadline, by);
        assertTrue(isGranted(account, pharmacy), "granted");
        assertTrue(relationships.isActive(address(account), hospital), "accepted");
    }

    function test_many_calls_in_one_signature_run_in_order() public {
        calls.push(Call(address(consents), 0, grantCall(laboratory)));
        calls.push(Call(address(consents), 0, abi.encodeCall(Consents.revoke, (pharmacy, 0))));
        run(1, deadline, good());
        assertTrue(isGranted(account, laboratory), "second");
        assertFalse(isGranted(account, pharmacy), "third after first");
    }

    function test_an_empty_batch_uses_the_nonce_up() public {
        delete calls;
        run(1, deadline, good());
        assertEq(account.nonce(), 2, "nonce");
    }

    function test_an_account_holds_and_sends_ether() public {
        vm.deal(stranger, 3 ether);
        vm.prank(stranger);
        (bool sent,) = address(account).call{value: 3 ether}("");
        assertTrue(sent, "received");
        calls[0] = Call(address(0xE0A), 2 ether, "");
        run(1, deadline, good());
        assertEq(address(0xE0A).balance, 2 ether, "sent");
        calls[0] = Call(address(0xE0A), 2 ether, "");
        bytes memory by = assertion(PATIENT_KEY, executeDigest(address(account), calls, 2, deadline), Flaw.None);
        vm.expectRevert(bytes(""));
        run(2, deadline, by);
    }

    /// @dev A1: the contract hashes any batch as EIP-712 says, and makes the calls that it hashed.
    function testFuzz_any_batch_is_hashed_as_signed(bytes[] memory data, uint40 later) public {
        Recorder recorder = new Recorder();
        delete calls;
        bytes32 expected;
        for (uint256 i; i < data.length && i < 8; ++i) {
            calls.push(Call(address(recorder), 0, data[i]));
            expected = keccak256(abi.encode(expected, address(account), data[i]));
        }
        deadline = uint256(time()) + later;
        run(1, deadline, good());
        assertEq(recorder.digest(), expected, "what was called");
    }

    /* supportsInterface */

    function test_interfaces() public view {
        assertTrue(account.supportsInterface(type(IERC165).interfaceId), "ERC-165");
        assertTrue(account.supportsInterface(type(IERC1271).interfaceId), "ERC-1271");
        assertTrue(account.supportsInterface(type(IERC7821).interfaceId), "ERC-7821");
        assertFalse(account.supportsInterface(0xffffffff), "none");
    }

    /* isValidSignature
     * ├── by a signer that is not the account's → refused
     * ├── over another hash, for another account, with a flaw → refused
     * └── otherwise → accepted
     */

    function isValid(bytes32 hash, bytes memory signer_, bytes memory by) internal view returns (bool) {
        return account.isValidSignature(hash, abi.encode(signer_, by)) == IERC1271.isValidSignature.selector;
    }

    function test_a_patient_signs_a_message() public view {
        bytes memory by = assertion(PATIENT_KEY, messageDigest(address(account), "hash"), Flaw.None);
        assertTrue(isValid("hash", signer, by), "signed");
        assertFalse(isValid("other", signer, by), "another hash");
        assertFalse(isValid("hash", passkey(0xBAD), by), "another signer");
        by = assertion(PATIENT_KEY, messageDigest(address(0xE0A), "hash"), Flaw.None);
        assertFalse(isValid("hash", signer, by), "for another account");
        by = assertion(PATIENT_KEY, "hash", Flaw.None);
        assertFalse(isValid("hash", signer, by), "the bare hash");
        by = assertion(PATIENT_KEY, messageDigest(address(account), "hash"), Flaw.NotVerified);
        assertFalse(isValid("hash", signer, by), "a flaw");
    }
}

/// @notice Keeps a digest of every call to it.
contract Recorder {
    bytes32 public digest;

    fallback() external {
        digest = keccak256(abi.encode(digest, msg.sender, msg.data));
    }
}

contract PatientAccountKeysTest is PatientAccountTestBase {
    /* changeSigner, installSigner, setGuardians, addCustodian, removeCustodian, cancelRecovery
     * └── by anybody but the account itself → NotSelf
     */

    function refuseNotSelf() internal {
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.NotSelf.selector, stranger));
        vm.prank(stranger);
    }

    function test_only_the_account_changes_itself() public {
        refuseNotSelf();
        account.changeSigner(signer);
        refuseNotSelf();
        account.installSigner(signer);
        refuseNotSelf();
        account.setGuardians("guardians", DELAY);
        refuseNotSelf();
        account.addCustodian(Custodian(signer, time() + 1));
        refuseNotSelf();
        account.removeCustodian(signer);
        refuseNotSelf();
        account.cancelRecovery();
    }

    /* changeSigner
     * ├── malformed → InvalidSigner
     * └── otherwise: the old one is out
     */

    function test_a_changed_signer_replaces_the_old_one() public {
        bytes memory next = wallet(0xE01);
        bytes memory batch = signed(
            address(account),
            signer,
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.changeSigner, (next)))
        );
        vm.expectEmit(address(account));
        emit PatientAccount.SignerChanged(next);
        account.execute(MODE, batch);
        batch = signed(address(account), signer, PATIENT_KEY, one(address(consents), grantCall(pharmacy)));
        refuseAuthority(signer);
        account.execute(MODE, batch);
        act(address(account), next, 0xE01, address(consents), grantCall(pharmacy));
    }

    /// @dev As ERC-7821 has it, address zero is the account itself.
    function test_address_zero_is_the_account_itself() public {
        act(
            address(account),
            signer,
            PATIENT_KEY,
            address(0),
            abi.encodeCall(PatientAccount.changeSigner, (wallet(0xE01)))
        );
        assertEq(bytes32(account.signerId()), bytes32(id(wallet(0xE01))), "changed");
    }

    /* installSigner
     * └── while there is a signer → HasSigner
     */

    function test_a_signer_is_not_installed_over_another() public {
        bytes memory batch = signed(
            address(account),
            signer,
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.installSigner, (signer)))
        );
        vm.expectRevert(PatientAccount.HasSigner.selector);
        account.execute(MODE, batch);
    }

    /* setGuardians
     * ├── a delay outside its bounds → InvalidDelay
     * └── otherwise: stored
     */

    function test_guardians_are_set() public {
        bytes memory batch = signed(
            address(account),
            signer,
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.setGuardians, ("guardians", 30 days + 1)))
        );
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidDelay.selector, 30 days + 1, 1 days, 30 days));
        account.execute(MODE, batch);
        batch = signed(
            address(account),
            signer,
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.setGuardians, ("guardians", 30 days)))
        );
        vm.expectEmit(address(account));
        emit PatientAccount.GuardiansChanged("guardians", 30 days);
        account.execute(MODE, batch);
        (bytes32 digest, uint24 delay) = account.guardianPolicy();
        assertEq(digest, "guardians", "guardians");
        assertEq(delay, 30 days, "delay");
    }

    /* addCustodian, removeCustodian
     * ├── add: a custody outside its bounds → InvalidCustody; both places taken → TooManyCustodians
     * ├── add: in a place that is free, or whose time is over
     * ├── remove: no custodian → NotCustodian
     * └── remove: out at once
     */

    function add(uint256 key, uint40 until) internal {
        actOnItself(abi.encodeCall(PatientAccount.addCustodian, (Custodian(wallet(key), until))));
    }

    function test_a_patient_appoints_two_custodians() public {
        add(0xF01, time() + 10);
        add(0xF02, time() + 20);
        bytes memory batch = signed(
            address(account),
            signer,
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.addCustodian, (Custodian(wallet(0xF03), time() + 30))))
        );
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.TooManyCustodians.selector, 2));
        account.execute(MODE, batch);
        skip(10);
        vm.expectEmit(address(account));
        emit PatientAccount.CustodianAdded(wallet(0xF03), time() + 20);
        account.execute(MODE, batch);
        assertEq(bytes32(account.custodies()[0].signer), bytes32(id(wallet(0xF03))), "in the place that became free");
    }

    function test_a_custody_that_is_over_is_not_appointed() public {
        bytes memory batch = signed(
            address(account),
            signer,
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.addCustodian, (Custodian(wallet(0xF01), time()))))
        );
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidCustody.selector, time(), time() + 21 * 366 days));
        account.execute(MODE, batch);
    }

    function test_a_patient_removes_a_custodian() public {
        add(0xF01, time() + 1 days);
        act(address(account), wallet(0xF01), 0xF01, address(consents), grantCall(pharmacy));
        actOnItself(abi.encodeCall(PatientAccount.removeCustodian, (wallet(0xF01))));
        bytes memory batch =
            signed(address(account), wallet(0xF01), 0xF01, one(address(consents), grantCall(laboratory)));
        refuseAuthority(wallet(0xF01));
        account.execute(MODE, batch);
        assertTrue(isGranted(account, pharmacy), "what was done stays");

        batch = signed(
            address(account),
            signer,
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.removeCustodian, (wallet(0xF01))))
        );
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.NotCustodian.selector, id(wallet(0xF01))));
        account.execute(MODE, batch);
    }
}

contract PatientAccountCustodyTest is PatientAccountTestBase {
    bytes internal mother;
    bytes internal father;
    uint40 internal majority;

    /// @dev A child with two parents and no signer of its own.
    function setUp() public override {
        super.setUp();
        (mother, father, majority) = (passkey(0xF01), wallet(0xF02), time() + 10 * 365 days);
        Custodian[] memory parents = new Custodian[](2);
        parents[0] = Custodian(mother, majority);
        parents[1] = Custodian(father, majority - 1 days);
        account = create("", "guardians", parents);
    }

    function refuseFor(bytes4 selector, bytes memory data) internal {
        bytes memory batch = signed(address(account), mother, 0xF01, one(address(account), data));
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.NotForCustodian.selector, selector));
        account.execute(MODE, batch);
        batch = signed(address(account), mother, 0xF01, one(address(0), data));
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.NotForCustodian.selector, selector));
        account.execute(MODE, batch);
    }

    /* A custodian
     * ├── calls others until its time, and not from then on
     * ├── signs messages (ERC-1271) until its time
     * ├── of the account itself calls nothing → NotForCustodian
     * │   ├── but installs the first signer
     * │   └── and cancels a recovery, while there is no signer
     * └── nothing of the account itself once there is a signer
     */

    /// @dev A3, to the second.
    function test_custody_ends_by_the_clock() public {
        act(address(account), mother, 0xF01, address(consents), grantCall(pharmacy));
        act(address(account), father, 0xF02, address(consents), grantCall(laboratory));
        vm.warp(majority - 1 days - 1);
        act(address(account), father, 0xF02, address(consents), grantCall(laboratory));
        vm.warp(majority - 1 days);
        bytes memory batch = signed(address(account), father, 0xF02, one(address(consents), grantCall(pharmacy)));
        refuseAuthority(father);
        account.execute(MODE, batch);
        vm.warp(majority - 1);
        act(address(account), mother, 0xF01, address(consents), grantCall(pharmacy));
        vm.warp(majority);
        batch = signed(address(account), mother, 0xF01, one(address(consents), grantCall(pharmacy)));
        refuseAuthority(mother);
        account.execute(MODE, batch);
    }

    function test_a_custodian_signs_messages_until_its_time() public {
        bytes memory by = abi.encode(mother, assertion(0xF01, messageDigest(address(account), "hash"), Flaw.None));
        assertTrue(account.isValidSignature("hash", by) == IERC1271.isValidSignature.selector, "in force");
        vm.warp(majority);
        assertTrue(account.isValidSignature("hash", by) == 0xffffffff, "over");
    }

    /// @dev A3: nothing of the account's own.
    function test_a_custodian_changes_nothing_of_the_account() public {
        refuseFor(PatientAccount.changeSigner.selector, abi.encodeCall(PatientAccount.changeSigner, (mother)));
        refuseFor(PatientAccount.setGuardians.selector, abi.encodeCall(PatientAccount.setGuardians, ("mine", DELAY)));
        refuseFor(
            PatientAccount.addCustodian.selector,
            abi.encodeCall(PatientAccount.addCustodian, (Custodian(mother, majority + 1)))
        );
        refuseFor(PatientAccount.removeCustodian.selector, abi.encodeCall(PatientAccount.removeCustodian, (father)));
        refuseFor(PatientAccount.execute.selector, abi.encodeCall(PatientAccount.execute, (MODE, "")));
        refuseFor(bytes4(0), "");
        refuseFor(0x12345678, hex"12345678");
    }

    function test_a_custodian_installs_the_first_signer_only() public {
        bytes memory install = abi.encodeCall(PatientAccount.installSigner, (signer));
        act(address(account), mother, 0xF01, address(account), install);
        assertEq(bytes32(account.signerId()), bytes32(id(signer)), "installed");
        refuseFor(PatientAccount.installSigner.selector, install);
        refuseFor(PatientAccount.cancelRecovery.selector, abi.encodeCall(PatientAccount.cancelRecovery, ()));
        act(address(account), father, 0xF02, address(consents), grantCall(pharmacy));

        actOnItself(abi.encodeCall(PatientAccount.removeCustodian, (mother)));
        bytes memory batch = signed(address(account), mother, 0xF01, one(address(consents), grantCall(pharmacy)));
        refuseAuthority(mother);
        account.execute(MODE, batch);
    }

    function test_a_custodian_does_not_install_two_signers_in_one_batch() public {
        Call[] memory two = new Call[](2);
        two[0] = Call(address(account), 0, abi.encodeCall(PatientAccount.installSigner, (signer)));
        two[1] = Call(address(account), 0, abi.encodeCall(PatientAccount.installSigner, (mother)));
        bytes memory batch = signed(address(account), mother, 0xF01, two);
        vm.expectRevert(
            abi.encodeWithSelector(PatientAccount.NotForCustodian.selector, PatientAccount.installSigner.selector)
        );
        account.execute(MODE, batch);
    }

    /// @dev A3 at every second.
    function testFuzz_custody_holds_before_its_end_only(uint40 until, uint40 now_) public {
        until = uint40(bound(until, time() + 1, time() + 21 * 366 days));
        now_ = uint40(bound(now_, time(), time() + 22 * 366 days));
        Custodian[] memory parents = new Custodian[](1);
        parents[0] = Custodian(father, until);
        account = create("", 0, parents);
        vm.warp(now_);
        bytes memory batch = signed(address(account), father, 0xF02, one(address(consents), grantCall(pharmacy)));
        if (now_ >= until) refuseAuthority(father);
        account.execute(MODE, batch);
    }
}

contract PatientAccountRecoveryTest is PatientAccountTestBase {
    PatientAccount.GuardianSet internal set;
    bytes internal next;
    bytes[] internal signatures;

    /// @dev Two of three: a wallet, a passkey and a contract wallet.
    function setUp() public override {
        super.setUp();
        next = passkey(0xE01);
        set.salt = "salt";
        set.threshold = 2;
        set.signers.push(wallet(0xF01));
        set.signers.push(passkey(0xF02));
        set.signers.push(abi.encodePacked(new ContractWallet(vm.addr(0xF03))));
        account = create(signer, digestOf(set), new Custodian[](0));
    }

    function digestOf(PatientAccount.GuardianSet memory set_) internal pure returns (bytes32) {
        return keccak256(abi.encode(set_.salt, set_.threshold, set_.signers));
    }

    /// @notice The signatures of the guardians whose bit is set.
    function signBy(uint256 who, uint256 nonce, uint256 deadline) internal {
        bytes32 digest = recoverDigest(address(account), next, nonce, deadline);
        delete signatures;
        for (uint256 i; i < set.signers.length; ++i) {
            signatures.push((who >> i) & 1 == 1 ? sign(set.signers[i], 0xF01 + i, digest) : bytes(""));
        }
    }

    function proposeRecovery(uint40 deadline) internal {
        vm.prank(stranger);
        account.proposeRecovery(next, set, deadline, signatures);
    }

    function proposed() internal {
        signBy(3, 0, time());
        proposeRecovery(time());
    }

    /* proposeRecovery
     * ├── after the deadline → Expired
     * ├── another set of guardians, or none → WrongGuardians
     * ├── a malformed new signer → InvalidSigner
     * ├── more than sixteen, no threshold, one out of reach, signatures that do not match → InvalidGuardians
     * ├── a signature over anything else, or by somebody else → InvalidGuardianSignature
     * ├── fewer different guardians than the threshold → TooFewGuardians
     * └── otherwise: pending, ready after the delay; a second one starts over
     */

    function test_two_of_three_guardians_start_a_recovery() public {
        for (uint256 who = 3; who < 8; ++who) {
            if (who == 4) continue;
            (, uint40 readyAt, uint256 nonce) = account.recovery();
            signBy(who, nonce, time());
            vm.expectEmit(address(account));
            emit PatientAccount.RecoveryProposed(next, time() + DELAY, nonce);
            proposeRecovery(time());
            (bytes24 pending, uint40 ready, uint256 nextNonce) = account.recovery();
            assertEq(bytes32(pending), bytes32(id(next)), "signer");
            assertTrue(ready > readyAt, "starts over");
            assertEq(nextNonce, nonce + 1, "nonce");
            skip(1);
        }
    }

    function test_a_late_proposal_is_refused() public {
        uint40 deadline = time();
        signBy(3, 0, deadline);
        skip(1);
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.Expired.selector, deadline));
        proposeRecovery(deadline);
    }

    function refuseGuardians() internal {
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.WrongGuardians.selector, digestOf0(), digestOf(set)));
        proposeRecovery(time());
    }

    function digestOf0() internal view returns (bytes32 digest) {
        (digest,) = account.guardianPolicy();
    }

    function test_other_guardians_are_refused() public {
        signBy(3, 0, time());
        set.threshold = 1;
        refuseGuardians();
        set.threshold = 2;
        set.salt = "other";
        refuseGuardians();
        set.salt = "salt";
        set.signers[2] = wallet(0xF04);
        refuseGuardians();
        account = create(signer, 0, new Custodian[](0));
        refuseGuardians();
    }

    function test_a_malformed_new_signer_is_refused() public {
        next = "short";
        signBy(3, 0, time());
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidSigner.selector, next));
        proposeRecovery(time());
    }

    function refuseSet() internal {
        account = create(signer, digestOf(set), new Custodian[](0));
        vm.expectRevert(
            abi.encodeWithSelector(
                PatientAccount.InvalidGuardians.selector, set.threshold, set.signers.length, signatures.length
            )
        );
        proposeRecovery(time());
    }

    function test_a_set_that_cannot_be_used_is_refused() public {
        signatures = new bytes[](3);
        set.threshold = 0;
        refuseSet();
        set.threshold = 4;
        refuseSet();
        set.threshold = 2;
        signatures.pop();
        refuseSet();
        while (set.signers.length < 17) set.signers.push(wallet(0xF10 + set.signers.length));
        signatures = new bytes[](17);
        refuseSet();
        set.signers.pop();
        signatures.pop();
        account = create(signer, digestOf(set), new Custodian[](0));
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.TooFewGuardians.selector, 2, 0));
        proposeRecovery(time());
    }

    function refuseGuardianSignature(uint256 index) internal {
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.InvalidGuardianSignature.selector, index));
        proposeRecovery(time());
    }

    function test_a_guardians_signature_over_anything_else_is_refused() public {
        signBy(3, 1, time());
        refuseGuardianSignature(0);
        signBy(3, 0, time() + 1);
        refuseGuardianSignature(0);
        signBy(7, 0, time());
        signatures[1] = signatures[0];
        refuseGuardianSignature(1);
        signBy(7, 0, time());
        signatures[2] = signatures[0];
        refuseGuardianSignature(2);
        signBy(3, 0, time());
        next = wallet(0xE02);
        refuseGuardianSignature(0);
        signBy(3, 0, time());
        vm.chainId(block.chainid + 1);
        refuseGuardianSignature(0);
    }

    function test_a_proposal_is_not_used_again() public {
        proposed();
        refuseGuardianSignature(0);
    }

    function test_a_guardian_who_is_listed_twice_counts_once() public {
        set.signers[1] = set.signers[0];
        account = create(signer, digestOf(set), new Custodian[](0));
        bytes32 digest = recoverDigest(address(account), next, 0, time());
        signatures = new bytes[](3);
        signatures[0] = signature(0xF01, digest);
        signatures[1] = signature(0xF01, digest);
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.TooFewGuardians.selector, 2, 1));
        proposeRecovery(time());
        signatures[2] = signature(0xF03, digest);
        proposeRecovery(time());
    }

    /// @dev A4 for every subset and threshold.
    function testFuzz_a_threshold_of_guardians_suffices(uint8 count, uint8 threshold, uint256 who) public {
        count = uint8(bound(count, 1, 16));
        threshold = uint8(bound(threshold, 1, count));
        who = bound(who, 0, (uint256(1) << count) - 1);
        delete set.signers;
        uint256 signing;
        for (uint256 i; i < count; ++i) {
            set.signers.push(wallet(0xF01 + i));
            signing += (who >> i) & 1;
        }
        set.threshold = threshold;
        account = create(signer, digestOf(set), new Custodian[](0));
        signBy(who, 0, time());
        if (signing < threshold) {
            vm.expectRevert(abi.encodeWithSelector(PatientAccount.TooFewGuardians.selector, threshold, signing));
        }
        proposeRecovery(time());
    }

    /* cancelRecovery
     * ├── nothing pending → NoRecovery
     * └── otherwise: nothing pending, and the same signatures do not start it again
     */

    function test_cancelling_nothing_is_refused() public {
        bytes memory batch = signed(
            address(account),
            signer,
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.cancelRecovery, ()))
        );
        vm.expectRevert(PatientAccount.NoRecovery.selector);
        account.execute(MODE, batch);
    }

    function checkNothingPending() internal {
        skip(DELAY);
        vm.expectRevert(PatientAccount.NoRecovery.selector);
        account.finishRecovery(next);
        (, uint40 readyAt, uint256 nonce) = account.recovery();
        assertEq(readyAt, 0, "pending");
        assertEq(nonce, 1, "the nonce stays used");
    }

    function test_the_patient_cancels() public {
        proposed();
        skip(DELAY - 1);
        bytes memory batch = signed(
            address(account),
            signer,
            PATIENT_KEY,
            one(address(account), abi.encodeCall(PatientAccount.cancelRecovery, ()))
        );
        vm.expectEmit(address(account));
        emit PatientAccount.RecoveryCancelled();
        account.execute(MODE, batch);
        refuseGuardianSignature(0);
        checkNothingPending();
    }

    function test_other_guardians_or_another_signer_void_a_recovery() public {
        proposed();
        actOnItself(abi.encodeCall(PatientAccount.setGuardians, ("others", DELAY)));
        checkNothingPending();
    }

    function test_another_signer_voids_a_recovery() public {
        proposed();
        actOnItself(abi.encodeCall(PatientAccount.changeSigner, (wallet(0xE02))));
        checkNothingPending();
    }

    function test_a_custodian_cancels_for_a_child() public {
        Custodian[] memory parents = new Custodian[](1);
        parents[0] = Custodian(wallet(0xF09), time() + 365 days);
        account = create("", digestOf(set), parents);
        proposed();
        act(address(account), wallet(0xF09), 0xF09, address(account), abi.encodeCall(PatientAccount.cancelRecovery, ()));
        checkNothingPending();
    }

    /* finishRecovery
     * ├── nothing pending → NoRecovery
     * ├── another signer → WrongRecovery
     * ├── before the delay is over → RecoveryNotReady
     * └── otherwise: the new signer acts, the old one does not, and what it signed before is void
     */

    function test_finishing_nothing_is_refused() public {
        vm.expectRevert(PatientAccount.NoRecovery.selector);
        account.finishRecovery(next);
    }

    /// @dev A4: the whole delay.
    function test_a_recovery_is_finished_after_the_delay() public {
        proposed();
        uint40 readyAt = time() + DELAY;
        bytes memory other = wallet(0xE02);
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.WrongRecovery.selector, id(next), id(other)));
        account.finishRecovery(other);
        vm.warp(readyAt - 1);
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.RecoveryNotReady.selector, readyAt));
        account.finishRecovery(next);
        vm.warp(readyAt);
        bytes memory old = signed(address(account), signer, PATIENT_KEY, one(address(consents), grantCall(pharmacy)));
        vm.expectEmit(address(account));
        emit PatientAccount.RecoveryFinished(next, 2);
        vm.prank(stranger);
        account.finishRecovery(next);

        assertEq(account.nonce(), 2, "the nonce moved");
        vm.expectRevert(abi.encodeWithSelector(PatientAccount.WrongNonce.selector, 2, 1));
        account.execute(MODE, old);
        old = signed(address(account), signer, PATIENT_KEY, one(address(consents), grantCall(pharmacy)));
        refuseAuthority(signer);
        account.execute(MODE, old);
        act(address(account), next, 0xE01, address(consents), grantCall(pharmacy));
        assertTrue(isGranted(account, pharmacy), "the new signer acts");
        vm.expectRevert(PatientAccount.NoRecovery.selector);
        account.finishRecovery(next);
    }
}
