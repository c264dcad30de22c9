//! The words of the contracts between institutions: trials, devices, claims, research and money.

use alloy_primitives::U256;

use crate::{
    Claims::ClaimsErrors, DataExchange::DataExchangeErrors, Devices::DevicesErrors,
    PaymentToken::PaymentTokenErrors, Trials::TrialsErrors, convert::timestamp,
};

use super::{
    Words, already_used, cents, counted, differs, expired, failed_transfer, invalid_receiver,
    long_text, malformed_text, moment, named, no_amount, no_holder, not_active, not_allowed,
    not_holder, not_party, outside, wrong_institution, wrong_state, wrong_transfer, zero,
};

/// `State` in `Trials.sol`.
const TRIAL: [&str; 6] =
    ["registered", "recruiting", "locked", "unblinded", "published", "stopped"];

/// `Standing` in `Trials.sol`.
const SUBJECT: [&str; 4] = ["consented", "enrolled", "excluded", "withdrawn"];

/// `State` in `Claims.sol`.
const CLAIM: [&str; 5] = ["submitted", "adjudicated", "appealed", "final", "withdrawn"];

/// `Standing` in `Claims.sol`.
const COVERAGE: [&str; 2] = ["offered and not accepted yet", "accepted"];

/// `State` in `DataExchange.sol`.
const ORDER: [&str; 5] = ["placed", "delivered", "disputed", "settled", "refunded"];

/// `Standing` in `DataExchange.sol`.
const STUDY: [&str; 3] = ["proposed and not approved yet", "approved", "ended"];

impl Words for TrialsErrors {
    fn words(&self) -> String {
        use TrialsErrors as E;
        match self {
            E::NotAllowed(e) => not_allowed(e.professional, e.role, e.institution),
            E::WrongInstitution(e) => wrong_institution(e.institution, e.role),
            E::AlreadyRegistered(e) => already_used("a trial", e.id),
            E::WrongState(e) => wrong_state("trial", e.id, &TRIAL, e.state),
            E::WrongStanding(e) => match named(&SUBJECT, e.standing) {
                None => format!("{} did not consent to trial {}", e.patient, e.id),
                Some(name) => {
                    format!(
                        "{} is {name} in trial {}, and this step does not follow on that",
                        e.patient, e.id
                    )
                }
            },
            E::InvalidArms(e) => {
                format!("a trial has from 2 to {} arms, and not {}", e.most, e.given)
            }
            E::Zero(_) => zero(),
            E::NotInvited(e) => {
                format!("{} was not invited to trial {}, or takes part already", e.site, e.id)
            }
            E::NotSite(e) => format!("{} is no site of trial {}", e.site, e.id),
            E::VersionDiffers(e) => format!(
                "version {} of the protocol is the one in question, and not version {}",
                e.expected, e.given
            ),
            E::CriteriaDiffer(e) => {
                differs("these are not the criteria in force", e.expected, e.given)
            }
            E::ConsentOutdated(e) => format!(
                "{} consented to version {} of the protocol, and version {} is in force: they consent again first",
                e.patient, e.consented, e.version
            ),
            E::NonceRefused(e) => {
                format!("{} committed to another nonce, or opened it before", e.patient)
            }
            E::NonceSealed(e) => format!("{} has to open their nonce first", e.patient),
            E::NotAllocated(e) => {
                format!("a pharmacist commits to the arm of {} first", e.patient)
            }
            E::AlreadyAllocated(e) => format!("the arm of {} was committed to before", e.patient),
            E::NotYet(e) => format!("{} lies ahead: it is {}", timestamp(e.given), moment(e.time)),
            E::NothingToAcknowledge(e) => format!(
                "there is no adverse event {} of trial {}, or it was acknowledged before",
                e.number, e.id
            ),
            E::Unacknowledged(e) => format!(
                "{} of trial {} await the sponsor's acknowledgement",
                counted(e.count, "serious adverse event"),
                e.id
            ),
            E::DataDiffers(e) => {
                differs("the data of the trial ends elsewhere", e.expected, e.given)
            }
            E::EndpointsDiffer(e) => {
                differs("these are not the endpoints that were registered", e.expected, e.given)
            }
            E::SeedRefused(e) => format!(
                "{} committed to another seed in trial {}, to none, or revealed it before",
                e.party, e.id
            ),
        }
    }
}

