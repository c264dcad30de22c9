//! Devices that are not heard of: what is awaited of each, until it speaks, is taken away, or its time is
//! over. The contract tells of a gap when readings come again, which may be never.

use alloy_primitives::{Address, B256};
use domain::Timestamp;
use sqlx::{AnyConnection, Row as _};
use vault::StoreError;

use crate::{
    columns::{address, bound, number, word},
    notification::Place,
};

/// The time of what is not awaited.
const NEVER: i64 = i64::MAX;

/// How many are told of in one transaction.
const SILENT_MAX: i64 = 500;

/// What an event says of when a device is to be heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// It is offered with this gap, in seconds.
    Offered { device: Address, gap: u32 },
    /// It is at a patient until then.
    Begins { device: Address, patient: Address, until: Timestamp },
    /// Its readings go until then.
    Heard { device: Address, to: Timestamp },
    /// It is at nobody any more.
    Over { device: Address },
}

/// A device that is silent, by the event after which it was.
pub(crate) struct Silent {
    pub(crate) device: Address,
    pub(crate) patient: Address,
    pub(crate) since: Place,
}

impl Silence {
    pub(crate) async fn write(
        &self,
        connection: &mut AnyConnection,
        place: &Place,
    ) -> Result<(), StoreError> {
        match *self {
            Self::Offered { device, gap } => {
                sqlx::query(
                    "insert into notify_silences
                    (device, patient, gap, ends, due, block, block_hash, transaction_hash,
                    log_index) values ($1, $2, $3, 0, $4, 0, $5, $6, 0)
                    on conflict (device) do update set gap = excluded.gap, due = excluded.due",
                )
                .bind(device.to_vec())
                .bind(Address::ZERO.to_vec())
                .bind(i64::from(gap))
                .bind(NEVER)
                .bind(B256::ZERO.to_vec())
                .bind(B256::ZERO.to_vec())
                .execute(connection)
                .await?;
            }
            Self::Begins { device, patient, until } => {
                sqlx::query("update notify_silences set patient = $2, ends = $3 where device = $1")
                    .bind(device.to_vec())
                    .bind(patient.to_vec())
                    .bind(bound(until.0))
                    .execute(&mut *connection)
                    .await?;
                await_after(connection, device, place.time, place).await?;
            }
            Self::Heard { device, to } => await_after(connection, device, to, place).await?,
            Self::Over { device } => {
                sqlx::query("delete from notify_silences where device = $1")
                    .bind(device.to_vec())
                    .execute(connection)
                    .await?;
            }
        }
        Ok(())
    }
}

/// A device is heard of again a gap after this time, at the latest.
async fn await_after(
    connection: &mut AnyConnection,
    device: Address,
    time: Timestamp,
    place: &Place,
) -> Result<(), StoreError> {
    sqlx::query(
        "update notify_silences set due = $2 + gap + 1, block = $3, block_hash = $4,
        transaction_hash = $5, log_index = $6 where device = $1",
    )
    .bind(device.to_vec())
    .bind(bound(time.0.min(u64::from(u32::MAX) * 1_000)))
    .bind(bound(place.block))
    .bind(place.block_hash.to_vec())
    .bind(place.transaction.to_vec())
    .bind(bound(place.log_index))
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a device is silent by a time.
pub(crate) async fn is_any_due(
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let due = sqlx::query("select 1 from notify_silences where due <= $1 and due < ends limit 1")
        .bind(bound(now.0))
        .fetch_optional(connection)
        .await?;
    Ok(due.is_some())
}

/// The devices that are silent by a time, which are told of this once.
pub(crate) async fn take_due(
    connection: &mut AnyConnection,
    now: Timestamp,
) -> Result<Vec<Silent>, StoreError> {
    let rows = sqlx::query(
        "select device, patient, due, block, block_hash, transaction_hash, log_index
        from notify_silences where due <= $1 and due < ends order by due, device limit $2",
    )
    .bind(bound(now.0))
    .bind(SILENT_MAX)
    .fetch_all(&mut *connection)
    .await?;
    let mut silent = Vec::with_capacity(rows.len());
    for row in &rows {
        let device: Vec<u8> = row.try_get(0)?;
        sqlx::query("update notify_silences set due = $2 where device = $1")
            .bind(device)
            .bind(NEVER)
            .execute(&mut *connection)
            .await?;
        let since = Place {
            time: Timestamp(number(row, 2)?),
            block: number(row, 3)?,
            block_hash: word(row, 4)?,
            transaction: word(row, 5)?,
            log_index: number(row, 6)?,
        };
        silent.push(Silent { device: address(row, 0)?, patient: address(row, 1)?, since });
    }
    Ok(silent)
}
