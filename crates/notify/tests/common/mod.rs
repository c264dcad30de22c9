//! A small network in a directory, which can be left and opened again; its clock stands still until a
//! test moves it.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolCall;
use bindings::{Contract, Deployment, Records, Registry, Relationships, convert};
use chacha20::ChaCha20Rng;
use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing};
use domain::{
    Anchor, InstitutionRole, Kind, ProfessionalRole, RecordDigest, RecordId, RecordVersion,
    Timestamp,
};
use ledger::{Ledger, Outcome, PrivateKeySigner, Sender, deploy};
use notify::{Notification, Outbox};
use rand_core::SeedableRng as _;
use sqlx::Connection as _;
use vault::{Database, Keyring, RootKey};

pub const CHAIN_ID: u64 = 31_337;

/// The time at which the chain begins.
pub const NOW: u64 = 1_800_000_000;

pub const INSTITUTIONS: [(&str, InstitutionRole); 6] = [
    ("hospital", InstitutionRole::Hospital),
    ("laboratory", InstitutionRole::Laboratory),
    ("pharmacy", InstitutionRole::Pharmacy),
    ("emergency", InstitutionRole::Emergency),
    ("insurer", InstitutionRole::Insurer),
    ("institute", InstitutionRole::Research),
];

pub const STAFF: [(&str, &str, ProfessionalRole); 11] = [
    ("hospital", "physician", ProfessionalRole::Physician),
    ("hospital", "surgeon", ProfessionalRole::Surgeon),
    ("hospital", "nurse", ProfessionalRole::Nurse),
    ("laboratory", "scientist", ProfessionalRole::LaboratoryScientist),
    ("pharmacy", "pharmacist", ProfessionalRole::Pharmacist),
    ("emergency", "paramedic", ProfessionalRole::Paramedic),
    ("emergency", "officer", ProfessionalRole::PrivacyOfficer),
    ("insurer", "adjudicator", ProfessionalRole::Adjudicator),
    ("insurer", "arbiter", ProfessionalRole::Adjudicator),
    ("hospital", "keeper", ProfessionalRole::PrivacyOfficer),
    ("institute", "researcher", ProfessionalRole::Researcher),
];

/// Patients who act with a key of their own; their address is their account.
pub const PATIENTS: [&str; 2] = ["pat", "quinn"];

pub fn wallet(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(name)).unwrap()
}

pub fn address(name: &str) -> Address {
    wallet(name).address()
}

pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Everybody who has a name.
pub fn names() -> impl Iterator<Item = &'static str> {
    let institutions = INSTITUTIONS.iter().map(|(name, _)| *name);
    institutions.chain(STAFF.iter().map(|(_, name, _)| *name)).chain(PATIENTS)
}

/// What somebody with this address is called.
pub fn name_of(who: Address) -> &'static str {
    names().find(|name| address(name) == who).unwrap_or("somebody")
}

pub fn everybody(_: Address) -> bool {
    true
}

/// Chain and contracts.
pub struct World {
    pub ledger: Ledger,
    pub deployment: Deployment,
    clock: Arc<AtomicU64>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.close();
    }
}

impl World {
    /// Begins a network in a directory, with all institutions and staff.
    pub async fn found(dir: &Path) -> Self {
        let world = Self::open(dir);
        world.begin().await;
        world
    }

    /// Deploys the contracts and accredits the staff.
    pub async fn begin(&self) {
        let founders = INSTITUTIONS.map(|(name, role)| (address(name), role));
        let deployed = deploy(&self.sender("hospital"), &founders).await.unwrap();
        assert_eq!(deployed.deployment, self.deployment);
        let until = convert::to_uint40(self.now().after(Duration::from_secs(365 * 86_400)));
        for (employer, name, role) in STAFF {
            let call = Registry::accreditCall { signer: address(name), role: role.number(), until };
            self.send(employer, Contract::Registry, &call).await;
        }
    }

    /// Opens what is in a directory.
    pub fn open(dir: &Path) -> Self {
        let clock = Arc::new(AtomicU64::new(NOW));
        let hand = Arc::clone(&clock);
        let now = Arc::new(move || hand.load(Ordering::SeqCst));
        let genesis = names().fold(Genesis::new(CHAIN_ID, NOW), |genesis, name| {
            genesis.with_balance(address(name), U256::from(10).pow(U256::from(20)))
        });
        let chain = Chain::open(ChainConfig::new(dir.join("chain"), genesis, now)).unwrap();
        chain.run_solo(Sealing::Instant);
        let ledger = Ledger::embedded(Rpc::new(chain));
        Self { ledger, deployment: Deployment::by(address("hospital"), 0), clock }
    }

