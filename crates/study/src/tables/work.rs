//! Tables of what was executed: side by side, by attribute, by archive date, and on other days.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Column, FIXED_COLUMNS, GAS_COLUMNS, ON_DAY_COLUMNS, Table, columns, cost_cells, dimension_name,
    gas_cells, mode_name, or_empty,
};
use crate::{
    prices::{DayPrice, Micros},
    results::{Line, ModeResults, Results},
    tally::{Dimension, Mode, Sums},
};

const DIMENSIONS: [(Dimension, &str); 7] = [
    (Dimension::Specialty, "One line for each mode and specialty."),
    (Dimension::Hospital, "One line for each mode and hospital."),
    (Dimension::Group, "One line for each mode and hospital group."),
    (Dimension::Age, "One line for each mode and age."),
    (Dimension::AdultChild, "One line for each mode, adults and children."),
    (Dimension::Band, "One line for each mode and time that people have waited."),
    (Dimension::CaseType, "One line for each mode and type of case."),
];

const SUMS_COLUMNS: [(&str, &str); 3] = [
    ("rows", "rows of the files"),
    ("patients", "people counted in them"),
    (
        "transactions",
        "transactions executed for them; in batch mode each stands at the first row of its census",
    ),
];

const PRICE_COLUMNS: [(&str, &str); 6] = [
    ("wei_per_gas", "the day's average gas price, in wei"),
    ("wei_per_gas_of", "the day that this price is of: an earlier one where it is missing"),
    ("usd_per_eth", "the day's price of an ether, in US dollars"),
    ("usd_per_eth_of", "the day that this price is of"),
    ("usd_per_eur", "the day's reference rate: US dollars for a euro"),
    ("usd_per_eur_of", "the day that this rate is of"),
];

pub(super) fn tables(results: &Results) -> Vec<Table> {
    let mut tables = vec![modes(results)];
    tables.extend(DIMENSIONS.map(|(dimension, about)| by_dimension(results, dimension, about)));
    tables.push(specialty_code(results));
    tables.push(month(results));
    tables.extend(days(results));
    tables.push(segments(results));
    tables
}

fn line_columns(first: &[(&'static str, &'static str)]) -> Vec<Column> {
    let mut all = first.to_vec();
    all.extend(SUMS_COLUMNS);
    all.extend(GAS_COLUMNS);
    all.extend(ON_DAY_COLUMNS);
    all.extend(FIXED_COLUMNS);
    columns(&all)
}

fn line_cells(line: &Line) -> Vec<String> {
    let Sums { rows, patients, transactions, gas } = line.sums;
    let mut cells: Vec<_> = [rows, patients, transactions].map(|number| number.to_string()).into();
    cells.extend(gas_cells(gas));
    cells.extend(cost_cells(line.on_day));
    cells.extend(cost_cells(Some(line.fixed)));
    cells
}

fn modes(results: &Results) -> Table {
    let row = |(&mode, done): (&Mode, &ModeResults)| {
        let mut cells = vec![mode_name(mode).to_owned()];
        cells.extend(line_cells(&done.total));
        cells.push(done.setup.transactions.to_string());
        cells.push(done.setup.gas.total().to_string());
        cells
    };
    let mut columns =
        line_columns(&[("mode", "how rows became transactions: row, patient or batch")]);
    columns.extend(super::columns(&[
        (
            "setup_transactions",
            "transactions that were needed before, on all chains together; in no other figure",
        ),
        ("setup_gas_used", "what these used"),
    ]));
    Table {
        name: "modes",
        about: "The same rows in each mode. One line for each mode.",
        columns,
        rows: results.modes.iter().map(row).collect(),
    }
}

fn by_dimension(results: &Results, dimension: Dimension, about: &'static str) -> Table {
    let mut rows = Vec::new();
    for (&mode, done) in &results.modes {
        for (label, line) in done.by.get(&dimension).into_iter().flatten() {
            let mut cells = vec![mode_name(mode).to_owned(), label.clone()];
            cells.extend(line_cells(line));
            rows.push(cells);
        }
    }
    let name = dimension_name(dimension);
    let columns = line_columns(&[
        ("mode", "row, patient or batch"),
        (name, "what these rows have in common"),
    ]);
    Table { name, about, columns, rows }
}

/// The code and the name of a specialty's label.
pub(crate) fn code_and_name(label: &str) -> (&str, &str) {
    match label.split_once(' ') {
        Some((code, name)) if code.bytes().all(|byte| byte.is_ascii_digit()) => (code, name),
        _ => ("", label),
    }
}

