//! The chains that every test here runs on: the embedded one, and a real anvil where there is one.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use alloy_primitives::{Address, B256, U256, keccak256};
use bindings::{Contract, Deployment, PatientAccounts, Registry};
use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing};
use domain::{InstitutionRole, ProfessionalRole, Timestamp};
use ledger::{
    Deployed, Fees, Finality, Ledger, Passkey, Patient, PatientKey, Policy, PrivateKeySigner,
    Sender, creation, deploy,
};

pub const CHAIN_ID: u64 = 31_337;
/// The time at which the chains stand.
pub const NOW: u64 = 1_800_000_000;

pub fn secret(name: &str) -> B256 {
    keccak256(name)
}

pub fn wallet(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&secret(name)).unwrap()
}

pub fn address(name: &str) -> Address {
    wallet(name).address()
}

/// Everybody who sends transactions.
pub const FUNDED: [&str; 7] =
    ["hospital", "laboratory", "pharmacy", "emergency", "physician", "paramedic", "officer"];

fn genesis() -> Genesis {
    FUNDED.iter().fold(Genesis::new(CHAIN_ID, NOW), |genesis, name| {
        genesis.with_balance(address(name), U256::from(10).pow(U256::from(20)))
    })
}

/// A chain with what keeps it alive.
pub struct Backend {
    pub name: &'static str,
    pub ledger: Ledger,
    anvil: Option<Child>,
    _dir: tempfile::TempDir,
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(anvil) = &mut self.anvil {
            let _ = anvil.kill();
            let _ = anvil.wait();
        }
        if let Some(chain) = self.ledger.embedded_chain() {
            chain.close();
        }
    }
}

pub fn embedded() -> Backend {
    let dir = tempfile::tempdir().unwrap();
    let config = ChainConfig::new(dir.path().join("chain"), genesis(), Arc::new(|| NOW));
    let chain = Chain::open(config).unwrap();
    chain.run_solo(Sealing::Instant);
    let ledger = Ledger::embedded(Rpc::new(chain));
    Backend { name: "embedded", ledger, anvil: None, _dir: dir }
}

/// A real anvil; nothing, with a loud word, where it is not installed.
pub async fn anvil() -> Option<Backend> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
    if !program.exists() {
        eprintln!("SKIPPED on anvil: run `cargo xtask test`, which installs it");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let init = dir.path().join("genesis.json");
    std::fs::write(&init, serde_json::to_vec(genesis().as_alloy()).unwrap()).unwrap();
    let mut anvil = Command::new(program)
        .args(["--port", "0", "--hardfork", "osaka", "--accounts", "0", "--mixed-mining"])
        .args(["--block-time", "1", "--gas-limit", "1000000000", "--base-fee", "1000"])
        .arg("--init")
        .arg(init)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(anvil.stdout.take().unwrap()).lines();
    let port: u16 = lines
        .map_while(Result::ok)
        .find_map(|line| {
            line.strip_prefix("Listening on ")?.rsplit(':').next()?.trim().parse().ok()
        })
        .unwrap();
    let policy = Policy {
        finality: Finality::Confirmations(0),
        fees: Fees::BaseFee { tip: 1 },
        log_range: 50,
    };
    let ledger = Ledger::connect(&format!("http://127.0.0.1:{port}"), policy).await.unwrap();
    Some(Backend { name: "anvil", ledger, anvil: Some(anvil), _dir: dir })
}

/// A deployed consortium with professionals and one patient.
pub struct World {
    pub backend: Backend,
    pub deployed: Deployed,
}

impl World {
    pub async fn new(backend: Backend) -> Self {
        let hospital = Sender::new(backend.ledger.clone(), wallet("hospital"));
        let founders = [
            (address("hospital"), InstitutionRole::Hospital),
            (address("laboratory"), InstitutionRole::Laboratory),
            (address("pharmacy"), InstitutionRole::Pharmacy),
            (address("emergency"), InstitutionRole::Emergency),
        ];
        let deployed = deploy(&hospital, &founders).await.unwrap();
        let world = Self { backend, deployed };
        let until = bindings::convert::to_uint40(Timestamp(NOW + 365 * 86_400));
        for (employer, professional, role) in [
            ("hospital", "physician", ProfessionalRole::Physician),
            ("emergency", "paramedic", ProfessionalRole::Paramedic),
            ("emergency", "officer", ProfessionalRole::PrivacyOfficer),
        ] {
            let call = Registry::accreditCall {
                signer: address(professional),
                role: role.number(),
                until,
            };
            world.sender(employer).send(world.at(Contract::Registry), &call).await.unwrap();
        }
        world
    }

    pub fn ledger(&self) -> &Ledger {
        &self.backend.ledger
    }

    pub fn deployment(&self) -> &Deployment {
        &self.deployed.deployment
    }

    pub fn at(&self, contract: Contract) -> Address {
        self.deployment().address(contract)
    }

    pub fn sender(&self, name: &str) -> Sender {
        Sender::new(self.ledger().clone(), wallet(name))
    }

    /// Makes an account for a patient, relayed by the hospital.
    pub async fn patient(&self, key: PatientKey) -> Patient {
        let verifier = self.at(Contract::WebAuthnVerifier);
        let call = creation(key.signer(verifier), B256::ZERO);
        let factory = self.at(Contract::PatientAccounts);
        let outcome = self.sender("hospital").send(factory, &call).await.unwrap();
        let created = outcome.events::<PatientAccounts::AccountCreated>();
        Patient::new(created[0].account, verifier, key)
    }

    pub async fn passkey_patient(&self) -> Patient {
        let passkey = Passkey::from_secret(&secret("passkey"), "https://salus.example").unwrap();
        self.patient(PatientKey::Passkey(passkey)).await
    }
}
