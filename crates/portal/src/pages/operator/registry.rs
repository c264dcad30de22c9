//! The registry as it stands on the chain: institutions, votes, professionals, keys.
//!
//! It is read from what the contract announced and from its own views, so that it is what every member sees and not
//! what this gateway believes.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, U256, hex};
use alloy_rpc_types_eth::Log;
use alloy_sol_types::{SolCall, SolEvent, SolValue as _};
use bindings::{Contract, Deployment, Registry};
use serde_json::json;

use crate::{
    fault::Fault,
    pages::explorer::{interfaces, node::Node},
};

/// How many of the latest proposals are shown.
const PROPOSALS: u64 = 20;

/// How many professionals are looked up.
pub(crate) const PROFESSIONALS_MAX: usize = 200;

/// An institution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Institution {
    pub(crate) role: String,
    /// Since when, in seconds since 1970, where the chain says it.
    pub(crate) since: Option<u64>,
    pub(crate) is_in_force: bool,
}

/// A professional of an institution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Professional {
    pub(crate) role: String,
    pub(crate) until: u64,
    pub(crate) is_in_force: bool,
}

/// Something that the members vote on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposal {
    pub(crate) id: u64,
    pub(crate) what: What,
    pub(crate) deadline: u64,
    pub(crate) is_executed: bool,
    pub(crate) votes: u64,
    pub(crate) voters: Vec<Address>,
}

/// What a proposal would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Something is done about a member.
    Member { doing: &'static str, member: Address },
    /// Contracts are entered in the directory, by name.
    Directory(Vec<String>),
    /// A later version of the contract knows.
    Unknown,
}

/// A change of a member's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rotation {
    pub(crate) old: Address,
    pub(crate) new: Address,
    pub(crate) at: Option<u64>,
}

/// How others reach a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) version: u64,
    pub(crate) endpoint: String,
    pub(crate) peer: B256,
    pub(crate) sealing_key_bytes: usize,
    pub(crate) at: Option<u64>,
}

/// Reads the registry of a chain.
#[derive(Clone, Copy)]
pub(crate) struct Roll<'a> {
    node: Node<'a>,
    registry: Address,
}

impl<'a> Roll<'a> {
    pub(crate) const fn new(node: Node<'a>, deployment: &Deployment) -> Self {
        Self { node, registry: deployment.address(Contract::Registry) }
    }

    async fn view<C: SolCall>(&self, call: C) -> Result<C::Return, Fault> {
        let request =
            json!({ "to": self.registry, "input": hex::encode_prefixed(call.abi_encode()) });
        let answer = self.node.call(request, "latest").await?;
        C::abi_decode_returns(&answer).map_err(|_| Fault::Unavailable)
    }

    async fn logs(&self, topics: serde_json::Value) -> Result<Vec<Log>, Fault> {
        let filter = json!({ "address": self.registry, "topics": topics, "fromBlock": "0x0", "toBlock": "latest" });
        Ok(self.node.logs(filter).await?)
    }

    /// All institutions that ever were members, by member address.
    pub(crate) async fn institutions(&self) -> Result<BTreeMap<Address, Institution>, Fault> {
        let kinds = [
            Registry::InstitutionAdmitted::SIGNATURE_HASH,
            Registry::InstitutionExpelled::SIGNATURE_HASH,
        ];
        let mut found = BTreeMap::new();
        for log in self.logs(json!([kinds])).await? {
            if let Ok(event) = Registry::InstitutionAdmitted::decode_log(&log.inner) {
                let role = enum_name("InstitutionRole", event.role);
                let institution =
                    Institution { role, since: log.block_timestamp, is_in_force: true };
                found.insert(event.member, institution);
            } else if let Ok(event) = Registry::InstitutionExpelled::decode_log(&log.inner)
                && let Some(institution) = found.get_mut(&event.member)
            {
                institution.is_in_force = false;
            }
        }
        Ok(found)
    }

    /// The latest proposals, the newest first.
    pub(crate) async fn proposals(&self) -> Result<Vec<Proposal>, Fault> {
        let count = self.view(Registry::proposalCountCall {}).await?;
        let count = u64::try_from(count).unwrap_or(0);
        let mut found = Vec::new();
        for id in (count.saturating_sub(PROPOSALS) + 1..=count).rev() {
            let proposal = self.view(Registry::proposalCall { id: U256::from(id) }).await?;
            let votes = self.view(Registry::votesCall { id: U256::from(id) }).await?;
            let word = B256::from(U256::from(id));
            let voted = self.logs(json!([Registry::Voted::SIGNATURE_HASH, word])).await?;
            let voters = voted
                .iter()
                .filter_map(|log| Some(Registry::Voted::decode_log(&log.inner).ok()?.member));
            found.push(Proposal {
                id,
                what: what(proposal.kind, &proposal.content),
                deadline: proposal.deadline.to(),
                is_executed: proposal.executed,
                votes: votes.saturating_to(),
                voters: voters.collect(),
            });
        }
        Ok(found)
    }

