//! Who may read what: one pure function, asked on every path (S2).
//!
//! [`decide`] is the only maker of a [`Permit`], and a vault opens nothing without one. It refuses by
//! default: each way of being allowed is named in [`Basis`], and everything else is a [`Refusal`].
//!
//! The part that the contracts hold too (consent, countersignature, emergency opening) must agree with
//! their views `Consents.permits` and `EmergencyAccess.permits`; a property test in `gatekeeper` holds
//! one against the other over random histories. In one thing this is stricter: an opening ends for
//! whoever leaves the institution under which it was made.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};

use crate::{
    Countersignature, Grant, InstitutionRole, Kind, KindSet, Opening, ProfessionalRole, Purpose,
    RecordId, RelationshipState, Timestamp, WorkflowGrant,
};

/// Who wants to read, as the registry knows them. Signatures are checked before this is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reader {
    /// The patient whose records they are, through a patient account, custodian included.
    Patient {
        /// The account's address.
        account: Address,
    },
    /// A professional whose own and whose institution's accreditation are in force.
    Professional {
        /// The professional's member address.
        member: Address,
        /// In which role they act.
        role: ProfessionalRole,
        /// For which institution, by member address.
        institution: Address,
    },
    /// An institution in force, by its own key.
    Institution {
        /// The institution's member address.
        member: Address,
        /// What it is accredited as.
        role: InstitutionRole,
    },
}

impl Reader {
    /// The address that a grant to this very reader names.
    #[must_use]
    pub const fn address(&self) -> Address {
        match *self {
            Self::Patient { account } => account,
            Self::Professional { member, .. } | Self::Institution { member, .. } => member,
        }
    }

    /// The institution that the reader is or acts for.
    #[must_use]
    pub const fn institution(&self) -> Option<Address> {
        match *self {
            Self::Patient { .. } => None,
            Self::Professional { institution, .. } => Some(institution),
            Self::Institution { member, .. } => Some(member),
        }
    }

    /// Whether a grant or workflow that names `named` means this reader.
    ///
    /// A grant to an institution means the professionals who act for it; a grant to a professional
    /// means nobody else.
    #[must_use]
    pub fn is_named_by(&self, named: Address) -> bool {
        self.address() == named || self.institution() == Some(named)
    }

    const fn may_read(&self, purpose: Purpose) -> KindSet {
        match self {
            Self::Patient { .. } => match purpose {
                Purpose::PatientRequest => KindSet::ALL,
                _ => KindSet::EMPTY,
            },
            Self::Professional { role, .. } => role.may_read(purpose),
            Self::Institution { role, .. } => role.may_read(purpose),
        }
    }
}

/// One read that is asked for. A search or an export asks once per record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Request {
    /// Who asks.
    pub reader: Reader,
    /// Whose record it is.
    pub patient: Address,
    /// Who keeps it, by member address.
    pub steward: Address,
    /// Which record.
    pub record: RecordId,
    /// What it is about.
    pub kind: Kind,
    /// Why it is asked for.
    pub purpose: Purpose,
    /// When, by the chain's clock.
    pub time: Timestamp,
}

/// What is known that bears on a request. Whoever gathers it takes all of it from one block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where the relationship of patient and steward stands; `None` when there never was one.
    pub relationship: Option<RelationshipState>,
    /// Whether the relationship's policy wants the steward to countersign consents to third parties.
    pub countersigning: bool,
    /// The patient's grants that may name the reader.
    pub grants: Vec<Grant>,
    /// The steward's countersignatures under this patient's grants.
    pub countersignatures: Vec<Countersignature>,
    /// The emergency openings of this patient's records.
    pub openings: Vec<Opening>,
    /// The kinds that the patient closed to emergency access; all of them after opting out.
    pub restricted_kinds: KindSet,
    /// Whether the steward lists the reader as caring for this patient.
    pub in_care_team: bool,
    /// What workflows let their participants read of the very version that is asked for.
    pub workflow_grants: Vec<WorkflowGrant>,
    /// Whether the record was erased.
    pub erased: bool,
}

