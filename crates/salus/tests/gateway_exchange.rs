//! Copies on their way between three gateways and a patient's node, each a process of its own, on one
//! chain: what is permitted arrives, and nothing else; what breaks off goes on; what is lost is healed.
//! Each story is told with the institutions' vaults in SQLite and in PostgreSQL.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Condvar, LazyLock, Mutex},
    time::{Duration, Instant},
};

use alloy_primitives::{Address, B256, U256, keccak256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bindings::{
    Consents, Contract, Deployment, PatientAccounts, Records, Registry, Relationships,
    convert::{to_anchor, to_grant, to_scope, to_uint40},
    patient_account::Call,
};
use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing, ServerHandle, ServerLimits};
use domain::{
    Anchor, AnchorState, InstitutionRole, KindSet, Period, ProfessionalRole, Purpose, PurposeSet,
    QueryDomain, Reader, Terms, Timestamp,
};
use exchange::{Node, NodeSettings, PeerId, TransferError, Transport as _};
use gatekeeper::{Entropy, Gatekeeper, Holding, ReadRequest};
use ledger::{
    Ledger, Passkey, Patient, PatientKey, PrivateKeySigner, Projection, Sender, creation, deploy,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Answer, Serving, fhir, salus, send, text};
use vault::{Database, Kem, Keyring, Listing, RootKey, SecretKey, Vault, VaultSettings, keystore};

/// How long something may take on a busy machine before the test gives up.
const PATIENCE: Duration = Duration::from_secs(90);

const CHAIN_ID: u64 = 72_587;

const INSTITUTIONS: [(&str, InstitutionRole); 3] = [
    ("hospital", InstitutionRole::Hospital),
    ("clinic", InstitutionRole::Hospital),
    ("pharmacy", InstitutionRole::Pharmacy),
];

/// Waits until something is so.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn real_time() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// Directories with everybody's keys, which take a while to make and to open. Made once; each test works on
/// a copy of its own.
struct Made {
    home: tempfile::TempDir,
    signers: BTreeMap<&'static str, PrivateKeySigner>,
    root_keys: BTreeMap<&'static str, RootKey>,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let home = tempfile::tempdir().unwrap();
    let (mut signers, mut root_keys) = (BTreeMap::new(), BTreeMap::new());
    for (name, _) in INSTITUTIONS {
        let dir = home.path().join(name);
        fs::create_dir(&dir).unwrap();
        configure(&dir, name, "", "");
        let made: Value = run(&dir, "gateway", &["init", "--json"]);
        let signer = signer_in(&dir, name);
        assert_eq!(made["member"], signer.address().to_string());
        signers.insert(name, signer);
        let root_key = dir.join("data").join(name).join("root.key");
        root_keys.insert(name, RootKey::load(&root_key, &passphrase(&dir)).unwrap());
    }
    let dir = home.path().join("patient");
    fs::create_dir(&dir).unwrap();
    configure_node(&dir, "", None);
    let made = run(&dir, "patient-node", &["init", "--json"]);
    let signer = signer_in(&dir, "patient");
    assert_eq!(made["signer"], signer.address().to_string());
    signers.insert("patient", signer);
    Made { home, signers, root_keys }
});

/// Where the institutions keep their vaults.
#[derive(Clone, Debug)]
enum Store {
    Sqlite,
    /// In this cluster.
    Postgres(String),
}

/// A chain behind JSON-RPC, three institutions with directories of their own, and a patient's node.
struct Network {
    home: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    chain: Chain,
    server: Option<ServerHandle>,
    url: String,
    ledger: Ledger,
    deployment: Deployment,
    /// Sends what patients signed.
    relay: Sender,
    patient: Patient,
    /// Somebody who writes at the hospital.
    physician: Address,
    /// Somebody who reads at the clinic.
    colleague: Address,
    /// The URLs of the vaults' databases, where they are no files.
    databases: BTreeMap<&'static str, String>,
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
        self.chain.close();
    }
}

/// An institution's member address.
fn member(name: &str) -> Address {
    MADE.signers[name].address()
}

fn wallet(name: &str) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256(name)).unwrap()
}

impl Network {
    fn set_up(store: &Store) -> Self {
        Self::set_up_for(store, PatientKey::Wallet(MADE.signers["patient"].clone()))
    }

