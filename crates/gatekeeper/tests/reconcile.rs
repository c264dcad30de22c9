//! Vault against chain: each fault gives its finding and no other, and never stops the report (S4).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::path::PathBuf;

use alloy_primitives::B256;
use bindings::{Contract, Records, convert::to_anchor};
use common::{World, address, id, long, rng, sql, tamper, version};
use domain::{Anchor, Kind, RecordDigest};
use gatekeeper::{Finding, FindingKind, Gatekeeper};
use sqlx::Row as _;
use vault::{ErasureOrder, ErasureReason, NewRecord};

/// A hospital with a batch of three records, a batch of one long one, and one record by itself, in two
/// versions.
struct Hospital {
    world: World,
    gatekeeper: Gatekeeper,
    /// The roots of both batches.
    roots: [B256; 2],
    /// The anchors of the record by itself.
    alone: [Anchor; 2],
}

/// The long record.
const LONG: u64 = 4;

/// The record that is anchored by itself.
const ALONE: u64 = 5;

impl Hospital {
    async fn new() -> Self {
        let world = World::with_relationships().await;
        let gatekeeper = world.gatekeeper("hospital").await;
        let records = (1..4).map(|number| world.record(number, "pat")).collect();
        let (_, first, _) = gatekeeper.put_and_anchor(records).await.unwrap();
        let records = vec![long(world.record(LONG, "quinn"))];
        let (_, second, _) = gatekeeper.put_and_anchor(records).await.unwrap();
        let new = world.record(ALONE, "pat");
        let (one, _) = gatekeeper.put_and_propose(new.clone(), None).await.unwrap();
        world.accept("pat", &one).await;
        gatekeeper.refresh(world.now()).await.unwrap();
        let new = NewRecord { version: version(2), ..new };
        let (two, _) = gatekeeper.put_and_propose(new, Some(&one)).await.unwrap();
        let hospital = Self { world, gatekeeper, roots: [first, second], alone: [one, two] };
        hospital.check(&[]).await;
        hospital
    }

    async fn check(&self, expected: &[Finding]) {
        let report = self.gatekeeper.reconcile(self.world.now()).await.unwrap();
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(report.findings, expected);
        assert_eq!(report.log_findings, []);
        assert_eq!(report.is_clean(), expected.is_empty());
        assert_eq!(report.block, self.world.ledger.embedded_chain().unwrap().head().header.number);
    }

    async fn tamper(&self, statement: &str) {
        assert!(tamper(self.gatekeeper.vault(), statement).await > 0, "{statement}");
    }

    /// Changes one column of a record's row.
    async fn set(&self, number: u64, column: &str, value: &str) {
        let record = sql(id(number).0);
        self.tamper(&format!("update records set {column} = {value} where record = {record}"))
            .await;
    }

    /// What the batch of a record says of it.
    async fn anchor(&self, number: u64) -> Anchor {
        let found = self.gatekeeper.inclusion(id(number), version(1)).await.unwrap();
        found.unwrap().0
    }

    /// Anchors one more batch, of one anchor, behind the gatekeeper's back.
    async fn anchor_batch(&self, anchor: &Anchor) {
        let root = anchor.leaf();
        let call = Records::anchorBatchCall { root, count: 1 };
        self.world.send("hospital", Contract::Records, &call).await.unwrap();
        let manifest = [
            anchor.record.0.as_slice(),
            &anchor.version.get().to_be_bytes(),
            &anchor.base.to_be_bytes(),
            &[anchor.kind.number()],
            anchor.patient.as_slice(),
            anchor.digest.0.as_slice(),
        ];
        let (root, manifest) = (sql(root), sql(manifest.concat()));
        self.tamper(&format!(
            "insert into anchor_batches
            select {root}, max(position) + 1, {manifest}, zeroblob(32) from anchor_batches"
        ))
        .await;
    }

    /// The digest under which a record was stored.
    async fn digest(&self, number: u64) -> RecordDigest {
        self.gatekeeper.vault().head(id(number)).await.unwrap().unwrap().digest
    }

