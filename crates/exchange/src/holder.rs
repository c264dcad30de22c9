//! What a gateway gives to others: asked anew for every list, every body, and while one is being sent.

use std::collections::BTreeMap;
use std::future::Future;
use std::{error, fmt};

use domain::{Address, B256, RecordDigest, Timestamp};
use vault::{SealedBytes, SealedCopy};

/// How many copies a page of offers has at most.
pub const PAGE_LEN_MAX: usize = 128;

/// How long a cursor is at most, in bytes.
pub const CURSOR_LEN_MAX: usize = 64;

/// A node's name in the peer-to-peer network: the Ed25519 public key that its member registered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 32]);

impl std::str::FromStr for PeerId {
    type Err = hex::FromHexError;

    /// Reads 64 hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut id = [0; 32];
        hex::decode_to_slice(text, &mut id)?;
        Ok(Self(id))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a list of offers goes on. Only the holder that made it knows what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(Vec<u8>);

impl Cursor {
    /// A cursor of up to [`CURSOR_LEN_MAX`] bytes, and at least one; `None` when there are more or none.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (1..=CURSOR_LEN_MAX).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// The bytes that it was made of.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How many siblings a proof has at most: enough for as many leaves as a batch can say it has.
pub const SIBLINGS_MAX: usize = 32;

/// The way from a version that was anchored in a batch to the root of that batch, which alone is on
/// chain. Nobody but the steward and whoever got it from there can tell that the version stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchProof {
    /// The root.
    pub root: B256,
    /// The siblings from the leaf up to it, at most [`SIBLINGS_MAX`].
    pub siblings: Vec<B256>,
}

/// A page of what a holder has for one member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// The copies, each with the wraps for that member.
    pub copies: Vec<SealedCopy>,
    /// The proofs of those that stand in batches.
    pub proofs: BTreeMap<RecordDigest, BatchProof>,
    /// Where it goes on; `None` at the end.
    pub next: Option<Cursor>,
}

/// A holder cannot say now, for example because it does not know well enough where the chain stands.
/// Nothing is given out then.
#[derive(Debug, thiserror::Error)]
#[error("the holder cannot answer now")]
pub struct HolderError(#[source] pub Box<dyn error::Error + Send + Sync>);

/// The side that has records: who may ask, and what they get.
///
/// "Member" is who a copy is for: an institution or professional by member address, or a patient by
/// account. Both ways of transport ask the same questions, so that neither is the weaker one:
///
/// 1. who asks: [`members_of`](Holder::members_of) or [`member_signing`](Holder::member_signing), and for
///    signed requests [`take_nonce`](Holder::take_nonce);
/// 2. what they are told about: [`offers`](Holder::offers);
/// 3. what they get: [`give`](Holder::give) once when a transfer begins, and
///    [`may_have`](Holder::may_have) again and again while it lasts.
///
/// Every answer is about now: after the block of a revocation the next one must differ (S3).
pub trait Holder: Send + Sync + 'static {
    /// The members in force whose registered peer this is.
    ///
    /// There can be several, because a member may register any key as its peer. Which of them asks, the
    /// peer says; it gets nothing but what that member should have. A holder that knows the nodes of its
    /// patients names their accounts here.
    fn members_of(
        &self,
        peer: PeerId,
    ) -> impl Future<Output = Result<Vec<Address>, HolderError>> + Send;

    /// The member in force that signs with this key now.
    fn member_signing(
        &self,
        signer: Address,
    ) -> impl Future<Output = Result<Option<Address>, HolderError>> + Send;

    /// Whether a patient's account vouches for a signature (ERC-1271). Without an answer of its own, a
    /// holder gives nothing to accounts.
    fn account_signed(
        &self,
        _account: Address,
        _digest: B256,
        _signature: &[u8],
    ) -> impl Future<Output = Result<bool, HolderError>> + Send {
        async { Ok(false) }
    }

    /// Notes that a member used a nonce; `false` when it was noted before. It must be remembered until
    /// the deadline, also when the gateway is restarted in between (S7).
    fn take_nonce(
        &self,
        member: Address,
        nonce: B256,
        deadline: Timestamp,
    ) -> impl Future<Output = Result<bool, HolderError>> + Send;

    /// Notes at which peer a patient holds copies, or no longer does, as the patient's account vouched.
    /// `false` when it is not noted. Without an answer of its own, a holder notes none.
    fn note_peer(
        &self,
        _account: Address,
        _peer: PeerId,
        _holds: bool,
    ) -> impl Future<Output = Result<bool, HolderError>> + Send {
        async { Ok(false) }
    }

    /// Learns the key to which a patient's node wants the patient's records sealed, as the account
    /// vouched. `false` when it is no key. Without an answer of its own, a holder learns none.
    fn note_key(
        &self,
        _account: Address,
        _key: &[u8],
    ) -> impl Future<Output = Result<bool, HolderError>> + Send {
        async { Ok(false) }
    }

    /// What the member should hold of what is here: at most `limit` copies, those after the cursor.
    fn offers(
        &self,
        member: Address,
        after: Option<Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Offers, HolderError>> + Send;

    /// The sealed bytes of a version, when the member may have them now; `None` when not, or when they
    /// are not here. Called once for each transfer: an attempt, refused ones included, leaves its
    /// receipt here (S5).
    fn give(
        &self,
        member: Address,
        digest: RecordDigest,
    ) -> impl Future<Output = Result<Option<SealedBytes>, HolderError>> + Send;

    /// Whether a member that was given a version may have the rest of it. Called for every
    /// [`STEP_LEN`](crate::STEP_LEN) bytes, so it should be quick, and leaves no receipt.
    fn may_have(
        &self,
        member: Address,
        digest: RecordDigest,
    ) -> impl Future<Output = Result<bool, HolderError>> + Send;
}
