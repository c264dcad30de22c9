//! Keeping records and anchoring them: what the chain would not take is not kept, and what is kept is told
//! to the chain.

use alloy_primitives::{B256, TxKind};
use bindings::Contract;
use domain::{Anchor, RecordDigest};
use ledger::SendError;
use vault::{Entry, NewRecord, PutError, SealedRecord};

use super::{
    Along, AnchorError, MANIFEST_RECORDS_MAX,
    batches::{store_batch, tree},
    proposals::store_proposal,
    sending::Sent,
    succession::{Succession, anchor_of},
};
use crate::Gatekeeper;

impl Gatekeeper {
    /// Seals first versions, keeps them, and anchors them as one batch; returns what was kept, the
    /// root, and the outcome.
    ///
    /// Records and manifest are stored together, so a crash leaves nothing unexplained.
    ///
    /// # Errors
    ///
    /// [`AnchorError`]. After [`AnchorError::Unsent`] everything is stored, and
    /// [`Gatekeeper::resume_anchoring`] sends the root again.
    ///
    /// # Panics
    ///
    /// When there are no records, or more than [`MANIFEST_RECORDS_MAX`].
    pub async fn put_and_anchor(
        &self,
        records: Vec<NewRecord>,
    ) -> Result<(Vec<Entry>, B256, ledger::Outcome), AnchorError> {
        self.put_and_anchor_along(records, nothing_else()).await
    }

    /// [`Gatekeeper::put_and_anchor`], with rows of other tables stored in the same transaction.
    ///
    /// # Errors
    ///
    /// [`AnchorError`], see there.
    ///
    /// # Panics
    ///
    /// When there are no records, or more than [`MANIFEST_RECORDS_MAX`].
    pub async fn put_and_anchor_along(
        &self,
        records: Vec<NewRecord>,
        along: Along<'_>,
    ) -> Result<(Vec<Entry>, B256, ledger::Outcome), AnchorError> {
        assert!(!records.is_empty() && records.len() <= MANIFEST_RECORDS_MAX);
        let mut batch = self.vault().begin_batch().await?;
        let entries = batch.put_many(records, &mut self.entropy().fork()).await?;
        let anchors: Vec<Anchor> = entries.iter().map(|entry| anchor_of(entry, 0)).collect();
        let root = tree(&anchors).expect("there are records").root();
        store_batch(batch.transaction(), root, &anchors).await?;
        along(batch.transaction()).await?;
        let _turn = self.inner.on_the_way.take(vec![Sent::Root(root)]);
        batch.commit().await?;
        let outcome = self.send_root(root, anchors.len()).await;
        Ok((entries, root, outcome.map_err(AnchorError::after_keeping)?))
    }

    /// Seals one version, keeps it, and proposes it by itself: the first version of a record, or with
    /// `previous` the one after that.
    ///
    /// The chain is asked first whether it would take it, so that a refusal leaves nothing behind. What
    /// is known of the chain must be up to date when `previous` was rejected or erased.
    ///
    /// # Errors
    ///
    /// [`AnchorError`]. After [`AnchorError::Unsent`] the record is kept, and
    /// [`Gatekeeper::resume_anchoring`] sends the proposal again.
    pub async fn put_and_propose(
        &self,
        record: NewRecord,
        previous: Option<&Anchor>,
    ) -> Result<(Anchor, ledger::Outcome), AnchorError> {
        self.put_and_propose_answered(record, previous, nothing_else()).await
    }

    /// [`Gatekeeper::put_and_propose`], with rows of other tables stored in the same transaction. The patient
    /// has to have answered `previous`.
    ///
    /// # Errors
    ///
    /// [`AnchorError`], see there.
    pub async fn put_and_propose_answered(
        &self,
        record: NewRecord,
        previous: Option<&Anchor>,
        along: Along<'_>,
    ) -> Result<(Anchor, ledger::Outcome), AnchorError> {
        let succession = self.succession(previous).await;
        // Whoever did not ask for it does not withdraw anything.
        let succession = Succession { is_pending: false, ..succession };
        self.put_one(record, succession, along).await
    }

    /// [`Gatekeeper::put_and_propose`], with rows of other tables stored in the same transaction. When
    /// the patient has not answered `previous` yet, it is withdrawn by the same call: the patient is
    /// asked about the newest version only.
    ///
    /// # Errors
    ///
    /// [`AnchorError`], see there.
    pub async fn put_and_propose_along(
        &self,
        record: NewRecord,
        previous: Option<&Anchor>,
        along: Along<'_>,
    ) -> Result<(Anchor, ledger::Outcome), AnchorError> {
        let succession = self.succession(previous).await;
        self.put_one(record, succession, along).await
    }

    /// Seals one version and keeps nothing of it: what it will be called on chain is known, so that somebody
    /// can sign for it before it is kept with [`Gatekeeper::keep_and_propose`].
    ///
    /// # Errors
    ///
    /// [`AnchorError::Put`] when it cannot be sealed.
    pub async fn seal(&self, record: NewRecord) -> Result<SealedRecord, AnchorError> {
        Ok(self.vault().seal(record, &mut self.entropy().fork()).await?)
    }

    /// Keeps a version that was sealed before, and proposes it as [`Gatekeeper::put_and_propose_along`] does.
    ///
    /// # Errors
    ///
    /// [`AnchorError`], see there.
    pub async fn keep_and_propose(
        &self,
        sealed: SealedRecord,
        previous: Option<&Anchor>,
        along: Along<'_>,
    ) -> Result<(Anchor, ledger::Outcome), AnchorError> {
        let succession = self.succession(previous).await;
        let gas_limit = self.probe(anchor_of(sealed.entry(), succession.base), &succession).await?;
        self.keep_one(sealed, succession, gas_limit, along).await
    }

