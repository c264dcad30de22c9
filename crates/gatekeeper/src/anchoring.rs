//! Anchors many records at once: their Merkle root goes on chain, what the leaves are made of stays
//! here.
//!
//! A **manifest** lists the anchors of a batch, in the order of its leaves. It is stored before the
//! root is sent, so that a crash in between leaves nothing unexplained: what is stored and not on
//! chain is sent again.
//!
//! # Manifest format
//!
//! ```text
//! anchors x  record [32] | version u32 | base u32 | kind u8 | patient [20] | digest [32]
//! ```
//!
//! All integers big-endian; the steward is the vault's.

use std::collections::HashSet;

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_sol_types::SolCall as _;
use bindings::{Contract, ContractError, Records, convert::to_anchor};
use domain::{Anchor, AnchorState, Kind, RecordDigest, RecordId, RecordVersion, Timestamp, merkle};
use futures_util::future::BoxFuture;
use ledger::{CallError, SendError};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, any::AnyRow};
use vault::{
    Entry, EraseError, ErasureOrder, ErasureReason, NewRecord, PutError, StoreError,
    WriteTransaction,
};

use crate::{Gatekeeper, GatekeeperError};

/// The most records in one batch: the root says nothing of their number, but a proof grows with it.
pub const MANIFEST_RECORDS_MAX: usize = 10_000;

pub(crate) const ANCHOR_LEN: usize = 93;

/// What else is stored together with records, such as an index of them: all of it or nothing.
pub type Along<'a> = Box<
    dyn for<'t> FnOnce(&'t mut WriteTransaction) -> BoxFuture<'t, Result<(), StoreError>>
        + Send
        + 'a,
>;

fn nothing_else() -> Along<'static> {
    Box::new(|_| Box::pin(std::future::ready(Ok(()))))
}

/// How an anchor is on chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Inclusion {
    /// By itself.
    Alone,
    /// As a leaf of a batch.
    Batch {
        /// The batch's root.
        root: B256,
        /// The siblings from the leaf to the root.
        proof: Vec<B256>,
    },
}

