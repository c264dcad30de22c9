//! What a notification can be about.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Declares the topics with their names, which stand in databases and at receivers: a name, once given,
/// keeps its meaning.
macro_rules! topics {
    ($( $(#[$meta:meta])* $variant:ident = $name:literal, )+) => {
        /// What a notification is about. It says that something is there, never what (S1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Topic {
            $( $(#[$meta])* #[serde(rename = $name)] $variant, )+
        }

        impl Topic {
            /// Every topic.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name that receivers see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

topics! {
    /// A steward proposed a record; to the patient.
    RecordProposed = "record-proposed",
    /// A steward took a proposal back; to the patient.
    RecordWithdrawn = "record-withdrawn",
    /// The patient answered a proposal, disputed a record or settled that; to the steward.
    RecordAnswered = "record-answered",
    /// The patient asks for a record to be erased; to the steward.
    ErasureRequested = "erasure-requested",
    /// A steward erased a record; to the patient.
    RecordErased = "record-erased",

    /// An institution offers a relationship; to the patient.
    RelationshipProposed = "relationship-proposed",
    /// The institution took its offer back; to the patient.
    RelationshipWithdrawn = "relationship-withdrawn",
    /// The patient accepted; to the steward.
    RelationshipAccepted = "relationship-accepted",
    /// The patient declined; to the steward.
    RelationshipDeclined = "relationship-declined",
    /// One side ended the relationship; to the other.
    RelationshipEnded = "relationship-ended",
    /// The steward asks for another sharing policy; to the patient.
    PolicyProposed = "policy-proposed",
    /// The sharing policy is another; to the steward.
    PolicyChanged = "policy-changed",

    /// The patient granted; to the reader.
    ConsentGranted = "consent-granted",
    /// The patient took a grant back; to the reader.
    ConsentRevoked = "consent-revoked",
    /// A grant waits for the steward's signature; to each steward whose policy wants one.
    CountersignatureWanted = "countersignature-wanted",
    /// A steward countersigned a grant; to reader and patient.
    ConsentCountersigned = "consent-countersigned",
    /// A steward took its countersignature back; to reader and patient.
    CountersignatureWithdrawn = "countersignature-withdrawn",

    /// Somebody broke the glass; to the patient, their stewards, and the institution of who did.
    EmergencyOpened = "emergency-opened",
    /// An opening ended before its time; to the patient and the institution where it was made.
    EmergencyEnded = "emergency-ended",
    /// The time to review an opening is nearly over; to the institution where it was made.
    EmergencyReviewDue = "emergency-review-due",
    /// An opening was reviewed; to the patient, who opened, and the institution where it was made.
    EmergencyReviewed = "emergency-reviewed",

    /// A prescription was issued; to the patient.
    PrescriptionIssued = "prescription-issued",
    /// Patient or prescriber permitted a pharmacy; to the pharmacy and the other of the two.
    PrescriptionPermitted = "prescription-permitted",
    /// Patient or prescriber took that back; to the pharmacy and the other of the two.
    PrescriptionPermitWithdrawn = "prescription-permit-withdrawn",
    /// A pharmacy claimed the prescription; to patient and prescriber.
    PrescriptionClaimed = "prescription-claimed",
    /// The pharmacy gave its claim up; to patient and prescriber.
    PrescriptionReleased = "prescription-released",
    /// A pharmacy dispensed; to patient and prescriber.
    PrescriptionDispensed = "prescription-dispensed",
    /// The last fill is done; to patient and prescriber.
    PrescriptionCompleted = "prescription-completed",
    /// Patient or prescriber cancelled; to the other of the two and every pharmacy that was permitted.
    PrescriptionCancelled = "prescription-cancelled",

    /// A laboratory test was ordered; to patient and laboratory.
    LabOrdered = "lab-ordered",
    /// The specimen was taken; to patient, orderer and laboratory.
    LabCollected = "lab-collected",
    /// The result is there; to the orderer and the institution.
    LabResulted = "lab-resulted",
    /// The result has to be acknowledged at once; to the orderer and the institution.
    LabCritical = "lab-critical",
    /// The result was released; to patient and orderer.
    LabReleased = "lab-released",
    /// The result was acknowledged; to the laboratory.
    LabAcknowledged = "lab-acknowledged",
    /// The order was cancelled; to patient, orderer and laboratory.
    LabCancelled = "lab-cancelled",

    /// The patient is referred for surgery; to patient and hospital.
    SurgeryReferred = "surgery-referred",
    /// There is a plan to consent to; to the patient.
    SurgeryPlanned = "surgery-planned",
    /// The patient consented to the plan; to the hospital.
    SurgeryConsented = "surgery-consented",
    /// A doctor certified that the patient can neither consent nor wait; to patient and hospital.
    SurgeryCertified = "surgery-certified",
    /// The patient withdrew the consent; to the hospital.
    SurgeryConsentWithdrawn = "surgery-consent-withdrawn",
    /// The surgery has a team and a time, or others; to the patient and the team.
    SurgeryScheduled = "surgery-scheduled",
    /// Something went wrong; to patient, hospital and who referred.
    SurgeryComplication = "surgery-complication",
    /// The patient is in recovery, at home, or was seen again; to the patient and who referred.
    SurgeryContinued = "surgery-continued",
    /// The surgery is called off; to patient, hospital and who referred.
    SurgeryCancelled = "surgery-cancelled",
    /// The patient is on a waiting list; to patient and hospital.
    WaitingListed = "waiting-listed",
    /// Waiting has a priority, or another one; to the patient and who referred.
    WaitingPrioritised = "waiting-prioritised",
    /// There is an appointment, or another one; to the patient and who referred.
    AppointmentScheduled = "appointment-scheduled",
    /// The patient did not come; to the patient and who referred.
    AppointmentMissed = "appointment-missed",
    /// The patient came; to who referred.
    WaitingAttended = "waiting-attended",
    /// The patient waits no more; to patient, hospital and who referred.
    WaitingRemoved = "waiting-removed",

    /// An insurer offers a coverage; to the patient.
    CoverageOffered = "coverage-offered",
    /// The patient accepted it; to the insurer.
    CoverageAccepted = "coverage-accepted",
    /// Patient or insurer ended it; to the other of the two.
    CoverageEnded = "coverage-ended",
    /// A provider asks beforehand; to the insurer.
    AuthorisationRequested = "authorisation-requested",
    /// The insurer answered; to patient and provider.
    AuthorisationDecided = "authorisation-decided",
    /// A provider claims; to patient and insurer.
    ClaimSubmitted = "claim-submitted",
    /// The provider took the claim back; to patient and insurer.
    ClaimWithdrawn = "claim-withdrawn",
    /// The patient says that it did not happen; to insurer and provider.
    ClaimContested = "claim-contested",
    /// An adjudicator decided the claim or the appeal; to patient and provider.
    ClaimDecided = "claim-decided",
    /// Patient or provider appealed; to the insurer and the other of the two.
    ClaimAppealed = "claim-appealed",
    /// The insurer's share was paid; to the provider.
    ClaimPaid = "claim-paid",
    /// The co-payment was paid; to the provider.
    CopaymentPaid = "copayment-paid",
    /// The provider paid back; to whoever got it, patient or insurer.
    ClaimRefunded = "claim-refunded",

    /// A patient is offered to be measured by a device; to the patient.
    DeviceOffered = "device-offered",
    /// The patient accepted; to the operator.
    DeviceBound = "device-bound",
    /// Patient or operator ended that, or took the offer back; to the other of the two.
    DeviceUnbound = "device-unbound",
    /// Readings are out of range; to patient, care team and operator.
    DeviceAlert = "device-alert",
    /// There are no readings of a time; to patient, care team and operator.
    DeviceGap = "device-gap",
    /// A device has not been heard of for longer than it may; to patient, care team and operator.
    DeviceSilent = "device-silent",
    /// A doctor or nurse has seen an alert; to the patient.
    DeviceAlertSeen = "device-alert-seen",
    /// A device is in quarantine; to the patient, operator and maker.
    DeviceQuarantined = "device-quarantined",
    /// A quarantine is lifted; to the patient, operator and maker.
    DeviceQuarantineLifted = "device-quarantine-lifted",
    /// A firmware was withdrawn or recalled; to whoever runs devices with it.
    FirmwareStopped = "firmware-stopped",
    /// A recall was lifted; to whoever runs devices with that firmware.
    FirmwareRecallLifted = "firmware-recall-lifted",

    /// A member of the committee approved a study; to its institution and who proposed it.
    StudyApproved = "study-approved",
    /// A study has ended; to its institution, its sources and the patients who consented.
    StudyEnded = "study-ended",
    /// A patient consents to a study; to its institution.
    StudyConsented = "study-consented",
    /// A patient withdraws from a study; to its institution and sources.
    StudyConsentWithdrawn = "study-consent-withdrawn",
    /// An extract is ordered; to its source.
    ExtractOrdered = "extract-ordered",
    /// An extract is there; to the buyer.
    ExtractDelivered = "extract-delivered",
    /// The buyer does not accept an extract; to its source.
    ExtractDisputed = "extract-disputed",
    /// The price of an extract was shared; to source and buyer.
    ExtractSettled = "extract-settled",
    /// The price of an extract, or shares of it, are the buyer's again; to the buyer, and of a price the source.
    ExtractRefunded = "extract-refunded",
    /// Nothing of an extract may be used any more; to source and buyer, and to the patient who had not consented.
    ExtractBreached = "extract-breached",

    /// A trial was registered; to the sponsor.
    TrialRegistered = "trial-registered",
    /// A regulator approved the trial; to the sponsor.
    TrialApproved = "trial-approved",
    /// The sponsor invites a site; to the site.
    TrialInvited = "trial-invited",
    /// A site takes part; to the sponsor.
    TrialJoined = "trial-joined",
    /// The sponsor asks for another version of the protocol; to the regulator.
    TrialAmendmentProposed = "trial-amendment-proposed",
    /// Another version of the protocol is in force; to sponsor and sites.
    TrialAmended = "trial-amended",
    /// Another version of the protocol is in force, and waits for the subject's consent; to each subject.
    TrialReconsent = "trial-reconsent",
    /// A patient consented, also again; to the site.
    TrialConsented = "trial-consented",
    /// The patient was held against the criteria; to the patient.
    TrialScreened = "trial-screened",
    /// A subject opened the nonce, and waits for an arm; to the site.
    TrialArmWanted = "trial-arm-wanted",
    /// A physician had to know a subject's arm; to sponsor and regulator.
    TrialUnblinded = "trial-unblinded",
    /// A subject withdrew; to site and sponsor.
    TrialWithdrawn = "trial-withdrawn",
    /// Something happened to a subject; to the sponsor.
    TrialAdverseEvent = "trial-adverse-event",
    /// Something serious happened to a subject, and has to be acknowledged; to sponsor and regulator.
    TrialSeriousEvent = "trial-serious-event",
    /// The sponsor has seen it; to who reported, and their site.
    TrialEventAcknowledged = "trial-event-acknowledged",
    /// No more data; to sponsor, regulator and sites.
    TrialLocked = "trial-locked",
    /// Sponsor or regulator revealed its seed; to the others and the sites.
    TrialSeedRevealed = "trial-seed-revealed",
    /// There are results; to sponsor, regulator, sites and subjects.
    TrialPublished = "trial-published",
    /// The trial is over, without results; to sponsor, regulator, sites and subjects.
    TrialStopped = "trial-stopped",

    /// Guardians are replacing the account's key; to the patient, who can still object.
    RecoveryBegun = "recovery-begun",
    /// That was cancelled; to the patient.
    RecoveryCancelled = "recovery-cancelled",
    /// The account has another key; to the patient.
    RecoveryFinished = "recovery-finished",
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The name is no topic's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no topic has this name")]
pub struct UnknownTopic;

impl FromStr for Topic {
    type Err = UnknownTopic;

    fn from_str(name: &str) -> Result<Self, UnknownTopic> {
        Self::ALL.iter().copied().find(|topic| topic.name() == name).ok_or(UnknownTopic)
    }
}
