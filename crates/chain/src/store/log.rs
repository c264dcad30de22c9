//! The block log: every block in order, in one file that is only appended to.
//!
//! # Format
//!
//! All integers little-endian. The file begins with `"SALUSLOG"` and a version as `u32`, now 1. Then
//! frames follow, one per block, beginning with block 1:
//!
//! ```text
//! frame    length of payload u32 | CRC-32 of payload u32 | payload
//! payload  header: length u32, RLP | certificate: length u32, bytes | count u32
//!          count x transaction: sender [20] | length u32, EIP-2718 bytes
//!          count x receipt: success u8 | cumulative gas u64 | logs u32, each log:
//!              address [20] | topics u8 | topics x [32] | data: length u32, bytes
//! ```
//!
//! # Crashes
//!
//! A block is confirmed after its frame was written and the file synchronised; then its place is noted
//! in `blocks.places`. A crash can leave an unconfirmed frame half written at the end; opening cuts it
//! off. Damage anywhere else is reported and nothing is cut, because confirmed blocks may follow it.
//! So is an end that is missing or damaged although its place was noted: that block was confirmed, and
//! only who looks after the chain may give it up, by removing `blocks.places`.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, Log, LogData};
use alloy_rlp::{Decodable as _, Encodable as _};
use parking_lot::RwLock;

use super::bytes::{Malformed, Reader, put_length, put_sized};
use crate::{Block, Receipt, Transaction};

const MAGIC: &[u8; 8] = b"SALUSLOG";
const VERSION: u32 = 1;
const FILE_HEADER_LEN: usize = 12;
const FRAME_HEADER_LEN: usize = 8;

/// Where the first frame begins.
const BEGIN: u64 = FILE_HEADER_LEN as u64;

/// What a frame with this payload takes in the file.
const fn frame_len(payload_len: usize) -> u64 {
    FRAME_HEADER_LEN as u64 + payload_len as u64
}

/// A frame longer than this was not written by this program.
const PAYLOAD_LEN_MAX: u32 = 1 << 30;

/// Why the block log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused.
    #[error("could not {action} {}", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file is no block log.
    #[error("{} is no block log", path.display())]
    NotALog {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version of this program, usually a later one.
    #[error(
        "{} has format version {found}, this program reads version {VERSION}; use the program that wrote it",
        path.display()
    )]
    OtherVersion {
        /// The file.
        path: PathBuf,
        /// The version that it says it has.
        found: u32,
    },
    /// A block is damaged, and it was confirmed or others follow it.
    #[error(
        "{} is damaged at byte {offset}, within confirmed blocks; restore it from a backup",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged frame begins.
        offset: u64,
    },
    /// The log ends, or is damaged, before blocks that were confirmed.
    #[error(
        "{} is whole only up to block {last}, but block {confirmed} was confirmed; restore it from \
         a backup, or remove blocks.places beside it to give up the blocks after {last}",
        path.display()
    )]
    Short {
        /// The file.
        path: PathBuf,
        /// The last block that is whole.
        last: u64,
        /// The last block that was confirmed.
        confirmed: u64,
    },
    /// A block is too long for the log.
    #[error(
        "block {number} takes {size} bytes, more than the {PAYLOAD_LEN_MAX} that the log holds"
    )]
    TooLong {
        /// Which block.
        number: u64,
        /// Its length in bytes.
        size: usize,
    },
}

/// Where a block begins in the log, and its hash: one entry of `blocks.places`, per block, in order:
/// `offset u64 | hash [32] | CRC-32 of both u32`.
const PLACE_LEN: usize = 44;

/// The part of a place before its checksum.
const PLACE_CONTENT_LEN: usize = 40;

/// The block log, open for appending and reading.
///
/// One thread appends; others read meanwhile.
#[derive(Debug)]
pub(crate) struct BlockLog {
    path: PathBuf,
    file: File,
    /// Where each block begins, so that opening need not read the whole log.
    places: File,
    chain_id: u64,
    /// Whether appending waits for the disk.
    durable: bool,
    extent: RwLock<Extent>,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    /// The number of the last block.
    last: u64,
    /// Where in the file the next frame goes.
    end: u64,
}