    async fn body(&self, number: u64) -> Vec<u8> {
        let query = sqlx::query("select body from records where record = $1");
        let query = query.bind(id(number).0.to_vec());
        let row = query.fetch_one(self.gatekeeper.vault().database().readers()).await.unwrap();
        row.get(0)
    }

    /// The file that holds the long record.
    async fn file(&self) -> PathBuf {
        let name = hex::encode(self.digest(LONG).await.0);
        self.world.vault_dir("hospital").join("bodies").join(name)
    }
}

fn finding(
    kind: FindingKind,
    number: u64,
    anchored: Option<RecordDigest>,
    found: Option<RecordDigest>,
) -> Finding {
    Finding { kind, subject: id(number).0, version: 1, anchored, found }
}

const fn broken(root: B256) -> Finding {
    let kind = FindingKind::BrokenBatch;
    Finding { kind, subject: root, version: 0, anchored: None, found: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clean_vault_gives_no_finding() {
    let hospital = Hospital::new().await;
    let report = hospital.gatekeeper.reconcile(hospital.world.now()).await.unwrap();
    assert_eq!((report.versions, report.anchors), (6, 6));
    assert!(report.sealed_bytes > 700_000);
    let restarted = hospital.world.restart("hospital", hospital.gatekeeper).await;
    assert!(restarted.reconcile(hospital.world.now()).await.unwrap().is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_bodies() {
    let hospital = Hospital::new().await;
    let digest = hospital.digest(2).await;
    let body = hospital.body(2).await;
    let mut flipped = body.clone();
    flipped[body.len() / 2] ^= 1;
    let longer = [body.as_slice(), &[0]].concat();
    for changed in [flipped.as_slice(), &body[..body.len() - 1], &longer, &[]] {
        hospital.set(2, "body", &sql(changed)).await;
        let found = Some(RecordDigest::of(changed));
        hospital.check(&[finding(FindingKind::Altered, 2, Some(digest), found)]).await;
    }
    // The body of another record, with or without its digest.
    let other = hospital.body(1).await;
    hospital.set(2, "body", &sql(&other)).await;
    let found = Some(RecordDigest::of(&other));
    hospital.check(&[finding(FindingKind::Altered, 2, Some(digest), found)]).await;
    hospital.set(2, "body", &sql(&body)).await;
    hospital.check(&[]).await;
}

/// The right bytes under another digest would not be given out either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_digests() {
    let hospital = Hospital::new().await;
    let digest = hospital.digest(2).await;
    let other = RecordDigest(B256::repeat_byte(9));
    hospital.set(2, "digest", &sql(other.0)).await;
    hospital.check(&[finding(FindingKind::Altered, 2, Some(digest), Some(other))]).await;
    // Body and digest together, as somebody would who knows how they belong together.
    let forged = b"forged".as_slice();
    hospital.set(2, "digest", &sql(RecordDigest::of(forged).0)).await;
    hospital.set(2, "body", &sql(forged)).await;
    let found = Some(RecordDigest::of(forged));
    hospital.check(&[finding(FindingKind::Altered, 2, Some(digest), found)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_and_truncated_files() {
    let hospital = Hospital::new().await;
    let (digest, file) = (hospital.digest(LONG).await, hospital.file().await);
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() - 1] ^= 1;
    for changed in [&whole[..whole.len() - 1], &whole[..1], &[], &flipped] {
        std::fs::write(&file, changed).unwrap();
        let found = Some(RecordDigest::of(changed));
        hospital.check(&[finding(FindingKind::Altered, LONG, Some(digest), found)]).await;
    }
    std::fs::remove_file(&file).unwrap();
    hospital.check(&[finding(FindingKind::Missing, LONG, Some(digest), None)]).await;
    std::fs::write(&file, &whole).unwrap();
    hospital.check(&[]).await;
}

/// The bytes are right, and the row says that they are something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn altered_metadata() {
    for (column, value) in [
        ("patient", sql(address("quinn"))),
        ("steward", sql(address("clinic"))),
        ("kind", Kind::Imaging.number().to_string()),
    ] {
        let hospital = Hospital::new().await;
        let digest = Some(hospital.digest(2).await);
        hospital.set(2, column, &value).await;
        hospital.check(&[finding(FindingKind::Altered, 2, digest, digest)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inserted_records() {
    let hospital = Hospital::new().await;
    let vault = hospital.gatekeeper.vault();
    let entry = vault.put(hospital.world.record(9, "pat"), &mut rng(9)).await.unwrap();
    let inserted = finding(FindingKind::Inserted, 9, None, Some(entry.digest));
    hospital.check(&[inserted]).await;
    // Another version of a record that is anchored.
    let next = NewRecord { version: version(2), ..hospital.world.record(1, "pat") };
    let entry = vault.put(next, &mut rng(10)).await.unwrap();
    let found = Some(entry.digest);
    let version_two = Finding { version: 2, ..finding(FindingKind::Inserted, 1, None, found) };
    hospital.check(&[inserted, version_two]).await;
    // A copy of a whole row under another name.
    let columns = "version + 7, randomblob(32), patient, steward, author, kind, content, created,
        sealed_len, kind_key, content_key, place, body";
    let record = sql(id(3).0);
    let statement = format!(
        "insert into records select record, {columns} from records where record = {record}"
    );
    hospital.tamper(&statement).await;
    let found = Some(hospital.digest(3).await);
    let report = hospital.gatekeeper.reconcile(hospital.world.now()).await.unwrap();
    let third = report.findings.iter().find(|finding| finding.subject == id(3).0).unwrap();
    assert_eq!((third.kind, third.version, report.findings.len()), (FindingKind::Inserted, 8, 3));
    assert_ne!(third.found, found);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_rows_and_bodies() {
    let hospital = Hospital::new().await;
    let digest = hospital.digest(1).await;
    let missing = finding(FindingKind::Missing, 1, Some(digest), None);
    hospital.set(1, "body", "null").await;
    hospital.check(&[missing]).await;
    // A tombstone that the chain knows nothing of.
    hospital.set(1, "place", "2").await;
    hospital.check(&[missing]).await;
    hospital.tamper(&format!("delete from records where record = {}", sql(id(1).0))).await;
    hospital.check(&[missing]).await;
    let [one, _] = hospital.alone;
    let record = sql(id(ALONE).0);
    hospital.tamper(&format!("delete from records where record = {record} and version = 1")).await;
    let first_version = finding(FindingKind::Missing, ALONE, Some(one.digest), None);
    hospital.check(&[missing, first_version]).await;
}

/// Erased on chain, and still here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_versions() {
    let hospital = Hospital::new().await;
    let [one, two] = hospital.alone;
    let (world, vault) = (&hospital.world, hospital.gatekeeper.vault());
    let erase = Records::eraseCall { anchor: to_anchor(&one), receipt: B256::repeat_byte(1) };
    world.send("hospital", Contract::Records, &erase).await.unwrap();
    let digest = Some(one.digest);
    let stale = finding(FindingKind::Stale, ALONE, digest, digest);
    hospital.check(&[stale]).await;
    let by = address("hospital");
    let order = ErasureOrder { by, reason: ErasureReason::PatientRequest, at: world.now() };
    vault.erase(one.record, one.version, order, &mut rng(3)).await.unwrap();
    hospital.check(&[]).await;
    // Brought back from a backup.
    let record = sql(id(ALONE).0);
    let statement = format!(
        "update records set place = 0, body = x'01' where record = {record} and version = 1"
    );
    hospital.tamper(&statement).await;
    let found = Some(RecordDigest::of(&[1]));
    hospital.check(&[finding(FindingKind::Stale, ALONE, digest, found)]).await;
    hospital.tamper(&format!("delete from records where record = {record} and version = 1")).await;
    hospital.check(&[]).await;
    // Erased here, and not on chain.
    vault.erase(two.record, two.version, order, &mut rng(4)).await.unwrap();
    let missing = finding(FindingKind::Missing, ALONE, Some(two.digest), None);
    hospital.check(&[Finding { version: 2, ..missing }]).await;
}

/// What a broken batch held is found as inserted, because nothing shows any more that it was anchored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_batches() {
    for statement in [
        "update anchor_batches set manifest = zeroblob(93) where position = 1",
        "update anchor_batches set manifest = substr(manifest, 2) where position = 1",
        "update anchor_batches set manifest = substr(manifest, 94) where position = 1",
        "update anchor_batches set manifest = x'' where position = 1",
        "update anchor_batches set manifest = 'text' where position = 1",
        "update anchor_batches set manifest = 5 where position = 1",
        "update anchor_batches set root = 'text' where position = 1",
        "delete from anchor_batches where position = 1",
    ] {
        let hospital = Hospital::new().await;
        let mut expected = vec![broken(hospital.roots[0])];
        for number in 1..4 {
            let found = Some(hospital.digest(number).await);
            expected.push(finding(FindingKind::Inserted, number, None, found));
        }
        hospital.tamper(statement).await;
        hospital.check(&expected).await;
    }
}

/// A steward that anchors something else as the same version replaces nothing: what it said first is
/// what should be here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contradicting_anchors() {
    let forged = b"forged".as_slice();
    let other = RecordDigest::of(forged);
    // A batch after a batch.
    let hospital = Hospital::new().await;
    let anchor = hospital.anchor(2).await;
    let digest = Some(anchor.digest);
    hospital.anchor_batch(&Anchor { digest: other, ..anchor }).await;
    let contradicted = finding(FindingKind::Contradicted, 2, digest, Some(other));
    hospital.check(&[contradicted]).await;
    hospital.set(2, "digest", &sql(other.0)).await;
    hospital.set(2, "body", &sql(forged)).await;
    let altered = finding(FindingKind::Altered, 2, digest, Some(other));
    hospital.check(&[altered, contradicted]).await;

    // By itself after a batch: erasing the second does not excuse that the first is gone.
    let hospital = Hospital::new().await;
    let anchor = hospital.anchor(2).await;
    let digest = Some(anchor.digest);
    let later = Anchor { digest: other, ..anchor };
    let propose = Records::proposeCall {
        patient: anchor.patient,
        record: anchor.record.0,
        kind: anchor.kind.number(),
        digest: other.0,
    };
    hospital.world.send("hospital", Contract::Records, &propose).await.unwrap();
    let contradicted = finding(FindingKind::Contradicted, 2, digest, Some(other));
    hospital.check(&[contradicted]).await;
    let erase = Records::eraseCall { anchor: to_anchor(&later), receipt: B256::repeat_byte(1) };
    hospital.world.send("hospital", Contract::Records, &erase).await.unwrap();
    hospital.tamper(&format!("delete from records where record = {}", sql(id(2).0))).await;
    hospital.check(&[finding(FindingKind::Missing, 2, digest, None), contradicted]).await;

    // A batch after one by itself.
    let hospital = Hospital::new().await;
    let [one, _] = hospital.alone;
    hospital.anchor_batch(&Anchor { digest: other, ..one }).await;
    let contradicted = finding(FindingKind::Contradicted, ALONE, Some(one.digest), Some(other));
    hospital.check(&[contradicted]).await;
    // The same once more is no contradiction.
    let hospital = Hospital::new().await;
    let [one, _] = hospital.alone;
    hospital.anchor_batch(&one).await;
    hospital.check(&[]).await;
}

/// Pairs are hashed in order, so two leaves that changed places have the same root and mean the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn manifest_may_list_a_pair_either_way() {
    let hospital = Hospital::new().await;
    let statement = "update anchor_batches set manifest = cast(substr(manifest, 94, 93) ||
        substr(manifest, 1, 93) || substr(manifest, 187) as blob) where position = 1";
    hospital.tamper(statement).await;
    hospital.check(&[]).await;
}

/// A list that was made up, of which the chain knows nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invented_batches() {
    let hospital = Hospital::new().await;
    let root = B256::repeat_byte(3);
    let statement = format!(
        "insert into anchor_batches select {}, 9, manifest, tx from anchor_batches
        where position = 1",
        sql(root)
    );
    hospital.tamper(&statement).await;
    hospital.check(&[broken(root)]).await;
    let lost = hospital.roots[1];
    let statement = format!("delete from anchor_batches where root = {}", sql(lost));
    hospital.tamper(&statement).await;
    let found = Some(hospital.digest(LONG).await);
    let long = finding(FindingKind::Inserted, LONG, None, found);
    hospital.check(&[broken(root), broken(lost), long]).await;
}

/// Columns of types that they never have: a finding, not a failure to report anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn columns_of_other_types() {
    let hospital = Hospital::new().await;
    let digest = hospital.digest(1).await;
    let record = sql(id(1).0);
    // The row is out of reach under such a name.
    let statement = format!("update records set record = 'text' where record = {record}");
    hospital.tamper(&statement).await;
    hospital.check(&[finding(FindingKind::Missing, 1, Some(digest), None)]).await;
    for (column, value) in [
        ("digest", "'text'"),
        ("digest", "7"),
        ("digest", "x'01'"),
        ("patient", "'text'"),
        ("steward", "x''"),
        ("author", "1.5"),
        ("kind", "'text'"),
        ("kind", "99"),
        ("content", "99"),
        ("created", "-1"),
        ("sealed_len", "'text'"),
        ("place", "7"),
        ("place", "'text'"),
        ("body", "7"),
    ] {
        let hospital = Hospital::new().await;
        let digest = hospital.digest(2).await;
        hospital.set(2, column, value).await;
        hospital.check(&[finding(FindingKind::Altered, 2, Some(digest), None)]).await;
    }
    // A version that is no number, and a name of another length: what was there is missing.
    let hospital = Hospital::new().await;
    let (one, two) = (hospital.digest(1).await, hospital.digest(2).await);
    hospital.set(1, "version", "'text'").await;
    let shorter = format!("substr({}, 1, 31)", sql(id(2).0));
    hospital.set(2, "record", &shorter).await;
    let no_version = Finding { version: u32::MAX, ..finding(FindingKind::Inserted, 1, None, None) };
    let mut subject = id(2).0;
    subject.0[31] = 0;
    let no_name = Finding { subject, ..finding(FindingKind::Inserted, 2, None, None) };
    let missing = |number, digest| finding(FindingKind::Missing, number, Some(digest), None);
    hospital.check(&[no_version, no_name, missing(1, one), missing(2, two)]).await;
    // What the gatekeeper itself keeps beside the vault.
    let hospital = Hospital::new().await;
    hospital.tamper("update anchor_batches set tx = 'text', position = 'text'").await;
    hospital.check(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_do_not_hide_each_other() {
    let hospital = Hospital::new().await;
    let vault = hospital.gatekeeper.vault();
    let mut digests = Vec::new();
    for number in 1..=LONG {
        digests.push(Some(hospital.digest(number).await));
    }
    let inserted = vault.put(hospital.world.record(9, "pat"), &mut rng(9)).await.unwrap();
    let erase = to_anchor(&hospital.alone[1]);
    let erase = Records::eraseCall { anchor: erase, receipt: B256::repeat_byte(1) };
    hospital.world.send("hospital", Contract::Records, &erase).await.unwrap();
    std::fs::write(hospital.file().await, b"cut").unwrap();
    hospital.set(1, "body", "x'00'").await;
    hospital.set(2, "body", "null").await;
    let two = Some(hospital.alone[1].digest);
    hospital
        .check(&[
            finding(FindingKind::Altered, 1, digests[0], Some(RecordDigest::of(&[0]))),
            finding(FindingKind::Missing, 2, digests[1], None),
            finding(FindingKind::Altered, LONG, digests[3], Some(RecordDigest::of(b"cut"))),
            Finding { version: 2, ..finding(FindingKind::Stale, ALONE, two, two) },
            finding(FindingKind::Inserted, 9, None, Some(inserted.digest)),
        ])
        .await;
}
