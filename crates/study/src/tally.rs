//! What was used, added up by each attribute of the rows. Its size does not grow with the rows.

use std::{
    collections::BTreeMap,
    ops::{Add, AddAssign},
};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::row::Day;

/// By what the rows are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dimension {
    /// Label: the code with four digits, a blank, the name.
    Specialty,
    /// Label: the number with four digits, a blank, the name; [`NOT_PUBLISHED`] where there is none.
    Hospital,
    /// The hospital group; [`NOT_PUBLISHED`] where there is none.
    Group,
    /// The years of age.
    Age,
    /// Adult or child.
    AdultChild,
    /// How long people have waited.
    Band,
    /// Outpatient, inpatient, day case.
    CaseType,
}

/// The label of what a file does not say.
pub const NOT_PUBLISHED: &str = "(not published)";

/// The gas of transactions, by what it pays for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gas {
    /// What any transaction costs: 21,000, and 32,000 more for one that deploys.
    pub intrinsic: u64,
    /// 4 for each zero byte of call data, 16 for each other byte.
    pub calldata: u64,
    /// The rest, after refunds.
    pub execution: u64,
}

impl Gas {
    /// What the receipts say.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.intrinsic + self.calldata + self.execution
    }
}

/// What some rows came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Rows of the files.
    pub rows: u64,
    /// People counted in them.
    pub patients: u64,
    /// Transactions that were executed for them.
    pub transactions: u64,
    /// What these used.
    pub gas: Gas,
}

impl Add for Gas {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            intrinsic: self.intrinsic + other.intrinsic,
            calldata: self.calldata + other.calldata,
            execution: self.execution + other.execution,
        }
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.patients += other.patients;
        self.transactions += other.transactions;
        self.gas = self.gas + other.gas;
    }
}

/// How rows become transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One transaction for each row, as the paper has it: a census of that row alone.
    Row,
    /// One referral for each patient that a row counts.
    Patient,
    /// One census for each hospital and month, whose root stands for all its rows.
    Batch,
}

/// What was executed on one chain: the rows of one archive date, or a part of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// How.
    pub mode: Mode,
    /// The archive date of its rows.
    pub date: Day,
    /// Which part of that date's work, from 0.
    pub part: u32,
    /// How often the date's work had been done before, for `--rows`; from 0.
    pub replay: u32,
    /// In all.
    pub total: Sums,
    /// By attribute. In batch mode a census's gas is shared among its rows evenly, the remainder to the first ones.
    pub by: BTreeMap<Dimension, BTreeMap<String, Sums>>,
    /// What was needed before: contracts, institutions, professionals, patients. In no other figure.
    pub setup: Sums,
    /// The last block's state root.
    pub state_root: B256,
    /// The last block's hash.
    pub block_hash: B256,
}
