//! A portal over a real chain: contracts deployed, people accredited, a patient's account, by real transactions.
//! Blocks are made when a test says so, so that what waits can be looked at.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy_consensus::{
    SignableTransaction as _, TxEip1559, TxEnvelope, crypto::secp256k1::sign_message,
};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{
    Address, B256, Bytes, TxKind, U256,
    aliases::{U24, U40},
    keccak256,
};
use alloy_sol_types::{SolCall, SolEvent as _};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use bindings::{
    Contract, Deployment, PatientAccounts, Registry,
    patient_account::{Call, Execute, execute_call, execute_digest},
};
use chain::{Certificate, Chain, ChainConfig, Genesis, Rpc};
use domain::{InstitutionRole, ProfessionalRole, Reader};
use portal::{BoxFuture, Demonstration, Home, HomeError, Institution, Picked, Portal};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const CHAIN_ID: u64 = 31_337;
pub(crate) const NOW: u64 = 1_900_000_000;
const ORIGIN: &str = "http://localhost:8081";

/// A key with its address and next nonce.
pub(crate) struct Wallet {
    key: B256,
    pub(crate) address: Address,
    nonce: AtomicU64,
}

impl Wallet {
    fn new(name: &str) -> Self {
        let key = keccak256(name);
        let signature = sign_message(key, B256::ZERO).unwrap();
        let address = signature.recover_address_from_prehash(&B256::ZERO).unwrap();
        Self { key, address, nonce: AtomicU64::new(0) }
    }

    pub(crate) fn sign(&self, nonce: u64, gas: u64, to: TxKind, input: Bytes) -> Bytes {
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: gas,
            max_fee_per_gas: 2_000_000_000,
            max_priority_fee_per_gas: 1,
            to,
            input,
            ..TxEip1559::default()
        };
        let signature = sign_message(self.key, transaction.signature_hash()).unwrap();
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
    }

    fn next(&self) -> u64 {
        self.nonce.fetch_add(1, Ordering::SeqCst)
    }
}

/// What the tests look at.
pub(crate) struct World {
    pub(crate) rpc: Rpc,
    pub(crate) deployment: Deployment,
    pub(crate) hospital: Wallet,
    pub(crate) pharmacy: Wallet,
    pub(crate) physician: Wallet,
    pub(crate) patient: Wallet,
    pub(crate) account: Address,
    pub(crate) other_account: Address,
    pub(crate) study: Option<PathBuf>,
    _dir: tempfile::TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        self.rpc.chain().close();
    }
}

