//! Bytes as a series of encrypted segments, in constant memory: record bodies and answers.
//!
//! ```text
//! bytes    cut into segments of 64 KiB; only the last may be shorter, and it is empty only when
//!          there are no bytes at all
//! segment  ciphertext | tag [16]
//! ```
//!
//! How a segment is encrypted is the caller's [`SealSegment`]. It must bind the segment's place and
//! whether it is the last. Then a segment that is changed, moved, dropped or doubled fails, and so do
//! bytes that were cut short or extended.

use std::io::{self, BufRead, Read, Write};

use aead_stream::{NewStream as _, StreamBE32, StreamPrimitive as _};
use aes_gcm::Aes256Gcm;

/// Length of every segment but the last, in bytes.
pub(crate) const SEGMENT_LEN: usize = 64 * 1024;

/// Length of the random part of a nonce, in bytes.
pub(crate) const NONCE_PREFIX_LEN: usize = 7;

/// How much longer a segment is when it is sealed, in bytes.
pub(crate) const TAG_LEN: usize = 16;

const SEALED_SEGMENT_LEN: usize = SEGMENT_LEN + TAG_LEN;

/// A segment is not what was sealed.
#[derive(Debug, thiserror::Error)]
#[error("a segment does not authenticate")]
pub(crate) struct Tampered;

impl From<Tampered> for io::Error {
    fn from(tampered: Tampered) -> Self {
        Self::new(io::ErrorKind::InvalidData, tampered)
    }
}

/// Encrypts segments, one after the other.
pub(crate) trait SealSegment {
    /// Turns a segment into ciphertext and tag.
    fn seal(&mut self, segment: &mut Vec<u8>, is_last: bool);
}

/// Decrypts segments, one after the other.
pub(crate) trait OpenSegment {
    /// Turns ciphertext and tag into a segment.
    fn open(&mut self, segment: &mut Vec<u8>, is_last: bool) -> Result<(), Tampered>;
}

/// The segments of a record's body: STREAM over AES-256-GCM, the header as associated data of each.
///
/// ```text
/// nonce  prefix [7] | segment number u32, big-endian, from 0 | 1 for the last segment, else 0
/// ```
///
/// # Source
///
/// Hoang, Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse
/// Misuse-Resistance" (2015), with the nonce of the crate `aead-stream`.
pub(crate) struct BodyCipher<'h> {
    stream: StreamBE32<Aes256Gcm>,
    header: &'h [u8],
    position: u32,
}

impl<'h> BodyCipher<'h> {
    pub(crate) fn new(
        key: &[u8; 32],
        nonce_prefix: &[u8; NONCE_PREFIX_LEN],
        header: &'h [u8],
    ) -> Self {
        Self { stream: StreamBE32::new(key.into(), nonce_prefix.into()), header, position: 0 }
    }
}

impl SealSegment for BodyCipher<'_> {
    fn seal(&mut self, segment: &mut Vec<u8>, is_last: bool) {
        self.stream
            .encrypt_in_place(self.position, is_last, self.header, segment)
            .expect("a segment is far below the limits of AES-GCM");
        self.position += 1;
    }
}

impl OpenSegment for BodyCipher<'_> {
    fn open(&mut self, segment: &mut Vec<u8>, is_last: bool) -> Result<(), Tampered> {
        self.stream
            .decrypt_in_place(self.position, is_last, self.header, segment)
            .map_err(|_| Tampered)?;
        self.position = self.position.checked_add(1).ok_or(Tampered)?;
        Ok(())
    }
}

/// Encrypts what is written to it. Nothing is complete before [`SegmentWriter::finish`].
pub(crate) struct SegmentWriter<C, W> {
    cipher: C,
    segment: Vec<u8>,
    inner: W,
}

impl<C: SealSegment, W: Write> SegmentWriter<C, W> {
    pub(crate) const fn new(cipher: C, inner: W) -> Self {
        Self { cipher, segment: Vec::new(), inner }
    }

