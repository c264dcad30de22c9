//! Read daily prices as Etherscan and the European Central Bank publish them.
//!
//! Etherscan: `"Date(UTC)","UnixTimeStamp","Value (Wei)"` for gas, `…,"Value"` for ether, month before day. The ECB:
//! `Date,USD,…`, newest first, `N/A` where there is no rate. A price of zero is a missing one: Ethereum's first week had
//! no transactions and no market.

use std::{collections::BTreeMap, io::Read};

use thiserror::Error;

use super::{Micros, Series, parse_decimal};
use crate::row::Day;

/// Why prices could not be read.
#[derive(Debug, Error)]
pub enum PriceError {
    /// The file could not be read, or is no table.
    #[error("cannot read the prices")]
    Unreadable(#[source] csv::Error),

    /// It has no such column: it is another file.
    #[error("there is no column of {wanted}; the columns are: {found}")]
    NoColumn {
        /// What was looked for.
        wanted: Unit,
        /// What is there.
        found: String,
    },

    /// A line has no day, or none that exists.
    #[error("line {line}: `{text}` is no day; expected as in 1/30/2020 or 2020-01-30")]
    NoDay {
        /// Which.
        line: u64,
        /// What stands there.
        text: String,
    },

    /// A line has no price.
    #[error("line {line}: `{text}` is no price in {unit}")]
    NoPrice {
        /// Which.
        line: u64,
        /// What stands there.
        text: String,
        /// What was expected.
        unit: Unit,
    },

    /// A day has two prices that differ.
    #[error("line {line}: {day} has another price on an earlier line")]
    Twice {
        /// Which.
        line: u64,
        /// Which day.
        day: Day,
    },

    /// No day has a price.
    #[error("no day in it has a price in {0}")]
    Empty(Unit),
}

/// What a price is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Gas, in wei.
    WeiPerGas,
    /// Ether, in dollars.
    UsdPerEther,
    /// Euros, in dollars.
    UsdPerEuro,
}

impl std::fmt::Display for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WeiPerGas => {
                "wei for each gas, as in Etherscan's daily average gas price (`Value (Wei)`)"
            }
            Self::UsdPerEther => {
                "dollars for an ether, as in Etherscan's daily ether price (`Value`)"
            }
            Self::UsdPerEuro => "dollars for a euro, as in the ECB's reference rates (`USD`)",
        })
    }
}

impl Unit {
    fn is_named(self, column: &str) -> bool {
        let column = column.trim().to_ascii_lowercase();
        match self {
            Self::WeiPerGas => column.starts_with("value") && column.contains("(wei)"),
            Self::UsdPerEther => matches!(column.as_str(), "value" | "value (usd)"),
            Self::UsdPerEuro => column == "usd",
        }
    }

    const fn decimals(self) -> usize {
        match self {
            Self::WeiPerGas => 0,
            Self::UsdPerEther | Self::UsdPerEuro => 6,
        }
    }
}

/// Reads what gas cost on each day, in wei.
///
/// # Errors
///
/// [`PriceError`] when it is not such a file.
pub fn read_gas_prices(input: impl Read) -> Result<Series<u64>, PriceError> {
    read(input, Unit::WeiPerGas).map(Series)
}

/// Reads what an ether cost on each day, in dollars.
///
/// # Errors
///
/// [`PriceError`] when it is not such a file.
pub fn read_ether_prices(input: impl Read) -> Result<Series<Micros>, PriceError> {
    read(input, Unit::UsdPerEther).map(in_micros)
}

/// Reads what a euro cost on each day, in dollars.
///
/// # Errors
///
/// [`PriceError`] when it is not such a file.
pub fn read_euro_rates(input: impl Read) -> Result<Series<Micros>, PriceError> {
    read(input, Unit::UsdPerEuro).map(in_micros)
}

fn in_micros(prices: BTreeMap<Day, u64>) -> Series<Micros> {
    Series(prices.into_iter().map(|(day, price)| (day, Micros(price))).collect())
}

/// More bytes than any file of daily prices has.
const LENGTH_MAX: u64 = 1 << 26;

fn read(input: impl Read, unit: Unit) -> Result<BTreeMap<Day, u64>, PriceError> {
    // Prices of all days are less than a megabyte; the reader counts a line less where lines end in CR and LF.
    let mut text = String::new();
    let read = input.take(LENGTH_MAX).read_to_string(&mut text);
    read.map_err(|error| PriceError::Unreadable(error.into()))?;
    let text = text.replace("\r\n", "\n");

    let mut reader =
        csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
    let head = reader.headers().map_err(PriceError::Unreadable)?.clone();
    // The first column may begin with a byte order mark.
    let is_date = |column: &str| {
        column
            .trim_start_matches('\u{feff}')
            .trim_matches('"')
            .to_ascii_lowercase()
            .starts_with("date")
    };
    let columns =
        head.iter().position(is_date).zip(head.iter().position(|name| unit.is_named(name)));
    let Some((date, value)) = columns else {
        let found = head.iter().take(4).collect::<Vec<_>>().join(", ");
        return Err(PriceError::NoColumn { wanted: unit, found });
    };
    let mut prices = BTreeMap::new();
    for record in reader.into_records() {
        let record = record.map_err(PriceError::Unreadable)?;
        let line = record.position().map_or(0, csv::Position::line);
        if record.iter().all(str::is_empty) {
            continue;
        }
        let text = record.get(date).unwrap_or_default();
        let day =
            parse_day(text).ok_or_else(|| PriceError::NoDay { line, text: shortened(text) })?;
        let text = record.get(value).unwrap_or_default();
        if text.is_empty() || text == "N/A" {
            continue;
        }
        let price = parse_decimal(text, unit.decimals()).ok_or_else(|| PriceError::NoPrice {
            line,
            text: shortened(text),
            unit,
        })?;
        if price == 0 {
            continue;
        }
        if prices.insert(day, price).is_some_and(|earlier| earlier != price) {
            return Err(PriceError::Twice { line, day });
        }
    }
    if prices.is_empty() { Err(PriceError::Empty(unit)) } else { Ok(prices) }
}

