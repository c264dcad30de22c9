//! `kill -9` at any instant of an import loses nothing that was confirmed, and importing again completes
//! it (S6, S4).
//!
//! The parent starts this very test again as a child, which imports file after file, reads, proposes,
//! and says what was confirmed to it; the parent kills it at a moment drawn from a seed, once or twice,
//! and opens what is left. Set `SALUS_CRASH_ROUNDS` for more rounds.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
    str::FromStr,
    time::Duration,
};

use alloy_primitives::{Address, B256, keccak256};
use common::{World, bundle};
use domain::{Kind, KindSet, RecordDigest};
use serde_json::json;
use workflows::{
    PatientActor, access,
    record::{self, Draft},
};

const CHILD_DIR: &str = "SALUS_IMPORT_CRASH_DIR";

/// Files, and records in each.
const FILES: usize = 8;
const RECORDS: usize = 25;

/// Lines that a child writes when nobody kills it: for each file, what it imported, read and proposed.
const LINES: usize = 3 * FILES;

fn file_name(index: usize) -> String {
    format!("bundle-{index}.json")
}

fn patient_id(index: usize) -> String {
    format!("patient-{index}")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn confirmed_imports_survive_kill_9() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        runtime().block_on(child(Path::new(&dir)));
        return;
    }
    let rounds = std::env::var("SALUS_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok());
    let dir = tempfile::tempdir().unwrap();
    let template = dir.path().join("template");
    prepare(&template);
    let (mut confirmations, mut resumed) = (0, 0);
    for round in 0..rounds.unwrap_or(25_u64) {
        let place = dir.path().join("round");
        copy(&template, &place);
        let seed = keccak256(round.to_be_bytes());
        let mut confirmed = Vec::new();
        // Every other round also kills whoever continues after the first crash.
        for kill in 0..1 + usize::from(seed[0] % 2) {
            confirmed.extend(run_and_kill(&place, &seed[1 + 8 * kill..]));
        }
        confirmations += confirmed.len();
        resumed += runtime().block_on(check(&place, &confirmed, round));
        fs::remove_dir_all(&place).unwrap();
    }
    println!("{confirmations} confirmations; {resumed} batches and proposals had to be sent again");
    assert!(confirmations > 100, "rounds are long enough to confirm something: {confirmations}");
}

/// A consortium, and files to import.
fn prepare(dir: &Path) {
    let files = dir.join("files");
    fs::create_dir_all(&files).unwrap();
    for index in 0..FILES {
        fs::write(files.join(file_name(index)), bundle(&patient_id(index), RECORDS - 1)).unwrap();
    }
    runtime().block_on(async { World::found(dir).await.close().await });
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, path) = entry.map(|entry| (entry.file_name(), entry.path())).unwrap();
        if path.is_dir() {
            copy(&path, &to.join(entry));
        } else {
            fs::copy(path, to.join(entry)).unwrap();
        }
    }
}

/// Opens what is there and finishes what a crash left between vault and chain; tells how much that was.
async fn open(dir: &Path) -> (World, usize) {
    let world = World::open(dir, &["hospital"]).await;
    let keeper = &world.gateway("hospital").gatekeeper;
    keeper.refresh(world.now()).await.unwrap();
    let resumed = keeper.resume_anchoring().await.unwrap().sent;
    (world, resumed)
}

/// Imports each file, reads it as its patient, and proposes a record, saying after each what was
/// confirmed.
async fn child(dir: &Path) {
    let (world, _) = open(dir).await;
    let hospital = world.gateway("hospital");
    let say = |line: String| println!("{line}");
    say("ready".into());
    for index in 0..FILES {
        let report = world.import(&dir.join("files").join(file_name(index))).await;
        assert_eq!(report.records + report.already_here, RECORDS as u64);
        let patient = world.meet(&patient_id(index)).await;
        let account = patient.account();
        for (root, _) in report.batches {
            say(format!("batch {root} {account}"));
        }
        let asked =
            access::ask_as_patient(&hospital.gatekeeper, &patient, KindSet::ALL, world.now());
        let (_, receipt) = asked.await.unwrap();
        say(format!("receipt {} {}", receipt.digest(), account));
        let (digest, transaction) = propose(&world, &patient).await;
        say(format!("record {digest} {transaction}"));
    }
    say("done".into());
    std::future::pending::<()>().await;
}

/// Proposes a note of the nurse's, so that it is told from what the physician imported.
async fn propose(world: &World, patient: &PatientActor) -> (RecordDigest, B256) {
    let (hospital, nurse) = (world.gateway("hospital"), world.person("nurse"));
    let resource = json!({
        "resourceType": "CarePlan",
        "status": "active",
        "intent": "plan",
        "title": "rest",
        "subject": { "reference": format!("Patient/{}", patient.account()) },
    });
    let draft = Draft { kind: Kind::CarePlan, resource };
    let proposed = record::propose(hospital, nurse, patient, &draft, world.now()).await;
    let (anchor, step) = proposed.unwrap();
    (anchor.digest, step.transaction)
}

