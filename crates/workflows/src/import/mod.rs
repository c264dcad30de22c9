//! Importing existing records: read, checked, sealed, and anchored in batches.
//!
//! Files come from a folder, an archive (`.tar.zst`) or one by one: FHIR bundles, single resources, or
//! NDJSON. A file is checked as a whole before anything of it is kept: whatever is wrong with one place
//! refuses that file, says where and why, and the others go on.
//!
//! What is about no patient, such as the organisations and people that records refer to, goes into the
//! institution's directory, where whoever takes in the records keeps one ([`Beside`]).
//!
//! Importing again is harmless. A record's id follows from a key of the institution, the patient and
//! the resource's own id, so that what is here already is recognised and left alone.

mod files;
mod resources;

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::Arc,
};

use alloy_primitives::{Address, B256};
use domain::{RecordId, RecordVersion, Timestamp};
use gatekeeper::{Along, AnchorError};
use rayon::prelude::*;
use serde::Serialize;
use tokio::{sync::mpsc, task::JoinHandle};
use vault::{Content, NewRecord, StoreError};

use crate::{Gateway, WorkflowError};

pub use files::{FILE_BYTES_MAX, SourceFile, Sources, SourcesError};
pub use resources::{Identifier, ParsedEntry, ParsedFile, ParsedPatient, ParsedResource, parse};

/// Why a file was refused. Nothing of it was kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{file}: {place}: {reason}")]
pub struct FileProblem {
    /// Which file.
    pub file: String,
    /// Where in it.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

/// How an import went so far.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ImportReport {
    /// Files that were taken.
    pub files: u64,
    /// Files that were refused.
    pub problems: Vec<FileProblem>,
    /// Patients that were met.
    pub patients: u64,
    /// Records that were sealed and anchored.
    pub records: u64,
    /// Bytes of them, before sealing.
    pub bytes: u64,
    /// Records that were here already.
    pub already_here: u64,
    /// Resources that are about no patient, such as organisations, and were kept in the directory.
    pub directory: u64,
    /// Those that are not kept: of a type that the directory does not have, or there is no directory.
    pub not_records: u64,
    /// Batches that were anchored, with what each used, in gas.
    pub batches: Vec<(B256, u64)>,
}

/// Why a file is refused that brings records of somebody whom nobody brought.
const NO_PATIENT: &str = "its patient is in no file so far";

/// How many records are sealed and anchored together.
const BATCH_RECORDS: usize = 5_000;

/// How many bytes of records wait at most before they are sealed, however few they are; what one group
/// of files brings may come on top. Scanned documents are large.
const BATCH_BYTES: usize = 32 << 20;

/// How many bytes of files are parsed together, unless one file alone has more.
const PARSED_BYTES: usize = 8 << 20;

/// A record that is about to be stored.
#[derive(Clone, Copy)]
pub struct Imported<'a> {
    /// The resource's type.
    pub resource_type: &'a str,
    /// Its id.
    pub id: &'a str,
    /// What will be sealed.
    pub record: &'a NewRecord,
}

/// An answer that takes a while.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// How a resource that is about no patient stands to what is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not here and can be kept.
    New,
    /// It is here already, and stays as it is.
    Here,
    /// The directory has no such resources.
    NotServed,
    /// It cannot be kept under its type and id, and this is why.
    Refused(&'static str),
}

/// What is kept beside imported records, such as an index of them.
pub trait Beside: Send + Sync {
    /// Looks at a batch and says what to store in its transaction.
    fn along(&self, records: &[Imported<'_>]) -> Along<'static>;

    /// Why records that are not here cannot be kept under type and id; `None` for those that can.
    fn refusals<'a>(
        &'a self,
        names: &'a [(String, String)],
    ) -> Later<'a, Vec<Option<&'static str>>>;

    /// How resources that are about no patient stand to what is here.
    fn standings<'a>(&'a self, entries: &'a [ParsedEntry]) -> Later<'a, Vec<Standing>>;

    /// Keeps resources that are about no patient, each of which is new here.
    fn keep<'a>(&'a self, entries: Vec<ParsedEntry>, now: Timestamp) -> Later<'a, ()>;
}

/// A record that waits to be sealed, with the type and id of its resource.
type Waiting = (NewRecord, (String, String));

/// A file that was read and checked by itself.
type Parsed = Result<(String, ParsedFile), FileProblem>;

/// A batch on its way into vault and chain.
type Anchoring = JoinHandle<Result<(u64, B256, u64), AnchorError>>;

