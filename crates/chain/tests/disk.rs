//! Disks that are full, read-only or damaged: a clear error, and no confirmed block lost (S6).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    error::Error,
    fs,
    path::Path,
    process::{Command, Output},
};

use alloy_consensus::TxEip1559;
use alloy_primitives::{TxKind, bytes};
use chain::{Certificate, Chain, LogError, OpenError, ReadError, Rpc};
use common::{CHAIN_ID, ManualClock, RpcExt as _, Wallet, open, open_instant};
use serde_json::{Value, json};

const CHILD: &str = "SALUS_DISK_CHILD";
const DIR: &str = "SALUS_DISK_DIR";

/// What a child process does; it says what came of it, line by line.
fn child(role: &str, dir: &Path) {
    match role {
        "one by one" => one_by_one(dir),
        "without waiting" => without_waiting(dir),
        "open" => match Chain::open(ManualClock::new(2_000_000).config(dir)) {
            Ok(chain) => {
                let (number, hash) = chain.applied();
                println!("opened {number} {hash}");
                chain.close();
            }
            Err(error) => println!("failed {}", whole_story(&error)),
        },
        other => panic!("{other}"),
    }
}

/// Confirms one block after the other until the disk is full.
fn one_by_one(dir: &Path) {
    let rpc = open_instant(dir);
    let wallet = Wallet::new(0);
    let mut last = Value::Null;
    let refused = loop {
        let raw = wallet.store(1, 1);
        match rpc.handle("eth_sendRawTransactionSync", json!([raw])) {
            Ok(receipt) => {
                println!("confirmed {}", receipt["blockHash"].as_str().unwrap());
                last = receipt;
            }
            Err(error) => break error,
        }
    };
    println!("refused {}", refused.message);
    // It takes nothing more, and still answers.
    let raw = Wallet::new(1).store(1, 1);
    let again = rpc.handle("eth_sendRawTransaction", json!([raw])).unwrap_err();
    println!("again {}", again.message);
    let found = rpc.ok("eth_getTransactionReceipt", json!([last["transactionHash"]]));
    assert_eq!(found, last);
    let first = rpc.ok("eth_getBlockByNumber", json!(["0x1", true]));
    assert_eq!(first["number"], "0x1");
    rpc.chain().close();
    println!("closed");
}

/// Sends blocks on their way as fast as it goes until the disk is full. Each asks for the hash of the
/// one before, which is still on the way.
fn without_waiting(dir: &Path) {
    let chain = open(dir);
    let wallet = Wallet::new(0);
    let mut on_the_way = Vec::new();
    let error = loop {
        // NUMBER PUSH1 1 SWAP1 SUB BLOCKHASH PUSH0 SSTORE STOP
        let raw = wallet.sign(TxEip1559 {
            chain_id: CHAIN_ID,
            nonce: on_the_way.len() as u64,
            gas_limit: 200_000,
            max_fee_per_gas: 1_000_000_000,
            to: TxKind::Create,
            input: bytes!("4360019003405f5500"),
            ..TxEip1559::default()
        });
        if let Err(error) = chain.submit(raw) {
            break error.to_string();
        }
        // It may stop in between; then it says so to whoever sends again.
        let Some(payload) = chain.propose() else { continue };
        match chain.apply(payload.clone(), Certificate::new()) {
            Ok(applied) => on_the_way.push((payload, applied)),
            Err(error) => break error.to_string(),
        }
    };
    let mut unconfirmed = None;
    for (payload, applied) in on_the_way {
        match applied.wait() {
            Some(hash) => println!("confirmed {hash}"),
            None => unconfirmed = unconfirmed.or(Some(payload)),
        }
    }
    // Whoever asks again for a block that was taken but never confirmed is told.
    let again = chain.apply(unconfirmed.unwrap(), Certificate::new()).map(|_| ()).unwrap_err();
    println!("refused {error}");
    println!("again {again}");
    chain.close();
    println!("closed");
}

