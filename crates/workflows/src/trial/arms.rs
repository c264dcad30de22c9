//! Who gets what: two seeds, a nonce, and the arm that follows from them.
//!
//! ```text
//! commitment = keccak256(abi.encode(trial, party, seed))
//! seed       = keccak256(abi.encode(sponsor's seed, custodian's seed))
//! arm        = uint256(keccak256(abi.encode(seed, trial, patient, nonce))) % arms
//! allocation = keccak256(abi.encode(trial, patient, arm, salt))
//! ```
//!
//! Sponsor and regulator each have a seed that follows from their own key, so that it is nowhere to be found
//! and never lost. Both go, sealed, to the pharmacist of a site, who so knows the arms at all sites; nobody else does
//! before the data is locked, save a physician who unblinds one subject and says why. No arm is ever written down:
//! not in a record, which a care team could read, and not on chain. The patient's nonce follows from the patient's
//! own key. The salt of an allocation follows from the pharmacist's, so that the site's gateway cannot try the few
//! arms there are.
//!
//! # Source
//!
//! `Trials.sol`, whose `armFor` gives the same; `workflows/tests/trial.rs` holds the two against each other.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue as _;
use bindings::{Contract, Registry, Trials};
use domain::{ProfessionalRole, QueryDomain, Reader, Timestamp};
use gatekeeper::Entropy;
use hmac::{Hmac, KeyInit as _, Mac as _};
use ledger::CallError;
use sha2::Sha256;
use vault::{PublicKey, SecretKey, answer};
use zeroize::Zeroizing;

use super::{State, subject_of, trial_of};
use crate::{Gateway, PatientActor, Person, Step, WorkflowError};

/// A party's share of the randomness, until it is revealed.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl Seed {
    /// The seed of an institution for a trial: the same each time, and nobody else can make it.
    #[must_use]
    pub fn derive(gateway: &Gateway, trial: B256) -> Self {
        Self(Zeroizing::new(gateway.keyed_digest("salus/trial-seed/v1", trial.as_slice()).0))
    }

    /// A seed that was drawn elsewhere. It must be random, and never used before.
    #[must_use]
    pub fn from_bytes(bytes: B256) -> Self {
        Self(Zeroizing::new(bytes.0))
    }

    /// What the party commits to.
    #[must_use]
    pub fn commitment(&self, trial: B256, party: Address) -> B256 {
        keccak256((trial, party, self.expose()).abi_encode())
    }

    pub(super) fn expose(&self) -> B256 {
        B256::from(*self.0)
    }

    /// Seals it for who hands out treatments: to the key of theirs that the registry has ([`enter_key`]).
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when that member is no pharmacist of a site of the trial, or entered no key.
    pub async fn seal_for(
        &self,
        party: &Gateway,
        trial: B256,
        pharmacist: Address,
        now: Timestamp,
    ) -> Result<Vec<u8>, WorkflowError> {
        let recipient = key_of_pharmacist(party, trial, pharmacist, now).await?;
        let keeper = &party.gatekeeper;
        let context = seed_context(trial, party.member());
        let mut rng = keeper.entropy().fork();
        Ok(answer::seal(&recipient, keeper.domain(), &context, &*self.0, &mut rng))
    }

    /// Opens what [`Seed::seal_for`] sealed. Whether it is the right one, [`Seeds::gather`] says.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when it is for somebody else, or of another trial or party.
    pub fn open(
        secret: &SecretKey,
        network: QueryDomain,
        (trial, party): (B256, Address),
        sealed: &[u8],
    ) -> Result<Self, WorkflowError> {
        let invalid = || WorkflowError::Invalid("this is no seed of this party, for you".into());
        let context = seed_context(trial, party);
        let opened = answer::open(secret, network, &context, sealed).map_err(|_| invalid())?;
        let opened = Zeroizing::new(opened);
        let bytes = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| invalid())?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

fn seed_context(trial: B256, party: Address) -> Vec<u8> {
    [b"salus/trial-seed/v1".as_slice(), trial.as_slice(), party.as_slice()].concat()
}

/// The key to which a seed is sealed: that of a pharmacist, now, of an institution that takes part as a site.
async fn key_of_pharmacist(
    party: &Gateway,
    trial: B256,
    member: Address,
    now: Timestamp,
) -> Result<PublicKey, WorkflowError> {
    let invalid = |why: &str| WorkflowError::Invalid(why.into());
    party.gatekeeper.refresh(now).await?;
    let (reader, key) = {
        let projection = party.gatekeeper.projection().await;
        let profile = projection.registry.profile(&member);
        let key = profile.and_then(|profile| PublicKey::from_bytes(&profile.hpke_key).ok());
        (projection.registry.reader_of(member, now), key)
    };
    let Some(Reader::Professional { role: ProfessionalRole::Pharmacist, institution, .. }) = reader
    else {
        return Err(invalid("seeds go to pharmacists, and this is none now"));
    };
    let call = Trials::siteOfCall { id: trial, site: institution };
    let (at, latest) = (party.at(Contract::Trials), Default::default());
    if !party.gatekeeper.ledger().call(at, &call, latest).await?.joined {
        return Err(invalid("the pharmacist's institution is no site of the trial"));
    }
    key.ok_or_else(|| invalid("the pharmacist has entered no key in the registry"))
}

