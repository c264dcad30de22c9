//! Copies that move between holders: sealed bytes as they are, and the wraps that open them.
//!
//! A copy opens only for those for whom it has wraps. Copies that come in are believed in nothing:
//! the bytes must hash to the digest, the header must be the entry's, and keys must be those to which
//! the header commits. Which digest is the right one only the chain can say.

use std::fs::File;
use std::future::Future;
use std::io::{self, Cursor, Read, Write};
use std::pin::Pin;
use std::sync::Arc;

use domain::{Address, B256, Permit, QueryDomain, RecordDigest, RecordVersion};
use rand_core::CryptoRng;
use sqlx::AnyConnection;

use crate::bodies::{Bodies, Incoming, ROW_BODY_MAX};
use crate::entries::{CORRUPT, Entry};
use crate::header::{HEADER_LEN, Header};
use crate::keys::{ContentKey, KindKey, WRAPPED_CONTENT_KEY_LEN};
use crate::kind_keys::{KindKeyId, KindKeyName};
use crate::open::{Found, OpenError, Opened};
use crate::passing::DigestReader;
use crate::patient_keys::name_of;
use crate::put::{PutError, commit_with};
use crate::recipients::{self, Binding, PublicKey, SecretKey, Subject};
use crate::rows::{self, Row};
use crate::schema::Place;
use crate::sealed::{self, MAX_SEALED_LEN, UnsealError};
use crate::store_error::StoreError;
use crate::transaction::WriteTransaction;
use crate::vault::Vault;
use crate::wraps::{self, Wrap};

/// A recipient who can take keys out of wraps.
#[derive(Clone, Debug)]
pub struct Identity {
    /// A patient's account or a member address.
    pub address: Address,
    /// The private key whose public half the wraps were made for.
    pub secret: SecretKey,
}

/// One version as it moves between holders, without its sealed bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedCopy {
    /// Which version it is.
    pub entry: Entry,
    /// The kind key under which `content_key` is wrapped.
    pub kind_key: Option<KindKeyName>,
    /// The content key under that kind key (RFC 3394).
    pub content_key: Option<[u8; WRAPPED_CONTENT_KEY_LEN]>,
    /// The wraps for the recipient of the copy.
    pub wraps: Vec<Wrap>,
}

/// What else is stored together with something, such as what shows where it belongs: all of it or nothing.
pub type Along<'a> = Box<
    dyn for<'t> FnOnce(
            &'t mut WriteTransaction,
        ) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 't>>
        + Send
        + 'a,
>;

/// Sealed bytes, to be read from the beginning.
#[derive(Debug)]
pub enum SealedBytes {
    /// Short ones.
    Memory(Cursor<Vec<u8>>),
    /// Long ones.
    File(File),
}

impl Read for SealedBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(bytes) => bytes.read(buffer),
            Self::File(file) => file.read(buffer),
        }
    }
}

/// What to do when other bytes are kept under the same record and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnConflict {
    /// Leave them, and refuse the copy.
    Refuse,
    /// Replace them: the chain says that the copy is the right one.
    Replace,
}

/// Why a copy was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The bytes, the header or the kind key are not what the copy says.
    #[error("the copy of record {digest} is not what it says it is")]
    Mismatch {
        /// Which version it says it is.
        digest: RecordDigest,
    },
    /// None of its wraps opens it for the recipient who should be able to.
    #[error("the copy of record {digest} does not open for its recipient")]
    DoesNotOpen {
        /// Which version.
        digest: RecordDigest,
    },
    /// This version was erased here, and stays so.
    #[error("record {digest} was erased")]
    Erased {
        /// Which version.
        digest: RecordDigest,
    },
    /// The bytes could not be received.
    #[error("the copy of record {digest} could not be received")]
    Receive {
        /// Which version.
        digest: RecordDigest,
        /// What the source reported.
        #[source]
        source: io::Error,
    },
    /// It could not be kept.
    #[error("the copy could not be kept")]
    Keep(#[from] PutError),
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Keep(error.into())
    }
}

