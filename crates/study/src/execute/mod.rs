//! Executes the work, each segment on a chain of its own, several beside each other.
//!
//! A segment that is finished is written as JSON under its name, whole or not at all, beside what it was made from. So a
//! run that was stopped, by whatever, goes on from there, and what comes out does not depend on where that was, nor on
//! how many threads there are. Rows are held for one segment in each thread, and nothing of them is kept after it.
//!
//! Every receipt must be a success: a transaction that is refused stops the study.

mod machine;
pub mod proofs;
mod segment;
mod shares;
mod split;

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use alloy_primitives::B256;
use serde::{Deserialize, Serialize};

use crate::{
    manifest::contracts_digest,
    row::Day,
    tally::{Mode, Segment},
    workload::{Source, Work, plan},
};

pub use segment::SAMPLED_ROWS;
pub(crate) use segment::{Job, prepare};

/// To be raised when the same rows become other transactions: what was finished before is then made again.
const WORKLOAD_VERSION: u32 = 1;

/// How a mode is executed.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Which mode.
    pub mode: Mode,
    /// From what keys and salts are made.
    pub seed: u64,
    /// How many rows: the dates are done again and again until there were so many. `None` for each once.
    pub rows: Option<u64>,
    /// How many segments run beside each other; at least one does.
    pub jobs: usize,
    /// Where finished segments are, and chains while they run.
    pub segments: &'a Path,
    /// Where the trees go in batch mode.
    pub proofs: Option<&'a Path>,
    /// Set to have the run stop soon, with everything that is finished kept.
    pub stop: &'a AtomicBool,
}

/// Why the work was not executed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// It was asked to stop. What was finished is kept.
    #[error("stopped before everything was executed")]
    Stopped,
    /// Rows cannot be read.
    #[error("the rows of {date} could not be read")]
    Rows {
        /// Of which archive date.
        date: Day,
        /// Why.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A transaction did not succeed.
    #[error("the transaction for {what} was refused: {reason}")]
    Refused {
        /// What it was for.
        what: String,
        /// Why, as far as a receipt tells.
        reason: String,
    },
    /// A transaction costs what its call data costs at the least (EIP-7623), so its gas cannot be split.
    #[error(
        "the transaction for {what} used only the floor for its call data, which cannot be split"
    )]
    Floor {
        /// What it was for.
        what: String,
    },
    /// A row is not in the census that was published of it.
    #[error("row {number} of a census of {date} could not be proven on its chain")]
    Unproven {
        /// The archive date.
        date: Day,
        /// Its number in the census, from 0.
        number: usize,
    },
    /// What was signed here is no transaction.
    #[error("a transaction that was made here is malformed")]
    Malformed(#[source] chain::TransactionError),
    /// A chain could not be begun.
    #[error("a chain could not be begun")]
    Open(#[from] Box<chain::OpenError>),
    /// A block could not be read.
    #[error("a block could not be read")]
    Block(#[from] Box<chain::ReadError>),
    /// A chain stopped.
    #[error("a chain stopped: {reason}")]
    ChainStopped {
        /// Why.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot read or write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ExecuteError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// A finished segment with what it was made from.
#[derive(Serialize, Deserialize)]
struct Finished {
    version: u32,
    contracts: B256,
    seed: u64,
    work: Work,
    segment: Segment,
}

/// Executes a mode's work and gives its segments in their order. What is finished in `options.segments`, of the same
/// work, is taken from there; whether the rows are the same is for the caller to know.
///
/// `begins` is told once how much there is to do, `done` how much more of it is done: transactions, and in batch mode
/// rows.
///
/// # Errors
///
/// [`ExecuteError`]. What was finished until then stays, and the next run goes on from there.
pub fn execute(
    source: &dyn Source,
    options: &Options<'_>,
    begins: &dyn Fn(u64),
    done: &(dyn Fn(u64) + Sync),
    each: &mut dyn FnMut(Segment),
) -> Result<(), ExecuteError> {
    fs::create_dir_all(options.segments).map_err(ExecuteError::file(options.segments))?;
    let run = Run { source, options, contracts: contracts_digest(), done };
    let works = plan(options.mode, &source.dates(), options.rows, |date, rows| {
        let rows = run.rows(date, rows)?;
        Ok::<u64, ExecuteError>(rows.iter().map(|row| u64::from(row.patients)).sum())
    })?;
    let left: Vec<&Work> = works.iter().filter(|work| run.finished(work).is_none()).collect();
    begins(left.iter().map(|work| work.size()).sum());
    run.all(&left)?;
    for work in &works {
        let path = run.path(work);
        let gone = || ExecuteError::file(&path)(io::ErrorKind::InvalidData.into());
        each(run.finished(work).ok_or_else(gone)?);
    }
    Ok(())
}

/// Writes a file that is there whole or not at all.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ExecuteError> {
    let unfinished = path.with_extension("unfinished");
    let written = fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, path));
    written.map_err(ExecuteError::file(path))
}

struct Run<'a> {
    source: &'a dyn Source,
    options: &'a Options<'a>,
    contracts: B256,
    done: &'a (dyn Fn(u64) + Sync),
}

