//! From values to places along an axis, and the marks on it.

use crate::row::Day;

/// How values stand along an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scale {
    /// Evenly, between two values.
    Linear { least: f64, most: f64 },
    /// By their logarithms, between two powers of ten.
    Log { least: f64, most: f64 },
    /// Days, by their number since 1970, with marks at the first of some months.
    Days { least: f64, most: f64 },
}

impl Scale {
    /// From 0, or from the least value when it is negative, to a round number above the most.
    pub(super) fn linear(values: impl IntoIterator<Item = f64>) -> Self {
        let (mut least, mut most) = (0.0_f64, 0.0_f64);
        for value in values {
            least = least.min(value);
            most = most.max(value);
        }
        if least == most {
            most = 1.0;
        }
        let step = round_step(most - least);
        let most = (most / step - 1e-9).ceil() * step;
        let least = (least / step + 1e-9).floor() * step;
        Self::Linear { least, most }
    }

    /// Between powers of ten. What is not above zero has no place here.
    pub(super) fn log(values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().filter(|value| *value > 0.0).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        if values.is_empty() {
            return Self::Log { least: 1.0, most: 10.0 };
        }
        let (low, high) = (decade_below(least), decade_above(most));
        Self::Log { least: low, most: if high > low { high } else { low * 10.0 } }
    }

    pub(super) fn days(days: impl IntoIterator<Item = f64>) -> Self {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for day in days {
            least = least.min(day);
            most = most.max(day);
        }
        if least > most {
            return Self::Days { least: 0.0, most: 1.0 };
        }
        // A little room, so that no dot lies on the edge.
        let room = ((most - least) * 0.02).max(3.0);
        Self::Days { least: least - room, most: most + room }
    }

    /// Where a value lies, from 0 at the least to 1 at the most.
    pub(super) fn place(&self, value: f64) -> f64 {
        match self {
            Self::Linear { least, most } | Self::Days { least, most } => {
                (value - least) / (most - least)
            }
            Self::Log { least, most } => {
                (value.max(*least).log10() - least.log10()) / (most.log10() - least.log10())
            }
        }
    }

    /// Values with a mark, and what stands there.
    pub(super) fn marks(&self) -> Vec<(f64, String)> {
        match *self {
            Self::Linear { least, most } => {
                let step = round_step(most - least);
                let mut marks = Vec::new();
                let mut index = (least / step).round();
                while index * step <= most + step * 1e-6 {
                    let value = index * step;
                    marks.push((value, mark_text(value, step)));
                    index += 1.0;
                }
                marks
            }
            Self::Log { least, most } => {
                let mut marks = Vec::new();
                let mut value = least;
                while value <= most * 1.0001 {
                    marks.push((value, mark_text(value, value)));
                    value *= 10.0;
                }
                // More than eight would run into each other.
                let every = marks.len().div_ceil(8);
                marks.into_iter().step_by(every).collect()
            }
            Self::Days { least, most } => day_marks(least, most),
        }
    }
}

fn day_marks(least: f64, most: f64) -> Vec<(f64, String)> {
    // Years, or quarters, or months, as there is room for.
    let months = most / 30.4 - least / 30.4;
    let every = if months > 60.0 {
        12
    } else if months > 30.0 {
        6
    } else if months > 8.0 {
        3
    } else {
        1
    };
    let mut marks = Vec::new();
    for year in 1970..2200_u16 {
        for month in (1..=12_u8).step_by(every) {
            let day = number_of(Day { year, month, day: 1 });
            if (least..=most).contains(&day) {
                let text =
                    if every == 12 { format!("{year}") } else { format!("{year}-{month:02}") };
                marks.push((day, text));
            }
        }
    }
    marks
}

/// The number of a day, 0 being 1 January 1970.
///
/// # Source
///
/// H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
pub(super) fn number_of(day: Day) -> f64 {
    let (year, month) = (i64::from(day.year), i64::from(day.month));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(day.day) - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    i32::try_from(days).map_or(f64::INFINITY, f64::from)
}

/// 1, 2 or 5 times a power of ten, some five of which make up the span.
fn round_step(span: f64) -> f64 {
    let raw = span / 5.0;
    let decade = decade_below(raw);
    let steps = [1.0, 2.0, 5.0, 10.0].map(|times| times * decade);
    steps.into_iter().find(|step| *step >= raw * 0.999).unwrap_or(steps[3])
}

