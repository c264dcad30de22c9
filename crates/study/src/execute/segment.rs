//! Executes one segment: its setup, its transactions, and in batch mode the proofs of some rows.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use alloy_consensus::Transaction as _;
use alloy_primitives::{Bytes, U256, keccak256};
use alloy_sol_types::SolCall as _;
use bindings::{Contract, WaitingLists};
use chain::{Rpc, Transaction};
use domain::merkle;
use serde_json::json;

use super::{
    ExecuteError,
    machine::{Machine, Scratch, Sealed},
    proofs,
    shares::{by_attribute, shared},
    split::split,
};
use crate::{
    row::Row,
    tally::{Gas, Mode, Segment, Sums},
    workload::{Work, Workload, censuses, setup},
};

/// Transactions in a block. Nothing that they cost depends on it.
const BLOCK_TRANSACTIONS: usize = 2_000;

/// Blocks that may be on the way while the next is signed.
const BLOCKS_AHEAD: usize = 3;

/// Rows of each archive date that are proven on its chain in batch mode, where there are so many.
pub const SAMPLED_ROWS: u64 = 8;

/// What a segment is executed with.
pub(crate) struct Job<'a> {
    pub(crate) work: &'a Work,
    pub(crate) rows: &'a [Row],
    pub(crate) seed: u64,
    pub(crate) scratch: PathBuf,
    /// Where the trees go in batch mode.
    pub(crate) proofs: Option<&'a Path>,
    pub(crate) stop: &'a AtomicBool,
    /// Told of each block: so many transactions, or in batch mode rows.
    pub(crate) done: &'a (dyn Fn(u64) + Sync),
}

