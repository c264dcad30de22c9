//! Do a whole study: read, execute, add up, and write everything that a reader needs into one folder.
//!
//! ```text
//! OUT/
//!   report.html report.md   the report
//!   tables/*.csv README.md  every number in it, and what each column means
//!   figures/*.svg *.png     every picture in it
//!   rejected.csv            rows that could not be read
//!   synthetic.csv           the list, where it was made up
//!   proofs/                 batch mode: every census's tree, to prove rows by
//!   manifest.json           written last: what was read, and the digest of all the rest
//!   work/                   only while it runs: rows by date, and finished segments to resume from
//! ```
//!
//! A folder with anything else in it is left alone.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    execute::{self, ExecuteError},
    figures,
    gather::Gathering,
    lists::{self, ListError, Lists, SYNTHETIC_ROWS, unpacked},
    manifest::{
        Difference, Input, MANIFEST, Manifest, ManifestError, WORK, chain_ends, contracts_digest,
        digest, digests,
    },
    prices::{
        DailyPrices, FixedPrice, Micros, PriceError, Prices, read_ether_prices, read_euro_rates,
        read_gas_prices,
    },
    report::{self, Setup},
    row::{Day, Row},
    tables,
    tally::Mode,
    workload::{DateSize, Source, pending},
};

/// More patients than this are referred only if somebody asks for it: half an hour's work.
pub const PATIENTS_UNASKED: u64 = 1_000_000;

/// What a study is asked for. The same options and files give the same results.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The waiting lists; none for one that is made up.
    pub files: Vec<PathBuf>,
    /// Daily prices, in files.
    pub daily: Option<PriceFiles>,
    /// The price that does not change.
    pub fixed: FixedPrice,
    /// In which modes.
    pub modes: BTreeSet<Mode>,
    /// Whether patient mode is done for all dates, however many patients there are.
    pub every_patient: bool,
    /// How many rows; `None` for those that there are.
    pub rows: Option<u64>,
    /// From what keys, and a list that is made up, are derived.
    pub seed: u64,
    /// Whether the first row that cannot be read stops the study.
    pub strict: bool,
    /// Whether files may overlap.
    pub allow_overlap: bool,
}

/// Files of daily prices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceFiles {
    /// Of gas, in wei.
    pub gas: PathBuf,
    /// Of ether, in dollars.
    pub ether: PathBuf,
    /// Of euros, in dollars.
    pub euro: Option<PathBuf>,
}

/// How a study is carried out. Nothing here changes its results.
#[derive(Clone, Debug)]
pub struct Execution<'a> {
    /// Where everything goes.
    pub out: &'a Path,
    /// Whether to go on from where an earlier run stopped.
    pub resume: bool,
    /// How many chains run beside each other.
    pub jobs: usize,
    /// Set to have it stop soon, with everything that is finished kept for resuming.
    pub stop: &'a AtomicBool,
}

/// What happens, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The files are read.
    Reading,
    /// Patient mode is cut down to one date.
    PatientsOnlyOf {
        /// Which.
        date: Day,
        /// How many referrals that is.
        patients: u64,
        /// How many all would be.
        of: u64,
    },
    /// A mode begins: so many transactions (in batch mode, rows) are to come.
    Begins {
        /// Which.
        mode: Mode,
        /// How many.
        size: u64,
    },
    /// So many more are done.
    Done(u64),
    /// Tables, figures and report are written.
    Writing,
}

