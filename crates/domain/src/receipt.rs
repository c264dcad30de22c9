//! Receipts: the entries of the access log, one per query, refused ones included (S5).
//!
//! # Encoding
//!
//! A receipt is encoded to the byte below, all integers big-endian, and its digest is SHA-256 of
//! `"salus/receipt/v1"` followed by the encoding:
//!
//! ```text
//! sequence u64 | time u64 | gatekeeper [20] | requester [20] | institution [20], zero for none
//! patient [20] | purpose u8 | kinds u32 | query [32] | outcome u8 | detail [32]
//! count u32 | count x (record id [32], digest [32])
//! ```
//!
//! `outcome` is 1 for allowed and 0 for refused. `detail` is the SHA-256 of why: of the reason's text
//! when refused; when allowed, of `"none"` (nothing found), or of the basis: 1 own record, 2 care team,
//! 3 consent (reader `[20]`, version u32), 4 workflow (id `[32]`), 5 emergency (opening `[32]`).
//!
//! The log is a chain: `head' = SHA-256("salus/log/v1" | head | digest)`, beginning at zero. Batches
//! of receipt digests are Merkle leaves whose roots the `AccessLog` contract keeps.

use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{Basis, KindSet, Purpose, RecordDigest, RecordId, Refusal, Timestamp, merkle};

const RECEIPT_LABEL: &[u8] = b"salus/receipt/v1";
const LOG_LABEL: &[u8] = b"salus/log/v1";

/// Who asked for what, when, why, and what came of it. Names nobody: addresses and digests only (S1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The place in this gatekeeper's log, from 1 without gaps.
    pub sequence: u64,
    /// When the decision was made, by the chain's clock.
    pub time: Timestamp,
    /// Whose log this is, by member address.
    pub gatekeeper: Address,
    /// Who asked: a member address or a patient's account.
    pub requester: Address,
    /// For which institution they acted, when they did.
    pub institution: Option<Address>,
    /// Whose records were asked for.
    pub patient: Address,
    /// Why.
    pub purpose: Purpose,
    /// Which kinds were asked for.
    pub kinds: KindSet,
    /// The signing digest of the query; zero for reads that no signed query started.
    pub query: B256,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// These versions were opened, each for the reason given.
    Allowed {
        /// Record and sealed digest of each version opened.
        records: Vec<(RecordId, RecordDigest)>,
        /// Why the first of them was allowed.
        basis: Option<Basis>,
    },
    /// Nothing was opened.
    Refused {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// The refusal as the log holds it.
    #[must_use]
    pub fn refused(refusal: Refusal) -> Self {
        Self::Refused { reason: refusal.to_string() }
    }

    /// Whether anything was opened or found to be empty, rather than refused.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed { .. })
    }

    fn records(&self) -> &[(RecordId, RecordDigest)] {
        match self {
            Self::Allowed { records, .. } => records,
            Self::Refused { .. } => &[],
        }
    }

    fn detail(&self) -> B256 {
        let mut hash = Sha256::new();
        match self {
            Self::Allowed { basis: None, .. } => hash.update(b"none"),
            Self::Allowed { basis: Some(basis), .. } => hash.update(basis_bytes(*basis)),
            Self::Refused { reason } => hash.update(reason.as_bytes()),
        }
        B256::from(<[u8; 32]>::from(hash.finalize()))
    }
}

/// A basis as bytes: its number, then what it names.
fn basis_bytes(basis: Basis) -> Vec<u8> {
    let (number, named): (u8, Vec<u8>) = match basis {
        Basis::OwnRecord => (1, Vec::new()),
        Basis::CareTeam => (2, Vec::new()),
        Basis::Consent { reader, version } => {
            (3, [reader.as_slice(), &version.to_be_bytes()].concat())
        }
        Basis::Workflow { workflow } => (4, workflow.to_vec()),
        Basis::Emergency { opening } => (5, opening.to_vec()),
    };
    [&[number], named.as_slice()].concat()
}

