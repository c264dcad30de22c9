//! Numbers as people read them.

use alloy_primitives::U256;

use crate::{
    prices::{Cost, Fiat, Wei},
    row::Day,
    tally::Mode,
};

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// `1 row`, `2 rows`.
pub(crate) fn many(number: u64, one: &str) -> String {
    let plural = match one.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{one}s"),
    };
    format!("{} {}", count(number), if number == 1 { one } else { &plural })
}

/// Digits in threes, up to a decimal point.
fn grouped(text: &str) -> String {
    let (whole, part) =
        text.split_once('.').map_or((text, None), |(whole, part)| (whole, Some(part)));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    part.map_or(out.clone(), |part| format!("{out}.{part}"))
}

/// Dollars: whole from a thousand on, cents from one on, else three digits that count.
pub(crate) fn usd(amount: Fiat) -> String {
    format!("USD {}", money(amount))
}

/// Euros, likewise; a dash where there is no rate.
pub(crate) fn eur(amount: Option<Fiat>) -> String {
    amount.map_or_else(|| "–".into(), money)
}

/// An amount without its currency.
pub(crate) fn money(amount: Fiat) -> String {
    grouped(&amount.with_decimals(decimals(amount.0, 24)))
}

/// Ether, as [`money`].
pub(crate) fn eth(amount: Wei) -> String {
    grouped(&amount.in_ether(decimals(amount.0, 18)))
}

/// How many decimals tell an amount of `10^-scale`.
fn decimals(amount: U256, scale: usize) -> usize {
    let digits = amount.to_string().len();
    match digits.checked_sub(scale) {
        _ if amount.is_zero() => 0,
        Some(4..) => 0,
        Some(1..) => 2,
        // As many as there are zeros after the point, and three more.
        Some(0) => 3,
        None => (scale - digits + 3).min(scale),
    }
}

/// What a piece of work comes to for each of its parts.
pub(crate) fn each(amount: Fiat, parts: u64) -> Option<Fiat> {
    amount.0.checked_div(U256::from(parts)).map(Fiat)
}

/// A share, as `12.3 %`.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let tenths = (u128::from(part) * 1_000 + u128::from(whole) / 2)
        .checked_div(u128::from(whole))
        .unwrap_or(0);
    let text = format!("{}.{} %", tenths / 10, tenths % 10);
    if tenths == 0 && part > 0 { "less than 0.1 %".into() } else { text }
}

/// How many times `small` goes into `large`, in words: `3.2 times`.
pub(crate) fn times(large: Fiat, small: Fiat) -> Option<String> {
    let tenths = (large.0 * U256::from(10) + small.0 / U256::from(2)).checked_div(small.0)?;
    let ten = U256::from(10);
    let text = if tenths < U256::from(1_000) {
        format!("{}.{}", tenths / ten, tenths % ten)
    } else {
        grouped(&(tenths / ten).to_string())
    };
    Some(format!("{text} times"))
}

/// Gas, as a fit has it.
pub(crate) fn gas_of_fit(gas: f64) -> String {
    let text = format!("{:.0}", gas.abs());
    let sign = if gas < 0.0 && text != "0" { "−" } else { "" };
    format!("{sign}{}", grouped(&text))
}

/// R², which is never rounded up to 1.
pub(crate) fn r_squared(value: f64) -> String {
    let text = format!("{value:.4}");
    if text == "1.0000" && value < 1.0 { format!("{:.4} or more", 0.9999) } else { text }
}

/// `30 January 2020`.
pub(crate) fn date(day: Day) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let month = MONTHS.get(usize::from(day.month).wrapping_sub(1)).copied().unwrap_or("?");
    format!("{} {month} {}", day.day, day.year)
}

/// `row mode`.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Row => "row mode",
        Mode::Patient => "patient mode",
        Mode::Batch => "batch mode",
    }
}

/// `a, b and c`.
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// The beginning of a long word.
pub(crate) fn short(text: &str) -> String {
    const LENGTH: usize = 42;
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Ether, dollars and euros of a cost, as three cells.
pub(crate) fn cells(cost: Option<Cost>) -> [String; 3] {
    let none = || "–".to_owned();
    cost.map_or_else(
        || [none(), none(), none()],
        |cost| [eth(cost.wei), money(cost.usd), eur(cost.eur)],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_show_what_counts() {
        let check = |millionths: u64, expected: &str| {
            let amount = Fiat(U256::from(millionths) * U256::from(10).pow(U256::from(18)));
            assert_eq!(money(amount), expected);
        };
        check(0, "0");
        check(35, "0.0000350");
        check(35_123, "0.0351");
        check(999_999, "1.000");
        check(1_000_000, "1.00");
        check(22_564_000, "22.56");
        check(1_234_567_890_000, "1,234,568");
    }

    #[test]
    fn counts_and_shares() {
        assert_eq!(many(1, "row"), "1 row");
        assert_eq!(many(6_706, "row"), "6,706 rows");
        assert_eq!(many(2, "specialty"), "2 specialties");
        assert_eq!(many(2, "day"), "2 days");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(percent(1, 100_000), "less than 0.1 %");
        assert_eq!(percent(0, 0), "0.0 %");
        assert_eq!(listed(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }

    #[test]
    fn a_fit_that_is_not_perfect_is_not_called_so() {
        assert_eq!(r_squared(1.0), "1.0000");
        assert_eq!(r_squared(0.999_999), "0.9999 or more");
        assert_eq!(r_squared(0.61), "0.6100");
        assert_eq!(gas_of_fit(-1_234.4), "−1,234");
        assert_eq!(gas_of_fit(-0.2), "0");
    }
}
