//! The sealed record: one version of one record, as bytes that only its content key opens.
//!
//! # Format 1
//!
//! Integers are big-endian. What is sealed with the same inputs has the same bytes.
//!
//! ```text
//! offset length
//!      0      4  magic "SLRC"
//!      4      1  format, 1
//!      5      1  flags: bit 0 the body is one zstd frame (RFC 8878); the others are zero
//!      6      1  kind, by its number in `domain::Kind`
//!      7      1  content: 1 FHIR R4 JSON, 2 anything else
//!      8     32  record id
//!     40      4  version u32, from 1
//!     44     20  steward, by member address
//!     64     20  author, by member address
//!     84      8  created u64, seconds since 1970
//!     92      7  nonce prefix, random
//!     99     32  commitment to the content key
//!    131      n  the body in segments, see `segments`; these 131 bytes are the associated data of each
//! ```
//!
//! `body key [32] | commitment [32]` is HKDF-SHA256 of the content key, without salt, under the info
//! `"salus/record/v1"`. AES-GCM alone does not bind its key: a steward could make bytes that open to
//! one body under the key shown to the patient and to another under the key used later. With the
//! commitment, a digest stands for one body.
//!
//! The digest of a sealed record is the SHA-256 of all its bytes. Nothing in the header says whom the
//! record is about. The length of the body shows, to within the compression.
//!
//! Format 1 opens forever: `tests/samples` holds records sealed by the first release.

use std::io::{self, Read, Write};

use domain::RecordDigest;
use hkdf::Hkdf;
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::compression::{Decompressor, ZSTD_LEVEL, compress};
use crate::header::{COMMITMENT_LEN, HEADER_LEN, Header, RawHeader};
use crate::keys::ContentKey;
use crate::passing::{CopyError, DigestWriter, copy_body};
use crate::segments::{
    BodyCipher, NONCE_PREFIX_LEN, SEGMENT_LEN, SegmentReader, SegmentWriter, TAG_LEN, Tampered,
};

/// The longest body that is sealed or opened, in bytes.
pub const MAX_BODY_LEN: u64 = 256 * 1024 * 1024;

/// The longest sealed record, in bytes: a longest body that does not compress.
pub(crate) const MAX_SEALED_LEN: u64 =
    HEADER_LEN as u64 + MAX_BODY_LEN + (MAX_BODY_LEN / SEGMENT_LEN as u64 + 1) * TAG_LEN as u64;

const LABEL: &[u8] = b"salus/record/v1";

/// How much of a long body is tried out to see whether compressing helps, in bytes.
const SAMPLE_LEN: usize = 1024 * 1024;

/// The random inputs of sealing one record.
pub(crate) struct SealingKey {
    pub(crate) key: ContentKey,
    nonce_prefix: [u8; NONCE_PREFIX_LEN],
}

impl SealingKey {
    pub(crate) fn make(rng: &mut impl CryptoRng) -> Self {
        let key = ContentKey::make(rng);
        let mut nonce_prefix = [0; NONCE_PREFIX_LEN];
        rng.fill_bytes(&mut nonce_prefix);
        Self { key, nonce_prefix }
    }
}