fn whole_story(error: &dyn Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", whole_story(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

/// Every test here is started again as the child that it needs.
fn is_child() -> bool {
    let Some(role) = std::env::var_os(CHILD) else { return false };
    child(role.to_str().unwrap(), Path::new(&std::env::var_os(DIR).unwrap()));
    true
}

/// Runs `script` in a shell. In it, `child ROLE` starts the test as that child.
fn shell(program: &mut Command, test: &str, dir: &Path, script: &str) -> Output {
    let child = format!("child() {{ {CHILD}=\"$1\" \"$0\" --exact {test} --nocapture; }}");
    let child = child.replace("\"$0\"", "\"$PROGRAM\"");
    let exe = std::env::current_exe().unwrap();
    program
        .args(["bash", "-c", &format!("set -e; {child}; {script}")])
        .env("PROGRAM", exe)
        .env(DIR, dir)
        .output()
        .unwrap()
}

/// What the child said, by the first word of the lines.
fn said<'a>(output: &'a str, word: &str) -> Vec<&'a str> {
    output.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')).collect()
}

/// Checks what a child said whose disk became full, and gives the hashes of its confirmed blocks.
#[track_caller]
fn check_full(output: &Output, cause: &str) -> (String, Vec<String>) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{all}");
    let confirmed: Vec<_> = said(&text, "confirmed").into_iter().map(str::to_owned).collect();
    assert!(!confirmed.is_empty(), "{all}");
    for word in ["refused", "again"] {
        let refused = said(&text, word)[0].to_owned();
        for part in ["the chain has stopped: could not", "blocks.log", cause, "start it again"] {
            assert!(refused.contains(part), "{word}: {refused}");
        }
    }
    assert!(text.contains("closed"), "{all}");
    (text, confirmed)
}

/// Opens what the child left, checks that exactly the confirmed blocks are there, and goes on.
#[track_caller]
fn check_reopened(dir: &Path, confirmed: &[String]) {
    let rpc = open_instant(dir);
    for (number, hash) in (1..).zip(confirmed) {
        assert_eq!(rpc.chain().block(number).unwrap().unwrap().hash.to_string(), *hash);
    }
    assert_eq!(rpc.chain().applied().0, confirmed.len() as u64);
    let wallet = Wallet::new(0);
    let nonce = rpc.chain().pending_nonce(&wallet.address);
    assert_eq!(nonce, confirmed.len() as u64);
    let receipt = rpc.run(wallet.call_with(nonce, 1, common::STORE, common::store_input(1, 2)));
    assert_eq!(receipt["status"], "0x1");
    rpc.chain().close();
}

#[test]
fn full_disk_stops_the_chain_and_nothing_confirmed_is_lost() {
    if is_child() {
        return;
    }
    // Up to 64 blocks of 0.9 kB are written at once, so each limit lets some of them be confirmed.
    for (role, blocks_kb) in
        [("one by one", 50), ("one by one", 51), ("without waiting", 100), ("without waiting", 173)]
    {
        let dir = tempfile::tempdir().unwrap();
        let test = "full_disk_stops_the_chain_and_nothing_confirmed_is_lost";
        // A file can grow no more, and the system says so instead of ending the process.
        let script = format!("trap '' XFSZ; ulimit -f {blocks_kb}; child '{role}'");
        let output = shell(&mut Command::new("env"), test, dir.path(), &script);
        let (_, confirmed) = check_full(&output, "File too large");
        check_reopened(dir.path(), &confirmed);
    }
}

/// Whether this process may mount file systems of its own.
fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    let may = tried.is_ok_and(|tried| tried.status.success());
    if !may {
        eprintln!("SKIPPED: only root may mount");
    }
    may
}

#[test]
fn full_file_system_stops_the_chain_until_there_is_room() {
    if is_child() {
        return;
    }
    if !may_mount() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let test = "full_file_system_stops_the_chain_until_there_is_room";
    for role in ["one by one", "without waiting"] {
        let script = format!(
            "mount -t tmpfs -o size=200k none \"${DIR}\"; child '{role}'; child open;
             mount -o remount,size=10m \"${DIR}\"; child open"
        );
        let mut unshare = Command::new("unshare");
        let output = shell(unshare.arg("--mount"), test, dir.path(), &script);
        let (text, confirmed) = check_full(&output, "No space left on device");
        let expected = format!("{} {}", confirmed.len(), confirmed.last().unwrap());
        // Even while it is full, what is confirmed can be opened; it can be cut, not lengthened.
        assert_eq!(said(&text, "opened"), [&expected, &expected]);
    }
}

