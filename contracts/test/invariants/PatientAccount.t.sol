// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Custodian, PatientAccount} from "../../src/PatientAccount.sol";
import {PatientAccounts} from "../../src/PatientAccounts.sol";
import {Signers} from "../support/Signers.sol";
import {Handler, InvariantTest} from "../support/Test.sol";

/// @notice Counts who called it.
contract Counter {
    mapping(address caller => uint256) public count;

    function increment() external {
        ++count[msg.sender];
    }
}

/// @notice Seven wallets act for one account, each as patient, custodian, guardian or nobody, as it happens to be.
contract PatientAccountHandler is Handler {
    PatientAccount public immutable ACCOUNT;
    Counter internal immutable COUNTER;

    uint256 internal constant FIRST_KEY = 0xA000;
    uint256 internal constant KEYS = 7;
    uint256 internal constant THRESHOLD = 2;
    bytes32 internal constant MODE = 0x0100000000007821000100000000000000000000000000000000000000000000;
    address[] internal _wallets;

    // The model: who is who, by the place of the wallet plus one.
    uint256 public patient;
    uint256 public nonce = 1;
    uint256 public increments;
    uint256[2] public custodians;
    uint40[2] public untils;
    bool public guarded = true;
    uint256 public recovering;
    uint40 public readyAt;
    uint40 public proposedAt;
    uint256 public recoveries;

    /// @dev The guardians are the last three wallets.
    constructor(PatientAccounts accounts, Counter counter) {
        COUNTER = counter;
        for (uint256 i; i < KEYS; ++i) {
            _wallets.push(vm.addr(FIRST_KEY + i));
        }
        Custodian[] memory parents = new Custodian[](2);
        for (uint256 i; i < 2; ++i) {
            (custodians[i], untils[i]) = (i + 1, time() + 20 days + uint40(i) * 10 days);
            parents[i] = Custodian(signer(custodians[i]), untils[i]);
        }
        ACCOUNT = PatientAccount(payable(accounts.create("", keccak256(guardianSet()), 3 days, parents, "salt")));
    }

    function signer(uint256 who) public view returns (bytes memory) {
        return abi.encodePacked(_wallets[who - 1]);
    }

    function guardianSet() internal view returns (bytes memory) {
        return abi.encode(bytes32("salt"), uint8(THRESHOLD), guardians());
    }

    function guardians() internal view returns (bytes[] memory list) {
        list = new bytes[](3);
        for (uint256 i; i < 3; ++i) {
            list[i] = signer(KEYS - 2 + i);
        }
    }

    /* Acting */

    /// @dev A1, A2: who may, with the next nonce, over what is brought, and otherwise nobody.
    function act(uint256 seed) external seeded(seed) {
        uint256 who = chance(70) ? _patientOrCustodian() : 1 + random(KEYS);
        uint256 given = chance(80) ? nonce : nonce + random(3) - 1;
        bool tampered = chance(10);
        bytes memory batch = _batch(who, given, address(COUNTER), abi.encodeCall(Counter.increment, ()), tampered);
        bool expected = (who == patient || _isCustodian(who)) && given == nonce && !tampered;
        if (!_bring(batch, expected, "A1, A2: acts")) return;
        ++increments;
    }

    /// @dev A3, A5: what the account can be made to do to itself, and by whom.
    function administer(uint256 seed) external seeded(seed) {
        uint256 who = chance(80) ? _patientOrCustodian() : 1 + random(KEYS);
        (uint256 what, uint256 whom) = (random(6), 1 + random(KEYS));
        bool isPatient = who == patient && patient != 0;
        bool standsIn = patient == 0 && _isCustodian(who);
        (bytes memory data, bool possible) = _administration(what, whom);
        bool may = isPatient || (standsIn && (what == 1 || what == 5));
        if (!_bring(_batch(who, nonce, address(ACCOUNT), data, false), may && possible, "A3, A5: administers")) return;

        if (what < 2) patient = whom;
        if (what == 2) guarded = !guarded;
        if (what == 3) _appoint(whom);
        if (what == 4) _remove(whom);
        if (what == 0 || what == 2 || what == 5) recovering = 0;
    }

    function _administration(uint256 what, uint256 whom) internal view returns (bytes memory, bool) {
        bytes memory who = signer(whom);
        if (what == 0) return (abi.encodeCall(PatientAccount.changeSigner, (who)), true);
        if (what == 1) return (abi.encodeCall(PatientAccount.installSigner, (who)), patient == 0);
        if (what == 2) {
            bytes32 digest = guarded ? bytes32(0) : keccak256(guardianSet());
            return (abi.encodeCall(PatientAccount.setGuardians, (digest, 3 days)), true);
        }
        if (what == 3) {
            bool free = untils[0] <= time() || untils[1] <= time();
            return (abi.encodeCall(PatientAccount.addCustodian, (Custodian(who, time() + 15 days))), free);
        }
        if (what == 4) {
            return
                (abi.encodeCall(PatientAccount.removeCustodian, (who)), custodians[0] == whom || custodians[1] == whom);
        }
        return (abi.encodeCall(PatientAccount.cancelRecovery, ()), recovering != 0);
    }

    /* Recovery */

    /// @dev A4: at least two of the three guardians.
    function proposeRecovery(uint256 seed) external seeded(seed) {
        (uint256 whom, uint256 who) = (1 + random(KEYS), random(8));
        bytes32 digest = _digest(
            keccak256(
                abi.encode(
                    keccak256("Recover(bytes newSigner,uint256 nonce,uint40 deadline)"),
                    keccak256(signer(whom)),
                    recoveries,
                    time()
                )
            )
        );
        bytes[] memory signatures = new bytes[](3);
        uint256 signing;
        for (uint256 i; i < 3; ++i) {
            if ((who >> i) & 1 == 0) continue;
            signatures[i] = _sign(KEYS - 2 + i, digest);
            ++signing;
        }
        PatientAccount.GuardianSet memory set = PatientAccount.GuardianSet("salt", uint8(THRESHOLD), guardians());
        bytes memory data = abi.encodeCall(PatientAccount.proposeRecovery, (signer(whom), set, time(), signatures));
        bool expected = guarded && signing >= THRESHOLD;
        if (!attempt(address(this), address(ACCOUNT), data, expected, "A4: guardians propose")) return;
        (recovering, readyAt, proposedAt) = (whom, time() + 3 days, time());
        ++recoveries;
    }

    function finishRecovery(uint256 seed) external seeded(seed) {
        uint256 whom = chance(30) || recovering == 0 ? 1 + random(KEYS) : recovering;
        bytes memory data = abi.encodeCall(PatientAccount.finishRecovery, (signer(whom)));
        bool expected = recovering == whom && time() >= readyAt;
        if (!attempt(address(this), address(ACCOUNT), data, expected, "A4: after the delay")) return;
        assertTrue(time() >= proposedAt + 3 days, "A4: the whole delay");
        (patient, recovering) = (whom, 0);
        ++nonce;
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(4 days));
    }

    /* The model */

    function _isCustodian(uint256 who) internal view returns (bool) {
        return (custodians[0] == who && time() < untils[0]) || (custodians[1] == who && time() < untils[1]);
    }

    function _patientOrCustodian() internal returns (uint256) {
        if (patient != 0 && chance(60)) return patient;
        uint256 custodian = custodians[random(2)];
        return custodian == 0 ? 1 : custodian;
    }

    function _appoint(uint256 whom) internal {
        uint256 place = untils[0] <= time() ? 0 : 1;
        (custodians[place], untils[place]) = (whom, time() + 15 days);
    }

    function _remove(uint256 whom) internal {
        for (uint256 i; i < 2; ++i) {
            if (custodians[i] == whom) (custodians[i], untils[i]) = (0, 0);
        }
    }

    /* Messages */

    function _bring(bytes memory batch, bool expected, string memory what) internal returns (bool success) {
        bytes memory data = abi.encodeCall(PatientAccount.execute, (MODE, batch));
        success = attempt(address(this), address(ACCOUNT), data, expected, what);
        if (success) ++nonce;
    }

    function _batch(uint256 who, uint256 given, address to, bytes memory data, bool tampered)
        internal
        view
        returns (bytes memory)
    {
        bytes32 call =
            keccak256(abi.encode(keccak256("Call(address to,uint256 value,bytes data)"), to, 0, keccak256(data)));
        bytes32 typeHash =
            keccak256("Execute(Call[] calls,uint256 nonce,uint40 deadline)Call(address to,uint256 value,bytes data)");
        bytes32 digest = _digest(keccak256(abi.encode(typeHash, keccak256(abi.encode(call)), given, uint256(time()))));
        Signers.Call[] memory calls_ = new Signers.Call[](tampered ? 2 : 1);
        for (uint256 i; i < calls_.length; ++i) {
            calls_[i] = Signers.Call(to, 0, data);
        }
        return abi.encode(calls_, abi.encode(signer(who), given, uint256(time()), _sign(who, digest)));
    }

    function _sign(uint256 who, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(FIRST_KEY + who - 1, digest);
        return abi.encodePacked(r, s, v);
    }

    function _digest(bytes32 message) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("Salus Patient Account"),
                keccak256("1"),
                block.chainid,
                address(ACCOUNT)
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, message));
    }
}

