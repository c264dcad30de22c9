//! What is measured, how often, and when somebody is alerted.
//!
//! The metrics, their usual ranges and the longest gap are data, in `rules.json` beside this file, each with
//! its source. Who orders the measuring may set other ranges, and is their source then.

use std::{fmt, sync::LazyLock, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::WorkflowError;

/// The most metrics of one plan.
pub const METRICS_MAX: usize = 8;

/// A measured value, in thousandths of its unit, so that it has one text only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Measured(i64);

/// The text is no number with up to three digits after the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a measured value is a decimal number with up to three digits after the point")]
pub struct NotMeasured;

impl TryFrom<String> for Measured {
    type Error = NotMeasured;

    fn try_from(text: String) -> Result<Self, NotMeasured> {
        Self::parse(&text).ok_or(NotMeasured)
    }
}

impl From<Measured> for String {
    fn from(value: Measured) -> Self {
        value.to_string()
    }
}

impl fmt::Debug for Measured {
    /// Not the value, which is somebody's health (S1).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measured(..)")
    }
}

impl Measured {
    /// The most, without its sign: beyond what anything here measures.
    const MAX: i64 = 1_000_000_000_000;

    /// Nothing of it.
    pub const ZERO: Self = Self(0);

    /// So many thousandths; nothing beyond what is measured.
    #[must_use]
    pub const fn of_thousandths(thousandths: i64) -> Option<Self> {
        if thousandths.unsigned_abs() <= Self::MAX.unsigned_abs() {
            Some(Self(thousandths))
        } else {
            None
        }
    }

    /// In thousandths of its unit.
    #[must_use]
    pub const fn thousandths(self) -> i64 {
        self.0
    }

    /// A decimal number with up to three digits after the point; nothing when the text is no such number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let is_cut_off = digits.ends_with('.');
        if whole.is_empty() || rest.len() > 3 || is_cut_off || !is_number(whole) || !is_number(rest)
        {
            return None;
        }
        let whole: i64 = whole.parse().ok()?;
        let rest: i64 = format!("{rest:0<3}").parse().ok()?;
        let thousandths = whole.checked_mul(1_000)?.checked_add(rest)?;
        Self::of_thousandths(if digits == text { thousandths } else { -thousandths })
    }

    fn to_json(self) -> Value {
        let number: serde_json::Number =
            self.to_string().parse().expect("a decimal number is a JSON number");
        Value::Number(number)
    }

    /// The number in JSON; nothing when it is none, or has more digits.
    fn from_json(value: &Value) -> Option<Self> {
        value.as_number().and_then(|number| Self::parse(number.to_string().trim_end_matches(".0")))
    }
}

impl fmt::Display for Measured {
    /// Without zeros that say nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, number) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let text = format!("{sign}{}.{:03}", number / 1_000, number % 1_000);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Something that devices measure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// What it is called here.
    pub name: String,
    /// Its LOINC code.
    pub loinc: String,
    display: String,
    /// Its unit in UCUM.
    pub unit: String,
    low: String,
    high: String,
    source: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Gap {
    seconds: u64,
    #[expect(dead_code, reason = "for who reads the rules")]
    source: String,
}

#[derive(Deserialize)]
struct Rules {
    metrics: Vec<Metric>,
    gap: Gap,
}

fn rules() -> &'static Rules {
    static RULES: LazyLock<Rules> = LazyLock::new(|| {
        serde_json::from_str(include_str!("rules.json")).expect("a test reads the rules")
    });
    &RULES
}

/// Everything that can be measured.
#[must_use]
pub fn metrics() -> &'static [Metric] {
    &rules().metrics
}

/// The longest time without readings before somebody is alerted, unless an order says otherwise.
#[must_use]
pub fn usual_gap() -> Duration {
    Duration::from_secs(rules().gap.seconds)
}