#[test]
fn directory_that_cannot_be_made_or_written_is_a_clear_error() {
    if is_child() {
        return;
    }
    let test = "directory_that_cannot_be_made_or_written_is_a_clear_error";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"in the way").unwrap();
    let below = file.join("chain");
    match Chain::open(ManualClock::new(0).config(&below)) {
        Err(error @ OpenError::Io { .. }) => {
            let story = whole_story(&error);
            assert!(
                story.contains("make the directory") && story.contains("permissions"),
                "{story}"
            );
        }
        _ => panic!("a directory below a file cannot be made"),
    }

    // Mode bits do not bind root, so root asks as somebody else.
    let chain = dir.path().join("chain");
    let rpc = open_instant(&chain);
    rpc.run(Wallet::new(0).store(1, 1));
    rpc.chain().close();
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    if is_root {
        let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path(), open_to_all).unwrap();
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        let output = shell(&mut nobody, test, &chain, "child open");
        check_failed(&output, &["could not create", "lock", "permissions", "Permission denied"]);
    }
    if may_mount() {
        let script = format!(
            "mount --bind \"${DIR}\" \"${DIR}\"; mount -o remount,bind,ro \"${DIR}\"; child open"
        );
        let output = shell(Command::new("unshare").arg("--mount"), test, &chain, &script);
        check_failed(&output, &["could not create", "lock", "Read-only file system"]);
    }
    assert_eq!(open(&chain).applied().0, 1);
}

#[track_caller]
fn check_failed(output: &Output, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let failed = said(&text, "failed");
    assert!(failed.len() == 1, "{all}");
    for part in parts {
        assert!(failed[0].contains(part), "{}", failed[0]);
    }
}

#[test]
fn directory_in_use_is_refused_until_the_chain_is_closed() {
    if is_child() {
        return;
    }
    let test = "directory_in_use_is_refused_until_the_chain_is_closed";
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    rpc.run(Wallet::new(0).store(1, 1));
    let output = shell(&mut Command::new("env"), test, dir.path(), "child open");
    check_failed(&output, &["in use by another process"]);
    rpc.chain().close();
    // The handle is still there and still reads; the directory is free all the same.
    let output = shell(&mut Command::new("env"), test, dir.path(), "child open");
    assert!(String::from_utf8_lossy(&output.stdout).contains("opened 1 "));
    assert_eq!(rpc.ok("eth_blockNumber", json!([])), "0x1");
}

/// A closed chain of `blocks` blocks.
fn filled(blocks: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let rpc = open_instant(dir.path());
    let wallet = Wallet::new(0);
    for value in 1..=blocks {
        rpc.run(wallet.store(value % 3, value));
    }
    rpc.chain().close();
    dir
}

fn try_open(dir: &Path) -> Result<Chain, OpenError> {
    Chain::open(ManualClock::new(2_000_000).config(dir))
}

#[track_caller]
fn refused(dir: &Path) -> OpenError {
    match try_open(dir) {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[test]
fn confirmed_end_that_is_gone_is_reported_and_given_up_only_on_purpose() {
    let dir = filled(5);
    let log = dir.path().join("blocks.log");
    let whole = fs::read(&log).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&whole[..whole.len() - 1], &flipped] {
        fs::write(&log, damaged).unwrap();
        let error = refused(dir.path());
        assert!(
            matches!(error, OpenError::Log(LogError::Short { last: 4, confirmed: 5, .. })),
            "{error}"
        );
        let story = whole_story(&error);
        assert!(story.contains("backup") && story.contains("blocks.places"), "{story}");
        assert_eq!(fs::read(&log).unwrap(), *damaged, "nothing was cut");
    }
    // A restored log opens as if nothing had been.
    fs::write(&log, &whole).unwrap();
    let chain = try_open(dir.path()).unwrap();
    assert_eq!(chain.applied().0, 5);
    chain.close();
    // A log that is gone is not a chain that begins anew.
    fs::remove_file(&log).unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Log(LogError::Short { last: 0, confirmed: 5, .. })));
    fs::write(&log, &flipped).unwrap();
    fs::remove_file(dir.path().join("blocks.places")).unwrap();
    let chain = try_open(dir.path()).unwrap();
    assert_eq!(chain.applied().0, 4);
    chain.close();
}

#[test]
fn half_written_block_at_the_end_is_cut_off() {
    let dir = filled(5);
    let log = dir.path().join("blocks.log");
    let whole = fs::read(&log).unwrap();
    // The beginning of another frame: a length, a checksum, and too little after it.
    for length in [1, 8, 9, 300] {
        let half = [whole.as_slice(), &whole[12..12 + length]].concat();
        fs::write(&log, half).unwrap();
        let chain = try_open(dir.path()).unwrap();
        assert_eq!(chain.applied().0, 5);
        chain.close();
        assert_eq!(fs::read(&log).unwrap(), whole);
    }
}

