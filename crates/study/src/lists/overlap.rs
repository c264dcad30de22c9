//! Which file is used where two have the same month of the same list.
//!
//! The national lists are published without hospitals, and some months once more by hospital. Only one of the two may
//! be counted. A file without hospitals gives way to those with hospitals in two cases:
//!
//! - Its rows are theirs, exactly: as often each specialty, case type, adult or child, age, band and total.
//! - It counts the same people in other rows: as many for each case type, adult or child, age and band, and no more
//!   than one row in a hundred is not among theirs. So it is for outpatients in January 2020, where two hospitals
//!   that were later one stand apart in one file and not in the other.
//!
//! Files with hospitals stand beside each other as long as no hospital is in two. Anything else is an overlap.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ListError,
    spool::{List, Part, Spool},
};
use crate::row::Row;

/// What a row says where hospitals are left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    code: Option<u16>,
    /// Where there is no code.
    name: String,
    cell: [String; 4],
    patients: u32,
}

/// Rows by what they say without hospitals, and how often.
type Lines = BTreeMap<Line, u64>;

/// Why rows are set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    SameRows,
    /// With how many rows that are not among the others.
    SamePeople(u64),
}

/// What was decided of one source's month.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// Parts that are not used, and on behalf of which source.
    pub(super) aside: Vec<(Part, usize, Why)>,
    /// Sources that overlap and are used nevertheless: year, month, list, both.
    pub(super) allowed: BTreeSet<((u16, u8), List, usize, usize)>,
}

/// One month of one list in one source.
struct Share {
    source: usize,
    parts: Vec<Part>,
    hospitals: BTreeSet<String>,
    lines: Lines,
}

impl Share {
    fn of(source: usize, parts: Vec<Part>, spool: &Spool) -> Result<Self, ListError> {
        let (mut hospitals, mut lines) = (BTreeSet::new(), Lines::new());
        for part in &parts {
            for row in spool.rows(*part).map_err(ListError::Scratch)? {
                hospitals.extend(row.hospital.as_ref().map(|hospital| hospital.number.clone()));
                *lines.entry(line(row)).or_default() += 1;
            }
        }
        Ok(Self { source, parts, hospitals, lines })
    }
}

fn line(row: Row) -> Line {
    let code = row.specialty.code;
    let name = if code.is_none() { row.specialty.name } else { String::new() };
    let cell = [row.case_type, row.adult_child, row.age, row.band];
    Line { code, name, cell, patients: row.patients }
}

/// Decides every month that more than one source has. One month is held at a time.
///
/// # Errors
///
/// [`ListError::Overlap`] unless it is allowed, [`ListError::Scratch`] when the rows cannot be read again.
pub(super) fn decide(
    spool: &Spool,
    names: &[String],
    is_allowed: bool,
) -> Result<Decisions, ListError> {
    type Months = BTreeMap<((u16, u8), List), BTreeMap<usize, Vec<Part>>>;
    let mut months = Months::new();
    for part in spool.parts() {
        let month = (part.date.year, part.date.month);
        months.entry((month, part.list)).or_default().entry(part.source).or_default().push(*part);
    }
    let mut decisions = Decisions::default();
    for ((month, list), sources) in months {
        if sources.len() < 2 {
            continue;
        }
        let shares = sources.into_iter().map(|(source, parts)| Share::of(source, parts, spool));
        let shares: Vec<_> = shares.collect::<Result<_, _>>()?;
        let (with, without): (Vec<_>, Vec<_>) =
            shares.into_iter().partition(|share| !share.hospitals.is_empty());
        let mut overlap = |one: &Share, other: &Share| {
            if !is_allowed {
                let (year, number) = month;
                return Err(ListError::Overlap {
                    list,
                    month: format!("{year:04}-{number:02}"),
                    one: names[one.source].clone(),
                    other: names[other.source].clone(),
                });
            }
            decisions.allowed.insert((month, list, one.source, other.source));
            Ok(())
        };
        for (place, one) in with.iter().enumerate() {
            for other in &with[place + 1..] {
                if !one.hospitals.is_disjoint(&other.hospitals) {
                    overlap(one, other)?;
                }
            }
        }
        let Some(first) = with.first() else {
            for other in &without[1..] {
                overlap(&without[0], other)?;
            }
            continue;
        };
        let mut all = Lines::new();
        for (line, count) in with.iter().flat_map(|share| &share.lines) {
            *all.entry(line.clone()).or_default() += count;
        }
        for share in &without {
            match compare(&share.lines, &all) {
                Some(why) => {
                    let parts = share.parts.iter().map(|part| (*part, first.source, why));
                    decisions.aside.extend(parts);
                }
                None => overlap(first, share)?,
            }
        }
    }
    Ok(decisions)
}

/// Whether rows say the same as others, and how; `None` when they do not.
fn compare(lines: &Lines, others: &Lines) -> Option<Why> {
    if lines == others {
        return Some(Why::SameRows);
    }
    let found = |(line, count): (&Line, &u64)| {
        count.saturating_sub(others.get(line).copied().unwrap_or_default())
    };
    let rows: u64 = lines.values().sum();
    let missing: u64 = lines.iter().map(found).sum();
    let is_same = people(lines) == people(others) && missing.saturating_mul(100) <= rows;
    is_same.then_some(Why::SamePeople(missing))
}

/// How many people by all but specialty.
fn people(lines: &Lines) -> BTreeMap<&[String; 4], u64> {
    let mut people = BTreeMap::new();
    for (line, count) in lines {
        *people.entry(&line.cell).or_default() += u64::from(line.patients) * count;
    }
    people
}
