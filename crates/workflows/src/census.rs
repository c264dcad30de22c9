//! The monthly census of a waiting list: how many people wait at a hospital, by specialty, age and how
//! long they have waited, anchored so that each row can be proven and the total recomputed.
//!
//! A census is made of the rows of the published files, by the crate `census`. What goes on chain is the root of
//! its tree, the number of its rows, and their total.
//!
//! A correction is another version beside the first. A census of files in which a row was not understood
//! is not anchored: its total would be wrong.

use alloy_primitives::{Address, B256, U256};
use bindings::{Contract, WaitingLists, convert::timestamp};
use domain::{Timestamp, merkle};

use crate::{Gateway, Step, WorkflowError};

pub use census::{
    Band, Census, Differences, Entry, Hospital, Month, NotUnderstood, Reading, Reference,
    RowProblem, RowProof, StatedRow, Sum, TooManyRows,
};

/// What the chain has of a census.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchored {
    /// What was published.
    pub sum: Sum,
    /// When.
    pub published_at: Timestamp,
}

/// The institution publishes a census; once more for the same hospital and month, it is a correction.
///
/// # Errors
///
/// [`WorkflowError::Send`] when the month lies in the future or the institution is in force no more.
pub async fn anchor(
    publisher: &Gateway,
    census: &Census,
) -> Result<(Reference, Step), WorkflowError> {
    let Sum { root, rows, total } = census.sum()?;
    let (hospital, month) = (census.hospital().to_word(), census.month().number());
    let call = WaitingLists::publishCensusCall { hospital, month, root, rows, total };
    let outcome = publisher.sender().send(publisher.at(Contract::WaitingLists), &call).await?;
    let published = outcome.events::<WaitingLists::CensusPublished>().into_iter().next();
    let published =
        published.ok_or(WorkflowError::Unknown { what: "census in", id: outcome.hash() })?;
    let reference = Reference {
        publisher: publisher.member(),
        hospital: census.hospital().clone(),
        month: census.month(),
        version: published.version.saturating_to(),
    };
    let what = format!(
        "publishes the census of hospital {} for {}: {rows} rows, {total} people",
        census.hospital(),
        census.month()
    );
    Ok((reference, Step::new(&publisher.name, what, "waiting-list.publish-census", &outcome)))
}

/// How many versions of a census there are: the number of the newest, zero when there is none.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked.
pub async fn versions(
    gateway: &Gateway,
    publisher: Address,
    hospital: &Hospital,
    month: Month,
) -> Result<u64, WorkflowError> {
    let call = WaitingLists::versionsOfCall {
        publisher,
        hospital: hospital.to_word(),
        month: month.number(),
    };
    let contract = gateway.at(Contract::WaitingLists);
    let versions = gateway.gatekeeper.ledger().call(contract, &call, Default::default()).await?;
    Ok(versions.saturating_to())
}

/// The newest version that an institution published of a census, when it is of exactly these rows: publishing them
/// once more would say nothing new.
///
/// # Errors
///
/// [`WorkflowError::Call`] when the chain cannot be asked, [`WorkflowError::Invalid`] as of [`Census::sum`].
pub async fn published(
    publisher: &Gateway,
    census: &Census,
) -> Result<Option<Reference>, WorkflowError> {
    let (hospital, month) = (census.hospital().clone(), census.month());
    let member = publisher.member();
    let version = versions(publisher, member, &hospital, month).await?;
    if version == 0 {
        return Ok(None);
    }
    let reference = Reference { publisher: member, hospital, month, version };
    let is_same = recount(publisher, &reference, census).await?.is_same();
    Ok(is_same.then_some(reference))
}

/// A census as it stands on chain.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when it was not published.
pub async fn anchored(gateway: &Gateway, reference: &Reference) -> Result<Anchored, WorkflowError> {
    let hospital = reference.hospital.to_word();
    let call = WaitingLists::censusOfCall {
        publisher: reference.publisher,
        hospital,
        month: reference.month.number(),
        version: U256::from(reference.version),
    };
    let contract = gateway.at(Contract::WaitingLists);
    let held = gateway.gatekeeper.ledger().call(contract, &call, Default::default()).await?;
    if held.root == B256::ZERO {
        return Err(WorkflowError::Unknown { what: "census of hospital", id: hospital });
    }
    let sum = Sum { root: held.root, rows: held.rows, total: held.total };
    Ok(Anchored { sum, published_at: timestamp(held.publishedAt) })
}

/// Whether a row is in the census that it is said to be in.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when that census was not published.
pub async fn verify(gateway: &Gateway, proof: &RowProof) -> Result<bool, WorkflowError> {
    let anchored = anchored(gateway, &proof.census).await?;
    let RowProof { number, row, proof, .. } = proof;
    Ok(*number < anchored.sum.rows && merkle::verify(anchored.sum.root, row.leaf(*number), proof))
}

/// Counts again: what the rows come to, and what was published. They are the same exactly when the rows
/// are those that were published, no more and no fewer.
///
/// # Errors
///
/// [`WorkflowError::Unknown`] when there is no such census, [`WorkflowError::Invalid`] when it is of
/// another hospital or month than the rows.
pub async fn recount(
    gateway: &Gateway,
    reference: &Reference,
    census: &Census,
) -> Result<Recount, WorkflowError> {
    if (&reference.hospital, reference.month) != (census.hospital(), census.month()) {
        return Err(WorkflowError::Invalid("the rows are of another hospital or month".into()));
    }
    let published = anchored(gateway, reference).await?.sum;
    Ok(Recount { published, counted: census.sum()? })
}

/// What counting again found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recount {
    /// What the chain has.
    pub published: Sum,
    /// What the rows come to.
    pub counted: Sum,
}

impl Recount {
    /// Whether the rows are those that were published.
    #[must_use]
    pub fn is_same(&self) -> bool {
        self.published == self.counted
    }
}
