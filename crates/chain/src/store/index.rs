//! Finds transactions by hash, and blocks by what their logs hold.
//!
//! An entry is 16 bytes: what is looked for, folded to 64 bits, and where it is. Folding loses
//! information, so a hit is a candidate that the reader checks against the block; nothing is ever
//! missed. Entries of blocks that are not stored yet are in memory; the others are in sorted runs,
//! searched with a few reads each.
//!
//! # Format of a run
//!
//! Entries in ascending order, `key u64 | place u64`, little-endian, then `"SALUSIDX" | entries u64`. A
//! place is `block << 24 | position in the block`; for logs the position is zero. A run whose end says
//! something else is dropped, and its blocks are indexed again from the log. Bits that the disk turns over are not
//! noticed here: checking would read the whole index at every start. Removing it has it made again.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, BufWriter, Read as _, Write as _},
    mem,
    ops::RangeInclusive,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
};

use alloy_primitives::{Address, B256};
use parking_lot::RwLock;

use super::runs::{Range, RunDir, should_merge};
use crate::Block;

const ENTRY_LEN: usize = 16;
const POSITION_BITS: u32 = 24;

/// Begins the end of a run; another format takes another name.
const MAGIC: &[u8; 8] = b"SALUSIDX";

/// What can be looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key<'a> {
    /// A block's hash.
    Block(&'a B256),
    /// A transaction's hash.
    Transaction(&'a B256),
    /// The contract that emitted a log.
    Address(&'a Address),
    /// Topic 0 to 3 of a log.
    Topic(usize, &'a B256),
}

impl Key<'_> {
    /// Folds the key to 64 bits, differently for each variant.
    ///
    /// Hashes and addresses are already spread evenly; small numbers as topics are not, so all are
    /// mixed. Not meant to withstand an attacker: whoever crafts collisions slows down a search.
    fn fold(self) -> u64 {
        let (variant, bytes) = match self {
            Self::Block(hash) => (0, hash.as_slice()),
            Self::Transaction(hash) => (1, hash.as_slice()),
            Self::Address(address) => (2, address.as_slice()),
            Self::Topic(position, topic) => (3 + position as u64, topic.as_slice()),
        };
        let mut folded = variant;
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            folded = mix(folded ^ u64::from_le_bytes(word));
        }
        folded
    }
}

/// A bijection of 64 bits that spreads every bit over all.
///
/// # Source
///
/// The finaliser of `SplitMix64` (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
/// Generators", 2014).
const fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

type IndexEntry = (u64, u64);

/// The index of one chain.
///
/// One thread stores and merges; others add and look up meanwhile. No file is written under the lock.
#[derive(Debug)]
pub(crate) struct Index {
    dir: RunDir,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    runs: Vec<Arc<Run>>,
    /// On the way to the disk.
    storing: Arc<BTreeSet<IndexEntry>>,
    /// Not yet on the way.
    pending: BTreeSet<IndexEntry>,
    height: u64,
}

#[derive(Debug)]
struct Run {
    range: Range,
    file: File,
    entries: u64,
}

impl Index {
    /// Opens the stored index; blocks after [`Index::height`] must be added again.
    pub(crate) fn open(path: PathBuf, last: u64) -> io::Result<Self> {
        let (dir, chain) = RunDir::open(path)?;
        let mut state = State::default();
        for range in chain {
            match Run::open(&dir, range)? {
                Some(run) if range.to <= last && range.from == state.height => {
                    state.runs.push(Arc::new(run));
                    state.height = range.to;
                }
                _ => dir.remove(range)?,
            }
        }
        Ok(Self { dir, state: RwLock::new(state) })
    }

    /// The last block that is indexed.
    pub(crate) fn height(&self) -> u64 {
        self.state.read().height
    }

    /// How many entries wait to be stored.
    pub(crate) fn pending_len(&self) -> usize {
        self.state.read().pending.len()
    }

    /// Takes in the next block.
    pub(crate) fn add(&self, block: &Block) {
        let number = block.header.number;
        let place = number << POSITION_BITS;
        let mut entries = Vec::with_capacity(block.transactions.len() * 6 + 1);
        entries.push((Key::Block(&block.hash).fold(), place));
        for (position, transaction) in (0..).zip(&block.transactions) {
            entries.push((Key::Transaction(&transaction.hash()).fold(), place | position));
        }
        for log in block.receipts.iter().flat_map(|receipt| &receipt.logs) {
            entries.push((Key::Address(&log.address).fold(), place));
            for (position, topic) in log.topics().iter().enumerate() {
                entries.push((Key::Topic(position, topic).fold(), place));
            }
        }
        let mut state = self.state.write();
        state.pending.extend(entries);
        state.height = number;
    }

    /// Candidates for a key in a range of blocks, in ascending order: block and position.
    pub(crate) fn find(
        &self,
        key: Key<'_>,
        blocks: RangeInclusive<u64>,
    ) -> io::Result<Vec<(u64, usize)>> {
        if blocks.is_empty() {
            return Ok(Vec::new());
        }
        let key = key.fold();
        let low = (key, blocks.start() << POSITION_BITS);
        let high = (key, blocks.end() << POSITION_BITS | ((1 << POSITION_BITS) - 1));
        let (runs, newer) = {
            let state = self.state.read();
            let newer = state.storing.range(low..=high).chain(state.pending.range(low..=high));
            (state.runs.clone(), newer.map(|entry| entry.1).collect::<Vec<_>>())
        };
        let mut places = Vec::new();
        for run in runs {
            if run.range.to >= *blocks.start() && run.range.from < *blocks.end() {
                run.find(low, high, &mut places)?;
            }
        }
        places.extend(newer);
        let mask = (1_u64 << POSITION_BITS) - 1;
        let split = |place: u64| {
            (place >> POSITION_BITS, usize::try_from(place & mask).expect("24 bits fit"))
        };
        Ok(places.into_iter().map(split).collect())
    }

    /// Stores what is pending as a new run, and merges runs that have become too many.
    ///
    /// To be called by one thread only.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let (range, storing) = {
            let mut state = self.state.write();
            let from = state.runs.last().map_or(0, |run| run.range.to);
            let mut storing = mem::take(&mut state.pending);
            // Something is left here only when an earlier attempt failed.
            storing.extend(state.storing.iter());
            state.storing = Arc::new(storing);
            (Range { from, to: state.height }, Arc::clone(&state.storing))
        };
        if range.from == range.to {
            return Ok(());
        }
        self.dir.write(range, |file| {
            storing.iter().try_for_each(|entry| put(file, *entry))?;
            put_end(file, storing.len() as u64)
        })?;
        let run = Run::open(&self.dir, range)?.map(Arc::new);
        {
            let mut state = self.state.write();
            state.runs.extend(run);
            state.storing = Arc::default();
        }
        loop {
            let runs = self.state.read().runs.clone();
            if !should_merge(&runs.iter().map(|run| run.entries + 1).collect::<Vec<_>>()) {
                return Ok(());
            }
            self.merge_last_two(&runs)?;
        }
    }

    fn merge_last_two(&self, runs: &[Arc<Run>]) -> io::Result<()> {
        let [.., older, newer] = runs else { return Ok(()) };
        let merged = Range { from: older.range.from, to: newer.range.to };
        let sources = [older.entries()?, newer.entries()?];
        self.dir.write(merged, |file| {
            let [mut older, mut newer] = sources;
            let mut count = 0;
            let (mut old, mut new) = (older.next().transpose()?, newer.next().transpose()?);
            while let Some(least) = old.into_iter().chain(new).min() {
                put(file, least)?;
                count += 1;
                if old == Some(least) {
                    old = older.next().transpose()?;
                } else {
                    new = newer.next().transpose()?;
                }
            }
            put_end(file, count)
        })?;
        let run = Run::open(&self.dir, merged)?.map(Arc::new);
        {
            let mut state = self.state.write();
            let kept = state.runs.len() - 2;
            state.runs.truncate(kept);
            state.runs.extend(run);
        }
        self.dir.remove(older.range)?;
        self.dir.remove(newer.range)
    }
}