    /// How many votes are more than half of the institutions in force.
    pub(crate) async fn majority(&self) -> Result<u64, Fault> {
        let count: u64 = self.view(Registry::institutionCountCall {}).await?.saturating_to();
        Ok(count / 2 + 1)
    }

    /// The professionals whom an institution ever vouched for, and whether there are more.
    pub(crate) async fn professionals(
        &self,
        institution: Address,
    ) -> Result<(BTreeMap<Address, Professional>, bool), Fault> {
        let of = institution.into_word();
        let mut members = Vec::new();
        for log in self.logs(json!([Registry::ProfessionalAccredited::SIGNATURE_HASH, of])).await? {
            if let Ok(event) = Registry::ProfessionalAccredited::decode_log(&log.inner)
                && !members.contains(&event.professional)
            {
                members.push(event.professional);
            }
        }
        let are_more = members.len() > PROFESSIONALS_MAX;
        let mut found = BTreeMap::new();
        for member in members.into_iter().rev().take(PROFESSIONALS_MAX) {
            let said = self.view(Registry::accreditationOfCall { member }).await?;
            // Whoever went elsewhere is in force there, and not here.
            let is_in_force = said.institution == institution
                && self.view(Registry::isActiveCall { member }).await?;
            let professional = Professional {
                role: enum_name("ProfessionalRole", said.role),
                until: said.until.to(),
                is_in_force,
            };
            found.insert(member, professional);
        }
        Ok((found, are_more))
    }

    /// The key that a member signs with now.
    pub(crate) async fn signer(&self, member: Address) -> Result<Address, Fault> {
        self.view(Registry::signerOfCall { member }).await
    }

    /// The changes of a member's key, the newest first.
    pub(crate) async fn rotations(&self, member: Address) -> Result<Vec<Rotation>, Fault> {
        let logs =
            self.logs(json!([Registry::KeyRotated::SIGNATURE_HASH, member.into_word()])).await?;
        let rotations = logs.iter().rev().filter_map(|log| {
            let event = Registry::KeyRotated::decode_log(&log.inner).ok()?;
            Some(Rotation { old: event.oldSigner, new: event.newSigner, at: log.block_timestamp })
        });
        Ok(rotations.collect())
    }

    /// What a member says of how it is reached, when it said anything.
    pub(crate) async fn profile(&self, member: Address) -> Result<Option<Profile>, Fault> {
        let logs =
            self.logs(json!([Registry::ProfileSet::SIGNATURE_HASH, member.into_word()])).await?;
        Ok(logs.last().and_then(|log| {
            let event = Registry::ProfileSet::decode_log(&log.inner).ok()?;
            Some(Profile {
                version: event.version,
                endpoint: event.endpoint.clone(),
                peer: event.peerId,
                sealing_key_bytes: event.hpkeKey.len(),
                at: log.block_timestamp,
            })
        }))
    }
}

fn enum_name(enumeration: &str, value: u8) -> String {
    let registry = interfaces::of(Contract::Registry);
    let name = registry.value_name(enumeration, None, usize::from(value));
    name.unwrap_or_else(|| format!("role {value}"))
}

/// What a proposal's content says, by its kind.
///
/// # Source
///
/// `ProposalKind` and `_executeIfDecided` in `Registry.sol`.
fn what(kind: u8, content: &[u8]) -> What {
    let member = |doing: &'static str| match content.get(..32).map(Address::abi_decode) {
        Some(Ok(member)) => What::Member { doing, member },
        _ => What::Unknown,
    };
    match kind {
        1 => member("Admit a new institution"),
        2 => member("Admit an institution again"),
        3 => member("Expel an institution"),
        4 => member("Give an institution a new key"),
        5 => match <(Vec<B256>, Vec<Address>)>::abi_decode_params(content) {
            Ok((names, _)) => What::Directory(names.iter().map(text).collect()),
            Err(_) => What::Unknown,
        },
        _ => What::Unknown,
    }
}

/// The text at the left of a word.
fn text(word: &B256) -> String {
    let text: Vec<u8> = word.iter().copied().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&text).into_owned()
}