impl Words for DevicesErrors {
    fn words(&self) -> String {
        use DevicesErrors as E;
        match self {
            E::NotAllowed(e) => not_allowed(e.professional, e.role, e.institution),
            E::WrongInstitution(e) => wrong_institution(e.institution, e.role),
            E::NotOperator(e) => {
                format!(
                    "{} is not run by {}, and only who runs a device does this",
                    e.device, e.institution
                )
            }
            E::NotActive(e) => not_active(e.patient, e.steward),
            E::ModelDiffers(e) => {
                differs("the registry has the device as another model", e.expected, e.given)
            }
            E::FirmwareRefused(e) => format!(
                "the maker does not accept firmware {} for model {}, or a regulator recalled it",
                e.firmware, e.model
            ),
            E::AlreadyEnrolled(e) => {
                format!("device {}, or its serial number, is enrolled already", e.device)
            }
            E::NotEnrolled(e) => format!("device {} is not enrolled", e.device),
            E::Expired(e) => expired(e.deadline),
            E::InvalidSignature(e) => {
                format!("the key {}, which is in force, did not sign this", e.signer)
            }
            E::StillBound(e) => format!("device {} measures {} still", e.device, e.patient),
            E::NotBound(e) => format!(
                "device {} measures nobody, or under another binding than number {}",
                e.device, e.binding
            ),
            E::NotOffered(e) => {
                format!("device {} is not offered to this patient, or by another offer", e.device)
            }
            E::NotParty(e) => not_party(e.caller),
            E::InvalidTime(e) => outside(e.given, e.least, e.most),
            E::InQuarantine(e) => {
                let whose = [(1, "its operator"), (2, "its maker"), (4, "a regulator")];
                let set = whose.iter().filter(|(bit, _)| e.by & bit != 0).map(|(_, name)| *name);
                format!(
                    "device {} is in quarantine, by {}",
                    e.device,
                    set.collect::<Vec<_>>().join(" and ")
                )
            }
            E::NotQuarantined(e) => {
                format!("device {} is in no quarantine that is for the caller to lift", e.device)
            }
            E::WrongSequence(e) => format!(
                "batch {} is next, and this is batch {}: it was sent before, or one is missing between",
                e.expected, e.given
            ),
            E::Fork(e) => differs("the device's batches end elsewhere", e.expected, e.given),
            E::InvalidBatch(e) => format!(
                "a batch of {}, of which {} are out of range, cannot be",
                counted(e.count, "reading"),
                e.outOfRange
            ),
            E::TooManyBatches(e) => {
                format!(
                    "device {} sent {} batches within an hour, which is all it may",
                    e.device, e.limit
                )
            }
            E::NothingToAcknowledge(e) => format!(
                "there is no alert of batch {} of device {}, or it was acknowledged before",
                e.sequence, e.device
            ),
            E::InvalidShortString(_) => malformed_text(),
            E::StringTooLong(_) => long_text(),
        }
    }
}

impl Words for PaymentTokenErrors {
    fn words(&self) -> String {
        use PaymentTokenErrors as E;
        match self {
            E::ERC20InsufficientAllowance(e) => format!(
                "{} may take {} and needs {}: whoever pays lets it take more",
                e.spender, e.allowance, e.needed
            ),
            E::ERC20InsufficientBalance(e) => {
                format!("{} has {} and needs {}", e.sender, e.balance, e.needed)
            }
            E::ERC20InvalidApprover(e) => format!("{} cannot let anybody take money", e.approver),
            E::ERC20InvalidReceiver(e) => format!("{} cannot receive money", e.receiver),
            E::ERC20InvalidSender(e) => format!("{} cannot send money", e.sender),
            E::ERC20InvalidSpender(e) => format!("{} cannot be let take money", e.spender),
        }
    }
}

impl Words for ClaimsErrors {
    fn words(&self) -> String {
        use ClaimsErrors as E;
        match self {
            E::NotAllowed(e) => not_allowed(e.professional, e.role, e.institution),
            E::WrongInstitution(e) => wrong_institution(e.institution, e.role),
            E::NotParty(e) => not_party(e.caller),
            E::AlreadyUsed(e) => already_used("a coverage, request or claim", e.id),
            E::InvalidTerms(e) => format!(
                "a coverage from {} until {}, with a co-payment of {}% and up to {}, cannot be",
                timestamp(e.from),
                timestamp(e.until),
                cents(U256::from(e.copayment)),
                cents(U256::from(e.limit))
            ),
            E::WrongStanding(e) => match named(&COVERAGE, e.standing) {
                None => format!("there is no coverage {}", e.coverage),
                Some(name) => {
                    format!("coverage {} is {name}, and this step does not follow on that", e.coverage)
                }
            },
            E::PolicyDiffers(e) => differs("the policy is another one", e.expected, e.given),
            E::NotCovered(e) => format!(
                "coverage {} does not hold at {}: it is not accepted, has not begun, or is over",
                e.coverage,
                timestamp(e.time)
            ),
            E::AuthorisationRefused(e) => format!(
                "what was granted beforehand as {} cannot be used: it is undecided, used, over, or for somebody else",
                e.authorisation
            ),
            E::NoService(e) => format!("there is no such service that is complete: {}", e.service),
            E::ServiceDiffers(e) => format!(
                "the service was not given to {} by {}",
                e.patient, e.provider
            ),
            E::EvidenceDiffers(e) => {
                differs("the performers signed something else", e.expected, e.given)
            }
            E::AlreadyClaimed(e) => format!("the service is claimed already, as claim {}", e.claim),
            E::TooLate(e) => format!("this could be done until {}", moment(e.until)),
            E::WrongState(e) => wrong_state("claim", e.id, &CLAIM, e.state),
            E::InvalidAmount(e) => format!(
                "{} is not an amount from {} to {}",
                cents(e.given),
                cents(e.least),
                cents(e.most)
            ),
            E::WrongFlags(_) => {
                "who approves less than was claimed says why, and who approves all of it gives no reason".into()
            }
            E::SameAdjudicator(e) => format!(
                "{} decided on this claim before: an appeal is for another adjudicator",
                e.adjudicator
            ),
            E::InsufficientBalance(e) => format!(
                "there are {} in the purse of {}, and it takes {}",
                cents(e.balance),
                e.holder,
                cents(e.needed)
            ),
            E::InvalidReceiver(e) => invalid_receiver(e.to),
            E::NoAmount(_) => no_amount(),
            E::NoHolder(_) => no_holder(),
            E::NotHolder(e) => not_holder(e.holder, e.caller),
            E::SafeERC20FailedOperation(e) => failed_transfer(e.token),
            E::WrongTransfer(e) => wrong_transfer(cents(e.expected), cents(e.moved)),
        }
    }
}

