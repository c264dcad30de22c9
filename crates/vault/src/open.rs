//! Opening records. Each opening takes a permit by value, and there is no other way in.
//!
//! ```
//! # async fn with_a_permit(vault: vault::Vault, permit: domain::Permit) {
//! vault.open(permit, None).await;
//! # }
//! ```
//!
//! ```compile_fail
//! # async fn without_a_permit(vault: vault::Vault, record: domain::RecordId) {
//! vault.open(record, None).await;
//! # }
//! ```
//!
//! ```compile_fail
//! # async fn with_one_permit_twice(vault: vault::Vault, permit: domain::Permit) {
//! vault.open(permit, None).await;
//! vault.open(permit, None).await;
//! # }
//! ```

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;

use domain::{Permit, RecordDigest, RecordId, RecordVersion};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Arguments as _, Row as _};
use zeroize::Zeroizing;

use crate::copies::Identity;
use crate::entries::{Entry, entry_columns, entry_of, fixed, place_of};
use crate::keys::ContentKey;
use crate::kind_keys::{KindKeyId, OpenedKey};
use crate::passing::DigestReader;
use crate::rows::{self, RECORDS_PER_LOOKUP};
use crate::schema::Place;
use crate::sealed::{self, UnsealError};
use crate::store_error::StoreError;
use crate::vault::{Inner, Vault};

/// A record that was opened.
pub struct Opened {
    /// Which version it is, and what is known of it.
    pub entry: Entry,
    body: Zeroizing<Vec<u8>>,
}

impl Opened {
    /// The record as it was put.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The record as it was put. Whoever takes it sees to it that it is not kept.
    #[must_use]
    pub fn into_body(mut self) -> Vec<u8> {
        std::mem::take(&mut *self.body)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("entry", &self.entry).finish_non_exhaustive()
    }
}

/// Why a record was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no such record or version here.
    #[error("record {record} is not here")]
    NotHere {
        /// Which record.
        record: RecordId,
    },
    /// The permit was given for a record of another patient, steward or kind than this version is.
    #[error("the permit for record {record} does not cover this version")]
    NotPermitted {
        /// Which record.
        record: RecordId,
    },
    /// The version was erased.
    #[error("record {digest} was erased")]
    Erased {
        /// Which version.
        digest: RecordDigest,
    },
    /// The sealed bytes are missing. Another holder may have them.
    #[error("the sealed bytes of record {digest} are missing")]
    Missing {
        /// Which version.
        digest: RecordDigest,
    },
    /// The stored bytes are not what was sealed. Another holder may have those.
    #[error("the stored bytes of record {digest} were changed")]
    Tampered {
        /// Which version.
        digest: RecordDigest,
    },
    /// No key here opens it.
    #[error("no key here opens record {digest}")]
    NoKey {
        /// Which version.
        digest: RecordDigest,
    },
    /// The record does not open although its bytes are as they were stored, or writing it on failed.
    #[error("record {digest} could not be opened")]
    Unseal {
        /// Which version.
        digest: RecordDigest,
        /// Why.
        #[source]
        source: UnsealError,
    },
    /// The store failed. Asking again may succeed.
    #[error("the record could not be read")]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for OpenError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The columns that opening needs beyond those of an entry, in this order after them.
macro_rules! opening_columns {
    () => {
        "kind_key, content_key, body"
    };
}
pub(crate) use opening_columns;

/// Where the digest is among the columns of an entry.
const DIGEST_COLUMN: usize = 2;

/// A version that may be opened.
pub(crate) struct Found {
    pub(crate) entry: Entry,
    pub(crate) place: Place,
    pub(crate) kind_key: Option<KindKeyId>,
    pub(crate) content_key: Option<Vec<u8>>,
    pub(crate) body: Option<Vec<u8>>,
}

impl Vault {
    /// Opens the permitted record: the newest version, or the one asked for.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. Nothing is given out unless the stored bytes hash to the digest of the
    /// version (S4).
    pub async fn open(
        &self,
        permit: Permit,
        version: Option<RecordVersion>,
    ) -> Result<Opened, OpenError> {
        let found = self.find_permitted(&permit, version).await?;
        self.open_own(found).await
    }

    pub(crate) async fn open_found(
        &self,
        found: Found,
        key: ContentKey,
    ) -> Result<Opened, OpenError> {
        let inner = Arc::clone(self.inner());
        if found.place == Place::Row {
            return open_whole(&inner, found, &key);
        }
        tokio::task::spawn_blocking(move || open_whole(&inner, found, &key))
            .await
            .expect("opening does not panic")
    }