/// Why a body was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The body is longer than anything that is kept.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The longest body, in bytes.
        limit: u64,
    },
    /// The body could not be read.
    #[error("the body could not be read")]
    Read(#[source] io::Error),
    /// The sealed bytes could not be written.
    #[error("the sealed record could not be written")]
    Write(#[source] io::Error),
}

/// Why sealed bytes did not open.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// The bytes do not begin as a sealed record does.
    #[error("not a sealed record")]
    NotSealed,
    /// A later program sealed it.
    #[error("sealed in format {format}, which this program does not know")]
    UnknownFormat {
        /// The format found.
        format: u8,
    },
    /// The header or the compressed body breaks the format's rules.
    #[error("the sealed record breaks the rules of its format")]
    Malformed,
    /// The key is another record's.
    #[error("the key does not fit this record")]
    WrongKey,
    /// The bytes were changed, cut short, extended or mixed after sealing.
    #[error("the sealed bytes were changed")]
    Tampered,
    /// The body is longer than anything that is kept.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The longest body, in bytes.
        limit: u64,
    },
    /// The sealed bytes could not be read.
    #[error("the sealed record could not be read")]
    Read(#[source] io::Error),
    /// The body could not be handed on.
    #[error("the body could not be written")]
    Write(#[source] io::Error),
}

/// The key of the body, and what the header shows of the content key.
struct BodyKey {
    key: Zeroizing<[u8; 32]>,
    commitment: [u8; COMMITMENT_LEN],
}

impl BodyKey {
    fn derive(key: &ContentKey) -> Self {
        let mut output = Zeroizing::new([0; 32 + COMMITMENT_LEN]);
        Hkdf::<Sha256>::new(None, key.expose())
            .expand(LABEL, &mut *output)
            .expect("HKDF-SHA256 gives up to 8,160 bytes");
        let mut body_key = Self { key: Zeroizing::new([0; 32]), commitment: [0; COMMITMENT_LEN] };
        body_key.key.copy_from_slice(&output[..32]);
        body_key.commitment.copy_from_slice(&output[32..]);
        body_key
    }
}

/// Seals a body that is in memory.
pub(crate) fn seal(header: &Header, body: &[u8], with: &SealingKey) -> Result<Vec<u8>, SealError> {
    if body.len() as u64 > MAX_BODY_LEN {
        return Err(SealError::TooLarge { limit: MAX_BODY_LEN });
    }
    let compressed = compress(body).filter(|compressed| compressed.len() < body.len());
    let sealed_body = compressed.as_deref().unwrap_or(body);
    let (raw, body_key) = prepare(header, compressed.is_some(), with);
    let encoded = raw.encode();

    let mut sealed = Vec::with_capacity(sealed_len(sealed_body.len()));
    sealed.extend_from_slice(&encoded);
    let cipher = BodyCipher::new(&body_key.key, &raw.nonce_prefix, &encoded);
    let mut segments = SegmentWriter::new(cipher, &mut sealed);
    segments
        .write_all(sealed_body)
        .and_then(|()| segments.finish().map(drop))
        .expect("writing to memory does not fail");
    Ok(sealed)
}

/// Seals a body of any length in constant memory, and says what was written.
pub(crate) fn seal_stream(
    header: &Header,
    mut body: impl Read,
    writer: impl Write,
    with: &SealingKey,
) -> Result<(RecordDigest, u64), SealError> {
    let mut sample = Vec::new();
    body.by_ref().take(SAMPLE_LEN as u64).read_to_end(&mut sample).map_err(SealError::Read)?;
    let mut writer = DigestWriter::new(writer);
    if sample.len() < SAMPLE_LEN {
        writer.write_all(&seal(header, &sample, with)?).map_err(SealError::Write)?;
        return Ok(writer.finish());
    }

    // A body that shrinks by less than a twentieth is not worth the time to expand it.
    let helps = compress(&sample).is_some_and(|small| small.len() < SAMPLE_LEN / 20 * 19);
    let (raw, body_key) = prepare(header, helps, with);
    let encoded = raw.encode();
    writer.write_all(&encoded).map_err(SealError::Write)?;
    let body = io::Cursor::new(sample).chain(body);
    let cipher = BodyCipher::new(&body_key.key, &raw.nonce_prefix, &encoded);
    let mut segments = SegmentWriter::new(cipher, &mut writer);
    if helps {
        let mut encoder =
            zstd::stream::write::Encoder::new(segments, ZSTD_LEVEL).map_err(SealError::Write)?;
        copy_body(body, &mut encoder).map_err(CopyError::into_seal_error)?;
        segments = encoder.finish().map_err(SealError::Write)?;
    } else {
        copy_body(body, &mut segments).map_err(CopyError::into_seal_error)?;
    }
    segments.finish().map_err(SealError::Write)?;
    Ok(writer.finish())
}

/// Opens sealed bytes and writes the body as its segments authenticate.
///
/// What was written counts only when this returns `Ok`: before the end, nobody can tell a body that
/// was cut short.
pub(crate) fn open_stream(
    mut sealed: impl Read,
    key: &ContentKey,
    writer: impl Write,
) -> Result<Header, UnsealError> {
    let mut encoded = [0; HEADER_LEN];
    sealed.read_exact(&mut encoded).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => UnsealError::NotSealed,
        _ => UnsealError::Read(error),
    })?;
    let raw = RawHeader::decode(&encoded)?;
    let body_key = BodyKey::derive(key);
    if !bool::from(body_key.commitment.ct_eq(&raw.commitment)) {
        return Err(UnsealError::WrongKey);
    }

    let cipher = BodyCipher::new(&body_key.key, &raw.nonce_prefix, &encoded);
    let mut segments = SegmentReader::new(cipher, sealed);
    if raw.is_compressed {
        let mut context = Decompressor::take().map_err(UnsealError::Read)?;
        let body = context.expand(&mut segments);
        copy_body(body, writer).map_err(CopyError::into_unseal_error)?;
        context.give_back();
        // The frame may end before the body does; reading on also proves that the body is whole.
        let mut rest = [0];
        let left = segments.read(&mut rest).map_err(CopyError::Read);
        if left.map_err(CopyError::into_unseal_error)? != 0 {
            return Err(UnsealError::Malformed);
        }
    } else {
        copy_body(segments, writer).map_err(CopyError::into_unseal_error)?;
    }
    Ok(raw.header)
}

