//! One row of a published waiting list, as the study works on it.

use serde::{Deserialize, Serialize};

pub use census::Day;

/// A specialty, by its HIPE code where the file has one, and the name that the file gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Specialty {
    /// The code; `None` where the file says `NULL` or nothing.
    pub code: Option<u16>,
    /// The name, tidied.
    pub name: String,
}

/// A hospital, by its four digits, and the name that the file gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hospital {
    /// Four digits.
    pub number: String,
    /// The name, tidied.
    pub name: String,
    /// The hospital group, tidied; empty where the file has none.
    pub group: String,
}

/// One row. Where a file lacks a column, the text is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Row {
    /// The archive date: when people were counted.
    pub date: Day,
    /// At which hospital; `None` where the file has none.
    pub hospital: Option<Hospital>,
    /// Which specialty.
    pub specialty: Specialty,
    /// `Outpatient`, `Inpatient` or `Day Case`.
    pub case_type: String,
    /// `Adult` or `Child`.
    pub adult_child: String,
    /// The years of age.
    pub age: String,
    /// How long these people have waited, in one spelling for all files.
    pub band: String,
    /// How many people.
    pub patients: u32,
}
