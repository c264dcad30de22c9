//! The state on disk, as runs of what changed, so that opening need not execute every block.
//!
//! # Format of a run
//!
//! All integers little-endian; records in ascending order of their keys, so that runs merge while
//! they stream.
//!
//! ```text
//! "SALUSRUN" | version u32, now 1 | from u64 | to u64
//! accounts x  address [20] | present u8 | nonce u64 | balance [32] | code hash [32]
//! slots x     address [20] | slot [32], big-endian | value [32]
//! codes x     hash [32] | length u32, bytes
//! accounts u64 | slots u64 | codes u64 | CRC-32 of all before u32
//! ```
//!
//! A damaged run is set aside with all that follow it: the state is rebuilt from the log instead.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write},
    path::PathBuf,
};

use alloy_primitives::{Address, B256, U256};
use revm::bytecode::Bytecode;

use super::runs::{Range, RunDir, should_merge};
use crate::state::{Entry, StateDelta, World};

const MAGIC: &[u8; 8] = b"SALUSRUN";
const VERSION: u32 = 1;
const HEADER_LEN: usize = 28;
const FOOTER_LEN: i64 = 28;
const ACCOUNT_LEN: usize = 93;
const SLOT_LEN: usize = 84;

/// The stored state and what has not been stored yet.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    dir: RunDir,
    chain: Vec<Range>,
    pending: Pending,
    /// The last block that `pending` covers.
    height: u64,
}

/// Changes since the last run; later values replace earlier ones.
#[derive(Debug, Default)]
struct Pending {
    accounts: BTreeMap<Address, Option<Entry>>,
    slots: BTreeMap<(Address, U256), U256>,
    codes: BTreeMap<B256, Bytecode>,
}

impl Checkpoints {
    /// Opens the stored state and reads it into `world`, which holds the genesis state.
    ///
    /// Afterwards `world` is at the block that [`Checkpoints::stored`] says.
    pub(crate) fn open(path: PathBuf, world: &mut World, last: u64) -> io::Result<Self> {
        let (dir, chain) = RunDir::open(path)?;
        let mut checkpoints =
            Self { dir, chain: Vec::new(), pending: Pending::default(), height: 0 };
        for range in chain {
            // A run beyond the log's end can only mean that the log was replaced.
            let usable = range.to <= last && verify(&checkpoints.dir, range)?;
            if !usable {
                tracing::warn!(
                    from = range.from,
                    "stored state is damaged; rebuilding from the log"
                );
                checkpoints.dir.remove(range)?;
                continue;
            }
            if checkpoints.height != range.from {
                checkpoints.dir.remove(range)?;
                continue;
            }
            RunReader::open(&checkpoints.dir, range)?.restore(world)?;
            checkpoints.height = range.to;
            checkpoints.chain.push(range);
        }
        world.restore_height(checkpoints.height);
        Ok(checkpoints)
    }

    /// The block whose state is on disk.
    pub(crate) fn stored(&self) -> u64 {
        self.chain.last().map_or(0, |range| range.to)
    }

    /// How many values wait to be stored.
    pub(crate) fn pending_len(&self) -> usize {
        self.pending.accounts.len() + self.pending.slots.len()
    }

    /// Takes in the next block's changes.
    pub(crate) fn add(&mut self, delta: StateDelta) {
        self.height += 1;
        self.pending.accounts.extend(delta.accounts);
        let slots = delta.slots.into_iter();
        self.pending.slots.extend(slots.map(|(_, owner, slot, value)| ((owner, slot), value)));
        self.pending.codes.extend(delta.codes);
    }