    /// Opens the permitted record and writes it out as its segments authenticate, in constant memory.
    ///
    /// An error after the first byte means: discard what was written. Until the end was reached,
    /// nobody can tell a record that was cut short, or one that is not the one with this digest.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open_to<W: Write + Send + 'static>(
        &self,
        permit: Permit,
        version: Option<RecordVersion>,
        mut writer: W,
    ) -> Result<(Entry, W), OpenError> {
        let found = self.find_permitted(&permit, version).await?;
        let key = self.content_key(&found).await?;
        let inner = Arc::clone(self.inner());
        let opening = move || {
            let entry = found.entry;
            open_sealed(&inner, found, &key, &mut writer)?;
            Ok((entry, writer))
        };
        tokio::task::spawn_blocking(opening).await.expect("opening does not panic")
    }

    pub(crate) async fn find_permitted(
        &self,
        permit: &Permit,
        version: Option<RecordVersion>,
    ) -> Result<Found, OpenError> {
        let record = permit.record();
        // Version 0 does not exist, so it stands for the newest one.
        let row = sqlx::query(concat!(
            "select ",
            entry_columns!(),
            ", ",
            opening_columns!(),
            " from records where record = $1 and ($2 = 0 or version = $3) order by version desc limit 1"
        ))
        .bind(record.0.to_vec())
        .bind(i64::from(version.is_some()))
        .bind(i64::from(version.map_or(0, RecordVersion::get)))
        .fetch_optional(self.database().readers())
        .await?
        .ok_or(OpenError::NotHere { record })?;
        Found::of(&row)?.covered_by(permit)
    }

    /// Opens permitted versions, one after the other and in their order, with few statements: for pages of
    /// short records. Each is named by its entry, and named once. `take` has each while it is open, and no
    /// two are open at the same time.
    ///
    /// With an `identity`, copies of other stewards' records open with the keys that were wrapped to it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store failed. What does not open otherwise is given to `take` as the reason,
    /// see [`OpenError`].
    pub async fn open_each<T>(
        &self,
        permitted: Vec<(Permit, Entry)>,
        identity: Option<&Identity>,
        mut take: impl FnMut(&Entry, Result<Opened, OpenError>) -> T,
    ) -> Result<Vec<T>, StoreError> {
        let mut taken = Vec::with_capacity(permitted.len());
        let mut permitted = permitted.into_iter();
        while permitted.len() > 0 {
            let length = rows::group_len(permitted.len(), RECORDS_PER_LOOKUP);
            let group: Vec<_> = permitted.by_ref().take(length).collect();
            let mut found = self.find_digests(group.iter().map(|(_, entry)| entry.digest)).await?;
            for (permit, entry) in group {
                let found = match found.remove(&entry.digest) {
                    Some(found) => found.map_err(OpenError::from),
                    None => Err(OpenError::NotHere { record: permit.record() }),
                };
                let opened = match found.and_then(|found| found.covered_by(&permit)) {
                    Ok(found) => self.open_held(found, identity).await,
                    Err(error) => Err(error),
                };
                taken.push(take(&entry, opened));
            }
        }
        Ok(taken)
    }

    /// Opens with the vault's own keys, or, as a copy of another steward's record, with those of `identity`.
    async fn open_held(
        &self,
        found: Found,
        identity: Option<&Identity>,
    ) -> Result<Opened, OpenError> {
        let is_own = found.entry.header.steward == self.inner().settings.steward;
        match identity.filter(|_| !is_own) {
            Some(identity) => self.open_copy(found, identity).await,
            None => self.open_own(found).await,
        }
    }

    async fn open_own(&self, found: Found) -> Result<Opened, OpenError> {
        let key = self.content_key(&found).await?;
        self.open_found(found, key).await
    }

    /// The versions with these digests, whose number is a power of two. A row that makes no sense stands in
    /// the way of no other.
    async fn find_digests(
        &self,
        digests: impl ExactSizeIterator<Item = RecordDigest>,
    ) -> Result<HashMap<RecordDigest, Result<Found, StoreError>>, StoreError> {
        let text = rows::openings_text(self.database().backend(), digests.len());
        let mut arguments = AnyArguments::default();
        for digest in digests {
            arguments.add(digest.0.to_vec()).map_err(sqlx::Error::Encode)?;
        }
        let rows = sqlx::query_with(text, arguments).fetch_all(self.database().readers()).await?;
        let found = rows.iter().map(|row| {
            let digest = RecordDigest(fixed::<32>(row, DIGEST_COLUMN)?.into());
            Ok((digest, Found::of(row)))
        });
        found.collect()
    }

    /// The version with this digest; `None` when it is not here or erased.
    pub(crate) async fn find_digest(
        &self,
        digest: RecordDigest,
    ) -> Result<Option<Found>, StoreError> {
        let row = sqlx::query(concat!(
            "select ",
            entry_columns!(),
            ", ",
            opening_columns!(),
            " from records where digest = $1"
        ))
        .bind(digest.0.to_vec())
        .fetch_optional(self.database().readers())
        .await?;
        let found = row.as_ref().map(Found::of).transpose()?;
        Ok(found.filter(|found| found.place != Place::Erased))
    }

    /// The content key of a version, through the kind key that this vault made.
    pub(crate) async fn content_key(&self, found: &Found) -> Result<ContentKey, OpenError> {
        let no_key = OpenError::NoKey { digest: found.entry.digest };
        let (Some(id), Some(wrapped)) = (found.kind_key, &found.content_key) else {
            return Err(no_key);
        };
        let OpenedKey { name, key } = match self.inner().opened_key(id) {
            Some(opened) => opened,
            None => {
                let mut connection = self.database().readers().acquire().await?;
                self.inner().kind_key(&mut connection, id).await?.ok_or(no_key)?
            }
        };
        let Entry { header, patient, digest, .. } = found.entry;
        // The row says whose record it is, and nothing else that is sealed does: without this, a row
        // that was given to another patient would open for them.
        let is_theirs =
            (name.patient, name.steward, name.kind) == (patient, header.steward, header.kind);
        if !is_theirs {
            return Err(OpenError::Tampered { digest });
        }
        key.unwrap(wrapped).map_err(|_| OpenError::Tampered { digest })
    }
}

