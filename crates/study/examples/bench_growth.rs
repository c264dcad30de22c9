//! How time, memory, disk and proofs grow with the state: 10,000 slots, 100,000, 1,000,000 and 10,000,000.
//!
//! The slots are one contract's, as a registry's are. For each size one process fills an embedded chain by signed
//! transactions and closes it, and another opens it and measures: what is on the disk, what memory the state takes, how
//! fast signed transactions become durable blocks when each rewrites four slots anywhere in it, and how long the proofs
//! of a slot are (`eth_getProof`, the account's and the slot's). What grows as `n^e` is a straight line on two
//! logarithmic axes; `e` is found by least squares. Time and proofs are to grow no faster than `log n` does on the same
//! sizes.
//!
//! Prints one JSON object per line, which `cargo xtask bench growth` makes a table of, and draws `growth.svg` and
//! `growth.png` in `target/bench`.
//!
//! Settings: `SALUS_BENCH_SLOTS` (10,000,000, for which 6 GB of memory must be free), the largest size;
//! `SALUS_BENCH_TRANSACTIONS` (20,000), each round's of which there are four; `SALUS_BENCH_FIGURES`, another folder.

#![allow(missing_docs, clippy::unwrap_used, reason = "a benchmark may panic")]
#![allow(clippy::cast_precision_loss, reason = "figures are rounded")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use alloy_consensus::{
    SignableTransaction as _, TxEip1559, TxEnvelope, crypto::secp256k1::sign_message,
};
use alloy_eips::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, hex, keccak256};
use chain::{Chain, ChainConfig, Genesis, Rpc, Sealing};
use kuva::{
    backend::{png::PngBackend, svg::SvgBackend},
    plot::{LinePlot, ScatterPlot},
    render::{figure::Figure, layout::Layout, plots::Plot},
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const SIZES: [u64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const NOW: u64 = 1_800_000_000;
const SIGNERS: u64 = 100;
/// As many new slots as one transaction has gas for.
const SLOTS_FILLED: u64 = 700;
const SLOTS_REWRITTEN: u64 = 4;
const ROUNDS: u64 = 4;
const PROOFS: u64 = 200;
/// Memory that a slot may take while a chain is filled.
const BYTES_OF_A_SLOT: u64 = 600;

/// Deploys a contract that takes five words, `slot, count, step, modulus, value`, and writes `value` to `count` slots,
/// each `step` after the one before, modulo `modulus`.
///
/// ```text
/// 00 PUSH0 CALLDATALOAD                 slot
/// 02 PUSH1 20 CALLDATALOAD              slot count
/// 05 JUMPDEST
/// 06 PUSH1 80 CALLDATALOAD DUP3 SSTORE  slot count
/// 0b SWAP1 PUSH1 40 CALLDATALOAD ADD    count slot+step
/// 10 PUSH1 60 CALLDATALOAD SWAP1 MOD    count slot'
/// 15 SWAP1 PUSH1 1 SWAP1 SUB            slot' count-1
/// 1a DUP1 PUSH1 05 JUMPI STOP
/// ```
const WRITER: [u8; 40] = hex!(
    "601f8060095f395ff3"
    "5f35602035" "5b" "6080358255" "9060403501" "6060359006" "9060019003" "8060055700"
);

/// What was measured at one size.
#[derive(Debug, Serialize, Deserialize)]
struct Measured {
    slots: u64,
    seconds_to_open: f64,
    /// From signed bytes to a durable block, of the fastest round.
    microseconds: f64,
    /// The processor's, of all rounds.
    processor_microseconds: f64,
    memory_megabytes: f64,
    disk_megabytes: f64,
    proof_bytes: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => everything(),
        [part, dir, slots] => {
            let (dir, slots) = (Path::new(dir), slots.parse().unwrap());
            if part == "fill" { fill(dir, slots) } else { measure(dir, slots) }
        }
        _ => panic!("this example takes its settings from its environment"),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn everything() {
    let most = setting("SALUS_BENCH_SLOTS", SIZES[3]);
    let (needed, free) = (most * BYTES_OF_A_SLOT / 1_000_000, free_megabytes());
    assert!(
        needed <= free,
        "{most} slots take up to {needed} MB of memory, and {free} MB are free: set SALUS_BENCH_SLOTS to less"
    );
    let sizes = SIZES.into_iter().filter(|slots| *slots <= most);
    let measured: Vec<Measured> = sizes.map(in_own_processes).collect();
    for at in &measured {
        let name = |what: &str| format!("{} slots: {what}", at.slots);
        let rows = [
            ("throughput, four slots rewritten each", 1e6 / at.microseconds, "tx/s"),
            ("time of a transaction", at.microseconds, "µs"),
            ("the processor's time of it", at.processor_microseconds, "µs"),
            ("time to open the chain", at.seconds_to_open, "s"),
            ("memory", at.memory_megabytes, "MB"),
            ("disk", at.disk_megabytes, "MB"),
            ("proof of a slot, its account's included", at.proof_bytes, "bytes"),
        ];
        for (what, value, unit) in rows {
            println!("{}", json!({ "name": name(what), "value": value, "unit": unit }));
        }
    }
    if measured.len() < 2 {
        return;
    }
    let as_log = Line::through(&measured, |at| (at.slots as f64).ln()).exponent;
    for quantity in &QUANTITIES {
        let exponent = Line::through(&measured, quantity.of).exponent;
        let mut row = json!({ "value": exponent, "unit": "",
            "name": format!("exponent of {}", quantity.name) });
        if quantity.as_log {
            row["goal"] = json!(as_log);
            row["at_most"] = json!(true);
        }
        println!("{row}");
    }
    draw(&measured);
}

/// One size, filled by one process and measured by another, so that its memory is its own.
fn in_own_processes(slots: u64) -> Measured {
    let dir = tempfile::tempdir().unwrap();
    let run = |part: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.arg(part).arg(dir.path()).arg(slots.to_string()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{part} of {slots} slots: {}\n{errors}", output.status);
        output.stdout
    };
    run("fill");
    serde_json::from_slice(&run("measure")).unwrap()
}

/// Makes a chain with so many slots in the directory.
fn fill(dir: &Path, slots: u64) {
    let mut signers = signers();
    let chain = open(dir, &signers);
    let deploy = signers[0].transaction(TxKind::Create, Bytes::from(WRITER), 200_000);
    run(&chain, &sign(vec![deploy]));
    let writer = writer(&signers);
    let starts = (0..slots).step_by(usize::try_from(SLOTS_FILLED).unwrap());
    let unsigned = starts.zip((0..signers.len()).cycle()).map(|(start, signer)| {
        let count = SLOTS_FILLED.min(slots - start);
        let words = [start, count, 1, u64::MAX, 1];
        signers[signer].transaction(TxKind::Call(writer), input(words), 16_000_000)
    });
    run(&chain, &sign(unsigned.collect()));
    chain.close();
}

/// Opens the chain that was filled, and prints what it takes.
fn measure(dir: &Path, slots: u64) {
    let transactions = setting("SALUS_BENCH_TRANSACTIONS", 20_000);
    let disk_megabytes = bytes_in(dir) as f64 / 1e6;
    let mut signers = signers();
    let memory_before = resident_megabytes();
    let started = Instant::now();
    let chain = open(dir, &signers);
    let seconds_to_open = started.elapsed().as_secs_f64();
    let memory_megabytes = resident_megabytes() - memory_before;
    let writer = writer(&signers);
    let proof_bytes = proof_bytes(&chain, writer, slots);
    for signer in &mut signers {
        signer.nonce = chain.pending_nonce(&signer.address);
    }
    let rounds: Vec<Vec<Bytes>> = (0..ROUNDS)
        .map(|round| {
            let numbers = round * transactions..(round + 1) * transactions;
            let unsigned = numbers.zip((0..signers.len()).cycle()).map(|(number, signer)| {
                let words = [any(number, slots), SLOTS_REWRITTEN, 1_000_003, slots, number + 2];
                signers[signer].transaction(TxKind::Call(writer), input(words), 100_000)
            });
            sign(unsigned.collect())
        })
        .collect();
    let processor_before = processor_seconds();
    let fastest = rounds.iter().map(|round| {
        let started = Instant::now();
        run(&chain, round);
        started.elapsed().as_secs_f64()
    });
    let fastest = fastest.fold(f64::INFINITY, f64::min);
    let processor = processor_seconds() - processor_before;
    chain.close();
    let measured = Measured {
        slots,
        seconds_to_open,
        microseconds: fastest / transactions as f64 * 1e6,
        processor_microseconds: processor / (ROUNDS * transactions) as f64 * 1e6,
        memory_megabytes,
        disk_megabytes,
        proof_bytes,
    };
    println!("{}", serde_json::to_string(&measured).unwrap());
}

/// The mean length of a slot's proof, from the state root on.
fn proof_bytes(chain: &Chain, writer: Address, slots: u64) -> f64 {
    let rpc = Rpc::new(chain.clone());
    let length = |nodes: &Value| -> usize {
        let nodes = nodes.as_array().unwrap().iter();
        nodes.map(|node| (node.as_str().unwrap().len() - 2) / 2).sum()
    };
    let total: usize = (0..PROOFS)
        .map(|number| {
            let slot = B256::from(U256::from(any(number, slots)));
            let proof = rpc.handle("eth_getProof", json!([writer, [slot], "latest"])).unwrap();
            assert_eq!(proof["storageProof"][0]["value"], "0x1", "every slot was filled");
            length(&proof["accountProof"]) + length(&proof["storageProof"][0]["proof"])
        })
        .sum();
    total as f64 / PROOFS as f64
}

/// A number below `below`, always the same for `number`.
fn any(number: u64, below: u64) -> u64 {
    let hash = keccak256(number.to_be_bytes());
    u64::from_be_bytes(hash[..8].try_into().unwrap()) % below
}

fn open(dir: &Path, signers: &[Signer]) -> Chain {
    let genesis = signers.iter().fold(Genesis::new(31_337, NOW), |genesis, signer| {
        genesis.with_balance(signer.address, U256::from(10).pow(U256::from(24)))
    });
    let chain = Chain::open(ChainConfig::new(dir, genesis, Arc::new(|| NOW))).unwrap();
    chain.run_solo(Sealing::Instant);
    chain
}

/// Submits everything and waits until the last of it is durable; none is refused.
fn run(chain: &Chain, transactions: &[Bytes]) {
    let mut heads = chain.subscribe_heads();
    let succeeded = |block: &chain::Block| {
        assert!(block.receipts.iter().all(|receipt| receipt.success), "a transaction failed");
        block.receipts.len()
    };
    let mut left = transactions.len();
    for chunk in transactions.chunks(2_000) {
        for outcome in chain.submit_many(chunk.to_vec()) {
            outcome.unwrap();
        }
        while let Ok(block) = heads.try_recv() {
            left -= succeeded(&block);
        }
    }
    while left > 0 {
        left -= succeeded(&heads.blocking_recv().unwrap());
    }
}

/// Somebody who signs, with the next nonce.
struct Signer {
    key: B256,
    address: Address,
    nonce: u64,
}

fn signers() -> Vec<Signer> {
    let signer = |number: u64| {
        let key = keccak256([b"signer".as_slice(), &number.to_be_bytes()].concat());
        let signature = sign_message(key, B256::ZERO).unwrap();
        let address = signature.recover_address_from_prehash(&B256::ZERO).unwrap();
        Signer { key, address, nonce: 0 }
    };
    (0..SIGNERS).map(signer).collect()
}

/// Where the contract is.
fn writer(signers: &[Signer]) -> Address {
    signers[0].address.create(0)
}

fn input(words: [u64; 5]) -> Bytes {
    words.map(|word| U256::from(word).to_be_bytes::<32>()).concat().into()
}

impl Signer {
    fn transaction(&mut self, to: TxKind, input: Bytes, gas_limit: u64) -> (B256, TxEip1559) {
        let nonce = self.nonce;
        self.nonce += 1;
        let transaction = TxEip1559 {
            chain_id: 31_337,
            nonce,
            gas_limit,
            max_fee_per_gas: 10_000_000_000,
            max_priority_fee_per_gas: 1,
            to,
            input,
            ..TxEip1559::default()
        };
        (self.key, transaction)
    }
}

fn sign(unsigned: Vec<(B256, TxEip1559)>) -> Vec<Bytes> {
    let signed = unsigned.into_par_iter().map(|(key, transaction)| {
        let signature = sign_message(key, transaction.signature_hash()).unwrap();
        TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into()
    });
    signed.collect()
}

/// A line of `/proc/…` that gives kilobytes, in MB.
fn megabytes_in(file: &str, line: &str) -> f64 {
    let text = fs::read_to_string(file).unwrap();
    let found = text.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1_024.0 / 1e6
}

fn resident_megabytes() -> f64 {
    megabytes_in("/proc/self/status", "VmRSS:")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "memory is rounded")]
fn free_megabytes() -> u64 {
    megabytes_in("/proc/meminfo", "MemAvailable:") as u64
}

/// What this process had of the processor.
///
/// # Source
///
/// proc(5): fields 14 and 15 of `stat`, in ticks, of which Linux tells programs a hundred a second.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 =
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    ticks as f64 / 100.0
}

fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let about = entry.metadata().unwrap();
            if about.is_dir() { bytes_in(&entry.path()) } else { about.len() }
        })
        .sum()
}

