//! Where the workflow behind a document stands: the status that its contract gives it.
//!
//! A sealed document says what was so when it was sealed, and stays that: its digest is on chain. What this
//! server gives out under the document's name shows the status of the contract in its place, as a further
//! version of the resource that nobody sealed: `1.1`, `1.2` and so on (see [`VersionId`]). Such a version
//! has a tag, and an extension with the block and the transaction, where anybody can check it. Version `1` is
//! the sealed one, word for word. Why it is so stands in `docs/decisions/0016-statuses-of-contracts.md`.

use domain::B256;
use serde_json::{Value, json};
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use vault::StoreError;

use crate::{json::RawObject, tables::Row, version::VersionId};

/// The system of the tag that says where a status is from.
const SOURCE: &str = "urn:salus:status-source";

/// The extension with what on chain gave the status.
const STATUS_OF: &str = "urn:salus:contract-status";

const CORRUPT: StoreError = StoreError::Corrupt { what: "status of a resource" };

/// A status that a contract gave a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    /// Which one it is of this resource, from 1.
    pub(crate) place: u32,
    /// The code, as FHIR has it for this type.
    pub(crate) code: String,
    /// When it was taken in here, in milliseconds since 1970.
    pub(crate) said_at: i64,
    /// What gave it; nothing when it was time alone.
    pub(crate) event: Option<Event>,
}

/// What on chain gave a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) block: u64,
    pub(crate) transaction: B256,
}

/// A status as FHIR has it, and the member that it stands in.
const fn member(resource_type: &str) -> &'static str {
    match resource_type.as_bytes() {
        b"DeviceMetric" => "operationalStatus",
        _ => "status",
    }
}

impl Status {
    /// The status in a row of a query, whose columns begin at `first`; `None` when there is none.
    pub(crate) fn of(row: &AnyRow, first: usize) -> Result<Option<Self>, StoreError> {
        let place: Option<i64> = row.try_get(first)?;
        let Some(place) = place else { return Ok(None) };
        let (block, transaction): (Option<i64>, Option<Vec<u8>>) =
            (row.try_get(first + 3)?, row.try_get(first + 4)?);
        let event = match (block, transaction) {
            (Some(block), Some(transaction)) => Some(Event {
                block: u64::try_from(block).map_err(|_| CORRUPT)?,
                transaction: transaction.as_slice().try_into().map_err(|_| CORRUPT)?,
            }),
            _ => None,
        };
        Ok(Some(Self {
            place: u32::try_from(place).map_err(|_| CORRUPT)?,
            code: row.try_get(first + 1)?,
            said_at: row.try_get(first + 2)?,
            event,
        }))
    }

    /// All that a resource ever had, in their order.
    pub(crate) async fn all(
        connection: &mut AnyConnection,
        number: i64,
    ) -> Result<Vec<Self>, StoreError> {
        let rows = sqlx::query(
            "select place, status, said_at, block, transaction_hash from fhir_statuses
            where resource = $1 order by place",
        )
        .bind(number)
        .fetch_all(connection)
        .await?;
        rows.iter().map(|row| Self::of(row, 0)?.ok_or(CORRUPT)).collect()
    }

    /// Puts it in force for a resource.
    pub(crate) async fn store(
        &self,
        connection: &mut AnyConnection,
        number: i64,
    ) -> Result<(), StoreError> {
        sqlx::query("update fhir_statuses set in_force = 0 where resource = $1")
            .bind(number)
            .execute(&mut *connection)
            .await?;
        let event = self.event;
        sqlx::query(
            "insert into fhir_statuses
                (resource, place, in_force, status, said_at, block, transaction_hash)
            values ($1, $2, 1, $3, $4, $5, $6)",
        )
        .bind(number)
        .bind(i64::from(self.place))
        .bind(self.code.clone())
        .bind(self.said_at)
        .bind(event.map(|event| i64::try_from(event.block).unwrap_or(i64::MAX)))
        .bind(event.map(|event| event.transaction.to_vec()))
        .execute(&mut *connection)
        .await?;
        sqlx::query("update fhir_resources set updated = $2 where number = $1 and updated < $2")
            .bind(number)
            .bind(self.said_at)
            .execute(&mut *connection)
            .await?;
        Ok(())
    }

    fn tag(&self) -> Value {
        let (code, display) = match self.event {
            Some(_) => ("contract", "the status is the contract's, not the sealed text's"),
            None => ("clock", "the status is by the time that the contract sets"),
        };
        json!({ "system": SOURCE, "code": code, "display": display })
    }

    /// Puts it in the place of what a resource says itself, and says so.
    pub(crate) fn put_into(&self, body: &mut RawObject) -> serde_json::Result<()> {
        let resource_type = body.text("resourceType").unwrap_or_default();
        body.set(member(&resource_type), &self.code, "meta");
        let mut meta = match body.get("meta") {
            Some(meta) => RawObject::parse(meta.get().as_bytes())?,
            None => RawObject::default(),
        };
        let list = |meta: &RawObject, name: &str| -> serde_json::Result<Vec<Value>> {
            meta.get(name).map_or_else(|| Ok(Vec::new()), |held| serde_json::from_str(held.get()))
        };
        let mut tags = list(&meta, "tag")?;
        tags.push(self.tag());
        meta.set("tag", &tags, "lastUpdated");
        if let Some(Event { block, transaction }) = self.event {
            let mut extensions = list(&meta, "extension")?;
            let part = |url: &str, text: String| json!({ "url": url, "valueString": text });
            extensions.push(json!({ "url": STATUS_OF, "extension": [
                part("block", block.to_string()),
                part("transaction", transaction.to_string()),
            ] }));
            meta.set("extension", &extensions, "");
        }
        body.set("meta", &meta, "id");
        Ok(())
    }

