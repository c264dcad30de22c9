//! What happens when the process is killed, the disk is full, or nothing can be written.
//!
//! The parent runs this very test program again as a child, which does the work and prints what was
//! acknowledged. Killing a process does not test what a loss of power does: that a commit reaches the
//! disk rests on `synchronous=FULL` and `fsync`.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that goes wrong")]

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::*;
use domain::RecordId;
use rand_core::{Rng as _, SeedableRng as _};
use vault::{
    Database, ErasureCheck, ErasureOrder, ErasureReason, NewRecord, OpenDatabaseError, OpenError,
    PutError, ScanState, StoreError, Vault,
};

/// Rounds of killing; more with `SALUS_FAULT_ROUNDS`.
const ROUNDS: u64 = 20;

/// This program, to be run as a child that executes one of the ignored tests below.
fn child(test: &str, place: &Place) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    configure(&mut command, place);
    command
}

/// The same, started by a shell that sets something up first.
fn child_after(setup: &str, test: &str, place: &Place) -> Command {
    let mut command = Command::new("sh");
    let program = std::env::current_exe().unwrap();
    command.arg("-c").arg(format!("{setup} exec \"$0\" \"$@\"")).arg(program);
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    configure(&mut command, place);
    command
}

fn configure(command: &mut Command, place: &Place) {
    command
        .env("SALUS_TEST_CHILD", place.folder.path())
        .env("SALUS_TEST_CHILD_URL", &place.url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
}

/// In the child: where to work; `None` when somebody runs ignored tests by hand.
async fn open_as_child() -> Option<Vault> {
    let folder = std::env::var("SALUS_TEST_CHILD").ok()?;
    let url = std::env::var("SALUS_TEST_CHILD_URL").unwrap();
    Some(unlock_at(&url, Path::new(&folder)).await)
}

async fn unlock_at(url: &str, folder: &Path) -> Vault {
    // A server notices only after a moment that a killed client is gone.
    let mut attempts = 0;
    let database = loop {
        match Database::open(url).await {
            Err(OpenDatabaseError::InUse) if attempts < 100 => attempts += 1,
            opened => break opened.unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let settings = vault::VaultSettings {
        steward: STEWARD,
        network: NETWORK,
        bodies: folder.join("bodies"),
        recovery_keys: Vec::new(),
    };
    Vault::unlock(settings, database, &root_key(), &mut rng(1)).await.unwrap()
}

fn say(what: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what} {number}").unwrap();
    out.flush().unwrap();
}

fn acknowledge(number: u64) {
    say("acknowledged", number);
}

fn said(what: &str, line: &str) -> Option<u64> {
    line.strip_prefix(what)?.strip_prefix(' ')?.parse().ok()
}

fn acknowledged(line: &str) -> Option<u64> {
    said("acknowledged", line)
}

/// What a child said before it was killed.
#[derive(Default)]
struct Heard {
    kept: Vec<u64>,
    /// Perhaps erased.
    erasing: BTreeSet<u64>,
    /// Certainly erased.
    erased: BTreeSet<u64>,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        self.kept.extend(acknowledged(line));
        self.erasing.extend(said("erasing", line));
        self.erased.extend(said("erased", line));
    }

    /// What was acknowledged opens, what was erased is gone, and there is nothing in between.
    async fn check(&self, vault: &Vault, number: u64) {
        match vault.open(permit(number), None).await {
            Ok(opened) => {
                assert!(opened.body() == numbered(number).body, "record {number}");
                assert!(!self.erased.contains(&number), "record {number} was erased");
            }
            Err(OpenError::Erased { .. }) => {
                assert!(self.erasing.contains(&number), "nobody erased record {number}");
                let receipt = vault.erasure_receipt(id(number), version(1)).await.unwrap().unwrap();
                assert_eq!(vault.check_erasure(&receipt).await.unwrap(), ErasureCheck::Erased);
            }
            Err(other) => panic!("record {number}: {other:?}"),
        }
    }
}

/// The record with this number: every seventh is a long one, and every seventh of some size.
fn numbered(number: u64) -> NewRecord {
    match number % 7 {
        3 => long_record(number),
        5 => {
            let mut body = vec![0; 150_000];
            rng(number).fill_bytes(&mut body);
            NewRecord { body, ..record(number) }
        }
        _ => record(number),
    }
}

async fn check_opens(vault: &Vault, number: u64) {
    let opened = vault.open(permit(number), None).await.unwrap();
    assert!(opened.body() == numbered(number).body, "record {number}");
}

/// Every version is whole or erased, and no file is without a row.
async fn check_clean(vault: &Vault, place: &Place) -> Vec<RecordId> {
    let mut records = Vec::new();
    let mut files = 0;
    let mut scan = vault.scan();
    while let Some(batch) = scan.next().await.unwrap() {
        for version in batch {
            let is_erased = version.state == ScanState::Erased;
            assert!(is_erased || version.state == ScanState::Intact, "{:?}", version.record);
            records.push(version.record);
            files += usize::from(version.sealed_len > 256 * 1024 && !is_erased);
        }
    }
    assert_eq!(std::fs::read_dir(place.bodies()).unwrap().count(), files + 1, "lock and records");
    records
}

/// Puts records, one by one and in batches, and erases some, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the test below"]
async fn child_puts_records() {
    let Some(vault) = open_as_child().await else { return };
    let order = ErasureOrder { by: AUTHOR, reason: ErasureReason::PatientRequest, at: NOW };
    let first: u64 = std::env::var("SALUS_TEST_FIRST").unwrap().parse().unwrap();
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(first);
    let mut next = first;
    loop {
        // One alone, a batch, or some at the same time, which are written together.
        let count = 1 + rng.next_u64() % 40;
        let numbers = match rng.next_u32() % 3 {
            0 => next..next + 1,
            _ => next..next + count,
        };
        if next > first && rng.next_u32().is_multiple_of(3) {
            let number = first + rng.next_u64() % (next - first);
            say("erasing", number);
            vault.erase(id(number), version(1), order, &mut rng).await.unwrap();
            say("erased", number);
        }
        next = numbers.end;
        if rng.next_u32().is_multiple_of(2) {
            vault.put_many(numbers.clone().map(numbered).collect(), &mut rng).await.unwrap();
            numbers.for_each(acknowledge);
            continue;
        }
        let mut tasks = tokio::task::JoinSet::new();
        for number in numbers {
            let (vault, mut rng) = (vault.clone(), common::rng(number));
            tasks.spawn(async move {
                vault.put(numbered(number), &mut rng).await.unwrap();
                acknowledge(number);
            });
        }
        tasks.join_all().await;
    }
}

async fn killed_at_any_instant(place: Place, rounds: u64) {
    let mut rng = rng(1);
    let mut heard = Heard::default();
    for round in 0..rounds {
        let first = round * 1_000_000 + 1;
        let mut command = child("child_puts_records", &place);
        let mut child = command.env("SALUS_TEST_FIRST", first.to_string()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // A few rounds are killed while they open the vault, most while they put.
        let quiet = Duration::from_micros(rng.next_u64() % 40_000);
        let busy = rng.next_u64() % 60;
        if round % 5 == 0 {
            std::thread::sleep(quiet);
        } else {
            let mut seen = 0;
            while seen < busy {
                let line = lines.next().expect("the child works until it is killed").unwrap();
                heard.hear(&line);
                seen += u64::from(acknowledged(&line).is_some());
            }
            std::thread::sleep(quiet / 10);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(|line| heard.hear(&line));

        let vault = unlock_at(&place.url, place.folder.path()).await;
        let found = check_clean(&vault, &place).await;
        for number in heard.kept.iter().filter(|number| **number >= first) {
            heard.check(&vault, *number).await;
        }
        for number in &heard.kept {
            assert!(found.binary_search(&id(*number)).is_ok(), "record {number} of round {round}");
        }
        place.close(vault).await;
    }
    let Heard { kept, erased, .. } = heard;
    assert!(kept.len() as u64 > rounds, "only {} records in {rounds} rounds", kept.len());
    println!("{rounds} rounds, {} records, none lost; {} erased", kept.len(), erased.len());
}

fn rounds() -> u64 {
    std::env::var("SALUS_FAULT_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap())
}

/// S6: what was acknowledged is there after `kill -9`, and opens.
#[tokio::test]
async fn killed_at_any_instant_on_sqlite() {
    killed_at_any_instant(Place::sqlite(), rounds()).await;
}

/// S6, with the records in PostgreSQL and the long ones in files.
#[tokio::test]
async fn killed_at_any_instant_on_postgres() {
    if let Some(place) = Place::postgres().await {
        killed_at_any_instant(place, rounds().div_ceil(4)).await;
    }
}

/// Puts records until there is no room, then shows that all the others are there.
#[tokio::test]
#[ignore = "the child of the tests below"]
async fn child_fills_the_disk() {
    let Some(vault) = open_as_child().await else { return };
    let folder = std::env::var("SALUS_TEST_CHILD").unwrap();
    let ballast = Path::new(&folder).join("ballast");
    let has_ballast = std::env::var_os("SALUS_TEST_BALLAST").is_some();
    if has_ballast {
        std::fs::write(&ballast, vec![1; 4 << 20]).unwrap();
    }
    let mut number = 0;
    let error = loop {
        number += 1;
        // Many short records fill the database, a very long one its own file.
        match vault.put(numbered(number), &mut rng(number)).await {
            Ok(_) => acknowledge(number),
            Err(error) => break error,
        }
        assert!(number < 100_000, "the disk does not fill");
    };
    assert!(matches!(error, PutError::Store(StoreError::DiskFull(_))), "{error:?}");
    // It stays usable however often it runs into the limit, and attempts leave nothing behind.
    let mut kept: Vec<_> = (1..number).collect();
    for further in number..number + 40 {
        match vault.put(numbered(further), &mut rng(further)).await {
            Ok(_) => kept.push(further),
            Err(PutError::Store(StoreError::DiskFull(_))) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    for number in &kept {
        check_opens(&vault, *number).await;
    }
    let files = std::fs::read_dir(Path::new(&folder).join("bodies")).unwrap().count();
    assert_eq!(files, kept.iter().filter(|number| *number % 7 == 3).count() + 1, "and the lock");
    if has_ballast {
        std::fs::remove_file(ballast).unwrap();
        vault.put(numbered(1_000_003), &mut rng(7)).await.unwrap();
        check_opens(&vault, 1_000_003).await;
    }
    println!("full: {}", std::error::Error::source(&error).unwrap());
}

/// Puts records that share their commits until there is no room, then shows that exactly those are there
/// whose commit was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of a test below"]
async fn child_fills_the_disk_together() {
    let Some(vault) = open_as_child().await else { return };
    let put = async |vault: Vault, number| {
        let (batch, _) = vault.begin_put(numbered(number), &mut rng(number)).await?;
        batch.commit().await.map_err(PutError::from)
    };
    let (mut kept, mut refused, mut full) = (Vec::new(), Vec::new(), None);
    for first in (1..100_000).step_by(8) {
        let together = (first..first + 8).map(|number| {
            let vault = vault.clone();
            tokio::spawn(async move { (number, put(vault, number).await) })
        });
        for one in together.collect::<Vec<_>>() {
            match one.await.unwrap() {
                (number, Ok(())) => kept.push(number),
                (number, Err(PutError::Store(error))) => {
                    refused.push(number);
                    let is_full = matches!(error, StoreError::DiskFull(_));
                    full = full.or(is_full.then_some(error));
                }
                (_, Err(other)) => panic!("{other:?}"),
            }
        }
        // It stays usable however often it runs into the limit.
        if refused.len() > 40 {
            break;
        }
    }
    for number in &kept {
        check_opens(&vault, *number).await;
        acknowledge(*number);
    }
    for number in &refused {
        assert!(vault.versions(id(*number)).await.unwrap().is_empty(), "record {number}");
    }
    println!("full: {}", full.expect("the disk fills"));
}

#[track_caller]
fn check_fills(command: &mut Command) -> Vec<u64> {
    let output = command.output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{out}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("full: no space is left for the store"), "{out}");
    out.lines().filter_map(acknowledged).collect()
}

/// No file may grow beyond 2 MiB, as under a quota.
#[tokio::test]
async fn disk_quota_reached() {
    let place = Place::sqlite();
    // A write beyond the limit raises a signal that would end the process; ignored, it is an error.
    let setup = "trap '' XFSZ; ulimit -f 4096;";
    let numbers = check_fills(&mut child_after(setup, "child_fills_the_disk", &place));
    assert!(numbers.len() > 10);
    let vault = place.unlock().await;
    check_clean(&vault, &place).await;
    for number in &numbers {
        check_opens(&vault, *number).await;
    }
    vault.put(record(1_000_000), &mut rng(2)).await.unwrap();
}

/// Those who share a commit share its failure, and nothing of theirs is kept.
#[tokio::test]
async fn disk_quota_reached_together() {
    let place = Place::sqlite();
    let setup = "trap '' XFSZ; ulimit -f 4096;";
    let numbers = check_fills(&mut child_after(setup, "child_fills_the_disk_together", &place));
    assert!(numbers.len() > 10);
    let vault = place.unlock().await;
    let records = check_clean(&vault, &place).await;
    assert_eq!(records.len(), numbers.len());
    vault.put(record(1_000_000), &mut rng(2)).await.unwrap();
}

/// A file system of 16 MiB is filled, and used again after some room was made.
#[test]
fn disk_full() {
    let place = Place::sqlite();
    let mount = "mount -t tmpfs -o size=16m tmpfs \"$SALUS_TEST_CHILD\" &&";
    if !may_mount() {
        eprintln!("SKIPPED: a file system cannot be mounted here; a quota is tested instead");
        return;
    }
    let mut command = child_after(mount, "child_fills_the_disk", &place);
    let numbers = check_fills(in_mount_namespace(&mut command).env("SALUS_TEST_BALLAST", "1"));
    assert!(numbers.len() > 10);
}

fn may_mount() -> bool {
    let probe = Command::new("unshare")
        .args(["--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt"])
        .stderr(Stdio::null())
        .status();
    probe.is_ok_and(|status| status.success())
}

/// Runs a command so that what it mounts is seen by it alone, and gone with it.
fn in_mount_namespace(command: &mut Command) -> &mut Command {
    let mut wrapped = Command::new("unshare");
    wrapped.arg("--mount").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        wrapped.env(name, value.unwrap_or_default());
    }
    wrapped.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    *command = wrapped;
    command
}

/// Tries to open a vault in a folder that cannot be written.
#[tokio::test]
#[ignore = "the child of the test below"]
async fn child_opens_read_only() {
    let Ok(url) = std::env::var("SALUS_TEST_CHILD_URL") else { return };
    println!("refused: {}", Database::open(&url).await.unwrap_err());
}

#[tokio::test]
async fn read_only_folder() {
    let place = Place::sqlite();
    let vault = place.unlock().await;
    vault.put(record(1), &mut rng(2)).await.unwrap();
    place.close(vault).await;

    let folder = place.folder.path();
    let mut permissions = std::fs::metadata(folder).unwrap().permissions();
    let writable = permissions.clone();
    permissions.set_readonly(true);
    std::fs::set_permissions(folder, permissions).unwrap();
    // Root may write wherever it wants, so it needs a file system that is read-only.
    let is_root = std::fs::write(folder.join("probe"), b"").is_ok();
    let mount = "mount --bind \"$SALUS_TEST_CHILD\" \"$SALUS_TEST_CHILD\" && \
        mount -o remount,ro,bind \"$SALUS_TEST_CHILD\" &&";
    let mut command =
        child_after(if is_root { mount } else { "" }, "child_opens_read_only", &place);
    if is_root && !may_mount() {
        eprintln!("SKIPPED: root cannot be kept from writing here");
    } else {
        if is_root {
            in_mount_namespace(&mut command);
        }
        let output = command.output().unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        let path = folder.join("vault.db.lock");
        let expected = format!(
            "refused: cannot write to {}; check that its folder exists and who may write there",
            path.display()
        );
        assert!(out.contains(&expected), "{out}");
    }
    std::fs::set_permissions(folder, writable).unwrap();
    check_opens(&place.unlock().await, 1).await;
}

#[tokio::test]
async fn folder_that_cannot_be_used_is_named() {
    let place = Place::sqlite();
    let file = place.folder.path().join("file");
    std::fs::write(&file, b"not a folder").unwrap();
    for path in [file.join("vault.db"), place.folder.path().join("nowhere/vault.db")] {
        let refused = Database::open_file(&path).await.unwrap_err();
        assert!(matches!(refused, OpenDatabaseError::NotWritable { .. }), "{refused:?}");
    }
    let refused = Database::open_file(&file).await.unwrap_err();
    assert!(matches!(refused, OpenDatabaseError::Store(_)), "{refused:?}");
    for url in ["", "mysql://host/name", "vault.db", "sqlite:vault.db"] {
        let refused = Database::open(url).await.unwrap_err();
        assert!(matches!(refused, OpenDatabaseError::BadUrl), "{url}");
    }
}

#[tokio::test]
async fn bodies_folder_that_cannot_be_used_is_named() {
    let place = Place::sqlite();
    std::fs::write(place.bodies(), b"not a folder").unwrap();
    let refused = place.unlock_as(place.settings(), &root_key()).await.unwrap_err();
    assert!(matches!(refused, vault::UnlockError::Bodies(_)), "{refused:?}");
}

/// The most memory that this process had, in KiB, where the system tells.
fn most_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Bytes that do not compress.
struct Noise(chacha20::ChaCha20Rng);

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.fill_bytes(buffer);
        Ok(buffer.len())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the test below"]
async fn child_streams_the_longest_records() {
    let Some(vault) = open_as_child().await else { return };
    let bodies: [Box<dyn Read + Send>; 2] = [Box::new(std::io::repeat(7)), Box::new(Noise(rng(1)))];
    for (body, number) in bodies.into_iter().zip(1..) {
        let record = NewRecord { body: Vec::new(), ..record(number) };
        let body = body.take(vault::MAX_BODY_LEN);
        let entry = vault.put_stream(record, body, &mut rng(number)).await.unwrap();
        let (opened, _) = vault.open_to(permit(number), None, std::io::sink()).await.unwrap();
        assert_eq!(opened, entry);
    }
    println!("memory {}", most_memory_kib().unwrap_or_default());
}

/// 256 MiB go in and out in a fraction of that, whether they compress or not.
#[tokio::test]
async fn longest_records_pass_in_little_memory() {
    let place = Place::sqlite();
    let output = child("child_streams_the_longest_records", &place).output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{out}\n{}", String::from_utf8_lossy(&output.stderr));
    let memory = out.lines().find_map(|line| said("memory", line)).unwrap();
    println!("at most {memory} KiB");
    assert!(memory < 96 * 1024, "{memory} KiB");
}