impl World {
    pub(crate) fn begin() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [hospital, pharmacy, physician, patient] =
            ["hospital", "pharmacy", "physician", "patient"].map(Wallet::new);
        let genesis = [&hospital, &pharmacy, &physician].iter().fold(
            Genesis::new(CHAIN_ID, NOW - 1_000),
            |genesis, wallet| {
                genesis.with_balance(wallet.address, U256::from(10).pow(U256::from(20)))
            },
        );
        let config = ChainConfig::new(dir.path().join("chain"), genesis, Arc::new(|| NOW));
        let chain = Chain::open(config).unwrap();
        let deployment = Deployment::by(hospital.address, 0);
        let mut world = Self {
            rpc: Rpc::new(chain),
            deployment,
            hospital,
            pharmacy,
            physician,
            patient,
            account: Address::ZERO,
            other_account: Address::ZERO,
            study: None,
            _dir: dir,
        };
        let founder =
            |account, role: InstitutionRole| Registry::Founder { account, role: role.number() };
        let founders = vec![
            founder(world.hospital.address, InstitutionRole::Hospital),
            founder(world.pharmacy.address, InstitutionRole::Pharmacy),
        ];
        for contract in Contract::ALL {
            let code = deployment.creation_code(contract, founders.clone());
            let raw = world.hospital.sign(world.hospital.next(), 1 << 24, TxKind::Create, code);
            world.submit(raw);
            world.seal();
        }
        let accredit = Registry::accreditCall {
            signer: world.physician.address,
            role: ProfessionalRole::Physician.number(),
            until: U40::from(NOW + 86_400 * 365),
        };
        world.run(&world.hospital, Contract::Registry, &accredit);
        world.account = world.create_account(B256::repeat_byte(1));
        world.other_account = world.create_account(B256::repeat_byte(2));
        world
    }

    fn create_account(&self, salt: B256) -> Address {
        let create = PatientAccounts::createCall {
            signer: self.patient.address.to_vec().into(),
            guardians: B256::ZERO,
            recoveryDelay: U24::from(259_200_u32),
            custodians: Vec::new(),
            salt,
        };
        let receipt = self.run(&self.hospital, Contract::PatientAccounts, &create);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        let logs: Vec<alloy_rpc_types_eth::Log> =
            serde_json::from_value(receipt["logs"].clone()).unwrap();
        let created = |log: &alloy_rpc_types_eth::Log| {
            PatientAccounts::AccountCreated::decode_log(&log.inner).ok()
        };
        logs.iter().find_map(created).unwrap().account
    }

    /// Has a transaction wait.
    pub(crate) fn submit(&self, raw: Bytes) -> B256 {
        serde_json::from_value(self.rpc.handle("eth_sendRawTransaction", json!([raw])).unwrap())
            .unwrap()
    }

    /// Puts whatever waits into blocks.
    pub(crate) fn seal(&self) {
        while let Some(payload) = self.rpc.chain().propose() {
            let transactions: Vec<B256> =
                payload.transactions.iter().map(chain::Transaction::hash).collect();
            drop(self.rpc.chain().apply(payload, Certificate::new()).unwrap());
            for hash in transactions {
                let deadline = Instant::now() + Duration::from_secs(60);
                self.rpc.chain().wait_for_transaction(&hash, deadline).unwrap();
            }
        }
    }

    /// A call that waits.
    pub(crate) fn send<C: SolCall>(&self, wallet: &Wallet, contract: Contract, call: &C) -> B256 {
        let to = TxKind::Call(self.deployment.address(contract));
        self.submit(wallet.sign(wallet.next(), 1_000_000, to, call.abi_encode().into()))
    }

    /// A call that runs, with its receipt.
    pub(crate) fn run<C: SolCall>(&self, wallet: &Wallet, contract: Contract, call: &C) -> Value {
        let hash = self.send(wallet, contract, call);
        self.seal();
        self.rpc.handle("eth_getTransactionReceipt", json!([hash])).unwrap()
    }

    /// Calls that an account makes, signed by the patient and relayed by the hospital.
    pub(crate) fn execute(&self, account: Address, nonce: u64, calls: Vec<Call>) -> Value {
        let batch = Execute { calls, nonce: U256::from(nonce), deadline: U40::from(NOW + 600) };
        let digest = execute_digest(CHAIN_ID, account, &batch);
        let signature = sign_message(self.patient.key, digest).unwrap();
        let signer = Bytes::from(self.patient.address.to_vec());
        let call = execute_call(&batch, &signer, &signature.as_bytes().to_vec().into());
        let raw = self.hospital.sign(
            self.hospital.next(),
            1_000_000,
            TxKind::Call(account),
            call.abi_encode().into(),
        );
        let hash = self.submit(raw);
        self.seal();
        self.rpc.handle("eth_getTransactionReceipt", json!([hash])).unwrap()
    }

    /// A browser of this portal.
    pub(crate) fn browser(self: &Arc<Self>) -> Browser {
        let home = TestHome {
            world: Arc::clone(self),
            institution: Institution {
                name: "hospital".into(),
                role: InstitutionRole::Hospital,
                member: self.hospital.address,
            },
            random: AtomicU64::new(1),
        };
        let portal = Portal::new(Arc::new(home), Router::new(), Router::new(), ORIGIN);
        Browser { router: portal.router(), cookie: None }
    }

    fn reader(&self, address: Address) -> Option<Reader> {
        let institution = |role| Some(Reader::Institution { member: address, role });
        match address {
            of if of == self.hospital.address => institution(InstitutionRole::Hospital),
            of if of == self.pharmacy.address => institution(InstitutionRole::Pharmacy),
            of if of == self.physician.address => Some(Reader::Professional {
                member: of,
                role: ProfessionalRole::Physician,
                institution: self.hospital.address,
            }),
            of if of == self.account || of == self.other_account => {
                Some(Reader::Patient { account: of })
            }
            _ => None,
        }
    }
}

struct TestHome {
    world: Arc<World>,
    institution: Institution,
    random: AtomicU64,
}

impl Home for TestHome {
    fn institution(&self) -> &Institution {
        &self.institution
    }

    fn chain_id(&self) -> u64 {
        CHAIN_ID
    }

    fn now_ms(&self) -> u64 {
        (NOW + 30) * 1_000
    }

    fn random(&self) -> [u8; 32] {
        keccak256(self.random.fetch_add(1, Ordering::SeqCst).to_be_bytes()).0
    }