impl From<sqlx::Error> for ImportError {
    fn from(error: sqlx::Error) -> Self {
        Self::Keep(error.into())
    }
}

impl SealedCopy {
    /// Opens the copy outside any vault, as its recipient, and writes the body as its segments
    /// authenticate. For a patient's own copy, with the patient's key.
    ///
    /// An error after the first byte means: discard what was written.
    ///
    /// # Errors
    ///
    /// [`OpenError::NoKey`], [`OpenError::Tampered`] or [`OpenError::Unseal`].
    pub fn open(
        &self,
        sealed: impl Read,
        identity: &Identity,
        network: QueryDomain,
        writer: impl Write,
    ) -> Result<Header, OpenError> {
        let digest = self.entry.digest;
        let key = self.content_key_for(identity, network).ok_or(OpenError::NoKey { digest })?;
        let mut sealed = DigestReader::new(sealed);
        let header =
            sealed::open_stream(&mut sealed, &key, writer).map_err(|source| match source {
                UnsealError::Write(_) | UnsealError::Read(_) => {
                    OpenError::Unseal { digest, source }
                }
                _ => OpenError::Tampered { digest },
            })?;
        if sealed.finish() != digest || header != self.entry.header {
            return Err(OpenError::Tampered { digest });
        }
        Ok(header)
    }

    /// The content key, through whichever wrap opens for `identity`.
    pub(crate) fn content_key_for(
        &self,
        identity: &Identity,
        network: QueryDomain,
    ) -> Option<ContentKey> {
        let kind_key_id = self.kind_key.map(|name| name.id(network));
        let key_digest = identity.secret.public_key().digest();
        self.wraps
            .iter()
            .filter(|wrap| wrap.recipient == identity.address && wrap.key_digest == key_digest)
            .find_map(|wrap| {
                let Wrap { subject, recipient, consent, .. } = *wrap;
                let binding = Binding { network, subject, recipient, consent };
                let open = || recipients::unwrap(&wrap.wrapped, &identity.secret, &binding).ok();
                match subject {
                    Subject::Record(digest) if digest == self.entry.digest => {
                        ContentKey::from_slice(&open()?).ok()
                    }
                    Subject::KindKey(id) if Some(id) == kind_key_id => {
                        KindKey::from_slice(&open()?).ok()?.unwrap(&self.content_key?).ok()
                    }
                    _ => None,
                }
            })
    }

    /// Whether the parts agree with each other.
    fn is_consistent(&self) -> bool {
        let Entry { header, patient, is_erased, .. } = self.entry;
        let fits = |name: KindKeyName| {
            name.patient == patient && name.steward == header.steward && name.kind == header.kind
        };
        !is_erased
            && self.kind_key.is_none_or(fits)
            && self.kind_key.is_some() == self.content_key.is_some()
    }
}

