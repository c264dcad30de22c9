//! Numbers and quantities: how precise a search means them, and their order as integers.

use serde_json::Value;

/// How far "approximately" reaches.
///
/// # Source
///
/// [FHIR R4, 3.1.1.4.5](https://hl7.org/fhir/R4/search.html#prefix): "the recommended value is 10%".
const APPROXIMATION: f64 = 0.1;

/// A number of a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Decimal {
    pub(crate) value: f64,
    /// Half a unit of the last digit: `100` means 99.5 to 100.5.
    half_unit: f64,
}

impl Decimal {
    /// Parses `100`, `-5.40` or `1e-3`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let digits = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let value: f64 = text.parse().ok()?;
        let decimals = i32::try_from(fraction.len()).ok()?;
        let half_unit = 0.5 * 10_f64.powi(exponent.checked_sub(decimals)?);
        (value.is_finite() && half_unit.is_finite()).then_some(Self { value, half_unit })
    }

    /// The least and the greatest that are equal to it, as [`ordered`] integers.
    pub(crate) fn equal(self) -> (i64, i64) {
        let first = ordered(self.value - self.half_unit);
        // The upper end is the next number's.
        let last = ordered(self.value + self.half_unit) - 1;
        (first, last.max(ordered(self.value)))
    }

    /// The least and the greatest that are approximately it.
    pub(crate) fn about(self) -> (i64, i64) {
        let reach = (self.value.abs() * APPROXIMATION).max(self.half_unit);
        (ordered(self.value - reach), ordered(self.value + reach))
    }
}

/// An integer for each number, in the same order.
pub(crate) fn ordered(number: f64) -> i64 {
    // So that both zeros are one.
    let bits = (number + 0.0).to_bits().cast_signed();
    if bits < 0 { bits ^ i64::MAX } else { bits }
}

/// The least and the greatest that a number, a quantity, a range or sampled data may be.
pub(crate) fn limits(value: &Value) -> Option<(f64, f64)> {
    let number = |name: &str| value.get(name).and_then(Value::as_f64);
    let end = |name: &str| value.get(name).map(|end| end.get("value").and_then(Value::as_f64));
    if let Some(number) = value.as_f64() {
        return Some((number, number));
    }
    if let Some(number) = number("value") {
        return Some(match value.get("comparator").and_then(Value::as_str) {
            Some("<" | "<=") => (f64::NEG_INFINITY, number),
            Some(">" | ">=") => (number, f64::INFINITY),
            _ => (number, number),
        });
    }
    if let Some(origin) = end("origin").flatten() {
        let factor = number("factor").unwrap_or(1.0);
        let data = value.get("data")?.as_str()?;
        let samples = data.split_ascii_whitespace().filter_map(|sample| sample.parse::<f64>().ok());
        let samples = samples.filter(|sample| sample.is_finite());
        return samples.map(|sample| origin + sample * factor).fold(None, |limits, sample| {
            let (low, high) = limits.unwrap_or((sample, sample));
            Some((low.min(sample), high.max(sample)))
        });
    }
    let (low, high) = (end("low"), end("high"));
    if low.is_none() && high.is_none() {
        return None;
    }
    let (low, high) =
        (low.unwrap_or(Some(f64::NEG_INFINITY))?, high.unwrap_or(Some(f64::INFINITY))?);
    (low <= high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check_equal(text: &str, number: f64, expected: bool) {
        let (first, last) = Decimal::parse(text).unwrap().equal();
        assert_eq!((first..=last).contains(&ordered(number)), expected);
    }

    #[test]
    fn digits_say_how_precise_a_number_is() {
        check_equal("100", 99.5, true);
        check_equal("100", 100.5, false);
        check_equal("100.00", 100.0, true);
        check_equal("100.00", 100.006, false);
        check_equal("1e2", 149.0, true);
        check_equal("1e2", 150.0, false);
        check_equal("-0.5", -0.54, true);
        check_equal("0", 0.0, true);
        check_equal("0", -0.0, true);
        check_equal("12345678901234567890", 12_345_678_901_234_567_890.0, true);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in
            ["", "-", "nan", "inf", "1e", "1e999", "1.2.3", ".5", "0x1", " 1", "1e2147483648"]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert!(Decimal::parse("5.").is_some());
    }

    #[test]
    fn integers_are_in_the_order_of_numbers() {
        let numbers =
            [f64::NEG_INFINITY, -1e9, -1.5, -1e-300, 0.0, 1e-300, 1.0, 1.5, 1e300, f64::INFINITY];
        assert!(numbers.map(ordered).is_sorted());
        assert_eq!(ordered(0.0), ordered(-0.0));
    }

    #[test]
    fn limits_are_found_in_each_type() {
        let inf = f64::INFINITY;
        assert_eq!(limits(&json!(0.5)), Some((0.5, 0.5)));
        assert_eq!(limits(&json!({"value": 2, "unit": "mg"})), Some((2.0, 2.0)));
        assert_eq!(limits(&json!({"value": 2, "comparator": "<"})), Some((-inf, 2.0)));
        assert_eq!(limits(&json!({"low": {"value": 1}})), Some((1.0, inf)));
        assert_eq!(limits(&json!({"low": {"value": 1}, "high": {"value": 3}})), Some((1.0, 3.0)));
        let sampled = json!({"origin": {"value": 10}, "factor": 2, "data": "1 E -1 U 3"});
        assert_eq!(limits(&sampled), Some((8.0, 16.0)));
        assert_eq!(limits(&json!({"unit": "mg"})), None);
        assert_eq!(limits(&json!("text")), None);
    }
}
