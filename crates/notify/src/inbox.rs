//! A recipient's inbox: what the outbox holds for them, and what they have read.

use alloy_primitives::Address;
use domain::Timestamp;
use serde::{Deserialize, Serialize};
use sqlx::{Row as _, any::AnyRow};
use vault::StoreError;

use crate::{
    Notification, Outbox, Subject,
    columns::{address, bound, named, number, word},
};

/// The most entries that one listing gives.
pub const PAGE_LEN_MAX: u32 = 500;

/// A notification as its recipient sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxEntry {
    /// What they were told.
    #[serde(flatten)]
    pub notification: Notification,
    /// When they marked it as read, if they did.
    pub read_at: Option<Timestamp>,
}

impl Outbox {
    /// What came for a recipient after a sequence number, the oldest first; `None` begins at the
    /// beginning. At most `limit`, and never more than [`PAGE_LEN_MAX`].
    ///
    /// Whoever goes on from the last number they were given gets each one once.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn inbox(
        &self,
        recipient: Address,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<InboxEntry>, StoreError> {
        let rows = sqlx::query(
            "select sequence, id, topic, recipient, patient, subject, block, transaction_hash,
            log_index, time, read_at from notify_outbox
            where recipient = $1 and sequence > $2 order by sequence limit $3",
        )
        .bind(recipient.to_vec())
        .bind(bound(after.unwrap_or(0)))
        .bind(i64::from(limit.min(PAGE_LEN_MAX)))
        .fetch_all(self.database().readers())
        .await?;
        rows.iter().map(entry).collect()
    }

    /// What came for anybody after a sequence number, the oldest first, as [`Outbox::inbox`] does. It is
    /// for programs that decide themselves what of it may be told to whom.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn all(&self, after: u64, limit: u32) -> Result<Vec<InboxEntry>, StoreError> {
        let rows = sqlx::query(
            "select sequence, id, topic, recipient, patient, subject, block, transaction_hash,
            log_index, time, read_at from notify_outbox
            where sequence > $1 order by sequence limit $2",
        )
        .bind(bound(after))
        .bind(i64::from(limit.min(PAGE_LEN_MAX)))
        .fetch_all(self.database().readers())
        .await?;
        rows.iter().map(entry).collect()
    }

    /// The newest that came for a recipient before a sequence number, the newest first; `None` begins
    /// at the end. At most `limit`, and never more than [`PAGE_LEN_MAX`].
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn newest(
        &self,
        recipient: Address,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<InboxEntry>, StoreError> {
        let rows = sqlx::query(
            "select sequence, id, topic, recipient, patient, subject, block, transaction_hash,
            log_index, time, read_at from notify_outbox
            where recipient = $1 and sequence < $2 order by sequence desc limit $3",
        )
        .bind(recipient.to_vec())
        .bind(bound(before.unwrap_or(u64::MAX)))
        .bind(i64::from(limit.min(PAGE_LEN_MAX)))
        .fetch_all(self.database().readers())
        .await?;
        rows.iter().map(entry).collect()
    }

    /// How many a recipient has not read.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn unread(&self, recipient: Address) -> Result<u64, StoreError> {
        let row =
            sqlx::query("select count(*) from notify_outbox where recipient = $1 and read_at = 0")
                .bind(recipient.to_vec())
                .fetch_one(self.database().readers())
                .await?;
        number(&row, 0)
    }

    /// Marks one as read; returns whether it was there for this recipient and unread.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn mark_read(
        &self,
        recipient: Address,
        sequence: u64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.mark(recipient, sequence, sequence, now).await.map(|marked| marked > 0)
    }

    /// Marks everything up to a sequence number as read; returns how many were unread.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the database failed.
    pub async fn mark_read_up_to(
        &self,
        recipient: Address,
        sequence: u64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.mark(recipient, 0, sequence, now).await
    }

    async fn mark(
        &self,
        recipient: Address,
        first: u64,
        last: u64,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.database().begin().await?;
        let done = sqlx::query(
            "update notify_outbox set read_at = $4
            where recipient = $1 and sequence >= $2 and sequence <= $3 and read_at = 0",
        )
        .bind(recipient.to_vec())
        .bind(bound(first))
        .bind(bound(last))
        .bind(bound(now.0.max(1)))
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(done.rows_affected())
    }
}

fn entry(row: &AnyRow) -> Result<InboxEntry, StoreError> {
    let subject: Vec<u8> = row.try_get(5)?;
    let notification = Notification {
        sequence: number(row, 0)?,
        id: word(row, 1)?,
        topic: named(row, 2)?,
        recipient: address(row, 3)?,
        patient: address(row, 4)?,
        subject: Subject::from_bytes(&subject).ok_or(StoreError::Corrupt { what: "subject" })?,
        block: number(row, 6)?,
        transaction: word(row, 7)?,
        log_index: number(row, 8)?,
        time: Timestamp(number(row, 9)?),
    };
    let read_at = Some(Timestamp(number(row, 10)?)).filter(|time| time.0 > 0);
    Ok(InboxEntry { notification, read_at })
}