/// A pharmacist enters the key in the registry to which seeds are sealed for them, unless it stands there.
///
/// # Errors
///
/// [`WorkflowError::Send`] when they are no member now.
pub async fn enter_key(
    gateway: &Gateway,
    pharmacist: &Person,
    now: Timestamp,
) -> Result<Option<Step>, WorkflowError> {
    gateway.gatekeeper.refresh(now).await?;
    let key = pharmacist.secret.public_key().to_bytes();
    let stands = {
        let projection = gateway.gatekeeper.projection().await;
        let profile = projection.registry.profile(&pharmacist.member);
        profile.is_some_and(|profile| profile.hpke_key[..] == key[..])
    };
    if stands {
        return Ok(None);
    }
    let call = Registry::setProfileCall {
        hpkeKey: key.into(),
        endpoint: String::new(),
        peerId: B256::ZERO,
    };
    let outcome = pharmacist.sender.send(gateway.at(Contract::Registry), &call).await?;
    let what = "enters the key to which others seal";
    Ok(Some(Step::new(&pharmacist.name, what, "registry.set-profile", &outcome)))
}

/// A patient's share of the randomness. Theirs alone until they open it.
#[derive(Clone)]
pub struct Nonce(B256);

impl std::fmt::Debug for Nonce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Nonce(..)")
    }
}

impl Nonce {
    /// The patient's for a trial: the same each time, and nobody else can make it. It is there before the consent
    /// that commits to it is sent, and is not lost with a device as long as the patient has their key.
    #[must_use]
    pub fn derive(patient: &PatientActor, trial: B256) -> Self {
        Self(of_key(&patient.secret, b"salus/trial-nonce/v1\0", &[trial.as_slice()]))
    }

    /// A fresh one, drawn on the patient's device, to be kept before the consent is sent.
    #[must_use]
    pub fn make(entropy: &Entropy) -> Self {
        Self(B256::from(entropy.bytes::<32>()))
    }

    /// One that the patient kept.
    #[must_use]
    pub const fn from_bytes(bytes: B256) -> Self {
        Self(bytes)
    }

    /// What the patient commits to with the first consent.
    #[must_use]
    pub fn commitment(&self) -> B256 {
        keccak256(self.0)
    }

    /// What the patient keeps, and opens once enrolled.
    #[must_use]
    pub const fn expose(&self) -> B256 {
        self.0
    }
}

/// The arm that seeds and nonce give, from 0.
#[must_use]
pub fn arm_for(
    [sponsor, custodian]: [B256; 2],
    trial: B256,
    patient: Address,
    nonce: B256,
    arms: u8,
) -> u8 {
    let seed = keccak256((sponsor, custodian).abi_encode());
    let drawn = U256::from_be_bytes(keccak256((seed, trial, patient, nonce).abi_encode()).0);
    // The remainder is below `arms`.
    (drawn % U256::from(arms.max(1))).to()
}

/// Both seeds of a trial: whoever has them knows the arm of everybody who opened their nonce.
pub struct Seeds {
    trial: B256,
    arms: u8,
    sponsor: Seed,
    custodian: Seed,
}

impl std::fmt::Debug for Seeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seeds").field("trial", &self.trial).finish_non_exhaustive()
    }
}

impl Seeds {
    /// Both seeds, each held against what its party committed to.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when one is another than was committed to.
    pub async fn gather(
        gateway: &Gateway,
        trial: B256,
        sponsor: Seed,
        custodian: Seed,
    ) -> Result<Self, WorkflowError> {
        let (_, held) = trial_of(gateway, trial).await?;
        let fits = sponsor.commitment(trial, held.sponsor) == held.sponsorCommitment
            && custodian.commitment(trial, held.custodian) == held.custodianCommitment;
        if !fits {
            let why = "a seed is not the one that its party committed to";
            return Err(WorkflowError::Invalid(why.into()));
        }
        Ok(Self { trial, arms: held.arms, sponsor, custodian })
    }

    fn arm(&self, patient: Address, nonce: B256) -> u8 {
        let seeds = [self.sponsor.expose(), self.custodian.expose()];
        arm_for(seeds, self.trial, patient, nonce, self.arms)
    }

    /// What the pharmacist of a subject's site commits to, once the subject opened the nonce.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] before the nonce is open.
    pub async fn allocation(
        &self,
        site: &Gateway,
        pharmacist: &Person,
        patient: Address,
    ) -> Result<Allocation, WorkflowError> {
        let arm = self.arm(patient, open_nonce_of(site, self.trial, patient).await?);
        let salt = allocation_salt(pharmacist, self.trial, patient);
        Ok(Allocation { arm, commitment: commit(self.trial, patient, arm, salt) })
    }

