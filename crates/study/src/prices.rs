//! What gas, ether and euros cost on a day, and what some gas comes to.
//!
//! Exact: gas, wei and prices are whole numbers, amounts of money are whole numbers of 10^-24 of a unit, and rounding
//! happens when an amount is printed. No price is made up: a day without one takes the nearest earlier day's, and says
//! which; before the first day there is none.

mod read;

use std::{
    collections::BTreeMap,
    ops::{Add, AddAssign},
};

use alloy_primitives::U256;

use serde::{Deserialize, Serialize};

use crate::row::Day;

pub use read::{PriceError, Unit, read_ether_prices, read_euro_rates, read_gas_prices};

/// An amount of wei.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wei(pub U256);

/// An amount of dollars or euros, in 10^-24 of one: what a wei costs where an ether's price has six decimals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fiat(pub U256);

/// What some gas costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// In wei.
    pub wei: Wei,
    /// In US dollars.
    pub usd: Fiat,
    /// In euros; `None` where there is no rate.
    pub eur: Option<Fiat>,
}

/// A millionth of a dollar or of a euro.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Micros(pub u64);

/// A price, with the day that it is of: not the day that it is for, where that one is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote<T> {
    /// Of which day.
    pub day: Day,
    /// How much.
    pub price: T,
}

/// Prices by day. A day that is not there has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series<T>(pub BTreeMap<Day, T>);

/// The prices for a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayPrice {
    /// For which day.
    pub day: Day,
    /// Wei for each gas: the day's average.
    pub gas: Quote<u64>,
    /// Dollars for an ether.
    pub ether: Quote<Micros>,
    /// Dollars for a euro; `None` without a file of rates, or before its first day.
    pub euro: Option<Quote<Micros>>,
}

/// The prices of many days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyPrices {
    /// Wei for each gas.
    pub gas: Series<u64>,
    /// Dollars for an ether.
    pub ether: Series<Micros>,
    /// Dollars for a euro.
    pub euro: Option<Series<Micros>>,
    /// Where they come from, in words.
    pub origin: String,
}

/// A price that does not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedPrice {
    /// Wei for each gas.
    pub wei_per_gas: u64,
    /// Dollars for an ether.
    pub usd_per_ether: Micros,
    /// Euros for an ether; `None` where nobody said.
    pub eur_per_ether: Option<Micros>,
    /// Where it comes from, in words.
    pub origin: String,
}

/// What things cost in a study.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prices {
    /// The price that does not change.
    pub fixed: FixedPrice,
    /// Prices that do; `None` without files.
    pub daily: Option<DailyPrices>,
}

impl Wei {
    /// In ether, for a picture.
    #[must_use]
    pub fn as_ether(self) -> f64 {
        f64::from(self.0) / 1e18
    }

    /// In ether, with so many of its 18 decimals, rounded half up.
    #[must_use]
    pub fn in_ether(self, decimals: usize) -> String {
        decimal(self.0, 18, decimals)
    }
}

impl Fiat {
    /// In dollars or euros, for a picture.
    #[must_use]
    pub fn as_amount(self) -> f64 {
        f64::from(self.0) / 1e24
    }

    /// In dollars or euros, with so many decimals, rounded half up.
    #[must_use]
    pub fn with_decimals(self, decimals: usize) -> String {
        decimal(self.0, 24, decimals)
    }
}

impl Micros {
    /// In dollars or euros, rounded to cents.
    #[must_use]
    pub fn cents(self) -> String {
        decimal(U256::from(self.0), 6, 2)
    }

    /// In dollars or euros, without zeros at the end beyond the second decimal.
    #[must_use]
    pub fn text(self) -> String {
        let text = decimal(U256::from(self.0), 6, 6);
        let keep = text.trim_end_matches('0').len().max(text.len() - 4);
        text[..keep].to_owned()
    }
}

