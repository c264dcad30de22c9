// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Registry} from "./Registry.sol";
import {InstitutionRole} from "./Types.sol";

/// @title Validators
/// @notice Which institutions' nodes agree on the order of blocks. The institutions delegate, the contract elects.
/// @dev Holds delegates with their consensus keys and network addresses, the votes of institutions, the committee of
/// each epoch, and proven offences. Holds no money: weight is in votes.
///
/// A **delegate** is the node of one institution, known for life by its account. Accounts are what Besu calls
/// validators; the ed25519 key is what the consortium's own engine signs with.
///
/// **Votes.** Every institution has `GRANT` votes, once in its life, from the moment it first uses them. They cannot be
/// bought, sold or given away: what counts is membership, which the institutions themselves vote on in the `Registry`.
/// Ether of a private network costs nothing to make, and a token would give the richest hospital the ledger.
///
/// **Epochs.** Block `n` belongs to epoch `n / EPOCH_LENGTH`. The committee of an epoch is elected by the votes as they
/// stand at the end of the epoch before the last: all through epoch `e` the committees of `e` and `e + 1` are known with
/// their keys, and nothing that happens in it changes them. Nobody has to send anything for that. Each write first
/// stores the elections that are due, before it changes anything they depend on; the views compute the same.
///
/// **Elections.** The `SEATS` standing delegates with most votes, ties by the lower account, are wanted; each has one
/// seat and all seats are equal. Of `n` keys at most `n / 3` come and at most `n / 3` go with each epoch: first to go are
/// the slashed, then who left, then, where a better one needs the room, who has fewest votes; a new key of a member
/// takes what the bound leaves. Who has no votes takes no seat, and keeps one that nobody else needs. While there are
/// not enough others, whoever should go stays.
///
/// **Evidence.** The EVM cannot check an ed25519 signature at a bearable price. A member of the committee reports the two
/// conflicting messages; every other member's program checks their signatures and confirms. What as many confirm
/// as finalise a block, the accused not counted, is proven.
///
/// INVARIANTS
/// - N1: `granted` is the sum of all free, bonded, unbonding and burnt votes. Only a slashing burns, a tenth.
/// - N2: a committee has at least `MIN_SEATS` and at most `SEATS` members, each account and each key once.
/// - N3: of the `n` keys of an epoch's committee, at most `n / 3` are not in the next, and at most as many are new.
/// - N4: the committees through `currentEpoch() + 1` never change any more, whoever calls what.
/// - N5: an account is a delegate at most once, a key belongs to one account for ever, and an institution has at most
///   one standing delegate, and none while it is jailed.
/// - N6: a delegate is slashed at most once, and only by a quorum of the committee in which it was reported, of which
///   each member confirmed once, none of them the accused.
/// - N7: votes that were bonded when their delegate could still offend for them are free again only after the last
///   epoch in which that offence can be proven.
///
/// ASSUMPTIONS
/// - Safety: fewer than a third of each committee collude, as for agreement itself. The contract cannot tell a
///   signature from noise: members confirm only evidence whose two ed25519 signatures their node has checked. A
///   quorum that lies can slash anybody, and could as well rewrite the chain.
/// - Safety: a majority of the institutions admits nobody for the sake of its votes. A vote is as good as membership.
/// - Safety: whoever keeps a seat for want of others may have nothing bonded any more, and loses only its place.
/// - An institution can register an account or key that somebody else meant to use, which then takes another one.
/// - Liveness: epochs are counted in blocks. Where no blocks come, no epoch ends, and no votes are unbound.
/// - Liveness: who backs a delegate until it is slashed loses with it, whenever the votes came.
contract Validators {
    /* TYPES */

    /// @notice A delegate that the network starts with.
    struct Founder {
        address institution;
        address account;
        bytes32 key;
        bytes networkAddress;
    }

    /// @notice Where a delegate stands.
    enum Status {
        None,
        Standing,
        Left,
        Slashed
    }

    /// @notice A node that can be elected.
    /// @dev One slot, 160 + 32 + 8 + 8 + 40 = 248 bits; 256 bits; the address.
    /// @param votes Votes bonded to it.
    /// @param place Where it is in the list of those that stand.
    /// @param offence The epoch of its offence; zero when it is not slashed.
    /// @param key Its ed25519 key: of its seat from the election that takes it up on.
    /// @param networkAddress Where others dial it, such as `host:port`.
    struct Delegate {
        address institution;
        uint32 votes;
        Status status;
        uint8 place;
        uint40 offence;
        bytes32 key;
        bytes networkAddress;
    }

    /// @notice What an institution has and does here.
    /// @dev One slot: 32 + 8 + 40 + 160 = 240 bits.
    /// @param free Votes that back nobody.
    /// @param granted Whether it was given its votes.
    /// @param jailedUntil The epoch from which it may register a delegate again.
    /// @param delegate Its latest delegate.
    struct Voter {
        uint32 free;
        bool granted;
        uint40 jailedUntil;
        address delegate;
    }

    /// @notice Votes on their way back.
    /// @dev Two slots: 160 + 32 + 40 = 232 bits; 160 bits.
    /// @param undelegatedIn The epoch.
    struct Unbonding {
        address institution;
        uint32 votes;
        uint40 undelegatedIn;
        address account;
    }

    /// @notice All votes there are.
    /// @dev One slot: 128 bits. The rest of `granted` is free.
    struct Supply {
        uint32 granted;
        uint32 bonded;
        uint32 unbonding;
        uint32 burnt;
    }

    /// @notice A place in a committee.
    struct Seat {
        address account;
        bytes32 key;
    }

    /// @notice A seat with all that a node needs to know of it.
    /// @param networkAddress The latest, whatever the epoch.
    struct Member {
        address account;
        address institution;
        bytes32 key;
        bytes networkAddress;
    }

    /// @notice An offence that was reported.
    /// @dev Two slots: 160 + 40 + 40 = 240 bits; 32 bits.
    /// @param epoch The epoch of the offence.
    /// @param reportedIn The epoch whose committee confirms.
    /// @param confirmations Bit `n` is the member at place `n` of that committee.
    struct Case {
        address account;
        uint40 epoch;
        uint40 reportedIn;
        uint32 confirmations;
    }

    /// @dev A committee that differs from the one before it, and the first epoch that it serves.
    struct Election {
        uint40 epoch;
        Seat[] seats;
    }

    /// @dev An election as it is computed. The scores are those of the seats; `best` are those of the delegates that are
    /// wanted, falling, then zeros.
    struct Draft {
        Seat[] seats;
        uint256[] scores;
        uint256[] best;
    }

    /* CONSTANTS */

    /// @notice Votes of an institution.
    uint32 internal constant GRANT = 1000;

    /// @notice Members of the smallest committee. Four bear one that is faulty.
    uint256 internal constant MIN_SEATS = 4;

    /// @notice Members of the largest committee. It bounds what an election costs.
    uint256 internal constant MAX_SEATS = 31;

    /// @notice Delegates that can stand at one time.
    uint256 internal constant MAX_DELEGATES = 128;

    /// @notice Size of a network address, in bytes.
    uint256 internal constant MAX_NETWORK_ADDRESS = 128;

    /// @notice Size of evidence, in bytes. Two signed messages of the engine have about 300.
    uint256 internal constant MAX_EVIDENCE = 2048;

    /// @notice How many epochs after an offence it can be reported.
    uint40 internal constant REPORT_EPOCHS = 4;

    /// @notice How many epochs after the report it can be confirmed.
    uint40 internal constant CONFIRM_EPOCHS = 2;

    /// @notice Epochs from undelegating to release. Votes given back in epoch `e` have still elected the committee of
    /// `e + 1`, whose offence is proven by `e + 1 + REPORT_EPOCHS + CONFIRM_EPOCHS` or never.
    uint40 internal constant UNBONDING_EPOCHS = 1 + REPORT_EPOCHS + CONFIRM_EPOCHS + 1;

    /// @notice Epochs for which the institution of a slashed delegate registers no other.
    uint40 internal constant JAIL_EPOCHS = 16;

    /// @notice Who stands has at least this score; who left has one, who is slashed none.
    uint256 internal constant FIRST_STANDING = 1 << 160;

    /* STORAGE */

    /// @notice Who is an institution.
    Registry public immutable REGISTRY;

    /// @notice Blocks of an epoch.
    uint40 public immutable EPOCH_LENGTH;

    /// @notice Members of the committee, when there are as many delegates with votes.
    uint8 public immutable SEATS;

    /// @notice The last epoch whose committee is stored. The views know `currentEpoch() + 1` as well.
    uint40 public decidedThrough;

    /// @notice `keccak256(abi.encode(epoch, seats))` where another committee begins to serve; zero where the one of the
    /// epoch before serves on. One slot, for whoever proves a committee by the state root.
    mapping(uint256 epoch => bytes32 digest) public committeeDigest;

    /// @notice The delegate to which a consensus key belongs; zero for an unknown key.
    mapping(bytes32 key => address account) public accountOf;

    /// @notice The last identifier of votes on their way back.
    uint256 public unbondingCount;

    Supply private _supply;
    Election[] private _elections;
    address[] private _standing;
    mapping(address account => Delegate) private _delegates;
    mapping(address institution => Voter) private _voters;
    mapping(address institution => mapping(address account => uint32 votes)) private _bonds;
    mapping(uint256 id => Unbonding) private _unbondings;
    mapping(bytes32 id => Case) private _cases;

    /* EVENTS */

    /// @notice `institution` runs a delegate.
    event DelegateRegistered(
        address indexed account, address indexed institution, bytes32 indexed key, bytes networkAddress
    );

    /// @notice The delegate has another key, with which it signs from the election that takes it up on.
    event KeyRotated(address indexed account, bytes32 indexed oldKey, bytes32 indexed newKey);

    /// @notice The delegate is dialled elsewhere from now on.
    event NetworkAddressSet(address indexed account, bytes networkAddress);

    /// @notice The delegate stands for no election any more.
    event DelegateLeft(address indexed account);

    /// @notice An institution has its votes.
    event VotesGranted(address indexed institution, uint32 votes);

    /// @notice An institution backs a delegate.
    event Delegated(address indexed institution, address indexed account, uint32 votes);

    /// @notice An institution backs a delegate no more; the votes are on their way back.
    event Undelegated(
        uint256 indexed id, address indexed institution, address indexed account, uint32 votes, uint40 undelegatedIn
    );

    /// @notice Votes are free again, but for those that were burnt.
    event Released(uint256 indexed id, address indexed institution, uint32 votes, uint32 burnt);

    /// @notice Another committee serves from `epoch` on.
    event CommitteeElected(uint40 indexed epoch, Seat[] seats);

    /// @notice The committees through `epoch` are stored.
    event CommitteesDecided(uint40 indexed epoch);

    /// @notice A member of the committee says that a delegate signed what conflicts.
    /// @param epoch The epoch of the offence.
    /// @param evidence Both signed messages, as the engine encodes them.
    event Reported(
        bytes32 indexed id, address indexed account, uint40 indexed epoch, uint40 reportedIn, bytes evidence
    );

    /// @notice A member of the committee checked the signatures.
    event Confirmed(bytes32 indexed id, address indexed by);

    /// @notice The offence is proven: the delegate is out, and its institution registers no other for a while.
    event Slashed(bytes32 indexed id, address indexed account, address indexed institution, uint40 jailedUntil);

    /* ERRORS */

    /// @notice A number of founders or seats lies outside its bounds.
    error InvalidSize(uint256 given, uint256 least, uint256 most);

    /// @notice A key, an account or the length of an epoch is zero.
    error Zero();

    /// @notice The institution is not in force.
    error NotInForce(address institution);

    /// @notice The institution is in force, and acts for itself.
    error InForce(address institution);

    /// @notice The account was a delegate's before.
    error AccountUsed(address account);

    /// @notice The key is or was a delegate's.
    error KeyUsed(bytes32 key);

    /// @notice The institution has a delegate that stands.
    error StandsAlready(address institution, address account);

    /// @notice The delegate does not stand.
    error NotStanding(address account, Status status);

    /// @notice A delegate of the institution was slashed, and the time is not over.
    error Jailed(address institution, uint40 until);

    /// @notice There is no place for another delegate.
    error TooManyDelegates(uint256 limit);

    /// @notice A network address or evidence is empty or too long, in bytes.
    error InvalidLength(uint256 size, uint256 limit);

    /// @notice Nothing cannot be moved.
    error NoVotes();

    /// @notice There are fewer votes than asked for.
    error InsufficientVotes(address institution, uint32 votes, uint32 needed);

    /// @notice No votes are on their way back under that identifier.
    error UnknownUnbonding(uint256 id);

    /// @notice The votes are not free before that epoch.
    error StillUnbonding(uint256 id, uint40 until);

    /// @notice The committee of that epoch is not decided yet.
    error NotDecided(uint256 epoch, uint256 latest);

    /// @notice The delegate was not in the committee of that epoch.
    error NotSeated(address account, uint40 epoch);

    /// @notice Whoever calls does not judge this: no member of that committee, the accused, or slashed.
    error NotJuror(address caller, uint40 epoch);

    /// @notice The offence lies too far back, or ahead.
    error InvalidEpoch(uint40 given, uint256 least, uint256 most);

    /// @notice The delegate is slashed.
    error AlreadySlashed(address account);

    /// @notice That evidence is reported, and can be confirmed.
    error AlreadyReported(bytes32 id);

    /// @notice There is no such report.
    error UnknownCase(bytes32 id);

    /// @notice It was not confirmed by the end of that epoch.
    error CaseClosed(bytes32 id, uint40 last);

    /// @notice That member confirmed before.
    error AlreadyConfirmed(bytes32 id, address account);

    /* FUNCTIONS */

    /// @notice Starts with the founders' nodes as the committee of all epochs until the one after this.
    /// @param epochLength Blocks of an epoch.
    /// @param seats Members of the committee at the most, from `MIN_SEATS` to `MAX_SEATS`.
    /// @param founders At least `MIN_SEATS`, of different institutions in force.
    constructor(Registry registry, uint40 epochLength, uint8 seats, Founder[] memory founders) {
        if (epochLength == 0) revert Zero();
        if (seats < MIN_SEATS || seats > MAX_SEATS) revert InvalidSize(seats, MIN_SEATS, MAX_SEATS);
        if (founders.length < MIN_SEATS || founders.length > seats) {
            revert InvalidSize(founders.length, MIN_SEATS, seats);
        }
        (REGISTRY, EPOCH_LENGTH, SEATS) = (registry, epochLength, seats);
        decidedThrough = uint40(block.number / epochLength) + 1;

        Seat[] memory committee_ = new Seat[](founders.length);
        for (uint256 i; i < founders.length; ++i) {
            Founder memory founder = founders[i];
            if (registry.roleOf(founder.institution) == InstitutionRole.None) revert NotInForce(founder.institution);
            _register(founder.institution, founder.account, founder.key, founder.networkAddress);
            _insert(committee_, i, Seat(founder.account, founder.key));
        }
        _store(0, committee_);
        emit CommitteesDecided(decidedThrough);
    }

    /* Delegates */

    /// @notice Registers the node of the caller's institution.
    /// @param account The node's address, never used before.
    /// @param key The node's ed25519 key, never used before.
    /// @param networkAddress At most `MAX_NETWORK_ADDRESS` bytes.
    function register(address account, bytes32 key, bytes calldata networkAddress) external {
        address institution = REGISTRY.institution(msg.sender);
        _advance();
        uint40 until = _voters[institution].jailedUntil;
        if (currentEpoch() < until) revert Jailed(institution, until);

        _register(institution, account, key, networkAddress);
    }

    /// @notice Gives the caller's delegate another consensus key. Its seat has it from the election that takes it up on.
    function rotateKey(bytes32 key) external {
        address account = _requireDelegate();
        _advance();

        Delegate storage delegate_ = _delegates[account];
        bytes32 oldKey = delegate_.key;
        _takeKey(key, account);

        emit KeyRotated(account, oldKey, key);
    }

    /// @notice Says where the caller's delegate is dialled, at once.
    function setNetworkAddress(bytes calldata networkAddress) external {
        address account = _requireDelegate();
        _requireLength(networkAddress.length, MAX_NETWORK_ADDRESS);
        _advance();

        _delegates[account].networkAddress = networkAddress;

        emit NetworkAddressSet(account, networkAddress);
    }

    /// @notice Takes the caller's delegate out of all elections to come. It serves until one has replaced it.
    function stepDown() external {
        address account = _requireDelegate();
        _advance();

        _leave(account);
    }

    /// @notice Takes a delegate out whose institution was expelled. Anybody can.
    function strikeOff(address account) external {
        Delegate storage delegate_ = _delegates[account];
        if (delegate_.status != Status.Standing) revert NotStanding(account, delegate_.status);
        _requireOutOfForce(delegate_.institution);
        _advance();

        _leave(account);
    }

    /* Votes */

    /// @notice Backs a delegate with free votes of the caller's institution.
    function delegate(address account, uint32 votes) external {
        address institution = REGISTRY.institution(msg.sender);
        Delegate storage delegate_ = _delegates[account];
        if (delegate_.status != Status.Standing) revert NotStanding(account, delegate_.status);
        if (votes == 0) revert NoVotes();
        _advance();
        Voter storage voter = _voters[institution];
        if (!voter.granted) {
            (voter.granted, voter.free) = (true, GRANT);
            _supply.granted += GRANT;
            emit VotesGranted(institution, GRANT);
        }
        if (voter.free < votes) revert InsufficientVotes(institution, voter.free, votes);

        voter.free -= votes;
        _bonds[institution][account] += votes;
        delegate_.votes += votes;
        _supply.bonded += votes;

        emit Delegated(institution, account, votes);
    }

    /// @notice Backs a delegate no more. The votes are free after `UNBONDING_EPOCHS`.
    /// @return id By which they are released.
    function undelegate(address account, uint32 votes) external returns (uint256 id) {
        address institution = REGISTRY.institution(msg.sender);
        uint32 bond = _bonds[institution][account];
        if (votes == 0) revert NoVotes();
        if (bond < votes) revert InsufficientVotes(institution, bond, votes);
        _advance();

        return _undelegate(institution, account, votes);
    }

    /// @notice Takes the votes of an expelled institution from a delegate. Anybody can.
    /// @return id By which they are released, for the day it is admitted again.
    function recall(address institution, address account) external returns (uint256 id) {
        _requireOutOfForce(institution);
        uint32 bond = _bonds[institution][account];
        if (bond == 0) revert NoVotes();
        _advance();

        return _undelegate(institution, account, bond);
    }

    /// @notice Frees votes whose time is over. Anybody can, for whose they are.
    function release(uint256 id) external {
        Unbonding memory unbonding = _unbondings[id];
        if (unbonding.votes == 0) revert UnknownUnbonding(id);
        uint40 until = unbonding.undelegatedIn + UNBONDING_EPOCHS;
        if (currentEpoch() < until) revert StillUnbonding(id, until);
        _advance();

        Delegate storage delegate_ = _delegates[unbonding.account];
        bool liable = delegate_.status == Status.Slashed && delegate_.offence <= unbonding.undelegatedIn + 1;
        uint32 burnt = liable ? (unbonding.votes + 9) / 10 : 0;
        delete _unbondings[id];
        _voters[unbonding.institution].free += unbonding.votes - burnt;
        _supply.unbonding -= unbonding.votes;
        _supply.burnt += burnt;

        emit Released(id, unbonding.institution, unbonding.votes - burnt, burnt);
    }

    /* Offences */

    /// @notice Reports that a delegate signed two messages of which an honest one signs one, and confirms it.
    /// @dev Called by a member of the present committee, with its account or its institution's key. The caller's
    /// program has checked both signatures. What nobody confirmed in time can be reported again.
    /// @param epoch The epoch of the offence, at most `REPORT_EPOCHS` ago.
    /// @param evidence Both messages with their signatures, at most `MAX_EVIDENCE` bytes.
    /// @return id `keccak256(abi.encode(account, epoch, keccak256(evidence)))`.
    function report(address account, uint40 epoch, bytes calldata evidence) external returns (bytes32 id) {
        if (_delegates[account].status == Status.Slashed) revert AlreadySlashed(account);
        uint40 now_ = currentEpoch();
        if (epoch > now_ || epoch + REPORT_EPOCHS < now_) {
            revert InvalidEpoch(epoch, now_ < REPORT_EPOCHS ? 0 : now_ - REPORT_EPOCHS, now_);
        }
        _requireLength(evidence.length, MAX_EVIDENCE);
        _advance();
        if (_placeOf(account, epoch) == MAX_SEATS) revert NotSeated(account, epoch);
        id = keccak256(abi.encode(account, epoch, keccak256(evidence)));
        Case storage case_ = _cases[id];
        if (case_.account != address(0) && case_.reportedIn + CONFIRM_EPOCHS >= now_) revert AlreadyReported(id);

        _cases[id] = Case(account, epoch, now_, 0);

        emit Reported(id, account, epoch, now_, evidence);

        _confirm(id);
    }

    /// @notice Says that the reported signatures are what they are said to be.
    /// @dev Called by a member of the committee that served when it was reported, as `report` is. The last that is
    /// needed slashes.
    function confirm(bytes32 id) external {
        Case storage case_ = _cases[id];
        address account = case_.account;
        if (account == address(0)) revert UnknownCase(id);
        if (_delegates[account].status == Status.Slashed) revert AlreadySlashed(account);
        uint40 last = case_.reportedIn + CONFIRM_EPOCHS;
        if (currentEpoch() > last) revert CaseClosed(id, last);
        _advance();

        _confirm(id);
    }

    /* Epochs */

    /// @notice Stores the elections that are due. Anybody can, and nobody must.
    function advance() external {
        _advance();
    }

    /// @notice The epoch of this block.
    function currentEpoch() public view returns (uint40) {
        return uint40(block.number / EPOCH_LENGTH);
    }

    /// @notice The committee of an epoch, by rising accounts, through the one after this.
    function committee(uint256 epoch) external view returns (Member[] memory members) {
        Seat[] memory seats = _committee(epoch);
        members = new Member[](seats.length);
        for (uint256 i; i < seats.length; ++i) {
            Delegate storage delegate_ = _delegates[seats[i].account];
            members[i] =
                Member(seats[i].account, delegate_.institution, seats[i].key, delegate_.networkAddress);
        }
    }

    /// @notice The accounts of the committee that agrees on the block after this one, by rising value.
    /// @dev Besu's QBFT asks so for the validators of a block, at its parent.
    function getValidators() external view returns (address[] memory accounts) {
        Seat[] memory seats = _committee((block.number + 1) / EPOCH_LENGTH);
        accounts = new address[](seats.length);
        for (uint256 i; i < seats.length; ++i) {
            accounts[i] = seats[i].account;
        }
    }

    /* Views */

    /// @notice The accounts of all delegates that stand, in no order.
    function delegates() external view returns (address[] memory) {
        return _standing;
    }

    /// @notice All that is stored of a delegate.
    function delegateOf(address account) external view returns (Delegate memory) {
        return _delegates[account];
    }

    /// @notice What an institution has and does here; its votes also before it first uses them.
    function voterOf(address institution) external view returns (Voter memory voter) {
        voter = _voters[institution];
        if (!voter.granted && REGISTRY.roleOf(institution) != InstitutionRole.None) voter.free = GRANT;
    }

    /// @notice With how many votes an institution backs a delegate.
    function bondOf(address institution, address account) external view returns (uint32) {
        return _bonds[institution][account];
    }

    /// @notice Votes on their way back; all zero when there are none.
    function unbondingOf(uint256 id) external view returns (Unbonding memory) {
        return _unbondings[id];
    }

    /// @notice A report; all zero when there is none.
    function caseOf(bytes32 id) external view returns (Case memory) {
        return _cases[id];
    }

    /// @notice All votes there are.
    function supply() external view returns (Supply memory) {
        return _supply;
    }

    /* Internal: delegates and votes */

    function _register(address institution, address account, bytes32 key, bytes memory networkAddress) private {
        if (account == address(0)) revert Zero();
        if (_delegates[account].status != Status.None) revert AccountUsed(account);
        Voter storage voter = _voters[institution];
        if (_delegates[voter.delegate].status == Status.Standing) revert StandsAlready(institution, voter.delegate);
        _requireLength(networkAddress.length, MAX_NETWORK_ADDRESS);
        uint256 place = _standing.length;
        if (place == MAX_DELEGATES) revert TooManyDelegates(MAX_DELEGATES);

        _standing.push(account);
        voter.delegate = account;
        Delegate storage delegate_ = _delegates[account];
        (delegate_.institution, delegate_.status, delegate_.place) = (institution, Status.Standing, uint8(place));
        delegate_.networkAddress = networkAddress;
        _takeKey(key, account);

        emit DelegateRegistered(account, institution, key, networkAddress);
    }

    function _takeKey(bytes32 key, address account) private {
        if (key == 0) revert Zero();
        if (accountOf[key] != address(0)) revert KeyUsed(key);

        accountOf[key] = account;
        _delegates[account].key = key;
    }

    function _leave(address account) private {
        _unlist(account);
        _delegates[account].status = Status.Left;

        emit DelegateLeft(account);
    }

    /// @dev The last of the list takes the place.
    function _unlist(address account) private {
        uint8 place = _delegates[account].place;
        address last = _standing[_standing.length - 1];
        _standing[place] = last;
        _delegates[last].place = place;
        _standing.pop();
    }

    function _undelegate(address institution, address account, uint32 votes) private returns (uint256 id) {
        _bonds[institution][account] -= votes;
        _delegates[account].votes -= votes;
        (_supply.bonded, _supply.unbonding) = (_supply.bonded - votes, _supply.unbonding + votes);
        id = ++unbondingCount;
        uint40 now_ = currentEpoch();
        _unbondings[id] = Unbonding(institution, votes, now_, account);

        emit Undelegated(id, institution, account, votes, now_);
    }

    /* Internal: offences */

    function _confirm(bytes32 id) private {
        Case storage case_ = _cases[id];
        (address account, uint40 reportedIn) = (case_.account, case_.reportedIn);
        address by = _callersDelegate();
        uint256 place = _placeOf(by, reportedIn);
        if (place == MAX_SEATS || by == account || _delegates[by].status == Status.Slashed) {
            revert NotJuror(by, reportedIn);
        }
        uint32 confirmations = case_.confirmations;
        if (confirmations & uint32(1 << place) != 0) revert AlreadyConfirmed(id, by);

        confirmations |= uint32(1 << place);
        case_.confirmations = confirmations;

        emit Confirmed(id, by);

        uint256 size = _elections[_indexAt(reportedIn)].seats.length;
        uint256 count;
        for (uint256 i; i < size; ++i) {
            count += (confirmations >> i) & 1;
        }
        if (count >= size - (size - 1) / 3) _slash(id, account, case_.epoch);
    }

    function _slash(bytes32 id, address account, uint40 offence) private {
        Delegate storage delegate_ = _delegates[account];
        address institution = delegate_.institution;
        if (delegate_.status == Status.Standing) _unlist(account);
        (delegate_.status, delegate_.offence) = (Status.Slashed, offence);
        Voter storage voter = _voters[institution];
        uint40 until = currentEpoch() + JAIL_EPOCHS;
        voter.jailedUntil = until;

        emit Slashed(id, account, institution, until);

        // One that the institution registered after this one left.
        if (_delegates[voter.delegate].status == Status.Standing) _leave(voter.delegate);
    }

    /// @dev The delegate for which the caller acts. The key of an institution in force acts for that institution's,
    /// whoever registered the same address as an account.
    function _callersDelegate() private view returns (address) {
        (address member,, uint40 until) = REGISTRY.keyOf(msg.sender);
        bool isInstitution = until == 0 && REGISTRY.roleOf(member) != InstitutionRole.None;
        return isInstitution ? _voters[member].delegate : msg.sender;
    }

    /// @dev The place of an account in a stored committee; `MAX_SEATS` when it has none.
    function _placeOf(address account, uint40 epoch) private view returns (uint256) {
        Seat[] storage seats = _elections[_indexAt(epoch)].seats;
        uint256 size = seats.length;
        for (uint256 i; i < size; ++i) {
            if (seats[i].account == account) return i;
        }
        return MAX_SEATS;
    }

    /* Internal: elections */

    /// @dev Before anything changes on which elections depend. What is not changed any more by one epoch is not
    /// changed by the next, so the loop ends, however many epochs have passed.
    function _advance() private {
        (uint40 decided, uint40 due) = (decidedThrough, currentEpoch() + 1);
        if (decided >= due) return;
        Draft memory draft = _draft();
        for (uint40 epoch = decided + 1; epoch <= due && _elect(draft); ++epoch) {
            _store(epoch, draft.seats);
        }
        decidedThrough = due;

        emit CommitteesDecided(due);
    }

    function _store(uint40 epoch, Seat[] memory seats) private {
        Election storage election = _elections.push();
        election.epoch = epoch;
        for (uint256 i; i < seats.length; ++i) {
            election.seats.push(seats[i]);
        }
        committeeDigest[epoch] = keccak256(abi.encode(epoch, seats));

        emit CommitteeElected(epoch, seats);
    }

    function _committee(uint256 epoch) private view returns (Seat[] memory) {
        uint256 decided = decidedThrough;
        if (epoch <= decided) return _elections[_indexAt(epoch)].seats;
        uint256 latest = uint256(currentEpoch()) + 1;
        // At the last block of an epoch, Besu asks for the first of the next, which is decided.
        if (epoch > latest) revert NotDecided(epoch, latest);
        Draft memory draft = _draft();
        for (; decided < epoch && _elect(draft); ++decided) {}
        return draft.seats;
    }

    /// @dev The stored committee that serves in an epoch.
    function _indexAt(uint256 epoch) private view returns (uint256 least) {
        uint256 above = _elections.length;
        while (above - least > 1) {
            uint256 middle = (least + above) / 2;
            if (_elections[middle].epoch <= epoch) least = middle;
            else above = middle;
        }
    }

    /// @dev The last stored committee, and who is wanted.
    function _draft() private view returns (Draft memory draft) {
        draft.seats = _elections[_elections.length - 1].seats;
        draft.scores = _scoresOf(draft.seats);
        draft.best = new uint256[](SEATS);
        address[] memory standing = _standing;
        uint256 count;
        for (uint256 i; i < standing.length; ++i) {
            uint256 score = _scoreOf(standing[i]);
            bool hasVotes = score >= 2 * FIRST_STANDING;
            if (!hasVotes && !_contains(draft.scores, score)) continue;
            if (count == SEATS && score < draft.best[count - 1]) continue;
            if (count < SEATS) ++count;
            uint256 place = count - 1;
            for (; place > 0 && draft.best[place - 1] < score; --place) {
                draft.best[place] = draft.best[place - 1];
            }
            draft.best[place] = score;
        }
    }

    function _scoresOf(Seat[] memory seats) private view returns (uint256[] memory scores) {
        scores = new uint256[](seats.length);
        for (uint256 i; i < seats.length; ++i) {
            scores[i] = _scoreOf(seats[i].account);
        }
    }

    /// @dev Of two that stand, more votes are more, then the lower account. Never the same for two that stand.
    function _scoreOf(address account) private view returns (uint256) {
        Delegate storage delegate_ = _delegates[account];
        Status status = delegate_.status;
        if (status == Status.Standing) {
            return (uint256(delegate_.votes) + 1) * FIRST_STANDING + (type(uint160).max - uint160(account));
        }
        return status == Status.Left ? 1 : 0;
    }

    /// @dev Makes the committee of one epoch that of the next, and says whether it differs.
    function _elect(Draft memory draft) private view returns (bool differs) {
        uint256 most = draft.seats.length / 3;
        (uint256[] memory coming, uint256 comes) = _coming(draft, most);
        uint256 goes = _going(draft.scores, comes, most);
        uint256 moves = comes > goes ? comes : goes;

        Seat[] memory seats = new Seat[](draft.seats.length + comes - goes);
        uint256 count = _keep(draft, goes, seats);
        differs = _rotate(seats, count, most - moves) || moves != 0;
        for (uint256 i; i < comes; ++i) {
            address account = address(type(uint160).max - uint160(coming[i]));
            _insert(seats, count++, Seat(account, _delegates[account].key));
        }
        (draft.seats, draft.scores) = (seats, _scoresOf(seats));
    }

    /// @dev The best that have no seat, at most so many.
    function _coming(Draft memory draft, uint256 most) private pure returns (uint256[] memory coming, uint256 count) {
        coming = new uint256[](most);
        for (uint256 i; i < draft.best.length && count < most; ++i) {
            uint256 score = draft.best[i];
            if (score != 0 && !_contains(draft.scores, score)) coming[count++] = score;
        }
    }

    /// @dev How many go, at most so many, when so many come.
    function _going(uint256[] memory scores, uint256 comes, uint256 most) private view returns (uint256 count) {
        for (uint256 i; i < scores.length && count < most; ++i) {
            if (scores[i] < FIRST_STANDING) ++count;
        }
        uint256 size = scores.length + comes;
        if (size < count + MIN_SEATS) count = size - MIN_SEATS;
        // Of all who stand, the worst make room: never one that is wanted.
        if (size > count + SEATS) count = size - SEATS;
    }

    /// @dev Copies all but so many of the lowest scores, and says how many these are.
    function _keep(Draft memory draft, uint256 goes, Seat[] memory seats) private pure returns (uint256 count) {
        bool[] memory isGoing = _lowest(draft.scores, goes);
        for (uint256 i; i < draft.seats.length; ++i) {
            if (!isGoing[i]) seats[count++] = draft.seats[i];
        }
    }

    /// @dev Gives at most so many of the first seats the new keys of their delegates.
    function _rotate(Seat[] memory seats, uint256 count, uint256 most) private view returns (bool differs) {
        for (uint256 i; i < count && most != 0; ++i) {
            Delegate storage delegate_ = _delegates[seats[i].account];
            bytes32 key = delegate_.key;
            if (delegate_.status != Status.Standing || seats[i].key == key) continue;
            seats[i] = Seat(seats[i].account, key);
            (differs, most) = (true, most - 1);
        }
    }

    /// @dev The places of the lowest scores; of equal ones, the first.
    function _lowest(uint256[] memory scores, uint256 count) private pure returns (bool[] memory isLowest) {
        isLowest = new bool[](scores.length);
        for (; count > 0; --count) {
            uint256 lowest;
            uint256 score = type(uint256).max;
            for (uint256 i; i < scores.length; ++i) {
                if (!isLowest[i] && scores[i] < score) (lowest, score) = (i, scores[i]);
            }
            isLowest[lowest] = true;
        }
    }

    /// @dev Puts a seat among the first `count`, which rise by account.
    function _insert(Seat[] memory seats, uint256 count, Seat memory seat) private pure {
        for (; count > 0 && seats[count - 1].account > seat.account; --count) {
            seats[count] = seats[count - 1];
        }
        seats[count] = seat;
    }

    function _contains(uint256[] memory values, uint256 value) private pure returns (bool) {
        for (uint256 i; i < values.length; ++i) {
            if (values[i] == value) return true;
        }
        return false;
    }

    /* Internal: conditions */

    /// @dev The standing delegate of the caller's institution.
    function _requireDelegate() private view returns (address account) {
        account = _voters[REGISTRY.institution(msg.sender)].delegate;
        Status status = _delegates[account].status;
        if (status != Status.Standing) revert NotStanding(account, status);
    }

    function _requireOutOfForce(address institution) private view {
        if (REGISTRY.roleOf(institution) != InstitutionRole.None) revert InForce(institution);
    }

    function _requireLength(uint256 size, uint256 limit) private pure {
        if (size == 0 || size > limit) revert InvalidLength(size, limit);
    }
}
