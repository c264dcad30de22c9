// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title IServices
/// @notice A workflow whose completed services can be claimed from an insurer.
interface IServices {
    /// @notice The receipt of a completed service. All zero until it is complete.
    /// @param id What the service belongs to, such as a prescription.
    /// @param part Which part of it, such as a fill, from 1.
    /// @return patient Who received it.
    /// @return provider The institution that provided it.
    /// @return completedAt Unix time, in seconds.
    /// @return evidence Digest of the sealed record in which its performers signed what was done.
    function serviceOf(bytes32 id, uint256 part)
        external
        view
        returns (address patient, address provider, uint40 completedAt, bytes32 evidence);
}
