//! What happened to one thing on chain, read back from the contracts' events.

use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::{SolEvent, SolEventInterface};
use bindings::Contract;
use ledger::CallError;

use crate::{Gateway, WorkflowError};

impl Gateway {
    /// The events of one kind about `id`, which is their first topic, in the order of the chain.
    pub(crate) async fn events_of<E: SolEvent>(
        &self,
        contract: Contract,
        id: B256,
    ) -> Result<Vec<E>, WorkflowError> {
        let filter = self.about(contract, id).event_signature(E::SIGNATURE_HASH);
        let logs = self.logs(&filter).await?;
        let events = logs.iter().filter_map(|log| E::decode_log(&log.inner).ok());
        Ok(events.map(|log| log.data).collect())
    }

    /// The same of all kinds that a contract has.
    pub(crate) async fn all_events_of<E: SolEventInterface>(
        &self,
        contract: Contract,
        id: B256,
    ) -> Result<Vec<E>, WorkflowError> {
        let logs = self.logs(&self.about(contract, id)).await?;
        let events = logs.iter().filter_map(|log| E::decode_log(&log.inner).ok());
        Ok(events.map(|log| log.data).collect())
    }

    fn about(&self, contract: Contract, id: B256) -> Filter {
        Filter::new().address(self.at(contract)).topic1(id).from_block(0)
    }

    async fn logs(&self, filter: &Filter) -> Result<Vec<Log>, WorkflowError> {
        Ok(self.gatekeeper.ledger().logs(filter).await.map_err(CallError::from)?)
    }
}
