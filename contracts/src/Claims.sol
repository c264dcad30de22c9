// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {IServices} from "./IServices.sol";
import {makeId} from "./Ids.sol";
import {Purse} from "./Purse.sol";
import {Registry} from "./Registry.sol";
import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title Claims
/// @notice Who is insured, what a completed service may cost, what the insurer approves, and its payment:
/// each service once, exactly as adjudicated.
/// @dev Holds coverages, pre-authorisations and claims with their amounts in the token's smallest unit, and
/// the money set aside for them. Holds no diagnosis and no code of a service: those are in sealed records behind
/// digests. Amounts are public among members.
///
///     claim: Submitted -> Adjudicated -> Appealed -> Final
///                |
///                +-> Withdrawn, which frees the service
///
/// An approved amount has two parts: the **share** of the insurer, and the **co-payment** of the patient.
/// The share is taken from the insurer's balance when the claim is adjudicated and set aside, so that it is
/// there when it is paid, even when the insurer goes out of force.
///
/// INVARIANTS
/// - K1: a claim is for a service whose receipt exists in its workflow's contract, of the claiming provider and
///   the covered patient, with exactly the evidence that the receipt names; completed while the coverage ran, or, under
///   a pre-authorisation, after the coverage began and before the end of the pre-authorisation.
/// - K2: at most one claim per service that is not withdrawn, and per provider and evidence.
/// - K3: what a claim is paid is at most its share, and that with the co-payment at most what was approved, which is at
///   most what was claimed. What is refunded is at most what was paid.
/// - K4: money is conserved: `held` is the sum of all balances and of `share - paid` over all claims.
/// - K5: what a coverage pays, less refunds, is at most its limit.
/// - K6: an adjudicator of the insurer decides; another one decides the appeal, never lower than before.
/// - K7: a pre-authorisation serves one claim, which is approved to its amount unless the claim is flagged as
///   duplicate, upcoded or excessive. It stands until its end, even when insurer or patient end the coverage before.
///
/// ASSUMPTIONS
/// - Safety: adjudicators apply the rules whose digest they name. The contract keeps the bounds, it cannot see
///   the record. What its performers signed is in the evidence, so a claim for something else shows.
/// - Safety: a workflow's contract reports a service only when it is complete.
/// - Liveness: an insurer that does not decide shows as overdue; nobody decides in its place.
contract Claims is Purse {
    /* TYPES */

    /// @notice Where a claim stands.
    enum State {
        None,
        Submitted,
        Adjudicated,
        Appealed,
        Final,
        Withdrawn
    }

    /// @notice Where a coverage stands; time alone tells whether an active one runs.
    enum Standing {
        None,
        Offered,
        Active
    }

    /// @notice Which workflow's receipt a claim is for.
    enum Source {
        Prescription,
        LabOrder,
        Surgery
    }

    /// @notice What an insurer offers.
    /// @param from Unix time, in seconds. After the patient accepted.
    /// @param until Unix time, in seconds; the first second without coverage.
    /// @param copayment The patient's part, in hundredths of a percent.
    /// @param limit The most that the insurer pays in all.
    /// @param policy Digest of the sealed policy.
    struct Terms {
        address patient;
        uint40 from;
        uint40 until;
        uint16 copayment;
        uint128 limit;
        bytes32 policy;
    }

    /// @dev Five slots: 160 + 8 = 168 bits; 160 + 40 + 40 + 16 = 256 bits; 128 bits; 256 bits; 128 bits.
    /// @param used Shares set aside so far, less refunds.
    struct Coverage {
        address insurer;
        Standing standing;
        Terms terms;
        uint128 used;
    }

    /// @dev Three slots: 256 bits; 160 + 40 + 8 = 208 bits; 128 + 128 bits.
    /// @param until Unix time, in seconds; the first second at which a service completed is not under it any more. Zero
    /// while undecided.
    struct Authorisation {
        bytes32 coverage;
        address provider;
        uint40 until;
        bool used;
        uint128 requested;
        uint128 granted;
    }

    /// @notice What a provider claims.
    /// @param service Identifier in the workflow's contract.
    /// @param part Such as a fill or a round, from 1.
    /// @param evidence As the receipt names it.
    /// @param amount What is claimed.
    /// @param authorisation Zero for none.
    /// @param digest Digest of the sealed claim.
    struct Submission {
        bytes32 coverage;
        Source source;
        bytes32 service;
        uint256 part;
        bytes32 evidence;
        uint128 amount;
        bytes32 authorisation;
        bytes32 digest;
    }

    /// @dev Eight slots: 256 bits; 160 + 8 + 8 + 40 = 216 bits; 160 + 40 = 200 bits; 128 + 128 bits four times, one
    /// of them half; 256 bits twice.
    /// @param flags Bit set of `FLAG_` constants.
    /// @param dueAt Unix time in seconds, from which a decision is overdue.
    /// @param appealUntil Unix time, in seconds; the first second without appeal.
    /// @param paid Of the share.
    /// @param copaid By the patient.
    struct Claim {
        bytes32 coverage;
        address provider;
        State state;
        uint8 flags;
        uint40 dueAt;
        address adjudicator;
        uint40 appealUntil;
        uint128 amount;
        uint128 approved;
        uint128 share;
        uint128 paid;
        uint128 copaid;
        uint128 refunded;
        uint128 refundedCopayment;
        bytes32 service;
        bytes32 authorisation;
        bytes32 evidence;
    }

    /// @notice What an adjudicator decides.
    /// @param approved At most what is claimed.
    /// @param flags Why less than claimed; at least one then.
    /// @param rules Digest of the rules applied.
    /// @param explanation Digest of the sealed explanation of benefit.
    struct Decision {
        uint128 approved;
        uint8 flags;
        bytes32 rules;
        bytes32 explanation;
    }

    /* CONSTANTS */

    /// @notice The service was claimed elsewhere, as far as the adjudicator can tell.
    uint8 internal constant FLAG_DUPLICATE = 1;

    /// @notice The claim says more than the record.
    uint8 internal constant FLAG_UPCODED = 2;

    /// @notice The policy does not cover it.
    uint8 internal constant FLAG_NOT_COVERED = 4;

    /// @notice It costs more than the policy pays.
    uint8 internal constant FLAG_EXCESSIVE = 8;

    /// @notice The patient says that it did not happen.
    uint8 internal constant FLAG_CONTESTED = 128;

    /// @dev What an adjudicator says.
    uint8 private constant _FLAGS = FLAG_DUPLICATE | FLAG_UPCODED | FLAG_NOT_COVERED | FLAG_EXCESSIVE;

    /// @dev Reasons to approve less than was authorised.
    uint8 private constant _UNBOUND = FLAG_DUPLICATE | FLAG_UPCODED | FLAG_EXCESSIVE;

    /// @notice A whole, in hundredths of a percent.
    uint256 internal constant WHOLE = 10_000;

    /// @notice How long after the service it can be claimed.
    uint256 internal constant FILING_PERIOD = 366 days;

    /// @notice How soon a claim or an appeal is decided.
    uint256 internal constant DECISION_PERIOD = 30 days;

    /// @notice How long after the decision it can be appealed.
    uint256 internal constant APPEAL_PERIOD = 60 days;

    /// @notice The longest coverage, and the longest pre-authorisation.
    uint256 internal constant MAX_COVERAGE = 2 * 366 days;

    /* STORAGE */

    /// @notice The workflows, by `Source`.
    IServices public immutable PRESCRIPTIONS;
    IServices public immutable LAB_ORDERS;
    IServices public immutable SURGERIES;

    mapping(bytes32 id => Coverage) private _coverages;
    mapping(bytes32 id => Authorisation) private _authorisations;
    mapping(bytes32 id => Claim) private _claims;
    mapping(bytes32 service => bytes32 claim) private _claimed;
    mapping(address provider => mapping(bytes32 evidence => bytes32 claim)) private _evidence;

    /* EVENTS */

    /// @notice An insurer offers a coverage.
    event CoverageOffered(bytes32 indexed id, address indexed patient, address indexed insurer, Terms terms);

    /// @notice The patient accepted it. It runs from that time on.
    event CoverageAccepted(bytes32 indexed id, address indexed patient, address indexed insurer, uint40 from);

    /// @notice It runs no longer than that. What was done before stays covered, and what was granted stands.
    event CoverageEnded(bytes32 indexed id, address indexed patient, address indexed by, uint40 until);

    /// @notice A provider asks beforehand.
    event AuthorisationRequested(
        bytes32 indexed id, bytes32 indexed coverage, address indexed provider, uint128 requested, bytes32 request
    );

    /// @notice The insurer answered. Nothing granted is a refusal.
    event AuthorisationDecided(
        bytes32 indexed id, bytes32 indexed coverage, address indexed adjudicator, uint128 granted, uint40 until
    );

    /// @notice A provider claims.
    event ClaimSubmitted(
        bytes32 indexed id, address indexed patient, address indexed provider, address insurer, Submission submission
    );

    /// @notice The provider took the claim back.
    event ClaimWithdrawn(bytes32 indexed id, address indexed provider);

    /// @notice The patient says that it did not happen.
    event ClaimContested(bytes32 indexed id, address indexed patient, bytes32 reason);

    /// @notice An adjudicator decided. `share` is set aside for the provider in all.
    event ClaimAdjudicated(
        bytes32 indexed id, address indexed patient, address indexed adjudicator, State state, Decision decision, uint128 share
    );

    /// @notice Provider or patient appealed.
    event ClaimAppealed(bytes32 indexed id, address indexed by, bytes32 reason);

    /// @notice The insurer's share, or more of it, is the provider's.
    event ClaimPaid(bytes32 indexed id, address indexed provider, address indexed insurer, uint128 amount);

    /// @notice The patient paid the co-payment, or more of it.
    event CopaymentPaid(bytes32 indexed id, address indexed provider, address indexed patient, uint128 amount);

    /// @notice The provider paid back.
    event ClaimRefunded(
        bytes32 indexed id, address indexed provider, address indexed insurer, uint128 toInsurer, uint128 toPatient
    );

    /* ERRORS */

    /// @notice The professional's role or institution does not do this.
    error NotAllowed(address professional, ProfessionalRole role, address institution);

    /// @notice The institution has another role.
    error WrongInstitution(address institution, InstitutionRole role);

    /// @notice The caller is no party to this.
    error NotParty(address caller);

    /// @notice The identifier was used before.
    error AlreadyUsed(bytes32 id);

    /// @notice The terms are out of bounds.
    error InvalidTerms(uint40 from, uint40 until, uint16 copayment, uint128 limit);

    /// @notice This does not follow on where the coverage stands.
    error WrongStanding(bytes32 coverage, Standing standing);

    /// @notice The policy is another.
    error PolicyDiffers(bytes32 expected, bytes32 given);

    /// @notice The coverage does not run at that time.
    error NotCovered(bytes32 coverage, uint40 time);

    /// @notice The authorisation was decided, used, is over, or is for somebody else.
    error AuthorisationRefused(bytes32 authorisation);

    /// @notice No such service is complete.
    error NoService(bytes32 service, uint256 part);

    /// @notice The service was given by, or to, somebody else.
    error ServiceDiffers(address patient, address provider);

    /// @notice The performers signed something else.
    error EvidenceDiffers(bytes32 expected, bytes32 given);

    /// @notice Another claim is for this service, or uses this evidence.
    error AlreadyClaimed(bytes32 claim);

    /// @notice It is too late.
    error TooLate(uint256 until);

    /// @notice This does not follow on that state.
    error WrongState(bytes32 id, State state);

    /// @notice The amount lies outside its bounds.
    error InvalidAmount(uint256 given, uint256 least, uint256 most);

    /// @notice Less than claimed takes a flag, and all of it takes none. There are four flags to give.
    error WrongFlags(uint8 flags);

    /// @notice Nobody decides twice on one claim.
    error SameAdjudicator(address adjudicator);

    /* FUNCTIONS */

    constructor(Registry registry, IERC20 token, IServices prescriptions, IServices labOrders, IServices surgeries)
        Purse(registry, token)
    {
        (PRESCRIPTIONS, LAB_ORDERS, SURGERIES) = (prescriptions, labOrders, surgeries);
    }

    /* Coverage */

    /// @notice Offers a coverage, as an insurer.
    /// @param salt Random, never used before by the caller.
    /// @return id `makeId(insurer, salt)`.
    function offerCoverage(bytes32 salt, Terms calldata terms) external returns (bytes32 id) {
        address insurer = REGISTRY.institution(msg.sender);
        InstitutionRole role = REGISTRY.roleOf(insurer);
        if (role != InstitutionRole.Insurer) revert WrongInstitution(insurer, role);
        bool fits = terms.patient != address(0) && terms.from < terms.until && terms.until > block.timestamp
            && uint256(terms.until) - terms.from <= MAX_COVERAGE && terms.copayment <= WHOLE && terms.limit != 0;
        if (!fits) revert InvalidTerms(terms.from, terms.until, terms.copayment, terms.limit);
        id = makeId(insurer, salt);
        Coverage storage coverage = _coverages[id];
        if (coverage.standing != Standing.None) revert AlreadyUsed(id);

        (coverage.insurer, coverage.standing, coverage.terms) = (insurer, Standing.Offered, terms);

        emit CoverageOffered(id, terms.patient, insurer, terms);
    }

    /// @notice Accepts a coverage that is not over, as the patient. It runs from the next second on at the earliest, so
    /// that nobody waits for a service before accepting, not even within a block.
    /// @param policy As the patient saw it.
    function acceptCoverage(bytes32 id, bytes32 policy) external {
        Coverage storage coverage = _coverages[id];
        if (coverage.standing != Standing.Offered) revert WrongStanding(id, coverage.standing);
        if (msg.sender != coverage.terms.patient) revert NotParty(msg.sender);
        if (policy != coverage.terms.policy) revert PolicyDiffers(coverage.terms.policy, policy);
        if (block.timestamp + 1 >= coverage.terms.until) revert TooLate(coverage.terms.until);

        if (coverage.terms.from <= block.timestamp) coverage.terms.from = uint40(block.timestamp + 1);
        coverage.standing = Standing.Active;

        emit CoverageAccepted(id, msg.sender, coverage.insurer, coverage.terms.from);
    }

    /// @notice Ends a coverage from this block on, as the patient or the insurer. A pre-authorisation that was granted
    /// stands until its own end.
    function endCoverage(bytes32 id) external {
        Coverage storage coverage = _coverages[id];
        if (coverage.standing == Standing.None) revert WrongStanding(id, Standing.None);
        address by = msg.sender;
        if (by != coverage.terms.patient) {
            by = REGISTRY.institution(msg.sender);
            if (by != coverage.insurer) revert NotParty(msg.sender);
        }

        if (block.timestamp < coverage.terms.until) coverage.terms.until = uint40(block.timestamp);

        emit CoverageEnded(id, coverage.terms.patient, by, coverage.terms.until);
    }

    /// @notice Asks an insurer beforehand, as the provider.
    /// @param salt Random, never used before by the caller.
    /// @param request Digest of the sealed request.
    /// @return id `makeId(provider, salt)`.
    function requestAuthorisation(bytes32 salt, bytes32 coverage, uint128 amount, bytes32 request)
        external
        returns (bytes32 id)
    {
        address provider = REGISTRY.institution(msg.sender);
        if (!isEligible(coverage, uint40(block.timestamp))) revert NotCovered(coverage, uint40(block.timestamp));
        if (amount == 0) revert NoAmount();
        id = makeId(provider, salt);
        Authorisation storage authorisation = _authorisations[id];
        if (authorisation.provider != address(0)) revert AlreadyUsed(id);

        (authorisation.coverage, authorisation.provider, authorisation.requested) = (coverage, provider, amount);

        emit AuthorisationRequested(id, coverage, provider, amount, request);
    }

    /// @notice Answers, as an adjudicator of the insurer, once.
    /// @param granted At most what was asked for; zero refuses.
    /// @param until Unix time, in seconds; a service completed before it is covered, whenever it is claimed and even
    /// when the coverage ends before.
    function decideAuthorisation(bytes32 id, uint128 granted, uint40 until) external {
        Authorisation storage authorisation = _authorisations[id];
        if (authorisation.provider == address(0) || authorisation.until != 0) revert AuthorisationRefused(id);
        address by = _requireAdjudicator(_coverages[authorisation.coverage].insurer);
        _requireWithin(granted, 0, authorisation.requested);
        _requireWithin(until, block.timestamp + 1, block.timestamp + MAX_COVERAGE);

        (authorisation.granted, authorisation.until) = (granted, until);

        emit AuthorisationDecided(id, authorisation.coverage, by, granted, until);
    }

    /* Claims */

    /// @notice Claims for a completed service, as the institution that provided it.
    /// @param salt Random, never used before by the caller.
    /// @return id `makeId(provider, salt)`.
    function submit(bytes32 salt, Submission calldata submission) external returns (bytes32 id) {
        address provider = REGISTRY.institution(msg.sender);
        (bytes32 service, uint40 completedAt) = _requireService(provider, submission);
        if (submission.amount == 0) revert NoAmount();
        id = makeId(provider, salt);
        Claim storage claim = _claims[id];
        if (claim.state != State.None) revert AlreadyUsed(id);
        if (_claimed[service] != 0) revert AlreadyClaimed(_claimed[service]);
        bytes32 other = _evidence[provider][submission.evidence];
        if (other != 0) revert AlreadyClaimed(other);
        if (submission.authorisation != 0) _useAuthorisation(provider, submission, completedAt);
        else if (!isEligible(submission.coverage, completedAt)) revert NotCovered(submission.coverage, completedAt);

        (_claimed[service], _evidence[provider][submission.evidence]) = (id, id);
        (claim.coverage, claim.provider, claim.state) = (submission.coverage, provider, State.Submitted);
        (claim.amount, claim.dueAt) = (submission.amount, uint40(block.timestamp + DECISION_PERIOD));
        (claim.service, claim.authorisation, claim.evidence) = (service, submission.authorisation, submission.evidence);

        Coverage storage coverage = _coverages[submission.coverage];
        emit ClaimSubmitted(id, coverage.terms.patient, provider, coverage.insurer, submission);
    }

    /// @notice Takes a claim back before it is decided, as the provider. The service can be claimed anew.
    function withdrawClaim(bytes32 id) external {
        Claim storage claim = _requireState(id, State.Submitted);
        if (REGISTRY.institution(msg.sender) != claim.provider) revert NotParty(msg.sender);

        claim.state = State.Withdrawn;
        delete _claimed[claim.service];
        delete _evidence[claim.provider][claim.evidence];
        if (claim.authorisation != 0) _authorisations[claim.authorisation].used = false;

        emit ClaimWithdrawn(id, claim.provider);
    }

    /// @notice Says, as the patient, that what is claimed did not happen. The adjudicator sees it.
    /// @param reason Digest of the sealed reason.
    function contest(bytes32 id, bytes32 reason) external {
        Claim storage claim = _claims[id];
        if (claim.state == State.None || claim.state == State.Withdrawn) revert WrongState(id, claim.state);
        if (msg.sender != _coverages[claim.coverage].terms.patient) revert NotParty(msg.sender);

        claim.flags |= FLAG_CONTESTED;

        emit ClaimContested(id, msg.sender, reason);
    }

    /// @notice Decides a claim, as an adjudicator of the insurer. The share is set aside from the insurer's balance.
    function adjudicate(bytes32 id, Decision calldata decision) external {
        Claim storage claim = _requireState(id, State.Submitted);
        address by = _requireAdjudicator(_coverages[claim.coverage].insurer);

        claim.adjudicator = by;
        claim.appealUntil = uint40(block.timestamp + APPEAL_PERIOD);
        _decide(id, claim, by, State.Adjudicated, decision);
    }

    /// @notice Appeals a decision that approved less than claimed, once, as the provider or the patient.
    /// @param reason Digest of the sealed reason.
    function appeal(bytes32 id, bytes32 reason) external {
        Claim storage claim = _requireState(id, State.Adjudicated);
        address by = msg.sender;
        if (by != _coverages[claim.coverage].terms.patient) {
            by = REGISTRY.institution(msg.sender);
            if (by != claim.provider) revert NotParty(msg.sender);
        }
        if (claim.approved == claim.amount) revert InvalidAmount(claim.amount, 0, claim.approved);
        if (block.timestamp >= claim.appealUntil) revert TooLate(claim.appealUntil);

        (claim.state, claim.dueAt) = (State.Appealed, uint40(block.timestamp + DECISION_PERIOD));

        emit ClaimAppealed(id, by, reason);
    }

    /// @notice Decides the appeal, as another adjudicator of the insurer. It cannot get worse.
    function decideAppeal(bytes32 id, Decision calldata decision) external {
        Claim storage claim = _requireState(id, State.Appealed);
        address by = _requireAdjudicator(_coverages[claim.coverage].insurer);
        if (by == claim.adjudicator) revert SameAdjudicator(by);

        _decide(id, claim, by, State.Final, decision);
    }

    /* Money */

    /// @notice Pays the provider what is set aside for a claim. Anybody can: it was decided.
    function pay(bytes32 id) external {
        Claim storage claim = _claims[id];
        uint128 amount = claim.share - claim.paid;
        if (amount == 0) revert NoAmount();

        claim.paid = claim.share;
        _give(claim.provider, amount);

        emit ClaimPaid(id, claim.provider, _coverages[claim.coverage].insurer, amount);
    }

    /// @notice Pays the co-payment that is due from the patient's balance, as the patient.
    function payCopayment(bytes32 id) external {
        Claim storage claim = _claims[id];
        address patient = _coverages[claim.coverage].terms.patient;
        if (msg.sender != patient) revert NotParty(msg.sender);
        uint128 amount = claim.approved - claim.share - claim.copaid;

        claim.copaid += amount;
        _take(patient, amount);
        _give(claim.provider, amount);

        emit CopaymentPaid(id, claim.provider, patient, amount);
    }

    /// @notice Pays back, as the provider, to the insurer and the patient, at most what each paid.
    function refund(bytes32 id, uint128 toInsurer, uint128 toPatient) external {
        Claim storage claim = _claims[id];
        address provider = REGISTRY.institution(msg.sender);
        if (provider != claim.provider) revert NotParty(msg.sender);
        _requireWithin(toInsurer, 0, claim.paid - claim.refunded);
        _requireWithin(toPatient, 0, claim.copaid - claim.refundedCopayment);
        Coverage storage coverage = _coverages[claim.coverage];

        claim.refunded += toInsurer;
        claim.refundedCopayment += toPatient;
        coverage.used -= toInsurer;
        _take(provider, uint256(toInsurer) + toPatient);
        _give(coverage.insurer, toInsurer);
        _give(coverage.terms.patient, toPatient);

        emit ClaimRefunded(id, provider, coverage.insurer, toInsurer, toPatient);
    }

    /* Views */

    /// @notice Whether a coverage runs at a time. Ended coverages answer for the time before as well.
    function isEligible(bytes32 id, uint40 time) public view returns (bool) {
        Coverage storage coverage = _coverages[id];
        return coverage.standing == Standing.Active && coverage.terms.from <= time && time < coverage.terms.until;
    }

    /// @notice Whether a claim or an appeal waits for a decision longer than it may.
    function isOverdue(bytes32 id) external view returns (bool) {
        Claim storage claim = _claims[id];
        bool waits = claim.state == State.Submitted || claim.state == State.Appealed;
        return waits && block.timestamp >= claim.dueAt;
    }

    /// @notice Where a claim stands.
    function stateOf(bytes32 id) external view returns (State) {
        return _claims[id].state;
    }

    /// @notice All that is stored of a claim.
    function claimOf(bytes32 id) external view returns (Claim memory) {
        return _claims[id];
    }

    /// @notice All that is stored of a coverage.
    function coverageOf(bytes32 id) external view returns (Coverage memory) {
        return _coverages[id];
    }

    /// @notice All that is stored of a pre-authorisation.
    function authorisationOf(bytes32 id) external view returns (Authorisation memory) {
        return _authorisations[id];
    }

    /// @notice The claim for a service; zero when there is none.
    function claimFor(Source source, bytes32 service, uint256 part) external view returns (bytes32) {
        return _claimed[keccak256(abi.encode(source, service, part))];
    }

    /* Internal */

    function _decide(bytes32 id, Claim storage claim, address by, State state, Decision calldata decision) private {
        _requireWithin(decision.approved, claim.approved, claim.amount);
        bool isWhole = decision.approved == claim.amount;
        if (isWhole != (decision.flags == 0)) revert WrongFlags(decision.flags);
        if (decision.flags & ~_FLAGS != 0) revert WrongFlags(decision.flags);
        Coverage storage coverage = _coverages[claim.coverage];
        if (claim.authorisation != 0 && decision.flags & _UNBOUND == 0) {
            uint128 granted = _authorisations[claim.authorisation].granted;
            _requireWithin(decision.approved, granted < claim.amount ? granted : claim.amount, claim.amount);
        }
        // The rest goes to the patient, so that no cent is lost in rounding.
        uint128 share = uint128(uint256(decision.approved) * (WHOLE - coverage.terms.copayment) / WHOLE);
        uint128 more = share - claim.share;
        _requireWithin(more, 0, coverage.terms.limit - coverage.used);

        coverage.used += more;
        (claim.state, claim.approved, claim.share) = (state, decision.approved, share);
        claim.flags = (claim.flags & FLAG_CONTESTED) | decision.flags;
        if (more != 0) _take(coverage.insurer, more);

        emit ClaimAdjudicated(id, coverage.terms.patient, by, state, decision, share);
    }

    /// @dev Instead of asking whether the coverage ran at that time, for whoever grants covers what was granted.
    function _useAuthorisation(address provider, Submission calldata submission, uint40 completedAt) private {
        Authorisation storage authorisation = _authorisations[submission.authorisation];
        bool counts = authorisation.provider == provider && authorisation.coverage == submission.coverage
            && !authorisation.used && authorisation.granted != 0 && completedAt < authorisation.until;
        if (!counts) revert AuthorisationRefused(submission.authorisation);
        bool hasBegun = _coverages[submission.coverage].terms.from <= completedAt;
        if (!hasBegun) revert NotCovered(submission.coverage, completedAt);
        authorisation.used = true;
    }

    /// @return service The service's name among all workflows.
    /// @return completedAt Unix time, in seconds.
    function _requireService(address provider, Submission calldata submission)
        private
        view
        returns (bytes32 service, uint40 completedAt)
    {
        IServices source = submission.source == Source.Prescription
            ? PRESCRIPTIONS
            : submission.source == Source.LabOrder ? LAB_ORDERS : SURGERIES;
        address patient;
        address performer;
        bytes32 evidence;
        (patient, performer, completedAt, evidence) = source.serviceOf(submission.service, submission.part);
        if (completedAt == 0) revert NoService(submission.service, submission.part);
        bool isOurs = performer == provider && patient == _coverages[submission.coverage].terms.patient;
        if (!isOurs) revert ServiceDiffers(patient, performer);
        if (evidence != submission.evidence) revert EvidenceDiffers(evidence, submission.evidence);
        if (block.timestamp > completedAt + FILING_PERIOD) revert TooLate(completedAt + FILING_PERIOD);
        service = keccak256(abi.encode(submission.source, submission.service, submission.part));
    }

    function _requireState(bytes32 id, State state) private view returns (Claim storage claim) {
        claim = _claims[id];
        if (claim.state != state) revert WrongState(id, claim.state);
    }

    function _requireAdjudicator(address insurer) private view returns (address) {
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool may = role == ProfessionalRole.Adjudicator && institution == insurer;
        if (!may) revert NotAllowed(by, role, institution);
        return by;
    }

    function _requireWithin(uint256 given, uint256 least, uint256 most) private pure {
        if (given < least || given > most) revert InvalidAmount(given, least, most);
    }
}