    /// The arm of a subject, told to somebody who may know it now: the pharmacists of the subject's site, its
    /// physicians once this subject is unblinded, and everybody once both seeds are revealed.
    ///
    /// # Errors
    ///
    /// [`WorkflowError::Invalid`] when they may not, or there is no arm yet.
    pub async fn tell(
        &self,
        site: &Gateway,
        asker: &Person,
        patient: Address,
    ) -> Result<u8, WorkflowError> {
        let (state, _) = trial_of(site, self.trial).await?;
        let (_, subject) = subject_of(site, self.trial, patient).await?;
        let (role, institution) = standing_of(site, asker).await?;
        if !may_know(state, subject.unblinded, role, institution == subject.site) {
            let why = "whoever asks may not know the arm: the trial is blinded";
            return Err(WorkflowError::Invalid(why.into()));
        }
        Ok(self.arm(patient, open_nonce_of(site, self.trial, patient).await?))
    }
}

/// Who may know a subject's arm: the blinding, as one rule.
#[must_use]
pub const fn may_know(
    state: State,
    is_unblinded: bool,
    role: ProfessionalRole,
    is_of_site: bool,
) -> bool {
    match state {
        State::Unblinded | State::Published => true,
        _ if !is_of_site => false,
        _ => match role {
            ProfessionalRole::Pharmacist => true,
            ProfessionalRole::Physician => is_unblinded,
            _ => false,
        },
    }
}

/// As the registry has somebody now, whatever they say.
pub(super) async fn standing_of(
    gateway: &Gateway,
    person: &Person,
) -> Result<(ProfessionalRole, Address), WorkflowError> {
    let call = Registry::professionalCall { signer: person.sender.address() };
    let (at, latest) = (gateway.at(Contract::Registry), Default::default());
    let unknown = || WorkflowError::Invalid("whoever asks is no professional now".into());
    let held = match gateway.gatekeeper.ledger().call(at, &call, latest).await {
        Ok(held) => held,
        Err(CallError::Reverted(_)) => return Err(unknown()),
        Err(error) => return Err(error.into()),
    };
    let role = ProfessionalRole::try_from(held.role).map_err(|_| unknown())?;
    Ok((role, held.employer))
}

async fn open_nonce_of(
    gateway: &Gateway,
    trial: B256,
    patient: Address,
) -> Result<B256, WorkflowError> {
    let (_, subject) = subject_of(gateway, trial, patient).await?;
    let sealed = || WorkflowError::Invalid("the patient did not open the nonce yet".into());
    (!subject.nonce.is_zero()).then_some(subject.nonce).ok_or_else(sealed)
}

/// What a pharmacist commits to, and why.
#[derive(Clone)]
pub struct Allocation {
    /// What the subject gets, from 0. For the pharmacist only.
    pub arm: u8,
    /// What goes on chain.
    pub commitment: B256,
}

impl std::fmt::Debug for Allocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Allocation").field("commitment", &self.commitment).finish_non_exhaustive()
    }
}

/// What goes on chain of an arm that was handed out.
#[must_use]
pub fn commit(trial: B256, patient: Address, arm: u8, salt: B256) -> B256 {
    keccak256((trial, patient, U256::from(arm), salt).abi_encode())
}

/// The salt of an allocation: the pharmacist's, the same each time, and to be told once everybody is unblinded.
#[must_use]
pub fn allocation_salt(pharmacist: &Person, trial: B256, patient: Address) -> B256 {
    let about = [trial.as_slice(), patient.as_slice()];
    of_key(&pharmacist.secret, b"salus/trial-allocation/v1\0", &about)
}

/// What follows from somebody's key, under a label that ends with a zero.
fn of_key(secret: &SecretKey, label: &[u8], about: &[&[u8]]) -> B256 {
    let key = secret.to_bytes();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key may have any length");
    mac.update(label);
    about.iter().for_each(|part| mac.update(part));
    B256::from_slice(&mac.finalize().into_bytes())
}

/// The arm of a subject, once both seeds are revealed, as the contract has it.
///
/// # Errors
///
/// [`WorkflowError::Call`] before that, and for whoever never opened their nonce.
pub async fn arm_of(gateway: &Gateway, trial: B256, patient: Address) -> Result<u8, WorkflowError> {
    let call = Trials::armOfCall { id: trial, patient };
    let (at, latest) = (gateway.at(Contract::Trials), Default::default());
    let arm = gateway.gatekeeper.ledger().call(at, &call, latest).await?;
    u8::try_from(arm).map_err(|_| WorkflowError::Invalid("there are no such arms".into()))
}

/// Whether a subject was handed out what the seeds say, once both are revealed, by the salt of who did.
///
/// # Errors
///
/// As [`arm_of`].
pub async fn is_allocated_rightly(
    gateway: &Gateway,
    trial: B256,
    patient: Address,
    salt: B256,
) -> Result<bool, WorkflowError> {
    let call = Trials::isAllocatedRightlyCall { id: trial, patient, salt };
    let (at, latest) = (gateway.at(Contract::Trials), Default::default());
    Ok(gateway.gatekeeper.ledger().call(at, &call, latest).await?)
}
