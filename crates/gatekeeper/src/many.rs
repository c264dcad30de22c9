//! Reads of many records at once, of one patient or of many: searches, histories, exports.
//!
//! It goes in two steps, because a search gives out fewer records than it finds: [`Gatekeeper::find`]
//! decides for each record, and [`Gatekeeper::give`] opens what is given out, with one receipt for each
//! patient. What the reader may not read is as if it were not there; nothing of it may be counted.

use std::collections::BTreeMap;

use alloy_primitives::{Address, B256};
use domain::{
    AnchorState, Basis, KindSet, Outcome, Permit, Purpose, Reader, Receipt, RecordDigest, RecordId,
    Refusal, Timestamp,
};
use futures_util::{StreamExt as _, stream};
use vault::Entry;

use crate::{AnswerError, Gatekeeper, OpenedRecord, QueryRefusal, answer::opened_record};

/// How many records are opened at the same time.
const OPENED_AT_ONCE: usize = 8;

/// Who reads, and why.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Who.
    pub reader: Reader,
    /// Why.
    pub purpose: Purpose,
}

/// Which version of a record is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// The one in force.
    Current,
    /// All that are not rejected, oldest first.
    All,
}

/// A version that was found and that the reader may read now.
#[derive(Debug)]
#[must_use = "a permit that nobody uses should not have been asked for"]
pub struct Found {
    permit: Permit,
    entry: Entry,
    state: AnchorState,
}

impl Found {
    /// Which version it is.
    #[must_use]
    pub const fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Where it stands on chain.
    #[must_use]
    pub const fn state(&self) -> AnchorState {
        self.state
    }
}

impl Gatekeeper {
    /// Which of these records the reader may read now, in the order given; the first refusal, when
    /// nothing may be read and something is refused.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Refused`] when too little is known of the chain, and [`AnswerError::Gatekeeper`].
    pub async fn find(
        &self,
        reading: Reading,
        records: &[RecordId],
        versions: Versions,
        now: Timestamp,
    ) -> Result<(Vec<Found>, Option<Refusal>), AnswerError> {
        if self.is_stale(now).await {
            return Err(AnswerError::Refused(QueryRefusal::Stale));
        }
        self.learn_leaves().await?;
        let entries = self.vault().versions_of(records).await?;
        let mut by_record: BTreeMap<RecordId, &[Entry]> = BTreeMap::new();
        for versions in entries.chunk_by(|one, next| one.header.record == next.header.record) {
            by_record.insert(versions[0].header.record, versions);
        }
        // The chain may go on while the database is read, but not while is decided.
        let projection = self.inner.projection.read().await;
        let time = self.time(&projection, now);
        let rejected_too = matches!(reading.reader, Reader::Patient { .. });
        let (mut found, mut refusal) = (Vec::new(), None);
        for entries in records.iter().filter_map(|record| by_record.remove(record)) {
            let chosen: Vec<_> = match versions {
                Versions::Current => self.choose(&projection, entries, false).into_iter().collect(),
                Versions::All => entries
                    .iter()
                    .filter_map(|entry| {
                        let version = entry.header.version;
                        self.named(&projection, entries, version, rejected_too)
                    })
                    .collect(),
            };
            for (entry, state) in chosen {
                let who = (reading.reader, reading.purpose);
                match self.decide_entry(&projection, who, &entry, time) {
                    Ok(permit) => found.push(Found { permit, entry, state }),
                    Err(reason) => refusal = refusal.or(Some(reason)),
                }
            }
        }
        let refusal = refusal.filter(|_| found.is_empty());
        Ok((found, refusal))
    }

    /// Opens what was found to look at it inside this program, and gives the records back, with what
    /// `look` made of each. Nothing of it may leave the program before it went through
    /// [`Gatekeeper::give`]: there is no receipt of this.
    pub async fn look_at<T: Send>(
        &self,
        found: Vec<Found>,
        look: impl Fn(&Entry, &OpenedRecord) -> T + Send + Sync,
    ) -> Vec<(RecordId, T)> {
        let look = &look;
        let opening = found.into_iter().map(async |found| {
            let Found { permit, entry, state } = found;
            let opened = self.open_permitted(permit, &entry).await.ok()?;
            let record = opened_record(&entry, state, opened.body());
            Some((entry.header.record, look(&entry, &record)))
        });
        let looked: Vec<_> = stream::iter(opening).buffered(OPENED_AT_ONCE).collect().await;
        looked.into_iter().flatten().collect()
    }

    /// Opens what was found. Each patient among them gets a receipt, which is on the disk before
    /// anything is given out. What does not open is left out, and told to the log of this program.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Gatekeeper`] when the database failed.
    pub async fn give(
        &self,
        reading: Reading,
        found: Vec<Found>,
        now: Timestamp,
    ) -> Result<Vec<OpenedRecord>, AnswerError> {
        let opening = found.into_iter().map(async |found| {
            let Found { permit, entry, state } = found;
            let basis = permit.basis();
            match self.open_permitted(permit, &entry).await {
                Ok(opened) => Some((entry, basis, opened_record(&entry, state, opened.body()))),
                Err(error) => {
                    let (record, version) = (entry.header.record, entry.header.version);
                    tracing::warn!(%record, %version, %error, "a permitted record does not open");
                    None
                }
            }
        });
        let opened: Vec<_> = stream::iter(opening).buffered(OPENED_AT_ONCE).collect().await;
        let mut given: BTreeMap<Address, Given> = BTreeMap::new();
        let mut records = Vec::with_capacity(opened.len());
        for (entry, basis, record) in opened.into_iter().flatten() {
            let given = given.entry(entry.patient).or_default();
            given.kinds = given.kinds.union(KindSet::of(&[entry.header.kind]));
            given.records.push((record.record, record.digest));
            given.basis = given.basis.or(Some(basis));
            records.push(record);
        }
        for (patient, Given { kinds, records, basis }) in given {
            let outcome = Outcome::Allowed { records, basis };
            self.note(reading, patient, kinds, outcome, now).await?;
        }
        Ok(records)
    }

    /// Leaves a receipt of a read that gave out no record: one that was refused, or that only counted.
    ///
    /// # Errors
    ///
    /// [`AnswerError::Gatekeeper`] when the database failed; then nothing may be answered.
    pub async fn note(
        &self,
        reading: Reading,
        patient: Address,
        kinds: KindSet,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<Receipt, AnswerError> {
        let time = self.time(&*self.inner.projection.read().await, now);
        let receipt = Receipt {
            sequence: 0,
            time,
            gatekeeper: self.member(),
            requester: reading.reader.address(),
            institution: reading.reader.institution(),
            patient,
            purpose: reading.purpose,
            kinds,
            query: B256::ZERO,
            outcome,
        };
        let logged = self.log(receipt, async |_| Ok(true)).await?;
        Ok(logged.expect("nothing was there to say no"))
    }
}

/// What was given out of one patient's records.
#[derive(Default)]
struct Given {
    kinds: KindSet,
    records: Vec<(RecordId, RecordDigest)>,
    basis: Option<Basis>,
}
