// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Execution, ERC7579Utils} from "@openzeppelin/contracts/account/utils/draft-ERC7579Utils.sol";
import {IERC1271} from "@openzeppelin/contracts/interfaces/IERC1271.sol";
import {IERC7913SignatureVerifier} from "@openzeppelin/contracts/interfaces/IERC7913.sol";
import {IERC7821} from "@openzeppelin/contracts/interfaces/draft-IERC7821.sol";
import {LowLevelCall} from "@openzeppelin/contracts/utils/LowLevelCall.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";

/// @notice Who acts for a patient who cannot, until a time that nobody can move.
/// @param signer ERC-7913 signer of the custodian.
/// @param until Unix time in seconds, such as the patient's majority.
struct Custodian {
    bytes signer;
    uint40 until;
}

/// @title PatientAccount
/// @notice The account through which a patient acts: one signature carries a batch of calls, and
/// any gateway brings it to the chain.
/// @dev One ERC-1167 clone per patient, made by `PatientAccounts`. Holds digests of the signer, the
/// guardians and the custodians, and a nonce. Holds no key, no guardian in clear and no health data.
///
/// A **signer** is written as ERC-7913 has it: 20 bytes are a wallet or an ERC-1271 contract; more
/// are a verifier's address and a key, such as the WebAuthn verifier and a passkey. The account
/// keeps the first 24 bytes of its keccak-256 digest, and whoever signs shows the signer again.
/// Twenty-four bytes leave room for nonce and delay in the slot that every call reads, and are
/// more than the twenty that an Ethereum address has.
///
/// Three authorities act here. The **patient** can do everything. A **custodian** can make calls to
/// others until its time is over, but to the account itself only stand in for a patient who has no
/// signer yet: install the first one, or cancel a recovery. The **guardians** together can replace a
/// lost signer, after a delay in which the patient can object.
///
/// INVARIANTS
/// - A1: nothing leaves the account but the calls of one batch, in order and whole, that the patient
///   or a custodian in force signed for this account, this chain and the present nonce.
/// - A2: the nonce never falls, and grows by one with each batch and with each finished recovery.
/// - A3: a custodian's time never moves, and a custodian changes neither an existing signer nor the
///   guardians nor the custodians.
/// - A4: a recovery takes the signatures of at least `threshold` different guardians, and the whole
///   delay passes between its proposal and its end.
/// - A5: once a patient has a signer, only the patient and a finished recovery replace it.
///
/// ASSUMPTIONS
/// - Safety: the verifier named in a signer is honest. The account asks whatever address stands there.
/// - Safety: a passkey signs the EIP-712 digest as its challenge. Nothing checks the web origin on
///   chain; the domain binds chain and account, and the platform binds the origin.
/// - Safety: fewer than `threshold` guardians collude, or the patient notices within the delay.
/// - Safety: who steals the signer can act as the patient, and cancel recoveries, until the patient
///   changes the signer. A custodian's acts, such as consents, outlast its time until they are revoked.
/// - Liveness: somebody brings the message to the chain before its deadline. Nobody else has to agree.
contract PatientAccount is EIP712, ERC165, IERC1271, IERC7821 {
    /* TYPES */

    /// @notice The guardians, opened. The account keeps
    /// `keccak256(abi.encode(salt, threshold, signers))`.
    /// @param salt Random, so that nobody finds the guardians by guessing.
    /// @param threshold How many of them must sign: 1 to the number of guardians.
    /// @param signers ERC-7913 signers, at most `MAX_GUARDIANS`. One that is listed twice counts once.
    struct GuardianSet {
        bytes32 salt;
        uint8 threshold;
        bytes[] signers;
    }

    /// @dev One slot: 192 + 40 bits.
    struct Custody {
        bytes24 signer;
        uint40 until;
    }

    /// @dev One slot: 192 + 40 + 24 bits. Nothing is pending while `readyAt` is zero. `count` is the
    /// nonce of the guardians' message; it is apart from the account's, which a thief could move.
    struct Recovery {
        bytes24 signer;
        uint40 readyAt;
        uint24 count;
    }

    /* CONSTANTS */

    /// @notice Guardians of one account.
    uint256 internal constant MAX_GUARDIANS = 16;

    /// @notice Custodians of one account at a time: two parents.
    uint256 internal constant MAX_CUSTODIANS = 2;

    /// @notice The shortest time that a patient has to object to a recovery.
    uint256 internal constant MIN_RECOVERY_DELAY = 1 days;

    /// @notice The longest time that a patient waits for a recovery.
    uint256 internal constant MAX_RECOVERY_DELAY = 30 days;

    /// @notice The longest custody: no age of majority lies above 21 years. Custody of an adult is
    /// renewed by that adult, or by the guardians through a recovery.
    uint256 internal constant MAX_CUSTODY = 21 * 366 days;

    /// @notice Size of a signer, in bytes. It leaves room for keys larger than a passkey's.
    uint256 internal constant MAX_SIGNER = 2048;

    /// @notice EIP-712 type of a batch of calls.
    bytes32 internal constant EXECUTE_TYPEHASH =
        keccak256("Execute(Call[] calls,uint256 nonce,uint40 deadline)Call(address to,uint256 value,bytes data)");

    /// @notice EIP-712 type of one call in a batch.
    bytes32 internal constant CALL_TYPEHASH = keccak256("Call(address to,uint256 value,bytes data)");

    /// @notice EIP-712 type of what guardians sign.
    bytes32 internal constant RECOVER_TYPEHASH = keccak256("Recover(bytes newSigner,uint256 nonce,uint40 deadline)");

    /// @notice EIP-712 type that binds an ERC-1271 signature to this account.
    bytes32 internal constant MESSAGE_TYPEHASH = keccak256("Message(bytes32 hash)");

    /// @dev The only mode of ERC-7821 that is supported: a batch with its authorisation beside it.
    bytes10 private constant _MODE = 0x01000000000078210001;

    /// @notice Who makes accounts: the only caller that `initialize` accepts.
    address public immutable FACTORY;

    /* STORAGE */

    // One slot: 192 + 40 + 24 bits. A zero signer is a patient who has none yet.
    bytes24 private _signer;
    uint40 private _nonce;
    uint24 private _recoveryDelay;

    bytes32 private _guardians;
    Recovery private _recovery;
    Custody[MAX_CUSTODIANS] private _custodians;

    /* EVENTS */

    /// @notice The batch with that nonce took effect, signed by the signer with that digest.
    event Executed(uint256 nonce, bytes24 signerId);

    /// @notice The patient's signer is another from now on.
    event SignerChanged(bytes signer);

    /// @notice The guardians or the delay are others from now on. A pending recovery is void.
    event GuardiansChanged(bytes32 guardians, uint24 recoveryDelay);

    /// @notice A custodian may act until its time.
    event CustodianAdded(bytes signer, uint40 until);

    /// @notice A custodian may act no more.
    event CustodianRemoved(bytes24 indexed signerId);

    /// @notice Guardians want another signer. From `readyAt` on, anybody can finish it.
    event RecoveryProposed(bytes newSigner, uint40 readyAt, uint256 nonce);

    /// @notice The pending recovery is void.
    event RecoveryCancelled();

    /// @notice The recovery took effect: the old signer is out.
    event RecoveryFinished(bytes newSigner, uint256 nonce);

    /* ERRORS */

    /// @notice Only the factory that made this account can do this, once.
    error NotFactory(address caller);

    /// @notice Only the account itself can do this: put the call into a signed batch.
    error NotSelf(address caller);

    /// @notice The account executes batches with authorisation only.
    error UnsupportedMode(bytes32 mode);

    /// @notice The message came too late.
    error Expired(uint256 deadline);

    /// @notice The message is not the next one.
    error WrongNonce(uint256 expected, uint256 given);

    /// @notice The signer is neither the patient's nor a custodian's in force.
    error NotAuthorised(bytes24 signerId);

    /// @notice The signer did not sign this message.
    error InvalidSignature(bytes24 signerId);

    /// @notice A custodian cannot have the account do this to itself.
    error NotForCustodian(bytes4 selector);

    /// @notice There is no contract at the address, so the call would do nothing.
    error NoCode(address to);

    /// @notice The signer is malformed, too long, the account itself, or names a verifier without code.
    error InvalidSigner(bytes signer);

    /// @notice The patient has a signer already.
    error HasSigner();

    /// @notice An account needs a signer or a custodian.
    error NobodyCanAct();

    /// @notice The delay lies outside its bounds, in seconds.
    error InvalidDelay(uint256 delay, uint256 least, uint256 most);

    /// @notice The custody has passed or is too long.
    error InvalidCustody(uint40 until, uint256 latest);

    /// @notice The account has as many custodians as it can have.
    error TooManyCustodians(uint256 limit);

    /// @notice The signer is no custodian of this account.
    error NotCustodian(bytes24 signerId);

    /// @notice These are not the account's guardians, or it has none.
    error WrongGuardians(bytes32 expected, bytes32 given);

    /// @notice The set cannot be used: too many guardians, a threshold out of reach, or signatures
    /// that do not stand beside their guardians.
    error InvalidGuardians(uint256 threshold, uint256 guardians, uint256 signatures);

    /// @notice A guardian did not sign this message.
    error InvalidGuardianSignature(uint256 index);

    /// @notice Fewer different guardians signed than must.
    error TooFewGuardians(uint256 threshold, uint256 signed);

    /// @notice No recovery is pending.
    error NoRecovery();

    /// @notice Another signer is to be recovered.
    error WrongRecovery(bytes24 expected, bytes24 given);

    /// @notice The patient can still object.
    error RecoveryNotReady(uint40 readyAt);

    /* FUNCTIONS */

    modifier onlySelf() {
        if (msg.sender != address(this)) revert NotSelf(msg.sender);
        _;
    }

    /// @dev The factory deploys the one implementation that all accounts share.
    constructor() EIP712("Salus Patient Account", "1") {
        FACTORY = msg.sender;
    }

    /// @notice Sets up a new account. The factory calls it in the transaction that makes the clone.
    /// @dev The factory's event announces all of it.
    function initialize(bytes calldata signer, bytes32 guardians, uint24 recoveryDelay, Custodian[] calldata custodians)
        external
    {
        if (msg.sender != FACTORY) revert NotFactory(msg.sender);
        if (signer.length == 0 && custodians.length == 0) revert NobodyCanAct();
        if (custodians.length > MAX_CUSTODIANS) revert TooManyCustodians(MAX_CUSTODIANS);
        _requireDelay(recoveryDelay);

        _signer = signer.length == 0 ? bytes24(0) : _requireSigner(signer);
        _nonce = 1; // The first batch then changes a slot instead of filling it.
        _recoveryDelay = recoveryDelay;
        if (guardians != 0) _guardians = guardians;
        for (uint256 i; i < custodians.length; ++i) {
            _custodians[i] = _requireCustody(custodians[i]);
        }
    }

    /// @notice Lets the account hold ether, as any account does.
    receive() external payable {}

    /* Acting */

    /// @notice Makes the calls that the patient or a custodian signed. Anybody may bring them.
    /// @dev All or nothing: the first call that fails fails the whole, with its own reason, and the
    /// nonce stays. A call to address zero is one to the account itself (ERC-7821).
    /// @param mode `0x01000000000078210001` and 22 bytes that are ignored.
    /// @param executionData `abi.encode(Call[] calls, bytes opData)` with
    /// `opData = abi.encode(bytes signer, uint256 nonce, uint40 deadline, bytes signature)`; the
    /// signature is over the EIP-712 message `Execute`.
    function execute(bytes32 mode, bytes calldata executionData) external payable {
        if (!supportsExecutionMode(mode)) revert UnsupportedMode(mode);
        Execution[] calldata calls = ERC7579Utils.decodeBatch(executionData);

        bool isPatient = _authorise(calls, _tail(executionData, 1));
        for (uint256 i; i < calls.length; ++i) {
            _call(calls[i].target, calls[i].value, calls[i].callData, isPatient);
        }
    }

    /* Keys: the account calls itself */

    /// @notice Replaces the patient's signer. A pending recovery is void.
    function changeSigner(bytes calldata newSigner) external onlySelf {
        _signer = _requireSigner(newSigner);
        emit SignerChanged(newSigner);
        _cancelRecovery();
    }

    /// @notice Gives the patient a first signer. A custodian can do this, to a patient who has none.
    function installSigner(bytes calldata newSigner) external onlySelf {
        if (_signer != 0) revert HasSigner();
        _signer = _requireSigner(newSigner);
        emit SignerChanged(newSigner);
    }

    /// @notice Names other guardians, or none with zero. A pending recovery is void.
    /// @param guardians `keccak256(abi.encode(salt, threshold, signers))`.
    /// @param recoveryDelay In seconds.
    function setGuardians(bytes32 guardians, uint24 recoveryDelay) external onlySelf {
        _requireDelay(recoveryDelay);
        _guardians = guardians;
        _recoveryDelay = recoveryDelay;
        emit GuardiansChanged(guardians, recoveryDelay);
        _cancelRecovery();
    }

    /// @notice Appoints a custodian, in a place that is free or whose time is over.
    function addCustodian(Custodian calldata custodian) external onlySelf {
        Custody memory custody = _requireCustody(custodian);
        for (uint256 i; i < MAX_CUSTODIANS; ++i) {
            if (_custodians[i].until <= block.timestamp) {
                _custodians[i] = custody;
                emit CustodianAdded(custodian.signer, custodian.until);
                return;
            }
        }
        revert TooManyCustodians(MAX_CUSTODIANS);
    }

    /// @notice Removes a custodian, wherever its time stands.
    function removeCustodian(bytes calldata signer) external onlySelf {
        bytes24 id = signerIdOf(signer);
        bool found;
        for (uint256 i; i < MAX_CUSTODIANS; ++i) {
            if (_custodians[i].signer == id) {
                delete _custodians[i];
                found = true;
            }
        }
        if (!found) revert NotCustodian(id);
        emit CustodianRemoved(id);
    }

    /// @notice Objects to the pending recovery.
    function cancelRecovery() external onlySelf {
        if (_recovery.readyAt == 0) revert NoRecovery();
        _cancelRecovery();
    }

    /* Recovery */

    /// @notice Starts replacing the patient's signer, or starts over with another one.
    /// @param set The guardians, opened.
    /// @param deadline Until when the guardians' signatures hold, in seconds.
    /// @param signatures Over the EIP-712 message `Recover`, each beside its guardian; empty for who did not sign.
    function proposeRecovery(
        bytes calldata newSigner,
        GuardianSet calldata set,
        uint40 deadline,
        bytes[] calldata signatures
    ) external {
        if (block.timestamp > deadline) revert Expired(deadline);
        bytes32 given = keccak256(abi.encode(set.salt, set.threshold, set.signers));
        if (_guardians != given) revert WrongGuardians(_guardians, given);
        bytes24 id = _requireSigner(newSigner);
        uint24 count = _recovery.count;
        _requireGuardians(
            set,
            signatures,
            _hashTypedDataV4(keccak256(abi.encode(RECOVER_TYPEHASH, keccak256(newSigner), count, deadline)))
        );

        uint40 readyAt = uint40(block.timestamp + _recoveryDelay);
        _recovery = Recovery(id, readyAt, count + 1);

        emit RecoveryProposed(newSigner, readyAt, count);
    }

    /// @notice Ends a recovery to which the patient did not object in time. Anybody may call it.
    /// @dev The nonce moves, so nothing signed before takes effect after.
    function finishRecovery(bytes calldata newSigner) external {
        Recovery memory pending = _recovery;
        if (pending.readyAt == 0) revert NoRecovery();
        bytes24 id = signerIdOf(newSigner);
        if (pending.signer != id) revert WrongRecovery(pending.signer, id);
        if (block.timestamp < pending.readyAt) revert RecoveryNotReady(pending.readyAt);

        _signer = id;
        uint40 next = ++_nonce;
        _recovery = Recovery(0, 0, pending.count);

        emit RecoveryFinished(newSigner, next);
    }

    /* Views */

    /// @notice Whether the patient, or a custodian in force, signed `hash` for this account (ERC-1271).
    /// @param signature `abi.encode(bytes signer, bytes signature)`, over the EIP-712 message
    /// `Message(bytes32 hash)` of this account, so that it serves no other.
    function isValidSignature(bytes32 hash, bytes calldata signature) external view returns (bytes4) {
        bytes calldata signer = _tail(signature, 0);
        bytes24 id = signerIdOf(signer);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(MESSAGE_TYPEHASH, hash)));
        bool valid = (id == _signer || _isCustodian(id)) && _isSignedBy(signer, digest, _tail(signature, 1));
        return valid ? IERC1271.isValidSignature.selector : bytes4(0xffffffff);
    }

    /// @notice Whether `execute` takes the mode: a batch with authorisation, of ERC-7821.
    function supportsExecutionMode(bytes32 mode) public pure returns (bool) {
        return bytes10(mode) == _MODE;
    }

    /// @inheritdoc ERC165
    function supportsInterface(bytes4 interfaceId) public view override(ERC165) returns (bool) {
        return interfaceId == type(IERC1271).interfaceId || interfaceId == type(IERC7821).interfaceId
            || super.supportsInterface(interfaceId);
    }

    /// @notice What the account keeps of a signer: the first 24 bytes of its keccak-256 digest.
    function signerIdOf(bytes calldata signer) public pure returns (bytes24) {
        return bytes24(keccak256(signer));
    }

    /// @notice The patient's signer, shortened; zero when there is none yet.
    function signerId() external view returns (bytes24) {
        return _signer;
    }

    /// @notice The nonce that the next batch must carry. The first is 1.
    function nonce() external view returns (uint256) {
        return _nonce;
    }

    /// @notice Digest of the guardians, zero for none, and the delay of a recovery in seconds.
    function guardianPolicy() external view returns (bytes32 digest, uint24 recoveryDelay) {
        return (_guardians, _recoveryDelay);
    }

    /// @notice Both places for custodians; an empty one is zero. A custodian is in force while `time < until`.
    function custodies() external view returns (Custody[MAX_CUSTODIANS] memory) {
        return _custodians;
    }

    /// @notice The pending recovery, none when `readyAt` is zero, and the nonce that the next
    /// `Recover` message must carry.
    function recovery() external view returns (bytes24 newSignerId, uint40 readyAt, uint256 nextNonce) {
        return (_recovery.signer, _recovery.readyAt, _recovery.count);
    }

    /* Internal: acting */

    /// @dev Checks who signed `calls`, and uses the nonce up before any of them is made.
    function _authorise(Execution[] calldata calls, bytes calldata opData) private returns (bool isPatient) {
        bytes calldata signer = _tail(opData, 0);
        uint256 given = uint256(_word(opData, 1));
        uint256 deadline = uint256(_word(opData, 2));
        bytes24 id = signerIdOf(signer);
        uint40 expected = _nonce;
        if (block.timestamp > deadline) revert Expired(deadline);
        if (expected != given) revert WrongNonce(expected, given);
        isPatient = id == _signer;
        if (!isPatient && !_isCustodian(id)) revert NotAuthorised(id);
        bytes32 digest = _hashTypedDataV4(keccak256(abi.encode(EXECUTE_TYPEHASH, _hashCalls(calls), given, deadline)));
        if (!_isSignedBy(signer, digest, _tail(opData, 3))) revert InvalidSignature(id);

        _nonce = expected + 1;

        emit Executed(given, id);
    }

    function _call(address target, uint256 value, bytes calldata data, bool isPatient) private {
        address to = target == address(0) ? address(this) : target;
        if (to == address(this) && !isPatient) _requireCustodianMay(data);
        // A call to an address without code succeeds and does nothing. A patient who revokes a
        // consent must not be told that it worked when the address was wrong.
        if (data.length != 0 && to.code.length == 0) revert NoCode(to);

        if (!LowLevelCall.callNoReturn(to, value, data)) LowLevelCall.bubbleRevert();
    }

    function _hashCalls(Execution[] calldata calls) private pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](calls.length);
        for (uint256 i; i < calls.length; ++i) {
            hashes[i] =
                keccak256(abi.encode(CALL_TYPEHASH, calls[i].target, calls[i].value, keccak256(calls[i].callData)));
        }
        return keccak256(abi.encodePacked(hashes));
    }

    function _cancelRecovery() private {
        if (_recovery.readyAt == 0) return;
        _recovery = Recovery(0, 0, _recovery.count);
        emit RecoveryCancelled();
    }

    /* Internal: conditions */

    function _isCustodian(bytes24 id) private view returns (bool) {
        for (uint256 i; i < MAX_CUSTODIANS; ++i) {
            Custody memory custody = _custodians[i];
            if (custody.signer == id && block.timestamp < custody.until) return true;
        }
        return false;
    }

    /// @dev As OpenZeppelin's `SignatureChecker` does it, without copying the key and the assertion of
    /// a passkey to memory twice: every act of a patient pays for that.
    function _isSignedBy(bytes calldata signer, bytes32 digest, bytes calldata signature) private view returns (bool) {
        if (signer.length <= 20) return SignatureChecker.isValidSignatureNow(signer, digest, signature);
        (bool success, bytes32 result,) = LowLevelCall.staticcallReturn64Bytes(
            address(bytes20(signer)), abi.encodeCall(IERC7913SignatureVerifier.verify, (signer[20:], digest, signature))
        );
        return success && LowLevelCall.returnDataSize() >= 32 && result == IERC7913SignatureVerifier.verify.selector;
    }

    /// @dev Refuse by default: what a custodian may have the account do to itself is listed here, and
    /// only while the patient has no signer.
    function _requireCustodianMay(bytes calldata data) private view {
        bytes4 selector = bytes4(data);
        bool listed = selector == this.installSigner.selector || selector == this.cancelRecovery.selector;
        if (_signer != 0 || !listed) revert NotForCustodian(selector);
    }

    function _requireSigner(bytes calldata signer) private view returns (bytes24 id) {
        if (signer.length < 20 || signer.length > MAX_SIGNER) revert InvalidSigner(signer);
        address verifier = address(bytes20(signer));
        if (verifier == address(0) || verifier == address(this)) revert InvalidSigner(signer);
        if (signer.length > 20 && verifier.code.length == 0) revert InvalidSigner(signer);
        return signerIdOf(signer);
    }

    function _requireCustody(Custodian calldata custodian) private view returns (Custody memory) {
        uint256 latest = block.timestamp + MAX_CUSTODY;
        if (custodian.until <= block.timestamp || custodian.until > latest) {
            revert InvalidCustody(custodian.until, latest);
        }
        return Custody(_requireSigner(custodian.signer), custodian.until);
    }

    function _requireDelay(uint256 delay) private pure {
        if (delay < MIN_RECOVERY_DELAY || delay > MAX_RECOVERY_DELAY) {
            revert InvalidDelay(delay, MIN_RECOVERY_DELAY, MAX_RECOVERY_DELAY);
        }
    }

    function _requireGuardians(GuardianSet calldata set, bytes[] calldata signatures, bytes32 digest) private view {
        uint256 length = set.signers.length;
        if (length > MAX_GUARDIANS || set.threshold == 0 || set.threshold > length || signatures.length != length) {
            revert InvalidGuardians(set.threshold, length, signatures.length);
        }

        bytes32[] memory signed = new bytes32[](length);
        uint256 count;
        for (uint256 i; i < length; ++i) {
            if (signatures[i].length == 0) continue;
            if (!_isSignedBy(set.signers[i], digest, signatures[i])) revert InvalidGuardianSignature(i);
            bytes32 id = keccak256(set.signers[i]);
            bool repeated;
            for (uint256 j; j < count; ++j) {
                if (signed[j] == id) repeated = true;
            }
            if (!repeated) signed[count++] = id;
        }
        if (count < set.threshold) revert TooFewGuardians(set.threshold, count);
    }

    /* Internal: ABI */

    /// @dev The `index`-th word of ABI-encoded `data`.
    function _word(bytes calldata data, uint256 index) private pure returns (bytes32) {
        return bytes32(data[32 * index:32 * index + 32]);
    }

    /// @dev The `bytes` whose offset is the `index`-th word of ABI-encoded `data`. Slices check bounds.
    function _tail(bytes calldata data, uint256 index) private pure returns (bytes calldata) {
        uint256 start = uint256(_word(data, index)) + 32;
        return data[start:start + uint256(bytes32(data[start - 32:start]))];
    }
}