fn put(file: &mut BufWriter<File>, (key, place): IndexEntry) -> io::Result<()> {
    file.write_all(&key.to_le_bytes())?;
    file.write_all(&place.to_le_bytes())
}

fn put_end(file: &mut BufWriter<File>, entries: u64) -> io::Result<()> {
    file.write_all(MAGIC)?;
    file.write_all(&entries.to_le_bytes())
}

fn parse(bytes: &[u8]) -> IndexEntry {
    let word = |at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("an entry is two words"))
    };
    (word(0), word(8))
}

impl Run {
    /// `None` when the file cannot be a run.
    fn open(dir: &RunDir, range: Range) -> io::Result<Option<Self>> {
        let file = File::open(dir.path(range))?;
        let Some(end) = file.metadata()?.len().checked_sub(ENTRY_LEN as u64) else {
            return Ok(None);
        };
        let mut bytes = [0; ENTRY_LEN];
        file.read_exact_at(&mut bytes, end)?;
        let (magic, entries) = bytes.split_at(MAGIC.len());
        let entries = u64::from_le_bytes(entries.try_into().expect("eight bytes"));
        let whole = magic == MAGIC && entries.checked_mul(ENTRY_LEN as u64) == Some(end);
        Ok(whole.then_some(Self { range, file, entries }))
    }

