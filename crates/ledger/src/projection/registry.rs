//! Who is who.

use std::collections::HashMap;

use alloy_primitives::{Address, B256, Bytes};
use bindings::{Registry::RegistryEvents, convert::timestamp};
use domain::{InstitutionRole, ProfessionalRole, Reader, Timestamp, UnknownNumber};
use serde::{Deserialize, Serialize};

use super::Moment;

/// Members, their keys, profiles and accreditations.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Registry {
    institutions: HashMap<Address, Institution>,
    professionals: HashMap<Address, Professional>,
    /// Open keys only: a key that was rotated away is nobody's any more.
    keys: HashMap<Address, Address>,
    profiles: HashMap<Address, Profile>,
    identities: HashMap<(Address, B256), Address>,
}

/// An institution, in force or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Institution {
    /// What it is accredited as.
    pub role: InstitutionRole,
    /// How often it was admitted.
    pub term: u32,
    /// Whether it is a member now.
    pub in_force: bool,
    /// The key it signs with.
    pub signer: Address,
}

/// A professional's latest accreditation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Professional {
    /// Who accredited them.
    pub institution: Address,
    /// In which term of that institution.
    pub term: u32,
    /// In which role they act.
    pub role: ProfessionalRole,
    /// When the accreditation ends.
    pub until: Timestamp,
    /// Whether it was taken back or given up.
    pub ended: bool,
    /// The key they sign with.
    pub signer: Address,
}

/// How to reach a member, and what to seal answers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Counts the profiles that the member set.
    pub version: u64,
    /// The public key for sealing (HPKE).
    pub hpke_key: Bytes,
    /// The gateway's URL.
    pub endpoint: String,
    /// The name in the peer-to-peer network.
    pub peer_id: B256,
}

impl Registry {
    pub(super) fn apply(&mut self, event: RegistryEvents, _: Moment) -> Result<(), UnknownNumber> {
        match event {
            RegistryEvents::InstitutionAdmitted(admitted) => {
                let role = InstitutionRole::try_from(admitted.role)?;
                let (term, signer) = (admitted.term, admitted.signer);
                let institution = Institution { role, term, in_force: true, signer };
                self.keys.insert(signer, admitted.member);
                self.institutions.insert(admitted.member, institution);
            }
            RegistryEvents::InstitutionExpelled(expelled) => {
                if let Some(institution) = self.institutions.get_mut(&expelled.member) {
                    institution.in_force = false;
                    self.keys.remove(&institution.signer);
                }
            }
            RegistryEvents::ProfessionalAccredited(accredited) => {
                let role = ProfessionalRole::try_from(accredited.role)?;
                let member = accredited.professional;
                let signer = self.professionals.get(&member).map_or(member, |former| former.signer);
                self.keys.insert(signer, member);
                let professional = Professional {
                    institution: accredited.institution,
                    term: accredited.term,
                    role,
                    until: timestamp(accredited.until),
                    ended: false,
                    signer,
                };
                self.professionals.insert(member, professional);
            }
            RegistryEvents::AccreditationRenewed(renewed) => {
                if let Some(professional) = self.professionals.get_mut(&renewed.professional) {
                    professional.until = timestamp(renewed.until);
                }
            }
            RegistryEvents::AccreditationEnded(ended) => {
                if let Some(professional) = self.professionals.get_mut(&ended.professional) {
                    professional.ended = true;
                }
            }
            RegistryEvents::KeyRotated(rotated) => {
                self.keys.remove(&rotated.oldSigner);
                self.keys.insert(rotated.newSigner, rotated.member);
                if let Some(institution) = self.institutions.get_mut(&rotated.member) {
                    institution.signer = rotated.newSigner;
                }
                if let Some(professional) = self.professionals.get_mut(&rotated.member) {
                    professional.signer = rotated.newSigner;
                }
            }
            RegistryEvents::ProfileSet(set) => {
                let profile = Profile {
                    version: set.version,
                    hpke_key: set.hpkeKey,
                    endpoint: set.endpoint,
                    peer_id: set.peerId,
                };
                self.profiles.insert(set.member, profile);
            }
            RegistryEvents::IdentityBound(bound) => {
                self.identities.insert((bound.authority, bound.digest), bound.account);
            }
            RegistryEvents::IdentityUnbound(unbound) => {
                self.identities.remove(&(unbound.authority, unbound.digest));
            }
            RegistryEvents::ContractSet(_)
            | RegistryEvents::DeviceDecommissioned(_)
            | RegistryEvents::DeviceRegistered(_)
            | RegistryEvents::EIP712DomainChanged(_)
            | RegistryEvents::Executed(_)
            | RegistryEvents::Proposed(_)
            | RegistryEvents::Voted(_) => {}
        }
        Ok(())
    }

    /// The member, in force or not, whose latest key `signer` is.
    #[must_use]
    pub fn member_of(&self, signer: &Address) -> Option<Address> {
        self.keys.get(signer).copied()
    }

    /// Who signs with `signer` at `time`, when that member is in force then.
    #[must_use]
    pub fn reader(&self, signer: &Address, time: Timestamp) -> Option<Reader> {
        self.reader_of(*self.keys.get(signer)?, time)
    }

    /// The member at `member` as a reader, when they are in force at `time`.
    #[must_use]
    pub fn reader_of(&self, member: Address, time: Timestamp) -> Option<Reader> {
        if let Some(institution) = self.institutions.get(&member) {
            let role = institution.role;
            return institution.in_force.then_some(Reader::Institution { member, role });
        }
        let professional = self.professionals.get(&member)?;
        let (role, institution) = (professional.role, professional.institution);
        self.is_accredited(professional, time).then_some(Reader::Professional {
            member,
            role,
            institution,
        })
    }

    fn is_accredited(&self, professional: &Professional, time: Timestamp) -> bool {
        let institution = self.institutions.get(&professional.institution);
        !professional.ended
            && time < professional.until
            && institution.is_some_and(|institution| {
                institution.in_force && institution.term == professional.term
            })
    }

    /// An institution by its member address.
    #[must_use]
    pub fn institution(&self, member: &Address) -> Option<&Institution> {
        self.institutions.get(member)
    }

    /// Every institution there ever was.
    pub fn institutions(&self) -> impl Iterator<Item = (&Address, &Institution)> {
        self.institutions.iter()
    }

    /// A professional by their member address.
    #[must_use]
    pub fn professional(&self, member: &Address) -> Option<&Professional> {
        self.professionals.get(member)
    }

    /// Every professional who was ever accredited, with their latest accreditation.
    pub fn professionals(&self) -> impl Iterator<Item = (&Address, &Professional)> {
        self.professionals.iter()
    }

    /// A member's profile.
    #[must_use]
    pub fn profile(&self, member: &Address) -> Option<&Profile> {
        self.profiles.get(member)
    }

    /// The members whose profile names this peer, in force or not. No peer has the id zero.
    pub fn members_of_peer(&self, peer: B256) -> impl Iterator<Item = Address> {
        let named = move |profile: &Profile| profile.peer_id == peer && !peer.is_zero();
        self.profiles.iter().filter(move |(_, profile)| named(profile)).map(|(member, _)| *member)
    }

    /// The account that an authority in force bound to an identity digest.
    #[must_use]
    pub fn resolve(&self, authority: Address, digest: B256) -> Option<Address> {
        let in_force = self.institutions.get(&authority)?.in_force;
        self.identities.get(&(authority, digest)).copied().filter(|_| in_force)
    }
}