/// Imports into one institution's vault.
///
/// Three things go on at once: the next files are read and parsed, accounts are made for the patients
/// of these, and the records of those before are sealed and anchored.
pub struct Importer<'a> {
    steward: &'a Gateway,
    author: Address,
    /// Accounts of patients by the id under which the source knows them.
    accounts: HashMap<String, Address>,
    /// Resources taken in this run, and the file each came from.
    taken: HashMap<(String, String), usize>,
    file_names: Vec<String>,
    /// Records that the vault holds already, of the patients met so far.
    present: HashSet<RecordId>,
    waiting: Vec<Waiting>,
    waiting_bytes: usize,
    anchoring: Option<Anchoring>,
    beside: Option<Arc<dyn Beside>>,
    report: ImportReport,
}

impl<'a> Importer<'a> {
    /// Imports on behalf of `author`, by member address.
    #[must_use]
    pub fn new(steward: &'a Gateway, author: Address) -> Self {
        Self {
            steward,
            author,
            accounts: HashMap::new(),
            taken: HashMap::new(),
            file_names: Vec::new(),
            present: HashSet::new(),
            waiting: Vec::new(),
            waiting_bytes: 0,
            anchoring: None,
            beside: None,
            report: ImportReport::default(),
        }
    }

    /// Keeps something beside the records.
    #[must_use]
    pub fn with(self, beside: Arc<dyn Beside>) -> Self {
        Self { beside: Some(beside), ..self }
    }

    /// How it went so far.
    #[must_use]
    pub const fn report(&self) -> &ImportReport {
        &self.report
    }

    /// Takes in files; `accounts_of` gives the accounts of patients met for the first time, in their
    /// order, making them if need be. `progress` is told from time to time how it went so far.
    ///
    /// # Errors
    ///
    /// [`WorkflowError`] when the vault or the chain failed. A bad file is no error: it goes into the
    /// report.
    pub async fn take_all(
        &mut self,
        files: impl Iterator<Item = Result<SourceFile, FileProblem>> + Send + 'static,
        now: Timestamp,
        mut accounts_of: impl AsyncFnMut(&[ParsedPatient]) -> Result<Vec<Address>, WorkflowError>,
        mut progress: impl FnMut(&ImportReport),
    ) -> Result<(), WorkflowError> {
        // One group waits while another is parsed, so that memory stays bounded.
        let (send, mut receive) = mpsc::channel(1);
        let reading = tokio::task::spawn_blocking(move || {
            let mut files = files.fuse();
            loop {
                let parsed = parse_some(&mut files);
                if parsed.is_empty() || send.blocking_send(parsed).is_err() {
                    return;
                }
            }
        });
        while let Some(parsed) = receive.recv().await {
            self.keep(parsed, now, &mut accounts_of).await?;
            progress(&self.report);
        }
        // Nobody aborts it, so it can only have panicked, and that is ours to pass on.
        reading.await.map_err(|error| WorkflowError::Invalid(error.to_string()))
    }

    /// Keeps what is right of a group of files.
    async fn keep(
        &mut self,
        parsed: Vec<Parsed>,
        now: Timestamp,
        accounts_of: &mut impl AsyncFnMut(&[ParsedPatient]) -> Result<Vec<Address>, WorkflowError>,
    ) -> Result<(), WorkflowError> {
        let mut patients: Vec<ParsedPatient> = Vec::new();
        let mut files = Vec::new();
        for parsed in parsed {
            let checked = parsed.and_then(|(name, parsed)| {
                self.check_against_others(&name, &parsed, &patients)?;
                Ok((name, parsed))
            });
            match checked {
                Ok((name, parsed)) => {
                    self.file_names.push(name);
                    let names = parsed.resources.iter().map(ParsedResource::name);
                    self.taken.extend(names.map(|name| (name, self.file_names.len() - 1)));
                    let is_new = |patient: &&ParsedPatient| {
                        !self.accounts.contains_key(&patient.id)
                            && !patients.iter().any(|other| other.id == patient.id)
                    };
                    let new: Vec<_> = parsed.patients.iter().filter(is_new).cloned().collect();
                    let brings = new.iter().map(|patient| patient.id.clone()).collect();
                    patients.extend(new);
                    files.push((self.file_names.len() - 1, parsed, brings));
                }
                Err(problem) => self.report.problems.push(problem),
            }
        }
        let accounts = accounts_of(&patients).await?;
        for (patient, account) in patients.into_iter().zip(accounts) {
            self.note_present(account).await?;
            self.accounts.insert(patient.id, account);
            self.report.patients += 1;
        }
        for (number, parsed, brings) in files {
            self.keep_file(number, parsed, brings, now).await?;
        }
        while self.waiting.len() >= BATCH_RECORDS || self.waiting_bytes >= BATCH_BYTES {
            let rest = self.waiting.split_off(BATCH_RECORDS.min(self.waiting.len()));
            let batch = std::mem::replace(&mut self.waiting, rest);
            self.waiting_bytes = self.waiting.iter().map(|(record, _)| record.body.len()).sum();
            self.start_anchoring(batch).await?;
        }
        Ok(())
    }

