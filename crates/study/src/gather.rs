//! Add executed segments up, price them, and make [`Results`] of them.
//!
//! Segments may come in any order; the sums do not depend on it. What is held does not grow with the rows.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::{
    fit::{Against, Fit, Over, Point, StraightLine},
    prices::{Cost, FixedPrice, Prices},
    results::{
        Compared, Dataset, DayLine, Days, Line, ModeResults, Operation, Pending, Results,
        SegmentNote, Workflow, WorkflowStep,
    },
    row::{Day, is_papers_month},
    tally::{Dimension, Gas, Mode, Segment, Sums},
};

/// What each operation uses, measured by `cargo xtask gas`.
const OPERATIONS: &str = include_str!("../../../contracts/gas.json");

/// What each workflow uses, measured by `cargo xtask gas`.
const WORKFLOWS: &str = include_str!("../../../contracts/workflows.json");

/// Segments as they come in, added up.
#[derive(Debug)]
pub struct Gathering {
    prices: Prices,
    modes: BTreeMap<Mode, ModeResults>,
    /// What each date came to when its work was done for the first time.
    first_round: BTreeMap<Mode, BTreeMap<Day, Sums>>,
}

impl Gathering {
    /// Nothing yet.
    #[must_use]
    pub const fn new(prices: Prices) -> Self {
        Self { prices, modes: BTreeMap::new(), first_round: BTreeMap::new() }
    }

    /// Adds what was executed on one chain.
    pub fn add(&mut self, segment: &Segment) {
        let pricing = Pricing { prices: &self.prices, date: segment.date };
        let nothing = Pricing::nothing(&self.prices);
        let results = self.modes.entry(segment.mode).or_insert_with(|| ModeResults {
            total: nothing,
            by: BTreeMap::new(),
            dates: BTreeMap::new(),
            setup: Sums::default(),
            segments: Vec::new(),
        });
        pricing.add(&mut results.total, segment.total);
        pricing.add(results.dates.entry(segment.date).or_insert(nothing), segment.total);
        for (&dimension, values) in &segment.by {
            let lines = results.by.entry(dimension).or_default();
            for (label, &sums) in values {
                pricing.add(lines.entry(label.clone()).or_insert(nothing), sums);
            }
        }
        results.setup += segment.setup;
        results.segments.push(SegmentNote {
            date: segment.date,
            part: segment.part,
            replay: segment.replay,
            total: segment.total,
            state_root: segment.state_root,
            block_hash: segment.block_hash,
        });
        if segment.replay == 0 {
            let dates = self.first_round.entry(segment.mode).or_default();
            *dates.entry(segment.date).or_default() += segment.total;
        }
    }

    /// Everything that a report is drawn from.
    #[must_use]
    pub fn finish(mut self, dataset: Dataset, mut pending: Vec<Pending>) -> Results {
        for results in self.modes.values_mut() {
            results.segments.sort_by_key(|note| (note.replay, note.date, note.part));
        }
        pending.sort_by_key(|transaction| transaction.mode);
        let fixed = &self.prices.fixed;
        let compared = compared(&self.prices, &self.first_round);
        let (deployment, operations) = operations(fixed)
            .into_iter()
            .partition(|operation| operation.function == "constructor");
        Results {
            dataset,
            operations,
            deployment,
            workflows: workflows(fixed),
            pending,
            fits: self.modes.iter().flat_map(|(&mode, results)| fits(mode, results)).collect(),
            days: days(&self.prices, &self.first_round, &compared),
            compared,
            modes: self.modes,
            prices: self.prices,
        }
    }
}

/// The prices that count for one date's work.
struct Pricing<'a> {
    prices: &'a Prices,
    date: Day,
}

impl Pricing<'_> {
    fn nothing(prices: &Prices) -> Line {
        let fixed = prices.fixed.cost(0);
        let on_day = prices.daily.as_ref().map(|_| Cost::NOTHING);
        Line { sums: Sums::default(), on_day, fixed }
    }

    fn add(&self, line: &mut Line, sums: Sums) {
        line.sums += sums;
        line.fixed += self.prices.fixed.cost(sums.gas.total());
        let cost = self.prices.at(self.date).map(|price| price.cost(sums.gas.total()));
        line.on_day = line.on_day.zip(cost).map(|(sum, cost)| sum + cost);
    }
}