    /// What a resource is found by that has this status.
    pub(crate) fn found_by(&self, resource_type: &str) -> Value {
        json!({
            "resourceType": resource_type,
            member(resource_type): self.code,
            "meta": { "tag": [self.tag()] },
        })
    }
}

impl Row {
    /// Has it found by the status that it has, and not by the one that it says itself.
    pub(crate) async fn index_status(
        &self,
        connection: &mut AnyConnection,
        index: &search::Index,
    ) -> Result<(), StoreError> {
        let Some(status) = &self.status else { return Ok(()) };
        let found_by = status.found_by(&self.resource_type);
        let prepared = index.prepare(&self.resource_type, &found_by);
        index.replace_prepared(connection, self.number, prepared).await
    }

    /// The same with another status of its own, or with none.
    pub(crate) fn with_status(&self, status: Option<Status>) -> Self {
        Self { status, ..self.clone() }
    }

    /// By what name a version of it is given out, which was written at `written` in milliseconds since 1970,
    /// and when that one was made.
    pub(crate) fn given_as(&self, version: u32, written: i64) -> (VersionId, i64) {
        match &self.status {
            None => (version.into(), written),
            Some(status) => {
                let name = VersionId { written: version, status: status.place };
                (name, written.max(status.said_at))
            }
        }
    }

    /// All versions that a reader of these written ones is given, the oldest first: each as it was written,
    /// and each with the statuses that were in force with it.
    ///
    /// `written` has the versions and when they were written, in milliseconds since 1970, in their order.
    pub(crate) fn all_given(
        &self,
        written: &[(u32, i64)],
        statuses: &[Status],
    ) -> Vec<(Self, u32)> {
        let mut given = Vec::with_capacity(written.len() + statuses.len());
        for (index, &(version, created)) in written.iter().enumerate() {
            let next = written.get(index + 1).map_or(i64::MAX, |(_, next)| *next);
            let is_before = |status: &&Status| index > 0 && status.said_at < created;
            given.push((self.with_status(None), version));
            let before = statuses.iter().rfind(is_before);
            let during = statuses.iter().filter(|one| one.said_at < next && !is_before(one));
            for status in before.into_iter().chain(during) {
                given.push((self.with_status(Some(status.clone())), version));
            }
        }
        given
    }
}

/// When a status is taken in: now, but after everything that was given out before.
pub(crate) fn after(now: i64, before: i64) -> i64 {
    now.max(before.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use domain::{Address, Kind, RecordId};

    use super::*;
    use crate::tables::{Deletion, Filed};

    fn status(place: u32, said_at: i64) -> Status {
        Status { place, code: "completed".into(), said_at, event: None }
    }

    /// The names under which versions written at these times are given, with statuses said at those.
    #[track_caller]
    fn check(written: &[(u32, i64)], said: &[i64], expected: &[&str]) {
        let record = RecordId(B256::repeat_byte(1));
        let filed = Filed { record, patient: Address::ZERO, kind: Kind::Order };
        let row = Row {
            number: 1,
            resource_type: "ServiceRequest".into(),
            id: "1".into(),
            record: Some(filed),
            version: 1,
            updated: 0,
            deletion: Deletion::No,
            status: None,
        };
        let statuses: Vec<_> = (1..).zip(said).map(|(place, at)| status(place, *at)).collect();
        let given = row.all_given(written, &statuses);
        let names = given.iter().map(|(row, version)| {
            let (_, created) = written.iter().find(|(one, _)| one == version).unwrap();
            row.given_as(*version, *created).0.to_string()
        });
        assert_eq!(names.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn versions_and_statuses_come_in_the_order_of_time() {
        check(&[(1, 10)], &[], &["1"]);
        check(&[(1, 10)], &[20, 30], &["1", "1.1", "1.2"]);
        check(&[(1, 10), (2, 25)], &[20, 30], &["1", "1.1", "2", "2.1", "2.2"]);
        check(&[(1, 10), (2, 25)], &[30], &["1", "2", "2.1"]);
        // A clock that is behind takes nothing away.
        check(&[(1, 10)], &[5], &["1", "1.1"]);
        // A reader who may not read a version is not given it with a status either.
        check(&[(2, 25)], &[20, 30], &["2", "2.1", "2.2"]);
    }

    #[test]
    fn only_the_status_and_what_says_so_is_another() {
        let text = r#"{"resourceType":"DeviceMetric","operationalStatus":"on","x":1.10}"#;
        let mut body = RawObject::parse(text.as_bytes()).unwrap();
        Status { code: "off".into(), ..status(1, 0) }.put_into(&mut body).unwrap();
        assert_eq!(body.text("operationalStatus").unwrap(), "off");
        assert_eq!(body.get("x").unwrap().get(), "1.10");
        let meta: Value = serde_json::from_str(body.get("meta").unwrap().get()).unwrap();
        assert_eq!(meta["tag"][0]["code"], "clock");
        assert!(meta["extension"].is_null());
    }
}
