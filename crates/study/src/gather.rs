//! Add executed segments up, price them, and make [`Results`] of them.
//!
//! Segments may come in any order; the sums do not depend on it. What is held does not grow with the rows.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use serde::Deserialize;

use crate::{
    fit::{Against, Fit, Over, Point, StraightLine},
    prices::{Cost, FixedPrice, Prices},
    results::{
        Compared, Dataset, DayLine, Days, Line, ModeResults, Operation, Pending, Results,
        SegmentNote, Workflow, WorkflowStep,
    },
    row::Day,
    tally::{Dimension, Gas, Mode, Segment, Sums},
};

/// What each operation uses, measured by `cargo test --test gas`.
const OPERATIONS: &str = include_str!("../../../contracts/gas.json");

/// What each workflow uses, measured by `cargo xtask gas`.
const WORKFLOWS: &str = include_str!("../../../contracts/workflows.json");

/// The month whose work is priced on other days, where it is there: the paper's.
const JANUARY_2020: (u16, u8) = (2020, 1);

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
            days: days(&self.prices, &self.first_round),
            compared: compared(&self.prices, &self.first_round),
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

/// A line of `contracts/gas.json`.
#[derive(Deserialize)]
struct Measured {
    name: String,
    contract: String,
    function: String,
    intrinsic: u64,
    calldata_gas: u64,
    execution: u64,
    calldata_bytes: u64,
}

fn operations(price: &FixedPrice) -> Vec<Operation> {
    let measured: Vec<Measured> =
        serde_json::from_str(OPERATIONS).expect("the committed table is read by a test");
    let operation = |line: Measured| {
        let gas = Gas {
            intrinsic: line.intrinsic,
            calldata: line.calldata_gas,
            execution: line.execution,
        };
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

fn days(prices: &Prices, work: &BTreeMap<Mode, BTreeMap<Day, Sums>>) -> Option<Days> {
    let daily = prices.daily.as_ref()?;
    let dates = work.values().flat_map(BTreeMap::keys);
    let of =
        *dates.min_by_key(|date| (Reverse((date.year, date.month) == JANUARY_2020), **date))?;
    let work: BTreeMap<Mode, Sums> =
        work.iter().filter_map(|(&mode, dates)| Some((mode, *dates.get(&of)?))).collect();
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
    intrinsic: u64,
    calldata_gas: u64,
    execution: u64,
}

fn workflows(price: &FixedPrice) -> Vec<Workflow> {
    let measured: Vec<MeasuredWorkflow> =
        serde_json::from_str(WORKFLOWS).expect("the committed table is read by a test");
    let step = |step: MeasuredStep| WorkflowStep {
        name: step.name,
        actor: step.actor,
        gas: Gas {
            intrinsic: step.intrinsic,
            calldata: step.calldata_gas,
            execution: step.execution,
        },
    };
    let workflow = |workflow: MeasuredWorkflow| {
        let steps: Vec<_> = workflow.steps.into_iter().map(step).collect();
        let gas = steps.iter().fold(Gas::default(), |sum, step| sum + step.gas);
        let fixed = price.cost(gas.total());
        Workflow { name: workflow.name, summary: workflow.summary, steps, gas, fixed }
    };
    measured.into_iter().map(workflow).collect()
}
