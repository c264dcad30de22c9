//! What a gateway's configuration may say, and what is said of one that is wrong.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

/// The program in `dir`, told nothing by this process's environment.
fn salus(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_salus"));
    command.current_dir(dir).args(arguments);
    let own = std::env::vars_os().map(|(name, _)| name);
    for name in own.filter(|name| name.to_string_lossy().starts_with("SALUS_")) {
        command.env_remove(name);
    }
    command
}

fn run(dir: &Path, arguments: &[&str]) -> Output {
    salus(dir, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Where each part of these begins does not matter for what is checked.
const GOOD: &str = "name = \"clinic\"\ndata = \"data\"\n[smart]\ndevelopment_issuer = true\n";

/// What is wrong with a configuration: all of these texts are told.
#[track_caller]
fn check(config: &str, expected: &[&str]) {
    check_with(config, &[], &[], expected);
}

#[track_caller]
fn check_with(config: &str, environment: &[(&str, &str)], flags: &[&str], expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("salus.toml"), config).unwrap();
    let mut command = salus(dir.path(), &["gateway", "keys"]);
    let output = command.envs(environment.iter().copied()).args(flags).output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    for part in expected {
        assert!(told.contains(part), "{part:?} is not told:\n{told}");
    }
}

#[test]
fn mistakes_are_told_with_their_place_and_what_is_expected() {
    let with = |more: &str| format!("{GOOD}{more}");
    check("", &["salus.toml: `name`: missing"]);
    check("name = 7\n", &["salus.toml, line 1: `name`", "string"]);
    check("name = \"a/b\"\n", &["line 1: `name`", "expected 1 to 64 of the characters a-z"]);
    check("name = \"Clinic\"\n", &["line 1: `name`", "a-z"]);
    check("name = \"clinic\n", &["salus.toml, line 1, column", "not TOML"]);
    check(
        "name = \"clinic\"\n\nlisten = \"localhost\"\n",
        &["salus.toml, line 3: `listen`", "expected an address and a port, such as 127.0.0.1:8080"],
    );
    check(
        "name = \"clinic\"\nlistne = \"127.0.0.1:1\"\n",
        &["salus.toml, line 2: `listne`: unknown; expected one of name, data, role, listen"],
    );
    check(
        "name = \"clinic\"\nrole = \"shop\"\n",
        &["line 2: `role`", "expected hospital, laboratory"],
    );
    check(
        "name = \"clinic\"\nanchor_every_s = 0\n",
        &["line 2: `anchor_every_s`", "expected seconds, at least 1"],
    );
    check(&with("[limits]\nrequests = 0\n"), &["line 6: `limits.requests`", "a number above 0"]);
    check(&with("[limits]\nrequest = 1\n"), &["line 6: `limits.request`: unknown", "body_bytes"]);
    check(
        &with("[ledger]\nfinality = \"soon\"\n"),
        &["line 6: `ledger.finality`", "\"latest\", \"finalized\", or a number of blocks"],
    );
    check(&with("[ledger]\nrpc = \"localhost\"\n"), &["line 6: `ledger.rpc`", "http or https"]);
    check(
        &with("[ledger]\nregistry = \"0x12\"\n"),
        &["line 6: `ledger.registry`", "an address: 0x"],
    );
    check(
        &with("[ledger]\ngas_price_wei = 0\ntip_wei = 1\n"),
        &["line 6: `ledger.gas_price_wei`", "not both"],
    );
    check(
        &with("[exchange]\nlisten = \"somewhere\"\n"),
        &["line 6: `exchange.listen`", "an address and a port"],
    );
    check(&with("[exchange]\nevery_s = 0\n"), &["line 6: `exchange.every_s`", "at least 1"]);
    check(
        &with("[exchange]\nlisten = \"0.0.0.0:7070\"\n"),
        &["line 6: `exchange.listen`: others cannot call this address", "`address` beside it"],
    );
    check(
        &with("[exchange]\nhttps = false\n"),
        &["line 5: `exchange`: expected `listen`, or https = true"],
    );
    check(
        &with("[[smart.issuers]]\nissuer = \"https://id.example\"\n"),
        &["line 5: `smart.issuers.0`: expected either `jwks` or `jwks_file`", "names_members"],
    );
    check(
        &with(
            "[[smart.issuers]]\nissuer = \"https://id.example\"\njwks_file = \"a\"\n\
             members = { someone = \"them\" }\n",
        ),
        &["`smart.issuers.0.members`", "an address: 0x"],
    );
    check(
        "name = \"clinic\"\n[smart]\n",
        &["line 2: `smart`: expected at least one [[smart.issuers]]"],
    );
    check("name = \"clinic\"\n", &["salus.toml: `smart`: expected at least one"]);
}

#[test]
fn all_mistakes_of_a_kind_are_told_at_once() {
    let config = "name = \"clinic\"\nlisten = \"0.0.0.0:80\"\nlog = \"a=b=c\"\n\
                  database = \"mysql://host/name\"\n";
    check(
        config,
        &[
            "line 2: `listen`: clients cannot call this address",
            "line 3: `log`",
            "line 4: `database`: expected sqlite://PATH",
            "`smart`",
        ],
    );
}

#[test]
fn the_environment_and_flags_are_named_as_such() {
    let environment = [("SALUS_LEDGER__FINALITY", "soon")];
    check_with(
        GOOD,
        &environment,
        &[],
        &["environment, SALUS_LEDGER__FINALITY: `ledger.finality`"],
    );
    check_with(GOOD, &[("SALUS_LISTNE", "x")], &[], &["SALUS_LISTNE", "unknown"]);
    check_with(GOOD, &[], &["--listen", "nowhere"], &["the command line: `listen`", "nowhere"]);
    // A flag goes before the environment, and that before the file.
    let config = format!("listen = \"nowhere\"\n{GOOD}");
    let environment = [("SALUS_LISTEN", "neither")];
    check_with(&config, &environment, &[], &["environment, SALUS_LISTEN"]);
    check_with(&config, &environment, &["--listen", "nor"], &["the command line"]);
}

#[test]
fn a_password_in_the_file_is_refused_and_not_repeated() {
    let url = "postgres://clinic:planted-secret@localhost/clinic";
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("salus.toml"), format!("database = \"{url}\"\n{GOOD}")).unwrap();
    let told = text(&run(dir.path(), &["gateway", "keys"]).stderr);
    assert!(told.contains("line 1: `database`: a password does not belong"), "{told}");
    assert!(!told.contains("planted"), "{told}");
    // Nor when the line cannot be read at all.
    fs::write(dir.path().join("salus.toml"), format!("database = \"{url}\n{GOOD}")).unwrap();
    let told = text(&run(dir.path(), &["gateway", "keys"]).stderr);
    assert!(told.contains("line 1") && !told.contains("planted"), "{told}");
    // The environment is where it belongs; that nobody answers there is another matter.
    fs::write(dir.path().join("salus.toml"), GOOD).unwrap();
    let mut command = salus(dir.path(), &["gateway", "init"]);
    let url = "postgres://clinic:planted-secret@127.0.0.1:1/clinic";
    let output = command.env("SALUS_DATABASE", url).output().unwrap();
    let told = text(&output.stderr);
    assert!(told.contains("the database could not be opened"), "{told}");
    assert!(!told.contains("planted"), "{told}");
}