    /// Keeps what is in a file that is right by itself, unless something else is here in its place.
    async fn keep_file(
        &mut self,
        number: usize,
        parsed: ParsedFile,
        brings: Vec<String>,
        now: Timestamp,
    ) -> Result<(), WorkflowError> {
        let standings = match &self.beside {
            Some(beside) => beside.standings(&parsed.directory).await?,
            None => vec![Standing::NotServed; parsed.directory.len()],
        };
        if let Some((place, reason)) = self.in_place_of(&parsed, &standings).await? {
            // Nothing of it counts, and nobody relies on it.
            for name in parsed.resources.iter().map(ParsedResource::name) {
                self.taken.remove(&name);
            }
            for patient in &brings {
                self.accounts.remove(patient);
            }
            let (file, reason) = (self.file_names[number].clone(), reason.into());
            self.report.problems.push(FileProblem { file, place, reason });
            return Ok(());
        }
        self.report.files += 1;
        let entries = parsed.directory.into_iter().zip(&standings);
        let new: Vec<ParsedEntry> = entries
            .filter_map(|(entry, standing)| (*standing == Standing::New).then_some(entry))
            .collect();
        let count =
            |wanted: Standing| standings.iter().filter(|standing| **standing == wanted).count();
        self.report.not_records += count(Standing::NotServed) as u64;
        self.report.already_here += count(Standing::Here) as u64;
        self.report.directory += new.len() as u64;
        if let Some(beside) = self.beside.as_ref().filter(|_| !new.is_empty()) {
            beside.keep(new, now).await?;
        }
        for resource in parsed.resources {
            self.queue(resource, now);
        }
        Ok(())
    }

    /// The first place of a file that something else is in the way of, and what that is.
    async fn in_place_of(
        &self,
        parsed: &ParsedFile,
        standings: &[Standing],
    ) -> Result<Option<(String, &'static str)>, WorkflowError> {
        for (entry, standing) in parsed.directory.iter().zip(standings) {
            if let Standing::Refused(reason) = standing {
                return Ok(Some((entry.place.clone(), reason)));
            }
        }
        let mut new = Vec::new();
        for resource in &parsed.resources {
            let Some(patient) = self.accounts.get(&resource.subject) else {
                // It was in a file that was refused meanwhile.
                return Ok(Some((resource.place.clone(), NO_PATIENT)));
            };
            if !self.present.contains(&self.record_id(*patient, resource)) {
                new.push(resource);
            }
        }
        let Some(beside) = &self.beside else { return Ok(None) };
        let names: Vec<(String, String)> = new.iter().map(|resource| resource.name()).collect();
        let refusals = beside.refusals(&names).await?;
        let refused = new.iter().zip(refusals).find_map(|(resource, refusal)| {
            refusal.map(|refusal| (resource.place.clone(), refusal))
        });
        Ok(refused)
    }

    /// Refuses resources that another file brought, and subjects that nobody brought.
    fn check_against_others(
        &self,
        file: &str,
        parsed: &ParsedFile,
        met: &[ParsedPatient],
    ) -> Result<(), FileProblem> {
        let problem = |place: &str, reason: String| FileProblem {
            file: file.into(),
            place: place.into(),
            reason,
        };
        for resource in &parsed.resources {
            if let Some(earlier) = self.taken.get(&resource.name()) {
                let reason = format!("this resource is in {} already", self.file_names[*earlier]);
                return Err(problem(&resource.place, reason));
            }
            let mut brought = parsed.patients.iter().chain(met);
            let known = brought.any(|patient| patient.id == resource.subject)
                || self.accounts.contains_key(&resource.subject);
            if !known {
                return Err(problem(&resource.place, NO_PATIENT.into()));
            }
        }
        Ok(())
    }

