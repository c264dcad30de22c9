//! How a study is cut into segments.

use std::{error::Error, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    row::{Day, Row},
    tally::Mode,
};

/// The most referrals that are executed on one chain.
pub const REFERRALS_PER_PART: u64 = 20_000;

/// Where the rows come from. It is asked by several threads at once, and always gives the same.
pub trait Source: Sync {
    /// The archive dates in their order, and how much each has.
    fn dates(&self) -> Vec<DateSize>;

    /// All rows of one date, in an order of their own.
    ///
    /// # Errors
    ///
    /// Whatever keeps them from being read. It stops the study.
    fn rows(&self, date: Day) -> Result<Vec<Row>, Box<dyn Error + Send + Sync>>;
}

/// How much an archive date has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateSize {
    /// Which.
    pub date: Day,
    /// Its rows.
    pub rows: u64,
    /// The people counted in them.
    pub patients: u64,
}

/// One segment before it is executed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// How.
    pub mode: Mode,
    /// The archive date.
    pub date: Day,
    /// How often that date was done before, from 0.
    pub replay: u32,
    /// Which part of the date's work, from 0.
    pub part: u32,
    /// How many rows of the date are used, from its first.
    pub rows: u64,
    /// In patient mode, which referrals of the date this part has.
    pub referrals: Range<u64>,
}

impl Work {
    /// How much there is to do: transactions, and in batch mode rows.
    #[must_use]
    pub const fn size(&self) -> u64 {
        match self.mode {
            Mode::Patient => self.referrals.end - self.referrals.start,
            Mode::Row | Mode::Batch => self.rows,
        }
    }

    /// The segment's name, in which segments stand in their order.
    pub(crate) fn name(&self) -> String {
        let Self { replay, date, part, .. } = self;
        format!("{replay:05}-{date}-{part:04}")
    }
}

/// The segments of a study in their order. With `rows`, dates are done in order, and again, until there were so many
/// rows; the last date is cut.
///
/// `patients_in` counts the people in a date's first rows.
pub(crate) fn plan<E>(
    mode: Mode,
    dates: &[DateSize],
    rows: Option<u64>,
    patients_in: impl Fn(Day, u64) -> Result<u64, E>,
) -> Result<Vec<Work>, E> {
    let mut left = rows.unwrap_or_else(|| dates.iter().map(|size| size.rows).sum());
    let mut works = Vec::new();
    if dates.iter().all(|size| size.rows == 0) {
        return Ok(works);
    }
    for replay in 0.. {
        for size in dates.iter().filter(|size| size.rows > 0) {
            if left == 0 {
                return Ok(works);
            }
            let used = size.rows.min(left);
            left -= used;
            let cut = used < size.rows && mode == Mode::Patient;
            let patients = if cut { patients_in(size.date, used)? } else { size.patients };
            let parts = match mode {
                Mode::Patient => patients.div_ceil(REFERRALS_PER_PART).max(1),
                Mode::Row | Mode::Batch => 1,
            };
            for part in 0..parts {
                let (from, to) = (part * REFERRALS_PER_PART, (part + 1) * REFERRALS_PER_PART);
                works.push(Work {
                    mode,
                    date: size.date,
                    replay,
                    part: u32::try_from(part)
                        .expect("patients of a date are fewer than 2^32 x 20,000"),
                    rows: used,
                    referrals: if mode == Mode::Patient { from..to.min(patients) } else { 0..0 },
                });
            }
        }
    }
    Ok(works)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn dates() -> [DateSize; 2] {
        let day = |month| Day { year: 2020, month, day: 30 };
        [
            DateSize { date: day(1), rows: 10, patients: 45_000 },
            DateSize { date: day(2), rows: 5, patients: 0 },
        ]
    }

    #[track_caller]
    fn check(mode: Mode, rows: Option<u64>, expected: &[(u8, u32, u32, u64, u64)]) {
        let works = plan(mode, &dates(), rows, |_, rows| Ok::<_, Infallible>(rows * 100)).unwrap();
        let told = works
            .iter()
            .map(|work| (work.date.month, work.replay, work.part, work.rows, work.size()));
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn each_date_is_done_once() {
        check(Mode::Row, None, &[(1, 0, 0, 10, 10), (2, 0, 0, 5, 5)]);
        check(Mode::Batch, None, &[(1, 0, 0, 10, 10), (2, 0, 0, 5, 5)]);
    }

    #[test]
    fn so_many_rows_replay_the_dates_and_cut_the_last() {
        check(Mode::Row, Some(4), &[(1, 0, 0, 4, 4)]);
        check(Mode::Row, Some(10), &[(1, 0, 0, 10, 10)]);
        let expected = [(1, 0, 0, 10, 10), (2, 0, 0, 5, 5), (1, 1, 0, 10, 10), (2, 1, 0, 2, 2)];
        check(Mode::Row, Some(27), &expected);
    }

    #[test]
    fn referrals_are_cut_into_parts() {
        let expected =
            [(1, 0, 0, 10, 20_000), (1, 0, 1, 10, 20_000), (1, 0, 2, 10, 5_000), (2, 0, 0, 5, 0)];
        check(Mode::Patient, None, &expected);
        check(Mode::Patient, Some(3), &[(1, 0, 0, 3, 300)]);
    }

    #[test]
    fn nothing_is_done_of_nothing() {
        let none: [DateSize; 0] = [];
        let works = plan(Mode::Row, &none, Some(7), |_, _| Ok::<_, Infallible>(0)).unwrap();
        assert_eq!(works, []);
    }
}
