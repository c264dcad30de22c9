//! Records, their digests, and what the chain says of them.

use std::{fmt, num::NonZeroU32, str::FromStr};

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::{SolValue, sol};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::numbered::numbered;
use crate::{Kind, merkle};

/// A record's name for life: 32 random bytes, the same in every version.
///
/// Random, so that it says nothing of the patient, the type or the local id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordId(pub B256);

/// The SHA-256 digest of a sealed record: the name of one version on chain and in every log.
///
/// A digest is always taken of the ciphertext. A digest of the plaintext would let anyone who can
/// guess a short record, such as a blood group, confirm the guess against the chain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordDigest(pub B256);

impl RecordDigest {
    /// The digest of sealed bytes.
    #[must_use]
    pub fn of(sealed: &[u8]) -> Self {
        Self(B256::from(<[u8; 32]>::from(Sha256::digest(sealed))))
    }
}

macro_rules! hex_text {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = ParseDigestError;

            /// Parses 64 hexadecimal digits, with or without a leading `0x`.
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                let digits = text.strip_prefix("0x").unwrap_or(text);
                hex::decode_to_slice(digits, &mut bytes).map_err(ParseDigestError)?;
                Ok(Self(B256::from(bytes)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex_text!(RecordId);
hex_text!(RecordDigest);

/// The text was not 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("expected 64 hexadecimal digits")]
pub struct ParseDigestError(#[source] hex::FromHexError);

/// Which version of a record: 1, 2, 3 and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordVersion(pub NonZeroU32);

impl RecordVersion {
    /// The first version of every record.
    pub const FIRST: Self = Self(NonZeroU32::MIN);

    /// The version as contracts hold it.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl TryFrom<u32> for RecordVersion {
    type Error = std::num::TryFromIntError;

    fn try_from(version: u32) -> Result<Self, Self::Error> {
        NonZeroU32::try_from(version).map(Self)
    }
}

impl fmt::Display for RecordVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

numbered! {
    /// Where an anchored version stands.
    pub enum AnchorState: "anchor state" {
        /// Anchored by the steward, not yet verified by the patient.
        Proposed = 1 "proposed",
        /// Verified and accepted by the patient.
        Accepted = 2 "accepted",
        /// Refused by the patient, or taken back by the steward before the patient decided.
        Rejected = 3 "rejected",
        /// Accepted once, contested since.
        Disputed = 4 "disputed",
        /// Replaced by a later accepted version.
        Superseded = 5 "superseded",
        /// Body and keys destroyed; only this tombstone remains.
        Erased = 6 "erased",
    }
}

/// The on-chain statement "this steward proposed this digest as version n of this record of this
/// patient".
///
/// The contract keeps one slot per version: 31 bytes of [`Anchor::commitment`] and the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Anchor {
    /// Which record.
    pub record: RecordId,
    /// Which version of it.
    pub version: RecordVersion,
    /// The accepted version that this one replaces, 0 for none.
    pub base: u32,
    /// What the record is about.
    pub kind: Kind,
    /// Whom the record is about.
    pub patient: Address,
    /// Which institution, by member address, keeps it.
    pub steward: Address,
    /// What the sealed bytes hash to.
    pub digest: RecordDigest,
}

sol! {
    /// The fields in the order and the types of `Records.Anchor`.
    struct AnchorWords {
        bytes32 record;
        uint32 version;
        uint32 base;
        uint8 kind;
        address patient;
        address steward;
        bytes32 digest;
    }
}

impl Anchor {
    /// `keccak256(abi.encode(anchor))`, as the contract computes it.
    #[must_use]
    pub fn commitment(&self) -> B256 {
        let words = AnchorWords {
            record: self.record.0,
            version: self.version.get(),
            base: self.base,
            kind: self.kind.number(),
            patient: self.patient,
            steward: self.steward,
            digest: self.digest.0,
        };
        keccak256(words.abi_encode())
    }

    /// The leaf that stands for this anchor in a batch's Merkle tree.
    #[must_use]
    pub fn leaf(&self) -> B256 {
        merkle::leaf(self.commitment())
    }

    /// The storage word that the contract keeps for this anchor in `state`.
    #[must_use]
    pub fn storage_word(&self, state: AnchorState) -> B256 {
        let mut word = self.commitment();
        word.0[31] = state.number();
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_print_and_parse() {
        let digest = RecordDigest::of(b"sealed");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!(digest.to_string()[2..].parse(), Ok(digest));
        assert!("0x12".parse::<RecordDigest>().is_err());
        assert!("zz".repeat(32).parse::<RecordDigest>().is_err());
    }

    #[test]
    fn storage_word_ends_in_the_state() {
        let anchor = Anchor {
            record: RecordId(B256::repeat_byte(1)),
            version: RecordVersion::FIRST,
            base: 0,
            kind: Kind::Allergy,
            patient: Address::repeat_byte(2),
            steward: Address::repeat_byte(3),
            digest: RecordDigest::of(b"sealed"),
        };
        let word = anchor.storage_word(AnchorState::Accepted);
        assert_eq!(word[31], 2);
        assert_eq!(word[..31], anchor.commitment()[..31]);
    }
}