#[test]
fn the_documented_configuration_is_taken() {
    let page = include_str!("../../../docs/gateway.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (config, _) = rest.split_once("```").unwrap();
    // It gets as far as the keys, which nobody made.
    check_with(
        config,
        &[("SALUS_PASSPHRASE", "a secret")],
        &[],
        &["`salus gateway init` makes them"],
    );
}

#[test]
fn a_missing_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let told = text(&run(dir.path(), &["gateway", "--config", "other.toml"]).stderr);
    assert!(told.contains("could not read other.toml") && told.contains("--config"), "{told}");
}

#[test]
fn keys_are_made_once_and_shown_again() {
    let dir = tempfile::tempdir().unwrap();
    // Paths in the file are relative to it, wherever the command is typed.
    let home = dir.path().join("etc");
    fs::create_dir(&home).unwrap();
    let role = "role = \"laboratory\"\n";
    fs::write(home.join("salus.toml"), format!("{role}{GOOD}")).unwrap();
    let gateway = |arguments: &[&str]| {
        let config = ["gateway", "--config", "etc/salus.toml"];
        run(dir.path(), &[&config, arguments].concat())
    };
    let before = gateway(&["keys"]);
    assert_eq!(before.status.code(), Some(2));

    let made = gateway(&["init"]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let told = text(&made.stdout);
    for part in ["member address  0x", "laboratory", "HPKE key", "proposeAdmission", "passphrase"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let keys = home.join("data/clinic");
    for name in ["keystore.json", "root.key", "vault.db"] {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(keys.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let keystore = fs::read(keys.join("keystore.json")).unwrap();

    let shown = gateway(&["keys", "--json"]);
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(told.contains(shown["member"].as_str().unwrap()));
    assert!(told.contains(shown["hpke_key"].as_str().unwrap()));
    assert_eq!((&shown["name"], &shown["role"]), (&"clinic".into(), &"laboratory".into()));

    let again = gateway(&["init"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("left as they are"));
    assert_eq!(fs::read(keys.join("keystore.json")).unwrap(), keystore);

    // There is no chain to serve from.
    let serving = gateway(&["--listen", "127.0.0.1:0"]);
    assert_eq!(serving.status.code(), Some(2));
    assert!(text(&serving.stderr).contains("ledger.rpc"), "{}", text(&serving.stderr));
}
