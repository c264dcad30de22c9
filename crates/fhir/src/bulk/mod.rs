//! Bulk Data: many resources at once, as lines of JSON, out (`export.rs`) and in (`import.rs`).
//!
//! Both are done in the background. A job belongs to whoever started it: nobody else learns that it is
//! there. It is kept in the database, sealed, so that a restart loses none:
//!
//! - An export that was running goes on when its owner asks for its state.
//! - An import that was running has failed, and says so: what it had taken in by then stays, and can be
//!   sent again, because lines with an id replace what is there.
//!
//! **What is exported is not copied.** The files of an export hold which version of which resource is in
//! them, and nothing of it. Each is decided on when it is listed, and again when it is downloaded, chunk
//! by chunk; only then it is opened, and that leaves a receipt. So nothing is on disk in the clear, and
//! nothing comes after the block of a revocation, not even the rest of a download that has begun.
//!
//! **Nobody keeps others out.** Each reader has so many jobs and downloads; what there is to do for all
//! together is done in turns.
//!
//! # Source
//!
//! HL7 FHIR Bulk Data Access 2.0.0 (STU 2).

mod export;
mod import;
mod made;

use std::{collections::HashMap, sync::Arc};

use axum::http::StatusCode;
use domain::Address;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use vault::StoreError;

use crate::{
    caller::Caller,
    instant,
    outcome::FhirError,
    request::{Reply, Request},
    resources::Resources,
};

pub(crate) use export::{download, kick_off as export};
pub(crate) use import::kick_off as import;

/// The name under which the tables are migrated.
pub(crate) const COMPONENT: &str = "fhir-bulk";

/// One statement per step; a released step never changes.
pub(crate) const MIGRATIONS: &[&str] = &[
    // Jobs; `sealed` says what was asked for and what came of it.
    "create table fhir_bulk_jobs (
        id text not null primary key,
        owner bytea not null,
        created bigint not null,
        sealed bytea not null
    )",
    // What a job made: which resources are in a file of an export, or what an import had to say.
    "create table fhir_bulk_files (
        job text not null,
        file bigint not null,
        sealed bytea not null,
        primary key (job, file)
    )",
];

/// How many jobs somebody may have at a time. There is no limit for all together, which a few could exhaust
/// for the others; work is bounded by turns instead.
const JOBS_OF_ONE_MAX: u64 = 5;

/// How many exports are listed at a time. The others wait for their turn.
const LISTED_AT_ONCE: usize = 4;

/// How many imports there may be at a time: what was uploaded is kept in memory.
const IMPORTS_AT_ONCE: usize = 8;

/// At how many chunks of downloads is worked at a time.
const SENT_AT_ONCE: usize = 4;

/// How long a job and what it made is kept, in milliseconds.
const KEPT_MS: i64 = 24 * 3_600 * 1_000;

/// How often its owner should ask for the state of a job, in seconds.
const RETRY_AFTER_S: u32 = 1;

/// The media type of lines of JSON.
pub(crate) const NDJSON: &str = "application/fhir+ndjson";

/// Whether a media type means lines of JSON.
pub(crate) fn is_ndjson(media_type: &str) -> bool {
    let plain = media_type.split(';').next().unwrap_or_default().trim();
    matches!(plain, NDJSON | "application/ndjson" | "application/x-ndjson" | "ndjson")
}

/// A job as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    owner: Address,
    /// When it was started, in milliseconds since 1970.
    created: i64,
    /// The address that it was started with.
    request: String,
    what: What,
    state: State,
    /// What it made, in the order of the files.
    files: Vec<Made>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum What {
    Export(export::Wanted),
    Import,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Running,
    Done,
    Failed(String),
}

/// A file of a job.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Made {
    resource_type: String,
    /// How many lines, where that tells nothing of anybody.
    count: Option<usize>,
    is_error: bool,
}