/// What a child was told that it is done.
#[derive(Debug)]
enum Confirmed {
    Batch { root: B256, patient: Address },
    Receipt { digest: B256, patient: Address },
    Record { digest: RecordDigest, transaction: B256 },
}

impl Confirmed {
    fn parse(line: &str) -> Option<Self> {
        fn parsed<T: FromStr<Err: std::fmt::Debug>>(word: &str) -> T {
            word.parse().expect("a line is written at once, so it is whole")
        }
        let words: Vec<&str> = line.split(' ').collect();
        let [what, first, second] = words[..] else { return None };
        Some(match what {
            "batch" => Self::Batch { root: parsed(first), patient: parsed(second) },
            "receipt" => Self::Receipt { digest: parsed(first), patient: parsed(second) },
            "record" => Self::Record { digest: parsed(first), transaction: parsed(second) },
            _ => return None,
        })
    }
}

/// Runs a child until it said some lines, lets it run for some time more, and kills it.
fn run_and_kill(dir: &Path, seed: &[u8]) -> Vec<Confirmed> {
    let lines_first = usize::from(seed[0]) % LINES;
    let delay = Duration::from_micros(u64::from(u16::from_be_bytes([seed[1], seed[2]])) / 2);
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "confirmed_imports_survive_kill_9", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
    // Counted from the first that it says itself; a child that continues has less to say.
    let ready = lines.by_ref().any(|line| line.ends_with("ready"));
    assert!(ready, "the child did not open what the one before left");
    let mut confirmed = Vec::new();
    while confirmed.len() < lines_first {
        let line = lines.next().expect("the child runs until it is killed");
        if line == "done" {
            break;
        }
        confirmed.extend(Confirmed::parse(&line));
    }
    std::thread::sleep(delay);
    process.kill().unwrap();
    process.wait().unwrap();
    confirmed.extend(lines.filter_map(|line| Confirmed::parse(&line)));
    confirmed
}

/// Holds what is left against what was confirmed; tells how much was left between vault and chain.
async fn check(dir: &Path, confirmed: &[Confirmed], round: u64) -> usize {
    let (world, resumed) = open(dir).await;
    let keeper = &world.gateway("hospital").gatekeeper;
    let interrupted = world.assert_clean("hospital").await;
    for one in confirmed {
        match one {
            Confirmed::Batch { root, patient } => {
                let projection = keeper.projection().await;
                let batch = projection.records.batch(keeper.member(), *root);
                let batch = batch.unwrap_or_else(|| panic!("round {round}: {root} was lost"));
                let receipt = world.ledger.receipt(batch.moment.transaction).await.unwrap();
                assert!(receipt.unwrap().status(), "round {round}: {root} was lost");
                drop(projection);
                let held = imported(&world, *patient).await;
                assert_eq!(held, RECORDS, "round {round}: records of {root} were lost");
            }
            Confirmed::Receipt { digest, patient } => {
                let receipts = keeper.receipts_of(*patient, None, 100).await.unwrap();
                let kept = receipts.iter().any(|kept| kept.receipt.digest() == *digest);
                assert!(kept, "round {round}: receipt {digest} was lost");
            }
            Confirmed::Record { digest, transaction } => {
                let kept = keeper.vault().contains(*digest).await.unwrap();
                assert!(kept, "round {round}: record {digest} was lost");
                let receipt = world.ledger.receipt(*transaction).await.unwrap();
                assert!(receipt.unwrap().status(), "round {round}: {transaction} was lost");
            }
        }
    }

    let report = world.import(&dir.join("files")).await;
    assert_eq!(report.problems, [], "round {round}");
    assert_eq!(report.records + report.already_here, (FILES * RECORDS) as u64, "round {round}");
    for index in 0..FILES {
        let patient = world.meet(&patient_id(index)).await;
        assert_eq!(imported(&world, patient.account()).await, RECORDS, "round {round}");
        opens_own_record(&world, &patient).await;
    }
    let completed = world.assert_clean("hospital").await;
    assert_eq!(completed.versions, interrupted.versions + report.records, "round {round}");
    let again = world.import(&dir.join("files")).await;
    assert_eq!((again.records, again.batches.len()), (0, 0), "round {round}");
    world.close().await;
    resumed
}

/// How many records of a patient the hospital imported.
async fn imported(world: &World, patient: Address) -> usize {
    let author = world.person("physician").member;
    world.held(patient).await.iter().filter(|entry| entry.header.author == author).count()
}

/// The patient's own key opens what was imported, so no crash left it unknown to the vault.
async fn opens_own_record(world: &World, patient: &PatientActor) {
    let hospital = world.gateway("hospital");
    let held = world.held(patient.account()).await;
    let header = held[0].header;
    let inclusion = hospital.gatekeeper.inclusion(header.record, header.version).await.unwrap();
    let (anchor, _) = inclusion.unwrap();
    let body = record::verify(hospital, patient, &anchor).await.unwrap();
    serde_json::from_slice::<serde_json::Value>(&body).unwrap();
}