fn prepare(header: &Header, is_compressed: bool, with: &SealingKey) -> (RawHeader, BodyKey) {
    let body_key = BodyKey::derive(&with.key);
    let raw = RawHeader {
        header: *header,
        is_compressed,
        nonce_prefix: with.nonce_prefix,
        commitment: body_key.commitment,
    };
    (raw, body_key)
}

/// The length of the sealed bytes of a body, compressed already or not at all.
const fn sealed_len(body_len: usize) -> usize {
    let segments = body_len / SEGMENT_LEN + 1;
    HEADER_LEN + body_len + segments * TAG_LEN
}

impl CopyError {
    fn into_seal_error(self) -> SealError {
        match self {
            Self::Read(error) => SealError::Read(error),
            Self::Write(error) => SealError::Write(error),
            Self::TooLarge => SealError::TooLarge { limit: MAX_BODY_LEN },
        }
    }

    fn into_unseal_error(self) -> UnsealError {
        match self {
            Self::Read(error) if error.get_ref().is_some_and(|inner| inner.is::<Tampered>()) => {
                UnsealError::Tampered
            }
            // The decoder reports a frame that breaks zstd's rules as either of these.
            Self::Read(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData
                        | io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::Other
                ) =>
            {
                UnsealError::Malformed
            }
            Self::Read(error) => UnsealError::Read(error),
            Self::Write(error) => UnsealError::Write(error),
            Self::TooLarge => UnsealError::TooLarge { limit: MAX_BODY_LEN },
        }
    }
}

/// Whether this is the content key to which a sealed record commits.
pub(crate) fn is_key_of(sealed: &[u8], key: &ContentKey) -> bool {
    let raw = sealed.first_chunk().map(RawHeader::decode);
    matches!(raw, Some(Ok(raw)) if BodyKey::derive(key).commitment == raw.commitment)
}

