//! What the institution's people did here about others: looked up a number, changed a care team, added a
//! webhook. Who, when, what, about whom, and what came of it; no number and no name (S1).
//!
//! What they *read* is not here but in the access log, signed and anchored.

use alloy_primitives::{Address, B256};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use domain::{Purpose, Timestamp};
use fhir::Interaction;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Row as _, any::AnyRow};
use vault::{Database, MigrateError, StoreError, WriteTransaction};

use super::{Answer, Api, Problem, answer, page_len, query, require_about};

/// The name under which the table is migrated.
const COMPONENT: &str = "gateway-api";

/// One statement per step; a released step never changes.
const MIGRATIONS: &[&str] = &[
    // `patient` and `subject` are empty where there is none.
    "create table gateway_acts (
        number bigint not null primary key,
        time bigint not null,
        actor bytea not null,
        purpose text not null,
        act text not null,
        patient bytea not null,
        subject bytea not null,
        outcome text not null
    )",
    "create index gateway_acts_by_patient on gateway_acts (patient, number)",
];

/// Something that was done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    /// What.
    pub(super) name: &'static str,
    /// By whom.
    pub(super) actor: Address,
    /// Why.
    pub(super) purpose: Purpose,
    /// About which patient, where it is about one.
    pub(super) patient: Option<Address>,
    /// About what or whom else.
    pub(super) subject: Subject,
    /// What came of it.
    pub(super) outcome: &'static str,
}

/// What or whom an act is about, beside a patient.
#[derive(Clone, Copy, Debug)]
pub(super) enum Subject {
    /// Nothing.
    None,
    /// A member.
    Member(Address),
    /// Something by a digest that only this gateway can make.
    Digest(B256),
}

/// The log.
pub(super) struct Acts(Database);

impl Acts {
    pub(super) async fn open(database: &Database) -> Result<Self, MigrateError> {
        database.migrate(COMPONENT, MIGRATIONS).await?;
        Ok(Self(database.clone()))
    }

    /// Writes an act down. It is on the disk before the caller is told of it.
    pub(super) async fn note(&self, act: Act, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.0.begin().await?;
        write(&mut transaction, act, now).await?;
        transaction.commit().await
    }

    async fn page(
        &self,
        patient: Option<Address>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Line>, StoreError> {
        let rows = sqlx::query(
            "select number, time, actor, purpose, act, patient, subject, outcome
            from gateway_acts where number < $1 and (patient = $2 or $3 = 1)
            order by number desc limit $4",
        )
        .bind(before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX)))
        .bind(patient.unwrap_or_default().to_vec())
        .bind(i64::from(patient.is_none()))
        .bind(i64::from(limit))
        .fetch_all(self.0.readers())
        .await?;
        rows.iter().map(Line::of).collect()
    }
}

async fn write(
    transaction: &mut WriteTransaction,
    act: Act,
    now: Timestamp,
) -> Result<(), StoreError> {
    let subject = match act.subject {
        Subject::None => Vec::new(),
        Subject::Member(member) => member.to_vec(),
        Subject::Digest(digest) => digest.to_vec(),
    };
    sqlx::query(
        "insert into gateway_acts (number, time, actor, purpose, act, patient, subject, outcome)
        values ((select coalesce(max(number), 0) + 1 from gateway_acts), $1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(i64::try_from(now.0).unwrap_or(i64::MAX))
    .bind(act.actor.to_vec())
    .bind(act.purpose.name().to_owned())
    .bind(act.name.to_owned())
    .bind(act.patient.map_or(Vec::new(), |patient| patient.to_vec()))
    .bind(subject)
    .bind(act.outcome.to_owned())
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// A line of the log as it is shown.
#[derive(Serialize)]
struct Line {
    number: i64,
    time: String,
    actor: String,
    purpose: String,
    act: String,
    patient: Option<String>,
    subject: Option<String>,
    outcome: String,
}

impl Line {
    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        let (actor, patient, subject): (Vec<u8>, Vec<u8>, Vec<u8>) =
            (row.try_get(2)?, row.try_get(5)?, row.try_get(6)?);
        Ok(Self {
            number: row.try_get(0)?,
            time: Timestamp(row.try_get::<i64, _>(1)?.unsigned_abs()).to_string(),
            actor: hexadecimal(&actor).unwrap_or_default(),
            purpose: row.try_get(3)?,
            act: row.try_get(4)?,
            patient: hexadecimal(&patient),
            subject: hexadecimal(&subject),
            outcome: row.try_get(7)?,
        })
    }
}

/// An address as people write it, or a digest.
fn hexadecimal(bytes: &[u8]) -> Option<String> {
    match Address::try_from(bytes) {
        Ok(address) => Some(address.to_string()),
        Err(_) if bytes.is_empty() => None,
        Err(_) => Some(format!("0x{}", hex::encode(bytes))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    patient: Option<Address>,
    before: Option<u64>,
    limit: Option<u32>,
}

/// `GET /api/acts`: the newest first, for the institution and its privacy officers.
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap, uri: Uri) -> Answer {
    let (caller, _) = api.caller(&headers, "AuditEvent", Interaction::Search).await?;
    let Wanted { patient, before, limit } = query(&uri)?;
    require_about(&caller, patient)?;
    if !api.is_institution(&caller.reader) && !api.is_officer(&caller.reader) {
        return Err(Problem::forbidden("only the institution and its privacy officers see this"));
    }
    let limit = page_len(limit)?;
    let lines = api.0.acts.page(patient, before, limit).await?;
    let is_full = lines.len() == usize::try_from(limit).unwrap_or(usize::MAX);
    let next = lines.last().filter(|_| is_full).map(|line| line.number);
    Ok(answer(StatusCode::OK, &json!({ "acts": lines, "before": next })))
}
