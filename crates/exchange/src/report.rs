//! What came of a sync.

use domain::RecordDigest;
use vault::{ImportError, StoreError};

use crate::holder::HolderError;
use crate::transport::TransferError;

/// How many digests a report names of each sort. The numbers count all of them.
pub const NAMED_MAX: usize = 1_000;

/// What came of a sync, or of healing.
#[derive(Debug, Default)]
pub struct Report {
    /// Versions that were taken in, byte for byte what the chain says.
    pub fetched: Versions,
    /// How many of their sealed bytes were transferred.
    pub bytes: u64,
    /// Versions that were here already.
    pub kept_already: u64,
    /// Versions that were here, and now have wraps that were not.
    pub rewrapped: u64,
    /// Versions that were erased here, and stay so.
    pub erased: u64,
    /// Versions that the peer offers and that the chain does not want here.
    pub unexpected: Versions,
    /// Versions that the peer offers, or should have, and does not give.
    pub refused: Versions,
    /// Versions that did not come for another reason.
    pub failed: Vec<(RecordDigest, Failure)>,
    /// How many failed.
    pub failures: u64,
    /// Why the peer's list was not read to its end, when it was not.
    pub broken_off: Option<TransferError>,
}

impl Report {
    /// Whether everything that should be here, as far as the peer told, is here now.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.refused.count == 0 && self.failures == 0 && self.broken_off.is_none()
    }

    pub(crate) fn add(&mut self, digest: RecordDigest, outcome: Outcome) {
        match outcome {
            Outcome::Fetched { bytes } => {
                self.fetched.add(digest);
                self.bytes += bytes;
            }
            Outcome::KeptAlready => self.kept_already += 1,
            Outcome::Rewrapped => self.rewrapped += 1,
            Outcome::Erased => self.erased += 1,
            Outcome::Unexpected => self.unexpected.add(digest),
            Outcome::Failed(Failure::Transfer(TransferError::Refused)) => self.refused.add(digest),
            Outcome::Failed(failure) => {
                self.failures += 1;
                if self.failed.len() < NAMED_MAX {
                    self.failed.push((digest, failure));
                }
            }
        }
    }
}

/// Some versions: how many, and the first of them by digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    /// How many.
    pub count: u64,
    /// The first [`NAMED_MAX`] of them.
    pub named: Vec<RecordDigest>,
}

impl Versions {
    fn add(&mut self, digest: RecordDigest) {
        self.count += 1;
        if self.named.len() < NAMED_MAX {
            self.named.push(digest);
        }
    }
}

/// What became of one version.
#[derive(Debug)]
pub(crate) enum Outcome {
    Fetched { bytes: u64 },
    KeptAlready,
    Rewrapped,
    Erased,
    Unexpected,
    Failed(Failure),
}

/// Why a version is not here.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It did not come.
    #[error("not transferred")]
    Transfer(#[from] TransferError),
    /// What came hashes to something else.
    #[error("the peer sent other bytes")]
    WrongBytes,
    /// Nothing came for too long.
    #[error("the peer fell silent")]
    Silent,
    /// It is being received by another sync now.
    #[error("already being received")]
    Busy,
    /// It is not known here which record it is, so that its bytes alone cannot be taken in.
    #[error("no row of this record is here")]
    NoRow,
    /// The vault did not take it in.
    #[error("not taken in")]
    Import(#[from] ImportError),
    /// The vault could not be asked.
    #[error("the vault could not be read")]
    Store(#[from] StoreError),
    /// It could not be kept while it came.
    #[error("not kept while it came")]
    Incoming(#[source] std::io::Error),
    /// What the chain says of it could not be found out.
    #[error("not known what the chain says")]
    Unknown(#[from] HolderError),
}