    fn entries(&self) -> io::Result<impl Iterator<Item = io::Result<IndexEntry>> + use<>> {
        let mut file = self.file.try_clone()?;
        io::Seek::rewind(&mut file)?;
        let mut file = BufReader::with_capacity(1 << 18, file);
        Ok((0..self.entries).map(move |_| {
            let mut bytes = [0; ENTRY_LEN];
            file.read_exact(&mut bytes)?;
            Ok(parse(&bytes))
        }))
    }

    /// Appends the places of all entries between `low` and `high`.
    fn find(&self, low: IndexEntry, high: IndexEntry, places: &mut Vec<u64>) -> io::Result<()> {
        const WINDOW: usize = 64;
        let mut at = self.first_from(low)?;
        let mut buffer = [0; ENTRY_LEN * WINDOW];
        while at < self.entries {
            let count = (WINDOW as u64).min(self.entries - at);
            let bytes = &mut buffer[..usize::try_from(count).expect("a window fits") * ENTRY_LEN];
            self.file.read_exact_at(bytes, at * ENTRY_LEN as u64)?;
            for entry in bytes.chunks_exact(ENTRY_LEN).map(parse) {
                if entry > high {
                    return Ok(());
                }
                places.push(entry.1);
            }
            at += count;
        }
        Ok(())
    }

    /// Where the first entry that is not below `low` stands.
    ///
    /// Keys are spread evenly, so guessing by value comes close at once; guesses alternate with
    /// halving, because runs of one key are not spread.
    fn first_from(&self, low: IndexEntry) -> io::Result<u64> {
        let (mut from, mut to) = (0, self.entries);
        let mut guess_by_value = true;
        while from < to {
            let middle = if guess_by_value {
                let share = (u128::from(low.0) * u128::from(self.entries)) >> 64;
                u64::try_from(share).expect("a share of 64 bits").clamp(from, to - 1)
            } else {
                from + (to - from) / 2
            };
            guess_by_value = false;
            let mut bytes = [0; ENTRY_LEN];
            self.file.read_exact_at(&mut bytes, middle * ENTRY_LEN as u64)?;
            if parse(&bytes) < low {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        Ok(from)
    }
}

#[cfg(test)]
mod tests {
    use alloy_consensus::Header;
    use alloy_primitives::{Bytes, Log};

    use super::*;
    use crate::Receipt;

    /// Block `n` holds one log of contract `n % 3` with topic `n`.
    fn block(number: u64) -> Block {
        let address = Address::with_last_byte(u8::try_from(number % 3).unwrap());
        let topics = vec![B256::from(alloy_primitives::U256::from(number))];
        let log = Log::new(address, topics, Bytes::new()).unwrap();
        let receipt = Receipt {
            tx_type: alloy_consensus::TxType::Eip1559,
            success: true,
            cumulative_gas_used: 0,
            logs: vec![log.clone(), log],
        };
        Block {
            header: Header { number, ..Header::default() },
            hash: B256::ZERO,
            transactions: Vec::new(),
            receipts: vec![receipt],
            certificate: Bytes::new(),
        }
    }

    fn find(index: &Index, key: Key<'_>, blocks: RangeInclusive<u64>) -> Vec<u64> {
        index.find(key, blocks).unwrap().into_iter().map(|(block, _)| block).collect()
    }

    fn check(index: &Index) {
        let one = Address::with_last_byte(1);
        assert_eq!(find(index, Key::Address(&one), 0..=9), [1, 4, 7]);
        assert_eq!(find(index, Key::Address(&one), 4..=4), [4]);
        assert_eq!(find(index, Key::Address(&one), 95..=200), [97, 100]);
        let topic = B256::with_last_byte(50);
        assert_eq!(find(index, Key::Topic(0, &topic), 0..=200), [50]);
        assert!(find(index, Key::Topic(1, &topic), 0..=200).is_empty());
        let none = RangeInclusive::new(9, 3);
        assert!(find(index, Key::Address(&one), none).is_empty());
    }

    #[test]
    fn entries_are_found_in_memory_on_disk_and_between() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path().into(), 0).unwrap();
        for number in 1..=100 {
            index.add(&block(number));
            if number % 9 == 0 {
                index.flush().unwrap();
            }
        }
        check(&index);
        index.flush().unwrap();
        check(&index);
        assert!(index.state.read().runs.len() < 6);
        let reopened = Index::open(dir.path().into(), 100).unwrap();
        assert_eq!(reopened.height(), 100);
        check(&reopened);
    }

    #[test]
    fn damaged_run_is_dropped_to_be_indexed_again() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path().into(), 0).unwrap();
        index.add(&block(1));
        index.flush().unwrap();
        let path = index.dir.path(Range { from: 0, to: 1 });
        let whole = std::fs::read(&path).unwrap();
        for damaged in [&[][..], &[0; 15], &whole[..whole.len() - ENTRY_LEN], &whole[ENTRY_LEN..]] {
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(Index::open(dir.path().into(), 1).unwrap().height(), 0);
        }
    }
}
