//! What stands in each column of the rows that are used (the paper's Fig. 5).

use std::collections::BTreeSet;

use crate::{results::Attribute, row::Row};

/// The columns and what stands in them, in the usual order and under the usual names.
const COLUMNS: [(&str, &str); 11] = [
    ("Archive_Date", "date"),
    ("Group", "text"),
    ("Hospital_HIPE", "code"),
    ("Hospital", "text"),
    ("Specialty_HIPE", "code"),
    ("Speciality", "text"),
    ("Case_Type", "text"),
    ("Adult_Child", "text"),
    ("Age_Profile", "text"),
    ("Time_Bands", "text"),
    ("Total", "integer"),
];

/// Columns as rows are seen.
#[derive(Debug, Default)]
pub(super) struct Survey {
    columns: [Column; COLUMNS.len()],
}

#[derive(Debug, Default)]
struct Column {
    values: BTreeSet<String>,
    missing: u64,
    sample: Option<String>,
}

impl Survey {
    pub(super) fn see(&mut self, row: &Row) {
        let hospital = row.hospital.as_ref();
        let (date, total) = (row.date.to_string(), row.patients.to_string());
        let code = row.specialty.code.map(|code| format!("{code:04}"));
        let cells = [
            &*date,
            hospital.map_or("", |hospital| &hospital.group),
            hospital.map_or("", |hospital| &hospital.number),
            hospital.map_or("", |hospital| &hospital.name),
            code.as_deref().unwrap_or_default(),
            &row.specialty.name,
            &row.case_type,
            &row.adult_child,
            &row.age,
            &row.band,
            &total,
        ];
        for (column, value) in self.columns.iter_mut().zip(cells) {
            if value.is_empty() {
                column.missing += 1;
            } else if !column.values.contains(value) {
                column.sample.get_or_insert_with(|| value.to_owned());
                column.values.insert(value.to_owned());
            }
        }
    }

    pub(super) fn attributes(self) -> Vec<Attribute> {
        let attribute = |((name, kind), column): ((&str, &str), Column)| Attribute {
            name: name.into(),
            kind: kind.into(),
            distinct: column.values.len() as u64,
            missing: column.missing,
            sample: column.sample.unwrap_or_default(),
        };
        COLUMNS.into_iter().zip(self.columns).map(attribute).collect()
    }
}
