//! How fast a study executes rows, signing included, and what memory that takes.
//!
//! The rows are made up, of the size of January 2020's outpatient list: 6,706 rows of 44 hospitals for each date,
//! 556,770 patients on the whole. Prints one JSON object per line; `cargo xtask bench study` makes a table of them.
//!
//! Setting: `SALUS_BENCH_ROWS` (40,000), of which ten times as many are done to see what memory they take.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded")]

use std::{error::Error, num::NonZero, sync::atomic::AtomicBool, thread, time::Instant};

use serde_json::json;
use study::{
    execute::{Options, execute},
    row::{Day, Hospital, Row, Specialty},
    tally::{Mode, Sums},
    workload::{DateSize, Source},
};

const ROWS_OF_A_DATE: u64 = 6_706;
const HOSPITALS: u64 = 44;

/// Twelve dates with the same rows.
struct Made;

impl Source for Made {
    fn dates(&self) -> Vec<DateSize> {
        let patients = rows(1).iter().map(|row| u64::from(row.patients)).sum();
        let size = |month| DateSize { date: date(month), rows: ROWS_OF_A_DATE, patients };
        (1..=12).map(size).collect()
    }

    fn rows(&self, date: Day) -> Result<Vec<Row>, Box<dyn Error + Send + Sync>> {
        Ok(rows(date.month))
    }
}

const fn date(month: u8) -> Day {
    Day { year: 2020, month, day: 28 }
}

fn rows(month: u8) -> Vec<Row> {
    let row = |number: u64| Row {
        date: date(month),
        hospital: Some(Hospital {
            number: format!("{:04}", number % HOSPITALS),
            name: format!("Hospital {}", number % HOSPITALS),
            group: format!("Group {}", number % 7),
        }),
        specialty: Specialty {
            code: u16::try_from(100 + number % 78).ok(),
            name: format!("Specialty {}", number % 78),
        },
        case_type: "Outpatient".into(),
        adult_child: if number.is_multiple_of(5) { "Child" } else { "Adult" }.into(),
        age: if number.is_multiple_of(2) { "16-64" } else { "65+" }.into(),
        band: format!("{} Months", number % 7 * 3),
        patients: u32::try_from(number % 166).unwrap(),
    };
    (0..ROWS_OF_A_DATE).map(row).collect()
}

/// What so many rows came to, and how long that took, in seconds.
fn run(mode: Mode, rows: u64) -> (Sums, f64) {
    let dir = tempfile::tempdir().unwrap();
    let (segments, proofs) = (dir.path().join("segments"), dir.path().join("proofs"));
    let options = Options {
        mode,
        seed: 7,
        rows: Some(rows),
        jobs: thread::available_parallelism().map_or(1, NonZero::get),
        segments: &segments,
        proofs: (mode == Mode::Batch).then_some(&proofs),
        stop: &AtomicBool::new(false),
    };
    let mut total = Sums::default();
    let started = Instant::now();
    execute(&Made, &options, &|_| (), &|_| (), &mut |segment| total += segment.total).unwrap();
    (total, started.elapsed().as_secs_f64())
}

/// The most memory that this process ever had, in MB.
fn peak_megabytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1_000.0
}

fn main() {
    let rows = std::env::var("SALUS_BENCH_ROWS").ok().and_then(|text| text.parse().ok());
    let rows = rows.unwrap_or(40_000);
    run(Mode::Row, rows);
    let before = peak_megabytes();
    let (total, seconds) = run(Mode::Row, rows * 10);
    let after = peak_megabytes();
    print("row mode, rows", total.rows as f64 / seconds, "rows/s", 852_730.0 / 45.0, false);
    print("memory at most, of ten times the rows", after / before, "times", 1.5, true);
    println!("{}", json!({ "name": "memory at most", "value": after, "unit": "MB" }));
    let (total, seconds) = run(Mode::Patient, rows / 50);
    let rate = total.transactions as f64 / seconds;
    print("patient mode, referrals", rate, "patients/s", 556_770.0 / 45.0, false);
    let (total, seconds) = run(Mode::Batch, rows * 10);
    print("batch mode, rows", total.rows as f64 / seconds, "rows/s", 453_119.0 / 10.0, false);
}

fn print(name: &str, value: f64, unit: &str, goal: f64, at_most: bool) {
    let mut figure = json!({ "name": name, "value": value, "unit": unit, "goal": goal });
    if at_most {
        figure["at_most"] = json!(true);
    }
    println!("{figure}");
}