impl Job<'_> {
    pub(crate) fn execute(&self) -> Result<Segment, ExecuteError> {
        let Work { mode, date, part, replay, .. } = *self.work;
        let mut workload = Workload::new(mode, self.seed, self.rows, self.work.referrals.clone());
        let (mut machine, setup) = prepare(&mut workload, self.work, self.scratch.clone())?;
        let mut shares = self.people();
        let mut subjects = VecDeque::new();
        let mut has_more = true;
        while has_more || !subjects.is_empty() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(ExecuteError::Stopped);
            }
            let steps: Vec<_> = workload.by_ref().take(BLOCK_TRANSACTIONS).collect();
            has_more = steps.len() == BLOCK_TRANSACTIONS;
            if !steps.is_empty() {
                subjects.push_back(steps.iter().map(|step| step.subject).collect::<Vec<_>>());
                machine.add(steps.into_iter().map(|step| step.unsigned).collect())?;
            }
            let most = if has_more { BLOCKS_AHEAD } else { 0 };
            while let Some(sealed) = machine.sealed(most)? {
                let subjects = subjects.pop_front().unwrap_or_default();
                self.book(&workload, &sealed, &subjects, &mut shares)?;
            }
        }
        if mode == Mode::Batch {
            self.sample(&workload, &machine)?;
            if let Some(dir) = self.proofs {
                proofs::write(dir, date, &workload)?;
            }
        }
        let mut total = Sums::default();
        shares.iter().for_each(|share| total += *share);
        let head = machine.chain().head();
        let by = by_attribute(self.rows, &shares);
        let (state_root, block_hash) = (head.header.state_root, head.hash);
        Ok(Segment { mode, date, part, replay, total, by, setup, state_root, block_hash })
    }

    /// The rows and patients that are this segment's, before any gas. A row whose referrals are in two parts is counted
    /// in the first of them; its patients are where their referrals are.
    fn people(&self) -> Vec<Sums> {
        let referrals = &self.work.referrals;
        let all: u64 = self.rows.iter().map(|row| u64::from(row.patients)).sum();
        let mut before = 0;
        let share = |row: &Row| {
            let patients = u64::from(row.patients);
            if self.work.mode != Mode::Patient {
                return Sums { rows: 1, patients, ..Sums::default() };
            }
            let (from, to) = (before, before + patients);
            before = to;
            let within = to.min(referrals.end).saturating_sub(from.max(referrals.start));
            // Rows without patients that stand after the last referral belong to the last part.
            let is_ours = referrals.contains(&from) || (from == all && referrals.end == all);
            Sums { rows: is_ours.into(), patients: within, ..Sums::default() }
        };
        self.rows.iter().map(share).collect()
    }

    /// Adds what a block's receipts say to the rows that they are for.
    fn book(
        &self,
        workload: &Workload<'_>,
        sealed: &Sealed,
        subjects: &[usize],
        shares: &mut [Sums],
    ) -> Result<(), ExecuteError> {
        let what = |place: usize| self.what(workload, subjects[place]);
        check(sealed)
            .map_err(|(place, reason)| ExecuteError::Refused { what: what(place), reason })?;
        let mut size = 0;
        for (place, &subject) in subjects.iter().enumerate() {
            let gas =
                gas(sealed, place).ok_or_else(|| ExecuteError::Floor { what: what(place) })?;
            if self.work.mode == Mode::Batch {
                let rows = &workload.censuses[subject].rows;
                for (row, (transactions, gas)) in rows.iter().zip(shared(gas, rows.len())) {
                    shares[*row] += Sums { transactions, gas, ..Sums::default() };
                }
                size += rows.len() as u64;
            } else {
                shares[subject] += Sums { transactions: 1, gas, ..Sums::default() };
                size += 1;
            }
        }
        (self.done)(size);
        Ok(())
    }

    /// What a transaction is for, by its place among the date's rows: they name no file.
    fn what(&self, workload: &Workload<'_>, subject: usize) -> String {
        let date = self.work.date;
        match self.work.mode {
            Mode::Row => format!("row {} of {date}", subject + 1),
            Mode::Patient => format!("a referral of row {} of {date}", subject + 1),
            Mode::Batch => {
                let rows = workload.censuses.get(subject).map_or(0, |census| census.rows.len());
                format!("census {} of {date}, of {rows} rows", subject + 1)
            }
        }
    }

    /// Asks the contract, and checks here, whether some rows are in the censuses that were published. Which rows
    /// follows from the seed.
    fn sample(&self, workload: &Workload<'_>, machine: &Machine) -> Result<(), ExecuteError> {
        let rpc = Rpc::new(machine.chain().clone());
        let to = workload.deployment().address(Contract::WaitingLists);
        let places: Vec<(usize, usize)> = workload
            .censuses
            .iter()
            .enumerate()
            .flat_map(|(census, one)| (0..one.rows.len()).map(move |number| (census, number)))
            .collect();
        for turn in 0..SAMPLED_ROWS.min(places.len() as u64) {
            let text = [b"salus/study/sample/v1".as_slice(), &self.seed.to_be_bytes()].concat();
            let hash = keccak256([text, turn.to_be_bytes().to_vec()].concat());
            let chosen = U256::from_be_bytes(hash.0) % U256::from(places.len());
            let (census, number) = places[chosen.to::<usize>()];
            let census = &workload.censuses[census];
            let unproven = || ExecuteError::Unproven { date: self.work.date, number };
            let proof = census.tree.proof(number).ok_or_else(unproven)?;
            let row = censuses::stated(&self.rows[census.rows[number]]);
            let number_on_chain = u32::try_from(number).map_err(|_| unproven())?;
            let published = census.call();
            let call = WaitingLists::isRowCall {
                publisher: workload.publisher(census),
                hospital: published.hospital,
                month: published.month,
                version: U256::from(1),
                number: number_on_chain,
                row: row.to_row(),
                proof: proof.clone(),
            };
            let data: Bytes = call.abi_encode().into();
            let answer = rpc.handle("eth_call", json!([{ "to": to, "data": data }, "latest"]));
            let answer =
                answer.ok().and_then(|answer| serde_json::from_value::<Bytes>(answer).ok());
            let on_chain =
                answer.and_then(|answer| WaitingLists::isRowCall::abi_decode_returns(&answer).ok());
            let here = merkle::verify(published.root, row.leaf(number_on_chain), &proof);
            if on_chain != Some(true) || !here {
                return Err(unproven());
            }
        }
        Ok(())
    }
}