/// Why records were not anchored.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    /// The database failed.
    #[error("the records could not be stored")]
    Store(#[from] StoreError),
    /// The records could not be sealed or kept.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The chain does not take them. Nothing was kept.
    #[error(transparent)]
    Send(#[from] SendError),
    /// They are kept and not on chain yet. [`Gatekeeper::resume_anchoring`] sends them again.
    #[error("kept, but not on chain yet: {0}")]
    Unsent(#[source] SendError),
}

impl AnchorError {
    /// What it is when everything is kept already.
    fn after_keeping(self) -> Self {
        match self {
            Self::Send(error) => Self::Unsent(error),
            error => error,
        }
    }
}

impl From<EraseError> for AnchorError {
    fn from(error: EraseError) -> Self {
        match error {
            EraseError::Store(error) => Self::Store(error),
            EraseError::NotHere { .. } => Self::Store(StoreError::Corrupt { what: "proposal" }),
        }
    }
}

/// What came of what was left between vault and chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// How many batches and proposals are on chain now.
    pub sent: usize,
    /// Versions that the chain refuses for good. Nobody was ever told that they were kept, so they are
    /// not: they were erased, as if they had been refused at once.
    pub given_up: Vec<(RecordId, RecordVersion)>,
}

impl From<sqlx::Error> for AnchorError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A batch as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct StoredBatch {
    pub(crate) root: B256,
    /// What its leaves are made of; nothing when the manifest cannot be read.
    pub(crate) anchors: Vec<Anchor>,
    /// The transaction that anchored it, once there is one.
    pub(crate) transaction: Option<B256>,
}

impl StoredBatch {
    /// Whether the manifest is the one that the root was made of.
    pub(crate) fn is_whole(&self) -> bool {
        tree(&self.anchors).is_some_and(|tree| tree.root() == self.root)
    }
}

/// The anchor of a version that replaces `base`.
fn anchor_of(entry: &Entry, base: u32) -> Anchor {
    Anchor {
        record: entry.header.record,
        version: entry.header.version,
        base,
        kind: entry.header.kind,
        patient: entry.patient,
        steward: entry.header.steward,
        digest: entry.digest,
    }
}

fn encode(anchors: &[Anchor]) -> Vec<u8> {
    let mut manifest = Vec::with_capacity(anchors.len() * ANCHOR_LEN);
    for anchor in anchors {
        manifest.extend_from_slice(anchor.record.0.as_slice());
        manifest.extend_from_slice(&anchor.version.get().to_be_bytes());
        manifest.extend_from_slice(&anchor.base.to_be_bytes());
        manifest.push(anchor.kind.number());
        manifest.extend_from_slice(anchor.patient.as_slice());
        manifest.extend_from_slice(anchor.digest.0.as_slice());
    }
    manifest
}

/// Reads a manifest; `None` when it is none.
fn decode(manifest: &[u8], steward: Address) -> Option<Vec<Anchor>> {
    let chunks = manifest.chunks_exact(ANCHOR_LEN);
    if !chunks.remainder().is_empty() {
        return None;
    }
    chunks
        .map(|bytes| {
            let number = |at: usize| bytes[at..at + 4].try_into().map(u32::from_be_bytes).ok();
            Some(Anchor {
                record: RecordId(B256::from_slice(&bytes[..32])),
                version: RecordVersion::try_from(number(32)?).ok()?,
                base: number(36)?,
                kind: Kind::try_from(bytes[40]).ok()?,
                patient: Address::from_slice(&bytes[41..61]),
                steward,
                digest: RecordDigest(B256::from_slice(&bytes[61..])),
            })
        })
        .collect()
}

/// What a version comes after.
#[derive(Clone, Copy, Debug, Default)]
struct Succession {
    /// The version before it.
    previous: Option<Anchor>,
    /// The version in force, which it would replace; zero for none.
    base: u32,
    /// Whether the patient has not answered the version before.
    is_pending: bool,
}

impl Succession {
    /// The call that proposes an anchor in this place.
    fn proposal(&self, anchor: &Anchor) -> Bytes {
        let Some(previous) = &self.previous else {
            let call = Records::proposeCall {
                patient: anchor.patient,
                record: anchor.record.0,
                kind: anchor.kind.number(),
                digest: anchor.digest.0,
            };
            return call.abi_encode().into();
        };
        let previous = to_anchor(previous);
        let amend =
            Records::proposeAmendmentCall { previous: previous.clone(), next: to_anchor(anchor) };
        if !self.is_pending {
            return amend.abi_encode().into();
        }
        let withdraw = Records::withdrawCall { anchor: previous };
        let data = vec![withdraw.abi_encode().into(), amend.abi_encode().into()];
        Records::multicallCall { data }.abi_encode().into()
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

/// What is on its way to the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sent {
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
struct Turn<'a> {
    on_the_way: &'a OnTheWay,
    sent: Vec<Sent>,
}

impl OnTheWay {
    /// The turn to send all of these, unless somebody else has that of one.
    fn take(&self, sent: Vec<Sent>) -> Option<Turn<'_>> {
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

    fn take_sent(&self) -> Vec<(RecordId, RecordVersion)> {
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

/// Stores what the leaves of a batch are made of, before its root is sent.
async fn store_batch(
    transaction: &mut WriteTransaction,
    root: B256,
    anchors: &[Anchor],
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into anchor_batches (root, position, manifest, tx)
        values ($1, (select coalesce(max(position), 0) + 1 from anchor_batches), $2, $3)",
    )
    .bind(root.to_vec())
    .bind(encode(anchors))
    .bind(Vec::<u8>::new())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Stores a proposal, before it is sent.
async fn store_proposal(
    transaction: &mut WriteTransaction,
    anchor: &Anchor,
    call: &Bytes,
) -> Result<(), StoreError> {
    sqlx::query("insert into proposals (record, version, call) values ($1, $2, $3)")
        .bind(anchor.record.0.to_vec())
        .bind(i64::from(anchor.version.get()))
        .bind(call.to_vec())
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// Takes a proposal off the list of those to be sent.
async fn forget_proposal(
    transaction: &mut WriteTransaction,
    record: RecordId,
    version: RecordVersion,
) -> Result<(), StoreError> {
    sqlx::query("delete from proposals where record = $1 and version = $2")
        .bind(record.0.to_vec())
        .bind(i64::from(version.get()))
        .execute(&mut **transaction)
        .await?;
    Ok(())
}

/// The tree of a batch; none of no anchors.
pub(crate) fn tree(anchors: &[Anchor]) -> Option<merkle::Tree> {
    merkle::Tree::new(anchors.iter().map(Anchor::leaf).collect())
}

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
        let succession = self.succession(previous).await;
        // Whoever did not ask for it does not withdraw anything.
        let succession = Succession { is_pending: false, ..succession };
        self.put_one(record, succession, nothing_else()).await
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

    async fn put_one(
        &self,
        record: NewRecord,
        succession: Succession,
        along: Along<'_>,
    ) -> Result<(Anchor, ledger::Outcome), AnchorError> {
        let gas_limit = self.probe(&record, &succession).await?;
        let mut rng = self.entropy().fork();
        let (mut batch, entry) = self.vault().begin_put(record, &mut rng).await?;
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

    /// Asks the chain whether it would take a record, before anything of it is kept; returns how much gas that
    /// may use.
    async fn probe(&self, record: &NewRecord, succession: &Succession) -> Result<u64, SendError> {
        let probe = Anchor {
            record: record.record,
            version: record.version,
            base: succession.base,
            kind: record.kind,
            patient: record.patient,
            steward: self.member(),
            digest: RecordDigest(B256::repeat_byte(1)),
        };
        let contract = self.deployment().address(Contract::Records);
        let call = succession.proposal(&probe);
        self.sender().gas_limit(TxKind::Call(contract), call).await
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
                Some(_) => self.probe(record, &succession).await?,
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

    /// What comes after `previous`.
    async fn succession(&self, previous: Option<&Anchor>) -> Succession {
        let Some(previous) = previous else { return Succession::default() };
        let projection = self.inner.projection.read().await;
        let state = |version| {
            let entry = projection.records.anchor(self.member(), previous.record, version);
            entry.map(|entry| entry.state)
        };
        let version = previous.version.get();
        let is_pending = state(version) == Some(AnchorState::Proposed);
        // The version in force, which the next one would replace; zero when there is none, such as
        // after the first was rejected.
        let base = match (state(version), state(previous.base)) {
            (
                Some(AnchorState::Proposed | AnchorState::Rejected | AnchorState::Erased),
                Some(AnchorState::Accepted | AnchorState::Disputed),
            ) => previous.base,
            (Some(AnchorState::Proposed | AnchorState::Rejected | AnchorState::Erased), _) => 0,
            _ => version,
        };
        Succession { previous: Some(*previous), base, is_pending }
    }

    async fn send_proposal(
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

    /// Forgets proposals that are on chain, along with the next write: by themselves they are not worth
    /// a wait for the disk. One that is not forgotten is found on chain when anchoring is resumed.
    async fn forget_sent(&self, transaction: &mut WriteTransaction) -> Result<(), StoreError> {
        for (record, version) in self.inner.on_the_way.take_sent() {
            forget_proposal(transaction, record, version).await?;
        }
        Ok(())
    }

    async fn forget_proposal(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<(), StoreError> {
        let mut transaction = self.vault().database().share().await?;
        forget_proposal(&mut transaction, record, version).await?;
        transaction.commit().await
    }

    async fn send_root(&self, root: B256, count: usize) -> Result<ledger::Outcome, AnchorError> {
        let count = u32::try_from(count).expect("a batch is bounded");
        let call = Records::anchorBatchCall { root, count };
        let records = self.deployment().address(Contract::Records);
        let outcome = self.sender().send(records, &call).await?;
        self.note_anchored(root, outcome.hash()).await?;
        Ok(outcome)
    }

    async fn note_anchored(&self, root: B256, hash: B256) -> Result<(), StoreError> {
        let mut transaction = self.vault().database().share().await?;
        sqlx::query("update anchor_batches set tx = $2 where root = $1")
            .bind(root.to_vec())
            .bind(hash.to_vec())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await
    }

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
        let mut transaction = self.vault().database().share().await?;
        self.forget_sent(&mut transaction).await?;
        transaction.commit().await?;
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

    async fn proposals(&self) -> Result<Vec<(RecordId, RecordVersion, Bytes)>, StoreError> {
        const CORRUPT: StoreError = StoreError::Corrupt { what: "proposal" };
        let rows =
            sqlx::query("select record, version, call from proposals order by record, version")
                .fetch_all(self.vault().database().readers())
                .await?;
        rows.iter()
            .map(|row| {
                let (record, version, call): (Vec<u8>, i64, Vec<u8>) =
                    (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
                let record = RecordId(B256::try_from(record.as_slice()).map_err(|_| CORRUPT)?);
                let version = u32::try_from(version).map_err(|_| CORRUPT)?;
                let version = RecordVersion::try_from(version).map_err(|_| CORRUPT)?;
                Ok((record, version, call.into()))
            })
            .collect()
    }

    /// All stored batches, in the order in which they were made. A row without a root is none.
    pub(crate) async fn batches(&self) -> Result<Vec<StoredBatch>, StoreError> {
        let rows = sqlx::query("select root, manifest, tx from anchor_batches order by position")
            .fetch_all(self.vault().database().readers())
            .await?;
        Ok(rows.iter().filter_map(|row| self.stored_batch(row)).collect())
    }

    pub(crate) async fn batch(&self, root: B256) -> Result<Option<StoredBatch>, StoreError> {
        let row = sqlx::query("select root, manifest, tx from anchor_batches where root = $1")
            .bind(root.to_vec())
            .fetch_optional(self.vault().database().readers())
            .await?;
        Ok(row.and_then(|row| self.stored_batch(&row)))
    }

    pub(crate) fn stored_batch(&self, row: &AnyRow) -> Option<StoredBatch> {
        // Whoever writes to the database behind the gatekeeper's back may have put anything anywhere.
        let bytes = |column| row.try_get::<Vec<u8>, _>(column).unwrap_or_default();
        Some(StoredBatch {
            root: B256::try_from(bytes(0).as_slice()).ok()?,
            anchors: decode(&bytes(1), self.member()).unwrap_or_default(),
            transaction: B256::try_from(bytes(2).as_slice()).ok(),
        })
    }

    /// How one version is on chain, with its anchor; `None` when it is not.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the database failed.
    pub async fn inclusion(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<Option<(Anchor, Inclusion)>, GatekeeperError> {
        Ok(self.included(record, version).await?)
    }

    async fn included(
        &self,
        record: RecordId,
        version: RecordVersion,
    ) -> Result<Option<(Anchor, Inclusion)>, StoreError> {
        // Of what is here, the batch is known.
        self.learn_leaves().await?;
        let kept = self.vault().versions_of(&[record]).await?;
        let kept = kept.iter().find(|entry| entry.header.version == version);
        if let Some(root) = kept.and_then(|entry| self.root_of(&anchor_of(entry, 0)))
            && let Some(batch) = self.batch(root).await?
            && let Some(found) = self.in_stored(&batch, record, version).await
        {
            return Ok(Some(found));
        }
        let alone = {
            let projection = self.inner.projection.read().await;
            let entry = projection.records.anchor(self.member(), record, version.get());
            entry.map(|entry| entry.anchor)
        };
        if let Some(anchor) = alone.filter(|_| kept.is_some()) {
            return Ok(Some((anchor, Inclusion::Alone)));
        }
        for batch in self.batches().await? {
            if let Some(found) = self.in_stored(&batch, record, version).await {
                return Ok(Some(found));
            }
        }
        Ok(alone.map(|anchor| (anchor, Inclusion::Alone)))
    }

    /// A version in a batch that is on chain, with its proof.
    async fn in_stored(
        &self,
        batch: &StoredBatch,
        record: RecordId,
        version: RecordVersion,
    ) -> Option<(Anchor, Inclusion)> {
        let wanted = |anchor: &Anchor| anchor.record == record && anchor.version == version;
        let position = batch.anchors.iter().position(wanted)?;
        self.projection().await.records.batch(self.member(), batch.root)?;
        let tree = tree(&batch.anchors).filter(|tree| tree.root() == batch.root)?;
        let proof = tree.proof(position).expect("the position is a leaf's");
        Some((batch.anchors[position], Inclusion::Batch { root: batch.root, proof }))
    }
}
