//! Bringing here what should be here.
//!
//! Nothing that a peer says is believed:
//!
//! - which versions should be here, the chain says ([`Expected`]);
//! - which bytes they are, their SHA-256 says: no others get into the vault;
//! - which keys open them, the vault tries ([`Vault::import`]).
//!
//! Lists are read page by page and bodies step by step, so that the memory which is used does not grow
//! with either.

use std::future::Future;
use std::io::Read;
use std::time::Duration;

use domain::RecordDigest;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::timeout;
use vault::{
    Entry, Identity, ImportError, MAX_BODY_LEN, OnConflict, SealedCopy, StoreError, Vault,
};

use crate::holder::{BatchProof, HolderError};
use crate::incoming::{Arrived, Arriving, Incoming, PushError};
use crate::report::{Failure, Outcome, Report};
use crate::transport::{TransferError, Transport, Wanted};

/// What the chain says, asked for each version that a peer offers.
pub trait Expected: Send + Sync {
    /// Whether this very version (record, version, kind, patient, steward, digest) is anchored, and the
    /// receiver should hold it. With a version of a batch comes what the peer says shows that it is in
    /// there; without it, what is known here must do.
    fn expects(
        &self,
        entry: &Entry,
        proof: Option<&BatchProof>,
    ) -> impl Future<Output = Result<bool, HolderError>> + Send;
}

/// How much a receiver does at a time, and how patient it is.
#[derive(Clone, Copy, Debug)]
pub struct SyncSettings {
    /// How many bodies are fetched at the same time.
    pub at_once: usize,
    /// How often a body is asked for while the connection breaks.
    pub attempts: u32,
    /// How long a peer may say nothing.
    pub silence_max: Duration,
    /// How many pages of offers are read of one peer, so that no list is endless.
    pub pages_max: u64,
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self { at_once: 4, attempts: 3, silence_max: Duration::from_secs(30), pages_max: 100_000 }
    }
}

/// The side that receives: one vault, and what should be in it.
#[derive(Debug)]
pub struct Receiver<E> {
    vault: Vault,
    /// For whom the copies are, when they must open.
    identity: Option<Identity>,
    expected: E,
    incoming: Incoming,
    settings: SyncSettings,
}

impl<E: Expected> Receiver<E> {
    /// A receiver. With an identity, copies that do not open for it are refused, and copies that are
    /// here get the wraps that they lack.
    pub const fn new(
        vault: Vault,
        identity: Option<Identity>,
        expected: E,
        incoming: Incoming,
        settings: SyncSettings,
    ) -> Self {
        Self { vault, identity, expected, incoming, settings }
    }

