//! Results that a laboratory's own system sends as HL7 v2 messages: what they are about is found, and they
//! become versions of the order's result, like those that somebody types in ([`crate::laboratory`]).
//!
//! A message names the order by its number (`ORC-2`, `OBR-2`), which is its id on chain, and the patient by a
//! number that the laboratory bound to an account in the registry, or by the account. It is taken whole or
//! not at all: one `DiagnosticReport` with everything in it is one record, sealed under the one digest that
//! the order then holds, so that whoever releases, acknowledges or reads the result has all of it.
//!
//! A message is taken once, by sender and `MSH-10`. That is noted together with the record, in one
//! transaction; when the chain was told, in another. So a message whose sender heard nothing, and sends it
//! again, is finished instead of told twice, whenever this was interrupted.
//!
//! What is wrong with a message is an answer to its sender ([`Received::outcome`]); [`WorkflowError`] is only
//! what hinders the laboratory itself.

use std::{collections::BTreeSet, sync::Arc};

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolCall;
use bindings::{Contract, LabOrders};
use domain::{Anchor, Kind, RecordDigest, RecordId, RecordVersion, Timestamp};
use gatekeeper::Inclusion;
use hl7v2::{
    Answer, Code, Header, LabReport, Message, Number, Offset, Place, ReadError, References, Stage,
    acknowledge,
};
use ledger::{LabOrder, Outcome};
use sqlx::Row as _;
use tokio::sync::Mutex;
use vault::{Content, Entry, NewRecord, StoreError, WriteTransaction};

use crate::{Gateway, Person, Step, WorkflowError};

/// The numbering system of patients' accounts themselves.
const ACCOUNT_SYSTEM: &str = "urn:salus:account";

/// The name under which the table is migrated.
const COMPONENT: &str = "laboratory-messages";

/// One statement per step; a released step never changes. Message and content are keyed digests.
const MIGRATIONS: &[&str] = &["create table laboratory_messages (
        message bytea not null primary key,
        content bytea not null,
        lab_order bytea not null,
        record bytea not null,
        version bigint not null,
        stage bigint not null,
        critical bigint not null,
        told bigint not null
    )"];

/// How an institution digests a patient's number of a numbering system, for the registry.
pub type NumberDigest = Arc<dyn Fn(&Gateway, &Number) -> B256 + Send + Sync>;

/// Where a laboratory takes messages in. Clones are the same.
#[derive(Clone)]
pub struct MessageDesk {
    gateway: Gateway,
    scientist: Person,
    digest: NumberDigest,
    /// Of times without one.
    offset: Option<Offset>,
    /// One message after the other: the next one may be about the same order.
    turn: Arc<Mutex<()>>,
}

/// What became of a message.
#[derive(Debug)]
pub struct Received {
    /// Who sent it, as far as it can be read.
    pub header: Header,
    /// What it was taken as, or what is wrong with it.
    pub outcome: Result<Taken, ReadError>,
}

/// A message that was taken, now or before.
#[derive(Debug)]
pub struct Taken {
    /// The order.
    pub order: B256,
    /// Whom it is about.
    pub patient: Address,
    /// The record of the result.
    pub record: RecordId,
    /// Which version of it.
    pub version: RecordVersion,
    /// What was done on chain; nothing when all was done before.
    pub steps: Vec<Step>,
}

impl Received {
    /// The acknowledgement to send back.
    #[must_use]
    pub fn acknowledgement(&self, gateway: &Gateway, now: Timestamp) -> String {
        let answer = match &self.outcome {
            Ok(_) => Answer::Accepted,
            Err(error) => Answer::Refused(error),
        };
        // HL7 wants 20 letters at most.
        let id: [u8; 10] = gateway.gatekeeper.entropy().bytes();
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let time: String = now.to_string().chars().filter(char::is_ascii_digit).collect();
        acknowledge(&self.header, answer, &id, &format!("{time}+0000"))
    }
}

/// A message as it is noted.
#[derive(Clone, Copy, Debug)]
struct Noted {
    message: B256,
    content: B256,
    order: B256,
    record: RecordId,
    version: RecordVersion,
    stage: Stage,
    critical: bool,
    told: bool,
}

impl MessageDesk {
    /// Opens a laboratory's desk. `scientist` reports what comes in, and `digest` is how the laboratory's
    /// registrations of patients are digested.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when the database is not what it should be.
    pub async fn open(
        gateway: &Gateway,
        scientist: &Person,
        digest: NumberDigest,
        offset: Option<Offset>,
    ) -> Result<Self, WorkflowError> {
        let database = gateway.gatekeeper.vault().database();
        let migrated = database.migrate(COMPONENT, MIGRATIONS).await;
        migrated.map_err(|error| WorkflowError::Invalid(error.to_string()))?;
        let (gateway, scientist) = (gateway.clone(), scientist.clone());
        Ok(Self { gateway, scientist, digest, offset, turn: Arc::default() })
    }