/// forge-config: default.invariant.depth = 320
contract PatientAccountInvariants is Signers, InvariantTest {
    PatientAccountHandler internal handler;
    Counter internal counter;

    function setUp() public override {
        super.setUp();
        counter = new Counter();
        handler = new PatientAccountHandler(accounts, counter);
        target(address(handler));
    }

    function id(uint256 who) internal view returns (bytes32) {
        return who == 0 ? bytes32(0) : bytes32(bytes24(keccak256(handler.signer(who))));
    }

    /// @dev A1 to A5: what the account holds is what somebody with the authority for it made of it.
    function invariant_A1_A2_A3_A4_A5_the_account_is_as_the_model() public view everyFew(handler.calls()) {
        PatientAccount account = handler.ACCOUNT();
        assertEq(counter.count(address(account)), handler.increments(), "A1: calls made");
        assertEq(account.nonce(), handler.nonce(), "A2: nonce");
        assertEq(bytes32(account.signerId()), id(handler.patient()), "A5: signer");
        PatientAccount.Custody[2] memory custodies = account.custodies();
        for (uint256 i; i < 2; ++i) {
            assertEq(bytes32(custodies[i].signer), id(handler.custodians(i)), "A3: custodian");
            assertEq(custodies[i].until, handler.untils(i), "A3: custody");
        }
        (bytes24 pending, uint40 readyAt, uint256 next) = account.recovery();
        assertEq(bytes32(pending), id(handler.recovering()), "A4: recovery");
        assertEq(readyAt, handler.recovering() == 0 ? 0 : handler.readyAt(), "A4: delay");
        assertEq(next, handler.recoveries(), "A4: nonce");
    }
}