impl Receipt {
    /// The receipt's digest: what is chained, signed and anchored.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let records = self.outcome.records();
        let count =
            u32::try_from(records.len()).expect("a query is bounded far below 2^32 records");
        let mut hash = Sha256::new();
        hash.update(RECEIPT_LABEL);
        hash.update(self.sequence.to_be_bytes());
        hash.update(self.time.0.to_be_bytes());
        hash.update(self.gatekeeper);
        hash.update(self.requester);
        hash.update(self.institution.unwrap_or_default());
        hash.update(self.patient);
        hash.update([self.purpose.number()]);
        hash.update(self.kinds.bits().to_be_bytes());
        hash.update(self.query);
        hash.update([u8::from(self.outcome.is_allowed())]);
        hash.update(self.outcome.detail());
        hash.update(count.to_be_bytes());
        for (record, digest) in records {
            hash.update(record.0);
            hash.update(digest.0);
        }
        B256::from(<[u8; 32]>::from(hash.finalize()))
    }

    /// The leaf that stands for this receipt in an anchored batch.
    #[must_use]
    pub fn leaf(&self) -> B256 {
        merkle::leaf(alloy_primitives::keccak256(self.digest()))
    }
}

/// The head of a gatekeeper's log: one value that depends on every receipt so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReceiptHead(pub B256);

impl ReceiptHead {
    /// The head after one more receipt.
    #[must_use]
    pub fn after(self, receipt: &Receipt) -> Self {
        let mut hash = Sha256::new();
        hash.update(LOG_LABEL);
        hash.update(self.0);
        hash.update(receipt.digest());
        Self(B256::from(<[u8; 32]>::from(hash.finalize())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn receipt() -> Receipt {
        Receipt {
            sequence: 1,
            time: Timestamp(1_000),
            gatekeeper: Address::repeat_byte(1),
            requester: Address::repeat_byte(2),
            institution: Some(Address::repeat_byte(3)),
            patient: Address::repeat_byte(4),
            purpose: Purpose::Treatment,
            kinds: KindSet::of(&[Kind::Allergy]),
            query: B256::repeat_byte(5),
            outcome: Outcome::Allowed {
                records: vec![(RecordId(B256::repeat_byte(6)), RecordDigest(B256::repeat_byte(7)))],
                basis: Some(Basis::CareTeam),
            },
        }
    }

    #[test]
    fn every_field_changes_the_digest() {
        let variants = [
            Receipt { sequence: 2, ..receipt() },
            Receipt { time: Timestamp(1), ..receipt() },
            Receipt { gatekeeper: Address::ZERO, ..receipt() },
            Receipt { requester: Address::ZERO, ..receipt() },
            Receipt { institution: None, ..receipt() },
            Receipt { patient: Address::ZERO, ..receipt() },
            Receipt { purpose: Purpose::Legal, ..receipt() },
            Receipt { kinds: KindSet::ALL, ..receipt() },
            Receipt { query: B256::ZERO, ..receipt() },
            Receipt { outcome: Outcome::refused(Refusal::NoConsent), ..receipt() },
            Receipt { outcome: Outcome::refused(Refusal::NotCovered), ..receipt() },
        ];
        for variant in variants {
            assert_ne!(variant.digest(), receipt().digest(), "{variant:?}");
        }
    }

    #[test]
    fn digest_is_the_documented_one() {
        // Changing this breaks every log that was ever anchored.
        assert_eq!(
            receipt().digest().to_string(),
            "0x5f12dd324d2dda756e4a319b751a62a113b77023610810b8bf79b50e387189be"
        );
    }

    #[test]
    fn head_depends_on_order() {
        let (one, two) = (receipt(), Receipt { sequence: 2, ..receipt() });
        let head = ReceiptHead::default();
        assert_ne!(head.after(&one).after(&two), head.after(&two).after(&one));
    }
}
