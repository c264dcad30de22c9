//! What can be typed after `salus simulate`.

use std::path::PathBuf;

use clap::Args;

/// What to work out on paper. Every figure that is given holds for each of the presets.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScaleOptions {
    /// For whom: city, ireland, eu, world; all of them when left out. Can be given several times.
    #[arg(long, value_parser = ["city", "ireland", "eu", "world"])]
    pub(crate) preset: Vec<String>,
    /// How many people have records.
    #[arg(long)]
    pub(crate) people: Option<f64>,
    /// How many institutions have a vault.
    #[arg(long)]
    pub(crate) institutions: Option<f64>,
    /// Records made for each person in a year.
    #[arg(long)]
    pub(crate) records: Option<f64>,
    /// Reads of each person's records in a year.
    #[arg(long)]
    pub(crate) reads: Option<f64>,
    /// Consents that each person gives or withdraws in a year.
    #[arg(long)]
    pub(crate) signatures: Option<f64>,
    /// The share of people who join in a year, as in 0.02.
    #[arg(long)]
    pub(crate) joining: Option<f64>,
    /// Records that one transaction anchors.
    #[arg(long)]
    pub(crate) batch: Option<f64>,
    /// Receipts that one transaction anchors.
    #[arg(long)]
    pub(crate) receipts: Option<f64>,
    /// Vaults that hold each record.
    #[arg(long)]
    pub(crate) copies: Option<f64>,
    /// Years over which logs and state grow.
    #[arg(long)]
    pub(crate) years: Option<f64>,
    /// How many times the average the busiest second has.
    #[arg(long)]
    pub(crate) peak: Option<f64>,
    /// Seconds from one block to the next.
    #[arg(long)]
    pub(crate) block_seconds: Option<f64>,
    /// Validators of one ledger.
    #[arg(long)]
    pub(crate) validators: Option<f64>,
    /// Transactions that a ledger takes in a second.
    #[arg(long)]
    pub(crate) transactions_per_second: Option<f64>,
    /// Gas that a ledger takes in a second.
    #[arg(long)]
    pub(crate) gas_per_second: Option<f64>,
    /// Bytes that a validator's link carries in a second.
    #[arg(long)]
    pub(crate) link_bytes_per_second: Option<f64>,
    /// Bytes of a sealed record.
    #[arg(long)]
    pub(crate) record_bytes: Option<f64>,
    /// Figures that were measured elsewhere: a JSON object with the names that `--json` shows under `engine`. Flags
    /// override it.
    #[arg(long)]
    pub(crate) measured: Option<PathBuf>,
    /// The gas price on a public chain, in gwei.
    #[arg(long, default_value_t = crate::price::Price::default().gwei)]
    pub(crate) gwei: f64,
    /// The price of ether, in dollars.
    #[arg(long, default_value_t = crate::price::Price::default().usd_per_ether)]
    pub(crate) usd: f64,
    /// Print JSON, with all that went in.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the figures to this file, as CSV.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
}
