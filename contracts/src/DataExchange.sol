// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {makeId} from "./Ids.sol";
import {Purse} from "./Purse.sol";
import {Registry} from "./Registry.sol";
import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title DataExchange
/// @notice Data for research: what is offered, which study may use it, who consents, what was counted,
/// delivered and used, and how the price is shared with the patients.
/// @dev Holds offers, studies with the committee's approvals, each patient's consent over time, the digests of
/// cohort queries, and orders with their escrow. Holds no data and no question: those are behind digests.
///
///     study: Proposed -> Approved -> Ended
///     order: Placed -> Delivered -> Settled
///               |          |-> Disputed -> Settled or Refunded
///               +-> Refunded, when nothing was delivered in time, or when a patient in it had not consented
///
/// The **committee** of a study are privacy officers and auditors of institutions other than the study's own;
/// `COMMITTEE` institutions that are in force when the last of them approves must approve, and a regulator's auditor
/// ends a study at any time.
///
/// The patients in an extract are the leaves of a Merkle tree, pairs hashed in order, each
/// `keccak256(bytes.concat(keccak256(abi.encode(order, patient, salt))))`. Source and patient know the salt.
///
/// INVARIANTS
/// - X1: a study asks for consent, counts, orders, is delivered to and uses only while it is approved by the committee,
///   not ended, in its period, and its institution in force.
/// - X2: a withdrawal of consent never fails; no patient is paid for, and no study may rely on, an extract that
///   was delivered while that patient's consent did not stand. Who shows such a patient voids the order.
/// - X3: a count is a multiple of `CELL`, and zero says "fewer than `CELL`"; no query is answered twice by one source to
///   one study, none that differs from an earlier cohort by 1 to `CELL - 1` people, and at most `MAX_QUERIES`.
/// - X4: an extract is of at least `CELL` patients.
/// - X5: money is conserved: the price of an order goes back to the buyer, or is shared. Then the source has what the
///   offer leaves it, whatever number of patients it says; the patients' part is divided evenly, and what the division
///   leaves over, or nobody claimed within `CLAIM_PERIOD`, is the buyer's. A patient is paid once per order.
/// - X6: extracts are delivered and uses recorded only by who knows of every withdrawal so far, and uses never after
///   a refund.
/// - X7: a source delivers an extract to one order only.
/// - X8: nobody decides about a study or a dispute of their own institution.
///
/// ASSUMPTIONS
/// - Safety: a source counts rightly and compares each cohort with all that it answered before. The contract refuses
///   what it says is too close, and keeps who said so.
/// - Safety: a source says rightly how many patients are in an extract. By too many it gains nothing; but each share is
///   smaller, and the rest is the buyer's in the end, so source and buyer can agree on it. Too few void the order once
///   a patient comes for a share and there is none left.
/// - Safety: who has read an extract has read it. Withdrawing binds what comes after.
/// - Safety: anybody can consent and withdraw, and make sources and researchers look again. It costs them a call each.
/// - Liveness: a delivery to a buyer that was expelled, who cannot dispute it, waits for a regulator's auditor as well.
/// - Liveness: a dispute waits for an auditor of a regulator that is neither buyer nor source.
contract DataExchange is Purse {
    /* TYPES */

    /// @notice Where a study stands; time alone tells whether an approved one is in its period.
    enum Standing {
        None,
        Proposed,
        Approved,
        Ended
    }

    /// @notice Where an order stands.
    enum State {
        None,
        Placed,
        Delivered,
        Disputed,
        Settled,
        Refunded
    }

    /// @dev Four slots: 160 + 8 + 16 = 184 bits; 128 bits; 256 bits twice.
    /// @param open Whether it can be ordered.
    /// @param patientShare Of the price, in hundredths of a percent.
    /// @param price Of one extract, in the token's smallest unit.
    /// @param dataset Digest of what is offered.
    /// @param terms Digest of the terms of use.
    struct Offer {
        address source;
        bool open;
        uint16 patientShare;
        uint128 price;
        bytes32 dataset;
        bytes32 terms;
    }

    /// @dev Three slots: 160 + 8 + 8 + 40 + 32 = 248 bits; 256 bits; 48 bits.
    /// @param approvals Institutions that approved, and were in force when the latest of them did.
    /// @param until Unix time, in seconds; the first second without use.
    /// @param withdrawals How often a consent to it was withdrawn.
    /// @param protocol Digest of purpose and protocol.
    /// @param changes How often a consent to it was given or withdrawn.
    struct Study {
        address institution;
        Standing standing;
        uint8 approvals;
        uint40 until;
        uint32 withdrawals;
        bytes32 protocol;
        uint48 changes;
    }

    /// @dev Eight slots: 256 bits; 256 bits; 160 + 8 + 40 + 8 = 216 bits; 128 + 128 bits; 256 bits; 256 bits;
    /// 32 + 32 + 32 + 48 = 144 bits; 256 bits.
    /// @param breached Whether somebody showed a patient without consent, or more patients than there should be.
    /// @param since When it came to its state, Unix time in seconds.
    /// @param forEach What each patient is paid; zero before it is settled, and after the rest went back.
    /// @param extract Digest of the extract, as sealed to the buyer.
    /// @param patients Root of the tree of patients.
    /// @param uses Recorded uses.
    /// @param change The study's last change of a consent before it was delivered: it counts what stood then. Times
    /// would not tell what came first within a block.
    /// @param useHead Zero, then `keccak256(abi.encode(previous, number, receipt))`.
    struct Order {
        bytes32 study;
        bytes32 offer;
        address buyer;
        State state;
        uint40 since;
        bool breached;
        uint128 price;
        uint128 forEach;
        bytes32 extract;
        bytes32 patients;
        uint32 count;
        uint32 paid;
        uint32 uses;
        uint48 change;
        bytes32 useHead;
    }

    /* CONSTANTS */

    /// @notice The smallest cell that is told.
    uint256 internal constant CELL = 5;

    /// @notice Queries of one study that one source answers.
    uint256 internal constant MAX_QUERIES = 64;

    /// @notice Institutions that must approve a study.
    uint256 internal constant COMMITTEE = 2;

    /// @notice The longest study.
    uint256 internal constant MAX_STUDY = 10 * 366 days;

    /// @notice How soon an order is delivered.
    uint256 internal constant DELIVERY_PERIOD = 30 days;

    /// @notice How long the buyer has to dispute.
    uint256 internal constant DISPUTE_PERIOD = 14 days;

    /// @notice How long patients have to claim their shares of a settled order.
    uint256 internal constant CLAIM_PERIOD = 365 days;

    /// @notice A whole, in hundredths of a percent.
    uint256 internal constant WHOLE = 10_000;

    /* STORAGE */

    mapping(bytes32 id => Offer) private _offers;
    mapping(bytes32 id => Study) private _studies;
    mapping(bytes32 id => Order) private _orders;
    mapping(bytes32 study => mapping(address institution => bool)) private _approved;
    mapping(bytes32 study => address[] institutions) private _approvals;

    // At which change of the study each consent was given, withdrawn, given again and so on.
    mapping(bytes32 study => mapping(address patient => uint48[])) private _consents;

    mapping(bytes32 study => mapping(address source => uint256)) private _queries;
    mapping(bytes32 study => mapping(address source => mapping(bytes32 query => bool))) private _answered;
    mapping(bytes32 order => mapping(address patient => bool)) private _paid;
    mapping(address source => mapping(bytes32 extract => bool)) private _delivered;

    /* EVENTS */

    /// @notice A source offers data.
    event DataOffered(bytes32 indexed id, address indexed source, Offer offer);

    /// @notice It can be ordered no more.
    event OfferClosed(bytes32 indexed id, address indexed source);

    /// @notice A researcher proposes a study.
    event StudyProposed(
        bytes32 indexed id, address indexed institution, address indexed by, uint40 until, bytes32 protocol
    );

    /// @notice A member of the committee approved.
    /// @param complete Whether the study may begin.
    event StudyApproved(
        bytes32 indexed id, address indexed institution, address indexed by, bytes32 opinion, bool complete
    );

    /// @notice The study may use nothing any more.
    event StudyEnded(bytes32 indexed id, address indexed by, bytes32 reason);

    /// @notice A patient lets the study use data about them.
    event StudyConsented(bytes32 indexed study, address indexed patient);

    /// @notice A patient does no more.
    event StudyConsentWithdrawn(bytes32 indexed study, address indexed patient, uint32 withdrawals);

    /// @notice A source answered how many.
    /// @param query Digest of the question.
    /// @param count A multiple of `CELL`; zero for fewer than `CELL`.
    event CohortCounted(
        bytes32 indexed study, address indexed source, bytes32 indexed query, uint32 count, uint32 leastDifference
    );

    /// @notice An extract is ordered, and its price set aside.
    event ExtractOrdered(
        bytes32 indexed id, bytes32 indexed study, bytes32 indexed offer, address buyer, uint128 price, bytes32 query
    );

    /// @notice The extract is there, sealed to the buyer.
    event ExtractDelivered(
        bytes32 indexed id, address indexed source, bytes32 extract, bytes32 patients, uint32 count
    );

    /// @notice The buyer does not accept it.
    event OrderDisputed(bytes32 indexed id, address indexed by, bytes32 reason);

    /// @notice The price is the source's and the patients', but for what the division left over.
    event OrderSettled(
        bytes32 indexed id, address indexed source, uint128 toSource, uint128 forEach, uint32 count, uint128 toBuyer
    );

    /// @notice The price is the buyer's again.
    event OrderRefunded(bytes32 indexed id, address indexed buyer, uint128 price);

    /// @notice A patient has their share.
    event PatientPaid(bytes32 indexed id, address indexed patient, uint128 amount);

    /// @notice Somebody showed a patient who had not consented when the extract was delivered.
    event ConsentBreached(bytes32 indexed id, address indexed patient, address indexed by);

    /// @notice What no patient claimed is the buyer's again.
    event SharesReturned(bytes32 indexed id, address indexed buyer, uint32 unpaid, uint128 amount);

    /// @notice A patient in the extract had no share left: there are more patients than the source said.
    event CountBreached(bytes32 indexed id, address indexed patient, uint32 count);

    /// @notice The buyer used the extract.
    event ExtractUsed(bytes32 indexed id, address indexed by, uint32 number, bytes32 receipt, bytes32 head);

    /* ERRORS */

    /// @notice The professional's role or institution does not do this.
    error NotAllowed(address professional, ProfessionalRole role, address institution);

    /// @notice The caller is no party to this.
    error NotParty(address caller);

    /// @notice The identifier was used before.
    error AlreadyUsed(bytes32 id);

    /// @notice A digest that must be given is zero.
    error Zero();

    /// @notice The share is more than a whole.
    error InvalidShare(uint16 given, uint256 most);

    /// @notice The time lies outside its bounds, in seconds.
    error InvalidTime(uint256 given, uint256 least, uint256 most);

    /// @notice The study is not where this can be done.
    error WrongStanding(bytes32 study, Standing standing);

    /// @notice The institution was expelled.
    error NotInForce(address institution);

    /// @notice The study is over.
    error StudyOver(bytes32 study, uint40 until);

    /// @notice The study is another.
    error ProtocolDiffers(bytes32 expected, bytes32 given);

    /// @notice The institution approved before.
    error AlreadyApproved(bytes32 study, address institution);

    /// @notice Nobody approves a study of their own institution.
    error OwnStudy(address institution);

    /// @notice Nobody decides a dispute of their own institution.
    error OwnOrder(address institution);

    /// @notice The source answered this query before.
    error AlreadyAnswered(bytes32 query);

    /// @notice The source answered as many queries as it may.
    error TooManyQueries(uint256 limit);

    /// @notice The count is not rounded, or too small.
    error CellTooSmall(uint256 count, uint256 cell);

    /// @notice The cohort differs from an earlier one by too few people.
    error TooClose(uint32 difference, uint256 cell);

    /// @notice The offer cannot be ordered.
    error OfferNotOpen(bytes32 offer);

    /// @notice This does not follow on that state.
    error WrongState(bytes32 id, State state);

    /// @notice The patient is not in the extract.
    error NotInExtract(bytes32 id, address patient);

    /// @notice The patient's consent did, or did not, stand when the extract was delivered.
    error WrongConsent(bytes32 id, address patient, bool consented);

    /// @notice The patient was paid.
    error AlreadyPaid(bytes32 id, address patient);

    /// @notice The source delivered this extract to another order.
    error ExtractReused(bytes32 extract);

    /// @notice Consents were withdrawn that the caller does not know of.
    error WithdrawalsUnseen(uint32 expected, uint32 given);

    /* FUNCTIONS */

    constructor(Registry registry, IERC20 token) Purse(registry, token) {}

    /* Offers and studies */

    /// @notice Offers data, as an institution.
    /// @param salt Random, never used before by the caller.
    /// @return id `makeId(source, salt)`.
    function offer(bytes32 salt, uint128 price, uint16 patientShare, bytes32 dataset, bytes32 terms)
        external
        returns (bytes32 id)
    {
        address source = REGISTRY.institution(msg.sender);
        if (dataset == 0 || terms == 0) revert Zero();
        if (patientShare > WHOLE) revert InvalidShare(patientShare, WHOLE);
        id = makeId(source, salt);
        if (_offers[id].source != address(0)) revert AlreadyUsed(id);

        _offers[id] = Offer(source, true, patientShare, price, dataset, terms);

        emit DataOffered(id, source, _offers[id]);
    }

    /// @notice Closes an offer, as its source. What was ordered is not touched.
    function closeOffer(bytes32 id) external {
        address source = REGISTRY.institution(msg.sender);
        if (_offers[id].source != source) revert NotParty(msg.sender);

        _offers[id].open = false;

        emit OfferClosed(id, source);
    }

    /// @notice Proposes a study, as a researcher.
    /// @param salt Random, never used before by the caller.
    /// @param until Unix time, in seconds; the first second without use.
    /// @param protocol Digest of purpose and protocol.
    /// @return id `makeId(researcher, salt)`.
    function proposeStudy(bytes32 salt, uint40 until, bytes32 protocol) external returns (bytes32 id) {
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        if (role != ProfessionalRole.Researcher) revert NotAllowed(by, role, institution);
        if (protocol == 0) revert Zero();
        _requireWithin(until, block.timestamp + 1, block.timestamp + MAX_STUDY);
        id = makeId(by, salt);
        if (_studies[id].standing != Standing.None) revert AlreadyUsed(id);

        _studies[id] = Study(institution, Standing.Proposed, 0, until, 0, protocol, 0);

        emit StudyProposed(id, institution, by, until, protocol);
    }

    /// @notice Approves a study, as a privacy officer or auditor of another institution, once per institution.
    /// @param protocol As the member of the committee saw it.
    /// @param opinion Digest of the sealed opinion.
    function approveStudy(bytes32 id, bytes32 protocol, bytes32 opinion) external {
        Study storage study = _studies[id];
        if (study.standing != Standing.Proposed) revert WrongStanding(id, study.standing);
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool may = role == ProfessionalRole.PrivacyOfficer || role == ProfessionalRole.Auditor;
        if (!may) revert NotAllowed(by, role, institution);
        if (institution == study.institution) revert OwnStudy(institution);
        if (protocol != study.protocol) revert ProtocolDiffers(study.protocol, protocol);
        if (_approved[id][institution]) revert AlreadyApproved(id, institution);

        _approved[id][institution] = true;
        _approvals[id].push(institution);
        uint8 approvals = _approvalsInForce(id);
        bool complete = approvals >= COMMITTEE;
        study.approvals = approvals;
        if (complete) study.standing = Standing.Approved;

        emit StudyApproved(id, institution, by, opinion, complete);
    }

    /// @notice Ends a study for good, as a researcher of its institution or an auditor of a regulator.
    /// @param reason Digest of the reason.
    function endStudy(bytes32 id, bytes32 reason) external {
        Study storage study = _studies[id];
        if (study.standing != Standing.Proposed && study.standing != Standing.Approved) {
            revert WrongStanding(id, study.standing);
        }
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool isOwn = role == ProfessionalRole.Researcher && institution == study.institution;
        if (!isOwn && !_isRegulator(role, institution)) revert NotAllowed(by, role, institution);

        study.standing = Standing.Ended;

        emit StudyEnded(id, by, reason);
    }

    /* The patient */

    /// @notice Lets an approved study use data about the caller.
    /// @param protocol As the patient saw it.
    function consent(bytes32 study, bytes32 protocol) external {
        Study storage stored = _requireStudy(study);
        if (protocol != stored.protocol) revert ProtocolDiffers(stored.protocol, protocol);

        uint48[] storage changes = _consents[study][msg.sender];
        if (changes.length % 2 == 0) changes.push(++stored.changes);

        emit StudyConsented(study, msg.sender);
    }

    /// @notice Takes the caller's consent back, from this block on.
    /// @dev Does not revert when there was none: withdrawing must always work.
    function withdrawConsent(bytes32 study) external {
        uint48[] storage changes = _consents[study][msg.sender];
        Study storage stored = _studies[study];
        if (changes.length % 2 == 1) {
            changes.push(++stored.changes);
            ++stored.withdrawals;
        }

        emit StudyConsentWithdrawn(study, msg.sender, stored.withdrawals);
    }

    /* Cohorts */

    /// @notice Answers how many of the source's patients who consented fit a question, as a source.
    /// @param query Digest of the question.
    /// @param count Rounded down to a multiple of `CELL`; zero for fewer than `CELL`.
    /// @param leastDifference By how many people at least the cohort differs from each that the source counted
    /// for this study before; zero when it is the same as one.
    function answer(bytes32 study, bytes32 query, uint32 count, uint32 leastDifference) external {
        address source = REGISTRY.institution(msg.sender);
        _requireStudy(study);
        if (query == 0) revert Zero();
        if (_answered[study][source][query]) revert AlreadyAnswered(query);
        if (count % CELL != 0) revert CellTooSmall(count, CELL);
        if (leastDifference != 0 && leastDifference < CELL) revert TooClose(leastDifference, CELL);
        uint256 queries = ++_queries[study][source];
        if (queries > MAX_QUERIES) revert TooManyQueries(MAX_QUERIES);

        _answered[study][source][query] = true;

        emit CohortCounted(study, source, query, count, leastDifference);
    }

    /* Orders */

    /// @notice Orders an extract for a study, as its institution. The price is set aside from its balance.
    /// @param salt Random, never used before by the caller.
    /// @param query Digest of what the extract shall hold.
    /// @return id `makeId(buyer, salt)`.
    function order(bytes32 salt, bytes32 study, bytes32 offer_, bytes32 query) external returns (bytes32 id) {
        address buyer = REGISTRY.institution(msg.sender);
        if (_requireStudy(study).institution != buyer) revert NotParty(msg.sender);
        Offer memory offered = _offers[offer_];
        if (!offered.open) revert OfferNotOpen(offer_);
        id = makeId(buyer, salt);
        Order storage stored = _orders[id];
        if (stored.state != State.None) revert AlreadyUsed(id);

        (stored.study, stored.offer, stored.buyer) = (study, offer_, buyer);
        stored.price = offered.price;
        _move(stored, State.Placed);
        if (offered.price != 0) _take(buyer, offered.price);

        emit ExtractOrdered(id, study, offer_, buyer, offered.price, query);
    }

    /// @notice Delivers an extract, as the source of the offer.
    /// @param extract Digest of the extract, as sealed to the buyer.
    /// @param patients Root of the tree of patients.
    /// @param count How many they are.
    /// @param withdrawals The study's number of withdrawals, as the source saw it and heeded: so nobody makes a
    /// breach of a delivery by withdrawing just before it.
    function deliver(bytes32 id, bytes32 extract, bytes32 patients, uint32 count, uint32 withdrawals) external {
        Order storage stored = _requireOrder(id, State.Placed);
        address source = REGISTRY.institution(msg.sender);
        if (_offers[stored.offer].source != source) revert NotParty(msg.sender);
        Study storage study = _requireStudy(stored.study);
        if (extract == 0 || patients == 0) revert Zero();
        if (count < CELL) revert CellTooSmall(count, CELL);
        _requireWithin(block.timestamp, 0, stored.since + DELIVERY_PERIOD - 1);
        if (withdrawals != study.withdrawals) revert WithdrawalsUnseen(study.withdrawals, withdrawals);
        if (_delivered[source][extract]) revert ExtractReused(extract);

        _delivered[source][extract] = true;
        (stored.extract, stored.patients, stored.count) = (extract, patients, count);
        stored.change = study.changes;
        _move(stored, State.Delivered);

        emit ExtractDelivered(id, source, extract, patients, count);
    }

    /// @notice Settles an order: the buyer at once, anybody after `DISPUTE_PERIOD`. Not for a buyer that was expelled
    /// and so could not dispute: a regulator resolves that.
    function settle(bytes32 id) external {
        Order storage stored = _requireOrder(id, State.Delivered);
        if (!_isInForce(stored.buyer)) revert NotInForce(stored.buyer);
        if (block.timestamp < stored.since + DISPUTE_PERIOD) _requireBuyer(stored);

        _settle(id, stored);
    }

    /// @notice Disputes a delivery, as the buyer, within `DISPUTE_PERIOD`.
    /// @param reason Digest of the reason.
    function dispute(bytes32 id, bytes32 reason) external {
        Order storage stored = _requireOrder(id, State.Delivered);
        _requireBuyer(stored);
        _requireWithin(block.timestamp, 0, stored.since + DISPUTE_PERIOD - 1);

        _move(stored, State.Disputed);

        emit OrderDisputed(id, stored.buyer, reason);
    }

    /// @notice Decides a dispute, or about a delivery to a buyer that was expelled, as an auditor of a regulator that
    /// is neither buyer nor source.
    function resolve(bytes32 id, bool refund) external {
        Order storage stored = _orders[id];
        bool isOpen =
            stored.state == State.Disputed || (stored.state == State.Delivered && !_isInForce(stored.buyer));
        if (!isOpen) revert WrongState(id, stored.state);
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        if (!_isRegulator(role, institution)) revert NotAllowed(by, role, institution);
        bool isParty = institution == stored.buyer || institution == _offers[stored.offer].source;
        if (isParty) revert OwnOrder(institution);

        if (refund) _refund(id, stored);
        else _settle(id, stored);
    }

    /// @notice Takes the price back for what was not delivered in time. Anybody can: it goes to the buyer.
    function reclaim(bytes32 id) external {
        Order storage stored = _requireOrder(id, State.Placed);
        _requireWithin(block.timestamp, stored.since + DELIVERY_PERIOD, type(uint40).max);

        _refund(id, stored);
    }

    /// @notice Pays the caller's share of a settled order, as a patient in it whose consent stood, within
    /// `CLAIM_PERIOD`. When all shares are paid, the source said too few patients: nothing of the extract may be used
    /// any more, as after a challenge.
    /// @param salt Of the caller's leaf.
    /// @param proof Siblings from the leaf up.
    function claimShare(bytes32 id, bytes32 salt, bytes32[] calldata proof) external {
        Order storage stored = _requireOrder(id, State.Settled);
        _requireWithin(block.timestamp, 0, stored.since + CLAIM_PERIOD - 1);
        _requireInExtract(id, stored, msg.sender, salt, proof);
        if (!_consented(stored, msg.sender)) revert WrongConsent(id, msg.sender, false);
        if (_paid[id][msg.sender]) revert AlreadyPaid(id, msg.sender);
        if (stored.paid == stored.count) {
            stored.breached = true;
            emit CountBreached(id, msg.sender, stored.count);
            return;
        }

        _paid[id][msg.sender] = true;
        ++stored.paid;
        _give(msg.sender, stored.forEach);

        emit PatientPaid(id, msg.sender, stored.forEach);
    }

    /// @notice Gives the buyer what no patient claimed within `CLAIM_PERIOD`. Anybody can, once.
    function returnShares(bytes32 id) external {
        Order storage stored = _requireOrder(id, State.Settled);
        _requireWithin(block.timestamp, stored.since + CLAIM_PERIOD, type(uint40).max);
        uint32 unpaid = stored.count - stored.paid;
        uint128 amount = stored.forEach * unpaid;
        if (amount == 0) revert NoAmount();

        stored.forEach = 0;
        _give(stored.buyer, amount);

        emit SharesReturned(id, stored.buyer, unpaid, amount);
    }

    /// @notice Shows a patient in the extract whose consent did not stand when it was delivered. What is not
    /// settled goes back to the buyer, and nothing of it may be used.
    function challenge(bytes32 id, address patient, bytes32 salt, bytes32[] calldata proof) external {
        Order storage stored = _orders[id];
        State state = stored.state;
        if (state != State.Delivered && state != State.Disputed && state != State.Settled) revert WrongState(id, state);
        _requireInExtract(id, stored, patient, salt, proof);
        if (_consented(stored, patient)) revert WrongConsent(id, patient, true);

        stored.breached = true;
        emit ConsentBreached(id, patient, msg.sender);

        if (state != State.Settled) _refund(id, stored);
    }

    /// @notice Records a use of an extract, as a researcher of the buyer.
    /// @param receipt Digest of the receipt.
    /// @param withdrawals The study's number of withdrawals, as the caller saw it and heeded.
    function recordUse(bytes32 id, bytes32 receipt, uint32 withdrawals) external {
        Order storage stored = _orders[id];
        if (stored.breached || (stored.state != State.Delivered && stored.state != State.Settled)) {
            revert WrongState(id, stored.state);
        }
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool may = role == ProfessionalRole.Researcher && institution == stored.buyer;
        if (!may) revert NotAllowed(by, role, institution);
        Study storage study = _requireStudy(stored.study);
        if (withdrawals != study.withdrawals) revert WithdrawalsUnseen(study.withdrawals, withdrawals);

        uint32 number = ++stored.uses;
        bytes32 head = keccak256(abi.encode(stored.useHead, number, receipt));
        stored.useHead = head;

        emit ExtractUsed(id, by, number, receipt, head);
    }

    /* Views */

    /// @notice All that is stored of an offer.
    function offerOf(bytes32 id) external view returns (Offer memory) {
        return _offers[id];
    }

    /// @notice All that is stored of a study.
    function studyOf(bytes32 id) external view returns (Study memory) {
        return _studies[id];
    }

    /// @notice All that is stored of an order.
    function orderOf(bytes32 id) external view returns (Order memory) {
        return _orders[id];
    }

    /// @notice Whether a patient's consent to a study stands now.
    function consents(bytes32 study, address patient) external view returns (bool) {
        return _consents[study][patient].length % 2 == 1;
    }

    /// @notice Whether a patient's consent stood when an order was delivered. False before.
    function consentStood(bytes32 id, address patient) external view returns (bool) {
        return _consented(_orders[id], patient);
    }

    /// @notice Whether an extract is the one that was anchored.
    /// @param extract Digest of the bytes at hand.
    function verify(bytes32 id, bytes32 extract) external view returns (bool) {
        return extract != 0 && _orders[id].extract == extract;
    }

    /// @notice Whether a patient was paid for an order.
    function isPaid(bytes32 id, address patient) external view returns (bool) {
        return _paid[id][patient];
    }

    /* Internal */

    function _settle(bytes32 id, Order storage stored) private {
        Offer storage offered = _offers[stored.offer];
        // The source says the count, so nothing that depends on it is the source's.
        uint128 pool = uint128(uint256(stored.price) * offered.patientShare / WHOLE);
        uint128 forEach = pool / stored.count;
        uint128 toBuyer = pool - forEach * stored.count;
        uint128 toSource = stored.price - pool;

        stored.forEach = forEach;
        _move(stored, State.Settled);
        _give(offered.source, toSource);
        _give(stored.buyer, toBuyer);

        emit OrderSettled(id, offered.source, toSource, forEach, stored.count, toBuyer);
    }

    function _refund(bytes32 id, Order storage stored) private {
        _move(stored, State.Refunded);
        _give(stored.buyer, stored.price);

        emit OrderRefunded(id, stored.buyer, stored.price);
    }

    function _move(Order storage stored, State state) private {
        (stored.state, stored.since) = (state, uint40(block.timestamp));
    }

    /// @dev Halves the rest at each step, so that nobody puts it out of reach by changing their mind often.
    function _consented(Order storage stored, address patient) private view returns (bool) {
        uint48[] storage changes = _consents[stored.study][patient];
        (uint256 least, uint256 most) = (0, changes.length);
        while (least < most) {
            uint256 middle = (least + most) / 2;
            if (changes[middle] <= stored.change) least = middle + 1;
            else most = middle;
        }
        return least % 2 == 1;
    }

    function _isRegulator(ProfessionalRole role, address institution) private view returns (bool) {
        return role == ProfessionalRole.Auditor && REGISTRY.roleOf(institution) == InstitutionRole.Regulator;
    }

    function _requireStudy(bytes32 id) private view returns (Study storage study) {
        study = _studies[id];
        if (study.standing != Standing.Approved) revert WrongStanding(id, study.standing);
        if (block.timestamp >= study.until) revert StudyOver(id, study.until);
        if (!_isInForce(study.institution)) revert NotInForce(study.institution);
    }

    function _isInForce(address institution) private view returns (bool) {
        return REGISTRY.roleOf(institution) != InstitutionRole.None;
    }

    /// @dev Who approved and was expelled since does not count.
    function _approvalsInForce(bytes32 study) private view returns (uint8 count) {
        address[] storage institutions = _approvals[study];
        for (uint256 i; i < institutions.length; ++i) {
            if (_isInForce(institutions[i])) ++count;
        }
    }

    function _requireOrder(bytes32 id, State state) private view returns (Order storage stored) {
        stored = _orders[id];
        if (stored.state != state) revert WrongState(id, stored.state);
    }

    function _requireBuyer(Order storage stored) private view {
        if (REGISTRY.institution(msg.sender) != stored.buyer) revert NotParty(msg.sender);
    }

    function _requireInExtract(
        bytes32 id,
        Order storage stored,
        address patient,
        bytes32 salt,
        bytes32[] calldata proof
    ) private view {
        bytes32 leaf = keccak256(bytes.concat(keccak256(abi.encode(id, patient, salt))));
        if (!MerkleProof.verifyCalldata(proof, stored.patients, leaf)) revert NotInExtract(id, patient);
    }

    function _requireWithin(uint256 given, uint256 least, uint256 most) private pure {
        if (given < least || given > most) revert InvalidTime(given, least, most);
    }
}