/// `1/30/2020`, month first, or `2020-01-30`.
fn parse_day(text: &str) -> Option<Day> {
    let mut parts = text.split(['/', '-']);
    let mut part = || parts.next()?.parse::<u16>().ok();
    let (year, month, day) = if text.contains('/') {
        let (month, day, year) = (part()?, part()?, part()?);
        (year, month, day)
    } else {
        (part()?, part()?, part()?)
    };
    if parts.next().is_some() || !(1900..=9999).contains(&year) {
        return None;
    }
    let (month, day) = (u8::try_from(month).ok()?, u8::try_from(day).ok()?);
    let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    (1..=last).contains(&day).then_some(Day { year, month, day })
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAS: &str = "\"Date(UTC)\",\"UnixTimeStamp\",\"Value (Wei)\"\r\n";

    fn gas(lines: &str) -> Result<Vec<(String, u64)>, PriceError> {
        let prices = read_gas_prices(format!("{GAS}{lines}").as_bytes())?;
        Ok(prices.0.into_iter().map(|(day, price)| (day.to_string(), price)).collect())
    }

    #[test]
    fn months_stand_before_days() {
        let read =
            gas("\"7/30/2015\",\"1438214400\",\"5\"\r\n\"12/1/2015\",\"0\",\"6\"\r\n").unwrap();
        assert_eq!(read, [("2015-07-30".into(), 5), ("2015-12-01".into(), 6)]);
    }

    #[test]
    fn zeros_at_launch_are_missing() {
        let read = gas("7/30/2015,1,0\n7/31/2015,2,0\n8/7/2015,3,604684154870\n").unwrap();
        assert_eq!(read, [("2015-08-07".into(), 604_684_154_870)]);
        assert!(matches!(gas("7/30/2015,1,0\n"), Err(PriceError::Empty(Unit::WeiPerGas))));
    }

    #[test]
    fn a_mark_blank_lines_and_another_order_are_taken() {
        let text = "\u{feff}\"Date(UTC)\",\"Value\"\n\"2020-01-30\",\"184.69\"\n\n\"2020-01-29\",\"173.69\"\n,\n";
        let read = read_ether_prices(text.as_bytes()).unwrap();
        let first = Day { year: 2020, month: 1, day: 29 };
        assert_eq!(read.0.first_key_value(), Some((&first, &Micros(173_690_000))));
        assert_eq!(read.0.len(), 2);
    }

    #[test]
    fn a_rate_that_is_not_available_is_missing() {
        let text = "Date,USD,JPY,\n2026-03-05,1.1618,183.03,\n2026-03-04,N/A,183.02,\n";
        assert_eq!(read_euro_rates(text.as_bytes()).unwrap().0.len(), 1);
    }

    #[test]
    fn another_file_is_refused() {
        let swapped = read_ether_prices(format!("{GAS}1/1/2020,1,2\n").as_bytes());
        assert!(matches!(swapped, Err(PriceError::NoColumn { wanted: Unit::UsdPerEther, .. })));
        let swapped = read_gas_prices("Date(UTC),UnixTimeStamp,Value\n1/1/2020,1,2\n".as_bytes());
        assert!(matches!(swapped, Err(PriceError::NoColumn { wanted: Unit::WeiPerGas, .. })));
    }

    #[test]
    fn what_is_no_price_is_refused_with_its_line() {
        assert!(matches!(
            gas("1/1/2020,1,2\n1/2/2020,1,-3\n"),
            Err(PriceError::NoPrice { line: 3, .. })
        ));
        assert!(matches!(gas("1/1/2020,1,2.5\n"), Err(PriceError::NoPrice { line: 2, .. })));
        assert!(matches!(gas("2/30/2020,1,2\n"), Err(PriceError::NoDay { line: 2, .. })));
        assert!(matches!(gas("30/1/2020,1,2\n"), Err(PriceError::NoDay { line: 2, .. })));
        assert!(matches!(
            gas("1/1/2020,1,2\n1/1/2020,1,3\n"),
            Err(PriceError::Twice { line: 3, .. })
        ));
        assert_eq!(gas("1/1/2020,1,2\n1/1/2020,1,2\n").unwrap().len(), 1);
    }
}
