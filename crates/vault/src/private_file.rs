//! Files that hold keys: made once, for their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

/// Longer than any file of keys, in bytes.
const LEN_MAX: u64 = 64 * 1024;

/// Group and others, reading, writing and executing.
const NOT_OWNER: u32 = 0o077;

/// Why a file of keys was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// There is one already. It may hold the only key to something, so it is not touched.
    #[error("the file exists already; move it away first if it is not needed")]
    Exists,
    /// Others than the owner may read or change it.
    #[error("others than the owner may use the file (mode {mode:03o}); make it mode 600")]
    NotPrivate {
        /// Its permission bits.
        mode: u32,
    },
    /// It is too long, or no regular file.
    #[error("not a file of keys")]
    NotAKeyFile,
    /// It could not be read or written.
    #[error("the file of keys could not be read or written")]
    Io(#[source] io::Error),
}

/// Writes a new file with mode 0600, durably.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), PrivateFileError> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map_err(
        |error| match error.kind() {
            io::ErrorKind::AlreadyExists => PrivateFileError::Exists,
            _ => PrivateFileError::Io(error),
        },
    )?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    });
    written.map_err(|error| {
        // Half a key is of use to nobody, and would only be in the way of the next attempt.
        let _ = fs::remove_file(path);
        PrivateFileError::Io(error)
    })
}

/// Reads a file that nobody but its owner may use.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let file = File::open(path).map_err(PrivateFileError::Io)?;
    // The open file is asked, not the path, which may name another one by now.
    let metadata = file.metadata().map_err(PrivateFileError::Io)?;
    if !metadata.is_file() || metadata.len() > LEN_MAX {
        return Err(PrivateFileError::NotAKeyFile);
    }
    let mode = metadata.mode() & 0o777;
    if mode & NOT_OWNER != 0 {
        return Err(PrivateFileError::NotPrivate { mode });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LEN_MAX).read_to_end(&mut bytes).map_err(PrivateFileError::Io)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_for_their_owner_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().as_slice(), b"secret");
        assert!(matches!(write(&path, b"other"), Err(PrivateFileError::Exists)));
        assert_eq!(read(&path).unwrap().as_slice(), b"secret");
    }

    #[test]
    fn files_that_others_may_use_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, b"secret").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(
                read(&path),
                Err(PrivateFileError::NotPrivate { mode: found }) if found == mode
            ));
        }
    }

    #[test]
    fn folders_and_long_files_are_no_key_files() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(PrivateFileError::NotAKeyFile)));
        let path = folder.path().join("long");
        fs::write(&path, vec![0; 70_000]).unwrap();
        assert!(matches!(read(&path), Err(PrivateFileError::NotAKeyFile)));
    }
}