    /// Who reports what comes in.
    #[must_use]
    pub const fn scientist(&self) -> &Person {
        &self.scientist
    }

    /// Takes one message in, as it came out of its frame.
    ///
    /// # Errors
    ///
    /// [`WorkflowError`] when the laboratory cannot do its part at present. The message is to be sent again.
    pub async fn take(&self, bytes: &[u8], now: Timestamp) -> Result<Received, WorkflowError> {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => return Ok(Received { header: Header::default(), outcome: Err(error) }),
        };
        let header = message.header_as_far_as_known();
        let _turn = self.turn.lock().await;
        self.gateway.gatekeeper.refresh(now).await?;
        let outcome = match LabReport::of(&message) {
            Ok(report) => self.take_report(&report, bytes, now).await,
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(taken) => Ok(Received { header, outcome: Ok(taken) }),
            Err(NotTaken::Wrong(error)) => Ok(Received { header, outcome: Err(error) }),
            Err(NotTaken::Fault(error)) if error.is_refusal() => {
                let place = Place { segment: "OBR", number: 1, field: 25, component: 0 };
                let what = "does not follow on how the order stands, or the patient is not here";
                let outcome = Err(ReadError::new(place, Code::Locked, what));
                Ok(Received { header, outcome })
            }
            Err(NotTaken::Fault(error)) => Err(error),
        }
    }

    async fn take_report(
        &self,
        report: &LabReport<'_>,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Taken, NotTaken> {
        let header = report.header();
        let parts = [&header.sending_application, &header.sending_facility, &header.control_id];
        let name = parts.map(|part| format!("{} {part}", part.len())).concat();
        let message = self.gateway.keyed_digest("salus/hl7v2-message/v1", name.as_bytes());
        let content = self.gateway.keyed_digest("salus/hl7v2-content/v1", bytes);
        if let Some(noted) = self.noted(message).await?
            && let Some(taken) = self.finish(noted, content).await?
        {
            return Ok(taken);
        }
        let (order, held) = self.order(report).await?;
        self.require_patient(report, &held).await?;
        let (stage, critical) = (report.stage()?, report.is_critical()?);
        let subject = format!("Patient/{}", held.patient);
        let ordered = format!("ServiceRequest/{order}");
        let scientist = format!("Practitioner/{}", self.scientist.member);
        let laboratory = format!("Organization/{}", self.gateway.member());
        let body = report.to_fhir(&References {
            subject: &subject,
            order: &ordered,
            performers: &[&scientist, &laboratory],
            offset: self.offset.as_ref(),
        })?;
        // The chain is asked first, so that a refusal leaves nothing behind.
        self.check(order, stage, critical).await?;
        let (record, previous) = self.result_so_far(order, &held).await?;
        let version = match &previous {
            None => RecordVersion::FIRST,
            Some(previous) => RecordVersion::try_from(previous.version.get() + 1)
                .map_err(|_| WorkflowError::Invalid("no version follows this one".into()))?,
        };
        let noted =
            Noted { message, content, order, record, version, stage, critical, told: false };
        let new = NewRecord {
            record,
            version,
            patient: held.patient,
            kind: Kind::Laboratory,
            content: Content::FhirJson,
            author: self.scientist.member,
            created: now,
            body: body.into_bytes(),
        };
        let keeper = &self.gateway.gatekeeper;
        let catalogued = self.gateway.along(&new);
        let along: vault::Along<'_> = Box::new(move |transaction| {
            Box::pin(async move {
                note(transaction, noted).await?;
                catalogued(transaction).await
            })
        });
        let put = keeper.put_and_propose_along(new, previous.as_ref(), along);
        let (anchor, anchored) = put.await.map_err(WorkflowError::from)?;
        let (what, operation) = if previous.is_none() {
            ("proposes the result record".into(), "record.propose")
        } else {
            (format!("proposes version {version} of the result record"), "record.amend")
        };
        let sealed = Step::new(&self.gateway.name, what, operation, &anchored);
        let reported = self.tell(&noted, anchor.digest).await?;
        let steps = vec![sealed, reported];
        Ok(Taken { order, patient: held.patient, record, version, steps })
    }

    /// Finishes a message that was noted before: it was kept, and the chain may not have been told. Nothing
    /// when what was kept is given up, so that it is as if it had never come.
    async fn finish(&self, noted: Noted, content: B256) -> Result<Option<Taken>, NotTaken> {
        if noted.content != content {
            let place = Place { segment: "MSH", number: 1, field: 10, component: 0 };
            let what = "was given to another message before";
            return Err(ReadError::new(place, Code::DuplicateKey, what).into());
        }
        let keeper = &self.gateway.gatekeeper;
        let versions = keeper.vault().versions(noted.record).await.map_err(WorkflowError::from)?;
        let entry = versions.iter().find(|entry| entry.header.version == noted.version);
        let Some(entry) = entry else { return Ok(None) };
        let is_newest = versions.iter().all(|other| other.header.version <= noted.version);
        let mut taken = Taken {
            order: noted.order,
            patient: entry.patient,
            record: noted.record,
            version: noted.version,
            steps: Vec::new(),
        };
        let is_told =
            noted.told || !is_newest || self.result_of(noted.order).await? == Some(entry.digest);
        if is_told {
            return Ok(Some(taken));
        }
        if self.anchor(entry).await?.is_none() {
            keeper.resume_anchoring().await.map_err(WorkflowError::from)?;
        }
        let kept = keeper.vault().find(entry.digest).await.map_err(WorkflowError::from)?;
        if entry.is_erased || kept.is_none_or(|kept| kept.is_erased) {
            return Ok(None);
        }
        self.check(noted.order, noted.stage, noted.critical).await?;
        taken.steps.push(self.tell(&noted, entry.digest).await?);
        Ok(Some(taken))
    }

    /// The order that a message names, which must be one of this laboratory.
    async fn order(&self, report: &LabReport<'_>) -> Result<(B256, LabOrder), NotTaken> {
        let place = Place { segment: "OBR", number: 1, field: 2, component: 0 };
        let unknown = ReadError::new(place, Code::UnknownKey, "names no order of this laboratory");
        let order: B256 = report.order()?.parse().map_err(|_| unknown)?;
        let projection = self.gateway.gatekeeper.projection().await;
        let held = projection.workflows.lab_order(&order).cloned();
        let member = self.gateway.member();
        Ok((order, held.filter(|held| held.laboratory == member).ok_or(unknown)?))
    }

    /// Refuses a message whose numbers are not all those of the order's patient, as far as anybody's are known.
    /// What is said is the same for nobody's and another's number, so that nobody can try numbers here.
    async fn require_patient(
        &self,
        report: &LabReport<'_>,
        held: &LabOrder,
    ) -> Result<(), NotTaken> {
        let numbers = report.patient_numbers()?;
        let projection = self.gateway.gatekeeper.projection().await;
        let account = |number: &Number| {
            if number.system == ACCOUNT_SYSTEM {
                return number.value.parse().ok();
            }
            let digest = (self.digest)(&self.gateway, number);
            projection.registry.resolve(self.gateway.member(), digest)
        };
        let found: BTreeSet<Address> = numbers.iter().filter_map(account).collect();
        if found == BTreeSet::from([held.patient]) {
            return Ok(());
        }
        let place = Place { segment: "PID", number: 1, field: 3, component: 0 };
        let what = "does not name the patient for whom the order is";
        Err(ReadError::new(place, Code::UnknownKey, what).into())
    }

    /// The record of the order's result, with its newest version so far.
    async fn result_so_far(
        &self,
        order: B256,
        held: &LabOrder,
    ) -> Result<(RecordId, Option<Anchor>), WorkflowError> {
        let vault = self.gateway.gatekeeper.vault();
        let record = match held.result {
            Some(digest) => {
                let unknown = WorkflowError::Unknown { what: "result", id: digest.0 };
                vault.find(digest).await?.ok_or(unknown)?.header.record
            }
            // The same each time, so that what was kept for the order and not told is found again.
            None => RecordId(self.gateway.keyed_digest("salus/hl7v2-result/v1", order.as_slice())),
        };
        let Some(head) = vault.head(record).await? else { return Ok((record, None)) };
        let unknown = WorkflowError::Unknown { what: "anchor of record", id: record.0 };
        Ok((record, Some(self.anchor(&head).await?.ok_or(unknown)?)))
    }

    async fn anchor(&self, entry: &Entry) -> Result<Option<Anchor>, WorkflowError> {
        let (record, version) = entry.key();
        let found = self.gateway.gatekeeper.inclusion(record, version).await?;
        Ok(found.filter(|(_, how)| *how == Inclusion::Alone).map(|(anchor, _)| anchor))
    }

    async fn result_of(&self, order: B256) -> Result<Option<RecordDigest>, WorkflowError> {
        let projection = self.gateway.gatekeeper.projection().await;
        Ok(projection.workflows.lab_order(&order).and_then(|held| held.result))
    }

    /// Asks the chain whether it would take such a result.
    async fn check(&self, id: B256, stage: Stage, critical: bool) -> Result<(), WorkflowError> {
        let (at, digest) = (self.gateway.at(Contract::LabOrders), B256::repeat_byte(1));
        let scientist = &self.scientist;
        match stage {
            Stage::Preliminary => {
                let call = LabOrders::reportPreliminaryCall { id, digest, critical };
                scientist.check(at, &call).await
            }
            Stage::Final => {
                scientist.check(at, &LabOrders::reportCall { id, digest, critical }).await
            }
            Stage::Corrected => {
                scientist.check(at, &LabOrders::correctCall { id, digest, critical }).await
            }
        }
    }

    /// Tells the chain of a result that is kept, and notes that it was told.
    async fn tell(&self, noted: &Noted, digest: RecordDigest) -> Result<Step, WorkflowError> {
        let (id, critical, digest) = (noted.order, noted.critical, digest.0);
        let (what, operation, outcome) = match noted.stage {
            Stage::Preliminary => {
                let call = LabOrders::reportPreliminaryCall { id, digest, critical };
                let what = if critical {
                    "reports a critical preliminary result"
                } else {
                    "reports a preliminary result"
                };
                (what, "lab.report-preliminary", self.send(&call).await?)
            }
            Stage::Final => {
                let call = LabOrders::reportCall { id, digest, critical };
                let what =
                    if critical { "reports a critical result" } else { "reports the result" };
                (what, "lab.report", self.send(&call).await?)
            }
            Stage::Corrected => {
                let call = LabOrders::correctCall { id, digest, critical };
                let what =
                    if critical { "corrects the result: critical" } else { "corrects the result" };
                (what, "lab.correct", self.send(&call).await?)
            }
        };
        let mut transaction = self.gateway.gatekeeper.vault().database().share().await?;
        sqlx::query("update laboratory_messages set told = 1 where message = $1")
            .bind(noted.message.to_vec())
            .execute(&mut *transaction)
            .await
            .map_err(StoreError::from)?;
        transaction.commit().await?;
        Ok(Step::new(&self.scientist.name, what, operation, &outcome))
    }

    async fn send(&self, call: &impl SolCall) -> Result<Outcome, WorkflowError> {
        let at = self.gateway.at(Contract::LabOrders);
        Ok(self.scientist.sender.send(at, call).await?)
    }

    async fn noted(&self, message: B256) -> Result<Option<Noted>, WorkflowError> {
        const CORRUPT: StoreError = StoreError::Corrupt { what: "noted message" };
        let row = sqlx::query(
            "select content, lab_order, record, version, stage, critical, told
            from laboratory_messages where message = $1",
        )
        .bind(message.to_vec())
        .fetch_optional(self.gateway.gatekeeper.vault().database().readers())
        .await
        .map_err(StoreError::from)?;
        let Some(row) = row else { return Ok(None) };
        let word = |column: usize| {
            let bytes: Vec<u8> = row.try_get(column).map_err(StoreError::from)?;
            B256::try_from(bytes.as_slice()).map_err(|_| CORRUPT)
        };
        let number = |column: usize| row.try_get::<i64, _>(column).map_err(StoreError::from);
        let version = u32::try_from(number(3)?).map_err(|_| CORRUPT)?;
        Ok(Some(Noted {
            message,
            content: word(0)?,
            order: word(1)?,
            record: RecordId(word(2)?),
            version: RecordVersion::try_from(version).map_err(|_| CORRUPT)?,
            stage: match number(4)? {
                0 => Stage::Preliminary,
                1 => Stage::Final,
                2 => Stage::Corrected,
                _ => return Err(CORRUPT.into()),
            },
            critical: number(5)? != 0,
            told: number(6)? != 0,
        }))
    }
}

