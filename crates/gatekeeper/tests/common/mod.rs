//! A small network on an embedded chain whose clock stands still until a test moves it.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_eips::BlockId;
use alloy_primitives::{Address, B256, Bytes, U256, aliases::U40, keccak256};
use alloy_signer::SignerSync as _;
use alloy_sol_types::{Eip712Domain, SolCall, SolStruct as _, sol};
use bindings::{
    Consents, Contract, Deployment, PatientAccounts, Records, Registry, Relationships,
    convert::{make_id, to_anchor, to_grant, to_scope, to_uint40},
    patient_account::Call,
};
use chacha20::ChaCha20Rng;
use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing};
use domain::{
    Anchor, InstitutionRole, Kind, KindSet, Period, ProfessionalRole, Purpose, PurposeSet, Query,
    QueryDomain, RecordId, RecordVersion, Terms, Timestamp,
};
use gatekeeper::{Entropy, Gatekeeper, QuerySignature, Settings, SignedQuery};
use ledger::{
    Ledger, Outcome, Patient, PatientKey, PrivateKeySigner, Projection, SendError, Sender,
    creation, deploy,
};
use parking_lot::Mutex;
use rand_core::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use vault::{Content, Database, Entry, Kem, NewRecord, RootKey, SecretKey, Vault, VaultSettings};

sol! {
    /// What a new key signs to take the place of another.
    struct Rotate {
        address member;
        address newSigner;
        uint256 nonce;
        uint40 deadline;
    }
}

pub const CHAIN_ID: u64 = 31_337;

/// The time at which every network begins.
pub const START: u64 = 1_800_000_000;

/// What stands in every record and must stand nowhere else (S1).
pub const PLAINTEXT: &str = "Aoife Ni Bhriain PPSN 1234567TW haemoglobin 7.9";

pub fn secret(name: &str) -> B256 {
    keccak256(name)
}

pub fn wallet(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&secret(name)).unwrap()
}

pub fn address(name: &str) -> Address {
    wallet(name).address()
}

/// The key with which somebody opens answers.
pub fn sealing_key(name: &str) -> SecretKey {
    SecretKey::derive(Kem::X25519, &secret(name).0)
}

pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Records are named as Ada names what she prescribes and orders.
pub fn id(number: u64) -> RecordId {
    id_by("ada", number)
}

/// What a doctor prescribes or orders under [`salt`].
pub fn id_by(doctor: &str, number: u64) -> RecordId {
    RecordId(make_id(address(doctor), salt(number)))
}

pub fn salt(number: u64) -> B256 {
    keccak256(number.to_be_bytes())
}

pub fn version(number: u32) -> RecordVersion {
    number.try_into().unwrap()
}

/// Institutions that found the network; each has three votes' worth of company.
pub const INSTITUTIONS: [(&str, InstitutionRole); 6] = [
    ("hospital", InstitutionRole::Hospital),
    ("clinic", InstitutionRole::Hospital),
    ("emergency", InstitutionRole::Emergency),
    ("laboratory", InstitutionRole::Laboratory),
    ("pharmacy", InstitutionRole::Pharmacy),
    ("insurer", InstitutionRole::Insurer),
];

/// Who works where.
pub const STAFF: [(&str, &str, ProfessionalRole); 9] = [
    ("hospital", "ada", ProfessionalRole::Physician),
    ("hospital", "ben", ProfessionalRole::Nurse),
    ("clinic", "cai", ProfessionalRole::Physician),
    ("emergency", "dot", ProfessionalRole::Paramedic),
    ("emergency", "eve", ProfessionalRole::Physician),
    ("emergency", "fay", ProfessionalRole::PrivacyOfficer),
    ("laboratory", "gus", ProfessionalRole::LaboratoryScientist),
    ("pharmacy", "hal", ProfessionalRole::Pharmacist),
    ("insurer", "ida", ProfessionalRole::Adjudicator),
];

/// Patients who act with a key of their own; their address is their account.
pub const PATIENTS: [&str; 2] = ["pat", "quinn"];

