// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {makeId} from "./Ids.sol";
import {Registry} from "./Registry.sol";
import {InstitutionRole, ProfessionalRole} from "./Types.sol";

/// @title Trials
/// @notice A clinical trial whose protocol is fixed before anybody takes part, whose randomisation nobody
/// can steer, and whose results belong to data that was locked before anybody knew who got what.
/// @dev Holds per trial the digests of protocol, endpoints and criteria, two commitments to secret seeds,
/// and the head of the chain of data entries; per subject site, version consented to, and nonce. Holds no
/// condition, treatment, visit or measurement: those are in sealed records behind digests.
///
///     Registered -> Recruiting -> Locked -> Unblinded -> Published
///          |             |
///          +-------------+-> Stopped
///
/// The **sponsor** is the research body or hospital of the researcher who registers. The **custodian** is
/// the regulator whose auditor approves the protocol. Each commits to a seed before the first subject
/// enrols, bound to trial and party, so that neither can copy or change its own after seeing the other's:
///
///     commitment = keccak256(abi.encode(id, party, seed))
///     seed       = keccak256(abi.encode(sponsor's seed, custodian's seed))
///     arm        = uint256(keccak256(abi.encode(seed, id, patient, nonce))) % arms
///
/// The nonce is the patient's, who commits to it with the first consent, as `keccak256(abi.encode(nonce))`, and opens
/// it once enrolled. Seeds are revealed only after the data is locked, so that until then nobody who knows one seed
/// knows any arm; and who knows both, to hand out treatments (a pharmacist of the site who is not blinded), knows the
/// arm of nobody who is not enrolled yet. The pharmacist commits to each subject's arm before the first visit, which
/// is checked afterwards.
///
/// INVARIANTS
/// - R1: protocol, endpoints and criteria are on chain before the first consent; endpoints, number of arms
///   and both commitments never change afterwards.
/// - R2: an arm is determined by two seeds committed before the first consent and by the patient's nonce, committed
///   with it; neither party, nor a site, nor a pharmacist with both seeds, can know an arm before the patient is
///   enrolled, and nothing is left to choose then. No data is entered for a subject whose arm was not committed to.
/// - R3: seeds are revealed only after the lock, and only those that were committed.
/// - R4: data is entered only for a subject who is enrolled, not withdrawn, and consented to the protocol
///   version in force; every entry is in the head, in order; after the lock there is none.
/// - R5: results are published at most once, after both seeds, for exactly the endpoints registered and the
///   data head locked.
/// - R6: a withdrawal never fails and is final; no entry follows it.
/// - R7: a serious adverse event is reported late exactly when more than `REPORT_PERIOD` passed since the
///   site became aware, and overdue exactly from `REPORT_PERIOD` after its report until it is acknowledged.
///
/// ASSUMPTIONS
/// - Safety: sponsor and custodian do not both tell their seed to a patient, who chooses a nonce. Who hands out
///   treatments has both seeds and tells no arm to those who enter data or talk to subjects. The pharmacists of the
///   sponsor hand out nothing, unless the sponsor is the subject's site.
/// - Safety: nonces are random, and told to nobody before they are opened: who can guess one knows what opening it
///   tells.
/// - Liveness: an enrolled subject who never opens the nonce has no arm, and no data is entered for them.
/// - Safety: a site says rightly when it became aware, and whether an event is serious.
/// - Safety: that an account takes part in a trial is public among members; which trial it is, only to who
///   holds the protocol.
/// - Liveness: a site that goes on entering data or reporting events delays the lock; everybody sees which one.
/// - Liveness: a party that never reveals its seed, or committed to zero, which is refused, keeps the results from being
///   published. It cannot choose among outcomes by it: revealing is for all subjects or for none.
contract Trials {
    /* TYPES */

    /// @notice Where a trial stands.
    enum State {
        None,
        Registered,
        Recruiting,
        Locked,
        Unblinded,
        Published,
        Stopped
    }

    /// @notice Where a patient stands in a trial.
    enum Standing {
        None,
        Consented,
        Enrolled,
        Excluded,
        Withdrawn
    }

    /// @notice What is fixed when a trial is registered.
    /// @param protocol Digest of the sealed protocol.
    /// @param endpoints Salted digest of the endpoints.
    /// @param criteria Salted digest of the criteria of eligibility.
    /// @param arms 2 to `MAX_ARMS`.
    struct Design {
        bytes32 protocol;
        bytes32 endpoints;
        bytes32 criteria;
        uint8 arms;
    }

    /// @dev Eleven slots: 160 + 8 + 8 + 16 + 16 = 208 bits; 160 + 32 + 32 + 32 = 256 bits; 256 bits each.
    /// @param version Of the protocol in force, from 1.
    /// @param pendingVersion Of the protocol that awaits approval; zero when none does.
    /// @param enrolled Subjects ever enrolled.
    /// @param entries Data entries.
    /// @param unacknowledged Serious adverse events that await acknowledgement.
    /// @param dataHead Zero, then `keccak256(abi.encode(previous, patient, visit, digest))`.
    /// @param sponsorSeed Zero until revealed.
    struct Trial {
        address sponsor;
        State state;
        uint8 arms;
        uint16 version;
        uint16 pendingVersion;
        address custodian;
        uint32 enrolled;
        uint32 entries;
        uint32 unacknowledged;
        bytes32 protocol;
        bytes32 endpoints;
        bytes32 criteria;
        bytes32 sponsorCommitment;
        bytes32 custodianCommitment;
        bytes32 sponsorSeed;
        bytes32 custodianSeed;
        bytes32 dataHead;
        bytes32 results;
    }

    /// @notice What an approval would put in force.
    struct Amendment {
        bytes32 protocol;
        bytes32 criteria;
    }

    /// @dev Four slots: 160 + 8 + 16 + 16 + 8 = 208 bits; 256 bits each.
    /// @param version Of the protocol that the patient consented to.
    /// @param visits Data entries so far.
    /// @param unblinded Whether a doctor had to know the arm.
    /// @param commitment `keccak256(abi.encode(nonce))`, from the first consent.
    /// @param nonce The patient's share of the randomness; zero until opened.
    /// @param allocation Zero, or `keccak256(abi.encode(id, patient, arm, salt))`.
    struct Subject {
        address site;
        Standing standing;
        uint16 version;
        uint16 visits;
        bool unblinded;
        bytes32 commitment;
        bytes32 nonce;
        bytes32 allocation;
    }

    /// @dev One slot: 160 + 40 + 8 + 8 + 8 bits.
    struct AdverseEvent {
        address patient;
        uint40 reportedAt;
        bool serious;
        bool late;
        bool acknowledged;
    }

    /* CONSTANTS */

    /// @notice How soon a serious adverse event is reported, and acknowledged.
    /// @dev Source: ICH E6 and Regulation (EU) 536/2014, article 41: 24 hours from becoming aware.
    uint256 internal constant REPORT_PERIOD = 24 hours;

    /// @notice The most arms of one trial.
    uint256 internal constant MAX_ARMS = 16;

    /* STORAGE */

    /// @notice Who is a professional, where, and in which role.
    Registry public immutable REGISTRY;

    mapping(bytes32 id => Trial) private _trials;
    mapping(bytes32 id => Amendment) private _amendments;
    mapping(bytes32 id => mapping(address site => uint256 standing)) private _sites;
    mapping(bytes32 id => mapping(address patient => Subject)) private _subjects;
    mapping(bytes32 id => AdverseEvent[]) private _adverse;

    uint256 private constant _INVITED = 1;
    uint256 private constant _JOINED = 2;

    /* EVENTS */

    /// @notice A trial is registered; nobody takes part yet.
    event TrialRegistered(
        bytes32 indexed id, address indexed sponsor, address indexed by, Design design, bytes32 commitment
    );

    /// @notice A regulator approved, and committed to its seed.
    event TrialApproved(bytes32 indexed id, address indexed custodian, address indexed by, bytes32 commitment);

    /// @notice The sponsor asks for another version of the protocol.
    event AmendmentProposed(
        bytes32 indexed id, uint16 indexed version, address indexed by, bytes32 protocol, bytes32 criteria
    );

    /// @notice That version is in force. Nothing is entered for a subject who did not consent to it.
    event AmendmentApproved(bytes32 indexed id, uint16 indexed version, address indexed by);

    /// @notice The sponsor invites a site.
    event SiteInvited(bytes32 indexed id, address indexed site, address indexed by);

    /// @notice The site takes part.
    event SiteJoined(bytes32 indexed id, address indexed site);

    /// @notice The patient consented to a version, at a site.
    event SubjectConsented(
        bytes32 indexed id, address indexed patient, address indexed site, uint16 version, bytes32 commitment
    );

    /// @notice An enrolled patient opened the nonce: both seeds and it give the arm.
    event NonceOpened(bytes32 indexed id, address indexed patient, bytes32 nonce);

    /// @notice The site found the patient eligible by the criteria in force, or not.
    /// @param screening Digest of the sealed screening record.
    event SubjectScreened(
        bytes32 indexed id, address indexed patient, address indexed by, bool eligible, bytes32 criteria, bytes32 screening
    );

    /// @notice Whoever hands out treatments committed to the subject's arm.
    event SubjectAllocated(bytes32 indexed id, address indexed patient, address indexed by, bytes32 allocation);

    /// @notice A doctor had to know the arm.
    event SubjectUnblinded(bytes32 indexed id, address indexed patient, address indexed by, bytes32 reason);

    /// @notice Data was entered.
    event DataEntered(
        bytes32 indexed id, address indexed patient, address indexed by, uint16 visit, bytes32 digest, bytes32 head
    );

    /// @notice The patient withdrew.
    /// @param keepData Whether what was entered may still be used.
    event SubjectWithdrawn(bytes32 indexed id, address indexed patient, bool keepData);

    /// @notice Something happened to a subject.
    event AdverseEventReported(
        bytes32 indexed id,
        address indexed patient,
        address indexed by,
        uint256 number,
        bool serious,
        bool late,
        uint40 awareAt,
        bytes32 digest
    );

    /// @notice The sponsor has seen it.
    event AdverseEventAcknowledged(bytes32 indexed id, uint256 indexed number, address indexed by);

    /// @notice No more data.
    event DataLocked(bytes32 indexed id, address indexed by, bytes32 head, uint32 entries);

    /// @notice A party revealed its seed.
    event SeedRevealed(bytes32 indexed id, address indexed party, bytes32 seed);

    /// @notice The results, for the endpoints registered and the data locked.
    event ResultsPublished(
        bytes32 indexed id, address indexed by, bytes32 endpoints, bytes32 dataHead, bytes32 results
    );

    /// @notice The trial is stopped for good.
    event TrialStopped(bytes32 indexed id, address indexed by, bytes32 reason);

    /* ERRORS */

    /// @notice The professional's role or institution does not do this step.
    error NotAllowed(address professional, ProfessionalRole role, address institution);

    /// @notice The institution has another role.
    error WrongInstitution(address institution, InstitutionRole role);

    /// @notice The identifier was used before.
    error AlreadyRegistered(bytes32 id);

    /// @notice This step does not follow on that state.
    error WrongState(bytes32 id, State state);

    /// @notice This step does not follow on where the patient stands.
    error WrongStanding(bytes32 id, address patient, Standing standing);

    /// @notice There are too few or too many arms.
    error InvalidArms(uint8 given, uint256 most);

    /// @notice A digest or commitment that must be given is zero.
    error Zero();

    /// @notice The site was not invited, or takes part already.
    error NotInvited(bytes32 id, address site);

    /// @notice The site does not take part.
    error NotSite(bytes32 id, address site);

    /// @notice Another version of the protocol is in force, or awaits approval.
    error VersionDiffers(uint16 expected, uint16 given);

    /// @notice Other criteria are in force.
    error CriteriaDiffer(bytes32 expected, bytes32 given);

    /// @notice The subject did not consent to the version in force.
    error ConsentOutdated(address patient, uint16 consented, uint16 version);

    /// @notice The patient committed to another nonce, or opened it before.
    error NonceRefused(address patient);

    /// @notice The patient did not open the nonce yet.
    error NonceSealed(address patient);

    /// @notice Nobody committed to the subject's arm yet.
    error NotAllocated(address patient);

    /// @notice The arm of the subject was committed to before.
    error AlreadyAllocated(address patient);

    /// @notice The time lies in the future.
    error NotYet(uint40 given, uint256 time);

    /// @notice There is no such event, or it was acknowledged before.
    error NothingToAcknowledge(bytes32 id, uint256 number);

    /// @notice Serious adverse events await acknowledgement.
    error Unacknowledged(bytes32 id, uint32 count);

    /// @notice The data ends elsewhere.
    error DataDiffers(bytes32 expected, bytes32 given);

    /// @notice Other endpoints were registered.
    error EndpointsDiffer(bytes32 expected, bytes32 given);

    /// @notice The party committed to another seed, or is none, or revealed it before.
    error SeedRefused(bytes32 id, address party);

    /* FUNCTIONS */

    constructor(Registry registry) {
        REGISTRY = registry;
    }

    /* Before the first subject */

    /// @notice Registers a trial, as a researcher of a research body or a hospital.
    /// @param salt Random, never used before by the caller.
    /// @param commitment The sponsor's, over the identifier that `makeId(researcher, salt)` gives.
    /// @return id `makeId(researcher, salt)`.
    function register(bytes32 salt, Design calldata design, bytes32 commitment) external returns (bytes32 id) {
        (address by, ProfessionalRole role, address sponsor) = REGISTRY.professional(msg.sender);
        if (role != ProfessionalRole.Researcher) revert NotAllowed(by, role, sponsor);
        InstitutionRole place = REGISTRY.roleOf(sponsor);
        bool fits = place == InstitutionRole.Research || place == InstitutionRole.Hospital;
        if (!fits) revert WrongInstitution(sponsor, place);
        if (design.protocol == 0 || design.endpoints == 0 || design.criteria == 0 || commitment == 0) revert Zero();
        if (design.arms < 2 || design.arms > MAX_ARMS) revert InvalidArms(design.arms, MAX_ARMS);
        id = makeId(by, salt);
        Trial storage trial = _trials[id];
        if (trial.state != State.None) revert AlreadyRegistered(id);

        (trial.sponsor, trial.state, trial.arms, trial.version) = (sponsor, State.Registered, design.arms, 1);
        (trial.protocol, trial.endpoints, trial.criteria) = (design.protocol, design.endpoints, design.criteria);
        trial.sponsorCommitment = commitment;

        emit TrialRegistered(id, sponsor, by, design, commitment);
    }

    /// @notice Approves a trial, as an auditor of a regulator, and commits to the second seed.
    /// @param protocol As the auditor saw it.
    /// @param commitment The custodian's.
    function approve(bytes32 id, bytes32 protocol, bytes32 commitment) external {
        Trial storage trial = _requireState(id, State.Registered);
        (address by, address custodian) = _requireRegulator();
        if (protocol != trial.protocol) revert DataDiffers(trial.protocol, protocol);
        if (commitment == 0) revert Zero();

        (trial.state, trial.custodian, trial.custodianCommitment) = (State.Recruiting, custodian, commitment);

        emit TrialApproved(id, custodian, by, commitment);
    }

    /// @notice Invites a site, as a researcher of the sponsor.
    function inviteSite(bytes32 id, address site) external {
        Trial storage trial = _requireOpen(id);
        address by = _requireSponsor(trial);
        InstitutionRole place = REGISTRY.roleOf(site);
        if (place == InstitutionRole.None) revert WrongInstitution(site, place);
        if (_sites[id][site] != 0) revert NotInvited(id, site);

        _sites[id][site] = _INVITED;

        emit SiteInvited(id, site, by);
    }

    /// @notice Takes part, as a site that was invited.
    function joinTrial(bytes32 id) external {
        _requireOpen(id);
        address site = REGISTRY.institution(msg.sender);
        if (_sites[id][site] != _INVITED) revert NotInvited(id, site);

        _sites[id][site] = _JOINED;

        emit SiteJoined(id, site);
    }

    /// @notice Asks for another protocol, as a researcher of the sponsor. Endpoints cannot be changed: that
    /// is another trial.
    function proposeAmendment(bytes32 id, bytes32 protocol, bytes32 criteria) external {
        Trial storage trial = _requireState(id, State.Recruiting);
        address by = _requireSponsor(trial);
        if (protocol == 0 || criteria == 0) revert Zero();

        uint16 version = trial.version + 1;
        trial.pendingVersion = version;
        _amendments[id] = Amendment(protocol, criteria);

        emit AmendmentProposed(id, version, by, protocol, criteria);
    }

    /// @notice Puts the amendment in force, as an auditor of the custodian.
    /// @param protocol As the auditor saw it.
    /// @param criteria As the auditor saw them: softer ones are not approved unseen.
    function approveAmendment(bytes32 id, bytes32 protocol, bytes32 criteria) external {
        Trial storage trial = _requireState(id, State.Recruiting);
        address by = _requireCustodian(trial);
        Amendment memory amendment = _amendments[id];
        if (trial.pendingVersion == 0) revert VersionDiffers(0, trial.version);
        if (protocol != amendment.protocol) revert DataDiffers(amendment.protocol, protocol);
        if (criteria != amendment.criteria) revert CriteriaDiffer(amendment.criteria, criteria);

        (trial.version, trial.pendingVersion) = (trial.pendingVersion, 0);
        (trial.protocol, trial.criteria) = (amendment.protocol, amendment.criteria);
        delete _amendments[id];

        emit AmendmentApproved(id, trial.version, by);
    }

    /// @notice Stops a trial for good, as an auditor of the custodian or a researcher of the sponsor.
    /// @param reason Digest of the reason.
    function stop(bytes32 id, bytes32 reason) external {
        Trial storage trial = _requireOpen(id);
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool isSponsor = role == ProfessionalRole.Researcher && institution == trial.sponsor;
        bool isCustodian = role == ProfessionalRole.Auditor && institution == trial.custodian;
        if (!isSponsor && !isCustodian) revert NotAllowed(by, role, institution);

        trial.state = State.Stopped;

        emit TrialStopped(id, by, reason);
    }

    /* The patient */

    /// @notice Consents to the protocol, at a site; also again, to another version.
    /// @param version As the patient saw it.
    /// @param commitment `keccak256(abi.encode(nonce))` of a random nonce. Counts with the first consent only.
    function consent(bytes32 id, address site, uint16 version, bytes32 commitment) external {
        Trial storage trial = _requireState(id, State.Recruiting);
        Subject storage subject = _subjects[id][msg.sender];
        if (subject.standing == Standing.Excluded || subject.standing == Standing.Withdrawn) {
            revert WrongStanding(id, msg.sender, subject.standing);
        }
        if (version != trial.version) revert VersionDiffers(trial.version, version);
        if (_sites[id][site] != _JOINED) revert NotSite(id, site);

        if (subject.standing == Standing.None) {
            if (commitment == 0) revert Zero();
            (subject.standing, subject.commitment) = (Standing.Consented, commitment);
        }
        (subject.site, subject.version) = (site, version);

        emit SubjectConsented(id, msg.sender, site, version, subject.commitment);
    }

    /// @notice Opens the nonce, as a patient who is enrolled: nobody knew it when they were screened.
    /// @param nonce Not zero.
    function openNonce(bytes32 id, bytes32 nonce) external {
        _requireState(id, State.Recruiting);
        Subject storage subject = _requireStanding(id, msg.sender, Standing.Enrolled);
        bool fits = nonce != 0 && subject.nonce == 0 && keccak256(abi.encode(nonce)) == subject.commitment;
        if (!fits) revert NonceRefused(msg.sender);

        subject.nonce = nonce;

        emit NonceOpened(id, msg.sender, nonce);
    }

    /// @notice Withdraws the caller, for good. Nothing is entered any more.
    /// @param keepData Whether what was entered may still be used.
    function withdraw(bytes32 id, bool keepData) external {
        _subjects[id][msg.sender].standing = Standing.Withdrawn;

        emit SubjectWithdrawn(id, msg.sender, keepData);
    }

    /* The site */

    /// @notice Enrols or excludes a patient who consented, as a researcher or physician of the site.
    /// @param criteria That the patient was held against; those in force.
    /// @param screening Digest of the sealed screening record.
    function screen(bytes32 id, address patient, bool eligible, bytes32 criteria, bytes32 screening) external {
        Trial storage trial = _requireState(id, State.Recruiting);
        Subject storage subject = _requireStanding(id, patient, Standing.Consented);
        (address by, ProfessionalRole role, address institution) = _requireSite(id, subject.site);
        bool may = role == ProfessionalRole.Researcher || role == ProfessionalRole.Physician;
        if (!may) revert NotAllowed(by, role, institution);
        if (criteria != trial.criteria) revert CriteriaDiffer(trial.criteria, criteria);
        _requireCurrent(trial, patient, subject);

        subject.standing = eligible ? Standing.Enrolled : Standing.Excluded;
        if (eligible) ++trial.enrolled;

        emit SubjectScreened(id, patient, by, eligible, criteria, screening);
    }

    /// @notice Commits to the arm of an enrolled subject who opened the nonce, as a pharmacist of the site.
    /// @param allocation `keccak256(abi.encode(id, patient, arm, salt))`, with a secret salt.
    function allocate(bytes32 id, address patient, bytes32 allocation) external {
        _requireState(id, State.Recruiting);
        Subject storage subject = _requireStanding(id, patient, Standing.Enrolled);
        (address by, ProfessionalRole role, address institution) = _requireSite(id, subject.site);
        if (role != ProfessionalRole.Pharmacist) revert NotAllowed(by, role, institution);
        if (subject.nonce == 0) revert NonceSealed(patient);
        if (allocation == 0) revert Zero();
        if (subject.allocation != 0) revert AlreadyAllocated(patient);

        subject.allocation = allocation;

        emit SubjectAllocated(id, patient, by, allocation);
    }

    /// @notice Enters data of a visit of a subject whose arm was committed to, as a researcher, physician or nurse of
    /// the subject's site.
    /// @param digest Digest of the sealed data.
    function enter(bytes32 id, address patient, bytes32 digest) external {
        Trial storage trial = _requireState(id, State.Recruiting);
        Subject storage subject = _requireStanding(id, patient, Standing.Enrolled);
        address by = _requireStaff(id, subject.site);
        _requireCurrent(trial, patient, subject);
        if (subject.allocation == 0) revert NotAllocated(patient);
        if (digest == 0) revert Zero();

        uint16 visit = ++subject.visits;
        bytes32 head = keccak256(abi.encode(trial.dataHead, patient, visit, digest));
        trial.dataHead = head;
        ++trial.entries;

        emit DataEntered(id, patient, by, visit, digest, head);
    }

    /// @notice Says that a doctor had to know a subject's arm, as a physician of the site. Results show it.
    function unblind(bytes32 id, address patient, bytes32 reason) external {
        Trial storage trial = _trials[id];
        if (trial.state != State.Recruiting && trial.state != State.Locked) revert WrongState(id, trial.state);
        Subject storage subject = _subjects[id][patient];
        if (subject.standing != Standing.Enrolled && subject.standing != Standing.Withdrawn) {
            revert WrongStanding(id, patient, subject.standing);
        }
        (address by, ProfessionalRole role, address institution) = _requireSite(id, subject.site);
        if (role != ProfessionalRole.Physician) revert NotAllowed(by, role, institution);

        subject.unblinded = true;

        emit SubjectUnblinded(id, patient, by, reason);
    }

    /// @notice Reports an adverse event, as a researcher, physician or nurse of the subject's site. It goes on
    /// after lock, stop and withdrawal: safety has no end.
    /// @param awareAt When the site became aware, Unix time in seconds.
    /// @param digest Digest of the sealed report.
    function reportAdverseEvent(bytes32 id, address patient, bool serious, uint40 awareAt, bytes32 digest) external {
        Trial storage trial = _trials[id];
        Subject storage subject = _subjects[id][patient];
        if (subject.site == address(0)) revert WrongStanding(id, patient, subject.standing);
        address by = _requireStaff(id, subject.site);
        if (awareAt > block.timestamp) revert NotYet(awareAt, block.timestamp);

        bool late = serious && block.timestamp > awareAt + REPORT_PERIOD;
        _adverse[id].push(AdverseEvent(patient, uint40(block.timestamp), serious, late, false));
        if (serious) ++trial.unacknowledged;

        emit AdverseEventReported(id, patient, by, _adverse[id].length - 1, serious, late, awareAt, digest);
    }

    /* Sponsor and custodian */

    /// @notice Says that a serious adverse event was seen, as a researcher of the sponsor.
    function acknowledge(bytes32 id, uint256 number) external {
        Trial storage trial = _trials[id];
        address by = _requireSponsor(trial);
        AdverseEvent[] storage events = _adverse[id];
        if (number >= events.length || !events[number].serious || events[number].acknowledged) {
            revert NothingToAcknowledge(id, number);
        }

        events[number].acknowledged = true;
        --trial.unacknowledged;

        emit AdverseEventAcknowledged(id, number, by);
    }

    /// @notice Locks the data, as a researcher of the sponsor.
    /// @param head Where the data ends, as the caller saw it.
    function lock(bytes32 id, bytes32 head) external {
        Trial storage trial = _requireState(id, State.Recruiting);
        address by = _requireSponsor(trial);
        if (head != trial.dataHead) revert DataDiffers(trial.dataHead, head);
        if (trial.unacknowledged != 0) revert Unacknowledged(id, trial.unacknowledged);

        trial.state = State.Locked;

        emit DataLocked(id, by, head, trial.entries);
    }

    /// @notice Reveals a party's seed, after the lock. Whoever knows it can.
    /// @param party Sponsor or custodian.
    /// @param seed Not zero, which says that none was revealed.
    function reveal(bytes32 id, address party, bytes32 seed) external {
        Trial storage trial = _requireState(id, State.Locked);
        if (seed == 0) revert Zero();
        bytes32 commitment = commitmentOf(id, party, seed);
        if (party == trial.sponsor && trial.sponsorSeed == 0 && commitment == trial.sponsorCommitment) {
            trial.sponsorSeed = seed;
        } else if (party == trial.custodian && trial.custodianSeed == 0 && commitment == trial.custodianCommitment) {
            trial.custodianSeed = seed;
        } else {
            revert SeedRefused(id, party);
        }
        if (trial.sponsorSeed != 0 && trial.custodianSeed != 0) trial.state = State.Unblinded;

        emit SeedRevealed(id, party, seed);
    }

    /// @notice Publishes the results, as a researcher of the sponsor.
    /// @param endpoints As registered.
    /// @param dataHead As locked.
    /// @param results Digest of the results.
    function publish(bytes32 id, bytes32 endpoints, bytes32 dataHead, bytes32 results) external {
        Trial storage trial = _requireState(id, State.Unblinded);
        address by = _requireSponsor(trial);
        if (endpoints != trial.endpoints) revert EndpointsDiffer(trial.endpoints, endpoints);
        if (dataHead != trial.dataHead) revert DataDiffers(trial.dataHead, dataHead);
        if (results == 0) revert Zero();

        (trial.state, trial.results) = (State.Published, results);

        emit ResultsPublished(id, by, endpoints, dataHead, results);
    }

    /* Views */

    /// @notice Where a trial stands.
    function stateOf(bytes32 id) external view returns (State) {
        return _trials[id].state;
    }

    /// @notice All that is stored of a trial.
    function trialOf(bytes32 id) external view returns (Trial memory) {
        return _trials[id];
    }

    /// @notice All that is stored of a patient in a trial.
    function subjectOf(bytes32 id, address patient) external view returns (Subject memory) {
        return _subjects[id][patient];
    }

    /// @notice Whether an institution was invited and takes part.
    function siteOf(bytes32 id, address site) external view returns (bool invited, bool joined) {
        uint256 standing = _sites[id][site];
        return (standing != 0, standing == _JOINED);
    }

    /// @notice An adverse event, numbered from 0.
    function adverseEventOf(bytes32 id, uint256 number) external view returns (AdverseEvent memory) {
        return _adverse[id][number];
    }

    /// @notice How many adverse events there are.
    function adverseEvents(bytes32 id) external view returns (uint256) {
        return _adverse[id].length;
    }

    /// @notice Whether a serious adverse event waits for the sponsor longer than it may.
    function isOverdue(bytes32 id, uint256 number) external view returns (bool) {
        AdverseEvent memory stored = _adverse[id][number];
        return stored.serious && !stored.acknowledged && block.timestamp >= stored.reportedAt + REPORT_PERIOD;
    }

    /// @notice What a party commits to.
    function commitmentOf(bytes32 id, address party, bytes32 seed) public pure returns (bytes32) {
        return keccak256(abi.encode(id, party, seed));
    }

    /// @notice The arm that seeds and nonce give, from 0.
    function armFor(
        bytes32 sponsorSeed,
        bytes32 custodianSeed,
        bytes32 id,
        address patient,
        bytes32 nonce,
        uint256 arms
    ) public pure returns (uint256) {
        bytes32 seed = keccak256(abi.encode(sponsorSeed, custodianSeed));
        return uint256(keccak256(abi.encode(seed, id, patient, nonce))) % arms;
    }

    /// @notice The arm of a subject who opened the nonce, from 0, once both seeds are known.
    function armOf(bytes32 id, address patient) public view returns (uint256) {
        Trial storage trial = _trials[id];
        if (trial.state != State.Unblinded && trial.state != State.Published) revert WrongState(id, trial.state);
        Subject storage subject = _subjects[id][patient];
        if (subject.nonce == 0) revert NonceSealed(patient);
        return armFor(trial.sponsorSeed, trial.custodianSeed, id, patient, subject.nonce, trial.arms);
    }

    /// @notice Whether the treatment handed out was that of the subject's arm.
    /// @param salt Of the allocation.
    function isAllocatedRightly(bytes32 id, address patient, bytes32 salt) external view returns (bool) {
        uint256 arm = armOf(id, patient);
        return _subjects[id][patient].allocation == keccak256(abi.encode(id, patient, arm, salt));
    }

    /* Internal */

    function _requireState(bytes32 id, State state) private view returns (Trial storage trial) {
        trial = _trials[id];
        if (trial.state != state) revert WrongState(id, trial.state);
    }

    function _requireOpen(bytes32 id) private view returns (Trial storage trial) {
        trial = _trials[id];
        if (trial.state != State.Registered && trial.state != State.Recruiting) revert WrongState(id, trial.state);
    }

    function _requireStanding(bytes32 id, address patient, Standing standing)
        private
        view
        returns (Subject storage subject)
    {
        subject = _subjects[id][patient];
        if (subject.standing != standing) revert WrongStanding(id, patient, subject.standing);
    }

    function _requireCurrent(Trial storage trial, address patient, Subject storage subject) private view {
        if (subject.version != trial.version) revert ConsentOutdated(patient, subject.version, trial.version);
    }

    function _requireSponsor(Trial storage trial) private view returns (address) {
        (address by, ProfessionalRole role, address institution) = REGISTRY.professional(msg.sender);
        bool may = role == ProfessionalRole.Researcher && institution == trial.sponsor;
        if (!may) revert NotAllowed(by, role, institution);
        return by;
    }

    function _requireRegulator() private view returns (address by, address institution) {
        ProfessionalRole role;
        (by, role, institution) = REGISTRY.professional(msg.sender);
        if (role != ProfessionalRole.Auditor) revert NotAllowed(by, role, institution);
        InstitutionRole place = REGISTRY.roleOf(institution);
        if (place != InstitutionRole.Regulator) revert WrongInstitution(institution, place);
    }

    function _requireCustodian(Trial storage trial) private view returns (address) {
        (address by, address institution) = _requireRegulator();
        if (institution != trial.custodian) revert WrongInstitution(institution, InstitutionRole.Regulator);
        return by;
    }

    function _requireSite(bytes32 id, address site)
        private
        view
        returns (address by, ProfessionalRole role, address institution)
    {
        (by, role, institution) = REGISTRY.professional(msg.sender);
        if (institution != site || _sites[id][institution] != _JOINED) revert NotAllowed(by, role, institution);
    }

    function _requireStaff(bytes32 id, address site) private view returns (address) {
        (address by, ProfessionalRole role, address institution) = _requireSite(id, site);
        bool may = role == ProfessionalRole.Researcher || role == ProfessionalRole.Physician
            || role == ProfessionalRole.Nurse;
        if (!may) revert NotAllowed(by, role, institution);
        return by;
    }
}
