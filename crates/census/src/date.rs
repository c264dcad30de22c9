//! Days and months, in every order in which the files write them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{NotUnderstood, rows::number};

/// A day of the proleptic Gregorian calendar. Days stand in order of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Day {
    /// With four digits.
    pub year: u16,
    /// From 1.
    pub month: u8,
    /// From 1.
    pub day: u8,
}

impl fmt::Display for Day {
    /// As in `2020-01-30`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// A month of a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Month {
    year: u16,
    month: u8,
}

impl Month {
    /// A month, counted from 1; `None` unless the year has four digits.
    #[must_use]
    pub const fn new(year: u16, month: u8) -> Option<Self> {
        let is_month = 1 <= month && month <= 12 && 1_000 <= year && year <= 9_999;
        if is_month { Some(Self { year, month }) } else { None }
    }

    /// As the contract writes it: year times 100 plus month.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.year as u32 * 100 + self.month as u32
    }
}

impl FromStr for Month {
    type Err = NotUnderstood;

    /// Such as `2020-01` or `202001`.
    fn from_str(text: &str) -> Result<Self, NotUnderstood> {
        const REASON: NotUnderstood = NotUnderstood("a month is written as in 2020-01");
        let digits = text.trim().replacen('-', "", 1);
        if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(REASON);
        }
        let (year, month) = digits.split_at(4);
        let year = year.parse::<u16>().map_err(|_| REASON)?;
        let month = month.parse::<u8>().map_err(|_| REASON)?;
        Self::new(year, month).ok_or(REASON)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl TryFrom<String> for Month {
    type Error = NotUnderstood;

    fn try_from(text: String) -> Result<Self, NotUnderstood> {
        text.parse()
    }
}

impl From<Month> for String {
    fn from(month: Month) -> Self {
        month.to_string()
    }
}

/// In which order a file writes day and month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateOrder {
    /// As in Ireland.
    #[default]
    DayFirst,
    /// As in the United States.
    MonthFirst,
}

impl DateOrder {
    pub(crate) fn day(self, parts: DateParts) -> Option<Day> {
        let (year, month, day) = match (self, parts) {
            (_, DateParts::YearFirst(year, month, day))
            | (Self::DayFirst, DateParts::YearLast(day, month, year))
            | (Self::MonthFirst, DateParts::YearLast(month, day, year)) => (year, month, day),
        };
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            2 => 28 + u8::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
        Month::new(year, month)?;
        (1..=days).contains(&day).then_some(Day { year, month, day })
    }
}

/// Finds out the order. One row can leave it open; a file as a whole seldom does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct OrderFinder {
    month_first: bool,
    day_first: bool,
}

impl OrderFinder {
    pub(crate) fn see(&mut self, parts: DateParts) {
        if let DateParts::YearLast(one, other, _) = parts {
            self.day_first |= one > 12;
            self.month_first |= other > 12;
        }
    }

    /// Whether no other date would change what is found.
    pub(crate) const fn is_sure(self) -> bool {
        self.day_first
    }

    pub(crate) const fn found(self) -> DateOrder {
        if self.month_first && !self.day_first {
            DateOrder::MonthFirst
        } else {
            DateOrder::DayFirst
        }
    }
}

/// The three numbers of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateParts {
    YearFirst(u16, u16, u16),
    YearLast(u16, u16, u16),
}

impl DateParts {
    pub(crate) fn of(text: &str) -> Option<Self> {
        let mut parts = text.trim().split(['/', '-', '.']);
        let (one, two, three) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let numbers = (number(one)?, number(two)?, number(three)?);
        match (one.len(), two.len(), three.len()) {
            (4, 1 | 2, 1 | 2) => Some(Self::YearFirst(numbers.0, numbers.1, numbers.2)),
            (1 | 2, 1 | 2, 4) => Some(Self::YearLast(numbers.0, numbers.1, numbers.2)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(order: DateOrder, text: &str, expected: Option<(u16, u8, u8)>) {
        let day = DateParts::of(text).and_then(|parts| order.day(parts));
        assert_eq!(day.map(|day| (day.year, day.month, day.day)), expected, "{text}");
    }

    #[test]
    fn days_are_read_in_either_order_and_impossible_ones_are_not() {
        use DateOrder::{DayFirst, MonthFirst};
        check(DayFirst, "30/01/2020", Some((2020, 1, 30)));
        check(DayFirst, " 30-1-2020 ", Some((2020, 1, 30)));
        check(MonthFirst, "01.30.2020", Some((2020, 1, 30)));
        check(MonthFirst, "2014-01-31", Some((2014, 1, 31)));
        check(DayFirst, "29/02/2020", Some((2020, 2, 29)));
        check(DayFirst, "29/02/2000", Some((2000, 2, 29)));
        for impossible in [
            "29/02/2019",
            "29/02/2100",
            "31/04/2020",
            "30/02/2020",
            "01/13/2020",
            "00/01/2020",
            "01/00/2020",
            "32/01/2020",
            "01/01/0999",
            "1/1/20",
            "1/1/2020/1",
            "2020",
            "-1/1/2020",
            "",
            "soon",
        ] {
            check(DayFirst, impossible, None);
        }
    }
}
