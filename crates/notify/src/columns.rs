//! Reading columns whose form the database does not check.

use alloy_primitives::{Address, B256};
use sqlx::{Row as _, any::AnyRow};
use vault::StoreError;

/// A column of so many bytes.
pub(crate) fn fixed<const N: usize>(row: &AnyRow, column: usize) -> Result<[u8; N], StoreError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map_err(|_| StoreError::Corrupt { what: "column of bytes" })
}

pub(crate) fn address(row: &AnyRow, column: usize) -> Result<Address, StoreError> {
    fixed::<20>(row, column).map(Address::from)
}

pub(crate) fn word(row: &AnyRow, column: usize) -> Result<B256, StoreError> {
    fixed::<32>(row, column).map(B256::from)
}

/// A column with a number that is never negative.
pub(crate) fn number(row: &AnyRow, column: usize) -> Result<u64, StoreError> {
    let number: i64 = row.try_get(column)?;
    u64::try_from(number).map_err(|_| StoreError::Corrupt { what: "number" })
}

/// A column with a name for which the program has a value.
pub(crate) fn named<T: std::str::FromStr>(row: &AnyRow, column: usize) -> Result<T, StoreError> {
    let name: String = row.try_get(column)?;
    name.parse().map_err(|_| StoreError::Corrupt { what: "name" })
}

/// A number as the database takes it; the largest there is when it does not fit.
pub(crate) fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
