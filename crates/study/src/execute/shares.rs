//! What each row came to, added up by what the rows say.

use std::collections::BTreeMap;

use crate::{
    row::{Hospital, Row},
    tally::{Dimension, Gas, NOT_PUBLISHED, Sums},
};

/// The sums of a segment by attribute. Rows that came to nothing are in none.
pub(crate) fn by_attribute(
    rows: &[Row],
    shares: &[Sums],
) -> BTreeMap<Dimension, BTreeMap<String, Sums>> {
    let by = |of: fn(&Row) -> &str| {
        group(rows, shares, of).into_iter().map(|(key, sums)| (key.to_owned(), sums)).collect()
    };
    let specialties = group(rows, shares, |row| &row.specialty).into_iter();
    let specialties = specialties.map(|(specialty, sums)| {
        let code = specialty.code.map(|code| format!("{code:04} ")).unwrap_or_default();
        (format!("{code}{}", specialty.name), sums)
    });
    let hospitals = group(rows, shares, |row| &row.hospital).into_iter();
    let hospitals = hospitals.map(|(hospital, sums)| (hospital_label(hospital.as_ref()), sums));
    BTreeMap::from([
        (Dimension::Specialty, merged(specialties)),
        (Dimension::Hospital, merged(hospitals)),
        (Dimension::Group, by(|row| published(row.hospital.as_ref().map_or("", |one| &one.group)))),
        (Dimension::Age, by(|row| published(&row.age))),
        (Dimension::AdultChild, by(|row| published(&row.adult_child))),
        (Dimension::Band, by(|row| published(&row.band))),
        (Dimension::CaseType, by(|row| published(&row.case_type))),
    ])
}

fn published(text: &str) -> &str {
    if text.is_empty() { NOT_PUBLISHED } else { text }
}

fn hospital_label(hospital: Option<&Hospital>) -> String {
    hospital.map_or_else(
        || NOT_PUBLISHED.to_owned(),
        |hospital| format!("{} {}", hospital.number, hospital.name).trim_end().to_owned(),
    )
}

fn group<'a, K: Ord + 'a>(
    rows: &'a [Row],
    shares: &[Sums],
    key: impl Fn(&'a Row) -> K,
) -> BTreeMap<K, Sums> {
    let mut groups: BTreeMap<K, Sums> = BTreeMap::new();
    for (row, share) in rows.iter().zip(shares).filter(|(_, share)| **share != Sums::default()) {
        *groups.entry(key(row)).or_default() += *share;
    }
    groups
}

/// Different keys may have the same label.
fn merged(labelled: impl Iterator<Item = (String, Sums)>) -> BTreeMap<String, Sums> {
    let mut all: BTreeMap<String, Sums> = BTreeMap::new();
    for (label, sums) in labelled {
        *all.entry(label).or_default() += sums;
    }
    all
}

/// One transaction's gas among several rows: evenly, the remainder to the first ones. The transaction itself is the
/// first row's.
pub(crate) fn shared(gas: Gas, rows: usize) -> impl Iterator<Item = (u64, Gas)> {
    let count = rows as u64;
    let part = move |whole: u64, place: u64| whole / count + u64::from(place < whole % count);
    (0..count).map(move |place| {
        let share = Gas {
            intrinsic: part(gas.intrinsic, place),
            calldata: part(gas.calldata, place),
            execution: part(gas.execution, place),
        };
        (part(1, place), share)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_transaction_add_up_to_it() {
        let gas = Gas { intrinsic: 21_000, calldata: 11, execution: 2 };
        let shares: Vec<_> = shared(gas, 3).collect();
        assert_eq!(shares.iter().map(|(count, _)| count).sum::<u64>(), 1);
        let sum = shares.iter().fold(Gas::default(), |sum, (_, share)| sum + *share);
        assert_eq!(sum, gas);
        assert_eq!(shares[0].1, Gas { intrinsic: 7_000, calldata: 4, execution: 1 });
        assert_eq!(shares[2].1, Gas { intrinsic: 7_000, calldata: 3, execution: 0 });
    }
}
