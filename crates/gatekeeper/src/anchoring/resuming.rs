//! Going on after a crash, or once the chain can be reached again: what is stored and not on chain is sent,
//! and what the chain refuses for good is given up.

use alloy_eips::BlockId;
use alloy_primitives::{Bytes, TxKind};
use bindings::{Contract, ContractError, Records, convert::to_anchor};
use domain::{RecordId, RecordVersion, Timestamp};
use ledger::{CallError, SendError};
use vault::{ErasureOrder, ErasureReason, StoreError};

use super::{AnchorError, batches::StoredBatch, sending::Sent, succession::anchor_of};
use crate::Gatekeeper;

/// What came of what was left between vault and chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// How many batches and proposals are on chain now.
    pub sent: usize,
    /// Versions that the chain refuses for good. Nobody was ever told that they were kept, so they are
    /// not: they were erased, as if they had been refused at once.
    pub given_up: Vec<(RecordId, RecordVersion)>,
}

impl Gatekeeper {
    /// Sends what was stored and did not reach the chain, because of a crash or because the chain could not
    /// be reached: roots of batches, and proposals. What others are sending at this moment is left to them.
    /// What is known of the chain must be up to date.
    ///
    /// What the chain refuses for good, such as a proposal to a patient who has left, is given up: it
    /// must neither hold up the others nor come back for ever.
    ///
    /// # Errors
    ///
    /// The first [`AnchorError`], after everything else was tried. Trying again continues.
    pub async fn resume_anchoring(&self) -> Result<Resumed, AnchorError> {
        let mut resumed = Resumed::default();
        let mut failed = None;
        if self.inner.on_the_way.has_sent() {
            let mut transaction = self.vault().database().share().await?;
            self.forget_sent(&mut transaction).await?;
            transaction.commit().await?;
        }
        for batch in self.batches().await? {
            // Of a batch that is not whole nobody knows any more what it anchors.
            if batch.transaction.is_none() && batch.is_whole() {
                let turn = self.inner.on_the_way.take(vec![Sent::Root(batch.root)]);
                let Some(_turn) = turn else { continue };
                match self.resume_batch(&batch).await {
                    Ok(()) => resumed.sent += 1,
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
        }
        for (record, version, call) in self.proposals().await? {
            let turn = self.inner.on_the_way.take(vec![Sent::Proposal(record, version)]);
            let Some(_turn) = turn else { continue };
            match self.resume_proposal(record, version, call).await {
                Ok(true) => resumed.sent += 1,
                Ok(false) => resumed.given_up.push((record, version)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(resumed), Err)
    }

    async fn resume_batch(&self, batch: &StoredBatch) -> Result<(), AnchorError> {
        let on_chain = {
            let projection = self.inner.projection.read().await;
            let found = projection.records.batch(self.member(), batch.root);
            found.map(|batch| batch.moment.transaction)
        };
        match on_chain {
            Some(transaction) => Ok(self.note_anchored(batch.root, transaction).await?),
            None => self.send_root(batch.root, batch.anchors.len()).await.map(drop),
        }
    }

    /// Sends a proposal, or gives it up; returns whether it is on chain.
    async fn resume_proposal(
        &self,
        record: RecordId,
        version: RecordVersion,
        call: Bytes,
    ) -> Result<bool, AnchorError> {
        let on_chain = {
            let projection = self.inner.projection.read().await;
            projection.records.anchor(self.member(), record, version.get()).is_some()
        };
        if on_chain {
            self.forget_proposal(record, version).await?;
            return Ok(true);
        }
        // Erased and still listed: giving it up was interrupted.
        let is_erased = self.vault().erasure_receipt(record, version).await?.is_some();
        if !is_erased {
            // What was pending then may be answered by now.
            let call = self.proposal_now(record, version).await?.unwrap_or(call);
            let contract = TxKind::Call(self.deployment().address(Contract::Records));
            let sent = match self.sender().gas_limit(contract, call.clone()).await {
                Ok(gas_limit) => self.send_proposal(record, version, call, gas_limit).await,
                Err(error) => Err(error.into()),
            };
            match sent {
                Err(AnchorError::Send(SendError::Refused(reason))) if is_for_good(&reason) => {
                    // Sent before and not final yet, it is refused like any other.
                    if self.is_on_its_way(record, version).await? {
                        return Ok(true);
                    }
                }
                sent => return sent.map(|_| true),
            }
            self.erase_unanchored(record, version).await?;
        }
        self.forget_proposal(record, version).await?;
        Ok(false)
    }

    /// The call that proposes a version as the chain stands now; `None` when the version is not here, or
    /// the one before it not on chain.
    async fn proposal_now(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<Option<Bytes>, AnchorError> {
        let kept = self.vault().versions_of(&[record]).await?;
        let Some(entry) = kept.iter().find(|entry| entry.header.version == version) else {
            return Ok(None);
        };
        let before = RecordVersion::try_from(version.get() - 1).ok();
        let previous = match before {
            None => None,
            Some(before) => match self.included(record, before).await? {
                None => return Ok(None),
                Some((anchor, _)) => Some(anchor),
            },
        };
        let succession = self.succession(previous.as_ref()).await;
        Ok(Some(succession.proposal(&anchor_of(entry, succession.base))))
    }

    /// Whether the chain holds a version in a block that may not be final, or is about to.
    async fn is_on_its_way(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<bool, AnchorError> {
        let kept = self.vault().versions_of(&[record]).await?;
        let Some(entry) = kept.iter().find(|entry| entry.header.version == version) else {
            return Ok(false);
        };
        let before = self.proposed_base(record, version).await?;
        let contract = self.deployment().address(Contract::Records);
        for base in before {
            let state = Records::stateOfCall { anchor: to_anchor(&anchor_of(entry, base)) };
            for block in [BlockId::latest(), BlockId::pending()] {
                let found = self.ledger().call(contract, &state, block).await;
                let found = found.map_err(|error| match error {
                    CallError::Reverted(reason) => SendError::Refused(reason),
                    CallError::Endpoint(error) => SendError::Endpoint(error),
                })?;
                if found != 0 {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The versions that a version may have been proposed to replace.
    async fn proposed_base(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<Vec<u32>, StoreError> {
        let Ok(before) = RecordVersion::try_from(version.get() - 1) else { return Ok(vec![0]) };
        let mut bases = vec![0, before.get()];
        if let Some((anchor, _)) = self.included(record, before).await? {
            bases.push(anchor.base);
        }
        Ok(bases)
    }

    /// Erases a version that never reached the chain.
    async fn erase_unanchored(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<(), AnchorError> {
        let known = self.inner.projection.read().await.cursor();
        let at = Timestamp(known.map_or(0, |cursor| cursor.time));
        let order = ErasureOrder { by: self.member(), reason: ErasureReason::KeptInError, at };
        self.vault().erase(record, version, order, &mut self.entropy().fork()).await?;
        Ok(())
    }
}

/// Whether the chain will refuse the same proposal for ever, or until a patient who has left comes back.
/// Whatever is about the institution itself or its key passes, and so does what awaits the patient. A
/// place that is taken is taken by this very proposal, sent before and not final yet.
const fn is_for_good(reason: &ContractError) -> bool {
    use bindings::{Records::RecordsErrors as Reason, Relationships::RelationshipsErrors};
    matches!(
        reason,
        // The relationships have an error of the same name and fields, which is decoded first.
        ContractError::Relationships(RelationshipsErrors::NotActive(_))
            | ContractError::Records(
                Reason::NotActive(_)
                    | Reason::NotNext(_)
                    | Reason::OtherRecord(_)
                    | Reason::InvalidAnchor(_)
            )
    )
}