/// Notes a message, together with the record that it becomes. One that was given up before is noted anew.
async fn note(transaction: &mut WriteTransaction, noted: Noted) -> Result<(), StoreError> {
    let stage: i64 = match noted.stage {
        Stage::Preliminary => 0,
        Stage::Final => 1,
        Stage::Corrected => 2,
    };
    sqlx::query("delete from laboratory_messages where message = $1 and content = $2")
        .bind(noted.message.to_vec())
        .bind(noted.content.to_vec())
        .execute(&mut **transaction)
        .await?;
    sqlx::query(
        "insert into laboratory_messages
        (message, content, lab_order, record, version, stage, critical, told)
        values ($1, $2, $3, $4, $5, $6, $7, 0)",
    )
    .bind(noted.message.to_vec())
    .bind(noted.content.to_vec())
    .bind(noted.order.to_vec())
    .bind(noted.record.0.to_vec())
    .bind(i64::from(noted.version.get()))
    .bind(stage)
    .bind(i64::from(noted.critical))
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// Why a message was not taken.
enum NotTaken {
    /// It is wrong itself.
    Wrong(ReadError),
    /// Something else is.
    Fault(WorkflowError),
}

impl From<ReadError> for NotTaken {
    fn from(error: ReadError) -> Self {
        Self::Wrong(error)
    }
}

impl From<WorkflowError> for NotTaken {
    fn from(error: WorkflowError) -> Self {
        Self::Fault(error)
    }
}
