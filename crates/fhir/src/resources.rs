//! Resources and what is done with one of them: made, read, replaced, deleted, with their versions.
//!
//! A resource about a patient is a record: sealed, anchored, and read only by permission. What the
//! server sets (`id`, `meta.versionId`, `meta.lastUpdated`) is set when it is given out; everything else
//! is the text that came in. A deletion is a version without a body, anchored like any other, so that
//! it shows on the patient's timeline; the versions before it stay.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::{Address, Anchor, Kind, Outcome, Reader, RecordId, RecordVersion, Refusal, Timestamp};
use futures_util::future::BoxFuture;
use gatekeeper::{Along, Found, Gatekeeper, OpenedRecord, Versions};
use serde_json::Value;
use vault::{Content, NewRecord, StoreError};
use workflows::Gateway;

use crate::{
    caller::{Caller, Interaction},
    directory::Directory,
    instant,
    json::RawObject,
    outcome::{FhirError, Issue},
    searching::Remembered,
    subject::{Nature, nature_of},
    tables::{COMPONENT, Filed, MIGRATIONS, Row},
};

/// Which account stands behind a `Patient` resource that is not here yet.
pub trait Patients: Send + Sync {
    /// The account, which must have a relationship with this institution; `None` when there is none.
    fn account_of<'a>(
        &'a self,
        patient: &'a Value,
    ) -> BoxFuture<'a, Result<Option<Address>, FhirError>>;
}

/// What of the directory patients see.
const PUBLIC_DIRECTORY: &[&str] =
    &["Location", "Medication", "Organization", "Practitioner", "PractitionerRole"];

/// The system of an identifier that is a patient's account on chain.
pub const ACCOUNT_SYSTEM: &str = "urn:salus:account";

/// One version of a resource, as it is given out.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its type.
    pub resource_type: String,
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: u32,
    /// When that was made, in milliseconds since 1970.
    pub updated: i64,
    /// The resource; `None` in a version that says that it was deleted.
    pub body: Option<RawObject>,
}

/// The resources of one institution. Clones are the same.
#[derive(Clone)]
pub struct Resources {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) gateway: Gateway,
    pub(crate) index: search::Index,
    pub(crate) directory: Directory,
    pub(crate) patients: Arc<dyn Patients>,
    pub(crate) clock: Box<dyn Fn() -> i64 + Send + Sync>,
    pub(crate) base: String,
    pub(crate) remembered: Remembered,
}

/// What is to be stored of a resource, checked.
pub(crate) struct Checked {
    pub(crate) row: Row,
    pub(crate) body: RawObject,
    pub(crate) value: Value,
    /// Whether it registers a patient of whom nothing was here.
    pub(crate) registers: bool,
}

impl Resources {
    /// Opens the resources of an institution. `index_key` and `directory_key` never leave the gateway;
    /// `clock` gives milliseconds since 1970; `base` is the URL at which clients reach `/fhir`.
    ///
    /// # Errors
    ///
    /// [`FhirError`] when the tables cannot be made.
    pub async fn open(
        gateway: Gateway,
        patients: Arc<dyn Patients>,
        index_key: [u8; 32],
        directory_key: [u8; 32],
        clock: impl Fn() -> i64 + Send + Sync + 'static,
        base: &str,
    ) -> Result<Self, vault::MigrateError> {
        let database = gateway.gatekeeper.vault().database();
        database.migrate(search::COMPONENT, search::MIGRATIONS).await?;
        database.migrate(COMPONENT, MIGRATIONS).await?;
        let inner = Inner {
            gateway,
            index: search::Index::new(index_key),
            directory: Directory::new(directory_key),
            patients,
            clock: Box::new(clock),
            base: base.trim_end_matches('/').to_owned(),
            remembered: Remembered::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub(crate) fn gatekeeper(&self) -> &Gatekeeper {
        &self.inner.gateway.gatekeeper
    }

    pub(crate) fn database(&self) -> &vault::Database {
        self.gatekeeper().vault().database()
    }

    /// The URL at which clients reach this.
    pub(crate) fn base(&self) -> &str {
        &self.inner.base
    }

    /// A text with the addresses of this server's own resources made relative.
    pub(crate) fn relative(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.base()), "")
    }

