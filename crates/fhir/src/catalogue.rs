//! What workflows seal, as resources of this server: a row and its place in the index, stored together with
//! the record.
//!
//! Such a resource has the record's own id, in 64 digits, by which contracts and the workflow's other documents
//! name it; its patient is `Patient/ACCOUNT` in it, which is read and searched for as whoever has that account
//! here. It is read and found like any other. It changes by the steps of its workflow only: a version that
//! came otherwise would not be the one that the contract holds. Where the workflow stands since is shown beside
//! it (`statuses.rs`).
//!
//! The protocol of a study is about nobody. Who runs the study or takes part keeps it in the directory.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::Address;
use gatekeeper::{Along, Entropy};
use search::Prepared;
use serde_json::Value;
use vault::{Content, MigrateError, NewRecord, StoreError};
use workflows::{Catalogue, Study, import::Later};

use crate::{
    copies::{self, is_copy},
    directory::Directory,
    following::note_late,
    importing::{is_served, milliseconds},
    outcome::FhirError,
    tables::{COMPONENT, Deletion, Filed, MIGRATIONS, Row},
};

/// Makes findable over FHIR what workflows seal.
pub struct WorkflowCatalogue {
    database: vault::Database,
    index: Arc<search::Index>,
    directory: Option<(Directory, Entropy)>,
}

impl WorkflowCatalogue {
    /// The catalogue of a gateway with this database, under the key that its
    /// [`Resources`](crate::Resources) have.
    ///
    /// # Errors
    ///
    /// [`MigrateError`] when the tables cannot be made.
    pub async fn open(
        database: &vault::Database,
        index_key: [u8; 32],
    ) -> Result<Self, MigrateError> {
        database.migrate(search::COMPONENT, search::MIGRATIONS).await?;
        database.migrate(COMPONENT, MIGRATIONS).await?;
        let index = Arc::new(search::Index::new(index_key));
        Ok(Self { database: database.clone(), index, directory: None })
    }

    /// Keeps the protocols of studies as well, which are about nobody, under the key that the directory of the
    /// gateway's [`Resources`](crate::Resources) has.
    #[must_use]
    pub fn with_directory(self, directory_key: [u8; 32], entropy: Entropy) -> Self {
        Self { directory: Some((Directory::new(directory_key), entropy)), ..self }
    }

    fn prepare(&self, version: &NewRecord) -> Option<(Row, Filed, Prepared)> {
        if version.content != Content::FhirJson {
            return None;
        }
        let value: Value = serde_json::from_slice(&version.body).ok()?;
        let resource_type = value["resourceType"].as_str()?;
        let id = format!("{:x}", version.record.0);
        if !is_served(resource_type, &id) {
            return None;
        }
        let filed = Filed { record: version.record, patient: version.patient, kind: version.kind };
        let row = Row {
            number: 0,
            resource_type: resource_type.into(),
            id,
            record: Some(filed),
            version: version.version.get(),
            updated: milliseconds(version.created),
            deletion: Deletion::No,
            status: None,
        };
        let prepared = self.index.prepare(resource_type, &value);
        Some((row, filed, prepared))
    }
}

impl Catalogue for WorkflowCatalogue {
    fn along(&self, version: &NewRecord) -> Along<'static> {
        let (prepared, index) = (self.prepare(version), Arc::clone(&self.index));
        Box::new(move |transaction| {
            Box::pin(async move {
                let Some((row, filed, prepared)) = prepared else { return Ok(()) };
                match Row::of_record(transaction, filed.patient, filed.record).await? {
                    None => {
                        let number = Row::next_number(transaction).await?;
                        row.insert(transaction, number).await?;
                        index.add_prepared(transaction, vec![(number, prepared)]).await
                    }
                    // Whoever knows the resource by its type does not come to read another one.
                    Some(kept) if kept.resource_type != row.resource_type => Ok(()),
                    Some(kept) => {
                        row.bring_up(transaction, kept.number).await?;
                        index.widen_prepared(transaction, kept.number, prepared).await?;
                        kept.index_status(transaction, &index).await
                    }
                }
            })
        })
    }

    fn keep_study<'a>(&'a self, study: Study<'a>) -> Later<'a, ()> {
        Box::pin(self.keep_study_in_directory(study))
    }
}