    /// Writes the last segment.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.cipher.seal(&mut self.segment, true);
        self.inner.write_all(&self.segment)?;
        Ok(self.inner)
    }
}

impl<C: SealSegment, W: Write> Write for SegmentWriter<C, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full segment waits until more comes, because the last one is sealed differently.
        if self.segment.len() == SEGMENT_LEN && !bytes.is_empty() {
            self.cipher.seal(&mut self.segment, false);
            self.inner.write_all(&self.segment)?;
            self.segment.clear();
        }
        let taken = bytes.len().min(SEGMENT_LEN - self.segment.len());
        if self.segment.is_empty() {
            // Most records are written in one go and need no more room than this.
            self.segment.reserve(taken + TAG_LEN);
        }
        self.segment.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decrypts what it reads, and gives out a segment only after that segment authenticated.
///
/// Reading to the end without an error proves that the bytes are whole; before that, they may have
/// been cut short.
pub(crate) struct SegmentReader<C, R> {
    /// `None` once the last segment was read.
    cipher: Option<C>,
    /// The segment being given out.
    segment: Vec<u8>,
    given: usize,
    /// The first byte of the segment after it, which tells that it is not the last.
    ahead: Option<u8>,
    is_first: bool,
    inner: R,
}

impl<C: OpenSegment, R: Read> SegmentReader<C, R> {
    pub(crate) const fn new(cipher: C, inner: R) -> Self {
        Self {
            cipher: Some(cipher),
            segment: Vec::new(),
            given: 0,
            ahead: None,
            is_first: true,
            inner,
        }
    }

    /// Reads and opens the next segment. After an error there is none.
    fn read_segment(&mut self) -> io::Result<()> {
        self.given = 0;
        self.segment.clear();
        let Some(mut cipher) = self.cipher.take() else { return Ok(()) };
        self.segment.extend(self.ahead.take());
        let wanted = SEALED_SEGMENT_LEN + 1 - self.segment.len();
        let outcome = self.inner.by_ref().take(wanted as u64).read_to_end(&mut self.segment);

        let is_last = self.segment.len() <= SEALED_SEGMENT_LEN;
        if !is_last {
            self.ahead = self.segment.pop();
        }
        let outcome = outcome.and_then(|_| Ok(cipher.open(&mut self.segment, is_last)?));
        let is_padding = is_last && !self.is_first && self.segment.is_empty();
        if outcome.is_err() || is_padding {
            // What did not authenticate is never given out, whatever the caller does next.
            self.segment.clear();
            return outcome.and(Err(Tampered.into()));
        }
        self.is_first = false;
        if !is_last {
            self.cipher = Some(cipher);
        }
        Ok(())
    }
}

impl<C: OpenSegment, R: Read> BufRead for SegmentReader<C, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.given == self.segment.len() {
            self.read_segment()?;
        }
        Ok(&self.segment[self.given..])
    }

    fn consume(&mut self, count: usize) {
        self.given += count;
    }
}

