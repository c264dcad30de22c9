// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Registry} from "../src/Registry.sol";
import {InstitutionRole} from "../src/Types.sol";
import {Validators} from "../src/Validators.sol";
import {Committee} from "./support/Committee.sol";
import {Steps} from "./support/Steps.sol";
import {WideNetwork} from "./support/WideNetwork.sol";

contract ValidatorsTest is Committee, Steps {
    bytes internal constant EVIDENCE = "two signed messages";

    // The insurer's, which the table is about.
    address internal candidate = node(4);

    function setUp() public override(Committee, WideNetwork) {
        Committee.setUp();
    }

    /* The table: of the insurer's node, backed by the research institution and by the insurer itself */

    function workflow() internal view override returns (string memory, address) {
        return ("Validators", address(validators));
    }

    function states() internal pure override returns (string[] memory) {
        string[13] memory names;
        (names[0], names[1], names[2], names[3]) = ("None", "Standing", "Backed", "Seated");
        (names[4], names[5], names[6], names[7]) = ("Reported", "Confirmed", "Slashed", "Left");
        (names[8], names[9]) = ("Expelled", "Unbonding");
        (names[10]) = ("Unbound");
        return asList(names, 11);
    }

    function actors() internal view override returns (Actor[] memory list) {
        list = new Actor[](14);
        string[9] memory names = [
            "hospital",
            "laboratory",
            "pharmacy",
            "emergency",
            "insurer",
            "research",
            "regulator",
            "maker",
            "clinic"
        ];
        for (uint256 i; i < 9; ++i) {
            list[i] = Actor(names[i], institution(i));
        }
        list[9] = Actor("hospital's node", node(0));
        list[10] = Actor("emergency's node", node(3));
        list[11] = Actor("insurer's node", candidate);
        list[12] = Actor("physician", physician);
        list[13] = Actor("stranger", stranger);
    }

    function steps() internal view override returns (Step[] memory list) {
        uint40 now_ = validators.currentEpoch();
        bytes32 id = caseId(candidate, 102, EVIDENCE);
        list = new Step[](12);
        list[0] = Step("register", abi.encodeCall(Validators.register, (node(9), consensusKey(9), "node:1")));
        list[1] = Step("rotate key", abi.encodeCall(Validators.rotateKey, (consensusKey(9))));
        list[2] = Step("set network address", abi.encodeCall(Validators.setNetworkAddress, ("node:2")));
        list[3] = Step("step down", abi.encodeCall(Validators.stepDown, ()));
        list[4] = Step("strike off", abi.encodeCall(Validators.strikeOff, (candidate)));
        list[5] = Step("delegate", abi.encodeCall(Validators.delegate, (candidate, 100)));
        list[6] = Step("undelegate", abi.encodeCall(Validators.undelegate, (candidate, 100)));
        list[7] = Step("recall", abi.encodeCall(Validators.recall, (insurer, candidate)));
        list[8] = Step("release", abi.encodeCall(Validators.release, (1)));
        list[9] = Step("report", abi.encodeCall(Validators.report, (candidate, now_, "other messages")));
        list[10] = Step("confirm", abi.encodeCall(Validators.confirm, (id)));
        list[11] = Step("advance", abi.encodeCall(Validators.advance, ()));
    }

    function reach(uint256 state) internal override {
        if (state >= 1) registerNode(4);
        if (state >= 2) {
            back(5, 4, 500);
            back(4, 4, 100);
        }
        if (state >= 3) pass(2);
        if (state >= 4 && state <= 6) {
            bytes32 id = reportAs(0, 4, 102, EVIDENCE);
            if (state >= 5) confirmAs(1, id);
            if (state >= 6) confirmAs(2, id);
            if (state >= 6) confirmAs(3, id);
        }
        if (state == 7) {
            vm.prank(insurer);
            validators.stepDown();
        }
        if (state == 8) expel(insurer);
        if (state >= 9) {
            vm.prank(research);
            validators.undelegate(candidate, 500);
        }
        if (state >= 10) pass(8);
    }

    function caseId(address account, uint40 epoch, bytes memory evidence) internal pure returns (bytes32) {
        return keccak256(abi.encode(account, epoch, keccak256(evidence)));
    }

    /* constructor
     * ├── no blocks in an epoch → Zero
     * ├── seats, or founders, too few or too many → InvalidSize
     * ├── a founder's institution that is not in force → NotInForce
     * ├── an account, key or institution twice → AccountUsed, KeyUsed, StandsAlready
     * └── the founders serve through the next epoch, by rising accounts whatever their order
     */

    function test_a_network_starts_with_what_can_agree() public {
        vm.expectRevert(Validators.Zero.selector);
        deployValidators(0, 5, foundingNodes(4));
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidSize.selector, 3, 4, 31));
        deployValidators(LENGTH, 3, foundingNodes(4));
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidSize.selector, 32, 4, 31));
        deployValidators(LENGTH, 32, foundingNodes(4));
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidSize.selector, 3, 4, 5));
        deployValidators(LENGTH, 5, foundingNodes(3));
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidSize.selector, 6, 4, 5));
        deployValidators(LENGTH, 5, foundingNodes(6));
    }

    function refuseFounders(Validators.Founder[] memory nodes, bytes memory reason) internal {
        vm.expectRevert(reason);
        deployValidators(LENGTH, 5, nodes);
    }

    function test_N2_founders_are_institutions_with_a_node_each() public {
        Validators.Founder[] memory nodes = foundingNodes(4);
        nodes[3].institution = stranger;
        refuseFounders(nodes, abi.encodeWithSelector(Validators.NotInForce.selector, stranger));
        nodes = foundingNodes(4);
        nodes[3].institution = hospital;
        refuseFounders(nodes, abi.encodeWithSelector(Validators.StandsAlready.selector, hospital, node(0)));
        nodes = foundingNodes(4);
        nodes[3].account = node(0);
        refuseFounders(nodes, abi.encodeWithSelector(Validators.AccountUsed.selector, node(0)));
        nodes = foundingNodes(4);
        nodes[3].key = consensusKey(0);
        refuseFounders(nodes, abi.encodeWithSelector(Validators.KeyUsed.selector, consensusKey(0)));
        nodes = foundingNodes(4);
        nodes[3].networkAddress = "";
        refuseFounders(nodes, abi.encodeWithSelector(Validators.InvalidLength.selector, 0, 128));
    }

    function test_the_founders_serve_in_order_through_the_next_epoch() public {
        Validators.Founder[] memory nodes = foundingNodes(4);
        (nodes[0], nodes[2]) = (nodes[2], nodes[0]);
        validators = deployValidators(LENGTH, 5, nodes);
        assertEq(validators.currentEpoch(), 100, "epoch");
        assertEq(validators.decidedThrough(), 101, "decided");
        assertEq(seated(0), 10_123, "from the beginning");
        assertEq(seated(101), 10_123, "through the next");
        Validators.Member memory member = validators.committee(101)[2];
        assertEq(member.institution, pharmacy, "institution");
        assertEq(member.key, consensusKey(2), "key");
        assertEq(member.networkAddress, "node:1", "network address");
        vm.expectRevert(abi.encodeWithSelector(Validators.NotDecided.selector, 102, 101));
        validators.committee(102);
    }

    function test_it_fits_the_size_limit() public view {
        if (!isMeasuringCoverage()) assertTrue(address(validators).code.length <= 24_576, "EIP-170");
    }

    /* epochs and Besu
     * ├── the committee of a block is asked for at its parent: at an epoch's last block, that of the next epoch
     * ├── the digest stands where the committee changes, and nowhere else
     * └── whoever writes stores what is due, however long nobody did
     */

    function test_besu_asks_at_the_parent() public {
        seatTheCandidate();
        vm.roll(102 * LENGTH - 2);
        assertEq(validators.getValidators().length, 4, "for the last block of the epoch");
        vm.roll(102 * LENGTH - 1);
        address[] memory accounts = validators.getValidators();
        assertEq(accounts.length, 5, "for the first block of the next");
        assertEq(accounts[4], candidate, "with whom");
    }

    function seatTheCandidate() internal {
        registerNode(4);
        back(5, 4, 500);
    }

    function test_the_digest_commits_to_epoch_and_seats() public {
        seatTheCandidate();
        pass(3);
        Validators.Seat[] memory seats = new Validators.Seat[](5);
        for (uint256 i; i < 5; ++i) {
            seats[i] = Validators.Seat(node(i), consensusKey(i));
        }
        vm.expectEmit(address(validators));
        emit Validators.CommitteeElected(102, seats);
        vm.expectEmit(address(validators));
        emit Validators.CommitteesDecided(104);
        validators.advance();
        assertEq(validators.committeeDigest(102), keccak256(abi.encode(uint256(102), seats)), "where it changes");
        assertEq(validators.committeeDigest(103), bytes32(0), "and nowhere else");
        assertEq(validators.decidedThrough(), 104, "all that is known is stored");
    }

    function test_N4_what_is_known_is_what_will_be_stored() public {
        seatTheCandidate();
        assertEq(seated(101), 10_123, "the next was decided");
        pass(1);
        assertEq(seated(102), 101_234, "known before anybody writes");
        // What happens in an epoch is too late for the next.
        back(5, 4, 1);
        vm.prank(insurer);
        validators.stepDown();
        assertEq(validators.decidedThrough(), 102, "stored by the first write");
        assertEq(seated(102), 101_234, "as it was known");
        pass(1);
        assertEq(seated(103), 10_123, "the candidate went");
        pass(1000);
        assertEq(seated(102), 101_234, "for ever");
        validators.advance();
        assertEq(seated(102), 101_234, "stored");
        assertEq(seated(1103), 10_123, "and the last");
    }

    /* elections
     * ├── most votes, then the lower account
     * ├── without votes nobody comes in, and who is in stays while nobody else has more
     * ├── one of four each epoch, and no more
     * ├── never fewer than four: who should go stays until there is another
     * ├── the slashed first, then who left, then who has fewest votes
     * └── a new key is a change like any other, after the others
     */

    function test_the_best_have_the_seats() public {
        for (uint256 i = 4; i < 8; ++i) {
            registerNode(i);
            back(i, i, 100);
        }
        back(0, 7, 1);
        pass(1);
        assertEq(seated(102), 101_237, "the place that is free, to the one with most votes");
        pass(1);
        assertEq(seated(103), 101_247, "the lower account of those with as many; the highest of those with none goes");
        pass(1);
        assertEq(seated(104), 101_457, "and so on");
        pass(1);
        assertEq(seated(105), 104_567, "the last two without votes, of whom the lower stays");
        pass(10);
        assertEq(seated(115), 104_567, "four have votes, one stays");
    }

    function test_without_votes_nobody_comes_in() public {
        registerNode(4);
        pass(5);
        assertEq(seated(106), 10_123, "four");
    }

    function test_N2_never_fewer_than_four() public {
        vm.prank(hospital);
        validators.stepDown();
        pass(5);
        assertEq(seated(106), 10_123, "stays while there are no others");
        seatTheCandidate();
        pass(1);
        assertEq(seated(107), 11_234, "goes when another comes");
    }

    function test_the_slashed_go_first_then_who_left() public {
        seatTheCandidate();
        for (uint256 i; i < 4; ++i) {
            back(i, i, 100);
        }
        pass(2);
        assertEq(seated(102), 101_234, "five");
        vm.prank(laboratory);
        validators.stepDown();
        slash(3);
        pass(1);
        assertEq(seated(104), 10_124, "the slashed");
        pass(1);
        assertEq(seated(105), 10_124, "four must stay");
        registerNode(5);
        back(5, 5, 1);
        assertEq(seated(105), 10_124, "decided before");
        pass(1);
        assertEq(seated(106), 10_245, "who left, for whoever comes");
    }

    /// @dev By the first members of the committee that can, as many as it takes.
    function slash(uint256 accused) internal {
        bytes32 id;
        for (uint256 i; validators.delegateOf(node(accused)).status != Validators.Status.Slashed; ++i) {
            if (i == accused) continue;
            if (id == 0) id = reportAs(i, accused, validators.currentEpoch(), EVIDENCE);
            else confirmAs(i, id);
        }
    }

    function test_N3_new_keys_are_changes_after_the_others() public {
        for (uint256 i; i < 2; ++i) {
            vm.prank(institution(i));
            validators.rotateKey(consensusKey(20 + i));
        }
        seatTheCandidate();
        pass(1);
        assertEq(validators.committee(102)[0].key, consensusKey(0), "one change, which is the newcomer");
        pass(1);
        assertEq(validators.committee(103)[0].key, consensusKey(20), "then the first key");
        assertEq(validators.committee(103)[1].key, consensusKey(1), "and not the second");
        pass(1);
        assertEq(validators.committee(104)[1].key, consensusKey(21), "then the second");
        assertEq(validators.committee(103)[1].key, consensusKey(1), "an epoch keeps its keys");
        assertEq(validators.accountOf(consensusKey(0)), node(0), "and an old key its account");
    }

    /// @dev N2 and N3 on the way, whatever the votes.
    function testFuzz_the_best_have_the_seats_in_the_end(uint256 seed) public {
        uint256[9] memory votes;
        for (uint256 i; i < 9; ++i) {
            if (i >= 4) registerNode(i);
            // Few different numbers, so that there are ties.
            votes[i] = uint256(keccak256(abi.encode(seed, i))) % 4;
            if (votes[i] != 0) back(i, i, uint32(votes[i]));
        }
        pass(12);
        for (uint256 epoch = 101; epoch < 112; ++epoch) {
            (Validators.Member[] memory old, Validators.Member[] memory next) =
                (validators.committee(epoch), validators.committee(epoch + 1));
            assertTrue(next.length >= 4 && next.length <= SEATS, "N2: size");
            uint256 stay;
            for (uint256 i; i < old.length; ++i) {
                for (uint256 j; j < next.length; ++j) {
                    if (old[i].key == next[j].key) ++stay;
                }
            }
            assertTrue(old.length - stay <= old.length / 3, "N3: who goes");
            assertTrue(next.length - stay <= old.length / 3, "N3: who comes");
        }
        // Whoever has a seat has more votes than who has none, or the same and a lower account.
        bool[9] memory isSeated;
        Validators.Member[] memory members = validators.committee(112);
        for (uint256 i; i < members.length; ++i) {
            isSeated[uint160(members[i].account) - 0xE00] = true;
        }
        for (uint256 i; i < 9; ++i) {
            for (uint256 j; j < 9; ++j) {
                if (!isSeated[i] || isSeated[j] || (j >= 4 && votes[j] == 0)) continue;
                assertTrue(votes[i] > votes[j] || (votes[i] == votes[j] && i < j), "the better one");
            }
        }
    }

    /// @dev As many as there can be, after as long as anybody likes: what the first write costs.
    function test_an_election_fits_a_transaction() public {
        if (isMeasuringCoverage()) return;
        Registry.Founder[] memory members = new Registry.Founder[](128);
        Validators.Founder[] memory nodes = new Validators.Founder[](4);
        for (uint256 i; i < 128; ++i) {
            members[i] = Registry.Founder(address(uint160(0xF000 + i)), InstitutionRole.Hospital);
            if (i < 4) nodes[i] = Validators.Founder(members[i].account, node(i), consensusKey(i), "node:1");
        }
        registry = Registry(deploy("Registry", abi.encode(members)));
        validators = deployValidators(LENGTH, 31, nodes);
        for (uint256 i = 4; i < 128; ++i) {
            vm.prank(members[i].account);
            validators.register(node(i), consensusKey(i), "node:1");
            vm.prank(members[i].account);
            validators.delegate(node(i), uint32(1 + i));
        }
        pass(1000);
        uint256 before = gasleft();
        validators.advance();
        uint256 used = before - gasleft();
        assertEq(validators.committee(1101).length, 31, "all seats");
        assertEq(validators.getValidators()[0], node(97), "to those with most votes");
        // EIP-7825.
        assertTrue(used < 16_777_216, vm.toString(used));
    }

    function test_there_is_room_for_so_many() public {
        Registry.Founder[] memory members = new Registry.Founder[](129);
        Validators.Founder[] memory nodes = new Validators.Founder[](4);
        for (uint256 i; i < 129; ++i) {
            members[i] = Registry.Founder(address(uint160(0xF000 + i)), InstitutionRole.Hospital);
            if (i < 4) nodes[i] = Validators.Founder(members[i].account, node(i), consensusKey(i), "node:1");
        }
        registry = Registry(deploy("Registry", abi.encode(members)));
        validators = deployValidators(LENGTH, 31, nodes);
        for (uint256 i = 4; i < 129; ++i) {
            if (i == 128) vm.expectRevert(abi.encodeWithSelector(Validators.TooManyDelegates.selector, 128));
            vm.prank(members[i].account);
            validators.register(node(i), consensusKey(i), "node:1");
        }
        vm.prank(members[7].account);
        validators.stepDown();
        vm.prank(members[128].account);
        validators.register(node(128), consensusKey(128), "node:1");
        address[] memory all = validators.delegates();
        assertEq(all[7], node(127), "the last took the place that became free");
        assertEq(all[127], node(128), "and the new one the last");
    }

    /* delegates
     * ├── an account, a key: never twice, never zero
     * ├── one that stands for an institution, and another after it left
     * ├── a network address of a bounded size, at once
     * └── what only a standing delegate's institution does → NotStanding
     */

    function test_N5_accounts_and_keys_are_used_once() public {
        registerNode(4);
        vm.expectRevert(abi.encodeWithSelector(Validators.StandsAlready.selector, insurer, candidate));
        vm.prank(insurer);
        validators.register(node(5), consensusKey(5), "node:1");
        vm.startPrank(research);
        vm.expectRevert(Validators.Zero.selector);
        validators.register(address(0), consensusKey(5), "node:1");
        vm.expectRevert(Validators.Zero.selector);
        validators.register(node(5), 0, "node:1");
        vm.expectRevert(abi.encodeWithSelector(Validators.AccountUsed.selector, candidate));
        validators.register(candidate, consensusKey(5), "node:1");
        vm.expectRevert(abi.encodeWithSelector(Validators.KeyUsed.selector, consensusKey(4)));
        validators.register(node(5), consensusKey(4), "node:1");
        vm.stopPrank();

        vm.startPrank(insurer);
        validators.rotateKey(consensusKey(6));
        vm.expectRevert(abi.encodeWithSelector(Validators.KeyUsed.selector, consensusKey(4)));
        validators.rotateKey(consensusKey(4));
        validators.stepDown();
        vm.expectRevert(abi.encodeWithSelector(Validators.AccountUsed.selector, candidate));
        validators.register(candidate, consensusKey(7), "node:1");
        validators.register(node(7), consensusKey(7), "node:1");
        vm.stopPrank();
        assertEq(validators.voterOf(insurer).delegate, node(7), "the latest");
        assertEq(uint256(validators.delegateOf(candidate).status), uint256(Validators.Status.Left), "the one before");
    }

    function test_a_network_address_is_bounded_and_takes_effect_at_once() public {
        vm.startPrank(hospital);
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidLength.selector, 0, 128));
        validators.setNetworkAddress("");
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidLength.selector, 129, 128));
        validators.setNetworkAddress(new bytes(129));
        vm.expectEmit(address(validators));
        emit Validators.NetworkAddressSet(node(0), "elsewhere:2");
        validators.setNetworkAddress("elsewhere:2");
        vm.stopPrank();
        assertEq(validators.committee(100)[0].networkAddress, "elsewhere:2", "at once");
    }

    function test_who_has_no_delegate_changes_none() public {
        vm.startPrank(insurer);
        bytes memory none = abi.encodeWithSelector(Validators.NotStanding.selector, address(0), Validators.Status.None);
        vm.expectRevert(none);
        validators.rotateKey(consensusKey(9));
        vm.expectRevert(none);
        validators.setNetworkAddress("node:2");
        vm.expectRevert(none);
        validators.stepDown();
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(Registry.NotInstitution.selector, stranger));
        vm.prank(stranger);
        validators.register(node(9), consensusKey(9), "node:1");
    }

    function test_the_expelled_are_struck_off_by_anybody() public {
        vm.expectRevert(abi.encodeWithSelector(Validators.InForce.selector, clinic));
        validators.recall(clinic, node(0));
        vm.expectRevert(abi.encodeWithSelector(Validators.InForce.selector, hospital));
        validators.strikeOff(node(0));
        vm.expectRevert(
            abi.encodeWithSelector(Validators.NotStanding.selector, stranger, Validators.Status.None)
        );
        validators.strikeOff(stranger);
        registerNode(4);
        back(4, 4, 300);
        expel(insurer);
        vm.startPrank(stranger);
        vm.expectEmit(address(validators));
        emit Validators.DelegateLeft(candidate);
        validators.strikeOff(candidate);
        vm.expectEmit(address(validators));
        emit Validators.Undelegated(1, insurer, candidate, 300, 100);
        validators.recall(insurer, candidate);
        vm.expectRevert(Validators.NoVotes.selector);
        validators.recall(insurer, candidate);
        vm.stopPrank();
        assertEq(validators.delegates().length, 4, "four stand");
    }

    /* votes
     * ├── 1,000 for each institution, once
     * ├── none, or more than there are → NoVotes, InsufficientVotes
     * ├── only for who stands → NotStanding
     * └── free again after eight epochs, to the block
     */

    function test_N1_every_institution_has_as_many_votes_once() public {
        assertEq(validators.voterOf(research).free, 1000, "before it uses them");
        assertEq(validators.voterOf(stranger).free, 0, "nobody else");
        vm.expectEmit(address(validators));
        emit Validators.VotesGranted(research, 1000);
        vm.expectEmit(address(validators));
        emit Validators.Delegated(research, node(0), 600);
        back(5, 0, 600);
        vm.expectRevert(abi.encodeWithSelector(Validators.InsufficientVotes.selector, research, 400, 401));
        back(5, 0, 401);
        back(5, 1, 400);
        vm.expectRevert(abi.encodeWithSelector(Validators.InsufficientVotes.selector, research, 0, 1));
        back(5, 1, 1);
        vm.expectRevert(Validators.NoVotes.selector);
        back(5, 1, 0);
        vm.expectRevert(
            abi.encodeWithSelector(Validators.NotStanding.selector, candidate, Validators.Status.None)
        );
        back(6, 4, 1);
        Validators.Supply memory supply = validators.supply();
        assertEq(supply.granted, 1000, "granted");
        assertEq(supply.bonded, 1000, "bonded");
        assertEq(validators.bondOf(research, node(0)), 600, "bond");
        assertEq(validators.delegateOf(node(0)).votes, 600, "votes");
    }

    function test_votes_are_free_after_eight_epochs() public {
        back(5, 0, 600);
        vm.startPrank(research);
        vm.expectRevert(abi.encodeWithSelector(Validators.InsufficientVotes.selector, research, 600, 601));
        validators.undelegate(node(0), 601);
        vm.expectRevert(Validators.NoVotes.selector);
        validators.undelegate(node(0), 0);
        vm.roll(101 * LENGTH - 1);
        uint256 id = validators.undelegate(node(0), 200);
        assertEq(validators.unbondingOf(id).undelegatedIn, 100, "in");
        vm.roll(108 * LENGTH - 1);
        vm.expectRevert(abi.encodeWithSelector(Validators.StillUnbonding.selector, id, 108));
        validators.release(id);
        vm.roll(108 * LENGTH);
        vm.expectEmit(address(validators));
        emit Validators.Released(id, research, 200, 0);
        validators.release(id);
        vm.expectRevert(abi.encodeWithSelector(Validators.UnknownUnbonding.selector, id));
        validators.release(id);
        vm.stopPrank();
        assertEq(validators.voterOf(research).free, 600, "free");
        assertEq(validators.delegateOf(node(0)).votes, 400, "the rest backs on");
    }

    /* offences
     * ├── of the future, or more than four epochs ago → InvalidEpoch
     * ├── of who was in no committee then → NotSeated
     * ├── by whoever is no member, or accused, or slashed → NotJuror
     * ├── evidence of none, or too many bytes → InvalidLength
     * ├── reported again while it runs → AlreadyReported; after two epochs, anew
     * ├── confirmed twice by the same → AlreadyConfirmed; too late → CaseClosed; unknown → UnknownCase
     * ├── a quorum: slashed; then → AlreadySlashed
     * ├── an institution's key counts for its node, once
     * └── a slashed one's institution is jailed, whatever it registered since
     */

    function test_an_offence_is_reported_in_its_time_by_a_member() public {
        registerNode(4);
        pass(2);
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidEpoch.selector, 103, 98, 102));
        reportAs(0, 3, 103, EVIDENCE);
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidEpoch.selector, 97, 98, 102));
        reportAs(0, 3, 97, EVIDENCE);
        vm.expectRevert(abi.encodeWithSelector(Validators.NotSeated.selector, candidate, 102));
        reportAs(0, 4, 102, EVIDENCE);
        vm.expectRevert(abi.encodeWithSelector(Validators.NotJuror.selector, candidate, 102));
        reportAs(4, 3, 102, EVIDENCE);
        vm.expectRevert(abi.encodeWithSelector(Validators.NotJuror.selector, node(3), 102));
        reportAs(3, 3, 102, EVIDENCE);
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidLength.selector, 0, 2048));
        reportAs(0, 3, 102, "");
        vm.expectRevert(abi.encodeWithSelector(Validators.InvalidLength.selector, 2049, 2048));
        reportAs(0, 3, 102, new bytes(2049));

        bytes32 id = caseId(node(3), 98, EVIDENCE);
        vm.expectEmit(address(validators));
        emit Validators.Reported(id, node(3), 98, 102, EVIDENCE);
        vm.expectEmit(address(validators));
        emit Validators.Confirmed(id, node(0));
        reportAs(0, 3, 98, EVIDENCE);
        assertEq(validators.caseOf(id).confirmations, 1, "the reporter's");
    }

    function test_N6_a_quorum_of_the_rest_slashes() public {
        back(5, 3, 105);
        bytes32 id = reportAs(0, 3, 100, EVIDENCE);
        vm.expectRevert(abi.encodeWithSelector(Validators.AlreadyConfirmed.selector, id, node(0)));
        confirmAs(0, id);
        vm.expectRevert(abi.encodeWithSelector(Validators.AlreadyConfirmed.selector, id, node(0)));
        vm.prank(hospital);
        validators.confirm(id);
        vm.expectRevert(abi.encodeWithSelector(Validators.NotJuror.selector, node(3), 100));
        confirmAs(3, id);
        vm.expectRevert(abi.encodeWithSelector(Validators.NotJuror.selector, stranger, 100));
        vm.prank(stranger);
        validators.confirm(id);
        vm.expectRevert(abi.encodeWithSelector(Validators.UnknownCase.selector, bytes32("id")));
        confirmAs(1, "id");
        vm.expectRevert(abi.encodeWithSelector(Validators.AlreadyReported.selector, id));
        reportAs(1, 3, 100, EVIDENCE);
        vm.prank(laboratory);
        validators.confirm(id);
        assertEq(uint256(validators.delegateOf(node(3)).status), uint256(Validators.Status.Standing), "two of four");
        vm.expectEmit(address(validators));
        emit Validators.Slashed(id, node(3), emergency, 116);
        confirmAs(2, id);

        Validators.Delegate memory slashed = validators.delegateOf(node(3));
        assertEq(uint256(slashed.status), uint256(Validators.Status.Slashed), "three of four");
        assertEq(slashed.offence, 100, "when");
        vm.expectRevert(abi.encodeWithSelector(Validators.AlreadySlashed.selector, node(3)));
        confirmAs(1, id);
        vm.expectRevert(abi.encodeWithSelector(Validators.AlreadySlashed.selector, node(3)));
        reportAs(1, 3, 100, "other evidence");

        // A tenth of what backed it, and the rest comes back.
        vm.prank(research);
        uint256 votes = validators.undelegate(node(3), 105);
        pass(8);
        vm.expectEmit(address(validators));
        emit Validators.Released(votes, research, 94, 11);
        validators.release(votes);
        assertEq(validators.supply().burnt, 11, "burnt");
        assertEq(validators.voterOf(research).free, 989, "left");
    }

    function test_a_slashed_member_judges_nobody() public {
        slash(3);
        vm.expectRevert(abi.encodeWithSelector(Validators.NotJuror.selector, node(3), 100));
        reportAs(3, 2, 100, EVIDENCE);
    }

    function test_N7_votes_answer_for_what_they_elected() public {
        seatTheCandidate();
        vm.startPrank(research);
        pass(2);
        // Bonded through epoch 102: they elected the committee of 103, and not that of 104.
        uint256 early = validators.undelegate(candidate, 100);
        pass(1);
        uint256 late = validators.undelegate(candidate, 100);
        vm.stopPrank();
        pass(3);
        bytes32 id = reportAs(0, 4, 104, EVIDENCE);
        confirmAs(1, id);
        pass(2);
        confirmAs(2, id);
        assertEq(uint256(validators.delegateOf(candidate).status), uint256(Validators.Status.Standing), "three of five");
        confirmAs(3, id);
        pass(8);
        validators.release(early);
        assertEq(validators.supply().burnt, 0, "before");
        validators.release(late);
        assertEq(validators.supply().burnt, 10, "after");
    }

    function test_what_nobody_confirmed_is_reported_anew() public {
        bytes32 id = reportAs(0, 3, 100, EVIDENCE);
        pass(2);
        confirmAs(1, id);
        pass(1);
        vm.expectRevert(abi.encodeWithSelector(Validators.CaseClosed.selector, id, 102));
        confirmAs(2, id);
        assertEq(reportAs(2, 3, 100, EVIDENCE), id, "the same");
        assertEq(validators.caseOf(id).confirmations, 4, "with its confirmation alone");
        confirmAs(1, id);
        confirmAs(0, id);
        assertEq(uint256(validators.delegateOf(node(3)).status), uint256(Validators.Status.Slashed), "slashed");
    }

    function test_an_institutions_key_acts_for_its_own_node() public {
        // Somebody registers the pharmacy's key as its own node's account: the pharmacy stays what it is.
        vm.prank(insurer);
        validators.register(pharmacy, consensusKey(4), "node:1");
        bytes32 id = reportAs(0, 3, 100, EVIDENCE);
        vm.prank(pharmacy);
        validators.confirm(id);
        assertEq(validators.caseOf(id).confirmations, 5, "the pharmacy's seat");
    }

    function test_N5_a_jailed_institution_has_no_delegate() public {
        vm.startPrank(emergency);
        validators.stepDown();
        validators.register(node(9), consensusKey(9), "node:1");
        vm.stopPrank();
        slash(3);
        assertEq(uint256(validators.delegateOf(node(9)).status), uint256(Validators.Status.Left), "what came after");
        vm.roll(116 * LENGTH - 1);
        vm.expectRevert(abi.encodeWithSelector(Validators.Jailed.selector, emergency, 116));
        vm.prank(emergency);
        validators.register(node(8), consensusKey(8), "node:1");
        vm.roll(116 * LENGTH);
        vm.prank(emergency);
        validators.register(node(8), consensusKey(8), "node:1");
    }
}
