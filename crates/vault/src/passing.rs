//! Bytes that pass: hashed, counted, and never more of them than a body may have.

use std::io::{self, Read, Write};

use domain::RecordDigest;
use sha2::{Digest as _, Sha256};

use crate::sealed::MAX_BODY_LEN;
use crate::segments::SEGMENT_LEN;

/// Which side of a copy failed.
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
    TooLarge,
}

/// Copies a body, never more of it than a body may have: what a frame says of its length is not
/// believed.
pub(crate) fn copy_body(mut reader: impl Read, mut writer: impl Write) -> Result<(), CopyError> {
    let mut buffer = vec![0; SEGMENT_LEN];
    let mut copied = 0;
    loop {
        let count = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        copied += count as u64;
        if copied > MAX_BODY_LEN {
            return Err(CopyError::TooLarge);
        }
        writer.write_all(&buffer[..count]).map_err(CopyError::Write)?;
    }
}

/// Hashes and counts what passes.
pub(crate) struct DigestWriter<W> {
    hash: Sha256,
    written: u64,
    inner: W,
}

impl<W: Write> DigestWriter<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { hash: Sha256::new(), written: 0, inner }
    }

    /// The digest of what was written, and how much it was.
    pub(crate) fn finish(self) -> (RecordDigest, u64) {
        let digest = <[u8; 32]>::from(self.hash.finalize());
        (RecordDigest(digest.into()), self.written)
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hash.update(&bytes[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Hashes what passes.
pub(crate) struct DigestReader<R> {
    hash: Sha256,
    inner: R,
}

impl<R: Read> DigestReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { hash: Sha256::new(), inner }
    }

    /// The digest of what was read. After a record opened, that is all there was.
    pub(crate) fn finish(self) -> RecordDigest {
        RecordDigest(<[u8; 32]>::from(self.hash.finalize()).into())
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}