/// Why a read is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// Patients read what is about them.
    OwnRecord,
    /// The reader cares for this patient at the steward, and the relationship is active.
    CareTeam,
    /// The patient's consent covers it, countersigned where the relationship asks for it.
    Consent {
        /// Whom the consent names.
        reader: Address,
        /// The grant's version.
        version: u32,
    },
    /// A workflow names the reader and this record.
    Workflow {
        /// The workflow's id on chain.
        workflow: B256,
    },
    /// The glass was broken, and the opening holds.
    Emergency {
        /// The opening's id on chain.
        opening: B256,
    },
}

/// Why a read is refused, the most useful reason that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// The record's body and keys are gone.
    #[error("the record was erased")]
    Erased,
    /// Whatever a consent says, this reader never reads this kind for this purpose.
    #[error("this role may not read records of this kind for this purpose")]
    BeyondRole,
    /// The emergency opening does not reach this kind, because the patient closed it beforehand.
    #[error("the patient closed this kind of record to emergency access")]
    RestrictedByPatient,
    /// There is no emergency opening of this reader for this kind at this time.
    #[error("no emergency opening is in force")]
    NoOpening,
    /// A consent covers it, but the steward has not countersigned that version.
    #[error("the steward has not countersigned this consent")]
    NotCountersigned,
    /// A consent names the reader, but its period is over or has not begun.
    #[error("the consent is not in force at this time")]
    OutsidePeriod,
    /// A consent names the reader, but not this kind, purpose or record.
    #[error("the consent does not cover this kind, purpose or record")]
    NotCovered,
    /// No consent names the reader.
    #[error("no consent in force")]
    NoConsent,
}

/// The proof that [`decide`] allowed one read of one record.
///
/// Only [`decide`] makes one; it cannot be copied, and the vault consumes it. So every opened record
/// had its own decision, and the compiler checks it. It says whose record of which kind was decided
/// on, because the versions of one record may differ in kind: the vault opens none but such a one.
///
/// ```compile_fail
/// // A permit cannot be built by hand.
/// let permit = domain::Permit {
///     record: domain::RecordId(domain::B256::ZERO),
///     patient: domain::Address::ZERO,
///     steward: domain::Address::ZERO,
///     kind: domain::Kind::Allergy,
///     basis: domain::Basis::OwnRecord,
/// };
/// ```
///
/// ```compile_fail
/// // A permit cannot be used twice.
/// fn twice(permit: domain::Permit) -> (domain::Permit, domain::Permit) {
///     (permit.clone(), permit)
/// }
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that nobody uses should not have been asked for"]
pub struct Permit {
    record: RecordId,
    patient: Address,
    steward: Address,
    kind: Kind,
    basis: Basis,
}

impl Permit {
    /// The one record that may be opened.
    #[must_use]
    pub const fn record(&self) -> RecordId {
        self.record
    }

    /// Whose record it was taken to be.
    #[must_use]
    pub const fn patient(&self) -> Address {
        self.patient
    }

    /// Who was taken to keep it, by member address.
    #[must_use]
    pub const fn steward(&self) -> Address {
        self.steward
    }

    /// What it was taken to be about.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Why.
    #[must_use]
    pub const fn basis(&self) -> Basis {
        self.basis
    }
}

/// Decides one read.
///
/// # Errors
///
/// A [`Refusal`]: an expected answer, not a fault. The reader is told no more than that.
pub fn decide(request: &Request, facts: &Facts) -> Result<Permit, Refusal> {
    let basis = find_basis(request, facts)?;
    let Request { record, patient, steward, kind, .. } = *request;
    Ok(Permit { record, patient, steward, kind, basis })
}

