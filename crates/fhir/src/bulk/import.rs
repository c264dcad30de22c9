//! `$import`: lines of JSON that are uploaded, each a resource.
//!
//! Only what is uploaded is taken in: this server fetches nothing from an address that somebody names.
//! Each line is checked and decided on as if it were put by itself, and what is fine is stored in batches,
//! one Merkle batch on chain each. Patients come first, wherever they are in the upload, because other
//! lines are about them, and `Provenance` last, because it is about any of these. A line with an id replaces what is there; a line without one gets one.
//!
//! What is wrong with a line is a line of the job's error file: an `OperationOutcome` that names the
//! number of the line, from 1, and nothing of what is in it.

use std::collections::{BTreeMap, HashSet};

use axum::http::StatusCode;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Ending, Job, Made, State, What, accepted, begin, file_place, is_ndjson, is_wanted,
    require_async, seal, update,
};
use crate::{
    bundle::{Write, turn_of},
    caller::{Caller, Interaction},
    consent,
    dispatch::TYPES,
    group,
    json::RawObject,
    outcome::{FhirError, Issue, outcome},
    request::{Reply, Request},
    resources::{Known, Resources},
};

/// How many lines one import has, at most.
const LINES_MAX: usize = 100_000;

/// How long a line may be, in bytes.
const LINE_BYTES_MAX: usize = 4 << 20;

/// How many resources are stored and anchored together.
const STORED_AT_ONCE: usize = 1_000;

/// How many lines an error file has, at most.
const ERRORS_MAX: usize = 10_000;

/// Starts an import.
pub(crate) async fn kick_off(
    resources: &Resources,
    caller: &Caller,
    request: &Request,
) -> Result<Reply, FhirError> {
    require_async(request)?;
    resources.require_own(caller)?;
    let content_type = request.content_type.as_deref().unwrap_or_default();
    if !is_ndjson(content_type) {
        let text = "upload the lines themselves, as application/fhir+ndjson: this server fetches \
                    nothing from elsewhere";
        return Err(FhirError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-supported", text));
    }
    if std::str::from_utf8(&request.body).is_err() {
        return Err(FhirError::bad_request("the lines are not UTF-8"));
    }
    let lines = request.body.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).count();
    if lines == 0 {
        return Err(FhirError::bad_request("there are no lines"));
    }
    if lines > LINES_MAX {
        let text = format!("an import has at most {LINES_MAX} lines; send several");
        return Err(FhirError::new(StatusCode::PAYLOAD_TOO_LARGE, "too-costly", text));
    }
    let Some(place) = resources.inner.running.import_place() else {
        let text = "too many imports are going on; send the lines later";
        return Err(FhirError::new(StatusCode::TOO_MANY_REQUESTS, "throttled", text));
    };
    let (id, job) = begin(resources, caller, request, What::Import).await?;
    run(resources, caller, &id, job, (request.body.clone(), place));
    Ok(accepted(resources, &id))
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

fn run(
    resources: &Resources,
    caller: &Caller,
    id: &str,
    mut job: Job,
    (body, place): (axum::body::Bytes, OwnedSemaphorePermit),
) {
    resources.inner.running.begin(id);
    let ending = Ending { resources: resources.clone(), id: id.to_owned() };
    let caller = caller.clone();
    tokio::spawn(async move {
        let (resources, id) = (&ending.resources, ending.id.as_str());
        let mut importing = Importing {
            resources,
            caller: &caller,
            id,
            taken: BTreeMap::new(),
            errors: BTreeMap::new(),
            known: Known::new(),
            waiting: Vec::new(),
            names: HashSet::new(),
        };
        importing.take_all(&body).await;
        let Importing { taken, errors, .. } = importing;
        let mut files = Vec::new();
        let mut add = |made: Made, text: String| {
            files.push((job.files.len(), seal(resources, &file_place(id, job.files.len()), &text)));
            job.files.push(made);
        };
        let count = taken.values().sum();
        let said: Vec<Issue> = taken
            .iter()
            .map(|(resource_type, count)| Issue {
                severity: "information",
                code: "informational",
                diagnostics: format!("{count} of {resource_type}"),
                expression: Vec::new(),
            })
            .collect();
        let of = |count: usize, is_error: bool| Made {
            resource_type: "OperationOutcome".into(),
            count: Some(count),
            is_error,
        };
        if !said.is_empty() {
            add(of(count, false), format!("{}\n", outcome(&said)));
        }
        if !errors.is_empty() {
            let lines: String =
                errors.values().map(|error| format!("{}\n", error.outcome())).collect();
            add(of(errors.len(), true), lines);
        }
        job.state = State::Done;
        if let Err(error) = update(resources, id, &job, files).await {
            tracing::error!(%error, "what came of an import could not be stored");
        }
        drop(place);
    });
}

/// An import that is going on.
struct Importing<'a> {
    resources: &'a Resources,
    caller: &'a Caller,
    id: &'a str,
    /// How many resources were stored, by type.
    taken: BTreeMap<String, usize>,
    /// What is wrong, by the number of the line.
    errors: BTreeMap<usize, FhirError>,
    /// What waits to be stored: other lines may be about it.
    known: Known,
    waiting: Vec<(usize, StatusCode, Write)>,
    /// What waits, by type and id: nothing is written twice in one batch.
    names: HashSet<(String, String)>,
}

