//! Sending, each thing by one at a time: what somebody sends at present, nobody else sends too.

use std::collections::HashSet;

use alloy_primitives::{B256, Bytes, TxKind, U256};
use bindings::{Contract, Records};
use domain::{RecordId, RecordVersion};
use parking_lot::Mutex;

use super::AnchorError;
use crate::Gatekeeper;

/// What is on its way to the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sent {
    Root(B256),
    Proposal(RecordId, RecordVersion),
}

/// What is on its way at present, so that nobody else sends it too.
#[derive(Debug, Default)]
pub(crate) struct OnTheWay {
    taken: Mutex<HashSet<Sent>>,
    /// Proposals that are on chain and still listed as to be sent.
    sent: Mutex<Vec<(RecordId, RecordVersion)>>,
}

/// The turn of the one who sends something, until it is dropped.
pub(super) struct Turn<'a> {
    on_the_way: &'a OnTheWay,
    sent: Vec<Sent>,
}

impl OnTheWay {
    /// The turn to send all of these, unless somebody else has that of one.
    pub(super) fn take(&self, sent: Vec<Sent>) -> Option<Turn<'_>> {
        let mut taken = self.taken.lock();
        if sent.iter().any(|sent| taken.contains(sent)) {
            return None;
        }
        taken.extend(&sent);
        Some(Turn { on_the_way: self, sent })
    }

    fn note_sent(&self, record: RecordId, version: RecordVersion) {
        self.sent.lock().push((record, version));
    }

    /// Whether any proposal is on chain and still listed as to be sent.
    pub(super) fn has_sent(&self) -> bool {
        !self.sent.lock().is_empty()
    }

    pub(super) fn take_sent(&self) -> Vec<(RecordId, RecordVersion)> {
        std::mem::take(&mut *self.sent.lock())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut taken = self.on_the_way.taken.lock();
        self.sent.iter().for_each(|sent| {
            taken.remove(sent);
        });
    }
}

impl Gatekeeper {
    pub(super) async fn send_root(
        &self,
        root: B256,
        count: usize,
    ) -> Result<ledger::Outcome, AnchorError> {
        let count = u32::try_from(count).expect("a batch is bounded");
        let call = Records::anchorBatchCall { root, count };
        let records = self.deployment().address(Contract::Records);
        let outcome = self.sender().send(records, &call).await?;
        self.note_anchored(root, outcome.hash()).await?;
        Ok(outcome)
    }

    pub(super) async fn send_proposal(
        &self,
        record: RecordId,
        version: RecordVersion,
        call: Bytes,
        gas_limit: u64,
    ) -> Result<ledger::Outcome, AnchorError> {
        let contract = TxKind::Call(self.deployment().address(Contract::Records));
        let hash = self.sender().submit_within(contract, call, U256::ZERO, gas_limit).await?;
        let outcome = self.sender().outcome(hash).await?;
        self.inner.on_the_way.note_sent(record, version);
        Ok(outcome)
    }
}
