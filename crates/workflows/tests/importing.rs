//! Importing from end to end: files in, records sealed in the vault and anchored on the chain; whatever
//! is wrong with a file refuses that file, says where, and quotes nothing of it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use common::{World, bundle, observation};
use workflows::import::{FILE_BYTES_MAX, ImportReport, Sources, SourcesError};

/// Stands in the bad files where names, numbers and findings would; no message may hold it.
const SECRET: &str = "Abendroth-4711-schwannoma";

/// What `bundle` has as its first entry, for patient `id`.
fn patient(id: &str) -> String {
    format!(
        r#"{{"resource":{{"resourceType":"Patient","id":"{id}","name":[{{"text":"{SECRET}"}}]}}}}"#
    )
}

fn bundle_of(entries: &[String]) -> String {
    format!(
        "{{\"resourceType\":\"Bundle\",\n\"type\":\"batch\",\n\"entry\":[\n{}\n]}}",
        entries.join(",\n")
    )
}

fn condition(id: &str, subject: &str) -> String {
    format!(
        r#"{{"resource":{{"resourceType":"Condition","id":"{id}","code":{{"text":"{SECRET}"}},"subject":{{"reference":"Patient/{subject}"}}}}}}"#
    )
}

/// Bad files with where and why each is refused.
fn bad_files() -> Vec<(&'static str, Vec<u8>, &'static str, &'static str)> {
    let text = |text: String| text.into_bytes();
    let malformed =
        bundle_of(&[patient("b1"), condition("c1", "b1").replace(r#""code":"#, r#""code""#)]);
    let unknown = condition("c1", "b2").replace("Condition", "Wand");
    let wrong_type = condition("c1", "b2").replace(r#""id":"c1""#, r#""id":4711"#);
    let encounter = format!(r#""encounter":{{"reference":"urn:uuid:{SECRET}"}},"code""#);
    let dangling = condition("c1", "b2").replace(r#""code""#, &encounter);
    let mut not_utf8 = bundle_of(&[patient("b3")]).into_bytes();
    not_utf8[40] = 0xff;
    let deep = "[".repeat(101) + &"]".repeat(101);
    let deep =
        condition("c1", "b4").replace(r#""code":"#, &format!(r#""extension":{deep},"code":"#));
    let ndjson = [&observation("good-1", 90), r#"{"resourceType":"Patient" "id":"b5"}"#].join("\n");
    let bundle_line = bundle_of(&[patient("b6"), "{}".into()]).replace('\n', "");
    let mut cut = bundle_of(&[patient("b7"), condition("c1", "b7")]);
    cut.truncate(cut.len() - 20);
    vec![
        ("02-malformed.json", text(malformed), "the file, line 5 column 57", "not JSON"),
        (
            "03-unknown-type.json",
            text(bundle_of(&[patient("b2"), unknown])),
            "entry 1",
            "none of FHIR R4",
        ),
        (
            "04-wrong-type.json",
            text(bundle_of(&[patient("b2"), wrong_type])),
            "entry 1, line 5 column",
            "not what FHIR R4 says",
        ),
        (
            "05-duplicate.json",
            text(bundle_of(&[patient("b2"), condition("c1", "b2"), condition("c1", "b2")])),
            "entry 2",
            "came before",
        ),
        ("06-again.json", text(bundle("good-1", 1)), "entry 0", "is in 01-good.json already"),
        ("07-not-utf8.json", not_utf8, "byte 40", "UTF-8"),
        ("08-empty.json", Vec::new(), "the file, line 1 column 0", "ends early"),
        ("09-not-json.json", text(SECRET.into()), "the file, line 1 column 1", "not JSON"),
        (
            "10-deep.json",
            text(bundle_of(&[patient("b4"), deep])),
            "the file, line 5 column",
            "nested deeper than 100",
        ),
        (
            "11-dangling.json",
            text(bundle_of(&[condition("c1", "nobody")])),
            "entry 0",
            "in no file so far",
        ),
        (
            "17-dangling-encounter.json",
            text(bundle_of(&[patient("b2"), dangling])),
            "entry 1",
            "leads to no entry",
        ),
        ("12-lines.ndjson", text(ndjson), "line 2, column 27", "not JSON"),
        (
            "13-bundle-in-a-line.ndjson",
            text(format!("\n{bundle_line}")),
            "line 2, entry 1",
            "no resource",
        ),
        (
            "14-list.json",
            text(r#"["Patient","b8",{},null,null,null,null,null,null,null,null]"#.into()),
            "the file",
            "not a JSON object",
        ),
        ("15-cut.json", text(cut), "the file, line 5 column", "ends early"),
        ("16-no-type.json", text(r#"{"id":"b9"}"#.into()), "the file", "no resourceType"),
    ]
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) {
    fs::write(dir.join(name), content).unwrap();
}

#[track_caller]
fn refused(report: &ImportReport, file: &str, place: &str, reason: &str) {
    let problem = report.problems.iter().find(|problem| problem.file == file);
    let problem = problem.unwrap_or_else(|| panic!("{file} was not refused"));
    assert!(problem.place.starts_with(place), "{problem}");
    assert!(problem.reason.contains(reason), "{problem}");
}

#[track_caller]
fn nothing_secret(report: &ImportReport) {
    for problem in &report.problems {
        let text = format!("{problem} {problem:?}");
        for part in SECRET.split('-') {
            assert!(!text.contains(part), "{text}");
        }
    }
}

/// How many records the vault holds of a patient whom files know by an id; nothing is made.
async fn records_of(world: &World, id: &str) -> usize {
    let before = world.chain().head().header.number;
    let patient = world.meet(id).await;
    let is_known = world.chain().head().header.number == before;
    let held = world.held(patient.account()).await.len();
    assert!(is_known || held == 0);
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_files_are_refused_whole_and_the_rest_is_imported() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    let bad = bad_files();
    write(&files, "01-good.json", bundle("good-1", 4));
    write(&files, "99-good.json", bundle("good-2", 6));
    write(&files, "notes.txt", SECRET);
    for (name, content, ..) in &bad {
        write(&files, name, content);
    }
    File::create(files.join("90-huge.json")).unwrap().set_len(300 << 20).unwrap();

    let world = World::found(dir.path()).await;
    let report = world.import(&files).await;
    for (name, _, place, reason) in &bad {
        refused(&report, name, place, reason);
    }
    refused(&report, "90-huge.json", "the file", "314572800 bytes are more than");
    nothing_secret(&report);
    assert_eq!(report.problems.len(), bad.len() + 1);
    assert_eq!((report.files, report.patients), (2, 2));
    assert_eq!((report.records, report.already_here, report.not_records), (12, 0, 0));
    assert_eq!(report.batches.len(), 1);

    let reconciled = world.assert_clean("hospital").await;
    assert_eq!((reconciled.versions, reconciled.anchors), (12, 12));
    assert_eq!(records_of(&world, "good-1").await, 5);
    assert_eq!(records_of(&world, "good-2").await, 7);
    for refused in 1..=9 {
        assert_eq!(records_of(&world, &format!("b{refused}")).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn importing_twice_adds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    write(&files, "a.json", bundle("p1", 9));
    write(&files, "b.json", "{");
    let world = World::found(dir.path()).await;
    let first = world.import(&files).await;
    assert_eq!((first.records, first.already_here), (10, 0));
    let head = world.chain().head().header.number;

    let second = world.import(&files).await;
    assert_eq!((second.records, second.already_here, second.bytes), (0, 10, 0));
    assert_eq!(second.problems, first.problems);
    assert_eq!(second.batches, []);
    assert_eq!(world.chain().head().header.number, head, "nothing was sent");
    assert_eq!(world.assert_clean("hospital").await.versions, 10);

    // What is new in a file that grew is taken, and no more.
    write(&files, "a.json", bundle("p1", 12));
    let third = world.import(&files).await;
    assert_eq!((third.records, third.already_here), (3, 10));
    assert_eq!(world.assert_clean("hospital").await.versions, 13);
}

/// A bulk export: one file per type, and the patients' is not the first by name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sort_of_source_brings_the_same_records() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    fs::create_dir_all(files.join("more")).unwrap();
    let patients = ["p1", "p2"].map(|id| format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#));
    let observations: Vec<String> =
        (0..7).map(|index| observation(["p1", "p2"][index % 2], index)).collect();
    write(&files, "Patient.ndjson", patients.join("\n") + "\n");
    write(&files, "Observation.ndjson", "\u{feff}".to_owned() + &observations.join("\r\n"));
    write(&files, "Organization.ndjson", r#"{"resourceType":"Organization","id":"o"}"#);
    write(&files, "Device.ndjson", "");
    write(&files.join("more"), "single.json", observation("p2", 50));

    let world = World::found(dir.path()).await;
    let from_folder = world.import(&files).await;
    assert_eq!(from_folder.problems, []);
    assert_eq!((from_folder.files, from_folder.patients), (5, 2));
    assert_eq!((from_folder.records, from_folder.not_records), (10, 1));

    let archive = dir.path().join("export.tar.zst");
    let names = ["Patient.ndjson", "Observation.ndjson", "more/single.json"];
    write_archive(&archive, names.map(|name| (name, fs::read(files.join(name)).unwrap())));
    let from_archive = world.import(&archive).await;
    assert_eq!(from_archive.problems, []);
    assert_eq!((from_archive.files, from_archive.records, from_archive.already_here), (3, 0, 10));

    let from_file = world.import(&files.join("Patient.ndjson")).await;
    assert_eq!((from_file.records, from_file.already_here), (0, 2));
    assert_eq!(world.assert_clean("hospital").await.versions, 10);
}

/// The address of an entry need not be the resource's id, and references may use either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn references_by_address_find_their_patient() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::found(dir.path()).await;
    let patient = r#"{"fullUrl":"urn:uuid:6a1c","resource":{"resourceType":"Patient","id":"p1"}}"#;
    let by_address = condition("c1", "p1").replace("Patient/p1", "urn:uuid:6a1c");
    let by_url = condition("c2", "p1").replace("Patient/", "https://fhir.example/Patient/");
    let file = dir.path().join("bundle.json");
    let entries = [by_address, patient.into(), by_url, condition("c3", "p1")];
    fs::write(&file, bundle_of(&entries)).unwrap();
    let report = world.import(&file).await;
    assert_eq!(report.problems, []);
    assert_eq!(records_of(&world, "p1").await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_archive_gives_what_came_before_the_damage() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("records.tar.zst");
    let files: Vec<_> = (0..16)
        .map(|index| (format!("{index:02}.json"), bundle(&format!("p{index}"), 120).into_bytes()))
        .collect();
    write_archive(&archive, files);
    let whole = fs::metadata(&archive).unwrap().len();
    File::options().write(true).open(&archive).unwrap().set_len(whole * 2 / 3).unwrap();

    let world = World::found(dir.path()).await;
    let report = world.import(&archive).await;
    refused(&report, "records.tar.zst", "the archive", "damaged or ends early");
    assert_eq!(report.problems.len(), 1);
    assert!((2..16).contains(&report.files), "{} files", report.files);
    assert_eq!(report.records, 121 * report.files);
    assert_eq!(world.assert_clean("hospital").await.versions, report.records);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archive_with_bad_files_keeps_the_good_ones() {
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("records.tar.zst");
    let files = [
        ("in/a folder/good.json", bundle("p1", 2).into_bytes()),
        ("in/bad.json", b"{".to_vec()),
        ("in/good too.json", bundle("p2", 3).into_bytes()),
        ("in/notes.txt", SECRET.into()),
    ];
    write_archive(&archive, files);
    let world = World::found(dir.path()).await;
    let report = world.import(&archive).await;
    refused(&report, "records.tar.zst: in/bad.json", "the file, line 1 column 1", "ends early");
    assert_eq!((report.files, report.records, report.problems.len()), (2, 7, 1));

    let noise = dir.path().join("noise.tar.zst");
    fs::write(&noise, SECRET).unwrap();
    let report = world.import(&noise).await;
    refused(&report, "noise.tar.zst", "the archive", "damaged or ends early");
    nothing_secret(&report);
    assert_eq!(world.assert_clean("hospital").await.versions, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_import_is_anchored_in_several_batches() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("records.ndjson");
    let mut lines = vec![r#"{"resourceType":"Patient","id":"p1"}"#.to_owned()];
    lines.extend((0..5_002).map(|index| observation("p1", index)));
    fs::write(&file, lines.join("\n")).unwrap();
    let world = World::found(dir.path()).await;
    let report = world.import(&file).await;
    assert_eq!((report.records, report.batches.len()), (5_003, 2));
    let roots: BTreeSet<_> = report.batches.iter().map(|(root, _)| root).collect();
    assert_eq!(roots.len(), 2);
    assert_eq!(world.assert_clean("hospital").await.versions, 5_003);
    assert_eq!(world.import(&file).await.already_here, 5_003);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_records_do_not_wait_for_many() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    fs::create_dir(&files).unwrap();
    write(&files, "Patient.ndjson", r#"{"resourceType":"Patient","id":"p1"}"#);
    let scan = "x".repeat(17 << 20);
    for index in 0..3 {
        let large = observation("p1", index).replace("laboratory", &scan);
        write(&files, &format!("scan-{index}.json"), large);
    }
    let world = World::found(dir.path()).await;
    let report = world.import(&files).await;
    assert_eq!((report.records, report.batches.len()), (4, 2), "two large ones are enough");
    assert_eq!(world.assert_clean("hospital").await.versions, 4);
}

#[test]
fn huge_files_are_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let huge = dir.path().join("huge.json");
    File::create(&huge).unwrap().set_len(300 << 20).unwrap();
    let archive = dir.path().join("huge.tar.zst");
    let mut tar =
        tar::Builder::new(zstd::Encoder::new(File::create(&archive).unwrap(), 1).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(300 << 20);
    header.set_mode(0o644);
    tar.append_data(&mut header, "huge.json", io::repeat(b' ').take(300 << 20)).unwrap();
    append(&mut tar, "small.json", b"{}");
    tar.into_inner().unwrap().finish().unwrap();

    let before = memory_peak_kib();
    let files: Vec<_> =
        Sources::open(&huge).unwrap().chain(Sources::open(&archive).unwrap()).collect();
    let [Err(huge), Err(inner), Ok(small)] = &files[..] else { panic!("{files:?}") };
    assert!(huge.reason.contains(&FILE_BYTES_MAX.to_string()), "{huge}");
    assert_eq!(inner.file, "huge.tar.zst: huge.json");
    assert_eq!(small.bytes, b"{}");
    if let (Some(before), Some(after)) = (before, memory_peak_kib()) {
        assert!(after - before < 200 << 10, "{} KiB more than before", after - before);
    }
}

#[test]
fn what_is_no_source_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Sources::open(&dir.path().join("nothing.json"));
    assert!(matches!(missing, Err(SourcesError::Read { .. })));
    write(dir.path(), "letter.txt", SECRET);
    let unknown = Sources::open(&dir.path().join("letter.txt"));
    let Err(error @ SourcesError::UnknownSort { .. }) = unknown else { panic!("it was taken") };
    assert!(error.to_string().contains("letter.txt"), "{error}");
}

/// The most memory that this process held, where the system tells.
fn memory_peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

type ArchiveWriter = tar::Builder<zstd::Encoder<'static, File>>;

fn write_archive(path: &Path, files: impl IntoIterator<Item = (impl AsRef<str>, Vec<u8>)>) {
    let mut tar = tar::Builder::new(zstd::Encoder::new(File::create(path).unwrap(), 1).unwrap());
    for (name, content) in files {
        append(&mut tar, name.as_ref(), &content);
    }
    tar.into_inner().unwrap().finish().unwrap();
}

fn append(tar: &mut ArchiveWriter, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, content).unwrap();
}
