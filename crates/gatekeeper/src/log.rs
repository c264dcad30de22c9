//! The access log: one receipt per attempt, chained, signed, and anchored in batches (S5).
//!
//! A receipt is on the disk before its answer goes out. Each is signed by the institution's key of that
//! time, which the registry's events tell, and chained to the one before, so that none can be changed or
//! left out without the chain of heads breaking. Roots of batches are anchored; what was anchored cannot
//! be rewritten even with the institution's key. Between two anchorings an operator could still drop the
//! newest receipts: anchor often.

use alloy_primitives::{Address, B256, Bytes, Signature};
use alloy_rpc_types_eth::{Filter, Log};
use alloy_sol_types::{SolEvent as _, SolEventInterface as _};
use bindings::{
    AccessLog as AccessLogContract, Contract,
    Registry::{self, RegistryEvents},
};
use domain::{Receipt, ReceiptHead, merkle};
use ledger::{AnchoredLog, SendError};
use serde::{Deserialize, Serialize};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _, any::AnyArguments};
use tokio::sync::{Mutex, oneshot};
use vault::{Database, StoreError, WriteTransaction, group_len, places_of};

use crate::{Gatekeeper, GatekeeperError};

/// The most receipts in one anchored batch.
const BATCH_MAX: u64 = 10_000;

/// The most receipts that are written together.
const WRITTEN_TOGETHER_MAX: usize = 256;

/// How many receipts one statement writes, at most.
const ROWS_PER_INSERT: usize = 16;

/// How many receipts are read at a time.
const PAGE: u64 = 2_000;

/// The access log of one gatekeeper.
#[derive(Debug)]
pub(crate) struct AccessLog {
    database: Database,
    /// `None` while it is not known whether the last receipt was written: whoever was writing it may
    /// have been dropped while the database was at work. The database is asked then.
    tail: Mutex<Option<Tail>>,
    /// Receipts that wait for the turn to be written, which comes to all of them at once.
    waiting: parking_lot::Mutex<Vec<Waiting>>,
}

/// A receipt that waits, and who is to be told when it is on the disk, as it was written.
#[derive(Debug)]
struct Waiting {
    receipt: Receipt,
    written: oneshot::Sender<Receipt>,
}

/// Where the next receipt goes.
#[derive(Clone, Copy, Debug)]
struct Tail {
    sequence: u64,
    head: ReceiptHead,
}

/// A receipt as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReceipt {
    /// The receipt.
    pub receipt: Receipt,
    /// The log's head after it.
    pub head: ReceiptHead,
    /// The gatekeeper's signature over the head.
    pub signature: Bytes,
}

/// Something wrong with an access log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFinding {
    /// Receipts are missing: the numbers have a gap.
    Gap {
        /// The first number that is missing.
        sequence: u64,
        /// How many are missing.
        count: u64,
    },
    /// A receipt was changed or cannot be read, or the one before it was left out.
    Altered {
        /// Its number.
        sequence: u64,
    },
    /// Receipts have numbers below 1, which none ever gets: nothing vouches for them.
    Unnumbered {
        /// How many.
        count: u64,
    },
    /// The signature under a receipt is by no key of the gatekeeper, or by one that it had put aside
    /// before an earlier receipt.
    BadSignature {
        /// Its number.
        sequence: u64,
    },
    /// What was anchored differs from what is kept.
    AnchorDiffers {
        /// The first receipt of the anchored batch.
        first_sequence: u64,
    },
    /// The chain has receipts that are not kept any more.
    Missing {
        /// How many the chain has.
        anchored: u64,
        /// How many are kept.
        kept: u64,
    },
}

