//! What each row came to, added up by what the rows say.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    row::{Hospital, Row, Specialty},
    tally::{Dimension, Gas, NOT_PUBLISHED, Sums},
    workload::Census,
};

/// The sums of a segment by attribute. Rows that came to nothing are in none.
///
/// A census is one transaction for many rows, and counts once for each value that any of its rows has: so
/// transactions by attribute come to more than there are, unless each census has one value, as it has one hospital.
pub(crate) fn by_attribute(
    rows: &[Row],
    shares: &[Sums],
    censuses: &[Census],
) -> BTreeMap<Dimension, BTreeMap<String, Sums>> {
    let by = |of: fn(&Row) -> &str| {
        group(rows, shares, censuses, of, |text| {
            if text.is_empty() { NOT_PUBLISHED } else { text }.to_owned()
        })
    };
    let specialty_label = |specialty: &&Specialty| {
        let code = specialty.code.map(|code| format!("{code:04} ")).unwrap_or_default();
        format!("{code}{}", specialty.name)
    };
    let hospital_label = |hospital: &&Option<Hospital>| {
        hospital.as_ref().map_or_else(
            || NOT_PUBLISHED.to_owned(),
            |one| format!("{} {}", one.number, one.name).trim_end().to_owned(),
        )
    };
    BTreeMap::from([
        (
            Dimension::Specialty,
            group(rows, shares, censuses, |row| &row.specialty, specialty_label),
        ),
        (Dimension::Hospital, group(rows, shares, censuses, |row| &row.hospital, hospital_label)),
        (Dimension::Group, by(|row| row.hospital.as_ref().map_or("", |one| &one.group))),
        (Dimension::Age, by(|row| &row.age)),
        (Dimension::AdultChild, by(|row| &row.adult_child)),
        (Dimension::Band, by(|row| &row.band)),
        (Dimension::CaseType, by(|row| &row.case_type)),
    ])
}

/// Different keys may have the same label.
fn group<'a, K: Ord>(
    rows: &'a [Row],
    shares: &[Sums],
    censuses: &[Census],
    key: impl Fn(&'a Row) -> K,
    label: impl Fn(&K) -> String,
) -> BTreeMap<String, Sums> {
    let mut groups: BTreeMap<K, Sums> = BTreeMap::new();
    for (row, share) in rows.iter().zip(shares).filter(|(_, share)| **share != Sums::default()) {
        *groups.entry(key(row)).or_default() += *share;
    }
    let mut all: BTreeMap<String, Sums> = BTreeMap::new();
    for (key, sums) in &groups {
        *all.entry(label(key)).or_default() += *sums;
    }
    for census in censuses {
        let keys: BTreeSet<K> = census.rows.iter().map(|row| key(&rows[*row])).collect();
        let labels: BTreeSet<String> = keys.iter().map(&label).collect();
        for label in labels {
            all.entry(label).or_default().transactions += 1;
        }
    }
    all
}

/// One transaction's gas among several rows: evenly, the remainder to the first ones.
pub(crate) fn shared(gas: Gas, rows: usize) -> impl Iterator<Item = Gas> {
    let count = rows as u64;
    let part = move |whole: u64, place: u64| whole / count + u64::from(place < whole % count);
    (0..count).map(move |place| Gas {
        intrinsic: part(gas.intrinsic, place),
        calldata: part(gas.calldata, place),
        execution: part(gas.execution, place),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{lists::tests::row, workload::censuses};

    #[test]
    fn shares_of_a_transaction_add_up_to_it() {
        let gas = Gas { intrinsic: 21_000, calldata: 11, execution: 2 };
        let shares: Vec<_> = shared(gas, 3).collect();
        assert_eq!(shares.iter().fold(Gas::default(), |sum, share| sum + *share), gas);
        assert_eq!(shares[0], Gas { intrinsic: 7_000, calldata: 4, execution: 1 });
        assert_eq!(shares[2], Gas { intrinsic: 7_000, calldata: 3, execution: 0 });
    }

    #[test]
    fn a_census_counts_once_for_each_value_that_its_rows_have() {
        let mut rows =
            [Some("0001"), Some("0001"), Some("0001"), Some("0002")].map(|number| row(number, 1));
        rows[1].specialty.name = "Cardiology".into();
        rows[2].age = "65+".into();
        let shares = [Sums { rows: 1, ..Sums::default() }; 4];
        let by = by_attribute(&rows, &shares, &censuses::of(&rows));
        let transactions = |dimension: Dimension| -> Vec<(&str, u64)> {
            by[&dimension].iter().map(|(label, sums)| (&**label, sums.transactions)).collect()
        };
        assert_eq!(transactions(Dimension::Hospital), [("0001", 1), ("0002", 1)]);
        assert_eq!(transactions(Dimension::Specialty), [("0600 Cardiology", 1), ("0600 ENT", 2)]);
        assert_eq!(transactions(Dimension::Age), [("16-64", 2), ("65+", 1)]);
        assert_eq!(transactions(Dimension::Group), [(NOT_PUBLISHED, 2)]);
    }
}