impl WorkflowCatalogue {
    async fn keep_study_in_directory(&self, study: Study<'_>) -> Result<(), StoreError> {
        let Some((directory, entropy)) = &self.directory else { return Ok(()) };
        let Study { id, version, resource, now } = study;
        let row = Row {
            number: 0,
            resource_type: STUDY.into(),
            id: format!("{id:x}"),
            record: None,
            version: version.into(),
            updated: milliseconds(now),
            deletion: Deletion::No,
            status: None,
        };
        let (text, prepared) = (resource.to_string(), self.index.prepare(STUDY, resource));
        let mut rng = entropy.fork();
        let mut transaction = self.database.begin().await?;
        let kept = Row::find(&mut transaction, STUDY, &row.id).await?;
        let number = match &kept {
            Some(kept) if kept.version >= row.version => return Ok(()),
            Some(kept) => kept.number,
            None => Row::next_number(&mut transaction).await?,
        };
        directory.write(&mut transaction, (number, &row), Some(&text), &mut rng).await?;
        match kept {
            Some(kept) => {
                row.bring_up(&mut transaction, number).await?;
                self.index.remove(&mut transaction, number).await?;
                self.index.add_prepared(&mut transaction, vec![(number, prepared)]).await?;
                kept.index_status(&mut transaction, &self.index).await?;
            }
            None => {
                row.insert(&mut transaction, number).await?;
                self.index.add_prepared(&mut transaction, vec![(number, prepared)]).await?;
                // It may have come a long way already.
                note_late(&mut transaction, id).await?;
            }
        }
        transaction.commit().await
    }
}

/// The type of a study.
const STUDY: &str = "ResearchStudy";

impl Row {
    /// Whether a workflow sealed it.
    pub(crate) fn is_of_workflow(&self) -> bool {
        self.record.is_some_and(|filed| self.id == format!("{:x}", filed.record.0))
    }

    /// Refuses to write over FHIR what a workflow sealed, and what is a copy.
    pub(crate) fn refuse_to_write(&self) -> Result<(), FhirError> {
        copies::refuse_to_write(&self.id)?;
        if !self.is_of_workflow() {
            return Ok(());
        }
        let text =
            "this is a document of a workflow, which changes by the steps of that workflow only";
        Err(FhirError::new(StatusCode::FORBIDDEN, "forbidden", text))
    }
}

/// The account that an id of a `Patient` is; such ids name nobody else.
pub(crate) fn account_in(id: &str) -> Option<Address> {
    id.starts_with("0x").then(|| id.parse().ok())?
}

/// Whether an id has the form of a record's, which are not given out to anything else: whoever knows what a
/// record will be called could take its name before.
pub(crate) fn is_record_id(id: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    id.len() == 64 && id.bytes().all(is_digit)
}

/// Refuses to write over FHIR what a workflow sealed, and what would have the name of such a document or of
/// whoever has an account.
pub(crate) fn require_writable(
    resource_type: &str,
    id: &str,
    before: Option<&Row>,
) -> Result<(), FhirError> {
    if let Some(before) = before {
        return before.refuse_to_write();
    }
    if is_record_id(id) {
        let text = "ids of 64 hexadecimal digits are those of workflows' documents; choose another";
        return Err(FhirError::unprocessable("business-rule", text));
    }
    if resource_type == "Patient" && account_in(id).is_some() {
        let text = "an account is no id of a patient's resource; name it as an identifier";
        return Err(FhirError::unprocessable("business-rule", text));
    }
    Ok(())
}

/// As whom a patient with an account is named in what workflows seal.
pub(crate) fn patient_with(account: Address) -> String {
    format!("Patient/{account}")
}

impl crate::Resources {
    /// The row of a resource, also of a patient who is named by account. Of several patients of this server
    /// who have one account, it is the first.
    pub(crate) async fn row_named(
        &self,
        resource_type: &str,
        id: &str,
    ) -> Result<Option<Row>, FhirError> {
        let Some(account) = account_in(id).filter(|_| resource_type == "Patient") else {
            return self.row(resource_type, id).await;
        };
        let mut connection = self.database().readers().acquire().await?;
        let rows = Row::patients_with(&mut connection, account).await?;
        Ok(rows.into_iter().find(|row| !is_copy(&row.id)))
    }
}