    pub fn close(&self) {
        if let Some(chain) = self.ledger.embedded_chain() {
            chain.close();
        }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp(self.clock.load(Ordering::SeqCst))
    }

    pub fn advance(&self, time: Duration) {
        self.clock.fetch_add(time.as_secs(), Ordering::SeqCst);
    }

    pub fn at(&self, contract: Contract) -> Address {
        self.deployment.address(contract)
    }

    pub fn sender(&self, name: &str) -> Sender {
        Sender::new(self.ledger.clone(), wallet(name))
    }

    pub async fn send<C: SolCall>(&self, name: &str, contract: Contract, call: &C) -> Outcome {
        self.sender(name).send(self.at(contract), call).await.unwrap()
    }

    pub async fn relate(&self, steward: &str, patient: &str, countersigned: bool) {
        let propose = Relationships::proposeCall { patient: address(patient), countersigned };
        self.send(steward, Contract::Relationships, &propose).await;
        let accept = Relationships::acceptCall { steward: address(steward), countersigned };
        self.send(patient, Contract::Relationships, &accept).await;
    }

    /// Proposes a record of a patient's at the hospital.
    pub async fn propose(&self, patient: &str, record: B256) -> Anchor {
        let anchor = anchor(patient, record);
        let call = Records::proposeCall {
            patient: anchor.patient,
            record,
            kind: anchor.kind.number(),
            digest: anchor.digest.0,
        };
        self.send("hospital", Contract::Records, &call).await;
        anchor
    }

    pub async fn accept(&self, patient: &str, anchor: &Anchor) {
        let call = Records::acceptCall { anchor: convert::to_anchor(anchor) };
        self.send(patient, Contract::Records, &call).await;
    }

    /// Follows the chain for everybody; returns how many notifications that made.
    pub async fn follow(&self, outbox: &Outbox) -> u64 {
        outbox.follow(&self.ledger, &self.deployment, &everybody, self.now()).await.unwrap()
    }
}

pub fn anchor(patient: &str, record: B256) -> Anchor {
    Anchor {
        record: RecordId(record),
        version: RecordVersion::FIRST,
        base: 0,
        kind: Kind::Laboratory,
        patient: address(patient),
        steward: address("hospital"),
        digest: RecordDigest(keccak256(record)),
    }
}

/// Everything in an outbox that is for somebody with a name, in order.
pub async fn all_of(outbox: &Outbox) -> Vec<Notification> {
    let mut all = Vec::new();
    for name in names() {
        let mut after = None;
        loop {
            let page = outbox.inbox(address(name), after, 100).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.notification.sequence);
            all.extend(page.iter().map(|entry| entry.notification));
        }
    }
    all.sort_by_key(|notification| notification.sequence);
    all
}

/// Waits until something is so.
pub async fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A folder and a database, which can be opened again and again.
pub struct Place {
    pub folder: tempfile::TempDir,
    pub url: String,
}

impl Place {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = sqlite_url(folder.path());
        Self { folder, url }
    }

    /// A new database in the cluster that `SALUS_TEST_POSTGRES` names, when it does.
    pub async fn postgres() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let Ok(cluster) = std::env::var("SALUS_TEST_POSTGRES") else {
            eprintln!("SKIPPED: no PostgreSQL; set SALUS_TEST_POSTGRES to the URL of a cluster");
            return None;
        };
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("salus_notify_{}_{number}", std::process::id());
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(&cluster).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        let (base, query) = cluster.split_once('?').unwrap_or((&cluster, ""));
        let (base, _) = base.rsplit_once('/').unwrap();
        Some(Self { folder: tempfile::tempdir().unwrap(), url: format!("{base}/{name}?{query}") })
    }

    pub async fn database(&self) -> Database {
        Database::open(&self.url).await.unwrap()
    }

    pub fn chain(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

pub fn sqlite_url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("gateway.db").display())
}

pub async fn keyring(database: &Database) -> Keyring {
    Keyring::open(database, &RootKey::from_bytes(&[7; 32])).await.unwrap()
}

/// Runs each test on SQLite, and on PostgreSQL when there is one.
#[macro_export]
macro_rules! on_both {
    ($($name:ident,)+) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name($crate::common::Place::sqlite()).await;
                }
            )+
        }

        mod postgres {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    if let Some(place) = $crate::common::Place::postgres().await {
                        super::$name(place).await;
                    }
                }
            )+
        }
    };
}
