// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Records} from "./Records.sol";
import {Registry} from "./Registry.sol";

/// @title Relationships
/// @notice Which institutions keep records for which patients, and how those records are shared:
/// the one place where a patient sees whether something awaits them.
/// @dev Holds, per patient and steward, where the relationship stands and the sharing policy, and per
/// patient the list of stewards. Holds no record and no consent; `Records` counts what awaits.
///
/// The **steward** proposes, the patient accepts. Either can end the relationship. The policy has one
/// question: must the steward countersign before a third party reads? Loosening it takes both;
/// tightening it takes only the patient.
///
/// INVARIANTS
/// - L1: a relationship becomes active only by its patient's acceptance of a proposal of the steward
///   that is outstanding and asks for exactly the policy that the patient names.
/// - L2: the policy in force changes only by the patient's call, and stays as it was when a
///   relationship ends.
/// - L3: `stewardsOf` lists each steward with an active relationship or an outstanding offer exactly
///   once, nobody else, and at most `MAX_STEWARDS`.
/// - L4: `Records` is told of every beginning and every end of a relationship in the same transaction.
///
/// ASSUMPTIONS
/// - Safety: an expelled steward keeps its relationships here but can no longer act on them, because
///   the Registry no longer knows its key.
/// - Safety: records anchored in batches do not show in `summary`; their steward announces them. Nor
///   do records that a steward proposed before the relationship ended; the patient can still answer.
/// - Liveness: a patient whose list is full declines or ends something before the next proposal.
contract Relationships {
    /* TYPES */

    /// @notice Where a relationship stands.
    enum State {
        None,
        Proposed,
        Active,
        Ended
    }

    /// @notice What the steward offers and the patient has not answered.
    enum Offer {
        None,
        PatientAlone,
        Countersigned
    }

    /// @notice What a patient needs to know at a glance.
    enum Status {
        New,
        Awaiting,
        UpToDate
    }

    /// @dev One slot: 8 + 8 + 8 + 8 = 32 bits. `standing` is `None`, `Active` or `Ended`: a
    /// proposal is an offer beside it, so that declining leaves it as it was. `place` is the position
    /// in the patient's list plus one, and zero outside it.
    struct Relationship {
        State standing;
        Offer offer;
        bool countersigned;
        uint8 place;
    }

    /* CONSTANTS */

    /// @notice Stewards in one patient's list. It bounds `summary`.
    uint256 internal constant MAX_STEWARDS = 64;

    /* STORAGE */

    /// @notice Who is an institution.
    Registry public immutable REGISTRY;

    /// @notice Where the records of a relationship are anchored.
    Records public immutable RECORDS;

    mapping(address patient => mapping(address steward => Relationship)) private _relationships;
    mapping(address patient => address[]) private _stewards;

    /* EVENTS */

    /// @notice The steward asks for a relationship under a policy.
    event RelationshipProposed(address indexed patient, address indexed steward, bool countersigned);

    /// @notice The patient accepted; the relationship is active under the policy.
    event RelationshipAccepted(address indexed patient, address indexed steward, bool countersigned);

    /// @notice The relationship ended, by one of its two parties. An outstanding offer is void.
    event RelationshipEnded(address indexed patient, address indexed steward, address by);

    /// @notice The steward asks for another policy.
    event PolicyProposed(address indexed patient, address indexed steward, bool countersigned);

    /// @notice The policy is another from now on. An outstanding offer is void.
    event PolicyChanged(address indexed patient, address indexed steward, bool countersigned);

    /// @notice The steward took its offer back.
    event OfferWithdrawn(address indexed patient, address indexed steward);

    /// @notice The patient turned the offer down.
    event OfferDeclined(address indexed patient, address indexed steward);

    /* ERRORS */

    /// @notice An address that must be given is zero.
    error Zero();

    /// @notice The relationship is active already.
    error AlreadyActive(address patient, address steward);

    /// @notice The relationship is not active.
    error NotActive(address patient, address steward);

    /// @notice Another offer, or none, is outstanding.
    error WrongOffer(Offer outstanding);

    /// @notice The policy is that one already.
    error PolicyUnchanged(bool countersigned);

    /// @notice The patient's list is full.
    error TooManyStewards(uint256 limit);

    /* FUNCTIONS */

    /// @param registry Who is an institution.
    /// @param records Where the `Records` contract will be: it is deployed next, and refuses to be
    /// anywhere else.
    constructor(Registry registry, Records records) {
        REGISTRY = registry;
        RECORDS = records;
    }

    /* The steward */

    /// @notice Asks a patient for a relationship.
    /// @param countersigned Whether third parties shall need the steward's signature as well.
    function propose(address patient, bool countersigned) external {
        address steward = REGISTRY.institution(msg.sender);
        Relationship storage relationship = _relationships[patient][steward];
        if (patient == address(0)) revert Zero();
        if (relationship.standing == State.Active) revert AlreadyActive(patient, steward);
        if (relationship.offer != Offer.None) revert WrongOffer(relationship.offer);

        _list(patient, steward, relationship);
        relationship.offer = _asOffer(countersigned);

        emit RelationshipProposed(patient, steward, countersigned);
    }

    /// @notice Asks the patient for another policy. It replaces an earlier request.
    function proposePolicy(address patient, bool countersigned) external {
        address steward = REGISTRY.institution(msg.sender);
        Relationship storage relationship = _relationships[patient][steward];
        if (relationship.standing != State.Active) revert NotActive(patient, steward);
        if (relationship.countersigned == countersigned) revert PolicyUnchanged(countersigned);

        relationship.offer = _asOffer(countersigned);

        emit PolicyProposed(patient, steward, countersigned);
    }

    /// @notice Takes the outstanding offer back.
    function withdraw(address patient) external {
        address steward = REGISTRY.institution(msg.sender);
        _dropOffer(patient, steward);

        emit OfferWithdrawn(patient, steward);
    }

    /// @notice Ends the relationship with a patient.
    function endFor(address patient) external {
        _end(patient, REGISTRY.institution(msg.sender));
    }

    /* The patient */

    /// @notice Accepts a relationship with a steward.
    /// @param countersigned The policy, as the caller saw it: another one is not accepted unseen.
    function accept(address steward, bool countersigned) external {
        Relationship storage relationship = _relationships[msg.sender][steward];
        if (relationship.standing == State.Active) revert AlreadyActive(msg.sender, steward);
        if (relationship.offer != _asOffer(countersigned)) revert WrongOffer(relationship.offer);

        relationship.standing = State.Active;
        relationship.offer = Offer.None;
        relationship.countersigned = countersigned;

        emit RelationshipAccepted(msg.sender, steward, countersigned);

        RECORDS.noteRelationship(msg.sender, steward, true);
    }

    /// @notice Accepts the policy that the steward asks for.
    /// @param countersigned The policy, as the caller saw it.
    function acceptPolicy(address steward, bool countersigned) external {
        Relationship storage relationship = _relationships[msg.sender][steward];
        if (relationship.standing != State.Active) revert NotActive(msg.sender, steward);
        if (relationship.offer != _asOffer(countersigned)) revert WrongOffer(relationship.offer);

        _setPolicy(msg.sender, steward, countersigned);
    }

    /// @notice Wants the steward's signature on every grant to a third party, from now on.
    /// @dev The stricter policy takes nobody else's agreement.
    function requireCountersignature(address steward) external {
        Relationship storage relationship = _relationships[msg.sender][steward];
        if (relationship.standing != State.Active) revert NotActive(msg.sender, steward);
        if (relationship.countersigned) revert PolicyUnchanged(true);

        _setPolicy(msg.sender, steward, true);
    }

    /// @notice Turns the outstanding offer down.
    function decline(address steward) external {
        _dropOffer(msg.sender, steward);

        emit OfferDeclined(msg.sender, steward);
    }

    /// @notice Ends the relationship with a steward.
    function end(address steward) external {
        _end(msg.sender, steward);
    }

    /* Views */

    /// @notice Where the relationship stands. `Proposed` is a first proposal or one after an end.
    function stateOf(address patient, address steward) external view returns (State) {
        Relationship memory relationship = _relationships[patient][steward];
        if (relationship.standing != State.Active && relationship.offer != Offer.None) return State.Proposed;
        return relationship.standing;
    }

    /// @notice Whether the steward keeps records for the patient now.
    function isActive(address patient, address steward) external view returns (bool) {
        return _relationships[patient][steward].standing == State.Active;
    }

    /// @notice Whether the patient ever accepted the steward.
    function wasAccepted(address patient, address steward) external view returns (bool) {
        return _relationships[patient][steward].standing != State.None;
    }

    /// @notice Whether third parties need the steward's signature as well. After an end it stays as it was.
    function needsCountersignature(address patient, address steward) external view returns (bool) {
        return _relationships[patient][steward].countersigned;
    }

    /// @notice The outstanding offer of a relationship or of a policy.
    function offerOf(address patient, address steward) external view returns (Offer) {
        return _relationships[patient][steward].offer;
    }

    /// @notice The stewards with whom a relationship is active or something is offered, in no order.
    function stewardsOf(address patient) external view returns (address[] memory) {
        return _stewards[patient];
    }

    /// @notice Whether something awaits the patient, and how much.
    /// @return status `Awaiting` when anything does; otherwise `UpToDate` with an active relationship
    /// and `New` without one.
    /// @return active Active relationships.
    /// @return offers Outstanding offers of relationships and policies.
    /// @return records Proposed records of the stewards in the list, batches not counted.
    function summary(address patient)
        external
        view
        returns (Status status, uint256 active, uint256 offers, uint256 records)
    {
        address[] storage stewards = _stewards[patient];
        for (uint256 i; i < stewards.length; ++i) {
            Relationship memory relationship = _relationships[patient][stewards[i]];
            if (relationship.standing == State.Active) ++active;
            if (relationship.offer != Offer.None) ++offers;
            records += RECORDS.pendingOf(patient, stewards[i]);
        }
        if (offers + records != 0) status = Status.Awaiting;
        else if (active != 0) status = Status.UpToDate;
    }

    /* Internal */

    function _end(address patient, address steward) private {
        Relationship storage relationship = _relationships[patient][steward];
        if (relationship.standing != State.Active) revert NotActive(patient, steward);

        relationship.standing = State.Ended;
        relationship.offer = Offer.None;
        _unlist(patient, relationship);

        emit RelationshipEnded(patient, steward, msg.sender == patient ? patient : steward);

        RECORDS.noteRelationship(patient, steward, false);
    }

    function _setPolicy(address patient, address steward, bool countersigned) private {
        Relationship storage relationship = _relationships[patient][steward];
        relationship.countersigned = countersigned;
        relationship.offer = Offer.None;

        emit PolicyChanged(patient, steward, countersigned);
    }

    function _dropOffer(address patient, address steward) private {
        Relationship storage relationship = _relationships[patient][steward];
        if (relationship.offer == Offer.None) revert WrongOffer(Offer.None);

        relationship.offer = Offer.None;
        if (relationship.standing != State.Active) _unlist(patient, relationship);
    }

    function _asOffer(bool countersigned) private pure returns (Offer) {
        return countersigned ? Offer.Countersigned : Offer.PatientAlone;
    }

    function _list(address patient, address steward, Relationship storage relationship) private {
        address[] storage stewards = _stewards[patient];
        if (stewards.length == MAX_STEWARDS) revert TooManyStewards(MAX_STEWARDS);

        stewards.push(steward);
        relationship.place = uint8(stewards.length);
    }

    /// @dev The last of the list moves to the place that becomes free.
    function _unlist(address patient, Relationship storage relationship) private {
        address[] storage stewards = _stewards[patient];
        uint8 place = relationship.place;
        address last = stewards[stewards.length - 1];
        stewards[place - 1] = last;
        _relationships[patient][last].place = place;
        stewards.pop();
        relationship.place = 0;
    }
}
