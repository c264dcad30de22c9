//! `$export`: everything, everything of patients, or everything of a group of them.
//!
//! Who exports what is nobody's privilege: each resource is decided on as in a search, and what the
//! caller may not read is not there. A token with `system/*.rs` gets what its client may read, one with
//! `patient/*.rs` what is about that patient.
//!
//! `_type`, `_since` and `_outputFormat` are understood. Other parameters are refused, unless the client
//! says `Prefer: handling=lenient`.

use std::collections::{BTreeMap, HashMap};

use axum::{
    body::{Body, Bytes},
    http::StatusCode,
};
use domain::{Address, KindSet, RecordId};
use futures_util::stream;
use gatekeeper::{Found, Versions};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;

use super::{
    Ending, Job, Made, NDJSON, State, What, accepted, begin, file, file_place, is_ndjson,
    is_wanted, made, own, require_async, seal, update,
};
use crate::{
    caller::{Caller, Interaction},
    dispatch::TYPES,
    group, instant,
    outcome::FhirError,
    reached::{Reached, kinds_of},
    request::{Reply, Request, Streamed},
    resources::{Resources, resource_of, updated},
    tables::Row,
};

/// How many resources are in one file, at most.
const LINES_MAX: usize = 10_000;

/// How many resources one export has, at most.
const RESOURCES_MAX: usize = 1_000_000;

/// How many rows are looked at between two looks whether the job is still wanted.
const LISTED_AT_ONCE: usize = 500;

/// How many downloads somebody may have at a time.
const DOWNLOADS_OF_ONE_MAX: usize = 4;

/// How many resources are decided on, opened and sent at a time.
const SENT_AT_ONCE: usize = 100;

/// What an export is to give.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    types: Vec<String>,
    /// Only what changed since, in milliseconds since 1970.
    since: i64,
    /// Only these patients, by account; all of them when there is no list.
    patients: Option<Vec<Address>>,
    /// Whether what is about no patient is given too.
    directory: bool,
    /// What is made when it is asked for, of the types that were named.
    #[serde(default)]
    made: Vec<String>,
}

/// One resource of a file: its number, and the version.
type Line = (i64, u32);

/// What is in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Content {
    Kept(Vec<Line>),
    Made(made::Asked),
}

/// Starts an export.
pub(crate) async fn kick_off(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
) -> Result<Reply, FhirError> {
    require_async(request)?;
    let (patients, directory) = match request.path.as_slice() {
        [_] => (None, true),
        [of_patients, _] if of_patients == "Patient" => (None, false),
        [_, id, _] => (Some(group::members(resources, caller, id).await?), false),
        _ => return Err(FhirError::not_found()),
    };
    let mut since = i64::MIN;
    let mut asked: Option<Vec<&str>> = None;
    if !request.body.is_empty() && request.body.as_ref() != b"{}" {
        let text = "the parameters of an export are in its URL";
        return Err(FhirError::unprocessable("not-supported", text));
    }
    for (name, value) in &request.query {
        match name.as_str() {
            "_outputFormat" if is_ndjson(value) => {}
            "_outputFormat" => {
                return Err(FhirError::bad_request(format!("the only output format is {NDJSON}")));
            }
            "_since" => {
                since = instant::parse(value).ok_or_else(|| {
                    FhirError::bad_request("_since is an instant, such as 2026-01-01T00:00:00Z")
                })?;
            }
            "_type" => asked.get_or_insert_default().extend(value.split(',')),
            "_format" | "_pretty" => {}
            _ if request.lenient => {}
            _ => {
                let text = "an export understands _type, _since and _outputFormat; with `Prefer: \
                            handling=lenient` others are passed over";
                return Err(FhirError::bad_request(text));
            }
        }
    }
    let may = |name: &&str| caller.require(name, Interaction::Read).is_ok();
    let made = made::named(asked.as_deref().unwrap_or_default());
    let types: Vec<&str> = match asked {
        Some(asked) => {
            for name in &asked {
                if !TYPES.contains(name) || *name == "Group" {
                    let text = "_type names a type that is not exported; see /metadata";
                    return Err(FhirError::bad_request(text));
                }
                caller.require(name, Interaction::Read)?;
            }
            asked
        }
        None => TYPES.iter().copied().filter(|name| !group::is_made(name)).filter(may).collect(),
    };
    if types.is_empty() {
        let text = "the token allows to read no type of resource";
        return Err(FhirError::new(StatusCode::FORBIDDEN, "forbidden", text));
    }
    let mut types: Vec<String> = types.into_iter().map(str::to_owned).collect();
    types.sort();
    types.dedup();
    let wanted = Wanted { types, since, patients, directory, made };
    let what = What::Export(wanted.clone());
    let (id, job) = begin(resources, caller, request, what).await?;
    run(resources, caller, &id, &job, wanted);
    Ok(accepted(resources, &id))
}

