// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The identifier of what `author` opens under `salt`.
/// @dev Whoever sees a transaction on its way can copy its salt, but not its author: the copy gets
/// another identifier, so nobody can take somebody else's.
/// @param author The member or account that opens, not the key it signs with.
/// @param salt Random, used once by that author.
function makeId(address author, bytes32 salt) pure returns (bytes32) {
    return keccak256(abi.encode(author, salt));
}
