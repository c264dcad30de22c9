//! Holds the vault against the chain: what was altered, inserted, lost, or should be gone (S4).
//!
//! What should be here follows from the chain: anchors that stand by themselves, and the manifests of
//! batches, which count only if their root is on chain. What is here follows from the bytes: each
//! sealed body is read and hashed. Every difference is a finding, and so is a steward that anchored two
//! different things as one version: what it said first is what should be here.

use std::collections::HashMap;

use alloy_primitives::{Address, B256};
use domain::{Anchor, AnchorState, RecordDigest, RecordId, RecordVersion, Timestamp};
use ledger::{AnchorEntry, Projection};
use serde::{Deserialize, Serialize};
use vault::{ScanState, Scanned};

use crate::{Gatekeeper, GatekeeperError, LogFinding, standing::leaf_of};

/// One difference between vault and chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// Which record, or the root of a batch.
    pub subject: B256,
    /// Which version, 0 for a batch.
    pub version: u32,
    /// The digest on chain, if the chain has one: the first, if it has several.
    pub anchored: Option<RecordDigest>,
    /// The digest of what is here, if anything is; of the later anchor, if anchors contradict each
    /// other.
    pub found: Option<RecordDigest>,
}

/// What may be wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// What is here is not what was anchored: other bytes, or filed as another patient's, steward's or
    /// kind's, or in a row that cannot be read.
    Altered,
    /// It is here, but nobody anchored it.
    Inserted,
    /// It was anchored, but it is not here.
    Missing,
    /// The chain says that it was erased, but it is still here.
    Stale,
    /// The list of a batch was changed or lost, or its root never reached the chain. Nothing shows any
    /// more which records it anchored, so these are found as inserted.
    BrokenBatch,
    /// The steward anchored something else as the same version later on. What it anchored first is what
    /// should be here.
    Contradicted,
}

impl std::fmt::Display for FindingKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Altered => "altered",
            Self::Inserted => "inserted",
            Self::Missing => "missing",
            Self::Stale => "stale",
            Self::BrokenBatch => "broken batch",
            Self::Contradicted => "contradicted",
        })
    }
}

/// What reconciling found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// Up to which block the chain was looked at.
    pub block: u64,
    /// Time of that block.
    pub time: Timestamp,
    /// How many stored versions were read.
    pub versions: u64,
    /// How many bytes they have.
    pub sealed_bytes: u64,
    /// How many anchors of this steward the chain has.
    pub anchors: u64,
    /// Differences, in order.
    pub findings: Vec<Finding>,
    /// What is wrong with the access log.
    pub log_findings: Vec<LogFinding>,
}

impl Report {
    /// Whether vault and chain agree.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.findings.is_empty() && self.log_findings.is_empty()
    }
}

/// What the chain says of one version.
#[derive(Clone, Copy, Debug)]
struct Expected {
    anchor: Anchor,
    erased: bool,
    seen: bool,
}

/// One anchor, by itself or from a batch.
#[derive(Clone, Copy, Debug)]
struct Statement {
    /// The block in which it came to be.
    block: u64,
    anchor: Anchor,
    state: AnchorState,
}

impl Gatekeeper {
    /// Walks vault and chain together.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when one of them cannot be read; nothing is known then.
    pub async fn reconcile(&self, now: Timestamp) -> Result<Report, GatekeeperError> {
        self.refresh(now).await?;
        self.learn_leaves().await?;
        let (mut expected, mut findings, block, time) = self.expected().await?;
        let anchors = expected.len() as u64;
        let (mut versions, mut sealed_bytes) = (0, 0);
        let mut scan = self.vault().scan();
        while let Some(batch) = scan.next().await? {
            for scanned in batch {
                versions += 1;
                sealed_bytes += scanned.sealed_len;
                let key = (scanned.record, scanned.version.get());
                let finding = match expected.get_mut(&key) {
                    Some(expected) => judge(&scanned, Some(expected)),
                    None => judge(&scanned, self.expected_copy(&scanned).await.as_mut()),
                };
                findings.extend(finding);
            }
        }
        let unseen =
            expected.into_iter().filter(|(_, expected)| !expected.seen && !expected.erased);
        findings.extend(unseen.map(|((record, version), expected)| Finding {
            kind: FindingKind::Missing,
            subject: record.0,
            version,
            anchored: Some(expected.anchor.digest),
            found: None,
        }));
        findings.sort_unstable();
        let log_findings = self.check_log().await?;
        Ok(Report { block, time, versions, sealed_bytes, anchors, findings, log_findings })
    }

    /// The digest on chain of every version that this steward should have: what a copy is held
    /// against.
    ///
    /// # Errors
    ///
    /// [`GatekeeperError`] when the database failed.
    pub async fn anchored(
        &self,
    ) -> Result<HashMap<(RecordId, RecordVersion), RecordDigest>, GatekeeperError> {
        let (expected, ..) = self.expected().await?;
        let standing = expected.into_iter().filter(|(_, expected)| !expected.erased);
        let keyed = standing.filter_map(|((record, version), expected)| {
            Some(((record, RecordVersion::try_from(version).ok()?), expected.anchor.digest))
        });
        Ok(keyed.collect())
    }