impl BlockLog {
    /// Opens the log in `dir`, creating it when there is none.
    ///
    /// Blocks whose places were noted before are taken as they are; later ones are read and checked.
    pub(crate) fn open(dir: &Path, chain_id: u64, durable: bool) -> Result<Self, LogError> {
        let path = dir.join("blocks.log");
        let fail = |action| {
            let path = path.clone();
            move |source| LogError::Io { action, path, source }
        };
        let file = open_file(&path).map_err(fail("open"))?;
        let places = open_file(&dir.join("blocks.places")).map_err(fail("open the places of"))?;
        let length = file.metadata().map_err(fail("open"))?.len();
        let noted_len = places.metadata().map_err(fail("open the places of"))?.len();
        // A place is noted only after its block is on the disk.
        let confirmed = noted_len / PLACE_LEN as u64;
        if length < BEGIN && confirmed > 0 {
            return Err(LogError::Short { path, last: 0, confirmed });
        }
        if length < BEGIN {
            // Nothing was confirmed yet: the header is synchronised before the first frame.
            file.set_len(0).map_err(fail("begin"))?;
            let mut header = MAGIC.to_vec();
            header.extend_from_slice(&VERSION.to_le_bytes());
            file.write_all_at(&header, 0).map_err(fail("begin"))?;
            file.sync_all().map_err(fail("begin"))?;
            sync_dir(dir).map_err(fail("begin"))?;
        } else {
            let mut header = [0; FILE_HEADER_LEN];
            file.read_exact_at(&mut header, 0).map_err(fail("read"))?;
            if &header[..8] != MAGIC {
                return Err(LogError::NotALog { path });
            }
            let found = u32::from_le_bytes(header[8..].try_into().expect("four bytes"));
            if found != VERSION {
                return Err(LogError::OtherVersion { path, found });
            }
        }
        let extent = RwLock::new(Extent { last: 0, end: BEGIN });
        let log = Self { path, file, places, chain_id, durable, extent };
        let length = length.max(BEGIN);
        let noted = log.noted(length, confirmed).map_err(log.fail("read the places of"))?;
        let whole = log.scan(noted, length, confirmed)?;
        *log.extent.write() = whole;
        Ok(log)
    }

    /// The number of the last block, 0 when there is none.
    pub(crate) fn last(&self) -> u64 {
        self.extent.read().last
    }