    /// Now, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        (self.inner.clock)()
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(u64::try_from(self.now_ms() / 1_000).unwrap_or_default())
    }

    pub(crate) async fn row(
        &self,
        resource_type: &str,
        id: &str,
    ) -> Result<Option<Row>, FhirError> {
        let mut connection = self.database().readers().acquire().await?;
        Ok(Row::find(&mut connection, resource_type, id).await?)
    }

    /// Reads a resource, or one version of it.
    ///
    /// # Errors
    ///
    /// 403 or 404 when the caller may not, 404 when there is none, 410 when it was deleted.
    pub async fn read(
        &self,
        caller: &Caller,
        resource_type: &str,
        id: &str,
        version: Option<u32>,
    ) -> Result<Resource, FhirError> {
        caller.require(resource_type, Interaction::Read)?;
        let row = self.row(resource_type, id).await?.ok_or_else(FhirError::not_found)?;
        let resource = match row.record {
            Some(filed) => self.read_record(caller, &row, filed, version).await?,
            None => self.read_directory(caller, &row, version).await?,
        };
        if resource.body.is_none() {
            let text = "the resource was deleted; its history has what it was";
            return Err(FhirError::new(StatusCode::GONE, "deleted", text));
        }
        Ok(resource)
    }

    async fn read_record(
        &self,
        caller: &Caller,
        row: &Row,
        filed: Filed,
        version: Option<u32>,
    ) -> Result<Resource, FhirError> {
        let mut found = self.find_record(caller, filed, version.is_some()).await?;
        if let Some(version) = version {
            found.retain(|found| found.entry().header.version.get() == version);
        }
        if found.is_empty() {
            self.note_refusal(caller, filed, Refusal::NotCovered).await?;
            return Err(FhirError::not_found());
        }
        let mut opened = self.gatekeeper().give(caller.reading(), found, self.now()).await?;
        let record = opened.pop().ok_or_else(unavailable)?;
        resource_of(row, &record)
    }

    /// The version in force of a record, or all, if the caller may read it; else there is a receipt of
    /// the refusal.
    pub(crate) async fn find_record(
        &self,
        caller: &Caller,
        filed: Filed,
        all: bool,
    ) -> Result<Vec<Found>, FhirError> {
        let versions = if all { Versions::All } else { Versions::Current };
        let (now, reading) = (self.now(), caller.reading());
        let refused = if caller.is_about(filed.patient) {
            let (found, refusal) =
                self.gatekeeper().find(reading, &[filed.record], versions, now).await?;
            if !found.is_empty() {
                return Ok(found);
            }
            refusal
        } else {
            Some(Refusal::NoConsent)
        };
        let Some(refusal) = refused else { return Ok(Vec::new()) };
        self.note_refusal(caller, filed, refusal).await?;
        Err(self.refused(caller, filed.patient, refusal))
    }

    async fn note_refusal(
        &self,
        caller: &Caller,
        filed: Filed,
        refusal: Refusal,
    ) -> Result<(), FhirError> {
        let kinds = domain::KindSet::of(&[filed.kind]);
        let outcome = Outcome::refused(refusal);
        let noting =
            self.gatekeeper().note(caller.reading(), filed.patient, kinds, outcome, self.now());
        noting.await?;
        Ok(())
    }

    /// What a reader is told who may not read. That there is something is known to the institution's
    /// own people, who may have to break the glass; others learn nothing.
    fn refused(&self, caller: &Caller, patient: Address, refusal: Refusal) -> FhirError {
        let own = caller.reader.institution() == Some(self.gatekeeper().member());
        let about_them = caller.reader.address() == patient;
        if !own && !about_them {
            return FhirError::not_found();
        }
        if refusal == Refusal::Erased {
            FhirError::new(StatusCode::GONE, "deleted", "the record was erased")
        } else {
            FhirError::new(StatusCode::FORBIDDEN, "forbidden", refusal.to_string())
        }
    }

    pub(crate) async fn read_directory(
        &self,
        caller: &Caller,
        row: &Row,
        version: Option<u32>,
    ) -> Result<Resource, FhirError> {
        self.require_directory(caller, &row.resource_type)?;
        let version = version.unwrap_or(row.version);
        let mut connection = self.database().readers().acquire().await?;
        let held = self.inner.directory.read(&mut connection, row, version).await?;
        let (updated, body) = held.ok_or_else(FhirError::not_found)?;
        let body = body.map(|body| complete(body, &row.id, version, updated)).transpose()?;
        Ok(Resource {
            resource_type: row.resource_type.clone(),
            id: row.id.clone(),
            version,
            updated,
            body,
        })
    }

    /// The directory is the institution's own: for its people, and of it for patients what their records
    /// refer to.
    pub(crate) fn require_directory(
        &self,
        caller: &Caller,
        resource_type: &str,
    ) -> Result<(), FhirError> {
        let own = caller.reader.institution() == Some(self.gatekeeper().member());
        let is_patient = matches!(caller.reader, Reader::Patient { .. });
        if own || is_patient && PUBLIC_DIRECTORY.contains(&resource_type) {
            return Ok(());
        }
        Err(FhirError::not_found())
    }

    /// All versions of a resource that the caller may read, the newest first.
    ///
    /// # Errors
    ///
    /// As [`Resources::read`].
    pub async fn history(
        &self,
        caller: &Caller,
        resource_type: &str,
        id: &str,
    ) -> Result<Vec<Resource>, FhirError> {
        caller.require(resource_type, Interaction::Read)?;
        let row = self.row(resource_type, id).await?.ok_or_else(FhirError::not_found)?;
        let Some(filed) = row.record else {
            let mut versions = Vec::new();
            for version in (1..=row.version).rev() {
                versions.push(self.read_directory(caller, &row, Some(version)).await?);
            }
            return Ok(versions);
        };
        let found = self.find_record(caller, filed, true).await?;
        let opened = self.gatekeeper().give(caller.reading(), found, self.now()).await?;
        opened.iter().rev().map(|record| resource_of(&row, record)).collect()
    }

    /// Checks a resource that is to be stored; `id` is the one of the URL of an update.
    ///
    /// # Errors
    ///
    /// 400 when it is not the resource that the URL names, 422 with everything that is wrong with it.
    pub(crate) async fn check(
        &self,
        caller: &Caller,
        resource_type: &str,
        id: Option<&str>,
        mut body: RawObject,
        known: &[(String, Address)],
    ) -> Result<Checked, FhirError> {
        self.require_own(caller)?;
        let found = body.text("resourceType");
        if found.as_deref() != Some(resource_type) {
            let text = format!("the body is no {resource_type}");
            return Err(FhirError::bad_request(text));
        }
        let id = match id {
            Some(id) if body.text("id").as_deref() == Some(id) => id.to_owned(),
            Some(_) => {
                let text = "the body's `id` must be the one in the URL";
                return Err(FhirError::bad_request(text));
            }
            None => self.make_id(),
        };
        if !r4::is_id(&id) {
            let text = "an id has 1 to 64 of the characters A-Z, a-z, 0-9, `-` and `.`";
            return Err(FhirError::bad_request(text));
        }
        body.set("id", &id, "resourceType");
        // What is looked at and indexed has relative references; what is kept stays as it came.
        let value: Value = serde_json::from_str(&self.relative(&body.to_string()))
            .map_err(|_| FhirError::bad_request("the body is not JSON"))?;
        validate(&value)?;
        let nature = nature_of(resource_type, &value)
            .map_err(|error| FhirError::unprocessable("required", error.to_string()))?;
        let before = self.row(resource_type, &id).await?;
        let record = match nature {
            Nature::Directory => None,
            Nature::Patient => {
                let patient = self.account(&value, before.as_ref()).await?;
                Some((patient, Kind::Demographics))
            }
            Nature::Record { patient, kind } => {
                let in_bundle = known.iter().find(|(id, _)| *id == patient);
                let account = match in_bundle {
                    Some((_, account)) => *account,
                    None => self.patient_account(&patient).await?,
                };
                Some((account, kind))
            }
        };
        let record = record.map(|(patient, kind)| {
            let record = self.record_id(patient, resource_type, &id);
            Filed { record, patient, kind }
        });
        let registers = match (resource_type, &before, record) {
            ("Patient", None, Some(filed)) => self.holds_nothing_of(filed.patient).await?,
            _ => false,
        };
        // Whoever registers a patient begins to care for them. Nobody else comes to care by writing.
        if !registers {
            self.require_write(caller, record)?;
            self.require_write(caller, before.as_ref().and_then(|before| before.record))?;
        }
        if let Some(filed) = record {
            self.require_relationship(filed.patient).await?;
        }
        let row = match before {
            None => Row {
                number: 0,
                resource_type: resource_type.into(),
                id,
                record,
                version: 1,
                updated: self.now_ms(),
                deleted: false,
            },
            Some(before) => {
                let same =
                    before.record.map(|filed| filed.patient) == record.map(|filed| filed.patient);
                if !same {
                    let text = "a resource stays with its patient; make a new one";
                    return Err(FhirError::unprocessable("business-rule", text));
                }
                let kind = record.map(|filed| filed.kind);
                let record =
                    before.record.map(|filed| Filed { kind: kind.unwrap_or(filed.kind), ..filed });
                let version = before.version + 1;
                Row { record, version, updated: self.now_ms(), deleted: false, ..before }
            }
        };
        Ok(Checked { row, body, value, registers })
    }

    /// Whether nothing of a patient is kept here yet.
    async fn holds_nothing_of(&self, patient: Address) -> Result<bool, FhirError> {
        // Copies of other stewards' records open no way to care here.
        let steward = Some(self.gatekeeper().member());
        let listing = vault::Listing { patient, steward, kinds: domain::KindSet::ALL };
        Ok(self.gatekeeper().vault().list(&listing, None, 1).await?.is_empty())
    }

    /// Only a steward keeps records. For single anchors the chain says so too, for batches only we do.
    async fn require_relationship(&self, patient: Address) -> Result<(), FhirError> {
        let gatekeeper = self.gatekeeper();
        gatekeeper.refresh(self.now()).await?;
        let projection = gatekeeper.projection().await;
        let held = projection.consents.relationship(patient, gatekeeper.member());
        if held.is_some_and(|held| held.state == Some(domain::RelationshipState::Active)) {
            return Ok(());
        }
        let text = "the patient has no active relationship with this institution";
        Err(FhirError::unprocessable("business-rule", text))
    }

    /// Only the institution's own people and systems write. Others are told so before anything is looked
    /// up, so that they learn nothing by trying.
    pub(crate) fn require_own(&self, caller: &Caller) -> Result<(), FhirError> {
        if caller.reader.institution() == Some(self.gatekeeper().member()) {
            return Ok(());
        }
        let text = "only this institution's own people write here";
        Err(FhirError::new(StatusCode::FORBIDDEN, "forbidden", text))
    }

    /// The account behind a `Patient` resource: that of the versions before, or the one it names.
    async fn account(&self, value: &Value, before: Option<&Row>) -> Result<Address, FhirError> {
        if let Some(filed) = before.and_then(|before| before.record) {
            return Ok(filed.patient);
        }
        let account = self.inner.patients.account_of(value).await?;
        account.ok_or_else(|| {
            let text = "nobody with an account and a relationship with this institution is known by \
                        these identifiers; name the account as an identifier of the system \
                        urn:salus:account";
            FhirError::unprocessable("business-rule", text)
        })
    }

    /// The account of the patient with this id.
    async fn patient_account(&self, id: &str) -> Result<Address, FhirError> {
        let row = self.row("Patient", id).await?;
        let filed = row.filter(|row| !row.deleted).and_then(|row| row.record);
        filed.map(|filed| filed.patient).ok_or_else(|| {
            FhirError::unprocessable("not-found", "the patient it is about is not here")
        })
    }

    /// Who may write: the institution's own people who care for the patient, as far as their role goes,
    /// and the institution's own systems.
    pub(crate) fn require_write(
        &self,
        caller: &Caller,
        record: Option<Filed>,
    ) -> Result<(), FhirError> {
        let member = self.gatekeeper().member();
        let allowed = match (caller.reader, record) {
            (Reader::Institution { member: own, .. }, _) => own == member,
            (Reader::Professional { institution, .. }, None) => institution == member,
            (Reader::Professional { institution, member: person, role }, Some(filed)) => {
                institution == member
                    && self.gatekeeper().cares_for(filed.patient, person)
                    && role.may_read(domain::Purpose::Treatment).contains(filed.kind)
            }
            (Reader::Patient { .. }, _) => false,
        };
        let in_scope = record.is_none_or(|filed| caller.is_about(filed.patient));
        if allowed && in_scope {
            return Ok(());
        }
        let text = "only those who care for the patient at this institution write their records";
        Err(FhirError::new(StatusCode::FORBIDDEN, "forbidden", text))
    }

    /// A record's id: the same whenever the same resource is stored, and the one that an import gives.
    pub(crate) fn record_id(&self, patient: Address, resource_type: &str, id: &str) -> RecordId {
        let name = [patient.as_slice(), resource_type.as_bytes(), b"/", id.as_bytes()].concat();
        RecordId(self.inner.gateway.keyed_digest("salus/record-id/v1", &name))
    }

    pub(crate) fn make_id(&self) -> String {
        let random: [u8; 16] = self.gatekeeper().entropy().bytes();
        hex::encode(random)
    }

    /// Stores what was checked, and returns it as it is now.
    ///
    /// # Errors
    ///
    /// 409 when somebody else wrote meanwhile, 422 when the chain refuses.
    pub(crate) async fn store(
        &self,
        caller: &Caller,
        checked: Checked,
    ) -> Result<Resource, FhirError> {
        let Checked { row, body, value, registers } = checked;
        let resource = self.given_out(&row, body.clone())?;
        match row.record {
            None => {
                let mut transaction = self.database().begin().await?;
                self.store_directory(&mut transaction, &row, Some((&body, &value))).await?;
                transaction.commit().await?;
            }
            Some(filed) => {
                let text = body.to_string().into_bytes();
                let new = self.new_record(caller, &row, filed, Content::FhirJson, text)?;
                let previous = self.previous(&row, filed).await?;
                let along = self.indexing(row.clone(), Some(value));
                let putting =
                    self.gatekeeper().put_and_propose_along(new, previous.as_ref(), along);
                putting.await?;
                if registers {
                    self.begin_care(caller, filed).await?;
                }
            }
        }
        Ok(resource)
    }

    /// Whoever registers a patient begins to care for them.
    pub(crate) async fn begin_care(&self, caller: &Caller, filed: Filed) -> Result<(), FhirError> {
        if let Reader::Professional { member, .. } = caller.reader {
            self.gatekeeper().join_care_team(filed.patient, member, self.now()).await?;
        }
        Ok(())
    }

    /// A row with its body as it is given out.
    pub(crate) fn given_out(&self, row: &Row, body: RawObject) -> Result<Resource, FhirError> {
        let body = complete(body, &row.id, row.version, row.updated)?;
        Ok(Resource {
            resource_type: row.resource_type.clone(),
            id: row.id.clone(),
            version: row.version,
            updated: row.updated,
            body: Some(body),
        })
    }

    /// Deletes a resource. Its versions stay, for those who may read them.
    ///
    /// # Errors
    ///
    /// 403 when the caller may not; 404 when there never was one. Deleting again is no error.
    pub async fn delete(
        &self,
        caller: &Caller,
        resource_type: &str,
        id: &str,
    ) -> Result<u32, FhirError> {
        caller.require(resource_type, Interaction::Delete)?;
        self.require_own(caller)?;
        let before = self.row(resource_type, id).await?.ok_or_else(FhirError::not_found)?;
        self.require_write(caller, before.record)?;
        if before.deleted {
            return Ok(before.version);
        }
        let version = before.version + 1;
        let row = Row { version, updated: self.now_ms(), deleted: true, ..before };
        match row.record {
            None => {
                let mut transaction = self.database().begin().await?;
                self.store_directory(&mut transaction, &row, None).await?;
                transaction.commit().await?;
            }
            Some(filed) => {
                let new = self.new_record(caller, &row, filed, Content::Other, Vec::new())?;
                let previous = self.previous(&row, filed).await?;
                let along = self.indexing(row, None);
                let putting =
                    self.gatekeeper().put_and_propose_along(new, previous.as_ref(), along);
                putting.await?;
            }
        }
        Ok(version)
    }

    pub(crate) fn new_record(
        &self,
        caller: &Caller,
        row: &Row,
        filed: Filed,
        content: Content,
        body: Vec<u8>,
    ) -> Result<NewRecord, FhirError> {
        let version = RecordVersion::try_from(row.version)
            .map_err(|_| FhirError::unprocessable("too-costly", "it has too many versions"))?;
        Ok(NewRecord {
            record: filed.record,
            version,
            patient: filed.patient,
            kind: filed.kind,
            content,
            author: caller.reader.address(),
            created: Timestamp(u64::try_from(row.updated / 1_000).unwrap_or_default()),
            body,
        })
    }

    /// The anchor of the version before, with a place of its own on chain; `None` for a first version.
    pub(crate) async fn previous(
        &self,
        row: &Row,
        filed: Filed,
    ) -> Result<Option<Anchor>, FhirError> {
        let Some(before) = row.version.checked_sub(1).filter(|before| *before > 0) else {
            return Ok(None);
        };
        let version = RecordVersion::try_from(before).expect("it is not zero");
        let gatekeeper = self.gatekeeper();
        gatekeeper.refresh(self.now()).await?;
        let inclusion = gatekeeper.inclusion(filed.record, version).await?;
        let Some((anchor, _)) = inclusion else {
            let text = "the version before is not on chain yet; try again";
            return Err(FhirError::new(StatusCode::CONFLICT, "conflict", text));
        };
        if workflows::record::materialise(&self.inner.gateway, &anchor).await?.is_some() {
            gatekeeper.refresh(self.now()).await?;
        }
        Ok(Some(anchor))
    }

    /// Writes row and index in the transaction that stores the record.
    pub(crate) fn indexing(&self, row: Row, value: Option<Value>) -> Along<'static> {
        let inner = Arc::clone(&self.inner);
        Box::new(move |transaction| {
            Box::pin(async move {
                let number = row.store(transaction).await?;
                inner.index_row(transaction, &row, number, value.as_ref()).await
            })
        })
    }

    async fn store_directory(
        &self,
        transaction: &mut vault::WriteTransaction,
        row: &Row,
        content: Option<(&RawObject, &Value)>,
    ) -> Result<(), StoreError> {
        let number = row.store(transaction).await?;
        let mut rng = self.gatekeeper().entropy().fork();
        let body = content.map(|(body, _)| body.to_string());
        let directory = &self.inner.directory;
        directory.write(transaction, (number, row), body.as_deref(), &mut rng).await?;
        let value = content.map(|(_, value)| value);
        self.inner.index_row(transaction, row, number, value).await
    }
}

