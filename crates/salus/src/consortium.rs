//! A whole consortium in one process: chain, contracts, institutions with their gateways, people.
//!
//! Opening continues what is in the directory: what was set up before is found on chain and not done
//! again, and what a crash left unfinished is finished.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_provider::Provider as _;
use bindings::{Contract, Deployment, Registry, contract_name, convert::to_uint40};
use chain::{Chain, ChainConfig, Clock, Genesis, Rpc, Sealing};
use domain::{RelationshipState, Timestamp};
use futures_util::future::{try_join, try_join_all};
use gatekeeper::Entropy;
use ledger::{Ledger, PrivateKeySigner, Sender, creation, deploy, predict_account};
use vault::{Database, Kem, Keyring, SecretKey};
use workflows::{
    Gateway, PatientActor, Person, Step, WorkflowError,
    copies::{self, Fetched},
    import::{Identifier, ParsedPatient},
    relationship,
};

use crate::{
    Error,
    gateway::{Tokens, identity_digest},
    institution::{self, Secrets, Store, read_deployment},
    keys::KeyStore,
    people::{INSTITUTIONS, PEOPLE, Patients},
    system::{random_seed, real_time},
};

/// The chain's id: the digits of a telephone keypad for SALUS.
pub(crate) const CHAIN_ID: u64 = 72_587;

/// How long the people of the demonstration are accredited.
const ACCREDITATION: Duration = Duration::from_secs(365 * 86_400);

/// What somebody gets who joins a running consortium, in wei: a thousand ether, which pay for nothing here.
const ETHER: U256 = U256::from_limbs([0x35c9_adc5_dea0_0000, 0x36, 0, 0]);

/// How long closing waits for the last receipts to be anchored.
const CLOSING_TIME: Duration = Duration::from_secs(5);

/// A running consortium.
pub(crate) struct Consortium {
    pub(crate) keys: KeyStore,
    pub(crate) rpc: Rpc,
    pub(crate) ledger: Ledger,
    pub(crate) deployment: Deployment,
    pub(crate) patients: Patients,
    gateways: BTreeMap<&'static str, Gateway>,
    secrets: BTreeMap<&'static str, Secrets>,
    people: BTreeMap<&'static str, Person>,
    /// Who gives tokens for each gateway, while they are served.
    pub(crate) tokens: OnceLock<BTreeMap<String, Tokens>>,
    /// What setting up did, for the table of costs.
    pub(crate) setup: Vec<Step>,
}

/// How a consortium is opened.
#[derive(Clone, Debug, Default)]
pub(crate) struct OpenOptions {
    /// All keys follow from these bytes instead of the system's randomness.
    pub(crate) seed: Option<B256>,
    /// Blocks at intervals instead of at once.
    pub(crate) seal_every: Option<Duration>,
}

