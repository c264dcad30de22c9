//! Answers: what a gatekeeper opened, sealed once to the key that the signed query names.
//!
//! # Format 1
//!
//! ```text
//! 1 u8 | KEM id u16 | encapsulated key [32 or 1,120] | segments, see `segments`
//!
//! suite  the KEM, HKDF-SHA256, AES-256-GCM; mode base
//! info   "salus/answer/v1" | chain id u64 | registry [20]
//! aad    1 u8 for the last segment, else 0 | context
//! ```
//!
//! Segments are messages of one HPKE context, so their order is bound by its sequence number, and a
//! browser opens them with any RFC 9180 library. `context` is the caller's: the digest of the signed
//! query, so that an answer serves no other one.

use std::io::{self, Read as _, Write};

use domain::QueryDomain;
use hpke::aead::{AeadCtxR, AeadCtxS, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};
use rand_core::CryptoRng;

use crate::recipients::{AnyPublicKey, Kem, PublicKey, SecretKey, info};
use crate::segments::{OpenSegment, SealSegment, SegmentReader, SegmentWriter, Tampered};

const FORMAT: u8 = 1;
const LABEL: &[u8] = b"salus/answer/v1";

/// The answer does not open: it is for another key, network or query, or it was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer is for another key or query, or it was changed")]
pub struct BadAnswer;

/// Seals a whole answer.
#[must_use]
pub fn seal(
    recipient: &PublicKey,
    network: QueryDomain,
    context: &[u8],
    answer: &[u8],
    rng: &mut impl CryptoRng,
) -> Vec<u8> {
    AnswerWriter::new(recipient, network, context, Vec::new(), rng)
        .and_then(|mut writer| {
            writer.write_all(answer)?;
            writer.finish()
        })
        .expect("writing to memory does not fail")
}

/// Opens a whole answer.
///
/// # Errors
///
/// [`BadAnswer`].
pub fn open(
    secret: &SecretKey,
    network: QueryDomain,
    context: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, BadAnswer> {
    let ([format, id @ ..], rest) = sealed.split_first_chunk::<3>().ok_or(BadAnswer)?;
    if *format != FORMAT || u16::from_be_bytes(*id) != secret.kem().id() {
        return Err(BadAnswer);
    }
    let info = info(LABEL, network);
    let cipher: Box<dyn OpenSegment> = match secret.kem() {
        Kem::X25519 => Receiving::<X25519HkdfSha256>::boxed(secret, rest, &info, context)?,
        Kem::XWing => Receiving::<XWing>::boxed(secret, rest, &info, context)?,
    };
    let segments = &rest[secret.kem().encapsulated_len()..];
    let mut answer = Vec::new();
    SegmentReader::new(cipher, segments).read_to_end(&mut answer).map_err(|_| BadAnswer)?;
    Ok(answer)
}

/// Seals an answer while it is being written, in constant memory.
///
/// With [`Vault::open_to`](crate::Vault::open_to) a long record goes from its file to the requester
/// without being whole anywhere in between. An answer is complete only after
/// [`AnswerWriter::finish`]; one that is not is refused by whoever opens it.
pub struct AnswerWriter<W> {
    segments: SegmentWriter<Box<dyn SealSegment + Send>, W>,
}

impl<W: Write> AnswerWriter<W> {
    /// Begins an answer, and writes its beginning to `inner`.
    ///
    /// # Errors
    ///
    /// What `inner` reports.
    pub fn new(
        recipient: &PublicKey,
        network: QueryDomain,
        context: &[u8],
        mut inner: W,
        rng: &mut impl CryptoRng,
    ) -> io::Result<Self> {
        let info = info(LABEL, network);
        inner.write_all(&[FORMAT])?;
        inner.write_all(&recipient.kem().id().to_be_bytes())?;
        let cipher = match &recipient.0 {
            AnyPublicKey::X25519(key) => {
                Sending::<X25519HkdfSha256>::boxed(key, &info, context, &mut inner, rng)?
            }
            AnyPublicKey::XWing(key) => {
                Sending::<XWing>::boxed(key, &info, context, &mut inner, rng)?
            }
        };
        Ok(Self { segments: SegmentWriter::new(cipher, inner) })
    }

    /// Completes the answer.
    ///
    /// # Errors
    ///
    /// What the inner writer reports.
    pub fn finish(self) -> io::Result<W> {
        self.segments.finish()
    }
}

impl<W: Write> Write for AnswerWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.segments.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.segments.flush()
    }
}

struct Sending<K: hpke::Kem> {
    context: AeadCtxS<AesGcm256, HkdfSha256, K>,
    aad: Vec<u8>,
}

impl<K: hpke::Kem + 'static> Sending<K>
where
    AeadCtxS<AesGcm256, HkdfSha256, K>: Send,
{
    fn boxed(
        recipient: &K::PublicKey,
        info: &[u8],
        context: &[u8],
        writer: &mut impl Write,
        rng: &mut impl CryptoRng,
    ) -> io::Result<Box<dyn SealSegment + Send>> {
        let (encapsulated, sending) = hpke::setup_sender_with_rng::<AesGcm256, HkdfSha256, K>(
            &OpModeS::Base,
            recipient,
            info,
            rng,
        )
        .expect("a public key is checked when it is read");
        writer.write_all(&encapsulated.to_bytes())?;
        Ok(Box::new(Self { context: sending, aad: aad(context) }))
    }
}

impl<K: hpke::Kem> SealSegment for Sending<K> {
    fn seal(&mut self, segment: &mut Vec<u8>, is_last: bool) {
        self.aad[0] = u8::from(is_last);
        *segment = self
            .context
            .seal(segment, &self.aad)
            .expect("a segment is a short message, and 2^64 of them are not sent");
    }
}

