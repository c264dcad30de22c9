//! Where files come from.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use super::FileProblem;

/// The longest file taken, in bytes: it is held in memory while it is checked.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// A file with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// What it is called, for messages.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// The files below a path, one after the other.
pub struct Sources {
    waiting: VecDeque<PathBuf>,
    archive: Option<Archive>,
}

/// An archive that is being read: in order, by a thread of its own.
type Archive = std::sync::mpsc::Receiver<Result<SourceFile, FileProblem>>;

/// The path cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// The file system refused.
    #[error("could not read {}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Neither a folder nor a file of a known sort.
    #[error("{} is neither a folder nor a .json, .ndjson or .tar.zst file", path.display())]
    UnknownSort {
        /// What.
        path: PathBuf,
    },
}

impl Sources {
    /// The files of a folder (those of patients first, then in order of their names, subfolders
    /// included), of an archive, or one file.
    ///
    /// # Errors
    ///
    /// [`SourcesError`] when there is nothing to begin with.
    pub fn open(path: &Path) -> Result<Self, SourcesError> {
        let read = |source| SourcesError::Read { path: path.into(), source };
        let mut waiting = VecDeque::new();
        if fs::metadata(path).map_err(read)?.is_dir() {
            collect(path, &mut waiting).map_err(read)?;
        } else if is_bundle(path) || is_archive(path) {
            waiting.push_back(path.to_owned());
        } else {
            return Err(SourcesError::UnknownSort { path: path.into() });
        }
        Ok(Self { waiting, archive: None })
    }
}

impl Iterator for Sources {
    type Item = Result<SourceFile, FileProblem>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(archive) = &self.archive {
                match archive.recv() {
                    Ok(file) => return Some(file),
                    Err(_) => self.archive = None,
                }
            }
            let path = self.waiting.pop_front()?;
            if is_archive(&path) {
                self.archive = Some(open_archive(path));
                continue;
            }
            return Some(read_file(&path));
        }
    }
}

fn collect(dir: &Path, files: &mut VecDeque<PathBuf>) -> io::Result<()> {
    let mut paths: Vec<_> =
        fs::read_dir(dir)?.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
    // A bulk export has a file per type, and whom a record is about must be known before it.
    let is_patients = |path: &Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().contains("Patient"))
    };
    paths.sort_by_cached_key(|path| (!is_patients(path), path.clone()));
    for path in paths {
        if path.is_dir() {
            collect(&path, files)?;
        } else if is_bundle(&path) || is_archive(&path) {
            files.push_back(path);
        }
    }
    Ok(())
}

fn is_bundle(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "json" || end == "ndjson")
}

fn is_archive(path: &Path) -> bool {
    path.to_string_lossy().ends_with(".tar.zst")
}

fn too_long(length: u64) -> String {
    format!("{length} bytes are more than the {FILE_BYTES_MAX} that one file may have; split it")
}

fn read_file(path: &Path) -> Result<SourceFile, FileProblem> {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let problem =
        |reason: String| FileProblem { file: name.clone(), place: "the file".into(), reason };
    let file = File::open(path).map_err(|error| problem(error.to_string()))?;
    let length = file.metadata().map_err(|error| problem(error.to_string()))?.len();
    if length > FILE_BYTES_MAX {
        return Err(problem(too_long(length)));
    }
    let mut bytes = Vec::new();
    // One more than allowed, in case the file grows meanwhile.
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| problem(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(problem(too_long(bytes.len() as u64)));
    }
    Ok(SourceFile { name, bytes })
}

fn open_archive(path: PathBuf) -> Archive {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    // A few files ahead: reading and unpacking overlap with sealing, memory stays bounded.
    let (send, files) = std::sync::mpsc::sync_channel(4);
    std::thread::spawn(move || {
        if let Err(reason) = unpack(&path, &name, &send) {
            let place = "the archive".into();
            let _ = send.send(Err(FileProblem { file: name, place, reason }));
        }
    });
    files
}

/// Sends the bundles of an archive. What comes before a damaged place is sent; the damage is an error.
fn unpack(
    path: &Path,
    archive: &str,
    send: &std::sync::mpsc::SyncSender<Result<SourceFile, FileProblem>>,
) -> Result<(), String> {
    let text = |error: io::Error| format!("it is damaged or ends early: {error}");
    let file = File::open(path).map_err(|error| error.to_string())?;
    let unpacked = zstd::Decoder::new(BufReader::new(file)).map_err(text)?;
    let mut tar = tar::Archive::new(unpacked);
    for entry in tar.entries().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        let inner = entry.path().map_err(text)?.into_owned();
        if !entry.header().entry_type().is_file() || !is_bundle(&inner) {
            continue;
        }
        let name = format!("{archive}: {}", inner.display());
        let length = entry.size();
        let file = if length > FILE_BYTES_MAX {
            let (file, place) = (name, "the file".into());
            Err(FileProblem { file, place, reason: too_long(length) })
        } else {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(text)?;
            if (bytes.len() as u64) < length {
                return Err(format!("it ends within {}", inner.display()));
            }
            Ok(SourceFile { name, bytes })
        };
        if send.send(file).is_err() {
            return Ok(());
        }
    }
    Ok(())
}
