//! Backups, as they are made of a running gateway, damaged, and restored.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod support;

use std::{
    collections::BTreeMap, fs, io::Read as _, os::unix::fs::PermissionsExt as _, path::Path,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{Serving, configure, fhir, gateway, good, text};

/// Text that no compression makes much shorter, from a seed.
fn noise(length: usize) -> String {
    let blocks = (0_u64..).flat_map(|block| Sha256::digest(block.to_be_bytes()));
    blocks.take(length / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// The files of a backup, by path.
fn files(backup: &Path) -> BTreeMap<String, Vec<u8>> {
    let decoder = zstd::Decoder::new(fs::File::open(backup).unwrap()).unwrap();
    let mut archive = tar::Archive::new(decoder);
    let read = |entry: std::io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (path, bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

#[test]
fn a_backup_of_a_running_gateway_is_restored_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let (home, data) = (dir.path(), dir.path().join("data"));
    {
        let serving = Serving::up(&data);
        let document = json!({
            "resourceType": "DocumentReference",
            "status": "current",
            "content": [{ "attachment": { "data": noise(800_000) } }],
        });
        let file = home.join("document.json");
        fs::write(&file, document.to_string()).unwrap();
        good(&data, &["records", "propose", "P001", file.to_str().unwrap()]);
        serving.stop();
    }
    let hospital = data.join("hospital");
    let long = |dir: &Path| {
        let names =
            fs::read_dir(dir.join("bodies")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.len() == 64).count()
    };
    assert_eq!(long(&hospital), 1);

    configure(home, "hospital", "");
    let run = |arguments: &[&str]| {
        let mut command = gateway(home);
        command.args(arguments).output().unwrap()
    };
    let backup = home.join("backup.tar.zst");
    let path = backup.to_str().unwrap();
    let serving = Serving::start(gateway(home));
    let before = fhir(&serving.address("127.0.0.1"), "GET", "metadata", "", "");
    assert_eq!(before.status, 200);
    let made = run(&["backup", "--to", path]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(text(&made.stdout).contains("the passphrase is not in it"));
    let again = run(&["backup", "--to", path]);
    assert!(text(&again.stderr).contains("exists already"));
    serving.stop();

    // What is in it, and what is not.
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let leftovers = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(leftovers.filter(|name| name.to_str().unwrap().starts_with("backup")).count(), 1);
    let held = files(&backup);
    let manifest: Value = serde_json::from_slice(&held["manifest.json"]).unwrap();
    let listed = manifest["files"].as_array().unwrap();
    assert_eq!(listed.len() + 1, held.len());
    for file in listed {
        let digest = Sha256::digest(&held[file["path"].as_str().unwrap()]);
        assert_eq!(file["sha256"], hex::encode(digest));
    }
    let named = ["backup.json", "keystore.json", "root.key", "vault.db", "deployments/72587.json"];
    assert!(named.iter().all(|name| held.contains_key(*name)), "{:?}", held.keys());
    let passphrase = fs::read(data.join("passphrase")).unwrap();
    assert!(held.values().all(|file| !file.windows(passphrase.len()).any(|w| w == passphrase)));

    // Nothing is restored over anything.
    let refused = run(&["restore", "--from", path]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("is not empty"), "{}", text(&refused.stderr));

    // A damaged backup is refused whole, wherever the damage is.
    let kept = home.join("kept");
    fs::rename(&hospital, &kept).unwrap();
    let bytes = fs::read(&backup).unwrap();
    let damaged = home.join("damaged.tar.zst");
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&damaged, bytes).unwrap();
        let output = run(&["restore", "--from", damaged.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{what}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains("damaged"), "{what}: {}", text(&output.stderr));
        assert!(!hospital.exists() && !data.join("hospital.restoring").exists(), "{what}");
    };
    for place in [100, bytes.len() / 3, bytes.len() / 2, bytes.len() - 100] {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        refused(&changed, &format!("byte {place}"));
    }
    refused(&bytes[..bytes.len() / 2], "half");
    refused(&[], "nothing");
    // One that is well-formed and says something else than its manifest.
    for (path, digest) in [("vault.db", true), ("../escaped", false), ("manifest.json", false)] {
        let mut archive = tar::Builder::new(zstd::Encoder::new(Vec::new(), 1).unwrap());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            // Set by hand: the library itself would refuse to write what leads elsewhere.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, bytes).unwrap();
        };
        add("backup.json", &held["backup.json"]);
        if digest {
            add(path, b"another");
        } else {
            add(path, b"{\"files\": [], \"missing_bodies\": []}");
        }
        add("manifest.json", &held["manifest.json"]);
        let bytes = archive.into_inner().unwrap().finish().unwrap();
        refused(&bytes, path);
    }
    assert!(!home.join("escaped").exists());

    // The good one brings everything back, and the chain agrees with it.
    let restored = run(&["restore", "--from", path]);
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    assert_eq!(long(&hospital), 1);
    for name in ["keystore.json", "root.key", "vault.db"] {
        let mode = fs::metadata(hospital.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(&hospital).unwrap().permissions().mode() & 0o777, 0o700);
    let reconciled = run(&["reconcile"]);
    let told = text(&reconciled.stdout) + &text(&reconciled.stderr);
    assert!(reconciled.status.success() && told.contains("nothing differs"), "{told}");

    // A body that was lost since the backup is found, by name.
    let body = fs::read_dir(hospital.join("bodies")).unwrap().map(|entry| entry.unwrap().path());
    let body = body.into_iter().find(|path| path.file_name().unwrap().len() == 64).unwrap();
    fs::remove_file(body).unwrap();
    let reconciled = run(&["reconcile", "--json"]);
    assert_eq!(reconciled.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&reconciled.stdout).unwrap();
    assert_eq!(report["findings"][0]["kind"], "missing");
    let lacking = home.join("lacking.tar.zst");
    let made = run(&["backup", "--to", lacking.to_str().unwrap()]);
    assert!(text(&made.stdout).contains("1 bodies had no file"), "{}", text(&made.stdout));
}