fn specialty_code(results: &Results) -> Table {
    let all = results.modes.values();
    let labels: BTreeSet<&String> = all
        .filter_map(|done| done.by.get(&Dimension::Specialty))
        .flat_map(BTreeMap::keys)
        .collect();
    let row = |label: &String| {
        let (code, name) = code_and_name(label);
        let lines =
            |mode: Mode| results.modes.get(&mode)?.by.get(&Dimension::Specialty)?.get(label);
        let any = [Mode::Row, Mode::Patient, Mode::Batch].into_iter().find_map(lines);
        let mut cells = vec![code.to_owned(), name.to_owned()];
        cells.push(or_empty(any.map(|line| line.sums.rows)));
        cells.push(or_empty(any.map(|line| line.sums.patients)));
        for mode in [Mode::Row, Mode::Patient, Mode::Batch] {
            cells.push(or_empty(lines(mode).map(|line| line.sums.gas.total())));
            cells.push(or_empty(lines(mode).map(|line| line.fixed.usd.with_decimals(6))));
        }
        cells
    };
    Table {
        name: "specialty-code",
        about: "One line for each specialty and its HIPE code, all modes beside each other.",
        columns: columns(&[
            ("hipe_code", "the code, with four digits; empty where the files have none"),
            ("specialty", "the name that the files give it; a code can have several"),
            ("rows", "rows of the files"),
            ("patients", "people counted in them"),
            ("row_gas_used", "gas in row mode"),
            ("row_fixed_usd", "US dollars for it, at the fixed prices"),
            ("patient_gas_used", "gas in patient mode"),
            ("patient_fixed_usd", "US dollars for it, at the fixed prices"),
            ("batch_gas_used", "gas in batch mode: its rows' share of the censuses"),
            ("batch_fixed_usd", "US dollars for it, at the fixed prices"),
        ]),
        rows: labels.into_iter().map(row).collect(),
    }
}

fn price_cells(price: Option<DayPrice>) -> Vec<String> {
    let Some(price) = price else { return vec![String::new(); PRICE_COLUMNS.len()] };
    vec![
        price.gas.price.to_string(),
        price.gas.day.to_string(),
        price.ether.price.text(),
        price.ether.day.to_string(),
        or_empty(price.euro.map(|rate| Micros::text(rate.price))),
        or_empty(price.euro.map(|rate| rate.day)),
    ]
}

fn month(results: &Results) -> Table {
    let mut rows = Vec::new();
    for (&mode, done) in &results.modes {
        for (&date, line) in &done.dates {
            let mut cells = vec![mode_name(mode).to_owned(), date.to_string()];
            cells.extend(price_cells(results.prices.at(date)));
            cells.extend(line_cells(line));
            rows.push(cells);
        }
    }
    let mut first = vec![
        ("mode", "row, patient or batch"),
        ("archive_date", "the day of the count; there is one each month"),
    ];
    first.extend(PRICE_COLUMNS);
    Table {
        name: "month",
        about: "One line for each mode and archive date, with that day's prices.",
        columns: line_columns(&first),
        rows,
    }
}

fn days(results: &Results) -> Option<Table> {
    let days = results.days.as_ref()?;
    let mut rows = Vec::new();
    for line in &days.lines {
        let mut cells = vec![line.price.day.to_string()];
        cells.extend(price_cells(Some(line.price)));
        for mode in [Mode::Row, Mode::Patient, Mode::Batch] {
            cells.extend(cost_cells(line.costs.get(&mode).copied()));
        }
        rows.push(cells);
    }
    let mut all = vec![("day", "the day whose prices count")];
    all.extend(PRICE_COLUMNS);
    all.extend([
        ("row_eth", "what the work costs in row mode, in ether"),
        ("row_usd", "in US dollars"),
        ("row_eur", "in euros"),
        ("patient_eth", "what it costs in patient mode, in ether"),
        ("patient_usd", "in US dollars"),
        ("patient_eur", "in euros"),
        ("batch_eth", "what it costs in batch mode, in ether"),
        ("batch_usd", "in US dollars"),
        ("batch_eur", "in euros"),
    ]);
    Some(Table {
        name: "days",
        about: "The work of one archive date (January 2020, or else the first) at the prices of every day that has one.",
        columns: columns(&all),
        rows,
    })
}

fn segments(results: &Results) -> Table {
    let mut rows = Vec::new();
    for (&mode, done) in &results.modes {
        for note in &done.segments {
            rows.push(vec![
                mode_name(mode).to_owned(),
                note.date.to_string(),
                note.part.to_string(),
                note.replay.to_string(),
                note.total.rows.to_string(),
                note.total.patients.to_string(),
                note.total.transactions.to_string(),
                note.total.gas.total().to_string(),
                note.state_root.to_string(),
                note.block_hash.to_string(),
            ]);
        }
    }
    Table {
        name: "segments",
        about: "One line for each chain on which a part of the work was executed.",
        columns: columns(&[
            ("mode", "row, patient or batch"),
            ("archive_date", "the rows' date"),
            ("part", "which part of that date's work, from 0"),
            ("round", "how often that date's work had been done before (`--rows`)"),
            ("rows", "rows of the files"),
            ("patients", "people counted in them"),
            ("transactions", "transactions executed for them"),
            ("gas_used", "what these used"),
            ("state_root", "the state root of the last block"),
            ("block_hash", "the last block's hash"),
        ]),
        rows,
    }
}
