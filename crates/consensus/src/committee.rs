//! Who orders the blocks of an epoch.
//!
//! An epoch is a fixed number of heights, and each has a committee with equal votes. A committee follows
//! from what was executed, so all members know the same one; while it is not known, no certificate of its
//! epoch can be checked and no engine for it runs.

use std::{collections::BTreeMap, sync::Arc};

use alloy_primitives::{Address, U256};
use alloy_sol_types::{SolCall as _, sol};
use chain::{Chain, Rpc};
use commonware_codec::DecodeExt as _;
use commonware_consensus::types::Epoch;
use commonware_cryptography::{
    certificate::{Provider, Scoped},
    ed25519::{PrivateKey, PublicKey},
};
use commonware_utils::{TryCollect as _, ordered::Set};
use parking_lot::Mutex;
use serde_json::json;

use crate::Scheme;

/// The smallest committee that the contract may name: the smallest that stands a member's failure.
pub const COMMITTEE_SIZE_MIN: usize = 4;

/// A seat in a committee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// What its holder signs with.
    pub key: PublicKey,
    /// Where its node is reached, as the contract has it: `host:port`.
    pub network_address: Vec<u8>,
}

/// Names the committee of each epoch.
pub trait Committees: Clone + Send + Sync + 'static {
    /// The committee of an epoch; `None` while what was executed here does not decide it.
    ///
    /// Once given, the keys of an epoch never change. The first two epochs are decided from the start, and
    /// each later one at the latest when the last block before it was executed.
    fn committee(&self, epoch: u64) -> Option<Vec<Seat>>;
}

/// The same committee for ever.
#[derive(Clone, Debug)]
pub struct FixedCommittee(pub Arc<[Seat]>);

impl Committees for FixedCommittee {
    fn committee(&self, _epoch: u64) -> Option<Vec<Seat>> {
        Some(self.0.to_vec())
    }
}

sol! {
    /// A seat as `Validators` gives it.
    struct ElectedMember {
        address account;
        address institution;
        bytes32 key;
        bytes networkAddress;
    }

    /// The one view of `Validators` that the agreement needs.
    function committee(uint256 epoch) external view returns (ElectedMember[] members);
}

/// The committees that the contract `Validators` names.
#[derive(Clone)]
pub struct ElectedCommittees {
    rpc: Arc<Rpc>,
    contract: Address,
}

impl ElectedCommittees {
    /// Reads them from the contract at `contract`, in the newest state of `chain`.
    #[must_use]
    pub fn new(chain: Chain, contract: Address) -> Self {
        Self { rpc: Arc::new(Rpc::new(chain)), contract }
    }
}

impl Committees for ElectedCommittees {
    /// `None` too when the contract names fewer than [`COMMITTEE_SIZE_MIN`]: then nothing could be agreed
    /// on that another would have to believe.
    fn committee(&self, epoch: u64) -> Option<Vec<Seat>> {
        let input = committeeCall { epoch: U256::from(epoch) }.abi_encode();
        let call = json!([{ "to": self.contract, "input": alloy_primitives::Bytes::from(input) }, "latest"]);
        let answer = self.rpc.handle("eth_call", call).ok()?;
        let answer: alloy_primitives::Bytes = serde_json::from_value(answer).ok()?;
        let members = committeeCall::abi_decode_returns(&answer).ok()?;
        let seats = members.into_iter().map(|member| {
            let key =
                PublicKey::decode(bytes::Bytes::copy_from_slice(member.key.as_slice())).ok()?;
            Some(Seat { key, network_address: member.networkAddress.to_vec() })
        });
        let seats: Vec<Seat> = seats.collect::<Option<_>>()?;
        (seats.len() >= COMMITTEE_SIZE_MIN).then_some(seats)
    }
}

/// What signs and checks signatures, epoch by epoch, as far as the committees are known.
#[derive(Clone)]
pub(crate) struct Schedule<C>(Arc<Inner<C>>);