impl<C: OpenSegment, R: Read> Read for SegmentReader<C, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [1; 32];

    fn cipher() -> BodyCipher<'static> {
        BodyCipher::new(&KEY, &[2; NONCE_PREFIX_LEN], b"header")
    }

    fn seal(bytes: &[u8]) -> Vec<u8> {
        let mut writer = SegmentWriter::new(cipher(), Vec::new());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn open(sealed: &[u8]) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        SegmentReader::new(cipher(), sealed).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[track_caller]
    fn check_length(length: usize, segments: usize) {
        let bytes: Vec<u8> = (0..=250).cycle().take(length).collect();
        let sealed = seal(&bytes);
        assert_eq!(sealed.len(), length + segments * TAG_LEN);
        assert!(open(&sealed).unwrap() == bytes);
    }

    #[test]
    fn lengths_around_the_edges_come_back() {
        check_length(0, 1);
        check_length(1, 1);
        check_length(SEGMENT_LEN - 1, 1);
        check_length(SEGMENT_LEN, 1);
        check_length(SEGMENT_LEN + 1, 2);
        check_length(3 * SEGMENT_LEN, 3);
    }

    /// Three whole segments, and one of ten bytes.
    fn sealed_segments() -> Vec<Vec<u8>> {
        let sealed = seal(&[3; 3 * SEGMENT_LEN + 10]);
        sealed.chunks(SEALED_SEGMENT_LEN).map(<[u8]>::to_vec).collect()
    }

    #[track_caller]
    fn check_refused(segments: &[&[u8]]) {
        let error = open(&segments.concat()).unwrap_err();
        assert!(error.get_ref().is_some_and(|inner| inner.is::<Tampered>()), "{error}");
    }

    #[test]
    fn reordered_segments_are_refused() {
        let [a, b, c, d] = &sealed_segments()[..] else { panic!("four segments") };
        check_refused(&[b, a, c, d]);
        check_refused(&[a, c, b, d]);
        check_refused(&[d, b, c, a]);
    }

    #[test]
    fn dropped_and_doubled_segments_are_refused() {
        let [a, b, c, d] = &sealed_segments()[..] else { panic!("four segments") };
        check_refused(&[b, c, d]);
        check_refused(&[a, c, d]);
        check_refused(&[a, b, b, c, d]);
    }

    #[test]
    fn bytes_cut_short_at_a_segment_are_refused() {
        let [a, b, c, _] = &sealed_segments()[..] else { panic!("four segments") };
        check_refused(&[a, b, c]);
        check_refused(&[a]);
        check_refused(&[]);
    }

    #[test]
    fn extended_bytes_are_refused() {
        let [a, b, c, d] = &sealed_segments()[..] else { panic!("four segments") };
        check_refused(&[a, b, c, d, &[0]]);
        check_refused(&[a, b, c, d, d]);
        check_refused(&[a, b, c, d, &seal(b"")]);
    }

    #[test]
    fn empty_last_segment_is_refused() {
        let mut cipher = cipher();
        let (mut full, mut empty) = (vec![3; SEGMENT_LEN], Vec::new());
        cipher.seal(&mut full, false);
        cipher.seal(&mut empty, true);
        check_refused(&[&full, &empty]);
    }

    #[test]
    fn nothing_of_a_bad_segment_is_given_out() {
        let mut sealed = sealed_segments();
        sealed[1][0] ^= 1;
        let bytes = sealed.concat();
        let mut reader = SegmentReader::new(cipher(), bytes.as_slice());
        let mut given = Vec::new();
        assert!(reader.read_to_end(&mut given).is_err());
        assert_eq!(given.len(), SEGMENT_LEN);
        assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_written_in_any_pieces_come_back(
            bytes in prop::collection::vec(any::<u8>(), 0..3_000),
            cuts in prop::collection::vec(1_usize..500, 0..20),
        ) {
            let mut writer = SegmentWriter::new(cipher(), Vec::new());
            let mut rest = bytes.as_slice();
            for cut in cuts {
                let (piece, others) = rest.split_at(cut.min(rest.len()));
                writer.write_all(piece).unwrap();
                rest = others;
            }
            writer.write_all(rest).unwrap();
            let sealed = writer.finish().unwrap();
            prop_assert_eq!(&sealed, &seal(&bytes));
            prop_assert_eq!(open(&sealed).unwrap(), bytes);
        }

        #[test]
        fn any_flipped_bit_is_refused(
            length in 0_usize..600,
            place in any::<prop::sample::Index>(),
            bit in 0_u8..8,
        ) {
            let mut sealed = seal(&vec![9; length]);
            let place = place.index(sealed.len());
            sealed[place] ^= 1 << bit;
            prop_assert!(open(&sealed).is_err());
        }
    }
}
