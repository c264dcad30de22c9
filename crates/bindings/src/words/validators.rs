//! The words of the validators' elections.

use crate::Validators::ValidatorsErrors;

use super::{Words, counted, named, zero};

/// `Status` in `Validators.sol`.
const STATUS: [&str; 3] = ["standing for election", "no candidate any more: it left", "slashed"];

impl Words for ValidatorsErrors {
    fn words(&self) -> String {
        use ValidatorsErrors as E;
        match self {
            E::InvalidSize(e) => {
                format!("{} are too few or too many: it takes {} to {}", e.given, e.least, e.most)
            }
            E::Zero(_) => zero(),
            E::NotInForce(e) => format!("{} is no institution in force", e.institution),
            E::InForce(e) => {
                format!("{} is in force, and does this for itself", e.institution)
            }
            E::AccountUsed(e) => format!(
                "{} was a validator's account before, and an account is never used again",
                e.account
            ),
            E::KeyUsed(e) => {
                format!("{} was a validator's key before, and a key is never used again", e.key)
            }
            E::StandsAlready(e) => {
                format!(
                    "{} runs the validator {} already: it steps down first",
                    e.institution, e.account
                )
            }
            E::NotStanding(e) => match named(&STATUS, e.status) {
                None => format!("{} is no validator", e.account),
                Some(status) => {
                    format!(
                        "the validator {} is {status}, and this takes one that stands",
                        e.account
                    )
                }
            },
            E::Jailed(e) => format!(
                "a validator of {} was slashed: it may register another from epoch {} on",
                e.institution, e.until
            ),
            E::TooManyDelegates(e) => {
                format!(
                    "{} stand already, which is all there may be",
                    counted(e.limit, "validator")
                )
            }
            E::InvalidLength(e) => format!(
                "{} are none, or more than the {} that there is place for",
                counted(e.size, "byte"),
                e.limit
            ),
            E::NoVotes(_) => "there are no votes to move".into(),
            E::InsufficientVotes(e) => format!(
                "{} has {} to move here, and {} are asked for",
                e.institution,
                counted(e.votes, "vote"),
                e.needed
            ),
            E::UnknownUnbonding(e) => format!("no votes are on their way back under {}", e.id),
            E::StillUnbonding(e) => {
                format!("the votes under {} are free from epoch {} on", e.id, e.until)
            }
            E::NotDecided(e) => format!(
                "the committee of epoch {} is not decided; the last that is serves in epoch {}",
                e.epoch, e.latest
            ),
            E::NotSeated(e) => {
                format!("{} was not in the committee of epoch {}", e.account, e.epoch)
            }
            E::NotJuror(e) => format!(
                "{} does not judge this: it was not in the committee of epoch {}, is accused itself, or was slashed",
                e.caller, e.epoch
            ),
            E::InvalidEpoch(e) => format!(
                "an offence in epoch {} cannot be reported now, only one in the epochs {} to {}",
                e.given, e.least, e.most
            ),
            E::AlreadySlashed(e) => format!("the validator {} was slashed before", e.account),
            E::AlreadyReported(e) => {
                format!("that evidence is reported already, as {}: confirm it", e.id)
            }
            E::UnknownCase(e) => format!("there is no report {}", e.id),
            E::CaseClosed(e) => format!(
                "report {} was to be confirmed by the end of epoch {}: report it again",
                e.id, e.last
            ),
            E::AlreadyConfirmed(e) => format!("{} confirmed report {} before", e.account, e.id),
        }
    }
}