#[cfg(test)]
mod tests {
    use domain::{Address, Kind, RecordId, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::compression::ZSTD_WINDOW_LOG_MAX;
    use crate::header::{Content, FLAG_COMPRESSED};
    use crate::testing::{rng, sample};

    fn header() -> Header {
        Header {
            record: RecordId([0x11; 32].into()),
            version: 3.try_into().unwrap(),
            kind: Kind::Laboratory,
            content: Content::FhirJson,
            steward: Address::repeat_byte(0x22),
            author: Address::repeat_byte(0x33),
            created: Timestamp(1_795_374_960),
        }
    }

    fn with() -> SealingKey {
        SealingKey::make(&mut rng(1))
    }

    fn open(sealed: &[u8], key: &ContentKey) -> Result<(Header, Vec<u8>), UnsealError> {
        let mut body = Vec::new();
        let header = open_stream(sealed, key, &mut body)?;
        Ok((header, body))
    }

    /// Bytes that zstd cannot make smaller.
    fn noise(length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        rng(9).fill_bytes(&mut bytes);
        bytes
    }

    fn json(length: usize) -> Vec<u8> {
        br#"{"resourceType":"Observation","status":"final"},"#.repeat(length / 48 + 1)
    }

    #[track_caller]
    fn check_comes_back(body: &[u8]) {
        let sealed = seal(&header(), body, &with()).unwrap();
        assert_eq!(Header::read(&sealed).unwrap(), header());
        let (found, opened) = open(&sealed, &with().key).unwrap();
        assert_eq!(found, header());
        assert!(opened == body);

        let mut streamed = Vec::new();
        let (digest, length) = seal_stream(&header(), body, &mut streamed, &with()).unwrap();
        assert_eq!((digest, length), (RecordDigest::of(&streamed), streamed.len() as u64));
        assert!(open(&streamed, &with().key).unwrap().1 == body);
    }

    #[test]
    fn bodies_of_any_length_come_back() {
        check_comes_back(b"");
        check_comes_back(b"{}");
        check_comes_back(&json(3_000));
        check_comes_back(&noise(3_000));
        check_comes_back(&noise(SEGMENT_LEN));
        check_comes_back(&json(3 * SAMPLE_LEN));
        check_comes_back(&noise(SAMPLE_LEN));
        check_comes_back(&noise(2 * SAMPLE_LEN + 7));
    }

    #[test]
    fn compression_is_used_only_where_it_helps() {
        let is_compressed = |body: &[u8]| seal(&header(), body, &with()).unwrap()[5] == 1;
        assert!(is_compressed(&json(3_000)));
        assert!(!is_compressed(&noise(3_000)));
        assert!(!is_compressed(b"{}"));
    }

    #[test]
    fn same_inputs_give_the_same_bytes() {
        let body = json(5_000);
        assert_eq!(
            seal(&header(), &body, &with()).unwrap(),
            seal(&header(), &body, &with()).unwrap()
        );
    }

    #[track_caller]
    fn check_sample(name: &str, header: Header, body: &[u8]) {
        let made = seal(&header, body, &with()).unwrap();
        let sample = sample(name, &made);
        // A later zstd may compress differently, and still opens what earlier ones made.
        assert!(made == sample || made[5] == FLAG_COMPRESSED);
        let (found, opened) = open(&sample, &with().key).unwrap();
        assert_eq!(found, header);
        assert!(opened == body);
    }

    #[test]
    fn samples_of_the_first_release_open() {
        let letter = Header { content: Content::Other, kind: Kind::Document, ..header() };
        check_sample("record_v1_compressed.sealed", header(), &json(2_500));
        check_sample("record_v1_segments.sealed", letter, &noise(SEGMENT_LEN + 40));
        check_sample("record_v1_empty.sealed", letter, b"");
    }

    #[track_caller]
    fn check_refused(sealed: &[u8], expected: &str) {
        assert_eq!(open(sealed, &with().key).unwrap_err().to_string(), expected);
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let sealed = seal(&header(), b"{}", &with()).unwrap();
        let changed = |place: usize, byte: u8| {
            let mut changed = sealed.clone();
            changed[place] = byte;
            changed
        };
        check_refused(b"", "not a sealed record");
        check_refused(&sealed[..HEADER_LEN - 1], "not a sealed record");
        check_refused(&changed(0, b'X'), "not a sealed record");
        check_refused(&changed(4, 2), "sealed in format 2, which this program does not know");
        check_refused(&changed(5, 2), "the sealed record breaks the rules of its format");
        check_refused(&changed(6, 200), "the sealed record breaks the rules of its format");
        check_refused(&changed(7, 0), "the sealed record breaks the rules of its format");
        check_refused(&changed(43, 0), "the sealed record breaks the rules of its format");
    }

    #[test]
    fn key_of_another_record_is_refused() {
        let sealed = seal(&header(), b"{}", &with()).unwrap();
        let other = SealingKey::make(&mut rng(2));
        assert!(matches!(open(&sealed, &other.key), Err(UnsealError::WrongKey)));
    }

    #[test]
    fn header_of_another_record_is_refused() {
        let own = seal(&header(), b"{}", &with()).unwrap();
        let later = Header { version: 4.try_into().unwrap(), ..header() };
        let other = seal(&later, b"[]", &with()).unwrap();
        let mixed = [&other[..HEADER_LEN], &own[HEADER_LEN..]].concat();
        check_refused(&mixed, "the sealed bytes were changed");
    }

    /// Seals bytes as if they were a zstd frame.
    fn seal_frame(frame: &[u8]) -> Vec<u8> {
        let (raw, body_key) = prepare(&header(), true, &with());
        let encoded = raw.encode();
        let cipher = BodyCipher::new(&body_key.key, &raw.nonce_prefix, &encoded);
        let mut writer = SegmentWriter::new(cipher, encoded.to_vec());
        writer.write_all(frame).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn bad_frames_are_refused() {
        let malformed = "the sealed record breaks the rules of its format";
        let frame = compress(b"body body body body").unwrap();
        assert_eq!(open(&seal_frame(&frame), &with().key).unwrap().1, b"body body body body");
        check_refused(&seal_frame(b"no frame"), malformed);
        check_refused(&seal_frame(&frame[..frame.len() - 1]), malformed);
        check_refused(&seal_frame(&[frame.as_slice(), &[0]].concat()), malformed);
        check_refused(&seal_frame(&[frame.as_slice(), &frame].concat()), malformed);
        check_refused(&seal_frame(b""), malformed);
    }

    #[test]
    fn frame_with_a_huge_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).unwrap();
        encoder.write_all(&json(100_000)).unwrap();
        let malformed = "the sealed record breaks the rules of its format";
        check_refused(&seal_frame(&encoder.finish().unwrap()), malformed);
    }

