//! What waits for a patient's signature: sealed in the database, by the id of its grant.

use domain::{Address, RecordId, Terms};
use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use workflows::consent::Change;

use crate::{outcome::FhirError, resources::Resources};

/// How long what was filed waits for the patient, in milliseconds.
pub(super) const FILED_MS: i64 = 30 * 86_400 * 1_000;

/// A change that waits for the patient's signature.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Filed {
    pub(super) patient: Address,
    pub(super) reader: Address,
    pub(super) record: Option<RecordId>,
    /// What is to be granted; nothing takes back what was.
    pub(super) terms: Option<Terms>,
    /// How much had happened to the grant when it was filed.
    pub(super) steps: usize,
    /// In milliseconds since 1970.
    pub(super) filed: i64,
}

impl Filed {
    pub(super) const fn change(&self) -> Change {
        Change { reader: self.reader, record: self.record, terms: self.terms }
    }
}

/// Keeps a change for the patient to sign, in place of an earlier one of the same grant.
pub(super) async fn file(resources: &Resources, id: &str, filed: &Filed) -> Result<(), FhirError> {
    let text = serde_json::to_vec(filed).expect("what is filed has a JSON form");
    let mut rng = resources.gatekeeper().entropy().fork();
    let sealed = resources.inner.sealing.seal(id.as_bytes(), &text, &mut rng);
    let mut transaction = resources.database().begin().await?;
    sqlx::query(
        "insert into fhir_consent_requests (id, patient, sealed) values ($1, $2, $3)
        on conflict (id) do update set sealed = excluded.sealed",
    )
    .bind(id.to_owned())
    .bind(filed.patient.to_vec())
    .bind(sealed)
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}

pub(super) async fn forget(resources: &Resources, id: &str) -> Result<(), FhirError> {
    let mut transaction = resources.database().begin().await?;
    sqlx::query("delete from fhir_consent_requests where id = $1")
        .bind(id.to_owned())
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

/// What waits for a patient's signature, or for anybody's.
pub(super) async fn filed_of(
    resources: &Resources,
    patient: Option<Address>,
) -> Result<Vec<Filed>, FhirError> {
    let mut connection = resources.database().readers().acquire().await?;
    let query = match patient {
        Some(patient) => {
            sqlx::query("select id, sealed, patient from fhir_consent_requests where patient = $1")
                .bind(patient.to_vec())
        }
        None => sqlx::query("select id, sealed, patient from fhir_consent_requests"),
    };
    let rows = query.fetch_all(&mut *connection).await?;
    let mut all = Vec::with_capacity(rows.len());
    for row in rows {
        let (id, sealed): (String, Vec<u8>) = (row.try_get(0)?, row.try_get(1)?);
        let text = resources.inner.sealing.open(id.as_bytes(), &sealed)?;
        let filed: Filed = serde_json::from_slice(&text)
            .map_err(|_| vault::StoreError::Corrupt { what: "consent request" })?;
        // The row says whose it is only to be found; what was sealed counts.
        if filed.patient.as_slice() == row.try_get::<Vec<u8>, _>(2)? {
            all.push(filed);
        }
    }
    Ok(all)
}

/// The patient for whose signature something with this id waits.
pub(super) async fn patient_who_waits(
    resources: &Resources,
    id: &str,
) -> Result<Option<Address>, FhirError> {
    let mut connection = resources.database().readers().acquire().await?;
    let row = sqlx::query("select patient from fhir_consent_requests where id = $1")
        .bind(id.to_owned())
        .fetch_optional(&mut *connection)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let patient: Vec<u8> = row.try_get(0)?;
    Ok(Address::try_from(patient.as_slice()).ok())
}
