//! The study's tables, as CSV (RFC 4180, UTF-8, `.` before decimals, no thousands separators).
//!
//! A cell is empty where there is no such number: no price for that day, no euro rate, a mode that was not run. Each
//! column says its unit in its name or in [`guide`], which goes beside the files.

mod contracts;
mod data;
mod fits;
mod work;

pub(crate) use contracts::deployment_gas;
pub(crate) use work::code_and_name;

use std::{borrow::Cow, fmt::Write as _};

use crate::{
    prices::Cost,
    results::Results,
    tally::{Dimension, Gas, Mode},
};

/// A table: one CSV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The file's name, without `.csv`.
    pub name: &'static str,
    /// What each line is.
    pub about: &'static str,
    /// What stands in each cell of a line.
    pub columns: Vec<Column>,
    /// The lines.
    pub rows: Vec<Vec<String>>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name; the unit stands last.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub about: Cow<'static, str>,
}

/// All tables of a study, in the order in which a newcomer should read them.
#[must_use]
pub fn tables(results: &Results) -> Vec<Table> {
    let mut tables = data::tables(results);
    tables.extend(work::tables(results));
    tables.extend(fits::tables(results));
    tables.extend(contracts::tables(results));
    tables
}

/// What each table and each of its columns holds, as Markdown.
#[must_use]
pub fn guide(tables: &[Table]) -> String {
    let mut text = String::from(
        "# The tables\n\nCSV as RFC 4180 has it, UTF-8, `.` before decimals. An empty cell: there is no such number.\n",
    );
    for table in tables {
        let _ = write!(
            text,
            "\n## {}.csv\n\n{}\n\n| column | what it holds |\n|---|---|\n",
            table.name, table.about
        );
        for column in &table.columns {
            let _ = writeln!(text, "| `{}` | {} |", column.name.replace('|', "\\|"), column.about);
        }
    }
    text
}

impl Table {
    /// The file's text: a line of names, then the lines, each ended by CR and LF.
    #[must_use]
    pub fn csv(&self) -> String {
        let names = self.columns.iter().map(|column| &*column.name);
        let mut text = csv_line(names);
        for row in &self.rows {
            text += &csv_line(row.iter().map(String::as_str));
        }
        text
    }
}

fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted = |cell: &'a str| -> Cow<'a, str> {
        if cell.contains(['"', ',', '\r', '\n']) || cell.trim() != cell {
            format!("\"{}\"", cell.replace('"', "\"\"")).into()
        } else {
            cell.into()
        }
    };
    cells.map(quoted).collect::<Vec<_>>().join(",") + "\r\n"
}

/// The name of a mode, in tables and text.
#[must_use]
pub const fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Row => "row",
        Mode::Patient => "patient",
        Mode::Batch => "batch",
    }
}

/// The name of a dimension, in tables and text.
#[must_use]
pub const fn dimension_name(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Specialty => "specialty",
        Dimension::Hospital => "hospital",
        Dimension::Group => "group",
        Dimension::Age => "age",
        Dimension::AdultChild => "adult-child",
        Dimension::Band => "band",
        Dimension::CaseType => "case-type",
    }
}

fn columns(columns: &[(&'static str, &'static str)]) -> Vec<Column> {
    let column = |&(name, about): &(&'static str, &'static str)| Column {
        name: name.into(),
        about: about.into(),
    };
    columns.iter().map(column).collect()
}

const GAS_COLUMNS: [(&str, &str); 4] = [
    ("gas_intrinsic", "gas that any transaction costs: 21,000 each, 53,000 for one that deploys"),
    ("gas_calldata", "gas for call data: 4 for a zero byte, 16 for any other"),
    ("gas_execution", "gas for the rest, after refunds"),
    ("gas_used", "the sum of these three: what the receipts say"),
];

const FIXED_COLUMNS: [(&str, &str); 3] = [
    ("fixed_eth", "ether, at the fixed gas price"),
    ("fixed_usd", "US dollars, at the fixed gas and ether prices"),
    ("fixed_eur", "euros, likewise"),
];

const ON_DAY_COLUMNS: [(&str, &str); 3] = [
    ("on_day_eth", "ether, at the gas price of each archive date"),
    ("on_day_usd", "US dollars, at the gas and ether prices of each archive date"),
    ("on_day_eur", "euros, likewise, at that day's reference rate"),
];

fn gas_cells(gas: Gas) -> Vec<String> {
    [gas.intrinsic, gas.calldata, gas.execution, gas.total()]
        .map(|number| number.to_string())
        .into()
}

/// Ether with all its decimals, dollars and euros with six.
fn cost_cells(cost: Option<Cost>) -> Vec<String> {
    let Some(cost) = cost else { return vec![String::new(); 3] };
    let eur = cost.eur.map(|amount| amount.with_decimals(6)).unwrap_or_default();
    vec![cost.wei.in_ether(18), cost.usd.with_decimals(6), eur]
}

fn or_empty<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        let check = |cells: &[&str], expected: &str| {
            assert_eq!(csv_line(cells.iter().copied()), format!("{expected}\r\n"));
        };
        check(&["a", "b c", ""], "a,b c,");
        check(&["Ear, Nose", "5\" x"], "\"Ear, Nose\",\"5\"\" x\"");
        check(&[" 0-3 Months", "two\nlines"], "\" 0-3 Months\",\"two\nlines\"");
    }
}