    /// Stores what is pending as a new run, and merges runs that have become too many.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        let range = Range { from: self.stored(), to: self.height };
        if range.from == range.to {
            return Ok(());
        }
        let pending = &self.pending;
        self.dir.write(range, |file| pending.write(range, file))?;
        self.chain.push(range);
        self.pending = Pending::default();
        loop {
            let sizes = self
                .chain
                .iter()
                .map(|range| self.dir.path(*range).metadata().map(|metadata| metadata.len()));
            if !should_merge(&sizes.collect::<io::Result<Vec<_>>>()?) {
                return Ok(());
            }
            self.merge_last_two()?;
        }
    }

    fn merge_last_two(&mut self) -> io::Result<()> {
        let [.., older, newer] = self.chain[..] else { return Ok(()) };
        let merged = Range { from: older.from, to: newer.to };
        let sources = [RunReader::open(&self.dir, older)?, RunReader::open(&self.dir, newer)?];
        self.dir.write(merged, |file| merge(sources, merged, file))?;
        self.chain.truncate(self.chain.len() - 2);
        self.chain.push(merged);
        self.dir.remove(older)?;
        self.dir.remove(newer)
    }
}

impl Pending {
    fn write(&self, range: Range, file: &mut BufWriter<File>) -> io::Result<()> {
        let mut out = RunWriter::begin(file, range)?;
        for (address, entry) in &self.accounts {
            out.account(&account_record(address, entry.as_ref()))?;
        }
        for ((address, slot), value) in &self.slots {
            out.slot(&slot_record(address, slot, value))?;
        }
        for (hash, code) in &self.codes {
            out.code(hash, code.original_byte_slice())?;
        }
        out.finish()
    }
}

fn account_record(address: &Address, entry: Option<&Entry>) -> [u8; ACCOUNT_LEN] {
    let mut record = [0; ACCOUNT_LEN];
    record[..20].copy_from_slice(address.as_slice());
    if let Some(entry) = entry {
        record[20] = 1;
        record[21..29].copy_from_slice(&entry.nonce.to_le_bytes());
        record[29..61].copy_from_slice(&entry.balance.to_le_bytes::<32>());
        record[61..].copy_from_slice(entry.code_hash.as_slice());
    }
    record
}

fn slot_record(address: &Address, slot: &U256, value: &U256) -> [u8; SLOT_LEN] {
    let mut record = [0; SLOT_LEN];
    record[..20].copy_from_slice(address.as_slice());
    // Big-endian, so that the order of the bytes is the order of the slots.
    record[20..52].copy_from_slice(&slot.to_be_bytes::<32>());
    record[52..].copy_from_slice(&value.to_le_bytes::<32>());
    record
}

/// Writes a run, counting and summing up as it goes.
struct RunWriter<'a, W> {
    file: &'a mut W,
    checksum: crc32fast::Hasher,
    accounts: u64,
    slots: u64,
    codes: u64,
}

impl<'a, W: Write> RunWriter<'a, W> {
    fn begin(file: &'a mut W, range: Range) -> io::Result<Self> {
        let checksum = crc32fast::Hasher::new();
        let mut out = Self { file, checksum, accounts: 0, slots: 0, codes: 0 };
        out.put(&header(range))?;
        Ok(out)
    }

    fn account(&mut self, record: &[u8; ACCOUNT_LEN]) -> io::Result<()> {
        self.accounts += 1;
        self.put(record)
    }

    fn slot(&mut self, record: &[u8; SLOT_LEN]) -> io::Result<()> {
        self.slots += 1;
        self.put(record)
    }

    fn code(&mut self, hash: &B256, code: &[u8]) -> io::Result<()> {
        self.codes += 1;
        let length = u32::try_from(code.len()).map_err(io::Error::other)?;
        self.put(hash.as_slice())?;
        self.put(&length.to_le_bytes())?;
        self.put(code)
    }

    fn finish(mut self) -> io::Result<()> {
        for count in [self.accounts, self.slots, self.codes] {
            self.put(&count.to_le_bytes())?;
        }
        let checksum = self.checksum.finalize();
        self.file.write_all(&checksum.to_le_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.checksum.update(bytes);
        self.file.write_all(bytes)
    }
}

fn header(range: Range) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&range.from.to_le_bytes());
    header[20..].copy_from_slice(&range.to.to_le_bytes());
    header
}

/// Reads a run's records in order. The checksum was verified before.
struct RunReader {
    file: BufReader<File>,
    accounts: u64,
    slots: u64,
    codes: u64,
}

