//! What is executed: the rows of one archive date as signed transactions, in one of three modes.
//!
//! - **Row**: `publishCensus` for each row alone, with the row's leaf as root, one row, and its patients, sent by the
//!   row's hospital. Rows that name no hospital are the regulator's, for the word `ALL`.
//! - **Patient**: `list` for each patient that a row counts, sent by a physician of a practice that keeps the patient's
//!   records, to the row's hospital. The published counts name nobody, so the referrals are of a few
//!   patients (`actors`), again and again; what a referral costs does not depend on whose it is, but for zeros in an
//!   address or digest, which are cheaper as call data.
//! - **Batch**: `publishCensus` for each hospital, with the root of a Merkle tree over all its rows of that date.
//!
//! Nothing here depends on anything but rows, mode and seed: no clock, no randomness, no order of a hash map. Which
//! part of a date's referrals is made does not change any of them.
//!
//! The rows of one month under two archive dates are counted as two first censuses of their hospitals. On one chain the
//! second date's first row of each hospital would cost 17,100 gas less, because a slot that is zero costs more to set.
//! A census that is published in January or February costs 38 gas more than later in the year, on any chain: the
//! contract finds the month of the block's time by a calendar whose year begins in March.

mod actors;
pub(crate) mod calendar;
pub(crate) mod censuses;
mod pending;
mod plan;
pub(crate) mod setup;

use std::ops::Range;

use alloy_primitives::{Address, Bytes, TxKind, keccak256};
use alloy_sol_types::SolCall;
use bindings::{Contract, Deployment, WaitingLists};

use crate::{row::Row, tally::Mode};

pub(crate) use actors::{ALL_HOSPITALS, CHAIN_ID, Cast, Unsigned, sign_all};
pub(crate) use censuses::Census;
pub use pending::pending;
pub(crate) use plan::plan;
pub use plan::{DateSize, REFERRALS_PER_PART, Source, Work};

/// More than any transaction of the work uses.
const GAS_LIMIT: u64 = 400_000;

/// One transaction to be made, and what it is for.
pub(crate) struct Step {
    /// The row in the date's order; in batch mode the census in the order of [`Workload::censuses`].
    pub(crate) subject: usize,
    pub(crate) unsigned: Unsigned,
}

/// The transactions of one segment, made as they are asked for.
pub(crate) struct Workload<'a> {
    mode: Mode,
    seed: u64,
    rows: &'a [Row],
    deployment: Deployment,
    pub(crate) cast: Cast,
    /// In batch mode, what is published.
    pub(crate) censuses: Vec<Census>,
    /// Which referrals of the date, from its first.
    referrals: Range<u64>,
    /// The next row, or census.
    next: usize,
    /// How many referrals of the date come before that row's first, or of it were made.
    referred: u64,
    /// How many of that row's were made.
    of_row: u64,
}

impl<'a> Workload<'a> {
    /// The work on the rows of one date. `referrals` cuts out a part in patient mode.
    pub(crate) fn new(mode: Mode, seed: u64, rows: &'a [Row], referrals: Range<u64>) -> Self {
        let cast = Cast::new(seed, mode, rows);
        let deployment = setup::deployment(&cast);
        let censuses = if mode == Mode::Batch { censuses::of(rows) } else { Vec::new() };
        Self {
            mode,
            seed,
            rows,
            deployment,
            cast,
            censuses,
            referrals,
            next: 0,
            referred: 0,
            of_row: 0,
        }
    }

    /// Where the contracts are.
    pub(crate) const fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// Who publishes the census of a hospital's rows, by address.
    pub(crate) fn publisher(&self, census: &Census) -> Address {
        let own = census.hospital.as_deref().and_then(|number| self.cast.hospitals.get(number));
        own.unwrap_or(&self.cast.regulator).address
    }

    fn publish(
        &mut self,
        hospital: Option<&str>,
        census: &WaitingLists::publishCensusCall,
    ) -> Unsigned {
        let to = TxKind::Call(self.deployment.address(Contract::WaitingLists));
        self.cast.publisher(hospital).transaction(to, input(census), GAS_LIMIT)
    }

    fn publish_row(&mut self) -> Option<Step> {
        let (subject, row) = (self.next, self.rows.get(self.next)?);
        self.next += 1;
        let hospital = row.hospital.as_ref().map(|hospital| &*hospital.number);
        let census = WaitingLists::publishCensusCall {
            hospital: censuses::word(hospital),
            month: calendar::month_number(row.date),
            root: censuses::stated(row).leaf(0),
            rows: 1,
            total: row.patients.into(),
        };
        Some(Step { subject, unsigned: self.publish(hospital, &census) })
    }

    fn publish_census(&mut self) -> Option<Step> {
        let (subject, census) = (self.next, self.censuses.get(self.next)?);
        self.next += 1;
        let (hospital, call) = (census.hospital.clone(), census.call());
        Some(Step { subject, unsigned: self.publish(hospital.as_deref(), &call) })
    }

    fn refer(&mut self) -> Option<Step> {
        loop {
            let row = self.rows.get(self.next)?;
            let left = u64::from(row.patients) - self.of_row;
            let skipped = self.referrals.start.saturating_sub(self.referred).min(left);
            self.referred += skipped;
            self.of_row += skipped;
            if skipped < left {
                break;
            }
            (self.next, self.of_row) = (self.next + 1, 0);
        }
        if self.referred >= self.referrals.end {
            return None;
        }
        let (subject, number) = (self.next, self.referred);
        self.referred += 1;
        self.of_row += 1;
        Some(Step { subject, unsigned: self.referral(subject, number) })
    }

    /// The referral of that number of a date.
    fn referral(&mut self, row: usize, number: u64) -> Unsigned {
        let row = &self.rows[row];
        let hash = |label: &[u8]| {
            let day = calendar::days_since_1970(row.date);
            let numbers = [self.seed, day, number].map(u64::to_be_bytes).concat();
            keccak256([label, b"/v1".as_slice(), &numbers].concat())
        };
        let (salt, referral, entry) =
            (hash(b"salus/study/salt"), hash(b"salus/study/referral"), hash(b"salus/study/entry"));
        let people = self.cast.patients.len() as u64;
        let patient = usize::try_from(number % people).expect("there are few patients");
        let practice = patient % self.cast.practices.len();
        let hospital = row.hospital.as_ref().map_or(ALL_HOSPITALS, |hospital| &*hospital.number);
        let list = WaitingLists::listCall {
            salt,
            patient: self.cast.patients[patient].address,
            hospital: self.cast.hospitals[hospital].address,
            referral,
            entry,
        };
        let to = TxKind::Call(self.deployment.address(Contract::WaitingLists));
        self.cast.physicians[practice].transaction(to, input(&list), GAS_LIMIT)
    }
}

impl Iterator for Workload<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        match self.mode {
            Mode::Row => self.publish_row(),
            Mode::Patient => self.refer(),
            Mode::Batch => self.publish_census(),
        }
    }
}

fn input(call: &impl SolCall) -> Bytes {
    call.abi_encode().into()
}
