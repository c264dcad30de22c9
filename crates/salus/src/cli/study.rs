//! What can be typed of the cost study.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use study::prices::{Micros, parse_decimal};

/// How to run a study.
#[derive(Clone, Debug, Args)]
pub(crate) struct StudyOptions {
    /// Waiting lists as the NTPF publishes them: CSV, plain or packed by gzip, xz or Zstandard. Without any, a list
    /// is made up from the seed.
    pub(crate) files: Vec<PathBuf>,
    /// Daily gas prices in wei, as Etherscan exports them.
    #[arg(long, value_name = "FILE", requires = "ether_price")]
    pub(crate) gas_price: Option<PathBuf>,
    /// Daily prices of ether in dollars, as Etherscan exports them.
    #[arg(long, value_name = "FILE", requires = "gas_price")]
    pub(crate) ether_price: Option<PathBuf>,
    /// The European Central Bank's daily reference rates (eurofxref-hist).
    #[arg(long, value_name = "FILE", requires = "gas_price")]
    pub(crate) fx: Option<PathBuf>,
    /// The fixed price of gas, in gwei [default: 1.367, of 2 June 2026].
    #[arg(long, value_name = "N", value_parser = gwei, requires = "usd")]
    pub(crate) gwei: Option<u64>,
    /// The fixed price of an ether, in dollars [default: 1857.16, of 2 June 2026].
    #[arg(long, value_name = "N", value_parser = micros, requires = "gwei")]
    pub(crate) usd: Option<Micros>,
    /// The fixed price of an ether, in euros.
    #[arg(long, value_name = "N", value_parser = micros)]
    pub(crate) eur: Option<Micros>,
    /// What becomes one transaction. Left out: all three, but patients of one month only where there are more than
    /// a million.
    #[arg(long)]
    pub(crate) mode: Option<StudyMode>,
    /// Work on so many rows: the first ones, or the dates again and again until there were enough.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) rows: Option<u64>,
    /// The folder for everything that is written. It must be empty, new, or an earlier study's, which is replaced.
    #[arg(long, value_name = "DIR", default_value = "study")]
    pub(crate) out: PathBuf,
    /// From what the keys, and a list that is made up, are derived.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Stop at the first row that cannot be read, instead of listing it in rejected.csv.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Count what several files have several times.
    #[arg(long)]
    pub(crate) allow_overlap: bool,
    /// Go on where an earlier run with the same options stopped.
    #[arg(long)]
    pub(crate) resume: bool,
    /// How many chains run beside each other [default: as many as there are processors].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) jobs: Option<u16>,
    /// Do the study in this folder again and compare every byte. FILES say where its waiting lists are now, if they
    /// were moved. Exits with 1 when something differs.
    #[arg(long, value_name = "DIR", conflicts_with_all = [
        "gas_price", "ether_price", "fx", "gwei", "usd", "eur", "mode", "rows", "seed", "strict", "allow_overlap",
        "resume", "out",
    ])]
    pub(crate) verify: Option<PathBuf>,
}

/// What becomes one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StudyMode {
    /// Each row, as the paper has it.
    Row,
    /// Each patient that a row counts.
    Patient,
    /// Each hospital and month, whose root stands for all its rows.
    Batch,
    /// All three, one after the other, for all patients.
    All,
}

fn gwei(text: &str) -> Result<u64, &'static str> {
    parse_decimal(text, 9).ok_or("expected gwei, with at most nine decimals")
}

fn micros(text: &str) -> Result<Micros, &'static str> {
    parse_decimal(text, 6).map(Micros).ok_or("expected an amount, with at most six decimals")
}