    #[test]
    fn frame_that_expands_beyond_the_limit_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        for _ in 0..MAX_BODY_LEN / (1 << 20) {
            encoder.write_all(&[0; 1 << 20]).unwrap();
        }
        encoder.write_all(&[0]).unwrap();
        let sealed = seal_frame(&encoder.finish().unwrap());
        assert!(sealed.len() < 100_000);
        let error = open_stream(sealed.as_slice(), &with().key, io::sink()).unwrap_err();
        assert_eq!(error.to_string(), "the body is longer than 268435456 bytes");
    }

    #[test]
    fn longest_body_streams_and_a_longer_one_is_refused() {
        let mut sealed = Vec::new();
        let body = || io::repeat(b'x').take(MAX_BODY_LEN);
        seal_stream(&header(), body(), &mut sealed, &with()).unwrap();
        let mut opened = Counter(0);
        open_stream(sealed.as_slice(), &with().key, &mut opened).unwrap();
        assert_eq!(opened.0, MAX_BODY_LEN);
        let longer = seal_stream(&header(), body().chain(&b"x"[..]), io::sink(), &with());
        assert!(matches!(longer, Err(SealError::TooLarge { limit: MAX_BODY_LEN })));
    }

    struct Counter(u64);

    impl Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn any_body_comes_back(body in prop::collection::vec(any::<u8>(), 0..2_000), json in any::<bool>()) {
            let body = if json { self::json(body.len()) } else { body };
            let sealed = seal(&header(), &body, &with()).unwrap();
            prop_assert_eq!(open(&sealed, &with().key).unwrap(), (header(), body));
        }

        #[test]
        fn tampered_record(
            length in 0_usize..3_000,
            json in any::<bool>(),
            place in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let body = if json { self::json(length) } else { noise(length) };
            let mut sealed = seal(&header(), &body, &with()).unwrap();
            let place = place.index(sealed.len());
            sealed[place] ^= 1 << bit;
            prop_assert!(open(&sealed, &with().key).is_err(), "byte {}", place);
        }

        #[test]
        fn record_cut_short(length in 0_usize..3_000, cut in any::<prop::sample::Index>()) {
            let sealed = seal(&header(), &noise(length), &with()).unwrap();
            prop_assert!(open(&sealed[..cut.index(sealed.len())], &with().key).is_err());
        }

        #[test]
        fn garbage_never_opens(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(open(&bytes, &with().key).is_err());
            let framed = seal_frame(&bytes);
            // A frame of our own making may be anything, but must not bring the program down.
            let _ = open(&framed, &with().key);
        }
    }
}
