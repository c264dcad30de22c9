//! The database: SQLite in a file, or PostgreSQL, through one SQL text.
//!
//! What every statement here and in the crates that add their own tables keeps to: `$n` placeholders,
//! columns of type `text`, `bigint`, `double precision` and `bytea`, no booleans. Values are bound as
//! `i64`, `f64`, `String` and `Vec<u8>`; sqlx 0.9 panics on `Arc<str>`.
//!
//! A commit is on disk when it returns (S6): SQLite runs with a write-ahead log and
//! `synchronous=FULL`, PostgreSQL with `synchronous_commit` on. One process uses a database at a time,
//! and a second one is told so: by a lock on a file, or by an advisory lock that a connection of its
//! own holds. Within a process, one transaction writes at a time.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, ConnectOptions as _, Connection as _};
use tokio::sync::Mutex;

use crate::store_error::StoreError;
use crate::transaction::{WriteTransaction, Writer};

/// How many connections read at a time, beside the one that writes.
const READERS_MAX: u32 = 4;

/// How long a write waits for its turn. A bulk import may hold it for a while.
pub(crate) const WRITE_TURN_MAX: Duration = Duration::from_secs(600);

/// How often a lock file is tried, 2 ms apart.
const LOCK_ATTEMPTS: u32 = 50;

/// The PostgreSQL advisory lock that a running gateway holds: "salus" in ASCII.
pub(crate) const ADVISORY_LOCK: i64 = 0x73_616c_7573;

/// What every SQLite connection is told. The log is folded into the file every 32 MiB: bulk imports
/// take a sixth less time than with the usual 4 MiB.
const SQLITE_PRAGMAS: &str = "
    pragma journal_mode = wal;
    pragma synchronous = full;
    pragma fullfsync = on;
    pragma busy_timeout = 10000;
    pragma foreign_keys = on;
    pragma secure_delete = on;
    pragma temp_store = memory;
    pragma wal_autocheckpoint = 8192;
";

/// A server may be set up to confirm commits before they are on disk; we are not content with that. And
/// it keeps the plans that it made while the tables were empty, when reading them whole was quickest: a
/// first import would take time with the square of its length. So it plans anew each time, and takes an
/// index where there is one.
const POSTGRES_SETTINGS: &str = "select set_config('synchronous_commit', 'on', false)
    where current_setting('synchronous_commit') = 'off';
    select set_config('plan_cache_mode', 'force_custom_plan', false),
        set_config('enable_seqscan', 'off', false)";

const WRITER_CACHE: &str = "pragma cache_size = -65536";
const READER_CACHE: &str = "pragma cache_size = -8192";

/// Which database system it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file of our own.
    Sqlite,
    /// A server.
    Postgres,
}

/// An open database. Clones share it.
#[derive(Clone, Debug)]
pub struct Database {
    backend: Backend,
    readers: AnyPool,
    writer: Writer,
    /// Held until it is closed, or as long as any clone lives.
    lock: Arc<Lock>,
}

#[derive(Debug)]
enum Lock {
    File { file: File },
    Session { connection: Mutex<AnyConnection> },
}

/// Why a database was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDatabaseError {
    /// The address is none of those known.
    #[error("a database is `sqlite://PATH` or `postgres://HOST/NAME`")]
    BadUrl,
    /// Another process has it open.
    #[error("another process uses this database; stop that one first")]
    InUse,
    /// The database's folder cannot be written.
    #[error("cannot write to {path}; check that its folder exists and who may write there")]
    NotWritable {
        /// The file that was to be written.
        path: PathBuf,
        /// What the system reported.
        #[source]
        source: std::io::Error,
    },
    /// It could not be opened or connected to.
    #[error("the database could not be opened")]
    Store(#[source] StoreError),
}

