//! Breaking the glass: access without prior consent for a patient who cannot be asked.
//!
//! A professional of an emergency department opens some kinds of record for a short time, with a
//! reason. The patient is alerted by the event. Kinds that the patient closed beforehand stay closed.
//! The department's privacy officer reviews every opening once it is over, or ends it as unjustified;
//! unreviewed past its time, it blocks that professional's next one.

use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use bindings::{
    Contract, EmergencyAccess,
    convert::{to_opening, to_uint40},
    patient_account::Call,
};
use domain::{KindSet, Purpose, RecordDigest, Timestamp};
use ledger::{EmergencyOpening, Outcome};

use crate::{Gateway, PatientActor, Person, Step, WorkflowError, given::require_words};

/// How long after its beginning an opening is to be reviewed.
///
/// # Source
///
/// `REVIEW_PERIOD` in `EmergencyAccess.sol`.
const REVIEW_PERIOD: std::time::Duration = std::time::Duration::from_secs(72 * 3_600);

/// How many openings of one professional are repeated use.
const REPEATED: usize = 3;

/// An opening as its event announced it.
pub type Opened = EmergencyAccess::EmergencyOpened;

/// What a professional opens in an emergency who names no kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// All that somebody in this role reads in an emergency, but for what the patient closed.
    pub kinds: KindSet,
    /// What the patient closed of it.
    pub left_out: KindSet,
}

/// What a professional needs of a patient in an emergency, as far as the patient did not close it.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the patient closed each of these kinds, [`WorkflowError::Call`] when the chain
/// cannot be asked.
pub async fn needed(
    department: &Gateway,
    professional: &Person,
    patient: Address,
) -> Result<Needed, WorkflowError> {
    let usual = professional.role.may_read(Purpose::Emergency);
    let closed = closed(department, patient).await?;
    let kinds = usual.without(closed);
    if kinds.is_empty() && !usual.is_empty() {
        let why = "the patient closed every kind that an emergency needs to emergency access";
        return Err(WorkflowError::Invalid(why.into()));
    }
    Ok(Needed { kinds, left_out: usual.without(kinds) })
}

/// The kinds that a patient closed to emergency access one by one. Of whoever closed everything, the contract says so.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn closed(department: &Gateway, patient: Address) -> Result<KindSet, WorkflowError> {
    let call = EmergencyAccess::restrictionOfCall { patient };
    let (at, latest) = (department.at(Contract::EmergencyAccess), Default::default());
    let held = department.gatekeeper.ledger().call(at, &call, latest).await?;
    Ok(KindSet::from_bits(held.kinds))
}

/// A professional breaks the glass.
///
/// On chain is a digest of the reason under a salt, so that nobody can guess it. The salt comes back with the
/// opening: with both, whoever broke the glass can show which reason it was.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the reason is empty, [`WorkflowError::Send`] when the patient closed these kinds, or a
/// review is overdue.
pub async fn open(
    department: &Gateway,
    professional: &Person,
    patient: Address,
    kinds: KindSet,
    period: std::time::Duration,
    reason: &str,
) -> Result<(Opened, B256, Step), WorkflowError> {
    require_words("reason", reason)?;
    let salt = department.gatekeeper.entropy().bytes::<32>();
    let reason = RecordDigest::of(&[salt.as_slice(), reason.as_bytes()].concat()).0;
    let period = to_uint40(Timestamp(period.as_secs()));
    let call = EmergencyAccess::openCall { patient, kinds: kinds.bits(), period, reason };
    let outcome = professional.sender.send(department.at(Contract::EmergencyAccess), &call).await?;
    let opened = outcome.events::<Opened>().into_iter().next();
    let opened = opened.ok_or(WorkflowError::Unknown { what: "opening in", id: outcome.hash() })?;
    let what = format!("breaks the glass: {kinds}; the patient is alerted");
    let step = Step::new(&professional.name, what, "emergency.open", &outcome);
    Ok((opened, B256::from(salt), step))
}

/// An opening of a patient's records, as its event announced it.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is none with this id.
pub async fn opened(
    department: &Gateway,
    patient: Address,
    id: B256,
    now: Timestamp,
) -> Result<Opened, WorkflowError> {
    let keeper = &department.gatekeeper;
    keeper.refresh(now).await?;
    let projection = keeper.projection().await;
    let openings = projection.consents.emergency_openings(patient);
    let held = openings.iter().find(|held| held.opening.id == id);
    let held = held.ok_or(WorkflowError::Unknown { what: "opening", id })?;
    Ok(Opened {
        id,
        patient,
        professional: held.opening.professional,
        institution: held.institution,
        opensAt: to_uint40(held.opened_for.opens_at()),
        closesAt: to_uint40(held.opened_for.closes_at()),
        kinds: held.opening.kinds.bits(),
        reason: held.reason,
    })
}

/// The professional ends the opening before its time.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is over.
pub async fn end(
    department: &Gateway,
    professional: &Person,
    opened: &Opened,
) -> Result<Step, WorkflowError> {
    let call = EmergencyAccess::endCall { opening: to_opening(opened) };
    let outcome = professional.sender.send(department.at(Contract::EmergencyAccess), &call).await?;
    Ok(Step::new(&professional.name, "ends the emergency access", "emergency.end", &outcome))
}