impl Found {
    /// Refuses what the permit does not cover, and what was erased.
    fn covered_by(self, permit: &Permit) -> Result<Self, OpenError> {
        let Entry { header, patient, digest, is_erased, .. } = self.entry;
        let is_permitted = header.record == permit.record()
            && patient == permit.patient()
            && header.steward == permit.steward()
            && header.kind == permit.kind();
        if !is_permitted {
            return Err(OpenError::NotPermitted { record: permit.record() });
        }
        if is_erased {
            return Err(OpenError::Erased { digest });
        }
        Ok(self)
    }

    fn of(row: &AnyRow) -> Result<Self, StoreError> {
        let kind_key: Option<Vec<u8>> = row.try_get(11)?;
        let kind_key = kind_key.map(|id| id.as_slice().try_into().map(KindKeyId)).transpose();
        Ok(Self {
            entry: entry_of(row)?,
            place: place_of(row.try_get(10)?)?,
            kind_key: kind_key.map_err(|_| StoreError::Corrupt { what: "record" })?,
            content_key: row.try_get(12)?,
            body: row.try_get(13)?,
        })
    }
}

fn open_whole(inner: &Inner, found: Found, key: &ContentKey) -> Result<Opened, OpenError> {
    let entry = found.entry;
    let mut body = Zeroizing::new(Vec::new());
    open_sealed(inner, found, key, &mut *body)?;
    Ok(Opened { entry, body })
}

/// Opens the stored bytes and checks that they are the version's: digest and header.
fn open_sealed(
    inner: &Inner,
    found: Found,
    key: &ContentKey,
    writer: &mut impl Write,
) -> Result<(), OpenError> {
    let Entry { digest, header: expected, .. } = found.entry;
    let unseal_error = |source| match source {
        UnsealError::Write(_) | UnsealError::Read(_) => OpenError::Unseal { digest, source },
        _ => OpenError::Tampered { digest },
    };
    let header = match (found.place, found.body) {
        (Place::Row, Some(sealed)) => {
            if RecordDigest::of(&sealed) != digest {
                return Err(OpenError::Tampered { digest });
            }
            sealed::open_stream(sealed.as_slice(), key, writer).map_err(unseal_error)?
        }
        (Place::File, _) => {
            let file = inner.bodies.open_body(digest).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => OpenError::Missing { digest },
                _ => OpenError::Store(error.into()),
            })?;
            let mut file = DigestReader::new(file);
            let header = sealed::open_stream(&mut file, key, writer).map_err(unseal_error)?;
            if file.finish() != digest {
                return Err(OpenError::Tampered { digest });
            }
            header
        }
        _ => return Err(OpenError::Missing { digest }),
    };
    if header != expected {
        return Err(OpenError::Tampered { digest });
    }
    Ok(())
}
