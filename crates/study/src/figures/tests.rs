use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{B256, keccak256};

use super::*;
use crate::{
    gather::Gathering,
    prices::{DailyPrices, FixedPrice, Micros, Prices, Series},
    results::{Attribute, Dataset, Head, Pending, Source},
    row::Day,
    tally::{Dimension, Gas, Segment, Sums},
};

fn day(month: u8) -> Day {
    Day { year: 2020, month, day: 28 }
}

fn sums(mode: Mode, rows: u64, patients: u64) -> Sums {
    let transactions = match mode {
        Mode::Row => rows,
        Mode::Patient => patients,
        Mode::Batch => 1,
    };
    let gas = Gas {
        intrinsic: 21_000 * transactions,
        calldata: 1_300 * transactions,
        execution: 77_000 * transactions + patients % 7,
    };
    Sums { rows, patients, transactions, gas }
}

/// Three dates of 44 hospitals and 78 specialties.
fn segments() -> Vec<Segment> {
    let mut segments = Vec::new();
    for mode in [Mode::Row, Mode::Patient, Mode::Batch] {
        for month in 1..=3 {
            let mut by: BTreeMap<Dimension, BTreeMap<String, Sums>> = BTreeMap::new();
            let mut line = |dimension, label: String, rows, patients| {
                by.entry(dimension).or_default().insert(label, sums(mode, rows, patients));
            };
            for index in 0..78_u64 {
                let label = format!("{:04} Specialty <{index}> & more", 100 + index * 30);
                line(Dimension::Specialty, label, 10 + index, 3_000 - index * index / 3);
            }
            for index in 0..44_u64 {
                let label =
                    format!("{:04} Hospital of a rather long name, number {index}", 900 + index);
                line(Dimension::Hospital, label, 5 + index * 2, 100 * (index + 1));
            }
            for (index, label) in (0..).zip(["0-15", "16-64", "65+", ""]) {
                line(Dimension::Age, label.into(), 10, 50 * (index + 1));
            }
            for (index, label) in (0..).zip(["0-3 Months", "3-6 Months", "18 Months +"]) {
                line(Dimension::Band, label.into(), 10, 50 * (index + 1));
            }
            segments.push(Segment {
                mode,
                date: day(month),
                part: 0,
                replay: 0,
                total: sums(mode, 4_000, 90_000 + u64::from(month)),
                by,
                setup: Sums::default(),
                state_root: B256::ZERO,
                block_hash: B256::ZERO,
            });
        }
    }
    segments
}

fn results(with_prices: bool) -> Results {
    let daily = with_prices.then(|| DailyPrices {
        gas: Series((1..=12).map(|month| (day(month), 9_000_000_000 * u64::from(month))).collect()),
        ether: Series((1..=12).map(|month| (day(month), Micros(180_000_000))).collect()),
        euro: None,
        origin: "two made-up files".into(),
    });
    let mut gathering = Gathering::new(Prices { fixed: FixedPrice::default(), daily });
    for segment in segments() {
        gathering.add(&segment);
    }
    let columns: Vec<String> = ["Archive_Date", "Speciality", "Total"].map(String::from).to_vec();
    let source = Source {
        file: "list.csv".into(),
        digest: B256::ZERO,
        size_bytes: 1,
        rows_read: 12_000,
        rows_used: 12_000,
        rows_set_aside: 0,
        rows_rejected: 0,
        patients: 270_006,
        first: Some(day(1)),
        last: Some(day(3)),
        remarks: Vec::new(),
    };
    let attribute = Attribute {
        name: "Speciality".into(),
        kind: "text".into(),
        distinct: 78,
        missing: 0,
        sample: "ENT".into(),
    };
    let dataset = Dataset {
        synthetic: false,
        sources: vec![source],
        head: Head {
            file: "list.csv".into(),
            columns,
            rows: vec![["28/01/2020", "ENT", "604"].map(String::from).to_vec()],
        },
        attributes: vec![attribute],
        rounds: 1,
    };
    let pending = Pending {
        mode: Mode::Row,
        hash: keccak256("a transaction"),
        sender: "hospital 0900".into(),
        nonce: 3,
        contract: "WaitingLists".into(),
        call: "publishCensus".into(),
        gas_limit: 150_000,
        max_fee_per_gas: 10_000_000_000,
        calldata_bytes: 164,
        verdict: "would succeed".into(),
    };
    gathering.finish(dataset, vec![pending])
}