/// Lists in the background what an export gives, unless that is being done already.
pub(super) fn run(resources: &Resources, caller: &Caller, id: &str, job: &Job, wanted: Wanted) {
    if !resources.inner.running.begin(id) {
        return;
    }
    let ending = Ending { resources: resources.clone(), id: id.to_owned() };
    let (caller, mut job) = (caller.clone(), job.clone());
    tokio::spawn(async move {
        let (resources, id) = (&ending.resources, ending.id.as_str());
        // The others wait, so that nobody's jobs keep those of others from being begun.
        let turn = resources.inner.running.turn().await;
        let mut reached = Reached::default();
        let listed = list(resources, &caller, id, &wanted, &mut reached).await;
        let listed = reached.answer(resources, &caller, listed).await;
        drop(turn);
        let mut files = Vec::new();
        let period = (wanted.since, job.created);
        let made = made::files(resources, &wanted.made, period, wanted.patients.as_ref()).await;
        match listed.and_then(|listed| Ok(listed.zip(Some(made?)))) {
            Ok(None) => return,
            Ok(Some((listed, made))) => {
                for (resource_type, lines) in listed {
                    for chunk in lines.chunks(LINES_MAX) {
                        let place = file_place(id, job.files.len());
                        files.push((job.files.len(), seal(resources, &place, &chunk)));
                        let resource_type = resource_type.clone();
                        // How many there are is decided anew with each download.
                        job.files.push(Made { resource_type, count: None, is_error: false });
                    }
                }
                for asked in made {
                    let place = file_place(id, job.files.len());
                    files.push((job.files.len(), seal(resources, &place, &asked)));
                    let resource_type = asked.made;
                    job.files.push(Made { resource_type, count: None, is_error: false });
                }
                job.state = State::Done;
            }
            Err(error) => {
                let text = error.issues.first().map(|issue| issue.diagnostics.clone());
                job.state = State::Failed(text.unwrap_or_default());
            }
        }
        if let Err(error) = update(resources, id, &job, files).await {
            tracing::error!(%error, "what came of an export could not be stored");
        }
    });
}

/// What an export gives, by type; `None` when nobody wants it any more.
async fn list(
    resources: &Resources,
    caller: &Caller,
    id: &str,
    wanted: &Wanted,
    reached: &mut Reached,
) -> Result<Option<BTreeMap<String, Vec<Line>>>, FhirError> {
    let mut listed: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    let (mut after, mut count) = (0, 0_usize);
    for patient in wanted.patients.iter().flatten() {
        let kinds = wanted.types.iter().map(|of| kinds_of(of));
        reached.name(*patient, kinds.fold(KindSet::EMPTY, KindSet::union));
    }
    let only = caller.only_patient();
    loop {
        if !is_wanted(resources, id).await? {
            return Ok(None);
        }
        let rows = rows_after(resources, only, after).await?;
        let Some(last) = rows.last() else { break };
        after = last.number;
        let is_meant = |row: &Row| {
            let is_of_group = match (&wanted.patients, row.record) {
                (None, Some(_)) => true,
                (None, None) => wanted.directory,
                (Some(patients), Some(filed)) => patients.contains(&filed.patient),
                (Some(_), None) => false,
            };
            is_of_group && row.updated >= wanted.since && wanted.types.contains(&row.resource_type)
        };
        let rows: Vec<Row> = rows.into_iter().filter(is_meant).collect();
        let versions = resources.versions_for(&caller.reader);
        let mut found = permitted(resources, caller, &rows, versions, reached).await?;
        for row in rows {
            let version = match row.record {
                None if resources.require_directory(caller, &row.resource_type).is_ok() => {
                    row.version
                }
                None => continue,
                Some(filed) => {
                    let Some(found) = found.remove(&filed.record).and_then(|mut all| all.pop())
                    else {
                        continue;
                    };
                    let header = &found.entry().header;
                    // The version that the caller reads may be older than the newest.
                    if updated(&row, header.version.get(), header.created) < wanted.since {
                        continue;
                    }
                    // That there is something of a type is said by the list of files.
                    reached.count([filed]);
                    header.version.get()
                }
            };
            listed.entry(row.resource_type).or_default().push((row.number, version));
            count += 1;
        }
        if count > RESOURCES_MAX {
            let text = format!("more than {RESOURCES_MAX} resources; use _type or _since");
            return Err(FhirError::unprocessable("too-costly", text));
        }
        // Only what the caller may read: what was looked at would say how much there is.
        resources.inner.running.progress(id, format!("{count} resources listed"));
    }
    Ok(Some(listed))
}