/// The parts of a transaction's gas, as the committed tables name them.
#[derive(Deserialize)]
struct MeasuredGas {
    intrinsic: u64,
    calldata_gas: u64,
    execution: u64,
}

impl From<MeasuredGas> for Gas {
    fn from(measured: MeasuredGas) -> Self {
        let MeasuredGas { intrinsic, calldata_gas: calldata, execution } = measured;
        Self { intrinsic, calldata, execution }
    }
}

/// A line of `contracts/gas.json`.
#[derive(Deserialize)]
struct Measured {
    name: String,
    contract: String,
    function: String,
    #[serde(flatten)]
    gas: MeasuredGas,
    calldata_bytes: u64,
}

fn operations(price: &FixedPrice) -> Vec<Operation> {
    let measured: Vec<Measured> =
        serde_json::from_str(OPERATIONS).expect("the committed table is read by a test");
    let operation = |line: Measured| {
        let gas = Gas::from(line.gas);
        Operation {
            name: line.name,
            contract: line.contract,
            function: line.function,
            gas,
            calldata_bytes: line.calldata_bytes,
            fixed: price.cost(gas.total()),
        }
    };
    measured.into_iter().map(operation).collect()
}

fn fits(mode: Mode, results: &ModeResults) -> Vec<Fit> {
    let specialties = results.by.get(&Dimension::Specialty);
    let specialties =
        specialties.into_iter().flatten().map(|(label, line)| (label.clone(), line.sums));
    let dates = results.dates.iter().map(|(date, line)| (date.to_string(), line.sums));
    let work: [(Over, Vec<(String, Sums)>); 2] =
        [(Over::Specialties, specialties.collect()), (Over::Dates, dates.collect())];
    let mut fits = Vec::new();
    for (over, sums) in &work {
        for against in [Against::Patients, Against::Rows] {
            let size = |sums: &Sums| match against {
                Against::Patients => sums.patients,
                Against::Rows => sums.rows,
            };
            let point = |(label, sums): &(String, Sums)| Point {
                label: label.clone(),
                size: size(sums),
                gas_used: sums.gas.total(),
            };
            let points: Vec<Point> = sums.iter().map(point).collect();
            let line = StraightLine::through(&points);
            fits.push(Fit { mode, over: *over, against, points, line });
        }
    }
    fits
}

/// The dates of which every mode did the same rows.
fn compared(prices: &Prices, work: &BTreeMap<Mode, BTreeMap<Day, Sums>>) -> Compared {
    let all: BTreeSet<Day> = work.values().flat_map(BTreeMap::keys).copied().collect();
    let is_common = |date: &Day| {
        let mut rows = work.values().map(|dates| dates.get(date).map(|sums| sums.rows));
        let first = rows.next().flatten();
        first.is_some() && rows.all(|rows| rows == first)
    };
    let dates: Vec<Day> = all.into_iter().filter(is_common).collect();
    let line = |sums: &BTreeMap<Day, Sums>| {
        let mut line = Pricing::nothing(prices);
        for &date in &dates {
            Pricing { prices, date }.add(&mut line, sums[&date]);
        }
        line
    };
    let modes = work.iter().map(|(&mode, sums)| (mode, line(sums))).collect();
    Compared { dates, modes }
}

/// One date's work at the prices of all days: a date that all modes did alike, or else one of the first mode's alone.
fn days(
    prices: &Prices,
    work: &BTreeMap<Mode, BTreeMap<Day, Sums>>,
    compared: &Compared,
) -> Option<Days> {
    fn papers_or_first<'a>(dates: impl Iterator<Item = &'a Day>) -> Option<Day> {
        dates.copied().min_by_key(|date| (!is_papers_month(*date), *date))
    }
    let daily = prices.daily.as_ref()?;
    let (of, modes) = match papers_or_first(compared.dates.iter()) {
        Some(of) => (of, work.len()),
        None => (papers_or_first(work.values().next()?.keys())?, 1),
    };
    let work = work.iter().take(modes);
    let work: BTreeMap<Mode, Sums> =
        work.filter_map(|(&mode, dates)| Some((mode, *dates.get(&of)?))).collect();
    let line = |price: crate::prices::DayPrice| DayLine {
        price,
        costs: work.iter().map(|(&mode, sums)| (mode, price.cost(sums.gas.total()))).collect(),
    };
    let lines = daily.days().map(line).collect();
    Some(Days { of, work, lines })
}

