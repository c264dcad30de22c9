//! Resources of others, from the folder of data that is not committed.

#![allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each user takes a part"
)]

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// A file of the shared data, if it is there.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/fhir").join(name);
    path.exists().then_some(path)
}

/// The JSON files of an archive with their names; so many at most.
fn files(archive: impl Read, count_max: usize) -> Vec<(String, Value)> {
    let mut archive = tar::Archive::new(archive);
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".json") {
            let mut text = Vec::new();
            entry.read_to_end(&mut text).unwrap();
            found.push((name, serde_json::from_slice(&text).unwrap()));
            if found.len() == count_max {
                break;
            }
        }
    }
    found
}

/// Bundles of Synthea's patients, one each.
pub fn synthea(count_max: usize) -> Option<Vec<(String, Value)>> {
    let archive = File::open(shared("synthea_r4_smart_first100_bundles.tar.zst")?).unwrap();
    Some(files(zstd::Decoder::new(archive).unwrap(), count_max))
}

/// HL7's examples, unpacked by the program `xz`.
pub fn hl7_examples() -> Option<Vec<(String, Value)>> {
    let archive = shared("hl7_r4_examples_selected.tar.xz")?;
    let mut xz = Command::new("xz");
    let mut xz = xz.arg("-dc").arg(archive).stdout(Stdio::piped()).spawn().ok()?;
    let found = files(xz.stdout.take().unwrap(), usize::MAX);
    xz.wait().unwrap();
    Some(found)
}
