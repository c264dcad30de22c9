//! Resources that are about no patient: organisations, people who work there, places, medicines.
//!
//! They are sealed in the database like everything else, under one key of the gateway: a list of a
//! clinic's staff is nobody's business who steals a disk. They are not anchored, because nobody's consent
//! governs them.
//!
//! ```text
//! sealed   nonce [12] | AES-256-GCM of the JSON text, with `number u64 | version u64` as associated data
//! ```

use aes_gcm::{
    Aes256Gcm, KeyInit as _,
    aead::{Aead as _, Payload},
};
use rand_core::CryptoRng;
use sqlx::{AnyConnection, Row as _};
use vault::StoreError;

use crate::{json::RawObject, tables::Row};

const NONCE_LEN: usize = 12;

const CORRUPT: StoreError = StoreError::Corrupt { what: "directory resource" };

/// Seals and opens them.
pub(crate) struct Directory {
    cipher: Aes256Gcm,
}

impl Directory {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self { cipher: Aes256Gcm::new(&key.into()) }
    }

    /// Seals something under a name that only it has; nothing else's name may be like it.
    pub(crate) fn seal(&self, aad: &[u8], text: &[u8], rng: &mut impl CryptoRng) -> Vec<u8> {
        let mut sealed = vec![0; NONCE_LEN];
        rng.fill_bytes(&mut sealed);
        let nonce: [u8; NONCE_LEN] = sealed.as_slice().try_into().expect("it is that long");
        let text = self.cipher.encrypt(&nonce.into(), Payload { msg: text, aad });
        sealed.extend(text.expect("a resource is far below the limits of AES-GCM"));
        sealed
    }

    /// Opens what was sealed under a name.
    pub(crate) fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, StoreError> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CORRUPT)?;
        let payload = Payload { msg: text, aad };
        self.cipher.decrypt(&(*nonce).into(), payload).map_err(|_| CORRUPT)
    }

    /// Stores the version that a row says, under its number; without a body it says that the resource
    /// was deleted.
    pub(crate) async fn write(
        &self,
        connection: &mut AnyConnection,
        (number, row): (i64, &Row),
        body: Option<&str>,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<(), StoreError> {
        let aad = place(number, row.version);
        let sealed = body.map_or_else(Vec::new, |body| self.seal(&aad, body.as_bytes(), rng));
        sqlx::query(
            "insert into fhir_directory (number, version, updated, sealed) values ($1, $2, $3, $4)",
        )
        .bind(number)
        .bind(i64::from(row.version))
        .bind(row.updated)
        .bind(sealed)
        .execute(connection)
        .await?;
        Ok(())
    }

    /// The versions of a resource, the newest first: the number of each, and when it was made.
    pub(crate) async fn versions(
        connection: &mut AnyConnection,
        number: i64,
    ) -> Result<Vec<(u32, i64)>, StoreError> {
        let text =
            "select version, updated from fhir_directory where number = $1 order by version desc";
        let rows = sqlx::query(text).bind(number).fetch_all(connection).await?;
        rows.iter()
            .map(|row| {
                let version: i64 = row.try_get(0)?;
                Ok((u32::try_from(version).map_err(|_| CORRUPT)?, row.try_get(1)?))
            })
            .collect()
    }

    /// One version, with when it was made; without a body when it says that the resource was deleted.
    pub(crate) async fn read(
        &self,
        connection: &mut AnyConnection,
        row: &Row,
        version: u32,
    ) -> Result<Option<(i64, Option<RawObject>)>, StoreError> {
        let found = sqlx::query(
            "select updated, sealed from fhir_directory where number = $1 and version = $2",
        )
        .bind(row.number)
        .bind(i64::from(version))
        .fetch_optional(connection)
        .await?;
        let Some(found) = found else { return Ok(None) };
        let (updated, sealed): (i64, Vec<u8>) = (found.try_get(0)?, found.try_get(1)?);
        if sealed.is_empty() {
            return Ok(Some((updated, None)));
        }
        let text = self.open(&place(row.number, version), &sealed)?;
        let body = RawObject::parse(&text).map_err(|_| CORRUPT)?;
        Ok(Some((updated, Some(body))))
    }
}

fn place(number: i64, version: u32) -> [u8; 16] {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&number.to_be_bytes());
    place[8..].copy_from_slice(&u64::from(version).to_be_bytes());
    place
}
