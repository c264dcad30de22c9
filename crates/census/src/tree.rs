//! The census of one hospital and month: its rows as a Merkle tree, so that each can be proven and the total
//! recomputed.
//!
//! A census names nobody. Whoever has the rows makes the same root: they stand in an order of their own, whatever
//! the order of the files. So nothing here is salted.
//!
//! A leaf is the row's number, the specialty's code, a digest of what else tells the row from others, and the
//! number of people, as `WaitingLists.sol` hashes them. Rows that are the same twice are two rows: in files without
//! hospitals they are different hospitals'.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::WaitingLists;
use domain::merkle;
use serde::{Deserialize, Serialize};

use crate::{Entry, Hospital, Month};

/// What tells a row from the others of a hospital, month and specialty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Band {
    /// The specialty's name, where it has no code; else empty.
    pub specialty_name: String,
    /// `Inpatient`, `Day Case` or `Outpatient`.
    pub case_type: String,
    /// `Adult` or `Child`; empty where the file does not say.
    pub adult_child: String,
    /// The years of age; empty where the file does not say.
    pub age: String,
    /// How long these people have waited; empty where the file does not say.
    pub time: String,
}

impl Band {
    /// As the contract holds it: `abi.encode` of a label and the five texts, hashed.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let texts = (
            "salus/census-group/v1".to_owned(),
            self.specialty_name.clone(),
            self.case_type.clone(),
            self.adult_child.clone(),
            self.age.clone(),
            self.time.clone(),
        );
        keccak256(texts.abi_encode_params())
    }
}

/// What a row says, apart from hospital and month, which the whole census is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedRow {
    /// The specialty's HIPE code; `None` when the file has none.
    pub specialty: Option<u16>,
    /// Who was counted.
    pub band: Band,
    /// How many people.
    pub count: u32,
}

impl StatedRow {
    /// As the contract takes it.
    #[must_use]
    pub fn to_row(&self) -> WaitingLists::Row {
        WaitingLists::Row {
            specialty: self.specialty.unwrap_or(Entry::NO_CODE),
            group: self.band.digest(),
            count: self.count,
        }
    }

    /// Its leaf under a number, from 0.
    ///
    /// # Source
    ///
    /// `leafOf` in `WaitingLists.sol`.
    #[must_use]
    pub fn leaf(&self, number: u32) -> B256 {
        let row = self.to_row();
        let fields = (number, U256::from(row.specialty), row.group, row.count);
        merkle::leaf(keccak256(fields.abi_encode()))
    }

    /// What is hashed of it apart from its number, by which rows stand in their order.
    pub(crate) fn key(&self) -> (u16, B256, u32) {
        let WaitingLists::Row { specialty, group, count } = self.to_row();
        (specialty, group, count)
    }
}

/// The rows of one hospital and month, as a tree.
#[derive(Clone, Debug)]
pub struct Census {
    hospital: Hospital,
    month: Month,
    entries: Vec<Entry>,
    tree: merkle::Tree,
}

impl Census {
    /// The censuses that rows make: one for each hospital and month, in that order.
    #[must_use]
    pub fn all_of(entries: Vec<Entry>) -> Vec<Self> {
        let mut groups: BTreeMap<_, Vec<Entry>> = BTreeMap::new();
        for entry in entries {
            groups.entry((entry.hospital.clone(), entry.month)).or_default().push(entry);
        }
        let census = |((hospital, month), entries): ((Hospital, Month), Vec<Entry>)| {
            // The order of what is hashed, so that it does not depend on a file's.
            let mut keyed: Vec<_> =
                entries.into_iter().map(|entry| (entry.stated().key(), entry)).collect();
            keyed.sort_by_key(|(key, _)| *key);
            let entries: Vec<_> = keyed.into_iter().map(|(_, entry)| entry).collect();
            let leaves = (0..).zip(&entries).map(|(number, entry)| entry.stated().leaf(number));
            let tree = merkle::Tree::new(leaves.collect())?;
            Some(Self { hospital, month, entries, tree })
        };
        groups.into_iter().filter_map(census).collect()
    }

    /// Of which hospital.
    #[must_use]
    pub const fn hospital(&self) -> &Hospital {
        &self.hospital
    }

    /// Of which month.
    #[must_use]
    pub const fn month(&self) -> Month {
        self.month
    }

    /// Its rows, in the order of the tree.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What its rows come to.
    ///
    /// # Errors
    ///
    /// [`TooManyRows`] when there are more than the contract counts.
    pub fn sum(&self) -> Result<Sum, TooManyRows> {
        let rows = u32::try_from(self.entries.len()).map_err(|_| TooManyRows)?;
        // Fewer than 2^32 numbers below 2^32 always fit.
        let total = self.entries.iter().map(|entry| u64::from(entry.count)).sum();
        Ok(Sum { root: self.tree.root(), rows, total })
    }

    /// The proof of a row by its number, from 0, in the census that was published of these rows; `None` when
    /// there is no such row.
    #[must_use]
    pub fn prove(&self, census: &Reference, number: u32) -> Option<RowProof> {
        let index = usize::try_from(number).ok()?;
        let (row, proof) = (self.entries.get(index)?.stated(), self.tree.proof(index)?);
        Some(RowProof { census: census.clone(), number, row, proof })
    }

