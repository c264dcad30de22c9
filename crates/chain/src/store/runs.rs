//! Files derived from a range of blocks, chained one after the other.
//!
//! A run covers blocks `from + 1` to `to`. Runs that follow each other form a chain from block 0; a
//! new run extends it, and two neighbours may be merged into one. A file appears under its name only
//! when it is whole: it is written under another name, synchronised and renamed. So whatever is found
//! at opening is either whole, or left over from a crash and swept away.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use super::log::sync_dir;

/// Which blocks a run covers: those after `from`, up to and with `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Range {
    fn parse(name: &str) -> Option<Self> {
        let (from, to) = name.strip_suffix(".run")?.split_once('-')?;
        let range = Self { from: from.parse().ok()?, to: to.parse().ok()? };
        (range.from < range.to).then_some(range)
    }
}

/// A directory of runs.
#[derive(Debug)]
pub(crate) struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Opens the directory and sweeps away what a crash left.
    ///
    /// Returns the chain: where several runs begin at the same block, the longest counts, because it
    /// was merged from the others.
    pub(crate) fn open(path: PathBuf) -> io::Result<(Self, Vec<Range>)> {
        fs::create_dir_all(&path)?;
        let mut found = Vec::new();
        for file in fs::read_dir(&path)? {
            let file = file?;
            match file.file_name().to_str().and_then(Range::parse) {
                Some(range) => found.push(range),
                None => fs::remove_file(file.path())?,
            }
        }
        let dir = Self { path };
        let mut chain: Vec<Range> = Vec::new();
        while let Some(next) = {
            let end = chain.last().map_or(0, |range| range.to);
            found.iter().filter(|range| range.from == end).max_by_key(|range| range.to).copied()
        } {
            chain.push(next);
        }
        for range in found.iter().filter(|range| !chain.contains(range)) {
            dir.remove(*range)?;
        }
        Ok((dir, chain))
    }

    pub(crate) fn path(&self, range: Range) -> PathBuf {
        self.path.join(format!("{}-{}.run", range.from, range.to))
    }

    /// Writes a run and makes it appear whole.
    pub(crate) fn write(
        &self,
        range: Range,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let unfinished = self.path.join(format!("{}-{}.unfinished", range.from, range.to));
        let written = (|| {
            let mut writer = BufWriter::with_capacity(1 << 18, File::create(&unfinished)?);
            fill(&mut writer)?;
            writer.flush()?;
            writer.get_ref().sync_data()?;
            fs::rename(&unfinished, self.path(range))
        })();
        if written.is_err() {
            // On a full disk the space counts; what stays is swept away when it is next opened.
            let _ = fs::remove_file(&unfinished);
        }
        written?;
        sync_dir(&self.path)
    }

    pub(crate) fn remove(&self, range: Range) -> io::Result<()> {
        fs::remove_file(self.path(range))
    }
}

/// Whether the last two of a chain should be merged, given their sizes.
///
/// Merging a run into its predecessor only when that is at most twice as long keeps the chain's length
/// logarithmic, and writes each entry a logarithmic number of times.
pub(crate) fn should_merge(sizes: &[u64]) -> bool {
    matches!(sizes, [.., before, last] if *before <= 2 * last)
}

/// The directory's name for messages.
impl AsRef<Path> for RunDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(dir: &Path, name: &str) {
        fs::write(dir.join(name), b"").unwrap();
    }

    #[test]
    fn longest_chain_counts_and_the_rest_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["0-5.run", "5-9.run", "0-9.run", "9-12.run", "14-20.run", "12-13.unfinished"] {
            touch(dir.path(), name);
        }
        let (_, chain) = RunDir::open(dir.path().into()).unwrap();
        assert_eq!(chain, [Range { from: 0, to: 9 }, Range { from: 9, to: 12 }]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn failed_run_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (runs, _) = RunDir::open(dir.path().into()).unwrap();
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let written = runs.write(Range { from: 0, to: 1 }, |file| {
            file.write_all(&[7; 1 << 20])?;
            Err(full())
        });
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn chains_stay_short() {
        let mut sizes: Vec<u64> = Vec::new();
        let mut written = 0;
        for _ in 0..1_000 {
            sizes.push(1);
            while should_merge(&sizes) {
                let last = sizes.pop().unwrap();
                *sizes.last_mut().unwrap() += last;
                written += *sizes.last().unwrap();
            }
            assert!(sizes.len() <= 11);
        }
        assert!(written < 12_000);
    }
}