/// Something that grows.
struct Quantity {
    name: &'static str,
    axis: &'static str,
    of: fn(&Measured) -> f64,
    /// Whether it is to grow no faster than `log n`.
    as_log: bool,
}

const QUANTITIES: [Quantity; 6] = [
    Quantity {
        name: "throughput",
        axis: "transactions/s",
        of: |at| 1e6 / at.microseconds,
        as_log: false,
    },
    Quantity { name: "time of a transaction", axis: "µs", of: |at| at.microseconds, as_log: true },
    Quantity {
        name: "processor's time",
        axis: "µs",
        of: |at| at.processor_microseconds,
        as_log: true,
    },
    Quantity { name: "memory", axis: "MB", of: |at| at.memory_megabytes, as_log: false },
    Quantity { name: "disk", axis: "MB", of: |at| at.disk_megabytes, as_log: false },
    Quantity { name: "a slot's proof", axis: "bytes", of: |at| at.proof_bytes, as_log: true },
];

/// `value = factor * slots^exponent`.
#[derive(Clone, Copy)]
struct Line {
    factor: f64,
    exponent: f64,
}

impl Line {
    /// By ordinary least squares of the logarithms.
    fn through(measured: &[Measured], of: impl Fn(&Measured) -> f64) -> Self {
        let points: Vec<(f64, f64)> =
            measured.iter().map(|at| ((at.slots as f64).ln(), of(at).ln())).collect();
        let mean =
            |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / points.len() as f64;
        let (x, y) = (mean(|point| point.0), mean(|point| point.1));
        let both: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
        let squares: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
        let exponent = both / squares;
        Self { factor: (y - exponent * x).exp(), exponent }
    }