impl Metric {
    /// By the name that it has here, or by its LOINC code.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        metrics().iter().find(|metric| metric.name == name || metric.loinc == name)
    }

    pub(super) fn code(&self) -> Value {
        let coding = json!({ "system": LOINC, "code": self.loinc, "display": self.display });
        json!({ "coding": [coding], "text": self.name })
    }

    pub(super) fn quantity(&self, value: Measured) -> Value {
        json!({
            "value": value.to_json(),
            "unit": self.unit,
            "system": UCUM,
            "code": self.unit,
        })
    }
}

pub(super) const LOINC: &str = "http://loinc.org";

const UCUM: &str = "http://unitsofmeasure.org";

/// A metric with the range that is not worth an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// By LOINC code: [`Metric::find`] leads to it.
    loinc: String,
    /// The lowest value in range.
    pub low: Measured,
    /// The highest value in range.
    pub high: Measured,
    /// Who says so.
    pub source: String,
}

impl Limit {
    /// The range that the rules have for a metric.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when there is no such metric.
    pub fn usual(metric: &str) -> Result<Self, WorkflowError> {
        let metric = found(metric)?;
        let bound = |text: &str| Measured::parse(text).expect("a test reads the rules");
        Ok(Self {
            loinc: metric.loinc.clone(),
            low: bound(&metric.low),
            high: bound(&metric.high),
            source: metric.source.clone(),
        })
    }

    /// Another range, which somebody answers for.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when there is no such metric, the range is empty, or nobody answers for it.
    pub fn of(
        metric: &str,
        low: Measured,
        high: Measured,
        source: impl Into<String>,
    ) -> Result<Self, WorkflowError> {
        let (metric, source) = (found(metric)?, source.into());
        if low > high || source.is_empty() {
            let why = "a range goes from its lowest value to its highest, and names its source";
            return Err(WorkflowError::Invalid(why.into()));
        }
        Ok(Self { loinc: metric.loinc.clone(), low, high, source })
    }

    /// What is measured.
    #[must_use]
    pub fn metric(&self) -> &'static Metric {
        Metric::find(&self.loinc).expect("a limit is of a metric that there is")
    }

    /// Whether a value is out of range.
    #[must_use]
    pub fn is_broken_by(&self, value: Measured) -> bool {
        value < self.low || value > self.high
    }
}

fn found(metric: &str) -> Result<&'static Metric, WorkflowError> {
    let unknown = || WorkflowError::Invalid("there are no rules for this metric".into());
    Metric::find(metric).ok_or_else(unknown)
}

/// What a device measures of a patient: each metric once, at the same times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    limits: Vec<Limit>,
    /// Every how many seconds.
    period: u32,
}

impl Plan {
    /// A plan.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] unless it has one to [`METRICS_MAX`] metrics, none of them twice, and a
    /// period of a second to a day.
    pub fn new(limits: Vec<Limit>, period: u32) -> Result<Self, WorkflowError> {
        let twice = |(index, limit): (usize, &Limit)| {
            limits[..index].iter().any(|earlier| earlier.loinc == limit.loinc)
        };
        let is_short = (1..=METRICS_MAX).contains(&limits.len());
        if !is_short || limits.iter().enumerate().any(twice) {
            let why = format!("a plan has 1 to {METRICS_MAX} metrics, each of them once");
            return Err(WorkflowError::Invalid(why));
        }
        if !(1..=86_400).contains(&period) {
            return Err(WorkflowError::Invalid("it is measured every 1 to 86400 seconds".into()));
        }
        Ok(Self { limits, period })
    }

    /// The usual ranges of some metrics.
    ///
    /// # Errors
    ///
    /// As [`Plan::new`], and when there is no such metric.
    pub fn usual(metrics: &[&str], period: u32) -> Result<Self, WorkflowError> {
        let limits = metrics.iter().map(|metric| Limit::usual(metric));
        Self::new(limits.collect::<Result<_, _>>()?, period)
    }

    /// What is measured, in order.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// Every how many seconds.
    #[must_use]
    pub const fn period(&self) -> u32 {
        self.period
    }

