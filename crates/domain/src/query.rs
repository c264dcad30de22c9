//! Signed queries: what a reader signs when asking a gatekeeper for records (S7).

use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, sol};

use crate::{KindSet, Purpose, RecordId, Timestamp};

sol! {
    /// The EIP-712 form of a [`Query`].
    struct ReadRecords {
        address gatekeeper;
        address patient;
        uint32 kinds;
        bytes32 record;
        bytes32 after;
        uint32 limit;
        uint8 purpose;
        bytes32 recipientKey;
        uint256 nonce;
        uint48 deadline;
    }
}

/// A request to read records, as its reader signs it.
///
/// The signature binds the chain and the registry (through [`QueryDomain`]), the gatekeeper, the
/// method (the EIP-712 type), every argument, the nonce and the deadline. So it serves nobody else,
/// nowhere else, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The gatekeeper that is asked, by its institution's member address.
    pub gatekeeper: Address,
    /// Whose records.
    pub patient: Address,
    /// Which kinds.
    pub kinds: KindSet,
    /// The only record wanted; `None` wants all of these kinds.
    pub record: Option<RecordId>,
    /// Only records after this one, in the order of ids; `None` begins at the first.
    pub after: Option<RecordId>,
    /// How many records at most.
    pub limit: u32,
    /// Why.
    pub purpose: Purpose,
    /// Keccak-256 of the HPKE public key to which the answer is to be sealed.
    pub recipient_key: B256,
    /// A number that this reader uses once at this gatekeeper.
    pub nonce: B256,
    /// When the signature stops counting.
    pub deadline: Timestamp,
}

/// Where signed queries are valid: one registry on one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct QueryDomain {
    /// The chain's id (EIP-155).
    pub chain_id: u64,
    /// The registry's address.
    pub registry: Address,
}

fn word(record: Option<RecordId>) -> B256 {
    record.map_or(B256::ZERO, |record| record.0)
}

impl QueryDomain {
    fn to_eip712(self) -> Eip712Domain {
        Eip712Domain::new(
            Some("Salus Gatekeeper".into()),
            Some("1".into()),
            Some(alloy_primitives::U256::from(self.chain_id)),
            Some(self.registry),
            None,
        )
    }
}

impl Query {
    /// The digest that the reader signs.
    ///
    /// # Source
    ///
    /// [EIP-712](https://eips.ethereum.org/EIPS/eip-712).
    #[must_use]
    pub fn signing_digest(&self, domain: QueryDomain) -> B256 {
        let message = ReadRecords {
            gatekeeper: self.gatekeeper,
            patient: self.patient,
            kinds: self.kinds.bits(),
            record: word(self.record),
            after: word(self.after),
            limit: self.limit,
            purpose: self.purpose.number(),
            recipientKey: self.recipient_key,
            nonce: self.nonce.into(),
            // 48 bits of seconds reach eight million years; a larger deadline means "for ever".
            deadline: alloy_primitives::Uint::<48, 1>::saturating_from(self.deadline.0),
        };
        message.eip712_signing_hash(&domain.to_eip712())
    }

    /// The digest of a public key as [`Query::recipient_key`] holds it.
    #[must_use]
    pub fn recipient_key_of(public_key: &[u8]) -> B256 {
        keccak256(public_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn query() -> Query {
        Query {
            gatekeeper: Address::repeat_byte(1),
            patient: Address::repeat_byte(2),
            kinds: KindSet::of(&[Kind::Allergy]),
            record: None,
            after: None,
            limit: 10,
            purpose: Purpose::Treatment,
            recipient_key: B256::repeat_byte(3),
            nonce: B256::repeat_byte(4),
            deadline: Timestamp(1_000),
        }
    }

    #[test]
    fn every_field_changes_the_digest() {
        let domain = QueryDomain { chain_id: 1, registry: Address::repeat_byte(9) };
        let digest = |query: Query| query.signing_digest(domain);
        let variants = [
            Query { gatekeeper: Address::ZERO, ..query() },
            Query { patient: Address::ZERO, ..query() },
            Query { kinds: KindSet::ALL, ..query() },
            Query { record: Some(RecordId(B256::repeat_byte(1))), ..query() },
            Query { after: Some(RecordId(B256::repeat_byte(1))), ..query() },
            Query { limit: 11, ..query() },
            Query { purpose: Purpose::Research, ..query() },
            Query { recipient_key: B256::ZERO, ..query() },
            Query { nonce: B256::ZERO, ..query() },
            Query { deadline: Timestamp(1_001), ..query() },
        ];
        for variant in variants {
            assert_ne!(digest(variant), digest(query()), "{variant:?}");
        }
        let elsewhere = [
            QueryDomain { chain_id: 2, ..domain },
            QueryDomain { registry: Address::ZERO, ..domain },
        ];
        for other in elsewhere {
            assert_ne!(query().signing_digest(other), digest(query()));
        }
    }
}
