//! A gateway whose vault is in PostgreSQL: served, dumped and backed up, and restored elsewhere.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Serving, cluster, configure, fhir, gateway, get, good, make_database, text};

/// A program of PostgreSQL, of the newest version that is here.
fn program(name: &str) -> Command {
    let versions = fs::read_dir("/usr/lib/postgresql").unwrap();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.unwrap().path().join("bin").join(name))
        .filter(|program| program.exists())
        .collect();
    found.sort();
    Command::new(found.pop().unwrap())
}

/// The hospital, with its database there and a physician to sign in as.
fn configure_on(home: &Path, database: &str, physician: &str) {
    configure(home, "hospital", &format!("database = \"{database}\""));
    let path = home.join("salus.toml");
    let config = fs::read_to_string(&path).unwrap();
    let people = format!("[smart.people]\nphysician = \"{physician}\"\n");
    fs::write(path, config + &people).unwrap();
}

/// What reconciling finds, sorted.
fn findings(home: &Path) -> Vec<String> {
    let mut command = gateway(home);
    let output = command.args(["reconcile", "--json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    let list = report["findings"].as_array().unwrap();
    let mut list: Vec<String> = list.iter().map(Value::to_string).collect();
    list.sort();
    list
}

#[test]
fn a_gateway_in_postgres_serves_and_is_restored_from_dump_and_backup() {
    let Some(cluster) = cluster() else { return };
    let dir = tempfile::tempdir().unwrap();
    let (home, data) = (dir.path(), dir.path().join("data"));
    Serving::up(&data).stop();
    let who = good(&data, &["who"]);
    let line = who.lines().find(|line| line.contains("P001")).unwrap();
    let account = line.split_whitespace().last().unwrap();
    // What the demonstration had written to its own database is not in this one.
    let first = make_database(&cluster, "first");
    let member = who.lines().find(|line| line.contains("physician")).unwrap();
    let member = member.split_whitespace().last().unwrap();
    configure_on(home, &first, member);
    let missing = findings(home);

    let serving = Serving::start(gateway(home));
    let address = serving.address("127.0.0.1");
    let ready = get(&address, "/readyz");
    assert_eq!(ready.status, 200, "{ready:?}");
    let token = self::token(&address);
    let patient = json!({
        "resourceType": "Patient", "id": "anna", "name": [{ "family": "Murphy" }],
        "identifier": [{ "system": "urn:salus:account", "value": account }],
    });
    let result = json!({
        "resourceType": "Observation", "id": "result", "status": "final",
        "code": { "coding": [{ "system": "http://loinc.org", "code": "2823-3" }] },
        "subject": { "reference": "Patient/anna" },
        "valueQuantity": { "value": 4.1, "unit": "mmol/L" },
    });
    let clinic = json!({ "resourceType": "Organization", "id": "clinic", "name": "Clinic" });
    for resource in [&patient, &result, &clinic] {
        let path = format!(
            "{}/{}",
            resource["resourceType"].as_str().unwrap(),
            resource["id"].as_str().unwrap()
        );
        let made = fhir(&address, "PUT", &path, &token, &resource.to_string());
        assert_eq!(made.status, 201, "{made:?}");
    }
    let search = |address: &str, token: &str| {
        let path = "Observation?patient=anna&code=2823-3&value-quantity=gt4";
        let found = fhir(address, "GET", path, token, "");
        assert_eq!(found.json()["total"], 1, "{found:?}");
    };
    search(&address, &token);
    assert!(get(&address, "/metrics").body.contains("salus_receipts_total{gateway=\"hospital\"} "));

    // The dump first, then the backup, while the gateway serves.
    let dump = home.join("vault.dump");
    let mut dumping = program("pg_dump");
    let dumped = dumping.args(["--format=custom", "--file"]).arg(&dump).arg(&first).status();
    assert!(dumped.unwrap().success());
    let backup = home.join("backup.tar.zst");
    let made = gateway(home).args(["backup", "--to"]).arg(&backup).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    serving.stop();

    // Both are restored somewhere else.
    fs::rename(data.join("hospital"), home.join("lost")).unwrap();
    let second = make_database(&cluster, "second");
    let mut restoring = program("pg_restore");
    let restored = restoring.arg("--dbname").arg(&second).arg(&dump).stdout(Stdio::null());
    assert!(restored.status().unwrap().success());
    configure_on(home, &second, member);
    let restored = gateway(home).args(["restore", "--from"]).arg(&backup).output().unwrap();
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    // Nothing is missing but what was never here.
    assert_eq!(findings(home), missing);
    let serving = Serving::start(gateway(home));
    let address = serving.address("127.0.0.1");
    search(&address, &self::token(&address));
    serving.stop();
}

/// A token of the development issuer for the physician, in the steps that an app takes.
fn token(address: &str) -> String {
    let verifier = "v".repeat(64);
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
    let audience = format!("http://{address}/fhir");
    let post = |path: &str, form: &[(&str, &str)], shown: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error"]).args(shown);
        for (name, value) in form {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = command.arg(format!("http://{address}/auth/{path}")).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let app = [("client_id", "salus"), ("redirect_uri", "http://localhost/salus")];
    let asked = [
        ("response_type", "code"),
        ("scope", "user/*.cruds"),
        ("state", "12345678"),
        ("aud", &audience),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("person", "physician"),
    ];
    let redirect = ["--output", "/dev/null", "--write-out", "%{redirect_url}"];
    let location = post("authorize", &[&app[..], &asked].concat(), &redirect);
    let code = location.split(['?', '&']).find_map(|part| part.strip_prefix("code="));
    let code = code.unwrap_or_else(|| panic!("no code: {location}"));
    let exchanged =
        [("grant_type", "authorization_code"), ("code", code), ("code_verifier", &verifier)];
    let answer = post("token", &[&app[..], &exchanged].concat(), &[]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}