impl Database {
    /// Opens `sqlite://PATH`, making the file if need be, or `postgres://USER@HOST/NAME`, which must
    /// exist.
    ///
    /// # Errors
    ///
    /// See [`OpenDatabaseError`].
    pub async fn open(url: &str) -> Result<Self, OpenDatabaseError> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            return Self::open_file(Path::new(path)).await;
        }
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(OpenDatabaseError::BadUrl);
        }
        let options = connect_options(url)?;
        let mut session = options.connect().await.map_err(open_error)?;
        let (is_free,): (i64,) =
            sqlx::query_as("select case when pg_try_advisory_lock($1) then 1 else 0 end")
                .bind(ADVISORY_LOCK)
                .fetch_one(&mut session)
                .await
                .map_err(open_error)?;
        // PostgreSQL reports the 0 or 1 as `int4`, which `Any` widens.
        if is_free == 0 {
            return Err(OpenDatabaseError::InUse);
        }
        let lock = Lock::Session { connection: Mutex::new(session) };
        Self::connect(Backend::Postgres, options, lock).await
    }

    /// Opens a SQLite database in a file, making it if need be.
    ///
    /// # Errors
    ///
    /// See [`OpenDatabaseError`].
    pub async fn open_file(path: &Path) -> Result<Self, OpenDatabaseError> {
        let path = std::path::absolute(path).map_err(|_| OpenDatabaseError::BadUrl)?;
        // One file has one lock, also under another name.
        let path = path.canonicalize().unwrap_or(path);
        let lock = lock_file(&path.with_added_extension("lock"))?;
        // SQLite gives its other files the mode of this one. Bodies are sealed, but who has how many
        // records of which kind is nobody's business either.
        private_options()
            .write(true)
            .open(&path)
            .map_err(|source| OpenDatabaseError::NotWritable { path: path.clone(), source })?;
        let mut url = "sqlite://".to_owned();
        for byte in path.to_str().ok_or(OpenDatabaseError::BadUrl)?.bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' => url.push(byte.into()),
                _ if byte.is_ascii_alphanumeric() => url.push(byte.into()),
                _ => write!(url, "%{byte:02X}").expect("writing to a string does not fail"),
            }
        }
        let lock = Lock::File { file: lock };
        let database = Self::connect(Backend::Sqlite, connect_options(&url)?, lock).await?;
        // The files are on disk only when their names are.
        let folder = path.parent().unwrap_or(Path::new("/"));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| OpenDatabaseError::NotWritable { path, source })?;
        Ok(database)
    }

    async fn connect(
        backend: Backend,
        options: AnyConnectOptions,
        lock: Lock,
    ) -> Result<Self, OpenDatabaseError> {
        // One connection comes first, alone: it makes the file and sets the journal mode. And a pool
        // would try again and again where one attempt tells what is wrong.
        let mut first = options.connect().await.map_err(open_error)?;
        prepare(&mut first, backend, WRITER_CACHE).await.map_err(open_error)?;
        first.close().await.map_err(open_error)?;

        let is_sqlite = backend == Backend::Sqlite;
        let pool = |connections, cache| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(WRITE_TURN_MAX)
                // A file does not hang up, so there is no need to ask.
                .test_before_acquire(!is_sqlite)
                .idle_timeout(None)
                .max_lifetime(None)
                .after_connect(move |connection, _| Box::pin(prepare(connection, backend, cache)))
                .connect_lazy_with(options.clone())
        };
        let (writer, readers) = (pool(1, WRITER_CACHE), pool(READERS_MAX, READER_CACHE));
        let writer = Writer::new(backend, writer);
        Ok(Self { backend, readers, writer, lock: Arc::new(lock) })
    }

    /// Which system it is, for the rare statement that differs.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        self.backend
    }

    /// Connections for reading. Write through [`Database::begin`].
    #[must_use]
    pub const fn readers(&self) -> &AnyPool {
        &self.readers
    }

    /// Begins the one transaction that may write, once those before it are done.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database does not answer.
    pub async fn begin(&self) -> Result<WriteTransaction, StoreError> {
        self.writer.begin().await
    }

    /// As [`Database::begin`], for a short write that shares its commit with others that write at the same
    /// time: a disk takes as long for many as for one. Each is all or nothing by itself, unless the disk or
    /// the server fails; then all that share the commit fail.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database does not answer.
    pub async fn share(&self) -> Result<WriteTransaction, StoreError> {
        self.writer.share().await
    }

    /// Folds SQLite's write-ahead log into the file, so that it holds nothing of what was deleted. A
    /// reader that is still at work may keep a part of it until later.
    pub(crate) async fn fold_log(&self) -> Result<(), StoreError> {
        self.writer.run("pragma wal_checkpoint(truncate)").await
    }

    /// Closes every connection, after what runs on them is done, and gives the database free. Clones are
    /// closed with it.
    pub async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
        // Where this fails, the lock ends with the process.
        match &*self.lock {
            Lock::File { file } => drop(file.unlock()),
            Lock::Session { connection } => {
                let mut connection = connection.lock().await;
                let unlock =
                    sqlx::query("select 1 where pg_advisory_unlock($1)").bind(ADVISORY_LOCK);
                drop(unlock.execute(&mut *connection).await);
            }
        }
    }
}

/// Takes a lock file for as long as the file stays open.
pub(crate) fn lock_file(path: &Path) -> Result<File, OpenDatabaseError> {
    let not_writable = |source| OpenDatabaseError::NotWritable { path: path.to_owned(), source };
    let file = private_options().write(true).open(path).map_err(not_writable)?;
    // A process that this one is just starting holds what this one held until it has become another
    // program, so a lock that was let go may stay taken for a moment.
    for attempt in 1.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(TryLockError::WouldBlock) => return Err(OpenDatabaseError::InUse),
            Err(TryLockError::Error(source)) => return Err(not_writable(source)),
        }
    }
    Ok(file)
}

/// Makes a file for its owner only, when there is none.
fn private_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).mode(0o600);
    options
}

fn connect_options(url: &str) -> Result<AnyConnectOptions, OpenDatabaseError> {
    sqlx::any::install_default_drivers();
    let options = AnyConnectOptions::from_str(url).map_err(|_| OpenDatabaseError::BadUrl)?;
    Ok(options.disable_statement_logging())
}

/// Tells a new connection what it has to know.
async fn prepare(
    connection: &mut AnyConnection,
    backend: Backend,
    cache: &'static str,
) -> sqlx::Result<()> {
    match backend {
        Backend::Sqlite => {
            sqlx::raw_sql(SQLITE_PRAGMAS).execute(&mut *connection).await?;
            sqlx::raw_sql(cache).execute(connection).await?;
        }
        Backend::Postgres => {
            sqlx::raw_sql(POSTGRES_SETTINGS).execute(connection).await?;
        }
    }
    Ok(())
}

fn open_error(error: sqlx::Error) -> OpenDatabaseError {
    OpenDatabaseError::Store(error.into())
}
