//! Made-up rows.

#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub, reason = "shared by tests")]

use std::{collections::BTreeMap, error::Error};

use study::{
    row::{Day, Hospital, Row, Specialty},
    workload::{DateSize, Source},
};

/// A row of the 30th of a month of 2020.
pub fn row(month: u8, hospital: Option<&str>, band: &str, patients: u32) -> Row {
    Row {
        date: Day { year: 2020, month, day: 30 },
        hospital: hospital.map(|number| Hospital {
            number: number.into(),
            name: format!("Hospital {number}"),
            group: "Group".into(),
        }),
        specialty: Specialty { code: Some(601), name: "Paediatric ENT".into() },
        case_type: "Outpatient".into(),
        adult_child: "Child".into(),
        age: "0-15".into(),
        band: band.into(),
        patients,
    }
}

/// Rows by date.
pub struct Made(BTreeMap<Day, Vec<Row>>);

impl Made {
    pub fn of(rows: Vec<Row>) -> Self {
        let mut dates: BTreeMap<Day, Vec<Row>> = BTreeMap::new();
        for row in rows {
            dates.entry(row.date).or_default().push(row);
        }
        Self(dates)
    }

    /// So many months with so many rows each, of three hospitals and of none, some of them twice.
    pub fn new(months: u8, rows: u32) -> Self {
        let hospitals = [Some("0600"), Some("0601"), None, Some("0910")];
        let mut all = Vec::new();
        for month in 1..=months {
            for number in 0..rows {
                let hospital = hospitals[number as usize % 4];
                let mut row = row(month, hospital, &format!("{} Months", number / 8), number % 5);
                row.specialty.code = (number % 7 > 0).then_some(600);
                row.age = if number.is_multiple_of(3) { String::new() } else { "65+".into() };
                all.push(row);
            }
        }
        Self::of(all)
    }

    pub fn all(&self) -> impl Iterator<Item = &Row> {
        self.0.values().flatten()
    }

    pub fn patients(&self) -> u64 {
        self.all().map(|row| u64::from(row.patients)).sum()
    }
}

impl Source for Made {
    fn dates(&self) -> Vec<DateSize> {
        let size = |(date, rows): (&Day, &Vec<Row>)| DateSize {
            date: *date,
            rows: rows.len() as u64,
            patients: rows.iter().map(|row| u64::from(row.patients)).sum(),
        };
        self.0.iter().map(size).collect()
    }

    fn rows(&self, date: Day) -> Result<Vec<Row>, Box<dyn Error + Send + Sync>> {
        Ok(self.0[&date].clone())
    }
}
