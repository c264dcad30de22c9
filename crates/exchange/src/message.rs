//! What is said between gateways, apart from the sealed bytes: lists of offers and where a body is.
//!
//! ```text
//! message   version u8 = 2 | postcard
//! ```
//!
//! The structs here are the format: a change of theirs is a new version. Whatever comes in is bounded in
//! length before it is read, in numbers while it is read, and turned into the vault's types by hand. It
//! is believed in nothing by that.
//!
//! Version 2 says with a copy how its version stands in a batch. Version 1 could not, and is not read.

use std::collections::BTreeMap;

use domain::{Address, B256, RecordDigest, RecordId, RecordVersion, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vault::{Content, Entry, Header, KindKeyId, KindKeyName, SealedCopy, Subject, Wrap};

use crate::holder::{BatchProof, Cursor, Offers, PAGE_LEN_MAX, SIBLINGS_MAX};

/// The longest answer, in bytes: a page whose copies have all the wraps that they may have.
pub(crate) const ANSWER_LEN_MAX: usize = 8 * 1024 * 1024;

/// The longest request, in bytes.
pub(crate) const REQUEST_LEN_MAX: usize = 1024;

/// How many wraps go with one copy. A member has one for each of its keys and consents.
const WRAPS_MAX: usize = 32;

/// The longest wrap, in bytes. One for X-Wing has 1,171.
const WRAP_LEN_MAX: usize = 1_536;

const VERSION: u8 = 2;

/// A message that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of the exchange, version {VERSION}")]
pub struct BadMessage;

/// What one side asks on an open connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// As which member it asks.
    pub(crate) member: [u8; 20],
    pub(crate) what: Question,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    Offers { after: Option<Vec<u8>> },
    Body { digest: [u8; 32] },
}

/// What the other side answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Response {
    Refused,
    Unavailable,
    Offers(Page),
    /// The BLAKE3 hash under which the body can be had now, and its length.
    Body {
        hash: [u8; 32],
        len: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Page {
    copies: Vec<WireCopy>,
    next: Option<Vec<u8>>,
}

/// A [`SealedCopy`]. What its kind key shares with the record is not said twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WireCopy {
    record: [u8; 32],
    version: u32,
    kind: u8,
    content: u8,
    steward: [u8; 20],
    author: [u8; 20],
    created: u64,
    patient: [u8; 20],
    digest: [u8; 32],
    sealed_len: u64,
    /// The epoch of the kind key, and the content key wrapped under it.
    key: Option<(u32, Vec<u8>)>,
    wraps: Vec<WireWrap>,
    batch: Option<WireProof>,
}

/// A [`BatchProof`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WireProof {
    root: [u8; 32],
    siblings: Vec<[u8; 32]>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct WireWrap {
    /// 1 kind key, 2 content key.
    subject: u8,
    id: [u8; 32],
    recipient: [u8; 20],
    key_digest: [u8; 32],
    consent: [u8; 32],
    wrapped: Vec<u8>,
}

pub(crate) fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_extend(message, vec![VERSION]).expect("messages have a postcard form")
}

pub(crate) fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, BadMessage> {
    let (version, rest) = bytes.split_first().ok_or(BadMessage)?;
    if *version != VERSION {
        return Err(BadMessage);
    }
    match postcard::take_from_bytes(rest) {
        Ok((message, [])) => Ok(message),
        _ => Err(BadMessage),
    }
}

impl Offers {
    /// The page as it is sent.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode(&Page::of(self))
    }

    /// Reads a page that was sent.
    ///
    /// # Errors
    ///
    /// [`BadMessage`] when it is none, or more than a page.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadMessage> {
        if bytes.len() > ANSWER_LEN_MAX {
            return Err(BadMessage);
        }
        decode::<Page>(bytes)?.into_offers()
    }
}

impl Page {
    pub(crate) fn of(offers: &Offers) -> Self {
        let wire = |copy: &SealedCopy| {
            let proof = offers.proofs.get(&copy.entry.digest);
            WireCopy { batch: proof.map(WireProof::of), ..WireCopy::of(copy) }
        };
        let copies = offers.copies.iter().take(PAGE_LEN_MAX).map(wire).collect();
        Self { copies, next: offers.next.as_ref().map(|next| next.as_bytes().to_vec()) }
    }

    pub(crate) fn into_offers(self) -> Result<Offers, BadMessage> {
        if self.copies.len() > PAGE_LEN_MAX {
            return Err(BadMessage);
        }
        let mut proofs = BTreeMap::new();
        for copy in &self.copies {
            if let Some(proof) = &copy.batch {
                proofs.insert(RecordDigest(copy.digest.into()), proof.to_proof()?);
            }
        }
        let copies = self.copies.into_iter().map(WireCopy::into_copy).collect::<Result<_, _>>()?;
        let next = match self.next {
            Some(next) => Some(Cursor::new(next).ok_or(BadMessage)?),
            None => None,
        };
        Ok(Offers { copies, proofs, next })
    }
}

impl WireCopy {
    fn of(copy: &SealedCopy) -> Self {
        let Entry { header, patient, digest, sealed_len, .. } = copy.entry;
        let key = copy.kind_key.zip(copy.content_key);
        Self {
            record: header.record.0.0,
            version: header.version.get(),
            kind: header.kind.number(),
            content: header.content.number(),
            steward: header.steward.into(),
            author: header.author.into(),
            created: header.created.0,
            patient: patient.into(),
            digest: digest.0.0,
            sealed_len,
            key: key.map(|(name, wrapped)| (name.epoch, wrapped.to_vec())),
            wraps: copy.wraps.iter().take(WRAPS_MAX).map(WireWrap::of).collect(),
            batch: None,
        }
    }