/// The next resources that are not deleted, by number: all of them, or what is about one patient and
/// what is about none.
pub(super) async fn rows_after(
    resources: &Resources,
    only: Option<Address>,
    after: i64,
) -> Result<Vec<Row>, FhirError> {
    let mut connection = resources.database().readers().acquire().await?;
    let text = match only {
        Some(_) => {
            "select number from fhir_resources where number > $1 and deleted <> 1
                and (patient = $3 or patient is null) order by number limit $2"
        }
        None => {
            "select number from fhir_resources where number > $1 and deleted <> 1
            order by number limit $2"
        }
    };
    let limit = i64::try_from(LISTED_AT_ONCE).unwrap_or(i64::MAX);
    let mut query = sqlx::query(text).bind(after).bind(limit);
    if let Some(only) = only {
        query = query.bind(only.to_vec());
    }
    let numbers: Vec<i64> = query
        .fetch_all(&mut *connection)
        .await?
        .iter()
        .map(|row| row.try_get(0))
        .collect::<Result<_, sqlx::Error>>()?;
    Ok(Row::all_numbered(&mut connection, &numbers).await?)
}

/// What of these the caller may read now, by record.
async fn permitted(
    resources: &Resources,
    caller: &Caller,
    rows: &[Row],
    versions: Versions,
    reached: &mut Reached,
) -> Result<HashMap<RecordId, Vec<Found>>, FhirError> {
    let records: Vec<RecordId> = rows
        .iter()
        .filter_map(|row| row.record)
        .filter(|filed| caller.is_about(filed.patient))
        .map(|filed| filed.record)
        .collect();
    let (gatekeeper, now) = (resources.gatekeeper(), resources.now());
    let (found, refusals) = gatekeeper.find(caller.reading(), &records, versions, now).await?;
    reached.refuse(refusals);
    let mut by_record: HashMap<RecordId, Vec<Found>> = HashMap::new();
    for found in found {
        by_record.entry(found.entry().header.record).or_default().push(found);
    }
    Ok(by_record)
}

/// Sends a file of a job.
pub(crate) async fn download(
    resources: &Resources,
    caller: &Caller,
    id: &str,
    number: &str,
) -> Result<Reply, FhirError> {
    let job = own(resources, caller, id).await?;
    let number: usize = number.parse().map_err(|_| FhirError::not_found())?;
    let listed = job.files.get(number).filter(|_| job.state == State::Done);
    let listed = listed.ok_or_else(FhirError::not_found)?;
    let body = match job.what {
        What::Import => {
            let text: String = file(resources, id, number).await?;
            Body::from(text)
        }
        What::Export(_) => {
            caller.require(&listed.resource_type, Interaction::Read)?;
            let content = file(resources, id, number).await?;
            let place = Downloading::begin(resources, caller)?;
            match content {
                Content::Kept(lines) => kept(place, caller, &lines),
                Content::Made(asked) => made::body(place, caller, asked),
            }
        }
    };
    Ok(Reply {
        headers: vec![("content-type", NDJSON.into())],
        stream: Some(Streamed::new(body)),
        ..Reply::of(StatusCode::OK)
    })
}