impl Run<'_> {
    fn path(&self, work: &Work) -> PathBuf {
        self.options.segments.join(format!("{}.json", work.name()))
    }

    /// The first rows of a date.
    fn rows(&self, date: Day, rows: u64) -> Result<Vec<crate::row::Row>, ExecuteError> {
        let all = self.source.rows(date).map_err(|source| ExecuteError::Rows { date, source });
        let mut all = all?;
        all.truncate(usize::try_from(rows).unwrap_or(usize::MAX));
        Ok(all)
    }

    /// What was finished of the same work. What is half there, or of other work, counts as not done.
    fn finished(&self, work: &Work) -> Option<Segment> {
        let bytes = fs::read(self.path(work)).ok()?;
        let found: Finished = serde_json::from_slice(&bytes).ok()?;
        let is_same = found.version == WORKLOAD_VERSION
            && found.contracts == self.contracts
            && found.seed == self.options.seed
            && found.work == *work;
        let proofs = self.options.proofs;
        let is_proven = proofs.is_none_or(|proofs| proofs::is_there(proofs, work.date));
        (is_same && is_proven).then_some(found.segment)
    }

    /// Executes on as many threads as asked for.
    fn all(&self, works: &[&Work]) -> Result<(), ExecuteError> {
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let failure: Mutex<Option<(usize, ExecuteError)>> = Mutex::new(None);
        let stops = || failed.load(Ordering::Relaxed) || self.options.stop.load(Ordering::Relaxed);
        let worker = || {
            while !stops() {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some(work) = works.get(place) else { return };
                if let Err(error) = self.one(work) {
                    failed.store(true, Ordering::Relaxed);
                    let mut first = failure.lock().expect("no thread panics with it");
                    if first.as_ref().is_none_or(|(before, _)| place < *before) {
                        *first = Some((place, error));
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..self.options.jobs.min(works.len()) {
                scope.spawn(worker);
            }
            worker();
        });
        match failure.into_inner().expect("no thread panics with it") {
            Some((_, error)) => Err(error),
            None if self.options.stop.load(Ordering::Relaxed) => Err(ExecuteError::Stopped),
            None => Ok(()),
        }
    }

    fn one(&self, work: &Work) -> Result<(), ExecuteError> {
        let rows = self.rows(work.date, work.rows)?;
        let job = Job {
            work,
            rows: &rows,
            seed: self.options.seed,
            scratch: self.options.segments.join(format!("{}.chain", work.name())),
            proofs: self.options.proofs,
            stop: self.options.stop,
            done: self.done,
        };
        let segment = job.execute()?;
        let (version, contracts, seed) = (WORKLOAD_VERSION, self.contracts, self.options.seed);
        let finished = Finished { version, contracts, seed, work: work.clone(), segment };
        let text = serde_json::to_vec(&finished).expect("a segment has a JSON form");
        write_whole(&self.path(work), &text)
    }
}