    fn who(&self, address: Address) -> BoxFuture<'_, Result<Option<Reader>, HomeError>> {
        let reader = self.world.reader(address);
        Box::pin(async move { Ok(reader) })
    }

    fn member_of_key(&self, _: Address) -> BoxFuture<'_, Result<Option<Address>, HomeError>> {
        Box::pin(async { Ok(None) })
    }

    fn has_signer(&self, _: Address, _: Bytes) -> BoxFuture<'_, Result<bool, HomeError>> {
        Box::pin(async { Ok(false) })
    }

    fn passkey_verifier(&self) -> Address {
        self.world.deployment.address(Contract::WebAuthnVerifier)
    }

    fn token(&self, _: &Reader) -> Result<String, HomeError> {
        Ok("token".into())
    }

    fn name(&self, address: Address) -> Option<String> {
        match address {
            of if of == self.world.hospital.address => Some("St Brigid’s".into()),
            of if of == self.world.pharmacy.address => Some("Late Pharmacy".into()),
            of if of == self.world.physician.address => Some("Dr <b>Nuala</b>".into()),
            of if of == self.world.account => Some("Aoife Secret".into()),
            of if of == self.world.other_account => Some("Brian Secret".into()),
            _ => None,
        }
    }

    fn rpc<'a>(
        &'a self,
        method: &'a str,
        params: Value,
    ) -> BoxFuture<'a, Result<Value, HomeError>> {
        let answer = self.world.rpc.handle(method, params);
        Box::pin(async move { answer.map_err(|error| HomeError(error.to_string())) })
    }

    fn answer<'a>(&'a self, method: &'a str, params: Value) -> BoxFuture<'a, Value> {
        let answer = match self.world.rpc.handle(method, params) {
            Ok(result) => json!({ "result": result }),
            Err(error) => json!({ "error": error }),
        };
        Box::pin(async move { answer })
    }

    fn words(&self, _: Option<Address>, _: &[u8]) -> Value {
        Value::Null
    }

    fn event(&self, _: &Value) -> Value {
        Value::Null
    }

    fn health(&self) -> BoxFuture<'_, Value> {
        let head = self.world.rpc.chain().head().header.number;
        Box::pin(async move {
            json!({
                "ready": false,
                "database": { "ok": true },
                "chain": { "ok": true, "head": head, "age_s": 30 },
                "projection": { "ok": true, "block": head },
                "member": { "ok": false, "problem": "the institution is no member of the network" },
                "notifications": { "ok": true },
                "peers": { "known": 2, "reached": 1 },
            })
        })
    }

    fn deployment(&self) -> Option<&Deployment> {
        Some(&self.world.deployment)
    }

    fn study(&self) -> Option<&Path> {
        self.world.study.as_deref()
    }

    fn figures(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            "# HELP salus_records Versions of records in the vault\nsalus_records{gateway=\"hospital\"} 1234\n".into()
        })
    }

    fn demonstration(&self) -> Option<&dyn Demonstration> {
        Some(self)
    }
}

impl Demonstration for TestHome {
    fn people(&self) -> Vec<Picked> {
        let all = [
            self.world.hospital.address,
            self.world.physician.address,
            self.world.account,
            self.world.other_account,
        ];
        let picked = |address: Address| Picked {
            name: address.to_string(),
            address,
            role: "somebody".into(),
            is_here: true,
        };
        all.map(picked).into()
    }

    fn sign(&self, _: Address, _: B256) -> BoxFuture<'_, Result<Value, HomeError>> {
        Box::pin(async { Err(HomeError("nobody signs here".into())) })
    }
}

/// A page as it came.
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Page {
    /// The page, which must say all of these.
    #[track_caller]
    pub(crate) fn says(&self, expected: &[&str]) -> &Self {
        for text in expected {
            assert!(self.text.contains(text), "{text:?} is not on the page:\n{}", self.text);
        }
        self
    }

    /// The page, which must say none of these.
    #[track_caller]
    pub(crate) fn hides(&self, unexpected: &[&str]) -> &Self {
        for text in unexpected {
            assert!(!self.text.contains(text), "{text:?} is on the page:\n{}", self.text);
        }
        self
    }
}

/// A browser with its cookie.
pub(crate) struct Browser {
    router: Router,
    cookie: Option<String>,
}

impl Browser {
    pub(crate) async fn get(&mut self, path: &str) -> Page {
        self.send(Method::GET, path, Body::empty()).await
    }

    /// The page at a path, which must be there.
    pub(crate) async fn page(&mut self, path: &str) -> Page {
        let page = self.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        page
    }

    pub(crate) async fn status(&mut self, path: &str) -> StatusCode {
        self.get(path).await.status
    }

    async fn send(&mut self, method: Method, path: &str, body: Body) -> Page {
        let mut request =
            Request::builder().method(method).uri(path).header(header::ORIGIN, ORIGIN);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap();
            if cookie.starts_with("__Host-salus=") {
                self.cookie = Some(cookie.to_owned());
            }
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        Page { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// Signs in as somebody of the demonstration.
    pub(crate) async fn sign_in(&mut self, who: Address) {
        let page = self.get("/sign-in").await;
        let (_, rest) =
            page.text.split_once("name=\"csrf\" value=\"").expect("forms carry a token");
        let csrf = rest.split('"').next().unwrap();
        let body = format!("csrf={csrf}&who={who}&next=%2F");
        let answer = self.send(Method::POST, "/sign-in/demonstration", Body::from(body)).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.text);
    }
}