    fn into_copy(self) -> Result<SealedCopy, BadMessage> {
        if self.wraps.len() > WRAPS_MAX {
            return Err(BadMessage);
        }
        let contents = [Content::FhirJson, Content::Other];
        let header = Header {
            record: RecordId(self.record.into()),
            version: RecordVersion::try_from(self.version).map_err(|_| BadMessage)?,
            kind: self.kind.try_into().map_err(|_| BadMessage)?,
            content: contents
                .into_iter()
                .find(|content| content.number() == self.content)
                .ok_or(BadMessage)?,
            steward: self.steward.into(),
            author: self.author.into(),
            created: Timestamp(self.created),
        };
        let patient = Address::from(self.patient);
        let (kind_key, content_key) = match self.key {
            None => (None, None),
            Some((epoch, wrapped)) => {
                let (steward, kind) = (header.steward, header.kind);
                let name = KindKeyName { patient, steward, kind, epoch };
                (Some(name), Some(wrapped.try_into().map_err(|_| BadMessage)?))
            }
        };
        let entry = Entry {
            header,
            patient,
            digest: RecordDigest(self.digest.into()),
            sealed_len: self.sealed_len,
            is_erased: false,
        };
        let wraps = self.wraps.into_iter().map(WireWrap::into_wrap).collect::<Result<_, _>>()?;
        Ok(SealedCopy { entry, kind_key, content_key, wraps })
    }
}

impl WireProof {
    fn of(proof: &BatchProof) -> Self {
        let siblings = proof.siblings.iter().take(SIBLINGS_MAX).map(|sibling| sibling.0);
        Self { root: proof.root.0, siblings: siblings.collect() }
    }

    fn to_proof(&self) -> Result<BatchProof, BadMessage> {
        if self.siblings.len() > SIBLINGS_MAX {
            return Err(BadMessage);
        }
        let siblings = self.siblings.iter().map(B256::from).collect();
        Ok(BatchProof { root: self.root.into(), siblings })
    }
}

impl WireWrap {
    fn of(wrap: &Wrap) -> Self {
        let (subject, id) = match wrap.subject {
            Subject::KindKey(id) => (1, id.0),
            Subject::Record(digest) => (2, digest.0),
        };
        Self {
            subject,
            id: id.0,
            recipient: wrap.recipient.into(),
            key_digest: wrap.key_digest.0,
            consent: wrap.consent.0,
            wrapped: wrap.wrapped.clone(),
        }
    }

    fn into_wrap(self) -> Result<Wrap, BadMessage> {
        if self.wrapped.len() > WRAP_LEN_MAX {
            return Err(BadMessage);
        }
        Ok(Wrap {
            subject: match self.subject {
                1 => Subject::KindKey(KindKeyId(self.id.into())),
                2 => Subject::Record(RecordDigest(self.id.into())),
                _ => return Err(BadMessage),
            },
            recipient: self.recipient.into(),
            key_digest: self.key_digest.into(),
            consent: self.consent.into(),
            wrapped: self.wrapped,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(message: &M) {
        let bytes = encode(message);
        assert_eq!(decode::<M>(&bytes).as_ref(), Ok(message));
        assert_eq!(decode::<M>(&[&bytes[..], &[0]].concat()), Err(BadMessage));
        assert_eq!(decode::<M>(&bytes[1..]), Err(BadMessage));
    }

    #[test]
    fn messages_are_read_as_they_were_written() {
        check(&Request { member: [7; 20], what: Question::Offers { after: Some(vec![9; 64]) } });
        check(&Request { member: [7; 20], what: Question::Body { digest: [9; 32] } });
        check(&Response::Refused);
        check(&Response::Body { hash: [9; 32], len: u64::MAX });
        check(&Response::Offers(Page::of(&Offers::default())));
    }

    #[test]
    fn longest_request_fits() {
        let what = Question::Offers { after: Some(vec![9; crate::holder::CURSOR_LEN_MAX]) };
        assert!(encode(&Request { member: [7; 20], what }).len() <= REQUEST_LEN_MAX);
    }

    #[test]
    fn longest_page_fits() {
        let wrap = WireWrap {
            subject: 1,
            id: [9; 32],
            recipient: [9; 20],
            key_digest: [9; 32],
            consent: [9; 32],
            wrapped: vec![9; WRAP_LEN_MAX],
        };
        let copy = WireCopy {
            record: [9; 32],
            version: u32::MAX,
            kind: 9,
            content: 1,
            steward: [9; 20],
            author: [9; 20],
            created: u64::MAX,
            patient: [9; 20],
            digest: [9; 32],
            sealed_len: u64::MAX,
            key: Some((u32::MAX, vec![9; 40])),
            wraps: vec![wrap; WRAPS_MAX],
            batch: Some(WireProof { root: [9; 32], siblings: vec![[9; 32]; SIBLINGS_MAX] }),
        };
        let page = Page { copies: vec![copy; PAGE_LEN_MAX], next: Some(vec![9; 64]) };
        assert!(encode(&Response::Offers(page)).len() <= ANSWER_LEN_MAX);
    }

    #[test]
    fn proofs_go_with_their_copies_and_are_bounded() {
        let proof = |siblings| WireProof { root: [9; 32], siblings: vec![[7; 32]; siblings] };
        let of = |siblings| proof(siblings).to_proof();
        assert_eq!(of(SIBLINGS_MAX).map(|proof| WireProof::of(&proof)), Ok(proof(SIBLINGS_MAX)));
        assert_eq!(of(SIBLINGS_MAX + 1), Err(BadMessage));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_does_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let bytes = [&[VERSION], &bytes[..]].concat();
            let _ = decode::<Request>(&bytes);
            if let Ok(Response::Offers(page)) = decode::<Response>(&bytes) {
                let _ = page.into_offers();
            }
        }
    }
}
