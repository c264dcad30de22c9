//! Long bodies: sealed records in files named by their digest.
//!
//! ```text
//! BODIES/0f3a…(64 hexadecimal digits)   a sealed record whose row says `place = 1`
//! BODIES/incoming-N                     one being written
//! BODIES/lock                           held by the process that uses the folder
//! ```
//!
//! A file is written under an `incoming` name, synced, renamed, and the folder is synced, before the
//! row that names it is committed. So a committed row has its file, whenever the process is killed
//! (S6). What is left without a row is removed when the folder is opened next; so a new database gets no
//! folder that has records, which would be another database's.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use domain::RecordDigest;
use sha2::{Digest as _, Sha256};

use crate::database::{OpenDatabaseError, lock_file};

/// The longest sealed record that is kept in its row, in bytes. SQLite reads rows of up to about this
/// length faster than files.
pub(crate) const ROW_BODY_MAX: usize = 256 * 1024;

const INCOMING: &str = "incoming-";

/// The folder of long bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    folder: PathBuf,
    next: AtomicU64,
    _lock: File,
}

impl Bodies {
    pub(crate) fn open(folder: &Path) -> Result<Self, OpenDatabaseError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| OpenDatabaseError::NotWritable { path: folder.to_owned(), source })?;
        let lock = lock_file(&folder.join("lock"))?;
        Ok(Self { folder: folder.to_owned(), next: AtomicU64::new(0), _lock: lock })
    }

    /// Removes what an interrupted run was just writing.
    pub(crate) fn sweep_incoming(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(INCOMING)) {
                fs::remove_file(self.folder.join(name))?;
            }
        }
        Ok(())
    }

    /// The digests that have a file.
    pub(crate) fn digests(&self) -> io::Result<Vec<RecordDigest>> {
        let mut digests = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            digests.extend(name.to_str().and_then(|name| name.parse::<RecordDigest>().ok()));
        }
        Ok(digests)
    }

    /// A new file to write a sealed record into.
    pub(crate) fn incoming(&self) -> io::Result<Incoming> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{INCOMING}{number}"));
        let mut options = File::options();
        let file = options.create_new(true).read(true).write(true).mode(0o600).open(&path)?;
        Ok(Incoming { path: Some(path), file })
    }

    /// Gives a written file its name, durably. Until a row names it, what is returned looks after it.
    pub(crate) fn keep(
        bodies: &Arc<Self>,
        mut incoming: Incoming,
        digest: RecordDigest,
    ) -> io::Result<Unclaimed> {
        incoming.sync()?;
        let is_new = !bodies.is_there(digest)?;
        let unclaimed =
            Unclaimed { bodies: Arc::clone(bodies), digest, is_new, is_claimed: !is_new };
        if let Some(path) = &incoming.path {
            fs::rename(path, bodies.path(digest))?;
            incoming.path = None;
        }
        bodies.sync()?;
        Ok(unclaimed)
    }

    pub(crate) fn open_body(&self, digest: RecordDigest) -> io::Result<File> {
        File::open(self.path(digest))
    }

    pub(crate) fn is_there(&self, digest: RecordDigest) -> io::Result<bool> {
        self.path(digest).try_exists()
    }

    /// Removes a body. That it is not there is no error.
    pub(crate) fn remove(&self, digest: RecordDigest) -> io::Result<()> {
        match fs::remove_file(self.path(digest)) {
            Ok(()) => self.sync(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The SHA-256 of the file that should have this digest; `None` when there is no file.
    pub(crate) fn digest_on_disk(&self, digest: RecordDigest) -> io::Result<Option<RecordDigest>> {
        let mut file = match self.open_body(digest) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => hash.update(&buffer[..count]),
            }
        }
        Ok(Some(RecordDigest(<[u8; 32]>::from(hash.finalize()).into())))
    }

    fn path(&self, digest: RecordDigest) -> PathBuf {
        self.folder.join(hex::encode(digest.0))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// A body that has its file, but no row yet. Dropped, it is removed, so that attempts which fail on a
/// full disk do not fill it further. One that had its file before is another row's too, and stays.
#[derive(Debug)]
pub(crate) struct Unclaimed {
    bodies: Arc<Bodies>,
    digest: RecordDigest,
    is_new: bool,
    is_claimed: bool,
}

impl Unclaimed {
    /// Leaves the file where it is, whatever happens: a row names it, or may do so.
    pub(crate) const fn claim(&mut self) {
        self.is_claimed = true;
    }

    /// No row names it after all.
    pub(crate) const fn disclaim(&mut self) {
        self.is_claimed = !self.is_new;
    }
}

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if !self.is_claimed {
            // What stays behind is removed when the folder is opened next.
            let _ = fs::remove_file(self.bodies.path(self.digest));
        }
    }
}

/// A file that is removed when it is dropped before [`Bodies::keep`].
#[derive(Debug)]
pub(crate) struct Incoming {
    path: Option<PathBuf>,
    file: File,
}

impl Incoming {
    /// Waits until what was written is on disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// The file from its beginning, to read what was written.
    pub(crate) fn reopen(&mut self) -> io::Result<&mut File> {
        io::Seek::rewind(&mut self.file)?;
        Ok(&mut self.file)
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            // What stays behind is removed when the folder is opened next.
            let _ = fs::remove_file(path);
        }
    }
}
