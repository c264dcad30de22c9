//! A consortium on the embedded chain, in a directory of its own: every key follows from a name, and
//! time stands still until a test moves it.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, B256, U256, keccak256};
use bindings::{Contract, Deployment, PatientAccounts, Registry, convert::to_uint40};
use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing};
use domain::{
    InstitutionRole, Kind, KindSet, Period, ProfessionalRole, Purpose, PurposeSet, QueryDomain,
    RelationshipState, Terms, Timestamp,
};
use gatekeeper::{Along, Entropy, Gatekeeper, Settings};
use ledger::{
    Deployed, Ledger, Passkey, Patient, PatientKey, PrivateKeySigner, Projection, SendError,
    Sender, creation, deploy, predict_account,
};
use sqlx::Connection as _;
use vault::{
    Database, Entry, Kem, Listing, NewRecord, PAGE_LEN_MAX, RootKey, SecretKey, Vault,
    VaultSettings,
};
use workflows::{
    Catalogue, Gateway, PatientActor, Person, Study, WorkflowError,
    import::{ImportReport, Importer, Later, ParsedPatient, Sources},
    relationship,
};

pub const CHAIN_ID: u64 = 72_587;

/// The time at which the chain begins.
pub const NOW: u64 = 1_800_000_000;

pub const HOUR: Duration = Duration::from_secs(3_600);
pub const DAY: Duration = Duration::from_secs(86_400);

pub const INSTITUTIONS: [(&str, InstitutionRole); 5] = [
    ("hospital", InstitutionRole::Hospital),
    ("laboratory", InstitutionRole::Laboratory),
    ("pharmacy", InstitutionRole::Pharmacy),
    ("other-pharmacy", InstitutionRole::Pharmacy),
    ("emergency", InstitutionRole::Emergency),
];

pub const PEOPLE: [(&str, &str, ProfessionalRole); 8] = [
    ("physician", "hospital", ProfessionalRole::Physician),
    ("nurse", "hospital", ProfessionalRole::Nurse),
    ("scientist", "laboratory", ProfessionalRole::LaboratoryScientist),
    ("pharmacist", "pharmacy", ProfessionalRole::Pharmacist),
    ("other-pharmacist", "other-pharmacy", ProfessionalRole::Pharmacist),
    ("paramedic", "emergency", ProfessionalRole::Paramedic),
    ("consultant", "emergency", ProfessionalRole::Physician),
    ("officer", "emergency", ProfessionalRole::PrivacyOfficer),
];

/// Who else signs in a test, and is no member at first.
pub const GUESTS: [&str; 14] = [
    "insurer",
    "wallet-patient",
    "payer",
    "institute",
    "regulator",
    "maker",
    "surgeon",
    "trial-pharmacist",
    "hospital-officer",
    "adjudicator of the payer",
    "second adjudicator",
    "researcher",
    "auditor",
    "colleague",
];

pub fn secret(name: &str) -> B256 {
    keccak256(name)
}

pub fn wallet(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&secret(name)).unwrap()
}

pub fn address(name: &str) -> Address {
    wallet(name).address()
}

pub fn passkey(name: &str) -> PatientKey {
    PatientKey::Passkey(Passkey::from_secret(&secret(name), "https://salus.example").unwrap())
}

/// What a contract or gatekeeper refused, in its words.
#[track_caller]
pub fn refusal<T>(outcome: Result<T, WorkflowError>) -> String {
    match outcome {
        Err(error) if error.is_refusal() => error.to_string(),
        Err(error) => panic!("not a refusal: {error:?}"),
        Ok(_) => panic!("it was not refused"),
    }
}

/// A running consortium.
pub struct World {
    pub ledger: Ledger,
    pub deployment: Deployment,
    dir: PathBuf,
    clock: Arc<AtomicU64>,
    gateways: BTreeMap<&'static str, Gateway>,
    people: BTreeMap<&'static str, Person>,
}

impl World {
    /// Begins a consortium in a directory: contracts deployed, people accredited.
    pub async fn found(dir: &Path) -> Self {
        Self::found_and_tell(dir).await.0
    }

    /// Also tells what deploying took.
    pub async fn found_and_tell(dir: &Path) -> (Self, Deployed) {
        let (ledger, clock) = open_chain(dir);
        let deployer = Sender::new(ledger.clone(), wallet("hospital"));
        let founders = INSTITUTIONS.map(|(name, role)| (address(name), role));
        let deployed = deploy(&deployer, &founders).await.unwrap();
        let until = to_uint40(Timestamp(NOW).after(365 * DAY));
        for (name, employer, role) in PEOPLE {
            let call = Registry::accreditCall { signer: address(name), role: role.number(), until };
            let employer = Sender::new(ledger.clone(), wallet(employer));
            let registry = deployed.deployment.address(Contract::Registry);
            employer.send(registry, &call).await.unwrap();
        }
        let names = INSTITUTIONS.map(|(name, _)| name);
        (Self::with_gateways(dir, ledger, clock, &names).await, deployed)
    }