    /// What differs in another census, row by row.
    #[must_use]
    pub fn differences<'a>(&'a self, other: &'a Self) -> Differences<'a> {
        let mut left: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
        for entry in &other.entries {
            left.entry(entry.stated().key()).or_default().push(entry);
        }
        let mut missing = Vec::new();
        for entry in &self.entries {
            if left.get_mut(&entry.stated().key()).and_then(Vec::pop).is_none() {
                missing.push(entry);
            }
        }
        let mut added: Vec<&Entry> = left.into_values().flatten().collect();
        added.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
        // The same people counted otherwise are one row that was changed.
        let mut changed = Vec::new();
        missing.retain(|one| {
            let same =
                |other: &&Entry| (one.specialty, &one.band) == (other.specialty, &other.band);
            let Some(position) = added.iter().position(same) else { return true };
            changed.push((*one, added.remove(position)));
            false
        });
        Differences { changed, missing, added }
    }
}

/// More rows than the contract counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a census has fewer rows than 2^32")]
pub struct TooManyRows;

/// What rows come to, and what is anchored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// The root of their tree.
    pub root: B256,
    /// How many rows.
    pub rows: u32,
    /// How many people.
    pub total: u64,
}

/// Rows in which two censuses differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differences<'a> {
    /// The same people counted otherwise: before and after.
    pub changed: Vec<(&'a Entry, &'a Entry)>,
    /// Rows of the first that the second does not have.
    pub missing: Vec<&'a Entry>,
    /// Rows of the second that the first does not have.
    pub added: Vec<&'a Entry>,
}

/// Which census on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Who published it, by member address.
    pub publisher: Address,
    /// Of which hospital.
    pub hospital: Hospital,
    /// Of which month.
    pub month: Month,
    /// Which version, from 1.
    pub version: u64,
}

/// A row with what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowProof {
    /// In which census.
    pub census: Reference,
    /// Its number there, from 0.
    pub number: u32,
    /// What it says.
    pub row: StatedRow,
    /// The siblings from its leaf up to the root.
    pub proof: Vec<B256>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading;

    const ROWS: &str = "31/01/2024,G,0999,H,0600,ENT,Adult,16-64,0-3 Months,7\n\
                        31/01/2024,G,0999,H,0600,ENT,Adult,16-64,3-6 Months,5\n\
                        31/01/2024,G,0999,H,0600,ENT,Adult,16-64,3-6 Months,5\n\
                        29/02/2024,G,0999,H,0600,ENT,Adult,16-64,0-3 Months,8\n\
                        31/01/2024,G,0998,H,0600,ENT,Adult,65+,0-3 Months,9\n";

    fn censuses(text: &str) -> Vec<Census> {
        let mut reading = Reading::default();
        reading.read("made-up.csv", text.as_bytes(), None);
        assert_eq!(reading.problems, []);
        Census::all_of(reading.entries)
    }

    fn of_0999(text: &str) -> Census {
        censuses(text).into_iter().find(|one| one.sum().unwrap().rows > 1).unwrap()
    }

    #[test]
    fn rows_are_apart_by_hospital_and_month_and_the_same_twice_counts_twice() {
        let told: Vec<_> = censuses(ROWS)
            .iter()
            .map(|census| {
                let sum = census.sum().unwrap();
                (census.hospital.to_string(), census.month.number(), sum.rows, sum.total)
            })
            .collect();
        let expected = [("0998", 202_401, 1, 9), ("0999", 202_401, 3, 17), ("0999", 202_402, 1, 8)];
        assert_eq!(
            told,
            expected.map(|(number, month, rows, total)| (number.to_owned(), month, rows, total))
        );
    }

    #[test]
    fn the_order_of_a_file_makes_no_difference() {
        let mut lines: Vec<_> = ROWS.lines().collect();
        lines.reverse();
        let (one, other) = (of_0999(ROWS), of_0999(&lines.join("\n")));
        assert_eq!(one.sum().unwrap(), other.sum().unwrap());
    }

    #[test]
    fn every_row_is_provable_and_no_other() {
        let census = of_0999(ROWS);
        let root = census.sum().unwrap().root;
        let rows = census.sum().unwrap().rows;
        let (hospital, month) = (census.hospital().clone(), census.month());
        let published = Reference { publisher: Address::ZERO, hospital, month, version: 1 };
        for number in 0..rows {
            let RowProof { row, proof, .. } = census.prove(&published, number).unwrap();
            assert!(merkle::verify(root, row.leaf(number), &proof));
            assert!(!merkle::verify(root, row.leaf(number + 1), &proof));
            let more = StatedRow { count: row.count + 1, ..row.clone() };
            assert!(!merkle::verify(root, more.leaf(number), &proof));
            let mut older = row;
            older.band.age = "65+".into();
            assert!(!merkle::verify(root, older.leaf(number), &proof));
        }
        assert!(census.prove(&published, rows).is_none());
    }

    #[test]
    fn changed_missing_and_added_rows_are_named() {
        let before = of_0999(ROWS);
        let told = |text: &str| {
            let after = of_0999(text);
            let found = before.differences(&after);
            let is_same = before.sum().unwrap() == after.sum().unwrap();
            let none = found == Differences::default();
            assert_eq!(is_same, none);
            (found.changed.len(), found.missing.len(), found.added.len())
        };
        assert_eq!(told(ROWS), (0, 0, 0));
        assert_eq!(told(&ROWS.replacen("Months,5", "Months,6", 1)), (1, 0, 0));
        // The total stays what it was.
        let moved = ROWS.replacen("Months,5", "Months,6", 1).replacen("Months,7", "Months,6", 1);
        assert_eq!(told(&moved), (2, 0, 0));
        let line = "31/01/2024,G,0999,H,0600,ENT,Adult,16-64,3-6 Months,5\n";
        assert_eq!(told(&ROWS.replacen(line, "", 1)), (0, 1, 0));
        assert_eq!(told(&format!("{ROWS}{line}")), (0, 0, 1));
        assert_eq!(
            told(&ROWS.replacen("0600,ENT,Adult,16-64,0-3", "0601,ENT,Adult,16-64,0-3", 1)),
            (0, 1, 1)
        );
    }
}
