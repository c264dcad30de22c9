//! Everything that a report, a table or a figure is drawn from.
//!
//! Made of executed segments, of the committed gas tables and of prices by [`crate::gather`]; what draws from it
//! computes nothing anew, so that text, tables and pictures cannot contradict each other.

use std::collections::BTreeMap;

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::{
    fit::Fit,
    prices::{Cost, DayPrice, Prices},
    row::Day,
    tally::{Dimension, Gas, Mode, Sums},
};

/// What a study came to.
#[derive(Clone, Debug)]
pub struct Results {
    /// What was read.
    pub dataset: Dataset,
    /// What gas and ether cost, and where that comes from.
    pub prices: Prices,
    /// What was executed, by mode.
    pub modes: BTreeMap<Mode, ModeResults>,
    /// The same rows in each mode: the dates that all modes did, once. What modes are held against each other by.
    pub compared: Compared,
    /// Each operation of the contracts, in the order of `contracts/gas.json`, without deployments.
    pub operations: Vec<Operation>,
    /// What it costs to deploy each contract, in the order of `contracts/gas.json`.
    pub deployment: Vec<Operation>,
    /// Each workflow from end to end, in the order of `contracts/workflows.json`.
    pub workflows: Vec<Workflow>,
    /// The first transactions as they stood before their block was composed (the paper's Fig. 4).
    pub pending: Vec<Pending>,
    /// Gas against patients and against rows, with the line that fits best.
    pub fits: Vec<Fit>,
    /// The same work on other days; `None` without daily prices.
    pub days: Option<Days>,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// Whether the list was made up, from the seed.
    pub synthetic: bool,
    /// Which files, in the order in which they were named.
    pub sources: Vec<Source>,
    /// The first rows as the file has them (the paper's Fig. 5): of January 2020, or else of the first file.
    pub head: Head,
    /// The columns of the rows that were used.
    pub attributes: Vec<Attribute>,
    /// How often the dates were gone through in full or in part: more than 1 where `--rows` asks for more than there are.
    pub rounds: u32,
}

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file's name, without its folder.
    pub file: String,
    /// The SHA-256 of the file as it lies there.
    pub digest: B256,
    /// Its length, in bytes.
    pub size_bytes: u64,
    /// Rows in it, headers and blank lines left out.
    pub rows_read: u64,
    /// Rows that the study works on.
    pub rows_used: u64,
    /// Rows that another file has, too, and says more of.
    pub rows_set_aside: u64,
    /// Rows that could not be read.
    pub rows_rejected: u64,
    /// People counted in the rows that are used.
    pub patients: u64,
    /// The first archive date of the rows that are used.
    pub first: Option<Day>,
    /// The last.
    pub last: Option<Day>,
    /// What else is to be said of it: why rows are set aside, what was unusual.
    pub remarks: Vec<String>,
}

/// The first rows of a file, in its own columns and words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The file's name.
    pub file: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// Its first rows.
    pub rows: Vec<Vec<String>>,
}

/// A column of the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// The column's name.
    pub name: String,
    /// What stands in it: `date`, `code`, `text` or `integer`.
    pub kind: String,
    /// How many different values it has.
    pub distinct: u64,
    /// In how many rows it is empty.
    pub missing: u64,
    /// The first value that is there.
    pub sample: String,
}

/// What was executed in one mode.
#[derive(Clone, Debug)]
pub struct ModeResults {
    /// All of it.
    pub total: Line,
    /// By each attribute and its values.
    pub by: BTreeMap<Dimension, BTreeMap<String, Line>>,
    /// By archive date.
    pub dates: BTreeMap<Day, Line>,
    /// What was needed before: in no other figure.
    pub setup: Sums,
    /// Which segments it is made of.
    pub segments: Vec<SegmentNote>,
}

/// The same rows in each mode.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Their archive dates.
    pub dates: Vec<Day>,
    /// What they came to.
    pub modes: BTreeMap<Mode, Line>,
}

/// Work, and what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The work.
    pub sums: Sums,
    /// At the prices of each archive date; `None` without daily prices, or where one of the dates is before the first.
    pub on_day: Option<Cost>,
    /// At the fixed price.
    pub fixed: Cost,
}

/// What was executed on one chain, and where that ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentNote {
    /// The archive date.
    pub date: Day,
    /// Which part of it, from 0.
    pub part: u32,
    /// In which round, from 0.
    pub replay: u32,
    /// The work.
    pub total: Sums,
    /// The last block's state root.
    pub state_root: B256,
    /// The last block's hash.
    pub block_hash: B256,
}

/// One operation of a contract: the receipt of one transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// As in `consent.grant`.
    pub name: String,
    /// Whose.
    pub contract: String,
    /// Which.
    pub function: String,
    /// What it uses.
    pub gas: Gas,
    /// The length of its call data, in bytes.
    pub calldata_bytes: u64,
    /// At the fixed price.
    pub fixed: Cost,
}

/// One workflow from end to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// Its name.
    pub name: String,
    /// What happens in it.
    pub summary: String,
    /// Its transactions, in order.
    pub steps: Vec<WorkflowStep>,
    /// All steps together.
    pub gas: Gas,
    /// At the fixed price.
    pub fixed: Cost,
}

/// One transaction of a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowStep {
    /// What is done.
    pub name: String,
    /// Who does it.
    pub actor: String,
    /// What it uses.
    pub gas: Gas,
}

/// A signed transaction that waits for its block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Of which mode's work it is.
    pub mode: Mode,
    /// Its hash.
    pub hash: B256,
    /// Who sends it, in words and by address.
    pub sender: String,
    /// The sender's nonce.
    pub nonce: u64,
    /// Which contract it calls.
    pub contract: String,
    /// The call, decoded.
    pub call: String,
    /// At most so much gas.
    pub gas_limit: u64,
    /// At most so many wei for each gas.
    pub max_fee_per_gas: u128,
    /// The length of its call data, in bytes.
    pub calldata_bytes: u64,
    /// What executing it at this moment would do: `would succeed`, or the contract's refusal.
    pub verdict: String,
}

/// The work of one archive date at the prices of every day there is a price of.
#[derive(Clone, Debug)]
pub struct Days {
    /// Whose work: January 2020's, or else the first date's.
    pub of: Day,
    /// What that work is, by mode.
    pub work: BTreeMap<Mode, Sums>,
    /// Every day from the first price to the last.
    pub lines: Vec<DayLine>,
}

/// One day's price of the work.
#[derive(Clone, Debug)]
pub struct DayLine {
    /// The day, and its prices.
    pub price: DayPrice,
    /// What the work costs on that day, by mode.
    pub costs: BTreeMap<Mode, Cost>,
}