    /// Length of the file, in bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.extent.read().end
    }

    /// Reads block `number`; `None` when there is no such block.
    pub(crate) fn read(&self, number: u64) -> Result<Option<Block>, LogError> {
        let Some((offset, hash)) = self.place(number)? else { return Ok(None) };
        let damaged = || LogError::Damaged { path: self.path.clone(), offset };
        let end = self.size_bytes();
        let payload = self.read_frame(offset, end)?.ok_or_else(damaged)?;
        let block = decode(&payload, self.chain_id).map_err(|_| damaged())?;
        let asked = block.hash == hash && block.header.number == number;
        if asked { Ok(Some(block)) } else { Err(damaged()) }
    }

    /// The hash of block `number`; `None` when there is no such block.
    pub(crate) fn hash(&self, number: u64) -> Result<Option<B256>, LogError> {
        Ok(self.place(number)?.map(|(_, hash)| hash))
    }

    fn place(&self, number: u64) -> Result<Option<(u64, B256)>, LogError> {
        if number == 0 || number > self.last() {
            return Ok(None);
        }
        let place = self.noted_place(number).map_err(self.fail("read the places of"))?;
        Ok(Some(place))
    }

    fn noted_place(&self, number: u64) -> io::Result<(u64, B256)> {
        let mut place = [0; PLACE_LEN];
        self.places.read_exact_at(&mut place, (number - 1) * PLACE_LEN as u64)?;
        let offset = u64::from_le_bytes(place[..8].try_into().expect("eight bytes"));
        Ok((offset, B256::from_slice(&place[8..PLACE_CONTENT_LEN])))
    }

    /// Notes where blocks begin, the first of them being block `first`.
    fn note(&self, first: u64, places: &[(u64, B256)]) -> Result<(), LogError> {
        let mut bytes = Vec::with_capacity(places.len() * PLACE_LEN);
        for (offset, hash) in places {
            let start = bytes.len();
            bytes.extend_from_slice(&offset.to_le_bytes());
            bytes.extend_from_slice(hash.as_slice());
            let checksum = crc32fast::hash(&bytes[start..]);
            bytes.extend_from_slice(&checksum.to_le_bytes());
        }
        let written = self.places.write_all_at(&bytes, (first - 1) * PLACE_LEN as u64);
        written.map_err(self.fail("note the places of"))
    }

    /// Appends blocks and returns once they are on the disk, if the log is durable.
    ///
    /// To be called by one thread only.
    ///
    /// # Errors
    ///
    /// After an error nothing was confirmed. What may have been written of it is cut off; if even
    /// that fails, blocks of which nobody was told may be there when the log is next opened.
    pub(crate) fn append(&self, blocks: &[&Block]) -> Result<(), LogError> {
        let Extent { last, end } = *self.extent.read();
        let mut bytes = Vec::new();
        let mut places = Vec::with_capacity(blocks.len());
        for block in blocks {
            places.push((end + bytes.len() as u64, block.hash));
            let start = bytes.len();
            bytes.extend_from_slice(&[0; FRAME_HEADER_LEN]);
            encode(block, &mut bytes);
            let (header, payload) = bytes[start..].split_at_mut(FRAME_HEADER_LEN);
            let length = u32::try_from(payload.len()).ok().filter(|len| *len <= PAYLOAD_LEN_MAX);
            let too_long = LogError::TooLong { number: block.header.number, size: payload.len() };
            let length = length.ok_or(too_long)?;
            header[..4].copy_from_slice(&length.to_le_bytes());
            header[4..].copy_from_slice(&crc32fast::hash(payload).to_le_bytes());
        }
        let sync = || if self.durable { self.file.sync_data() } else { Ok(()) };
        let written = self.file.write_all_at(&bytes, end).and_then(|()| sync());
        let noted =
            written.map_err(self.fail("append to")).and_then(|()| self.note(last + 1, &places));
        if let Err(error) = noted {
            // The places first: a place without its block would say that a confirmed block is lost.
            let cut = self.places.set_len(last * PLACE_LEN as u64);
            let _ = cut.and_then(|()| self.file.set_len(end)).and_then(|()| self.file.sync_all());
            return Err(error);
        }
        *self.extent.write() =
            Extent { last: last + blocks.len() as u64, end: end + bytes.len() as u64 };
        Ok(())
    }

    /// How far the noted places can be trusted.
    ///
    /// They are not synchronised, so a power cut can leave any part of them zero or as it was before.
    fn noted(&self, length: u64, count: u64) -> io::Result<Extent> {
        let nothing = Extent { last: 0, end: BEGIN };
        if count == 0 || !self.places_are_intact(count)? {
            return Ok(nothing);
        }
        // The last one noted must begin a whole frame of the block it names.
        let (offset, hash) = self.noted_place(count)?;
        let payload = self.read_frame(offset, length).ok().flatten();
        let whole = payload.and_then(|payload| {
            let block = decode(&payload, self.chain_id).ok()?;
            let fits = block.hash == hash && block.header.number == count;
            fits.then_some(offset + frame_len(payload.len()))
        });
        Ok(whole.map_or(nothing, |end| Extent { last: count, end }))
    }

    fn places_are_intact(&self, count: u64) -> io::Result<bool> {
        const AT_ONCE: usize = 1_024;
        let mut bytes = [0; PLACE_LEN * AT_ONCE];
        let mut before = 0;
        for first in (0..count).step_by(AT_ONCE) {
            let entries =
                usize::try_from((count - first).min(AT_ONCE as u64)).expect("at most 1024");
            let bytes = &mut bytes[..entries * PLACE_LEN];
            self.places.read_exact_at(bytes, first * PLACE_LEN as u64)?;
            for place in bytes.chunks_exact(PLACE_LEN) {
                let offset = u64::from_le_bytes(place[..8].try_into().expect("eight bytes"));
                let (content, checksum) = place.split_at(PLACE_CONTENT_LEN);
                let intact = crc32fast::hash(content).to_le_bytes() == checksum;
                let begins = if before == 0 { offset == BEGIN } else { offset > before };
                if !intact || !begins {
                    return Ok(false);
                }
                before = offset;
            }
        }
        Ok(true)
    }

    /// Reads the frames after the last noted one; cuts off a half-written end.
    fn scan(&self, noted: Extent, length: u64, confirmed: u64) -> Result<Extent, LogError> {
        let Extent { mut last, end: mut offset } = noted;
        let mut found: Vec<(u64, B256)> = Vec::new();
        let mut parent = match last {
            0 => None,
            last => Some(self.noted_place(last).map_err(self.fail("read the places of"))?.1),
        };
        let damaged = |offset| LogError::Damaged { path: self.path.clone(), offset };
        while offset < length {
            let Some(payload) = self.read_frame(offset, length)? else {
                if self.whole_frame_follows(offset, length)? {
                    return Err(damaged(offset));
                }
                break;
            };
            let block = decode(&payload, self.chain_id).map_err(|_| damaged(offset))?;
            let follows = parent.is_none_or(|parent| block.header.parent_hash == parent);
            if block.header.number != last + 1 || !follows {
                return Err(damaged(offset));
            }
            last += 1;
            parent = Some(block.hash);
            found.push((offset, block.hash));
            offset += frame_len(payload.len());
        }
        if last < confirmed {
            return Err(LogError::Short { path: self.path.clone(), last, confirmed });
        }
        if offset < length {
            tracing::warn!(offset, "cut off a block that was never confirmed");
            let cut = self.file.set_len(offset).and_then(|()| self.file.sync_all());
            cut.map_err(self.fail("repair"))?;
        }
        self.note(noted.last + 1, &found)?;
        Ok(Extent { last, end: offset })
    }

    /// The payload of the frame at `offset`; `None` when it is not whole or not intact.
    fn read_frame(&self, offset: u64, length: u64) -> Result<Option<Vec<u8>>, LogError> {
        if offset.saturating_add(frame_len(0)) > length {
            return Ok(None);
        }
        let mut header = [0; FRAME_HEADER_LEN];
        self.file.read_exact_at(&mut header, offset).map_err(self.fail("read"))?;
        let mut reader = Reader(&header);
        let (Ok(payload_len), Ok(checksum)) = (reader.u32(), reader.u32()) else {
            return Ok(None);
        };
        let end = offset + frame_len(0) + u64::from(payload_len);
        if payload_len == 0 || payload_len > PAYLOAD_LEN_MAX || end > length {
            return Ok(None);
        }
        let mut payload = vec![0; payload_len as usize];
        let read = self.file.read_exact_at(&mut payload, offset + frame_len(0));
        read.map_err(self.fail("read"))?;
        Ok((crc32fast::hash(&payload) == checksum).then_some(payload))
    }

    /// Whether a whole frame begins anywhere after the damaged one at `offset`.
    ///
    /// The damaged frame's own length may be what is damaged, so every byte is looked at as if a frame
    /// began there: one whose payload begins with the length of a header and its RLP.
    fn whole_frame_follows(&self, offset: u64, length: u64) -> Result<bool, LogError> {
        const LOOK: usize = FRAME_HEADER_LEN + 5;
        const PART: usize = 1 << 20;
        let mut part = vec![0; PART + LOOK - 1];
        let mut from = offset + 1;
        while from + (LOOK as u64) <= length {
            let read = usize::try_from(length - from).unwrap_or(usize::MAX).min(part.len());
            self.file.read_exact_at(&mut part[..read], from).map_err(self.fail("read"))?;
            for (at, bytes) in (from..).zip(part[..read].windows(LOOK)) {
                let word = |at: usize| {
                    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
                };
                let header_len = word(FRAME_HEADER_LEN);
                // A header's RLP is a list with a length of two bytes.
                let begins = (256..4_096).contains(&header_len) && bytes[LOOK - 1] == 0xf9;
                if begins && word(0) > header_len && self.read_frame(at, length)?.is_some() {
                    return Ok(true);
                }
            }
            from += PART as u64;
        }
        Ok(false)
    }

    fn fail(&self, action: &'static str) -> impl FnOnce(io::Error) -> LogError {
        let path = self.path.clone();
        move |source| LogError::Io { action, path, source }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(false).write(true).create(true).truncate(false).open(path)
}

