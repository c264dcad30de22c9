//! Work out on paper what a city, a country, or the world would take: chain, storage, bandwidth, money.
//!
//! Nothing runs here: measured figures of this build ([`Engine`], `contracts/gas.json`) are multiplied by how many
//! people do how much. What the paper cannot tell, it does not: agreement between distant validators, days on which
//! everything fails, and prices of hardware. A year has 365 days. All results are averages over a year, except where
//! a peak is meant, which is the average times [`Layout::peak`].
//!
//! ```text
//! joining      people * joining * 3 transactions (account, relationship proposed, accepted)
//! signatures   people * signatures, each a consent by a passkey
//! anchors      institutions * ceil(people * records / institutions / batch)
//! appends      institutions * ceil(people * reads / institutions / receipts)
//! gas          the sum of each count times its operation's gas
//! log          transactions * (call data + log_bytes_per_transaction) + blocks * log_bytes_per_block
//! blocks       min(transactions, year / block_seconds): a ledger without work makes none
//! state        (people * 7 + years * new slots) * state_bytes_per_slot
//! vaults       people * (records * record_bytes * copies + reads * receipt_bytes)
//! money        gas * price of gas * price of ether, on a public chain only
//! ```

mod engine;
mod limits;

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use engine::{ENGINE_SOURCES, Engine};
pub use limits::{Load, Remedy, Resource, Step, steps};

/// Seconds of a year.
pub const YEAR_SECONDS: f64 = 365.0 * 86_400.0;

/// The gas that Ethereum's main network executes in a second: 60 million in a block of 12 seconds.
///
/// # Source
///
/// The gas limit of blocks since November 2025; EIP-7935.
pub const PUBLIC_GAS_PER_SECOND: f64 = 60e6 / 12.0;

/// What each operation uses, measured by `cargo xtask gas`.
const OPERATIONS: &str = include_str!("../../../../contracts/gas.json");

/// Accounts and storage slots that somebody who joins takes, about: the account's code, signer, nonce and guardians, its place
/// in the factory, the relationship, and the first consent.
const SLOTS_TO_JOIN: f64 = 7.0;

/// Slots that a consent or a batch of records takes.
const SLOTS_TO_SIGN: f64 = 1.0;

/// Who takes part, and what they do in a year.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Population {
    /// What it is called.
    pub name: String,
    /// People with records.
    pub people: f64,
    /// Institutions with a vault.
    pub institutions: f64,
    /// Records that are made for each person in a year.
    pub records: f64,
    /// Reads of each person's records in a year, each with a receipt.
    pub reads: f64,
    /// Consents that each person gives or withdraws in a year.
    pub signatures: f64,
    /// The share of people who join in a year.
    pub joining: f64,
}

/// How the work is laid out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// Records that one transaction anchors.
    pub batch: f64,
    /// Receipts that one transaction anchors.
    pub receipts: f64,
    /// Vaults that hold each record.
    pub copies: f64,
    /// Years over which logs and state grow.
    pub years: f64,
    /// How many times the average the busiest second has.
    pub peak: f64,
    /// Ledgers, each for a region with its share of people and institutions.
    pub ledgers: f64,
    /// Gateways of an institution beside each other.
    pub gateways: f64,
    /// Whether validators keep one year of their log and leave the rest to archives.
    pub prunes: bool,
    /// Whether the state is in a store on disk instead of in memory.
    pub stores: bool,
    /// Whether institutions pass blocks on among each other instead of each asking a validator.
    pub relays: bool,
}

impl Default for Layout {
    fn default() -> Self {
        Self {
            batch: 1_000.0,
            receipts: 10_000.0,
            copies: 2.0,
            years: 10.0,
            peak: 3.0,
            ledgers: 1.0,
            gateways: 1.0,
            prunes: false,
            stores: false,
            relays: false,
        }
    }
}

/// What gas costs on a public chain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// In gwei.
    pub gwei: f64,
    /// US dollars for an ether.
    pub usd_per_ether: f64,
}

/// A figure that cannot be.
#[derive(Debug, Error, PartialEq)]
pub enum InputError {
    /// Not a number above zero.
    #[error("`{name}` must be a number above 0")]
    NotPositive {
        /// Which figure.
        name: &'static str,
    },
    /// Negative, or no number.
    #[error("`{name}` must be 0 or a number above it")]
    Negative {
        /// Which figure.
        name: &'static str,
    },
    /// More than can be meant.
    #[error("`{name}` must not be above {most}")]
    TooLarge {
        /// Which figure.
        name: &'static str,
        /// The most it may be.
        most: f64,
    },
}

