//! Opens a file whatever it is packed with, which its first bytes say and not its name, and takes its digest.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use alloy_primitives::B256;
use flate2::read::MultiGzDecoder;
use lzma_rust2::XzReader;
use sha2::{Digest as _, Sha256};

/// What a file is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Xz,
    Zstandard,
}

impl Packing {
    /// # Source
    ///
    /// RFC 1952; the .xz file format 1.2.1, section 2.1.1; RFC 8878.
    const MAGIC: [(&'static [u8], Self); 3] = [
        (b"\x1f\x8b", Self::Gzip),
        (b"\xfd7zXZ\0", Self::Xz),
        (b"\x28\xb5\x2f\xfd", Self::Zstandard),
    ];

    /// As many bytes as the longest of them has.
    const MAGIC_BYTES: usize = 6;

    fn of(first: &[u8]) -> Self {
        let found = Self::MAGIC.iter().find(|(magic, _)| first.starts_with(magic));
        found.map_or(Self::Plain, |(_, packing)| *packing)
    }
}

/// More memory than `xz -9` asks of whoever unpacks, in KiB.
const XZ_MEMORY_KIB: u32 = 128 * 1_024;

/// The content of what may be packed.
///
/// # Errors
///
/// What reading reports. What is packed wrongly shows when the content is read.
pub fn unpacked<'a>(mut input: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut first = Vec::new();
    input.by_ref().take(Packing::MAGIC_BYTES as u64).read_to_end(&mut first)?;
    let packing = Packing::of(&first);
    let whole = io::Cursor::new(first).chain(input);
    Ok(match packing {
        Packing::Plain => Box::new(whole),
        Packing::Gzip => Box::new(MultiGzDecoder::new(whole)),
        Packing::Xz => Box::new(XzReader::new_mem_limit(whole, true, XZ_MEMORY_KIB)),
        Packing::Zstandard => Box::new(zstd::Decoder::new(whole)?),
    })
}

/// What a file is known by: the SHA-256 of its bytes as they lie there, and how many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Print {
    pub(super) digest: B256,
    pub(super) size_bytes: u64,
}

impl Print {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Printing::new(File::open(path)?).finish()
    }
}

/// Passes bytes on, and takes their print.
pub(super) struct Printing<R> {
    input: R,
    hasher: Sha256,
    size_bytes: u64,
}

impl<R: Read> Printing<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, hasher: Sha256::new(), size_bytes: 0 }
    }

    /// Of all there is, also of what was not asked for.
    pub(super) fn finish(mut self) -> io::Result<Print> {
        io::copy(&mut self, &mut io::sink())?;
        let digest = B256::from_slice(&self.hasher.finalize());
        Ok(Print { digest, size_bytes: self.size_bytes })
    }
}

impl<R: Read> Read for Printing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        self.hasher.update(&buffer[..length]);
        self.size_bytes += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const TEXT: &[u8] = b"Archive_Date,Total\n";

    #[track_caller]
    fn check(packed: &[u8]) {
        let mut text = Vec::new();
        unpacked(packed).unwrap().read_to_end(&mut text).unwrap();
        assert_eq!(text, TEXT);
    }

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    /// [`TEXT`], by `xz`.
    const XZ: &str = "fd377a585a000004e6d6b4460200210116000000742fe5a3010012417263686976655f446174652c546f74616c0a0000d11e012c06431eb000012b139c0948d21fb6f37d010000000004595a";

    #[test]
    fn files_are_told_by_their_first_bytes() {
        check(TEXT);
        check(&gzip(TEXT));
        check(&[gzip(&TEXT[..5]), gzip(&TEXT[5..])].concat());
        check(&zstd::encode_all(TEXT, 1).unwrap());
        check(&hex::decode(XZ).unwrap());
    }

    #[test]
    fn what_is_packed_and_cut_off_is_an_error() {
        for packed in [gzip(TEXT), zstd::encode_all(TEXT, 1).unwrap(), hex::decode(XZ).unwrap()] {
            let cut = &packed[..packed.len() - 6];
            let read = unpacked(cut).and_then(|mut input| input.read_to_end(&mut Vec::new()));
            assert!(read.is_err());
        }
    }

    #[test]
    fn short_and_empty_files_are_plain() {
        for text in [b"".as_slice(), b"a", b"\xfd7"] {
            let mut read = Vec::new();
            unpacked(text).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, text);
        }
    }
}