/// A chain with everything on it that has to be there before the first row, and what that took.
pub(crate) fn prepare(
    workload: &mut Workload<'_>,
    work: &Work,
    scratch: PathBuf,
) -> Result<(Machine, Sums), ExecuteError> {
    let genesis = setup::genesis(&workload.cast, work.date);
    let mut machine = Machine::open(Scratch::new(scratch)?, genesis, setup::first_time(work.date))?;
    for round in setup::rounds(&mut workload.cast, work.date) {
        machine.add(round)?;
    }
    let mut sums = Sums::default();
    while let Some(sealed) = machine.sealed(0)? {
        let what =
            |place: usize| format!("transaction {} of the setup of {}", place + 1, work.date);
        check(&sealed)
            .map_err(|(place, reason)| ExecuteError::Refused { what: what(place), reason })?;
        for place in 0..sealed.given.len() {
            let gas =
                gas(&sealed, place).ok_or_else(|| ExecuteError::Floor { what: what(place) })?;
            sums += Sums { transactions: 1, gas, ..Sums::default() };
        }
    }
    Ok((machine, sums))
}

/// Whether every transaction that was given is in the block and succeeded; else the place of the first that is not.
fn check(sealed: &Sealed) -> Result<(), (usize, String)> {
    let included = sealed.block.transactions.iter().map(Transaction::hash);
    let mut included = included.zip(&sealed.block.receipts);
    for (place, given) in sealed.given.iter().enumerate() {
        match included.next() {
            Some((hash, receipt)) if hash == given.hash() => {
                if !receipt.success {
                    return Err((place, "the contract refused it".into()));
                }
            }
            _ => return Err((place, "the chain did not take it".into())),
        }
    }
    Ok(())
}

fn gas(sealed: &Sealed, place: usize) -> Option<Gas> {
    let envelope = sealed.given[place].envelope();
    split(envelope.input(), envelope.is_create(), sealed.block.gas_used(place))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Day, Hospital, Specialty};

    fn rows(month: u8, day: u8, count: u32) -> Vec<Row> {
        let row = |number: u32| Row {
            date: Day { year: 2020, month, day },
            hospital: (!number.is_multiple_of(3)).then(|| Hospital {
                number: format!("060{}", number % 3),
                name: "H".into(),
                group: "G".into(),
            }),
            specialty: Specialty { code: Some(600), name: "Otolaryngology (ENT)".into() },
            case_type: "Outpatient".into(),
            adult_child: "Adult".into(),
            age: "16-64".into(),
            band: format!("{number} Months"),
            patients: 1 + number % 4,
        };
        (0..count).map(row).collect()
    }

    /// What these rows use on one chain, which begins after the last of them.
    fn on_one_chain(mode: Mode, rows: &[Row]) -> Sums {
        let dir = tempfile::tempdir().unwrap();
        let date = rows.last().unwrap().date;
        let patients = rows.iter().map(|row| u64::from(row.patients)).sum();
        let referrals = 0..patients;
        let work = Work { mode, date, replay: 0, part: 0, rows: rows.len() as u64, referrals };
        let job = Job {
            work: &work,
            rows,
            seed: 7,
            scratch: dir.path().join("chain"),
            proofs: None,
            stop: &AtomicBool::new(false),
            done: &|_| (),
        };
        job.execute().unwrap().total
    }

    fn apart_and_together(mode: Mode, one: &[Row], other: &[Row]) -> (Sums, Sums) {
        let mut apart = on_one_chain(mode, one);
        apart += on_one_chain(mode, other);
        (apart, on_one_chain(mode, &[one, other].concat()))
    }

    #[test]
    fn months_cost_the_same_on_one_chain_and_on_two() {
        let (one, other) = (rows(4, 30, 20), rows(5, 29, 15));
        let (apart, together) = apart_and_together(Mode::Row, &one, &other);
        assert_eq!(apart, together);
        // Referrals have other salts by their number, so other zeros among their call data.
        let (apart, together) = apart_and_together(Mode::Patient, &one, &other);
        assert_eq!(apart.gas.execution, together.gas.execution);
        assert_eq!(apart.transactions, together.transactions);
    }

    #[test]
    fn second_date_of_a_month_would_set_fewer_slots_on_the_same_chain() {
        let (one, other) = (rows(1, 30, 20), rows(1, 31, 15));
        let (apart, together) = apart_and_together(Mode::Row, &one, &other);
        // Two hospitals, and the rows without one.
        assert_eq!(apart.gas.total() - together.gas.total(), 3 * 17_100);
    }
}