    /// Opens what is in a directory, with the gateways of some institutions.
    pub async fn open(dir: &Path, institutions: &[&str]) -> Self {
        let (ledger, clock) = open_chain(dir);
        Self::with_gateways(dir, ledger, clock, institutions).await
    }

    async fn with_gateways(
        dir: &Path,
        ledger: Ledger,
        clock: Arc<AtomicU64>,
        institutions: &[&str],
    ) -> Self {
        let deployment = Deployment::by(address("hospital"), 0);
        let mut gateways = BTreeMap::new();
        for (name, role) in INSTITUTIONS {
            if institutions.contains(&name) {
                gateways.insert(name, open_gateway(dir, &ledger, deployment, name, role).await);
            }
        }
        let people = PEOPLE.map(|(name, _, role)| {
            let person = Person {
                name: name.into(),
                member: address(name),
                role,
                sender: Sender::new(ledger.clone(), wallet(name)),
                secret: SecretKey::derive(Kem::X25519, &secret(&format!("{name}/hpke"))),
            };
            (name, person)
        });
        Self { ledger, deployment, dir: dir.into(), clock, gateways, people: people.into() }
    }

    /// Stores everything and lets the directory go. Without it, the directory is let go when the
    /// last part of this is dropped.
    pub async fn close(self) {
        for gateway in self.gateways.values() {
            gateway.gatekeeper.vault().database().close().await;
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::SeqCst))
    }

    pub fn pass(&self, time: Duration) {
        self.clock.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    pub fn chain(&self) -> &Chain {
        self.ledger.embedded_chain().unwrap()
    }

    pub fn at(&self, contract: Contract) -> Address {
        self.deployment.address(contract)
    }

    pub fn gateway(&self, name: &str) -> &Gateway {
        &self.gateways[name]
    }

    pub fn person(&self, name: &str) -> &Person {
        &self.people[name]
    }

    /// Somebody who begins to work for an institution.
    pub async fn engage(&self, name: &str, employer: &str, role: ProfessionalRole) -> Person {
        let until = to_uint40(self.now().after(365 * DAY));
        let call = Registry::accreditCall { signer: address(name), role: role.number(), until };
        self.sender(employer).send(self.at(Contract::Registry), &call).await.unwrap();
        Person {
            name: name.into(),
            member: address(name),
            role,
            sender: self.sender(name),
            secret: SecretKey::derive(Kem::X25519, &secret(&format!("{name}/hpke"))),
        }
    }

    /// An institution that the members vote in, with its gateway.
    pub async fn admit(&self, name: &str, role: InstitutionRole) -> Gateway {
        let registry = self.at(Contract::Registry);
        let call = Registry::proposeAdmissionCall { account: address(name), role: role.number() };
        let proposed = self.sender("hospital").send(registry, &call).await.unwrap();
        self.vote(proposed.events::<Registry::Proposed>()[0].id).await;
        open_gateway(&self.dir, &self.ledger, self.deployment, name, role).await
    }

    /// The members vote an institution out.
    pub async fn expel(&self, name: &str) {
        let registry = self.at(Contract::Registry);
        let call = Registry::proposeExpulsionCall { member: address(name) };
        let proposed = self.sender("hospital").send(registry, &call).await.unwrap();
        self.vote(proposed.events::<Registry::Proposed>()[0].id).await;
    }

    /// Votes for a proposal of the hospital's until there is a majority.
    async fn vote(&self, id: U256) {
        let registry = self.at(Contract::Registry);
        for voter in ["laboratory", "pharmacy", "other-pharmacy", "emergency"] {
            // Whoever comes after the majority is refused.
            let _ = self.sender(voter).send(registry, &Registry::voteCall { id }).await;
        }
    }

    pub fn sender(&self, name: &str) -> Sender {
        Sender::new(self.ledger.clone(), wallet(name))
    }

    /// A patient's account, made when it is not there yet.
    pub async fn patient(&self, name: &str, key: PatientKey) -> PatientActor {
        let verifier = self.at(Contract::WebAuthnVerifier);
        let factory = self.at(Contract::PatientAccounts);
        let create = creation(key.signer(verifier), B256::ZERO);
        let account = predict_account(&self.ledger, factory, &create).await.unwrap();
        let known = PatientAccounts::isAccountCall { account };
        if !self.ledger.call(factory, &known, Default::default()).await.unwrap() {
            self.sender("hospital").send(factory, &create).await.unwrap();
        }
        PatientActor {
            name: name.into(),
            patient: Patient::new(account, verifier, key),
            secret: SecretKey::derive(Kem::X25519, &secret(&format!("{name}/hpke"))),
        }
    }

    /// Proposes and accepts a relationship, unless there is one.
    pub async fn relate(&self, steward: &str, patient: &PatientActor, countersigned: bool) {
        let steward = self.gateway(steward);
        steward.gatekeeper.refresh(self.now()).await.unwrap();
        let state = {
            let projection = steward.gatekeeper.projection().await;
            let held = projection.consents.relationship(patient.account(), steward.member());
            held.and_then(|held| held.state)
        };
        if state == Some(RelationshipState::Active) {
            return;
        }
        if state != Some(RelationshipState::Proposed) {
            relationship::propose(steward, patient, countersigned).await.unwrap();
        }
        relationship::accept(steward, patient, countersigned, self.now()).await.unwrap();
    }

    /// The account of a patient whom files know by an id, made when it is not there yet.
    pub async fn meet(&self, id: &str) -> PatientActor {
        let key = PatientKey::Wallet(wallet(&format!("patient {id}")));
        let actor = self.patient(id, key).await;
        self.relate("hospital", &actor, false).await;
        actor
    }

    /// Imports files into the hospital's vault.
    pub async fn import(&self, path: &Path) -> ImportReport {
        let author = self.person("physician").member;
        let mut importer = Importer::new(self.gateway("hospital"), author);
        let sources = Sources::open(path).unwrap();
        let accounts_of = async |patients: &[ParsedPatient]| {
            let mut accounts = Vec::new();
            for patient in patients {
                accounts.push(self.meet(&patient.id).await.account());
            }
            Ok(accounts)
        };
        importer.take_all(sources, self.now(), accounts_of, |_| ()).await.unwrap();
        importer.finish().await.unwrap()
    }

    /// What the hospital's vault holds of a patient: the newest versions.
    pub async fn held(&self, patient: Address) -> Vec<Entry> {
        let listing = Listing { patient, steward: None, kinds: KindSet::ALL };
        let vault = self.gateway("hospital").gatekeeper.vault();
        let (mut held, mut after) = (Vec::new(), None);
        loop {
            let page = vault.list(&listing, after, PAGE_LEN_MAX).await.unwrap();
            let Some(last) = page.last() else { return held };
            after = Some(last.header.record);
            held.extend(page);
        }
    }

    pub fn terms(&self, kinds: &[Kind]) -> Terms {
        Terms {
            period: Period::new(self.now(), self.now().after(7 * DAY)).unwrap(),
            kinds: KindSet::of(kinds),
            purposes: PurposeSet::of(&[Purpose::Treatment]),
        }
    }

    /// Vault and chain of one institution agree.
    pub async fn assert_clean(&self, name: &str) -> gatekeeper::Report {
        let report = self.gateway(name).gatekeeper.reconcile(self.now()).await.unwrap();
        assert!(report.is_clean(), "{name}: {:?} {:?}", report.findings, report.log_findings);
        report
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.chain().close();
    }
}

