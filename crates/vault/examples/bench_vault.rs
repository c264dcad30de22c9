//! Measures the vault and prints one JSON line `{"name","value","unit"}` per figure, with a `"goal"`
//! where there is one: at least so much, on a quiet machine with two cores.
//!
//! `cargo run --release -p vault --example bench_vault -- [RECORDS] [DATABASE]`; `cargo xtask bench
//! vault` reads what it prints. The database is a new SQLite file unless the URL of an empty
//! PostgreSQL database is given. Records are FHIR JSON of 2 to 3 KB, made here from a seed.
//!
//! `_rate` is by the clock; `_cpu` is the processor time of all threads, which says more on a machine
//! that is not quiet.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first thing that goes wrong")]

use std::io::Read as _;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use domain::{
    Address, B256, Facts, Kind, Permit, Purpose, QueryDomain, Reader, RecordId, RecordVersion,
    Request, Timestamp, decide,
};
use rand_core::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;
use vault::{Content, Database, Kem, NewRecord, RootKey, SecretKey, Vault, VaultSettings};

const STEWARD: Address = Address::repeat_byte(1);
const NOW: Timestamp = Timestamp(1_795_374_960);

/// How many records one transaction holds.
const BATCH: usize = 8_192;

/// How many records each patient has.
const RECORDS_PER_PATIENT: usize = 800;

/// How many records are opened, and how many are put one by one.
const SINGLES: usize = 10_000;

/// How many wait at the same time, where many do.
const WAITING: usize = 32;

/// What is to be reached, in records per second.
const GOALS: &[(&str, u32)] =
    &[("seal_rate", 30_000), ("put_many_rate", 20_000), ("scan_rate", 100_000)];

const LONG_BODY_LEN: u64 = 256 * 1024 * 1024;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let count = arguments.next().map_or(200_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("vault.db").display());
    let database = Database::open(&arguments.next().unwrap_or(file)).await.unwrap();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let settings = VaultSettings {
        steward: STEWARD,
        network: QueryDomain { chain_id: 1_337, registry: Address::repeat_byte(2) },
        bodies: folder.path().join("bodies"),
        recovery_keys: vec![SecretKey::make(Kem::XWing, &mut rng).public_key()],
    };
    let root_key = RootKey::make(&mut rng);
    let vault = Vault::unlock(settings, database, &root_key, &mut rng).await.unwrap();

    let records: Vec<_> = (0..count).map(|number| make_record(number, &mut rng)).collect();
    let bytes = length_of(&records);
    print("record_len_mean", bytes as f64 / count as f64, "byte");
    let sample: Vec<_> = records.iter().step_by((count / SINGLES).max(1)).map(named).collect();

    seal(&records, &mut rng);
    put_many(&vault, records, &mut rng).await;
    scan(&vault, count).await;
    open(&vault, sample).await;
    put_singly(&vault, &mut rng).await;
    stream(&vault, &mut rng).await;
}

fn seal(records: &[NewRecord], rng: &mut ChaCha20Rng) {
    let watch = Stopwatch::start();
    std::hint::black_box(vault::bench::seal_all(STEWARD, records, rng));
    watch.print("seal", records.len(), length_of(records));
}

/// Seals and stores. Each patient has a key of their own, and the steward a recovery key, so that
/// public-key work is included.
async fn put_many(vault: &Vault, records: Vec<NewRecord>, rng: &mut ChaCha20Rng) {
    let (count, bytes) = (records.len(), length_of(&records));
    let patient_key = [SecretKey::make(Kem::X25519, rng).public_key()];
    let mut patients: Vec<_> = records.iter().map(|record| record.patient).collect();
    patients.dedup();
    for patient in patients {
        vault.set_patient_keys(patient, &patient_key, rng).await.unwrap();
    }
    let batches: Vec<_> = records.chunks(BATCH).map(<[_]>::to_vec).collect();
    drop(records);
    let watch = Stopwatch::start();
    for batch in batches {
        vault.put_many(batch, rng).await.unwrap();
    }
    watch.print("put_many", count, bytes);
}

/// Reads everything and hashes it, as the reconciler does.
async fn scan(vault: &Vault, count: usize) {
    let watch = Stopwatch::start();
    let (mut scanned, mut bytes) = (0, 0);
    let mut scan = vault.scan();
    while let Some(batch) = scan.next().await.unwrap() {
        scanned += batch.len();
        bytes += batch.iter().map(|version| version.sealed_len).sum::<u64>();
    }
    assert_eq!(scanned, count);
    watch.print("scan", count, usize::try_from(bytes).unwrap());
}

async fn open(vault: &Vault, sample: Vec<Named>) {
    let watch = Stopwatch::start();
    let bytes = open_all(vault.clone(), sample.clone()).await;
    watch.print("open_one_by_one", sample.len(), bytes);

    let watch = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for part in sample.chunks(sample.len().div_ceil(WAITING)) {
        tasks.spawn(open_all(vault.clone(), part.to_vec()));
    }
    let bytes = tasks.join_all().await.iter().sum();
    watch.print("open_at_the_same_time", sample.len(), bytes);
}

async fn open_all(vault: Vault, sample: Vec<Named>) -> usize {
    let mut bytes = 0;
    for named in sample {
        bytes += vault.open(permit(named), None).await.unwrap().body().len();
    }
    bytes
}

