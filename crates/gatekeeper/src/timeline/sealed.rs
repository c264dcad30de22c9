//! The records that the steps of a workflow sealed: their events name digests, and by these the records are found.

use std::collections::BTreeSet;

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::SolEvent as _;
use bindings::{
    Contract,
    Records::{RecordMaterialised, RecordProposed},
};

use crate::{Gatekeeper, GatekeeperError};

impl Gatekeeper {
    /// What happened to the records of which some events name a digest and the patient.
    pub(super) async fn sealed_by(
        &self,
        logs: impl Iterator<Item = &Log>,
    ) -> Result<Vec<Log>, GatekeeperError> {
        let named: BTreeSet<B256> = logs.flat_map(words).collect();
        let people: Vec<B256> = named.iter().copied().filter(is_address).collect();
        if people.is_empty() {
            return Ok(Vec::new());
        }
        let records = Filter::new().address(self.deployment().address(Contract::Records));
        let anchored = records
            .clone()
            .event_signature(vec![
                RecordProposed::SIGNATURE_HASH,
                RecordMaterialised::SIGNATURE_HASH,
            ])
            .topic2(people)
            .from_block(0);
        let anchored = self.ledger().logs(&anchored).await?;
        let sealed =
            anchored.iter().filter(|log| digest(log).is_some_and(|of| named.contains(&of)));
        let sealed: BTreeSet<B256> =
            sealed.filter_map(|log| log.topics().get(1).copied()).collect();
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        let sealed = sealed.into_iter().collect::<Vec<_>>();
        Ok(self.ledger().logs(&records.topic1(sealed).from_block(0)).await?)
    }
}

/// Every word of an event: digests, addresses and numbers are a word each.
fn words(log: &Log) -> Vec<B256> {
    let data = log.data().data.chunks_exact(32).map(B256::from_slice);
    log.topics().iter().copied().chain(data).collect()
}

fn is_address(word: &B256) -> bool {
    Address::from_word(*word).into_word() == *word && !word.is_zero()
}

fn digest(log: &Log) -> Option<B256> {
    let proposed = RecordProposed::decode_log(&log.inner).map(|event| event.data.digest);
    proposed
        .or_else(|_| RecordMaterialised::decode_log(&log.inner).map(|event| event.data.digest))
        .ok()
}
