//! Sealed bytes as they are sent: read in steps, from any place, where they lie.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use axum::body::Bytes;
use bao_tree::io::sync::ReadAt;
use vault::SealedBytes;

/// How much is sent, in bytes, before the holder is asked again whether it may go on.
///
/// What was handed to the network before a revocation cannot be recalled: that is one step, and what
/// the operating system or QUIC had not sent yet of those before it.
pub const STEP_LEN: usize = 64 * 1024;

/// The sealed bytes of one version. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    place: Arc<Place>,
    len: u64,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    File(File),
}

impl Body {
    pub(crate) fn of(sealed: SealedBytes) -> io::Result<Self> {
        let (place, len) = match sealed {
            SealedBytes::Memory(bytes) => {
                let bytes = bytes.into_inner();
                let len = bytes.len() as u64;
                (Place::Memory(bytes), len)
            }
            SealedBytes::File(file) => {
                let len = file.metadata()?.len();
                (Place::File(file), len)
            }
        };
        Ok(Self { place: Arc::new(place), len })
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The step that begins at `offset`, or what is left up to `end`.
    pub(crate) async fn step(&self, offset: u64, end: u64) -> io::Result<Bytes> {
        let len = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX).min(STEP_LEN);
        let body = self.clone();
        let read = move || {
            let mut bytes = vec![0; len];
            body.read_exact_at(offset, &mut bytes)?;
            Ok(Bytes::from(bytes))
        };
        match *self.place {
            Place::Memory(_) => read(),
            Place::File(_) => {
                tokio::task::spawn_blocking(read).await.expect("reading does not panic")
            }
        }
    }

    /// Reads from the beginning.
    pub(crate) const fn reader(&self) -> BodyReader<'_> {
        BodyReader { body: self, offset: 0 }
    }
}

impl ReadAt for Body {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        match &*self.place {
            Place::Memory(bytes) => {
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                let mut rest = bytes.get(offset..).unwrap_or_default();
                rest.read(buffer)
            }
            Place::File(file) => FileExt::read_at(file, buffer, offset),
        }
    }
}

pub(crate) struct BodyReader<'b> {
    body: &'b Body,
    offset: u64,
}

impl Read for BodyReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read_at(self.offset, buffer)?;
        self.offset += count as u64;
        Ok(count)
    }
}
