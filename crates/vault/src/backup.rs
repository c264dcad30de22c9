//! A consistent copy of a SQLite database that a gateway may be using, and what belongs to it.
//!
//! The copy is the database at one instant, made by SQLite itself. A body's file is there before the row
//! that names it, so whoever copies the files *afterwards* has every file that a row of the copy names,
//! except of what was erased in between.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use std::time::Duration;

use domain::{B256, RecordDigest};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use crate::store_error::StoreError;

/// How long to wait where somebody holds the database, as while its log is folded.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why no copy was made.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// There is no database to copy.
    #[error("there is no database at {}", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The copy cannot be written.
    #[error("could not write {}", path.display())]
    NotWritable {
        /// Where it should go.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database failed, or the disk is full.
    #[error("the database could not be copied")]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for SnapshotError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Copies the SQLite database in `from` to the new file `to`, for its owner only, while another process
/// may read and write it. Returns the digests of the bodies that are in files of their own, whose names
/// are those digests in hexadecimal.
///
/// # Errors
///
/// [`SnapshotError`]. What there is of the copy then is of no use.
pub async fn snapshot(from: &Path, to: &Path) -> Result<Vec<RecordDigest>, SnapshotError> {
    if !from.is_file() {
        return Err(SnapshotError::Missing { path: from.to_owned() });
    }
    let not_writable = |source| SnapshotError::NotWritable { path: to.to_owned(), source };
    // SQLite writes into an empty file, and keeps its mode.
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(to).map_err(not_writable)?;
    let name = to.to_str().ok_or_else(|| not_writable(io::ErrorKind::InvalidFilename.into()))?;
    let mut connection = connect(from).await?;
    let copied = sqlx::query("vacuum into $1").bind(name.to_owned()).execute(&mut connection).await;
    connection.close().await?;
    copied?;
    let mut connection = connect(to).await?;
    let rows = sqlx::query("select digest from records where place = 1 order by digest")
        .fetch_all(&mut connection)
        .await;
    connection.close().await?;
    let digest = |digest: Vec<u8>| {
        let digest = B256::try_from(digest.as_slice());
        digest.map(RecordDigest).map_err(|_| StoreError::Corrupt { what: "digest" }.into())
    };
    rows?.iter().map(|row| digest(row.try_get(0)?)).collect()
}

async fn connect(path: &Path) -> sqlx::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(PATIENCE);
    options.disable_statement_logging().connect().await
}