    /// Takes over from a peer what should be here and is not.
    ///
    /// What comes is kept whether or not the rest comes; asking again goes on where it was broken off.
    pub async fn sync(&self, peer: &dyn Transport) -> Report {
        let mut report = Report::default();
        let mut after = None;
        for _ in 0..self.settings.pages_max {
            let page = match timeout(self.settings.silence_max, peer.offers(after.clone())).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    report.broken_off = Some(error);
                    return report;
                }
                Err(silent) => {
                    report.broken_off = Some(TransferError::interrupted(silent));
                    return report;
                }
            };
            let proofs = page.proofs;
            let taking = page.copies.into_iter().map(|copy| async {
                let digest = copy.entry.digest;
                let taken = self.take(peer, copy, proofs.get(&digest)).await;
                (digest, taken.unwrap_or_else(Outcome::Failed))
            });
            let mut taken = stream::iter(taking).buffer_unordered(self.settings.at_once.max(1));
            while let Some((digest, outcome)) = taken.next().await {
                report.add(digest, outcome);
            }
            match page.next {
                None => return report,
                // A peer that begins anew would never end.
                next if next == after => break,
                next => after = next,
            }
        }
        report.broken_off = Some(TransferError::Malformed);
        report
    }

    /// Brings back bodies that are missing or altered here, from whichever peer has them, asked in their
    /// order. The rows must be here; versions without one come by [`Receiver::sync`].
    pub async fn heal(&self, damaged: &[RecordDigest], peers: &[&dyn Transport]) -> Report {
        let mut report = Report::default();
        for digest in damaged {
            let outcome = self.heal_one(*digest, peers).await;
            report.add(*digest, outcome.unwrap_or_else(Outcome::Failed));
        }
        report
    }

    async fn heal_one(
        &self,
        digest: RecordDigest,
        peers: &[&dyn Transport],
    ) -> Result<Outcome, Failure> {
        let address = self.identity.as_ref().map_or(self.vault.steward(), |own| own.address);
        let copy = self.vault.copy_for(digest, address).await?.ok_or(Failure::NoRow)?;
        if copy.entry.is_erased {
            return Ok(Outcome::Erased);
        }
        if !self.expected.expects(&copy.entry, None).await? {
            return Ok(Outcome::Unexpected);
        }
        let mut failure = Failure::Transfer(TransferError::Refused);
        for peer in peers {
            match self.fetch(*peer, copy.clone()).await {
                // A peer that does not have it says less than one that failed to give it.
                Err(Failure::Transfer(TransferError::Refused)) => {}
                Err(other) => failure = other,
                fetched => return fetched,
            }
        }
        Err(failure)
    }

    /// Takes over one version, unless it is here.
    async fn take(
        &self,
        peer: &dyn Transport,
        copy: SealedCopy,
        proof: Option<&BatchProof>,
    ) -> Result<Outcome, Failure> {
        let entry = &copy.entry;
        if entry.sealed_len > MAX_BODY_LEN + MAX_BODY_LEN / 1_024 {
            return Err(TransferError::Malformed.into());
        }
        // What is here is not asked about again, so that a long list costs little when nothing is new.
        match self.vault.find(entry.digest).await? {
            Some(kept) if kept.is_erased => Ok(Outcome::Erased),
            Some(_) => self.rewrap(copy, proof).await,
            None if self.expected.expects(entry, proof).await? => self.fetch(peer, copy).await,
            None => Ok(Outcome::Unexpected),
        }
    }

    /// Gives a copy that is here the wraps that came and that it lacks. Its own bytes are taken in again
    /// with them, which tries the keys.
    async fn rewrap(
        &self,
        copy: SealedCopy,
        proof: Option<&BatchProof>,
    ) -> Result<Outcome, Failure> {
        let (Some(identity), digest) = (&self.identity, copy.entry.digest) else {
            return Ok(Outcome::KeptAlready);
        };
        let kept = self.vault.copy_for(digest, identity.address).await?;
        let kept = kept.map_or_else(Vec::new, |kept| kept.wraps);
        if copy.wraps.iter().all(|wrap| kept.contains(wrap)) {
            return Ok(Outcome::KeptAlready);
        }
        if !self.expected.expects(&copy.entry, proof).await? {
            return Ok(Outcome::Unexpected);
        }
        match self.vault.sealed_bytes(digest).await? {
            Some(sealed) => {
                self.import(copy, sealed).await?;
                Ok(Outcome::Rewrapped)
            }
            // Its bytes are lost here: for healing.
            None => Ok(Outcome::KeptAlready),
        }
    }

    async fn fetch(&self, peer: &dyn Transport, copy: SealedCopy) -> Result<Outcome, Failure> {
        let Entry { digest, sealed_len, .. } = copy.entry;
        let begun = self.incoming.begin(digest, sealed_len).await.map_err(Failure::Incoming)?;
        let arriving = begun.ok_or(Failure::Busy)?;
        let (mut arrived, bytes) = self.receive(peer, digest, sealed_len, arriving).await?;
        let reader = arrived.reader().map_err(Failure::Incoming)?;
        let imported = self.import(copy, reader).await;
        // What could not be kept for want of space can be kept later.
        if !matches!(&imported, Err(Failure::Import(ImportError::Keep(_)) | Failure::Store(_))) {
            arrived.discard();
        }
        imported.map(|()| Outcome::Fetched { bytes })
    }

    /// Receives a whole body, in as many goes as are allowed, and says how many bytes that took.
    async fn receive(
        &self,
        peer: &dyn Transport,
        digest: RecordDigest,
        sealed_len: u64,
        mut arriving: Arriving,
    ) -> Result<(Arrived, u64), Failure> {
        let wanted = Wanted { digest, sealed_len };
        let (mut failed, mut bytes) = (0, 0);
        // What another peer, or another run, left of it may be anything.
        let mut is_all_from_here = arriving.arrived() == 0;
        loop {
            let before = arriving.arrived();
            let received = self.receive_rest(peer, wanted, &mut arriving).await;
            bytes += arriving.arrived() - before;
            match received {
                Ok(()) => {}
                Err(Failure::WrongBytes) if !is_all_from_here => {}
                Err(Failure::WrongBytes) => {
                    arriving.restart().map_err(Failure::Incoming)?;
                    return Err(Failure::WrongBytes);
                }
                Err(failure) => {
                    arriving.flush().await.map_err(Failure::Incoming)?;
                    failed += 1;
                    let is_transient =
                        matches!(&failure, Failure::Transfer(error) if error.is_transient());
                    if is_transient && failed < self.settings.attempts {
                        continue;
                    }
                    return Err(failure);
                }
            }
            if let Some(arrived) = arriving.finish().await.map_err(Failure::Incoming)? {
                return Ok((arrived, bytes));
            }
            arriving.restart().map_err(Failure::Incoming)?;
            if is_all_from_here {
                return Err(Failure::WrongBytes);
            }
            is_all_from_here = true;
        }
    }

    /// Receives what is still missing of a body.
    async fn receive_rest(
        &self,
        peer: &dyn Transport,
        wanted: Wanted,
        arriving: &mut Arriving,
    ) -> Result<(), Failure> {
        // It was received by an earlier run, and could not be taken in.
        if arriving.is_whole() {
            return Ok(());
        }
        let patience = self.settings.silence_max;
        let fetching = timeout(patience, peer.fetch(wanted, arriving.arrived()));
        let mut chunks = fetching.await.map_err(|_| Failure::Silent)??;
        while let Some(chunk) =
            timeout(patience, chunks.next()).await.map_err(|_| Failure::Silent)?
        {
            arriving.push(&chunk?).await.map_err(|error| match error {
                PushError::TooLong => Failure::WrongBytes,
                PushError::Keep(error) => Failure::Incoming(error),
            })?;
        }
        if arriving.is_whole() {
            return Ok(());
        }
        Err(TransferError::interrupted("the peer sent less than there is").into())
    }

    async fn import(
        &self,
        copy: SealedCopy,
        sealed: impl Read + Send + 'static,
    ) -> Result<(), Failure> {
        let on_conflict = self.on_conflict(&copy.entry).await?;
        self.vault.import(copy, sealed, self.identity.as_ref(), on_conflict).await?;
        Ok(())
    }

    /// What the chain expects replaces other bytes under the same version, but only of the same steward
    /// and patient: a record's id is random, and whoever anchors one that is taken must not push out
    /// another's.
    async fn on_conflict(&self, entry: &Entry) -> Result<OnConflict, StoreError> {
        let versions = self.vault.versions(entry.header.record).await?;
        let is_ours_to_replace =
            versions.iter().filter(|kept| kept.header.version == entry.header.version).all(
                |kept| kept.header.steward == entry.header.steward && kept.patient == entry.patient,
            );
        Ok(if is_ours_to_replace { OnConflict::Replace } else { OnConflict::Refuse })
    }
}
