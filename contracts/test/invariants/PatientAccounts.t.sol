// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Custodian, PatientAccount} from "../../src/PatientAccount.sol";
import {PatientAccounts} from "../../src/PatientAccounts.sol";
import {Signers} from "../support/Signers.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Anybody makes accounts out of few parameters, so that the same come up again, and clones beside them.
contract PatientAccountsHandler is Handler {
    PatientAccounts public immutable FACTORY;

    struct Parameters {
        bytes signer;
        bytes32 guardians;
        uint24 delay;
        Custodian[] custodians;
        bytes32 salt;
    }

    address[] public made;
    address[] public clones;
    mapping(address account => Parameters) private _parameters;
    mapping(bytes32 digest => address account) private _accounts;
    uint40 internal immutable _UNTIL = time() + 365 days;

    constructor(PatientAccounts factory) {
        FACTORY = factory;
    }

    function parametersOf(address account) external view returns (Parameters memory) {
        return _parameters[account];
    }

    function counts() external view returns (uint256, uint256) {
        return (made.length, clones.length);
    }

    /// @dev F1: once for each set of parameters, where it was predicted, whoever calls.
    function create(uint256 seed) external seeded(seed) {
        Parameters memory given = _draw();
        address predicted = FACTORY.predict(given.signer, given.guardians, given.delay, given.custodians, given.salt);
        bytes32 digest = keccak256(abi.encode(given));
        bool usable = given.signer.length != 0 || given.custodians.length != 0;
        bool expected = usable && _accounts[digest] == address(0);
        assertEq(FACTORY.isAccount(predicted), _accounts[digest] != address(0), "F2: an account only once it is made");

        bytes memory data = abi.encodeCall(
            PatientAccounts.create, (given.signer, given.guardians, given.delay, given.custodians, given.salt)
        );
        if (!attempt(vm.addr(1 + random(3)), address(FACTORY), data, expected, "F1: once for its parameters")) return;
        made.push(predicted);
        _accounts[digest] = predicted;
        _parameters[predicted].signer = given.signer;
        _parameters[predicted].guardians = given.guardians;
        _parameters[predicted].delay = given.delay;
        _parameters[predicted].salt = given.salt;
        for (uint256 i; i < given.custodians.length; ++i) {
            _parameters[predicted].custodians.push(given.custodians[i]);
        }
    }

    /// @dev F1: what is set up stays so, and what the factory did not make is never set up.
    function initialize(uint256 seed) external seeded(seed) {
        if (made.length + clones.length == 0) return;
        uint256 which = random(made.length + clones.length);
        address account = which < made.length ? made[which] : clones[which - made.length];
        Parameters memory given = _draw();
        bytes memory data =
            abi.encodeCall(PatientAccount.initialize, (given.signer, given.guardians, given.delay, given.custodians));
        attempt(vm.addr(1 + random(3)), account, data, false, "F1: set up by the factory only");
    }

    /// @dev Somebody clones the implementation without the factory.
    function clone() external {
        if (clones.length == 4) return;
        bytes memory code = abi.encodePacked(
            hex"3d602d80600a3d3981f3363d3d373d3d3d363d73", FACTORY.IMPLEMENTATION(), hex"5af43d82803e903d91602b57fd5bf3"
        );
        address deployed;
        assembly ("memory-safe") {
            deployed := create(0, add(code, 0x20), mload(code))
        }
        clones.push(deployed);
    }

    function _draw() internal returns (Parameters memory given) {
        given.signer = chance(70) ? abi.encodePacked(vm.addr(0xE00 + random(2))) : bytes("");
        given.guardians = bytes32(random(2));
        given.delay = uint24(3 days + random(2));
        given.custodians = new Custodian[](random(3));
        for (uint256 i; i < given.custodians.length; ++i) {
            given.custodians[i] = Custodian(abi.encodePacked(vm.addr(0xF00 + i)), _UNTIL);
        }
        given.salt = bytes32(random(2));
    }
}

contract PatientAccountsInvariants is Signers, InvariantTest {
    PatientAccountsHandler internal handler;

    function setUp() public override {
        super.setUp();
        handler = new PatientAccountsHandler(accounts);
        target(address(handler));
    }

    /// @dev F1, F2: each account is where its parameters say, holds exactly these, and was set up once.
    function invariant_F1_F2_every_account_is_as_it_was_made() public view everyFew(handler.calls()) {
        (uint256 made, uint256 clones) = handler.counts();
        for (uint256 i; i < made; ++i) {
            checkAccount(PatientAccount(payable(handler.made(i))));
        }
        for (uint256 i; i < clones; ++i) {
            PatientAccount dead = PatientAccount(payable(handler.clones(i)));
            assertEq(bytes32(dead.signerId()), 0, "F1: a clone has no signer");
            assertEq(dead.nonce(), 0, "F1: a clone was never set up");
        }
        assertFalse(accounts.isAccount(address(handler)), "F2: other code");
        assertFalse(accounts.isAccount(address(accounts)), "F2: the factory");
        assertFalse(accounts.isAccount(address(accounts.IMPLEMENTATION())), "F2: the implementation");
        assertFalse(accounts.isAccount(stranger), "F2: no code");
    }

    function checkAccount(PatientAccount account) internal view {
        PatientAccountsHandler.Parameters memory given = handler.parametersOf(address(account));
        address predicted = accounts.predict(given.signer, given.guardians, given.delay, given.custodians, given.salt);
        assertEq(address(account), predicted, "F1: address");
        assertTrue(accounts.isAccount(address(account)), "F2: account");
        assertEq(account.nonce(), 1, "F1: once");
        bytes32 signer = given.signer.length == 0 ? bytes32(0) : bytes32(bytes24(keccak256(given.signer)));
        assertEq(bytes32(account.signerId()), signer, "F1: signer");
        (bytes32 guardians, uint24 delay) = account.guardianPolicy();
        assertEq(guardians, given.guardians, "F1: guardians");
        assertEq(delay, given.delay, "F1: delay");
        PatientAccount.Custody[2] memory custodies = account.custodies();
        for (uint256 i; i < 2; ++i) {
            bool appointed = i < given.custodians.length;
            bytes32 custodian = appointed ? bytes32(bytes24(keccak256(given.custodians[i].signer))) : bytes32(0);
            assertEq(bytes32(custodies[i].signer), custodian, "F1: custodian");
            assertEq(custodies[i].until, appointed ? given.custodians[i].until : 0, "F1: custody");
        }
    }
}