/// Why the log was not anchored.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database or the chain failed.
    #[error(transparent)]
    Gatekeeper(#[from] GatekeeperError),
    /// The chain did not take it.
    #[error("the access log was not anchored")]
    Send(#[from] SendError),
}

impl AccessLog {
    pub(crate) async fn open(database: Database) -> Result<Self, StoreError> {
        // A log whose end cannot be read takes no receipts, so nothing is answered; but what is wrong
        // with it can be found out.
        let tail = read_tail(&mut *database.readers().acquire().await?).await.ok();
        Ok(Self { database, tail: Mutex::new(tail), waiting: parking_lot::Mutex::default() })
    }

    /// Where the next receipt goes. It is not known again before somebody who wrote one says so.
    async fn take_tail(&self, known: &mut Option<Tail>) -> Result<Tail, StoreError> {
        match known.take() {
            Some(tail) => Ok(tail),
            // As the writer, so that whatever was being written is there or never will be.
            None => read_tail(&mut *self.database.begin().await?).await,
        }
    }
}

/// A receipt, ready to be written.
struct NewRow {
    sequence: i64,
    patient: Address,
    text: String,
    digest: B256,
    head: ReceiptHead,
    signature: Signature,
}

/// The columns of a row, in the order in which they are bound.
const COLUMNS: usize = 6;

/// Writes receipts, in few statements: each is a message to another thread and back.
async fn insert_rows(
    connection: &mut sqlx::AnyConnection,
    mut rows: Vec<NewRow>,
) -> Result<(), StoreError> {
    while !rows.is_empty() {
        let left = rows.split_off(group_len(rows.len(), ROWS_PER_INSERT));
        let mut arguments = AnyArguments::default();
        let count = rows.len();
        for row in rows {
            row.bind(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        sqlx::query_with(insert_text(count), arguments).execute(&mut *connection).await?;
        rows = left;
    }
    Ok(())
}

/// The statement that inserts so many rows.
fn insert_text(rows: usize) -> AssertSqlSafe<String> {
    AssertSqlSafe(format!(
        "insert into receipts (sequence, patient, receipt, digest, head, signature) values {}",
        places_of(rows, COLUMNS)
    ))
}

impl NewRow {
    fn bind(self, arguments: &mut AnyArguments) -> Result<(), sqlx::error::BoxDynError> {
        arguments.add(self.sequence)?;
        arguments.add(self.patient.to_vec())?;
        arguments.add(self.text)?;
        arguments.add(self.digest.to_vec())?;
        arguments.add(self.head.0.to_vec())?;
        arguments.add(self.signature.as_bytes().to_vec())
    }
}

/// Where the next receipt goes, by what is written.
async fn read_tail(connection: &mut sqlx::AnyConnection) -> Result<Tail, StoreError> {
    let row = sqlx::query("select sequence, head from receipts order by sequence desc limit 1")
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(Tail { sequence: 1, head: ReceiptHead::default() }) };
    let head: Vec<u8> = row.try_get(1)?;
    let corrupt = |_| StoreError::Corrupt { what: "receipt" };
    Ok(Tail {
        sequence: row.try_get::<i64, _>(0)?.unsigned_abs() + 1,
        head: ReceiptHead(B256::try_from(head.as_slice()).map_err(corrupt)?),
    })
}

impl Gatekeeper {
    /// Writes a receipt, and with it whatever `also` writes; both or neither. Neither when `also` says
    /// no; then there is no receipt.
    ///
    /// The receipt's sequence and gatekeeper are filled in.
    pub(crate) async fn log(
        &self,
        mut receipt: Receipt,
        also: impl AsyncFnOnce(&mut WriteTransaction) -> Result<bool, StoreError>,
    ) -> Result<Option<Receipt>, GatekeeperError> {
        let log = &self.inner.log;
        let mut known = log.tail.lock().await;
        let tail = log.take_tail(&mut known).await?;
        let (next, row) = self.next_row(tail, &mut receipt).await?;
        let mut transaction = log.database.share().await?;
        insert_rows(&mut transaction, vec![row]).await?;
        if !also(&mut transaction).await? {
            *known = Some(tail);
            return Ok(None);
        }
        transaction.commit().await?;
        *known = Some(next);
        Ok(Some(receipt))
    }

    /// Writes a receipt, in one transaction with all that wait at the same time: a disk takes as long for
    /// many as for one. It is on the disk when this returns.
    ///
    /// Whoever has the turn writes for the others. When that fails, or the one who writes is given up,
    /// each of the others tries again; then a receipt may be there twice, which says no more than once.
    pub(crate) async fn log_along(&self, receipt: Receipt) -> Result<Receipt, GatekeeperError> {
        let log = &self.inner.log;
        'again: loop {
            let (written, mut told) = oneshot::channel();
            log.waiting.lock().push(Waiting { receipt: receipt.clone(), written });
            let mut known = tokio::select! {
                biased;
                told = &mut told => match told {
                    Ok(receipt) => return Ok(receipt),
                    Err(_) => continue 'again,
                },
                known = log.tail.lock() => known,
            };
            // As long as this one is not told, it is told on the way or waits with the others.
            loop {
                match told.try_recv() {
                    Ok(receipt) => return Ok(receipt),
                    Err(oneshot::error::TryRecvError::Closed) => continue 'again,
                    Err(oneshot::error::TryRecvError::Empty) => {}
                }
                self.write_waiting(&mut known).await?;
            }
        }
    }

    /// Writes the receipts that wait, and tells who waits for them.
    async fn write_waiting(&self, known: &mut Option<Tail>) -> Result<(), GatekeeperError> {
        let log = &self.inner.log;
        let mut tail = log.take_tail(known).await?;
        let (mut done, mut rows, mut transaction) = (Vec::new(), Vec::new(), None);
        // Signing takes long, and everybody else who writes waits for the turn: most are signed before.
        for has_turn in [false, true] {
            if has_turn {
                transaction = Some(log.database.share().await?);
            }
            // Those that came while the database was busy with others are among them.
            let group: Vec<Waiting> = {
                let mut waiting = log.waiting.lock();
                let count = waiting.len().min(WRITTEN_TOGETHER_MAX - rows.len());
                waiting.drain(..count).collect()
            };
            for Waiting { mut receipt, written } in group {
                let (next, row) = self.next_row(tail, &mut receipt).await?;
                tail = next;
                rows.push(row);
                done.push((receipt, written));
            }
        }
        let mut transaction = transaction.expect("it has the turn");
        insert_rows(&mut transaction, rows).await?;
        transaction.commit().await?;
        *known = Some(tail);
        for (receipt, written) in done {
            // Whoever gave up waiting has no use for it.
            drop(written.send(receipt));
        }
        Ok(())
    }

    /// Numbers and signs a receipt for the end of the log; returns where the next one goes, and the row.
    async fn next_row(
        &self,
        tail: Tail,
        receipt: &mut Receipt,
    ) -> Result<(Tail, NewRow), GatekeeperError> {
        receipt.sequence = tail.sequence;
        receipt.gatekeeper = self.member();
        let head = tail.head.after(receipt);
        let signature = self.inner.sender.sign_hash(&head.0).await;
        let row = NewRow {
            sequence: sequence_bound(receipt.sequence),
            patient: receipt.patient,
            text: serde_json::to_string(receipt).expect("a receipt has a JSON form"),
            digest: receipt.digest(),
            head,
            signature: signature.map_err(GatekeeperError::Signer)?,
        };
        Ok((Tail { sequence: receipt.sequence + 1, head }, row))
    }

    /// The receipts about a patient, the newest first: at most `limit` of those before `before`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn receipts_of(
        &self,
        patient: Address,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<StoredReceipt>, StoreError> {
        let rows = sqlx::query(
            "select receipt, head, signature from receipts
            where patient = $1 and sequence < $2 order by sequence desc limit $3",
        )
        .bind(patient.to_vec())
        .bind(before.map_or(i64::MAX, sequence_bound))
        .bind(i64::from(limit))
        .fetch_all(self.inner.log.database.readers())
        .await?;
        rows.iter().map(stored_receipt).collect()
    }

    /// Anchors the receipts that are not anchored yet; returns how many were.
    ///
    /// # Errors
    ///
    /// [`LogError`]; what was not anchored is anchored next time.
    pub async fn anchor_log(&self) -> Result<u64, LogError> {
        self.catch_up().await?;
        let anchored = {
            let projection = self.inner.projection.read().await;
            projection.logs.get(&self.member()).cloned().unwrap_or_default()
        };
        let receipts = self.receipts_after(anchored.receipts, BATCH_MAX).await?;
        // A number that is missing would move all later receipts in the batch: nothing is anchored
        // over it, and checking the log says what is wrong.
        let numbered = receipts.iter().zip(anchored.receipts + 1..);
        let leaves: Vec<B256> = numbered
            .map(|(row, sequence)| match row {
                Row { sequence: Some(found), stored: Some(stored), .. } if *found == sequence => {
                    Ok(stored.receipt.leaf())
                }
                _ => Err(StoreError::Corrupt { what: "receipt" }),
            })
            .collect::<Result<_, _>>()
            .map_err(GatekeeperError::from)?;
        let count = u32::try_from(leaves.len()).expect("a batch is bounded");
        let Some(tree) = merkle::Tree::new(leaves) else { return Ok(0) };
        let call =
            AccessLogContract::appendCall { root: tree.root(), count, previousHead: anchored.head };
        self.sender().send(self.deployment().address(Contract::AccessLog), &call).await?;
        Ok(count.into())
    }

    async fn receipts_after(&self, sequence: u64, limit: u64) -> Result<Vec<Row>, GatekeeperError> {
        let rows = sqlx::query(
            "select receipt, head, signature, sequence, patient, digest from receipts
            where sequence > $1 order by sequence limit $2",
        )
        .bind(sequence_bound(sequence))
        .bind(sequence_bound(limit))
        .fetch_all(self.inner.log.database.readers())
        .await?;
        Ok(rows.iter().map(Row::of).collect())
    }

    /// Checks the whole log: numbers, chain of heads, signatures, and what was anchored.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the log or the chain cannot be read.
    pub async fn check_log(&self) -> Result<Vec<LogFinding>, GatekeeperError> {
        let anchored = {
            let projection = self.inner.projection.read().await;
            projection.logs.get(&self.member()).cloned().unwrap_or_default()
        };
        let signers = self.signers().await?;
        let mut check = LogCheck::new(&anchored, &signers);
        let unnumbered = sqlx::query("select count(*) from receipts where sequence < 1")
            .fetch_one(self.inner.log.database.readers())
            .await?
            .try_get::<i64, _>(0)?
            .unsigned_abs();
        if unnumbered > 0 {
            check.findings.push(LogFinding::Unnumbered { count: unnumbered });
        }
        let mut last = Some(0);
        while let Some(after) = last {
            let page = self.receipts_after(after, PAGE).await?;
            for row in &page {
                check.take(row);
            }
            // Rows whose number is none come after all others, and nothing comes after them.
            last = page.last().and_then(|row| row.sequence);
        }
        Ok(check.finish())
    }

    /// The keys that the institution ever signed with, by the registry, in their order.
    async fn signers(&self) -> Result<Vec<Address>, GatekeeperError> {
        let filter = Filter::new()
            .address(self.deployment().address(Contract::Registry))
            .event_signature(vec![
                Registry::InstitutionAdmitted::SIGNATURE_HASH,
                Registry::KeyRotated::SIGNATURE_HASH,
            ])
            .topic1(self.member().into_word())
            .from_block(0);
        let mut logs = self.ledger().logs(&filter).await?;
        logs.sort_by_key(|log| (log.block_number, log.log_index));
        let signer = |log: &Log| match RegistryEvents::decode_log(&log.inner).ok()?.data {
            RegistryEvents::InstitutionAdmitted(admitted) => Some(admitted.signer),
            RegistryEvents::KeyRotated(rotated) => Some(rotated.newSigner),
            _ => None,
        };
        Ok(logs.iter().filter_map(signer).collect())
    }
}

pub(crate) fn sequence_bound(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

pub(crate) fn stored_receipt(row: &sqlx::any::AnyRow) -> Result<StoredReceipt, StoreError> {
    const CORRUPT: StoreError = StoreError::Corrupt { what: "receipt" };
    let text: String = row.try_get(0)?;
    let (head, signature): (Vec<u8>, Vec<u8>) = (row.try_get(1)?, row.try_get(2)?);
    Ok(StoredReceipt {
        receipt: serde_json::from_str(&text).map_err(|_| CORRUPT)?,
        head: ReceiptHead(B256::try_from(head.as_slice()).map_err(|_| CORRUPT)?),
        signature: signature.into(),
    })
}

/// A row of the log, as far as it can be read.
struct Row {
    /// Its number; `None` when it is none.
    sequence: Option<u64>,
    /// The receipt; `None` when it cannot be read.
    stored: Option<StoredReceipt>,
    /// Whether the columns by which receipts are found say what the receipt says.
    agrees: bool,
}

impl Row {
    /// Whoever writes to the database behind the gatekeeper's back may have put anything anywhere.
    fn of(row: &sqlx::any::AnyRow) -> Self {
        let sequence = row.try_get::<i64, _>(3).ok().and_then(|number| u64::try_from(number).ok());
        let stored = stored_receipt(row).ok();
        let holds = |column, expected: &[u8]| {
            row.try_get::<Vec<u8>, _>(column).is_ok_and(|found| found == expected)
        };
        let agrees = stored.as_ref().is_some_and(|StoredReceipt { receipt, .. }| {
            Some(receipt.sequence) == sequence
                && holds(4, receipt.patient.as_slice())
                && holds(5, receipt.digest().as_slice())
        });
        Self { sequence, stored, agrees }
    }
}

/// Holds a log against itself and against what was anchored.
struct LogCheck<'a> {
    anchored: &'a AnchoredLog,
    /// The keys that may have signed what comes next. The clocks of chain and gatekeeper differ, so what
    /// counts is their order: after a receipt by one key, none is by an earlier one.
    signers: &'a [Address],
    next: u64,
    /// The head after the last receipt; `None` when that one could not be read.
    head: Option<ReceiptHead>,
    /// How many of the anchored batches were read.
    batches: usize,
    /// Leaves of the anchored batch that is being read.
    leaves: Vec<B256>,
    findings: Vec<LogFinding>,
}

impl<'a> LogCheck<'a> {
    const fn new(anchored: &'a AnchoredLog, signers: &'a [Address]) -> Self {
        let head = Some(ReceiptHead(B256::ZERO));
        Self {
            anchored,
            signers,
            next: 1,
            head,
            batches: 0,
            leaves: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn take(&mut self, row: &Row) {
        let Some(sequence) = row.sequence else {
            self.findings.push(LogFinding::Altered { sequence: self.next });
            return;
        };
        if self.next < sequence {
            let count = sequence - self.next;
            self.findings.push(LogFinding::Gap { sequence: self.next, count });
            self.close_batches(sequence - 1);
        }
        self.next = sequence.saturating_add(1);
        let altered = LogFinding::Altered { sequence };
        let Some(stored) = &row.stored else {
            self.findings.push(altered);
            self.head = None;
            self.close_batches(sequence);
            return;
        };
        // After one that cannot be read, the signature alone vouches for the head.
        let follows = self.head.is_none_or(|head| head.after(&stored.receipt) == stored.head);
        if !row.agrees || !follows {
            self.findings.push(altered);
        }
        self.head = Some(stored.head);
        let recovered = Signature::try_from(stored.signature.as_ref())
            .ok()
            .and_then(|signature| signature.recover_address_from_prehash(&stored.head.0).ok());
        match self.signers.iter().position(|signer| Some(*signer) == recovered) {
            Some(place) => self.signers = &self.signers[place..],
            None => self.findings.push(LogFinding::BadSignature { sequence }),
        }
        self.leaves.push(stored.receipt.leaf());
        self.close_batches(sequence);
    }

    /// Compares each batch that ends at `last` or before with its anchored root.
    fn close_batches(&mut self, last: u64) {
        while let Some((root, first_sequence, count)) = self.anchored.batches.get(self.batches)
            && first_sequence + u64::from(*count) - 1 <= last
        {
            self.batches += 1;
            let tree = merkle::Tree::new(std::mem::take(&mut self.leaves));
            if tree.map(|tree| tree.root()) != Some(*root) {
                self.findings.push(LogFinding::AnchorDiffers { first_sequence: *first_sequence });
            }
        }
    }

    fn finish(mut self) -> Vec<LogFinding> {
        let kept = self.next - 1;
        if kept < self.anchored.receipts {
            let anchored = self.anchored.receipts;
            self.findings.push(LogFinding::Missing { anchored, kept });
        }
        self.findings
    }
}
