//! Read the waiting lists that are published, and prove their rows.
//!
//! [`Form`] says how a file is written, [`Rows`] gives its rows one after the other, and [`Census`] makes a Merkle
//! tree of those of one hospital and month. Nothing here knows a chain or a network; what is anchored, and how, is
//! the business of others.

mod columns;
mod date;
mod hospital;
mod reading;
mod rows;
mod split;
mod tree;

pub use date::{DateOrder, Day, Month};
pub use hospital::Hospital;
pub use reading::{Entry, Reading, RowProblem};
pub use rows::{Form, ReadError, Row, Rows};
pub use tree::{Band, Census, Differences, Reference, RowProof, StatedRow, Sum, TooManyRows};

/// A text does not say what it should, and this is why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotUnderstood(pub(crate) &'static str);