struct Receiving<K: hpke::Kem> {
    context: AeadCtxR<AesGcm256, HkdfSha256, K>,
    aad: Vec<u8>,
}

impl<K: hpke::Kem + 'static> Receiving<K> {
    fn boxed(
        secret: &SecretKey,
        sealed: &[u8],
        info: &[u8],
        context: &[u8],
    ) -> Result<Box<dyn OpenSegment>, BadAnswer> {
        let encapsulated = sealed.get(..K::EncappedKey::size()).ok_or(BadAnswer)?;
        let encapsulated = K::EncappedKey::from_bytes(encapsulated).map_err(|_| BadAnswer)?;
        let receiving = hpke::setup_receiver::<AesGcm256, HkdfSha256, K>(
            &OpModeR::Base,
            &secret.parse::<K>(),
            &encapsulated,
            info,
        )
        .map_err(|_| BadAnswer)?;
        Ok(Box::new(Self { context: receiving, aad: aad(context) }))
    }
}

impl<K: hpke::Kem> OpenSegment for Receiving<K> {
    fn open(&mut self, segment: &mut Vec<u8>, is_last: bool) -> Result<(), Tampered> {
        self.aad[0] = u8::from(is_last);
        *segment = self.context.open(segment, &self.aad).map_err(|_| Tampered)?;
        Ok(())
    }
}

impl<C: SealSegment + ?Sized> SealSegment for Box<C> {
    fn seal(&mut self, segment: &mut Vec<u8>, is_last: bool) {
        (**self).seal(segment, is_last);
    }
}

impl<C: OpenSegment + ?Sized> OpenSegment for Box<C> {
    fn open(&mut self, segment: &mut Vec<u8>, is_last: bool) -> Result<(), Tampered> {
        (**self).open(segment, is_last)
    }
}

/// The associated data, with room for the mark of the last segment in front.
fn aad(context: &[u8]) -> Vec<u8> {
    [&[0], context].concat()
}

#[cfg(test)]
mod tests {
    use domain::Address;

    use super::*;
    use crate::segments::{SEGMENT_LEN, TAG_LEN};
    use crate::testing::rng;

    const NETWORK: QueryDomain = QueryDomain { chain_id: 1, registry: Address::ZERO };

    #[track_caller]
    fn check_comes_back(kem: Kem, length: usize) {
        let secret = SecretKey::make(kem, &mut rng(1));
        let answer = vec![7; length];
        let sealed = seal(&secret.public_key(), NETWORK, b"query", &answer, &mut rng(2));
        assert!(open(&secret, NETWORK, b"query", &sealed).unwrap() == answer);
    }

    #[test]
    fn answers_of_any_length_come_back() {
        for kem in [Kem::X25519, Kem::XWing] {
            for length in [0, 1, SEGMENT_LEN, SEGMENT_LEN + 1, 3 * SEGMENT_LEN + 5] {
                check_comes_back(kem, length);
            }
        }
    }

    #[test]
    fn answer_serves_no_other_key_network_or_query() {
        for kem in [Kem::X25519, Kem::XWing] {
            let (secret, other) =
                (SecretKey::make(kem, &mut rng(1)), SecretKey::make(kem, &mut rng(2)));
            let sealed = seal(&secret.public_key(), NETWORK, b"query", b"answer", &mut rng(3));
            let elsewhere = [
                QueryDomain { chain_id: 2, ..NETWORK },
                QueryDomain { registry: Address::repeat_byte(1), ..NETWORK },
            ];
            assert_eq!(open(&other, NETWORK, b"query", &sealed), Err(BadAnswer));
            assert_eq!(open(&secret, NETWORK, b"other", &sealed), Err(BadAnswer));
            for network in elsewhere {
                assert_eq!(open(&secret, network, b"query", &sealed), Err(BadAnswer));
            }
        }
    }

    #[test]
    fn changed_cut_and_reordered_answers_are_refused() {
        let secret = SecretKey::make(Kem::X25519, &mut rng(1));
        let answer = vec![7; 2 * SEGMENT_LEN + 5];
        let sealed = seal(&secret.public_key(), NETWORK, b"query", &answer, &mut rng(2));
        let refused = |bytes: &[u8]| open(&secret, NETWORK, b"query", bytes) == Err(BadAnswer);
        for length in [0, 2, 3, 34, 35, 36, 35 + SEGMENT_LEN + TAG_LEN, sealed.len() - 1] {
            assert!(refused(&sealed[..length]), "{length} bytes");
        }
        for place in [0, 1, 2, 3, 34, 35, 70_000, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(refused(&changed), "byte {place}");
        }
        let (head, segments) = sealed.split_at(35);
        let (first, rest) = segments.split_at(SEGMENT_LEN + TAG_LEN);
        let (second, last) = rest.split_at(SEGMENT_LEN + TAG_LEN);
        assert!(refused(&[head, second, first, last].concat()));
        assert!(refused(&[head, first, last].concat()));
        assert!(refused(&[sealed.as_slice(), &[0]].concat()));
    }

    #[test]
    fn unfinished_answer_is_refused() {
        let secret = SecretKey::make(Kem::X25519, &mut rng(1));
        let mut sealed = Vec::new();
        let public = secret.public_key();
        let mut writer =
            AnswerWriter::new(&public, NETWORK, b"", &mut sealed, &mut rng(2)).unwrap();
        writer.write_all(&vec![1; 3 * SEGMENT_LEN]).unwrap();
        drop(writer);
        assert!(sealed.len() > SEGMENT_LEN);
        assert_eq!(open(&secret, NETWORK, b"", &sealed), Err(BadAnswer));
    }
}