/// More of anything than this is a slip: a hundred times the people there are, each with a record a second.
const MOST: f64 = 1e15;

/// What a year takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Year {
    /// Transactions by which people join.
    pub joining: f64,
    /// Consents given or withdrawn.
    pub signatures: f64,
    /// Batches of records, or records where they are anchored alone.
    pub anchors: f64,
    /// Batches of receipts.
    pub appends: f64,
    /// All transactions.
    pub transactions: f64,
    /// Blocks of all ledgers.
    pub blocks: f64,
    /// Gas of all transactions.
    pub gas: f64,
    /// Bytes by which the block logs grow.
    pub log_bytes: f64,
    /// Bytes of the state after [`Layout::years`].
    pub state_bytes: f64,
    /// Bytes by which all vaults grow.
    pub vault_bytes: f64,
    /// Bytes by which one institution's vault grows.
    pub institution_vault_bytes: f64,
    /// Seconds from a record's making to its anchor, at most: until a batch is full.
    pub anchor_wait_seconds: f64,
    /// Transactions in the busiest second, on one ledger.
    pub peak_transactions_per_second: f64,
    /// Bytes that a validator sends in the busiest second.
    pub validator_bytes_per_second: f64,
    /// Bytes that an institution sends and receives in the busiest second: blocks, copies, and what is read.
    pub institution_bytes_per_second: f64,
    /// Seconds that it takes until everybody has an account, at the measured rate.
    pub onboarding_seconds: f64,
    /// The year's gas in ether, on a public chain.
    pub ether: f64,
    /// The same in US dollars.
    pub usd: f64,
    /// The same as a share of all gas that Ethereum's main network executes.
    pub public_share: f64,
}

/// Everything that a simulation works with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    /// Who does how much.
    pub population: Population,
    /// How it is laid out.
    pub layout: Layout,
    /// What one ledger, vault and gateway can do.
    pub engine: Engine,
    /// What gas would cost.
    pub price: Price,
}

/// An operation's gas, and the bytes of its call data.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Operation {
    gas: f64,
    calldata_bytes: f64,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    #[serde(flatten)]
    operation: Operation,
}

/// The operation that is listed under this name.
fn operation(name: &str) -> Operation {
    static LISTED: LazyLock<BTreeMap<String, Operation>> = LazyLock::new(|| {
        let listed: Vec<Listed> =
            serde_json::from_str(OPERATIONS).expect("the committed table is read by a test");
        listed.into_iter().map(|listed| (listed.name, listed.operation)).collect()
    });
    *LISTED.get(name).expect("a test looks every name up")
}

/// Who might take part: a city, Ireland, the European Union, the world.
///
/// # Source
///
/// People: round numbers of 2025. Institutions: practices, pharmacies and hospitals at the rate of Ireland's (some 3,500
/// for 5.3 million), rounded. Records and reads: 6 visits to a doctor in a year (OECD, Health at a Glance 2023), of which
/// each leaves 5 records and 10 reads; that, consents and joining are chosen.
#[must_use]
pub fn presets() -> Vec<Population> {
    let of = |name: &str, people, institutions| Population {
        name: name.into(),
        people,
        institutions,
        records: 30.0,
        reads: 60.0,
        signatures: 4.0,
        joining: 0.02,
    };
    vec![
        of("city", 100e3, 66.0),
        of("ireland", 5.3e6, 3_500.0),
        of("eu", 450e6, 300e3),
        of("world", 8.1e9, 5.4e6),
    ]
}