impl RunReader {
    fn open(dir: &RunDir, range: Range) -> io::Result<Self> {
        let mut file = BufReader::with_capacity(1 << 18, File::open(dir.path(range))?);
        file.seek(SeekFrom::End(-FOOTER_LEN))?;
        let mut count = || -> io::Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact(&mut bytes)?;
            Ok(u64::from_le_bytes(bytes))
        };
        let (accounts, slots, codes) = (count()?, count()?, count()?);
        file.seek(SeekFrom::Start(HEADER_LEN as u64))?;
        Ok(Self { file, accounts, slots, codes })
    }

    fn account(&mut self) -> io::Result<Option<[u8; ACCOUNT_LEN]>> {
        next_record(&mut self.file, &mut self.accounts)
    }

    fn slot(&mut self) -> io::Result<Option<[u8; SLOT_LEN]>> {
        next_record(&mut self.file, &mut self.slots)
    }

    fn code(&mut self) -> io::Result<Option<(B256, Vec<u8>)>> {
        let Some(record) = next_record::<36>(&mut self.file, &mut self.codes)? else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(record[32..].try_into().expect("four bytes"));
        let mut code = vec![0; length as usize];
        self.file.read_exact(&mut code)?;
        Ok(Some((B256::from_slice(&record[..32]), code)))
    }

    fn restore(mut self, world: &mut World) -> io::Result<()> {
        while let Some(record) = self.account()? {
            let entry = (record[20] == 1).then(|| Entry {
                nonce: u64::from_le_bytes(record[21..29].try_into().expect("eight bytes")),
                balance: U256::from_le_slice(&record[29..61]),
                code_hash: B256::from_slice(&record[61..]),
                storage: None,
            });
            world.restore_account(Address::from_slice(&record[..20]), entry);
        }
        while let Some(record) = self.slot()? {
            let (slot, value) = (&record[20..52], &record[52..]);
            world.restore_slot(
                Address::from_slice(&record[..20]),
                U256::from_be_slice(slot),
                U256::from_le_slice(value),
            );
        }
        while let Some((hash, code)) = self.code()? {
            world.restore_code(hash, Bytecode::new_raw(code.into()));
        }
        Ok(())
    }
}

fn next_record<const N: usize>(
    file: &mut impl Read,
    left: &mut u64,
) -> io::Result<Option<[u8; N]>> {
    if *left == 0 {
        return Ok(None);
    }
    *left -= 1;
    let mut record = [0; N];
    file.read_exact(&mut record)?;
    Ok(Some(record))
}

/// Whether a run is whole and says of itself what its name says.
fn verify(dir: &RunDir, range: Range) -> io::Result<bool> {
    let mut file = BufReader::with_capacity(1 << 18, File::open(dir.path(range))?);
    let length = file.get_ref().metadata()?.len();
    let Some(mut left) = length.checked_sub(4).filter(|left| *left >= HEADER_LEN as u64) else {
        return Ok(false);
    };
    let mut checksum = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 16];
    let mut first = true;
    while left > 0 {
        let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact(&mut buffer[..part])?;
        if std::mem::take(&mut first) && !buffer.starts_with(&header(range)) {
            return Ok(false);
        }
        checksum.update(&buffer[..part]);
        left -= part as u64;
    }
    let mut stored = [0; 4];
    file.read_exact(&mut stored)?;
    Ok(checksum.finalize() == u32::from_le_bytes(stored))
}

/// Merges two neighbouring runs; where both have a key, the newer value counts.
///
/// What a run clears may be part of the genesis state that the first run stands on, so cleared
/// values stay.
fn merge(
    [mut older, mut newer]: [RunReader; 2],
    range: Range,
    file: &mut BufWriter<File>,
) -> io::Result<()> {
    let mut out = RunWriter::begin(file, range)?;
    merge_section(
        || older.account(),
        || newer.account(),
        |record| record.first_chunk::<20>().copied(),
        |record| out.account(&record),
    )?;
    merge_section(
        || older.slot(),
        || newer.slot(),
        |record| record.first_chunk::<52>().copied(),
        |record| out.slot(&record),
    )?;
    merge_section(
        || older.code(),
        || newer.code(),
        |(hash, _)| Some(*hash),
        |(hash, code)| out.code(&hash, &code),
    )?;
    out.finish()
}

