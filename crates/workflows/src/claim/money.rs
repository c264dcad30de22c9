//! Amounts of money: counted in whole cents, never in fractions and never in floating point.

use std::{fmt, str::FromStr};

use alloy_primitives::U256;
use serde_json::{Value, json};

use crate::WorkflowError;

/// What a whole is in hundredths of a percent.
///
/// # Source
///
/// `WHOLE` in `Claims.sol`.
pub(super) const WHOLE: u16 = 10_000;

/// An amount in cents of a euro, the smallest unit of the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(pub u128);

impl Cents {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The most that is written down: fifteen digits, which every reader of JSON keeps as they are.
    pub const MAX: Self = Self(999_999_999_999_999);

    /// So many times the amount.
    #[must_use]
    pub fn times(self, count: u32) -> Option<Self> {
        self.0.checked_mul(count.into()).map(Self)
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference; nothing when the other is more.
    #[must_use]
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum of several.
    #[must_use]
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().try_fold(Self::ZERO, Self::plus)
    }

    /// What of an approved amount the insurer pays, when the patient's part is so many hundredths of a
    /// percent. The rest, rounding included, is the patient's.
    ///
    /// # Source
    ///
    /// `_decide` in `Claims.sol`.
    #[must_use]
    pub fn share(self, copayment: u16) -> Option<Self> {
        let insured = WHOLE.checked_sub(copayment)?;
        let share = self.0.checked_mul(insured.into())? / u128::from(WHOLE);
        Some(Self(share))
    }

    /// Refuses what no document can say exactly.
    pub(super) fn require_writable(self) -> Result<Self, WorkflowError> {
        if self <= Self::MAX {
            return Ok(self);
        }
        Err(WorkflowError::Invalid(format!("an amount is at most {}", Self::MAX)))
    }

    /// As FHIR has it.
    pub(super) fn to_money(self) -> Value {
        json!({ "value": self.to_number(), "currency": "EUR" })
    }

    /// The number that JSON has for it. Of at most fifteen digits it is written as it was read here, and it is
    /// read back from the text: nothing is counted in floating point.
    fn to_number(self) -> Value {
        if self.0.is_multiple_of(100) {
            return json!(self.0 / 100);
        }
        let number: f64 = self.to_string().parse().expect("digits with a point are a number");
        json!(number)
    }

    /// As the token holds it.
    pub(super) fn to_units(self) -> U256 {
        U256::from(self.0)
    }

    /// From the token; what there can be no so much of is the most there is.
    pub(super) fn of_units(units: U256) -> Self {
        Self(units.saturating_to())
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:02}", self.0 / 100, self.0 % 100))
    }
}

/// The text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an amount is a number such as 12 or 12.50")]
pub struct ParseCentsError;

impl FromStr for Cents {
    type Err = ParseCentsError;

    /// Parses digits with at most two after a point.
    fn from_str(text: &str) -> Result<Self, ParseCentsError> {
        let (whole, rest) = text.split_once('.').unwrap_or((text, "00"));
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(rest) || rest.len() > 2 {
            return Err(ParseCentsError);
        }
        let whole: u128 = whole.parse().map_err(|_| ParseCentsError)?;
        let rest: u128 = format!("{rest:0<2}").parse().map_err(|_| ParseCentsError)?;
        let cents = whole.checked_mul(100).and_then(|cents| cents.checked_add(rest));
        cents.map(Self).ok_or(ParseCentsError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<u128>) {
        assert_eq!(text.parse::<Cents>().ok(), expected.map(Cents), "{text}");
    }

    #[test]
    fn amounts_are_read_to_the_cent() {
        check("12", Some(1_200));
        check("12.5", Some(1_250));
        check("12.50", Some(1_250));
        check("0.07", Some(7));
        check("9999999999999.99", Some(Cents::MAX.0));
        for wrong in ["", ".", "1.", ".5", "-1", "+1", "1.234", "1e3", "1,50", "٣", " 1"] {
            check(wrong, None);
        }
        // More than there are cents to count.
        check(&u128::MAX.to_string(), None);
    }

    #[test]
    fn amounts_are_written_as_they_are() {
        for (cents, text) in [
            (0, "0"),
            (7, "0.07"),
            (10, "0.1"),
            (1_200, "12"),
            (1_250, "12.5"),
            (Cents::MAX.0, "9999999999999.99"),
        ] {
            assert_eq!(Cents(cents).to_money()["value"].to_string(), text);
        }
        assert!(Cents::MAX.require_writable().is_ok());
        assert!(Cents(Cents::MAX.0 + 1).require_writable().is_err());
    }

    #[test]
    fn shares_round_down_and_never_overflow() {
        assert_eq!(Cents(999).share(1_000), Some(Cents(899)));
        assert_eq!(Cents(999).share(0), Some(Cents(999)));
        assert_eq!(Cents(999).share(WHOLE), Some(Cents::ZERO));
        assert_eq!(Cents(999).share(WHOLE + 1), None);
        assert_eq!(Cents(u128::MAX).share(1), None);
        assert_eq!(Cents(u128::MAX).plus(Cents(1)), None);
        assert_eq!(Cents(u128::MAX).times(2), None);
    }
}