    /// The patient's account is acted for with this key.
    fn set_up_for(store: &Store, key: PatientKey) -> Self {
        let databases = match store {
            Store::Sqlite => BTreeMap::new(),
            Store::Postgres(cluster) => {
                INSTITUTIONS.map(|(name, _)| (name, support::make_database(cluster, name))).into()
            }
        };
        let home = tempfile::tempdir().unwrap();
        for name in MADE.signers.keys() {
            support::copy(&MADE.home.path().join(name), home.path());
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let members = INSTITUTIONS.map(|(name, role)| (MADE.signers[name].address(), role));

        let ether = U256::from(10).pow(U256::from(20));
        let relay = wallet("relay");
        let genesis = members.iter().map(|(member, _)| *member).chain([relay.address()]);
        let genesis = genesis.fold(Genesis::new(CHAIN_ID, real_time()), |genesis, address| {
            genesis.with_balance(address, ether)
        });
        let clock = Arc::new(real_time);
        let config = ChainConfig::new(home.path().join("chain"), genesis, clock);
        let chain = Chain::open(config).unwrap();
        let rpc = Rpc::new(chain.clone());
        let (server, ledger, relay, deployment) = runtime.block_on(async {
            chain.run_solo(Sealing::Instant);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = rpc.clone().serve(listener, ServerLimits::default()).unwrap();
            let ledger = Ledger::embedded(rpc);
            let relay = Sender::new(ledger.clone(), relay);
            let founder = Sender::new(ledger.clone(), MADE.signers["hospital"].clone());
            let deployed = deploy(&founder, &members).await.unwrap();
            (server, ledger, relay, deployed.deployment)
        });
        let url = format!("http://{}", server.address());
        let contracts: Value = Contract::ALL
            .into_iter()
            .map(|contract| (contract.name(), deployment.address(contract).to_string()))
            .collect();
        fs::write(home.path().join("contracts.json"), contracts.to_string()).unwrap();

        let verifier = deployment.address(Contract::WebAuthnVerifier);
        let call = creation(key.signer(verifier), B256::ZERO);
        let accounts = deployment.address(Contract::PatientAccounts);
        let outcome = runtime.block_on(relay.send(accounts, &call)).unwrap();
        let account = outcome.events::<PatientAccounts::AccountCreated>()[0].account;
        let patient = Patient::new(account, verifier, key);
        let (physician, colleague) = (wallet("ada").address(), wallet("cai").address());
        let network = Self {
            home,
            runtime,
            chain,
            server: Some(server),
            url,
            ledger,
            deployment,
            relay,
            patient,
            physician,
            colleague,
            databases,
        };
        network.begin_care();
        network
    }

    /// The hospital accredits its physician, and agrees with the patient to keep records.
    fn begin_care(&self) {
        let hospital = Sender::new(self.ledger.clone(), MADE.signers["hospital"].clone());
        self.runtime.block_on(async {
            let until = to_uint40(self.now().after(Duration::from_secs(86_400)));
            let role = ProfessionalRole::Physician.number();
            let clinic = Sender::new(self.ledger.clone(), MADE.signers["clinic"].clone());
            for (employer, signer) in [(&hospital, self.physician), (&clinic, self.colleague)] {
                let accredit = Registry::accreditCall { signer, role, until };
                employer.send(self.at(Contract::Registry), &accredit).await.unwrap();
            }
        });
        self.relate("hospital");
    }

    /// An institution and the patient agree that it keeps records.
    fn relate(&self, name: &str) {
        let institution = Sender::new(self.ledger.clone(), MADE.signers[name].clone());
        let (patient, relationships) = (self.patient.account(), self.at(Contract::Relationships));
        let propose = Relationships::proposeCall { patient, countersigned: false };
        self.runtime.block_on(institution.send(relationships, &propose)).unwrap();
        let steward = institution.address();
        let accept = Relationships::acceptCall { steward, countersigned: false };
        self.act(vec![Call::to_contract(relationships, &accept)]);
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn at(&self, contract: Contract) -> Address {
        self.deployment.address(contract)
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.chain.now())
    }

    /// The patient signs calls, which somebody relays.
    fn act(&self, calls: Vec<Call>) {
        let until = self.now().after(Duration::from_secs(600));
        self.runtime.block_on(self.patient.act(&self.relay, calls, until)).unwrap();
    }

    fn ledger_table(&self) -> String {
        let contracts = self.home.path().join("contracts.json");
        format!("[ledger]\nrpc = \"{}\"\ndeployment = \"{}\"\n", self.url, contracts.display())
    }

    /// Starts an institution's gateway with these settings of its exchange.
    fn gateway(&self, name: &str, exchange: &str) -> Serving {
        let (physician, colleague) = (self.physician, self.colleague);
        let people = format!("[smart.people]\nada = \"{physician}\"\ncai = \"{colleague}\"\n");
        let database = self.databases.get(name).map(|url| format!("database = \"{url}\"\n"));
        let database = database.unwrap_or_default();
        let exchange = format!(
            "{database}log = \"info,salus=debug\"\n{}[exchange]\nlocal_targets = \"loopback\"\nevery_s = 1\nsoon_s = 1\n{exchange}\n",
            self.ledger_table()
        );
        configure(&self.dir(name), name, &exchange, &people);
        let mut command = salus(&self.dir(name).join("data"));
        command.arg("gateway").arg("--config").arg(self.dir(name).join("salus.toml"));
        Serving::start(command)
    }

    fn node(&self) -> Serving {
        let mut command = self.node_command("");
        command.arg("patient-node").arg("--config").arg(self.dir("patient").join("patient.toml"));
        Serving::start(command)
    }

    /// A command on the patient's node, with this in its configuration.
    fn node_command(&self, first: &str) -> Command {
        let dir = self.dir("patient");
        let exchange = "[exchange]\nlocal_targets = \"loopback\"\nlisten = \"127.0.0.1:0\"\nevery_s = 1\nsoon_s = 1\n";
        let more = first.to_owned() + &self.ledger_table() + exchange;
        configure_node(&dir, &more, Some(self.patient.account()));
        salus(&dir.join("data"))
    }

    fn projection(&self) -> Projection {
        let mut projection = Projection::default();
        self.runtime.block_on(projection.catch_up(&self.ledger, &self.deployment)).unwrap();
        projection
    }

    /// The patient accepts what was proposed; returns all that they accepted.
    fn accept_all(&self) -> Vec<Anchor> {
        let projection = self.projection();
        let of = |state| {
            let anchors = projection.records.anchors().filter(move |held| held.state == state);
            anchors.map(|held| held.anchor).collect::<Vec<_>>()
        };
        let proposed = of(AnchorState::Proposed);
        let calls = proposed.iter().map(|anchor| {
            let accept = Records::acceptCall { anchor: to_anchor(anchor) };
            Call::to_contract(self.at(Contract::Records), &accept)
        });
        self.act(calls.collect());
        [of(AnchorState::Accepted), proposed].concat()
    }

    /// The patient accepts what is theirs in every batch.
    fn accept_batches(&self) {
        let projection = self.projection();
        let calls = projection.records.batches().map(|((steward, root), _)| {
            let accept = Records::acceptBatchCall { steward: *steward, root: *root };
            Call::to_contract(self.at(Contract::Records), &accept)
        });
        self.act(calls.collect());
    }

    fn grant(&self, reader: &str) {
        let now = self.now();
        let terms = Terms {
            period: Period::new(now, now.after(Duration::from_secs(86_400))).unwrap(),
            kinds: KindSet::ALL,
            purposes: PurposeSet::of(&[Purpose::Treatment]),
        };
        let (reader, record) = (member(reader), to_scope(None));
        let call = Consents::grantCall { reader, record, terms: to_grant(&terms) };
        self.act(vec![Call::to_contract(self.at(Contract::Consents), &call)]);
    }

    fn revoke(&self, reader: &str) {
        let call = Consents::revokeCall { reader: member(reader), record: to_scope(None) };
        self.act(vec![Call::to_contract(self.at(Contract::Consents), &call)]);
    }

    /// Opens an institution's gatekeeper in this process, while its gateway does not run.
    async fn gatekeeper(&self, name: &str) -> Gatekeeper {
        let dir = self.dir(name).join("data").join(name);
        let root_key = &MADE.root_keys[name];
        let database = match self.databases.get(name) {
            Some(url) => Database::open(url).await.unwrap(),
            None => Database::open_file(&dir.join("vault.db")).await.unwrap(),
        };
        let keyring = Keyring::open(&database, root_key).await.unwrap();
        let secret = keyring.get("hpke").await.unwrap().unwrap();
        let secret = SecretKey::derive(Kem::XWing, secret.as_slice().try_into().unwrap());
        let signer = MADE.signers[name].clone();
        let settings = VaultSettings {
            steward: signer.address(),
            network: QueryDomain { chain_id: CHAIN_ID, registry: self.at(Contract::Registry) },
            bodies: dir.join("bodies"),
            recovery_keys: Vec::new(),
        };
        let entropy = Entropy::from_seed(keccak256(name).0);
        let mut rng = entropy.fork();
        let vault = Vault::unlock(settings, database, root_key, &mut rng).await.unwrap();
        let sender = Sender::new(self.ledger.clone(), signer);
        let (projection, settings) = (Projection::default(), gatekeeper::Settings::default());
        let keeper =
            Gatekeeper::open(vault, self.deployment, sender, projection, settings, entropy).await;
        let keeper = keeper.unwrap();
        keeper.open_copies_with(secret);
        keeper
    }

    /// What an institution reads of the patient in its own vault, for treatment.
    fn read_at(&self, name: &str) -> Result<Vec<Value>, String> {
        self.runtime.block_on(async {
            let keeper = self.gatekeeper(name).await;
            let role = InstitutionRole::Hospital;
            let request = ReadRequest {
                reader: Reader::Institution { member: keeper.member(), role },
                patient: self.patient.account(),
                kinds: KindSet::ALL,
                record: None,
                version: None,
                after: None,
                limit: 100,
                purpose: Purpose::Treatment,
                query: B256::ZERO,
            };
            let read = keeper.read(&request, self.now()).await;
            let report = keeper.reconcile(self.now()).await.unwrap();
            assert!(report.is_clean(), "{name}: {report:?}");
            keeper.vault().database().close().await;
            let (served, _) = read.map_err(|error| error.to_string())?;
            assert!(served.unavailable.is_empty());
            let bodies = served.records.iter();
            Ok(bodies.map(|record| serde_json::from_str(record.body.get()).unwrap()).collect())
        })
    }

    /// How many versions of the patient's records an institution keeps.
    fn kept_at(&self, name: &str) -> usize {
        self.runtime.block_on(async {
            let keeper = self.gatekeeper(name).await;
            let patient = self.patient.account();
            let listing = Listing { patient, steward: None, kinds: KindSet::ALL };
            let listed = keeper.vault().list(&listing, None, 1_000).await.unwrap();
            keeper.vault().database().close().await;
            listed.len()
        })
    }

    /// What is on the patient's node, which does not run.
    fn kept_at_home(&self) -> Vec<Value> {
        let listed = run(&self.dir("patient"), "patient-node", &["list", "--json"]);
        listed.as_array().unwrap().clone()
    }
}

fn passphrase(dir: &Path) -> Vec<u8> {
    fs::read(dir.join("data/passphrase")).unwrap()
}

/// The signing key of whoever keeps theirs below `dir`.
fn signer_in(dir: &Path, name: &str) -> PrivateKeySigner {
    let path = dir.join("data").join(name).join("keystore.json");
    let secret = keystore::load(&path, &passphrase(dir)).unwrap();
    PrivateKeySigner::from_bytes(&B256::from(*secret)).unwrap()
}

fn configure(dir: &Path, name: &str, more: &str, people: &str) {
    let role = if name == "pharmacy" { "pharmacy" } else { "hospital" };
    let config = format!(
        "name = \"{name}\"\nrole = \"{role}\"\ndata = \"data\"\nlisten = \"127.0.0.1:0\"\n{more}\n\
         [smart]\ndevelopment_issuer = true\n{people}"
    );
    fs::write(dir.join("salus.toml"), config).unwrap();
}

fn configure_node(dir: &Path, more: &str, account: Option<Address>) {
    let account = account.map(|account| format!("account = \"{account}\"\n")).unwrap_or_default();
    let config = format!("name = \"patient\"\ndata = \"data\"\n{account}{more}");
    fs::write(dir.join("patient.toml"), config).unwrap();
}

/// Runs a command on a directory, which must work, and reads what it prints.
#[track_caller]
fn run(dir: &Path, command: &str, arguments: &[&str]) -> Value {
    let config = if command == "gateway" { "salus.toml" } else { "patient.toml" };
    let mut salus = salus(&dir.join("data"));
    let output = salus.arg(command).arg("--config").arg(dir.join(config)).args(arguments).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{command} {arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A token of a gateway's development issuer, by the steps that an app takes.
fn token(address: &str, person: &str) -> String {
    let post = |path: &str, form: &[(&str, &str)]| {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        send(address, "POST", path, &headers, &body.extend_pairs(form).finish())
    };
    let verifier = "0123456789abcdef".repeat(4);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
    let (client, redirect) = ("salus", "http://localhost/salus");
    let audience = format!("http://{address}/fhir");
    let picked: Answer = post(
        "/auth/authorize",
        &[
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", redirect),
            ("scope", "openid patient/*.cruds user/*.cruds"),
            ("state", "state"),
            ("aud", &audience),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
            ("person", person),
        ],
    );
    let location = picked.raw_head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("location").then_some(value)
    });
    let location = url::Url::parse(location.unwrap_or_else(|| panic!("{picked:?}"))).unwrap();
    let code = location.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let answer = post(
        "/auth/token",
        &[
            ("grant_type", "authorization_code"),
            ("client_id", client),
            ("redirect_uri", redirect),
            ("code", &code),
            ("code_verifier", &verifier),
        ],
    );
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// Writes a resource at a gateway; returns its id.
#[track_caller]
fn create(address: &str, token: &str, resource: &Value) -> String {
    let path = resource["resourceType"].as_str().unwrap();
    let made = fhir(address, "POST", path, token, &resource.to_string());
    assert_eq!(made.status, 201, "{made:?}");
    made.json()["id"].as_str().unwrap().to_owned()
}

/// What a process took over since it started: versions and bytes.
fn fetched(serving: &Serving) -> (u64, u64) {
    let log = serving.logged_so_far();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let lines = lines.filter(|line| line["fields"]["message"] == "took over copies");
    lines.fold((0, 0), |(versions, bytes), line| {
        let field = |name: &str| line["fields"][name].as_u64().unwrap();
        (versions + field("fetched"), bytes + field("bytes"))
    })
}

/// How often a process has asked all the others.
fn rounds(serving: &Serving) -> usize {
    serving.logged_so_far().matches("asked the other holders").count()
}

/// Waits until a process that is told of nothing has asked all the others once more, from now on.
fn another_round(serving: &Serving) {
    let before = rounds(serving);
    // The first that ends may have begun before now.
    until("another round", || (rounds(serving) >= before + 2).then_some(()));
}

/// Text that no compression makes much shorter, from a seed.
fn noise(length: usize) -> String {
    let blocks = (0_u64..).flat_map(|block| Sha256::digest(block.to_be_bytes()));
    blocks.take(length / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// Stands before a server, and lets no more than so many bytes of its answers through.
#[derive(Clone)]
struct Narrow {
    address: String,
    state: Arc<(Mutex<Passing>, Condvar)>,
}

#[derive(Default)]
struct Passing {
    target: String,
    room: u64,
}

impl Narrow {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state: Arc<(Mutex<Passing>, Condvar)> = Arc::default();
        let accepted = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&accepted);
                let target = state.0.lock().unwrap().target.clone();
                let Ok(server) = TcpStream::connect(target) else { continue };
                let (mut asks, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut asks, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
                std::thread::spawn(move || pass(server, client, &state));
            }
        });
        Self { address, state }
    }

