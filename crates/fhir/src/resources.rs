//! Resources and what is done with one of them: made, read, replaced, deleted, with their versions.
//!
//! A resource about a patient is a record: sealed, anchored, and read only by permission. What the
//! server sets (`id`, `meta.versionId`, `meta.lastUpdated`) is set when it is given out; everything else
//! is the text that came in. A deletion is a version without a body, anchored like any other, so that
//! it shows on the patient's timeline; the versions before it stay.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use axum::http::StatusCode;
use domain::{Address, Anchor, Kind, Outcome, Reader, RecordId, RecordVersion, Refusal, Timestamp};
use futures_util::future::BoxFuture;
use gatekeeper::{Along, AnchorError, Found, Gatekeeper, OpenedRecord, Versions};
use ledger::SendError;
use serde_json::Value;
use vault::{Content, NewRecord, StoreError};
use workflows::Gateway;

use crate::{
    bulk,
    caller::{Caller, Interaction, reader_at},
    catalogue, consent, copies, derived,
    directory::Directory,
    filing::{Filing, file},
    following::Followed,
    importing::milliseconds,
    instant,
    json::RawObject,
    outcome::{FhirError, Issue},
    posting,
    sealing::Sealing,
    searching::Remembered,
    statuses::Status,
    subject::{Nature, nature_of},
    tables::{COMPONENT, Deletion, Filed, MIGRATIONS, Row},
    version::VersionId,
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
pub(crate) const PUBLIC_DIRECTORY: &[&str] =
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
    pub version: VersionId,
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
    pub(crate) sealing: Sealing,
    pub(crate) running: bulk::Running,
    pub(crate) grants: consent::GrantIds,
    /// Held from looking for what a condition names until what depends on it is stored.
    pub(crate) conditional: tokio::sync::Mutex<()>,
    /// How far statuses were followed; held while they are.
    pub(crate) followed: tokio::sync::Mutex<Followed>,
    /// What delivers subscriptions, once they are served.
    pub(crate) webhooks: OnceLock<notify::Webhooks>,
}

/// What is to be stored of a resource, checked.
pub(crate) struct Checked {
    pub(crate) row: Row,
    pub(crate) body: RawObject,
    pub(crate) value: Value,
    /// Whether it registers a patient of whom nothing was here.
    pub(crate) registers: bool,
    /// What was there before it.
    pub(crate) before: Before,
}

/// What is known to the entries of one transaction while they are checked.
#[derive(Default)]
pub(crate) struct Known {
    stored: HashMap<(String, String), Option<Filed>>,
    rows: parking_lot::Mutex<HashMap<(String, String), Option<Row>>>,
}

impl Known {
    /// Notes what is stored together with a resource, which may be about it; `None` for what is about no
    /// patient.
    pub(crate) fn store(&mut self, name: (String, String), filed: Option<Filed>) {
        self.stored.insert(name, filed);
    }

    /// What is stored together with a resource.
    pub(crate) fn get(&self, name: &(String, String)) -> Option<&Option<Filed>> {
        self.stored.get(name)
    }

    /// Notes that nothing has this name: its id was just made.
    pub(crate) fn make(&self, resource_type: &str, id: &str) {
        self.rows.lock().insert((resource_type.to_owned(), id.to_owned()), None);
    }
}

/// What was stored.
pub(crate) struct Stored {
    /// The resource as it is now.
    pub(crate) resource: Resource,
    /// Whether the chain has it already.
    pub(crate) is_anchored: bool,
}

impl Stored {
    /// What is answered: `done`, or that it is kept and waits for the chain.
    pub(crate) fn status(&self, done: StatusCode) -> StatusCode {
        if self.is_anchored { done } else { StatusCode::ACCEPTED }
    }
}

/// Who cares for whom since when: patient and professional.
pub(crate) type Caring = (Address, Address, Timestamp);

/// What stands of a resource before it is written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Before {
    /// The version that the institution's own people read.
    pub(crate) newest: Option<u32>,
    /// Whether others read a version that stays in force until the patient answers the next one.
    pub(crate) stays: bool,
}

