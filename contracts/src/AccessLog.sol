// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {Registry} from "./Registry.sol";

/// @title AccessLog
/// @notice The receipts of every read, anchored so that no gatekeeper can drop or change one unnoticed.
/// @dev Holds, per institution, the Merkle root of each batch of its gatekeeper's receipts, and the
/// head of the chain that they form. Holds no receipt.
///
/// A leaf is `keccak256(bytes.concat(keccak256(abi.encode(receipt))))` of a receipt's digest, pairs
/// hashed in order, as in OpenZeppelin's standard tree.
///
/// INVARIANTS
/// - W1: a log only grows: no function changes or removes a root, and batches are numbered without gaps.
/// - W2: each head commits to all batches before it, their order, their sizes and their roots.
/// - W3: a gatekeeper that lost or forked its log cannot append to it: it must name the present head.
///
/// ASSUMPTIONS
/// - Safety: what is never appended is not proven missing by the chain. Readers hold their own receipts,
///   and their sequence numbers show gaps.
/// - Liveness: a gatekeeper that lost its log reads the head from here to continue.
contract AccessLog {
    /* TYPES */

    /// @notice Where a gatekeeper's log stands.
    /// @dev Two slots: 256 bits; 64 + 64 = 128 bits.
    /// @param head Zero before the first batch, then
    /// `keccak256(abi.encode(previousHead, index, root, count, firstSequence))` of the latest batch.
    /// @param batches How many there are; the index of the next.
    /// @param receipts How many they hold together; the sequence number of the next.
    struct Log {
        bytes32 head;
        uint64 batches;
        uint64 receipts;
    }

    /* STORAGE */

    /// @notice Who is an institution.
    Registry public immutable REGISTRY;

    mapping(address gatekeeper => Log) private _logs;
    mapping(address gatekeeper => mapping(uint256 index => bytes32 root)) private _roots;

    /* EVENTS */

    /// @notice A gatekeeper appended a batch.
    /// @param firstSequence Sequence number of its first receipt, from 0.
    event ReceiptsAppended(
        address indexed gatekeeper,
        uint256 indexed index,
        bytes32 indexed root,
        uint32 count,
        uint64 firstSequence,
        bytes32 head
    );

    /* ERRORS */

    /// @notice The caller's log does not end where the chain says it does.
    error Fork(bytes32 expected, bytes32 given);

    /// @notice A batch needs a root and at least one receipt.
    error InvalidBatch(bytes32 root, uint32 count);

    /* FUNCTIONS */

    constructor(Registry registry) {
        REGISTRY = registry;
    }

    /// @notice Appends a batch of receipts to the log of the caller's gatekeeper.
    /// @param count How many receipts.
    /// @param previousHead The head that the gatekeeper continues; zero for the first batch.
    function append(bytes32 root, uint32 count, bytes32 previousHead) external {
        address gatekeeper = REGISTRY.institution(msg.sender);
        Log storage log = _logs[gatekeeper];
        if (root == 0 || count == 0) revert InvalidBatch(root, count);
        if (log.head != previousHead) revert Fork(log.head, previousHead);

        (uint64 index, uint64 firstSequence) = (log.batches, log.receipts);
        bytes32 head = keccak256(abi.encode(previousHead, index, root, count, firstSequence));
        log.head = head;
        (log.batches, log.receipts) = (index + 1, firstSequence + count);
        _roots[gatekeeper][index] = root;

        emit ReceiptsAppended(gatekeeper, index, root, count, firstSequence, head);
    }

    /// @notice Where the log of a gatekeeper stands.
    function logOf(address gatekeeper) external view returns (Log memory) {
        return _logs[gatekeeper];
    }

    /// @notice The root of one batch; zero when there is none.
    function rootAt(address gatekeeper, uint256 index) external view returns (bytes32) {
        return _roots[gatekeeper][index];
    }

    /// @notice Whether a receipt is in a batch.
    /// @param receipt Digest of the receipt.
    /// @param proof Siblings from its leaf up.
    function verify(address gatekeeper, uint256 index, bytes32 receipt, bytes32[] calldata proof)
        external
        view
        returns (bool)
    {
        bytes32 root = _roots[gatekeeper][index];
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(receipt))));
        return root != 0 && MerkleProof.verifyCalldata(proof, root, leaf);
    }
}
