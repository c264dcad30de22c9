//! What went wrong below, by what can be done about it.

use std::error::Error;
use std::io;
use std::sync::Arc;

use sqlx::sqlite::SqliteError;

/// SQLite: the file system has no room.
const SQLITE_FULL: u32 = 13;
/// SQLite: a write failed. In practice a quota or a limit on file sizes.
const SQLITE_IOERR_WRITE: u32 = 778;
/// SQLite: the file or its file system may not be written.
const SQLITE_READONLY: u32 = 8;
/// SQLite: a file could not be opened, the write-ahead log of an unwritable folder for one.
const SQLITE_CANTOPEN: u32 = 14;
/// PostgreSQL: `disk_full`.
const POSTGRES_DISK_FULL: &str = "53100";
/// PostgreSQL: `read_only_sql_transaction`.
const POSTGRES_READ_ONLY: &str = "25006";

/// What the database or the file system reported.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no room left.
    #[error("no space is left for the store; free some or raise the quota, then try again")]
    DiskFull(#[source] Box<dyn Error + Send + Sync>),
    /// The database or the file system refuses to be written.
    #[error("the store cannot be written; check its folder, its mount and its owner")]
    ReadOnly(#[source] Box<dyn Error + Send + Sync>),
    /// Anything else. Trying again may help.
    #[error("the store failed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
    /// Somebody else wrote what this write was made for; nothing of it was kept.
    #[error("it was written meanwhile; read it again")]
    Overtaken,
    /// A row breaks the rules under which it was written.
    #[error("the store holds a {what} that breaks its rules")]
    Corrupt {
        /// What it is, such as `record`.
        what: &'static str,
    },
}

impl StoreError {
    /// The error that several got, for one of them.
    pub(crate) fn of_all(error: &Arc<Self>) -> Self {
        let source = Box::new(Arc::clone(error));
        match **error {
            Self::DiskFull(_) => Self::DiskFull(source),
            Self::ReadOnly(_) => Self::ReadOnly(source),
            Self::Failed(_) => Self::Failed(source),
            Self::Overtaken => Self::Overtaken,
            Self::Corrupt { what } => Self::Corrupt { what },
        }
    }

    /// Whether the same request may succeed later with nothing else changed.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Io(source) = error {
            return source.into();
        }
        let Some(reported) = error.as_database_error() else { return Self::Failed(error.into()) };
        let code = reported.code().unwrap_or_default();
        if reported.try_downcast_ref::<SqliteError>().is_some() {
            // An extended code has the primary one in its lowest byte.
            let extended: u32 = code.parse().unwrap_or_default();
            match (extended, extended & 0xff) {
                (SQLITE_IOERR_WRITE, _) | (_, SQLITE_FULL) => Self::DiskFull(error.into()),
                (_, SQLITE_READONLY | SQLITE_CANTOPEN) => Self::ReadOnly(error.into()),
                _ => Self::Failed(error.into()),
            }
        } else {
            match &*code {
                POSTGRES_DISK_FULL => Self::DiskFull(error.into()),
                POSTGRES_READ_ONLY => Self::ReadOnly(error.into()),
                _ => Self::Failed(error.into()),
            }
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::DiskFull(error.into())
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly(error.into())
            }
            _ => Self::Failed(error.into()),
        }
    }
}