/// The place of a download among those of the same reader, until it is dropped.
pub(super) struct Downloading {
    pub(super) resources: Resources,
    reader: Address,
}

impl Downloading {
    fn begin(resources: &Resources, caller: &Caller) -> Result<Self, FhirError> {
        let reader = caller.reader.address();
        if resources.inner.running.begin_download(reader, DOWNLOADS_OF_ONE_MAX) {
            return Ok(Self { resources: resources.clone(), reader });
        }
        let text = "there are too many downloads at a time; wait until one is done";
        Err(FhirError::new(StatusCode::TOO_MANY_REQUESTS, "throttled", text))
    }
}

impl Drop for Downloading {
    fn drop(&mut self) {
        self.resources.inner.running.end_download(self.reader);
    }
}

/// A file while it is sent.
struct Sending {
    place: Downloading,
    caller: Caller,
    /// Whom this download reached, so that each is told of a refusal once.
    refused: Reached,
}

impl Sending {
    /// The next lines, as far as they may still be read.
    async fn send(&mut self, chunk: &[Line]) -> Result<Bytes, FhirError> {
        let resources = &self.place.resources;
        // Held while there is work, not while the client takes its time.
        let _turn = resources.inner.running.sending_turn().await;
        let lines = send(resources, &self.caller, chunk, &mut self.refused).await;
        self.refused.settle(resources, &self.caller).await?;
        lines
    }
}

/// The lines of a file of what is kept, opened as they are sent.
fn kept(place: Downloading, caller: &Caller, lines: &[Line]) -> Body {
    let chunks: Vec<Vec<Line>> = lines.chunks(SENT_AT_ONCE).map(<[Line]>::to_vec).collect();
    let sending = Sending { place, caller: caller.clone(), refused: Reached::default() };
    let sending = (sending, chunks.into_iter());
    Body::from_stream(stream::try_unfold(sending, async |(mut sending, mut rest)| {
        let Some(chunk) = rest.next() else { return Ok(None) };
        let lines = sending.send(&chunk).await?;
        Ok::<_, FhirError>(Some((lines, (sending, rest))))
    }))
}

/// The next lines of a file, as far as they may still be read.
async fn send(
    resources: &Resources,
    caller: &Caller,
    chunk: &[Line],
    reached: &mut Reached,
) -> Result<Bytes, FhirError> {
    resources.require_in_force(caller).await?;
    resources.keep_up_or_warn().await?;
    let numbers: Vec<i64> = chunk.iter().map(|(number, _)| *number).collect();
    let rows = {
        let mut connection = resources.database().readers().acquire().await?;
        Row::all_numbered(&mut connection, &numbers).await?
    };
    let versions: HashMap<i64, u32> = chunk.iter().copied().collect();
    let mut found = permitted(resources, caller, &rows, Versions::All, reached).await?;
    let mut founds = Vec::new();
    for row in &rows {
        let version = versions.get(&row.number);
        let all = row.record.and_then(|filed| found.remove(&filed.record)).unwrap_or_default();
        founds.extend(
            all.into_iter().find(|found| Some(&found.entry().header.version.get()) == version),
        );
    }
    let given = resources.gatekeeper().give(caller.reading(), founds, resources.now()).await?;
    let mut given: HashMap<RecordId, _> =
        given.into_iter().map(|record| (record.record, record)).collect();
    let mut text = String::new();
    for row in &rows {
        let resource = match row.record {
            Some(filed) => match given.remove(&filed.record) {
                Some(record) => resource_of(row, &record)?,
                None => continue,
            },
            None => {
                // The newest is given out as it stands now.
                let version = versions.get(&row.number).filter(|one| **one != row.version);
                let version = version.map(|version| (*version).into());
                resources.read_directory(caller, row, version).await?
            }
        };
        if let Some(body) = resource.body {
            text.push_str(&body.to_string());
            text.push('\n');
        }
    }
    Ok(text.into())
}