impl Vault {
    /// What goes with the sealed bytes of a version when `recipient` gets a copy; `None` when it is
    /// not here or erased.
    ///
    /// Whether the recipient may have one is the caller's question. Without a wrap for them it is of
    /// no use, though it shows whose record of which kind it is.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn copy_for(
        &self,
        digest: RecordDigest,
        recipient: Address,
    ) -> Result<Option<SealedCopy>, StoreError> {
        let Some(found) = self.find_digest(digest).await? else { return Ok(None) };
        let kind_key = match found.kind_key {
            Some(id) => Some(self.kind_key_name(id).await?),
            None => None,
        };
        let content_key = found.content_key.map(|key| key.try_into().map_err(|_| CORRUPT));
        Ok(Some(SealedCopy {
            entry: found.entry,
            kind_key,
            content_key: content_key.transpose()?,
            wraps: wraps::of(self.database().readers(), recipient, digest, found.kind_key).await?,
        }))
    }

    /// The sealed bytes of a version; `None` when it is not here or erased.
    ///
    /// They are given as they are stored. Whoever receives them compares the digest.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    pub async fn sealed_bytes(
        &self,
        digest: RecordDigest,
    ) -> Result<Option<SealedBytes>, StoreError> {
        let Some(found) = self.find_digest(digest).await? else { return Ok(None) };
        match (found.place, found.body) {
            (Place::Row, Some(bytes)) => Ok(Some(SealedBytes::Memory(Cursor::new(bytes)))),
            (Place::File, _) => match self.inner().bodies.open_body(digest) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                opened => Ok(Some(SealedBytes::File(opened?))),
            },
            _ => Ok(None),
        }
    }

    /// Takes in a copy: from another steward, or of an own record that was lost or altered here. What
    /// is here already under the same digest is repaired.
    ///
    /// With `identity`, a copy that does not open for them is refused. Copies of own records must fit
    /// our own keys.
    ///
    /// # Errors
    ///
    /// See [`ImportError`]. Nothing was changed then.
    pub async fn import(
        &self,
        copy: SealedCopy,
        sealed: impl Read + Send + 'static,
        identity: Option<&Identity>,
        on_conflict: OnConflict,
    ) -> Result<Entry, ImportError> {
        self.import_along(copy, sealed, identity, on_conflict, None).await
    }

    /// The same, with what else is stored once the bytes are known to be the right ones.
    ///
    /// # Errors
    ///
    /// See [`ImportError`]. Nothing was changed then.
    pub async fn import_along(
        &self,
        copy: SealedCopy,
        sealed: impl Read + Send + 'static,
        identity: Option<&Identity>,
        on_conflict: OnConflict,
        along: Option<Along<'_>>,
    ) -> Result<Entry, ImportError> {
        let digest = copy.entry.digest;
        if !copy.is_consistent() {
            return Err(ImportError::Mismatch { digest });
        }
        let received = self.receive(copy.entry, sealed).await?;
        let entry = copy.entry;
        let inner = Arc::clone(self.inner());
        let _sealing = inner.key_change.read().await;
        let mut transaction = self.database().begin().await?;

        let is_own = entry.header.steward == self.steward();
        if is_own {
            let key = self.own_content_key(&mut transaction, &copy).await?;
            if !key.is_some_and(|key| sealed::is_key_of(&received.head, &key)) {
                return Err(ImportError::DoesNotOpen { digest });
            }
        } else if let Some(identity) = identity {
            let key = copy.content_key_for(identity, self.network());
            if !key.is_some_and(|key| sealed::is_key_of(&received.head, &key)) {
                return Err(ImportError::DoesNotOpen { digest });
            }
        }

        if is_erased(&mut transaction, &entry).await? {
            return Err(ImportError::Erased { digest });
        }
        let (record, version) = entry.key();
        let kept = Self::stored_digest(&mut transaction, entry.key()).await?;
        let replaced = kept.filter(|kept| *kept != digest);
        if let Some(kept) = replaced
            && on_conflict == OnConflict::Refuse
        {
            return Err(PutError::Conflict { record, version, kept }.into());
        }
        let (body, mut file) = match received.body {
            ReceivedBody::Memory(bytes) => (Some(bytes), None),
            ReceivedBody::File(incoming) => {
                let kept = Bodies::keep(&inner.bodies, incoming, digest);
                (None, Some(kept.map_err(StoreError::from)?))
            }
        };
        let is_checked = is_own || identity.is_some();
        if kept == Some(digest) && !(is_checked && copy.content_key.is_some()) {
            // The copy knows less than the row, so only the bytes are taken from it.
            replace_body(&mut transaction, &entry, body).await?;
        } else {
            sqlx::query("delete from records where record = $1 and version = $2")
                .bind(record.0.to_vec())
                .bind(i64::from(version.get()))
                .execute(&mut *transaction)
                .await?;
            if let Some(kept) = replaced {
                wraps::remove(&mut transaction, Subject::Record(kept)).await?;
            }
            if let (Some(name), false) = (copy.kind_key, is_own) {
                insert_foreign_kind_key(&mut transaction, &name, self.network()).await?;
            }
            let row = Row {
                entry,
                kind_key: copy.kind_key.map(|name| name.id(self.network())),
                content_key: copy.content_key,
                body,
            };
            rows::insert(&mut transaction, vec![row]).await?;
        }
        if !is_own {
            for wrap in &copy.wraps {
                wraps::insert(&mut transaction, wrap, is_checked).await?;
            }
        }
        if let Some(along) = along {
            along(&mut transaction).await?;
        }
        commit_with(transaction, file.as_mut()).await?;
        if let Some(kept) = replaced {
            inner.bodies.remove(kept).map_err(StoreError::from)?;
        }
        Ok(entry)
    }

    /// Opens a permitted record with a key of one's own: a copy that came from elsewhere, whose kind
    /// key or content key is wrapped for `identity`. A patient's node reads that way, and a reader who
    /// was given one record for good.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open_received(
        &self,
        permit: Permit,
        version: Option<RecordVersion>,
        identity: &Identity,
    ) -> Result<Opened, OpenError> {
        let found = self.find_permitted(&permit, version).await?;
        self.open_copy(found, identity).await
    }

    pub(crate) async fn open_copy(
        &self,
        found: Found,
        identity: &Identity,
    ) -> Result<Opened, OpenError> {
        let digest = found.entry.digest;
        let no_key = OpenError::NoKey { digest };
        let copy = self.copy_for(digest, identity.address).await?;
        let key = copy.and_then(|copy| copy.content_key_for(identity, self.network()));
        self.open_found(found, key.ok_or(no_key)?).await
    }

    /// Wraps the content key of one permitted version for one reader, so that a copy opens for them
    /// without this gateway, for good: neither revoking nor erasing reaches what they hold.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn wrap_for(
        &self,
        permit: Permit,
        version: Option<RecordVersion>,
        reader: Address,
        public_key: &PublicKey,
        consent: B256,
        rng: &mut (impl CryptoRng + Send),
    ) -> Result<Wrap, OpenError> {
        let found = self.find_permitted(&permit, version).await?;
        let key = self.content_key(&found).await?;
        let subject = Subject::Record(found.entry.digest);
        let network = self.network();
        let binding = Binding { network, subject, recipient: reader, consent };
        let wrapped = recipients::wrap(key.expose(), public_key, &binding, rng);
        let key_digest = public_key.digest();
        let wrap = Wrap { subject, recipient: reader, key_digest, consent, wrapped };

        let mut transaction = self.database().begin().await?;
        if is_erased(&mut transaction, &found.entry).await? {
            return Err(OpenError::Erased { digest: found.entry.digest });
        }
        wraps::insert(&mut transaction, &wrap, true).await?;
        transaction.commit().await?;
        Ok(wrap)
    }

    /// The content key in a copy of an own record, out of the wrap under our kind key.
    async fn own_content_key(
        &self,
        connection: &mut AnyConnection,
        copy: &SealedCopy,
    ) -> Result<Option<ContentKey>, StoreError> {
        let (Some(name), Some(wrapped)) = (copy.kind_key, copy.content_key) else {
            return Ok(None);
        };
        let key = self.inner().kind_key(connection, name.id(self.network())).await?;
        Ok(key.and_then(|opened| opened.key.unwrap(&wrapped).ok()))
    }

    async fn kind_key_name(&self, id: KindKeyId) -> Result<KindKeyName, StoreError> {
        let row = sqlx::query("select patient, steward, kind, epoch from kind_keys where id = $1")
            .bind(id.0.to_vec())
            .fetch_one(self.database().readers())
            .await?;
        name_of(&row, 0)
    }

    /// Receives sealed bytes, and checks that they are the entry's.
    async fn receive(
        &self,
        entry: Entry,
        sealed: impl Read + Send + 'static,
    ) -> Result<Received, ImportError> {
        let inner = Arc::clone(self.inner());
        let digest = entry.digest;
        let receiving = move || {
            if entry.sealed_len > MAX_SEALED_LEN || entry.sealed_len < HEADER_LEN as u64 {
                return Err(ImportError::Mismatch { digest });
            }
            let receive = |source| ImportError::Receive { digest, source };
            // One byte more than there should be shows that there are too many.
            let mut sealed = sealed.take(entry.sealed_len + 1);
            let (found, length, head, body);
            if entry.sealed_len <= ROW_BODY_MAX as u64 {
                let mut bytes = Vec::new();
                sealed.read_to_end(&mut bytes).map_err(receive)?;
                (found, length) = (RecordDigest::of(&bytes), bytes.len() as u64);
                head = bytes[..bytes.len().min(HEADER_LEN)].to_vec();
                body = ReceivedBody::Memory(bytes);
            } else {
                let mut incoming = inner.bodies.incoming().map_err(StoreError::from)?;
                (found, length) = copy_all(&mut sealed, &mut incoming, receive)?;
                let mut bytes = Vec::new();
                let file = incoming.reopen().map_err(StoreError::from)?;
                file.take(HEADER_LEN as u64).read_to_end(&mut bytes).map_err(StoreError::from)?;
                incoming.sync().map_err(StoreError::from)?;
                (head, body) = (bytes, ReceivedBody::File(incoming));
            }
            let is_it = found == digest
                && length == entry.sealed_len
                && Header::read(&head).is_ok_and(|header| header == entry.header);
            if is_it { Ok(Received { head, body }) } else { Err(ImportError::Mismatch { digest }) }
        };
        tokio::task::spawn_blocking(receiving).await.expect("receiving does not panic")
    }
}

