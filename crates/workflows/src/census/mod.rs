//! The monthly census of a waiting list: how many people wait at a hospital, by specialty, age and how
//! long they have waited, anchored so that each row can be proven and the total recomputed.
//!
//! A census is made of the rows of the published files and names nobody. What goes on chain is the root
//! of a Merkle tree over the rows, their number, and their total. Whoever has the rows makes the same
//! root: they stand in an order of their own, whatever the order of the files. So nothing here is salted.
//!
//! A leaf is the row's number, the specialty's code, a digest of what else tells the row from others, and the
//! number of people, as `WaitingLists.sol` hashes them. Rows that are the same twice are two rows: in files without
//! hospitals they are different hospitals'.
//!
//! A correction is another version beside the first. A census of files in which a row was not understood
//! is not anchored: its total would be wrong.

mod files;

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::{Contract, WaitingLists, convert::timestamp};
use domain::{Timestamp, merkle};
use serde::{Deserialize, Serialize};

use crate::{Gateway, Step, WorkflowError};

pub use files::{Hospital, Month, NotUnderstood, Reading, RowProblem};

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

/// One row of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// At which hospital.
    pub hospital: Hospital,
    /// When they were counted.
    pub month: Month,
    /// The specialty's HIPE code; `None` when the file has none.
    pub specialty: Option<u16>,
    /// Who was counted.
    pub band: Band,
    /// How many people.
    pub count: u32,
    /// In which file.
    pub file: Arc<str>,
    /// In which line of it.
    pub line: usize,
}

impl Entry {
    /// What stands in a leaf where a file gives no code. No specialty has it.
    pub const NO_CODE: u16 = u16::MAX;

    /// Whether two rows are the same, wherever they were read.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        (&self.hospital, self.month, self.key()) == (&other.hospital, other.month, other.key())
    }

    /// What is proven of it.
    #[must_use]
    pub fn stated(&self) -> StatedRow {
        StatedRow { specialty: self.specialty, band: self.band.clone(), count: self.count }
    }

    /// What is hashed of it apart from its number, by which rows stand in their order.
    fn key(&self) -> (u16, B256, u32) {
        let WaitingLists::Row { specialty, group, count } = self.stated().to_row();
        (specialty, group, count)
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
            let mut keyed: Vec<_> = entries.into_iter().map(|entry| (entry.key(), entry)).collect();
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
    /// [`WorkflowError::Invalid`] when there are more rows than the contract counts.
    pub fn sum(&self) -> Result<Sum, WorkflowError> {
        let rows = u32::try_from(self.entries.len())
            .map_err(|_| WorkflowError::Invalid("a census has fewer rows than 2^32".into()))?;
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
            left.entry(entry.key()).or_default().push(entry);
        }
        let mut missing = Vec::new();
        for entry in &self.entries {
            if left.get_mut(&entry.key()).and_then(Vec::pop).is_none() {
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

/// What the chain has of a census.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchored {
    /// What was published.
    pub sum: Sum,
    /// When.
    pub published_at: Timestamp,
}

/// The institution publishes a census; once more for the same hospital and month, it is a correction.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the month lies in the future or the institution is in force no more.
pub async fn anchor(
    publisher: &Gateway,
    census: &Census,
) -> Result<(Reference, Step), WorkflowError> {
    let Sum { root, rows, total } = census.sum()?;
    let (hospital, month) = (census.hospital.to_word(), census.month.number());
    let call = WaitingLists::publishCensusCall { hospital, month, root, rows, total };
    let outcome = publisher.sender().send(publisher.at(Contract::WaitingLists), &call).await?;
    let published = outcome.events::<WaitingLists::CensusPublished>().into_iter().next();
    let published =
        published.ok_or(WorkflowError::Unknown { what: "census in", id: outcome.hash() })?;
    let reference = Reference {
        publisher: publisher.member(),
        hospital: census.hospital.clone(),
        month: census.month,
        version: published.version.saturating_to(),
    };
    let what = format!(
        "publishes the census of hospital {} for {}: {rows} rows, {total} people",
        census.hospital, census.month
    );
    Ok((reference, Step::new(&publisher.name, what, "waiting-list.publish-census", &outcome)))
}

/// How many versions of a census there are: the number of the newest, zero when there is none.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn versions(
    gateway: &Gateway,
    publisher: Address,
    hospital: &Hospital,
    month: Month,
) -> Result<u64, WorkflowError> {
    let call = WaitingLists::versionsOfCall {
        publisher,
        hospital: hospital.to_word(),
        month: month.number(),
    };
    let contract = gateway.at(Contract::WaitingLists);
    let versions = gateway.gatekeeper.ledger().call(contract, &call, Default::default()).await?;
    Ok(versions.saturating_to())
}

/// A census as it stands on chain.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when it was not published.
pub async fn anchored(gateway: &Gateway, reference: &Reference) -> Result<Anchored, WorkflowError> {
    let hospital = reference.hospital.to_word();
    let call = WaitingLists::censusOfCall {
        publisher: reference.publisher,
        hospital,
        month: reference.month.number(),
        version: U256::from(reference.version),
    };
    let contract = gateway.at(Contract::WaitingLists);
    let held = gateway.gatekeeper.ledger().call(contract, &call, Default::default()).await?;
    if held.root == B256::ZERO {
        return Err(WorkflowError::Unknown { what: "census of hospital", id: hospital });
    }
    let sum = Sum { root: held.root, rows: held.rows, total: held.total };
    Ok(Anchored { sum, published_at: timestamp(held.publishedAt) })
}

/// Whether a row is in the census that it is said to be in.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when that census was not published.
pub async fn verify(gateway: &Gateway, proof: &RowProof) -> Result<bool, WorkflowError> {
    let anchored = anchored(gateway, &proof.census).await?;
    let RowProof { number, row, proof, .. } = proof;
    Ok(*number < anchored.sum.rows && merkle::verify(anchored.sum.root, row.leaf(*number), proof))
}

/// Counts again: what the rows come to, and what was published. They are the same exactly when the rows
/// are those that were published, no more and no fewer.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is no such census, [`WorkflowError::Invalid`] when it is of
/// another hospital or month than the rows.
pub async fn recount(
    gateway: &Gateway,
    reference: &Reference,
    census: &Census,
) -> Result<Recount, WorkflowError> {
    if (&reference.hospital, reference.month) != (&census.hospital, census.month) {
        return Err(WorkflowError::Invalid("the rows are of another hospital or month".into()));
    }
    let published = anchored(gateway, reference).await?.sum;
    Ok(Recount { published, counted: census.sum()? })
}

/// What counting again found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recount {
    /// What the chain has.
    pub published: Sum,
    /// What the rows come to.
    pub counted: Sum,
}

impl Recount {
    /// Whether the rows are those that were published.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.published == self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