impl Consortium {
    /// Opens the consortium in a directory, founding it when there is none.
    pub(crate) async fn open(dir: &Path, options: &OpenOptions) -> Result<Self, Error> {
        if options.seed.is_some() && dir.join("chain").exists() {
            // Drawn again from the start, what is public now would be what was secret then.
            return Err("--seed founds a consortium, and there is one already; leave it out".into());
        }
        let entropy = Entropy::from_seed(match options.seed {
            Some(seed) => seed.0,
            None => random_seed()?,
        });
        let keys = KeyStore::open(dir, entropy.clone())?;
        let mut stores = BTreeMap::new();
        for (name, _) in INSTITUTIONS {
            let database = keys.database(name).await?;
            stores.insert(name, Store::open(&keys, name, database).await?);
        }
        let mut signers = BTreeMap::new();
        for (name, institution, _) in PEOPLE {
            let secret =
                keys.secret(&stores[institution].keyring, &format!("person/{name}")).await?;
            signers.insert(name, PrivateKeySigner::from_bytes(&B256::from(*secret))?);
        }
        let chain = open_chain(&keys, &stores, &signers)?;
        chain.run_solo(options.seal_every.map_or(Sealing::Instant, Sealing::Interval));
        let rpc = Rpc::new(chain);
        let ledger = Ledger::embedded(rpc.clone());
        let mut setup = Vec::new();
        let deployment = deployment(&keys, &ledger, &stores, &mut setup).await?;
        let (mut gateways, mut secrets) = (BTreeMap::new(), BTreeMap::new());
        for (name, role) in INSTITUTIONS {
            let store = stores.remove(name).ok_or("every institution has a store")?;
            let opened = store.gateway(&keys, &ledger, deployment, name, role, &entropy).await?;
            gateways.insert(name, opened.0);
            secrets.insert(name, opened.1);
        }
        let mut people = BTreeMap::new();
        for (name, institution, role) in PEOPLE {
            let gateway: &Gateway = &gateways[institution];
            let root_key = keys.root_key(institution)?;
            let keyring = Keyring::open(gateway.gatekeeper.vault().database(), &root_key).await?;
            let hpke = keys.secret(&keyring, &format!("person/{name}/hpke")).await?;
            let signer = &signers[name];
            let person = Person {
                name: name.into(),
                member: signer.address(),
                role,
                sender: Sender::new(ledger.clone(), signer.clone()),
                secret: SecretKey::derive(Kem::X25519, &hpke),
            };
            people.insert(name, person);
        }
        let patients = open_patients(&keys, deployment).await?;
        let mut consortium = Self {
            keys,
            rpc,
            ledger,
            deployment,
            patients,
            gateways,
            secrets,
            people,
            tokens: OnceLock::new(),
            setup,
        };
        consortium.register().await?;
        consortium.recover().await?;
        Ok(consortium)
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(self.chain().now())
    }

    pub(crate) const fn chain(&self) -> &Chain {
        self.rpc.chain()
    }

    /// An institution that is always there.
    pub(crate) fn institution(&self, name: &str) -> &Gateway {
        self.find_institution(name).expect("the demonstration's institutions are all there")
    }

    pub(crate) fn find_institution(&self, name: &str) -> Option<&Gateway> {
        self.gateways.get(name)
    }

    /// What an institution's servers need beside its gateway.
    pub(crate) fn secrets(&self, name: &str) -> &Secrets {
        self.secrets.get(name).expect("the demonstration's institutions are all there")
    }

    pub(crate) fn institutions(&self) -> impl Iterator<Item = &Gateway> {
        INSTITUTIONS.iter().map(|(name, _)| &self.gateways[name])
    }

    /// A person who is always there.
    pub(crate) fn person(&self, name: &str) -> &Person {
        self.find_person(name).expect("the demonstration's people are all there")
    }

    pub(crate) fn find_person(&self, name: &str) -> Option<&Person> {
        self.people.get(name)
    }

    pub(crate) fn people(&self) -> impl Iterator<Item = (&'static str, &Person)> {
        PEOPLE.iter().map(|(name, institution, _)| (*institution, &self.people[name]))
    }

    /// What people call the one behind an address.
    pub(crate) fn name_of(&self, address: Address) -> String {
        let gateway = self.gateways.values().find(|gateway| gateway.member() == address);
        let person = self.people.values().find(|person| person.member == address);
        gateway
            .map(|gateway| gateway.name.clone())
            .or_else(|| person.map(|person| person.name.clone()))
            .or_else(|| {
                self.patients.find(&address.to_string()).map(|patient| patient.name.clone())
            })
            .unwrap_or_else(|| crate::table::short(address))
    }

