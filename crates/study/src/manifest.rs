//! What a study was made of and what came out: `manifest.json`, by which it can be repeated and held against itself.
//!
//! Whoever has the files that it names gets the same bytes of every output again (S9). The manifest itself names paths,
//! which may differ from machine to machine, and is in no comparison but for what it says of inputs, chains and outputs.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use alloy_primitives::{B256, keccak256};
use bindings::{Contract, Deployment};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{report::Setup, results::Results, row::Day, tally::Mode};

/// The manifest's name in a study's folder.
pub const MANIFEST: &str = "manifest.json";

/// The folder in a study's folder that holds what resuming needs; it is no output.
pub const WORK: &str = "work";

/// What a study was made of, and what came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest<O> {
    /// What was asked for.
    pub setup: Setup,
    /// The options that it was started with.
    pub options: O,
    /// The files that were read, by what they are for.
    pub inputs: Vec<Input>,
    /// Where each chain ended.
    pub chains: Vec<ChainEnd>,
    /// The SHA-256 of each file that was written, by its path in the folder.
    pub outputs: BTreeMap<String, B256>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// What it is for: `waiting list`, `gas price`, `ether price`, `euro rates`.
    pub role: String,
    /// Its name, without its folder.
    pub file: String,
    /// The SHA-256 of the file as it lies there.
    pub digest: B256,
}

/// Where a chain ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainEnd {
    /// How rows became transactions.
    pub mode: Mode,
    /// The rows' archive date.
    pub date: Day,
    /// Which part of that date's work.
    pub part: u32,
    /// Which round.
    pub round: u32,
    /// The last block's state root.
    pub state_root: B256,
    /// The last block's hash.
    pub block_hash: B256,
}

/// Why a manifest could not be read or written.
#[derive(Debug, Error)]
pub enum ManifestError {
    /// A file could not be read or written.
    #[error("cannot read or write {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The manifest is none.
    #[error("{} is no study's manifest; name the folder that `salus study --out` wrote", path.display())]
    NoManifest {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// What two studies differ in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Another program, or other contracts.
    Version {
        /// What the first has.
        was: String,
        /// What the second has.
        is: String,
    },
    /// Something else was asked for.
    Setup,
    /// A file that was read is another one, or not there.
    Input(String),
    /// A chain ended elsewhere.
    Chain {
        /// Which mode's.
        mode: Mode,
        /// Which date's.
        date: Day,
        /// Which part.
        part: u32,
        /// Which round.
        round: u32,
    },
    /// A file that was written is not what the manifest says.
    Altered(String),
    /// A file that was written is gone.
    Missing(String),
    /// A file that nobody wrote.
    Unknown(String),
    /// Doing it again gives another file.
    NotRepeated(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version { was, is } => write!(f, "it was made by {was}; this is {is}"),
            Self::Setup => {
                f.write_str("something else was asked for: seed, rows, or what may overlap")
            }
            Self::Input(file) => write!(f, "{file}: not the file that was read then"),
            Self::Chain { mode, date, part, round } => write!(
                f,
                "the chain of {} {date}, part {part}, round {round}, ends in another state",
                crate::tables::mode_name(*mode)
            ),
            Self::Altered(file) => write!(f, "{file}: altered since it was written"),
            Self::Missing(file) => write!(f, "{file}: missing"),
            Self::Unknown(file) => write!(f, "{file}: not written by the study"),
            Self::NotRepeated(file) => write!(f, "{file}: not what the same study writes now"),
        }
    }
}

impl<O: Serialize + for<'a> Deserialize<'a>> Manifest<O> {
    /// Reads the manifest of the study in a folder.
    ///
    /// # Errors
    ///
    /// [`ManifestError`] when there is none.
    pub fn read(folder: &Path) -> Result<Self, ManifestError> {
        let path = folder.join(MANIFEST);
        let text =
            fs::read(&path).map_err(|source| ManifestError::File { path: path.clone(), source })?;
        serde_json::from_slice(&text).map_err(|source| ManifestError::NoManifest { path, source })
    }

    /// Writes it into a study's folder, by renaming: a folder with a manifest is whole.
    ///
    /// # Errors
    ///
    /// [`ManifestError::File`] when it could not be written.
    pub fn write(&self, folder: &Path) -> Result<(), ManifestError> {
        let mut text = serde_json::to_string_pretty(self).expect("a manifest is plain data");
        text.push('\n');
        let (new, path) = (folder.join("manifest.json.new"), folder.join(MANIFEST));
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|source| ManifestError::File { path, source })
    }
}