fn merge_section<T, K: Ord>(
    mut next_old: impl FnMut() -> io::Result<Option<T>>,
    mut next_new: impl FnMut() -> io::Result<Option<T>>,
    key: impl Fn(&T) -> K,
    mut put: impl FnMut(T) -> io::Result<()>,
) -> io::Result<()> {
    let (mut old, mut new) = (next_old()?, next_new()?);
    loop {
        match (old.take(), new.take()) {
            (None, None) => return Ok(()),
            (Some(only), None) => {
                put(only)?;
                old = next_old()?;
            }
            (None, Some(only)) => {
                put(only)?;
                new = next_new()?;
            }
            (Some(older), Some(newer)) => match key(&older).cmp(&key(&newer)) {
                Ordering::Less => {
                    put(older)?;
                    (old, new) = (next_old()?, Some(newer));
                }
                Ordering::Greater => {
                    put(newer)?;
                    (old, new) = (Some(older), next_new()?);
                }
                Ordering::Equal => {
                    put(newer)?;
                    (old, new) = (next_old()?, next_new()?);
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::HistoryLimits;

    const ALICE: Address = Address::repeat_byte(1);
    const BOB: Address = Address::repeat_byte(2);

    fn empty_world() -> World {
        World::new(0, HistoryLimits { blocks: 1, values: 1 })
    }

    /// Block `n` sets Alice's nonce and slot 1 to `n`, and slot `n` to 7.
    fn delta(number: u64) -> StateDelta {
        let entry = Entry { nonce: number, ..Entry::default() };
        StateDelta {
            accounts: vec![(ALICE, Some(entry)), (BOB, (number == 1).then_some(entry))],
            slots: vec![
                (0, ALICE, U256::ONE, U256::from(number)),
                (0, ALICE, U256::from(number + 100), U256::from(7)),
            ],
            codes: vec![(B256::with_last_byte(1), Bytecode::new_raw(vec![0x5f].into()))],
        }
    }

    fn filled(dir: &std::path::Path, blocks: u64) {
        let mut checkpoints = Checkpoints::open(dir.into(), &mut empty_world(), 0).unwrap();
        for number in 1..=blocks {
            checkpoints.add(delta(number));
            checkpoints.flush().unwrap();
        }
    }

    #[test]
    fn stored_state_comes_back_after_merging() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 20);
        assert!(std::fs::read_dir(dir.path()).unwrap().count() <= 5);
        let mut world = empty_world();
        let checkpoints = Checkpoints::open(dir.path().into(), &mut world, 20).unwrap();
        assert_eq!((checkpoints.stored(), world.height()), (20, 20));
        let alice = world.entry(&ALICE).unwrap();
        assert_eq!(alice.nonce, 20);
        assert_eq!(world.entry(&BOB), None);
        let storage = alice.storage.unwrap();
        assert_eq!(world.slot(storage, &U256::ONE), U256::from(20));
        assert_eq!(world.slot(storage, &U256::from(103)), U256::from(7));
        assert!(world.code(&B256::with_last_byte(1)).is_some());
    }

    #[test]
    fn damaged_run_is_dropped_with_all_that_follow() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 3);
        let first = std::fs::read_dir(dir.path()).unwrap().find_map(|file| {
            let path = file.unwrap().path();
            path.file_name()?.to_str()?.starts_with("0-").then_some(path)
        });
        let first = first.unwrap();
        let mut bytes = std::fs::read(&first).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&first, bytes).unwrap();
        let mut world = empty_world();
        let checkpoints = Checkpoints::open(dir.path().into(), &mut world, 3).unwrap();
        assert_eq!((checkpoints.stored(), world.height()), (0, 0));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn runs_beyond_the_log_are_dropped() {
        let dir = tempfile::tempdir().unwrap();
        filled(dir.path(), 3);
        let checkpoints = Checkpoints::open(dir.path().into(), &mut empty_world(), 2).unwrap();
        assert!(checkpoints.stored() <= 2);
    }
}