fn open_chain(dir: &Path) -> (Ledger, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(NOW));
    let time = Arc::clone(&clock);
    let names = INSTITUTIONS.iter().map(|(name, _)| *name).chain(PEOPLE.map(|(name, ..)| name));
    let ether = U256::from(10).pow(U256::from(24));
    let genesis = names.chain(GUESTS).fold(Genesis::new(CHAIN_ID, NOW), |genesis, name| {
        genesis.with_balance(address(name), ether)
    });
    let clock_of_chain = Arc::new(move || time.load(Ordering::SeqCst));
    let chain = Chain::open(ChainConfig::new(dir.join("chain"), genesis, clock_of_chain)).unwrap();
    chain.run_solo(Sealing::Instant);
    (Ledger::embedded(Rpc::new(chain)), clock)
}

/// Finds nothing, and wants every document of a workflow to be valid FHIR R4.
struct ValidOnly;

impl Catalogue for ValidOnly {
    fn along(&self, version: &NewRecord) -> Along<'static> {
        let resource = serde_json::from_slice(&version.body).unwrap();
        let issues = r4::validate(&resource).into_iter();
        let errors: Vec<_> = issues.filter(|issue| issue.severity == r4::Severity::Error).collect();
        assert!(errors.is_empty(), "{resource:#}: {errors:?}");
        Box::new(|_| Box::pin(std::future::ready(Ok(()))))
    }

    fn keep_study<'a>(&'a self, study: Study<'a>) -> Later<'a, ()> {
        let issues = r4::validate(study.resource).into_iter();
        let errors: Vec<_> = issues.filter(|issue| issue.severity == r4::Severity::Error).collect();
        assert!(errors.is_empty(), "{:#}: {errors:?}", study.resource);
        Box::pin(std::future::ready(Ok(())))
    }
}