    fn at(self, slots: f64) -> f64 {
        self.factor * slots.powf(self.exponent)
    }
}

/// Draws each quantity against the number of slots, with the line that fits and, where it is a goal, one that grows as
/// `log n` does from the first point.
fn draw(measured: &[Measured]) {
    let (first, last) = (&measured[0], measured[measured.len() - 1].slots as f64);
    let mut panels = Vec::new();
    let mut layouts = Vec::new();
    for quantity in &QUANTITIES {
        let line = Line::through(measured, quantity.of);
        let from = first.slots as f64;
        let between = (0..=6).map(|step| from * (last / from).powf(f64::from(step) / 6.0));
        let points = measured.iter().map(|at| (at.slots as f64, (quantity.of)(at)));
        let mut panel = vec![
            Plot::Line(
                LinePlot::new()
                    .with_data(between.clone().map(|slots| (slots, line.at(slots))))
                    .with_color("#0072b2"),
            ),
            Plot::Scatter(
                ScatterPlot::new().with_data(points).with_color("#d55e00").with_size(4.5),
            ),
        ];
        let mut title = format!("{}: n^{:.3}", quantity.name, line.exponent);
        if quantity.as_log {
            let start = (quantity.of)(first);
            let goal = between.map(|slots| (slots, start * slots.ln() / from.ln()));
            panel.push(Plot::Line(
                LinePlot::new().with_data(goal).with_color("#666666").with_dashed(),
            ));
            title += " (dashed: log n)";
        }
        let layout = Layout::auto_from_plots(&panel)
            .with_log_scale()
            .with_x_tick_rotate(-45.0)
            .with_title(title)
            .with_x_label("slots of state")
            .with_y_label(quantity.axis);
        panels.push(panel);
        layouts.push(layout);
    }
    let scene = Figure::new(2, 3).with_plots(panels).with_layouts(layouts).render();
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench");
    let dir = std::env::var_os("SALUS_BENCH_FIGURES").map_or_else(default, PathBuf::from);
    fs::create_dir_all(&dir).unwrap();
    let svg = SvgBackend::new().with_pretty(true).render_scene(&scene);
    fs::write(dir.join("growth.svg"), svg).unwrap();
    let png = PngBackend::new().with_scale(2.0).render_scene(&scene).unwrap();
    fs::write(dir.join("growth.png"), png).unwrap();
}