fn names(figures: &[Figure]) -> BTreeSet<&str> {
    figures.iter().map(|figure| figure.name.as_str()).collect()
}

#[test]
fn every_figure_of_the_report_is_drawn_and_the_same_each_time() {
    let figures = draw(&results(true)).unwrap();
    let expected = [
        "dataset-head",
        "dataset-attributes",
        "transactions-pending",
        "cost-by-specialty-row",
        "cost-by-specialty-patient",
        "specialty-codes",
        "cost-by-hospital-row",
        "cost-by-hospital-patient",
        "cost-by-age-row",
        "cost-by-age-patient",
        "cost-by-time-band-row",
        "cost-by-time-band-patient",
        "cost-by-month-row",
        "cost-by-month-patient",
        "cost-by-month-batch",
        "cost-per-day",
        "mode-comparison",
        "gas-per-operation",
        "deployment",
        "fit-row-specialties-patients",
    ];
    let names = names(&figures);
    for name in expected {
        assert!(names.contains(name), "{name} is missing: {names:?}");
    }
    assert_eq!(names.len(), figures.len(), "each has a name of its own");
    for figure in &figures {
        assert!(figure.svg.starts_with("<svg") && figure.png.starts_with(b"\x89PNG"));
        assert!(!figure.alt.is_empty() && figure.alt.ends_with('.'), "{}", figure.name);
        assert!(!figure.svg.contains("NaN") && !figure.svg.contains("inf\""), "{}", figure.name);
    }
    assert_eq!(figures, draw(&results(true)).unwrap());
}

#[test]
fn every_label_can_be_read() {
    let figures = draw(&results(true)).unwrap();
    let of = |name: &str| &figures.iter().find(|figure| figure.name == name).unwrap().svg;
    let specialties = of("cost-by-specialty-row");
    let hospitals = of("cost-by-hospital-patient");
    for index in 0..78 {
        assert!(specialties.contains(&format!("Specialty &lt;{index}&gt; &amp; more")));
    }
    for index in 0..44 {
        assert!(hospitals.contains(&format!("{:04} Hospital of a", 900 + index)));
    }
    assert!(specialties.contains("cost (USD)"), "the axis has its unit");
    assert!(specialties.contains("National Treatment Purchase Fund"), "and a source");
}

#[test]
fn rows_and_patients_rank_differently() {
    let figures = draw(&results(true)).unwrap();
    let alt = |name: &str| figures.iter().find(|figure| figure.name == name).unwrap().alt.clone();
    let (row, patient) = (alt("cost-by-specialty-row"), alt("cost-by-specialty-patient"));
    assert!(row.contains("from 2410 Specialty <77>"), "{row}");
    assert!(patient.contains("from 0100 Specialty <0>"), "{patient}");
}

#[test]
fn without_daily_prices_the_fixed_one_is_said() {
    let figures = draw(&results(false)).unwrap();
    assert!(!names(&figures).contains("cost-per-day"));
    let by_row = figures.iter().find(|figure| figure.name == "cost-by-specialty-row").unwrap();
    assert!(by_row.svg.contains("at the fixed price") && by_row.svg.contains("(Etherscan)"));
}

#[test]
fn nothing_executed_leaves_what_the_contracts_take() {
    let prices = Prices { fixed: FixedPrice::default(), daily: None };
    let dataset = Dataset {
        synthetic: true,
        sources: Vec::new(),
        head: Head::default(),
        attributes: Vec::new(),
        rounds: 0,
    };
    let figures = draw(&Gathering::new(prices).finish(dataset, Vec::new())).unwrap();
    let names = names(&figures);
    assert!(names.contains("gas-per-operation") && names.contains("deployment"), "{names:?}");
    assert!(!names.contains("cost-by-specialty-row"));
}