/// Keys that nobody uses yet, to rotate to.
pub const SPARE_KEYS: [&str; 6] = ["spare1", "spare2", "spare3", "spare4", "spare5", "spare6"];

/// A network: chain, contracts, members, and folders for vaults.
pub struct World {
    pub ledger: Ledger,
    pub deployment: Deployment,
    clock: Arc<AtomicU64>,
    senders: Mutex<HashMap<String, Sender>>,
    dir: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(chain) = self.ledger.embedded_chain() {
            chain.close();
        }
    }
}

impl World {
    /// The contracts with all institutions and staff, and no relationship yet.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(AtomicU64::new(START));
        let names = INSTITUTIONS.iter().map(|(name, _)| *name);
        let names = names.chain(STAFF.iter().map(|(_, name, _)| *name)).chain(PATIENTS);
        let names = names.chain(SPARE_KEYS);
        let genesis = names.fold(Genesis::new(CHAIN_ID, START), |genesis, name| {
            genesis.with_balance(address(name), U256::from(10).pow(U256::from(20)))
        });
        let hand = Arc::clone(&clock);
        let now = Arc::new(move || hand.load(Ordering::SeqCst));
        let chain = Chain::open(ChainConfig::new(dir.path().join("chain"), genesis, now)).unwrap();
        chain.run_solo(Sealing::Instant);
        let ledger = Ledger::embedded(Rpc::new(chain));
        let founders = INSTITUTIONS.map(|(name, role)| (address(name), role));
        let hospital = Sender::new(ledger.clone(), wallet("hospital"));
        let deployment = deploy(&hospital, &founders).await.unwrap().deployment;
        let senders = Mutex::default();
        let world = Self { ledger, deployment, clock, senders, dir };
        for (employer, professional, role) in STAFF {
            world.accredit(employer, professional, role).await.unwrap();
        }
        world
    }

    /// The same, with both patients in a relationship with the hospital that takes its word alone.
    pub async fn with_relationships() -> Self {
        let world = Self::new().await;
        for patient in PATIENTS {
            world.relate("hospital", patient, false).await;
        }
        world
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::SeqCst))
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn at(&self, contract: Contract) -> Address {
        self.deployment.address(contract)
    }

    pub fn domain(&self) -> QueryDomain {
        QueryDomain { chain_id: CHAIN_ID, registry: self.at(Contract::Registry) }
    }

    /// Whoever is called `name`; the same one each time, so that nonces are not asked for again.
    pub fn sender(&self, name: &str) -> Sender {
        let mut senders = self.senders.lock();
        let new = || Sender::new(self.ledger.clone(), wallet(name));
        senders.entry(name.into()).or_insert_with(new).clone()
    }

    pub async fn send<C: SolCall>(
        &self,
        name: &str,
        contract: Contract,
        call: &C,
    ) -> Result<Outcome, SendError> {
        self.sender(name).send(self.at(contract), call).await
    }

    /// What a view says now, by the clock, after everything that happened.
    pub async fn view<C: SolCall>(&self, contract: Contract, call: &C) -> C::Return {
        self.ledger.call(self.at(contract), call, BlockId::pending()).await.unwrap()
    }

    pub async fn accredit(
        &self,
        employer: &str,
        professional: &str,
        role: ProfessionalRole,
    ) -> Result<Outcome, SendError> {
        let until = to_uint40(self.now().after(Duration::from_secs(365 * 86_400)));
        let signer = address(professional);
        let call = Registry::accreditCall { signer, role: role.number(), until };
        self.send(employer, Contract::Registry, &call).await
    }

    /// Carries a proposal of the laboratory with the votes of the pharmacy and of others.
    pub async fn carry<C: SolCall>(&self, proposal: &C, others: &[&str]) {
        self.send("laboratory", Contract::Registry, proposal).await.unwrap();
        let id = self.view(Contract::Registry, &Registry::proposalCountCall {}).await;
        for name in [&["pharmacy"], others].concat() {
            // Once it is carried, further votes are refused.
            let _ = self.send(name, Contract::Registry, &Registry::voteCall { id }).await;
        }
    }

    /// Replaces a member's key, by the key itself.
    pub async fn rotate(&self, name: &str, key: &str) {
        let call = self.rotation(name, key).await;
        self.send(name, Contract::Registry, &call).await.unwrap();
    }

    /// The call by which a member's key gives way to a new one, with the new one's proof.
    pub async fn rotation(&self, name: &str, key: &str) -> Registry::rotateCall {
        let (member, new_signer, deadline) = (address(name), address(key), U40::MAX);
        let nonce = self.view(Contract::Registry, &Registry::rotationNonceCall { member }).await;
        let domain = Eip712Domain::new(
            Some("Salus Registry".into()),
            Some("1".into()),
            Some(U256::from(CHAIN_ID)),
            Some(self.at(Contract::Registry)),
            None,
        );
        let proof = Rotate { member, newSigner: new_signer, nonce, deadline };
        let signature = wallet(key).sign_hash_sync(&proof.eip712_signing_hash(&domain)).unwrap();
        let signature = signature.as_bytes().to_vec().into();
        Registry::rotateCall { newSigner: new_signer, deadline, signature }
    }

    pub async fn relate(&self, steward: &str, patient: &str, countersigned: bool) {
        let propose = Relationships::proposeCall { patient: address(patient), countersigned };
        self.send(steward, Contract::Relationships, &propose).await.unwrap();
        let accept = Relationships::acceptCall { steward: address(steward), countersigned };
        self.send(patient, Contract::Relationships, &accept).await.unwrap();
    }

    pub async fn grant(&self, patient: &str, reader: Address, record: Option<RecordId>) {
        let terms = Terms {
            period: Period::new(self.now(), self.now().after(Duration::from_secs(86_400))).unwrap(),
            kinds: KindSet::of(&[Kind::Laboratory, Kind::Medication]),
            purposes: PurposeSet::of(&[Purpose::Treatment]),
        };
        let record = to_scope(record);
        let call = Consents::grantCall { reader, record, terms: to_grant(&terms) };
        self.send(patient, Contract::Consents, &call).await.unwrap();
    }

    pub async fn revoke(&self, patient: &str, reader: Address, record: Option<RecordId>) {
        let call = Consents::revokeCall { reader, record: to_scope(record) };
        self.send(patient, Contract::Consents, &call).await.unwrap();
    }

    pub async fn accept(&self, patient: &str, anchor: &Anchor) {
        let call = Records::acceptCall { anchor: to_anchor(anchor) };
        self.send(patient, Contract::Records, &call).await.unwrap();
    }

    /// A patient's account, acted for with the key of that name, related to the hospital.
    pub async fn account(&self, name: &str) -> Patient {
        let verifier = self.at(Contract::WebAuthnVerifier);
        let key = PatientKey::Wallet(wallet(name));
        let call = creation(key.signer(verifier), B256::ZERO);
        let outcome = self.send("hospital", Contract::PatientAccounts, &call).await.unwrap();
        let account = outcome.events::<PatientAccounts::AccountCreated>()[0].account;
        let patient = Patient::new(account, verifier, key);
        let propose = Relationships::proposeCall { patient: account, countersigned: false };
        self.send("hospital", Contract::Relationships, &propose).await.unwrap();
        let steward = address("hospital");
        let accept = Relationships::acceptCall { steward, countersigned: false };
        let to = self.at(Contract::Relationships);
        let calls = vec![Call { to, value: U256::ZERO, data: accept.abi_encode().into() }];
        let until = self.now().after(Duration::from_secs(600));
        patient.act(&self.sender("hospital"), calls, until).await.unwrap();
        patient
    }

    /// Where an institution keeps its vault.
    pub fn vault_dir(&self, institution: &str) -> PathBuf {
        self.dir.path().join(institution)
    }

    /// Opens an institution's vault, which is made the first time.
    pub async fn vault(&self, institution: &str) -> Vault {
        let dir = self.vault_dir(institution);
        std::fs::create_dir_all(&dir).unwrap();
        let database = Database::open_file(&dir.join("vault.db")).await.unwrap();
        let settings = VaultSettings {
            steward: address(institution),
            network: self.domain(),
            bodies: dir.join("bodies"),
            recovery_keys: Vec::new(),
        };
        let root_key = RootKey::from_bytes(&secret(institution).0);
        Vault::unlock(settings, database, &root_key, &mut rng(1)).await.unwrap()
    }

    /// Opens an institution's gatekeeper, knowing nothing of the chain yet.
    pub async fn gatekeeper(&self, institution: &str) -> Gatekeeper {
        self.gatekeeper_with(institution, Settings::default()).await
    }

    pub async fn gatekeeper_with(&self, institution: &str, settings: Settings) -> Gatekeeper {
        Gatekeeper::open(
            self.vault(institution).await,
            self.deployment,
            self.sender(institution),
            Projection::default(),
            settings,
            Entropy::from_seed(secret(institution).0),
        )
        .await
        .unwrap()
    }

    /// Ends a gatekeeper as a restart of its program does, and opens it again.
    pub async fn restart(&self, institution: &str, gatekeeper: Gatekeeper) -> Gatekeeper {
        gatekeeper.vault().database().close().await;
        drop(gatekeeper);
        self.gatekeeper(institution).await
    }

    /// The first version of a laboratory record of a patient.
    pub fn record(&self, number: u64, patient: &str) -> NewRecord {
        self.record_of(number, address(patient), Kind::Laboratory)
    }

    pub fn record_of(&self, number: u64, patient: Address, kind: Kind) -> NewRecord {
        let body =
            format!(r#"{{"resourceType":"Observation","id":"{number}","text":"{PLAINTEXT}"}}"#);
        NewRecord {
            record: id(number),
            version: RecordVersion::FIRST,
            patient,
            kind,
            content: Content::FhirJson,
            author: address("ada"),
            created: self.now(),
            body: body.into(),
        }
    }

    /// Keeps records in a gatekeeper's vault and anchors them as one batch.
    pub async fn keep(&self, gatekeeper: &Gatekeeper, records: Vec<NewRecord>) -> Vec<Entry> {
        gatekeeper.put_and_anchor(records).await.unwrap().0
    }

    /// A query by `requester` to the hospital for a patient's laboratory records.
    pub fn query(&self, requester: &str, patient: Address, nonce: u64) -> Query {
        let key = sealing_key(requester).public_key().to_bytes();
        Query {
            gatekeeper: address("hospital"),
            patient,
            kinds: KindSet::of(&[Kind::Laboratory]),
            record: None,
            after: None,
            limit: 100,
            purpose: Purpose::Treatment,
            recipient_key: Query::recipient_key_of(&key),
            nonce: B256::left_padding_from(&nonce.to_be_bytes()),
            deadline: self.now().after(Duration::from_secs(60)),
        }
    }

    /// The query with the signature and the key of `requester`.
    pub fn sign(&self, requester: &str, query: Query) -> SignedQuery {
        let digest = query.signing_digest(self.domain());
        let signature = wallet(requester).sign_hash_sync(&digest).unwrap();
        SignedQuery {
            query,
            recipient_key: sealing_key(requester).public_key().to_bytes(),
            signature: QuerySignature::Member(Bytes::from(signature.as_bytes().to_vec())),
        }
    }
}

/// A record that is kept in a file, because it does not compress.
pub fn long(record: NewRecord) -> NewRecord {
    let mut body = vec![0; 700_000];
    rng(7).fill_bytes(&mut body);
    NewRecord { content: Content::Other, body, ..record }
}

/// Changes an institution's database behind the back of its vault.
pub async fn tamper(vault: &Vault, statement: &str) -> u64 {
    let mut transaction = vault.database().begin().await.unwrap();
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    let changed = sqlx::query(statement).execute(&mut *transaction).await.unwrap().rows_affected();
    transaction.commit().await.unwrap();
    changed
}

/// Bytes as SQLite writes them.
pub fn sql(bytes: impl AsRef<[u8]>) -> String {
    format!("x'{}'", hex::encode(bytes))
}