/// Sealed bytes that were received and found to be what they should be.
struct Received {
    /// The first bytes, which hold the header.
    head: Vec<u8>,
    body: ReceivedBody,
}

enum ReceivedBody {
    Memory(Vec<u8>),
    /// Removed when it is dropped before it was kept.
    File(Incoming),
}

/// Copies bytes into a file, and says what they hash to and how many there were.
fn copy_all(
    reader: &mut impl Read,
    file: &mut impl Write,
    receive: impl Fn(io::Error) -> ImportError,
) -> Result<(RecordDigest, u64), ImportError> {
    let mut hash = DigestReader::new(reader);
    let mut buffer = vec![0; 64 * 1024];
    let mut length = 0;
    loop {
        match hash.read(&mut buffer).map_err(&receive)? {
            0 => return Ok((hash.finish(), length)),
            count => {
                file.write_all(&buffer[..count]).map_err(StoreError::from)?;
                length += count as u64;
            }
        }
    }
}

async fn is_erased(connection: &mut AnyConnection, entry: &Entry) -> Result<bool, StoreError> {
    let row = sqlx::query("select 1 from erasures where record = $1 and version = $2")
        .bind(entry.header.record.0.to_vec())
        .bind(i64::from(entry.header.version.get()))
        .fetch_optional(connection)
        .await?;
    Ok(row.is_some())
}

async fn replace_body(
    connection: &mut AnyConnection,
    entry: &Entry,
    body: Option<Vec<u8>>,
) -> Result<(), StoreError> {
    let place = if body.is_some() { Place::Row } else { Place::File };
    sqlx::query("update records set place = $1, body = $2 where record = $3 and version = $4")
        .bind(place as i64)
        .bind(body)
        .bind(entry.header.record.0.to_vec())
        .bind(i64::from(entry.header.version.get()))
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes the name of a kind key of which only wraps came.
async fn insert_foreign_kind_key(
    connection: &mut AnyConnection,
    name: &KindKeyName,
    network: QueryDomain,
) -> Result<(), StoreError> {
    sqlx::query(
        "insert into kind_keys (id, patient, steward, kind, epoch, sealed, state)
        values ($1, $2, $3, $4, $5, null, 0) on conflict do nothing",
    )
    .bind(name.id(network).0.to_vec())
    .bind(name.patient.to_vec())
    .bind(name.steward.to_vec())
    .bind(i64::from(name.kind.number()))
    .bind(i64::from(name.epoch))
    .execute(connection)
    .await?;
    Ok(())
}
