//! The words of the contracts of care: prescriptions, laboratory, emergencies, operations and waiting lists.

use alloy_primitives::U256;
use domain::KindSet;

use crate::{
    EmergencyAccess::EmergencyAccessErrors, LabOrders::LabOrdersErrors,
    Prescriptions::PrescriptionsErrors, Surgeries::SurgeriesErrors,
    WaitingLists::WaitingListsErrors, convert::timestamp,
};

use super::{
    Words, already_used, counted, differs, institution_role, named, not_active, not_allowed,
    not_hospital, not_party, outside, wrong_institution, wrong_role, wrong_state, zero,
};

/// `State` in `Prescriptions.sol`.
const PRESCRIPTION: [&str; 6] =
    ["issued", "claimed", "completed", "cancelled", "expired", "awaiting a second signature"];

/// `State` in `LabOrders.sol`.
const LAB_ORDER: [&str; 6] =
    ["ordered", "collected", "resulted", "released", "acknowledged", "cancelled"];

/// `State` in `Surgeries.sol`.
const SURGERY: [&str; 12] = [
    "referred",
    "assessed",
    "consented to",
    "scheduled",
    "signed in",
    "past its time-out",
    "under way",
    "signed out",
    "in recovery",
    "discharged",
    "followed up",
    "called off",
];

/// `State` in `WaitingLists.sol`.
const LISTING: [&str; 5] = ["listed", "prioritised", "scheduled", "attended", "removed"];

impl Words for PrescriptionsErrors {
    fn words(&self) -> String {
        use PrescriptionsErrors as E;
        match self {
            E::NotSecond(e) => format!(
                "{} of {} cannot give the second signature: that is for another doctor of the prescriber's \
                 institution",
                e.professional, e.institution
            ),
            E::SubstitutionRefused(e) => {
                format!("the prescriber of {} forbids another product", e.id)
            }
            E::NothingToConfirm(e) => {
                format!("fill {} of {} is not complete, or was confirmed before", e.fill, e.id)
            }
            E::WrongRole(e) => wrong_role(e.professional, e.role),
            E::WrongInstitution(e) => wrong_institution(e.institution, e.role),
            E::NotActive(e) => not_active(e.patient, e.steward),
            E::OwnPrescription(e) => format!("{} cannot prescribe for themselves", e.prescriber),
            E::AlreadyIssued(e) => already_used("a prescription", e.id),
            E::InvalidTerms(e) => format!(
                "{} in {}: both are at least one, and not too many",
                counted(e.quantity, "unit"),
                counted(e.fills, "fill")
            ),
            E::InvalidPeriod(e) => outside(e.given, e.least, e.most),
            E::WrongState(e) => wrong_state("prescription", e.id, &PRESCRIPTION, e.state),
            E::NotParty(e) => not_party(e.caller),
            E::NotPermitted(e) => format!(
                "{} may not have {}: prescriber and patient both permit a pharmacy first (`salus rx permit`)",
                e.pharmacy, e.id
            ),
            E::TooEarly(e) => format!("the next fill is due at {}", timestamp(e.nextFillAt)),
            E::NotClaimant(e) => {
                format!("{} does not hold the claim to {}: it claims it first", e.pharmacy, e.id)
            }
            E::WrongQuantity(e) => format!(
                "{} cannot be dispensed: {} left in this fill",
                counted(e.given, "unit"),
                if e.remaining == 1 { "1 is".into() } else { format!("{} are", e.remaining) }
            ),
            E::ProductExpired(e) => {
                format!("the product is past its date, {}", timestamp(e.productExpiry))
            }
        }
    }
}

impl Words for LabOrdersErrors {
    fn words(&self) -> String {
        use LabOrdersErrors as E;
        match self {
            E::TooMany(e) => format!("there are {} already, and no more than that", e.limit),
            E::CustodyDiffers(e) => differs(
                "the specimen was handed over since; look again who has it",
                e.expected,
                e.given,
            ),
            E::ResultDiffers(e) => differs(
                "there is another version of the result now; look at that",
                e.expected,
                e.given,
            ),
            E::AlreadyEscalated(e) => {
                format!("{} was escalated before, and can be again at {}", e.id, timestamp(e.until))
            }
            E::NotOverdue(e) => format!("nothing critical of order {} is overdue", e.id),
            E::NotAllowed(e) => not_allowed(e.professional, e.role, e.institution),
            E::NotLaboratory(e) => {
                format!("{} is {}, and no laboratory", e.institution, institution_role(e.role))
            }
            E::NotActive(e) => not_active(e.patient, e.steward),
            E::AlreadyOrdered(e) => already_used("a laboratory order", e.id),
            E::WrongState(e) => wrong_state("laboratory order", e.id, &LAB_ORDER, e.state),
            E::AlreadyAcknowledged(e) => {
                format!("this version of the result of {} was acknowledged before", e.id)
            }
        }
    }
}