impl<O> Manifest<O> {
    /// What another study of the same kind differs in. The second's outputs were just written.
    #[must_use]
    pub fn differences(&self, again: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        let version = |manifest: &Self| {
            format!("Salus {}, contracts {}", manifest.setup.version, manifest.setup.contracts)
        };
        if version(self) != version(again) {
            found.push(Difference::Version { was: version(self), is: version(again) });
        }
        let Setup { seed, rows, patients_only_of, overlap_allowed, .. } = &self.setup;
        let other = &again.setup;
        if (seed, rows, patients_only_of, overlap_allowed)
            != (&other.seed, &other.rows, &other.patients_only_of, &other.overlap_allowed)
        {
            found.push(Difference::Setup);
        }
        for input in &self.inputs {
            if !again.inputs.contains(input) {
                found.push(Difference::Input(format!("{} ({})", input.file, input.role)));
            }
        }
        for input in &again.inputs {
            let named_then = |then: &&Input| (&then.file, &then.role) == (&input.file, &input.role);
            if self.inputs.iter().find(named_then).is_none() {
                found.push(Difference::Input(format!("{} ({})", input.file, input.role)));
            }
        }
        let ends = |manifest: &Self| -> BTreeMap<(Mode, u32, Day, u32), (B256, B256)> {
            let end = |end: &ChainEnd| {
                ((end.mode, end.round, end.date, end.part), (end.state_root, end.block_hash))
            };
            manifest.chains.iter().map(end).collect()
        };
        let (then, now) = (ends(self), ends(again));
        for &(mode, round, date, part) in
            then.keys().chain(now.keys().filter(|key| !then.contains_key(key)))
        {
            if then.get(&(mode, round, date, part)) != now.get(&(mode, round, date, part)) {
                found.push(Difference::Chain { mode, date, part, round });
            }
        }
        let all = self
            .outputs
            .keys()
            .chain(again.outputs.keys().filter(|file| !self.outputs.contains_key(*file)));
        for file in all {
            if self.outputs.get(file) != again.outputs.get(file) {
                found.push(Difference::NotRepeated(file.clone()));
            }
        }
        found
    }

    /// What the files in the study's folder differ in from what the manifest says of them.
    ///
    /// # Errors
    ///
    /// [`ManifestError::File`] when one could not be read.
    pub fn check_files(&self, folder: &Path) -> Result<Vec<Difference>, ManifestError> {
        let there = digests(folder)?;
        let mut found = Vec::new();
        for (file, digest) in &self.outputs {
            match there.get(file) {
                None => found.push(Difference::Missing(file.clone())),
                Some(other) if other != digest => found.push(Difference::Altered(file.clone())),
                Some(_) => {}
            }
        }
        let unknown = there.into_keys().filter(|file| !self.outputs.contains_key(file));
        found.extend(unknown.map(Difference::Unknown));
        Ok(found)
    }
}

/// Where each chain of these results ended, in order.
#[must_use]
pub fn chain_ends(results: &Results) -> Vec<ChainEnd> {
    let of_mode = |(&mode, done): (&Mode, &crate::results::ModeResults)| {
        let end = |note: &crate::results::SegmentNote| ChainEnd {
            mode,
            date: note.date,
            part: note.part,
            round: note.replay,
            state_root: note.state_root,
            block_hash: note.block_hash,
        };
        done.segments.iter().map(end).collect::<Vec<_>>()
    };
    results.modes.iter().flat_map(of_mode).collect()
}

/// The digests of all files in a study's folder but the manifest and what resuming needs.
///
/// # Errors
///
/// [`ManifestError::File`] when one could not be read.
pub fn digests(folder: &Path) -> Result<BTreeMap<String, B256>, ManifestError> {
    let mut found = BTreeMap::new();
    let mut left = vec![(folder.to_owned(), String::new())];
    while let Some((path, name)) = left.pop() {
        let failed = |source| ManifestError::File { path: path.clone(), source };
        if path.is_dir() {
            for entry in fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let inner = entry.file_name().to_string_lossy().into_owned();
                let is_output = !name.is_empty() || !matches!(inner.as_str(), MANIFEST | WORK);
                let inner = if name.is_empty() { inner } else { format!("{name}/{inner}") };
                if is_output {
                    left.push((entry.path(), inner));
                }
            }
        } else {
            found.insert(name, digest(File::open(&path).map_err(failed)?).map_err(failed)?);
        }
    }
    Ok(found)
}

/// The SHA-256 of what can be read.
///
/// # Errors
///
/// Whatever reading meets.
pub fn digest(input: impl Read) -> io::Result<B256> {
    let (mut input, mut hash, mut buffer) =
        (BufReader::new(input), Sha256::new(), vec![0; 1 << 16]);
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(B256::from_slice(&hash.finalize())),
            length => hash.update(&buffer[..length]),
        }
    }
}

/// The digest of all contracts' creation code, in the order in which they are deployed.
#[must_use]
pub fn contracts_digest() -> B256 {
    let deployment = Deployment::from_addresses(Default::default());
    let codes = Contract::ALL.map(|contract| deployment.creation_code(contract, Vec::new()));
    keccak256(codes.map(keccak256).concat())
}