/// The jobs that run in this process, with how far each is, and the turns of those that wait.
pub(crate) struct Running {
    jobs: Mutex<HashMap<String, String>>,
    listing: Semaphore,
    importing: Arc<Semaphore>,
    sending: Semaphore,
    /// How many downloads each reader has.
    downloads: Mutex<HashMap<Address, usize>>,
}

impl Default for Running {
    fn default() -> Self {
        Self {
            jobs: Mutex::default(),
            listing: Semaphore::new(LISTED_AT_ONCE),
            importing: Arc::new(Semaphore::new(IMPORTS_AT_ONCE)),
            sending: Semaphore::new(SENT_AT_ONCE),
            downloads: Mutex::default(),
        }
    }
}

impl Running {
    /// The turn to list an export, until it is dropped.
    async fn turn(&self) -> SemaphorePermit<'_> {
        self.listing.acquire().await.expect("nobody closes the semaphore")
    }

    /// The turn to work at a chunk of a download, until it is dropped.
    async fn sending_turn(&self) -> SemaphorePermit<'_> {
        self.sending.acquire().await.expect("nobody closes the semaphore")
    }

    /// A place for an import, unless there is none.
    fn import_place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.importing).try_acquire_owned().ok()
    }

    /// Takes a place for a reader's download, of so many at most.
    fn begin_download(&self, reader: Address, most: usize) -> bool {
        let mut downloads = self.downloads.lock();
        let count = downloads.entry(reader).or_default();
        let is_free = *count < most;
        *count += usize::from(is_free);
        is_free
    }

    fn end_download(&self, reader: Address) {
        let mut downloads = self.downloads.lock();
        if let Some(count) = downloads.get_mut(&reader) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                downloads.remove(&reader);
            }
        }
    }

    /// Notes that a job runs; `false` when it does already.
    fn begin(&self, id: &str) -> bool {
        self.jobs.lock().insert(id.to_owned(), "begun".into()).is_none()
    }

    fn progress(&self, id: &str, text: String) {
        if let Some(progress) = self.jobs.lock().get_mut(id) {
            *progress = text;
        }
    }

    fn end(&self, id: &str) {
        self.jobs.lock().remove(id);
    }

    fn of(&self, id: &str) -> Option<String> {
        self.jobs.lock().get(id).cloned()
    }
}

/// Ends a job's note in [`Running`] also when its task is dropped.
struct Ending {
    resources: Resources,
    id: String,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.resources.inner.running.end(&self.id);
    }
}

/// Refuses a request that does not want an answer later.
fn require_async(request: &Request) -> Result<(), FhirError> {
    if request.respond_async {
        return Ok(());
    }
    let text = "this takes a while and is answered later: send the header `Prefer: respond-async`";
    Err(FhirError::bad_request(text))
}

/// Starts to keep a job, unless its owner has too many.
async fn begin(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
    what: What,
) -> Result<(String, Job), FhirError> {
    purge(resources).await?;
    let owner = caller.reader.address();
    let pairs: Vec<String> = request
        .query
        .iter()
        .map(|(name, value)| {
            let encoded = crate::searching::encoded;
            format!("{}={}", encoded(name), encoded(value))
        })
        .collect();
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    let url = format!("{}/{}{query}", resources.base(), request.path.join("/"));
    let job = Job {
        owner,
        created: resources.now_ms(),
        request: url,
        what,
        state: State::Running,
        files: Vec::new(),
    };
    let id = resources.make_id();
    store(resources, &id, &job).await?;
    Ok((id, job))
}

/// Says where to ask for a job's state.
fn accepted(resources: &Resources, id: &str) -> Reply {
    let url = format!("{}/$bulk/{id}", resources.base());
    Reply { headers: vec![("content-location", url)], ..Reply::of(StatusCode::ACCEPTED) }
}