struct Inner<C> {
    /// What all signatures are bound to: this protocol on this chain.
    namespace: Vec<u8>,
    key: PrivateKey,
    committees: C,
    known: Mutex<BTreeMap<u64, Arc<Scheme>>>,
}

impl<C: Committees> Schedule<C> {
    pub(crate) fn new(namespace: Vec<u8>, key: PrivateKey, committees: C) -> Self {
        let known = Mutex::default();
        Self(Arc::new(Inner { namespace, key, committees, known }))
    }

    /// The scheme of an epoch: one that signs when this member has a seat.
    pub(crate) fn scheme(&self, epoch: u64) -> Option<Arc<Scheme>> {
        let Inner { namespace, key, committees, known } = &*self.0;
        let mut known = known.lock();
        if let Some(scheme) = known.get(&epoch) {
            return Some(Arc::clone(scheme));
        }
        let keys = committees.committee(epoch)?.into_iter().map(|seat| seat.key);
        let keys: Set<PublicKey> = keys.try_collect().ok()?;
        let scheme = Scheme::signer(namespace, keys.clone(), key.clone())
            .unwrap_or_else(|| Scheme::verifier(namespace, keys));
        let scheme = Arc::new(scheme);
        known.insert(epoch, Arc::clone(&scheme));
        Some(scheme)
    }
}

impl<C: Committees> Provider for Schedule<C> {
    type Scope = Epoch;
    type Scheme = Scheme;

    fn scoped(&self, epoch: Epoch) -> Option<Scoped<Scheme>> {
        self.scheme(epoch.get()).map(Scoped::scheme)
    }
}

#[cfg(test)]
mod tests {
    use alloy_sol_types::SolValue as _;
    use chain::{ChainConfig, Genesis};
    use commonware_cryptography::Signer as _;

    use super::*;

    /// The committee of a chain on which a contract answers every call with `answer`.
    fn read(answer: &[u8]) -> Option<Vec<Seat>> {
        let contract = Address::repeat_byte(7);
        // Copies what follows these eleven bytes of code, and returns it.
        let size = u16::try_from(answer.len()).unwrap().to_be_bytes();
        let code = [0x61, size[0], size[1], 0x80, 0x60, 11, 0x5f, 0x39, 0x5f, 0xf3, 0x00];
        let code = [&code, answer].concat();
        let account = alloy_genesis::GenesisAccount {
            code: Some(code.into()),
            ..alloy_genesis::GenesisAccount::default()
        };
        let genesis = Genesis::new(1, 0).with_account(contract, account);
        let dir = tempfile::tempdir().unwrap();
        let chain = Chain::open(ChainConfig::new(dir.path(), genesis, Arc::new(|| 0))).unwrap();
        let committee = ElectedCommittees::new(chain.clone(), contract).committee(1);
        chain.close();
        committee
    }

    fn members(count: u64) -> Vec<ElectedMember> {
        let member = |seed| {
            let key: [u8; 32] =
                PrivateKey::from_seed(seed).public_key().as_ref().try_into().unwrap();
            ElectedMember {
                account: Address::repeat_byte(1),
                institution: Address::repeat_byte(2),
                key: key.into(),
                networkAddress: b"node.example:9000".into(),
            }
        };
        (0..count).map(member).collect()
    }

    #[test]
    fn committee_is_what_the_contract_names() {
        let seats = read(&members(4).abi_encode()).unwrap();
        let keys: Vec<_> = (0..4).map(|seed| PrivateKey::from_seed(seed).public_key()).collect();
        assert_eq!(seats.iter().map(|seat| seat.key.clone()).collect::<Vec<_>>(), keys);
        assert_eq!(seats[0].network_address, b"node.example:9000");
    }

    #[test]
    fn too_small_a_committee_is_none() {
        assert_eq!(read(&members(3).abi_encode()), None);
        assert_eq!(read(&members(0).abi_encode()), None);
    }

    #[test]
    fn an_answer_that_is_no_committee_is_none() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0xff; 64]), None);
    }
}