    /// What the chain says of a copy of another steward's record: by itself, or with the proof that came
    /// with it as a leaf of a batch.
    async fn expected_copy(&self, scanned: &Scanned) -> Option<Expected> {
        let entry = scanned.entry?;
        let steward = entry.header.steward;
        if steward == self.member() {
            return None;
        }
        let projection = self.inner.projection.read().await;
        let (record, version) = (scanned.record, scanned.version.get());
        if let Some(AnchorEntry { anchor, state, .. }) =
            projection.records.anchor(steward, record, version)
        {
            let erased = *state == AnchorState::Erased;
            return Some(Expected { anchor: *anchor, erased, seen: false });
        }
        let anchor = leaf_of(&entry);
        projection.records.batch(steward, self.root_of(&anchor)?)?;
        Some(Expected { anchor, erased: false, seen: false })
    }

    /// What the chain says should be here, and batches about which it cannot say it any more.
    async fn expected(
        &self,
    ) -> Result<(HashMap<(RecordId, u32), Expected>, Vec<Finding>, u64, Timestamp), GatekeeperError>
    {
        let stored = self.batches().await?;
        let projection = self.inner.projection.read().await;
        let cursor = projection.cursor();
        let mut statements = Vec::new();
        let mut findings = Vec::new();
        for batch in &stored {
            let on_chain = projection.records.batch(self.member(), batch.root);
            let Some(on_chain) = on_chain.filter(|_| batch.is_whole()) else {
                findings.push(broken_batch(batch.root));
                continue;
            };
            let (block, state) = (on_chain.moment.block, AnchorState::Proposed);
            let anchors = batch.anchors.iter();
            statements.extend(anchors.map(|anchor| Statement { block, anchor: *anchor, state }));
        }
        let lost = projection.records.batches().filter(|((steward, root), _)| {
            *steward == self.member() && !stored.iter().any(|batch| batch.root == *root)
        });
        findings.extend(lost.map(|((_, root), _)| broken_batch(*root)));
        statements.extend(alone(&projection, self.member()));
        // In the order of the chain; in one block, batches in theirs and before what stands by itself.
        statements.sort_by_key(|statement| statement.block);
        let (expected, contradictions) = weigh(&statements);
        findings.extend(contradictions);
        let (block, time) =
            cursor.map_or((0, Timestamp(0)), |cursor| (cursor.number, Timestamp(cursor.time)));
        Ok((expected, findings, block, time))
    }
}

/// The anchors of a steward that stand by themselves.
fn alone(projection: &Projection, steward: Address) -> impl Iterator<Item = Statement> {
    let own = projection.records.anchors().filter(move |entry| entry.anchor.steward == steward);
    own.map(|entry| Statement {
        block: entry.moment.block,
        anchor: entry.anchor,
        state: entry.state,
    })
}

/// What the first anchor of each version says, and every later one that says something else: nobody
/// replaces a record by anchoring another in its place, nor hides that it is gone by erasing that one.
///
/// An anchor of a batch that has a slot of its own stands there twice; it is erased if the slot says so.
fn weigh(statements: &[Statement]) -> (HashMap<(RecordId, u32), Expected>, Vec<Finding>) {
    let mut expected: HashMap<_, Expected> = HashMap::with_capacity(statements.len());
    let mut contradictions = Vec::new();
    for Statement { anchor, state, .. } in statements {
        let (record, version) = (anchor.record, anchor.version.get());
        let new = Expected { anchor: *anchor, erased: false, seen: false };
        let first = expected.entry((record, version)).or_insert(new);
        if first.anchor == *anchor {
            first.erased |= *state == AnchorState::Erased;
        } else {
            contradictions.push(Finding {
                kind: FindingKind::Contradicted,
                subject: record.0,
                version,
                anchored: Some(first.anchor.digest),
                found: Some(anchor.digest),
            });
        }
    }
    // The one that contradicts may stand there twice as well.
    contradictions.sort_unstable();
    contradictions.dedup();
    (expected, contradictions)
}

const fn broken_batch(root: B256) -> Finding {
    let kind = FindingKind::BrokenBatch;
    Finding { kind, subject: root, version: 0, anchored: None, found: None }
}

/// Holds one stored version against what the chain says of it.
fn judge(scanned: &Scanned, expected: Option<&mut Expected>) -> Option<Finding> {
    let anchored = expected.as_ref().map(|expected| expected.anchor.digest);
    let found = match scanned.state {
        ScanState::Intact => Some(scanned.digest),
        // The right bytes under another name are not those that the vault would give out.
        ScanState::Altered { found } if Some(found) == anchored => Some(scanned.digest),
        ScanState::Altered { found } => Some(found),
        ScanState::Missing | ScanState::Erased | ScanState::Unreadable => None,
    };
    let is_there = found.is_some() || scanned.state == ScanState::Unreadable;
    let kind = match expected {
        // A tombstone of something that never was anchored says nothing.
        None if !is_there => return None,
        None => FindingKind::Inserted,
        Some(expected) => {
            expected.seen = true;
            match (expected.erased, is_there) {
                (true, false) => return None,
                (true, true) => FindingKind::Stale,
                (false, false) => FindingKind::Missing,
                (false, true) if found == anchored && is_filed(scanned, &expected.anchor) => {
                    return None;
                }
                (false, true) => FindingKind::Altered,
            }
        }
    };
    let (subject, version) = (scanned.record.0, scanned.version.get());
    Some(Finding { kind, subject, version, anchored, found })
}

/// Whether the vault files a version as what it was anchored as: reads are decided on by that.
fn is_filed(scanned: &Scanned, anchor: &Anchor) -> bool {
    scanned.entry.is_some_and(|entry| {
        (entry.patient, entry.header.steward, entry.header.kind)
            == (anchor.patient, anchor.steward, anchor.kind)
    })
}