impl Inputs {
    /// # Errors
    ///
    /// [`InputError`] where a figure is negative, no number, zero where something is divided by it, or absurd.
    pub fn check(&self) -> Result<(), InputError> {
        let (population, layout) = (&self.population, &self.layout);
        let counts = [
            ("people", population.people),
            ("institutions", population.institutions),
            ("batch", layout.batch),
            ("receipts", layout.receipts),
            ("copies", layout.copies),
            ("years", layout.years),
            ("peak", layout.peak),
            ("ledgers", layout.ledgers),
            ("gateways", layout.gateways),
        ];
        for (name, value) in counts.into_iter().chain(self.engine.named()) {
            if !(value.is_finite() && value > 0.0) {
                return Err(InputError::NotPositive { name });
            }
            if value > MOST {
                return Err(InputError::TooLarge { name, most: MOST });
            }
        }
        let rates = [
            ("records", population.records),
            ("reads", population.reads),
            ("signatures", population.signatures),
            ("joining", population.joining),
            ("gwei", self.price.gwei),
            ("usd", self.price.usd_per_ether),
        ];
        for (name, value) in rates {
            if !(value.is_finite() && value >= 0.0) {
                return Err(InputError::Negative { name });
            }
            if value > MOST {
                return Err(InputError::TooLarge { name, most: MOST });
            }
        }
        Ok(())
    }

    /// What a year takes.
    ///
    /// # Errors
    ///
    /// As [`Inputs::check`] has it.
    pub fn year(&self) -> Result<Year, InputError> {
        self.check()?;
        Ok(self.computed())
    }

    /// The year of figures that were checked.
    fn computed(&self) -> Year {
        let Self { population, layout, engine, price } = self;
        let records = population.people * population.records;
        let reads = population.people * population.reads;
        let joined = population.people * population.joining;
        let each = |all: f64, together: f64| {
            population.institutions * (all / population.institutions / together).ceil()
        };
        let anchor = if layout.batch > 1.0 { "record.anchor-batch" } else { "record.propose" };
        let work = [
            (joined, operation("account.create")),
            (joined, operation("relationship.propose")),
            (joined, operation("relationship.accept")),
            (population.people * population.signatures, operation("consent.grant")),
            (each(records, layout.batch), operation(anchor)),
            (each(reads, layout.receipts), operation("access-log.append")),
        ];
        let sum = |of: fn(&Operation) -> f64| -> f64 {
            work.iter().map(|(count, operation)| count * of(operation)).sum()
        };
        let transactions = sum(|_| 1.0);
        let gas = sum(|operation| operation.gas);
        let calldata = sum(|operation| operation.calldata_bytes);
        let blocks = transactions.min(layout.ledgers * YEAR_SECONDS / engine.block_seconds);
        let sent = calldata + transactions * engine.log_bytes_per_transaction;
        let log_bytes = sent + blocks * engine.log_bytes_per_block;
        let (signatures, anchors, appends) = (work[3].0, work[4].0, work[5].0);
        let slots = population.people * SLOTS_TO_JOIN
            + layout.years * (joined * SLOTS_TO_JOIN + (signatures + anchors) * SLOTS_TO_SIGN);
        let per_second = layout.peak / YEAR_SECONDS;
        let block_bytes_per_second = log_bytes * per_second / layout.ledgers;
        // The proposer sends a block to the other validators; institutions ask the validators for it, or each other.
        let followers = if layout.relays {
            0.0
        } else {
            population.institutions / layout.ledgers / engine.validators
        };
        let records_bytes = records * engine.record_bytes;
        let institution_traffic = (records_bytes * (layout.copies - 1.0).max(0.0) * 2.0
            + reads * engine.record_bytes)
            / population.institutions;
        let vault_bytes = records_bytes * layout.copies + reads * engine.receipt_bytes;
        let ether = gas * price.gwei * 1e-9;
        Year {
            joining: joined * 3.0,
            signatures,
            anchors,
            appends,
            transactions,
            blocks,
            gas,
            log_bytes,
            state_bytes: slots * engine.state_bytes_per_slot,
            vault_bytes,
            institution_vault_bytes: vault_bytes / population.institutions,
            anchor_wait_seconds: if anchors > 0.0 {
                YEAR_SECONDS * population.institutions / anchors
            } else {
                0.0
            },
            peak_transactions_per_second: transactions * per_second / layout.ledgers,
            validator_bytes_per_second: block_bytes_per_second
                * (engine.validators - 1.0 + followers),
            institution_bytes_per_second: block_bytes_per_second
                * if layout.relays { 2.0 } else { 1.0 }
                + institution_traffic * per_second,
            onboarding_seconds: population.people * 3.0
                / layout.ledgers
                / engine.transactions_per_second,
            ether,
            usd: ether * price.usd_per_ether,
            public_share: gas / YEAR_SECONDS / PUBLIC_GAS_PER_SECOND,
        }
    }
}

#[cfg(test)]
mod tests;
