//! Imported records as resources: a row and its place in the index, stored together with the record.

use std::sync::Arc;

use rayon::prelude::*;
use search::Prepared;
use serde_json::Value;
use vault::{MigrateError, StoreError};
use workflows::{
    Gateway,
    import::{Beside, Imported},
};

use crate::{
    copies,
    dispatch::TYPES,
    tables::{COMPONENT, Deletion, Filed, MIGRATIONS, Row},
};

/// Makes imported records findable over FHIR.
pub struct ImportIndex {
    index: Arc<search::Index>,
}

impl ImportIndex {
    /// An index of what is imported into a gateway, under the key that its [`Resources`](crate::Resources)
    /// have.
    ///
    /// # Errors
    ///
    /// [`MigrateError`] when the tables cannot be made.
    pub async fn open(gateway: &Gateway, index_key: [u8; 32]) -> Result<Self, MigrateError> {
        let database = gateway.gatekeeper.vault().database();
        database.migrate(search::COMPONENT, search::MIGRATIONS).await?;
        database.migrate(COMPONENT, MIGRATIONS).await?;
        Ok(Self { index: Arc::new(search::Index::new(index_key)) })
    }

    fn prepare(&self, imported: &Imported<'_>) -> Option<(Row, Prepared)> {
        let Imported { resource_type, id, record } = *imported;
        if !TYPES.contains(&resource_type) || !r4::is_id(id) || copies::is_copy(id) {
            return None;
        }
        let value: Value = serde_json::from_slice(&record.body).ok()?;
        let filed = Filed { record: record.record, patient: record.patient, kind: record.kind };
        let row = Row {
            number: 0,
            resource_type: resource_type.into(),
            id: id.into(),
            record: Some(filed),
            version: record.version.get(),
            updated: i64::try_from(record.created.0).unwrap_or_default().saturating_mul(1_000),
            deletion: Deletion::No,
        };
        Some((row, self.index.prepare(resource_type, &value)))
    }
}

impl Beside for ImportIndex {
    fn along(&self, records: &[Imported<'_>]) -> gatekeeper::Along<'static> {
        let prepared: Vec<_> =
            records.par_iter().filter_map(|imported| self.prepare(imported)).collect();
        let index = Arc::clone(&self.index);
        Box::new(move |transaction| {
            Box::pin(async move {
                let mut number = Row::next_number(transaction).await?;
                let mut indexed = Vec::with_capacity(prepared.len());
                for (row, prepared) in prepared {
                    match row.insert(transaction, number).await {
                        Ok(()) => {
                            indexed.push((number, prepared));
                            number += 1;
                        }
                        // Another resource has this type and id. The record is kept all the same, and
                        // read by its own id.
                        Err(StoreError::Overtaken) => {
                            tracing::warn!("an imported record has the id of another resource");
                        }
                        Err(error) => return Err(error),
                    }
                }
                index.add_prepared(transaction, indexed).await
            })
        })
    }
}