fn decade_below(value: f64) -> f64 {
    let mut decade = 1.0;
    while decade > value * 1.000_001 {
        decade /= 10.0;
    }
    while decade * 10.0 <= value * 1.000_001 {
        decade *= 10.0;
    }
    decade
}

fn decade_above(value: f64) -> f64 {
    let below = decade_below(value);
    if below >= value * 0.999_999 { below } else { below * 10.0 }
}

/// A mark's text, with as many decimals as steps of this size need.
fn mark_text(value: f64, step: f64) -> String {
    let units = [(1e12, 1e12, " tn"), (1e9, 1e9, " bn"), (1e6, 1e6, " M"), (1e4, 1e3, " k")];
    for (least, unit, name) in units {
        if value.abs() >= least {
            return decimals(value / unit, step / unit) + name;
        }
    }
    decimals(value, step)
}

fn decimals(value: f64, step: f64) -> String {
    let mut digits = 0;
    let mut size = step;
    while size < 0.999 && digits < 12 {
        size *= 10.0;
        digits += 1;
    }
    let text = format!("{value:.digits$}");
    if text.trim_start_matches('-').chars().all(|c| matches!(c, '0' | '.')) {
        return "0".into();
    }
    grouped(&text)
}

/// An amount as people read it: three digits or more that tell something, thousands apart.
pub(super) fn amount(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.01 => 4,
        _ => 6,
    };
    grouped(&format!("{value:.digits$}"))
}

/// A count that is worked with as if it were an amount, thousands apart.
pub(super) fn whole(value: f64) -> String {
    grouped(&format!("{value:.0}"))
}

/// A count, thousands apart.
pub(super) fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// Puts commas between thousands.
fn grouped(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, part) = rest.split_once('.').unwrap_or((rest, ""));
    let mut out = String::from(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if part.is_empty() { out } else { out + "." + part }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scale: &Scale, expected: &[&str]) {
        let marks: Vec<String> = scale.marks().into_iter().map(|(_, text)| text).collect();
        assert_eq!(marks, expected);
    }

    #[test]
    fn marks_are_round_and_reach_the_most() {
        check(&Scale::linear([3.0, 9.3]), &["0", "2", "4", "6", "8", "10"]);
        check(&Scale::linear([0.7]), &["0", "0.2", "0.4", "0.6", "0.8"]);
        check(&Scale::linear([-40.0, 55.0]), &["-40", "-20", "0", "20", "40", "60"]);
        check(&Scale::linear([3.1e6]), &["0", "1 M", "2 M", "3 M", "4 M"]);
        check(&Scale::linear([0.0]), &["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        check(&Scale::log([0.02, 30.0]), &["0.01", "0.1", "1", "10", "100"]);
        check(&Scale::log([100.0, 1_000.0]), &["100", "1,000"]);
        check(&Scale::log([]), &["1", "10"]);
    }

    #[test]
    fn places_lie_between_the_ends() {
        let log = Scale::log([1.0, 100.0]);
        assert!((log.place(10.0) - 0.5).abs() < 1e-12);
        assert!(log.place(0.0).abs() < 1e-12, "zero lies at the least");
        let linear = Scale::linear([0.0, 10.0]);
        assert!((linear.place(2.5) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn days_are_numbered_as_in_the_calendar() {
        let number = |year, month, day| number_of(Day { year, month, day });
        assert_eq!(number(1970, 1, 1), 0.0);
        assert_eq!(number(2000, 2, 29), 11_016.0);
        assert_eq!(number(2020, 1, 30), 18_291.0);
        let marks = Scale::days([number(2015, 7, 30), number(2026, 6, 2)]).marks();
        assert_eq!((marks.len(), marks[0].1.as_str()), (11, "2016"));
    }

    #[test]
    fn numbers_are_read_easily() {
        let check = |value, expected: &str| assert_eq!(amount(value), expected);
        check(1_234_567.8, "1,234,568");
        check(12.345, "12.3");
        check(1.5, "1.50");
        check(0.012_345, "0.0123");
        check(0.000_012, "0.000012");
        check(0.0, "0");
        assert_eq!(count(1_000), "1,000");
    }
}