fn find_basis(request: &Request, facts: &Facts) -> Result<Basis, Refusal> {
    if facts.erased {
        return Err(Refusal::Erased);
    }
    if !request.reader.may_read(request.purpose).contains(request.kind) {
        return Err(Refusal::BeyondRole);
    }
    if let Reader::Patient { account } = request.reader {
        return if account == request.patient {
            Ok(Basis::OwnRecord)
        } else {
            Err(Refusal::NoConsent)
        };
    }
    match request.purpose {
        Purpose::Emergency => by_opening(request, facts),
        Purpose::Treatment => {
            by_care(request, facts).map_or_else(|| by_consent(request, facts), Ok)
        }
        // Whoever treats the patient is not thereby free to study or bill: that takes consent.
        _ => by_consent(request, facts),
    }
}

/// What lets those who treat the patient read without a consent of its own.
fn by_care(request: &Request, facts: &Facts) -> Option<Basis> {
    if is_care_team(request, facts) {
        return Some(Basis::CareTeam);
    }
    let grant = facts.workflow_grants.iter().find(|grant| {
        grant.record == request.record && request.reader.is_named_by(grant.institution)
    })?;
    Some(Basis::Workflow { workflow: grant.workflow })
}

fn is_care_team(request: &Request, facts: &Facts) -> bool {
    facts.in_care_team
        && facts.relationship == Some(RelationshipState::Active)
        && request.reader.institution() == Some(request.steward)
}

fn by_opening(request: &Request, facts: &Facts) -> Result<Basis, Refusal> {
    let opening = facts.openings.iter().find(|opening| {
        opening.professional == request.reader.address()
            && request.reader.institution() == Some(opening.institution)
            && opening.kinds.contains(request.kind)
            && opening.period.contains(request.time)
    });
    match opening {
        None => Err(Refusal::NoOpening),
        Some(_) if facts.restricted_kinds.contains(request.kind) => {
            Err(Refusal::RestrictedByPatient)
        }
        Some(opening) => Ok(Basis::Emergency { opening: opening.id }),
    }
}

fn by_consent(request: &Request, facts: &Facts) -> Result<Basis, Refusal> {
    let mut closest = Refusal::NoConsent;
    for grant in &facts.grants {
        if !request.reader.is_named_by(grant.reader) {
            continue;
        }
        match examine(grant, request, facts) {
            Ok(()) => {
                return Ok(Basis::Consent { reader: grant.reader, version: grant.version });
            }
            Err(refusal) => closest = closest.closer(refusal),
        }
    }
    Err(closest)
}

fn examine(grant: &Grant, request: &Request, facts: &Facts) -> Result<(), Refusal> {
    let in_scope = grant.record.is_none_or(|record| record == request.record);
    let terms = &grant.terms;
    if !in_scope || !terms.kinds.contains(request.kind) || !terms.purposes.contains(request.purpose)
    {
        return Err(Refusal::NotCovered);
    }
    if !terms.period.contains(request.time) {
        return Err(Refusal::OutsidePeriod);
    }
    let needs_countersignature = facts.countersigning && grant.reader != request.steward;
    let countersigned = facts.countersignatures.contains(&Countersignature {
        reader: grant.reader,
        record: grant.record,
        version: grant.version,
    });
    if needs_countersignature && !countersigned {
        return Err(Refusal::NotCountersigned);
    }
    Ok(())
}

impl Refusal {
    /// The one of two reasons that says more about what is missing.
    fn closer(self, other: Self) -> Self {
        let nearness = |refusal| match refusal {
            Self::NotCountersigned => 3,
            Self::OutsidePeriod => 2,
            Self::NotCovered => 1,
            _ => 0,
        };
        if nearness(other) > nearness(self) { other } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Period, PurposeSet, Terms};

    const PATIENT: Address = Address::repeat_byte(1);
    const STEWARD: Address = Address::repeat_byte(2);
    const HOSPITAL: Address = Address::repeat_byte(3);
    const PHYSICIAN: Address = Address::repeat_byte(4);
    const RECORD: RecordId = RecordId(B256::repeat_byte(5));
    const NOW: Timestamp = Timestamp(1_000);

