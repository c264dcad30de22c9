//! What the vault knows of its records without opening any: heads, versions, listings.

use domain::{Address, Kind, KindSet, RecordDigest, RecordId, RecordVersion, Timestamp};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{AnyConnection, Arguments as _, Row as _};

use crate::header::{Content, Header};
use crate::rows::{self, RECORDS_PER_LOOKUP};
use crate::schema::Place;
use crate::store_error::StoreError;
use crate::vault::Vault;

/// The longest page of a listing.
pub const PAGE_LEN_MAX: usize = 10_000;

/// One version of one record, as the vault lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// What the sealed record says of itself.
    pub header: Header,
    /// Whom the record is about.
    pub patient: Address,
    /// The SHA-256 of the sealed bytes.
    pub digest: RecordDigest,
    /// How long the sealed bytes are.
    pub sealed_len: u64,
    /// Whether only this tombstone is left.
    pub is_erased: bool,
}

impl Entry {
    /// Which record and version: the order of listings and scans.
    #[must_use]
    pub const fn key(&self) -> (RecordId, RecordVersion) {
        (self.header.record, self.header.version)
    }
}

/// Which records to list. The newest version of each is listed, and counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Whose.
    pub patient: Address,
    /// Kept by whom; `None` for every steward.
    pub steward: Option<Address>,
    /// About what.
    pub kinds: KindSet,
}

/// The columns from which [`entry_of`] makes an entry.
macro_rules! entry_columns {
    () => {
        "record, version, digest, patient, steward, author, kind, content, created, sealed_len, place"
    };
}
pub(crate) use entry_columns;

impl Vault {
    /// The newest version of a record.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn head(&self, record: RecordId) -> Result<Option<Entry>, StoreError> {
        let row = sqlx::query(concat!(
            "select ",
            entry_columns!(),
            " from records where record = $1 order by version desc limit 1"
        ))
        .bind(record.0.to_vec())
        .fetch_optional(self.database().readers())
        .await?;
        row.as_ref().map(entry_of).transpose()
    }

    /// All versions of a record, oldest first; none when there is no such record.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn versions(&self, record: RecordId) -> Result<Vec<Entry>, StoreError> {
        let rows = sqlx::query(concat!(
            "select ",
            entry_columns!(),
            " from records where record = $1 order by version"
        ))
        .bind(record.0.to_vec())
        .fetch_all(self.database().readers())
        .await?;
        rows.iter().map(entry_of).collect()
    }

    /// All versions of these records, by record and then oldest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn versions_of(&self, records: &[RecordId]) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::with_capacity(records.len());
        let mut rest = records;
        while !rest.is_empty() {
            let (group, others) = rest.split_at(rows::group_len(rest.len(), RECORDS_PER_LOOKUP));
            rest = others;
            let mut arguments = AnyArguments::default();
            for record in group {
                arguments.add(record.0.to_vec()).map_err(sqlx::Error::Encode)?;
            }
            let text = rows::versions_text(self.database().backend(), group.len());
            let found = sqlx::query_with(text, arguments).fetch_all(self.database().readers());
            for row in &found.await? {
                entries.push(entry_of(row)?);
            }
        }
        entries.sort_by_key(Entry::key);
        Ok(entries)
    }

    /// The version with this digest.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn find(&self, digest: RecordDigest) -> Result<Option<Entry>, StoreError> {
        let row =
            sqlx::query(concat!("select ", entry_columns!(), " from records where digest = $1"))
                .bind(digest.0.to_vec())
                .fetch_optional(self.database().readers())
                .await?;
        row.as_ref().map(entry_of).transpose()
    }

    /// Whether a version with this digest is here and not erased.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn contains(&self, digest: RecordDigest) -> Result<bool, StoreError> {
        Ok(self.find(digest).await?.is_some_and(|entry| !entry.is_erased))
    }

    /// The newest versions that match, in the order of record ids, erased ones included: at most
    /// `limit` of them (and [`PAGE_LEN_MAX`]), those after the record `after`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn list(
        &self,
        listing: &Listing,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let limit = i64::try_from(limit.min(PAGE_LEN_MAX)).expect("a page is short");
        // Kinds are bits, so one text serves every set: the shift is the same on both systems.
        let rows = sqlx::query(concat!(
            "select ",
            entry_columns!(),
            " from records
            where patient = $1 and record > $2 and ($3 = 0 or steward = $4) and ($5 >> cast(kind as int)) & 1 = 1
                and not exists (
                    select 1 from records as newer
                    where newer.record = records.record and newer.version > records.version
                )
            order by record, version limit $6"
        ))
        .bind(listing.patient.to_vec())
        .bind(after.map_or_else(Vec::new, |record| record.0.to_vec()))
        .bind(i64::from(listing.steward.is_some()))
        .bind(listing.steward.unwrap_or_default().to_vec())
        .bind(i64::from(listing.kinds.bits()))
        .bind(limit)
        .fetch_all(self.database().readers())
        .await?;
        rows.iter().map(entry_of).collect()
    }

    /// All versions of the records that match in any version, in the order of record ids and versions,
    /// erased ones included: of at most `limit` records (and [`PAGE_LEN_MAX`]), those after the record
    /// `after`. Says as well after which record to go on, when there may be more.
    ///
    /// Which version counts is for others to say. A row that cannot be read is left out, so that it does
    /// not keep anybody from the others; a scan finds it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn list_versions(
        &self,
        listing: &Listing,
        after: Option<RecordId>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<RecordId>), StoreError> {
        let limit = limit.min(PAGE_LEN_MAX);
        let rows = sqlx::query(concat!(
            "select ",
            entry_columns!(),
            " from records where record in (
                select distinct record from records
                where patient = $1 and record > $2 and ($3 = 0 or steward = $4) and ($5 >> cast(kind as int)) & 1 = 1
                order by record limit $6
            ) order by record, version"
        ))
        .bind(listing.patient.to_vec())
        .bind(after.map_or_else(Vec::new, |record| record.0.to_vec()))
        .bind(i64::from(listing.steward.is_some()))
        .bind(listing.steward.unwrap_or_default().to_vec())
        .bind(i64::from(listing.kinds.bits()))
        .bind(i64::try_from(limit).expect("a page is short"))
        .fetch_all(self.database().readers())
        .await?;
        let mut records: Vec<RecordId> = rows
            .iter()
            .filter_map(|row| Some(RecordId(fixed::<32>(row, 0).ok()?.into())))
            .collect();
        records.dedup();
        let next = records.last().copied().filter(|_| records.len() >= limit);
        Ok((rows.iter().filter_map(|row| entry_of(row).ok()).collect(), next))
    }

    /// The digest that is stored for a version, when there is one.
    pub(crate) async fn stored_digest(
        connection: &mut AnyConnection,
        (record, version): (RecordId, RecordVersion),
    ) -> Result<Option<RecordDigest>, StoreError> {
        let row = sqlx::query("select digest from records where record = $1 and version = $2")
            .bind(record.0.to_vec())
            .bind(i64::from(version.get()))
            .fetch_optional(connection)
            .await?;
        row.map(|row| Ok(RecordDigest(fixed::<32>(&row, 0)?.into()))).transpose()
    }
}

