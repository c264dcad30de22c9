//! Rows as the contract takes them, and the trees over those of a hospital.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use bindings::WaitingLists;
use census::{Band, StatedRow};
use domain::merkle;

use super::{ALL_HOSPITALS, calendar};
use crate::row::{Day, Row};

/// What a census says of a row.
pub(crate) fn stated(row: &Row) -> StatedRow {
    let name =
        if row.specialty.code.is_none() { row.specialty.name.clone() } else { String::new() };
    StatedRow {
        specialty: row.specialty.code,
        band: Band {
            specialty_name: name,
            case_type: row.case_type.clone(),
            adult_child: row.adult_child.clone(),
            age: row.age.clone(),
            time: row.band.clone(),
        },
        count: row.patients,
    }
}

/// A hospital's number as the contract holds it: as text at the left of 32 bytes.
pub(crate) fn word(hospital: Option<&str>) -> B256 {
    let text = hospital.unwrap_or(ALL_HOSPITALS).as_bytes();
    B256::right_padding_from(&text[..text.len().min(32)])
}

/// The census of one hospital and archive date, of all its rows.
#[derive(Clone, Debug)]
pub(crate) struct Census {
    /// By number; `None` for the rows that name none.
    pub(crate) hospital: Option<String>,
    pub(crate) date: Day,
    /// The rows by their places in the date's order, in the order of the tree.
    pub(crate) rows: Vec<usize>,
    pub(crate) total: u64,
    pub(crate) tree: merkle::Tree,
}

impl Census {
    pub(crate) fn call(&self) -> WaitingLists::publishCensusCall {
        WaitingLists::publishCensusCall {
            hospital: word(self.hospital.as_deref()),
            month: calendar::month_number(self.date),
            root: self.tree.root(),
            rows: u32::try_from(self.rows.len()).expect("a date has fewer than 2^32 rows"),
            total: self.total,
        }
    }
}

/// What is hashed of a row, its place in the date's order, and what is said of it.
type Entry = ((u16, B256, u32), usize, StatedRow);

/// The censuses of one date, in the order of the hospitals' numbers; that without a number is the first.
///
/// Rows stand in the order of what is hashed of them, so that the order of a file makes no difference.
pub(crate) fn of(rows: &[Row]) -> Vec<Census> {
    let mut groups: BTreeMap<Option<&str>, Vec<Entry>> = BTreeMap::new();
    for (place, row) in rows.iter().enumerate() {
        let hospital = row.hospital.as_ref().map(|hospital| &*hospital.number);
        let stated = stated(row);
        let WaitingLists::Row { specialty, group, count } = stated.to_row();
        groups.entry(hospital).or_default().push(((specialty, group, count), place, stated));
    }
    let census = |(hospital, mut entries): (Option<&str>, Vec<Entry>)| {
        entries.sort_by_key(|(key, place, _)| (*key, *place));
        let leaves: Vec<B256> =
            (0..).zip(&entries).map(|(number, (_, _, stated))| stated.leaf(number)).collect();
        let places: Vec<usize> = entries.iter().map(|(_, place, _)| *place).collect();
        Some(Census {
            hospital: hospital.map(str::to_owned),
            date: rows[*places.first()?].date,
            total: places.iter().map(|place| u64::from(rows[*place].patients)).sum(),
            tree: merkle::Tree::new(leaves)?,
            rows: places,
        })
    };
    groups.into_iter().filter_map(census).collect()
}
