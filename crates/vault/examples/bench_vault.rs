//! Measures the vault and prints one JSON line `{"name","value","unit"}` per figure.
//!
//! `cargo run --release -p vault --example bench_vault -- [RECORDS] [FOLDER]`; `cargo xtask bench
//! vault` reads what it prints. Records are FHIR JSON of 2 to 3 KB, made here from a seed.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first thing that goes wrong")]

use std::path::PathBuf;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use domain::{
    Address, B256, Facts, Kind, Purpose, QueryDomain, Reader, RecordId, RecordVersion, Request,
    Timestamp, decide,
};
use rand_core::{Rng as _, SeedableRng as _};
use vault::{Content, Database, NewRecord, RootKey, Vault, VaultSettings};

const STEWARD: Address = Address::repeat_byte(1);
const NOW: Timestamp = Timestamp(1_795_374_960);
const BATCH: usize = 8_192;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let temporary = tempfile::tempdir().unwrap();
    let folder = arguments.next().map_or(temporary.path().to_owned(), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(count, folder));
}

async fn run(count: usize, folder: PathBuf) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let records: Vec<_> = (0..count).map(|number| make_record(number, &mut rng)).collect();
    let bytes: usize = records.iter().map(|record| record.body.len()).sum();
    print("record_len_mean", bytes as f64 / count as f64, "byte");
    let sample: Vec<_> = records.iter().step_by((count / 20_000).max(1)).map(|r| (r.record, r.kind, r.patient)).collect();

    for round in 0..i32::from(std::env::var_os("BENCH_PUT_ONLY").is_none()) {
        let start = Stopwatch::start();
        std::hint::black_box(vault::bench::seal_all(STEWARD, &records, &mut rng));
        rate(&format!("seal_{round}"), count, bytes, start);
    }

    let database = Database::open_file(&folder.join("vault.db")).await.unwrap();
    let settings = VaultSettings {
        steward: STEWARD,
        network: QueryDomain { chain_id: 1_337, registry: Address::repeat_byte(2) },
        bodies: folder.join("bodies"),
        recovery_keys: Vec::new(),
    };
    let vault =
        Vault::unlock(settings, database, &RootKey::make(&mut rng), &mut rng).await.unwrap();

    let mut records = records.into_iter();
    let mut batches = Vec::new();
    loop {
        let batch: Vec<_> = records.by_ref().take(BATCH).collect();
        if batch.is_empty() { break }
        batches.push(batch);
    }
    let start = Stopwatch::start();
    for batch in batches {
        vault.put_many(batch, &mut rng).await.unwrap();
    }
    rate("put_many", count, bytes, start);

    if std::env::var_os("BENCH_PUT_ONLY").is_some() { return }
    for round in 0..2 {
        let start = Stopwatch::start();
        let (mut scanned, mut sealed) = (0, 0);
        let mut scan = vault.scan();
        while let Some(batch) = scan.next().await.unwrap() {
            scanned += batch.len();
            sealed += batch.iter().map(|version| version.sealed_len as usize).sum::<usize>();
        }
        assert_eq!(scanned, count);
        rate(&format!("scan_{round}"), count, sealed, start);
    }

    let start = Stopwatch::start();
    let opened = open_all(vault.clone(), sample.clone()).await;
    rate("open_serial", sample.len(), opened, start);

    let start = Stopwatch::start();
    let mut tasks = tokio::task::JoinSet::new();
    for part in sample.chunks(sample.len() / 8) {
        tasks.spawn(open_all(vault.clone(), part.to_vec()));
    }
    let opened = tasks.join_all().await.iter().sum();
    rate("open_concurrent", sample.len(), opened, start);
    put_singly(&vault, &mut rng).await;
}

async fn open_all(vault: Vault, records: Vec<(RecordId, Kind, Address)>) -> usize {
    let mut opened = 0;
    for (record, kind, patient) in records {
        let request = Request {
            reader: Reader::Patient { account: patient },
            patient,
            steward: STEWARD,
            record,
            kind,
            purpose: Purpose::PatientRequest,
            time: NOW,
        };
        let permit = decide(&request, &Facts::default()).unwrap();
        opened += vault.open(permit, None).await.unwrap().body().len();
    }
    opened
}

