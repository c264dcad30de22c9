//! A notification.

use alloy_primitives::{Address, B256, keccak256};
use domain::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Topic;

/// Says that something is there for somebody, never what (S1): ids, addresses and a topic only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Notification {
    /// Its number in this gateway's outbox, from 1. Later ones have higher numbers; none is used twice.
    pub sequence: u64,
    /// What tells it from every other one, everywhere. A repeat has the same.
    pub id: B256,
    /// What it is about.
    pub topic: Topic,
    /// For whom it is: a patient's account, or an institution or professional by member address.
    pub recipient: Address,
    /// Whose care it is about; zero when it is about nobody in particular, such as a trial.
    pub patient: Address,
    /// What to look at.
    pub subject: Subject,
    /// The block that holds the event.
    pub block: u64,
    /// The transaction that caused it.
    pub transaction: B256,
    /// The event's place in its block.
    pub log_index: u64,
    /// When it happened, by the chain; for what is due, since when.
    pub time: Timestamp,
}

/// What a notification points at. Its topic says of what kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Subject {
    /// A record, a batch's root, a prescription or order, an emergency opening.
    Id(B256),
    /// The reader of a grant, the steward of a relationship, an account.
    Address(Address),
}

impl From<B256> for Subject {
    fn from(id: B256) -> Self {
        Self::Id(id)
    }
}

impl From<Address> for Subject {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl Subject {
    /// 32 or 20 bytes.
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Id(id) => id.to_vec(),
            Self::Address(address) => address.to_vec(),
        }
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            32 => Some(Self::Id(B256::from_slice(bytes))),
            20 => Some(Self::Address(Address::from_slice(bytes))),
            _ => None,
        }
    }
}

/// Whether a recipient may still be told something, by what is known of the chain just now (S3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clearance {
    /// They may.
    Granted,
    /// That cannot be decided now. Ask again later; nothing is lost.
    Unknown,
    /// They may not any more.
    Refused,
}

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) block: u64,
    pub(crate) block_hash: B256,
    pub(crate) transaction: B256,
    pub(crate) log_index: u64,
    pub(crate) time: Timestamp,
}

impl Place {
    /// The id of what the event here means to somebody.
    ///
    /// ```text
    /// keccak-256("salus/notification/v1" | block hash [32] | transaction [32] | log index u64
    ///            | recipient [20] | topic)
    /// ```
    pub(crate) fn notification_id(&self, recipient: Address, topic: Topic) -> B256 {
        let parts: [&[u8]; 6] = [
            b"salus/notification/v1",
            self.block_hash.as_slice(),
            self.transaction.as_slice(),
            &self.log_index.to_be_bytes(),
            recipient.as_slice(),
            topic.name().as_bytes(),
        ];
        keccak256(parts.concat())
    }
}
