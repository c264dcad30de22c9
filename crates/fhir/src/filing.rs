//! Filing resources: their rows and their index, in few statements.
//!
//! Whatever is filed is made ready before the turn to write comes; everybody else who writes waits for that
//! turn, and each statement is a message to another thread and back.

use search::{Index, Prepared};
use sqlx::AnyConnection;
use vault::StoreError;

use crate::tables::Row;

/// A version of a resource that is to be filed.
pub(crate) struct Filing {
    pub(crate) row: Row,
    /// What it is found by; nothing of a version that says that the resource was deleted.
    pub(crate) index: Option<Prepared>,
    /// Whether a version before it may still be read, and so is to be found.
    pub(crate) stays: bool,
}

/// Files versions, all or none once the transaction ends; returns the number of each, in their order.
///
/// # Errors
///
/// [`StoreError::Overtaken`] when there is another version of one by now.
pub(crate) async fn file(
    connection: &mut AnyConnection,
    index: &Index,
    filings: Vec<Filing>,
) -> Result<Vec<i64>, StoreError> {
    let mut numbers = Vec::with_capacity(filings.len());
    let (mut new_rows, mut new_index) = (Vec::new(), Vec::new());
    let mut next = None;
    for Filing { mut row, index: prepared, stays } in filings {
        if row.number == 0 {
            let number = match next {
                Some(next) => next,
                None => Row::next_number(connection).await?,
            };
            next = Some(number + 1);
            row.number = number;
            numbers.push(number);
            new_rows.push(row);
            new_index.extend(prepared.map(|prepared| (number, prepared)));
            continue;
        }
        row.replace(connection).await?;
        numbers.push(row.number);
        match prepared {
            Some(prepared) if stays => {
                index.widen_prepared(connection, row.number, prepared).await?;
            }
            Some(prepared) => {
                index.remove(connection, row.number).await?;
                new_index.push((row.number, prepared));
            }
            None if stays => {}
            None => index.remove(connection, row.number).await?,
        }
    }
    Row::insert_all(connection, &new_rows).await?;
    index.add_prepared(connection, new_index).await?;
    Ok(numbers)
}
