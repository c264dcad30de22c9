//! What the contracts' errors say to the person who meets one: states by name, times as dates, and what can be
//! done about it.
//!
//! Each error of each contract has its sentence, in lower case and without a full stop, because it follows on
//! another. That none is left out, the compiler sees. Who is meant stands there as an address, in whose place
//! whoever shows the text may put a name. `tests/refusals.rs` reads the sentences as people would.

mod care;
mod exchange;
mod network;

use std::fmt::Display;

use alloy_primitives::{Address, B256, U256};
use domain::{InstitutionRole, ProfessionalRole, Timestamp};

/// An error of a contract, for people.
pub(crate) trait Words {
    /// What it says.
    fn words(&self) -> String;
}

/// Smaller numbers of seconds are lengths of time, larger ones times: it is a day of the year 2001.
const FIRST_TIME: u64 = 1_000_000_000;

/// The last second of the year 9999: what is later means "whenever".
const LAST_TIME: u64 = 253_402_300_799;

/// A time, or a length of time.
fn moment(seconds: U256) -> String {
    match seconds.saturating_to() {
        length @ ..FIRST_TIME => {
            let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
            let whole = units.into_iter().find(|(unit, _)| length >= *unit && length % unit == 0);
            let (unit, name) = whole.unwrap_or((1, "second"));
            counted(length / unit, name)
        }
        time @ FIRST_TIME..=LAST_TIME => Timestamp(time).to_string(),
        _ => "any time".into(),
    }
}

/// A time or length that lies outside its bounds.
fn outside(given: U256, least: U256, most: U256) -> String {
    let is_time = given.saturating_to::<u64>() >= FIRST_TIME;
    let (early, late) = if is_time { ("early", "late") } else { ("short", "long") };
    let shown = moment(given);
    if given < least {
        format!("{shown} is too {early}: it is {} at the least", moment(least))
    } else {
        format!("{shown} is too {late}: it is {} at the most", moment(most))
    }
}

/// A number of things, as people say it.
fn counted(count: impl Display, thing: &str) -> String {
    let count = count.to_string();
    if count == "1" { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// An amount in hundredths, as people write it.
fn cents(amount: U256) -> String {
    let hundred = U256::from(100);
    format!("{}.{:02}", amount / hundred, (amount % hundred).to::<u8>())
}

/// The name of a state, by its number from 1; `None` for the state that nothing has.
fn named(names: &[&'static str], number: u8) -> Option<&'static str> {
    let index = usize::from(number).checked_sub(1)?;
    Some(names.get(index).copied().unwrap_or("in a state that this program does not know"))
}

/// A step that does not follow on the state that something is in.
fn wrong_state(thing: &str, id: B256, names: &[&'static str], state: u8) -> String {
    match named(names, state) {
        None => format!("there is no {thing} {id}"),
        Some(name) => format!("{thing} {id} is {name}, and this step does not follow on that"),
    }
}

fn role(number: u8) -> String {
    ProfessionalRole::try_from(number).map_or_else(|_| "nobody in force".into(), a)
}

fn institution_role(number: u8) -> String {
    match InstitutionRole::try_from(number) {
        Err(_) => "no institution in force".into(),
        Ok(InstitutionRole::Emergency) => "an emergency department".into(),
        Ok(InstitutionRole::Research) => "a research institution".into(),
        Ok(role) => a(role),
    }
}

/// A word with its article.
fn a(word: impl Display) -> String {
    let word = word.to_string().replace('-', " ");
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {word}")
}

fn not_allowed(professional: Address, number: u8, institution: Address) -> String {
    format!(
        "{professional} acts as {} for {institution}; this step takes another role, or another institution's people",
        role(number)
    )
}

fn wrong_role(professional: Address, number: u8) -> String {
    format!("{professional} acts as {}; this step takes another role", role(number))
}

fn wrong_institution(institution: Address, number: u8) -> String {
    let role = institution_role(number);
    format!("{institution} is {role}; this takes an institution of another kind, or another one")
}

fn not_hospital(institution: Address, number: u8) -> String {
    format!("{institution} is {}, and no hospital", institution_role(number))
}

fn not_active(patient: Address, steward: Address) -> String {
    format!(
        "{steward} keeps no records for {patient}: it proposes a relationship, and the patient accepts it, first"
    )
}

fn not_party(caller: Address) -> String {
    format!("{caller} has no part in this: it is for others to do")
}

fn already_used(thing: &str, id: B256) -> String {
    format!("there is {thing} {id} already; another one takes another identifier")
}

/// What was given is not what stands on chain.
fn differs(what: &str, expected: B256, given: B256) -> String {
    format!("{what}: the chain has {expected}, and {given} was given")
}

/// Something that has to be given was left empty.
fn zero() -> String {
    "something that must be given is empty".into()
}

fn expired(deadline: U256) -> String {
    format!("what was signed had to come by {}; sign it again", moment(deadline))
}

fn long_text() -> String {
    "a text of the contract is too long".into()
}

fn malformed_text() -> String {
    "a text of the contract is malformed".into()
}

fn no_holder() -> String {
    "it is not said whose purse it is".into()
}

fn no_amount() -> String {
    "there is nothing to pay".into()
}

fn not_holder(holder: Address, caller: Address) -> String {
    format!("the purse is that of {holder}, from which {caller} cannot take")
}

fn invalid_receiver(to: Address) -> String {
    format!("money that goes out cannot go to {to}")
}

fn wrong_transfer(expected: impl Display, moved: impl Display) -> String {
    format!("the money moved {moved} where {expected} were asked for")
}

fn failed_transfer(token: Address) -> String {
    format!(
        "the money at {token} did not move: look whether whoever pays has it and lets the contract take it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: u64, expected: &str) {
        assert_eq!(moment(U256::from(seconds)), expected);
    }

    #[test]
    fn times_are_dates_and_lengths_have_their_unit() {
        check(0, "0 seconds");
        check(1, "1 second");
        check(90, "90 seconds");
        check(3_600, "1 hour");
        check(14 * 86_400, "14 days");
        check(1_795_374_960, "2026-11-22T19:16:00Z");
        check(u64::MAX, "any time");
        assert_eq!(moment(U256::MAX), "any time");
    }

    #[test]
    fn bounds_are_told_on_the_side_that_was_missed() {
        let check = |given: u64, expected: &str| {
            let bounds = (U256::from(60), U256::from(3_600));
            assert_eq!(outside(U256::from(given), bounds.0, bounds.1), expected);
        };
        check(59, "59 seconds is too short: it is 1 minute at the least");
        check(7_200, "2 hours is too long: it is 1 hour at the most");
        let day = U256::from(1_795_374_960_u64);
        let early = outside(day, day + U256::from(60), U256::MAX);
        assert_eq!(
            early,
            "2026-11-22T19:16:00Z is too early: it is 2026-11-22T19:17:00Z at the least"
        );
    }

    #[test]
    fn states_have_names() {
        let names = ["issued", "claimed"];
        let said = |state| wrong_state("prescription", B256::ZERO, &names, state);
        assert!(said(0).starts_with("there is no prescription 0x00"));
        assert!(said(2).contains("is claimed, and"));
        assert!(said(3).contains("is in a state that this program does not know"));
        assert_eq!(institution_role(4), "an emergency department");
        assert_eq!(role(5), "a laboratory scientist");
    }
}