    /// Seals versions, keeps them and anchors them, all or none, with rows of other tables: first
    /// versions as one batch, later ones by themselves, each with the anchor before it.
    ///
    /// # Errors
    ///
    /// [`AnchorError`]. After [`AnchorError::Unsent`] all are kept, and
    /// [`Gatekeeper::resume_anchoring`] sends again what is not on chain.
    ///
    /// # Panics
    ///
    /// When there are more than [`MANIFEST_RECORDS_MAX`].
    pub async fn put_all(
        &self,
        records: Vec<(NewRecord, Option<Anchor>)>,
        along: Along<'_>,
    ) -> Result<(), AnchorError> {
        assert!(records.len() <= MANIFEST_RECORDS_MAX);
        let (records, previous): (Vec<_>, Vec<_>) = records.into_iter().unzip();
        let mut successions = Vec::with_capacity(previous.len());
        for (record, previous) in records.iter().zip(&previous) {
            let succession = self.succession(previous.as_ref()).await;
            let gas_limit = match previous {
                Some(_) => self.probe(self.to_be(record, &succession), &succession).await?,
                None => 0,
            };
            successions.push((succession, gas_limit));
        }
        let mut batch = self.vault().begin_batch().await?;
        let entries = batch.put_many(records, &mut self.entropy().fork()).await?;
        let (mut firsts, mut calls) = (Vec::new(), Vec::new());
        for (entry, (succession, gas_limit)) in entries.iter().zip(&successions) {
            let anchor = anchor_of(entry, succession.base);
            match succession.previous {
                None => firsts.push(anchor),
                Some(_) => calls.push((anchor, succession.proposal(&anchor), *gas_limit)),
            }
        }
        let root = tree(&firsts).map(|tree| tree.root());
        if let Some(root) = root {
            store_batch(batch.transaction(), root, &firsts).await?;
        }
        for (anchor, call, _) in &calls {
            store_proposal(batch.transaction(), anchor, call).await?;
        }
        self.forget_sent(batch.transaction()).await?;
        along(batch.transaction()).await?;
        let proposals = calls.iter().map(|(anchor, ..)| (anchor.record, anchor.version));
        let proposals = proposals.map(|(record, version)| Sent::Proposal(record, version));
        let sent = root.map(Sent::Root).into_iter().chain(proposals).collect();
        let _turn = self.inner.on_the_way.take(sent);
        batch.commit().await?;
        let sending = async {
            if let Some(root) = root {
                self.send_root(root, firsts.len()).await?;
            }
            for (anchor, call, gas_limit) in calls {
                self.send_proposal(anchor.record, anchor.version, call, gas_limit).await?;
            }
            Ok(())
        };
        sending.await.map_err(AnchorError::after_keeping)
    }

    async fn put_one(
        &self,
        record: NewRecord,
        succession: Succession,
        along: Along<'_>,
    ) -> Result<(Anchor, ledger::Outcome), AnchorError> {
        let gas_limit = self.probe(self.to_be(&record, &succession), &succession).await?;
        let sealed = self.seal(record).await?;
        self.keep_one(sealed, succession, gas_limit, along).await
    }

    async fn keep_one(
        &self,
        sealed: SealedRecord,
        succession: Succession,
        gas_limit: u64,
        along: Along<'_>,
    ) -> Result<(Anchor, ledger::Outcome), AnchorError> {
        let mut rng = self.entropy().fork();
        let (mut batch, entry) = self.vault().begin_keep(sealed, &mut rng).await?;
        let anchor = anchor_of(&entry, succession.base);
        let call = succession.proposal(&anchor);
        store_proposal(batch.transaction(), &anchor, &call).await?;
        self.forget_sent(batch.transaction()).await?;
        along(batch.transaction()).await?;
        let sent = Sent::Proposal(anchor.record, anchor.version);
        let _turn = self.inner.on_the_way.take(vec![sent]);
        batch.commit().await?;
        let outcome = self.send_proposal(anchor.record, anchor.version, call, gas_limit).await;
        Ok((anchor, outcome.map_err(AnchorError::after_keeping)?))
    }

    /// A record as it will stand on chain, but for its digest.
    fn to_be(&self, record: &NewRecord, succession: &Succession) -> Anchor {
        Anchor {
            record: record.record,
            version: record.version,
            base: succession.base,
            kind: record.kind,
            patient: record.patient,
            steward: self.member(),
            digest: RecordDigest(B256::repeat_byte(1)),
        }
    }

    /// Asks the chain whether it would take a record, before anything of it is kept; returns how much gas that
    /// may use.
    ///
    /// # Errors
    ///
    /// [`PutError::Conflict`] when it is refused and somebody else kept the same version by now: that is why.
    async fn probe(&self, probe: Anchor, succession: &Succession) -> Result<u64, AnchorError> {
        let contract = self.deployment().address(Contract::Records);
        let call = succession.proposal(&probe);
        let refused = match self.sender().gas_limit(TxKind::Call(contract), call).await {
            Err(error @ (SendError::Refused(_) | SendError::Reverted { .. })) => error,
            answer => return Ok(answer?),
        };
        let Anchor { record, version, .. } = probe;
        let versions = self.vault().versions_of(&[record]).await?;
        match versions.into_iter().find(|entry| entry.header.version == version) {
            Some(Entry { digest: kept, .. }) => {
                Err(PutError::Conflict { record, version, kept }.into())
            }
            None => Err(refused.into()),
        }
    }
}

fn nothing_else() -> Along<'static> {
    Box::new(|_| Box::pin(std::future::ready(Ok(()))))
}