    fn physician() -> Reader {
        Reader::Professional {
            member: PHYSICIAN,
            role: ProfessionalRole::Physician,
            institution: HOSPITAL,
        }
    }

    fn request() -> Request {
        Request {
            reader: physician(),
            patient: PATIENT,
            steward: STEWARD,
            record: RECORD,
            kind: Kind::Laboratory,
            purpose: Purpose::Treatment,
            time: NOW,
        }
    }

    fn grant(reader: Address) -> Grant {
        Grant {
            reader,
            record: None,
            terms: Terms {
                period: Period::new(Timestamp(900), Timestamp(1_100)).unwrap(),
                kinds: KindSet::of(&[Kind::Laboratory]),
                purposes: PurposeSet::of(&[Purpose::Treatment]),
            },
            version: 1,
        }
    }

    fn opening() -> Opening {
        Opening {
            id: B256::repeat_byte(9),
            professional: PHYSICIAN,
            institution: HOSPITAL,
            kinds: KindSet::of(&[Kind::Laboratory]),
            period: Period::new(Timestamp(900), Timestamp(1_100)).unwrap(),
        }
    }

    #[track_caller]
    fn check(request: Request, facts: Facts, expected: Result<Basis, Refusal>) {
        assert_eq!(decide(&request, &facts).map(|permit| permit.basis()), expected);
    }

    #[test]
    fn nothing_known_is_refused() {
        check(request(), Facts::default(), Err(Refusal::NoConsent));
    }

    #[test]
    fn grant_to_the_institution_means_its_professionals() {
        let facts = Facts { grants: vec![grant(HOSPITAL)], ..Facts::default() };
        check(request(), facts, Ok(Basis::Consent { reader: HOSPITAL, version: 1 }));
    }

    #[test]
    fn grant_to_another_professional_is_refused() {
        let facts = Facts { grants: vec![grant(Address::repeat_byte(8))], ..Facts::default() };
        check(request(), facts, Err(Refusal::NoConsent));
    }

    #[test]
    fn consent_does_not_widen_a_role() {
        let reader = Reader::Professional {
            member: PHYSICIAN,
            role: ProfessionalRole::Auditor,
            institution: HOSPITAL,
        };
        let facts = Facts { grants: vec![grant(HOSPITAL)], ..Facts::default() };
        check(Request { reader, ..request() }, facts, Err(Refusal::BeyondRole));
    }

    #[test]
    fn consent_ends_at_its_last_second() {
        let facts = || Facts { grants: vec![grant(PHYSICIAN)], ..Facts::default() };
        let at = |time| Request { time: Timestamp(time), ..request() };
        check(at(899), facts(), Err(Refusal::OutsidePeriod));
        check(at(900), facts(), Ok(Basis::Consent { reader: PHYSICIAN, version: 1 }));
        check(at(1_099), facts(), Ok(Basis::Consent { reader: PHYSICIAN, version: 1 }));
        check(at(1_100), facts(), Err(Refusal::OutsidePeriod));
    }

    #[test]
    fn dual_consent_needs_this_version_countersigned() {
        let signed = |version| Facts {
            countersigning: true,
            grants: vec![grant(HOSPITAL)],
            countersignatures: vec![Countersignature { reader: HOSPITAL, record: None, version }],
            ..Facts::default()
        };
        check(request(), signed(0), Err(Refusal::NotCountersigned));
        check(request(), signed(1), Ok(Basis::Consent { reader: HOSPITAL, version: 1 }));
        check(request(), signed(2), Err(Refusal::NotCountersigned));
    }

    #[test]
    fn grant_for_one_record_opens_no_other() {
        let other = RecordId(B256::repeat_byte(6));
        let facts = |record| Facts {
            grants: vec![Grant { record: Some(record), ..grant(HOSPITAL) }],
            ..Facts::default()
        };
        check(request(), facts(other), Err(Refusal::NotCovered));
        check(request(), facts(RECORD), Ok(Basis::Consent { reader: HOSPITAL, version: 1 }));
    }

