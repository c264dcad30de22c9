// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";

import {Custodian, PatientAccount} from "./PatientAccount.sol";

/// @title PatientAccounts
/// @notice Makes patient accounts. Anybody may pay for one; nobody but its signers can use it.
/// @dev Holds nothing but the implementation that all accounts share. The address of an account
/// commits to all its parameters, so who copies a transaction makes the same account for the same
/// patient and gains nothing by it.
///
/// INVARIANTS
/// - F1: an account has the address that `predict` gives for its parameters, and was set up with
///   exactly these, once.
/// - F2: `isAccount` holds for every account made here, and for no address that runs other code.
///
/// ASSUMPTIONS
/// - Safety: others can make clones of the implementation too. Those have no signer and no
///   custodian, and cannot be set up: they are dead, and harm nobody.
contract PatientAccounts {
    /* STORAGE */

    /// @notice The code that every account runs.
    PatientAccount public immutable IMPLEMENTATION;

    bytes32 private immutable _CODE_HASH;

    /* EVENTS */

    /// @notice An account exists from now on, set up so. Its nonce is 1.
    /// @param signerDigest keccak-256 of the signer, so that a passkey finds its accounts.
    event AccountCreated(
        address indexed account,
        bytes32 indexed signerDigest,
        bytes signer,
        bytes32 guardians,
        uint24 recoveryDelay,
        Custodian[] custodians
    );

    /* ERRORS */

    /// @notice The account with these parameters exists already.
    error AccountExists(address account);

    /* FUNCTIONS */

    constructor() {
        IMPLEMENTATION = new PatientAccount();
        _CODE_HASH =
            keccak256(abi.encodePacked(hex"363d3d373d3d3d363d73", IMPLEMENTATION, hex"5af43d82803e903d91602b57fd5bf3"));
    }

    /// @notice Makes an account.
    /// @param signer ERC-7913 signer of the patient; empty for a patient who has none yet, but custodians.
    /// @param guardians `keccak256(abi.encode(salt, threshold, signers))`; zero for none.
    /// @param recoveryDelay Of a recovery by the guardians, in seconds.
    /// @param custodians At most two.
    /// @param salt Whatever tells apart accounts with the same parameters.
    function create(
        bytes calldata signer,
        bytes32 guardians,
        uint24 recoveryDelay,
        Custodian[] calldata custodians,
        bytes32 salt
    ) external returns (address account) {
        bytes32 bound = _bind(signer, guardians, recoveryDelay, custodians, salt);
        account = Clones.predictDeterministicAddress(address(IMPLEMENTATION), bound);
        if (account.code.length != 0) revert AccountExists(account);

        Clones.cloneDeterministic(address(IMPLEMENTATION), bound);
        PatientAccount(payable(account)).initialize(signer, guardians, recoveryDelay, custodians);

        emit AccountCreated(account, keccak256(signer), signer, guardians, recoveryDelay, custodians);
    }

    /// @notice The address that an account with these parameters has, or will have.
    function predict(
        bytes calldata signer,
        bytes32 guardians,
        uint24 recoveryDelay,
        Custodian[] calldata custodians,
        bytes32 salt
    ) external view returns (address account) {
        return Clones.predictDeterministicAddress(
            address(IMPLEMENTATION), _bind(signer, guardians, recoveryDelay, custodians, salt)
        );
    }

    /// @notice Whether the address runs the code of a patient account.
    function isAccount(address account) external view returns (bool) {
        return account.codehash == _CODE_HASH;
    }

    function _bind(
        bytes calldata signer,
        bytes32 guardians,
        uint24 recoveryDelay,
        Custodian[] calldata custodians,
        bytes32 salt
    ) private pure returns (bytes32) {
        return keccak256(abi.encode(signer, guardians, recoveryDelay, custodians, salt));
    }
}