fn seal(resources: &Resources, place: &str, value: &impl Serialize) -> Vec<u8> {
    let text = serde_json::to_vec(value).expect("what is kept has a JSON form");
    let mut rng = resources.gatekeeper().entropy().fork();
    resources.inner.sealing.seal(place.as_bytes(), &text, &mut rng)
}

fn unseal<T: DeserializeOwned>(
    resources: &Resources,
    place: &str,
    sealed: &[u8],
) -> Result<T, StoreError> {
    let text = resources.inner.sealing.open(place.as_bytes(), sealed)?;
    serde_json::from_slice(&text).map_err(|_| StoreError::Corrupt { what: "bulk job" })
}

fn job_place(id: &str) -> String {
    format!("bulk/{id}")
}

fn file_place(id: &str, file: usize) -> String {
    format!("bulk/{id}/{file}")
}

/// Stores a new job. It is counted where it is stored, so that jobs begun at the same time are all counted.
async fn store(resources: &Resources, id: &str, job: &Job) -> Result<(), FhirError> {
    let sealed = seal(resources, &job_place(id), job);
    let mut transaction = resources.database().begin().await?;
    let row = sqlx::query("select count(*) from fhir_bulk_jobs where owner = $1")
        .bind(job.owner.to_vec())
        .fetch_one(&mut *transaction)
        .await?;
    if row.try_get::<i64, _>(0)?.unsigned_abs() >= JOBS_OF_ONE_MAX {
        let text = "there are too many bulk jobs; delete some that are done";
        return Err(FhirError::new(StatusCode::TOO_MANY_REQUESTS, "throttled", text));
    }
    sqlx::query("insert into fhir_bulk_jobs (id, owner, created, sealed) values ($1, $2, $3, $4)")
        .bind(id.to_owned())
        .bind(job.owner.to_vec())
        .bind(job.created)
        .bind(sealed)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// Stores what became of a job; `false` when it was deleted meanwhile.
async fn update(
    resources: &Resources,
    id: &str,
    job: &Job,
    files: Vec<(usize, Vec<u8>)>,
) -> Result<bool, FhirError> {
    let sealed = seal(resources, &job_place(id), job);
    let mut transaction = resources.database().begin().await?;
    let done = sqlx::query("update fhir_bulk_jobs set sealed = $2 where id = $1")
        .bind(id.to_owned())
        .bind(sealed)
        .execute(&mut *transaction)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(false);
    }
    // What an earlier attempt made is made anew.
    sqlx::query("delete from fhir_bulk_files where job = $1")
        .bind(id.to_owned())
        .execute(&mut *transaction)
        .await?;
    for (file, sealed) in files {
        sqlx::query("insert into fhir_bulk_files (job, file, sealed) values ($1, $2, $3)")
            .bind(id.to_owned())
            .bind(i64::try_from(file).unwrap_or(i64::MAX))
            .bind(sealed)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(true)
}

/// Whether a job is still wanted.
async fn is_wanted(resources: &Resources, id: &str) -> Result<bool, FhirError> {
    let mut connection = resources.database().readers().acquire().await?;
    let found = sqlx::query("select created from fhir_bulk_jobs where id = $1")
        .bind(id.to_owned())
        .fetch_optional(&mut *connection)
        .await?;
    Ok(found.is_some())
}

/// A job of the caller's.
async fn own(resources: &Resources, caller: &Caller, id: &str) -> Result<Job, FhirError> {
    let mut connection = resources.database().readers().acquire().await?;
    let row = sqlx::query("select sealed from fhir_bulk_jobs where id = $1")
        .bind(id.to_owned())
        .fetch_optional(&mut *connection)
        .await?;
    let row = row.ok_or_else(FhirError::not_found)?;
    let sealed: Vec<u8> = row.try_get(0)?;
    let job: Job = unseal(resources, &job_place(id), &sealed)?;
    let is_kept = resources.now_ms() < job.created.saturating_add(KEPT_MS);
    if job.owner != caller.reader.address() || !is_kept {
        return Err(FhirError::not_found());
    }
    Ok(job)
}

async fn file<T: DeserializeOwned>(
    resources: &Resources,
    id: &str,
    file: usize,
) -> Result<T, FhirError> {
    let mut connection = resources.database().readers().acquire().await?;
    let row = sqlx::query("select sealed from fhir_bulk_files where job = $1 and file = $2")
        .bind(id.to_owned())
        .bind(i64::try_from(file).unwrap_or(i64::MAX))
        .fetch_optional(&mut *connection)
        .await?;
    let row = row.ok_or_else(FhirError::not_found)?;
    let sealed: Vec<u8> = row.try_get(0)?;
    Ok(unseal(resources, &file_place(id, file), &sealed)?)
}

/// Forgets jobs that are over.
async fn purge(resources: &Resources) -> Result<(), FhirError> {
    let mut transaction = resources.database().begin().await?;
    let before = resources.now_ms().saturating_sub(KEPT_MS);
    sqlx::query(
        "delete from fhir_bulk_files where job in
            (select id from fhir_bulk_jobs where created <= $1)",
    )
    .bind(before)
    .execute(&mut *transaction)
    .await?;
    sqlx::query("delete from fhir_bulk_jobs where created <= $1")
        .bind(before)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// How a job stands, or what it made.
pub(crate) async fn status(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Reply, FhirError> {
    let mut job = own(resources, caller, id).await?;
    if job.state == State::Running && resources.inner.running.of(id).is_none() {
        match &job.what {
            What::Export(wanted) => {
                export::run(resources, caller, id, &job, wanted.clone());
            }
            What::Import => {
                // Of what was uploaded nothing is kept. It may have ended this very moment.
                job = own(resources, caller, id).await?;
                if job.state == State::Running {
                    let text = "the gateway was restarted during this import; send the lines again";
                    job.state = State::Failed(text.into());
                    update(resources, id, &job, Vec::new()).await?;
                }
            }
        }
    }
    match &job.state {
        State::Running => {
            let progress = resources.inner.running.of(id).unwrap_or_else(|| "begun".into());
            Ok(Reply {
                headers: vec![("x-progress", progress), ("retry-after", RETRY_AFTER_S.to_string())],
                ..Reply::of(StatusCode::ACCEPTED)
            })
        }
        State::Failed(text) => {
            Err(FhirError::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", text.clone()))
        }
        State::Done => {
            let expires = crate::instant::http_date(job.created.saturating_add(KEPT_MS));
            Ok(Reply {
                headers: vec![("expires", expires), ("content-type", "application/json".into())],
                ..Reply::json(&manifest(resources, id, &job))
            })
        }
    }
}

fn manifest(resources: &Resources, id: &str, job: &Job) -> Value {
    let files = |is_error: bool| -> Vec<Value> {
        let of_sort = job.files.iter().enumerate().filter(|(_, made)| made.is_error == is_error);
        of_sort
            .map(|(index, made)| {
                let url = format!("{}/$bulk/{id}/{index}", resources.base());
                let mut file = json!({ "type": made.resource_type, "url": url });
                if let Some(count) = made.count {
                    file["count"] = count.into();
                }
                file
            })
            .collect()
    };
    json!({
        "transactionTime": instant::text(job.created),
        "request": job.request,
        "requiresAccessToken": true,
        "output": files(false),
        "error": files(true),
    })
}

/// Stops a job, and forgets what it made.
pub(crate) async fn delete(
    resources: &Resources,
    caller: &Caller,
    id: &str,
) -> Result<Reply, FhirError> {
    own(resources, caller, id).await?;
    let mut transaction = resources.database().begin().await?;
    for text in
        ["delete from fhir_bulk_files where job = $1", "delete from fhir_bulk_jobs where id = $1"]
    {
        sqlx::query(text).bind(id.to_owned()).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Reply::of(StatusCode::ACCEPTED))
}
