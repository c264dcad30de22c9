//! Imported records as resources: a row and its place in the index, stored together with the record; and
//! what is imported about no patient, in the directory.
//!
//! Type and id name one resource. What is imported is refused under a name that another resource has, and
//! under one that this server makes itself: it would be kept and never found.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use domain::Timestamp;
use rayon::prelude::*;
use search::Prepared;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};
use vault::{MigrateError, StoreError};
use workflows::{
    Gateway,
    import::{Beside, Imported, Later, ParsedEntry, Standing},
};

use crate::{
    catalogue, consent, copies,
    directory::Directory,
    dispatch::TYPES,
    group, provenance,
    tables::{COMPONENT, Deletion, Filed, MIGRATIONS, Row},
};

/// How many names one statement looks up.
const NAMES_PER_LOOKUP: usize = 64;

const IN_PLACE: &str = "another resource with this type and id is here";
const SERVERS_OWN: &str = "ids of this form are the server's own";

/// Makes imported records findable over FHIR.
pub struct ImportIndex {
    gateway: Gateway,
    index: Arc<search::Index>,
    directory: Option<Directory>,
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
        let index = Arc::new(search::Index::new(index_key));
        Ok(Self { gateway: gateway.clone(), index, directory: None })
    }

    /// Keeps what is about no patient as well, under the key that the directory of the gateway's
    /// [`Resources`](crate::Resources) has.
    #[must_use]
    pub fn with_directory(self, directory_key: [u8; 32]) -> Self {
        Self { directory: Some(Directory::new(directory_key)), ..self }
    }

    fn database(&self) -> &vault::Database {
        self.gateway.gatekeeper.vault().database()
    }

    fn prepare(&self, imported: &Imported<'_>) -> Option<(Row, Prepared)> {
        let Imported { resource_type, id, record } = *imported;
        if !is_served(resource_type, id) || copies::is_copy(id) {
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
            updated: milliseconds(record.created),
            deletion: Deletion::No,
            status: None,
        };
        Some((row, self.index.prepare(resource_type, &value)))
    }

    /// Which of these types and ids are taken.
    async fn taken(
        &self,
        names: &[(String, String)],
    ) -> Result<HashSet<(String, String)>, StoreError> {
        static TEXT: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
        let text = TEXT.get_or_init(|| {
            let places: Vec<String> =
                (2..=NAMES_PER_LOOKUP + 1).map(|place| format!("${place}")).collect();
            let places = places.join(", ");
            format!("select id from fhir_resources where type = $1 and id in ({places})").into()
        });
        let mut by_type: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (resource_type, id) in names {
            by_type.entry(resource_type).or_default().push(id);
        }
        let mut taken = HashSet::new();
        let mut connection = self.database().readers().acquire().await?;
        for (resource_type, ids) in by_type {
            for chunk in ids.chunks(NAMES_PER_LOOKUP) {
                let mut query = sqlx::query(AssertSqlSafe(Arc::clone(text)));
                query = query.bind(resource_type.to_owned());
                for index in 0..NAMES_PER_LOOKUP {
                    // What is left over asks for an id that nobody has.
                    query = query.bind(chunk.get(index).copied().unwrap_or_default().to_owned());
                }
                for row in query.fetch_all(&mut *connection).await? {
                    taken.insert((resource_type.to_owned(), row.try_get(0)?));
                }
            }
        }
        Ok(taken)
    }

    /// How one resource that is about no patient stands to what is here.
    async fn standing(&self, entry: &ParsedEntry) -> Result<Standing, StoreError> {
        let Some(directory) = &self.directory else { return Ok(Standing::NotServed) };
        if !is_served(&entry.resource_type, &entry.id) {
            return Ok(Standing::NotServed);
        }
        let mut connection = self.database().readers().acquire().await?;
        let Some(row) = Row::find(&mut connection, &entry.resource_type, &entry.id).await? else {
            return Ok(Standing::New);
        };
        if row.record.is_some() {
            return Ok(Standing::Refused(IN_PLACE));
        }
        let here = directory.read(&mut connection, &row, row.version).await?;
        // One that was deleted here stays deleted.
        let Some((_, Some(here))) = here else { return Ok(Standing::Here) };
        let here: Value = serde_json::from_str(&here.to_string()).unwrap_or_default();
        let brought: Value = serde_json::from_slice(&entry.body).unwrap_or_default();
        let is_same = is_same(&here, &brought);
        Ok(if is_same { Standing::Here } else { Standing::Refused(IN_PLACE) })
    }

    async fn keep_all(&self, entries: Vec<ParsedEntry>, now: Timestamp) -> Result<(), StoreError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let mut rng = self.gateway.gatekeeper.entropy().fork();
        let mut transaction = self.database().begin().await?;
        for entry in entries {
            const CORRUPT: StoreError = StoreError::Corrupt { what: "imported resource" };
            let text = std::str::from_utf8(&entry.body).map_err(|_| CORRUPT)?;
            let value: Value = serde_json::from_str(text).map_err(|_| CORRUPT)?;
            let row = Row {
                number: 0,
                resource_type: entry.resource_type,
                id: entry.id,
                record: None,
                version: 1,
                updated: milliseconds(now),
                deletion: Deletion::No,
                status: None,
            };
            let number = Row::next_number(&mut transaction).await?;
            row.insert(&mut transaction, number).await?;
            directory.write(&mut transaction, (number, &row), Some(text), &mut rng).await?;
            self.index.put(&mut transaction, number, &row.resource_type, &value).await?;
        }
        transaction.commit().await
    }
}

