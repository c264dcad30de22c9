//! Follows the contracts, and gives documents the statuses that their workflows come to.
//!
//! The statuses of a range of blocks and the note that it was taken in are one transaction, so that a
//! gateway that was down goes on where it was, and neither loses nor doubles a step. A gateway that never
//! followed begins at the chain's beginning. Should finality turn out weaker than its policy says, the chain is
//! followed anew; what was said stays, and is not said again.

use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::{Filter, Log};
use bindings::{Contract, Prescriptions};
use domain::Timestamp;
use ledger::{CallError, Cursor, EndpointError, Follower, Step};
use search::{CandidatesError, Handling, Query};
use sqlx::{AnyConnection, Row as _};
use vault::{StoreError, WriteTransaction};

use crate::{
    catalogue::is_record_id,
    copies::is_copy,
    resources::Resources,
    statuses::{Event, Status, after},
    steps::{CONTRACTS, Change, cancelled_prescription, changes},
    tables::Row,
};

const CORRUPT: StoreError = StoreError::Corrupt { what: "followed block" };

/// How many documents one step changes at most: those of one patient, or the subjects of one study here.
const CHANGED_MAX: i64 = 100_000;

/// Why statuses are not up to date. What was taken in before stays; try again.
#[derive(Debug, thiserror::Error)]
pub enum KeepUpError {
    /// The chain could not be asked.
    #[error("the chain could not be asked")]
    Ledger(#[source] CallError),
    /// The database failed.
    #[error("the statuses could not be written")]
    Store(#[from] StoreError),
}

impl From<EndpointError> for KeepUpError {
    fn from(error: EndpointError) -> Self {
        Self::Ledger(error.into())
    }
}

impl From<sqlx::Error> for KeepUpError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// How far the chain was followed, and when the next status is due.
#[derive(Default)]
pub(crate) struct Followed {
    block: Option<u64>,
    next_due: Option<u64>,
}

/// What happened on chain, and what it changes.
struct Happened {
    changes: Vec<Change>,
    event: Event,
}

impl Resources {
    /// Brings the statuses of workflows' documents up to what the chain says, and to the time.
    ///
    /// # Errors
    ///
    /// [`KeepUpError`]. Each range of blocks is taken in whole or not at all.
    pub async fn keep_up(&self) -> Result<(), KeepUpError> {
        let now = self.now();
        if let Err(error) = self.gatekeeper().refresh(now).await {
            // Whether that is too long ago is decided with each read.
            tracing::warn!(%error, "could not ask the chain");
        }
        let reached = self.gatekeeper().projection().await.cursor().map(|cursor| cursor.number);
        let mut followed = self.inner.followed.lock().await;
        let is_due = followed.next_due.is_some_and(|due| due <= now.0);
        if followed.block.is_some() && followed.block >= reached && !is_due {
            return Ok(());
        }
        followed.block = self.follow().await?;
        self.be_on_time(now).await?;
        followed.next_due = self.next_due().await?;
        Ok(())
    }

    /// The same, for whoever asks for resources: what cannot be known now is given out as it was known.
    pub(crate) async fn keep_up_or_warn(&self) -> Result<(), StoreError> {
        match self.keep_up().await {
            Err(KeepUpError::Store(error)) => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the statuses of documents are as they were");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Takes in everything final that is new; returns the last block.
    async fn follow(&self) -> Result<Option<u64>, KeepUpError> {
        let ledger = self.gatekeeper().ledger();
        let mut cursor = self.followed_until().await?;
        let mut follower = Follower::new(ledger.clone(), self.followed_contracts(), cursor);
        while let Some(step) = follower.next().await? {
            match step {
                Step::Rewind => cursor = None,
                Step::Forward { logs, cursor: reached } => {
                    let happened = self.happened(&logs).await?;
                    let mut transaction = self.database().begin().await?;
                    for one in &happened {
                        self.take_in(&mut transaction, one).await?;
                    }
                    store_cursor(&mut transaction, reached).await?;
                    transaction.commit().await?;
                    cursor = Some(reached);
                }
            }
        }
        if let Some(cursor) = cursor {
            self.take_in_late(cursor).await?;
        }
        Ok(cursor.map(|cursor| cursor.number))
    }

    fn followed_contracts(&self) -> Vec<Address> {
        CONTRACTS.map(|contract| self.inner.gateway.at(contract)).to_vec()
    }

    /// What these events change. Those that change nothing are left out.
    async fn happened(&self, logs: &[Log]) -> Result<Vec<Happened>, KeepUpError> {
        const MALFORMED: EndpointError = EndpointError::Malformed { what: "an event" };
        let deployment = self.gatekeeper().deployment();
        let mut all = Vec::new();
        for log in logs {
            let Some(contract) = deployment.contract_at(&log.inner.address) else { continue };
            let was_dispensed = self.was_dispensed(contract, log).await?;
            let changes = changes(contract, &log.inner, was_dispensed);
            if changes.is_empty() {
                continue;
            }
            let block = log.block_number.ok_or(MALFORMED)?;
            let transaction = log.transaction_hash.ok_or(MALFORMED)?;
            let event = Event { block, transaction };
            all.push(Happened { changes, event });
        }
        Ok(all)
    }

    /// Whether anything was handed out on the prescription that an event cancels, if that is kept here.
    async fn was_dispensed(&self, contract: Contract, log: &Log) -> Result<bool, KeepUpError> {
        let Some(id) = cancelled_prescription(contract, &log.inner) else { return Ok(false) };
        let mut connection = self.database().readers().acquire().await?;
        let kept = Row::find(&mut connection, "MedicationRequest", &format!("{id:x}")).await?;
        drop(connection);
        if kept.is_none() {
            return Ok(false);
        }
        let (at, call) =
            (self.inner.gateway.at(contract), Prescriptions::prescriptionOfCall { id });
        let held = self.gatekeeper().ledger().call(at, &call, Default::default()).await;
        let held = held.map_err(KeepUpError::Ledger)?;
        Ok(held.filled > 0 || held.dispensed > 0)
    }

    async fn take_in(
        &self,
        transaction: &mut WriteTransaction,
        happened: &Happened,
    ) -> Result<(), StoreError> {
        let Happened { changes, event } = happened;
        let (later, now): (Vec<_>, Vec<_>) = changes.iter().partition(|one| one.due.is_some());
        for change in now {
            self.change(transaction, change, Some(*event)).await?;
        }
        // Of a workflow that is about nothing here, nothing is kept. Some of its documents may come later.
        let mut is_ours = false;
        for Change { resource_type, query, patient, .. } in &later {
            is_ours |=
                !self.documents(transaction, resource_type, query, *patient).await?.is_empty();
        }
        for change in later.into_iter().filter(|_| is_ours) {
            store_due(transaction, change).await?;
        }
        Ok(())
    }

    /// Gives the documents that a change is about their status.
    async fn change(
        &self,
        connection: &mut AnyConnection,
        change: &Change,
        event: Option<Event>,
    ) -> Result<(), StoreError> {
        let mut queries = vec![change.query.clone()];
        if let Some((resource_type, query)) = &change.through {
            let rows = self.documents(connection, resource_type, query, change.patient).await?;
            queries = rows
                .iter()
                .map(|row| format!("{}{resource_type}/{}", change.query, row.id))
                .collect();
        }
        for query in queries {
            let query = match change.sources.as_str() {
                "" => query,
                sources => format!("{query}&status={sources}"),
            };
            let resource_type = &change.resource_type;
            let mut rows =
                self.documents(connection, resource_type, &query, change.patient).await?;
            if let Some(event) = event {
                // A step is about what was there. What came later is about something else, such as another
                // appointment.
                let projection = self.gatekeeper().projection().await;
                let steward = self.gatekeeper().member();
                rows.retain(|row| {
                    let first = row
                        .record
                        .and_then(|filed| projection.records.anchor(steward, filed.record, 1));
                    first.is_none_or(|first| first.moment.block <= event.block)
                });
            }
            rows.sort_by_key(|row| row.number);
            if change.but_newest {
                rows.pop();
            }
            for row in rows {
                self.give(connection, &row, &change.status, event).await?;
            }
        }
        Ok(())
    }

    /// The documents of workflows that a search may find, by what is indexed now.
    async fn documents(
        &self,
        connection: &mut AnyConnection,
        resource_type: &str,
        query: &str,
        patient: Option<Address>,
    ) -> Result<Vec<Row>, StoreError> {
        let failed = |error: &dyn std::fmt::Display| StoreError::Failed(error.to_string().into());
        let pairs: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let query = Query::parse(resource_type, &pairs, Handling::Strict)
            .map_err(|error| failed(&error))?;
        let patient = patient.as_ref().map(|patient| patient.as_slice());
        let scope = search::Scope { patient, after: 0, limit: CHANGED_MAX };
        let numbers = match self.inner.index.candidates(connection, &query, scope).await {
            Ok(numbers) => numbers,
            Err(CandidatesError::Store(error)) => return Err(error),
            Err(error) => return Err(failed(&error)),
        };
        let mut rows = Row::all_numbered(connection, &numbers).await?;
        // Nobody can give such an id to anything else.
        rows.retain(|row| is_record_id(&row.id) && !is_copy(&row.id) && !row.is_deleted());
        Ok(rows)
    }

    /// Gives one document a status, unless it has that, or had it by the same event.
    async fn give(
        &self,
        connection: &mut AnyConnection,
        row: &Row,
        code: &str,
        event: Option<Event>,
    ) -> Result<(), StoreError> {
        let statuses = Status::all(connection, row.number).await?;
        let is_known = |status: &Status| status.event == event && status.code == code;
        if event.is_some() && statuses.iter().any(is_known)
            || statuses.last().is_some_and(|last| last.code == code)
        {
            return Ok(());
        }
        let place = u32::try_from(statuses.len()).unwrap_or(u32::MAX).saturating_add(1);
        let said_at = after(self.now_ms(), row.updated);
        let status = Status { place, code: code.into(), said_at, event };
        status.store(connection, row.number).await?;
        row.with_status(Some(status)).index_status(connection, &self.inner.index).await
    }

    /// Takes in what happened before a document came, for those that came since.
    async fn take_in_late(&self, reached: Cursor) -> Result<(), KeepUpError> {
        let rows = sqlx::query("select workflow from fhir_statuses_late")
            .fetch_all(self.database().readers())
            .await?;
        for row in rows {
            let workflow: Vec<u8> = row.try_get(0)?;
            let workflow: B256 = workflow.as_slice().try_into().map_err(|_| CORRUPT)?;
            let filter = Filter::new()
                .address(self.followed_contracts())
                .topic1(workflow)
                .from_block(0)
                .to_block(reached.number);
            let logs = self.gatekeeper().ledger().logs(&filter).await?;
            let happened = self.happened(&logs).await?;
            let mut transaction = self.database().begin().await?;
            for one in &happened {
                self.take_in(&mut transaction, one).await?;
            }
            sqlx::query("delete from fhir_statuses_late where workflow = $1")
                .bind(workflow.to_vec())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
        }
        Ok(())
    }

    /// Gives the statuses that time alone gives.
    async fn be_on_time(&self, now: Timestamp) -> Result<(), KeepUpError> {
        let now_s = i64::try_from(now.0).unwrap_or(i64::MAX);
        if self.next_due().await?.is_none_or(|due| due > now.0) {
            return Ok(());
        }
        let mut transaction = self.database().begin().await?;
        let rows = sqlx::query(
            "select type, query, patient, sources, status from fhir_statuses_due
            where due <= $1 order by due",
        )
        .bind(now_s)
        .fetch_all(&mut *transaction)
        .await?;
        for row in rows {
            let patient: Option<Vec<u8>> = row.try_get(2)?;
            let patient = patient.map(|patient| patient.as_slice().try_into());
            let change = Change {
                resource_type: row.try_get(0)?,
                query: row.try_get(1)?,
                through: None,
                patient: patient.transpose().map_err(|_| CORRUPT)?,
                sources: row.try_get(3)?,
                status: row.try_get(4)?,
                but_newest: false,
                due: None,
            };
            self.change(&mut transaction, &change, None).await?;
        }
        sqlx::query("delete from fhir_statuses_due where due <= $1")
            .bind(now_s)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn next_due(&self) -> Result<Option<u64>, StoreError> {
        let row = sqlx::query("select due from fhir_statuses_due order by due limit 1")
            .fetch_optional(self.database().readers())
            .await?;
        let due: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(due.map(|due| u64::try_from(due).unwrap_or_default()))
    }

    /// The last block taken in.
    async fn followed_until(&self) -> Result<Option<Cursor>, StoreError> {
        let row = sqlx::query("select block, hash, time from fhir_statuses_cursor")
            .fetch_optional(self.database().readers())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let (number, hash, time): (i64, Vec<u8>, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Some(Cursor {
            number: u64::try_from(number).map_err(|_| CORRUPT)?,
            hash: hash.as_slice().try_into().map_err(|_| CORRUPT)?,
            time: u64::try_from(time).map_err(|_| CORRUPT)?,
        }))
    }
}

/// Notes that a document came of a workflow that may have begun before, to be looked at with the next step.
pub(crate) async fn note_late(
    connection: &mut AnyConnection,
    workflow: B256,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into fhir_statuses_late (workflow) values ($1) on conflict (workflow) do nothing",
    )
    .bind(workflow.to_vec())
    .execute(connection)
    .await?;
    Ok(())
}

async fn store_cursor(connection: &mut AnyConnection, cursor: Cursor) -> Result<(), StoreError> {
    let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    sqlx::query("delete from fhir_statuses_cursor").execute(&mut *connection).await?;
    sqlx::query("insert into fhir_statuses_cursor (block, hash, time) values ($1, $2, $3)")
        .bind(number(cursor.number))
        .bind(cursor.hash.to_vec())
        .bind(number(cursor.time))
        .execute(connection)
        .await?;
    Ok(())
}

async fn store_due(connection: &mut AnyConnection, change: &Change) -> Result<(), StoreError> {
    let Some(due) = change.due else { return Ok(()) };
    sqlx::query(
        "insert into fhir_statuses_due (type, query, due, patient, sources, status)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (type, query) do update set due = excluded.due, status = excluded.status",
    )
    .bind(change.resource_type.clone())
    .bind(change.query.clone())
    .bind(i64::try_from(due).unwrap_or(i64::MAX))
    .bind(change.patient.map(|patient| patient.to_vec()))
    .bind(change.sources.clone())
    .bind(change.status.clone())
    .execute(connection)
    .await?;
    Ok(())
}
