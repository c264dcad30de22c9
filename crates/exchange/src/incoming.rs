//! Bodies on their way in, before they are known to be what they should be.
//!
//! ```text
//! INCOMING/0f3a…(64 hexadecimal digits).part   what came of a long body, from its beginning
//! ```
//!
//! A part stays when a transfer is interrupted, and the next one goes on at its end, also after a
//! restart and from another peer. What it holds is proven only when it is whole and hashes to its name:
//! a part that was spoilt, by a peer or by a crash, costs one more transfer and nothing else.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Cursor, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::RecordDigest;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// The longest body that is received in memory, in bytes. A shorter one is fetched anew when it was
/// interrupted, which is no more work than looking for its part.
const MEMORY_MAX: u64 = 256 * 1024;

/// How much of a long body is gathered before it is written, in bytes.
const GATHERED_MAX: usize = 512 * 1024;

/// The folder of parts. Only one process may use it.
#[derive(Clone, Debug)]
pub struct Incoming {
    folder: Arc<Path>,
    busy: Arc<Mutex<HashSet<RecordDigest>>>,
}

impl Incoming {
    /// Opens the folder, and makes it when it is not there.
    ///
    /// # Errors
    ///
    /// When it cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.into(), busy: Arc::default() })
    }

    /// Removes every part. What is being received now fails.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read or a part not removed.
    pub fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Takes up a body where it was left; `None` while it is being received already.
    pub(crate) async fn begin(
        &self,
        digest: RecordDigest,
        len: u64,
    ) -> io::Result<Option<Arriving>> {
        if !self.busy.lock().insert(digest) {
            return Ok(None);
        }
        let claim = Claim { digest, busy: Arc::clone(&self.busy) };
        if len <= MEMORY_MAX {
            let place = Place::Memory(Vec::new());
            return Ok(Some(Arriving::new(claim, len, place, Sha256::new(), 0)));
        }
        let path = self.folder.join(format!("{}.part", hex::encode(digest.0)));
        let opening = move || open_part(path, len);
        let opened = tokio::task::spawn_blocking(opening).await.expect("opening does not panic");
        let (part, hash, arrived) = opened?;
        Ok(Some(Arriving::new(claim, len, Place::Part(part), hash, arrived)))
    }
}

/// Opens the part of a body of `len` bytes, and hashes what is there of it.
fn open_part(path: PathBuf, len: u64) -> io::Result<(Part, Sha256, u64)> {
    let mut options = File::options();
    let mut file =
        options.create(true).truncate(false).read(true).write(true).mode(0o600).open(&path)?;
    let mut hash = Sha256::new();
    let mut arrived = 0;
    if file.metadata()?.len() <= len {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => {
                    hash.update(&buffer[..count]);
                    arrived += count as u64;
                }
            }
        }
    } else {
        file.set_len(0)?;
    }
    Ok((Part { path, file }, hash, arrived))
}

/// Keeps others from receiving the same body at the same time.
#[derive(Debug)]
struct Claim {
    digest: RecordDigest,
    busy: Arc<Mutex<HashSet<RecordDigest>>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.busy.lock().remove(&self.digest);
    }
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
}

#[derive(Debug)]
enum Place {
    Memory(Vec<u8>),
    Part(Part),
}

/// A body that is being received.
#[derive(Debug)]
pub(crate) struct Arriving {
    claim: Arc<Claim>,
    len: u64,
    /// `None` while it is being written, and after that failed.
    kept: Option<Kept>,
    /// What is not written yet.
    gathered: Vec<u8>,
}

#[derive(Debug)]
struct Kept {
    place: Place,
    hash: Sha256,
    arrived: u64,
}

/// More bytes came than there should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    #[error("more came than there should be")]
    TooLong,
    #[error("what came could not be kept")]
    Keep(#[from] io::Error),
}

impl Arriving {
    fn new(claim: Claim, len: u64, place: Place, hash: Sha256, arrived: u64) -> Self {
        let kept = Some(Kept { place, hash, arrived });
        Self { claim: Arc::new(claim), len, kept, gathered: Vec::new() }
    }

    /// How much is there, from the beginning.
    pub(crate) fn arrived(&self) -> u64 {
        let kept = self.kept.as_ref().map_or(0, |kept| kept.arrived);
        kept + self.gathered.len() as u64
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.arrived() == self.len
    }

    /// Takes in what comes next.
    pub(crate) async fn push(&mut self, bytes: &[u8]) -> Result<(), PushError> {
        if self.arrived() + bytes.len() as u64 > self.len {
            return Err(PushError::TooLong);
        }
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED_MAX {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes what was gathered, so that it is there after an interruption.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let mut kept = self.kept.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let writing = move || {
            kept.hash.update(&gathered);
            kept.arrived += gathered.len() as u64;
            match &mut kept.place {
                Place::Memory(bytes) => bytes.extend_from_slice(&gathered),
                Place::Part(part) => part.file.write_all(&gathered)?,
            }
            Ok::<_, io::Error>(kept)
        };
        let written = match &self.len {
            0..=MEMORY_MAX => writing(),
            _ => tokio::task::spawn_blocking(writing).await.expect("writing does not panic"),
        };
        self.kept = Some(written?);
        Ok(())
    }

    /// Throws away what came, to begin anew.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        self.gathered.clear();
        let kept = self.kept.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        match &mut kept.place {
            Place::Memory(bytes) => bytes.clear(),
            Place::Part(part) => {
                part.file.set_len(0)?;
                part.file.rewind()?;
            }
        }
        (kept.hash, kept.arrived) = (Sha256::new(), 0);
        Ok(())
    }

    /// The body, when it is whole and hashes to what it should.
    pub(crate) async fn finish(&mut self) -> io::Result<Option<Arrived>> {
        self.flush().await?;
        let is_it = |kept: &mut Kept| {
            let found = <[u8; 32]>::from(kept.hash.clone().finalize());
            RecordDigest(found.into()) == self.claim.digest && kept.arrived == self.len
        };
        let kept = self.kept.take_if(is_it);
        Ok(kept.map(|kept| Arrived { place: kept.place, _claim: Arc::clone(&self.claim) }))
    }
}

/// A body that hashes to what it should.
#[derive(Debug)]
pub(crate) struct Arrived {
    place: Place,
    _claim: Arc<Claim>,
}

impl Arrived {
    /// The bytes from their beginning.
    pub(crate) fn reader(&mut self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match &mut self.place {
            Place::Memory(bytes) => Box::new(Cursor::new(std::mem::take(bytes))),
            Place::Part(part) => {
                let mut file = part.file.try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                Box::new(file)
            }
        })
    }

    /// Removes what the vault has taken in, or will never take in.
    pub(crate) fn discard(self) {
        if let Place::Part(part) = &self.place
            && let Err(error) = fs::remove_file(&part.path)
        {
            tracing::warn!(%error, "a received part could not be removed");
        }
    }
}
