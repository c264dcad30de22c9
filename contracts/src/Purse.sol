// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Registry} from "./Registry.sol";

/// @title Purse
/// @notice Money that members and patients keep in a contract, so that it can be paid between them.
/// @dev A base of the contracts that pay. They pay from balance to balance, and no token is called in
/// doing so: a token that calls back, or refuses a receiver, can stop deposits and withdrawals and nothing else.
///
/// A **holder** is an institution, whatever key it signs with, or any other address, such as a patient's account.
/// A professional or a device is an address like any other: an institution accredits whom it likes and may
/// replace that key, and gets at nobody's money by it.
///
/// INVARIANTS
/// - M1: `held` is the sum of all balances and of what the contract has set aside, and the contract has at
///   least as many tokens.
/// - M2: a balance grows by deposits and payments, and shrinks only by its holder's withdrawal or by a payment
///   that the contract's rules make.
/// - M3: what is paid in for any key of an institution, old or new, is the institution's.
/// - M4: every holder can withdraw: an institution, in or out of force, with its latest key; whoever is none, itself,
///   whatever else its address was made since, such as an institution's key.
///
/// ASSUMPTIONS
/// - Safety: a majority of the institutions admits nobody who did not ask. By a vote it could admit a patient's account
///   and then replace its key, and get at that account's money; or name the account as the key of an institution,
///   and get at what is paid in for it afterwards, but not at what was there. Both are events of the Registry.
/// - Safety: the token is an ERC-20 that does not change balances by itself. A token that takes a fee or
///   pays out something else than it was asked for is refused at the deposit.
abstract contract Purse {
    using SafeERC20 for IERC20;

    /* STORAGE */

    /// @notice Who is a member, and with which key.
    Registry public immutable REGISTRY;

    /// @notice In what is paid.
    IERC20 public immutable TOKEN;

    /// @notice All money in the contract, in the token's smallest unit.
    uint256 public held;

    mapping(address holder => uint256) private _balances;

    /* EVENTS */

    /// @notice Money came in.
    event Deposited(address indexed holder, address indexed from, uint256 amount);

    /// @notice Money went out.
    event Withdrawn(address indexed holder, address indexed to, uint256 amount);

    /* ERRORS */

    /// @notice The holder has less.
    error InsufficientBalance(address holder, uint256 balance, uint256 needed);

    /// @notice The token moved another amount than it was asked to.
    error WrongTransfer(uint256 expected, uint256 moved);

    /// @notice The caller is not the holder, nor the institution's latest key.
    error NotHolder(address holder, address caller);

    /// @notice Money that goes out does not stay here.
    error InvalidReceiver(address to);

    /// @notice Nobody holds money at the address zero.
    error NoHolder();

    /// @notice Nothing cannot be moved.
    error NoAmount();

    /* FUNCTIONS */

    constructor(Registry registry, IERC20 token) {
        (REGISTRY, TOKEN) = (registry, token);
    }

    /// @notice Pays the caller's tokens in, for any holder; an institution by any of its keys.
    /// @dev The balance is counted after the tokens have moved. A token that calls back meanwhile and pays
    /// more in makes the difference wrong, and all of it is undone.
    function deposit(address holder, uint256 amount) external {
        if (amount == 0) revert NoAmount();
        if (holder == address(0)) revert NoHolder();
        address whose = holderOf(holder);
        uint256 before = TOKEN.balanceOf(address(this));

        held += amount;
        _balances[whose] += amount;
        emit Deposited(whose, msg.sender, amount);

        TOKEN.safeTransferFrom(msg.sender, address(this), amount);
        uint256 moved = TOKEN.balanceOf(address(this)) - before;
        if (moved != amount) revert WrongTransfer(amount, moved);
    }

    /// @notice Pays from a holder's balance to any address but this contract's. An institution in or out of force can,
    /// with its latest key; anybody else, with their own address.
    /// @dev The caller says whose money it is: an address that became the key of an institution holds what it held.
    function withdraw(address holder, address to, uint256 amount) external {
        address signer = REGISTRY.termOf(holder) == 0 ? holder : REGISTRY.signerOf(holder);
        if (msg.sender != signer) revert NotHolder(holder, msg.sender);
        if (to == address(this)) revert InvalidReceiver(to);
        _take(holder, amount);
        held -= amount;
        emit Withdrawn(holder, to, amount);

        TOKEN.safeTransfer(to, amount);
    }

    /// @notice What a holder has, in the token's smallest unit.
    function balanceOf(address holder) public view returns (uint256) {
        return _balances[holder];
    }

    /// @notice Whose money it is that is paid in for an address: the institution's of which it is a key, or its own.
    function holderOf(address holder) public view returns (address) {
        address institution = _institutionOf(holder);
        return institution == address(0) ? holder : institution;
    }

    /* Internal */

    /// @dev Zero when it is the key of none. Who was never admitted is no institution.
    function _institutionOf(address signer) private view returns (address) {
        (address member,,) = REGISTRY.keyOf(signer);
        return REGISTRY.termOf(member) == 0 ? address(0) : member;
    }

    /// @dev Sets money of a holder aside. The caller accounts for it.
    function _take(address holder, uint256 amount) internal {
        if (amount == 0) revert NoAmount();
        uint256 balance = _balances[holder];
        if (balance < amount) revert InsufficientBalance(holder, balance, amount);
        _balances[holder] = balance - amount;
    }

    /// @dev Gives a holder money that was set aside.
    function _give(address holder, uint256 amount) internal {
        _balances[holder] += amount;
    }
}
