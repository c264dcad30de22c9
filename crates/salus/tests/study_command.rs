//! `salus study` as people use it: a small list that is made up, verified, altered, and what goes wrong.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn study(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_salus"));
    command.current_dir(folder).arg("study").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_study_is_made_verified_and_found_altered() {
    let folder = tempfile::tempdir().unwrap();
    let made = study(folder.path(), &["--rows", "30", "--mode", "row", "--out", "out"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let told = text(&made.stdout);
    assert!(
        told.contains("fixed price: 1.367 gwei, USD 1857.16") && told.contains("report.html"),
        "{told}"
    );
    assert!(text(&made.stderr).contains("row mode: 30 transactions"));

    let same = study(folder.path(), &["--verify", "out"]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stdout));

    let table = folder.path().join("out/tables/modes.csv");
    fs::write(&table, fs::read_to_string(&table).unwrap().replace("row,30", "row,31")).unwrap();
    let altered = study(folder.path(), &["--verify", "out"]);
    assert_eq!(altered.status.code(), Some(1), "{}", text(&altered.stderr));
    assert!(text(&altered.stdout).contains("tables/modes.csv: altered since it was written"));
}

#[test]
fn what_goes_wrong_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let check = |arguments: &[&str], words: &str| {
        let output = study(folder.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).contains(words), "{arguments:?}: {}", text(&output.stderr));
    };
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/diary.txt"), "").unwrap();
    check(&["--out", "mine"], "name another folder with --out");
    check(&["--resume"], "run without --resume");
    check(&["nowhere.csv"], "nowhere.csv could not be read");
    check(&["--gwei", "20"], "--usd");
    check(&["--gas-price", "gas.csv"], "--ether-price");
    check(&["--verify", "mine"], "manifest.json");
    fs::write(folder.path().join("prices.csv"), "day,price\n").unwrap();
    let prices = ["--gas-price", "prices.csv", "--ether-price", "prices.csv"];
    check(&prices, "there is no column of wei for each gas");
}