/// The patient ends the opening before its time.
///
/// # Errors
///
/// [`WorkflowError::Send`] when it is over, or of somebody else's records.
pub async fn end_by_patient(
    relay: &Gateway,
    patient: &PatientActor,
    opened: &Opened,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let call = EmergencyAccess::endCall { opening: to_opening(opened) };
    let call = Call::to_contract(relay.at(Contract::EmergencyAccess), &call);
    let outcome = patient.act(relay.sender(), vec![call], now).await?;
    Ok(Step::new(&patient.name, "ends the emergency access", "emergency.end", &outcome))
}

/// What a review finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was necessary.
    Justified,
    /// It was not.
    Unjustified,
}

/// The privacy officer reviews an opening that is over, or finds one that runs not justified, which ends it.
///
/// What the officer writes down stays with the department: with the salt that comes back, its digest can be shown to be
/// of these words.
///
/// # Errors
///
/// [`WorkflowError::Invalid`] when the note is empty, [`WorkflowError::Send`] when it was reviewed, or is to be found
/// justified while it runs: what is read by it later, nobody would have reviewed.
pub async fn review(
    department: &Gateway,
    officer: &Person,
    opened: &Opened,
    verdict: Verdict,
    note: &str,
) -> Result<(B256, Step), WorkflowError> {
    require_words("note", note)?;
    let salt = B256::from(department.gatekeeper.entropy().bytes::<32>());
    let note = RecordDigest::of(&[salt.as_slice(), note.as_bytes()].concat()).0;
    let number = match verdict {
        Verdict::Justified => 1,
        Verdict::Unjustified => 2,
    };
    let call = EmergencyAccess::reviewCall { opening: to_opening(opened), verdict: number, note };
    let outcome = officer.sender.send(department.at(Contract::EmergencyAccess), &call).await?;
    let what = match verdict {
        Verdict::Justified => "reviews the access: justified",
        Verdict::Unjustified => "reviews the access: not justified",
    };
    Ok((salt, Step::new(&officer.name, what, "emergency.review", &outcome)))
}

/// How often one professional broke the glass in some time, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Who, by member address.
    pub professional: Address,
    /// How often.
    pub openings: usize,
    /// Of how many patients.
    pub patients: usize,
    /// How many were reviewed and found justified.
    pub justified: usize,
    /// How many were reviewed and found not justified.
    pub unjustified: usize,
    /// How many wait for a review for longer than they may.
    pub overdue: usize,
}

impl Usage {
    /// Whether somebody should look at it: several openings, or one patient more than once.
    #[must_use]
    pub const fn is_repeated(&self) -> bool {
        self.openings >= REPEATED || self.openings > self.patients
    }

    /// What openings come to, those who broke the glass most often first.
    fn of<'a>(
        openings: impl Iterator<Item = (&'a Address, &'a EmergencyOpening)>,
        now: Timestamp,
    ) -> Vec<Self> {
        let mut used: BTreeMap<Address, (Self, BTreeSet<Address>)> = BTreeMap::new();
        for (patient, held) in openings {
            let professional = held.opening.professional;
            let (usage, patients) = used.entry(professional).or_insert_with(|| {
                let nothing = Self {
                    professional,
                    openings: 0,
                    patients: 0,
                    justified: 0,
                    unjustified: 0,
                    overdue: 0,
                };
                (nothing, BTreeSet::new())
            });
            usage.openings += 1;
            patients.insert(*patient);
            usage.patients = patients.len();
            match held.justified {
                Some(true) => usage.justified += 1,
                Some(false) => usage.unjustified += 1,
                None if held.opened_for.opens_at().after(REVIEW_PERIOD) <= now => {
                    usage.overdue += 1;
                }
                None => {}
            }
        }
        let mut used: Vec<Self> = used.into_values().map(|(usage, _)| usage).collect();
        used.sort_by_key(|usage| std::cmp::Reverse(usage.openings));
        used
    }
}

/// How often each of an institution's people broke the glass in the time before now.
///
/// # Errors
///
/// [`WorkflowError::Gatekeeper`] when the chain cannot be asked.
pub async fn usage(
    department: &Gateway,
    period: std::time::Duration,
    now: Timestamp,
) -> Result<Vec<Usage>, WorkflowError> {
    let keeper = &department.gatekeeper;
    keeper.refresh(now).await?;
    let projection = keeper.projection().await;
    let own = projection.consents.all_openings().filter(|(_, held)| {
        held.institution == department.member() && held.opened_for.opens_at().after(period) > now
    });
    Ok(Usage::of(own, now))
}

/// The patient closes kinds of record to emergency access beforehand, or all of it.
///
/// # Errors
///
/// [`WorkflowError::Send`] only when the transaction cannot be sent.
pub async fn restrict(
    relay: &Gateway,
    patient: &PatientActor,
    kinds: KindSet,
    opted_out: bool,
    now: Timestamp,
) -> Result<Step, WorkflowError> {
    let restrict = EmergencyAccess::restrictCall { kinds: kinds.bits(), optedOut: opted_out };
    let call = Call::to_contract(relay.at(Contract::EmergencyAccess), &restrict);
    let outcome: Outcome = patient.act(relay.sender(), vec![call], now).await?;
    let what = match kinds {
        _ if opted_out => "opts out of emergency access".into(),
        KindSet::EMPTY => "opens everything to emergency access".into(),
        kinds => format!("closes {kinds} to emergency access"),
    };
    Ok(Step::new(&patient.name, what, "emergency.restrict", &outcome))
}
