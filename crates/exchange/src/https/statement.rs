//! What is signed under each request (S7).

use std::time::Duration;

use alloy_sol_types::{Eip712Domain, SolStruct, sol};
use domain::{Address, B256, QueryDomain, Timestamp};

use crate::holder::PeerId;

/// How far ahead a deadline may be.
const DEADLINE_MAX: Duration = Duration::from_secs(120);

/// How far ahead it may be where a patient's peer is noted: a person signs that, with a passkey that is
/// somewhere else.
const NOTING_DEADLINE_MAX: Duration = Duration::from_secs(30 * 60);

/// What the targets begin with where a patient's peer is noted.
pub(super) const PEERS: &str = "/exchange/v1/peers/";

/// The scheme in the `authorization` header.
const SCHEME: &str = "Salus-Exchange ";

/// The longest header that is read, in bytes. An account's signature may be long.
const HEADER_LEN_MAX: usize = 8 * 1024;

sol! {
    /// The EIP-712 form of a [`Statement`].
    struct PullCopies {
        address requester;
        address responder;
        string method;
        string target;
        string range;
        bytes32 nonce;
        uint64 deadline;
    }
}

/// A request as its sender signs it: it binds chain, registry, both sides, everything that decides the
/// answer, a nonce and a deadline. So it serves nobody else, nowhere else, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Who asks: a member address, or a patient's account.
    pub requester: Address,
    /// Who is asked, by member address.
    pub responder: Address,
    /// The method, in capitals.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The `Range` header, empty when there is none.
    pub range: String,
    /// A number that the requester uses once.
    pub nonce: B256,
    /// When the signature stops counting.
    pub deadline: Timestamp,
}

impl Statement {
    /// What a patient's account states to have it noted at a holder that it has copies at a peer, or no
    /// longer, and to which key its records are to be sealed where none is known.
    #[must_use]
    pub fn of_peer(
        (account, responder): (Address, Address),
        peer: PeerId,
        holds: bool,
        key: Option<&[u8]>,
        (nonce, deadline): (B256, Timestamp),
    ) -> Self {
        let method = if holds { "PUT" } else { "DELETE" };
        let key = key.map(|key| format!("?key={}", hex::encode(key))).unwrap_or_default();
        Self {
            requester: account,
            responder,
            method: method.into(),
            target: format!("{PEERS}{peer}{key}"),
            range: String::new(),
            nonce,
            deadline,
        }
    }

    /// How far ahead of now its deadline may be.
    pub(super) fn deadline_max(&self) -> Duration {
        if self.target.starts_with(PEERS) { NOTING_DEADLINE_MAX } else { DEADLINE_MAX }
    }

    /// The digest that the requester signs.
    ///
    /// # Source
    ///
    /// [EIP-712](https://eips.ethereum.org/EIPS/eip-712).
    #[must_use]
    pub fn signing_digest(&self, network: QueryDomain) -> B256 {
        let domain = Eip712Domain::new(
            Some("Salus Exchange".into()),
            Some("1".into()),
            Some(alloy_primitives::U256::from(network.chain_id)),
            Some(network.registry),
            None,
        );
        let message = PullCopies {
            requester: self.requester,
            responder: self.responder,
            method: self.method.clone(),
            target: self.target.clone(),
            range: self.range.clone(),
            nonce: self.nonce,
            deadline: self.deadline.0,
        };
        message.eip712_signing_hash(&domain)
    }
}

/// What the `authorization` header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Authorization {
    pub(super) requester: Address,
    pub(super) nonce: B256,
    pub(super) deadline: Timestamp,
    pub(super) signature: Vec<u8>,
}

impl Authorization {
    pub(super) fn to_header(&self) -> String {
        let Self { requester, nonce, deadline, signature } = self;
        let (requester, nonce) = (hex::encode(requester), hex::encode(nonce));
        format!("{SCHEME}{requester}.{nonce}.{}.{}", deadline.0, hex::encode(signature))
    }

    pub(super) fn of_header(header: &str) -> Option<Self> {
        if header.len() > HEADER_LEN_MAX {
            return None;
        }
        let mut fields = header.strip_prefix(SCHEME)?.split('.');
        let mut next = || fields.next();
        let mut requester = [0; 20];
        hex::decode_to_slice(next()?, &mut requester).ok()?;
        let mut nonce = [0; 32];
        hex::decode_to_slice(next()?, &mut nonce).ok()?;
        let deadline = Timestamp(next()?.parse().ok()?);
        let signature = hex::decode(next()?).ok()?;
        let is_all = next().is_none();
        let (requester, nonce) = (requester.into(), nonce.into());
        is_all.then_some(Self { requester, nonce, deadline, signature })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn statement() -> Statement {
        Statement {
            requester: Address::repeat_byte(1),
            responder: Address::repeat_byte(2),
            method: "GET".into(),
            target: "/exchange/v1/offers".into(),
            range: String::new(),
            nonce: B256::repeat_byte(3),
            deadline: Timestamp(1_000),
        }
    }

    #[test]
    fn every_field_changes_the_digest() {
        let network = QueryDomain { chain_id: 1, registry: Address::repeat_byte(9) };
        let mut digests: Vec<_> = [
            statement(),
            Statement { requester: Address::ZERO, ..statement() },
            Statement { responder: Address::ZERO, ..statement() },
            Statement { method: "HEAD".into(), ..statement() },
            Statement { target: "/exchange/v1/offers?after=00".into(), ..statement() },
            Statement { range: "bytes=1-".into(), ..statement() },
            Statement { nonce: B256::ZERO, ..statement() },
            Statement { deadline: Timestamp(1_001), ..statement() },
        ]
        .iter()
        .map(|statement| statement.signing_digest(network))
        .collect();
        let elsewhere = [
            QueryDomain { chain_id: 2, ..network },
            QueryDomain { registry: Address::ZERO, ..network },
        ];
        digests.extend(elsewhere.map(|other| statement().signing_digest(other)));
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), 10);
    }

    #[test]
    fn header_is_read_as_it_was_written() {
        let authorization = Authorization {
            requester: Address::repeat_byte(1),
            nonce: B256::repeat_byte(2),
            deadline: Timestamp(3),
            signature: vec![4; 65],
        };
        let header = authorization.to_header();
        assert_eq!(Authorization::of_header(&header), Some(authorization));
        assert_eq!(Authorization::of_header(&format!("{header}.")), None);
        assert_eq!(Authorization::of_header(header.trim_start_matches(SCHEME)), None);
    }

    proptest! {
        #[test]
        fn no_header_does_harm(text in "\\PC{0,200}") {
            let _ = Authorization::of_header(&text);
            let _ = Authorization::of_header(&format!("{SCHEME}{text}"));
        }
    }
}
