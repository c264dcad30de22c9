// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PatientAccount} from "../../src/PatientAccount.sol";
import {Network} from "./Network.sol";

/// @notice An ERC-1271 contract that takes whatever `OWNER` signed.
contract ContractWallet {
    address public immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        address signer = ecrecover(hash, uint8(signature[64]), bytes32(signature[0:32]), bytes32(signature[32:64]));
        return signer == OWNER ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}

/// @notice Signs what patients, custodians and guardians sign, as a browser or a wallet would.
abstract contract Signers is Network {
    /// @notice How an assertion can be wrong.
    enum Flaw {
        None,
        HighS,
        WrongChallenge,
        WrongType,
        NotVerified,
        NotPresent,
        OtherKey
    }

    struct Call {
        address to;
        uint256 value;
        bytes data;
    }

    bytes32 internal constant MODE = 0x0100000000007821000100000000000000000000000000000000000000000000;

    /// @dev Order of the group of P-256 (FIPS 186-4, D.1.2.3).
    uint256 internal constant P256_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551;

    /* Signers */

    function wallet(uint256 key) internal pure returns (bytes memory) {
        return abi.encodePacked(vm.addr(key));
    }

    function passkey(uint256 key) internal view returns (bytes memory) {
        (uint256 x, uint256 y) = vm.publicKeyP256(key);
        return abi.encodePacked(verifier, x, y);
    }

    /// @notice The signature of a wallet or of a passkey, whichever `signer` is.
    function sign(bytes memory signer, uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        return signer.length == 20 ? signature(key, digest) : assertion(key, digest, Flaw.None);
    }

    /// @notice A WebAuthn assertion over a digest, in the flat encoding that the verifier takes.
    function assertion(uint256 key, bytes32 digest, Flaw flaw) internal pure returns (bytes memory) {
        bytes32 challenge = flaw == Flaw.WrongChallenge ? ~digest : digest;
        string memory kind = flaw == Flaw.WrongType ? "webauthn.create" : "webauthn.get";
        string memory clientData = string.concat(
            '{"type":"', kind, '","challenge":"', base64Url(challenge), '","origin":"https://portal.example"}'
        );
        bytes1 flags = flaw == Flaw.NotVerified ? bytes1(0x01) : flaw == Flaw.NotPresent ? bytes1(0x04) : bytes1(0x05);
        bytes memory authenticatorData = abi.encodePacked(sha256("portal.example"), flags, uint32(7));

        (bytes32 r, bytes32 s) = vm.signP256(
            flaw == Flaw.OtherKey ? key + 1 : key,
            sha256(abi.encodePacked(authenticatorData, sha256(bytes(clientData))))
        );
        bool isHigh = uint256(s) > P256_N / 2;
        if (isHigh != (flaw == Flaw.HighS)) s = bytes32(P256_N - uint256(s));
        uint256 challengeIndex = bytes(string.concat('{"type":"', kind, '",')).length;
        return abi.encode(r, s, challengeIndex, 1, authenticatorData, clientData);
    }

    /// @dev Without the padding that forge adds.
    function base64Url(bytes32 value) internal pure returns (string memory) {
        bytes memory padded = bytes(vm.toBase64URL(abi.encodePacked(value)));
        bytes memory text = new bytes(43);
        for (uint256 i; i < 43; ++i) {
            text[i] = padded[i];
        }
        return string(text);
    }

    /* Messages, hashed apart from the contract */

    function executeDigest(address account, Call[] memory calls, uint256 nonce, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes memory hashes;
        for (uint256 i; i < calls.length; ++i) {
            bytes32 hash = keccak256(
                abi.encode(
                    keccak256("Call(address to,uint256 value,bytes data)"),
                    calls[i].to,
                    calls[i].value,
                    keccak256(calls[i].data)
                )
            );
            hashes = bytes.concat(hashes, hash);
        }
        bytes32 typeHash =
            keccak256("Execute(Call[] calls,uint256 nonce,uint40 deadline)Call(address to,uint256 value,bytes data)");
        return accountDigest(account, keccak256(abi.encode(typeHash, keccak256(hashes), nonce, deadline)));
    }

    function recoverDigest(address account, bytes memory newSigner, uint256 nonce, uint256 deadline)
        internal
        view
        returns (bytes32)
    {
        bytes32 typeHash = keccak256("Recover(bytes newSigner,uint256 nonce,uint40 deadline)");
        return accountDigest(account, keccak256(abi.encode(typeHash, keccak256(newSigner), nonce, deadline)));
    }

    function messageDigest(address account, bytes32 hash) internal view returns (bytes32) {
        return accountDigest(account, keccak256(abi.encode(keccak256("Message(bytes32 hash)"), hash)));
    }

    function accountDigest(address account, bytes32 structHash) internal view returns (bytes32) {
        return typedDigest("Salus Patient Account", account, structHash);
    }

    /* Batches */

    function one(address to, bytes memory data) internal pure returns (Call[] memory calls) {
        calls = new Call[](1);
        calls[0] = Call(to, 0, data);
    }

    function executionData(Call[] memory calls, bytes memory signer, uint256 nonce, uint256 deadline, bytes memory by)
        internal
        pure
        returns (bytes memory)
    {
        return abi.encode(calls, abi.encode(signer, nonce, deadline, by));
    }

    /// @notice A batch, signed with the present nonce and a deadline an hour ahead.
    function signed(address account, bytes memory signer, uint256 key, Call[] memory calls)
        internal
        view
        returns (bytes memory)
    {
        uint256 nonce = PatientAccount(payable(account)).nonce();
        uint256 deadline = time() + 1 hours;
        bytes memory by = sign(signer, key, executeDigest(account, calls, nonce, deadline));
        return executionData(calls, signer, nonce, deadline, by);
    }

    /// @notice Has an account make a call, signed by `key` and brought by a stranger.
    function act(address account, bytes memory signer, uint256 key, address to, bytes memory data) internal {
        bytes memory batch = signed(account, signer, key, one(to, data));
        vm.prank(stranger);
        PatientAccount(payable(account)).execute(MODE, batch);
    }
}