    #[test]
    fn care_team_reads_at_its_own_active_steward_only() {
        let facts =
            |state| Facts { in_care_team: true, relationship: Some(state), ..Facts::default() };
        let own = Request { steward: HOSPITAL, ..request() };
        check(own, facts(RelationshipState::Active), Ok(Basis::CareTeam));
        check(own, facts(RelationshipState::Ended), Err(Refusal::NoConsent));
        check(request(), facts(RelationshipState::Active), Err(Refusal::NoConsent));
    }

    #[test]
    fn glass_breaks_for_the_opener_alone() {
        let facts = || Facts { openings: vec![opening()], ..Facts::default() };
        let emergency = Request { purpose: Purpose::Emergency, ..request() };
        let colleague = Reader::Professional {
            member: Address::repeat_byte(8),
            role: ProfessionalRole::Physician,
            institution: HOSPITAL,
        };
        check(emergency, facts(), Ok(Basis::Emergency { opening: B256::repeat_byte(9) }));
        check(Request { reader: colleague, ..emergency }, facts(), Err(Refusal::NoOpening));
        check(request(), facts(), Err(Refusal::NoConsent));
    }

    #[test]
    fn broken_glass_stays_with_the_institution() {
        let elsewhere = Reader::Professional {
            member: PHYSICIAN,
            role: ProfessionalRole::Physician,
            institution: Address::repeat_byte(8),
        };
        let facts = Facts { openings: vec![opening()], ..Facts::default() };
        let emergency = Request { reader: elsewhere, purpose: Purpose::Emergency, ..request() };
        check(emergency, facts, Err(Refusal::NoOpening));
    }

    #[test]
    fn care_and_workflows_serve_treatment_only() {
        let researcher = Reader::Professional {
            member: PHYSICIAN,
            role: ProfessionalRole::Researcher,
            institution: STEWARD,
        };
        let grant =
            WorkflowGrant { workflow: B256::repeat_byte(9), institution: STEWARD, record: RECORD };
        let facts = Facts {
            in_care_team: true,
            relationship: Some(RelationshipState::Active),
            workflow_grants: vec![grant],
            ..Facts::default()
        };
        let research = Request { reader: researcher, purpose: Purpose::Research, ..request() };
        check(research, facts, Err(Refusal::NoConsent));
    }

    #[test]
    fn patients_restriction_outlasts_broken_glass() {
        let facts = Facts {
            openings: vec![opening()],
            restricted_kinds: KindSet::of(&[Kind::Laboratory]),
            ..Facts::default()
        };
        let emergency = Request { purpose: Purpose::Emergency, ..request() };
        check(emergency, facts, Err(Refusal::RestrictedByPatient));
    }

    #[test]
    fn patients_read_their_own_and_nobody_elses() {
        let own = Request {
            reader: Reader::Patient { account: PATIENT },
            purpose: Purpose::PatientRequest,
            ..request()
        };
        check(own, Facts::default(), Ok(Basis::OwnRecord));
        let other = Request { patient: Address::repeat_byte(7), ..own };
        check(other, Facts::default(), Err(Refusal::NoConsent));
    }

    #[test]
    fn workflow_opens_its_one_record() {
        let facts = |record| Facts {
            workflow_grants: vec![WorkflowGrant {
                workflow: B256::repeat_byte(9),
                institution: HOSPITAL,
                record,
            }],
            ..Facts::default()
        };
        check(request(), facts(RECORD), Ok(Basis::Workflow { workflow: B256::repeat_byte(9) }));
        check(request(), facts(RecordId(B256::ZERO)), Err(Refusal::NoConsent));
    }

    #[test]
    fn erased_records_open_to_nobody() {
        let own = Request {
            reader: Reader::Patient { account: PATIENT },
            purpose: Purpose::PatientRequest,
            ..request()
        };
        check(own, Facts { erased: true, ..Facts::default() }, Err(Refusal::Erased));
    }
}