pub(crate) fn milliseconds(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or_default().saturating_mul(1_000)
}

/// Whether a resource can be found over FHIR.
pub(crate) fn is_served(resource_type: &str, id: &str) -> bool {
    TYPES.contains(&resource_type) && !group::is_made(resource_type) && r4::is_id(id)
}

/// Whether an id is one that this server makes for what nobody wrote.
fn is_servers_own(resource_type: &str, id: &str) -> bool {
    match resource_type {
        _ if copies::is_copy(id) || catalogue::is_record_id(id) => true,
        "Patient" => catalogue::account_in(id).is_some(),
        "Consent" => consent::is_id(id),
        "Provenance" => provenance::is_id(id),
        _ => false,
    }
}

/// Whether two resources are about the same thing: they have an identifier in common, or say the same.
fn is_same(here: &Value, brought: &Value) -> bool {
    let identifiers = |of: &Value| -> Vec<(String, String)> {
        let all = of["identifier"].as_array().cloned().unwrap_or_default();
        let text = |one: &Value, name: &str| one[name].as_str().map(str::to_owned);
        let named = all.iter().filter_map(|one| Some((text(one, "system")?, text(one, "value")?)));
        named.collect()
    };
    let theirs = identifiers(brought);
    if identifiers(here).iter().any(|identifier| theirs.contains(identifier)) {
        return true;
    }
    let said = |of: &Value| {
        let mut said = of.clone();
        if let Some(members) = said.as_object_mut() {
            members.remove("meta");
        }
        said
    };
    said(here) == said(brought)
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
                    // Names that are taken were refused. One that was taken since stops the import: what
                    // nobody finds is not kept.
                    row.insert(transaction, number).await?;
                    indexed.push((number, prepared));
                    number += 1;
                }
                index.add_prepared(transaction, indexed).await
            })
        })
    }

    fn refusals<'a>(
        &'a self,
        names: &'a [(String, String)],
    ) -> Later<'a, Vec<Option<&'static str>>> {
        Box::pin(async move {
            let taken = self.taken(names).await?;
            let refusal = |name: &(String, String)| match name {
                (resource_type, id) if is_servers_own(resource_type, id) => Some(SERVERS_OWN),
                name if taken.contains(name) => Some(IN_PLACE),
                _ => None,
            };
            Ok(names.iter().map(refusal).collect())
        })
    }

    fn standings<'a>(&'a self, entries: &'a [ParsedEntry]) -> Later<'a, Vec<Standing>> {
        Box::pin(async move {
            let mut standings = Vec::with_capacity(entries.len());
            for entry in entries {
                standings.push(self.standing(entry).await?);
            }
            Ok(standings)
        })
    }

    fn keep<'a>(&'a self, entries: Vec<ParsedEntry>, now: Timestamp) -> Later<'a, ()> {
        Box::pin(self.keep_all(entries, now))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_thing_has_an_identifier_in_common_or_says_the_same() {
        let of = |value: &str, name: &str| {
            json!({
                "id": "1", "name": name, "identifier": [{ "system": "urn:s", "value": value }],
            })
        };
        assert!(is_same(&of("7", "Clinic"), &of("7", "Clinic of the town")));
        assert!(!is_same(&of("7", "Clinic"), &of("8", "Clinic")));
        let plain = json!({ "id": "1", "name": "Ward" });
        let stamped = json!({ "id": "1", "name": "Ward", "meta": { "versionId": "3" } });
        assert!(is_same(&plain, &stamped));
        assert!(!is_same(&plain, &json!({ "id": "1", "name": "Theatre" })));
    }
}
