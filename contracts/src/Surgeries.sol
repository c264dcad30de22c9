// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IServices} from "./IServices.sol";
import {makeId} from "./Ids.sol";
import {Registry} from "./Registry.sol";
import {Relationships} from "./Relationships.sol";
import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title Surgeries
/// @notice An operation from referral to follow-up, with the WHO surgical safety checklist between:
/// each role signs its own step, and nobody cuts before consent and time-out.
/// @dev Holds per surgery who, where it stands, which signatures the running step has, and the digests
/// of the plan and of the checklist; implants by a keyed digest of their serial number. Holds no
/// diagnosis, procedure or theatre: those are in sealed records behind digests.
///
///     Referred -> Assessed -> Consented -> Scheduled -> SignedIn -> TimedOut -> Incised -> SignedOut
///                    ^                                                                        |
///                    |                    FollowedUp <- Discharged <- Recovering <------------+
///                    +--- return to theatre: another round ---+------------+
///     Before the incision: -> Cancelled, in a later round back to Recovering.
///
/// The **anaesthetist** is a physician. Sign-in takes anaesthetist and nurse; time-out and sign-out take
/// surgeon, anaesthetist and nurse, all over the same digest of the filled-in checklist. When one of
/// them signs another digest, the step begins anew with that signature.
///
/// INVARIANTS
/// - U1: no incision without, in the same round, a consent to exactly the plan that stands, a sign-in
///   and a time-out, each with every signature that it takes.
/// - U2: a patient's withdrawal before the incision takes the surgery back to Assessed, and no doctors'
///   certificate replaces the patient's consent from then on, in that round or a later one, until the patient consents.
/// - U3: each step is signed by who owns it, in force at the hospital at that moment.
/// - U4: an implant is put into a patient once, however many say so of other patients; patient and implant lead to the
///   surgery, events lead from an implant to everybody of whom it was said, and each surgery lists its implants. Until
///   the sign-out the team takes back what it recorded by mistake, and nothing of a round changes after it.
/// - U5: a service receipt exists for a round exactly from its sign-out on, and never changes.
/// - U6: an identifier belongs to who opened it, so nobody can take it first.
///
/// ASSUMPTIONS
/// - Safety: signatures say what people did. The contract refuses a wrong order, it cannot see a theatre.
/// - Safety: the digest of an implant is keyed (HMAC) by its maker or the hospital, for serial numbers
///   can be guessed. Lots are digests under a key of the maker, who finds them in a recall.
/// - Safety: an implant that is said to be in two patients is in one of them at most, and the contract cannot see in
///   which. It keeps neither team from recording, so that nobody blocks an implant by naming it first.
/// - Safety: a surgeon and a physician together certify that a patient cannot consent and cannot wait.
///   The certificate is an event that the patient sees.
/// - Liveness: a team member who cannot go on is relieved by any doctor or nurse of the hospital, until the patient is
///   handed over.
contract Surgeries is IServices {
    /* TYPES */

    /// @notice Where a surgery stands.
    enum State {
        None,
        Referred,
        Assessed,
        Consented,
        Scheduled,
        SignedIn,
        TimedOut,
        Incised,
        SignedOut,
        Recovering,
        Discharged,
        FollowedUp,
        Cancelled
    }

    /// @notice A place in the team.
    enum Seat {
        Surgeon,
        Anaesthetist,
        Nurse
    }

    /// @dev Seven slots: 160 + 8 + 8 + 8 + 8 + 40 = 232 bits; 160 bits five times, with the referrer
    /// alone in one; 256 bits twice at the end.
    /// @param round How often the patient goes to the theatre, from 1.
    /// @param signatures Bit set of seats that signed the running step, or of the doctors who certified.
    /// @param refused Whether the patient withdrew and did not consent since, in whatever round.
    /// @param scheduledAt Unix time, in seconds.
    /// @param team By `Seat`.
    /// @param plan Digest of the sealed plan, which the patient consents to.
    /// @param checklist Digest that the signatures of the running step are over.
    struct Surgery {
        address patient;
        State state;
        uint8 round;
        uint8 signatures;
        bool refused;
        uint40 scheduledAt;
        address hospital;
        address referrer;
        address[3] team;
        bytes32 plan;
        bytes32 checklist;
    }

    /// @notice The receipt of one round. Two slots: 256 bits, 40 bits.
    struct Receipt {
        bytes32 report;
        uint40 signedOutAt;
    }

    /// @notice Where an implant is.
    /// @dev Two slots: 256 bits; 8 + 8 bits.
    /// @param surgery Zero when it was never put in.
    /// @param round Of the surgery, in which it was put in.
    struct Implant {
        bytes32 surgery;
        uint8 round;
        bool removed;
    }

    /* CONSTANTS */

    /// @notice The furthest that a surgery is scheduled ahead.
    uint256 internal constant MAX_AHEAD = 2 * 366 days;

    /// @notice The most implants of one surgery.
    uint256 internal constant MAX_IMPLANTS = 32;

    /// @notice The most rounds of one surgery.
    uint256 internal constant MAX_ROUNDS = 16;

    uint8 private constant _SURGEON = 1;
    uint8 private constant _ANAESTHETIST = 2;
    uint8 private constant _NURSE = 4;

    /* STORAGE */

    /// @notice Who is a professional, where, and in which role.
    Registry public immutable REGISTRY;

    /// @notice Who keeps records for whom.
    Relationships public immutable RELATIONSHIPS;

    mapping(bytes32 id => Surgery) private _surgeries;
    mapping(bytes32 id => mapping(uint256 round => Receipt)) private _receipts;
    mapping(bytes32 id => bytes32[]) private _implantsOf;
    mapping(address patient => mapping(bytes32 implant => Implant)) private _implants;

    /* EVENTS */

    /// @notice A doctor referred a patient to a hospital.
    /// @param referral Digest of the sealed referral.
    event SurgeryReferred(
        bytes32 indexed id, address indexed patient, address indexed hospital, address referrer, bytes32 referral
    );

    /// @notice A doctor of the hospital assessed the patient and wrote a plan. It replaces an earlier one.
    event SurgeryAssessed(bytes32 indexed id, address indexed patient, address indexed by, uint8 round, bytes32 plan);

    /// @notice The patient consented to the plan.
    event SurgeryConsented(bytes32 indexed id, address indexed patient, uint8 round, bytes32 plan);

    /// @notice A doctor certified that the patient can neither consent nor wait.
    /// @param complete Whether both doctors have, so that the certificate stands for the consent.
    event SurgeryCertified(
        bytes32 indexed id, address indexed patient, address indexed by, uint8 round, bytes32 reason, bool complete
    );

    /// @notice The patient withdrew the consent.
    event SurgeryConsentWithdrawn(bytes32 indexed id, address indexed patient, uint8 round);

    /// @notice The surgery has a team and a time.
    event SurgeryScheduled(
        bytes32 indexed id, address indexed patient, address indexed by, address[3] team, uint40 scheduledAt, bytes32 theatre
    );

    /// @notice Another member of the team.
    event TeamChanged(bytes32 indexed id, address indexed patient, address indexed by, Seat seat, address member);

    /// @notice Somebody signed a step of the checklist.
    /// @param step The state that the step leads to.
    /// @param complete Whether that was the last signature, so that the step is done.
    event ChecklistSigned(
        bytes32 indexed id,
        address indexed patient,
        address indexed by,
        State step,
        uint8 round,
        bytes32 checklist,
        bool complete
    );

    /// @notice The surgeon began.
    event SurgeryIncised(bytes32 indexed id, address indexed patient, address indexed by, uint8 round);

    /// @notice An implant was put in.
    event Implanted(
        bytes32 indexed implant, bytes32 indexed lot, address indexed patient, bytes32 id, uint8 round, address by
    );

    /// @notice An implant was not put in: it was recorded by mistake.
    event ImplantVoided(
        bytes32 indexed implant, address indexed patient, bytes32 indexed id, uint8 round, address by
    );

    /// @notice An implant was taken out.
    event Explanted(bytes32 indexed implant, address indexed patient, bytes32 indexed id, uint8 round, address by);

    /// @notice Something went wrong.
    event ComplicationReported(
        bytes32 indexed id, address indexed patient, address indexed by, State during, uint8 round, bytes32 digest
    );

    /// @notice The patient is in recovery, home, or seen again.
    /// @param state `Recovering`, `Discharged` or `FollowedUp`.
    event SurgeryContinued(
        bytes32 indexed id, address indexed patient, address indexed by, State state, uint8 round, bytes32 digest
    );

    /// @notice The patient must go back to the theatre. Another round begins with that plan.
    event ReturnedToTheatre(bytes32 indexed id, address indexed patient, address indexed by, uint8 round, bytes32 plan);

    /// @notice There will be no incision in this round.
    /// @param state `Cancelled`, or `Recovering` in a later round.
    event SurgeryCancelled(
        bytes32 indexed id, address indexed patient, address indexed by, State state, uint8 round, bytes32 reason
    );

    /* ERRORS */

    /// @notice The professional's role, institution or seat does not do this step.
    error NotAllowed(address professional, ProfessionalRole role, address institution);

    /// @notice The caller is not the patient.
    error NotPatient(address caller);

    /// @notice The institution is no hospital.
    error NotHospital(address institution, InstitutionRole role);

    /// @notice The referrer's institution keeps no records for the patient.
    error NotActive(address patient, address steward);

    /// @notice The identifier was used before.
    error AlreadyReferred(bytes32 id);

    /// @notice This step does not follow on that state.
    error WrongState(bytes32 id, State state);

    /// @notice Another plan stands.
    error PlanDiffers(bytes32 expected, bytes32 given);

    /// @notice The patient refused and did not consent since.
    error Refused(bytes32 id);

    /// @notice The time lies outside its bounds, in seconds.
    error InvalidTime(uint40 given, uint256 least, uint256 most);

    /// @notice A digest that must be given is zero.
    error Zero();

    /// @notice The implant was put into this patient before.
    error AlreadyImplanted(bytes32 implant, bytes32 surgery);

    /// @notice The implant is not in this patient.
    error NotImplanted(bytes32 implant, address patient);

    /// @notice There is no place for another.
    error TooMany(uint256 limit);

    /// @notice The signature was given before.
    error AlreadySigned(bytes32 id, address by);

    /* FUNCTIONS */

    constructor(Registry registry, Relationships relationships) {
        REGISTRY = registry;
        RELATIONSHIPS = relationships;
    }

    /* Before the theatre */

    /// @notice Refers a patient, as a physician or surgeon of an institution that keeps the patient's records.
    /// @param salt Random, never used before by the caller.
    /// @param referral Digest of the sealed referral.
    /// @return id `makeId(referrer, salt)`.
    function refer(bytes32 salt, address patient, address hospital, bytes32 referral) external returns (bytes32 id) {
        (address referrer, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        if (!_isDoctor(role)) revert NotAllowed(referrer, role, institution);
        if (!RELATIONSHIPS.isActive(patient, institution)) revert NotActive(patient, institution);
        InstitutionRole place = REGISTRY.roleOf(hospital);
        if (place != InstitutionRole.Hospital) revert NotHospital(hospital, place);
        id = makeId(referrer, salt);
        Surgery storage surgery = _surgeries[id];
        if (surgery.state != State.None) revert AlreadyReferred(id);

        surgery.patient = patient;
        (surgery.state, surgery.round) = (State.Referred, 1);
        (surgery.hospital, surgery.referrer) = (hospital, referrer);

        emit SurgeryReferred(id, patient, hospital, referrer, referral);
    }

    /// @notice Assesses the patient, as a physician or surgeon of the hospital.
    /// @param plan Digest of the sealed plan. It replaces one that the patient did not consent to yet.
    function assess(bytes32 id, bytes32 plan) external {
        Surgery storage surgery = _surgeries[id];
        State state = surgery.state;
        if (state != State.Referred && state != State.Assessed) revert WrongState(id, state);
        address by = _requireDoctor(surgery);
        if (plan == 0) revert Zero();

        (surgery.state, surgery.signatures, surgery.plan) = (State.Assessed, 0, plan);

        emit SurgeryAssessed(id, surgery.patient, by, surgery.round, plan);
    }

    /// @notice Consents to a plan, as the patient.
    /// @param plan As the patient saw it: another one is not consented to unseen.
    function consent(bytes32 id, bytes32 plan) external {
        Surgery storage surgery = _requireState(id, State.Assessed);
        _requirePatient(surgery);
        if (plan != surgery.plan) revert PlanDiffers(surgery.plan, plan);

        (surgery.state, surgery.signatures, surgery.refused) = (State.Consented, 0, false);

        emit SurgeryConsented(id, surgery.patient, surgery.round, plan);
    }

    /// @notice Certifies, as one of a surgeon and a physician of the hospital, that the patient can
    /// neither consent nor wait.
    /// @param plan As the doctor saw it.
    /// @param reason Digest of the sealed reason.
    function certify(bytes32 id, bytes32 plan, bytes32 reason) external {
        Surgery storage surgery = _requireState(id, State.Assessed);
        (address by, ProfessionalRole role,) = _requireHospital(surgery);
        uint8 bit = role == ProfessionalRole.Surgeon ? _SURGEON : role == ProfessionalRole.Physician ? _ANAESTHETIST : 0;
        if (bit == 0) revert NotAllowed(by, role, surgery.hospital);
        if (surgery.refused) revert Refused(id);
        if (plan != surgery.plan) revert PlanDiffers(surgery.plan, plan);
        if (surgery.signatures & bit != 0) revert AlreadySigned(id, by);

        uint8 signatures = surgery.signatures | bit;
        bool complete = signatures == _SURGEON | _ANAESTHETIST;
        surgery.signatures = complete ? 0 : signatures;
        if (complete) surgery.state = State.Consented;

        emit SurgeryCertified(id, surgery.patient, by, surgery.round, reason, complete);
    }

    /// @notice Withdraws the consent, as the patient, at any time before the incision.
    /// @dev Does not revert when there was none: withdrawing must always work.
    function withdrawConsent(bytes32 id) external {
        Surgery storage surgery = _surgeries[id];
        State state = surgery.state;
        if (state == State.None || state > State.TimedOut) revert WrongState(id, state);
        _requirePatient(surgery);

        if (state > State.Assessed) surgery.state = State.Assessed;
        (surgery.signatures, surgery.refused) = (0, true);

        emit SurgeryConsentWithdrawn(id, surgery.patient, surgery.round);
    }

    /// @notice Names team and time, as a surgeon or nurse of the hospital; also to change them.
    /// @param team By `Seat`: surgeon, anaesthetist, nurse, all of the hospital.
    /// @param scheduledAt Unix time, in seconds.
    /// @param theatre Digest of the place.
    function schedule(bytes32 id, address[3] calldata team, uint40 scheduledAt, bytes32 theatre) external {
        Surgery storage surgery = _surgeries[id];
        State state = surgery.state;
        if (state != State.Consented && state != State.Scheduled) revert WrongState(id, state);
        (address by, ProfessionalRole role,) = _requireHospital(surgery);
        bool may = role == ProfessionalRole.Surgeon || role == ProfessionalRole.Nurse;
        if (!may) revert NotAllowed(by, role, surgery.hospital);
        if (scheduledAt < block.timestamp || scheduledAt > block.timestamp + MAX_AHEAD) {
            revert InvalidTime(scheduledAt, block.timestamp, block.timestamp + MAX_AHEAD);
        }
        for (uint256 i; i < 3; ++i) {
            _requireFits(surgery, Seat(i), team[i]);
        }

        (surgery.state, surgery.signatures, surgery.scheduledAt) = (State.Scheduled, 0, scheduledAt);
        surgery.team = team;

        emit SurgeryScheduled(id, surgery.patient, by, team, scheduledAt, theatre);
    }

    /// @notice Puts somebody else into a seat, as a physician, surgeon or nurse of the hospital. What the
    /// predecessor signed of the running step is signed again. After the time-out there is another one: nobody
    /// begins who was not there.
    function relieve(bytes32 id, Seat seat, address member) external {
        Surgery storage surgery = _surgeries[id];
        State state = surgery.state;
        if (state < State.Scheduled || state > State.SignedOut) revert WrongState(id, state);
        (address by, ProfessionalRole role,) = _requireHospital(surgery);
        if (!_isDoctor(role) && role != ProfessionalRole.Nurse) revert NotAllowed(by, role, surgery.hospital);
        _requireFits(surgery, seat, member);

        surgery.team[uint256(seat)] = member;
        surgery.signatures &= ~uint8(1 << uint8(seat));
        if (state == State.TimedOut) surgery.state = State.SignedIn;

        emit TeamChanged(id, surgery.patient, by, seat, member);
    }

    /* In the theatre */

    /// @notice Signs the sign-in, before anaesthesia, as anaesthetist or nurse.
    /// @param checklist Digest of the filled-in checklist.
    function signIn(bytes32 id, bytes32 checklist) external {
        _sign(id, State.Scheduled, State.SignedIn, _ANAESTHETIST | _NURSE, checklist);
    }

    /// @notice Signs the time-out, before the incision, as surgeon, anaesthetist or nurse.
    function timeOut(bytes32 id, bytes32 checklist) external {
        _sign(id, State.SignedIn, State.TimedOut, _SURGEON | _ANAESTHETIST | _NURSE, checklist);
    }

    /// @notice Begins the operation, as its surgeon.
    function incise(bytes32 id) external {
        Surgery storage surgery = _requireState(id, State.TimedOut);
        address by = _requireSeat(surgery, _SURGEON);

        (surgery.state, surgery.signatures) = (State.Incised, 0);

        emit SurgeryIncised(id, surgery.patient, by, surgery.round);
    }

    /// @notice Records an implant, as surgeon or nurse of the team.
    /// @param implant Keyed digest of the serial number, never put into this patient before.
    /// @param lot Keyed digest of the lot, for recalls.
    function recordImplant(bytes32 id, bytes32 implant, bytes32 lot) external {
        Surgery storage surgery = _requireState(id, State.Incised);
        address by = _requireSeat(surgery, _SURGEON | _NURSE);
        if (implant == 0) revert Zero();
        Implant storage stored = _implants[surgery.patient][implant];
        if (stored.surgery != 0) revert AlreadyImplanted(implant, stored.surgery);
        bytes32[] storage implants = _implantsOf[id];
        if (implants.length == MAX_IMPLANTS) revert TooMany(MAX_IMPLANTS);

        (stored.surgery, stored.round) = (id, surgery.round);
        implants.push(implant);

        emit Implanted(implant, lot, surgery.patient, id, surgery.round, by);
    }

    /// @notice Takes back what was recorded by mistake in this round, as surgeon or nurse of the team, before the
    /// sign-out. It can be recorded again, also of another patient.
    function voidImplant(bytes32 id, bytes32 implant) external {
        Surgery storage surgery = _requireState(id, State.Incised);
        address by = _requireSeat(surgery, _SURGEON | _NURSE);
        Implant storage stored = _implants[surgery.patient][implant];
        bool isOfRound = stored.surgery == id && stored.round == surgery.round && !stored.removed;
        if (!isOfRound) revert NotImplanted(implant, surgery.patient);

        delete _implants[surgery.patient][implant];
        _forget(_implantsOf[id], implant);

        emit ImplantVoided(implant, surgery.patient, id, surgery.round, by);
    }

    /// @notice Records that an implant of the patient was taken out, as the surgeon of the team. It is
    /// never put in again.
    function recordExplant(bytes32 id, bytes32 implant) external {
        Surgery storage surgery = _requireState(id, State.Incised);
        address by = _requireSeat(surgery, _SURGEON);
        Implant storage stored = _implants[surgery.patient][implant];
        if (stored.surgery == 0 || stored.removed) revert NotImplanted(implant, surgery.patient);

        stored.removed = true;

        emit Explanted(implant, surgery.patient, id, surgery.round, by);
    }

    /// @notice Signs the sign-out, as surgeon, anaesthetist or nurse. The last signature makes the receipt.
    /// @param report Digest of the sealed report with counts, specimens and implants.
    function signOut(bytes32 id, bytes32 report) external {
        if (!_sign(id, State.Incised, State.SignedOut, _SURGEON | _ANAESTHETIST | _NURSE, report)) return;
        _receipts[id][_surgeries[id].round] = Receipt(report, uint40(block.timestamp));
    }

    /* After the theatre */

    /// @notice Hands the patient over to recovery, as the anaesthetist.
    function handOver(bytes32 id, bytes32 digest) external {
        Surgery storage surgery = _requireState(id, State.SignedOut);
        _continue(id, surgery, _requireSeat(surgery, _ANAESTHETIST), State.Recovering, digest);
    }

    /// @notice Discharges the patient, as a physician or surgeon of the hospital.
    function discharge(bytes32 id, bytes32 digest) external {
        Surgery storage surgery = _requireState(id, State.Recovering);
        _continue(id, surgery, _requireDoctor(surgery), State.Discharged, digest);
    }

    /// @notice Sees the patient again, as a physician or surgeon of the hospital, or who referred.
    function followUp(bytes32 id, bytes32 digest) external {
        Surgery storage surgery = _requireState(id, State.Discharged);
        (address by,,) = REGISTRY.professional(msg.sender);
        if (by != surgery.referrer) _requireDoctor(surgery);
        _continue(id, surgery, by, State.FollowedUp, digest);
    }

    /// @notice Takes the patient back to the theatre, as a surgeon of the hospital. It takes consent anew.
    /// @param plan Digest of the sealed plan of the next round.
    function returnToTheatre(bytes32 id, bytes32 plan) external {
        Surgery storage surgery = _surgeries[id];
        State state = surgery.state;
        if (state != State.Recovering && state != State.Discharged) revert WrongState(id, state);
        (address by, ProfessionalRole role,) = _requireHospital(surgery);
        if (role != ProfessionalRole.Surgeon) revert NotAllowed(by, role, surgery.hospital);
        if (plan == 0) revert Zero();
        if (surgery.round == MAX_ROUNDS) revert TooMany(MAX_ROUNDS);

        uint8 round = surgery.round + 1;
        (surgery.state, surgery.round, surgery.plan) = (State.Assessed, round, plan);

        emit ReturnedToTheatre(id, surgery.patient, by, round, plan);
    }

    /// @notice Reports a complication, as a physician, surgeon or nurse of the hospital, from sign-in on.
    /// @param digest Digest of the sealed report.
    function reportComplication(bytes32 id, bytes32 digest) external {
        Surgery storage surgery = _surgeries[id];
        State state = surgery.state;
        if (state < State.SignedIn || state == State.Cancelled) revert WrongState(id, state);
        (address by, ProfessionalRole role,) = _requireHospital(surgery);
        if (!_isDoctor(role) && role != ProfessionalRole.Nurse) revert NotAllowed(by, role, surgery.hospital);

        emit ComplicationReported(id, surgery.patient, by, state, surgery.round, digest);
    }

    /// @notice Calls the surgery off before the incision, as the patient, the referrer, or a physician or
    /// surgeon of the hospital. A later round is called off alone: the patient is in recovery as before.
    /// @param reason Digest of the sealed reason.
    function cancel(bytes32 id, bytes32 reason) external {
        Surgery storage surgery = _surgeries[id];
        State state = surgery.state;
        if (state == State.None || state > State.TimedOut) revert WrongState(id, state);
        address by = msg.sender;
        if (by != surgery.patient) {
            (by,,) = REGISTRY.professional(msg.sender);
            if (by != surgery.referrer) _requireDoctor(surgery);
        }

        State next = surgery.round == 1 ? State.Cancelled : State.Recovering;
        (surgery.state, surgery.signatures) = (next, 0);

        emit SurgeryCancelled(id, surgery.patient, by, next, surgery.round, reason);
    }

    /* Views */

    /// @notice Where a surgery stands.
    function stateOf(bytes32 id) external view returns (State) {
        return _surgeries[id].state;
    }

    /// @notice All that is stored of a surgery.
    function surgeryOf(bytes32 id) external view returns (Surgery memory) {
        return _surgeries[id];
    }

    /// @notice The implants that a surgery put in, in their order, those that were taken out later included.
    function implantsOf(bytes32 id) external view returns (bytes32[] memory) {
        return _implantsOf[id];
    }

    /// @notice The surgery in which an implant was put into a patient; zero when it never was.
    function implantOf(address patient, bytes32 implant) external view returns (Implant memory) {
        return _implants[patient][implant];
    }

    /// @inheritdoc IServices
    /// @dev A part is a round. Once a round was signed out, its receipt stays.
    function serviceOf(bytes32 id, uint256 part)
        external
        view
        returns (address patient, address provider, uint40 completedAt, bytes32 evidence)
    {
        Receipt memory receipt = _receipts[id][part];
        if (receipt.signedOutAt == 0) return (address(0), address(0), 0, 0);
        return (_surgeries[id].patient, _surgeries[id].hospital, receipt.signedOutAt, receipt.report);
    }

    /* Internal */

    /// @return complete Whether that was the last signature of the step.
    function _sign(bytes32 id, State from, State to, uint8 needed, bytes32 checklist) private returns (bool complete) {
        Surgery storage surgery = _requireState(id, from);
        address by = _requireSeat(surgery, needed);
        if (checklist == 0) revert Zero();
        uint8 bit = _bitOf(surgery, by, needed);
        uint8 signatures = surgery.checklist == checklist ? surgery.signatures : 0;
        if (signatures & bit != 0) revert AlreadySigned(id, by);

        signatures |= bit;
        complete = signatures == needed;
        surgery.signatures = complete ? 0 : signatures;
        surgery.checklist = complete ? bytes32(0) : checklist;
        if (complete) surgery.state = to;

        emit ChecklistSigned(id, surgery.patient, by, to, surgery.round, checklist, complete);
    }

    function _continue(bytes32 id, Surgery storage surgery, address by, State state, bytes32 digest) private {
        surgery.state = state;

        emit SurgeryContinued(id, surgery.patient, by, state, surgery.round, digest);
    }

    /// @dev The others keep their order.
    function _forget(bytes32[] storage implants, bytes32 implant) private {
        uint256 last = implants.length - 1;
        bool found;
        for (uint256 i; i < last; ++i) {
            found = found || implants[i] == implant;
            if (found) implants[i] = implants[i + 1];
        }
        implants.pop();
    }

    function _requireState(bytes32 id, State state) private view returns (Surgery storage surgery) {
        surgery = _surgeries[id];
        if (surgery.state != state) revert WrongState(id, surgery.state);
    }

    function _requirePatient(Surgery storage surgery) private view {
        if (msg.sender != surgery.patient) revert NotPatient(msg.sender);
    }

    function _requireHospital(Surgery storage surgery)
        private
        view
        returns (address member, ProfessionalRole role, address institution)
    {
        (member, role, institution) = REGISTRY.professional(msg.sender);
        if (institution != surgery.hospital) revert NotAllowed(member, role, institution);
    }

    function _requireDoctor(Surgery storage surgery) private view returns (address) {
        (address member, ProfessionalRole role, address institution) = _requireHospital(surgery);
        if (!_isDoctor(role)) revert NotAllowed(member, role, institution);
        return member;
    }

    /// @dev Somebody can lose role and institution after being scheduled, and is asked for both again.
    function _requireSeat(Surgery storage surgery, uint8 seats) private view returns (address) {
        (address member, ProfessionalRole role, address institution) = _requireHospital(surgery);
        uint8 bit = _bitOf(surgery, member, seats);
        bool fits = bit != 0 && _fits(bit == _SURGEON ? Seat.Surgeon : bit == _NURSE ? Seat.Nurse : Seat.Anaesthetist, role);
        if (!fits) revert NotAllowed(member, role, institution);
        return member;
    }

    /// @dev Roles differ between the seats, so nobody sits in two.
    function _bitOf(Surgery storage surgery, address member, uint8 seats) private view returns (uint8) {
        if (seats & _SURGEON != 0 && surgery.team[0] == member) return _SURGEON;
        if (seats & _ANAESTHETIST != 0 && surgery.team[1] == member) return _ANAESTHETIST;
        if (seats & _NURSE != 0 && surgery.team[2] == member) return _NURSE;
        return 0;
    }

    function _requireFits(Surgery storage surgery, Seat seat, address member) private view {
        (address known, ProfessionalRole role, address institution) = REGISTRY.professional(REGISTRY.signerOf(member));
        bool fits = known == member && institution == surgery.hospital && _fits(seat, role);
        if (!fits) revert NotAllowed(member, role, institution);
    }

    function _fits(Seat seat, ProfessionalRole role) private pure returns (bool) {
        if (seat == Seat.Surgeon) return role == ProfessionalRole.Surgeon;
        if (seat == Seat.Anaesthetist) return role == ProfessionalRole.Physician;
        return role == ProfessionalRole.Nurse;
    }

    function _isDoctor(ProfessionalRole role) private pure returns (bool) {
        return role == ProfessionalRole.Physician || role == ProfessionalRole.Surgeon;
    }
}
