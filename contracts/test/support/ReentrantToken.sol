// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @notice A token that calls whoever receives or sends it, takes a fee, or lies, as a test tells it to.
contract ReentrantToken is ERC20 {
    address private _to;
    bytes private _data;
    bool private _must;
    uint256 public fee;
    bool public broken;

    constructor() ERC20("Reentrant", "RE") {}

    function mint(address to, uint256 amount) external {
        _mint(to, amount);
    }

    /// @notice With the next transfer, calls `to` once, before the balances change.
    /// @param must Whether the transfer fails with the call.
    function callNext(address to, bytes calldata data, bool must) external {
        (_to, _data, _must) = (to, data, must);
    }

    function setFee(uint256 fee_) external {
        fee = fee_;
    }

    /// @notice From now on transfers do nothing and say that they failed.
    function breakDown() external {
        broken = true;
    }

    /// @notice Anything, as the token itself: it can be a holder.
    function perform(address to, bytes calldata data) external {
        (bool success,) = to.call(data);
        require(success, "performed");
    }

    function transfer(address to, uint256 value) public override returns (bool) {
        if (broken) return false;
        _callBack();
        return super.transfer(to, value);
    }

    function transferFrom(address from, address to, uint256 value) public override returns (bool) {
        if (broken) return false;
        _callBack();
        super.transferFrom(from, to, value);
        if (fee != 0) _burn(to, fee);
        return true;
    }

    function _callBack() private {
        (address to, bytes memory data) = (_to, _data);
        if (to == address(0)) return;
        _to = address(0);
        (bool success,) = to.call(data);
        require(success || !_must, "called back");
    }
}