/// A workflow of `contracts/workflows.json`.
#[derive(Deserialize)]
struct MeasuredWorkflow {
    name: String,
    summary: String,
    steps: Vec<MeasuredStep>,
}

/// A transaction of one.
#[derive(Deserialize)]
struct MeasuredStep {
    name: String,
    actor: String,
    #[serde(flatten)]
    gas: MeasuredGas,
}

fn workflows(price: &FixedPrice) -> Vec<Workflow> {
    let measured: Vec<MeasuredWorkflow> =
        serde_json::from_str(WORKFLOWS).expect("the committed table is read by a test");
    let step = |step: MeasuredStep| WorkflowStep {
        name: step.name,
        actor: step.actor,
        gas: step.gas.into(),
    };
    let workflow = |workflow: MeasuredWorkflow| {
        let steps: Vec<_> = workflow.steps.into_iter().map(step).collect();
        let gas = steps.iter().fold(Gas::default(), |sum, step| sum + step.gas);
        let fixed = price.cost(gas.total());
        Workflow { name: workflow.name, summary: workflow.summary, steps, gas, fixed }
    };
    measured.into_iter().map(workflow).collect()
}

#[cfg(test)]
mod tests {
    use alloy_primitives::B256;
    use serde_json::Value;

    use super::*;
    use crate::{
        prices::{DailyPrices, Micros, Series},
        results::Head,
    };

    fn nothing_read() -> Dataset {
        Dataset {
            synthetic: true,
            sources: Vec::new(),
            head: Head::default(),
            attributes: Vec::new(),
            rounds: 1,
            several_names: BTreeMap::new(),
        }
    }

    fn day(month: u8) -> Day {
        Day { year: 2020, month, day: 28 }
    }

    fn gathered(work: &[(Mode, u8, u64)]) -> Results {
        let daily = DailyPrices {
            gas: Series([(day(1), 5)].into()),
            ether: Series([(day(1), Micros(7))].into()),
            euro: None,
            origin: String::new(),
        };
        let prices = Prices { fixed: FixedPrice::default(), daily: Some(daily) };
        let mut gathering = Gathering::new(prices);
        for &(mode, month, rows) in work {
            gathering.add(&Segment {
                mode,
                date: day(month),
                part: 0,
                replay: 0,
                total: Sums { rows, ..Sums::default() },
                by: BTreeMap::new(),
                setup: Sums::default(),
                state_root: B256::ZERO,
                block_hash: B256::ZERO,
            });
        }
        gathering.finish(nothing_read(), Vec::new())
    }

    #[test]
    fn every_committed_operation_and_workflow_is_priced_whole() {
        let results = gathered(&[]);
        let named = |text: &str| -> BTreeMap<String, u64> {
            let all: Vec<Value> = serde_json::from_str(text).unwrap();
            let one = |one: &Value| {
                (one["name"].as_str().unwrap().to_owned(), one["gas"].as_u64().unwrap())
            };
            all.iter().map(one).collect()
        };
        let operations = results.operations.iter().chain(&results.deployment);
        let priced = operations.map(|one| (one.name.clone(), one.gas.total())).collect();
        assert_eq!(named(OPERATIONS), priced);
        let workflows = results.workflows.iter();
        let priced = workflows.map(|one| (one.name.clone(), one.gas.total())).collect();
        assert_eq!(named(WORKFLOWS), priced);
    }

    #[test]
    fn other_days_price_a_date_that_all_modes_did_alike() {
        let of = |work: &[(Mode, u8, u64)]| {
            let days = gathered(work).days.unwrap();
            (days.of.month, days.work.into_keys().collect::<Vec<_>>())
        };
        let both = vec![Mode::Row, Mode::Patient];
        // January, the paper's month, where it can be.
        let work = [(Mode::Row, 2, 5), (Mode::Row, 1, 9), (Mode::Patient, 2, 5)];
        assert_eq!(of(&[&work[..], &[(Mode::Patient, 1, 9)]].concat()), (1, both.clone()));
        // Of January, one mode did other rows.
        assert_eq!(of(&[&work[..], &[(Mode::Patient, 1, 4)]].concat()), (2, both));
        assert_eq!(of(&[(Mode::Row, 1, 9), (Mode::Patient, 1, 4)]), (1, vec![Mode::Row]));
    }
}
