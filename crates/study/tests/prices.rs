//! Prices as they are published, from the shared data: skipped, loudly, where that folder is not.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{fs::File, io::Read, path::PathBuf};

use study::{
    lists::unpacked,
    prices::{DailyPrices, read_ether_prices, read_euro_rates, read_gas_prices},
    row::Day,
};

fn shared(file: &str) -> Option<Box<dyn Read>> {
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/eth").join(file);
    match File::open(&path) {
        Ok(file) => Some(unpacked(file).unwrap()),
        Err(_) => {
            eprintln!("SKIPPED: {} is not there", path.display());
            None
        }
    }
}

fn published() -> Option<DailyPrices> {
    Some(DailyPrices {
        gas: read_gas_prices(shared("export-AvgGasPrice.csv.xz")?).unwrap(),
        ether: read_ether_prices(shared("export-EtherPrice.csv.xz")?).unwrap(),
        euro: Some(read_euro_rates(shared("eurofxref-hist.csv.xz")?).unwrap()),
        origin: "the shared data".into(),
    })
}

fn day(year: u16, month: u8, day: u8) -> Day {
    Day { year, month, day }
}

#[test]
fn a_transfer_cost_what_is_known() {
    let Some(prices) = published() else { return };
    let usd = |on, decimals| prices.at(on).unwrap().cost(21_000).usd.with_decimals(decimals);
    assert_eq!(usd(day(2020, 1, 30), 3), "0.035");
    assert_eq!(usd(day(2021, 5, 12), 2), "22.56");
}

#[test]
fn there_is_no_price_before_launch_week_ended() {
    let Some(prices) = published() else { return };
    assert_eq!(prices.at(day(2015, 8, 6)), None);
    let first = prices.days().next().unwrap();
    assert_eq!(first.day, day(2015, 8, 7));
    assert_eq!(prices.days().count(), 3_961 - 8);
}

#[test]
fn a_weekend_takes_fridays_rate() {
    let Some(prices) = published() else { return };
    let sunday = prices.at(day(2020, 2, 2)).unwrap();
    assert_eq!(sunday.gas.day, day(2020, 2, 2));
    assert_eq!(sunday.euro.unwrap().day, day(2020, 1, 31));
    assert!(sunday.is_earlier());
}