/// What somebody waits for: one record, durable; alone, and when 32 wait at a time.
async fn put_singly(vault: &Vault, rng: &mut ChaCha20Rng) {
    const COUNT: usize = 4_000;
    let records: Vec<_> = (0..COUNT).map(|number| make_record(number, rng)).collect();
    let bytes: usize = records.iter().map(|record| record.body.len()).sum();
    let start = Stopwatch::start();
    for record in records {
        vault.put(record, rng).await.unwrap();
    }
    rate("put_serial", COUNT, bytes, start);

    let records: Vec<_> = (0..COUNT).map(|number| make_record(number, rng)).collect();
    let start = Stopwatch::start();
    let mut tasks = tokio::task::JoinSet::new();
    for part in records.chunks(COUNT / 32) {
        let (vault, part) = (vault.clone(), part.to_vec());
        let mut rng = ChaCha20Rng::seed_from_u64(rng.next_u64());
        tasks.spawn(async move {
            for record in part {
                vault.put(record, &mut rng).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    rate("put_concurrent", COUNT, bytes, start);
}

/// Wall clock and processor time, so that a figure can be judged on a machine that is not quiet.
struct Stopwatch {
    start: Instant,
    cpu_seconds: f64,
}

impl Stopwatch {
    fn start() -> Self {
        Self { start: Instant::now(), cpu_seconds: cpu_seconds() }
    }
}

/// User and system time of this process, in ticks of a hundredth of a second.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn rate(name: &str, count: usize, bytes: usize, watch: Stopwatch) {
    let seconds = watch.start.elapsed().as_secs_f64();
    let cpu = (cpu_seconds() - watch.cpu_seconds) * 1e6 / count as f64;
    print(&format!("{name}_cpu"), cpu, "us/record");
    print(&format!("{name}_rate"), count as f64 / seconds, "record/s");
    print(&format!("{name}_throughput"), bytes as f64 / seconds / 1e6, "MB/s");
}

fn print(name: &str, value: f64, unit: &str) {
    println!(r#"{{"name":"{name}","value":{value:.1},"unit":"{unit}"}}"#);
}

/// An observation of 2 to 3 KB, like those of Synthea.
fn make_record(number: usize, rng: &mut ChaCha20Rng) -> NewRecord {
    let mut patient = [0; 20];
    patient[..8].copy_from_slice(&(number as u64 / 800).to_be_bytes());
    let mut id = [0; 32];
    rng.fill_bytes(&mut id);
    let uuid = || hex::encode(&id[..16]);
    let mut components = String::new();
    for component in 0..5 + rng.next_u32() % 4 {
        components.push_str(&format!(
            r#",{{"code":{{"coding":[{{"system":"http://loinc.org","code":"{}-{}","display":"Measured quantity number {component}"}}],"text":"Measured quantity number {component}"}},"valueQuantity":{{"value":{}.{},"unit":"mmol/L","system":"http://unitsofmeasure.org","code":"mmol/L"}}}}"#,
            rng.next_u32() % 90_000, rng.next_u32() % 10, rng.next_u32() % 400, rng.next_u32(),
        ));
    }
    let body = format!(
        r#"{{"resourceType":"Observation","id":"{0}","meta":{{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"]}},"status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory","display":"laboratory"}}]}}],"subject":{{"reference":"urn:uuid:{1:032x}"}},"encounter":{{"reference":"urn:uuid:{2:032x}"}},"effectiveDateTime":"20{3:02}-0{4}-1{5}T08:15:{6}-04:00","issued":"20{3:02}-0{4}-1{5}T08:15:{6}.123-04:00","component":[{7}]}}"#,
        uuid(), number / 800, rng.next_u64(), rng.next_u32() % 27, rng.next_u32() % 9 + 1, rng.next_u32() % 10, rng.next_u32() % 50 + 10, &components[1..],
    );
    NewRecord {
        record: RecordId(B256::from(id)),
        version: RecordVersion::FIRST,
        patient: patient.into(),
        kind: Kind::ALL[number % 15],
        content: Content::FhirJson,
        author: STEWARD,
        created: NOW,
        body: body.into_bytes(),
    }
}
