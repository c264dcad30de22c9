//! What runs out first, and what would have to change for it not to.

use serde::Serialize;

use super::{InputError, Inputs, Layout, YEAR_SECONDS, Year};

/// A resource that can be too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Transactions in a second, of one ledger.
    Transactions,
    /// Gas in a second, of one ledger.
    Gas,
    /// A validator's disk.
    Disk,
    /// A validator's memory.
    Memory,
    /// A validator's link.
    Link,
    /// An institution's reads in a second.
    Reads,
    /// An institution's new records in a second.
    Records,
}

impl Resource {
    /// In words.
    #[must_use]
    pub const fn told(self) -> &'static str {
        match self {
            Self::Transactions => "transactions in a second",
            Self::Gas => "gas in a second",
            Self::Disk => "validators' disk",
            Self::Memory => "validators' memory for the state",
            Self::Link => "validators' link",
            Self::Reads => "reads in a second at an institution",
            Self::Records => "new records in a second at an institution",
        }
    }
}

/// How much of a resource is needed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Load {
    /// Which.
    pub resource: Resource,
    /// What is needed, as a multiple of what is there.
    pub times: f64,
}

/// A change that makes room.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// Anchor so many records in one transaction, by their Merkle root.
    Batch(f64),
    /// So many ledgers, one for each region, each with its root in a common one, as rollups have it.
    Regions(f64),
    /// Keep a year of the log at validators, and the rest in archives.
    Prune,
    /// Keep the state in a store on disk.
    Store,
    /// Let institutions pass blocks on.
    Relay,
    /// So many gateways beside each other at each institution.
    Gateways(f64),
}

impl Remedy {
    /// In words.
    #[must_use]
    pub fn told(self) -> String {
        match self {
            Self::Batch(size) => {
                format!("anchor {size:.0} records in one transaction, by their Merkle root")
            }
            Self::Regions(count) => format!(
                "split into {count:.0} ledgers, one for each region, each with its state root in a common ledger, as \
                 rollups have it"
            ),
            Self::Prune => {
                "keep one year of the log at validators, and the rest in archives".into()
            }
            Self::Store => "keep the state in a store on disk instead of in memory".into(),
            Self::Relay => "let institutions pass blocks on instead of asking validators".into(),
            Self::Gateways(count) => {
                format!("run {count:.0} gateways beside each other at each institution")
            }
        }
    }

    fn apply(self, layout: &mut Layout) {
        match self {
            Self::Batch(size) => layout.batch = size,
            Self::Regions(count) => layout.ledgers = count,
            Self::Prune => layout.prunes = true,
            Self::Store => layout.stores = true,
            Self::Relay => layout.relays = true,
            Self::Gateways(count) => layout.gateways = count,
        }
    }
}

/// A layout on the way to one that holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What was changed to come here; `None` at the beginning: each record in a transaction of its own.
    pub remedy: Option<Remedy>,
    /// What is needed most, compared with what is there.
    pub bottleneck: Load,
    /// All loads, the largest first.
    pub loads: Vec<Load>,
}

/// How full a resource may be, so that it bears a bad day.
const FULL: f64 = 0.7;

/// No plan is longer: each remedy but the counted ones helps once.
const STEPS_MAX: usize = 12;

impl Inputs {
    /// What is needed of each resource, the largest multiple first.
    ///
    /// # Errors
    ///
    /// As [`Inputs::check`] has it.
    pub fn loads(&self) -> Result<Vec<Load>, InputError> {
        Ok(self.loads_of(&self.year()?))
    }

    fn loads_of(&self, year: &Year) -> Vec<Load> {
        let Self { population, layout, engine, .. } = self;
        let per_second = layout.peak / YEAR_SECONDS;
        let at_institution = per_second * population.people / population.institutions;
        let log_years = if layout.prunes { layout.years.min(1.0) } else { layout.years };
        let log = year.log_bytes * log_years / layout.ledgers;
        let state = year.state_bytes / layout.ledgers;
        let (on_disk, in_memory) = if layout.stores { (state, 0.0) } else { (0.0, state) };
        let load = |resource, needed: f64, there: f64| Load { resource, times: needed / there };
        let mut loads = vec![
            load(
                Resource::Transactions,
                year.peak_transactions_per_second,
                engine.transactions_per_second,
            ),
            load(Resource::Gas, year.gas * per_second / layout.ledgers, engine.gas_per_second),
            load(Resource::Disk, log + on_disk, engine.disk_bytes),
            load(Resource::Memory, in_memory, engine.memory_bytes),
            load(Resource::Link, year.validator_bytes_per_second, engine.link_bytes_per_second),
            load(
                Resource::Reads,
                at_institution * population.reads,
                engine.gateway_reads_per_second * layout.gateways,
            ),
            load(
                Resource::Records,
                at_institution * population.records,
                engine.vault_puts_per_second * layout.gateways,
            ),
        ];
        loads.sort_by(|one, other| {
            other.times.total_cmp(&one.times).then(one.resource.cmp(&other.resource))
        });
        loads
    }

    /// What would help against a bottleneck.
    fn remedy(&self, load: Load, batch: f64) -> Remedy {
        let layout = &self.layout;
        let regions = Remedy::Regions((layout.ledgers * load.times / FULL).ceil());
        match load.resource {
            Resource::Reads | Resource::Records => {
                Remedy::Gateways((layout.gateways * load.times / FULL).ceil())
            }
            Resource::Memory => Remedy::Store,
            _ if layout.batch < batch => Remedy::Batch(batch),
            Resource::Disk if !layout.prunes => Remedy::Prune,
            Resource::Link if !layout.relays => Remedy::Relay,
            Resource::Disk | Resource::Link | Resource::Transactions | Resource::Gas => regions,
        }
    }
}

/// From each record in a transaction of its own to a layout that holds: what runs out first at each step, and what is
/// changed then. The last step's bottleneck is below 1, unless nothing more helps.
///
/// # Errors
///
/// As [`Inputs::check`] has it.
pub fn steps(inputs: &Inputs) -> Result<(Vec<Step>, Layout), InputError> {
    inputs.check()?;
    let batch = inputs.layout.batch;
    let mut now = inputs.clone();
    now.layout.batch = 1.0;
    let mut steps = Vec::new();
    let mut remedy = None;
    while steps.len() < STEPS_MAX {
        let loads = now.loads_of(&now.computed());
        let bottleneck = loads[0];
        steps.push(Step { remedy, bottleneck, loads });
        if bottleneck.times <= 1.0 {
            break;
        }
        let next = now.remedy(bottleneck, batch);
        next.apply(&mut now.layout);
        remedy = Some(next);
    }
    Ok((steps, now.layout))
}
