//! The one question before anything is sent.

use std::sync::Arc;

use domain::{Address, RecordDigest};
use vault::SealedBytes;

use crate::body::Body;
use crate::holder::{Cursor, Holder, HolderError, Offers, PAGE_LEN_MAX, PeerId};

/// How somebody showed which member they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The connection is with this peer.
    Peer(PeerId),
    /// This key signed the request.
    Key(Address),
    /// The account itself vouched for the request.
    Account,
}

/// Why nothing is sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    /// The one answer for what may not be had and what is not here, so that nobody can tell them apart.
    #[error("not given to this member")]
    Refused,
    #[error("no answer now")]
    Unavailable(#[source] HolderError),
}

impl From<HolderError> for Denied {
    fn from(error: HolderError) -> Self {
        Self::Unavailable(error)
    }
}

/// Stands between a holder and one who asks.
pub(crate) struct Gate<H> {
    holder: Arc<H>,
    member: Address,
    proof: Proof,
}

impl<H> Clone for Gate<H> {
    fn clone(&self) -> Self {
        Self { holder: Arc::clone(&self.holder), member: self.member, proof: self.proof }
    }
}

impl<H: Holder> Gate<H> {
    pub(crate) fn new(holder: &Arc<H>, member: Address, proof: Proof) -> Self {
        Self { holder: Arc::clone(holder), member, proof }
    }

    /// Notes the peer of a patient whose account itself asks for it, and the key to seal to. Members
    /// name theirs in the registry.
    pub(crate) async fn note_peer(
        &self,
        peer: PeerId,
        holds: bool,
        key: Option<&[u8]>,
    ) -> Result<(), Denied> {
        if self.proof != Proof::Account {
            return Err(Denied::Refused);
        }
        if let Some(key) = key
            && !self.holder.note_key(self.member, key).await?
        {
            return Err(Denied::Refused);
        }
        let is_noted = self.holder.note_peer(self.member, peer, holds).await?;
        if is_noted { Ok(()) } else { Err(Denied::Refused) }
    }

    pub(crate) async fn offers(&self, after: Option<Cursor>) -> Result<Offers, Denied> {
        self.check_member().await?;
        let offers = self.holder.offers(self.member, after, PAGE_LEN_MAX).await?;
        // Cut off, the rest of them would never be told.
        if offers.copies.len() > PAGE_LEN_MAX {
            return Err(HolderError("a page of offers is too long".into()).into());
        }
        Ok(offers)
    }

    pub(crate) async fn give(&self, digest: RecordDigest) -> Result<Body, Denied> {
        self.check_member().await?;
        let sealed: Option<SealedBytes> = self.holder.give(self.member, digest).await?;
        let body = Body::of(sealed.ok_or(Denied::Refused)?);
        body.map_err(|error| Denied::Unavailable(HolderError(Box::new(error))))
    }

    /// Whether the next step of a transfer may be sent.
    pub(crate) async fn check(&self, digest: RecordDigest) -> Result<(), Denied> {
        self.check_member().await?;
        let may = self.holder.may_have(self.member, digest).await?;
        if may { Ok(()) } else { Err(Denied::Refused) }
    }

    /// Whether they are still the member they were: peers and keys are taken back, too.
    async fn check_member(&self) -> Result<(), Denied> {
        let is_member = match self.proof {
            Proof::Peer(peer) => self.holder.members_of(peer).await?.contains(&self.member),
            Proof::Key(key) => self.holder.member_signing(key).await? == Some(self.member),
            Proof::Account => true,
        };
        if is_member { Ok(()) } else { Err(Denied::Refused) }
    }
}