    /// Enters people, profiles and the directory in the registry, as far as they are not there yet.
    async fn register(&mut self) -> Result<(), Error> {
        let now = self.now();
        for gateway in self.gateways.values() {
            gateway.gatekeeper.refresh(now).await?;
        }
        let registry = self.deployment.address(Contract::Registry);
        let mut steps = Vec::new();
        for (name, institution, role) in PEOPLE {
            let gateway = &self.gateways[institution];
            let member = self.people[name].member;
            if gateway.gatekeeper.projection().await.registry.professional(&member).is_some() {
                continue;
            }
            // The chain gave ether to those who were there when it began.
            let has = self.ledger.provider().get_balance(member).await?;
            if has.is_zero() {
                gateway.sender().transfer(member, ETHER).await?;
            }
            let until = to_uint40(now.after(ACCREDITATION));
            let call = Registry::accreditCall { signer: member, role: role.number(), until };
            let outcome = gateway.sender().send(registry, &call).await?;
            let what = format!("accredits {name} as {role}");
            steps.push(Step::new(&gateway.name, what, "registry.accredit", &outcome));
        }
        for (name, _) in INSTITUTIONS {
            let gateway = &self.gateways[name];
            let member = gateway.member();
            if gateway.gatekeeper.projection().await.registry.profile(&member).is_none() {
                let call = Registry::setProfileCall {
                    hpkeKey: gateway.secret.public_key().to_bytes().into(),
                    endpoint: format!("salus://{name}"),
                    peerId: B256::ZERO,
                };
                let outcome = gateway.sender().send(registry, &call).await?;
                let what = "publishes its key and address";
                steps.push(Step::new(name, what, "registry.set-profile", &outcome));
            }
        }
        steps.extend(self.vote_for_directory(registry).await?);
        self.setup.extend(steps);
        Ok(())
    }

    /// The founders vote until the directory names the contracts.
    async fn vote_for_directory(&self, registry: Address) -> Result<Vec<Step>, Error> {
        let mut steps = Vec::new();
        for (name, _) in INSTITUTIONS {
            let listed = Registry::contractAtCall { name: contract_name(Contract::Records) };
            let listed = self.ledger.call(registry, &listed, BlockId::latest()).await?;
            if listed == self.deployment.address(Contract::Records) {
                break;
            }
            let vote = Registry::voteCall { id: U256::ONE };
            // Whoever voted before is refused, which is as good.
            if let Ok(outcome) = self.gateways[name].sender().send(registry, &vote).await {
                let what = "votes for the contracts' directory";
                steps.push(Step::new(name, what, "registry.vote", &outcome));
            }
        }
        Ok(steps)
    }

    /// Finishes what a crash left between vault and chain.
    async fn recover(&self) -> Result<(), Error> {
        for gateway in self.gateways.values() {
            institution::finish_anchoring(gateway, self.now()).await?;
        }
        Ok(())
    }

    /// The accounts of patients, in their order. At the first meeting each gets an account, a
    /// relationship with the hospital, and the identity number's digest in the registry; all of them
    /// at the same time, so that they share blocks.
    pub(crate) async fn meet(
        &self,
        patients: &[ParsedPatient],
        steps: &mut Vec<Step>,
    ) -> Result<Vec<Address>, WorkflowError> {
        let failed = |error: Error| WorkflowError::Invalid(error.to_string());
        let hospital = self.institution("hospital");
        let source = |patient: &ParsedPatient| {
            hospital.keyed_digest("salus/source-id/v1", patient.id.as_bytes())
        };
        let is_new = |source: &B256| self.patients.by_source(*source).is_none();
        let new: Vec<B256> = patients.iter().map(source).filter(is_new).collect();
        let next = self.patients.len();
        let making = (next..next + new.len()).map(|index| self.make_account(hospital, index));
        let made = try_join_all(making).await?;
        let accounts = made.iter().map(|(account, _)| *account);
        self.patients.add_all(accounts.zip(new)).map_err(failed)?;
        steps.extend(made.into_iter().filter_map(|(_, step)| step));

        hospital.gatekeeper.refresh(self.now()).await?;
        let numbers = self.numbers_to_bind(hospital, patients).await;
        let known = |patient| self.patients.by_source(source(patient));
        let actors: Vec<Arc<PatientActor>> = patients
            .iter()
            .map(|patient| known(patient).expect("everybody has an account by now"))
            .collect();
        steps.extend(self.relate(hospital, &actors, false).await?);
        let binding = actors.iter().zip(numbers).filter_map(|(actor, number)| {
            number.map(|digest| self.bind_identity(hospital, actor, digest))
        });
        steps.extend(try_join_all(binding).await?);
        Ok(actors.iter().map(|actor| actor.account()).collect())
    }

