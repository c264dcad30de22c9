//! Transactions that write: one at a time, each with a commit of its own or several with one.
//!
//! Those that share a commit take turns in one transaction of the database. Each works behind a savepoint,
//! so that whatever is given up is undone by itself. Whoever is done lets the others go on, and asks for
//! the turn again, behind all that came in the meantime: when it comes, all of them are done, and the
//! commit is for all.
//!
//! ```text
//! turn:   A works | B works | C works | commit for A, B and C
//! waits:    B C       C A       A B
//! ```

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::database::{Backend, WRITE_TURN_MAX};
use crate::store_error::StoreError;

/// A server goes on with a commit whose client was killed or gave up. Who writes next waits for it, so
/// that nobody takes its files for leftovers. The number is
/// [`ADVISORY_LOCK`](crate::database::ADVISORY_LOCK) and one.
const POSTGRES_BEGIN: &str = "begin; select 1 from pg_advisory_xact_lock(495555736948)";

/// A deferred transaction could fail at its first write, when a reader began in between.
const SQLITE_BEGIN: &str = "begin immediate";

/// Puts the savepoint behind which a member works in the place of that of the member before.
const NEXT_MEMBER: &str = "release savepoint member; savepoint member";
const FIRST_MEMBER: &str = "savepoint member";
const UNDO_MEMBER: &str = "rollback to savepoint member";

/// The one connection that writes, and whose turn it is. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    backend: Backend,
    pool: AnyPool,
    turn: Arc<Mutex<Open>>,
}

/// What became of a transaction that is over.
type Fate = Arc<OnceLock<Result<(), Arc<StoreError>>>>;

/// The transaction that is open, if any.
#[derive(Debug, Default)]
struct Open {
    connection: Option<PoolConnection<Any>>,
    /// What its members wait for.
    fate: Fate,
    /// How many members are done and wait for the commit.
    waiting: usize,
    /// Whether the last member went without being done, so that what it wrote is to be undone.
    is_left: bool,
}

impl Writer {
    pub(crate) fn new(backend: Backend, pool: AnyPool) -> Self {
        Self { backend, pool, turn: Arc::default() }
    }

    /// Begins a transaction with a commit of its own.
    pub(crate) async fn begin(&self) -> Result<WriteTransaction, StoreError> {
        let open = self.turn().await?;
        let open = if open.connection.is_some() { finished(open).await? } else { open };
        self.start(open, false, self.begin_statement()).await
    }

    /// Begins a transaction that shares its commit.
    pub(crate) async fn share(&self) -> Result<WriteTransaction, StoreError> {
        let open = self.turn().await?;
        let writer = self.clone();
        // A task of its own, because whoever asks may be gone before it is done; where one member ends and
        // the next begins must never be in doubt.
        not_given_up(async move { writer.join(open).await }).await?
    }

    async fn join(self, mut open: OwnedMutexGuard<Open>) -> Result<WriteTransaction, StoreError> {
        if open.connection.is_some() {
            match open.next_member().await {
                Ok(()) => {
                    return Ok(WriteTransaction {
                        writer: self,
                        open,
                        is_shared: true,
                        is_over: false,
                    });
                }
                Err(error) => open.end(Err(error)),
            }
        }
        let statement = format!("{}; {FIRST_MEMBER}", self.begin_statement());
        self.start(open, true, &statement).await
    }

    async fn start(
        &self,
        mut open: OwnedMutexGuard<Open>,
        is_shared: bool,
        statement: &str,
    ) -> Result<WriteTransaction, StoreError> {
        open.connection = Some(self.pool.acquire().await?);
        let mut transaction =
            WriteTransaction { writer: self.clone(), open, is_shared, is_over: false };
        run(&mut transaction, statement).await?;
        Ok(transaction)
    }

    /// Runs a statement outside of any transaction.
    pub(crate) async fn run(&self, statement: &'static str) -> Result<(), StoreError> {
        let open = self.turn().await?;
        let _turn = finished(open).await?;
        sqlx::query(statement).fetch_all(&self.pool).await?;
        Ok(())
    }

    /// Waits for what is being written, and closes the connection.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    async fn turn(&self) -> Result<OwnedMutexGuard<Open>, StoreError> {
        let turn = Arc::clone(&self.turn).lock_owned();
        tokio::time::timeout(WRITE_TURN_MAX, turn)
            .await
            .map_err(|_| StoreError::Failed("the turn to write did not come".into()))
    }

    const fn begin_statement(&self) -> &'static str {
        match self.backend {
            Backend::Sqlite => SQLITE_BEGIN,
            Backend::Postgres => POSTGRES_BEGIN,
        }
    }

    /// Waits until a transaction is over, and ends it when the turn comes before somebody else did.
    async fn commit(self, fate: Fate) -> Result<(), StoreError> {
        let mut open = self.turn().await?;
        if fate.get().is_none() {
            open.commit().await;
        }
        let failed = || Err(Arc::new(StoreError::Failed("the commit was given up".into())));
        fate.get().cloned().unwrap_or_else(failed).map_err(|error| StoreError::of_all(&error))
    }
}