impl Importing<'_> {
    async fn take_all(&mut self, body: &[u8]) {
        let mut seen = 0;
        for turn in 0..=2 {
            for (index, line) in body.split(|byte| *byte == b'\n').enumerate() {
                if is_blank(line) || self.errors.len() > ERRORS_MAX {
                    continue;
                }
                let number = index + 1;
                match self.check(line, turn).await {
                    Ok(None) => continue,
                    Ok(Some((status, write))) => self.add(number, status, write).await,
                    Err(error) => self.fail(number, error),
                }
                seen += 1;
                if seen % 100 == 0 {
                    // Whoever deleted the job wants no more of it.
                    if matches!(is_wanted(self.resources, self.id).await, Ok(false)) {
                        return;
                    }
                    let text = format!("{seen} lines looked at");
                    self.resources.inner.running.progress(self.id, text);
                }
            }
            self.flush().await;
        }
    }

    fn fail(&mut self, number: usize, mut error: FhirError) {
        if self.errors.len() >= ERRORS_MAX {
            let text = "there is too much wrong; what comes after was not looked at";
            error = FhirError::unprocessable("too-costly", text);
        }
        for issue in &mut error.issues {
            issue.diagnostics = format!("line {number}: {}", issue.diagnostics);
        }
        self.errors.entry(number).or_insert(error);
    }

    /// Checks one line; `None` when it is for another turn.
    async fn check(&self, line: &[u8], turn: u8) -> Result<Option<(StatusCode, Write)>, FhirError> {
        // What cannot be read at all is told once.
        let unreadable = |error: FhirError| if turn == 0 { Err(error) } else { Ok(None) };
        if line.len() > LINE_BYTES_MAX {
            let text = format!("a line has at most {LINE_BYTES_MAX} bytes");
            return unreadable(FhirError::unprocessable("too-long", text));
        }
        let Ok(mut body) = RawObject::parse(line) else {
            let text = "it is no JSON object, or names one member twice";
            return unreadable(FhirError::bad_request(text));
        };
        let resource_type = body.text("resourceType").unwrap_or_default();
        if turn_of(&resource_type) != turn {
            return Ok(None);
        }
        if !TYPES.contains(&resource_type.as_str()) || group::is_made(&resource_type) {
            return Err(FhirError::unprocessable("not-supported", "no such type is imported here"));
        }
        if body.get("id").is_none() {
            body.set("id", &self.resources.make_id(), "resourceType");
        }
        let id = body.text("id").unwrap_or_default();
        let is_made_here = resource_type == "Consent" && consent::is_id(&id);
        if is_made_here {
            let text = "a consent on chain is filed by itself";
            return Err(FhirError::unprocessable("business-rule", text));
        }
        let there = self.resources.row(&resource_type, &id).await?;
        let interaction = if there.is_some() { Interaction::Update } else { Interaction::Create };
        self.caller.require(&resource_type, interaction)?;
        let checking =
            self.resources.check(self.caller, &resource_type, Some(&id), body, &self.known);
        let checked = checking.await?;
        let status = if checked.row.version == 1 { StatusCode::CREATED } else { StatusCode::OK };
        Ok(Some((status, Write::Put(Box::new(checked)))))
    }

    async fn add(&mut self, number: usize, status: StatusCode, write: Write) {
        let row = write.row();
        let name = (row.resource_type.clone(), row.id.clone());
        if self.names.contains(&name) {
            let text = "an earlier line is the same resource";
            return self.fail(number, FhirError::unprocessable("duplicate", text));
        }
        self.known.insert(name.clone(), row.record);
        self.names.insert(name);
        self.waiting.push((number, status, write));
        if self.waiting.len() >= STORED_AT_ONCE {
            self.flush().await;
        }
    }

    /// Stores what waits.
    async fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return;
        }
        // What is new becomes one batch, which the chain does not refuse. It may refuse a later version
        // of something, so that each of these is stored by itself.
        let (new, later): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|(_, status, _)| *status == StatusCode::CREATED);
        self.store(new).await;
        for one in later {
            self.store(vec![one]).await;
        }
        // Those that were stored are found in the database from here on.
        self.known.clear();
    }

    async fn store(&mut self, waiting: Vec<(usize, StatusCode, Write)>) {
        if waiting.is_empty() {
            return;
        }
        let lines: Vec<(usize, String)> = waiting
            .iter()
            .map(|(number, _, write)| (*number, write.row().resource_type.clone()))
            .collect();
        match self.resources.store_all(self.caller, waiting).await {
            Ok(_) => {
                for (_, resource_type) in lines {
                    *self.taken.entry(resource_type).or_default() += 1;
                }
            }
            Err(error) => {
                for (number, _) in lines {
                    self.fail(number, error.clone());
                }
            }
        }
    }
}