async fn open_gateway(
    dir: &Path,
    ledger: &Ledger,
    deployment: Deployment,
    name: &str,
    role: InstitutionRole,
) -> Gateway {
    let dir = dir.join(name);
    std::fs::create_dir_all(&dir).unwrap();
    let settings = VaultSettings {
        steward: address(name),
        network: QueryDomain {
            chain_id: CHAIN_ID,
            registry: deployment.address(Contract::Registry),
        },
        bodies: dir.join("bodies"),
        recovery_keys: Vec::new(),
    };
    // A vault that is opened again must not draw the same bytes again.
    let opened = dir.join("opened");
    let times = std::fs::read(&opened).map_or(0, |times| times.len());
    std::fs::write(&opened, vec![b'.'; times + 1]).unwrap();
    let entropy = Entropy::from_seed(secret(&format!("{name}/{times}")).0);
    let root_key = RootKey::from_bytes(&secret(&format!("{name}/root")));
    let database = open_database(&dir).await;
    let vault = Vault::unlock(settings, database, &root_key, &mut entropy.fork()).await.unwrap();
    let sender = Sender::new(ledger.clone(), wallet(name));
    let gatekeeper = Gatekeeper::open(
        vault,
        deployment,
        sender,
        Projection::default(),
        Settings::default(),
        entropy,
    )
    .await
    .unwrap();
    Gateway {
        name: name.into(),
        role,
        gatekeeper,
        secret: SecretKey::derive(Kem::XWing, &secret(&format!("{name}/hpke"))),
        number_key: secret(&format!("{name}/numbers")).0.into(),
        catalogue: Some(Arc::new(ValidOnly)),
    }
}

/// A gateway's database: a file in its directory, or with `SALUS_TEST_STORE=postgres` a new one in the
/// cluster that `SALUS_TEST_POSTGRES` names. A directory that is opened again finds the same.
async fn open_database(dir: &Path) -> Database {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    match std::env::var("SALUS_TEST_STORE").as_deref() {
        Err(_) | Ok("sqlite") => return Database::open_file(&dir.join("vault.db")).await.unwrap(),
        Ok("postgres") => {}
        Ok(other) => panic!("SALUS_TEST_STORE is sqlite or postgres, not {other}"),
    }
    let noted = dir.join("database");
    if !noted.exists() {
        let cluster = std::env::var("SALUS_TEST_POSTGRES")
            .expect("SALUS_TEST_STORE=postgres needs a cluster's URL in SALUS_TEST_POSTGRES");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("salus_world_{}_{number}", std::process::id());
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&cluster).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        let (base, query) = cluster.split_once('?').unwrap_or((&cluster, ""));
        let (base, _) = base.rsplit_once('/').unwrap();
        std::fs::write(&noted, format!("{base}/{name}?{query}")).unwrap();
    }
    Database::open(&std::fs::read_to_string(&noted).unwrap()).await.unwrap()
}

/// The contract's reason for a refused transaction.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, SendError>) -> String {
    match outcome {
        Err(SendError::Refused(reason)) => reason.to_string(),
        other => panic!("it was not refused: {other:?}"),
    }
}

/// A bundle with one patient and some observations, each of them unlike any other.
pub fn bundle(patient: &str, observations: usize) -> String {
    let mut entries = vec![format!(
        r#"{{"fullUrl":"urn:uuid:{patient}","resource":{{"resourceType":"Patient","id":"{patient}"}}}}"#
    )];
    for index in 0..observations {
        entries.push(format!(r#"{{"resource":{}}}"#, observation(patient, index)));
    }
    format!(
        "{{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[\n{}\n]}}",
        entries.join(",\n")
    )
}

pub fn observation(patient: &str, index: usize) -> String {
    let note = secret(&format!("{patient}, note {index}"));
    format!(
        r#"{{"resourceType":"Observation","id":"{patient}-o{index}","category":[{{"coding":[{{"code":"laboratory"}}]}}],"subject":{{"reference":"Patient/{patient}"}},"note":[{{"text":"{note}"}}]}}"#
    )
}
