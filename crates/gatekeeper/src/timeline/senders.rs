//! Who took a step that its event ascribes to nobody: whoever signed its transaction.
//!
//! The contract lets several take such a step, and its event names none of them. The transaction tells, and is
//! held against the block as the event is: its place is that of the receipt with the event, and the block's
//! header names all transactions.

use alloy_consensus::{
    Transaction as _, TxEnvelope, proofs::calculate_transaction_root,
    transaction::SignerRecoverable as _,
};
use alloy_provider::Provider as _;
use bindings::called;
use ledger::{EndpointError, Projection};

use super::{Actor, CheckedBlock};
use crate::{Gatekeeper, GatekeeperError};

impl Gatekeeper {
    /// The transactions of a block, in their order; none when they are not those that its header names.
    pub(super) async fn transactions_of(
        &self,
        block: &CheckedBlock,
    ) -> Result<Option<Vec<TxEnvelope>>, GatekeeperError> {
        let provider = self.ledger().provider();
        let asked = provider.get_block_by_number(block.number.into()).full().await;
        let Some(found) = asked.map_err(EndpointError::from)? else { return Ok(None) };
        let transactions = found.transactions.into_transactions_vec();
        let transactions: Vec<TxEnvelope> =
            transactions.into_iter().map(|transaction| transaction.inner.into_inner()).collect();
        let same = calculate_transaction_root(&transactions) == block.transactions_root;
        Ok(same.then_some(transactions))
    }

    /// Who sent a transaction: the patient whose account it goes through, or the member who signs with its key
    /// now.
    pub(super) fn sender_of(&self, transaction: &TxEnvelope, projection: &Projection) -> Actor {
        let Some(to) = transaction.to() else { return Actor::Unknown };
        let is_contract = self.deployment().contract_at(&to).is_some();
        if !is_contract && !called(self.deployment(), &to, transaction.input()).is_empty() {
            return Actor::Patient(to);
        }
        let signer = transaction.recover_signer().ok();
        let member = signer.and_then(|signer| projection.registry.member_of(&signer));
        member.filter(|_| is_contract).map_or(Actor::Unknown, Actor::Member)
    }
}
