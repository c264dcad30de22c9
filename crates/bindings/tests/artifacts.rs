//! The committed artifacts belong to the committed sources.
//!
//! Whether the compiler makes these bytes of these sources is checked by `cargo xtask contracts
//! check`, which needs Node; this test notices a forgotten rebuild without it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

fn contracts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts")
}

/// SHA-256 over every source: path, a zero byte, content, a zero byte, in the order of paths.
fn source_digest() -> String {
    let src = contracts().join("src");
    let mut paths: Vec<_> =
        std::fs::read_dir(src).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    let mut hash = Sha256::new();
    for path in paths {
        let name = path.file_name().unwrap().to_str().unwrap();
        hash.update(format!("src/{name}\0"));
        hash.update(std::fs::read(&path).unwrap());
        hash.update([0]);
    }
    format!("0x{}", hex::encode(hash.finalize()))
}

#[test]
fn artifacts_are_not_stale() {
    let expected = source_digest();
    for file in std::fs::read_dir(contracts().join("artifacts")).unwrap() {
        let path = file.unwrap().path();
        let artifact: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            artifact["sourceDigest"],
            expected,
            "{} is older than the sources; run `cargo xtask contracts build`",
            path.display()
        );
    }
}
