//! What a step did on chain.

use alloy_primitives::B256;
use domain::Timestamp;
use ledger::Outcome;
use serde::Serialize;

/// One step of a workflow that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Who did it, as people call them.
    pub actor: String,
    /// What they did.
    pub what: String,
    /// The operation, by the name under which its gas is listed.
    pub operation: &'static str,
    /// In which block.
    pub block: u64,
    /// In which transaction.
    pub transaction: B256,
    /// What it used, in gas.
    pub gas_used: u64,
    /// When.
    pub time: Timestamp,
}

impl Step {
    /// A step that a transaction carried out.
    #[must_use]
    pub fn new(
        actor: impl Into<String>,
        what: impl Into<String>,
        operation: &'static str,
        outcome: &Outcome,
    ) -> Self {
        Self {
            actor: actor.into(),
            what: what.into(),
            operation,
            block: outcome.block(),
            transaction: outcome.hash(),
            gas_used: outcome.gas_used(),
            time: Timestamp(outcome.time),
        }
    }
}
