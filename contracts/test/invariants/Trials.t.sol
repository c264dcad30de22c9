// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "../../src/Ids.sol";
import {Trials} from "../../src/Trials.sol";
import {Handler, InvariantTest} from "../support/Test.sol";
import {WideNetwork} from "../support/WideNetwork.sol";

/// @notice Takes four patients through a trial, and the trial to its results, in any order, as everybody.
contract TrialsHandler is Handler {
    uint256 public constant PATIENTS = 4;
    bytes32 public constant SPONSOR_SEED = "the sponsor's seed";
    bytes32 public constant CUSTODIAN_SEED = "the custodian's seed";

    Trials internal immutable TRIALS;
    bytes32 internal immutable ID;
    address internal immutable SITE;
    address[2] internal _parties;

    /// @dev Patients; researcher of the sponsor, auditor, then of the site: researcher, physician, nurse, pharmacist;
    /// a stranger.
    address[] public everybody;

    struct Subject {
        Trials.Standing standing;
        uint16 version;
        uint16 visits;
        bytes32 nonce;
        bool opened;
        bool allocated;
    }

    Trials.State public state = Trials.State.Recruiting;
    uint16 public version = 1;
    bool public pending;
    bytes32 public head;
    uint256 public entries;
    uint256 public enrolled;
    bool[2] public revealed;
    bool[] public events;
    uint256 public unacknowledged;
    mapping(uint256 place => Subject) internal _subjects;

    constructor(Trials trials, bytes32 id, address site, address[2] memory parties, address[11] memory people) {
        (TRIALS, ID, SITE, _parties) = (trials, id, site, parties);
        for (uint256 i; i < 11; ++i) {
            everybody.push(people[i]);
        }
    }

    /* The patient */

    function consent(uint256 seed) external seeded(seed) {
        (uint256 place, uint16 to) = (random(PATIENTS), chance(90) ? version : version + 1);
        Subject storage subject = _subjects[place];
        bytes32 nonce = bytes32(calls + 1);
        bytes memory data = abi.encodeCall(Trials.consent, (ID, SITE, to, keccak256(abi.encode(nonce))));
        bool expected =
            state == Trials.State.Recruiting && to == version && subject.standing <= Trials.Standing.Enrolled;
        if (!attempt(everybody[place], address(TRIALS), data, expected, "consents to what is in force")) return;
        subject.version = to;
        if (subject.standing != Trials.Standing.None) return;
        (subject.standing, subject.nonce) = (Trials.Standing.Consented, nonce);
    }

    function openNonce(uint256 seed) external seeded(seed) {
        uint256 place = random(PATIENTS);
        Subject storage subject = _subjects[place];
        bytes32 nonce = chance(90) ? subject.nonce : bytes32("a better nonce");
        bool expected = state == Trials.State.Recruiting && subject.standing == Trials.Standing.Enrolled
            && nonce == subject.nonce && !subject.opened;
        bytes memory data = abi.encodeCall(Trials.openNonce, (ID, nonce));
        if (attempt(everybody[place], address(TRIALS), data, expected, "R2: opens once enrolled")) {
            subject.opened = true;
        }
    }

    function withdraw(uint256 seed) external seeded(seed) {
        uint256 place = random(PATIENTS);
        if (chance(90)) return;
        bytes memory data = abi.encodeCall(Trials.withdraw, (ID, true));
        attempt(everybody[place], address(TRIALS), data, true, "R6: withdraws");
        _subjects[place].standing = Trials.Standing.Withdrawn;
    }

    /* The site */

    function screen(uint256 seed) external seeded(seed) {
        (address caller, uint256 place) = (mostly(everybody[6 + random(2)], everybody), random(PATIENTS));
        Subject storage subject = _subjects[place];
        bool eligible = chance(90);
        bool may = caller == everybody[6] || caller == everybody[7];
        bool expected = may && state == Trials.State.Recruiting && subject.standing == Trials.Standing.Consented
            && subject.version == version;
        bytes memory data = abi.encodeCall(Trials.screen, (ID, everybody[place], eligible, "criteria", "screening"));
        if (!attempt(caller, address(TRIALS), data, expected, "screens")) return;
        assertFalse(subject.opened, "R2: nobody knows the nonce before");
        subject.standing = eligible ? Trials.Standing.Enrolled : Trials.Standing.Excluded;
        if (eligible) ++enrolled;
    }

    function allocate(uint256 seed) external seeded(seed) {
        (address caller, uint256 place) = (mostly(everybody[9], everybody), random(PATIENTS));
        Subject storage subject = _subjects[place];
        bool expected = caller == everybody[9] && state == Trials.State.Recruiting && subject.opened
            && subject.standing == Trials.Standing.Enrolled && !subject.allocated;
        bytes memory data = abi.encodeCall(Trials.allocate, (ID, everybody[place], allocationOf(place)));
        if (!attempt(caller, address(TRIALS), data, expected, "R2: commits to an arm")) return;
        assertEq(subject.visits, 0, "R2: before any data");
        subject.allocated = true;
    }

    function enter(uint256 seed) external seeded(seed) {
        (address caller, uint256 place) = (mostly(everybody[6 + random(3)], everybody), random(PATIENTS));
        Subject storage subject = _subjects[place];
        bool expected = _isStaff(caller) && state == Trials.State.Recruiting && subject.allocated
            && subject.standing == Trials.Standing.Enrolled && subject.version == version;
        bytes32 digest = bytes32(calls + 1);
        bytes memory data = abi.encodeCall(Trials.enter, (ID, everybody[place], digest));
        if (!attempt(caller, address(TRIALS), data, expected, "R4: enters data")) return;
        head = keccak256(abi.encode(head, everybody[place], ++subject.visits, digest));
        ++entries;
    }

    function reportAdverseEvent(uint256 seed) external seeded(seed) {
        (address caller, uint256 place) = (mostly(everybody[6 + random(3)], everybody), random(PATIENTS));
        bool serious = chance(50);
        bool expected = _isStaff(caller) && _subjects[place].version != 0;
        bytes memory data = abi.encodeCall(Trials.reportAdverseEvent, (ID, everybody[place], serious, time(), "event"));
        if (!attempt(caller, address(TRIALS), data, expected, "R7: reports")) return;
        events.push(serious);
        if (serious) ++unacknowledged;
    }

    /* Sponsor and custodian */

    function amend(uint256 seed) external seeded(seed) {
        bool proposes = chance(50);
        if (chance(50)) return;
        address caller = mostly(everybody[proposes ? 4 : 5], everybody);
        bytes memory data = proposes
            ? abi.encodeCall(Trials.proposeAmendment, (ID, "protocol", "criteria"))
            : abi.encodeCall(Trials.approveAmendment, (ID, "protocol", "criteria"));
        bool expected =
            state == Trials.State.Recruiting && caller == everybody[proposes ? 4 : 5] && (proposes || pending);
        if (!attempt(caller, address(TRIALS), data, expected, "R1: amends")) return;
        pending = proposes;
        if (!proposes) ++version;
    }

    function acknowledge(uint256 seed) external seeded(seed) {
        (address caller, uint256 number) = (mostly(everybody[4], everybody), random(events.length + 1));
        bool expected = caller == everybody[4] && number < events.length && events[number];
        bytes memory data = abi.encodeCall(Trials.acknowledge, (ID, number));
        if (!attempt(caller, address(TRIALS), data, expected, "R7: acknowledges")) return;
        events[number] = false;
        --unacknowledged;
    }

    /// @dev Seldom, for it is the end of everything else.
    function lock(uint256 seed) external seeded(seed) {
        address caller = mostly(everybody[4], everybody);
        bytes32 where = chance(90) ? head : bytes32("elsewhere");
        bool expected =
            caller == everybody[4] && state == Trials.State.Recruiting && where == head && unacknowledged == 0;
        if (expected && chance(85)) return;
        bytes memory data = abi.encodeCall(Trials.lock, (ID, where));
        if (attempt(caller, address(TRIALS), data, expected, "R4: locks")) state = Trials.State.Locked;
    }

    function reveal(uint256 seed) external seeded(seed) {
        uint256 party = random(2);
        bytes32 what = chance(80) ? (party == 0 ? SPONSOR_SEED : CUSTODIAN_SEED) : bytes32("a luckier seed");
        bool expected = state == Trials.State.Locked && what != "a luckier seed" && !revealed[party];
        bytes memory data = abi.encodeCall(Trials.reveal, (ID, _parties[party], what));
        if (!attempt(pick(everybody), address(TRIALS), data, expected, "R3: reveals what was committed to")) return;
        revealed[party] = true;
        if (revealed[1 - party]) state = Trials.State.Unblinded;
    }

    function publish(uint256 seed) external seeded(seed) {
        address caller = mostly(everybody[4], everybody);
        (bytes32 endpoints, bytes32 data_) = (chance(85) ? bytes32("endpoints") : bytes32("other"), head);
        if (chance(15)) data_ = "other";
        bool expected =
            caller == everybody[4] && state == Trials.State.Unblinded && endpoints == "endpoints" && data_ == head;
        bytes memory data = abi.encodeCall(Trials.publish, (ID, endpoints, data_, "results"));
        if (attempt(caller, address(TRIALS), data, expected, "R5: publishes")) state = Trials.State.Published;
    }

    function wait(uint256 seed) external seeded(seed) {
        skip(random(1 days));
    }

    /* Model */

    function subjectOf(uint256 place) external view returns (Subject memory) {
        return _subjects[place];
    }

    function allocationOf(uint256 place) public view returns (bytes32) {
        return keccak256(abi.encode(ID, everybody[place], armOf(place), bytes32("salt")));
    }

    /// @dev As the header of the contract says, and apart from it.
    function armOf(uint256 place) public view returns (uint256) {
        bytes32 seed = keccak256(abi.encode(SPONSOR_SEED, CUSTODIAN_SEED));
        return uint256(keccak256(abi.encode(seed, ID, everybody[place], _subjects[place].nonce))) % 3;
    }

    function _isStaff(address who) internal view returns (bool) {
        return who == everybody[6] || who == everybody[7] || who == everybody[8];
    }
}