/// `amount / 10^scale` with so many decimals, at most `scale`, rounded half up.
fn decimal(amount: U256, scale: usize, decimals: usize) -> String {
    let decimals = decimals.min(scale);
    let unit = U256::from(10).pow(U256::from(scale - decimals));
    let rounded = (amount + unit / U256::from(2)) / unit;
    let digits = format!("{rounded:0>width$}", rounded = rounded.to_string(), width = decimals + 1);
    match digits.split_at(digits.len() - decimals) {
        (whole, "") => whole.to_owned(),
        (whole, part) => format!("{whole}.{part}"),
    }
}

impl Add for Cost {
    type Output = Self;

    /// Euros are there where both have them.
    fn add(self, other: Self) -> Self {
        Self {
            wei: Wei(self.wei.0 + other.wei.0),
            usd: Fiat(self.usd.0 + other.usd.0),
            eur: self.eur.zip(other.eur).map(|(one, two)| Fiat(one.0 + two.0)),
        }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Cost {
    /// What nothing costs, in euros, too.
    pub const NOTHING: Self =
        Self { wei: Wei(U256::ZERO), usd: Fiat(U256::ZERO), eur: Some(Fiat(U256::ZERO)) };
}

impl<T: Copy> Series<T> {
    /// The price on `day`, or the nearest earlier one; `None` before the first.
    #[must_use]
    pub fn at(&self, day: Day) -> Option<Quote<T>> {
        self.0.range(..=day).next_back().map(|(&day, &price)| Quote { day, price })
    }
}

impl DayPrice {
    /// What `gas_used` costs on that day.
    #[must_use]
    pub fn cost(&self, gas_used: u64) -> Cost {
        let wei = U256::from(gas_used) * U256::from(self.gas.price);
        let usd = wei * U256::from(self.ether.price.0);
        // Dollars divided by dollars for a euro. What the division loses is less than 10^-24 euros.
        let eur = self.euro.map(|rate| Fiat(usd * U256::from(MILLION) / U256::from(rate.price.0)));
        Cost { wei: Wei(wei), usd: Fiat(usd), eur }
    }

    /// Whether one of the prices is of an earlier day.
    #[must_use]
    pub fn is_earlier(&self) -> bool {
        self.gas.day != self.day
            || self.ether.day != self.day
            || self.euro.is_some_and(|rate| rate.day != self.day)
    }
}

impl DailyPrices {
    /// The prices for `day`; `None` before the first day that has gas and ether.
    #[must_use]
    pub fn at(&self, day: Day) -> Option<DayPrice> {
        Some(DayPrice {
            day,
            gas: self.gas.at(day)?,
            ether: self.ether.at(day)?,
            euro: self.euro.as_ref().and_then(|rates| rates.at(day)),
        })
    }

    /// Every day that gas or ether has a price of, and both have one by then.
    pub fn days(&self) -> impl Iterator<Item = DayPrice> {
        let mut days: Vec<_> = self.gas.0.keys().chain(self.ether.0.keys()).copied().collect();
        days.sort_unstable();
        days.dedup();
        days.into_iter().filter_map(|day| self.at(day))
    }
}

impl FixedPrice {
    /// What `gas_used` costs.
    #[must_use]
    pub fn cost(&self, gas_used: u64) -> Cost {
        let wei = U256::from(gas_used) * U256::from(self.wei_per_gas);
        Cost {
            wei: Wei(wei),
            usd: Fiat(wei * U256::from(self.usd_per_ether.0)),
            eur: self.eur_per_ether.map(|price| Fiat(wei * U256::from(price.0))),
        }
    }
}

impl Default for FixedPrice {
    /// The averages of 2 June 2026.
    ///
    /// # Source
    ///
    /// Etherscan, daily average gas price (1,366,606,750 wei, given as 1.367 gwei) and ether price (1,857.16 dollars).
    fn default() -> Self {
        Self {
            wei_per_gas: 1_367_000_000,
            usd_per_ether: Micros(1_857_160_000),
            eur_per_ether: None,
            origin: "the averages of 2 June 2026 on Ethereum's main network (Etherscan)".into(),
        }
    }
}

impl Prices {
    /// The prices for `day`; `None` without files, or before their first day.
    #[must_use]
    pub fn at(&self, day: Day) -> Option<DayPrice> {
        self.daily.as_ref()?.at(day)
    }
}

const MILLION: u64 = 1_000_000;

/// Wei as gwei, with the decimals that count.
#[must_use]
pub fn gwei_text(wei: u64) -> String {
    let text = decimal(U256::from(wei), 9, 9);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A decimal number without a sign, as a whole number of `10^-decimals`; `None` where it is no such number, has more
/// decimals that are not zero, or does not fit.
#[must_use]
pub fn parse_decimal(text: &str, decimals: usize) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    // Zeros at the end say nothing, so that there may be any number of them.
    let part = part.trim_end_matches('0');
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(part) || part.len() > decimals {
        return None;
    }
    format!("{whole}{part:0<decimals$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(year: u16, month: u8, day: u8) -> Day {
        Day { year, month, day }
    }

    #[test]
    fn decimals_are_exact() {
        let check = |text, decimals, expected| assert_eq!(parse_decimal(text, decimals), expected);
        check("1857.16", 6, Some(1_857_160_000));
        check("1.367", 9, Some(1_367_000_000));
        check("0.00", 6, Some(0));
        check("7.", 0, Some(7));
        check("1.0000000", 6, Some(1_000_000));
        check("1.0000001", 6, None);
        check("-1", 6, None);
        check("+1", 6, None);
        check(".5", 6, None);
        check("1e3", 6, None);
        check("18446744073710", 6, None);
        check("", 6, None);
    }

    #[test]
    fn amounts_are_rounded_when_printed() {
        let check = |amount: u64, scale, decimals, expected: &str| {
            assert_eq!(decimal(U256::from(amount), scale, decimals), expected);
        };
        check(1_499, 3, 0, "1");
        check(1_500, 3, 0, "2");
        check(5, 3, 2, "0.01");
        check(4, 3, 2, "0.00");
        check(1_234_567, 6, 6, "1.234567");
        check(0, 6, 3, "0.000");
        assert_eq!(gwei_text(1_367_000_000), "1.367");
        assert_eq!(gwei_text(30_000_000_000), "30");
        assert_eq!(Micros(1_857_160_000).text(), "1857.16");
        assert_eq!(Micros(2_000_000).text(), "2.00");
        assert_eq!(Micros(1_161_800).text(), "1.1618");
    }

    #[test]
    fn a_missing_day_takes_the_nearest_earlier_one() {
        let series = Series(BTreeMap::from([
            (day(2020, 1, 3), 7_u64),
            (day(2020, 1, 6), 9),
            (day(2020, 2, 1), 11),
        ]));
        assert_eq!(series.at(day(2020, 1, 5)), Some(Quote { day: day(2020, 1, 3), price: 7 }));
        assert_eq!(series.at(day(2020, 1, 6)), Some(Quote { day: day(2020, 1, 6), price: 9 }));
        assert_eq!(series.at(day(2020, 1, 2)), None);
        assert_eq!(series.at(day(2026, 1, 2)), Some(Quote { day: day(2020, 2, 1), price: 11 }));
    }

    #[test]
    fn no_amount_of_gas_overflows() {
        let most = Quote { day: day(2020, 1, 1), price: u64::MAX };
        let ether = Quote { day: day(2020, 1, 1), price: Micros(u64::MAX) };
        let euro = Some(Quote { day: day(2020, 1, 1), price: Micros(1) });
        let price = DayPrice { day: day(2020, 1, 1), gas: most, ether, euro };
        let cost = price.cost(u64::MAX);
        assert!(cost.eur.is_some_and(|euros| euros.0 == cost.usd.0 * U256::from(MILLION)));
    }

    #[test]
    fn euros_are_dollars_divided_by_the_rate() {
        let of = day(2020, 1, 30);
        let price = DayPrice {
            day: of,
            gas: Quote { day: of, price: 1_000_000_000 },
            ether: Quote { day: of, price: Micros(200_000_000) },
            euro: Some(Quote { day: of, price: Micros(1_250_000) }),
        };
        let cost = price.cost(1_000_000_000);
        assert_eq!(cost.wei.in_ether(3), "1.000");
        assert_eq!(cost.usd.with_decimals(2), "200.00");
        assert_eq!(cost.eur.map(|euros| euros.with_decimals(2)), Some("160.00".into()));
    }
}