    /// The parameters of the `DeviceRequest` that orders it.
    pub(super) fn to_parameters(&self) -> Value {
        let parameter = |limit: &Limit| {
            let metric = limit.metric();
            json!({
                "extension": [{ "url": SOURCE, "valueString": limit.source }],
                "code": metric.code(),
                "valueRange": {
                    "low": metric.quantity(limit.low),
                    "high": metric.quantity(limit.high),
                },
            })
        };
        let mut parameters: Vec<Value> = self.limits.iter().map(parameter).collect();
        parameters.push(json!({
            "code": { "text": PERIOD },
            "valueQuantity": {
                "value": self.period, "unit": "s", "system": UCUM, "code": "s",
            },
        }));
        Value::Array(parameters)
    }

    /// Reads the plan out of a `DeviceRequest`.
    pub(super) fn of_resource(resource: &Value) -> Result<Self, WorkflowError> {
        let strange = || WorkflowError::Invalid("the record is no plan of measurements".into());
        let (mut limits, mut period) = (Vec::new(), None);
        for parameter in resource["parameter"].as_array().into_iter().flatten() {
            if parameter["code"]["text"] == PERIOD {
                let seconds = parameter["valueQuantity"]["value"].as_u64();
                period = seconds.and_then(|seconds| u32::try_from(seconds).ok());
                continue;
            }
            let code = parameter["code"]["coding"][0]["code"].as_str().ok_or_else(strange)?;
            let bound = |name: &str| {
                Measured::from_json(&parameter["valueRange"][name]["value"]).ok_or_else(strange)
            };
            let source = parameter["extension"][0]["valueString"].as_str().ok_or_else(strange)?;
            limits.push(Limit::of(code, bound("low")?, bound("high")?, source)?);
        }
        Self::new(limits, period.ok_or_else(strange)?)
    }
}

/// Who says that a range is right.
const SOURCE: &str = "urn:salus:range-source";

const PERIOD: &str = "every so many seconds";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn every_rule_can_be_read_and_names_its_source() {
        for metric in metrics() {
            let limit = Limit::usual(&metric.name).unwrap();
            assert!(limit.low < limit.high && !limit.source.is_empty(), "{}", metric.name);
            assert_eq!(limit.metric().loinc, metric.loinc);
            assert!(!limit.is_broken_by(limit.low) && !limit.is_broken_by(limit.high));
        }
        assert_eq!(usual_gap(), Duration::from_secs(12 * 3_600));
    }

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let read = Measured::parse(text).map(|value| value.to_string());
        assert_eq!(read.as_deref(), expected);
        if let Some(value) = Measured::parse(text) {
            assert_eq!(Measured::from_json(&value.to_json()), Some(value));
        }
    }

    #[test]
    fn values_have_one_text() {
        check("72", Some("72"));
        check("72.50", Some("72.5"));
        check("-0.125", Some("-0.125"));
        check("-0", Some("0"));
        check("007", Some("7"));
        for wrong in ["", "-", ".5", "1.", "1.2345", "1e3", "--1", "1,5", "99999999999999999999"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_plan_reads_as_it_was_written() {
        let low = Measured::parse("36.1").unwrap();
        let own = Limit::of("8310-5", low, Measured::parse("39").unwrap(), "the ward").unwrap();
        let plan = Plan::new(vec![Limit::usual("heart-rate").unwrap(), own], 60).unwrap();
        let resource = json!({ "parameter": plan.to_parameters() });
        assert_eq!(Plan::of_resource(&resource).unwrap(), plan);
        assert!(Plan::of_resource(&json!({ "parameter": [] })).is_err());
        assert!(Plan::usual(&["heart-rate", "heart-rate"], 60).is_err());
        assert!(Plan::usual(&["heart-rate"], 0).is_err());
        assert!(Plan::usual(&["mood"], 60).is_err());
        assert!(Limit::of("heart-rate", Measured(2), Measured(1), "x").is_err());
    }
}
