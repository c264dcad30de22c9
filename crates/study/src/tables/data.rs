//! Tables of what was read, and of the transactions before they were executed.

use super::{Column, Table, columns, mode_name, or_empty};
use crate::results::Results;

pub(super) fn tables(results: &Results) -> Vec<Table> {
    vec![sources(results), head(results), attributes(results), pending(results)]
}

fn sources(results: &Results) -> Table {
    let row = |source: &crate::results::Source| {
        vec![
            source.file.clone(),
            source.digest.to_string(),
            source.size_bytes.to_string(),
            source.rows_read.to_string(),
            source.rows_used.to_string(),
            source.rows_set_aside.to_string(),
            source.rows_rejected.to_string(),
            source.patients.to_string(),
            or_empty(source.first),
            or_empty(source.last),
            source.remarks.join("; "),
        ]
    };
    Table {
        name: "sources",
        about: "One line for each file that was read.",
        columns: columns(&[
            ("file", "the file's name"),
            ("sha256", "the digest of the file as it lies there"),
            ("size_bytes", "its length"),
            ("rows_read", "rows in it, without headers and blank lines"),
            ("rows_used", "rows that the study works on"),
            ("rows_set_aside", "rows that another file has, too, and says more of"),
            ("rows_rejected", "rows that could not be read; they stand in `rejected.csv`"),
            ("patients", "people counted in the rows that are used"),
            ("first_date", "the first archive date of these rows"),
            ("last_date", "the last"),
            ("remarks", "what else is to be said of it"),
        ]),
        rows: results.dataset.sources.iter().map(row).collect(),
    }
}

fn head(results: &Results) -> Table {
    let head = &results.dataset.head;
    let column = |name: &String| Column {
        name: name.clone().into(),
        about: format!("as `{}` has it", head.file).into(),
    };
    Table {
        name: "head",
        about: "The first rows of January 2020, or else of the first file, in the file's own columns and words.",
        columns: head.columns.iter().map(column).collect(),
        rows: head.rows.clone(),
    }
}

fn attributes(results: &Results) -> Table {
    let row = |attribute: &crate::results::Attribute| {
        vec![
            attribute.name.clone(),
            attribute.kind.clone(),
            attribute.distinct.to_string(),
            attribute.missing.to_string(),
            attribute.sample.clone(),
        ]
    };
    Table {
        name: "attributes",
        about: "One line for each column of the rows that were used.",
        columns: columns(&[
            ("attribute", "the column"),
            ("type", "what stands in it: date, code, text, integer"),
            ("distinct", "how many different values it has"),
            ("missing", "in how many rows it is empty"),
            ("sample", "the first value that is there"),
        ]),
        rows: results.dataset.attributes.iter().map(row).collect(),
    }
}

fn pending(results: &Results) -> Table {
    let row = |transaction: &crate::results::Pending| {
        vec![
            mode_name(transaction.mode).into(),
            transaction.hash.to_string(),
            transaction.sender.clone(),
            transaction.nonce.to_string(),
            transaction.contract.clone(),
            transaction.call.clone(),
            transaction.gas_limit.to_string(),
            transaction.max_fee_per_gas.to_string(),
            transaction.calldata_bytes.to_string(),
            transaction.verdict.clone(),
        ]
    };
    Table {
        name: "pending",
        about: "The first transactions of each mode as they stood before a block took them in.",
        columns: columns(&[
            ("mode", "row, patient or batch"),
            ("transaction", "its hash"),
            ("sender", "who signed it"),
            ("nonce", "the sender's count of earlier transactions"),
            ("contract", "which contract it calls"),
            ("call", "the call, decoded"),
            ("gas_limit", "gas that it may use at most"),
            (
                "max_fee_per_gas_wei",
                "wei that it pays for each gas at most, on the study's own chain",
            ),
            ("calldata_bytes", "the length of its call data"),
            ("verdict", "what executing it at that moment would have done"),
        ]),
        rows: results.pending.iter().map(row).collect(),
    }
}
