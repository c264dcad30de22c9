//! Wraps in the store.

use domain::{Address, B256, RecordDigest};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AnyPool, Row as _};

use crate::entries::{CORRUPT, fixed};
use crate::kind_keys::KindKeyId;
use crate::recipients::Subject;
use crate::store_error::StoreError;

/// A key wrapped for one recipient, with what it is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wrap {
    /// What the wrapped key is the key of.
    pub subject: Subject,
    /// For whom.
    pub recipient: Address,
    /// For which of their keys: [`PublicKey::digest`](crate::PublicKey::digest).
    pub key_digest: B256,
    /// The digest of the consent under which it was made; zero for the patient's and steward's own.
    pub consent: B256,
    /// The wrapped key, in the format that `recipients` draws.
    pub wrapped: Vec<u8>,
}

/// Stores a wrap. One that is there already stays, unless this one is known to be good.
pub(crate) async fn insert(
    connection: &mut AnyConnection,
    wrap: &Wrap,
    is_checked: bool,
) -> Result<(), StoreError> {
    let statement = if is_checked {
        "insert into wraps (subject, id, recipient, key_digest, consent, wrapped)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (id, recipient, key_digest, consent) do update set wrapped = excluded.wrapped"
    } else {
        "insert into wraps (subject, id, recipient, key_digest, consent, wrapped)
        values ($1, $2, $3, $4, $5, $6) on conflict do nothing"
    };
    sqlx::query(statement)
        .bind(i64::from(wrap.subject.number()))
        .bind(wrap.subject.id().to_vec())
        .bind(wrap.recipient.to_vec())
        .bind(wrap.key_digest.to_vec())
        .bind(wrap.consent.to_vec())
        .bind(wrap.wrapped.clone())
        .execute(connection)
        .await?;
    Ok(())
}

/// The wraps for one recipient that bear on one version: of its content key and of its kind key.
pub(crate) async fn of(
    readers: &AnyPool,
    recipient: Address,
    digest: RecordDigest,
    kind_key: Option<KindKeyId>,
) -> Result<Vec<Wrap>, StoreError> {
    let rows = sqlx::query(
        "select subject, id, key_digest, consent, wrapped from wraps
        where recipient = $1 and (id = $2 or id = $3) order by id, key_digest, consent",
    )
    .bind(recipient.to_vec())
    .bind(digest.0.to_vec())
    .bind(kind_key.map_or(digest.0, |id| id.0).to_vec())
    .fetch_all(readers)
    .await?;
    let wrap = |row: &AnyRow| {
        let id = fixed::<32>(row, 1)?.into();
        Ok(Wrap {
            subject: match row.try_get::<i64, _>(0)? {
                1 => Subject::KindKey(KindKeyId(id)),
                2 => Subject::Record(RecordDigest(id)),
                _ => return Err(CORRUPT),
            },
            recipient,
            key_digest: fixed::<32>(row, 2)?.into(),
            consent: fixed::<32>(row, 3)?.into(),
            wrapped: row.try_get(4)?,
        })
    };
    rows.iter().map(wrap).collect()
}

/// Destroys every wrap of one key.
pub(crate) async fn remove(
    connection: &mut AnyConnection,
    subject: Subject,
) -> Result<(), StoreError> {
    sqlx::query("delete from wraps where id = $1")
        .bind(subject.id().to_vec())
        .execute(connection)
        .await?;
    Ok(())
}
