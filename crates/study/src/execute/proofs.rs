//! The trees of the censuses, kept so that any row of theirs can be proven later.
//!
//! A file holds the leaves; the rest of a tree follows from them. A row is found by its leaf, so no row is kept.
//!
//! # Format
//!
//! One file for each archive date, `YYYY-MM-DD.censuses`. Integers are little-endian.
//!
//! ```text
//! file    "SALUSCEN" | version u32, now 1 | chain id u64 | contract [20] | censuses u32 | census x | SHA-256 of all before [32]
//! census  publisher [20] | hospital [32] | month u32 | version u64 | total u64 | rows u32 | leaf [32] x rows
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
};

use alloy_primitives::{Address, B256};
use bindings::Contract;
use domain::merkle;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{ExecuteError, write_whole};
use crate::{
    row::{Day, Row},
    workload::{CHAIN_ID, Workload, calendar, censuses},
};

const MAGIC: &[u8; 8] = b"SALUSCEN";
const VERSION: u32 = 1;

/// How often a study publishes a census: a correction would be another version.
const CENSUS_VERSION: u64 = 1;

/// A row's proof, in the census that was published of its hospital and archive date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Who published it, by member address.
    pub publisher: Address,
    /// The hospital's number, as the contract holds it.
    pub hospital: B256,
    /// Year times 100 plus month.
    pub month: u32,
    /// Which version of that census, from 1.
    pub version: u64,
    /// The root that was published.
    pub root: B256,
    /// The row's number there, from 0.
    pub number: u32,
    /// The row's leaf.
    pub leaf: B256,
    /// The siblings from the leaf up to the root.
    pub siblings: Vec<B256>,
}

impl Proof {
    /// Whether it proves that a row is in the census under its number. The root still has to be held against the chain.
    #[must_use]
    pub fn proves(&self, row: &Row) -> bool {
        let leaf = censuses::stated(row).leaf(self.number);
        leaf == self.leaf
            && censuses::word(row.hospital.as_ref().map(|one| &*one.number)) == self.hospital
            && calendar::month_number(row.date) == self.month
            && merkle::verify(self.root, leaf, &self.siblings)
    }
}

/// Why a row was not looked up.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The file of the row's archive date cannot be read.
    #[error("cannot read {}; was the study made with batch mode?", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is no such file, of another version, or damaged.
    #[error("{} is damaged, or not of this version; make the study again", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
    },
}

/// Looks a row up in a study's `proofs` folder: a proof for each time that it is in its census, and none where it is
/// in none.
///
/// # Errors
///
/// [`ProofError`] when the file of its archive date cannot be used.
pub fn prove(proofs: &Path, row: &Row) -> Result<Vec<Proof>, ProofError> {
    let path = file(proofs, row.date);
    let bytes =
        fs::read(&path).map_err(|source| ProofError::Unreadable { path: path.clone(), source })?;
    let all = parse(&bytes).ok_or(ProofError::Damaged { path })?;
    let hospital = censuses::word(row.hospital.as_ref().map(|one| &*one.number));
    let stated = censuses::stated(row);
    let mut found = Vec::new();
    for census in all.into_iter().filter(|census| census.hospital == hospital) {
        let is_row = |(number, leaf): &(u32, &B256)| stated.leaf(*number) == **leaf;
        let places: Vec<u32> = (0..).zip(&census.leaves).filter(is_row).map(|(n, _)| n).collect();
        let Some(tree) = merkle::Tree::new(census.leaves) else { continue };
        for number in places {
            let place = number as usize;
            let Some(siblings) = tree.proof(place) else { continue };
            found.push(Proof {
                publisher: census.publisher,
                hospital,
                month: census.month,
                version: census.version,
                root: tree.root(),
                number,
                leaf: stated.leaf(number),
                siblings,
            });
        }
    }
    Ok(found)
}

/// Whether the file of a date is there and whole.
pub(crate) fn is_there(proofs: &Path, date: Day) -> bool {
    fs::read(file(proofs, date)).is_ok_and(|bytes| parse(&bytes).is_some())
}

fn file(proofs: &Path, date: Day) -> PathBuf {
    proofs.join(format!("{date}.censuses"))
}

/// Writes a date's trees.
pub(crate) fn write(proofs: &Path, date: Day, workload: &Workload<'_>) -> Result<(), ExecuteError> {
    let mut bytes = MAGIC.to_vec();
    let mut put = |part: &[u8]| bytes.extend_from_slice(part);
    put(&VERSION.to_le_bytes());
    put(&CHAIN_ID.to_le_bytes());
    put(workload.deployment().address(Contract::WaitingLists).as_slice());
    let count = |length: usize| u32::try_from(length).expect("a date has fewer than 2^32 rows");
    put(&count(workload.censuses.len()).to_le_bytes());
    for census in &workload.censuses {
        let call = census.call();
        put(workload.publisher(census).as_slice());
        put(call.hospital.as_slice());
        put(&call.month.to_le_bytes());
        put(&CENSUS_VERSION.to_le_bytes());
        put(&call.total.to_le_bytes());
        put(&call.rows.to_le_bytes());
        census.tree.leaves().iter().for_each(|leaf| put(leaf.as_slice()));
    }
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    fs::create_dir_all(proofs).map_err(ExecuteError::file(proofs))?;
    write_whole(&file(proofs, date), &bytes)
}

struct Stored {
    publisher: Address,
    hospital: B256,
    month: u32,
    version: u64,
    leaves: Vec<B256>,
}

/// What a file holds; `None` when it is not whole.
fn parse(bytes: &[u8]) -> Option<Vec<Stored>> {
    let (content, digest) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Sha256::digest(content).as_slice() != digest {
        return None;
    }
    let mut rest = content;
    let mut take = |length: usize| -> Option<&[u8]> {
        let (part, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(part)
    };
    let word = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
    if take(8)? != MAGIC || word(take(4)?)? != VERSION {
        return None;
    }
    take(8 + 20)?;
    let count = word(take(4)?)?;
    let mut all = Vec::new();
    for _ in 0..count {
        let publisher = Address::from_slice(take(20)?);
        let hospital = B256::from_slice(take(32)?);
        let month = word(take(4)?)?;
        let version = u64::from_le_bytes(take(8)?.try_into().ok()?);
        take(8)?;
        let rows = word(take(4)?)?;
        let leaves = take(usize::try_from(rows).ok()?.checked_mul(32)?)?;
        let leaves = leaves.chunks_exact(32).map(B256::from_slice).collect();
        all.push(Stored { publisher, hospital, month, version, leaves });
    }
    rest.is_empty().then_some(all)
}