    /// The account of the patient with this index, and the step that made it unless it was there.
    async fn make_account(
        &self,
        hospital: &Gateway,
        index: usize,
    ) -> Result<(Address, Option<Step>), WorkflowError> {
        let key = self.patients.key(index);
        let verifier = self.deployment.address(Contract::WebAuthnVerifier);
        let factory = self.deployment.address(Contract::PatientAccounts);
        let create = creation(key.signer(verifier), B256::ZERO);
        let account = predict_account(&self.ledger, factory, &create).await?;
        let code = self.ledger.provider().get_code_at(account).await;
        let code: Bytes =
            code.map_err(ledger::EndpointError::from).map_err(ledger::CallError::from)?;
        if !code.is_empty() {
            return Ok((account, None));
        }
        let outcome = hospital.sender().send(factory, &create).await?;
        let what = "makes a patient's account (passkey)";
        Ok((account, Some(Step::new(&hospital.name, what, "account.create", &outcome))))
    }

    /// Proposes and accepts relationships with patients who have none, all at the same time. What is
    /// known of the chain must be up to date.
    pub(crate) async fn relate(
        &self,
        steward: &Gateway,
        patients: &[Arc<PatientActor>],
        countersigned: bool,
    ) -> Result<Vec<Step>, WorkflowError> {
        let (mut unrelated, mut unproposed) = (Vec::new(), Vec::new());
        {
            let projection = steward.gatekeeper.projection().await;
            for patient in patients.iter().map(|patient| &**patient) {
                let held = projection.consents.relationship(patient.account(), steward.member());
                let state = held.and_then(|held| held.state);
                if state != Some(RelationshipState::Active) {
                    unrelated.push(patient);
                    if state != Some(RelationshipState::Proposed) {
                        unproposed.push(patient);
                    }
                }
            }
        }
        let proposing = unproposed
            .into_iter()
            .map(|patient| relationship::propose(steward, patient, countersigned));
        // The vault may be busy with the records of patients before; the chain is not.
        let learning = relationship::learn_keys(steward, &unrelated);
        let (mut steps, ()) = try_join(try_join_all(proposing), learning).await?;
        let now = self.now();
        let accepting = unrelated
            .into_iter()
            .map(|patient| relationship::accept_known(steward, patient, countersigned, now));
        steps.extend(try_join_all(accepting).await?);
        Ok(steps)
    }

    /// For each patient the digest of the identity number to enter in the registry, unless it is there
    /// or another of them claims the same.
    async fn numbers_to_bind(
        &self,
        authority: &Gateway,
        patients: &[ParsedPatient],
    ) -> Vec<Option<B256>> {
        let projection = authority.gatekeeper.projection().await;
        let mut claimed = HashSet::new();
        let number = |patient: &ParsedPatient| {
            let identifier = accepted_identifier(&patient.identifiers)?;
            let digest = identity_digest(authority, &identifier.system, &identifier.value);
            let bound = projection.registry.resolve(authority.member(), digest);
            (bound.is_none() && claimed.insert(digest)).then_some(digest)
        };
        patients.iter().map(number).collect()
    }

    /// An authority enters a patient's number in the registry, as a digest that only it can make.
    pub(crate) async fn bind_identity(
        &self,
        authority: &Gateway,
        patient: &PatientActor,
        digest: B256,
    ) -> Result<Step, WorkflowError> {
        let call = Registry::bindIdentityCall { digest, account: patient.account() };
        let registry = self.deployment.address(Contract::Registry);
        let outcome = authority.sender().send(registry, &call).await?;
        let what = "binds an identity number's digest to an account";
        Ok(Step::new(&authority.name, what, "registry.bind-identity", &outcome))
    }

    /// Brings a patient's records from every steward into the patient's own vault.
    pub(crate) async fn fetch_copies(
        &self,
        patient: &PatientActor,
    ) -> Result<Vec<(String, Fetched)>, Error> {
        let hospital = &self.institution("hospital").gatekeeper;
        let own = self.patients.vault(patient, hospital.domain(), hospital.entropy()).await?;
        let mut all = Vec::new();
        for steward in self.institutions() {
            let held = {
                let projection = steward.gatekeeper.projection().await;
                projection.consents.relationship(patient.account(), steward.member()).is_some()
            };
            if held {
                let fetched = copies::fetch(steward, patient, &own, self.now()).await?;
                all.push((steward.name.clone(), fetched));
            }
        }
        own.database().close().await;
        Ok(all)
    }