    fn lead_to(&self, target: &str) {
        self.state.0.lock().unwrap().target = target.to_owned();
    }

    /// Lets so many more bytes through.
    fn widen(&self, room: u64) {
        self.state.0.lock().unwrap().room = room;
        self.state.1.notify_all();
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, state: &(Mutex<Passing>, Condvar)) {
    let mut buffer = vec![0; 16 * 1_024];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut passing = state.0.lock().unwrap();
        while passing.room < count as u64 {
            passing = state.1.wait(passing).unwrap();
        }
        passing.room -= count as u64;
        drop(passing);
        if to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Somebody with a key of their own that is in no registry asks the hospital's node.
fn assert_strangers_get_nothing(network: &Network) {
    network.runtime.block_on(async {
        let keeper = network.gatekeeper("pharmacy").await;
        keeper.refresh(network.now()).await.unwrap();
        let profile = keeper.projection().await.registry.profile(&member("hospital")).cloned();
        let profile = profile.unwrap();
        let socket = profile.endpoint.split(' ').find_map(|place| place.strip_prefix("udp://"));
        let socket = [socket.unwrap().parse().unwrap()];
        let chain = network.chain.clone();
        let holding =
            Arc::new(Holding::new(keeper.clone(), Arc::new(move || Timestamp(chain.now()))));
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let settings = NodeSettings { secret: [7; 32], listen };
        let node = Node::start(holding, settings).await.unwrap();
        for name in ["clinic", "pharmacy"] {
            let id = PeerId(profile.peer_id.0);
            let peer = node.peer(member(name), id, &socket).unwrap();
            let refused = peer.offers(None).await;
            assert!(
                matches!(refused, Err(TransferError::Refused | TransferError::Interrupted(_))),
                "{refused:?}"
            );
        }
        node.stop().await;
        keeper.vault().database().close().await;
    });
}

const UDP: &str = "listen = \"127.0.0.1:0\"";

#[test]
fn copies_reach_those_who_may_hold_them_and_nobody_else() {
    copies_reach_their_holders(&Store::Sqlite);
}

#[test]
fn copies_reach_those_who_may_hold_them_in_postgres() {
    let Some(cluster) = support::cluster() else { return };
    copies_reach_their_holders(&Store::Postgres(cluster));
}

#[test]
fn what_breaks_off_goes_on_and_what_is_lost_is_healed() {
    copies_are_resumed_and_healed(&Store::Sqlite);
}

#[test]
fn what_breaks_off_goes_on_and_what_is_lost_is_healed_in_postgres() {
    let Some(cluster) = support::cluster() else { return };
    copies_are_resumed_and_healed(&Store::Postgres(cluster));
}

/// What a member of the clinic's staff finds over FHIR there.
fn found_at(address: &str, token: &str, search: &str) -> Vec<Value> {
    let found = fhir(address, "GET", search, token, "");
    assert_eq!(found.status, 200, "{found:?}");
    let entries = found.json()["entry"].as_array().cloned().unwrap_or_default();
    entries.into_iter().map(|entry| entry["resource"].clone()).collect()
}

/// The copies of the hospital's records as the clinic's own staff work with them.
fn assert_found_at_the_clinic(network: &Network, address: &str) {
    let cai = token(address, "cai");
    let hospital = member("hospital");
    let observations = until("finding the copies", || {
        Some(found_at(address, &cai, "Observation")).filter(|found| found.len() == 3)
    });
    let account = network.patient.account();
    let id = format!("copy.{}.{}", hex::encode(&hospital[..8]), hex::encode(account));
    for observation in &observations {
        let name = observation["id"].as_str().unwrap();
        assert!(name.starts_with("copy."), "{name}");
        assert_eq!(observation["meta"]["source"], format!("urn:salus:member:{hospital}"));
        assert_eq!(observation["subject"]["reference"], format!("Patient/{id}"));
        let read = fhir(address, "GET", &format!("Observation/{name}"), &cai, "");
        assert_eq!(read.json(), *observation);
        // They are the hospital's to change.
        for method in ["PUT", "DELETE"] {
            let path = format!("Observation/{name}");
            let written = fhir(address, method, &path, &cai, &observation.to_string());
            assert_eq!(written.status, 403, "{written:?}");
        }
    }
    let patients = found_at(address, &cai, &format!("Patient?identifier={account}"));
    assert_eq!(patients.len(), 1);
    assert_eq!(patients[0]["id"], id);
    for search in [
        format!("Observation?patient={id}"),
        format!("Observation?subject=Patient/{id}"),
        "Observation?patient.family=Planted-Name".to_owned(),
    ] {
        assert_eq!(found_at(address, &cai, &search).len(), 3, "{search}");
    }
}

fn copies_reach_their_holders(store: &Store) {
    let network = Network::set_up(store);
    let hospital = network.gateway("hospital", UDP);
    let clinic = network.gateway("clinic", UDP);
    let pharmacy = network.gateway("pharmacy", UDP);
    let node = network.node();

    // The hospital's physician writes; the patient sees it at home, and accepts.
    let address = hospital.address("127.0.0.1");
    let ada = token(&address, "ada");
    let account = network.patient.account().to_string();
    let person = json!({
        "resourceType": "Patient",
        "identifier": [{ "system": "urn:salus:account", "value": account }],
        "name": [{ "family": "Planted-Name" }],
    });
    let subject = create(&address, &ada, &person);
    let subject = json!({ "reference": format!("Patient/{subject}") });
    let observation = json!({
        "resourceType": "Observation",
        "status": "final",
        "code": { "text": "planted-finding" },
        "subject": subject,
    });
    create(&address, &ada, &observation);
    until("the copies at home", || (fetched(&node).0 == 2).then_some(()));
    assert_eq!((fetched(&clinic).0, fetched(&pharmacy).0), (0, 0));
    network.grant("clinic");
    // What the patient has not answered is not spread, whoever may read it.
    another_round(&clinic);
    assert_eq!(fetched(&clinic).0, 0);
    let accepted = network.accept_all();
    assert_eq!(accepted.len(), 2);
    until("the copies at the clinic", || (fetched(&clinic).0 == 2).then_some(()));
    // What is anchored as one batch arrives with the proof that it stands on chain.
    let entry = json!({
        "resource": observation,
        "request": { "method": "POST", "url": "Observation" },
    });
    let bundle =
        json!({ "resourceType": "Bundle", "type": "transaction", "entry": [entry, entry] });
    let made = fhir(&address, "POST", "", &ada, &bundle.to_string());
    assert_eq!(made.status, 200, "{made:?}");
    until("the batch at home", || (fetched(&node).0 == 4).then_some(()));
    another_round(&clinic);
    assert_eq!(fetched(&clinic).0, 2);
    network.accept_batches();
    until("the batch at the clinic", || (fetched(&clinic).0 == 4).then_some(()));
    let at_clinic = clinic.address("127.0.0.1");
    assert_found_at_the_clinic(&network, &at_clinic);
    let metrics = support::get(&at_clinic, "/metrics").body;
    for figure in ["peers{gateway=\"clinic\"} 2", "fetched_total{gateway=\"clinic\"} 4"] {
        assert!(metrics.contains(&format!("salus_exchange_{figure}")), "{metrics}");
    }
    another_round(&pharmacy);
    let ready = support::get(&pharmacy.address("127.0.0.1"), "/readyz").json();
    assert_eq!(ready["peers"], json!({ "known": 2, "reached": 2 }), "{ready}");

    let log = node.stop();
    assert!(!log.contains("planted"), "{log}");
    let home = network.kept_at_home();
    assert_eq!(home.len(), 4);
    for anchor in &accepted {
        let copy = home.iter().find(|copy| copy["digest"] == anchor.digest.to_string());
        assert_eq!(copy.unwrap()["intact"], true, "{home:?}");
    }

    // At the clinic they open under the consent, and after its end no more.
    assert!(home.iter().all(|copy| copy["intact"] == true), "{home:?}");
    let log = clinic.stop();
    assert!(!log.contains("planted"), "{log}");
    let read = network.read_at("clinic").unwrap();
    assert!(read.iter().any(|record| record["code"]["text"] == "planted-finding"), "{read:?}");
    network.revoke("clinic");
    let refused = network.read_at("clinic").unwrap_err();
    assert!(refused.contains("refused"), "{refused}");

    // What is written from now on does not reach it either.
    let clinic = network.gateway("clinic", UDP);
    create(&address, &ada, &observation);
    network.accept_all();
    another_round(&clinic);
    let at_clinic = clinic.address("127.0.0.1");
    assert!(found_at(&at_clinic, &token(&at_clinic, "cai"), "Observation").is_empty());
    clinic.stop();
    assert_eq!(network.kept_at("clinic"), 4);
    pharmacy.stop();
    assert_eq!(network.kept_at("pharmacy"), 0);
    assert_strangers_get_nothing(&network);
    assert_found_beside_what_is_kept(&network, &person);
    let log = hospital.stop();
    assert!(!log.contains("planted"), "{log}");
}

/// The clinic keeps records of the patient, too: what copies say of the same account is found with them.
fn assert_found_beside_what_is_kept(network: &Network, person: &Value) {
    network.relate("clinic");
    network.grant("clinic");
    let clinic = network.gateway("clinic", UDP);
    let address = clinic.address("127.0.0.1");
    let cai = token(&address, "cai");
    let own = create(&address, &cai, person);
    for search in
        [format!("Observation?patient={own}"), format!("Observation?subject=Patient/{own}")]
    {
        until("finding all copies", || {
            (found_at(&address, &cai, &search).len() == 4).then_some(())
        });
    }
    let everything = found_at(&address, &cai, &format!("Patient/{own}/$everything"));
    let copies =
        everything.iter().filter(|found| found["id"].as_str().unwrap().starts_with("copy."));
    assert_eq!((everything.len(), copies.count()), (6, 5));
    // The addresses that answers name are those that were asked for.
    let found = fhir(&address, "GET", &format!("Observation?patient={own}"), &cai, "").json();
    assert!(!found["link"].to_string().contains("copy."), "{found}");
    clinic.stop();
}

fn copies_are_resumed_and_healed(store: &Store) {
    let network = Network::set_up(store);
    // The hospital is reached over HTTPS alone, through something that lets little through.
    let narrow = Narrow::start();
    let https = format!("url = \"http://{}\"", narrow.address);
    let hospital = network.gateway("hospital", &https);
    let address = hospital.address("127.0.0.1");
    narrow.lead_to(&address);
    let ada = token(&address, "ada");
    let account = network.patient.account().to_string();
    let person = json!({
        "resourceType": "Patient",
        "identifier": [{ "system": "urn:salus:account", "value": account }],
    });
    let person = create(&address, &ada, &person);
    let document = json!({
        "resourceType": "DocumentReference",
        "status": "current",
        "subject": { "reference": format!("Patient/{person}") },
        "content": [{ "attachment": { "contentType": "text/plain", "data": noise(5_000_000) } }],
    });
    create(&address, &ada, &document);
    network.grant("clinic");
    let accepted = network.accept_all();
    let bodies = network.dir("hospital").join("data/hospital/bodies");
    let body_of = |dir: &Path| {
        let named = accepted.iter().map(|anchor| dir.join(hex::encode(anchor.digest.0)));
        named.into_iter().find(|path| path.exists())
    };
    let body = body_of(&bodies).unwrap();
    let sealed_len = fs::metadata(&body).unwrap().len();
    assert!(sealed_len > 2_000_000, "{sealed_len}");

    // The clinic is killed in the middle.
    narrow.widen(1_500_000);
    let clinic = network.gateway("clinic", UDP);
    let name = body.file_name().unwrap().to_str().unwrap().to_owned();
    let part = network.dir("clinic").join(format!("data/clinic/incoming/{name}.part"));
    let arrived = || fs::metadata(&part).ok().map(|part| part.len()).filter(|len| *len > 500_000);
    until("half of the document", arrived);
    drop(clinic);
    let arrived = arrived().unwrap();
    assert!(arrived < sealed_len);

    // It goes on where it was, and the rest alone is sent.
    narrow.widen(u64::MAX / 2);
    let clinic = network.gateway("clinic", UDP);
    let (_, bytes) = until("the whole document", || {
        Some(fetched(&clinic)).filter(|_| !part.exists() && fetched(&clinic).0 > 0)
    });
    let copy = network.dir("clinic").join("data/clinic/bodies").join(&name);
    until("the copy", || copy.exists().then_some(()));
    assert!(bytes < sealed_len, "{bytes} of {sealed_len}");
    assert_eq!(fs::read(&copy).unwrap(), fs::read(&body).unwrap());

    // The hospital loses it, and gets it back from the clinic, which holds a copy.
    hospital.stop();
    let whole = fs::read(&body).unwrap();
    fs::remove_file(&body).unwrap();
    let hospital = network.gateway("hospital", &format!("{UDP}\n{https}"));
    narrow.lead_to(&hospital.address("127.0.0.1"));
    until("healing", || body.exists().then_some(()));
    assert_eq!(fs::read(&body).unwrap(), whole);
    clinic.stop();
    hospital.stop();
    let read = network.read_at("clinic").unwrap();
    assert!(read.iter().any(|record| record["resourceType"] == "DocumentReference"));
}

/// A passkey is not on the node: what has the node noted is signed elsewhere, and the node asks as the peer
/// that it is from then on.
#[test]
fn the_node_of_an_account_with_a_passkey_is_noted_by_what_the_passkey_signed() {
    let passkey = Passkey::from_secret(&keccak256("passkey"), "https://salus.test").unwrap();
    let network = Network::set_up_for(&Store::Sqlite, PatientKey::Passkey(passkey));
    let hospital = network.gateway("hospital", UDP);
    let address = hospital.address("127.0.0.1");
    let ada = token(&address, "ada");
    let account = network.patient.account().to_string();
    let person = json!({
        "resourceType": "Patient",
        "identifier": [{ "system": "urn:salus:account", "value": account }],
    });
    create(&address, &ada, &person);
    let dir = network.dir("patient");
    let node = |arguments: &[&str]| {
        let mut command = network.node_command("passkey = true\n");
        let config = dir.join("patient.toml");
        command.arg("patient-node").arg("--config").arg(config).args(arguments);
        command
    };
    let file = dir.join("statements.json");
    let register = |statements: &Value| {
        fs::write(&file, statements.to_string()).unwrap();
        node(&["register", "--signed", file.to_str().unwrap()]).output().unwrap()
    };
    let printed = until("the hospital's profile", || {
        let printed = node(&["register"]).output().unwrap();
        let statements: Value = serde_json::from_slice(&printed.stdout).unwrap();
        (statements.as_array().unwrap().len() == 1).then_some(statements)
    });
    assert_eq!(printed[0]["steward"], member("hospital").to_string().to_lowercase());
    // Without a signature, or with one of the node's own key, nothing is noted.
    assert_eq!(register(&printed).status.code(), Some(1));
    let digest: B256 = printed[0]["digest"].as_str().unwrap().parse().unwrap();
    let verifier = network.at(Contract::WebAuthnVerifier);
    let own = PatientKey::Wallet(MADE.signers["patient"].clone());
    let own = Patient::new(network.patient.account(), verifier, own);
    let mut signed = printed.clone();
    signed[0]["signature"] = json!(own.sign_message(CHAIN_ID, digest).unwrap());
    assert_eq!(register(&signed).status.code(), Some(1));
    // With the passkey's it is, once.
    signed[0]["signature"] = json!(network.patient.sign_message(CHAIN_ID, digest).unwrap());
    let noted = register(&signed);
    assert!(noted.status.success(), "{}{}", text(&noted.stdout), text(&noted.stderr));
    assert_eq!(register(&signed).status.code(), Some(1));
    let node = Serving::start(node(&[]));
    until("the copy at home", || (fetched(&node).0 == 1).then_some(()));
    node.stop();
    hospital.stop();
}

/// The institutions of the demonstration reach each other.
#[test]
fn the_demonstration_exchanges_copies() {
    let dir = tempfile::tempdir().unwrap();
    let serving = Serving::up(&dir.path().join("data"));
    for institution in ["hospital", "laboratory"] {
        let address = serving.address(institution);
        until("reaching the others", || {
            let peers = support::get(&address, "/readyz").json()["peers"].clone();
            let known = peers["known"].as_u64().unwrap();
            (known > 1 && peers["reached"] == known).then_some(())
        });
    }
    let metrics = support::get(&serving.address("hospital"), "/metrics").body;
    assert!(metrics.contains("salus_exchange_backlog{gateway=\"hospital\"} 0"), "{metrics}");
    serving.stop();
}