/// Why there is no study.
#[derive(Debug, Error)]
pub enum StudyError {
    /// The folder has something else in it.
    #[error("{} is not empty and not an earlier study's; name another folder with --out", .0.display())]
    NotOurs(PathBuf),
    /// An earlier run was asked for something else, so that its results cannot be gone on from.
    #[error("{} was begun with other options or files; run without --resume to begin anew", .0.display())]
    OtherStudy(PathBuf),
    /// There is nothing to resume.
    #[error("{} has no study that was stopped; run without --resume", .0.display())]
    NothingToResume(PathBuf),
    /// The waiting lists could not be read.
    #[error("cannot work on these waiting lists")]
    Lists(#[from] ListError),
    /// Prices could not be read.
    #[error("cannot use the prices in {}", path.display())]
    Prices {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: PriceError,
    },
    /// A transaction did not do what it should.
    #[error("the work could not be executed")]
    Execute(#[from] ExecuteError),
    /// A picture could not be drawn.
    #[error("a figure could not be drawn")]
    Figures(#[from] figures::DrawError),
    /// The manifest could not be read or written.
    #[error("cannot tell what the study was made of")]
    Manifest(#[from] ManifestError),
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

/// What is told of a study that is done.
#[derive(Clone, Debug)]
pub struct Finished {
    /// What came of it.
    pub results: crate::results::Results,
    /// Its manifest.
    pub manifest: Manifest<Options>,
}

/// Does a study and writes it.
///
/// # Errors
///
/// [`StudyError`]. What was finished until then can be gone on from with [`Execution::resume`].
pub fn run(
    options: &Options,
    execution: &Execution<'_>,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<Finished, StudyError> {
    let out = execution.out;
    let work = prepare(execution)?;
    watch(Progress::Reading);
    let (prices, mut inputs) = read_prices(options)?;
    let lists = read_lists(options, out, &work)?;
    if !options.files.is_empty() {
        let input = |source: &crate::results::Source| Input {
            role: "waiting list".into(),
            file: source.file.clone(),
            digest: source.digest,
        };
        inputs.splice(0..0, lists.sources().iter().map(input));
    }
    remember(options, &inputs, execution, &work)?;

    let mut gathering = Gathering::new(prices);
    let mut waiting = Vec::new();
    let mut patients_only_of = None;
    for &mode in &options.modes {
        let only = if mode == Mode::Patient { cut_down(options, &lists) } else { None };
        if let Some((date, patients, of)) = only {
            watch(Progress::PatientsOnlyOf { date, patients, of });
            patients_only_of = Some(date);
        }
        let rows = Selected { lists: &lists, only: only.map(|(date, ..)| date) };
        let segments = work.join("segments").join(tables::mode_name(mode));
        let proofs = out.join("proofs");
        let asked = execute::Options {
            mode,
            seed: options.seed,
            rows: options.rows.filter(|_| only.is_none()),
            jobs: execution.jobs,
            segments: &segments,
            proofs: (mode == Mode::Batch).then_some(&*proofs),
            stop: execution.stop,
        };
        execute::execute(
            &rows,
            &asked,
            &|size| watch(Progress::Begins { mode, size }),
            &|done| watch(Progress::Done(done)),
            &mut |segment| gathering.add(&segment),
        )?;
        waiting.extend(pending(&rows, mode, options.seed)?);
    }
    lists.still_the_same()?;

    watch(Progress::Writing);
    let there: u64 = lists.dates().map(|(_, rows, _)| rows).sum();
    let rounds = options.rows.map_or(1, |rows| rows.div_ceil(there.max(1)).max(1));
    let rounds = u32::try_from(rounds).unwrap_or(u32::MAX);
    let results = gathering.finish(lists.dataset(rounds), waiting);
    let setup = Setup {
        seed: options.seed,
        rows: options.rows,
        patients_only_of,
        overlap_allowed: options.allow_overlap,
        version: env!("CARGO_PKG_VERSION").into(),
        contracts: contracts_digest(),
    };
    write(&results, &setup, out)?;
    let manifest = Manifest {
        setup,
        options: options.clone(),
        inputs,
        chains: chain_ends(&results),
        outputs: digests(out)?,
    };
    manifest.write(out)?;
    fs::remove_dir_all(&work).map_err(|source| StudyError::File { path: work, source })?;
    Ok(Finished { results, manifest })
}

/// Holds the study in `folder` against itself, and against doing it `again`, in a folder that is deleted afterwards.
/// `files` replaces the waiting lists that it names, which may have moved.
///
/// # Errors
///
/// [`StudyError`] when that cannot be done.
pub fn verify(
    folder: &Path,
    files: &[PathBuf],
    again: &Execution<'_>,
    watch: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Difference>, StudyError> {
    let then = Manifest::<Options>::read(folder)?;
    let mut found = then.check_files(folder)?;
    let mut options = then.options.clone();
    if !files.is_empty() {
        options.files = files.to_vec();
    }
    let scratch = again.out;
    let again = run(&options, again, watch);
    fs::remove_dir_all(scratch)
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        .map_err(|source| StudyError::File { path: scratch.to_owned(), source })?;
    found.extend(then.differences(&again?.manifest));
    Ok(found)
}

/// The rows of all dates, or of one.
struct Selected<'a> {
    lists: &'a Lists,
    only: Option<Day>,
}

impl Source for Selected<'_> {
    fn dates(&self) -> Vec<DateSize> {
        let dates =
            self.lists.dates().map(|(date, rows, patients)| DateSize { date, rows, patients });
        dates.filter(|size| self.only.is_none_or(|only| only == size.date)).collect()
    }

    fn rows(&self, date: Day) -> Result<Vec<Row>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.lists.rows(date)?)
    }
}

/// The only date to do in patient mode, how many patients it has, and how many there are; `None` for all.
fn cut_down(options: &Options, lists: &Lists) -> Option<(Day, u64, u64)> {
    let there: u64 = lists.dates().map(|(_, rows, _)| rows).sum();
    let patients: u64 = lists.dates().map(|(.., patients)| patients).sum();
    let rows = options.rows.unwrap_or(there);
    // As many as the rows have on average.
    let asked = u128::from(patients) * u128::from(rows) / u128::from(there.max(1));
    let asked = u64::try_from(asked).unwrap_or(u64::MAX);
    if options.every_patient || asked <= PATIENTS_UNASKED {
        return None;
    }
    let is_papers = |date: &Day| (date.year, date.month) == (2020, 1);
    let (date, _, of_date) = lists.dates().min_by_key(|(date, ..)| (!is_papers(date), *date))?;
    Some((date, of_date, asked))
}

/// Makes the folder ready and returns the one to work in.
fn prepare(execution: &Execution<'_>) -> Result<PathBuf, StudyError> {
    let out = execution.out;
    let failed = |source| StudyError::File { path: out.to_owned(), source };
    let work = out.join(WORK);
    let is_begun = work.join(BEGUN).exists();
    if execution.resume {
        return if is_begun { Ok(work) } else { Err(StudyError::NothingToResume(out.to_owned())) };
    }
    fs::create_dir_all(out).map_err(failed)?;
    let is_empty = fs::read_dir(out).map_err(failed)?.next().is_none();
    if !is_empty && !is_begun && Manifest::<Options>::read(out).is_err() {
        return Err(StudyError::NotOurs(out.to_owned()));
    }
    for name in OURS {
        let path = out.join(name);
        let removed =
            if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
    }
    fs::create_dir_all(&work).map_err(failed)?;
    fs::write(work.join(BEGUN), "{}").map_err(failed)?;
    Ok(work)
}

/// What a study writes; nothing else in a folder is ever touched.
const OURS: [&str; 9] = [
    MANIFEST,
    WORK,
    "report.html",
    "report.md",
    "rejected.csv",
    "synthetic.csv",
    "tables",
    "figures",
    "proofs",
];

/// What a run was begun with, in the folder to work in.
const BEGUN: &str = "begun.json";

/// Writes down what this run works on; when it resumes, it must be the same.
fn remember(
    options: &Options,
    inputs: &[Input],
    execution: &Execution<'_>,
    work: &Path,
) -> Result<(), StudyError> {
    let path = work.join(BEGUN);
    let failed = |source| StudyError::File { path: path.clone(), source };
    let options = Options { files: Vec::new(), daily: None, ..options.clone() };
    let now =
        serde_json::to_string_pretty(&(options, inputs, contracts_digest())).expect("plain data");
    // Stopped before anything was executed, it was begun with nothing yet.
    let then =
        if execution.resume { fs::read_to_string(&path).map_err(failed)? } else { "{}".into() };
    if then != "{}" && then != now {
        return Err(StudyError::OtherStudy(execution.out.to_owned()));
    }
    fs::write(&path, now).map_err(failed)
}

fn read_lists(options: &Options, out: &Path, work: &Path) -> Result<Lists, StudyError> {
    let (rows, rejected) = (work.join("rows"), out.join("rejected.csv"));
    let how = lists::Options {
        work: &rows,
        rejected: &rejected,
        strict: options.strict,
        allow_overlap: options.allow_overlap,
    };
    Ok(if options.files.is_empty() {
        let rows = options.rows.unwrap_or(SYNTHETIC_ROWS);
        Lists::synthetic(options.seed, rows, &out.join("synthetic.csv"), how)?
    } else {
        Lists::gather(&options.files, how)?
    })
}

/// The prices, and the files that they are from.
fn read_prices(options: &Options) -> Result<(Prices, Vec<Input>), StudyError> {
    let mut fixed = options.fixed.clone();
    let Some(files) = &options.daily else {
        return Ok((Prices { fixed, daily: None }, Vec::new()));
    };
    let mut inputs = vec![input("gas price", &files.gas)?, input("ether price", &files.ether)?];
    let gas = read_file(&files.gas, read_gas_prices)?;
    let ether = read_file(&files.ether, read_ether_prices)?;
    let mut euro = None;
    let mut origin = format!("`{}` (gas), `{}` (ether)", inputs[0].file, inputs[1].file);
    if let Some(path) = &files.euro {
        let rates = read_file(path, read_euro_rates)?;
        let input = input("euro rates", path)?;
        origin = format!("{origin} and `{}` (euros)", input.file);
        if let Some((day, rate)) =
            rates.0.last_key_value().filter(|_| fixed.eur_per_ether.is_none())
        {
            let price = u128::from(fixed.usd_per_ether.0) * 1_000_000 / u128::from(rate.0);
            fixed.eur_per_ether = u64::try_from(price).ok().map(Micros);
            fixed.origin += &format!("; euros at the rate of {day}");
        }
        inputs.push(input);
        euro = Some(rates);
    }
    Ok((Prices { fixed, daily: Some(DailyPrices { gas, ether, euro, origin }) }, inputs))
}

fn read_file<T>(
    path: &Path,
    read: impl Fn(Box<dyn io::Read>) -> Result<T, PriceError>,
) -> Result<T, StudyError> {
    let failed = |source| StudyError::File { path: path.to_owned(), source };
    let content = unpacked(File::open(path).map_err(failed)?).map_err(failed)?;
    read(content).map_err(|source| StudyError::Prices { path: path.to_owned(), source })
}

fn input(role: &str, path: &Path) -> Result<Input, StudyError> {
    let failed = |source| StudyError::File { path: path.to_owned(), source };
    let digest = File::open(path).and_then(digest).map_err(failed)?;
    let file = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok(Input { role: role.into(), file, digest })
}

/// Writes tables, figures and report.
fn write(results: &crate::results::Results, setup: &Setup, out: &Path) -> Result<(), StudyError> {
    let write = |name: String, content: &[u8]| {
        let path = out.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::write(&path, content))
            .map_err(|source| StudyError::File { path, source })
    };
    let tables = tables::tables(results);
    for table in &tables {
        write(format!("tables/{}.csv", table.name), table.csv().as_bytes())?;
    }
    write("tables/README.md".into(), tables::guide(&tables).as_bytes())?;
    let figures = figures::draw(results)?;
    for figure in &figures {
        write(format!("figures/{}.svg", figure.name), figure.svg.as_bytes())?;
        write(format!("figures/{}.png", figure.name), &figure.png)?;
    }
    let report = report::report(results, setup, &figures);
    write("report.md".into(), report.markdown.as_bytes())?;
    write("report.html".into(), report.html.as_bytes())
}