    /// Anchors what the access logs took in since the last time.
    pub(crate) async fn anchor_logs(&self) {
        for gateway in self.gateways.values() {
            if let Err(error) = gateway.gatekeeper.anchor_log().await {
                tracing::warn!(institution = gateway.name, %error, "the access log waits");
            }
        }
    }

    /// Stores everything and lets the directory go.
    pub(crate) async fn close(&self) {
        // With blocks at long intervals the rest is anchored after the next start.
        let _ = tokio::time::timeout(CLOSING_TIME, self.anchor_logs()).await;
        for gateway in self.gateways.values() {
            institution::close(gateway, &self.keys.dir().join(&gateway.name)).await;
        }
        self.chain().close();
    }
}

/// The number to enter in the registry: a social security number where there is one.
///
/// # Source
///
/// The system of US social security numbers in FHIR R4, section 2.24.0.11.
fn accepted_identifier(identifiers: &[Identifier]) -> Option<&Identifier> {
    let social = identifiers.iter().find(|number| number.system.ends_with("us-ssn"));
    social.or_else(|| identifiers.iter().find(|number| !number.value.is_empty()))
}

/// Opens the chain, with ether for everybody when it begins.
fn open_chain(
    keys: &KeyStore,
    stores: &BTreeMap<&'static str, Store>,
    signers: &BTreeMap<&'static str, PrivateKeySigner>,
) -> Result<Chain, Error> {
    let dir = keys.dir().join("chain");
    let clock: Clock = Arc::new(real_time);
    let genesis = Genesis::of_chain_in(&dir).unwrap_or_else(|| {
        let institutions = stores.values().map(|store| store.signer.address());
        let people = signers.values().map(PrivateKeySigner::address);
        let ether = U256::from(10).pow(U256::from(24));
        institutions.chain(people).fold(Genesis::new(CHAIN_ID, real_time()), |genesis, address| {
            genesis.with_balance(address, ether)
        })
    });
    Ok(Chain::open(ChainConfig::new(dir, genesis, clock))?)
}

/// Where the contracts are: as noted, or deployed now.
async fn deployment(
    keys: &KeyStore,
    ledger: &Ledger,
    stores: &BTreeMap<&'static str, Store>,
    setup: &mut Vec<Step>,
) -> Result<Deployment, Error> {
    let path = deployment_path(keys.dir());
    if let Some(deployment) = read_deployment(&path)? {
        return Ok(deployment);
    }
    let founders: Vec<_> =
        INSTITUTIONS.iter().map(|(name, role)| (stores[name].signer.address(), *role)).collect();
    let sender = Sender::new(ledger.clone(), stores["hospital"].signer.clone());
    let deployed = deploy(&sender, &founders).await?;
    for (contract, outcome) in &deployed.outcomes {
        let what = format!("deploys {contract}");
        setup.push(Step::new("hospital", what, "deploy", outcome));
    }
    let listed: BTreeMap<&str, Address> = Contract::ALL
        .into_iter()
        .map(|contract| (contract.name(), deployed.deployment.address(contract)))
        .collect();
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    fs::write(&path, serde_json::to_vec_pretty(&listed)?)?;
    Ok(deployed.deployment)
}

/// Where the contracts' addresses are noted, in the form that Ethereum tools use.
pub(crate) fn deployment_path(dir: &Path) -> PathBuf {
    dir.join("deployments").join(format!("{CHAIN_ID}.json"))
}

async fn open_patients(keys: &KeyStore, deployment: Deployment) -> Result<Patients, Error> {
    let dir = keys.dir_of("patients")?;
    let database = Database::open_file(&dir.join("keyring.db")).await?;
    let root_key = keys.root_key("patients")?;
    let keyring = Keyring::open(&database, &root_key).await?;
    let secret = keys.secret(&keyring, "devices").await?;
    database.close().await;
    let verifier = deployment.address(Contract::WebAuthnVerifier);
    Patients::open(dir.join("patients.json"), secret, verifier)
}