#[test]
fn damaged_block_in_the_middle_is_reported_whoever_meets_it() {
    let dir = filled(5);
    let log = dir.path().join("blocks.log");
    let mut bytes = fs::read(&log).unwrap();
    // The third block's place: entries of 44 bytes that begin with an offset.
    let places = fs::read(dir.path().join("blocks.places")).unwrap();
    let place = u64::from_le_bytes(places[88..96].try_into().unwrap());
    bytes[usize::try_from(place).unwrap() + 100] ^= 1;
    fs::write(&log, bytes).unwrap();

    // The state after it is stored, so nobody needs the block, until somebody asks for it.
    let chain = try_open(dir.path()).unwrap();
    let found = chain.block(3);
    assert!(
        matches!(&found, Err(ReadError::Log(LogError::Damaged { offset, .. })) if *offset == place)
    );
    assert!(chain.block(2).unwrap().is_some() && chain.block(4).unwrap().is_some());
    let rpc = Rpc::new(chain);
    let error = rpc.handle("eth_getBlockByNumber", json!(["0x3", false])).unwrap_err();
    assert_eq!((error.code, &*error.message), (-32_603, "internal error"));
    rpc.chain().close();

    // Whoever needs it to rebuild the state cannot go on, nor without knowing where blocks begin.
    fs::rename(dir.path().join("state"), dir.path().join("aside")).unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Log(LogError::Damaged { .. })), "{error}");
    assert!(whole_story(&error).contains("backup"));
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    fs::rename(dir.path().join("aside"), dir.path().join("state")).unwrap();
    fs::remove_file(dir.path().join("blocks.places")).unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Log(LogError::Damaged { .. })), "{error}");
}

#[test]
fn damaged_derived_files_are_made_again() {
    let dir = filled(5);
    let head = {
        let chain = open(dir.path());
        chain.close();
        chain.applied()
    };
    let run = |folder: &str| {
        let mut files = fs::read_dir(dir.path().join(folder)).unwrap();
        files.next().unwrap().unwrap().path()
    };
    let (places, state, index) = (dir.path().join("blocks.places"), run("state"), run("index"));
    let originals = [&places, &state, &index].map(|path| fs::read(path).unwrap());
    for (path, original) in [&places, &state, &index].into_iter().zip(&originals) {
        let mut flipped = original.clone();
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x40;
        let short = original[..original.len() - 1].to_vec();
        for damaged in [flipped, short, Vec::new()] {
            // A flipped bit in the index is not noticed; see its module's documentation.
            if path == &index && damaged.len() == original.len() {
                continue;
            }
            fs::write(path, damaged).unwrap();
            let rpc = Rpc::new(open(dir.path()));
            assert_eq!(rpc.chain().applied(), head, "{path:?}");
            for number in 1..=5 {
                let block = rpc.chain().block(number).unwrap().unwrap();
                let found = rpc.chain().find_transaction(&block.transactions[0].hash()).unwrap();
                assert_eq!(found.unwrap().0.hash, block.hash, "{path:?}");
            }
            rpc.chain().close();
        }
    }
}

#[test]
fn what_another_version_or_program_wrote_is_refused() {
    let dir = filled(1);
    let log = dir.path().join("blocks.log");
    let whole = fs::read(&log).unwrap();
    let mut later = whole.clone();
    later[8] = 2;
    fs::write(&log, later).unwrap();
    let error = refused(dir.path());
    assert!(matches!(error, OpenError::Log(LogError::OtherVersion { found: 2, .. })));
    assert!(whole_story(&error).contains("use the program that wrote it"));
    fs::write(&log, b"not a log at all").unwrap();
    assert!(matches!(refused(dir.path()), OpenError::Log(LogError::NotALog { .. })));
    fs::write(&log, &whole).unwrap();

    let genesis = dir.path().join("genesis.json");
    let text = fs::read(&genesis).unwrap();
    fs::write(&genesis, &text[..text.len() / 2]).unwrap();
    let error = refused(dir.path());
    let story = whole_story(&error);
    assert!(story.contains("genesis.json") && story.contains("EOF"), "{story}");
    fs::write(&genesis, text).unwrap();
    assert_eq!(open(dir.path()).applied().0, 1);
}