/// The account of the patient with this id at an institution; `None` when there is none.
///
/// # Errors
///
/// [`StoreError`] when the database failed.
pub async fn account_of_patient(
    database: &vault::Database,
    id: &str,
) -> Result<Option<Address>, StoreError> {
    let mut connection = database.readers().acquire().await?;
    let row = Row::find(&mut connection, "Patient", id).await?;
    Ok(row.and_then(|row| row.record).map(|filed| filed.patient))
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
        database.migrate(derived::COMPONENT, derived::MIGRATIONS).await?;
        database.migrate(bulk::COMPONENT, bulk::MIGRATIONS).await?;
        let inner = Inner {
            gateway,
            index: search::Index::new(index_key),
            directory: Directory::new(directory_key),
            patients,
            clock: Box::new(clock),
            base: base.trim_end_matches('/').to_owned(),
            remembered: Remembered::default(),
            sealing: Sealing::derive(&directory_key, "salus/fhir-derived/v1"),
            running: bulk::Running::default(),
            grants: consent::GrantIds::default(),
            conditional: tokio::sync::Mutex::default(),
            followed: tokio::sync::Mutex::default(),
            webhooks: OnceLock::new(),
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

    /// The same, looked up once for all entries of a transaction. Whatever is written meanwhile is found
    /// out when they are stored.
    pub(crate) async fn row_known(
        &self,
        resource_type: &str,
        id: &str,
        known: &Known,
    ) -> Result<Option<Row>, FhirError> {
        let name = (resource_type.to_owned(), id.to_owned());
        if let Some(row) = known.rows.lock().get(&name) {
            return Ok(row.clone());
        }
        let row = self.row(resource_type, id).await?;
        known.rows.lock().insert(name, row.clone());
        Ok(row)
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
        version: Option<VersionId>,
    ) -> Result<Resource, FhirError> {
        caller.require(resource_type, Interaction::Read)?;
        let row = self.row_named(resource_type, id).await?.ok_or_else(FhirError::not_found)?;
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
        version: Option<VersionId>,
    ) -> Result<Resource, FhirError> {
        let mut found = self.find_record(caller, filed, version.is_some()).await?;
        if let Some(version) = version {
            found.retain(|found| found.entry().header.version.get() == version.written);
        }
        let row = self.row_as_of(row, version).await?.filter(|_| !found.is_empty());
        let Some(row) = row else {
            self.note_refusal(caller, filed, Refusal::NotCovered).await?;
            return Err(FhirError::not_found());
        };
        let mut opened = self.gatekeeper().give(caller.reading(), found, self.now()).await?;
        let record = opened.pop().ok_or_else(unavailable)?;
        resource_of(&row, &record)
    }

    /// A row with the status that a version of it has; `None` when there is no such status.
    async fn row_as_of(
        &self,
        row: &Row,
        version: Option<VersionId>,
    ) -> Result<Option<Row>, FhirError> {
        let Some(VersionId { status, .. }) = version else { return Ok(Some(row.clone())) };
        if status == 0 {
            return Ok(Some(row.with_status(None)));
        }
        let mut connection = self.database().readers().acquire().await?;
        let statuses = Status::all(&mut connection, row.number).await?;
        let wanted = statuses.into_iter().find(|one| one.place == status);
        Ok(wanted.map(|status| row.with_status(Some(status))))
    }

    /// The version in force of a record, or all, if the caller may read it; else there is a receipt of
    /// the refusal.
    pub(crate) async fn find_record(
        &self,
        caller: &Caller,
        filed: Filed,
        all: bool,
    ) -> Result<Vec<Found>, FhirError> {
        let versions = if all { Versions::All } else { self.versions_for(&caller.reader) };
        let (now, reading) = (self.now(), caller.reading());
        self.require_about(caller, filed).await?;
        let (found, refusals) =
            self.gatekeeper().find(reading, &[filed.record], versions, now).await?;
        let refusal = refusals.values().next().filter(|_| found.is_empty());
        let Some((_, refusal)) = refusal.copied() else { return Ok(found) };
        self.note_refusal(caller, filed, refusal).await?;
        Err(self.refused(caller, filed.patient, refusal))
    }

    /// Refuses a token for one patient what is another's, and leaves a receipt of it.
    pub(crate) async fn require_about(
        &self,
        caller: &Caller,
        filed: Filed,
    ) -> Result<(), FhirError> {
        if caller.is_about(filed.patient) {
            return Ok(());
        }
        self.note_refusal(caller, filed, Refusal::NoConsent).await?;
        Err(self.refused(caller, filed.patient, Refusal::NoConsent))
    }

    /// Refuses who is no longer what they were when they asked: for what goes on for a while.
    pub(crate) async fn require_in_force(&self, caller: &Caller) -> Result<(), FhirError> {
        let gatekeeper = self.gatekeeper();
        gatekeeper.refresh(self.now()).await?;
        let projection = gatekeeper.projection().await;
        let address = caller.reader.address();
        let reader = reader_at(&projection, gatekeeper.member(), address, self.now());
        if reader == Some(caller.reader) {
            return Ok(());
        }
        let text = "whoever asked has no part in the network any more";
        Err(FhirError::new(StatusCode::FORBIDDEN, "forbidden", text))
    }

    /// Which version somebody reads who asks for none: the institution's own people the one that they
    /// work on, everybody else the one in force.
    pub(crate) fn versions_for(&self, reader: &Reader) -> Versions {
        let own = reader.institution() == Some(self.gatekeeper().member());
        if own { Versions::Newest } else { Versions::Current }
    }

    /// What stands of a resource that is to be written.
    pub(crate) async fn before(&self, row: &Row) -> Result<Before, FhirError> {
        let Some(filed) = row.record else {
            let newest = (!row.is_deleted()).then_some(row.version);
            return Ok(Before { newest, stays: false });
        };
        self.gatekeeper().refresh(self.now()).await?;
        let standings = self.gatekeeper().standings(filed.record).await?;
        Ok(Before {
            newest: standings.newest.map(domain::RecordVersion::get),
            stays: standings.in_force.is_some(),
        })
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
        version: Option<VersionId>,
    ) -> Result<Resource, FhirError> {
        self.require_directory(caller, &row.resource_type)?;
        let row = self.row_as_of(row, version).await?.ok_or_else(FhirError::not_found)?;
        let written = version.map_or(row.version, |version| version.written);
        let mut connection = self.database().readers().acquire().await?;
        let held = self.inner.directory.read(&mut connection, &row, written).await?;
        let (updated, mut body) = held.ok_or_else(FhirError::not_found)?;
        if let (Some(status), Some(body)) = (&row.status, &mut body) {
            status.put_into(body).map_err(|_| unavailable())?;
        }
        let (version, updated) = row.given_as(written, updated);
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
        known: &Known,
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
            None => {
                let id = self.make_id();
                known.make(resource_type, &id);
                id
            }
        };
        if !r4::is_id(&id) {
            let text = "an id has 1 to 64 of the characters A-Z, a-z, 0-9, `-` and `.`";
            return Err(FhirError::bad_request(text));
        }
        copies::refuse_to_write(&id)?;
        body.set("id", &id, "resourceType");
        // What is looked at and indexed has relative references; what is kept stays as it came.
        let value: Value = serde_json::from_str(&self.relative(&body.to_string()))
            .map_err(|_| FhirError::bad_request("the body is not JSON"))?;
        validate(&value)?;
        consent::require_record(self, resource_type, &value).await?;
        let before = self.row_known(resource_type, &id, known).await?;
        catalogue::require_writable(resource_type, &id, before.as_ref())?;
        let record = if resource_type == posting::TYPE {
            posting::require_unmade(&id, &value)?;
            posting::subject_of(self, caller, &value, known).await?
        } else {
            self.subject(resource_type, &value, before.as_ref(), known).await?
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
            self.require_write(caller, record).await?;
            self.require_write(caller, before.as_ref().and_then(|before| before.record)).await?;
        }
        if let Some(filed) = record {
            self.require_relationship(filed.patient).await?;
        }
        let stands = match &before {
            None => Before::default(),
            Some(before) => self.before(before).await?,
        };
        let row = match before {
            None => Row {
                number: 0,
                resource_type: resource_type.into(),
                id,
                record,
                version: 1,
                updated: self.now_ms(),
                deletion: Deletion::No,
                status: None,
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
                let deletion = Deletion::No;
                Row { record, version, updated: self.now_ms(), deletion, ..before }
            }
        };
        Ok(Checked { row, body, value, registers, before: stands })
    }

    /// Whose record a resource is and what about; `None` when it is about no patient.
    async fn subject(
        &self,
        resource_type: &str,
        value: &Value,
        before: Option<&Row>,
        known: &Known,
    ) -> Result<Option<(Address, Kind)>, FhirError> {
        let nature = nature_of(resource_type, value)
            .map_err(|error| FhirError::unprocessable("required", error.to_string()))?;
        Ok(match nature {
            Nature::Directory => None,
            Nature::Patient => {
                let patient = self.account(value, before).await?;
                Some((patient, Kind::Demographics))
            }
            Nature::Record { patient, kind } => {
                let name = ("Patient".to_owned(), patient);
                let account = match known.get(&name).copied().flatten() {
                    Some(filed) => filed.patient,
                    None => self.patient_account(&name.1, known).await?,
                };
                Some((account, kind))
            }
        })
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
    async fn patient_account(&self, id: &str, known: &Known) -> Result<Address, FhirError> {
        let row = self.row_known("Patient", id, known).await?;
        let filed = row.filter(|row| !row.is_deleted()).and_then(|row| row.record);
        filed.map(|filed| filed.patient).ok_or_else(|| {
            FhirError::unprocessable("not-found", "the patient it is about is not here")
        })
    }

    /// Who may write: the institution's own people who care for the patient, as far as their role goes,
    /// and the institution's own systems.
    pub(crate) async fn require_write(
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
                    && self.gatekeeper().cares_for(filed.patient, person).await
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

    /// A random UUID (RFC 9562, version 4).
    pub(crate) fn make_uuid(&self) -> String {
        let mut random: [u8; 16] = self.gatekeeper().entropy().bytes();
        random[6] = random[6] & 0x0f | 0x40;
        random[8] = random[8] & 0x3f | 0x80;
        let text = hex::encode(random);
        let part = |range: std::ops::Range<usize>| &text[range];
        [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
    }

    pub(crate) fn make_id(&self) -> String {
        let random: [u8; 16] = self.gatekeeper().entropy().bytes();
        hex::encode(random)
    }

    /// Stores what was checked, and says as what it is kept.
    ///
    /// # Errors
    ///
    /// 409 when somebody else wrote meanwhile, 422 when the chain refuses, 503 when it cannot be asked.
    pub(crate) async fn store(
        &self,
        caller: &Caller,
        checked: Checked,
    ) -> Result<Stored, FhirError> {
        let Checked { row, body, value, registers, before } = checked;
        let resource = self.given_out(&row, body.clone())?;
        let Some(filed) = row.record else {
            self.store_directory(&row, Some((&body, &value))).await?;
            return Ok(Stored { resource, is_anchored: true });
        };
        let text = body.to_string().into_bytes();
        let new = self.new_record(caller, &row, filed, Content::FhirJson, text)?;
        let previous = self.previous(&row, filed).await?;
        let caring = self.caring(caller, filed).filter(|_| registers);
        let along = self.indexing(row, Some(&value), before, caring);
        let putting = self.gatekeeper().put_and_propose_along(new, previous.as_ref(), along);
        let is_anchored = is_anchored(putting.await.map(drop))?;
        self.learn_caring(caring).await;
        Ok(Stored { resource, is_anchored })
    }

    /// Whoever registers a patient begins to care for them: the patient, the professional, since when.
    pub(crate) fn caring(&self, caller: &Caller, filed: Filed) -> Option<Caring> {
        let Reader::Professional { member, .. } = caller.reader else { return None };
        Some((filed.patient, member, self.now()))
    }

    pub(crate) async fn learn_caring(&self, caring: impl IntoIterator<Item = Caring>) {
        for (patient, member, _) in caring {
            if let Err(error) = self.gatekeeper().learn_care_team(patient, member).await {
                tracing::warn!(%error, "who registered a patient cares from the next start on");
            }
        }
    }

    /// A row with its body as it is given out.
    pub(crate) fn given_out(&self, row: &Row, body: RawObject) -> Result<Resource, FhirError> {
        let version = row.version.into();
        let body = complete(body, &row.id, version, row.updated)?;
        Ok(Resource {
            resource_type: row.resource_type.clone(),
            id: row.id.clone(),
            version,
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
        copies::refuse_to_write(id)?;
        let before = self.row(resource_type, id).await?.ok_or_else(FhirError::not_found)?;
        before.refuse_to_write()?;
        self.require_write(caller, before.record).await?;
        let stands = self.before(&before).await?;
        if before.is_deleted_now(stands) {
            return Ok(before.version);
        }
        let row = self.deletion(before, stands);
        let version = row.version;
        match row.record {
            None => self.store_directory(&row, None).await?,
            Some(filed) => {
                let new = self.new_record(caller, &row, filed, Content::Other, Vec::new())?;
                let previous = self.previous(&row, filed).await?;
                let along = self.indexing(row, None, stands, None);
                let putting =
                    self.gatekeeper().put_and_propose_along(new, previous.as_ref(), along);
                is_anchored(putting.await.map(drop))?;
            }
        }
        Ok(version)
    }

    /// The version of a resource that says that it was deleted.
    pub(crate) fn deletion(&self, row: Row, before: Before) -> Row {
        let deletion = if before.stays { Deletion::Proposed } else { Deletion::Done };
        Row { version: row.version + 1, updated: self.now_ms(), deletion, ..row }
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
            let text = match self.set_back(row, filed, version).await? {
                true => {
                    "the chain refused the version before for good; read the resource and try again"
                }
                false => "the version before is not on chain yet; try again",
            };
            return Err(FhirError::new(StatusCode::CONFLICT, "conflict", text));
        };
        if workflows::record::materialise(&self.inner.gateway, &anchor).await?.is_some() {
            gatekeeper.refresh(self.now()).await?;
        }
        Ok(Some(anchor))
    }

    /// Sets a resource back to the version before one that the chain refused for good, so that somebody can
    /// go on with it; returns whether it was. It is found by what the refused version said until then.
    async fn set_back(
        &self,
        row: &Row,
        filed: Filed,
        given_up: RecordVersion,
    ) -> Result<bool, FhirError> {
        let kept = self.gatekeeper().vault().versions_of(&[filed.record]).await?;
        let before = kept.into_iter().filter(|entry| entry.header.version < given_up);
        let before = before.max_by_key(|entry| entry.header.version);
        let (inner, number) = (Arc::clone(&self.inner), row.number);
        let along: Along<'static> = Box::new(move |transaction| {
            Box::pin(async move {
                Row::set_back(transaction, number, given_up.get(), before.as_ref()).await?;
                match before {
                    None => inner.index.remove(transaction, number).await,
                    Some(_) => Ok(()),
                }
            })
        });
        Ok(self.gatekeeper().forget_given_up(filed.record, given_up, along).await?)
    }

    /// Writes row and index in the transaction that stores the record.
    fn indexing(
        &self,
        row: Row,
        value: Option<&Value>,
        before: Before,
        caring: Option<Caring>,
    ) -> Along<'static> {
        let inner = Arc::clone(&self.inner);
        let filing = self.filing(row, value, before.stays);
        Box::new(move |transaction| {
            Box::pin(async move {
                file(transaction, &inner.index, vec![filing]).await?;
                store_caring(transaction, caring).await
            })
        })
    }

    /// What is to be filed of a version.
    pub(crate) fn filing(&self, row: Row, value: Option<&Value>, stays: bool) -> Filing {
        let index = value.map(|value| self.inner.index.prepare(&row.resource_type, value));
        Filing { row, index, stays }
    }

    /// Stores a version of what is nobody's record; without content it says that the resource was deleted.
    async fn store_directory(
        &self,
        row: &Row,
        content: Option<(&RawObject, &Value)>,
    ) -> Result<(), StoreError> {
        let filing = self.filing(row.clone(), content.map(|(_, value)| value), false);
        let mut rng = self.gatekeeper().entropy().fork();
        let body = content.map(|(body, _)| body.to_string());
        let mut transaction = self.database().share().await?;
        let numbers = file(&mut transaction, &self.inner.index, vec![filing]).await?;
        for number in numbers {
            let directory = &self.inner.directory;
            directory.write(&mut transaction, (number, row), body.as_deref(), &mut rng).await?;
        }
        transaction.commit().await
    }
}

/// Stores who cares for whom from now on.
pub(crate) async fn store_caring(
    transaction: &mut vault::WriteTransaction,
    caring: impl IntoIterator<Item = Caring>,
) -> Result<(), StoreError> {
    for (patient, member, since) in caring {
        Gatekeeper::care_team_along(patient, member, since)(transaction).await?;
    }
    Ok(())
}

/// Whether what was kept is on chain already. If not it will be: that is no error, and nothing to be sent
/// again by the client.
pub(crate) fn is_anchored(outcome: Result<(), AnchorError>) -> Result<bool, FhirError> {
    match outcome {
        Ok(()) => Ok(true),
        // Refused once it was kept: something changed in between. It is given up when it is tried again.
        Err(AnchorError::Unsent(error @ (SendError::Refused(_) | SendError::Reverted { .. }))) => {
            Err(AnchorError::Send(error).into())
        }
        Err(AnchorError::Unsent(error)) => {
            tracing::warn!(%error, "a record is kept and waits for the chain");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

impl Row {
    /// Whether the institution's own people find it deleted.
    pub(crate) fn is_deleted_now(&self, before: Before) -> bool {
        // A deletion that the patient rejected is none.
        self.is_deleted() && before.newest.is_none_or(|newest| newest == self.version)
    }
}

/// A record as the resource that it is.
pub(crate) fn resource_of(row: &Row, record: &OpenedRecord) -> Result<Resource, FhirError> {
    let (version, updated) = given(row, record.version.get(), record.created);
    // A version without a JSON object says that the resource was deleted.
    let text = text_of(row, record).filter(|text| text.starts_with('{'));
    let body = match text {
        Some(text) => {
            let mut body = RawObject::parse(text.as_bytes()).map_err(|_| unavailable())?;
            if copies::is_copy(&row.id) {
                set_source(&mut body, &copies::source_of(record.steward))?;
            }
            Some(complete(body, &row.id, version, updated)?)
        }
        None => None,
    };
    Ok(Resource {
        resource_type: row.resource_type.clone(),
        id: row.id.clone(),
        version,
        updated,
        body,
    })
}

/// What a record says, in names of this server; `None` of a version that is another resource.
pub(crate) fn text_of<'r>(row: &Row, record: &'r OpenedRecord) -> Option<Cow<'r, str>> {
    match row.record {
        Some(filed) if copies::is_copy(&row.id) => {
            copies::text_of(row, record.body.get(), record.steward, filed.patient).map(Cow::Owned)
        }
        _ if row.is_of_workflow() => {
            let text = record.body.get();
            let resource_type = RawObject::parse(text.as_bytes()).ok()?.text("resourceType")?;
            if resource_type != row.resource_type {
                return None;
            }
            let Some(status) = &row.status else { return Some(text.into()) };
            let mut body = RawObject::parse(text.as_bytes()).ok()?;
            status.put_into(&mut body).ok()?;
            Some(body.to_string().into())
        }
        _ => Some(record.body.get().into()),
    }
}

/// Says in a resource whose server it came from.
fn set_source(body: &mut RawObject, source: &str) -> Result<(), FhirError> {
    let mut meta = meta_of(body)?;
    meta.set("source", &source, "");
    body.set("meta", &meta, "id");
    Ok(())
}

/// When a version of a resource was made, in milliseconds since 1970.
pub(crate) fn updated(row: &Row, version: u32, created: Timestamp) -> i64 {
    given(row, version, created).1
}

/// The name of a version of a resource, and when it was made, in milliseconds since 1970.
pub(crate) fn given(row: &Row, version: u32, created: Timestamp) -> (VersionId, i64) {
    // The row knows it better than the record, which counts in seconds; but of a workflow's document, the row
    // knows when its status changed.
    let written = if version == row.version && !row.is_of_workflow() {
        row.updated
    } else {
        milliseconds(created)
    };
    row.given_as(version, written)
}

/// Sets what the server says of a resource.
fn complete(
    mut body: RawObject,
    id: &str,
    version: VersionId,
    updated: i64,
) -> Result<RawObject, FhirError> {
    body.set("id", &id, "resourceType");
    let mut meta = meta_of(&body)?;
    meta.set("lastUpdated", &instant::text(updated), "");
    meta.set("versionId", &version.to_string(), "");
    body.set("meta", &meta, "id");
    Ok(body)
}

/// The `meta` of a resource, empty when it has none.
fn meta_of(body: &RawObject) -> Result<RawObject, FhirError> {
    match body.get("meta") {
        Some(meta) => RawObject::parse(meta.get().as_bytes()).map_err(|_| unavailable()),
        None => Ok(RawObject::default()),
    }
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