/// Reads a row of [`entry_columns`].
pub(crate) fn entry_of(row: &AnyRow) -> Result<Entry, StoreError> {
    let number = |column| row.try_get::<i64, _>(column).map_err(StoreError::from);
    let place = place_of(number(10)?)?;
    Ok(Entry {
        header: Header {
            record: RecordId(fixed::<32>(row, 0)?.into()),
            version: version_of(number(1)?)?,
            kind: kind_of(number(6)?)?,
            content: u8::try_from(number(7)?).ok().and_then(Content::of_number).ok_or(CORRUPT)?,
            steward: fixed::<20>(row, 4)?.into(),
            author: fixed::<20>(row, 5)?.into(),
            created: Timestamp(number(8)?.try_into().map_err(|_| CORRUPT)?),
        },
        patient: fixed::<20>(row, 3)?.into(),
        digest: RecordDigest(fixed::<32>(row, 2)?.into()),
        sealed_len: number(9)?.try_into().map_err(|_| CORRUPT)?,
        is_erased: place == Place::Erased,
    })
}

pub(crate) const CORRUPT: StoreError = StoreError::Corrupt { what: "record" };

pub(crate) fn place_of(number: i64) -> Result<Place, StoreError> {
    Place::of_number(number).ok_or(CORRUPT)
}

pub(crate) fn version_of(number: i64) -> Result<RecordVersion, StoreError> {
    u32::try_from(number).ok().and_then(|version| version.try_into().ok()).ok_or(CORRUPT)
}

pub(crate) fn kind_of(number: i64) -> Result<Kind, StoreError> {
    u8::try_from(number).ok().and_then(|kind| kind.try_into().ok()).ok_or(CORRUPT)
}

/// A column of exactly `N` bytes.
pub(crate) fn fixed<const N: usize>(row: &AnyRow, column: usize) -> Result<[u8; N], StoreError> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|_| CORRUPT)
}