impl Words for DataExchangeErrors {
    fn words(&self) -> String {
        use DataExchangeErrors as E;
        match self {
            E::NotAllowed(e) => not_allowed(e.professional, e.role, e.institution),
            E::NotParty(e) => not_party(e.caller),
            E::AlreadyUsed(e) => already_used("an offer, study or order", e.id),
            E::Zero(_) => zero(),
            E::InvalidShare(e) => {
                format!(
                    "a share of {}% is more than {}%",
                    cents(U256::from(e.given)),
                    cents(e.most)
                )
            }
            E::InvalidTime(e) => outside(e.given, e.least, e.most),
            E::WrongStanding(e) => match named(&STUDY, e.standing) {
                None => format!("there is no study {}", e.study),
                Some(name) => {
                    format!("study {} is {name}, and this step does not follow on that", e.study)
                }
            },
            E::NotInForce(e) => format!("{} was voted out", e.institution),
            E::StudyOver(e) => format!("study {} was over at {}", e.study, timestamp(e.until)),
            E::ProtocolDiffers(e) => {
                differs("this is not the study's protocol", e.expected, e.given)
            }
            E::AlreadyApproved(e) => {
                format!(
                    "{} approved study {} before; another institution has to",
                    e.institution, e.study
                )
            }
            E::OwnStudy(e) => {
                format!("the study is of {} itself: others approve it", e.institution)
            }
            E::OwnOrder(e) => {
                format!("{} has a part in the order: others decide on the dispute", e.institution)
            }
            E::AlreadyAnswered(e) => format!("question {} was answered before", e.query),
            E::TooManyQueries(e) => {
                format!(
                    "the source answered {} of this study, which is all it may",
                    counted(e.limit, "question")
                )
            }
            E::CellTooSmall(e) => format!(
                "{} are not told: counts are told in steps of {}, and extracts have so many people at the least",
                e.count, e.cell
            ),
            E::TooClose(e) => format!(
                "it differs from an earlier answer by {}, and it takes {}",
                if e.difference == 1 {
                    "1 person".into()
                } else {
                    format!("{} people", e.difference)
                },
                e.cell
            ),
            E::OfferNotOpen(e) => {
                format!("offer {} cannot be ordered: there is none, or it was closed", e.offer)
            }
            E::WrongState(e) => wrong_state("order", e.id, &ORDER, e.state),
            E::NotInExtract(e) => format!("{} is not in the extract of order {}", e.patient, e.id),
            E::WrongConsent(e) => match e.consented {
                true => format!(
                    "{} had consented when the extract of {} was delivered",
                    e.patient, e.id
                ),
                false => format!(
                    "{} had not consented when the extract of {} was delivered",
                    e.patient, e.id
                ),
            },
            E::AlreadyPaid(e) => format!("{} took their share of order {} before", e.patient, e.id),
            E::ExtractReused(e) => format!("extract {} was delivered to another order", e.extract),
            E::WithdrawalsUnseen(e) => format!(
                "{} from the study, and only {} known of: look who withdrew, and leave them out",
                if e.expected == 1 {
                    "1 patient withdrew".into()
                } else {
                    format!("{} patients withdrew", e.expected)
                },
                if e.given == 1 { "1 is".into() } else { format!("{} are", e.given) },
            ),
            E::InsufficientBalance(e) => {
                format!(
                    "there are {} in the purse of {}, and it takes {}",
                    e.balance, e.holder, e.needed
                )
            }
            E::InvalidReceiver(e) => invalid_receiver(e.to),
            E::NoAmount(_) => no_amount(),
            E::NoHolder(_) => no_holder(),
            E::NotHolder(e) => not_holder(e.holder, e.caller),
            E::SafeERC20FailedOperation(e) => failed_transfer(e.token),
            E::WrongTransfer(e) => wrong_transfer(e.expected, e.moved),
        }
    }
}