impl Open {
    /// Begins the work of the next member, after that of the last one was kept or undone.
    async fn next_member(&mut self) -> Result<(), StoreError> {
        let statement = if self.is_left { UNDO_MEMBER } else { NEXT_MEMBER };
        let connection = self.connection.as_mut().expect("the transaction is open");
        run(connection, statement).await?;
        self.is_left = false;
        Ok(())
    }

    /// Commits what the members wrote.
    async fn commit(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let mut outcome = Ok(());
        if self.is_left {
            outcome = run(connection, UNDO_MEMBER).await;
        }
        if outcome.is_ok() {
            outcome = run(connection, "commit").await;
        }
        self.end(outcome);
    }

    /// Tells the members what became of their transaction. One that failed takes its connection with it.
    fn end(&mut self, outcome: Result<(), StoreError>) {
        let Self { connection, fate, .. } = std::mem::take(self);
        if let (Some(mut connection), Err(_)) = (connection, &outcome) {
            connection.close_on_drop();
        }
        fate.set(outcome.map_err(Arc::new)).expect("a transaction ends once");
    }
}

/// Commits what is open for the members that wait for it.
async fn finished(mut open: OwnedMutexGuard<Open>) -> Result<OwnedMutexGuard<Open>, StoreError> {
    not_given_up(async move {
        open.commit().await;
        open
    })
    .await
}

/// Does something to its end, also when whoever waits for it is gone.
async fn not_given_up<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::spawn(work).await.map_err(|_| StoreError::Failed("the program stops".into()))
}

async fn run(connection: &mut AnyConnection, statement: &str) -> Result<(), StoreError> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// The transaction that writes. It does nothing unless it is committed.
///
/// Statements run on the connection it dereferences to: `.execute(&mut *transaction)`.
///
/// One that is dropped, or whose commit failed, takes its connection with it, unless others wait for the
/// same commit. On a full disk SQLite rolls back by itself, and sqlx's own transactions lose count of that:
/// the next one to use the connection could not begin.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct WriteTransaction {
    writer: Writer,
    open: OwnedMutexGuard<Open>,
    is_shared: bool,
    is_over: bool,
}

impl WriteTransaction {
    /// Makes what was written durable: it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when it could not be; then nothing was written, unless the connection to a
    /// server was lost while it answered.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        if self.writer.backend == Backend::Postgres {
            // After a failed statement PostgreSQL answers "commit" with a rollback, and no error. Any
            // other statement does fail then, should somebody have passed over the first error.
            run(&mut self, "select 1").await?;
        }
        if self.is_shared {
            self.open.waiting += 1;
            self.is_over = true;
            let (writer, fate) = (self.writer.clone(), Arc::clone(&self.open.fate));
            // The turn is the next one's.
            drop(self);
            return not_given_up(writer.commit(fate)).await?;
        }
        run(&mut self, "commit").await?;
        self.is_over = true;
        *self.open = Open::default();
        Ok(())
    }
}

impl Drop for WriteTransaction {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        if self.open.waiting > 0 {
            self.open.is_left = true;
        } else if let Some(mut connection) = std::mem::take(&mut *self.open).connection {
            connection.close_on_drop();
        }
    }
}

impl Deref for WriteTransaction {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        self.open.connection.as_ref().expect("the transaction is open")
    }
}

impl DerefMut for WriteTransaction {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        self.open.connection.as_mut().expect("the transaction is open")
    }
}

#[cfg(test)]
mod tests {
    use crate::database::Database;

    async fn count(database: &Database) -> i64 {
        let counted = sqlx::query_as("select count(*) from kept").fetch_one(database.readers());
        let (count,): (i64,) = counted.await.unwrap();
        count
    }

    /// Whoever gives up undoes their own work, and nobody else's.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn members_of_a_commit_are_kept_or_undone_by_themselves() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open_file(&folder.path().join("vault.db")).await.unwrap();
        let mut alone = database.begin().await.unwrap();
        sqlx::query("create table kept (number bigint primary key)")
            .execute(&mut *alone)
            .await
            .unwrap();
        alone.commit().await.unwrap();
        let writing = (0..40_i64).map(|number| {
            let database = database.clone();
            tokio::spawn(async move {
                let mut transaction = match number % 10 {
                    0 => database.begin().await.unwrap(),
                    _ => database.share().await.unwrap(),
                };
                let insert = sqlx::query("insert into kept values ($1)").bind(number);
                insert.execute(&mut *transaction).await.unwrap();
                match number % 4 {
                    // It is dropped.
                    0 => {}
                    // One that failed is not committed either.
                    1 => {
                        let again = sqlx::query("insert into kept values ($1)").bind(number);
                        again.execute(&mut *transaction).await.unwrap_err();
                    }
                    _ => transaction.commit().await.unwrap(),
                }
            })
        });
        for written in writing.collect::<Vec<_>>() {
            written.await.unwrap();
        }
        assert_eq!(count(&database).await, 20);
    }
}