/// forge-config: default.invariant.depth = 300
contract TrialsInvariants is WideNetwork, InvariantTest {
    TrialsHandler internal handler;
    bytes32 internal id;

    function setUp() public override {
        super.setUp();
        id = makeId(researcher, "trial");
        address[11] memory people = [
            patient,
            otherPatient,
            vm.addr(0xE01),
            vm.addr(0xE02),
            researcher,
            auditor,
            siteResearcher,
            physician,
            nurse,
            trialPharmacist,
            stranger
        ];
        handler = new TrialsHandler(trials, id, hospital, [research, regulator], people);
        bytes32 commitment = trials.commitmentOf(id, research, handler.SPONSOR_SEED());
        vm.prank(researcher);
        trials.register("trial", Trials.Design("protocol", "endpoints", "criteria", 3), commitment);
        commitment = trials.commitmentOf(id, regulator, handler.CUSTODIAN_SEED());
        vm.prank(auditor);
        trials.approve(id, "protocol", commitment);
        vm.prank(researcher);
        trials.inviteSite(id, hospital);
        vm.prank(hospital);
        trials.joinTrial(id);
        target(address(handler));
    }

    function invariant_R2_R4_R6_a_trial_is_where_the_model_is() public view everyFew(handler.calls()) {
        Trials.Trial memory stored = trials.trialOf(id);
        assertEq(uint256(stored.state), uint256(handler.state()), "state");
        assertEq(stored.version, handler.version(), "version");
        assertEq(stored.dataHead, handler.head(), "R4: head");
        assertEq(stored.entries, handler.entries(), "R4: entries");
        assertEq(stored.enrolled, handler.enrolled(), "enrolled");
        assertEq(stored.unacknowledged, handler.unacknowledged(), "R7: unacknowledged");
        bool isOpen = stored.state == Trials.State.Unblinded || stored.state == Trials.State.Published;
        for (uint256 i; i < 4; ++i) {
            address who = handler.everybody(i);
            Trials.Subject memory subject = trials.subjectOf(id, who);
            TrialsHandler.Subject memory model = handler.subjectOf(i);
            assertEq(uint256(subject.standing), uint256(model.standing), "standing");
            assertEq(subject.visits, model.visits, "visits");
            assertEq(subject.nonce, model.opened ? model.nonce : bytes32(0), "R2: nonce");
            assertEq(subject.allocation != 0, model.allocated, "R2: allocated");
            assertTrue(subject.visits == 0 || subject.allocation != 0, "R2: no data before the arm");
            if (!isOpen || !model.opened) continue;
            assertEq(trials.armOf(id, who), handler.armOf(i), "R2: the arm");
            assertEq(trials.isAllocatedRightly(id, who, "salt"), model.allocated, "R2: as committed to");
        }
    }
}
