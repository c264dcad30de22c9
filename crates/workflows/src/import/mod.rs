//! Importing existing records: read, checked, sealed, and anchored in batches.
//!
//! Files come from a folder, an archive (`.tar.zst`) or one by one: FHIR bundles, single resources, or
//! NDJSON. A file is checked as a whole before anything of it is kept: whatever is wrong with one place
//! refuses that file, says where and why, and the others go on.
//!
//! Importing again is harmless. A record's id follows from a key of the institution, the patient and
//! the resource's own id, so that what is here already is recognised and left alone.

mod files;
mod resources;

use std::collections::{HashMap, HashSet};

use alloy_primitives::{Address, B256};
use domain::{RecordId, RecordVersion, Timestamp};
use serde::Serialize;
use vault::{Content, NewRecord};

use crate::{Gateway, WorkflowError};

pub use files::{FILE_BYTES_MAX, SourceFile, Sources, SourcesError};
pub use resources::{Identifier, ParsedFile, ParsedPatient, ParsedResource, parse};

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
    /// Resources that are not about a patient, such as organisations: not records, and not kept.
    pub not_records: u64,
    /// Batches that were anchored, with what each used, in gas.
    pub batches: Vec<(B256, u64)>,
}

/// How many records are sealed and anchored together.
const BATCH_RECORDS: usize = 5_000;

/// Imports into one institution's vault.
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
    waiting: Vec<NewRecord>,
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
            report: ImportReport::default(),
        }
    }

    /// How it went so far.
    #[must_use]
    pub const fn report(&self) -> &ImportReport {
        &self.report
    }

    /// Takes in one file; `account_of` gives the account of a patient met for the first time, making
    /// one if need be.
    ///
    /// # Errors
    ///
    /// [`WorkflowError`] when the vault or the chain failed. A bad file is no error: it goes into the
    /// report.
    pub async fn take(
        &mut self,
        file: Result<SourceFile, FileProblem>,
        now: Timestamp,
        account_of: impl AsyncFnMut(&ParsedPatient) -> Result<Address, WorkflowError>,
    ) -> Result<(), WorkflowError> {
        let parsed = file.and_then(|file| {
            let parsed = parse(&file)?;
            self.check_against_others(&file.name, &parsed)?;
            Ok((file.name, parsed))
        });
        match parsed {
            Ok((name, parsed)) => self.keep(name, parsed, now, account_of).await,
            Err(problem) => {
                self.report.problems.push(problem);
                Ok(())
            }
        }
    }

    /// Refuses resources that another file brought, and subjects that nobody brought.
    fn check_against_others(&self, file: &str, parsed: &ParsedFile) -> Result<(), FileProblem> {
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
            let known = parsed.patients.iter().any(|patient| patient.id == resource.subject)
                || self.accounts.contains_key(&resource.subject);
            if !known {
                return Err(problem(&resource.place, "its patient is in no file so far".into()));
            }
        }
        Ok(())
    }

    async fn keep(
        &mut self,
        name: String,
        parsed: ParsedFile,
        now: Timestamp,
        mut account_of: impl AsyncFnMut(&ParsedPatient) -> Result<Address, WorkflowError>,
    ) -> Result<(), WorkflowError> {
        for patient in &parsed.patients {
            if self.accounts.contains_key(&patient.id) {
                continue;
            }
            let account = account_of(patient).await?;
            self.note_present(account).await?;
            self.accounts.insert(patient.id.clone(), account);
            self.report.patients += 1;
        }
        self.file_names.push(name);
        self.report.files += 1;
        self.report.not_records += parsed.not_records;
        for resource in parsed.resources {
            self.taken.insert(resource.name(), self.file_names.len() - 1);
            let patient = self.accounts[&resource.subject];
            let record = self.record_id(patient, &resource);
            if !self.present.insert(record) {
                self.report.already_here += 1;
                continue;
            }
            self.report.bytes += resource.body.len() as u64;
            self.waiting.push(NewRecord {
                record,
                version: RecordVersion::FIRST,
                patient,
                kind: resource.kind,
                content: Content::FhirJson,
                author: self.author,
                created: now,
                body: resource.body,
            });
        }
        while self.waiting.len() >= BATCH_RECORDS {
            let rest = self.waiting.split_off(BATCH_RECORDS);
            let batch = std::mem::replace(&mut self.waiting, rest);
            self.seal_and_anchor(batch).await?;
        }
        Ok(())
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

    async fn seal_and_anchor(&mut self, batch: Vec<NewRecord>) -> Result<(), WorkflowError> {
        let count = batch.len() as u64;
        let (_, root, outcome) = self.steward.gatekeeper.put_and_anchor(batch).await?;
        self.report.batches.push((root, outcome.gas_used()));
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
            self.seal_and_anchor(batch).await?;
        }
        Ok(self.report)
    }
}