    /// Queues a resource to be sealed, unless it is here already.
    fn queue(&mut self, resource: ParsedResource, now: Timestamp) {
        let patient = self.accounts[&resource.subject];
        let record = self.record_id(patient, &resource);
        if !self.present.insert(record) {
            self.report.already_here += 1;
            return;
        }
        self.report.bytes += resource.body.len() as u64;
        self.waiting_bytes += resource.body.len();
        let name = resource.name();
        let new = NewRecord {
            record,
            version: RecordVersion::FIRST,
            patient,
            kind: resource.kind,
            content: Content::FhirJson,
            author: self.author,
            created: now,
            body: resource.body,
        };
        self.waiting.push((new, name));
    }

    /// Notes which records of a patient the vault holds already.
    async fn note_present(&mut self, patient: Address) -> Result<(), WorkflowError> {
        let listing = vault::Listing {
            patient,
            steward: Some(self.steward.member()),
            kinds: domain::KindSet::ALL,
        };
        let mut after = None;
        loop {
            let vault = self.steward.gatekeeper.vault();
            let page = vault.list(&listing, after, vault::PAGE_LEN_MAX).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.header.record);
            self.present.extend(page.iter().map(|entry| entry.header.record));
        }
    }

    /// A record's id: the same whenever the same resource is imported, random to anybody else.
    fn record_id(&self, patient: Address, resource: &ParsedResource) -> RecordId {
        let (resource_type, id) = (resource.resource_type.as_bytes(), resource.id.as_bytes());
        let name = [patient.as_slice(), resource_type, b"/", id].concat();
        RecordId(self.steward.keyed_digest("salus/record-id/v1", &name))
    }

    /// Starts sealing and anchoring a batch, when the one before is done.
    async fn start_anchoring(&mut self, batch: Vec<Waiting>) -> Result<(), WorkflowError> {
        self.end_anchoring().await?;
        let (gatekeeper, beside) = (self.steward.gatekeeper.clone(), self.beside.clone());
        let looking = tokio::task::spawn_blocking(move || {
            let along = beside.map(|beside| {
                let imported = batch.iter().map(|(record, (resource_type, id))| Imported {
                    resource_type,
                    id,
                    record,
                });
                beside.along(&imported.collect::<Vec<_>>())
            });
            let batch: Vec<NewRecord> = batch.into_iter().map(|(record, _)| record).collect();
            (batch, along)
        });
        self.anchoring = Some(tokio::spawn(async move {
            // Nobody aborts it, so it can only have panicked.
            let (batch, along) = looking.await.expect("looking at records does not panic");
            let count = batch.len() as u64;
            let anchored = match along {
                Some(along) => gatekeeper.put_and_anchor_along(batch, along).await,
                None => gatekeeper.put_and_anchor(batch).await,
            };
            let (_, root, outcome) = anchored?;
            Ok((count, root, outcome.gas_used()))
        }));
        Ok(())
    }

    /// Waits for the batch that is on its way.
    async fn end_anchoring(&mut self) -> Result<(), WorkflowError> {
        let Some(anchoring) = self.anchoring.take() else { return Ok(()) };
        let anchored = anchoring.await;
        let anchored = anchored.map_err(|error| WorkflowError::Invalid(error.to_string()))?;
        let (count, root, gas) = anchored?;
        self.report.batches.push((root, gas));
        self.report.records += count;
        Ok(())
    }

    /// Seals and anchors what is left, and says how it all went.
    ///
    /// # Errors
    ///
    /// [`WorkflowError`] when the vault or the chain failed.
    pub async fn finish(mut self) -> Result<ImportReport, WorkflowError> {
        let batch = std::mem::take(&mut self.waiting);
        if !batch.is_empty() {
            self.start_anchoring(batch).await?;
        }
        self.end_anchoring().await?;
        Ok(self.report)
    }
}

/// Reads and parses the next files, on all cores.
fn parse_some(files: &mut impl Iterator<Item = Result<SourceFile, FileProblem>>) -> Vec<Parsed> {
    let mut group = Vec::new();
    let mut bytes = 0;
    for file in files {
        bytes += file.as_ref().map_or(0, |file| file.bytes.len());
        group.push(file);
        if bytes >= PARSED_BYTES {
            break;
        }
    }
    let parse_one = |file: Result<SourceFile, FileProblem>| {
        let file = file?;
        let parsed = parse(&file)?;
        Ok((file.name, parsed))
    };
    group.into_par_iter().map(parse_one).collect()
}