impl Inner {
    pub(crate) async fn index_row(
        &self,
        connection: &mut sqlx::AnyConnection,
        row: &Row,
        number: i64,
        value: Option<&Value>,
    ) -> Result<(), StoreError> {
        match value {
            Some(value) => self.index.put(connection, number, &row.resource_type, value).await,
            None => self.index.remove(connection, number).await,
        }
    }
}

/// A record as the resource that it is.
pub(crate) fn resource_of(row: &Row, record: &OpenedRecord) -> Result<Resource, FhirError> {
    let version = record.version.get();
    let updated = if version == row.version {
        row.updated
    } else {
        i64::try_from(record.created.0).unwrap_or_default() * 1_000
    };
    // A version without a JSON object says that the resource was deleted.
    let body = match record.body.get().starts_with('{') {
        true => {
            let body = RawObject::parse(record.body.get().as_bytes()).map_err(|_| unavailable())?;
            Some(complete(body, &row.id, version, updated)?)
        }
        false => None,
    };
    Ok(Resource {
        resource_type: row.resource_type.clone(),
        id: row.id.clone(),
        version,
        updated,
        body,
    })
}

/// Sets what the server says of a resource.
fn complete(
    mut body: RawObject,
    id: &str,
    version: u32,
    updated: i64,
) -> Result<RawObject, FhirError> {
    body.set("id", &id, "resourceType");
    let mut meta = match body.get("meta") {
        Some(meta) => RawObject::parse(meta.get().as_bytes()).map_err(|_| unavailable())?,
        None => RawObject::default(),
    };
    meta.set("lastUpdated", &instant::text(updated), "");
    meta.set("versionId", &version.to_string(), "");
    body.set("meta", &meta, "id");
    Ok(body)
}

fn unavailable() -> FhirError {
    let text = "the record is here but does not open; the reconcile report says more";
    FhirError::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", text)
}

/// Refuses a resource with errors, and says all of them.
fn validate(value: &Value) -> Result<(), FhirError> {
    let issues: Vec<Issue> = issues_of(value);
    if issues.iter().any(|issue| issue.severity == "error") {
        return Err(FhirError { status: StatusCode::UNPROCESSABLE_ENTITY, issues });
    }
    Ok(())
}

/// What the validator says of a resource.
pub(crate) fn issues_of(value: &Value) -> Vec<Issue> {
    let issue = |issue: r4::Issue| Issue {
        severity: if issue.severity == r4::Severity::Error { "error" } else { "warning" },
        code: issue.code.as_str(),
        diagnostics: issue.message,
        expression: vec![issue.expression],
    };
    r4::validate(value).into_iter().map(issue).collect()
}