/// Makes sure that a file's name is on the disk, not only its content.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Appends a block as the log holds it.
fn encode(block: &Block, out: &mut Vec<u8>) {
    let raw_len: usize = block.transactions.iter().map(|tx| tx.raw().len() + 128).sum();
    out.reserve(raw_len + 1_024);
    let mut header = Vec::with_capacity(block.header.length());
    block.header.encode(&mut header);
    put_sized(out, &header);
    put_sized(out, &block.certificate);
    put_length(out, block.transactions.len());
    for transaction in &block.transactions {
        out.extend_from_slice(transaction.sender().as_slice());
        put_sized(out, transaction.raw());
    }
    for receipt in &block.receipts {
        out.push(u8::from(receipt.success));
        out.extend_from_slice(&receipt.cumulative_gas_used.to_le_bytes());
        put_length(out, receipt.logs.len());
        for log in &receipt.logs {
            out.extend_from_slice(log.address.as_slice());
            let topics = log.topics();
            out.push(u8::try_from(topics.len()).expect("a log has at most four topics"));
            topics.iter().for_each(|topic| out.extend_from_slice(topic.as_slice()));
            put_sized(out, &log.data.data);
        }
    }
}

fn decode(payload: &[u8], chain_id: u64) -> Result<Block, Malformed> {
    let mut reader = Reader(payload);
    let mut header_bytes = reader.sized()?;
    let header = Header::decode(&mut header_bytes).map_err(|_| Malformed)?;
    let certificate = Bytes::copy_from_slice(reader.sized()?);
    let count = reader.u32()?;
    let transactions = (0..count)
        .map(|_| {
            let sender = Address::from(reader.array()?);
            let raw = Bytes::copy_from_slice(reader.sized()?);
            Transaction::decode_trusted(raw, sender, chain_id).map_err(|_| Malformed)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let receipts = transactions
        .iter()
        .map(|transaction| decode_receipt(&mut reader, transaction))
        .collect::<Result<Vec<_>, _>>()?;
    reader.finish()?;
    Ok(Block { hash: header.hash_slow(), header, transactions, receipts, certificate })
}

fn decode_receipt(
    reader: &mut Reader<'_>,
    transaction: &Transaction,
) -> Result<Receipt, Malformed> {
    let success = reader.u8()? == 1;
    let cumulative_gas_used = reader.u64()?;
    let logs = (0..reader.u32()?)
        .map(|_| {
            let address = Address::from(reader.array()?);
            let topics = (0..reader.u8()?)
                .map(|_| reader.array().map(B256::from))
                .collect::<Result<Vec<_>, _>>()?;
            let data = Bytes::copy_from_slice(reader.sized()?);
            let data = LogData::new(topics, data).ok_or(Malformed)?;
            Ok(Log { address, data })
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Receipt { tx_type: transaction.envelope().tx_type(), success, cumulative_gas_used, logs })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block without transactions; what is in blocks is tested through the whole chain.
    fn block(number: u64) -> Block {
        let parent_hash = if number < 2 { B256::ZERO } else { block(number - 1).hash };
        let header = Header { number, parent_hash, ..Header::default() };
        Block {
            hash: header.hash_slow(),
            header,
            transactions: Vec::new(),
            receipts: Vec::new(),
            certificate: Bytes::from_static(b"agreed"),
        }
    }

    fn three_blocks(dir: &Path) -> u64 {
        let log = BlockLog::open(dir, 1, true).unwrap();
        log.append(&[&block(1), &block(2)]).unwrap();
        let before_last = log.size_bytes();
        log.append(&[&block(3)]).unwrap();
        before_last
    }

    fn flip(path: &Path, at: u64) {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }

    #[test]
    fn blocks_come_back_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        three_blocks(dir.path());
        for places_lost in [false, true] {
            if places_lost {
                std::fs::remove_file(dir.path().join("blocks.places")).unwrap();
            }
            let log = BlockLog::open(dir.path(), 1, true).unwrap();
            assert_eq!(log.last(), 3);
            let block = log.read(2).unwrap().unwrap();
            assert_eq!((block.header.number, block.certificate.as_ref()), (2, &b"agreed"[..]));
            assert_eq!(log.hash(2).unwrap(), Some(block.hash));
            assert!(log.read(0).unwrap().is_none() && log.read(4).unwrap().is_none());
        }
    }

    #[test]
    fn half_written_end_is_cut_at_every_length() {
        let dir = tempfile::tempdir().unwrap();
        let before_last = three_blocks(dir.path());
        let path = dir.path().join("blocks.log");
        let whole = std::fs::read(&path).unwrap();
        for length in before_last..whole.len() as u64 {
            std::fs::write(&path, &whole[..usize::try_from(length).unwrap()]).unwrap();
            // As a crash leaves it: the place is noted only when the frame is whole.
            let places = OpenOptions::new().write(true).open(dir.path().join("blocks.places"));
            places.unwrap().set_len(2 * PLACE_LEN as u64).unwrap();
            let log = BlockLog::open(dir.path(), 1, true).unwrap();
            assert_eq!(log.last(), 2, "cut at {length}");
            log.append(&[&block(3)]).unwrap();
            assert_eq!(BlockLog::open(dir.path(), 1, true).unwrap().last(), 3);
        }
    }

    #[test]
    fn confirmed_end_is_never_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let before_last = three_blocks(dir.path());
        let path = dir.path().join("blocks.log");
        let whole = std::fs::read(&path).unwrap();
        let check = |last| {
            let before = std::fs::read(&path).unwrap();
            match BlockLog::open(dir.path(), 1, true) {
                Err(LogError::Short { last: found, confirmed: 3, .. }) => assert_eq!(found, last),
                other => panic!("{other:?}"),
            }
            assert_eq!(std::fs::read(&path).unwrap(), before);
        };
        for length in before_last..whole.len() as u64 {
            std::fs::write(&path, &whole[..usize::try_from(length).unwrap()]).unwrap();
            check(2);
        }
        std::fs::write(&path, b"").unwrap();
        check(0);
        std::fs::write(&path, &whole).unwrap();
        flip(&path, whole.len() as u64 - 1);
        check(2);
        // Whoever looks after the chain may give the block up.
        std::fs::remove_file(dir.path().join("blocks.places")).unwrap();
        assert_eq!(BlockLog::open(dir.path(), 1, true).unwrap().last(), 2);
    }

    #[test]
    fn places_that_a_power_cut_emptied_are_noted_again() {
        let dir = tempfile::tempdir().unwrap();
        three_blocks(dir.path());
        let path = dir.path().join("blocks.places");
        let whole = std::fs::read(&path).unwrap();
        for lost in [0..PLACE_LEN, PLACE_LEN..2 * PLACE_LEN, 2 * PLACE_LEN..3 * PLACE_LEN] {
            let mut places = whole.clone();
            places[lost].fill(0);
            std::fs::write(&path, places).unwrap();
            let log = BlockLog::open(dir.path(), 1, true).unwrap();
            assert_eq!(log.read(2).unwrap().unwrap().header.number, 2);
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
    }

    #[test]
    fn block_in_the_place_of_another_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let log = BlockLog::open(dir.path(), 1, true).unwrap();
        log.append(&[&block(1), &block(1)]).unwrap();
        assert!(log.read(1).unwrap().is_some());
        assert!(matches!(log.read(2), Err(LogError::Damaged { .. })));
        std::fs::remove_file(dir.path().join("blocks.places")).unwrap();
        assert!(matches!(BlockLog::open(dir.path(), 1, true), Err(LogError::Damaged { .. })));
    }

    #[test]
    fn damage_before_the_end_is_reported_and_nothing_cut() {
        let dir = tempfile::tempdir().unwrap();
        three_blocks(dir.path());
        let path = dir.path().join("blocks.log");
        let whole = std::fs::read(&path).unwrap();
        std::fs::remove_file(dir.path().join("blocks.places")).unwrap();
        // In the payload, in the checksum, and in each byte of the length.
        for at in [frame_len(5), 4, 0, 1, 2, 3] {
            std::fs::write(&path, &whole).unwrap();
            flip(&path, BEGIN + at);
            assert!(matches!(
                BlockLog::open(dir.path(), 1, true),
                Err(LogError::Damaged { offset: BEGIN, .. })
            ));
            assert_eq!(std::fs::metadata(&path).unwrap().len(), whole.len() as u64);
            std::fs::remove_file(dir.path().join("blocks.places")).unwrap();
        }
    }

    #[test]
    fn later_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        three_blocks(dir.path());
        let path = dir.path().join("blocks.log");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] = 2;
        std::fs::write(&path, bytes).unwrap();
        let opened = BlockLog::open(dir.path(), 1, true);
        assert!(matches!(opened, Err(LogError::OtherVersion { found: 2, .. })));
    }

    #[test]
    fn another_file_is_not_taken_for_a_log() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("blocks.log"), b"something else entirely").unwrap();
        assert!(matches!(BlockLog::open(dir.path(), 1, true), Err(LogError::NotALog { .. })));
    }
}
