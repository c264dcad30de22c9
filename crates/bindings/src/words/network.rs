//! The words of the contracts that everybody uses: members, patients' accounts, relationships, records, consents
//! and access logs.

use crate::{
    AccessLog::AccessLogErrors, Consents::ConsentsErrors, PatientAccount::PatientAccountErrors,
    PatientAccounts::PatientAccountsErrors, Records::RecordsErrors, Registry::RegistryErrors,
    Relationships::RelationshipsErrors, convert::timestamp,
};
use alloy_primitives::U256;

use super::{
    Words, counted, differs, expired, long_text, malformed_text, moment, named, not_active,
    outside, zero,
};

/// `State` in `Records.sol`.
const RECORD: [&str; 6] =
    ["proposed", "accepted", "rejected", "disputed", "superseded by a later version", "erased"];

impl Words for RegistryErrors {
    fn words(&self) -> String {
        use RegistryErrors as E;
        match self {
            E::NoFounders(_) => "a network begins with an institution at least".into(),
            E::Zero(_) => zero(),
            E::InvalidRole(_) => "a role must be named".into(),
            E::AlreadySigner(e) => {
                format!("{} was a key of a member before, and a key is never used again", e.signer)
            }
            E::NotSigner(e) => format!("{} is no key of a member that is in use", e.signer),
            E::NotInstitution(e) => format!(
                "{} is not the key of an institution in force: it was not admitted yet, was voted out, or has \
                 another key now",
                e.signer
            ),
            E::InstitutionNotInForce(e) => {
                format!(
                    "{} is no institution in force: it was not admitted, or was voted out",
                    e.member
                )
            }
            E::NotExpelled(e) => format!("{} is no institution that was voted out", e.member),
            E::NotProfessional(e) => format!(
                "{} is not the key of a professional in force: whoever it is has no accreditation, their \
                 accreditation is over, their institution was voted out, or they have another key now",
                e.signer
            ),
            E::NotDevice(e) => format!(
                "{} is not the key of a device in force: it was not entered in the registry, was put out of force, \
                 its operator was voted out, or it has another key now",
                e.signer
            ),
            E::NotInForce(e) => format!("{} is no member in force", e.member),
            E::TooManyInstitutions(e) => {
                format!(
                    "there are {} already, which is all there may be",
                    counted(e.limit, "institution")
                )
            }
            E::LastInstitution(e) => {
                format!("{} is the only institution: nobody could act after it", e.member)
            }
            E::UnknownProposal(e) => format!("there is no proposal {}", e.id),
            E::AlreadyExecuted(e) => format!("proposal {} took effect before", e.id),
            E::VotingClosed(e) => {
                format!("the vote on proposal {} ended at {}", e.id, timestamp(e.deadline))
            }
            E::AlreadyVoted(e) => format!("{} voted on proposal {} before", e.member, e.id),
            E::NoMajority(e) => format!(
                "{} for proposal {}, of {}: it takes more than half",
                counted(e.votes, "vote"),
                e.id,
                counted(e.institutions, "institution")
            ),
            E::InvalidEntries(e) => format!(
                "{} and {} do not go together, or are none or too many",
                counted(e.names, "name"),
                counted(e.wheres, "address")
            ),
            E::NoCode(e) => format!("there is no contract at {}", e.r#where),
            E::InvalidPeriod(e) => {
                format!("the accreditation: {}", outside(U256::from(e.until), e.earliest, e.latest))
            }
            E::StillAccredited(e) => {
                format!("{} is accredited by {} still", e.professional, e.institution)
            }
            E::NotAccredited(e) => {
                format!("{} is not accredited by {}", e.professional, e.institution)
            }
            E::NotOperator(e) => {
                format!(
                    "{} is not run by {}, and only who runs a device does this",
                    e.device, e.institution
                )
            }
            E::Expired(e) => expired(e.deadline),
            E::InvalidSignature(e) => format!("{} did not sign what it had to", e.signer),
            E::TooLong(e) => {
                format!(
                    "{} are more than the {} that there is place for",
                    counted(e.size, "byte"),
                    e.limit
                )
            }
            E::EndpointNotAllowed(e) => {
                format!("{} is no institution, and only these have an endpoint", e.member)
            }
            E::AlreadyBound(e) => format!(
                "the number stands for {} already; whoever entered it takes it back first",
                e.account
            ),
            E::NotBound(_) => "the number stands for nobody".into(),
            E::InvalidShortString(_) => malformed_text(),
            E::StringTooLong(_) => long_text(),
        }
    }
}

impl Words for PatientAccountErrors {
    fn words(&self) -> String {
        use PatientAccountErrors as E;
        match self {
            E::NotFactory(e) => format!("{} did not make this account", e.caller),
            E::NotSelf(e) => {
                format!("{} is not the account: the patient signs for this", e.caller)
            }
            E::UnsupportedMode(_) => "the account takes signed batches of calls only".into(),
            E::Expired(e) => expired(e.deadline),
            E::WrongNonce(e) => format!(
                "the patient signed message {}, and message {} is next: something else of theirs came first; \
                 sign again",
                e.given, e.expected
            ),
            E::NotAuthorised(e) => {
                format!("{} is neither the patient's key nor a custodian's in force", e.signerId)
            }
            E::InvalidSignature(e) => format!("{} did not sign this", e.signerId),
            E::NotForCustodian(_) => "a custodian cannot do this to the account".into(),
            E::NoCode(e) => format!("there is no contract at {}, so this would do nothing", e.to),
            E::InvalidSigner(_) => "the key is malformed, or cannot sign for this account".into(),
            E::HasSigner(_) => "the patient has a key already".into(),
            E::NobodyCanAct(_) => "an account needs a key or a custodian".into(),
            E::InvalidDelay(e) => format!("the delay: {}", outside(e.delay, e.least, e.most)),
            E::InvalidCustody(e) => {
                format!(
                    "custody until {} is over, or ends after {}",
                    timestamp(e.until),
                    moment(e.latest)
                )
            }
            E::TooManyCustodians(e) => {
                format!("an account has {} at the most", counted(e.limit, "custodian"))
            }
            E::NotCustodian(e) => format!("{} is no custodian of this account", e.signerId),
            E::WrongGuardians(e) => {
                differs("these are not the account's guardians", e.expected, e.given)
            }
            E::InvalidGuardians(e) => format!(
                "{}, of whom {} have to sign, with {}: that cannot be",
                counted(e.guardians, "guardian"),
                e.threshold,
                counted(e.signatures, "signature")
            ),
            E::InvalidGuardianSignature(e) => format!("guardian {} did not sign this", e.index),
            E::TooFewGuardians(e) => {
                format!("{} signed, and it takes {}", counted(e.signed, "guardian"), e.threshold)
            }
            E::NoRecovery(_) => "the account is not being recovered".into(),
            E::WrongRecovery(e) => {
                format!(
                    "the account is being recovered for {}, and not for {}",
                    e.expected, e.given
                )
            }
            E::RecoveryNotReady(e) => {
                format!("the patient can object until {}; try again then", timestamp(e.readyAt))
            }
            E::ERC7579DecodingError(_) => "the batch of calls is malformed".into(),
            E::InvalidShortString(_) => malformed_text(),
            E::StringTooLong(_) => long_text(),
        }
    }
}

impl Words for PatientAccountsErrors {
    fn words(&self) -> String {
        use PatientAccountsErrors as E;
        match self {
            E::AccountExists(e) => format!("account {} exists already", e.account),
            E::FailedDeployment(_) => "the account could not be made".into(),
            E::InsufficientBalance(e) => {
                format!("there are {} wei, and it takes {}", e.balance, e.needed)
            }
        }
    }
}

impl Words for RelationshipsErrors {
    fn words(&self) -> String {
        use RelationshipsErrors as E;
        match self {
            E::Zero(_) => zero(),
            E::AlreadyActive(e) => {
                format!("{} keeps records for {} already", e.steward, e.patient)
            }
            E::NotActive(e) => not_active(e.patient, e.steward),
            E::WrongOffer(e) => {
                match named(
                    &["the patient alone consents", "the steward countersigns consents"],
                    e.outstanding,
                ) {
                    None => "no offer is outstanding: the steward proposes one first".into(),
                    Some(policy) => {
                        format!("the outstanding offer is another one: in it, {policy}")
                    }
                }
            }
            E::PolicyUnchanged(e) => match e.countersigned {
                true => "consents are countersigned already".into(),
                false => "the patient alone consents already".into(),
            },
            E::TooManyStewards(e) => {
                format!(
                    "a patient has relationships with {} at the most",
                    counted(e.limit, "institution")
                )
            }
        }
    }
}

impl Words for RecordsErrors {
    fn words(&self) -> String {
        use RecordsErrors as E;
        match self {
            E::Miswired(e) => {
                format!("the records are expected at {}, and not at {}", e.expected, e.actual)
            }
            E::InvalidAnchor(_) => {
                "the record or its digest is empty, its kind is unknown, or it amends what comes after it".into()
            }
            E::NotRelationships(e) => format!("{} is not the contract of relationships", e.caller),
            E::NotActive(e) => not_active(e.patient, e.steward),
            E::NotSteward(e) => format!("{} does not sign for {}, whose record it is", e.caller, e.steward),
            E::NotPatient(e) => format!("{} is not the patient of the record, {}", e.caller, e.patient),
            E::OtherRecord(e) => {
                differs("an amendment is of the same record, patient and institution", e.previous, e.next)
            }
            E::NotNext(e) => {
                format!("after version {} comes the next, and not version {}", e.previous, e.next)
            }
            E::VersionTaken(e) => format!("there is a version {} of record {} already", e.version, e.record),
            E::WrongState(e) => match named(&RECORD, e.state) {
                None => "there is no such version of the record".into(),
                Some(name) => format!("the record is {name}, and this cannot be done to it then"),
            },
            E::WrongBase(e) => match e.expected {
                0 => format!("no version is accepted, so nothing amends version {}", e.given),
                expected => format!(
                    "version {expected} is the accepted one, and the amendment is of version {}",
                    e.given
                ),
            },
            E::StaleBase(e) => format!(
                "version {}, which this amends, is {} now: propose the amendment anew",
                e.base,
                named(&RECORD, e.state).unwrap_or("not there")
            ),
            E::InvalidBatch(_) => "a batch has a root and at least one record".into(),
            E::BatchTaken(e) => format!("{} anchored batch {} before", e.steward, e.root),
            E::UnknownBatch(e) => format!("{} anchored no batch {}", e.steward, e.root),
            E::BatchAlreadyAccepted(e) => {
                format!("{} accepted batch {} of {} before", e.patient, e.root, e.steward)
            }
            E::NotInBatch(e) => format!(
                "the proof does not lead to batch {} of an institution that the patient accepted",
                e.root
            ),
            E::AddressEmptyCode(e) => format!("there is no contract at {}", e.target),
            E::FailedCall(_) => "a call within the contract failed".into(),
        }
    }
}

impl Words for ConsentsErrors {
    fn words(&self) -> String {
        use ConsentsErrors as E;
        match self {
            E::NoReader(_) => "it is not said who may read".into(),
            E::InvalidPeriod(e) => format!(
                "a consent from {} until {} is empty, over at {}, or too long",
                timestamp(e.opensAt),
                timestamp(e.closesAt),
                moment(e.time)
            ),
            E::NoKinds(_) => "it is not said which kinds of record may be read".into(),
            E::NoPurposes(_) => "it is not said for which purposes".into(),
            E::WrongVersion(e) => match e.expected {
                0 => "there is no such consent".into(),
                expected => format!(
                    "version {expected} of the consent is the latest, and not version {}: look at it again",
                    e.given
                ),
            },
            E::NoRelationship(e) => {
                format!("{} never accepted a relationship with {}", e.patient, e.steward)
            }
        }
    }
}

impl Words for AccessLogErrors {
    fn words(&self) -> String {
        use AccessLogErrors as E;
        match self {
            E::Fork(e) => {
                differs("the access log does not go on where it ends on chain", e.expected, e.given)
            }
            E::InvalidBatch(_) => "a batch has a root and at least one receipt".into(),
        }
    }
}