impl Words for EmergencyAccessErrors {
    fn words(&self) -> String {
        use EmergencyAccessErrors as E;
        match self {
            E::NoPatient(_) => "it is not said whose records are meant".into(),
            E::WrongRole(e) => wrong_role(e.professional, e.role),
            E::NotEmergency(e) => format!(
                "{} is {}, and only people of an emergency department break the glass",
                e.institution,
                institution_role(e.role)
            ),
            E::NoKinds(_) => "it is not said which kinds of record are to be opened".into(),
            E::InvalidPeriod(e) => outside(e.period, e.least, e.most),
            E::OptedOut(e) => format!("{} closed everything to emergency access", e.patient),
            E::KindsRestricted(e) => format!(
                "{} closed these kinds to emergency access: {}; open without them",
                e.patient,
                KindSet::from_bits(e.kinds)
            ),
            E::StillOpen(e) => format!(
                "an opening runs until {}: end it first, or wait until it is over",
                timestamp(e.closesAt)
            ),
            E::AlreadyOpened(e) => format!("opening {} was made before", e.id),
            E::ReviewOverdue(e) => format!(
                "a review of what {} opened was due by {}: a privacy officer gives it before the next opening",
                e.professional,
                timestamp(e.due)
            ),
            E::TooManyUnreviewed(e) => format!(
                "{} of {} await their review, and that is all that may",
                counted(e.limit, "opening"),
                e.professional
            ),
            E::NotRunning(e) => {
                format!("opening {} does not run: there is none, or it ended", e.id)
            }
            E::NotParty(e) => not_party(e.caller),
            E::UnknownOpening(e) => format!("there is no opening {}", e.id),
            E::AlreadyReviewed(e) => match named(&["justified", "not justified"], e.verdict) {
                None => format!("opening {} was reviewed before", e.id),
                Some(verdict) => format!("opening {} was reviewed before: {verdict}", e.id),
            },
            E::OwnReview(e) => {
                format!("{} opened it, and nobody reviews an opening of their own", e.professional)
            }
            E::WrongInstitution(e) => format!(
                "openings of {} are reviewed there while it is in force, and not at {}",
                e.expected, e.given
            ),
            E::NoVerdict(_) => "a review says whether it was justified".into(),
        }
    }
}

impl Words for SurgeriesErrors {
    fn words(&self) -> String {
        use SurgeriesErrors as E;
        match self {
            E::NotAllowed(e) => not_allowed(e.professional, e.role, e.institution),
            E::NotPatient(e) => format!("{} is not the patient", e.caller),
            E::NotHospital(e) => not_hospital(e.institution, e.role),
            E::NotActive(e) => not_active(e.patient, e.steward),
            E::AlreadyReferred(e) => already_used("a surgery", e.id),
            E::WrongState(e) => wrong_state("surgery", e.id, &SURGERY, e.state),
            E::PlanDiffers(e) => differs("another plan stands; look at that", e.expected, e.given),
            E::Refused(e) => {
                format!(
                    "the patient refused {}, so nobody certifies in place of their consent",
                    e.id
                )
            }
            E::InvalidTime(e) => outside(U256::from(e.given), e.least, e.most),
            E::Zero(_) => zero(),
            E::AlreadyImplanted(e) => {
                format!("the implant is in this patient already, by surgery {}", e.surgery)
            }
            E::NotImplanted(e) => format!("implant {} is not in {}", e.implant, e.patient),
            E::TooMany(e) => format!("there are {} already, and no more than that", e.limit),
            E::AlreadySigned(e) => format!("{} signed {} before", e.by, e.id),
        }
    }
}

impl Words for WaitingListsErrors {
    fn words(&self) -> String {
        use WaitingListsErrors as E;
        match self {
            E::NotAllowed(e) => not_allowed(e.professional, e.role, e.institution),
            E::NotHospital(e) => not_hospital(e.institution, e.role),
            E::NotActive(e) => not_active(e.patient, e.steward),
            E::AlreadyListed(e) => already_used("a listing", e.id),
            E::StillLive(e) => format!(
                "referral {} is on this hospital's list already, as listing {}",
                e.referral, e.id
            ),
            E::WrongState(e) => wrong_state("listing", e.id, &LISTING, e.state),
            E::InvalidPriority(e) => {
                format!("there is no priority {}: they go from 1 to {}", e.given, e.most)
            }
            E::InvalidTime(e) => outside(e.given, e.least, e.most),
            E::InvalidMonth(e) => {
                format!("{} is no month that was: a month is written as 202401", e.month)
            }
            E::InvalidCensus(_) => "a census has a root and rows".into(),
            E::Zero(_) => zero(),
        }
    }
}