/// What somebody waits for: one record, on disk.
async fn put_singly(vault: &Vault, rng: &mut ChaCha20Rng) {
    let records: Vec<_> = (0..SINGLES / 10).map(|number| make_record(number, rng)).collect();
    let (count, bytes) = (records.len(), length_of(&records));
    let watch = Stopwatch::start();
    for record in records {
        vault.put(record, rng).await.unwrap();
    }
    watch.print("put_one_by_one", count, bytes);

    let records: Vec<_> = (0..SINGLES).map(|number| make_record(number, rng)).collect();
    let bytes = length_of(&records);
    let watch = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for part in records.chunks(SINGLES.div_ceil(WAITING)) {
        let (vault, part) = (vault.clone(), part.to_vec());
        let mut rng = ChaCha20Rng::seed_from_u64(rng.next_u64());
        tasks.spawn(async move {
            for record in part {
                vault.put(record, &mut rng).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    watch.print("put_at_the_same_time", SINGLES, bytes);
}

/// The longest body there may be, of bytes that do not compress.
async fn stream(vault: &Vault, rng: &mut ChaCha20Rng) {
    let record = NewRecord { body: Vec::new(), ..make_record(0, rng) };
    let named = named(&record);
    let length = usize::try_from(LONG_BODY_LEN).unwrap();
    let watch = Stopwatch::start();
    vault.put_stream(record, Noise(rng.next_u64()).take(LONG_BODY_LEN), rng).await.unwrap();
    watch.print("put_stream", 1, length);
    let watch = Stopwatch::start();
    vault.open_to(permit(named), None, std::io::sink()).await.unwrap();
    watch.print("open_stream", 1, length);
}

/// Bytes that do not compress, made faster than anything could encrypt them.
struct Noise(u64);

impl std::io::Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        for bytes in buffer.chunks_mut(8) {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            bytes.copy_from_slice(&(self.0 ^ (self.0 >> 29)).to_le_bytes()[..bytes.len()]);
        }
        Ok(buffer.len())
    }
}

type Named = (RecordId, Kind, Address);

const fn named(record: &NewRecord) -> Named {
    (record.record, record.kind, record.patient)
}

fn permit((record, kind, patient): Named) -> Permit {
    let request = Request {
        reader: Reader::Patient { account: patient },
        patient,
        steward: STEWARD,
        record,
        kind,
        purpose: Purpose::PatientRequest,
        time: NOW,
    };
    decide(&request, &Facts::default()).unwrap()
}

fn length_of(records: &[NewRecord]) -> usize {
    records.iter().map(|record| record.body.len()).sum()
}

/// Wall clock and processor time.
struct Stopwatch {
    start: Instant,
    cpu_seconds: f64,
}

impl Stopwatch {
    fn start() -> Self {
        Self { start: Instant::now(), cpu_seconds: cpu_seconds() }
    }

    fn print(&self, name: &str, count: usize, bytes: usize) {
        let seconds = self.start.elapsed().as_secs_f64();
        let cpu_us = (cpu_seconds() - self.cpu_seconds) * 1e6;
        if count > 1 {
            print(&format!("{name}_rate"), count as f64 / seconds, "record/s");
            print(&format!("{name}_cpu"), cpu_us / count as f64, "us/record");
        }
        print(&format!("{name}_throughput"), bytes as f64 / seconds / 1e6, "MB/s");
    }
}

/// User and system time of this process, which Linux counts in hundredths of a second; 0 elsewhere.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn print(name: &str, value: f64, unit: &str) {
    let goal = GOALS.iter().find(|(goal, _)| *goal == name);
    let goal = goal.map_or_else(String::new, |(_, least)| format!(r#","goal":{least}"#));
    println!(r#"{{"name":"{name}","value":{value:.1},"unit":"{unit}"{goal}}}"#);
}

/// An observation like those of Synthea, of 2 to 3 KB.
fn make_record(number: usize, rng: &mut ChaCha20Rng) -> NewRecord {
    let patient = number / RECORDS_PER_PATIENT;
    let mut id = [0; 32];
    rng.fill_bytes(&mut id);
    let mut below = |limit: u32| rng.next_u32() % limit;
    let components: Vec<_> = (0..6 + below(4))
        .map(|place| {
            format!(
                r#"{{"code":{{"coding":[{{"system":"http://loinc.org","code":"{}-{}","display":"Measured quantity number {place}"}}],"text":"Measured quantity number {place}"}},"valueQuantity":{{"value":{}.{},"unit":"mmol/L","system":"http://unitsofmeasure.org","code":"mmol/L"}}}}"#,
                below(90_000),
                below(10),
                below(400),
                below(u32::MAX),
            )
        })
        .collect();
    let time =
        format!("20{:02}-0{}-1{}T08:15:{}", below(27), 1 + below(9), below(10), 10 + below(50));
    let body = format!(
        r#"{{"resourceType":"Observation","id":"{}","meta":{{"profile":["http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"]}},"status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"laboratory","display":"laboratory"}}]}}],"subject":{{"reference":"urn:uuid:{patient:032x}"}},"encounter":{{"reference":"urn:uuid:{:032x}"}},"effectiveDateTime":"{time}-04:00","issued":"{time}.123-04:00","component":[{}]}}"#,
        hex::encode(&id[..16]),
        below(u32::MAX),
        components.join(","),
    );
    let mut address = [0; 20];
    address[12..].copy_from_slice(&(patient as u64).to_be_bytes());
    NewRecord {
        record: RecordId(B256::from(id)),
        version: RecordVersion::FIRST,
        patient: address.into(),
        kind: Kind::ALL[number % 15],
        content: Content::FhirJson,
        author: STEWARD,
        created: NOW,
        body: body.into_bytes(),
    }
}
